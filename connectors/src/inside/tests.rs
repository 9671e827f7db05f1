use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use edgeway_config::parse_core;
use edgeway_http_proxy::carried;
use edgeway_runtime::pki::Authority as Ca;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::*;
use crate::scratch::Scratch;
use crate::users_file::edit::{Costs, hash};

/// alice:right, alice:other, bob:right.
const ALICE: &str = "Basic YWxpY2U6cmlnaHQ=";
const ALICE_OTHER: &str = "Basic YWxpY2U6b3RoZXI=";
const BOB: &str = "Basic Ym9iOnJpZ2h0";

/// A server inside: answers everything with 200, but 401 where it is locked, and remembers what it was asked.
#[derive(Clone, Default)]
struct Asked(Rc<std::cell::RefCell<Vec<String>>>);

impl Asked {
    async fn serve(self, listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let asked = self.clone();
            spawn_local(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let status = if head.contains("/locked") { "401 Unauthorized" } else { "200 OK" };
                asked.0.borrow_mut().push(head);
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut())
    }
}

fn settings(folder: &Path, server: SocketAddr) -> CoreSettings {
    let hashed = hash(b"right", Costs::LEAST).unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    write("users", format!("alice:{hashed}\nbob:{hashed}\n"));
    write("ca.pem", Ca::ephemeral().unwrap().certificate_pem());
    let rule = |path: &str| format!("http://{server}{path},default,GET,prefix,\n");
    let rules = format!("Url,Deployment,HttpMethods,MatchType,Description\n{}{}", rule("/files"), rule("/cucm-uds"));
    write("rules.csv", rules);
    let folder = folder.display();
    let text = format!(
        "node = \"core1\"\nstate_dir = \"{folder}\"\ndomains = [\"example.com\"]\n[sip]\nlisten = [\"127.0.0.1:5070\"]\n\
         registrars = [\"tcp:127.0.0.1:5071\"]\n[media]\naddress = \"127.0.0.1\"\nports = \"14900-14999\"\n\
         [sign_in]\nauthority = \"users\"\nusers_file = \"{folder}/users\"\n\
         [http]\nallow_list = \"{folder}/rules.csv\"\nca = \"{folder}/ca.pem\"\n\
         [[deployment]]\nname = \"other\"\ndomains = [\"example.net\"]\nregistrars = [\"tcp:127.0.0.2:5071\"]\n\
         authority = \"users\"\nusers_file = \"{folder}/users\"\n"
    );
    parse_core(&text, "test").unwrap_or_else(|problems| panic!("{problems}"))
}

fn descriptor(domain: &str, server: SocketAddr, path: &str) -> String {
    use base64::Engine as _;
    let text = format!("{domain}/http/{}/{}", server.ip(), server.port());
    format!("/{}{path}", base64::engine::general_purpose::STANDARD_NO_PAD.encode(text))
}

async fn get(inside: &Rc<CoreInside>, path: &str, fields: &[(&str, &str)]) -> (u16, HeaderMap, String) {
    let mut request = Request::builder().uri(format!("https://edge.example.com:8443{path}"));
    request = request.header(carried::CLIENT, "192.0.2.1:4711").header(carried::REQUEST, "00000000000000ff");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let body: Body = UnsyncBoxBody::new(Empty::<Bytes>::new().map_err(|never| match never {}));
    let edge = NodeId::new("edge1").unwrap();
    let response = Rc::clone(inside).serve(edge, request.body(body).unwrap()).await;
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), head.headers, String::from_utf8_lossy(&body).into_owned())
}

