//! Namespaces.

/// Of the stream itself (RFC 6120 §4.8).
pub const STREAMS: &str = "http://etherx.jabber.org/streams";
/// Of what clients say in it.
pub const CLIENT: &str = "jabber:client";
/// Of conditions of stream errors (RFC 6120 §4.9.2).
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// STARTTLS (RFC 6120 §5).
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// Sign-in (RFC 6120 §6).
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// Resource binding (RFC 6120 §7).
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// Stream management (XEP-0198).
pub const STREAM_MANAGEMENT: &str = "urn:xmpp:sm:3";
/// Of `xml:lang` (Namespaces in XML §3).
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
