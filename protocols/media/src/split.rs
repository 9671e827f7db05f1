//! Packets that are larger than one datagram of the link: sent as two halves, joined again.
//!
//! ```text
//! 0      1          2          3      4 ... 7            8 ... 11
//! kind | component | candidate | flags | relay, big endian | number, big endian
//! ```
//!
//! The first eight bytes are those of a whole packet's header, but for the kind and one flag that
//! tells the second half from the first. The number counts the split packets of one direction of a
//! link. Halves are of equal size, so that the link can send many of them in one train.
//!
//! A half that is lost is the packet lost; what waits for its other half is bounded in number, size
//! and time. Whoever is at the other end of the link can at most lose its own packets.

use edgeway_model::media::MediaClass;
use edgeway_model::{Moment, RelayId};

use crate::datagram::{CLASS_MASK, Datagram, FLAG_LATCHED, class_of, component_of, set_class};
use crate::limits::{
    DATAGRAM_HEADER_BYTES, HALF_HEADER_BYTES, HALF_WITHIN, HALVES_WAITING_MAX, PACKET_BYTES_MAX, SRTCP_OVERHEAD_BYTES,
};

/// The first byte of a half; other datagrams of the link have other ones.
const HALF: u8 = 4;
const FLAG_SECOND: u8 = 2;

/// A protected packet at its largest: what a joined one may be.
const WHOLE_BYTES_MAX: usize = PACKET_BYTES_MAX + SRTCP_OVERHEAD_BYTES;

/// What stands before one half of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Half {
    /// The header of the whole packet; always [`Datagram::Media`].
    packet: Datagram,
    class: MediaClass,
    number: u32,
    second: bool,
}

impl Half {
    /// The bytes before a half.
    #[must_use]
    pub fn encode(self) -> [u8; HALF_HEADER_BYTES] {
        let [_, component, candidate, flags, a, b, c, d] = self.packet.encode();
        let flags = flags | if self.second { FLAG_SECOND } else { 0 };
        let [e, f, g, h] = self.number.to_be_bytes();
        let mut header = [HALF, component, candidate, flags, a, b, c, d, e, f, g, h];
        set_class(&mut header, self.class);
        header
    }

    /// Splits a datagram of the link into header and half; `None` if it is no half.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (header, half) = bytes.split_first_chunk::<HALF_HEADER_BYTES>()?;
        let [HALF, component, candidate, flags, a, b, c, d, e, f, g, h] = *header else { return None };
        let class = class_of(header);
        if flags & !(FLAG_LATCHED | FLAG_SECOND | CLASS_MASK) != 0 {
            return None;
        }
        let packet = Datagram::Media {
            relay: RelayId(u32::from_be_bytes([a, b, c, d])),
            component: component_of(component)?,
            candidate,
            latched: flags & FLAG_LATCHED != 0,
        };
        let second = flags & FLAG_SECOND != 0;
        Some((Self { packet, class, number: u32::from_be_bytes([e, f, g, h]), second }, half))
    }
}

/// Cuts a whole datagram, header included, in two: each half's header and bytes. `None` if it carries
/// no media packet. `number` must be new for this direction of the link.
#[must_use]
pub fn split(datagram: &[u8], number: u32) -> Option<[(Half, &[u8]); 2]> {
    let (packet @ Datagram::Media { .. }, payload) = Datagram::decode(datagram)? else { return None };
    let class = class_of(datagram);
    let half = |second| Half { packet, class, number, second };
    let (first, second) = payload.split_at(payload.len().div_ceil(2));
    Some([(half(false), first), (half(true), second)])
}

/// Bytes of the larger of the two datagrams [`split`] makes of one of `len` bytes, headers included.
#[must_use]
pub const fn split_len(len: usize) -> usize {
    len.saturating_sub(DATAGRAM_HEADER_BYTES).div_ceil(2) + HALF_HEADER_BYTES
}

/// Joins the halves that come by one direction of a link.
///
/// The table is a ring by the packets' numbers. A place is taken over by a newer packet, or when the
/// half in it has waited too long; so no half waits for ever, and nothing is searched.
#[derive(Debug, Default)]
pub struct Joiner {
    places: Vec<Place>,
    whole: Vec<u8>,
    lost: u64,
}

/// A half that waits for the other.
#[derive(Debug, Default)]
struct Place {
    waiting: Option<(Half, Moment)>,
    half: Vec<u8>,
}

