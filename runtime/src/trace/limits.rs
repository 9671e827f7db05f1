//! Bounds of what is remembered for the operator.

/// Refusals remembered at once: an hour of a large site's mistakes, about 2 MB.
pub const REFUSALS_MAX: usize = 4_096;
/// Refusals remembered of one user: enough to see what goes on, and one user's noise washes out nobody else's.
pub const REFUSALS_PER_USER_MAX: usize = 64;
/// Refusals remembered of one client address (IPv6: /64): an office behind one address fits, a scanner does not fill all.
pub const REFUSALS_PER_ADDRESS_MAX: usize = 512;
/// Successes remembered at once. The same user with the same client doing the same is one of them, with a count.
pub const SUCCESSES_MAX: usize = 4_096;
/// Attempts in one answer.
pub const ATTEMPTS_PER_ANSWER_MAX: usize = 500;
/// Attempts in one answer where nobody says how many.
pub const ATTEMPTS_PER_ANSWER: usize = 100;
/// Characters kept of what a client writes.
pub const WORDS_CHARACTERS_MAX: usize = 160;
/// Bytes of one message that are kept; sessions of this size describe dozens of streams.
pub const MESSAGE_BYTES_MAX: usize = 16_384;
/// Bytes of one line that are kept, and looked through for secrets: no client writes longer ones.
pub const LINE_BYTES_MAX: usize = 8_192;
/// Bytes of a message in one made-up datagram: what IP and UDP leave, rounded down.
pub const DATAGRAM_BYTES_MAX: usize = 65_000;
/// Messages kept of all who are traced.
pub const KEPT_MAX: usize = 2_000;
/// Bytes kept of all who are traced.
pub const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Messages in one answer: with their texts it stays below what an answer may be long.
pub const LADDER_MAX: usize = 200;
/// Traces at a time.
pub const TRACES_MAX: usize = 8;
/// Calls and registrations that are followed once one of their messages was wanted.
pub const CALLS_FOLLOWED_MAX: usize = 256;
/// The longest trace, seconds.
pub const TRACE_SECONDS_MAX: u64 = 600;
