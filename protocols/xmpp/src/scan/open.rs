//! What a scanner remembers of a stream: the names of its open elements, the attributes of the tag at hand, and the
//! prefixes declared. Two buffers that grow and shrink at their ends; names are kept as they were sent, so that an end tag
//! is compared with what it ends and not with a digest of it.

use crate::condition::{Condition, StreamFault};
use crate::limits::KEPT_BYTES_MAX;
use crate::ns;
use crate::scan::letters::{Letter, letter};
use crate::scan::name::starts_name;

/// The namespace of `xml:lang` and its like, bound without a declaration.
const XML: &[u8] = b"http://www.w3.org/XML/1998/namespace";
/// The namespace of declarations themselves, which nothing may be bound to.
const XMLNS: &[u8] = b"http://www.w3.org/2000/xmlns/";
/// Stands for the first in place of a record's number.
const XML_NUMBER: u16 = u16::MAX;

/// Behind the name of an open element: its length, and how many prefixes it declared.
const ELEMENT_TAIL: usize = 4;
/// Before the name of an attribute: its length, where its colon is (0: none), the number of its namespace.
const ATTRIBUTE_HEAD: usize = 6;
/// Behind a prefix and its namespace: the lengths of both, and the number of the first record with this namespace.
const PREFIX_TAIL: usize = 6;

/// A value that declares a namespace, while it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Declaring {
    /// Another value.
    #[default]
    Nothing,
    /// That of elements without a prefix.
    Default,
    /// That of a prefix.
    Prefix,
}

/// What the tag at hand says of elements without a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum DefaultNamespace {
    #[default]
    Unsaid,
    Streams,
    Client,
    Other,
}

/// What a start tag opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// The stream.
    Stream,
    /// An element in it.
    Element,
}

/// Names, attributes and prefixes of one stream. Lengths and places are two bytes each: the bound of what is kept is one
/// number of two bytes, and the scanner holds it.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Open elements, each a name and its tail; behind them, while a start tag is read, its name and its attributes, each a
    /// head and a name.
    names: Vec<u8>,
    /// Prefixes in force, each with its namespace and a tail; behind them a declaration that is being read.
    prefixes: Vec<u8>,
    /// How many prefixes are in force.
    prefix_count: u16,
    /// How many elements are open.
    depth: u16,
    /// Of the tag at hand: where its name begins, how long it is, where its colon is (0: none).
    element: (u16, u16, u16),
    /// Attributes of the tag at hand.
    attributes: u16,
    /// Those of them with a prefix, but for declarations.
    prefixed: u16,
    /// Prefixes that it declares.
    declared: u16,
    default: DefaultNamespace,
    /// Where the name begins that is being read.
    name_at: u16,
    /// Of the declaration that is being read: where it begins, how long its prefix is.
    declaration: (u16, u16),
    declaring: Declaring,
}

/// One prefix in force.
struct Prefix<'a> {
    prefix: &'a [u8],
    namespace: &'a [u8],
    number: u16,
}

impl Open {
    #[inline]
    pub(super) fn depth(&self) -> u16 {
        self.depth
    }

