//! Who may see and do what, and what becomes of a form that was filled in for another revision: asked through the door.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::Response;
use edgeway_model::NodeId;
use edgeway_runtime::operate::{self, OperatorPort, Prepared, Refusal, Work};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tower::ServiceExt as _;
use zeroize::Zeroizing;

use super::layout::percent_encoded;
use super::live::{Watchers, keep_ticking};
use super::{LOOK, router, routes};
use crate::accounts::Role;
use crate::api::{Peer, surrounded};
use crate::configuration::{ConfigurationDesk, boot};
use crate::office::{Office, Settled};
use crate::scratch::Scratch;

const PASSWORD: &str = "correct horse battery";
const PEER: Peer = Peer::Address(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

/// What stands in for the node: it takes every configuration, and has nothing to say. The real one is asked in
/// `apps/edgeway/tests`.
fn node() -> OperatorPort {
    let (port, mut asked) = operate::port();
    tokio::spawn(async move {
        while let Some(work) = asked.recv().await {
            match work {
                Work::Ask(_, answer) => drop(answer.send(Err(Refusal::invalid("nothing is asked")))),
                Work::Prepare(_, answer) => drop(answer.send(Ok(Prepared { restart: Vec::new() }))),
                Work::Apply(answer) => drop(answer.send(Ok(()))),
                Work::Abort | Work::Tell(_) => {}
            }
        }
    });
    port
}

struct House {
    office: Arc<Office>,
    door: Router,
    _scratch: Scratch,
}

/// Somebody with a browser.
struct Browser {
    cookie: String,
    csrf: String,
}

impl Browser {
    fn cookie_value(&self) -> &str {
        self.cookie.split_once('=').expect("a pair").1
    }
}

impl House {
    async fn open(name: &str) -> Self {
        Self::around(name, node()).await
    }

    async fn around(name: &str, port: OperatorPort) -> Self {
        let scratch = Scratch::new(name);
        let file = scratch.path().join("core.toml");
        let state_dir = scratch.path().join("state");
        let text = format!(
            "node = \"core1\"\nstate_dir = {state_dir:?}\ndomains = [\"example.com\"]\n\n[sip]\nadvertise = \"10.0.0.4:5060\"\nregistrars = [\"tcp:10.0.0.5:5060\"]\n"
        );
        fs::write(&file, text).expect("written");
        let parts = boot(&file).expect("it starts").parts;
        let store = Arc::clone(&parts.store);
        let desk = ConfigurationDesk::new(parts, port.clone());
        let node = NodeId::new("core1").expect("a name");
        let office = Office::new(port, store, desk, Settled { node, state_dir, names: vec!["localhost".to_owned()] });
        office.open().await;
        let door = surrounded(&office, router(&office));
        Self { office, door, _scratch: scratch }
    }

    async fn browser(&self, name: &str, role: Role) -> Browser {
        let password = || Zeroizing::new(PASSWORD.to_owned());
        self.office.accounts.add(name, role, password()).await.expect("an account");
        let signed = self.office.accounts.sign_in(PEER, name, password()).await.expect("signed in");
        let cookie = signed.cookie.split(';').next().expect("a pair").to_owned();
        Browser { cookie, csrf: signed.actor.csrf().to_owned() }
    }

    async fn ask(&self, method: &str, path: &str, who: Option<&Browser>, fields: &[(&str, &str)]) -> Response {
        let method: Method = method.parse().expect("a method");
        let mut request = Request::builder().method(method.clone()).uri(path).header(header::HOST, "localhost");
        let mut form: Vec<_> = fields.to_vec();
        if let Some(who) = who {
            request = request.header(header::COOKIE, &who.cookie);
            form.push(("csrf", &who.csrf));
        }
        let pair = |(name, value): &(&str, &str)| format!("{name}={}", percent_encoded(value));
        let body = match method.is_safe() {
            true => Body::empty(),
            false => Body::from(form.iter().map(pair).collect::<Vec<_>>().join("&")),
        };
        let mut request =
            request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body).expect("a request");
        request.extensions_mut().insert(PEER);
        self.door.clone().oneshot(request).await.expect("an answer")
    }

    async fn post(&self, path: &str, who: &Browser, fields: &[(&str, &str)]) -> (StatusCode, String) {
        let answer = self.ask("POST", path, Some(who), fields).await;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8(bytes.to_vec()).expect("text"))
    }
}

