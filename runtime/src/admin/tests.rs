//! The operator's door with real sockets: server and client together, and each against strangers.

use std::cell::Cell;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener as StdTcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use edgeway_model::world::Gauge;
use tokio::task::LocalSet;

use super::*;
use crate::limits::{ADMIN_ANSWER_BYTES_MAX, ADMIN_FETCH_MAX};
use crate::operate::{self, Passed, Refusal, RefusalKind, Work};
use crate::pki::tests::Scratch;

fn status() -> Status {
    let registrations = Gauge { current: 1, peak: 2 };
    Status { node: "edge1".into(), role: "edge", registrations, ..Status::default() }
}

fn on_loopback() -> StdTcpListener {
    StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// Serves while `ask` runs on a thread of its own.
fn while_served<T: Send + 'static>(
    unix: Option<&Path>,
    tcp: Option<StdTcpListener>,
    ask: impl FnOnce() -> T + Send + 'static,
) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        serve(unix, tcp, status, nobody()).unwrap();
        tokio::task::spawn_blocking(ask).await.unwrap()
    })
}

fn socket_in(scratch: &Scratch) -> PathBuf {
    scratch.path().join("run/edge.sock")
}

/// Sends bytes as they are and returns whatever comes back.
fn raw(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// Nobody answers.
fn nobody() -> OperatorPort {
    operate::port().0
}

#[test]
fn the_same_is_told_on_both_doors() {
    let scratch = Scratch::new("admin-doors");
    let (path, tcp) = (socket_in(&scratch), on_loopback());
    let url = format!("http://{}", tcp.local_addr().unwrap());
    let targets = [path.display().to_string(), url.clone(), format!("{url}/")];
    while_served(Some(&path), Some(tcp), move || {
        for target in targets {
            let (code, body) = fetch(&target, "/status").unwrap();
            assert_eq!((code, serde_json::from_str::<serde_json::Value>(&body).unwrap()), (200, json(&status())));
            assert_eq!(fetch(&target, "/metrics").unwrap(), (200, metrics::render(&status())));
            assert_eq!(fetch(&target, "/livez").unwrap(), (200, "live\n".to_owned()));
            let (code, page) = fetch(&target, "/").unwrap();
            assert!(code == 200 && page.contains("<h1>Edgeway edge edge1</h1>") && !page.contains("<script"), "{page}");
            assert_eq!(fetch(&target, "/status.css").unwrap().0, 200);
            assert_eq!(fetch(&target, "/nothing").unwrap().0, 404);
        }
    });
}

/// Gives the question back, and who was asked; but on a path that is the name of a refusal.
async fn echo(mut asked: operate::Asked) {
    while let Some(Work::Ask(question, answer)) = asked.recv().await {
        let refused = RefusalKind::ALL.into_iter().find(|kind| kind.word() == question.path);
        let node = question.node.as_ref().map(|node| node.as_str().to_owned());
        let echo = serde_json::json!({ "node": node, "path": question.path, "body": question.body });
        let _ = answer.send(match refused {
            Some(kind) => Err(Refusal { kind, why: "not this".to_owned() }),
            None if question.path == "calls/end" => Ok(serde_json::json!({ "call_id": "talk@10.0.0.1" })),
            None => Ok(echo),
        });
    }
}

#[test]
fn a_node_is_asked_on_the_socket_and_nowhere_else() {
    let scratch = Scratch::new("admin-operate");
    let (path, tcp) = (socket_in(&scratch), on_loopback());
    let (at, url) = (path.display().to_string(), format!("http://{}", tcp.local_addr().unwrap()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (port, questions) = operate::port();
        spawn_local(echo(questions));
        serve(Some(&path), Some(tcp), status, port).unwrap();
        let asked = tokio::task::spawn_blocking(move || {
            let question = serde_json::json!({ "user": "a" });
            let edge = NodeId::new("edge1").unwrap();
            for (node, name) in [(None, serde_json::Value::Null), (Some(&edge), "edge1".into())] {
                let (code, body) = ask(&at, node, "a/b", &question).unwrap();
                let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
                let expected = serde_json::json!({ "node": name, "path": "a/b", "body": question });
                assert_eq!((code, answer), (200, expected));
            }
            let codes: Vec<_> = RefusalKind::ALL.map(|kind| ask(&at, None, kind.word(), &question).unwrap()).into();
            let why = "{\"error\":\"not this\"}\n".to_owned();
            assert_eq!(codes, [404, 422, 409, 503].map(|code| (code, why.clone())));
            assert_eq!(fetch(&at, "/ask/same").unwrap().0, 405);
            assert_eq!(ask(&url, None, "same", &question).unwrap().0, 404, "the loopback address only tells");
            let long = serde_json::Value::from("x".repeat(OPERATE_BODY_BYTES_MAX));
            assert_eq!(ask(&at, None, "same", &long).unwrap().0, 413);
            let raw = |target: &str, body: &str| {
                let length = body.len();
                raw(
                    Path::new(&at),
                    &format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"),
                )
            };
            assert!(raw("/ask/x", "{").starts_with("HTTP/1.1 400 "));
            assert!(raw("/ask/x?node=EDGE_1", "{}").starts_with("HTTP/1.1 400 "));
            assert!(raw("/ask/x?edge=edge1", "{}").starts_with("HTTP/1.1 400 "));
            let empty = raw("/ask/x", "");
            assert!(empty.starts_with("HTTP/1.1 200 ") && empty.contains("\"body\": null"), "{empty}");
            assert!(raw("/node/maintenance", "{}").starts_with("HTTP/1.1 404 "));
        });
        asked.await.unwrap();
    });
}

#[test]
fn orders_are_told_to_the_administrators_side_and_questions_are_not() {
    let scratch = Scratch::new("admin-ordered");
    let path = socket_in(&scratch);
    let at = path.display().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (port, questions) = operate::port();
        let (door, mut passed) = AdminDoor::new();
        spawn_local(echo(questions));
        serve(Some(&path), None, status, Operator { port, api: Some(door) }).unwrap();
        let asked = tokio::task::spawn_blocking(move || {
            let edge = NodeId::new("edge1").unwrap();
            let all = [
                (None, "registrations", serde_json::json!({ "user": "a" })),
                (None, "maintenance", serde_json::json!({})),
                (Some(&edge), "maintenance", serde_json::json!({ "on": true, "within_s": 60 })),
                (None, "maintenance", serde_json::json!({ "on": false })),
                (None, "servers/refresh", serde_json::json!({ "dry_run": true })),
                (None, "servers/refresh", serde_json::json!({ "name": "secret" })),
                (None, "calls/show", serde_json::json!({ "id": 17 })),
                (None, "calls/end", serde_json::json!({ "id": 17 })),
                (None, "conflict", serde_json::json!({ "password": "secret" })),
            ];
            for (node, path, question) in all {
                ask(&at, node, path, &question).unwrap();
            }
        });
        asked.await.unwrap();
        let uid = Some(owner(&path));
        let expected = [
            ("POST /ask/maintenance?node=edge1 (begin)", None),
            ("POST /ask/maintenance (end)", None),
            ("POST /ask/servers/refresh", None),
            ("POST /ask/calls/end (call 17) talk@10.0.0.1", None),
            ("POST /ask/conflict", Some(RefusalKind::Conflict)),
        ];
        for (action, refused) in expected {
            let Ok(Passed::Ordered(ordered)) = passed.try_recv() else { panic!("{action} was not told") };
            assert_eq!(ordered, Ordered { uid, action: action.to_owned(), refused });
        }
        assert!(passed.try_recv().is_err(), "questions are no orders");
    });
}

