//! Cuts a stream into SIP messages, CR LF keepalives (RFC 5626 §3.5.1) and STUN messages
//! (RFC 8489 §6.2.2), which share one connection. Told apart by their first byte.
//!
//! It does not parse messages and knows no deadline: a message that never ends is for the node to
//! give up on ([`Framer::is_idle`] tells).

use bytes::{Bytes, BytesMut};

use crate::fault::{self, Problem};
use crate::head::{self, LengthFault};
use crate::limits::STUN_BYTES_MAX;
use crate::stun;
use crate::value;

/// One thing a stream carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// A SIP message, for [`crate::Message::parse`].
    Message(Bytes),
    /// CR LF CR LF: answer with CR LF.
    Ping,
    /// A single CR LF.
    Pong,
    /// A STUN message.
    Stun(Bytes),
}

/// Why a stream cannot be cut any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingReason {
    /// The message is, or says it will be, larger than allowed.
    TooLarge,
    /// A SIP message without Content-Length, which a stream demands (RFC 3261 §18.3).
    NoContentLength,
    /// Content-Length is no number, or there are two that differ.
    BadContentLength,
    /// Neither SIP nor STUN nor a keepalive.
    Garbage,
}

/// The end of a stream: write `reply` if there is one, then close.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct FramingFault {
    /// What is wrong.
    pub reason: FramingReason,
    /// The best-effort 400 or 413 to write before closing.
    pub reply: Option<Bytes>,
    /// For the log. Contains no byte of the peer's.
    pub detail: String,
}

/// Cuts one direction of one stream.
///
/// Feed with [`push`](Self::push), then take with [`next`](Self::next) until it returns `None`.
/// How the stream was cut into pushes makes no difference to the elements. Between elements it
/// owns no buffer; elements that lie within one push are slices of it.
///
/// A side that was dialled ([`Framer::new`]) gets pings, so it tells a lone CR LF only when the
/// next byte shows that it is not half of a ping. A side that dialled ([`Framer::dialled`]) gets
/// pongs, so it tells every CR LF at once and knows no ping.
#[derive(Debug)]
pub struct Framer {
    message_bytes_max: usize,
    dialled: bool,
    /// What was pushed last, as far as it is not taken. Empty if `partial` is not.
    fresh: Bytes,
    /// The start of an element whose end has not come.
    partial: BytesMut,
    /// Up to where `partial` was searched for the end of a head.
    searched: usize,
    /// The length of the message at hand, once its head is complete.
    length: Option<usize>,
    /// A CR LF that may be half a ping.
    half_ping: bool,
    broken: bool,
}

/// What stands at the front of the stream.
enum Front {
    /// Nothing that can be told yet.
    Incomplete,
    /// Bytes to drop.
    Skip(usize),
    LineBreak,
    Message(usize),
    Stun(usize),
}

impl Framer {
    /// For a connection the other side dialled. `message_bytes_max` bounds one SIP message.
    #[must_use]
    pub fn new(message_bytes_max: usize) -> Self {
        Self {
            message_bytes_max,
            dialled: false,
            fresh: Bytes::new(),
            partial: BytesMut::new(),
            searched: 0,
            length: None,
            half_ping: false,
            broken: false,
        }
    }

    /// For a connection this side dialled.
    #[must_use]
    pub fn dialled(message_bytes_max: usize) -> Self {
        Self { dialled: true, ..Self::new(message_bytes_max) }
    }

    /// Hands in what arrived. After a [`FramingFault`] it is dropped.
    pub fn push(&mut self, bytes: Bytes) {
        if self.broken || bytes.is_empty() {
            return;
        }
        if self.partial.is_empty() && self.fresh.is_empty() {
            self.fresh = bytes;
            return;
        }
        self.keep();
        self.partial.extend_from_slice(&bytes);
    }

    /// The next element; `None` until more is pushed.
    ///
    /// # Errors
    ///
    /// [`FramingFault`] once, when the stream cannot be cut any further; then `None` for ever.
    #[expect(clippy::should_implement_trait, reason = "a stream of results that resumes is no Iterator")]
    pub fn next(&mut self) -> Result<Option<Element>, FramingFault> {
        while !self.broken {
            if self.half_ping && self.window().first().is_some_and(|&byte| byte != b'\r') {
                self.half_ping = false;
                return Ok(Some(Element::Pong));
            }
            match self.front() {
                Ok(Front::Incomplete) => break,
                Ok(Front::Skip(count)) => drop(self.take(count)),
                Ok(Front::LineBreak) => {
                    drop(self.take(2));
                    if self.dialled {
                        return Ok(Some(Element::Pong));
                    }
                    self.half_ping = !self.half_ping;
                    if !self.half_ping {
                        return Ok(Some(Element::Ping));
                    }
                }
                Ok(Front::Message(length)) => return Ok(Some(Element::Message(self.take(length)))),
                Ok(Front::Stun(length)) => return Ok(Some(Element::Stun(self.take(length)))),
                Err(fault) => {
                    self.broken = true;
                    self.fresh = Bytes::new();
                    self.partial = BytesMut::new();
                    return Err(fault);
                }
            }
        }
        self.keep();
        Ok(None)
    }

