//! How long to wait before the next dial: exponential, full jitter. Pure.

use std::time::Duration;

use edgeway_model::Random;

use super::limits::{BACK_OFF_FIRST, BACK_OFF_MAX, BACK_OFF_MIN, STABLE_AFTER};

/// The back-off of one dialled edge.
///
/// The n-th wait is drawn evenly from zero to `100 ms · 2ⁿ`, at most 5 s, so that cores that lost an
/// edge together do not come back together.
#[derive(Clone, Debug, Default)]
pub(crate) struct BackOff {
    failures: u32,
}

impl BackOff {
    /// A dial failed: how long to wait.
    pub(crate) fn handle_failure(&mut self, random: &mut Random) -> Duration {
        let ceiling = BACK_OFF_FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        let ceiling = ceiling.min(BACK_OFF_MAX);
        self.failures = (self.failures + 1).min(16);
        let micros = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(random.below(micros + 1)).max(BACK_OFF_MIN)
    }

    /// A link that stood for `lived` ended: how long to wait.
    pub(crate) fn handle_closed(&mut self, lived: Duration, random: &mut Random) -> Duration {
        if lived >= STABLE_AFTER {
            self.failures = 0;
        }
        self.handle_failure(random)
    }

    /// Another dialler of the same name has taken the link: wait as long as ever we do.
    pub(super) const fn handle_replaced(&self) -> Duration {
        BACK_OFF_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_five_seconds_and_never_spins() {
        let mut random = Random::from_seed([1; 32]);
        let mut worst = [Duration::ZERO; 12];
        for _ in 0..2_000 {
            let mut back_off = BackOff::default();
            for seen in &mut worst {
                let wait = back_off.handle_failure(&mut random);
                assert!(wait >= BACK_OFF_MIN);
                *seen = wait.max(*seen);
            }
        }
        for (n, seen) in worst.into_iter().enumerate() {
            let ceiling = BACK_OFF_MAX.min(BACK_OFF_FIRST * 2_u32.pow(u32::try_from(n).unwrap()));
            assert!(seen <= ceiling && seen > ceiling.mul_f64(0.9), "wait {n}: {seen:?} of {ceiling:?}");
        }
    }

    #[test]
    fn only_a_stable_minute_forgives() {
        let mut random = Random::from_seed([2; 32]);
        let mut back_off = BackOff { failures: 10 };
        back_off.handle_closed(Duration::from_secs(59), &mut random);
        assert_eq!(back_off.failures, 11);
        assert!(back_off.handle_closed(STABLE_AFTER, &mut random) <= BACK_OFF_FIRST);
        assert_eq!(back_off.failures, 1);
    }

    #[test]
    fn a_thousand_failures_do_not_overflow() {
        let mut random = Random::from_seed([3; 32]);
        let mut back_off = BackOff::default();
        assert!((0..1_000).all(|_| back_off.handle_failure(&mut random) <= BACK_OFF_MAX));
    }
}
