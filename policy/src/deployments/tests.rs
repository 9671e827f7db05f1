use edgeway_model::Random;
use edgeway_model::zones::Zone;

use super::*;
use crate::registrars::Wanted;

const BOTH: Families = Families { udp_ipv4: true, udp_ipv6: true, ipv6_first: false };

fn deployment(name: &str) -> Deployment {
    Deployment::new(name).expect("legal")
}

fn zone(name: &str, address: &str, transport: Transport, names: &[&str]) -> Zone {
    let address: SocketAddr = address.parse().expect("an address");
    Zone {
        name: name.into(),
        host: address.ip().to_string(),
        port: Some(address.port()),
        transport: Some(transport),
        secure: transport == Transport::Tls,
        priority: 1,
        weight: 1,
        names: names.iter().map(|&name| name.into()).collect(),
    }
}

fn of(name: &str, domains: &[&str], zones: Vec<Zone>) -> DeploymentZones {
    DeploymentZones {
        deployment: deployment(name),
        domains: domains.iter().map(|&domain| domain.into()).collect(),
        zones,
        challenge: Challenge::Registrar,
    }
}

fn tcp(address: &str) -> Place {
    (address.parse().expect("an address"), Transport::Tcp)
}

fn two() -> Zones {
    let first = vec![
        zone("CEtcp-cucm1", "10.0.0.1:5060", Transport::Tcp, &["cucm1.example.com"]),
        zone("CEtcp-cucm2", "10.0.0.2:5060", Transport::Tcp, &["cucm2.example.com"]),
    ];
    let second = vec![zone("CEtcp-other", "10.9.0.1:5060", Transport::Tcp, &["cucm1.example.net"])];
    Zones {
        revision: 1,
        deployments: vec![of("default", &["example.com"], first), of("other", &["example.net"], second)],
    }
}

fn started(zones: &Zones) -> Deployments {
    let mut deployments = Deployments::new(zones, BOTH, Duration::from_secs(10), Moment::ZERO);
    while deployments.poll_event().is_some() {}
    deployments
}

#[test]
fn a_host_belongs_to_one_deployment_and_leads_to_its_own_registrars() {
    let deployments = started(&two());
    for (host, name, foreign) in [
        ("EXAMPLE.com", "default", "cucm1.example.net"),
        ("cucm2.example.com", "default", "10.9.0.1"),
        ("10.0.0.1", "default", "other"),
        ("example.net", "other", "cucm1.example.com"),
        ("cucm1.example.net", "other", "10.0.0.2"),
    ] {
        let served = deployments.of_host(host).expect(host);
        assert_eq!(served.deployment, deployment(name), "{host}");
        assert!(served.serves(host) && !served.serves(foreign));
        let mut random = Random::from_seed([1; 32]);
        let wanted = Wanted { host: Some(foreign), ..Wanted::default() };
        assert!(served.registrars.choose(wanted, None, &[], &mut random, Moment::ZERO).is_none());
        for _ in 0..50 {
            let chosen = served.registrars.choose(Wanted::default(), None, &[], &mut random, Moment::ZERO);
            let is_other = chosen.expect("one").place == tcp("10.9.0.1:5060");
            assert_eq!(is_other, name == "other");
        }
    }
    assert!(deployments.of_host("example.org").is_none());
}

#[test]
fn what_stays_keeps_its_health_and_what_goes_is_only_remembered() {
    let mut deployments = started(&two());
    deployments.handle_failure(tcp("10.0.0.1:5060"), "refused", Moment::from_secs(1));
    let mut zones = two();
    zones.revision = 2;
    zones.deployments[0].zones.remove(1);
    zones.deployments[0].zones.push(zone("CEtcp-cucm3", "10.0.0.3:5060", Transport::Tcp, &["cucm3.example.com"]));
    zones.deployments.remove(1);
    deployments.replace(&zones, Moment::from_secs(2));
    assert!(deployments.at(tcp("10.0.0.1:5060")).is_some_and(|node| !node.health.is_alive()));
    assert!(deployments.at(tcp("10.0.0.3:5060")).is_some_and(|node| node.health.is_alive()));
    for gone in ["10.0.0.2:5060", "10.9.0.1:5060"] {
        assert!(deployments.at(tcp(gone)).is_none() && deployments.once_at(tcp(gone)).is_some(), "{gone}");
    }
    assert!(deployments.of_host("example.net").is_none() && deployments.of_host("cucm2.example.com").is_none());
    let gone = std::iter::from_fn(|| deployments.poll_event()).filter(|event| matches!(event, Event::Gone(_))).count();
    assert_eq!(gone, 0, "no connection is closed for it: what is under way goes on");
    let zone_names: Vec<_> = deployments.status().into_iter().map(|row| (row.deployment, row.zone)).collect();
    assert_eq!(zone_names, [("default".into(), "CEtcp-cucm1".into()), ("default".into(), "CEtcp-cucm3".into())]);
    // Back again, with its health anew.
    deployments.replace(&two(), Moment::from_secs(3));
    assert!(deployments.at(tcp("10.9.0.1:5060")).is_some_and(|node| node.health.is_alive()));
    assert!(deployments.at(tcp("10.0.0.1:5060")).is_some_and(|node| !node.health.is_alive()));
}

#[test]
fn in_mixed_mode_the_request_says_which_zone_of_a_node_it_wants() {
    let mut zones = two();
    let tls = zone("CEtls-cucm1", "10.0.0.1:5061", Transport::Tls, &["cucm1.example.com"]);
    let oauth = zone("CEOAuth-cucm1", "10.0.0.1:5091", Transport::Tls, &["cucm1.example.com"]);
    zones.deployments[0].zones.extend([tls, oauth]);
    let deployments = started(&zones);
    let served = deployments.of_host("example.com").expect("served");
    let mut random = Random::from_seed([2; 32]);
    for (host, port, tls, expected) in [
        (Some("cucm1.example.com"), None, false, &[5_060][..]),
        (Some("cucm1.example.com"), Some(5_060), false, &[5_060]),
        (Some("cucm1.example.com"), None, true, &[5_061]),
        (Some("cucm1.example.com"), Some(5_061), true, &[5_061]),
        (Some("cucm1.example.com"), Some(5_091), true, &[5_091]),
        // A port alone does not make a request one for TLS.
        (Some("cucm1.example.com"), Some(5_061), false, &[5_060]),
        // Nobody there speaks TLS: the one way there is serves.
        (Some("cucm2.example.com"), None, true, &[5_060]),
        (None, None, false, &[5_060]),
    ] {
        for _ in 0..50 {
            let wanted = Wanted { host, port, tls };
            let chosen = served.registrars.choose(wanted, None, &[], &mut random, Moment::ZERO).expect("one");
            let port = chosen.place.0.port();
            assert!(expected.contains(&port), "{wanted:?} leads to {port}");
        }
    }
}
