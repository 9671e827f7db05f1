//! Maintenance mode: a node is taken out of service without hurting anybody.
//!
//! Each service of the node goes from *Active* over *Draining (n)* to *Inactive (Maintenance mode)*: nothing new is
//! begun, what exists goes on, and when the last of it has ended the service is inactive. Cancelled, it is active at
//! once.

use std::time::Duration;

/// What a node is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaintenanceOrder {
    /// Begin nothing new from now on. Given again, it only changes the deadline.
    Begin {
        /// After how long what is still there is ended; `None`: it goes on for as long as it wants.
        within: Option<Duration>,
    },
    /// Serve again.
    Cancel,
}

/// Maintenance mode, as it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaintenanceStatus {
    /// How long ago it began.
    pub lasted: Duration,
    /// How long until what is still there is ended.
    pub left: Option<Duration>,
    /// How long until calls and registrations have ended, as far as can be told from those that were here before;
    /// `None`: nothing is known that would tell.
    pub sip_left: Option<Duration>,
    /// When it was ordered, Unix milliseconds (told by the runtime).
    pub since_ms: u64,
    /// When what is still there is ended, Unix milliseconds (told by the runtime).
    pub deadline_ms: Option<u64>,
    /// Whether it outlives a restart (told by the runtime).
    pub kept: bool,
}
