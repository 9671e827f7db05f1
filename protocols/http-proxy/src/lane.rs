//! The grammar of paths: `/<base64(domain)>/verb`, the small lane, and
//! `/<base64(domain "/" scheme "/" host "/" port)>/path?query`, the descriptor lane.
//!
//! Base64 with or without padding. Its two alphabets differ in what they write for 62 and 63, and neither
//! can occur: domains and hosts are letters, digits and `- . _ : [ ]`, parts are divided by `/`, and no three
//! of these bytes give a 62 or 63 in any place. So one alphabet is enough for both, and every other
//! character in the segment is a mistake. Bits left over must be zero (RFC 4648 §3.5): a descriptor has one
//! form, padding aside.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::limits::{HOST_CHARS_MAX, LABEL_CHARS_MAX, SEGMENT_CHARS_MAX, TARGET_BYTES_MAX};

/// How a UC server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plain.
    Http,
    /// Over TLS.
    Https,
}

/// What the small lane can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// `get_edge_config`.
    GetEdgeConfig,
    /// `get_edge_sso`.
    GetEdgeSso,
    /// `access_token`.
    AccessToken,
    /// `authorize`.
    Authorize,
}

impl Verb {
    /// As it stands in a path; a slash behind it is no matter.
    fn named(segment: &str) -> Option<Self> {
        Some(match segment.strip_suffix('/').unwrap_or(segment) {
            "get_edge_config" => Self::GetEdgeConfig,
            "get_edge_sso" => Self::GetEdgeSso,
            "access_token" => Self::AccessToken,
            "authorize" => Self::Authorize,
            _ => return None,
        })
    }
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lane {
    /// To the core's own provisioning service.
    Small {
        /// The service domain, in lower case.
        domain: String,
        /// What is asked.
        verb: Verb,
        /// The query without its question mark; empty if there is none.
        query: String,
    },
    /// To an HTTP server inside, by the reverse proxy. What stands here was only decoded: whether it may
    /// be reached is for the allow list.
    Descriptor {
        /// The service domain, in lower case.
        domain: String,
        /// Plain or TLS.
        scheme: Scheme,
        /// As the client wrote it.
        host: String,
        /// As the client wrote it; the scheme's own where it wrote none.
        port: u16,
        /// Path and query as the client wrote them; begins with a slash.
        path: String,
    },
}

/// Why a path leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneFault {
    /// The first segment is no base64 of a descriptor.
    #[error("the path does not begin with a service domain")]
    NoDescriptor,
    /// A descriptor of the wrong shape.
    #[error("the descriptor is not domain, or domain/scheme/host/port")]
    Shape,
    /// A verb that does not exist.
    #[error("there is no such service")]
    UnknownVerb,
}

/// Whether a path is one of the small lane, by its form alone: two segments, the second a verb.
#[must_use]
pub fn is_small(path: &str) -> bool {
    let verb = path.strip_prefix('/').and_then(|path| path.split_once('/')).map(|(_, verb)| verb);
    verb.is_some_and(|verb| Verb::named(verb).is_some())
}

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

impl Lane {
    /// Reads the path (with its query) of a request.
    ///
    /// # Errors
    /// [`LaneFault`], which the edge answers with 404.
    pub fn parse(path: &str) -> Result<Self, LaneFault> {
        if path.len() > TARGET_BYTES_MAX {
            return Err(LaneFault::NoDescriptor);
        }
        let rest = path.strip_prefix('/').ok_or(LaneFault::NoDescriptor)?;
        let cut = rest.find('/').filter(|cut| *cut <= SEGMENT_CHARS_MAX).ok_or(LaneFault::NoDescriptor)?;
        let (segment, tail) = rest.split_at(cut);
        let decoded = STANDARD.decode(segment).map_err(|_| LaneFault::NoDescriptor)?;
        let descriptor = String::from_utf8(decoded).map_err(|_| LaneFault::Shape)?;
        let mut parts = descriptor.split('/');
        let domain = parts.next().and_then(domain_name).ok_or(LaneFault::Shape)?;
        let Some(scheme) = parts.next() else { return small(domain, tail) };
        let scheme = match scheme {
            _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
            _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
            _ => return Err(LaneFault::Shape),
        };
        let host = parts.next().filter(|host| is_host(host)).ok_or(LaneFault::Shape)?.to_owned();
        let port = match parts.next() {
            Some(port) => port_number(port).ok_or(LaneFault::Shape)?,
            None if scheme == Scheme::Http => 80,
            None => 443,
        };
        if parts.next().is_some() {
            return Err(LaneFault::Shape);
        }
        Ok(Self::Descriptor { domain, scheme, host, port, path: tail.to_owned() })
    }
}

