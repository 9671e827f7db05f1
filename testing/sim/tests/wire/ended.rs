//! An operator ends a call: what both parties are told, byte for byte, and what becomes of parties that will not hear it.

use std::time::Duration;

use edgeway_model::listing::{CallState, Wish};
use edgeway_model::maintenance::MaintenanceOrder;
use edgeway_model::world::Observable as _;
use edgeway_model::{FlowId, Input};
use edgeway_sip::{Message, Name};

use crate::register::plain;
use crate::rig::{At, REGISTRAR, Rig};
use crate::talk::{Leg, answer};

const PARTY: &str = "10.0.0.77:5070";
const VIA: &str = "TLS 192.168.1.2:5061";
const SDP: &str = "Content-Type: application/sdp\r\n";
const OFFER: &str = "v=0\r\no=x 1 0 IN IP4 203.0.113.7\r\ns=x\r\nc=IN IP4 203.0.113.7\r\nt=0 0\r\n\
                     m=audio 30000 RTP/SAVP 0\r\n\
                     a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNk\r\na=sendrecv\r\n";
const PLAIN: &str =
    "v=0\r\no=- 1 0 IN IP4 10.0.0.77\r\ns=-\r\nc=IN IP4 10.0.0.77\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";

/// A registered client, and the Path the registrar keeps for it.
fn registered(rig: &mut Rig, user: &str) -> (FlowId, Vec<String>) {
    let flow = rig.client();
    let path = register_over(rig, flow, user);
    (flow, path)
}

fn register_over(rig: &mut Rig, flow: FlowId, user: &str) -> Vec<String> {
    rig.client_writes(flow, plain(user, "", "", 600));
    let (core, _, got) = rig.inside_reads().pop().expect("it reaches the registrar");
    let contact = got.contacts().next().expect("a contact").uri.to_owned();
    rig.inside_writes(core, REGISTRAR, answer(&got, 200, "r", &contact, &[]));
    assert_eq!(rig.client_reads_last(flow).status(), Some(200));
    got.addresses(Name::Path).map(|path| path.uri.to_owned()).collect()
}

/// What a party inside has got: where, and what.
fn inside_reads_one(rig: &mut Rig) -> (String, Message) {
    let mut read = rig.inside_reads();
    assert_eq!(read.len(), 1, "one message is expected: {read:#?}");
    let (_, to, message) = read.remove(0);
    (to.to_string(), message)
}

/// The client calls; what the registrar gets.
fn calls(rig: &mut Rig, flow: FlowId, leg: &mut Leg) -> Message {
    let _ = leg.request("", "");
    rig.client_writes(flow, leg.with_body("INVITE", SDP, OFFER));
    let invite = rig.registrar_reads_one();
    rig.client_reads(flow);
    invite
}

/// Somebody inside answers.
fn answers(rig: &mut Rig, invite: &Message) {
    let ok = invite.respond(200, "OK").to_tag("carol").record_route();
    let ok = ok.header(Name::Contact, "<sip:carol@10.0.0.77:5070;transport=tcp;x=1>");
    rig.registrar_writes(ok.body("application/sdp", PLAIN.as_bytes()).build());
}

/// A call of a client that is up: how the client and the party inside see it.
fn up(rig: &mut Rig, flow: FlowId, call_id: &str) -> (Leg, Leg) {
    // Branches are made of tags.
    let tag = if call_id == "talk" { "alice1" } else { call_id };
    let mut leg = Leg::new(call_id, VIA, tag, "sip:carol@example.com");
    let invite = calls(rig, flow, &mut leg);
    answers(rig, &invite);
    let mut leg = leg.answered(&rig.client_reads_last(flow));
    rig.client_writes(flow, leg.request("ACK", ""));
    let (to, ack) = inside_reads_one(rig);
    assert_eq!((to.as_str(), ack.method()), (PARTY, Some("ACK")));
    (leg, Leg::asked(&invite, "TCP 10.0.0.77:5070", "carol"))
}

/// A client answered a call from inside, which came through a proxy: how the party inside sees it.
fn up_from_inside(rig: &mut Rig, flow: FlowId, path: &[String], acknowledges: bool) -> Leg {
    up_through(rig, flow, path, ";lr", acknowledges)
}

