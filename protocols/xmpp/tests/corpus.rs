//! The committed fuzz corpora, replayed by a stable compiler; and the same bodies with random input.

use std::path::Path;

use edgeway_xmpp::fuzzing;
use proptest::prelude::*;

#[expect(clippy::disallowed_methods, reason = "the corpora are files beside the source")]
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).expect("the folder is committed");
    let mut count = 0;
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        run(&std::fs::read(&path).expect("a readable file"));
        count += 1;
    }
    assert!(count > 3, "{} holds a corpus", folder.display());
}

#[test]
fn streams() {
    replay("xmpp_scan", fuzzing::xmpp_scan);
}

#[test]
fn elements() {
    replay("xmpp_element", fuzzing::xmpp_element);
}

#[test]
fn sessions() {
    replay("xmpp_router", fuzzing::xmpp_router);
}

const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// Pieces of elements, and what has confused parsers elsewhere.
fn piece() -> impl Strategy<Value = String> {
    let good = [
        "<a>",
        "</a>",
        "<b/>",
        "text",
        " ",
        "<a b='c'>",
        "&amp;",
        "<![CDATA[",
        "]]>",
        "\u{e9}",
        "<a b='",
        "0123456789abcdef",
        "<p:q xmlns:p='urn:p'>",
        "</p:q>",
    ];
    let odd =
        ["<", ">", "'", "]", "&", "<!--", "<?", "xmlns:", ":", "=", "</", "\u{fffe}", "\0", HEADER, "</stream:stream>"];
    let of = |words: &[&str]| proptest::sample::select(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    prop_oneof![8 => of(&good), 1 => of(&odd)]
}

/// A sign-in that goes well, step by step.
const SESSION: [&[u8]; 9] = [
    b"C\x01\0o\0S\x01\x02\0",
    b"S\x06\0t\0S\x01\x03\0",
    b"C\x03\0",
    b"p\0",
    b"S\x07\0",
    b"C\x07\0",
    b"S\x08\0",
    b"C\x01\x0a\0",
    b"S\x01\x05\x0e\0",
];

/// Something that happens to a session.
fn command() -> impl Strategy<Value = Vec<u8>> {
    let with = |letter: u8| {
        move |mut numbers: Vec<u8>| {
            numbers.insert(0, letter);
            numbers.push(0);
            numbers
        }
    };
    let numbers = || proptest::collection::vec(1_u8..=22, 1..4);
    let short = proptest::sample::select(b"otgprwed".to_vec()).prop_map(|letter| vec![letter, 0]);
    prop_oneof![
        4 => numbers().prop_map(with(b'C')),
        4 => numbers().prop_map(with(b'S')),
        1 => numbers().prop_map(with(b'p')),
        1 => numbers().prop_map(with(b'w')),
        4 => short,
    ]
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        fuzzing::xmpp_scan(&bytes);
        fuzzing::xmpp_element(&bytes);
    }

    #[test]
    fn any_stream(size in 1_u8..40, pieces in proptest::collection::vec(piece(), 0..16)) {
        let inside = pieces.concat();
        fuzzing::xmpp_scan(&[&[size], HEADER.as_bytes(), inside.as_bytes()].concat());
        fuzzing::xmpp_element(inside.as_bytes());
    }

    #[test]
    fn any_session(piece in 1_u8..=255, good in 0..9_usize, commands in proptest::collection::vec(command(), 0..30)) {
        let good = SESSION.get(..good).unwrap_or_default().concat();
        fuzzing::xmpp_router(&[&[piece], good.as_slice(), &commands.concat()].concat());
    }

    /// What is written of a text reads as that text, whatever it is.
    #[test]
    fn any_text(text in "\\PC{0,30}|[\\x09\\x0a\\x0d\\x20-\\x7e]{0,30}") {
        let element = edgeway_xmpp::Element::new("a", "urn:a").with("b", &text).with_text(&text);
        let read = edgeway_xmpp::Element::parse(element.to_xml().as_bytes()).expect("what we write is well-formed");
        prop_assert_eq!(read.attribute("b"), Some(text.as_str()));
        prop_assert_eq!(read.text.as_str(), text.as_str());
    }
}
