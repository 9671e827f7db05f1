//! Whether a registrar answers, judged by OPTIONS and by everything else it says.
//!
//! ```text
//!            any word                      silence, no connection
//!  Alive ◄─────────────── Failed ◄───────────────────────────── Alive
//!    │ (slow start: its share grows)  │ (probed alone: 2, 4, 8, 8 … s)
//! ```
//! While it has failed, requests go elsewhere and only probes go there (half open).

use std::time::Duration;

use edgeway_model::Moment;

use crate::limits::{PROBE_AGAIN_MAX, PROBE_AGAIN_MIN, PROBE_ANSWER_WITHIN, RETRY_AFTER_MAX, SLOW_START};

/// What [`Health::handle_timeout`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Send an OPTIONS now.
    Send,
    /// Nothing to do.
    Wait,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// It answers; since when it does again, while that matters.
    Alive { again_since: Option<Moment> },
    /// It does not, and why; how long until the next probe after the one that is due.
    Failed { why: String, pause: Duration },
}

/// The health of one registrar node. Starts alive, so that the first REGISTER is not kept waiting.
#[derive(Clone, Debug)]
pub struct Health {
    state: State,
    every: Duration,
    due: Moment,
    asked: Option<Moment>,
    /// It has asked to be left alone (503 with Retry-After) until then.
    spared_until: Option<Moment>,
}

impl Health {
    /// Probes `every` so often, beginning at once.
    #[must_use]
    pub fn new(every: Duration, now: Moment) -> Self {
        Self { state: State::Alive { again_since: None }, every, due: now, asked: None, spared_until: None }
    }

    /// Probes `every` so often from now on: one that is due later than that comes sooner.
    pub fn set_every(&mut self, every: Duration, now: Moment) {
        self.every = every;
        if self.is_alive() && self.asked.is_none() {
            self.due = self.due.min(now + every);
        }
    }