fn up_through(rig: &mut Rig, flow: FlowId, path: &[String], loose: &str, acknowledges: bool) -> Leg {
    let mut leg = Leg::new("in", "TCP 10.0.0.77:5070", "carol", "sip:alice@192.168.1.2:5061;transport=tls");
    leg.routes = path.to_vec();
    let _ = leg.request("", "");
    let lines = format!("Record-Route: <sip:proxy@{REGISTRAR};transport=tcp{loose}>\r\n{SDP}");
    rig.registrar_writes(leg.with_body("INVITE", &lines, PLAIN));
    let invite = rig.client_reads_last(flow);
    rig.inside_reads();
    let ok = invite.respond(200, "OK").to_tag("alice9").record_route();
    let ok = ok.header(Name::Contact, "\"Alice\" <sip:alice@192.168.1.2:5061;transport=tls;ob>");
    rig.client_writes(flow, ok.body("application/sdp", OFFER.as_bytes()).build());
    let mut leg = leg.answered(&inside_reads_one(rig).1);
    // The proxy takes itself off.
    leg.routes.remove(0);
    if acknowledges {
        rig.registrar_writes(leg.request("ACK", ""));
        assert_eq!(rig.client_reads_one(flow).method(), Some("ACK"));
    }
    leg
}

fn number(rig: &Rig, call_id: &str) -> u32 {
    let page = rig.core(0).call_page(&Wish { limit: 100, ..Wish::default() });
    let named = |id: &Option<edgeway_model::Pii<String>>| id.as_ref().is_some_and(|id| id.reveal() == call_id);
    page.rows.iter().find(|row| named(&row.call_id)).expect("it is listed").id
}

fn end(rig: &mut Rig, call_id: &str) {
    let call = number(rig, call_id);
    rig.says(At::Core(0), Input::EndCall { call });
}

fn state(rig: &Rig) -> Option<CallState> {
    rig.core(0).call_page(&Wish::default()).rows.first().and_then(|row| row.state)
}

/// Nothing of any call is left.
fn nothing_is_left(rig: &Rig) {
    let core = rig.core(0);
    assert_eq!((core.calls(), core.port_pairs().1, core.call_page(&Wish::default()).total), (0, 0, 0));
}

fn names(message: &Message) -> (Option<&str>, Option<&str>, &str, (u32, &str)) {
    (message.from_tag(), message.to_tag(), message.call_id(), message.cseq())
}

#[test]
fn both_parties_of_a_call_that_is_up_hear_a_bye_of_the_other() {
    let mut rig = Rig::new();
    let (flow, _) = registered(&mut rig, "alice");
    let (mut client, mut party) = up(&mut rig, flow, "talk");
    // Each side has used up numbers of its own: the client 2, the party 1 and 2.
    rig.client_writes(flow, client.request("INFO", ""));
    let (to, info) = inside_reads_one(&mut rig);
    rig.inside_writes(0, &to, answer(&info, 200, "", "", &[]));
    party.routes.reverse();
    let mut back = Leg::asked(&info, "TCP 10.0.0.77:5070", "carol");
    back.routes.clone_from(&party.routes);
    party = back;
    for _ in 0..2 {
        rig.inside_writes(0, PARTY, party.request("INFO", ""));
        let info = rig.client_reads_last(flow);
        assert_eq!(info.method(), Some("INFO"));
        rig.client_writes(flow, answer(&info, 200, "", "", &[]));
        assert_eq!(inside_reads_one(&mut rig).1.status(), Some(200));
    }
    end(&mut rig, "talk");
    nothing_is_left(&rig);

    let (to, inside) = inside_reads_one(&mut rig);
    assert_eq!((to.as_str(), inside.method()), (PARTY, Some("BYE")));
    assert_eq!(inside.request_uri(), Some("sip:carol@10.0.0.77:5070;transport=tcp;x=1"));
    assert_eq!(names(&inside), (Some("alice1"), Some("carol"), "talk", (3, "BYE")));
    assert_eq!((inside.routes().count(), inside.via_count()), (0, 1));
    assert_eq!(inside.from().uri, "sip:alice@example.com");
    let outside = rig.client_reads_one(flow);
    assert_eq!(outside.request_uri(), Some("sip:me@192.168.1.2:5061;transport=tls"));
    assert_eq!(names(&outside), (Some("carol"), Some("alice1"), "talk", (3, "BYE")));
    assert_eq!((outside.routes().count(), outside.via_count()), (0, 2), "its Routes led here");
    assert!(outside.other("Reason").is_some_and(|reason| reason.ends_with(b"\"ended by an operator\"")));

    // Their answers go nowhere, however often they come.
    for _ in 0..2 {
        rig.inside_writes(0, &to, answer(&inside, 200, "", "", &[]));
        rig.client_writes(flow, answer(&outside, 200, "", "", &[]));
    }
    assert!(rig.inside_reads().is_empty() && rig.client_reads(flow).is_empty());
    rig.advance(Duration::from_secs(60));
    assert_eq!(rig.core(0).transactions(), 0);
    assert!(rig.inside_reads().is_empty() && rig.client_reads(flow).is_empty());
    assert_eq!(rig.ends(), ["talk call <redacted>: ended, ended by an operator"]);
}

