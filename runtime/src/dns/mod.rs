//! Asks the name system what the node wants to know: a stub resolver (RFC 1034 §5.3.1).
//!
//! It asks the configured name servers, or those of `/etc/resolv.conf` (read anew for each question, so
//! that a change there is taken), in order, twice, over UDP and, where an answer is cut off, over TCP.
//! Addresses are looked for in `/etc/hosts` first. Every answer is the world's: nothing is kept here,
//! times to live are the node's business (`policy/src/location.rs`). What it does not do: search
//! domains, DNSSEC, recursion.
//!
//! Why not a library: the leading one brings some forty packages for four kinds of records.

mod message;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use edgeway_model::dns::{DnsAnswer, DnsQuery, NaptrRecord, RecordKind, SrvRecord};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use self::message::{Data, Record, Response, Type};
use crate::limits::{
    DNS_ALIASES_MAX, DNS_ANSWER_WITHIN, DNS_DATAGRAM_BYTES_MAX, DNS_QUESTION_WITHIN, DNS_ROUNDS, DNS_SERVERS_MAX,
    DNS_TTL_HOSTS, SYSTEM_FILE_BYTES_MAX,
};

/// Where names are looked up.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
}

impl Resolver {
    /// Asks these name servers; those of the system if there are none.
    #[must_use]
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers }
    }

    /// The answer to one question, within the time all servers have together.
    pub async fn answer(&self, query: &DnsQuery) -> DnsAnswer {
        let asked = async {
            match query.kind {
                RecordKind::Naptr => self.naptr(&query.name).await,
                RecordKind::Srv => self.srv(&query.name).await,
                RecordKind::Addresses => self.addresses(&query.name).await,
            }
        };
        let answer = tokio::time::timeout(DNS_QUESTION_WITHIN, asked).await;
        let answer = answer.unwrap_or_else(|_| Err("no name server answers".to_owned()));
        answer.unwrap_or_else(|why: String| DnsAnswer::Failed { why: format!("{query}: {why}") })
    }

    async fn naptr(&self, name: &str) -> Result<DnsAnswer, String> {
        let found = self.records(name, Type::Naptr).await?;
        let ttl = shortest(&found);
        let records: Vec<_> = found
            .into_iter()
            .filter_map(|record| match record.data {
                Data::Naptr { order, preference, flags, service, replacement } => {
                    Some(NaptrRecord { order, preference, flags, service, replacement })
                }
                Data::Address(_) | Data::Cname(_) | Data::Srv { .. } => None,
            })
            .collect();
        Ok(if records.is_empty() { DnsAnswer::Nothing } else { DnsAnswer::Naptr { records, ttl } })
    }

    async fn srv(&self, name: &str) -> Result<DnsAnswer, String> {
        let found = self.records(name, Type::Srv).await?;
        let ttl = shortest(&found);
        let records: Vec<_> = found
            .into_iter()
            .filter_map(|record| match record.data {
                Data::Srv { priority, weight, port, target } => Some(SrvRecord { priority, weight, port, target }),
                Data::Address(_) | Data::Cname(_) | Data::Naptr { .. } => None,
            })
            .collect();
        Ok(if records.is_empty() { DnsAnswer::Nothing } else { DnsAnswer::Srv { records, ttl } })
    }

    async fn addresses(&self, name: &str) -> Result<DnsAnswer, String> {
        let hosts = in_hosts(&system_file("/etc/hosts"), name);
        if !hosts.is_empty() {
            return Ok(DnsAnswer::Addresses { addresses: hosts, ttl: DNS_TTL_HOSTS });
        }
        let (v4, v6) = tokio::join!(self.records(name, Type::A), self.records(name, Type::Aaaa));
        let found = match (v4, v6) {
            (Ok(v4), Ok(v6)) => [v4, v6].concat(),
            // One family is better than none.
            (Ok(found), Err(_)) | (Err(_), Ok(found)) if !found.is_empty() => found,
            (Err(why), _) | (_, Err(why)) => return Err(why),
        };
        let ttl = shortest(&found);
        let addresses: Vec<_> = found
            .into_iter()
            .filter_map(|record| match record.data {
                Data::Address(ip) => Some(ip),
                Data::Cname(_) | Data::Srv { .. } | Data::Naptr { .. } => None,
            })
            .collect();
        Ok(if addresses.is_empty() { DnsAnswer::Nothing } else { DnsAnswer::Addresses { addresses, ttl } })
    }

    /// The records of a name and, where it is an alias, those of what it stands for.
    async fn records(&self, name: &str, kind: Type) -> Result<Vec<Record>, String> {
        let servers = if self.servers.is_empty() { system_servers() } else { self.servers.clone() };
        let mut why = "no name server answers".to_owned();
        for _ in 0..DNS_ROUNDS {
            for server in &servers {
                match ask(*server, name, kind).await {
                    Ok(response) if matches!(response.code, 0 | 3) => return Ok(follow(response.records, name)),
                    Ok(response) => why = format!("{server} answers with error {}", response.code),
                    Err(error) => why = format!("{server}: {error}"),
                }
            }
        }
        Err(why)
    }
}

