//! Where users sign in: rate control, then the credential cache, then one question to the authority, however
//! many ask for the same at a time. What comes out is a session, and a token for it.
//!
//! ```text
//!  credentials ─▶ rate ─▶ cache ─▶ under way already? ─▶ away? ─▶ authority ─▶ session ─▶ node, cores
//!                  429      200/401                         503      200/401/503
//! ```
//! Away is an authority no server of which answers anything; a user who cannot be checked is no matter of others.
//! Whatever is refused takes the same steps, whether there is such a user or not, and no less than a time in which
//! authorities have mostly answered.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgeway_config::sign_in::SignInSettings;
use edgeway_model::Secret;
use edgeway_model::limits::SPELLINGS_MAX;
use edgeway_model::sign_in::{Deployment, DigestSecret, Revocation, Session, SignInFact, Subject, TokenProof};
pub use edgeway_policy::credentials::Now;
use edgeway_policy::credentials::{Credentials, Found, Remembered, Verifier};
use edgeway_policy::rate::{Decision, Rate, RateSettings, Source};
use edgeway_policy::token::{Claims, Refusal};
use edgeway_runtime::clock::rfc3339;
use edgeway_runtime::http::{HttpFact, Teller};
use edgeway_sip::{bearer, digest};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use super::authority::{Authority, Credential, Known, Reached, Verdict};
use super::counters as count;
use super::health::Health;
use super::keys::{Good, Keys};
use super::limits::{ACQUAINT_WITHIN, CHECKS_MAX, REFUSAL_TAKES, REFUSAL_TAKES_MORE};
use crate::authorities::limits::{CHECK_WITHIN, PASSWORD_BYTES_MAX};

/// An authority keeps its own time; this is for one that does not.
const CHECK_OVER: Duration = CHECK_WITHIN.saturating_add(Duration::from_secs(1));

/// Reads the clocks: those of the machine, or those of a test.
pub type Clocks = Rc<dyn Fn() -> Now>;

/// Who credentials say they are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The user.
    pub subject: Subject,
    /// The name as the client spells it: its SIP side will spell it so, too, and digest tells cases apart.
    pub spelled: String,
}

/// What a sign-in comes to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The credentials are right.
    Good(Arc<Session>),
    /// They are not.
    Refused,
    /// Nobody can say now.
    Unavailable,
    /// The user's credentials have been supplied too often: nobody looked at these.
    TooMany {
        /// When to come back.
        retry_after: Duration,
    },
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// By itself.
    Refused(Refusal),
    /// Its user was revoked after it was issued.
    Revoked,
}

/// Credentials on their way to a server inside that were counted as an attempt: by keyed hash.
pub struct Rider([u8; 32]);

/// Why there is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueFault {
    /// The user was revoked meanwhile.
    #[error("the user was revoked")]
    Revoked,
    /// The system gives no randomness.
    #[error("the operating system gives no random numbers")]
    NoRandomness,
}

/// A token as it goes to a client.
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub token: Zeroizing<String>,
    /// When it ends, Unix milliseconds.
    pub expires_ms: u64,
}

/// Who checks, and what goes with it, for one deployment.
pub struct Place {
    deployment: Deployment,
    authority: Rc<dyn Authority>,
    /// Where SIP clients of the deployment are challenged by the core: the realm.
    realm: Option<String>,
    /// Whether access tokens prove users there, too.
    tokens: bool,
    health: Rc<Health>,
    /// Checks that are under way.
    checks: Cell<usize>,
}

impl Place {
    /// `realm`: where this core challenges the SIP clients of the deployment.
    #[must_use]
    pub fn new(deployment: Deployment, authority: Rc<dyn Authority>, realm: Option<String>) -> Self {
        let health = Rc::new(Health::new(deployment.clone()));
        Self { deployment, authority, realm, tokens: false, health, checks: Cell::new(0) }
    }

