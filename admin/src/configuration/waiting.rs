//! A revision that goes back by itself unless it is confirmed: kept in the store, so that it does over a restart, too.

use serde::{Deserialize, Serialize};

use super::boot::now_ms;
use super::views::WaitingView;
use crate::store::{Kind, NewRevision, Store, StoreFault};

/// Who rolls back what nobody has confirmed.
const AUTHOR: &str = "confirmation";

/// What waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) revision: u64,
    pub(super) back_to: u64,
    pub(super) until_ms: u64,
}

impl Waiting {
    /// What waits according to the store. A record that cannot be read is of no use to anybody.
    pub(super) fn read(store: &dyn Store) -> Result<Option<Self>, StoreFault> {
        let records = store.records(Kind::Confirmation, None, 16)?;
        let all = records.iter().filter_map(|record| serde_json::from_str::<Self>(&record.value).ok());
        Ok(all.max_by_key(|waiting| waiting.revision))
    }

    /// The record's key: the store keeps the revision of that number.
    pub(super) fn key(&self) -> String {
        self.back_to.to_string()
    }

    pub(super) fn json(&self) -> String {
        serde_json::json!({ "revision": self.revision, "back_to": self.back_to, "until_ms": self.until_ms }).to_string()
    }

    /// The revision that is made when nobody has confirmed; its document is that of the old one.
    pub(super) fn rollback(&self) -> NewRevision {
        NewRevision {
            author: AUTHOR.to_owned(),
            at_ms: now_ms(),
            comment: format!("revision {} was not confirmed: back to revision {}", self.revision, self.back_to),
            document: String::new(),
        }
    }

    pub(super) fn view(&self) -> WaitingView {
        WaitingView { revision: self.revision, back_to: self.back_to, until_ms: self.until_ms }
    }
}
