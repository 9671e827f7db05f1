//! SIP messages as a pcapng file, which Wireshark and sngrep read: each as a UDP datagram between two addresses. Headers of
//! IP and UDP are made up, since the messages travelled inside TLS or inside a link.
//!
//! draft-ietf-opsawg-pcapng: a section header, one interface of raw IP, an enhanced packet for each message.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::limits::DATAGRAM_BYTES_MAX;

const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
/// Raw IP, version 4 or 6.
const LINKTYPE_RAW: u16 = 101;
const OPTION_COMMENT: u16 = 1;
const OPTION_END: u16 = 0;
const UDP: u8 = 17;
const HOPS: u8 = 64;

/// One message.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// Microseconds since 1970.
    pub at_us: u64,
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// The message.
    pub text: &'a str,
    /// Shown beside it.
    pub comment: &'a str,
}

/// The address that stands for a node or party whose own is not known: one of those for benchmarks (RFC 2544), which
/// nobody has.
#[must_use]
pub fn stand_in(number: usize) -> SocketAddr {
    let [high, low] = u16::try_from(number + 1).unwrap_or(u16::MAX).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, high, low)), 5060)
}

/// The file.
#[must_use]
pub fn write(packets: &[Packet<'_>]) -> Vec<u8> {
    let mut file = Vec::new();
    block(&mut file, SECTION, |body| {
        body.extend(BYTE_ORDER.to_le_bytes());
        body.extend(1_u16.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        // The length of the section is not said.
        body.extend(u64::MAX.to_le_bytes());
    });
    block(&mut file, INTERFACE, |body| {
        body.extend(LINKTYPE_RAW.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        body.extend(0_u32.to_le_bytes());
    });
    for packet in packets {
        let datagram = datagram(packet);
        let [low, high] = halves(packet.at_us);
        block(&mut file, PACKET, |body| {
            body.extend(0_u32.to_le_bytes());
            body.extend(high.to_le_bytes());
            body.extend(low.to_le_bytes());
            body.extend(length(datagram.len()).to_le_bytes());
            body.extend(length(datagram.len()).to_le_bytes());
            body.extend(&datagram);
            pad(body);
            if !packet.comment.is_empty() {
                let comment = packet.comment.as_bytes();
                let comment = comment.get(..usize::from(u16::MAX)).unwrap_or(comment);
                body.extend(OPTION_COMMENT.to_le_bytes());
                body.extend(u16::try_from(comment.len()).unwrap_or(u16::MAX).to_le_bytes());
                body.extend(comment);
                pad(body);
                body.extend(OPTION_END.to_le_bytes());
                body.extend(0_u16.to_le_bytes());
            }
        });
    }
    file
}

/// A block: its kind, its length on both ends, and its body in between, which is a multiple of four bytes long.
fn block(file: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::new();
    fill(&mut body);
    debug_assert!(body.len().is_multiple_of(4), "every part is padded");
    let whole = length(body.len() + 12).to_le_bytes();
    file.extend(kind.to_le_bytes());
    file.extend(whole);
    file.extend(body);
    file.extend(whole);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Lower and upper half.
fn halves(number: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    [u32::from_be_bytes([e, f, g, h]), u32::from_be_bytes([a, b, c, d])]
}

fn datagram(packet: &Packet<'_>) -> Vec<u8> {
    let text = packet.text.as_bytes();
    let text = text.get(..DATAGRAM_BYTES_MAX).unwrap_or(text);
    let (from, to) = same_family(packet.from, packet.to);
    let udp_length = u16::try_from(text.len() + 8).unwrap_or(u16::MAX);
    let mut udp = Vec::with_capacity(text.len() + 8);
    udp.extend(from.port().to_be_bytes());
    udp.extend(to.port().to_be_bytes());
    udp.extend(udp_length.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(text);
    let mut pseudo = Vec::new();
    for address in [from.ip(), to.ip()] {
        match address {
            IpAddr::V4(address) => pseudo.extend(address.octets()),
            IpAddr::V6(address) => pseudo.extend(address.octets()),
        }
    }
    let addresses = pseudo.clone();
    pseudo.extend(u32::from(udp_length).to_be_bytes());
    pseudo.extend([0, 0, 0, UDP]);
    // RFC 768: a sum of zero is written as ones, since zero says there is none.
    let sum = match checksum(&[&pseudo, &udp]) {
        0 => u16::MAX,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    let mut whole = Vec::with_capacity(udp.len() + 40);
    if from.is_ipv4() {
        let total = u16::try_from(udp.len() + 20).unwrap_or(u16::MAX);
        let mut header = vec![0x45, 0];
        header.extend(total.to_be_bytes());
        header.extend([0, 0, 0x40, 0, HOPS, UDP, 0, 0]);
        header.extend(&addresses);
        let sum = checksum(&[&header]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        whole.extend(header);
    } else {
        whole.extend([0x60, 0, 0, 0]);
        whole.extend(udp_length.to_be_bytes());
        whole.extend([UDP, HOPS]);
        whole.extend(&addresses);
    }
    whole.extend(udp);
    whole
}

/// Where one end has IPv4 and the other IPv6 both are written as IPv6.
fn same_family(from: SocketAddr, to: SocketAddr) -> (SocketAddr, SocketAddr) {
    let wide = |one: SocketAddr| match one.ip() {
        IpAddr::V4(address) => SocketAddr::new(IpAddr::V6(address.to_ipv6_mapped()), one.port()),
        IpAddr::V6(_) => one,
    };
    if from.is_ipv4() == to.is_ipv4() { (from, to) } else { (wide(from), wide(to)) }
}

/// RFC 1071.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        let (words, rest) = part.as_chunks::<2>();
        sum += words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>();
        sum += rest.first().map_or(0, |byte| u64::from(u16::from_be_bytes([*byte, 0])));
    }
    while sum > u64::from(u16::MAX) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_come_out_even() {
        for (from, to) in [("10.0.0.1:5060", "10.0.0.2:5061"), ("[2001:db8::1]:5060", "10.0.0.2:5061")] {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            for text in ["", "odd", "OPTIONS sip:a@b SIP/2.0\r\n\r\n"] {
                let bytes = datagram(&Packet { at_us: 1, from, to, text, comment: "" });
                let header = if bytes[0] == 0x45 { 20 } else { 40 };
                let (ip, udp) = bytes.split_at(header);
                if header == 20 {
                    assert_eq!(checksum(&[ip]), 0, "a sum over a good header is nothing");
                }
                let addresses = if header == 20 { &ip[12..] } else { &ip[8..] };
                let udp_length = u32::try_from(udp.len()).unwrap().to_be_bytes();
                assert_eq!(checksum(&[addresses, &udp_length, &[0, 0, 0, UDP], udp]), 0, "{from} {text:?}");
            }
        }
    }
}