    /// Where it does: whether it takes the access tokens that users sign in with.
    #[must_use]
    pub fn taking_tokens(self, tokens: bool) -> Self {
        Self { tokens: tokens && self.realm.is_some(), ..self }
    }
}

/// One question to an authority: who, and the keyed hash of the credential.
type Check = (Subject, [u8; 32]);
/// Where its answer will stand.
type Answer = watch::Receiver<Option<Outcome>>;

/// Where users sign in. Lives on the HTTP thread.
pub struct Desk {
    clocks: Clocks,
    teller: Teller,
    lifetime_ms: Cell<u64>,
    keys: RefCell<Keys>,
    rate: RefCell<Rate>,
    limit: Cell<RateSettings>,
    credentials: RefCell<Credentials>,
    places: RefCell<BTreeMap<Deployment, Rc<Place>>>,
    under_way: RefCell<BTreeMap<Check, Answer>>,
    riders: RefCell<Good>,
}

impl Desk {
    /// `places`: deployments whose users can sign in here. Tells the node the public key of tokens.
    pub fn new(
        settings: &SignInSettings,
        places: impl IntoIterator<Item = Place>,
        keys: Keys,
        clocks: Clocks,
        teller: Teller,
    ) -> Self {
        let interval = settings.credentials_refresh_interval;
        let limit = rate_settings(settings);
        teller.tell(HttpFact::SignIn(SignInFact::Keys(vec![keys.own().clone()])));
        Self {
            clocks,
            teller,
            lifetime_ms: Cell::new(millis(interval)),
            keys: RefCell::new(keys),
            rate: RefCell::new(Rate::new(limit)),
            limit: Cell::new(limit),
            credentials: RefCell::new(Credentials::new(interval)),
            places: RefCell::new(by_deployment(places)),
            under_way: RefCell::default(),
            riders: RefCell::default(),
        }
    }

    /// What the clocks say.
    #[must_use]
    pub fn now(&self) -> Now {
        (self.clocks)()
    }

    /// New settings, and new places: credentials in memory, attempts, revocations and keys stay, and a check that is under
    /// way ends where it began. `is_same`: a deployment's authority is what it was, and so is how it does.
    pub fn renew(
        &self,
        settings: &SignInSettings,
        places: impl IntoIterator<Item = Place>,
        is_same: impl Fn(&Deployment) -> bool,
    ) {
        let interval = settings.credentials_refresh_interval;
        self.limit.set(rate_settings(settings));
        self.rate.borrow_mut().set(self.limit.get());
        let mut credentials = self.credentials.borrow_mut();
        credentials.set_interval(interval, self.now());
        credentials.forget_refused(|subject| !is_same(&subject.deployment));
        drop(credentials);
        self.lifetime_ms.set(millis(interval));
        let mut places: Vec<Place> = places.into_iter().collect();
        let old = self.places.take();
        for (deployment, old) in &old {
            match places.iter_mut().find(|place| place.deployment == *deployment) {
                Some(place) if is_same(deployment) => place.health = Rc::clone(&old.health),
                Some(_) | None => old.health.over(&self.teller),
            }
        }
        self.places.replace(by_deployment(places));
    }

    /// The keys from now on, of a core where nobody could sign in until now.
    pub fn take_keys(&self, keys: Keys) {
        self.teller.tell(HttpFact::SignIn(SignInFact::Keys(vec![keys.own().clone()])));
        self.keys.borrow_mut().replace_own(keys);
    }

    fn place(&self, deployment: &Deployment) -> Option<Rc<Place>> {
        self.places.borrow().get(deployment).cloned()
    }

    /// Why a sign-in is refused unread, in words: the limit, and from when on the next one passes.
    pub(crate) fn too_often(&self, retry_after: Duration) -> String {
        let RateSettings { attempts, period, .. } = self.limit.get();
        let next = rfc3339(self.now().unix_ms.saturating_add(millis(retry_after)));
        let (next, period) = (next.get(11..19).unwrap_or_default(), period.as_secs());
        format!("sign-in {} within {period} s, limit {attempts}, next try {next} UTC", attempts.saturating_add(1))
    }

