//! The session descriptions of a phone: an audio stream, PCMU, and one of video if it has a camera;
//! RTP/AVP or RTP/SAVP with SDES.
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

/// What a phone protects its media with (RFC 4568 §6.2, RFC 7714 §14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SrtpSuite {
    /// The one suite every SDES implementation has.
    AesCm128HmacSha1_80,
    /// The same with a short tag.
    AesCm128HmacSha1_32,
    /// AES-GCM with a key of 16 bytes.
    AeadAes128Gcm,
    /// AES-GCM with a key of 32 bytes.
    AeadAes256Gcm,
}

impl SrtpSuite {
    const fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    const fn key_bytes(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 | Self::AeadAes128Gcm => 16,
        }
    }

    const fn salt_bytes(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }
}

/// Master key and salt of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) suite: SrtpSuite,
    /// Key, salt, zeroes.
    bytes: [u8; 44],
}

impl Key {
    /// `None` if the length is not the suite's.
    pub(crate) fn new(suite: SrtpSuite, key_and_salt: &[u8]) -> Option<Self> {
        let mut bytes = [0; 44];
        let fits = key_and_salt.len() == suite.key_bytes() + suite.salt_bytes();
        bytes.get_mut(..key_and_salt.len()).filter(|_| fits)?.copy_from_slice(key_and_salt);
        Some(Self { suite, bytes })
    }

    /// The first bytes of so many random ones.
    pub(crate) fn cut(suite: SrtpSuite, random: &[u8; 44]) -> Self {
        let mut bytes = *random;
        bytes[suite.key_bytes() + suite.salt_bytes()..].fill(0);
        Self { suite, bytes }
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.bytes[..self.suite.key_bytes()]
    }

    pub(crate) fn salt(&self) -> &[u8] {
        &self.bytes[self.suite.key_bytes()..][..self.suite.salt_bytes()]
    }

    fn inline(&self) -> String {
        BASE64.encode(&self.bytes[..self.suite.key_bytes() + self.suite.salt_bytes()])
    }
}

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

/// One stream as the other side describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) rtp: SocketAddr,
    pub(crate) rtcp: SocketAddr,
    /// Tag and key of the `a=crypto` line taken; `None` on a plain stream.
    pub(crate) crypto: Option<(u32, Key)>,
    /// RTCP may share the RTP port (RFC 5761); it does if we say so too.
    pub(crate) mux: bool,
}

/// What the other side describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) stream: Stream,
    pub(crate) direction: Direction,
    /// A video stream, if there is one we could take.
    pub(crate) video: Option<Stream>,
    /// Every `m=` line in order; the answer must have as many (RFC 3264 §6).
    media: Vec<String>,
    audio: usize,
    video_at: Option<usize>,
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

