//! Dialogs and requests outside of any, in both directions, with parties that are not the registrar.

use std::time::Duration;

use edgeway_model::FlowId;
use edgeway_sip::{Message, Name};

use crate::register::{plain, register};
use crate::rig::{REGISTRAR, Rig};
use crate::talk::{Leg, answer};

/// A phone or server inside that is no registrar and that no registrar stands in front of.
const PARTY: &str = "10.0.0.77:5070";
const OTHER: &str = "10.0.0.78:5070";
const CLIENT_VIA: &str = "TLS 192.168.1.2:5061";

fn party_uri(address: &str) -> String {
    format!("sip:party@{address};transport=tcp")
}

/// A registered client, and the Path the registrar keeps for it.
fn registered(rig: &mut Rig, user: &str) -> (FlowId, Vec<String>) {
    let flow = rig.client();
    rig.client_writes(flow, plain(user, "", "", 600));
    let (core, _, got) = rig.inside_reads().pop().expect("it reaches the registrar");
    let path = got.addresses(Name::Path).map(|path| path.uri.to_owned()).collect();
    let contact = got.contacts().next().expect("a contact").uri.to_owned();
    rig.inside_writes(core, REGISTRAR, answer(&got, 200, "r", &contact, &[]));
    assert_eq!(rig.client_reads_last(flow).status(), Some(200));
    (flow, path)
}

fn inside_reads_one(rig: &mut Rig, at: &str) -> Message {
    let mut read = rig.inside_reads();
    assert_eq!(read.len(), 1, "one message is expected: {read:#?}");
    let (_, to, message) = read.remove(0);
    assert_eq!(to.to_string(), at);
    message
}

/// The client asks within its dialog; where it arrives, or the status of the refusal.
fn asks(rig: &mut Rig, flow: FlowId, text: String) -> Result<String, u16> {
    rig.client_writes(flow, text);
    match rig.inside_reads().pop() {
        Some((core, to, got)) => {
            rig.inside_writes(core, &to.to_string(), answer(&got, 200, "x", "", &[]));
            assert_eq!(rig.client_reads_last(flow).status(), Some(200));
            Ok(to.to_string())
        }
        None => Err(rig.client_reads_last(flow).status().expect("an answer")),
    }
}

#[test]
fn a_subscription_routes_both_ways_for_its_lifetime() {
    let mut rig = Rig::new();
    let (flow, _) = registered(&mut rig, "alice");
    let mut leg = Leg::new("sub1", CLIENT_VIA, "alice1", "sip:lamp@example.com");
    rig.client_writes(flow, leg.request("SUBSCRIBE", "Event: dialog\r\nExpires: 600\r\n"));
    let subscribe = inside_reads_one(&mut rig, REGISTRAR);
    // The first NOTIFY overtakes the 200 (RFC 6665 §4.4.1).
    let mut notifier = Leg::asked(&subscribe, "TCP 10.0.0.77:5070", "party1");
    let active = "Event: dialog\r\nSubscription-State: active;expires=600\r\n";
    rig.inside_writes(0, PARTY, notifier.request("NOTIFY", active));
    let notify = rig.client_reads_one(flow);
    assert_eq!(notify.method(), Some("NOTIFY"));
    assert_eq!(notify.other("Subscription-State"), Some(&b"active;expires=600"[..]));
    rig.client_writes(flow, answer(&notify, 200, "", "", &[]));
    assert_eq!(inside_reads_one(&mut rig, PARTY).status(), Some(200));
    // Its route set is the NOTIFY's: a refresh before the 200 arrives at the notifier.
    let mut early = Leg::asked(&notify, CLIENT_VIA, "alice1");
    assert_eq!(asks(&mut rig, flow, early.request("SUBSCRIBE", "Event: dialog\r\nExpires: 600\r\n")), Ok(PARTY.into()));
    rig.registrar_writes(answer(&subscribe, 200, "party1", &party_uri(PARTY), &[(Name::Expires, "600")]));
    let mut leg = leg.answered(&rig.client_reads_one(flow));
    let mut refresh = |rig: &mut Rig| {
        let text = leg.request("SUBSCRIBE", "Event: dialog\r\nExpires: 600\r\n");
        asks(rig, flow, text)
    };
    assert_eq!(refresh(&mut rig), Ok(PARTY.into()));
    rig.advance(Duration::from_secs(500));
    register(&mut rig, flow, &plain("alice", "", "", 601), "");
    assert_eq!(refresh(&mut rig), Ok(PARTY.into()), "it was prolonged by the refresh before");
    // The last NOTIFY ends it; what is under way still arrives.
    rig.inside_writes(0, PARTY, notifier.request("NOTIFY", "Event: dialog\r\nSubscription-State: terminated\r\n"));
    let notify = rig.client_reads_one(flow);
    rig.client_writes(flow, answer(&notify, 200, "", "", &[]));
    assert_eq!(rig.inside_reads().len(), 1);
    assert_eq!(refresh(&mut rig), Ok(PARTY.into()));
    rig.advance(Duration::from_secs(40));
    assert_eq!(refresh(&mut rig), Err(481));
}

