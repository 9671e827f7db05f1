//! Version 1 of the link protocol, as the first release had it, word for word: nothing unknown is skipped
//! and no byte may be left over. Must never be changed to follow `protocols/link`: it proves that today's
//! nodes still speak with a node of the first release, in both roles.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use edgeway_model::limits::LINK_FRAME_BYTES_MAX;
use edgeway_model::media::PortPair;
use edgeway_model::{FlowId, NodeId, RelayId};

const VERSION: u16 = 1;
const STRING_BYTES_MAX: usize = 255;
const DOMAINS_MAX: usize = 256;
const GRANT_PAIRS_MAX: usize = 256;

/// The frames in `bytes` as a node of version 1 reads them, and as it would have written them.
pub(crate) fn carried(bytes: &Bytes) -> Result<Bytes, FrameFault> {
    let mut rest = bytes.clone();
    let mut out = BytesMut::with_capacity(bytes.len());
    while !rest.is_empty() {
        if rest.len() < 4 {
            return Err(FrameFault::Field("length"));
        }
        let length = rest.get_u32() as usize;
        if length > LINK_FRAME_BYTES_MAX {
            return Err(FrameFault::TooLong(length));
        }
        if rest.len() < length {
            return Err(FrameFault::Field("length"));
        }
        let mut frame = Frame::decode(rest.split_to(length))?;
        if let Frame::Hello(hello) = &mut frame {
            if hello.version_min > VERSION {
                return Err(FrameFault::Field("version"));
            }
            (hello.version, hello.version_min) = (VERSION, VERSION);
        }
        out.extend_from_slice(&frame.encode());
    }
    Ok(out.freeze())
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Edge,
    Core,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) version: u16,
    pub(crate) version_min: u16,
    pub(crate) node: NodeId,
    pub(crate) role: Role,
    pub(crate) boot: u64,
    pub(crate) wall_ms: u64,
    pub(crate) stun_keepalive: bool,
    pub(crate) contact: String,
    pub(crate) domains: Vec<String>,
}
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) registrations: u32,
    pub(crate) calls: u32,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Hello(Hello),
    Keepalive {
        sequence: u32,
        wall_ms: u64,
        load: Load,
    },
    KeepaliveAnswer {
        sequence: u32,
        wall_ms: u64,
    },
    FromClient {
        flow: FlowId,
        peer: SocketAddr,
        sip: Bytes,
    },
    ToClient {
        sip: Bytes,
    },
    FlowClosed {
        flow: FlowId,
    },
    GrantPorts {
        address: IpAddr,
        pairs: Vec<PortPair>,
    },
    SetRelay {
        relay: RelayId,
        ports: PortPair,
        call: u32,
        flow: FlowId,
        described: Option<(SocketAddr, SocketAddr)>,
        srtp: bool,
    },
    CloseRelay {
        relay: RelayId,
        ports: PortPair,
    },
    Synchronised,
    ClientSilent {
        relay: RelayId,
    },
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameFault {
    TooLong(usize),
    UnknownKind(u8),
    Length(u8),
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

impl Frame {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64 + self.sip_len());
        out.put_u32(0);
        self.write(&mut out);
        let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
        out[..4].copy_from_slice(&length.to_be_bytes());
        out.freeze()
    }

    fn sip_len(&self) -> usize {
        match self {
            Self::FromClient { sip, .. } | Self::ToClient { sip } => sip.len(),
            Self::Hello(_)
            | Self::Keepalive { .. }
            | Self::KeepaliveAnswer { .. }
            | Self::FlowClosed { .. }
            | Self::GrantPorts { .. }
            | Self::SetRelay { .. }
            | Self::CloseRelay { .. }
            | Self::Synchronised
            | Self::ClientSilent { .. } => 0,
        }
    }

    fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Hello(hello) => write_hello(hello, out),
            Self::Keepalive { sequence, wall_ms, load } => {
                out.put_u8(KEEPALIVE);
                out.put_u32(*sequence);
                out.put_u64(*wall_ms);
                out.put_u32(load.registrations);
                out.put_u32(load.calls);
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
            Self::GrantPorts { address, pairs } => {
                out.put_u8(GRANT_PORTS);
                write_ip(*address, out);
                for pair in pairs.iter().take(GRANT_PAIRS_MAX) {
                    out.put_u16(pair.rtp);
                }
            }
            Self::SetRelay { relay, ports, call, flow, described, srtp } => {
                out.put_u8(SET_RELAY);
                out.put_u32(relay.0);
                out.put_u16(ports.rtp);
                out.put_u32(*call);
                out.put_u64(flow.0);
                out.put_u8(u8::from(*srtp) | u8::from(described.is_some()) << 1);
                if let Some((rtp, rtcp)) = described {
                    write_address(*rtp, out);
                    write_address(*rtcp, out);
                }
            }
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
        }
    }
    pub(crate) fn decode(bytes: Bytes) -> Result<Self, FrameFault> {
        let mut reader = Reader { kind: 0, rest: bytes };
        let kind = reader.u8()?;
        reader.kind = kind;
        let frame = match kind {
            HELLO => Self::Hello(read_hello(&mut reader)?),
            KEEPALIVE => Self::Keepalive {
                sequence: reader.u32()?,
                wall_ms: reader.u64()?,
                load: Load { registrations: reader.u32()?, calls: reader.u32()? },
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
            unknown => return Err(FrameFault::UnknownKind(unknown)),
        };
        if reader.rest.is_empty() { Ok(frame) } else { Err(FrameFault::Length(kind)) }
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
    // A later version may say more: what follows is skipped, so that N and N−1 understand each other.
    if version > VERSION {
        reader.everything();
    }
    Ok(Hello { version, version_min, node, role, boot, wall_ms, stun_keepalive, contact, domains })
}

fn read_set_relay(reader: &mut Reader) -> Result<Frame, FrameFault> {
    let relay = RelayId(reader.u32()?);
    let ports = reader.pair()?;
    let call = reader.u32()?;
    let flow = FlowId(reader.u64()?);
    let flags = reader.u8()?;
    if flags > 3 {
        return Err(FrameFault::Field("relay flags"));
    }
    let described = if flags & 2 != 0 { Some((reader.address()?, reader.address()?)) } else { None };
    Ok(Frame::SetRelay { relay, ports, call, flow, described, srtp: flags & 1 != 0 })
}

fn write_string(text: &str, out: &mut BytesMut) {
    let mut end = text.len().min(STRING_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.put_u16(u16::try_from(end).unwrap_or(0));
    out.put_slice(&text.as_bytes()[..end]);
}

fn write_ip(ip: IpAddr, out: &mut BytesMut) {
    match ip {
        IpAddr::V4(v4) => {
            out.put_u8(4);
            out.put_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            out.put_u8(6);
            out.put_slice(&v6.octets());
        }
    }
}

fn write_address(address: SocketAddr, out: &mut BytesMut) {
    write_ip(address.ip(), out);
    out.put_u16(address.port());
}
struct Reader {
    kind: u8,
    rest: Bytes,
}

impl Reader {
    fn need(&self, bytes: usize) -> Result<(), FrameFault> {
        if self.rest.len() < bytes { Err(FrameFault::Length(self.kind)) } else { Ok(()) }
    }

    fn u8(&mut self) -> Result<u8, FrameFault> {
        self.need(1)?;
        Ok(self.rest.get_u8())
    }

    fn u16(&mut self) -> Result<u16, FrameFault> {
        self.need(2)?;
        Ok(self.rest.get_u16())
    }

    fn u32(&mut self) -> Result<u32, FrameFault> {
        self.need(4)?;
        Ok(self.rest.get_u32())
    }

    fn u64(&mut self) -> Result<u64, FrameFault> {
        self.need(8)?;
        Ok(self.rest.get_u64())
    }

    fn flag(&mut self) -> Result<bool, FrameFault> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(FrameFault::Field("flag")),
        }
    }

    fn string(&mut self) -> Result<String, FrameFault> {
        let length = usize::from(self.u16()?);
        if length > STRING_BYTES_MAX {
            return Err(FrameFault::Field("string length"));
        }
        self.need(length)?;
        let text = self.rest.split_to(length);
        String::from_utf8(text.to_vec()).map_err(|_| FrameFault::Field("string"))
    }

    fn ip(&mut self) -> Result<IpAddr, FrameFault> {
        match self.u8()? {
            4 => Ok(IpAddr::V4(Ipv4Addr::from(self.u32()?))),
            6 => {
                self.need(16)?;
                Ok(IpAddr::V6(Ipv6Addr::from(self.rest.get_u128())))
            }
            _ => Err(FrameFault::Field("address family")),
        }
    }

    fn address(&mut self) -> Result<SocketAddr, FrameFault> {
        Ok(SocketAddr::new(self.ip()?, self.u16()?))
    }

    fn pair(&mut self) -> Result<PortPair, FrameFault> {
        let rtp = self.u16()?;
        if rtp == 0 || rtp % 2 != 0 { Err(FrameFault::Field("port pair")) } else { Ok(PortPair { rtp }) }
    }

    fn pairs(&mut self) -> Result<Vec<PortPair>, FrameFault> {
        if self.rest.len() > GRANT_PAIRS_MAX * 2 || !self.rest.len().is_multiple_of(2) {
            return Err(FrameFault::Field("number of port pairs"));
        }
        let mut pairs = Vec::with_capacity(self.rest.len() / 2);
        while !self.rest.is_empty() {
            pairs.push(self.pair()?);
        }
        Ok(pairs)
    }

    fn everything(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }
}

impl std::fmt::Display for FrameFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