impl Joiner {
    /// A half came: the whole packet's header and bytes if it is the other one of a half that waits.
    pub fn handle_half(&mut self, half: Half, bytes: &[u8], now: Moment) -> Option<(Datagram, &[u8])> {
        if bytes.len() > WHOLE_BYTES_MAX {
            self.lost += 1;
            return None;
        }
        if self.places.is_empty() {
            self.places.resize_with(HALVES_WAITING_MAX, Place::default);
        }
        // Lossless: usize has 32 bits at least.
        let at = half.number as usize % HALVES_WAITING_MAX;
        let place = &mut self.places[at];
        match place.waiting {
            Some((waiting, since)) if now.since(since) <= HALF_WITHIN => {
                if waiting.number == half.number {
                    return self.join(at, half, bytes);
                }
                if is_older(half.number, waiting.number) {
                    // The newer packet is the one that can still be of use.
                    self.lost += 1;
                    return None;
                }
                self.lost += 1;
            }
            Some(_) => self.lost += 1,
            None => {}
        }
        place.waiting = Some((half, now));
        place.half.clear();
        place.half.extend_from_slice(bytes);
        None
    }

    /// Packets lost because their halves did not meet.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn join(&mut self, at: usize, half: Half, bytes: &[u8]) -> Option<(Datagram, &[u8])> {
        let place = &mut self.places[at];
        let (waiting, _) = place.waiting?;
        if waiting.packet != half.packet || waiting.second == half.second {
            // A duplicate, or a lie: what was there first stays.
            return None;
        }
        place.waiting = None;
        if place.half.len() + bytes.len() > WHOLE_BYTES_MAX {
            self.lost += 1;
            return None;
        }
        let (first, second) = if half.second { (&place.half[..], bytes) } else { (bytes, &place.half[..]) };
        self.whole.clear();
        self.whole.extend_from_slice(first);
        self.whole.extend_from_slice(second);
        Some((half.packet, &self.whole))
    }
}

