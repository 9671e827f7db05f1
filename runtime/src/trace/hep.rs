//! HEP version 3: a message with its addresses and time in one datagram for a collector such as Homer.
//!
//! A packet is `HEP3`, its length, and chunks: vendor (0), type, length with these six bytes, content; all numbers big-endian.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use edgeway_model::NodeId;
use edgeway_model::signal::Party;
use edgeway_sip::Message;

use super::limits::DATAGRAM_BYTES_MAX;
use super::pcapng::stand_in;
use super::redact::redact;

const MAGIC: &[u8; 4] = b"HEP3";
const HEAD: usize = 6;
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;
const UDP: u8 = 17;
const SIP: u8 = 1;

/// One message for a collector.
#[derive(Clone, Debug)]
pub(crate) struct Report<'a> {
    /// Microseconds since 1970.
    pub(crate) at_us: u64,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) text: &'a str,
    /// What belongs together has the same.
    pub(crate) correlation: &'a str,
    /// Whose packets these are: a number, and a name.
    pub(crate) capture_id: u32,
    pub(crate) node: &'a str,
}

/// The packet.
pub(crate) fn encode(report: &Report<'_>) -> Vec<u8> {
    let text = report.text.as_bytes();
    let text = text.get(..DATAGRAM_BYTES_MAX - HEADROOM).unwrap_or(text);
    let (from, to) = (report.from, report.to);
    let mut packet = Vec::with_capacity(text.len() + HEADROOM);
    packet.extend(MAGIC);
    packet.extend([0, 0]);
    let (seconds, micros) = (report.at_us / 1_000_000, report.at_us % 1_000_000);
    let wide = from.is_ipv6() || to.is_ipv6();
    chunk(&mut packet, 1, &[if wide { FAMILY_V6 } else { FAMILY_V4 }]);
    chunk(&mut packet, 2, &[UDP]);
    for (narrow_kind, wide_kind, address) in [(3, 5, from.ip()), (4, 6, to.ip())] {
        match (wide, address) {
            (false, IpAddr::V4(address)) => chunk(&mut packet, narrow_kind, &address.octets()),
            (true, IpAddr::V4(address)) => chunk(&mut packet, wide_kind, &address.to_ipv6_mapped().octets()),
            (_, IpAddr::V6(address)) => chunk(&mut packet, wide_kind, &address.octets()),
        }
    }
    chunk(&mut packet, 7, &from.port().to_be_bytes());
    chunk(&mut packet, 8, &to.port().to_be_bytes());
    chunk(&mut packet, 9, &u32::try_from(seconds).unwrap_or(u32::MAX).to_be_bytes());
    chunk(&mut packet, 10, &u32::try_from(micros).unwrap_or_default().to_be_bytes());
    chunk(&mut packet, 11, &[SIP]);
    chunk(&mut packet, 12, &report.capture_id.to_be_bytes());
    chunk(&mut packet, 15, text);
    chunk(&mut packet, 17, report.correlation.as_bytes());
    chunk(&mut packet, 19, report.node.as_bytes());
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX).to_be_bytes();
    packet[4..6].copy_from_slice(&length);
    packet
}

/// All that stands around the text: fifteen chunks, addresses, and two bounded names.
const HEADROOM: usize = 512;
/// The longest correlation and node name.
const NAME_BYTES_MAX: usize = 128;

fn chunk(packet: &mut Vec<u8>, kind: u16, content: &[u8]) {
    let content = if matches!(kind, 17 | 19) { content.get(..NAME_BYTES_MAX).unwrap_or(content) } else { content };
    packet.extend(0_u16.to_be_bytes());
    packet.extend(kind.to_be_bytes());
    packet.extend(u16::try_from(content.len() + HEAD).unwrap_or(u16::MAX).to_be_bytes());
    packet.extend(content);
}

/// Sends what passes to a collector. A datagram that the system does not take at once is dropped and counted: the buffer of the
/// socket is the queue.
#[derive(Debug)]
pub(crate) struct Exporter {
    socket: UdpSocket,
    node: String,
    capture_id: u32,
    /// The parties that have no address of their own: nodes, and this one.
    nodes: Vec<String>,
    dropped: u64,
}

impl Exporter {
    /// To `collector`; it is not looked whether anybody is there.
    ///
    /// # Errors
    /// When there is no socket for it.
    pub(crate) fn new(collector: SocketAddr, capture_id: u32, node: &NodeId) -> io::Result<Self> {
        let any: IpAddr = if collector.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(collector)?;
        let node = node.as_str().to_owned();
        Ok(Self { socket, nodes: vec![node.clone()], node, capture_id, dropped: 0 })
    }

    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(crate) fn send(&mut self, message: &Message, peer: &Party, received: bool, at_us: u64, trace: &str) {
        let redacted = redact(message);
        let there = match peer {
            Party::Client(address) | Party::Inside(address) => *address,
            Party::Node(node) => self.stand_in(node.as_str()),
        };
        let here = stand_in(0);
        let (from, to) = if received { (there, here) } else { (here, there) };
        let packet = encode(&Report {
            at_us,
            from,
            to,
            text: &redacted.text,
            correlation: trace,
            capture_id: self.capture_id,
            node: &self.node,
        });
        if self.socket.send(&packet).is_err() {
            self.dropped += 1;
        }
    }

