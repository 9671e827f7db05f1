//! URIs and addresses (RFC 3261 §19.1, §20, §25.1): views that borrow from the message.

use std::net::{IpAddr, Ipv6Addr};

use crate::value::{self, Params};
pub use crate::via::Via;

/// A URI. `sip:` and `sips:` are taken apart; of others only the scheme is (and of `tel:` the
/// number and the parameters).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// The scheme as written.
    pub scheme: &'a str,
    /// The user part without password, escapes untouched. For `tel:` the number.
    pub user: Option<&'a str>,
    /// The host, brackets of an IPv6 address stripped. Empty for schemes other than `sip`, `sips`.
    pub host: &'a str,
    /// The port, if written.
    pub port: Option<u16>,
    password: Option<&'a str>,
    params: &'a str,
    headers: &'a str,
    bracketed: bool,
}

impl<'a> Uri<'a> {
    /// Parses a whole URI, without angle brackets. `None` if it is malformed, or contains white
    /// space, controls, quotes, brackets or bytes outside ASCII.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let colon = memchr::memchr(b':', text.as_bytes())?;
        let (scheme, rest) = (text.get(..colon)?, text.get(colon + 1..)?);
        if !is_scheme(scheme.as_bytes()) || rest.is_empty() || !value::is_uri_text(rest.as_bytes()) {
            return None;
        }
        let bare = Self {
            scheme,
            user: None,
            host: "",
            port: None,
            password: None,
            params: "",
            headers: "",
            bracketed: false,
        };
        if scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips") {
            return bare.with_sip(rest);
        }
        if scheme.eq_ignore_ascii_case("tel") {
            let end = memchr::memchr(b';', rest.as_bytes()).unwrap_or(rest.len());
            let (number, params) = rest.split_at_checked(end)?;
            return Some(Self { user: Some(number), params, ..bare });
        }
        Some(bare)
    }

    fn with_sip(self, rest: &'a str) -> Option<Self> {
        // `@` is reserved in every part of the URI, so it can only end the user part.
        let (userinfo, rest) = match value::split_at_byte(rest, b'@') {
            Some((userinfo, rest)) => (Some(userinfo), rest),
            None => (None, rest),
        };
        if userinfo.is_some_and(|info| info.is_empty() || memchr::memchr(b'@', rest.as_bytes()).is_some()) {
            return None;
        }
        let (user, password) = match userinfo.and_then(|info| value::split_at_byte(info, b':')) {
            Some((user, password)) => (Some(user), Some(password)),
            None => (userinfo, None),
        };
        let (rest, headers) = value::split_at_byte(rest, b'?').unwrap_or((rest, ""));
        let end = memchr::memchr(b';', rest.as_bytes()).unwrap_or(rest.len());
        let (authority, params) = rest.split_at_checked(end)?;
        let (host, port) = host_port(authority)?;
        let bracketed = authority.starts_with('[');
        Some(Self { user, password, host, port, params, headers, bracketed, ..self })
    }

    /// The value of a URI parameter: outer `None` if absent, inner `None` if it has no value.
    /// Names compare without case and with escapes undone (RFC 3261 §19.1.4).
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<&'a str>> {
        self.params().find(|(found, _)| same_unescaped(found, name)).map(|(_, value)| value)
    }

    /// The URI parameters in order.
    pub fn params(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        pairs(self.params, ';')
    }

    /// The URI headers (`?name=value&…`) in order, escapes untouched.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        pairs(self.headers, '&')
    }

    /// The password of the user part. Never log it.
    #[must_use]
    pub const fn password(&self) -> Option<&'a str> {
        self.password
    }

    /// Whether the scheme is `sips`.
    #[must_use]
    pub fn is_sips(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("sips")
    }

    /// Whether the scheme is `sip` or `sips`.
    #[must_use]
    pub fn is_sip(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("sip") || self.is_sips()
    }

    /// Whether the URI has the loose-routing parameter `lr` (RFC 3261 §19.1.1).
    #[must_use]
    pub fn is_loose(&self) -> bool {
        self.param("lr").is_some()
    }

    /// The host as an address, if it is one. Tolerates `:::`, which the grammar of RFC 3261 once
    /// produced (RFC 5118 §4.10).
    #[must_use]
    pub fn host_ip(&self) -> Option<IpAddr> {
        host_ip(self.host)
    }

    /// The host as it must be written into a URI or Via: an IPv6 address in brackets.
    #[must_use]
    pub fn host_text(&self) -> String {
        if self.bracketed { format!("[{}]", self.host) } else { self.host.to_owned() }
    }
}

