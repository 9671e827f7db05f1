use std::future::Future;
use std::time::Duration;

use edgeway_config::sign_in::{AuthoritySettings, SignInSettings};
use edgeway_http_proxy::carried;
use edgeway_model::dns::SrvRecord;
use edgeway_model::sign_in::{Profile, Subject, UserName};
use edgeway_model::{Moment, Secret};
use edgeway_policy::discovery::{Cluster, Product, Snapshot, UcNode};
use edgeway_runtime::http::{LocalFuture, Teller};
use http::Request;
use http_body_util::BodyExt as _;
use tokio::task::LocalSet;

use super::super::authority::{Authority, Credential, Known, Reached, Verdict};
use super::super::desk::{Now, Place};
use super::super::keys::Keys;
use super::*;
use crate::discovery::Current;

const NOW_MS: u64 = 1_800_000_000_000;
const INTERVAL_MS: u64 = 480 * 60_000;
/// alice:right, alice:wrong, nobody:right.
const RIGHT: &str = "Basic YWxpY2U6cmlnaHQ=";
const WRONG: &str = "Basic YWxpY2U6d3Jvbmc=";
const NOBODY: &str = "Basic bm9ib2R5OnJpZ2h0";

struct Fake(Rc<RefCell<(u32, bool)>>);

impl Authority for Fake {
    fn check<'a>(&'a self, subject: &'a Subject, credential: &'a Credential) -> LocalFuture<'a, Verdict> {
        self.0.borrow_mut().0 += 1;
        let (Credential::Password(text) | Credential::Bearer(text)) = credential;
        let verdict = if self.0.borrow().1 {
            Verdict::Unavailable { why: "down".into(), reached: Reached::Nobody }
        } else if subject.user == UserName::new("alice").unwrap() && **text == *"right" {
            Verdict::Good(Box::new(Known {
                user: subject.user.clone(),
                spelled: None,
                devices: None,
                numbers: Vec::new(),
                profile: Profile { uds_servers: vec!["cucm2.example.com".into()], im_servers: Vec::new() },
                until_ms: None,
            }))
        } else {
            Verdict::Refused
        };
        Box::pin(std::future::ready(verdict))
    }
}

struct Rig {
    small: Small,
    desk: Rc<Desk>,
    now_ms: Rc<std::cell::Cell<u64>>,
    /// How often the authority was asked, and whether it is down.
    authority: Rc<RefCell<(u32, bool)>>,
}

fn rig(snapshot: Snapshot) -> Rig {
    let now_ms = Rc::new(std::cell::Cell::new(0));
    let authority = Rc::new(RefCell::new((0, false)));
    let settings = SignInSettings {
        credentials_refresh_interval: Duration::from_millis(INTERVAL_MS),
        credentials_cleanup_interval: Duration::from_secs(720 * 60),
        maximum_authorizations_per_period: 8,
        rate_control_period: Duration::from_secs(300),
        key_file: String::new(),
    };
    let deployment = |name: &str, domain: &str| DeploymentSettings {
        name: Deployment::new(name).unwrap(),
        domains: vec![domain.into()],
        registrars: Vec::new(),
        authority: AuthoritySettings::UnifiedCm,
        oauth: false,
        oauth_audiences: Vec::new(),
    };
    let deployments =
        [deployment("default", "example.com"), deployment("other", "example.net"), deployment("off", "example.org")];
    let place = |name: &str| {
        let authority = Rc::new(Fake(Rc::clone(&authority)));
        Place::new(Deployment::new(name).unwrap(), authority, None)
    };
    let clock = Rc::clone(&now_ms);
    let clocks = Rc::new(move || Now { moment: Moment::from_millis(clock.get()), unix_ms: NOW_MS + clock.get() });
    let keys = Keys::new(&Secret::new([7; 32])).unwrap();
    let places = [place("default"), place("other")];
    let desk = Rc::new(Desk::new(&settings, places, keys, clocks, Teller::new().0));
    let srv = Rc::new(|name: String| -> LocalFuture<'static, Vec<SrvRecord>> {
        let imp = SrvRecord { priority: 2, weight: 3, port: 8443, target: "imp1.example.com.".into() };
        let found = if name == "_cuplogin._tcp.example.com" { vec![imp] } else { Vec::new() };
        Box::pin(std::future::ready(found))
    });
    let contacts = Rc::new(Contacts::default());
    let small =
        Small::new(Rc::clone(&desk), Services::new(Current::new(snapshot), srv), &deployments, Rc::clone(&contacts));
    let contact = |node: &str, host: &str, xmpp_port| EdgeContact {
        node: NodeId::new(node).unwrap(),
        host: host.into(),
        sip_port: 5061,
        https_port: 8443,
        xmpp_port,
    };
    contacts.told(&SignInFact::Contacts {
        edges: vec![contact("edge1", "e1.example.com", 0), contact("edge2", "e2.example.com", 5222)],
        cores: vec![CoreContact {
            node: NodeId::new("core1").unwrap(),
            route: "<sip:192.0.2.100:5061;transport=tls;zone-id=1;directed;lr>".into(),
        }],
    });
    Rig { small, desk, now_ms, authority }
}

