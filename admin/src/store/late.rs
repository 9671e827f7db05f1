//! A store that may not be there yet: until it is, everything is refused with the reason, and nothing is said to be kept
//! that is not.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{AuditLine, Kind, NewRevision, Record, Revision, RevisionHead, Store, StoreFault, Write};

/// A store, or why there is none. Once it is there it stays.
pub struct LateStore {
    store: OnceLock<Arc<dyn Store>>,
    why: Mutex<String>,
}

impl LateStore {
    /// One that is there.
    #[must_use]
    pub fn there(store: Arc<dyn Store>) -> Self {
        Self { store: OnceLock::from(store), why: Mutex::default() }
    }

    /// One that could not be opened.
    #[must_use]
    pub fn missing(why: String) -> Self {
        Self { store: OnceLock::new(), why: Mutex::new(why) }
    }

    /// The store behind it.
    #[must_use]
    pub fn opened(&self) -> Option<&Arc<dyn Store>> {
        self.store.get()
    }

    /// It is there from now on; without effect where it was.
    pub(crate) fn open(&self, store: Arc<dyn Store>) {
        let _ = self.store.set(store);
    }

    /// Why it is still not there. Whether that is another reason than before.
    pub(crate) fn still_missing(&self, why: &str) -> bool {
        let mut known = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        let other = *known != why;
        why.clone_into(&mut known);
        other
    }

    /// Why it is not there; `None` where it is.
    #[must_use]
    pub fn missing_because(&self) -> Option<String> {
        let why = || self.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.store.get().is_none().then(why)
    }

    fn store(&self) -> Result<&dyn Store, StoreFault> {
        let why = || StoreFault::Unavailable(self.why.lock().unwrap_or_else(PoisonError::into_inner).clone());
        self.store.get().map(Arc::as_ref).ok_or_else(why)
    }
}

impl Store for LateStore {
    fn head(&self) -> Result<Option<Revision>, StoreFault> {
        self.store()?.head()
    }

    fn revision(&self, number: u64) -> Result<Option<Revision>, StoreFault> {
        self.store()?.revision(number)
    }

    fn history(&self, before: Option<u64>, limit: usize) -> Result<Vec<RevisionHead>, StoreFault> {
        self.store()?.history(before, limit)
    }

    fn commit(&self, expected: u64, new: NewRevision, also: &[Write<'_>]) -> Result<RevisionHead, StoreFault> {
        self.store()?.commit(expected, new, also)
    }

    fn record(&self, kind: Kind, key: &str) -> Result<Option<Record>, StoreFault> {
        self.store()?.record(kind, key)
    }

    fn records(&self, kind: Kind, after: Option<&str>, limit: usize) -> Result<Vec<Record>, StoreFault> {
        self.store()?.records(kind, after, limit)
    }

    fn put(&self, kind: Kind, key: &str, value: &str, expected: Option<u64>) -> Result<u64, StoreFault> {
        self.store()?.put(kind, key, value, expected)
    }

    fn remove(&self, kind: Kind, key: &str) -> Result<bool, StoreFault> {
        self.store()?.remove(kind, key)
    }

    fn audit(&self, line: &AuditLine) -> Result<(), StoreFault> {
        self.store()?.audit(line)
    }

    fn audited(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditLine>, StoreFault> {
        self.store()?.audited(before, limit)
    }

    fn has_room(&self, bytes: usize) -> Result<(), StoreFault> {
        self.store()?.has_room(bytes)
    }
}