    /// Whether requests should be sent there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(self.state, State::Alive { .. })
    }

    /// Why it is not alive.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match &self.state {
            State::Alive { .. } => None,
            State::Failed { why, .. } => Some(why),
        }
    }

    /// How much of its share it should get now, of a thousand: none while it has failed or asked to be
    /// spared, a growing part after it came back.
    #[must_use]
    pub fn share(&self, now: Moment) -> u32 {
        if self.spared_until.is_some_and(|until| now < until) {
            return 0;
        }
        match self.state {
            State::Failed { .. } => 0,
            State::Alive { again_since: None } => 1_000,
            State::Alive { again_since: Some(since) } => {
                let run = now.since(since).as_millis().saturating_mul(1_000) / SLOW_START.as_millis();
                u32::try_from(run).unwrap_or(1_000).clamp(100, 1_000)
            }
        }
    }

    /// It said something. Returns whether that is news.
    pub fn handle_answer(&mut self, now: Moment) -> bool {
        self.asked = None;
        self.due = now + self.every;
        match &self.state {
            State::Failed { .. } => {
                self.state = State::Alive { again_since: Some(now) };
                true
            }
            State::Alive { again_since } => {
                if again_since.is_some_and(|since| now >= since + SLOW_START) {
                    self.state = State::Alive { again_since: None };
                }
                false
            }
        }
    }

    /// It could not be reached, or was silent. Returns whether that is news.
    pub fn handle_failure(&mut self, why: &str, now: Moment) -> bool {
        let probed = self.asked.take().is_some();
        let (pause, news) = match self.state {
            State::Alive { .. } => (PROBE_AGAIN_MIN, true),
            // A hundred requests that fail at one moment are one failure.
            State::Failed { .. } if !probed && now < self.due => return false,
            State::Failed { pause, .. } => ((pause * 2).min(PROBE_AGAIN_MAX), false),
        };
        self.due = now + pause;
        self.state = State::Failed { why: why.to_owned(), pause };
        news
    }

    /// It was slow: it is asked at once, and the answer decides.
    pub fn suspect(&mut self, now: Moment) {
        if self.is_alive() && self.asked.is_none() {
            self.due = self.due.min(now);
        }
    }

    /// It answered 503 with Retry-After (RFC 3261 §21.5.4): it is left alone for so long, within bounds.
    pub fn spare(&mut self, retry_after: Duration, now: Moment) {
        self.spared_until = Some(now + retry_after.min(RETRY_AFTER_MAX));
    }

    /// The moment of [`Self::deadline`] has come. Returns what to do, and whether health changed.
    pub fn handle_timeout(&mut self, now: Moment) -> (Probe, bool) {
        let silent = self.asked.is_some_and(|asked| now >= asked + PROBE_ANSWER_WITHIN);
        let news = silent && self.handle_failure("it does not answer OPTIONS", now);
        if self.asked.is_some() || now < self.due {
            return (Probe::Wait, news);
        }
        self.asked = Some(now);
        (Probe::Send, news)
    }

    /// When to call [`Self::handle_timeout`] next.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        self.asked.map_or(self.due, |asked| asked + PROBE_ANSWER_WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_death_and_any_word_is_life() {
        let mut health = Health::new(Duration::from_secs(10), Moment::ZERO);
        assert_eq!(health.handle_timeout(Moment::ZERO), (Probe::Send, false));
        assert_eq!(health.deadline(), Moment::from_secs(4));
        assert_eq!(health.handle_timeout(Moment::from_secs(4)), (Probe::Wait, true));
        assert!(!health.is_alive());
        assert!(health.why().is_some_and(|why| why.contains("OPTIONS")));
        assert_eq!(health.handle_timeout(Moment::from_secs(6)), (Probe::Send, false));
        assert!(health.handle_answer(Moment::from_secs(6)), "back is news");
        assert!(!health.handle_answer(Moment::from_secs(7)), "once");
        assert_eq!(health.why(), None);
        assert_eq!(health.deadline(), Moment::from_secs(17));
        assert!(health.handle_failure("refused", Moment::from_secs(8)));
        assert_eq!(health.deadline(), Moment::from_secs(10));
    }

    #[test]
    fn the_pause_between_probes_grows_and_is_bounded() {
        let mut health = Health::new(Duration::from_secs(10), Moment::ZERO);
        let mut now = Moment::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..5 {
            health.handle_failure("refused", now);
            pauses.push(health.deadline().since(now).as_secs());
            now = health.deadline();
            assert_eq!(health.handle_timeout(now), (Probe::Send, false));
        }
        assert_eq!(pauses, [2, 4, 8, 8, 8]);
        assert!(health.handle_answer(now));
        health.handle_failure("refused", now);
        assert_eq!(health.deadline(), now + PROBE_AGAIN_MIN, "one success starts over");
    }

    #[test]
    fn one_that_is_back_gets_its_share_slowly() {
        let mut health = Health::new(Duration::from_secs(10), Moment::ZERO);
        assert_eq!(health.share(Moment::ZERO), 1_000, "a new one needs no slow start: everything is new");
        health.handle_failure("refused", Moment::from_secs(1));
        assert_eq!(health.share(Moment::from_secs(1)), 0);
        health.handle_answer(Moment::from_secs(10));
        assert_eq!(health.share(Moment::from_secs(10)), 100);
        assert_eq!(health.share(Moment::from_secs(25)), 500);
        assert_eq!(health.share(Moment::from_secs(40)), 1_000);
        health.spare(Duration::from_secs(5), Moment::from_secs(50));
        assert_eq!(health.share(Moment::from_secs(54)), 0);
        assert_eq!(health.share(Moment::from_secs(55)), 1_000);
        health.spare(Duration::from_secs(86_400), Moment::from_secs(60));
        assert_eq!(health.share(Moment::from_secs(60) + RETRY_AFTER_MAX), 1_000, "a day is not believed");
        assert!(health.is_alive());
    }
}
