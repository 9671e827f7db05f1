//! What a client shows in `Authorization`: Basic (RFC 7617) or a bearer token (RFC 6750).

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::{Zeroize as _, Zeroizing};

use crate::limits::{BASIC_PASSWORD_BYTES_MAX, BASIC_USER_BYTES_MAX, BEARER_CHARS_MAX};

/// Credentials, overwritten when dropped and never shown.
pub enum Authorization {
    /// A user's name and password.
    Basic {
        /// The name, as written; not empty.
        user: Zeroizing<String>,
        /// The password; may be empty.
        password: Zeroizing<String>,
    },
    /// A token.
    Bearer(Zeroizing<String>),
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic <secret>",
            Self::Bearer(_) => "Bearer <secret>",
        })
    }
}

/// Why an `Authorization` field holds no credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsFault {
    /// Neither Basic nor Bearer.
    #[error("credentials of an unknown kind")]
    Scheme,
    /// The form is not that of RFC 7617 or RFC 6750.
    #[error("malformed credentials")]
    Form,
    /// Longer than the limits.
    #[error("credentials longer than any real ones")]
    TooLong,
}

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
/// Longest base64 of credentials within the limits.
const BASIC_CHARS_MAX: usize = (BASIC_USER_BYTES_MAX + 1 + BASIC_PASSWORD_BYTES_MAX).div_ceil(3) * 4;

impl Authorization {
    /// Reads the value of an `Authorization` field. The name and the password are UTF-8, or else Latin-1:
    /// clients do not agree (RFC 7617 §2.1).
    ///
    /// # Errors
    /// [`CredentialsFault`]; nothing of the value is in it.
    pub fn parse(value: &[u8]) -> Result<Self, CredentialsFault> {
        let (scheme, shown) = cut(value);
        if scheme.eq_ignore_ascii_case(b"basic") {
            basic(shown)
        } else if scheme.eq_ignore_ascii_case(b"bearer") {
            bearer(shown)
        } else {
            Err(CredentialsFault::Scheme)
        }
    }

    /// The one spelling of the credentials in the value of an `Authorization` field: what [`Self::parse`] has read, and
    /// nothing that another reader might find there besides.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn canonical(value: &[u8]) -> Result<Zeroizing<String>, CredentialsFault> {
        let scheme = match Self::parse(value)? {
            Self::Basic { .. } => "Basic ",
            Self::Bearer(_) => "Bearer ",
        };
        let shown = std::str::from_utf8(cut(value).1).map_err(|_| CredentialsFault::Form)?;
        let mut text = Zeroizing::new(String::with_capacity(scheme.len() + shown.len() + 2));
        text.push_str(scheme);
        if scheme == "Basic " {
            // What was decoded has one encoding but for the padding, which clients leave out.
            let stem = shown.trim_end_matches('=');
            text.push_str(stem);
            text.extend(std::iter::repeat_n('=', stem.len().wrapping_neg() % 4));
        } else {
            text.push_str(shown);
        }
        Ok(text)
    }
}

/// The scheme, and what follows it.
fn cut(value: &[u8]) -> (&[u8], &[u8]) {
    let (scheme, rest) = value.split_at(value.iter().position(|byte| *byte == b' ').unwrap_or(value.len()));
    (scheme, rest.trim_ascii())
}

fn basic(encoded: &[u8]) -> Result<Authorization, CredentialsFault> {
    if encoded.len() > BASIC_CHARS_MAX {
        return Err(CredentialsFault::TooLong);
    }
    // Decoded in one buffer that never grows: no copy is left behind.
    let mut decoded = Zeroizing::new([0; BASIC_CHARS_MAX]);
    let length = STANDARD.decode_slice(encoded, decoded.as_mut_slice()).map_err(|_| CredentialsFault::Form)?;
    let pair = decoded.get(..length).ok_or(CredentialsFault::Form)?;
    let colon = pair.iter().position(|byte| *byte == b':').ok_or(CredentialsFault::Form)?;
    let (user, password) = pair.split_at_checked(colon).ok_or(CredentialsFault::Form)?;
    let (user, password) = (text(user), text(password.get(1..).unwrap_or_default()));
    if user.is_empty() || user.chars().chain(password.chars()).any(char::is_control) {
        return Err(CredentialsFault::Form);
    }
    if user.len() > BASIC_USER_BYTES_MAX || password.len() > BASIC_PASSWORD_BYTES_MAX {
        return Err(CredentialsFault::TooLong);
    }
    Ok(Authorization::Basic { user, password })
}

fn text(bytes: &[u8]) -> Zeroizing<String> {
    // Latin-1 becomes at most twice as long in UTF-8.
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    match std::str::from_utf8(bytes) {
        Ok(utf8) => text.push_str(utf8),
        Err(_) => text.extend(bytes.iter().map(|byte| char::from(*byte))),
    }
    text
}

