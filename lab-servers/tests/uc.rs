//! The simulated cluster by itself: what it says to whom, and what is wrong with it on demand.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use edgeway_lab_servers::ca::LabCa;
use edgeway_lab_servers::client::http::{Ask, Got, NoAnswer, Place, ask};
use edgeway_lab_servers::client::{dns, xml::Element};
use edgeway_lab_servers::dns::LabDns;
use edgeway_lab_servers::uc::{
    Fault, HTTP_TFTP_PORT, HTTPS_PORT, HTTPS_TFTP_PORTS, Role, Service, Shown, UcCluster, UcConfig, UcUser,
};

const DOMAIN: &str = "lab.example";
const CUCM: &str = "cucm1.lab.example";

fn cluster() -> UcCluster {
    let ca = LabCa::new("UC test CA").expect("a CA");
    let users = vec![UcUser::new("alice", "a-secret", "1001"), UcUser::new("bob", "b-secret", "1002")];
    let mut config = UcConfig::new(DOMAIN, users);
    config.application_user = ("axl".to_owned(), "axl-secret".to_owned());
    config.nodes.push(("cucm2".to_owned(), Role::CallManager, false));
    config.nodes.push(("cuc1".to_owned(), Role::Unity, true));
    config.oauth = true;
    UcCluster::start(config, &ca).expect("a cluster")
}

fn place(cluster: &UcCluster, node: &str, port: u16) -> Place {
    let address = cluster.address(node).expect("a node");
    let tls = (port != HTTP_TFTP_PORT).then(|| (node.to_owned(), cluster.ca_pem().to_owned()));
    Place { address: SocketAddr::new(address, port), tls }
}

async fn get(cluster: &UcCluster, path: &str) -> Got {
    ask(&place(cluster, CUCM, HTTPS_PORT), &Ask::get(CUCM, path)).await.expect("an answer")
}

fn soap(schema: &str, inner: &str) -> Ask {
    let body = format!(
        "<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:ns=\"http://www.cisco.com/AXL/API/{schema}\"><soapenv:Header/><soapenv:Body>{inner}</soapenv:Body>\
         </soapenv:Envelope>"
    );
    let mut ask = Ask::get(CUCM, "/axl/").basic("axl", "axl-secret").with("content-type", "text/xml; charset=utf-8");
    (ask.method, ask.body) = ("POST".to_owned(), body.into_bytes());
    ask
}

async fn axl(cluster: &UcCluster, inner: &str) -> Got {
    ask(&place(cluster, CUCM, HTTPS_PORT), &soap("12.5", inner)).await.expect("an answer")
}

#[tokio::test]
async fn axl_tells_version_nodes_ports_and_mode_and_refuses_what_it_does_not_know() {
    let cluster = cluster();
    let version = axl(&cluster, "<ns:getCCMVersion/>").await;
    let tree = Element::parse(&version.text()).expect("XML");
    let path = "soapenv:Body/ns:getCCMVersionResponse/return/componentVersion/version";
    assert_eq!(tree.text_at(path), Some("12.5.1.10000(22)"));

    let list = "<ns:listProcessNode><searchCriteria><name>%</name></searchCriteria></ns:listProcessNode>";
    let nodes = |text: String| {
        ["EnterpriseWideData", CUCM, "cucm2.lab.example", "imp1.lab.example", "cuc1.lab.example"]
            .map(|name| text.contains(&format!("<name>{name}</name>")))
    };
    assert_eq!(nodes(axl(&cluster, list).await.text()), [true, true, false, true, false]);
    cluster.list("cucm2.lab.example", true);
    assert_eq!(nodes(axl(&cluster, list).await.text()), [true, true, true, true, false]);

    let mode = "<ns:executeSQLQuery><sql>select paramname,paramvalue from processconfig where \
                paramname in ('ClusterSecurityMode')</sql></ns:executeSQLQuery>";
    assert!(axl(&cluster, mode).await.text().contains("<paramvalue>0</paramvalue>"));
    cluster.change(|state| state.mixed_mode = true);
    assert!(axl(&cluster, mode).await.text().contains("<paramvalue>1</paramvalue>"));

    let add = "<ns:addExpresswayCConfiguration><expresswayCConfiguration><HostNameOrIP>c1.lab.example</HostNameOrIP>\
               </expresswayCConfiguration></ns:addExpresswayCConfiguration>";
    assert_eq!(axl(&cluster, add).await.status, 200);
    let again = axl(&cluster, add).await;
    assert!(again.status == 500 && again.text().contains("duplicate"), "{}", again.text());
    assert_eq!(cluster.state().expressways.len(), 1);

    for (schema, inner, code) in
        [("99.0", "<ns:getCCMVersion/>", "599"), ("12.5", "<ns:doSomething/>", "5002"), ("12.5", "", "5000")]
    {
        let got = ask(&place(&cluster, CUCM, HTTPS_PORT), &soap(schema, inner)).await.expect("an answer");
        assert!(got.status == 500 && got.text().contains(&format!("<axlcode>{code}</axlcode>")), "{}", got.text());
    }
    let mut stranger = soap("12.5", "<ns:getCCMVersion/>");
    stranger.headers.retain(|(name, _)| name != "authorization");
    let got = ask(&place(&cluster, CUCM, HTTPS_PORT), &stranger).await.expect("an answer");
    assert_eq!(got.status, 401);
}

