//! Edits and responses: what changes, and that nothing else does.

use bytes::Bytes;
use edgeway_sip::{Message, Name};

const INVITE: &str = "INVITE sip:bob@pbx.example SIP/2.0\r\n\
    Via: SIP/2.0/TLS 198.51.100.4:40000;branch=z9hG4bKa;rport , SIP/2.0/TCP inner.example;branch=z9hG4bKb\r\n\
    v: SIP/2.0/UDP far.example;branch=z9hG4bKc\r\n\
    Max-Forwards: 70\r\n\
    Route: <sip:edge.example;lr>,\r\n <sip:core.example;lr>\r\n\
    Route: <sip:pbx.example;lr>\r\n\
    f: \"A, B\" <sip:alice@pbx.example>;tag=a1\r\n\
    t: <sip:bob@pbx.example>\r\n\
    i: c1@198.51.100.4\r\n\
    CSeq: 1 INVITE\r\n\
    m: <sip:alice@198.51.100.4>\r\n\
    s: Lunch\r\n\
    X-Odd : folded\r\n\tvalue\r\n\
    c: application/sdp\r\n\
    l: 5\r\n\
    \r\n\
    v=0\r\n";

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).expect("a valid message")
}

fn text(bytes: &Bytes) -> String {
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    message(&text);
    text
}

#[test]
fn nothing_edited_is_byte_exact() {
    assert_eq!(text(&message(INVITE).edit().finish()), INVITE);
}

#[test]
fn a_proxy_forwards() {
    let invite = message(INVITE);
    let out = invite
        .edit()
        .set_request_uri("sip:bob@192.0.2.9:5060")
        .set_top_via_param("received", Some("203.0.113.7"))
        .set_top_via_param("rport", Some("40000"))
        .push_via("SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKnew")
        .push(Name::RecordRoute, "<sip:outer@192.0.2.1;lr>")
        .push(Name::RecordRoute, "<sip:inner@192.0.2.1;lr>")
        .pop_value(Name::Route)
        .set(Name::MaxForwards, "69")
        .remove_other("Subject")
        .finish();
    let expected = INVITE
        .replace("sip:bob@pbx.example SIP", "sip:bob@192.0.2.9:5060 SIP")
        .replace("branch=z9hG4bKa;rport ,", "branch=z9hG4bKa;rport=40000;received=203.0.113.7 ,")
        .replace("Via: SIP", "Via: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKnew\r\nVia: SIP")
        .replace(
            "Max-Forwards: 70",
            "Record-Route: <sip:inner@192.0.2.1;lr>\r\nRecord-Route: <sip:outer@192.0.2.1;lr>\r\nMax-Forwards: 69",
        )
        .replace("<sip:edge.example;lr>,\r\n ", "")
        .replace("s: Lunch\r\n", "");
    assert_eq!(text(&out), expected);
}

#[test]
fn values_are_popped_one_by_one_and_empty_lines_go() {
    let invite = message(INVITE);
    let routes = |pops: usize| {
        let mut edit = invite.edit();
        for _ in 0..pops {
            edit.pop_value(Name::Route);
        }
        let edited = message(&text(&edit.finish()));
        (edited.routes().map(|route| route.uri.to_owned()).collect::<Vec<_>>(), edited.lines(Name::Route).count())
    };
    assert_eq!(routes(1), (vec!["sip:core.example;lr".to_owned(), "sip:pbx.example;lr".to_owned()], 2));
    assert_eq!(routes(2), (vec!["sip:pbx.example;lr".to_owned()], 1));
    assert_eq!(routes(3), (vec![], 0));
    assert_eq!(routes(4), (vec![], 0));
}

#[test]
fn vias_are_popped_across_lines() {
    let invite = message(INVITE);
    let once = message(&text(&invite.edit().pop_via().finish()));
    assert_eq!((once.top_via().branch(), once.via_count()), (Some("z9hG4bKb"), 2));
    let twice = message(&text(&invite.edit().pop_via().pop_via().finish()));
    assert_eq!((twice.top_via().branch(), twice.via_count()), (Some("z9hG4bKc"), 1));
    let with_new = message(&text(&invite.edit().push_via("SIP/2.0/UDP n;branch=z9hG4bKn").pop_via().finish()));
    assert_eq!((with_new.top_via().branch(), with_new.via_count()), (Some("z9hG4bKn"), 3));
    let param_goes_along = invite.edit().set_top_via_param("received", Some("192.0.2.5")).pop_via().finish();
    assert!(!text(&param_goes_along).contains("received"));
}

