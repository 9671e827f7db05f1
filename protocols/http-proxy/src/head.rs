//! What the head of a message must look like: checked again after whatever parsed it, so that nothing
//! reaches the inside that two parsers could read differently (RFC 9112 §6, RFC 9113 §8.2).
//!
//! It reads fields one after the other and keeps none. Field names come in lower case, as the `http` crate
//! has them and HTTP/2 sends them.

use crate::hygiene::ConnectionOptions;
use crate::limits::{
    HEAD_BYTES_MAX, HEADER_FIELDS_MAX, HEADER_NAME_CHARS_MAX, HEADER_VALUE_BYTES_MAX, HOST_CHARS_MAX, METHOD_CHARS_MAX,
    TARGET_BYTES_MAX,
};

/// The version a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

/// What stands before the fields of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// `:authority` of HTTP/2, or that of a target in absolute form (RFC 9112 §3.2.2).
    pub authority: Option<&'a str>,
    /// The version.
    pub version: Version,
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none; in HTTP/2, none is announced.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// What a good head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// How long the body is.
    pub framing: Framing,
    /// Whether the sender waits for 100 (Continue) before it sends the body.
    pub expects_continue: bool,
    /// Whether the connection ends after this exchange, as far as the sender is concerned.
    pub closes: bool,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HeadFault {
    /// No token, or too long.
    #[error("the method is none")]
    Method,
    /// CONNECT and TRACE are for proxies and diagnosis, not for clients of ours.
    #[error("this method is not served")]
    MethodNotServed,
    /// Not a path of visible ASCII.
    #[error("the request target is no path")]
    Target,
    /// Longer than the limit.
    #[error("the request target is too long")]
    TargetTooLong,
    /// Fields, or a field, beyond the limits.
    #[error("the head is too large")]
    TooLarge,
    /// A name that is no token, or a value with control characters.
    #[error("a malformed field")]
    Field,
    /// Missing, several, malformed, or another than the authority.
    #[error("Host must be there once and name what is asked")]
    Host,
    /// Several, or no number.
    #[error("Content-Length must be there once at most and be a number")]
    ContentLength,
    /// In a version that has none, beside Content-Length, or not just `chunked`.
    #[error("Transfer-Encoding is `chunked` alone, without Content-Length")]
    TransferEncoding,
    /// A body where none is meant: GET and HEAD.
    #[error("this method has no body")]
    Body,
    /// Anything but `100-continue`.
    #[error("an unknown expectation")]
    Expectation,
    /// It names fields that are not the connection's, or stands where it must not.
    #[error("a malformed or misplaced connection field")]
    Connection,
    /// Two credentials.
    #[error("Authorization must be there once at most")]
    Authorization,
}

impl HeadFault {
    /// The status for whoever sent it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::MethodNotServed => 405,
            Self::TargetTooLong => 414,
            Self::Expectation => 417,
            Self::TooLarge => 431,
            Self::Method
            | Self::Target
            | Self::Field
            | Self::Host
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::Body
            | Self::Connection
            | Self::Authorization => 400,
        }
    }

    /// A word for counters.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::MethodNotServed => "method-not-served",
            Self::Target => "target",
            Self::TargetTooLong => "target-too-long",
            Self::TooLarge => "too-large",
            Self::Field => "field",
            Self::Host => "host",
            Self::ContentLength => "content-length",
            Self::TransferEncoding => "transfer-encoding",
            Self::Body => "body",
            Self::Expectation => "expectation",
            Self::Connection => "connection",
            Self::Authorization => "authorization",
        }
    }
}

