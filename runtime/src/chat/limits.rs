//! Bounds of chat streams between a client and a core, each with its reason.

use std::time::Duration;

// Clients at an edge.

/// Connections of chat clients to one edge at once; more are closed. As many as one link carries streams.
pub const CLIENTS_MAX: usize = 16_384;

/// The same, from one address: an office of some thousand users behind one.
pub const CLIENTS_PER_ADDRESS_MAX: usize = 2_000;

/// Clients of one edge that have not signed in; when there are more, the one that has been there longest goes. Some
/// 20 KiB each, and enough that one who signs in within a second is not pushed out by 4,000 new ones in that second.
pub const STRANGERS_MAX: usize = 4_096;

/// How long a client may take over its first header, from accept or from the end of the TLS handshake; and over
/// `<starttls/>` behind it.
pub const HEADER_WITHIN: Duration = Duration::from_secs(10);

/// How long a client may take to sign in, from accept: an authority behind a slow server, and one password typed
/// wrong.
pub const SIGN_IN_WITHIN: Duration = Duration::from_secs(60);

/// Bytes a client may send inside TLS before it has signed in: five sign-ins with the largest tokens there are.
pub const STRANGER_BYTES_MAX: u64 = 64 * 1024;

/// How long a client may take nothing of what waits for it.
pub const STALLED_MAX: Duration = Duration::from_secs(30);

/// After how long without a byte to it a client is sent a space, so that routers on the way remember the connection
/// and one that is gone is noticed (RFC 6120 §4.6.1). Some forget after three minutes.
pub const PING_AFTER: Duration = Duration::from_secs(150);

/// How long the end of a stream may take, once one side has said `</stream:stream>`.
pub const FAREWELL_MAX: Duration = Duration::from_secs(10);

/// How long a client is heard out after the last that was sent to it: a socket that is closed with unread bytes is
/// reset, and the reset overtakes what was sent.
pub const LINGER_MAX: Duration = Duration::from_secs(2);

/// Bytes read from one client at once: what may go to a core beyond the window of its stream.
pub const READ_BYTES: usize = 32 * 1024;

/// Bytes for one client that leave in one write; what the system does not take of them waits.
pub const WRITE_BYTES: usize = 32 * 1024;

/// Reads from one client, and writes to it, before others have their turn.
pub const TURNS_MAX: usize = 4;

/// Ciphertext of a record that is not whole yet: the largest there is (RFC 8446 §5.2), and a bit.
pub const PARTIAL_BYTES_MAX: usize = 17 * 1024;

/// Bytes of a stream the system may hold for one client beyond what is on its way to it.
pub const UNSENT_BYTES_MAX: u32 = 16 * 1024;

/// How often clients are looked at for their deadlines.
pub const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What a stopping edge gives its clients to read that it stops.
pub const DRAIN_MAX: Duration = Duration::from_secs(2);

/// How often it is told that an address opens too many streams: the first time of each second says enough.
pub const ABUSE_TOLD_EVERY: Duration = Duration::from_secs(1);

/// Clients of one page of an operator's list: some 200 KiB.
pub const LISTED_MAX: usize = 1_000;

// The carrier between an edge and a core.

/// How long what is to be said on a carrier waits for more, once something was said: what is said within this leaves as
/// one record and in one call of the system, at both ends. The first after a pause waits for nothing, and neither does anything
/// while the thread naps (`NAP`): then it has gathered already.
pub const GATHER: Duration = Duration::from_millis(2);

/// Bytes of streams that leave a carrier together: four TLS records.
pub const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// Bytes that may wait for the socket of a carrier before nothing more is read from it: more than two honest ends ever
/// have to say beside [`GATHERED_BYTES_MAX`], an END and a CREDIT for each of their streams.
pub const UNSAID_BYTES_MAX: usize = 1024 * 1024;

/// What a core's streams of one edge hold together for an edge that does not take it, bytes, beyond the least window of each.
pub const OUTWARD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Reads from a carrier before others on its thread have their turn: each is one piece of TLS, 4 KiB.
pub const READS_MAX: usize = 32;

/// Connections of one core that were replaced and still carry streams; of more, the oldest ends.
pub const OLDER_CARRIERS_MAX: usize = 3;

/// How long before the end of its certificate a carrier is replaced, at most; a tenth of the time it holds, if that is less.
pub const REPLACED_BEFORE: Duration = Duration::from_secs(600);

/// How long what was said last may take to leave a carrier that is closed on purpose.
pub const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// Clients ended at once when the deadline of maintenance mode has passed: as many come to another edge at once.
pub const ENDED_AT_ONCE: usize = 100;

/// Until the next ones.
pub const ENDED_EVERY: Duration = Duration::from_millis(200);
