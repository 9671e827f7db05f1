//! Streams that go well, and how they end.

use std::sync::Arc;

use edgeway_model::sign_in::{Deployment, Profile, Session, SignInFact, Subject, UserName};

use super::*;

#[test]
fn a_client_signs_in_and_bytes_go_both_ways() {
    run(async {
        let signer = Signer::new();
        let server = ImServer::start(&signer, "example.com", false).await;
        let world = World::new("chat-good", &signer, &[entry(&server, "")]);
        let mut client = world.client();
        let features = client.features().await;
        assert!(features.contains("<mechanism>PLAIN</mechanism>") && !features.contains("PLUS"), "{features}");
        assert!(!features.contains("starttls"), "{features}");
        assert!(world.sessions().await.is_empty(), "nobody is signed in yet");
        drop(client);
        let mut client = world.client();
        client.sign_in("alice").await;
        let message = "<message to='bob@example.com'><body>\u{fc}ber alles &lt;geredet&gt;</body></message>";
        client.send(message);
        assert_eq!(client.until("</message>").await, message);
        // In pieces that cut everything.
        for byte in message.as_bytes() {
            client.stream.send(Bytes::copy_from_slice(&[*byte]));
        }
        assert_eq!(client.until("</message>").await.matches("<message").count(), 1);
        let sessions = world.sessions().await;
        let [session] = &sessions[..] else { panic!("{sessions:?}") };
        for (name, value) in [
            ("jid", json!("alice@example.com/home")),
            ("user", json!("alice")),
            ("edge", json!("edge1")),
            ("number", json!(7)),
            ("client", json!("192.0.2.1:40000")),
            ("server", json!(server.address.to_string())),
            ("deployment", json!("default")),
        ] {
            assert_eq!(session[name], value, "{name}");
        }
        assert!(session["bytes_in"].as_u64().unwrap() > 2 * message.len() as u64, "{session}");
        assert!(session["since_ms"].as_u64().unwrap() > 1_700_000_000_000, "{session}");
        assert_eq!(world.ask("status", json!({})).await["chats"], json!({ "default": 1 }));
        world.told(|fact| matches!(fact, HttpFact::Chats(1))).await;
        // It says goodbye, and the server answers it.
        client.send("</stream:stream>");
        let (how, heard) = client.end().await;
        assert_eq!((how, heard.as_str()), (ChatEnd::Closed, "</stream:stream>"));
        client.served().await;
        assert!(world.sessions().await.is_empty());
        world.told(|fact| matches!(fact, HttpFact::Chats(0))).await;
        soon("the server sees the end", || server.ended.get() == server.came.get()).await;
        assert_eq!(world.counted("chat_signed_in"), 1);
    });
}

#[test]
fn tls_may_come_first_and_names_may_be_the_hosts_or_an_operators() {
    run(async {
        let signer = Signer::new();
        for (number, name, more) in [
            (0, "example.com", "direct_tls = true"),
            (1, "127.0.0.1", ""),
            (2, "im.example.org", "tls_name = \"im.example.org\""),
        ] {
            let server = ImServer::start(&signer, name, more.starts_with("direct")).await;
            let world = World::new(&format!("chat-names-{number}"), &signer, &[entry(&server, more)]);
            world.client().sign_in("alice").await;
            assert_eq!(server.came.get(), 1, "{name}");
        }
    });
}

#[test]
fn a_client_that_is_cut_off_leaves_without_a_word_and_what_it_said_has_arrived() {
    run(async {
        let signer = Signer::new();
        let server = ImServer::start(&signer, "example.com", false).await;
        let world = World::new("chat-cut", &signer, &[entry(&server, "")]);
        let mut client = world.client();
        client.sign_in("alice").await;
        let body = "x".repeat(20_000);
        client.send(&format!("<presence><status>{body}</status></presence><presence id='last'/>"));
        client.stream.end(ChatEnd::Broken);
        client.served().await;
        soon("the server sees the end", || server.ended.get() == 1).await;
        let heard = server.heard();
        assert!(heard.ends_with("<presence id='last'/>"), "{}", heard.len());
        // XEP-0198: a stream that was closed could not be resumed.
        assert!(!heard.contains("</stream:stream>"));
        assert!(server.ended_well.get());
    });
}

