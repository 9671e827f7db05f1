//! Responses made here (RFC 3261 §8.2.6).

use bytes::Bytes;

use crate::header::Name;
use crate::message::Message;
use crate::value;

/// A response in the making. Header values are written as one line each: a CR, LF or NUL in a
/// value becomes a space, so that no value can smuggle a line in.
#[derive(Debug)]
#[must_use]
pub struct ResponseBuilder<'a> {
    request: &'a Message,
    status: u16,
    reason: String,
    to_tag: Option<String>,
    record_route: bool,
    lines: Vec<u8>,
    body: &'a [u8],
}

impl<'a> ResponseBuilder<'a> {
    pub(crate) fn new(request: &'a Message, status: u16, reason: &str) -> Self {
        let reason = reason.to_owned();
        Self { request, status, reason, to_tag: None, record_route: false, lines: Vec::new(), body: &[] }
    }

    /// The tag to add to To. Only done if To has none and the status is above 100.
    pub fn to_tag(mut self, tag: &str) -> Self {
        self.to_tag = Some(tag.to_owned());
        self
    }

    /// Copies the Record-Route lines of the request: for responses that make a dialog
    /// (RFC 3261 §12.1.1).
    pub const fn record_route(mut self) -> Self {
        self.record_route = true;
        self
    }

    /// Adds a header line.
    pub fn header(mut self, name: Name, value: &str) -> Self {
        debug_assert!(name != Name::Other, "Name::Other has no spelling: use `other`");
        write_line(&mut self.lines, name.as_str(), value);
        self
    }

    /// Adds a header line of a name without a variant.
    pub fn other(mut self, name: &str, value: &str) -> Self {
        debug_assert!(value::is_token(name.as_bytes()));
        write_line(&mut self.lines, name, value);
        self
    }

    /// Adds a Warning (RFC 3261 §20.43): code, who says so (`host:port` or a pseudonym), text.
    pub fn warning(mut self, code: u16, agent: &str, text: &str) -> Self {
        write_line(&mut self.lines, Name::Warning.as_str(), &warning_value(code, agent, text));
        self
    }

    /// The body and its type.
    pub fn body(mut self, content_type: &str, body: &'a [u8]) -> Self {
        write_line(&mut self.lines, Name::ContentType.as_str(), content_type);
        self.body = body;
        self
    }

    /// The whole response. Content-Length is always there.
    #[must_use]
    pub fn build(self) -> Bytes {
        let request = self.request.bytes();
        let copied = self.request.index().lines.len() * 80;
        let mut out = Vec::with_capacity(256 + copied + self.lines.len() + self.body.len());
        push_clean(&mut out, &format!("SIP/2.0 {} {}", self.status, self.reason));
        out.extend_from_slice(b"\r\n");
        for line in &self.request.index().lines {
            if !self.copies(line.name) {
                continue;
            }
            let whole = line.whole.of(request);
            match self.to_tag.as_deref().filter(|_| line.name == Name::To && self.adds_tag()) {
                Some(tag) => {
                    out.extend_from_slice(whole.strip_suffix(b"\r\n").unwrap_or(whole));
                    out.extend_from_slice(b";tag=");
                    push_clean(&mut out, tag);
                    out.extend_from_slice(b"\r\n");
                }
                None => out.extend_from_slice(whole),
            }
        }
        out.extend_from_slice(&self.lines);
        write_line(&mut out, Name::ContentLength.as_str(), &self.body.len().to_string());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.body);
        Bytes::from(out)
    }

    /// RFC 3261 §8.2.6.2.
    const fn copies(&self, name: Name) -> bool {
        matches!(name, Name::Via | Name::From | Name::To | Name::CallId | Name::CSeq)
            || (matches!(name, Name::Timestamp) && self.status == 100)
            || (matches!(name, Name::RecordRoute) && self.record_route)
    }

    fn adds_tag(&self) -> bool {
        self.status > 100 && self.request.to().param("tag").is_none()
    }
}

/// `399 agent "text"`, with quotes and backslashes in the text escaped.
#[must_use]
pub fn warning_value(code: u16, agent: &str, text: &str) -> String {
    let mut out = format!("{code:03} {agent} \"");
    for character in text.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
    out
}

pub(crate) fn write_line(out: &mut Vec<u8>, name: &str, value: &str) {
    push_clean(out, name);
    out.extend_from_slice(b": ");
    push_clean(out, value);
    out.extend_from_slice(b"\r\n");
}

/// Appends text that must stay on one line.
fn push_clean(out: &mut Vec<u8>, text: &str) {
    let start = out.len();
    out.extend_from_slice(text.as_bytes());
    clean(&mut out[start..]);
}

pub(crate) fn clean(bytes: &mut [u8]) {
    while let Some(found) = memchr::memchr3(b'\r', b'\n', 0, bytes) {
        bytes[found] = b' ';
    }
}
