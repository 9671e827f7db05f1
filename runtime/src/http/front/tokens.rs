//! Session tokens at the edge: checked with public keys only. Which user one is of decides nothing here but the
//! core that is asked; that core checks it again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use edgeway_model::NodeId;
use edgeway_model::sign_in::{Revocation, SignInFact, Subject, TokenKey};
use edgeway_policy::token::{Claims, Refusal};
use subtle::ConstantTimeEq as _;

use super::super::limits::{REVOCATIONS_MAX, TOKEN_KEYS_MAX, TOKENS_REMEMBERED_MAX};
use crate::clock::unix_ms;

/// How far clocks of nodes may differ.
const SKEW_MS: u64 = 60_000;

/// What the cores have told.
#[derive(Default)]
pub(super) struct Tokens {
    keys: RefCell<BTreeMap<NodeId, Vec<TokenKey>>>,
    revoked: RefCell<Revoked>,
    /// Changes with both.
    epoch: Cell<u64>,
}

#[derive(Default)]
struct Revoked {
    before_ms: HashMap<Subject, u64>,
    order: VecDeque<Subject>,
}

/// Good tokens of one connection, newest last, as of one epoch.
#[derive(Default)]
pub(super) struct Remembered {
    epoch: u64,
    good: Vec<(String, Claims)>,
}

impl Tokens {
    /// What the node says.
    pub(super) fn told(&self, fact: SignInFact) {
        match fact {
            SignInFact::PeerKeys { peer, mut keys } => {
                keys.truncate(TOKEN_KEYS_MAX);
                self.keys.borrow_mut().insert(peer, keys);
            }
            SignInFact::Revoked(revocation) => self.revoked.borrow_mut().add(revocation, unix_ms()),
            // What a core tells its own HTTP side; an edge holds no sessions.
            SignInFact::Keys(_) | SignInFact::SignedIn(_) | SignInFact::Contacts { .. } | SignInFact::Linked(_) => {
                return;
            }
        }
        self.epoch.set(self.epoch.get() + 1);
    }

    /// The keys of this core count no more.
    pub(super) fn forget(&self, core: &NodeId) {
        self.keys.borrow_mut().remove(core);
        self.epoch.set(self.epoch.get() + 1);
    }

    /// The newest good one of `offered`; `None` if none is. Foreign ones are passed over.
    pub(super) fn check<'a>(
        &self,
        offered: impl Iterator<Item = &'a str>,
        remembered: &mut Remembered,
    ) -> Option<Claims> {
        if remembered.epoch != self.epoch.get() {
            *remembered = Remembered { epoch: self.epoch.get(), good: Vec::new() };
        }
        let now_ms = unix_ms();
        offered.filter_map(|token| self.check_one(token, now_ms, remembered).ok()).max_by_key(|claims| claims.issued_ms)
    }

    fn check_one(&self, token: &str, now_ms: u64, remembered: &mut Remembered) -> Result<Claims, Refusal> {
        let same = |(known, _): &&(String, Claims)| bool::from(known.as_bytes().ct_eq(token.as_bytes()));
        if let Some((_, claims)) = remembered.good.iter().find(same) {
            return if claims.expires_ms > now_ms { Ok(claims.clone()) } else { Err(Refusal::Expired) };
        }
        let claims = Claims::verify(token, now_ms, |key, signed, signature| self.verify(*key, signed, signature))?;
        if self.revoked.borrow().before_ms.get(&claims.subject).is_some_and(|before| claims.issued_ms < *before) {
            return Err(Refusal::Expired);
        }
        if remembered.good.len() >= TOKENS_REMEMBERED_MAX {
            remembered.good.remove(0);
        }
        remembered.good.push((token.to_owned(), claims.clone()));
        Ok(claims)
    }

    fn verify(&self, id: [u8; 8], signed: &[u8], signature: &[u8]) -> bool {
        let keys = self.keys.borrow();
        // A few cores may have a key of the same name, and then it is the same key.
        let found = keys.values().flatten().find(|key| key.id == id);
        found.is_some_and(|key| UnparsedPublicKey::new(&ED25519, key.public).verify(signed, signature).is_ok())
    }
}

impl Revoked {
    fn add(&mut self, Revocation { subject, before_ms }: Revocation, now_ms: u64) {
        // One of the far future would lock the user out until then.
        let before_ms = before_ms.min(now_ms.saturating_add(SKEW_MS));
        if let Some(known) = self.before_ms.get_mut(&subject) {
            *known = before_ms.max(*known);
            return;
        }
        if self.order.len() >= REVOCATIONS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.before_ms.remove(&oldest);
        }
        self.order.push_back(subject.clone());
        self.before_ms.insert(subject, before_ms);
    }
}
