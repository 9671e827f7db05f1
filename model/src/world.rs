//! Everything a node can learn from the world ([`Input`]) and everything it can do to the world
//! ([`Output`]).
//!
//! For a program that stands in a DMZ this page is the security statement: what is no variant of
//! [`Output`], the node cannot do. Two drivers turn the crank: `runtime` (real sockets, real
//! clock) and `testing/sim` (a fleet on one virtual clock).
//!
//! # Contract of the driver
//!
//! 1. After every [`Node::handle`], drain [`Node::poll`] until it returns `None`.
//! 2. Then ask [`Node::next_deadline`]; when that moment has come, hand in [`Input::Tick`].
//! 3. `now` never goes back.
//! 4. After a turn, write once per flow and once per link, whatever was queued for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::alarm::Alarm;
use crate::certificates::CertificateStatus;
use crate::dns::{DnsAnswer, DnsQuery};
use crate::listing::{CallDetail, CallRow, Page, RegistrationRow, Wish};
use crate::maintenance::{MaintenanceOrder, MaintenanceStatus};
use crate::media::{MediaCommand, MediaEvent, MediaPath};
use crate::notice::Notice;
use crate::services::ServiceStatus;
use crate::sign_in::SignInFact;
use crate::zones::Zones;
use crate::{FlowId, LinkId, Moment, NodeId, Role, Told};

/// A whole edge, or a whole core, as a pure state machine.
pub trait Node {
    /// A fact, and when it became true.
    fn handle(&mut self, input: Input, now: Moment);
    /// The next thing to do; `None` when drained.
    fn poll(&mut self) -> Option<Output>;
    /// When the node next wants a [`Input::Tick`]. Must be O(1).
    fn next_deadline(&self) -> Option<Deadline>;
}

/// A node whose settings can be changed while it runs.
pub trait Configurable<S>: Node {
    /// From now on these settings hold. Ends no call and no registration; what a node cannot change while it runs stays
    /// as it is. Drain [`Node::poll`] afterwards, as after [`Node::handle`].
    fn configure(&mut self, settings: &S, now: Moment);
}

/// A node an operator can look at.
pub trait Observable: Node {
    /// What it counts and whom it is connected to, now.
    fn status(&self) -> Status;
    /// Who is registered through it.
    fn registration_page(&self, wish: &Wish) -> Page<RegistrationRow>;
    /// The calls it has a part in.
    fn call_page(&self, wish: &Wish) -> Page<CallRow>;
    /// One of them, with all that is known of it. Of a node that has none to show, and none to end, `None`.
    fn call(&self, call: u32) -> Option<CallDetail>;
}

/// A moment a node waits for, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Moment,
    /// What for, in the words of the engine that asked.
    pub why: &'static str,
}

impl Deadline {
    /// The earlier of two optional deadlines.
    #[must_use]
    pub fn soonest(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(if b.at < a.at { b } else { a }),
            (a, None) => a,
            (None, b) => b,
        }
    }
}

/// The transport of a flow or datagram socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TLS over TCP.
    Tls,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// As it stands in a Via header (RFC 3261 §20.42).
    #[must_use]
    pub const fn via(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }

    /// As it stands in a `transport=` URI parameter (RFC 3261 §19.1.1).
    #[must_use]
    pub const fn param(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// Whether the transport itself retransmits.
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }
}

/// A fact.
#[derive(Clone, Debug)]
pub enum Input {
    /// The moment asked for by [`Node::next_deadline`] has come.
    Tick,
    /// The wall clock, Unix time in milliseconds: at start, and again about every 10 s.
    WallClock {
        /// Milliseconds since 1970-01-01 UTC.
        unix_ms: u64,
    },
    /// Something happened to a stream connection that carries SIP.
    Flow {
        /// The flow.
        flow: FlowId,
        /// What happened.
        event: FlowEvent,
    },
    /// A SIP datagram arrived (core only: the inside may speak UDP).
    Datagram {
        /// The socket it arrived on.
        local: SocketAddr,
        /// Who sent it.
        peer: SocketAddr,
        /// One SIP message, or a keepalive.
        bytes: Bytes,
    },
    /// Something happened to a link.
    Link {
        /// The link.
        link: LinkId,
        /// What happened.
        event: LinkEvent,
    },
    /// A fact from the media threads.
    Media(MediaEvent),
    /// What came of [`Output::Resolve`]; every question gets one answer, soon.
    Resolved {
        /// The question.
        query: DnsQuery,
        /// The answer.
        answer: DnsAnswer,
    },
    /// Something about sign-in that this node's HTTP side knows and the node or its peers need.
    SignIn(SignInFact),
    /// The operator takes the node out of service, or back.
    Maintenance(MaintenanceOrder),
    /// An operator ends a call (core only): what [`Observable::call_page`] calls its id.
    EndCall {
        /// The call; one that is over already is none.
        call: u32,
    },
    /// Somebody wants to see SIP messages from now on ([`Notice::Signal`]), or nobody does any more.
    Trace(bool),
    /// Where SIP goes inside has changed (core only): takes the place of what held before, at once.
    Zones(Arc<Zones>),
}