#[test]
fn the_route_set_of_a_call_from_inside_is_followed() {
    let mut rig = Rig::new();
    let (flow, path) = registered(&mut rig, "alice");
    up_from_inside(&mut rig, flow, &path, true);
    end(&mut rig, "in");
    let (to, bye) = inside_reads_one(&mut rig);
    assert_eq!((to.as_str(), bye.request_uri()), (REGISTRAR, Some("sip:me@10.0.0.77:5070;transport=tcp")));
    let routes: Vec<_> = bye.routes().map(|route| route.uri.to_owned()).collect();
    assert_eq!(routes, [format!("sip:proxy@{REGISTRAR};transport=tcp;lr")]);
    // The client has sent no request of its own in this dialog.
    assert_eq!(names(&bye), (Some("alice9"), Some("carol"), "in", (1, "BYE")));
    let bye = rig.client_reads_one(flow);
    assert_eq!(bye.request_uri(), Some("sip:alice@192.168.1.2:5061;transport=tls;ob"));
    assert_eq!(names(&bye), (Some("carol"), Some("alice9"), "in", (2, "BYE")));
    nothing_is_left(&rig);
}

#[test]
fn a_strict_router_inside_gets_the_bye() {
    let mut rig = Rig::new();
    let (flow, path) = registered(&mut rig, "alice");
    up_through(&mut rig, flow, &path, "", true);
    end(&mut rig, "in");
    let (to, bye) = inside_reads_one(&mut rig);
    let router = format!("sip:proxy@{REGISTRAR};transport=tcp");
    assert_eq!((to.as_str(), bye.request_uri()), (REGISTRAR, Some(router.as_str())), "RFC 3261 §12.2.1.1");
    let routes: Vec<_> = bye.routes().map(|route| route.uri.to_owned()).collect();
    assert_eq!(routes, ["sip:me@10.0.0.77:5070;transport=tcp"]);
    assert_eq!(rig.client_reads_one(flow).method(), Some("BYE"));
}

#[test]
fn one_call_ends_and_nobody_elses() {
    let mut rig = Rig::new();
    let (flow, _) = registered(&mut rig, "alice");
    let (mut other, _) = up(&mut rig, flow, "alice-stays");
    up(&mut rig, flow, "alice-goes");
    end(&mut rig, "alice-goes");
    assert_eq!(inside_reads_one(&mut rig).1.call_id(), "alice-goes");
    assert_eq!(rig.client_reads_one(flow).call_id(), "alice-goes");
    assert_eq!((rig.core(0).calls(), rig.core(0).port_pairs().1), (1, 1));
    rig.says(At::Core(0), Input::EndCall { call: 99_999 });
    rig.says(At::Edge, Input::EndCall { call: number(&rig, "alice-stays") });
    assert!(rig.client_reads(flow).is_empty());
    rig.client_writes(flow, other.request("INFO", ""));
    assert_eq!(inside_reads_one(&mut rig).1.method(), Some("INFO"));
}

#[test]
fn a_party_that_goes_on_hears_that_there_is_no_such_call() {
    let mut rig = Rig::new();
    let (flow, _) = registered(&mut rig, "alice");
    let (mut client, _) = up(&mut rig, flow, "talk");
    end(&mut rig, "talk");
    let (to, _) = inside_reads_one(&mut rig);
    rig.client_reads(flow);
    // The client's own BYE has crossed ours: it still leads to its party, which knows what to say.
    rig.client_writes(flow, client.request("BYE", ""));
    let (again, bye) = inside_reads_one(&mut rig);
    assert_eq!((again, bye.method()), (to.clone(), Some("BYE")));
    rig.inside_writes(0, &to, answer(&bye, 481, "", "", &[]));
    assert_eq!(rig.client_reads_last(flow).status(), Some(481));
    rig.advance(Duration::from_secs(40));
    rig.client_writes(flow, client.request("INFO", ""));
    assert_eq!(rig.client_reads_last(flow).status(), Some(481));
}