/// Checks the head of a request.
///
/// # Errors
/// [`HeadFault`]; the connection is closed after the answer, because nobody knows where the next request
/// would begin.
pub fn check_request<'a>(
    line: RequestLine<'_>,
    fields: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<Checked, HeadFault> {
    check_line(line)?;
    let mut seen = Seen::default();
    for (name, value) in fields {
        seen.field(line.version, name, value)?;
        match name {
            "host" => seen.host(line.authority, value)?,
            "expect" => seen.expect(value)?,
            "authorization" if std::mem::replace(&mut seen.authorization, true) => {
                return Err(HeadFault::Authorization);
            }
            _ => {}
        }
    }
    // RFC 9112 §3.2: with a target in absolute form Host is there, too.
    let named = seen.has_host
        || match line.version {
            Version::Http2 => line.authority.is_some(),
            Version::Http10 => line.authority.is_none(),
            Version::Http11 => false,
        };
    if !named || line.authority.is_some_and(|authority| !is_authority(authority.as_bytes())) {
        return Err(HeadFault::Host);
    }
    let framing = seen.framing()?;
    let bodiless = matches!(line.method, "GET" | "HEAD");
    match framing {
        Framing::Length(1..) | Framing::Chunked if bodiless => return Err(HeadFault::Body),
        Framing::Length(_) | Framing::Chunked | Framing::None => {}
    }
    Ok(seen.checked(line.version, framing))
}

/// Checks the head of a response that a server inside, or a core, has sent.
///
/// # Errors
/// [`HeadFault`]: what cannot be passed on.
pub fn check_response<'a>(
    version: Version,
    status: u16,
    fields: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<Checked, HeadFault> {
    let mut seen = Seen::default();
    for (name, value) in fields {
        seen.field(version, name, value)?;
    }
    let framing = seen.framing()?;
    // RFC 9112 §6.1: no such answer has a Transfer-Encoding; 101 would make a tunnel of the connection.
    if !(100..=599).contains(&status)
        || status == 101
        || (matches!(status, 100..=199 | 204) && framing == Framing::Chunked)
    {
        return Err(HeadFault::TransferEncoding);
    }
    Ok(seen.checked(version, framing))
}

fn check_line(line: RequestLine<'_>) -> Result<(), HeadFault> {
    if line.method.is_empty() || line.method.len() > METHOD_CHARS_MAX || !line.method.bytes().all(is_token_byte) {
        return Err(HeadFault::Method);
    }
    if matches!(line.method, "CONNECT" | "TRACE") {
        return Err(HeadFault::MethodNotServed);
    }
    if line.target.len() > TARGET_BYTES_MAX {
        return Err(HeadFault::TargetTooLong);
    }
    let visible = line.target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if line.target.starts_with('/') && visible { Ok(()) } else { Err(HeadFault::Target) }
}

/// What has been read of the fields.
#[derive(Default)]
struct Seen {
    fields: usize,
    bytes: usize,
    connection_fields: usize,
    has_host: bool,
    authorization: bool,
    length: Option<u64>,
    chunked: bool,
    expects_continue: bool,
    close: bool,
    keep_alive: bool,
}

impl Seen {
    fn field(&mut self, version: Version, name: &str, value: &[u8]) -> Result<(), HeadFault> {
        self.fields += 1;
        self.bytes += name.len() + value.len();
        let large = name.len() > HEADER_NAME_CHARS_MAX || value.len() > HEADER_VALUE_BYTES_MAX;
        if large || self.fields > HEADER_FIELDS_MAX || self.bytes > HEAD_BYTES_MAX {
            return Err(HeadFault::TooLarge);
        }
        let name_is_good = |byte: u8| is_token_byte(byte) && !byte.is_ascii_uppercase();
        let value_is_good = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
        if name.is_empty() || !name.bytes().all(name_is_good) || !value.iter().all(value_is_good) {
            return Err(HeadFault::Field);
        }
        match name {
            "content-length" => self.content_length(value),
            "transfer-encoding" => self.transfer_encoding(version, value),
            // RFC 9113 §8.2.2: fields of a connection have no place in HTTP/2.
            "connection" | "keep-alive" | "proxy-connection" | "upgrade" if version == Version::Http2 => {
                Err(HeadFault::Connection)
            }
            "te" if version == Version::Http2 && !value.eq_ignore_ascii_case(b"trailers") => Err(HeadFault::Connection),
            "connection" => self.connection(value),
            _ => Ok(()),
        }
    }

