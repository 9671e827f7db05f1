//! XML as UC servers answer it, read into a small tree: lenient about namespaces, order and what nobody knows,
//! strict about what could hurt. There are no document types and no entities but the five of XML itself
//! (XML 1.0 §4.6), so nothing expands; size, depth and number of elements are bounded.

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};

/// How much one document may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Longest document, bytes.
    pub bytes: usize,
    /// Deepest element: the root has depth 1.
    pub depth: usize,
    /// Elements altogether.
    pub elements: usize,
    /// Attributes of one element; namespace declarations count.
    pub attributes: usize,
}

/// Why a document is not read. Nothing of the document itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum XmlFault {
    /// It is longer than it may be.
    #[error("the XML is too long")]
    TooLong,
    /// It is nested deeper, or holds more elements or attributes, than it may.
    #[error("the XML is nested too deep or has too many parts")]
    TooMany,
    /// It has a document type: those can hold what expands.
    #[error("the XML has a document type, which is never read")]
    DocumentType,
    /// It refers to an entity that XML itself does not know.
    #[error("the XML refers to an entity, which is never followed")]
    Entity,
    /// It is not UTF-8.
    #[error("the XML is not UTF-8")]
    NotUtf8,
    /// It is not XML, or it ends too early, or it goes on behind its end.
    #[error("this is no XML, or not all of it")]
    Malformed,
}

/// One element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name without a namespace prefix.
    pub name: String,
    /// Names without prefixes, and values, in order. Namespace declarations are left out.
    pub attributes: Vec<(String, String)>,
    /// All its own text, without the space around it.
    pub text: String,
    /// The elements in it, in order.
    pub children: Vec<Element>,
}

impl Element {
    /// Reads one document.
    ///
    /// # Errors
    /// [`XmlFault`].
    pub fn parse(document: &[u8], bounds: &Bounds) -> Result<Self, XmlFault> {
        if document.len() > bounds.bytes {
            return Err(XmlFault::TooLong);
        }
        let text = std::str::from_utf8(document).map_err(|_| XmlFault::NotUtf8)?;
        let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
        let mut tree = Tree { open: Vec::new(), root: None, elements: 0, bounds };
        loop {
            match reader.read_event().map_err(|_| XmlFault::Malformed)? {
                Event::Start(start) => tree.start(&start)?,
                Event::Empty(start) => {
                    tree.start(&start)?;
                    tree.end()?;
                }
                Event::End(_) => tree.end()?,
                Event::Text(text) => tree.text(&text.xml10_content())?,
                Event::CData(text) => tree.text(&text.xml10_content())?,
                Event::GeneralRef(reference) => tree.text(resolve(&reference)?.encode_utf8(&mut [0; 4]))?,
                Event::DocType(_) => return Err(XmlFault::DocumentType),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::Eof => return tree.finish(),
            }
        }
    }

    /// The first child of that name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All children of that name.
    pub fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> + 'a {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The text of the first child of that name, unless it is empty.
    #[must_use]
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str()).filter(|text| !text.is_empty())
    }
}

/// What is being read.
struct Tree<'a> {
    /// The elements whose end has not come, outermost first.
    open: Vec<Element>,
    root: Option<Element>,
    elements: usize,
    bounds: &'a Bounds,
}

impl Tree<'_> {
    fn start(&mut self, start: &BytesStart<'_>) -> Result<(), XmlFault> {
        self.elements += 1;
        if self.root.is_some() {
            return Err(XmlFault::Malformed);
        }
        if self.elements > self.bounds.elements || self.open.len() >= self.bounds.depth {
            return Err(XmlFault::TooMany);
        }
        let mut element = Element { name: local(start.local_name().as_ref())?, ..Element::default() };
        for (number, attribute) in start.attributes().enumerate() {
            let attribute = attribute.map_err(|_| XmlFault::Malformed)?;
            if number >= self.bounds.attributes {
                return Err(XmlFault::TooMany);
            }
            if attribute.key.as_namespace_binding().is_some() {
                continue;
            }
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| XmlFault::Entity)?;
            element.attributes.push((local(attribute.key.local_name().as_ref())?, value.into_owned()));
        }
        self.open.push(element);
        Ok(())
    }

    fn end(&mut self) -> Result<(), XmlFault> {
        let mut element = self.open.pop().ok_or(XmlFault::Malformed)?;
        element.text = element.text.trim().to_owned();
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), XmlFault> {
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.trim().is_empty() => {}
            None => return Err(XmlFault::Malformed),
        }
        Ok(())
    }

    fn finish(self) -> Result<Element, XmlFault> {
        if self.open.is_empty() { self.root.ok_or(XmlFault::Malformed) } else { Err(XmlFault::Malformed) }
    }
}

fn local(name: &str) -> Result<String, XmlFault> {
    if name.is_empty() { Err(XmlFault::Malformed) } else { Ok(name.to_owned()) }
}

/// The character a reference stands for.
fn resolve(reference: &BytesRef<'_>) -> Result<char, XmlFault> {
    if let Some(character) = reference.resolve_char_ref().map_err(|_| XmlFault::Malformed)? {
        return Ok(character);
    }
    match reference.as_ref() {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "apos" => Ok('\''),
        "quot" => Ok('"'),
        _ => Err(XmlFault::Entity),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 4_096, depth: 4, elements: 8, attributes: 3 };

    fn parse(text: &str) -> Result<Element, XmlFault> {
        Element::parse(text.as_bytes(), &BOUNDS)
    }

    #[test]
    fn a_tree_comes_out_whatever_the_prefixes_are() {
        let text = "<?xml version='1.0'?>\n<!-- hello --><n:a xmlns:n='urn:x' n:k='1 &lt; 2'> x<b>&amp;&#65;&quot;</b>\
                    <![CDATA[<y>]]><c/> z </n:a>\n";
        let root = parse(text).unwrap();
        assert_eq!(root.name, "a");
        assert_eq!(root.attribute("k"), Some("1 < 2"));
        assert_eq!(root.text_of("b"), Some("&A\""));
        assert_eq!(root.text, "x<y> z");
        assert_eq!((root.text_of("c"), root.child("c").is_some(), root.child("d")), (None, true, None));
    }

    #[test]
    fn what_could_hurt_is_not_read() {
        let bomb = "<!DOCTYPE l [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><l>&b;</l>";
        let long = format!("<a>{}</a>", "x".repeat(BOUNDS.bytes));
        for (text, fault) in [
            (bomb, XmlFault::DocumentType),
            ("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a>&x;</a>", XmlFault::DocumentType),
            ("<a>&x;</a>", XmlFault::Entity),
            ("<a k='&x;'/>", XmlFault::Entity),
            ("<a>&#0;</a>", XmlFault::Malformed),
            (long.as_str(), XmlFault::TooLong),
            ("<a><a><a><a><a/></a></a></a></a>", XmlFault::TooMany),
            ("<a><b/><b/><b/><b/><b/><b/><b/><b/></a>", XmlFault::TooMany),
            ("<a a='1' b='1' c='1' d='1'/>", XmlFault::TooMany),
        ] {
            assert_eq!(parse(text), Err(fault), "{text:.60}");
        }
        assert_eq!(Element::parse(b"<a>\xff</a>", &BOUNDS), Err(XmlFault::NotUtf8));
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for text in
            ["", " ", "x", "<a", "<a>", "<a></b>", "</a>", "<a/><b/>", "<a/>x", "x<a/>", "<a b=c/>", "<a b='1' b='2'/>"]
        {
            assert_eq!(parse(text), Err(XmlFault::Malformed), "{text}");
        }
    }
}
