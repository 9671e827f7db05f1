//! Edits as patches: the message is copied once, with the changes in place; every byte that no
//! patch touches stays as it was.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::header::Name;
use crate::message::Message;
use crate::multipart::{self, Descriptions};
use crate::parse::Span;
use crate::respond::clean;
use crate::value;

/// A list of changes to one message.
///
/// All of them refer to the message **as it was parsed**: `pop_via` never removes what `push_via`
/// added, `remove` never what `push` added, and the order of different changes does not matter.
/// Of several `push` of one field the last stands first (it is a stack, as Via and Route are);
/// `append` keeps the order of the calls. A value is written as one line: CR, LF and NUL in it
/// become spaces.
#[derive(Debug)]
pub struct Edit<'a> {
    message: &'a Message,
    patches: SmallVec<[Patch; 16]>,
    /// The new text of all patches, one after the other.
    text: SmallVec<[u8; 512]>,
    body: Option<Vec<u8>>,
}

/// What a patch is, which decides its place among others at the same position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// A new parameter or line behind what is there.
    After,
    /// A new line in front of what is there; the last one pushed comes first.
    Before,
    /// A new line at the end of the head.
    AtEnd,
    /// Takes bytes out, or replaces them.
    Replace,
}

#[derive(Clone, Copy, Debug)]
struct Patch {
    at: u32,
    end: u32,
    text: Span,
    kind: Kind,
    /// The field a `set` replaces, so that a second `set` takes the place of the first.
    sets: Option<Name>,
}

impl<'a> Edit<'a> {
    pub(crate) fn new(message: &'a Message) -> Self {
        Self { message, patches: SmallVec::new(), text: SmallVec::new(), body: None }
    }

    /// Replaces the Request-URI. No effect on a response.
    pub fn set_request_uri(&mut self, uri: &str) -> &mut Self {
        if let Some(span) = self.message.uri_span() {
            let text = self.write(&[uri]);
            self.replace(span, text);
        }
        self
    }

    /// Adds a Via line in front of all others.
    pub fn push_via(&mut self, value: &str) -> &mut Self {
        self.push(Name::Via, value)
    }

    /// Removes the topmost Via value, and nothing but that; called again, the next one.
    pub fn pop_via(&mut self) -> &mut Self {
        self.pop_value(Name::Via)
    }

    /// Sets a parameter of the topmost Via: adds it, or replaces it where it stands.
    pub fn set_top_via_param(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        let via = self.message.index().via;
        let text = match value {
            Some(value) => self.write(&[";", name, "=", value]),
            None => self.write(&[";", name]),
        };
        match param_span(self.message.bytes(), via, name) {
            Some(there) => self.replace(there, text),
            None => self.insert(via.end, text, Kind::After),
        }
        self
    }

    /// Adds a line in front of the first of that name, or behind the Vias if there is none.
    pub fn push(&mut self, name: Name, value: &str) -> &mut Self {
        let first = self.message.lines_of(name).next().map(|line| line.whole.start);
        let at = first.or_else(|| self.after_last(Name::Via)).unwrap_or(self.message.index().lines_start);
        let text = self.write_line(name, value);
        self.insert(at, text, Kind::Before);
        self
    }

    /// Adds a line behind the last of that name, or at the end of the head if there is none.
    pub fn append(&mut self, name: Name, value: &str) -> &mut Self {
        let text = self.write_line(name, value);
        match self.after_last(name) {
            Some(at) => self.insert(at, text, Kind::After),
            None => self.insert(self.message.index().lines_end, text, Kind::AtEnd),
        }
        self
    }

    /// Adds a line of a name without a variant at the end of the head.
    pub fn append_other(&mut self, name: &str, value: &str) -> &mut Self {
        debug_assert!(value::is_token(name.as_bytes()));
        let text = self.write(&[name, ": ", value]);
        let text = self.end_line(text);
        self.insert(self.message.index().lines_end, text, Kind::AtEnd);
        self
    }

