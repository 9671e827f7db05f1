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