#[test]
fn who_does_not_take_its_bye_keeps_nothing_and_the_operator_is_told() {
    for (inside, client, told) in [
        (Some(481), Some(481), vec![]),
        (
            Some(407),
            Some(500),
            vec!["the party inside was not told: it answered 407", "its client was not told: it answered 500"],
        ),
        (
            None,
            None,
            vec!["its client was not told: it did not answer", "the party inside was not told: it did not answer"],
        ),
    ] {
        let mut rig = Rig::new();
        let (flow, _) = registered(&mut rig, "alice");
        up(&mut rig, flow, "talk");
        end(&mut rig, "talk");
        nothing_is_left(&rig);
        assert_eq!(rig.ends().len(), 1);
        let (to, bye) = inside_reads_one(&mut rig);
        if let Some(status) = inside {
            rig.inside_writes(0, &to, answer(&bye, status, "", "", &[]));
        }
        let bye = rig.client_reads_one(flow);
        if let Some(status) = client {
            rig.client_writes(flow, answer(&bye, status, "", "", &[]));
        }
        // A client that does not answer is given up by the edge, too, which says so.
        rig.advance(Duration::from_secs(33));
        let ends = rig.ends();
        assert_eq!(ends.len(), told.len(), "{ends:?}");
        for said in &told {
            let word = said.split(": it").next().unwrap_or_default();
            assert!(ends.iter().any(|end| end.contains(word)), "{said}: {ends:?}");
        }
        if inside.is_some() {
            assert!(told.iter().all(|said| ends.iter().any(|end| end.ends_with(said))), "{ends:?}");
        }
        assert_eq!(rig.core(0).transactions(), 0);
    }
}

#[test]
fn a_call_that_rings_is_cancelled() {
    let mut rig = Rig::new();
    let (flow, _) = registered(&mut rig, "alice");
    let mut leg = Leg::new("ring", VIA, "alice1", "sip:carol@example.com");
    let invite = calls(&mut rig, flow, &mut leg);
    end(&mut rig, "ring");
    assert!(rig.inside_reads().is_empty(), "RFC 3261 §9.1: not before a provisional answer");
    assert_eq!(state(&rig), Some(CallState::Ending));
    rig.registrar_writes(answer(&invite, 180, "carol", "sip:carol@10.0.0.77:5070;transport=tcp", &[]));
    let cancel = rig.registrar_reads_one();
    assert_eq!((cancel.method(), cancel.top_via().branch()), (Some("CANCEL"), invite.top_via().branch()));
    rig.registrar_writes(answer(&cancel, 200, "carol", "", &[]));
    rig.registrar_writes(answer(&invite, 487, "carol", "", &[]));
    assert_eq!(rig.registrar_reads_one().method(), Some("ACK"));
    assert_eq!(rig.client_reads_last(flow).status(), Some(487));
    nothing_is_left(&rig);
}

#[test]
fn a_client_that_rings_is_cancelled_and_its_caller_hears_so() {
    let mut rig = Rig::new();
    let (flow, path) = registered(&mut rig, "alice");
    let mut leg = Leg::new("in", "TCP 10.0.0.77:5070", "carol", "sip:alice@192.168.1.2:5061;transport=tls");
    leg.routes = path;
    let _ = leg.request("", "");
    rig.registrar_writes(leg.with_body("INVITE", SDP, PLAIN));
    let invite = rig.client_reads_last(flow);
    rig.client_writes(flow, answer(&invite, 180, "alice9", "", &[]));
    assert_eq!(rig.inside_reads().last().and_then(|(.., got)| got.status()), Some(180));
    end(&mut rig, "in");
    let cancel = rig.client_reads_one(flow);
    assert_eq!((cancel.method(), cancel.top_via().branch()), (Some("CANCEL"), invite.top_via().branch()));
    rig.client_writes(flow, answer(&cancel, 200, "alice9", "", &[]));
    rig.client_writes(flow, answer(&invite, 487, "alice9", "", &[]));
    let said: Vec<_> = rig.inside_reads().iter().filter_map(|(.., got)| got.status()).collect();
    assert_eq!(said, [487]);
    nothing_is_left(&rig);
}