    /// Replaces all lines of that name by one, where the first stood, else at the end of the head.
    pub fn set(&mut self, name: Name, value: &str) -> &mut Self {
        let text = self.write_line(name, value);
        if let Some(earlier) = self.patches.iter_mut().find(|patch| patch.sets == Some(name)) {
            earlier.text = text;
            return self;
        }
        let mut lines = self.message.lines_of(name).map(|line| line.whole);
        let (there, kind) = match lines.next() {
            Some(line) => (line, Kind::Replace),
            None => {
                let end = self.message.index().lines_end;
                (Span { start: end, end }, Kind::AtEnd)
            }
        };
        self.patches.push(Patch { at: there.start, end: there.end, text, kind, sets: Some(name) });
        self.patches.extend(lines.map(Patch::removal));
        self
    }

    /// Takes one off Max-Forwards, or writes 70 where it is missing (RFC 3261 §16.6 step 3).
    pub fn set_hops_less(&mut self) -> &mut Self {
        let hops = self.message.max_forwards().unwrap_or(71).saturating_sub(1);
        self.set(Name::MaxForwards, &hops.to_string())
    }

    /// Removes all lines of that name. [`Name::Other`] removes nothing: use `remove_other`.
    pub fn remove(&mut self, name: Name) -> &mut Self {
        if name != Name::Other {
            for line in self.message.lines_of(name) {
                self.patches.push(Patch::removal(line.whole));
            }
        }
        self
    }

    /// Removes all lines of that name, whatever their case; compact and long forms are one.
    pub fn remove_other(&mut self, name: &str) -> &mut Self {
        for line in self.message.lines_named(name) {
            self.patches.push(Patch::removal(line.whole));
        }
        self
    }

    /// Removes the topmost comma-separated value of that name; called again, the next one. A line
    /// left without values goes too.
    pub fn pop_value(&mut self, name: Name) -> &mut Self {
        let message = self.message;
        let mut left = message.value_spans(name).filter(|(_, span)| !self.is_removed(*span));
        let Some((line, value)) = left.next() else { return self };
        let following = left.next().filter(|(next_line, _)| next_line.whole == line.whole);
        let removed = match following {
            // Up to the next value, so that the comma goes along.
            Some((_, next)) => Span { start: value.start, end: next.start },
            None => line.whole,
        };
        self.patches.push(Patch::removal(removed));
        self
    }

    /// Replaces the nth comma-separated value, counted over all lines of that name. No effect if
    /// there are fewer.
    pub fn replace_value(&mut self, name: Name, index: usize, value: &str) -> &mut Self {
        if let Some((_, span)) = self.message.value_spans(name).nth(index) {
            let text = self.write(&[value]);
            self.replace(span, text);
        }
        self
    }

    /// Replaces the body and corrects Content-Length. Content-Type is the caller's business.
    pub fn set_body(&mut self, body: &[u8]) -> &mut Self {
        self.body = Some(body.to_vec());
        self
    }

    /// Replaces the session description ([`Message::sdp`]) and corrects Content-Length; the other parts
    /// of a multipart body stay byte for byte. An empty one takes the description's part out of it. No
    /// effect if there is none.
    pub fn set_sdp(&mut self, sdp: &[u8]) -> &mut Self {
        let Some(content_type) = self.message.header(Name::ContentType) else { return self };
        if multipart::is_sdp(content_type) {
            return self.set_body(sdp);
        }
        let body = self.message.body();
        let found = Descriptions::find(content_type, body);
        if !found.is_empty() {
            self.body = Some(found.replaced(body, sdp));
        }
        self
    }

    /// The edited message. Content-Length is added if it is missing (a datagram may lack it, a
    /// stream may not).
    #[must_use]
    pub fn finish(&mut self) -> Bytes {
        self.correct_content_length();
        self.sort();
        let bytes = self.message.bytes();
        let index = self.message.index();
        let added: usize = self.text.len() + self.body.as_ref().map_or(0, Vec::len);
        let mut out = Vec::with_capacity(bytes.len() + added);
        let mut cursor = 0;
        for patch in &self.patches {
            let at = patch.at as usize;
            // A change inside something that is removed goes with it.
            if at >= cursor {
                out.extend_from_slice(&bytes[cursor..at]);
                out.extend_from_slice(&self.text[patch.text.range()]);
                cursor = at;
            }
            cursor = cursor.max(patch.end as usize);
        }
        let body = index.body.range();
        out.extend_from_slice(&bytes[cursor..body.start]);
        out.extend_from_slice(self.body.as_deref().unwrap_or(&bytes[body]));
        Bytes::from(out)
    }

