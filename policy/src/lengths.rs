//! How long things of a kind last, out of those that have ended: for a guess at how long those will last that have not.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits::LENGTHS_KEPT;

/// What the last of a kind have lasted.
#[derive(Clone, Debug, Default)]
pub struct Lengths(VecDeque<Duration>);

impl Lengths {
    /// One has ended.
    pub fn note(&mut self, lasted: Duration) {
        if self.0.len() >= LENGTHS_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(lasted);
    }

    /// How long until all that have these ages will have ended: nine in ten of those that had reached such an age before had
    /// ended by then. `None` where one has outlasted all others, and nothing tells; nothing at all is over at once.
    #[must_use]
    pub fn outlook(&self, ages: impl IntoIterator<Item = Duration>) -> Option<Duration> {
        let mut ages = ages.into_iter().peekable();
        if ages.peek().is_none() {
            return Some(Duration::ZERO);
        }
        let mut known: Vec<_> = self.0.iter().copied().collect();
        known.sort_unstable();
        let mut longest = Duration::ZERO;
        for age in ages {
            let longer = known.get(known.partition_point(|known| *known <= age)..).unwrap_or_default();
            let ninth = longer.get((longer.len() * 9).div_ceil(10).checked_sub(1)?)?;
            longest = longest.max(ninth.saturating_sub(age));
        }
        Some(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(numbers: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        numbers.into_iter().map(Duration::from_secs).collect()
    }

    fn after(lasted: impl IntoIterator<Item = u64>, ages: &[u64]) -> Option<u64> {
        let mut lengths = Lengths::default();
        seconds(lasted).into_iter().for_each(|one| lengths.note(one));
        lengths.outlook(seconds(ages.iter().copied())).map(|left| left.as_secs())
    }

    #[test]
    fn the_outlook_is_that_of_those_that_got_as_old() {
        assert_eq!(after([], &[]), Some(0));
        assert_eq!(after([], &[5]), None, "nothing is known");
        assert_eq!(after(1..=100, &[0]), Some(90));
        assert_eq!(after(1..=100, &[50]), Some(45), "of 51 to 100 nine in ten end by 95");
        assert_eq!(after(1..=100, &[50, 0, 10]), Some(90));
        assert_eq!(after(1..=100, &[10, 100]), None, "one has outlasted all others");
        assert_eq!(after([7], &[3]), Some(4));
    }

    #[test]
    fn the_past_is_forgotten() {
        let old = std::iter::repeat_n(1_000, LENGTHS_KEPT);
        assert_eq!(after(old.clone(), &[0]), Some(1_000));
        assert_eq!(after(old.chain(std::iter::repeat_n(10, LENGTHS_KEPT)), &[0]), Some(10));
    }
}