/// Whether `a` was sent before `b`, in numbers that wrap.
const fn is_older(a: u32, b: u32) -> bool {
    b.wrapping_sub(a) < 1 << 31 && a != b
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use edgeway_model::media::Component;
    use proptest::prelude::*;

    use super::*;

    const T: Moment = Moment::from_secs(100);

    fn datagram(relay: u32, len: usize) -> Vec<u8> {
        let header =
            Datagram::Media { relay: RelayId(relay), component: Component::Rtp, candidate: 3, latched: true }.encode();
        // Every byte says where it stands and whose it is, so that a mixture shows.
        header.into_iter().chain((0..len).map(|n| (n as u8).wrapping_mul(31) ^ (relay as u8))).collect()
    }

    /// What travels: each half as one datagram.
    fn wire(datagram: &[u8], number: u32) -> [Vec<u8>; 2] {
        split(datagram, number).unwrap().map(|(half, bytes)| [&half.encode()[..], bytes].concat())
    }

    fn hand(joiner: &mut Joiner, wire: &[u8], now: Moment) -> Option<Vec<u8>> {
        let (half, bytes) = Half::decode(wire)?;
        joiner.handle_half(half, bytes, now).map(|(header, whole)| [&header.encode()[..], whole].concat())
    }

    #[test]
    fn two_halves_in_either_order_are_the_packet() {
        let sent = datagram(9, 1_401);
        let [first, second] = wire(&sent, 77);
        assert_eq!(first.len().max(second.len()), split_len(sent.len()));
        let mut joiner = Joiner::default();
        assert_eq!(hand(&mut joiner, &first, T), None);
        assert_eq!(hand(&mut joiner, &second, T), Some(sent.clone()));
        assert_eq!(hand(&mut joiner, &second, T), None, "once only");
        let mut joiner = Joiner::default();
        assert_eq!(hand(&mut joiner, &second, T), None);
        assert_eq!(hand(&mut joiner, &first, T), Some(sent));
        assert_eq!(joiner.lost(), 0);
    }

    #[test]
    fn the_largest_packet_fits_in_two_datagrams_of_the_smallest_path() {
        let len = DATAGRAM_HEADER_BYTES + WHOLE_BYTES_MAX;
        assert!(split_len(len) <= edgeway_model::limits::LINK_DATAGRAM_BYTES_MAX);
        let sent = datagram(1, WHOLE_BYTES_MAX);
        let [first, second] = wire(&sent, 0);
        let mut joiner = Joiner::default();
        hand(&mut joiner, &first, T);
        assert_eq!(hand(&mut joiner, &second, T), Some(sent));
    }

    #[test]
    fn a_half_waits_only_so_long() {
        let [first, second] = wire(&datagram(1, 1_300), 5);
        let mut joiner = Joiner::default();
        hand(&mut joiner, &first, T);
        assert_eq!(hand(&mut joiner, &second, T + HALF_WITHIN + Duration::from_micros(1)), None);
        assert_eq!(joiner.lost(), 1);
    }

    #[test]
    fn a_newer_packet_takes_the_place_and_an_older_one_does_not() {
        let ring = u32::try_from(HALVES_WAITING_MAX).unwrap();
        let (old, new) = (wire(&datagram(1, 1_300), u32::MAX - 3), wire(&datagram(2, 1_300), ring - 4));
        let mut joiner = Joiner::default();
        hand(&mut joiner, &old[0], T);
        hand(&mut joiner, &new[0], T);
        assert_eq!(hand(&mut joiner, &old[1], T), None, "late");
        assert_eq!(hand(&mut joiner, &new[1], T), Some(datagram(2, 1_300)));
    }

    #[test]
    fn halves_of_different_headers_never_join() {
        let [first, second] = wire(&datagram(1, 1_300), 5);
        for (at, value) in [(1, 1), (2, 4), (3, FLAG_SECOND), (7, 2)] {
            let mut forged = second.clone();
            forged[at] = value;
            let mut joiner = Joiner::default();
            hand(&mut joiner, &first, T);
            assert_eq!(hand(&mut joiner, &forged, T), None, "byte {at}");
            assert!(hand(&mut joiner, &second, T).is_some(), "the true half still joins");
        }
    }

    #[test]
    fn too_large_ones_are_refused() {
        let packet = Datagram::decode(&datagram(1, 0)).unwrap().0;
        let half = |second| Half { packet, class: MediaClass::Audio, number: 1, second };
        let mut joiner = Joiner::default();
        assert_eq!(joiner.handle_half(half(false), &[0; WHOLE_BYTES_MAX + 1], T), None);
        assert_eq!(joiner.handle_half(half(false), &[0; WHOLE_BYTES_MAX], T), None);
        assert_eq!(joiner.handle_half(half(true), &[0; 1], T), None);
        assert_eq!(joiner.lost(), 2);
    }

    /// One step of a hostile or lossy link.
    #[derive(Clone, Debug)]
    enum Step {
        Half { packet: usize, second: bool },
        Forged(Vec<u8>),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0usize..40, any::<bool>()).prop_map(|(packet, second)| Step::Half { packet, second }),
            2 => proptest::collection::vec(0u8..8, 0..40).prop_map(|mut bytes| {
                if let Some(kind) = bytes.first_mut() { *kind = HALF }
                Step::Forged(bytes)
            }),
            1 => (0u64..150).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Lost, doubled, reordered and forged halves: what comes out is a packet that was sent, byte
        /// for byte, or what a forger made of his own halves; and the table does not grow.
        #[test]
        fn only_what_was_sent_comes_out(steps in proptest::collection::vec(step(), 0..400), base in any::<u32>()) {
            // The relay of a forged header is below 0x0808_0808; ours are above.
            let sent: Vec<_> = (0..40).map(|n| datagram(0xff00_0000 + n, 1_100 + n as usize * 9)).collect();
            let wires: Vec<_> =
                sent.iter().zip(0u32..).map(|(sent, n)| wire(sent, base.wrapping_add(n * 37))).collect();
            let (mut joiner, mut now) = (Joiner::default(), T);
            for step in steps {
                match step {
                    Step::Wait(ms) => now = now + Duration::from_millis(ms),
                    Step::Half { packet, second } => {
                        if let Some(whole) = hand(&mut joiner, &wires[packet][usize::from(second)], now) {
                            prop_assert_eq!(&whole, &sent[packet]);
                        }
                    }
                    Step::Forged(bytes) => {
                        if let Some(whole) = hand(&mut joiner, &bytes, now) {
                            prop_assert!(!sent.contains(&whole));
                        }
                    }
                }
                prop_assert!(joiner.places.len() <= HALVES_WAITING_MAX);
                prop_assert!(joiner.places.iter().all(|place| place.half.len() <= WHOLE_BYTES_MAX));
            }
        }

        /// With nothing forged, a packet whose two halves come in time and within the ring is never lost,
        /// in whatever order they come.
        #[test]
        fn nothing_is_lost_that_comes_within_the_ring(
            order in Just((0..HALVES_WAITING_MAX * 2).collect::<Vec<_>>()).prop_shuffle(),
            base in any::<u32>(),
        ) {
            let mut joiner = Joiner::default();
            let mut out = 0;
            for n in order {
                let number = base.wrapping_add((n / 2) as u32);
                let halves = wire(&datagram(n as u32 / 2, 20), number);
                out += usize::from(hand(&mut joiner, &halves[n % 2], T).is_some());
            }
            prop_assert_eq!(out, HALVES_WAITING_MAX);
            prop_assert_eq!(joiner.lost(), 0);
        }

        #[test]
        fn whatever_is_read_is_written_the_same(mut bytes in proptest::collection::vec(0u8..6, 0..20), class in 0u8..3) {
            if let Some(flags) = bytes.get_mut(3) {
                *flags |= class << 6;
            }
            if let Some((half, rest)) = Half::decode(&bytes) {
                prop_assert_eq!([&half.encode()[..], rest].concat(), bytes);
            }
        }
    }
}
