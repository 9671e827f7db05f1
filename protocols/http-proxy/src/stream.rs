//! Follows the requests of one HTTP/1.1 connection byte by byte (RFC 9112), and lets through what is exactly as
//! it should be. Whatever parses behind it sees whole heads, whole chunk heads, and bodies of the length that was
//! checked: where a request ends is decided here, once.
//!
//! Stricter than RFC 9112 asks where two parsers have ever disagreed: lines end with CRLF, nothing stands before a
//! request line, fields are not folded, chunks have no extensions.

use crate::head::{Framing, HeadFault, RequestLine, Version, check_request};
use crate::limits::{CHUNK_DIGITS_MAX, STREAM_HEAD_BYTES_MAX, TRAILER_BYTES_MAX};

/// Where in the requests we are.
#[derive(Debug, Default)]
pub struct Requests {
    state: State,
    /// Of what is held back: so much has been looked at.
    scanned: usize,
    /// The head with its names in lower case; kept for its memory.
    lower: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// A head begins here, or is incomplete.
    #[default]
    Head,
    /// So many bytes of a body, or of a chunk, are to come.
    Bytes { left: u64, chunked: bool },
    /// The line end behind a chunk.
    ChunkEnd,
    /// The line with the length of a chunk.
    ChunkLength,
    /// Fields behind the last chunk.
    Trailers,
    /// The client has said that it sends nothing more.
    Closed,
}

/// Why the bytes are refused. The connection is of no use after that: nobody knows where a request would begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StreamFault {
    /// A line that does not end with CRLF, a NUL, a folded field, or no request line.
    #[error("the head is malformed")]
    Form,
    /// What a head says.
    #[error(transparent)]
    Head(#[from] HeadFault),
    /// No length, an extension, no line end behind it, or fields that are none.
    #[error("a chunk is malformed")]
    Chunk,
}

impl StreamFault {
    /// The status for whoever sent it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Form | Self::Chunk => 400,
            Self::Head(fault) => fault.status(),
        }
    }

    /// Whether it lies in a body, after a head that was good.
    #[must_use]
    pub const fn is_in_body(self) -> bool {
        matches!(self, Self::Chunk)
    }
}

impl Requests {
    /// Whether a request is under way of which not all has come.
    #[must_use]
    pub const fn is_in_body(&self) -> bool {
        !matches!(self.state, State::Head | State::Closed)
    }