#[test]
fn an_operator_ends_a_session_and_a_revocation_all_of_a_user() {
    run(async {
        let signer = Signer::new();
        let server = ImServer::start(&signer, "example.com", false).await;
        let world = World::new("chat-ended", &signer, &[entry(&server, "")]);
        let (mut one, mut other, mut third) = (world.client(), world.client(), world.client());
        one.sign_in("alice").await;
        other.sign_in("alice").await;
        third.sign_in("bob").await;
        let id = world.ask("chats", json!({ "limit": 1 })).await["chats"][0]["id"].clone();
        assert_eq!(world.ask("chats/disconnect", json!({ "id": id })).await, json!({ "disconnected": true }));
        let (how, heard) = one.end().await;
        assert_eq!(how, ChatEnd::Closed);
        assert!(heard.contains("<policy-violation") && heard.ends_with("</stream:stream>"), "{heard}");
        one.served().await;
        // Whoever has ended is not there any more.
        assert_eq!(world.ask("chats/disconnect", json!({ "id": id })).await, json!({ "disconnected": false }));
        assert_eq!(world.ask("chats", json!({ "user": "alice" })).await["chats"].as_array().unwrap().len(), 1);
        world.ask("users/revoke", json!({ "user": "alice" })).await;
        let (how, heard) = other.end().await;
        assert_eq!(how, ChatEnd::Closed);
        assert!(heard.contains("<policy-violation"), "{heard}");
        let message = "<message><body>still here</body></message>";
        third.send(message);
        assert_eq!(third.until("</message>").await, message);
        // The server is not left with a ghost: both are gone in XMPP's words.
        soon("the server sees both ends", || server.ended.get() == 2).await;
        assert_eq!(server.heard().matches("</stream:stream>").count(), 2);
    });
}

#[test]
fn a_core_that_stops_leaves_sessions_to_be_resumed() {
    run(async {
        let signer = Signer::new();
        let server = ImServer::start(&signer, "example.com", false).await;
        let world = World::new("chat-stop", &signer, &[entry(&server, "")]);
        let (mut one, mut other) = (world.client(), world.client());
        one.sign_in("alice").await;
        other.features().await;
        timeout(LONG, Rc::clone(&world.inside).stop()).await.expect("it stops");
        let (how, heard) = one.end().await;
        assert_eq!((how, heard.as_str()), (ChatEnd::Broken, ""));
        let (how, heard) = other.end().await;
        assert_eq!(how, ChatEnd::Closed);
        assert!(heard.contains("<system-shutdown"), "{heard}");
        soon("the server sees the ends", || server.ended.get() == 2).await;
        // RFC 6120 §4.4, XEP-0198 §5: nothing was closed in the name of who has signed in.
        assert!(!server.heard_on(0).contains("</stream:stream>"));
        let (_, heard) = world.client().end().await;
        assert!(heard.contains("<resource-constraint"), "nobody comes in any more: {heard}");
    });
}

#[test]
fn who_does_not_read_is_not_read_for() {
    run(async {
        let signer = Signer::new();
        let server = ImServer::start(&signer, "example.com", false).await;
        let speech: String = (0..25_000)
            .map(|number| format!("<message id='{number}'><body>{}</body></message>", "z".repeat(1_000)))
            .collect();
        *server.speech.borrow_mut() = speech.clone().into_bytes();
        let world = World::new("chat-slow", &signer, &[entry(&server, "")]);
        let mut client = world.client();
        client.sign_in("alice").await;
        let mut before = usize::MAX;
        while server.spoken.get() != before {
            before = server.spoken.get();
            sleep(Duration::from_millis(300)).await;
        }
        let waiting = world.sessions().await[0]["bytes_out"].as_u64().unwrap();
        assert!(waiting < 64 * 1024, "{waiting} bytes were taken from the server for a client that reads none");
        assert!(before < speech.len(), "the server waits");
        let all = client.exactly(speech.len()).await;
        assert!(all == speech, "every byte arrives");
        // And the other way round.
        server.deaf.set(true);
        let piece = format!("<presence><status>{}</status></presence>", "y".repeat(8_000));
        let mut sent = 0;
        while timeout(Duration::from_secs(1), client.stream.room()).await.is_ok() {
            client.send(&piece);
            sent += piece.len();
            assert!(sent < 64 << 20, "a server that does not read is not written to for ever");
        }
        let taken = world.sessions().await[0]["bytes_in"].as_u64().unwrap();
        server.deaf.set(false);
        timeout(LONG, client.stream.room()).await.expect("it goes on").expect("it is there");
        client.send("<presence id='last'/>");
        soon("all of it arrives", || server.heard().ends_with("<presence id='last'/>")).await;
        assert!(taken < sent as u64 + 2_000);
    });
}

