//! The frames of the link and their bytes.
//!
//! ```text
//!  0        4      5
//!  +--------+------+---------
//!  | length | kind | payload      length: u32, big endian, of kind and payload together
//!  +--------+------+---------
//! ```
//! Integers are big endian; a string is a u16 length and UTF-8 bytes. Everything a peer sends is
//! bounded before it is kept, and nothing here can panic on it.
//!
//! # Versions
//!
//! Both sides say in their hello what they speak; the lower of the two is spoken. From version 2 on a
//! node skips and counts frames of a kind it does not know, and bytes behind the fields it knows, so
//! that a later version may add both. Version 1 does neither: to such a peer nothing may be sent but
//! what it knows, which [`Frame::encode_for`] sees to. Version 3 adds what is said about sign-in. Frames that end in a message or a list
//! (`EdgeSettings`, `FromClient`, `ToClient`, `GrantPorts`) have no room for more fields: those need a new kind.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
pub use edgeway_model::Role;
use edgeway_model::limits::{LINK_FRAME_BYTES_MAX, TOLD_TEXT_BYTES_MAX};
use edgeway_model::media::{Carriage, PortPair};
use edgeway_model::sign_in::{Deployment, Revocation, Session, TokenKey};
use edgeway_model::{FlowId, NodeId, RelayId};

use crate::limits::{DOMAINS_MAX, GRANT_PAIRS_MAX};
use crate::sign_in::{
    read_identity, read_keys, read_revocation, read_session, write_identity, write_keys, write_revocation,
    write_session,
};
use crate::wire::{Reader, write_address, write_ip, write_string};

/// The first frame of each side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The newest protocol version the sender speaks.
    pub version: u16,
    /// The oldest one it understands.
    pub version_min: u16,
    /// The sender's name; must equal the one in its certificate.
    pub node: NodeId,
    /// The sender's role.
    pub role: Role,
    /// A random number per process start: a changed one means the peer lost its memory.
    pub boot: u64,
    /// The sender's wall clock, Unix milliseconds.
    pub wall_ms: u64,
    /// The STUN keepalive setting; both sides must agree.
    pub stun_keepalive: bool,
    /// Edge: the name and port clients connect to, `host:port`. Core: the address registrars reach
    /// it at, `host:port`.
    pub contact: String,
    /// Core: the SIP domains it serves. Edge: empty.
    pub domains: Vec<String>,
}

/// How busy a node is, as carried in its keepalives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Current registrations.
    pub registrations: u32,
    /// Current calls.
    pub calls: u32,
    /// Core: no registrar answers it, so that no path through it works (from version 2 on).
    pub stranded: bool,
    /// It is being taken out of service: nothing new should go through it (from version 3 on; to version 2 nothing
    /// is said).
    pub draining: bool,
}

/// What the edge must do for one relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayRule {
    /// The core's number for it.
    pub relay: RelayId,
    /// The granted pair.
    pub ports: PortPair,
    /// The core's number for the call it belongs to: both parties of a call may be clients, and a call
    /// has a relay for each media section.
    pub call: u32,
    /// The client's flow, whose address decides where media may be sent before the latch.
    pub flow: FlowId,
    /// Where the client's SDP says it receives: RTP and RTCP.
    pub described: Option<(SocketAddr, SocketAddr)>,
    /// Whether the client speaks SRTP.
    pub srtp: bool,
    /// Whether RTCP shares the RTP port (RFC 5761).
    pub mux: bool,
    /// What is carried.
    pub carriage: Carriage,
}