#[test]
fn replacing_and_setting() {
    let invite = message(INVITE);
    let edited = message(&text(&invite.edit().replace_value(Name::Route, 1, "<sip:other.example;lr>").finish()));
    let routes: Vec<_> = edited.routes().map(|route| route.uri).collect();
    assert_eq!(routes, ["sip:edge.example;lr", "sip:other.example;lr", "sip:pbx.example;lr"]);
    assert_eq!(text(&invite.edit().replace_value(Name::Route, 3, "<sip:x>").finish()), INVITE);

    let set = text(&invite.edit().set(Name::Route, "<sip:1>").set(Name::Route, "<sip:2>").finish());
    assert_eq!(message(&set).lines(Name::Route).collect::<Vec<_>>(), [b"<sip:2>"]);
    let moved = set.find("Route").expect("there") < set.find("f: ").expect("there");
    assert!(moved, "set keeps the place");

    let added = text(
        &invite.edit().set(Name::UserAgent, "x").append(Name::Supported, "path").append_other("X-A", "1").finish(),
    );
    assert!(added.contains("l: 5\r\nUser-Agent: x\r\nSupported: path\r\nX-A: 1\r\n\r\nv=0"), "{added}");
    let appended = invite.edit().append(Name::Route, "<sip:last>").append(Name::Route, "<sip:very-last>").finish();
    let edited = message(&text(&appended));
    assert_eq!(edited.routes().last().map(|route| route.uri), Some("sip:very-last"));

    for again in [
        text(&invite.edit().remove(Name::To).set(Name::To, "<sip:n@h>").finish()),
        text(&invite.edit().set(Name::To, "<sip:n@h>").remove(Name::To).finish()),
    ] {
        assert_eq!(message(&again).to().uri, "sip:n@h");
    }

    let both = message(&text(&invite.edit().remove(Name::Contact).append(Name::Contact, "<sip:new@h>").finish()));
    assert_eq!(both.contacts().map(|contact| contact.uri).collect::<Vec<_>>(), ["sip:new@h"]);
}

#[test]
fn the_body_and_its_length_go_together() {
    let invite = message(INVITE);
    let edited = message(&text(&invite.edit().set_body(b"v=0\r\ns=longer\r\n").finish()));
    assert_eq!(edited.body(), b"v=0\r\ns=longer\r\n");
    assert_eq!(edited.header(Name::ContentLength), Some(&b"15"[..]));

    let bare = message(
        "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\nrest",
    );
    let mut edit = bare.edit();
    let first = edit.finish();
    assert_eq!(edit.finish(), first, "finishing twice changes nothing");
    assert!(text(&first).contains("\r\nContent-Length: 4\r\n\r\nrest"));
}

#[test]
fn no_value_can_smuggle_a_line() {
    let invite = message(INVITE);
    let edited = message(&text(&invite.edit().set(Name::UserAgent, "x\r\nX-Evil: 1\n\0").finish()));
    assert_eq!(edited.other("X-Evil"), None);
    let answer = invite.respond(403, "No\r\nX-Evil: 1").header(Name::Reason, "a\r\nX-Evil: 2").to_tag("t\r\n").build();
    assert_eq!(message(&text(&answer)).other("X-Evil"), None);
}

