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
