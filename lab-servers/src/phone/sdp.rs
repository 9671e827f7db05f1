//! The session descriptions of a phone: one audio stream, PCMU, RTP/AVP or RTP/SAVP with SDES.
//!
//! Written apart from `protocols/media` on purpose: a phone that read descriptions with the same
//! code as the core could not notice that code's mistakes. RFC 8866, 3264, 3605, 4568.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::rtp::EXTENSION_ID;

/// Names our header extension (RFC 8285 §5).
const EXTENSION_URI: &str = "urn:x-edgeway:lab:sent-at";

/// The one suite every SDES implementation has (RFC 4568 §6.2.1).
const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";

/// Master key and salt of one direction.
pub(crate) type Key = [u8; 30];

/// Who may send (RFC 3264 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    SendReceive,
    SendOnly,
    ReceiveOnly,
    Inactive,
}

impl Direction {
    const fn attribute(self) -> &'static str {
        match self {
            Self::SendReceive => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::ReceiveOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// What an answer must say to an offer of `self` when both sides want to talk.
    pub(crate) const fn reversed(self) -> Self {
        match self {
            Self::SendReceive => Self::SendReceive,
            Self::SendOnly => Self::ReceiveOnly,
            Self::ReceiveOnly => Self::SendOnly,
            Self::Inactive => Self::Inactive,
        }
    }

    /// Whether the side that says this sends.
    pub(crate) const fn sends(self) -> bool {
        matches!(self, Self::SendReceive | Self::SendOnly)
    }
}

/// The audio stream as the other side describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) rtp: SocketAddr,
    pub(crate) rtcp: SocketAddr,
    pub(crate) direction: Direction,
    /// Tag and key of the `a=crypto` line taken; `None` on a plain stream.
    pub(crate) crypto: Option<(u32, Key)>,
    /// Every `m=` line in order; the answer must have as many (RFC 3264 §6).
    media: Vec<String>,
    audio: usize,
}

/// Why a description cannot be used; the phone answers 488 with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Not SDP, or no connection address.
    #[error("the session description cannot be read")]
    Unreadable,
    /// No `m=audio` line with a port and PCMU.
    #[error("no audio stream with PCMU")]
    NoAudio,
    /// SRTP is wanted and the offer has none.
    #[error("media encryption is required and was not offered")]
    NotEncrypted,
    /// Encryption is offered and this phone has none.
    #[error("media encryption is not supported here")]
    Encrypted,
    /// No `a=crypto` line with a suite and key this phone can use.
    #[error("no usable crypto suite")]
    NoSuite,
}

/// Reads an offer or answer. `secure` says which kind of stream this phone wants.
pub(crate) fn read(text: &[u8], secure: bool) -> Result<Remote, Unusable> {
    let text = std::str::from_utf8(text).map_err(|_| Unusable::Unreadable)?;
    if !text.starts_with("v=0") {
        return Err(Unusable::Unreadable);
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let media: Vec<String> = lines.iter().filter_map(|line| line.strip_prefix("m=")).map(str::to_owned).collect();
    let audio = media.iter().position(|line| usable_audio(line)).ok_or(Unusable::NoAudio)?;
    let (session, mut sections) = split_sections(&lines);
    let section = sections.remove(audio);
    let mut fields = media[audio].split_whitespace().skip(1);
    let port: u16 = fields.next().and_then(|p| p.split('/').next()?.parse().ok()).ok_or(Unusable::NoAudio)?;
    let profile = fields.next().unwrap_or_default();
    let address = connection(section).or_else(|| connection(session)).ok_or(Unusable::Unreadable)?;
    let crypto = match (profile.contains("SAVP"), secure) {
        (false, true) => return Err(Unusable::NotEncrypted),
        (true, false) => return Err(Unusable::Encrypted),
        (false, false) => None,
        (true, true) => Some(section.iter().find_map(|line| crypto(line)).ok_or(Unusable::NoSuite)?),
    };
    let rtcp = section.iter().find_map(|line| line.strip_prefix("a=rtcp:")?.split_whitespace().next()?.parse().ok());
    Ok(Remote {
        rtp: SocketAddr::new(address, port),
        rtcp: SocketAddr::new(address, rtcp.unwrap_or(port.saturating_add(1))),
        direction: direction(section).or_else(|| direction(session)).unwrap_or(Direction::SendReceive),
        crypto,
        media,
        audio,
    })
}

fn usable_audio(line: &str) -> bool {
    let mut fields = line.split_whitespace();
    fields.next() == Some("audio")
        && fields.next().is_some_and(|port| port != "0")
        && fields.next().is_some_and(|profile| profile.starts_with("RTP/"))
        && fields.any(|format| format == "0")
}

/// Session-level lines, then the lines of each media section.
fn split_sections<'a, 'b>(lines: &'b [&'a str]) -> (&'b [&'a str], Vec<&'b [&'a str]>) {
    let starts: Vec<usize> = (0..lines.len()).filter(|&at| lines[at].starts_with("m=")).collect();
    let session = &lines[..starts.first().copied().unwrap_or(lines.len())];
    let ends = starts.iter().skip(1).copied().chain([lines.len()]);
    (session, starts.iter().copied().zip(ends).map(|(start, end)| &lines[start..end]).collect())
}

fn connection(lines: &[&str]) -> Option<IpAddr> {
    lines.iter().find_map(|line| {
        let mut fields = line.strip_prefix("c=IN IP")?.split_whitespace();
        fields.next()?;
        fields.next()?.split('/').next()?.parse().ok()
    })
}

