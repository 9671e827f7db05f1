//! Bounds of the HTTP client towards UC servers and of the reverse proxy, each with its reason.

use std::time::Duration;

/// Connections to one server at once, in use or kept. A Tomcat answers some 200 at a time by default.
pub const CONNECTIONS_PER_SERVER_MAX: usize = 256;

/// Requests of one user under way inside at once, until their answers are read: an HTTP/2 connection of a client has
/// 100, and one user must not have all places of a server.
pub const REQUESTS_PER_USER_MAX: usize = 128;

/// What one who has too much under way is told to wait.
pub const RETRY_AFTER_BUSY: Duration = Duration::from_secs(1);

/// Connections kept without a request on them, all servers together; beyond it a connection ends with its answer.
pub const KEPT_CONNECTIONS_MAX: usize = 1024;

/// How long a connection is kept without a request: less than the 60 s after which Tomcat ends it.
pub const KEPT_FOR: Duration = Duration::from_secs(45);

/// How old a connection gets: what the name system says in the meantime holds for the next one.
pub const CONNECTION_AGE_MAX: Duration = Duration::from_secs(600);

/// Servers that are remembered, with their health and their connections. Those not in use are forgotten.
pub const SERVERS_MAX: usize = 4096;

/// Addresses of one name that are tried.
pub const ADDRESSES_MAX: usize = 8;

/// How often what is kept too long is looked for.
pub const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// Failures in a row after which a server is left in peace.
pub const FAILURES_MAX: u32 = 5;

/// For how long at first; then one request tries.
pub const REST_FIRST: Duration = Duration::from_secs(2);

/// For how long at most: each failed try doubles it.
pub const REST_MAX: Duration = Duration::from_secs(30);

/// How long the next address of a server waits for the one before (RFC 8305 §5 has 250 ms, for users who wait;
/// servers inside are near, but a lost SYN costs a second).
pub const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(1500);

/// Largest head of an answer, bytes; its trailers too.
pub const ANSWER_HEAD_BYTES_MAX: usize = 32 * 1024;

/// Headers of an answer: as many as other clients take.
pub const ANSWER_HEADERS_MAX: usize = 100;

/// Interim answers (1xx) before an answer: a server says one or two.
pub const INTERIM_ANSWERS_MAX: u32 = 8;

/// Longest line with the size of a chunk, bytes: 16 digits, and room for extensions nobody uses.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;

/// What is read from a connection to a server at once, bytes, where nothing says that more will come.
pub const READ_BYTES: usize = 8 * 1024;

/// What a connection without a request on it keeps of its buffers, bytes each: the next request needs them again.
pub const CONNECTION_KEEPS_BYTES_MAX: usize = 16 * 1024;

/// What one connection to a server buffers in each direction, bytes.
pub const CONNECTION_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How long a connection to a server may take, with the name, TCP and TLS.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long a server may take until the head of its answer.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How long a body may pause, in either direction.
pub const BODY_PAUSE_MAX: Duration = Duration::from_secs(60);

/// The least a body must move, bytes per second, after its longest pause and with the waits for who reads it: below it,
/// places at a server are held for nothing. A line this slow loads a phone's configuration before it counts.
pub const BODY_BYTES_PER_SECOND_MIN: u64 = 4 * 1024;

/// How long one request may take, all in all: files of 64 MiB on a line of 1 Mbit/s.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(600);

/// Largest body a client may send inwards, bytes: problem reports with their logs.
pub const REQUEST_BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Largest body a server may send to a client, bytes: firmware and updates of clients.
pub const ANSWER_BODY_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Longest `TrackingID` that is taken from a client, bytes.
pub const TRACKING_ID_BYTES_MAX: usize = 64;
