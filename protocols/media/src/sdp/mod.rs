//! Session descriptions (RFC 8866), read and edited line by line.
//!
//! What an engine must know is parsed (addresses, ports, profile, direction, SDES keys); every
//! other line passes as it came. [`exchange`] holds the steps of an offer and its answer between
//! outside and inside. Multipart bodies are not unpacked here.
//!
//! RFC 8866 (SDP), RFC 3264 (offer/answer), RFC 4568 (SDES), RFC 3605 (`a=rtcp`),
//! RFC 5761 (`a=rtcp-mux`), RFC 8856 (BFCP).

mod codecs;
mod crypto;
mod edit;
pub mod exchange;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

pub use crypto::Crypto;
pub use exchange::{
    Anchor, LegMedia, Offered, OurKeys, PassedAnswer, PassedOffer, Place, Protection, Refusal, Rules, SectionMedia,
    Side, SideRules, pass_answer, pass_offer, survey,
};

use crate::limits::{SDP_BYTES_MAX, SDP_CRYPTO_LINES_MAX, SDP_LINES_MAX, SDP_SECTIONS_MAX};

/// A session description: its lines, and what was read from them.
#[derive(Clone, Debug)]
pub struct Description {
    text: Vec<u8>,
    lines: Vec<Range<usize>>,
    session_lines: usize,
    sections: Vec<Section>,
}

/// One media section: an `m=` line and what follows it.
#[derive(Clone, Debug)]
pub struct Section {
    /// What is sent.
    pub kind: MediaKind,
    /// The port of the `m=` line; 0 refuses or ends the stream (RFC 3264 §6, §8.2).
    pub port: u16,
    /// The transport profile.
    pub profile: Profile,
    /// Where RTP is received. `None`: port 0, an unspecified address (old-style hold), a name, or
    /// an address no media may be sent to.
    pub rtp: Option<SocketAddr>,
    /// Where RTCP is received: `a=rtcp` (RFC 3605), else the next port.
    pub rtcp: Option<SocketAddr>,
    /// The direction, as the describing party sees it.
    pub direction: Direction,
    /// The `a=crypto` attributes in order.
    pub crypto: Vec<Crypto>,
    /// Whether `a=rtcp-mux` (RFC 5761) stands.
    pub rtcp_mux: bool,
    has_connection: bool,
    lines: Range<usize>,
}

/// The media type of an `m=` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// `audio`
    Audio,
    /// `video`
    Video,
    /// Anything else.
    Other,
}

/// The transport profile of an `m=` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `RTP/AVP` (RFC 3551)
    Avp,
    /// `RTP/SAVP` (RFC 3711)
    Savp,
    /// `RTP/AVPF` (RFC 4585)
    Avpf,
    /// `RTP/SAVPF` (RFC 5124)
    Savpf,
    /// `UDP/BFCP` (RFC 8856) or `UDP/UDT/IX`: datagrams that are no RTP.
    Datagrams,
    /// Anything else, DTLS-SRTP and TCP among it.
    Other,
}

impl Profile {
    fn parse(token: &[u8]) -> Self {
        match token {
            b"RTP/AVP" => Self::Avp,
            b"RTP/SAVP" => Self::Savp,
            b"RTP/AVPF" => Self::Avpf,
            b"RTP/SAVPF" => Self::Savpf,
            b"UDP/BFCP" | b"UDP/UDT/IX" => Self::Datagrams,
            _ => Self::Other,
        }
    }

    /// The token of the `m=` line of an RTP profile; `None` for the others.
    #[must_use]
    pub const fn token(self) -> Option<&'static str> {
        match self {
            Self::Avp => Some("RTP/AVP"),
            Self::Savp => Some("RTP/SAVP"),
            Self::Avpf => Some("RTP/AVPF"),
            Self::Savpf => Some("RTP/SAVPF"),
            Self::Datagrams | Self::Other => None,
        }
    }

    /// Whether the profile demands encryption.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Savp | Self::Savpf)
    }

    /// The same profile with encryption.
    #[must_use]
    pub const fn secure(self) -> Self {
        match self {
            Self::Avp | Self::Savp => Self::Savp,
            Self::Avpf | Self::Savpf => Self::Savpf,
            Self::Datagrams | Self::Other => self,
        }
    }

    /// The same profile without encryption.
    #[must_use]
    pub const fn plain(self) -> Self {
        match self {
            Self::Avp | Self::Savp => Self::Avp,
            Self::Avpf | Self::Savpf => Self::Avpf,
            Self::Datagrams | Self::Other => self,
        }
    }
}

