//! How often somebody may try to sign in.
//!
//! Failures are counted for an account at an address, for an address, and for an account from everywhere; each makes the
//! next attempt wait for longer. Whoever has signed in from an address before is not kept out by what others do: there
//! only the failures of that account at that address count. So guessing is slow, and nobody can lock an account.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::limits::{FAILURES_FORGOTTEN, KNOWN_PLACE_EVERY_MS, THROTTLE_ENTRIES_MAX};
use crate::store::limits::KNOWN_PLACES_MAX;

/// Failures that cost nothing, and the longest wait.
#[derive(Clone, Copy)]
struct Patience {
    free: u32,
    longest: Duration,
}

const AT_ADDRESS: Patience = Patience { free: 3, longest: Duration::from_secs(60) };
const OF_ADDRESS: Patience = Patience { free: 10, longest: Duration::from_secs(30) };
const OF_ACCOUNT: Patience = Patience { free: 20, longest: Duration::from_secs(5) };

/// What attempts with the code of the first start are counted under: no account is called so.
pub(crate) const FIRST_CODE: &str = "first code";

/// One that has begun.
#[must_use]
#[derive(Debug)]
pub(crate) struct Attempt {
    pair: (String, Place),
    /// Whether it was counted for the address and for the account.
    counted: bool,
}

/// Where somebody is: an IPv4 address, or the network of an IPv6 one (RFC 6177: a site has at least that).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl From<IpAddr> for Place {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let mut network = [0; 8];
                network.copy_from_slice(&address.octets()[..8]);
                Self::V6(network)
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(octets) => fmt::Display::fmt(&Ipv4Addr::from(*octets), f),
            Self::V6(network) => {
                let mut octets = [0; 16];
                octets[..8].copy_from_slice(network);
                write!(f, "{}/64", Ipv6Addr::from(octets))
            }
        }
    }
}

impl std::str::FromStr for Place {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.strip_suffix("/64").unwrap_or(text).parse::<IpAddr>()?.into())
    }
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last_ms: u64,
}

impl Failures {
    fn wait(self, patience: Patience, now_ms: u64) -> Duration {
        let Some(over) = self.count.checked_sub(patience.free).filter(|over| *over > 0) else { return Duration::ZERO };
        let delay = Duration::from_secs(1 << (over - 1).min(20)).min(patience.longest);
        let until = self.last_ms.saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        Duration::from_millis(until.saturating_sub(now_ms))
    }
}

/// What is counted, bounded: whoever failed longest ago is forgotten first.
struct Counted<K>(HashMap<K, Failures>);

impl<K: Hash + Eq + Clone> Counted<K> {
    fn wait(&self, key: &K, patience: Patience, now_ms: u64) -> Duration {
        self.0.get(key).map_or(Duration::ZERO, |failures| failures.wait(patience, now_ms))
    }

    fn add(&mut self, key: K, now_ms: u64) {
        let forgotten = u64::try_from(FAILURES_FORGOTTEN.as_millis()).unwrap_or(u64::MAX);
        if self.0.len() >= THROTTLE_ENTRIES_MAX && !self.0.contains_key(&key) {
            self.0.retain(|_, failures| failures.last_ms.saturating_add(forgotten) > now_ms);
            let oldest = self.0.iter().min_by_key(|(_, failures)| failures.last_ms).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest.filter(|_| self.0.len() >= THROTTLE_ENTRIES_MAX) {
                self.0.remove(&oldest);
            }
        }
        let failures = self.0.entry(key).or_insert(Failures { count: 0, last_ms: now_ms });
        if failures.last_ms.saturating_add(forgotten) <= now_ms {
            failures.count = 0;
        }
        *failures = Failures { count: failures.count.saturating_add(1), last_ms: now_ms };
    }
}

/// Counts failures.
pub(crate) struct Throttle {
    at_address: Counted<(String, Place)>,
    of_address: Counted<Place>,
    of_account: Counted<String>,
    /// Who has signed in from where, and when that was last written down.
    known: HashMap<(String, Place), u64>,
}

