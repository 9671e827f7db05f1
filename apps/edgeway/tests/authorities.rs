//! Unified CM as an authority, against the simulated cluster of the lab over real sockets: what it takes, refuses
//! and cannot say, with every fault there is, and that it asks nobody but the nodes it knows.

use std::rc::Rc;
use std::time::{Duration, Instant};

use edgeway_config::sign_in::{AuthoritySettings, DeploymentSettings};
use edgeway_connectors::authorities::FetchKeys;
use edgeway_connectors::discovery::Current;
use edgeway_connectors::oauth::Tokens;
use edgeway_connectors::proxy::{HttpClient, Trust};
use edgeway_connectors::sign_in::authority::{Authority, Credential, Known, Reached, Verdict};
use edgeway_connectors::unified_cm::uds::UnifiedCm;
use edgeway_lab_servers::ca::LabCa;
use edgeway_lab_servers::dns::LabDns;
use edgeway_lab_servers::uc::{Fault, HTTPS_PORT, Role, Service, Shown, TokenWish, UcCluster, UcConfig, UcUser};
use edgeway_model::sign_in::{Deployment, Subject, UserName};
use edgeway_policy::discovery::{Cluster, OauthKey, Product, Snapshot, UcNode};
use edgeway_runtime::dns::Resolver;
use zeroize::Zeroizing;

const DOMAIN: &str = "uc.example.com";

struct Site {
    cluster: UcCluster,
    dns: LabDns,
    current: Current,
    http: HttpClient,
    unified_cm: Rc<UnifiedCm>,
}

impl Site {
    /// Two call managers and an IM and Presence node; alice, bob who is locked.
    fn new() -> Self {
        let ca = LabCa::new("authorities").expect("a CA");
        let mut bob = UcUser::new("bob", "secret", "1002");
        bob.locked = true;
        let mut config = UcConfig::new(DOMAIN, vec![UcUser::new("Alice", "secret", "1001"), bob]);
        config.oauth = true;
        config.nodes.push(("cucm2".to_owned(), Role::CallManager, true));
        let cluster = UcCluster::start(config, &ca).expect("a cluster");
        let dns = LabDns::start().expect("a name server");
        cluster.publish(&dns);
        let current = Current::new(known(&cluster, &["cucm1", "cucm2"]));
        let trust = Trust::in_pem(ca.pem().as_bytes(), None).expect("a trust");
        let http = HttpClient::new(Resolver::new(vec![dns.address()]), trust, true);
        let unified_cm = UnifiedCm::new(Deployment::default_one(), Vec::new(), current.clone(), http.clone());
        Self { cluster, dns, current, http, unified_cm: Rc::new(unified_cm) }
    }

    async fn check(&self, user: &str, password: &str) -> Verdict {
        self.unified_cm.check(&subject(user), &secret(password)).await
    }

    async fn good(&self, user: &str) -> Known {
        let verdict = self.check(user, "secret").await;
        let Verdict::Good(known) = verdict else { panic!("{verdict:?}") };
        *known
    }

    async fn unavailable(&self, user: &str) -> String {
        let verdict = self.check(user, "secret").await;
        let Verdict::Unavailable { why, .. } = verdict else { panic!("{verdict:?}") };
        why
    }

    fn everywhere(&self, fault: Option<&Fault>) {
        for node in ["cucm1", "cucm2"] {
            self.cluster.fault(&format!("{node}.{DOMAIN}"), Service::Uds, fault.cloned());
        }
    }

    /// Methods and paths it was asked, in order.
    fn asked(&self) -> Vec<String> {
        self.cluster.asked().iter().map(|asked| format!("{} {}", asked.method, asked.path)).collect()
    }
}

fn subject(user: &str) -> Subject {
    Subject { deployment: Deployment::default_one(), user: UserName::new(user).expect("a name") }
}

fn secret(password: &str) -> Credential {
    Credential::Password(Zeroizing::new(password.to_owned()))
}

