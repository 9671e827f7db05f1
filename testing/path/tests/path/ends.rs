//! The media threads of an edge and a core at the two ends of a path, and packets through them.

use std::cell::Cell;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use edgeway_model::media::{InsideRelay, MediaCommand, MediaEvent, MediaPath, OutsideRelay, OutsideSecurity, PortPair};
use edgeway_model::{LinkId, NodeId, RelayId};
use edgeway_path::{IPV4, IPV6, Path};
use edgeway_runtime::link::{Door, LinkHost, listen};
use edgeway_runtime::media::{Marking, MediaConfig, MediaFact, MediaHandle};
use edgeway_runtime::outbox::Outbox;
use edgeway_runtime::pki::tls::{media_client_config, media_server_config};
use edgeway_runtime::pki::{Authority, Identity, Role};
use edgeway_runtime::service::seed;
use tokio::sync::mpsc;

/// The port of the link.
pub(crate) const LINK_PORT: u16 = 7001;
/// Patience for what should take a moment.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// Receive buffers of the far ends: a busy machine must not lose what the path did not.
const BUFFER_BYTES: usize = 16 << 20;
/// RTP header, and the number each packet carries.
const HEAD_BYTES: usize = 16;

/// A media thread and what it has said.
pub(crate) struct Node {
    pub(crate) media: MediaHandle,
    facts: mpsc::Receiver<MediaFact>,
    paths: Vec<MediaPath>,
    free: Vec<PortPair>,
}

/// Both, linked, with relays between a client beside the edge and a party beside the core.
pub(crate) struct Ends {
    pub(crate) edge: Node,
    pub(crate) core: Node,
    client: UdpSocket,
    inside: UdpSocket,
    /// Client-side and inside ports of each relay.
    relays: Vec<(PortPair, PortPair)>,
    loopback: IpAddr,
    _link_port: LinkPort,
}

/// What came of a run of packets.
pub(crate) struct Outcome {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// The longest time in which nothing came.
    pub(crate) gap: Duration,
}

impl Outcome {
    pub(crate) fn lost_percent(&self) -> f64 {
        100.0 * (self.sent - self.received) as f64 / self.sent as f64
    }
}

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Inward,
    Outward,
}

impl Node {
    fn start(config: MediaConfig) -> Result<Self> {
        let (sender, facts) = mpsc::channel(4_096);
        Ok(Self { media: MediaHandle::start(config, sender)?, facts, paths: Vec::new(), free: Vec::new() })
    }

    /// Takes in what the thread has said.
    fn listen(&mut self) {
        while let Ok(fact) = self.facts.try_recv() {
            match fact {
                MediaFact::Path { path, .. } => self.paths.push(path),
                MediaFact::Event(MediaEvent::PortsBound { ports }) => self.free.extend(ports),
                MediaFact::Event(_) | MediaFact::Control { .. } => {}
            }
        }
    }

    /// The ways its peer was reached by, so far.
    pub(crate) fn paths(&mut self) -> &[MediaPath] {
        self.listen();
        &self.paths
    }

    fn bind(&mut self, pairs: usize) -> Result<Vec<PortPair>> {
        self.media.command(MediaCommand::BindPorts { pairs: u16::try_from(pairs)? });
        wait("ports", SOON, || {
            self.listen();
            self.free.len() >= pairs
        })?;
        Ok(self.free.split_off(self.free.len() - pairs))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.media.shutdown();
    }
}