    /// RFC 9112 §3.2.
    fn host(&mut self, authority: Option<&str>, value: &[u8]) -> Result<(), HeadFault> {
        let other = authority.is_some_and(|authority| !authority.as_bytes().eq_ignore_ascii_case(value));
        if std::mem::replace(&mut self.has_host, true) || other || !is_authority(value) {
            return Err(HeadFault::Host);
        }
        Ok(())
    }

    fn expect(&mut self, value: &[u8]) -> Result<(), HeadFault> {
        self.expects_continue = true;
        if value.eq_ignore_ascii_case(b"100-continue") { Ok(()) } else { Err(HeadFault::Expectation) }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), HeadFault> {
        // RFC 9110 §8.6 would let the same number be repeated; no real client does.
        let digits = (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        match (self.length, length) {
            (None, Some(length)) => self.length = Some(length),
            (Some(_), _) | (None, None) => return Err(HeadFault::ContentLength),
        }
        Ok(())
    }

    fn transfer_encoding(&mut self, version: Version, value: &[u8]) -> Result<(), HeadFault> {
        let first = !std::mem::replace(&mut self.chunked, true);
        if first && version == Version::Http11 && value.eq_ignore_ascii_case(b"chunked") {
            Ok(())
        } else {
            Err(HeadFault::TransferEncoding)
        }
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), HeadFault> {
        let mut others = false;
        for option in ConnectionOptions::options(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if !option.iter().all(|byte| is_token_byte(*byte)) || is_end_to_end(option) {
                return Err(HeadFault::Connection);
            } else {
                others = true;
            }
        }
        self.connection_fields += usize::from(others);
        ConnectionOptions::fit(self.connection_fields).then_some(()).ok_or(HeadFault::TooLarge)
    }

    fn framing(&self) -> Result<Framing, HeadFault> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(HeadFault::TransferEncoding),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::None),
        }
    }

    fn checked(&self, version: Version, framing: Framing) -> Checked {
        let closes = self.close || (version == Version::Http10 && !self.keep_alive);
        Checked { framing, expects_continue: self.expects_continue && version != Version::Http10, closes }
    }
}

/// RFC 9110 §7.6.1: a field meant for all recipients must not be named in Connection. Whoever does wants
/// one of our tiers to drop what the other has believed.
fn is_end_to_end(option: &[u8]) -> bool {
    const END_TO_END: [&str; 10] = [
        "authorization",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "host",
        "set-cookie",
        "transfer-encoding",
        "x-auth",
    ];
    END_TO_END.iter().any(|name| option.eq_ignore_ascii_case(name.as_bytes()))
}

/// `host [":" port]` (RFC 9110 §7.2), without user information.
fn is_authority(value: &[u8]) -> bool {
    let (host, port) = match value.iter().rposition(|byte| *byte == b':' || *byte == b']') {
        Some(at) if value.get(at) == Some(&b':') => (value.get(..at), value.get(at + 1..)),
        Some(_) | None => (Some(value), Some(&b""[..])),
    };
    let (host, port) = (host.unwrap_or_default(), port.unwrap_or_default());
    let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    let in_address = |byte: &u8| byte.is_ascii_hexdigit() || b":.".contains(byte);
    let host_is_good = match host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        Some(address) => !address.is_empty() && address.iter().all(in_address),
        None => !host.is_empty() && host.iter().all(in_name),
    };
    host_is_good && host.len() <= HOST_CHARS_MAX + 1 && port.len() <= 5 && port.iter().all(u8::is_ascii_digit)
}

