//! One client's stream at the core, from its first header to its end (RFC 6120). Decides what a client and a server
//! hear of each other: the server is found, secured and asked for its features before the client hears anything;
//! nothing of a client's credentials is sent anywhere before its user's rate allows it; after sign-in bytes pass as
//! they come.
//!
//! The connectors drive it: they dial, do TLS, ask for the rate, and move the bytes.

mod exchange;

use std::collections::VecDeque;

use edgeway_model::Moment;

pub use exchange::{Action, Beginning, Candidate, Down, Input, Verdict};

/// The session. Whoever drives it hands in what happens ([`Self::handle`]), then does what it wants ([`Self::poll`])
/// until there is nothing more, and comes again when [`Self::next_deadline`] has come.
pub struct Router {
    beginning: Beginning,
    actions: VecDeque<Action>,
}

impl Router {
    /// A session of which nothing has come yet.
    #[must_use]
    pub fn new(beginning: Beginning, _now: Moment) -> Self {
        Self { beginning, actions: VecDeque::new() }
    }

    /// Takes what has happened.
    pub fn handle(&mut self, input: Input, _now: Moment) {
        let _ = (input, &self.beginning);
    }

    /// What is to be done next; `None` when there is nothing.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to come again at the latest; `None` once it has ended.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        None
    }
}
