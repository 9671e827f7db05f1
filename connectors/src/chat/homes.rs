//! Which server a user lives on, where a server has said it and no authority did.

use std::cell::RefCell;
use std::collections::BTreeMap;

use edgeway_model::sign_in::Subject;

use super::limits::HOMES_MAX;

/// What servers have said. Lost with the process: they say it again.
#[derive(Default)]
pub(super) struct Homes(RefCell<BTreeMap<Subject, String>>);

impl Homes {
    pub(super) fn remember(&self, subject: &Subject, host: &str) {
        let mut homes = self.0.borrow_mut();
        if homes.len() >= HOMES_MAX && !homes.contains_key(subject) {
            // Anybody will do: who is forgotten is told once more.
            homes.pop_first();
        }
        homes.insert(subject.clone(), host.to_owned());
    }

    pub(super) fn of(&self, subject: &Subject) -> Option<String> {
        self.0.borrow().get(subject).cloned()
    }
}
