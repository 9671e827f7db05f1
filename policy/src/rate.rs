//! Authorization rate control: how often one user's credentials may be supplied in a period, counted
//! before anybody is asked whether they are right. HTTP sign-in and chat count in the same windows.
//!
//! The limit is the user's, whatever address the attempts come from. So that strangers who guess at a user
//! do not lock that user out, an attempt is weighed by what its sender has proven, its [`Standing`], and
//! only attempts of the same or a better standing count against it:
//!
//! | standing | who | counts against it |
//! |---|---|---|
//! | `Stranger` | everybody else | all attempts at this user |
//! | `Address` | an address from which this user has signed in within the refresh interval | attempts from such addresses, and of devices |
//! | `Device` | holds a token of this user that has expired lately | attempts of such devices |
//!
//! As long as nobody fails, there is one window: an address that signs in takes its earlier attempts along.
//! Refused attempts are not recorded, so one who waits as long as told passes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use edgeway_model::Moment;
use edgeway_model::sign_in::Subject;

use crate::limits::{RATE_PROVEN_ADDRESSES_MAX, RATE_PROVEN_USERS_MAX, RATE_SWEEP, RATE_USERS_MAX};

/// The vendor's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateSettings {
    /// "Maximum authorizations per period".
    pub attempts: u32,
    /// "Rate control period".
    pub period: Duration,
    /// For how long an address is remembered that has signed in: the credentials refresh interval.
    pub remember: Duration,
}

/// The part of a client's address that counts as one place: all of IPv4, the /64 of IPv6 (RFC 4291
/// §2.5.4), because one subscriber has all of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prefix {
    /// IPv4, or IPv6 that maps it.
    V4([u8; 4]),
    /// IPv6.
    V6([u8; 8]),
}

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// Where an attempt comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The client's address; `None` where it is not known.
    pub prefix: Option<Prefix>,
    /// Whether it showed a token of this very user, genuine and expired no longer than the refresh interval.
    pub holds_token: bool,
}

impl Source {
    /// An address and nothing else.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        Self { prefix: Some(address.into()), holds_token: false }
    }
}

/// What the sender of an attempt has proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing.
    Stranger,
    /// It comes from where this user has signed in.
    Address,
    /// It holds a token of this user.
    Device,
}

/// Whether credentials are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// They are; the attempt is recorded.
    Pass,
    /// They are not.
    Refused {
        /// When the next attempt of this sender passes, if nobody else comes first.
        retry_after: Duration,
    },
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    at: Moment,
    prefix: Option<Prefix>,
    standing: Standing,
}

/// The attempts at one user within the period, in order. At most the limit for each standing.
#[derive(Clone, Debug, Default)]
struct Window {
    attempts: Vec<Attempt>,
}

/// The windows of all users.
#[derive(Clone, Debug)]
pub struct Rate {
    settings: RateSettings,
    windows: BTreeMap<Subject, Window>,
    /// By the time of the last attempt: what may be forgotten.
    by_age: BTreeSet<(Moment, Subject)>,
    /// By how full they are, then by age: what gives way.
    by_fill: BTreeSet<(usize, Moment, Subject)>,
    proven: BTreeMap<Subject, Vec<(Prefix, Moment)>>,
    proven_by_age: BTreeSet<(Moment, Subject)>,
}

impl Rate {
    /// Nobody has tried yet.
    #[must_use]
    pub const fn new(settings: RateSettings) -> Self {
        Self {
            settings,
            windows: BTreeMap::new(),
            by_age: BTreeSet::new(),
            by_fill: BTreeSet::new(),
            proven: BTreeMap::new(),
            proven_by_age: BTreeSet::new(),
        }
    }

    /// Judges by these settings from now on. Attempts that were made stay, as far as the new period reaches back.
    pub const fn set(&mut self, settings: RateSettings) {
        self.settings = settings;
    }

    /// Credentials of `subject` were supplied: are they looked at? Called once for each time, before
    /// anything else is known of them.
    pub fn check(&mut self, subject: &Subject, source: Source, now: Moment) -> Decision {
        self.forget_old(now);
        let standing = self.standing(subject, source, now);
        let mut window = self.take(subject);
        window.attempts.retain(|attempt| now.since(attempt.at) < self.settings.period);
        let decision = self.decide(&window, standing, self.proof_ends(subject, source), now);
        let fresh = window.attempts.is_empty();
        if decision == Decision::Pass {
            if fresh && self.windows.len() >= RATE_USERS_MAX && !self.make_room() {
                return Decision::Refused { retry_after: self.settings.period };
            }
            window.attempts.push(Attempt { at: now, prefix: source.prefix, standing });
        }
        self.put(subject, window);
        decision
    }

    /// The newest attempt of this sender at `subject` that [`Self::check`] has passed was none: whoever could have said
    /// whether the credentials were right has not seen them.
    pub fn take_back(&mut self, subject: &Subject, source: Source) {
        let mut window = self.take(subject);
        if let Some(newest) = window.attempts.iter().rposition(|attempt| attempt.prefix == source.prefix) {
            window.attempts.remove(newest);
        }
        self.put(subject, window);
    }

