//! Settings that cores tell edges.

use std::fmt;

use crate::NodeId;

/// What one core has told an edge of how it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The core.
    pub from: NodeId,
    /// The number of the core's revision; 0 where it has none.
    pub revision: u64,
    /// When that was committed, Unix milliseconds.
    pub committed_ms: u64,
    /// TOML, as an edge's own file would say it.
    pub text: String,
}

impl Told {
    /// Whether it takes the place of `other`: of two cores that say different things, the one whose word was committed
    /// later is heard, of two at one time the one with the higher name. What a core says itself takes the place of what it
    /// has said before.
    #[must_use]
    pub fn supersedes(&self, other: &Self) -> bool {
        self.from == other.from || (self.committed_ms, &self.from) > (other.committed_ms, &other.from)
    }
}

impl Told {
    /// A word that was committed later than the clock of whoever hears it permits counts as committed now: a core whose
    /// clock is ahead is not heard before all others for ever. Without a clock it is believed.
    #[must_use]
    pub fn heard_at(self, unix_ms: Option<u64>, skew_ms: u64) -> Self {
        match unix_ms {
            Some(now_ms) if self.committed_ms > now_ms.saturating_add(skew_ms) => Self { committed_ms: now_ms, ..self },
            Some(_) | None => self,
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revision {} of {}", self.revision, self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts_and_the_higher_name_breaks_a_tie() {
        let told = |from: &str, committed_ms| Told {
            from: NodeId::new(from).expect("a name"),
            revision: 1,
            committed_ms,
            text: String::new(),
        };
        assert!(told("core1", 20).supersedes(&told("core2", 10)) && !told("core2", 10).supersedes(&told("core1", 20)));
        assert!(told("core2", 10).supersedes(&told("core1", 10)) && !told("core1", 10).supersedes(&told("core2", 10)));
        assert!(told("core1", 5).supersedes(&told("core1", 10)), "its clock was set back");
    }

    #[test]
    fn nothing_is_committed_later_than_now() {
        let told = |committed_ms| Told {
            from: NodeId::new("core1").expect("a name"),
            revision: 1,
            committed_ms,
            text: String::new(),
        };
        for (says, clock, counts) in [
            (1_000, Some(5_000), 1_000),
            (5_030, Some(5_000), 5_030),
            (5_031, Some(5_000), 5_000),
            (u64::MAX, Some(u64::MAX - 1), u64::MAX),
            (u64::MAX, None, u64::MAX),
        ] {
            assert_eq!(told(says).heard_at(clock, 30).committed_ms, counts, "{says} at {clock:?}");
        }
    }
}
