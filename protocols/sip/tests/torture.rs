//! Messages written after the classes of RFC 4475 and RFC 5118 (own names and addresses, the same
//! defects), each with the verdict an edge must give; and, where they are at hand, the RFCs' own
//! files.

use std::path::Path;

use bytes::Bytes;
use edgeway_sip::limits::MESSAGE_BYTES_MAX;
use edgeway_sip::{Element, Framer, Message, Name, check_request};

/// What a stream with these bytes leads to, element by element. A request that is refused must
/// carry its answer; the table names the status and the field the Warning names.
fn outcomes(bytes: &[u8]) -> Vec<String> {
    let mut framer = Framer::new(MESSAGE_BYTES_MAX);
    framer.push(Bytes::copy_from_slice(bytes));
    let mut found = Vec::new();
    loop {
        match framer.next() {
            Ok(Some(Element::Message(message))) => found.push(outcome(message)),
            Ok(Some(Element::Ping | Element::Pong)) => {}
            Ok(Some(Element::Stun(_))) => found.push("stun".to_owned()),
            Ok(None) if framer.is_idle() => break,
            Ok(None) => {
                found.push("waits".to_owned());
                break;
            }
            Err(fault) => {
                let answer = fault.reply.as_ref().map_or("no answer".to_owned(), answered);
                found.push(format!("close, {answer}"));
                break;
            }
        }
    }
    found
}

fn outcome(bytes: Bytes) -> String {
    let message = match Message::parse(bytes.clone()) {
        Ok(message) => message,
        Err(fault) => return fault.reply.map_or("dropped".to_owned(), |reply| answered(&reply)),
    };
    assert_eq!(message.bytes(), &bytes, "the framer and the parser agree on the length");
    assert_eq!(message.edit().finish(), bytes, "an edit without changes is byte-exact");
    match check_request(&message) {
        Ok(()) if message.is_request() => "accept".to_owned(),
        Ok(()) => "response".to_owned(),
        Err(refusal) => {
            refusal.respond(&message, "t1", "192.0.2.1:5061").map_or("dropped".to_owned(), |it| answered(&it))
        }
    }
}

/// The status and the field named in the Warning of an answer, which itself must be a message.
fn answered(reply: &Bytes) -> String {
    let text = String::from_utf8_lossy(reply).into_owned();
    let status = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let warning = text.lines().find_map(|line| line.strip_prefix("Warning: 399 ")).expect("a Warning");
    let (_, quoted) = warning.split_once(" \"").expect("a quoted text");
    let field = quoted.split(':').next().unwrap_or_default();
    assert!(text.contains("\r\nContent-Length: 0\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\n") && !text.replace("\r\n", "").contains(['\r', '\n']), "{text:?}");
    format!("{status} {field}")
}

macro_rules! torture {
    ($($file:literal => [$($verdict:literal),*]),+ $(,)?) => {
        [$(($file, &include_bytes!(concat!("torture/", $file, ".sip"))[..], &[$($verdict),*][..])),+]
    };
}

