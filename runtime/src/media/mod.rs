//! The media thread of a node: one operating system thread that owns every media socket and the
//! node's end of the QUIC connections media rides on between edge and core.
//!
//! The node decides ([`MediaCommand`]); the engines of `edgeway-media` judge each packet; this
//! module moves them. It is one loop of turns (`thread`): wait, take what the sockets and the link
//! have, hand each packet to its relay, write each link once. Under load turns are spaced, so that
//! packets move in batches: the wake-ups, not the packets, are what costs.
//!
//! QUIC is `quinn-proto` turned by that same loop: no task, no lock and no wake-up of another
//! thread lies between a packet and the link. The core dials, the edge listens; both prove
//! themselves with their node identities; only datagrams are spoken. Where UDP is blocked, the same
//! datagrams go over a TCP connection of their own (`stream`, `paths`).

mod carrier;
mod limits;
mod paths;
mod peers;
mod poller;
mod ports;
mod quic;
mod relays;
mod resolve;
mod stream;
mod thread;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use bytes::Bytes;
use edgeway_config::MediaDscp;
use edgeway_model::NodeId;
use edgeway_model::media::{MediaClass, MediaCommand, MediaEvent, MediaPath, RelayCounters};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;

use limits::CONTROL_QUEUED_MAX;

/// A fact from the media thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaFact {
    /// For the node.
    Event(MediaEvent),
    /// A control datagram of the peer at the other end of a link.
    Control {
        /// The peer.
        peer: NodeId,
        /// What it sent.
        bytes: Bytes,
    },
    /// The way to a peer has changed.
    Path {
        /// The peer.
        peer: NodeId,
        /// The way datagrams take now.
        path: MediaPath,
    },
}

/// What a media thread works with.
#[derive(Debug)]
pub struct MediaConfig {
    /// The address media ports are bound on.
    pub bind: IpAddr,
    /// The lowest media port.
    pub first_port: u16,
    /// The highest.
    pub last_port: u16,
    /// How packets to clients, or to the inside, are marked.
    pub marking: Marking,
    /// Edge: the socket cores dial, and what we present there; without the latter (an edge that
    /// is not paired yet) nobody is let in until [`MediaHandle::set_server_config`].
    pub listen: Option<(UdpSocket, Option<Arc<rustls::ServerConfig>>)>,
    /// Randomness for the choice of ports, of SSRCs and of delays.
    pub seed: [u8; 32],
}

/// Differentiated services code points (RFC 2474), 0 to 63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marking {
    /// Of audio.
    pub audio: u8,
    /// Of video.
    pub video: u8,
}

impl Marking {
    const fn of(self, class: MediaClass) -> u8 {
        match class {
            MediaClass::Audio => self.audio,
            MediaClass::Video => self.video,
            MediaClass::Other => 0,
        }
    }
}

impl From<MediaDscp> for Marking {
    fn from(dscp: MediaDscp) -> Self {
        Self { audio: dscp.audio, video: dscp.video }
    }
}

/// Why media cannot start.
#[derive(Debug, thiserror::Error)]
pub enum MediaFault {
    /// The listening socket could not be used.
    #[error(
        "the media path cannot listen on UDP {address}: if another program uses the port, stop it or choose another"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system refused something a thread needs.
    #[error("the media thread cannot start ({action})")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The range holds not one pair (an even port and the next).
    #[error("the media ports {first} to {last} hold no pair of an even port and the one above")]
    NoPorts {
        /// The lowest port.
        first: u16,
        /// The highest.
        last: u16,
    },
    /// The node's TLS identity cannot be used for QUIC.
    #[error("the node's identity cannot be used for QUIC: {0}")]
    Identity(String),
}

/// The media thread, as everybody else sees it. Clones speak to the same thread, which ends with
/// [`MediaHandle::shutdown`] or with the last clone.
#[derive(Clone, Debug)]
pub struct MediaHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    orders: mpsc::Sender<Order>,
    board: Arc<Board>,
}

/// What both sides see.
#[derive(Debug)]
struct Board {
    wake: OwnedFd,
    /// Set while the thread is bound to look at its orders before it sleeps again.
    awake: AtomicBool,
    control_queued: AtomicUsize,
    paths: Mutex<BTreeMap<NodeId, MediaPath>>,
    inward: AtomicU64,
    outward: AtomicU64,
    /// What was not relayed, by reason, in the order of `RelayCounters::drops`.
    dropped: [AtomicU64; 5],
}

/// What the thread is asked to do.
enum Order {
    Command(MediaCommand),
    Control { peer: NodeId, bytes: Bytes },
    Dial { peer: NodeId, address: String, config: Arc<rustls::ClientConfig> },
    Forget(NodeId),
    ServerConfig(Arc<rustls::ServerConfig>),
    Marking(Marking),
    Streamed { peer: NodeId, opened: Result<(TcpStream, Box<rustls::Connection>), String> },
    Adopt { peer: NodeId, tcp: TcpStream, tls: Box<rustls::Connection> },
    Resolved { peer: NodeId, address: String, found: Result<Vec<SocketAddr>, String> },
    Shutdown,
}

