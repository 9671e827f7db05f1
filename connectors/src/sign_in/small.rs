//! The small lane: edge configuration, single sign-on, and the token services that do not exist here.
//!
//! | verb | who | answer |
//! |---|---|---|
//! | `get_edge_config` | a token or credentials | the edge configuration, and a token |
//! | `get_edge_sso` | anybody | whether to sign in by single sign-on |
//! | `access_token`, `authorize` | anybody | that this core has no such flow |

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgeway_config::sign_in::DeploymentSettings;
use edgeway_http_proxy::cookie::{cookie_domain, set_cookie};
use edgeway_http_proxy::edge_config::{EdgeConfig, Server, sso_xml};
use edgeway_http_proxy::{Verb, query};
use edgeway_model::NodeId;
use edgeway_model::attempt::Reason;
use edgeway_model::sign_in::{CoreContact, Deployment, EdgeContact, Session, SignInFact};
use edgeway_runtime::http::Body;
use http::header::SET_COOKIE;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};

use super::answers::{self, because};
use super::counters as count;
use super::desk::{Desk, IssueFault, Outcome};
use super::limits::{CONTACTS_MAX, RETRY_AFTER_UNAVAILABLE};
use super::services::Services;
use super::who::Shown;

/// The small lane of a core.
pub struct Small {
    desk: Rc<Desk>,
    services: Services,
    domains: BTreeMap<String, Deployment>,
    contacts: Rc<Contacts>,
}

/// Whom clients may connect to, as the node says; they stay when settings change.
#[derive(Default)]
pub struct Contacts {
    edges: RefCell<Vec<EdgeContact>>,
    cores: RefCell<Vec<CoreContact>>,
}

impl Contacts {
    /// Something the node says.
    pub fn told(&self, fact: &SignInFact) {
        if let SignInFact::Contacts { edges, cores } = fact {
            self.edges.borrow_mut().clone_from(edges);
            self.cores.borrow_mut().clone_from(cores);
        }
    }
}

impl Small {
    /// For the domains of these deployments.
    #[must_use]
    pub fn new(desk: Rc<Desk>, services: Services, deployments: &[DeploymentSettings], contacts: Rc<Contacts>) -> Self {
        let domains_of = |deployment: &DeploymentSettings| {
            let name = deployment.name.clone();
            deployment.domains.clone().into_iter().map(move |domain| (domain, name.clone()))
        };
        let domains = deployments.iter().flat_map(domains_of).collect();
        Self { desk, services, domains, contacts }
    }

    /// The deployment of a domain whose users can sign in here.
    ///
    /// # Errors
    /// The answer, where there is none.
    pub(crate) fn deployment(&self, domain: &str) -> Result<&Deployment, Box<Response<Body>>> {
        let found = self.domains.get(domain).filter(|deployment| self.desk.serves(deployment));
        found.ok_or_else(|| {
            self.desk.count(count::FOREIGN_DOMAIN);
            Box::new(because(answers::forbidden(), Reason::NoSuchDomain, ""))
        })
    }

    /// Answers one request that came by `edge`.
    pub(crate) async fn serve(
        &self,
        edge: &NodeId,
        domain: &str,
        verb: Verb,
        query: &str,
        head: &Parts,
    ) -> Response<Body> {
        let deployment = match self.deployment(domain) {
            Ok(deployment) => deployment,
            Err(answer) => return *answer,
        };
        let reads = [Method::GET, Method::HEAD].contains(&head.method);
        match verb {
            Verb::GetEdgeConfig | Verb::GetEdgeSso if !reads => answers::only_read(),
            Verb::GetEdgeConfig => self.edge_config(edge, deployment, domain, query, head).await,
            Verb::GetEdgeSso => match query::email(query) {
                // The same for everybody, whether or not there is such a user: nothing is asked inside, and nobody
                // learns who exists. True would send a client into a flow this core does not have.
                Ok(_) => answers::xml(sso_xml(false)),
                Err(_) => because(answers::plain(StatusCode::BAD_REQUEST), Reason::Malformed, "no e-mail address"),
            },
            Verb::AccessToken => answers::oauth_error("unsupported_grant_type"),
            Verb::Authorize => answers::plain(StatusCode::NOT_FOUND),
        }
    }

    async fn edge_config(
        &self,
        edge: &NodeId,
        deployment: &Deployment,
        domain: &str,
        query: &str,
        head: &Parts,
    ) -> Response<Body> {
        let Ok(asked) = query::service_names(query) else {
            return because(answers::plain(StatusCode::BAD_REQUEST), Reason::Malformed, "no list of service names");
        };
        let mut shown = Shown::read(&self.desk, deployment, &head.headers);
        let (session, renew) = match self.admit(deployment, &mut shown).await {
            Ok(admitted) => admitted,
            Err(answer) => return *answer,
        };
        let now = self.desk.now();
        let session = session.as_deref();
        let config = EdgeConfig {
            services: self.services.asked(deployment, domain, &asked, now.moment).await,
            user_uds: self.services.user_uds(deployment, session),
            ..self.contacts(edge)
        };
        let mut response = answers::xml(config.to_xml());
        if let Some(session) = session.filter(|_| renew) {
            match self.cookie(session, edge, domain) {
                Ok(cookie) => drop(response.headers_mut().append(SET_COOKIE, cookie)),
                Err(why) => {
                    if why == NoCookie::Issue(IssueFault::Revoked) {
                        // While services were looked up. The client may ask once more.
                        tracing::debug!("a user was revoked while signing in");
                    } else {
                        tracing::error!(%why, "no session token can be made");
                    }
                    let later = answers::later(StatusCode::SERVICE_UNAVAILABLE, RETRY_AFTER_UNAVAILABLE);
                    return because(later, Reason::AuthorityUnreachable, "no session could be made");
                }
            }
        }
        response
    }

