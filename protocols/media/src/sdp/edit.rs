//! Writing a description for the other side: a copy of its lines with the few that concern
//! transport changed.

use std::net::IpAddr;

use edgeway_model::media::SrtpKey;

use super::{Connection, Crypto, Description, Profile, attribute, unspecified_like};

/// What must be said instead.
pub(super) struct Edit<'a> {
    /// Our address on that side.
    pub(super) address: IpAddr,
    /// Our RTP port on that side.
    pub(super) port: u16,
    /// The section that is relayed; every other one is refused.
    pub(super) relayed: usize,
    /// Its profile on that side.
    pub(super) profile: Profile,
    /// The key to announce in it.
    pub(super) crypto: Option<(u32, &'a SrtpKey)>,
}

/// Attributes that speak of a transport that ends here: never passed on. RTCP is always on the
/// port after RTP, ICE and DTLS are not spoken by a relay, and keys belong to one leg.
const ENDS_HERE: &[&[u8]] = &[
    b"crypto",
    b"rtcp",
    b"rtcp-mux",
    b"rtcp-mux-only",
    b"candidate",
    b"remote-candidates",
    b"end-of-candidates",
    b"ice-ufrag",
    b"ice-pwd",
    b"ice-options",
    b"ice-lite",
    b"ice-mismatch",
    b"ice-pacing",
    b"fingerprint",
    b"setup",
    b"tls-id",
    b"key-mgmt",
    b"bundle-only",
];

impl Edit<'_> {
    /// The description for the other side. Lines end in CRLF.
    pub(super) fn apply(&self, description: &Description) -> Vec<u8> {
        let mut out = Vec::with_capacity(description.text.len() + 128);
        for index in 0..description.session_lines {
            self.session_line(&mut out, description.line(index));
        }
        for (number, section) in description.sections().iter().enumerate() {
            let relayed = number == self.relayed && section.port != 0;
            let mut crypto = if relayed { self.crypto } else { None };
            for index in section.lines.clone() {
                let line = description.line(index);
                if line[0] == b'a' {
                    Self::announce(&mut out, &mut crypto);
                }
                match line[0] {
                    b'm' => self.media_line(&mut out, line, number == self.relayed, relayed),
                    _ => self.common_line(&mut out, line),
                }
            }
            Self::announce(&mut out, &mut crypto);
        }
        out
    }

    fn announce(out: &mut Vec<u8>, crypto: &mut Option<(u32, &SrtpKey)>) {
        if let Some((tag, key)) = crypto.take() {
            Crypto::write(out, tag, key);
            out.extend_from_slice(b"\r\n");
        }
    }

    fn session_line(&self, out: &mut Vec<u8>, line: &[u8]) {
        match line[0] {
            b'o' => self.origin_line(out, line),
            b'a' if attribute(&line[2..]).0 == b"group" && line[2..].starts_with(b"group:BUNDLE") => {}
            _ => self.common_line(out, line),
        }
    }

    fn common_line(&self, out: &mut Vec<u8>, line: &[u8]) {
        match line[0] {
            b'c' => self.connection_line(out, line),
            // RFC 8866 §5.12: obsolete, must not be used, and would carry a key across.
            b'k' => {}
            b'a' if ends_here(attribute(&line[2..]).0) => {}
            _ => copy(out, line),
        }
    }

    /// `o=`: the address names a host of the other side; ours stands for it. Everything that
    /// identifies the description (RFC 8866 §5.2) stays.
    fn origin_line(&self, out: &mut Vec<u8>, line: &[u8]) {
        let mut spaces = line.iter().enumerate().filter(|(_, b)| **b == b' ').map(|(at, _)| at);
        match spaces.nth(2) {
            Some(at) => {
                out.extend_from_slice(&line[..=at]);
                self.push_address(out, self.address);
            }
            None => copy(out, line),
        }
    }

    fn connection_line(&self, out: &mut Vec<u8>, line: &[u8]) {
        out.extend_from_slice(b"c=");
        match Connection::parse(&line[2..]) {
            // An old-style hold must stay one on the other side.
            Some(Connection::Unspecified) => self.push_address(out, unspecified_like(self.address)),
            Some(Connection::Address(_) | Connection::Unusable) | None => self.push_address(out, self.address),
        }
    }

    fn push_address(&self, out: &mut Vec<u8>, address: IpAddr) {
        let family = if self.address.is_ipv4() { "IN IP4" } else { "IN IP6" };
        out.extend_from_slice(format!("{family} {address}\r\n").as_bytes());
    }

    fn media_line(&self, out: &mut Vec<u8>, line: &[u8], ours: bool, relayed: bool) {
        let mut parts = line.split(|&b| b == b' ').filter(|part| !part.is_empty());
        let (kind, _port, profile) = (parts.next(), parts.next(), parts.next());
        out.extend_from_slice(kind.unwrap_or(b"m="));
        let port = if relayed { self.port } else { 0 };
        out.extend_from_slice(format!(" {port} ").as_bytes());
        match self.profile.token() {
            Some(token) if ours => out.extend_from_slice(token.as_bytes()),
            Some(_) | None => out.extend_from_slice(profile.unwrap_or(b"RTP/AVP")),
        }
        for format in parts {
            out.push(b' ');
            out.extend_from_slice(format);
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn ends_here(name: &[u8]) -> bool {
    ENDS_HERE.contains(&name) || name.eq_ignore_ascii_case(b"X-cisco-srtp-fallback")
}

fn copy(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(line);
    out.extend_from_slice(b"\r\n");
}
