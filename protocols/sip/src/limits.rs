//! Every bound of the message layer, each with its reason.

/// Largest message taken, head and body, bytes. The product-wide bound.
pub const MESSAGE_BYTES_MAX: usize = edgeway_model::limits::SIP_MESSAGE_BYTES_MAX;

/// Largest message a node should take from the world (give it to [`crate::Framer::new`]), bytes:
/// what it adds on the way (Via, Record-Route, Path, parameters) must still fit at the next node.
pub const ACCEPTED_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 4 * 1024;

/// Longest start line or header line, continuation lines included, bytes. The longest honest
/// ones are bearer tokens and identity headers of 2 to 4 KiB.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// Most header lines in one message. Honest ones have 15 to 40, torture messages reach 50. One that
/// passes here with the lines of this node added may be over the bound at the next, which answers 400.
pub const HEADER_LINES_MAX: usize = 128;

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

/// Longest access token taken in a SIP request (RFC 8898), bytes: as over HTTPS. Self-describing ones have one
/// to two thousand.
pub const ACCESS_TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Most parts read in one multipart body, nested ones included. A body with more is taken for one whose
/// session description cannot be told, and refused where that matters.
pub const MULTIPART_PARTS_MAX: usize = 32;

/// How deep multipart bodies may be nested. RFC 5621 knows two levels in use.
pub const MULTIPART_DEPTH_MAX: usize = 3;

/// Longest multipart boundary (RFC 2046 §5.1.1), bytes.
pub const MULTIPART_BOUNDARY_BYTES_MAX: usize = 70;

/// Requests of a node's own that wait for an answer: an operator who ends calls one by one has a few, and a node that is
/// past the deadline of its maintenance ends all it has, each with two. What is beyond it is not sent.
pub const OWN_REQUESTS_MAX: usize = 20_000;
