//! Names of hosts in their one form.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Denial;
use crate::address;

/// RFC 1035 §2.3.4.
const NAME_CHARS_MAX: usize = 253;
const LABEL_CHARS_MAX: usize = 63;

/// A host as it is compared and dialled: a name in lower case without a trailing dot, or an address in its
/// canonical form (RFC 5952) without brackets.
///
/// Whatever a resolver or a library could take for an address that it is not written as is refused: numbers
/// as hosts, octal and hexadecimal parts, missing parts, and IPv6 addresses that carry an IPv4 address.
pub(super) fn canonical(host: &str) -> Result<Cow<'_, str>, Denial> {
    if host.contains([':', '[', ']']) {
        return six(host).map(|address| Cow::Owned(address.to_string()));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.len() > NAME_CHARS_MAX || !name.split('.').all(is_label) {
        return Err(Denial::Host);
    }
    if ends_in_number(name) {
        // Rust's parser takes four decimal parts without leading zeros, and nothing else.
        let address = host.parse::<Ipv4Addr>().map_err(|_| Denial::Host)?;
        return Ok(Cow::Owned(address.to_string()));
    }
    Ok(if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    })
}

/// Letters, digits, hyphens inside, and underscores, which names of real servers have. Names in other scripts
/// are written as `xn--…` by whoever means them: there is no mapping here that could mean something else.
fn is_label(label: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let fits = (1..=LABEL_CHARS_MAX).contains(&label.len()) && label.bytes().all(legal);
    fits && !label.starts_with('-') && !label.ends_with('-')
}

/// What URL parsers take for an IPv4 address (WHATWG URL, "ends in a number"): no top-level domain is a number.
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn six(host: &str) -> Result<Ipv6Addr, Denial> {
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or(Denial::Host)?,
        None => host,
    };
    // Neither brackets inside nor a zone: the parser takes none.
    let address = bare.parse::<Ipv6Addr>().map_err(|_| Denial::Host)?;
    if address::carries_v4(address) { Err(Denial::Host) } else { Ok(address) }
}

/// Whether a host is an address that no UC server has: this machine, its link, many at once, or the service
/// that tells a cloud's machines their secrets.
pub(super) fn is_special(canonical: &str) -> bool {
    canonical.parse::<IpAddr>().is_ok_and(address::is_special)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_form() {
        for (host, form) in [
            ("cucm1.example.com", "cucm1.example.com"),
            ("CUCM1.Example.com.", "cucm1.example.com"),
            ("cucm_1", "cucm_1"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:DB8:0:0:0:0:0:1]", "2001:db8::1"),
            ("2001:db8::0001", "2001:db8::1"),
            ("::1", "::1"),
            ("1.example", "1.example"),
            ("0x7f.example", "0x7f.example"),
        ] {
            assert_eq!(canonical(host).as_deref(), Ok(form), "{host}");
        }
    }

    #[test]
    fn what_could_be_two_hosts_is_none() {
        for host in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a..",
            "-a",
            "a-",
            "a b",
            "a\u{0}",
            "a%2e",
            "a/b",
            "a\\b",
            "a@b",
            "a?b",
            "a#b",
            "a;b",
            "b\u{fc}cher.example",
            "cucm1\u{3002}example",
            "\u{ff11}92.0.2.1",
            "2130706433",
            "0x7f000001",
            "017700000001",
            "127.1",
            "127.0.1",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "127.0.0.01",
            "127.0.0.1.",
            "127.0.0.256",
            "127.0.0.1.5",
            "1.2.3.4.0x",
            "foo.0x1",
            "192.0.2.1:80",
            "[::ffff:127.0.0.1]",
            "::ffff:7f00:1",
            "::127.0.0.1",
            "[64:ff9b::7f00:1]",
            "64:ff9b:1::7f00:1",
            "2002:7f00:1::",
            "2001:0:7f00:1::",
            "fe80::200:5efe:7f00:1",
            "::ffff:0:7f00:1",
            "fe80::1%eth0",
            "[fe80::1%25eth0]",
            "[::1",
            "::1]",
            "[[::1]]",
            "[]",
            "[v1.x]",
            "[127.0.0.1]",
            "1::2::3",
            ":::",
            "[2001:db8::1]x",
            "0:0:0:0:0:0:0:0:1",
        ] {
            assert_eq!(canonical(host), Err(Denial::Host), "{host:?}");
        }
        assert_eq!(canonical(&"a.".repeat(128)), Err(Denial::Host));
        assert_eq!(canonical(&"a".repeat(64)), Err(Denial::Host));
    }

    #[test]
    fn special_addresses_are_known() {
        for host in
            ["127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "100.100.100.200"]
        {
            assert!(is_special(host), "{host}");
        }
        for host in ["::1", "::", "fe80::1", "ff02::1", "fd00:ec2::254"] {
            assert!(is_special(host), "{host}");
        }
        for host in ["192.0.2.1", "10.0.0.1", "2001:db8::1", "localhost.example"] {
            assert!(!is_special(host), "{host}");
        }
    }
}
