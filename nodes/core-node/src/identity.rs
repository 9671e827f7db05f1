//! Who a client is, and whom it may speak for.
//!
//! ```text
//!                        the registrar challenges          this core challenges (Unified CM)
//!   REGISTER             it decides; From as To            digest or token of a signed-in user; To, From and
//!                                                          device must be the user's own
//!   new requests         From is registered on this        the same, or the user's own after a digest
//!                        very connection
//!   within a dialog      From is who the dialog began with
//!   identity headers     stay where they name an address registered here, else are taken off
//! ```
//! An identity belongs to one connection of one edge as *this* core has seen it proven. What an edge, or
//! a client, says of itself counts for nothing, so a user can be nobody else over any edge.

use std::collections::HashMap;

use edgeway_model::notice::DropReason;
use edgeway_model::sign_in::{Deployment, DigestSecret, Session, Subject, UserName};
use edgeway_model::zones::{Challenge, OAUTH_ZONE};
use edgeway_model::{FlowId, Moment, Secret};
use edgeway_policy::location::Place;
use edgeway_sip::bearer;
use edgeway_sip::bindings::aor_of;
use edgeway_sip::digest::{self, Algorithm, Credentials, Ha1};
use edgeway_sip::mra::is_keep_alive;
use edgeway_sip::proxy::TransactionId;
use edgeway_sip::uri::Uri;
use edgeway_sip::{Edit, Message, Name};

use crate::CoreNode;
use crate::limits::IDENTITIES_MAX;

/// What a connection has proven, while it is open.
#[derive(Debug)]
struct Proven {
    deployment: Deployment,
    /// By digest.
    user: Option<UserName>,
}

/// Connections that have proven something.
#[derive(Debug)]
pub(crate) struct Identities {
    flows: HashMap<FlowId, Proven>,
    /// What a user who has not signed in is checked against, so that it takes as long.
    nobody: [Ha1; 2],
}

impl Identities {
    pub(crate) fn new(random: &mut edgeway_model::Random) -> Self {
        let mut bytes = || {
            let halves = [random.next_u64(), random.next_u64()].map(u64::to_be_bytes);
            Secret::<16>::new(std::array::from_fn(|at| halves[at / 8][at % 8]))
        };
        let (one, other) = (bytes(), bytes());
        let long =
            Secret::new(std::array::from_fn(|at| if at < 16 { one.expose()[at] } else { other.expose()[at - 16] }));
        let nobody = [Ha1::from_md5(&one), Ha1::from_sha256(&long)];
        Self { flows: HashMap::new(), nobody }
    }

    /// The deployment a connection belongs to.
    pub(crate) fn deployment(&self, flow: FlowId) -> Option<&Deployment> {
        self.flows.get(&flow).map(|proven| &proven.deployment)
    }

    fn user(&self, flow: FlowId) -> Option<&UserName> {
        self.flows.get(&flow)?.user.as_ref()
    }

    fn prove(&mut self, flow: FlowId, deployment: Deployment, user: Option<UserName>) {
        if let Some(known) = self.flows.get_mut(&flow) {
            known.deployment = deployment;
            known.user = user.or(known.user.take());
        } else if self.flows.len() < IDENTITIES_MAX {
            self.flows.insert(flow, Proven { deployment, user });
        }
    }

    fn disprove(&mut self, flow: FlowId) {
        if let Some(known) = self.flows.get_mut(&flow) {
            known.user = None;
        }
    }

    /// What connections have proven of a user holds no longer.
    pub(crate) fn revoke(&mut self, subject: &Subject) {
        for known in self.flows.values_mut() {
            if known.deployment == subject.deployment && known.user.as_ref() == Some(&subject.user) {
                known.user = None;
            }
        }
    }

    /// Whoever belonged to a deployment that is gone may belong to another.
    pub(crate) fn deployments_changed(&mut self, is_there: impl Fn(&Deployment) -> bool) {
        self.flows.retain(|_, proven| is_there(&proven.deployment));
    }