/// Reads an offer or answer. `suite` says which kind of stream this phone wants.
pub(crate) fn read(text: &[u8], suite: Option<SrtpSuite>) -> Result<Remote, Unusable> {
    let text = std::str::from_utf8(text).map_err(|_| Unusable::Unreadable)?;
    if !text.starts_with("v=0") {
        return Err(Unusable::Unreadable);
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let media: Vec<String> = lines.iter().filter_map(|line| line.strip_prefix("m=")).map(str::to_owned).collect();
    let audio = media.iter().position(|line| usable_audio(line)).ok_or(Unusable::NoAudio)?;
    let (session, sections) = split_sections(&lines);
    let section = sections[audio];
    let stream = stream(&media[audio], session, section, suite)?;
    let video_at = media.iter().position(|line| usable_video(line));
    let video = video_at.and_then(|at| self::stream(&media[at], session, sections[at], suite).ok());
    let direction = direction(section).or_else(|| direction(session)).unwrap_or(Direction::SendReceive);
    Ok(Remote { stream, direction, video_at: video_at.filter(|_| video.is_some()), video, media, audio })
}

fn stream(media: &str, session: &[&str], section: &[&str], suite: Option<SrtpSuite>) -> Result<Stream, Unusable> {
    let mut fields = media.split_whitespace().skip(1);
    let port: u16 = fields.next().and_then(|p| p.split('/').next()?.parse().ok()).ok_or(Unusable::NoAudio)?;
    let profile = fields.next().unwrap_or_default();
    let address = connection(section).or_else(|| connection(session)).ok_or(Unusable::Unreadable)?;
    let crypto = match (profile.contains("SAVP"), suite) {
        (false, Some(_)) => return Err(Unusable::NotEncrypted),
        (true, None) => return Err(Unusable::Encrypted),
        (false, None) => None,
        (true, Some(suite)) => Some(section.iter().find_map(|line| crypto(line, suite)).ok_or(Unusable::NoSuite)?),
    };
    let mux = section.contains(&"a=rtcp-mux");
    let rtcp = section.iter().find_map(|line| line.strip_prefix("a=rtcp:")?.split_whitespace().next()?.parse().ok());
    Ok(Stream {
        rtp: SocketAddr::new(address, port),
        rtcp: SocketAddr::new(address, rtcp.unwrap_or(port.saturating_add(1))),
        crypto,
        mux,
    })
}

fn usable_video(line: &str) -> bool {
    let mut fields = line.split_whitespace();
    fields.next() == Some("video")
        && fields.next().is_some_and(|port| port != "0")
        && fields.next().is_some_and(|profile| profile.starts_with("RTP/"))
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

fn crypto(line: &str, suite: SrtpSuite) -> Option<(u32, Key)> {
    let mut fields = line.strip_prefix("a=crypto:")?.split_whitespace();
    let tag = fields.next()?.parse().ok()?;
    if fields.next()? != suite.name() {
        return None;
    }
    let inline = fields.next()?.strip_prefix("inline:")?.split(['|', ';']).next()?;
    let key = Key::new(suite, &BASE64.decode(inline).ok()?)?;
    // RFC 4568 §6.3.2: a session parameter we do not know makes the line unusable; UNENCRYPTED_*
    // and the like would change the packets.
    fields.next().is_none().then_some((tag, key))
}

/// One stream of the phone's own side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalStream {
    pub(crate) port: u16,
    pub(crate) key: Option<Key>,
}

/// The phone's own side of a call.
pub(crate) struct Local<'a> {
    pub(crate) user: &'a str,
    pub(crate) id: u64,
    pub(crate) version: u64,
    pub(crate) address: IpAddr,
    pub(crate) audio: LocalStream,
    pub(crate) video: Option<LocalStream>,
    /// RTCP may share the RTP port.
    pub(crate) mux: bool,
}

const PCMU_LINES: &str = "a=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n";
const VIDEO_LINES: &str = "a=rtpmap:96 H264/90000\r\na=rtcp-fb:* nack pli\r\n";