/// The host as an address, if it is one.
pub(crate) fn host_ip(host: &str) -> Option<IpAddr> {
    if host.contains(":::") {
        return host.replacen(":::", "::", 1).parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    host.parse().ok()
}

/// Splits `host[:port]`, with white space around the colon allowed (`sent-by` of a Via). The host
/// comes back without brackets.
pub(crate) fn host_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => value::split_at_byte(inner, b']').filter(|(host, _)| is_ipv6_text(host))?,
        None => text.split_at_checked(value::host_length(text.as_bytes())).filter(|(host, _)| !host.is_empty())?,
    };
    if rest.is_empty() {
        return Some((host, None));
    }
    let port = value::trim(rest.as_bytes()).strip_prefix(b":").map(value::trim)?;
    Some((host, Some(u16::try_from(value::digits(port)?).ok()?)))
}

fn is_ipv6_text(host: &str) -> bool {
    host.len() >= 2
        && host.contains(':')
        && host.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
}

fn is_scheme(scheme: &[u8]) -> bool {
    scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn pairs(text: &str, separator: char) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split(separator).filter(|pair| !pair.is_empty()).map(|pair| match pair.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (pair, None),
    })
}

fn same_unescaped(escaped: &str, plain: &str) -> bool {
    if !escaped.contains('%') {
        return escaped.eq_ignore_ascii_case(plain);
    }
    unescape(escaped).map(|byte| byte.to_ascii_lowercase()).eq(plain.bytes().map(|byte| byte.to_ascii_lowercase()))
}

/// The bytes of a URI part with its `%HH` escapes undone; a `%` that starts no escape stands for
/// itself.
pub fn unescape(text: &str) -> impl Iterator<Item = u8> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *bytes.get(at)?;
        let escape = (byte == b'%').then(|| Some((hex(*bytes.get(at + 1)?)?, hex(*bytes.get(at + 2)?)?))).flatten();
        at += if escape.is_some() { 3 } else { 1 };
        Some(escape.map_or(byte, |(high, low)| high << 4 | low))
    })
}

const fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// A value of From, To, Contact, Route, Record-Route, Path …: an address with an optional display
/// name and header parameters (RFC 3261 §20.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name; of a quoted one what stands between the quotes, escapes untouched. `None`
    /// if there is none or it is not UTF-8.
    pub display: Option<&'a str>,
    /// The URI as written, without angle brackets. `"*"` for `Contact: *`.
    pub uri: &'a str,
    params: &'a str,
}

