//! Two edges, two cores, two users who never stop: whatever is taken from the world, they resume through what is left,
//! and nothing is lost or comes twice.

use std::time::{Duration, Instant};

use edgeway_lab_servers::xmpp::{ChatClient, ChatConfig, ChatError, Kept};

use crate::house::{House, PATIENCE, Plan, wait};
use crate::wire::Wire;

/// Somebody who sends a message every few milliseconds, and reads.
struct Chatter {
    user: &'static str,
    peer: &'static str,
    /// Ways in, the preferred one first.
    ways: Vec<ChatConfig>,
    client: Option<ChatClient>,
    sent: usize,
    heard: Vec<String>,
    resumed: usize,
}

impl Chatter {
    async fn start(house: &House, user: &'static str, peer: &'static str, edges: &[usize]) -> Self {
        let ways: Vec<ChatConfig> = edges.iter().map(|edge| house.user(*edge, user)).collect();
        let client = ChatClient::start(&ways[0]).await.unwrap_or_else(|error| panic!("{user}: {error}"));
        Self { user, peer, ways, client: Some(client), sent: 0, heard: Vec::new(), resumed: 0 }
    }

    /// One message out, and in whatever there is.
    async fn turn(&mut self) {
        let outcome = self.talk().await;
        if let Err(error) = outcome {
            let silent = matches!(error, ChatError::Cut(_));
            assert!(silent, "{}: a stream that breaks says nothing, so that the session lives: {error}", self.user);
            let client = self.client.take().expect("a client");
            self.resume(client.into_kept().expect("it can be resumed")).await;
        }
    }

    async fn talk(&mut self) -> Result<(), ChatError> {
        let client = self.client.as_mut().expect("a client");
        let number = self.sent;
        self.sent += 1;
        client.message(&format!("{}@lab.example", self.peer), &format!("{} says {number}", self.user)).await?;
        self.hear(Duration::from_millis(3)).await
    }

    async fn hear(&mut self, time: Duration) -> Result<(), ChatError> {
        let client = self.client.as_mut().expect("a client");
        while let Some(stanza) = client.next_within(time).await? {
            if stanza.name == "message" {
                assert_ne!(stanza.attribute("type"), Some("error"), "{stanza:?}");
                self.heard.push(stanza.text_of("body").unwrap_or_default().to_owned());
            }
        }
        Ok(())
    }