    pub(crate) fn flow_closed(&mut self, flow: FlowId) {
        self.flows.remove(&flow);
    }

    pub(crate) fn flows_closed(&mut self, is_gone: impl Fn(FlowId) -> bool) {
        self.flows.retain(|flow, _| !is_gone(*flow));
    }
}

/// What becomes of a request.
enum Standing {
    Good,
    /// 401, with a fresh nonce.
    Challenged {
        realm: String,
        stale: bool,
        bearer: Bearer,
        /// What is wrong with the credentials, where some were shown.
        wrong: Option<&'static str>,
    },
    /// 403.
    Refused(&'static str),
    /// 403: there were too many wrong passwords; what it shows is looked at in so many seconds.
    Shut(u64),
    /// 481: it speaks of a dialog that is not known, in a name that is not its own.
    Unknown,
}

/// Why credentials prove nothing.
enum Unproven {
    Wrong {
        /// A fresh nonce alone would do.
        stale: bool,
    },
    /// Not looked at, for so many seconds.
    Shut(u64),
}

/// Whether a challenge asks for an access token, too (RFC 8898).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bearer {
    /// Nobody of this deployment has any.
    Off,
    Asked,
    /// The one that was shown is not, or no longer, good.
    Invalid,
}

const WRONG: &str = "wrong credentials, or not signed in";
const NOT_SIGNED_IN: &str = "the sign-in has ended";
const SHUT: &str = "too many wrong passwords";
const OTHERS: Standing = Standing::Refused("this connection is another user's");
const NOT_REGISTERED: Standing = Standing::Refused("From is not registered on this connection");
const NOT_THE_USERS: Standing = Standing::Refused("an address that is not the user's own");

/// Headers in which a client says who it is, besides From and Contact.
const IDENTITY_HEADERS: [Name; 9] = [
    Name::PAssertedIdentity,
    Name::PPreferredIdentity,
    Name::RemotePartyId,
    Name::Diversion,
    Name::HistoryInfo,
    Name::ReferredBy,
    Name::PServedUser,
    Name::PProfileKey,
    Name::PChargeInfo,
];

impl CoreNode {
    /// Whether a new request of a client may go on; else it has been answered.
    pub(crate) fn admit(&mut self, id: TransactionId, flow: FlowId, request: &Message, now: Moment) -> bool {
        match self.standing(flow, request, now) {
            Standing::Good => true,
            Standing::Challenged { realm, stale, bearer, wrong } => {
                let token = (bearer != Bearer::Off).then(|| bearer::challenge(&realm, bearer == Bearer::Invalid));
                let nonce = self.nonces.mint(flow, &mut self.random, now);
                let challenge =
                    digest::Challenge { realm, nonce, algorithm: Algorithm::Md5, qop_auth: true, opaque: None, stale };
                let response = request.respond(401, "Unauthorized");
                let response = response.to_tag(&format!("ew{:x}", self.random.next_u64()));
                // Digest first: clients of the field look at no second one.
                let mut response = response.header(Name::WwwAuthenticate, &challenge.to_value());
                if let Some(token) = token {
                    response = response.header(Name::WwwAuthenticate, &token);
                }
                // The first challenge of all is no refusal.
                if let (Some(why), Some(from)) = (wrong, self.proxy.upstream(id).cloned()) {
                    response = self.refused(response, request, &from, 401, Some((399, why)));
                }
                self.respond(id, 401, response.build(), now);
                false
            }
            Standing::Unknown => {
                self.dropped(DropReason::NoRelay, "no such dialog here");
                self.answer(id, 481, "Call/Transaction Does Not Exist", Some((399, "no such dialog here")), now);
                false
            }
            Standing::Shut(seconds) => {
                self.dropped(DropReason::Identity, SHUT);
                let response = request.respond(403, "Forbidden");
                let response = response.to_tag(&format!("ew{:x}", self.random.next_u64()));
                let Some(from) = self.proxy.upstream(id).cloned() else { return false };
                let response = self.refused(response, request, &from, 403, Some((399, SHUT)));
                let bytes = response.header(Name::RetryAfter, &seconds.to_string()).build();
                self.respond(id, 403, bytes, now);
                false
            }
            Standing::Refused(why) => {
                self.dropped(DropReason::Identity, why);
                self.answer(id, 403, "Forbidden", Some((399, why)), now);
                false
            }
        }
    }

