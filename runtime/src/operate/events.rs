//! What has happened lately at a node, for whoever looks: notices and alarms, as typed facts with stable names.
//!
//! What comes once for each message or call has a ring of its own, so that a crowd, or an attacker, does not push out what an
//! operator must see.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use edgeway_model::Pii;
use edgeway_model::limits::LISTED_MAX;
use edgeway_model::notice::{Level, Notice};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Refusal, read};
use crate::clock::unix_ms;
use crate::limits::{EVENT_BYTES_MAX, EVENTS_KEPT, FREQUENT_EVENTS_KEPT};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    seq: u64,
    at_ms: u64,
    level: Level,
    id: &'static str,
    text: String,
}

/// The last of them.
#[derive(Debug, Default)]
pub(crate) struct Events {
    seq: Cell<u64>,
    rare: RefCell<VecDeque<Event>>,
    frequent: RefCell<VecDeque<Event>>,
}

/// What is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wish {
    /// Those behind this number, the oldest first; without it, the newest.
    after: Option<u64>,
    limit: Option<usize>,
    /// Those that matter at least so much.
    level: Option<String>,
    /// Those whose name begins like this.
    id: Option<String>,
}

impl Events {
    /// A node has told its operator something. People and addresses are shown: the lists are the operator's own.
    pub(crate) fn note(&self, notice: &Notice) {
        let text = notice.to_string();
        let text = match notice.revealed() {
            Some(whom) => text.replacen(&Pii::new(()).to_string(), &whom, 1),
            None => text,
        };
        self.add(notice.level(), notice.id(), text);
    }

    /// Something else has happened.
    pub(crate) fn add(&self, level: Level, id: &'static str, mut text: String) {
        let cut = (0..=EVENT_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(cut.unwrap_or(0));
        let seq = self.seq.get() + 1;
        self.seq.set(seq);
        let (ring, kept) = match level {
            Level::Debug => (&self.frequent, FREQUENT_EVENTS_KEPT),
            Level::Info | Level::Warning | Level::Error => (&self.rare, EVENTS_KEPT),
        };
        let mut ring = ring.borrow_mut();
        if ring.len() >= kept {
            ring.pop_front();
        }
        ring.push_back(Event { seq, at_ms: unix_ms(), level, id, text });
    }

    /// Answers `events`.
    pub(crate) fn list(&self, question: &Value) -> Result<Value, Refusal> {
        let wish: Wish = read(question)?;
        let least = match &wish.level {
            None => Level::Debug,
            Some(word) => Level::ALL
                .into_iter()
                .find(|level| level.label() == word)
                .ok_or_else(|| Refusal::invalid("a level is debug, info, warning or error"))?,
        };
        let limit = wish.limit.unwrap_or(LISTED_MAX).clamp(1, LISTED_MAX);
        let (rare, frequent) = (self.rare.borrow(), self.frequent.borrow());
        let after = wish.after.unwrap_or(0);
        let wanted = |event: &&Event| {
            event.seq > after && event.level >= least && wish.id.as_deref().is_none_or(|id| event.id.starts_with(id))
        };
        let mut events: Vec<_> = rare.iter().chain(frequent.iter()).filter(wanted).collect();
        events.sort_unstable_by_key(|event| event.seq);
        let total = events.len();
        match wish.after {
            Some(_) => events.truncate(limit),
            None => _ = events.drain(..total.saturating_sub(limit)),
        }
        let more = wish.after.is_some() && total > events.len();
        let next = events.last().map(|event| event.seq).filter(|_| more);
        let rows: Vec<_> = events.into_iter().map(row).collect();
        Ok(json!({ "events": rows, "next": next, "total": total, "last": self.seq.get() }))
    }
}

fn row(event: &Event) -> Value {
    let Event { seq, at_ms, level, id, text } = event;
    json!({ "seq": seq, "at_ms": at_ms, "level": level.label(), "id": id, "text": text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeway_model::FlowId;

    fn texts(events: &Events, question: &Value) -> Vec<String> {
        let answer = events.list(question).unwrap();
        let rows = answer["events"].as_array().unwrap();
        rows.iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_crowd_does_not_push_out_what_matters() {
        let events = Events::default();
        events.note(&Notice::Maintenance { on: true });
        for n in 0..FREQUENT_EVENTS_KEPT + 10 {
            events
                .note(&Notice::Dropped { reason: edgeway_model::notice::DropReason::Overload, detail: n.to_string() });
        }
        let answer = events.list(&json!({ "level": "warning" })).unwrap();
        let row = &answer["events"][0];
        assert_eq!((&row["id"], &row["level"], &row["seq"]), (&json!("maintenance"), &json!("warning"), &json!(1)));
        assert_eq!((&answer["total"], &answer["next"]), (&json!(1), &Value::Null));
        assert_eq!(answer["last"], FREQUENT_EVENTS_KEPT + 11);
        assert_eq!(events.list(&json!({})).unwrap()["total"], FREQUENT_EVENTS_KEPT + 1);
        for n in 0..EVENTS_KEPT + 5 {
            events.add(Level::Info, "test", n.to_string());
        }
        assert_eq!(texts(&events, &json!({ "level": "info", "limit": 1 })), [(EVENTS_KEPT + 4).to_string()]);
        assert_eq!(texts(&events, &json!({ "level": "info", "after": 0, "limit": 1 })), ["5"]);
    }

    #[test]
    fn pages_are_by_number_and_who_it_was_is_shown() {
        let events = Events::default();
        let aor = |name: &str| Pii::new(format!("{name}@example.com"));
        for name in ["a", "b", "c"] {
            events.note(&Notice::Registered { aor: aor(name), flow: FlowId(2) });
        }
        events.add(Level::Error, "alarm.raised", "x".repeat(EVENT_BYTES_MAX * 2));
        let first = events.list(&json!({ "after": 0, "limit": 2, "id": "registration" })).unwrap();
        assert_eq!(first["events"][1]["text"], "registered b@example.com on flow-2");
        assert_eq!(first["next"], 2);
        let second = events.list(&json!({ "after": 2, "limit": 2, "id": "registration" })).unwrap();
        assert_eq!((&second["events"][0]["seq"], &second["next"]), (&json!(3), &Value::Null));
        assert_eq!(texts(&events, &json!({ "id": "alarm" }))[0].len(), EVENT_BYTES_MAX);
        for bad in [json!({ "level": "loud" }), json!({ "after": "x" }), json!({ "user": "a" }), json!([1])] {
            assert!(events.list(&bad).is_err(), "{bad}");
        }
    }
}
