//! Leaves a server in peace that does not answer: a pure state machine, one per server.

use std::time::{Duration, Instant};

use super::limits::{FAILURES_MAX, REST_FIRST, REST_MAX};

/// The health of one server.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// Until when nobody asks; then one request tries.
    rests_until: Option<Instant>,
    rest: Duration,
    /// One request is trying: the others go on being refused.
    tried_since: Option<Instant>,
}

impl Breaker {
    /// Whether a request may go out, and then whether it is the try on whose end the others wait; else after how long it
    /// may be tried again.
    pub(super) fn admit(&mut self, now: Instant, try_within: Duration) -> Result<bool, Duration> {
        let Some(until) = self.rests_until else { return Ok(false) };
        if now < until {
            return Err(until - now);
        }
        // A try whose end nobody told is over after the time it had.
        if let Some(since) = self.tried_since
            && now < since + try_within
        {
            return Err(since + try_within - now);
        }
        self.tried_since = Some(now);
        Ok(true)
    }

    /// The try came to nothing, for a reason that is not the server's: its client went away, or broke a bound. Another
    /// may try.
    pub(super) fn let_go(&mut self) {
        self.tried_since = None;
    }

    /// The server answered, whatever it said.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// The server could not be reached or did not answer in time. How long it is left in peace, if it is.
    pub(super) fn failed(&mut self, now: Instant) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        // Of those that were under way when the rest began each fails, and none makes it longer.
        if self.rests_until.is_some_and(|until| now < until) {
            return None;
        }
        self.tried_since = None;
        if self.failures < FAILURES_MAX {
            return None;
        }
        self.rest = if self.rest.is_zero() { REST_FIRST } else { (self.rest * 2).min(REST_MAX) };
        self.rests_until = Some(now + self.rest);
        Some(self.rest)
    }

    /// Whether nothing is held against the server.
    pub(super) fn is_clean(&self) -> bool {
        self.failures == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRY: Duration = Duration::from_secs(10);

    fn broken(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES_MAX {
            assert!(breaker.admit(now, TRY).is_ok());
            breaker.failed(now);
        }
        breaker
    }

    #[test]
    fn five_failures_in_a_row_are_enough_and_four_are_not() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES_MAX {
            breaker.failed(now);
        }
        assert!(breaker.admit(now, TRY).is_ok());
        breaker.succeeded();
        for _ in 1..FAILURES_MAX {
            breaker.failed(now);
        }
        assert_eq!(breaker.admit(now, TRY), Ok(false), "an answer wipes the slate");
        breaker.failed(now);
        assert_eq!(breaker.admit(now, TRY), Err(REST_FIRST));
    }

    #[test]
    fn one_request_tries_after_the_rest_and_its_end_decides() {
        let start = Instant::now();
        let mut breaker = broken(start);
        let later = start + REST_FIRST;
        assert!(breaker.admit(later, TRY).is_ok());
        assert_eq!(breaker.admit(later, TRY), Err(TRY), "one tries, not two");
        breaker.failed(later);
        assert_eq!(breaker.admit(later, TRY), Err(REST_FIRST * 2), "the next rest is longer");
        let later = later + REST_FIRST * 2;
        assert!(breaker.admit(later, TRY).is_ok());
        breaker.succeeded();
        assert!(breaker.admit(later, TRY).is_ok());
        assert!(breaker.is_clean());
    }

    #[test]
    fn a_try_that_nobody_ends_does_not_close_the_door_for_ever() {
        let start = Instant::now();
        let mut breaker = broken(start);
        let later = start + REST_FIRST;
        assert!(breaker.admit(later, TRY).is_ok());
        assert_eq!(breaker.admit(later + TRY, TRY), Ok(true));
    }

    #[test]
    fn a_try_that_comes_to_nothing_leaves_the_door_to_the_next() {
        let start = Instant::now();
        let mut breaker = broken(start);
        let later = start + REST_FIRST;
        for _ in 0..10 {
            assert_eq!(breaker.admit(later, TRY), Ok(true));
            assert_eq!(breaker.admit(later, TRY), Err(TRY));
            breaker.let_go();
        }
        assert_eq!(breaker.admit(later, TRY), Ok(true));
        assert_eq!(breaker.failed(later), Some(REST_FIRST * 2));
        // What was sent before the rest and fails in it is no further try.
        assert_eq!(breaker.failed(later), None);
        assert_eq!(breaker.admit(later + REST_FIRST * 2, TRY), Ok(true));
    }

    #[test]
    fn rests_stop_growing() {
        let mut now = Instant::now();
        let mut breaker = broken(now);
        for _ in 0..64 {
            now += REST_MAX;
            assert!(breaker.admit(now, TRY).is_ok());
            breaker.failed(now);
        }
        assert_eq!(breaker.admit(now, TRY), Err(REST_MAX));
    }
}