#[tokio::test]
async fn uds_proves_a_user_and_counts_it() {
    let cluster = cluster();
    let path = "/cucm-uds/user/alice/devices";
    let as_user = |user: &str, password: &str| Ask::get(CUCM, path).basic(user, password);
    let here = place(&cluster, CUCM, HTTPS_PORT);
    let good = ask(&here, &as_user("Alice", "a-secret")).await.expect("an answer");
    let tree = Element::parse(&good.text()).expect("XML");
    assert_eq!(tree.text_at("device/name"), Some("CSFALICE"));
    for (user, password, status) in
        [("alice", "wrong", 401), ("nobody", "a-secret", 401), ("bob", "b-secret", 403), ("alice", "", 401)]
    {
        let got = ask(&here, &as_user(user, password)).await.expect("an answer");
        assert_eq!(got.status, status, "{user}");
        let realm = (status == 401).then_some("Basic realm=\"Cisco Web Services Realm\"");
        assert_eq!(got.header("www-authenticate"), realm);
    }
    cluster.change(|state| state.users[0].locked = true);
    assert_eq!(ask(&here, &as_user("alice", "a-secret")).await.expect("an answer").status, 401);
    assert_eq!(cluster.checks("alice"), 6);
    let proxied = as_user("alice", "a-secret").with("via", "1.1 core");
    assert_eq!(ask(&here, &proxied).await.expect("an answer").status, 401);
    assert_eq!(cluster.checks("alice"), 6, "a client's own request is no check");

    let found = get(&cluster, "/cucm-uds/clusterUser?username=bob").await.text();
    assert!(found.contains("found=\"true\"") && found.contains(">cucm1.lab.example</homeCluster>"), "{found}");
    let unknown = get(&cluster, "/cucm-uds/clusterUser?username=eve").await.text();
    assert!(unknown.contains("<result found=\"false\"/>"), "{unknown}");
    assert_eq!(get(&cluster, "/cucm-uds/nothing").await.status, 404);
}

#[tokio::test]
async fn files_are_served_plain_and_secured() {
    let cluster = cluster();
    for port in [HTTP_TFTP_PORT].into_iter().chain(HTTPS_TFTP_PORTS) {
        for (file, holds) in [
            ("/jabber-config.xml", "<VoiceServicesDomain>lab.example</VoiceServicesDomain>"),
            ("/CSFALICE.cnf.xml", "<processNodeName>cucm1.lab.example</processNodeName>"),
            ("/SPDefault.cnf.xml", "imp1.lab.example"),
            ("/XMLDefault.cnf.xml", "<callManagerGroup>"),
        ] {
            let got = ask(&place(&cluster, CUCM, port), &Ask::get(CUCM, file)).await.expect("an answer");
            assert!(got.status == 200 && got.text().contains(holds), "{port} {file}: {}", got.text());
        }
        let got = ask(&place(&cluster, CUCM, port), &Ask::get(CUCM, "/SEP000000000000.cnf.xml")).await;
        assert_eq!(got.expect("an answer").status, 404);
    }
}

#[tokio::test]
async fn tokens_are_issued_and_keys_published() {
    let cluster = cluster();
    let token = cluster.token("alice");
    let asked = Ask::get(CUCM, "/cucm-uds/user/alice/devices").with("authorization", &format!("Bearer {token}"));
    assert_eq!(ask(&place(&cluster, CUCM, HTTPS_PORT), &asked).await.expect("an answer").status, 200);
    let keys = get(&cluster, "/ssosp/token/keys").await.text();
    assert!(keys.contains("\"kty\":\"RSA\"") && keys.contains(&cluster.signing_key().0), "{keys}");
    cluster.rotate_keys(false).expect("a key");
    assert_ne!(get(&cluster, "/ssosp/token/keys").await.text(), keys);
    let mut grant = Ask::get(CUCM, "/ssosp/oauth/token").with("content-type", "application/x-www-form-urlencoded");
    grant.method = "POST".to_owned();
    grant.body = b"grant_type=password&username=bob&password=b-secret".to_vec();
    let got = ask(&place(&cluster, CUCM, HTTPS_PORT), &grant).await.expect("an answer");
    assert!(got.status == 200 && got.text().contains("refresh_token"), "{}", got.text());
    cluster.change(|state| state.oauth = false);
    assert_eq!(get(&cluster, "/ssosp/token/keys").await.status, 404);
}

