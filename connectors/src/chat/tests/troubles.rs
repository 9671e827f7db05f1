//! Servers that are unwell, and clients that are not welcome.

use edgeway_model::alarm::Severity;
use edgeway_model::chat::ChatOffence;
use edgeway_model::notice::Notice;

use super::server::Mood;
use super::*;

/// The alarm of a server stands with this severity.
pub(super) fn alarm(server: &ImServer, severity: Severity) -> impl Fn(&HttpFact) -> bool {
    let about = format!("{} (default)", server.address);
    move |fact| matches!(fact, HttpFact::Alarm(alarm) if alarm.id == "chat_server_down" && alarm.about == about && alarm.severity == severity)
}

#[test]
fn a_server_that_is_down_is_passed_over_unseen_until_it_is_back() {
    run(async {
        let signer = Signer::new();
        let first = ImServer::start(&signer, "example.com", false).await;
        let second = ImServer::start(&signer, "example.com", false).await;
        first.stop();
        let servers = [entry(&first, ""), entry(&second, "priority = 1")];
        let world = World::new("chat-down", &signer, &servers);
        world.client().sign_in("alice").await;
        assert_eq!(second.came.get(), 1);
        world.told(alarm(&first, Severity::Warning)).await;
        // Nobody waits for it meanwhile, and those that are there stay.
        let mut stays = world.client();
        stays.sign_in("bob").await;
        first.come_back().await;
        world.told(|fact| matches!(fact, HttpFact::AlarmOver { id: "chat_server_down", .. })).await;
        let came = first.came.get();
        assert!(came > 0, "it was asked the whole way");
        world.client().sign_in("carol").await;
        assert_eq!((first.came.get(), second.came.get()), (came + 1, 2));
        stays.send("<message id='m'/>");
        stays.until("<message id='m'/>").await;
    });
}

#[test]
fn a_client_is_told_to_come_back_where_no_server_answers() {
    run(async {
        let signer = Signer::new();
        let (first, second) = (
            ImServer::start(&signer, "example.com", false).await,
            // It answers, but is not who it should be.
            ImServer::start(&signer, "example.net", false).await,
        );
        first.stop();
        let world = World::new("chat-none", &signer, &[entry(&first, ""), entry(&second, "priority = 1")]);
        let mut client = world.client();
        let features = client.features().await;
        assert!(features.contains("<mechanism>PLAIN</mechanism>"), "{features}");
        client.auth("alice");
        let answer = client.until("</failure>").await;
        assert!(answer.contains("<temporary-auth-failure") && !answer.contains("not-authorized"), "{answer}");
        assert!(second.came.get() > 0 && !second.heard().contains("<auth"), "no credentials for a stranger");
        let HttpFact::Alarm(alarm) = world.told(alarm(&second, Severity::Critical)).await else { unreachable!() };
        assert!(alarm.cause.contains("its certificate is not for example.com"), "{}", alarm.cause);
        // The next time nobody is tried first and found to be well: the answer is the same.
        let mut client = world.client();
        client.features().await;
        client.auth("alice");
        client.until("<temporary-auth-failure").await;
    });
}

#[test]
fn a_silent_server_is_given_up_in_seconds() {
    run(async {
        let signer = Signer::new();
        let silent = ImServer::start(&signer, "example.com", false).await;
        silent.mood.set(Mood::Silent);
        let well = ImServer::start(&signer, "example.com", false).await;
        let world = World::new("chat-silent", &signer, &[entry(&silent, ""), entry(&well, "priority = 1")]);
        world.client().sign_in("alice").await;
        assert_eq!((silent.came.get() > 0, well.came.get()), (true, 1));
    });
}

#[test]
fn what_a_server_says_of_credentials_is_told_as_it_says_it() {
    run(async {
        let signer = Signer::new();
        let server = ImServer::start(&signer, "example.com", false).await;
        let world = World::new("chat-said", &signer, &[entry(&server, "")]);
        let mut client = world.client();
        client.features().await;
        server.mood.set(Mood::Helpless);
        client.auth("alice");
        client.until("<temporary-auth-failure").await;
        server.mood.set(Mood::Refusing);
        client.auth("alice");
        client.until("<not-authorized").await;
        let is_offence = |fact: &HttpFact| {
            matches!(fact, HttpFact::Notice(Notice::ChatOffence { client, offence: ChatOffence::SignIn, .. })
                if client.reveal().to_string() == "192.0.2.1:40000")
        };
        world.told(is_offence).await;
        assert_eq!(world.counted("chat_offence_sign_in"), 1, "an outage is nobody's offence");
        assert_eq!(client.refusals, 1, "the edge is told of the one, and not of the other");
    });
}

