//! Whether a registrar answers, judged by OPTIONS and by everything else it says.

use std::time::Duration;

use edgeway_model::Moment;

/// How long an OPTIONS may stay unanswered.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// How often a registrar that does not answer is asked.
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// What [`Health::handle_timeout`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Send an OPTIONS now.
    Send,
    /// Nothing to do.
    Wait,
}

/// The health of one registrar. Starts alive, so that the first REGISTER is not kept waiting.
#[derive(Clone, Debug)]
pub struct Health {
    alive: bool,
    every: Duration,
    due: Moment,
    asked: Option<Moment>,
}

impl Health {
    /// Probes `every` so often, beginning at once.
    #[must_use]
    pub fn new(every: Duration, now: Moment) -> Self {
        Self { alive: true, every, due: now, asked: None }
    }

    /// Whether requests should be sent there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.alive
    }

    /// It said something. Returns whether that is news.
    pub fn handle_answer(&mut self, now: Moment) -> bool {
        self.asked = None;
        self.due = now + self.every;
        !std::mem::replace(&mut self.alive, true)
    }

    /// It could not be reached. Returns whether that is news.
    pub fn handle_failure(&mut self, now: Moment) -> bool {
        self.asked = None;
        self.due = now + RETRY_EVERY;
        std::mem::replace(&mut self.alive, false)
    }

    /// The moment of [`Self::deadline`] has come. Returns what to do, and whether health changed.
    pub fn handle_timeout(&mut self, now: Moment) -> (Probe, bool) {
        let news = self.asked.is_some_and(|asked| now >= asked + ANSWER_WITHIN) && self.handle_failure(now);
        if self.asked.is_some() || now < self.due {
            return (Probe::Wait, news);
        }
        self.asked = Some(now);
        (Probe::Send, news)
    }

    /// When to call [`Self::handle_timeout`] next.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        self.asked.map_or(self.due, |asked| asked + ANSWER_WITHIN)
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
        assert_eq!(health.handle_timeout(Moment::from_secs(6)), (Probe::Send, false));
        assert!(health.handle_answer(Moment::from_secs(6)), "back is news");
        assert!(!health.handle_answer(Moment::from_secs(7)), "once");
        assert_eq!(health.deadline(), Moment::from_secs(17));
        assert!(health.handle_failure(Moment::from_secs(8)));
        assert_eq!(health.deadline(), Moment::from_secs(10));
    }
}
