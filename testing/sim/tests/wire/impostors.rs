//! What whoever has taken an edge or a password's neighbour tries next: what is held of dialogs, of connections
//! and of other cores lends nobody another name.

use std::sync::Arc;
use std::time::Duration;

use edgeway_model::sign_in::Deployment;
use edgeway_model::{FlowId, Input};
use edgeway_sip::{Message, Name};

use crate::identity::{
    NODE, PASSWORD, Words, accept, holds, outcome, registered, rig, session, signs_in, status, zones,
};
use crate::rig::{At, REGISTRAR, Rig};
use crate::sign_in::START_MS;

const PHONE: &str = "<sip:phone@10.0.0.5:5060;transport=tcp>";
const TARGET: &str = "sip:phone@10.0.0.5:5060;transport=tcp";

#[test]
fn a_call_remembers_who_its_client_is_whatever_its_names() {
    for is_core in [true, false] {
        for length in [4, 505] {
            let mut rig = rig(is_core);
            let (flow, _) = registered(&mut rig, "alice", "10001", is_core);
            let invite = Words::new("INVITE", "10001", 5);
            let (_, inside) = outcome(&mut rig, flow, &invite);
            // With a tag too long for the table of dialogs.
            let tag: &'static str = "t".repeat(length).leak();
            rig.registrar_writes(
                inside[0].respond(200, "OK").to_tag(tag).header(Name::Contact, PHONE).record_route().build(),
            );
            rig.client_reads(flow);
            for (cseq, method) in (10..).zip(["INVITE", "UPDATE", "INFO", "MESSAGE", "REFER", "BYE"]) {
                let own = Words::within(method, "id-INVITE-5", tag, TARGET, cseq);
                let bobs = Words { from: format!("sip:10002@{NODE}"), ..own };
                let (told, inside) = outcome(&mut rig, flow, &bobs);
                assert_eq!((status(told.as_ref()), inside.len()), (Some(403), 0), "{method}, {length}");
            }
            let bye = Words::within("BYE", "id-INVITE-5", tag, TARGET, 30);
            assert_eq!(outcome(&mut rig, flow, &bye).1.len(), 1, "her own goes on");
        }
    }
}

#[test]
fn a_call_that_could_not_be_remembered_is_not_begun() {
    let mut rig = rig(true);
    let (flow, _) = registered(&mut rig, "alice", "10001", true);
    let long = Words { dialog: None, ..Words::new("INVITE", "10001", 5) };
    let text = long.write().replace("id-INVITE-5", &"x".repeat(400));
    rig.client_writes(flow, text);
    assert_eq!(rig.client_reads_last(flow).status(), Some(400));
    assert!(rig.inside_reads().is_empty());
    for cseq in 100..612 {
        let (_, inside) = outcome(&mut rig, flow, &Words::new("SUBSCRIBE", "10001", cseq));
        rig.registrar_writes(
            inside[0].respond(200, "OK").to_tag("lamp").header(Name::Contact, PHONE).record_route().build(),
        );
        rig.client_reads(flow);
    }
    let (told, inside) = outcome(&mut rig, flow, &Words::new("INVITE", "10001", 700));
    assert_eq!((status(told.as_ref()), inside.len()), (Some(503), 0));
    // What is no call goes on, and another client has a table of its own.
    assert_eq!(outcome(&mut rig, flow, &Words::new("MESSAGE", "10001", 701)).1.len(), 1);
    let (other, _) = registered(&mut rig, "bob", "10002", true);
    assert_eq!(outcome(&mut rig, other, &Words::new("INVITE", "10002", 702)).1.len(), 1);
}

#[test]
fn who_has_proven_nothing_says_nothing_of_who_it_is() {
    for is_core in [true, false] {
        let mut rig = rig(is_core);
        rig.connect_second_edge();
        let line = format!("P-Asserted-Identity: <sip:10002@{NODE}>\r\nReferred-By: <sip:10002@{NODE}>\r\n");
        // In bob's name, of a dialog that is not known, over an edge that lets it pass.
        for method in ["BYE", "ACK"] {
            let bye = Words::within(method, "made-up", "tag", TARGET, 3).with(&line);
            let bye = Words { from: format!("sip:10002@{NODE}"), ..bye };
            rig.second_edge_writes(FlowId::accepted(0, 7), bye.write());
            let inside = rig.inside_reads();
            assert!(!inside.is_empty() || method == "ACK", "who hangs up may");
            for (_, _, got) in inside {
                assert!(got.other("P-Asserted-Identity").is_none() && got.header(Name::ReferredBy).is_none());
                assert!(!holds(&got, "Asserted"), "{method}");
            }
        }
    }
}

