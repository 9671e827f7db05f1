//! The join token: one line that an operator carries from the edge to the core. Pure.
//!
//! ```text
//! edgewayj1.<base64url of: key hash 32 | secret 32 | check 4 | host:port>
//! ```
//! The check is the start of SHA-256 over the rest; it tells a token cut short by the clipboard
//! from one that was never valid. It protects nothing: the secret does.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edgeway_model::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::limits::{ADDRESS_BYTES_MAX, TOKEN_CHARS_MAX};

/// What every token starts with; the digit is the version of joining.
pub const TOKEN_PREFIX: &str = "edgewayj1.";

/// Names an invitation without giving away its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InviteId(pub [u8; 8]);

/// The key both sides prove to know. It is derived from the token's secret and is all the edge
/// keeps of it.
pub type InviteKey = Secret<32>;

/// A join token. `Debug` shows the address only.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    address: String,
    key_hash: [u8; 32],
    secret: Secret<32>,
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not start as a token does.
    #[error("this is no join token: one starts with `{TOKEN_PREFIX}`; get it from `edgeway edge invite` on the edge")]
    NotAToken,
    /// It starts like one of a later version.
    #[error("this token was made by a newer edge: update the core first")]
    Newer,
    /// Something is missing or altered.
    #[error("the token is incomplete or altered: copy the whole line again")]
    Damaged,
    /// The address of the edge is no `host:port`.
    #[error("the address of the edge must be host:port, for example edge1.dmz.example.com:7001")]
    Address,
}

impl Token {
    /// A token for the edge that listens for links on `address` (`host:port`, as the core dials it)
    /// with the key of `key_hash`.
    ///
    /// # Errors
    /// [`TokenError::Address`].
    pub fn new(address: &str, key_hash: [u8; 32], secret: Secret<32>) -> Result<Self, TokenError> {
        if !is_address(address) {
            return Err(TokenError::Address);
        }
        Ok(Self { address: address.to_owned(), key_hash, secret })
    }

    /// Reads a token; white space around it is ignored.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let Some(body) = text.strip_prefix(TOKEN_PREFIX) else {
            let newer =
                text.strip_prefix("edgewayj").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
            return Err(if newer { TokenError::Newer } else { TokenError::NotAToken });
        };
        if text.len() > TOKEN_CHARS_MAX {
            return Err(TokenError::Damaged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| TokenError::Damaged)?;
        let (key_hash, rest) = bytes.split_first_chunk::<32>().ok_or(TokenError::Damaged)?;
        let (secret, rest) = rest.split_first_chunk::<32>().ok_or(TokenError::Damaged)?;
        let (check, address) = rest.split_first_chunk::<4>().ok_or(TokenError::Damaged)?;
        let address = std::str::from_utf8(address).map_err(|_| TokenError::Damaged)?;
        if *check != checksum(key_hash, secret, address) {
            return Err(TokenError::Damaged);
        }
        Self::new(address, *key_hash, Secret::new(*secret))
    }

    /// The line an operator carries. The one way out of the secret.
    #[must_use]
    pub fn reveal(&self) -> String {
        let mut bytes = Vec::with_capacity(68 + self.address.len());
        bytes.extend_from_slice(&self.key_hash);
        bytes.extend_from_slice(self.secret.expose());
        bytes.extend_from_slice(&checksum(&self.key_hash, self.secret.expose(), &self.address));
        bytes.extend_from_slice(self.address.as_bytes());
        format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Where the core dials the edge, `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// SHA-256 of the edge's public key.
    #[must_use]
    pub const fn key_hash(&self) -> [u8; 32] {
        self.key_hash
    }

    /// Which invitation this is.
    #[must_use]
    pub fn invite_id(&self) -> InviteId {
        let [a, b, c, d, e, f, g, h, ..] = self.derive(b"edgeway-join/1 id");
        InviteId([a, b, c, d, e, f, g, h])
    }

    /// What both sides prove to know.
    #[must_use]
    pub fn invite_key(&self) -> InviteKey {
        Secret::new(self.derive(b"edgeway-join/1 key"))
    }

    fn derive(&self, label: &[u8]) -> [u8; 32] {
        mac(self.secret.expose(), &[label]).finalize().into_bytes().into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.address)
    }
}

/// HMAC-SHA-256 over the parts, one after the other.
pub(crate) fn mac(key: &[u8; 32], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    for part in parts {
        mac.update(part);
    }
    mac
}

/// Whether `text` is `host:port`: a name, an IPv4 address or an IPv6 address in brackets.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let port_is_good = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0);
    let host_is_good = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_')
                && !host.starts_with(['-', '.'])
        }
    };
    text.len() <= ADDRESS_BYTES_MAX && port_is_good && host_is_good
}

fn checksum(key_hash: &[u8; 32], secret: &[u8; 32], address: &str) -> [u8; 4] {
    let digest: [u8; 32] =
        Sha256::new().chain_update(key_hash).chain_update(secret).chain_update(address.as_bytes()).finalize().into();
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> Token {
        Token::new("edge1.dmz.example.com:7001", [7; 32], Secret::new([9; 32])).unwrap()
    }

    #[test]
    fn a_token_survives_the_clipboard() {
        let line = format!("  {}\r\n", token().reveal());
        assert_eq!(Token::parse(&line), Ok(token()));
        assert!(token().reveal().len() < TOKEN_CHARS_MAX);
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", token()), "Token(edge1.dmz.example.com:7001)");
    }

    #[test]
    fn a_cut_or_altered_token_is_told_from_another_text() {
        let line = token().reveal();
        assert_eq!(Token::parse(&line[..line.len() - 3]), Err(TokenError::Damaged));
        assert_eq!(Token::parse("edgewayj1."), Err(TokenError::Damaged));
        assert_eq!(Token::parse("hello"), Err(TokenError::NotAToken));
        assert_eq!(Token::parse("edgewayj2.AAAA"), Err(TokenError::Newer));
        for at in TOKEN_PREFIX.len()..line.len() {
            let mut bytes = line.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(Token::parse(std::str::from_utf8(&bytes).unwrap()).is_err(), "altered at {at}");
        }
    }

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["edge1:7001", "10.0.0.1:1", "[2001:db8::1]:7001", "e.example.com:65535"] {
            assert!(is_address(good), "{good}");
        }
        let long = format!("{}:7001", "x".repeat(300));
        for bad in
            ["", "edge1", ":7001", "edge1:", "edge1:0", "edge1:65536", "edge1:+7", "2001:db8::1:7001", "a b:1", &long]
        {
            assert!(!is_address(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = Token::parse(&text);
            let _ = Token::parse(&format!("{TOKEN_PREFIX}{text}"));
        }

        #[test]
        fn every_token_reads_back(host in "[a-z][a-z0-9.]{0,60}", port in 1u16.., hash: [u8; 32], secret: [u8; 32]) {
            let token = Token::new(&format!("{host}:{port}"), hash, Secret::new(secret)).unwrap();
            prop_assert_eq!(Token::parse(&token.reveal()), Ok(token));
        }
    }
}