fn servers() -> Snapshot {
    let node = |name: &str, publisher| UcNode {
        name: name.into(),
        publisher,
        sip_port: 5060,
        sip_tls_port: 0,
        sip_oauth_port: 0,
        https_port: 8443,
    };
    Snapshot {
        revision: 1,
        taken_ms: NOW_MS,
        clusters: vec![Cluster {
            product: Product::UnifiedCm,
            publisher: "cucm1.example.com".into(),
            deployment: Deployment::default_one(),
            version: "12.5.1.10000(22)".into(),
            mixed_mode: false,
            nodes: vec![node("cucm1.example.com", true), node("cucm2.example.com", false)],
            tftp: vec!["cucm1.example.com".into()],
            oauth: false,
            token_keys: Vec::new(),
        }],
    }
}

/// What a client gets: status, fields, body.
struct Got {
    status: u16,
    fields: http::HeaderMap,
    body: String,
}

impl Got {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn cookie(&self) -> Option<String> {
        self.field("set-cookie").split(';').next().filter(|pair| !pair.is_empty()).map(str::to_owned)
    }
}

impl Rig {
    async fn get(&self, domain: &str, verb: Verb, fields: &[(&str, &str)]) -> Got {
        self.ask("GET", domain, verb, "", fields).await
    }

