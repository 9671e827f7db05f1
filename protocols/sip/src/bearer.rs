//! Access tokens in SIP (RFC 8898, RFC 6750): the challenge, and what answers it. What a token is worth is for
//! whoever knows it to say.

use edgeway_model::Secret;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::digest::push_quoted;
use crate::limits::ACCESS_TOKEN_BYTES_MAX;
use crate::value;

/// The value of a WWW-Authenticate line that asks for a token (RFC 8898 §4). With `invalid`: the one that was
/// given is not, or no longer, good (RFC 6750 §3.1).
#[must_use]
pub fn challenge(realm: &str, invalid: bool) -> String {
    let mut out = String::from("Bearer ");
    push_quoted(&mut out, "realm", realm);
    if invalid {
        out.push_str(", error=\"invalid_token\"");
    }
    out
}

/// Whether the value of an Authorization line is of this scheme, well-formed or not.
#[must_use]
pub fn is_bearer(value: &[u8]) -> bool {
    let value = value::trim(value);
    value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"Bearer"))
        && value.get(6).is_none_or(|byte| value::is_lws(*byte))
}

/// The token in the value of an Authorization line (RFC 6750 §2.1); `None` for another scheme and for what can be
/// no token.
#[must_use]
pub fn token(value: &[u8]) -> Option<&str> {
    if !is_bearer(value) {
        return None;
    }
    let token = value::trim(value::trim(value).get(6..)?);
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    let fits = (1..=ACCESS_TOKEN_BYTES_MAX).contains(&token.len()) && token.iter().all(legal);
    std::str::from_utf8(token).ok().filter(|_| fits)
}

/// What a token is known by where the token itself must not be kept: its SHA-256.
#[must_use]
pub fn hash(token: &str) -> Secret<32> {
    Secret::new(Sha256::digest(token.as_bytes()).into())
}

/// Whether two hashes are of one token, in constant time.
#[must_use]
pub fn is_same(one: &Secret<32>, other: &Secret<32>) -> bool {
    one.expose().ct_eq(other.expose()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_and_nothing_else() {
        for (value, expected) in [
            ("Bearer a.b-c_d~e+f/g==", Some("a.b-c_d~e+f/g==")),
            ("  bEARER \t x ", Some("x")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearerx", None),
            ("Bearer a b", None),
            ("Bearer a, realm=\"x\"", None),
            ("Bearer \"a\"", None),
            ("Basic YTpi", None),
            ("Digest username=\"a\"", None),
            ("", None),
        ] {
            assert_eq!(token(value.as_bytes()), expected, "{value:?}");
        }
        let long = |length: usize| format!("Bearer {}", "x".repeat(length));
        assert!(token(long(ACCESS_TOKEN_BYTES_MAX).as_bytes()).is_some());
        assert!(token(long(ACCESS_TOKEN_BYTES_MAX + 1).as_bytes()).is_none());
        assert_eq!(token(b"Bearer \xff"), None);
        assert!(is_bearer(b"Bearer") && is_bearer(b"bearer a b") && !is_bearer(b"Bearerx y") && !is_bearer(b"Bear"));
    }

    #[test]
    fn challenges_say_whether_a_token_was_bad() {
        assert_eq!(challenge("example.com", false), "Bearer realm=\"example.com\"");
        assert_eq!(challenge("a\"b", true), "Bearer realm=\"a\\\"b\", error=\"invalid_token\"");
    }

    #[test]
    fn a_token_is_known_by_its_hash() {
        assert!(is_same(&hash("a.b.c"), &hash("a.b.c")));
        assert!(!is_same(&hash("a.b.c"), &hash("a.b.d")));
        assert_eq!(hash("abc").expose()[..4], [0xba, 0x78, 0x16, 0xbf], "SHA-256 (FIPS 180-2 B.1)");
    }
}
