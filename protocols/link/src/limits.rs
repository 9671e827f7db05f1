//! Bounds of the link conversation, each with its reason.

use std::time::Duration;

/// Version of the link protocol this build speaks. 2: unknown kinds and fields are skipped, and two
/// cores may be linked. 3: sign-in.
pub const VERSION: u16 = 3;

/// Oldest version this build understands: at least the one before, so that a cluster is updated node by node.
pub const VERSION_MIN: u16 = 1;

/// Longest string in a frame, bytes: a DNS name fits.
pub const STRING_BYTES_MAX: usize = 255;

/// Most domains a core may announce.
pub const DOMAINS_MAX: usize = 256;

/// Most port pairs in one grant.
pub const GRANT_PAIRS_MAX: usize = 256;

/// Most keys of session tokens in one frame: the present one and some that still expire.
pub const TOKEN_KEYS_MAX: usize = 16;

/// Most devices, and most numbers, of one user: some have a dozen. With the longest strings the frame
/// still fits.
pub const SESSION_NAMES_MAX: usize = 64;

/// Most servers of one kind in what is told of a user: a subcluster has fewer.
pub const SESSION_SERVERS_MAX: usize = 16;

/// How often each side sends a keepalive on the stream: often enough that a cut of two seconds
/// does not look like death even where datagrams are blocked.
pub const KEEPALIVE_EVERY: Duration = Duration::from_millis(500);

/// How often each side probes the datagram path while it is open.
pub const PROBE_EVERY: Duration = Duration::from_millis(200);

/// Silence on stream *and* datagrams after which the link counts as dead.
pub const SILENT_AFTER: Duration = Duration::from_secs(3);

/// How long the peer may take to say hello.
pub const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// Peers whose lack of a link is remembered with its reason: more than the largest cluster.
pub const TROUBLES_MAX: usize = 32;

/// Clock skew that is reported, milliseconds.
pub const SKEW_REPORTED_MS: i64 = 30_000;
