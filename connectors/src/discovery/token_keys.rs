//! The keys that sign a cluster's access tokens: a JWK set (RFC 7517 §5) of RSA keys (RFC 7518 §6.3).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use edgeway_policy::discovery::OauthKey;
use http::Method;
use serde::Deserialize;

use super::fault::{AskFault, told};
use super::limits::JWKS_KEYS_MAX;
use super::web::{Question, Web};
use crate::unified_cm::TOKEN_KEYS_PATH;
use crate::unified_cm::axl::{ask_patiently, refused};

const QUESTION: &str = "the keys of its tokens";
/// RSA below this is broken, above it is a burden on every sign-in (RFC 8725 §3.5).
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// 65537 has 3 bytes; what is longer makes checks slow.
const EXPONENT_BYTES_MAX: usize = 8;

/// The keys of the cluster; `None` where it issues no self-describing tokens.
pub(crate) async fn fetch(web: &dyn Web) -> Result<Option<Vec<OauthKey>>, AskFault> {
    let (method, path, body) = (Method::GET, TOKEN_KEYS_PATH, Bytes::new());
    let question = Question { method, path, action: None, credentials: None, body };
    let reply = ask_patiently(web, question, QUESTION).await?;
    if reply.status == 404 {
        return Ok(None);
    }
    match refused(&reply, QUESTION) {
        Some(refusal) => Err(refusal),
        None => parse(&reply.body).map(Some).map_err(|why| AskFault::Unreadable { question: QUESTION, why }),
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
}

/// The keys of a set, by id: those for signatures by RSA. Others are passed over, as RFC 7517 §5 has it; a key of
/// that kind that is broken makes the whole set worthless, and so do two with one id.
pub(crate) fn parse(document: &[u8]) -> Result<Vec<OauthKey>, String> {
    let set: Set = serde_json::from_slice(document).map_err(|_| "it is no JWK set".to_owned())?;
    if set.keys.len() > JWKS_KEYS_MAX {
        return Err(format!("it holds {} keys, more than {JWKS_KEYS_MAX}", set.keys.len()));
    }
    let mut keys = Vec::new();
    for jwk in set.keys {
        if jwk.kty == "RSA" && jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig") {
            keys.push(key(&jwk)?);
        }
    }
    keys.sort();
    match keys.windows(2).find(|pair| matches!(pair, [one, other] if one.id == other.id)) {
        Some(_) => Err("two keys have one id".to_owned()),
        None => Ok(keys),
    }
}

fn key(jwk: &Jwk) -> Result<OauthKey, String> {
    let id = jwk.kid.as_deref().filter(|id| !id.is_empty()).ok_or("a key has no id")?;
    let number = |text: &Option<String>| {
        let bytes = URL_SAFE_NO_PAD.decode(text.as_deref()?.trim_end_matches('=')).ok()?;
        let first = bytes.iter().position(|byte| *byte != 0)?;
        bytes.get(first..).map(<[u8]>::to_vec)
    };
    let broken = || format!("the key {:?} is broken", told(id));
    let (modulus, exponent) = (number(&jwk.n).ok_or_else(broken)?, number(&jwk.e).ok_or_else(broken)?);
    let leading = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
    let sound = MODULUS_BITS.contains(&(modulus.len() * 8 - leading))
        && is_odd(&modulus)
        && is_odd(&exponent)
        && exponent.len() <= EXPONENT_BYTES_MAX
        && exponent != [1];
    if !sound {
        return Err(format!("the key {:?} is none to trust", told(id)));
    }
    Ok(OauthKey { id: id.to_owned(), public: subject_public_key_info(&modulus, &exponent) })
}