    /// Whether users of a deployment can sign in here at all.
    #[must_use]
    pub fn serves(&self, deployment: &Deployment) -> bool {
        self.places.borrow().contains_key(deployment)
    }

    /// Credentials were supplied.
    pub async fn sign_in(self: &Rc<Self>, claimed: Claimed, credential: Credential, source: Source) -> Outcome {
        let (begun, now, subject) = (Instant::now(), self.now(), claimed.subject.clone());
        let decision = self.rate.borrow_mut().check(&subject, source, now.moment);
        if let Decision::Refused { retry_after } = decision {
            self.count(count::TOO_MANY);
            return Outcome::TooMany { retry_after };
        }
        if unthinkable(&credential) {
            self.count(count::REFUSED);
            return Outcome::Refused;
        }
        let verifier = self.verifier(&subject, &credential);
        let found = match &credential {
            Credential::Password(_) => self.credentials.borrow().look(&subject, &verifier, now),
            Credential::Bearer(_) => Found::Unknown,
        };
        let outcome = match found {
            Found::Good(session) => {
                self.count(count::CACHED);
                Outcome::Good(self.respelled(session, &claimed, &credential))
            }
            Found::Refused => Outcome::Refused,
            Found::Unknown => {
                if matches!(credential, Credential::Password(_)) {
                    self.count(count::UNCACHED);
                }
                self.ask(claimed, credential, verifier, now).await
            }
        };
        match &outcome {
            Outcome::Good(_) => {
                let now = self.now().moment;
                self.rate.borrow_mut().succeeded(&subject, source, now);
                self.count(count::GOOD);
            }
            Outcome::Refused => {
                self.count(count::REFUSED);
                let left = REFUSAL_TAKES.saturating_sub(begun.elapsed());
                sleep(left + at_random(REFUSAL_TAKES_MORE)).await;
            }
            Outcome::Unavailable => self.count(count::UNAVAILABLE),
            Outcome::TooMany { .. } => self.count(count::TOO_MANY),
        }
        outcome
    }

    /// A user who is signed in shows an access token beside: a device has got a new one. Where SIP clients are
    /// asked for it, it is checked now unless it is known; what comes of it is told to the node. Not counted:
    /// nobody is let in by it here.
    pub async fn acquaint(self: &Rc<Self>, subject: &Subject, token: &Zeroizing<String>) {
        if !self.place(&subject.deployment).is_some_and(|place| place.tokens) {
            return;
        }
        let now = self.now();
        let hash = bearer::hash(token);
        let session = self.session(subject);
        let mut known = session.iter().flat_map(|session| &session.tokens);
        if known.any(|one| bearer::is_same(&one.hash, &hash) && one.holds(now.unix_ms)) {
            return;
        }
        let credential = Credential::Bearer(token.clone());
        let verifier = self.verifier(subject, &credential);
        if matches!(self.credentials.borrow().look(subject, &verifier, now), Found::Refused) {
            return;
        }
        let claimed = Claimed { subject: subject.clone(), spelled: subject.user.as_str().to_owned() };
        // The check goes on after that; the request does not wait for an authority that is slow.
        let _ = timeout(ACQUAINT_WITHIN, self.ask(claimed, credential, verifier, now)).await;
    }

    /// A device spells the name of its user in a way that is new: its SIP side will, too.
    fn respelled(&self, session: Arc<Session>, claimed: &Claimed, credential: &Credential) -> Arc<Session> {
        let place = self.place(&session.subject.deployment);
        let realm = place.as_ref().and_then(|place| place.realm.as_deref());
        let (Some(realm), Credential::Password(password)) = (realm, credential) else { return session };
        let is_known = session.digests.iter().any(|known| known.user == claimed.spelled && known.realm == realm);
        if is_known || session.digests.len() >= SPELLINGS_MAX {
            return session;
        }
        let mut respelled = Session::clone(&session);
        respelled.spell(digest_secret(&claimed.spelled, realm, password));
        self.keep(Arc::new(respelled)).1
    }

