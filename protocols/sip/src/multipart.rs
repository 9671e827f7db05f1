//! Session descriptions inside multipart bodies (RFC 2046 §5.1, RFC 5621).
//!
//! Finds the parts that are session descriptions, however deep they are nested, and replaces what
//! they say; every other byte of the body stays. It decodes nothing: a part with a transfer
//! encoding is shown as it is written.

use std::ops::Range;

use crate::header::Name;
use crate::limits::{MULTIPART_BOUNDARY_BYTES_MAX, MULTIPART_DEPTH_MAX, MULTIPART_PARTS_MAX};
use crate::value::{self, Params};

/// One part that is a session description, as ranges of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Description {
    /// What goes with it: from its delimiter line to the next one.
    whole: Range<usize>,
    /// What it says.
    content: Range<usize>,
    /// What must stand around another content so that it is one: a part without content may lack the
    /// blank line above it, or the line end before the next delimiter.
    around: [&'static [u8]; 2],
}

/// The session descriptions of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Descriptions {
    found: Vec<Description>,
    parts: usize,
    /// A bound was reached: there may be more.
    unread: bool,
}

impl Descriptions {
    /// Looks through the body of a message with this Content-Type.
    pub(crate) fn find(content_type: &[u8], body: &[u8]) -> Self {
        let mut found = Self::default();
        found.enter(content_type, body, 0..body.len(), 0);
        found
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty() && !self.unread
    }

    /// The one description there is; `None` if there are several, or may be.
    pub(crate) fn only(&self) -> Option<Range<usize>> {
        match (self.found.as_slice(), self.unread) {
            ([one], false) => Some(one.content.clone()),
            (_, _) => None,
        }
    }

    /// The body with `new` in place of the first description and without any other. An empty `new`
    /// takes all of them out, and the whole body where not all of it could be read.
    pub(crate) fn replaced(&self, body: &[u8], new: &[u8]) -> Vec<u8> {
        if self.unread {
            return Vec::new();
        }
        let mut out = Vec::with_capacity(body.len() + new.len());
        let mut at = 0;
        for (index, description) in self.found.iter().enumerate() {
            let kept = index == 0 && !new.is_empty();
            let range = if kept { &description.content } else { &description.whole };
            out.extend_from_slice(&body[at..range.start]);
            if kept {
                let [before, after] = description.around;
                out.extend_from_slice(before);
                out.extend_from_slice(new);
                out.extend_from_slice(after);
            }
            at = range.end;
        }
        out.extend_from_slice(&body[at..]);
        out
    }

    /// Reads the parts of `range`, if it is multipart at all.
    fn enter(&mut self, content_type: &[u8], body: &[u8], range: Range<usize>, depth: usize) {
        let Some(boundary) = boundary(content_type) else { return };
        if depth == MULTIPART_DEPTH_MAX {
            self.unread = true;
            return;
        }
        let mut part: Option<(usize, usize)> = None;
        for line in (Lines { bytes: body, at: range.start, end: range.end }) {
            let Some(last) = delimits(&body[line.clone()], boundary) else { continue };
            if let Some((whole, start)) = part {
                self.part(body, whole..line.start, start, true, depth);
            }
            if last || self.unread {
                return;
            }
            part = Some((line.start, line.end));
        }
        // RFC 2046 §5.1.1 wants a closing delimiter; who reads without it must not see more than we do.
        if let Some((whole, start)) = part {
            self.part(body, whole..range.end, start, false, depth);
        }
    }

    /// One part; `closed` if a delimiter ends it.
    fn part(&mut self, body: &[u8], whole: Range<usize>, start: usize, closed: bool, depth: usize) {
        self.parts += 1;
        if self.parts > MULTIPART_PARTS_MAX {
            self.unread = true;
            return;
        }
        let head = PartHead::read(body, start..whole.end);
        let Some(content_type) = head.content_type else { return };
        let (content, around) = match head.content_at {
            Some(start) if closed => content_before_delimiter(body, start..whole.end),
            Some(start) => (start..whole.end, [&b""[..]; 2]),
            // A head without an end: what replaces the description gets a whole one.
            None => (start..whole.end, [SDP_HEAD, if closed { b"\r\n" } else { b"" }]),
        };
        if is_sdp(&content_type) {
            // The delimiter of a part that nothing closes stays: it closes the part before.
            let whole = if closed { whole } else { start..whole.end };
            self.found.push(Description { whole, content, around });
        } else if head.content_at.is_some() {
            self.enter(&content_type, body, content, depth + 1);
        }
    }
}

/// The content of a part that ends at a delimiter: the line end before a delimiter is the delimiter's.
fn content_before_delimiter(body: &[u8], range: Range<usize>) -> (Range<usize>, [&'static [u8]; 2]) {
    let text = &body[range.clone()];
    if text.is_empty() {
        return (range, [b"", b"\r\n"]);
    }
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    (range.start..range.start + text.len(), [b"", b""])
}

/// Whether a Content-Type says `application/sdp`.
pub(crate) fn is_sdp(content_type: &[u8]) -> bool {
    media_type(content_type).is_some_and(|(kind, subtype)| {
        kind.eq_ignore_ascii_case(b"application") && subtype.eq_ignore_ascii_case(b"sdp")
    })
}

fn media_type(content_type: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b';', content_type).unwrap_or(content_type.len());
    let mut halves = content_type[..end].split(|&byte| byte == b'/').map(value::trim);
    let found = (halves.next()?, halves.next()?);
    halves.next().is_none().then_some(found)
}