/// A domain in lower case without a trailing dot; `None` unless it is labels of letters, digits and hyphens
/// (RFC 1123 §2.1).
fn domain_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let legal = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (1..=LABEL_CHARS_MAX).contains(&label.len()) && legal && !label.starts_with('-') && !label.ends_with('-')
    };
    (name.len() <= HOST_CHARS_MAX && name.split('.').all(label)).then(|| name.to_ascii_lowercase())
}

/// Whether it is written with what names and addresses are written with. Whether it is one, and may be
/// reached, is for the allow list; underscores are found in names of real servers.
fn is_host(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    // With a trailing dot.
    (1..=HOST_CHARS_MAX + 1).contains(&text.len()) && text.bytes().all(legal)
}

/// A port has one form: no sign, no leading zero, and zero is none.
fn port_number(text: &str) -> Option<u16> {
    let one_form = !text.starts_with('0') && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    one_form.then(|| text.parse().ok()).flatten()
}

fn small(domain: String, tail: &str) -> Result<Lane, LaneFault> {
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let verb = path.strip_prefix('/').unwrap_or(path);
    let verb = Verb::named(verb).ok_or(LaneFault::UnknownVerb)?;
    Ok(Lane::Small { domain, verb, query: query.to_owned() })
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    fn of(descriptor: &str, tail: &str) -> Result<Lane, LaneFault> {
        Lane::parse(&format!("/{}{tail}", STANDARD_NO_PAD.encode(descriptor)))
    }

    fn long(domain: &str, scheme: Scheme, host: &str, port: u16, path: &str) -> Lane {
        Lane::Descriptor { domain: domain.into(), scheme, host: host.into(), port, path: path.into() }
    }

    #[test]
    fn descriptors_are_those_that_clients_send() {
        let domain = "example.com";
        let vectors = [
            ("ZXhhbXBsZS5jb20vaHR0cHMvY3VjbTEuZXhhbXBsZS5jb20vODQ0Mw", Scheme::Https, "cucm1.example.com", 8443),
            ("ZXhhbXBsZS5jb20vaHR0cC9jdWNtMS5leGFtcGxlLmNvbS82OTcw", Scheme::Http, "cucm1.example.com", 6970),
            ("ZXhhbXBsZS5jb20vaHR0cHMvY3VjbTEuZXhhbXBsZS5jb20vNjk3Mg", Scheme::Https, "cucm1.example.com", 6972),
            ("ZXhhbXBsZS5jb20vaHR0cHMvaW1wMS5leGFtcGxlLmNvbS84NDQz", Scheme::Https, "imp1.example.com", 8443),
        ];
        for (segment, scheme, host, port) in vectors {
            let wanted = Ok(long(domain, scheme, host, port, "/cucm-uds/version?a=b"));
            let padding = "=".repeat(segment.len().next_multiple_of(4) - segment.len());
            for padding in ["", padding.as_str()] {
                let parsed = Lane::parse(&format!("/{segment}{padding}/cucm-uds/version?a=b"));
                assert_eq!(parsed, wanted, "{segment}{padding}");
            }
        }
        let small =
            |query: &str| Ok(Lane::Small { domain: domain.into(), verb: Verb::GetEdgeConfig, query: query.into() });
        assert_eq!(Lane::parse("/ZXhhbXBsZS5jb20/get_edge_config?a=b?c"), small("a=b?c"));
        assert_eq!(Lane::parse("/ZXhhbXBsZS5jb20/get_edge_config/"), small(""));
        assert_eq!(Lane::parse("/ZXhhbXBsZS5jb20=/get_edge_config/?"), small(""));
        for (segment, domain) in
            [("dGxhYnMuZGU", "tlabs.de"), ("dGJ0cC5jb20", "tbtp.com"), ("Y2FtZWxvdC50ZXN0", "camelot.test")]
        {
            let lane = Lane::Small { domain: domain.into(), verb: Verb::GetEdgeSso, query: String::new() };
            assert_eq!(Lane::parse(&format!("/{segment}/get_edge_sso")), Ok(lane));
        }
    }

    #[test]
    fn ports_may_be_missing_and_hosts_be_addresses() {
        assert_eq!(of("a.de/https/h", "/x"), Ok(long("a.de", Scheme::Https, "h", 443, "/x")));
        assert_eq!(of("a.de/http/h", "/"), Ok(long("a.de", Scheme::Http, "h", 80, "/")));
        assert_eq!(of("A.DE./HTTP/H_1./80", "//x"), Ok(long("a.de", Scheme::Http, "H_1.", 80, "//x")));
        let six = long("a.de", Scheme::Https, "[2001:db8::1]", 8443, "/");
        assert_eq!(of("a.de/https/[2001:db8::1]/8443", "/"), Ok(six));
    }

    #[test]
    fn everything_else_leads_nowhere() {
        let label = "a".repeat(LABEL_CHARS_MAX + 1);
        let name = format!("{}a.de", "a.".repeat(125));
        for descriptor in [
            "",
            "/",
            "a.de/",
            "a.de//",
            "a.de/ftp/h/80",
            "a.de/https",
            "a.de/https/",
            "a.de/https//443",
            "a.de/https/h/",
            "a.de/https/h/0",
            "a.de/https/h/00443",
            "a.de/https/h/+443",
            "a.de/https/h/65536",
            "a.de/https/h/443/",
            "a.de/https/h/443/x",
            "a.de/https/h/4 3",
            "a.de/https/h@i/443",
            "a.de/https/h%2f/443",
            "a.de/https/h?/443",
            "a.de/https/h#/443",
            "a.de/https/h\\i/443",
            "a.de/https/h\0/443",
            "a.de/https/fe80::1%25eth0/443",
            "a..de",
            ".a.de",
            "a.de..",
            ".",
            "-a.de",
            "a-.de",
            "a_b.de",
            "a de",
            "a.d\u{fc}",
            "a.de\0",
            "[::1]",
            "a.de\r\n",
            "a.de/https/h\u{3002}i/443",
            label.as_str(),
            name.as_str(),
        ] {
            assert_eq!(of(descriptor, "/get_edge_config"), Err(LaneFault::Shape), "{descriptor:?}");
        }
        for path in [
            "",
            "/",
            "//",
            "*",
            "ZXhhbXBsZS5jb20/get_edge_config",
            "/ZXhhbXBsZS5jb20",
            "/ZXhhbXBsZS5jb20?/x",
            "/ZXhhbXBsZS5jb21/get_edge_config",
            "/ZXhhbXBsZS5jb20%2Fget_edge_config/",
            "/ZXhhbXBsZS5jb20%3D/get_edge_config",
            "/ZXhh bXBsZS5jb20/x",
            "/ZXhh=bXBsZS5jb20/x",
            "/Z/x",
            "/ZXhhbXBsZS5jb20===/x",
            "/https:%2F%2Fcucm1/x",
            "/..//x",
        ] {
            let fault = Lane::parse(path);
            assert!(matches!(fault, Err(LaneFault::NoDescriptor | LaneFault::Shape)), "{path:?}: {fault:?}");
        }
        for tail in [
            "/",
            "//get_edge_config",
            "/get_edge_config//",
            "/Get_Edge_Config",
            "/get_edge_config/x",
            "/get%5Fedge_config",
            "/?get_edge_config",
        ] {
            assert_eq!(of("a.de", tail), Err(LaneFault::UnknownVerb), "{tail:?}");
        }
        let far = format!("/{}/get_edge_config", "A".repeat(SEGMENT_CHARS_MAX + 1));
        assert_eq!(Lane::parse(&far), Err(LaneFault::NoDescriptor));
        let far = format!("/ZXhhbXBsZS5jb20/get_edge_config?{}", "a".repeat(TARGET_BYTES_MAX));
        assert_eq!(Lane::parse(&far), Err(LaneFault::NoDescriptor));
    }

    #[test]
    fn the_longest_descriptor_fits() {
        let name = format!("{}{}", "a.".repeat(126), "a");
        let descriptor = format!("{name}/https/{name}./65535");
        assert!(STANDARD.encode(&descriptor).len() <= SEGMENT_CHARS_MAX);
        assert_eq!(of(&descriptor, "/"), Ok(long(&name, Scheme::Https, &format!("{name}."), 65_535, "/")));
    }

    proptest! {
        /// The two alphabets write the same for whatever is legal.
        #[test]
        fn the_alphabets_agree(descriptor in "[A-Za-z0-9._:/\\[\\]-]{0,200}") {
            let segment = STANDARD_NO_PAD.encode(&descriptor);
            prop_assert!(!segment.contains(['+', '/']));
        }

        #[test]
        fn a_descriptor_comes_back(host in "[a-z0-9]{1,20}(\\.[a-z0-9_]{1,9}){0,3}", port in 1..=u16::MAX, path in "/[!-~]{0,40}") {
            let descriptor = format!("example.com/https/{host}/{port}");
            prop_assert_eq!(of(&descriptor, &path), Ok(long("example.com", Scheme::Https, &host, port, &path)));
        }
    }
}
