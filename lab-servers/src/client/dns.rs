//! Questions to a DNS server, as a client asks them: SRV records and addresses, over UDP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::wire;

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// How long one question waits.
const WAIT: Duration = Duration::from_secs(2);

/// One service record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Lower goes first.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host.
    pub target: String,
}

/// The service records of a name, best first; none if there is no such name.
///
/// # Errors
/// The server is silent, fails, or says nothing that can be read.
pub async fn services(server: SocketAddr, name: &str) -> io::Result<Vec<Service>> {
    let mut found = Vec::new();
    for (message, at, length) in records(server, name, SRV).await? {
        let number = |offset: usize| word(&message, at + offset);
        if let (Some(priority), Some(weight), Some(port), true) = (number(0), number(2), number(4), length > 6) {
            let (target, _) = read_name(&message, at + 6).ok_or_else(unreadable)?;
            found.push(Service { priority, weight, port, target });
        }
    }
    found.sort_by_key(|service| (service.priority, std::cmp::Reverse(service.weight)));
    Ok(found)
}

/// The addresses of a name; none if there is no such name.
///
/// # Errors
/// As [`services`].
pub async fn addresses(server: SocketAddr, name: &str) -> io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    for kind in [A, AAAA] {
        for (message, at, length) in records(server, name, kind).await? {
            let bytes = message.get(at..at + length).ok_or_else(unreadable)?;
            if let Ok(four) = <[u8; 4]>::try_from(bytes) {
                found.push(Ipv4Addr::from(four).into());
            } else if let Ok(sixteen) = <[u8; 16]>::try_from(bytes) {
                found.push(Ipv6Addr::from(sixteen).into());
            }
        }
    }
    Ok(found)
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the answer cannot be read")
}

/// The answer records of that kind: the message, and where the data is.
async fn records(server: SocketAddr, name: &str, kind: u16) -> io::Result<Vec<(Vec<u8>, usize, usize)>> {
    let id = u16::try_from(wire::random().below(0x1_0000)).unwrap_or(1);
    let mut query = id.to_be_bytes().to_vec();
    query.extend_from_slice(&[0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length));
        query.push(length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a name"))?);
        query.extend_from_slice(label.as_bytes());
    }
    query.push(0);
    query.extend_from_slice(&kind.to_be_bytes());
    query.extend_from_slice(&1_u16.to_be_bytes());

    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(&query).await?;
    let mut answer = vec![0; 4_096];
    let length =
        timeout(WAIT, socket.recv(&mut answer)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    answer.truncate(length);
    if word(&answer, 0) != Some(id) {
        return Err(unreadable());
    }
    match answer.get(3).map(|flags| flags & 0x0f) {
        Some(0) => {}
        Some(3) => return Ok(Vec::new()),
        Some(code) => return Err(io::Error::other(format!("the DNS server answers with code {code}"))),
        None => return Err(unreadable()),
    }
    collect(answer, query.len(), kind).ok_or_else(unreadable)
}

fn collect(answer: Vec<u8>, mut at: usize, kind: u16) -> Option<Vec<(Vec<u8>, usize, usize)>> {
    let mut found = Vec::new();
    for _ in 0..word(&answer, 6)? {
        let (_, after) = read_name(&answer, at)?;
        let length = usize::from(word(&answer, after + 8)?);
        if word(&answer, after)? == kind {
            found.push((answer.clone(), after + 10, length));
        }
        at = after + 10 + length;
    }
    Some(found)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// A name and where it ends, compression followed (RFC 1035 §4.1.4).
fn read_name(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut at, mut end, mut name) = (start, None, String::new());
    for _ in 0..128 {
        let length = usize::from(*bytes.get(at)?);
        if length == 0 {
            return Some((name, end.unwrap_or(at + 1)));
        }
        if length >= 0xc0 {
            end = end.or(Some(at + 2));
            at = usize::from(word(bytes, at)? & 0x3fff);
            continue;
        }
        let label = std::str::from_utf8(bytes.get(at + 1..at + 1 + length)?).ok()?;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(label);
        at += 1 + length;
    }
    None
}
