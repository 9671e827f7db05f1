//! Stream headers: what a client's has to say, and ours.

use std::fmt::Write as _;

use bytes::Bytes;

use crate::condition::{Condition, StreamFault};
use crate::element::Header;

/// A domain in the one spelling in which it is compared, sent and looked up: in lower case, and without the dot that ends
/// a name of DNS (RFC 7622 §3.2: it is taken off before anything else).
#[must_use]
pub fn normal_domain(domain: &str) -> String {
    domain.strip_suffix('.').unwrap_or(domain).to_lowercase()
}

/// Whether a client's header is one for a stream of `domain` (RFC 6120 §4.7, §4.8).
///
/// # Errors
/// What the client is to be told.
pub(super) fn check(header: &Header, domain: &str) -> Result<(), StreamFault> {
    let fault = |condition, text| Err(StreamFault::new(condition, text));
    // RFC 6120 §4.7.5: higher minor versions are as good, and none is 0.9.
    let major = header.version.as_deref().and_then(|version| version.split_once('.')).map(|(major, _)| major);
    match &header.to {
        _ if major != Some("1") => fault(Condition::UnsupportedVersion, "This is XMPP 1.0."),
        Some(to) if normal_domain(to) == domain => Ok(()),
        Some(_) | None => Err(NOT_SERVED),
    }
}

/// No server has the domain.
pub(super) const NOT_SERVED: StreamFault = StreamFault::new(Condition::HostUnknown, "The domain is not served here.");

/// Our header for a client of `domain` that has sent `header`, or none that could be read.
pub(super) fn ours(header: Option<&Header>, domain: &str, id: &str) -> String {
    let to = header.and_then(|header| header.from.as_deref()).and_then(|from| bare_jid(from, domain));
    Header {
        from: Some(domain.to_owned()),
        to: to.map(str::to_owned),
        id: Some(id.to_owned()),
        version: Some("1.0".to_owned()),
        lang: Some("en".to_owned()),
        ..Header::default()
    }
    .to_xml()
}

/// The bare JID of a header's `from` (RFC 6120 §4.7.1), if it is one of the domain.
fn bare_jid<'j>(from: &'j str, domain: &str) -> Option<&'j str> {
    let bare = from.split('/').next()?;
    let (local, of) = bare.split_once('@')?;
    let fits = !local.is_empty() && local.len() <= LOCAL_BYTES_MAX && normal_domain(of) == domain;
    fits.then_some(bare)
}

/// What stands in `<see-other-host/>` (RFC 6120 §4.9.3.19): a name or an address, and perhaps a port.
pub(super) fn host_and_port(text: &str) -> (&str, Option<u16>) {
    let (host, port) = match (text.strip_prefix('['), text.rsplit_once(':')) {
        (Some(text), _) => match text.split_once(']') {
            Some((host, rest)) => (host, rest.strip_prefix(':').and_then(|port| port.parse().ok())),
            None => (text, None),
        },
        // An address of IPv6 without brackets has no port.
        (None, Some((host, port))) if !host.contains(':') => (host, port.parse().ok()),
        (None, Some(_) | None) => (text, None),
    };
    (host.trim_end_matches('.'), port)
}

/// RFC 7622 §3.3.
const LOCAL_BYTES_MAX: usize = 1023;

/// An id of a stream out of random bytes.
pub(super) fn id(random: [u8; 16]) -> String {
    let mut id = String::with_capacity(32);
    for byte in random {
        let _ = write!(id, "{byte:02x}");
    }
    id
}

/// The whole answer to a client whose domain is not served, or who cannot be served now: a header, the error, the end.
#[must_use]
pub fn turned_away(domain: &str, random: [u8; 16], fault: StreamFault) -> Bytes {
    (ours(None, domain, &id(random)) + &fault.to_xml()).into()
}
