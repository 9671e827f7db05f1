//! Sign-in, both sides: PLAIN (RFC 4616), SCRAM (RFC 5802, 7677), OAUTHBEARER (RFC 7628) and Cisco's one-time passwords.

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::num::NonZeroU32;

use crate::limits::SCRAM_ITERATIONS;

/// A way to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// `PLAIN`.
    Plain,
    /// `SCRAM-SHA-1`.
    ScramSha1,
    /// `SCRAM-SHA-256`.
    ScramSha256,
    /// `OAUTHBEARER`; the password is the token.
    OAuthBearer,
    /// `CISCO-VTG-TOKEN`; the password is a one-time password.
    CiscoVtgToken,
}

impl Mechanism {
    /// All of them, the best first.
    pub const ALL: [Self; 5] =
        [Self::ScramSha256, Self::ScramSha1, Self::Plain, Self::OAuthBearer, Self::CiscoVtgToken];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::CiscoVtgToken => "CISCO-VTG-TOKEN",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    fn hash(self) -> Option<Hash> {
        match self {
            Self::ScramSha1 => Some(Hash {
                derive: pbkdf2::PBKDF2_HMAC_SHA1,
                key: hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                digest: &digest::SHA1_FOR_LEGACY_USE_ONLY,
            }),
            Self::ScramSha256 => {
                Some(Hash { derive: pbkdf2::PBKDF2_HMAC_SHA256, key: hmac::HMAC_SHA256, digest: &digest::SHA256 })
            }
            Self::Plain | Self::OAuthBearer | Self::CiscoVtgToken => None,
        }
    }
}

pub(crate) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn decoded(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()
}

/// What a client shows in its first word: a name, and what proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Password(String, String),
    Token(String, String),
    OneTime(String, String),
}

/// Reads the first word of a mechanism that has only one.
pub(crate) fn shown(mechanism: Mechanism, message: &str) -> Option<Shown> {
    let own = |name: &str, secret: &str| (name.to_owned(), secret.to_owned());
    match mechanism {
        Mechanism::Plain => {
            let mut parts = message.split('\0');
            let (_, name, secret) = (parts.next()?, parts.next()?, parts.next()?);
            let (name, secret) = own(name, secret);
            Some(Shown::Password(name, secret))
        }
        Mechanism::OAuthBearer => {
            let name = message.split(',').find_map(|part| part.strip_prefix("a=")).unwrap_or_default();
            let token = message.split('\x01').find_map(|part| part.strip_prefix("auth=Bearer "))?;
            let (name, secret) = own(name, token);
            Some(Shown::Token(name, secret))
        }
        Mechanism::CiscoVtgToken => {
            let (name, token) = message.split_once('\0')?;
            let (name, secret) = own(name.strip_prefix("userid=")?, token.strip_prefix("token=")?);
            Some(Shown::OneTime(name, secret))
        }
        Mechanism::ScramSha1 | Mechanism::ScramSha256 => None,
    }
}

/// The first word of a client.
pub(crate) fn first_word(mechanism: Mechanism, user: &str, domain: &str, secret: &str, nonce: &str) -> String {
    match mechanism {
        Mechanism::Plain => format!("\0{user}\0{secret}"),
        Mechanism::OAuthBearer => format!("n,a={user}@{domain},\x01auth=Bearer {secret}\x01\x01"),
        Mechanism::CiscoVtgToken => format!("userid={user}@{domain}\0token={secret}"),
        Mechanism::ScramSha1 | Mechanism::ScramSha256 => format!("n,,n={},r={nonce}", scram_name(user)),
    }
}

fn scram_name(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

struct Hash {
    derive: pbkdf2::Algorithm,
    key: hmac::Algorithm,
    digest: &'static digest::Algorithm,
}

impl Hash {
    fn salted(&self, password: &str, salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
        let mut out = vec![0; self.digest.output_len()];
        pbkdf2::derive(self.derive, iterations, salt, password.as_bytes(), &mut out);
        out
    }

    fn mac(&self, key: &[u8], text: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(self.key, key), text).as_ref().to_vec()
    }

    /// The client's proof and the server's signature.
    fn proofs(&self, salted: &[u8], exchange: &str) -> (Vec<u8>, Vec<u8>) {
        let client = self.mac(salted, b"Client Key");
        let stored = digest::digest(self.digest, &client);
        let signature = self.mac(stored.as_ref(), exchange.as_bytes());
        let proof = client.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        (proof, self.mac(&self.mac(salted, b"Server Key"), exchange.as_bytes()))
    }
}

