//! What devices of one user have proven, side by side: one session, however many sign-ins it is made of.

use std::cmp::Reverse;

use super::{DigestSecret, Session, TokenProof};
use crate::limits::{ACCESS_TOKENS_MAX, SPELLINGS_MAX};

impl Session {
    /// When the last of what it holds ends, Unix milliseconds.
    #[must_use]
    pub fn ends_ms(&self) -> u64 {
        self.tokens.iter().map(|token| token.until_ms).fold(self.until_ms, u64::max)
    }

    /// This session and another of the same user in one. A password counts for more than a token, then the
    /// later for more than the earlier; of two that are the same age, this one. The tokens are those of both,
    /// of too many the ones that last longest; spellings of the name are those of both if the password is
    /// the same.
    #[must_use]
    pub fn joined(&self, other: &Self) -> Self {
        let rank = |one: &Self| (one.has_password(), one.since_ms);
        let (first, second) = if rank(other) > rank(self) { (other, self) } else { (self, other) };
        let mut joined = first.clone();
        for token in &second.tokens {
            match joined.tokens.iter_mut().find(|known| known.hash == token.hash) {
                Some(known) => {
                    known.since_ms = known.since_ms.max(token.since_ms);
                    known.until_ms = known.until_ms.max(token.until_ms);
                }
                None => joined.tokens.push(token.clone()),
            }
        }
        // One order, whichever came first: cores that know the same hold the same.
        joined.tokens.sort_by_key(|token| (Reverse(token.until_ms), *token.hash.expose()));
        joined.tokens.truncate(ACCESS_TOKENS_MAX);
        if first.verifier.is_some() && first.verifier == second.verifier {
            joined
                .digests
                .extend(second.digests.iter().filter(|one| !first.digests.iter().any(|own| own.is(one))).cloned());
            joined.digests.truncate(SPELLINGS_MAX);
        }
        joined
    }

    /// What is left when everything shown before a moment holds no longer; `None` if that is nothing.
    #[must_use]
    pub fn revoked(&self, before_ms: u64) -> Option<Self> {
        let mut left = self.clone();
        left.tokens.retain(|token| token.since_ms >= before_ms);
        if self.since_ms >= before_ms {
            return Some(left);
        }
        let latest = left.tokens.iter().max_by_key(|token| token.since_ms)?;
        (left.since_ms, left.until_ms, left.verifier) = (latest.since_ms, latest.until_ms, None);
        left.digests.clear();
        Some(left)
    }

    /// Takes one more spelling of the name in, unless there are enough: that of a device comes before what
    /// was only guessed at.
    pub fn spell(&mut self, secret: DigestSecret) {
        if self.digests.len() < SPELLINGS_MAX && !self.digests.iter().any(|known| known.is(&secret)) {
            self.digests.push(secret);
        }
    }

    fn has_password(&self) -> bool {
        self.verifier.is_some() || !self.digests.is_empty()
    }
}

impl DigestSecret {
    /// Whether it is for the same spelling in the same realm.
    fn is(&self, other: &Self) -> bool {
        self.user == other.user && self.realm == other.realm
    }
}

impl TokenProof {
    /// Whether it has not ended.
    #[must_use]
    pub const fn holds(&self, unix_ms: u64) -> bool {
        unix_ms < self.until_ms
    }
}

#[cfg(test)]
mod tests {
    use crate::Secret;
    use crate::sign_in::{Deployment, Profile, Subject, UserName};

    use super::*;

    fn session(since_ms: u64, password: Option<u8>) -> Session {
        let user = UserName::new("alice").expect("legal");
        Session {
            subject: Subject { deployment: Deployment::default_one(), user },
            until_ms: since_ms + 100,
            since_ms,
            verifier: password.map(|byte| Secret::new([byte; 32])),
            digests: Vec::new(),
            tokens: Vec::new(),
            devices: None,
            numbers: Vec::new(),
            profile: Profile::default(),
        }
    }

    fn token(byte: u8, since_ms: u64, until_ms: u64) -> TokenProof {
        TokenProof { hash: Secret::new([byte; 32]), since_ms, until_ms }
    }

    fn spelled(user: &str) -> DigestSecret {
        DigestSecret {
            user: user.into(),
            realm: "example.com".into(),
            md5: Secret::new([1; 16]),
            sha256: Secret::new([1; 32]),
        }
    }

    #[test]
    fn a_token_is_held_beside_the_password_whichever_came_first() {
        let password = Session { digests: vec![spelled("Alice")], ..session(10, Some(1)) };
        for since_ms in [5, 10, 20] {
            let by_token = Session { tokens: vec![token(7, since_ms, 500)], ..session(since_ms, None) };
            let joined = password.joined(&by_token);
            assert_eq!(joined, by_token.joined(&password));
            assert_eq!(joined, Session { tokens: by_token.tokens.clone(), ..password.clone() });
            assert_eq!((joined.until_ms, joined.ends_ms()), (110, 500));
            assert_eq!(joined.joined(&by_token), joined, "that is no news");
        }
    }

    #[test]
    fn spellings_are_of_one_password_and_few() {
        let typed = |user: &str, since_ms, password| {
            let mut session = session(since_ms, Some(password));
            session.spell(spelled(user));
            session
        };
        let names = |session: &Session| session.digests.iter().map(|one| one.user.clone()).collect::<Vec<_>>();
        let both = typed("Alice", 20, 1).joined(&typed("ALICE", 10, 1));
        assert_eq!(names(&both), ["Alice", "ALICE"]);
        assert_eq!(names(&typed("Alice", 20, 1).joined(&typed("ALICE", 10, 2))), ["Alice"], "of an older password");
        let mut many = both;
        for user in ["alice", "aLICE"] {
            many.spell(spelled(user));
        }
        assert_eq!(names(&many), ["Alice", "ALICE", "alice"]);
        assert!(!format!("{many:?}").to_lowercase().contains("alice"));
    }

    #[test]
    fn of_too_many_tokens_those_stay_that_last_longest() {
        let mut all = session(0, None);
        for byte in 0..2 * u8::try_from(ACCESS_TOKENS_MAX).expect("few") {
            let one = Session { tokens: vec![token(byte, 0, 1_000 + u64::from(byte))], ..session(0, None) };
            all = all.joined(&one);
        }
        assert_eq!(all.tokens.len(), ACCESS_TOKENS_MAX);
        assert!(all.tokens.iter().all(|token| usize::from(token.hash.expose()[0]) >= ACCESS_TOKENS_MAX));
    }

    #[test]
    fn what_was_shown_before_a_revocation_goes_and_the_rest_stays() {
        let digests = vec![spelled("alice")];
        let tokens = vec![token(1, 5, 500), token(2, 20, 400)];
        let all = Session { digests, tokens, ..session(10, Some(1)) };
        assert_eq!(all.revoked(5), Some(all.clone()));
        assert_eq!(
            all.revoked(6).map(|left| (left.tokens, left.verifier)),
            Some((vec![token(2, 20, 400)], all.verifier.clone()))
        );
        let left = all.revoked(11).expect("a token");
        assert_eq!((left.since_ms, left.until_ms, left.verifier, left.digests.len()), (20, 400, None, 0));
        assert_eq!(all.revoked(21), None);
    }
}
