//! One request: where it goes, whether it may, and what of it is carried.

use std::cell::Cell;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use edgeway_http_proxy::carried::{CLIENT, REASON, REQUEST};
use edgeway_http_proxy::{Lane, Verb};
use h2::{Reason, RecvStream, SendStream};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

use super::super::bulk::{Core, Lost, Sent, send_all, strip_hop_by_hop};
use super::super::limits::{ANSWER_WITHIN, BODY_BYTES_MAX, BODY_BYTES_PER_SECOND_MIN, BODY_WAIT_MAX};
use super::Client;
use super::answer::{self, Carried, FrontBody};
use super::vitals::Answering;

/// Where a request goes.
struct Passed {
    /// Whoever has the same name here comes to the same core.
    user: String,
}

/// Why a request was answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Malformed,
    NoSuchPlace,
    Unauthorized,
    TooMany,
}

impl Client {
    /// Answers one request.
    pub(super) async fn answer(self: &Rc<Self>, request: Request<Incoming>) -> Response<FrontBody> {
        let answering = self.vitals.answering();
        let version = request.version();
        let (parts, body) = request.into_parts();
        if self.front.stopping.get() {
            self.front.count("https_stopping");
            return answer::unavailable(version, self.front.number());
        }
        match self.look(&parts) {
            Err(Refused::Malformed) => {
                self.front.count("https_malformed");
                answer::plain(StatusCode::BAD_REQUEST, version, true)
            }
            Err(Refused::NoSuchPlace) => {
                self.front.count("https_no_such_place");
                answer::plain(StatusCode::NOT_FOUND, version, false)
            }
            Err(Refused::Unauthorized) => {
                self.front.count("https_unauthorized");
                answer::unauthorized(version)
            }
            Err(Refused::TooMany) => {
                self.front.count("https_too_many");
                answer::too_many(version, 10)
            }
            Ok(_) if announced(&parts.headers).is_some_and(|length| length > BODY_BYTES_MAX) => {
                self.front.count("https_body_too_large");
                answer::plain(StatusCode::PAYLOAD_TOO_LARGE, version, true)
            }
            Ok(passed) => self.carry(&passed, parts, body, answering).await,
        }
    }

    /// Whether it may pass. What is looked at is the request itself, so that nothing is asked of a core.
    fn look(&self, parts: &http::request::Parts) -> Result<Passed, Refused> {
        if !is_plain(parts) {
            return Err(Refused::Malformed);
        }
        let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let lane = Lane::parse(path).map_err(|_| Refused::NoSuchPlace)?;
        let open = match &lane {
            Lane::Small { verb: Verb::GetEdgeSso | Verb::Authorize | Verb::AccessToken, .. } => true,
            Lane::Small { verb: Verb::GetEdgeConfig, .. } | Lane::Descriptor { .. } => false,
        };
        let offered = session_cookies(&parts.headers);
        if let Some(claims) = self.front.tokens.check(offered, &mut self.remembered.borrow_mut()) {
            return Ok(Passed { user: claims.subject.user.as_str().to_owned() });
        }
        if let Some(user) = shown(&parts.headers) {
            return Ok(Passed { user: user.unwrap_or_else(|| self.address.to_string()) });
        }
        if !open {
            return Err(Refused::Unauthorized);
        }
        if !self.front.admit_open(self.address, Instant::now()) {
            return Err(Refused::TooMany);
        }
        Ok(Passed { user: self.address.to_string() })
    }

