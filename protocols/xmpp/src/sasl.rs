//! What a client shows to sign in (RFC 4422 over RFC 6120 §6): which mechanisms pass, and whose credentials they say
//! they are. Nothing is checked here, and nothing but the name of a user leaves: passwords and tokens are looked past,
//! and overwritten where they were decoded.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use edgeway_model::Pii;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::limits::SASL_CHARS_MAX;

/// Mechanisms that pass. All are client-first: who signs in is known before a server is asked anything. None binds to
/// the channel (`-PLUS`): client and server have a TLS connection each, and neither knows the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// RFC 5802.
    ScramSha1,
    /// RFC 7677.
    ScramSha256,
    /// As RFC 7677, with SHA-512.
    ScramSha512,
    /// RFC 7628.
    OauthBearer,
    /// What was there before RFC 7628: a token in the place of PLAIN's password.
    XOauth2,
    /// A one-time password that IM and Presence servers give out over HTTPS.
    CiscoVtgToken,
}

impl Mechanism {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Plain,
        Self::ScramSha1,
        Self::ScramSha256,
        Self::ScramSha512,
        Self::OauthBearer,
        Self::XOauth2,
        Self::CiscoVtgToken,
    ];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
            Self::XOauth2 => "X-OAUTH2",
            Self::CiscoVtgToken => "CISCO-VTG-TOKEN",
        }
    }

    /// Whether the credentials are of the name that comes with them: a password is, and a token may be another user's.
    #[must_use]
    pub const fn proves_its_name(self) -> bool {
        match self {
            Self::Plain | Self::ScramSha1 | Self::ScramSha256 | Self::ScramSha512 | Self::CiscoVtgToken => true,
            Self::OauthBearer | Self::XOauth2 => false,
        }
    }

    /// The one of that name; `None` for those that do not pass.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }
}

/// Why a sign-in fails before any server is asked (RFC 6120 §6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SaslFault {
    /// The client gave up.
    #[error("the client has given up")]
    Aborted,
    /// What stands there is no base64.
    #[error("no base64")]
    IncorrectEncoding,
    /// Somebody wants to be another than the credentials are of.
    #[error("signs in for somebody else")]
    InvalidAuthzid,
    /// Not one of those that were offered.
    #[error("a mechanism that was not offered")]
    InvalidMechanism,
    /// Not of the mechanism's form, or bound to a channel.
    #[error("not of the mechanism's form")]
    MalformedRequest,
    /// Wrong: of nobody who can be here.
    #[error("nobody's credentials")]
    NotAuthorized,
    /// Nobody can say now.
    #[error("cannot be checked now")]
    TemporaryAuthFailure,
}

impl SaslFault {
    /// The name of its element.
    #[must_use]
    pub const fn condition(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::IncorrectEncoding => "incorrect-encoding",
            Self::InvalidAuthzid => "invalid-authzid",
            Self::InvalidMechanism => "invalid-mechanism",
            Self::MalformedRequest => "malformed-request",
            Self::NotAuthorized => "not-authorized",
            Self::TemporaryAuthFailure => "temporary-auth-failure",
        }
    }
}

/// Checks that `text` is base64 in its one spelling, so that a server decodes what was decoded here, and decodes it.
///
/// # Errors
/// [`SaslFault::IncorrectEncoding`]; [`SaslFault::MalformedRequest`] for more than any credentials have.
pub fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, SaslFault> {
    if text.len() > SASL_CHARS_MAX {
        return Err(SaslFault::MalformedRequest);
    }
    // RFC 6120 §6.4.2: a single "=" stands for no bytes.
    if text == "=" {
        return Ok(Zeroizing::default());
    }
    // Decoded in one buffer that never grows: no copy is left behind.
    let mut decoded = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let length = STANDARD.decode_slice(text, &mut decoded).map_err(|_| SaslFault::IncorrectEncoding)?;
    decoded.truncate(length);
    Ok(decoded)
}

