//! Two parsers of different authors, one stream: what ours lets pass, the other one must read too, and cut at the same
//! places; and where ours takes an element apart, the same must come out.
//!
//! Where they part, an edge sees other elements than the server behind it. What only the other one accepts is no finding.
//! The other one is stricter in three respects: the length of references, documents that say they do not stand alone, and
//! carriage returns in attribute values, which XML reads as line ends (XML 1.0 §2.11).

use edgeway_xmpp::fuzzing::{Reading, read};
use edgeway_xmpp::{Attribute, Boundary, Bounds, Condition, Element, Header};
use rxml::parser::Options;
use rxml::{Event, Parse as _, WithOptions as _};

/// Where an XML declaration has ended.
const DECLARATION_BYTES: usize = 128;

/// Panics where the other parser reads what ours accepts otherwise. Returns how many elements were compared.
pub(crate) fn compare(bytes: &[u8]) -> usize {
    let ours = read(bytes, bytes.len(), Bounds::SIGNED_IN);
    let ours_end = ours.cuts.last().map_or(0, |(end, _)| *end);
    let passed = &bytes[..ours_end];
    if long_reference(passed) || not_alone(passed) || passed.contains(&b'\r') {
        return 0;
    }
    let theirs = theirs(passed);
    let their_cuts = theirs.as_ref().map(|theirs| &theirs.cuts);
    assert_eq!(their_cuts.ok(), Some(&ours.cuts), "{}: {theirs:?}", passed.escape_ascii());
    let Reading { cuts, .. } = ours;
    compare_contents(passed, &cuts, &theirs.map(|theirs| theirs.elements).unwrap_or_default());
    cuts.iter().filter(|(_, event)| *event == Boundary::Stanza).count()
}

/// What our readers of headers and elements say of what was cut, against what the other parser has read: a header, and
/// the elements behind it.
fn compare_contents(bytes: &[u8], cuts: &[(usize, Boundary)], theirs: &[Element]) {
    let mut theirs = theirs.iter();
    let (mut begin, mut header) = (0, Header::default());
    for (end, event) in cuts {
        let text = &bytes[begin..*end];
        begin = *end;
        match event {
            Boundary::Header => {
                header = Header::parse(text).expect("a header that was cut is one");
                let theirs = theirs.next().expect("as many as were cut");
                for (ours, name) in
                    [(&header.to, "to"), (&header.from, "from"), (&header.id, "id"), (&header.version, "version")]
                {
                    assert_eq!(ours.as_deref(), theirs.attribute(name), "{name} of {}", text.escape_ascii());
                }
                let lang = theirs.attributes.iter().find(|one| one.namespace == rxml::XMLNS_XML && one.name == "lang");
                assert_eq!(header.lang, lang.map(|lang| lang.value.clone()), "language of {}", text.escape_ascii());
            }
            Boundary::Stanza => {
                let theirs = theirs.next().expect("as many as were cut");
                match Element::parse_within(text, &header) {
                    Ok(mut ours) => {
                        sort_attributes(&mut ours);
                        assert!(ours == *theirs, "{}:\n{}\n{}", text.escape_ascii(), ours.to_xml(), theirs.to_xml());
                    }
                    // More may be sent than is taken apart.
                    Err(fault) => assert_eq!(fault.condition, Condition::PolicyViolation, "{}", text.escape_ascii()),
                }
            }
            Boundary::Whitespace | Boundary::Close => {}
        }
    }
    assert!(theirs.next().is_none(), "{}", bytes.escape_ascii());
}

/// Their order says nothing, and the other parser does not keep it.
fn sort_attributes(element: &mut Element) {
    element.attributes.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    element.children.iter_mut().for_each(sort_attributes);
}

/// Whether there is a reference longer than the other parser reads.
fn long_reference(bytes: &[u8]) -> bool {
    let begins = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'&').map(|(at, _)| at);
    begins.into_iter().any(|at| bytes[at..].iter().take(9).all(|byte| *byte != b';'))
}

fn not_alone(bytes: &[u8]) -> bool {
    bytes.starts_with(b"<?") && bytes.windows(4).take(DECLARATION_BYTES).any(|four| matches!(four, b"'no'" | b"\"no\""))
}

/// How the other parser has read a stream.
#[derive(Debug, Default)]
struct Theirs {
    cuts: Vec<(usize, Boundary)>,
    /// The header, without what is in it, and the elements that are whole.
    elements: Vec<Element>,
}

fn theirs(bytes: &[u8]) -> Result<Theirs, String> {
    let mut parser = rxml::Parser::with_options(Options { max_token_length: 1 << 20, ..Options::default() });
    let (mut rest, mut theirs) = (bytes, Theirs::default());
    let (mut closed, mut open) = (false, Vec::<Element>::new());
    loop {
        let event = match parser.parse(&mut rest, false) {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(theirs),
            Err(rxml::error::EndOrError::NeedMoreData) => return Ok(theirs),
            Err(fault) => return Err(format!("{fault:?} at {}", bytes.len() - rest.len())),
        };
        let at = bytes.len() - rest.len();
        match event {
            Event::StartElement(_, (namespace, name), attributes) => {
                let mut element = Element::new(&name, &namespace);
                for ((namespace, name), value) in attributes {
                    let (namespace, name) = (namespace.to_string(), name.to_string());
                    element.attributes.push(Attribute { namespace, name, value });
                }
                sort_attributes(&mut element);
                if theirs.cuts.is_empty() {
                    theirs.cuts.push((at, Boundary::Header));
                    theirs.elements.push(element);
                } else {
                    open.push(element);
                }
            }
            Event::EndElement(_) => match (open.pop(), open.last_mut()) {
                (Some(element), Some(parent)) => parent.children.push(element),
                (Some(element), None) => {
                    theirs.cuts.push((at, Boundary::Stanza));
                    theirs.elements.push(element);
                }
                (None, _) => {
                    assert!(!std::mem::replace(&mut closed, true), "a stream ends once");
                    theirs.cuts.push((at, Boundary::Close));
                }
            },
            Event::Text(_, text) => {
                if let Some(element) = open.last_mut() {
                    element.text.push_str(&text);
                }
            }
            Event::XmlDeclaration(..) => {}
        }
    }
}
