//! Whether an authority is worth asking: one that does not answer is left in peace for a moment, and clients
//! hear so at once instead of waiting for it.

use std::time::Duration;

use edgeway_model::Moment;

use super::limits::{AWAY_MAX, AWAY_MIN, FAILURES_MAX};

/// What is known of one authority's health.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Away {
    failures: u32,
    /// When it may be asked again, and how long the pause is then if it still does not answer.
    until: Option<(Moment, Duration)>,
}

/// What changes for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// It has just stopped answering.
    Lost,
    /// It answers again.
    Back,
}

impl Away {
    /// Whether it is asked now. While it is away one question is let through in each pause.
    pub(super) fn may_ask(&mut self, now: Moment) -> bool {
        match &mut self.until {
            None => true,
            Some((until, _)) if now < *until => false,
            Some((until, pause)) => {
                *until = now + *pause;
                true
            }
        }
    }

    /// It has said yes or no.
    pub(super) fn answered(&mut self) -> Change {
        let change = if self.failures == 0 { Change::None } else { Change::Back };
        *self = Self::default();
        change
    }

    /// It could not be asked.
    pub(super) fn failed(&mut self, now: Moment) -> Change {
        let change = if self.failures == 0 { Change::Lost } else { Change::None };
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_MAX {
            let pause = self.until.map_or(AWAY_MIN, |(_, pause)| (pause * 2).min(AWAY_MAX));
            self.until = Some((now + pause, pause));
        }
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_left_in_peace_longer_and_longer_and_one_answer_ends_that() {
        let mut away = Away::default();
        let mut now = Moment::ZERO;
        assert_eq!(away.failed(now), Change::Lost);
        for _ in 1..FAILURES_MAX {
            assert!(away.may_ask(now));
            assert_eq!(away.failed(now), Change::None);
        }
        for pause in [1, 2, 4, 8, 8] {
            let pause = Duration::from_secs(pause);
            assert!(!away.may_ask(now) && !away.may_ask(now + pause.saturating_sub(Duration::from_micros(1))));
            now = now + pause;
            assert!(away.may_ask(now), "after {pause:?}");
            assert!(!away.may_ask(now), "one at a time");
            assert_eq!(away.failed(now), Change::None);
        }
        assert_eq!(away.answered(), Change::Back);
        assert_eq!(away.answered(), Change::None);
        assert!(away.may_ask(now));
    }

    #[test]
    fn a_failure_among_answers_closes_nothing() {
        let mut away = Away::default();
        for _ in 0..10 {
            assert_eq!(away.failed(Moment::ZERO), Change::Lost);
            assert!(away.may_ask(Moment::ZERO));
            assert_eq!(away.answered(), Change::Back);
        }
    }
}
