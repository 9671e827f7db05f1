//! Clients that ask and do not wait.
//!
//! A request that is given up is a stream that ends on the connection all clients share, and a core takes only so
//! many of these from one edge. So they are counted here, by address, and whoever has too many asks in vain for a
//! while; when there are too many in all, that is everybody who has had more than a few.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use super::super::limits::{
    CANCELLING_ADDRESSES_MAX, CANCELS_BURST_MAX, CANCELS_FEW, CANCELS_IN_ALL_BURST_MAX, CANCELS_IN_ALL_PER_SECOND_MAX,
    CANCELS_PER_SECOND_MAX,
};
use crate::strangers::key_of;

/// What was given up, and by whom.
#[derive(Debug, Default)]
pub(super) struct Cancels(RefCell<Counted>);

#[derive(Debug, Default)]
struct Counted {
    all: Option<Debt>,
    by_address: HashMap<IpAddr, Debt>,
}

/// How many, less what time has forgiven.
#[derive(Clone, Copy, Debug)]
struct Debt {
    since: Instant,
    count: u64,
}

impl Debt {
    fn now(self, now: Instant, per_second: u64) -> u64 {
        let forgiven = now.saturating_duration_since(self.since).as_millis() * u128::from(per_second) / 1_000;
        self.count.saturating_sub(u64::try_from(forgiven).unwrap_or(u64::MAX))
    }

    fn more(known: Option<Self>, now: Instant, per_second: u64) -> Self {
        Self { since: now, count: known.map_or(0, |known| known.now(now, per_second)) + 1 }
    }
}

impl Cancels {
    /// A request of `address` was given up.
    pub(super) fn count(&self, address: IpAddr, now: Instant) {
        let counted = &mut *self.0.borrow_mut();
        counted.all = Some(Debt::more(counted.all, now, CANCELS_IN_ALL_PER_SECOND_MAX));
        let key = key_of(address);
        let known = counted.by_address.get(&key).copied();
        if known.is_some() || counted.by_address.len() < CANCELLING_ADDRESSES_MAX {
            counted.by_address.insert(key, Debt::more(known, now, CANCELS_PER_SECOND_MAX));
        }
    }

    /// Whether `address` may ask.
    pub(super) fn admit(&self, address: IpAddr, now: Instant) -> bool {
        let counted = self.0.borrow();
        if counted.by_address.is_empty() {
            return true;
        }
        let Some(debt) = counted.by_address.get(&key_of(address)) else { return true };
        let too_many =
            counted.all.is_some_and(|all| all.now(now, CANCELS_IN_ALL_PER_SECOND_MAX) >= CANCELS_IN_ALL_BURST_MAX);
        debt.now(now, CANCELS_PER_SECOND_MAX) < if too_many { CANCELS_FEW } else { CANCELS_BURST_MAX }
    }

    /// Forgets who owes nothing.
    pub(super) fn sweep(&self, now: Instant) {
        self.0.borrow_mut().by_address.retain(|_, debt| debt.now(now, CANCELS_PER_SECOND_MAX) > 0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_gives_up_too_much_asks_in_vain_for_a_while_and_others_do_not() {
        let (cancels, start) = (Cancels::default(), Instant::now());
        let bad = |n: u64| IpAddr::from([10, 0, u8::try_from(n / 250).unwrap(), u8::try_from(n % 250).unwrap()]);
        let good = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..CANCELS_BURST_MAX {
            assert!(cancels.admit(bad(0), start));
            cancels.count(bad(0), start);
        }
        assert!(!cancels.admit(bad(0), start) && cancels.admit(good, start));
        assert!(cancels.admit(bad(0), start + Duration::from_secs(1)));
        // Many, each with less than it may have by itself.
        cancels.count(good, start);
        let each = CANCELS_FEW + 1;
        for n in 1..=CANCELS_IN_ALL_BURST_MAX / each + 1 {
            (0..each).for_each(|_| cancels.count(bad(n), start));
        }
        assert!(!cancels.admit(bad(1), start) && cancels.admit(good, start));
        cancels.sweep(start + Duration::from_secs(3_600));
        assert!(cancels.0.borrow().by_address.is_empty());
    }
}
