//! The credential cache: what an authority has said about a user's password, so that it is asked once in a
//! refresh interval; and which tokens were revoked.
//!
//! Neither passwords nor anything they can be guessed from without the key is kept: the [`Verifier`] is a
//! keyed hash, equal at all cores that share a key. A different password for a cached user is *unknown*
//! here: the authority is asked, and if it is right it takes the place of the old one. If it is wrong the
//! old one stays, or strangers could empty the cache.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use edgeway_model::sign_in::{Revocation, Session, Subject};
use edgeway_model::{Moment, Secret};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::limits::{CREDENTIALS_MAX, REFUSED_FOR, REFUSED_MAX, REVOCATIONS_MAX, TOKEN_LIFE_MAX};

/// The keyed hash of a user's password: HMAC-SHA256 (RFC 2104). Compared in constant time.
#[derive(Clone, Debug)]
pub struct Verifier(Secret<32>);

impl Verifier {
    /// Of `password` of `subject`, under the key that cores share.
    #[must_use]
    pub fn new(key: &Secret<32>, subject: &Subject, password: &str) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104 §2)")]
        let mut mac = <Hmac<Sha256>>::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
        // Lengths go before names: no two (deployment, user, password) have the same bytes.
        for name in [subject.deployment.as_str(), subject.user.as_str()] {
            mac.update(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes());
            mac.update(name.as_bytes());
        }
        mac.update(password.as_bytes());
        Self(Secret::new(mac.finalize().into_bytes().into()))
    }

    /// For a [`Session`].
    #[must_use]
    pub fn secret(&self) -> Secret<32> {
        self.0.clone()
    }

    fn is(&self, other: &Secret<32>) -> bool {
        self.0.expose().ct_eq(other.expose()).into()
    }
}

/// What the cache knows of credentials.
#[derive(Clone, Debug)]
pub enum Found {
    /// The authority has said yes within the refresh interval.
    Good(Arc<Session>),
    /// The authority has said no a moment ago.
    Refused,
    /// It must be asked.
    Unknown,
}

/// What became of a session that was to be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// It is the user's session now.
    Yes,
    /// There is a later one of this user, which stays.
    Superseded,
    /// It began before the user was revoked, or has ended, or says it begins later than clocks differ.
    Over,
}

/// What the clocks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The monotonic one: how long something is kept.
    pub moment: Moment,
    /// The wall clock, Unix milliseconds: what nodes tell each other, and what it may be set to.
    pub unix_ms: u64,
}

/// Verified credentials, refused ones, and revocations. Times in sessions and revocations are Unix milliseconds,
/// because cores share them; how long something is kept here goes by the monotonic clock, because wall clocks are set.
#[derive(Clone, Debug)]
pub struct Credentials {
    interval: Duration,
    sessions: BTreeMap<Subject, Kept>,
    by_end: BTreeSet<(Moment, Subject)>,
    refused: VecDeque<(Moment, Subject, Verifier)>,
    revocations: Revocations,
}

/// A session, and the moment it ends, whatever the wall clock says then.
#[derive(Clone, Debug)]
struct Kept {
    session: Arc<Session>,
    end: Moment,
}