impl<'a> NameAddr<'a> {
    /// Parses one value. `None` if it is malformed: unbalanced quotes or brackets, a URI with
    /// white space, a bare URI with `?` or `,`, empty parameters, a `sip:` URI that is none.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let address = Self::read(bytes)?;
        let sound =
            address.is_star() || (Uri::parse(address.uri).is_some() && value::params_valid(address.params.as_bytes()));
        sound.then_some(address)
    }

    /// Takes a value apart without looking into URI and parameters: for values already parsed once.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let bytes = value::trim(bytes);
        if bytes == b"*" {
            return Some(Self { display: None, uri: "*", params: "" });
        }
        if bytes.first() == Some(&b'"') {
            let end = value::quoted_end(bytes, 0)?;
            let open = value::skip_lws(bytes, end);
            if bytes.get(open) != Some(&b'<') {
                return None;
            }
            return Self::bracketed(bytes, &bytes[1..end - 1], open);
        }
        let Some(open) = memchr::memchr2(b'<', b';', bytes).filter(|&at| bytes[at] == b'<') else {
            return Self::bare(bytes);
        };
        let display = value::trim(&bytes[..open]);
        if !value::is_display_name(display) {
            return None;
        }
        Self::bracketed(bytes, display, open)
    }

    fn bracketed(bytes: &'a [u8], display: &'a [u8], open: usize) -> Option<Self> {
        let close = open + memchr::memchr(b'>', &bytes[open..])?;
        let display = std::str::from_utf8(display).ok().filter(|display| !display.is_empty());
        let uri = std::str::from_utf8(&bytes[open + 1..close]).ok()?;
        Some(Self { display, uri, params: std::str::from_utf8(&bytes[close + 1..]).ok()? })
    }

    /// RFC 3261 §20: a URI with a comma, question mark or semicolon must be in angle brackets, so
    /// here the first semicolon starts the header parameters.
    fn bare(bytes: &'a [u8]) -> Option<Self> {
        let end = memchr::memchr(b';', bytes).unwrap_or(bytes.len());
        let uri = std::str::from_utf8(value::trim(&bytes[..end])).ok()?;
        if uri.contains(['?', ',']) {
            return None;
        }
        Some(Self { display: None, uri, params: std::str::from_utf8(&bytes[end..]).ok()? })
    }

    /// The value of a header parameter without quotes: outer `None` if absent, inner `None` if it
    /// has no value. The name compares without case.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<&'a str>> {
        self.params().named(name)
    }

    /// The header parameters in order.
    #[must_use]
    pub const fn params(&self) -> Params<'a> {
        Params::new(self.params)
    }

    /// The `tag` parameter, if it has a value.
    #[must_use]
    pub fn tag(&self) -> Option<&'a str> {
        self.param("tag").flatten().filter(|tag| !tag.is_empty())
    }

    /// The `expires` parameter of a Contact in seconds; values too large for the type saturate
    /// (RFC 3261 §10.2.1.1), malformed ones count as absent.
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        let seconds = value::digits(self.param("expires")??.as_bytes())?;
        Some(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// Whether this is the `*` of `Contact: *`.
    #[must_use]
    pub fn is_star(&self) -> bool {
        self.uri == "*"
    }

    /// The URI taken apart; `None` only for `*`.
    #[must_use]
    pub fn parsed_uri(&self) -> Option<Uri<'a>> {
        Uri::parse(self.uri)
    }

    pub(crate) const NONE: NameAddr<'static> = NameAddr { display: None, uri: "", params: "" };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri<'_> {
        Uri::parse(text).expect(text)
    }

    #[test]
    fn a_full_sip_uri_is_taken_apart() {
        let uri = uri("sips:alice:secret@[2001:db8::1]:5061;transport=tls;lr?Subject=x&Priority=urgent");
        assert_eq!((uri.scheme, uri.user, uri.host, uri.port), ("sips", Some("alice"), "2001:db8::1", Some(5061)));
        assert_eq!(uri.password(), Some("secret"));
        assert_eq!(uri.param("TRANSPORT"), Some(Some("tls")));
        assert_eq!(uri.param("lr"), Some(None));
        assert_eq!(uri.param("maddr"), None);
        assert_eq!(uri.headers().count(), 2);
        assert!(uri.is_sips() && uri.is_loose());
        assert_eq!(uri.host_text(), "[2001:db8::1]");
    }

    #[test]
    fn the_user_part_may_hold_reserved_characters() {
        let uri = uri("sip:a_b.c~(d!e)&f'g+h$/i?,/;;*:&p=1,w!*pas$o~d.(x)@example.org");
        assert_eq!(uri.host, "example.org");
        assert_eq!(uri.user, Some("a_b.c~(d!e)&f'g+h$/i?,/;;*"));
        assert_eq!(super::Uri::parse("sip:u;p=x%40y@h").and_then(|uri| uri.user), Some("u;p=x%40y"));
    }

    #[test]
    fn malformed_uris_are_none() {
        for bad in [
            "",
            "sip:",
            "sip",
            "sip:@host",
            "sip:a@b@c",
            "sip:2001:db8::10",
            "sip:host:port",
            "sip:host:70000",
            "sip:a b@host",
            "sip:[::1",
            "sip:[nonsense]",
            "sip:[::1]x",
            "<sip:a@b>",
            "sip:a@",
            "1sip:a@b",
            "sip:\u{e9}@b",
        ] {
            assert_eq!(Uri::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn other_schemes_keep_their_scheme() {
        assert_eq!(uri("tel:+3580;phone-context=example.org").user, Some("+3580"));
        assert_eq!(uri("tel:+3580;phone-context=example.org").param("phone-context"), Some(Some("example.org")));
        assert_eq!(uri("mailto:x@y").host, "");
        assert_eq!(uri("soap.beep://192.0.2.3:3002").scheme, "soap.beep");
    }

    #[test]
    fn addresses_with_three_colons_are_tolerated() {
        assert_eq!(uri("sip:u@[2001:db8:::192.0.2.1]").host_ip(), "2001:db8::192.0.2.1".parse().ok());
        assert_eq!(uri("sip:192.0.2.7").host_ip(), "192.0.2.7".parse().ok());
        assert_eq!(uri("sip:example.org").host_ip(), None);
        assert_eq!(uri("sip:[2001:db8::10:5070]").port, None);
    }

    #[test]
    fn escaped_parameter_names_compare_equal() {
        assert_eq!(uri("sip:h;%6C%72;n%61me=v").param("lr"), Some(None));
        assert_eq!(uri("sip:h;%6C%72;n%61me=v").param("name"), Some(Some("v")));
        assert_eq!(unescape("%41%zz%4").collect::<Vec<_>>(), b"A%zz%4");
    }

    #[test]
    fn name_addr_forms() {
        let quoted = NameAddr::parse(b" \"A \\\" , B\" <sip:a@b;x=1>;tag=77;+sip.instance=\"<urn:uuid:0>\";video ");
        let quoted = quoted.expect("valid");
        assert_eq!(quoted.display, Some("A \\\" , B"));
        assert_eq!(quoted.uri, "sip:a@b;x=1");
        assert_eq!(quoted.tag(), Some("77"));
        assert_eq!(quoted.param("+sip.instance"), Some(Some("<urn:uuid:0>")));
        assert_eq!(quoted.param("video"), Some(None));

        let bare = NameAddr::parse(b"sip:a@b ;   tag   = 9").expect("valid");
        assert_eq!((bare.uri, bare.tag(), bare.display), ("sip:a@b", Some("9"), None));
        assert_eq!(NameAddr::parse(b"caller<sip:a@b>").expect("valid").display, Some("caller"));
        assert!(NameAddr::parse(b"*").expect("valid").is_star());
        let latin = NameAddr::parse(b"\"J\xf6rg\" <sip:a@b>").expect("valid");
        assert_eq!((latin.display, latin.uri), (None, "sip:a@b"));
        let expires = NameAddr::parse(b"<sip:a@b>;expires=280297596632815").expect("valid");
        assert_eq!(expires.expires(), Some(u32::MAX));
    }

    #[test]
    fn malformed_name_addrs_are_none() {
        for bad in [
            &b""[..],
            b"\"open <sip:a@b>",
            b"\"x\" sip:a@b",
            b"<sip:a@b",
            b"< sip:a@b >",
            b"A, B <sip:a@b>",
            b"sip:a@b?Route=x",
            b"<sip:a@b>;;;;",
            b"<sip:a@b> junk",
            b"<sip:a@b>;x=\"y",
            b"<>",
            b"<sip:\xff@b>",
        ] {
            assert_eq!(NameAddr::parse(bad), None, "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
