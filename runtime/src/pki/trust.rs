//! Whom a node trusts while it runs: its identity, which may be renewed, the revocation list, and the
//! certificate behind each open link.
//!
//! The core that holds the CA looks at the certificates of its peers. When two thirds of one are over it
//! signs a new one *for the same key* and sends it over the link's identity stream; the peer checks it,
//! keeps it, uses it from its next handshake on, and shows it to all its links. Nothing is asked for, so
//! nothing can be asked for in somebody else's name. The key stays because edges are recorded by it and
//! invitations pin it; a key that may be known to others is replaced by pairing anew.
//!
//! A link whose peer is revoked, or whose certificate has ended without a new one being shown, is closed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use edgeway_model::NodeId;
use edgeway_model::notice::Notice;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::identity::{IDENTITY_FILE, Life, REVOKED_FILE, key_hash_of, node_of, public_key_of, serial_of};
use super::limits::{
    EXPIRY_SAID_EVERY, IDENTITY_MESSAGES_PER_MINUTE_MAX, IDENTITY_QUEUE_BYTES_MAX, NODE_VALIDITY, OFFER_EVERY,
    TRUST_EVERY,
};
use super::{Authority, Identity, NodeState, PkiError, Role, tls, unix_now};
use crate::outbox::Outbox;

/// What is said on an identity stream: u32 length, then a kind and a payload. Unknown kinds are skipped.
const CERTIFICATE: u8 = 1;
const REVOCATIONS: u8 = 2;

/// Called with what an operator should know.
type Teller = Box<dyn Fn(&Notice)>;

/// A node's identity while it runs, and the certificates of its open links.
pub struct Trust {
    state_dir: Option<PathBuf>,
    identity: RefCell<Option<Identity>>,
    /// Changes with the identity or the revocation list: TLS configurations are made anew then.
    generation: Cell<u64>,
    validity: Cell<Duration>,
    links: RefCell<Vec<Rc<TrustedLink>>>,
    revoked: RefCell<BTreeSet<NodeId>>,
    /// What this core, which holds the CA, has offered other nodes last.
    offers: RefCell<BTreeMap<NodeId, CertificateDer<'static>>>,
    /// When the files were last seen to change.
    files: Cell<[Option<SystemTime>; 2]>,
    said: Cell<Option<Instant>>,
    tell: RefCell<Option<Teller>>,
}

/// One open link, as far as trust goes.
pub struct TrustedLink {
    /// The node at the other end.
    pub node: NodeId,
    /// Its role.
    pub role: Role,
    /// Whether we dialled.
    pub dialled: bool,
    key_hash: [u8; 32],
    certificate: RefCell<CertificateDer<'static>>,
    /// The signalling queue: closing it closes the link.
    signalling: Rc<Outbox>,
    /// What is to be said on the identity stream.
    pub(crate) says: Rc<Outbox>,
    /// Whether the peer has an identity stream.
    pub(crate) speaks: Cell<bool>,
    offered: Cell<Option<Instant>>,
    said: Cell<bool>,
    /// Messages in the minute that began then.
    heard: Cell<(Option<Instant>, u32)>,
}

impl Trust {
    /// An identity that lives in memory: for labs and tests.
    #[must_use]
    pub fn fixed(identity: Identity) -> Rc<Self> {
        Rc::new(Self::new(None, Some(identity)))
    }

    /// The identity of a state directory, as it was just read (`None` while unpaired).
    #[must_use]
    pub fn in_state(state_dir: &Path, identity: Option<Identity>) -> Rc<Self> {
        Rc::new(Self::new(Some(state_dir.to_owned()), identity))
    }

    fn new(state_dir: Option<PathBuf>, identity: Option<Identity>) -> Self {
        let files = state_dir.as_deref().map(changed_at).unwrap_or_default();
        Self {
            state_dir,
            identity: RefCell::new(identity),
            generation: Cell::new(0),
            validity: Cell::new(NODE_VALIDITY),
            links: RefCell::default(),
            revoked: RefCell::default(),
            offers: RefCell::default(),
            files: Cell::new(files),
            said: Cell::new(None),
            tell: RefCell::default(),
        }
    }

    /// How long the certificates hold that this node signs, if it holds the CA.
    pub fn set_validity(&self, validity: Duration) {
        self.validity.set(validity);
    }