    /// Carries it to the first core that takes it.
    async fn carry(
        self: &Rc<Self>,
        passed: &Passed,
        parts: http::request::Parts,
        body: Incoming,
        answering: Answering,
    ) -> Response<FrontBody> {
        let (version, number) = (parts.version, self.front.number());
        let Some(mut head) = self.head(parts, number) else {
            self.front.count("https_malformed");
            return answer::plain(StatusCode::BAD_REQUEST, version, true);
        };
        let mut cores = self.front.cores.ranked(&passed.user).into_iter().peekable();
        let mut body = Some(body).filter(|body| !body.is_end_stream());
        // Safe methods may be asked twice (RFC 9110 §9.2.2); with a body nobody knows what was read of it.
        let again = body.is_none() && [Method::GET, Method::HEAD, Method::OPTIONS].contains(head.method());
        while let Some(core) = cores.next() {
            let spare = cores.peek().is_some().then(|| copy_of(&head));
            match self.ask(&core, head, &mut body).await {
                Ok(asked) => return self.pass_on(asked, version, answering),
                Err(Failed::Client(status)) => {
                    self.front.count("https_body_refused");
                    return answer::plain(status, version, true);
                }
                Err(Failed::Late) => {
                    self.front.count("https_core_late");
                    return answer::plain(StatusCode::GATEWAY_TIMEOUT, version, false);
                }
                Err(Failed::Lost(lost)) => {
                    tracing::debug!(core = %core.node(), "a request was not answered: {lost:?}");
                    match spare {
                        Some(spare) if lost == Lost::Unseen || again => head = spare,
                        None if lost == Lost::Unseen => break,
                        Some(_) | None => {
                            self.front.count("https_core_lost");
                            return answer::next_hop_failed(version);
                        }
                    }
                }
            }
        }
        self.front.count("https_no_core");
        answer::unavailable(version, number)
    }

    /// The head as a core gets it.
    fn head(&self, mut parts: http::request::Parts, number: u64) -> Option<Request<()>> {
        let named = parts.headers.remove(HOST);
        let authority = match parts.uri.authority() {
            Some(authority) => authority.clone(),
            None => Authority::try_from(named?.as_bytes()).ok()?,
        };
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(Scheme::HTTPS);
        uri.authority = Some(authority);
        uri.path_and_query = parts.uri.path_and_query().cloned();
        let mut head = Request::new(());
        *head.uri_mut() = Uri::from_parts(uri).ok()?;
        *head.method_mut() = parts.method;
        *head.version_mut() = Version::HTTP_2;
        clean(&mut parts.headers);
        parts.headers.insert(HeaderName::from_static(CLIENT), self.named.clone());
        let number = HeaderValue::try_from(format!("{number:016x}")).ok()?;
        parts.headers.insert(HeaderName::from_static(REQUEST), number);
        *head.headers_mut() = parts.headers;
        Some(head)
    }

    /// Asks one core. The body is taken once the request has left.
    async fn ask(&self, core: &Rc<Core>, head: Request<()>, body: &mut Option<Incoming>) -> Result<Asked, Failed> {
        let Sent { response, body: outgoing, in_flight } =
            core.send(head, body.is_none()).await.map_err(Failed::Lost)?;
        let fault = Rc::new(Cell::new(None));
        let upload = body.take().map(|body| Upload::start(body, outgoing, Rc::clone(&fault)));
        let mut response = pin!(response);
        let answered = timeout(ANSWER_WITHIN, poll_fn(|context| response.as_mut().poll(context))).await;
        match answered {
            Ok(Ok(response)) => Ok(Asked { response, in_flight, upload }),
            Ok(Err(error)) => Err(match fault.get() {
                Some(status) => Failed::Client(status),
                // What was read of a body cannot be read again.
                None if upload.is_some() => Failed::Lost(Lost::Broken),
                None => Failed::Lost(Lost::of(&error)),
            }),
            Err(_) => Err(Failed::Late),
        }
    }

    /// The answer of a core, as the client gets it.
    fn pass_on(&self, asked: Asked, version: Version, answering: Answering) -> Response<FrontBody> {
        let (mut parts, stream) = asked.response.into_parts();
        if parts.status.is_informational() {
            return answer::next_hop_failed(version);
        }
        let reason = parts.headers.remove(REASON);
        let ours: Vec<_> = parts.headers.keys().filter(|name| answer::is_ours(name)).cloned().collect();
        for name in ours {
            parts.headers.remove(name);
        }
        strip_hop_by_hop(&mut parts.headers);
        if version != Version::HTTP_2 {
            parts.version = Version::HTTP_11;
            if let Some(reason) = reason.and_then(|text| hyper::ext::ReasonPhrase::try_from(text.as_bytes()).ok()) {
                parts.extensions.insert(reason);
            }
        }
        self.front.count(match parts.status.as_u16() {
            200..=299 => "https_answered_2xx",
            300..=399 => "https_answered_3xx",
            400..=499 => "https_answered_4xx",
            _ => "https_answered_5xx",
        });
        let moving = (version == Version::HTTP_2).then(|| self.vitals.moving());
        let carried = Carried { stream, in_flight: asked.in_flight, answering, moving, upload: asked.upload };
        Response::from_parts(parts, FrontBody::Carried(Box::new(carried)))
    }
}