/// Who is registered over one connection of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The edge it is connected to.
    pub edge: NodeId,
    /// That edge's number of its start: after another, the connection is another.
    pub boot: u64,
    /// The connection, as the edge numbers it.
    pub flow: FlowId,
    /// The deployment it belongs to.
    pub deployment: Deployment,
    /// The addresses of record; none where nothing is registered any more.
    pub aors: Vec<String>,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Who speaks, and what it needs the other to know.
    Hello(Hello),
    /// "I am here", with load and clock.
    Keepalive {
        /// Number of this keepalive.
        sequence: u32,
        /// The sender's wall clock, Unix milliseconds.
        wall_ms: u64,
        /// The sender's load.
        load: Load,
    },
    /// Answer to a keepalive.
    KeepaliveAnswer {
        /// The number answered.
        sequence: u32,
        /// The answering side's wall clock, Unix milliseconds.
        wall_ms: u64,
    },
    /// Edge to core: a SIP message that came from a client.
    FromClient {
        /// The client's flow.
        flow: FlowId,
        /// Its address, for `received` and logs; never an authorisation.
        peer: SocketAddr,
        /// The message.
        sip: Bytes,
    },
    /// Core to edge: a SIP message for a client. A request names its flow by the edge's own token
    /// in the topmost Route, a response by the edge's own branch in the topmost Via.
    ToClient {
        /// The message.
        sip: Bytes,
    },
    /// Edge to core: a client's connection is gone.
    FlowClosed {
        /// The flow.
        flow: FlowId,
    },
    /// Edge to core: these port pairs are bound and yours to use, at this public address.
    GrantPorts {
        /// The address clients send media to.
        address: IpAddr,
        /// The pairs.
        pairs: Vec<PortPair>,
    },
    /// Core to edge: start or change a relay on a granted pair.
    SetRelay(RelayRule),
    /// Core to edge: end a relay, or give an unused pair back.
    CloseRelay {
        /// The core's number for it.
        relay: RelayId,
        /// Its pair.
        ports: PortPair,
    },
    /// Core to edge, after hello: every relay of mine has now been named by a `SetRelay`. The edge
    /// ends the others and grants ports afresh; whatever a broken link swallowed is mended by it.
    Synchronised,
    /// Edge to core: the client of this relay has sent nothing so far.
    ClientSilent {
        /// The core's number for the relay.
        relay: RelayId,
    },
    /// Edge to core, after hello: the ports clients connect to besides that of SIP; 0 where there is no such
    /// service. From version 3 on, as everything below.
    Services {
        /// HTTPS.
        https_port: u16,
        /// XMPP.
        xmpp_port: u16,
    },
    /// Core to edge and core: the keys its session tokens may be signed with; takes the place of what it said
    /// before.
    TokenKeys(Vec<TokenKey>),
    /// Core to core, never to an edge: a user has signed in.
    SignedIn(Arc<Session>),
    /// Core to core: who is registered over a client's connection, so that another core knows when it stands in.
    Identity(Identity),
    /// Edge to core: what is registered over this connection is registered through another core now. The
    /// connection is still there.
    FlowMoved {
        /// The flow.
        flow: FlowId,
    },
    /// Core to edge and core: tokens and sessions of a user that are older than this hold no longer.
    Revoked(Revocation),
    /// Core to edge: how the edge is to be, as far as cores say.
    EdgeSettings {
        /// The number of the core's revision.
        revision: u64,
        /// When it was committed, Unix milliseconds.
        committed_ms: u64,
        /// TOML, at most [`TOLD_TEXT_BYTES_MAX`] bytes.
        text: String,
    },
    /// Edge to core: what became of what that core has told.
    EdgeSettingsOutcome {
        /// The number of the core's revision.
        revision: u64,
        /// Why the edge cannot use it; nothing where it does, or has heard a later word.
        refused: Option<String>,
    },
}

/// How a peer broke the framing. The link is closed; nothing of the frame is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// Longer than any frame may be.
    #[error("a frame of {0} bytes, more than the bound of {LINK_FRAME_BYTES_MAX}")]
    TooLong(usize),
    /// A kind this version does not know: [`Decoder`] skips it.
    #[error("a frame of unknown kind {0}")]
    UnknownKind(u8),
    /// Shorter than its fields need.
    #[error("a frame of kind {0} whose length does not fit its fields")]
    Length(u8),
    /// A field outside its range.
    #[error("a frame with an illegal {0}")]
    Field(&'static str),
}

