//! What sign-in answers, in the bytes clients know.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use edgeway_http_proxy::carried;
use edgeway_http_proxy::edge_config::CONTENT_TYPE as XML;
use edgeway_model::attempt::Reason;
use edgeway_runtime::http::{Body, BodyFault};
use http::header::{
    AGE, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RETRY_AFTER, SERVER, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Frame;

/// Who answers, where a core does.
const CORE: HeaderValue = HeaderValue::from_static("CE_C ECS");
/// Who answers, where a domain is not served.
const EDGE: HeaderValue = HeaderValue::from_static("CE_E");
const REALM: HeaderValue = HeaderValue::from_static("Basic realm=\"Cisco-Edge\"");
const OFFENCE: HeaderName = HeaderName::from_static(carried::OFFENCE);
const CLOSE: HeaderName = HeaderName::from_static(carried::CLOSE);

/// Why an answer is a refusal of ours: goes with it until it is told to the operator.
#[derive(Clone, Debug)]
pub(crate) struct Why {
    pub(crate) reason: Reason,
    /// More words, with numbers; no secret and no identity.
    pub(crate) detail: String,
}

/// The same answer, with the reason for it.
pub(crate) fn because(mut response: Response<Body>, reason: Reason, detail: impl Into<String>) -> Response<Body> {
    response.extensions_mut().insert(Why { reason, detail: detail.into() });
    response
}

/// A document.
pub(super) fn xml(text: String) -> Response<Body> {
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(UnsyncBoxBody::new(Full::new(Bytes::from(text)).map_err(|never| match never {})));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(XML));
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(SERVER, CORE);
    response
}

/// 401, to whom showed no credentials, or wrong ones.
///
/// `tried`: they were looked at, which intrusion protection counts. The body is empty, and does not
/// say so before it ends: clients know it chunked.
pub(crate) fn unauthorized(tried: bool) -> Response<Body> {
    let mut response = Response::new(UnsyncBoxBody::new(EmptyInTheEnd));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    headers.insert(WWW_AUTHENTICATE, REALM);
    headers.insert(SERVER, CORE);
    headers.insert(AGE, HeaderValue::from_static("0"));
    if tried {
        headers.insert(OFFENCE, HeaderValue::from_static("credentials"));
    }
    response
}

/// 403: the domain is not served, or nobody may go there. The connection ends with it.
pub(crate) fn forbidden() -> Response<Body> {
    let mut response = plain(StatusCode::FORBIDDEN);
    response.headers_mut().insert(SERVER, EDGE);
    response.headers_mut().insert(CLOSE, HeaderValue::from_static("1"));
    response
}

/// 429 or 503, with the time after which it is worth coming back.
pub(crate) fn later(status: StatusCode, after: Duration) -> Response<Body> {
    let mut response = plain(status);
    // The last part of a second counts: one who comes at the second that was said passes.
    let seconds = after.as_millis().div_ceil(1_000).max(1);
    let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// 405: this is only read.
pub(super) fn only_read() -> Response<Body> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// RFC 6749 §5.2, for flows that do not exist here.
pub(super) fn oauth_error(error: &'static str) -> Response<Body> {
    let text = format!("{{\"error\":\"{error}\"}}");
    let mut response = xml(text);
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// No body.
pub(crate) fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(UnsyncBoxBody::new(Empty::new().map_err(|never| match never {})));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(SERVER, CORE);
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// A body without bytes whose end is not known beforehand.
struct EmptyInTheEnd;

impl hyper::body::Body for EmptyInTheEnd {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        Poll::Ready(None)
    }
}
