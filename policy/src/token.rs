//! The session token (`X-Auth`): what a core signs, and edges and cores check without asking anybody.
//!
//! ```text
//!  base64url, unpadded, of:
//!  version 1 | key id 8 | issued 8 | expires 8 | serial 8 | deployment | user | signature 64
//! ```
//! Integers are big endian, Unix milliseconds; the two names are a length byte and UTF-8. The signature is
//! Ed25519 (RFC 8032) over everything before it. A token is a secret: it is never logged.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edgeway_model::sign_in::{DEPLOYMENT_BYTES_MAX, Deployment, Subject, USER_BYTES_MAX, UserName};

use crate::limits::TOKEN_LIFE_MAX;

const VERSION: u8 = 1;
const FIXED: usize = 1 + 8 + 8 + 8 + 8;
const SIGNATURE: usize = 64;
/// Longest token, characters: longer ones are refused unread.
pub const TOKEN_CHARS_MAX: usize = (FIXED + 2 + DEPLOYMENT_BYTES_MAX + USER_BYTES_MAX + SIGNATURE).div_ceil(3) * 4;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Whose it is.
    pub subject: Subject,
    /// When whoever checks credentials was asked about the user, Unix milliseconds. A token is no younger than that
    /// however late it was made: what was revoked since covers it, wherever it comes from.
    pub issued_ms: u64,
    /// When it ends, Unix milliseconds.
    pub expires_ms: u64,
    /// A random number, so that no two tokens are the same.
    pub serial: u64,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// It has not the form of a token, or lasts longer than any of ours: somebody else's cookie, or made up.
    #[error("not a session token of ours")]
    Foreign,
    /// Its form is right, its signature is not.
    #[error("a session token with a wrong signature")]
    Forged,
    /// It was good once.
    #[error("an expired session token")]
    Expired,
    /// It says it was issued later than now, by more than clocks differ.
    #[error("a session token from the future")]
    NotYet,
}

/// How much later than now a token may have been issued: clocks of nodes differ.
const SKEW_MS: u64 = 60_000;

impl Claims {
    /// The token. `key` names the key that `sign` signs with.
    pub fn sign(&self, key: &[u8; 8], sign: impl FnOnce(&[u8]) -> [u8; 64]) -> String {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(VERSION);
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(&self.issued_ms.to_be_bytes());
        bytes.extend_from_slice(&self.expires_ms.to_be_bytes());
        bytes.extend_from_slice(&self.serial.to_be_bytes());
        for name in [self.subject.deployment.as_str(), self.subject.user.as_str()] {
            // Both are at most 128 bytes by construction.
            bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(name.as_bytes());
        }
        let signature = sign(&bytes);
        bytes.extend_from_slice(&signature);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads and checks a token. `verify` is asked with the id of the key, the signed bytes and the
    /// signature, and says `false` for keys it does not know; it is asked only about what has the right
    /// form and has not expired.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn verify(
        token: &str,
        now_ms: u64,
        verify: impl FnOnce(&[u8; 8], &[u8], &[u8; 64]) -> bool,
    ) -> Result<Self, Refusal> {
        Self::verify_late(token, now_ms, 0, verify)
    }

    /// The same, of a token that may have expired less than `late_ms` ago.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn verify_late(
        token: &str,
        now_ms: u64,
        late_ms: u64,
        verify: impl FnOnce(&[u8; 8], &[u8], &[u8; 64]) -> bool,
    ) -> Result<Self, Refusal> {
        if token.len() > TOKEN_CHARS_MAX {
            return Err(Refusal::Foreign);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| Refusal::Foreign)?;
        let (signed, signature) = bytes.split_last_chunk::<SIGNATURE>().ok_or(Refusal::Foreign)?;
        let (key, claims) = Self::read(signed).ok_or(Refusal::Foreign)?;
        if u128::from(claims.expires_ms.saturating_sub(claims.issued_ms)) > TOKEN_LIFE_MAX.as_millis() {
            return Err(Refusal::Foreign);
        }
        if claims.expires_ms.saturating_add(late_ms) <= now_ms {
            return Err(Refusal::Expired);
        }
        if claims.issued_ms > now_ms.saturating_add(SKEW_MS) {
            return Err(Refusal::NotYet);
        }
        if verify(&key, signed, signature) { Ok(claims) } else { Err(Refusal::Forged) }
    }

    fn read(signed: &[u8]) -> Option<([u8; 8], Self)> {
        let (fixed, mut names) = signed.split_first_chunk::<FIXED>()?;
        let (version, fixed) = fixed.split_first()?;
        let number = |at: usize| fixed.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        let key: [u8; 8] = fixed.get(..8)?.try_into().ok()?;
        let mut name = || {
            let (length, rest) = names.split_first()?;
            let (name, rest) = rest.split_at_checked(usize::from(*length))?;
            names = rest;
            std::str::from_utf8(name).ok()
        };
        let (deployment, user) = (Deployment::new(name()?)?, name()?);
        // One token has one form: what would be folded was never written by us.
        let user = UserName::new(user).filter(|folded| folded.as_str() == user)?;
        let claims = Self {
            subject: Subject { deployment, user },
            issued_ms: number(8)?,
            expires_ms: number(16)?,
            serial: number(24)?,
        };
        (*version == VERSION && names.is_empty()).then_some((key, claims))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        let subject = Subject { deployment: Deployment::default_one(), user: UserName::new("alice").unwrap() };
        Claims { subject, issued_ms: 1_000, expires_ms: 2_000, serial: 7 }
    }

    #[test]
    fn a_token_comes_back_as_it_was_made() {
        let token = claims().sign(&[9; 8], |_| [3; 64]);
        let check = |key: &[u8; 8], _: &[u8], signature: &[u8; 64]| *key == [9; 8] && *signature == [3; 64];
        assert_eq!(Claims::verify(&token, 1_999, check), Ok(claims()));
        assert_eq!(Claims::verify(&token, 2_000, check), Err(Refusal::Expired));
        assert_eq!(Claims::verify(&token, 1_500, |_, _, _| false), Err(Refusal::Forged));
        assert!(token.len() <= TOKEN_CHARS_MAX);
        for (now, wanted) in [(1_000, Ok(claims())), (2_499, Ok(claims())), (2_500, Err(Refusal::Expired))] {
            assert_eq!(Claims::verify_late(&token, now, 500, check), wanted, "{now}");
        }
    }

    #[test]
    fn none_lasts_longer_than_revocations_are_remembered() {
        let longest = u64::try_from(TOKEN_LIFE_MAX.as_millis()).unwrap();
        for (lasts, wanted) in [(longest, true), (longest + 1, false), (u64::MAX - 1_000, false)] {
            let token = Claims { expires_ms: 1_000 + lasts, ..claims() }.sign(&[9; 8], |_| [3; 64]);
            assert_eq!(Claims::verify(&token, 1_500, |_, _, _| true).is_ok(), wanted, "{lasts}");
        }
    }

    #[test]
    fn what_is_no_token_is_foreign_and_never_verified() {
        let good = claims().sign(&[9; 8], |_| [3; 64]);
        let longest = "A".repeat(TOKEN_CHARS_MAX + 1);
        let cut = &good[..good.len() - 8];
        for text in ["", "1e1111e1-dddb-49e9-ad0d-ab34526e2b00", "A", longest.as_str(), cut] {
            let verified = Claims::verify(text, 1_500, |_, _, _| panic!("nobody is asked about {text:?}"));
            assert_eq!(verified, Err(Refusal::Foreign), "{text:?}");
        }
    }
}