/// The direction attribute (RFC 8866 §6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Sends and receives; also what no attribute means.
    #[default]
    SendRecv,
    /// Sends only (hold, from the holder's side).
    SendOnly,
    /// Receives only.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    fn parse(name: &[u8]) -> Option<Self> {
        match name {
            b"sendrecv" => Some(Self::SendRecv),
            b"sendonly" => Some(Self::SendOnly),
            b"recvonly" => Some(Self::RecvOnly),
            b"inactive" => Some(Self::Inactive),
            _ => None,
        }
    }
}

/// Why a body is no session description. Line numbers count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpFault {
    /// Over a bound of [`crate::limits`].
    #[error("session description too large")]
    TooLarge,
    /// A line is not `letter=value`.
    #[error("line {line} is not of the form letter=value")]
    NotALine {
        /// Which.
        line: usize,
    },
    /// The first line is not `v=0`.
    #[error("session description does not start with v=0")]
    NoVersion,
    /// An `m=` line lacks a part.
    #[error("line {line} is not a media description")]
    BadMedia {
        /// Which.
        line: usize,
    },
    /// A `c=` line lacks a part.
    #[error("line {line} is not connection data")]
    BadConnection {
        /// Which.
        line: usize,
    },
    /// No `c=` line applies to a stream (RFC 8866 §5.7).
    #[error("a media stream has no connection data")]
    NoConnection,
}

impl Description {
    /// Reads a body. Bare LF ends a line too (RFC 8866 §5); empty lines at the end are ignored.
    ///
    /// # Errors
    /// [`SdpFault`]: the body breaks the grammar where the grammar matters, or is over a bound.
    pub fn parse(body: &[u8]) -> Result<Self, SdpFault> {
        if body.len() > SDP_BYTES_MAX {
            return Err(SdpFault::TooLarge);
        }
        let lines = split_lines(body)?;
        let mut reader = Reader::default();
        for (index, range) in lines.iter().enumerate() {
            reader.line(index, &body[range.clone()])?;
        }
        let (session_lines, sections) = reader.finish(lines.len())?;
        Ok(Self { text: body.to_vec(), lines, session_lines, sections })
    }

    /// The media sections in order.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    fn line(&self, index: usize) -> &[u8] {
        &self.text[self.lines[index].clone()]
    }
}

impl Section {
    /// Both addresses, when media can be sent to the describing party.
    #[must_use]
    pub fn described(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.rtp.zip(self.rtcp)
    }
}

fn split_lines(body: &[u8]) -> Result<Vec<Range<usize>>, SdpFault> {
    let mut lines = Vec::with_capacity(64);
    let mut start = 0;
    let end = body.len() - body.iter().rev().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    while start < end {
        if lines.len() == SDP_LINES_MAX {
            return Err(SdpFault::TooLarge);
        }
        let stop = memchr_line_end(&body[..end], start);
        let mut content = start..stop;
        if body[content.clone()].last() == Some(&b'\r') {
            content.end -= 1;
        }
        let line = &body[content.clone()];
        let well_formed = line.len() >= 2
            && line[0].is_ascii_lowercase()
            && line[1] == b'='
            && !line.iter().any(|b| matches!(b, b'\r' | 0));
        if !well_formed {
            return Err(SdpFault::NotALine { line: lines.len() + 1 });
        }
        lines.push(content);
        start = stop + 1;
    }
    Ok(lines)
}

fn memchr_line_end(body: &[u8], start: usize) -> usize {
    body[start..].iter().position(|&b| b == b'\n').map_or(body.len(), |at| start + at)
}

/// What a `c=` line says about sending.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    Address(IpAddr),
    /// 0.0.0.0 or `::`: do not send (RFC 3264 §8.4, the old way to hold).
    Unspecified,
    /// A name, a group or anything else media is not sent to.
    Unusable,
}

impl Connection {
    /// Reads the value of a `c=` line (RFC 8866 §5.7).
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let mut parts = value.split(|&b| b == b' ').filter(|part| !part.is_empty());
        let (_net, _family, address) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self::of(address))
    }

    fn of(address: &[u8]) -> Self {
        let Some(address) = std::str::from_utf8(address).ok().and_then(|text| text.parse::<IpAddr>().ok()) else {
            return Self::Unusable;
        };
        let address = address.to_canonical();
        if address.is_unspecified() {
            Self::Unspecified
        } else if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
            Self::Unusable
        } else {
            Self::Address(address)
        }
    }

    fn with_port(self, port: u16) -> Option<SocketAddr> {
        match self {
            Self::Address(address) if port != 0 => Some(SocketAddr::new(address, port)),
            Self::Address(_) | Self::Unspecified | Self::Unusable => None,
        }
    }
}

/// The unspecified address of the family of `address`.
pub(crate) const fn unspecified_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// The name and value of an `a=` line's content.
pub(crate) fn attribute(value: &[u8]) -> (&[u8], &[u8]) {
    match value.iter().position(|&b| b == b':') {
        Some(at) => (&value[..at], &value[at + 1..]),
        None => (value, b""),
    }
}