/// A fact about a flow.
#[derive(Clone, Debug)]
pub enum FlowEvent {
    /// The connection stands (accepted: TLS handshake done; dialled: connected).
    Opened {
        /// The other end.
        peer: SocketAddr,
        /// Our end.
        local: SocketAddr,
        /// TLS or TCP.
        transport: Transport,
    },
    /// Bytes arrived, cut anywhere.
    Received {
        /// The bytes.
        bytes: Bytes,
    },
    /// The connection is gone, or could not be made. The last event of a flow.
    Closed {
        /// Why, for the log.
        why: String,
    },
}

/// A fact about a link. The runtime has authenticated both ends before `Opened`.
#[derive(Clone, Debug)]
pub enum LinkEvent {
    /// Mutual TLS stands and the peer's certificate names `peer`.
    Opened {
        /// The node at the other end, from its certificate.
        peer: NodeId,
        /// Edge or core, from its certificate too: nothing it says later changes that.
        role: Role,
        /// Its address.
        address: SocketAddr,
    },
    /// Whole or partial link frames arrived, in order, on the signalling stream.
    Received {
        /// The bytes.
        bytes: Bytes,
    },
    /// A control datagram arrived on the UDP path (media datagrams stay in the media threads).
    Datagram {
        /// The datagram.
        bytes: Bytes,
    },
    /// How media and control datagrams reach the peer has changed.
    DatagramPath {
        /// How they do now.
        path: MediaPath,
    },
    /// The link is gone. The last event of a link.
    Closed {
        /// Why, for the log.
        why: String,
    },
}

/// A command.
#[derive(Clone, Debug)]
pub enum Output {
    /// Do something to a flow.
    Flow {
        /// The flow.
        flow: FlowId,
        /// What.
        command: FlowCommand,
    },
    /// Send a SIP datagram (core only).
    Datagram {
        /// From this socket.
        local: SocketAddr,
        /// To this address.
        peer: SocketAddr,
        /// One SIP message.
        bytes: Bytes,
    },
    /// Do something to a link.
    Link {
        /// The link.
        link: LinkId,
        /// What.
        command: LinkCommand,
    },
    /// Tell the media threads.
    Media(MediaCommand),
    /// Ask the name system (core only, for names of registrars). The answer is [`Input::Resolved`].
    Resolve(DnsQuery),
    /// Tell the HTTP side what a peer has said, or what has become of the links.
    SignIn(SignInFact),
    /// Keep what a core has told (edge only), and be so: the node is already.
    Told(Told),
    /// Tell the operator.
    Notice(Notice),
}

/// A command to a flow.
#[derive(Clone, Debug)]
pub enum FlowCommand {
    /// Dial (core only, towards registrars and inside parties). The node chose the id with
    /// [`FlowId::dialled`]; the outcome is `Opened` or `Closed`. Bytes sent before are queued.
    Dial {
        /// Where to.
        peer: SocketAddr,
        /// TCP or TLS.
        transport: Transport,
        /// TLS only: whom the certificate at the other end must name, as the operator wrote it (RFC 5922
        /// §4). A host name, or an address without brackets.
        name: Option<String>,
    },
    /// Queue bytes; written at the end of the turn.
    Send {
        /// The bytes.
        bytes: Bytes,
    },
    /// Write what is queued, then close. No `Closed` event follows.
    Close {
        /// Why, for the log.
        why: &'static str,
    },
}

/// A command to a link.
#[derive(Clone, Debug)]
pub enum LinkCommand {
    /// Queue whole link frames on the signalling stream; written at the end of the turn.
    Send {
        /// The frames.
        bytes: Bytes,
    },
    /// Send a control datagram on the UDP path, if it is open.
    SendDatagram {
        /// The datagram.
        bytes: Bytes,
    },
    /// Close. The side that dials dials again after its own back-off. No `Closed` event follows.
    Close {
        /// Why, for the log and for the peer.
        why: String,
    },
}

