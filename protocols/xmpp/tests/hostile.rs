//! What people send to make a parser work, swell or fall: the right condition, and next to no memory.

use edgeway_xmpp::limits::{KEPT_BYTES_MAX, OPEN_BYTES_MAX, STANZA_BYTES_MAX};
use edgeway_xmpp::{Boundary, Bounds, Condition, Scanner};

const HEADER: &str = "<stream:stream to='example.com' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// The two buffers grow by doubling.
const MEMORY_MAX: usize = size_of::<Scanner>() + 2 * 2 * OPEN_BYTES_MAX as usize;
const MEMORY_BETWEEN_MAX: usize = size_of::<Scanner>() + 2 * KEPT_BYTES_MAX as usize;

fn behind_a_header(bounds: Bounds) -> Scanner {
    let mut scanner = Scanner::new(bounds);
    let step = scanner.step(HEADER.as_bytes()).expect("a good header");
    assert_eq!(step.event, Some(Boundary::Header));
    scanner
}

/// Sends `pieces` until they end or are refused.
fn send(scanner: &mut Scanner, pieces: impl Iterator<Item = Vec<u8>>) -> Option<Condition> {
    for piece in pieces {
        let mut rest = piece.as_slice();
        while !rest.is_empty() {
            match scanner.step(rest) {
                Ok(step) => rest = &rest[step.consumed..],
                Err(fault) => return Some(fault.condition),
            }
            assert!(scanner.memory() <= MEMORY_MAX, "{} bytes", scanner.memory());
        }
    }
    None
}

/// What a stream gets that sends `head` once and then `more` up to a million times.
fn flood(head: &str, more: impl Fn(usize) -> String) -> Option<Condition> {
    let mut answers = Vec::new();
    for bounds in [Bounds::STRANGER, Bounds::SIGNED_IN] {
        let mut scanner = behind_a_header(bounds);
        let pieces = (0..1_000_000).map(|number| more(number).into_bytes());
        answers.push(send(&mut scanner, std::iter::once(head.as_bytes().to_vec()).chain(pieces)));
        assert!(scanner.memory() <= size_of::<Scanner>(), "a broken stream holds nothing");
    }
    assert_eq!(answers.first(), answers.last());
    answers.pop().flatten()
}

#[test]
fn floods_are_refused_at_their_bounds() {
    let policy = Some(Condition::PolicyViolation);
    assert_eq!(flood("<a", |number| format!(" a{number}=''")), policy, "70,000 attributes");
    assert_eq!(flood("", |_| "<a>".to_owned()), policy, "a million levels");
    assert_eq!(flood("<", |_| "a".repeat(100)), policy, "a long name");
    assert_eq!(flood("<", |_| "\u{e9}".repeat(50)), policy, "a long name beyond ASCII");
    assert_eq!(flood("<a ", |_| "a".repeat(100)), policy, "a long name of an attribute");
    assert_eq!(flood("<a", |number| format!(" xmlns:a{number}='urn:a'")), policy, "many prefixes");
    assert_eq!(flood("", |number| format!("<a xmlns:a{number}='urn:{number}'>")), policy, "many prefixes, one by one");
    assert_eq!(flood("<a xmlns:b='", |_| "urn:".repeat(100)), policy, "a long namespace");
    assert_eq!(flood("<a xmlns='", |_| "urn:".repeat(100)), policy, "a long namespace without a prefix");
    assert_eq!(flood("<a b='", |_| " ".repeat(1_000)), policy, "a long value");
    assert_eq!(flood("<a b='&#", |_| "0".repeat(1_000)), policy, "a long reference");
    assert_eq!(flood("<a", |_| " ".repeat(1_000)), policy, "white space in a tag");
    assert_eq!(flood("<a></a", |_| "\n".repeat(1_000)), policy, "white space in an end tag");
    assert_eq!(flood("<a>", |_| "]".repeat(1_000)), policy, "brackets");
    assert_eq!(flood("<a><![CDATA[", |_| "]]".repeat(1_000)), policy, "brackets in CDATA");
    assert_eq!(flood("<a>", |_| "<b/>".repeat(500)), policy, "elements without end");
    let long_names = |number: usize| format!("<{}{number}>", "a".repeat(200));
    assert_eq!(flood("", long_names), policy, "long names, one within another");
}

#[test]
fn a_gigabyte_of_text_holds_nothing() {
    const PIECE: usize = 64 * 1024;
    let mut scanner = behind_a_header(Bounds::SIGNED_IN);
    let text = vec![b'x'; PIECE];
    let mut passed = scanner.step(b"<message><body>").map_or(0, |step| step.consumed);
    let mut refused = 0;
    for _ in 0..1024 * 1024 * 1024 / PIECE {
        match scanner.step(&text) {
            Ok(step) => passed += step.consumed,
            Err(fault) => {
                assert_eq!(fault.condition, Condition::PolicyViolation);
                refused += PIECE;
            }
        }
        assert!(scanner.memory() <= MEMORY_BETWEEN_MAX);
    }
    assert!(passed <= STANZA_BYTES_MAX as usize && refused > 1_000_000_000, "{passed} passed, {refused} did not");
}

