//! What no client sends: the right stream error, and the service never sees a byte of it.

use edgeway_lab_servers::xmpp::{ChatClient, ChatError};
use edgeway_model::chat::ChatOffence;
use edgeway_model::notice::Notice;

use crate::house::{House, Plan, wait};

/// What follows a breach, to be looked for.
const AFTER: &str = "nobody-must-see-this";

/// Breaches, and the condition of the error each is answered with.
fn breaches() -> Vec<(Vec<u8>, &'static str)> {
    let message = "<message to='bob@lab.example'>";
    let mut all: Vec<(Vec<u8>, &'static str)> = [
        ("<!-- a comment -->", "restricted-xml"),
        ("<?php echo 1 ?>", "restricted-xml"),
        ("<!DOCTYPE lolz [<!ENTITY lol 'lol'>]>", "restricted-xml"),
        ("<body><!-- inside --></body>", "restricted-xml"),
        ("<body>&lol;</body>", "restricted-xml"),
        ("<body a='&lol;'/>", "restricted-xml"),
        ("<body></boby>", "not-well-formed"),
        ("<body a='1' a='2'/>", "not-well-formed"),
        ("<body a=1/>", "not-well-formed"),
        ("<body a='<'/>", "not-well-formed"),
        ("<body>&#0;</body>", "not-well-formed"),
        ("<body>]]></body>", "not-well-formed"),
        ("<body>\u{1}</body>", "not-well-formed"),
        ("<no:body/>", "not-well-formed"),
    ]
    .map(|(text, condition)| (format!("{message}{text}").into_bytes(), condition))
    .to_vec();
    let header = "<stream:stream to='lab.example' version='1.0' xmlns='jabber:client' \
                  xmlns:stream='http://etherx.jabber.org/streams'>";
    all.push((header.as_bytes().to_vec(), "bad-format"));
    all.push((b"text between stanzas".to_vec(), "bad-format"));
    all.push(([message.as_bytes(), b"<body>\xff\xfe</body>"].concat(), "unsupported-encoding"));
    all.push(([message.as_bytes(), b"<body>\xc3</body>"].concat(), "unsupported-encoding"));
    all.push(([message.as_bytes(), b"<body>\xed\xa0\x80</body>"].concat(), "unsupported-encoding"));
    let many: String = (0..70_000).map(|number| format!(" a{number}='x'")).collect();
    all.push((format!("{message}<x{many}/>").into_bytes(), "policy-violation"));
    all.push((format!("{message}{}", "<x>".repeat(100_000)).into_bytes(), "policy-violation"));
    all.push((format!("{message}<body>{}", "x".repeat(4 * 1024 * 1024)).into_bytes(), "policy-violation"));
    all.push((format!("<{}", "x".repeat(100_000)).into_bytes(), "policy-violation"));
    all
}

fn contains(bytes: &[u8], what: &str) -> bool {
    bytes.windows(what.len()).any(|window| window == what.as_bytes())
}

/// Sends a breach and what follows; how the stream ends.
async fn breach(client: &mut ChatClient, bytes: &[u8]) -> ChatError {
    // The edge may have closed before the last of it is written: that is its right.
    let _ = client.send_raw(&[bytes, AFTER.as_bytes(), b"</message>"].concat()).await;
    client.ended().await
}

fn is_answered(ended: &ChatError, condition: &str) -> bool {
    matches!(ended, ChatError::Stream(said, _) if said == condition)
}

#[tokio::test]
async fn a_breach_after_sign_in_ends_the_stream_and_goes_nowhere() {
    let house = House::start("hostile", Plan::default()).await;
    let breaches = breaches();
    for (bytes, condition) in &breaches {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        let mut client = ChatClient::start(&house.user(0, "alice")).await;
        if matches!(&client, Err(ChatError::Refused(..))) {
            // Every user may sign in eight times: others go on.
            for user in ["bob", "carol", "dave", "erin"] {
                client = ChatClient::start(&house.user(0, user)).await;
                if client.is_ok() {
                    break;
                }
            }
        }
        let mut client = client.expect("a session");
        client.ping().await.expect("it is there");
        let ended = breach(&mut client, bytes).await;
        assert!(is_answered(&ended, condition), "{shown}: {ended}");
    }
    wait("the service has seen them all end", || house.chat.streams().iter().all(|stream| stream.ended.is_some()))
        .await;
    for stream in house.chat.streams() {
        assert!(!contains(&stream.received, AFTER), "{}", String::from_utf8_lossy(&stream.received));
        assert_eq!(stream.fault, None, "the service has nothing to complain of");
    }
    let is_told = |notice: &&Notice| matches!(notice, Notice::ChatOffence { offence: ChatOffence::Protocol, client, .. } if client.reveal().ip().is_loopback());
    let edge = house.edge(0);
    wait("each is told of", || edge.notices().iter().filter(is_told).count() == breaches.len()).await;
    wait("and counted", || edge.counted("chat_offence_protocol") == breaches.len() as u64).await;
}

#[tokio::test]
async fn a_breach_before_sign_in_ends_the_stream_as_well() {
    let house = House::start("strangers", Plan::default()).await;
    for (bytes, condition) in breaches() {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        let mut client = ChatClient::open(&house.user(0, "alice")).await.expect("open");
        let ended = breach(&mut client, &bytes).await;
        assert!(is_answered(&ended, condition), "{shown}: {ended}");
    }
    for stream in house.chat.streams() {
        assert!(!contains(&stream.received, AFTER), "{}", String::from_utf8_lossy(&stream.received));
        assert_eq!(stream.attempts, 0);
    }
    // None of it costs a user an attempt, nor anybody the service.
    house.session(0, "alice").await.ping().await.expect("it is there");
}

#[tokio::test]
async fn bytes_that_come_with_starttls_are_not_taken_for_bytes_inside_tls() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let house = House::start("injection", Plan::default()).await;
    let mut tcp = tokio::net::TcpStream::connect(house.places[0].xmpp).await.expect("connected");
    let header = "<?xml version='1.0'?><stream:stream to='lab.example' version='1.0' xmlns='jabber:client' \
                  xmlns:stream='http://etherx.jabber.org/streams'>";
    let injected = format!("{header}<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>{header}<presence/>");
    tcp.write_all(injected.as_bytes()).await.expect("written");
    let mut said = Vec::new();
    let _ = tcp.read_to_end(&mut said).await;
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains("<proceed"), "{said}");
    assert_eq!(house.chat.streams().len(), 0);
}
