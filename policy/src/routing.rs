//! Which core takes a request.

/// A core that could take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a, K> {
    /// The core.
    pub core: &'a K,
    /// Its registrations, as of its last keepalive.
    pub registrations: u32,
    /// Whether it is taken out of service.
    pub draining: bool,
}

/// Chooses among the cores that are up: the first of those preferred (the one that carries the flow's registration,
/// the one the client's Route names, the one the flow used before), else the least loaded, ties broken by order.
/// `None` when none is up. A named core that is down is replaced without a word: the client's Route may be stale.
/// So is one that is taken out of service, while there is another, unless what is asked for exists there already
/// (`exists`: a request within a dialog).
#[must_use]
pub fn choose<'a, 'p, K: PartialEq + 'p>(
    preferred: impl IntoIterator<Item = &'p K>,
    exists: bool,
    up: &[Candidate<'a, K>],
) -> Option<&'a K> {
    let any_serves = up.iter().any(|candidate| !candidate.draining);
    let may = |candidate: &&Candidate<'a, K>| exists || !any_serves || !candidate.draining;
    let find = |wanted: &K| up.iter().filter(may).map(|candidate| candidate.core).find(|core| **core == *wanted);
    let fewest = |candidate: &&Candidate<'a, K>| (candidate.draining, candidate.registrations);
    preferred
        .into_iter()
        .find_map(find)
        .or_else(|| up.iter().filter(may).min_by_key(fewest).map(|candidate| candidate.core))
}

/// The number a core has in the Routes of its clients (`zone-id=`): made of its name, so that every node
/// says the same without asking. It tells cores apart that share a host; of those that share this too, the
/// host decides.
#[must_use]
pub fn zone_id(core: &str) -> u32 {
    // FNV-1a, folded into what the field's numbers look like.
    let hash = core.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    1 + hash % 9_999
}

/// The Route the clients of a core have in front, in the form the field's clients are used to and only ever
/// echo: the core's host (an IPv6 address in brackets), and the vendor's port, whatever it listens on.
#[must_use]
pub fn client_route(host: &str, core: &str) -> String {
    format!("<sip:{host}:5061;transport=tls;zone-id={};directed;lr>", zone_id(core))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_of_a_cluster_have_numbers_of_their_own() {
        let mut numbers: Vec<_> = (1..=6).map(|n| zone_id(&format!("core{n}"))).collect();
        assert!(numbers.iter().all(|number| (1..10_000).contains(number)));
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!((numbers.len(), zone_id("core1")), (6, zone_id("core1")));
    }

    #[test]
    fn route_then_habit_then_load() {
        let (a, b, c) = ("a", "b", "c");
        let up = [
            Candidate { core: &a, registrations: 5, draining: false },
            Candidate { core: &b, registrations: 2, draining: false },
            Candidate { core: &c, registrations: 2, draining: false },
        ];
        assert_eq!(choose([&"c", &"a"], false, &up), Some(&c));
        assert_eq!(choose([&"dead", &"a"], false, &up), Some(&a));
        assert_eq!(choose([&"dead"], false, &up), Some(&b));
        assert_eq!(choose([&"c"], false, &[]), None);
    }

    #[test]
    fn a_core_that_is_taken_out_of_service_gets_what_is_its_own_and_what_nobody_else_takes() {
        let (a, b) = ("a", "b");
        let draining = Candidate { core: &a, registrations: 0, draining: true };
        let up = [draining, Candidate { core: &b, registrations: 9, draining: false }];
        for exists in [false, true] {
            let own = if exists { Some(&a) } else { Some(&b) };
            assert_eq!(choose([&"a"], exists, &up), own);
            assert_eq!(choose([&"dead", &"a"], exists, &up), own);
            assert_eq!(choose([], exists, &up), Some(&b));
            assert_eq!(choose([&"a"], exists, &[draining]), Some(&a));
        }
    }
}
