//! Stream headers (RFC 6120 §4.7).

use std::fmt::Write as _;

use crate::condition::StreamFault;
use crate::element::{escape, read};
use crate::ns;

/// What a stream header says. Its namespaces are `jabber:client` without a prefix and `stream` for that of streams: the
/// scanner lets no other pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Of a client: the domain it asks for.
    pub to: Option<String>,
    /// Of a client: who it is, if it says so. Of a server: its domain.
    pub from: Option<String>,
    /// Of a server: the stream's id.
    pub id: Option<String>,
    /// Of XMPP.
    pub version: Option<String>,
    /// The language of texts for people.
    pub lang: Option<String>,
    /// Other prefixes with their namespaces.
    pub prefixes: Vec<(String, String)>,
}

impl Header {
    /// Takes a complete header apart, with or without an XML declaration. White space before it is fine.
    ///
    /// # Errors
    ///
    /// [`StreamFault`]: what the scanner says; `not-well-formed` too for something else than one header.
    pub fn parse(bytes: &[u8]) -> Result<Self, StreamFault> {
        read::header(bytes)
    }

    /// As text, with an XML declaration.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut out =
            format!("<?xml version='1.0'?><stream:stream xmlns='{}' xmlns:stream='{}'", ns::CLIENT, ns::STREAMS);
        for (prefix, namespace) in &self.prefixes {
            // Writing into a String cannot fail.
            let _ = write!(out, " xmlns:{prefix}='{}'", escape(namespace));
        }
        let said = [
            ("to", &self.to),
            ("from", &self.from),
            ("id", &self.id),
            ("version", &self.version),
            ("xml:lang", &self.lang),
        ];
        for (name, value) in said {
            if let Some(value) = value {
                let _ = write!(out, " {name}='{}'", escape(value));
            }
        }
        out.push('>');
        out
    }
}
