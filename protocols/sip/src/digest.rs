//! Digest authentication (RFC 7616, RFC 2617, RFC 8760; RFC 3261 §22.4): challenge, answer and
//! check as pure functions. MD5 and SHA-256, `qop=auth` or none.
//!
//! Who is asked, how long a nonce lives and whether a nonce count was seen before is for the
//! caller to decide; nonces and cnonces are the caller's randomness.

use std::fmt::Write as _;

use edgeway_model::Secret;
use md5::Md5;
use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

use crate::limits::{DIGEST_PARAMS_MAX, DIGEST_VALUE_BYTES_MAX};
use crate::value;

/// The hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `MD5`: what phones speak, and the default where none is named.
    #[default]
    Md5,
    /// `SHA-256`.
    Sha256,
}

impl Algorithm {
    /// As written in the `algorithm` parameter.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn recognise(text: &str) -> Option<Self> {
        [Self::Md5, Self::Sha256].into_iter().find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(text))
    }

    /// The hash over the parts joined by colons, in hexadecimal.
    fn hash(self, parts: &[&str]) -> String {
        match self {
            Self::Md5 => hex(&feed(Md5::new(), parts).finalize()),
            Self::Sha256 => hex(&feed(Sha256::new(), parts).finalize()),
        }
    }
}

fn feed<D: md5::Digest>(mut hash: D, parts: &[&str]) -> D {
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            hash.update(b":");
        }
        hash.update(part.as_bytes());
    }
    hash
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// The raw hashes of user, realm and password, with MD5 and SHA-256: to be kept where one is wanted in the
/// place of the password (RFC 7616 §3.4.2).
#[must_use]
pub fn hashes(user: &str, realm: &str, password: &str) -> (Secret<16>, Secret<32>) {
    let parts = [user, realm, password];
    let (md5, sha256) = (feed(Md5::new(), &parts).finalize(), feed(Sha256::new(), &parts).finalize());
    (Secret::new(md5.into()), Secret::new(sha256.into()))
}

/// The hash of user, realm and password: as good as the password for that realm, so a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ha1 {
    hex: Secret<64>,
    algorithm: Algorithm,
}

impl Ha1 {
    /// Of a user in a realm.
    #[must_use]
    pub fn new(algorithm: Algorithm, user: &str, realm: &str, password: &str) -> Self {
        let hash = algorithm.hash(&[user, realm, password]);
        let mut hex = [0; 64];
        hex[..hash.len()].copy_from_slice(hash.as_bytes());
        Self { hex: Secret::new(hex), algorithm }
    }

    /// Out of the raw MD5 hash, as [`hashes`] makes it.
    #[must_use]
    pub fn from_md5(hash: &Secret<16>) -> Self {
        Self::from_hash(Algorithm::Md5, hash.expose())
    }

    /// Out of the raw SHA-256 hash, as [`hashes`] makes it.
    #[must_use]
    pub fn from_sha256(hash: &Secret<32>) -> Self {
        Self::from_hash(Algorithm::Sha256, hash.expose())
    }

    fn from_hash(algorithm: Algorithm, hash: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(hash) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        let ha1 = Self { hex: Secret::new(text), algorithm };
        text.zeroize();
        ha1
    }

    /// The algorithm it was made with; no other can use it.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn text(&self) -> &str {
        let length = match self.algorithm {
            Algorithm::Md5 => 32,
            Algorithm::Sha256 => 64,
        };
        std::str::from_utf8(&self.hex.expose()[..length]).unwrap_or_default()
    }
}

/// The value of a WWW-Authenticate or Proxy-Authenticate line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// The realm.
    pub realm: String,
    /// The nonce.
    pub nonce: String,
    /// The hash.
    pub algorithm: Algorithm,
    /// Whether `qop=auth` is offered.
    pub qop_auth: bool,
    /// To be returned as it is.
    pub opaque: Option<String>,
    /// The credentials were right, the nonce was too old.
    pub stale: bool,
}

