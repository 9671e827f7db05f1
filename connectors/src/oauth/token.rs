//! A self-describing access token: a JWS in compact form (RFC 7515 §7.1) that holds JWT claims (RFC 7519).
//!
//! Read here, with nothing but a JSON and a base64 reader, because what we take is one narrow form: two
//! algorithms, each bound to its kind of key; keys from discovery only. What a token says of keys (`jwk`, `jku`,
//! `x5c`, `x5u`) is never looked at, and one that demands what we do not know (`crit`) is refused. Nothing of a
//! token is logged.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edgeway_http_proxy::bearer::user_in;
use edgeway_model::sign_in::UserName;
use edgeway_policy::limits::TOKEN_KEY_ID_BYTES_MAX;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::authorities::limits::{TOKEN_AUDIENCES_MAX, TOKEN_BYTES_MAX, TOKEN_SKEW};

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, keys of 2048 bits or more (RFC 7518 §3.3).
    Rs256,
    /// ECDSA with P-256 and SHA-256 (RFC 7518 §3.4).
    Es256,
}

/// A token whose form is right, and of which nothing is believed yet.
pub struct Token<'a> {
    algorithm: Algorithm,
    key: Option<String>,
    signed: &'a [u8],
    signature: Vec<u8>,
    claims: Map<String, Value>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// RFC 7515 §4.1.11: what must be understood. We understand nothing of that kind.
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    /// RFC 7516 §4.1.2: then it is encrypted, and no JWS.
    #[serde(default, deserialize_with = "present")]
    enc: bool,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// What a token must say besides being signed.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Whom it may be for.
    pub audiences: Vec<String>,
    /// Whether it must say so. The key alone binds a token to the deployment's call managers.
    pub audience_required: bool,
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Who.
    pub user: UserName,
    /// Until when it holds, Unix milliseconds.
    pub until_ms: u64,
}

/// Why a token is refused. For counters and `debug`; the client is told nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenRefusal {
    /// It has expired.
    #[error("expired")]
    Expired,
    /// It holds from later on, or was issued later than now.
    #[error("not valid yet")]
    NotYet,
    /// A time it must have is missing, or is none.
    #[error("without its times")]
    Times,
    /// It is for others.
    #[error("for another audience")]
    Audience,
    /// It names no user.
    #[error("without a user")]
    User,
}

impl<'a> Token<'a> {
    /// Reads the form. `None` for what is no token we take.
    #[must_use]
    pub fn read(text: &'a str) -> Option<Self> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (message, signature) = text.rsplit_once('.')?;
        // The claims hold no further dot: URL_SAFE_NO_PAD knows none.
        let (header, claims) = message.split_once('.')?;
        let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        if header.crit || header.enc || header.kid.as_ref().is_some_and(|id| id.len() > TOKEN_KEY_ID_BYTES_MAX) {
            return None;
        }
        let algorithm = match header.alg.as_str() {
            "RS256" => Algorithm::Rs256,
            "ES256" => Algorithm::Es256,
            _ => return None,
        };
        Some(Self {
            algorithm,
            key: header.kid,
            signed: message.as_bytes(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            claims: serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?,
        })
    }

    /// The id of the key it says it is signed with.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Whether that key (SubjectPublicKeyInfo, DER) has signed it. The algorithm and the kind of the key must
    /// agree: an RSA key verifies nothing but RS256.
    #[must_use]
    pub fn is_signed_by(&self, public: &[u8]) -> bool {
        let verified = match self.algorithm {
            Algorithm::Rs256 => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public).verify(self.signed, &self.signature)
            }
            Algorithm::Es256 => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public).verify(self.signed, &self.signature)
            }
        };
        verified.is_ok()
    }

    /// The user it names, whether it is signed or not: for what is counted before anything is checked, and for
    /// nothing else.
    #[must_use]
    pub fn claimed_user(&self) -> Option<UserName> {
        user_in(&self.claims)
    }

    /// Checks what it says, once its signature is right.
    ///
    /// # Errors
    /// [`TokenRefusal`].
    pub fn check(&self, expected: &Expected, now_ms: u64) -> Result<Said, TokenRefusal> {
        let skew_ms = u64::try_from(TOKEN_SKEW.as_millis()).unwrap_or(u64::MAX);
        let until_ms = self.time("exp")?.ok_or(TokenRefusal::Times)?;
        if until_ms.saturating_add(skew_ms) <= now_ms {
            return Err(TokenRefusal::Expired);
        }
        for claim in ["nbf", "iat"] {
            if self.time(claim)?.is_some_and(|from_ms| from_ms > now_ms.saturating_add(skew_ms)) {
                return Err(TokenRefusal::NotYet);
            }
        }
        if !self.is_for(expected) {
            return Err(TokenRefusal::Audience);
        }
        // Our own clock may be the one that is fast: what has just expired holds for as long as clocks may differ.
        let until_ms = if until_ms > now_ms { until_ms } else { until_ms.saturating_add(skew_ms) };
        Ok(Said { user: self.claimed_user().ok_or(TokenRefusal::User)?, until_ms })
    }

    /// RFC 7519 §4.1.3: a string, or an array of them.
    fn is_for(&self, expected: &Expected) -> bool {
        let Some(told) = self.claims.get("aud") else { return !expected.audience_required };
        let ours = |one: &Value| one.as_str().is_some_and(|one| expected.audiences.iter().any(|ours| ours == one));
        match told.as_array() {
            Some(all) => all.iter().take(TOKEN_AUDIENCES_MAX).any(ours),
            None => ours(told),
        }
    }

    /// RFC 7519 §2, NumericDate: seconds, maybe with a fraction, as Unix milliseconds. Something else under that name is a
    /// refusal, never the same as nothing.
    fn time(&self, claim: &str) -> Result<Option<u64>, TokenRefusal> {
        let Some(value) = self.claims.get(claim) else { return Ok(None) };
        let whole = value.as_u64().map(|seconds| seconds.saturating_mul(1_000));
        // Below 2^53 seconds, and so exact enough; the cast saturates.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked, and saturating")]
        let broken =
            || value.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0).map(|s| (s * 1_000.0) as u64);
        whole.or_else(broken).map(Some).ok_or(TokenRefusal::Times)
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
