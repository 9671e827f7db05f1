//! One stream that carries everything, cut everywhere: the elements stay the same.

use bytes::Bytes;
use edgeway_sip::limits::MESSAGE_BYTES_MAX;
use edgeway_sip::{Element, Framer, FramingFault, FramingReason, Message, Stun, stun};

const REGISTER: &[u8] = include_bytes!("torture/valid-vendor-register.sip");
const MULTIPART: &[u8] = include_bytes!("torture/valid-binary-multipart.sip");

type Elements = (Vec<Element>, Option<FramingFault>);

fn drain(framer: &mut Framer, found: &mut Elements) {
    loop {
        match framer.next() {
            Ok(Some(element)) => found.0.push(element),
            Ok(None) => return,
            Err(fault) => found.1 = Some(fault),
        }
    }
}

fn elements<'a>(framer: Framer, pushes: impl IntoIterator<Item = &'a [u8]>) -> (Elements, Framer) {
    let mut framer = framer;
    let mut found = (Vec::new(), None);
    for push in pushes {
        framer.push(Bytes::copy_from_slice(push));
        drain(&mut framer, &mut found);
    }
    (found, framer)
}

fn framer() -> Framer {
    Framer::new(MESSAGE_BYTES_MAX)
}

/// SIP, STUN and CR LF interleaved, with bodies that look like all three.
fn mixed() -> Vec<u8> {
    let keepalive = stun::binding_request(*b"0123456789ab");
    let stun = Stun::parse(&keepalive).expect("our own request");
    let answer = stun.success("203.0.113.7:58980".parse().expect("an address"));
    [
        &b"\r\n\r\n"[..],
        REGISTER,
        &keepalive,
        MULTIPART,
        b"\r\n",
        &answer,
        b"\r\n\r\n\r\n",
        REGISTER,
        b"\r\n\r\n",
        &keepalive,
    ]
    .concat()
}

#[test]
fn every_element_is_found() {
    let ((found, fault), framer) = elements(framer(), [&mixed()[..]]);
    let kinds: Vec<_> = found
        .iter()
        .map(|element| match element {
            Element::Message(bytes) => Message::parse(bytes.clone()).expect("valid").method().map_or(0, str::len),
            Element::Ping => 100,
            Element::Pong => 101,
            Element::Stun(bytes) => 200 + usize::from(Stun::parse(bytes).is_ok()),
        })
        .collect();
    assert_eq!(kinds, [100, 8, 201, 7, 101, 201, 100, 101, 8, 100, 201]);
    assert_eq!(fault, None);
    assert!(framer.is_idle());
}

#[test]
fn cut_at_every_byte() {
    let bytes = mixed();
    let whole = elements(framer(), [&bytes[..]]).0;
    for at in 0..=bytes.len() {
        assert_eq!(elements(framer(), [&bytes[..at], &bytes[at..]]).0, whole, "cut at {at}");
    }
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(elements(framer(), bytes.chunks(size)).0, whole, "chunks of {size}");
    }
}

#[test]
fn cut_in_two_places() {
    let keepalive = stun::binding_request(*b"0123456789ab");
    let options: &[u8] = include_bytes!("torture/ipv6-reference.sip");
    let bytes = [&b"\r\n\r\n\r\n"[..], options, b"\r\n", &keepalive, b"\r\n\r\n", &options[..40]].concat();
    let whole = elements(framer(), [&bytes[..]]).0;
    for first in 0..bytes.len() {
        for second in (first..bytes.len()).step_by(5) {
            let found = elements(framer(), [&bytes[..first], &bytes[first..second], &bytes[second..]]).0;
            assert_eq!(found, whole, "cut at {first} and {second}");
        }
    }
}

#[test]
fn faults_do_not_depend_on_the_cut() {
    let huge = [&b"OPTIONS sip:h SIP/2.0\r\nX: "[..], &[b'x'; 3000]].concat();
    // Found by fuzzing: a loose blank line behind the bound must not be seen before the bound is.
    let huge_then_loose = [&huge[..], b"\n\n"].concat();
    let cases: [(&[u8], FramingReason); 10] = [
        (include_bytes!("torture/bad-content-length-missing.sip"), FramingReason::NoContentLength),
        (include_bytes!("torture/bad-content-length-negative.sip"), FramingReason::BadContentLength),
        (include_bytes!("torture/bad-content-length-wraps.sip"), FramingReason::TooLarge),
        (include_bytes!("torture/bad-bare-lf-only.sip"), FramingReason::Garbage),
        (&huge, FramingReason::TooLarge),
        (&huge_then_loose, FramingReason::TooLarge),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", FramingReason::Garbage),
        (b"\r\r\n", FramingReason::Garbage),
        (b"\x00\x01\x00\x00\x21\x12\xa4\x43", FramingReason::Garbage),
        (b"\x00\x01\xff\xfc\x21\x12\xa4\x42", FramingReason::TooLarge),
    ];
    for (bytes, reason) in cases {
        let bytes = [&b"\r\n\r\n"[..], bytes, b"\r\n\r\n"].concat();
        let whole = elements(Framer::new(2048), [&bytes[..]]).0;
        assert_eq!(whole.1.as_ref().map(|fault| fault.reason), Some(reason));
        assert_eq!(whole.0, [Element::Ping], "nothing comes after a fault");
        for at in 0..=bytes.len() {
            assert_eq!(elements(Framer::new(2048), [&bytes[..at], &bytes[at..]]).0, whole, "cut at {at}");
        }
    }
}

#[test]
fn an_idle_framer_holds_nothing_and_a_half_ping_is_idle() {
    let (found, framer) = elements(framer(), [&b"\r\n"[..]]);
    assert_eq!((found.0, framer.is_idle(), framer.buffered()), (vec![], true, 0));
    let (found, framer) = elements(framer, [&b"\r\n"[..]]);
    assert_eq!((found.0, framer.is_idle()), (vec![Element::Ping], true));
    let (_, framer) = elements(framer, [&b"OPTIONS"[..]]);
    assert_eq!((framer.is_idle(), framer.buffered()), (false, 7));
}

#[test]
fn a_side_that_dialled_sees_each_pong_at_once() {
    let dialled = Framer::dialled(MESSAGE_BYTES_MAX);
    let (found, framer) = elements(dialled, [&b"\r\n"[..], b"\r", b"\n\r\n"]);
    assert_eq!(found.0, [Element::Pong, Element::Pong, Element::Pong]);
    assert!(framer.is_idle());
}

#[test]
fn messages_within_one_push_are_not_copied() {
    let bytes = Bytes::from(mixed());
    let range = bytes.as_ptr_range();
    let mut framer = framer();
    framer.push(bytes.clone());
    while let Ok(Some(element)) = framer.next() {
        if let Element::Message(message) = element {
            assert!(range.contains(&message.as_ptr()));
        }
    }
}

#[test]
fn many_small_pushes_cost_little() {
    // 64 KiB byte by byte: quadratic searching would take minutes in a debug build.
    let body = vec![b'x'; 60_000];
    let head = format!(
        "{}{}\r\n\r\n",
        String::from_utf8_lossy(MULTIPART).split("Content-Length").next().expect("a head"),
        "l: 60000"
    );
    let bytes = [head.as_bytes(), &body].concat();
    let (found, _) = elements(framer(), bytes.chunks(1));
    assert_eq!(found.0, [Element::Message(Bytes::from(bytes))]);
}
