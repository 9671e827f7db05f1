//! A signed-in user asks for what is nobody's, in every spelling known, through everything that stands between the
//! edge and the servers inside. Real sockets stand where requests could go astray: not one is dialled.

use std::cell::RefCell;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use edgeway_config::parse_core;
use edgeway_connectors::inside::CoreInside;
use edgeway_connectors::users_file::edit::{Change, Costs, change, hash};
use edgeway_model::NodeId;
use edgeway_model::sign_in::UserName;
use edgeway_runtime::http::{Body, Inside as _, Teller};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("edgeway-hostile-urls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder of our own");
        Self(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server that answers everything with 200 and keeps the request lines.
#[derive(Clone, Default)]
struct Server(Rc<RefCell<Vec<String>>>);

impl Server {
    /// On an address of this machine.
    fn start(&self, listener: TcpListener) {
        let lines = Rc::clone(&self.0);
        spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // A connection without a request is a dial all the same.
                lines.borrow_mut().push("dialled".to_owned());
                let lines = Rc::clone(&lines);
                spawn_local(async move {
                    let mut asked = Vec::new();
                    while let Ok(1..) = stream.read_buf(&mut asked).await {
                        if asked.ends_with(b"\r\n\r\n") {
                            let text = String::from_utf8_lossy(&asked).into_owned();
                            lines.borrow_mut().push(text.lines().next().unwrap_or_default().to_owned());
                            asked.clear();
                            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                            let _ = stream.write_all(answer).await;
                        }
                    }
                });
            }
        });
    }

    fn requests(&self) -> Vec<String> {
        self.0.borrow().iter().filter(|line| *line != "dialled").cloned().collect()
    }

    fn is_untouched(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

/// A core's inside with one user and one rule.
fn inside(scratch: &Path, port: u16) -> Rc<CoreInside> {
    let write = |name: &str, text: &str| {
        let file = scratch.join(name);
        std::fs::write(&file, text).expect("a writable folder");
        file
    };
    let alice = UserName::new("alice").expect("a name");
    let users = scratch.join("users");
    let password = hash(b"wonderland", Costs::LEAST).expect("a hash");
    change(&users, &alice, Change::Add { hash: &password, numbers: "", devices: "" }).expect("a user");
    let head = "Url,Deployment,HttpMethods,MatchType,Description";
    let rules =
        format!("{head}\nhttp://127.0.0.1:{port}/updates,,GET,,\nhttp://127.0.0.1:{port}/cucm-uds,,GET,,Wide\n");
    let rules = write("allow.csv", &rules);
    let settings = format!(
        "node = \"core1\"\ndomains = [\"example.com\"]\nstate_dir = {scratch:?}\n[sip]\nlisten = [\"127.0.0.1:5060\"]\n\
         registrars = [\"tcp:127.0.0.1:5061\"]\n[sign_in]\nauthority = \"users\"\nusers_file = {users:?}\n\
         [http]\nallow_list = {rules:?}\n"
    );
    let settings = parse_core(&settings, "core.toml").expect("good settings");
    CoreInside::new(&settings, Teller::new().0).expect("a core")
}

async fn ask(inside: &Rc<CoreInside>, path: &str, field: (&str, &str)) -> Option<Response<Body>> {
    let body = UnsyncBoxBody::new(Empty::<Bytes>::new().map_err(|never| match never {}));
    // What no client can put into a request line never comes as far as this.
    let request = Request::get(path).header(field.0, field.1).body(body).ok()?;
    let edge = NodeId::new("edge1").expect("a name");
    Some(Rc::clone(inside).serve(edge, request).await)
}

async fn signed_in(inside: &Rc<CoreInside>) -> String {
    let path = format!("/{}/get_edge_config", STANDARD_NO_PAD.encode("example.com"));
    let basic = format!("Basic {}", STANDARD_NO_PAD.encode("alice:wonderland"));
    let answer = ask(inside, &path, ("authorization", &basic)).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    let cookie = answer.headers().get("set-cookie").and_then(|value| value.to_str().ok()).expect("a cookie");
    cookie.split(';').next().expect("a pair").to_owned()
}

/// Hosts that lead, or could lead, to this machine, and are not the rule's.
const HOSTS: &[&str] = &[
    "127.1",
    "127.0.1",
    "127.0.0.01",
    "0127.0.0.1",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "0X7F000001",
    "2130706433",
    "017700000001",
    "127.0.0.1.",
    "127.0.0.2",
    "127.255.255.254",
    "0.0.0.0",
    "0",
    "00.0.0.0",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "ip6-localhost",
    "[::1]",
    "::1",
    "[::]",
    "::",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "::ffff:127.0.0.1",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]",
    "[::ffff:0:127.0.0.1]",
    "[::1%25lo]",
    "[::1%lo]",
    "[127.0.0.1]",
    "127.0.0.1:80",
    "127.0.0.1@a",
    "a@127.0.0.1",
    "127.0.0.1#a",
    "127.0.0.1?a",
    "127.0.0.1\\a",
    "127.0.0.1%00",
    "127.0.0.1%2e",
    "127%2e0%2e0%2e1",
    "127.0.0.1 ",
    " 127.0.0.1",
    "127.0.0.1\t",
    "127.0.0.1\r\n",
    "127.0.0.1\0",
    "127\u{3002}0\u{3002}0\u{3002}1",
    "\u{ff11}27.0.0.1",
    "\u{2460}27.0.0.1",
    "127.0.0.1,a",
    "127.0.0.1;a",
    "127.0.0.1.nip.io",
    "a.127.0.0.1",
    "127.0.0.1.1",
    "127..0.0.1",
    ".127.0.0.1",
    "-127.0.0.1",
    "*",
    "",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "metadata.google.internal",
];

