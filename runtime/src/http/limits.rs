//! Bounds of HTTP, each with its reason.

use std::time::Duration;

use crate::link::calm::{Calmness, Rate};

/// Requests one edge may have open at one core, on its bulk connection; more are answered with 503 by the edge.
/// 3,000 a second that take 100 ms are 300; the rest is for sign-ins that wait for a slow call manager.
pub const BULK_STREAMS_MAX: u32 = 4_096;

/// Bytes in flight towards a reader on one stream of the bulk connection: 100 Mbit/s at 20 ms. It is also what a
/// client that reads slowly can make an edge hold.
pub const BULK_STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// Bytes of request bodies a core holds for one edge at once, over all streams. What an edge can make a core hold
/// is bounded by this, whatever it sends.
pub const BULK_UPLOAD_WINDOW_BYTES: u32 = 32 * 1024 * 1024;

/// The window of responses on the whole bulk connection is out of the way (RFC 9113 §6.9.1: the largest there
/// is), so that clients that read slowly hold up nobody else.
pub const BULK_DOWNLOAD_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// Largest DATA frame of the bulk connection, bytes.
pub const BULK_FRAME_BYTES_MAX: u32 = 64 * 1024;

/// Bytes HTTP/2 holds ready for the socket, per stream. An edge that reads nothing makes a core hold this for each of
/// [`BULK_STREAMS_MAX`] answers.
pub const BULK_SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes that are written between two flushes of HTTP/2 and leave together: four TLS records. As much is read
/// from the socket of a bulk connection at once.
pub const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// Largest header list on the bulk connection, bytes: that of a client, and what the edge adds.
pub const BULK_HEADER_BYTES_MAX: u32 = HEAD_BYTES_MAX + 2 * 1024;

/// Bulk connections that have not proven an identity yet, at an edge; more are closed.
pub const BULK_STRANGERS_MAX: usize = 32;

/// How long HTTP/2 may take to stand on a bulk connection after TLS.
pub const BULK_OPEN_MAX: Duration = Duration::from_secs(5);

/// What the other end of a bulk connection may send besides bytes: a request is a HEADERS frame, a client that
/// goes away is an RST_STREAM. More of these than it may send slow it down and end nothing, for they are made by
/// clients, and each ends a stream that was counted.
pub(crate) const BULK_CALMNESS: Calmness = Calmness {
    control: Rate { burst: 400, per_second: 20 },
    window: Rate { burst: 50_000, per_second: 50_000 },
    streams: Rate { burst: 50_000, per_second: 50_000 },
    resets: Rate { burst: 1_000, per_second: 1_000 },
    patient: true,
};

/// How often each end of a bulk connection asks whether the other is there.
pub const BULK_PING_EVERY: Duration = Duration::from_secs(5);

/// How long the other end may then be silent: after this and [`BULK_PING_EVERY`] the connection is given up.
pub const BULK_PONG_WITHIN: Duration = Duration::from_secs(5);

/// The same, when the link of the two nodes has come or gone.
pub const BULK_CHECKED_WITHIN: Duration = Duration::from_secs(2);

/// How long a stream that was ended is remembered, so that what is still on its way is no breach of the protocol.
pub const BULK_RESET_REMEMBERED: Duration = Duration::from_secs(5);

/// Smallest piece of a body that is sent inside of it, bytes; only its end may be smaller. HTTP/2 ends connections
/// that get many frames below 256 bytes.
pub const PIECE_BYTES_MIN: usize = 1024;

/// What a client sends of a body is gathered to pieces of so many bytes before any of it goes inside.
pub const UPLOAD_PIECE_BYTES: usize = 16 * 1024;

/// Streams the other end of a bulk connection may end before we have looked at them; more end the connection. More
/// than `BULK_CALMNESS` lets come in one go: its burst, and what 64 KiB of frames hold.
pub const BULK_PENDING_RESETS_MAX: usize = 4_096;

/// Requests one address may give up at once, before it is refused for a while: an office that loses its network.
pub const CANCELS_BURST_MAX: u64 = 200;

/// And per second, from then on.
pub const CANCELS_PER_SECOND_MAX: u64 = 20;

/// Requests that may be given up at once at one edge, before every address is refused that has given up
/// [`CANCELS_FEW`]: less than what slows down a core.
pub const CANCELS_IN_ALL_BURST_MAX: u64 = 800;

/// And per second, from then on.
pub const CANCELS_IN_ALL_PER_SECOND_MAX: u64 = 800;

/// Requests an address may have given up while there are too many in all.
pub const CANCELS_FEW: u64 = 5;

/// Addresses that have given up requests, of which we know.
pub const CANCELLING_ADDRESSES_MAX: usize = 10_000;

/// How long a core may take to begin its answer. Longer than anything it waits for itself.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Connections of clients to the HTTPS side of one edge at once; more are closed. Phones keep theirs for a minute.
pub const CONNECTIONS_MAX: usize = 10_000;

/// The same, from one address: an office of some hundred users behind one.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 2_000;

/// TLS handshakes in progress at once on the HTTPS side; more wait in the kernel.
pub const HANDSHAKES_MAX: usize = 2_048;

/// How long a client may take over the head of a request, from its first byte; and over its first byte, from the
/// end of the TLS handshake.
pub const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection may stay open without a request.
pub const IDLE_MAX: Duration = Duration::from_secs(60);