    fn standing(&mut self, flow: FlowId, request: &Message, now: Moment) -> Standing {
        let registers = request.method() == Some("REGISTER");
        let began = request.to_tag().filter(|_| !registers).and_then(|tag| self.began(request, tag));
        if let Some(began) = began {
            let from = aor_of(request.from().uri);
            return if began == label_of(&from) || self.holds(flow, &from) {
                Standing::Good
            } else {
                Standing::Refused("From is not who the dialog began with")
            };
        }
        let standing = self.standing_outside_of_dialogs(flow, request, now);
        match (request.to_tag(), &standing) {
            (None, _) | (_, Standing::Good) => standing,
            (Some(_), _) if registers => standing,
            // A dialog this core has forgotten, or that never was. Whoever hangs up says so to somebody who
            // knows the tags; anything else might be news to somebody who does not look at them.
            (Some(_), _) if request.method() == Some("BYE") => Standing::Good,
            (Some(_), _) => Standing::Unknown,
        }
    }

    fn standing_outside_of_dialogs(&mut self, flow: FlowId, request: &Message, now: Moment) -> Standing {
        let registers = request.method() == Some("REGISTER");
        if registers && !self.bindings.is_registered(flow) {
            // Nothing is left of what it was: it may become somebody else.
            self.identities.flow_closed(flow);
        }
        // What leads nowhere is refused where that is found out.
        let Some(deployment) = self.deployment_of(flow, request) else { return Standing::Good };
        let (realm, bearer) = match self.zones.get(&deployment).map(|served| &served.challenge) {
            None => return Standing::Good,
            Some(Challenge::Registrar) => return self.standing_at_registrar(flow, request),
            Some(Challenge::Core { realm, bearer }) => (realm.clone(), *bearer),
        };
        if is_keep_alive(request) && self.answers_keep_alive(request) {
            return Standing::Good;
        }
        let bearer = if bearer { Bearer::Asked } else { Bearer::Off };
        self.standing_at_core(flow, request, deployment, (realm, bearer), now)
    }

    /// Where the registrar proves its users, what it has accepted on a connection is who speaks there.
    fn standing_at_registrar(&self, flow: FlowId, request: &Message) -> Standing {
        let from = aor_of(request.from().uri);
        let holds = self.holds(flow, &from);
        match request.method() {
            Some("REGISTER") if from == aor_of(request.to().uri) => Standing::Good,
            Some("REGISTER") => Standing::Refused("From and To of a REGISTER differ"),
            _ if holds || (is_anonymous(request) && self.is_known(flow)) => Standing::Good,
            _ => NOT_REGISTERED,
        }
    }

