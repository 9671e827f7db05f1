//! Maintenance mode: what begins is refused or goes elsewhere, what exists goes on.

use std::time::Duration;

use edgeway_model::maintenance::MaintenanceOrder;
use edgeway_model::world::Observable as _;
use edgeway_model::{FlowId, Input};
use edgeway_sip::{Message, Name};

use crate::register::plain;
use crate::rig::{At, REGISTRAR, Rig};
use crate::talk::{Leg, answer};

const PARTY: &str = "10.0.0.77:5070";
const CLIENT_VIA: &str = "TLS 192.168.1.2:5061";
/// As long as keepalives take to say it.
const SOON: Duration = Duration::from_secs(2);

fn begins(rig: &mut Rig, at: At, within: Option<Duration>) {
    rig.says(at, Input::Maintenance(MaintenanceOrder::Begin { within }));
    rig.advance(SOON);
}

/// The client registers; through which core, and the answer.
fn registers(rig: &mut Rig, flow: FlowId, seconds: u32) -> (Option<usize>, Message) {
    registers_as(rig, flow, seconds, "")
}

/// The same with header lines of its own.
fn registers_as(rig: &mut Rig, flow: FlowId, seconds: u32, lines: &str) -> (Option<usize>, Message) {
    rig.client_writes(flow, plain("alice", lines, "", seconds));
    let asked = rig.inside_reads().pop();
    let through = asked.as_ref().map(|(core, ..)| *core);
    if let Some((core, _, got)) = asked {
        let contact = format!("{};expires=3600", got.contacts().next().expect("a contact").uri);
        let lines = [(Name::Contact, &*format!("<{}>;expires={seconds}", contact.trim_end_matches(";expires=3600")))];
        rig.inside_writes(core, REGISTRAR, answer(&got, 200, "r", "", &lines));
    }
    (through, rig.client_reads_last(flow))
}

/// It was refused in the words that clients of the field know.
fn says_maintenance(response: &Message, by: &str) {
    assert_eq!(response.status(), Some(503));
    let warning = response.header(Name::Warning).map(String::from_utf8_lossy).expect("a Warning");
    assert_eq!(warning, format!("382 {by} \"System in Maintenance Mode\""));
    let again: u64 =
        response.header(Name::RetryAfter).and_then(|value| str::from_utf8(value).ok()?.parse().ok()).expect("a number");
    assert!((1..60).contains(&again));
}

/// The client is in a dialog with a party inside; its view, and the party's.
fn in_dialog(rig: &mut Rig, flow: FlowId, method: &str, lines: &str) -> (Leg, Leg) {
    let mut leg = Leg::new("one", CLIENT_VIA, "alice1", "sip:bob@example.com");
    rig.client_writes(flow, leg.request(method, &format!("Event: dialog\r\n{lines}")));
    let (core, _, asked) = rig.inside_reads().pop().expect("it goes inside");
    let party = Leg::asked(&asked, "TCP 10.0.0.77:5070", "party1");
    let contact = format!("sip:party@{PARTY};transport=tcp");
    rig.inside_writes(core, REGISTRAR, answer(&asked, 200, "party1", &contact, &[(Name::Expires, "600")]));
    let leg = leg.answered(&rig.client_reads_last(flow));
    (leg, party)
}

/// Requests of the dialog pass in both directions.
fn goes_on(rig: &mut Rig, flow: FlowId, core: usize, (leg, party): (&mut Leg, &mut Leg)) {
    rig.client_writes(flow, leg.request("INFO", ""));
    let (through, to, got) = rig.inside_reads().pop().expect("from the client");
    assert_eq!((through, to.to_string()), (core, PARTY.to_owned()));
    rig.inside_writes(core, PARTY, answer(&got, 200, "", "", &[]));
    assert_eq!(rig.client_reads_last(flow).status(), Some(200));
    rig.inside_writes(core, PARTY, party.request("INFO", ""));
    let got = rig.client_reads_last(flow);
    assert_eq!(got.method(), Some("INFO"), "from inside");
    rig.client_writes(flow, answer(&got, 200, "", "", &[]));
    assert_eq!(rig.inside_reads().pop().expect("answered").2.status(), Some(200));
}

