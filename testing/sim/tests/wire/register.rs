//! REGISTER as real clients write it.

use std::time::Duration;

use edgeway_model::FlowId;
use edgeway_sip::{Message, Name};

use crate::rig::{REGISTRAR, Rig};

/// A desktop client's: a directed Route, a vendor's Contact parameters, a multipart body.
pub(crate) const JABBER: &str = include_str!("register-desktop.sip");
/// A room system's: white space before a parameter, an unquoted vendor parameter.
pub(crate) const ROOM: &str = include_str!("register-room.sip");

/// A file with LF line ends as a message, its Content-Length filled in.
pub(crate) fn message(file: &str) -> String {
    let text = file.replace('\n', "\r\n");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The lines of a message that its head consists of, and the body.
pub(crate) fn parts(bytes: &[u8]) -> (Vec<String>, String) {
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    (head.split("\r\n").map(str::to_owned).collect(), body.to_owned())
}

/// Takes the first line with that start out.
fn take(lines: &mut Vec<String>, start: &str) -> String {
    let at = lines.iter().position(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {lines:#?}"));
    lines.remove(at)
}

/// A client registers: its REGISTER, and the registrar's 200 with what `lines` adds.
pub(crate) fn register(rig: &mut Rig, flow: FlowId, register: &str, lines: &str) -> Message {
    rig.client_writes(flow, register.to_owned());
    let (core, _, got) = rig.inside_reads().pop().expect("it reaches the registrar");
    let answer = got.respond(200, "OK").to_tag("registrar").build();
    let head = std::str::from_utf8(&answer).expect("text").replace("Content-Length: 0\r\n", "");
    let contact = got.header(Name::Contact).map(|contact| String::from_utf8_lossy(contact).into_owned());
    let answer = format!(
        "{}Contact: {}\r\n{lines}Content-Length: 0\r\n\r\n",
        head.trim_end_matches("\r\n").to_owned() + "\r\n",
        contact.unwrap_or_default()
    );
    rig.inside_writes(core, REGISTRAR, answer);
    rig.client_reads_last(flow)
}

/// A plain REGISTER of `user`, with further header lines.
pub(crate) fn plain(user: &str, route: &str, contact_params: &str, expires: u32) -> String {
    format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/TLS 192.168.1.2:5061;branch=z9hG4bK{user}{expires}{}\r\n{route}\
         From: <sip:{user}@example.com>;tag=1\r\nTo: <sip:{user}@example.com>\r\nCall-ID: {user}@h\r\n\
         CSeq: 1 REGISTER\r\nMax-Forwards: 70\r\nContact: <sip:{user}@192.168.1.2:5061;transport=tls>{contact_params}\r\n\
         Expires: {expires}\r\nContent-Length: 0\r\n\r\n",
        route.len() + contact_params.len(),
    )
}

fn value(message: &Message, name: Name) -> Vec<String> {
    message.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

#[test]
fn the_desktop_clients_register_crosses_both_tiers() {
    let mut rig = Rig::new();
    let flow = rig.client();
    let sent = message(JABBER);
    rig.client_writes(flow, sent.clone());
    let got = rig.registrar_reads_one();
    let (sent_lines, sent_body) = parts(sent.as_bytes());
    let (mut lines, body) = parts(got.bytes());
    assert_eq!(body, sent_body);
    assert!(take(&mut lines, "Via: SIP/2.0/TCP 10.0.1.1:5060;branch=z9hG4bK").ends_with(";rport"));
    take(&mut lines, "Via: SIP/2.0/TLS 192.0.2.100:5061;branch=z9hG4bK");
    assert_eq!(take(&mut lines, "Path: <sip:core1@"), "Path: <sip:core1@10.0.1.1:5060;transport=tcp;lr;ob>");
    take(&mut lines, "Path: <sip:edge1.");
    assert_eq!(take(&mut lines, "Supported: path"), "Supported: path");
    let expected: Vec<_> = sent_lines
        .iter()
        .filter(|line| !line.starts_with("Route:"))
        .map(|line| match line.as_str() {
            "Max-Forwards: 70" => "Max-Forwards: 68".to_owned(),
            via if via.starts_with("Via:") => format!("{via};received=203.0.113.7;rport=58980"),
            other => other.to_owned(),
        })
        .collect();
    assert_eq!(lines, expected);
}

#[test]
fn the_room_systems_register_crosses_both_tiers() {
    let mut rig = Rig::new();
    let flow = rig.client();
    let sent = message(ROOM);
    rig.client_writes(flow, sent.clone());
    let (mut lines, body) = parts(rig.registrar_reads_one().bytes());
    assert_eq!(body, "");
    take(&mut lines, "Via: SIP/2.0/TCP 10.0.1.1:5060;");
    take(&mut lines, "Via: SIP/2.0/TLS 192.0.2.100:5061;");
    take(&mut lines, "Path: <sip:core1@");
    take(&mut lines, "Path: <sip:edge1.");
    let via = take(&mut lines, "v: ");
    // RFC 3581 and RFC 6223: rport and keep are filled in where they stand.
    assert_eq!(via, "v: SIP/2.0/TLS 172.16.84.140:41000;branch=z9hG4bKroom1;rport=58980;keep=120;received=203.0.113.7");
    let (mut sent_lines, _) = parts(sent.as_bytes());
    take(&mut sent_lines, "v: ");
    let hops = sent_lines.iter().position(|line| line == "Max-Forwards: 70").expect("it is there");
    sent_lines[hops] = "Max-Forwards: 68".to_owned();
    assert_eq!(lines, sent_lines, "it says `path` itself, so nothing is added");
}

#[test]
fn the_answer_names_the_features_of_the_whole_path() {
    let mut rig = Rig::new();
    let flow = rig.client();
    let features = |rig: &mut Rig, flow, lines: &str, params: &str| {
        let answer = register(rig, flow, &plain("alice", "", params, 600), lines);
        assert_eq!(value(&answer, Name::ServiceRoute), [""; 0], "nothing was rerouted");
        value(&answer, Name::Supported)
    };
    assert_eq!(features(&mut rig, flow, "", ";x-cisco-mra-ha=AR_SK;x-cisco-reg-id=1"), ["X-cisco-supports-AR_SK"]);
    assert_eq!(features(&mut rig, flow, "Supported: path\r\n", ";x-cisco-mra-ha=SK"), ["path", "X-cisco-supports-SK"]);
    // The registrar's word on the path is replaced.
    let theirs = "Supported: path,X-cisco-supports-AR,gruu\r\n";
    assert_eq!(features(&mut rig, flow, theirs, ";x-cisco-mra-ha=AR_SK"), ["path", "X-cisco-supports-AR_SK", "gruu"]);
    assert_eq!(features(&mut rig, flow, theirs, ""), ["path", "X-cisco-supports-AR", "gruu"], "nobody asked");
    let mut rig = Rig::with(1, "stun_keepalive = false", "stun_keepalive = false");
    let flow = rig.client();
    assert_eq!(features(&mut rig, flow, "", ";x-cisco-mra-ha=AR_SK"), ["X-cisco-supports-AR"]);
    assert_eq!(features(&mut rig, flow, theirs, ";x-cisco-mra-ha=SK"), ["path", "gruu"]);
}

/// Routes as an edge configuration gives them, of the first and the second core, and of none.
const TO_CORE: [&str; 3] = [
    "Route: <sip:10.0.1.1:5061;transport=tls;zone-id=1;directed;lr>\r\n",
    "Route: <sip:10.0.1.2:5061;transport=tls;zone-id=2;directed;lr>\r\n",
    "Route: <sip:10.0.9.9:5061;transport=tls;zone-id=9;directed;lr>\r\n",
];

#[test]
fn a_directed_route_leads_to_its_core_or_around_it() {
    let mut rig = Rig::with(2, "", "");
    let flow = rig.client();
    let ask = |rig: &mut Rig, user: &str, route: &str| {
        rig.client_writes(flow, plain(user, route, ";x-cisco-mra-ha=AR_SK", 600));
        let (core, _, got) = rig.inside_reads().pop().expect("it reaches a registrar");
        assert_eq!(value(&got, Name::Route), [""; 0], "our own routes stay with us");
        let answer = got.respond(200, "OK").to_tag("r").header(Name::ServiceRoute, "<sip:10.0.0.5;lr>").build();
        rig.inside_writes(core, REGISTRAR, answer);
        (core, rig.client_reads_last(flow))
    };
    for (index, route) in TO_CORE[..2].iter().enumerate() {
        let (core, answer) = ask(&mut rig, &format!("a{index}"), route);
        assert_eq!(core, index);
        assert_eq!(value(&answer, Name::ServiceRoute), ["<sip:10.0.0.5;lr>"]);
        assert_eq!(value(&answer, Name::Warning), [""; 0]);
    }
    rig.disconnect(1);
    for (user, route) in [("gone", TO_CORE[1]), ("unknown", TO_CORE[2])] {
        let (core, answer) = ask(&mut rig, user, route);
        assert_eq!(core, 0, "the other core stands in");
        let routes = value(&answer, Name::ServiceRoute);
        assert_eq!(routes, ["<sip:10.0.1.1:5061;transport=tls;zone-id=270;directed;lr>", "<sip:10.0.0.5;lr>"]);
        assert_eq!(value(&answer, Name::Warning), ["399 192.0.2.100:5061 \"Rerouted to core1\""]);
    }
}

#[test]
fn stun_is_answered_for_the_whole_registered_path() {
    let mut rig = Rig::with(2, "", "");
    let flow = rig.client();
    assert_eq!(rig.stun_error(flow), None, "nobody is registered: the connection is what there is");
    register(&mut rig, flow, &plain("alice", TO_CORE[1], ";x-cisco-mra-ha=AR_SK", 600), "");
    assert_eq!(rig.stun_error(flow), None);
    rig.disconnect(1);
    assert_eq!(rig.stun_error(flow), None, "a link that broke is back in no time");
    rig.advance(Duration::from_secs(5));
    assert_eq!(rig.stun_error(flow), Some(500), "another core does not help: nobody reaches the client over it");
    // The refresh goes over the other core, which is the path from now on.
    register(&mut rig, flow, &plain("alice", TO_CORE[1], ";x-cisco-mra-ha=AR_SK", 601), "");
    assert_eq!(rig.stun_error(flow), None);
    // Now the registrar dies: the core says so, and the edge remembers.
    rig.inside_alive = false;
    rig.inside_closes();
    rig.client_writes(flow, plain("alice", TO_CORE[0], ";x-cisco-mra-ha=AR_SK", 602));
    rig.advance(Duration::from_secs(5));
    assert_eq!(rig.client_reads_last(flow).status(), Some(408));
    assert_eq!(rig.stun_error(flow), Some(500));
    rig.inside_alive = true;
    rig.advance(Duration::from_secs(5));
    register(&mut rig, flow, &plain("alice", TO_CORE[0], ";x-cisco-mra-ha=AR_SK", 603), "");
    assert_eq!(rig.stun_error(flow), None);
    // It dies while nobody asks it for anything: the core finds out, and says so in its keepalives.
    rig.inside_alive = false;
    rig.inside_closes();
    rig.advance(Duration::from_secs(45));
    assert_eq!(rig.stun_error(flow), Some(500));
    rig.inside_alive = true;
    rig.advance(Duration::from_secs(45));
    assert_eq!(rig.stun_error(flow), None);
}

const KEEP_ALIVE: &str = ";+sip.instance=\"<urn:uuid:1>\";expires=0;cisco-keep-alive";

#[test]
fn a_standby_keepalive_is_answered_by_the_core() {
    let mut rig = Rig::new();
    let flow = rig.client();
    register(&mut rig, flow, &plain("alice", "", ";+sip.instance=\"<urn:uuid:1>\"", 600), "");
    let ask = |rig: &mut Rig, flow: FlowId, nonce: usize| {
        rig.client_writes(flow, plain(&format!("k{nonce}"), "", KEEP_ALIVE, 0));
        assert_eq!(rig.inside_reads().len(), 0, "no registrar is told");
        rig.client_reads_last(flow)
    };
    let answer = ask(&mut rig, flow, 0);
    assert_eq!((answer.status(), answer.contacts().count()), (Some(200), 0));
    assert_eq!(rig.edge.registered_flows(), [flow], "it de-registers nobody");
    // On a connection of its own it registers nobody, counts against nothing, and keeps the connection.
    let standby = rig.client();
    for nonce in 1..60 {
        assert_eq!(ask(&mut rig, standby, nonce).status(), Some(200));
        rig.advance(Duration::from_secs(120));
    }
    assert!(!rig.is_closed(standby));
    assert!(!rig.edge.registered_flows().contains(&standby));
    rig.advance(Duration::from_secs(200));
    assert!(rig.is_closed(standby), "silence ends it");
    rig.inside_alive = false;
    rig.inside_closes();
    rig.advance(Duration::from_secs(20));
    let standby = rig.client();
    let answer = ask(&mut rig, standby, 99);
    assert_eq!(answer.status(), Some(408));
    let warnings = value(&answer, Name::Warning);
    assert_eq!(warnings[0], "383 10.0.1.1:5060 \"next hop not reachable\"");
    assert!(warnings[1].starts_with("399 10.0.1.1:5060 \"EW-") && warnings.len() == 2, "{warnings:?}");
}

#[test]
fn a_standby_keepalive_is_relayed_to_the_server_it_names() {
    let mut rig = Rig::with(1, "", "standby_keepalive = \"relayed\"");
    let flow = rig.client();
    register(&mut rig, flow, &plain("alice", "", ";+sip.instance=\"<urn:uuid:1>\"", 600), "");
    let ask = plain("alice", "", KEEP_ALIVE, 0).replace("sip:example.com", "sip:10.0.0.5");
    let answer = register(&mut rig, flow, &ask, "");
    assert_eq!(answer.status(), Some(200));
    assert_eq!(rig.edge.registered_flows(), [flow], "it de-registers nobody");
}

#[test]
fn a_flood_of_keepalives_is_a_strangers() {
    let mut rig = Rig::new();
    let flow = rig.client();
    for nonce in 0..60 {
        rig.client_writes(flow, plain(&format!("k{nonce}"), "", KEEP_ALIVE, 0));
    }
    assert!(rig.is_closed(flow));
}
