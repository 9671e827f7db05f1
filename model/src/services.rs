//! Services that users have through a node, in the words that operators of such systems know.

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
    /// It is set up, and something is wrong.
    WithErrors,
}

impl ServiceState {
    /// As it is shown.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotConfigured => "Not configured",
            Self::Configured => "Configured",
            Self::WithErrors => "Configured but with errors",
        }
    }
}

/// A part of a service, on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServicePart {
    /// Its name.
    pub name: &'static str,
    /// Whether it takes new users.
    pub active: bool,
}

impl ServicePart {
    /// As it is shown.
    #[must_use]
    pub const fn label(self) -> &'static str {
        if self.active { "Active" } else { "Inactive" }
    }
}