impl Credentials {
    /// An empty one. `interval`: the credentials refresh interval.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        let (sessions, by_end, refused) = (BTreeMap::new(), BTreeSet::new(), VecDeque::new());
        Self { interval, sessions, by_end, refused, revocations: Revocations::default() }
    }

    /// The credentials refresh interval from now on: what is remembered ends when it was to end, and no later than the
    /// new interval from now.
    pub fn set_interval(&mut self, interval: Duration, now: Now) {
        self.interval = interval;
        let latest = now.moment + interval;
        let late: Vec<_> = self.by_end.iter().filter(|(end, _)| *end > latest).cloned().collect();
        for (end, subject) in late {
            if let Some(kept) = self.sessions.get_mut(&subject) {
                kept.end = latest;
                self.by_end.remove(&(end, subject.clone()));
                self.by_end.insert((latest, subject));
            }
        }
    }

    /// What is known of these credentials. What has expired is unknown, whether it was swept or not.
    #[must_use]
    pub fn look(&self, subject: &Subject, verifier: &Verifier, now: Now) -> Found {
        // Whether there is such a user must not show in the time it takes: something is always compared.
        let session = self.current(subject, now);
        let known = session.and_then(|session| session.verifier.as_ref());
        let right = verifier.is(known.unwrap_or(&NOBODY)) & known.is_some();
        if let Some(session) = session.filter(|_| right) {
            return Found::Good(Arc::clone(session));
        }
        let within = |(at, ..): &&(Moment, Subject, Verifier)| now.moment.since(*at) < REFUSED_FOR;
        let mut lately = self.refused.iter().rev().take_while(within);
        if lately.any(|(_, who, known)| who == subject && verifier.is(&known.0)) {
            return Found::Refused;
        }
        Found::Unknown
    }

    /// The session of a user, if it has not ended by either clock, and does not begin later than clocks differ.
    #[must_use]
    pub fn current(&self, subject: &Subject, now: Now) -> Option<&Arc<Session>> {
        let Kept { session, end } = self.sessions.get(subject)?;
        let holds = now.moment < *end && now.unix_ms < session.until_ms && !from_the_future(session, now);
        holds.then_some(session)
    }

    /// The authority said yes, here or (`session` then came over a link) at another core. Of two sessions of one
    /// user the one stays whose authority was asked later, whatever order they come in; none comes back
    /// from before a revocation, and none lasts longer from now than the refresh interval.
    pub fn remember(&mut self, session: Arc<Session>, now: Now) -> Remembered {
        let until_ms = session.until_ms.min(now.unix_ms.saturating_add(millis(self.interval)));
        let before_ms = self.revocations.before(&session.subject);
        if until_ms <= now.unix_ms || from_the_future(&session, now) || session.since_ms < before_ms {
            return Remembered::Over;
        }
        let mut session = session;
        if until_ms != session.until_ms || session.tokens.iter().any(|token| token.since_ms < before_ms) {
            let mut bounded = Session { until_ms, ..Session::clone(&session) };
            bounded.tokens.retain(|token| token.since_ms >= before_ms);
            session = Arc::new(bounded);
        }
        let mut known_end = None;
        if let Some(known) = self.current(&session.subject, now) {
            // A sign-in by token does not displace what is known of the password; it stands beside it.
            let joined = known.joined(&session);
            if joined == **known {
                return Remembered::Superseded;
            }
            // What only stands beside it leaves its end where it was.
            let same_end = joined.until_ms == known.until_ms;
            known_end = self.sessions.get(&session.subject).map(|known| known.end).filter(|_| same_end);
            session = Arc::new(joined);
        }
        let end = now.moment + Duration::from_millis(session.until_ms.saturating_sub(now.unix_ms));
        let end = known_end.map_or(end, |known| end.min(known));
        self.purge(&session.subject.clone());
        if self.sessions.len() >= CREDENTIALS_MAX
            && let Some((_, first)) = self.by_end.first().cloned()
        {
            self.purge(&first);
        }
        self.refused.retain(|(_, who, _)| *who != session.subject);
        self.by_end.insert((end, session.subject.clone()));
        self.sessions.insert(session.subject.clone(), Kept { session, end });
        Remembered::Yes
    }

    /// The authority said no.
    pub fn refuse(&mut self, subject: &Subject, verifier: &Verifier, now: Moment) {
        let old = |(at, ..): &(Moment, Subject, Verifier)| now.since(*at) >= REFUSED_FOR;
        while self.refused.len() >= REFUSED_MAX || self.refused.front().is_some_and(old) {
            self.refused.pop_front();
        }
        self.refused.push_back((now, subject.clone(), verifier.clone()));
    }

    /// Somebody else says from now on what is right for these: what was refused them is asked anew.
    pub fn forget_refused(&mut self, of: impl Fn(&Subject) -> bool) {
        self.refused.retain(|(_, subject, _)| !of(subject));
    }

    /// Forgets a user's credentials; tokens stay good. Says whether there were any.
    pub fn purge(&mut self, subject: &Subject) -> bool {
        let Some(kept) = self.sessions.remove(subject) else { return false };
        self.by_end.remove(&(kept.end, subject.clone()));
        true
    }

    /// Forgets a user's credentials, and holds tokens issued before for revoked from now on. Says whether
    /// that is news.
    pub fn revoke(&mut self, revocation: &Revocation, now_ms: u64) -> bool {
        let news = self.revocations.add(revocation, now_ms);
        if let Some(known) = self.sessions.get(&revocation.subject).cloned() {
            self.purge(&revocation.subject);
            if let Some(left) = known.session.revoked(revocation.before_ms) {
                self.by_end.insert((known.end, left.subject.clone()));
                self.sessions.insert(left.subject.clone(), Kept { session: Arc::new(left), end: known.end });
            }
        }
        news
    }

    /// The revocations in force.
    #[must_use]
    pub const fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Takes out of memory what has ended: every credentials cleanup interval. Says how many entries went.
    pub fn sweep(&mut self, now: Now) -> usize {
        let before = self.sessions.len();
        while let Some((_, subject)) = self.by_end.first().filter(|(end, _)| *end <= now.moment).cloned() {
            self.purge(&subject);
        }
        self.refused.retain(|(at, ..)| now.moment.since(*at) < REFUSED_FOR);
        self.revocations.sweep(now.unix_ms);
        before - self.sessions.len()
    }

    /// Users whose credentials are known, those that have ended and were not swept yet included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether nobody's are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

