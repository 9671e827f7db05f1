//! Bounds of discovery, each with its reason.

use std::time::Duration;

/// How long one question to a UC server may take: a busy database answers in seconds, a dead one never.
pub const QUESTION_WITHIN: Duration = Duration::from_secs(10);

/// How long all questions to one server may take together. The vendor's refresh takes 45 s at worst.
pub const CONVERSATION_WITHIN: Duration = Duration::from_secs(45);

/// Longest answer of a UC server, bytes: a list of 64 nodes with all their services has 200 KiB.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Deepest element of an answer: SOAP puts a port at 8.
pub const ANSWER_DEPTH_MAX: usize = 24;

/// Elements of an answer.
pub const ANSWER_ELEMENTS_MAX: usize = 20_000;

/// Attributes of one element; namespace declarations count.
pub const ANSWER_ATTRIBUTES_MAX: usize = 32;

/// Longest text of a server that goes into a message, characters.
pub const TOLD_CHARS_MAX: usize = 200;

/// Longest password in a file, bytes.
pub const PASSWORD_BYTES_MAX: u64 = 1024;

/// How often a server that says it is asked too much is asked again.
pub const THROTTLED_TRIES_MAX: u32 = 3;

/// How long we wait before that, at least; doubled each time. AXL counts by the minute.
pub const THROTTLED_PAUSE: Duration = Duration::from_secs(1);

/// How long we wait at most, whatever the server says: the operator waits too.
pub const THROTTLED_PAUSE_MAX: Duration = Duration::from_secs(8);

/// Looks at one server are at least so far apart, whatever the settings say: AXL is not for polling.
pub const LOOK_EVERY_MIN: Duration = Duration::from_secs(5);

/// A server that could not be asked is looked at again after this, so that its alarm ends soon after it is back.
pub const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// First pause before a server nothing is known of is asked again; doubled each time.
pub const FIRST_AGAIN_MIN: Duration = Duration::from_millis(250);

/// Longest such pause: a core that waits for its call manager serves nobody, and is to do so within 5 s of its return.
pub const FIRST_AGAIN_MAX: Duration = Duration::from_millis(1_500);

/// Longest such pause where the server is there and in trouble: it has enough to do with itself.
pub const TROUBLED_AGAIN: Duration = Duration::from_secs(4);

/// The pause after a refusal: a wrong password that is shown every second locks the account.
pub const REFUSED_AGAIN: Duration = Duration::from_secs(60);

/// Token keys of one cluster are fetched, for a token whose key is unknown, no more often than this: anybody can make
/// such tokens.
pub const KEYS_AGAIN: Duration = Duration::from_secs(30);

/// The same for one that has not answered: until it has, tokens whose key is unknown are neither taken nor refused.
pub const KEYS_AGAIN_FAILED: Duration = Duration::from_secs(4);

/// Keys in one JWK set that are looked at.
pub const JWKS_KEYS_MAX: usize = 16;
