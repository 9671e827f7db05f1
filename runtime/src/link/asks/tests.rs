//! Two ends without a link between them, and a peer that breaks the rules.

use std::task::{Context, Waker};

use edgeway_model::limits::LISTED_MAX;
use tokio::sync::mpsc::Receiver;
use tokio::task::{LocalSet, yield_now};

use super::super::limits::ASK_MESSAGE_BYTES_MAX;
use super::*;
use crate::operate::{self, Work};
use crate::pki::trust::cut_message;

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, future)
}

fn node(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

/// The end of a core that asks `name`.
fn core_asking(name: &str, role: Role) -> Rc<Asks> {
    let asks = Asks::new(node(name), role, Role::Core, None);
    asks.speaks.set(true);
    asks
}

/// All that one end wants said, message by message, lengths taken off.
fn said(asks: &Asks) -> Vec<BytesMut> {
    let (mut taken, mut buffer) = (Vec::new(), BytesMut::new());
    let _ = asks.says.poll_take(&mut Context::from_waker(Waker::noop()), &mut taken);
    taken.iter().for_each(|bytes| buffer.extend_from_slice(bytes));
    std::iter::from_fn(|| cut_message(&mut buffer, ASK_MESSAGE_BYTES_MAX).unwrap()).collect()
}

/// Carries both ways until nobody says anything; the largest number of bytes that one turn has carried back.
async fn carry(one: &Rc<Asks>, other: &Rc<Asks>) -> Result<usize, &'static str> {
    let (mut quiet, mut most) = (0, 0);
    while quiet < 5 {
        quiet += 1;
        for message in said(one) {
            quiet = 0;
            other.handle_message(&message)?;
        }
        let back = said(other);
        most = most.max(back.iter().map(|message| message.len()).sum());
        for message in back {
            quiet = 0;
            one.handle_message(&message)?;
        }
        yield_now().await;
    }
    Ok(most)
}

/// Answers with the question; to `chats`, with as many letters as it names; to `events` not at all.
async fn echo(mut asked: Receiver<Work>) {
    let mut silent = Vec::new();
    while let Some(Work::Ask(question, answer)) = asked.recv().await {
        let length = usize::try_from(question.body["length"].as_u64().unwrap_or_default()).unwrap();
        match question.path.as_str() {
            "events" => silent.push(answer),
            "calls/end" => drop(answer.send(Err(Refusal::conflict("it is\u{1b}[2J over")))),
            "chats" => drop(answer.send(Ok("x".repeat(length).into()))),
            _ => drop(answer.send(Ok(json!({ "path": question.path, "body": question.body })))),
        }
    }
}

/// A core that asks, and an edge that answers.
fn pair() -> (Rc<Asks>, Rc<Asks>) {
    let (port, questions) = operate::port();
    spawn_local(echo(questions));
    (core_asking("edge1", Role::Edge), Asks::new(node("core1"), Role::Core, Role::Edge, Some(port)))
}

type Outcome = tokio::task::JoinHandle<Result<Value, Refusal>>;

/// For as long as a busy machine takes.
fn ask(asks: &Rc<Asks>, path: &str, body: Value) -> Outcome {
    ask_within(asks, path, body, Duration::from_secs(60))
}

fn ask_briefly(asks: &Rc<Asks>, path: &str, body: Value) -> Outcome {
    ask_within(asks, path, body, Duration::from_millis(200))
}

fn ask_within(asks: &Rc<Asks>, path: &str, body: Value, within: Duration) -> Outcome {
    let (asks, path) = (Rc::clone(asks), path.to_owned());
    spawn_local(async move { asks.ask_within(&path, &body, within).await })
}

