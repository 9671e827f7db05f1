//! How fast a body goes on: one that keeps moving, but hardly, holds its place no longer than one that stands still.

use tokio::time::Instant;

use super::body::BodyBounds;
use super::limits::BODY_BYTES_PER_SECOND_MIN;

/// The pace of one body, with the waits for whoever reads it.
pub(super) struct Pace {
    since: Instant,
    bytes: u64,
}

impl Pace {
    /// Begins now.
    pub(super) fn start() -> Self {
        Self { since: Instant::now(), bytes: 0 }
    }

    /// So many bytes more have passed. Whether it may go on: its time is not up, and after the longest pause it has
    /// been as fast as it must.
    pub(super) fn may_go_on(&mut self, bytes: u64, now: Instant, bounds: &BodyBounds) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        let counted = now.saturating_duration_since(self.since).saturating_sub(bounds.pause);
        now < bounds.until && self.bytes >= counted.as_secs().saturating_mul(BODY_BYTES_PER_SECOND_MIN)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_hardly_moves_ends_and_what_moves_ends_in_time() {
        let start = Instant::now();
        let bounds =
            BodyBounds { bytes_max: u64::MAX, pause: Duration::from_secs(60), until: start + Duration::from_secs(600) };
        let ends = |every: Duration, bytes: u64| {
            let mut pace = Pace::start();
            (1..10_000).map(|number| start + every * number).find(|now| !pace.may_go_on(bytes, *now, &bounds))
        };
        let second = Duration::from_secs(1);
        assert_eq!(ends(second, BODY_BYTES_PER_SECOND_MIN), Some(start + second * 600), "a total deadline");
        assert_eq!(ends(second, 1), Some(start + second * 61), "a byte a second");
        // A long pause with as much behind it as it had time for.
        assert_eq!(ends(second * 50, 50 * BODY_BYTES_PER_SECOND_MIN), Some(start + second * 600));
    }
}
