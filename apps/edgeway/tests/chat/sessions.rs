//! What an operator sees of chat, and does: the list, the counts, a disconnect.

use std::process::Command;

use edgeway_lab_servers::xmpp::{ChatError, StreamEnding};
use edgeway_model::services::ServiceState;

use crate::house::{House, Node, Plan, wait};

/// Runs `edgeway chats …` against a node: what it prints, and whether it was content.
async fn chats(node: &Node, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeway"));
    command.arg("chats").args(arguments).arg("--config").arg(node.config.as_path());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it runs").expect("edgeway");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

#[tokio::test]
async fn sessions_are_listed_counted_and_ended_at_both_nodes() {
    let house = House::start("sessions", Plan::default()).await;
    let mut alice = house.session(0, "alice").await;
    let mut bob = house.session(0, "bob").await;
    for node in [house.edge(0), house.core(0)] {
        wait("both are counted", || node.status().chats.current == 2).await;
        let services = node.status().services;
        let row = |name: &str| services.iter().find(|row| row.name == name).map(|row| row.state);
        assert_eq!(row("IM and Presence Service"), Some(ServiceState::Configured), "{services:?}");
        assert_eq!(row("XMPP Federation"), Some(ServiceState::NotConfigured), "{services:?}");
    }
    let (listed, at_core) = chats(house.core(0), &["list"]).await;
    assert!(listed, "{at_core}");
    for wanted in ["alice@lab.example", "bob@lab.example", "edge1", "127.0.0.1"] {
        assert!(at_core.contains(wanted), "{wanted} is missing in:\n{at_core}");
    }
    let (listed, at_edge) = chats(house.edge(0), &["list"]).await;
    assert!(listed && at_edge.contains("core1") && at_edge.contains("127.0.0.1"), "{at_edge}");

    // By the number in alice's line.
    let line = at_core.lines().find(|line| line.contains("alice@lab.example")).expect("her line");
    let number = line.split_whitespace().next().expect("a number");
    let (done, said) = chats(house.core(0), &["disconnect", number]).await;
    assert!(done, "{said}");
    let ended = alice.ended().await;
    assert!(matches!(&ended, ChatError::Stream(why, _) if why == "policy-violation" || why == "reset"), "{ended}");
    bob.ping().await.expect("nobody else is");
    for node in [house.edge(0), house.core(0)] {
        wait("one is left", || node.status().chats.current == 1).await;
        assert_eq!(node.status().chats.peak, 2);
    }
    wait("the service has seen hers end", || {
        let streams = house.chat.streams();
        streams.iter().any(|stream| stream.ended.is_some_and(|ended| ended != StreamEnding::ByServer))
    })
    .await;

    // An edge ends what it carries by its own number, and the service keeps the session for a while.
    let (_, at_edge) = chats(house.edge(0), &["list"]).await;
    let line = at_edge.lines().find(|line| line.ends_with("yes")).expect("a line of one who has signed in");
    let number = line.split_whitespace().next().expect("a number");
    let (done, said) = chats(house.edge(0), &["disconnect", number]).await;
    assert!(done, "{said}");
    let ended = bob.ended().await;
    assert!(matches!(ended, ChatError::Stream(..)), "{ended}");
    for node in [house.edge(0), house.core(0)] {
        wait("nobody is left", || node.status().chats.current == 0).await;
    }
}
