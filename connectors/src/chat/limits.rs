//! Bounds of chat at the core, each with its reason.

use std::time::Duration;

/// Streams of one edge that have not signed in, at a time: each may hold a connection to an IM server, for as long as
/// a client may take to sign in. An edge through which all its clients come back at once has some hundreds. The oldest
/// gives way to one that comes: nobody keeps others out by coming first and saying nothing.
pub const STRANGERS_PER_EDGE_MAX: usize = 2_000;

/// Streams of all edges, at a time: as many as one carrier has room for.
pub const STREAMS_MAX: usize = 16_384;

/// Sessions of one user, at a time: a person has a handful of devices, and one that lost its connection may come back
/// before the old one is found to be dead. What is beyond is refused rather than ending an older one: a client that
/// signs in again and again must not cut off the others of its user.
pub const SESSIONS_PER_USER_MAX: usize = 16;

/// How long a connection to an IM server may take, with its name and TCP; its TLS again as long. A lost SYN costs one
/// second, and a client waits.
pub const DIAL_WITHIN: Duration = Duration::from_secs(3);

/// How long an IM server may take until it has said its features over TLS; then the next one is tried.
pub const READY_WITHIN: Duration = Duration::from_secs(5);

/// Addresses of one name that are tried.
pub const ADDRESSES_MAX: usize = 4;

/// How long the next address of a server waits for the one before.
pub const NEXT_ADDRESS_AFTER: Duration = Duration::from_secs(1);

/// When nothing was said to an IM server for so long, it gets a space (RFC 6120 §4.6.1): below what firewalls and
/// servers take for a dead connection, mostly 180 s and more.
pub const SPACE_AFTER: Duration = Duration::from_secs(150);

/// How long a server that failed is left alone before it is asked how it is for the first time: a lost packet is no
/// outage, and raises no alarm.
pub const PROBE_FIRST_AFTER: Duration = Duration::from_secs(1);

/// How often a server that is down is asked how it is.
pub const PROBE_EVERY: Duration = Duration::from_secs(5);

/// How long one may take to say how it is, the whole way to its features.
pub const PROBE_WITHIN: Duration = Duration::from_secs(4);

/// Servers asked how they are at once; the others wait for the next time.
pub const PROBES_MAX: usize = 16;

/// What is read from an IM server at once, bytes: what a TLS record holds.
pub const READ_BYTES: usize = 16 * 1024;

/// Bytes for an IM server that may wait for its socket before nothing more is taken from the client.
pub const TO_SERVER_BYTES_MAX: usize = 32 * 1024;

/// What one stream does before others have a turn, in pieces of either direction.
pub const PIECES_PER_TURN: usize = 32;

/// Pieces of a client that are taken before they are written to its server: what it has sent at once leaves at once.
pub const CLIENT_PIECES_PER_WRITE: usize = 8;

/// How long a connection to an IM server may take to end: what was said last is still to arrive.
pub const FAREWELL_WITHIN: Duration = Duration::from_secs(2);

/// How long a core that stops waits for its streams to end.
pub const STOP_WITHIN: Duration = Duration::from_secs(3);

/// How often the node hears how many sessions there are, at most.
pub const TELL_EVERY: Duration = Duration::from_millis(100);

/// Sessions that one answer to an operator lists; the next page begins behind the last of them.
pub const LISTED_MAX: usize = 1_000;

/// Domains of one server whose way to trust it is kept: as many as a core serves.
pub const TRUSTED_DOMAINS_MAX: usize = 1_024;

/// Users of whom it is remembered which server they were on last: as many as may have a stream.
pub const HOMES_MAX: usize = 16_384;

/// Attempts that fail, or are under way, without a user's name (a token, or a name that nobody can have), from one
/// address (IPv6: a /64) within the rate control period: a whole company behind one address comes back at once, with
/// some hundreds under way and none failing. Tokens cannot be guessed, so the bound spares servers, and protects
/// nobody's password.
pub const NAMELESS_ATTEMPTS_MAX: u32 = 500;

/// Addresses of which such attempts are counted: four for each stranger of an edge and more, some MiB at most.
pub const NAMELESS_PLACES_MAX: usize = 16_384;