impl Ends {
    /// Starts both, over IPv4, or over IPv6.
    pub(crate) fn start(path: &Path, version_six: bool) -> Result<Self> {
        let authority = Authority::ephemeral()?;
        let (edge_name, core_name) = (NodeId::new("edge1").context("legal")?, NodeId::new("core1").context("legal")?);
        let edge_identity = authority.issue(&edge_name, Role::Edge)?;
        let core_identity = authority.issue(&core_name, Role::Core)?;
        let (link, loopback) = if version_six {
            (IPV6[0], IpAddr::V6(Ipv6Addr::LOCALHOST))
        } else {
            (IPV4[0], IpAddr::V4(Ipv4Addr::LOCALHOST))
        };
        let link = SocketAddr::new(link, LINK_PORT);
        let config = |listen| -> Result<_> {
            Ok(MediaConfig {
                bind: loopback,
                first_port: 36_000,
                last_port: 59_999,
                marking: Marking::default(),
                listen,
                seed: seed()?,
            })
        };
        let edge = path.host(0).enter(|| {
            let server = media_server_config(&edge_identity)?;
            Node::start(config(Some((UdpSocket::bind(link)?, Some(server))))?)
        })?;
        let tcp = path.host(0).enter(|| Ok(TcpListener::bind(link)?))?;
        let link_port = LinkPort::open(tcp, edge_identity, edge.media.clone())?;
        let core = path.host(1).enter(|| Node::start(config(None)?))?;
        core.media.dial(edge_name.clone(), link.to_string(), media_client_config(&core_identity, &edge_name)?);
        let client = path.host(0).enter(|| socket(loopback))?;
        let inside = path.host(1).enter(|| socket(loopback))?;
        Ok(Self { edge, core, client, inside, relays: Vec::new(), loopback, _link_port: link_port })
    }

    /// Waits until both reach each other so.
    pub(crate) fn wait_path(&mut self, wanted: MediaPath, patience: Duration) -> Result<Duration> {
        let start = Instant::now();
        wait(wanted.label(), patience, || {
            self.edge.paths().last() == Some(&wanted) && self.core.paths().last() == Some(&wanted)
        })?;
        Ok(start.elapsed())
    }

    /// Relays without SRTP: the path is what is looked at.
    pub(crate) fn add_relays(&mut self, count: usize) -> Result<()> {
        let described = |socket: &UdpSocket| -> Result<_> {
            let address = socket.local_addr()?;
            Ok(Some((address, SocketAddr::new(address.ip(), address.port() + 1))))
        };
        let (outside, inside) = (self.edge.bind(count)?, self.core.bind(count)?);
        for (number, ports) in outside.into_iter().zip(inside).enumerate() {
            let relay = RelayId(u32::try_from(number)?);
            self.edge.media.command(MediaCommand::SetOutside(OutsideRelay {
                peer: NodeId::new("core1").context("legal")?,
                relay,
                ports: ports.0,
                signalling_peer: self.loopback,
                described: described(&self.client)?,
                srtp: false,
            }));
            self.core.media.command(MediaCommand::SetInside(InsideRelay {
                peer: NodeId::new("edge1").context("legal")?,
                relay,
                ports: ports.1,
                described: described(&self.inside)?,
                outside: OutsideSecurity::Plain,
            }));
            self.relays.push(ports);
        }
        // Orders keep their order: once more ports are bound, the relays are there.
        self.edge.bind(1)?;
        self.core.bind(1)?;
        Ok(())
    }

    /// Sends `per_second` packets of `bytes` for a while, over all relays in turn.
    pub(crate) fn run(
        &self,
        direction: Direction,
        bytes: usize,
        per_second: u64,
        span: Duration,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<Outcome> {
        let (from, to) = match direction {
            Direction::Inward => (&self.client, &self.inside),
            Direction::Outward => (&self.inside, &self.client),
        };
        let ports: Vec<u16> = self
            .relays
            .iter()
            .map(|(outside, inside)| if direction == Direction::Inward { outside.rtp } else { inside.rtp })
            .collect();
        // The first packet of a source proves it; the run is about what comes after.
        for (at, port) in ports.iter().enumerate() {
            from.send_to(&packet(bytes, at, u32::MAX), (self.loopback, *port))?;
        }
        std::thread::sleep(Duration::from_millis(200));
        let (done, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let receiver = scope.spawn(|| receive(to, bytes, &done));
            let sender = scope.spawn(|| send(from, self.loopback, &ports, bytes, per_second, span, &sent));
            let meanwhile = meanwhile();
            let outcome = sender.join().ok().context("the sender panicked")?;
            std::thread::sleep(Duration::from_millis(500));
            done.store(true, Ordering::Release);
            let (received, gap) = receiver.join().ok().context("the receiver panicked")??;
            outcome?;
            meanwhile?;
            Ok(Outcome { sent: sent.load(Ordering::Acquire), received, gap })
        })
    }
}

