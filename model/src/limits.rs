//! Every bound of the product that more than one room must know, each with its reason.
//! Bounds that concern one engine alone live in that engine's own `limits.rs`.

use std::time::Duration;

/// Largest SIP message taken, head and body, bytes. Real ones stay below 8 KiB; multipart
/// NOTIFY bodies reach some tens.
pub const SIP_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Largest frame on the link, bytes: one SIP message and its header.
pub const LINK_FRAME_BYTES_MAX: usize = SIP_MESSAGE_BYTES_MAX + 1024;

/// Largest media datagram on the link, bytes, header included: what a QUIC datagram at the
/// minimum MTU of 1200 carries for certain.
pub const LINK_DATAGRAM_BYTES_MAX: usize = 1160;

/// Flows one node holds. 20,000 file descriptors is a common hard limit; the rest is for others.
pub const FLOWS_MAX: usize = 50_000;

/// Bytes queued towards one flow before it is closed as too slow.
pub const FLOW_QUEUE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes queued towards one link before it is closed as stalled.
pub const LINK_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long a TLS handshake may take.
pub const TLS_HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// How long a flow may stay open without a registration and without a request in progress.
pub const STRANGER_IDLE_MAX: Duration = Duration::from_secs(32);

/// Handshakes and unregistered flows one address may hold at once.
pub const STRANGER_FLOWS_PER_ADDRESS_MAX: usize = 1_000;

/// Parties of forks a relay hears beside the one it sends to. A client shows one ringing or
/// announcing party at a time; more than four forks with media at once are not seen in the field.
pub const EARLY_PARTIES_MAX: usize = 4;

/// Relay sessions one node carries at once; each takes two sockets.
pub const RELAYS_MAX: usize = 4_000;

/// Spellings of one user's name that a SIP digest may be made with: as typed, as the authority writes it, in
/// lower case.
pub const SPELLINGS_MAX: usize = 3;

/// Access tokens of one user that are known side by side: one for each device, and for each device that has
/// just got a new one the old one.
pub const ACCESS_TOKENS_MAX: usize = 8;

/// Longest text of settings that a core tells an edge, bytes: it fits into a frame of the link.
pub const TOLD_TEXT_BYTES_MAX: usize = 64 * 1024;

/// Rows of one page of a list that an operator reads: what a screen shows, and less than 500 KiB of JSON.
pub const LISTED_MAX: usize = 500;

/// Rows looked at for one page of a list with a filter: two or three milliseconds, for which signalling waits; media does not.
/// The page that ends by it says where to go on.
pub const LISTED_EXAMINED_MAX: usize = 20_000;