const HELLO: u8 = 1;
const KEEPALIVE: u8 = 2;
const KEEPALIVE_ANSWER: u8 = 3;
const FROM_CLIENT: u8 = 4;
const TO_CLIENT: u8 = 5;
const FLOW_CLOSED: u8 = 6;
const GRANT_PORTS: u8 = 7;
const SET_RELAY: u8 = 8;
const CLOSE_RELAY: u8 = 9;
const CLIENT_SILENT: u8 = 10;
const SYNCHRONISED: u8 = 11;
const SERVICES: u8 = 12;
const TOKEN_KEYS: u8 = 13;
const SIGNED_IN: u8 = 14;
const REVOKED: u8 = 15;
const IDENTITY: u8 = 16;
const FLOW_MOVED: u8 = 17;
const EDGE_SETTINGS: u8 = 18;
const EDGE_SETTINGS_OUTCOME: u8 = 19;

impl Frame {
    /// The frame as bytes for a peer of `version` in the role of `to`, length included; `None` if that version
    /// knows nothing like it and works without, or if such a peer must never be told.
    #[must_use]
    pub fn encode_for(&self, version: u16, to: Role) -> Option<Bytes> {
        let among_cores = matches!(self, Self::SignedIn(_) | Self::Identity(_));
        if among_cores && to != Role::Core {
            return None;
        }
        let is_of_version_3 = among_cores
            || matches!(self, Self::Services { .. } | Self::TokenKeys(_) | Self::Revoked(_) | Self::FlowMoved { .. })
            || matches!(self, Self::EdgeSettings { .. } | Self::EdgeSettingsOutcome { .. });
        // Version 1 knows the other frames of version 2, and of a relay less.
        let since = if is_of_version_3 { 3 } else { crate::limits::VERSION_MIN };
        (version >= since).then(|| self.bytes(version))
    }

