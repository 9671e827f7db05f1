//! Stream headers (RFC 6120 §4.7).

use std::fmt::Write as _;

use crate::condition::StreamFault;
use crate::element::{escape, read};
use crate::ns;

/// RFC 7622 §3.3.
const LOCAL_BYTES_MAX: usize = 1023;

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

    /// Whether its version is 1, whatever stands behind the point: both are numbers, and zeros before them mean nothing
    /// (RFC 6120 §4.7.5).
    pub(crate) fn is_version_one(&self) -> bool {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        self.version
            .as_deref()
            .and_then(|version| version.split_once('.'))
            .is_some_and(|(major, minor)| number(major) && number(minor) && major.trim_start_matches('0') == "1")
    }

    /// Whom a header that answers this one is to: the bare JID of its `from` (RFC 6120 §4.7.2), if it is one of the
    /// domain.
    pub(crate) fn answered_to(&self, domain: &str) -> Option<&str> {
        let bare = self.from.as_deref()?.split('/').next()?;
        let (local, of) = bare.split_once('@')?;
        let fits = !local.is_empty() && local.len() <= LOCAL_BYTES_MAX && of.eq_ignore_ascii_case(domain);
        fits.then_some(bare)
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