    /// Where this core proves users: by the digest of somebody who has signed in, or by the token they did it with.
    fn standing_at_core(
        &mut self,
        flow: FlowId,
        request: &Message,
        deployment: Deployment,
        (realm, bearer): (String, Bearer),
        now: Moment,
    ) -> Standing {
        let given = request.lines(Name::Authorization).filter_map(Credentials::parse).find(|one| one.realm == realm);
        let known = self.identities.user(flow).cloned();
        let user = match given {
            // Not looked at: a connection that has proven itself is no place to guess at others.
            Some(credentials) if known.is_some() && UserName::new(&credentials.username) != known => return OTHERS,
            Some(credentials) => match self.verified(flow, request, &deployment, &credentials, now) {
                Ok(user) => user,
                Err(Unproven::Wrong { stale }) => {
                    let wrong = (!stale).then_some(WRONG);
                    return Standing::Challenged { realm, stale, bearer, wrong };
                }
                Err(Unproven::Shut(seconds)) => return Standing::Shut(seconds),
            },
            None => match (self.shown(request, &deployment, bearer, now), &known) {
                (Some(Some(user)), _) => user,
                (Some(None), _) => {
                    let (bearer, wrong) = (Bearer::Invalid, Some(WRONG));
                    return Standing::Challenged { realm, stale: false, bearer, wrong };
                }
                (None, Some(user)) => user.clone(),
                (None, None) => return Standing::Challenged { realm, stale: false, bearer, wrong: None },
            },
        };
        if known.is_some_and(|known| known != user) {
            return OTHERS;
        }
        let subject = Subject { deployment: deployment.clone(), user: user.clone() };
        let Some(session) = self.sign_ins.session(&subject, now).cloned() else {
            // Whoever signs in next proves it here anew.
            self.identities.disprove(flow);
            return Standing::Challenged { realm, stale: false, bearer, wrong: Some(NOT_SIGNED_IN) };
        };
        self.identities.prove(flow, deployment.clone(), Some(user));
        let is_own = |uri: &str| self.is_own_address(&deployment, &session, uri);
        let from = request.from().uri;
        let from_fits = is_own(from);
        if !has_own_devices(&session, request) {
            return Standing::Refused("a device that is not the user's own");
        }
        if request.method() == Some("REGISTER") {
            return if from_fits && is_own(request.to().uri) { Standing::Good } else { NOT_THE_USERS };
        }
        // What is said in another's name, and another's mailbox, are not for the call manager alone to keep.
        let of_users_own = request.method() == Some("PUBLISH") || is_of_mailbox(request);
        if of_users_own && !(is_own(request.to().uri) && request.request_uri().is_some_and(is_own)) {
            return NOT_THE_USERS;
        }
        let is_registered = self.bindings.is_registered(flow);
        if from_fits || (is_registered && (is_anonymous(request) || self.holds(flow, &aor_of(from)))) {
            return Standing::Good;
        }
        NOT_THE_USERS
    }

    /// Whose access token a request shows, if it shows one; `Some(None)`: nobody's here. Several count as none that is good.
    fn shown(
        &self,
        request: &Message,
        deployment: &Deployment,
        bearer: Bearer,
        now: Moment,
    ) -> Option<Option<UserName>> {
        if bearer == Bearer::Off {
            return None;
        }
        let mut lines = request.lines(Name::Authorization).filter(|value| bearer::is_bearer(value));
        let token = bearer::token(lines.next()?).filter(|_| lines.next().is_none());
        Some(token.and_then(|token| self.sign_ins.user_of(deployment, &bearer::hash(token), now)))
    }

    /// Whose these credentials are, if they are good. A user who has not signed in is checked like any other.
    fn verified(
        &mut self,
        flow: FlowId,
        request: &Message,
        deployment: &Deployment,
        credentials: &Credentials,
        now: Moment,
    ) -> Result<UserName, Unproven> {
        let user = UserName::new(&credentials.username);
        let is_its = user.is_some() && self.identities.user(flow) == user.as_ref();
        let subject = user.map(|user| Subject { deployment: deployment.clone(), user });
        if let Some(seconds) = self.guesses.shut(flow, subject.as_ref(), is_its, now) {
            return Err(Unproven::Shut(seconds));
        }
        let secrets = subject.as_ref().map_or(&[][..], |subject| self.sign_ins.digests(subject, now));
        let is_this = |one: &&DigestSecret| one.realm == credentials.realm && one.user == credentials.username;
        let secret = secrets.iter().find(is_this);
        let known = secret.map(|secret| match credentials.algorithm {
            Algorithm::Md5 => Ha1::from_md5(&secret.md5),
            Algorithm::Sha256 => Ha1::from_sha256(&secret.sha256),
        });
        let nobody = match credentials.algorithm {
            Algorithm::Md5 => &self.identities.nobody[0],
            Algorithm::Sha256 => &self.identities.nobody[1],
        };
        let proves = credentials.verify(known.as_ref().unwrap_or(nobody), request.method().unwrap_or_default());
        let for_this = is_same_uri(&credentials.uri, request.request_uri().unwrap_or_default());
        let proves = proves & known.is_some() & for_this;
        let Some((count, subject)) = credentials.count.as_ref().zip(subject.as_ref()).filter(|_| proves) else {
            self.guesses.wrong(flow, subject.as_ref(), is_its, now);
            return Err(Unproven::Wrong { stale: false });
        };
        // Only what proves the password is counted: nobody else can use a nonce up.
        if !self.nonces.spend(flow, &credentials.nonce, count.nc, now) {
            return Err(Unproven::Wrong { stale: true });
        }
        self.guesses.right(flow, subject, now);
        Ok(subject.user.clone())
    }