/// What an operator reads: counted by the node, served by the runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The node's name.
    pub node: String,
    /// `"edge"` or `"core"`.
    pub role: &'static str,
    /// MRA registrations now, and the peak since start.
    pub registrations: Gauge,
    /// Calls now, and the peak since start.
    pub calls: Gauge,
    /// Chat sessions (streams that have signed in) now, and the peak since start (counted by the runtime).
    pub chats: Gauge,
    /// Client connections now, and the peak since start.
    pub connections: Gauge,
    /// Services that users have through this node (told by the runtime).
    pub services: Vec<ServiceStatus>,
    /// Requests over HTTPS being served now: sign-in and edge configuration, and those of HTTP servers inside (counted
    /// by the runtime).
    pub provisioning: u64,
    /// See [`Self::provisioning`].
    pub proxied: u64,
    /// Maintenance mode; `None` while the node serves.
    pub maintenance: Option<MaintenanceStatus>,
    /// The domains served (core only).
    pub domains: Vec<String>,
    /// Whether some users may show access tokens; `None` where the node does not know.
    pub tokens: Option<bool>,
    /// The links, by peer name.
    pub links: Vec<LinkStatus>,
    /// The registrars (core only).
    pub registrars: Vec<RegistrarStatus>,
    /// Requests seen, by method.
    pub requests: Vec<(&'static str, u64)>,
    /// What was refused or dropped, by reason.
    pub drops: Vec<(&'static str, u64)>,
    /// What was meant for others to read and did not leave, by where it was to go (counted by the runtime).
    pub dropped_events: Vec<(&'static str, u64)>,
    /// What became of connections of clients before they were flows, by outcome (edge only; counted by
    /// the runtime).
    pub handshakes: Vec<(&'static str, u64)>,
    /// Media packets relayed inwards and outwards since start.
    pub media_packets: (u64, u64),
    /// Media packets that were not relayed, by reason (counted by the runtime).
    pub media_drops: Vec<(&'static str, u64)>,
    /// How long requests over HTTPS took, by what they were for (counted by the runtime).
    pub request_times: Vec<(&'static str, Times)>,
    /// Errors of ours that ended a task, since start (counted by the runtime).
    pub panics: u64,
    /// Times that settings, or the files they name, were taken, and were refused, while the node ran (counted by the
    /// runtime).
    pub reloads: (u64, u64),
    /// Alarms that stand (counted by the runtime).
    pub alarms: Vec<Alarm>,
    /// Its certificates (told by the runtime).
    pub certificates: Vec<CertificateStatus>,
    /// What HTTP and sign-in have counted since start, by name (counted by the runtime): requests by lane and
    /// outcome, tokens, checks at authorities.
    pub http: Vec<(&'static str, u64)>,
    /// What the process uses (told by the runtime).
    pub resources: Resources,
    /// When the service started, Unix milliseconds (told by the runtime).
    pub started_ms: u64,
    /// When this was said, Unix milliseconds (told by the runtime).
    pub now_ms: u64,
    /// Which settings hold (told by the runtime).
    pub configuration: ConfigurationStatus,
}

/// What a process uses of its machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Of one processor, in thousandths, over the last second or more; beyond 1000 where several are used.
    pub cpu_permille: u64,
    /// Processor time since start.
    pub cpu: Duration,
    /// Resident memory, bytes.
    pub memory_bytes: u64,
    /// Files and sockets open.
    pub files: u64,
    /// How many it may open.
    pub files_max: u64,
}

/// Which settings hold at a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigurationStatus {
    /// The number of their revision; `None` where there are no revisions.
    pub revision: Option<u64>,
    /// Where they come from; `None` until that is known.
    pub source: Option<String>,
}

/// How long something took, as a histogram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Upper bounds, rising, and how many took no longer than that.
    pub within: Vec<(Duration, u64)>,
    /// All of them.
    pub count: u64,
    /// What they took all in all.
    pub sum: Duration,
}

/// A count and its peak since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    /// Now.
    pub current: u64,
    /// The highest since start.
    pub peak: u64,
}

impl Gauge {
    /// Sets the current value, and raises the peak if need be.
    pub fn set(&mut self, current: u64) {
        self.current = current;
        self.peak = self.peak.max(current);
    }
}

/// One link, as an operator sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// The node at the other end.
    pub peer: String,
    /// Its role, by its certificate; `None` where there is no link.
    pub role: Option<Role>,
    /// Whether hello has been exchanged.
    pub up: bool,
    /// Round-trip time of the last keepalive.
    pub round_trip: Option<Duration>,
    /// Clock skew, milliseconds (positive: the peer is ahead).
    pub skew_ms: i64,
    /// How media reaches the peer.
    pub media_path: MediaPath,
    /// The version of the link protocol both speak; 0 while the link is down.
    pub version: u16,
    /// Frames of the peer that were skipped because this version does not know their kind.
    pub unknown_frames: u64,
    /// Why there is no link, or what the two nodes do not agree on.
    pub trouble: Option<String>,
}

/// One node of a registrar, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrarStatus {
    /// The deployment it belongs to.
    pub deployment: String,
    /// The name of its zone.
    pub zone: String,
    /// As configured: a host name or an address.
    pub name: String,
    /// Its address; `None` while the name leads nowhere.
    pub address: Option<SocketAddr>,
    /// How it is spoken to; `None` while the name leads nowhere.
    pub transport: Option<Transport>,
    /// Whether it answers OPTIONS (or any request).
    pub alive: bool,
    /// Why not.
    pub why: Option<String>,
}
