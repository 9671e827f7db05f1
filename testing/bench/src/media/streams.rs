//! RTP and SRTP streams: senders at 50 packets a second each, receivers that count and look inside.
//!
//! A packet says in its RTP timestamp when it was sent, in microseconds, so that delay needs no bookkeeping. The
//! first packets of each stream are decrypted and compared, which proves the relay; after that only headers are read,
//! which keeps the generator cheap.

use crate::report::Latencies;
use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edgeway_media::srtp::{SrtpReceiver, SrtpSender};
use edgeway_model::Random;
use edgeway_model::media::{CryptoSuite, SrtpKey};
use rustix::event::{Timespec, epoll};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time between two packets of a stream.
const PACKET_INTERVAL: Duration = Duration::from_millis(20);
/// G.711, 20 ms.
const PAYLOAD_BYTES: usize = 160;
const HEADER_BYTES: usize = 12;
const TAG_BYTES: usize = 10;
/// The sender sleeps at least this long, so that it does not spin.
const NAP: Duration = Duration::from_micros(200);
/// Packets of each stream that are looked into.
const EXAMINED: u32 = 10;
/// How long packets may be on their way after the last was sent.
const DRAIN: Duration = Duration::from_millis(400);
/// Sockets reported by one wait.
const EVENTS_MAX: usize = 256;

/// One end of a call before it is known where the other end is.
#[derive(Debug)]
pub(crate) struct Endpoint {
    socket: UdpSocket,
    key: Option<SrtpKey>,
}

/// The two ends of a call, each sending to the other through a relay.
pub(crate) struct Streams {
    senders: Vec<Sender>,
    receivers: Vec<Receiver>,
    epoch: Instant,
}

struct Sender {
    socket: Arc<UdpSocket>,
    number: u32,
    sequence: u16,
    protect: Option<SrtpSender>,
}

struct Receiver {
    socket: Arc<UdpSocket>,
    open: Option<SrtpReceiver>,
    /// Who sends what arrives here: it is in every payload.
    from: u32,
    examined: u32,
}

/// What a run saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    pub(crate) sent: usize,
    pub(crate) received: usize,
    /// Packets whose content was not what was sent.
    pub(crate) wrong: usize,
    /// One-way delay through the relay.
    pub(crate) latencies: Latencies,
}

impl Endpoint {
    /// A socket on loopback, and for an encrypted end a fresh key.
    pub(crate) fn open(encrypted: bool, random: &mut Random) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let key = encrypted.then(|| SrtpKey::generate(CryptoSuite::AesCm128HmacSha1_80, random));
        Ok(Self { socket, key })
    }

    /// The session description that offers or answers with this end.
    pub(crate) fn description(&self) -> Result<String> {
        let address = self.socket.local_addr()?;
        let (ip, port) = (address.ip(), address.port());
        let profile = if self.key.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
        let crypto = self.key.as_ref().map_or_else(String::new, |key| {
            format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}\r\n", STANDARD.encode(key.key_and_salt()))
        });
        Ok(format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} {profile} 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n{crypto}"
        ))
    }
}

impl Streams {
    /// No streams yet.
    pub(crate) fn new() -> Self {
        Self { senders: Vec::new(), receivers: Vec::new(), epoch: Instant::now() }
    }

    /// How many streams: two for each call.
    pub(crate) fn count(&self) -> usize {
        self.senders.len()
    }

    /// Adds a call: each end with the description that tells it where the relay is.
    pub(crate) fn add(&mut self, ends: [(Endpoint, &str); 2], random: &mut Random) -> Result<()> {
        let first = u32::try_from(self.senders.len())?;
        for (offset, (end, description)) in (0..).zip(ends) {
            let (number, from) = (first + offset, first + 1 - offset);
            let remote = Remote::parse(description).with_context(|| format!("in {description:?}"))?;
            end.socket.connect(remote.address)?;
            ensure!(
                end.key.is_some() == remote.key.is_some(),
                "one end has a key, the other has none: {description:?}"
            );
            let socket = Arc::new(end.socket);
            let protect = end.key.as_ref().map(|key| SrtpSender::new(key, random.split()));
            self.senders.push(Sender { socket: Arc::clone(&socket), number, sequence: 1, protect });
            let open = remote.key.as_ref().map(SrtpReceiver::new);
            self.receivers.push(Receiver { socket, open, from, examined: 0 });
        }
        Ok(())
    }