impl Challenge {
    /// Parses one line's value. `None` if it is no Digest challenge we can answer.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let params = Parameters::parse(value)?;
        // Absent `qop` is RFC 2069 style; present without `auth` we cannot answer.
        let qop_auth = match params.find("qop") {
            Some(qop) if qop.split(',').any(|option| option.trim().eq_ignore_ascii_case("auth")) => true,
            Some(_) => return None,
            None => false,
        };
        Some(Self {
            realm: params.find("realm")?.to_owned(),
            nonce: params.find("nonce")?.to_owned(),
            algorithm: params.algorithm()?,
            qop_auth,
            opaque: params.find("opaque").map(str::to_owned),
            stale: params.find("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    /// The value of the header line.
    #[must_use]
    pub fn to_value(&self) -> String {
        let mut out = String::from("Digest ");
        push_quoted(&mut out, "realm", &self.realm);
        out.push_str(", ");
        push_quoted(&mut out, "nonce", &self.nonce);
        if let Some(opaque) = &self.opaque {
            out.push_str(", ");
            push_quoted(&mut out, "opaque", opaque);
        }
        out.push_str(", algorithm=");
        out.push_str(self.algorithm.as_str());
        if self.qop_auth {
            out.push_str(", qop=\"auth\"");
        }
        if self.stale {
            out.push_str(", stale=true");
        }
        out
    }

    /// The credentials that answer this challenge. `cnonce` must be fresh, `nc` counts the uses of
    /// this nonce from 1; without `qop` neither is sent.
    #[must_use]
    pub fn answer(&self, asked: &Asked<'_>, user: &str, password: &str) -> Credentials {
        let Asked { method, uri, cnonce, nc } = *asked;
        let mut credentials = Credentials {
            username: user.to_owned(),
            realm: self.realm.clone(),
            nonce: self.nonce.clone(),
            uri: uri.to_owned(),
            response: String::new(),
            algorithm: self.algorithm,
            count: self.qop_auth.then(|| Count { cnonce: cnonce.to_owned(), nc }),
            opaque: self.opaque.clone(),
        };
        let ha1 = Ha1::new(self.algorithm, user, &self.realm, password);
        credentials.response = credentials.expected(&ha1, method);
        credentials
    }
}

/// The request that is to be authenticated, and the client's part of the answer.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// The `uri` parameter: the Request-URI as the client sent it.
    pub uri: &'a str,
    /// The client's nonce.
    pub cnonce: &'a str,
    /// How often this nonce has been used, this time included.
    pub nc: u32,
}

/// The client's nonce and the count of uses, which go with `qop=auth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The client's nonce.
    pub cnonce: String,
    /// The nonce count.
    pub nc: u32,
}

/// The value of an Authorization or Proxy-Authorization line. All of it is the client's claim.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The realm.
    pub realm: String,
    /// The nonce it answers.
    pub nonce: String,
    /// The Request-URI the client says it used. The caller compares it with the request.
    pub uri: String,
    /// The response, hexadecimal.
    pub response: String,
    /// The hash.
    pub algorithm: Algorithm,
    /// Present with `qop=auth`.
    pub count: Option<Count>,
    /// Returned from the challenge.
    pub opaque: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A response is enough to guess the password offline.
        f.debug_struct("Credentials").field("realm", &self.realm).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Parses one line's value. `None` if it is no well-formed Digest with an algorithm and qop we
    /// know.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let params = Parameters::parse(value)?;
        let count = match params.find("qop") {
            Some(qop) if qop.eq_ignore_ascii_case("auth") => {
                let nc = params.find("nc").filter(|nc| nc.len() == 8)?;
                let nc =
                    nc.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(nc, 16).ok())??;
                Some(Count { cnonce: params.find("cnonce")?.to_owned(), nc })
            }
            Some(_) => return None,
            None => None,
        };
        Some(Self {
            username: params.find("username")?.to_owned(),
            realm: params.find("realm")?.to_owned(),
            nonce: params.find("nonce")?.to_owned(),
            uri: params.find("uri")?.to_owned(),
            response: params.find("response")?.to_owned(),
            algorithm: params.algorithm()?,
            count,
            opaque: params.find("opaque").map(str::to_owned),
        })
    }

    /// The value of the header line.
    #[must_use]
    pub fn to_value(&self) -> String {
        let mut out = String::from("Digest ");
        let quoted = [
            ("username", &self.username),
            ("realm", &self.realm),
            ("nonce", &self.nonce),
            ("uri", &self.uri),
            ("response", &self.response),
        ];
        for (name, text) in quoted {
            push_quoted(&mut out, name, text);
            out.push_str(", ");
        }
        out.push_str("algorithm=");
        out.push_str(self.algorithm.as_str());
        if let Some(count) = &self.count {
            out.push_str(", qop=auth, ");
            push_quoted(&mut out, "cnonce", &count.cnonce);
            let _ = write!(out, ", nc={:08x}", count.nc);
        }
        if let Some(opaque) = &self.opaque {
            out.push_str(", ");
            push_quoted(&mut out, "opaque", opaque);
        }
        out
    }

    /// Whether the response proves knowledge of `ha1` for a request of this method. Compares in
    /// constant time. Freshness of the nonce is the caller's business.
    #[must_use]
    pub fn verify(&self, ha1: &Ha1, method: &str) -> bool {
        let expected = self.expected(ha1, method);
        let given = self.response.to_ascii_lowercase();
        ha1.algorithm == self.algorithm && bool::from(expected.as_bytes().ct_eq(given.as_bytes()))
    }

    /// RFC 7616 §3.4.1 (and RFC 2069 where there is no qop).
    fn expected(&self, ha1: &Ha1, method: &str) -> String {
        let ha2 = self.algorithm.hash(&[method, &self.uri]);
        match &self.count {
            Some(Count { cnonce, nc }) => {
                self.algorithm.hash(&[ha1.text(), &self.nonce, &format!("{nc:08x}"), cnonce, "auth", &ha2])
            }
            None => self.algorithm.hash(&[ha1.text(), &self.nonce, &ha2]),
        }
    }
}

