//! Services that users have through a node, in the words that operators of such systems know.

use std::fmt;

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStatus {
    /// Its name.
    pub name: &'static str,
    /// How it stands.
    pub state: ServiceState,
    /// What of it runs on this node.
    pub parts: Vec<ServicePart>,
    /// What keeps it from working, or what it would take.
    pub notes: Vec<String>,
}

/// How a service stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// Nobody has set it up, or there is no such thing.
    NotConfigured,
    /// It works, as far as this node sees.
    Configured,
    /// It is set up, and something is wrong, or the node is in maintenance mode.
    WithErrors,
    /// It is on. Said of Unified Communications as a whole.
    Enabled,
    /// Other nodes decide: this one does not know.
    AtTheCores,
}

impl ServiceState {
    /// As it is shown.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotConfigured => "Not configured",
            Self::Configured => "Configured",
            Self::WithErrors => "Configured but with errors",
            Self::Enabled => "Enabled",
            Self::AtTheCores => "Set at the cores",
        }
    }
}

/// A part of a service, on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServicePart {
    /// Its name.
    pub name: &'static str,
    /// How far it is.
    pub state: PartState,
}

/// How far a part of a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartState {
    /// It is not set up, or has failed.
    Inactive,
    /// It takes new users.
    Active,
    /// Maintenance mode: it takes nobody new, and so many are still served.
    Draining(u64),
    /// Maintenance mode: nobody is served any more.
    Drained,
}

impl PartState {
    /// Of a part that is `on` or not, in maintenance mode or not, with so many still served.
    #[must_use]
    pub const fn of(on: bool, maintained: bool, served: u64) -> Self {
        match (on, maintained, served) {
            (false, ..) => Self::Inactive,
            (true, false, _) => Self::Active,
            (true, true, 0) => Self::Drained,
            (true, true, served) => Self::Draining(served),
        }
    }
}

/// As it is shown.
impl fmt::Display for PartState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inactive => f.write_str("Inactive"),
            Self::Active => f.write_str("Active"),
            Self::Draining(served) => write!(f, "Draining ({served})"),
            Self::Drained => f.write_str("Inactive (Maintenance mode)"),
        }
    }
}