/// Paths behind the rule's host that are not the rule's.
const PATHS: &[&str] = &[
    "/",
    "/admin",
    "/update",
    "/updates2",
    "/Updates",
    "/updates.bak",
    "/x/updates",
    "//updates",
    "/updates//x",
    "/updates/..",
    "/updates/../admin",
    "/updates/./../admin",
    "/./updates",
    "/updates/%2e%2e/admin",
    "/updates/%2E./admin",
    "/updates/.%2e/admin",
    "/updates/%252e%252e/admin",
    "/updates/..%2fadmin",
    "/updates%2f..%2fadmin",
    "/updates/..%5cadmin",
    "/updates/..\\admin",
    "\\updates",
    "/updates\\",
    "/updates/..;/admin",
    "/updates;/../admin",
    "/updates;x",
    "/updates%3bx",
    "/updates/%00",
    "/updates/%0d%0aHost:%20a",
    "/updates/%c0%ae%c0%ae/admin",
    "/updates/%c0%af..",
    "/updates/%e0%80%af",
    "/updates/%ef%bc%8f..",
    "/updates/%ef%bc%8e%ef%bc%8e/a",
    "/updates/%u002e%u002e/a",
    "/updates/%",
    "/updates/%2",
    "/updates/%gg",
    "/updates/%25",
    "/updates/%3f",
    "/updates/%23",
    "/updates/a b",
    "/updates/\t",
    "/updates/\r\nX: y",
    "/updates/\u{fc}",
    "/updates/<a>",
    "/updates/{user}",
    "/updates/\"",
    "/updates?%0d%0aX:y",
    "/updates?%00",
    "/updates?a\\b",
    "/?/updates",
    "/%75pdates2",
    "/updates/...",
    "/updates/%2e",
    "/%2e%2e/updates",
    "/updates/%2e%2e",
    "/updates/a/../../admin",
    "/cucm-uds/user/bob",
    "/cucm-uds/user/bob/devices",
    "/cucm-uds/user/%62ob",
    "/CUCM-UDS/user/bob",
    "/cucm-uds/USER/bob",
    "/cucm-uds/user",
    "/cucm-uds/user/",
    "/cucm-uds/user//alice",
    "/cucm-uds/user/alice%20",
    "/cucm-uds/user/%20alice",
    "/cucm-uds/user/alice%00",
    "/cucm-uds/user/alice/../bob",
    "/cucm-uds/user/alice%2f..%2fbob",
    "/cucm-uds/user/alice;/../bob",
    "/cucm-uds/./user/bob",
    "/cucm-uds/x/../user/bob",
    "/cucm-uds/%75ser/bob",
    "/cucm-uds/user/alic%65x",
    "/cucm-uds/user/alice@example.com",
    "/headset/config/user/bob",
];