#[test]
fn what_a_core_has_moves_to_another_as_it_is_refreshed_and_dialogs_stay() {
    let mut rig = Rig::with(2, "", "");
    rig.connect_cores(0, 1);
    let flow = rig.client();
    assert_eq!(registers(&mut rig, flow, 600).0, Some(0));
    let (mut leg, mut party) = in_dialog(&mut rig, flow, "SUBSCRIBE", "");
    begins(&mut rig, At::Core(0), None);
    assert!(rig.core(0).status().maintenance.is_some_and(|one| one.left.is_none()));
    goes_on(&mut rig, flow, 0, (&mut leg, &mut party));
    assert_eq!(rig.stun_error(flow), None, "its path works");
    // Something new goes through the other core before the registration does.
    rig.client_writes(flow, Leg::new("new", CLIENT_VIA, "alice2", "sip:bob@example.com").request("MESSAGE", ""));
    assert_eq!(rig.inside_reads().pop().map(|(core, ..)| core), Some(1));
    rig.client_reads(flow);
    let (through, ok) = registers(&mut rig, flow, 600);
    assert_eq!((through, ok.status()), (Some(1), Some(200)));
    assert_eq!((rig.core(0).registrations(), rig.core(1).registrations()), (0, 1), "nobody waits for an expiry");
    goes_on(&mut rig, flow, 0, (&mut leg, &mut party));
    // In service again, it takes its share.
    rig.says(At::Core(0), Input::Maintenance(MaintenanceOrder::Cancel));
    rig.advance(SOON);
    assert_eq!(rig.core(0).status().maintenance, None);
    let other = rig.client();
    assert_eq!(registers(&mut rig, other, 600).0, Some(0), "it has fewest registrations");
}

#[test]
fn a_core_alone_refuses_what_begins_and_lets_go_who_goes() {
    let mut rig = Rig::new();
    let flow = rig.client();
    assert_eq!(registers(&mut rig, flow, 600).0, Some(0));
    let path: Vec<_> = {
        rig.client_writes(flow, plain("alice", "", ";q=0.9", 600));
        let (_, _, got) = rig.inside_reads().pop().expect("a refresh");
        rig.registrar_writes(answer(&got, 200, "r", "", &[]));
        rig.client_reads(flow);
        got.addresses(Name::Path).map(|path| path.uri.to_owned()).collect()
    };
    begins(&mut rig, At::Core(0), None);
    let (through, refused) = registers(&mut rig, flow, 601);
    assert_eq!(through, None);
    says_maintenance(&refused, "10.0.1.1:5060");
    for method in ["INVITE", "MESSAGE", "SUBSCRIBE", "PUBLISH", "REFER"] {
        rig.client_writes(flow, Leg::new(method, CLIENT_VIA, "alice1", "sip:bob@example.com").request(method, ""));
        says_maintenance(&rig.client_reads_last(flow), "10.0.1.1:5060");
        let mut inside = Leg::new(method, "TCP 10.0.0.5:5060", "r1", "sip:alice@192.168.1.2:5061;transport=tls");
        inside.routes.clone_from(&path);
        rig.registrar_writes(inside.request(method, ""));
        let answers = rig.inside_reads();
        says_maintenance(&answers.last().expect("an answer").2, "10.0.1.1:5060");
        assert!(rig.client_reads(flow).is_empty(), "{method} reaches nobody");
    }
    rig.client_writes(flow, plain("alice", "", ";cisco-keep-alive", 0));
    says_maintenance(&rig.client_reads_last(flow), "10.0.1.1:5060");
    assert_eq!(registers(&mut rig, flow, 0).0, Some(0), "whoever goes may go");
    assert_eq!(rig.core(0).registrations(), 0);
}