    /// The frame as bytes of the newest version, as to a core, length included: for tests and tools. A link
    /// uses [`Self::encode_for`]. Lists and strings longer than their bounds are cut: the sender checks its
    /// own settings long before.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.bytes(crate::limits::VERSION)
    }

    fn bytes(&self, version: u16) -> Bytes {
        let mut out = BytesMut::with_capacity(64 + self.sip_len());
        out.put_u32(0);
        self.write(&mut out, version);
        let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
        out[..4].copy_from_slice(&length.to_be_bytes());
        out.freeze()
    }

    fn sip_len(&self) -> usize {
        match self {
            Self::FromClient { sip, .. } | Self::ToClient { sip } => sip.len(),
            Self::EdgeSettings { text, .. } => text.len(),
            Self::Hello(_)
            | Self::Keepalive { .. }
            | Self::KeepaliveAnswer { .. }
            | Self::FlowClosed { .. }
            | Self::FlowMoved { .. }
            | Self::GrantPorts { .. }
            | Self::SetRelay(_)
            | Self::CloseRelay { .. }
            | Self::Synchronised
            | Self::ClientSilent { .. }
            | Self::Services { .. }
            | Self::TokenKeys(_)
            | Self::SignedIn(_)
            | Self::Identity(_)
            | Self::EdgeSettingsOutcome { .. }
            | Self::Revoked(_) => 0,
        }
    }

    fn write(&self, out: &mut BytesMut, version: u16) {
        match self {
            Self::Hello(hello) => write_hello(hello, out),
            Self::Keepalive { sequence, wall_ms, load } => {
                out.put_u8(KEEPALIVE);
                out.put_u32(*sequence);
                out.put_u64(*wall_ms);
                out.put_u32(load.registrations);
                out.put_u32(load.calls);
                if version >= 2 {
                    out.put_u8(u8::from(load.stranded));
                }
                if version >= 3 {
                    out.put_u8(u8::from(load.draining));
                }
            }
            Self::KeepaliveAnswer { sequence, wall_ms } => {
                out.put_u8(KEEPALIVE_ANSWER);
                out.put_u32(*sequence);
                out.put_u64(*wall_ms);
            }
            Self::FromClient { flow, peer, sip } => {
                out.put_u8(FROM_CLIENT);
                out.put_u64(flow.0);
                write_address(*peer, out);
                out.put_slice(sip);
            }
            Self::ToClient { sip } => {
                out.put_u8(TO_CLIENT);
                out.put_slice(sip);
            }
            Self::FlowClosed { flow } => {
                out.put_u8(FLOW_CLOSED);
                out.put_u64(flow.0);
            }
            Self::FlowMoved { flow } => {
                out.put_u8(FLOW_MOVED);
                out.put_u64(flow.0);
            }
            Self::GrantPorts { address, pairs } => {
                out.put_u8(GRANT_PORTS);
                write_ip(*address, out);
                for pair in pairs.iter().take(GRANT_PAIRS_MAX) {
                    out.put_u16(pair.rtp);
                }
            }
            Self::SetRelay(rule) => write_set_relay(rule, out, version),
            Self::CloseRelay { relay, ports } => {
                out.put_u8(CLOSE_RELAY);
                out.put_u32(relay.0);
                out.put_u16(ports.rtp);
            }
            Self::Synchronised => out.put_u8(SYNCHRONISED),
            Self::ClientSilent { relay } => {
                out.put_u8(CLIENT_SILENT);
                out.put_u32(relay.0);
            }
            Self::Services { https_port, xmpp_port } => {
                out.put_u8(SERVICES);
                out.put_u16(*https_port);
                out.put_u16(*xmpp_port);
            }
            Self::TokenKeys(keys) => {
                out.put_u8(TOKEN_KEYS);
                write_keys(keys, out);
            }
            Self::SignedIn(session) => {
                out.put_u8(SIGNED_IN);
                write_session(session, out);
            }
            Self::Identity(identity) => {
                out.put_u8(IDENTITY);
                write_identity(identity, out);
            }
            Self::Revoked(revocation) => {
                out.put_u8(REVOKED);
                write_revocation(revocation, out);
            }
            Self::EdgeSettings { revision, committed_ms, text } => {
                out.put_u8(EDGE_SETTINGS);
                out.put_u64(*revision);
                out.put_u64(*committed_ms);
                // What is too long is no longer TOML, and is refused: the sender's settings are far shorter.
                out.put_slice(&text.as_bytes()[..text.len().min(TOLD_TEXT_BYTES_MAX)]);
            }
            Self::EdgeSettingsOutcome { revision, refused } => {
                out.put_u8(EDGE_SETTINGS_OUTCOME);
                out.put_u64(*revision);
                out.put_u8(u8::from(refused.is_some()));
                write_string(refused.as_deref().unwrap_or_default(), out);
            }
        }
    }

    /// Reads one frame from its kind and payload (the length already taken off). Bytes behind the
    /// fields of this version are a later version's, and skipped.
    ///
    /// # Errors
    /// [`FrameFault`] when the peer broke the format.
    pub fn decode(bytes: Bytes) -> Result<Self, FrameFault> {
        let mut reader = Reader { kind: 0, rest: bytes };
        let kind = reader.u8()?;
        reader.kind = kind;
        Ok(match kind {
            HELLO => Self::Hello(read_hello(&mut reader)?),
            KEEPALIVE => Self::Keepalive {
                sequence: reader.u32()?,
                wall_ms: reader.u64()?,
                load: Load {
                    registrations: reader.u32()?,
                    calls: reader.u32()?,
                    stranded: !reader.is_done() && reader.u8()? != 0,
                    draining: !reader.is_done() && reader.u8()? != 0,
                },
            },
            KEEPALIVE_ANSWER => Self::KeepaliveAnswer { sequence: reader.u32()?, wall_ms: reader.u64()? },
            FROM_CLIENT => {
                Self::FromClient { flow: FlowId(reader.u64()?), peer: reader.address()?, sip: reader.everything() }
            }
            TO_CLIENT => Self::ToClient { sip: reader.everything() },
            FLOW_CLOSED => Self::FlowClosed { flow: FlowId(reader.u64()?) },
            GRANT_PORTS => Self::GrantPorts { address: reader.ip()?, pairs: reader.pairs()? },
            SET_RELAY => read_set_relay(&mut reader)?,
            CLOSE_RELAY => Self::CloseRelay { relay: RelayId(reader.u32()?), ports: reader.pair()? },
            SYNCHRONISED => Self::Synchronised,
            CLIENT_SILENT => Self::ClientSilent { relay: RelayId(reader.u32()?) },
            SERVICES => Self::Services { https_port: reader.u16()?, xmpp_port: reader.u16()? },
            TOKEN_KEYS => Self::TokenKeys(read_keys(&mut reader)?),
            SIGNED_IN => Self::SignedIn(read_session(&mut reader)?),
            FLOW_MOVED => Self::FlowMoved { flow: FlowId(reader.u64()?) },
            IDENTITY => Self::Identity(read_identity(&mut reader)?),
            REVOKED => Self::Revoked(read_revocation(&mut reader)?),
            EDGE_SETTINGS => Self::EdgeSettings {
                revision: reader.u64()?,
                committed_ms: reader.u64()?,
                text: reader.text(TOLD_TEXT_BYTES_MAX)?,
            },
            EDGE_SETTINGS_OUTCOME => {
                let (revision, is_refused, why) = (reader.u64()?, reader.flag()?, reader.string()?);
                Self::EdgeSettingsOutcome { revision, refused: is_refused.then_some(why) }
            }
            unknown => return Err(FrameFault::UnknownKind(unknown)),
        })
    }
}