impl super::Front {
    /// A number for a request.
    fn number(&self) -> u64 {
        let number = self.request.get();
        self.request.set(number.wrapping_add(1));
        number
    }
}

/// An answer that has begun.
struct Asked {
    response: Response<RecvStream>,
    in_flight: super::super::bulk::InFlight,
    upload: Option<Upload>,
}

/// Why a core's answer did not begin.
enum Failed {
    /// The client did not send what it had announced: how it is told.
    Client(StatusCode),
    /// The core took too long.
    Late,
    /// No answer came.
    Lost(Lost),
}

/// A body on its way inwards; ends when dropped.
pub(super) struct Upload(JoinHandle<()>);

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Upload {
    fn start(body: Incoming, outgoing: SendStream<Bytes>, fault: Rc<Cell<Option<StatusCode>>>) -> Self {
        Self(spawn_local(upload(body, outgoing, fault)))
    }
}

async fn upload(mut body: Incoming, mut outgoing: SendStream<Bytes>, fault: Rc<Cell<Option<StatusCode>>>) {
    let (mut waited, mut taken) = (Duration::ZERO, 0_u64);
    let ended = |outgoing: &mut SendStream<Bytes>, status| {
        fault.set(Some(status));
        outgoing.send_reset(Reason::CANCEL);
    };
    loop {
        let patience = BODY_WAIT_MAX + Duration::from_secs(taken / BODY_BYTES_PER_SECOND_MIN);
        let since = Instant::now();
        let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context));
        let frame = match timeout(patience.saturating_sub(waited), frame).await {
            Ok(frame) => frame,
            Err(_) => return ended(&mut outgoing, StatusCode::REQUEST_TIMEOUT),
        };
        waited += since.elapsed();
        match frame {
            None => {
                let _ = outgoing.send_data(Bytes::new(), true);
                return;
            }
            Some(Err(_)) => return ended(&mut outgoing, StatusCode::BAD_REQUEST),
            Some(Ok(frame)) => {
                // Trailers are for nobody inside.
                let Ok(bytes) = frame.into_data() else { continue };
                taken += bytes.len() as u64;
                if taken > BODY_BYTES_MAX {
                    return ended(&mut outgoing, StatusCode::PAYLOAD_TOO_LARGE);
                }
                let last = body.is_end_stream();
                // Backpressure of the core is no fault of the client, and has a bound of its own.
                if send_all(&mut outgoing, bytes, last, ANSWER_WITHIN).await.is_err() || last {
                    return;
                }
            }
        }
    }
}

/// The length that is announced.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Origin form, and nothing that asks for another protocol.
fn is_plain(parts: &http::request::Parts) -> bool {
    let target = parts.version == Version::HTTP_2 || parts.uri.scheme().is_none() && parts.uri.authority().is_none();
    let method = parts.method != Method::CONNECT && parts.method != Method::TRACE;
    target && method && parts.uri.path().starts_with('/') && !parts.headers.contains_key(UPGRADE)
}

fn copy_of(head: &Request<()>) -> Request<()> {
    let mut copy = Request::new(());
    *copy.uri_mut() = head.uri().clone();
    *copy.method_mut() = head.method().clone();
    *copy.version_mut() = head.version();
    head.headers().clone_into(copy.headers_mut());
    copy
}

/// Takes out what ends here, and what only our own tiers may say.
fn clean(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    headers.remove(EXPECT);
    let ours = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with(edgeway_http_proxy::carried::PREFIX) || name.starts_with("x-forwarded") || name == "forwarded"
    };
    let ours: Vec<_> = headers.keys().filter(|name| ours(name)).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

/// The session tokens that are offered.
fn session_cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let fields = headers.get_all(COOKIE).into_iter().filter_map(|field| field.to_str().ok());
    fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().strip_prefix("X-Auth="))
}

/// Whether credentials are shown, and whose, if that can be read.
#[expect(clippy::option_option, reason = "credentials without a name are credentials")]
fn shown(headers: &HeaderMap) -> Option<Option<String>> {
    let field = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = field.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(None);
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD_NO_PAD.decode(rest.trim().trim_end_matches('=')).ok();
    let user =
        decoded.and_then(|pair| Some(String::from_utf8_lossy(pair.split(|byte| *byte == b':').next()?).to_lowercase()));
    Some(user)
}