    /// Credentials that [`Self::check`] had passed were right.
    pub fn succeeded(&mut self, subject: &Subject, source: Source, now: Moment) {
        let Some(prefix) = source.prefix else { return };
        if let Some(window) = self.windows.get_mut(subject) {
            for attempt in window.attempts.iter_mut().filter(|attempt| attempt.prefix == Some(prefix)) {
                attempt.standing = attempt.standing.max(Standing::Address);
            }
        }
        self.prove(subject, prefix, now);
    }

    /// The user's credentials hold no longer: where they were used proves nothing now.
    pub fn forget(&mut self, subject: &Subject) {
        if let Some(last) = self.proven.remove(subject).and_then(|places| places.last().map(|(_, at)| *at)) {
            self.proven_by_age.remove(&(last, subject.clone()));
        }
    }

    /// How many users have a window.
    #[must_use]
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Whether nobody has tried within the period.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    fn standing(&self, subject: &Subject, source: Source, now: Moment) -> Standing {
        if source.holds_token {
            return Standing::Device;
        }
        match self.proof_ends(subject, source) {
            Some(ends) if now < ends => Standing::Address,
            Some(_) | None => Standing::Stranger,
        }
    }

    /// When this place proves nothing any more.
    fn proof_ends(&self, subject: &Subject, source: Source) -> Option<Moment> {
        let places = self.proven.get(subject).map(Vec::as_slice).unwrap_or_default();
        let known = places.iter().find(|(place, _)| source.prefix == Some(*place));
        known.map(|(_, at)| *at + self.settings.remember)
    }

    fn decide(&self, window: &Window, standing: Standing, proof_ends: Option<Moment>, now: Moment) -> Decision {
        let Some(mut passes) = self.passes(window, standing, now) else { return Decision::Pass };
        // Whoever is a stranger again by then has waited for strangers, too.
        if standing == Standing::Address && proof_ends.is_some_and(|ends| ends <= passes) {
            passes = self.passes(window, Standing::Stranger, now).unwrap_or(passes);
        }
        Decision::Refused { retry_after: passes.since(now) }
    }

    /// When the next attempt of this standing passes; `None`: now.
    fn passes(&self, window: &Window, standing: Standing, now: Moment) -> Option<Moment> {
        let limit = usize::try_from(self.settings.attempts).unwrap_or(usize::MAX);
        let against = |attempt: &&Attempt| attempt.standing >= standing;
        let count = window.attempts.iter().filter(against).count();
        if count < limit {
            return None;
        }
        // So many must leave; they are in order of time.
        let last_to_leave = window.attempts.iter().filter(against).nth(count - limit);
        Some(last_to_leave.map_or(now, |attempt| attempt.at) + self.settings.period)
    }

    /// Takes a window out of all tables.
    fn take(&mut self, subject: &Subject) -> Window {
        let Some(window) = self.windows.remove(subject) else { return Window::default() };
        if let Some(last) = window.attempts.last() {
            self.by_age.remove(&(last.at, subject.clone()));
            self.by_fill.remove(&(window.attempts.len(), last.at, subject.clone()));
        }
        window
    }

    fn put(&mut self, subject: &Subject, window: Window) {
        let Some(last) = window.attempts.last() else { return };
        self.by_age.insert((last.at, subject.clone()));
        self.by_fill.insert((window.attempts.len(), last.at, subject.clone()));
        self.windows.insert(subject.clone(), window);
    }

    /// The emptiest window gives way, of several the oldest; one that is full never does, or whoever
    /// fills the table with invented names would get a fresh window for the user they are after.
    fn make_room(&mut self) -> bool {
        let limit = usize::try_from(self.settings.attempts).unwrap_or(usize::MAX);
        let emptiest = self.by_fill.first().filter(|(fill, _, _)| *fill < limit);
        let Some((_, _, subject)) = emptiest.cloned() else { return false };
        self.take(&subject);
        true
    }

    /// A few at a time, more than can be added at a time.
    fn forget_old(&mut self, now: Moment) {
        for _ in 0..RATE_SWEEP {
            let old = self.by_age.first().filter(|(at, _)| now.since(*at) >= self.settings.period);
            let Some((_, subject)) = old.cloned() else { break };
            self.take(&subject);
        }
        for _ in 0..RATE_SWEEP {
            let old = self.proven_by_age.first().filter(|(at, _)| now.since(*at) >= self.settings.remember);
            let Some((_, subject)) = old.cloned() else { break };
            self.forget(&subject);
        }
    }

    fn prove(&mut self, subject: &Subject, prefix: Prefix, now: Moment) {
        let mut places = self.proven.remove(subject).unwrap_or_default();
        if let Some((_, last)) = places.last() {
            self.proven_by_age.remove(&(*last, subject.clone()));
        }
        places.retain(|(place, at)| *place != prefix && now.since(*at) < self.settings.remember);
        if places.len() >= RATE_PROVEN_ADDRESSES_MAX {
            places.remove(0);
        }
        places.push((prefix, now));
        if self.proven.len() >= RATE_PROVEN_USERS_MAX
            && let Some((_, oldest)) = self.proven_by_age.first().cloned()
        {
            self.forget(&oldest);
        }
        self.proven_by_age.insert((now, subject.clone()));
        self.proven.insert(subject.clone(), places);
    }
}

#[cfg(test)]
#[path = "rate/tests.rs"]
mod tests;
