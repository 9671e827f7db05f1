//! Messages that say one thing to one reader and another to the next.

use edgeway_sip::{Message, Name};

use crate::register::{plain, register};
use crate::rig::Rig;
use crate::talk::{Leg, answer};

/// What a client wrote: what it is answered, and what reaches the inside.
fn outcome(rig: &mut Rig, flow: edgeway_model::FlowId, text: String) -> (Option<u16>, Vec<Message>) {
    rig.client_writes(flow, text);
    let inside = rig.inside_reads().into_iter().map(|(_, _, message)| message).collect();
    (rig.client_reads(flow).last().and_then(Message::status), inside)
}

fn message(lines: &str) -> String {
    format!(
        "MESSAGE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/TLS 192.168.1.2:5061;branch=z9hG4bK{:x}\r\n\
         From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCSeq: 1 MESSAGE\r\n{lines}\r\n",
        lines.bytes().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())),
    )
}

#[test]
fn a_field_that_stands_once_does_not_stand_twice_in_disguise() {
    let once = "Max-Forwards: 70\r\nCall-ID: a\r\nContent-Length: 0\r\n";
    for again in [
        "Call-ID: b\r\n",
        "i: b\r\n",
        "CALL-ID : b\r\n",
        "call-id\t:\r\n b\r\n",
        "From: <sip:mallory@example.com>;tag=2\r\n",
        "f : <sip:mallory@example.com>;tag=2\r\n",
        "t\t: <sip:mallory@example.com>\r\n",
        "CSeq: 1 REGISTER\r\n",
        "max-forwards:\r\n\t70\r\n",
        "c: text/plain\r\nContent-Type: application/sdp\r\n",
        "Expires: 0\r\nexpires : 60\r\n",
        "Content-Length : 0\r\n",
        "l: 0\r\n",
        "L\t:\r\n 0\r\n",
        "Content-Length: 5\r\n",
    ] {
        for lines in [format!("{once}{again}"), format!("{again}{once}")] {
            let mut rig = Rig::new();
            let flow = rig.client();
            register(&mut rig, flow, &plain("alice", "", "", 600), "");
            let (status, inside) = outcome(&mut rig, flow, message(&lines));
            assert!(inside.is_empty(), "{lines:?} reached the inside");
            assert_eq!(status, Some(400), "{lines:?}");
        }
    }
}

#[test]
fn a_made_up_tag_opens_no_route() {
    let (junk, honest) = ("<sip:bob@example.com>;tag=junk", "<sip:10.0.0.5:5060;lr>");
    for (route, reached) in [
        (format!("{honest}, <sip:198.51.100.9:5060;lr>"), false),
        ("<sip:198.51.100.9:5060;lr>".to_owned(), false),
        // What the registrar alone is asked is its to refuse.
        (honest.to_owned(), true),
    ] {
        let mut rig = Rig::new();
        let flow = rig.client();
        register(&mut rig, flow, &plain("alice", "", "", 600), "");
        let lines = format!("Route: {route}\r\nMax-Forwards: 70\r\nCall-ID: a\r\nContent-Length: 0\r\n");
        let text = message(&lines).replace("To: <sip:bob@example.com>", &format!("To: {junk}"));
        let (status, inside) = outcome(&mut rig, flow, text.clone());
        assert_eq!(!inside.is_empty(), reached, "{route:?}");
        assert_eq!(status, (!reached).then_some(481), "{route:?}");
        // A registrar is asked nothing for others by it, as it is not without.
        let (asked, branch) = (text.replacen("bob@example.com", "bob@elsewhere.example", 1), "z9hG4bK");
        let (status, inside) = outcome(&mut rig, flow, asked.replace(branch, "z9hG4bKother"));
        assert_eq!((status, inside.len()), (Some(481), 0), "{route:?}");
    }
}

#[test]
fn a_route_leads_no_registrar_astray_however_it_is_written() {
    for route in [
        "Route: <sip:198.51.100.9;lr>\r\n",
        "route : <sip:198.51.100.9;lr>\r\n",
        "ROUTE\t:\r\n <sip:198.51.100.9;lr>\r\n",
        "Route: <sip:192.0.2.100:5061;lr>, <sip:198.51.100.9;lr>\r\n",
        "Route: <sip:192.0.2.100:5061;lr>\r\nRoute: <sip:core1@10.0.1.1:5060;lr>,\r\n <sip:198.51.100.9;lr>\r\n",
        "Route: \"<sip:10.0.0.5;lr>\" <sip:198.51.100.9;lr>\r\n",
        "Route: <sip:10.0.0.5:5060;lr>\r\nrOuTe:<sip:198.51.100.9;lr>\r\n",
        "Route: <sip:10.0.0.5@198.51.100.9;lr>\r\n",
    ] {
        let mut rig = Rig::new();
        let flow = rig.client();
        register(&mut rig, flow, &plain("alice", "", "", 600), "");
        let lines = format!("{route}Max-Forwards: 70\r\nCall-ID: a\r\nContent-Length: 0\r\n");
        let (status, inside) = outcome(&mut rig, flow, message(&lines));
        assert!(inside.is_empty(), "{route:?} reached the inside");
        assert_eq!(status, Some(404), "{route:?}");
    }
}

