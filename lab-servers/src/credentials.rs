//! The client's side of digest authentication (RFC 3261 §22, RFC 7616): which challenge was last
//! given, and how often its nonce has been used.

use edgeway_model::Random;
use edgeway_sip::digest::{self, Asked};
use edgeway_sip::{Message, Name};

use crate::wire;

/// A challenge found in a 401 or 407.
pub(crate) struct Challenge {
    inner: digest::Challenge,
    proxy: bool,
}

impl Challenge {
    /// The first challenge of a response that can be answered.
    pub(crate) fn of(response: &Message) -> Option<Self> {
        let find = |name, proxy| {
            let inner = response.lines(name).find_map(digest::Challenge::parse)?;
            Some(Self { inner, proxy })
        };
        find(Name::WwwAuthenticate, false).or_else(|| find(Name::ProxyAuthenticate, true))
    }
}

/// A user, and the challenge it answers.
pub(crate) struct Credentials {
    user: String,
    password: String,
    challenge: Option<(Challenge, u32)>,
}

impl Credentials {
    pub(crate) fn new(user: &str, password: &str) -> Self {
        Self { user: user.to_owned(), password: password.to_owned(), challenge: None }
    }

    /// Takes note of a challenge.
    pub(crate) fn learn(&mut self, challenge: Challenge) {
        self.challenge = Some((challenge, 0));
    }

    /// The header line for a request, once challenged.
    pub(crate) fn line(&mut self, method: &str, uri: &str, random: &mut Random) -> Option<String> {
        let (challenge, uses) = self.challenge.as_mut()?;
        *uses += 1;
        let cnonce = wire::token(random, 16);
        let asked = Asked { method, uri, cnonce: &cnonce, nc: *uses };
        let name = if challenge.proxy { Name::ProxyAuthorization } else { Name::Authorization };
        let value = challenge.inner.answer(&asked, &self.user, &self.password).to_value();
        Some(format!("{}: {value}", name.as_str()))
    }
}
