//! Seeded chance: everything that could have gone another way asks here.

use std::time::Duration;

use edgeway_model::Random;

/// A stream of decisions determined by a seed.
#[derive(Debug)]
pub(crate) struct Chance(Random);

impl Chance {
    /// The decisions of one seed. Different `stream`s of one seed are independent.
    #[must_use]
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        bytes[8..16].copy_from_slice(&stream.to_be_bytes());
        Self(Random::from_seed(bytes))
    }

    /// A generator for a node.
    pub(crate) fn random(&mut self) -> Random {
        self.0.split()
    }

    /// A stream of its own for a part of the world.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.0.split())
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.below(bound as u64)).unwrap_or(0)
    }

    /// Any number.
    pub(crate) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// True in `percent` of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.0.below(100) < percent
    }

    /// A span of `from` to `to` milliseconds, in microseconds.
    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        let width = to.saturating_sub(from) * 1_000;
        Duration::from_micros(from * 1_000 + self.0.below(width.max(1)))
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { of.get(self.below(of.len())) }
    }

    /// Letters and digits, for tags and branches.
    pub(crate) fn word(&mut self) -> String {
        format!("{:012x}", self.number() >> 16)
    }
}