/// RSAPublicKey (RFC 8017 §A.1.1) in SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), DER.
fn subject_public_key_info(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    const SEQUENCE: u8 = 0x30;
    const BIT_STRING: u8 = 0x03;
    // rsaEncryption, with its NULL (RFC 3279 §2.3.1).
    const ALGORITHM: [u8; 15] =
        [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let key = tagged(SEQUENCE, &[integer(modulus), integer(exponent)].concat());
    let bits = tagged(BIT_STRING, &[&[0], key.as_slice()].concat());
    tagged(SEQUENCE, &[&ALGORITHM, bits.as_slice()].concat())
}

fn integer(number: &[u8]) -> Vec<u8> {
    const INTEGER: u8 = 0x02;
    // The first bit is a sign.
    let sign: &[u8] = if number.first().is_some_and(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
    tagged(INTEGER, &[sign, number].concat())
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let mut out = vec![tag];
    let significant: Vec<u8> = length.iter().copied().skip_while(|byte| *byte == 0).collect();
    match (significant.as_slice(), u8::try_from(significant.len())) {
        ([], _) => out.push(0),
        ([short], _) if *short < 0x80 => out.push(*short),
        // At most eight bytes: what they count fits seven bits.
        (long, Ok(count)) => {
            out.push(0x80 | count);
            out.extend_from_slice(long);
        }
        (_, Err(_)) => {}
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};

    use super::*;

    fn jwk(id: &str, n: &[u8], e: &[u8]) -> String {
        let (n, e) = (URL_SAFE_NO_PAD.encode(n), URL_SAFE_NO_PAD.encode(e));
        format!(r#"{{"kty":"RSA","use":"sig","alg":"RS256","kid":"{id}","n":"{n}","e":"{e}"}}"#)
    }

    fn set(keys: &[String]) -> Vec<u8> {
        format!(r#"{{"keys":[{}],"more":1}}"#, keys.join(",")).into_bytes()
    }

    #[test]
    fn a_key_comes_out_as_another_library_writes_it() {
        for size in [KeySize::Rsa2048, KeySize::Rsa3072] {
            let pair = RsaKeyPair::generate(size).unwrap();
            let public = pair.public_key();
            let n = public.modulus().big_endian_without_leading_zero();
            let e = public.exponent().big_endian_without_leading_zero();
            let keys = parse(&set(&[jwk("one", n, e)])).unwrap();
            let expected = OauthKey { id: "one".into(), public: public.as_der().unwrap().as_ref().to_vec() };
            assert_eq!(keys.as_slice(), std::slice::from_ref(&expected));
            // A leading zero byte, which RFC 7518 §6.3.1.1 forbids and some write, changes nothing.
            assert_eq!(parse(&set(&[jwk("one", &[&[0], n].concat(), e)])).unwrap(), [expected]);
        }
    }

    #[test]
    fn what_is_no_good_key_is_refused() {
        let good = [0xff; 256];
        let short = [0xff; 255];
        let mut even = good;
        even[255] = 0xfe;
        for (document, expected) in [
            (b"".to_vec(), Err("it is no JWK set")),
            (b"<html>".to_vec(), Err("it is no JWK set")),
            (b"{\"keys\":{}}".to_vec(), Err("it is no JWK set")),
            (set(&[]), Ok(0)),
            (set(&[r#"{"kty":"EC","crv":"P-256","kid":"x"}"#.into()]), Ok(0)),
            (set(&[jwk("a", &good, &[1, 0, 1]).replace("sig", "enc")]), Ok(0)),
            (set(&[jwk("a", &good, &[1, 0, 1]), jwk("b", &good, &[3])]), Ok(2)),
            (set(&[jwk("a", &good, &[1, 0, 1]), jwk("a", &good, &[3])]), Err("two keys have one id")),
            (set(&[jwk("", &good, &[1, 0, 1])]), Err("a key has no id")),
            (set(&[jwk("a", &short, &[1, 0, 1])]), Err("the key \"a\" is none to trust")),
            (set(&[jwk("a", &even, &[1, 0, 1])]), Err("the key \"a\" is none to trust")),
            (set(&[jwk("a", &good, &[1])]), Err("the key \"a\" is none to trust")),
            (set(&[jwk("a", &good, &[2])]), Err("the key \"a\" is none to trust")),
            (set(&[jwk("a", &good, &[0xff; 9])]), Err("the key \"a\" is none to trust")),
            (set(&[jwk("a", &[0xff; 1025], &[1, 0, 1])]), Err("the key \"a\" is none to trust")),
            (set(&[jwk("a", &good, &[])]), Err("the key \"a\" is broken")),
            (set(&[jwk("a", &good, &[1, 0, 1]).replace("\"n\":\"", "\"n\":\"!")]), Err("the key \"a\" is broken")),
            (set(&vec![jwk("a", &good, &[3]); 17]), Err("it holds 17 keys, more than 16")),
        ] {
            let found = parse(&document).map(|keys| keys.len());
            assert_eq!(found, expected.map_err(str::to_owned), "{}", String::from_utf8_lossy(&document));
        }
    }
}
