//! XMPP as a server and a client of the lab read it, with a parser that no node has a part in: where it sees a stanza
//! end and where the nodes do can be compared.

use quick_xml::Reader;
use quick_xml::errors::{Error, IllFormedError};
use quick_xml::events::{BytesStart, Event};

use crate::limits::STANZA_BYTES_MAX;

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name without the prefix.
    pub name: String,
    /// The namespace it is in.
    pub namespace: String,
    /// Its attributes but for declarations of namespaces, names with their prefixes.
    pub attributes: Vec<(String, String)>,
    /// Its own text, references resolved.
    pub text: String,
    /// The elements inside, in order.
    pub children: Vec<Element>,
}

impl Element {
    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The first child of that name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first child of that name.
    #[must_use]
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }

    /// Whether it is that, in that namespace.
    #[must_use]
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        self.name == name && self.namespace == namespace
    }
}

/// What comes in on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The start tag of the stream, and its declarations of prefixes other than `stream`.
    Header(Element),
    /// A whole element, and its bytes as they came.
    Element(Element, String),
    /// `</stream:stream>`.
    Close,
}

/// Bytes of a stream that have come in, and what has been made of them.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    buffer: Vec<u8>,
    /// Prefix and namespace, as the header declares them; `None` before the header.
    declared: Option<Vec<(String, String)>>,
}

impl Incoming {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// A new header is expected.
    pub(crate) fn restart(&mut self) {
        self.declared = None;
    }

    /// Whether bytes wait that were not asked for yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// What the header declares, but for the default namespace and that of streams.
    pub(crate) fn prefixes(&self) -> Vec<(String, String)> {
        let all = self.declared.iter().flatten();
        all.filter(|(prefix, _)| !prefix.is_empty() && prefix != "stream").cloned().collect()
    }

    /// The next whole thing; `None` until more has come in.
    pub(crate) fn next(&mut self) -> Result<Option<Heard>, String> {
        let (length, heard) = {
            let text = match std::str::from_utf8(&self.buffer) {
                Ok(text) => text,
                Err(fault) if fault.error_len().is_some() => return Err("no UTF-8".to_owned()),
                Err(fault) => std::str::from_utf8(&self.buffer[..fault.valid_up_to()]).unwrap_or_default(),
            };
            let blank = text.len() - text.trim_start_matches([' ', '\t', '\r', '\n']).len();
            let found = match &self.declared {
                None => header(&text[blank..])?,
                Some(declared) => element(&text[blank..], declared)?,
            };
            match found {
                Some((length, heard)) => (blank + length, heard),
                None if self.buffer.len() > STANZA_BYTES_MAX => return Err("a stanza that is too long".to_owned()),
                None => return Ok(None),
            }
        };
        let rest = self.buffer.split_off(length);
        self.buffer = rest;
        Ok(Some(match heard {
            Found::Header(element, declared) => {
                self.declared = Some(declared);
                Heard::Header(element)
            }
            Found::Element(element, raw) => Heard::Element(element, raw),
            Found::Close => Heard::Close,
        }))
    }
}

enum Found {
    Header(Element, Vec<(String, String)>),
    Element(Element, String),
    Close,
}

/// The header at the start of `text`, and how many bytes it takes.
fn header(text: &str) -> Result<Option<(usize, Found)>, String> {
    let mut reader = Reader::from_str(text);
    loop {
        match event(&mut reader, text)? {
            None | Some(Event::Eof) => return Ok(None),
            Some(Event::Decl(_)) => {}
            Some(Event::Text(text)) if text.trim().is_empty() => {}
            Some(Event::Start(start)) => {
                let mut scope = Vec::new();
                let element = opened(&start, &mut scope)?;
                if !element.is("stream", "http://etherx.jabber.org/streams") {
                    return Err(format!("<{}> is no stream", element.name));
                }
                return Ok(Some((position(&reader), Found::Header(element, scope))));
            }
            Some(_) => return Err("no header of a stream".to_owned()),
        }
    }
}