    /// What is known of who it is, and whether a token is due.
    ///
    /// A good token is enough. With credentials beside it that are known to be right a new one is due; and when more
    /// than half of it has passed, if an authority has vouched for the user since, so that the new one lasts longer.
    async fn admit(
        &self,
        deployment: &Deployment,
        shown: &mut Shown,
    ) -> Result<(Option<Arc<Session>>, bool), Box<Response<Body>>> {
        let Some(claims) = shown.token.clone() else {
            let outcome = shown.sign_in(&self.desk, deployment).await;
            return signed(outcome).map(|session| (Some(session), true));
        };
        shown.acquaint(&self.desk, &claims.subject).await;
        let session = self.desk.session(&claims.subject);
        if shown.recognised(&self.desk, &claims.subject) {
            return Ok((session, true));
        }
        let other = shown.named().is_some_and(|user| user != claims.subject.user);
        let password = matches!(shown.authorization, Some(edgeway_http_proxy::Authorization::Basic { .. }));
        if password || other {
            match signed(shown.sign_in(&self.desk, deployment).await) {
                Ok(session) => return Ok((Some(session), true)),
                // Another user's, or wrong: the token does not make it right.
                Err(answer) if other || answer.status() == StatusCode::UNAUTHORIZED => return Err(answer),
                // Nobody could look at the password: the token holds all the same.
                Err(_) => return Ok((session, false)),
            }
        }
        let left = claims.expires_ms.saturating_sub(self.desk.now().unix_ms);
        let late = left < (claims.expires_ms - claims.issued_ms.min(claims.expires_ms)) / 2;
        let renew = late && session.as_ref().is_some_and(|session| session.until_ms > claims.expires_ms);
        Ok((session, renew))
    }

    fn cookie(&self, session: &Session, edge: &NodeId, domain: &str) -> Result<HeaderValue, NoCookie> {
        let issued = self.desk.issue(session).map_err(NoCookie::Issue)?;
        let edges = self.contacts.edges.borrow();
        let host = edges.iter().find(|contact| contact.node == *edge).map(|contact| contact.host.as_str());
        let scope = host.and_then(|host| cookie_domain(domain, host));
        let text = set_cookie(&issued.token, issued.expires_ms, scope.as_deref());
        let mut value = HeaderValue::try_from(text).map_err(|_| NoCookie::Form)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Edges and cores, the edge that is being used first.
    fn contacts(&self, edge: &NodeId) -> EdgeConfig {
        let edges = self.contacts.edges.borrow();
        let (this, others): (Vec<_>, Vec<_>) = edges.iter().partition(|contact| contact.node == *edge);
        let in_order: Vec<&EdgeContact> = this.into_iter().chain(others).take(CONTACTS_MAX).collect();
        let servers = |port: fn(&EdgeContact) -> u16| -> Vec<Server> {
            let serving = in_order.iter().filter(|contact| port(contact) != 0);
            serving.map(|contact| Server { address: contact.host.clone(), tls_port: port(contact) }).collect()
        };
        EdgeConfig {
            sip: servers(|contact| contact.sip_port),
            http: servers(|contact| contact.https_port),
            xmpp: servers(|contact| contact.xmpp_port),
            routes: self.contacts.cores.borrow().iter().take(CONTACTS_MAX).map(|core| core.route.clone()).collect(),
            ..EdgeConfig::default()
        }
    }
}

/// Why there is no cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NoCookie {
    #[error("{0}")]
    Issue(IssueFault),
    #[error("a token that is no cookie")]
    Form,
}

/// The session, or what the client hears instead.
pub(crate) fn signed(outcome: Option<Outcome>) -> Result<Arc<Session>, Box<Response<Body>>> {
    match outcome {
        Some(Outcome::Good(session)) => Ok(session),
        // The first challenge is no refusal.
        None => Err(Box::new(answers::unauthorized(false))),
        Some(Outcome::Refused) => {
            Err(Box::new(because(answers::unauthorized(true), Reason::WrongCredentials, "the authority refused them")))
        }
        Some(Outcome::Unavailable) => {
            let later = answers::later(StatusCode::SERVICE_UNAVAILABLE, RETRY_AFTER_UNAVAILABLE);
            Err(Box::new(because(later, Reason::AuthorityUnreachable, "nobody who could check them answers")))
        }
        Some(Outcome::TooMany { retry_after }) => Err(Box::new(too_many(retry_after))),
    }
}

/// 429: the user's credentials were supplied too often.
pub(crate) fn too_many(retry_after: Duration) -> Response<Body> {
    because(answers::later(StatusCode::TOO_MANY_REQUESTS, retry_after), Reason::SignInLimit, "")
}

#[cfg(test)]
#[path = "small/tests.rs"]
mod tests;