impl Throttle {
    pub(crate) fn new() -> Self {
        Self {
            at_address: Counted(HashMap::new()),
            of_address: Counted(HashMap::new()),
            of_account: Counted(HashMap::new()),
            known: HashMap::new(),
        }
    }

    /// Begins an attempt, which counts as a failure until [`Throttle::succeeded`]: many at once get no further than one
    /// after the other.
    ///
    /// # Errors
    /// How long to wait; the attempt is not counted then.
    pub(crate) fn attempt(&mut self, account: &str, place: Place, now_ms: u64) -> Result<Attempt, Duration> {
        let pair = (account.to_owned(), place);
        let known = self.known.contains_key(&pair);
        let mut wait = self.at_address.wait(&pair, AT_ADDRESS, now_ms);
        if !known {
            wait = wait.max(self.of_address.wait(&place, OF_ADDRESS, now_ms));
            wait = wait.max(self.of_account.wait(&pair.0, OF_ACCOUNT, now_ms));
        }
        if !wait.is_zero() {
            return Err(wait);
        }
        self.at_address.add(pair.clone(), now_ms);
        if !known {
            self.of_address.add(place, now_ms);
            self.of_account.add(account.to_owned(), now_ms);
        }
        Ok(Attempt { pair, counted: !known })
    }

    /// Somebody has signed in there before, as was written down then. Bounded: the place that was used longest ago goes.
    pub(crate) fn know(&mut self, account: &str, place: Place, at_ms: u64) {
        let pair = (account.to_owned(), place);
        if self.known.len() >= KNOWN_PLACES_MAX && !self.known.contains_key(&pair) {
            let oldest = self.known.iter().min_by_key(|(_, at_ms)| **at_ms).map(|(pair, _)| pair.clone());
            oldest.and_then(|oldest| self.known.remove(&oldest));
        }
        self.known.insert(pair, at_ms);
    }

    /// The account is there no more, is closed, or has a new password.
    pub(crate) fn forget(&mut self, account: &str) {
        self.known.retain(|(known, _), _| known != account);
    }