    /// The session of a user whose password is known to be this one, without counting, and without asking
    /// anybody: for clients that have proven themselves otherwise.
    #[must_use]
    pub fn recognises(&self, subject: &Subject, credential: &Credential) -> bool {
        let verifier = self.verifier(subject, credential);
        matches!(self.credentials.borrow().look(subject, &verifier, self.now()), Found::Good(_))
    }

    /// Whether credentials of a user who has shown a token go to a server inside. What the cache does not know is an
    /// attempt, once for each credential, and again after the server has refused it ([`Self::refused_inside`]): a
    /// server may have passwords of its own, and clients send them with each request.
    ///
    /// # Errors
    /// When there were too many attempts: when to come back.
    pub fn ride(&self, subject: &Subject, credential: &Credential, source: Source) -> Result<Option<Rider>, Duration> {
        if matches!(credential, Credential::Password(_)) && self.recognises(subject, credential) {
            return Ok(None);
        }
        let digest = *self.verifier(subject, credential).secret().expose();
        if self.riders.borrow_mut().knows(digest) {
            return Ok(Some(Rider(digest)));
        }
        if let Decision::Refused { retry_after } = self.rate.borrow_mut().check(subject, source, self.now().moment) {
            self.count(count::TOO_MANY);
            return Err(retry_after);
        }
        self.riders.borrow_mut().add(digest);
        Ok(Some(Rider(digest)))
    }

    /// Credentials of `subject` are about to go to a server that checks them itself (chat). They count as an attempt
    /// at this user like any other; nobody looks at them here.
    ///
    /// # Errors
    /// When there were too many attempts: when to come back.
    pub fn supplied(&self, subject: &Subject, source: Source) -> Result<(), Duration> {
        match self.rate.borrow_mut().check(subject, source, self.now().moment) {
            Decision::Pass => Ok(()),
            Decision::Refused { retry_after } => {
                self.count(count::TOO_MANY);
                Err(retry_after)
            }
        }
    }

    /// They reached no such server: that was no attempt, and is not counted any more.
    pub fn unseen(&self, subject: &Subject, source: Source) {
        self.rate.borrow_mut().take_back(subject, source);
    }

    /// That server has taken them.
    pub fn proven(&self, subject: &Subject, source: Source) {
        self.rate.borrow_mut().succeeded(subject, source, self.now().moment);
    }

    /// A server inside has refused such credentials: they are counted again.
    pub fn refused_inside(&self, rider: &Rider) {
        self.riders.borrow_mut().forget(rider.0);
    }

    /// The session of a user, while it lasts.
    #[must_use]
    pub fn session(&self, subject: &Subject) -> Option<Arc<Session>> {
        self.credentials.borrow().current(subject, self.now()).cloned()
    }

    /// What a token says, if it is to be believed.
    ///
    /// # Errors
    /// [`TokenFault`].
    pub fn verify(&self, token: &str) -> Result<Claims, TokenFault> {
        self.verify_late(token, 0)
    }

    /// Whether a token was good for `subject`, and has expired no longer ago than tokens last: whoever holds it
    /// has signed in lately.
    #[must_use]
    pub fn was_good(&self, token: &str, subject: &Subject) -> bool {
        self.verify_late(token, self.lifetime_ms()).is_ok_and(|claims| claims.subject == *subject)
    }

    fn verify_late(&self, token: &str, late_ms: u64) -> Result<Claims, TokenFault> {
        let now_ms = self.now().unix_ms;
        let claims = self.keys.borrow().verify_late(token, now_ms, late_ms).map_err(TokenFault::Refused)?;
        let revoked = self.credentials.borrow().revocations().covers(&claims.subject, claims.issued_ms);
        if revoked { Err(TokenFault::Revoked) } else { Ok(claims) }
    }

