//! Maintenance mode as an operator orders it: what exists goes on, what is new is refused or goes elsewhere.

mod asked;
mod fleet;
mod hot;
mod settings;

use std::time::{Duration, Instant};

use edgeway_lab_servers::xmpp::{ChatClient, ChatError};
use edgeway_lab_servers::{Call, Ending, Phone, PhoneError};
use tokio::task::JoinHandle;

use crate::fleet::{Fleet, Node, PATIENCE, PIECE, PIECES, wait};

const INACTIVE: &str = "Inactive (Maintenance mode)";
const PARTS: [&str; 5] = ["SIP", "HTTP proxy service", "Provisioning server", "XMPP router", "Port forwarding mesh"];
/// The node must know within two seconds that its last session has ended; the rest is for a machine that is loaded.
const DRAINED_WITHIN: Duration = Duration::from_secs(8);

/// As long as it may take until the edge has heard of it; until then new streams of chat are turned away.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// Two phones that talk, one that only is registered, a chat and a download.
struct Sessions {
    alice: Phone,
    bob: Phone,
    carol: Phone,
    out: Call,
    inward: Call,
    chat: ChatClient,
    download: JoinHandle<edgeway_lab_servers::client::http::Got>,
}

impl Sessions {
    async fn begin(fleet: &Fleet) -> Self {
        Self::begin_at(fleet, true).await
    }

    /// `everywhere`: there is one core, and it has some of all of it.
    async fn begin_at(fleet: &Fleet, everywhere: bool) -> Self {
        let (alice, bob, carol) = (fleet.phone("alice").await, fleet.phone("bob").await, fleet.phone("carol").await);
        let answering = bob.answer_next(PATIENCE, Duration::ZERO);
        let (out, inward) = tokio::try_join!(alice.call(bob.aor()), answering).expect("a call");
        let chat = fleet.chat("dave").await;
        let download = fleet.download("erin");
        fleet.piece.send(()).expect("the server runs");
        wait("all is under way", || {
            let cores = fleet.cores.iter().filter(|_| everywhere);
            let nodes = cores.chain([&fleet.edge]).map(Node::status);
            nodes.into_iter().all(|status| {
                let calls = if everywhere { status.calls.current == 1 } else { status.calls.current > 0 };
                (status.proxied, status.chats.current) == (1, 1) && calls
            })
        })
        .await;
        Self { alice, bob, carol, out, inward, chat, download }
    }

    /// Everything is as if nothing were.
    async fn go_on(&mut self) {
        let before = [self.out.stats().received, self.inward.stats().received];
        self.out.hold().await.expect("a re-INVITE passes");
        self.out.resume().await.expect("and another");
        self.inward.hold_by_update(true).await.expect("an UPDATE passes");
        self.inward.hold_by_update(false).await.expect("and another");
        wait("both hear each other", || {
            let now = [self.out.stats(), self.inward.stats()];
            now.iter().zip(before).all(|(now, before)| now.received > before + 10 && now.refused == 0)
        })
        .await;
        self.chat.ping().await.expect("the chat goes on");
        assert!(!self.download.is_finished());
    }
}

/// What a phone was told, in the words that clients of the field know.
fn says_maintenance(refusal: &str) {
    assert!(refusal.contains("\r\nWarning: 382 ") && refusal.contains("\"System in Maintenance Mode\""), "{refusal}");
    assert!(refusal.contains("\r\nRetry-After: "), "{refusal}");
}

fn refused<T>(outcome: Result<T, PhoneError>) {
    match outcome {
        Err(PhoneError::Refused { status: 503, .. }) => {}
        Err(other) => panic!("503 was expected: {other}"),
        Ok(_) => panic!("503 was expected"),
    }
}