async fn cookie(inside: &Rc<CoreInside>) -> String {
    let (status, fields, _) = get(inside, "/ZXhhbXBsZS5jb20/get_edge_config", &[("authorization", ALICE)]).await;
    assert_eq!(status, 200);
    fields.get("set-cookie").unwrap().to_str().unwrap().split(';').next().unwrap().to_owned()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn a_request_reaches_a_server_for_its_own_user_only() {
    run(async {
        let scratch = Scratch::new("inside-lane");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let asked = Asked::default();
        spawn_local(asked.clone().serve(listener));
        let inside = CoreInside::new(&settings(scratch.path(), server), Teller::new().0).unwrap();
        let token = cookie(&inside).await;
        let token = ("cookie", token.as_str());
        let auth = |value| ("authorization", value);
        type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16);
        let cases: [Case<'_>; 14] = [
            ("example.com", "/files/jabber-config.xml", &[token], 200),
            ("example.com", "/files/jabber-config.xml", &[auth(ALICE)], 200),
            ("example.com", "/cucm-uds/user/alice/devices", &[token, auth(ALICE_OTHER)], 200),
            ("example.com", "/cucm-uds/user/ALICE", &[token, auth("Bearer abc")], 200),
            ("example.com", "/files/jabber-config.xml", &[], 401),
            ("example.com", "/files/jabber-config.xml", &[auth(ALICE_OTHER)], 401),
            ("example.com", "/files/jabber-config.xml", &[("cookie", "X-Auth=AQID")], 401),
            ("example.com", "/files/jabber-config.xml", &[token, auth(BOB)], 403),
            ("example.com", "/cucm-uds/user/bob/devices", &[token], 403),
            ("example.com", "/cucm-uds/user/bob/devices", &[token, auth(BOB)], 403),
            ("example.com", "/secret", &[token], 403),
            ("example.com", "/files/../secret", &[token], 403),
            ("example.net", "/files/jabber-config.xml", &[token], 403),
            ("example.org", "/files/jabber-config.xml", &[token], 403),
        ];
        for (domain, path, fields, wanted) in cases {
            let (status, headers, body) = get(&inside, &descriptor(domain, server, path), fields).await;
            assert_eq!(status, wanted, "{domain} {path} {}", fields.len());
            let seen = asked.take();
            if wanted == 200 {
                assert_eq!((seen.len(), body.as_str()), (1, "hello"), "{path}");
                let seen = seen[0].to_lowercase();
                assert!(seen.starts_with(&format!("get {} http/1.1\r\n", path.to_lowercase())), "{seen}");
                assert!(!seen.contains("x-auth") && !seen.contains("edgeway-"), "{seen}");
                assert!(seen.contains("client-ip: 192.0.2.1\r\n"), "{seen}");
            } else {
                assert!(seen.is_empty(), "nothing reaches the server: {seen:?}");
                assert!(!headers.contains_key("set-cookie"));
            }
        }
        // Its user and password hold in the other deployment as well, and its servers do not.
        let elsewhere = descriptor("example.net", server, "/files/jabber-config.xml");
        assert_eq!(get(&inside, &elsewhere, &[auth(ALICE)]).await.0, 403);
        assert!(asked.take().is_empty());
        assert_eq!(get(&inside, "/no-lane/at/all", &[token]).await.0, 404);
    });
}

/// A bearer token of call managers that names this user, and is signed by nobody.
fn bearer(user: &str) -> String {
    use base64::Engine as _;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{{\"sub\":\"{user}\"}}"));
    format!("Bearer e30.{claims}.c2ln")
}

