//! Roles by name.

use super::Role;

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::ReadOnly, Self::Operator, Self::Administrator];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        }
    }
}
