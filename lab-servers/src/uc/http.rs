//! What all HTTP services of a node share: a request as read, an answer before it is written, who asks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::world::State;

/// A request, its body read.
pub(super) struct Question {
    pub(super) method: String,
    /// Path without the query.
    pub(super) path: String,
    pub(super) query: String,
    pub(super) authorization: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Question {
    /// The value of a query parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| decoded(value))
    }

    /// User and password of HTTP Basic (RFC 7617).
    pub(super) fn basic(&self) -> Option<(String, String)> {
        let value = scheme(self.authorization.as_deref()?, "basic")?;
        let bytes = STANDARD.decode(value).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
    }

    /// The token of RFC 6750 §2.1.
    pub(super) fn bearer(&self) -> Option<&str> {
        scheme(self.authorization.as_deref()?, "bearer")
    }

    /// The name of the user it carries credentials of, right or wrong.
    pub(super) fn claims_to_be(&self, state: &State) -> Option<String> {
        let by_token = || self.bearer().and_then(|token| state.holder(token, false)).map(str::to_owned);
        self.basic().map(|(user, _)| user).or_else(by_token)
    }

    /// The user whose credentials are right, as the cluster writes the name.
    pub(super) fn user(&self, state: &State) -> Option<String> {
        if let Some((user, password)) = self.basic() {
            let known = state.user(&user)?;
            return (known.password == password && !known.locked && known.at_home).then(|| known.name.clone());
        }
        self.bearer().and_then(|token| state.holder(token, false)).map(str::to_owned)
    }
}

fn scheme<'a>(authorization: &'a str, wanted: &str) -> Option<&'a str> {
    let (scheme, value) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then(|| value.trim())
}

/// Percent-decoding of one path segment or query value; `+` is a space there.
pub(super) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let pair = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match (byte, pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(value)) => {
                out.push(value);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (other, _) => out.push(other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An answer before it is written.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) lines: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type, lines: Vec::new(), body: body.into() }
    }

    pub(super) fn xml(status: u16, body: String) -> Self {
        Self::new(
            status,
            "application/xml",
            format!("<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>{body}"),
        )
    }

    pub(super) fn text(status: u16, body: &str) -> Self {
        Self::new(status, "text/plain", body.to_owned())
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.lines.push((name, value.into()));
        self
    }

    /// The 401 of Unified CM's web services.
    pub(super) fn unauthorized() -> Self {
        Self::new(401, "text/html;charset=utf-8", "<html><head><title>401</title></head></html>")
            .with("www-authenticate", "Basic realm=\"Cisco Web Services Realm\"")
    }
}

/// Text inside an element or attribute.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
