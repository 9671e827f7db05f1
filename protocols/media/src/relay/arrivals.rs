//! How many packets of a stream did not come (RFC 3550 §A.3), for an operator who looks.

use crate::rtp::RtpHeader;

/// RFC 3550 §A.1: a larger jump ahead is a stream that has begun again, not a gap.
const DROPOUT_MAX: i16 = 3_000;
/// RFC 3550 §A.1: how far a packet may come late.
const MISORDER_MAX: i16 = 100;

/// The packets of one direction of a relay. Of several sources that take turns nothing is told: each turn begins anew.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    stream: Option<Stream>,
    /// Of streams that have ended.
    lost_before: u64,
}

#[derive(Debug)]
struct Stream {
    ssrc: u32,
    /// The sequence number that came last in order, and how many there were from the first to it.
    highest: u16,
    expected: u64,
    received: u64,
}

impl Stream {
    const fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }
}

impl Arrivals {
    /// An authentic packet has come.
    pub(super) fn note(&mut self, packet: &[u8]) {
        let Some(RtpHeader { sequence, ssrc, .. }) = RtpHeader::parse(packet) else { return };
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.ssrc == ssrc) {
            let ahead = sequence.wrapping_sub(stream.highest).cast_signed();
            if (-MISORDER_MAX..=DROPOUT_MAX).contains(&ahead) {
                stream.received += 1;
                if ahead > 0 {
                    stream.highest = sequence;
                    stream.expected += u64::from(ahead.unsigned_abs());
                }
                return;
            }
        }
        self.lost_before = self.lost();
        self.stream = Some(Stream { ssrc, highest: sequence, expected: 1, received: 1 });
    }

    /// How many have not come so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost_before + self.stream.as_ref().map_or(0, Stream::lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(packets: &[(u32, u16)]) -> u64 {
        let mut arrivals = Arrivals::default();
        for (ssrc, sequence) in packets {
            let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            packet[2..4].copy_from_slice(&sequence.to_be_bytes());
            packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
            arrivals.note(&packet);
        }
        arrivals.lost()
    }

    #[test]
    fn gaps_are_lost_and_what_comes_late_is_not() {
        assert_eq!(after(&[]), 0);
        assert_eq!(after(&[(1, 65_534), (1, 65_535), (1, 0), (1, 1)]), 0, "numbers go round");
        assert_eq!(after(&[(1, 10), (1, 14)]), 3);
        assert_eq!(after(&[(1, 10), (1, 14), (1, 12)]), 2, "late");
        assert_eq!(after(&[(1, 10), (1, 10), (1, 10)]), 0, "twice");
        assert_eq!(after(&[(1, 10), (1, 12), (2, 500), (2, 502)]), 2, "another source");
        assert_eq!(after(&[(1, 10), (1, 12), (1, 30_000), (1, 30_001)]), 1, "it has begun again");
        assert_eq!(after(&[(1, 1), (2, 9), (1, 2), (2, 10)]), 0, "in turns");
    }
}