fn field<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

/// A server in the middle of SCRAM: the challenge is out.
#[derive(Debug)]
pub(crate) struct ScramServer {
    pub(crate) user: String,
    pub(crate) challenge: String,
    mechanism: Mechanism,
    salt: Vec<u8>,
    first_bare: String,
}

impl ScramServer {
    /// The challenge to a client's first word.
    pub(crate) fn new(mechanism: Mechanism, first: &str, nonce: &str) -> Option<Self> {
        let bare = first.strip_prefix("n,,").or_else(|| first.strip_prefix("y,,"))?;
        let user = field(bare, "n")?.replace("=2C", ",").replace("=3D", "=");
        let salt = format!("salt of {user}").into_bytes();
        let challenge = format!("r={}{nonce},s={},i={SCRAM_ITERATIONS}", field(bare, "r")?, encoded(&salt));
        Some(Self { user, challenge, mechanism, salt, first_bare: bare.to_owned() })
    }

    /// The last word of the server, if the client's proves that it knows the password.
    pub(crate) fn verdict(&self, last: &str, password: &str) -> Option<String> {
        let hash = self.mechanism.hash()?;
        let (without, proof) = last.rsplit_once(",p=")?;
        if field(without, "r") != field(&self.challenge, "r") || !matches!(field(without, "c"), Some("biws" | "eSws")) {
            return None;
        }
        let exchange = format!("{},{},{without}", self.first_bare, self.challenge);
        let (wanted, signature) = hash.proofs(&hash.salted(password, &self.salt, SCRAM_ITERATIONS), &exchange);
        (STANDARD.decode(proof).ok()? == wanted).then(|| format!("v={}", encoded(signature)))
    }
}

/// The client's answer to a challenge, and what the server must say then.
pub(crate) fn answer(mechanism: Mechanism, first: &str, challenge: &str, password: &str) -> Option<(String, String)> {
    let hash = mechanism.hash()?;
    let bare = first.strip_prefix("n,,")?;
    let (nonce, salt) = (field(challenge, "r")?, STANDARD.decode(field(challenge, "s")?).ok()?);
    let iterations: NonZeroU32 = field(challenge, "i")?.parse().ok()?;
    if !nonce.starts_with(field(bare, "r")?) {
        return None;
    }
    let without = format!("c=biws,r={nonce}");
    let (proof, signature) =
        hash.proofs(&hash.salted(password, &salt, iterations), &format!("{bare},{challenge},{without}"));
    Some((format!("{without},p={}", encoded(proof)), format!("v={}", encoded(signature))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7677_is_computed_as_printed_there() {
        let first = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
        let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (last, signature) = answer(Mechanism::ScramSha256, first, challenge, "pencil").expect("an answer");
        assert!(last.ends_with(",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), "{last}");
        assert_eq!(signature, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn both_sides_agree_on_the_right_password_only() {
        for mechanism in [Mechanism::ScramSha1, Mechanism::ScramSha256] {
            let first = first_word(mechanism, "al,ice", "a.example", "right", "abc");
            let server = ScramServer::new(mechanism, &first, "def").expect("a challenge");
            assert_eq!(server.user, "al,ice");
            let (last, signature) = answer(mechanism, &first, &server.challenge, "right").expect("an answer");
            assert_eq!(server.verdict(&last, "right"), Some(signature));
            assert_eq!(server.verdict(&last, "wrong"), None);
        }
    }

    #[test]
    fn a_one_time_password_is_written_as_clients_write_it() {
        let word = first_word(Mechanism::CiscoVtgToken, "user", "server.com", "foo", "");
        assert_eq!(encoded(&word), "dXNlcmlkPXVzZXJAc2VydmVyLmNvbQB0b2tlbj1mb28=");
        let read = shown(Mechanism::CiscoVtgToken, &word);
        assert_eq!(read, Some(Shown::OneTime("user@server.com".to_owned(), "foo".to_owned())));
    }
}
