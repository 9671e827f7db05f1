//! Tables of what follows from a snapshot.

use edgeway_model::sign_in::Deployment;
use edgeway_model::world::Transport;
use edgeway_model::zones::{Challenge, DeploymentZones, Zone};
use proptest::prelude::*;

use super::*;

fn node(name: &str, publisher: bool) -> UcNode {
    UcNode { name: name.into(), publisher, sip_port: 5060, sip_tls_port: 0, sip_oauth_port: 0, https_port: 8443 }
}

fn cluster(publisher: &str, subscribers: &[&str]) -> Cluster {
    let mut nodes = vec![node(publisher, true)];
    nodes.extend(subscribers.iter().map(|name| node(name, false)));
    Cluster {
        product: Product::UnifiedCm,
        publisher: publisher.into(),
        deployment: Deployment::default_one(),
        version: "12.5.1.10000(22)".into(),
        mixed_mode: false,
        nodes,
        tftp: vec![publisher.into()],
        oauth: false,
        token_keys: Vec::new(),
    }
}

fn mixed(publisher: &str, subscribers: &[&str]) -> Cluster {
    let mut mixed = cluster(publisher, subscribers);
    mixed.mixed_mode = true;
    for node in &mut mixed.nodes {
        node.sip_tls_port = 5061;
    }
    mixed
}

fn snapshot(clusters: Vec<Cluster>) -> Snapshot {
    Snapshot { revision: 3, taken_ms: 1, clusters }
}

fn deployment(name: &str, zones: Vec<Zone>) -> DeploymentZones {
    DeploymentZones {
        deployment: Deployment::new(name).unwrap(),
        domains: vec![format!("{name}.example")],
        zones,
        challenge: Challenge::Core { realm: format!("{name}.example"), bearer: false },
    }
}

fn registrar(host: &str) -> Zone {
    let (name, host) = (format!("sip:{host}"), host.to_owned());
    Zone { name, host, port: None, transport: None, secure: false, priority: 0, weight: 1, names: Vec::new() }
}

#[test]
fn a_node_is_a_zone_for_each_way_it_is_spoken_to() {
    let mut oauth = mixed("pub.example.com", &["sub1.example.com"]);
    oauth.nodes[1].sip_oauth_port = 5091;
    // What a node that does no SIP, or a cluster that is not in mixed mode, says of TLS counts for nothing.
    let mut plain = cluster("p2.example.com", &["tftp2.example.com"]);
    plain.nodes[0].sip_tls_port = 5061;
    plain.nodes[1].sip_port = 0;
    let zones = snapshot(vec![oauth, plain]).zones(&[deployment("default", vec![registrar("pbx.example.com")])]);
    assert_eq!((zones.revision, zones.deployments.len()), (3, 1));
    let found: Vec<_> = zones.deployments[0].zones.iter().collect();
    let shown: Vec<_> = found.iter().map(|z| (z.name.as_str(), z.port, z.transport, z.secure, z.priority)).collect();
    assert_eq!(
        shown,
        [
            ("sip:pbx.example.com", None, None, false, 0),
            ("CEtcp-pub.example.com", Some(5060), Some(Transport::Tcp), false, 1_001),
            ("CEtls-pub.example.com", Some(5061), Some(Transport::Tls), true, 1_001),
            ("CEtcp-sub1.example.com", Some(5060), Some(Transport::Tcp), false, 1_000),
            ("CEtls-sub1.example.com", Some(5061), Some(Transport::Tls), true, 1_000),
            ("CEOAuth-sub1.example.com", Some(5091), Some(Transport::Tls), true, 1_000),
            ("CEtcp-p2.example.com", Some(5060), Some(Transport::Tcp), false, 1_001),
        ]
    );
    assert_eq!(zones.deployments[0].challenge, Challenge::Core { realm: "default.example".into(), bearer: false });
}

