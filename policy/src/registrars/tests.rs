use std::collections::BTreeMap;
use std::net::SocketAddr;

use edgeway_model::dns::{RecordKind, SrvRecord};

use super::*;

const BOTH: Families = Families { udp_ipv4: true, udp_ipv6: true, ipv6_first: false };

fn tcp(address: &str) -> Place {
    (address.parse().expect("an address"), Transport::Tcp)
}

fn at(address: &str, priority: u16, weight: u16) -> Configured {
    let address: SocketAddr = address.parse().expect("an address");
    let target = Target {
        host: address.ip().to_string(),
        port: Some(address.port()),
        transport: Some(Transport::Tcp),
        secure: false,
    };
    Configured { zone: address.to_string(), names: Vec::new(), target, priority, weight }
}

fn registrars(configured: Vec<Configured>) -> Registrars {
    Registrars::new(configured, BOTH, Duration::from_secs(10), Moment::ZERO)
}

fn counts(registrars: &Registrars, held: Option<Place>, tried: &[Place], now: Moment) -> BTreeMap<String, u32> {
    let mut random = Random::from_seed([3; 32]);
    let mut counts = BTreeMap::new();
    for _ in 0..10_000 {
        let chosen = registrars.choose(Wanted::default(), held, tried, &mut random, now);
        *counts.entry(chosen.map_or("none".into(), |node| node.place.0.to_string())).or_default() += 1;
    }
    counts
}

#[test]
fn priority_first_then_weight() {
    let mut both = registrars(vec![at("10.0.0.1:5060", 1, 30), at("10.0.0.2:5060", 1, 10), at("10.0.0.3:5060", 2, 90)]);
    let drawn = counts(&both, None, &[], Moment::ZERO);
    assert_eq!(drawn.len(), 2, "the second priority waits: {drawn:?}");
    let share = f64::from(drawn["10.0.0.1:5060"]) / 10_000.0;
    assert!((0.70..0.80).contains(&share), "weights 30 and 10 are 3 to 1: {drawn:?}");

    both.handle_failure(tcp("10.0.0.1:5060"), "refused", Moment::ZERO);
    assert_eq!(counts(&both, None, &[], Moment::ZERO).keys().collect::<Vec<_>>(), ["10.0.0.2:5060"]);
    assert_eq!(
        counts(&both, None, &[tcp("10.0.0.2:5060")], Moment::ZERO).keys().collect::<Vec<_>>(),
        ["10.0.0.3:5060"],
        "what was tried is not tried again"
    );
    both.handle_failure(tcp("10.0.0.2:5060"), "refused", Moment::ZERO);
    both.handle_failure(tcp("10.0.0.3:5060"), "refused", Moment::ZERO);
    assert!(!counts(&both, None, &[], Moment::ZERO).contains_key("none"), "where all have failed, one may be back");
}

#[test]
fn whoever_holds_a_registration_keeps_it_while_alive() {
    let mut two = registrars(vec![at("10.0.0.1:5060", 1, 1), at("10.0.0.2:5060", 2, 1)]);
    let second = tcp("10.0.0.2:5060");
    assert_eq!(counts(&two, Some(second), &[], Moment::ZERO).keys().collect::<Vec<_>>(), ["10.0.0.2:5060"]);
    assert_eq!(counts(&two, Some(second), &[second], Moment::ZERO).keys().collect::<Vec<_>>(), ["10.0.0.1:5060"]);
    two.handle_failure(second, "refused", Moment::ZERO);
    assert_eq!(counts(&two, Some(second), &[], Moment::ZERO).keys().collect::<Vec<_>>(), ["10.0.0.1:5060"]);
}

#[test]
fn whoever_is_named_gets_it_or_nobody() {
    let mut two = registrars(vec![at("10.0.0.1:5060", 1, 1), at("10.0.0.2:5060", 2, 1)]);
    let mut random = Random::from_seed([3; 32]);
    let named = |registrars: &Registrars, random: &mut Random| {
        registrars
            .choose(
                Wanted { host: Some("10.0.0.2"), ..Wanted::default() },
                Some(tcp("10.0.0.1:5060")),
                &[],
                random,
                Moment::ZERO,
            )
            .map(|node| node.place)
    };
    assert_eq!(named(&two, &mut random), Some(tcp("10.0.0.2:5060")));
    two.handle_failure(tcp("10.0.0.2:5060"), "refused", Moment::ZERO);
    assert_eq!(named(&two, &mut random), None);
    assert!(two.is_named("10.0.0.2") && !two.is_named("10.0.0.9"));
}

#[test]
fn one_that_is_back_takes_its_priority_back_slowly() {
    let mut two = registrars(vec![at("10.0.0.1:5060", 1, 1), at("10.0.0.2:5060", 2, 1)]);
    let first = tcp("10.0.0.1:5060");
    two.handle_failure(first, "refused", Moment::ZERO);
    two.handle_heard(first, Moment::from_secs(8));
    for (secs, low, high) in [(8, 800, 1_200), (23, 4_700, 5_300), (38, 10_000, 10_000)] {
        let drawn = counts(&two, None, &[], Moment::from_secs(secs))["10.0.0.1:5060"];
        assert!((low..=high).contains(&drawn), "after {} s: {drawn} of 10000", secs - 8);
    }
}

