//! What is handed out once and kept only as a hash: cookies, tokens, the code for the first sign-in.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::api::Problem;

/// RFC 4648 §6: no 0, 1, 8 or 9, which look like letters.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Letters of a group of a code.
const GROUP: usize = 5;

/// 256 random bits, as text of 43 characters.
pub(crate) fn secret() -> Result<String, Problem> {
    Ok(URL_SAFE_NO_PAD.encode(random::<32>()?))
}

/// 128 random bits in groups of letters and digits, for people to type.
pub(crate) fn code() -> Result<String, Problem> {
    let letters = base32(&random::<16>()?);
    let groups: Vec<_> = letters.as_bytes().chunks(GROUP).map(|group| String::from_utf8_lossy(group)).collect();
    Ok(groups.join("-"))
}

/// A short name that is nobody else's, in lower case.
pub(crate) fn id() -> Result<String, Problem> {
    Ok(base32(&random::<10>()?).to_ascii_lowercase())
}

/// A code as somebody typed it, in the form that is hashed.
pub(crate) fn typed(code: &str) -> String {
    code.chars().filter(|char| !char.is_whitespace() && *char != '-').take(64).collect::<String>().to_ascii_uppercase()
}

/// What is kept of a secret that is too long to be guessed.
pub(crate) fn hash(secret: &str) -> String {
    Sha256::digest(secret.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What forms of a session must carry: nobody knows it who does not have the cookie.
pub(crate) fn csrf(cookie: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(b"edgeway csrf\0");
    digest.update(cookie.as_bytes());
    URL_SAFE_NO_PAD.encode(digest.finalize())
}

/// Whether both are the same, found out in the same time wherever they differ.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Problem::new("broken", "The operating system gives no random numbers."))?;
    Ok(bytes)
}

fn base32(bytes: &[u8]) -> String {
    let (mut out, mut held, mut bits) = (String::new(), 0_u32, 0);
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(char::from(BASE32[(held >> bits) as usize & 31]));
        }
    }
    if bits > 0 {
        out.push(char::from(BASE32[(held << (5 - bits)) as usize & 31]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_that_of_the_rfc() {
        // RFC 4648 §10.
        for (bytes, text) in [("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foobar", "MZXW6YTBOI")] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn a_code_is_taken_as_people_type_it() {
        let made = code().unwrap();
        assert_eq!(made.len(), 26 + 5, "{made}");
        let careless = format!(" {} ", made.to_ascii_lowercase().replace('-', " "));
        assert_eq!(typed(&careless), typed(&made));
        assert_ne!(typed(&code().unwrap()), typed(&made));
    }

    #[test]
    fn the_token_of_forms_is_of_one_cookie_and_not_the_cookie() {
        let (a, b) = (secret().unwrap(), secret().unwrap());
        assert_eq!(csrf(&a), csrf(&a));
        assert!(csrf(&a) != csrf(&b) && csrf(&a) != a && !hash(&a).contains(&csrf(&a)));
        assert!(same(&a, &a.clone()) && !same(&a, &b) && !same(&a, ""));
    }
}
