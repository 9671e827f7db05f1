//! Whether an authority is worth asking: one that does not answer at all is left in peace for a moment, and clients
//! hear so at once instead of waiting for it.
//!
//! Anybody can make an authority be asked, so only one thing counts against it: that no server of it answered
//! anything ([`Reached::Nobody`]). Whatever depends on the user who is asked about changes nothing here.

use std::time::Duration;

use edgeway_model::Moment;

use super::authority::Reached;
use super::limits::{AWAY_MAX, AWAY_MIN, FAILURES_MAX, QUIET_FOR};

/// What is known of one authority's health.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Away {
    failures: u32,
    /// When nobody was reached last.
    failed: Option<Moment>,
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
        let change = if self.failed.is_none() { Change::None } else { Change::Back };
        *self = Self::default();
        change
    }

    /// It has not.
    pub(super) fn unanswered(&mut self, reached: Reached, now: Moment) -> Change {
        match reached {
            Reached::Nobody => self.failed(now),
            Reached::Somebody => self.answered(),
            Reached::NotAsked => {
                self.not_asked(now);
                Change::None
            }
        }
    }

    /// A question that was let through has reached nobody because it was not put: the next one may be.
    pub(super) fn not_asked(&mut self, now: Moment) {
        if let Some((until, _)) = &mut self.until {
            *until = (*until).min(now);
        }
    }

    fn failed(&mut self, now: Moment) -> Change {
        let change = if self.failed.is_none() { Change::Lost } else { Change::None };
        self.failed = Some(now);
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_MAX {
            let pause = self.until.map_or(AWAY_MIN, |(_, pause)| (pause * 2).min(AWAY_MAX));
            self.until = Some((now + pause, pause));
        }
        change
    }

    /// Time passes. When nobody has signed in for a while, nobody knows that it is away.
    pub(super) fn quiet(&mut self, now: Moment) -> Change {
        match self.failed {
            Some(at) if now.since(at) >= QUIET_FOR => self.answered(),
            Some(_) | None => Change::None,
        }
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

    #[test]
    fn what_strangers_can_bring_about_neither_closes_it_nor_keeps_it_closed() {
        let mut away = Away::default();
        let now = Moment::ZERO;
        for reached in [Reached::Somebody, Reached::NotAsked].into_iter().cycle().take(100) {
            assert_eq!(away.unanswered(reached, now), Change::None);
            assert!(away.may_ask(now));
        }
        for _ in 0..FAILURES_MAX {
            away.unanswered(Reached::Nobody, now);
        }
        assert!(!away.may_ask(now));
        let later = now + AWAY_MIN;
        // The question of the pause was put to nobody: the next one takes its place.
        assert!(away.may_ask(later) && !away.may_ask(later));
        assert_eq!(away.unanswered(Reached::NotAsked, later), Change::None);
        assert!(away.may_ask(later) && !away.may_ask(later));
        // Somebody is there again, whatever he says.
        assert_eq!(away.unanswered(Reached::Somebody, later), Change::Back);
        assert!(away.may_ask(later));
    }

    #[test]
    fn when_nobody_signs_in_time_ends_it() {
        let mut away = Away::default();
        for _ in 0..FAILURES_MAX {
            away.unanswered(Reached::Nobody, Moment::ZERO);
        }
        assert_eq!(away.quiet(Moment::ZERO + QUIET_FOR.saturating_sub(Duration::from_millis(1))), Change::None);
        assert_eq!(away.quiet(Moment::ZERO + QUIET_FOR), Change::Back);
        assert_eq!(away.quiet(Moment::ZERO + QUIET_FOR), Change::None);
    }
}
