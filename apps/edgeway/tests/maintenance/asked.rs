//! One core is asked for what its edge and the other core know and do, as an operator asks: with the command line.

use std::time::Duration;

use edgeway_lab_servers::Ending;
use serde_json::Value;

use crate::fleet::{Fleet, Node, PATIENCE, wait};

async fn json(node: &Node, arguments: &[&str]) -> Value {
    let arguments: Vec<_> = arguments.iter().copied().chain(["-o", "json"]).collect();
    let said = node.edgeway(&arguments).await;
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
}

/// The rows of a list.
async fn rows(node: &Node, list: &str, arguments: &[&str]) -> Vec<Value> {
    let arguments: Vec<_> = std::iter::once(list).chain(arguments.iter().copied()).collect();
    json(node, &arguments).await[list].as_array().cloned().expect("a list")
}

async fn refused(node: &Node, arguments: &[&str], why: &str) {
    let (content, said) = node.try_edgeway(arguments).await;
    assert!(!content && said.contains(why), "{arguments:?}: {said}");
}

#[tokio::test]
async fn a_core_is_asked_for_what_its_edge_and_the_other_core_know() {
    let fleet = Fleet::start("asked", 2, 17_000).await;
    let core = &fleet.cores[0];
    let (alice, bob) = (fleet.phone("alice").await, fleet.phone("bob").await);
    let answering = bob.answer_next(PATIENCE, Duration::ZERO);
    let (out, mut inward) = tokio::try_join!(alice.call(bob.aor()), answering).expect("a call");
    let chat = fleet.chat("dave").await;
    wait("the edge counts it all", || {
        let status = fleet.edge.status();
        status.calls.current >= 1 && status.chats.current == 1 && status.registrations.current >= 2
    })
    .await;

    let edge = json(core, &["status", "--node", "edge1"]).await;
    assert_eq!((edge["node"].as_str(), edge["role"].as_str()), (Some("edge1"), Some("edge")), "{edge}");
    assert!(edge["calls"]["current"].as_u64() >= Some(1));
    assert!(edge["resources"]["memory_bytes"].as_u64() > Some(1 << 20), "{}", edge["resources"]);
    assert!(edge["started_ms"].as_u64() <= edge["now_ms"].as_u64());
    let other = json(core, &["status", "--node", "core2"]).await;
    assert_eq!((other["node"].as_str(), other["role"].as_str()), (Some("core2"), Some("core")));
    let said = core.edgeway(&["status", "--node", "core1"]).await;
    assert!(said.starts_with("core1 (core)"), "its own name is itself: {said}");
    let nodes = json(core, &["nodes"]).await;
    let names =
        nodes["nodes"].as_array().into_iter().flatten().map(|node| (node["node"].as_str(), node["role"].as_str()));
    let expected =
        [("core1", "core"), ("core2", "core"), ("edge1", "edge")].map(|(name, role)| (Some(name), Some(role)));
    assert_eq!(names.collect::<std::collections::BTreeSet<_>>(), expected.into(), "{nodes}");

    // Who is registered: at the edge all, at the cores each its own.
    let named = |rows: &[Value], user: &str| {
        rows.iter().find(|row| row["aor"].as_str().is_some_and(|aor| aor.starts_with(user))).cloned()
    };
    let at_edge = rows(core, "registrations", &["--node", "edge1"]).await;
    for user in ["1001", "1002"] {
        let there = named(&at_edge, user).unwrap_or_else(|| panic!("{user} is not in {at_edge:?}"));
        assert_eq!((there["edge"].as_str(), there["transport"].as_str()), (Some("edge1"), Some("tls")));
        let through = there["core"].as_str().expect("through a core").to_owned();
        let here = named(&rows(core, "registrations", &["--node", &through]).await, user).expect("at that core");
        assert_eq!((&here["client"], &here["device"]), (&there["client"], &there["device"]), "{here}");
        assert!(here["registrar"].as_str().is_some_and(|at| at.contains(';')), "{here}");
    }
    assert!(rows(core, "registrations", &["--node", "edge1", "--user", "nobody"]).await.is_empty());

    let mut calls = rows(core, "calls", &[]).await;
    calls.extend(rows(core, "calls", &["--node", "core2"]).await);
    let talks = calls.iter().filter(|call| call["from"].as_str().is_some_and(|from| from.starts_with("1001"))).count();
    assert!(talks >= 1 && calls.iter().all(|call| call["state"] == "up"), "{calls:?}");
    assert!(!rows(core, "calls", &["--node", "edge1"]).await.is_empty());
    let chats = rows(core, "chats", &["--node", "edge1"]).await;
    assert_eq!(chats.len(), 1, "{chats:?}");

    // What is ordered there happens there.
    let said = core.edgeway(&["maintenance", "start", "--node", "edge1"]).await;
    assert!(said.starts_with("edge1: draining: "), "{said}");
    assert!(fleet.edge.alarmed() && !core.alarmed());
    let status = json(core, &["status", "--node", "edge1"]).await;
    let maintenance = &status["maintenance"];
    assert_eq!((&maintenance["kept"], &maintenance["remaining"]["chats"]), (&false.into(), &1.into()), "{maintenance}");
    assert_eq!(maintenance["estimate_s"], Value::Null, "nobody knows how long somebody chats");
    let events = rows(core, "events", &["--node", "edge1", "--level", "warning"]).await;
    for id in ["maintenance", "alarm.raised"] {
        assert!(events.iter().any(|event| event["id"] == id), "{id}: {events:?}");
    }
    let number = chats[0]["number"].to_string();
    core.edgeway(&["chats", "disconnect", &number, "--node", "edge1"]).await;
    wait("the chat is ended", || fleet.edge.status().chats.current == 0).await;
    drop(chat);
    core.edgeway(&["maintenance", "cancel", "--node", "edge1"]).await;
    assert!(!fleet.edge.alarmed());

    refused(core, &["status", "--node", "edge9"], "no node edge9 is linked").await;
    refused(&fleet.edge, &["status", "--node", "core1"], "an edge asks no other node").await;
    out.hang_up().await.expect("a BYE passes");
    let _ = inward.ended(PATIENCE).await;
}