#[test]
fn a_callee_that_does_not_answer_is_not_waited_for() {
    let mut rig = Rig::new();
    let (flow, _) = registered(&mut rig, "alice");
    let mut leg = Leg::new("ring", VIA, "alice1", "sip:carol@example.com");
    let invite = calls(&mut rig, flow, &mut leg);
    rig.registrar_writes(answer(&invite, 180, "carol", "sip:carol@10.0.0.77:5070;transport=tcp", &[]));
    rig.client_reads(flow);
    end(&mut rig, "ring");
    rig.advance(Duration::from_millis(31_900));
    assert!(rig.client_reads(flow).is_empty());
    rig.advance(Duration::from_millis(200));
    let answer = rig.client_reads_last(flow);
    assert_eq!((answer.status(), answer.cseq().1), (Some(480), "INVITE"));
    nothing_is_left(&rig);
}

#[test]
fn an_answer_that_crosses_the_order_is_acknowledged_before_it_is_ended() {
    let mut rig = Rig::new();
    let (flow, _) = registered(&mut rig, "alice");
    let mut leg = Leg::new("race", VIA, "alice1", "sip:carol@example.com");
    let invite = calls(&mut rig, flow, &mut leg);
    rig.registrar_writes(answer(&invite, 180, "carol", "sip:carol@10.0.0.77:5070;transport=tcp", &[]));
    rig.client_reads(flow);
    end(&mut rig, "race");
    let cancel = rig.registrar_reads_one();
    answers(&mut rig, &invite);
    rig.registrar_writes(answer(&cancel, 481, "carol", "", &[]));
    let mut leg = leg.answered(&rig.client_reads_one(flow));
    assert!(rig.inside_reads().is_empty(), "RFC 3261 §15: the callee is spoken for once the ACK is here");
    rig.client_writes(flow, leg.request("ACK", ""));
    let said: Vec<_> = rig.inside_reads().into_iter().map(|(.., got)| got.method().map(str::to_owned)).collect();
    assert_eq!(said, [Some("ACK".to_owned()), Some("BYE".to_owned())]);
    assert_eq!(rig.client_reads_one(flow).method(), Some("BYE"));
    nothing_is_left(&rig);
}

#[test]
fn an_ack_that_never_comes_is_not_waited_for_longer_than_the_callee_would() {
    let mut rig = Rig::new();
    let (flow, path) = registered(&mut rig, "alice");
    up_from_inside(&mut rig, flow, &path, false);
    end(&mut rig, "in");
    rig.advance(Duration::from_millis(31_900));
    assert!(rig.inside_reads().is_empty() && rig.client_reads(flow).is_empty());
    rig.advance(Duration::from_millis(200));
    assert_eq!(inside_reads_one(&mut rig).1.method(), Some("BYE"));
    assert_eq!(rig.client_reads_one(flow).method(), Some("BYE"));
    nothing_is_left(&rig);
}

#[test]
fn a_client_that_has_come_back_is_told_over_its_present_connection() {
    let mut rig = Rig::new();
    let (flow, _) = registered(&mut rig, "alice");
    up(&mut rig, flow, "talk");
    rig.client_closes(flow);
    let (back, _) = registered(&mut rig, "alice");
    end(&mut rig, "talk");
    assert_eq!(rig.client_reads_one(back).method(), Some("BYE"));
}

#[test]
fn what_a_broken_link_or_connection_has_lost_goes_again() {
    let mut rig = Rig::new();
    let (flow, _) = registered(&mut rig, "alice");
    up(&mut rig, flow, "talk");
    rig.disconnect(0);
    end(&mut rig, "talk");
    let (_, first) = inside_reads_one(&mut rig);
    assert!(rig.client_reads(flow).is_empty());
    rig.inside_closes();
    let (to, again) = inside_reads_one(&mut rig);
    assert_eq!((again.bytes(), again.method()), (first.bytes(), Some("BYE")), "the same transaction");
    rig.inside_writes(0, &to, answer(&again, 200, "", "", &[]));
    rig.connect(0);
    rig.advance(Duration::from_millis(10));
    let bye = rig.client_reads_one(flow);
    rig.client_writes(flow, answer(&bye, 200, "", "", &[]));
    rig.advance(Duration::from_secs(60));
    assert_eq!((rig.core(0).transactions(), rig.ends().len()), (0, 1));
}

#[test]
fn calls_can_be_ended_where_registrars_know_no_path_and_while_the_core_drains() {
    let mut rig = Rig::with(1, "", "path_headers = false");
    let (flow, _) = registered(&mut rig, "alice");
    up(&mut rig, flow, "talk");
    rig.says(At::Core(0), Input::Maintenance(MaintenanceOrder::Begin { within: None }));
    end(&mut rig, "talk");
    assert_eq!(inside_reads_one(&mut rig).0, PARTY);
    assert_eq!(rig.client_reads_one(flow).method(), Some("BYE"));
    nothing_is_left(&rig);
}

