//! Whose token a bearer token says it is (RFC 7519). Nothing of it is proven: it is for what must be known before
//! a token is checked, and to refuse what says of itself that it is somebody else's.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edgeway_model::sign_in::UserName;
use serde_json::{Map, Value};

use crate::limits::BEARER_CHARS_MAX;

/// Claims that may hold the user's name, in the order they are looked for. Call managers name their users in `uid`
/// or `sub`; the others count where neither is there.
pub const USER_CLAIMS: [&str; 4] = ["uid", "sub", "user_id", "preferred_username"];

/// The user that these claims name: the first of [`USER_CLAIMS`] that is there counts, and if it holds no name,
/// nobody is named.
#[must_use]
pub fn user_in(claims: &Map<String, Value>) -> Option<UserName> {
    USER_CLAIMS.iter().find_map(|claim| claims.get(*claim)).and_then(Value::as_str).and_then(UserName::new)
}

/// The user that a self-describing token names, whoever has signed it, and how; `None` for what is no such token
/// (RFC 7515 §7.1: three parts) or names nobody.
#[must_use]
pub fn claimed_user(token: &str) -> Option<UserName> {
    if token.len() > BEARER_CHARS_MAX {
        return None;
    }
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    user_in(&serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_read_and_nothing_is_believed() {
        let token = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        for (claims, user) in [
            (r#"{"sub":"Alice"}"#, "alice"),
            (r#"{"sub":"4711","uid":"bob","exp":1}"#, "bob"),
            (r#"{"preferred_username":"carol"}"#, "carol"),
            (r#"{"user_id":"dave","preferred_username":"carol"}"#, "dave"),
        ] {
            assert_eq!(claimed_user(&token(claims)), UserName::new(user), "{claims}");
        }
        for odd in [r#"{"sub":1}"#, r#"{"sub":"a:b"}"#, r#"{"uid":7,"sub":"bob"}"#, "{}", "[]", "", "\u{fc}"] {
            assert_eq!(claimed_user(&token(odd)), None, "{odd:?}");
        }
        for odd in ["", "opaque", "a.b", "e30.e30", "e30.!.c2ln", "e30.e30.c2ln.e30.e30"] {
            assert_eq!(claimed_user(odd), None, "{odd:?}");
        }
        let long = format!("{}{}", token(r#"{"sub":"alice"}"#), "A".repeat(BEARER_CHARS_MAX));
        assert_eq!(claimed_user(&long), None);
    }
}