#[tokio::test]
async fn every_fault_can_be_switched_on_and_off() {
    let cluster = cluster();
    let here = place(&cluster, CUCM, HTTPS_PORT);
    let version = Ask::get(CUCM, "/cucm-uds/servers");
    let with = |fault| cluster.fault(CUCM, Service::Uds, Some(fault));

    with(Fault::Status(500));
    assert_eq!(ask(&here, &version).await.expect("an answer").status, 500);
    with(Fault::Throttled);
    assert_eq!(ask(&here, &version).await.expect("an answer").header("retry-after"), Some("1"));
    with(Fault::Garbage);
    assert!(Element::parse(&ask(&here, &version).await.expect("an answer").text()).is_err());
    with(Fault::CutShort);
    assert!(matches!(ask(&here, &version).await, Err(NoAnswer::Broken(_))));
    with(Fault::Silent);
    assert!(matches!(ask(&here, &version).await, Err(NoAnswer::Broken(_))));
    with(Fault::Endless);
    assert!(matches!(ask(&here, &version).await, Err(NoAnswer::Broken(_))));
    with(Fault::StrangeHosts);
    assert!(ask(&here, &version).await.expect("an answer").text().contains("<server>169.254.169.254</server>"));
    with(Fault::Empty);
    assert!(!ask(&here, &version).await.expect("an answer").text().contains("<server>"));
    with(Fault::Redirect("https://elsewhere.example/".to_owned()));
    assert_eq!(ask(&here, &version).await.expect("an answer").header("location"), Some("https://elsewhere.example/"));
    with(Fault::Slow(Duration::from_millis(150)));
    let begun = Instant::now();
    assert_eq!(ask(&here, &version).await.expect("an answer").status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(150));
    let axl_works = axl(&cluster, "<ns:getCCMVersion/>").await;
    assert_eq!(axl_works.status, 200, "another service of the node is as before");
    cluster.fault(CUCM, Service::Uds, None);

    for shown in [Shown::WrongName, Shown::Expired, Shown::Untrusted, Shown::SelfSigned] {
        cluster.show(CUCM, shown);
        assert!(matches!(ask(&here, &version).await, Err(NoAnswer::Certificate(..))), "{shown:?}");
    }
    cluster.show(CUCM, Shown::Good);

    cluster.power(CUCM, false).expect("off");
    assert!(matches!(ask(&here, &version).await, Err(NoAnswer::Connect(..))));
    cluster.power(CUCM, true).expect("on");
    assert_eq!(ask(&here, &version).await.expect("an answer").status, 200);
}

#[tokio::test]
async fn unity_connection_answers_its_own_questions() {
    let cluster = cluster();
    let node = "cuc1.lab.example";
    let asked = Ask::get(node, "/vmrest/version");
    let here = place(&cluster, node, HTTPS_PORT);
    assert_eq!(ask(&here, &asked).await.expect("an answer").status, 401);
    let got = ask(&here, &asked.basic("axl", "axl-secret")).await.expect("an answer");
    assert!(got.text().contains("<version>12.5.1.10000(22)</version>"), "{}", got.text());
    assert_eq!(ask(&here, &Ask::get(node, "/axl/")).await.expect("an answer").status, 404);
}

#[tokio::test]
async fn names_of_the_cluster_are_published_and_can_be_changed() {
    let (cluster, dns_server) = (cluster(), LabDns::start().expect("a DNS server"));
    cluster.publish(&dns_server);
    let server = dns_server.address();
    assert_eq!(
        dns::addresses(server, "CUCM1.lab.example").await.expect("an answer"),
        [cluster.address(CUCM).expect("one")]
    );
    let services = dns::services(server, "_cisco-uds._tcp.lab.example").await.expect("an answer");
    assert_eq!(services.iter().map(|s| (s.target.as_str(), s.port)).collect::<Vec<_>>(), [(CUCM, 8443)]);
    assert!(dns::addresses(server, "nobody.lab.example").await.expect("an answer").is_empty());
    dns_server.remove(CUCM);
    assert!(dns::addresses(server, CUCM).await.expect("an answer").is_empty());
    dns_server.fail(true);
    assert!(dns::addresses(server, CUCM).await.is_err());
    assert!(dns_server.asked().iter().any(|asked| asked.name == CUCM && asked.kind == 1));
}