/// Whatever it is: the vendor's maintenance mode ends the calls of room systems, ours ends nobody's.
#[test]
fn a_device_in_a_call_stays_and_comes_back_soon() {
    for agent in ["Cisco-CSF/14.1", "TANDBERG/529 (ce11.9.1.1.3a2ac2b5d9b) Cisco-RoomKit", "Edgeway lab phone"] {
        let agent = format!("User-Agent: {agent}\r\n");
        let mut rig = Rig::new();
        let flow = rig.client();
        assert_eq!(registers_as(&mut rig, flow, 600, &agent).0, Some(0));
        let (mut leg, mut party) = in_dialog(&mut rig, flow, "INVITE", &agent);
        rig.client_writes(flow, leg.request("ACK", &agent));
        rig.inside_reads();
        begins(&mut rig, At::Core(0), None);
        goes_on(&mut rig, flow, 0, (&mut leg, &mut party));
        let (through, ok) = registers_as(&mut rig, flow, 3_600, &agent);
        assert_eq!((through, ok.status()), (Some(0), Some(200)), "{agent}");
        assert_eq!(ok.contacts().next().and_then(|contact| contact.expires()), Some(60));
        rig.advance(Duration::from_secs(50));
        goes_on(&mut rig, flow, 0, (&mut leg, &mut party));
        assert_eq!(rig.core(0).calls(), 1, "{agent}");
        rig.client_writes(flow, leg.request("BYE", &agent));
        let (core, _, bye) = rig.inside_reads().pop().expect("it may hang up");
        rig.inside_writes(core, PARTY, answer(&bye, 200, "", "", &[]));
        rig.client_reads(flow);
        assert_eq!(rig.core(0).calls(), 0);
        says_maintenance(&registers(&mut rig, flow, 3_601).1, "10.0.1.1:5060");
        rig.advance(Duration::from_secs(61));
        assert_eq!((rig.core(0).registrations(), rig.edge.registered_flows().len()), (0, 0));
    }
}

/// What a registered client writes is under way to a core that goes out of service meanwhile, and so do `others`.
fn crosses(rig: &mut Rig, flow: FlowId, core: usize, others: &[usize], request: String) {
    rig.is_slow(core);
    rig.client_writes(flow, request);
    for core in others.iter().chain([&core]) {
        rig.says(At::Core(*core), Input::Maintenance(MaintenanceOrder::Begin { within: None }));
    }
    assert!(rig.inside_reads().is_empty());
    rig.arrives(core);
}

fn registered(cores: usize) -> (Rig, FlowId) {
    let mut rig = Rig::with(cores, "", "");
    for core in 1..cores {
        rig.connect_cores(0, core);
    }
    let flow = rig.client();
    assert_eq!(registers(&mut rig, flow, 600).0, Some(0));
    (rig, flow)
}

#[test]
fn what_crosses_the_news_of_maintenance_goes_to_another_core_once() {
    for method in ["INVITE", "MESSAGE", "SUBSCRIBE", "PUBLISH"] {
        let request = Leg::new(method, CLIENT_VIA, "alice1", "sip:bob@example.com").request(method, "");
        let (mut rig, flow) = registered(2);
        crosses(&mut rig, flow, 0, &[], request.clone());
        let asked = rig.inside_reads();
        assert_eq!(asked.iter().map(|(core, ..)| *core).collect::<Vec<_>>(), [1], "{method} goes once, elsewhere");
        rig.inside_writes(1, REGISTRAR, answer(&asked[0].2, 403, "r", "", &[]));
        let heard: Vec<_> =
            rig.client_reads(flow).iter().filter_map(Message::status).filter(|got| *got > 100).collect();
        assert_eq!(heard, [403], "{method}: nobody hears of the refusal");
        // There is no other that serves: the refusal is passed on.
        let (mut rig, flow) = registered(2);
        crosses(&mut rig, flow, 0, &[1], request.clone());
        assert!(rig.inside_reads().is_empty(), "{method}");
        says_maintenance(&rig.client_reads_last(flow), "10.0.1.1:5060");
        // The other one goes, too, meanwhile: a third is not asked.
        let (mut rig, flow) = registered(3);
        rig.is_slow(1);
        crosses(&mut rig, flow, 0, &[], request);
        rig.says(At::Core(1), Input::Maintenance(MaintenanceOrder::Begin { within: None }));
        rig.arrives(1);
        assert!(rig.inside_reads().is_empty(), "{method}");
        says_maintenance(&rig.client_reads_last(flow), "10.0.1.2:5060");
    }
}

