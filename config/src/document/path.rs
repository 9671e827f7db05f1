//! Where something stands in a document.

use std::fmt;
use std::str::FromStr;

use toml::de::{DeTable, DeValue};

use super::write;
use crate::known::{self, Role, Setting};
use crate::limits::DOCUMENT_PATH_BYTES_MAX;

/// A place in a document: `sip.path_headers`, `unified_cm["cucm1.example.com"].user`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// A setting outside of lists of tables.
    Setting(&'static str),
    /// A list of tables: the order of its entries.
    List(&'static str),
    /// An entry of a list of tables, whole.
    Entry {
        /// The list.
        list: &'static str,
        /// What tells it from the others.
        identity: String,
    },
    /// A setting of an entry.
    Key {
        /// The list.
        list: &'static str,
        /// What tells the entry from the others.
        identity: String,
        /// The rest of the setting's name.
        key: &'static str,
    },
}

impl Path {
    /// The setting that stands there; for entries and lists, that which tells entries apart.
    #[must_use]
    pub fn setting(&self) -> Option<&'static Setting> {
        let of = |list: &str, key: &str| known::find(Role::Core, &format!("{list}.{key}"));
        match self {
            Self::Setting(path) => known::find(Role::Core, path),
            Self::List(list) | Self::Entry { list, .. } => of(list, super::identity_key(list)),
            Self::Key { list, key, .. } => of(list, key),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |identity: &str| {
            let mut text = String::new();
            write::quote(&mut text, identity);
            text
        };
        match self {
            Self::Setting(path) | Self::List(path) => f.write_str(path),
            Self::Entry { list, identity } => write!(f, "{list}[{}]", quoted(identity)),
            Self::Key { list, identity, key } => write!(f, "{list}[{}].{key}", quoted(identity)),
        }
    }
}

/// A text that is no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathFault;

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no such setting")
    }
}

impl std::error::Error for PathFault {}

impl FromStr for Path {
    type Err = PathFault;

    fn from_str(text: &str) -> Result<Self, PathFault> {
        if text.len() > DOCUMENT_PATH_BYTES_MAX {
            return Err(PathFault);
        }
        let Some((list, rest)) = text.split_once('[') else {
            if let Some(setting) = known::find(Role::Core, text).filter(|setting| setting.list().is_none()) {
                return Ok(Self::Setting(setting.path));
            }
            return Ok(Self::List(known::list_of_tables(text).ok_or(PathFault)?));
        };
        let list = known::list_of_tables(list).ok_or(PathFault)?;
        // No key has a bracket in it, so the last one ends the identity, whatever that is.
        let (quoted, rest) = rest.rsplit_once(']').ok_or(PathFault)?;
        let identity = unquoted(quoted).ok_or(PathFault)?;
        if rest.is_empty() {
            return Ok(Self::Entry { list, identity });
        }
        let key = rest.strip_prefix('.').ok_or(PathFault)?;
        let setting = known::find(Role::Core, &format!("{list}.{key}")).ok_or(PathFault)?;
        Ok(Self::Key { list, identity, key: &setting.path[list.len() + 1..] })
    }
}

/// A string of TOML.
fn unquoted(quoted: &str) -> Option<String> {
    let line = format!("x = {quoted}");
    let document = DeTable::parse(&line).ok()?;
    let table = document.get_ref();
    let value = table.get("x").filter(|_| table.len() == 1)?;
    if let DeValue::String(text) = value.get_ref() { Some(text.to_string()) } else { None }
}