fn named(method: &'static str, user: &str, cseq: u32) -> Words {
    let uri = |user: &str| format!("sip:{user}@example.com");
    let to = if method == "REGISTER" { uri(user) } else { uri("lamp") };
    Words { from: uri(user), to, uri: "sip:example.com".into(), ..Words::new(method, user, cseq) }
}

#[test]
fn what_has_ended_while_cores_were_apart_is_not_brought_back() {
    let mut rig = Rig::with(2, "", "");
    rig.connect_cores(0, 1);
    let flow = rig.client();
    let registers = |rig: &mut Rig, words: &Words, at: Option<usize>| {
        rig.client_writes(flow, words.write());
        let (core, _, asked) = rig.inside_reads().remove(0);
        assert!(at.is_none_or(|at| at == core));
        let contact = String::from_utf8_lossy(asked.header(Name::Contact).expect("one")).into_owned();
        let mut ok = asked.respond(200, "OK").to_tag("r");
        if words.lines.is_empty() {
            ok = ok.header(Name::Contact, &contact);
        }
        rig.inside_writes(core, REGISTRAR, ok.build());
        assert_eq!(rig.client_reads_one(flow).status(), Some(200));
        core
    };
    let core = registers(&mut rig, &named("REGISTER", "alice", 1), None);
    let other = 1 - core;
    rig.disconnect_cores(0, 1);
    let ends = named("REGISTER", "alice", 2);
    let text = Words { lines: "X: gone\r\n".into(), ..ends };
    rig.client_writes(flow, text.write().replace("Expires: 600", "Expires: 0"));
    let (at, _, asked) = rig.inside_reads().remove(0);
    assert_eq!(at, core);
    rig.inside_writes(core, REGISTRAR, asked.respond(200, "OK").to_tag("r").build());
    rig.client_reads(flow);
    assert_eq!(rig.core(core).registrations(), 0);
    rig.connect_cores(0, 1);
    rig.advance(Duration::from_secs(1));
    for (cut, cseq) in [(other, 10), (core, 11)] {
        rig.disconnect(cut);
        let (told, inside) = outcome(&mut rig, flow, &named("MESSAGE", "alice", cseq));
        assert_eq!(inside.len(), 0, "{cut}: {told:?}");
        rig.connect(cut);
        rig.advance(Duration::from_millis(50));
    }
}

#[test]
fn a_deployment_that_is_gone_holds_nobody() {
    let mut rig = rig(false);
    let (flow, _) = registered(&mut rig, "alice", "10001", false);
    let mut new = zones(false);
    new.revision = 2;
    new.deployments[0].deployment = Deployment::new("renamed").expect("legal");
    rig.says(At::Core(0), Input::Zones(Arc::new(new)));
    rig.advance(Duration::from_millis(50));
    let (told, inside) = outcome(&mut rig, flow, &Words::new("REGISTER", "10001", 40));
    assert_eq!(inside.len(), 1, "{told:?}");
    accept(&mut rig, flow, &inside[0]);
    assert_eq!(outcome(&mut rig, flow, &Words::new("MESSAGE", "10001", 41)).1.len(), 1);
}

/// Guesses at a password over a connection of the second edge, in a window of its own; what that is told.
fn guesses(rig: &mut Rig, flow: FlowId, cseq: u32) -> Message {
    let words = Words::new("REGISTER", "10001", cseq);
    rig.second_edge_writes(flow, words.write());
    let told = rig.second_edge_reads().pop().expect("told");
    if told.status() != Some(401) {
        return told;
    }
    rig.second_edge_writes(flow, words.answering(&told, "alice", "guess", 1).write());
    rig.second_edge_reads().pop().expect("told")
}