#[test]
fn a_registration_that_crosses_the_news_of_maintenance_moves() {
    let (mut rig, flow) = registered(2);
    crosses(&mut rig, flow, 0, &[], plain("alice", "", "", 601));
    let (core, _, asked) = rig.inside_reads().pop().expect("it goes inside");
    assert_eq!(core, 1);
    let contact = asked.contacts().next().expect("a contact").uri.to_owned();
    rig.inside_writes(
        1,
        REGISTRAR,
        answer(&asked, 200, "r", "", &[(Name::Contact, &format!("<{contact}>;expires=601"))]),
    );
    assert_eq!(rig.client_reads_last(flow).status(), Some(200));
    assert_eq!((rig.core(0).registrations(), rig.core(1).registrations()), (0, 1));
    assert_eq!(rig.stun_error(flow), None, "its path works");
}

#[test]
fn what_has_gone_inside_is_not_asked_for_again_whatever_the_refusal_says() {
    // Somebody behind the core is in maintenance mode, or the core itself is, for what came back to it from inside.
    for (trying, by) in [(false, "10.9.9.9:5060"), (true, "10.0.1.1:5060")] {
        let (mut rig, flow) = registered(2);
        rig.client_writes(flow, Leg::new("1", CLIENT_VIA, "alice1", "sip:bob@example.com").request("INVITE", ""));
        let (core, _, asked) = rig.inside_reads().pop().expect("it goes inside");
        if trying {
            rig.inside_writes(core, REGISTRAR, answer(&asked, 100, "", "", &[]));
        }
        let words = format!("382 {by} \"System in Maintenance Mode\"");
        let lines = [(Name::Warning, &*words), (Name::RetryAfter, "9")];
        rig.inside_writes(core, REGISTRAR, answer(&asked, 503, "r", "", &lines));
        assert!(rig.inside_reads().iter().all(|(_, _, got)| got.method() == Some("ACK")), "{by} is believed");
        says_maintenance(&rig.client_reads_last(flow), by);
    }
}

#[test]
fn an_edge_refuses_what_begins_and_at_its_deadline_sends_everybody_away() {
    let mut rig = Rig::new();
    let flow = rig.client();
    assert_eq!(registers(&mut rig, flow, 3_600).0, Some(0));
    let (mut leg, mut party) = in_dialog(&mut rig, flow, "SUBSCRIBE", "");
    begins(&mut rig, At::Edge, Some(Duration::from_secs(30)));
    assert_eq!(rig.stun_error(flow), None);
    says_maintenance(&registers(&mut rig, flow, 3_601).1, "192.0.2.100:5061");
    let newcomer = rig.client();
    says_maintenance(&registers(&mut rig, newcomer, 3_602).1, "192.0.2.100:5061");
    goes_on(&mut rig, flow, 0, (&mut leg, &mut party));
    let left = rig.edge.status().maintenance.and_then(|one| one.left).expect("a deadline");
    assert!(left > Duration::from_secs(20) && left < Duration::from_secs(30), "{left:?}");
    rig.advance(Duration::from_secs(31));
    assert!(rig.is_closed(flow) && rig.is_closed(newcomer));
    assert_eq!((rig.core(0).registrations(), rig.edge.registered_flows().len()), (0, 0));
}