#[tokio::test]
async fn a_call_is_shown_and_ended_at_the_core_that_has_it() {
    let fleet = Fleet::start("ended", 2, 17_600).await;
    let core = &fleet.cores[0];
    let (alice, bob) = (fleet.phone("alice").await, fleet.phone("bob").await);
    let answering = bob.answer_next(PATIENCE, Duration::ZERO);
    let (mut out, mut inward) = tokio::try_join!(alice.call(bob.aor()), answering).expect("a call");
    let mut listed = Vec::new();
    for node in ["core1", "core2"] {
        let rows = rows(core, "calls", &["--state", "up", "--edge", "edge1", "--node", node]).await;
        listed.extend(rows.into_iter().map(|row| (node, row["id"].to_string(), row)));
    }
    let calls = |call: &&(&str, String, Value)| call.2["from"].as_str().is_some_and(|from| from.starts_with("1001"));
    let (node, id, _) = listed.iter().find(calls).expect("alice's call");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let shown = loop {
        let shown = json(core, &["calls", "show", id, "--node", node]).await;
        if shown["sections"][0]["packets"]["inward"].as_u64() > Some(20) {
            break shown;
        }
        assert!(tokio::time::Instant::now() < deadline, "no packet of the client is counted: {shown}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let section = &shown["sections"][0];
    assert_eq!((section["kind"].as_str(), section["direction"].as_str()), (Some("audio"), Some("sendrecv")), "{shown}");
    assert!(section["codecs"].as_str().is_some_and(|codecs| codecs.starts_with("PCM")), "{shown}");
    assert!(section["client"]["protection"].as_str().is_some_and(|suite| suite.contains("AES")), "{shown}");
    let text = core.edgeway(&["calls", "show", id, "--node", node]).await;
    assert!(text.contains("protection") && text.contains("sections 1"), "{text}");
    let of_alice = core.try_edgeway(&["registrations", "show", "nobody@nowhere"]).await;
    assert!(!of_alice.0 && of_alice.1.contains("nothing of that name"), "{}", of_alice.1);

    core.edgeway(&["calls", "end", id, "--node", node]).await;
    // Not because their connections break: each hears a BYE, as of the other.
    for (party, call) in [("the caller", &mut out), ("the callee", &mut inward)] {
        assert_eq!(call.ended(PATIENCE).await, Ok(Ending::HungUpThere), "{party}");
    }
    wait("nothing of it is left", || {
        fleet.cores.iter().chain([&fleet.edge]).all(|node| node.status().calls.current == 0)
    })
    .await;
    refused(core, &["calls", "end", id, "--node", node], "it may be over already").await;
    refused(&fleet.edge, &["calls", "end", "1"], "ask the core that has it").await;
}