#[test]
fn a_server_that_hears_nothing_gets_a_space_between_what_the_client_says() {
    run(async {
        let signer = Signer::new();
        let server = ImServer::start(&signer, "example.com", false).await;
        let world = World::new("chat-idle", &signer, &[entry(&server, "")]);
        let mut client = world.client();
        client.sign_in("alice").await;
        assert_eq!(world.sessions().await[0]["resumable"], json!(false));
        client.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
        let enabled = client.until("/>").await;
        assert!(enabled.contains("enabled") && !enabled.contains("10.0.0.1"), "{enabled}");
        assert_eq!(world.sessions().await[0]["resumable"], json!(true));
        world.inside.chats().space_after.set(Duration::from_millis(50));
        // A timer that runs already is for later: the next word is what begins the next pause.
        client.send("<presence/><presence ");
        soon("it is heard", || server.heard().ends_with("<presence ")).await;
        sleep(Duration::from_millis(200)).await;
        client.send("id='2'/>");
        soon("there is a space", || server.heard().ends_with("<presence id='2'/> ")).await;
        soon("and another one", || server.heard().ends_with("<presence id='2'/>  ")).await;
    });
}

#[test]
fn a_user_is_taken_home() {
    run(async {
        let signer = Signer::new();
        let first = ImServer::start(&signer, "example.com", false).await;
        let home = ImServer::start(&signer, "example.com", false).await;
        let named = entry(&home, "priority = 1").replace("127.0.0.1", "localhost");
        let world = World::new("chat-home", &signer, &[entry(&first, ""), named]);
        world.client().sign_in("alice").await;
        assert_eq!((first.came.get(), home.came.get()), (1, 0));
        let now_ms = edgeway_runtime::clock::unix_ms();
        let session = Session {
            subject: Subject { deployment: Deployment::default_one(), user: UserName::new("alice").unwrap() },
            until_ms: now_ms + 60_000,
            since_ms: now_ms,
            verifier: None,
            digests: Vec::new(),
            tokens: Vec::new(),
            devices: None,
            numbers: Vec::new(),
            profile: Profile { uds_servers: Vec::new(), im_servers: vec!["LOCALHOST".to_owned()] },
        };
        world.inside.told(SignInFact::SignedIn(Arc::new(session)));
        let mut client = world.client();
        client.sign_in("alice").await;
        assert_eq!((home.came.get(), home.heard().matches("<auth").count()), (1, 1));
        assert!(!first.heard_on(1).contains("<auth"), "no other server sees the credentials");
        assert!(
            world
                .sessions()
                .await
                .iter()
                .any(|one| one["server"] == json!(format!("localhost:{}", home.address.port())))
        );
        // Others stay where they are.
        world.client().sign_in("bob").await;
        assert_eq!(home.came.get(), 1);
    });
}

#[test]
fn more_than_waits_for_a_server_at_once_arrives_all_the_same() {
    run(async {
        let signer = Signer::new();
        let server = ImServer::start(&signer, "example.com", false).await;
        let world = World::new("chat-much", &signer, &[entry(&server, "")]);
        let mut client = world.client();
        client.sign_in("alice").await;
        // The server says nothing to any of it: nothing but room for more wakes the stream.
        for number in 0..12 {
            client.send(&format!("<presence id='{number}'><status>{}</status></presence>", "y".repeat(20_000)));
        }
        client.send("<presence id='last'/>");
        soon("all of it arrives", || server.heard().ends_with("<presence id='last'/>")).await;
    });
}
