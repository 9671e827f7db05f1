//! One Via value (RFC 3261 §20.42): the way a response takes back.

use std::net::IpAddr;

use crate::uri::{host_ip, host_port};
use crate::value::{self, Params};

/// The magic cookie of a branch made by RFC 3261 rules (§8.1.1.7).
pub const BRANCH_COOKIE: &str = "z9hG4bK";

/// One Via value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// The transport as written: `UDP`, `TCP`, `TLS` …
    pub transport: &'a str,
    /// The sender's host, brackets of an IPv6 address stripped.
    pub host: &'a str,
    /// The sender's port, if written.
    pub port: Option<u16>,
    version: &'a str,
    params: &'a str,
}

impl<'a> Via<'a> {
    /// Parses one value, white space and folding included. `None` if it is malformed.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        Self::read(bytes).filter(|via| value::params_valid(via.params.as_bytes()))
    }

    /// Takes a value apart without looking into its parameters: for values already parsed once.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(value::trim(bytes)).ok()?;
        let (protocol, rest) = value::split_at_byte(text, b'/')?;
        let (version, rest) = value::split_at_byte(rest, b'/')?;
        let (version, rest) = (trim_lws(version), trim_lws(rest));
        if !trim_lws(protocol).eq_ignore_ascii_case("SIP") || !value::is_token(version.as_bytes()) {
            return None;
        }
        let (transport, rest) = rest.split_at_checked(value::find_lws(rest.as_bytes())?)?;
        if !value::is_token(transport.as_bytes()) {
            return None;
        }
        let end = memchr::memchr(b';', rest.as_bytes()).unwrap_or(rest.len());
        let (sent_by, params) = rest.split_at_checked(end)?;
        let (host, port) = host_port(trim_lws(sent_by))?;
        Some(Self { transport, host, port, version, params })
    }

    /// The `branch` parameter.
    #[must_use]
    pub fn branch(&self) -> Option<&'a str> {
        self.param("branch").flatten()
    }

    /// The value of a parameter: outer `None` if absent, inner `None` if it has no value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Option<&'a str>> {
        self.params().named(name)
    }

    /// The parameters in order.
    #[must_use]
    pub const fn params(&self) -> Params<'a> {
        Params::new(self.params)
    }

    /// The `received` parameter, brackets stripped (RFC 5118 §4.5: both forms occur).
    #[must_use]
    pub fn received(&self) -> Option<&'a str> {
        let text = self.param("received").flatten()?;
        Some(text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text))
    }

    /// The `rport` parameter (RFC 3581): outer `None` if absent, inner `None` while it asks for
    /// the port and nobody has filled it in (or it is malformed).
    #[must_use]
    pub fn rport(&self) -> Option<Option<u16>> {
        let value = self.param("rport")?;
        Some(value.and_then(|port| value::digits(port.as_bytes())).and_then(|port| u16::try_from(port).ok()))
    }

    /// The sender's host as an address, if it is one.
    #[must_use]
    pub fn host_ip(&self) -> Option<IpAddr> {
        host_ip(self.host)
    }

    /// The protocol version as written, `2.0` in every honest message.
    #[must_use]
    pub const fn version(&self) -> &'a str {
        self.version
    }

    pub(crate) const NONE: Via<'static> = Via { transport: "", host: "", port: None, version: "", params: "" };
}

fn trim_lws(text: &str) -> &str {
    text.get(value::trim_range(text.as_bytes(), 0..text.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_via() {
        let via =
            Via::parse(b"SIP/2.0/TLS 198.51.100.4:58980;branch=z9hG4bK1;received=[2001:db8::1];rport").expect("ok");
        assert_eq!((via.transport, via.host, via.port), ("TLS", "198.51.100.4", Some(58980)));
        assert_eq!(via.branch(), Some("z9hG4bK1"));
        assert_eq!(via.received(), Some("2001:db8::1"));
        assert_eq!(via.rport(), Some(None));
        assert_eq!(Via::parse(b"SIP/2.0/UDP h;rport=5062").expect("ok").rport(), Some(Some(5062)));
    }

    #[test]
    fn white_space_and_folding_everywhere() {
        let via = Via::parse(b"SIP  / 2.0\r\n / TCP  \r\n  spindle.example.org : 5070  ;\r\n  branch  =\r\n  x1 ; a")
            .expect("ok");
        assert_eq!((via.transport, via.host, via.port), ("TCP", "spindle.example.org", Some(5070)));
        assert_eq!(via.branch(), Some("x1"));
        assert_eq!(via.param("A"), Some(None));
    }

    #[test]
    fn malformed_vias_are_none() {
        for bad in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0 h",
            "SIP/2.0/UDP h;;",
            "SIP/2.0/UDP ;branch=x",
            "XMPP/2.0/TCP h",
            "SIP/2.0/UDP h x",
            "SIP/2.0/UDP 2001:db8::1",
        ] {
            assert_eq!(Via::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