    /// Who is told what an operator should know.
    pub fn on_notice(&self, tell: impl Fn(&Notice) + 'static) {
        *self.tell.borrow_mut() = Some(Box::new(tell));
    }

    /// What this node is now; `None` while unpaired.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.identity.borrow().clone()
    }

    /// A number that changes with the identity and the revocation list.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Nodes found revoked since this one started.
    #[must_use]
    pub fn is_revoked(&self, node: &NodeId) -> bool {
        self.revoked.borrow().contains(node)
    }

    /// The serial numbers of certificates that are revoked, as far as this node knows.
    #[must_use]
    pub fn revoked_serials(&self) -> BTreeSet<Vec<u8>> {
        self.identity.borrow().as_ref().and_then(Identity::revoked).map(serials).unwrap_or_default()
    }

    /// A new identity, stored already: shown to every peer.
    pub fn replace(&self, identity: Identity) {
        let announcement = message(CERTIFICATE, identity.certificate());
        *self.identity.borrow_mut() = Some(identity);
        self.generation.set(self.generation.get() + 1);
        self.said.set(None);
        for link in self.links.borrow().iter() {
            link.say(&announcement);
        }
    }

    /// A link stands whose peer has proven `certificate`. It is looked after until [`Self::close`].
    pub(crate) fn open(
        &self,
        certificate: CertificateDer<'static>,
        dialled: bool,
        signalling: Rc<Outbox>,
    ) -> Option<Rc<TrustedLink>> {
        let (node, role) = node_of(std::slice::from_ref(&certificate))?;
        let link = Rc::new(TrustedLink {
            node,
            role,
            dialled,
            key_hash: key_hash_of(&certificate)?,
            certificate: RefCell::new(certificate),
            signalling,
            says: Outbox::new(IDENTITY_QUEUE_BYTES_MAX),
            speaks: Cell::new(false),
            offered: Cell::new(None),
            said: Cell::new(false),
            heard: Cell::new((None, 0)),
        });
        if let Some(identity) = &*self.identity.borrow()
            && let Some(list) = identity.revoked()
            && identity.role() == Role::Core
        {
            link.say(&message(REVOCATIONS, list));
        }
        self.links.borrow_mut().push(Rc::clone(&link));
        Some(link)
    }

    /// A link is gone.
    pub(crate) fn close(&self, link: &Rc<TrustedLink>) {
        self.links.borrow_mut().retain(|open| !Rc::ptr_eq(open, link));
    }

    /// The open link with a core of this name that was dialled by us, or not.
    pub(crate) fn link_with(&self, core: &NodeId, dialled: bool) -> Option<Rc<TrustedLink>> {
        let links = self.links.borrow();
        links.iter().find(|link| link.node == *core && link.role == Role::Core && link.dialled == dialled).cloned()
    }

    /// The peer said something on its identity stream (what follows the length).
    ///
    /// # Errors
    /// Why the link must be closed.
    pub(crate) fn handle_message(self: &Rc<Self>, link: &Rc<TrustedLink>, bytes: &[u8]) -> Result<(), &'static str> {
        link.count()?;
        let Some((kind, payload)) = bytes.split_first() else { return Ok(()) };
        match (*kind, link.role) {
            (CERTIFICATE, _) => self.handle_certificate(link, CertificateDer::from(payload.to_vec())),
            (REVOCATIONS, Role::Core) => {
                self.handle_revocations(CertificateRevocationListDer::from(payload.to_vec()));
                Ok(())
            }
            (REVOCATIONS, Role::Edge) => Err("an edge may not revoke anybody"),
            _ => Ok(()),
        }
    }

    fn handle_certificate(
        self: &Rc<Self>,
        link: &Rc<TrustedLink>,
        certificate: CertificateDer<'static>,
    ) -> Result<(), &'static str> {
        let Some(ours) = self.identity() else { return Ok(()) };
        let hash = key_hash_of(&certificate);
        if hash == Some(ours.key().key_hash()) {
            if link.role != Role::Core {
                return Err("an edge may not issue certificates");
            }
            self.handle_grant(&ours, certificate);
            return Ok(());
        }
        let named = node_of(std::slice::from_ref(&certificate));
        let fits = hash == Some(link.key_hash) && named == Some((link.node.clone(), link.role));
        if !fits || tls::verify_node(&certificate, ours.authority(), &link.node).is_err() {
            return Err("it showed a certificate that is not its own");
        }
        let before = Life::of(&link.certificate.borrow());
        let Some(life) = Life::of(&certificate) else { return Ok(()) };
        if before.is_none_or(|before| life.ends > before.ends) {
            *link.certificate.borrow_mut() = certificate;
            link.said.set(false);
            link.offered.set(None);
            if self.holds_authority() {
                self.tell(&Notice::CertificateRenewed { node: link.node.clone(), not_after_unix: life.ends });
            }
            self.enforce();
        }
        Ok(())
    }

    /// A certificate for our own key: ours if it is of our CA, for our name, and lasts longer.
    fn handle_grant(self: &Rc<Self>, ours: &Identity, certificate: CertificateDer<'static>) {
        let granted = match Identity::new(ours.key().clone(), certificate, ours.authority().clone()) {
            Ok(granted) => granted,
            Err(error) => return tracing::warn!("a certificate granted by a core was refused: {error}"),
        };
        let same = granted.node() == ours.node() && granted.role() == ours.role();
        if !same || granted.life().ends <= ours.life().ends {
            return tracing::debug!("a granted certificate is no better than ours");
        }
        let granted = match ours.revoked() {
            Some(list) => granted.with_revoked(list.clone()),
            None => granted,
        };
        let trust = Rc::clone(self);
        tokio::task::spawn_local(async move { trust.keep(granted).await });
    }

    /// Stores an identity, then uses it.
    async fn keep(self: Rc<Self>, identity: Identity) {
        let generation = self.generation.get();
        if let Some(dir) = self.state_dir.clone() {
            let stored = identity.clone();
            if let Err(error) = on_disk_thread(move || stored.store(&dir)).await {
                return tracing::error!("a new certificate could not be stored, the old one stays: {error}");
            }
            self.files.set(self.state_dir.as_deref().map(changed_at).unwrap_or_default());
        }
        let (node, not_after_unix) = (identity.node().clone(), identity.life().ends);
        // A revocation list that came meanwhile counts.
        let identity = match self.identity().and_then(|ours| ours.revoked().cloned()) {
            Some(list) => identity.with_revoked(list),
            None => identity,
        };
        self.replace(identity);
        if self.generation.get() != generation + 1 {
            self.store_latest().await;
        }
        self.tell(&Notice::CertificateRenewed { node, not_after_unix });
    }

    fn handle_revocations(self: &Rc<Self>, list: CertificateRevocationListDer<'static>) {
        let Some(ours) = self.identity() else { return };
        if number_of(&list) <= ours.revoked().and_then(number_of) {
            return;
        }
        if let Err(error) = tls::verify_revocations(&list, ours.certificate(), ours.authority(), ours.node()) {
            return tracing::warn!("a revocation list of a peer was refused: {}", tls::explain(&error));
        }
        let identity = ours.with_revoked(list);
        self.follow(identity);
        let trust = Rc::clone(self);
        tokio::task::spawn_local(async move { trust.store_latest().await });
    }

    /// Stores what is in use, until nothing has changed meanwhile: what is written last is what counts.
    async fn store_latest(&self) {
        let Some(dir) = &self.state_dir else { return };
        loop {
            let (generation, dir) = (self.generation.get(), dir.clone());
            let Some(stored) = self.identity() else { return };
            if let Err(error) = on_disk_thread(move || stored.store(&dir)).await {
                return tracing::error!("what other nodes have told could not be stored: {error}");
            }
            if self.generation.get() == generation {
                break;
            }
        }
        self.files.set(changed_at(dir));
    }

    /// The identity with another revocation list: acted upon, and passed on.
    fn follow(&self, identity: Identity) {
        let list = identity.revoked().map(|list| message(REVOCATIONS, list));
        let is_core = identity.role() == Role::Core;
        *self.identity.borrow_mut() = Some(identity);
        self.generation.set(self.generation.get() + 1);
        if let Some(list) = list.filter(|_| is_core) {
            for link in self.links.borrow().iter() {
                link.say(&list);
            }
        }
        self.enforce();
    }

    /// Closes links with nodes that are revoked, or whose certificates have ended.
    fn enforce(&self) {
        let identity = self.identity();
        let revoked: BTreeSet<Vec<u8>> = identity.as_ref().and_then(Identity::revoked).map(serials).unwrap_or_default();
        let now = unix_now();
        for link in self.links.borrow().iter() {
            let certificate = link.certificate.borrow();
            if serial_of(&certificate).is_some_and(|serial| revoked.contains(&serial)) {
                if self.revoked.borrow_mut().insert(link.node.clone()) {
                    self.tell(&Notice::CertificateRevoked { node: link.node.clone() });
                }
                link.signalling.abandon(format!("the certificate of {} has been revoked", link.node));
            } else if Life::of(&certificate).is_none_or(|life| life.is_over(now)) {
                link.signalling.abandon(format!("the certificate of {} has expired", link.node));
            }
        }
    }

    fn holds_authority(&self) -> bool {
        self.state_dir.as_deref().is_some_and(Authority::is_in)
    }

    /// Looks after everything, for as long as the node runs.
    pub async fn run(self: Rc<Self>) {
        loop {
            self.look().await;
            tokio::time::sleep(TRUST_EVERY).await;
        }
    }

    /// Looks at the files, at our own certificate and at those of the peers, once.
    pub async fn look(self: &Rc<Self>) {
        self.read_again();
        if let Some(dir) = self.state_dir.clone()
            && Authority::is_in(&dir)
        {
            let validity = self.validity.get();
            match on_disk_thread(move || Authority::load(&dir)).await {
                Ok(Some(authority)) => self.renew(&Arc::new(authority.with_validity(validity))).await,
                Ok(None) => {}
                Err(error) => self.warn(&error.to_string()),
            }
        } else {
            self.warn(
                "only the core that holds the CA can renew it, and there is no link with that core, or it could not: \
                 its log says why",
            );
        }
        self.enforce();
    }

    /// Somebody else (a command of the operator) may have changed the state directory.
    fn read_again(self: &Rc<Self>) {
        let Some(dir) = self.state_dir.as_deref() else { return };
        let files = changed_at(dir);
        if files == self.files.get() {
            return;
        }
        self.files.set(files);
        let read = match NodeState::load(dir) {
            Ok(state) => state.as_ref().and_then(NodeState::identity).cloned(),
            Err(error) => return tracing::error!("the state directory was not read again: {error}"),
        };
        let Some(read) = read else { return };
        let ours = self.identity();
        if ours.as_ref().map(Identity::certificate) != Some(read.certificate()) {
            self.replace(read.clone());
        }
        if ours.as_ref().and_then(Identity::revoked) != read.revoked() {
            self.follow(read);
        }
    }

    /// This core holds the CA: whoever is due gets a new certificate.
    async fn renew(self: &Rc<Self>, authority: &Arc<Authority>) {
        let Some(ours) = self.identity().filter(|ours| ours.authority() == authority.certificate()) else { return };
        let now = unix_now();
        if ours.life().is_due(now) {
            let (signer, key) = (Arc::clone(authority), ours.key().public_key());
            let (node, role) = (ours.node().clone(), ours.role());
            match on_disk_thread(move || signer.sign_node(&key, &node, role)).await {
                Ok(certificate) => self.handle_grant(&ours, certificate),
                Err(error) => self.warn(&error.to_string()),
            }
        }
        let links = self.links.borrow().clone();
        for link in links {
            let certificate = link.certificate.borrow().clone();
            authority.note(&certificate);
            let Some(life) = Life::of(&certificate).filter(|life| life.is_due(now)) else { continue };
            if !link.speaks.get() {
                link.warn(self, life, "it runs a version that cannot take a new one: update it, or pair it again");
                continue;
            }
            if life.is_late(now) {
                link.warn(self, life, "it does not take up the new one it is offered: its log says why");
            }
            self.offer(authority, &link).await;
        }
    }

    async fn offer(&self, authority: &Arc<Authority>, link: &Rc<TrustedLink>) {
        let pause = OFFER_EVERY.min(self.validity.get() / 20);
        if link.offered.get().is_some_and(|at| at.elapsed() < pause) || self.is_revoked(&link.node) {
            return;
        }
        link.offered.set(Some(Instant::now()));
        let Some(key) = public_key_of(&link.certificate.borrow()) else { return };
        // Who does not take it up is offered the same again: nobody can have the CA sign without end.
        let again = self.offers.borrow().get(&link.node).cloned();
        let still_good = |offer: &CertificateDer<'static>| {
            public_key_of(offer).as_deref() == Some(&key[..])
                && Life::of(offer).is_some_and(|life| !life.is_due(unix_now()))
        };
        if let Some(certificate) = again.filter(still_good) {
            return link.say(&message(CERTIFICATE, &certificate));
        }
        let (signer, node, role) = (Arc::clone(authority), link.node.clone(), link.role);
        match on_disk_thread(move || signer.sign_node(&key, &node, role)).await {
            Ok(certificate) => {
                link.say(&message(CERTIFICATE, &certificate));
                // As many as there are nodes that hold a certificate of ours.
                self.offers.borrow_mut().insert(link.node.clone(), certificate);
            }
            Err(error) => {
                let life = Life::of(&link.certificate.borrow()).unwrap_or(Life { issued: 0, ends: 0 });
                link.warn(self, life, &error.to_string());
            }
        }
    }

    /// Our own certificate should have been renewed by now: said, and said again.
    fn warn(&self, why: &str) {
        let Some(ours) = self.identity() else { return };
        let (life, now) = (ours.life(), unix_now());
        if !life.is_late(now) {
            return;
        }
        let pause = EXPIRY_SAID_EVERY.min(Duration::from_secs(life.length() / 20));
        if self.said.get().is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        self.said.set(Some(Instant::now()));
        let seconds_left = life.ends.saturating_sub(now);
        self.tell(&Notice::CertificateExpiring { node: ours.node().clone(), seconds_left, why: why.to_owned() });
    }

    fn tell(&self, notice: &Notice) {
        if let Some(tell) = &*self.tell.borrow() {
            tell(notice);
        }
    }
}

