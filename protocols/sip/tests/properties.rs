//! What must hold for any bytes, and for any edit of any message.

use bytes::Bytes;
use edgeway_sip::{Framer, Message, Name, Uri, fuzzing};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const SEEDS: [&[u8]; 8] = [
    include_bytes!("torture/valid-white-space-everywhere.sip"),
    include_bytes!("torture/valid-every-character.sip"),
    include_bytes!("torture/valid-vendor-register.sip"),
    include_bytes!("torture/valid-binary-multipart.sip"),
    include_bytes!("torture/ipv6-mixed-vias.sip"),
    include_bytes!("torture/response-no-reason.sip"),
    include_bytes!("torture/extension-required.sip"),
    include_bytes!("torture/valid-contact-star.sip"),
];

/// Bytes that matter to the grammar, so that mutations hit it.
const SPICE: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b",",
    b";",
    b":",
    b"\"",
    b"\\",
    b"<",
    b">",
    b"=",
    b"@",
    b"?",
    b"[",
    b"]",
    b"%00",
    b"\xff",
    b"0",
    b"9999999999",
    b"-",
    b"+",
    b"Content-Length: 3\r\n",
    b"l:0\r\n",
    b"Via: SIP/2.0/UDP h\r\n",
    b"\r\n\r\n",
    b"SIP/2.0",
];

/// What multipart bodies are made of.
const PARTS: &[&[u8]] = &[
    b"--a\r\n",
    b"--a\n",
    b"--a--\r\n",
    b"--b\r\n",
    b"--b--\r\n",
    b"\r\n",
    b"\n",
    b"v=0\r\n",
    b"Content-Type: application/sdp\r\n\r\n",
    b"c : Application/SDP;x=y\n\n",
    b"Content-Type:\r\n application/sdp\r\n",
    b"Content-Type: text/plain\r\n\r\n",
    b"Content-Type: multipart/mixed;boundary=b\r\n\r\n",
    b"Content-Type: multipart/mixed;boundary=a\r\n\r\n",
    b"Content-Disposition: session\r\n",
];

#[derive(Clone, Debug)]
enum Change {
    Insert(Index, &'static [u8]),
    Remove(Index, u8),
    Set(Index, u8),
    Copy(Index, Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), select(SPICE)).prop_map(|(at, spice)| Change::Insert(at, spice)),
        (any::<Index>(), 1u8..20).prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<Index>(), any::<Index>(), 1u8..60).prop_map(|(from, to, count)| Change::Copy(from, to, count)),
    ]
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    (select(&SEEDS[..]), vec(change(), 0..6)).prop_map(|(seed, changes)| {
        let mut bytes = seed.to_vec();
        for change in changes {
            apply(&mut bytes, change);
        }
        bytes
    })
}

