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