    /// Every stream sends for `duration`.
    pub(crate) fn run(&mut self, duration: Duration) -> Result<Done> {
        let (senders, receivers, epoch) = (&mut self.senders, &mut self.receivers, self.epoch);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let receiving = scope.spawn(|| receive(receivers, epoch, &over));
            let sent = send(senders, epoch, duration);
            std::thread::sleep(DRAIN);
            over.store(true, Ordering::Relaxed);
            let Ok(received) = receiving.join() else { bail!("the receiving thread panicked") };
            Ok(Done { sent: sent?, ..received? })
        })
    }
}

/// Sends packet after packet, each stream in turn, evenly spread over time. How many were sent.
fn send(senders: &mut [Sender], epoch: Instant, duration: Duration) -> Result<usize> {
    let step = PACKET_INTERVAL.as_secs_f64() / senders.len() as f64;
    let rounds = (duration.as_secs_f64() / PACKET_INTERVAL.as_secs_f64()) as usize;
    let start = Instant::now();
    let mut sent = 0;
    for turn in 0..rounds * senders.len() {
        let due = start + Duration::from_secs_f64(step * turn as f64);
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait.max(NAP));
        }
        let index = turn % senders.len();
        sent += usize::from(senders[index].send(epoch)?);
    }
    Ok(sent)
}

impl Sender {
    /// Whether the packet was sent: an error an earlier packet caused (ICMP) is reported on a later one.
    fn send(&mut self, epoch: Instant) -> Result<bool> {
        let mut packet = [0; HEADER_BYTES + PAYLOAD_BYTES + TAG_BYTES];
        let mut len = HEADER_BYTES + PAYLOAD_BYTES;
        packet[0] = 0x80;
        packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&micros(epoch).to_be_bytes());
        packet[8..12].copy_from_slice(&(0x1000_0000 + self.number).to_be_bytes());
        packet[HEADER_BYTES..len].copy_from_slice(&payload(self.number));
        if let Some(protect) = &mut self.protect {
            len = protect.protect_rtp(&mut packet, len)?;
        }
        self.sequence = self.sequence.wrapping_add(1);
        Ok(self.socket.send(&packet[..len]).is_ok())
    }
}

/// Receives until `over`.
fn receive(receivers: &mut [Receiver], epoch: Instant, over: &AtomicBool) -> Result<Done> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (index, receiver) in (0_u64..).zip(receivers.iter()) {
        epoll::add(&poll, &receiver.socket, epoll::EventData::new_u64(index), epoll::EventFlags::IN)?;
    }
    let mut done = Done::default();
    let mut events = Vec::with_capacity(EVENTS_MAX);
    while !over.load(Ordering::Relaxed) {
        wait(&poll, &mut events)?;
        for event in events.drain(..) {
            let index = usize::try_from(event.data.u64())?;
            receivers[index].drain(epoch, &mut done)?;
        }
    }
    Ok(done)
}

