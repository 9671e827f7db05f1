//! One-time passwords of chat clients: issued over SOAP to whoever has signed in there, taken once by the chat service.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::ONE_TIME_PASSWORDS_MAX;
use crate::wire;

/// Shared by whoever issues them and whoever takes them.
#[derive(Clone, Debug, Default)]
pub struct OneTimePasswords(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// Session key and user.
    logins: VecDeque<(String, String)>,
    /// User and password.
    issued: VecDeque<(String, String)>,
}

fn keep(all: &mut VecDeque<(String, String)>, one: (String, String)) {
    if all.len() == ONE_TIME_PASSWORDS_MAX {
        all.pop_front();
    }
    all.push_back(one);
}

impl OneTimePasswords {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session key for a user whose password was right.
    pub(super) fn login(&self, user: &str) -> String {
        let key = wire::token(&mut wire::random(), 24);
        keep(&mut self.kept().logins, (key.clone(), user.to_ascii_lowercase()));
        key
    }

    /// A password for whoever has that session key.
    pub(super) fn issue(&self, key: &str) -> Option<String> {
        let user = self.kept().logins.iter().find(|(known, _)| known == key).map(|(_, user)| user.clone())?;
        Some(self.issue_to(&user))
    }

    /// A password for a user.
    #[must_use]
    pub fn issue_to(&self, user: &str) -> String {
        let password = wire::token(&mut wire::random(), 24);
        keep(&mut self.kept().issued, (user.to_ascii_lowercase(), password.clone()));
        password
    }

    /// Whether a password is good for a user; it is good once.
    pub(crate) fn take(&self, user: &str, password: &str) -> bool {
        let mut kept = self.kept();
        let user = user.to_ascii_lowercase();
        let Some(at) = kept.issued.iter().position(|(known, one)| *known == user && one == password) else {
            return false;
        };
        kept.issued.remove(at).is_some()
    }
}
