//! The configuration as a value: the settings that are written, apart from the file that they were written in.
//!
//! A core's file has settings that are this node's alone and settings that all cores share ([`Scope`](crate::Scope)).
//! [`split`] takes them apart, [`merge`] puts them together again for [`parse_core`](crate::parse_core), which stays the
//! one place that says whether they are right. In between, a [`Document`] is compared ([`diff`]), changed ([`apply`])
//! and judged ([`plan`]). What must hold, and is fuzzed: `apply(diff(a, b), a) == b`.
//!
//! A document is a set of settings, not a text: comments and the order of lines are not kept. Its text is canonical,
//! so two documents are equal if and only if their texts are.

mod change;
mod path;
mod plan;
mod read;
mod value;
mod write;

use std::collections::BTreeMap;

pub use self::change::{Change, Conflict, apply, diff, overlay};
pub use self::path::{Path, PathFault};
pub use self::plan::{Plan, Step, plan};
pub use self::read::{placed, split};
pub use self::value::{Content, Entry, Hidden, Value};
use crate::known;
use crate::problem::Problems;

/// What a secret is shown as, and how it is written where the one that is kept is to stay.
pub const SEALED: &str = "sealed";
/// How a secret begins that is sealed.
pub const SEALED_PREFIX: &str = "sealed:v1:";

/// The settings that are written, of one scope or of both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Settings outside of lists of tables, by their names.
    plain: BTreeMap<&'static str, Value>,
    /// Lists of tables, none of them empty. The order of entries counts.
    lists: BTreeMap<&'static str, Vec<Entry>>,
}

impl Document {
    /// Reads the text of shared settings. `origin` is its name, for the problems.
    ///
    /// # Errors
    /// What is no TOML, unknown, or this node's alone; whether values are right is not asked here.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Problems> {
        read::shared(text, origin)
    }

    /// The canonical text. Secrets stand in it as they are kept.
    #[must_use]
    pub fn to_toml(&self) -> String {
        write::text(self, false)
    }

    /// The canonical text for people: `"sealed"` in the place of each secret.
    #[must_use]
    pub fn to_toml_shown(&self) -> String {
        write::text(self, true)
    }

    /// Whether nothing is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.lists.is_empty()
    }

    /// What is written at `path`.
    #[must_use]
    pub fn at(&self, path: &Path) -> Option<Content> {
        match path {
            Path::Setting(setting) => self.plain.get(setting).cloned().map(Content::Value),
            Path::List(list) => Some(self.order(list)).filter(|order| !order.is_empty()).map(Content::Order),
            Path::Entry { list, identity } => self.entry(list, identity).cloned().map(Content::Entry),
            Path::Key { list, identity, key } => self.entry(list, identity)?.get(key).cloned().map(Content::Value),
        }
    }

    /// The entries of a list of tables, in order.
    #[must_use]
    pub fn entries(&self, list: &str) -> &[Entry] {
        self.lists.get(list).map_or(&[], Vec::as_slice)
    }

    /// Every secret that is written, with its path.
    #[must_use]
    pub fn secrets(&self) -> Vec<(Path, Hidden)> {
        let mut secrets = Vec::new();
        for (list, entries) in &self.lists {
            for entry in entries {
                for (key, value) in entry.iter() {
                    if let Value::Secret(hidden) = value {
                        let identity = entry.identity(list).to_owned();
                        secrets.push((Path::Key { list, identity, key }, hidden.clone()));
                    }
                }
            }
        }
        secrets
    }

    /// Puts a secret in the place of the one at `path`, if one is there.
    pub fn replace_secret(&mut self, path: &Path, secret: String) {
        if let Path::Key { list, identity, key } = path
            && let Some(entry) = self.entry_mut(list, identity)
            && matches!(entry.get(key), Some(Value::Secret(_)))
        {
            entry.put(key, Value::Secret(Hidden::new(secret)));
        }
    }

    /// The settings of both; where both have one, that of `other`.
    #[must_use]
    fn union(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.plain.extend(other.plain.iter().map(|(path, value)| (*path, value.clone())));
        both.lists.extend(other.lists.iter().map(|(list, entries)| (*list, entries.clone())));
        both
    }

    fn order(&self, list: &str) -> Vec<String> {
        self.entries(list).iter().map(|entry| entry.identity(list).to_owned()).collect()
    }

    fn entry(&self, list: &str, identity: &str) -> Option<&Entry> {
        self.entries(list).iter().find(|entry| entry.identity(list) == identity)
    }

    fn entry_mut(&mut self, list: &str, identity: &str) -> Option<&mut Entry> {
        self.lists.get_mut(list)?.iter_mut().find(|entry| entry.identity(list) == identity)
    }
}

/// This node's settings and the shared ones, as one text for [`parse_core`](crate::parse_core).
#[must_use]
pub fn merge(local: &Document, shared: &Document) -> String {
    local.union(shared).to_toml()
}

/// What tells the entries of `list` apart.
fn identity_key(list: &str) -> &'static str {
    known::identity_of(list).expect("every list of tables has a key that tells its entries apart")
}

#[cfg(test)]
mod tests;