#[test]
fn a_subscription_nobody_prolongs_is_forgotten() {
    let mut rig = Rig::new();
    let (flow, _) = registered(&mut rig, "alice");
    let mut leg = Leg::new("sub2", CLIENT_VIA, "alice1", "sip:lamp@example.com");
    rig.client_writes(flow, leg.request("SUBSCRIBE", "Event: presence\r\nExpires: 60\r\n"));
    let subscribe = inside_reads_one(&mut rig, REGISTRAR);
    rig.registrar_writes(answer(&subscribe, 200, "party1", &party_uri(PARTY), &[(Name::Expires, "60")]));
    let mut leg = leg.answered(&rig.client_reads_one(flow));
    rig.advance(Duration::from_secs(93));
    assert_eq!(asks(&mut rig, flow, leg.request("SUBSCRIBE", "Expires: 60\r\n")), Err(481));
}

#[test]
fn the_inside_subscribes_to_a_client_and_is_notified() {
    let mut rig = Rig::new();
    let (flow, path) = registered(&mut rig, "alice");
    let mut subscriber = Leg::new("kpml", "TCP 10.0.0.77:5070", "party1", "sip:alice@192.168.1.2:5061;transport=tls");
    subscriber.routes = path;
    rig.inside_writes(0, PARTY, subscriber.request("SUBSCRIBE", "Event: kpml\r\nExpires: 7200\r\n"));
    let subscribe = rig.client_reads_one(flow);
    assert_eq!(subscribe.routes().count(), 0, "our own routes stay with us");
    let mut notifier = Leg::asked(&subscribe, CLIENT_VIA, "alice1");
    // Before the answer.
    assert_eq!(asks(&mut rig, flow, notifier.request("NOTIFY", "Subscription-State: active\r\n")), Ok(PARTY.into()));
    rig.client_writes(flow, answer(&subscribe, 200, "alice1", "sip:alice@192.168.1.2:5061", &[]));
    let ok = inside_reads_one(&mut rig, PARTY);
    let mut subscriber = subscriber.answered(&ok);
    assert_eq!(asks(&mut rig, flow, notifier.request("NOTIFY", "Subscription-State: active\r\n")), Ok(PARTY.into()));
    rig.inside_writes(0, PARTY, subscriber.request("SUBSCRIBE", "Event: kpml\r\nExpires: 7200\r\n"));
    assert_eq!(rig.client_reads_one(flow).to_tag(), Some("alice1"));
    // Another dialog's tag leads nowhere, nor does this dialog lead elsewhere.
    let mut stray = notifier.clone();
    stray.remote = Some("guessed".to_owned());
    assert_eq!(asks(&mut rig, flow, stray.request("NOTIFY", "")), Err(481));
    let mut elsewhere = notifier.clone();
    elsewhere.target = party_uri("10.0.0.99:5060");
    assert_eq!(asks(&mut rig, flow, elsewhere.request("NOTIFY", "")), Err(481));
}

#[test]
fn a_refer_outside_of_any_dialog_makes_one() {
    let mut rig = Rig::new();
    let (flow, path) = registered(&mut rig, "alice");
    let mut server = Leg::new("cc", "TCP 10.0.0.5:5060", "cucm1", "sip:alice@192.168.1.2:5061;transport=tls");
    server.routes = path;
    let body = "--b\r\nContent-Type: application/x-cisco-remotecc-request+xml\r\n\r\n<x/>\r\n--b--\r\n";
    let lines = "Refer-To: <cid:1@10.0.0.5>\r\nContent-Type: multipart/mixed;boundary=b\r\n";
    rig.registrar_writes(server.with_body("REFER", lines, body));
    let refer = rig.client_reads_one(flow);
    assert_eq!((refer.method(), refer.body()), (Some("REFER"), body.as_bytes()));
    rig.client_writes(flow, answer(&refer, 202, "alice1", "sip:alice@192.168.1.2:5061", &[]));
    assert_eq!(inside_reads_one(&mut rig, REGISTRAR).status(), Some(202));
    let mut client = Leg::asked(&refer, CLIENT_VIA, "alice1");
    let notify = client.request("NOTIFY", "Event: refer\r\nSubscription-State: terminated;reason=noresource\r\n");
    assert_eq!(asks(&mut rig, flow, notify), Ok(REGISTRAR.into()));
    // And from outside: a transfer the registrar passes to a phone.
    let mut leg = Leg::new("xfer", CLIENT_VIA, "alice2", "sip:party@example.com");
    rig.client_writes(flow, leg.request("REFER", "Refer-To: <sip:carol@example.com>\r\n"));
    let refer = inside_reads_one(&mut rig, REGISTRAR);
    rig.registrar_writes(answer(&refer, 202, "party1", &party_uri(PARTY), &[]));
    let mut leg = leg.answered(&rig.client_reads_one(flow));
    assert_eq!(asks(&mut rig, flow, leg.request("SUBSCRIBE", "Event: refer\r\nExpires: 0\r\n")), Ok(PARTY.into()));
}

