//! The bounds of this room, each with its reason.

use std::time::Duration;

/// Connections of administrators at once: browsers hold six each, programs one.
pub const CONNECTIONS_MAX: usize = 256;

/// Of one address, so that one program that leaks connections does not shut the others out. All that come by way of one
/// proxy share it.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 64;

/// TLS handshake, from accept to its end.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How long the head of a request may take, and how long a connection may be idle (HTTP/1.1).
pub const HEAD_MAX: Duration = Duration::from_secs(30);

/// Largest head of a request, bytes.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Requests of one HTTP/2 connection at once: a page with its assets and its stream has ten.
pub const STREAMS_MAX: u32 = 64;

/// Largest body of a request, bytes: as on the control socket.
pub const BODY_BYTES_MAX: usize = edgeway_runtime::limits::ADMIN_BODY_BYTES_MAX;

/// How long the body of a request may take.
pub const BODY_MAX: Duration = Duration::from_secs(20);

/// How long a client may leave an answer lying before its connection is closed.
pub const STALLED_MAX: Duration = Duration::from_secs(30);

/// How long one node may take to answer before its part of a page is left out and said to be missing.
pub const NODE_ANSWER_MAX: Duration = Duration::from_secs(2);

/// How long an order to one node may take, such as a discovery of twenty servers.
pub const NODE_ORDER_MAX: Duration = Duration::from_secs(60);

/// Nodes asked at once: a full deployment has six edges and six cores.
pub const NODES_MAX: usize = 64;

/// Entries of one page of a list.
pub const PAGE_MAX: usize = 500;

/// Entries of a page where nobody says how many.
pub const PAGE_DEFAULT: usize = 100;

/// Longest cursor taken back, bytes.
pub const CURSOR_BYTES_MAX: usize = 4 * 1024;

/// Longest filter of a list, bytes: the longest name of a user.
pub const FILTER_BYTES_MAX: usize = 320;

/// For how long the certificate holds that the core makes itself, days: browsers take no longer one.
pub const SELF_SIGNED_DAYS: i64 = 820;

/// A certificate of our own that holds for less than this is made anew at the next start, days.
pub const SELF_SIGNED_LEFT_DAYS: i64 = 30;

/// How often certificate files are looked at.
pub const CERTIFICATE_LOOK: Duration = Duration::from_secs(10);

/// How often a listener whose port is taken tries again.
pub const LISTEN_AGAIN: Duration = Duration::from_secs(30);

/// How long the administrator's side may take to end.
pub const END_MAX: Duration = Duration::from_secs(2);

/// Refusals of strangers that are written to the audit log in a minute; the others are only counted, so that nobody
/// can push its lines out from outside.
pub const AUDITED_REFUSALS_MAX: u32 = 30;

/// Longest text of a request in the audit log, characters.
pub const AUDIT_TEXT_MAX: usize = 200;
