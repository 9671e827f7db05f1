//! "OAuth token with refresh": clients show an access token that a call manager has issued, and the core checks
//! it by itself (client-side single sign-on is the call manager's business).
//!
//! The keys come with discovery. A token of an unknown key makes discovery look at the keys once more, at most
//! every half minute; if it stays unknown once all of them have answered, the token is refused. Where one has not, or
//! is known to issue tokens and its keys are not, nothing can be said. What else is known of the user the call manager is asked with the
//! token itself, so that one it has withdrawn is refused too. Tokens are never kept and never logged.

pub mod token;

use std::cell::Cell;
use std::rc::Rc;

use edgeway_config::sign_in::DeploymentSettings;
use edgeway_model::sign_in::{Deployment, Subject};
use edgeway_policy::discovery::Product;
use edgeway_runtime::clock::unix_ms;
use edgeway_runtime::http::LocalFuture;
use tokio::time::Instant;

use self::token::{Expected, Said, Token};
use crate::authorities::FetchKeys;
use crate::authorities::limits::{
    CHECK_WITHIN, TOKEN_KEYS_AGAIN_AFTER, TOKEN_KEYS_FAILED_FOR, TOKEN_KEYS_TRIED_MAX, TOKEN_KEYS_WITHIN,
};
use crate::discovery::Current;
use crate::sign_in::authority::{Authority, Credential, Reached, Verdict};

/// The scope clients ask call managers for.
const SCOPE: &str = "UnifiedCommunications:readwrite";

/// The tokens of a deployment's call managers.
pub struct Tokens {
    deployment: Deployment,
    domains: Vec<String>,
    /// As configured; empty where nothing is.
    audiences: Vec<String>,
    servers: Current,
    fetch_keys: FetchKeys,
    /// Asked what else is known of the user.
    unified_cm: Rc<dyn Authority>,
    /// One asks for keys, the others wait for what it brings.
    asking: tokio::sync::Mutex<()>,
    /// When discovery was asked last, and whether all call managers have answered.
    asked: Cell<Option<(Instant, bool)>>,
}

/// What the keys say of a token.
enum Signature {
    /// One of them has signed it.
    Good,
    /// The key it names has not.
    Wrong,
    /// Nobody has the key it names.
    UnknownKey {
        /// Whether it may be one of a call manager whose keys we have not.
        some_missing: bool,
    },
}

impl Tokens {
    /// Tokens for users of a deployment, signed with keys in `servers`. `unified_cm` must be their authority.
    #[must_use]
    pub fn new(
        settings: &DeploymentSettings,
        servers: Current,
        fetch_keys: FetchKeys,
        unified_cm: Rc<dyn Authority>,
    ) -> Self {
        Self {
            deployment: settings.name.clone(),
            domains: settings.domains.clone(),
            audiences: settings.oauth_audiences.clone(),
            servers,
            fetch_keys,
            unified_cm,
            asking: tokio::sync::Mutex::new(()),
            asked: Cell::new(None),
        }
    }

    async fn ask(&self, subject: &Subject, credential: &Credential) -> Verdict {
        let Credential::Bearer(text) = credential else { return Verdict::Refused };
        let Some(token) = Token::read(text) else { return Verdict::Refused };
        // What would be refused in any case asks nobody for keys.
        let Some(said) = self.said(&token, subject) else { return Verdict::Refused };
        match self.signature_of(&token).await {
            Signature::Good => {}
            Signature::UnknownKey { some_missing: true } => {
                let why = "not all Unified CM servers have told the keys of their access tokens".to_owned();
                return Verdict::Unavailable { why, reached: Reached::NotAsked };
            }
            Signature::Wrong | Signature::UnknownKey { some_missing: false } => return Verdict::Refused,
        }
        match self.unified_cm.check(subject, credential).await {
            Verdict::Good(mut known) => {
                known.until_ms = Some(said.until_ms);
                Verdict::Good(known)
            }
            other @ (Verdict::Refused | Verdict::Elsewhere | Verdict::Unavailable { .. }) => other,
        }
    }

