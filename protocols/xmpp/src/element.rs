//! Elements and headers of negotiation taken apart, and written again. For what passes a hand's breadth of code before
//! sign-in: features, sign-in, binding. What is spliced is never taken apart.
//!
//! A text is read by the [`Scanner`](crate::Scanner) first, so nothing is taken apart that it would refuse.

mod header;
mod read;
mod write;

use std::fmt;

use zeroize::Zeroizing;

use crate::condition::StreamFault;
use crate::ns;

pub use header::Header;
pub use write::escape;

/// An attribute that is no declaration of a namespace.
#[derive(Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Empty if its name has no prefix.
    pub namespace: String,
    /// Without a prefix.
    pub name: String,
    /// With references replaced.
    pub value: String,
}

/// An element with all that is in it. Its texts are wiped when it goes, since those of sign-in are secrets; they, values
/// and their like are not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Element {
    /// Without a prefix.
    pub name: String,
    /// Empty for none.
    pub namespace: String,
    /// In their order.
    pub attributes: Vec<Attribute>,
    /// Elements in it, in their order.
    pub children: Vec<Element>,
    /// Text directly in it, all pieces joined.
    pub text: Zeroizing<String>,
}

impl Element {
    /// An empty one. Names and namespaces are written as they are: they are ours, or were read.
    #[must_use]
    pub fn new(name: &str, namespace: &str) -> Self {
        Self { name: name.to_owned(), namespace: namespace.to_owned(), ..Self::default() }
    }

    /// With one more attribute, without a namespace.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.attributes.push(Attribute { namespace: String::new(), name, value });
        self
    }

    /// With one more element in it.
    #[must_use]
    pub fn with_child(mut self, child: Element) -> Self {
        self.children.push(child);
        self
    }

    /// With a text.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        self.text = Zeroizing::new(text.to_owned());
        self
    }

    /// Takes one complete element apart that stood in a stream with the usual header: `jabber:client` without a prefix,
    /// `stream` for that of streams. White space around it is fine.
    ///
    /// # Errors
    ///
    /// [`StreamFault`]: what the scanner says; `not-well-formed` too for something else than one element;
    /// `policy-violation` beyond the bounds of [`limits`](crate::limits) for elements.
    pub fn parse(bytes: &[u8]) -> Result<Self, StreamFault> {
        read::element(bytes, &Header::default())
    }

    /// As [`parse`](Self::parse), for an element behind a header that declared more prefixes.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn parse_within(bytes: &[u8], header: &Header) -> Result<Self, StreamFault> {
        read::element(bytes, header)
    }

    /// Whether it has this name in this namespace.
    #[must_use]
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        self.name == name && self.namespace == namespace
    }

    /// The first element in it with this name and namespace.
    #[must_use]
    pub fn child(&self, name: &str, namespace: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.is(name, namespace))
    }

    /// The value of an attribute without a namespace.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let mut all = self.attributes.iter();
        all.find(|one| one.namespace.is_empty() && one.name == name).map(|found| found.value.as_str())
    }

    /// As text within a stream with the usual header.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut out = String::with_capacity(256);
        write::element(&mut out, self, ns::CLIENT);
        out
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "<{{{}}}{}>", self.namespace, self.name)?;
        out.debug_list().entries(&self.children).finish()
    }
}

impl fmt::Debug for Attribute {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{{{}}}{}", self.namespace, self.name)
    }
}
