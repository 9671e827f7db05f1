//! What must hold for any bytes whatever, as functions that panic where it does not. The fuzz targets, the
//! property tests and the replay of the committed corpora all run these.
//!
//! Not for production code: everything else in this crate promises not to panic.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::cookie::{Rest, session_cookies, sets_session, without_session};
use crate::credentials::Authorization;
use crate::date::{imf_fixdate, parse_imf_fixdate};
use crate::edge_config::{EdgeConfig, Found, Service};
use crate::head::{Framing, RequestLine, Version, check_request, check_response};
use crate::hygiene::{ConnectionOptions, passes_inward, passes_outward};
use crate::lane::{Lane, Scheme};
use crate::limits::{SESSION_COOKIE_CHARS_MAX, SESSION_COOKIES_MAX};
use crate::query;
use crate::stream::{Requests, StreamFault};

/// Takes the bytes for a path, and for the descriptor of one. What is read can be written again and is read the
/// same; queries are read without a panic.
pub fn http_lane(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    check_lane(text);
    let (descriptor, tail) = text.split_once(' ').unwrap_or((text, "/"));
    check_lane(&format!("/{}{tail}", STANDARD_NO_PAD.encode(descriptor)));
    let _ = query::email(text);
    if let Ok(names) = query::service_names(text) {
        let services = names.into_iter().map(|name| Service { name, found: Found::NameError }).collect();
        let xml = EdgeConfig { services, ..EdgeConfig::default() }.to_xml();
        let opened = xml.matches("<service>").count();
        assert_eq!(xml.matches("<error>NameError</error></service>").count(), opened, "names stay text");
    }
    if let Some(moment) = parse_imf_fixdate(text) {
        assert_eq!(imf_fixdate(moment), text, "a date has one form");
    }
}

fn check_lane(path: &str) {
    let Ok(lane) = Lane::parse(path) else { return };
    let (descriptor, tail, domain) = match &lane {
        Lane::Small { domain, query, .. } => {
            assert!(path.ends_with(query.as_str()), "a query is the client's own");
            let tail = path.get(1..).and_then(|rest| rest.find('/').and_then(|cut| rest.get(cut..)));
            (domain.clone(), tail.unwrap_or_default(), domain)
        }
        Lane::Descriptor { domain, scheme, host, port, path } => {
            assert!(*port != 0 && path.starts_with('/'), "{lane:?}");
            assert!(host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte)), "{host:?}");
            let scheme = match scheme {
                Scheme::Http => "http",
                Scheme::Https => "https",
            };
            (format!("{domain}/{scheme}/{host}/{port}"), path.as_str(), domain)
        }
    };
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    assert!(domain.bytes().all(legal) && !domain.ends_with('.'), "{domain:?}");
    let again = format!("/{}{tail}", STANDARD_NO_PAD.encode(descriptor));
    assert_eq!(Lane::parse(&again), Ok(lane), "what was read can be written, and is read the same");
}

/// Takes the bytes for a head, one field to a line. A good one has a body of one length only, however it is
/// read; nothing of a hop, and nothing that only our tiers say, passes; tokens leave cookies.
pub fn http_head(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let version = match words.next() {
        Some("2") => Version::Http2,
        Some("1.0") => Version::Http10,
        Some(_) | None => Version::Http11,
    };
    let fields: Vec<(String, &[u8])> = lines.map(field).collect();
    let as_fields = || fields.iter().map(|(name, value)| (name.as_str(), *value));
    for (name, value) in as_fields() {
        check_value(name, value);
    }
    let _ = check_response(version, 200, as_fields());
    let line = RequestLine { method, target, authority: words.next(), version };
    let Ok(checked) = check_request(line, as_fields()) else { return };
    let count = |wanted: &str| as_fields().filter(|(name, _)| *name == wanted).count();
    assert!(count("content-length") + count("transfer-encoding") <= 1, "a body has one length");
    assert!(count("host") <= 1 && count("authorization") <= 1, "what there is one of is there once");
    let framed = count("content-length") + count("transfer-encoding") > 0;
    assert_eq!(checked.framing != Framing::None, framed, "a length is announced, or there is none");
    let connection = as_fields().filter(|(name, _)| *name == "connection").map(|(_, value)| value);
    let options = ConnectionOptions::read(connection).expect("a checked head has few of them");
    for (name, _) in as_fields() {
        let inward = passes_inward(name, &options);
        assert!(
            !inward || !(name.starts_with("edgeway-") || name.starts_with("x-forwarded-")),
            "{name} is ours to say"
        );
        let hop =
            matches!(name, "connection" | "transfer-encoding" | "te" | "upgrade" | "keep-alive") || options.names(name);
        assert!(!hop || !(inward || passes_outward(name, &options)), "{name} ends here");
    }
}

fn field(line: &[u8]) -> (String, &[u8]) {
    let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':').unwrap_or(line.len()));
    (String::from_utf8_lossy(name).into_owned(), value.get(1..).unwrap_or_default().trim_ascii())
}