impl MediaHandle {
    /// Starts the thread. Facts go to `facts`, which should hold at least 256: while it is full,
    /// reports and control datagrams are lost, everything else waits.
    ///
    /// # Errors
    /// [`MediaFault`].
    pub fn start(config: MediaConfig, facts: tokio::sync::mpsc::Sender<MediaFact>) -> Result<Self, MediaFault> {
        let system = |action| move |source| MediaFault::System { action, source };
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| system("making an event counter")(error.into()))?;
        let board = Arc::new(Board {
            wake,
            awake: AtomicBool::new(true),
            control_queued: AtomicUsize::new(0),
            paths: Mutex::default(),
            inward: AtomicU64::new(0),
            outward: AtomicU64::new(0),
            dropped: Default::default(),
        });
        let (orders, received) = mpsc::channel();
        let worker = thread::Worker::new(config, facts, received, orders.clone(), Arc::clone(&board))?;
        std::thread::Builder::new()
            .name("media".into())
            .spawn(move || worker.run())
            .map_err(system("starting a thread"))?;
        Ok(Self(Arc::new(Shared { orders, board })))
    }

    /// Carries out a rule of the node.
    ///
    /// The queue has no bound of its own and never blocks: a lost `Close` would leak ports for
    /// ever, and a node that waits for its media thread could wait for a thread that waits for
    /// it. What stands in it is bounded by what a node may ask for: a few commands for each of
    /// its `RELAYS_MAX` relays.
    pub fn command(&self, command: MediaCommand) {
        self.order(Order::Command(command));
    }

    /// Sends a control datagram to a peer; lost if there is no path or too many are waiting.
    pub fn send_control(&self, peer: NodeId, bytes: Bytes) {
        if self.0.board.control_queued.fetch_add(1, Ordering::Relaxed) >= CONTROL_QUEUED_MAX {
            self.0.board.control_queued.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        self.order(Order::Control { peer, bytes });
    }

    /// Core: keeps a connection to the edge `peer` at `address` (`host:port`) from now on,
    /// dialling again whenever it is lost; over TCP while UDP does not pass. The same peer again replaces
    /// what there was; with the same address, only the identity for the next dial.
    pub fn dial(&self, peer: NodeId, address: String, config: Arc<rustls::ClientConfig>) {
        self.order(Order::Dial { peer, address, config });
    }

    /// Closes what leads to a peer and dials it no more.
    pub fn forget(&self, peer: &NodeId) {
        self.order(Order::Forget(peer.clone()));
    }

    /// Edge: the identity to present from now on to cores that dial. Connections that are up stay.
    pub fn set_server_config(&self, config: Arc<rustls::ServerConfig>) {
        self.order(Order::ServerConfig(config));
    }

    /// How packets are marked from now on, those of calls that are up, too.
    pub fn set_marking(&self, marking: Marking) {
        self.order(Order::Marking(marking));
    }

    /// The way datagrams take to and from a peer now.
    #[must_use]
    pub fn path(&self, peer: &NodeId) -> MediaPath {
        self.0.board.paths.lock().unwrap_or_else(PoisonError::into_inner).get(peer).copied().unwrap_or_default()
    }

    /// Edge: carries media to and from the core `peer`, whose identity is proven, over a TCP connection
    /// it has dialled to the link port, wherever there is no UDP. Its handshake is done. A newer one
    /// replaces an older one.
    pub fn adopt(&self, peer: NodeId, tcp: TcpStream, tls: rustls::ServerConnection) {
        self.order(Order::Adopt { peer, tcp, tls: Box::new(tls.into()) });
    }

    /// Packets relayed inwards and outwards since the start.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        let board = &self.0.board;
        (board.inward.load(Ordering::Relaxed), board.outward.load(Ordering::Relaxed))
    }

    /// Packets that were not relayed since the start, by reason; up to date to about a second.
    #[must_use]
    pub fn drops(&self) -> [(&'static str, u64); 5] {
        let mut drops = RelayCounters::default().drops();
        for ((_, count), total) in drops.iter_mut().zip(&self.0.board.dropped) {
            *count = total.load(Ordering::Relaxed);
        }
        drops
    }

    /// Closes every connection and ends the thread, soon.
    pub fn shutdown(&self) {
        self.order(Order::Shutdown);
    }

    fn order(&self, order: Order) {
        // Fails only once the thread has ended, and then nothing matters any more.
        let _ = self.0.orders.send(order);
        self.0.board.wake();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Shutdown);
        self.board.wake();
    }
}

impl Board {
    /// More packets were not relayed, by reason.
    fn add_drops(&self, more: [u64; 5]) {
        for (total, more) in self.dropped.iter().zip(more) {
            total.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// Makes the thread look at its orders; one system call only if it may be asleep.
    fn wake(&self) {
        if !self.awake.swap(true, Ordering::AcqRel) {
            // The counter cannot overflow: it is written once per sleep.
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }
}
