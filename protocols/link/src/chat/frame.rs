//! The frames of the carrier and their bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use edgeway_model::chat::{ChatEnd, ChatOpening, DOMAIN_BYTES_MAX};

use super::fault::ChatFault;
use crate::limits::CHAT_DATA_BYTES_MAX;

/// Bytes before the payload.
const HEAD_BYTES: usize = 8;
/// The fields of OPEN before its domain, at most: with an address of IPv6.
const OPEN_BYTES_MAX: usize = 8 + 1 + 16 + 2;

pub(super) const OPEN: u8 = 1;
pub(super) const DATA: u8 = 2;
pub(super) const CREDIT: u8 = 3;
pub(super) const SIGNED_IN: u8 = 4;
pub(super) const END: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const PONG: u8 = 7;
pub(super) const LEAVING: u8 = 8;
pub(super) const SIGN_IN_REFUSED: u8 = 9;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatFrame {
    /// A client's stream begins.
    Open {
        /// Its number.
        stream: u32,
        /// What the edge says of it.
        opening: ChatOpening,
    },
    /// Bytes of XMPP.
    Data {
        /// The stream.
        stream: u32,
        /// Never none.
        bytes: Bytes,
    },
    /// So much more may be sent.
    Credit {
        /// The stream.
        stream: u32,
        /// Of its window.
        bytes: u32,
    },
    /// The client has signed in.
    SignedIn {
        /// The stream.
        stream: u32,
    },
    /// What the client has shown was refused.
    SignInRefused {
        /// The stream.
        stream: u32,
    },
    /// This side of a stream has ended.
    End {
        /// The stream.
        stream: u32,
        /// How.
        how: ChatEnd,
    },
    /// Is somebody there?
    Ping,
    /// Yes.
    Pong,
    /// No stream is opened any more.
    Leaving,
}

impl ChatFrame {
    /// Appends its bytes. DATA longer than a frame may be is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Open { stream, opening } => encode_open(*stream, opening, out),
            Self::Data { stream, bytes } => encode_data(*stream, bytes, out),
            Self::Credit { stream, bytes } => {
                head(CREDIT, 4, *stream, out);
                out.extend_from_slice(&bytes.to_be_bytes());
            }
            Self::SignedIn { stream } => head(SIGNED_IN, 0, *stream, out),
            Self::SignInRefused { stream } => head(SIGN_IN_REFUSED, 0, *stream, out),
            Self::End { stream, how } => {
                head(END, 1, *stream, out);
                out.push(match how {
                    ChatEnd::Closed => 0,
                    ChatEnd::Broken => 1,
                });
            }
            Self::Ping => head(PING, 0, 0, out),
            Self::Pong => head(PONG, 0, 0, out),
            Self::Leaving => head(LEAVING, 0, 0, out),
        }
    }
}

/// A DATA frame.
pub(super) fn encode_data(stream: u32, bytes: &[u8], out: &mut Vec<u8>) {
    let bytes = bytes.get(..CHAT_DATA_BYTES_MAX).unwrap_or(bytes);
    head(DATA, bytes.len(), stream, out);
    out.extend_from_slice(bytes);
}

/// An OPEN frame. A domain that is too long is cut: it is a stranger's, and none that is served is so long.
pub(super) fn encode_open(stream: u32, opening: &ChatOpening, out: &mut Vec<u8>) {
    let mut end = opening.domain.len().min(DOMAIN_BYTES_MAX);
    while !opening.domain.is_char_boundary(end) {
        end -= 1;
    }
    let domain = opening.domain.get(..end).unwrap_or_default();
    let octets = if opening.client.is_ipv4() { 4 } else { 16 };
    head(OPEN, 8 + 1 + octets + 2 + domain.len(), stream, out);
    out.extend_from_slice(&opening.number.to_be_bytes());
    match opening.client.ip() {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.push(6);
            out.extend_from_slice(&address.octets());
        }
    }
    out.extend_from_slice(&opening.client.port().to_be_bytes());
    out.extend_from_slice(domain.as_bytes());
}

