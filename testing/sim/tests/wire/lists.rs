//! What an operator reads of registrations and calls, at the edge and at the core.

use std::time::Duration;

use edgeway_model::listing::{CallState, MediaLeg, Wish};
use edgeway_model::maintenance::MaintenanceOrder;
use edgeway_model::world::Observable as _;
use edgeway_model::{Input, NodeId};
use edgeway_sip::Name;

use crate::register::{plain, register};
use crate::rig::{At, CLIENT, REGISTRAR, Rig};
use crate::talk::{Leg, answer};

const VIA: &str = "TLS 192.168.1.2:5061";
const OFFER: &str = "v=0\r\no=x 1 0 IN IP4 203.0.113.7\r\ns=x\r\nc=IN IP4 203.0.113.7\r\nt=0 0\r\n\
                     m=audio 30000 RTP/SAVP 0\r\n\
                     a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNk\r\na=sendrecv\r\n";
const ANSWER: &str =
    "v=0\r\no=- 1 0 IN IP4 10.0.0.77\r\ns=-\r\nc=IN IP4 10.0.0.77\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";

fn name(name: &str) -> NodeId {
    NodeId::new(name).expect("a name")
}

fn of(user: &str) -> Wish {
    Wish { user: Some(user.to_owned()), limit: 100, after: None }
}

#[test]
fn registrations_and_calls_are_listed_where_they_are() {
    let mut rig = Rig::new();
    let flow = rig.client();
    register(&mut rig, flow, &plain("alice", "User-Agent: Jabber/15\r\n", "", 600), "");
    let second = rig.client();
    register(&mut rig, second, &plain("bob", "", "", 600), "");
    let began = rig.now;
    let registered = rig.core(0).registration_page(&of("alice@")).rows.first().map(|row| row.device.reveal().clone());
    rig.advance(Duration::from_secs(100));

    let page = rig.core(0).registration_page(&of("ALICE@"));
    assert_eq!((page.rows.len(), page.total, page.next), (1, 2, None));
    let row = &page.rows[0];
    assert_eq!((row.aor.reveal().as_str(), row.user_agent.as_deref()), ("alice@example.com", Some("Jabber/15")));
    assert_eq!((row.edge.clone(), row.core.clone()), (Some(name("edge1")), Some(name("core1"))));
    assert_eq!(row.client.as_ref().map(|client| client.reveal().to_string()).as_deref(), Some(CLIENT));
    assert_eq!(row.registrar.map(|(address, _)| address.to_string()).as_deref(), Some(REGISTRAR));
    assert_eq!((row.since, row.expires), (began, began + Duration::from_secs(600)));
    let at_edge = rig.edge.registration_page(&of("alice@"));
    let row = &at_edge.rows[0];
    assert_eq!((at_edge.rows.len(), row.aor.reveal().as_str()), (1, "alice@example.com"));
    assert_eq!((row.core.clone(), row.registrar), (Some(name("core1")), None));
    assert_eq!(row.client.as_ref().map(|client| client.reveal().to_string()).as_deref(), Some(CLIENT));

    let mut leg = Leg::new("talk", VIA, "alice1", "sip:carol@example.com");
    rig.client_writes(flow, leg.with_body("INVITE", "Content-Type: application/sdp\r\n", OFFER));
    let asked = rig.registrar_reads_one();
    let state = |rig: &Rig| rig.core(0).call_page(&Wish::default()).rows[0].state;
    assert_eq!(state(&rig), Some(CallState::SettingUp));
    let ok = asked.respond(200, "OK").to_tag("carol").record_route();
    let ok = ok.header(Name::Contact, "<sip:carol@10.0.0.77:5070;transport=tcp>");
    rig.registrar_writes(ok.body("application/sdp", ANSWER.as_bytes()).build());
    leg = leg.answered(&rig.client_reads_last(flow));
    rig.client_writes(flow, leg.request("ACK", ""));
    rig.inside_reads();
    let page = rig.core(0).call_page(&of("you@"));
    let row = &page.rows[0];
    assert_eq!((page.rows.len(), page.total, row.state), (1, 1, Some(CallState::Up)));
    let words = |words: &Option<edgeway_model::Pii<String>>| words.as_ref().map(|words| words.reveal().clone());
    assert_eq!(words(&row.call_id).as_deref(), Some("talk"));
    assert_eq!(words(&row.from).as_deref(), Some("alice@example.com"));
    assert_eq!(words(&row.to).as_deref(), Some("you@example.com"), "as the To header has it");
    assert_eq!((row.edge.clone(), row.inside.as_deref()), (Some(name("edge1")), Some("10.0.0.77:5070")));
    assert_eq!((&row.media, row.since), (&vec!["audio"], began + Duration::from_secs(100)));
    assert_eq!(rig.core(0).call_page(&of("bob")).rows.len(), 0);

    // One of them, with all that is known.
    let id = row.id;
    let shown = rig.core(0).call(id).expect("it is there");
    assert_eq!((&shown.call, shown.parties, shown.heard), (row, 1, row.since));
    assert_eq!(words(&shown.device), registered);
    assert_eq!(
        (shown.user_agent.as_deref(), shown.client.map(|one| one.reveal().to_string()).as_deref()),
        (Some("Jabber/15"), Some(CLIENT))
    );
    let [media] = &shown.media[..] else { panic!("{:?}", shown.media) };
    assert_eq!((media.kind, media.codecs.as_str(), media.direction), ("audio", "PCMU", Some("sendrecv")));
    let leg = |leg: &MediaLeg| (leg.described.as_ref().map(|place| place.reveal().to_string()), leg.protection);
    assert_eq!(leg(&media.client), (Some("203.0.113.7:30000".to_owned()), Some("AES_CM_128_HMAC_SHA1_80")));
    assert_eq!(leg(&media.inside), (Some("10.0.0.77:40000".to_owned()), Some("none")));
    assert!(media.client.port != media.inside.port && media.edge == name("edge1"));
    assert!(rig.core(0).call(id + 1).is_none() && rig.edge.call(id).is_none());

    // The edge knows whose connection it relays for.
    let page = rig.edge.call_page(&of("alice"));
    assert_eq!((page.rows.len(), page.total), (1, 1));
    assert_eq!((page.rows[0].id, page.rows[0].core.clone()), (row.id, Some(name("core1"))));
    assert_eq!(rig.edge.call_page(&of("bob")).rows.len(), 0);
}