/// An INVITE without a body: the offers come in the answers.
fn invited(rig: &mut Rig, flow: FlowId, leg: &mut Leg) -> Message {
    rig.client_writes(flow, leg.request("INVITE", "Supported: 100rel\r\n"));
    assert_eq!(rig.client_reads_one(flow).status(), Some(100));
    inside_reads_one(rig, REGISTRAR)
}

#[test]
fn every_fork_of_a_call_is_reached_by_its_own_tag() {
    let mut rig = Rig::new();
    let (flow, _) = registered(&mut rig, "alice");
    let mut caller = Leg::new("fork", CLIENT_VIA, "alice1", "sip:hunt@example.com");
    let invite = invited(&mut rig, flow, &mut caller);
    let parties = [(PARTY, "party1"), (OTHER, "party2")];
    for (address, tag) in parties {
        rig.registrar_writes(answer(&invite, 180, tag, &party_uri(address), &[(Name::Require, "100rel")]));
    }
    let rings = rig.client_reads(flow);
    assert_eq!(rings.len(), 2, "each fork rings");
    for ((address, tag), ring) in parties.iter().zip(&rings) {
        assert_eq!(ring.to_tag(), Some(*tag));
        let mut leg = caller.answered(ring);
        assert_eq!(asks(&mut rig, flow, leg.request("PRACK", "RAck: 1 1 INVITE\r\n")), Ok((*address).to_owned()));
        assert_eq!(asks(&mut rig, flow, leg.request("UPDATE", "")), Ok((*address).to_owned()));
    }
    // Both take the call: RFC 6026 lets both 200 through, and each gets its ACK.
    for (address, tag) in parties {
        rig.registrar_writes(answer(&invite, 200, tag, &party_uri(address), &[]));
    }
    let accepted = rig.client_reads(flow);
    assert_eq!(accepted.iter().filter_map(Message::status).collect::<Vec<_>>(), [200, 200]);
    for ((address, _), ok) in parties.iter().zip(&accepted) {
        let mut leg = caller.answered(ok);
        rig.client_writes(flow, leg.request("ACK", ""));
        assert_eq!(inside_reads_one(&mut rig, address).method(), Some("ACK"));
        assert_eq!(asks(&mut rig, flow, leg.request("INFO", "Info-Package: x\r\n")), Ok((*address).to_owned()));
        assert_eq!(asks(&mut rig, flow, leg.request("BYE", "")), Ok((*address).to_owned()));
    }
}

#[test]
fn a_cancel_that_meets_an_answer_loses() {
    let mut rig = Rig::new();
    let (flow, _) = registered(&mut rig, "alice");
    let mut caller = Leg::new("race", CLIENT_VIA, "alice1", "sip:party@example.com");
    let invite = invited(&mut rig, flow, &mut caller);
    rig.registrar_writes(answer(&invite, 180, "party1", &party_uri(PARTY), &[]));
    rig.client_reads(flow);
    let cancel = caller.clone().with_body("CANCEL", "", "").replace("1CANCEL", "1INVITE");
    rig.client_writes(flow, cancel);
    assert_eq!(rig.client_reads_one(flow).cseq().1, "CANCEL");
    let sent = inside_reads_one(&mut rig, REGISTRAR);
    assert_eq!((sent.method(), sent.top_via().branch()), (Some("CANCEL"), invite.top_via().branch()));
    // The 200 was under way already.
    rig.registrar_writes(answer(&invite, 200, "party1", &party_uri(PARTY), &[]));
    rig.registrar_writes(answer(&sent, 481, "party1", "", &[]));
    let ok = rig.client_reads_one(flow);
    assert_eq!((ok.status(), ok.cseq().1), (Some(200), "INVITE"));
    let mut leg = caller.answered(&ok);
    rig.client_writes(flow, leg.request("ACK", ""));
    assert_eq!(inside_reads_one(&mut rig, PARTY).method(), Some("ACK"));
    assert_eq!(asks(&mut rig, flow, leg.request("BYE", "")), Ok(PARTY.into()));
}

