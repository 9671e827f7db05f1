//! What a change of a setting takes, where settings are kept, and which of them are secrets.

use super::{Role, Setting};

/// What a change of a setting takes, with the words of the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impact {
    /// It holds at once, and nothing that exists notices.
    AtOnce(&'static str),
    /// It holds at once for what begins from then on; what exists goes on as it was.
    NewFlows(&'static str),
    /// A listener is drained: what came by it goes on, and comes no more.
    Drains(&'static str),
    /// The service must be restarted before it holds.
    Restart(&'static str),
}

impl Impact {
    /// In the words of the manual.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::AtOnce(words) | Self::NewFlows(words) | Self::Drains(words) | Self::Restart(words) => words,
        }
    }

    /// Its name for programs: `none`, `new_flows`, `drains` or `restart`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AtOnce(_) => "none",
            Self::NewFlows(_) => "new_flows",
            Self::Drains(_) => "drains",
            Self::Restart(_) => "restart",
        }
    }
}

/// Where a core's setting is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In this node's file only: its name, its addresses, its folders, its listeners, its own keys.
    Local,
    /// In the configuration that all cores have, with its revisions.
    Shared,
}

impl Scope {
    /// Its name: `local` or `shared`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Shared => "shared",
        }
    }
}

/// A core's settings that are this node's alone; whatever is not here is shared. What ends with a dot is a whole table.
const LOCAL: [&str; 17] = [
    "node",
    "state_dir",
    "control_socket",
    // Has to fit into the unit of the service manager on this machine.
    "drain.timeout",
    "metrics",
    "log.format",
    "sip.listen",
    "sip.advertise",
    "sip.tls.listen",
    "sip.tls.certificate",
    "sip.tls.key",
    "media.address",
    "media.ports",
    "link.listen",
    "link.public_address",
    // Whom this core dials, and where: another core may see other addresses.
    "link.peer.",
    "link.edge.",
];

/// As [`LOCAL`], of what was added with the administrator's side.
const LOCAL_TOO: [&str; 3] = ["sign_in.key_file", "admin.", "hep.capture_id"];

/// Settings whose values are secrets: they are sealed where they are kept and never shown.
const SECRETS: [&str; 3] = ["unified_cm.password", "im_and_presence.password", "unity.password"];

/// What tells the entries of a list of tables apart.
const IDENTITIES: [(&str, &str); 9] = [
    ("sip.certificates", "chain"),
    ("link.edge", "node"),
    ("link.peer", "node"),
    ("deployment", "name"),
    ("unified_cm", "address"),
    ("im_and_presence", "address"),
    ("unity", "address"),
    ("http.allow_list_rule", "name"),
    ("xmpp_server", "address"),
];

/// The key that tells the entries of the list of tables `list` apart.
pub(crate) fn identity_of(list: &str) -> Option<&'static str> {
    IDENTITIES.iter().find(|(name, _)| *name == list).map(|(_, key)| *key)
}

impl Setting {
    /// Where it is written, for a setting of a core. An edge's are all its own.
    #[must_use]
    pub fn scope(&self) -> Scope {
        let local = LOCAL.iter().chain(&LOCAL_TOO).any(|local| match local.strip_suffix('.') {
            Some(table) => self.path.strip_prefix(table).is_some_and(|rest| rest.starts_with('.')),
            None => *local == self.path,
        });
        if local { Scope::Local } else { Scope::Shared }
    }

    /// Whether its value is a secret.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        SECRETS.contains(&self.path)
    }

    /// The list of tables it stands in.
    #[must_use]
    pub fn list(&self) -> Option<&'static str> {
        super::LISTS_OF_TABLES.into_iter().find(|list| {
            self.path.strip_prefix(list).is_some_and(|rest| rest.starts_with('.'))
                && super::is_list_of_tables(Role::Core, list)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known;

    #[test]
    fn every_list_has_what_tells_its_entries_apart_and_no_list_is_in_two_places() {
        for list in known::LISTS_OF_TABLES {
            let key = identity_of(list).expect(list);
            let path = format!("{list}.{key}");
            assert!([Role::Edge, Role::Core].iter().any(|role| known::find(*role, &path).is_some()), "{path}");
            let within = known::of(Role::Core).filter(|one| one.path.starts_with(&format!("{list}.")));
            let mut scopes: Vec<_> = within.map(|setting| setting.scope().as_str()).collect();
            scopes.dedup();
            assert!(scopes.len() <= 1, "{list}: {scopes:?}");
        }
    }

    #[test]
    fn what_is_local_or_secret_is_a_setting() {
        for path in LOCAL.iter().copied().chain(["sign_in.key_file"]).chain(SECRETS) {
            let found = match path.strip_suffix('.') {
                Some(table) => known::is_table(Role::Core, table),
                None => known::find(Role::Core, path).is_some(),
            };
            assert!(found, "{path}");
        }
    }
}
