//! The simulated chat service and its client against each other: what the tests of the nodes build on.

use std::time::{Duration, Instant};

use edgeway_lab_servers::ca::LabCa;
use edgeway_lab_servers::xmpp::{
    ChatClient, ChatConfig, ChatError, ChatFault, ChatTls, Mechanism, StreamEnding, XmppConfig, XmppNode, XmppServer,
};

const DOMAIN: &str = "lab.example";
const NODE: &str = "im1.lab.example";

struct Service {
    server: XmppServer,
    ca: LabCa,
}

fn service(change: impl FnOnce(&mut XmppConfig)) -> Service {
    let ca = LabCa::new("UC CA").expect("a CA");
    let mut config = XmppConfig::new(DOMAIN, &[("alice", "a-secret"), ("bob", "b-secret")]);
    change(&mut config);
    Service { server: XmppServer::start(config, &ca).expect("a server"), ca }
}

impl Service {
    fn user(&self, user: &str) -> ChatConfig {
        let password = format!("{}-secret", &user[..1]);
        ChatConfig::new(self.server.first_address(), DOMAIN, user, &password, self.ca.pem())
    }
}

/// Waits until it is so.
async fn soon(what: &str, so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn every_mechanism_signs_in_with_the_right_password_only() {
    let service = service(|_| {});
    service.server.accept_token("a-token", "alice");
    for mechanism in Mechanism::ALL {
        let right = match mechanism {
            Mechanism::OAuthBearer => "a-token",
            Mechanism::Plain | Mechanism::ScramSha1 | Mechanism::ScramSha256 => "a-secret",
            Mechanism::CiscoVtgToken => continue,
        };
        let mut client = ChatClient::open(&service.user("alice")).await.expect("open");
        assert!(client.mechanisms().contains(&"SCRAM-SHA-256-PLUS".to_owned()), "{:?}", client.mechanisms());
        let refused = client.authenticate(mechanism, "guessed").await;
        assert_eq!(refused, Err(ChatError::Refused("not-authorized".to_owned(), String::new())), "{mechanism:?}");
        client.authenticate(mechanism, right).await.expect("the right one");
        assert!(client.features.child("bind").is_some(), "{:?}", client.features);
    }
}

#[tokio::test]
async fn a_one_time_password_is_good_once() {
    let mut one_time = None;
    let service = service(|config| one_time = Some(config.one_time.clone()));
    let password = one_time.expect("some").issue_to("alice");
    let mut config = service.user("alice");
    (config.mechanism, config.password) = (Mechanism::CiscoVtgToken, password);
    ChatClient::sign_in(&config).await.expect("once");
    let again = ChatClient::sign_in(&config).await.err();
    assert!(matches!(again, Some(ChatError::Refused(..))), "{again:?}");
}

#[tokio::test]
async fn two_users_chat_and_see_each_other() {
    let service = service(|config| config.nodes[0].direct_tls = true);
    let user = |name| ChatConfig { tls: ChatTls::Direct, ..service.user(name) };
    let mut alice = ChatClient::start(&user("alice")).await.expect("alice");
    let mut bob = ChatClient::start(&user("bob")).await.expect("bob");
    assert_eq!(alice.roster().await.expect("a roster"), ["bob@lab.example"]);
    let presence = alice.next().await.expect("bob's presence");
    assert_eq!((presence.name.as_str(), presence.attribute("from")), ("presence", bob.jid.as_deref()));
    alice.message("bob@lab.example", "a < b & c").await.expect("sent");
    let (from, text) = bob.next_message().await.expect("heard");
    assert_eq!((Some(from.as_str()), text.as_str()), (alice.jid.as_deref(), "a < b & c"));
    bob.message(&from, "yes").await.expect("sent");
    assert_eq!(alice.next_message().await.expect("heard").1, "yes");
    bob.ping().await.expect("it is there");
    let unknown = alice.request(None, "get", "<query xmlns='urn:x'/>").await;
    assert!(matches!(unknown, Err(ChatError::Refused(..))), "{unknown:?}");
    bob.close().await.expect("closed");
    let gone = alice.next().await.expect("presence");
    assert_eq!(gone.attribute("type"), Some("unavailable"));
    alice.message("bob@lab.example", "?").await.expect("sent");
    let bounced = alice.next().await.expect("an error");
    assert_eq!(bounced.attribute("type"), Some("error"));
    let endings: Vec<_> = service.server.streams().iter().map(|stream| stream.ended).collect();
    assert_eq!(endings, [None, Some(StreamEnding::Closed)]);
}

#[tokio::test]
async fn a_session_that_was_cut_is_resumed_without_loss_or_duplicate() {
    let service = service(|_| {});
    let mut alice = ChatClient::start(&service.user("alice")).await.expect("alice");
    let mut bob = ChatClient::start(&service.user("bob")).await.expect("bob");
    let jid = alice.jid.clone().expect("a JID");
    bob.message(&jid, "one").await.expect("sent");
    assert_eq!(alice.next_message().await.expect("heard").1, "one");
    alice.message("bob@lab.example", "two").await.expect("sent");
    assert_eq!(bob.next_message().await.expect("heard").1, "two");
    let mut kept = alice.cut().expect("it can be resumed");
    soon("the server notices", || service.server.sessions().iter().any(|session| !session.attached)).await;
    bob.message(&jid, "three").await.expect("sent");
    // One that the client has sent and the server has not got.
    kept.sent += 1;
    kept.unacknowledged.push_back("<message to='bob@lab.example'><body>four</body></message>".to_owned());
    assert!(kept.location.is_some());
    let mut alice = ChatClient::resume(&service.user("alice"), kept).await.expect("resumed");
    assert_eq!(alice.next_message().await.expect("kept for her").1, "three");
    assert_eq!(bob.next_message().await.expect("sent again").1, "four");
    // From a connection that is not known to be dead, too.
    let kept = alice.kept().cloned().expect("it can be resumed");
    let mut again = ChatClient::resume(&service.user("alice"), kept).await.expect("resumed");
    assert_eq!(alice.ended().await, ChatError::Stream("conflict".to_owned(), String::new()));
    again.ping().await.expect("it is there");
    let count = again.acknowledged().await.expect("a count");
    let view = service.server.sessions().into_iter().find(|session| session.jid == jid).expect("alice's");
    assert_eq!((view.received, view.sent), (Some(count), again.kept().map(|kept| kept.received)));
    assert_eq!(again.kept().map(|kept| (kept.sent, kept.unacknowledged.len())), Some((count, 0)));
    assert!(matches!(bob.next_within(Duration::from_millis(50)).await, Ok(None)), "nothing came twice");

    // A session that is over cannot be resumed.
    let kept = again.kept().cloned().expect("some");
    again.close().await.expect("closed");
    let refused = ChatClient::resume(&service.user("alice"), kept).await.err();
    assert_eq!(refused, Some(ChatError::NotResumed("item-not-found".to_owned())));
}

#[tokio::test]
async fn faults_are_what_they_say() {
    let other = "im2.lab.example";
    let service = service(|config| config.nodes.push(XmppNode::new(other, DOMAIN)));
    let (server, alice) = (&service.server, service.user("alice"));
    server.fault(NODE, Some(ChatFault::TemporaryAuthFailure));
    let refused = ChatClient::sign_in(&alice).await.err();
    assert_eq!(refused, Some(ChatError::Refused("temporary-auth-failure".to_owned(), String::new())));
    server.fault(NODE, Some(ChatFault::DieInAuth));
    assert!(matches!(ChatClient::sign_in(&alice).await.err(), Some(ChatError::Cut(_))));
    server.fault(NODE, Some(ChatFault::SeeOtherHost(other.to_owned())));
    let moved = ChatClient::sign_in(&alice).await.err();
    assert!(matches!(&moved, Some(ChatError::Stream(why, _)) if why == "see-other-host"), "{moved:?}");
    server.fault(NODE, Some(ChatFault::Hang));
    let hangs = tokio::time::timeout(Duration::from_millis(200), ChatClient::sign_in(&alice)).await;
    assert!(hangs.is_err());
    server.fault(NODE, Some(ChatFault::SlowReader(200, Duration::from_millis(1))));
    ChatClient::start(&alice).await.expect("slowly");
    server.fault(NODE, None);
    let mut one = ChatClient::start(&alice).await.expect("alice");
    server.power(NODE, false).expect("off");
    assert!(matches!(one.ended().await, ChatError::Cut(_)));
    assert!(matches!(ChatClient::sign_in(&alice).await.err(), Some(ChatError::Connect(..))));
    server.power(NODE, true).expect("on");
    ChatClient::start(&alice).await.expect("alice");
    // At home elsewhere.
    server.home("alice", other);
    assert!(matches!(ChatClient::sign_in(&alice).await.err(), Some(ChatError::Refused(..))));
    ChatClient::sign_in(&ChatConfig { server: server.address(other), ..alice }).await.expect("at home");
}

#[tokio::test]
async fn bytes_before_tls_are_never_taken_for_bytes_inside_it() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let service = service(|_| {});
    let mut tcp = tokio::net::TcpStream::connect(service.server.first_address()).await.expect("connected");
    let injected = "<?xml version='1.0'?><stream:stream to='lab.example' version='1.0' xmlns='jabber:client' \
                    xmlns:stream='http://etherx.jabber.org/streams'><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><a/>";
    tcp.write_all(injected.as_bytes()).await.expect("written");
    let mut said = String::new();
    tcp.read_to_string(&mut said).await.expect("read");
    assert!(said.ends_with("</stream:stream>") && !said.contains("<proceed"), "{said}");
}
