//! The header of a media datagram on the link: eight bytes, then the packet.
//!
//! ```text
//! 0      1          2          3      4 ... 7
//! kind | component | candidate | flags | relay, big endian
//! ```
//!
//! Inwards, `candidate` names the source on the client's side and `flags` tells whether it is the
//! latched one; a latch command carries the candidate back. Control datagrams (probes) are
//! opaque here and belong to no relay. Packets too large for one datagram: see [`crate::split`].

use edgeway_model::RelayId;
use edgeway_model::media::Component;

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