#[test]
fn zones_are_of_unified_cm_and_stay_in_their_deployment() {
    let mut east = cluster("east.example.com", &[]);
    east.deployment = Deployment::new("east").unwrap();
    let mut nowhere = cluster("nowhere.example.com", &[]);
    nowhere.deployment = Deployment::new("nowhere").unwrap();
    let mut imp = cluster("imp.example.com", &[]);
    imp.product = Product::ImAndPresence;
    let settings = [deployment("default", Vec::new()), deployment("east", vec![registrar("pbx.east.example")])];
    let zones = snapshot(vec![cluster("west.example.com", &[]), east, nowhere, imp]).zones(&settings);
    let names: Vec<Vec<_>> =
        zones.deployments.iter().map(|d| d.zones.iter().map(|z| z.name.as_str()).collect()).collect();
    assert_eq!(names, [vec!["CEtcp-west.example.com"], vec!["sip:pbx.east.example", "CEtcp-east.example.com"]]);
}

#[test]
fn a_search_rule_has_the_names_a_node_is_called_by() {
    let mut short = cluster("cucm1", &["cucm2", "10.0.0.3", "cucm4.other.example"]);
    short.publisher = "cucm1.example.com".into();
    let mut by_address = cluster("cucm1.example.com", &["cucm2"]);
    by_address.publisher = "10.0.0.1".into();
    for (cluster, expected) in [
        (short, vec![vec!["cucm1.example.com"], vec!["cucm2.example.com"], vec![], vec![]]),
        (by_address, vec![vec!["10.0.0.1"], vec![]]),
        (cluster("cucm1.example.com", &["cucm2.example.com"]), vec![vec![], vec![]]),
    ] {
        let zones = snapshot(vec![cluster]).zones(&[deployment("default", Vec::new())]);
        let names: Vec<_> = zones.deployments[0].zones.iter().map(|zone| zone.names.clone()).collect();
        assert_eq!(names, expected);
    }
}

#[test]
fn rules_are_for_the_servers_there_are_by_each_of_their_names() {
    let mut short = cluster("cucm1", &["cucm2", "cucm3"]);
    short.publisher = "cucm1.example.com".into();
    short.tftp = vec!["cucm2".into(), "files.example.com".into()];
    let mut unity = cluster("cuc1.example.com", &[]);
    (unity.product, unity.nodes[0].https_port) = (Product::Unity, 443);
    unity.deployment = Deployment::new("east").unwrap();
    unity.tftp.clear();
    let rules = snapshot(vec![short, unity]).allow_rules();
    let mut servers: Vec<_> = rules.iter().map(|rule| format!("{} {}", rule.deployment, rule.origin_url())).collect();
    servers.sort();
    servers.dedup();
    let names = ["cucm1", "cucm1.example.com", "cucm2", "cucm2.example.com", "cucm3", "cucm3.example.com"];
    let mut expected: Vec<_> = names.iter().map(|name| format!("default https://{name}:8443")).collect();
    for name in ["cucm2", "cucm2.example.com", "files.example.com"] {
        expected.extend(
            [("http", 6970), ("https", 6971), ("https", 6972)].map(|(s, port)| format!("default {s}://{name}:{port}")),
        );
    }
    expected.push("east https://cuc1.example.com".to_owned());
    expected.sort();
    assert_eq!(servers, expected);
    // A cluster that names no TFTP server has its files on its nodes.
    let mut silent = cluster("a", &["b"]);
    silent.tftp.clear();
    let files = snapshot(vec![silent])
        .allow_rules()
        .iter()
        .filter(|rule| rule.port == 6970 && rule.path == "/{common}")
        .count();
    assert_eq!(files, 2);
}

