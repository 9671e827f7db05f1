//! What must hold for any bytes whatever, as functions that panic where it does not. The fuzz
//! targets, the property tests and the replay of the committed corpora all run these.
//!
//! Not for production code: everything else in this crate promises not to panic.

use bytes::Bytes;

use crate::digest::{Challenge, Credentials};
use crate::framer::{Element, Framer};
use crate::header::Name;
use crate::limits::{ACCEPTED_BYTES_MAX, HEADER_LINES_MAX, MESSAGE_BYTES_MAX};
use crate::message::Message;
use crate::stun::Stun;
use crate::uri::{NameAddr, Uri};
use crate::verdict::check_request;
use crate::via::Via;

/// Parses a message. What is accepted is passed on byte-exact, read without panic, cut at the same
/// length by the framer, and stays a message after an edit; what is refused is answered well.
pub fn sip_message(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let message = match Message::parse(bytes.clone()) {
        Ok(message) => message,
        Err(fault) => {
            check_reply(fault.reply.as_deref());
            return;
        }
    };
    assert!(bytes.starts_with(message.bytes()), "what is passed on is what came");
    read_everything(&message);
    if message.header(Name::ContentLength).is_some() {
        assert_eq!(message.edit().finish(), message.bytes(), "an edit without changes is byte-exact");
        let mut framer = Framer::new(MESSAGE_BYTES_MAX);
        framer.push(bytes);
        let cut = framer.next().ok().flatten();
        assert_eq!(cut, Some(Element::Message(message.bytes().clone())), "framer and parser agree on the length");
    }
    edit_and_answer(&message);
}

/// An answer of ours is one line per line, complete, and never one that is answered again.
fn check_reply(reply: Option<&[u8]>) {
    let Some(reply) = reply else { return };
    assert!(reply.starts_with(b"SIP/2.0 4") && reply.ends_with(b"\r\nContent-Length: 0\r\n\r\n"));
    for (at, byte) in reply.iter().enumerate() {
        match byte {
            b'\r' => assert_eq!(reply.get(at + 1), Some(&b'\n'), "no bare CR goes out"),
            b'\n' => assert_eq!(reply[at - 1], b'\r', "no bare LF goes out"),
            _ => assert_ne!(*byte, 0, "no NUL goes out"),
        }
    }
    let again = Message::parse(Bytes::copy_from_slice(reply));
    assert!(again.is_ok() || again.is_err_and(|fault| fault.reply.is_none()), "nobody answers an answer");
}

/// Every accessor keeps its promise on what parsed.
fn read_everything(message: &Message) {
    assert!(!message.call_id().is_empty() && !message.cseq().1.is_empty());
    assert!(!message.from().uri.is_empty() && !message.to().uri.is_empty());
    assert!(!message.top_via().host.is_empty());
    assert_eq!(message.vias().count(), message.via_count());
    assert_eq!(message.is_request(), message.status().is_none());
    assert_eq!(message.contacts().count(), message.values(Name::Contact).count());
    assert_eq!(message.routes().count(), message.values(Name::Route).count());
    for address in message.contacts().chain(message.routes()) {
        assert!(address.is_star() || address.parsed_uri().is_some());
        let _ = (address.expires(), address.tag(), address.params().count());
    }
    for (name, value) in message.all_lines() {
        assert!(!name.is_empty() && message.other(name).is_some());
        let _ = (Challenge::parse(value), Credentials::parse(value));
    }
    assert!(message.has_sdp() || message.sdp().is_empty());
    let _ = (message.expires(), message.max_forwards(), message.reason(), check_request(message));
}

fn edit_and_answer(message: &Message) {
    // What an edit adds may carry a message over a bound; that is for the next node to refuse.
    if message.bytes().len() > ACCEPTED_BYTES_MAX || message.all_lines().count() + 4 > HEADER_LINES_MAX {
        return;
    }
    let edited = message
        .edit()
        .set_top_via_param("received", Some("192.0.2.9"))
        .push_via("SIP/2.0/TLS 192.0.2.1;branch=z9hG4bKnew")
        .push(Name::RecordRoute, "<sip:192.0.2.1;lr>")
        .set(Name::MaxForwards, "69")
        .pop_value(Name::Route)
        .finish();
    let edited = Message::parse(edited).expect("an edited message parses");
    assert_eq!(edited.via_count(), message.via_count() + 1);
    assert_eq!(edited.vias().nth(1).and_then(|via| via.received().map(str::to_owned)).as_deref(), Some("192.0.2.9"));
    assert_eq!(edited.body(), message.body());
    if message.is_request() {
        let answer = message.respond(480, "Temporarily Unavailable").to_tag("t").build();
        let answer = Message::parse(answer).expect("our response parses");
        assert_eq!((answer.cseq(), answer.call_id()), (message.cseq(), message.call_id()));
    }
}

