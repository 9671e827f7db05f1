//! One HTTP request to one server inside.
//!
//! The client follows no redirect, keeps no cookie, knows no proxy and decodes nothing: what it is told to send goes
//! to the server it is told, once, and what comes back is handed on as it came. HTTP/1.1, which is what UC servers
//! speak. A request is sent a second time only where the first connection had been kept and ended before a byte of
//! an answer, and where a second arrival changes nothing (RFC 9110 §9.2.2, RFC 9112 §9.3.1).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::sign_in::Deployment;
use edgeway_runtime::dns::Resolver;
use edgeway_runtime::http::Body;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::body::{BodyBounds, Bounded, TOO_LARGE};
use super::dial::{Dialler, literal};
use super::exchange::{Incoming, Unanswered, Upload, answer};
use super::head::{self, Head};
use super::limits::{
    ANSWER_BODY_BYTES_MAX, ANSWER_WITHIN, BODY_PAUSE_MAX, CONNECT_WITHIN, REQUEST_BODY_BYTES_MAX, REQUEST_WITHIN,
    SWEEP_EVERY,
};
use super::pool::{Connection, Lease, NoPlace, Pool};
use super::trust::{TlsFault, Trust};

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// TLS or plain.
    pub https: bool,
    /// Host name or address, as it is to stand in `Host` and in the certificate.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        match literal(&self.host) {
            Some(ip) => write!(f, "{scheme}://{}", std::net::SocketAddr::new(ip, self.port)),
            None => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl Target {
    /// What stands in `Host`: name and port, IPv6 in brackets.
    #[must_use]
    pub fn authority(&self) -> String {
        match literal(&self.host) {
            Some(ip) => std::net::SocketAddr::new(ip, self.port).to_string(),
            None => format!("{}:{}", self.host, self.port),
        }
    }
}

/// Times and sizes of one request.
#[derive(Clone, Copy, Debug)]
pub struct Within {
    /// Until there is a connection.
    pub connect: Duration,
    /// From there, or from the last piece of the request's body, until the head of the answer.
    pub answer: Duration,
    /// How long a body may pause.
    pub pause: Duration,
    /// For all of it.
    pub total: Duration,
    /// Largest body of the request, bytes.
    pub request_bytes_max: u64,
    /// Largest body of the answer, bytes.
    pub answer_bytes_max: u64,
}

impl Default for Within {
    fn default() -> Self {
        Self {
            connect: CONNECT_WITHIN,
            answer: ANSWER_WITHIN,
            pause: BODY_PAUSE_MAX,
            total: REQUEST_WITHIN,
            request_bytes_max: REQUEST_BODY_BYTES_MAX,
            answer_bytes_max: ANSWER_BODY_BYTES_MAX,
        }
    }
}

impl Within {
    /// All of it within `total`, the answer's body of at most `answer_bytes_max`.
    #[must_use]
    pub fn total(total: Duration, answer_bytes_max: usize) -> Self {
        let defaults = Self::default();
        Self {
            connect: defaults.connect.min(total),
            answer: total,
            pause: total,
            total,
            answer_bytes_max: answer_bytes_max as u64,
            ..defaults
        }
    }
}

/// Why there is no answer. The words are for the operator; they hold nothing of the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientFault {
    /// No connection came to be; nothing was sent.
    #[error("no connection: {0}")]
    CouldNotConnect(String),
    /// The server's certificate, or TLS with it; nothing was sent.
    #[error("{0}")]
    Tls(TlsFault),
    /// The server has failed too often and is left in peace; nothing was sent.
    #[error("it has failed too often and is tried again in {} s", .after.as_secs() + 1)]
    Resting {
        /// When it is tried again.
        after: Duration,
    },
    /// More is under way to it, or to all servers, than may be; nothing was sent.
    #[error("too many requests are under way")]
    Busy,
    /// It took too long.
    #[error("{0}")]
    Timeout(&'static str),
    /// The connection ended, or what came was no HTTP.
    #[error("it broke off: {0}")]
    Broken(String),
    /// The body of the answer is too large, or its head.
    #[error("its answer is too large")]
    TooLarge,
    /// The body of the request did not come in full: the client's fault and no server's.
    #[error("the request's body broke off: {0}")]
    Request(String),
    /// The body of the request is too large.
    #[error("the request's body is too large")]
    RequestTooLarge,
}