fn write_hello(hello: &Hello, out: &mut BytesMut) {
    out.put_u8(HELLO);
    out.put_u16(hello.version);
    out.put_u16(hello.version_min);
    out.put_u8(match hello.role {
        Role::Edge => 0,
        Role::Core => 1,
    });
    out.put_u64(hello.boot);
    out.put_u64(hello.wall_ms);
    out.put_u8(u8::from(hello.stun_keepalive));
    write_string(hello.node.as_str(), out);
    write_string(&hello.contact, out);
    let domains = &hello.domains[..hello.domains.len().min(DOMAINS_MAX)];
    out.put_u16(u16::try_from(domains.len()).unwrap_or(0));
    for domain in domains {
        write_string(domain, out);
    }
}

fn read_hello(reader: &mut Reader) -> Result<Hello, FrameFault> {
    let version = reader.u16()?;
    let version_min = reader.u16()?;
    let role = match reader.u8()? {
        0 => Role::Edge,
        1 => Role::Core,
        _ => return Err(FrameFault::Field("role")),
    };
    let boot = reader.u64()?;
    let wall_ms = reader.u64()?;
    let stun_keepalive = reader.flag()?;
    let node = NodeId::new(&reader.string()?).ok_or(FrameFault::Field("node name"))?;
    let contact = reader.string()?;
    let count = usize::from(reader.u16()?);
    if count > DOMAINS_MAX {
        return Err(FrameFault::Field("number of domains"));
    }
    let mut domains = Vec::with_capacity(count);
    for _ in 0..count {
        domains.push(reader.string()?);
    }
    Ok(Hello { version, version_min, node, role, boot, wall_ms, stun_keepalive, contact, domains })
}

/// Flags of a relay: SRTP, a described address, RTCP on the RTP port, datagrams that are no RTP.
const SRTP: u8 = 1;
const DESCRIBED: u8 = 2;
/// From version 2 on, in a byte of their own behind the addresses.
const MUX: u8 = 1;
const DATAGRAMS: u8 = 2;