#[test]
fn hops_are_counted_however_they_are_written() {
    for (hops, expected) in
        [("Max-Forwards : 0\r\n", 483), ("MAX-FORWARDS\t:\r\n\t0\r\n", 483), ("Max-Forwards: 256\r\n", 400)]
    {
        let mut rig = Rig::new();
        let flow = rig.client();
        register(&mut rig, flow, &plain("alice", "", "", 600), "");
        let lines = format!("{hops}Call-ID: a\r\nContent-Length: 0\r\n");
        let (status, inside) = outcome(&mut rig, flow, message(&lines));
        assert!(inside.is_empty());
        assert_eq!(status, Some(expected), "{hops:?}");
    }
}

/// A header of an inner protocol of ours cannot be smuggled in: there is none. What decides is the flow,
/// Route, Path and Via, and a client's own Path stands behind ours.
#[test]
fn a_path_of_the_clients_own_stays_behind_ours() {
    for path_headers in [true, false] {
        let mut rig = Rig::with(1, "", &format!("path_headers = {path_headers}"));
        let flow = rig.client();
        let own = "Path: <sip:edge1.00000000000000010000000000000001@192.0.2.100:5061;transport=tls;lr;ob>\r\n";
        rig.client_writes(flow, plain("alice", own, "", 600));
        let got = rig.registrar_reads_one();
        let paths: Vec<_> = got.addresses(Name::Path).map(|path| path.uri.to_owned()).collect();
        if path_headers {
            assert_eq!(paths.len(), 3);
            assert!(paths[0].starts_with("sip:core1@") && paths[2].starts_with("sip:edge1.00000000000000010"));
        } else {
            assert!(paths.is_empty());
            let contact = got.contacts().next().expect("a contact").uri.to_owned();
            assert!(!contact.contains("edge1.00000000000000010000000000000001"), "{contact}");
        }
    }
}

#[test]
fn a_client_cannot_point_the_inside_anywhere_by_record_route() {
    let mut rig = Rig::new();
    let flow = rig.client();
    rig.client_writes(flow, plain("alice", "", "", 600));
    let got = rig.registrar_reads_one();
    let path: Vec<_> = got.addresses(Name::Path).map(|path| path.uri.to_owned()).collect();
    rig.registrar_writes(answer(&got, 200, "r", "", &[]));
    rig.client_reads(flow);
    let mut caller = Leg::new("rr", "TCP 10.0.0.5:5060", "r1", "sip:alice@192.168.1.2:5061;transport=tls");
    caller.routes = path;
    rig.registrar_writes(caller.request("SUBSCRIBE", "Event: kpml\r\nRecord-Route: <sip:10.0.0.5;lr>\r\n"));
    let got = rig.client_reads_last(flow);
    let asked: Vec<_> = got.addresses(Name::RecordRoute).map(|route| route.uri.to_owned()).collect();
    assert_eq!(asked.len(), 3);
    let forged = got.respond(200, "OK").to_tag("c").header(Name::RecordRoute, "<sip:10.0.0.1:22;transport=tcp;lr>");
    rig.client_writes(flow, forged.build());
    let got = rig.registrar_reads_one();
    let given: Vec<_> = got.addresses(Name::RecordRoute).map(|route| route.uri.to_owned()).collect();
    assert_eq!(given, asked);
}

#[test]
fn who_is_registered_no_more_may_still_hang_up_and_nothing_else() {
    let mut rig = Rig::new();
    let flow = rig.client();
    register(&mut rig, flow, &plain("alice", "", "", 600), "");
    let mut leg = Leg::new("late", "TLS 192.168.1.2:5061", "alice1", "sip:bob@example.com");
    rig.client_writes(flow, leg.request("INVITE", ""));
    let invite = rig.registrar_reads_one();
    rig.client_reads(flow);
    rig.registrar_writes(answer(&invite, 200, "bob", "sip:bob@10.0.0.5:5060;transport=tcp", &[]));
    let mut leg = leg.answered(&rig.client_reads_one(flow));
    rig.client_writes(flow, leg.request("ACK", ""));
    assert_eq!(rig.registrar_reads_one().method(), Some("ACK"));
    register(&mut rig, flow, &plain("alice", "", "", 0), "");
    assert!(rig.edge.registered_flows().is_empty());
    let mut new = Leg::new("new", "TLS 192.168.1.2:5061", "alice2", "sip:bob@example.com");
    rig.client_writes(flow, new.request("INVITE", ""));
    assert_eq!(rig.client_reads_last(flow).status(), Some(403));
    // A stranger who knows the dialog does not know the flow's token, and has another flow.
    let stranger = rig.client();
    let mut theirs = leg.clone();
    rig.client_writes(stranger, theirs.request("BYE", ""));
    assert_eq!(rig.client_reads_last(stranger).status(), Some(403));
    assert!(rig.inside_reads().is_empty());
    rig.client_writes(flow, leg.request("BYE", ""));
    assert_eq!(rig.registrar_reads_one().method(), Some("BYE"));
}

#[test]
fn a_request_without_a_branch_left_goes_nowhere() {
    let mut rig = Rig::new();
    let flow = rig.client();
    register(&mut rig, flow, &plain("alice", "", "", 600), "");
    let lines = "Max-Breadth : 0\r\nCall-ID: a\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n";
    let (status, inside) = outcome(&mut rig, flow, message(lines));
    assert_eq!((status, inside.len()), (Some(440), 0), "RFC 5393 §5.3.3");
}