#[tokio::test]
async fn no_page_and_no_button_is_for_those_who_may_not() {
    let house = House::open("pages-roles").await;
    let reader = house.browser("reader", Role::ReadOnly).await;
    let operator = house.browser("operator", Role::Operator).await;
    for route in routes() {
        let path = route.path.replace("{name}", "none.css");
        let said = format!("{} {path}", route.method);
        let Some(role) = route.needs else { continue };
        let stranger = house.ask(route.method, &path, None, &[]).await;
        let place = stranger.headers().get(header::LOCATION).and_then(|place| place.to_str().ok());
        let is_sent = stranger.status().is_redirection() && place.is_some_and(|place| place.starts_with("/sign-in"));
        assert!(is_sent || [401, 403].contains(&stranger.status().as_u16()), "{said}: {}", stranger.status());

        for (who, is) in [(&reader, Role::ReadOnly), (&operator, Role::Operator)] {
            // Whoever signs out would be nobody for the rest.
            if route.path == "/sign-out" {
                continue;
            }
            let status = house.ask(route.method, &path, Some(who), &[]).await.status();
            assert_eq!(status == StatusCode::FORBIDDEN, is < role, "{said}, {}: {status}", is.as_str());
        }
        if route.method == "POST" {
            assert_eq!(role == LOOK.expect("a role"), route.path == "/sign-out", "{said} changes something");
        }
    }
}

#[tokio::test]
async fn what_takes_no_role_shows_nothing_and_changes_nothing() {
    let open: Vec<_> =
        routes().into_iter().filter(|route| route.needs.is_none()).map(|route| (route.method, route.path)).collect();
    let expected = [
        ("GET", "/"),
        ("GET", "/assets/{name}"),
        ("GET", "/preferences"),
        ("GET", "/sign-in"),
        ("POST", "/sign-in"),
        ("GET", "/first-sign-in"),
        ("POST", "/first-sign-in"),
    ];
    assert_eq!(open, expected);
}

#[tokio::test]
async fn whoever_may_look_no_more_is_told_nothing_any_more() {
    let house = House::open("pages-live").await;
    let reader = house.browser("reader", Role::ReadOnly).await;
    let answer = house.ask("GET", "/live", Some(&reader), &[]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let event = answer.into_body().frame().await.expect("an event").expect("it is sent").into_data().expect("data");
    assert!(event.starts_with(b"event: look"));

    let place = Watchers::default().enter("account reader").expect("room");
    let (tick, mut ticks) = mpsc::channel(1);
    let actor = house.office.accounts.by_cookie(reader.cookie_value()).await.expect("asked").expect("signed in");
    let ticking = keep_ticking(Arc::clone(&house.office), actor, place, tick, Duration::from_millis(20));
    let ticking = tokio::spawn(ticking);
    assert_eq!(ticks.recv().await, Some(()));
    house.office.accounts.remove("reader", None).await.expect("removed");
    ticking.await.expect("it ends by itself");
}

#[tokio::test]
async fn a_form_that_was_made_from_another_revision_changes_nothing() {
    let house = House::open("pages-revisions").await;
    let admin = house.browser("admin", Role::Administrator).await;
    let desk = &house.office.desk;
    let changes = "[{\"path\":\"domains\",\"value\":[\"example.org\"]}]";
    let apply = [("revision", "1"), ("changes", changes)];
    let (status, _) = house.post("/configuration/apply", &admin, &apply).await;
    assert_eq!((status, desk.current().revision), (StatusCode::SEE_OTHER, 2));

    let document = desk.current().document;
    let server = [("product", "unified_cm"), ("address", "cm.example"), ("user", "u"), ("password", "p")];
    let forms: [(&str, &[(&str, &str)]); 7] = [
        ("/configuration/document", &[("document", &document)]),
        ("/configuration/unified-communications", &[("path_headers", "off")]),
        (
            "/configuration/unified-communications/domains",
            &[("deployment", "default"), ("domain", "example.net"), ("what", "add")],
        ),
        ("/configuration/unified-communications/deployments", &[("name", "lab"), ("domain", "lab.example")]),
        ("/configuration/servers", &server),
        ("/configuration/servers/remove", &[("product", "unified_cm"), ("publisher", "cm.example")]),
        ("/configuration/history/rollback", &[("head", "1")]),
    ];
    for (path, fields) in forms {
        let (status, text) = house.post(path, &admin, &[fields, &[("revision", "1")]].concat()).await;
        assert_eq!(status, StatusCode::CONFLICT, "{path}");
        assert!(text.contains("the newest revision is 2"), "{path}: {text}");
    }
    assert_eq!(desk.current().revision, 2);
    let (status, text) = house.post(forms[1].0, &admin, &[("path_headers", "off"), ("revision", "2")]).await;
    assert!(status == StatusCode::OK && text.contains("sip.path_headers"), "{status}: {text}");
    let (status, _) = house.post(forms[6].0, &admin, &[("head", "2"), ("revision", "1")]).await;
    assert_eq!((status, desk.current().revision), (StatusCode::SEE_OTHER, 3));
}

#[tokio::test]
async fn only_the_times_that_are_offered_can_be_asked_for() {
    let house = House::open("pages-confirm").await;
    let admin = house.browser("admin", Role::Administrator).await;
    for (confirm, expected) in [("18446744073709551615", 400), ("3", 400), ("5", 303)] {
        let changes = "[{\"path\":\"domains\",\"value\":[\"example.org\"]}]";
        let apply = [("revision", "1"), ("changes", changes), ("confirm", confirm)];
        let (status, _) = house.post("/configuration/apply", &admin, &apply).await;
        assert_eq!(status.as_u16(), expected, "{confirm}");
    }
}

#[tokio::test]
async fn a_password_in_the_text_is_not_sent_back() {
    let house = House::open("pages-passwords").await;
    let admin = house.browser("admin", Role::Administrator).await;
    let document = house.office.desk.current().document;
    let with = |password: &str| {
        format!("{document}\n[[unified_cm]]\naddress = \"cm.example\"\nuser = \"u\"\npassword = \"{password}\"\n")
    };
    let text = with("hunter2 hunter2");
    let fields = [("revision", "1"), ("document", text.as_str())];
    let (status, page) = house.post("/configuration/document", &admin, &fields).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.contains("set passwords under Servers") && !page.contains("hunter2"), "{page}");
    // Nor where the text is none: what else was typed is.
    for password in ["password = \"hunter2", "\"password\" = 'hunter2'", "password = \"\"\"\nhunter2\"\"\""] {
        let text = format!("domains = [\"kept.example\"]\n[[unified_cm]]\n{password}\nuser = = \"u\"\n");
        let fields = [("revision", "1"), ("document", text.as_str())];
        let (status, page) = house.post("/configuration/document", &admin, &fields).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(page.contains("kept.example") && !page.contains("hunter2"), "{page}");
    }
    let fields = [("revision", "1"), ("document", document.as_str())];
    let (status, page) = house.post("/configuration/document", &admin, &fields).await;
    assert_eq!(status, StatusCode::OK, "{page}");
}

