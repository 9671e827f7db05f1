//! Keys of sign-in: what signs session tokens, what the credential cache hashes with, and whose tokens are
//! believed.
//!
//! Everything is derived from one secret of 32 bytes (`sign_in.key_file`) with HMAC-SHA256 and a label each, so
//! that cores that share the file make the same. Edges and other cores are told public keys only.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use edgeway_model::sign_in::TokenKey;
use edgeway_model::{NodeId, Secret};
use edgeway_policy::token::{Claims, Refusal};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::limits::{GOOD_TOKENS_MAX, PEER_KEYS_MAX, PEERS_MAX};

const LABEL_TOKEN: &[u8] = b"edgeway session token, ed25519 seed, 1";
const LABEL_CACHE: &[u8] = b"edgeway credential cache, hmac key, 1";

/// The keys of this core, and the public ones of its peers.
pub struct Keys {
    pair: Ed25519KeyPair,
    own: TokenKey,
    cache: Secret<32>,
    peers: BTreeMap<NodeId, Vec<TokenKey>>,
    good: RefCell<Good>,
}

/// Signatures that were found good, by digest: a client shows the same token with each request, and to check it costs
/// more than everything else its request costs a core. Two generations: what is not shown any more is forgotten.
#[derive(Default)]
pub(super) struct Good {
    recent: HashSet<[u8; 32]>,
    before: HashSet<[u8; 32]>,
}

impl Good {
    pub(super) fn knows(&mut self, digest: [u8; 32]) -> bool {
        if self.recent.contains(&digest) {
            return true;
        }
        let known = self.before.contains(&digest);
        if known {
            self.add(digest);
        }
        known
    }

    pub(super) fn forget(&mut self, digest: [u8; 32]) {
        self.recent.remove(&digest);
        self.before.remove(&digest);
    }

    pub(super) fn add(&mut self, digest: [u8; 32]) {
        if self.recent.len() >= GOOD_TOKENS_MAX / 2 {
            self.before = std::mem::take(&mut self.recent);
        }
        self.recent.insert(digest);
    }
}

impl Keys {
    /// Out of the shared secret.
    ///
    /// # Errors
    /// Only if the library refuses to make a key.
    pub fn new(secret: &Secret<32>) -> Result<Self, String> {
        let seed = derive(secret, LABEL_TOKEN);
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice())
            .map_err(|error| format!("no key can be made out of the secret: {error}"))?;
        let public: [u8; 32] =
            pair.public_key().as_ref().try_into().map_err(|_| "a public key of a strange size".to_owned())?;
        let cache = Secret::new(*derive(secret, LABEL_CACHE));
        Ok(Self { pair, own: token_key(public), cache, peers: BTreeMap::new(), good: RefCell::default() })
    }

    /// Takes the key and the secret of others in the place of its own; what peers have told stays.
    pub(super) fn replace_own(&mut self, other: Self) {
        let peers = std::mem::take(&mut self.peers);
        *self = Self { peers, ..other };
    }

    /// The key of the credential cache.
    #[must_use]
    pub const fn cache(&self) -> &Secret<32> {
        &self.cache
    }

    /// The public key of this core's tokens.
    #[must_use]
    pub const fn own(&self) -> &TokenKey {
        &self.own
    }

    /// What a peer core has told, in the place of what it told before. A key whose id is not made of it is
    /// left out.
    pub fn peer(&mut self, peer: NodeId, keys: &[TokenKey]) {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&peer) {
            return;
        }
        // Whatever its keys were: what they have signed is checked again.
        self.good.take();
        let honest = |key: &&TokenKey| token_key(key.public) == **key;
        self.peers.insert(peer, keys.iter().filter(honest).take(PEER_KEYS_MAX).cloned().collect());
    }

    /// The token of some claims.
    #[must_use]
    pub fn sign(&self, claims: &Claims) -> Zeroizing<String> {
        let sign = |bytes: &[u8]| {
            let signature = self.pair.sign(bytes);
            // Ed25519 signatures are 64 bytes (RFC 8032 §5.1.6).
            signature.as_ref().try_into().unwrap_or([0; 64])
        };
        Zeroizing::new(claims.sign(&self.own.id, sign))
    }

    /// What a token says, if this core or a peer has signed it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Claims, Refusal> {
        self.verify_late(token, now_ms, 0)
    }

    /// The same, of a token that may have expired less than `late_ms` ago.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn verify_late(&self, token: &str, now_ms: u64, late_ms: u64) -> Result<Claims, Refusal> {
        Claims::verify_late(token, now_ms, late_ms, |id, signed, signature| {
            let digest = Sha256::new().chain_update(id).chain_update(signature).chain_update(signed).finalize().into();
            if self.good.borrow_mut().knows(digest) {
                return true;
            }
            let known = self.peers.values().flatten().find(|key| key.id == *id);
            let key = if self.own.id == *id { Some(&self.own) } else { known };
            let good =
                key.is_some_and(|key| UnparsedPublicKey::new(&ED25519, &key.public).verify(signed, signature).is_ok());
            if good {
                self.good.borrow_mut().add(digest);
            }
            good
        })
    }
}