/// How long a client may keep us waiting for a request body, on top of [`BODY_BYTES_PER_SECOND_MIN`].
pub const BODY_WAIT_MAX: Duration = Duration::from_secs(10);

/// The least a client must send of a body, bytes per second that we wait for it.
pub const BODY_BYTES_PER_SECOND_MIN: u64 = 500;

/// How long a client may take nothing of an answer that is there.
pub const STALLED_MAX: Duration = Duration::from_secs(30);

/// The least a client must take while it keeps us waiting, bytes per second, after [`STALLED_MAX`].
pub const READ_BYTES_PER_SECOND_MIN: u64 = 1_000;

/// Largest body of a request, bytes: problem reports of phones have some tens of MiB.
pub const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Largest header list of a request over HTTP/2, bytes; that of HTTP/1.1 is bounded as it is read.
pub const HEAD_BYTES_MAX: u32 = 16 * 1024;

/// How long a client that was refused in the middle of what it sends is heard out, so that it reads the answer.
pub const LINGER_MAX: Duration = Duration::from_secs(1);

/// What is heard from it meanwhile, bytes.
pub const LINGER_BYTES_MAX: usize = 512 * 1024;

/// Bytes of answers the system may hold for one client beyond what is on its way to it.
pub const UNSENT_BYTES_MAX: u32 = 64 * 1024;

/// Bytes read from one client's connection at once, and held ready for it.
pub const CONNECTION_BUFFER_BYTES: usize = 32 * 1024;

/// Requests one HTTP/2 connection of a client may have open at once (reliability of other servers: 100).
pub const STREAMS_MAX: u32 = 100;

/// Bytes of a request body in flight on one HTTP/2 stream of a client.
pub const STREAM_WINDOW_BYTES: u32 = 64 * 1024;

/// The same over all streams of a connection.
pub const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;

/// What a client may send over HTTP/2 besides bytes. Floods end the connection (CVE-2019-9511 to -9518,
/// CVE-2023-44487, CVE-2024-27316).
pub(crate) const CLIENT_CALMNESS: Calmness = Calmness {
    control: Rate { burst: 100, per_second: 10 },
    window: Rate { burst: 2_000, per_second: 2_000 },
    streams: Rate { burst: 20_000, per_second: 10_000 },
    resets: Rate { burst: 100, per_second: 10 },
    patient: false,
};

/// How often connections are looked at for their deadlines.
pub const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Good tokens remembered per connection: one of the user, and the one before it.
pub const TOKENS_REMEMBERED_MAX: usize = 2;

/// Keys of one core that tokens may be signed with.
pub const TOKEN_KEYS_MAX: usize = 16;

/// Revocations an edge holds; the oldest give way, and the core checks every token again anyway.
pub const REVOCATIONS_MAX: usize = 10_000;

/// Requests without credentials (`get_edge_sso`) of one address that are carried at once.
pub const OPEN_BURST_MAX: u32 = 60;

/// And per second, from then on.
pub const OPEN_PER_SECOND_MAX: u32 = 5;

/// Addresses whose requests without credentials are counted; while it is full, others are refused such requests.
pub const OPEN_ADDRESSES_MAX: usize = 50_000;

/// Requests with credentials, and without a good token, of one address (of one /64 of IPv6) that are carried at once:
/// an office behind one address whose clients all have to sign in, for what has not succeeded yet.
pub const ATTEMPTS_MAX: u32 = 300;

/// And per second, from then on.
pub const ATTEMPTS_PER_SECOND: u32 = 1;

/// What an address may have left at most, each success giving it one more: that of a large office.
pub const ATTEMPTS_EARNED_MAX: u32 = 3_000;

/// What wrong credentials cost of it.
pub const OFFENCE_COSTS: u32 = 2;

/// Addresses whose attempts are counted; while it is full, new ones take the place of others.
pub const ATTEMPTS_SOURCES_MAX: usize = 50_000;

/// What one who has no attempt left is told to wait, seconds.
pub const RETRY_AFTER_ATTEMPTS: u64 = 30;

/// What a stopping node gives requests that are under way.
pub const DRAIN_MAX: Duration = Duration::from_secs(2);

/// How long an HTTP thread may take to start: it reads files of users and keys.
pub const START_MAX: Duration = Duration::from_secs(30);

/// Alarms a node holds; the oldest of the mildest give way.
pub const ALARMS_MAX: usize = 256;

/// Bounds of how long requests took, rising: what a phone's user does not notice, what is slow, and what is given up.
pub const REQUEST_TIMES: [Duration; 10] = [
    Duration::from_millis(5),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

/// Names of counters: they are constants of the program, and this guards against a mistake in it.
pub const COUNTERS_MAX: usize = 512;

/// While chat is busy and no request is under way, the thread looks at its sockets at most once in this time. A message that
/// wakes the thread for itself costs more than one of several. A message crosses each tier twice, and so comes up to four of
/// these later, half of that on average; what is said on a carrier then waits for nothing else. A request over HTTPS may begin
/// this much later. Half of it saves next to nothing.
pub const NAP: Duration = Duration::from_millis(2);

/// How many pieces of chat a second make it busy: below two in [`NAP`] there is little to gather. A message is two at each tier,
/// one on its way in and one on its way out.
pub const BUSY_CHAT_PIECES_PER_SECOND: u32 = 1_000;

/// How long pieces are counted until chat is taken to be busy, or quiet.
pub const BUSY_CHAT_WITHIN: Duration = Duration::from_millis(20);