    /// Bytes kept.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.names.len() + self.prefixes.len()
    }

    /// Bytes of memory for them.
    pub(super) fn capacity(&self) -> usize {
        self.names.capacity() + self.prefixes.capacity()
    }

    #[inline]
    pub(super) fn attributes(&self) -> u16 {
        self.attributes
    }

    pub(super) fn prefix_count(&self) -> u16 {
        self.prefix_count
    }

    #[inline]
    pub(super) fn declaring(&self) -> Declaring {
        self.declaring
    }

    /// Forgets everything but the memory.
    pub(super) fn clear(&mut self) {
        let (mut names, mut prefixes) = (std::mem::take(&mut self.names), std::mem::take(&mut self.prefixes));
        names.clear();
        prefixes.clear();
        *self = Self { names, prefixes, ..Self::default() };
        self.give_back();
    }

    /// Gives back the memory that usual elements do not need.
    pub(super) fn give_back(&mut self) {
        let kept = usize::from(KEPT_BYTES_MAX);
        for buffer in [&mut self.names, &mut self.prefixes] {
            if buffer.capacity() > kept {
                buffer.shrink_to(kept);
            }
        }
    }

    /// The name of an element begins.
    #[inline]
    pub(super) fn begin_element(&mut self) {
        self.name_at = short(self.names.len());
        self.attributes = 0;
        self.prefixed = 0;
        self.declared = 0;
        self.default = DefaultNamespace::Unsaid;
    }

    /// The name of an attribute begins.
    #[inline]
    pub(super) fn begin_attribute(&mut self) {
        self.names.extend_from_slice(&[0; ATTRIBUTE_HEAD]);
        self.name_at = short(self.names.len());
        self.attributes += 1;
    }

    /// A name goes on. The caller looks at what it comes to.
    #[inline]
    pub(super) fn push_name(&mut self, bytes: &[u8]) {
        self.names.extend_from_slice(bytes);
    }

    /// Bytes of the name so far.
    #[inline]
    pub(super) fn name_bytes(&self) -> usize {
        self.name().len()
    }

    /// The name so far.
    #[inline]
    pub(super) fn name(&self) -> &[u8] {
        self.names.get(usize::from(self.name_at)..).unwrap_or_default()
    }

    /// The name of an element is complete.
    pub(super) fn end_element(&mut self) -> Result<(), StreamFault> {
        let colon = colon(self.name())?;
        self.element = (self.name_at, short(self.name_bytes()), colon);
        Ok(())
    }

    /// The name of an attribute is complete; whether its value will be a declaration is known.
    pub(super) fn end_attribute(&mut self) -> Result<(), StreamFault> {
        let name = self.names.get(usize::from(self.name_at)..).unwrap_or_default();
        let colon = colon(name)?;
        let head = usize::from(self.name_at).saturating_sub(ATTRIBUTE_HEAD);
        if self.attributes_before(head).any(|other| other.name == name) {
            return Err(fault("An attribute is there twice."));
        }
        let length = short(name.len());
        let declared = name.strip_prefix(b"xmlns:");
        self.declaring = match declared {
            Some(_) => Declaring::Prefix,
            None if name == b"xmlns" => Declaring::Default,
            None => Declaring::Nothing,
        };
        if self.declaring == Declaring::Nothing {
            self.prefixed += u16::from(colon > 0);
        } else {
            let prefix = declared.unwrap_or_default();
            self.declaration = (short(self.prefixes.len()), short(prefix.len()));
            self.prefixes.extend_from_slice(prefix);
        }
        if let Some(place) = self.names.get_mut(head..head + 4) {
            place.copy_from_slice(&pair(length, colon));
        }
        Ok(())
    }

    /// The value of a declaration goes on.
    pub(super) fn push_namespace(&mut self, bytes: &[u8]) {
        self.prefixes.extend_from_slice(bytes);
    }

    /// A value is complete (Namespaces in XML §3).
    pub(super) fn end_value(&mut self) -> Result<(), StreamFault> {
        let declaring = std::mem::take(&mut self.declaring);
        if declaring == Declaring::Nothing {
            return Ok(());
        }
        let (at, prefix_length) = self.declaration;
        let declaration = self.prefixes.get(usize::from(at)..).unwrap_or_default();
        let (prefix, namespace) = declaration.split_at_checked(usize::from(prefix_length)).unwrap_or_default();
        // Not forbidden by XML, but no name of anything; some servers use a line break to join it to a name.
        if namespace.iter().any(|byte| *byte <= b' ') {
            return Err(fault("White space is in the name of a namespace."));
        }
        if prefix == b"xmlns" || namespace == XMLNS || (prefix == b"xml") != (namespace == XML) {
            return Err(fault("A reserved prefix or namespace is declared."));
        }
        if declaring == Declaring::Default {
            self.default = match namespace {
                it if it == ns::STREAMS.as_bytes() => DefaultNamespace::Streams,
                it if it == ns::CLIENT.as_bytes() => DefaultNamespace::Client,
                _ => DefaultNamespace::Other,
            };
        } else if namespace.is_empty() {
            return Err(fault("A prefix is declared to mean nothing."));
        } else if prefix != b"xml" {
            let same = self.prefixes_before(usize::from(at)).find(|other| other.namespace == namespace);
            let number = same.map_or(self.prefix_count, |other| other.number);
            let lengths = pair(prefix_length, short(namespace.len()));
            self.prefixes.extend_from_slice(&lengths);
            self.prefixes.extend_from_slice(&number.to_le_bytes());
            self.prefix_count += 1;
            self.declared += 1;
            return Ok(());
        }
        self.prefixes.truncate(usize::from(at));
        Ok(())
    }

    /// A start tag is complete: its prefixes are looked up, and its element is open unless it is empty.
    pub(super) fn end_tag(&mut self, empty: bool) -> Result<Opened, StreamFault> {
        let (at, length, colon) = self.element;
        let name_end = usize::from(at) + usize::from(length);
        if self.prefixed > 0 {
            self.resolve_attributes(name_end)?;
        }
        let name = self.names.get(usize::from(at)..name_end).unwrap_or_default();
        let (prefix, local) = halves(name, colon);
        let namespace = if colon > 0 { Some(self.namespace(prefix).ok_or(UNDECLARED)?) } else { None };
        let in_streams = match namespace {
            Some(namespace) => namespace == ns::STREAMS.as_bytes(),
            None => self.default == DefaultNamespace::Streams,
        };
        let opened = match self.depth {
            0 => {
                self.check_header(in_streams, prefix, local)?;
                if empty {
                    return Err(StreamFault::new(Condition::BadFormat, "The stream ends with its header."));
                }
                Opened::Stream
            }
            1 if in_streams && local == b"stream" => {
                return Err(StreamFault::new(Condition::BadFormat, "A stream header is within a stream."));
            }
            _ => Opened::Element,
        };
        if empty {
            self.names.truncate(usize::from(at));
            self.withdraw(self.declared);
        } else {
            self.names.truncate(name_end);
            self.names.extend_from_slice(&pair(length, self.declared));
            self.depth += 1;
        }
        Ok(opened)
    }

    /// What opens a stream (RFC 6120 §4.8): `stream:stream`, and `jabber:client` without a prefix.
    fn check_header(&self, in_streams: bool, prefix: &[u8], local: &[u8]) -> Result<(), StreamFault> {
        if !in_streams {
            return Err(StreamFault::new(Condition::InvalidNamespace, "This is not the namespace of XMPP streams."));
        }
        // RFC 6120 §4.8.5 lets an implementation demand it.
        if prefix != b"stream" {
            return Err(StreamFault::new(Condition::BadNamespacePrefix, "The prefix of the stream is not \"stream\"."));
        }
        if local != b"stream" {
            return Err(StreamFault::new(Condition::BadFormat, "This is no stream header."));
        }
        if self.default != DefaultNamespace::Client {
            return Err(StreamFault::new(Condition::InvalidNamespace, "The default namespace is not jabber:client."));
        }
        Ok(())
    }

    /// The name of the innermost open element.
    #[inline]
    pub(super) fn innermost(&self) -> &[u8] {
        self.top().0
    }

    #[inline]
    fn top(&self) -> (&[u8], u16) {
        let Some((rest, [a, b, c, d])) = self.names.split_last_chunk::<ELEMENT_TAIL>() else { return (&[], 0) };
        let (length, declared) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
        (rest.get(rest.len().saturating_sub(usize::from(length))..).unwrap_or_default(), declared)
    }

    /// The innermost open element ends.
    pub(super) fn close(&mut self) {
        let (name, declared) = self.top();
        let rest = self.names.len().saturating_sub(name.len() + ELEMENT_TAIL);
        self.names.truncate(rest);
        self.withdraw(declared);
        self.depth = self.depth.saturating_sub(1);
    }

    /// The last `count` prefixes end.
    fn withdraw(&mut self, count: u16) {
        for _ in 0..count {
            let last = self.prefixes_before(self.prefixes.len()).next();
            let bytes = last.map_or(0, |last| last.prefix.len() + last.namespace.len() + PREFIX_TAIL);
            self.prefixes.truncate(self.prefixes.len().saturating_sub(bytes));
        }
        self.prefix_count = self.prefix_count.saturating_sub(count);
    }

    /// Prefixes in force below a place, the innermost first.
    fn prefixes_before(&self, end: usize) -> impl Iterator<Item = Prefix<'_>> {
        let mut rest = self.prefixes.get(..end).unwrap_or_default();
        std::iter::from_fn(move || {
            let (front, [a, b, c, d, e, f]) = rest.split_last_chunk::<PREFIX_TAIL>()?;
            let (prefix, namespace) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
            let (front, namespace) = front.split_at_checked(front.len().checked_sub(usize::from(namespace))?)?;
            let (front, prefix) = front.split_at_checked(front.len().checked_sub(usize::from(prefix))?)?;
            rest = front;
            Some(Prefix { prefix, namespace, number: u16::from_le_bytes([*e, *f]) })
        })
    }

    /// What a prefix means.
    fn namespace(&self, prefix: &[u8]) -> Option<&[u8]> {
        if prefix == b"xml" {
            return Some(XML);
        }
        let mut prefixes = self.prefixes_before(self.prefixes.len());
        prefixes.find(|other| other.prefix == prefix).map(|found| found.namespace)
    }

    /// The number of what a prefix means: two have the same if they mean the same.
    fn number(&self, prefix: &[u8]) -> Option<u16> {
        if prefix == b"xml" {
            return Some(XML_NUMBER);
        }
        let mut prefixes = self.prefixes_before(self.prefixes.len());
        prefixes.find(|other| other.prefix == prefix).map(|found| found.number)
    }

    /// Attributes of the tag at hand, up to a place.
    fn attributes_before(&self, end: usize) -> impl Iterator<Item = Attribute<'_>> {
        self.attributes_between(usize::from(self.element.0) + usize::from(self.element.1), end)
    }

    fn attributes_between(&self, begin: usize, end: usize) -> impl Iterator<Item = Attribute<'_>> {
        let mut at = begin;
        let mut rest = self.names.get(begin..end).unwrap_or_default();
        std::iter::from_fn(move || {
            let ([a, b, c, d, e, f], behind) = rest.split_first_chunk::<ATTRIBUTE_HEAD>()?;
            let (length, colon) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
            let (name, behind) = behind.split_at_checked(usize::from(length))?;
            let attribute = Attribute { at, name, colon, number: u16::from_le_bytes([*e, *f]) };
            rest = behind;
            at += ATTRIBUTE_HEAD + name.len();
            Some(attribute)
        })
    }

    /// Looks up the prefixes of attributes; no two may mean the same (Namespaces in XML §6.3).
    fn resolve_attributes(&mut self, begin: usize) -> Result<(), StreamFault> {
        let mut next = begin;
        while let Some((place, length)) = self.attribute_at(next) {
            next = place + ATTRIBUTE_HEAD + length;
            if let Some(number) = self.resolve_attribute(begin, place)?
                && let Some(head) = self.names.get_mut(place + 4..place + ATTRIBUTE_HEAD)
            {
                head.copy_from_slice(&number.to_le_bytes());
            }
        }
        Ok(())
    }

    /// Where the attribute is that begins at a place, and how long its name is.
    fn attribute_at(&self, place: usize) -> Option<(usize, usize)> {
        self.attributes_between(place, self.names.len()).next().map(|attribute| (attribute.at, attribute.name.len()))
    }

    /// The number of an attribute's namespace, if it has one; those before it have theirs.
    fn resolve_attribute(&self, begin: usize, place: usize) -> Result<Option<u16>, StreamFault> {
        let attribute = self.attributes_between(place, self.names.len()).next();
        let Some(attribute) = attribute.filter(Attribute::is_prefixed) else { return Ok(None) };
        let (prefix, local) = halves(attribute.name, attribute.colon);
        let number = self.number(prefix).ok_or(UNDECLARED)?;
        let mut others = self.attributes_between(begin, place).filter(Attribute::is_prefixed);
        if others.any(|other| other.number == number && halves(other.name, other.colon).1 == local) {
            return Err(fault("An attribute is there twice, by two prefixes."));
        }
        Ok(Some(number))
    }
}