    /// A token for a session, for as long as the session: whatever it is made from (a fresh check, the cache, another
    /// token), the authority is asked again when the interval since it was asked is over.
    ///
    /// # Errors
    /// [`IssueFault`].
    pub fn issue(&self, session: &Session) -> Result<Issued, IssueFault> {
        if self.is_revoked(session) {
            return Err(IssueFault::Revoked);
        }
        let lasts = self.now().unix_ms.saturating_add(self.lifetime_ms());
        let expires_ms = session.until_ms.min(lasts);
        let mut serial = [0; 8];
        aws_lc_rs::rand::fill(&mut serial).map_err(|_| IssueFault::NoRandomness)?;
        let serial = u64::from_be_bytes(serial);
        // Dated by the check it rests on: another core may have revoked the user since, and not told us yet.
        let claims = Claims { subject: session.subject.clone(), issued_ms: session.since_ms, expires_ms, serial };
        let token = self.keys.borrow().sign(&claims);
        self.count(count::ISSUED);
        Ok(Issued { token, expires_ms })
    }

    /// Whether the user was revoked after the authority was asked.
    fn is_revoked(&self, session: &Session) -> bool {
        self.credentials.borrow().revocations().covers(&session.subject, session.since_ms)
    }

    /// How long tokens last, milliseconds.
    #[must_use]
    pub fn lifetime_ms(&self) -> u64 {
        self.lifetime_ms.get()
    }

    /// Something the node or a peer says.
    pub fn told(&self, fact: &SignInFact) {
        let now = self.now();
        match fact {
            SignInFact::SignedIn(session) => {
                if self.credentials.borrow_mut().remember(Arc::clone(session), now) == Remembered::Yes {
                    self.count(count::TOLD);
                }
            }
            SignInFact::Revoked(revocation) => {
                self.rate.borrow_mut().forget(&revocation.subject);
                self.credentials.borrow_mut().revoke(revocation, now.unix_ms);
            }
            SignInFact::PeerKeys { peer, keys } => self.keys.borrow_mut().peer(peer.clone(), keys),
            SignInFact::Keys(_) | SignInFact::Contacts { .. } | SignInFact::Linked(_) => {}
        }
    }

    /// Revokes a user: cached credentials go, tokens issued until now hold no longer, here and, as soon as
    /// they hear of it, at edges and other cores.
    pub fn revoke(&self, subject: &Subject) -> Revocation {
        // What was issued in this very millisecond is meant, too.
        let before_ms = self.now().unix_ms.saturating_add(1);
        let revocation = Revocation { subject: subject.clone(), before_ms };
        self.told(&SignInFact::Revoked(revocation.clone()));
        self.teller.tell(HttpFact::SignIn(SignInFact::Revoked(revocation.clone())));
        self.count(count::REVOKED);
        revocation
    }

    /// Forgets a user's cached credentials at this core: the next sign-in asks the authority. Says whether there
    /// were any.
    pub fn purge(&self, subject: &Subject) -> bool {
        self.count(count::PURGED);
        self.credentials.borrow_mut().purge(subject)
    }

    /// Takes out of memory what has ended. Says how many entries went.
    pub fn sweep(&self) -> usize {
        self.credentials.borrow_mut().sweep(self.now())
    }

    /// Ends the alarms of sign-in that had no cause for a while.
    pub fn quiet(&self) {
        let now = self.now();
        for place in self.places.borrow().values() {
            place.health.quiet(now, &self.teller);
        }
    }

    /// Users whose credentials are in memory, and revocations.
    #[must_use]
    pub fn held(&self) -> (usize, Vec<Revocation>) {
        let credentials = self.credentials.borrow();
        (credentials.len(), credentials.revocations().iter().collect())
    }

