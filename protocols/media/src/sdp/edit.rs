//! Writing a description for the other side: a copy of its lines with the few that concern
//! transport changed.

use std::net::IpAddr;

use edgeway_model::media::SrtpKey;

use super::{Connection, Crypto, Description, Profile, attribute, unspecified_like};

/// What must be said instead.
pub(super) struct Edit<'a> {
    /// Our address on that side.
    pub(super) address: IpAddr,
    /// What becomes of each section, in order.
    pub(super) sections: Vec<SectionEdit<'a>>,
}

/// What becomes of one section.
pub(super) struct SectionEdit<'a> {
    /// Our RTP port on that side; 0 refuses or ends the stream.
    pub(super) port: u16,
    /// Its profile on that side. [`Profile::Datagrams`] and [`Profile::Other`] leave it as it is.
    pub(super) profile: Profile,
    /// The keys to announce in it, with their tags.
    pub(super) crypto: Vec<(u32, &'a SrtpKey)>,
    /// Whether RTCP may come to the RTP port.
    pub(super) mux: bool,
    /// Whether encryption is offered in a profile without it.
    pub(super) fallback: bool,
}

/// Attributes that speak of a transport that ends here, in every section: never passed on. RTCP
/// is always on the port after RTP or on the same, ICE is not spoken by a relay, and keys belong
/// to one leg.
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
    b"key-mgmt",
    b"bundle-only",
];

/// The same for RTP alone: DTLS-SRTP is not spoken. In a section that is no RTP they belong to the
/// protocol on top (BFCP's `a=setup`, RFC 8856 §5), and in a refused one they harm nobody.
const RTP_ENDS_HERE: &[&[u8]] = &[b"fingerprint", b"setup", b"tls-id"];

const FALLBACK: &[u8] = b"X-cisco-srtp-fallback";

impl Edit<'_> {
    /// The description for the other side. Lines end in CRLF.
    pub(super) fn apply(&self, description: &Description) -> Vec<u8> {
        let mut out = Vec::with_capacity(description.text.len() + 128);
        for index in 0..description.session_lines {
            self.session_line(&mut out, description.line(index));
        }
        debug_assert_eq!(self.sections.len(), description.sections().len());
        for (edit, section) in self.sections.iter().zip(description.sections()) {
            let mut announced = edit.port == 0;
            for index in section.lines.clone() {
                let line = description.line(index);
                if line[0] == b'a' && !std::mem::replace(&mut announced, true) {
                    edit.announce(&mut out);
                }
                match line[0] {
                    b'm' => edit.media_line(&mut out, line),
                    b'a' if edit.is_rtp() && RTP_ENDS_HERE.contains(&attribute(&line[2..]).0) => {}
                    _ => self.common_line(&mut out, line),
                }
            }
            if !announced {
                edit.announce(&mut out);
            }
        }
        out
    }

    fn session_line(&self, out: &mut Vec<u8>, line: &[u8]) {
        match line[0] {
            b'o' => self.origin_line(out, line),
            b'a' if attribute(&line[2..]).0 == b"group" && line[2..].starts_with(b"group:BUNDLE") => {}
            b'a' if RTP_ENDS_HERE.contains(&attribute(&line[2..]).0) => {}
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
}

impl SectionEdit<'_> {
    /// A section that is passed on as refused. Its profile is what the other side must see.
    pub(super) const fn refused(profile: Profile) -> Self {
        Self { port: 0, profile, crypto: Vec::new(), mux: false, fallback: false }
    }

    fn is_rtp(&self) -> bool {
        self.port != 0 && self.profile.token().is_some()
    }

    fn announce(&self, out: &mut Vec<u8>) {
        for (tag, key) in &self.crypto {
            Crypto::write(out, *tag, key);
            out.extend_from_slice(b"\r\n");
        }
        if self.fallback {
            copy(out, &[b"a=", FALLBACK].concat());
        }
        if self.mux {
            copy(out, b"a=rtcp-mux");
        }
    }

    fn media_line(&self, out: &mut Vec<u8>, line: &[u8]) {
        let mut parts = line.split(|&b| b == b' ').filter(|part| !part.is_empty());
        let (kind, _port, profile) = (parts.next(), parts.next(), parts.next());
        out.extend_from_slice(kind.unwrap_or(b"m="));
        out.extend_from_slice(format!(" {} ", self.port).as_bytes());
        match self.profile.token() {
            Some(token) => out.extend_from_slice(token.as_bytes()),
            None => out.extend_from_slice(profile.unwrap_or(b"RTP/AVP")),
        }
        for format in parts {
            out.push(b' ');
            out.extend_from_slice(format);
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn ends_here(name: &[u8]) -> bool {
    ENDS_HERE.contains(&name) || name.eq_ignore_ascii_case(FALLBACK)
}

fn copy(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(line);
    out.extend_from_slice(b"\r\n");
}