/// Whose credentials the decoded first message of a mechanism says it holds, on a stream of `domain`. The name is as
/// the client spells it, without `@domain` where it is that one; `None` where only the server can tell. It holds no `@`
/// and no `/`: servers look past what follows either (ejabberd past any domain), so that one user would have as many
/// names as there are domains.
///
/// # Errors
/// [`SaslFault::MalformedRequest`], [`SaslFault::InvalidAuthzid`], and [`SaslFault::NotAuthorized`] for a user of
/// another domain, which is what is said of wrong credentials, too; nothing of the message is in them.
pub fn claimed(mechanism: Mechanism, message: &[u8], domain: &str) -> Result<Option<Pii<String>>, SaslFault> {
    let message = std::str::from_utf8(message).map_err(|_| SaslFault::MalformedRequest)?;
    let user = match mechanism {
        Mechanism::Plain => Some(plain(message, domain)?),
        Mechanism::ScramSha1 | Mechanism::ScramSha256 | Mechanism::ScramSha512 => Some(scram(message, domain)?),
        Mechanism::OauthBearer => oauth_bearer(message, domain)?,
        Mechanism::XOauth2 => x_oauth2(message, domain)?,
        Mechanism::CiscoVtgToken => Some(vtg_token(message, domain)?),
    };
    Ok(user.map(Pii::new))
}

/// RFC 4616 §2: `[authzid] NUL authcid NUL passwd`. An empty password is none: directories behind a server take one
/// for a sign-in of nobody.
fn plain(message: &str, domain: &str) -> Result<String, SaslFault> {
    let (authzid, authcid, secret) = three(message)?;
    if authcid.is_empty() || secret.is_empty() {
        return Err(SaslFault::MalformedRequest);
    }
    let user = local(authcid, domain)?.to_owned();
    same_user(authzid, &user, domain)?;
    Ok(user)
}

/// As PLAIN, but that the token may be all that says whose it is.
fn x_oauth2(message: &str, domain: &str) -> Result<Option<String>, SaslFault> {
    let (authzid, authcid, token) = three(message)?;
    if token.is_empty() || (authcid.is_empty() && !authzid.is_empty()) {
        return Err(SaslFault::MalformedRequest);
    }
    if authcid.is_empty() {
        return Ok(token_user(token, domain));
    }
    let user = local(authcid, domain)?.to_owned();
    same_user(authzid, &user, domain)?;
    Ok(Some(user))
}

fn three(message: &str) -> Result<(&str, &str, &str), SaslFault> {
    let mut parts = message.split('\0');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(first), Some(second), Some(third), None) => Ok((first, second, third)),
        _ => Err(SaslFault::MalformedRequest),
    }
}

/// RFC 5802 §7: `gs2-header n=saslname,r=nonce[,extensions]`.
fn scram(message: &str, domain: &str) -> Result<String, SaslFault> {
    let (authzid, bare) = gs2(message)?;
    let mut parts = bare.split(',');
    // A first part `m=` is an extension that whoever does not know it has to refuse (RFC 5802 §5.1).
    let name = parts.next().and_then(|part| part.strip_prefix("n=")).ok_or(SaslFault::MalformedRequest)?;
    let nonce = parts.next().and_then(|part| part.strip_prefix("r=")).unwrap_or_default();
    if nonce.is_empty() || message.contains('\0') {
        return Err(SaslFault::MalformedRequest);
    }
    let user = local(&saslname(name)?, domain)?.to_owned();
    same_user(&authzid.unwrap_or_default(), &user, domain)?;
    Ok(user)
}

