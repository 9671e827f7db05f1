//! Nodes of the chat service that are down, slow or elsewhere: what a client sees of it before it has signed in.

use std::time::Duration;

use edgeway_lab_servers::xmpp::{ChatClient, ChatError, ChatFault, Mechanism};
use edgeway_model::chat::ChatOffence;
use edgeway_model::notice::Notice;

use crate::house::{House, Plan, im, password, refusal};

fn two() -> Plan {
    Plan { nodes: 2, ..Plan::default() }
}

/// The node a user's stream is at.
fn node_of(house: &House, user: &str) -> Option<String> {
    let sessions = house.chat.sessions();
    sessions.into_iter().find(|session| session.jid.starts_with(&format!("{user}@"))).map(|session| session.node)
}

#[tokio::test]
async fn a_node_that_is_down_or_out_of_its_mind_is_passed_over_unseen() {
    let house = House::start("down", two()).await;
    let first = house.session(0, "alice").await;
    assert_eq!(node_of(&house, "alice"), Some(im(1)), "the order is the operator's");
    drop(first);
    house.chat.power(&im(1), false).expect("off");
    let mut bob = house.session(0, "bob").await;
    bob.ping().await.expect("it is there");
    assert_eq!(node_of(&house, "bob"), Some(im(2)));
    house.chat.power(&im(1), true).expect("on");
    house.chat.fault(&im(1), Some(ChatFault::SeeOtherHost(im(2))));
    house.session(0, "carol").await.ping().await.expect("it is there");
    house.chat.fault(&im(1), Some(ChatFault::Hang));
    house.session(0, "dave").await.ping().await.expect("it is there");
    assert_eq!(node_of(&house, "dave"), Some(im(2)));
}

#[tokio::test]
async fn when_nobody_can_be_asked_it_is_temporary_and_nobodys_fault() {
    let house = House::start("all-down", two()).await;
    for number in [1, 2] {
        house.chat.power(&im(number), false).expect("off");
    }
    let mut client = ChatClient::open(&house.user(0, "alice")).await.expect("the edge and the core are there");
    assert!(client.mechanisms().contains(&"PLAIN".to_owned()), "{:?}", client.mechanisms());
    for secret in [password("alice"), "guessed".to_owned()] {
        assert_eq!(refusal(client.authenticate(Mechanism::Plain, &secret).await), "temporary-auth-failure");
    }
    drop(client);
    let offended = house.core(0).notices().iter().any(|notice| matches!(notice, Notice::ChatOffence { .. }));
    assert!(!offended, "{:?}", house.core(0).notices());

    for number in [1, 2] {
        house.chat.power(&im(number), true).expect("on");
    }
    let mut last = None;
    for _ in 0..5 {
        match ChatClient::sign_in(&house.user(0, "bob")).await {
            Ok(_) => return,
            Err(error @ (ChatError::Refused(..) | ChatError::Stream(..))) => last = Some(error),
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    panic!("the nodes are back, and yet: {last:?}");
}

#[tokio::test]
async fn a_node_that_cannot_ask_says_so_and_one_that_dies_is_never_a_wrong_password() {
    let house = House::start("temporary", Plan::default()).await;
    house.chat.fault(&im(1), Some(ChatFault::TemporaryAuthFailure));
    assert_eq!(refusal(ChatClient::sign_in(&house.user(0, "alice")).await), "temporary-auth-failure");
    house.chat.fault(&im(1), Some(ChatFault::DieInAuth));
    let died = ChatClient::sign_in(&house.plain("bob")).await;
    match died.as_ref().map(drop) {
        Err(ChatError::Refused(condition, _)) => assert_eq!(condition, "temporary-auth-failure"),
        Err(ChatError::Cut(_) | ChatError::Stream(..)) => {}
        other => panic!("{other:?}"),
    }
    let offences: Vec<Notice> = house.core(0).notices();
    let sign_in = |notice: &&Notice| matches!(notice, Notice::ChatOffence { offence: ChatOffence::SignIn, .. });
    assert_eq!(offences.iter().filter(sign_in).count(), 0, "{offences:?}");
    house.chat.fault(&im(1), None);
    house.session(0, "carol").await.ping().await.expect("it is there");
}
