//! RTP and RTCP as the phone writes and reads them (RFC 3550 §5.1, §6.4.1, §6.5).
//!
//! A lab phone adds a one-byte header extension (RFC 8285 §4.2) with the moment of sending, so that
//! the other lab phone can tell loss from delay. Real phones skip it (RFC 3550 §5.3.1).

/// Payload type of PCMU (RFC 3551 §6).
pub(crate) const PCMU: u8 = 0;

/// Payload type of our video, as announced by `a=rtpmap`.
pub(crate) const VIDEO: u8 = 96;

/// Identifier of our header extension, as announced by `a=extmap`.
pub(crate) const EXTENSION_ID: u8 = 1;

const FIXED: usize = 12;
const ONE_BYTE_PROFILE: [u8; 2] = [0xbe, 0xde];

/// One packet to write.
pub(crate) struct Packet<'a> {
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    pub(crate) marker: bool,
    /// Microseconds of the process clock, for our own extension.
    pub(crate) sent_at: Option<u64>,
    pub(crate) payload: &'a [u8],
}

impl Packet<'_> {
    /// The packet as it goes to the SRTP sender or the socket.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + 16 + self.payload.len() + 16);
        out.push(0x80 | if self.sent_at.is_some() { 0x10 } else { 0 });
        out.push(self.payload_type | if self.marker { 0x80 } else { 0 });
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        if let Some(sent_at) = self.sent_at {
            out.extend_from_slice(&ONE_BYTE_PROFILE);
            out.extend_from_slice(&3_u16.to_be_bytes());
            out.push((EXTENSION_ID << 4) | 7);
            out.extend_from_slice(&sent_at.to_be_bytes());
            out.extend_from_slice(&[0; 3]);
        }
        out.extend_from_slice(self.payload);
        out
    }
}

/// What a phone wants to know of a packet it received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Received<'a> {
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) ssrc: u32,
    pub(crate) sent_at: Option<u64>,
    pub(crate) payload: &'a [u8],
}

/// Reads a packet; `None` if it is no RTP.
pub(crate) fn read(packet: &[u8]) -> Option<Received<'_>> {
    let fixed: &[u8; FIXED] = packet.first_chunk()?;
    if fixed[0] >> 6 != 2 {
        return None;
    }
    let mut at = FIXED + usize::from(fixed[0] & 0x0f) * 4;
    let mut sent_at = None;
    if fixed[0] & 0x10 != 0 {
        let head: &[u8; 4] = packet.get(at..)?.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
        let body = packet.get(at + 4..at + 4 + length)?;
        if head[..2] == ONE_BYTE_PROFILE {
            sent_at = moment_of(body);
        }
        at += 4 + length;
    }
    let end = if fixed[0] & 0x20 != 0 { packet.len().checked_sub(usize::from(*packet.last()?))? } else { packet.len() };
    Some(Received {
        payload_type: fixed[1] & 0x7f,
        sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
        ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
        sent_at,
        payload: packet.get(at..end)?,
    })
}

fn moment_of(mut extension: &[u8]) -> Option<u64> {
    while let [first, rest @ ..] = extension {
        if *first == 0 {
            extension = rest;
            continue;
        }
        let (id, length) = (first >> 4, usize::from(first & 0x0f) + 1);
        let data = rest.get(..length)?;
        if id == EXTENSION_ID {
            return data.try_into().ok().map(u64::from_be_bytes);
        }
        extension = &rest[length..];
    }
    None
}

/// A compound packet: sender report without report blocks, and the CNAME every compound packet
/// must carry (RFC 3550 §6.1).
pub(crate) fn sender_report(ssrc: u32, timestamp: u32, packets: u32, octets: u32, sent_at: u64) -> Vec<u8> {
    let mut out = vec![0x80, 200, 0, 6];
    out.extend_from_slice(&ssrc.to_be_bytes());
    // NTP time: the process clock as 32.32 fixed point; only differences matter to the reader.
    out.extend_from_slice(&((sent_at / 1_000_000) as u32).to_be_bytes());
    out.extend_from_slice(&((((sent_at % 1_000_000) << 32) / 1_000_000) as u32).to_be_bytes());
    out.extend_from_slice(&timestamp.to_be_bytes());
    out.extend_from_slice(&packets.to_be_bytes());
    out.extend_from_slice(&octets.to_be_bytes());
    let cname = format!("{ssrc:08x}@lab");
    let words = (cname.len() + 2) / 4 + 1;
    out.extend_from_slice(&[0x81, 202, 0, (1 + words) as u8]);
    out.extend_from_slice(&ssrc.to_be_bytes());
    out.extend_from_slice(&[1, cname.len() as u8]);
    out.extend_from_slice(cname.as_bytes());
    out.resize(28 + 8 + words * 4, 0);
    out
}

/// Whether the packet is a plausible RTCP compound packet.
pub(crate) fn is_rtcp(packet: &[u8]) -> bool {
    packet.len() >= 8 && packet[0] >> 6 == 2 && (200..=207).contains(&packet[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for sent_at in [None, Some(0x0102_0304_0506_0708)] {
            let packet = Packet {
                payload_type: PCMU,
                sequence: 65_535,
                timestamp: 7,
                ssrc: 9,
                marker: true,
                sent_at,
                payload: &[1, 2, 3],
            };
            let bytes = packet.write();
            let read = read(&bytes).expect("our own packet");
            assert_eq!((read.sequence, read.ssrc, read.payload_type), (65_535, 9, PCMU));
            assert_eq!(read.sent_at, sent_at);
            assert_eq!(read.payload, [1, 2, 3]);
        }
    }

    #[test]
    fn broken_packets_are_refused_not_believed() {
        let good = Packet {
            payload_type: PCMU,
            sequence: 1,
            timestamp: 7,
            ssrc: 9,
            marker: false,
            sent_at: Some(5),
            payload: &[],
        }
        .write();
        for cut in 0..good.len() {
            assert_eq!(read(&good[..cut]), None, "cut at {cut}");
        }
        assert_eq!(read(&[0; 40]), None);
        let mut padded = good;
        padded[0] |= 0x20;
        padded.push(200);
        assert_eq!(read(&padded), None);
    }

    #[test]
    fn reports_are_whole_words() {
        let report = sender_report(0xdead_beef, 1, 2, 3, 1_500_000);
        assert!(is_rtcp(&report));
        let first = (usize::from(report[3]) + 1) * 4;
        let second = (usize::from(report[first + 3]) + 1) * 4;
        assert_eq!(first + second, report.len());
        assert_eq!(report[12..16], [0x80, 0, 0, 0]);
    }
}
