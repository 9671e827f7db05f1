//! How often credentials may be shown from one address, over HTTPS or by a chat stream. A core bounds them by user; this bounds whoever tries one
//! password with many users, before a byte of it goes inside.
//!
//! Sign-ins that succeed cost nothing, and give an office behind one address more room; wrong credentials cost twice.
//! It looks at the address, and at nothing a client says.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use edgeway_policy::rate::Prefix;

use crate::http::limits::{
    ATTEMPTS_EARNED_MAX, ATTEMPTS_MAX, ATTEMPTS_PER_SECOND, ATTEMPTS_SOURCES_MAX, OFFENCE_COSTS,
};

/// What came of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// They are right.
    Good,
    /// They are wrong.
    Offence,
    /// They were not looked at, for a reason that is the client's.
    Refused,
    /// Nobody knows, and it is not the client's fault.
    Unknown,
}

/// All addresses, IPv6 by /64.
#[derive(Default)]
pub(crate) struct Attempts {
    sources: HashMap<Prefix, Budget>,
}

struct Budget {
    left: u32,
    since: Instant,
}

impl Budget {
    /// What time gives back; what was earned beyond stays.
    fn refill(&mut self, now: Instant) {
        let seconds = u32::try_from(now.saturating_duration_since(self.since).as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            let full = self.left.max(ATTEMPTS_MAX);
            self.left = self.left.saturating_add(seconds.saturating_mul(ATTEMPTS_PER_SECOND)).min(full);
            self.since = now;
        }
    }
}

impl Attempts {
    /// Whether credentials may be shown once more from there.
    pub(crate) fn admit(&mut self, address: IpAddr, now: Instant) -> bool {
        let budget = self.budget(address, now);
        match budget.left.checked_sub(1) {
            Some(left) => {
                budget.left = left;
                true
            }
            None => false,
        }
    }

    /// Whether they could be, if somebody came to it.
    pub(crate) fn is_left(&mut self, address: IpAddr, now: Instant) -> bool {
        self.budget(address, now).left > 0
    }

    fn budget(&mut self, address: IpAddr, now: Instant) -> &mut Budget {
        let prefix = Prefix::from(address);
        if self.sources.len() >= ATTEMPTS_SOURCES_MAX && !self.sources.contains_key(&prefix) {
            // Any of them: whoever fills the table must not keep others out of it.
            if let Some(any) = self.sources.keys().next().copied() {
                self.sources.remove(&any);
            }
        }
        let budget = self.sources.entry(prefix).or_insert(Budget { left: ATTEMPTS_MAX, since: now });
        budget.refill(now);
        budget
    }

    /// What came of one that was admitted. One whose client goes away before that has its price.
    pub(crate) fn settle(&mut self, address: IpAddr, outcome: Outcome) {
        let Some(budget) = self.sources.get_mut(&Prefix::from(address)) else { return };
        match outcome {
            Outcome::Good => budget.left = budget.left.saturating_add(2).min(ATTEMPTS_EARNED_MAX),
            Outcome::Unknown => budget.left = budget.left.saturating_add(1).min(ATTEMPTS_EARNED_MAX),
            Outcome::Offence => budget.left = budget.left.saturating_sub(OFFENCE_COSTS - 1),
            Outcome::Refused => {}
        }
    }

    /// Forgets those that have been quiet for as long as a whole budget takes.
    pub(crate) fn sweep(&mut self, now: Instant) {
        let full = u64::from(ATTEMPTS_MAX / ATTEMPTS_PER_SECOND);
        self.sources.retain(|_, budget| now.saturating_duration_since(budget.since).as_secs() < full);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use super::*;

    fn v4(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
    }

    /// How many are admitted, each with this outcome.
    fn admitted(attempts: &mut Attempts, address: IpAddr, now: Instant, outcome: Outcome) -> u32 {
        let mut count = 0;
        while count < 100_000 && attempts.admit(address, now) {
            attempts.settle(address, outcome);
            count += 1;
        }
        count
    }

    #[test]
    fn an_address_has_its_budget_and_time_gives_it_back() {
        let (mut attempts, start) = (Attempts::default(), Instant::now());
        assert_eq!(admitted(&mut attempts, v4(1), start, Outcome::Refused), ATTEMPTS_MAX);
        assert_eq!(admitted(&mut attempts, v4(2), start, Outcome::Offence), ATTEMPTS_MAX / OFFENCE_COSTS);
        let later = start + Duration::from_secs(10);
        assert_eq!(admitted(&mut attempts, v4(1), later, Outcome::Refused), 10 * ATTEMPTS_PER_SECOND);
        let later = later + Duration::from_secs(100_000);
        assert_eq!(admitted(&mut attempts, v4(1), later, Outcome::Refused), ATTEMPTS_MAX, "and no more than that");
    }

    #[test]
    fn success_costs_nothing_and_makes_room() {
        let (mut attempts, start) = (Attempts::default(), Instant::now());
        for _ in 0..50_000 {
            assert!(attempts.admit(v4(1), start));
            attempts.settle(v4(1), Outcome::Good);
            assert!(attempts.admit(v4(2), start));
            attempts.settle(v4(2), Outcome::Unknown);
        }
        assert_eq!(admitted(&mut attempts, v4(1), start, Outcome::Refused), ATTEMPTS_EARNED_MAX);
        assert_eq!(admitted(&mut attempts, v4(2), start, Outcome::Refused), ATTEMPTS_MAX);
    }

    #[test]
    fn a_slash_64_is_one_place_and_the_table_is_bounded() {
        let (mut attempts, start) = (Attempts::default(), Instant::now());
        let v6 = |network: u32, host: u8| {
            let [a, b, c, d] = network.to_be_bytes();
            IpAddr::V6(Ipv6Addr::from([0x20, 0x01, 0x0d, 0xb8, a, b, c, d, host, 0, 0, 0, 0, 0, 0, host]))
        };
        assert_eq!(admitted(&mut attempts, v6(1, 1), start, Outcome::Refused), ATTEMPTS_MAX);
        assert!(!attempts.admit(v6(1, 7), start) && attempts.admit(v6(2, 1), start));
        for network in 0..u32::try_from(ATTEMPTS_SOURCES_MAX).unwrap() + 1_000 {
            attempts.admit(v6(network, 1), start);
        }
        assert_eq!(attempts.sources.len(), ATTEMPTS_SOURCES_MAX);
        attempts.sweep(start + Duration::from_secs(u64::from(ATTEMPTS_MAX / ATTEMPTS_PER_SECOND)));
        assert!(attempts.sources.is_empty());
    }
}
