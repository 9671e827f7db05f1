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
/// Names of servers for domains, within mechanisms as IM and Presence servers say them.
pub const DOMAIN_BASED_NAME: &str = "urn:xmpp:domain-based-name:0";
/// The feature of compression (XEP-0138).
pub const COMPRESSION_FEATURE: &str = "http://jabber.org/features/compress";
/// Compression (XEP-0138).
pub const COMPRESSION: &str = "http://jabber.org/protocol/compress";
/// The next way to sign in (XEP-0388).
pub const SASL_2: &str = "urn:xmpp:sasl:2";
/// Types of channel binding (XEP-0440).
pub const SASL_CHANNEL_BINDING: &str = "urn:xmpp:sasl-cb:0";
