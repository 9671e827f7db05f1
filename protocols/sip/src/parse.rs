//! From bytes to a line index, with everything checked that [`crate::Message`] promises.
//!
//! One pass finds the lines; a second look at the few fields we interpret checks their grammar.
//! Values of all other fields are not looked into and pass byte-exact.

use std::ops::Range;

use smallvec::SmallVec;

use crate::fault::Problem;
use crate::head::name_of;
use crate::header::Name;
use crate::limits::{HEADER_LINES_MAX, LINE_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::uri::{NameAddr, Uri};
use crate::value::{self, Values};
use crate::via::Via;

/// A range of the message; `u32` because a message is at most 64 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        // Positions never exceed MESSAGE_BYTES_MAX, which is checked before any span is made.
        let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: narrow(start), end: narrow(end) }
    }

    pub(crate) const fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.range()).unwrap_or_default()
    }

    pub(crate) fn text(self, bytes: &[u8]) -> &str {
        std::str::from_utf8(self.of(bytes)).unwrap_or_default()
    }
}

/// One logical header line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// Which field.
    pub(crate) name: Name,
    /// From its first byte to behind its CR LF.
    pub(crate) whole: Span,
    /// The name as written.
    pub(crate) spelled: Span,
    /// The value, trimmed.
    pub(crate) value: Span,
}

/// The start line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    Request { method: Span, uri: Span, version: Span },
    Response { status: u16, reason: Span },
}

/// Everything known about a message without copying it.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) start: Start,
    pub(crate) lines: SmallVec<[Line; 24]>,
    /// Where the header lines begin.
    pub(crate) lines_start: u32,
    /// Where the blank line begins: behind the last header line.
    pub(crate) lines_end: u32,
    /// The body.
    pub(crate) body: Span,
    pub(crate) from: Span,
    pub(crate) to: Span,
    pub(crate) call_id: Span,
    pub(crate) cseq: (u32, Span),
    /// The first Via value.
    pub(crate) via: Span,
    pub(crate) max_forwards: Option<u8>,
    pub(crate) has_content_length: bool,
}

/// Indexes the message at the start of `bytes`. What follows it (in a datagram) is not looked at.
pub(crate) fn index(bytes: &[u8]) -> Result<Index, Problem> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(Problem { status: 413, field: "message", detail: "larger than this node takes" });
    }
    let mut ends = LineEnds { bytes, feeds: memchr::memchr_iter(b'\n', bytes), start: 0 };
    let first = ends.next()?.ok_or(Problem::new("start line", "empty"))?;
    let start = start_line(bytes, first.end)?;
    let mut lines = SmallVec::new();
    while let Some(line) = ends.next()? {
        if lines.len() == HEADER_LINES_MAX {
            return Err(Problem::new("message", "too many header lines"));
        }
        lines.push(header_line(bytes, line)?);
    }
    let lines_end = ends.start;
    check_characters(&bytes[..lines_end], &lines)?;
    let mut index = Index {
        start,
        lines,
        lines_start: Span::new(first.end + 2, 0).start,
        lines_end: Span::new(lines_end, 0).start,
        body: Span::new(lines_end + 2, bytes.len()),
        from: Span::default(),
        to: Span::default(),
        call_id: Span::default(),
        cseq: (0, Span::default()),
        via: Span::default(),
        max_forwards: None,
        has_content_length: false,
    };
    check(bytes, &mut index)?;
    Ok(index)
}

/// The logical lines up to the blank line, each without its CR LF.
struct LineEnds<'a> {
    bytes: &'a [u8],
    feeds: memchr::Memchr<'a>,
    /// Where the next line starts; at last, where the blank line does.
    start: usize,
}

impl LineEnds<'_> {
    fn next(&mut self) -> Result<Option<Range<usize>>, Problem> {
        let start = self.start;
        for feed in self.feeds.by_ref() {
            if feed == 0 || self.bytes[feed - 1] != b'\r' {
                return Err(Problem::new("message", "bare LF in a header line"));
            }
            if feed == start + 1 {
                return Ok(None);
            }
            // RFC 3261 §7.3.1: a line that starts with white space continues the one before.
            if matches!(self.bytes.get(feed + 1), Some(b' ' | b'\t')) {
                continue;
            }
            if feed - start > LINE_BYTES_MAX {
                return Err(Problem::new("message", "a line is too long"));
            }
            self.start = feed + 1;
            return Ok(Some(start..feed - 1));
        }
        Err(Problem::new("message", "no empty line ends the header fields"))
    }
}

/// No CR but before LF, no NUL but in a quoted pair. Every LF is known to follow a CR.
fn check_characters(head: &[u8], lines: &[Line]) -> Result<(), Problem> {
    let returns = memchr::memchr_iter(b'\r', head).count();
    if returns != memchr::memchr_iter(b'\n', head).count() {
        return Err(Problem::new("message", "bare CR in a header line"));
    }
    if memchr::memchr(0, head).is_some() { check_nul(head, lines) } else { Ok(()) }
}

