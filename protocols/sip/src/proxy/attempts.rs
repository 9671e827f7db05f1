//! One request tried at several servers, one after the other (RFC 3263 §4.3).

use std::time::Duration;

use edgeway_model::Moment;

use super::{Proxy, State, TransactionId};

impl Proxy {
    /// The branch to put in our Via for this transaction.
    #[must_use]
    pub fn branch(&self, id: TransactionId) -> String {
        match self.transactions.get(&id).map_or(0, |transaction| transaction.attempt) {
            0 => format!("{}{:x}", self.branch_prefix, id.0),
            attempt => format!("{}{:x}-{attempt:x}", self.branch_prefix, id.0),
        }
    }

    /// The next [`Self::forward`] of `id` goes to another server than the last: RFC 3263 §4.3: that is a
    /// new client transaction, with a branch of its own.
    pub fn renew_branch(&mut self, id: TransactionId) {
        if let Some(transaction) = self.transactions.get_mut(&id) {
            transaction.attempt = transaction.attempt.saturating_add(1);
        }
    }

    /// Whether `id` has been tried at more than one server.
    #[must_use]
    pub fn is_renewed(&self, id: TransactionId) -> bool {
        self.transactions.get(&id).is_some_and(|transaction| transaction.attempt > 0)
    }

    /// Whether upstream has cancelled the INVITE `id`, or is gone: it must not be tried anywhere else.
    #[must_use]
    pub fn is_withdrawn(&self, id: TransactionId) -> bool {
        self.transactions.get(&id).is_none_or(|transaction| transaction.cancelled || transaction.orphaned)
    }

    /// The INVITE `id` is to come to nothing, as if upstream had cancelled it (RFC 3261 §16.10): downstream is told as
    /// soon as it may be, and what it answers goes on upstream. Returns whether it has gone anywhere.
    pub fn withdraw(&mut self, id: TransactionId, now: Moment) -> bool {
        let Some(transaction) = self.transactions.get_mut(&id).filter(|transaction| transaction.invite) else {
            return false;
        };
        match transaction.state {
            State::Waiting => false,
            // RFC 3261 §9.1: no CANCEL before a provisional answer has come.
            State::Trying => {
                transaction.cancelled = true;
                true
            }
            State::Proceeding => {
                self.cancel_downstream(id, now);
                true
            }
            State::Accepted | State::Completed => true,
        }
    }

    /// Downstream may take `within` over the answer to `id`, counted from now.
    pub fn allow(&mut self, id: TransactionId, within: Duration, now: Moment) {
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        if matches!(transaction.state, State::Trying | State::Proceeding) {
            transaction.expires = now + within;
            self.arm(id);
        }
    }

    /// The transaction a branch of ours belongs to, if it is the one of its latest attempt.
    pub(super) fn id_of(&self, branch: &str) -> Option<TransactionId> {
        let text = branch.strip_prefix(self.branch_prefix.as_str())?;
        let (digits, attempt) = text.split_once('-').unwrap_or((text, "0"));
        let id = u64::from_str_radix(digits, 16).ok().map(TransactionId)?;
        let attempt = u8::from_str_radix(attempt, 16).ok()?;
        self.transactions.get(&id).is_none_or(|transaction| transaction.attempt == attempt).then_some(id)
    }
}
