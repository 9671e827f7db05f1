//! Whose request it is: by its session token, or by credentials.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use edgeway_http_proxy::Authorization;
use edgeway_http_proxy::bearer::claimed_user;
use edgeway_http_proxy::carried;
use edgeway_http_proxy::cookie::session_cookies;
use edgeway_model::sign_in::{Deployment, Subject, UserName};
use edgeway_policy::rate::{Prefix, Source};
use edgeway_policy::token::Claims;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};

use super::authority::Credential;
use super::counters as count;
use super::desk::{Claimed, Desk, Outcome, Rider};

/// What a request shows.
pub(crate) struct Shown {
    /// What a good token says, of a user of this deployment.
    pub(crate) token: Option<Claims>,
    /// A good token, but of a user of another deployment.
    pub(crate) foreign: bool,
    /// Well-formed credentials.
    pub(crate) authorization: Option<Authorization>,
    /// Credentials that are not well-formed, of another kind, or more than one.
    pub(crate) malformed: bool,
    /// The session tokens, good or not.
    cookies: Vec<HeaderValue>,
    /// The client's address, as the edge says.
    pub(crate) address: Option<IpAddr>,
}

impl Shown {
    /// Reads the head of a request for a domain of `deployment`.
    pub(crate) fn read(desk: &Desk, deployment: &Deployment, headers: &HeaderMap) -> Self {
        let cookies: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
        let (mut token, mut foreign, mut refused) = (None, false, false);
        for cookie in session_cookies(cookies.iter().map(HeaderValue::as_bytes)) {
            match desk.verify(cookie) {
                Ok(claims) if claims.subject.deployment == *deployment => {
                    token = Some(claims);
                    break;
                }
                Ok(_) => foreign = true,
                Err(_) => refused = true,
            }
        }
        if token.is_none() && (foreign || refused) {
            desk.count(count::TOKEN_REFUSED);
        }
        let authorization = only(headers).and_then(|value| Authorization::parse(value.as_bytes()).ok());
        let malformed = authorization.is_none() && headers.contains_key(AUTHORIZATION);
        Self { token, foreign, authorization, malformed, cookies, address: client_address(headers) }
    }

    /// The user that the credentials name, where they name one.
    pub(crate) fn named(&self) -> Option<UserName> {
        match self.authorization.as_ref()? {
            Authorization::Basic { user, .. } => UserName::new(user),
            Authorization::Bearer(token) => claimed_user(token),
        }
    }

    /// Whether the credentials may be those of `user`, who asks for something of `domain`. A bearer token may name nobody:
    /// then only the server can say whose it is. IM servers write a user's whole address into the tokens they issue
    /// for files (XEP-0363): with that domain behind it, the name is the same one.
    pub(crate) fn may_be_of(&self, user: &UserName, domain: &str) -> bool {
        let named = self.named();
        match (&self.authorization, &named) {
            (None, _) | (Some(Authorization::Bearer(_)), None) => true,
            (Some(Authorization::Basic { .. }), None) => false,
            (Some(_), Some(named)) if named == user => true,
            (Some(Authorization::Bearer(_)), Some(named)) => named
                .as_str()
                .split_once('@')
                .is_some_and(|(local, of)| local == user.as_str() && of.eq_ignore_ascii_case(domain)),
            (Some(Authorization::Basic { .. }), Some(_)) => false,
        }
    }

    /// Takes the credentials and signs in with them. `None` where there are none that could be right.
    pub(crate) async fn sign_in(&mut self, desk: &Rc<Desk>, deployment: &Deployment) -> Option<Outcome> {
        let user = self.named()?;
        let subject = Subject { deployment: deployment.clone(), user };
        let (credential, spelled) = match self.authorization.take()? {
            Authorization::Basic { user, password } => (Credential::Password(password), user.trim().to_owned()),
            Authorization::Bearer(token) => (Credential::Bearer(token), subject.user.as_str().to_owned()),
        };
        let cookies = || session_cookies(self.cookies.iter().map(HeaderValue::as_bytes));
        let holds_token = self.token.as_ref().is_some_and(|claims| claims.subject == subject)
            || cookies().any(|cookie| desk.was_good(cookie, &subject));
        let source = Source { prefix: self.address.map(Prefix::from), holds_token };
        Some(desk.sign_in(Claimed { subject, spelled }, credential, source).await)
    }

    /// Where the credentials are an access token of this user, who is known by another proof: SIP gets to know it.
    pub(crate) async fn acquaint(&self, desk: &Rc<Desk>, subject: &Subject) {
        if let Some(Authorization::Bearer(token)) = &self.authorization
            && claimed_user(token).is_some_and(|user| user == subject.user)
        {
            desk.acquaint(subject, token).await;
        }
    }

    /// Whether the credentials may go to a server inside beside the token of `subject`. Where they cannot be told
    /// from a guess they are counted as an attempt at this user: what the server says of them is an answer.
    ///
    /// # Errors
    /// When they were supplied too often: when to come back.
    pub(crate) fn ride(&self, desk: &Desk, subject: &Subject) -> Result<Option<Rider>, Duration> {
        let credential = match &self.authorization {
            None => return Ok(None),
            Some(Authorization::Basic { password, .. }) => Credential::Password(password.clone()),
            // It names its user, or it had been refused; and nobody guesses at signatures.
            Some(Authorization::Bearer(token)) if claimed_user(token).is_some() => return Ok(None),
            Some(Authorization::Bearer(token)) => Credential::Bearer(token.clone()),
        };
        let source = Source { prefix: self.address.map(Prefix::from), holds_token: true };
        desk.ride(subject, &credential, source)
    }

    /// Whether the credentials are a password that is known to be right, of this user.
    pub(crate) fn recognised(&self, desk: &Desk, subject: &Subject) -> bool {
        match &self.authorization {
            Some(Authorization::Basic { user, password }) => {
                let same = UserName::new(user).is_some_and(|user| user == subject.user);
                same && desk.recognises(subject, &Credential::Password(password.clone()))
            }
            Some(Authorization::Bearer(_)) | None => false,
        }
    }
}

/// In the place of what the client wrote in `Authorization`, what was read of it: a server inside sees no other
/// credentials than those that were looked at here.
pub(crate) fn rebuild(headers: &mut HeaderMap) {
    let read = only(headers).and_then(|value| Authorization::canonical(value.as_bytes()).ok());
    headers.remove(AUTHORIZATION);
    if let Some(mut value) = read.and_then(|text| HeaderValue::try_from(text.as_str()).ok()) {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
}

/// The one field of credentials.
fn only(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    fields.next().filter(|_| fields.next().is_none())
}

/// The client's address as the edge says: information, never an authorisation.
fn client_address(headers: &HeaderMap) -> Option<IpAddr> {
    let text = headers.get(carried::CLIENT)?.to_str().ok()?;
    text.parse::<SocketAddr>().map(|address| address.ip()).or_else(|_| text.parse()).ok()
}