fn start_line(bytes: &[u8], end: usize) -> Result<Start, Problem> {
    let line = &bytes[..end];
    let Some(first) = memchr::memchr(b' ', line) else {
        return Err(Problem::new("start line", "not a request line and not a status line"));
    };
    if memchr::memchr3(b'\r', b'\t', 0, line).is_some() {
        return Err(Problem::new("start line", "folded, or contains a control character"));
    }
    if line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"SIP/") {
        return status_line(line, first);
    }
    if !value::is_token(&line[..first]) {
        return Err(Problem::new("start line", "the method is not a token"));
    }
    let last = memchr::memrchr(b' ', line).unwrap_or(first);
    if last == first {
        return Err(Problem::new("start line", "the SIP version is missing"));
    }
    let version = &line[last + 1..];
    if !is_version(version) {
        return Err(Problem::new("start line", "the SIP version is malformed or followed by white space"));
    }
    let uri = &line[first + 1..last];
    check_request_uri(uri)?;
    Ok(Start::Request {
        method: Span::new(0, first),
        uri: Span::new(first + 1, last),
        version: Span::new(last + 1, end),
    })
}

fn check_request_uri(uri: &[u8]) -> Result<(), Problem> {
    if uri.iter().copied().any(value::is_lws) || uri.is_empty() {
        return Err(Problem::new("Request-URI", "contains or is surrounded by white space"));
    }
    if memchr::memchr2(b'<', b'>', uri).is_some() {
        return Err(Problem::new("Request-URI", "enclosed in angle brackets"));
    }
    match std::str::from_utf8(uri).ok().and_then(Uri::parse) {
        Some(_) => Ok(()),
        None => Err(Problem::new("Request-URI", "malformed")),
    }
}

fn is_version(version: &[u8]) -> bool {
    let Some((name, number)) = version.split_at_checked(4) else { return false };
    let Some(dot) = memchr::memchr(b'.', number) else { return false };
    name.eq_ignore_ascii_case(b"SIP/")
        && value::digits(&number[..dot]).is_some()
        && value::digits(&number[dot + 1..]).is_some()
}

fn status_line(line: &[u8], first: usize) -> Result<Start, Problem> {
    if !line[..first].eq_ignore_ascii_case(b"SIP/2.0") {
        return Err(Problem::new("status line", "the SIP version is not 2.0"));
    }
    let end = memchr::memchr(b' ', &line[first + 1..]).map_or(line.len(), |found| first + 1 + found);
    let code = &line[first + 1..end];
    let status = value::digits(code).filter(|status| code.len() == 3 && (100..700).contains(status));
    let Some(status) = status.and_then(|status| u16::try_from(status).ok()) else {
        return Err(Problem::new("status line", "the status code is not a number from 100 to 699"));
    };
    Ok(Start::Response { status, reason: Span::new((end + 1).min(line.len()), line.len()) })
}

fn header_line(bytes: &[u8], Range { start, end }: Range<usize>) -> Result<Line, Problem> {
    let (name, after) =
        name_of(&bytes[start..end]).ok_or(Problem::new("message", "a header line has no name and colon"))?;
    let value = value::trim_range(bytes, start + after..end);
    Ok(Line {
        name: Name::recognise(name),
        whole: Span::new(start, end + 2),
        spelled: Span::new(start, start + name.len()),
        value: Span::new(value.start, value.end),
    })
}

/// RFC 3261 §25.1: NUL may stand in a header only as the second half of a quoted pair.
fn check_nul(bytes: &[u8], lines: &[Line]) -> Result<(), Problem> {
    for line in lines {
        let value = line.value.of(bytes);
        if memchr::memchr(0, value).is_none() {
            continue;
        }
        let mut at = 0;
        while let Some(found) = memchr::memchr2(b'"', 0, &value[at..]).map(|found| at + found) {
            let end = if value[found] == b'"' { value::quoted_end(value, found) } else { None };
            let quoted = end.map(|end| &value[found + 1..end - 1]);
            let (Some(end), true) = (end, quoted.is_some_and(nul_only_escaped)) else {
                return Err(Problem::new("message", "NUL in a header line"));
            };
            at = end;
        }
    }
    Ok(())
}

fn nul_only_escaped(quoted: &[u8]) -> bool {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'\\', 0, &quoted[at..]).map(|found| at + found) {
        if quoted[found] == 0 {
            return false;
        }
        at = (found + 2).min(quoted.len());
    }
    true
}