fn wait(poll: &OwnedFd, events: &mut Vec<epoll::Event>) -> Result<()> {
    let patience = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    match epoll::wait(poll, rustix::buffer::spare_capacity(events), Some(&patience)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Receiver {
    /// Takes everything that waits on the socket.
    fn drain(&mut self, epoch: Instant, done: &mut Done) -> Result<()> {
        let mut packet = [0; 2048];
        loop {
            match self.socket.recv(&mut packet) {
                Ok(len) => self.count(&mut packet[..len], epoch, done),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // What an ICMP message said about an earlier packet.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn count(&mut self, packet: &mut [u8], epoch: Instant, done: &mut Done) {
        if packet.len() < HEADER_BYTES + PAYLOAD_BYTES {
            return;
        }
        done.received += 1;
        let sent = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        done.latencies.record(Duration::from_micros(u64::from(micros(epoch).wrapping_sub(sent))));
        if self.examined < EXAMINED {
            self.examined += 1;
            done.wrong += usize::from(!self.is_right(packet));
        }
    }

    fn is_right(&mut self, packet: &mut [u8]) -> bool {
        let len = match &mut self.open {
            Some(open) => open.unprotect_rtp(packet).map_or(0, |opened| opened.len),
            None => packet.len(),
        };
        packet.get(HEADER_BYTES..len) == Some(&payload(self.from)[..])
    }
}

/// What a stream says: its number, over and over.
fn payload(number: u32) -> [u8; PAYLOAD_BYTES] {
    let mut payload = [0; PAYLOAD_BYTES];
    for word in payload.chunks_exact_mut(4) {
        word.copy_from_slice(&number.to_be_bytes());
    }
    payload
}

/// Microseconds since `epoch`, modulo 2³².
fn micros(epoch: Instant) -> u32 {
    (epoch.elapsed().as_micros() & u128::from(u32::MAX)) as u32
}

/// Where a description says media goes, and with which key media comes from there.
#[derive(Debug)]
struct Remote {
    address: SocketAddr,
    key: Option<SrtpKey>,
}

impl Remote {
    fn parse(description: &str) -> Result<Self> {
        let after = |prefix: &str| description.lines().find_map(|line| line.strip_prefix(prefix));
        let ip: IpAddr = after("c=IN IP4 ").context("an address")?.trim().parse()?;
        let port = after("m=audio ").and_then(|rest| rest.split(' ').next()).context("a port")?.parse()?;
        let key = match description.split_once("AES_CM_128_HMAC_SHA1_80 inline:") {
            Some((_, rest)) => Some(parse_key(rest)?),
            None => None,
        };
        Ok(Self { address: SocketAddr::new(ip, port), key })
    }
}

/// The key and salt of RFC 4568 §6.1: base64, up to the end of the line or a lifetime.
fn parse_key(text: &str) -> Result<SrtpKey> {
    let end = text.find(|character: char| !(character.is_ascii_alphanumeric() || "+/=".contains(character)));
    let bytes = STANDARD
        .decode(&text[..end.unwrap_or(text.len())])
        .map_err(|error| anyhow::anyhow!("a key in base64: {error}"))?;
    SrtpKey::new(CryptoSuite::AesCm128HmacSha1_80, &bytes).context("a key of another length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random() -> Random {
        Random::from_seed([7; 32])
    }

    /// Two ends that send to each other without a relay: what one is told is what the other offers.
    fn direct(encrypted: bool) -> Streams {
        let mut random = random();
        let mut end = || Endpoint::open(encrypted, &mut random).unwrap();
        let (one, other) = (end(), end());
        let (first, second) = (one.description().unwrap(), other.description().unwrap());
        let mut streams = Streams::new();
        streams.add([(one, &second), (other, &first)], &mut self::random()).unwrap();
        streams
    }

    #[test]
    fn packets_arrive_and_can_be_read() {
        for encrypted in [false, true] {
            let done = direct(encrypted).run(Duration::from_millis(300)).unwrap();
            assert_eq!((done.sent, done.received, done.wrong), (30, 30, 0), "encrypted: {encrypted}");
        }
    }

    #[test]
    fn the_wrong_key_is_noticed() {
        let mut streams = direct(true);
        streams.receivers[0].open =
            Some(SrtpReceiver::new(&SrtpKey::new(CryptoSuite::AesCm128HmacSha1_80, &[9; 30]).unwrap()));
        let done = streams.run(Duration::from_millis(100)).unwrap();
        assert_eq!(done.wrong, 5);
    }
}