#[test]
fn a_question_is_answered_or_refused() {
    run(async {
        let (core, edge) = pair();
        let body = json!({ "limit": LISTED_MAX });
        let one = ask(&core, "registrations", body.clone());
        let other = ask(&core, "calls/end", Value::Null);
        yield_now().await;
        carry(&core, &edge).await.unwrap();
        assert_eq!(one.await.unwrap(), Ok(json!({ "path": "registrations", "body": body })));
        let why = "edge1: it is?[2J over".to_owned();
        assert_eq!(other.await.unwrap(), Err(Refusal { kind: RefusalKind::Conflict, why }));
        for path in ["users/revoke", "servers/refresh", "statuses", ""] {
            let refused = ask(&core, path, Value::Null).await.unwrap().unwrap_err();
            assert_eq!(refused.kind, RefusalKind::NotFound, "{path}");
        }
        assert!(said(&core).is_empty());
        // Another core could say it all the same.
        edge.handle_message(b"\x01\0\0\0\x09{\"path\":\"users/revoke\",\"body\":{}}").unwrap();
        yield_now().await;
        assert_eq!(said(&edge).len(), 1);
        edge.handle_message(b"\x03\0\0\0\x09").unwrap();
        assert!(String::from_utf8_lossy(&said(&edge)[0]).contains("not_found"));
        assert!(edge.state.borrow().answers.is_empty());
    });
}

#[test]
fn an_answer_comes_in_pieces_one_at_a_time() {
    run(async {
        let (core, edge) = pair();
        let length = ANSWER_BYTES_MAX - 100;
        let asked: Vec<_> = (0..QUESTIONS_MAX).map(|_| ask(&core, "chats", json!({ "length": length }))).collect();
        yield_now().await;
        let refused = ask(&core, "status", Value::Null).await.unwrap().unwrap_err();
        assert!(refused.why.contains("before this one"), "{refused}");
        let most = carry(&core, &edge).await.unwrap();
        assert!(most <= ASK_MESSAGE_BYTES_MAX + QUESTIONS_MAX * 16, "{most} bytes at once");
        for one in asked {
            assert_eq!(one.await.unwrap().unwrap().as_str().map(str::len), Some(length));
        }
        let long = ask(&core, "chats", json!({ "length": ANSWER_BYTES_MAX }));
        yield_now().await;
        carry(&core, &edge).await.unwrap();
        assert_eq!(long.await.unwrap().unwrap_err().kind, RefusalKind::Invalid);
        assert!(edge.state.borrow().answers.is_empty() && core.state.borrow().asked.is_empty());
    });
}

#[test]
fn who_does_not_answer_is_given_up_and_forgotten() {
    run(async {
        let (core, edge) = pair();
        let asked: Vec<_> = (0..QUESTIONS_MAX).map(|_| ask_briefly(&core, "events", Value::Null)).collect();
        yield_now().await;
        carry(&core, &edge).await.unwrap();
        for one in asked {
            assert!(one.await.unwrap().unwrap_err().why.contains("in time"));
        }
        let full = ask(&core, "status", Value::Null).await.unwrap();
        assert!(full.is_err(), "until the edge has said that it has forgotten them");
        carry(&core, &edge).await.unwrap();
        assert!(core.state.borrow().given_up.is_empty() && edge.state.borrow().answers.is_empty());
        let again = ask(&core, "status", Value::Null);
        yield_now().await;
        carry(&core, &edge).await.unwrap();
        assert!(again.await.unwrap().is_ok());
        // A link that ends leaves nobody waiting.
        let last = ask(&core, "events", Value::Null);
        yield_now().await;
        core.end();
        assert!(last.await.unwrap().unwrap_err().why.contains("has ended"));
        assert!(ask(&core, "status", Value::Null).await.unwrap().unwrap_err().why.contains("does not know"));
    });
}

#[test]
fn what_crosses_a_given_up_question_is_no_breach() {
    run(async {
        let (core, edge) = pair();
        // READY crosses DROP.
        let one = ask_briefly(&core, "status", Value::Null);
        yield_now().await;
        said(&core).iter().for_each(|message| edge.handle_message(message).unwrap());
        yield_now().await;
        yield_now().await;
        let ready = said(&edge);
        assert_eq!(ready.len(), 1);
        assert!(one.await.unwrap().is_err());
        ready.iter().for_each(|message| core.handle_message(message).unwrap());
        assert_eq!(core.handle_message(&ready[0]), Err(UNASKED), "once");
        carry(&core, &edge).await.unwrap();
        // PIECE crosses DROP.
        let one = ask_briefly(&core, "chats", json!({ "length": 3 * ANSWER_PIECE_BYTES }));
        yield_now().await;
        said(&core).iter().for_each(|message| edge.handle_message(message).unwrap());
        yield_now().await;
        yield_now().await;
        said(&edge).iter().for_each(|message| core.handle_message(message).unwrap());
        said(&core).iter().for_each(|message| edge.handle_message(message).unwrap());
        assert!(one.await.unwrap().is_err());
        carry(&core, &edge).await.unwrap();
        assert!(core.state.borrow().given_up.is_empty() && core.state.borrow().pulling.is_none());
        assert!(edge.state.borrow().answers.is_empty());
    });
}

