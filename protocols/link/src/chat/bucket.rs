//! So many at once, and so many a second from then on.

use edgeway_model::Moment;

/// A bucket of permissions.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    left: u32,
    most: u32,
    per_second: u32,
    filled: Moment,
}

impl Bucket {
    /// A full one.
    pub(super) const fn new(most: u32, per_second: u32, now: Moment) -> Self {
        Self { left: most, most, per_second, filled: now }
    }

    /// Whether one more is permitted; it is taken then.
    pub(super) fn take(&mut self, now: Moment) -> bool {
        let millis = u64::try_from(now.since(self.filled).as_millis()).unwrap_or(u64::MAX);
        let more = u32::try_from(millis.saturating_mul(u64::from(self.per_second)) / 1_000).unwrap_or(u32::MAX);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(self.most);
            self.filled = now;
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_fills_again_and_never_over_its_brim() {
        let start = Moment::from_secs(1);
        let mut bucket = Bucket::new(10, 5, start);
        assert_eq!((0..20).filter(|_| bucket.take(start)).count(), 10);
        assert_eq!((0..20).filter(|_| bucket.take(start + Duration::from_secs(1))).count(), 5);
        assert_eq!((0..20).filter(|_| bucket.take(start + Duration::from_secs(3_600))).count(), 10);
    }
}
