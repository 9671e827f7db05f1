//! Attempts that name no user: tokens of which only a server knows whose they are, and names that are nobody's. They
//! count against the place they come from.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use edgeway_model::Moment;
use edgeway_policy::rate::Prefix;

use super::limits::{NAMELESS_ATTEMPTS_MAX, NAMELESS_PLACES_MAX};

/// By place: when the period began, and attempts in it.
pub(super) struct Nameless {
    period: Cell<Duration>,
    places: RefCell<BTreeMap<Prefix, (Moment, u32)>>,
}

impl Nameless {
    pub(super) fn new(period: Duration) -> Self {
        Self { period: Cell::new(period), places: RefCell::default() }
    }

    /// The period from now on.
    pub(super) fn set_period(&self, period: Duration) {
        self.period.set(period);
    }

    /// One was made.
    ///
    /// # Errors
    /// When there were too many: when to come back.
    pub(super) fn supplied(&self, address: IpAddr, now: Moment) -> Result<(), Duration> {
        let (mut places, period) = (self.places.borrow_mut(), self.period.get());
        let place = Prefix::from(address);
        if places.len() >= NAMELESS_PLACES_MAX && !places.contains_key(&place) {
            places.retain(|_, (begun, _)| now.since(*begun) < period);
            if places.len() >= NAMELESS_PLACES_MAX {
                // Anybody will do: whoever has so many places needs no fresh count.
                places.pop_first();
            }
        }
        let (begun, count) = places.entry(place).or_insert((now, 0));
        if now.since(*begun) >= period {
            (*begun, *count) = (now, 0);
        }
        if *count >= NAMELESS_ATTEMPTS_MAX {
            return Err((*begun + period).since(now));
        }
        *count += 1;
        Ok(())
    }

    /// A server has taken what was shown, or has not seen it: that was no attempt at anybody.
    pub(super) fn give_back(&self, address: IpAddr) {
        if let Some((_, count)) = self.places.borrow_mut().get_mut(&Prefix::from(address)) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(300);

    fn at(ms: u64) -> Moment {
        Moment::ZERO + Duration::from_millis(ms)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_has_so_many_and_only_those_that_fail_count() {
        let nameless = Nameless::new(PERIOD);
        for number in 0..NAMELESS_ATTEMPTS_MAX * 3 {
            // A whole company that comes back.
            assert_eq!(nameless.supplied(ip("192.0.2.1"), at(number.into())), Ok(()));
            nameless.give_back(ip("192.0.2.1"));
        }
        for _ in 0..NAMELESS_ATTEMPTS_MAX {
            assert_eq!(nameless.supplied(ip("192.0.2.1"), at(9_000)), Ok(()));
        }
        assert_eq!(nameless.supplied(ip("::ffff:192.0.2.1"), at(10_000)), Err(Duration::from_secs(290)));
        assert_eq!(nameless.supplied(ip("192.0.2.2"), at(10_000)), Ok(()));
        assert_eq!(nameless.supplied(ip("192.0.2.1"), at(300_000)), Ok(()));
    }

    #[test]
    fn all_of_a_64_is_one_place() {
        let nameless = Nameless::new(PERIOD);
        for number in 0..NAMELESS_ATTEMPTS_MAX {
            assert_eq!(nameless.supplied(ip(&format!("2001:db8::{number:x}")), at(0)), Ok(()));
        }
        assert_eq!(nameless.supplied(ip("2001:db8::ffff:1"), at(1)), Err(PERIOD - Duration::from_millis(1)));
        assert_eq!(nameless.supplied(ip("2001:db8:0:1::1"), at(1)), Ok(()));
    }

    #[test]
    fn places_are_bounded() {
        let nameless = Nameless::new(PERIOD);
        let place = |number: usize| IpAddr::from(u32::try_from(number).unwrap().to_be_bytes());
        for number in 0..NAMELESS_PLACES_MAX + 10 {
            assert_eq!(nameless.supplied(place(number), at(0)), Ok(()));
        }
        assert_eq!(nameless.places.borrow().len(), NAMELESS_PLACES_MAX);
        assert_eq!(nameless.supplied(ip("255.0.0.1"), at(300_000)), Ok(()));
        assert_eq!(nameless.places.borrow().len(), 1);
    }
}
