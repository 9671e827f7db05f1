//! What is carried, and what is not.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::sign_in::{Deployment, Revocation, SignInFact, Subject, UserName};
use http::Request;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::super::HttpFact;
use super::super::limits::{ATTEMPTS_MAX, OFFENCE_COSTS, RETRY_AFTER_ATTEMPTS};
use super::rig::{LONG, Rig, SMALL, node, run};
use crate::clock::unix_ms;
use crate::pki::identity::serial_of;

#[test]
fn a_request_reaches_the_inside_and_the_answer_comes_back() {
    run(async {
        let rig = Rig::start(&["core1"]).await;
        let cookie =
            format!("Cookie: X-Auth={}\r\nX-Forwarded-For: 10.0.0.1\r\nedgeway-client: x\r\n", rig.token("alice", 60));
        let answer = rig.get(&format!("{LONG}/cucm-uds/version?a=b"), &cookie).await;
        assert_eq!((answer.line.as_str(), answer.body.as_slice()), ("HTTP/1.1 200 OK", &b"inside"[..]));
        let asked = rig.last();
        assert_eq!((asked.edge, asked.method.as_str()), (node("edge1"), "GET"));
        assert_eq!(asked.path, format!("{LONG}/cucm-uds/version?a=b"));
        assert!(asked.headers["edgeway-client"].to_str().unwrap().starts_with("127.0.0.1:"));
        assert_eq!(asked.headers["edgeway-request"].len(), 16);
        assert!(!asked.headers.contains_key("x-forwarded-for") && !asked.headers.contains_key("host"));
    });
}

#[test]
fn a_target_in_absolute_form_is_carried_as_a_path_and_must_name_the_host() {
    run(async {
        let rig = Rig::start(&["core1"]).await;
        let cookie = format!("Cookie: X-Auth={}\r\nTransfer_Encoding: chunked\r\n", rig.token("alice", 60));
        let answer = rig.get(&format!("https://edge.example.com{LONG}/x?a=b"), &cookie).await;
        assert_eq!(answer.status, 200);
        let asked = rig.last();
        assert_eq!(asked.path, format!("{LONG}/x?a=b"));
        assert!(!asked.headers.contains_key("host") && !asked.headers.contains_key("transfer_encoding"));
        for target in ["https://cucm1.example.com", "http://edge.example.com", "https://u@edge.example.com"] {
            assert_eq!(rig.get(&format!("{target}{LONG}/x"), &cookie).await.status, 400, "{target}");
        }
        assert_eq!(rig.seen(), 1);
    });
}

#[test]
fn without_credentials_nothing_goes_inside() {
    run(async {
        let rig = Rig::start(&["core1"]).await;
        for fields in [
            String::new(),
            "Cookie: X-Auth=1e1111e1-dddb-49e9-ad0d-ab34526e2b00\r\n".to_owned(),
            format!("Cookie: X-Auth={}\r\n", rig.token("alice", -1)),
            "Authorization: Digest username=\"a\"\r\n".to_owned(),
        ] {
            let answer = rig.get(&format!("{SMALL}/get_edge_config/"), &fields).await;
            assert_eq!(answer.line, "HTTP/1.1 401 Unauthorized", "{fields}");
            let named: Vec<_> = answer.fields.iter().filter(|(name, _)| name != "date").collect();
            let wanted = [
                ("www-authenticate", "Basic realm=\"Cisco-Edge\""),
                ("server", "CE_E"),
                ("age", "0"),
                ("connection", "keep-alive"),
                ("transfer-encoding", "chunked"),
            ];
            let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(named.into_iter().cloned().collect::<BTreeSet<_>>(), wanted.into_iter().collect());
        }
        assert_eq!(rig.get("/nothing", "").await.status, 404);
        assert_eq!(rig.seen(), 0);
        assert_eq!(rig.get(&format!("{SMALL}/get_edge_sso?email=a@example.com"), "").await.status, 200);
        let basic = "Authorization: Basic YTpi\r\n";
        assert_eq!(rig.get(&format!("{SMALL}/get_edge_config"), basic).await.status, 200);
        assert_eq!(rig.seen(), 2);
    });
}

#[test]
fn what_the_core_says_of_the_reason_is_said_and_the_rest_stays_here() {
    run(async {
        let rig = Rig::start(&["core1"]).await;
        let answer = rig.get(&format!("{LONG}/nobody"), "Authorization: Bearer abc\r\n").await;
        assert_eq!(answer.line, "HTTP/1.1 502 Next Hop Connection Failed");
        assert!(!answer.fields.iter().any(|(name, _)| name.starts_with("edgeway-") || name == "connection"));
    });
}