impl Local<'_> {
    /// An offer.
    pub(crate) fn offer(&self, direction: Direction) -> String {
        let mut out = self.head();
        self.stream(&mut out, ("audio", 0, PCMU_LINES), self.audio, direction, (1, self.mux));
        if let Some(video) = self.video {
            self.stream(&mut out, ("video", 96, VIDEO_LINES), video, direction, (1, self.mux));
        }
        out
    }

    /// An answer to `offer`: every stream we have not is refused with port 0.
    pub(crate) fn answer(&self, offer: &Remote, direction: Direction) -> String {
        let mut out = self.head();
        let agreed = |stream: &Stream| (stream.crypto.map_or(1, |(tag, _)| tag), self.mux && stream.mux);
        for (index, line) in offer.media.iter().enumerate() {
            let theirs = offer.video.as_ref().filter(|_| offer.video_at == Some(index));
            if index == offer.audio {
                let agreed = agreed(&offer.stream);
                self.stream(&mut out, ("audio", 0, PCMU_LINES), self.audio, direction, agreed);
            } else if let (Some(theirs), Some(ours)) = (theirs, self.video) {
                self.stream(&mut out, ("video", 96, VIDEO_LINES), ours, direction, agreed(theirs));
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

    fn stream(
        &self,
        out: &mut String,
        (kind, payload, lines): (&str, u8, &str),
        LocalStream { port, key }: LocalStream,
        direction: Direction,
        (tag, mux): (u32, bool),
    ) {
        let profile = if key.is_some() { "RTP/SAVP" } else { "RTP/AVP" };
        let _ = write!(out, "m={kind} {port} {profile} {payload}\r\n{lines}");
        if let Some(key) = key {
            let _ = write!(out, "a=crypto:{tag} {} inline:{}\r\n", key.suite.name(), key.inline());
        }
        if mux {
            out.push_str("a=rtcp-mux\r\n");
        }
        let _ = write!(out, "a=extmap:{EXTENSION_ID} {EXTENSION_URI}\r\na={}\r\n", direction.attribute());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITE: SrtpSuite = SrtpSuite::AesCm128HmacSha1_80;

    fn key() -> Key {
        Key::new(SUITE, &[7; 30]).expect("30 bytes")
    }

    fn local(key: Option<Key>) -> Local<'static> {
        let audio = LocalStream { port: 4000, key };
        Local { user: "alice", id: 1, version: 2, address: [127, 0, 0, 1].into(), audio, video: None, mux: false }
    }

    #[test]
    fn an_offer_is_read_as_written() {
        let offer = local(Some(key())).offer(Direction::SendOnly);
        let remote = read(offer.as_bytes(), Some(SUITE)).expect("our own offer");
        assert_eq!(remote.stream.rtp, "127.0.0.1:4000".parse().unwrap());
        assert_eq!(remote.stream.rtcp, "127.0.0.1:4001".parse().unwrap());
        assert_eq!(remote.stream.crypto, Some((1, key())));
        assert_eq!(remote.direction, Direction::SendOnly);
    }

    #[test]
    fn encryption_is_neither_dropped_nor_invented() {
        let plain = local(None).offer(Direction::SendReceive);
        let secure = local(Some(key())).offer(Direction::SendReceive);
        assert_eq!(read(plain.as_bytes(), Some(SUITE)), Err(Unusable::NotEncrypted));
        assert_eq!(read(secure.as_bytes(), None), Err(Unusable::Encrypted));
        let other = secure.replace("HMAC_SHA1_80", "HMAC_SHA1_32");
        assert_eq!(read(other.as_bytes(), Some(SUITE)), Err(Unusable::NoSuite));
        let weaker = secure.replace("BwcH\r\n", "BwcH UNENCRYPTED_SRTP\r\n");
        assert_ne!(weaker, secure);
        assert_eq!(read(weaker.as_bytes(), Some(SUITE)), Err(Unusable::NoSuite));
    }

    #[test]
    fn an_answer_refuses_video_and_keeps_the_tag() {
        let offer = "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\n\
            m=video 9000 RTP/SAVP 96\r\na=sendrecv\r\n\
            m=audio 9002 RTP/SAVP 9 0\r\nc=IN IP4 10.0.0.7\r\na=rtcp:9100\r\n\
            a=crypto:1 AES_CM_256_HMAC_SHA1_80 inline:AAAA\r\n\
            a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH|2^20\r\n\
            a=recvonly\r\n";
        let remote = read(offer.as_bytes(), Some(SUITE)).expect("usable");
        assert_eq!(remote.stream.rtp, "10.0.0.7:9002".parse().unwrap());
        assert_eq!(remote.stream.rtcp.port(), 9100);
        assert_eq!(remote.stream.crypto, Some((2, key())));
        assert_eq!(remote.direction, Direction::ReceiveOnly);
        let answer = local(Some(key())).answer(&remote, remote.direction.reversed());
        assert!(answer.contains("m=video 0 RTP/SAVP 96\r\n"), "{answer}");
        assert!(answer.contains("a=crypto:2 "), "{answer}");
        assert!(answer.contains("a=sendonly\r\n"), "{answer}");
        assert!(answer.find("m=video") < answer.find("m=audio"));
    }

    #[test]
    fn video_and_shared_ports_are_taken_by_those_that_have_them() {
        let suite = SrtpSuite::AeadAes256Gcm;
        let stream = |port| LocalStream { port, key: Some(Key::cut(suite, &[5; 44])) };
        let full = || Local { audio: stream(4000), video: Some(stream(4002)), mux: true, ..local(None) };
        let offer = read(full().offer(Direction::SendReceive).as_bytes(), Some(suite)).expect("our own offer");
        let video = offer.video.as_ref().expect("video");
        assert_eq!((video.rtp.port(), video.rtcp.port(), video.mux), (4002, 4003, true));
        assert_eq!(video.crypto.map(|(_, key)| key.suite), Some(suite));
        let answer = full().answer(&offer, Direction::SendReceive);
        assert_eq!(answer.matches("a=rtcp-mux").count(), 2, "{answer}");
        let without = Local { video: None, mux: false, ..full() }.answer(&offer, Direction::SendReceive);
        assert!(without.contains("m=video 0 ") && !without.contains("rtcp-mux"), "{without}");
    }
}