    /// The attempt was none of guessing. What others tried from there, or under that name from elsewhere, goes on counting:
    /// whoever has one account must not guess at others more quickly for it. Answers who has signed in from where, if that
    /// is to be written down.
    pub(crate) fn succeeded(&mut self, attempt: Attempt, now_ms: u64) -> Option<(String, Place)> {
        let Attempt { pair, counted } = attempt;
        self.at_address.0.remove(&pair);
        if counted {
            let counts = [self.of_address.0.get_mut(&pair.1), self.of_account.0.get_mut(&pair.0)];
            for count in counts.into_iter().flatten() {
                count.count = count.count.saturating_sub(1);
            }
        }
        let written = self.known.get(&pair).copied();
        // A clock that was set back writes once more, and goes on.
        let is_fresh = |at_ms: u64| (at_ms..at_ms.saturating_add(KNOWN_PLACE_EVERY_MS)).contains(&now_ms);
        if written.is_some_and(is_fresh) {
            return None;
        }
        self.know(&pair.0, pair.1, now_ms);
        Some(pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(last: u8) -> Place {
        IpAddr::from([192, 0, 2, last]).into()
    }

    #[test]
    fn the_wait_grows_and_ends() {
        let mut throttle = Throttle::new();
        let mut now = 1_000;
        let mut waits = Vec::new();
        for _ in 0..10 {
            while let Err(wait) = throttle.attempt("alice", place(1), now) {
                waits.push(wait.as_secs());
                now += u64::try_from(wait.as_millis()).unwrap();
            }
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32]);
        for _ in 0..10 {
            let Err(wait) = throttle.attempt("alice", place(1), now) else { continue };
            assert!(wait <= AT_ADDRESS.longest, "{wait:?}");
            now += u64::try_from(wait.as_millis()).unwrap();
        }
    }

    #[test]
    fn one_address_gets_slow_whatever_names_it_tries() {
        let mut throttle = Throttle::new();
        let tried = (0..100).filter(|n| throttle.attempt(&format!("user{n}"), place(1), 5).is_ok()).count();
        assert_eq!(tried, 11);
        assert!(throttle.attempt("user1000", place(2), 5).is_ok(), "others are not meant");
    }

    #[test]
    fn nobody_locks_out_one_who_has_signed_in_there_before() {
        let mut throttle = Throttle::new();
        let attempt = throttle.attempt("alice", place(1), 5).unwrap();
        let _ = throttle.succeeded(attempt, 5);
        // From many addresses, and from her own with other names.
        for n in 10..250 {
            let _ = throttle.attempt("alice", place(n), 6);
            let _ = throttle.attempt(&format!("user{n}"), place(1), 6);
        }
        assert!(throttle.attempt("alice", place(251), 6).is_err(), "guessing from everywhere is slow");
        assert!(throttle.attempt("alice", place(1), 6).is_ok());
    }

    #[test]
    fn a_place_is_known_again_after_a_restart_and_written_down_once_a_day() {
        let mut throttle = Throttle::new();
        let mut signed_in = |now_ms| {
            let attempt = throttle.attempt("alice", place(1), now_ms).unwrap();
            throttle.succeeded(attempt, now_ms)
        };
        assert_eq!(signed_in(5), Some(("alice".to_owned(), place(1))));
        assert_eq!(signed_in(6), None);
        assert_eq!(signed_in(5 + KNOWN_PLACE_EVERY_MS), Some(("alice".to_owned(), place(1))));
        assert!(signed_in(4).is_some(), "the clock was set back");

        let mut again = Throttle::new();
        again.know("alice", place(1).to_string().parse().unwrap(), 5);
        for n in 10..250 {
            let _ = again.attempt("alice", place(n), 6);
        }
        assert!(again.attempt("alice", place(251), 6).is_err() && again.attempt("alice", place(1), 6).is_ok());
        again.forget("alice");
        assert!(again.attempt("alice", place(1), 7).is_err());
        let network = Place::from("2001:db8:0:1::7".parse::<IpAddr>().unwrap());
        assert_eq!((network.to_string().as_str(), network.to_string().parse()), ("2001:db8:0:1::/64", Ok(network)));
    }

    #[test]
    fn the_tables_are_bounded() {
        let mut throttle = Throttle::new();
        for n in 0..THROTTLE_ENTRIES_MAX as u32 + 500 {
            let address = IpAddr::from(n.to_be_bytes());
            let _ = throttle.attempt(&format!("user{n}"), address.into(), u64::from(n));
            throttle.know(&format!("user{n}"), address.into(), u64::from(n));
        }
        assert_eq!(throttle.known.len(), KNOWN_PLACES_MAX);
        assert!(throttle.known.values().all(|at_ms| *at_ms >= 500), "the oldest have gone");
        assert!(throttle.at_address.0.len() <= THROTTLE_ENTRIES_MAX);
        assert!(throttle.of_address.0.len() <= THROTTLE_ENTRIES_MAX);
        assert!(throttle.of_account.0.len() <= THROTTLE_ENTRIES_MAX);
    }

    #[test]
    fn a_network_of_ipv6_is_one_place() {
        let of = |text: &str| Place::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), place(1));
    }

    #[test]
    fn an_account_of_ones_own_buys_no_guesses_at_others() {
        let mut throttle = Throttle::new();
        let mut tried = 0;
        for n in 0..100 {
            if let Ok(attempt) = throttle.attempt("mallory", place(1), 5) {
                let _ = throttle.succeeded(attempt, 5);
            }
            tried += usize::from(throttle.attempt(&format!("user{n}"), place(1), 5).is_ok());
        }
        assert_eq!(tried, 11);
    }

    #[test]
    fn an_address_waits_for_half_a_minute_at_most() {
        let mut throttle = Throttle::new();
        let mut now = 1_000;
        for n in 0..100 {
            while let Err(wait) = throttle.attempt(&format!("user{n}"), place(1), now) {
                assert!(wait <= Duration::from_secs(30), "{wait:?}");
                now += u64::try_from(wait.as_millis()).unwrap();
            }
        }
    }
}