fn is_refused(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Refused)
}

fn node(name: &str, publisher: bool) -> UcNode {
    UcNode {
        name: format!("{name}.{DOMAIN}"),
        publisher,
        sip_port: 5060,
        sip_tls_port: 0,
        sip_oauth_port: 0,
        https_port: HTTPS_PORT,
    }
}

/// What discovery would have found.
fn known(cluster: &UcCluster, nodes: &[&str]) -> Snapshot {
    let (id, public) = cluster.signing_key();
    let of = |product, nodes: &[&str]| Cluster {
        product,
        publisher: format!("{}.{DOMAIN}", nodes[0]),
        deployment: Deployment::default_one(),
        version: "12.5.1.10000(22)".to_owned(),
        mixed_mode: false,
        nodes: nodes.iter().enumerate().map(|(index, name)| node(name, index == 0)).collect(),
        tftp: Vec::new(),
        oauth: product == Product::UnifiedCm,
        token_keys: vec![OauthKey { id: id.clone(), public: public.clone() }],
    };
    let clusters = vec![of(Product::UnifiedCm, nodes), of(Product::ImAndPresence, &["imp1"])];
    Snapshot { revision: 1, taken_ms: 1, clusters }
}

#[tokio::test]
async fn a_right_password_brings_all_that_is_known_of_the_user() {
    let site = Site::new();
    let known = site.good("alice").await;
    assert_eq!(known.user.as_str(), "alice");
    assert_eq!((known.devices, known.numbers), (Some(vec!["CSFALICE".to_owned()]), vec!["1001".to_owned()]));
    let mut servers = known.profile.uds_servers;
    servers.sort();
    assert_eq!(servers, [format!("cucm1.{DOMAIN}"), format!("cucm2.{DOMAIN}")]);
    assert_eq!((known.profile.im_servers, known.until_ms), (vec![format!("imp1.{DOMAIN}")], None));
    assert_eq!(site.cluster.checks("alice"), 1, "the password is checked once: {:?}", site.asked());
    assert_eq!(site.cluster.asked().len(), 5, "{:?}", site.asked());
}

#[tokio::test]
async fn no_is_the_same_for_everybody_and_costs_the_same_round_trips() {
    let site = Site::new();
    // Connections are there.
    site.good("alice").await;
    let mut round_trips = Vec::new();
    for (user, password) in [("alice", "wrong"), ("bob", "secret"), ("nobody", "secret"), ("a b@c%2f", "secret")] {
        site.cluster.forget();
        assert!(is_refused(&site.check(user, password).await), "{user}");
        round_trips.push(site.cluster.asked().len());
        let paths = site.asked();
        assert!(paths[0].starts_with("GET /cucm-uds/clusterUser?username="), "{paths:?}");
        assert!(paths[1].ends_with("/devices"), "{paths:?}");
    }
    assert_eq!(round_trips, [2, 2, 2, 2]);
    site.cluster.forget();
    assert!(is_refused(&site.check("alice", "").await));
    let other = Subject { deployment: Deployment::new("other").expect("a name"), ..subject("alice") };
    assert!(is_refused(&site.unified_cm.check(&other, &secret("secret")).await));
    assert!(site.asked().is_empty(), "nobody is asked about these");
}

#[tokio::test]
async fn one_node_that_fails_is_passed_over() {
    let site = Site::new();
    let faults = [
        Fault::Status(500),
        Fault::Status(503),
        Fault::Status(404),
        Fault::Garbage,
        Fault::CutShort,
        Fault::Silent,
        Fault::Throttled,
        Fault::Endless,
        Fault::Redirect("https://evil.example.net/".to_owned()),
        Fault::Slow(Duration::from_secs(5)),
    ];
    for fault in faults {
        site.cluster.fault(&format!("cucm2.{DOMAIN}"), Service::Uds, Some(fault.clone()));
        let known = site.good("alice").await;
        assert_eq!(known.profile.uds_servers[0], format!("cucm1.{DOMAIN}"), "{fault:?}: who answers goes first");
        assert!(is_refused(&site.check("alice", "wrong").await), "{fault:?}");
    }
}

