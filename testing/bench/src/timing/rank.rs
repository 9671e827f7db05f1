//! The rank test of Mann and Whitney.

/// The probability that one of `others` is larger than one of `ones`; equal ones count half.
pub(super) fn auc(ones: &[u64], others: &[u64]) -> f64 {
    let mut all: Vec<(u64, bool)> = ones.iter().map(|value| (*value, false)).collect();
    all.extend(others.iter().map(|value| (*value, true)));
    all.sort_unstable();
    let (mut wins, mut lower) = (0.0, 0_usize);
    for tied in all.chunk_by(|one, other| one.0 == other.0) {
        let of_others = tied.iter().filter(|(_, other)| *other).count();
        let of_ones = tied.len() - of_others;
        wins += of_others as f64 * (lower as f64 + of_ones as f64 / 2.0);
        lower += of_ones;
    }
    wins / (ones.len() as f64 * others.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks() {
        for (ones, others, wanted) in [
            (&[1, 2, 3][..], &[4, 5][..], 1.0),
            (&[4, 5], &[1, 2, 3], 0.0),
            (&[1, 1, 1], &[1, 1], 0.5),
            (&[1, 3], &[2], 0.5),
            (&[1, 2], &[2, 3], 0.875),
        ] {
            assert!((auc(ones, others) - wanted).abs() < 1e-12, "{ones:?} {others:?}");
        }
    }
}