/// A public key with its id.
fn token_key(public: [u8; 32]) -> TokenKey {
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = Sha256::digest(public).into();
    TokenKey { id: [a, b, c, d, e, f, g, h], public }
}

fn derive(secret: &Secret<32>, label: &[u8]) -> Zeroizing<[u8; 32]> {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose()), label);
    let mut derived = Zeroizing::new([0; 32]);
    derived.copy_from_slice(tag.as_ref());
    derived
}

#[cfg(test)]
mod tests {
    use edgeway_model::sign_in::{Deployment, Subject, UserName};

    use super::*;

    fn keys(byte: u8) -> Keys {
        Keys::new(&Secret::new([byte; 32])).unwrap()
    }

    fn claims() -> Claims {
        let subject = Subject { deployment: Deployment::default_one(), user: UserName::new("alice").unwrap() };
        Claims { subject, issued_ms: 1_000, expires_ms: 2_000, serial: 7 }
    }

    #[test]
    fn cores_that_share_the_secret_believe_each_other_and_nobody_else() {
        let (one, same, other) = (keys(1), keys(1), keys(2));
        let token = one.sign(&claims());
        assert_eq!(same.verify(&token, 1_500), Ok(claims()));
        assert_eq!(other.verify(&token, 1_500), Err(Refusal::Forged));
        assert_eq!(one.verify(&token, 2_000), Err(Refusal::Expired));
        assert_eq!((one.cache(), one.own()), (same.cache(), same.own()));
        assert!(one.cache() != other.cache() && one.cache().expose() != &[1; 32]);
    }

    #[test]
    fn a_peer_is_believed_while_it_tells_its_key() {
        let (mut one, other) = (keys(1), keys(2));
        let (peer, token) = (NodeId::new("core2").unwrap(), other.sign(&claims()));
        one.peer(peer.clone(), &[other.own().clone()]);
        assert_eq!(one.verify(&token, 1_500), Ok(claims()));
        let lie = TokenKey { id: one.own().id, ..other.own().clone() };
        one.peer(peer, &[lie]);
        assert_eq!(one.verify(&token, 1_500), Err(Refusal::Forged));
    }

    #[test]
    fn what_is_known_is_bounded_and_what_is_shown_again_stays() {
        let mut good = Good::default();
        let digest = |number: usize| Sha256::digest(number.to_be_bytes()).into();
        for number in 0..4 * GOOD_TOKENS_MAX {
            good.add(digest(number));
            assert!(good.knows(digest(0)), "shown all the time");
            assert!(good.recent.len() + good.before.len() <= GOOD_TOKENS_MAX);
        }
        assert!(!good.knows(digest(1)), "not shown again");
    }

    #[test]
    fn no_bit_of_a_token_may_change() {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let keys = keys(1);
        let good = keys.sign(&claims());
        for _ in 0..2 {
            assert_eq!(keys.verify(&good, 1_500), Ok(claims()), "the second time it is known");
        }
        assert_eq!(keys.verify(&good, 2_000), Err(Refusal::Expired), "known, and expired all the same");
        let token = URL_SAFE_NO_PAD.decode(good.as_bytes()).unwrap();
        for bit in 0..token.len() * 8 {
            let mut changed = token.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let verified = keys.verify(&URL_SAFE_NO_PAD.encode(changed), 1_500);
            assert!(verified.is_err(), "bit {bit}: {verified:?}");
        }
    }
}