/// Nothing new is begun, whoever asks for it.
async fn nothing_begins(fleet: &Fleet, sessions: &Sessions) {
    for caller in [&sessions.carol, &sessions.alice] {
        refused(caller.call("sip:1004@cucm1.lab.example").await);
        says_maintenance(&fleet.refusal());
    }
    assert_eq!(sessions.carol.request("MESSAGE", sessions.bob.aor()).await, Ok(503));
    refused(sessions.carol.refresh().await);
    says_maintenance(&fleet.refusal());
    assert_eq!(sessions.alice.refresh().await, Ok(60), "with a call up it must stay");
    let got = fleet.sign_in("frank").await;
    assert!(got.status == 503 && got.header("retry-after").is_some(), "{} {:?}", got.status, got.headers);
    match fleet.open_chat("frank").await {
        Err(ChatError::Stream(condition, _)) => assert_eq!(condition, "system-shutdown"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("let in"),
    }
}

/// One kind after the other ends, and each part is inactive as soon as nothing of its own is left.
async fn ends_one_by_one(fleet: &Fleet, node: &Node, sessions: Sessions) {
    let Sessions { alice, bob, carol, out, mut inward, chat, download } = sessions;
    for _ in 1..PIECES {
        fleet.piece.send(()).expect("the server runs");
    }
    let got = download.await.expect("it ends");
    assert!(got.status == 200 && got.body == PIECE.repeat(PIECES));
    wait("no request is left", || node.part("HTTP proxy service") == INACTIVE).await;
    assert_eq!((node.part("XMPP router"), node.part("SIP")), ("Draining (1)".into(), "Draining (4)".into()));
    out.hang_up().await.expect("a BYE passes");
    assert_eq!(inward.ended(PATIENCE).await, Ok(Ending::HungUpThere));
    for phone in [alice, bob, carol] {
        phone.unregister().await.expect("whoever goes may go");
    }
    wait("nobody is registered", || node.part("SIP") == INACTIVE).await;
    assert_eq!(node.part("Port forwarding mesh"), "Draining (1)", "it carries the chat");
    let said = node.edgeway(&["maintenance", "status"]).await;
    assert!(said.contains("draining: 0 calls, 1 chat, 0 registrations, 0 requests"), "{said}");
    chat.close().await.expect("it ends");
    let last = Instant::now();
    wait("drained", || PARTS.iter().all(|part| node.part(part) == INACTIVE)).await;
    assert!(last.elapsed() < DRAINED_WITHIN, "{:?}", last.elapsed());
    let said = node.edgeway(&["maintenance", "status", "--watch"]).await;
    assert!(said.contains("drained: nothing is served any more"), "{said}");
}

/// Whatever an operator orders meanwhile, there or at the core: a drained node stays drained.
async fn orders_begin_nothing(fleet: &Fleet, node: &Node) {
    for order in [&["servers", "refresh"][..], &["servers", "list"], &["chats"]] {
        let (content, said) = fleet.cores[0].try_edgeway(order).await;
        assert!(content, "{order:?}: {said}");
        assert!(PARTS.iter().all(|part| node.part(part) == INACTIVE), "after {order:?}");
    }
    let status = node.status();
    assert_eq!((status.calls.current, status.chats.current, status.registrations.current), (0, 0, 0));
    assert_eq!(fleet.sign_in("frank").await.status, 503, "and still lets nobody in");
}

async fn one_node_drains(fleet: &Fleet, node: &Node) {
    let mut sessions = Sessions::begin(fleet).await;
    assert!(node.edgeway(&["maintenance", "status"]).await.contains("in service"));
    let said = node.edgeway(&["maintenance", "start"]).await;
    assert!(said.contains("draining: 1 call, 1 chat, 3 registrations, "), "{said}");
    assert!(node.alarmed());
    sessions.go_on().await;
    nothing_begins(fleet, &sessions).await;
    sessions.go_on().await;
    let shown = node.edgeway(&["status"]).await;
    for wanted in
        ["SIP: Draining (4)", "XMPP router: Draining (1)", "HTTP proxy service: Draining (1)", "maintenance_mode"]
    {
        assert!(shown.contains(wanted), "{wanted} is missing in:\n{shown}");
    }
    ends_one_by_one(fleet, node, sessions).await;
    orders_begin_nothing(fleet, node).await;
    let said = node.edgeway(&["maintenance", "cancel"]).await;
    assert!(said.contains("in service"), "{said}");
    assert!(!node.alarmed() && PARTS.iter().all(|part| node.part(part) == "Active"));
    let (carol, dave) = (fleet.phone("carol").await, fleet.phone("dave").await);
    let answering = dave.answer_next(PATIENCE, Duration::ZERO);
    let (call, _inward) = tokio::try_join!(carol.call(dave.aor()), answering).expect("a call");
    fleet.chat("erin").await.ping().await.expect("chat");
    call.hang_up().await.expect("a call like any other");
}

#[tokio::test]
async fn an_edge_lets_go_on_what_exists_and_refuses_what_is_new() {
    let fleet = Fleet::start("edge", 1, 15_000).await;
    one_node_drains(&fleet, &fleet.edge).await;
}

#[tokio::test]
async fn a_core_alone_does_the_same() {
    let fleet = Fleet::start("core", 1, 15_400).await;
    one_node_drains(&fleet, &fleet.cores[0]).await;
}

/// Sessions of as many users as it takes until both cores have some of each kind.
async fn spread(fleet: &Fleet) -> (Vec<(Phone, Phone, Call, Call)>, Vec<ChatClient>) {
    let (mut calls, mut chats) = (Vec::new(), Vec::new());
    for [caller, callee] in [["alice", "bob"], ["carol", "dave"]] {
        let (caller, callee) = (fleet.phone(caller).await, fleet.phone(callee).await);
        let answering = callee.answer_next(PATIENCE, Duration::ZERO);
        let (out, inward) = tokio::try_join!(caller.call(callee.aor()), answering).expect("a call");
        calls.push((caller, callee, out, inward));
    }
    for user in ["alice", "bob", "carol", "dave", "erin", "frank"] {
        chats.push(fleet.chat(user).await);
    }
    wait("all are counted", || {
        let all = fleet.cores.iter().map(Node::status);
        all.map(|status| status.chats.current).sum::<u64>() == 6
    })
    .await;
    (calls, chats)
}

#[tokio::test]
async fn of_two_cores_the_other_takes_everything_new() {
    let fleet = Fleet::start("cores", 2, 15_800).await;
    let (mut calls, mut chats) = spread(&fleet).await;
    let (leaves, stays) = (&fleet.cores[0], &fleet.cores[1]);
    let before = leaves.status();
    assert!(before.registrations.current > 0 && before.calls.current > 0 && before.chats.current > 0, "{before:?}");
    leaves.edgeway(&["maintenance", "start"]).await;
    tokio::time::sleep(TOLD_WITHIN).await;

    for (caller, callee, ..) in &calls {
        for phone in [caller, callee] {
            assert!(phone.refresh().await.is_ok_and(|granted| granted > 60), "through the other core, as ever");
        }
    }
    assert_eq!(leaves.status().registrations.current, 0, "each has moved");
    assert_eq!(stays.status().registrations.current, 4);
    let (erin, frank) = (fleet.phone("erin").await, fleet.phone("frank").await);
    let answering = frank.answer_next(PATIENCE, Duration::ZERO);
    let (out, inward) = tokio::try_join!(erin.call(frank.aor()), answering).expect("a call");
    for user in ["alice", "bob", "carol", "dave", "erin", "frank"] {
        assert_eq!(fleet.sign_in(user).await.status, 200, "{user}");
        fleet.chat(user).await.ping().await.expect("a chat at the other core");
    }
    let now = leaves.status();
    assert_eq!((now.calls.current, now.registrations.current), (before.calls.current, 0));
    for (_, _, out, inward) in &mut calls {
        out.hold().await.expect("a re-INVITE passes");
        out.resume().await.expect("and another");
        let heard = [out.stats().received, inward.stats().received];
        wait("both hear each other", || {
            [out.stats(), inward.stats()].iter().zip(heard).all(|(now, before)| now.received > before + 10)
        })
        .await;
        inward.hang_up().await.expect("a BYE passes");
        assert_eq!(out.ended(PATIENCE).await, Ok(Ending::HungUpThere));
    }
    wait("no call is left", || leaves.part("SIP") == INACTIVE).await;
    for chat in &mut chats {
        chat.ping().await.expect("it goes on where it is");
    }
    for chat in chats {
        chat.close().await.expect("it ends");
    }
    let last = Instant::now();
    wait("drained", || PARTS.iter().all(|part| leaves.part(part) == INACTIVE)).await;
    assert!(last.elapsed() < DRAINED_WITHIN, "{:?}", last.elapsed());
    // Stopped now, it is missed by nobody.
    out.hold().await.expect("a call of the other core");
    let heard = inward.stats();
    assert_eq!(heard.refused, 0);
    leaves.edgeway(&["maintenance", "cancel"]).await;
    assert_eq!(leaves.part("SIP"), "Active");
    tokio::time::sleep(TOLD_WITHIN).await;
    let mut again = Vec::new();
    for user in ["alice", "bob", "carol", "dave"] {
        again.push(fleet.phone(user).await);
    }
    assert!(leaves.status().registrations.current > 0, "it takes its share, as before");
}

#[tokio::test]
async fn it_outlives_a_restart_where_that_was_asked_for() {
    let mut fleet = Fleet::start("kept", 1, 16_200).await;
    let file = fleet.edge.state_dir().join("maintenance.json");
    fleet.edge.edgeway(&["maintenance", "start"]).await;
    fleet.edge.end();
    fleet.edge.begin();
    assert!(fleet.edge.edgeway(&["maintenance", "status"]).await.contains("in service"), "nobody asked for it");

    fleet.edge.edgeway(&["maintenance", "start", "--keep", "--within", "2h"]).await;
    fleet.edge.end();
    fleet.edge.begin();
    let said = fleet.edge.edgeway(&["maintenance", "status", "-o", "json"]).await;
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["on"], true);
    let left = said["left_s"].as_u64().expect("a deadline");
    assert!((7_000..7_200).contains(&left), "{left}");
    assert!(fleet.edge.alarmed());
    assert_eq!(fleet.sign_in("alice").await.status, 503);

    // Whatever became of the file, it says that the node was to stay out of service.
    for damage in ["", "{", "{\"until_ms\": \"soon\"}", "{\"until_ms\": -1}"] {
        std::fs::write(&file, damage).expect("written");
        fleet.edge.end();
        fleet.edge.begin();
        let said = fleet.edge.edgeway(&["maintenance", "status", "-o", "json"]).await;
        let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        assert!(said["on"] == true && said["left_s"].is_null(), "{damage:?}: {said}");
    }
    fleet.edge.edgeway(&["maintenance", "cancel"]).await;
    assert!(!file.exists());
    fleet.edge.end();
    fleet.edge.begin();
    assert!(fleet.edge.edgeway(&["maintenance", "status"]).await.contains("in service"));
    // A place that cannot be written to: the operator hears of it, and nothing has changed.
    std::fs::create_dir(&file).expect("in the way");
    let (content, said) = fleet.edge.try_edgeway(&["maintenance", "start", "--keep"]).await;
    assert!(!content, "{said}");
    assert!(fleet.edge.edgeway(&["maintenance", "status"]).await.contains("in service"));
}