    /// Whether an address is one of a user: at a domain or node of the deployment, with a user part that is
    /// a number of theirs or their name.
    fn is_own_address(&self, deployment: &Deployment, session: &Session, uri: &str) -> bool {
        let Some(uri) = Uri::parse(uri).filter(Uri::is_sip) else { return false };
        let Some(user) = uri.user.filter(|_| self.serves(deployment, uri.host)) else { return false };
        let name = session.subject.user.as_str();
        let is_name = match name.split_once('@') {
            // Of one name in two domains each is somebody else.
            Some((local, domain)) => local.eq_ignore_ascii_case(user) && domain.eq_ignore_ascii_case(uri.host),
            None => UserName::new(user).is_some_and(|user| user.as_str() == name),
        };
        // Where numbers are known, nobody comes by one because of a name that looks like it.
        let is_number = user.bytes().all(|byte| byte.is_ascii_digit() || b"+*#".contains(&byte));
        session.numbers.iter().any(|number| number == user) || (is_name && (session.numbers.is_empty() || !is_number))
    }

    /// A registrar has accepted a REGISTER: the connection belongs to its deployment.
    pub(crate) fn registered_in_deployment(&mut self, flow: FlowId, request: &Message) {
        if self.identities.deployment(flow).is_none()
            && let Some(deployment) = self.deployment_of(flow, request)
        {
            self.identities.prove(flow, deployment, None);
        }
    }

    /// Who the client was when the dialog of its request began; `None` for one not known here.
    fn began(&self, request: &Message, tag: &str) -> Option<u64> {
        self.calls.client_of(request).or_else(|| self.dialogs.client_of(request.call_id(), tag))
    }

    /// From of a client's request, where the client has proven that it may speak for it.
    pub(crate) fn proven_from(&self, flow: FlowId, request: &Message, now: Moment) -> Option<String> {
        let user = self.identities.user(flow);
        if user.is_none() && !self.is_known(flow) {
            return None;
        }
        let uri = request.from().uri;
        let from = aor_of(uri);
        let began = request.to_tag().and_then(|tag| self.began(request, tag));
        if began == Some(label_of(&from)) || self.holds(flow, &from) {
            return Some(from);
        }
        let subject = Subject { deployment: self.identities.deployment(flow)?.clone(), user: user?.clone() };
        let session = self.sign_ins.session(&subject, now)?;
        self.is_own_address(&subject.deployment, session, uri).then_some(from)
    }

    /// Takes off what says a client is somebody else. `also` is an address that is its own besides those it
    /// has registered: From of a request where that is proven, To of an answered one.
    pub(crate) fn strip_identities(&self, edit: &mut Edit<'_>, message: &Message, flow: FlowId, also: Option<&str>) {
        for name in message.names_among(IDENTITY_HEADERS) {
            let is_own = |value: &[u8]| {
                edgeway_sip::NameAddr::parse(value).is_some_and(|address| {
                    let aor = aor_of(address.uri);
                    also == Some(aor.as_str()) || self.holds(flow, &aor)
                })
            };
            if message.values(name).count() == 0 || !message.values(name).all(is_own) {
                edit.remove(name);
            }
        }
    }

