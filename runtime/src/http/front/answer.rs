//! What the edge answers by itself, in the bytes clients know, and bodies on their way to them.

use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use edgeway_model::attempt::Code;
use h2::RecvStream;
use http::header::{AGE, CONNECTION, HeaderName, RETRY_AFTER, SERVER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode, Version};
use hyper::body::{Body, Frame, SizeHint};

use super::super::BodyFault;
use super::super::bulk::InFlight;
use super::Front;
use super::upload::Upload;
use super::vitals::{Answering, Moving};

/// Who answers, where the edge does.
const EDGE: HeaderValue = HeaderValue::from_static("CE_E");
/// What a refusal is found by.
const CODE: HeaderName = HeaderName::from_static(edgeway_http_proxy::carried::CODE);
/// The realm clients know.
const REALM: HeaderValue = HeaderValue::from_static("Basic realm=\"Cisco-Edge\"");

/// The body of an answer.
pub(super) enum FrontBody {
    /// There is none.
    Empty,
    /// There is none, and that is said with a chunked body, as clients know it.
    Chunked,
    /// A core's.
    Carried(Box<Carried>),
}

/// The body of an answer of a core.
pub(super) struct Carried {
    pub(super) stream: RecvStream,
    pub(super) cancelled: Cancelled,
    /// Over HTTP/2, where a connection moves on while one answer does not.
    pub(super) moving: Option<Moving>,
    #[expect(dead_code, reason = "counts it until dropped")]
    pub(super) in_flight: InFlight,
    #[expect(dead_code, reason = "counts it until dropped")]
    pub(super) answering: Answering,
    #[expect(dead_code, reason = "goes on while the answer is on its way")]
    pub(super) upload: Option<Upload>,
}

/// Who is to blame when an answer is given up.
pub(super) struct Cancelled {
    pub(super) front: Rc<Front>,
    pub(super) address: IpAddr,
}

impl Drop for Carried {
    fn drop(&mut self) {
        if !self.stream.is_end_stream() {
            self.cancelled.front.cancels.count(self.cancelled.address, Instant::now());
        }
    }
}

impl Body for FrontBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let Self::Carried(carried) = &mut *self else { return Poll::Ready(None) };
        match ready!(carried.stream.poll_data(context)) {
            Some(Ok(bytes)) => {
                // It is asked for when there is room for it: the window opens with what leaves.
                let _ = carried.stream.flow_control().release_capacity(bytes.len());
                if let Some(moving) = &carried.moving {
                    moving.moved();
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(BodyFault(error.to_string())))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Chunked => false,
            Self::Carried(carried) => carried.stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Chunked | Self::Carried(_) => SizeHint::default(),
        }
    }
}

/// An answer without a body.
pub(super) fn plain(status: StatusCode) -> Response<FrontBody> {
    let mut response = Response::new(FrontBody::Empty);
    *response.status_mut() = status;
    response.headers_mut().insert(SERVER, EDGE);
    response
}

/// Says what the help desk finds a refusal by.
pub(super) fn with_code(mut response: Response<FrontBody>, code: Option<Code>) -> Response<FrontBody> {
    if let Some(value) = code.and_then(|code| HeaderValue::try_from(code.to_string()).ok()) {
        response.headers_mut().insert(CODE, value);
    }
    response
}

/// No credentials, or a token that does not hold.
pub(super) fn unauthorized(version: Version) -> Response<FrontBody> {
    let mut response = Response::new(FrontBody::Chunked);
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    headers.insert(WWW_AUTHENTICATE, REALM);
    headers.insert(SERVER, EDGE);
    headers.insert(AGE, HeaderValue::from_static("0"));
    if version != Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    }
    response
}

/// Later, or at another edge. `number` spreads the clients over some seconds.
pub(super) fn unavailable(number: u64) -> Response<FrontBody> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(2 + number % 7));
    response
}

/// Too much of what needs no credentials.
pub(super) fn too_many(seconds: u64) -> Response<FrontBody> {
    let mut response = plain(StatusCode::TOO_MANY_REQUESTS);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The core went away with the request: what clients know as a reason to go to another edge.
pub(super) fn next_hop_failed(version: Version) -> Response<FrontBody> {
    let mut response = plain(StatusCode::BAD_GATEWAY);
    if version != Version::HTTP_2 {
        response.extensions_mut().insert(hyper::ext::ReasonPhrase::from_static(b"Next Hop Connection Failed"));
    }
    response
}
