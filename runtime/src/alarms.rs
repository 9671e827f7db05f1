//! The alarms that stand at a node.

use std::collections::BTreeMap;
use std::rc::Rc;

use edgeway_model::alarm::{Alarm, Severity};
use edgeway_model::notice::Level;

use crate::http::limits::ALARMS_MAX;
use crate::operate::Events;

/// The names of the two events.
const RAISED: &str = "alarm.raised";
const ENDED: &str = "alarm.ended";

/// Alarms by what they are and what they are about.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    standing: BTreeMap<(&'static str, String), Alarm>,
    events: Rc<Events>,
}

impl Alarms {
    /// None stands; what comes and goes is an event.
    pub(crate) fn telling(events: Rc<Events>) -> Self {
        Self { standing: BTreeMap::new(), events }
    }

    /// One stands from now on, or stands with other words. It stands since it was raised first.
    pub(crate) fn raise(&mut self, mut alarm: Alarm) {
        let key = (alarm.id, alarm.about.clone());
        match self.standing.get(&key) {
            Some(known) => alarm.since_ms = known.since_ms,
            None => {
                self.make_room();
                let Alarm { id, about, severity, cause, action, .. } = &alarm;
                let level = match severity {
                    Severity::Warning => Level::Warning,
                    Severity::Error | Severity::Critical => Level::Error,
                };
                match level {
                    Level::Error => tracing::error!(event = RAISED, alarm = id, %about, "{cause} {action}"),
                    Level::Debug | Level::Info | Level::Warning => {
                        tracing::warn!(event = RAISED, alarm = id, %about, "{cause} {action}");
                    }
                }
                self.events.add(level, RAISED, format!("{id} ({about}): {cause} {action}"));
            }
        }
        self.standing.insert(key, alarm);
    }

    /// One is over.
    pub(crate) fn end(&mut self, id: &'static str, about: &str) {
        if self.standing.remove(&(id, about.to_owned())).is_some() {
            tracing::info!(event = ENDED, alarm = id, %about, "an alarm is over");
            self.events.add(Level::Info, ENDED, format!("{id} ({about}) is over"));
        }
    }

    /// All of them, the worst first, and then the oldest.
    pub(crate) fn list(&self) -> Vec<Alarm> {
        let mut list: Vec<_> = self.standing.values().cloned().collect();
        list.sort_by_key(|alarm| (std::cmp::Reverse(alarm.severity), alarm.since_ms));
        list
    }

    fn make_room(&mut self) {
        while self.standing.len() >= ALARMS_MAX {
            let least = self.standing.values().min_by_key(|alarm| (alarm.severity, alarm.since_ms));
            let Some(key) = least.map(|alarm| (alarm.id, alarm.about.clone())) else { return };
            self.standing.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(about: &str, severity: Severity, since_ms: u64) -> Alarm {
        let (cause, action) = ("It is so.".to_owned(), "Do this.".to_owned());
        Alarm { id: "test", about: about.to_owned(), severity, cause, action, since_ms, node: None }
    }

    #[test]
    fn an_alarm_stands_once_since_its_beginning_until_it_is_over() {
        let mut alarms = Alarms::default();
        alarms.raise(alarm("a", Severity::Warning, 5));
        alarms.raise(alarm("b", Severity::Critical, 6));
        alarms.raise(alarm("a", Severity::Error, 9));
        let seen: Vec<_> = alarms.list().into_iter().map(|one| (one.about, one.severity, one.since_ms)).collect();
        assert_eq!(seen, [("b".into(), Severity::Critical, 6), ("a".into(), Severity::Error, 5)]);
        alarms.end("other", "a");
        alarms.end("test", "b");
        assert_eq!(alarms.list().len(), 1);
    }

    #[test]
    fn the_mildest_and_oldest_give_way() {
        let mut alarms = Alarms::default();
        alarms.raise(alarm("first", Severity::Warning, 0));
        alarms.raise(alarm("bad", Severity::Critical, 0));
        for n in 0..ALARMS_MAX {
            alarms.raise(alarm(&n.to_string(), Severity::Warning, n as u64 + 1));
        }
        let list = alarms.list();
        assert_eq!((list.len(), list[0].about.as_str()), (ALARMS_MAX, "bad"));
        assert!(!list.iter().any(|one| one.about == "first"));
    }
}