    fn correct_content_length(&mut self) {
        let length = match &self.body {
            Some(body) => body.len(),
            None if self.message.index().has_content_length => return,
            None => self.message.body().len(),
        };
        let mut digits = Digits::default();
        let digits = digits.write(length);
        match self.message.lines_of(Name::ContentLength).next().map(|line| line.value) {
            Some(value) => {
                let text = self.write(&[digits]);
                self.replace(value, text);
            }
            // `set`, so that finishing twice does not write it twice.
            None => {
                self.set(Name::ContentLength, digits);
            }
        }
    }

    /// By position; at one position insertions first, so that what is put in front of something
    /// removed survives, then the longest removal, which swallows the others.
    fn sort(&mut self) {
        self.patches.sort_by_key(|patch| {
            let (start, text) = (patch.text.start, patch.text.end - patch.text.start);
            let order = match patch.kind {
                Kind::After | Kind::AtEnd => start,
                Kind::Before => u32::MAX - start,
                // Of two equally long the one that leaves something counts.
                Kind::Replace => u32::MAX - text,
            };
            (patch.at, patch.kind, u32::MAX - patch.end, order)
        });
    }

    fn is_removed(&self, value: Span) -> bool {
        self.patches
            .iter()
            .any(|patch| patch.text == Span::default() && patch.at <= value.start && patch.end > value.start)
    }

    fn after_last(&self, name: Name) -> Option<u32> {
        self.message.lines_of(name).last().map(|line| line.whole.end)
    }

    /// Takes new text in; returns where it lies.
    fn write(&mut self, parts: &[&str]) -> Span {
        let start = self.text.len();
        for part in parts {
            self.text.extend_from_slice(part.as_bytes());
        }
        clean(&mut self.text[start..]);
        Span::new(start, self.text.len())
    }

    fn write_line(&mut self, name: Name, value: &str) -> Span {
        debug_assert!(name != Name::Other, "Name::Other has no spelling: use `append_other`");
        let text = self.write(&[name.as_str(), ": ", value]);
        self.end_line(text)
    }

    fn end_line(&mut self, text: Span) -> Span {
        self.text.extend_from_slice(b"\r\n");
        Span { start: text.start, end: text.end + 2 }
    }

    fn replace(&mut self, there: Span, text: Span) {
        if let Some(earlier) = self
            .patches
            .iter_mut()
            .find(|patch| (patch.at, patch.end) == (there.start, there.end) && patch.text != Span::default())
        {
            earlier.text = text;
            return;
        }
        self.patches.push(Patch { at: there.start, end: there.end, text, kind: Kind::Replace, sets: None });
    }

    fn insert(&mut self, at: u32, text: Span, kind: Kind) {
        self.patches.push(Patch { at, end: at, text, kind, sets: None });
    }
}

impl Patch {
    const fn removal(there: Span) -> Self {
        Self { at: there.start, end: there.end, text: Span { start: 0, end: 0 }, kind: Kind::Replace, sets: None }
    }
}

/// Where a parameter stands in a Via value, semicolon included.
fn param_span(bytes: &[u8], via: Span, name: &str) -> Option<Span> {
    let text = via.of(bytes);
    let base = via.start as usize;
    let mut at = memchr::memchr(b';', text)?;
    while let Some(Some(param)) = value::param_at(text, at) {
        if text[param.name.clone()].eq_ignore_ascii_case(name.as_bytes()) {
            return Some(Span::new(base + param.whole.start, base + param.whole.end));
        }
        at = param.whole.end;
    }
    None
}

/// A number as text without allocation.
#[derive(Default)]
struct Digits {
    buffer: [u8; 20],
}

impl Digits {
    fn write(&mut self, mut number: usize) -> &str {
        let mut at = self.buffer.len();
        loop {
            at -= 1;
            // A remainder of 10 always fits.
            self.buffer[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
            if number == 0 || at == 0 {
                break;
            }
        }
        std::str::from_utf8(&self.buffer[at..]).unwrap_or("0")
    }
}
