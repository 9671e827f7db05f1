//! Bounds of a core, each with its reason.

use std::time::Duration;

/// How long a request waits for an edge whose link is down: a link that broke is back by then.
pub const ROUTE_WITHIN: Duration = Duration::from_secs(4);

/// Edges one core works with: twice the largest cluster.
pub const EDGES_MAX: usize = 12;

/// Connections inside: registrars, their own connections to us, and parties that called.
pub const STREAMS_MAX: usize = 4_096;

/// Calls (relays) held at once.
pub const CALLS_MAX: usize = edgeway_model::limits::RELAYS_MAX;

/// When binding media ports is tried again after it failed.
pub const BIND_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Inside port pairs kept bound in advance.
pub const INSIDE_PAIRS: usize = 32;

/// Tags one party of a call may show (a forking client, several early dialogs).
pub const TAGS_MAX: usize = 8;

/// A call whose client is gone, and that carries no media from it, ends after this.
pub const LOST_CALL_AFTER: Duration = Duration::from_secs(60);

/// Times a request is tried again at another registrar or on a new connection.
pub const RETRIES_MAX: u8 = 2;

/// Own Route values taken off one request.
pub const OWN_ROUTES_MAX: usize = 4;

/// Devices, and connections, of which it is remembered which registrar they are at: twice what an edge
/// may carry. More choose anew each time.
pub const HELD_MAX: usize = 2 * edgeway_model::limits::FLOWS_MAX;
