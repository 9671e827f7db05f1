//! Carries an allowed request of a client to a server inside, and its answer back.
//!
//! One request in is one request out. What belongs to a connection ends here, both ways; a session token goes to no
//! server, and no server gives one; who the client is, only we say.

use std::net::IpAddr;
use std::time::Duration;

use edgeway_http_proxy::carried;
use edgeway_http_proxy::cookie::{Rest, sets_session, without_session};
use edgeway_http_proxy::head::{self, check_response};
use edgeway_http_proxy::hygiene::{ConnectionOptions, passes_inward, passes_outward};
use edgeway_model::NodeId;
use edgeway_model::attempt::Reason;
use edgeway_runtime::http::Body;
use edgeway_runtime::pki::tls::provider;
use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, RETRY_AFTER, SET_COOKIE, VIA};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty};

use super::client::{ClientFault, HttpClient, Target, Within};
use super::limits::TRACKING_ID_BYTES_MAX;
use crate::sign_in::answers::because;

const CLIENT_IP: HeaderName = HeaderName::from_static("client-ip");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const TRACKING_ID: HeaderName = HeaderName::from_static("trackingid");
const REASON: HeaderName = HeaderName::from_static(carried::REASON);

/// Where a request goes, once it is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Onward {
    /// The server.
    pub target: Target,
    /// Path and query, as they are sent.
    pub path: String,
}

/// What the server is told of the client. Information, never an authorisation.
#[derive(Clone, Debug)]
pub struct ClientFacts {
    /// The edge the request came by.
    pub edge: NodeId,
    /// The client's address, where the edge knows it.
    pub address: Option<IpAddr>,
    /// The request's id: [`carried::REQUEST`].
    pub request: Option<u64>,
}

/// The reverse proxy.
#[derive(Clone)]
pub struct Proxy {
    client: HttpClient,
    within: Within,
    node: NodeId,
    /// What ids of requests of this core begin with.
    seed: u64,
}

impl Proxy {
    /// Sends with `client`, in the name of `node`.
    #[must_use]
    pub fn new(client: HttpClient, node: NodeId) -> Self {
        let mut seed = [0; 8];
        // Ids that begin with zeros are ids as well.
        let _ = provider().secure_random.fill(&mut seed);
        Self { client, within: Within::default(), node, seed: u64::from_be_bytes(seed) }
    }

    /// With other times and sizes than the usual.
    #[must_use]
    pub fn within(self, within: Within) -> Self {
        Self { within, ..self }
    }

    /// Sends the request there and gives the answer, whatever it is; where there is none, one of ours.
    pub async fn forward(&self, onward: &Onward, request: Request<Body>, client: &ClientFacts) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let Ok(path) = PathAndQuery::try_from(onward.path.as_str()) else { return answer(StatusCode::BAD_REQUEST) };
        if announced(&parts.headers).is_some_and(|length| length > self.within.request_bytes_max) {
            return answer(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let Some(headers) = self.inward(parts.headers, client) else { return answer(StatusCode::BAD_REQUEST) };
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = Uri::from(path);
        *request.headers_mut() = headers;
        match self.client.request(&onward.target, request, self.within).await {
            Ok(response) => outward(response).unwrap_or_else(|fault| {
                tracing::debug!(target = %onward.target, %fault, "an answer that cannot be passed on");
                unreachable_answer()
            }),
            Err(fault) => {
                tracing::debug!(target = %onward.target, %fault, "no answer");
                answer_of(&fault)
            }
        }
    }

    /// The fields of the request as the server gets them. `None` if they cannot be.
    fn inward(&self, fields: HeaderMap, client: &ClientFacts) -> Option<HeaderMap> {
        let connection: Vec<HeaderValue> = fields.get_all(CONNECTION).iter().cloned().collect();
        let options = ConnectionOptions::read(connection.iter().map(HeaderValue::as_bytes))?;
        let mut headers = HeaderMap::with_capacity(fields.len() + 5);
        let mut tracking = None;
        each(fields, |name, value| {
            if name == TRACKING_ID {
                tracking.get_or_insert(value);
            } else if name == COOKIE {
                match without_session(value.as_bytes()) {
                    Rest::Unchanged => {
                        headers.append(name, value);
                    }
                    Rest::Without(left) => {
                        if let Ok(left) = HeaderValue::from_bytes(&left) {
                            headers.append(name, left);
                        }
                    }
                    Rest::Nothing => {}
                }
            } else if name != VIA && passes_inward(name.as_str(), &options) {
                headers.append(name, value);
            }
        });
        if let Some(address) = client.address {
            let address = HeaderValue::try_from(address.to_string()).ok()?;
            headers.insert(FORWARDED_FOR, address.clone());
            headers.insert(CLIENT_IP, address);
        }
        let via = format!("https/1.1 {} (edgeway), http/2.0 {} (edgeway)", client.edge, self.node);
        headers.insert(VIA, HeaderValue::try_from(via).ok()?);
        let tracking = match tracking.filter(is_tracking_id) {
            Some(tracking) => tracking,
            None => self.tracking_id(client.request.unwrap_or(0))?,
        };
        headers.insert(TRACKING_ID, tracking);
        Some(headers)
    }

    /// In the form of a UUID; its last digits are those of the request's id in both tiers' logs.
    fn tracking_id(&self, request: u64) -> Option<HeaderValue> {
        let (high, low) = (self.seed, request);
        let text = format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        );
        HeaderValue::try_from(text).ok()
    }
}