/// Which tokens hold no longer although they have not expired: for as long as any token lasts ([`TOKEN_LIFE_MAX`]).
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    before: BTreeMap<Subject, u64>,
    by_age: BTreeSet<(u64, Subject)>,
}

impl Revocations {
    /// Whether what was issued to `subject` at this time is revoked.
    #[must_use]
    pub fn covers(&self, subject: &Subject, issued_ms: u64) -> bool {
        self.before.get(subject).is_some_and(|before| issued_ms < *before)
    }

    fn before(&self, subject: &Subject) -> u64 {
        self.before.get(subject).copied().unwrap_or(0)
    }

    /// Adds one; says whether it is news. One of the far future is taken as of now: it would lock the user
    /// out until then.
    pub fn add(&mut self, revocation: &Revocation, now_ms: u64) -> bool {
        let before = revocation.before_ms.min(now_ms.saturating_add(SKEW_MS));
        if before.saturating_add(millis(TOKEN_LIFE_MAX)) <= now_ms {
            return false;
        }
        let known = self.before.get(&revocation.subject).copied();
        if known.is_some_and(|known| known >= before) {
            return false;
        }
        if let Some(known) = known {
            self.by_age.remove(&(known, revocation.subject.clone()));
        }
        if self.before.len() >= REVOCATIONS_MAX
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.before.remove(&oldest);
        }
        self.by_age.insert((before, revocation.subject.clone()));
        self.before.insert(revocation.subject.clone(), before);
        true
    }

    /// Forgets those whose tokens have all expired.
    pub fn sweep(&mut self, now_ms: u64) {
        let over = |at: u64| at.saturating_add(millis(TOKEN_LIFE_MAX)).saturating_add(SKEW_MS) <= now_ms;
        while let Some((at, subject)) = self.by_age.first().filter(|(at, _)| over(*at)).cloned() {
            self.by_age.remove(&(at, subject.clone()));
            self.before.remove(&subject);
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Revocation> + '_ {
        self.before.iter().map(|(subject, before)| Revocation { subject: subject.clone(), before_ms: *before })
    }
}

/// Compared with where there is nothing to compare with.
static NOBODY: Secret<32> = Secret::new([0; 32]);

/// How far clocks of nodes may differ.
const SKEW_MS: u64 = 60_000;

/// Whether a session begins later than clocks differ: somebody's clock was set meanwhile.
const fn from_the_future(session: &Session, now: Now) -> bool {
    session.since_ms > now.unix_ms.saturating_add(SKEW_MS)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "credentials/tests.rs"]
mod tests;
