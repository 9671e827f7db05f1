//! What a node tells its operator: typed facts, rendered as log lines, counters and the lab's story.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::attempt::Attempt;
use crate::chat::ChatOffence;
use crate::media::MediaPath;
use crate::signal::Signal;
use crate::{FlowId, LinkId, NodeId, Pii, RelayId};

/// Why something was refused or dropped. Each has a counter; the text names the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// The bytes are no SIP message and the stream cannot be followed any further.
    FramingLost,
    /// A message larger than the stated bound.
    TooLarge,
    /// A message that parses but breaks a rule of RFC 3261; answered with 4xx.
    Malformed,
    /// A response that matches no transaction.
    StrayResponse,
    /// A request for a destination that is neither a configured registrar nor a registered flow.
    NoRelay,
    /// A request other than REGISTER or OPTIONS on a flow that has no registration.
    NotRegistered,
    /// A request in the name of somebody else.
    Identity,
    /// A table, queue or per-stranger budget is full.
    Overload,
    /// A flow token that is not ours, or of a flow that is gone.
    BadToken,
    /// A peer broke the link protocol.
    LinkProtocol,
    /// A client offered media without encryption.
    NoEncryption,
    /// No media port was free.
    NoPorts,
    /// The node is taken out of service.
    Maintenance,
}

impl DropReason {
    /// Every reason, for metrics.
    pub const ALL: [Self; 13] = [
        Self::FramingLost,
        Self::TooLarge,
        Self::Malformed,
        Self::StrayResponse,
        Self::NoRelay,
        Self::NotRegistered,
        Self::Identity,
        Self::Overload,
        Self::BadToken,
        Self::LinkProtocol,
        Self::NoEncryption,
        Self::NoPorts,
        Self::Maintenance,
    ];

    /// The label used in metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::FramingLost => "framing_lost",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::StrayResponse => "stray_response",
            Self::NoRelay => "no_relay",
            Self::NotRegistered => "not_registered",
            Self::Identity => "identity",
            Self::Overload => "overload",
            Self::BadToken => "bad_token",
            Self::LinkProtocol => "link_protocol",
            Self::NoEncryption => "no_encryption",
            Self::NoPorts => "no_ports",
            Self::Maintenance => "maintenance",
        }
    }
}

