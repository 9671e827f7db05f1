//! The header of a media datagram on the link: eight bytes, then the packet.
//!
//! ```text
//! 0      1          2          3      4 ... 7
//! kind | component | candidate | flags | relay, big endian
//! ```
//!
//! The first flag tells whether the source is the latched one, the two highest what the packet is to the
//! network's quality of service: the core knows from the description, and so the edge learns it.
//!
//! Inwards, `candidate` names the source on the client's side and `flags` tells whether it is the
//! latched one; a latch command carries the candidate back. Control datagrams (probes) are
//! opaque here and belong to no relay. Packets too large for one datagram: see [`crate::split`].

use edgeway_model::RelayId;
use edgeway_model::media::{Component, MediaClass};

use crate::limits::DATAGRAM_HEADER_BYTES;

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// A media packet follows.
    Media {
        /// The relay it belongs to, a number of the core's.
        relay: RelayId,
        /// Its component.
        component: Component,
        /// Which source on the client's side it came from; 0 outwards.
        candidate: u8,
        /// Whether that source is the latched one; false outwards.
        latched: bool,
    },
    /// Core to edge: this candidate is proven, send there from now on.
    Latch {
        /// The relay.
        relay: RelayId,
        /// The component.
        component: Component,
        /// The candidate.
        candidate: u8,
    },
    /// For the nodes themselves; the payload follows.
    Control,
}

const MEDIA: u8 = 1;
const LATCH: u8 = 2;
const CONTROL: u8 = 3;
pub(crate) const FLAG_LATCHED: u8 = 1;

/// The bits of the flags that carry a [`MediaClass`]: 0 audio, 1 video, 2 other.
const CLASS_SHIFT: u8 = 6;
pub(crate) const CLASS_MASK: u8 = 3 << CLASS_SHIFT;
const FLAGS_AT: usize = 3;

/// Writes into an encoded header what the packet is; the rest of the header stays as it is.
pub fn set_class(datagram: &mut [u8], class: MediaClass) {
    let number = match class {
        MediaClass::Audio => 0,
        MediaClass::Video => 1,
        MediaClass::Other => 2,
    };
    if let Some(flags) = datagram.get_mut(FLAGS_AT) {
        *flags = *flags & !CLASS_MASK | number << CLASS_SHIFT;
    }
}

/// What a packet is, from its encoded header.
#[must_use]
pub fn class_of(datagram: &[u8]) -> MediaClass {
    match datagram.get(FLAGS_AT).map(|flags| flags >> CLASS_SHIFT) {
        Some(0) | None => MediaClass::Audio,
        Some(1) => MediaClass::Video,
        Some(_) => MediaClass::Other,
    }
}

impl Datagram {
    /// The header's bytes.
    #[must_use]
    pub fn encode(self) -> [u8; DATAGRAM_HEADER_BYTES] {
        let (kind, component, candidate, flags, relay) = match self {
            Self::Media { relay, component, candidate, latched } => {
                (MEDIA, component, candidate, if latched { FLAG_LATCHED } else { 0 }, relay)
            }
            Self::Latch { relay, component, candidate } => (LATCH, component, candidate, 0, relay),
            Self::Control => (CONTROL, Component::Rtp, 0, 0, RelayId(0)),
        };
        let component = match component {
            Component::Rtp => 0,
            Component::Rtcp => 1,
        };
        let [a, b, c, d] = relay.0.to_be_bytes();
        [kind, component, candidate, flags, a, b, c, d]
    }

    /// Splits a datagram; `None` if it is none we know. A flag we do not know changes what the
    /// rest means, so it is none we know.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (header, rest) = bytes.split_first_chunk::<DATAGRAM_HEADER_BYTES>()?;
        let [kind, component, candidate, flags, a, b, c, d] = *header;
        let relay = RelayId(u32::from_be_bytes([a, b, c, d]));
        let component = component_of(component)?;
        // What a packet is to the network does not change what becomes of it.
        let flags = if kind == MEDIA { flags & !CLASS_MASK } else { flags };
        match (kind, flags) {
            (MEDIA, 0 | FLAG_LATCHED) => {
                Some((Self::Media { relay, component, candidate, latched: flags == FLAG_LATCHED }, rest))
            }
            (LATCH, 0) if rest.is_empty() => Some((Self::Latch { relay, component, candidate }, rest)),
            (CONTROL, 0) => Some((Self::Control, rest)),
            _ => None,
        }
    }
}

/// A component by its number on the link.
pub(crate) const fn component_of(number: u8) -> Option<Component> {
    match number {
        0 => Some(Component::Rtp),
        1 => Some(Component::Rtcp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let (relay, component) = (RelayId(0x0102_0304), Component::Rtcp);
        for datagram in [
            Datagram::Media { relay, component, candidate: 9, latched: true },
            Datagram::Media { relay, component: Component::Rtp, candidate: 0, latched: false },
            Datagram::Latch { relay, component, candidate: 255 },
        ] {
            assert_eq!(Datagram::decode(&datagram.encode()), Some((datagram, &b""[..])));
        }
        let control = [&Datagram::Control.encode()[..], b"probe"].concat();
        assert_eq!(Datagram::decode(&control), Some((Datagram::Control, &b"probe"[..])));
    }

    #[test]
    fn the_class_changes_nothing_else() {
        let sent = Datagram::Media { relay: RelayId(7), component: Component::Rtp, candidate: 3, latched: true };
        let mut bytes = sent.encode();
        assert_eq!(class_of(&bytes), MediaClass::Audio);
        for class in [MediaClass::Video, MediaClass::Other, MediaClass::Audio] {
            set_class(&mut bytes, class);
            assert_eq!(class_of(&bytes), class);
            assert_eq!(Datagram::decode(&bytes), Some((sent, &b""[..])));
        }
        assert_eq!(bytes, sent.encode());
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_read_is_written_the_same(bytes in proptest::collection::vec(0u8..5, 0..12)) {
            if let Some((datagram, rest)) = Datagram::decode(&bytes)
                && datagram != Datagram::Control
            {
                assert_eq!([&datagram.encode()[..], rest].concat(), bytes);
            }
        }
    }
}
