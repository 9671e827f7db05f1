//! Several registrars: which one takes a request, and what happens when one fails (RFC 3263 §4.3).

use std::net::SocketAddr;
use std::time::Duration;

use edgeway_model::FlowId;
use edgeway_model::dns::{DnsAnswer, DnsQuery, RecordKind, SrvRecord};
use edgeway_sip::{Message, Name};

use crate::register::plain;
use crate::rig::{Rig, Zone};

const FIRST: &str = "10.0.0.5:5060";
const SECOND: &str = "10.0.0.6:5060";

fn two() -> Rig {
    Rig::with_registrars(&format!("\"tcp:{FIRST}\", \"tcp:{SECOND}\""), Zone::new(), 1, "", "")
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// The one request that is inside now: who has it, and what it is.
fn inside_one(rig: &mut Rig) -> (String, Message) {
    let mut read = rig.inside_reads();
    assert_eq!(read.len(), 1, "one message is expected: {read:?}");
    let (_, to, message) = read.remove(0);
    (to.to_string(), message)
}

fn answer(rig: &mut Rig, from: &str, request: &Message, status: u16, line: Option<(Name, &str)>) {
    let response = request.respond(status, "Whatever").to_tag("r");
    let response = match line {
        Some((name, value)) => response.header(name, value),
        None => response,
    };
    rig.inside_writes(0, from, response.build());
}

fn status(rig: &mut Rig, flow: FlowId) -> u16 {
    rig.client_reads_last(flow).status().expect("a response")
}

fn register(rig: &mut Rig, flow: FlowId, user: &str, cseq: u32) {
    let text = plain(user, "", "", 300 + cseq).replace("CSeq: 1 ", &format!("CSeq: {cseq} "));
    rig.client_writes(flow, text);
}

fn invite(uri: &str) -> String {
    format!(
        "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/TLS 192.168.1.2:5061;branch=z9hG4bKi\r\nMax-Forwards: 70\r\n\
         From: <sip:anna@example.com>;tag=1\r\nTo: <{uri}>\r\nCall-ID: call@h\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:anna@192.168.1.2:5061;transport=tls>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A client that is registered at whichever registrar took it.
fn registered(rig: &mut Rig) -> (FlowId, String) {
    let flow = rig.client();
    register(rig, flow, "anna", 1);
    let (at, got) = inside_one(rig);
    let contact = got.header(Name::Contact).map(|value| String::from_utf8_lossy(value).into_owned());
    answer(rig, &at, &got, 200, Some((Name::Contact, &format!("{};expires=300", contact.expect("a Contact")))));
    assert_eq!(status(rig, flow), 200);
    (flow, at)
}

#[test]
fn a_503_goes_to_the_next_registrar_and_the_client_stays_there() {
    let mut rig = two();
    let flow = rig.client();
    register(&mut rig, flow, "anna", 1);
    let (at, first) = inside_one(&mut rig);
    assert_eq!(at, FIRST);
    answer(&mut rig, FIRST, &first, 503, Some((Name::RetryAfter, "20")));
    let (at, second) = inside_one(&mut rig);
    assert_eq!(at, SECOND);
    assert_ne!(first.top_via().branch(), second.top_via().branch(), "RFC 3263 §4.3: a transaction of its own");
    assert_eq!(first.call_id(), second.call_id());
    answer(&mut rig, FIRST, &first, 200, None);
    assert!(rig.client_reads(flow).is_empty(), "what the first says now is of no concern");
    answer(&mut rig, SECOND, &second, 401, None);
    assert_eq!(status(&mut rig, flow), 401);

    register(&mut rig, flow, "anna", 2);
    let (at, got) = inside_one(&mut rig);
    assert_eq!(at, SECOND, "a challenge is good where it was made");
    answer(&mut rig, SECOND, &got, 503, None);
    assert_eq!(status(&mut rig, flow), 503, "the first has asked to be spared: nobody is left");

    rig.advance(Duration::from_secs(21));
    register(&mut rig, flow, "anna", 3);
    let (at, got) = inside_one(&mut rig);
    assert_eq!(at, SECOND);
    answer(&mut rig, SECOND, &got, 503, None);
    assert_eq!(inside_one(&mut rig).0, FIRST, "its time is over");
}

#[test]
fn a_request_that_cannot_be_delivered_goes_elsewhere_in_the_same_transaction() {
    for method in ["REGISTER", "INVITE"] {
        let mut rig = two();
        let (flow, at) = registered(&mut rig);
        assert_eq!(at, FIRST);
        rig.inside_closes();
        rig.down.insert(address(FIRST));
        match method {
            "REGISTER" => register(&mut rig, flow, "anna", 2),
            _ => rig.client_writes(flow, invite("sip:bob@example.com")),
        }
        let (at, got) = inside_one(&mut rig);
        assert_eq!((at.as_str(), got.method()), (SECOND, Some(method)));
    }
}

#[test]
fn an_invite_that_may_have_been_delivered_is_sent_to_nobody_else() {
    let mut rig = two();
    let (flow, _) = registered(&mut rig);
    rig.client_writes(flow, invite("sip:bob@example.com"));
    let (at, _) = inside_one(&mut rig);
    assert_eq!(at, FIRST);
    rig.down.insert(address(FIRST));
    rig.inside_closes();
    assert!(rig.inside_reads().is_empty());
    let refused = rig.client_reads_last(flow);
    assert_eq!(refused.status(), Some(408));
    let warning = refused.header(Name::Warning).map(String::from_utf8_lossy);
    assert!(warning.is_some_and(|warning| warning.starts_with("383 ")), "the client walks its list");
}

#[test]
fn silence_moves_all_but_invites() {
    let mut rig = two();
    let (flow, _) = registered(&mut rig);
    register(&mut rig, flow, "anna", 2);
    assert_eq!(inside_one(&mut rig).0, FIRST);
    rig.advance(Duration::from_secs(5));
    let (at, got) = inside_one(&mut rig);
    assert_eq!((at.as_str(), got.method()), (SECOND, Some("REGISTER")));

    let mut rig = two();
    let (flow, _) = registered(&mut rig);
    rig.client_writes(flow, invite("sip:bob@example.com"));
    assert_eq!(inside_one(&mut rig).0, FIRST);
    rig.advance(Duration::from_secs(31));
    assert!(rig.inside_reads().iter().all(|(_, _, message)| message.method() != Some("INVITE")));
}

#[test]
fn a_node_that_is_named_gets_the_request_or_nobody() {
    let mut rig = two();
    let flow = rig.client();
    let named = |cseq| plain("anna", "", "", cseq).replace("REGISTER sip:example.com ", "REGISTER sip:10.0.0.6 ");
    rig.client_writes(flow, named(300));
    let (at, got) = inside_one(&mut rig);
    assert_eq!(at, SECOND);
    answer(&mut rig, SECOND, &got, 503, None);
    assert_eq!(status(&mut rig, flow), 503, "the client asked this one");
    rig.down.insert(address(SECOND));
    rig.inside_closes();
    rig.advance(Duration::from_secs(10));
    rig.client_writes(flow, named(301));
    assert!(rig.inside_reads().is_empty(), "nobody else");
    let refused = rig.client_reads_last(flow);
    assert_eq!(refused.status(), Some(408), "at once");
    let warning = refused.header(Name::Warning).map(String::from_utf8_lossy);
    assert!(warning.is_some_and(|warning| warning.starts_with("383 ")));
}

#[test]
fn names_are_looked_up_for_the_operator_and_for_nobody_else() {
    let query = |name: &str, kind| DnsQuery { name: name.to_owned(), kind };
    let ttl = Duration::from_secs(300);
    let srv = |priority, target: &str| SrvRecord { priority, weight: 1, port: 5070, target: target.to_owned() };
    let addresses = |ip: &str| DnsAnswer::Addresses { addresses: vec![ip.parse().expect("an address")], ttl };
    let zone = Zone::from([
        (
            query("_sip._tcp.pbx.example.net", RecordKind::Srv),
            DnsAnswer::Srv { records: vec![srv(2, "b.pbx.example.net"), srv(1, "a.pbx.example.net")], ttl },
        ),
        (query("a.pbx.example.net", RecordKind::Addresses), addresses("10.0.0.7")),
        (query("b.pbx.example.net", RecordKind::Addresses), addresses("10.0.0.8")),
    ]);
    let mut rig = Rig::with_registrars("\"sip:pbx.example.net;transport=tcp\"", zone, 1, "", "");
    let flow = rig.client();
    register(&mut rig, flow, "anna", 1);
    assert_eq!(inside_one(&mut rig).0, "10.0.0.7:5070");
    let (flow, at) = registered(&mut rig);
    assert_eq!(at, "10.0.0.7:5070");
    let asked = rig.asked.clone();
    let to_b = plain("berta", "", "", 300).replace("REGISTER sip:example.com ", "REGISTER sip:b.pbx.example.net ");
    rig.client_writes(flow, to_b);
    assert_eq!(inside_one(&mut rig).0, "10.0.0.8:5070", "named as an SRV record has it");

    rig.client_writes(flow, invite("sip:bob@intranet.example.org"));
    let within = invite("sip:bob@intranet.example.org")
        .replace(";tag=1\r\nTo: <sip:bob@intranet.example.org>", ";tag=7\r\nTo: <sip:bob@intranet.example.org>;tag=9");
    rig.client_writes(flow, within.replace("branch=z9hG4bKi", "branch=z9hG4bKj"));
    rig.advance(Duration::from_secs(1));
    assert_eq!(rig.asked, asked, "a client's names are nobody's business");
}