#[tokio::test]
async fn the_audit_log_says_what_became_of_an_order_and_whom_it_was_about() {
    let house = House::open("pages-audit").await;
    let admin = house.browser("admin", Role::Administrator).await;
    house.post("/maintenance/maintenance-mode/start", &admin, &[("node", "edge1")]).await;
    let call = [("node", "edge1"), ("id", "17"), ("call_id", "talk@10.0.0.1")];
    house.post("/status/calls/end", &admin, &call).await;
    house.post("/users/people/revoke", &admin, &[("user", "alice")]).await;
    house.post("/configuration/history/confirm", &admin, &[("revision", "7")]).await;
    let account = [("name", "bob"), ("role", "operator"), ("password", PASSWORD)];
    house.post("/users/administrators", &admin, &account).await;
    house.post("/users/administrators", &admin, &account).await;
    house.post("/users/administrators/change", &admin, &[("name", "bob"), ("what", "remove")]).await;
    let lines = house.office.stored(|store| store.audited(None, 10)).await.expect("the log");
    let mut said: Vec<_> = lines.iter().map(|line| line.outcome.as_str()).collect();
    said.reverse();
    let expected = [
        "failed (node edge1)",
        "failed (call edge1/17 talk@10.0.0.1)",
        "failed",
        "failed (revision 7)",
        "done (account bob: operator)",
        "422 (account bob: operator)",
        "done (account bob: remove)",
    ];
    assert_eq!(said, expected);
}

/// Markup that says where it was written.
fn evil(place: &str) -> String {
    format!("\"'><img src=x onerror=hurt({place})></textarea><script>hurt({place})</script>\u{202e}")
}