#[test]
fn many_requests_go_over_one_connection_of_either_version() {
    run(async {
        let rig = Rig::start(&["core1"]).await;
        let cookie = format!("X-Auth={}", rig.token("alice", 60));
        let mut client = rig.http1().await;
        for n in 0..50 {
            let body = "b".repeat(n * 100);
            let length = body.len();
            client
                .send(&format!(
                    "POST {LONG}/echo HTTP/1.1\r\nHost: e\r\nCookie: {cookie}\r\nContent-Length: {length}\r\n\r\n{body}"
                ))
                .await;
            assert_eq!(client.answer().await.unwrap().body, body.as_bytes());
        }
        let (mut requests, connection) = h2::client::handshake(rig.connect(b"h2").await).await.unwrap();
        spawn_local(connection);
        for n in 0..50 {
            requests = requests.ready().await.unwrap();
            let request = Request::post(format!("https://e{LONG}/echo")).header("cookie", &cookie).body(()).unwrap();
            let (answer, mut body) = requests.send_request(request, false).unwrap();
            body.send_data(Bytes::from(vec![b'c'; n * 10]), true).unwrap();
            let mut answer = answer.await.unwrap();
            let mut echoed = Vec::new();
            while let Some(bytes) = answer.body_mut().data().await {
                echoed.extend_from_slice(&bytes.unwrap());
            }
            assert_eq!(echoed, vec![b'c'; n * 10]);
        }
        assert_eq!(rig.seen(), 100);
    });
}

#[test]
fn a_large_answer_comes_whole_and_a_client_that_leaves_ends_the_work() {
    run(async {
        let rig = Rig::start(&["core1"]).await;
        let cookie = format!("Cookie: X-Auth={}\r\n", rig.token("alice", 60));
        assert_eq!(rig.get(&format!("{LONG}/big"), &cookie).await.body.len(), 640 * 16 * 1024);
        let mut client = rig.http1().await;
        client.send(&format!("GET {LONG}/never HTTP/1.1\r\nHost: e\r\n{cookie}\r\n")).await;
        rig.until("it is asked", |rig| rig.seen() == 2).await;
        drop(client);
        rig.until("it is given up", |rig| rig.cores[0].seen.lock().unwrap().cancelled == 1).await;
    });
}

#[test]
fn a_user_stays_at_a_core_and_goes_to_the_other_when_it_is_gone() {
    run(async {
        let mut rig = Rig::start(&["core1", "core2"]).await;
        let mut used = BTreeSet::new();
        for user in ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"] {
            let cookie = format!("Cookie: X-Auth={}\r\n", rig.token(user, 60));
            let mut cores = BTreeSet::new();
            for _ in 0..4 {
                let before: Vec<_> = rig.cores.iter().map(|core| core.seen.lock().unwrap().requests.len()).collect();
                assert_eq!(rig.get(&format!("{LONG}/x"), &cookie).await.status, 200);
                let moved =
                    rig.cores.iter().zip(before).position(|(core, n)| core.seen.lock().unwrap().requests.len() > n);
                cores.insert(moved.unwrap());
            }
            assert_eq!(cores.len(), 1, "{user} was at two cores");
            used.extend(cores);
        }
        assert_eq!(used.len(), 2, "both cores have users");
        let gone = rig.cores.remove(0);
        let _ = timeout(Duration::from_secs(5), gone.http.shut_down()).await;
        for user in ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"] {
            let cookie = format!("Cookie: X-Auth={}\r\n", rig.token(user, 60));
            assert_eq!(rig.get(&format!("{LONG}/x"), &cookie).await.status, 200, "{user}");
        }
        let gone = rig.cores.remove(0);
        let _ = timeout(Duration::from_secs(5), gone.http.shut_down()).await;
        let cookie = format!("Cookie: X-Auth={}\r\n", rig.token("alice", 60));
        let answer = rig.get(&format!("{LONG}/x"), &cookie).await;
        assert_eq!(answer.status, 503);
        assert!(answer.field("retry-after").is_some());
    });
}

#[test]
fn credentials_of_one_user_come_to_one_core_whoevers_token_is_beside_them() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    run(async {
        let rig = Rig::start(&["core1", "core2"]).await;
        let mut used = BTreeSet::new();
        for user in ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"] {
            let basic = format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:x")));
            let claims = URL_SAFE_NO_PAD.encode(format!("{{\"sub\":\"{}\"}}", user.to_uppercase()));
            let bearer = format!("Authorization: Bearer e30.{claims}.c2ln\r\n");
            let mut fields = vec![format!("Cookie: X-Auth={}\r\n", rig.token(user, 60)), basic.clone(), bearer.clone()];
            for lent in ["mallory", "trudy", "oscar"] {
                let cookie = format!("Cookie: X-Auth={}\r\n", rig.token(lent, 60));
                fields.extend([format!("{cookie}{basic}"), format!("{cookie}{bearer}")]);
            }
            let before: Vec<_> = rig.cores.iter().map(|core| core.seen.lock().unwrap().requests.len()).collect();
            for fields in &fields {
                assert_eq!(rig.get(&format!("{LONG}/x"), fields).await.status, 200);
            }
            let after = rig.cores.iter().map(|core| core.seen.lock().unwrap().requests.len());
            let each: Vec<_> = after.zip(before).map(|(after, before)| after - before).collect();
            assert!(each.contains(&fields.len()) && each.contains(&0), "{user}: {each:?}");
            used.insert(each[0] == 0);
        }
        assert_eq!(used.len(), 2, "both cores have users");
    });
}

