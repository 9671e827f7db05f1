//! The cookie `X-Auth`, which carries the session token (RFC 6265).

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::date::imf_fixdate;
use crate::limits::{SESSION_COOKIE_CHARS_MAX, SESSION_COOKIES_MAX};

/// Its name.
pub const SESSION_COOKIE: &str = "X-Auth";

/// The values of the cookie `X-Auth` in the Cookie fields of a request, in their order, at most
/// [`SESSION_COOKIES_MAX`] of them: whatever has the form of a value (RFC 6265 §4.1.1), quoted or not.
/// Foreign and stale cookies beside it are passed over.
pub fn session_cookies<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a str> {
    fields.into_iter().flat_map(pairs).filter_map(session_cookie).take(SESSION_COOKIES_MAX)
}

fn pairs(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.split(|byte| *byte == b';')
}

fn session_cookie(pair: &[u8]) -> Option<&str> {
    let value = pair.trim_ascii().strip_prefix(SESSION_COOKIE.as_bytes())?.strip_prefix(b"=")?;
    let value = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    let octet = |byte: u8| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
    let fits = (1..=SESSION_COOKIE_CHARS_MAX).contains(&value.len()) && value.iter().all(|byte| octet(*byte));
    fits.then(|| std::str::from_utf8(value).ok()).flatten()
}

/// What is left of a Cookie field that goes to a server inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It holds no session token: it goes as it is.
    Unchanged,
    /// The field without the session token; the other cookies byte for byte.
    Without(Vec<u8>),
    /// Nothing but session tokens was in it.
    Nothing,
}

/// Takes `X-Auth` out of a Cookie field, in any case of its letters: a token goes to no server inside.
#[must_use]
pub fn without_session(field: &[u8]) -> Rest {
    if !pairs(field).any(is_session) {
        return Rest::Unchanged;
    }
    let mut left = Vec::with_capacity(field.len());
    for pair in pairs(field).filter(|pair| !is_session(pair)) {
        if left.is_empty() {
            // The space behind a semicolon belongs to the pair that is gone.
            left.extend_from_slice(pair.trim_ascii_start());
        } else {
            left.push(b';');
            left.extend_from_slice(pair);
        }
    }
    if left.trim_ascii().is_empty() { Rest::Nothing } else { Rest::Without(left) }
}

/// Whether the Set-Cookie field of a server inside would replace a client's session token. One without a name would,
/// too: clients send back `=X-Auth=…` as `X-Auth=…`, and what has no `=` is all value to some of them.
#[must_use]
pub fn sets_session(field: &[u8]) -> bool {
    let pair = pairs(field).next().unwrap_or_default();
    let name = pair.iter().position(|byte| *byte == b'=').and_then(|at| pair.get(..at)).unwrap_or_default();
    is_session(pair) || name.trim_ascii().is_empty()
}

fn is_session(pair: &[u8]) -> bool {
    let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
    name.eq_ignore_ascii_case(SESSION_COOKIE.as_bytes())
}

/// The Set-Cookie field that gives a client its token. `domain` is that of [`cookie_domain`]; `Expires` is
/// always there, because clients take no cookie without.
#[must_use]
pub fn set_cookie(token: &str, expires_ms: u64, domain: Option<&str>) -> String {
    let mut field = format!("{SESSION_COOKIE}={token}; Expires={}", imf_fixdate(expires_ms));
    if let Some(domain) = domain {
        // Writing into a String cannot fail.
        let _ = write!(field, "; Domain=.{domain}");
    }
    field.push_str("; Path=/; Secure; HttpOnly");
    field
}

