//! Signing in to chat: each mechanism, wrong passwords, and the rate that HTTPS and chat share.

use edgeway_lab_servers::xmpp::{ChatClient, ChatConfig, ChatError, ChatTls, Mechanism};
use edgeway_model::chat::ChatOffence;
use edgeway_model::notice::Notice;

use crate::house::{AWAY, DOMAIN, ELSEWHERE, House, Plan, password, password_away, refusal, token, wait};

/// How often one user may show credentials within the period.
const ATTEMPTS: usize = 8;

fn offences(house: &House, wanted: ChatOffence) -> usize {
    let notices = house.core(0).notices();
    notices.iter().filter(|notice| matches!(notice, Notice::ChatOffence { offence, .. } if *offence == wanted)).count()
}

#[tokio::test]
async fn every_mechanism_passes_and_a_wrong_password_does_not() {
    let house = House::start("mechanisms", Plan::default()).await;
    let mechanisms = ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "OAUTHBEARER", "CISCO-VTG-TOKEN"];
    for (refused, (mechanism, user)) in
        Mechanism::ALL.into_iter().zip(["alice", "bob", "carol", "dave", "erin"]).enumerate()
    {
        let secret = match mechanism {
            Mechanism::OAuthBearer => token(user),
            Mechanism::CiscoVtgToken => house.one_time.issue_to(user),
            Mechanism::Plain | Mechanism::ScramSha1 | Mechanism::ScramSha256 => password(user),
        };
        let mut client = ChatClient::open(&house.user(0, user)).await.expect("open");
        // What the service offers besides is for whoever ends its TLS, or for nobody.
        assert_eq!(client.mechanisms(), mechanisms);
        let names: Vec<&str> = client.features.children.iter().map(|feature| feature.name.as_str()).collect();
        assert_eq!(names, ["mechanisms"]);
        let hostname = client.features.children[0].text_of("hostname");
        assert_eq!(hostname, Some("im1.lab.example"));
        assert_eq!(client.header.attribute("from"), Some(DOMAIN));

        assert_eq!(refusal(client.authenticate(mechanism, "guessed").await), "not-authorized", "{mechanism:?}");
        wait("the core has noticed", || offences(&house, ChatOffence::SignIn) == refused + 1).await;
        client.authenticate(mechanism, &secret).await.unwrap_or_else(|error| panic!("{mechanism:?}: {error}"));
        let names: Vec<&str> = client.features.children.iter().map(|feature| feature.name.as_str()).collect();
        assert_eq!(names, ["bind", "session", "sm", "ver"], "no compression");
        let jid = client.bind().await.expect("bound");
        assert!(jid.starts_with(&format!("{user}@{DOMAIN}/")), "{jid}");
        client.ping().await.expect("it is there");
        client.close().await.expect("closed in good order");
    }
    assert_eq!(house.core(0).counted("chat_offence_sign_in"), 5);
    assert_eq!(offences(&house, ChatOffence::Abuse), 0);
}

#[tokio::test]
async fn direct_tls_and_either_name_lead_to_the_same_service() {
    let house = House::start("direct", Plan::default()).await;
    let direct = ChatConfig { tls: ChatTls::Direct, server: house.places[0].direct, ..house.user(0, "alice") };
    for tls_name in [direct.tls_name.clone(), DOMAIN.to_owned()] {
        let mut client = ChatClient::start(&ChatConfig { tls_name, ..direct.clone() }).await.expect("alice");
        client.ping().await.expect("it is there");
    }
    let by_domain = ChatConfig { tls_name: DOMAIN.to_owned(), ..house.user(0, "bob") };
    ChatClient::start(&by_domain).await.expect("bob");
}