    fn stand_in(&mut self, node: &str) -> SocketAddr {
        let known = self.nodes.iter().position(|known| known == node);
        let number = known.unwrap_or_else(|| {
            if self.nodes.len() < NODES_MAX {
                self.nodes.push(node.to_owned());
            }
            self.nodes.len() - 1
        });
        stand_in(number)
    }
}

/// Nodes that are told apart: more than there can be linked.
const NODES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A decoder of its own: chunks by type.
    fn decode(packet: &[u8]) -> BTreeMap<u16, Vec<u8>> {
        let number = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
        assert_eq!(&packet[..4], b"HEP3");
        assert_eq!(usize::from(number(&packet[4..6])), packet.len());
        let (mut chunks, mut rest) = (BTreeMap::new(), &packet[6..]);
        while !rest.is_empty() {
            assert_eq!(number(&rest[..2]), 0, "a generic chunk");
            let length = usize::from(number(&rest[4..6]));
            assert!(chunks.insert(number(&rest[2..4]), rest[6..length].to_vec()).is_none());
            rest = &rest[length..];
        }
        chunks
    }

    const INVITE: &str = "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1\r\n\
         From: <sip:a@h>;tag=a\r\nTo: <sip:b@h>\r\nCall-ID: one\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
         Authorization: Digest response=\"S3CRET\"\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn a_collector_gets_what_the_format_says_and_no_secret() {
        let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
        collector.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        let at = collector.local_addr().unwrap();
        let mut exporter = Exporter::new(at, 2_001, &NodeId::new("edge1").unwrap()).unwrap();
        let message = Message::parse(INVITE.into()).unwrap();
        let client: SocketAddr = "203.0.113.7:50412".parse().unwrap();
        let mut buffer = vec![0; 65_536];
        exporter.send(&message, &Party::Client(client), true, 1_795_543_200_123_456, "trace1");
        let length = collector.recv(&mut buffer).unwrap();
        let chunks = decode(&buffer[..length]);
        assert_eq!(chunks[&1], [2]);
        assert_eq!(chunks[&2], [17]);
        assert_eq!(chunks[&3], [203, 0, 113, 7]);
        assert_eq!(chunks[&4], [198, 18, 0, 1]);
        assert_eq!(chunks[&7], 50_412_u16.to_be_bytes());
        assert_eq!(chunks[&8], 5_060_u16.to_be_bytes());
        assert_eq!(chunks[&9], 1_795_543_200_u32.to_be_bytes());
        assert_eq!(chunks[&10], 123_456_u32.to_be_bytes());
        assert_eq!(chunks[&11], [1]);
        assert_eq!(chunks[&12], 2_001_u32.to_be_bytes());
        assert_eq!(chunks[&17], b"trace1");
        assert_eq!(chunks[&19], b"edge1");
        let text = String::from_utf8(chunks[&15].clone()).unwrap();
        assert!(text.starts_with("INVITE sip:bob@example.com SIP/2.0\r\n") && !text.contains("S3CRET"), "{text}");
        // To another node, which has no address here; and one with the wide kind.
        exporter.send(&message, &Party::Node(NodeId::new("core1").unwrap()), false, 1, "t");
        let length = collector.recv(&mut buffer).unwrap();
        let chunks = decode(&buffer[..length]);
        assert_eq!((chunks[&3].as_slice(), chunks[&4].as_slice()), (&[198, 18, 0, 1][..], &[198, 18, 0, 2][..]));
        exporter.send(&message, &Party::Inside("[2001:db8::1]:5060".parse().unwrap()), false, 1, "t");
        let length = collector.recv(&mut buffer).unwrap();
        let chunks = decode(&buffer[..length]);
        assert_eq!((chunks[&1].as_slice(), chunks[&5].len(), chunks[&6].len()), (&[10][..], 16, 16));
        assert!(!chunks.contains_key(&3) && exporter.dropped() == 0);
    }

    #[test]
    fn what_cannot_be_sent_is_counted_and_nobody_waits() {
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut exporter = Exporter::new(gone, 1, &NodeId::new("core1").unwrap()).unwrap();
        let message = Message::parse(INVITE.into()).unwrap();
        // The system says that nobody is there at the next one.
        for _ in 0..100 {
            exporter.send(&message, &Party::Node(NodeId::new("edge1").unwrap()), true, 1, "t");
        }
        assert!(exporter.dropped() > 0);
    }
}