    fn said(&self, token: &Token<'_>, subject: &Subject) -> Option<Said> {
        match token.check(&self.expected(), unix_ms()) {
            Ok(said) if said.user == subject.user && subject.deployment == self.deployment => Some(said),
            Ok(_) => None,
            Err(why) => {
                tracing::debug!(%why, "an access token is refused");
                None
            }
        }
    }

    fn expected(&self) -> Expected {
        if !self.audiences.is_empty() {
            return Expected { audiences: self.audiences.clone(), audience_required: true };
        }
        let snapshot = self.servers.snapshot();
        let ours = snapshot.clusters.iter().filter(|cluster| cluster.deployment == self.deployment);
        let nodes = ours.flat_map(|cluster| &cluster.nodes).map(|node| node.name.clone());
        let audiences = std::iter::once(SCOPE.to_owned()).chain(self.domains.iter().cloned()).chain(nodes).collect();
        Expected { audiences, audience_required: false }
    }

    async fn signature_of(&self, token: &Token<'_>) -> Signature {
        let first = self.signature_now(token);
        if !matches!(first, Signature::UnknownKey { .. }) {
            return first;
        }
        let _alone = self.asking.lock().await;
        let now = self.signature_now(token);
        if !matches!(now, Signature::UnknownKey { .. }) {
            return now;
        }
        let all = match self.asked.get() {
            Some((at, all)) if at.elapsed() < if all { TOKEN_KEYS_AGAIN_AFTER } else { TOKEN_KEYS_FAILED_FOR } => all,
            Some(_) | None => {
                // Late is as good as not at all: what is known then counts.
                let fetched = (self.fetch_keys)(self.deployment.clone());
                let all = tokio::time::timeout(TOKEN_KEYS_WITHIN, fetched).await.unwrap_or(false);
                self.asked.set(Some((Instant::now(), all)));
                all
            }
        };
        match self.signature_now(token) {
            Signature::UnknownKey { some_missing } => Signature::UnknownKey { some_missing: some_missing || !all },
            known @ (Signature::Good | Signature::Wrong) => known,
        }
    }

    fn signature_now(&self, token: &Token<'_>) -> Signature {
        let snapshot = self.servers.snapshot();
        let clusters = || {
            let ours = snapshot.clusters.iter().filter(|cluster| cluster.deployment == self.deployment);
            ours.filter(|cluster| cluster.product == Product::UnifiedCm)
        };
        let issuing = || clusters().filter(|cluster| cluster.oauth);
        let keys = issuing().flat_map(|cluster| &cluster.token_keys);
        // Without a key id any key may be meant.
        let meant = keys.filter(|key| token.key().is_none_or(|id| id == key.id)).take(TOKEN_KEYS_TRIED_MAX);
        let (mut tried, mut signed) = (false, false);
        for key in meant {
            tried = true;
            signed = signed || token.is_signed_by(&key.public);
        }
        let some_missing = clusters().next().is_none() || issuing().any(|cluster| cluster.token_keys.is_empty());
        match (tried, signed) {
            (true, true) => Signature::Good,
            (true, false) => Signature::Wrong,
            (false, _) => Signature::UnknownKey { some_missing },
        }
    }
}

impl Authority for Tokens {
    fn check<'a>(&'a self, subject: &'a Subject, credential: &'a Credential) -> LocalFuture<'a, Verdict> {
        Box::pin(async move {
            let asked = tokio::time::timeout(CHECK_WITHIN, self.ask(subject, credential)).await;
            asked.unwrap_or_else(|_| Verdict::Unavailable {
                why: format!("an access token could not be checked within {} s", CHECK_WITHIN.as_secs()),
                reached: Reached::NotAsked,
            })
        })
    }
}

#[cfg(test)]
mod tests;