/// Looks for session descriptions in a body whose Content-Type is the first line. What replaces one is
/// the only one afterwards, and taking it out leaves none.
pub fn sip_multipart(bytes: &[u8]) {
    let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    let (content_type, body) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let mut text = b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
        To: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Type: "
        .to_vec();
    text.extend_from_slice(content_type);
    text.extend_from_slice(format!("\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes());
    text.extend_from_slice(body);
    let Ok(message) = Message::parse(Bytes::from(text)) else { return };
    if !message.has_sdp() {
        assert_eq!(message.edit().set_sdp(b"v=0\r\n").finish(), message.bytes(), "what is not there is not replaced");
        return;
    }
    let changed = message.edit().set_sdp(b"v=0\r\n").finish();
    let changed = Message::parse(changed).expect("an edited message parses");
    assert!(changed.sdp() == b"v=0\r\n" || changed.body().is_empty(), "no other description is left");
    let without = Message::parse(message.edit().set_sdp(b"").finish()).expect("an edited message parses");
    assert!(without.sdp().is_empty() && (!without.has_sdp() || without.body().is_empty()), "none is left");
}

/// Cuts a stream. The first byte says into pieces of which size the rest is cut as well; the
/// elements must be the same, and no more may be held than one message.
pub fn sip_framer(bytes: &[u8]) {
    const BOUND: usize = 4096;
    let Some((&size, stream)) = bytes.split_first() else { return };
    let run = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut framer = Framer::new(BOUND);
        let mut found = Vec::new();
        for piece in pieces {
            framer.push(Bytes::copy_from_slice(piece));
            loop {
                match framer.next() {
                    Ok(None) => break,
                    Ok(Some(element)) => found.push(Ok(element)),
                    Err(fault) => {
                        check_reply(fault.reply.as_deref());
                        found.push(Err(fault));
                    }
                }
            }
            assert!(framer.buffered() <= BOUND, "no more than one message is held");
        }
        (found, framer.buffered())
    };
    let whole = run(&mut std::iter::once(stream));
    assert_eq!(run(&mut stream.chunks(usize::from(size) + 1)), whole, "the cut makes no difference");
}

/// Parses URIs, addresses and Vias.
pub fn sip_uri(bytes: &[u8]) {
    let address = NameAddr::parse(bytes);
    if let Some(address) = address.filter(|address| !address.is_star()) {
        let uri = address.parsed_uri().expect("an address has a URI");
        assert!(!uri.is_sip() || !uri.host.is_empty());
        let _ = (address.tag(), address.expires(), address.params().count());
    }
    if let Some(via) = Via::parse(bytes) {
        assert!(!via.host.is_empty() && !via.transport.is_empty());
        let _ = (via.rport(), via.received(), via.host_ip());
    }
    if let Some(uri) = std::str::from_utf8(bytes).ok().and_then(Uri::parse) {
        let _ = (uri.host_ip(), uri.is_loose(), uri.params().count(), uri.headers().count());
        assert!(!uri.is_sip() || Uri::parse(&format!("sip:{}", uri.host_text())).is_some());
    }
    let _ = (Challenge::parse(bytes), Credentials::parse(bytes));
}

/// Parses STUN; what asks is answered, and the answer says what it should.
pub fn stun(bytes: &[u8]) {
    let Ok(stun) = Stun::parse(bytes) else { return };
    let seen = std::net::SocketAddr::from(([203, 0, 113, 7], 58980));
    let success = stun.success(seen);
    let success = Stun::parse(&success).expect("our success response parses");
    assert_eq!((success.mapped(), success.transaction), (Some(seen), stun.transaction));
    assert_eq!(success.has_fingerprint, stun.has_fingerprint);
    let error = stun.error(500, "Path Failed");
    assert_eq!(Stun::parse(&error).expect("our error response parses").error_code(), Some(500));
}
