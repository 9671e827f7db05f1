//! Which core takes a request.

/// A core that could take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a, K> {
    /// The core.
    pub core: &'a K,
    /// Its registrations, as of its last keepalive.
    pub registrations: u32,
}

/// Chooses among the cores that are up: the one the client's Route names, else the one this flow
/// already uses, else the least loaded, ties broken by order. `None` when none is up. A named core
/// that is down is replaced without a word (DESIGN: the client's Route may be stale).
#[must_use]
pub fn choose<'a, K: PartialEq>(named: Option<&K>, sticky: Option<&K>, up: &[Candidate<'a, K>]) -> Option<&'a K> {
    let find = |wanted: &K| up.iter().map(|candidate| candidate.core).find(|core| **core == *wanted);
    named
        .and_then(find)
        .or_else(|| sticky.and_then(find))
        .or_else(|| up.iter().min_by_key(|candidate| candidate.registrations).map(|candidate| candidate.core))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_then_habit_then_load() {
        let (a, b, c) = ("a", "b", "c");
        let up = [
            Candidate { core: &a, registrations: 5 },
            Candidate { core: &b, registrations: 2 },
            Candidate { core: &c, registrations: 2 },
        ];
        assert_eq!(choose(Some(&"c"), Some(&"a"), &up), Some(&c));
        assert_eq!(choose(Some(&"dead"), Some(&"a"), &up), Some(&a));
        assert_eq!(choose(None, Some(&"dead"), &up), Some(&b));
        assert_eq!(choose::<&str>(Some(&"c"), None, &[]), None);
    }
}