/// RFC 7628 §3.1: `gs2-header %x01 *(key=value %x01) %x01`, with the token in `auth`.
fn oauth_bearer(message: &str, domain: &str) -> Result<Option<String>, SaslFault> {
    let (authzid, rest) = gs2(message)?;
    let pairs = rest.strip_prefix('\u{1}').and_then(|rest| rest.strip_suffix("\u{1}\u{1}"));
    let pairs = pairs.ok_or(SaslFault::MalformedRequest)?.split('\u{1}').map(|pair| pair.split_once('='));
    let mut shown = None;
    for pair in pairs {
        let (key, value) = pair.ok_or(SaslFault::MalformedRequest)?;
        if key == "auth" && shown.replace(value).is_some() {
            return Err(SaslFault::MalformedRequest);
        }
    }
    let (scheme, token) = shown.and_then(|shown| shown.split_once(' ')).ok_or(SaslFault::MalformedRequest)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(SaslFault::MalformedRequest);
    }
    match authzid {
        None => Ok(token_user(token, domain)),
        Some(authzid) => match local(&authzid, domain) {
            Ok(user) => Ok(Some(user.to_owned())),
            Err(_) => Err(SaslFault::InvalidAuthzid),
        },
    }
}

/// `userid=` bare JID NUL `token=` one-time password.
fn vtg_token(message: &str, domain: &str) -> Result<String, SaslFault> {
    let (user, token) = message.split_once('\0').ok_or(SaslFault::MalformedRequest)?;
    let user = user.strip_prefix("userid=").ok_or(SaslFault::MalformedRequest)?;
    let token = token.strip_prefix("token=").unwrap_or_default();
    if user.is_empty() || token.is_empty() || token.contains('\0') {
        return Err(SaslFault::MalformedRequest);
    }
    Ok(local(user, domain)?.to_owned())
}

/// The authorization identity of a GS2 header (RFC 5801 §4), and what follows the header. Binding to a channel (`p=`)
/// is malformed in a mechanism without `-PLUS` (RFC 5802 §6); a client that could bind, and saw that nobody offers it
/// (`y`), passes.
fn gs2(message: &str) -> Result<(Option<String>, &str), SaslFault> {
    let rest = message.strip_prefix("n,").or_else(|| message.strip_prefix("y,")).ok_or(SaslFault::MalformedRequest)?;
    let (authzid, rest) = rest.split_once(',').ok_or(SaslFault::MalformedRequest)?;
    if authzid.is_empty() {
        return Ok((None, rest));
    }
    let authzid = authzid.strip_prefix("a=").ok_or(SaslFault::MalformedRequest)?;
    Ok((Some(saslname(authzid)?), rest))
}

/// RFC 5802 §5.1: `=2C` and `=3D` stand for a comma and an equals sign, and no other `=` stands for anything.
fn saslname(text: &str) -> Result<String, SaslFault> {
    let mut parts = text.split('=');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (None, Some(rest)) => ('=', rest),
            (None, None) => return Err(SaslFault::MalformedRequest),
        };
        name.push(sign);
        name.push_str(rest);
    }
    if name.is_empty() || name.contains('\0') { Err(SaslFault::MalformedRequest) } else { Ok(name) }
}

/// RFC 6120 §6.3.8: who is to be signed in, if it is said, is the bare JID of whoever shows the credentials.
fn same_user(authzid: &str, user: &str, domain: &str) -> Result<(), SaslFault> {
    let same = |name: &str| name.to_lowercase() == user.to_lowercase();
    let is_theirs = authzid.rsplit_once('@').is_some_and(|(name, of)| same(name) && is_domain(of, domain));
    if authzid.is_empty() || is_theirs { Ok(()) } else { Err(SaslFault::InvalidAuthzid) }
}

/// A user's name without the domain of the stream. What is still a bare JID then, or more than one, is nobody's here, and
/// so is no name at all.
fn local<'n>(name: &'n str, domain: &str) -> Result<&'n str, SaslFault> {
    let local = match name.rsplit_once('@') {
        Some((local, of)) if is_domain(of, domain) => local,
        Some(_) | None => name,
    };
    if local.is_empty() || local.contains(['@', '/']) { Err(SaslFault::NotAuthorized) } else { Ok(local) }
}

/// Whether both are one domain (RFC 7622 §3.2: in any case, with or without a dot behind it).
fn is_domain(name: &str, domain: &str) -> bool {
    let bare = |name: &str| name.strip_suffix('.').unwrap_or(name).to_lowercase();
    bare(name) == bare(domain)
}