/// `name="text"`, escaped, without anything that could end the line.
pub(crate) fn push_quoted(out: &mut String, name: &str, text: &str) {
    out.push_str(name);
    out.push_str("=\"");
    for character in text.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

/// The comma-separated parameters of a Digest value, unquoted and unescaped.
struct Parameters {
    found: SmallVec<[(String, String); 12]>,
}

impl Parameters {
    fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value::trim(value)).ok()?;
        let (scheme, rest) = text.split_at_checked(6)?;
        let starts = rest.bytes().next().is_some_and(value::is_lws);
        if !scheme.eq_ignore_ascii_case("Digest") || !starts {
            return None;
        }
        let mut found: SmallVec<[(String, String); 12]> = SmallVec::new();
        for range in value::Values::new(rest.as_bytes()) {
            let (name, value) = rest.get(range)?.split_once('=')?;
            let (name, value) = (name.trim_ascii(), unquote(value.trim_ascii())?);
            let twice = found.iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(name));
            if !value::is_token(name.as_bytes()) || twice || found.len() == DIGEST_PARAMS_MAX {
                return None;
            }
            found.push((name.to_owned(), value));
        }
        Some(Self { found })
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.found.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn algorithm(&self) -> Option<Algorithm> {
        self.find("algorithm").map_or(Some(Algorithm::Md5), Algorithm::recognise)
    }
}