fn direction(lines: &[&str]) -> Option<Direction> {
    use Direction::{Inactive, ReceiveOnly, SendOnly, SendReceive};
    let all = [SendReceive, SendOnly, ReceiveOnly, Inactive];
    lines.iter().find_map(|line| {
        let attribute = line.strip_prefix("a=")?;
        all.into_iter().find(|direction| direction.attribute() == attribute)
    })
}

fn crypto(line: &str) -> Option<(u32, Key)> {
    let mut fields = line.strip_prefix("a=crypto:")?.split_whitespace();
    let tag = fields.next()?.parse().ok()?;
    if fields.next()? != SUITE {
        return None;
    }
    let inline = fields.next()?.strip_prefix("inline:")?.split(['|', ';']).next()?;
    let key = BASE64.decode(inline).ok()?.try_into().ok()?;
    // RFC 4568 §6.3.2: a session parameter we do not know makes the line unusable; UNENCRYPTED_*
    // and the like would change the packets.
    fields.next().is_none().then_some((tag, key))
}

/// The phone's own side of a call.
pub(crate) struct Local<'a> {
    pub(crate) user: &'a str,
    pub(crate) id: u64,
    pub(crate) version: u64,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) key: Option<&'a Key>,
}

impl Local<'_> {
    /// An offer.
    pub(crate) fn offer(&self, direction: Direction) -> String {
        let mut out = self.head();
        self.audio(&mut out, direction, 1);
        out
    }

    /// An answer to `offer`: every stream but the audio one is refused with port 0.
    pub(crate) fn answer(&self, offer: &Remote, direction: Direction) -> String {
        let mut out = self.head();
        for (index, line) in offer.media.iter().enumerate() {
            if index == offer.audio {
                self.audio(&mut out, direction, offer.crypto.map_or(1, |(tag, _)| tag));
            } else {
                let mut fields = line.split_whitespace();
                let kind = fields.next().unwrap_or("audio");
                let rest: Vec<&str> = fields.skip(1).collect();
                let _ = write!(out, "m={kind} 0 {}\r\n", rest.join(" "));
            }
        }
        out
    }

    fn head(&self) -> String {
        let Self { user, id, version, address, .. } = self;
        let family = if address.is_ipv4() { "IP4" } else { "IP6" };
        format!("v=0\r\no={user} {id} {version} IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n")
    }

    fn audio(&self, out: &mut String, direction: Direction, tag: u32) {
        let profile = if self.key.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
        let _ = write!(out, "m=audio {} {profile} 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n", self.port);
        if let Some(key) = self.key {
            let _ = write!(out, "a=crypto:{tag} {SUITE} inline:{}\r\n", BASE64.encode(key));
        }
        let _ = write!(out, "a=extmap:{EXTENSION_ID} {EXTENSION_URI}\r\na={}\r\n", direction.attribute());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = [7; 30];

    fn local(key: Option<&Key>) -> Local<'_> {
        Local { user: "alice", id: 1, version: 2, address: [127, 0, 0, 1].into(), port: 4000, key }
    }

    #[test]
    fn an_offer_is_read_as_written() {
        let offer = local(Some(&KEY)).offer(Direction::SendOnly);
        let remote = read(offer.as_bytes(), true).expect("our own offer");
        assert_eq!(remote.rtp, "127.0.0.1:4000".parse().unwrap());
        assert_eq!(remote.rtcp, "127.0.0.1:4001".parse().unwrap());
        assert_eq!(remote.crypto, Some((1, KEY)));
        assert_eq!(remote.direction, Direction::SendOnly);
    }

    #[test]
    fn encryption_is_neither_dropped_nor_invented() {
        let plain = local(None).offer(Direction::SendReceive);
        let secure = local(Some(&KEY)).offer(Direction::SendReceive);
        assert_eq!(read(plain.as_bytes(), true), Err(Unusable::NotEncrypted));
        assert_eq!(read(secure.as_bytes(), false), Err(Unusable::Encrypted));
        let other = secure.replace("HMAC_SHA1_80", "HMAC_SHA1_32");
        assert_eq!(read(other.as_bytes(), true), Err(Unusable::NoSuite));
        let weaker = secure.replace("BwcH\r\n", "BwcH UNENCRYPTED_SRTP\r\n");
        assert_ne!(weaker, secure);
        assert_eq!(read(weaker.as_bytes(), true), Err(Unusable::NoSuite));
    }

    #[test]
    fn an_answer_refuses_video_and_keeps_the_tag() {
        let offer = "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\n\
            m=video 9000 RTP/SAVP 96\r\na=sendrecv\r\n\
            m=audio 9002 RTP/SAVP 9 0\r\nc=IN IP4 10.0.0.7\r\na=rtcp:9100\r\n\
            a=crypto:1 AES_CM_256_HMAC_SHA1_80 inline:AAAA\r\n\
            a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH|2^20\r\n\
            a=recvonly\r\n";
        let remote = read(offer.as_bytes(), true).expect("usable");
        assert_eq!(remote.rtp, "10.0.0.7:9002".parse().unwrap());
        assert_eq!(remote.rtcp.port(), 9100);
        assert_eq!(remote.crypto, Some((2, KEY)));
        assert_eq!(remote.direction, Direction::ReceiveOnly);
        let answer = local(Some(&KEY)).answer(&remote, remote.direction.reversed());
        assert!(answer.contains("m=video 0 RTP/SAVP 96\r\n"), "{answer}");
        assert!(answer.contains("a=crypto:2 "), "{answer}");
        assert!(answer.contains("a=sendonly\r\n"), "{answer}");
        assert!(answer.find("m=video") < answer.find("m=audio"));
    }
}