fn head(kind: u8, length: usize, stream: u32, out: &mut Vec<u8>) {
    let [_, high, middle, low] = u32::try_from(length).unwrap_or(0).to_be_bytes();
    out.extend_from_slice(&[kind, high, middle, low]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// Cuts frames out of a stream that arrives in any pieces. Keeps one unfinished frame at most.
#[derive(Clone, Debug, Default)]
pub struct ChatDecoder {
    unfinished: Vec<u8>,
}

impl ChatDecoder {
    /// The next frame that is whole; `None` when `bytes` are used up.
    ///
    /// # Errors
    /// What is no frame. Nothing sensible comes after that.
    pub fn poll_frame(&mut self, bytes: &mut &[u8]) -> Result<Option<ChatFrame>, ChatFault> {
        if self.unfinished.is_empty()
            && let Some(length) = whole_bytes(bytes)?
            && let Some((frame, rest)) = bytes.split_at_checked(length)
        {
            *bytes = rest;
            return decode(frame).map(Some);
        }
        loop {
            let wanted = whole_bytes(&self.unfinished)?.unwrap_or(HEAD_BYTES);
            let missing = wanted.saturating_sub(self.unfinished.len());
            if missing == 0 {
                let frame = decode(&self.unfinished);
                self.unfinished.clear();
                return frame.map(Some);
            }
            if bytes.is_empty() {
                return Ok(None);
            }
            let (more, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
            self.unfinished.extend_from_slice(more);
            *bytes = rest;
        }
    }

    /// Bytes of the frame that is not whole yet.
    #[must_use]
    pub const fn kept_bytes(&self) -> usize {
        self.unfinished.len()
    }
}

/// How long a frame that begins so is in all, once its head is there. Nothing is collected that will be refused.
fn whole_bytes(bytes: &[u8]) -> Result<Option<usize>, ChatFault> {
    let Some([kind, high, middle, low, ..]) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let (kind, length) = (*kind, u32::from_be_bytes([0, *high, *middle, *low]) as usize);
    let fits = match kind {
        OPEN => length <= OPEN_BYTES_MAX + DOMAIN_BYTES_MAX,
        DATA => (1..=CHAT_DATA_BYTES_MAX).contains(&length),
        CREDIT => length == 4,
        END => length == 1,
        SIGNED_IN | SIGN_IN_REFUSED | PING | PONG | LEAVING => length == 0,
        _ => return Err(ChatFault::Kind(kind)),
    };
    if fits { Ok(Some(HEAD_BYTES + length)) } else { Err(ChatFault::Length { kind, bytes: length }) }
}

/// One whole frame.
fn decode(frame: &[u8]) -> Result<ChatFrame, ChatFault> {
    let (head, payload) = frame.split_first_chunk::<HEAD_BYTES>().ok_or(ChatFault::Field("frame"))?;
    let [kind, _, _, _, number @ ..] = *head;
    let stream = u32::from_be_bytes(number);
    if (stream == 0) != matches!(kind, PING | PONG | LEAVING) {
        return Err(ChatFault::Stream { kind, stream });
    }
    let wrong = ChatFault::Length { kind, bytes: payload.len() };
    Ok(match kind {
        OPEN => ChatFrame::Open { stream, opening: decode_opening(payload)? },
        DATA => ChatFrame::Data { stream, bytes: Bytes::copy_from_slice(payload) },
        CREDIT => {
            let bytes = payload.first_chunk().copied().ok_or(wrong)?;
            ChatFrame::Credit { stream, bytes: u32::from_be_bytes(bytes) }
        }
        SIGNED_IN => ChatFrame::SignedIn { stream },
        SIGN_IN_REFUSED => ChatFrame::SignInRefused { stream },
        END => {
            let how = match payload {
                [0] => ChatEnd::Closed,
                [1] => ChatEnd::Broken,
                _ => return Err(ChatFault::Field("end")),
            };
            ChatFrame::End { stream, how }
        }
        PING => ChatFrame::Ping,
        PONG => ChatFrame::Pong,
        LEAVING => ChatFrame::Leaving,
        _ => return Err(ChatFault::Kind(kind)),
    })
}

fn decode_opening(payload: &[u8]) -> Result<ChatOpening, ChatFault> {
    let short = ChatFault::Length { kind: OPEN, bytes: payload.len() };
    let (number, rest) = payload.split_first_chunk().ok_or(short)?;
    let (address, rest): (IpAddr, _) = match rest.split_first().ok_or(short)? {
        (4, rest) => {
            let (octets, rest) = rest.split_first_chunk::<4>().ok_or(short)?;
            (Ipv4Addr::from(*octets).into(), rest)
        }
        (6, rest) => {
            let (octets, rest) = rest.split_first_chunk::<16>().ok_or(short)?;
            (Ipv6Addr::from(*octets).into(), rest)
        }
        _ => return Err(ChatFault::Field("address family")),
    };
    let (port, domain) = rest.split_first_chunk().ok_or(short)?;
    if domain.len() > DOMAIN_BYTES_MAX {
        return Err(ChatFault::Field("domain"));
    }
    let domain = std::str::from_utf8(domain).map_err(|_| ChatFault::Field("domain"))?;
    Ok(ChatOpening {
        number: u64::from_be_bytes(*number),
        client: SocketAddr::new(address, u16::from_be_bytes(*port)),
        domain: domain.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(client: &str, domain: &str) -> ChatOpening {
        ChatOpening { number: 7, client: client.parse().expect("an address"), domain: domain.to_owned() }
    }

    fn hex(frame: &ChatFrame) -> String {
        let mut out = Vec::new();
        frame.encode(&mut out);
        out.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_bytes_of_version_1_stay() {
        let table = [
            (
                ChatFrame::Open { stream: 1, opening: opening("192.0.2.1:5000", "a.example") },
                "01000018000000010000000000000007\
                 04c00002011388612e6578616d706c65",
            ),
            (
                ChatFrame::Open { stream: 2, opening: opening("[2001:db8::1]:5000", "") },
                "0100001b00000002000000000000000706\
                 20010db8000000000000000000000001\
                 1388",
            ),
            (ChatFrame::Data { stream: 3, bytes: Bytes::from_static(b"<a/>") }, "02000004000000033c612f3e"),
            (ChatFrame::Credit { stream: 4, bytes: 1024 }, "030000040000000400000400"),
            (ChatFrame::SignedIn { stream: 5 }, "0400000000000005"),
            (ChatFrame::End { stream: 6, how: ChatEnd::Closed }, "050000010000000600"),
            (ChatFrame::End { stream: 6, how: ChatEnd::Broken }, "050000010000000601"),
            (ChatFrame::Ping, "0600000000000000"),
            (ChatFrame::Pong, "0700000000000000"),
            (ChatFrame::Leaving, "0800000000000000"),
            (ChatFrame::SignInRefused { stream: 5 }, "0900000000000005"),
        ];
        for (frame, wanted) in table {
            assert_eq!(hex(&frame), wanted, "{frame:?}");
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            assert_eq!(ChatDecoder::default().poll_frame(&mut &*bytes), Ok(Some(frame)));
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_by_its_head() {
        let table: [(&[u8], ChatFault); 10] = [
            (&[0; 8], ChatFault::Kind(0)),
            (&[10, 0, 0, 0, 0, 0, 0, 0], ChatFault::Kind(10)),
            (&[2, 0, 0, 0, 0, 0, 0, 1], ChatFault::Length { kind: 2, bytes: 0 }),
            (&[2, 0, 0x40, 1, 0, 0, 0, 1], ChatFault::Length { kind: 2, bytes: 16_385 }),
            (&[1, 255, 255, 255, 0, 0, 0, 1], ChatFault::Length { kind: 1, bytes: 0xff_ffff }),
            (&[6, 0, 0, 1, 0, 0, 0, 0], ChatFault::Length { kind: 6, bytes: 1 }),
            (&[6, 0, 0, 0, 0, 0, 0, 1], ChatFault::Stream { kind: 6, stream: 1 }),
            (&[2, 0, 0, 1, 0, 0, 0, 0, 7], ChatFault::Stream { kind: 2, stream: 0 }),
            (&[5, 0, 0, 1, 0, 0, 0, 1, 2], ChatFault::Field("end")),
            (&[1, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 5], ChatFault::Field("address family")),
        ];
        for (bytes, fault) in table {
            assert_eq!(ChatDecoder::default().poll_frame(&mut &*bytes), Err(fault), "{bytes:02x?}");
        }
        let mut bytes = Vec::new();
        ChatFrame::Open { stream: 1, opening: opening("192.0.2.1:1", "é") }.encode(&mut bytes);
        bytes.pop();
        bytes[3] -= 1;
        assert_eq!(ChatDecoder::default().poll_frame(&mut &*bytes), Err(ChatFault::Field("domain")));
    }

    #[test]
    fn a_domain_that_is_too_long_is_cut_between_characters() {
        let mut bytes = Vec::new();
        ChatFrame::Open { stream: 1, opening: opening("192.0.2.1:1", &"é".repeat(1_000)) }.encode(&mut bytes);
        let decoded = ChatDecoder::default().poll_frame(&mut &*bytes);
        let Ok(Some(ChatFrame::Open { opening, .. })) = decoded else { panic!("{decoded:?}") };
        assert_eq!(opening.domain, "é".repeat(DOMAIN_BYTES_MAX / 2));
    }
}
