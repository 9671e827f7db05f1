//! What is no stream of XMPP, and what is too much of one: the right error, soon, and nothing of it goes inside.

use std::time::{Duration, Instant};

use edgeway_model::chat::{ChatEnd, ChatOffence};

use super::rig::{AUTH, CLOSE, Client, CoreEnd, HEADER, Rig, SERVER, SUCCESS, run};

/// How soon an answer must be there; on a busy machine.
const SOON: Duration = Duration::from_secs(2);

/// A name, what is said where an element may begin, and the condition it has.
fn cases() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let attributes: String = (0..70_000).map(|n| format!(" a{n}='1'")).collect();
    vec![
        ("a comment", b"<!-- x -->".to_vec(), "restricted-xml"),
        ("a processing instruction", b"<?php x?>".to_vec(), "restricted-xml"),
        ("a document type", b"<!DOCTYPE a [<!ENTITY b 'c'>]>".to_vec(), "restricted-xml"),
        ("an entity", b"<message>&lol;</message>".to_vec(), "restricted-xml"),
        ("an end that fits nothing", b"<message></presence>".to_vec(), "not-well-formed"),
        ("an attribute twice", b"<message a='1' a='2'/>".to_vec(), "not-well-formed"),
        ("a prefix that nobody declared", b"<x:message/>".to_vec(), "not-well-formed"),
        ("half a character, then something else", b"<message>\xc3(</message>".to_vec(), "unsupported-encoding"),
        ("many attributes", format!("<message{attributes}/>").into_bytes(), "policy-violation"),
        ("many levels", "<a>".repeat(100_000).into_bytes(), "policy-violation"),
        ("a long name", format!("<{}/>", "a".repeat(100_000)).into_bytes(), "policy-violation"),
        ("a second header", HEADER.split_once("?>").unwrap_or_default().1.as_bytes().to_vec(), "*"),
        ("no XML", b"\x80\x02\x01\x00".to_vec(), "*"),
    ]
}

/// Says it, and reads the error.
async fn told(client: &mut Client, name: &str, said: &[u8]) -> String {
    let begun = Instant::now();
    client.send_bytes(said).await;
    let told = client.whatever_comes().await;
    assert!(begun.elapsed() < SOON, "{name}: {:?}", begun.elapsed());
    told
}

fn check(name: &str, told: &str, condition: &str) {
    assert!(told.contains("<stream:error>") && told.ends_with(CLOSE), "{name}: {told}");
    assert!(condition == "*" || told.contains(&format!("<stream:error><{condition} ")), "{name}: {told}");
}

async fn nothing_reaches(core: &CoreEnd, name: &str) {
    assert_eq!(core.hears_out().await, (String::new(), ChatEnd::Broken), "{name}");
}

#[test]
fn before_tls() {
    run(async {
        let rig = Rig::start();
        for (name, said, condition) in cases() {
            let mut client = rig.connect().await;
            client.send(HEADER).await;
            client.until("</stream:features>").await;
            // Whatever is longer than anything there is to say here is too much before it is anything else.
            let condition = if said.len() > 8 * 1024 { "policy-violation" } else { condition };
            check(name, &told(&mut client, name, &said).await, condition);
        }
        assert_eq!(rig.offences(), vec![ChatOffence::Protocol; cases().len()]);
    });
}

#[test]
fn before_sign_in() {
    run(async {
        let rig = Rig::start();
        for (name, said, condition) in cases() {
            let (mut client, core) = rig.at_a_core().await;
            core.says(SERVER);
            client.until(SERVER).await;
            check(name, &told(&mut client, name, &said).await, condition);
            nothing_reaches(&core, name).await;
        }
        assert_eq!(rig.offences(), vec![ChatOffence::Protocol; cases().len()]);
    });
}

#[test]
fn before_the_core_has_said_anything_the_edge_says_its_own_header_first() {
    run(async {
        let rig = Rig::start();
        let (mut client, core) = rig.at_a_core().await;
        let told = told(&mut client, "a comment", b"<!-- x -->").await;
        assert!(
            told.starts_with("<?xml version='1.0'?><stream:stream ") && told.contains("from='example.com'"),
            "{told}"
        );
        check("a comment", &told, "restricted-xml");
        nothing_reaches(&core, "a comment").await;
        // And what comes with the header at once is no better.
        let mut client = rig.behind_tls().await;
        client.send(&format!("{HEADER}<!-- x -->")).await;
        check("a comment", &client.whatever_comes().await, "restricted-xml");
    });
}

#[test]
fn after_sign_in() {
    run(async {
        let rig = Rig::start();
        for (name, said, condition) in cases() {
            let (mut client, core) = rig.signed_in().await;
            check(name, &told(&mut client, name, &said).await, condition);
            let (heard, how) = core.hears_out().await;
            // What came in earlier reads was not wrong by then; never is the element complete.
            assert!(how == ChatEnd::Broken && heard.len() < said.len(), "{name}");
        }
        assert_eq!(rig.offences(), vec![ChatOffence::Protocol; cases().len()]);
    });
}

#[test]
fn a_header_behind_sign_in_that_is_none_is_answered_in_a_stream_of_our_own() {
    run(async {
        let rig = Rig::start();
        for (said, condition) in [
            ("<!DOCTYPE a [<!ENTITY b 'c'>]>".to_owned(), "restricted-xml"),
            ("<message/>".to_owned(), "invalid-namespace"),
            (format!("<stream:stream to='{}", "a".repeat(5_000)), "policy-violation"),
        ] {
            let (mut client, core) = rig.at_a_core().await;
            core.says(SERVER);
            client.until(SERVER).await;
            client.send(AUTH).await;
            core.hears(AUTH.len()).await;
            core.stream.signed_in();
            core.says(SUCCESS);
            client.until(SUCCESS).await;
            let told = told(&mut client, condition, said.as_bytes()).await;
            assert!(
                told.starts_with("<?xml version='1.0'?><stream:stream ") && told.contains("from='example.com'"),
                "{told}"
            );
            check(condition, &told, condition);
            nothing_reaches(&core, condition).await;
        }
    });
}

#[test]
fn while_the_core_is_in_the_middle_of_an_element_nothing_is_put_into_it() {
    run(async {
        let rig = Rig::start();
        let (mut client, core) = rig.signed_in().await;
        core.says("<message><body>hal");
        client.until("hal").await;
        assert_eq!(told(&mut client, "a comment", b"<!-- x -->").await, "");
        nothing_reaches(&core, "a comment").await;
    });
}

#[test]
fn text_without_end_is_too_much_and_is_not_kept() {
    run(async {
        let rig = Rig::start();
        let (mut client, core) = rig.signed_in().await;
        client.send("<message><body>").await;
        // A server that reads all of it.
        let reads = async { core.hears_out().await };
        let says = async {
            let piece = "x".repeat(16 * 1024);
            for _ in 0..200 {
                client.send(&piece).await;
            }
            client.whatever_comes().await
        };
        let ((heard, how), told) = tokio::join!(reads, says);
        assert!(told.is_empty() || told.contains("<policy-violation "), "{told}");
        assert!(how == ChatEnd::Broken && heard.len() <= 1024 * 1024 + 64 * 1024, "{}", heard.len());
        assert_eq!(rig.offences(), [ChatOffence::Protocol]);
    });
}
