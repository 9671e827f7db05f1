//! Bounds of the link's transport, each with its reason.

use std::time::Duration;

/// Long-lived signalling streams an edge opens at connect. One keeps every byte in order.
pub const SIGNALLING_STREAMS: usize = 1;

/// Streams a core lets an edge have open at once; refused ones included while they are answered.
pub const STREAMS_MAX: u32 = 16;

/// Bytes in flight towards a reader on one stream: 1 MiB carries 80 Mbit/s at 100 ms.
pub const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// The connection's own window is out of the way (RFC 9113 §6.9.1: the largest there is), so that
/// one stalled stream never blocks another; streams bound memory.
pub const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// Largest DATA frame, bytes. Also the most that is taken from an outbox at once.
pub const FRAME_BYTES_MAX: u32 = 64 * 1024;

/// What many small frames may cost beyond their bytes before the peer is told to be calm.
pub const SMALL_FRAMES_BUDGET_BYTES: usize = 4 * 1024 * 1024;

/// Bytes h2 holds ready for the socket, per stream; the rest waits in the outbox, where it is counted.
pub const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// Largest header list of a stream, bytes.
pub const HEADER_BYTES_MAX: u32 = 4 * 1024;

/// Turns of reading and writing before a link lets others run.
pub const ROUNDS_MAX: usize = 4;

/// Longest reason carried to the peer when a link is closed, bytes.
pub const REASON_BYTES_MAX: usize = 200;

/// How long a closing link waits until the peer has seen why.
pub const LINGER_MAX: Duration = Duration::from_secs(1);

/// How long one address of an edge may take to answer a dial.
pub const CONNECT_MAX: Duration = Duration::from_secs(3);

/// Addresses of one name that are tried.
pub const ADDRESSES_MAX: usize = 4;

/// How long the signalling stream may take to open, after TLS.
pub const OPEN_MAX: Duration = Duration::from_secs(5);

/// How long sent bytes may stay unacknowledged before the system gives the connection up
/// (`TCP_USER_TIMEOUT`); the node's own liveness is faster.
pub const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);

/// Cores one edge serves. A cluster has six; the rest is for a change of hardware.
pub const CORES_MAX: usize = 16;

/// Connections to the link port that have not proven an identity yet.
pub const STRANGERS_MAX: usize = 64;

/// The same, from one address.
pub const STRANGERS_PER_ADDRESS_MAX: usize = 8;

/// First back-off, at most.
pub const BACK_OFF_FIRST: Duration = Duration::from_millis(100);

/// Later back-offs, at most.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// Never dial faster than this, whatever the dice say.
pub const BACK_OFF_MIN: Duration = Duration::from_millis(10);

/// A link that stood this long starts the back-off anew.
pub const STABLE_AFTER: Duration = Duration::from_secs(60);

/// HTTP/2 frames that carry nothing (PING, SETTINGS, RST_STREAM and the like) a peer may send at once. A link
/// in good order has some twenty, all at its start.
pub const CONTROL_BURST_MAX: u32 = 200;

/// And per second, from then on.
pub const CONTROL_PER_SECOND_MAX: u32 = 10;

/// WINDOW_UPDATE frames a peer may send at once: each stands for bytes it has taken off us.
pub const WINDOW_BURST_MAX: u32 = 20_000;

/// And per second: h2 sends one per half a window at most, and ours per DATA frame; far below this.
pub const WINDOW_PER_SECOND_MAX: u32 = 20_000;

/// How often a core that is linked by a dial of the other core looks whether it must dial itself.
pub const LINKED_CHECK_EVERY: Duration = Duration::from_secs(1);

/// Questions of operators one link carries at once, those included whose answers nobody waits for any more.
pub const QUESTIONS_MAX: usize = 8;

/// Longest question to another node, bytes: what narrows a list, or who is to be traced.
pub const QUESTION_BYTES_MAX: usize = 16 * 1024;

/// Longest answer of another node, bytes: a page of 500 rows has some 250 KiB. So many questions at once hold 8 MiB at most.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A piece of an answer, bytes; one is under way on a link at a time. On a path of 10 Mbit/s, signalling waits behind it for
/// 26 ms.
pub const ANSWER_PIECE_BYTES: usize = 32 * 1024;

/// Largest message about a question, bytes: a piece and its head.
pub const ASK_MESSAGE_BYTES_MAX: usize = ANSWER_PIECE_BYTES + 16;

/// What may wait to be said about questions, bytes: each may be asked, pulled and given up, and one piece be on its way.
pub const ASK_QUEUE_BYTES_MAX: usize = QUESTIONS_MAX * (QUESTION_BYTES_MAX + 64) + 2 * ASK_MESSAGE_BYTES_MAX;

/// How long another node may take to answer.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How deep an answer may be: ours are half as deep.
pub const ANSWER_DEPTH_MAX: usize = 32;

/// Objects and lists in an answer. Each may cost half a KiB once it is read; a page of 500 calls has some 1,000.
pub const ANSWER_WRAPPED_MAX: usize = 16 * 1024;

/// Commas in an answer, which part its values.
pub const ANSWER_COMMAS_MAX: usize = 128 * 1024;

/// Longest reason of another node that is passed on, characters.
pub const ANSWER_WORDS_MAX: usize = 500;