#[test]
fn past_the_deadline_of_maintenance_everybody_is_told() {
    let mut rig = Rig::new();
    let (flow, _) = registered(&mut rig, "alice");
    up(&mut rig, flow, "talk");
    let mut ringing = Leg::new("ring", VIA, "alice-ring", "sip:carol@example.com");
    let invite = calls(&mut rig, flow, &mut ringing);
    rig.registrar_writes(answer(&invite, 180, "dave", "sip:dave@10.0.0.78:5070;transport=tcp", &[]));
    rig.client_reads(flow);
    rig.says(At::Core(0), Input::Maintenance(MaintenanceOrder::Begin { within: Some(Duration::from_secs(5)) }));
    rig.advance(Duration::from_millis(4_900));
    assert!(rig.inside_reads().is_empty() && rig.client_reads(flow).is_empty());
    rig.advance(Duration::from_millis(200));
    assert_eq!((rig.core(0).calls(), state(&rig)), (1, Some(CallState::Ending)), "the callee has not answered yet");
    let mut inside: Vec<_> =
        rig.inside_reads().iter().filter_map(|(.., got)| got.method().map(str::to_owned)).collect();
    inside.sort();
    assert_eq!(inside, ["BYE", "CANCEL"]);
    assert_eq!(rig.client_reads_one(flow).method(), Some("BYE"));
    rig.registrar_writes(answer(&invite, 487, "dave", "", &[]));
    assert_eq!(rig.client_reads_last(flow).status(), Some(487));
    nothing_is_left(&rig);
}

#[test]
fn an_answer_that_crosses_the_deadline_of_maintenance_is_acknowledged_and_ended() {
    let mut rig = Rig::new();
    let (flow, _) = registered(&mut rig, "alice");
    let mut leg = Leg::new("ring", VIA, "alice1", "sip:carol@example.com");
    let invite = calls(&mut rig, flow, &mut leg);
    rig.registrar_writes(answer(&invite, 180, "carol", "sip:carol@10.0.0.77:5070;transport=tcp", &[]));
    rig.client_reads(flow);
    rig.says(At::Core(0), Input::Maintenance(MaintenanceOrder::Begin { within: Some(Duration::from_secs(5)) }));
    rig.advance(Duration::from_millis(5_100));
    assert_eq!(rig.registrar_reads_one().method(), Some("CANCEL"));
    answers(&mut rig, &invite);
    let mut leg = leg.answered(&rig.client_reads_one(flow));
    rig.client_writes(flow, leg.request("ACK", ""));
    let said: Vec<_> = rig.inside_reads().into_iter().map(|(.., got)| got.method().map(str::to_owned)).collect();
    assert_eq!(said, [Some("ACK".to_owned()), Some("BYE".to_owned())]);
    assert_eq!(rig.client_reads_one(flow).method(), Some("BYE"));
    nothing_is_left(&rig);
}

#[test]
fn a_party_that_writes_too_much_of_itself_costs_no_more() {
    let mut rig = Rig::new();
    let (flow, _) = registered(&mut rig, "alice");
    let mut leg = Leg::new("long", VIA, "alice1", "sip:carol@example.com");
    let invite = calls(&mut rig, flow, &mut leg);
    let ok = invite.respond(200, "OK").to_tag("carol").record_route();
    let ok = ok.header(Name::Contact, &format!("<sip:carol@10.0.0.77:5070;transport=tcp;x={}>", "y".repeat(3_000)));
    rig.registrar_writes(ok.body("application/sdp", PLAIN.as_bytes()).build());
    let mut leg = leg.answered(&rig.client_reads_last(flow));
    rig.client_writes(flow, leg.request("ACK", ""));
    rig.inside_reads();
    end(&mut rig, "long");
    nothing_is_left(&rig);
    assert!(rig.inside_reads().is_empty());
    let bye = rig.client_reads_one(flow);
    assert_eq!(names(&bye), (Some("carol"), Some("alice1"), "long", (1, "BYE")), "the other party is told");
    let ends = rig.ends();
    assert!(
        ends.iter().any(|end| end.contains("the party inside was not told: it said nothing that leads to it")),
        "{ends:?}"
    );
}