#[test]
fn every_change_is_named() {
    type Make = fn(&mut Cluster);
    let table: [(Make, &str, &str); 14] = [
        (|c| c.nodes.push(node("sub2", false)), "node_added", "node sub2 is new"),
        (|c| c.nodes.truncate(1), "node_removed", "node sub1 is gone"),
        (|c| c.mixed_mode = false, "security_mode", "the cluster security mode is no longer mixed"),
        (|c| c.nodes[1].sip_port = 5070, "port", "the SIP port of sub1 was 5060 and is now 5070"),
        (|c| c.nodes[1].sip_tls_port = 5071, "port", "the SIP over TLS port of sub1 was 5061 and is now 5071"),
        (|c| c.nodes[1].sip_oauth_port = 5091, "port", "sub1 has SIP OAuth now, on port 5091"),
        (|c| c.nodes[0].sip_port = 0, "port", "pub has no SIP any longer (it was port 5060)"),
        (|c| c.nodes[0].https_port = 443, "port", "the HTTPS port of pub was 8443 and is now 443"),
        (|c| c.tftp = vec!["sub1".into(), "pub".into()], "tftp", "TFTP servers were pub and are now sub1, pub"),
        (|c| c.tftp.clear(), "tftp", "TFTP servers were pub and are now none"),
        (|c| c.version = "14.0".into(), "version", "version 12.5.1.10000(22) is now 14.0"),
        (|c| c.oauth = true, "oauth", "it issues self-describing tokens now"),
        (
            |c| c.token_keys = vec![OauthKey { id: "2".into(), public: vec![2] }],
            "token_keys",
            "token keys: 1 new, 1 gone",
        ),
        (|c| c.deployment = Deployment::new("east").unwrap(), "deployment", "deployment default is now east"),
    ];
    let mut old = mixed("pub", &["sub1"]);
    old.token_keys = vec![OauthKey { id: "1".into(), public: vec![1] }];
    for (make, kind, text) in table {
        let mut new = old.clone();
        make(&mut new);
        let changes = snapshot(vec![old.clone()]).diff(&snapshot(vec![new]));
        assert_eq!(changes.len(), 1, "{kind}: {changes:?}");
        assert_eq!((changes[0].what.kind(), changes[0].what.to_string().as_str()), (kind, text));
        assert_eq!(changes[0].to_string(), format!("Unified CM pub: {text}"));
        assert!(!changes[0].what.meaning().is_empty());
    }
}

#[test]
fn clusters_come_and_go_and_the_same_is_the_same() {
    let (one, two) = (snapshot(vec![cluster("a", &["b"])]), snapshot(vec![cluster("c", &["d"])]));
    let kinds: Vec<_> = one.diff(&two).iter().map(|change| (change.publisher.clone(), change.what.kind())).collect();
    assert_eq!(kinds, [("a".to_owned(), "cluster_removed"), ("c".to_owned(), "cluster_added")]);
    // Another product with the same name is another cluster.
    let mut unity = cluster("a", &["b"]);
    unity.product = Product::Unity;
    assert_eq!(one.diff(&snapshot(vec![unity])).len(), 2);
    // Order, revision and time say nothing.
    let mut shuffled = one.clone();
    shuffled.clusters[0].nodes.reverse();
    (shuffled.revision, shuffled.taken_ms) = (99, 99);
    assert_eq!(one.diff(&shuffled), []);
    let mut swapped = one.clone();
    for node in &mut swapped.clusters[0].nodes {
        node.publisher = !node.publisher;
    }
    let what = What::Publisher { from: "a".into(), to: "b".into() };
    assert_eq!(one.diff(&swapped).iter().map(|change| change.what.clone()).collect::<Vec<_>>(), [what]);
}

