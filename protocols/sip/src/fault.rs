//! What is wrong with bytes that are no message, and the answer their sender gets.
//!
//! A peer is always told why: a request that cannot be parsed still yields a response made of
//! whatever in it can be trusted to be one line. What this does not do: decide whether the
//! connection may stay open; that is the framer's word alone.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::head::{line_end, name_of};
use crate::header::Name;
use crate::limits::{HEADER_LINES_MAX, LINE_BYTES_MAX};
use crate::status::reason_phrase;
use crate::uri::NameAddr;
use crate::value;

/// The `warn-agent` in answers that are made before it is known which node makes them: a
/// pseudonym (RFC 3261 §20.43).
pub const WARN_AGENT: &str = "edgeway";

/// Bytes that are no acceptable message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {detail}")]
pub struct Fault {
    /// The status the sender deserves: 400, or 413.
    pub status: u16,
    /// The header field or part at fault, in its canonical spelling.
    pub field: &'static str,
    /// What is wrong with it.
    pub detail: &'static str,
    /// A complete response with `Warning: 399` naming the field, as far as the bytes allow. `None`
    /// for ACK, for responses, and for what does not look like SIP.
    pub reply: Option<Bytes>,
}

/// A fault before its reply is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    pub(crate) field: &'static str,
    pub(crate) detail: &'static str,
}

impl Problem {
    pub(crate) const fn new(field: &'static str, detail: &'static str) -> Self {
        Self { status: 400, field, detail }
    }

    pub(crate) fn into_fault(self, bytes: &[u8]) -> Fault {
        let Self { status, field, detail } = self;
        Fault { status, field, detail, reply: reply(bytes, self) }
    }
}

/// The best-effort answer to `bytes`.
pub(crate) fn reply(bytes: &[u8], problem: Problem) -> Option<Bytes> {
    let first = memchr::memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len()).min(LINE_BYTES_MAX);
    if !is_request_line(&bytes[..first]) {
        return None;
    }
    let start = line_end(bytes, 0).map_or(bytes.len(), |end| end + 2);
    let echo = Echo::collect(bytes, start);
    let reason = reason_phrase(problem.status);
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(format!("SIP/2.0 {} {reason}\r\n", problem.status).as_bytes());
    for via in &echo.vias {
        push_line(&mut out, via);
    }
    for line in [echo.from, echo.call_id, echo.cseq].into_iter().flatten() {
        push_line(&mut out, line);
    }
    if let Some(to) = echo.to {
        out.extend_from_slice(to);
        if needs_tag(to) {
            // RFC 3261 §8.2.7: the same tag for each retransmission, with no state kept.
            out.extend_from_slice(format!(";tag={:016x}", fingerprint(&echo)).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
    let warning =
        format!("Warning: 399 {WARN_AGENT} \"{}: {}\"\r\nContent-Length: 0\r\n\r\n", problem.field, problem.detail);
    out.extend_from_slice(warning.as_bytes());
    Some(Bytes::from(out))
}

/// Whether the line could be meant as a request other than ACK: it is no status line, and names a
/// SIP version. No answer of ours ever looks like one, so two nodes cannot answer each other.
fn is_request_line(line: &[u8]) -> bool {
    let is_version = |part: &[u8]| value::is_lws(part[0]) && part[1..].eq_ignore_ascii_case(b"SIP/");
    let word = line.iter().position(|&byte| value::is_lws(byte)).map_or(line, |end| &line[..end]);
    !line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"))
        && word != b"ACK"
        && line.windows(5).any(is_version)
}

/// The lines of a broken request that may be sent back.
#[derive(Default)]
struct Echo<'a> {
    vias: SmallVec<[&'a [u8]; 8]>,
    from: Option<&'a [u8]>,
    to: Option<&'a [u8]>,
    call_id: Option<&'a [u8]>,
    cseq: Option<&'a [u8]>,
}

impl<'a> Echo<'a> {
    fn collect(bytes: &'a [u8], start: usize) -> Self {
        let mut echo = Self::default();
        let mut at = start;
        for _ in 0..HEADER_LINES_MAX {
            let Some(end) = line_end(bytes, at).filter(|&end| end > at) else { break };
            echo.take(&bytes[at..end]);
            at = end + 2;
        }
        echo
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "no other field is copied into a response")]
    fn take(&mut self, line: &'a [u8]) {
        if !is_one_line(line) {
            return;
        }
        let Some((name, _)) = name_of(line) else { return };
        let slot = match Name::recognise(name) {
            Name::Via => return self.vias.push(line),
            Name::From => &mut self.from,
            Name::To => &mut self.to,
            Name::CallId => &mut self.call_id,
            Name::CSeq => &mut self.cseq,
            _ => return,
        };
        slot.get_or_insert(line);
    }
}

/// Whether a receiver of any taste sees one line here: each CR LF folds, nothing else breaks.
fn is_one_line(line: &[u8]) -> bool {
    let breaks_well = |at: usize| match line[at] {
        b'\r' => line.get(at + 1) == Some(&b'\n'),
        b'\n' => at > 0 && line[at - 1] == b'\r',
        _ => false,
    };
    line.len() <= LINE_BYTES_MAX && memchr::memchr3_iter(b'\r', b'\n', 0, line).all(breaks_well)
}

fn needs_tag(to: &[u8]) -> bool {
    let Some((_, after)) = name_of(to) else { return false };
    NameAddr::parse(&to[after..]).is_some_and(|to| to.param("tag").is_none())
}

/// FNV-1a over what identifies the transaction.
fn fingerprint(echo: &Echo<'_>) -> u64 {
    let parts = [echo.vias.first().copied(), echo.from, echo.call_id, echo.cseq];
    parts
        .into_iter()
        .flatten()
        .flatten()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn push_line(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(line);
    out.extend_from_slice(b"\r\n");
}
