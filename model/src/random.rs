//! Randomness as a value: a node is seeded once, by its runtime, and is deterministic from then on.

use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

/// A CSPRNG (ChaCha12) owned by one node. The runtime seeds it from the operating system, the
/// simulator from its seed.
#[derive(Clone)]
pub struct Random(ChaCha12Rng);

impl Random {
    /// A generator whose whole output is determined by `seed`.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// Fills `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..bound`; 0 if `bound` is 0. The bias is below 2⁻³² for bounds below 2³².
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.next_u64() % bound }
    }

    /// A fresh generator, independent of what this one yields later.
    #[must_use]
    pub fn split(&mut self) -> Self {
        Self::from_seed(self.bytes())
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_one_sequence() {
        let mut a = Random::from_seed([7; 32]);
        let mut b = Random::from_seed([7; 32]);
        assert_eq!(a.bytes::<16>(), b.bytes::<16>());
        let mut child = a.split();
        assert_ne!(child.next_u64(), a.next_u64());
        assert!((0..100).all(|_| a.below(10) < 10));
        assert_eq!(a.below(0), 0);
    }
}