/// The domain of the cookie: the service domain where the edge's host lies in it, otherwise the parent of
/// the edge's host, so that the other edges of the cluster get the token as well.
///
/// `None` where a client would take no domain: the edge's host is an address, or its parent is a
/// registry's ([RFC 6265 §5.3, step 5](https://www.rfc-editor.org/rfc/rfc6265#section-5.3)); the cookie is
/// then that host's alone. Both names in any case, with or without a trailing dot.
#[must_use]
pub fn cookie_domain(service_domain: &str, edge_host: &str) -> Option<String> {
    let name = |text: &str| text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let (service, host) = (name(service_domain), name(edge_host));
    if host.starts_with('[') || host.parse::<IpAddr>().is_ok() {
        return None;
    }
    let parent = host.split_once('.').map_or("", |(_, parent)| parent);
    let above = host.strip_suffix(service.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let domain = if above && !service.is_empty() { service.as_str() } else { parent };
    (!of_a_registry(domain)).then(|| domain.to_owned())
}

/// Whether no client takes cookies for this domain: one label, or one of the usual second labels below a
/// country's. The full list of such names is the browsers'; others are not met at call managers' sites.
fn of_a_registry(domain: &str) -> bool {
    const SECOND: [&str; 12] = ["ac", "co", "com", "edu", "go", "gob", "gov", "gv", "ne", "net", "or", "org"];
    match domain.split_once('.') {
        None => true,
        Some((second, country)) => country.len() == 2 && SECOND.contains(&second),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'a>(fields: &[&'a str]) -> Vec<&'a str> {
        session_cookies(fields.iter().map(|field| field.as_bytes())).collect()
    }

    #[test]
    fn the_token_is_found_among_anything() {
        assert_eq!(found(&["JSESSIONIDSSO=34AFA4A6DEE1DDCE8B1D2694082A6D0A"]), Vec::<&str>::new());
        assert_eq!(found(&["X-Auth=abc"]), ["abc"]);
        assert_eq!(found(&["a=b; X-Auth=abc; c=d", "X-Auth=\"def\""]), ["abc", "def"]);
        assert_eq!(found(&["a=b;X-Auth=abc ;X-Auth=a=b=="]), ["abc", "a=b=="]);
        let junk =
            ["X-Auth", "X-Auth=", "X-Auth=a b", "X-Auth=\"a", "x-auth=a", "aX-Auth=b", "X-Auth=\u{fc}", "=;;=", ""];
        assert_eq!(found(&junk), Vec::<&str>::new());
        let long = format!("X-Auth={}", "a".repeat(SESSION_COOKIE_CHARS_MAX + 1));
        assert_eq!(found(&[&long]), Vec::<&str>::new());
        assert_eq!(found(&["X-Auth=a;X-Auth=b;X-Auth=c", "X-Auth=d;X-Auth=e"]), ["a", "b", "c", "d"]);
    }

    #[test]
    fn other_cookies_stay_byte_for_byte() {
        let cases: [(&str, Rest); 10] = [
            ("a=b; c=d", Rest::Unchanged),
            ("", Rest::Unchanged),
            ("X-Authority=1", Rest::Unchanged),
            ("X-Auth=1", Rest::Nothing),
            (" X-AUTH = 1 ; x-auth", Rest::Nothing),
            ("X-Auth=1; a=b", Rest::Without(b"a=b".to_vec())),
            ("a=b; X-Auth=1", Rest::Without(b"a=b".to_vec())),
            ("a=b; X-Auth=1;  c=\"d, e\";", Rest::Without(b"a=b;  c=\"d, e\";".to_vec())),
            ("X-Auth=1; X-Auth=2; a=\u{fc}", Rest::Without("a=\u{fc}".as_bytes().to_vec())),
            ("a=\"; X-Auth=1\"", Rest::Without(b"a=\"".to_vec())),
        ];
        for (field, rest) in cases {
            assert_eq!(without_session(field.as_bytes()), rest, "{field:?}");
        }
    }

    #[test]
    fn servers_inside_set_no_token() {
        for (field, sets) in [
            ("X-Auth=1; Path=/", true),
            ("x-auth =", true),
            ("=X-Auth=1", true),
            (" \t= X-Auth=1; Path=/", true),
            ("==X-Auth=1", true),
            ("X-Auth", true),
            ("nameless", true),
            ("", true),
            ("; X-Auth=1", true),
            ("JSESSIONID=1; X-Auth=2", false),
            ("a=", false),
        ] {
            assert_eq!(sets_session(field.as_bytes()), sets, "{field}");
        }
    }

    #[test]
    fn the_field_has_the_form_that_clients_need() {
        let field = set_cookie("1e1111e1-dddb-49e9-ad0d-ab34526e2b00", 1_399_666_891_000, Some("example.com"));
        let wanted = "X-Auth=1e1111e1-dddb-49e9-ad0d-ab34526e2b00; Expires=Fri, 09 May 2014 20:21:31 GMT; \
                      Domain=.example.com; Path=/; Secure; HttpOnly";
        assert_eq!(field, wanted);
        assert_eq!(
            set_cookie("t", 0, None),
            "X-Auth=t; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; Secure; HttpOnly"
        );
    }

    #[test]
    fn the_domain_covers_the_edge_and_no_registry() {
        let cases = [
            ("example.com", "e1.example.com", Some("example.com")),
            ("Example.COM.", "E1.dmz.example.com.", Some("example.com")),
            ("example.com", "example.com", Some("example.com")),
            ("example.com", "e1.badexample.com", Some("badexample.com")),
            ("example.com", "mra-host.sp.net", Some("sp.net")),
            ("example.com", "e1.dmz.sp.net", Some("dmz.sp.net")),
            ("example.com", "sp.net", None),
            ("example.com", "sp.co.uk", None),
            ("example.com", "e1.sp.co.uk", Some("sp.co.uk")),
            ("com", "e1.example.com", None),
            ("", "e1.example.com", Some("example.com")),
            ("example.com", "localhost", None),
            ("example.com", "192.0.2.1", None),
            ("example.com", "2001:db8::1", None),
            ("example.com", "[2001:db8::1]", None),
        ];
        for (service, host, domain) in cases {
            assert_eq!(cookie_domain(service, host).as_deref(), domain, "{service} {host}");
        }
    }
}
