use super::*;

/// A zone: questions and what the name system says.
#[derive(Default)]
struct Zone(BTreeMap<DnsQuery, DnsAnswer>);

impl Zone {
    fn naptr(mut self, name: &str, records: &[(u16, u16, &str, &str)]) -> Self {
        let records = records.iter().map(|(order, preference, service, replacement)| NaptrRecord {
            order: *order,
            preference: *preference,
            flags: "s".into(),
            service: (*service).into(),
            replacement: (*replacement).into(),
        });
        let answer = DnsAnswer::Naptr { records: records.collect(), ttl: Duration::from_secs(600) };
        self.0.insert(DnsQuery { name: name.into(), kind: RecordKind::Naptr }, answer);
        self
    }

    fn srv(mut self, name: &str, records: &[(u16, u16, u16, &str)]) -> Self {
        let records = records.iter().map(|(priority, weight, port, target)| SrvRecord {
            priority: *priority,
            weight: *weight,
            port: *port,
            target: (*target).into(),
        });
        let answer = DnsAnswer::Srv { records: records.collect(), ttl: Duration::from_secs(300) };
        self.0.insert(DnsQuery { name: name.into(), kind: RecordKind::Srv }, answer);
        self
    }

    fn host(mut self, name: &str, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(|ip| ip.parse().expect("an address")).collect();
        let answer = DnsAnswer::Addresses { addresses, ttl: Duration::from_secs(60) };
        self.0.insert(DnsQuery { name: name.into(), kind: RecordKind::Addresses }, answer);
        self
    }

    fn ask(&self, query: &DnsQuery) -> DnsAnswer {
        self.0.get(query).cloned().unwrap_or(DnsAnswer::Nothing)
    }

    /// Looks a target up to the end; returns the places with rank and weight, and what was asked.
    fn resolve(&self, target: &Target) -> (Vec<String>, Vec<String>) {
        let mut answers = BTreeMap::new();
        loop {
            let found = evaluate(target, &answers);
            if found.missing.is_empty() {
                let asked = answers.keys().map(ToString::to_string).collect();
                let places = found
                    .located
                    .iter()
                    .map(|one| format!("{} {} {}/{}", one.place.1.param(), one.place.0, one.rank, one.weight));
                return (places.collect(), asked);
            }
            for query in found.missing {
                let answer = self.ask(&query);
                assert!(answers.insert(query.clone(), answer).is_none(), "{query} was asked twice");
            }
        }
    }
}

use edgeway_model::dns::NaptrRecord;

/// `sip:host:port;transport=…`, in the little that is needed here.
fn target(text: &str) -> Target {
    let (secure, rest) = match text.strip_prefix("sips:") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix("sip:").expect("a SIP URI")),
    };
    let (rest, transport) = match rest.split_once(";transport=") {
        Some((rest, "tls")) => (rest, Some(Transport::Tls)),
        Some((rest, "tcp")) => (rest, Some(Transport::Tcp)),
        Some((rest, _)) => (rest, Some(Transport::Udp)),
        None => (rest, None),
    };
    let (host, port) = match rest.rsplit_once(':').filter(|_| !rest.ends_with(']')) {
        Some((host, port)) => (host, port.parse().ok()),
        None => (rest, None),
    };
    Target { host: host.trim_matches(['[', ']']).to_owned(), port, transport, secure }
}

/// The procedure of RFC 3263 §4, case by case: the target, the places in order, the questions asked.
#[test]
fn the_table_of_rfc_3263() {
    let zone = || {
        Zone::default()
            .naptr(
                "full.example",
                &[
                    (90, 50, "SIP+D2U", "_sip._udp.full.example"),
                    (50, 50, "SIPS+D2T", "_sips._tcp.full.example"),
                    (90, 40, "SIP+D2T", "_sip._tcp.full.example"),
                    (10, 10, "E2U+sip", "nowhere.example"),
                ],
            )
            .srv("_sips._tcp.full.example", &[(1, 10, 5061, "b.full.example"), (0, 5, 5061, "a.full.example")])
            .srv("_sip._tcp.full.example", &[(0, 0, 5070, "a.full.example")])
            .srv("_sip._udp.full.example", &[(0, 0, 5080, "a.full.example")])
            .host("a.full.example", &["192.0.2.1", "2001:db8::1"])
            .host("b.full.example", &["192.0.2.2"])
            .srv("_sip._tcp.srv.example", &[(7, 3, 5062, "192.0.2.9"), (7, 1, 5062, "gone.srv.example")])
            .host("plain.example", &["192.0.2.3"])
            .srv("_sip._udp.none.example", &[(0, 0, 0, ".")])
            .host("none.example", &["192.0.2.4"])
    };
    let table: &[(&str, &[&str], &[&str])] = &[
        ("sip:192.0.2.7", &["udp 192.0.2.7:5060 0/1"], &[]),
        ("sips:192.0.2.7", &["tls 192.0.2.7:5061 0/1"], &[]),
        ("sip:[2001:db8::7]:5070;transport=tcp", &["tcp [2001:db8::7]:5070 0/1"], &[]),
        ("sip:plain.example:5070", &["udp 192.0.2.3:5070 0/1"], &["A/AAAA plain.example"]),
        ("sips:plain.example:5070", &["tls 192.0.2.3:5070 0/1"], &["A/AAAA plain.example"]),
        (
            "sip:plain.example;transport=tls",
            &["tls 192.0.2.3:5061 0/1"],
            &["SRV _sips._tcp.plain.example", "A/AAAA plain.example"],
        ),
        (
            "sip:plain.example",
            &["udp 192.0.2.3:5060 0/1"],
            &[
                "SRV _sip._tcp.plain.example",
                "SRV _sip._udp.plain.example",
                "SRV _sips._tcp.plain.example",
                "NAPTR plain.example",
                "A/AAAA plain.example",
            ],
        ),
        (
            "sip:full.example",
            &["tls 192.0.2.1:5061 0/5", "tls [2001:db8::1]:5061 0/5", "tls 192.0.2.2:5061 1/10"],
            &["SRV _sips._tcp.full.example", "A/AAAA a.full.example", "A/AAAA b.full.example", "NAPTR full.example"],
        ),
        (
            "sip:full.example;transport=udp",
            &["udp 192.0.2.1:5080 0/0", "udp [2001:db8::1]:5080 0/0"],
            &["SRV _sip._udp.full.example", "A/AAAA a.full.example"],
        ),
        (
            "sip:srv.example;transport=tcp",
            &["tcp 192.0.2.9:5062 7/3"],
            &["SRV _sip._tcp.srv.example", "A/AAAA gone.srv.example"],
        ),
        ("sip:none.example;transport=udp", &[], &["SRV _sip._udp.none.example"]),
        ("sip:missing.example;transport=tcp", &[], &["SRV _sip._tcp.missing.example", "A/AAAA missing.example"]),
    ];
    for (text, places, asked) in table {
        let (found, mut questions) = zone().resolve(&target(text));
        assert_eq!(found, *places, "{text}");
        let mut asked: Vec<_> = asked.iter().map(|question| (*question).to_owned()).collect();
        asked.sort();
        questions.sort();
        assert_eq!(questions, asked, "{text}");
    }
}