/// The boundary of a `multipart/…` type.
fn boundary(content_type: &[u8]) -> Option<&[u8]> {
    let (kind, _) = media_type(content_type)?;
    if !kind.eq_ignore_ascii_case(b"multipart") {
        return None;
    }
    let params = &content_type[memchr::memchr(b';', content_type)?..];
    let boundary = Params::new(std::str::from_utf8(params).ok()?).named("boundary")??.as_bytes();
    (!boundary.is_empty() && boundary.len() <= MULTIPART_BOUNDARY_BYTES_MAX).then_some(boundary)
}

/// Whether a line is a delimiter, and if so, whether it is the closing one.
fn delimits(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    let (rest, last) = rest.strip_prefix(b"--").map_or((rest, false), |rest| (rest, true));
    rest.iter().copied().all(value::is_lws).then_some(last)
}

/// The head of a part. A bare LF ends a line here too: whoever reads bodies that way must not see
/// another description than we do.
struct PartHead {
    /// Unfolded.
    content_type: Option<Vec<u8>>,
    /// Behind the blank line; `None` if there is none.
    content_at: Option<usize>,
}

const SDP_HEAD: &[u8] = b"Content-Type: application/sdp\r\n\r\n";

impl PartHead {
    fn read(body: &[u8], part: Range<usize>) -> Self {
        let mut head = Self { content_type: None, content_at: None };
        let mut continues = false;
        for line in (Lines { bytes: body, at: part.start, end: part.end }) {
            let text = &body[line.clone()];
            let trimmed = value::trim(text);
            if trimmed.is_empty() && text.ends_with(b"\n") {
                head.content_at = Some(line.end);
                return head;
            }
            if matches!(text.first(), Some(b' ' | b'\t')) {
                if let Some(content_type) = head.content_type.as_mut().filter(|_| continues) {
                    content_type.push(b' ');
                    content_type.extend_from_slice(trimmed);
                }
                continue;
            }
            continues = false;
            let Some(colon) = memchr::memchr(b':', text) else { continue };
            if Name::recognise(value::trim(&text[..colon])) == Name::ContentType && head.content_type.is_none() {
                head.content_type = Some(value::trim(&text[colon + 1..]).to_vec());
                continues = true;
            }
        }
        head
    }
}

/// The lines of a stretch, each with its line end.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl Iterator for Lines<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        if self.at >= self.end {
            return None;
        }
        let start = self.at;
        let feed = memchr::memchr(b'\n', &self.bytes[start..self.end]);
        self.at = feed.map_or(self.end, |feed| start + feed + 1);
        Some(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &[u8] = b"multipart/mixed;boundary=\"b 1\"";
    const BODY: &str = "preamble\r\n--b 1\r\nContent-Type: text/xml\r\n\r\n<a/>\r\n--b 1 \r\nc :\r\n application/sdp\r\n\
                        Content-Disposition: session\r\n\r\nv=0\r\no=- 1\r\n\r\n--b 1--\r\nepilogue --b 1\r\n";

    fn find(content_type: &[u8], body: &str) -> Descriptions {
        Descriptions::find(content_type, body.as_bytes())
    }

    fn replaced(content_type: &[u8], body: &str, new: &str) -> String {
        let body = find(content_type, body).replaced(body.as_bytes(), new.as_bytes());
        String::from_utf8(body).expect("text")
    }

    #[test]
    fn the_description_is_found_and_nothing_else_changes() {
        let found = find(TYPE, BODY);
        assert_eq!(found.only().map(|range| &BODY[range]), Some("v=0\r\no=- 1\r\n"));
        assert_eq!(replaced(TYPE, BODY, "v=1\r\n"), BODY.replace("v=0\r\no=- 1\r\n", "v=1\r\n"));
    }

    #[test]
    fn an_empty_description_takes_its_part_away() {
        let without = replaced(TYPE, BODY, "");
        assert!(find(TYPE, &without).is_empty());
        assert!(without.contains("<a/>\r\n--b 1--\r\nepilogue"), "{without}");
    }

    #[test]
    fn no_description_hides_by_nesting_or_by_a_missing_end() {
        let nested =
            "--o\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n--i\nContent-Type: application/sdp\n\nv=0\n";
        let content_type = b"multipart/mixed; boundary=o";
        assert_eq!(find(content_type, nested).only().map(|range| &nested[range]), Some("v=0\n"));
        // Deeper than anybody needs: not read, so not passed on.
        let mut deep = String::new();
        for depth in 0..6 {
            deep.push_str(&format!("--{depth}\r\nContent-Type: multipart/mixed;boundary={}\r\n\r\n", depth + 1));
        }
        let found = find(b"multipart/mixed;boundary=0", &deep);
        assert!(!found.is_empty() && found.only().is_none());
        assert_eq!(replaced(b"multipart/mixed;boundary=0", &deep, "v=0"), "");
    }

    #[test]
    fn of_several_descriptions_none_is_the_one_and_one_is_left() {
        let two = "--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b\r\nContent-Type: application/sdp\r\n\r\nv=9\r\n--b--";
        let content_type = b"multipart/mixed;boundary=b";
        assert!(!find(content_type, two).is_empty());
        assert_eq!(find(content_type, two).only(), None);
        let one = replaced(content_type, two, "v=1");
        assert_eq!(one, "--b\r\nContent-Type: application/sdp\r\n\r\nv=1\r\n--b--");
    }

    #[test]
    fn what_is_not_multipart_has_no_parts() {
        for content_type in
            [&b"text/plain"[..], b"multipart/mixed", b"multipart/mixed;boundary=", b"application/sdp/x", b""]
        {
            assert!(find(content_type, BODY).is_empty());
        }
        assert!(is_sdp(b"Application / SDP ; charset=utf-8"));
    }
}