#[test]
fn too_many_attempts_at_a_user_reach_no_server_over_whatever_protocol() {
    run(async {
        let signer = Signer::new();
        let server = ImServer::start(&signer, "example.com", false).await;
        server.mood.set(Mood::Refusing);
        let world = World::new("chat-rate", &signer, &[entry(&server, "")]);
        // Eight in five minutes, whatever address they come from.
        for number in 0..8 {
            let mut client = world.client_at(&format!("198.51.100.{number}:1"), "example.com");
            client.features().await;
            client.auth("alice");
            client.until("<not-authorized").await;
        }
        let heard = server.heard().matches("<auth").count();
        let mut client = world.client();
        client.features().await;
        client.auth("ALICE");
        let answer = client.until("</failure>").await;
        assert!(answer.contains("<temporary-auth-failure") && answer.contains("<text"), "{answer}");
        assert_eq!(client.refusals, 0, "nobody has looked at them");
        assert_eq!((heard, server.heard().matches("<auth").count()), (8, 8));
        world
            .told(|fact| matches!(fact, HttpFact::Notice(Notice::ChatOffence { offence: ChatOffence::Abuse, .. })))
            .await;
        // The same window at the door of HTTPS.
        let claimed = crate::sign_in::desk::Claimed {
            subject: edgeway_model::sign_in::Subject {
                deployment: edgeway_model::sign_in::Deployment::default_one(),
                user: edgeway_model::sign_in::UserName::new("alice").unwrap(),
            },
            spelled: "alice".to_owned(),
        };
        let credential = crate::sign_in::authority::Credential::Password("right".to_owned().into());
        let source = edgeway_policy::rate::Source::at("203.0.113.5".parse().unwrap());
        let outcome = world.inside.desk().sign_in(claimed, credential, source).await;
        assert!(matches!(outcome, crate::sign_in::desk::Outcome::TooMany { .. }), "{outcome:?}");
        // Others are not affected.
        server.mood.set(Mood::Well);
        world.client().sign_in("bob").await;
    });
}

#[test]
fn other_spellings_of_a_user_get_no_attempts_of_their_own() {
    run(async {
        let signer = Signer::new();
        let server = ImServer::start(&signer, "example.com", false).await;
        server.mood.set(Mood::Refusing);
        let world = World::new("chat-spelled", &signer, &[entry(&server, "")]);
        let mut heard = 0;
        for number in 0..12 {
            let mut client = world.client();
            client.features().await;
            for name in [format!("alice@x{number}"), "alice\t".to_owned() + &"\r".repeat(number)] {
                client.auth(&name);
                let answer = client.until("</failure>").await;
                assert!(answer.contains("<not-authorized"), "{answer}");
            }
            heard += 2;
        }
        assert!(!server.heard().contains("<auth"), "no server sees them");
        assert_eq!(world.counted("chat_offence_sign_in"), heard);
        let from_edge1 = |fact: &HttpFact| matches!(fact, HttpFact::Notice(Notice::ChatOffence { edge: Some(edge), .. }) if edge.as_str() == "edge1");
        world.told(from_edge1).await;
    });
}

#[test]
fn a_session_is_filed_under_whom_the_server_says() {
    run(async {
        let signer = Signer::new();
        let server = ImServer::start(&signer, "example.com", false).await;
        *server.knows_as.borrow_mut() = Some("Carol");
        let world = World::new("chat-bound", &signer, &[entry(&server, "")]);
        let mut clients = Vec::new();
        for name in [None, Some("alice"), Some("carol")] {
            let mut client = world.client();
            client.features().await;
            client.auth_by_token(name);
            client.bind().await;
            clients.push(client);
        }
        let mut by_password = world.client();
        by_password.sign_in("alice").await;
        let sessions = world.sessions().await;
        let users: Vec<&str> = sessions.iter().filter_map(|session| session["user"].as_str()).collect();
        assert_eq!(users, ["carol"; 4]);
        let carol = edgeway_model::sign_in::Subject {
            deployment: edgeway_model::sign_in::Deployment::default_one(),
            user: edgeway_model::sign_in::UserName::new("carol").unwrap(),
        };
        world.inside.chats().revoked(&carol);
        for client in clients.iter_mut().chain([&mut by_password]) {
            let (_, heard) = client.end().await;
            assert!(heard.contains("the user was revoked"), "{heard}");
        }
    });
}

#[test]
fn a_user_has_no_more_sessions_than_may_be_and_a_domain_is_served_or_not() {
    run(async {
        let signer = Signer::new();
        let server = ImServer::start(&signer, "example.com", false).await;
        let world = World::with_rate(100, "chat-full", &signer, &[entry(&server, "")]);
        let mut clients = Vec::new();
        for _ in 0..crate::chat::limits::SESSIONS_PER_USER_MAX {
            let mut client = world.client();
            client.sign_in("alice").await;
            clients.push(client);
        }
        let mut one_more = world.client();
        one_more.features().await;
        one_more.auth("alice");
        let (how, heard) = one_more.end().await;
        assert_eq!((how, one_more.signed_in), (ChatEnd::Closed, false));
        assert!(heard.starts_with("<stream:error><resource-constraint"), "no success before it: {heard}");
        // Nobody else hears that she has so many.
        server.mood.set(Mood::Refusing);
        let mut stranger = world.client();
        stranger.features().await;
        stranger.auth("alice");
        stranger.until("<not-authorized").await;
        server.mood.set(Mood::Well);
        world.client().sign_in("bob").await;
        drop(clients);
        soon("they are gone", || Rc::strong_count(&world.inside) > 0 && server.ended.get() > 16).await;
        world.client().sign_in("alice").await;
        let mut strange = world.client_at("192.0.2.1:4", "example.net");
        let (how, heard) = strange.end().await;
        assert!(how == ChatEnd::Closed && heard.contains("<host-unknown"), "{heard}");
    });
}

#[test]
fn a_server_that_dies_takes_nobody_for_one_who_said_goodbye() {
    run(async {
        let signer = Signer::new();
        let server = ImServer::start(&signer, "example.com", false).await;
        *server.speech.borrow_mut() = b"<message id='1'/>".to_vec();
        let world = World::new("chat-dies", &signer, &[entry(&server, "")]);
        let mut client = world.client();
        client.sign_in("alice").await;
        client.until("<message id='1'/>").await;
        server.hang_up();
        let (how, heard) = client.end().await;
        assert_eq!((how, heard.as_str()), (ChatEnd::Broken, ""));
        assert_eq!(world.counted("chat_server_lost"), 1);
    });
}