#[test]
fn a_password_is_guessed_at_a_few_times_and_its_owner_notices_nothing() {
    let mut rig = rig(true);
    let (flow, proven) = registered(&mut rig, "alice", "10001", true);
    let (challenge, _) = proven.expect("challenged");
    rig.connect_second_edge();
    let mut told = Vec::new();
    for number in 0..24 {
        // A fresh connection for each four.
        let flow = FlowId::accepted(0, 100 + u64::from(number / 4));
        told.push(guesses(&mut rig, flow, 10 + 10 * number));
    }
    let of: Vec<_> = told.iter().map(|told| told.status().unwrap_or_default()).collect();
    assert_eq!((&of[..8], of[8..].iter().all(|status| *status == 403)), (&[401; 8][..], true), "{of:?}");
    let after = told[8].header(Name::RetryAfter).and_then(|value| std::str::from_utf8(value).ok()?.parse::<u64>().ok());
    assert!(after.is_some_and(|after| (1..=301).contains(&after)) && told[8].header(Name::Warning).is_some());
    assert!(rig.inside_reads().is_empty());
    // The right one is not looked at either: nobody learns that it is.
    let words = Words::new("REGISTER", "10001", 500);
    let stranger = FlowId::accepted(0, 300);
    rig.second_edge_writes(stranger, words.write());
    let asked = rig.second_edge_reads().pop().expect("asked");
    rig.second_edge_writes(stranger, words.answering(&asked, "alice", PASSWORD, 1).write());
    assert_eq!(rig.second_edge_reads().pop().and_then(|told| told.status()), Some(403));
    // Alice refreshes, as often as she likes, and comes back from where she was.
    for nc in 2..20 {
        let words = Words::new("REGISTER", "10001", 1_000 + 2 * nc).answering(&challenge, "alice", PASSWORD, nc);
        let (told, inside) = outcome(&mut rig, flow, &words);
        assert_eq!(inside.len(), 1, "{told:?}");
        accept(&mut rig, flow, &inside[0]);
    }
    registered(&mut rig, "alice", "10001", true);
}

#[test]
fn a_connection_is_no_place_to_guess() {
    let mut rig = rig(true);
    rig.connect_second_edge();
    let flow = FlowId::accepted(0, 9);
    let of: Vec<_> = (0..7).map(|number| guesses(&mut rig, flow, 10 + 10 * number).status()).collect();
    assert_eq!(of, [401, 401, 401, 401, 401, 403, 403].map(Some));
    // Nor is one that is somebody's a place to guess at others, however right.
    let (flow, proven) = registered(&mut rig, "bob", "10002", true);
    let (challenge, _) = proven.expect("challenged");
    for (cseq, password) in [(40, PASSWORD), (50, "guess")] {
        let words = Words::new("REGISTER", "10001", cseq).answering(&challenge, "alice", password, 3);
        let (told, inside) = outcome(&mut rig, flow, &words);
        assert_eq!((status(told.as_ref()), inside.len()), (Some(403), 0));
    }
}

#[test]
fn what_is_a_users_own_is_published_and_fetched_by_nobody_else() {
    let mut rig = rig(true);
    let (flow, _) = registered(&mut rig, "alice", "10001", true);
    let (own, bob) = (format!("sip:10001@{NODE}"), format!("sip:10002@{NODE}"));
    let mailbox = "Event: message-summary;x=1\r\n";
    for (cseq, (method, lines, uri, to, good)) in (10..).zip([
        ("PUBLISH", "Event: presence\r\n", &own, &own, true),
        ("PUBLISH", "Event: presence\r\n", &bob, &own, false),
        ("PUBLISH", "Event: presence\r\n", &own, &bob, false),
        ("SUBSCRIBE", mailbox, &own, &own, true),
        ("SUBSCRIBE", mailbox, &bob, &own, false),
        ("SUBSCRIBE", mailbox, &own, &bob, false),
        ("SUBSCRIBE", "o:Message-Summary \r\n", &bob, &bob, false),
        ("SUBSCRIBE", "Event: presence\r\n", &bob, &bob, true),
        ("SUBSCRIBE", "Event: dialog\r\n", &bob, &bob, true),
    ]) {
        let words = Words { uri: uri.clone(), to: to.clone(), ..Words::new(method, "10001", cseq) }.with(lines);
        let (told, inside) = outcome(&mut rig, flow, &words);
        assert_eq!(inside.len() == 1, good, "{method} {lines} {uri} {to}");
        assert_eq!(status(told.as_ref()), (!good).then_some(403));
    }
}