#[test]
fn a_cancelled_call_ends_with_487() {
    let mut rig = Rig::new();
    let (flow, _) = registered(&mut rig, "alice");
    let mut caller = Leg::new("cancelled", CLIENT_VIA, "alice1", "sip:party@example.com");
    let invite = invited(&mut rig, flow, &mut caller);
    let cancel = caller.clone().with_body("CANCEL", "", "").replace("1CANCEL", "1INVITE");
    rig.client_writes(flow, cancel);
    assert_eq!(rig.client_reads_one(flow).cseq().1, "CANCEL");
    assert!(rig.inside_reads().is_empty(), "RFC 3261 §9.1: not before a provisional answer");
    rig.registrar_writes(answer(&invite, 180, "party1", &party_uri(PARTY), &[]));
    let sent = inside_reads_one(&mut rig, REGISTRAR);
    rig.registrar_writes(answer(&sent, 200, "party1", "", &[]));
    rig.registrar_writes(answer(&invite, 487, "party1", "", &[]));
    assert_eq!(rig.client_reads_last(flow).status(), Some(487));
    assert_eq!(inside_reads_one(&mut rig, REGISTRAR).method(), Some("ACK"));
}

const METHODS: [&str; 6] = ["MESSAGE", "PUBLISH", "INFO", "OPTIONS", "NOTIFY", "FROBNICATE"];

#[test]
fn requests_outside_of_dialogs_pass_both_ways() {
    let mut rig = Rig::new();
    let (flow, path) = registered(&mut rig, "alice");
    let lines = "Content-Type: application/x-any\r\nSession-ID: ab30317f1a784dc48ff824d0d3715d86;remote=0\r\n";
    for method in METHODS {
        let client = Leg::new(method, CLIENT_VIA, "alice1", "sip:bob@example.com");
        rig.client_writes(flow, client.with_body(method, lines, "\u{1}\r\n\r\nbody"));
        let got = inside_reads_one(&mut rig, REGISTRAR);
        assert_eq!((got.method(), got.body()), (Some(method), &b"\x01\r\n\r\nbody"[..]));
        rig.registrar_writes(answer(&got, 202, "r", "", &[]));
        assert_eq!(rig.client_reads_one(flow).status(), Some(202));
        let mut server = Leg::new(method, "TCP 10.0.0.5:5060", "r1", "sip:alice@192.168.1.2:5061;transport=tls");
        server.routes.clone_from(&path);
        rig.registrar_writes(server.with_body(method, lines, "\r\n--x"));
        let got = rig.client_reads_one(flow);
        assert_eq!((got.method(), got.body()), (Some(method), &b"\r\n--x"[..]));
        rig.client_writes(flow, answer(&got, 200, "a", "", &[]));
        assert_eq!(inside_reads_one(&mut rig, REGISTRAR).status(), Some(200));
    }
}

#[test]
fn each_phone_of_a_shared_line_is_reached_over_its_own_flow() {
    let mut rig = Rig::new();
    let phones: Vec<_> = (0..3).map(|_| registered(&mut rig, "shared")).collect();
    // One of them has a second line.
    register(&mut rig, phones[0].0, &plain("private", "", "", 600), "");
    for (number, (flow, path)) in phones.iter().enumerate() {
        let target = "sip:shared@192.168.1.2:5061;transport=tls";
        let mut server = Leg::new(&format!("ring{number}"), "TCP 10.0.0.5:5060", "r1", target);
        server.routes.clone_from(path);
        rig.registrar_writes(server.request("NOTIFY", "Event: service-control\r\n"));
        for (other, (reader, _)) in phones.iter().enumerate() {
            assert_eq!(rig.client_reads(*reader).len(), usize::from(other == number));
        }
        rig.client_closes(*flow);
        rig.registrar_writes(server.request("NOTIFY", "Event: service-control\r\n"));
        // RFC 5626 §5.3: the flow is gone, and only this one. (The NOTIFY before is answered so, too.)
        let answers = rig.inside_reads();
        assert!(!answers.is_empty() && answers.iter().all(|(_, _, answer)| answer.status() == Some(430)));
    }
}
