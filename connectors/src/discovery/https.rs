//! A UC server over HTTPS. Each conversation has a client of its own: whom we trust is read from the file anew, and a
//! server that has failed others is asked all the same.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgeway_config::sign_in::UcServerSettings;
use edgeway_runtime::dns::Resolver;
use edgeway_runtime::http::LocalFuture;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use zeroize::Zeroizing;

use super::limits::{ANSWER_BYTES_MAX, QUESTION_WITHIN};
use super::web::{Credentials, Question, Reply, Web, WebFault};
use crate::proxy::{ClientFault, Fetched, HttpClient, Target, Trust};

const SOAP_ACTION: HeaderName = HeaderName::from_static("soapaction");

/// One server.
pub(crate) struct Https {
    client: HttpClient,
    target: Target,
}

impl Https {
    /// The server of `settings`.
    pub(crate) fn new(settings: &UcServerSettings, resolver: Resolver, allow_loopback: bool) -> Result<Self, WebFault> {
        let trust = match settings.tls_verify {
            true => Trust::load(settings.ca.as_deref(), "ca", None),
            false => Trust::anybody(None),
        };
        let trust = trust.map_err(|fault| WebFault::Tls(fault.to_string()))?;
        let target = Target { https: true, host: settings.address.host.clone(), port: settings.address.port };
        Ok(Self { client: HttpClient::new(resolver, trust, allow_loopback), target })
    }

    async fn asked(&self, question: Question) -> Result<Reply, WebFault> {
        let mut request = http::Request::builder().method(question.method).uri(question.path);
        if let Some(headers) = request.headers_mut() {
            headers.insert(ACCEPT, HeaderValue::from_static("text/xml, application/xml, application/json"));
            if !question.body.is_empty() {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"));
            }
            if let Some(action) = question.action.as_deref().and_then(|action| HeaderValue::try_from(action).ok()) {
                headers.insert(SOAP_ACTION, action);
            }
            if let Some(credentials) = &question.credentials {
                headers.insert(AUTHORIZATION, basic(credentials)?);
            }
        }
        let request = request.body(question.body).map_err(|error| WebFault::Broken(error.to_string()))?;
        let fetched = self.client.fetch(&self.target, request, ANSWER_BYTES_MAX, QUESTION_WITHIN).await;
        fetched.map(reply).map_err(fault)
    }
}

impl Web for Https {
    fn ask(&self, question: Question) -> LocalFuture<'_, Result<Reply, WebFault>> {
        Box::pin(self.asked(question))
    }
}

/// RFC 7617. The value says of itself that it is to be shown nowhere.
fn basic(credentials: &Credentials) -> Result<HeaderValue, WebFault> {
    let plain = Zeroizing::new(format!("{}:{}", credentials.user, credentials.password.as_str()));
    let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(plain.as_bytes())));
    let mut value = HeaderValue::try_from(value.as_str()).map_err(|error| WebFault::Broken(error.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn reply(fetched: Fetched) -> Reply {
    let retry_after = fetched.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Reply { status: fetched.status.as_u16(), retry_after, body: fetched.body.to_vec() }
}

fn fault(fault: ClientFault) -> WebFault {
    match fault {
        ClientFault::CouldNotConnect(why) => WebFault::Unreachable(why),
        ClientFault::Tls(why) => WebFault::Tls(why.to_string()),
        ClientFault::Timeout(why) => WebFault::Slow(why),
        ClientFault::Broken(why) => WebFault::Broken(format!("it broke off: {why}")),
        ClientFault::TooLarge => WebFault::TooLong,
        ClientFault::Resting { .. } | ClientFault::Busy => WebFault::Unreachable(fault.to_string()),
        ClientFault::Request(_) | ClientFault::RequestTooLarge => WebFault::Broken(fault.to_string()),
    }
}