#[test]
fn a_name_is_nobodys_number_and_belongs_to_its_domain() {
    for (user, number, address, good) in [
        ("alice@example.com", "10001", "alice@example.com", true),
        ("alice@example.org", "10001", "alice@example.com", false),
        ("10002", "10001", "10002@example.com", false),
        ("10001", "10001", "10001@example.com", true),
        ("+10002", "10001", "+10002@example.com", false),
        ("eve", "10001", "eve@example.com", true),
    ] {
        let mut rig = rig(true);
        signs_in(&mut rig, session("default", user, number, START_MS + 1));
        let flow = rig.client();
        let uri = format!("sip:{address}");
        let contact = format!(";+u.sip!devicename.ccm.cisco.com=\"CSF{}\"", user.to_uppercase());
        let words = Words { from: uri.clone(), to: uri, contact, ..Words::new("REGISTER", number, 1) };
        let challenge = outcome(&mut rig, flow, &words).0.expect("asked");
        let (told, inside) = outcome(&mut rig, flow, &words.answering(&challenge, user, PASSWORD, 1));
        assert_eq!((inside.len() == 1, status(told.as_ref())), (good, (!good).then_some(403)), "{user} as {address}");
    }
}

#[test]
fn a_registration_is_of_a_device_of_the_users_own() {
    let instance = |mac: &str| format!(";+sip.instance=\"<urn:uuid:00000000-0000-0000-0000-{mac}>\"");
    let named = |name: &str| format!(";+u.sip!devicename.ccm.cisco.com=\"{name}\"");
    for (contact, good) in [
        (String::new(), false),
        (named("CSFBOB"), false),
        (named(""), false),
        (named("csfalice"), true),
        (format!("{}{}", named("CSFALICE"), named("CSFBOB")), false),
        (format!("{}{}", named("CSFALICE"), instance("0050568ae5b6")), true),
        (instance("001122aabbcc"), true),
        (instance("001122aabbcd"), false),
        (format!("{}{}", named("CSFBOB"), instance("001122aabbcc")), false),
        (";+sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-001122aabbcc>\"".to_owned(), false),
    ] {
        let mut rig = rig(true);
        let mut hers = session("default", "alice", "10001", START_MS + 1);
        hers.devices = Some(vec!["CSFALICE".to_owned(), "SEP001122AABBCC".to_owned()]);
        signs_in(&mut rig, hers);
        let flow = rig.client();
        let words = Words { contact: contact.clone(), ..Words::new("REGISTER", "10001", 1) };
        let challenge = outcome(&mut rig, flow, &words).0.expect("asked");
        let (told, inside) = outcome(&mut rig, flow, &words.answering(&challenge, "alice", PASSWORD, 1));
        assert_eq!((inside.len() == 1, status(told.as_ref())), (good, (!good).then_some(403)), "{contact}");
    }
}

/// A call manager that says a user has no device, and an authority that knows nothing of devices, say different things.
#[test]
fn whoever_has_no_device_registers_none() {
    for (devices, good) in [(Some(Vec::new()), false), (None, true)] {
        let mut rig = rig(true);
        let mut hers = session("default", "alice", "10001", START_MS + 1);
        hers.devices = devices;
        signs_in(&mut rig, hers);
        let flow = rig.client();
        let contact = ";+u.sip!devicename.ccm.cisco.com=\"CSFBOB\"".to_owned();
        let words = Words { contact, ..Words::new("REGISTER", "10001", 1) };
        let challenge = outcome(&mut rig, flow, &words).0.expect("asked");
        let (told, inside) = outcome(&mut rig, flow, &words.answering(&challenge, "alice", PASSWORD, 1));
        assert_eq!((inside.len() == 1, status(told.as_ref())), (good, (!good).then_some(403)));
    }
}
