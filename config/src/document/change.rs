//! What makes one document of another.

use std::fmt;

use super::{Content, Document, Entry, Path};

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub path: Path,
    /// What stands there; `None`: nothing.
    pub before: Option<Content>,
    /// What is to stand there; `None`: nothing.
    pub after: Option<Content>,
}

/// What stands somewhere is not what a change expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Where.
    pub path: Path,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has been changed meanwhile", self.path)
    }
}

impl std::error::Error for Conflict {}

/// What makes `b` of `a`, in an order in which it can be applied.
#[must_use]
pub fn diff(a: &Document, b: &Document) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut push = |path: Path, before: Option<Content>, after: Option<Content>| {
        if before != after {
            changes.push(Change { path, before, after });
        }
    };
    let paths: std::collections::BTreeSet<_> = a.plain.keys().chain(b.plain.keys()).copied().collect();
    for path in paths {
        let of = |document: &Document| document.plain.get(path).cloned().map(Content::Value);
        push(Path::Setting(path), of(a), of(b));
    }
    let lists: std::collections::BTreeSet<_> = a.lists.keys().chain(b.lists.keys()).copied().collect();
    for list in lists {
        let mut order = Vec::new();
        for entry in a.entries(list) {
            let identity = entry.identity(list).to_owned();
            let Some(other) = b.entry(list, &identity) else {
                push(Path::Entry { list, identity }, Some(Content::Entry(entry.clone())), None);
                continue;
            };
            let keys: std::collections::BTreeSet<_> = entry.iter().chain(other.iter()).map(|(key, _)| key).collect();
            for key in keys {
                let of = |entry: &Entry| entry.get(key).cloned().map(Content::Value);
                push(Path::Key { list, identity: identity.clone(), key }, of(entry), of(other));
            }
            order.push(identity);
        }
        for entry in b.entries(list) {
            let identity = entry.identity(list).to_owned();
            if a.entry(list, &identity).is_none() {
                order.push(identity.clone());
                push(Path::Entry { list, identity }, None, Some(Content::Entry(entry.clone())));
            }
        }
        push(Path::List(list), Some(Content::Order(order)), Some(Content::Order(b.order(list))));
    }
    changes
}

/// Makes the changes, if everything they change is as they expect it.
///
/// # Errors
/// The first place where it is not.
pub fn apply(changes: &[Change], a: &Document) -> Result<Document, Conflict> {
    let mut document = a.clone();
    for change in changes {
        if document.at(&change.path) != change.before || !put(&mut document, change) {
            return Err(Conflict { path: change.path.clone() });
        }
    }
    Ok(document)
}

/// Makes the changes whatever there is now: the later hand wins. What cannot be changed, because its entry is gone, is
/// left out.
#[must_use]
pub fn overlay(changes: &[Change], a: &Document) -> Document {
    let mut document = a.clone();
    for change in changes {
        put(&mut document, change);
    }
    document
}

/// Whether it could be done.
fn put(document: &mut Document, change: &Change) -> bool {
    match (&change.path, &change.after) {
        (Path::Setting(path), Some(Content::Value(value))) => {
            document.plain.insert(path, value.clone());
        }
        (Path::Setting(path), None) => {
            document.plain.remove(path);
        }
        (Path::Key { list, identity, key }, Some(Content::Value(value))) => {
            let Some(entry) = document.entry_mut(list, identity).filter(|_| *key != super::identity_key(list)) else {
                return false;
            };
            entry.put(key, value.clone());
        }
        (Path::Key { list, identity, key }, None) => {
            let Some(entry) = document.entry_mut(list, identity).filter(|_| *key != super::identity_key(list)) else {
                return false;
            };
            entry.take(key);
        }
        (Path::Entry { list, identity }, Some(Content::Entry(new))) => {
            if new.identity(list) != identity || identity.is_empty() {
                return false;
            }
            match document.entry_mut(list, identity) {
                Some(entry) => *entry = new.clone(),
                None => document.lists.entry(list).or_default().push(new.clone()),
            }
        }
        (Path::Entry { list, identity }, None) => {
            if let Some(entries) = document.lists.get_mut(list) {
                entries.retain(|entry| entry.identity(list) != identity);
            }
            document.lists.retain(|_, entries| !entries.is_empty());
        }
        (Path::List(list), Some(Content::Order(order))) => {
            let Some(entries) = document.lists.get_mut(list) else { return order.is_empty() };
            let place = |entry: &Entry| order.iter().position(|one| one == entry.identity(list));
            entries.sort_by_key(|entry| place(entry).unwrap_or(usize::MAX));
        }
        (Path::Setting(_) | Path::Key { .. }, Some(Content::Entry(_) | Content::Order(_)))
        | (Path::Entry { .. }, Some(Content::Value(_) | Content::Order(_)))
        | (Path::List(_), Some(Content::Value(_) | Content::Entry(_)) | None) => return false,
    }
    true
}