#[test]
fn beside_a_token_go_credentials_of_its_user_and_nothing_that_only_the_server_can_read() {
    run(async {
        let scratch = Scratch::new("inside-beside");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let asked = Asked::default();
        spawn_local(asked.clone().serve(listener));
        let inside = CoreInside::new(&settings(scratch.path(), server), Teller::new().0).unwrap();
        let token = cookie(&inside).await;
        let path = descriptor("example.com", server, "/files/x");
        let (ours, theirs) = (bearer("Alice"), bearer("bob"));
        let [address, elsewhere, also] = ["alice@Example.com", "alice@example.net", "bob@example.com"].map(bearer);
        let cases: [(&[&str], u16); 17] = [
            (&["Basic YWxpY2U6b3RoZXI="], 200),
            (&["bAsIc   YWxpY2U6b3RoZXI"], 200),
            (&[&ours], 200),
            (&["Bearer opaque"], 200),
            (&[&theirs], 403),
            // An IM server's token for files names the whole address.
            (&[&address], 200),
            (&[&elsewhere], 403),
            (&[&also], 403),
            (&[BOB], 403),
            (&["Basic Ym9iOnJpZ2g9====="], 400),
            (&["Basic Ym9iOnI="], 403),
            // The last character says more than any encoder would: some decoders read bob:r all the same.
            (&["Basic Ym9iOnJ="], 400),
            (&["Basic Ym9i OnJpZ2h0"], 400),
            (&["Digest username=\"bob\""], 400),
            (&["NTLM TlRMTVNTUAABAAAA"], 400),
            (&["Negotiate YIIB"], 400),
            (&[ALICE, BOB], 400),
        ];
        for (values, wanted) in cases {
            let fields = values.iter().map(|value| ("authorization", *value));
            let fields: Vec<_> = std::iter::once(("cookie", token.as_str())).chain(fields).collect();
            assert_eq!(get(&inside, &path, &fields).await.0, wanted, "{values:?}");
            let seen = asked.take();
            assert_eq!(seen.len(), usize::from(wanted == 200), "{values:?}");
            let Some(seen) = seen.first() else { continue };
            let shown: Vec<_> = seen.lines().filter(|line| line.to_lowercase().starts_with("authorization:")).collect();
            let read = if values[0].starts_with("Bearer") { values[0] } else { "Basic YWxpY2U6b3RoZXI=" };
            assert_eq!(shown.len(), 1);
            assert!(shown[0].ends_with(&format!(": {read}")), "{shown:?}");
        }
        // Without a token there is nothing to ride on: what cannot be read is no credentials.
        for values in [&["Negotiate YIIB"][..], &[ALICE, BOB]] {
            let fields: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
            assert_eq!(get(&inside, &path, &fields).await.0, 401, "{values:?}");
        }
        assert!(asked.take().is_empty());
    });
}

#[test]
fn who_holds_a_token_guesses_no_more_often_than_anybody() {
    use base64::Engine as _;
    run(async {
        let scratch = Scratch::new("inside-guesses");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let asked = Asked::default();
        spawn_local(asked.clone().serve(listener));
        let inside = CoreInside::new(&settings(scratch.path(), server), Teller::new().0).unwrap();
        let token = cookie(&inside).await;
        let (open, locked) =
            (descriptor("example.com", server, "/files/x"), descriptor("example.com", server, "/files/locked"));
        let basic = |password: &str| {
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("alice:{password}")))
        };
        let ride = async |path: &str, value: &str| {
            let (status, fields, _) = get(&inside, path, &[("cookie", &token), ("authorization", value)]).await;
            (status, fields.contains_key("retry-after"))
        };
        // The server has a password of its own: it counts once. What is known, or names its user, never does.
        for _ in 0..20 {
            assert_eq!(ride(&open, ALICE_OTHER).await, (200, false));
            assert_eq!(ride(&locked, ALICE).await, (401, false));
            assert_eq!(ride(&locked, &bearer("alice")).await, (401, false));
        }
        assert_eq!(ride(&locked, "Bearer opaque").await, (401, false));
        // Of the eight the sign-in was none: that was before the token. Guesses count each time.
        for guess in 0..6 {
            let password = if guess < 3 { "same".to_owned() } else { guess.to_string() };
            assert_eq!(ride(&locked, &basic(&password)).await, (401, false));
        }
        asked.take();
        for value in [&basic("same"), &basic("right?"), "Bearer other", "Bearer opaque"] {
            assert_eq!(ride(&locked, value).await, (429, true), "{value}");
        }
        assert!(asked.take().is_empty(), "nothing more reaches the server");
        assert_eq!(ride(&open, ALICE).await, (200, false));
        assert_eq!(ride(&open, ALICE_OTHER).await, (200, false));
        // One attempt more is nobody's who has only the password, either.
        assert_eq!(get(&inside, &open, &[("authorization", BOB)]).await.0, 200);
    });
}