#[test]
fn a_name_becomes_its_nodes_and_follows_changes() {
    let name = Target { host: "pbx.example".into(), port: None, transport: Some(Transport::Tls), secure: false };
    let configured = vec![Configured { zone: String::new(), names: Vec::new(), target: name, priority: 0, weight: 1 }];
    let families = Families { ipv6_first: true, ..BOTH };
    let mut registrars = Registrars::new(configured, families, Duration::from_secs(10), Moment::ZERO);
    assert!(registrars.is_named("PBX.example"), "also while it cannot be found");
    assert_eq!(registrars.status()[0].address, None);
    let answer = |registrars: &mut Registrars, ips: &[&str], now| {
        while let Some(event) = registrars.poll_event() {
            let Event::Ask(query) = event else { continue };
            let ttl = Duration::from_secs(60);
            let answer = match query.kind {
                RecordKind::Naptr => DnsAnswer::Nothing,
                RecordKind::Srv => {
                    let record = SrvRecord { priority: 1, weight: 1, port: 5071, target: "a.pbx.example".into() };
                    DnsAnswer::Srv { records: vec![record], ttl }
                }
                RecordKind::Addresses => {
                    let addresses = ips.iter().map(|ip| ip.parse().expect("an address")).collect();
                    DnsAnswer::Addresses { addresses, ttl }
                }
            };
            registrars.handle_answer(&query, &answer, now);
        }
    };
    answer(&mut registrars, &["192.0.2.1", "2001:db8::1"], Moment::ZERO);
    let mut random = Random::from_seed([3; 32]);
    let first = registrars.choose(Wanted::default(), None, &[], &mut random, Moment::ZERO).expect("a node");
    assert_eq!((first.place.0, first.name.as_str()), ("[2001:db8::1]:5071".parse().expect("v6"), "pbx.example"));
    let v6 = first.place;
    registrars.handle_failure(v6, "unreachable", Moment::ZERO);
    let second =
        registrars.choose(Wanted::default(), None, &[v6], &mut random, Moment::ZERO).expect("the other family");
    assert!(second.place.0.is_ipv4());
    assert!(registrars.is_named("a.pbx.example"));
    assert_eq!(registrars.place_of("a.pbx.example", Some(5071), None).map(|place| place.0.is_ipv4()), Some(true));
    assert_eq!(registrars.place_of("a.pbx.example", Some(5060), None), None);

    let due = Moment::from_secs(60);
    registrars.handle_timeout(due);
    answer(&mut registrars, &["192.0.2.1", "192.0.2.2"], due);
    let places: Vec<_> = registrars.nodes().iter().map(|node| node.place.0.ip().to_string()).collect();
    assert_eq!(places, ["192.0.2.1", "192.0.2.2"]);
}

proptest::proptest! {
    /// Whatever has failed, whatever was tried: never one that was tried, never one that has failed
    /// while another lives, and always one if one is left.
    #[test]
    fn a_choice_is_always_sound(
        priorities in proptest::collection::vec((0_u16..3, 0_u16..5), 1..6),
        failed in proptest::collection::vec(proptest::bool::ANY, 6),
        tried in proptest::collection::vec(proptest::bool::ANY, 6),
        held in 0_usize..8,
        seed in proptest::num::u8::ANY,
    ) {
        let configured = priorities.iter().enumerate().map(|(index, (priority, weight))| {
            at(&format!("10.0.0.{}:5060", index + 1), *priority, *weight)
        });
        let mut registrars = registrars(configured.collect());
        let place = |index: usize| tcp(&format!("10.0.0.{}:5060", index + 1));
        for index in (0..priorities.len()).filter(|index| failed[*index]) {
            registrars.handle_failure(place(index), "refused", Moment::ZERO);
        }
        let tried: Vec<_> = (0..priorities.len()).filter(|index| tried[*index]).map(place).collect();
        let mut random = Random::from_seed([seed; 32]);
        let chosen = registrars.choose(Wanted::default(), Some(place(held)), &tried, &mut random, Moment::ZERO);
        let left: Vec<_> = registrars.nodes().iter().filter(|node| !tried.contains(&node.place)).collect();
        let alive: Vec<_> = left.iter().filter(|node| node.health.is_alive()).collect();
        match chosen {
            None => proptest::prop_assert!(left.is_empty()),
            Some(node) => {
                proptest::prop_assert!(!tried.contains(&node.place));
                proptest::prop_assert!(alive.is_empty() || node.health.is_alive());
                if alive.iter().any(|one| one.place == place(held)) {
                    proptest::prop_assert_eq!(node.place, place(held));
                } else if !alive.is_empty() {
                    let best = alive.iter().map(|one| registrars.configured[one.configured].priority).min();
                    proptest::prop_assert_eq!(Some(registrars.configured[node.configured].priority), best);
                }
            }
        }
    }
}