fn apply(bytes: &mut Vec<u8>, change: Change) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len();
    let until = |at: usize, count: u8| (at + usize::from(count)).min(length);
    match change {
        Change::Insert(at, spice) => {
            let at = at.index(length);
            bytes.splice(at..at, spice.iter().copied());
        }
        Change::Remove(at, count) => {
            let at = at.index(length);
            bytes.drain(at..until(at, count));
        }
        Change::Set(at, byte) => bytes[at.index(length)] = byte,
        Change::Copy(from, to, count) => {
            let from = from.index(length);
            let copy = bytes[from..until(from, count)].to_vec();
            let to = to.index(length);
            bytes.splice(to..to, copy);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing panics; what is accepted is passed on byte-exact; the framer agrees on its length;
    /// what is refused is answered by a message of ours or not at all.
    #[test]
    fn any_bytes(bytes in prop_oneof![4 => mutated(), 1 => vec(any::<u8>(), 0..200)]) {
        fuzzing::sip_message(&bytes);
    }

    /// However a stream is cut, its elements are the same.
    #[test]
    fn any_cut(parts in vec(mutated(), 1..4), cuts in vec(any::<Index>(), 0..6)) {
        let bytes = Bytes::from(parts.concat());
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let run = |cuts: &[usize]| {
            let mut framer = Framer::new(2000);
            let (mut from, mut found) = (0, Vec::new());
            for &cut in cuts {
                framer.push(bytes.slice(from..cut));
                from = cut;
                loop {
                    match framer.next() {
                        Ok(None) => break,
                        other => found.push(other),
                    }
                }
            }
            (found, framer.buffered())
        };
        prop_assert_eq!(run(&cuts), run(&[bytes.len()]));
    }

    /// An edit changes what it says, keeps every other line, and yields a message.
    #[test]
    fn any_edit(
        bytes in mutated(),
        pops in 0usize..4,
        hops in 0u8..=255,
        body in proptest::option::of(vec(any::<u8>(), 0..80)),
        remove_contact: bool,
    ) {
        let Ok(message) = Message::parse(Bytes::from(bytes)) else { return Ok(()) };
        let mut edit = message.edit();
        edit.push_via("SIP/2.0/TLS 192.0.2.1;branch=z9hG4bKnew")
            .set(Name::MaxForwards, &hops.to_string())
            .push(Name::RecordRoute, "<sip:192.0.2.1;lr>")
            .append(Name::Path, "<sip:t@192.0.2.1;lr;ob>");
        for _ in 0..pops {
            edit.pop_value(Name::Route);
        }
        if remove_contact {
            edit.remove(Name::Contact);
        }
        if let Some(body) = &body {
            edit.set_body(body);
        }
        let edited = Message::parse(edit.finish()).expect("an edited message parses");
        prop_assert_eq!(edited.via_count(), message.via_count() + 1);
        prop_assert_eq!(edited.top_via().branch(), Some("z9hG4bKnew"));
        prop_assert_eq!(edited.max_forwards(), Some(u32::from(hops)));
        prop_assert_eq!(edited.values(Name::RecordRoute).next(), Some(&b"<sip:192.0.2.1;lr>"[..]));
        prop_assert_eq!(edited.values(Name::Path).last(), Some(&b"<sip:t@192.0.2.1;lr;ob>"[..]));
        prop_assert_eq!(edited.body(), body.as_deref().unwrap_or_else(|| message.body()));
        let left: Vec<_> = message.values(Name::Route).skip(pops).collect();
        prop_assert_eq!(edited.values(Name::Route).collect::<Vec<_>>(), left);
        prop_assert_eq!(edited.contacts().count(), if remove_contact { 0 } else { message.contacts().count() });
        prop_assert_eq!(edited.lines(Name::Other).collect::<Vec<_>>(), message.lines(Name::Other).collect::<Vec<_>>());
        prop_assert_eq!((edited.from(), edited.to(), edited.call_id()), (message.from(), message.to(), message.call_id()));
    }

    /// A response to whatever parsed is itself a message of the same transaction.
    #[test]
    fn any_response(bytes in mutated(), reason in "\\PC{0,20}", text in any::<String>()) {
        let Ok(message) = Message::parse(Bytes::from(bytes)) else { return Ok(()) };
        if !message.is_request() {
            return Ok(());
        }
        let answer = message.respond(480, &reason).to_tag("t").warning(399, "192.0.2.1:5061", &text).build();
        let answer = Message::parse(answer).expect("our response parses");
        prop_assert_eq!((answer.call_id(), answer.cseq(), answer.top_via()), (message.call_id(), message.cseq(), message.top_via()));
        prop_assert!(answer.to().param("tag").is_some());
        prop_assert_eq!(answer.via_count(), message.via_count());
    }

    /// However parts are nested and broken, a replaced description is the only one left.
    #[test]
    fn any_multipart(parts in vec(select(PARTS), 0..14)) {
        fuzzing::sip_multipart(&[b"multipart/mixed;boundary=a\n", parts.concat().as_slice()].concat());
    }

    /// The small parsers do not panic.
    #[test]
    fn any_text(text in any::<String>(), bytes in vec(any::<u8>(), 0..80)) {
        for input in [text.as_bytes(), &bytes] {
            fuzzing::sip_uri(input);
            fuzzing::stun(input);
        }
    }

    /// What a SIP URI was made of comes back out.
    #[test]
    fn sip_uris(
        user in proptest::option::of("[a-z0-9._~!$&'()*+,;=?/%-]{1,12}"),
        host in "[a-z0-9][a-z0-9.-]{0,12}",
        port in proptest::option::of(any::<u16>()),
        param in proptest::option::of("[a-z]{1,5}=[a-z0-9:]{1,5}"),
    ) {
        let at = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let colon = port.map(|port| format!(":{port}")).unwrap_or_default();
        let semicolon = param.as_ref().map(|param| format!(";{param}")).unwrap_or_default();
        let text = format!("sip:{at}{host}{colon}{semicolon}");
        let uri = Uri::parse(&text).expect("a well-formed URI");
        prop_assert_eq!((uri.user, uri.host, uri.port), (user.as_deref(), host.as_str(), port));
        prop_assert_eq!(uri.params().count(), usize::from(param.is_some()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// Mutations must not all be refused, or nothing above is tried.
    #[test]
    fn lightly_mutated_messages_often_parse(mutants in vec(mutated(), 200)) {
        let parsed = mutants.iter().filter(|bytes| Message::parse(Bytes::copy_from_slice(bytes)).is_ok()).count();
        prop_assert!((20..200).contains(&parsed), "{parsed} of 200");
    }
}
