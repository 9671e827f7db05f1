//! What is hostile: each class as what is harmless of it, and what is too much; and what is odd, and no offence.

use edgeway_runtime::chat::limits::STRANGER_BYTES_MAX;
use edgeway_xmpp::limits::{
    ATTRIBUTES_MAX, DEPTH_MAX, HEADER_BYTES_MAX, NAME_BYTES_MAX, PLAIN_BYTES_MAX, PREFIXES_MAX, STANZA_BYTES_MAX,
    STRANGER_DEPTH_MAX,
};

use super::talk::header;

/// What goes without end goes on for so long.
const GIBIBYTE: usize = 1 << 30;
/// What is said at once.
const PIECE_BYTES: usize = 16 * 1024;

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before TLS.
    Outside,
    /// Inside TLS, before sign-in: a core and a server are there.
    SignIn,
    /// Signed in.
    SignedIn,
}

impl Stage {
    pub(super) const ALL: [Self; 3] = [Self::Outside, Self::SignIn, Self::SignedIn];

    /// As tables and files have it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Outside => "before TLS",
            Self::SignIn => "before sign-in",
            Self::SignedIn => "signed in",
        }
    }

    /// Bytes an element may have here, all that came before counted as the edge does.
    fn room(self) -> usize {
        match self {
            Self::Outside => PLAIN_BYTES_MAX.saturating_sub(header().len()),
            Self::SignIn => usize::try_from(STRANGER_BYTES_MAX).unwrap_or(0).saturating_sub(header().len()),
            Self::SignedIn => STANZA_BYTES_MAX as usize,
        }
    }

    /// Elements that may be open below the stream.
    fn levels(self) -> usize {
        usize::from(if self == Self::SignedIn { DEPTH_MAX } else { STRANGER_DEPTH_MAX }) - 1
    }
}

/// Where in a stream something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Where the header is due.
    Header,
    /// Behind it, where an element may begin.
    Element,
}

/// What is too much: bytes, then others again and again.
#[derive(Clone, Debug, Default)]
pub(super) struct Offence {
    first: Vec<u8>,
    again: Vec<u8>,
    times: usize,
}

impl Offence {
    fn text(first: impl Into<Vec<u8>>) -> Self {
        Self { first: first.into(), ..Self::default() }
    }

    fn flood(again: &str, bytes: usize) -> Self {
        let again = again.repeat((PIECE_BYTES / again.len()).max(1)).into_bytes();
        Self { first: Vec::new(), times: bytes / again.len() + 1, again }
    }

    /// Pieces to be said one after the other.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Vec<u8>> {
        let first = self.first.chunks(PIECE_BYTES).map(<[u8]>::to_vec);
        first.chain(std::iter::repeat_n(&self.again, self.times).cloned())
    }

    /// Whether a client may still be saying it when it is told.
    pub(super) const fn is_long(&self) -> bool {
        self.times > 1
    }
}

/// A class of hostile streams.
#[derive(Clone, Debug)]
pub(super) struct Class {
    pub(super) name: &'static str,
    pub(super) place: Place,
    /// What comes first, and may go on to a server.
    pub(super) harmless: Vec<u8>,
    /// Its first byte, or one soon after it, is one too many; none of it may go on.
    pub(super) offence: Offence,
    /// The stream error it deserves.
    pub(super) deserves: &'static str,
}

const RESTRICTED: &str = "restricted-xml";
const MALFORMED: &str = "not-well-formed";
const ENCODING: &str = "unsupported-encoding";
const POLICY: &str = "policy-violation";
const FORMAT: &str = "bad-format";
const NAMESPACE: &str = "invalid-namespace";

