//! Bounds of XMPP streams, each with its reason. What is beyond one is answered with `<policy-violation/>`.

use std::time::Duration;

/// Largest stream header, bytes, with an XML declaration and white space before it. Real ones have some 300.
pub const HEADER_BYTES_MAX: u32 = 4 * 1024;

/// Largest element of a client that has not signed in, bytes: an access token with another inside it takes 8 KiB.
pub const STRANGER_STANZA_BYTES_MAX: u32 = 64 * 1024;

/// Largest element of a client that has signed in, bytes. Servers allow 64 KiB (ejabberd), 256 KiB (Prosody) or 1 MiB
/// (Openfire) and have the last word; pictures in vCards are the largest.
pub const STANZA_BYTES_MAX: u32 = 1024 * 1024;

/// Largest element of a server, bytes: a roster of 50,000 is one element.
pub const SERVER_STANZA_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// Open elements of a client that has not signed in, the stream's own among them. Sign-in takes 4.
pub const STRANGER_DEPTH_MAX: u16 = 16;

/// Open elements of a client that has signed in, the stream's own among them. A forwarded message with a form takes 10;
/// formatted text is the deepest.
pub const DEPTH_MAX: u16 = 128;

/// Open elements of a server, the stream's own among them: it wraps what clients said in a few more.
pub const SERVER_DEPTH_MAX: u16 = 256;

/// Attributes of one element of a client, those that declare namespaces among them. Real ones have at most a dozen.
pub const ATTRIBUTES_MAX: u16 = 64;

/// Attributes of one element of a server.
pub const SERVER_ATTRIBUTES_MAX: u16 = 128;

/// Longest name of an element or attribute, bytes, with its prefix. Real ones stay below 64.
pub const NAME_BYTES_MAX: u16 = 256;

/// Longest value of an attribute, bytes as sent: addresses have up to 3,071, links are longer.
pub const ATTRIBUTE_BYTES_MAX: u32 = 64 * 1024;

/// Prefixes declared at one place of a stream, all open elements together. Real ones declare at most five.
pub const PREFIXES_MAX: u16 = 64;

/// What is kept of the open elements of a client that has not signed in, bytes: their names, the attributes' names of
/// the tag at hand, prefixes with their namespaces.
pub const STRANGER_OPEN_BYTES_MAX: u16 = 2 * 1024;

/// What is kept of the open elements of a client that has signed in, bytes: 64 for each level.
pub const OPEN_BYTES_MAX: u16 = 8 * 1024;

/// What is kept of the open elements of a server, bytes.
pub const SERVER_OPEN_BYTES_MAX: u16 = 32 * 1024;

/// Longest XML declaration, bytes: one that says all it can has 56.
pub const DECLARATION_BYTES_MAX: u16 = 128;

/// Memory for open elements that a stream keeps from one element to the next, bytes for each of two buffers: enough that
/// usual ones need no allocation.
pub const KEPT_BYTES_MAX: u16 = 512;

/// Largest element of negotiation that is taken apart, bytes: what strangers may send.
pub const ELEMENT_BYTES_MAX: u32 = 64 * 1024;

/// Elements within one element of negotiation, all levels together: features with all their mechanisms have some 40.
pub const ELEMENT_CHILDREN_MAX: u16 = 256;

/// Levels of an element of negotiation.
pub const ELEMENT_DEPTH_MAX: u16 = 16;

/// Longest base64 of one message of a sign-in, characters: an access token with an encrypted one inside takes some
/// 4,000.
pub const SASL_CHARS_MAX: usize = 12 * 1024;

/// Bytes a client may send before TLS: a header and `<starttls/>` are some 400.
pub const PLAIN_BYTES_MAX: usize = 8 * 1024;

/// How long a server has from being dialled to its features over TLS. Two round trips of TCP and TLS and two of XMPP
/// take less than a second inside; a connection that is dropped on the way is found out by its time. A core that drives
/// it gives up sooner (`READY_WITHIN`); this is for a driver that does not.
pub const SERVER_READY_WITHIN: Duration = Duration::from_secs(10);

/// How long servers are tried one after the other before a client without one hears its features: clients wait some 30
/// seconds for them.
pub const MEET_WITHIN: Duration = Duration::from_secs(20);

/// How long a server has for its answer to a message of a sign-in: directories behind it take seconds.
pub const SASL_ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// How long a client has from its stream to a server's `<success/>`: time to ask a person for a password is not part of
/// it, clients have it before.
pub const SIGN_IN_WITHIN: Duration = Duration::from_secs(60);

/// How long a client has to show its first credentials once it was told with what: programs do so at once, and a
/// stream on which nothing is said holds a connection to a server.
pub const FIRST_WORD_WITHIN: Duration = Duration::from_secs(20);

/// How long a client that has signed in has until it is bound, or has resumed.
pub const BIND_WITHIN: Duration = Duration::from_secs(60);

/// How long the other side has to end its stream after one has, and a server's element to end before the client is told
/// something of ours.
pub const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Sign-ins that fail on one stream before it ends (RFC 6120 §6.4.4: two to five).
pub const SIGN_IN_TRIES_MAX: u8 = 5;

/// Challenges of one sign-in by SCRAM: one, and another from servers that do not say their last word with `<success/>`. A
/// refused token has one, and whoever says all at once none: more would be attempts that nobody counts.
pub const CHALLENGES_MAX: u8 = 2;

/// Servers that send a client elsewhere before one is taken for down: two clusters and a home.
pub const REDIRECTS_MAX: u8 = 3;

/// What a client may send ahead while a server is found, or looks at credentials, bytes: a new header, a bind and the
/// first requests behind it have some 2,000.
/// Pipelining (XEP-0305) is not offered, and an edge refuses what comes ahead of `<success/>`.
pub const WAITING_BYTES_MAX: usize = 32 * 1024;

/// Largest element that is looked at after sign-in, bytes: of a server, a result of binding, `<enabled/>` and features have
/// less than 4,000; of a client, what has the name of a sign-in.
pub const LOOKED_AT_BYTES_MAX: usize = 64 * 1024;

/// Names of servers within the mechanisms of a server: a home and one that stands in for it.
pub const HOSTNAMES_MAX: usize = 8;

/// Longest such name, bytes (RFC 1035 §2.3.4).
pub const HOSTNAME_BYTES_MAX: usize = 253;

/// Longest full JID, bytes (RFC 7622 §3.1).
pub const JID_BYTES_MAX: usize = 3071;