/// One attribute of the tag at hand.
struct Attribute<'a> {
    at: usize,
    name: &'a [u8],
    colon: u16,
    number: u16,
}

impl Attribute<'_> {
    /// Whether its prefix means a namespace.
    fn is_prefixed(&self) -> bool {
        self.colon > 0 && !self.name.starts_with(b"xmlns:")
    }
}

const UNDECLARED: StreamFault = fault("A prefix is not declared.");

const fn fault(text: &'static str) -> StreamFault {
    StreamFault::new(Condition::NotWellFormed, text)
}

/// A length or place within what is kept, whose bound is a number of two bytes.
#[inline]
fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

fn pair(first: u16, second: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (first.to_le_bytes(), second.to_le_bytes());
    [a, b, c, d]
}

/// Prefix and local part.
fn halves(name: &[u8], colon: u16) -> (&[u8], &[u8]) {
    match name.split_at_checked(usize::from(colon)) {
        Some((prefix, [b':', local @ ..])) if colon > 0 => (prefix, local),
        _ => (&[], name),
    }
}

/// Where the colon of a name is, 0 if it has none: there is one at most, and a name behind it (Namespaces in XML §4).
fn colon(name: &[u8]) -> Result<u16, StreamFault> {
    let Some(place) = memchr::memchr(b':', name) else { return Ok(0) };
    let local = name.get(place + 1..).unwrap_or_default();
    match letter(local) {
        Ok(Letter::Whole(first, _)) if starts_name(first) && memchr::memchr(b':', local).is_none() => Ok(short(place)),
        Ok(_) | Err(_) => Err(fault("A name has a colon where none may be.")),
    }
}
