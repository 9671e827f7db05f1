//! The little of an RTP header (RFC 3550 §5.1) a relay must know.

/// Smallest RTP header.
pub const HEADER_BYTES_MIN: usize = 12;

/// The fields of an RTP packet that identify it, and where its payload starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// The sequence number.
    pub sequence: u16,
    /// The synchronisation source.
    pub ssrc: u32,
    /// Bytes before the payload: fixed header, CSRCs, header extension.
    pub bytes: usize,
}

impl RtpHeader {
    /// Reads a header; `None` unless `packet` is RTP version 2 and holds all of it.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let (&first, rest) = (packet.first()?, packet.get(..HEADER_BYTES_MIN)?);
        if first >> 6 != 2 {
            return None;
        }
        let mut bytes = HEADER_BYTES_MIN + 4 * usize::from(first & 0x0f);
        if first & 0x10 != 0 {
            // RFC 3550 §5.3.1: the length counts the words after the extension's own first one.
            let words = u16::from_be_bytes(packet.get(bytes + 2..bytes + 4)?.try_into().ok()?);
            bytes += 4 + 4 * usize::from(words);
        }
        (bytes <= packet.len()).then(|| Self {
            sequence: u16::from_be_bytes([rest[2], rest[3]]),
            ssrc: u32::from_be_bytes([rest[8], rest[9], rest[10], rest[11]]),
            bytes,
        })
    }
}

/// Overwrites source and sequence number of a packet [`RtpHeader::parse`] has accepted.
pub(crate) fn set_identity(packet: &mut [u8], ssrc: u32, sequence: u16) {
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csrcs_and_extension_are_part_of_the_header() {
        let mut packet = vec![0x92, 0, 0x12, 0x34, 0, 0, 0, 0, 0xca, 0xfe, 0xba, 0xbe];
        packet.extend_from_slice(&[0; 8]);
        packet.extend_from_slice(&[0xbe, 0xde, 0, 1, 1, 2, 3, 4, 0xff]);
        let header = RtpHeader::parse(&packet).unwrap();
        assert_eq!(header, RtpHeader { sequence: 0x1234, ssrc: 0xcafe_babe, bytes: 28 });
        for cut in 0..28 {
            assert_eq!(RtpHeader::parse(&packet[..cut]), None, "cut at {cut}");
        }
        packet[0] = 0x52;
        assert_eq!(RtpHeader::parse(&packet), None, "version 1");
    }
}