#[test]
fn the_operator_ends_what_a_user_has_and_a_restart_does_not_give_it_back() {
    run(async {
        let scratch = Scratch::new("inside-operate");
        let server = SocketAddr::from(([127, 0, 0, 1], 9));
        let settings = settings(scratch.path(), server);
        let inside = CoreInside::new(&settings, Teller::new().0).unwrap();
        let token = cookie(&inside).await;
        let config = "/ZXhhbXBsZS5jb20/get_edge_config";
        let ask = |path: &str, question: Value| Rc::clone(&inside).operate(path.to_owned(), question);
        assert_eq!(ask("users/purge", json!({ "user": "Alice" })).await, Ok(json!({ "purged": true })));
        assert_eq!(ask("users/purge", json!({ "user": "alice" })).await, Ok(json!({ "purged": false })));
        assert_eq!(get(&inside, config, &[("cookie", &token)]).await.0, 200, "a purge ends no token");
        for (path, question) in [
            ("users/revoke", json!({})),
            ("users/revoke", json!({ "user": "a:b" })),
            ("users/revoke", json!({ "user": "alice", "deployment": "nowhere" })),
            ("nothing", Value::Null),
        ] {
            assert!(ask(path, question.clone()).await.is_err(), "{path} {question}");
        }
        let rules = ask("allow-list", Value::Null).await.unwrap();
        assert_eq!(rules["rules"].as_array().unwrap().len(), 2);
        ask("users/revoke", json!({ "user": "alice", "deployment": "default" })).await.unwrap();
        assert_eq!(get(&inside, config, &[("cookie", &token)]).await.0, 401);
        assert_eq!(ask("status", Value::Null).await.unwrap()["revocations"], 1);

        let (teller, mut facts) = Teller::new();
        let restarted = CoreInside::new(&settings, teller).unwrap();
        assert_eq!(get(&restarted, config, &[("cookie", &token)]).await.0, 401);
        let mut told = std::iter::from_fn(|| facts.try_recv().ok());
        assert!(told.any(|fact| matches!(fact, HttpFact::SignIn(SignInFact::Revoked(_)))), "edges are told, too");
        let fresh = cookie(&restarted).await;
        assert_eq!(get(&restarted, config, &[("cookie", &fresh)]).await.0, 200);
    });
}

#[test]
fn what_peers_revoke_while_the_disk_is_written_is_on_it_in_the_end() {
    use edgeway_model::sign_in::Revocation;
    run(async {
        let scratch = Scratch::new("inside-kept");
        let settings = settings(scratch.path(), SocketAddr::from(([127, 0, 0, 1], 9)));
        let inside = CoreInside::new(&settings, Teller::new().0).unwrap();
        let users = ["alice", "bob", "carol", "dave"];
        for user in users {
            let subject = Subject { deployment: Deployment::default_one(), user: UserName::new(user).unwrap() };
            Rc::clone(&inside).told(SignInFact::Revoked(Revocation { subject, before_ms: unix_ms() }));
            // The first of them is being written now.
            tokio::task::yield_now().await;
        }
        while !inside.kept.is_clean() {
            tokio::task::yield_now().await;
        }
        let restarted = CoreInside::new(&settings, Teller::new().0).unwrap();
        let revoked: Vec<_> = restarted.desk.held().1.into_iter().map(|one| one.subject.user).collect();
        assert_eq!(revoked, users.map(|user| UserName::new(user).unwrap()));
    });
}

