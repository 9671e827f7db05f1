//! The alarms of discovery, and of chat: told once when they begin, when their words change, and when they are over. Whoever is
//! told writes them to the log.

use std::cell::RefCell;
use std::collections::BTreeMap;

use edgeway_model::alarm::{Alarm, Severity};
use edgeway_runtime::clock::unix_ms;
use edgeway_runtime::http::{HttpFact, Teller};

/// What stands.
pub(crate) struct Alarms {
    teller: Teller,
    standing: RefCell<BTreeMap<(&'static str, String), Alarm>>,
}

impl Alarms {
    pub(crate) fn new(teller: Teller) -> Self {
        Self { teller, standing: RefCell::default() }
    }

    /// Something is the case from now on, or still is.
    pub(crate) fn raise(&self, id: &'static str, about: &str, severity: Severity, cause: String, action: &str) {
        let key = (id, about.to_owned());
        let mut standing = self.standing.borrow_mut();
        let since_ms = standing.get(&key).map_or_else(unix_ms, |alarm| alarm.since_ms);
        let (about, action) = (about.to_owned(), action.to_owned());
        let alarm = Alarm { id, about, severity, cause, action, since_ms, node: None };
        if standing.get(&key) != Some(&alarm) {
            standing.insert(key, alarm.clone());
            self.teller.tell(HttpFact::Alarm(alarm));
        }
    }

    /// Whatever stands about something that is no longer there is over.
    pub(crate) fn keep_about(&self, is_there: impl Fn(&str) -> bool) {
        let gone = |(_, about): &&(&'static str, String)| !is_there(about);
        let gone: Vec<_> = self.standing.borrow().keys().filter(gone).cloned().collect();
        for (id, about) in gone {
            self.over(id, &about);
        }
    }

    /// It is not the case, or no longer.
    pub(crate) fn over(&self, id: &'static str, about: &str) {
        if self.standing.borrow_mut().remove(&(id, about.to_owned())).is_some() {
            self.teller.tell(HttpFact::AlarmOver { id, about: about.to_owned() });
        }
    }
}
