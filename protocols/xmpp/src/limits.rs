//! Bounds of chat streams, each with its reason.

/// Longest base64 of one message of a sign-in, characters: an access token with an encrypted one inside takes some
/// 4,000.
pub const SASL_CHARS_MAX: usize = 12 * 1024;