/// The aliases from `name` on, and the records of where they end.
fn follow(records: Vec<Record>, name: &str) -> Vec<Record> {
    let mut names = BTreeSet::from([name.to_ascii_lowercase()]);
    for _ in 0..DNS_ALIASES_MAX {
        let aliases = records.iter().filter(|record| names.contains(&record.name));
        let more: Vec<_> = aliases
            .filter_map(|record| match &record.data {
                Data::Cname(target) => Some(target.clone()),
                Data::Address(_) | Data::Srv { .. } | Data::Naptr { .. } => None,
            })
            .collect();
        names.extend(more);
    }
    // RFC 5452 §6: what belongs to another name was not asked for.
    records.into_iter().filter(|record| names.contains(&record.name)).collect()
}

fn shortest(records: &[Record]) -> Duration {
    Duration::from_secs(records.iter().map(|record| u64::from(record.ttl)).min().unwrap_or(0))
}

async fn ask(server: SocketAddr, name: &str, kind: Type) -> io::Result<Response> {
    let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
    let response = tokio::time::timeout(DNS_ANSWER_WITHIN, over_udp(server, name, kind)).await.map_err(timed_out)??;
    if !response.truncated {
        return Ok(response);
    }
    tokio::time::timeout(DNS_ANSWER_WITHIN, over_tcp(server, name, kind)).await.map_err(timed_out)?
}

fn question(name: &str, kind: Type) -> io::Result<(u16, Vec<u8>)> {
    let mut id = [0; 2];
    // RFC 5452 §9.2: the id, like the port the system chooses, is not to be guessed.
    crate::pki::tls::provider().secure_random.fill(&mut id).map_err(|_| io::Error::other("no random numbers"))?;
    let id = u16::from_be_bytes(id);
    let bytes = message::query(id, name, kind).ok_or_else(|| io::Error::other("this is no name"))?;
    Ok((id, bytes))
}

async fn over_udp(server: SocketAddr, name: &str, kind: Type) -> io::Result<Response> {
    let local = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind(SocketAddr::new(local, 0)).await?;
    // Connected: answers from anywhere else are not seen.
    socket.connect(server).await?;
    let (id, bytes) = question(name, kind)?;
    socket.send(&bytes).await?;
    let mut buffer = vec![0; DNS_DATAGRAM_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What is none of our answer may be forged: the true one may still come.
        if let Some(response) = message::parse(&buffer[..length], id, name, kind) {
            return Ok(response);
        }
    }
}

/// RFC 1035 §4.2.2: a length, and the message.
async fn over_tcp(server: SocketAddr, name: &str, kind: Type) -> io::Result<Response> {
    let mut stream = TcpStream::connect(server).await?;
    let (id, bytes) = question(name, kind)?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    message::parse(&buffer, id, name, kind).ok_or_else(|| io::Error::other("a damaged answer"))
}

/// A file of the system that may not be there, or be far too large.
fn system_file(path: &str) -> String {
    use std::io::Read;
    let Ok(file) = std::fs::File::open(path) else { return String::new() };
    let mut text = Vec::new();
    // A file that cannot be read is like one that is not there.
    let _ = file.take(SYSTEM_FILE_BYTES_MAX).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn system_servers() -> Vec<SocketAddr> {
    let found = servers_in(&system_file("/etc/resolv.conf"));
    // resolv.conf(5): without any, the name server of this machine.
    if found.is_empty() { vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 53))] } else { found }
}

fn servers_in(text: &str) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("nameserver")
            && let Some(ip) = words.next().and_then(|word| word.parse::<IpAddr>().ok())
            && servers.len() < DNS_SERVERS_MAX
        {
            servers.push(SocketAddr::new(ip, 53));
        }
    }
    servers
}

/// The addresses `/etc/hosts` has for a name (hosts(5)).
fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(ip) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
        if words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name)) {
            addresses.push(ip);
        }
    }
    addresses
}

#[cfg(test)]
mod tests;
