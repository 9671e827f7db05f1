//! Which server a client comes to, and who has no say in it.

use edgeway_model::alarm::Severity;
use edgeway_model::sign_in::{Deployment, Subject, UserName};

use super::server::Mood;
use super::troubles::alarm;
use super::*;
use crate::sign_in::authority::Credential;
use crate::sign_in::desk::{Claimed, Outcome};

/// Two servers, of which the second is for when the first is down.
async fn pair(name: &str) -> (Rc<ImServer>, Rc<ImServer>, World) {
    let signer = Signer::new();
    let first = ImServer::start(&signer, "example.com", false).await;
    let second = ImServer::start(&signer, "example.com", false).await;
    let world = World::new(name, &signer, &[entry(&first, ""), entry(&second, "priority = 1")]);
    (first, second, world)
}

#[test]
fn a_dot_behind_the_domain_is_nothing_to_a_server() {
    run(async {
        let (first, second, world) = pair("chat-dot").await;
        let mut dotted = world.client_at("192.0.2.1:40000", "Example.com.");
        dotted.header_to("Example.com.");
        let features = dotted.until("</stream:features>").await;
        assert!(features.contains("<mechanism>PLAIN") && features.contains(" from='example.com'"), "{features}");
        dotted.auth("alice");
        dotted.until("<success").await;
        assert!(!first.heard().to_lowercase().contains("example.com."), "{}", first.heard());
        world.client().sign_in("bob").await;
        assert_eq!((first.came.get(), second.came.get(), world.counted("chat_server_down")), (2, 0, 0));
    });
}

#[test]
fn a_server_without_one_domain_stays_good_for_the_others() {
    run(async {
        let (first, second, world) = pair("chat-domains").await;
        second.domains.borrow_mut().push("example.org");
        // The second has it, but for its certificate; the first does not.
        for _ in 0..2 {
            let mut other = world.client_at("192.0.2.1:40000", "example.org");
            other.header_to("example.org");
            other.until("</stream:features>").await;
            other.auth("alice");
            other.until("<temporary-auth-failure").await;
        }
        let HttpFact::Alarm(told) = world.told(alarm(&second, Severity::Warning)).await else { unreachable!() };
        assert!(told.cause.contains("its certificate is not for example.org"), "{}", told.cause);
        assert_eq!(world.counted("chat_server_down"), 1);
        // Nor is the second last for those whose certificate it has.
        let came = (first.came.get(), second.came.get());
        world.client().sign_in("bob").await;
        first.stop();
        world.client().sign_in("carol").await;
        assert_eq!(first.came.get(), came.0 + 1);
        assert!(second.came.get() > came.1);
        // Where all say that they have not got it, the client hears so.
        second.domains.borrow_mut().pop();
        first.come_back().await;
        let mut other = world.client_at("192.0.2.1:40000", "example.org");
        other.header_to("example.org");
        let (how, heard) = other.end().await;
        assert!(how == ChatEnd::Closed && heard.contains("<host-unknown"), "{heard}");
    });
}

#[test]
fn no_client_takes_a_server_out_by_what_it_does_in_its_sign_in() {
    run(async {
        let (first, second, world) = pair("chat-odd").await;
        first.mood.set(Mood::Odd);
        let mut client = world.client();
        client.features().await;
        client.auth("mallory");
        client.until("<temporary-auth-failure").await;
        first.mood.set(Mood::Well);
        world.client().sign_in("alice").await;
        assert_eq!(first.heard().matches("<auth").count(), 2, "it is in use as before");
        assert_eq!((second.came.get(), world.counted("chat_server_down")), (0, 0));
        // One that has gone in truth is found out by being asked.
        first.mood.set(Mood::Odd);
        let mut client = world.client();
        client.features().await;
        first.stop();
        client.auth("mallory");
        client.until("<temporary-auth-failure").await;
        world.told(alarm(&first, Severity::Warning)).await;
        assert_eq!(world.counted("chat_server_down"), 1);
    });
}

#[test]
fn an_outage_uses_up_nobodys_attempts() {
    run(async {
        let signer = Signer::new();
        let server = ImServer::start(&signer, "example.com", false).await;
        let world = World::new("chat-outage", &signer, &[entry(&server, "")]);
        server.stop();
        for _ in 0..5 {
            let mut client = world.client();
            client.features().await;
            for _ in 0..4 {
                client.auth("alice");
                let answer = client.until("</failure>").await;
                assert!(answer.contains("<temporary-auth-failure") && !answer.contains("Too many"), "{answer}");
            }
        }
        server.come_back().await;
        world.client().sign_in("alice").await;
        let user = UserName::new("alice").unwrap();
        let subject = Subject { deployment: Deployment::default_one(), user };
        let claimed = Claimed { subject, spelled: "alice".to_owned() };
        let source = edgeway_policy::rate::Source::at("203.0.113.5".parse().unwrap());
        let password = Credential::Password("right".to_owned().into());
        let outcome = world.inside.desk().sign_in(claimed, password, source).await;
        assert!(matches!(outcome, Outcome::Good(_)), "{outcome:?}");
        assert_eq!(world.counted("chat_sign_in_too_many"), 0);
    });
}

#[test]
fn a_user_comes_back_to_the_server_that_has_the_stream() {
    run(async {
        let (first, second, world) = pair("chat-last").await;
        first.stop();
        world.client().sign_in("alice").await;
        first.come_back().await;
        soon("it was asked how it is", || first.ended.get() > 0).await;
        world.client().sign_in("bob").await;
        let sign_ins = |server: &ImServer| server.heard().matches("<auth").count();
        assert_eq!((sign_ins(&first), sign_ins(&second)), (1, 1), "the first is in use again");
        world.client().sign_in("alice").await;
        assert_eq!((sign_ins(&first), sign_ins(&second)), (1, 2));
        second.stop();
        world.client().sign_in("alice").await;
        assert_eq!((sign_ins(&first), sign_ins(&second)), (2, 2));
    });
}