    /// How many of `bytes` may go on. Those behind are to be shown again, with what has come meanwhile behind
    /// them; they are the beginning of a head or of a line. What comes after the last request is for nobody: it
    /// counts as gone on.
    ///
    /// # Errors
    /// How many may go on, and why nothing behind them may.
    pub fn follow(&mut self, bytes: &[u8]) -> Result<usize, (usize, StreamFault)> {
        let mut passed = 0;
        loop {
            let rest = bytes.get(passed..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(passed);
            }
            let step = match self.state {
                State::Head => self.head(rest),
                State::Bytes { left, chunked } => Ok(Some(self.body(rest.len(), left, chunked))),
                State::ChunkEnd => self.chunk_end(rest),
                State::ChunkLength => self.chunk_length(rest),
                State::Trailers => self.trailers(rest),
                State::Closed => Ok(Some(rest.len())),
            };
            match step {
                Ok(Some(count)) => {
                    passed += count;
                    self.scanned = 0;
                }
                Ok(None) => return Ok(passed),
                Err(fault) => return Err((passed, fault)),
            }
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, StreamFault> {
        let Some(end) = self.section_end(bytes, StreamFault::Form)? else {
            return if bytes.len() > STREAM_HEAD_BYTES_MAX { Err(HeadFault::TooLarge.into()) } else { Ok(None) };
        };
        if end > STREAM_HEAD_BYTES_MAX {
            return Err(HeadFault::TooLarge.into());
        }
        let (framing, closes) = self.check(bytes.get(..end - 2).unwrap_or_default())?;
        self.state = match framing {
            Framing::Chunked => State::ChunkLength,
            Framing::Length(left) if left > 0 => State::Bytes { left, chunked: false },
            Framing::Length(_) | Framing::None if closes => State::Closed,
            Framing::Length(_) | Framing::None => State::Head,
        };
        Ok(Some(end))
    }

    /// Behind the first empty line, if it is there; every line up to there ends with CRLF.
    fn section_end(&mut self, bytes: &[u8], fault: StreamFault) -> Result<Option<usize>, StreamFault> {
        let from = self.scanned;
        for (at, byte) in bytes.iter().enumerate().skip(from) {
            let before = |count: usize| at.checked_sub(count).and_then(|at| bytes.get(at)).copied();
            match byte {
                0 => return Err(fault),
                b'\n' if before(1) != Some(b'\r') => return Err(fault),
                b'\n' if before(2) == Some(b'\n') || at == 1 => return Ok(Some(at + 1)),
                b'\n' => {}
                _ if before(1) == Some(b'\r') => return Err(fault),
                _ => {}
            }
        }
        self.scanned = bytes.len();
        Ok(None)
    }

    /// `head`: its lines, each with its CRLF.
    fn check(&mut self, head: &[u8]) -> Result<(Framing, bool), StreamFault> {
        self.lower.clear();
        self.lower.extend_from_slice(head);
        let line_end = head.iter().position(|byte| *byte == b'\r').ok_or(StreamFault::Form)?;
        let (line, fields) = self.lower.split_at_mut_checked(line_end).ok_or(StreamFault::Form)?;
        // What follows the request line begins with its CRLF.
        for field in fields.split_mut(|byte| *byte == b'\n').skip(1).filter(|field| !field.is_empty()) {
            let colon = field.iter().position(|byte| *byte == b':').ok_or(StreamFault::Form)?;
            // A name that is none (a space before the colon, a folded line) is found by the check.
            field.get_mut(..colon).unwrap_or_default().make_ascii_lowercase();
        }
        let line = request_line(line)?;
        let fields = fields.split(|byte| *byte == b'\n').skip(1).filter(|field| !field.is_empty());
        let mut malformed = false;
        let pairs = fields.map_while(|field| {
            let pair = pair(field);
            malformed |= pair.is_none();
            pair
        });
        let checked = check_request(line, pairs)?;
        if malformed { Err(StreamFault::Form) } else { Ok((checked.framing, checked.closes)) }
    }

    const fn body(&mut self, there: usize, left: u64, chunked: bool) -> usize {
        let taken = if (there as u64) < left { there } else { left as usize };
        let left = left - taken as u64;
        self.state = match (left, chunked) {
            (0, true) => State::ChunkEnd,
            (0, false) => State::Head,
            (left, chunked) => State::Bytes { left, chunked },
        };
        taken
    }

    fn chunk_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, StreamFault> {
        match bytes {
            [b'\r', b'\n', ..] => {
                self.state = State::ChunkLength;
                Ok(Some(2))
            }
            [b'\r'] => Ok(None),
            _ => Err(StreamFault::Chunk),
        }
    }

    fn chunk_length(&mut self, bytes: &[u8]) -> Result<Option<usize>, StreamFault> {
        let digits = bytes.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits > CHUNK_DIGITS_MAX {
            return Err(StreamFault::Chunk);
        }
        let (digits, rest) = bytes.split_at_checked(digits).ok_or(StreamFault::Chunk)?;
        match rest {
            [] | [b'\r'] if !digits.is_empty() || rest.is_empty() => Ok(None),
            [b'\r', b'\n', ..] if !digits.is_empty() => {
                let text = std::str::from_utf8(digits).map_err(|_| StreamFault::Chunk)?;
                let length = u64::from_str_radix(text, 16).map_err(|_| StreamFault::Chunk)?;
                self.state = if length == 0 { State::Trailers } else { State::Bytes { left: length, chunked: true } };
                Ok(Some(digits.len() + 2))
            }
            _ => Err(StreamFault::Chunk),
        }
    }

    fn trailers(&mut self, bytes: &[u8]) -> Result<Option<usize>, StreamFault> {
        let Some(end) = self.section_end(bytes, StreamFault::Chunk)? else {
            return if bytes.len() > TRAILER_BYTES_MAX { Err(StreamFault::Chunk) } else { Ok(None) };
        };
        let lines = bytes.get(..end - 2).unwrap_or_default().split(|byte| *byte == b'\n');
        let good = lines.filter(|line| !line.is_empty()).all(|line| {
            pair(line).is_some_and(|(name, value)| {
                let framing = ["content-length", "transfer-encoding", "host", "trailer", "authorization", "cookie"];
                let name_is_good = !name.is_empty()
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
                    && !framing.iter().any(|other| name.eq_ignore_ascii_case(other));
                name_is_good && value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
            })
        });
        if !good || end > TRAILER_BYTES_MAX {
            return Err(StreamFault::Chunk);
        }
        self.state = State::Head;
        Ok(Some(end))
    }
}

/// `METHOD SP target SP HTTP/1.x`, with one space each (RFC 9112 §3).
fn request_line(line: &[u8]) -> Result<RequestLine<'_>, StreamFault> {
    let line = std::str::from_utf8(line).map_err(|_| StreamFault::Form)?;
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(StreamFault::Form);
    };
    let version = match version {
        "HTTP/1.1" => Version::Http11,
        "HTTP/1.0" => Version::Http10,
        _ => return Err(StreamFault::Form),
    };
    let (authority, target) = origin_form(target)?;
    Ok(RequestLine { method, target, authority, version })
}