#[test]
fn how_long_a_drain_takes_is_guessed_out_of_what_was_and_not_made_up() {
    let mut rig = Rig::new();
    let flow = rig.client();
    register(&mut rig, flow, &plain("alice", "", "", 600), "");
    for at in [At::Edge, At::Core(0)] {
        rig.says(at, Input::Maintenance(MaintenanceOrder::Begin { within: None }));
    }
    let left = |rig: &Rig| {
        let of = |status: edgeway_model::world::Status| {
            status.maintenance.and_then(|one| one.sip_left).map(|left| left.as_secs())
        };
        (of(rig.edge.status()), of(rig.core(0).status()))
    };
    assert_eq!(left(&rig), (Some(600), Some(600)), "the registration ends by then");
    for at in [At::Edge, At::Core(0)] {
        rig.says(at, Input::Maintenance(MaintenanceOrder::Cancel));
    }
    let mut leg = Leg::new("talk", VIA, "alice1", "sip:carol@example.com");
    rig.client_writes(flow, leg.with_body("INVITE", "Content-Type: application/sdp\r\n", OFFER));
    let asked = rig.registrar_reads_one();
    let ok = asked.respond(200, "OK").to_tag("carol").record_route();
    let ok = ok.header(Name::Contact, "<sip:carol@10.0.0.77:5070;transport=tcp>");
    rig.registrar_writes(ok.body("application/sdp", ANSWER.as_bytes()).build());
    leg = leg.answered(&rig.client_reads_last(flow));
    for at in [At::Edge, At::Core(0)] {
        rig.says(at, Input::Maintenance(MaintenanceOrder::Begin { within: None }));
    }
    assert_eq!(left(&rig), (None, None), "no call has ended so far");
    rig.client_writes(flow, leg.request("BYE", ""));
    let (_, to, bye) = rig.inside_reads().pop().expect("it goes inside");
    rig.inside_writes(0, &to.to_string(), answer(&bye, 200, "", "", &[]));
    rig.client_reads(flow);
    assert_eq!(left(&rig), (Some(600), Some(600)));
}