impl TrustedLink {
    /// Ends the link.
    pub(crate) fn end(&self, why: &str) {
        self.signalling.close(why.to_owned());
    }

    fn say(&self, message: &Bytes) {
        // A peer that does not read its identity stream is told again at the next change.
        if self.says.push(message.clone()).is_err() {
            tracing::warn!(peer = %self.node, "the identity stream of {} is full", self.node);
        }
    }

    fn warn(&self, trust: &Trust, life: Life, why: &str) {
        if !self.said.replace(true) {
            let seconds_left = life.ends.saturating_sub(unix_now());
            trust.tell(&Notice::CertificateExpiring { node: self.node.clone(), seconds_left, why: why.to_owned() });
        }
    }

    fn count(&self) -> Result<(), &'static str> {
        let (since, count) = self.heard.get();
        let fresh = since.is_none_or(|since| since.elapsed() >= Duration::from_secs(60));
        let (since, count) = if fresh { (Some(Instant::now()), 1) } else { (since, count + 1) };
        self.heard.set((since, count));
        if count > IDENTITY_MESSAGES_PER_MINUTE_MAX { Err("it says too much on its identity stream") } else { Ok(()) }
    }
}

/// Takes the next whole message off what has arrived; `None` if there is none yet.
///
/// # Errors
/// If it is longer than any may be.
pub(crate) fn cut_message(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<BytesMut>, &'static str> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*head) as usize;
    if length > bytes_max {
        return Err("a message beside the signalling is too long");
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    let mut message = buffer.split_to(4 + length);
    Ok(Some(message.split_off(4)))
}

fn message(kind: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(5 + payload.len());
    out.put_u32(u32::try_from(payload.len() + 1).unwrap_or(u32::MAX));
    out.put_u8(kind);
    out.put_slice(payload);
    out.freeze()
}

fn serials(list: &CertificateRevocationListDer<'static>) -> BTreeSet<Vec<u8>> {
    let Ok((_, list)) = CertificateRevocationList::from_der(list) else { return BTreeSet::new() };
    list.iter_revoked_certificates().map(|entry| entry.raw_serial().to_vec()).collect()
}

/// The number of a list, which only grows (RFC 5280 §5.2.3), as bytes that compare like it.
fn number_of(list: &CertificateRevocationListDer<'static>) -> Option<(usize, Vec<u8>)> {
    let (_, list) = CertificateRevocationList::from_der(list).ok()?;
    let bytes = list.crl_number()?.to_bytes_be();
    Some((bytes.len(), bytes))
}

fn changed_at(dir: &Path) -> [Option<SystemTime>; 2] {
    [IDENTITY_FILE, REVOKED_FILE].map(|file| fs::metadata(dir.join(file)).and_then(|file| file.modified()).ok())
}

/// Flushing a disk takes milliseconds; the thread of the links has none to spare.
pub(super) async fn on_disk_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PkiError> + Send + 'static,
) -> Result<T, PkiError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(PkiError::Full("the disk thread ended early".to_owned())))
}