/// Every text that a node can say, in one answer that fits every question: strangers have written all of it.
fn hostile() -> serde_json::Value {
    use serde_json::json;
    let all = |names: &[&str]| {
        let pairs = names.iter().map(|name| ((*name).to_owned(), json!(evil(name))));
        serde_json::Value::Object(pairs.collect())
    };
    let with = |mut object: serde_json::Value, more: serde_json::Value| {
        for (name, value) in more.as_object().expect("an object") {
            object[name] = value.clone();
        }
        object
    };
    let row = all(&[
        "aor",
        "device",
        "user_agent",
        "client",
        "transport",
        "edge",
        "core",
        "registrar",
        "id",
        "call_id",
        "from",
        "to",
        "state",
        "media",
        "jid",
        "domain",
        "deployment",
        "server",
        "level",
        "text",
        "user",
        "kind",
        "outcome",
        "reason",
        "words",
        "code",
        "detail",
        "trace",
        "first_line",
        "decision",
        "url",
        "description",
    ]);
    let chat = with(row.clone(), json!({ "id": 7, "number": 7 }));
    let part = all(&["part_name", "part_state"]);
    let service = json!({
        "name": evil("service"), "state": evil("service_state"), "notes": [evil("note")],
        "parts": [{ "name": part["part_name"], "state": part["part_state"] }],
    });
    let link = with(all(&["peer", "media_path", "trouble"]), json!({ "state": "up" }));
    let zone = all(&["name", "zone", "address", "transport", "why", "state", "deployment"]);
    let alarm = all(&["severity", "alarm", "about", "cause", "action", "node"]);
    let alarm = with(alarm.clone(), json!({ "id": alarm["alarm"] }));
    let certificate =
        with(all(&["issuer", "fingerprint"]), json!({ "use": "admin", "names": [evil("certificate_name")] }));
    let drift = json!([{ "text": evil("drift"), "meaning": evil("meaning") }]);
    let cluster =
        json!({ "version": evil("cluster_version"), "nodes": [{ "name": evil("cluster_node"), "publisher": false }] });
    let server = all(&["product", "publisher", "reason", "action", "state"]);
    let server = with(server, json!({ "deployment": evil("server_deployment"), "drift": drift, "cluster": cluster }));
    json!({
        "node": evil("node_name"), "role": "core", "version": evil("node_version"), "services": [service], "links": [link],
        "registrars": [zone], "alarms": [alarm], "domains": [evil("served")], "certificates": [certificate],
        "registrations": [row], "calls": [row], "chats": [chat], "events": [row], "attempts": [row], "messages": [row],
        "rules": [row], "servers": [server], "total": 1,
    })
}

#[tokio::test]
async fn whatever_is_said_is_shown_and_does_nothing() {
    let (port, mut asked) = operate::port();
    tokio::spawn(async move {
        while let Some(work) = asked.recv().await {
            match work {
                Work::Ask(question, answer) => {
                    let mut said = hostile();
                    // A status counts them.
                    if question.path == "status" {
                        for count in ["registrations", "calls", "chats"] {
                            said[count] = serde_json::json!({ "current": 1, "peak": 1 });
                        }
                    }
                    drop(answer.send(Ok(said)));
                }
                Work::Prepare(_, answer) => drop(answer.send(Ok(Prepared { restart: Vec::new() }))),
                Work::Apply(answer) => drop(answer.send(Ok(()))),
                Work::Abort | Work::Tell(_) => {}
            }
        }
    });
    let house = House::around("pages-hostile", port).await;
    let admin = house.browser("admin", Role::Administrator).await;
    let mut whole = String::new();
    let pages =
        routes().into_iter().filter(|route| route.method == "GET" && route.needs.is_some() && route.path != "/live");
    for path in pages.map(|route| route.path).chain(["/status/ladder?user=x", "/status/ladder?call_id=x"]) {
        let answer = house.ask("GET", path, Some(&admin), &[]).await;
        let kind = answer.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        if !kind.starts_with("text/html") {
            continue;
        }
        let text = String::from_utf8(body.to_vec()).expect("text");
        for bad in ["<img", "<script>", "</textarea><script", "onerror=hurt(x", "\u{202e}", "\"'>"] {
            assert!(!text.contains(bad), "{path} has {bad}");
        }
        whole.push_str(&text);
    }
    let places = [
        "aor",
        "device",
        "user_agent",
        "client",
        "edge",
        "core",
        "registrar",
        "from",
        "to",
        "jid",
        "text",
        "user",
        "code",
        "detail",
        "first_line",
        "decision",
        "service",
        "service_state",
        "note",
        "part_name",
        "part_state",
        "peer",
        "trouble",
        "zone",
        "address",
        "why",
        "alarm",
        "about",
        "cause",
        "action",
        "issuer",
        "certificate_name",
        "drift",
        "meaning",
        "cluster_version",
        "cluster_node",
        "publisher",
        "server_deployment",
        "served",
        "node_version",
    ];
    let is_missing = |place: &&&str| !whole.contains(&format!("onerror=hurt({place})"));
    let missing: Vec<_> = places.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "shown nowhere: are they looked for where they stand? {missing:?}");
}