#[test]
fn what_cannot_be_true_is_refused() {
    type Make = fn(&mut Cluster);
    let table: [(Make, Option<&str>); 27] = [
        (|_| (), None),
        (|c| c.nodes.clear(), Some("it lists no nodes")),
        (|c| c.nodes.extend((0..64).map(|n| node(&format!("n{n}"), false))), Some("it lists 66 nodes, more than 64")),
        (|c| c.nodes[0].publisher = false, Some("none of its nodes is the publisher")),
        (|c| c.nodes[1].publisher = true, Some("it says that pub and sub1 are both the publisher")),
        (|c| c.nodes.push(node("sub1", false)), Some("it lists sub1 twice")),
        (|c| c.nodes[1].name = "a b".into(), Some("it names \"a b\", which is no host of a UC server")),
        (
            |c| c.nodes[1].name = "x\r\nVia: y".into(),
            Some("it names \"x\\r\\nVia: y\", which is no host of a UC server"),
        ),
        (|c| c.nodes[1].name = String::new(), Some("it names \"\", which is no host of a UC server")),
        (|c| c.nodes[1].name = "127.0.0.1".into(), Some("it names \"127.0.0.1\", which is no host of a UC server")),
        (
            |c| c.nodes[1].name = "::ffff:127.0.0.1".into(),
            Some("it names \"::ffff:127.0.0.1\", which is no host of a UC server"),
        ),
        (|c| c.tftp = vec!["localhost".into()], Some("it names \"localhost\", which is no host of a UC server")),
        (|c| c.tftp = vec!["0.0.0.0".into()], Some("it names \"0.0.0.0\", which is no host of a UC server")),
        (|c| c.nodes[1].sip_tls_port = 0, Some("it is in mixed mode, and sub1 has no port for SIP over TLS")),
        (|c| c.nodes[1].sip_tls_port = 5060, Some("sub1 has port 5060 twice")),
        (|c| c.nodes[0].https_port = 0, Some("pub has no port for HTTPS")),
        (
            |c| c.nodes.iter_mut().for_each(|n| (n.sip_port, n.sip_tls_port) = (0, 0)),
            Some("none of its nodes has a port for SIP"),
        ),
        (|c| c.version.clear(), Some("it tells no version")),
        (|c| c.version = "12\n5".into(), Some("it tells no version")),
        (|c| c.version = "1".repeat(65), Some("it tells no version")),
        (|c| c.tftp = vec!["t".into(); 17], Some("it lists more TFTP servers than any cluster has")),
        (
            |c| c.token_keys = vec![OauthKey { id: "1".into(), public: vec![1] }; 17],
            Some("it lists more token keys than any cluster has"),
        ),
        (
            |c| c.token_keys = vec![OauthKey { id: "1".into(), public: vec![] }],
            Some("it lists a token key that is none"),
        ),
        (
            |c| c.token_keys = vec![OauthKey { id: "k".repeat(257), public: vec![1] }],
            Some("it lists a token key that is none"),
        ),
        (
            |c| c.token_keys = vec![OauthKey { id: "a\nb".into(), public: vec![1] }],
            Some("it lists a token key that is none"),
        ),
        (|c| c.token_keys = vec![OauthKey { id: "k".repeat(256), public: vec![1] }], None),
        (|c| c.tftp.clear(), None),
    ];
    for (make, expected) in table {
        let mut answer = mixed("pub", &["sub1"]);
        make(&mut answer);
        assert_eq!(answer.check().err().map(|lie| lie.to_string()).as_deref(), expected);
    }
    // In a laboratory, all is one machine.
    assert_eq!(cluster("127.0.0.1", &["127.0.0.2"]).check(), Ok(()));
    // Other products do no SIP.
    let mut unity = cluster("unity1", &[]);
    (unity.product, unity.nodes[0].sip_port) = (Product::Unity, 0);
    assert_eq!(unity.check(), Ok(()));
}

#[test]
fn no_node_is_in_two_clusters_or_two_deployments() {
    let mut imp = cluster("imp", &["sub"]);
    imp.product = Product::ImAndPresence;
    let mut fine = snapshot(vec![cluster("a", &["sub"]), imp.clone(), cluster("b", &["other"])]);
    // TFTP servers that several clusters of a deployment share.
    fine.clusters[2].tftp = vec!["a".into(), "sub".into()];
    assert!(fine.claimed(&[]).is_none());
    imp.deployment = Deployment::new("east").unwrap();
    for second in [cluster("b", &["sub"]), imp] {
        let publisher = second.publisher.clone();
        let both = snapshot(vec![cluster("a", &["sub"]), second]);
        let lie = Lie::Claimed { node: "sub".into(), other: "a".into() };
        assert_eq!(both.claimed(&[]).map(|(cluster, lie)| (cluster.publisher.clone(), lie)), Some((publisher, lie)));
    }
}