/// The fields that may stand once only, as a bit each (RFC 3261 §7.3.1).
const fn once_bit(name: Name) -> u8 {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other fields may repeat, or we do not interpret them")]
    match name {
        Name::From => 1,
        Name::To => 2,
        Name::CallId => 4,
        Name::CSeq => 8,
        Name::MaxForwards => 16,
        Name::ContentLength => 32,
        Name::ContentType => 64,
        Name::Expires => 128,
        _ => 0,
    }
}

fn check(bytes: &[u8], index: &mut Index) -> Result<(), Problem> {
    let mut seen = 0u8;
    for at in 0..index.lines.len() {
        let line = index.lines[at];
        let bit = once_bit(line.name);
        if seen & bit != 0 {
            return Err(Problem::new(line.name.as_str(), "stands more than once"));
        }
        seen |= bit;
        check_line(bytes, index, line)?;
    }
    if index.via == Span::default() {
        return Err(Problem::new("Via", "missing"));
    }
    for name in [Name::From, Name::To, Name::CallId, Name::CSeq] {
        if seen & once_bit(name) == 0 {
            return Err(Problem::new(name.as_str(), "missing"));
        }
    }
    Ok(())
}

fn check_line(bytes: &[u8], index: &mut Index, line: Line) -> Result<(), Problem> {
    let value = line.value.of(bytes);
    #[expect(clippy::wildcard_enum_match_arm, reason = "fields we do not interpret pass unread")]
    match line.name {
        Name::Via => check_vias(bytes, index, line),
        Name::From => {
            index.from = line.value;
            check_address(line.name, value)
        }
        Name::To => {
            index.to = line.value;
            check_address(line.name, value)
        }
        Name::CallId => {
            index.call_id = line.value;
            check_call_id(value)
        }
        Name::CSeq => {
            index.cseq = check_cseq(value, line.value)?;
            Ok(())
        }
        Name::MaxForwards => {
            let hops = value::digits(value).and_then(|hops| u8::try_from(hops).ok());
            index.max_forwards = Some(hops.ok_or(Problem::new("Max-Forwards", "not a number from 0 to 255"))?);
            Ok(())
        }
        Name::ContentLength => check_content_length(index, value),
        Name::Contact | Name::Route | Name::RecordRoute | Name::Path | Name::ServiceRoute => {
            Values::new(value).try_for_each(|range| check_listed(line.name, &value[range]))
        }
        _ => Ok(()),
    }
}

fn check_vias(bytes: &[u8], index: &mut Index, line: Line) -> Result<(), Problem> {
    let value = line.value.of(bytes);
    let base = line.value.start as usize;
    for range in Values::new(value) {
        if Via::parse(&value[range.clone()]).is_none() {
            return Err(Problem::new("Via", "malformed"));
        }
        if index.via == Span::default() {
            index.via = Span::new(base + range.start, base + range.end);
        }
    }
    Ok(())
}

fn check_address(name: Name, value: &[u8]) -> Result<(), Problem> {
    match NameAddr::parse(value) {
        Some(address) if !address.is_star() => Ok(()),
        _ => Err(Problem::new(name.as_str(), "not a well-formed address")),
    }
}

fn check_listed(name: Name, value: &[u8]) -> Result<(), Problem> {
    match NameAddr::parse(value) {
        Some(address) if !address.is_star() || name == Name::Contact => Ok(()),
        _ => Err(Problem::new(name.as_str(), "not a well-formed address")),
    }
}

fn check_call_id(value: &[u8]) -> Result<(), Problem> {
    if value::is_graphic(value) {
        Ok(())
    } else {
        Err(Problem::new("Call-ID", "empty, or contains white space or non-ASCII"))
    }
}

fn check_cseq(value: &[u8], span: Span) -> Result<(u32, Span), Problem> {
    let end = value::find_lws(value).unwrap_or(value.len());
    let number = value::digits(&value[..end]).ok_or(Problem::new("CSeq", "does not start with a number"))?;
    // RFC 3261 §8.1.1.5 asks for less than 2^31; what fits 32 bits harms nobody.
    let number = u32::try_from(number).map_err(|_| Problem::new("CSeq", "the number does not fit 32 bits"))?;
    let method = value::skip_lws(value, end);
    if !value::is_token(&value[method..]) {
        return Err(Problem::new("CSeq", "the method is missing or not a token"));
    }
    Ok((number, Span::new(span.start as usize + method, span.end as usize)))
}

fn check_content_length(index: &mut Index, value: &[u8]) -> Result<(), Problem> {
    let length = value::digits(value).ok_or(Problem::new("Content-Length", "not a number"))?;
    let there = index.body.range().len();
    let Some(length) = usize::try_from(length).ok().filter(|&length| length <= there) else {
        return Err(Problem::new("Content-Length", "more than the bytes that follow"));
    };
    // RFC 3261 §18.3: what a datagram carries beyond the declared body is discarded.
    let start = index.body.start as usize;
    index.body = Span::new(start, start + length);
    index.has_content_length = true;
    Ok(())
}
