//! Conversations with a publisher whose answers are written down, and answers that are none.

use std::cell::RefCell;
use std::collections::VecDeque;

use edgeway_config::settings::HostPort;
use edgeway_config::sign_in::UcServerSettings;
use edgeway_model::sign_in::Deployment;
use edgeway_policy::discovery::{Cluster, Lie, Product};
use edgeway_runtime::http::LocalFuture;
use tokio::time::{Duration, Instant};
use zeroize::Zeroizing;

use super::*;
use crate::discovery::web::WebFault;
use crate::unified_cm::cluster;
use crate::{imp, unity};

/// What it answers, in order, and what it was asked.
struct Canned {
    answers: RefCell<VecDeque<Result<Reply, WebFault>>>,
    asked: RefCell<Vec<Question>>,
}

impl Canned {
    fn new(answers: impl IntoIterator<Item = Reply>) -> Self {
        Self { answers: RefCell::new(answers.into_iter().map(Ok).collect()), asked: RefCell::default() }
    }

    fn bodies(&self) -> Vec<String> {
        self.asked.borrow().iter().map(|question| String::from_utf8(question.body.to_vec()).unwrap()).collect()
    }
}

impl Web for Canned {
    fn ask(&self, question: Question) -> LocalFuture<'_, Result<Reply, WebFault>> {
        self.asked.borrow_mut().push(question);
        let answer = self.answers.borrow_mut().pop_front();
        Box::pin(std::future::ready(answer.unwrap_or_else(|| Err(WebFault::Unreachable("nobody".into())))))
    }
}

fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply { status, retry_after: None, body: body.into() }
}

fn soap(method: &str, inner: &str) -> Reply {
    reply(
        200,
        format!(
            "<?xml version='1.0' encoding='utf-8'?><soapenv:Envelope xmlns:soapenv='http://schemas.xmlsoap.org/soap/\
             envelope/'><soapenv:Body><ns:{method}Response xmlns:ns='http://www.cisco.com/AXL/API/12.5'><return>{inner}\
             </return></ns:{method}Response></soapenv:Body></soapenv:Envelope>"
        ),
    )
}

fn fault(text: &str) -> Reply {
    let body = format!(
        "<s:Envelope xmlns:s='x'><s:Body><s:Fault><faultcode>s:Client</faultcode><faultstring>{text}</faultstring>\
         </s:Fault></s:Body></s:Envelope>"
    );
    reply(500, body)
}

fn version_answer() -> Reply {
    soap("getCCMVersion", "<componentVersion><version>12.5.1.10000(22)</version></componentVersion>")
}

/// As some versions answer: elements in an order of their own, names in any case, what nobody asked for.
fn nodes_answer() -> Reply {
    let node = |name: &str, usage: &str, role: &str| {
        format!(
            "<processNode uuid='{{1}}'><nodeUsage>{usage}</nodeUsage><more><name>x</name></more>\
             <processNodeRole>{role}</processNodeRole><name>{name}</name></processNode>"
        )
    };
    let inner = [
        node("EnterpriseWideData", "Publisher", "CUCM Voice/Video"),
        node("Sub1.Example.com", "Subscriber", "CUCM Voice/Video"),
        node("pub.example.com.", "Publisher", "CUCM Voice/Video"),
        node("imp2.example.com", "Subscriber", "CUCM IM and Presence"),
        node("imp1.example.com", "Subscriber", "CUCM IM and Presence"),
    ];
    soap("listProcessNode", &inner.concat())
}

fn managers_answer(oauth: &str) -> Reply {
    let manager = |node: &str, sip: u16, more: &str| {
        format!(
            "<callManager><name>CM_{node}</name><processNodeName uuid='{{2}}'>{node}</processNodeName><ports>\
             <ethernetPhonePort>2000</ethernetPhonePort><sipPorts><sipPhoneSecurePort>5061</sipPhoneSecurePort>\
             <sipPhonePort>{sip}</sipPhonePort>{more}</sipPorts></ports></callManager>"
        )
    };
    soap("listCallManager", &[manager("pub.example.com", 5060, ""), manager("SUB1.example.com", 5070, oauth)].concat())
}

fn modes_answer(mixed: u8, sip_oauth: &str) -> Reply {
    let row = format!("<row><paramname>ClusterSecurityMode</paramname><paramvalue>{mixed}</paramvalue></row>");
    soap("executeSQLQuery", &format!("{row}{sip_oauth}"))
}

const SIP_OAUTH: &str = "<row><paramname>ClusterSIPOAuthMode</paramname><paramvalue>1</paramvalue></row>";

