//! Alarms: what an operator must know of until it is over, with what to do about it.

use crate::NodeId;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nobody is harmed yet.
    Warning,
    /// Some service is impaired.
    Error,
    /// A service is down.
    Critical,
}

impl Severity {
    /// In lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// One alarm. Two with the same `id` and `about` are the same: the later one replaces the earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Which kind: a stable word, as `server_drift`.
    pub id: &'static str,
    /// What it is about: a server, an edge, a file.
    pub about: String,
    /// How bad.
    pub severity: Severity,
    /// What is the case, and why. No secrets, no names of users.
    pub cause: String,
    /// What to do.
    pub action: String,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// The node that raised it, where it is not this one.
    pub node: Option<NodeId>,
}
