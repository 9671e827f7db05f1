//! Legal stanzas that are easily misread: what arrives at the service is what was sent, byte for byte, and both agree
//! where each ends.

use edgeway_lab_servers::xmpp::{ChatClient, StreamEnding, StreamSeen};

use crate::house::{House, Plan, wait};

/// Stanzas to bob, each with something in it.
fn tricky() -> Vec<String> {
    let to = "to='bob@lab.example'";
    let long = "x".repeat(20_000);
    let deep = format!("{}{}", "<d xmlns='urn:x'>".repeat(20), "</d>".repeat(20));
    let mut all: Vec<String> = vec![
        format!("<message {to} id='a>b' type=\"chat\"><body>1 > 0 and ]] > too</body></message>"),
        format!("<message {to} id='&lt;/message>'  ><body  >quotes \" and '</body\n></message\t>"),
        format!("<message {to}><body><![CDATA[</body></message><presence/> ]] ]>]]></body></message>"),
        format!("<message {to}><body>a<![CDATA[]]>b<![CDATA[&amp;<]]>c</body></message>"),
        format!("<message {to}><p:x xmlns:p='urn:a'><p:y xmlns:p='urn:b'/><p:z/></p:x><body>prefix</body></message>"),
        format!("<c:message xmlns:c='jabber:client' {to}><c:body>other prefix</c:body></c:message>"),
        format!(
            "<message {to} xmlns='jabber:client' xmlns:stream='urn:mine'><stream:stream/><body>re-bound</body></message>"
        ),
        format!(
            "<message {to}><x xmlns='urn:x' a='1' b='&lt;&gt;&amp;&quot;&apos;'/><body>&#xE9;&#233;&#x1F600;</body></message>"
        ),
        format!("<message {to}><body>é ü ß € 😀 \u{10FFFD} \u{FEFF} \u{85}</body></message>"),
        format!("<message {to}><body>line\nline\r\nline\ttab</body></message>"),
        format!("<message {to}><body>{long}</body></message>"),
        format!("<message {to}>{deep}<body>deep</body></message>"),
        format!("<message\n{to}\n><body/><x xmlns=''/><y:y xmlns:y='urn:y' y:a='>' a='&lt;'/></message >"),
        "<active xmlns='urn:xmpp:csi:0'></active>".to_owned(),
        "<inactive xmlns='urn:xmpp:csi:0'/>".to_owned(),
        "<presence/>".to_owned(),
    ];
    all.push(format!("<message {to}><body>the last</body></message>"));
    all
}

/// What the service got on alice's stream: its bytes, and its stanzas.
fn got(house: &House) -> (Vec<u8>, Vec<String>) {
    let streams = house.chat.streams();
    let stream = streams.iter().rfind(|stream| stream.jid.as_deref().is_some_and(|jid| jid.starts_with("alice@")));
    stream.map(|stream| (stream.received.clone(), stream.stanzas.clone())).expect("a stream of alice's")
}

#[tokio::test]
async fn what_is_easily_misread_arrives_as_it_was_sent_wherever_it_is_cut() {
    let house = House::start("tricky", Plan::default()).await;
    let stanzas = tricky();
    let whole = stanzas.concat();
    for pieces in [whole.len(), 1_000, 3, 1] {
        // She counts nothing: what she sends is not all stanzas.
        let mut alice = ChatClient::sign_in(&house.user(0, "alice")).await.expect("alice");
        alice.bind().await.expect("bound");
        let mut bob = house.session(0, "bob").await;
        // Byte by byte the long ones would take long for nothing.
        let bytes = if pieces < 10 { whole.replace(&"x".repeat(20_000), "xx") } else { whole.clone() };
        for piece in bytes.as_bytes().chunks(pieces) {
            alice.send_raw(piece).await.expect("sent");
        }
        let mut texts = Vec::new();
        loop {
            let (_, text) = bob.next_message().await.expect("heard");
            let last = text == "the last";
            texts.push(text);
            if last {
                break;
            }
        }
        let shorter: Vec<String> = stanzas.iter().map(|stanza| stanza.replace(&"x".repeat(20_000), "xx")).collect();
        let expected = if pieces < 10 { &shorter } else { &stanzas };
        // Before it there is what signed her in.
        wait("all of it has arrived", || got(&house).0.ends_with(bytes.as_bytes())).await;
        let (_, cut) = got(&house);
        let cut = &cut[cut.len() - expected.len()..];
        let differs = cut.iter().zip(expected).find(|(got, sent)| got != sent);
        assert_eq!(differs, None, "pieces of {pieces}");
        assert_eq!(texts.len(), 14, "{texts:?}");
        assert!(texts.contains(&"</body></message><presence/> ]] ]>".to_owned()), "{texts:?}");
        alice.close().await.expect("the stream is whole");
        bob.close().await.expect("the stream is whole");
        house.chat.forget();
    }
    assert_eq!(house.edge(0).counted("chat_offence_protocol"), 0);
}

#[tokio::test]
async fn two_users_chat_both_ways_and_what_comes_back_is_as_the_service_sent_it() {
    let house = House::start("both-ways", Plan::default()).await;
    let (mut alice, mut bob) = (house.session(0, "alice").await, house.session(0, "bob").await);
    assert_eq!(alice.roster().await.expect("a roster").len(), 5);
    let (from_alice, from_bob) = (alice.jid.clone().expect("a JID"), bob.jid.clone().expect("a JID"));
    for number in 0..50 {
        alice.message(&from_bob, &format!("question {number} <>&'\"")).await.expect("sent");
        let heard = bob.next_message().await.expect("heard");
        assert_eq!(heard, (from_alice.clone(), format!("question {number} <>&'\"")));
        bob.message(&from_alice, &format!("answer {number}")).await.expect("sent");
        assert_eq!(alice.next_message().await.expect("heard"), (from_bob.clone(), format!("answer {number}")));
    }
    // What the service says is never refused, and stays as it is, but for what names a place inside.
    assert_eq!(alice.kept().map(|kept| kept.location.clone()), Some(None), "`location` is taken out");
    for odd in [
        "<message from='x@y'><body a='>'><![CDATA[<]]></body></message>".to_owned(),
        format!("<message><body>{}</body></message>", "y".repeat(300_000)),
    ] {
        assert!(house.chat.push(&from_alice, &odd));
        let stanza = alice.next().await.expect("heard");
        assert_eq!(stanza.name, "message");
        assert!(matches!(stanza.text_of("body").map(str::len), Some(1 | 300_000)));
    }
    alice.close().await.expect("closed");
    bob.close().await.expect("closed");
    let closed = |stream: &StreamSeen| stream.ended == Some(StreamEnding::Closed);
    wait("the service has seen both end in good order", || house.chat.streams().iter().all(closed)).await;
}