fn write_set_relay(rule: &RelayRule, out: &mut BytesMut, version: u16) {
    out.put_u8(SET_RELAY);
    out.put_u32(rule.relay.0);
    out.put_u16(rule.ports.rtp);
    out.put_u32(rule.call);
    out.put_u64(rule.flow.0);
    let described = if rule.described.is_some() { DESCRIBED } else { 0 };
    out.put_u8(if rule.srtp { SRTP | described } else { described });
    if let Some((rtp, rtcp)) = rule.described {
        write_address(rtp, out);
        write_address(rtcp, out);
    }
    if version >= 2 {
        let datagrams = match rule.carriage {
            Carriage::Rtp => 0,
            Carriage::Datagrams => DATAGRAMS,
        };
        out.put_u8(if rule.mux { MUX | datagrams } else { datagrams });
    }
}

fn read_set_relay(reader: &mut Reader) -> Result<Frame, FrameFault> {
    let relay = RelayId(reader.u32()?);
    let ports = reader.pair()?;
    let call = reader.u32()?;
    let flow = FlowId(reader.u64()?);
    let flags = reader.u8()?;
    if flags > SRTP | DESCRIBED {
        return Err(FrameFault::Field("relay flags"));
    }
    let described = if flags & DESCRIBED != 0 { Some((reader.address()?, reader.address()?)) } else { None };
    let more = if reader.is_done() { 0 } else { reader.u8()? };
    let carriage = if more & DATAGRAMS == 0 { Carriage::Rtp } else { Carriage::Datagrams };
    let (srtp, mux) = (flags & SRTP != 0, more & MUX != 0);
    Ok(Frame::SetRelay(RelayRule { relay, ports, call, flow, described, srtp, mux, carriage }))
}

/// Cuts a byte stream into frames. Holds at most one frame that is not yet whole.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: BytesMut,
    whole: Bytes,
    unknown: u64,
}

impl Decoder {
    /// Frames skipped because their kind is not known here.
    #[must_use]
    pub const fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Bytes of the unfinished frame that are kept.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.partial.len() + self.whole.len()
    }

    /// Takes bytes as they came, cut anywhere.
    pub fn push(&mut self, bytes: Bytes) {
        if self.partial.is_empty() && self.whole.is_empty() {
            self.whole = bytes;
        } else {
            if !self.whole.is_empty() {
                let rest = std::mem::take(&mut self.whole);
                self.partial.extend_from_slice(&rest);
            }
            self.partial.extend_from_slice(&bytes);
        }
    }

    /// The next whole frame of a kind that is known, without copying it where it lies whole in what was
    /// pushed.
    ///
    /// # Errors
    /// [`FrameFault`]; the stream cannot be followed any further.
    pub fn poll_frame(&mut self) -> Result<Option<Frame>, FrameFault> {
        while let Some(frame) = self.cut()? {
            match Frame::decode(frame) {
                Err(FrameFault::UnknownKind(_)) => self.unknown += 1,
                decoded => return decoded.map(Some),
            }
        }
        Ok(None)
    }

    /// Cuts the next frame off: its kind and payload.
    fn cut(&mut self) -> Result<Option<Bytes>, FrameFault> {
        let buffered: &[u8] = if self.partial.is_empty() { &self.whole } else { &self.partial };
        let Some(head) = buffered.first_chunk::<4>() else { return Ok(self.keep_partial()) };
        let length = u32::from_be_bytes(*head) as usize;
        if length > LINK_FRAME_BYTES_MAX {
            return Err(FrameFault::TooLong(length));
        }
        if buffered.len() < 4 + length {
            return Ok(self.keep_partial());
        }
        let mut frame = if self.partial.is_empty() {
            self.whole.split_to(4 + length)
        } else {
            self.partial.split_to(4 + length).freeze()
        };
        frame.advance(4);
        Ok(Some(frame))
    }

    /// Copies an unfinished frame out of the received chunk, so that the chunk can be freed.
    fn keep_partial(&mut self) -> Option<Bytes> {
        if !self.whole.is_empty() {
            self.partial.extend_from_slice(&self.whole);
            self.whole = Bytes::new();
        }
        None
    }
}

#[cfg(test)]
mod tests;
