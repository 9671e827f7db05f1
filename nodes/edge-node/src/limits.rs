//! Bounds of an edge, each with its reason.

use std::time::Duration;

/// How long an answer from inside may take: a little longer than the core waits for the registrar,
/// so that the core's own answer comes first.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(33);

/// How long a request waits for a core while none is connected: a link that broke is back by then.
pub const ROUTE_WITHIN: Duration = Duration::from_secs(4);

/// Requests a flow may send before its first registration is accepted.
pub const STRANGER_REQUESTS_MAX: u8 = 40;

/// Malformed messages after which a flow is closed.
pub const FAULTS_MAX: u8 = 20;

/// Route values of our own taken off one request.
pub const OWN_ROUTES_MAX: usize = 8;

/// How long a closed flow is told again to a core whose link breaks: longer than a link can be
/// silent before it is given up.
pub const CLOSED_FLOWS_KEPT: Duration = Duration::from_secs(60);

/// When binding media ports is tried again after it failed.
pub const BIND_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Port pairs a core holds unused; a call takes one at once for each media section.
pub const GRANT_PAIRS: usize = 64;

/// Cores one edge works with: twice the largest cluster.
pub const CORES_MAX: usize = 12;

/// Relays one core may hold.
pub const RELAYS_PER_CORE_MAX: usize = edgeway_model::limits::RELAYS_MAX;

/// How long a connection that only keeps a standby path alive may be silent: clients ask about every
/// two minutes at most.
pub const STANDBY_IDLE_MAX: Duration = Duration::from_secs(180);

/// Keepalives of standby paths that do not count against a stranger, per [`KEEP_ALIVES_WINDOW`].
pub const KEEP_ALIVES_MAX: u8 = 8;

/// The time [`KEEP_ALIVES_MAX`] is for.
pub const KEEP_ALIVES_WINDOW: Duration = Duration::from_secs(10);

/// How often a client that asks is told to send keepalives (RFC 6223): what RFC 5626 §4.4.1 has for
/// connections.
pub const KEEP_EVERY: Duration = Duration::from_secs(120);

/// Connections closed at once when the deadline of maintenance mode has passed: as many come to another edge at once.
pub const MAINTENANCE_CLOSES: usize = 100;

/// Until the next ones.
pub const MAINTENANCE_CLOSE_EVERY: Duration = Duration::from_millis(200);
