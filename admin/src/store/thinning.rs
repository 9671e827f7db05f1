//! Which revisions go when there are too many: a rule that every back end shares.

use super::limits::{HISTORY_BYTES_MAX, REVISIONS_MAX, REVISIONS_WHOLE};

/// A revision as far as the rule looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) number: u64,
    /// Of its document.
    pub(super) bytes: usize,
}

/// The numbers that go, given all revisions in order, the newest last, and those somebody still refers to. The newest
/// and those never go. Of the old ones goes the one whose neighbours are nearest, so that what is left is spread over
/// the whole history; the first stays as long as any of them does.
pub(super) fn surplus(mut revisions: Vec<Kept>, referred: &[u64]) -> Vec<u64> {
    let mut bytes: usize = revisions.iter().map(|one| one.bytes).sum();
    let mut gone = Vec::new();
    while revisions.len() > REVISIONS_MAX || bytes > HISTORY_BYTES_MAX {
        let Some(at) = most_dispensable(&revisions, referred) else { break };
        let one = revisions.remove(at);
        bytes -= one.bytes;
        gone.push(one.number);
    }
    gone
}

fn most_dispensable(revisions: &[Kept], referred: &[u64]) -> Option<usize> {
    let head = revisions.len().checked_sub(1)?;
    let may_go = |at: &usize| !referred.contains(&revisions[*at].number);
    let old = head.saturating_sub(REVISIONS_WHOLE - 1);
    let gap = |at: &usize| revisions[*at + 1].number - revisions[*at - 1].number;
    let between = (1..old).filter(may_go).min_by_key(gap);
    between.or_else(|| (0..head).find(may_go))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(count: u64, bytes: usize) -> Vec<Kept> {
        (1..=count).map(|number| Kept { number, bytes }).collect()
    }

    #[test]
    fn nothing_goes_below_the_bounds() {
        assert_eq!(surplus(numbered(REVISIONS_MAX as u64, 10), &[]), Vec::<u64>::new());
        assert_eq!(surplus(Vec::new(), &[]), Vec::<u64>::new());
    }

    #[test]
    fn what_is_left_spans_the_whole_history() {
        let mut revisions: Vec<Kept> = Vec::new();
        for number in 1..=20_000 {
            revisions.push(Kept { number, bytes: 10 });
            let gone = surplus(revisions.clone(), &[4_711]);
            revisions.retain(|one| !gone.contains(&one.number));
        }
        let numbers: Vec<u64> = revisions.iter().map(|one| one.number).collect();
        assert_eq!(numbers.len(), REVISIONS_MAX);
        assert!(numbers.contains(&1) && numbers.contains(&4_711));
        let whole = 20_000 - REVISIONS_WHOLE as u64 + 1;
        assert!((whole..=20_000).all(|number| numbers.contains(&number)));
        let widest = numbers.windows(2).map(|two| two[1] - two[0]).max().expect("many");
        let even = (20_000 - REVISIONS_WHOLE as u64) / (REVISIONS_MAX - REVISIONS_WHOLE) as u64;
        assert!(widest <= 4 * even, "a hole of {widest} revisions where {even} would be even");
    }

    #[test]
    fn large_documents_cost_old_revisions_but_never_the_head() {
        let gone = surplus(numbered(5, HISTORY_BYTES_MAX / 2), &[2]);
        assert_eq!(gone, [1, 3, 4]);
        assert_eq!(surplus(numbered(1, 2 * HISTORY_BYTES_MAX), &[]), Vec::<u64>::new());
    }
}