#[test]
fn a_sips_target_never_leaves_tls() {
    let zone = Zone::default()
        .naptr("x.example", &[(1, 1, "SIP+D2T", "_sip._tcp.x.example")])
        .srv("_sip._tcp.x.example", &[(0, 0, 5060, "a.example")])
        .host("a.example", &["192.0.2.1"])
        .host("x.example", &["192.0.2.2"]);
    assert_eq!(zone.resolve(&target("sips:x.example")).0, ["tls 192.0.2.2:5061 0/1"]);
}

fn drive(location: &mut Location, zone: Option<&Zone>, now: Moment) -> Vec<News> {
    while let Some(query) = location.poll_query() {
        let failed = DnsAnswer::Failed { why: "no answer".into() };
        let answer = zone.map_or(failed, |zone| zone.ask(&query));
        location.handle_answer(&query, &answer, now);
    }
    std::iter::from_fn(|| location.poll_news()).collect()
}

#[test]
fn changes_are_taken_in_time_and_the_last_good_places_are_kept() {
    let old = Zone::default().host("pbx.example", &["192.0.2.1"]);
    let new = Zone::default().host("pbx.example", &["192.0.2.2"]);
    let mut location = Location::new(target("sip:pbx.example:5060;transport=tcp"), Moment::ZERO);
    assert_eq!(drive(&mut location, Some(&old), Moment::ZERO), [News::Changed]);
    let first = location.located().to_vec();

    let due = location.next_deadline().expect("a time to live").at;
    assert_eq!(due, Moment::from_secs(60));
    location.handle_timeout(due);
    let failed = drive(&mut location, None, due);
    assert!(matches!(&failed[..], [News::Failed(why)] if why == "no answer"), "{failed:?}");
    assert_eq!(location.located(), first, "a dead name system takes nothing away");

    let mut now = location.next_deadline().expect("again").at;
    assert_eq!(now, due + Duration::from_secs(2));
    for pause in [4, 8, 16, 30, 30] {
        location.handle_timeout(now);
        assert_eq!(drive(&mut location, None, now), [], "said once");
        let next = location.next_deadline().expect("again").at;
        assert_eq!(next.since(now).as_secs(), pause);
        now = next;
    }
    location.handle_timeout(now);
    assert_eq!(drive(&mut location, Some(&new), now), [News::Found, News::Changed]);
    assert_eq!(location.located()[0].place.0, "192.0.2.2:5060".parse().expect("an address"));

    // A name that is deleted is an operator's slip, not an order.
    now = location.next_deadline().expect("a time to live").at;
    location.handle_timeout(now);
    assert!(matches!(&drive(&mut location, Some(&Zone::default()), now)[..], [News::Failed(_)]));
    assert_eq!(location.located().len(), 1);
}

#[test]
fn times_to_live_have_bounds_and_silence_an_end() {
    for (said, used) in [(0, 4), (30, 30), (604_800, 3_600)] {
        let mut location = Location::new(target("sip:pbx.example:5060"), Moment::ZERO);
        let query = location.poll_query().expect("a question");
        let addresses = vec!["192.0.2.1".parse().expect("an address")];
        let answer = DnsAnswer::Addresses { addresses, ttl: Duration::from_secs(said) };
        location.handle_answer(&query, &answer, Moment::ZERO);
        assert_eq!(location.next_deadline().map(|deadline| deadline.at), Some(Moment::from_secs(used)));
    }
    let mut location = Location::new(target("sip:pbx.example:5060"), Moment::ZERO);
    assert!(location.poll_query().is_some());
    location.handle_timeout(Moment::ZERO + LOOKUP_WITHIN);
    assert!(matches!(location.poll_news(), Some(News::Failed(_))));
    let address = Location::new(target("sip:192.0.2.1"), Moment::ZERO);
    assert_eq!((address.located().len(), address.next_deadline()), (1, None), "addresses are never asked for");
}