fn tftp_answer() -> Reply {
    let service = |node: &str, service: &str, active: &str| {
        format!(
            "<processNodeService><processNodeName>{node}</processNodeName><service>{service}</service>\
             <isActive>{active}</isActive></processNodeService>"
        )
    };
    let inner = [
        service("pub.example.com", "Cisco Tftp", "true"),
        service("sub1.example.com", "Cisco Tftp", "true"),
        service("sub2.example.com", "Cisco Tftp", "false"),
        service("sub3.example.com", "Cisco CallManager", "true"),
    ];
    soap("listProcessNodeService", &inner.concat())
}

fn everything(mixed: u8, sip_oauth: &str) -> Vec<Reply> {
    let oauth_port = "<sipMRAOAuthPort>5091</sipMRAOAuthPort><sipOAuthPort>5090</sipOAuthPort>";
    vec![
        version_answer(),
        nodes_answer(),
        managers_answer(oauth_port),
        modes_answer(mixed, sip_oauth),
        tftp_answer(),
        reply(404, "no such thing"),
    ]
}

fn settings(host: &str, port: u16) -> UcServerSettings {
    UcServerSettings {
        address: HostPort { host: host.into(), port },
        deployment: Deployment::default_one(),
        user: "axl".into(),
        password: edgeway_config::PasswordSettings::File(String::new()),
        tls_verify: true,
        ca: None,
    }
}

fn credentials() -> Credentials {
    Credentials { user: "axl".into(), password: Zeroizing::new("secret".into()) }
}

async fn read(web: &Canned, own: Option<&str>) -> Result<Cluster, AskFault> {
    cluster::read(web, &settings("pub.example.com", 8443), &credentials(), own).await
}

#[tokio::test]
async fn a_cluster_comes_out_as_its_publisher_describes_it() {
    let web = Canned::new(everything(1, SIP_OAUTH));
    let found = read(&web, None).await.unwrap();
    let nodes: Vec<_> = found
        .nodes
        .iter()
        .map(|n| (n.name.as_str(), n.publisher, n.sip_port, n.sip_tls_port, n.sip_oauth_port))
        .collect();
    // A node that names no port of its own has the usual one.
    assert_eq!(nodes, [("pub.example.com", true, 5060, 5061, 5091), ("sub1.example.com", false, 5070, 5061, 5091)]);
    assert_eq!(found.tftp, ["sub1.example.com", "pub.example.com"]);
    assert_eq!((found.version.as_str(), found.mixed_mode, found.oauth), ("12.5.1.10000(22)", true, false));
    let asked = web.asked.borrow();
    let actions: Vec<_> = asked.iter().map(|question| question.action.clone().unwrap_or_default()).collect();
    let of = |method: &str, schema: &str| format!("\"CUCM:DB ver={schema} {method}\"");
    assert_eq!(
        actions,
        [
            of("getCCMVersion", "10.0"),
            of("listProcessNode", "12.5"),
            of("listCallManager", "12.5"),
            of("executeSQLQuery", "12.5"),
            of("listProcessNodeService", "12.5"),
            String::new(),
        ]
    );
    // The keys are public: the password does not go there.
    assert!(asked.iter().take(5).all(|question| question.credentials.is_some() && question.path == "/axl/"));
    assert!(asked[5].credentials.is_none() && asked[5].path == "/ssosp/token/keys");
    drop(asked);
    for body in &web.bodies()[..5] {
        let sent = Element::parse(body.as_bytes(), &BOUNDS).unwrap();
        assert_eq!(sent.child("Body").unwrap().children.len(), 1, "{body}");
    }
}

#[tokio::test]
async fn ports_that_the_modes_do_not_use_are_none() {
    let found = read(&Canned::new(everything(0, "")), None).await.unwrap();
    assert!(!found.mixed_mode);
    assert!(found.nodes.iter().all(|node| node.sip_tls_port == 0 && node.sip_oauth_port == 0));
}

#[tokio::test]
async fn the_cluster_is_told_of_this_core_once_and_knowing_it_already_is_fine() {
    let cases = [
        (soap("addExpresswayCConfiguration", "{uuid}"), Ok(())),
        (fault("Could not insert new row - duplicate value in a UNIQUE INDEX column"), Ok(())),
        (fault("Item already exists"), Ok(())),
        (fault("Access denied"), Err("it answers addExpresswayCConfiguration with a fault: Access denied")),
    ];
    for (answer, expected) in cases {
        let mut answers = everything(1, "");
        answers.push(answer);
        let web = Canned::new(answers);
        let outcome = read(&web, Some("core1.example.com")).await.map(drop).map_err(|fault| fault.to_string());
        assert_eq!(outcome, expected.map_err(str::to_owned));
        let told = web.bodies().pop().unwrap();
        assert!(told.contains("<HostNameOrIP>core1.example.com</HostNameOrIP>"), "{told}");
    }
}