#[tokio::test]
async fn a_service_told_to_end_lets_its_sessions_end_first() {
    let mut fleet = Fleet::start("ended", 1, 16_600).await;
    let (alice, bob) = (fleet.phone("alice").await, fleet.phone("bob").await);
    let answering = bob.answer_next(PATIENCE, Duration::ZERO);
    let (out, mut inward) = tokio::try_join!(alice.call(bob.aor()), answering).expect("a call");
    wait("the edge counts it", || fleet.edge.status().calls.current == 1).await;
    fleet.edge.ease();
    wait("maintenance mode", || fleet.edge.alarmed()).await;
    refused(alice.call("sip:1004@cucm1.lab.example").await);
    out.hold().await.expect("a re-INVITE passes");
    assert!(fleet.edge.runs());
    out.hang_up().await.expect("a BYE passes");
    assert_eq!(inward.ended(PATIENCE).await, Ok(Ending::HungUpThere));
    wait("it ends, though two phones are registered", || !fleet.edge.runs()).await;

    // A core whose settings give it a second ends with a call up; and one that is told twice ends at once.
    fleet.edge.end();
    fleet.edge.begin();
    fleet.ready().await;
    drop((alice, bob));
    let (carol, dave) = (fleet.phone("carol").await, fleet.phone("dave").await);
    let answering = dave.answer_next(PATIENCE, Duration::ZERO);
    let _call = tokio::try_join!(carol.call(dave.aor()), answering).expect("a call");
    fleet.cores[0].ease();
    wait("it has waited long enough", || !fleet.cores[0].runs()).await;
    fleet.edge.ease();
    fleet.edge.end();
    assert!(!fleet.edge.runs());
}
