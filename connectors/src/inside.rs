//! What a core does with the requests that edges carry to it: the small lane, and the descriptor lane through
//! sign-in and the allow list to the reverse proxy. Nothing of what an edge says of a client is believed: the token
//! is looked at again, and so is everything else.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::{Rc, Weak};

use edgeway_config::settings::CoreSettings;
use edgeway_http_proxy::carried;
use edgeway_http_proxy::lane::{Lane, Scheme};
use edgeway_model::NodeId;
use edgeway_model::attempt::Reason;
use edgeway_model::chat::ChatOpening;
use edgeway_model::sign_in::{Deployment, SignInFact, Subject, UserName};
use edgeway_policy::allow_list::{Denial, Holder, Wanted};
use edgeway_runtime::chat::ChatStream;
use edgeway_runtime::clock::{Clock, unix_ms};
use edgeway_runtime::http::{Body, HttpFact, Inside, LocalFuture, MakeInside, Teller};
use http::header::HeaderValue;
use http::request::Parts as Head;
use http::{HeaderMap, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use crate::allowed::{listed, tested};
use crate::chat::{self, Chat};
use crate::parts::{Made, Parts, Prepared, Swapped, on_this_machine, secret, signs_in};
use crate::proxy::limits::RETRY_AFTER_BUSY;
use crate::proxy::{ClientFacts, Onward, Target};
use crate::sign_in::answers::{self, because};
use crate::sign_in::asked::Asked;
use crate::sign_in::counters as count;
use crate::sign_in::desk::{Desk, Now};
use crate::sign_in::kept::Kept;
use crate::sign_in::keys::Keys;
use crate::sign_in::limits::{QUIET_LOOK_EVERY, SWEEP_MIN};
use crate::sign_in::small::{Contacts, signed, too_many};
use crate::sign_in::who::{self, Shown};
use crate::under_way::UnderWay;

/// The inside of a core.
pub struct CoreInside {
    desk: Rc<Desk>,
    parts: Swapped,
    prepared: RefCell<Option<Prepared>>,
    contacts: Rc<Contacts>,
    under_way: UnderWay,
    chat: Rc<Chat>,
    kept: Kept,
    teller: Teller,
    /// All of this core's SIP is on this machine.
    lab: bool,
    /// Whether the keys of tokens are those of the key file: somebody can sign in, or could.
    keyed: Cell<bool>,
    /// Woken when it may be time to take out of memory what has expired at another pace.
    swept_anew: Rc<Notify>,
}

/// Makes the inside of a core, on the HTTP thread.
#[must_use]
pub fn make(settings: CoreSettings) -> MakeInside {
    Box::new(move |teller| Ok(CoreInside::new(&settings, teller)?))
}

impl CoreInside {
    /// Reads the files the settings name, and starts what goes on by itself; on the HTTP thread.
    ///
    /// # Errors
    /// In the operator's words.
    pub fn new(settings: &CoreSettings, teller: Teller) -> Result<Rc<Self>, String> {
        let lab = on_this_machine(settings);
        let mut made = Made::new(settings, &teller, lab, None)?;
        let keys = Keys::new(&secret(settings)?)?;
        let clock = Clock::start();
        let clocks = Rc::new(move || Now { moment: clock.now(), unix_ms: unix_ms() });
        let places = std::mem::take(&mut made.places);
        let desk = Rc::new(Desk::new(&settings.sign_in, places, keys, clocks, teller.clone()));
        let kept = Kept::new(Path::new(&settings.state_dir));
        if signs_in(settings) {
            Kept::take(kept.read()?, &desk, &teller);
        }
        let chat = chat::Needs {
            desk: Rc::clone(&desk),
            current: made.discovery.current(),
            trusts: made.trusts.clone(),
            resolver: made.resolver.clone(),
            allow_loopback: lab,
            teller: teller.clone(),
        };
        let chat = Chat::start(settings, chat)?;
        let contacts = Rc::default();
        let (parts, _) = made.finish(settings, &desk, &contacts, &teller)?;
        let inside = Rc::new(Self {
            desk,
            parts: Swapped::new(parts),
            prepared: RefCell::default(),
            contacts,
            under_way: UnderWay::default(),
            chat,
            kept,
            teller,
            lab,
            keyed: Cell::new(signs_in(settings)),
            swept_anew: Rc::default(),
        });
        let parts = inside.parts.now();
        let _ = parts.allowed.list();
        parts.discovery.start();
        spawn_local(sweep(Rc::downgrade(&inside)));
        let quiet = Rc::downgrade(&inside);
        spawn_local(async move {
            loop {
                tokio::time::sleep(QUIET_LOOK_EVERY).await;
                let Some(inside) = quiet.upgrade() else { return };
                inside.desk.quiet();
            }
        });
        Ok(inside)
    }

    /// Makes the parts of other settings, and changes nothing.
    fn made(&self, settings: &CoreSettings) -> Result<Prepared, String> {
        let old = self.parts.now();
        let made = Made::new(settings, &self.teller, self.lab, Some(&old))?;
        let keys = if signs_in(settings) && !self.keyed.get() {
            Some((Keys::new(&secret(settings)?)?, self.kept.read()?))
        } else {
            None
        };
        let (current, trusts, resolver) = (made.discovery.current(), made.trusts.clone(), made.resolver.clone());
        let chat = self.chat.prepare(settings, current, trusts, resolver)?;
        let (parts, places) = made.finish(settings, &self.desk, &self.contacts, &self.teller)?;
        Ok(Prepared { parts, places, chat, keys })
    }

    /// Uses what was made: nothing in between waits.
    fn swap(&self, prepared: Prepared) {
        let Prepared { parts, places, chat, keys } = prepared;
        let old = self.parts.now();
        if let Some((keys, revocations)) = keys {
            self.keyed.set(true);
            self.desk.take_keys(keys);
            Kept::take(revocations, &self.desk, &self.teller);
        }
        self.desk.renew(&parts.settings.sign_in, places, |one| old.same_authority(one, &parts.settings));
        if !Rc::ptr_eq(&parts.discovery, &old.discovery) {
            parts.discovery.take_over(&old.discovery);
        }
        self.chat.renew(chat);
        parts.allowed.take_over(&old.allowed);
        self.parts.swap(parts);
        self.swept_anew.notify_one();
    }

    /// Where its users sign in.
    #[cfg(test)]
    pub(crate) fn desk(&self) -> &Rc<Desk> {
        &self.desk
    }

    /// Its chat.
    #[cfg(test)]
    pub(crate) fn chats(&self) -> &Chat {
        &self.chat
    }

    async fn answer(self: Rc<Self>, edge: NodeId, request: Request<Body>) -> Response<Body> {
        let parts = self.parts.now();
        if let Some(trusts) = &parts.trusts {
            trusts.follow(&parts.discovery.current().snapshot(), &parts.clients);
        }
        let (head, body) = request.into_parts();
        let asked = Asked::read(&edge, &head);
        let response = self.answer_unrecorded(&parts, edge, head, body).await;
        asked.record(&self.desk, &self.teller, response)
    }

    async fn answer_unrecorded(&self, parts: &Parts, edge: NodeId, head: Head, body: Body) -> Response<Body> {
        let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        match Lane::parse(path) {
            Ok(Lane::Small { domain, verb, query }) => parts.small.serve(&edge, &domain, verb, &query, &head).await,
            Ok(Lane::Descriptor { domain, scheme, host, port, path }) => {
                let there = There { https: scheme == Scheme::Https, host, port, path };
                self.descriptor(parts, edge, &domain, there, head, body).await
            }
            Err(_) => because(answers::plain(StatusCode::NOT_FOUND), Reason::NoSuchPlace, ""),
        }
    }

    /// Signed in, allowed, carried; or one word why not.
    async fn descriptor(
        &self,
        parts: &Parts,
        edge: NodeId,
        domain: &str,
        there: There,
        mut head: Head,
        body: Body,
    ) -> Response<Body> {
        let deployment = match parts.small.deployment(domain) {
            Ok(deployment) => deployment,
            Err(answer) => return *answer,
        };
        let mut shown = Shown::read(&self.desk, deployment, &head.headers);
        let subject = match self.subject(deployment, domain, &mut shown).await {
            Ok(subject) => subject,
            Err(answer) => return *answer,
        };
        let list = parts.allowed.list();
        // A token does not say them. Where no session is held (this core has started anew, or an operator has purged
        // the user) only what all share is open until the next sign-in, here or at another core.
        let session = self.desk.session(&subject);
        let devices = session.as_ref().and_then(|session| session.devices.as_deref()).unwrap_or_default();
        let wanted = Wanted {
            deployment: &subject.deployment,
            holder: Holder { user: Some(&subject.user), devices },
            method: head.method.as_str(),
            https: there.https,
            host: &there.host,
            port: there.port,
            path: &there.path,
        };
        let onward = match list.decide(wanted) {
            // Everything from the answer, nothing from the question.
            Ok(allowed) => Onward {
                target: Target { https: allowed.https, host: allowed.host.to_owned(), port: allowed.port },
                path: allowed.path.into_owned(),
            },
            Err(denial) => {
                tracing::debug!(%denial, host = there.host, port = there.port, "not on the HTTP server allow list");
                self.count(if denial == Denial::NotOwn { count::NOT_SELF } else { count::NOT_ALLOWED });
                let detail = format!("{}:{}: {denial}", there.host, there.port);
                return because(answers::forbidden(), Reason::NotAllowed, detail);
            }
        };
        let Some(proxy) = parts.proxies.get(&subject.deployment) else {
            return because(answers::forbidden(), Reason::NoSuchDomain, "nothing is carried for this deployment");
        };
        let Some(entered) = self.under_way.enter(&subject) else {
            self.count(count::USER_BUSY);
            let later = answers::later(StatusCode::TOO_MANY_REQUESTS, RETRY_AFTER_BUSY);
            return because(later, Reason::UserBusy, "");
        };
        let rider = match shown.ride(&self.desk, &subject) {
            Ok(rider) => rider,
            Err(retry_after) => return too_many(retry_after),
        };
        who::rebuild(&mut head.headers);
        let facts = ClientFacts { edge, address: shown.address, request: request_id(&head.headers) };
        let response = proxy.forward(&onward, Request::from_parts(head, body), &facts).await;
        if let Some(rider) = rider.filter(|_| response.status() == StatusCode::UNAUTHORIZED) {
            self.desk.refused_inside(&rider);
        }
        response.map(|body| entered.until_the_end_of(body))
    }

    /// Whose request it is: of the holder of a good token, or of who signs in with it.
    async fn subject(
        &self,
        deployment: &Deployment,
        domain: &str,
        shown: &mut Shown,
    ) -> Result<Subject, Box<Response<Body>>> {
        let Some(claims) = &shown.token else {
            if shown.foreign && shown.authorization.is_none() {
                // Somebody's, but of another deployment: nothing of this one is theirs.
                let detail = "a token of another deployment";
                return Err(Box::new(because(answers::forbidden(), Reason::Identity, detail)));
            }
            return Ok(signed(shown.sign_in(&self.desk, deployment).await)?.subject.clone());
        };
        // What we cannot read a server inside may: it would be credentials of anybody.
        if shown.malformed {
            let detail = "credentials that cannot be read, beside a token";
            return Err(Box::new(because(answers::plain(StatusCode::BAD_REQUEST), Reason::Malformed, detail)));
        }
        // What goes to the server inside is of the same user, or somebody lends a token.
        if !shown.may_be_of(&claims.subject.user, domain) {
            self.count(count::NOT_SELF);
            let detail = "credentials of one user beside the token of another";
            return Err(Box::new(because(answers::forbidden(), Reason::Identity, detail)));
        }
        shown.acquaint(&self.desk, &claims.subject).await;
        Ok(claims.subject.clone())
    }

    async fn operated(self: Rc<Self>, path: String, question: Value) -> Result<Value, String> {
        match path.as_str() {
            "users/revoke" => {
                let subject = self.asked_about(&question)?;
                let revocation = self.desk.revoke(&subject);
                self.chat.revoked(&subject);
                self.kept.store(&self.desk).await?;
                Ok(json!({ "revoked": true, "before_ms": revocation.before_ms }))
            }
            "users/purge" => Ok(json!({ "purged": self.desk.purge(&self.asked_about(&question)?) })),
            "status" => {
                let (credentials, revocations) = self.desk.held();
                let rules = self.parts.now().allowed.list().rules().len();
                let (revocations, chats) = (revocations.len(), self.chat.counts());
                Ok(
                    json!({ "credentials": credentials, "revocations": revocations, "allow_rules": rules, "chats": chats }),
                )
            }
            "allow-list" => Ok(listed(&self.parts.now().allowed.list())),
            "allow-list/test" => {
                let parts = self.parts.now();
                tested(&parts.allowed.list(), &parts.deployments, &question)
            }
            _ if path == "servers" || path.starts_with("servers/") => {
                Rc::clone(&self.parts.now().discovery).operate(path, question).await
            }
            _ if path == "chats" || path.starts_with("chats/") => self.chat.operate(&path, question),
            _ => Err(format!("there is no {path}")),
        }
    }

    /// The user an operator means.
    fn asked_about(&self, question: &Value) -> Result<Subject, String> {
        let text = |name: &str| question.get(name).and_then(Value::as_str);
        let user = text("user").and_then(UserName::new).ok_or("which user? Give a name without a colon or a slash")?;
        let deployment = text("deployment").unwrap_or(Deployment::DEFAULT);
        let parts = self.parts.now();
        let known = parts.deployments.iter().find(|one| one.as_str() == deployment);
        let deployment = known.ok_or_else(|| format!("there is no deployment {deployment}"))?.clone();
        Ok(Subject { deployment, user })
    }

    fn count(&self, what: &'static str) {
        self.teller.tell(HttpFact::Counted(what));
    }
}

impl Inside for CoreInside {
    fn serve(self: Rc<Self>, edge: NodeId, request: Request<Body>) -> LocalFuture<'static, Response<Body>> {
        Box::pin(self.answer(edge, request))
    }

    fn chat(self: Rc<Self>, edge: NodeId, opening: ChatOpening, stream: ChatStream) -> LocalFuture<'static, ()> {
        Box::pin(Rc::clone(&self.chat).serve(edge, opening, stream))
    }

    fn maintain(&self, on: bool) {
        self.chat.maintain(on);
    }

    fn end_all(&self) {
        self.chat.end_all();
    }

    fn stop(self: Rc<Self>) -> LocalFuture<'static, ()> {
        Box::pin(async move { self.chat.stop().await })
    }

    fn told(&self, fact: SignInFact) {
        self.desk.told(&fact);
        self.contacts.told(&fact);
        if let SignInFact::Revoked(revocation) = &fact {
            self.chat.revoked(&revocation.subject);
            self.kept.store_soon(&self.desk);
        }
    }

    fn prepare(&self, settings: &CoreSettings) -> Result<(), Vec<String>> {
        self.prepared.take();
        let made = self.made(settings).map_err(|why| why.lines().map(str::to_owned).collect::<Vec<_>>())?;
        self.prepared.replace(Some(made));
        Ok(())
    }

    fn apply(&self) -> bool {
        let prepared = self.prepared.take();
        prepared.map(|prepared| self.swap(prepared)).is_some()
    }

    fn abort(&self) {
        self.prepared.take();
    }

    fn operate(self: Rc<Self>, path: String, question: Value) -> LocalFuture<'static, Result<Value, String>> {
        Box::pin(self.operated(path, question))
    }
}

/// Where a descriptor leads, as the client wrote it.
struct There {
    https: bool,
    host: String,
    port: u16,
    path: String,
}

/// Takes what has expired out of memory, again and again.
async fn sweep(inside: Weak<CoreInside>) {
    loop {
        // No reference is held while it waits.
        let due = inside.upgrade().map(|this| (this.parts.now().cleanup_every, Rc::clone(&this.swept_anew)));
        let Some((every, anew)) = due else { return };
        let sooner = tokio::time::timeout(every.max(SWEEP_MIN), anew.notified()).await.is_ok();
        match inside.upgrade() {
            Some(_) if sooner => {}
            Some(this) => _ = this.desk.sweep(),
            None => return,
        }
    }
}

fn request_id(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(carried::REQUEST).map(HeaderValue::to_str)?.ok()?;
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
#[path = "inside/tests.rs"]
mod tests;