/// Whose processes make files: ours.
fn owner(path: &Path) -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap())
}

#[test]
fn a_service_that_has_ended_says_so() {
    let scratch = Scratch::new("admin-ended");
    let path = socket_in(&scratch);
    let at = path.display().to_string();
    while_served(Some(&path), None, move || {
        let (code, body) = ask(&at, None, "status", &serde_json::Value::Null).unwrap();
        assert!(code == 503 && body.contains("the service has ended"), "{code} {body}");
    });
}

#[test]
fn other_methods_and_garbage_are_refused() {
    let scratch = Scratch::new("admin-garbage");
    let path = socket_in(&scratch);
    let at = path.clone();
    while_served(Some(&path), None, move || {
        let refused = raw(&at, "POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        assert!(refused.starts_with("HTTP/1.1 405 ") && refused.contains("\r\nallow: GET, HEAD\r\n"), "{refused}");
        assert!(raw(&at, "DELETE /nothing HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 404 "));
        let head = raw(&at, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4"), "{head}");
        assert!(raw(&at, "what?\r\n\r\n").starts_with("HTTP/1.1 400 "));
        let many: String = (0..100).map(|number| format!("x-{number}: y\r\n")).collect();
        assert!(raw(&at, &format!("GET /livez HTTP/1.1\r\n{many}\r\n")).starts_with("HTTP/1.1 431 "));
        let large = "y".repeat(20_000);
        assert!(raw(&at, &format!("GET /livez HTTP/1.1\r\nx: {large}\r\n\r\n")).starts_with("HTTP/1.1 431 "));
        // It still stands.
        assert_eq!(fetch(&at.display().to_string(), "/livez").unwrap().0, 200);
    });
}

#[test]
fn silent_callers_are_bounded_in_number_and_time() {
    let scratch = Scratch::new("admin-silent");
    let path = socket_in(&scratch);
    let at = path.clone();
    while_served(Some(&path), None, move || {
        let silent: Vec<_> = (0..ADMIN_CONNECTIONS_MAX).map(|_| UnixStream::connect(&at).unwrap()).collect();
        // All places are taken until the silent ones are sent away; then comes the next.
        let start = Instant::now();
        let mut stream = UnixStream::connect(&at).unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let waited = start.elapsed();
        assert!(waited >= ADMIN_CONVERSATION_MAX / 2 && waited < ADMIN_CONVERSATION_MAX * 3, "{waited:?}");
        for mut stream in silent {
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
}

#[test]
fn the_socket_is_for_owner_and_group_and_goes_with_the_server() {
    let scratch = Scratch::new("admin-mode");
    let path = socket_in(&scratch);
    let at = path.clone();
    while_served(Some(&path), None, move || {
        let metadata = fs::symlink_metadata(&at).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    });
    assert!(!path.exists());
}

#[test]
fn a_socket_of_one_who_is_gone_is_replaced_and_one_in_use_is_not() {
    let scratch = Scratch::new("admin-stale");
    let path = scratch.path().join("edge.sock");
    drop(StdUnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a closed socket leaves its file behind");
    let at = path.clone();
    while_served(Some(&path), None, move || {
        let second = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let fault = LocalSet::new().block_on(&second, async { serve(Some(&at), None, status, nobody()) }).unwrap_err();
        assert!(matches!(fault, AdminFault::InUse { .. }), "{fault}");
        // The one in use was not harmed.
        assert_eq!(fetch(&at.display().to_string(), "/livez").unwrap().0, 200);
    });
}

#[test]
fn what_is_no_socket_stays() {
    let scratch = Scratch::new("admin-file");
    let path = scratch.path().join("precious");
    fs::write(&path, "data").unwrap();
    assert!(matches!(socket::bind(&path), Err(AdminFault::NotASocket { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"data");
    let below = path.join("edge.sock");
    let fault = socket::bind(&below).err().unwrap().to_string();
    assert!(fault.starts_with(&format!("cannot create the folder {}: ", path.display())), "{fault}");
    assert!(fault.contains("control_socket"), "{fault}");
}

#[test]
fn a_replaced_socket_file_is_left_to_its_new_owner() {
    let scratch = Scratch::new("admin-owner");
    let path = scratch.path().join("edge.sock");
    let file = {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();
        socket::bind(&path).unwrap().1
    };
    fs::rename(&path, scratch.path().join("old.sock")).unwrap();
    let _other = StdUnixListener::bind(&path).unwrap();
    drop(file);
    assert!(path.exists());
}

#[test]
fn the_network_is_not_served() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = StdTcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let fault =
        LocalSet::new().block_on(&runtime, async { serve(None, Some(listener), status, nobody()) }).unwrap_err();
    assert!(matches!(fault, AdminFault::NotLoopback { .. }), "{fault}");
}

#[test]
fn the_status_is_read_anew_for_each_question() {
    let scratch = Scratch::new("admin-fresh");
    let path = socket_in(&scratch);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let asked = Rc::new(Cell::new(0));
        let counter = Rc::clone(&asked);
        let count = move || {
            counter.set(counter.get() + 1);
            Status { role: "edge", calls: Gauge { current: counter.get(), peak: 9 }, ..Status::default() }
        };
        serve(Some(&path), None, count, nobody()).unwrap();
        for turn in 1..=3_u64 {
            let target = path.display().to_string();
            let (_, body) = tokio::task::spawn_blocking(move || fetch(&target, "/status")).await.unwrap().unwrap();
            let status: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(status["calls"]["current"], turn);
        }
        assert_eq!(asked.get(), 3);
    });
}

#[test]
fn a_node_that_does_not_run_is_said_not_to() {
    let scratch = Scratch::new("admin-gone");
    let path = scratch.path().join("edge.sock");
    let stale = scratch.path().join("stale.sock");
    drop(StdUnixListener::bind(&stale).unwrap());
    let free = on_loopback().local_addr().unwrap();
    for target in [path.display().to_string(), stale.display().to_string(), format!("http://{free}")] {
        let fault = fetch(&target, "/status").unwrap_err();
        assert_eq!(fault.exit_code(), 3, "{fault}");
        assert!(fault.to_string().contains(&target) && fault.to_string().contains("not running?"), "{fault}");
    }
    for target in ["", "https://127.0.0.1:1", "http://", "http://127.0.0.1"] {
        assert_eq!(fetch(target, "/status").unwrap_err().exit_code(), 2, "{target}");
    }
}

/// What `fetch` makes of a listener that answers with these bytes.
fn fetch_from(answer: &'static [u8]) -> Result<(u16, String), FetchFault> {
    let listener = on_loopback();
    let target = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(answer);
    });
    let outcome = fetch(&target, "/status");
    server.join().unwrap();
    outcome
}

#[test]
fn answers_of_strangers_are_not_taken_for_ours() {
    assert_eq!(fetch_from(b"HTTP/1.1 503 Busy\r\nCONTENT-LENGTH: 2\r\n\r\nno").unwrap(), (503, "no".to_owned()));
    for answer in [
        &b""[..],
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 2\r\n\r\n",
        b"HTTP/1.1 abc\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nno length",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\ncut",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n\xff",
    ] {
        let fault = fetch_from(answer).unwrap_err();
        assert!(matches!(fault, FetchFault::Answer { .. }), "{fault}");
    }
    let endless: &'static [u8] = vec![b'x'; ADMIN_ANSWER_BYTES_MAX + 1].leak();
    let fault = fetch_from(endless).unwrap_err();
    assert!(fault.to_string().contains("too large"), "{fault}");
}

#[test]
fn a_node_that_hangs_is_given_up() {
    let listener = on_loopback();
    let target = format!("http://{}", listener.local_addr().unwrap());
    let start = Instant::now();
    let fault = fetch(&target, "/status").unwrap_err();
    assert!(matches!(fault, FetchFault::Timeout { .. }) && fault.exit_code() == 4, "{fault}");
    assert!(start.elapsed() < ADMIN_FETCH_MAX * 2);
}
