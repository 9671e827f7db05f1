//! How something stands: never by colour alone, but by an icon and a word.

use super::words::Said;

/// An icon out of the page's own set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Icon {
    Good,
    Busy,
    Warning,
    Bad,
    Off,
}

impl Icon {
    pub(crate) const fn href(self) -> &'static str {
        match self {
            Self::Good => "#icon-good",
            Self::Busy => "#icon-busy",
            Self::Warning => "#icon-warning",
            Self::Bad => "#icon-bad",
            Self::Off => "#icon-off",
        }
    }

    pub(crate) const fn tone(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Busy => "busy",
            Self::Warning => "warning",
            Self::Bad => "bad",
            Self::Off => "off",
        }
    }

    /// What a state means, as nodes write it. What is not known is shown without judgement.
    pub(crate) fn of_state(state: &str) -> Self {
        match state {
            "Active" | "Configured" | "Enabled" | "up" | "alive" | "connected" | "accepted" | "done" => Self::Good,
            "Configured but with errors" | "warning" | "Inactive (Maintenance mode)" => Self::Warning,
            "down" | "failed" | "Failed" | "error" | "critical" | "refused" => Self::Bad,
            draining if draining.starts_with("Draining") => Self::Busy,
            _ => Self::Off,
        }
    }
}

/// A state as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Badge {
    pub(crate) icon: Icon,
    pub(crate) said: Said,
}

impl Badge {
    /// Of what a node said, in the reader's words and in its own.
    pub(crate) fn of(said: Said, state: &str) -> Self {
        Self { icon: Icon::of_state(state), said }
    }
}