/// Every field, in order, with its name.
fn each(fields: HeaderMap, mut take: impl FnMut(HeaderName, HeaderValue)) {
    let mut current = None;
    for (name, value) in fields {
        // `http` names the first field of a kind and leaves the name out of those that follow.
        if name.is_some() {
            current = name;
        }
        if let Some(name) = &current {
            take(name.clone(), value);
        }
    }
}

fn announced(fields: &HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Kept as the client chose it, if nothing but an id can be in it.
fn is_tracking_id(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    (8..=TRACKING_ID_BYTES_MAX).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The answer as the client gets it.
fn outward(response: Response<Body>) -> Result<Response<Body>, head::HeadFault> {
    let (parts, body) = response.into_parts();
    let version = if parts.version == Version::HTTP_10 { head::Version::Http10 } else { head::Version::Http11 };
    let fields = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    check_response(version, parts.status.as_u16(), fields)?;
    let connection: Vec<HeaderValue> = parts.headers.get_all(CONNECTION).iter().cloned().collect();
    let options = ConnectionOptions::read(connection.iter().map(HeaderValue::as_bytes));
    let options = options.ok_or(head::HeadFault::Connection)?;
    let mut headers = HeaderMap::with_capacity(parts.headers.len());
    each(parts.headers, |name, value| {
        let token = name == SET_COOKIE && sets_session(value.as_bytes());
        if !token && passes_outward(name.as_str(), &options) {
            headers.append(name, value);
        }
    });
    let mut response = Response::new(body);
    *response.status_mut() = parts.status;
    *response.headers_mut() = headers;
    Ok(response)
}

fn answer_of(fault: &ClientFault) -> Response<Body> {
    match fault {
        ClientFault::CouldNotConnect(_) | ClientFault::Tls(_) | ClientFault::Broken(_) | ClientFault::TooLarge => {
            unreachable_answer()
        }
        ClientFault::Resting { after } => retry(*after, Reason::NextHop),
        ClientFault::Busy => retry(Duration::from_secs(1), Reason::Overloaded),
        ClientFault::Timeout(_) => because(answer(StatusCode::GATEWAY_TIMEOUT), Reason::TimedOut, ""),
        ClientFault::Request(_) => because(answer(StatusCode::BAD_REQUEST), Reason::Malformed, ""),
        ClientFault::RequestTooLarge => because(answer(StatusCode::PAYLOAD_TOO_LARGE), Reason::TooLarge, ""),
    }
}

/// What clients know: they go to the next edge, and then wait for their next round.
fn unreachable_answer() -> Response<Body> {
    let mut response = answer(StatusCode::BAD_GATEWAY);
    response.headers_mut().insert(REASON, HeaderValue::from_static("Next Hop Connection Failed"));
    because(response, Reason::NextHop, "")
}

fn retry(after: Duration, reason: Reason) -> Response<Body> {
    let mut response = answer(StatusCode::SERVICE_UNAVAILABLE);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after.as_secs() + 1));
    because(response, reason, "")
}

fn answer(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(UnsyncBoxBody::new(Empty::new().map_err(|never| match never {})));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}
