//! The API through its router: who may do what, and what nobody may.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use edgeway_admin::accounts::Role;
use edgeway_admin::api::routes::{self, Needs};
use edgeway_admin::api::{Peer, local_path, openapi};
use edgeway_admin::configuration::{ConfigurationDesk, boot_with};
use edgeway_admin::listener::router;
use edgeway_admin::office::{Office, Settled};
use edgeway_admin::store::{MemoryStore, Store};
use edgeway_runtime::operate::{self, Asked, Prepared, Work};
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, ORIGIN, SET_COOKIE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

const PASSWORD: &str = "correct horse battery";
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// A core's administrator's side, with a node that says yes to everything.
struct Rig {
    office: Arc<Office>,
    router: Router,
    now: Arc<AtomicU64>,
    folder: PathBuf,
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn node(mut asked: Asked) {
    while let Some(work) = asked.recv().await {
        match work {
            Work::Ask(question, answer) => {
                let said = match question.path.as_str() {
                    "status" => json!({ "node": "core1", "role": "core", "links": [], "alarms": [] }),
                    _ => json!({}),
                };
                drop(answer.send(Ok(said)));
            }
            Work::Prepare(_, answer) => drop(answer.send(Ok(Prepared::default()))),
            Work::Apply(answer) => drop(answer.send(Ok(()))),
            Work::Abort | Work::Tell(_) => {}
        }
    }
}

struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

/// Somebody who has signed in with a browser.
#[derive(Clone)]
struct Browser {
    cookie: String,
    csrf: String,
}

impl Rig {
    async fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("edgeway-api-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("core.toml");
        let text = format!(
            "node = \"core1\"\nstate_dir = \"{}\"\ndomains = [\"example.com\"]\n[sip]\nlisten = [\"127.0.0.1:5060\"]\n\
             registrars = [\"tcp:127.0.0.2:5060\"]\n[admin]\nnames = [\"admin.example.com\"]\n",
            folder.display()
        );
        std::fs::write(&file, text).unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let opened = Arc::clone(&store);
        let booted = boot_with(&file, move |_| Ok(Arc::clone(&opened))).unwrap();
        let (port, asked) = operate::port();
        tokio::spawn(node(asked));
        let desk = ConfigurationDesk::new(booted.parts, port.clone());
        let now = Arc::new(AtomicU64::new(1_800_000_000_000));
        let clock = Arc::clone(&now);
        let clock = Arc::new(move || clock.load(Ordering::Relaxed));
        let office = Office::with_clock(port, store, desk, Settled::of(&booted.settings), clock);
        let router = router(&office);
        Self { office, router, now, folder }
    }

    fn pass(&self, ms: u64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }

    async fn send(&self, peer: Peer, request: Request<Body>) -> Answered {
        let mut request = request;
        request.extensions_mut().insert(peer);
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        // The stream does not end.
        let is_stream = head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
        let bytes = if is_stream { Default::default() } else { body.collect().await.unwrap().to_bytes() };
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answered { status: head.status, headers: head.headers, body }
    }

    async fn over_tls(&self, request: Request<Body>) -> Answered {
        self.send(Peer::Address(HERE), request).await
    }

    /// An account of each role, and a browser that has signed in with it.
    async fn browser(&self, role: Role) -> Browser {
        let name = format!("{}-{}", role.as_str(), self.now.fetch_add(1, Ordering::Relaxed));
        self.office.accounts.add(&name, role, PASSWORD.to_owned().into()).await.unwrap();
        self.signed_in(&name).await
    }

    async fn signed_in(&self, name: &str) -> Browser {
        let answered = self.over_tls(sign_in(name, PASSWORD)).await;
        assert_eq!(answered.status, StatusCode::OK, "{}", answered.body);
        Browser { cookie: cookie_of(&answered), csrf: answered.body["csrf"].as_str().unwrap().to_owned() }
    }

