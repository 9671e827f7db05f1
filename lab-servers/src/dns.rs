//! A DNS server of a few records, for names that exist in a lab or a test only. UDP, on a port of its own; the
//! resolver of whoever takes part is pointed at it. Records may change while it runs.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::limits::{DATAGRAM_BYTES_MAX, DNS_LOG_MAX, DNS_TTL_SECS};

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// No such name (RFC 1035 §4.1.1).
const NAME_ERROR: u8 = 3;
const SERVER_FAILURE: u8 = 2;

/// How often the thread looks whether it is still wanted.
const LOOK_UP_EVERY: Duration = Duration::from_millis(50);

/// One record of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsRecord {
    /// An address: A or AAAA.
    Address(IpAddr),
    /// An alias.
    Alias(String),
    /// A service (RFC 2782).
    Service {
        /// Lower goes first.
        priority: u16,
        /// Share among those of one priority.
        weight: u16,
        /// The port.
        port: u16,
        /// The host.
        target: String,
    },
}

/// A question that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsAsked {
    /// The name, in lower case.
    pub name: String,
    /// Its type: 1 A, 28 AAAA, 33 SRV.
    pub kind: u16,
}

#[derive(Default)]
struct Zone {
    names: BTreeMap<String, Vec<DnsRecord>>,
    asked: Vec<DnsAsked>,
    /// The server fails whatever is asked.
    failing: bool,
    /// The server is silent.
    silent: bool,
}

/// A running server; it stops when dropped.
pub struct LabDns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl LabDns {
    /// Starts on a free port of loopback.
    ///
    /// # Errors
    /// What the system says to socket or thread.
    pub fn start() -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(LOOK_UP_EVERY))?;
        let address = socket.local_addr()?;
        let (zone, over) = (Arc::new(Mutex::new(Zone::default())), Arc::new(AtomicBool::new(false)));
        let (its_zone, its_over) = (zone.clone(), over.clone());
        let thread = std::thread::Builder::new().name("lab-dns".to_owned()).spawn(move || {
            let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
            while !its_over.load(Ordering::Relaxed) {
                let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
                if let Some(answer) = buffer.get(..length).and_then(|query| answer(&mut lock(&its_zone), query)) {
                    let _ = socket.send_to(&answer, peer);
                }
            }
        })?;
        Ok(Self { address, zone, over, thread: Some(thread) })
    }

    /// Where it is asked.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A name has these records from now on, and no others. None: the name exists and has nothing to say.
    pub fn set(&self, name: &str, records: &[DnsRecord]) {
        lock(&self.zone).names.insert(name.to_ascii_lowercase(), records.to_vec());
    }

    /// A name has these addresses from now on.
    pub fn set_addresses(&self, name: &str, addresses: &[IpAddr]) {
        let records: Vec<DnsRecord> = addresses.iter().copied().map(DnsRecord::Address).collect();
        self.set(name, &records);
    }

    /// A name is gone from now on.
    pub fn remove(&self, name: &str) {
        lock(&self.zone).names.remove(&name.to_ascii_lowercase());
    }

    /// Whether every question is answered with a failure of the server.
    pub fn fail(&self, failing: bool) {
        lock(&self.zone).failing = failing;
    }

    /// Whether no question is answered at all.
    pub fn silence(&self, silent: bool) {
        lock(&self.zone).silent = silent;
    }

    /// What has been asked so far; the oldest is forgotten first.
    #[must_use]
    pub fn asked(&self) -> Vec<DnsAsked> {
        lock(&self.zone).asked.clone()
    }
}

impl Drop for LabDns {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(zone: &Mutex<Zone>) -> std::sync::MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answer to one query; `None` for what is none.
fn answer(zone: &mut Zone, query: &[u8]) -> Option<Vec<u8>> {
    let (name, kind, end) = question(query)?;
    if zone.asked.len() == DNS_LOG_MAX {
        zone.asked.remove(0);
    }
    zone.asked.push(DnsAsked { name: name.clone(), kind });
    if zone.silent {
        return None;
    }
    let mut records = Vec::new();
    let mut owner = name;
    let mut known = false;
    // A chain of aliases ends, whatever the zone says.
    for _ in 0..8 {
        let Some(found) = zone.names.get(&owner) else { break };
        known = true;
        let mut next = None;
        for record in found {
            let (its_kind, data) = write(record);
            if its_kind == kind || its_kind == CNAME {
                records.push((owner.clone(), its_kind, data));
            }
            if let DnsRecord::Alias(target) = record {
                next = Some(target.to_ascii_lowercase());
            }
        }
        match next {
            Some(target) if kind != CNAME => owner = target,
            Some(_) | None => break,
        }
    }
    let code = match (zone.failing, known) {
        (true, _) => SERVER_FAILURE,
        (false, true) => 0,
        (false, false) => NAME_ERROR,
    };
    if zone.failing {
        records.clear();
    }
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(query.get(..2)?);
    // A response, authoritative, recursion desired as asked and available.
    out.extend_from_slice(&[0x84 | (query.get(2)? & 1), 0x80 | code, 0, 1]);
    out.extend_from_slice(&u16::try_from(records.len()).ok()?.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(query.get(12..end)?);
    for (owner, kind, data) in records {
        name_bytes(&mut out, &owner);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&1_u16.to_be_bytes());
        out.extend_from_slice(&DNS_TTL_SECS.to_be_bytes());
        out.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
        out.extend_from_slice(&data);
    }
    Some(out)
}

/// Name in lower case, type, and where the question ends.
fn question(query: &[u8]) -> Option<(String, u16, usize)> {
    let mut at = 12;
    let mut name = String::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = std::str::from_utf8(query.get(at..at + length)?).ok()?;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&label.to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
    query.get(at + 3)?;
    Some((name, kind, at + 4))
}

fn write(record: &DnsRecord) -> (u16, Vec<u8>) {
    match record {
        DnsRecord::Address(IpAddr::V4(address)) => (A, address.octets().to_vec()),
        DnsRecord::Address(IpAddr::V6(address)) => (AAAA, address.octets().to_vec()),
        DnsRecord::Alias(target) => {
            let mut data = Vec::new();
            name_bytes(&mut data, target);
            (CNAME, data)
        }
        DnsRecord::Service { priority, weight, port, target } => {
            let mut data = Vec::new();
            for number in [priority, weight, port] {
                data.extend_from_slice(&number.to_be_bytes());
            }
            name_bytes(&mut data, target);
            (SRV, data)
        }
    }
}

fn name_bytes(out: &mut Vec<u8>, name: &str) {
    for label in name.trim_end_matches('.').split('.').filter(|label| !label.is_empty()) {
        // RFC 1035 §2.3.4: a label has 63 bytes at most; a longer one is a fault of the test.
        let label = label.as_bytes().get(..63).unwrap_or(label.as_bytes());
        out.push(label.len() as u8);
        out.extend_from_slice(label);
    }
    out.push(0);
}