    fn verifier(&self, subject: &Subject, credential: &Credential) -> Verifier {
        match credential {
            Credential::Password(text) => Verifier::new(self.keys.borrow().cache(), subject, text),
            Credential::Bearer(text) => {
                // No password holds a control character: a token with the text of one is something else.
                let mut marked = Zeroizing::new(String::with_capacity(text.len() + 1));
                marked.push('\0');
                marked.push_str(text);
                Verifier::new(self.keys.borrow().cache(), subject, &marked)
            }
        }
    }

    /// One question for all who ask the same at a time. It goes on when the client that asked first goes away.
    async fn ask(self: &Rc<Self>, claimed: Claimed, credential: Credential, verifier: Verifier, now: Now) -> Outcome {
        let check = (claimed.subject.clone(), *verifier.secret().expose());
        let waiting = self.under_way.borrow().get(&check).cloned();
        let mut answer = match waiting {
            Some(answer) => {
                self.count(count::COALESCED);
                answer
            }
            None => match self.begin(check, claimed, credential, verifier, now) {
                Some(answer) => answer,
                None => return Outcome::Unavailable,
            },
        };
        let outcome = answer.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        match outcome {
            // Revoked between the answer and now: the client may ask once more.
            Some(Outcome::Good(session)) if self.is_revoked(&session) => Outcome::Unavailable,
            Some(outcome) => outcome,
            None => Outcome::Unavailable,
        }
    }

    /// `None` where the authority is not to be asked now.
    fn begin(
        self: &Rc<Self>,
        check: Check,
        claimed: Claimed,
        credential: Credential,
        verifier: Verifier,
        now: Now,
    ) -> Option<Answer> {
        let place = self.place(&check.0.deployment)?;
        if place.checks.get() >= CHECKS_MAX || !place.health.may_ask(&credential, now) {
            return None;
        }
        let (tell, answer) = watch::channel(None);
        self.under_way.borrow_mut().insert(check.clone(), answer.clone());
        place.checks.set(place.checks.get() + 1);
        self.count(count::ASKED);
        let guard = UnderWay { desk: Rc::clone(self), place, check };
        spawn_local(async move {
            let outcome = guard.desk.check(&guard.place, &claimed, &credential, &verifier, now.unix_ms).await;
            // Whoever asks from now on finds it in the cache.
            drop(guard);
            tell.send_replace(Some(outcome));
        });
        Some(answer)
    }

    async fn check(
        &self,
        place: &Place,
        claimed: &Claimed,
        credential: &Credential,
        verifier: &Verifier,
        since_ms: u64,
    ) -> Outcome {
        let subject = &claimed.subject;
        let verdict = timeout(CHECK_OVER, place.authority.check(subject, credential)).await;
        let verdict = verdict.unwrap_or_else(|_| Verdict::Unavailable {
            why: "it took too long".into(),
            // Nobody knows what it waited for; those behind it wait no longer than it did.
            reached: Reached::NotAsked,
        });
        match verdict {
            Verdict::Good(known) => {
                place.health.answered(credential, &self.teller);
                self.welcome(place, claimed, credential, *known, since_ms)
            }
            Verdict::Refused | Verdict::Elsewhere => {
                let now = self.now();
                place.health.refused(credential, now, &self.teller);
                if matches!(verdict, Verdict::Elsewhere) {
                    place.health.elsewhere(now, &self.teller);
                }
                self.credentials.borrow_mut().refuse(subject, verifier, now.moment);
                Outcome::Refused
            }
            Verdict::Unavailable { why, reached } => {
                let deployment = &place.deployment;
                tracing::debug!(%deployment, %why, ?reached, "credentials could not be checked");
                place.health.unanswered(credential, reached, &why, self.now(), &self.teller);
                Outcome::Unavailable
            }
        }
    }

