//! Elements from text that the scanner has accepted. Where it could still find something wrong it says so: it is total
//! without relying on the scanner, only not strict.

use zeroize::Zeroizing;

use crate::condition::{Condition, StreamFault};
use crate::element::{Attribute, Element, Header};
use crate::limits::{ELEMENT_BYTES_MAX, ELEMENT_CHILDREN_MAX, ELEMENT_DEPTH_MAX};
use crate::ns;
use crate::scan::{Boundary, Bounds, Scanner};

/// What elements of negotiation may be.
const BOUNDS: Bounds = Bounds { stanza_bytes: ELEMENT_BYTES_MAX, depth: ELEMENT_DEPTH_MAX + 1, ..Bounds::SERVER };

/// One element behind `header`.
pub(super) fn element(bytes: &[u8], header: &Header) -> Result<Element, StreamFault> {
    let text = Zeroizing::new(header.to_xml());
    let mut scanner = Scanner::new(Bounds { header_bytes: u32::MAX, ..BOUNDS });
    if scanner.step(text.as_bytes())?.event != Some(Boundary::Header) {
        return Err(MALFORMED);
    }
    let text = accepted(&mut scanner, bytes, Boundary::Stanza)?;
    let mut prefixes: Vec<(String, String)> = header.prefixes.clone();
    prefixes.push((String::new(), ns::CLIENT.to_owned()));
    prefixes.push(("stream".to_owned(), ns::STREAMS.to_owned()));
    let mut reader = Reader { rest: text, prefixes, elements: 0 };
    reader.expect("<")?;
    reader.element(0)
}

/// One header.
pub(super) fn header(bytes: &[u8]) -> Result<Header, StreamFault> {
    let text = accepted(&mut Scanner::new(Bounds::SERVER), bytes, Boundary::Header)?;
    let text = match text.strip_prefix("<?") {
        Some(declaration) => declaration.split_once("?>").ok_or(MALFORMED)?.1,
        None => text,
    };
    let mut reader = Reader { rest: text.trim_start(), prefixes: Vec::new(), elements: 0 };
    reader.expect("<")?;
    let tag = reader.tag()?;
    let mut header = Header::default();
    for (name, value) in tag.attributes {
        match (name, name.strip_prefix("xmlns:")) {
            ("to", _) => header.to = Some(value),
            ("from", _) => header.from = Some(value),
            ("id", _) => header.id = Some(value),
            ("version", _) => header.version = Some(value),
            ("xml:lang", _) => header.lang = Some(value),
            (_, Some(prefix)) if !matches!(prefix, "stream" | "xml") => {
                header.prefixes.push((prefix.to_owned(), value));
            }
            _ => {}
        }
    }
    Ok(header)
}

/// The text of exactly one `wanted`, with white space around it taken away.
fn accepted<'a>(scanner: &mut Scanner, bytes: &'a [u8], wanted: Boundary) -> Result<&'a str, StreamFault> {
    let (mut rest, mut found) = (bytes, None);
    while !rest.is_empty() {
        let step = scanner.step(rest)?;
        let (read, behind) = rest.split_at_checked(step.consumed).ok_or(MALFORMED)?;
        match step.event {
            Some(Boundary::Whitespace) => {}
            Some(event) if event == wanted && found.is_none() => found = Some(read),
            Some(Boundary::Header | Boundary::Stanza | Boundary::Close) | None => return Err(MALFORMED),
        }
        rest = behind;
    }
    std::str::from_utf8(found.ok_or(MALFORMED)?).map_err(|_| MALFORMED)
}

/// A start tag as it stands there.
struct Tag<'a> {
    name: &'a str,
    attributes: Vec<(&'a str, String)>,
    empty: bool,
}

struct Reader<'a> {
    rest: &'a str,
    /// In force, the innermost last. The empty prefix is that of elements without one.
    prefixes: Vec<(String, String)>,
    elements: u16,
}

impl<'a> Reader<'a> {
    fn expect(&mut self, text: &str) -> Result<(), StreamFault> {
        self.rest = self.rest.strip_prefix(text).ok_or(MALFORMED)?;
        Ok(())
    }

