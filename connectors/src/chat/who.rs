//! Whose credentials a client shows, and in which window of attempts they count.

use std::net::IpAddr;

use edgeway_model::sign_in::{Deployment, Subject, UserName};
use sha2::{Digest as _, Sha256};

/// Whose attempts have no user's window; the name of no deployment of an operator's, which has users.
const UNNAMED: &str = "chat.unnamed";

/// Who credentials say they are of.
pub(super) struct Who {
    /// The user, by the same name as at any other sign-in.
    subject: Option<Subject>,
    counted: Option<Subject>,
    /// Whether a server may see the credentials at all.
    thinkable: bool,
}

impl Who {
    /// `name` as the client spells it, without the domain of its stream; `None` where only the server can tell.
    ///
    /// Servers take several spellings for one user (RFC 7622 §3.3: fullwidth letters, letters with their accents
    /// apart), and each would have a window of attempts of its own. So a name that is none at sign-in passes only if it
    /// is plain ASCII, with what JIDs escape (XEP-0106), or of scripts that no such mapping leads out of; its own window
    /// is that of the spelling. What names nobody, a token without a user, counts against the address.
    pub(super) fn claimed(deployment: &Deployment, name: Option<&str>, address: IpAddr) -> Self {
        let subject = name.and_then(UserName::new).map(|user| Subject { deployment: deployment.clone(), user });
        let of = |text: &str| Some(Subject { deployment: Deployment::new(UNNAMED)?, user: UserName::new(text)? });
        let (counted, thinkable) = match (&subject, name) {
            (Some(subject), _) => (Some(subject.clone()), true),
            (None, Some(name)) if name.chars().all(|c| c.is_ascii() || stays_apart(c)) => {
                let folded = name.to_lowercase();
                let parts = Sha256::new().chain_update(deployment.as_str()).chain_update([0]).chain_update(folded);
                let hex: String = parts.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
                (of(&hex), true)
            }
            (None, name) => (of(&address.to_canonical().to_string().replace(':', "-")), name.is_none()),
        };
        Self { subject, counted, thinkable }
    }

    /// The user, where it is one.
    pub(super) fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// Whose window the attempt counts in.
    pub(super) fn counted(&self) -> Option<&Subject> {
        self.counted.as_ref()
    }

    pub(super) fn is_thinkable(&self) -> bool {
        self.thinkable
    }
}

/// Letters from Hebrew to Georgian: what maps them to one spelling (NFKC) makes no letters of the scripts in which a
/// user has a name here, and none of theirs is made of others by it that is let through.
fn stays_apart(c: char) -> bool {
    matches!(c, '\u{5d0}'..='\u{10ff}') && c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: Option<&str>, address: &str) -> Who {
        Who::claimed(&Deployment::default_one(), name, address.parse().unwrap())
    }

    #[test]
    fn one_user_has_one_window_in_whatever_spelling() {
        let alice = who(Some("alice"), "192.0.2.1");
        for same in ["ALICE", "Alice", " alice "] {
            assert_eq!(who(Some(same), "192.0.2.9").counted(), alice.counted());
        }
        assert_eq!(alice.counted(), alice.subject());
        // What a server may take for her, and we would not.
        for spelling in
            ["\u{ff41}lice", "al\u{131}\u{307}ce", "\u{1d41a}lice", "ali\u{ad}ce", "al\u{2170}ce", "alic\u{b2}"]
        {
            assert!(!who(Some(spelling), "192.0.2.1").is_thinkable(), "{spelling}");
        }
    }

    #[test]
    fn who_has_no_name_here_has_a_window_all_the_same() {
        let escaped = who(Some("d\\27artagnan"), "192.0.2.1");
        assert!(escaped.is_thinkable() && escaped.subject().is_none());
        assert_eq!(escaped.counted(), who(Some("D\\27Artagnan"), "2001:db8::1").counted());
        assert_ne!(escaped.counted(), who(Some("d\\27artagnam"), "192.0.2.1").counted());
        assert!(who(Some("\u{5d0}\u{5d1}"), "192.0.2.1").is_thinkable());
        let token = who(None, "2001:db8::1");
        assert!(token.is_thinkable() && token.counted().is_some());
        assert_eq!(token.counted(), who(None, "2001:db8::1").counted());
        assert_ne!(token.counted(), who(None, "192.0.2.1").counted());
        assert_eq!(who(None, "::ffff:192.0.2.1").counted(), who(None, "192.0.2.1").counted());
    }
}
