//! The rules a node gives its media threads. Packets never pass through a node; these do.

use std::net::{IpAddr, SocketAddr};

use crate::{NodeId, RelayId, Secret};

/// Which of the two packet streams of a relay (RFC 3550 §11): RTP on the even port, RTCP on the
/// next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// Media packets.
    Rtp,
    /// Control packets.
    Rtcp,
}

/// What a relay carries, as far as the network's quality of service asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaClass {
    /// Voice.
    #[default]
    Audio,
    /// Moving pictures.
    Video,
    /// Anything else: marked as nothing special.
    Other,
}

/// How media reaches the node at the other end of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaPath {
    /// Not at all: there is no media.
    #[default]
    None,
    /// Over UDP, as it should be.
    Udp,
    /// Over a TCP connection of its own, because UDP is blocked between the two: media passes, and
    /// every packet the path loses delays those behind it.
    Tcp,
}

impl MediaPath {
    /// Whether datagrams pass at all.
    #[must_use]
    pub const fn is_open(self) -> bool {
        !matches!(self, Self::None)
    }

    /// As an operator reads it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Udp => "UDP",
            Self::Tcp => "TCP fallback",
        }
    }
}

/// Master key and salt of one direction of an SRTP stream, AES_CM_128_HMAC_SHA1_80
/// (RFC 4568 §6.2.1: 16 bytes of key, 14 of salt).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrtpKey(pub Secret<30>);

/// How the outside leg of a relay is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutsideSecurity {
    /// SDES SRTP. `receive` is the client's key (unknown until its answer: packets before it are
    /// dropped and counted), `send` is ours.
    Srtp {
        /// The key the client sends with.
        receive: Option<SrtpKey>,
        /// The key we send with; never shared with any other relay.
        send: SrtpKey,
    },
    /// Plain RTP, only where the operator allows clients without encryption.
    Plain,
}

/// A pair of bound ports: `rtp` is even, RTCP is `rtp + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortPair {
    /// The even port of the pair.
    pub rtp: u16,
}

/// What the edge must do for one relay: ciphertext between the client and the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideRelay {
    /// The core that anchors this relay. A link may break and return meanwhile; the relay stays.
    pub peer: NodeId,
    /// The core's number for it (unique per core).
    pub relay: RelayId,
    /// The client-side ports, one of the pairs reported as bound.
    pub ports: PortPair,
    /// The address of the TLS connection the signalling came on: before the latch, media is sent
    /// to the address in the SDP only if that is this one.
    pub signalling_peer: IpAddr,
    /// Where the client's SDP says it receives: RTP, then RTCP.
    pub described: Option<(SocketAddr, SocketAddr)>,
    /// SRTP: a source is proven by the core. Plain: by being the described address or, behind a
    /// NAT, the signalling peer's.
    pub srtp: bool,
}

/// What the core must do for one relay: SRTP from the link on one side, RTP inside on the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsideRelay {
    /// The edge that owns the client-side ports.
    pub peer: NodeId,
    /// Our number for it.
    pub relay: RelayId,
    /// The inside ports, one of the pairs reported as bound.
    pub ports: PortPair,
    /// Where the inside party's SDP says it receives: RTP, then RTCP. Packets from any other
    /// address are dropped; nothing is sent before it is known.
    pub described: Option<(SocketAddr, SocketAddr)>,
    /// Protection of the client's leg.
    pub outside: OutsideSecurity,
}

/// A command to the media threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaCommand {
    /// Bind `pairs` more port pairs and report them ([`MediaEvent::PortsBound`]).
    BindPorts {
        /// How many pairs.
        pairs: u16,
    },
    /// Edge: start or change a relay.
    SetOutside(OutsideRelay),
    /// Core: start or change a relay. A key that is unchanged keeps its cryptographic context.
    SetInside(InsideRelay),
    /// Core: what a relay carries from now on, if not [`MediaClass::Audio`]. The edge learns it from
    /// the packets.
    SetClass {
        /// The node at the other end of the link.
        peer: NodeId,
        /// The relay.
        relay: RelayId,
        /// What it carries.
        class: MediaClass,
    },
    /// End a relay. Its ports stay bound and quiet, then come back as [`MediaEvent::PortsBound`].
    Close {
        /// The node at the other end of the link.
        peer: NodeId,
        /// The relay.
        relay: RelayId,
    },
}

/// Packet counters of one relay since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayCounters {
    /// Packets relayed from the outside inwards.
    pub inward: u64,
    /// Packets relayed from the inside outwards.
    pub outward: u64,
    /// Packets dropped because they could not be authenticated.
    pub unauthenticated: u64,
    /// Packets dropped as replays or as older than the window.
    pub replayed: u64,
    /// Packets dropped because no key or no address was known yet.
    pub too_early: u64,
    /// Packets dropped because of their source address.
    pub wrong_source: u64,
    /// Packets dropped for any other reason (malformed, over a bound, send failed).
    pub other_drops: u64,
}

/// A fact from the media threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaEvent {
    /// These pairs are bound and free to use.
    PortsBound {
        /// The pairs.
        ports: Vec<PortPair>,
    },
    /// No pair could be bound: the range is used up or taken by other programs.
    BindFailed {
        /// How many of the pairs asked for could not be bound.
        missing: u16,
    },
    /// Counters, about once a second while a relay lives, and once when it is closed.
    Report {
        /// The node at the other end of the link.
        peer: NodeId,
        /// The relay.
        relay: RelayId,
        /// Counters since its start.
        counters: RelayCounters,
    },
    /// No packet came from the client within 3 s of the relay being complete: the call is
    /// one-way until it sends.
    ClientSilent {
        /// The node at the other end of the link.
        peer: NodeId,
        /// The relay.
        relay: RelayId,
    },
}