/// Collects what the lines say.
#[derive(Default)]
struct Reader {
    session_connection: Option<Connection>,
    session_direction: Direction,
    first_media: Option<usize>,
    sections: Vec<Section>,
    drafts: Vec<Draft>,
}

/// What a section says before the session level is known to apply.
#[derive(Default)]
struct Draft {
    connection: Option<Connection>,
    direction: Option<Direction>,
    rtcp: Option<(u16, Option<Connection>)>,
}

impl Reader {
    fn line(&mut self, index: usize, line: &[u8]) -> Result<(), SdpFault> {
        if index == 0 && line != b"v=0" {
            return Err(SdpFault::NoVersion);
        }
        let value = &line[2..];
        match line[0] {
            b'm' => self.media(index, value),
            b'c' => self.connection(index, value),
            b'a' => {
                self.attribute(value);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn media(&mut self, index: usize, value: &[u8]) -> Result<(), SdpFault> {
        if self.sections.len() == SDP_SECTIONS_MAX {
            return Err(SdpFault::TooLarge);
        }
        let mut section = parse_media(value).ok_or(SdpFault::BadMedia { line: index + 1 })?;
        section.lines = index..index + 1;
        if let Some(last) = self.sections.last_mut() {
            last.lines.end = index;
        }
        self.first_media.get_or_insert(index);
        self.sections.push(section);
        self.drafts.push(Draft::default());
        Ok(())
    }

    fn connection(&mut self, index: usize, value: &[u8]) -> Result<(), SdpFault> {
        let connection = Connection::parse(value).ok_or(SdpFault::BadConnection { line: index + 1 })?;
        match self.drafts.last_mut() {
            // The first of several counts; several in one section describe layers of a multicast.
            Some(draft) => draft.connection.get_or_insert(connection),
            None => self.session_connection.get_or_insert(connection),
        };
        Ok(())
    }

    fn attribute(&mut self, value: &[u8]) {
        let (name, rest) = attribute(value);
        let direction = Direction::parse(name);
        let (Some(section), Some(draft)) = (self.sections.last_mut(), self.drafts.last_mut()) else {
            if let Some(direction) = direction {
                self.session_direction = direction;
            }
            return;
        };
        if direction.is_some() {
            draft.direction = direction;
        }
        match name {
            b"rtcp" => draft.rtcp = parse_rtcp(rest),
            b"rtcp-mux" => section.rtcp_mux = true,
            b"crypto" if section.crypto.len() < SDP_CRYPTO_LINES_MAX => section.crypto.extend(Crypto::parse(rest)),
            _ => {}
        }
    }

    fn finish(mut self, lines: usize) -> Result<(usize, Vec<Section>), SdpFault> {
        if lines == 0 {
            return Err(SdpFault::NoVersion);
        }
        if let Some(last) = self.sections.last_mut() {
            last.lines.end = lines;
        }
        for (section, draft) in self.sections.iter_mut().zip(&self.drafts) {
            section.direction = draft.direction.unwrap_or(self.session_direction);
            let Some(connection) = draft.connection.or(self.session_connection) else { continue };
            section.has_connection = true;
            section.rtp = connection.with_port(section.port);
            section.rtcp = match draft.rtcp {
                Some((port, own)) => section.rtp.and(own.unwrap_or(connection).with_port(port)),
                None => section.port.checked_add(1).and_then(|port| section.rtp.and(connection.with_port(port))),
            };
        }
        Ok((self.first_media.unwrap_or(lines), self.sections))
    }
}

fn parse_media(value: &[u8]) -> Option<Section> {
    let mut parts = value.split(|&b| b == b' ').filter(|part| !part.is_empty());
    let kind = match parts.next()? {
        b"audio" => MediaKind::Audio,
        b"video" => MediaKind::Video,
        _ => MediaKind::Other,
    };
    let port = parts.next()?;
    let port = port.split(|&b| b == b'/').next().and_then(parse_port)?;
    let profile = Profile::parse(parts.next()?);
    parts.next()?;
    Some(Section {
        kind,
        port,
        profile,
        rtp: None,
        rtcp: None,
        direction: Direction::SendRecv,
        crypto: Vec::new(),
        rtcp_mux: false,
        has_connection: false,
        lines: 0..0,
    })
}

/// `a=rtcp:port [IN IP4 address]` (RFC 3605 §2.1).
fn parse_rtcp(value: &[u8]) -> Option<(u16, Option<Connection>)> {
    let mut parts = value.splitn(2, |&b| b == b' ');
    let port = parts.next().and_then(parse_port)?;
    Some((port, parts.next().and_then(Connection::parse)))
}

fn parse_port(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
