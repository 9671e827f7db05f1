//! What a core does with the requests that edges carry to it: the small lane, and the descriptor lane through
//! sign-in and the allow list to the reverse proxy. Nothing of what an edge says of a client is believed: the token
//! is looked at again, and so is everything else.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use edgeway_config::settings::CoreSettings;
use edgeway_config::sign_in::AuthoritySettings;
use edgeway_http_proxy::carried;
use edgeway_http_proxy::lane::{Lane, Scheme};
use edgeway_model::attempt::Reason;
use edgeway_model::chat::ChatOpening;
use edgeway_model::sign_in::{Deployment, SignInFact, Subject, UserName};
use edgeway_model::zones::{Challenge, DeploymentZones};
use edgeway_model::{NodeId, Secret};
use edgeway_policy::allow_list::{Denial, Holder, Wanted};
use edgeway_runtime::chat::ChatStream;
use edgeway_runtime::clock::{Clock, unix_ms};
use edgeway_runtime::dns::Resolver;
use edgeway_runtime::http::{Body, HttpFact, Inside, LocalFuture, MakeInside, Teller};
use edgeway_runtime::pki::shared_secret;
use edgeway_runtime::service;
use http::header::HeaderValue;
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::spawn_local;

use crate::allowed::InForce;
use crate::authorities::{Authorities, Needs};
use crate::chat::{self, Chat};
use crate::discovery::Discovery;
use crate::proxy::limits::RETRY_AFTER_BUSY;
use crate::proxy::{ClientFacts, HttpClient, Onward, Proxy, Target};
use crate::sign_in::answers::{self, because};
use crate::sign_in::asked::Asked;
use crate::sign_in::counters as count;
use crate::sign_in::desk::{Desk, Now, Place};
use crate::sign_in::kept::Kept;
use crate::sign_in::keys::Keys;
use crate::sign_in::limits::{QUIET_LOOK_EVERY, SWEEP_MIN};
use crate::sign_in::services::{Services, srv_by};
use crate::sign_in::small::{Small, signed, too_many};
use crate::sign_in::who::{self, Shown};
use crate::trusts::Trusts;
use crate::under_way::UnderWay;

