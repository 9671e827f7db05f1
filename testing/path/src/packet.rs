//! As much of IP as a path must read.

/// Bytes of an ICMP message about a packet that is too large: headers, and what it quotes (RFC 792: the
/// IP header and 8 bytes).
const TOO_LARGE_BYTES: usize = 20 + 8 + 28;

/// What a path asks of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The protocol above IP: 6 is TCP, 17 UDP.
    pub(crate) protocol: u8,
    /// Part of a larger packet.
    pub(crate) fragment: bool,
    /// IPv4 that must not be cut on the way.
    pub(crate) whole: bool,
}

/// `None` if it is no IP packet.
pub(crate) fn read(packet: &[u8]) -> Option<Header> {
    match packet.first()? >> 4 {
        4 => {
            let header = packet.first_chunk::<20>()?;
            let fragment = u16::from_be_bytes([header[6], header[7]]);
            Some(Header { protocol: header[9], fragment: fragment & 0x3fff != 0, whole: fragment & 0x4000 != 0 })
        }
        6 => {
            let header = packet.first_chunk::<40>()?;
            // 44 is a fragment header (RFC 8200 §4.5).
            Some(Header { protocol: header[6], fragment: header[6] == 44, whole: true })
        }
        _ => None,
    }
}

/// "Fragmentation needed" (RFC 1191 §4) to the sender of an IPv4 packet; `None` for other packets.
pub(crate) fn too_large(packet: &[u8], width: usize) -> Option<[u8; TOO_LARGE_BYTES]> {
    let quoted = packet.first_chunk::<28>()?;
    if quoted[0] != 0x45 || quoted[9] == 1 {
        return None;
    }
    let mut out = [0; TOO_LARGE_BYTES];
    out[0] = 0x45;
    out[3] = TOO_LARGE_BYTES as u8;
    (out[8], out[9]) = (64, 1);
    // In the name of the far end: nobody else is on the path.
    out[12..16].copy_from_slice(&quoted[16..20]);
    out[16..20].copy_from_slice(&quoted[12..16]);
    let sum = checksum(&out[..20]);
    out[10..12].copy_from_slice(&sum.to_be_bytes());
    (out[20], out[21]) = (3, 4);
    out[26..28].copy_from_slice(&u16::try_from(width).ok()?.to_be_bytes());
    out[28..].copy_from_slice(quoted);
    let sum = checksum(&out[20..]);
    out[22..24].copy_from_slice(&sum.to_be_bytes());
    Some(out)
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    // Lossless: both carries are added in.
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read() {
        let mut packet = [0; 60];
        (packet[0], packet[6], packet[9]) = (0x45, 0x40, 17);
        assert_eq!(read(&packet), Some(Header { protocol: 17, fragment: false, whole: true }));
        packet[6] = 0x20;
        assert_eq!(read(&packet), Some(Header { protocol: 17, fragment: true, whole: false }));
        (packet[0], packet[6]) = (0x60, 6);
        assert_eq!(read(&packet), Some(Header { protocol: 6, fragment: false, whole: true }));
        assert_eq!(read(&packet[..39]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn the_message_of_a_router_has_good_checksums() {
        let mut packet = [7; 60];
        (packet[0], packet[9]) = (0x45, 17);
        let message = too_large(&packet, 1_280).unwrap();
        assert_eq!((checksum(&message[..20]), checksum(&message[20..])), (0, 0));
        assert_eq!(message[26..28], 1_280u16.to_be_bytes());
        packet[9] = 1;
        assert_eq!(too_large(&packet, 1_280), None, "never about ICMP itself");
    }
}
