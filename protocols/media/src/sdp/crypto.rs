//! The `a=crypto` attribute (RFC 4568 §9.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgeway_model::media::{CryptoSuite, SRTP_KEY_BYTES_MAX, SrtpKey};

/// One `a=crypto` attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crypto {
    /// Which of the offered attributes this is or answers.
    pub tag: u32,
    /// Suite and key, if the suite and every parameter are ones we implement. `None` otherwise: the
    /// attribute cannot be chosen.
    pub key: Option<SrtpKey>,
}

impl Crypto {
    /// Reads what follows `a=crypto:`; `None` if it is no crypto attribute at all.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(value).ok()?.split_ascii_whitespace();
        let (tag, suite, key) = (parts.next()?, parts.next()?, parts.next()?);
        if tag.is_empty() || tag.len() > 9 || !tag.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let suite = CryptoSuite::of_name(suite).filter(|_| parts.all(is_harmless));
        let key = suite.and_then(|suite| parse_key(suite, key));
        Some(Self { tag: tag.parse().ok()?, key })
    }

    /// Appends the whole line, without its end.
    pub(crate) fn write(out: &mut Vec<u8>, tag: u32, key: &SrtpKey) {
        // The text of a key is as secret as the key; the body it goes into carries it anyway.
        let line = format!("a=crypto:{tag} {} inline:{}", key.suite().name(), STANDARD.encode(key.key_and_salt()));
        out.extend_from_slice(line.as_bytes());
    }
}

/// Session parameters that change nothing for us: a window hint, a key derivation rate of zero,
/// and those marked as optional to understand (RFC 4568 §6.3.7). `UNENCRYPTED_SRTP` and its like
/// are not harmless.
fn is_harmless(parameter: &str) -> bool {
    parameter.starts_with("WSH=") || parameter.starts_with('-') || parameter == "KDR=0"
}

/// `inline:` key and salt `[|lifetime][|MKI:length]`. A lifetime is accepted (ours is shorter than
/// any call), an MKI is not: it would stand in every packet. Several keys need an MKI.
fn parse_key(suite: CryptoSuite, parameters: &str) -> Option<SrtpKey> {
    let inline =
        parameters.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("inline:")).and(parameters.get(7..))?;
    let mut parts = inline.split('|');
    let encoded = parts.next()?;
    if parts.any(|part| part.contains(':')) || inline.contains(';') {
        return None;
    }
    // The decoder wants some bytes of room more than it needs.
    let mut bytes = [0u8; SRTP_KEY_BYTES_MAX + 4];
    let written = STANDARD.decode_slice(encoded, &mut bytes).ok()?;
    SrtpKey::new(suite, &bytes[..written])
}