#[tokio::test]
async fn when_nobody_can_say_the_answer_is_neither_yes_nor_no() {
    for fault in [
        Fault::Status(500),
        Fault::Status(404),
        Fault::Garbage,
        Fault::CutShort,
        Fault::Silent,
        Fault::Endless,
        Fault::Redirect("https://evil.example.net/".to_owned()),
    ] {
        let site = Site::new();
        site.everywhere(Some(&fault));
        let why = site.unavailable("alice").await;
        assert!(!why.is_empty() && !why.contains("alice") && !why.contains("secret"), "{why}");
        let told = site.dns.asked();
        assert!(
            told.iter().all(|asked| asked.name.ends_with(DOMAIN)),
            "{fault:?}: only names we know are looked up: {told:?}"
        );
        site.everywhere(None);
    }
}

#[tokio::test]
async fn a_wrong_certificate_gets_no_password() {
    for shown in [Shown::SelfSigned, Shown::WrongName, Shown::Expired, Shown::Untrusted] {
        let site = Site::new();
        for node in ["cucm1", "cucm2"] {
            site.cluster.show(&format!("{node}.{DOMAIN}"), shown);
        }
        let why = site.unavailable("alice").await;
        assert!(why.contains("certificate"), "{shown:?}: {why}");
        assert!(site.asked().is_empty(), "{shown:?}");
    }
}

#[tokio::test]
async fn slow_nodes_cost_no_more_than_the_time_there_is() {
    let site = Site::new();
    site.everywhere(Some(&Fault::Slow(Duration::from_secs(60))));
    let start = Instant::now();
    let why = site.unavailable("alice").await;
    assert!(start.elapsed() < Duration::from_secs(11), "{why}");
}

#[tokio::test]
async fn nodes_the_cluster_names_and_we_do_not_know_are_neither_asked_nor_told() {
    let site = Site::new();
    site.current.swap(known(&site.cluster, &["cucm1"]));
    assert_eq!(site.good("alice").await.profile.uds_servers, [format!("cucm1.{DOMAIN}")]);
    assert!(site.cluster.asked().iter().all(|asked| asked.node == format!("cucm1.{DOMAIN}")));
}

#[tokio::test]
async fn before_discovery_the_configured_publisher_is_asked_and_without_one_nobody() {
    let site = Site::new();
    let publishers = vec![(format!("cucm1.{DOMAIN}"), HTTPS_PORT)];
    let early = UnifiedCm::new(Deployment::default_one(), publishers, Current::default(), site.http.clone());
    assert!(matches!(early.check(&subject("alice"), &secret("secret")).await, Verdict::Good(_)));
    let none = UnifiedCm::new(Deployment::default_one(), Vec::new(), Current::default(), site.http.clone());
    assert!(matches!(none.check(&subject("alice"), &secret("secret")).await, Verdict::Unavailable { .. }));
}

