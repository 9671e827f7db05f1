//! Bounds of the link conversation, each with its reason.

use std::time::Duration;

/// Version of the link protocol this build speaks. 2: unknown kinds and fields are skipped, and two
/// cores may be linked. 3: sign-in.
pub const VERSION: u16 = 3;

/// Oldest version this build understands: at least the one before, so that a cluster is updated node by node.
pub const VERSION_MIN: u16 = 1;

/// Longest string in a frame, bytes: a DNS name fits.
pub const STRING_BYTES_MAX: usize = 255;

/// The version from which on cores tell edges their settings.
pub const TOLD_SINCE: u16 = 3;

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

/// Chat streams of one edge at one core at once: as many clients as one edge takes.
pub const CHAT_STREAMS_MAX: usize = 16_384;

/// Refusals on one chat stream before its client has signed in: more than the five sign-ins that may fail on one.
pub const CHAT_REFUSALS_MAX: u8 = 16;

/// Largest DATA frame of the chat carrier, bytes: what is not whole is kept, and no more than that of one frame.
pub const CHAT_DATA_BYTES_MAX: usize = 16 * 1024;

/// What each DATA frame costs of a window beside its bytes: what holding it costs. Without this, frames of one byte
/// would make a core hold eighty times what the windows say.
pub const CHAT_FRAME_COST_BYTES: u32 = 64;

/// The window every chat stream has at least, bytes each way: a message waits for nobody. All of them together are
/// 32 MiB.
pub const CHAT_WINDOW_BYTES_MIN: u32 = 2 * 1024;

/// The window of a chat stream that carries much, such as a roster: 50 Mbit/s at 5 ms.
pub const CHAT_WINDOW_BYTES_MAX: u32 = 32 * 1024;

/// What all windows of one connection that are wider than the least may hold together, bytes: with those of
/// [`CHAT_WINDOW_BYTES_MIN`] each end holds 64 MiB of unread bytes at most, whatever the other sends. A thousand streams may be wide at
/// once; the others carry messages meanwhile.
pub const CHAT_WIDE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A piece that is sent because more does not fit the window is no smaller than this, bytes. An end that has less left asks
/// for a wide window by it.
pub const CHAT_PIECE_BYTES_MIN: u32 = 512;

/// Chat streams a core takes at once: what an honest edge, bound by [`CHAT_OPENS_BURST`], has let in before and during a hole
/// of ten seconds. More are refused, one by one.
pub const CHAT_OPENS_BURST_MAX: u32 = 8_000;

/// And per second, from then on.
pub const CHAT_OPENS_PER_SECOND_MAX: u32 = 1_000;

/// Chat streams an edge opens at one core at once: after an edge or a core was lost, all its clients come.
pub const CHAT_OPENS_BURST: u32 = 2_000;

/// And per second, from then on: more than the TLS handshakes of an edge.
pub const CHAT_OPENS_PER_SECOND: u32 = 500;

/// Frames for nothing (PING, PONG, what is said to streams that have ended, streams that are refused) the other end of a chat carrier
/// may send at once: each stream that ends may leave one behind. More end the connection.
pub const CHAT_IDLE_FRAMES_BURST_MAX: u32 = 20_000;

/// And per second, from then on.
pub const CHAT_IDLE_FRAMES_PER_SECOND_MAX: u32 = 2_000;

/// How long nothing may come on a chat carrier before the other end is asked whether it is there.
pub const CHAT_PING_AFTER: Duration = Duration::from_secs(3);

/// How long the other end of a chat carrier may be silent. A path that is gone for five seconds, and what TCP needs to
/// notice that it is back, ends nobody's chat.
pub const CHAT_SILENT_MAX: Duration = Duration::from_secs(10);