fn check_value(name: &str, value: &[u8]) {
    match name {
        "cookie" => {
            let tokens: Vec<&str> = session_cookies([value]).collect();
            assert!(tokens.len() <= SESSION_COOKIES_MAX, "{} tokens", tokens.len());
            let fits = |token: &&str| (1..=SESSION_COOKIE_CHARS_MAX).contains(&token.len()) && !token.contains(';');
            assert!(tokens.iter().all(fits), "{tokens:?}");
            match without_session(value) {
                Rest::Unchanged => assert!(tokens.is_empty(), "a token passes"),
                Rest::Without(rest) => {
                    assert!(rest.len() < value.len(), "something has gone");
                    assert_eq!(without_session(&rest), Rest::Unchanged, "all of them have gone");
                }
                Rest::Nothing => {}
            }
        }
        "set-cookie" => {
            let _ = sets_session(value);
        }
        "authorization" => {
            if let Ok(Authorization::Basic { user, password }) = Authorization::parse(value) {
                assert!(!user.is_empty() && !user.contains(':'), "cut at the first colon");
                assert!(!user.chars().chain(password.chars()).any(char::is_control), "no control characters");
            }
        }
        _ => {}
    }
}

/// Takes the bytes for what one HTTP/1.1 connection sends, and shows them whole and in pieces. Both ways the same
/// goes on and the same is refused; and what goes on is requests, as somebody reads them who looks for nothing but
/// ends of heads and lengths of bodies.
pub fn http_stream(bytes: &[u8]) {
    let (piece, bytes) = bytes.split_first().map_or((1, bytes), |(first, rest)| (usize::from(*first).max(1), rest));
    let (passed, outcome) = follow(bytes, bytes.len().max(1));
    let (in_pieces, other) = follow(bytes, piece);
    assert_eq!(passed, in_pieces, "cutting changes nothing of what goes on");
    assert_eq!(outcome.as_ref().err(), other.as_ref().err(), "and nothing of what is refused");
    assert!(bytes.starts_with(&passed), "what goes on is what came");
    let rest = read_plainly(&passed);
    if outcome.is_ok_and(|requests| !requests.is_in_body()) {
        assert!(rest, "no request is under way: {:?}", String::from_utf8_lossy(&passed));
    }
}

fn follow(bytes: &[u8], piece: usize) -> (Vec<u8>, Result<Requests, StreamFault>) {
    let (mut requests, mut held, mut passed) = (Requests::default(), Vec::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        held.extend_from_slice(piece);
        let (count, fault) = match requests.follow(&held) {
            Ok(count) => (count, None),
            Err((count, fault)) => (count, Some(fault)),
        };
        passed.extend(held.drain(..count));
        if let Some(fault) = fault {
            return (passed, Err(fault));
        }
    }
    (passed, Ok(requests))
}

/// The plain reader: whether `bytes` are whole requests, up to one that ends the connection.
fn read_plainly(mut bytes: &[u8]) -> bool {
    loop {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return bytes.is_empty() };
        let (head, rest) = bytes.split_at(end + 4);
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        let field = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(found, _)| *found == name).map(|(_, value)| value.trim().to_owned())
        };
        assert!(!head.contains("\n ") && !head.contains("\n\t") && !head.contains('\0'), "{head:?}");
        let length = field("content-length").map(|length| length.parse::<usize>().expect("a checked number"));
        let chunked = field("transfer-encoding").map(|coding| assert_eq!(coding, "chunked", "the one coding"));
        bytes = match (length, chunked) {
            (Some(_), Some(())) => panic!("two lengths go on: {head:?}"),
            (Some(length), None) => match rest.split_at_checked(length) {
                Some((_, rest)) => rest,
                None => return false,
            },
            (None, Some(())) => match behind_chunks(rest) {
                Some(rest) => rest,
                None => return false,
            },
            (None, None) => rest,
        };
        let says = |wanted: &str| {
            let lines = head.lines().filter_map(|line| line.strip_prefix("connection:"));
            lines.flat_map(|options| options.split(',')).any(|option| option.trim() == wanted)
        };
        let old = head.lines().next().is_some_and(|line| line.ends_with("http/1.0"));
        if says("close") || (old && !says("keep-alive")) {
            // What comes then is for nobody.
            return true;
        }
    }
}

fn behind_chunks(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let (length, rest) = bytes.split_at(end);
        let length = usize::from_str_radix(std::str::from_utf8(length).ok()?, 16).expect("a checked length");
        let rest = rest.get(2..)?;
        if length == 0 {
            // No trailers, or trailers up to an empty line.
            return rest.strip_prefix(b"\r\n").or_else(|| {
                let end = rest.windows(4).position(|four| four == b"\r\n\r\n")?;
                rest.get(end + 4..)
            });
        }
        bytes = rest.get(length..)?.strip_prefix(b"\r\n")?;
    }
}