fn bearer(token: &[u8]) -> Result<Authorization, CredentialsFault> {
    if token.len() > BEARER_CHARS_MAX {
        return Err(CredentialsFault::TooLong);
    }
    // RFC 6750 §2.1: b64token.
    let stem = token.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    let stem = token.get(..stem).filter(|stem| !stem.is_empty() && stem.iter().all(legal));
    let mut owned = Zeroizing::new(String::with_capacity(token.len()));
    match (stem, std::str::from_utf8(token)) {
        (Some(_), Ok(token)) => owned.push_str(token),
        (None, _) | (_, Err(_)) => {
            owned.zeroize();
            return Err(CredentialsFault::Form);
        }
    }
    Ok(Authorization::Bearer(owned))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(value: &[u8]) -> Result<(String, String), CredentialsFault> {
        Ok(match Authorization::parse(value)? {
            Authorization::Basic { user, password } => (user.to_string(), password.to_string()),
            Authorization::Bearer(token) => (String::new(), token.to_string()),
        })
    }

    fn of_basic(pair: &[u8]) -> Result<(String, String), CredentialsFault> {
        read(format!("Basic {}", STANDARD.encode(pair)).as_bytes())
    }

    #[test]
    fn basic_is_cut_at_the_first_colon() {
        assert_eq!(read(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), Ok(("Aladdin".into(), "open sesame".into())));
        assert_eq!(read(b"bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ"), Ok(("Aladdin".into(), "open sesame".into())));
        assert_eq!(of_basic(b"alice:a:b"), Ok(("alice".into(), "a:b".into())));
        assert_eq!(of_basic(b"alice:"), Ok(("alice".into(), String::new())));
        assert_eq!(of_basic("j\u{fc}rgen:\u{a3}".as_bytes()), Ok(("j\u{fc}rgen".into(), "\u{a3}".into())));
        assert_eq!(of_basic(b"j\xfcrgen:\xa3"), Ok(("j\u{fc}rgen".into(), "\u{a3}".into())));
    }

    #[test]
    fn what_is_no_basic_is_refused() {
        for pair in [&b"alice"[..], b":secret", b"", b"ali\x00ce:x", b"alice:a\r\nb", b"alice:\x7f", b"al\xc2\x85:x"] {
            assert_eq!(of_basic(pair), Err(CredentialsFault::Form), "{pair:?}");
        }
        for value in
            [&b"Basic"[..], b"Basic ", b"Basic !!!!", b"Basic QWxhZGRpbjpv cGVu", b"Basic QR==", b"Basic YTpi,"]
        {
            assert_eq!(read(value), Err(CredentialsFault::Form), "{value:?}");
        }
        for value in [&b""[..], b"Digest username=a", b"Basic\tQWxhZGRpbjpv", b" Basic QWxhZGRpbjpv", b"Basically QQ"] {
            assert_eq!(read(value), Err(CredentialsFault::Scheme), "{value:?}");
        }
        let user = format!("{}:x", "u".repeat(BASIC_USER_BYTES_MAX + 1));
        let password = format!("u:{}", "x".repeat(BASIC_PASSWORD_BYTES_MAX + 1));
        for pair in [user, password, "x:".repeat(9_999)] {
            assert_eq!(of_basic(pair.as_bytes()), Err(CredentialsFault::TooLong), "{}", pair.len());
        }
    }

    #[test]
    fn bearer_tokens_are_b64tokens() {
        for token in ["mF_9.B5f-4.1JqM", "a~+/==", "eyJ.eyJ.sig"] {
            assert_eq!(read(format!("Bearer {token}").as_bytes()), Ok((String::new(), token.into())));
        }
        for token in ["", "=", "a=b", "a b", "a,b", "\u{fc}", "a\u{0}"] {
            assert_eq!(read(format!("Bearer {token}").as_bytes()), Err(CredentialsFault::Form), "{token:?}");
        }
        let long = format!("Bearer {}", "a".repeat(BEARER_CHARS_MAX + 1));
        assert_eq!(read(long.as_bytes()), Err(CredentialsFault::TooLong));
    }

    #[test]
    fn credentials_have_one_spelling() {
        for (value, canonical) in [
            (&b"Basic YWxpY2U6cmlnaHQ="[..], "Basic YWxpY2U6cmlnaHQ="),
            (b"bAsIc   YWxpY2U6cmlnaHQ  ", "Basic YWxpY2U6cmlnaHQ="),
            (b"BASIC YTpi", "Basic YTpi"),
            (b"basic YWI6 ", "Basic YWI6"),
            (b"Basic YTpiYw", "Basic YTpiYw=="),
            (b"bearer \ta~+/== \t", "Bearer a~+/=="),
            (b"Bearer eyJ.eyJ.sig", "Bearer eyJ.eyJ.sig"),
        ] {
            assert_eq!(Authorization::canonical(value).as_deref().map(String::as_str), Ok(canonical), "{value:?}");
        }
        for value in [&b""[..], b"Basic", b"Basic QR==", b"Negotiate YTpi", b"NTLM TlRMTVNTUAAB", b"Basic YTpi YTpi"] {
            assert!(Authorization::canonical(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn nothing_of_it_is_shown() {
        let shown = format!("{:?} {:?}", Authorization::parse(b"Basic YTpi"), Authorization::parse(b"Bearer hunter2"));
        assert_eq!(shown, "Ok(Basic <secret>) Ok(Bearer <secret>)");
    }

    proptest! {
        #[test]
        fn what_was_put_in_comes_out(user in "[^:\\p{Cc}]{1,30}", password in "[^\\p{Cc}]{0,60}") {
            let pair = format!("{user}:{password}");
            prop_assert_eq!(of_basic(pair.as_bytes()), Ok((user, password)));
            let value = format!("Basic {}", STANDARD.encode(pair));
            let canonical = Authorization::canonical(value.as_bytes()).unwrap();
            prop_assert_eq!(canonical.as_str(), value.as_str());
        }
    }
}