#[tokio::test]
async fn a_server_too_new_for_the_oldest_schema_is_asked_in_a_newer_one() {
    let mut answers = vec![fault("The specified AXL version is not supported")];
    answers.extend(everything(0, ""));
    let web = Canned::new(answers);
    assert_eq!(read(&web, None).await.unwrap().version, "12.5.1.10000(22)");
    assert!(web.bodies()[1].contains("http://www.cisco.com/AXL/API/12.5"));
    // And one that knows none says so.
    let web = Canned::new((0..3).map(|_| fault("no")));
    assert_eq!(read(&web, None).await.unwrap_err().to_string(), "it answers getCCMVersion with a fault: no");
    for (version, schema) in
        [("12.5.1.10000(22)", "12.5"), ("14.0(1)", "14.0"), ("15.0", "15.0"), ("x", "10.0"), ("", "10.0")]
    {
        assert_eq!(schema_of(version), schema);
    }
}

/// Each question of the conversation gets each bad answer in turn: nothing of it is taken.
#[tokio::test(start_paused = true)]
async fn whatever_is_wrong_anywhere_nothing_is_taken() {
    let bomb = "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;'>]><x>&b;</x>";
    let deep = format!("{}{}", "<a>".repeat(1000), "</a>".repeat(1000));
    let bad: Vec<(Reply, &str)> = vec![
        (reply(401, "<html>"), "it refuses the application user or its password (401)"),
        (reply(403, ""), "it does not let the application user ask (403)"),
        (reply(302, ""), "status 302"),
        (reply(404, ""), "status 404"),
        (reply(500, "<html><body>Tomcat</body></html>"), "status 500"),
        (reply(503, ""), "asked too often (503)"),
        (reply(599, ""), "asked too often (599)"),
        (reply(200, ""), "cannot be read"),
        (reply(200, "\u{0}\u{1}\u{2}garbage"), "cannot be read"),
        (reply(200, "<html></html>"), "cannot be read"),
        (reply(200, bomb), "cannot be read"),
        (reply(200, deep), "cannot be read"),
        (reply(200, vec![b'x'; ANSWER_BYTES_MAX + 1]), "cannot be read"),
        (soap("somethingElse", ""), "it answers something else"),
        (fault("Item not valid: The specified name was not found\u{7}"), "with a fault: Item not valid"),
    ];
    for (answer, text) in &bad {
        for at in 0..5 {
            let mut answers = everything(1, "");
            answers.truncate(at);
            // Throttled, it is asked again; a schema that is not known, too.
            answers.extend((0..4).map(|_| answer.clone()));
            let fault = read(&Canned::new(answers), None).await.unwrap_err();
            assert!(fault.to_string().contains(text), "at {at}: {fault}");
            assert!(!fault.to_string().contains(|c: char| c.is_control()), "{fault}");
            assert!(!fault.action().is_empty());
        }
    }
}

