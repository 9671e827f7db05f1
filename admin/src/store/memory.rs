//! A store that ends with its process: for the lab, and as the model the others are compared with.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::limits::{AUDIT_LINES_MAX, PAGE_MAX};
use super::thinning::{Kept, surplus};
use super::{AuditLine, Kind, NewRevision, Record, Revision, RevisionHead, Store, StoreFault, Write, fitting};

/// Everything in memory. Clones are the same store.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    kept: Arc<Mutex<Contents>>,
}

#[derive(Debug, Default)]
struct Contents {
    revisions: BTreeMap<u64, Revision>,
    records: BTreeMap<(Kind, String), (String, u64)>,
    /// The version that was given last.
    version: u64,
    audit: VecDeque<AuditLine>,
    /// The number of the last audit line.
    audited: u64,
}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // Nothing panics between two changes that belong together, so what a panicking caller left is whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn head(&self) -> Option<&Revision> {
        self.revisions.last_key_value().map(|(_, revision)| revision)
    }

    fn count(&self, kind: Kind) -> usize {
        self.records.keys().filter(|(of, _)| *of == kind).count()
    }

    fn put(&mut self, kind: Kind, key: &str, value: &str) -> Result<u64, StoreFault> {
        let at = (kind, key.to_owned());
        if !self.records.contains_key(&at) && self.count(kind) >= kind.records_max() {
            return Err(fitting::too_many(kind));
        }
        self.version += 1;
        self.records.insert(at, (value.to_owned(), self.version));
        Ok(self.version)
    }

    /// All of them or none.
    fn write_all(&mut self, writes: &[Write<'_>]) -> Result<(), StoreFault> {
        let before = (self.records.clone(), self.version);
        for write in writes {
            let done = match write.value {
                Some(value) => self.put(write.kind, write.key, value).map(drop),
                None => {
                    self.records.remove(&(write.kind, write.key.to_owned()));
                    Ok(())
                }
            };
            if let Err(fault) = done {
                (self.records, self.version) = before;
                return Err(fault);
            }
        }
        Ok(())
    }

    fn thin_out(&mut self) {
        let kept = |(number, one): (&u64, &Revision)| Kept { number: *number, bytes: one.document.len() };
        let confirmations = self.records.keys().filter(|(kind, _)| *kind == Kind::Confirmation);
        let referred: Vec<u64> = confirmations.filter_map(|(_, key)| key.parse().ok()).collect();
        for number in surplus(self.revisions.iter().map(kept).collect(), &referred) {
            self.revisions.remove(&number);
        }
    }
}

impl Store for MemoryStore {
    fn has_room(&self, _bytes: usize) -> Result<(), StoreFault> {
        Ok(())
    }

    fn head(&self) -> Result<Option<Revision>, StoreFault> {
        Ok(self.contents().head().cloned())
    }

    fn revision(&self, number: u64) -> Result<Option<Revision>, StoreFault> {
        Ok(self.contents().revisions.get(&number).cloned())
    }

    fn history(&self, before: Option<u64>, limit: usize) -> Result<Vec<RevisionHead>, StoreFault> {
        let contents = self.contents();
        let older = contents.revisions.range(..before.unwrap_or(u64::MAX)).rev();
        Ok(older.take(limit.min(PAGE_MAX)).map(|(_, revision)| revision.head.clone()).collect())
    }

    fn commit(&self, expected: u64, new: NewRevision, also: &[Write<'_>]) -> Result<RevisionHead, StoreFault> {
        fitting::check_revision(&new, also)?;
        let mut contents = self.contents();
        let head = contents.head().map_or(0, |revision| revision.head.number);
        if head != expected {
            return Err(StoreFault::Conflict { head });
        }
        contents.write_all(also)?;
        let NewRevision { author, at_ms, comment, document } = new;
        let made = RevisionHead { number: head + 1, author, at_ms, comment };
        contents.revisions.insert(made.number, Revision { head: made.clone(), document });
        contents.thin_out();
        Ok(made)
    }

    fn record(&self, kind: Kind, key: &str) -> Result<Option<Record>, StoreFault> {
        let contents = self.contents();
        let found = contents.records.get_key_value(&(kind, key.to_owned()));
        Ok(found.map(|((_, key), (value, version))| Record {
            key: key.clone(),
            value: value.clone(),
            version: *version,
        }))
    }

    fn records(&self, kind: Kind, after: Option<&str>, limit: usize) -> Result<Vec<Record>, StoreFault> {
        let contents = self.contents();
        let from = (kind, after.unwrap_or_default().to_owned());
        let of_kind = contents.records.range(from..).take_while(|((of, _), _)| *of == kind);
        let later = of_kind.filter(|((_, key), _)| after.is_none_or(|after| key.as_str() > after));
        let record = |((_, key), (value, version)): (&(Kind, String), &(String, u64))| Record {
            key: key.clone(),
            value: value.clone(),
            version: *version,
        };
        Ok(later.take(limit.min(PAGE_MAX)).map(record).collect())
    }

    fn put(&self, kind: Kind, key: &str, value: &str, expected: Option<u64>) -> Result<u64, StoreFault> {
        fitting::check_record(kind, key, value)?;
        let mut contents = self.contents();
        let version = contents.records.get(&(kind, key.to_owned())).map_or(0, |(_, version)| *version);
        if expected.is_some_and(|expected| expected != version) {
            return Err(StoreFault::Conflict { head: version });
        }
        contents.put(kind, key, value)
    }

    fn remove(&self, kind: Kind, key: &str) -> Result<bool, StoreFault> {
        Ok(self.contents().records.remove(&(kind, key.to_owned())).is_some())
    }

    fn audit(&self, line: &AuditLine) -> Result<(), StoreFault> {
        let mut contents = self.contents();
        contents.audited += 1;
        let number = contents.audited;
        contents.audit.push_back(AuditLine { number, ..fitting::fitted(line) });
        if contents.audit.len() as u64 > AUDIT_LINES_MAX {
            contents.audit.pop_front();
        }
        Ok(())
    }

    fn audited(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditLine>, StoreFault> {
        let contents = self.contents();
        let older = contents.audit.iter().rev().filter(|line| before.is_none_or(|before| line.number < before));
        Ok(older.take(limit.min(PAGE_MAX)).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[test]
    fn it_conforms() {
        conformance::ask_all(&|ask| {
            let store = MemoryStore::new();
            ask(&|| Box::new(store.clone()));
        });
    }

    #[test]
    fn the_audit_log_forgets_its_oldest_lines() {
        let store = MemoryStore::new();
        let line = AuditLine {
            number: 0,
            at_ms: 1,
            actor: "a".into(),
            from: "b".into(),
            action: "c".into(),
            outcome: "d".into(),
        };
        for _ in 0..AUDIT_LINES_MAX + 5 {
            store.audit(&line).expect("written");
        }
        assert_eq!(store.contents().audit.len() as u64, AUDIT_LINES_MAX);
        assert_eq!(store.audited(Some(7), 10).expect("a page").len(), 1);
    }
}
