//! Whose token a bearer token says it is. Nothing of it is proven: it is only for rate control, which must know
//! a user before the token is looked at.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edgeway_model::sign_in::UserName;
use serde::Deserialize;

/// The claims that name a user (RFC 7519 §4.1.2; `uid` is what call managers and identity providers use).
#[derive(Deserialize)]
struct Claims {
    uid: Option<String>,
    sub: Option<String>,
}

/// The user that a self-describing token (RFC 7519) names; `None` for what is no such token, which nobody
/// needs to be asked about.
#[must_use]
pub fn claimed_user(token: &str) -> Option<UserName> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    claims.uid.or(claims.sub).and_then(|user| UserName::new(&user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_read_and_nothing_is_believed() {
        let token = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(claimed_user(&token(r#"{"sub":"Alice"}"#)), UserName::new("alice"));
        assert_eq!(claimed_user(&token(r#"{"sub":"4711","uid":"bob","exp":1}"#)), UserName::new("bob"));
        for odd in [r#"{"sub":1}"#, r#"{"sub":"a:b"}"#, "{}", "[]", "", "\u{fc}"] {
            assert_eq!(claimed_user(&token(odd)), None, "{odd:?}");
        }
        for odd in ["", "opaque", "a.b", "e30.e30", "e30.!.c2ln", "e30.e30.c2ln.e30.e30"] {
            assert_eq!(claimed_user(odd), None, "{odd:?}");
        }
    }
}