fn send(
    socket: &UdpSocket,
    to: IpAddr,
    ports: &[u16],
    bytes: usize,
    per_second: u64,
    span: Duration,
    sent: &AtomicU64,
) -> Result<()> {
    let start = Instant::now();
    let mut number = 0u32;
    loop {
        let elapsed = start.elapsed();
        if elapsed >= span {
            return Ok(());
        }
        let due = u64::try_from(elapsed.as_micros())? * per_second / 1_000_000;
        while u64::from(number) <= due {
            let relay = number as usize % ports.len();
            socket.send_to(&packet(bytes, relay, number), (to, ports[relay]))?;
            number += 1;
        }
        sent.store(u64::from(number), Ordering::Release);
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// How many different packets came, and the longest time without one.
fn receive(socket: &UdpSocket, bytes: usize, done: &AtomicBool) -> Result<(u64, Duration)> {
    let (mut seen, mut buffer) = (HashSet::new(), [0; 2_048]);
    let (mut last, mut gap) = (None::<Instant>, Duration::ZERO);
    while !done.load(Ordering::Acquire) {
        let Ok((length, _)) = socket.recv_from(&mut buffer) else { continue };
        ensure!(length == bytes, "{length} bytes came of {bytes}");
        let number = u32::from_be_bytes([buffer[12], buffer[13], buffer[14], buffer[15]]);
        let intact = buffer[HEAD_BYTES..length].iter().all(|byte| *byte == number as u8);
        ensure!(intact, "packet {number} came changed");
        if number != u32::MAX {
            seen.insert(number);
            let now = Instant::now();
            gap = gap.max(last.map_or(Duration::ZERO, |last| now - last));
            last = Some(now);
        }
    }
    Ok((seen.len() as u64, gap))
}

fn packet(bytes: usize, relay: usize, number: u32) -> Vec<u8> {
    let mut packet = vec![number as u8; bytes];
    packet[..12].copy_from_slice(&[0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, relay as u8]);
    packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
    packet[12..HEAD_BYTES].copy_from_slice(&number.to_be_bytes());
    packet
}

fn socket(address: IpAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((address, 0))?;
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    Ok(socket)
}

/// Waits for `ready`.
pub(crate) fn wait(what: &str, patience: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !ready() {
        if start.elapsed() > patience {
            bail!("no {what} within {patience:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// The edge's link port, for media connections only.
struct LinkPort {
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LinkPort {
    fn open(tcp: TcpListener, identity: Identity, media: MediaHandle) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = tokio::sync::oneshot::channel();
        tcp.set_nonblocking(true)?;
        let thread = std::thread::spawn(move || {
            let host = MediaOnly { media, next: Rc::default() };
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let Ok(tcp) = tokio::net::TcpListener::from_std(tcp) else { return };
                let _listener = listen(host, tcp, Door::Paired(identity));
                let _ = stopped.await;
            });
        });
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for LinkPort {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct MediaOnly {
    media: MediaHandle,
    next: Rc<Cell<u32>>,
}

impl LinkHost for MediaOnly {
    fn next_link(&self) -> LinkId {
        self.next.set(self.next.get() + 1);
        LinkId(self.next.get())
    }
    fn link_opened(
        &self,
        _link: LinkId,
        _peer: NodeId,
        _role: edgeway_model::Role,
        _address: SocketAddr,
        _outbox: Rc<Outbox>,
    ) {
    }
    fn link_received(&self, _link: LinkId, _bytes: Bytes) {}
    fn link_closed(&self, _link: LinkId, _why: String) {}
    fn media_stream(&self, peer: NodeId, tcp: std::net::TcpStream, tls: rustls::ServerConnection) {
        self.media.adopt(peer, tcp, tls);
    }
}