/// A fact an operator (or the lab) may want to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// What became of the settings that this core has told an edge.
    EdgeSettings {
        /// The edge.
        edge: NodeId,
        /// The number of the core's revision.
        revision: u64,
        /// Why it cannot use them.
        refused: Option<String>,
    },
    /// This edge has heard from a core how it is to be.
    SettingsTold {
        /// The core.
        from: NodeId,
        /// The number of its revision.
        revision: u64,
        /// Why they cannot be used, and what held goes on to hold.
        refused: Option<String>,
    },
    /// A link is up and the two nodes have agreed.
    LinkUp {
        /// The link.
        link: LinkId,
        /// The node at the other end.
        peer: NodeId,
        /// How far its clock is from ours, milliseconds (positive: theirs is ahead).
        skew_ms: i64,
    },
    /// A link is gone.
    LinkDown {
        /// The link.
        link: LinkId,
        /// The node at the other end, once known.
        peer: Option<NodeId>,
        /// Why.
        why: String,
    },
    /// How media reaches the node at the other end of a link has changed.
    MediaPath {
        /// The node at the other end.
        peer: NodeId,
        /// How it does now.
        path: MediaPath,
    },
    /// There is no link with a node that could be reached: what the two do not agree on. Said once,
    /// until it changes.
    LinkRefused {
        /// The node at the other end, from its certificate.
        peer: NodeId,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A node has a new certificate for its links.
    CertificateRenewed {
        /// The node: this one, or one whose certificate this core signs.
        node: NodeId,
        /// When the new one ends, Unix seconds.
        not_after_unix: u64,
    },
    /// The certificate of a node ends soon and could not be renewed so far.
    CertificateExpiring {
        /// The node.
        node: NodeId,
        /// How long it still holds, seconds.
        seconds_left: u64,
        /// Why it was not renewed, and what to do.
        why: String,
    },
    /// A node was revoked: it is refused from now on.
    CertificateRevoked {
        /// The node.
        node: NodeId,
    },
    /// The certificates shown to clients were read again and are in use.
    CertificatesReloaded {
        /// The names they carry.
        names: Vec<String>,
    },
    /// The certificates shown to clients were read again and are no good: the old ones stay in use.
    CertificatesRejected {
        /// What is wrong, and what to do.
        why: String,
    },
    /// The clocks of the two nodes differ by more than 30 s.
    ClockSkew {
        /// The node at the other end.
        peer: NodeId,
        /// How far its clock is from ours, milliseconds.
        skew_ms: i64,
    },
    /// A device is registered for the first time.
    Registered {
        /// The address of record.
        aor: Pii<String>,
        /// The flow it is reachable on.
        flow: FlowId,
    },
    /// A device is no longer registered.
    Unregistered {
        /// The address of record.
        aor: Pii<String>,
        /// Why: `"de-registered"`, `"expired"` or `"flow closed"`.
        why: &'static str,
    },
    /// An INVITE reached us.
    CallOffered {
        /// Call-ID.
        call: Pii<String>,
    },
    /// The callee is ringing.
    CallRinging {
        /// Call-ID.
        call: Pii<String>,
    },
    /// A 2xx established the dialog.
    CallAnswered {
        /// Call-ID.
        call: Pii<String>,
    },
    /// The call is over.
    CallEnded {
        /// Call-ID.
        call: Pii<String>,
        /// Why: `"hang-up"`, `"refused"`, `"cancelled"`, `"flow lost"`, `"timed out"`, `"ended by an operator"`.
        why: &'static str,
    },
    /// A party of a call that an operator has ended did not take its BYE. Here the call is over all the same.
    CallEndUnheard {
        /// Call-ID.
        call: Pii<String>,
        /// Which party.
        side: CallSide,
        /// What became of it.
        why: String,
    },
    /// The client of a relay has not sent a packet: the call is one-way until it does.
    OneWayMedia {
        /// The relay.
        relay: RelayId,
    },
    /// No media has passed in a call for a while, in neither direction. Nothing is ended by it.
    NoMedia {
        /// Call-ID.
        call: Pii<String>,
        /// For how long.
        silent_for: Duration,
    },
    /// A registrar's health changed.
    Registrar {
        /// Its address.
        address: SocketAddr,
        /// Whether it answers.
        alive: bool,
        /// Why not; empty while it answers.
        why: String,
    },
    /// Looking up a registrar's name began to fail, or works again.
    Resolution {
        /// The name, as configured.
        name: String,
        /// What is wrong, and what is used meanwhile; `None`: it works.
        fault: Option<String>,
    },
    /// Maintenance mode was switched on or off.
    Maintenance {
        /// Whether it is on.
        on: bool,
    },
    /// A client of chat did what intrusion protection wants to know of.
    ChatOffence {
        /// Its address and port.
        client: Pii<SocketAddr>,
        /// Who has told a core of that address: whoever acts on it acts at that edge, and nowhere else, for an edge may
        /// say anything. `None`: the edge itself has seen it.
        edge: Option<NodeId>,
        /// What.
        offence: ChatOffence,
        /// The cause in words; holds no secret, no identity and nothing it sent.
        detail: &'static str,
    },
    /// What became of an attempt to register, to call, and so on: for "why was this refused?".
    Attempt(Box<Attempt>),
    /// A SIP message has passed; told only while somebody wants to see them ([`crate::Input::Trace`]).
    Signal(Box<Signal>),
    /// Something was refused or dropped.
    Dropped {
        /// Why, as counted.
        reason: DropReason,
        /// The cause in words; holds no secret and no identity.
        detail: String,
    },
}

