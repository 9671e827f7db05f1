use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::json;

use super::*;

const NOW_MS: u64 = 1_700_000_000_000;
const NOW_S: u64 = NOW_MS / 1_000;

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn rsa() -> (RsaKeyPair, Vec<u8>) {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public = pair.public_key().as_der().unwrap().as_ref().to_vec();
    (pair, public)
}

fn rs256(pair: &RsaKeyPair, header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Unsigned: what is looked at behind a signature.
fn token(claims: &Value) -> String {
    format!("{}.{}.c2ln", encode(&json!({"alg": "RS256", "kid": "k"})), encode(claims))
}

fn claims() -> Value {
    json!({"sub": "Alice", "exp": NOW_S + 900, "nbf": NOW_S, "iat": NOW_S, "aud": "us", "iss": "cucm1"})
}

fn expected() -> Expected {
    Expected { audiences: vec!["us".to_owned(), "we".to_owned()], audience_required: false }
}

fn check(claims: &Value) -> Result<Said, TokenRefusal> {
    Token::read(&token(claims)).expect("its form is right").check(&expected(), NOW_MS)
}

#[test]
fn a_signed_token_is_verified_by_its_key_only() {
    let (pair, public) = rsa();
    let (_, other) = rsa();
    let text = rs256(&pair, &json!({"alg": "RS256", "typ": "JWT", "kid": "k1", "jku": "https://x"}), &claims());
    let token = Token::read(&text).unwrap();
    assert_eq!(token.key(), Some("k1"));
    assert!(token.is_signed_by(&public));
    assert!(!token.is_signed_by(&other) && !token.is_signed_by(b"") && !token.is_signed_by(b"k"));
    // Every part is signed.
    for at in [2, text.find('.').unwrap() + 2, text.len() - 3] {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(Token::read(&changed).is_none_or(|token| !token.is_signed_by(&public)), "changed at {at}");
    }
}

#[test]
fn elliptic_curves_are_taken_and_never_mixed_up_with_rsa() {
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
    let public = pair.public_key().as_der().unwrap().as_ref().to_vec();
    let signed = format!("{}.{}", encode(&json!({"alg": "ES256"})), encode(&claims()));
    let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    let text = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    assert!(Token::read(&text).unwrap().is_signed_by(&public));
    let (rsa_pair, rsa_public) = rsa();
    assert!(!Token::read(&text).unwrap().is_signed_by(&rsa_public));
    let text = rs256(&rsa_pair, &json!({"alg": "ES256"}), &claims());
    assert!(!Token::read(&text).unwrap().is_signed_by(&rsa_public), "the algorithm is not the key's");
}

#[test]
fn short_rsa_keys_sign_nothing() {
    // Keys of 1024 bits cannot even be made here; a modulus that is cut short is one.
    let (pair, public) = rsa();
    let text = rs256(&pair, &json!({"alg": "RS256"}), &claims());
    assert!(!Token::read(&text).unwrap().is_signed_by(&public[..public.len() / 2]));
}

#[test]
fn what_is_no_token_we_take_is_not_read() {
    let good = encode(&claims());
    let with = |header: Value| format!("{}.{good}.c2ln", encode(&header));
    let long = format!("{}.{}.c2ln", encode(&json!({"alg": "RS256"})), "A".repeat(TOKEN_BYTES_MAX));
    for text in [
        String::new(),
        "a.b".to_owned(),
        "..".to_owned(),
        format!("{good}.{good}.{good}"),
        with(json!({"alg": "none"})),
        with(json!({"alg": "None"})),
        with(json!({"alg": "HS256"})),
        with(json!({"alg": "RS512"})),
        with(json!({"alg": "PS256"})),
        with(json!({"alg": "rs256"})),
        with(json!({"alg": ["RS256"]})),
        with(json!({"typ": "JWT"})),
        with(json!({"alg": "RS256", "crit": ["exp"]})),
        with(json!({"alg": "RS256", "crit": null})),
        with(json!({"alg": "RS256", "enc": "A256GCM"})),
        with(json!({"alg": "RS256", "kid": 7})),
        with(json!({"alg": "RS256", "kid": "k".repeat(TOKEN_KEY_ID_BYTES_MAX + 1)})),
        // The same name twice: two readers would read two tokens.
        format!("{}.{good}.c2ln", URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","alg":"none"}"#)),
        format!("{}.{good}.c2ln.c2ln", encode(&json!({"alg": "RS256"}))),
        format!("{}.{good}.c2ln=", encode(&json!({"alg": "RS256"}))),
        format!("{}.{good}.", encode(&json!({"alg": "none"}))),
        format!("{}.{}.c2ln", encode(&json!({"alg": "RS256"})), encode(&json!(["sub"]))),
        long,
    ] {
        assert!(Token::read(&text).is_none(), "{text:.80}");
    }
}

#[test]
fn times_hold_with_a_minute_between_clocks() {
    let with = |name: &str, value: Value| {
        let mut all = claims();
        all[name] = value;
        check(&all)
    };
    let alice = || UserName::new("alice").unwrap();
    assert_eq!(check(&claims()), Ok(Said { user: alice(), until_ms: (NOW_S + 900) * 1_000 }));
    // Just expired by our clock: it holds until clocks can no longer differ so much.
    assert_eq!(with("exp", json!(NOW_S)), Ok(Said { user: alice(), until_ms: (NOW_S + 60) * 1_000 }));
    assert!(with("exp", json!(NOW_S - 59)).is_ok());
    assert_eq!(with("exp", json!(NOW_S - 60)), Err(TokenRefusal::Expired));
    assert_eq!(with("exp", json!(1.5)), Err(TokenRefusal::Expired));
    assert_eq!(with("exp", json!(NOW_S as f64 + 0.5)).map(|said| said.until_ms), Ok(NOW_MS + 500));
    for claim in ["nbf", "iat"] {
        assert!(with(claim, json!(NOW_S + 60)).is_ok());
        assert_eq!(with(claim, json!(NOW_S + 61)), Err(TokenRefusal::NotYet));
    }
    for claim in ["exp", "nbf", "iat"] {
        for value in [json!("1800000000"), json!(null), json!(-1), json!([1]), json!({}), json!(true)] {
            assert_eq!(with(claim, value.clone()), Err(TokenRefusal::Times), "{claim} {value}");
        }
    }
    assert!(with("exp", json!(u64::MAX)).is_ok(), "saturates");
    let mut without = claims();
    without.as_object_mut().unwrap().remove("exp");
    assert_eq!(check(&without), Err(TokenRefusal::Times), "a token without an end is none");
    for claim in ["nbf", "iat"] {
        let mut without = claims();
        without.as_object_mut().unwrap().remove(claim);
        assert!(check(&without).is_ok(), "{claim} may be missing");
    }
}

#[test]
fn audiences_must_be_ours_where_they_are_named() {
    let audience = |value: Value| {
        let mut all = claims();
        all["aud"] = value;
        all
    };
    for ours in [json!("us"), json!(["they", "we"])] {
        assert!(check(&audience(ours)).is_ok());
    }
    for theirs in [json!("they"), json!(["they"]), json!([]), json!(7), json!(null), json!("US")] {
        assert_eq!(check(&audience(theirs)), Err(TokenRefusal::Audience));
    }
    let late = json!((0..TOKEN_AUDIENCES_MAX).map(|_| "they").chain(["us"]).collect::<Vec<_>>());
    assert_eq!(check(&audience(late)), Err(TokenRefusal::Audience), "no more are looked at");
    let mut without = claims();
    without.as_object_mut().unwrap().remove("aud");
    assert!(check(&without).is_ok());
    let required = Expected { audience_required: true, ..expected() };
    let text = token(&without);
    assert_eq!(Token::read(&text).unwrap().check(&required, NOW_MS), Err(TokenRefusal::Audience));
}

#[test]
fn the_user_is_found_under_its_names() {
    let user = |claims: Value| {
        let text = token(&claims);
        Token::read(&text).unwrap().claimed_user().map(|user| user.as_str().to_owned())
    };
    assert_eq!(user(json!({"sub": "Alice"})).as_deref(), Some("alice"));
    assert_eq!(user(json!({"sub": "5f0c", "uid": "alice"})).as_deref(), Some("alice"));
    assert_eq!(user(json!({"sub": "alice", "preferred_username": "bob"})).as_deref(), Some("alice"));
    assert_eq!(user(json!({"preferred_username": "bob"})).as_deref(), Some("bob"));
    for nobody in
        [json!({}), json!({"sub": 7}), json!({"sub": ""}), json!({"sub": "a:b"}), json!({"uid": 7, "sub": "bob"})]
    {
        assert_eq!(user(nobody), None);
    }
}