    async fn resume(&mut self, kept: Kept) {
        let until = Instant::now() + PATIENCE;
        for way in self.ways.iter().cycle() {
            match ChatClient::resume(way, kept.clone()).await {
                Ok(client) => {
                    self.client = Some(client);
                    self.resumed += 1;
                    return;
                }
                Err(ChatError::NotResumed(why)) => panic!("{}: the session is lost: {why}", self.user),
                Err(ChatError::Refused(condition, _)) => assert_eq!(condition, "temporary-auth-failure"),
                Err(ChatError::Connect(..) | ChatError::Tls(_) | ChatError::Stream(..) | ChatError::Cut(_)) => {}
                Err(error) => panic!("{}: {error}", self.user),
            }
            assert!(Instant::now() < until, "{}: nobody lets it resume", self.user);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}

/// Both talk until it is so.
async fn talk_until(pair: &mut [Chatter; 2], what: &str, so: impl Fn(&[Chatter; 2]) -> bool) {
    let until = Instant::now() + PATIENCE;
    while !so(pair) {
        assert!(Instant::now() < until, "in a minute: {what}");
        let [one, other] = pair;
        tokio::join!(one.turn(), other.turn());
    }
}

/// Nothing was lost, nothing came twice, in order; and both ends count the same.
async fn settle(house: &House, pair: &mut [Chatter; 2]) {
    let until = Instant::now() + PATIENCE;
    loop {
        let missing = |pair: &[Chatter; 2]| pair[0].heard.len() < pair[1].sent || pair[1].heard.len() < pair[0].sent;
        if !missing(pair) {
            break;
        }
        assert!(Instant::now() < until, "what is missing does not come");
        for one in pair.iter_mut() {
            one.hear(Duration::from_millis(20)).await.expect("the stream holds");
        }
    }
    let [one, other] = pair;
    for (hears, says) in [(&*one, &*other), (&*other, &*one)] {
        let expected: Vec<String> = (0..says.sent).map(|number| format!("{} says {number}", says.user)).collect();
        assert_eq!(hears.heard, expected, "what {} hears", hears.user);
    }
    for one in pair.iter_mut() {
        let user = one.user;
        let client = one.client.as_mut().expect("a client");
        let count = client.acknowledged().await.expect("a count");
        let kept = client.kept().expect("kept");
        let sessions = house.chat.sessions();
        let view = sessions.iter().find(|session| session.jid == kept.jid).expect("the session");
        assert_eq!((view.received, kept.sent), (Some(count), count), "{user}: what it sent");
        assert_eq!(view.sent, Some(kept.received), "{user}: what it got");
        assert_eq!(kept.unacknowledged.len(), 0, "{user}");
    }
    assert_eq!(house.chat.sessions().len(), 2, "the sessions are the same two");
}

fn chats(house: &House, core: usize) -> u64 {
    house.cores[core].as_ref().map_or(0, |core| core.status().chats.current)
}

#[tokio::test]
async fn a_core_is_killed_and_both_go_on_through_the_other() {
    let mut house = House::start("core-killed", Plan { edges: 2, cores: 2, ..Plan::default() }).await;
    let mut pair =
        [Chatter::start(&house, "alice", "bob", &[0]).await, Chatter::start(&house, "bob", "alice", &[1]).await];
    talk_until(&mut pair, "they chat", |pair| pair.iter().all(|one| one.heard.len() > 30)).await;
    wait("the cores count them", || chats(&house, 0) + chats(&house, 1) == 2).await;
    let dies = usize::from(chats(&house, 0) < chats(&house, 1));
    let at_it = usize::try_from(chats(&house, dies)).expect("a few");
    house.kill_core(dies);
    talk_until(&mut pair, "who was there resumes", |pair| {
        pair.iter().map(|one| one.resumed).sum::<usize>() >= at_it && pair.iter().all(|one| one.heard.len() > 100)
    })
    .await;
    settle(&house, &mut pair).await;
    wait("both are at the other core", || chats(&house, 1 - dies) == 2).await;
}

#[tokio::test]
async fn an_edge_is_killed_and_its_user_goes_on_through_the_other() {
    let mut house = House::start("edge-killed", Plan { edges: 2, cores: 2, ..Plan::default() }).await;
    let mut pair =
        [Chatter::start(&house, "alice", "bob", &[0, 1]).await, Chatter::start(&house, "bob", "alice", &[1]).await];
    talk_until(&mut pair, "they chat", |pair| pair.iter().all(|one| one.heard.len() > 30)).await;
    house.kill_edge(0);
    talk_until(&mut pair, "alice resumes", |pair| pair[0].resumed > 0 && pair.iter().all(|one| one.heard.len() > 100))
        .await;
    settle(&house, &mut pair).await;
    assert_eq!(pair[1].resumed, 0, "bob has not noticed");
}

#[tokio::test]
async fn a_link_that_is_cut_costs_a_resumption_and_no_message() {
    let house = House::start("link-cut", Plan { edges: 2, cores: 2, ..Plan::default() }).await;
    let mut pair =
        [Chatter::start(&house, "alice", "bob", &[0]).await, Chatter::start(&house, "bob", "alice", &[1]).await];
    talk_until(&mut pair, "they chat", |pair| pair.iter().all(|one| one.heard.len() > 30)).await;
    for round in 1..=2 {
        // Both cores lose the first edge: alice can do nothing until a link is back.
        for links in &house.links {
            links[0].set(Wire::Cut);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        for links in &house.links {
            links[0].set(Wire::Whole);
        }
        let heard = pair[0].heard.len() + 50;
        talk_until(&mut pair, "alice resumes", |pair| {
            pair[0].resumed >= round && pair.iter().all(|one| one.heard.len() > heard)
        })
        .await;
    }
    settle(&house, &mut pair).await;
    assert_eq!(pair[1].resumed, 0, "bob has not noticed");
}

#[tokio::test]
async fn a_client_that_is_cut_resumes_through_another_edge_and_core() {
    let house = House::start("client-cut", Plan { edges: 2, cores: 2, ..Plan::default() }).await;
    let mut alice = house.session(0, "alice").await;
    let mut bob = house.session(1, "bob").await;
    alice.message("bob@lab.example", "before").await.expect("sent");
    assert_eq!(bob.next_message().await.expect("heard").1, "before");
    let jid = alice.jid.clone().expect("a JID");
    let kept = alice.cut().expect("it can be resumed");
    wait("the service has lost her connection, not her session", || {
        house.chat.sessions().iter().any(|session| session.jid == jid && !session.attached)
    })
    .await;
    bob.message(&jid, "meanwhile").await.expect("sent");
    let mut alice = ChatClient::resume(&house.user(1, "alice"), kept).await.expect("resumed");
    assert_eq!(alice.next_message().await.expect("heard").1, "meanwhile");
    alice.message("bob@lab.example", "after").await.expect("sent");
    assert_eq!(bob.next_message().await.expect("heard").1, "after");
    let kept = alice.kept().expect("kept");
    let view = house.chat.sessions().into_iter().find(|session| session.jid == jid).expect("hers");
    assert_eq!(view.sent, Some(kept.received));
}

#[tokio::test]
async fn a_service_that_dies_ends_its_streams_without_a_word() {
    let house = House::start("service-dies", Plan::default()).await;
    let mut alice = house.session(0, "alice").await;
    house.inside[0][0].set(Wire::Cut);
    let ended = alice.ended().await;
    assert!(matches!(ended, ChatError::Cut(_)), "{ended}");
    house.inside[0][0].set(Wire::Whole);
    let mut chatter = Chatter {
        user: "alice",
        peer: "alice",
        ways: vec![house.user(0, "alice")],
        client: None,
        sent: 0,
        heard: Vec::new(),
        resumed: 0,
    };
    chatter.resume(alice.into_kept().expect("it can be resumed")).await;
    chatter.client.expect("resumed").ping().await.expect("it is there");
}

#[tokio::test]
async fn a_node_that_is_stopped_leaves_its_sessions_to_the_others() {
    let mut house = House::start("stopped", Plan { edges: 2, cores: 2, ..Plan::default() }).await;
    let mut alice = house.session(0, "alice").await;
    let stopped = house.edges[0].take();
    let stopping = tokio::task::spawn_blocking(move || drop(stopped));
    let ended = alice.ended().await;
    // Without a word: an error, or an end tag, would be the end of the session for many clients.
    assert!(matches!(ended, ChatError::Cut(_)), "{ended}");
    stopping.await.expect("it stops");
    let kept = alice.into_kept().expect("it can be resumed");
    let mut alice = ChatClient::resume(&house.user(1, "alice"), kept).await.expect("through the other edge");
    alice.ping().await.expect("it is there");

    wait("a core counts her", || chats(&house, 0) + chats(&house, 1) == 1).await;
    let stops = usize::from(chats(&house, 0) == 0);
    let stopped = house.cores[stops].take();
    let stopping = tokio::task::spawn_blocking(move || drop(stopped));
    let ended = alice.ended().await;
    assert!(matches!(ended, ChatError::Cut(_)), "{ended}");
    stopping.await.expect("it stops");
    let kept = alice.into_kept().expect("it can be resumed");
    let mut alice = ChatClient::resume(&house.user(1, "alice"), kept).await.expect("through the other core");
    alice.ping().await.expect("it is there");
}