/// Short ones, where an element may begin: a name, what is harmless, what is not, and the error.
const SHORT: &[(&str, &[u8], &[u8], &str)] = &[
    ("comment", b"", b"<!-- x -->", RESTRICTED),
    ("comment in a stanza", b"<message><body>x", b"<!-- x --></body></message>", RESTRICTED),
    ("processing instruction", b"", b"<?php x?>", RESTRICTED),
    ("second XML declaration", b"", b"<?xml version='1.0'?>", RESTRICTED),
    ("document type", b"", b"<!DOCTYPE a SYSTEM 'http://example.com/a.dtd'>", RESTRICTED),
    ("entity nobody declared", b"<message><body>&l", b"ol;</body></message>", RESTRICTED),
    ("entity in an attribute", b"<message to='", b"&xxe;'/>", RESTRICTED),
    ("entities, within elements", b"<message>", b"<!DOCTYPE a [<!ENTITY b 'c'>]></message>", RESTRICTED),
    ("CDATA between stanzas", b"", b"<![CDATA[<message/>]]>", FORMAT),
    ("CDATA that is none", b"<message><body>", b"<![CDATX[x]]></body></message>", MALFORMED),
    ("end of CDATA in text", b"<message><body>]]", b"></body></message>", MALFORMED),
    ("UTF-8 split, then something else", b"<message><body>\xe2\x82", b"<</body></message>", ENCODING),
    ("UTF-8, overlong", b"<message><body>", b"\xc0\xbc/body></message>", ENCODING),
    ("UTF-8, a surrogate", b"<message><body>", b"\xed\xa0\x80</body></message>", ENCODING),
    ("UTF-8, beyond Unicode", b"<message><body>", b"\xf4\x90\x80\x80</body></message>", ENCODING),
    ("UTF-16", b"", b"\xff\xfe<\0m\0", ENCODING),
    ("< in an attribute", b"<message to='", b"</message>'/>", MALFORMED),
    ("prefix bound twice", b"<message xmlns:a='urn:a' xmlns:", b"a='urn:b'/>", MALFORMED),
    ("prefix out of its scope", b"<message><a:b xmlns:a='urn:a'/><", b"a:c/></message>", MALFORMED),
    ("prefix xml bound anew", b"<message xmlns:xml='urn:a", b"'/>", MALFORMED),
    ("prefix bound to nothing", b"<message xmlns:a='", b"'/>", MALFORMED),
    ("end by another prefix", b"<a:b xmlns:a='urn:a' xmlns:c='urn:a'></", b"c:b>", MALFORMED),
    ("attribute twice, by namespace", b"<m xmlns:a='urn:a' xmlns:b='urn:a' a:c='' ", b"b:c=''/>", MALFORMED),
    ("attribute twice", b"<message to='a' ", b"to='b'/>", MALFORMED),
    ("end that fits nothing", b"<message></", b"presence>", MALFORMED),
    ("NUL", b"<message><body>", b"\0</body></message>", MALFORMED),
    ("NUL by its number", b"<message><body>&#", b"0;</body></message>", MALFORMED),
    ("text between stanzas", b"", b"message", FORMAT),
    ("another kind of stream", b"", b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", FORMAT),
];

/// Short ones, in place of a header.
const SHORT_AT_FIRST: &[(&str, &[u8], &[u8], &str)] = &[
    (
        "bomb: entities by powers",
        b"<?xml version='1.0'?>",
        b"<!DOCTYPE b [<!ENTITY a '1234567890'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>\
          <!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'><!ENTITY d '&c;&c;&c;&c;&c;&c;&c;&c;'>]><b>&d;</b>",
        RESTRICTED,
    ),
    ("bomb: entities by squares", b"", b"<!DOCTYPE b [<!ENTITY a 'BBBBBBBBBBBBBBBB'>]><b>&a;&a;&a;</b>", RESTRICTED),
    ("bomb: entities for ever", b"", b"<!DOCTYPE b [<!ENTITY a '1 &b;'><!ENTITY b '&a;'>]><b>&a;</b>", RESTRICTED),
    ("bomb: parameter entities", b"", b"<!DOCTYPE b [<!ENTITY % a '&#37;b;'><!ENTITY % b '&#37;a;'> %a;]>", RESTRICTED),
    ("bomb: from elsewhere", b"", b"<!DOCTYPE b [<!ENTITY a SYSTEM 'http://example.com/'>]><b>&a;</b>", RESTRICTED),
    ("bomb: from a file", b"", b"<!DOCTYPE b [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><b>&a;</b>", RESTRICTED),
    ("bomb: document type", b"", b"<!DOCTYPE html PUBLIC '-//W3C//DTD' 'http://example.com/'>", RESTRICTED),
    ("comment first", b"", b"<!-- x -->", RESTRICTED),
    ("header of something else", b"<a", b">", NAMESPACE),
    ("header in UTF-16", b"", b"\xff\xfe<\0s\0", ENCODING),
    ("header with NUL", b"<stream:stream to='", b"\0'>", MALFORMED),
];

/// All classes, as they are at a stage.
pub(super) fn all(stage: Stage) -> Vec<Class> {
    let short = |place| {
        move |&(name, harmless, offence, deserves): &(&'static str, &[u8], &[u8], &'static str)| Class {
            name,
            place,
            harmless: harmless.to_vec(),
            offence: Offence::text(offence),
            deserves,
        }
    };
    let mut classes: Vec<Class> = SHORT_AT_FIRST.iter().map(short(Place::Header)).collect();
    classes.extend(SHORT.iter().map(short(Place::Element)));
    classes.push(element("second header", header().trim_end_matches('>'), Offence::text(">"), FORMAT));
    classes.extend(long(stage));
    classes
}

/// Those that are too much of something.
fn long(stage: Stage) -> [Class; 9] {
    let (most, depth) = (usize::from(ATTRIBUTES_MAX), stage.levels());
    let attributes = |from: usize, to: usize| (from..to).map(|n| format!(" a{n}=''")).collect::<String>();
    let prefixes = |from: usize, to: usize| {
        (from..to).map(|n| format!("<a xmlns:a{n}=''>").replace("''", "'urn:a'")).collect::<String>()
    };
    // Each declares one; where only few levels are open these are too many first.
    let declared = usize::from(PREFIXES_MAX).saturating_sub(1).min(depth);
    let filled = |head: &str, filler: &str, bytes: usize| {
        let text = filler.repeat(bytes.saturating_sub(head.len()) / filler.len());
        format!("{head}{text}")
    };
    let text = filled("<message><body>", "x", stage.room());
    let children = filled("<message>", "<a/>", stage.room());
    let endless = filled("<stream:stream to='", "a", HEADER_BYTES_MAX as usize);
    [
        element(
            "70,000 attributes",
            &format!("<m{}", attributes(0, most)),
            Offence::text(attributes(most, 70_000)),
            POLICY,
        ),
        element("a million levels", &"<a>".repeat(depth), Offence::flood("<a>", 3_000_000), POLICY),
        element("prefixes level by level", &prefixes(0, declared), Offence::text(prefixes(declared, 70_000)), POLICY),
        element(
            "huge name",
            &format!("<{}", "a".repeat(usize::from(NAME_BYTES_MAX))),
            Offence::flood("a", GIBIBYTE),
            POLICY,
        ),
        element(
            "huge name of an attribute",
            &format!("<m {}", "a".repeat(usize::from(NAME_BYTES_MAX))),
            Offence::flood("a", GIBIBYTE),
            POLICY,
        ),
        element("a gigabyte of text", &text, Offence::flood("x", GIBIBYTE), POLICY),
        element("stanza too large", &children, Offence::flood("<a/>", GIBIBYTE), POLICY),
        element("white space in a tag", &filled("<m", " ", stage.room()), Offence::flood(" ", GIBIBYTE), POLICY),
        Class {
            name: "endless header",
            place: Place::Header,
            harmless: endless.into_bytes(),
            offence: Offence::flood("a", GIBIBYTE),
            deserves: POLICY,
        },
    ]
}

fn element(name: &'static str, harmless: &str, offence: Offence, deserves: &'static str) -> Class {
    Class { name, place: Place::Element, harmless: harmless.as_bytes().to_vec(), offence, deserves }
}

/// Stanzas that are odd and good: they pass, each as one, and the stream goes on. In two pieces each.
pub(super) const ODD: &[(&str, &[u8], &[u8])] = &[
    ("> in an attribute", b"<message id='/>", b"'><body>></body></message>"),
    ("CDATA with an end in it", b"<message><body><![CDATA[</mess", b"age>]]></body></message>"),
    ("UTF-8 in two pieces", b"<message><body>\xf0\x9f\x98", b"\x80</body></message>"),
    ("prefix bound anew within", b"<message xmlns:a='urn:a'><a:b xmlns:a='urn:b'><a:", b"c/></a:b><a:d/></message>"),
    ("prefix of streams bound anew", b"<message><stream:stream xmlns:stream='urn:a'>", b"</stream:stream></message>"),
    ("end of a stream in an attribute", b"<message id='&lt;/stream:", b"stream>'/>"),
];