    async fn ask(&self, method: &str, domain: &str, verb: Verb, query: &str, fields: &[(&str, &str)]) -> Got {
        let mut request = Request::builder().method(method).header(carried::CLIENT, "192.0.2.1:4711");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let edge = NodeId::new("edge2").unwrap();
        let response = self.small.serve(&edge, domain, verb, query, &head).await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Got { status: head.status.as_u16(), fields: head.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn a_client_with_the_right_password_gets_its_configuration_and_a_cookie() {
    run(async {
        let rig = rig(servers());
        let got = rig.get("example.com", Verb::GetEdgeConfig, &[("authorization", RIGHT)]).await;
        assert_eq!((got.status, got.field("content-type")), (200, "text/xml"));
        let wanted = "<?xml version='1.0' encoding='UTF-8'?>\n<getEdgeConfigResponse version=\"1.0\"><serviceConfig>\
            <service><name>_cisco-phone-tftp</name><error>NameError</error></service>\
            <service><name>_cuplogin</name><server><priority>2</priority><weight>3</weight><port>8443</port>\
            <address>imp1.example.com</address></server></service>\
            <service><name>_cisco-uds</name><server><priority>1</priority><weight>1</weight><port>8443</port>\
            <address>cucm1.example.com</address></server><server><priority>1</priority><weight>1</weight><port>8443</port>\
            <address>cucm2.example.com</address></server></service>\
            <service><name>tftpServer</name><address>cucm1.example.com</address></service></serviceConfig><edgeConfig>\
            <sipEdgeServer><server><address>e2.example.com</address><tlsPort>5061</tlsPort></server>\
            <server><address>e1.example.com</address><tlsPort>5061</tlsPort></server></sipEdgeServer>\
            <sipRequest><route>&lt;sip:192.0.2.100:5061;transport=tls;zone-id=1;directed;lr&gt;</route></sipRequest>\
            <xmppEdgeServer><server><address>e2.example.com</address><tlsPort>5222</tlsPort></server></xmppEdgeServer>\
            <httpEdgeServer><server><address>e2.example.com</address><tlsPort>8443</tlsPort></server>\
            <server><address>e1.example.com</address><tlsPort>8443</tlsPort></server></httpEdgeServer><turnEdgeServer/>\
            <userUdsServer><server><address>cucm2.example.com</address><tlsPort>8443</tlsPort></server></userUdsServer>\
            </edgeConfig></getEdgeConfigResponse>";
        assert_eq!(got.body, wanted);
        let cookie = got.field("set-cookie");
        // 480 minutes after 2027-01-15T08:00:00Z.
        let tail = "; Expires=Fri, 15 Jan 2027 16:00:00 GMT; Domain=.example.com; Path=/; Secure; HttpOnly";
        assert!(cookie.starts_with("X-Auth=") && cookie.ends_with(tail), "{cookie}");
    });
}

#[test]
fn a_filter_chooses_services_and_unknown_ones_are_never_looked_up() {
    run(async {
        let rig = rig(Snapshot::default());
        let query = "service_name=_cuplogin&service_name=_evil&service_name=_cisco-uds";
        let fields = [("authorization", RIGHT)];
        let got = rig.ask("GET", "example.com", Verb::GetEdgeConfig, query, &fields).await;
        let services = "<serviceConfig><service><name>_cuplogin</name><server><priority>2</priority>";
        let rest = "<service><name>_evil</name><error>NameError</error></service>\
                    <service><name>_cisco-uds</name><error>NameError</error></service></serviceConfig>";
        assert!(got.body.contains(services) && got.body.contains(rest), "{}", got.body);
        let bad = rig.ask("GET", "example.com", Verb::GetEdgeConfig, "service_name=%00", &fields).await;
        assert_eq!(bad.status, 400);
    });
}

#[test]
fn refusals_have_the_bytes_clients_know() {
    run(async {
        let rig = rig(servers());
        let mut refusals = Vec::new();
        for authorization in [WRONG, NOBODY] {
            let got = rig.get("example.com", Verb::GetEdgeConfig, &[("authorization", authorization)]).await;
            assert_eq!((got.status, got.body.as_str(), got.field("content-length")), (401, "", ""));
            assert_eq!(got.field("www-authenticate"), "Basic realm=\"Cisco-Edge\"");
            assert_eq!((got.field("server"), got.field("age")), ("CE_C ECS", "0"));
            refusals.push(got.fields);
        }
        assert_eq!(refusals[0], refusals[1], "an unknown user and a wrong password are alike");
        for fields in [&[][..], &[("authorization", "Digest x")], &[("authorization", "Basic !")]] {
            assert_eq!(rig.get("example.com", Verb::GetEdgeConfig, fields).await.status, 401);
        }
        for domain in ["example.org", "nowhere.example", "sub.example.com"] {
            let got = rig.get(domain, Verb::GetEdgeConfig, &[("authorization", RIGHT)]).await;
            assert_eq!((got.status, got.field("server"), got.field("content-length")), (403, "CE_E", "0"), "{domain}");
            assert_eq!(got.field(carried::CLOSE), "1");
        }
        let got = rig.ask("POST", "example.com", Verb::GetEdgeConfig, "", &[("authorization", RIGHT)]).await;
        assert_eq!((got.status, got.field("allow")), (405, "GET, HEAD"));
        assert_eq!(rig.authority.borrow().0, 2);
    });
}

#[test]
fn the_ninth_time_is_too_often_and_a_token_is_not_counted() {
    run(async {
        let rig = rig(servers());
        let mut cookie = String::new();
        for _ in 0..8 {
            let got = rig.get("example.com", Verb::GetEdgeConfig, &[("authorization", RIGHT)]).await;
            cookie = got.cookie().unwrap();
        }
        rig.now_ms.set(100);
        let got = rig.get("example.com", Verb::GetEdgeConfig, &[("authorization", RIGHT)]).await;
        assert_eq!((got.status, got.field("retry-after"), got.field("content-length")), (429, "300", "0"));
        for _ in 0..20 {
            let both = [("authorization", RIGHT), ("cookie", cookie.as_str())];
            let got = rig.get("example.com", Verb::GetEdgeConfig, &both).await;
            assert!(got.status == 200 && got.cookie().is_some());
            let got = rig.get("example.com", Verb::GetEdgeConfig, &both[1..]).await;
            assert!(got.status == 200 && got.cookie().is_none(), "a young token is not renewed");
        }
        assert_eq!(rig.authority.borrow().0, 1);
        rig.now_ms.set(300_000);
        assert_eq!(rig.get("example.com", Verb::GetEdgeConfig, &[("authorization", RIGHT)]).await.status, 200);
    });
}

#[test]
fn a_token_ends_with_what_it_rests_on_and_is_renewed_by_what_was_checked_since() {
    run(async {
        let rig = rig(servers());
        let first = rig.get("example.com", Verb::GetEdgeConfig, &[("authorization", RIGHT)]).await.cookie().unwrap();
        let by_cookie = |cookie: String| {
            let rig = &rig;
            async move { rig.get("example.com", Verb::GetEdgeConfig, &[("cookie", cookie.as_str())]).await }
        };
        let subject = Subject { deployment: Deployment::default_one(), user: UserName::new("alice").unwrap() };
        let until = |cookie: &str| rig.desk.verify(cookie.trim_start_matches("X-Auth=")).unwrap().expires_ms - NOW_MS;
        // By the token or out of the cache: nothing lasts longer than the check it rests on.
        rig.now_ms.set(INTERVAL_MS - 1);
        let got = by_cookie(first.clone()).await;
        assert!(got.status == 200 && got.cookie().is_none());
        let cached = rig.get("example.com", Verb::GetEdgeConfig, &[("authorization", RIGHT)]).await.cookie().unwrap();
        assert_eq!((until(&first), until(&cached), rig.authority.borrow().0), (INTERVAL_MS, INTERVAL_MS, 1));
        rig.now_ms.set(INTERVAL_MS);
        for cookie in [&first, &cached] {
            assert_eq!(by_cookie(cookie.clone()).await.status, 401);
        }
        rig.now_ms.set(INTERVAL_MS + 1_000);
        let third = rig.get("example.com", Verb::GetEdgeConfig, &[("authorization", RIGHT)]).await.cookie().unwrap();
        assert_eq!(rig.authority.borrow().0, 2, "it is asked again");
        // The user is checked once more, at another device: in its second half the token is renewed by that.
        rig.desk.purge(&subject);
        let checked = INTERVAL_MS + 1_000 + INTERVAL_MS / 4;
        rig.now_ms.set(checked);
        rig.get("example.com", Verb::GetEdgeConfig, &[("authorization", RIGHT)]).await;
        assert!(by_cookie(third.clone()).await.cookie().is_none(), "a young token");
        rig.now_ms.set(INTERVAL_MS + 1_000 + INTERVAL_MS / 2 + 1);
        let fourth = by_cookie(third).await.cookie().expect("a new one");
        assert_eq!((until(&fourth), rig.authority.borrow().0), (checked + INTERVAL_MS, 3));
    });
}

#[test]
fn tokens_of_one_deployment_are_nothing_in_another() {
    run(async {
        let rig = rig(servers());
        let cookie = rig.get("example.com", Verb::GetEdgeConfig, &[("authorization", RIGHT)]).await.cookie().unwrap();
        let got = rig.get("example.net", Verb::GetEdgeConfig, &[("cookie", cookie.as_str())]).await;
        assert_eq!(got.status, 401);
        let both = [("cookie", cookie.as_str()), ("authorization", RIGHT)];
        let got = rig.get("example.net", Verb::GetEdgeConfig, &both).await;
        assert_eq!((got.status, rig.authority.borrow().0), (200, 2), "its own authority says so");
        assert!(!got.body.contains("cucm1"), "nodes of the other deployment are none of its business: {}", got.body);
    });
}

#[test]
fn a_token_does_not_make_a_wrong_password_right() {
    run(async {
        let rig = rig(servers());
        let cookie = rig.get("example.com", Verb::GetEdgeConfig, &[("authorization", RIGHT)]).await.cookie().unwrap();
        for authorization in [WRONG, NOBODY] {
            let both = [("cookie", cookie.as_str()), ("authorization", authorization)];
            assert_eq!(rig.get("example.com", Verb::GetEdgeConfig, &both).await.status, 401);
        }
        // Where nobody can say, the token holds.
        rig.authority.borrow_mut().1 = true;
        rig.now_ms.set(10_000);
        let both = [("cookie", cookie.as_str()), ("authorization", WRONG)];
        let got = rig.get("example.com", Verb::GetEdgeConfig, &both).await;
        assert!(got.status == 200 && got.cookie().is_none());
        let got = rig.get("example.com", Verb::GetEdgeConfig, &[("authorization", WRONG)]).await;
        assert_eq!((got.status, got.field("retry-after")), (503, "5"));
    });
}

#[test]
fn revoked_tokens_are_refused_at_once() {
    run(async {
        let rig = rig(servers());
        let cookie = rig.get("example.com", Verb::GetEdgeConfig, &[("authorization", RIGHT)]).await.cookie().unwrap();
        let user = UserName::new("alice").unwrap();
        rig.desk.revoke(&Subject { deployment: Deployment::default_one(), user });
        let got = rig.get("example.com", Verb::GetEdgeConfig, &[("cookie", cookie.as_str())]).await;
        assert_eq!((got.status, got.field("server")), (401, "CE_C ECS"));
    });
}

#[test]
fn single_sign_on_is_answered_alike_for_everybody_and_token_flows_are_refused() {
    run(async {
        let rig = rig(servers());
        let mut bodies = Vec::new();
        for query in ["email=alice@example.com", "email=nobody@example.com", ""] {
            let got = rig.ask("GET", "example.com", Verb::GetEdgeSso, query, &[]).await;
            assert_eq!(got.status, 200);
            bodies.push(got.body);
        }
        assert!(bodies[0].contains("enabled=\"false\"") && bodies.iter().all(|body| *body == bodies[0]));
        assert_eq!(rig.ask("GET", "example.com", Verb::GetEdgeSso, "email=a%0d", &[]).await.status, 400);
        assert_eq!(rig.ask("GET", "example.org", Verb::GetEdgeSso, "", &[]).await.status, 403);
        let got = rig.ask("POST", "example.com", Verb::AccessToken, "", &[]).await;
        assert_eq!((got.status, got.body.as_str()), (400, "{\"error\":\"unsupported_grant_type\"}"));
        assert_eq!(rig.get("example.com", Verb::Authorize, &[]).await.status, 404);
        assert_eq!(rig.authority.borrow().0, 0);
    });
}