#[test]
fn what_is_allowed_holds_next_to_nothing_for_ever() {
    let mut scanner = behind_a_header(Bounds::SIGNED_IN);
    let message = "<message to='bob@example.com/phone' from='alice@example.com/desk' type='chat' id='5f3c2a91' xml:lang='en'>\
        <body>See you at ten, and bring the drawings.</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>\n";
    let mut memory = 0;
    for round in 0..10_000 {
        assert_eq!(send(&mut scanner, std::iter::once(message.as_bytes().to_vec())), None);
        assert!(scanner.between());
        if round == 0 {
            memory = scanner.memory();
        }
        assert_eq!(scanner.memory(), memory, "no message costs memory");
    }
    assert!(memory <= 448, "{memory} bytes between messages");
    // The largest there may be, and back.
    let deep =
        ["<element-with-a-name-of-some-length>".repeat(120), "</element-with-a-name-of-some-length>".repeat(120)];
    assert_eq!(send(&mut scanner, deep.into_iter().map(String::into_bytes)), None);
    assert!(scanner.between() && scanner.memory() <= MEMORY_BETWEEN_MAX, "{} bytes", scanner.memory());
    // White space is no element: as much as anybody likes.
    assert_eq!(send(&mut scanner, std::iter::repeat_n(vec![b' '; 4096], 1_000)), None);
    assert!(scanner.between());
}

#[test]
fn what_comes_before_a_header_is_bounded() {
    let condition = |text: &str, more: &str| {
        let mut scanner = Scanner::new(Bounds::STRANGER);
        let pieces = std::iter::once(text).chain(std::iter::repeat_n(more, 100_000));
        send(&mut scanner, pieces.map(|piece| piece.as_bytes().to_vec()))
    };
    assert_eq!(condition("<?xml ", " "), Some(Condition::PolicyViolation));
    assert_eq!(condition("<?xml version='1.0'?>", "\n"), Some(Condition::PolicyViolation));
    assert_eq!(condition("<stream:stream ", " "), Some(Condition::PolicyViolation));
    assert_eq!(condition("<stream:stream to='", "a"), Some(Condition::PolicyViolation));
    assert_eq!(condition("<!--", "a"), Some(Condition::RestrictedXml));
}

/// The classes of bombs that parsers of XML are tried with.
const BOMBS: [&str; 12] = [
    // Entities that grow by powers, by squares, and for ever.
    "<!DOCTYPE xmlbomb [\n<!ENTITY a \"1234567890\" >\n<!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">\n<!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">\n]>\n<bomb>&c;</bomb>",
    "<!DOCTYPE bomb [<!ENTITY a \"BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB\">]><bomb>&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;</bomb>",
    "<!DOCTYPE xmlbomb [\n<!ENTITY a \"123 &b;\" >\n<!ENTITY b \"&a;\">\n]>\n<bomb>&a;</bomb>",
    "<!DOCTYPE bomb [<!ENTITY % a '&#37;b;'><!ENTITY % b '&#37;a;'> %a;]><bomb/>",
    // Entities and document types from elsewhere.
    "<!DOCTYPE external [\n<!ENTITY ee SYSTEM \"http://example.com/note.xml\">\n]>\n<root>&ee;</root>",
    "<!DOCTYPE external [\n<!ENTITY ee SYSTEM \"file:///etc/passwd\">\n]>\n<root>&ee;</root>",
    "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n  \"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n<html/>",
    "<!DOCTYPE a [<!ATTLIST a b CDATA 'c'>]><a/>",
    // What is harmless elsewhere.
    "<!-- comment -->\n<root><element key='value'>text</element>tail</root>",
    "<?pi data?>\n<root xmlns='namespace'/>",
    "<![INCLUDE[<a/>]]>",
    "<!ELEMENT a ANY>",
];

#[test]
fn bombs_are_refused_before_and_within_a_stream() {
    for bomb in BOMBS {
        for piece in [1, 7, bomb.len()] {
            let pieces = || bomb.as_bytes().chunks(piece).map(<[u8]>::to_vec);
            let expected = if bomb.starts_with("<![") { Condition::NotWellFormed } else { Condition::RestrictedXml };
            assert_eq!(send(&mut Scanner::new(Bounds::STRANGER), pieces()), Some(expected), "{bomb}");
            let mut scanner = behind_a_header(Bounds::SIGNED_IN);
            let expected = if bomb.starts_with("<![") { Condition::BadFormat } else { Condition::RestrictedXml };
            assert_eq!(send(&mut scanner, pieces()), Some(expected), "{bomb}");
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "this test reads files that are not part of the repository")]
fn bombs_of_others_where_they_are_at_hand() {
    let Ok(folder) = std::env::var("EDGEWAY_EXTRA_DATA") else {
        println!("EDGEWAY_EXTRA_DATA is not set: the bombs of others are not tried");
        return;
    };
    let entries =
        std::fs::read_dir(std::path::Path::new(&folder).join("xmlbombs")).expect("EDGEWAY_EXTRA_DATA has xmlbombs");
    let mut count = 0;
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        let bomb = std::fs::read(&path).expect("a readable file");
        let condition = send(&mut Scanner::new(Bounds::STRANGER), std::iter::once(bomb));
        assert_eq!(condition, Some(Condition::RestrictedXml), "{}", path.display());
        count += 1;
    }
    assert!(count >= 8, "{count} bombs");
}