/// RFC 9110 §5.6.2.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    type Fields<'a> = &'a [(&'a str, &'a str)];

    const HOST: (&str, &str) = ("host", "e1.example.com:8443");

    fn line<'a>(method: &'a str, target: &'a str, version: Version) -> RequestLine<'a> {
        let authority = (version == Version::Http2).then_some("e1.example.com:8443");
        RequestLine { method, target, authority, version }
    }

    fn check(line: RequestLine<'_>, fields: Fields<'_>) -> Result<Checked, HeadFault> {
        check_request(line, fields.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    fn post(version: Version, fields: Fields<'_>) -> Result<Checked, HeadFault> {
        let host = [HOST];
        let host = if version == Version::Http2 { &host[..0] } else { &host[..] };
        check(line("POST", "/x", version), &[host, fields].concat())
    }

    #[test]
    fn what_clients_send_is_good() {
        let real = [
            HOST,
            ("authorization", "Basic YTpi"),
            ("cookie", "JSESSIONIDSSO=34AFA4A6DEE1DDCE8B1D2694082A6D0A"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("accept", "text/xml"),
            ("user-agent", "Cisco/TC"),
            ("connection", "Keep-Alive"),
        ];
        let good = Checked { framing: Framing::None, expects_continue: false, closes: false };
        assert_eq!(check(line("GET", "/ZXhhbXBsZS5jb20/get_edge_config/", Version::Http11), &real), Ok(good));
        assert_eq!(check(line("GET", "/", Version::Http2), &real[1..6]), Ok(good));
        assert_eq!(check(line("GET", "/", Version::Http2), &real[..6]), Ok(good));
        assert_eq!(check(line("GET", "/", Version::Http10), &[]), Ok(Checked { closes: true, ..good }));
        assert_eq!(check(line("GET", "/", Version::Http10), &real), Ok(good));
        let close = [HOST, ("connection", "TE, close"), ("connection", "x-hop"), ("te", "trailers")];
        assert_eq!(check(line("GET", "/", Version::Http11), &close), Ok(Checked { closes: true, ..good }));
    }

    #[test]
    fn bodies_have_one_length() {
        use Version::{Http2, Http10, Http11};
        let bad: [(Version, Fields<'_>, HeadFault); 25] = [
            (Http11, &[("content-length", "1"), ("content-length", "1")], HeadFault::ContentLength),
            (Http11, &[("content-length", "1, 1")], HeadFault::ContentLength),
            (Http11, &[("content-length", "+1")], HeadFault::ContentLength),
            (Http11, &[("content-length", "-1")], HeadFault::ContentLength),
            (Http11, &[("content-length", "0x10")], HeadFault::ContentLength),
            (Http11, &[("content-length", "1 ")], HeadFault::ContentLength),
            (Http11, &[("content-length", "")], HeadFault::ContentLength),
            (Http11, &[("content-length", "1_0")], HeadFault::ContentLength),
            (Http11, &[("content-length", "99999999999999999999")], HeadFault::ContentLength),
            (Http11, &[("content-length", "\u{0661}")], HeadFault::ContentLength),
            (Http2, &[("content-length", "1"), ("content-length", "2")], HeadFault::ContentLength),
            (Http11, &[("content-length", "1"), ("transfer-encoding", "chunked")], HeadFault::TransferEncoding),
            (Http11, &[("transfer-encoding", "chunked"), ("content-length", "1")], HeadFault::TransferEncoding),
            (
                Http11,
                &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
                HeadFault::TransferEncoding,
            ),
            (Http11, &[("transfer-encoding", "gzip, chunked")], HeadFault::TransferEncoding),
            (Http11, &[("transfer-encoding", "chunked, identity")], HeadFault::TransferEncoding),
            (Http11, &[("transfer-encoding", "identity")], HeadFault::TransferEncoding),
            (Http11, &[("transfer-encoding", "xchunked")], HeadFault::TransferEncoding),
            (Http11, &[("transfer-encoding", "\u{b}chunked")], HeadFault::Field),
            (Http11, &[("transfer-encoding", "chunked;q=1")], HeadFault::TransferEncoding),
            (Http11, &[("transfer-encoding", "")], HeadFault::TransferEncoding),
            (Http10, &[("transfer-encoding", "chunked")], HeadFault::TransferEncoding),
            (Http2, &[("transfer-encoding", "chunked")], HeadFault::TransferEncoding),
            (Http11, &[("transfer_encoding", "chunked"), ("content-length", "x")], HeadFault::ContentLength),
            (Http11, &[("transfer-encoding ", "chunked")], HeadFault::Field),
        ];
        for (version, fields, fault) in bad {
            assert_eq!(post(version, fields), Err(fault), "{version:?} {fields:?}");
        }
        let framing = |fields| post(Http11, fields).map(|checked| checked.framing);
        assert_eq!(
            framing(&[("content-length", "9999999999999999999")]),
            Ok(Framing::Length(9_999_999_999_999_999_999))
        );
        assert_eq!(framing(&[("content-length", "007")]), Ok(Framing::Length(7)));
        assert_eq!(framing(&[("transfer-encoding", "Chunked")]), Ok(Framing::Chunked));
        assert_eq!(framing(&[]), Ok(Framing::None));
        for method in ["GET", "HEAD"] {
            let with = |field| check(line(method, "/", Http11), &[HOST, field]).map(|checked| checked.framing);
            assert_eq!(with(("content-length", "0")), Ok(Framing::Length(0)));
            assert_eq!(with(("content-length", "1")), Err(HeadFault::Body));
            assert_eq!(with(("transfer-encoding", "chunked")), Err(HeadFault::Body));
        }
    }

    #[test]
    fn there_is_one_host() {
        let of = |fields: Fields<'_>| check(line("GET", "/", Version::Http11), fields).err();
        assert_eq!(of(&[]), Some(HeadFault::Host));
        assert_eq!(of(&[HOST, HOST]), Some(HeadFault::Host));
        for bad in [
            "",
            ":8443",
            "a@b",
            "a b",
            "a/b",
            "a:b",
            "a:123456",
            "[::1",
            "::1",
            "[]",
            "a,b",
            "[::1]x",
            "a:8443:8443",
            "\u{fc}",
            "a?b",
        ] {
            assert_eq!(of(&[("host", bad)]), Some(HeadFault::Host), "{bad:?}");
        }
        for good in ["a", "a:", "a:8443", "192.0.2.1:8443", "[2001:db8::1]", "[2001:db8::1]:8443", "e_1.example.com."] {
            assert_eq!(of(&[("host", good)]), None, "{good:?}");
        }
        let with = |authority, fields: Fields<'_>| {
            let line = RequestLine { authority, ..line("GET", "/", Version::Http11) };
            check(line, fields).err()
        };
        assert_eq!(with(Some("E1.example.com:8443"), &[HOST]), None);
        assert_eq!(with(Some("e2.example.com:8443"), &[HOST]), Some(HeadFault::Host));
        assert_eq!(with(Some("user@e1.example.com"), &[]), Some(HeadFault::Host));
    }

    #[test]
    fn lines_and_fields_are_what_the_rfcs_say() {
        let of = |method, target| check(line(method, target, Version::Http11), &[HOST]).err();
        for bad in ["", "G T", "GET\r\n", "G\u{e9}T", "GET/", "\"GET\"", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"] {
            assert_eq!(of(bad, "/"), Some(HeadFault::Method), "{bad:?}");
        }
        assert_eq!(of("CONNECT", "/"), Some(HeadFault::MethodNotServed));
        assert_eq!(of("TRACE", "/"), Some(HeadFault::MethodNotServed));
        for bad in ["", "*", "x", "http://a/", "/a b", "/a\u{0}", "/a#b", "/\u{fc}", "/a\tb", "/a\r\nx: y", "/\u{7f}"] {
            assert_eq!(of("GET", bad), Some(HeadFault::Target), "{bad:?}");
        }
        assert_eq!(of("GET", &format!("/{}", "a".repeat(TARGET_BYTES_MAX))), Some(HeadFault::TargetTooLong));
        let with = |field| check(line("GET", "/", Version::Http11), &[HOST, field]).err();
        for bad in
            [("", "x"), ("a b", "x"), ("A", "x"), ("a:", "x"), ("a", "x\r\ny: z"), ("a", "\u{0}"), ("a", "\u{7f}")]
        {
            assert_eq!(with(bad), Some(HeadFault::Field), "{bad:?}");
        }
        assert_eq!(with(("a", "\u{fc}\tx")), None);
        assert_eq!(with(("expect", "100-Continue")), None);
        assert_eq!(with(("expect", "")), Some(HeadFault::Expectation));
        assert_eq!(with(("expect", "200-ok")), Some(HeadFault::Expectation));
        let twice = [HOST, ("authorization", "Basic YTpi"), ("authorization", "Basic YTpi")];
        assert_eq!(check(line("GET", "/", Version::Http11), &twice).err(), Some(HeadFault::Authorization));
    }

    #[test]
    fn connection_names_the_connections_own() {
        let with = |version, field| check(line("GET", "/", version), &[HOST, field]).err();
        for bad in
            ["host", "close, Authorization", "cookie", "content-length", "Transfer-Encoding", "a b", "x-auth", "a;b"]
        {
            assert_eq!(with(Version::Http11, ("connection", bad)), Some(HeadFault::Connection), "{bad:?}");
        }
        for good in ["", ",", "close", "Upgrade, HTTP2-Settings", "keep-alive, x-forwarded-for"] {
            assert_eq!(with(Version::Http11, ("connection", good)), None, "{good:?}");
        }
        for (name, value) in [
            ("connection", "close"),
            ("keep-alive", "1"),
            ("proxy-connection", "x"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
        ] {
            assert_eq!(with(Version::Http2, (name, value)), Some(HeadFault::Connection), "{name}");
        }
        assert_eq!(with(Version::Http2, ("te", "trailers")), None);
        let many = [
            HOST,
            ("connection", "a"),
            ("connection", "b"),
            ("connection", "c"),
            ("connection", "d"),
            ("connection", "e"),
        ];
        assert_eq!(check(line("GET", "/", Version::Http11), &many).err(), Some(HeadFault::TooLarge));
    }

    #[test]
    fn heads_are_bounded() {
        let of = |fields: Fields<'_>| check(line("GET", "/", Version::Http11), fields).err();
        let many = vec![("a", "b"); HEADER_FIELDS_MAX - 1];
        assert_eq!(of(&[&[HOST][..], &many].concat()), None);
        assert_eq!(of(&[&[HOST, HOST][..], &many].concat()), Some(HeadFault::Host));
        assert_eq!(of(&[&[HOST, ("a", "b")][..], &many].concat()), Some(HeadFault::TooLarge));
        let (name, value) = ("n".repeat(HEADER_NAME_CHARS_MAX), "v".repeat(HEADER_VALUE_BYTES_MAX));
        assert_eq!(of(&[HOST, (&name, "x"), ("a", &value)]), None);
        assert_eq!(of(&[HOST, ("a", &value), ("b", &value)]), Some(HeadFault::TooLarge));
        let (name, value) = (format!("{name}n"), format!("{value}v"));
        assert_eq!(of(&[HOST, (&name, "x")]), Some(HeadFault::TooLarge));
        assert_eq!(of(&[HOST, ("a", &value)]), Some(HeadFault::TooLarge));
    }

    #[test]
    fn responses_are_checked_alike() {
        let of = |status, fields: Fields<'_>| {
            let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
            check_response(Version::Http11, status, fields).map(|checked| checked.framing)
        };
        assert_eq!(of(200, &[("content-length", "5")]), Ok(Framing::Length(5)));
        assert_eq!(of(200, &[("transfer-encoding", "chunked")]), Ok(Framing::Chunked));
        assert_eq!(
            of(200, &[("transfer-encoding", "chunked"), ("content-length", "5")]),
            Err(HeadFault::TransferEncoding)
        );
        assert_eq!(of(200, &[("content-length", "5"), ("content-length", "6")]), Err(HeadFault::ContentLength));
        assert_eq!(of(200, &[("set-cookie", "a=b\r\nx: y")]), Err(HeadFault::Field));
        for status in [0, 99, 101, 600] {
            assert_eq!(of(status, &[]), Err(HeadFault::TransferEncoding), "{status}");
        }
        assert_eq!(of(204, &[("transfer-encoding", "chunked")]), Err(HeadFault::TransferEncoding));
    }
}