#[tokio::test]
async fn well_formed_lies_are_refused() {
    let replaced = |at: usize, answer: Reply| {
        let mut answers = everything(1, "");
        answers[at] = answer;
        answers
    };
    let port = |port: &str| {
        let ports = format!("<ports><sipPorts><sipPhonePort>{port}</sipPhonePort></sipPorts></ports>");
        let inner = format!("<callManager><processNodeName>pub.example.com</processNodeName>{ports}</callManager>");
        replaced(2, soap("listCallManager", &inner))
    };
    let node = |name: &str| {
        let inner = format!(
            "<processNode><name>{name}</name><nodeUsage>Publisher</nodeUsage>\
             <processNodeRole>CUCM Voice/Video</processNodeRole></processNode>"
        );
        replaced(1, soap("listProcessNode", &inner))
    };
    for (answers, text) in [
        (replaced(1, soap("listProcessNode", "")), "it lists no nodes"),
        (replaced(2, soap("listCallManager", "")), "none of its nodes has a port for SIP"),
        (port("0"), "\"0\" of pub.example.com is no port"),
        (port("65536"), "\"65536\" of pub.example.com is no port"),
        (port("-1"), "\"-1\" of pub.example.com is no port"),
        (port("5060 5061"), "\"5060 5061\" of pub.example.com is no port"),
        (port("5060"), "it is in mixed mode, and pub.example.com has no port for SIP over TLS"),
        (node("169.254.169.254"), "it names \"169.254.169.254\", which is no host"),
        (node("a/../b"), "it names \"a/../b\", which is no host"),
        (node("&lt;x&gt;"), "it names \"<x>\", which is no host"),
        (node(""), "it names \"\", which is no host"),
        (replaced(0, soap("getCCMVersion", "")), "there is no version in it"),
        (replaced(5, reply(200, "{}")), "its answer to the keys of its tokens cannot be read"),
        (replaced(5, reply(500, "")), "it answers the keys of its tokens with status 500"),
    ] {
        let fault = read(&Canned::new(answers), None).await.unwrap_err().to_string();
        assert!(fault.contains(text), "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_question_is_put_again_politely() {
    let mut answers = vec![Reply { retry_after: Some(2), ..reply(503, "") }, reply(599, "")];
    answers.extend(everything(0, ""));
    let (web, start) = (Canned::new(answers), Instant::now());
    assert!(read(&web, None).await.is_ok());
    assert_eq!((web.asked.borrow().len(), start.elapsed()), (8, Duration::from_secs(4)));
    // Who asks for minutes gets them from whoever asks next.
    let web = Canned::new([Reply { retry_after: Some(60), ..reply(503, "") }]);
    let start = Instant::now();
    assert_eq!(read(&web, None).await, Err(AskFault::Throttled { status: 503, retry_after: Some(60) }));
    assert_eq!((web.asked.borrow().len(), start.elapsed()), (1, Duration::ZERO));
}

#[tokio::test]
async fn presence_nodes_are_found_in_the_common_database() {
    let settings = |host: &str| settings(host, 8443);
    for (asked, publisher) in [
        ("imp1.example.com", Ok("imp1.example.com")),
        ("imp2", Ok("imp2.example.com")),
        ("10.0.0.9", Err(Lie::NoPublisher)),
    ] {
        let web = Canned::new([version_answer(), nodes_answer()]);
        let found = imp::read(&web, &settings(asked), &credentials()).await;
        let found = found.map(|cluster| (cluster.product, cluster.nodes[0].name.clone(), cluster.nodes.len()));
        let expected = publisher.map(|name| (Product::ImAndPresence, name.to_owned(), 2)).map_err(AskFault::Lying);
        assert_eq!(found, expected, "{asked}");
    }
    let web = Canned::new([version_answer(), soap("listProcessNode", "")]);
    assert_eq!(imp::read(&web, &settings("imp1"), &credentials()).await, Err(AskFault::Lying(Lie::NoNodes)));
}

#[tokio::test]
async fn unity_connection_describes_itself() {
    let version =
        || reply(200, "<VersionInformation><name>vmrest</name><version>12.5.1</version></VersionInformation>");
    let server = |id: u8, name: &str| {
        format!(
            "<VmsServer><ServerName> {name}</ServerName><IpAddress>10.0.0.{id}</IpAddress><ClusterMemberId>{id}</ClusterMemberId></VmsServer>"
        )
    };
    let cluster = format!(
        "<VmsServers total='2'>{}{}</VmsServers>",
        server(1, "cuc2.example.com"),
        server(0, "cuc1.example.com")
    );
    let keys = reply(200, r#"{"keys":[]}"#);
    let web = Canned::new([version(), reply(200, cluster), keys]);
    let found = unity::read(&web, &settings("cuc1.example.com", 443), &credentials()).await.unwrap();
    let nodes: Vec<_> = found.nodes.iter().map(|n| (n.name.as_str(), n.publisher, n.https_port)).collect();
    assert_eq!(nodes, [("cuc1.example.com", true, 443), ("cuc2.example.com", false, 443)]);
    assert_eq!((found.version.as_str(), found.oauth), ("12.5.1", true));
    let paths: Vec<_> =
        web.asked.borrow().iter().map(|question| (question.path, question.credentials.is_some())).collect();
    assert_eq!(paths, [("/vmrest/version", true), ("/vmrest/cluster", true), ("/ssosp/token/keys", false)]);
    for (answers, text) in [
        (vec![reply(401, "")], "(401)"),
        (vec![version(), reply(200, "<x")], "cannot be read"),
        (vec![version(), reply(200, "<VmsServers/>"), reply(404, "")], "it lists no nodes"),
    ] {
        let fault = unity::read(&Canned::new(answers), &settings("cuc1", 443), &credentials()).await.unwrap_err();
        assert!(fault.to_string().contains(text), "{fault}");
    }
}

#[test]
fn the_corpus_of_answers_is_read_without_harm() {
    let everything = everything(1, SIP_OAUTH);
    for reply in &everything {
        for at in 0..reply.body.len() {
            read_anything(&reply.body[..at]);
            let mut changed = reply.body.clone();
            changed[at] ^= 0x15;
            read_anything(&changed);
        }
    }
}