#[test]
fn own_messages() {
    let table = torture! {
        // Valid, however odd (RFC 4475 §3.1.1).
        "valid-white-space-everywhere" => ["accept"],
        "valid-every-character" => ["accept"],
        "valid-escaped-characters" => ["accept"],
        "valid-escaped-nul" => ["accept"],
        "valid-escapes-that-are-none" => ["accept"],
        "valid-no-space-after-display-name" => ["accept"],
        "valid-long-values" => ["accept"],
        "valid-semicolon-in-user" => ["accept"],
        "valid-unknown-transports" => ["accept"],
        "valid-binary-multipart" => ["accept"],
        "valid-two-in-one-stream" => ["accept", "accept"],
        "valid-vendor-register" => ["accept"],
        "valid-not-utf8" => ["accept"],
        "valid-contact-with-headers-bracketed" => ["accept"],
        "valid-contact-parameter-outside" => ["accept"],
        "valid-contact-parameter-inside" => ["accept"],
        "valid-contact-star" => ["accept"],
        "valid-date-in-other-zone" => ["accept"],
        // Responses: never answered.
        "response-unusual-reason" => ["response"],
        "response-no-reason" => ["response"],
        "response-broadcast-via" => ["response"],
        "response-huge-numbers" => ["dropped"],
        "response-huge-status" => ["dropped"],
        "response-other-version" => ["dropped"],
        // Malformed (§3.1.2): told why; the stream goes on where framing allows.
        "bad-via-and-contact-separators" => ["400 Via"],
        "bad-content-length-negative" => ["close, 400 Content-Length"],
        "bad-content-length-plus" => ["close, 400 Content-Length"],
        "bad-content-length-twice-different" => ["close, 400 Content-Length"],
        "bad-content-length-twice-equal" => ["400 Content-Length"],
        "bad-content-length-wraps" => ["close, 413 message"],
        "bad-content-length-missing" => ["close, 400 Content-Length"],
        "waits-content-length-too-long" => ["waits"],
        "bad-numbers-overflow" => ["400 CSeq"],
        "bad-max-forwards-range" => ["400 Max-Forwards"],
        "bad-max-forwards-sign" => ["400 Max-Forwards"],
        "bad-quote-unbalanced" => ["400 To"],
        "bad-uri-in-brackets" => ["400 Request-URI"],
        "bad-uri-with-space" => ["400 Request-URI"],
        "bad-start-line-double-space" => ["400 Request-URI"],
        "bad-start-line-trailing-space" => ["400 start line"],
        "bad-start-line-tab" => ["400 start line"],
        "bad-method-not-token" => ["400 start line"],
        "bad-cseq-mismatch" => ["400 CSeq"],
        "bad-cseq-mismatch-unknown-method" => ["400 CSeq"],
        "bad-cseq-no-method" => ["400 CSeq"],
        "bad-missing-mandatory" => ["400 From"],
        "bad-missing-via" => ["400 Via"],
        "bad-missing-cseq" => ["400 CSeq"],
        "bad-repeated-single-fields" => ["400 CSeq"],
        "bad-uri-with-headers" => ["400 Request-URI"],
        "bad-branch-only-cookie" => ["400 Via"],
        "bad-contact-with-headers-unbracketed" => ["400 Contact"],
        "bad-space-in-brackets" => ["400 To"],
        "bad-comma-in-plain-display-name" => ["400 From"],
        "bad-line-without-colon" => ["400 message"],
        "bad-header-name" => ["400 message"],
        "bad-first-line-folded" => ["400 start line"],
        "bad-call-id-space" => ["400 Call-ID"],
        "bad-from-star" => ["400 From"],
        "bad-nul-in-header" => ["400 message"],
        "bad-nul-in-quotes" => ["400 message"],
        "bad-bare-lf-hides-a-line" => ["400 message"],
        "bad-bare-cr-hides-a-line" => ["400 message"],
        "bad-bare-lf-only" => ["close, 400 message"],
        // Well-formed, not acceptable (§3.3).
        "version-unknown" => ["505 Request line"],
        "scheme-unknown" => ["416 Request-URI"],
        "scheme-with-authority" => ["416 Request-URI"],
        "scheme-unknown-in-register" => ["400 To"],
        "scheme-tel" => ["accept"],
        "scheme-emergency" => ["accept"],
        "extension-required" => ["420 Proxy-Require"],
        "extension-required-of-far-end" => ["accept"],
        "body-of-unknown-type" => ["accept"],
        "no-hops-left" => ["483 Max-Forwards"],
        "accepts-nothing-known" => ["accept"],
        "authorization-unknown-scheme" => ["accept"],
        // RFC 5118.
        "ipv6-reference" => ["accept"],
        "ipv6-without-brackets" => ["400 Request-URI"],
        "ipv6-port-inside" => ["accept"],
        "ipv6-port-outside" => ["accept"],
        "ipv6-received-plain" => ["accept"],
        "ipv6-received-bracketed" => ["accept"],
        "ipv6-in-sdp" => ["accept"],
        "ipv6-mixed-vias" => ["accept"],
        "ipv6-mixed-sdp" => ["accept"],
        "ipv6-mapped-ipv4" => ["accept"],
        "ipv6-three-colons" => ["accept"],
        "ipv6-two-colons" => ["accept"],
    };
    let wrong: Vec<_> = table
        .iter()
        .map(|(file, bytes, expected)| (file, outcomes(bytes), expected))
        .filter(|(_, found, expected)| found != *expected)
        .map(|(file, found, expected)| format!("{file}: found {found:?}, expected {expected:?}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn parse(bytes: &'static [u8]) -> Message {
    Message::parse(Bytes::from_static(bytes)).expect("a valid message")
}

/// What the odd but valid ones say must be understood, not merely let through.
#[test]
fn odd_spellings_are_understood() {
    let message = parse(include_bytes!("torture/valid-white-space-everywhere.sip"));
    assert_eq!(message.to().uri, "sip:helpdesk@pbx.example");
    assert_eq!((message.from_tag(), message.to_tag()), (Some("k1"), Some("h-77")));
    assert_eq!(message.cseq(), (17, "INVITE"));
    assert_eq!(message.max_forwards(), Some(42));
    assert_eq!(message.via_count(), 3);
    let vias: Vec<_> = message.vias().map(|via| (via.transport, via.host, via.branch())).collect();
    assert_eq!(vias[1], ("TCP", "inner.example", Some("z9hG4bK-ws2")));
    assert_eq!(vias[2], ("UDP", "198.51.100.9", Some("z9hG4bK-ws3")));
    assert!(message.has_sdp());
    let contact = message.contacts().next().expect("a contact");
    assert_eq!((contact.param("fresh"), contact.param("q")), (Some(Some("yes")), Some(Some("0.25"))));
    assert_eq!(message.other("subject"), Some(&b""[..]));
    assert_eq!(message.routes().next().and_then(|route| route.parsed_uri()?.param("plain")), Some(None));

    let message = parse(include_bytes!("torture/valid-every-character.sip"));
    let uri = message.parsed_request_uri().expect("a sip URI");
    assert_eq!(uri.host, "pbx.example");
    assert_eq!(message.from().display, Some("plain1~`  words2'+_  more3*%!.-"));

    let message = parse(include_bytes!("torture/valid-long-values.sip"));
    assert_eq!(message.via_count(), 37);

    let message = parse(include_bytes!("torture/valid-vendor-register.sip"));
    let contact = message.contacts().next().expect("a contact");
    assert_eq!(contact.param("+u.sip!devicename.ccm.cisco.com"), Some(Some("CSFKAI")));
    assert_eq!(contact.param("video"), Some(None));

    let message = parse(include_bytes!("torture/valid-not-utf8.sip"));
    assert_eq!(message.from().display, None);
    assert_eq!(message.other("X-Free"), Some(&b"\xf6 text"[..]));

    let message = parse(include_bytes!("torture/ipv6-received-bracketed.sip"));
    assert_eq!(message.top_via().received(), Some("2001:db8:5::9"));
    let message = parse(include_bytes!("torture/ipv6-port-inside.sip"));
    assert_eq!(message.parsed_request_uri().and_then(|uri| uri.port), None);
    let message = parse(include_bytes!("torture/ipv6-three-colons.sip"));
    let uri = message.parsed_request_uri().expect("a sip URI");
    assert_eq!(uri.host_ip(), "2001:db8::198.51.100.7".parse().ok());
}

#[test]
fn refusals_name_what_is_unsupported() {
    let message = parse(include_bytes!("torture/extension-required.sip"));
    let refusal = check_request(&message).expect_err("refused");
    assert_eq!(refusal.header, Some((Name::Unsupported, "telepathy, levitation".to_owned())));
    let answer = Message::parse(refusal.respond(&message, "t9", "192.0.2.1:5061").expect("an answer")).expect("valid");
    assert_eq!((answer.status(), answer.to_tag()), (Some(420), Some("t9")));
    assert_eq!(answer.header(Name::Unsupported), Some(&b"telepathy, levitation"[..]));
}

/// Verdicts for the files of the RFCs, after the project's table: any listed one will do.
const RFC_FILES: &[(&str, &[&[&str]])] = &[
    ("rfc4475/wsinv.dat", &[&["accept"]]),
    ("rfc4475/intmeth.dat", &[&["accept"]]),
    ("rfc4475/esc01.dat", &[&["accept"]]),
    ("rfc4475/escnull.dat", &[&["accept"]]),
    ("rfc4475/esc02.dat", &[&["accept"]]),
    ("rfc4475/lwsdisp.dat", &[&["accept"]]),
    ("rfc4475/longreq.dat", &[&["accept"]]),
    ("rfc4475/semiuri.dat", &[&["accept"]]),
    ("rfc4475/transports.dat", &[&["accept"]]),
    ("rfc4475/mpart01.dat", &[&["accept"]]),
    ("rfc4475/dblreq.dat", &[&["accept", "accept"]]),
    ("rfc4475/cparam01.dat", &[&["accept"]]),
    ("rfc4475/cparam02.dat", &[&["accept"]]),
    ("rfc4475/regescrt.dat", &[&["accept"]]),
    ("rfc4475/unreason.dat", &[&["response"]]),
    ("rfc4475/noreason.dat", &[&["response"]]),
    ("rfc4475/bcast.dat", &[&["response"]]),
    ("rfc4475/scalarlg.dat", &[&["dropped"]]),
    ("rfc4475/bigcode.dat", &[&["dropped"]]),
    ("rfc4475/badinv01.dat", &[&["400 Via"]]),
    ("rfc4475/ncl.dat", &[&["close, 400 Content-Length"]]),
    ("rfc4475/mcl01.dat", &[&["close, 400 Content-Length"]]),
    ("rfc4475/inv2543.dat", &[&["close, 400 Content-Length"]]),
    ("rfc4475/scalar02.dat", &[&["400 CSeq"], &["400 Max-Forwards"]]),
    ("rfc4475/quotbal.dat", &[&["400 To"]]),
    ("rfc4475/ltgtruri.dat", &[&["400 Request-URI"]]),
    ("rfc4475/lwsruri.dat", &[&["400 Request-URI"]]),
    ("rfc4475/lwsstart.dat", &[&["400 Request-URI"]]),
    ("rfc4475/mismatch01.dat", &[&["400 CSeq"]]),
    ("rfc4475/mismatch02.dat", &[&["400 CSeq"]]),
    ("rfc4475/insuf.dat", &[&["400 From"]]),
    ("rfc4475/multi01.dat", &[&["400 CSeq"]]),
    ("rfc4475/escruri.dat", &[&["400 Request-URI"]]),
    ("rfc4475/trws.dat", &[&["400 start line"]]),
    ("rfc4475/badbranch.dat", &[&["400 Via"]]),
    ("rfc4475/regbadct.dat", &[&["400 Contact"]]),
    ("rfc4475/badaspec.dat", &[&["400 To"]]),
    ("rfc4475/baddn.dat", &[&["400 From"]]),
    // The RFC allows liberal acceptance, and nothing here reads Date.
    ("rfc4475/baddate.dat", &[&["accept"]]),
    ("rfc4475/badvers.dat", &[&["505 Request line"]]),
    ("rfc4475/unkscm.dat", &[&["416 Request-URI"]]),
    ("rfc4475/novelsc.dat", &[&["416 Request-URI"]]),
    ("rfc4475/unksm2.dat", &[&["400 To"]]),
    ("rfc4475/bext01.dat", &[&["420 Proxy-Require"]]),
    ("rfc4475/invut.dat", &[&["accept"]]),
    ("rfc4475/zeromf.dat", &[&["483 Max-Forwards"]]),
    ("rfc4475/sdp01.dat", &[&["accept"]]),
    ("rfc4475/regaut01.dat", &[&["accept"]]),
    ("rfc4475/clerr.dat", &[&["waits"]]),
    ("rfc5118/ipv6-good", &[&["accept"]]),
    ("rfc5118/ipv6-bad", &[&["400 Request-URI"]]),
    ("rfc5118/port-ambiguous", &[&["accept"]]),
    ("rfc5118/port-unambiguous", &[&["accept"]]),
    ("rfc5118/via-received-param-with-delim", &[&["accept"]]),
    ("rfc5118/via-received-param-no-delim", &[&["accept"]]),
    ("rfc5118/ipv6-in-sdp", &[&["accept"]]),
    ("rfc5118/mult-ip-in-header", &[&["accept"]]),
    ("rfc5118/mult-ip-in-sdp", &[&["accept"]]),
    ("rfc5118/ipv4-mapped-ipv6", &[&["accept"]]),
    ("rfc5118/ipv6-bug-abnf-3-colons", &[&["accept"]]),
    ("rfc5118/ipv6-correct-abnf-2-colons", &[&["accept"]]),
];

#[test]
#[expect(clippy::disallowed_methods, reason = "this test reads files that are not part of the repository")]
fn rfc_messages_where_they_are_at_hand() {
    let Ok(folder) = std::env::var("EDGEWAY_EXTRA_DATA") else {
        println!("EDGEWAY_EXTRA_DATA is not set: the files of RFC 4475 and RFC 5118 are not tried");
        return;
    };
    let folder = Path::new(&folder);
    let mut wrong = Vec::new();
    for (file, expected) in RFC_FILES {
        // The RFC 5118 files come with and without an ending.
        let path = [folder.join(file), folder.join(format!("{file}.dat"))].into_iter().find(|path| path.is_file());
        let path = path.unwrap_or_else(|| panic!("{file} is missing from EDGEWAY_EXTRA_DATA"));
        let mut bytes = std::fs::read(path).expect("a readable file");
        if !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
            // Two of RFC 5118 end without their empty line.
            bytes.extend_from_slice(b"\r\n");
        }
        let found = outcomes(&bytes);
        // Some bodies are longer than their Content-Length says: what is left over on the stream may
        // wait or be given up on, but not answered as if it were a request.
        let rest_is_silent = |rest: &[String]| rest.iter().all(|it| it == "waits" || it == "close, no answer");
        let fits = |expected: &[&str]| {
            found.len() >= expected.len()
                && found.iter().zip(expected).all(|(found, expected)| found == expected)
                && rest_is_silent(&found[expected.len()..])
        };
        if !expected.iter().any(|expected| fits(expected)) {
            wrong.push(format!("{file}: found {found:?}, expected one of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} files of RFC 4475 and RFC 5118 tried", RFC_FILES.len());
}