#[test]
fn every_name_a_cluster_yields_belongs_to_one_deployment() {
    type Make = fn(&mut Cluster);
    let mut mine = cluster("cucm1", &["cucm2", "2001:db8::1"]);
    mine.publisher = "cucm1.example.com".into();
    mine.tftp = vec!["files.example.com".into()];
    let pbx = Configured { deployment: Deployment::default_one(), host: "PBX.example.com".into() };
    let claimed = |node: &str| Some(Lie::Claimed { node: node.into(), other: "cucm1.example.com".into() });
    let configured = Some(Lie::Configured { name: "pbx.example.com".into(), deployment: Deployment::default_one() });
    let table: [(Make, Option<Lie>); 11] = [
        (|_| (), None),
        // As a node: a node, its alias, the publisher as configured, a TFTP server, an address in another spelling.
        (|c| c.nodes[1].name = "cucm2".into(), claimed("cucm2")),
        (|c| c.nodes[1].name = "cucm2.example.com".into(), claimed("cucm2.example.com")),
        (|c| c.nodes[1].name = "cucm1.example.com".into(), claimed("cucm1.example.com")),
        (|c| c.nodes[1].name = "files.example.com".into(), claimed("files.example.com")),
        (|c| c.nodes[1].name = "2001:DB8:0::1".into(), claimed("2001:db8::1")),
        // As a TFTP server.
        (|c| c.tftp = vec!["cucm2.example.com".into()], claimed("cucm2.example.com")),
        (|c| c.tftp = vec!["files.example.com".into()], claimed("files.example.com")),
        // As an alias: a short name with the publisher's domain.
        (|c| (c.publisher, c.nodes[1].name) = ("x.example.com".into(), "files".into()), claimed("files.example.com")),
        // What the settings give to the other deployment.
        (|c| c.nodes[1].name = "pbx.example.com".into(), configured.clone()),
        (|c| c.tftp = vec!["pbx.example.com".into()], configured),
    ];
    for (at, (make, expected)) in table.into_iter().enumerate() {
        let mut liar = cluster("liar.example.net", &["sub.example.net"]);
        liar.deployment = Deployment::new("east").unwrap();
        make(&mut liar);
        let both = snapshot(vec![mine.clone(), liar]);
        assert_eq!(both.claimed(std::slice::from_ref(&pbx)).map(|(_, lie)| lie), expected, "{at}");
        let mut one = both;
        one.clusters[1].deployment = Deployment::default_one();
        if at > 5 {
            assert!(one.claimed(std::slice::from_ref(&pbx)).is_none(), "in one deployment that is no harm: {at}");
        }
    }
}

#[test]
fn hosts_are_what_can_stand_in_a_uri() {
    for good in ["cucm1", "cucm1.example.com", "a_b.example", "10.0.0.1", "2001:db8::1", "1a.example", "x1"] {
        assert!(is_host(good), "{good}");
    }
    for bad in [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "-a",
        "a-",
        "A.example",
        "ü.example",
        "a/b",
        "a@b",
        "a:80",
        "[2001:db8::1]",
        "a%2e",
        "127.1",
        "0x7f.0x1",
        "0x7f.1",
        "1",
        "0",
        "255.255.255.255",
        "169.254.169.254",
        "100.100.100.200",
        "fd00:ec2::254",
        "fe80::1",
        "::ffff:169.254.1.1",
        "::ffff:10.0.0.1",
        "2002:a00:1::1",
        "224.0.0.1",
        "::",
        "ff02::1",
        "a\u{0}",
        "a;b",
        "a?b",
        "a#b",
    ] {
        assert!(!is_host(bad), "{bad}");
    }
}

proptest! {
    #[test]
    fn a_name_that_is_taken_is_one_word_of_a_uri(name in ".{0,80}") {
        if is_host(&name) {
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.:".contains(c);
            prop_assert!(name.parse::<std::net::IpAddr>().is_ok() || name.chars().all(legal));
        }
    }
}
