//! Two parsers of different authors, one message: what both accept they must read alike.
//!
//! Where they part, one hop sees another request than the next one does, and that is how checks are
//! evaded. What only one of them accepts is no finding: ours is stricter in some places (NUL, bare LF,
//! repeated single fields) and more lenient in others (RFC 4475 lists both).

use bytes::Bytes;
use edgeway_sip::{Message, Name};
use sipx_sip::{HeaderName, Limits, Message as Other, parse_datagram};

/// What a message is to whoever routes it.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    start: Vec<Vec<u8>>,
    /// Names in their long form and lower case; values without folds.
    lines: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

/// Panics where both accept and read differently. Returns whether both accepted.
pub(crate) fn compare(bytes: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(bytes);
    let (Ok(ours), Ok(theirs)) = (Message::parse(bytes.clone()), parse_datagram(bytes, &Limits::stream())) else {
        return false;
    };
    assert_eq!(our_reading(&ours), their_reading(&theirs));
    assert_eq!(ours.via_count() > 0, theirs.headers().count(&HeaderName::parse(&Bytes::from_static(b"via"))) > 0);
    true
}

fn our_reading(message: &Message) -> Reading {
    let start = match (message.method(), message.request_uri(), message.status()) {
        (Some(method), Some(uri), _) => vec![method.as_bytes().to_vec(), uri.as_bytes().to_vec()],
        (_, _, status) => vec![status.unwrap_or_default().to_string().into_bytes()],
    };
    let lines = message.all_lines().map(|(name, value)| (long(name.as_bytes()), unfolded(value)));
    // A body without a length is the datagram's rest for one of them and not for the other.
    let body = if message.header(Name::ContentLength).is_some() { message.body().to_vec() } else { Vec::new() };
    Reading { start, lines: lines.collect(), body }
}

fn their_reading(message: &Other) -> Reading {
    let start = match message {
        Other::Request(request) => {
            vec![request.method.as_bytes().to_vec(), request.uri.to_string().into_bytes()]
        }
        Other::Response(response) => vec![response.status.to_string().into_bytes()],
    };
    let length = HeaderName::parse(&Bytes::from_static(b"content-length"));
    let body = if message.headers().get(&length).is_some() { message.body().to_vec() } else { Vec::new() };
    let lines = message.headers().iter().map(|line| (long(line.name().canonical()), unfolded(&line.value())));
    Reading { start, lines: lines.collect(), body }
}

/// The long form of a compact name (the ones of RFC 3261 §7.3.3 and later RFCs), in lower case.
fn long(name: &[u8]) -> Vec<u8> {
    let name = name.to_ascii_lowercase();
    let long: &[u8] = match name.as_slice() {
        b"a" => b"accept-contact",
        b"b" => b"referred-by",
        b"c" => b"content-type",
        b"d" => b"request-disposition",
        b"e" => b"content-encoding",
        b"f" => b"from",
        b"i" => b"call-id",
        b"j" => b"reject-contact",
        b"k" => b"supported",
        b"l" => b"content-length",
        b"m" => b"contact",
        b"n" => b"identity-info",
        b"o" => b"event",
        b"r" => b"refer-to",
        b"s" => b"subject",
        b"t" => b"to",
        b"u" => b"allow-events",
        b"v" => b"via",
        b"x" => b"session-expires",
        b"y" => b"identity",
        other => other,
    };
    long.to_vec()
}

/// White space of any length is one space (RFC 3261 §7.3.1).
fn unfolded(value: &[u8]) -> Vec<u8> {
    let mut words = value.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    let mut text = words.next().unwrap_or_default().to_vec();
    for word in words {
        text.push(b' ');
        text.extend_from_slice(word);
    }
    text
}
