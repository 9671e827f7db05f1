//! Bounds of identities and pairing, each with its reason.

use std::time::Duration;

/// How long a node certificate is valid. Renewal is one more join (or `pki issue`), so a year is no burden.
pub const NODE_VALIDITY: Duration = Duration::from_secs(365 * 86_400);

/// How long the node CA is valid.
pub const AUTHORITY_VALIDITY: Duration = Duration::from_secs(3_650 * 86_400);

/// How far a certificate reaches into the past, because clocks of fresh machines are wrong.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(3_600);

/// How long an invitation holds unless told otherwise.
pub const INVITE_VALIDITY: Duration = Duration::from_secs(15 * 60);

/// Invitations one edge has outstanding at once: more than six cores to pair.
pub const INVITES_MAX: usize = 8;

/// Wrong proofs against one invitation before it is withdrawn.
pub const INVITE_FAILURES_MAX: u8 = 5;

/// Joins an edge answers at the same time; more are closed at once.
pub const JOINS_AT_ONCE_MAX: usize = 4;

/// Join connections that may fail in a row before joining pauses for [`JOIN_PAUSE`].
pub const JOIN_FAILURES_MAX: u32 = 20;

/// How long joining pauses after too many failures.
pub const JOIN_PAUSE: Duration = Duration::from_secs(60);

/// How long a whole join may take, dial and handshake included.
pub const JOIN_TIME_MAX: Duration = Duration::from_secs(15);

/// Largest join message, bytes: two certificates and some words.
pub const JOIN_MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// Largest certificate a join message carries, bytes. Ours have about 600.
pub const CERTIFICATE_BYTES_MAX: usize = 3 * 1024;

/// Longest text of a refusal, bytes.
pub const REFUSAL_BYTES_MAX: usize = 512;

/// Longest `host:port` of a link, bytes: a DNS name of 253 and a port.
pub const ADDRESS_BYTES_MAX: usize = 260;

/// Longest token, characters: base64 of hash, secret, address and check.
pub const TOKEN_CHARS_MAX: usize = 512;

/// Bytes read from a file or from standard input in search of a token.
pub const TOKEN_TEXT_BYTES_MAX: u64 = 4 * 1024;

/// Edges a core records.
pub const EDGES_MAX: usize = 64;

/// Largest file of the state directory that is read, bytes.
pub const STATE_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Certificates a CA has noted and that have not ended: every node of the largest cluster, renewed often.
pub const ISSUED_MAX: usize = 1_024;

/// How often a node looks at certificates, its own and those of its links, and at its state directory. A
/// revocation is felt within this and one round trip.
pub const TRUST_EVERY: Duration = Duration::from_millis(500);

/// Largest message on the identity stream of a link, bytes: a revocation list of a thousand certificates.
pub const IDENTITY_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Messages on the identity stream of one link per minute; an honest peer has a handful in a year.
pub const IDENTITY_MESSAGES_PER_MINUTE_MAX: u32 = 120;

/// Bytes queued on an identity stream: a few messages of the largest size.
pub const IDENTITY_QUEUE_BYTES_MAX: usize = 512 * 1024;

/// Time between two offers of a new certificate to a peer that has not taken it up.
pub const OFFER_EVERY: Duration = Duration::from_secs(5);

/// How often at most an operator is told that a certificate should have been renewed.
pub const EXPIRY_SAID_EVERY: Duration = Duration::from_secs(6 * 3_600);