/// The inside of a core.
pub struct CoreInside {
    desk: Rc<Desk>,
    small: Small,
    allowed: InForce,
    /// By the deployment whose users ask; none where nobody can sign in: then nothing is carried anywhere.
    proxies: BTreeMap<Deployment, Proxy>,
    /// What carries requests, and what asks authorities: each has connections of its own, so that no request of a user's
    /// stands in the way of anybody's sign-in.
    clients: Vec<HttpClient>,
    under_way: UnderWay,
    trusts: Option<Rc<Trusts>>,
    chat: Rc<Chat>,
    discovery: Rc<Discovery>,
    kept: Kept,
    teller: Teller,
    deployments: Vec<Deployment>,
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
        let resolver = Resolver::new(settings.sip.dns_servers.clone());
        let lab = on_this_machine(settings);
        let discovery = Discovery::new(settings, teller.clone(), resolver.clone(), lab);
        let trusts = if signs_in(settings) { Some(Rc::new(Trusts::load(settings)?)) } else { None };
        let client = || {
            let trust = trusts.as_ref().map(|trusts| trusts.default.clone());
            trust.map(|trust| HttpClient::new(resolver.clone(), trust, lab))
        };
        let (client, asking) = (client(), client());
        let asked_again = Rc::clone(&discovery);
        let needs = Needs {
            servers: discovery.current(),
            fetch_keys: Rc::new(move |deployment| Box::pin(Rc::clone(&asked_again).fetch_keys(deployment))),
            http: asking.clone(),
            resolver: resolver.clone(),
            teller: teller.clone(),
        };
        let authorities = Authorities::new(settings, &needs).map_err(|fault| fault.to_string())?;
        let keys = Keys::new(&secret(settings)?)?;
        let clock = Clock::start();
        let clocks = Rc::new(move || Now { moment: clock.now(), unix_ms: unix_ms() });
        let zones = settings.deployment_zones();
        let places = zones.iter().filter_map(|one| place(one, &authorities));
        let desk = Rc::new(Desk::new(&settings.sign_in, places, keys, clocks, teller.clone()));
        let kept = Kept::new(Path::new(&settings.state_dir));
        if signs_in(settings) {
            kept.load(&desk, &teller)?;
        }
        let chat = chat::Needs {
            desk: Rc::clone(&desk),
            current: discovery.current(),
            trusts: trusts.clone(),
            resolver: resolver.clone(),
            allow_loopback: lab,
            teller: teller.clone(),
        };
        let chat = Chat::start(settings, chat)?;
        let services = Services::new(discovery.current(), srv_by(resolver));
        let names = settings.deployments.iter().map(|one| &one.name);
        let proxies = client.iter().flat_map(|client| {
            let proxy = |name: &Deployment| Proxy::new(client.of(name.clone()), settings.node.clone());
            names.clone().map(move |name| (name.clone(), proxy(name)))
        });
        let proxies = proxies.collect();
        let inside = Rc::new(Self {
            small: Small::new(Rc::clone(&desk), services, &settings.deployments),
            allowed: InForce::new(settings, discovery.current(), teller.clone())?,
            proxies,
            clients: client.iter().chain(&asking).cloned().collect(),
            under_way: UnderWay::default(),
            trusts,
            chat,
            kept,
            deployments: settings.deployments.iter().map(|deployment| deployment.name.clone()).collect(),
            desk,
            discovery,
            teller,
        });
        inside.discovery.start();
        let (swept, every) = (Rc::downgrade(&inside), settings.sign_in.credentials_cleanup_interval.max(SWEEP_MIN));
        spawn_local(async move {
            loop {
                tokio::time::sleep(every).await;
                let Some(inside) = swept.upgrade() else { return };
                inside.desk.sweep();
            }
        });
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
        if let Some(trusts) = &self.trusts {
            trusts.follow(&self.discovery.current().snapshot(), &self.clients);
        }
        let (head, body) = request.into_parts();
        let asked = Asked::read(&edge, &head);
        let response = self.answer_unrecorded(edge, head, body).await;
        asked.record(&self.desk, &self.teller, response)
    }

    async fn answer_unrecorded(&self, edge: NodeId, head: Parts, body: Body) -> Response<Body> {
        let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        match Lane::parse(path) {
            Ok(Lane::Small { domain, verb, query }) => self.small.serve(&edge, &domain, verb, &query, &head).await,
            Ok(Lane::Descriptor { domain, scheme, host, port, path }) => {
                let there = There { https: scheme == Scheme::Https, host, port, path };
                self.descriptor(edge, &domain, there, head, body).await
            }
            Err(_) => because(answers::plain(StatusCode::NOT_FOUND), Reason::NoSuchPlace, ""),
        }
    }

    /// Signed in, allowed, carried; or one word why not.
    async fn descriptor(
        &self,
        edge: NodeId,
        domain: &str,
        there: There,
        mut head: Parts,
        body: Body,
    ) -> Response<Body> {
        let deployment = match self.small.deployment(domain) {
            Ok(deployment) => deployment,
            Err(answer) => return *answer,
        };
        let mut shown = Shown::read(&self.desk, deployment, &head.headers);
        let subject = match self.subject(deployment, domain, &mut shown).await {
            Ok(subject) => subject,
            Err(answer) => return *answer,
        };
        let list = self.allowed.list();
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
        let Some(proxy) = self.proxies.get(&subject.deployment) else {
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
                let rules = self.allowed.list().rules().len();
                let (revocations, chats) = (revocations.len(), self.chat.counts());
                Ok(
                    json!({ "credentials": credentials, "revocations": revocations, "allow_rules": rules, "chats": chats }),
                )
            }
            "allow-list" => Ok(self.list()),
            _ if path == "servers" || path.starts_with("servers/") => {
                Rc::clone(&self.discovery).operate(path, question).await
            }
            _ if path == "chats" || path.starts_with("chats/") => self.chat.operate(&path, question),
            _ => Err(format!("there is no {path}")),
        }
    }

    fn list(&self) -> Value {
        let list = self.allowed.list();
        let rules = list.rules().iter().map(|rule| {
            json!({
                "url": format!("{}{}", rule.origin(), rule.path),
                "deployment": rule.deployment.as_str(),
                "methods": rule.methods,
                "match_type": match rule.match_type {
                    edgeway_policy::allow_list::MatchType::Exact => "exact",
                    edgeway_policy::allow_list::MatchType::Prefix => "prefix",
                },
                "description": rule.description,
                "automatic": rule.automatic,
            })
        });
        json!({ "rules": rules.collect::<Vec<_>>() })
    }

    /// The user an operator means.
    fn asked_about(&self, question: &Value) -> Result<Subject, String> {
        let text = |name: &str| question.get(name).and_then(Value::as_str);
        let user = text("user").and_then(UserName::new).ok_or("which user? Give a name without a colon or a slash")?;
        let deployment = text("deployment").unwrap_or(Deployment::DEFAULT);
        let known = self.deployments.iter().find(|one| one.as_str() == deployment);
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
        self.small.told(&fact);
        if let SignInFact::Revoked(revocation) = &fact {
            self.chat.revoked(&revocation.subject);
            self.kept.store_soon(&self.desk);
        }
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

/// Whether there is anything to sign in to, or to carry requests to.
fn signs_in(settings: &CoreSettings) -> bool {
    let uc = &settings.uc;
    let servers = !(uc.unified_cm.is_empty() && uc.im_and_presence.is_empty() && uc.unity.is_empty());
    servers || settings.deployments.iter().any(|one| one.oauth || one.authority != AuthoritySettings::None)
}

/// The secret of the key file; where nobody signs in there is no file, and the secret is as good as none.
fn secret(settings: &CoreSettings) -> Result<Secret<32>, String> {
    if signs_in(settings) {
        return shared_secret(Path::new(&settings.sign_in.key_file)).map_err(|error| error.to_string());
    }
    service::seed().map(Secret::new).map_err(|fault| fault.to_string())
}

fn place(zones: &DeploymentZones, authorities: &Authorities) -> Option<Place> {
    let (realm, tokens) = match &zones.challenge {
        Challenge::Core { realm, bearer } => (Some(realm.clone()), *bearer),
        Challenge::Registrar => (None, false),
    };
    let authority = authorities.of(&zones.deployment)?;
    Some(Place::new(zones.deployment.clone(), authority, realm).taking_tokens(tokens))
}

fn request_id(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(carried::REQUEST).map(HeaderValue::to_str)?.ok()?;
    u64::from_str_radix(text, 16).ok()
}

/// Whether all of this core's SIP is on this machine: in a lab, where servers inside are here, too. Elsewhere no name
/// leads to this machine.
fn on_this_machine(settings: &CoreSettings) -> bool {
    !settings.sip.listen.is_empty() && settings.sip.listen.iter().all(|address| address.ip().is_loopback())
}

#[cfg(test)]
#[path = "inside/tests.rs"]
mod tests;