impl Notice {
    /// The stable name of its kind, as logs and lists of events have it.
    #[must_use]
    pub const fn id(&self) -> &'static str {
        match self {
            Self::EdgeSettings { .. } => "edge.settings",
            Self::SettingsTold { .. } => "settings.told",
            Self::LinkUp { .. } => "link.up",
            Self::LinkDown { .. } => "link.down",
            Self::MediaPath { .. } => "link.media_path",
            Self::LinkRefused { .. } => "link.refused",
            Self::CertificateRenewed { .. } => "certificate.renewed",
            Self::CertificateExpiring { .. } => "certificate.expiring",
            Self::CertificateRevoked { .. } => "certificate.revoked",
            Self::CertificatesReloaded { .. } => "certificate.reloaded",
            Self::CertificatesRejected { .. } => "certificate.rejected",
            Self::ClockSkew { .. } => "link.clock_skew",
            Self::Registered { .. } => "registration.added",
            Self::Unregistered { .. } => "registration.removed",
            Self::CallOffered { .. } => "call.offered",
            Self::CallRinging { .. } => "call.ringing",
            Self::CallAnswered { .. } => "call.answered",
            Self::CallEnded { .. } => "call.ended",
            Self::CallEndUnheard { .. } => "call.end_unheard",
            Self::OneWayMedia { .. } => "media.one_way",
            Self::NoMedia { .. } => "media.none",
            Self::Registrar { alive: true, .. } => "registrar.up",
            Self::Registrar { alive: false, .. } => "registrar.down",
            Self::Resolution { fault: None, .. } => "registrar.name_found",
            Self::Resolution { fault: Some(_), .. } => "registrar.name_lost",
            Self::Maintenance { .. } => "maintenance",
            Self::ChatOffence { .. } => "chat.offence",
            Self::Attempt(_) => "attempt",
            Self::Signal(_) => "signal",
            Self::Dropped { .. } => "request.refused",
        }
    }

    /// How much it matters. What comes once for each message or call is for whoever looks for it.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::CertificateExpiring { .. } | Self::CertificatesRejected { .. } => Level::Error,
            Self::LinkDown { .. }
            | Self::MediaPath { path: MediaPath::Tcp | MediaPath::None, .. }
            | Self::LinkRefused { .. }
            | Self::CertificateRevoked { .. }
            | Self::ClockSkew { .. }
            | Self::Registrar { alive: false, .. }
            | Self::Resolution { fault: Some(_), .. }
            | Self::EdgeSettings { refused: Some(_), .. }
            | Self::SettingsTold { refused: Some(_), .. }
            | Self::Maintenance { .. } => Level::Warning,
            Self::LinkUp { .. }
            | Self::EdgeSettings { refused: None, .. }
            | Self::SettingsTold { refused: None, .. }
            | Self::MediaPath { path: MediaPath::Udp, .. }
            | Self::CertificateRenewed { .. }
            | Self::CertificatesReloaded { .. }
            | Self::Registrar { alive: true, .. }
            | Self::Resolution { fault: None, .. }
            | Self::CallEndUnheard { .. }
            | Self::OneWayMedia { .. }
            | Self::NoMedia { .. } => Level::Info,
            Self::Registered { .. }
            | Self::Unregistered { .. }
            | Self::CallOffered { .. }
            | Self::CallRinging { .. }
            | Self::CallAnswered { .. }
            | Self::CallEnded { .. }
            | Self::ChatOffence { .. }
            | Self::Attempt(_)
            | Self::Signal(_)
            | Self::Dropped { .. } => Level::Debug,
        }
    }

    /// Whom it is about, where that is a person or an address: for the operator's own lists, never for logs.
    #[must_use]
    pub fn revealed(&self) -> Option<String> {
        match self {
            Self::Registered { aor, .. } | Self::Unregistered { aor, .. } => Some(aor.reveal().clone()),
            Self::CallOffered { call }
            | Self::CallRinging { call }
            | Self::CallAnswered { call }
            | Self::CallEnded { call, .. }
            | Self::CallEndUnheard { call, .. }
            | Self::NoMedia { call, .. } => Some(call.reveal().clone()),
            Self::ChatOffence { client, .. } => Some(client.reveal().to_string()),
            Self::EdgeSettings { .. }
            | Self::SettingsTold { .. }
            | Self::LinkUp { .. }
            | Self::LinkDown { .. }
            | Self::MediaPath { .. }
            | Self::LinkRefused { .. }
            | Self::CertificateRenewed { .. }
            | Self::CertificateExpiring { .. }
            | Self::CertificateRevoked { .. }
            | Self::CertificatesReloaded { .. }
            | Self::CertificatesRejected { .. }
            | Self::ClockSkew { .. }
            | Self::OneWayMedia { .. }
            | Self::Registrar { .. }
            | Self::Resolution { .. }
            | Self::Maintenance { .. }
            | Self::Attempt(_)
            | Self::Signal(_)
            | Self::Dropped { .. } => None,
        }
    }
}

/// A party of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallSide {
    /// The client, outside.
    Client,
    /// The other party.
    Inside,
}

/// How much a fact matters to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For whoever looks for it.
    Debug,
    /// Good to know.
    Info,
    /// Somebody should look at it.
    Warning,
    /// Somebody must do something.
    Error,
}

impl Level {
    /// Every level, the least first.
    pub const ALL: [Self; 4] = [Self::Debug, Self::Info, Self::Warning, Self::Error];