#[test]
fn an_edge_that_says_what_it_was_not_asked_breaks_the_link() {
    let message = |kind: u8, id: u32, payload: &[u8]| {
        let mut message = vec![kind];
        message.extend_from_slice(&id.to_be_bytes());
        message.extend_from_slice(payload);
        message
    };
    let length = |length: usize| u32::try_from(length).unwrap().to_be_bytes();
    let unasked = [
        message(ASK, 1, b"{\"path\":\"status\",\"body\":{}}"),
        message(PULL, 1, b""),
        message(DROP, 1, b""),
        message(READY, 1, &length(7)),
        message(PIECE, 1, b"x"),
        message(GONE, 1, b""),
        message(READY, 1, b""),
        vec![READY, 0],
        vec![],
    ];
    run(async {
        for bad in &unasked {
            let core = core_asking("edge1", Role::Edge);
            assert!(core.handle_message(bad).is_err(), "{bad:?}");
        }
        let asked = || async {
            let core = core_asking("edge1", Role::Edge);
            drop(ask(&core, "status", Value::Null));
            yield_now().await;
            assert_eq!(said(&core).len(), 1);
            core
        };
        for long in [0, ANSWER_BYTES_MAX + 1, u32::MAX as usize] {
            assert!(asked().await.handle_message(&message(READY, 1, &length(long))).is_err(), "{long}");
        }
        for bad in [message(PIECE, 1, b"1234567"), message(READY, 2, &length(7)), message(GONE, 1, b"")] {
            assert!(asked().await.handle_message(&bad).is_err(), "before it is ready: {bad:?}");
        }
        for bad in [
            message(READY, 1, &length(7)),
            message(PIECE, 1, b"123456"),
            message(PIECE, 1, b"12345678"),
            message(PIECE, 1, b""),
            message(PIECE, 2, b"1234567"),
            message(PIECE, 1, &vec![b'x'; ANSWER_PIECE_BYTES + 1]),
        ] {
            let core = asked().await;
            core.handle_message(&message(READY, 1, &length(7))).unwrap();
            assert!(core.handle_message(&bad).is_err(), "once it is ready: {bad:?}");
        }
        // What a later version says beside is no breach.
        assert_eq!(asked().await.handle_message(&message(77, 1, b"")), Ok(()));
    });
}

#[test]
fn answers_are_read_within_bounds() {
    let edge = node("edge1");
    let refused = |text: &str| read_answer(&edge, text.as_bytes()).unwrap_err();
    let deep = |depth: usize| format!("{{\"ok\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(read_answer(&edge, deep(ANSWER_DEPTH_MAX - 1).as_bytes()).is_ok());
    assert!(refused(&deep(ANSWER_DEPTH_MAX)).why.contains("too deep"));
    let many = |what: &str, count: usize| format!("{{\"ok\":[{}]}}", vec![what; count].join(","));
    assert!(refused(&many("{}", ANSWER_WRAPPED_MAX)).why.contains("too many"));
    assert!(refused(&many("0", ANSWER_COMMAS_MAX + 2)).why.contains("too many"));
    // What stands in a text counts for nothing.
    assert_eq!(read_answer(&edge, br#"{"ok":"[[[\"[[,{"}"#), Ok(json!("[[[\"[[,{")));
    for bad in ["", "{", "{}", "[]", "null", "{\"ok\"", "{\"refused\":7,\"why\":[]}", "\u{fffd}"] {
        assert_eq!(refused(bad).kind, RefusalKind::Unavailable, "{bad}");
    }
    let long = json!({ "refused": "invalid", "why": "y".repeat(10_000) }).to_string();
    let long = refused(&long);
    assert!(long.kind == RefusalKind::Invalid && long.why.chars().count() < 2 * ANSWER_WORDS_MAX);
}
