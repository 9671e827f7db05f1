//! Values as they are written.

use std::collections::BTreeMap;
use std::fmt;

use super::{SEALED, identity_key, write};
use crate::known::{self, Role};
use crate::limits::{LIST_ENTRIES_MAX, SECRET_BYTES_MAX, VALUE_BYTES_MAX};

/// A secret as it is kept: never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// Hides a text.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for whoever seals or uses it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is sealed, rather than plain.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.0.starts_with(super::SEALED_PREFIX)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// The value of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
    /// Several, none of them a list.
    List(Vec<Value>),
    /// The text of a secret.
    Secret(Hidden),
}

impl Value {
    /// As it is shown: TOML, but a secret is `"sealed"`.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut text = String::new();
        write::value(&mut text, self, true);
        text
    }

    /// The same value as the setting of `secret` kind, or not, keeps it.
    ///
    /// # Errors
    /// Why it cannot be kept.
    pub fn kept(self, secret: bool) -> Result<Self, String> {
        match (&self, secret) {
            (Self::List(all), _) if all.len() > LIST_ENTRIES_MAX => Err(format!("{} entries", all.len())),
            (Self::List(all), false) => match all.iter().find(|one| matches!(one, Self::List(_) | Self::Secret(_))) {
                Some(_) => Err("a list within a list".to_owned()),
                None if all.iter().any(Self::is_long) => Err("a text that is too long".to_owned()),
                None => Ok(self),
            },
            (Self::Text(text), true) if text.len() <= SECRET_BYTES_MAX => Ok(Self::Secret(Hidden::new(text.clone()))),
            (Self::Secret(_), true) => Ok(self),
            (Self::Text(_), false) if !self.is_long() => Ok(self),
            (Self::Boolean(_) | Self::Integer(_), false) => Ok(self),
            (Self::Text(_), _) => Err("a text that is too long".to_owned()),
            (Self::Secret(_), false) => Err("a secret where none is kept".to_owned()),
            (Self::Boolean(_) | Self::Integer(_) | Self::List(_), true) => Err("is no text".to_owned()),
        }
    }

    fn is_long(&self) -> bool {
        matches!(self, Self::Text(text) if text.len() > VALUE_BYTES_MAX)
    }
}

/// One table of a list: its settings by the rest of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry(BTreeMap<&'static str, Value>);

impl Entry {
    /// One without settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One of its settings.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Its settings.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(key, value)| (*key, value))
    }

    /// Gives the setting `key` of an entry of `list` a value.
    ///
    /// # Errors
    /// Why not: there is no such setting, or it cannot have such a value.
    pub fn set(&mut self, list: &str, key: &str, value: Value) -> Result<(), String> {
        let setting = known::find(Role::Core, &format!("{list}.{key}"));
        let setting = setting.ok_or_else(|| format!("{}: there is no such setting", crate::values::shown(key)))?;
        let value = value.kept(setting.is_secret()).map_err(|why| format!("{key}: {why}"))?;
        self.put(&setting.path[list.len() + 1..], value);
        Ok(())
    }

    /// Gives an entry of `list` what tells it from the others, where it does not say that itself.
    pub fn name(&mut self, list: &str, identity: &str) {
        self.0.entry(identity_key(list)).or_insert_with(|| Value::Text(identity.to_owned()));
    }

    pub(crate) fn put(&mut self, key: &'static str, value: Value) {
        self.0.insert(key, value);
    }

    pub(super) fn take(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// What tells it from others of `list`. Every entry of a document has it.
    pub(crate) fn identity(&self, list: &str) -> &str {
        match self.get(identity_key(list)) {
            Some(Value::Text(identity)) => identity,
            Some(Value::Boolean(_) | Value::Integer(_) | Value::List(_) | Value::Secret(_)) | None => "",
        }
    }
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The value of a setting.
    Value(Value),
    /// A whole entry of a list of tables.
    Entry(Entry),
    /// The order of the entries of a list of tables.
    Order(Vec<String>),
}

impl Content {
    /// As it is shown: TOML, with `"sealed"` for each secret.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Value(value) => value.shown(),
            Self::Entry(entry) => {
                let one = |(key, value): (&'static str, &Value)| format!("{key} = {}", value.shown());
                format!("{{ {} }}", entry.iter().map(one).collect::<Vec<_>>().join(", "))
            }
            Self::Order(order) => Value::List(order.iter().cloned().map(Value::Text).collect()).shown(),
        }
    }
}

/// Whether a text asks for the secret that is kept already.
impl PartialEq<&str> for Hidden {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl Hidden {
    /// Whether it only says that the one that is kept is to stay.
    #[must_use]
    pub fn is_mask(&self) -> bool {
        *self == SEALED
    }
}