/// Claims of a token that may hold its user's name, in the order in which HTTP clients' tokens are read, too.
const USER_CLAIMS: [&str; 4] = ["uid", "sub", "user_id", "preferred_username"];

/// Whose token a self-describing token says it is (RFC 7519). Nothing of it is proven: it is what attempts are counted
/// by, no more. Who is of another domain there may have a name here all the same: only the server can tell.
fn token_user(token: &str, domain: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (_, claims, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let name = USER_CLAIMS.iter().find_map(|claim| claims.get(claim))?.as_str()?;
    local(name, domain).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DOMAIN: &str = "example.com";

    fn user(mechanism: Mechanism, message: &str) -> Result<Option<String>, SaslFault> {
        claimed(mechanism, message.as_bytes(), DOMAIN).map(|user| user.map(|user| user.reveal().clone()))
    }

    fn good(mechanism: Mechanism, messages: &[(&str, &str)]) {
        for (message, name) in messages {
            assert_eq!(user(mechanism, message), Ok(Some((*name).to_owned())), "{message:?}");
        }
    }

    fn bad(mechanism: Mechanism, fault: SaslFault, messages: &[&str]) {
        for message in messages {
            assert_eq!(user(mechanism, message), Err(fault), "{message:?}");
        }
    }

    #[test]
    fn a_mechanism_has_one_name() {
        for mechanism in Mechanism::ALL {
            assert_eq!(Mechanism::named(mechanism.name()), Some(mechanism));
        }
        for other in
            ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS", "plain", "EXTERNAL", "ANONYMOUS", "DIGEST-MD5", "", "PLAIN "]
        {
            assert_eq!(Mechanism::named(other), None, "{other}");
        }
    }

    #[test]
    fn plain_says_its_name_and_no_other() {
        let good_ones = [
            ("\0alice\0secret", "alice"),
            ("\0alice@example.com\0secret", "alice"),
            ("\0alice@EXAMPLE.com\0secret", "alice"),
            ("\0alice@Example.Com.\0secret", "alice"),
            ("alice@example.com.\0alice\0secret", "alice"),
            ("alice@example.com\0alice\0secret", "alice"),
            ("Alice@Example.COM\0alice@example.com\0secret", "alice"),
            ("\0j\u{fc}rgen\0\u{a3}", "j\u{fc}rgen"),
        ];
        good(Mechanism::Plain, &good_ones);
        let malformed = ["", "alice", "alice\0secret", "\0\0secret", "\0alice\0", "\0alice\0a\0b", "\0\0\0", "a\0\0b"];
        bad(Mechanism::Plain, SaslFault::MalformedRequest, &malformed);
        let others = [
            "bob@example.com\0alice\0secret",
            "alice\0alice\0secret",
            "alice@other.example\0alice\0secret",
            "alice@example.com/desk\0alice\0secret",
            "@example.com\0alice\0secret",
        ];
        bad(Mechanism::Plain, SaslFault::InvalidAuthzid, &others);
        assert_eq!(claimed(Mechanism::Plain, b"\0al\xffice\0secret", DOMAIN), Err(SaslFault::MalformedRequest));
    }

    #[test]
    fn who_is_of_another_domain_is_nobody_here() {
        let names =
            ["alice@x1", "alice@x2", "alice@other.example", "alice@example.com/desk", "alice@example.com..", "a@b@c"];
        for name in names.into_iter().chain(["alice@x1@example.com", "alice@", "@", "@example.com", "/"]) {
            for (mechanism, message) in [
                (Mechanism::Plain, format!("\0{name}\0secret")),
                (Mechanism::Plain, format!("{name}\0{name}\0secret")),
                (Mechanism::XOauth2, format!("\0{name}\0token")),
                (Mechanism::ScramSha1, format!("n,,n={name},r=x")),
                (Mechanism::ScramSha256, format!("y,a={name},n={name},r=x")),
                (Mechanism::CiscoVtgToken, format!("userid={name}\0token=x")),
            ] {
                bad(mechanism, SaslFault::NotAuthorized, &[&message]);
            }
            let bearer = format!("n,a={name},\u{1}auth=Bearer x\u{1}\u{1}");
            bad(Mechanism::OauthBearer, SaslFault::InvalidAuthzid, &[&bearer]);
        }
    }

    #[test]
    fn scram_says_its_name_in_clear() {
        let good_ones = [
            // RFC 5802 §5, RFC 7677 §3.
            ("n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL", "user"),
            ("n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "user"),
            ("y,,n=user,r=x", "user"),
            ("n,a=user@example.com,n=user,r=x", "user"),
            ("n,,n=user@example.com,r=x,k=extension", "user"),
            ("n,,n=a=2Cb=3Dc=2C,r=x", "a,b=c,"),
        ];
        good(Mechanism::ScramSha1, &good_ones);
        good(Mechanism::ScramSha512, &good_ones);
        let malformed = [
            "",
            "n,,",
            "n,,n=,r=x",
            "n,,n=user",
            "n,,n=user,r=",
            "n,,r=x,n=user",
            "n,,m=1,n=user,r=x",
            "n,,n=us=er,r=x",
            "n,,n=us=2cer,r=x",
            "n,,n=user=,r=x",
            "n,user,n=user,r=x",
            "n,a=,n=user,r=x",
            "n=user,r=x",
            "N,,n=user,r=x",
            "p=tls-unique,,n=user,r=x",
            "p=tls-exporter,,n=user,r=x",
            "p,,n=user,r=x",
            "n,,n=us\0er,r=x",
            "n,,n=user,r=x\0",
        ];
        bad(Mechanism::ScramSha256, SaslFault::MalformedRequest, &malformed);
        let others = ["n,a=bob@example.com,n=user,r=x", "n,a=user,n=user,r=x", "y,a=user@other.example,n=user,r=x"];
        bad(Mechanism::ScramSha256, SaslFault::InvalidAuthzid, &others);
    }

    #[test]
    fn oauth_bearer_may_say_a_name() {
        let good_ones = [
            // RFC 7628 §4.1, but for its domain.
            (
                "n,a=user@example.com,\u{1}host=server.example.com\u{1}port=143\u{1}auth=Bearer vF9dft4qmTc2Nvb3RlckBh\u{1}\u{1}",
                "user",
            ),
            ("n,a=user,\u{1}auth=bearer x\u{1}\u{1}", "user"),
            ("y,a=us=2Cer,\u{1}auth=Bearer x\u{1}\u{1}", "us,er"),
        ];
        good(Mechanism::OauthBearer, &good_ones);
        let claims = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let with = |token: &str| user(Mechanism::OauthBearer, &format!("n,,\u{1}auth=Bearer {token}\u{1}\u{1}"));
        assert_eq!(with(&claims(r#"{"sub":"alice@example.com"}"#)), Ok(Some("alice".into())));
        assert_eq!(with(&claims(r#"{"sub":"4711","uid":"bob"}"#)), Ok(Some("bob".into())));
        let elsewhere = [claims(r#"{"sub":"alice@x1"}"#), claims(r#"{"uid":"alice@example.com/desk"}"#)];
        for nobodys in ["opaque", "a.b", &claims("{}"), &claims(r#"{"sub":7}"#), &claims("[]"), "e30.!.c2ln", "a.b.c.d"]
            .into_iter()
            .chain(elsewhere.iter().map(String::as_str))
        {
            assert_eq!(with(nobodys), Ok(None), "{nobodys}");
        }
        let malformed = [
            "",
            "\u{1}",
            "n,,",
            "n,,\u{1}\u{1}",
            "n,,\u{1}\u{1}\u{1}",
            "n,,\u{1}auth=Bearer x\u{1}",
            "n,,\u{1}auth=Basic x\u{1}\u{1}",
            "n,,\u{1}auth=Bearer \u{1}\u{1}",
            "n,,\u{1}auth=Bearer\u{1}\u{1}",
            "n,,\u{1}auth=Bearer x\u{1}auth=Bearer y\u{1}\u{1}",
            "n,,\u{1}host\u{1}auth=Bearer x\u{1}\u{1}",
            "n,,auth=Bearer x\u{1}\u{1}",
            "p=tls-exporter,,\u{1}auth=Bearer x\u{1}\u{1}",
        ];
        bad(Mechanism::OauthBearer, SaslFault::MalformedRequest, &malformed);
        let others =
            ["n,a=user@other.example,\u{1}auth=Bearer x\u{1}\u{1}", "n,a=@example.com,\u{1}auth=Bearer x\u{1}\u{1}"];
        bad(Mechanism::OauthBearer, SaslFault::InvalidAuthzid, &others);
    }

    #[test]
    fn x_oauth2_is_plain_with_a_token() {
        good(
            Mechanism::XOauth2,
            &[("\0alice@example.com\0token", "alice"), ("alice@example.com\0alice\0token", "alice")],
        );
        assert_eq!(user(Mechanism::XOauth2, "\0\0opaque"), Ok(None));
        bad(Mechanism::XOauth2, SaslFault::MalformedRequest, &["", "\0alice\0", "a\0\0b", "\0alice\0a\0b"]);
        bad(Mechanism::XOauth2, SaslFault::InvalidAuthzid, &["bob@example.com\0alice\0token"]);
    }

    #[test]
    fn a_one_time_password_comes_with_a_name() {
        let decoded = decode("dXNlcmlkPWFsaWNlQGV4YW1wbGUuY29tAHRva2VuPW90cDEyMw==").expect("base64");
        assert_eq!(claimed(Mechanism::CiscoVtgToken, &decoded, DOMAIN), Ok(Some(Pii::new("alice".to_owned()))));
        let decoded = decode("dXNlcmlkPXVzZXJAc2VydmVyLmNvbQB0b2tlbj1mb28=").expect("base64");
        assert_eq!(claimed(Mechanism::CiscoVtgToken, &decoded, "server.com"), Ok(Some(Pii::new("user".to_owned()))));
        good(Mechanism::CiscoVtgToken, &[("userid=a@example.com.\0token=x", "a"), ("userid=a\0token=x=y", "a")]);
        let malformed = ["", "userid=a", "userid=a\0", "userid=\0token=x", "userid=a\0token=", "token=x\0userid=a"];
        bad(Mechanism::CiscoVtgToken, SaslFault::MalformedRequest, &malformed);
        let malformed = ["userid=a\0token=x\0", "\0userid=a\0token=x", "USERID=a\0token=x"];
        bad(Mechanism::CiscoVtgToken, SaslFault::MalformedRequest, &malformed);
    }

    #[test]
    fn base64_has_one_spelling() {
        assert_eq!(decode("AGFsaWNlAHNlY3JldA==").as_deref().map(Vec::as_slice), Ok(&b"\0alice\0secret"[..]));
        assert_eq!(decode("=").as_deref().map(Vec::len), Ok(0));
        for odd in [
            "AGFsaWNlAHNlY3JldA",
            "AGFsaWNlAHNlY3JldA=",
            "AGFs aWNl",
            "AGFsaWN=",
            "QR==",
            "====",
            "==",
            "-_-_",
            "\u{fc}",
        ] {
            assert_eq!(decode(odd), Err(SaslFault::IncorrectEncoding), "{odd:?}");
        }
        assert!(decode(&"A".repeat(SASL_CHARS_MAX)).is_ok());
        assert_eq!(decode(&"A".repeat(SASL_CHARS_MAX + 4)), Err(SaslFault::MalformedRequest));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), text in "[ny,a=@.\0\u{1}]{0,20}") {
            for mechanism in Mechanism::ALL {
                let _ = claimed(mechanism, &bytes, DOMAIN);
                let _ = claimed(mechanism, text.as_bytes(), DOMAIN);
            }
        }

        #[test]
        fn every_name_survives_scram(name in "[^\0@/]{1,20}") {
            let escaped = name.replace('=', "=3D").replace(',', "=2C");
            prop_assert_eq!(user(Mechanism::ScramSha1, &format!("n,,n={escaped},r=x")), Ok(Some(name)));
        }
    }
}