#[tokio::test]
async fn a_user_of_the_other_cluster_is_found_there_and_a_dead_cluster_hides_nobody() {
    let (first, second) = (Site::new(), Site::new());
    second.cluster.change(|state| state.users.push(UcUser::new("carol", "secret", "2001")));
    // Two clusters of one deployment that know nothing of each other: each has its names at the other's addresses.
    let mut snapshot = known(&first.cluster, &["cucm1"]);
    let mut other = known(&second.cluster, &["cucm2"]).clusters;
    snapshot.clusters.append(&mut other);
    let address = second.cluster.address(&format!("cucm2.{DOMAIN}")).expect("a node");
    first.dns.set_addresses(&format!("cucm2.{DOMAIN}"), &[address]);
    first.http.set_trust(
        &format!("cucm2.{DOMAIN}"),
        Trust::in_pem(second.cluster.ca_pem().as_bytes(), None).expect("a trust"),
    );
    first.current.swap(snapshot);
    assert_eq!(first.good("carol").await.numbers, ["2001"]);
    assert!(is_refused(&first.check("dave", "secret").await));
    second.cluster.power(&format!("cucm2.{DOMAIN}"), false).expect("off");
    let verdict = first.check("dave", "secret").await;
    let Verdict::Unavailable { reached: Reached::Somebody, .. } = verdict else {
        panic!("dave may live there: {verdict:?}")
    };
    // One that takes connections and is silent costs the users of the other a moment.
    second.cluster.power(&format!("cucm2.{DOMAIN}"), true).expect("on");
    second.cluster.fault(&format!("cucm2.{DOMAIN}"), Service::Uds, Some(Fault::Slow(Duration::from_secs(60))));
    let begun = Instant::now();
    first.good("alice").await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(is_refused(&first.check("alice", "wrong").await));
}

#[tokio::test]
async fn who_is_at_home_in_a_cluster_of_others_is_refused_and_the_operator_is_told() {
    let site = Site::new();
    site.everywhere(Some(&Fault::StrangeHosts));
    let verdict = site.check("alice", "secret").await;
    assert!(matches!(verdict, Verdict::Elsewhere), "{verdict:?}");
    assert!(is_refused(&site.check("dave", "secret").await));
    assert!(site.dns.asked().iter().all(|asked| asked.name.ends_with(DOMAIN)), "only names we know are looked up");
    // As long as something is not known yet, it may be the home.
    let publishers = vec![("cucm9.example.com".to_owned(), HTTPS_PORT)];
    let early = UnifiedCm::new(Deployment::default_one(), publishers, site.current.clone(), site.http.clone());
    let verdict = early.check(&subject("alice"), &secret("secret")).await;
    assert!(matches!(verdict, Verdict::Unavailable { reached: Reached::Somebody, .. }), "{verdict:?}");
}

#[tokio::test]
async fn tokens_are_checked_here_and_their_users_known_there() {
    let site = Site::new();
    let settings = DeploymentSettings {
        name: Deployment::default_one(),
        domains: vec![DOMAIN.to_owned()],
        registrars: Vec::new(),
        authority: AuthoritySettings::UnifiedCm,
        oauth: true,
        oauth_audiences: Vec::new(),
    };
    let fetch_keys: FetchKeys = Rc::new(|_| Box::pin(std::future::ready(true)));
    let unified_cm = Rc::clone(&site.unified_cm) as Rc<dyn Authority>;
    let tokens = Tokens::new(&settings, site.current.clone(), fetch_keys, unified_cm);
    let bearer = |token: String| Credential::Bearer(Zeroizing::new(token));
    let good = bearer(site.cluster.token("Alice"));
    let Verdict::Good(known) = tokens.check(&subject("alice"), &good).await else { panic!("a good token") };
    assert!(known.until_ms.is_some() && known.devices == Some(vec!["CSFALICE".to_owned()]));
    assert!(is_refused(&tokens.check(&subject("bob"), &good).await), "alice's token is no token of bob's");
    let mut wish = TokenWish::new(&site.cluster.state(), "Alice");
    wish.audience = "another".to_owned();
    assert!(is_refused(&tokens.check(&subject("alice"), &bearer(site.cluster.token_of(&wish))).await));
    let mut wish = TokenWish::new(&site.cluster.state(), "Alice");
    wish.known = false;
    assert!(is_refused(&tokens.check(&subject("alice"), &bearer(site.cluster.token_of(&wish))).await), "withdrawn");
    site.cluster.forget();
    site.cluster.rotate_keys(false).expect("a key");
    assert!(is_refused(&tokens.check(&subject("alice"), &bearer(site.cluster.token("Alice"))).await), "an unknown key");
    assert!(site.asked().is_empty(), "the call manager is asked about no token that is wrong in itself");
}