    /// What stands before the first `end`; goes on behind it.
    fn until(&mut self, end: &str) -> Result<&'a str, StreamFault> {
        let (before, behind) = self.rest.split_once(end).ok_or(MALFORMED)?;
        self.rest = behind;
        Ok(before)
    }

    fn name(&mut self) -> Result<&'a str, StreamFault> {
        let ends = |letter: char| matches!(letter, ' ' | '\t' | '\n' | '\r' | '/' | '>' | '=' | '<');
        let end = self.rest.find(ends).ok_or(MALFORMED)?;
        let (name, behind) = self.rest.split_at_checked(end).ok_or(MALFORMED)?;
        self.rest = behind;
        if name.is_empty() { Err(MALFORMED) } else { Ok(name) }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// A start tag behind its `<`.
    fn tag(&mut self) -> Result<Tag<'a>, StreamFault> {
        let name = self.name()?;
        let mut attributes = Vec::new();
        loop {
            self.skip_space();
            if let Some(behind) = self.rest.strip_prefix('>') {
                self.rest = behind;
                return Ok(Tag { name, attributes, empty: false });
            }
            if let Some(behind) = self.rest.strip_prefix("/>") {
                self.rest = behind;
                return Ok(Tag { name, attributes, empty: true });
            }
            let name = self.name()?;
            self.skip_space();
            self.expect("=")?;
            self.skip_space();
            let quote = if self.rest.starts_with('"') { "\"" } else { "'" };
            self.expect(quote)?;
            let raw = self.until(quote)?;
            let mut value = String::with_capacity(raw.len());
            push_text(&mut value, raw, true)?;
            attributes.push((name, value));
        }
    }

    /// An element behind its `<`.
    fn element(&mut self, depth: u16) -> Result<Element, StreamFault> {
        self.elements += 1;
        if depth >= ELEMENT_DEPTH_MAX || self.elements > ELEMENT_CHILDREN_MAX {
            return Err(StreamFault::new(Condition::PolicyViolation, "The element is too large."));
        }
        let tag = self.tag()?;
        let before = self.prefixes.len();
        for (name, value) in &tag.attributes {
            let prefix = if *name == "xmlns" { Some("") } else { name.strip_prefix("xmlns:") };
            if let Some(prefix) = prefix {
                self.prefixes.push((prefix.to_owned(), value.clone()));
            }
        }
        let (namespace, name) = self.expanded(tag.name, true)?;
        let mut element = Element::new(name, &namespace);
        for (name, value) in tag.attributes {
            if name == "xmlns" || name.starts_with("xmlns:") {
                continue;
            }
            let (namespace, name) = self.expanded(name, false)?;
            element.attributes.push(Attribute { namespace, name: name.to_owned(), value });
        }
        if !tag.empty {
            self.inside(&mut element, tag.name, depth)?;
        }
        self.prefixes.truncate(before);
        Ok(element)
    }

    /// What is in an element, and its end tag.
    fn inside(&mut self, element: &mut Element, name: &str, depth: u16) -> Result<(), StreamFault> {
        // All pieces together are no longer than the first is with all that follows it. Memory that text has outgrown would
        // not be wiped.
        let piece = self.rest.find('<').ok_or(MALFORMED)?;
        let mut text = Zeroizing::new(String::with_capacity(piece));
        loop {
            let raw = self.until("<")?;
            append(&mut text, raw)?;
            if let Some(behind) = self.rest.strip_prefix("![CDATA[") {
                self.rest = behind;
                let raw = self.until("]]>")?;
                reserve(&mut text, raw.len());
                push_lines(&mut text, raw, false);
            } else if let Some(behind) = self.rest.strip_prefix('/') {
                let behind = behind.strip_prefix(name).ok_or(MALFORMED)?;
                self.rest = behind;
                self.skip_space();
                self.expect(">")?;
                element.text = text;
                return Ok(());
            } else {
                element.children.push(self.element(depth + 1)?);
            }
        }
    }

    /// Namespace and name of a name with or without a prefix.
    fn expanded<'n>(&self, name: &'n str, of_element: bool) -> Result<(String, &'n str), StreamFault> {
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        if prefix.is_empty() && !of_element {
            return Ok((String::new(), local));
        }
        if prefix == "xml" {
            return Ok((ns::XML.to_owned(), local));
        }
        let found = self.prefixes.iter().rev().find(|(declared, _)| declared == prefix).ok_or(MALFORMED)?;
        Ok((found.1.clone(), local))
    }
}

/// Makes room for more text without leaving any of it behind.
fn reserve(text: &mut Zeroizing<String>, more: usize) {
    if text.capacity() - text.len() < more {
        let mut larger = Zeroizing::new(String::with_capacity(2 * (text.len() + more)));
        larger.push_str(text);
        *text = larger;
    }
}

fn append(text: &mut Zeroizing<String>, raw: &str) -> Result<(), StreamFault> {
    reserve(text, raw.len());
    push_text(text, raw, false)
}

/// Appends text with its references replaced.
fn push_text(out: &mut String, raw: &str, in_value: bool) -> Result<(), StreamFault> {
    let mut pieces = raw.split('&');
    push_lines(out, pieces.next().unwrap_or_default(), in_value);
    for piece in pieces {
        let (reference, text) = piece.split_once(';').ok_or(MALFORMED)?;
        out.push(referred(reference).ok_or(MALFORMED)?);
        push_lines(out, text, in_value);
    }
    Ok(())
}

/// Line ends are line feeds (XML 1.0 §2.11), and in values all white space is blanks (§3.3.3).
fn push_lines(out: &mut String, raw: &str, in_value: bool) {
    let mut letters = raw.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            // With a line feed behind it, that one is pushed.
            '\r' if letters.peek() == Some(&'\n') => {}
            '\n' | '\r' | '\t' if in_value => out.push(' '),
            '\r' => out.push('\n'),
            _ => out.push(letter),
        }
    }
}

fn referred(reference: &str) -> Option<char> {
    match (reference, reference.strip_prefix("#x"), reference.strip_prefix('#')) {
        ("lt", _, _) => Some('<'),
        ("gt", _, _) => Some('>'),
        ("amp", _, _) => Some('&'),
        ("apos", _, _) => Some('\''),
        ("quot", _, _) => Some('"'),
        (_, Some(digits), _) => char::from_u32(u32::from_str_radix(digits, 16).ok()?),
        (_, None, Some(digits)) => char::from_u32(digits.parse().ok()?),
        (_, None, None) => None,
    }
}

const MALFORMED: StreamFault = StreamFault::new(Condition::NotWellFormed, "This is not one element.");