impl ClientFault {
    /// Whether it is held against the server.
    fn blames_the_server(&self) -> bool {
        match self {
            Self::CouldNotConnect(_) | Self::Tls(_) | Self::Timeout(_) | Self::Broken(_) => true,
            Self::Resting { .. } | Self::Busy | Self::TooLarge | Self::Request(_) | Self::RequestTooLarge => false,
        }
    }
}

/// An answer with all of its body.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// The client. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct HttpClient {
    inner: Arc<Inner>,
    /// Whose users it asks for; `None`: nobody's.
    deployment: Option<Deployment>,
}

/// Trusts of single hosts. What one deployment's servers say of a host, or what is said of them, holds for nobody
/// else.
type Trusts = BTreeMap<(Option<Deployment>, String), Trust>;

struct Inner {
    dialler: Dialler,
    default_trust: Trust,
    /// Servers with a trust of their own, by deployment and by host in lower case.
    trusts: RwLock<Trusts>,
    pool: Pool,
    sweeps: AtomicBool,
}

impl HttpClient {
    /// Looks names up with `resolver` and trusts `trust` where nothing else is said. `allow_loopback` lets names lead
    /// to this machine: in the lab and in tests.
    #[must_use]
    pub fn new(resolver: Resolver, trust: Trust, allow_loopback: bool) -> Self {
        let inner = Inner {
            dialler: Dialler { resolver, allow_loopback },
            default_trust: trust,
            trusts: RwLock::default(),
            pool: Pool::default(),
            sweeps: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner), deployment: None }
    }

    /// The same client, asking for the users of a deployment: the trusts set for that one hold, and no others.
    #[must_use]
    pub fn of(&self, deployment: Deployment) -> Self {
        Self { inner: Arc::clone(&self.inner), deployment: Some(deployment) }
    }

    /// Trusts of single hosts, each for one deployment, in the place of all before. Connections made under another
    /// are not used again.
    pub fn set_trusts(&self, trusts: impl IntoIterator<Item = ((Deployment, String), Trust)>) {
        let own = |((deployment, host), trust): ((_, String), _)| ((Some(deployment), normal(&host)), trust);
        *self.inner.trusts.write().unwrap_or_else(PoisonError::into_inner) = trusts.into_iter().map(own).collect();
    }

    /// The trust of one host for this client's deployment, beside those there are.
    pub fn set_trust(&self, host: &str, trust: Trust) {
        let key = (self.deployment.clone(), normal(host));
        self.inner.trusts.write().unwrap_or_else(PoisonError::into_inner).insert(key, trust);
    }

    /// Sends a request and waits for the head of the answer. Of the request's URI path and query are sent; `Host` is
    /// set. The answer's body ends with an error where it breaks a bound.
    ///
    /// # Errors
    /// [`ClientFault`].
    pub async fn request(
        &self,
        target: &Target,
        request: Request<Body>,
        within: Within,
    ) -> Result<Response<Body>, ClientFault> {
        let start = Instant::now();
        let inner = &*self.inner;
        inner.start_sweeping();
        let try_within = within.connect + within.answer;
        let (places, attempt) = inner.pool.admit(target, start, try_within).map_err(|no_place| match no_place {
            NoPlace::Rests(after) => ClientFault::Resting { after },
            NoPlace::TooMany => ClientFault::Busy,
        })?;
        let place = match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => timeout_at(start + within.connect, places.acquire_owned())
                .await
                .map_err(|_| ClientFault::Busy)?
                .map_err(|_| ClientFault::Busy)?,
        };
        let trust = inner.trust(self.deployment.as_ref(), &target.host);
        let outcome = inner.exchange(target, request, within, &trust, place).await;
        match &outcome {
            Ok(_) => attempt.succeeded(),
            Err(fault) if fault.blames_the_server() => {
                // Once for each rest, however many ask.
                if let Some(rest) = attempt.failed(Instant::now()) {
                    tracing::warn!(%target, %fault, seconds = rest.as_secs(), "this server fails and is left in peace");
                }
            }
            // No word about the server: another may try.
            Err(_) => drop(attempt),
        }
        outcome
    }

    /// Sends a request and takes all of the answer: at most `bytes_max` of body, within `total`.
    ///
    /// # Errors
    /// [`ClientFault`].
    pub async fn fetch(
        &self,
        target: &Target,
        request: Request<Bytes>,
        bytes_max: usize,
        total: Duration,
    ) -> Result<Fetched, ClientFault> {
        let request = request.map(|body| UnsyncBoxBody::new(Full::new(body).map_err(|never| match never {})));
        let response = self.request(target, request, Within::total(total, bytes_max)).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|fault| match fault.0.as_str() {
            TOO_LARGE => ClientFault::TooLarge,
            _ => ClientFault::Broken(fault.0),
        })?;
        Ok(Fetched { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}

fn normal(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

impl Inner {
    fn trust(&self, deployment: Option<&Deployment>, host: &str) -> Trust {
        let trusts = self.trusts.read().unwrap_or_else(PoisonError::into_inner);
        if trusts.is_empty() {
            return self.default_trust.clone();
        }
        trusts.get(&(deployment.cloned(), normal(host))).unwrap_or(&self.default_trust).clone()
    }

    async fn exchange(
        &self,
        target: &Target,
        request: Request<Body>,
        within: Within,
        trust: &Trust,
        place: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, ClientFault> {
        let start = Instant::now();
        let until = start + within.total;
        let (head, body) = request.into_parts();
        let body = (!body.is_end_stream()).then(|| {
            let bounds = BodyBounds { bytes_max: within.request_bytes_max, pause: within.pause, until };
            UnsyncBoxBody::new(Bounded::new(body, bounds))
        });
        // RFC 9110 §9.2.2; and nothing of it may have been read.
        let again = body.is_none() && matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let request = Request::from_parts(head, ());
        let mut upload = Upload::new(body, announced(request.headers()));
        let host = target.authority();
        let mut kept = self.pool.take(target, trust.id(), start);
        loop {
            let is_kept = kept.is_some();
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => {
                    let wire = self.dialler.dial(target, trust, until.min(start + within.connect)).await?;
                    Connection { wire, born: Instant::now(), trust: trust.id() }
                }
            };
            head::write(connection.wire.out(), &request, &host, upload.framing());
            match answer(&mut connection.wire, &mut upload, request.method(), within.answer, until).await {
                Ok(head) => {
                    let lease = Lease { pool: self.pool.clone(), target: target.clone(), connection, place };
                    return passed_on(head, lease, upload, within, until);
                }
                Err(Unanswered { ended: true, .. }) if is_kept && again => {
                    kept = self.pool.take(target, trust.id(), start);
                }
                Err(Unanswered { fault, .. }) => return Err(fault),
            }
        }
    }

    /// Starts, once, what ends connections that were kept too long; it ends with the client.
    fn start_sweeping(&self) {
        if self.sweeps.load(Ordering::Relaxed) || self.sweeps.swap(true, Ordering::Relaxed) {
            return;
        }
        let pool = self.pool.downgrade();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                let Some(pool) = pool() else { return };
                pool.sweep(Instant::now());
            }
        });
    }
}

/// The answer as whoever asked gets it. What has come in one piece with its head is no stream any more.
fn passed_on(
    head: Head,
    lease: Lease,
    upload: Upload,
    within: Within,
    until: Instant,
) -> Result<Response<Body>, ClientFault> {
    if head.framing.length().is_some_and(|length| length > within.answer_bytes_max) {
        return Err(ClientFault::TooLarge);
    }
    let mut body = Incoming::new(&head, lease, upload);
    let body = match body.whole() {
        Some(bytes) => UnsyncBoxBody::new(Full::new(bytes).map_err(|never| match never {})),
        None => {
            let bounds = BodyBounds { bytes_max: within.answer_bytes_max, pause: within.pause, until };
            UnsyncBoxBody::new(Bounded::new(body, bounds))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.version_mut() = head.version;
    *response.headers_mut() = head.headers;
    Ok(response)
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