    /// In lower case.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EdgeSettings { edge, revision, refused: None } => write!(f, "{edge} has heard revision {revision}"),
            Self::EdgeSettings { edge, revision, refused: Some(why) } => {
                write!(f, "{edge} cannot use revision {revision}: {why}")
            }
            Self::SettingsTold { from, revision, refused: None } => {
                write!(f, "settings of revision {revision} of {from} hold from now on")
            }
            Self::SettingsTold { from, revision, refused: Some(why) } => {
                write!(f, "revision {revision} of {from} cannot be used: {why}")
            }
            Self::LinkUp { peer, skew_ms, .. } => write!(f, "link up with {peer} (clock {skew_ms:+} ms)"),
            Self::LinkDown { peer: Some(peer), why, .. } => write!(f, "link to {peer} down: {why}"),
            Self::LinkDown { peer: None, why, .. } => write!(f, "link down: {why}"),
            Self::MediaPath { peer, path: MediaPath::Udp } => write!(f, "media to {peer} goes over UDP"),
            Self::MediaPath { peer, path: MediaPath::Tcp } => write!(
                f,
                "media to {peer} falls back to TCP, UDP is blocked: let UDP pass from core to edge, to the port of the link"
            ),
            Self::MediaPath { peer, path: MediaPath::None } => {
                write!(f, "no media path to {peer}: neither UDP nor TCP passes from core to edge")
            }
            Self::LinkRefused { peer, why } => write!(f, "no link with {peer}: {why}"),
            Self::CertificateRenewed { node, .. } => write!(f, "{node} has a new certificate for its links"),
            Self::CertificateExpiring { node, seconds_left, why } => {
                write!(f, "the certificate of {node} ends in {seconds_left} s and was not renewed: {why}")
            }
            Self::CertificateRevoked { node } => write!(f, "{node} is revoked: it gets no link any more"),
            Self::CertificatesReloaded { names } => {
                write!(f, "the certificates shown to clients were read again: {}", names.join(", "))
            }
            Self::CertificatesRejected { why } => {
                write!(f, "the certificates shown to clients stay as they were: {why}")
            }
            Self::ClockSkew { peer, skew_ms } => {
                write!(f, "the clock of {peer} is {skew_ms:+} ms from ours: set up time synchronisation on both")
            }
            Self::Registered { aor, flow } => write!(f, "registered {aor} on {flow}"),
            Self::Unregistered { aor, why } => write!(f, "unregistered {aor}: {why}"),
            Self::CallOffered { call } => write!(f, "call {call}: offered"),
            Self::CallRinging { call } => write!(f, "call {call}: ringing"),
            Self::CallAnswered { call } => write!(f, "call {call}: answered"),
            Self::CallEnded { call, why } => write!(f, "call {call}: ended, {why}"),
            Self::CallEndUnheard { call, side: CallSide::Client, why } => {
                write!(f, "call {call}: ended, and its client was not told: {why}")
            }
            Self::CallEndUnheard { call, side: CallSide::Inside, why } => {
                write!(f, "call {call}: ended, and the party inside was not told: {why}")
            }
            Self::OneWayMedia { relay } => write!(f, "{relay}: one-way, the client is silent"),
            Self::NoMedia { call, silent_for } => {
                write!(f, "call {call}: no media in either direction for {} s", silent_for.as_secs())
            }
            Self::Registrar { address, alive: true, .. } => write!(f, "registrar {address} answers"),
            Self::Registrar { address, alive: false, why } => write!(f, "registrar {address} does not answer: {why}"),
            Self::Resolution { name, fault: None } => write!(f, "registrar {name}: its name is found again"),
            Self::Resolution { name, fault: Some(fault) } => write!(f, "registrar {name}: {fault}"),
            Self::Maintenance { on: true } => {
                f.write_str("maintenance mode is on: nothing new is begun, what exists goes on")
            }
            Self::Maintenance { on: false } => f.write_str("maintenance mode is off"),
            Self::ChatOffence { client, edge: Some(edge), offence, detail } => {
                write!(f, "chat client {client} of {edge} ({}): {detail}", offence.label())
            }
            Self::ChatOffence { client, edge: None, offence, detail } => {
                write!(f, "chat client {client} ({}): {detail}", offence.label())
            }
            Self::Attempt(attempt) => {
                write!(f, "{}: {}", attempt.kind.label(), attempt.reason.words())?;
                if let Some(code) = attempt.code {
                    write!(f, " ({code})")?;
                }
                if attempt.detail.is_empty() { Ok(()) } else { write!(f, ", {}", attempt.detail) }
            }
            Self::Signal(signal) => {
                write!(f, "a message {}", if signal.received { "came" } else { "went" })
            }
            Self::Dropped { reason, detail } => write!(f, "refused ({}): {detail}", reason.label()),
        }
    }
}