/// The authority and the path of a target in absolute form, which every server must take (RFC 9112 §3.2.2); others as they
/// are. Over TLS no scheme but `https` is meant. The authority is checked with the fields: it is that of Host.
fn origin_form(target: &str) -> Result<(Option<&str>, &str), StreamFault> {
    const SCHEME: &str = "https://";
    match target.split_at_checked(SCHEME.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => {
            let path = rest.find('/').ok_or(HeadFault::Target)?;
            let (authority, path) = rest.split_at_checked(path).ok_or(HeadFault::Target)?;
            Ok((Some(authority), path))
        }
        Some(_) | None => Ok((None, target)),
    }
}

/// Name and value of a field line with its CR, without the white space around the value.
fn pair(line: &[u8]) -> Option<(&str, &[u8])> {
    let line = line.strip_suffix(b"\r")?;
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let value = value.get(1..)?;
    let begin = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(begin, |last| last + 1);
    Some((std::str::from_utf8(name).ok()?, value.get(begin..end)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Shows `bytes` in pieces of `piece`; what went on, and how it ended.
    fn follow(bytes: &[u8], piece: usize) -> (Vec<u8>, Result<Requests, StreamFault>) {
        let (mut requests, mut held, mut passed) = (Requests::default(), Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            held.extend_from_slice(piece);
            match requests.follow(&held) {
                Ok(count) => passed.extend(held.drain(..count)),
                Err((count, fault)) => {
                    passed.extend(held.drain(..count));
                    return (passed, Err(fault));
                }
            }
        }
        (passed, Ok(requests))
    }

    const GET: &str = "GET /x HTTP/1.1\r\nHost: e\r\nAccept: */*\r\n\r\n";

    #[test]
    fn good_requests_go_on_whole_however_they_are_cut() {
        let good = [
            GET.to_owned(),
            GET.repeat(3),
            "POST /x HTTP/1.1\r\nhOST:e\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
            format!("POST /x HTTP/1.1\r\nHost: e\r\nContent-Length: 0\r\n\r\n{GET}"),
            format!("POST /x HTTP/1.1\r\nHost: e\r\nContent-Length: 2\r\n\r\n\r\n{GET}"),
            format!(
                "POST /x HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n{GET}"
            ),
            format!(
                "POST /x HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n0\r\nX-Sum: 1\r\n\r\n{GET}"
            ),
            "GET /x HTTP/1.0\r\n\r\n".to_owned(),
            "GET https://e/x HTTP/1.1\r\nHost: e\r\n\r\n".to_owned(),
            format!(
                "POST HTTPS://E1.example:8443/x?a=/ HTTP/1.1\r\nHost: e1.example:8443\r\nContent-Length: 2\r\n\r\nab{GET}"
            ),
        ];
        for text in good {
            for piece in 1..=text.len() {
                let (passed, end) = follow(text.as_bytes(), piece);
                assert!(end.is_ok_and(|requests| !requests.is_in_body()), "{text:?} in pieces of {piece}");
                assert_eq!(passed, text.as_bytes(), "{text:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn an_incomplete_head_stays_and_a_body_goes_on_at_once() {
        for length in 0..GET.len() {
            let mut requests = Requests::default();
            assert_eq!(requests.follow(&GET.as_bytes()[..length]), Ok(0), "{length}");
        }
        let head = "POST /x HTTP/1.1\r\nHost: e\r\nContent-Length: 5\r\n\r\n";
        let mut requests = Requests::default();
        assert_eq!(requests.follow(format!("{head}he").as_bytes()), Ok(head.len() + 2));
        assert!(requests.is_in_body());
    }

    #[test]
    fn what_two_parsers_could_read_differently_stops_at_its_beginning() {
        let post = "POST /x HTTP/1.1\r\nHost: e\r\n";
        let bad = [
            // Lines.
            "GET /x HTTP/1.1\nHost: e\n\n".to_owned(),
            "GET /x HTTP/1.1\r\nHost: e\n\r\n".to_owned(),
            "GET /x HTTP/1.1\r\nHost: e\r\n\n".to_owned(),
            "GET /x HTTP/1.1\rHost: e\r\n\r\n".to_owned(),
            "GET /x HTTP/1.1\r\r\nHost: e\r\n\r\n".to_owned(),
            "GET /x HTTP/1.1\r\nHost: e\r\n\r\r\n".to_owned(),
            "GET /x HTTP/1.1\r\nHost: e\rX: y\r\n\r\n".to_owned(),
            "GET /x HTTP/1.1\r\nHost: e\r\nA: b\0\r\n\r\n".to_owned(),
            "GET /x HTTP/1.1\r\nHost: e\r\nA: b\r\n c\r\n\r\n".to_owned(),
            "GET /x HTTP/1.1\r\n Host: e\r\n\r\n".to_owned(),
            "\r\nGET /x HTTP/1.1\r\nHost: e\r\n\r\n".to_owned(),
            "GET  /x HTTP/1.1\r\nHost: e\r\n\r\n".to_owned(),
            "GET /x  HTTP/1.1\r\nHost: e\r\n\r\n".to_owned(),
            "GET /x HTTP/1.1 \r\nHost: e\r\n\r\n".to_owned(),
            "GET\t/x\tHTTP/1.1\r\nHost: e\r\n\r\n".to_owned(),
            "GET /x\r\n\r\n".to_owned(),
            "GET /x HTTP/2.0\r\nHost: e\r\n\r\n".to_owned(),
            "GET /x HTTP/1.2\r\nHost: e\r\n\r\n".to_owned(),
            "GET http://e/x HTTP/1.1\r\nHost: e\r\n\r\n".to_owned(),
            "GET https://f/x HTTP/1.1\r\nHost: e\r\n\r\n".to_owned(),
            "GET https://e:443/x HTTP/1.1\r\nHost: e\r\n\r\n".to_owned(),
            "GET https://e/x HTTP/1.1\r\nHost: e:443\r\n\r\n".to_owned(),
            "GET https://u@e/x HTTP/1.1\r\nHost: e\r\n\r\n".to_owned(),
            "GET https://u@e/x HTTP/1.1\r\nHost: u@e\r\n\r\n".to_owned(),
            "GET https://e?/x HTTP/1.1\r\nHost: e\r\n\r\n".to_owned(),
            "GET https://e#/x HTTP/1.1\r\nHost: e\r\n\r\n".to_owned(),
            "GET https://e\\/x HTTP/1.1\r\nHost: e\r\n\r\n".to_owned(),
            "GET https://e HTTP/1.1\r\nHost: e\r\n\r\n".to_owned(),
            "GET https:///x HTTP/1.1\r\nHost: \r\n\r\n".to_owned(),
            "GET https://e/x HTTP/1.1\r\n\r\n".to_owned(),
            "GET https://e/x HTTP/1.0\r\n\r\n".to_owned(),
            "GET https:/e/x HTTP/1.1\r\nHost: e\r\n\r\n".to_owned(),
            "GET e/x HTTP/1.1\r\nHost: e\r\n\r\n".to_owned(),
            "GET * HTTP/1.1\r\nHost: e\r\n\r\n".to_owned(),
            "CONNECT e:443 HTTP/1.1\r\nHost: e\r\n\r\n".to_owned(),
            "GET /x HTTP/1.1\r\nHost : e\r\n\r\n".to_owned(),
            "GET /x HTTP/1.1\r\nHost\r\n\r\n".to_owned(),
            "GET /x HTTP/1.1\r\n\r\n".to_owned(),
            "GET /x HTTP/1.1\r\nHost: e\r\nHost: e\r\n\r\n".to_owned(),
            format!("GET /x HTTP/1.1\r\nHost: e\r\n{}: a\r\n\r\n", "a".repeat(65_536)),
            // Framing.
            format!("{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
            format!("{post}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
            format!("{post}Content-Length: 5, 5\r\n\r\nhello"),
            format!("{post}Content-Length: +5\r\n\r\nhello"),
            format!("{post}Content-Length: 0x5\r\n\r\nhello"),
            format!("{post}Content-Length: 18446744073709551616\r\n\r\nhello"),
            format!("{post}Content-Length : 5\r\n\r\nhello"),
            format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
            format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            format!("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
            format!("{post}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n"),
            format!("{post}Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
            "POST /x HTTP/1.0\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            "GET /x HTTP/1.1\r\nHost: e\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        ];
        for text in bad {
            for piece in [1, 2, 3, 7, text.len()] {
                let (passed, end) = follow(text.as_bytes(), piece);
                let shown = &text[..text.len().min(100)];
                assert!(passed.is_empty(), "{shown:?} in pieces of {piece}");
                assert!(end.is_err_and(|fault| !fault.is_in_body()), "{shown:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn bad_chunks_stop_the_body() {
        let head = "POST /x HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n";
        for body in [
            "5;a=b\r\nhello\r\n0\r\n\r\n",
            "5;\r\nhello\r\n0\r\n\r\n",
            "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "-5\r\nhello\r\n0\r\n\r\n",
            "\r\nhello\r\n0\r\n\r\n",
            "g\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\r\r0\r\n\r\n",
            "ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
            "0\r\nContent-Length: 5\r\n\r\n",
            "0\r\nA : b\r\n\r\n",
            "0\r\n b\r\n\r\n",
            "0\r\n\nGET /y HTTP/1.1\r\n\r\n",
            "0\r\nA: b\nC: d\r\n\r\n",
        ] {
            let text = format!("{head}{body}");
            for piece in 1..=text.len() {
                let (passed, end) = follow(text.as_bytes(), piece);
                assert_eq!(end.err(), Some(StreamFault::Chunk), "{body:?} in pieces of {piece}");
                assert!(passed.len() >= head.len(), "{body:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn after_the_last_request_nothing_counts() {
        let text = "GET /x HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\nrubbish \0\n\n";
        let (passed, end) = follow(text.as_bytes(), 11);
        assert!(end.is_ok() && passed.len() == text.len());
    }

    #[test]
    fn a_head_without_end_is_too_large_at_some_point() {
        let endless = format!("GET /x HTTP/1.1\r\nHost: e\r\n{}", "A: b\r\n".repeat(STREAM_HEAD_BYTES_MAX));
        for piece in [1_000, endless.len()] {
            let (passed, end) = follow(endless.as_bytes(), piece);
            assert!(passed.is_empty());
            assert_eq!(end.err(), Some(StreamFault::Head(HeadFault::TooLarge)));
        }
    }

    proptest! {
        #[test]
        fn cutting_changes_nothing(bytes in "[GPOST/x HTP1.\r\n:a0-9\\PC]{0,200}", piece in 1_usize..50) {
            let (whole, first) = follow(bytes.as_bytes(), usize::MAX);
            let (pieces, second) = follow(bytes.as_bytes(), piece);
            prop_assert_eq!(whole, pieces);
            prop_assert_eq!(first.err(), second.err());
        }
    }
}
