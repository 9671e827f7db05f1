//! What HTTP counts: many times a second on one thread, read now and then by another.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::limits::COUNTERS_MAX;

/// Counters by name.
#[derive(Debug, Default)]
pub struct Counts(Mutex<BTreeMap<&'static str, u64>>);

impl Counts {
    /// One more.
    pub fn add(&self, what: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() < COUNTERS_MAX || counts.contains_key(what) {
            *counts.entry(what).or_default() += 1;
        }
    }

    /// All of them, by name.
    #[must_use]
    pub fn read(&self) -> Vec<(&'static str, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(what, count)| (*what, *count)).collect()
    }
}