/// The element, or the end, at the start of `text`, and how many bytes it takes.
fn element(text: &str, declared: &[(String, String)]) -> Result<Option<(usize, Found)>, String> {
    if text.starts_with("</") {
        let Some(end) = text.find('>') else { return Ok(None) };
        let name = text[2..end].trim_end();
        let known = name.strip_suffix(":stream").unwrap_or(if name == "stream" { "" } else { "?" });
        let is_stream = declared.iter().any(|(prefix, space)| prefix == known && space.ends_with("/streams"));
        return if is_stream { Ok(Some((end + 1, Found::Close))) } else { Err(format!("</{name}> ends nothing")) };
    }
    let mut reader = Reader::from_str(text);
    let mut scope = declared.to_vec();
    let mut open: Vec<(Element, usize)> = Vec::new();
    loop {
        let Some(event) = event(&mut reader, text)? else { return Ok(None) };
        let ended = match event {
            Event::Eof => return Ok(None),
            Event::Start(start) => {
                let before = scope.len();
                open.push((opened(&start, &mut scope)?, before));
                None
            }
            Event::Empty(start) => {
                let before = scope.len();
                let element = opened(&start, &mut scope)?;
                scope.truncate(before);
                Some(element)
            }
            Event::End(_) => {
                let (element, before) = open.pop().ok_or("an end too many")?;
                scope.truncate(before);
                Some(element)
            }
            Event::Text(text) => append(&mut open, &text)?,
            Event::CData(text) => append(&mut open, &text)?,
            Event::GeneralRef(reference) => {
                let resolved = quick_xml::escape::unescape(&format!("&{};", &*reference))
                    .map_err(|error| error.to_string())?
                    .into_owned();
                append(&mut open, &resolved)?
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {
                return Err("XML that is not allowed".to_owned());
            }
        };
        let Some(element) = ended else { continue };
        match open.last_mut() {
            Some((parent, _)) => parent.children.push(element),
            None => {
                let length = position(&reader);
                return Ok(Some((length, Found::Element(element, text[..length].to_owned()))));
            }
        }
    }
}

/// The next event; `None` where the text ends in the middle of one.
fn event<'a>(reader: &mut Reader<&'a [u8]>, text: &str) -> Result<Option<Event<'a>>, String> {
    match reader.read_event() {
        Ok(event) => Ok(Some(event)),
        Err(Error::Syntax(_)) => Ok(None),
        // A reference may still be on its way, where no tag has begun yet.
        Err(Error::IllFormed(IllFormedError::UnclosedReference)) if text.rfind('&') > text.rfind('<') => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

fn append(open: &mut [(Element, usize)], text: &str) -> Result<Option<Element>, String> {
    let (element, _) = open.last_mut().ok_or("text between stanzas")?;
    element.text.push_str(text);
    Ok(None)
}

/// The element of a start tag; its declarations are added to what is in scope.
fn opened(start: &BytesStart<'_>, scope: &mut Vec<(String, String)>) -> Result<Element, String> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let value = quick_xml::escape::unescape(&attribute.value).map_err(|error| error.to_string())?.into_owned();
        let key: &str = attribute.key.as_ref();
        match key.strip_prefix("xmlns") {
            Some("") => scope.push((String::new(), value)),
            Some(prefix) if prefix.starts_with(':') => scope.push((prefix[1..].to_owned(), value)),
            Some(_) | None => attributes.push((key.to_owned(), value)),
        }
    }
    let name = start.name();
    let prefix = name.prefix().map(|prefix| prefix.as_ref().to_owned()).unwrap_or_default();
    let found = scope.iter().rev().find(|(known, _)| *known == prefix);
    let namespace = match found {
        Some((_, namespace)) => namespace.clone(),
        None if prefix.is_empty() => String::new(),
        None => return Err(format!("the prefix {prefix} is not declared")),
    };
    let local: &str = start.local_name().into_inner();
    Ok(Element { name: local.to_owned(), namespace, attributes, ..Element::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
                          xmlns:stream='http://etherx.jabber.org/streams' to='a.example' version='1.0'>";

    /// What comes out, whatever the size of the pieces.
    fn heard(text: &str, piece: usize) -> Result<Vec<Heard>, String> {
        let (mut incoming, mut all) = (Incoming::default(), Vec::new());
        for bytes in text.as_bytes().chunks(piece) {
            incoming.push(bytes);
            while let Some(one) = incoming.next()? {
                all.push(one);
            }
        }
        Ok(all)
    }

    #[test]
    fn stanzas_are_the_same_wherever_they_are_cut() {
        let stanzas = [
            "<message to='b@a.example'><body>a &gt; b &#x10FFFF; é😀</body></message>",
            "<iq type='get' id=\"'>\"><a:q xmlns:a='urn:x'><a:r xmlns:a='urn:y'/><![CDATA[</iq> <]]></a:q></iq>",
            "<x:presence xmlns:x='jabber:client'/>",
            "<r xmlns='urn:xmpp:sm:3'/>",
        ];
        let text = format!("{HEADER} {}\n{}{} {}</stream:stream>", stanzas[0], stanzas[1], stanzas[2], stanzas[3]);
        let whole = heard(&text, text.len()).expect("legal");
        let raws: Vec<&str> = whole
            .iter()
            .filter_map(|one| match one {
                Heard::Element(_, raw) => Some(raw.as_str()),
                Heard::Header(_) | Heard::Close => None,
            })
            .collect();
        assert_eq!(raws, stanzas);
        assert_eq!(whole.last(), Some(&Heard::Close));
        let Some(Heard::Element(iq, _)) = whole.get(2) else { panic!("{whole:?}") };
        let inner = &iq.children[0].children[0];
        assert_eq!((inner.namespace.as_str(), iq.attribute("id")), ("urn:y", Some("'>")));
        for piece in [1, 2, 3, 7] {
            assert_eq!(heard(&text, piece).as_ref(), Ok(&whole), "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        for wrong in ["<message/>", "<!DOCTYPE x>", "hello"] {
            assert!(heard(wrong, 100).is_err(), "{wrong}");
        }
        for wrong in ["<!-- x -->", "<?a b?>", "text<a/>", "<a></b>", "<p:a/>", "<a>&x;</a>", "</message>"] {
            assert!(heard(&format!("{HEADER}{wrong}"), 1_000).is_err(), "{wrong}");
        }
    }
}
