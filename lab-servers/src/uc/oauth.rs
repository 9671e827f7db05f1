//! Tokens of a cluster ("OAuth with refresh"): RS256 JWTs, the keys to check them with, and the places clients get
//! them from.
//!
//! Real clusters put a second, encrypted token inside; who checks the signature needs only what is here.

use std::time::{Duration, SystemTime};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::http::Answer;
use super::world::{Issued, State, unix_secs};
use crate::wire;

/// How long an access token lasts unless said otherwise.
pub const ACCESS_TOKEN_LIFE: Duration = Duration::from_secs(3_600);

/// How long a refresh token lasts: the vendor's default of 60 days.
pub const REFRESH_TOKEN_LIFE: Duration = Duration::from_secs(60 * 86_400);

/// A key that signs tokens.
#[derive(Clone)]
pub(super) struct SigningKey {
    pub(super) id: String,
    pair: std::sync::Arc<RsaKeyPair>,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

impl SigningKey {
    pub(super) fn new() -> Result<Self, String> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| "no RSA key could be made".to_owned())?;
        Ok(Self { id: wire::token(&mut wire::random(), 16), pair: std::sync::Arc::new(pair) })
    }

    /// SubjectPublicKeyInfo, DER.
    pub(super) fn public_der(&self) -> Vec<u8> {
        self.pair.public_key().as_der().map(|der| der.as_ref().to_vec()).unwrap_or_default()
    }

    fn jwk(&self) -> String {
        let (modulus, exponent) = numbers(self.pair.public_key().as_ref()).unwrap_or_default();
        format!(
            r#"{{"kty":"RSA","use":"sig","alg":"RS256","kid":"{}","n":"{}","e":"{}"}}"#,
            self.id,
            URL_SAFE_NO_PAD.encode(modulus),
            URL_SAFE_NO_PAD.encode(exponent)
        )
    }

    fn sign(&self, claims: &str) -> String {
        let head = format!(r#"{{"alg":"RS256","typ":"JWT","kid":"{}"}}"#, self.id);
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let done = self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature);
        // A key that cannot sign makes a token nobody takes, which the test will notice.
        if done.is_err() {
            signature.clear();
        }
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Modulus and exponent of an RSAPublicKey (RFC 8017 appendix A.1.1), without leading zeros.
fn numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (0x30, inside, _) = element(der)? else { return None };
    let (0x02, modulus, rest) = element(inside)? else { return None };
    let (0x02, exponent, _) = element(rest)? else { return None };
    let bare = |number: &'_ [u8]| number.iter().position(|byte| *byte != 0).unwrap_or(0);
    Some((modulus.get(bare(modulus)..)?, exponent.get(bare(exponent)..)?))
}

/// The first element of DER: tag, content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenWish {
    /// `sub`.
    pub user: String,
    /// `aud`.
    pub audience: String,
    /// `iss`.
    pub issuer: String,
    /// `iat` and `nbf`.
    pub from: SystemTime,
    /// `exp`.
    pub until: SystemTime,
    /// Whether the cluster knows of it; a token it does not know is right by its signature only.
    pub known: bool,
}

impl TokenWish {
    /// As the cluster issues it to a user now.
    #[must_use]
    pub fn new(state: &State, user: &str) -> Self {
        let from = SystemTime::now();
        let issuer = state.nodes.first().map(|node| node.name.clone()).unwrap_or_default();
        Self {
            user: user.to_owned(),
            audience: "UnifiedCommunications:readwrite".to_owned(),
            issuer,
            from,
            until: from + ACCESS_TOKEN_LIFE,
            known: true,
        }
    }
}

/// Signs a token with the newest key.
pub(super) fn issue(state: &mut State, wish: &TokenWish) -> String {
    let TokenWish { user, audience, issuer, from, until, known } = wish;
    let id = wire::token(&mut wire::random(), 20);
    let claims = format!(
        r#"{{"iss":"{issuer}","sub":"{user}","aud":"{audience}","scope":"UnifiedCommunications:readwrite","iat":{},"nbf":{},"exp":{},"jti":"{id}"}}"#,
        unix_secs(*from),
        unix_secs(*from),
        unix_secs(*until)
    );
    let token = state.keys.last().map(|key| key.sign(&claims)).unwrap_or_default();
    if *known {
        state.keep(Issued { token: token.clone(), user: user.clone(), until: *until, refresh: false });
    }
    token
}

/// `GET /ssosp/token/keys`: a JWK set (RFC 7517 §5).
pub(super) fn keys(state: &State) -> Answer {
    if !state.oauth {
        return Answer::text(404, "no such resource");
    }
    let keys: Vec<String> = state.keys.iter().map(SigningKey::jwk).collect();
    Answer::new(200, "application/json", format!(r#"{{"keys":[{}]}}"#, keys.join(",")))
}

/// `POST /ssosp/oauth/token` (RFC 6749 §4.3, §6): by password or refresh token.
pub(super) fn token(state: &mut State, body: &str) -> Answer {
    let field = |name: &str| {
        let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| super::http::decoded(value))
    };
    let refused = || Answer::new(400, "application/json", r#"{"error":"invalid_grant"}"#);
    let user = match field("grant_type").as_deref() {
        Some("refresh_token") => {
            let shown = field("refresh_token").unwrap_or_default();
            state.holder(&shown, true).map(str::to_owned)
        }
        Some("password") => {
            let (user, password) = (field("username").unwrap_or_default(), field("password").unwrap_or_default());
            let known = state.user(&user).filter(|known| known.password == password && !known.locked);
            known.map(|known| known.name.clone())
        }
        Some(_) | None => return Answer::new(400, "application/json", r#"{"error":"unsupported_grant_type"}"#),
    };
    let (Some(user), true) = (user, state.oauth) else { return refused() };
    let access = issue(state, &TokenWish::new(state, &user));
    let refresh = wire::token(&mut wire::random(), 40);
    let until = SystemTime::now() + REFRESH_TOKEN_LIFE;
    state.keep(Issued { token: refresh.clone(), user, until, refresh: true });
    Answer::new(
        200,
        "application/json",
        format!(
            r#"{{"access_token":"{access}","token_type":"Bearer","expires_in":{},"refresh_token":"{refresh}","refresh_token_expires_in":{}}}"#,
            ACCESS_TOKEN_LIFE.as_secs(),
            REFRESH_TOKEN_LIFE.as_secs()
        ),
    )
}