    /// Takes the answer to our own challenge off; what answers a registrar's stays, and so does an access token
    /// on its way to a call manager that wants to see it.
    pub(crate) fn strip_credentials(&self, edit: &mut Edit<'_>, request: &Message, flow: FlowId, to: Place) {
        for name in request.names_among([Name::Authorization, Name::ProxyAuthorization]) {
            let deployment = self.deployment_of(flow, request);
            let served = deployment.as_ref().and_then(|one| self.zones.get(one));
            let Some(served) = served else { return };
            let Challenge::Core { realm, .. } = &served.challenge else { return };
            let wants_token = served.registrars.zone_at(to).is_some_and(|zone| zone.starts_with(OAUTH_ZONE));
            let is_ours = |value: &[u8]| {
                (!wants_token && bearer::is_bearer(value))
                    || Credentials::parse(value).is_some_and(|one| one.realm == *realm)
            };
            if request.lines(name).any(is_ours) {
                edit.remove(name);
                for other in request.lines(name).filter(|value| !is_ours(value)) {
                    edit.append(name, &String::from_utf8_lossy(other));
                }
            }
        }
    }
}

/// Whether the devices Contacts name are the user's. What is bound is bound to a device: a Contact of a REGISTER
/// names one, by name or, as desk phones may, by an instance that is made of its hardware address. Where nothing
/// is known of devices there is nothing to hold it against.
fn has_own_devices(session: &Session, request: &Message) -> bool {
    let Some(devices) = &session.devices else { return true };
    let registers = request.method() == Some("REGISTER");
    let is_own = |device: &str| devices.iter().any(|own| own.eq_ignore_ascii_case(device));
    request.contacts().all(|contact| {
        let mut named = contact.params().filter(|(name, _)| name.eq_ignore_ascii_case(DEVICE_NAME)).peekable();
        if named.peek().is_some() || !registers {
            return named.all(|(_, device)| is_own(device.unwrap_or_default()));
        }
        let mut instances = contact.params().filter(|(name, _)| name.eq_ignore_ascii_case("+sip.instance"));
        instances.next().and_then(|(_, instance)| phone_of(instance?)).is_some_and(|device| is_own(&device))
    })
}

/// The name of the desk phone whose hardware address an instance is made of:
/// `<urn:uuid:00000000-0000-0000-0000-001122334455>` is `SEP001122334455`.
fn phone_of(instance: &str) -> Option<String> {
    let uuid = instance.trim_matches(['<', '>', '"']);
    let uuid = uuid.get(..9).filter(|urn| urn.eq_ignore_ascii_case("urn:uuid:")).and_then(|_| uuid.get(9..))?;
    let address = uuid.strip_prefix("00000000-0000-0000-0000-")?;
    let legal = address.len() == 12 && address.bytes().all(|byte| byte.is_ascii_hexdigit());
    legal.then(|| format!("SEP{}", address.to_ascii_uppercase()))
}

/// The Contact parameter in which a device of the field says its name.
const DEVICE_NAME: &str = "+u.sip!devicename.ccm.cisco.com";

/// Whether it is about somebody's messages (RFC 3842). Presence and the state of lines may be watched by others.
fn is_of_mailbox(request: &Message) -> bool {
    let package = request.header(Name::Event).unwrap_or_default();
    let package = package.split(|byte| *byte == b';').next().unwrap_or_default();
    request.method() == Some("SUBSCRIBE") && package.trim_ascii().eq_ignore_ascii_case(b"message-summary")
}

/// RFC 3261 §8.1.1.3, RFC 3323 §4.1.
fn is_anonymous(request: &Message) -> bool {
    aor_of(request.from().uri).eq_ignore_ascii_case("anonymous@anonymous.invalid")
}

/// RFC 7616 §3.4.6: the digest is for this request. Parameters may differ: some clients leave them out.
fn is_same_uri(given: &str, asked: &str) -> bool {
    let place = |uri: &Uri<'_>| (uri.user.map(str::to_owned), uri.host.to_ascii_lowercase(), uri.port);
    given == asked
        || Uri::parse(given).zip(Uri::parse(asked)).is_some_and(|(given, asked)| place(&given) == place(&asked))
}

/// An address of record, for a table of many: who somebody is, not where.
pub(crate) fn label_of(aor: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    aor.hash(&mut hasher);
    hasher.finish()
}