    /// Remembers who has proven to be one, and tells the node.
    fn welcome(
        &self,
        place: &Place,
        claimed: &Claimed,
        credential: &Credential,
        known: Known,
        since_ms: u64,
    ) -> Outcome {
        let subject = Subject { deployment: claimed.subject.deployment.clone(), user: known.user };
        let lasts = since_ms.saturating_add(self.lifetime_ms());
        let mut session = Session {
            subject,
            until_ms: known.until_ms.map_or(lasts, |until_ms| until_ms.min(lasts)),
            since_ms,
            verifier: None,
            digests: Vec::new(),
            tokens: Vec::new(),
            devices: known.devices,
            numbers: known.numbers,
            profile: known.profile,
        };
        match (credential, place.realm.as_deref()) {
            (Credential::Password(password), realm) => {
                session.verifier = Some(self.verifier(&session.subject, credential).secret());
                let folded = session.subject.user.as_str().to_owned();
                let spellings = [Some(claimed.spelled.clone()), known.spelled, Some(folded)];
                for (spelled, realm) in spellings.iter().flatten().zip(realm.iter().cycle()) {
                    session.spell(digest_secret(spelled, realm, password));
                }
            }
            (Credential::Bearer(token), _) if place.tokens => {
                let hash = bearer::hash(token);
                session.tokens.push(TokenProof { hash, since_ms, until_ms: session.until_ms });
            }
            (Credential::Bearer(_), _) => {}
        }
        match self.keep(Arc::new(session)) {
            (Remembered::Yes | Remembered::Superseded, session) => Outcome::Good(session),
            // Revoked while the authority was being asked: the client may ask once more.
            (Remembered::Over, _) => Outcome::Unavailable,
        }
    }

    /// Remembers a session, and tells the node if it is news.
    fn keep(&self, session: Arc<Session>) -> (Remembered, Arc<Session>) {
        let remembered = self.credentials.borrow_mut().remember(Arc::clone(&session), self.now());
        if remembered == Remembered::Yes {
            self.teller.tell(HttpFact::SignIn(SignInFact::SignedIn(Arc::clone(&session))));
        }
        (remembered, session)
    }

    /// Counts something of `super::counters`.
    pub(crate) fn count(&self, what: &'static str) {
        self.teller.tell(HttpFact::Counted(what));
    }
}

/// Takes a check out of the list, however it ends.
struct UnderWay {
    desk: Rc<Desk>,
    /// Where it began, whatever stands in its place by now.
    place: Rc<Place>,
    check: Check,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.desk.under_way.borrow_mut().remove(&self.check);
        self.place.checks.set(self.place.checks.get().saturating_sub(1));
    }
}

fn rate_settings(settings: &SignInSettings) -> RateSettings {
    RateSettings {
        attempts: settings.maximum_authorizations_per_period,
        period: settings.rate_control_period,
        remember: settings.credentials_refresh_interval,
    }
}

fn by_deployment(places: impl IntoIterator<Item = Place>) -> BTreeMap<Deployment, Rc<Place>> {
    places.into_iter().map(|place| (place.deployment.clone(), Rc::new(place))).collect()
}

fn digest_secret(user: &str, realm: &str, password: &str) -> DigestSecret {
    let (md5, sha256): (Secret<16>, Secret<32>) = digest::hashes(user, realm, password);
    DigestSecret { user: user.to_owned(), realm: realm.to_owned(), md5, sha256 }
}

/// What nobody has for a password: no authority is asked for it.
fn unthinkable(credential: &Credential) -> bool {
    match credential {
        Credential::Password(password) => password.is_empty() || password.len() > PASSWORD_BYTES_MAX,
        Credential::Bearer(_) => false,
    }
}

/// Anything up to `most`; nothing, where the system gives no randomness.
fn at_random(most: Duration) -> Duration {
    let mut random = [0; 2];
    if aws_lc_rs::rand::fill(&mut random).is_err() {
        return Duration::ZERO;
    }
    most.mul_f64(f64::from(u16::from_ne_bytes(random)) / f64::from(u16::MAX))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "desk/tests.rs"]
mod tests;