fn with_runtime(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tasks = LocalSet::new();
    let whole = async { tokio::time::timeout(Duration::from_secs(60), tasks.run_until(test)).await };
    runtime.block_on(whole).expect("no request hangs");
}

#[test]
fn no_byte_reaches_a_host_it_should_not() {
    assert!(HOSTS.len() + PATHS.len() > 140, "{} and {}", HOSTS.len(), PATHS.len());
    with_runtime(async {
        let scratch = Scratch::new();
        let (allowed, canary) = (Server::default(), Server::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        allowed.start(listener);
        // The same port elsewhere on this machine, where the system has those addresses; and another port.
        for address in [format!("127.0.0.2:{port}"), format!("127.255.255.254:{port}"), format!("[::1]:{port}")] {
            if let Ok(listener) = TcpListener::bind(address).await {
                canary.start(listener);
            }
        }
        let other = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let other_port = other.local_addr().expect("an address").port();
        canary.start(other);

        let inside = inside(&scratch.0, port);
        let token = signed_in(&inside).await;
        let descriptor = |descriptor: &str, path: &str| format!("/{}{path}", STANDARD_NO_PAD.encode(descriptor));
        let mut hostile = Vec::new();
        for host in HOSTS {
            hostile.push(descriptor(&format!("example.com/http/{host}/{port}"), "/updates"));
        }
        for path in PATHS {
            hostile.push(descriptor(&format!("example.com/http/127.0.0.1/{port}"), path));
        }
        for odd in [
            format!("example.com/https/127.0.0.1/{port}"),
            format!("example.com/http/127.0.0.1/{other_port}"),
            format!("example.com/http/127.0.0.1/0{port}"),
            format!("example.com/http/127.0.0.1/+{port}"),
            format!("example.com/http/127.0.0.1/{}", u32::from(port) + 65_536),
            format!("example.com/http/127.0.0.1/{port}/x"),
            format!("example.com/ftp/127.0.0.1/{port}"),
            format!("example.com//127.0.0.1/{port}"),
            format!("other.com/http/127.0.0.1/{port}"),
            format!("/http/127.0.0.1/{port}"),
            "example.com/http/127.0.0.1".to_owned(),
        ] {
            hostile.push(descriptor(&odd, "/updates"));
        }
        for path in &hostile {
            let Some(answer) = ask(&inside, path, ("cookie", &token)).await else { continue };
            let refused = [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST];
            assert!(refused.contains(&answer.status()), "{path} is answered with {}", answer.status());
        }
        assert!(allowed.is_untouched(), "{:?}", allowed.0.borrow());
        assert!(canary.is_untouched(), "{:?}", canary.0.borrow());

        // What the operator is shown is what is in force.
        let shown = Rc::clone(&inside).operate("allow-list".into(), serde_json::Value::Null).await.expect("rules");
        let rule = &shown["rules"][0];
        assert_eq!(rule["url"], format!("http://127.0.0.1:{port}/updates"));
        assert_eq!((&rule["deployment"], &rule["match_type"]), (&"default".into(), &"prefix".into()));
        assert_eq!((&rule["methods"][0], &rule["automatic"]), (&"GET".into(), &serde_json::Value::Null));

        // The same client gets what it may have: what was refused was refused for its URL.
        for (path, sent) in [
            ("/updates/a.zip?x=../y", "/updates/a.zip?x=../y"),
            ("/%75pdates/%7ea", "/updates/~a"),
            ("/cucm-uds/user/Alice/devices", "/cucm-uds/user/Alice/devices"),
        ] {
            let path = descriptor(&format!("example.com/http/127.0.0.1/{port}"), path);
            let answer = ask(&inside, &path, ("cookie", &token)).await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            let body = answer.into_body().collect().await.map(http_body_util::Collected::to_bytes);
            assert_eq!(body.ok().as_deref(), Some(&b"ok"[..]));
            assert_eq!(allowed.requests().last().map(String::as_str), Some(format!("GET {sent} HTTP/1.1").as_str()));
        }
        assert!(canary.is_untouched(), "{:?}", canary.0.borrow());
    });
}
