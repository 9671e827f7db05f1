//! Who asked over HTTPS and what became of it, for the operator's "why was this refused?". What this core refuses by
//! itself carries a code; what a server inside says passes as it is.

use std::net::SocketAddr;
use std::time::Duration;

use edgeway_http_proxy::Authorization;
use edgeway_http_proxy::bearer::claimed_user;
use edgeway_http_proxy::carried;
use edgeway_http_proxy::cookie::session_cookies;
use edgeway_model::attempt::{Attempt, Kind, Reason};
use edgeway_model::sign_in::UserName;
use edgeway_model::{NodeId, Pii};
use edgeway_runtime::http::{Body, Teller};
use http::header::{AUTHORIZATION, COOKIE, HeaderName, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Response};

use super::answers::Why;
use super::desk::Desk;

/// What is kept of a question until it is answered: copies of headers share their bytes.
pub(crate) struct Asked {
    edge: NodeId,
    client: Option<HeaderValue>,
    request: Option<HeaderValue>,
    credentials: Option<HeaderValue>,
    cookies: Vec<HeaderValue>,
    /// It asked for an edge configuration: a success of it is a sign-in.
    signs_in: bool,
}

impl Asked {
    pub(crate) fn read(edge: &NodeId, head: &Parts) -> Self {
        let one = |name: &str| head.headers.get(name).cloned();
        Self {
            edge: edge.clone(),
            client: one(carried::CLIENT),
            request: one(carried::REQUEST),
            credentials: head.headers.get(AUTHORIZATION).cloned(),
            cookies: head.headers.get_all(COOKIE).iter().cloned().collect(),
            signs_in: head.uri.path().ends_with("/get_edge_config"),
        }
    }

    /// Writes down what became of it, and puts the code of a refusal of ours into the answer.
    pub(crate) fn record(self, desk: &Desk, teller: &Teller, mut response: Response<Body>) -> Response<Body> {
        // What a server inside has written there is nothing of ours.
        response.headers_mut().remove(carried::CODE);
        let Some(Why { reason, detail }) = response.extensions_mut().remove::<Why>() else {
            if self.signs_in && response.status().is_success() {
                teller.attempted(self.attempt(desk, Reason::Accepted, String::new()));
            }
            return response;
        };
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let too_often = after.filter(|_| reason == Reason::SignInLimit);
        let detail = too_often.map_or(detail, |seconds| desk.too_often(Duration::from_secs(seconds)));
        let code = teller.refused(self.attempt(desk, reason, detail));
        if let Some(value) = code.and_then(|code| HeaderValue::try_from(code.to_string()).ok()) {
            response.headers_mut().insert(HeaderName::from_static(carried::CODE), value);
        }
        response
    }

    fn attempt(&self, desk: &Desk, reason: Reason, detail: String) -> Attempt {
        let text = |value: &Option<HeaderValue>| Some(value.as_ref()?.to_str().ok()?.to_owned());
        let client = text(&self.client).and_then(|text| text.parse::<SocketAddr>().ok());
        Attempt {
            kind: Kind::SignIn,
            reason,
            user: self.user(desk).map(|user| Pii::new(user.as_str().to_owned())),
            client: client.map(|client| Pii::new(client.ip().to_canonical())),
            edge: Some(self.edge.clone()),
            code: None,
            detail,
            trace: text(&self.request).unwrap_or_default(),
        }
    }

    /// Who they say they are; else whose token it is.
    fn user(&self, desk: &Desk) -> Option<UserName> {
        let shown = self.credentials.as_ref().and_then(|value| Authorization::parse(value.as_bytes()).ok());
        let named = shown.and_then(|shown| match shown {
            Authorization::Basic { user, .. } => UserName::new(&user),
            Authorization::Bearer(token) => claimed_user(&token),
        });
        named.or_else(|| {
            let mut tokens = session_cookies(self.cookies.iter().map(HeaderValue::as_bytes));
            tokens.find_map(|token| desk.verify(token).ok()).map(|claims| claims.subject.user)
        })
    }
}