#[test]
fn a_response_copies_what_it_must() {
    let invite = message(&INVITE.replace("m: <", "Timestamp: 54\r\nRecord-Route: <sip:rr;lr>\r\nm: <"));
    let answer = invite
        .respond(503, "Service Unavailable")
        .to_tag("t7")
        .warning(382, "192.0.2.1:5061", "System in \"Maintenance\" Mode")
        .header(Name::RetryAfter, "30")
        .build();
    let answer = message(&text(&answer));
    assert_eq!(answer.status(), Some(503));
    assert_eq!(answer.via_count(), 3);
    assert_eq!((answer.from_tag(), answer.to_tag()), (Some("a1"), Some("t7")));
    assert_eq!((answer.call_id(), answer.cseq()), ("c1@198.51.100.4", (1, "INVITE")));
    let warning = "382 192.0.2.1:5061 \"System in \\\"Maintenance\\\" Mode\"";
    assert_eq!(answer.header(Name::Warning), Some(warning.as_bytes()));
    assert_eq!(answer.header(Name::ContentLength), Some(&b"0"[..]));
    assert_eq!((answer.header(Name::Timestamp), answer.header(Name::RecordRoute)), (None, None));

    let trying = message(&text(&invite.respond(100, "Trying").to_tag("t7").build()));
    assert_eq!((trying.to_tag(), trying.header(Name::Timestamp)), (None, Some(&b"54"[..])));
    let ok = message(&text(
        &invite.respond(200, "OK").to_tag("t7").record_route().body("application/sdp", b"v=0\r\n").build(),
    ));
    assert_eq!(
        (ok.header(Name::RecordRoute), ok.body(), ok.has_sdp()),
        (Some(&b"<sip:rr;lr>"[..]), &b"v=0\r\n"[..], true)
    );
    let in_dialog = message(&INVITE.replace("t: <sip:bob@pbx.example>", "t: <sip:bob@pbx.example>;tag=b1"));
    assert_eq!(message(&text(&in_dialog.respond(200, "OK").to_tag("t7").build())).to_tag(), Some("b1"));
}

#[test]
fn a_datagram_ends_where_it_says() {
    let invite = message(&format!("{INVITE}trailing octets"));
    assert_eq!(invite.bytes(), INVITE);
    let fault = Message::parse(Bytes::from(INVITE.replace("l: 5", "l: 6"))).expect_err("one byte short");
    assert_eq!((fault.status, fault.field), (400, "Content-Length"));
}

#[test]
fn faults_answer_requests_only() {
    let broken = INVITE.replace("CSeq: 1 INVITE", "CSeq: x INVITE");
    let fault = Message::parse(Bytes::from(broken.clone())).expect_err("no number");
    let reply = fault.reply.expect("an answer");
    let reply = String::from_utf8_lossy(&reply);
    assert!(
        reply.starts_with("SIP/2.0 400 Bad Request\r\nVia: SIP/2.0/TLS 198.51.100.4:40000;branch=z9hG4bKa;rport ,")
    );
    assert!(reply.contains("\r\nt: <sip:bob@pbx.example>;tag="), "{reply}");
    assert!(reply.contains("Warning: 399 edgeway \"CSeq: does not start with a number\""), "{reply}");
    let again = Message::parse(Bytes::from(broken)).expect_err("no number").reply;
    assert_eq!(again.as_deref(), Some(reply.as_bytes()), "a retransmission gets the same answer");

    let ack = INVITE.replace("INVITE", "ACK").replace("CSeq: 1", "CSeq: x");
    assert_eq!(Message::parse(Bytes::from(ack)).expect_err("no number").reply, None);
    let response = INVITE.replace("INVITE sip:bob@pbx.example SIP/2.0", "SIP/2.0 200 OK").replace("CSeq: 1", "CSeq: x");
    assert_eq!(Message::parse(Bytes::from(response)).expect_err("no number").reply, None);
}

#[test]
fn bounds_hold_and_are_told() {
    use edgeway_sip::limits::{HEADER_LINES_MAX, LINE_BYTES_MAX, MESSAGE_BYTES_MAX};
    let with = |extra: String| Message::parse(Bytes::from(INVITE.replace("s: Lunch\r\n", &extra)));
    let own = message(INVITE).all_lines().count() - 1;
    assert!(with("X: y\r\n".repeat(HEADER_LINES_MAX - own)).is_ok());
    let fault = with("X: y\r\n".repeat(HEADER_LINES_MAX - own + 1)).expect_err("one line too many");
    assert_eq!((fault.status, fault.detail), (400, "too many header lines"));
    assert!(with(format!("X: {}\r\n", "y".repeat(LINE_BYTES_MAX - 10))).is_ok());
    let fault = with(format!("X: {}\r\n", "y\r\n ".repeat(LINE_BYTES_MAX / 4))).expect_err("a folded line too long");
    assert_eq!((fault.status, fault.detail), (400, "a line is too long"));
    let fault = with("X: yyyyyyyyyyyyyyyyyyyy\r\n".repeat(MESSAGE_BYTES_MAX / 20)).expect_err("too large");
    assert_eq!(fault.status, 413);
    assert!(fault.reply.is_some());
}