#[test]
fn a_revoked_token_and_a_forgotten_key_hold_no_longer_even_on_a_connection_that_knows_them() {
    run(async {
        let rig = Rig::start(&["core1"]).await;
        let mut client = rig.http1().await;
        let ask = |token: &str| format!("GET {LONG}/x HTTP/1.1\r\nHost: e\r\nCookie: X-Auth={token}\r\n\r\n");
        let (alice, bob) = (rig.token("alice", 60), rig.token("bob", 60));
        for token in [&alice, &bob] {
            client.send(&ask(token)).await;
            assert_eq!(client.answer().await.unwrap().status, 200);
        }
        let subject = Subject { deployment: Deployment::default_one(), user: UserName::new("alice").unwrap() };
        rig.edge.told(SignInFact::Revoked(Revocation { subject, before_ms: unix_ms() + 1 }));
        client.send(&ask(&alice)).await;
        assert_eq!(client.answer().await.unwrap().status, 401);
        client.send(&ask(&bob)).await;
        assert_eq!(client.answer().await.unwrap().status, 200);
        rig.edge.told(SignInFact::PeerKeys { peer: node("core1"), keys: Vec::new() });
        client.send(&ask(&bob)).await;
        assert_eq!(client.answer().await.unwrap().status, 401);
    });
}

#[test]
fn who_is_revoked_or_forgotten_loses_the_connection() {
    run(async {
        let rig = Rig::start(&["core1", "core2"]).await;
        let serial = serial_of(&rig.cores[0].certificate).unwrap();
        rig.edge.revoked(BTreeSet::from([serial]));
        rig.until("its connection has ended", |rig| rig.counted("https_bulk_ended") >= 1).await;
        rig.edge.forget(&node("core2"));
        rig.until("that of the other, too", |rig| rig.counted("https_bulk_ended") >= 2).await;
    });
}

#[test]
fn the_operator_and_the_node_are_heard() {
    run(async {
        let mut rig = Rig::start(&["core1"]).await;
        let core = &mut rig.cores[0];
        let question = serde_json::json!({ "a": [1, 2] });
        assert_eq!(core.http.operate("same".into(), question.clone()).await.unwrap(), Ok(question.clone()));
        let refused = core.http.operate("other".into(), question).await.unwrap();
        assert_eq!(refused, Err("there is no other".to_owned()));
        core.http.told(SignInFact::Linked(vec![node("edge1")]));
        let told = core.facts.recv().await;
        assert!(matches!(told, Some(HttpFact::SignIn(SignInFact::Linked(_)))), "{told:?}");
    });
}

#[test]
fn credentials_from_one_address_are_bounded_before_anything_goes_inside() {
    run(async {
        let rig = Rig::start_bound(&["core1"]).await;
        let mut client = rig.http1().await;
        let get = |path: &str, fields: &str| {
            format!("GET {LONG}/{path} HTTP/1.1\r\nHost: edge.example.com\r\n{fields}\r\n\r\n")
        };
        let basic = "Authorization: Basic YTpi";
        // Those that are right cost nothing, however many: here twice as many as may be wrong.
        for _ in 0..ATTEMPTS_MAX {
            client.send(&get("x", basic)).await;
            assert_eq!(client.answer().await.unwrap().status, 200);
        }
        // Each gave one more.
        for number in 0..ATTEMPTS_MAX * 2 / OFFENCE_COSTS {
            client.send(&get("wrong", basic)).await;
            assert_eq!(client.answer().await.unwrap().status, 401, "{number}");
        }
        let mut refused = None;
        // What a second or two of this test give back.
        for _ in 0..30 {
            client.send(&get("wrong", basic)).await;
            let answer = client.answer().await.unwrap();
            if answer.status == 429 {
                refused = Some(answer);
                break;
            }
        }
        let refused = refused.expect("an end");
        assert_eq!(refused.field("retry-after"), Some(RETRY_AFTER_ATTEMPTS.to_string().as_str()));
        assert_eq!(rig.counted("https_too_many_attempts"), 1);
        // A good token passes all the same, and nothing else changes.
        let seen = rig.seen();
        client.send(&get("x", &format!("Cookie: X-Auth={}", rig.token("alice", 60)))).await;
        assert_eq!((client.answer().await.unwrap().status, rig.seen()), (200, seen + 1));
        client.send(&get("x", "X: y")).await;
        assert_eq!((client.answer().await.unwrap().status, rig.seen()), (401, seen + 1));
    });
}

#[test]
fn credentials_where_nobody_asks_for_them_make_room_for_nothing() {
    run(async {
        let rig = Rig::start(&["core1"]).await;
        let mut client = rig.http1().await;
        let mut statuses = BTreeSet::new();
        for _ in 0..200 {
            let path = format!("{SMALL}/get_edge_sso?email=a@example.com");
            let head = format!("GET {path} HTTP/1.1\r\nHost: edge.example.com\r\nAuthorization: Basic YTpi\r\n\r\n");
            client.send(&head).await;
            statuses.insert(client.answer().await.unwrap().status);
        }
        assert_eq!(statuses, BTreeSet::from([200, 429]));
    });
}