#[test]
fn a_core_does_not_start_with_files_it_cannot_trust() {
    run(async {
        let scratch = Scratch::new("inside-files");
        let mut settings = settings(scratch.path(), SocketAddr::from(([127, 0, 0, 1], 9)));
        let fault = |settings: &CoreSettings| CoreInside::new(settings, Teller::new().0).err().unwrap_or_default();
        let key = scratch.path().join("short.key");
        std::fs::write(&key, "0707").unwrap();
        settings.sign_in.key_file = key.display().to_string();
        let open = fault(&settings);
        assert!(open.contains("short.key") && open.contains("chmod 600"), "{open}");
        settings.sign_in.key_file = scratch.path().join("sign-in.key").display().to_string();
        assert_eq!(fault(&settings), "");
        std::fs::write(scratch.path().join("rules.csv"), "Url\n").unwrap();
        assert!(fault(&settings).contains("rules.csv"));
    });
}

/// Who is refused is told a code, and an operator finds the attempt by it, with the reason in words.
#[test]
fn a_refusal_is_found_by_the_code_the_client_was_told() {
    run(async {
        let scratch = Scratch::new("inside-why");
        let journal = std::sync::Arc::new(edgeway_runtime::trace::Journal::default());
        let server = "127.0.0.1:1".parse().unwrap();
        let teller = Teller::new().0.recording(std::sync::Arc::clone(&journal));
        let inside = CoreInside::new(&settings(scratch.path(), server), teller).unwrap();
        let desk = edgeway_runtime::trace::Desk::new(journal);
        let why = |fields: &HeaderMap| {
            let code = fields.get("x-edgeway-code").expect("a code").to_str().unwrap().to_owned();
            let found = desk.ask("attempts", &serde_json::json!({ "code": code })).unwrap();
            assert_eq!(found["total"], 1, "{code}");
            found["attempts"][0].clone()
        };
        let path = "/ZXhhbXBsZS5jb20/get_edge_config";
        let (status, fields, _) = get(&inside, path, &[]).await;
        assert_eq!((status, fields.get("x-edgeway-code")), (401, None), "the first challenge is no refusal");
        let (status, fields, _) = get(&inside, path, &[("authorization", ALICE)]).await;
        assert_eq!((status, fields.get("x-edgeway-code")), (200, None));
        // The limit is 8 sign-ins in 300 s: the first was good.
        for _ in 0..7 {
            let (status, fields, _) = get(&inside, path, &[("authorization", ALICE_OTHER)]).await;
            assert_eq!(status, 401);
            let found = why(&fields);
            assert_eq!((found["user"].as_str(), found["reason"].as_str()), (Some("alice"), Some("wrong_credentials")));
            assert_eq!((found["client"].as_str(), found["edge"].as_str()), (Some("192.0.2.1"), Some("edge1")));
            assert_eq!((found["kind"].as_str(), found["trace"].as_str()), (Some("sign_in"), Some("00000000000000ff")));
        }
        let (status, fields, _) = get(&inside, path, &[("authorization", ALICE_OTHER)]).await;
        assert_eq!(status, 429);
        let found = why(&fields);
        let detail = found["detail"].as_str().unwrap();
        assert!(detail.starts_with("sign-in 9 within 300 s, limit 8, next try "), "{detail}");
        assert_eq!(found["reason"], "sign_in_limit");
        let (status, fields, _) = get(&inside, "/ZXhhbXBsZS5vcmc/get_edge_config", &[("authorization", BOB)]).await;
        assert_eq!((status, why(&fields)["reason"].as_str()), (403, Some("no_such_domain")));
        let all = desk.ask("attempts", &serde_json::json!({ "user": "ALI" })).unwrap();
        assert_eq!((all["total"].as_u64(), all["attempts"][0]["reason"].as_str()), (Some(9), Some("sign_in_limit")));
        let text = all.to_string();
        assert!(!text.contains("other") && !text.contains("Basic"), "no secret: {text}");
    });
}