    async fn token(&self, role: Role) -> String {
        self.office.accounts.add_token("test", role, Some(1)).await.unwrap().1
    }
}

fn cookie_of(answered: &Answered) -> String {
    let field = answered.headers[SET_COOKIE].to_str().unwrap();
    for part in ["__Host-edgeway=", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
        assert!(field.contains(part), "{field}");
    }
    assert!(!field.contains("Domain"), "{field}");
    field.split(';').next().unwrap().to_owned()
}

fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header(HOST, "localhost:9443")
}

fn sign_in(name: &str, password: &str) -> Request<Body> {
    with_json(request("POST", "/api/v1/session"), &json!({ "name": name, "password": password }))
}

fn with_json(builder: http::request::Builder, body: &Value) -> Request<Body> {
    builder.header(CONTENT_TYPE, "application/json").body(Body::from(body.to_string())).unwrap()
}

/// A path of a route, with something in the place of its names.
fn path_of(route: &routes::Route) -> String {
    let parts = route.path.split('/').map(|part| match part {
        "{node}" => "core1",
        "{code}" => "not_found",
        "{name}" | "{id}" => "nobody",
        "{number}" => "1",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Who asks, in the test of roles.
#[derive(Clone)]
enum Who {
    Nobody,
    Cookie(Role, Browser),
    Token(Role, String),
    Socket,
}

#[tokio::test]
async fn each_route_is_for_those_of_its_role_and_for_nobody_else() {
    let rig = Rig::new("roles").await;
    let mut asked = 0;
    let mut known: Vec<(Role, Browser, String)> = Vec::new();
    for route in routes::all() {
        let mut all = vec![Who::Nobody, Who::Socket];
        for role in Role::ALL {
            let at = known.iter().position(|(known, ..)| *known == role);
            let (_, browser, token) = match at {
                Some(at) => known[at].clone(),
                None => {
                    known.push((role, rig.browser(role).await, rig.token(role).await));
                    known[known.len() - 1].clone()
                }
            };
            all.push(Who::Cookie(role, browser));
            all.push(Who::Token(role, token));
        }
        if (route.method, route.path) == ("DELETE", "/api/v1/session") {
            known.clear();
        }
        for who in all {
            let mut builder = request(route.method, &path_of(route));
            let (peer, role) = match &who {
                Who::Nobody => (Peer::Address(HERE), None),
                Who::Socket => (Peer::Socket { uid: Some(0) }, Some(Role::Administrator)),
                Who::Cookie(role, browser) => {
                    builder = builder.header(COOKIE, &browser.cookie).header("x-csrf-token", &browser.csrf);
                    (Peer::Address(HERE), Some(*role))
                }
                Who::Token(role, token) => {
                    builder = builder.header(AUTHORIZATION, format!("Bearer {token}"));
                    (Peer::Address(HERE), Some(*role))
                }
            };
            let answered = rig.send(peer, builder.body(Body::empty()).unwrap()).await;
            let code = answered.body["code"].as_str().unwrap_or_default();
            let expected = match (route.needs, role) {
                (Needs::Nothing, _) => None,
                (Needs::Role(_) | Needs::Socket, None) => Some("not_signed_in"),
                (Needs::Role(needed), Some(role)) => (role < needed).then_some("not_permitted"),
                (Needs::Socket, Some(_)) => (!matches!(who, Who::Socket)).then_some("not_permitted"),
            };
            let what = format!("{} {} {:?}: {} {}", route.method, route.path, role, answered.status, answered.body);
            match expected {
                Some(expected) => assert_eq!(code, expected, "{what}"),
                None => {
                    assert!(
                        !["not_signed_in", "not_permitted", "cross_site", "no_such_method"].contains(&code),
                        "{what}"
                    );
                    assert_ne!(answered.status, StatusCode::INTERNAL_SERVER_ERROR, "{what}");
                }
            }
            asked += 1;
        }
    }
    assert_eq!(asked, routes::all().count() * 8);
}

#[tokio::test]
async fn a_browser_that_another_site_sends_changes_nothing() {
    let rig = Rig::new("csrf").await;
    let browser = rig.browser(Role::Administrator).await;
    let other = rig.browser(Role::Administrator).await;
    let order = || request("DELETE", "/api/v1/maintenance/core1").header(COOKIE, &browser.cookie);
    let empty = |builder: http::request::Builder| builder.body(Body::empty()).unwrap();
    let good = || order().header("x-csrf-token", &browser.csrf);
    let refused = [
        empty(order()),
        empty(order().header("x-csrf-token", "")),
        empty(order().header("x-csrf-token", &other.csrf)),
        empty(good().header(ORIGIN, "https://evil.example")),
        empty(good().header(ORIGIN, "http://localhost:9443")),
        empty(good().header(ORIGIN, "null")),
        empty(good().header("sec-fetch-site", "cross-site")),
        empty(good().header("sec-fetch-site", "same-site")),
    ];
    for request in refused {
        let what = format!("{:?}", request.headers());
        let answered = rig.over_tls(request).await;
        assert_eq!((answered.status, &answered.body["code"]), (StatusCode::FORBIDDEN, &json!("cross_site")), "{what}");
    }
    let own = good().header(ORIGIN, "https://localhost:9443").header("sec-fetch-site", "same-origin");
    assert_eq!(rig.over_tls(empty(own)).await.status, StatusCode::OK);
    // A form carries it as a field.
    let form = order().header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    let form = form.body(Body::from(format!("a=b&csrf={}", browser.csrf))).unwrap();
    assert_eq!(rig.over_tls(form).await.status, StatusCode::OK);
    // Nor does another site sign a browser in.
    let mut foreign = sign_in("somebody", PASSWORD);
    foreign.headers_mut().insert(ORIGIN, "https://evil.example".parse().unwrap());
    assert_eq!(rig.over_tls(foreign).await.body["code"], "cross_site");
}

#[tokio::test]
async fn a_session_begins_anew_at_each_sign_in_and_ends() {
    let rig = Rig::new("sessions").await;
    rig.office.accounts.add("alice", Role::Administrator, PASSWORD.to_owned().into()).await.unwrap();
    let show = |cookie: &str| request("GET", "/api/v1/session").header(COOKIE, cookie).body(Body::empty()).unwrap();
    // What somebody has planted is not taken over.
    let mut planted = sign_in("alice", PASSWORD);
    planted.headers_mut().insert(COOKIE, "__Host-edgeway=planted".parse().unwrap());
    let answered = rig.over_tls(planted).await;
    let first = cookie_of(&answered);
    assert!(!first.contains("planted"), "{first}");
    let second = rig.signed_in("alice").await;
    assert_ne!(first, second.cookie);
    assert_eq!(rig.over_tls(show(&first)).await.status, StatusCode::OK);
    // Idle for half an hour.
    rig.pass(29 * 60_000);
    assert_eq!(rig.over_tls(show(&first)).await.status, StatusCode::OK);
    rig.pass(29 * 60_000);
    assert_eq!(rig.over_tls(show(&first)).await.status, StatusCode::OK);
    assert_eq!(rig.over_tls(show(&second.cookie)).await.status, StatusCode::UNAUTHORIZED);
    // Twelve hours, however busy.
    for _ in 0..25 {
        rig.pass(28 * 60_000);
        rig.over_tls(show(&first)).await;
    }
    assert_eq!(rig.over_tls(show(&first)).await.status, StatusCode::UNAUTHORIZED);
    // Signing out, a new role and a new password end it.
    let out = rig.signed_in("alice").await;
    let request = request("DELETE", "/api/v1/session").header(COOKIE, &out.cookie).header("x-csrf-token", &out.csrf);
    assert_eq!(rig.over_tls(request.body(Body::empty()).unwrap()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(rig.over_tls(show(&out.cookie)).await.status, StatusCode::UNAUTHORIZED);
    rig.office.accounts.add("other", Role::Administrator, PASSWORD.to_owned().into()).await.unwrap();
    let other = rig.signed_in("other").await;
    let token = rig.token(Role::Administrator).await;
    for change in [json!({ "role": "operator" }), json!({ "password": "another good password" })] {
        let alice = rig.signed_in("alice").await;
        let patch = Request::builder().method("PATCH").uri("/api/v1/accounts/alice").header(HOST, "localhost");
        let patch = with_json(patch.header(AUTHORIZATION, format!("Bearer {token}")).header("if-match", "*"), &change);
        assert_eq!(rig.over_tls(patch).await.status, StatusCode::OK);
        assert_eq!(rig.over_tls(show(&alice.cookie)).await.status, StatusCode::UNAUTHORIZED, "{change}");
    }
    assert_eq!(rig.over_tls(show(&other.cookie)).await.status, StatusCode::OK, "others are not meant");
}

#[tokio::test]
async fn only_names_of_ours_are_answered() {
    let rig = Rig::new("rebinding").await;
    let ask =
        |host: &str| Request::builder().uri("/api/v1/openapi.json").header(HOST, host).body(Body::empty()).unwrap();
    for host in
        ["localhost:9443", "core1", "admin.example.com", "ADMIN.example.com:9443", "127.0.0.1:9443", "[::1]:9443"]
    {
        assert_eq!(rig.over_tls(ask(host)).await.status, StatusCode::OK, "{host}");
    }
    for host in ["evil.example", "evil.example:9443", "localhost.evil.example", "", "admin.example.com.evil", "[::1"] {
        let status = rig.over_tls(ask(host)).await.status;
        assert!(host == "[::1" || status == StatusCode::MISDIRECTED_REQUEST, "{host} {status}");
    }
    let none = Request::builder().uri("/api/v1/openapi.json").body(Body::empty()).unwrap();
    assert_eq!(rig.over_tls(none).await.status, StatusCode::BAD_REQUEST);
    let two = Request::builder().uri("https://localhost/api/v1/openapi.json").header(HOST, "core1");
    assert_eq!(rig.over_tls(two.body(Body::empty()).unwrap()).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn guessing_gets_slow_and_says_nothing() {
    let rig = Rig::new("throttle").await;
    rig.office.accounts.add("alice", Role::Operator, PASSWORD.to_owned().into()).await.unwrap();
    let mut said = Vec::new();
    for name in ["alice", "nobody", "../../etc"] {
        let answered = rig.over_tls(sign_in(name, "wrong wrong wrong")).await;
        let mut body = answered.body;
        body["trace_id"] = Value::Null;
        said.push((answered.status, body));
    }
    assert!(said.iter().all(|one| *one == said[0]) && said[0].0 == StatusCode::UNAUTHORIZED, "{said:?}");
    let mut slow = None;
    for _ in 0..8 {
        let answered = rig.over_tls(sign_in("alice", "wrong wrong wrong")).await;
        if answered.status == StatusCode::TOO_MANY_REQUESTS {
            slow = Some(answered);
            break;
        }
    }
    let slow = slow.expect("guessing gets slow");
    assert!(slow.headers.contains_key("retry-after") && slow.body["retry_after"].as_u64().unwrap() >= 1);
    // Elsewhere she signs in all the same.
    let answered = rig.send(Peer::Address("198.51.100.7".parse().unwrap()), sign_in("alice", PASSWORD)).await;
    assert_eq!(answered.status, StatusCode::OK);
}

#[tokio::test]
async fn the_first_code_makes_one_administrator_and_no_second() {
    let rig = Rig::new("first").await;
    rig.office.open().await;
    let file = rig.folder.join("first-code");
    let code = std::fs::read_to_string(&file).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let with = |code: &str, name: &str, password: &str| {
        with_json(
            request("POST", "/api/v1/session/first"),
            &json!({ "code": code, "name": name, "password": password }),
        )
    };
    assert_eq!(rig.over_tls(with("AAAAA-AAAAA", "root", PASSWORD)).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(rig.over_tls(with(&code, "root", "short")).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let answered = rig.over_tls(with(&code, "root", PASSWORD)).await;
    assert_eq!(
        (answered.status, &answered.body["role"]),
        (StatusCode::OK, &json!("administrator")),
        "{}",
        answered.body
    );
    assert!(!file.exists());
    assert_eq!(rig.over_tls(with(&code, "second", PASSWORD)).await.status, StatusCode::UNAUTHORIZED);
    // A code that is a day old is none.
    let code = rig.office.accounts.first_code().await.unwrap();
    rig.pass(24 * 3_600_000 + 1);
    assert_eq!(rig.over_tls(with(&code, "late", PASSWORD)).await.status, StatusCode::UNAUTHORIZED);
    // It is nobody's but of the machine.
    let browser = rig.signed_in("root").await;
    let ask =
        request("POST", "/api/v1/first-code").header(COOKIE, &browser.cookie).header("x-csrf-token", &browser.csrf);
    assert_eq!(rig.over_tls(ask.body(Body::empty()).unwrap()).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let rig = Rig::new("last").await;
    rig.office.accounts.add("only", Role::Administrator, PASSWORD.to_owned().into()).await.unwrap();
    rig.office.accounts.add("bob", Role::Operator, PASSWORD.to_owned().into()).await.unwrap();
    let token = rig.token(Role::Administrator).await;
    let ask = |method: &str, tag: &str, body: Option<Value>| {
        let builder = request(method, "/api/v1/accounts/only").header(AUTHORIZATION, format!("Bearer {token}"));
        let builder = if tag.is_empty() { builder } else { builder.header("if-match", tag) };
        match body {
            Some(body) => with_json(builder, &body),
            None => builder.body(Body::empty()).unwrap(),
        }
    };
    assert_eq!(rig.over_tls(ask("DELETE", "", None)).await.status, StatusCode::PRECONDITION_REQUIRED);
    assert_eq!(rig.over_tls(ask("DELETE", "\"999999\"", None)).await.status, StatusCode::PRECONDITION_FAILED);
    let tag = rig.over_tls(ask("GET", "", None)).await.headers["etag"].to_str().unwrap().to_owned();
    for attempt in [
        ask("DELETE", &tag, None),
        ask("PATCH", &tag, Some(json!({ "role": "operator" }))),
        ask("PATCH", &tag, Some(json!({ "disabled": true }))),
    ] {
        assert_eq!(rig.over_tls(attempt).await.status, StatusCode::CONFLICT);
    }
    rig.office.accounts.add("second", Role::Administrator, PASSWORD.to_owned().into()).await.unwrap();
    assert_eq!(rig.over_tls(ask("DELETE", &tag, None)).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn tokens_end_are_revoked_and_stand_alone() {
    let rig = Rig::new("tokens").await;
    let token = rig.token(Role::ReadOnly).await;
    let ask = |credentials: String| request("GET", "/api/v1/session").header(AUTHORIZATION, credentials);
    let status = |request: Request<Body>| rig.over_tls(request);
    let empty = |builder: http::request::Builder| builder.body(Body::empty()).unwrap();
    assert_eq!(status(empty(ask(format!("Bearer {token}")))).await.status, StatusCode::OK);
    for bad in
        [format!("Bearer {token}x"), "Bearer edgeway_a_b".into(), "Basic YTpi".into(), "Bearer".into(), token.clone()]
    {
        assert_eq!(status(empty(ask(bad.clone()))).await.status, StatusCode::UNAUTHORIZED, "{bad:.12}");
    }
    let browser = rig.browser(Role::ReadOnly).await;
    let both = ask(format!("Bearer {token}")).header(COOKIE, &browser.cookie);
    assert_eq!(status(empty(both)).await.body["code"], "two_credentials");
    let twice = ask(format!("Bearer {token}")).header(AUTHORIZATION, format!("Bearer {token}"));
    assert_eq!(status(empty(twice)).await.body["code"], "two_credentials");
    rig.pass(86_400_000);
    assert_eq!(status(empty(ask(format!("Bearer {token}")))).await.status, StatusCode::UNAUTHORIZED);
    let (kept, text) = rig.office.accounts.add_token("other", Role::ReadOnly, None).await.unwrap();
    assert_eq!(status(empty(ask(format!("Bearer {text}")))).await.status, StatusCode::OK);
    rig.office.accounts.revoke_token(&kept.id).await.unwrap();
    assert_eq!(status(empty(ask(format!("Bearer {text}")))).await.status, StatusCode::UNAUTHORIZED);
    assert!(!serde_json::to_string(&kept.hash).unwrap().contains(text.rsplit('_').next().unwrap()));
}

#[tokio::test]
async fn every_answer_carries_what_keeps_browsers_safe() {
    let rig = Rig::new("headers").await;
    for path in ["/api/v1/openapi.json", "/api/v1/nodes", "/nothing", "/"] {
        let answered = rig.over_tls(request("GET", path).body(Body::empty()).unwrap()).await;
        let field = |name: &str| answered.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
        let policy = field("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path} {policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(field("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(field("cross-origin-opener-policy"), "same-origin", "{path}");
        assert!(field("strict-transport-security").starts_with("max-age="), "{path}");
        assert!(!field("referrer-policy").is_empty() && !field("cache-control").is_empty(), "{path}");
        assert!(!answered.headers.contains_key("access-control-allow-origin"), "{path}");
    }
    let mut japanese = request("GET", "/api/v1/nodes").body(Body::empty()).unwrap();
    japanese.headers_mut().insert("accept-language", "ja".parse().unwrap());
    assert_eq!(rig.over_tls(japanese).await.body["title"], "サインインしていません");
}

#[tokio::test]
async fn what_is_too_large_or_no_json_is_refused() {
    let rig = Rig::new("bodies").await;
    let post = |kind: &str, body: Vec<u8>| {
        request("POST", "/api/v1/session").header(CONTENT_TYPE, kind).body(Body::from(body)).unwrap()
    };
    let large = rig.over_tls(post("application/json", vec![b' '; 1024 * 1024 + 1])).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    for (kind, body, status) in [
        ("application/json", "{", 400),
        ("application/json", "[]", 400),
        ("application/json", "{\"name\":\"a\",\"password\":\"b\",\"more\":1}", 400),
        ("text/plain", "{}", 415),
        ("application/x-www-form-urlencoded", "name=a", 415),
    ] {
        assert_eq!(rig.over_tls(post(kind, body.into())).await.status.as_u16(), status, "{kind} {body}");
    }
}

#[tokio::test]
async fn the_audit_log_has_who_did_what_and_no_secret() {
    let rig = Rig::new("audit").await;
    let browser = rig.browser(Role::Administrator).await;
    let begin = request("PUT", "/api/v1/maintenance/core1").header(COOKIE, &browser.cookie);
    let begin = with_json(begin.header("x-csrf-token", &browser.csrf), &json!({ "within_s": 60 }));
    assert_eq!(rig.over_tls(begin).await.status, StatusCode::OK);
    for _ in 0..100 {
        rig.over_tls(request("GET", "/api/v1/nodes").body(Body::empty()).unwrap()).await;
    }
    rig.over_tls(sign_in("somebody", "a secret of somebody")).await;
    let reader = rig.browser(Role::ReadOnly).await;
    for _ in 0..150 {
        let ask = request("GET", "/api/v1/audit").header(COOKIE, &reader.cookie).body(Body::empty()).unwrap();
        assert_eq!(rig.over_tls(ask).await.status, StatusCode::FORBIDDEN);
    }
    let ask = request("GET", "/api/v1/audit?limit=500").header(COOKIE, &browser.cookie).body(Body::empty()).unwrap();
    let page = rig.over_tls(ask).await.body;
    let lines = page["lines"].as_array().unwrap();
    let of = |action: &str, outcome: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["action"] == action && line["outcome"] == outcome).collect()
    };
    let done = of("PUT /api/v1/maintenance/core1", "done");
    assert_eq!(done.len(), 1, "{page}");
    assert!(done[0]["actor"].as_str().unwrap().starts_with("account administrator-") && done[0]["from"] == "192.0.2.1");
    assert_eq!(of("POST /api/v1/session", "refused: wrong_credentials").len(), 1);
    // Twice as many where another minute, or hour, has begun meanwhile.
    let strangers = of("GET /api/v1/nodes", "refused: not_signed_in").len();
    assert!((30..=60).contains(&strangers), "strangers cannot fill the log: {strangers}");
    let readers = of("GET /api/v1/audit", "refused: not_permitted").len();
    assert!((60..=120).contains(&readers), "nor can who may only look: {readers}");
    assert!(!of("GET /api/v1/audit", "refused: not_permitted; more of this hour are not written").is_empty());
    let text = page.to_string();
    assert!(!text.contains("a secret") && !text.contains(PASSWORD) && !text.contains(&browser.csrf));
}

#[test]
fn nobody_is_led_away() {
    for local in ["/", "/status", "/status/calls?user=a%20b"] {
        assert_eq!(local_path(local), local);
    }
    for foreign in
        ["", "//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb", "evil", "/ä"]
    {
        assert_eq!(local_path(foreign), "/", "{foreign}");
    }
}

#[test]
fn the_description_is_whole() {
    let description = openapi::description();
    let count: usize =
        description["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    assert_eq!(count, routes::all().count());
    let text = description.to_string();
    let references: Vec<_> = text.split("\"#/components/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    for reference in &references {
        assert!(description.pointer(&format!("/components/{reference}")).is_some(), "{reference}");
    }
    for sort in ["responses", "parameters", "schemas"] {
        for name in description["components"][sort].as_object().unwrap().keys() {
            // 405 is what a path answers to a method that is not in the description.
            let used = references.contains(&format!("{sort}/{name}").as_str());
            assert!(used || name == "MethodNotAllowed", "{sort}/{name}");
        }
    }
    for route in routes::all() {
        assert!(Method::from_bytes(route.method.as_bytes()).is_ok() && route.path.starts_with("/api/v1/"));
        for code in route.refusals {
            assert!(edgeway_admin::api::CODES.iter().any(|known| known.name == *code), "{code}");
        }
    }
    let committed = include_str!("../../docs/manual/openapi.json");
    let place = concat!(env!("CARGO_TARGET_TMPDIR"), "/openapi.json");
    std::fs::write(place, openapi::text()).unwrap();
    assert!(committed == openapi::text(), "docs/manual/openapi.json is out of date: copy {place} there");
}

/// A request of an administrator's program.
async fn asked(rig: &Rig, token: &str, order: (&str, &str, Value), if_match: Option<&str>) -> Answered {
    let (method, path, body) = order;
    let mut builder = request(method, path).header("authorization", format!("Bearer {token}"));
    if let Some(tag) = if_match {
        builder = builder.header("if-match", tag);
    }
    rig.over_tls(with_json(builder, &body)).await
}

#[tokio::test]
async fn what_changes_the_configuration_takes_if_match_alike() {
    let rig = Rig::new("if-match").await;
    let token = rig.token(Role::Administrator).await;
    let rule = json!({ "name": "updates", "url": "https://files.example.com/updates" });
    let file = "Url,Deployment,HttpMethods,MatchType,Description\nhttps://files.example.com/more,,GET,,\n";
    let confirmed = json!({ "changes": [{ "path": "domains", "value": ["example.com", "example.net"] }] });
    let orders = [
        ("PUT", "/api/v1/configuration", confirmed),
        ("PUT", "/api/v1/domains/example.org", json!({})),
        ("DELETE", "/api/v1/domains/example.org", Value::Null),
        ("POST", "/api/v1/allow-list/rules", rule.clone()),
        ("PUT", "/api/v1/allow-list/rules/updates", json!({ "url": "https://files.example.com/other" })),
        ("POST", "/api/v1/allow-list/upload", json!({ "csv": file })),
        ("DELETE", "/api/v1/allow-list/rules/updates", Value::Null),
        ("POST", "/api/v1/configuration/rollback", json!({ "to": 1 })),
    ];
    for order in orders {
        let (path, head) = (order.1, rig.office.desk.current().revision);
        let no_tag = (!path.ends_with("rollback")).then_some(StatusCode::PRECONDITION_REQUIRED);
        for (tag, status) in [
            (None, no_tag),
            (Some("\"99\""), Some(StatusCode::PRECONDITION_FAILED)),
            (Some("\"other\""), Some(StatusCode::PRECONDITION_FAILED)),
            (Some("W/*"), Some(StatusCode::BAD_REQUEST)),
        ] {
            let Some(status) = status else { continue };
            let answered = asked(&rig, &token, order.clone(), tag).await;
            assert_eq!(answered.status, status, "{} {path} {tag:?} {}", order.0, answered.body);
        }
        assert_eq!(rig.office.desk.current().revision, head, "{path}");
        let answered = asked(&rig, &token, order.clone(), Some("*")).await;
        assert_eq!(answered.status, StatusCode::OK, "{} {path} {}", order.0, answered.body);
        let tag = format!("\"{}\"", head + 1);
        assert_eq!(answered.headers["etag"].to_str().unwrap(), tag, "{} {path}", order.0);
        assert_eq!(rig.office.desk.current().revision, head + 1, "{path}");
    }
    let newest = format!("\"{}\"", rig.office.desk.current().revision);
    let again = asked(&rig, &token, ("POST", "/api/v1/allow-list/rules", rule), Some(&newest)).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.body);
}

#[tokio::test]
async fn a_list_in_the_place_of_an_object_is_refused_wherever_it_stands() {
    let rig = Rig::new("lists").await;
    let token = rig.token(Role::Administrator).await;
    for order in [
        ("POST", "/api/v1/configuration/plan", json!({ "changes": [["domains", ["example.net"]]] })),
        ("POST", "/api/v1/configuration/plan", json!([null, [], "", null])),
        ("POST", "/api/v1/configuration/plan", json!({ "changes": [{ "path": "domains", "values": [] }] })),
        ("PUT", "/api/v1/configuration", json!({ "changes": [{ "path": "domains" }, ["domains"]] })),
        ("POST", "/api/v1/allow-list/test", json!({ "tests": [["https://files.example.com/", null, null]] })),
        ("POST", "/api/v1/servers/refresh", json!([null, true])),
    ] {
        let path = order.1;
        let answered = asked(&rig, &token, order, Some("*")).await;
        assert_eq!((answered.status.as_u16(), &answered.body["code"]), (400, &json!("bad_body")), "{path}");
    }
}

#[tokio::test]
async fn names_that_are_too_long_are_those_of_nothing_on_every_path() {
    let rig = Rig::new("names").await;
    let token = rig.token(Role::Administrator).await;
    let long = "a".repeat(257);
    let mut paths = 0;
    for route in routes::all().filter(|route| route.path.contains('{') && route.needs != Needs::Socket) {
        let parts = route.path.split('/').map(|part| if part.starts_with('{') { long.as_str() } else { part });
        let path = parts.collect::<Vec<_>>().join("/");
        let answered = asked(&rig, &token, (route.method, &path, json!({})), Some("*")).await;
        assert_eq!(answered.status, StatusCode::NOT_FOUND, "{} {}: {}", route.method, route.path, answered.body);
        paths += 1;
    }
    assert!(paths > 15, "{paths}");
}