fn unquote(text: &str) -> Option<String> {
    if text.len() > DIGEST_VALUE_BYTES_MAX {
        return None;
    }
    if !text.starts_with('"') {
        return (!text.contains(['"', '\r', '\n'])).then(|| text.to_owned());
    }
    if value::quoted_end(text.as_bytes(), 0) != Some(text.len()) {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.get(1..text.len() - 1)?.chars();
    while let Some(character) = characters.next() {
        out.push(if character == '\\' { characters.next()? } else { character });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked<'_> =
        Asked { method: "GET", uri: "/dir/index.html", cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", nc: 1 };

    fn challenge(algorithm: Algorithm) -> Challenge {
        let text = format!(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={}, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU\"",
            algorithm.as_str()
        );
        Challenge::parse(text.as_bytes()).expect("a challenge")
    }

    #[test]
    fn the_examples_of_rfc_7616() {
        let answer = challenge(Algorithm::Md5).answer(&ASKED, "Mufasa", "Circle of Life");
        assert_eq!(answer.response, "8ca523f5e9506fed4657c9700eebdbec");
        let answer = challenge(Algorithm::Sha256).answer(&ASKED, "Mufasa", "Circle of Life");
        assert_eq!(answer.response, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
    }

    #[test]
    fn raw_hashes_are_the_same_secret() {
        let (md5, sha256) = hashes("Mufasa", "http-auth@example.org", "Circle of Life");
        let of = |algorithm| Ha1::new(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life");
        assert_eq!(Ha1::from_md5(&md5), of(Algorithm::Md5));
        assert_eq!(Ha1::from_sha256(&sha256), of(Algorithm::Sha256));
    }

    #[test]
    fn without_qop_as_in_rfc_2069() {
        let challenge =
            Challenge::parse(b"digest realm=\"testrealm@host.com\",nonce=dcd98b7102dd2f0e8b11d0f600bfb0c093");
        let answer = challenge.expect("a challenge").answer(&ASKED, "Mufasa", "Circle Of Life");
        assert_eq!(answer.response, "670fd8c2df070c60b045671b8b24ff02");
        assert_eq!(answer.count, None);
        assert!(!answer.to_value().contains("cnonce"));
    }

    #[test]
    fn an_answer_survives_its_text_and_verifies() {
        let ha1 = Ha1::new(Algorithm::Md5, "a\"\\b", "http-auth@example.org", "s3cret");
        let answer = challenge(Algorithm::Md5).answer(&ASKED, "a\"\\b", "s3cret");
        let read = Credentials::parse(answer.to_value().as_bytes()).expect("credentials");
        assert_eq!(read, answer);
        assert!(read.verify(&ha1, "GET"));
        assert!(!read.verify(&ha1, "REGISTER"));
        assert!(!read.verify(&Ha1::new(Algorithm::Md5, "a\"\\b", "http-auth@example.org", "other"), "GET"));
        assert!(!read.verify(&Ha1::new(Algorithm::Sha256, "a\"\\b", "http-auth@example.org", "s3cret"), "GET"));
        let next = Credentials { count: read.count.clone().map(|count| Count { nc: 2, ..count }), ..read };
        assert!(!next.verify(&ha1, "GET"));
    }

    #[test]
    fn a_challenge_survives_its_text() {
        let challenge = Challenge { stale: true, ..challenge(Algorithm::Sha256) };
        assert_eq!(Challenge::parse(challenge.to_value().as_bytes()), Some(challenge));
    }

    #[test]
    fn what_cannot_be_answered_is_none() {
        for bad in [
            "Basic realm=\"x\"",
            "NoOneKnows opaque-data=here",
            "Digest",
            "Digest realm=\"x\"",
            "Digest realm=\"x\", nonce=\"n\", qop=\"auth-int\"",
            "Digest realm=\"x\", nonce=\"n\", algorithm=MD5-sess",
            "Digest realm=\"x\", nonce=\"n\", nonce=\"m\"",
            "Digest realm=\"x\" y, nonce=\"n\"",
            "Digest realm=\"x, nonce=n",
        ] {
            assert_eq!(Challenge::parse(bad.as_bytes()), None, "{bad}");
        }
        let answer = "Digest username=u, realm=r, nonce=n, uri=\"sip:x\", response=f, qop=auth, cnonce=c, nc=";
        for bad in ["1", "+0000001", "000000001", "0000000g"] {
            assert_eq!(Credentials::parse(format!("{answer}{bad}").as_bytes()), None, "{bad}");
        }
        assert!(Credentials::parse(format!("{answer}0000000a").as_bytes()).is_some());
    }

    #[test]
    fn nothing_secret_is_printed() {
        let answer = challenge(Algorithm::Md5).answer(&ASKED, "Mufasa", "Circle of Life");
        assert!(!format!("{answer:?}").contains(&answer.response));
        assert!(!format!("{:?}", Ha1::new(Algorithm::Md5, "u", "r", "p")).contains("text"));
    }
}