#[tokio::test]
async fn the_ninth_attempt_of_a_user_waits_at_whichever_door() {
    let house = House::start("rate", Plan::default()).await;
    let alice = house.plain("alice");
    for attempt in 1..=ATTEMPTS - 3 {
        ChatClient::sign_in(&alice).await.unwrap_or_else(|error| panic!("attempt {attempt}: {error}"));
    }
    for attempt in ATTEMPTS - 2..=ATTEMPTS {
        let got = house.edge_config("alice", &password("alice")).await;
        assert_eq!(got.status, 200, "attempt {attempt}");
    }
    let seen = house.chat.streams().iter().map(|stream| stream.attempts).sum::<u32>();
    let ninth = ChatClient::sign_in(&alice).await;
    let Err(ChatError::Refused(condition, text)) = &ninth.as_ref().map(drop) else { panic!("let in") };
    assert_eq!(condition, "temporary-auth-failure");
    assert!(text.contains("Try again in "), "when to try again: {text}");
    // The same user from another address is the same user.
    let elsewhere = ChatConfig {
        from: Some(ELSEWHERE),
        server: house.places[0].xmpp,
        mechanism: Mechanism::ScramSha256,
        ..alice.clone()
    };
    assert_eq!(refusal(ChatClient::sign_in(&elsewhere).await), "temporary-auth-failure");
    assert_eq!(house.edge_config("alice", &password("alice")).await.status, 429);
    let after = house.chat.streams().iter().map(|stream| stream.attempts).sum::<u32>();
    assert_eq!(after, seen, "the service was not asked");
    wait("the core has noticed", || offences(&house, ChatOffence::Abuse) >= 2).await;
    assert_eq!(offences(&house, ChatOffence::SignIn), 0);

    // Nobody else is any the worse for it.
    ChatClient::start(&house.plain("bob")).await.expect("bob");
    assert_eq!(house.edge_config("carol", &password("carol")).await.status, 200);
}

#[tokio::test]
async fn five_failures_end_a_stream() {
    let house = House::start("failures", Plan::default()).await;
    let mut client = ChatClient::open(&house.user(0, "alice")).await.expect("open");
    for _ in 0..4 {
        assert_eq!(refusal(client.authenticate(Mechanism::Plain, "guessed").await), "not-authorized");
    }
    let fifth = client.authenticate(Mechanism::Plain, "guessed").await;
    assert!(matches!(fifth, Err(ChatError::Refused(..) | ChatError::Stream(..))), "{fifth:?}");
    let ended = client.ended().await;
    assert!(matches!(ended, ChatError::Stream(_, _) | ChatError::Closed | ChatError::Cut(_)), "{ended}");
    ChatClient::start(&house.user(0, "alice")).await.expect("with the right one");
}

#[tokio::test]
async fn users_of_one_deployment_never_reach_the_service_of_another() {
    let house = House::start("deployments", Plan { away: true, ..Plan::default() }).await;
    let away = house.away.as_ref().expect("it is there");
    let theirs = ChatConfig { domain: AWAY.to_owned(), password: password_away("alice"), ..house.plain("alice") };
    let mut client = ChatClient::start(&theirs).await.expect("alice of the other domain");
    assert_eq!(client.jid.as_deref().and_then(|jid| jid.split('/').next()), Some("alice@away.example"));
    client.ping().await.expect("it is there");
    assert_eq!(house.chat.streams().len(), 0, "the first service has not seen her");

    let before = away.streams().len();
    let crossed = ChatConfig { password: password_away("bob"), ..house.plain("bob") };
    assert_eq!(refusal(ChatClient::sign_in(&crossed).await), "not-authorized");
    ChatClient::start(&house.plain("bob")).await.expect("bob of the first domain");
    assert_eq!(away.streams().len(), before, "the other service has not seen him");

    let nobodys = ChatConfig { domain: "nobody.example".to_owned(), ..house.plain("carol") };
    let refused = ChatClient::open(&nobodys).await.err();
    assert!(matches!(&refused, Some(ChatError::Stream(why, _)) if why == "host-unknown"), "{refused:?}");
}