    /// Whether the stream stands between elements: nothing has arrived of which the end is owed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.buffered() == 0
    }

    /// Bytes held of elements that are not complete.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.window().len()
    }

    fn window(&self) -> &[u8] {
        if self.partial.is_empty() { &self.fresh } else { &self.partial }
    }

    /// Copies a beginning out of the pushed bytes, which may be a slice of a large read buffer.
    fn keep(&mut self) {
        if !self.fresh.is_empty() {
            debug_assert!(self.partial.is_empty(), "fresh bytes only while nothing is kept");
            self.partial.extend_from_slice(&self.fresh);
            self.fresh = Bytes::new();
        }
    }

    fn take(&mut self, count: usize) -> Bytes {
        self.searched = 0;
        self.length = None;
        if !self.partial.is_empty() {
            let taken = self.partial.split_to(count).freeze();
            if self.partial.is_empty() {
                self.partial = BytesMut::new();
            }
            return taken;
        }
        let taken = self.fresh.split_to(count);
        if self.fresh.is_empty() {
            self.fresh = Bytes::new();
        }
        taken
    }

    fn front(&mut self) -> Result<Front, FramingFault> {
        let window = self.window();
        match *window {
            [] | [b'\r'] => Ok(Front::Incomplete),
            [b'\r', b'\n', ..] => Ok(Front::LineBreak),
            [b'\n', ..] => Ok(Front::Skip(1)),
            [0 | 1, ..] => stun_front(window),
            [first, ..] if value::is_token_byte(first) => self.message_front(),
            [..] => Err(garbage("the first byte starts neither SIP nor STUN nor a keepalive", None)),
        }
    }

    fn message_front(&mut self) -> Result<Front, FramingFault> {
        let length = match self.length {
            Some(length) => length,
            None => match blank_line(self.window(), self.searched) {
                Blank::NotYet if self.window().len() >= self.message_bytes_max => {
                    return Err(self.too_large(self.message_bytes_max));
                }
                Blank::NotYet => {
                    self.searched = self.window().len();
                    return Ok(Front::Incomplete);
                }
                // The same fault as if the bytes had come one by one.
                Blank::Loose(at) if at > self.message_bytes_max => return Err(self.too_large(self.message_bytes_max)),
                Blank::Loose(at) => {
                    let problem = Problem::new("message", "header lines end in bare LF");
                    return Err(garbage("header lines end in bare LF", fault::reply(&self.window()[..at], problem)));
                }
                Blank::Proper(head) => self.message_length(head)?,
            },
        };
        self.length = Some(length);
        Ok(if self.window().len() >= length { Front::Message(length) } else { Front::Incomplete })
    }

    /// The length of the message whose head is complete.
    fn message_length(&self, head: usize) -> Result<usize, FramingFault> {
        if head > self.message_bytes_max {
            return Err(self.too_large(self.message_bytes_max));
        }
        let bytes = &self.window()[..head];
        let (reason, detail) = match head::content_length(bytes) {
            Ok(body) => match head.checked_add(body).filter(|&length| length <= self.message_bytes_max) {
                Some(length) => return Ok(length),
                None => return Err(self.too_large(head)),
            },
            Err(LengthFault::Missing) => (FramingReason::NoContentLength, "missing on a stream transport"),
            Err(LengthFault::Malformed) => (FramingReason::BadContentLength, "not one number"),
        };
        let reply = fault::reply(bytes, Problem::new("Content-Length", detail));
        Err(FramingFault { reason, reply, detail: format!("Content-Length {detail}") })
    }

    fn too_large(&self, seen: usize) -> FramingFault {
        let problem = Problem { status: 413, field: "message", detail: "larger than this node takes" };
        FramingFault {
            reason: FramingReason::TooLarge,
            reply: fault::reply(&self.window()[..seen], problem),
            detail: format!("a message of more than {} bytes", self.message_bytes_max),
        }
    }
}

fn garbage(detail: &str, reply: Option<Bytes>) -> FramingFault {
    FramingFault { reason: FramingReason::Garbage, reply, detail: detail.to_owned() }
}

fn stun_front(window: &[u8]) -> Result<Front, FramingFault> {
    let Some(header) = window.first_chunk::<8>() else { return Ok(Front::Incomplete) };
    let Some(length) = stun::length(header) else {
        return Err(garbage("the first byte is that of STUN, the magic cookie is not", None));
    };
    if length > STUN_BYTES_MAX {
        return Err(FramingFault {
            reason: FramingReason::TooLarge,
            reply: None,
            detail: format!("a STUN message of more than {STUN_BYTES_MAX} bytes"),
        });
    }
    Ok(if window.len() >= length { Front::Stun(length) } else { Front::Incomplete })
}

/// Where a head ends.
enum Blank {
    NotYet,
    /// The end of the head, blank line included.
    Proper(usize),
    /// Only a reader that takes bare LF for a line end would see a blank line here; it must not be
    /// waited past, for the sender awaits an answer.
    Loose(usize),
}

/// Looks for the first blank line, from a position searched up to before.
fn blank_line(bytes: &[u8], searched: usize) -> Blank {
    for feed in memchr::memchr_iter(b'\n', &bytes[searched..]).map(|found| searched + found) {
        match bytes[..feed] {
            [.., b'\r', b'\n', b'\r'] => return Blank::Proper(feed + 1),
            [.., b'\n', b'\r'] | [.., b'\n'] => return Blank::Loose(feed + 1),
            [..] => {}
        }
    }
    Blank::NotYet
}

/// Whether a datagram is a keepalive (RFC 5626 §3.5.1, §4.4.1) rather than a message: CR LF only.
#[must_use]
pub fn is_keepalive(datagram: &[u8]) -> bool {
    !datagram.is_empty() && datagram.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0))
}
