//! Every bound of the message layer, each with its reason.

/// Largest message taken, head and body, bytes. The product-wide bound.
pub const MESSAGE_BYTES_MAX: usize = edgeway_model::limits::SIP_MESSAGE_BYTES_MAX;

/// Longest start line or header line, continuation lines included, bytes. The longest honest
/// ones are bearer tokens and identity headers of 2 to 4 KiB.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// Most header lines in one message. Torture messages reach 50; a proxy chain of 70 hops that
/// writes one Via and one Record-Route each stays within.
pub const HEADER_LINES_MAX: usize = 192;

/// Largest STUN message taken on a SIP stream, header included, bytes. A keepalive has 20 to 100;
/// RFC 8489 §6.1 asks to keep them below the path MTU.
pub const STUN_BYTES_MAX: usize = 1500;

/// Most attributes read in one STUN message.
pub const STUN_ATTRIBUTES_MAX: usize = 64;

/// Longest SOFTWARE or error reason text written into a STUN message, bytes (RFC 8489 §14.14:
/// fewer than 128 characters).
pub const STUN_TEXT_BYTES_MAX: usize = 127;

/// Most parameters read in one Digest challenge or credential.
pub const DIGEST_PARAMS_MAX: usize = 32;

/// Longest Digest parameter value, bytes.
pub const DIGEST_VALUE_BYTES_MAX: usize = 1024;
