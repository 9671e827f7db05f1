//! One request: where it goes, whether it may, and what of it is carried.

use std::future::{Future as _, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use edgeway_http_proxy::bearer::claimed_user;
use edgeway_http_proxy::carried::{CLIENT, CLOSE, OFFENCE, REASON, REQUEST};
use edgeway_http_proxy::cookie::session_cookies;
use edgeway_http_proxy::head::{self, RequestLine, check_request};
use edgeway_http_proxy::hygiene::{ConnectionOptions, passes_inward, passes_outward};
use edgeway_http_proxy::{Authorization, Lane, Verb};
use edgeway_model::Pii;
use edgeway_model::attempt::{Attempt, Code, Kind, Reason};
use edgeway_model::sign_in::UserName;
use h2::RecvStream;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderName, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};

use super::super::Purpose;
use super::super::bulk::{Core, Lost, Sent};
use super::super::limits::{ANSWER_WITHIN, BODY_BYTES_MAX, RETRY_AFTER_ATTEMPTS};
use super::Client;
use super::answer::{self, Cancelled, Carried, FrontBody};
use super::upload::{Upload, late};
use super::vitals::Answering;
use crate::attempts::Outcome;

/// Where a request goes.
struct Passed {
    /// Whoever has the same name here comes to the same core.
    user: String,
    /// It passed for its credentials, which somebody has yet to look at.
    attempt: bool,
    /// It has a good token: what comes with it need not wait until a core has looked at credentials.
    proven: bool,
}

/// Why a request was answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Malformed(StatusCode),
    NoSuchPlace,
    Unauthorized,
    /// A session token was shown that does not hold (any more), and nothing beside it.
    BadToken,
    TooMany,
    /// Too many credentials from one address.
    TooManyAttempts,
}

impl Client {
    /// Answers one request.
    pub(super) async fn answer(self: &Rc<Self>, request: Request<Incoming>) -> Response<FrontBody> {
        let serving = self.front.teller.serve(Purpose::of(request.uri().path()));
        let answering = self.vitals.answering(serving);
        let version = request.version();
        let (parts, body) = request.into_parts();
        if !body.is_end_stream() {
            // It may be answered before all of it is here.
            self.vitals.will_linger();
        }
        let number = self.front.number();
        let told = |reason: Reason, response| {
            let user = shown(&parts.headers).flatten().map(|user| user.as_str().to_owned());
            answer::with_code(response, self.refused(user, reason, number))
        };
        if self.front.stopping.get() {
            self.front.count("https_stopping");
            return told(Reason::Maintenance, answer::unavailable(number));
        }
        if self.front.maintained.get() {
            self.front.count("https_maintenance");
            // The client may go to another edge; it need not come back on this connection.
            self.vitals.leave();
            return told(Reason::Maintenance, answer::unavailable(number));
        }
        if !self.front.cancels.admit(self.address, Instant::now()) {
            self.front.count("https_cancels_too_much");
            self.vitals.leave();
            return told(Reason::AddressLimit, answer::unavailable(number));
        }
        match self.look(&parts) {
            Err(Refused::Malformed(status)) => {
                self.front.count("https_malformed");
                told(Reason::Malformed, self.last(status, version))
            }
            Err(Refused::NoSuchPlace) => {
                self.front.count("https_no_such_place");
                told(Reason::NoSuchPlace, answer::plain(StatusCode::NOT_FOUND))
            }
            // The first challenge is no refusal.
            Err(Refused::Unauthorized) => {
                self.front.count("https_unauthorized");
                answer::unauthorized(version)
            }
            Err(Refused::BadToken) => {
                self.front.count("https_unauthorized");
                told(Reason::BadToken, answer::unauthorized(version))
            }
            Err(Refused::TooMany) => {
                self.front.count("https_too_many");
                told(Reason::TooManyRequests, answer::too_many(10))
            }
            Err(Refused::TooManyAttempts) => {
                self.front.count("https_too_many_attempts");
                told(Reason::AddressLimit, answer::too_many(RETRY_AFTER_ATTEMPTS))
            }
            Ok(_) if announced(&parts.headers).is_some_and(|length| length > BODY_BYTES_MAX) => {
                self.front.count("https_body_too_large");
                told(Reason::TooLarge, self.last(StatusCode::PAYLOAD_TOO_LARGE, version))
            }
            Ok(passed) => self.carry(&passed, parts, body, answering, number).await,
        }
    }

    /// A request was refused here: what it is found by.
    fn refused(&self, user: Option<String>, reason: Reason, number: u64) -> Option<Code> {
        self.front.teller.refused(Attempt {
            kind: Kind::SignIn,
            reason,
            user: user.map(Pii::new),
            client: Some(Pii::new(self.address)),
            edge: None,
            code: None,
            detail: String::new(),
            trace: format!("{number:016x}"),
        })
    }

    /// Whether it may pass. What is looked at is the request itself, so that nothing is asked of a core.
    fn look(&self, parts: &http::request::Parts) -> Result<Passed, Refused> {
        self.check(parts).map_err(Refused::Malformed)?;
        let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let lane = Lane::parse(path).map_err(|_| Refused::NoSuchPlace)?;
        let open = match &lane {
            Lane::Small { verb: Verb::GetEdgeSso | Verb::Authorize | Verb::AccessToken, .. } => true,
            Lane::Small { verb: Verb::GetEdgeConfig, .. } | Lane::Descriptor { .. } => false,
        };
        let token = self.front.tokens.check(offered(&parts.headers), &mut self.remembered.borrow_mut());
        let now = Instant::now();
        if open && token.is_none() {
            // Nobody looks at credentials there, and showing some makes room for nothing.
            let admitted = self.front.admit_open(self.address, now);
            let passed = Passed { user: self.address.to_string(), attempt: false, proven: false };
            return admitted.then_some(passed).ok_or(Refused::TooMany);
        }
        let shown = shown(&parts.headers);
        let attempt = token.is_none() && self.front.bounds(self.address);
        if token.is_none() && shown.is_none() {
            let was_offered = offered(&parts.headers).next().is_some();
            return Err(if was_offered { Refused::BadToken } else { Refused::Unauthorized });
        }
        if attempt && !self.front.attempts.borrow_mut().admit(self.address, now) {
            return Err(Refused::TooManyAttempts);
        }
        let proven = token.is_some();
        // All credentials of one user are counted at one core, whoever's token is beside them.
        let user = shown.flatten().or_else(|| token.map(|claims| claims.subject.user));
        let user = user.map_or_else(|| self.address.to_string(), |user| user.as_str().to_owned());
        Ok(Passed { user, attempt, proven })
    }

    /// What came of credentials, where it was an attempt to sign in.
    fn settle(&self, passed: &Passed, outcome: Outcome) {
        if passed.attempt {
            self.front.attempts.borrow_mut().settle(self.address, outcome);
        }
    }

    /// The last answer on this connection: where the next request begins is not known.
    fn last(&self, status: StatusCode, version: Version) -> Response<FrontBody> {
        let mut response = answer::plain(status);
        if version != Version::HTTP_2 {
            self.vitals.will_linger();
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// HTTP/1.1 was checked before it was parsed; HTTP/2 is checked now.
    fn check(&self, parts: &http::request::Parts) -> Result<(), StatusCode> {
        if parts.version == Version::HTTP_2 {
            let line = RequestLine {
                method: parts.method.as_str(),
                target: parts.uri.path_and_query().map_or("", PathAndQuery::as_str),
                authority: parts.uri.authority().map(Authority::as_str),
                version: head::Version::Http2,
            };
            let fields = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            let status = |fault: head::HeadFault| StatusCode::from_u16(fault.status());
            return check_request(line, fields)
                .map(drop)
                .map_err(|fault| status(fault).unwrap_or(StatusCode::BAD_REQUEST));
        }
        // The request that stands for one that was refused; and nobody changes protocols here.
        if !parts.uri.path().starts_with('/') || parts.headers.contains_key(UPGRADE) {
            let status = self.vitals.refused().and_then(|status| StatusCode::from_u16(status).ok());
            return Err(status.unwrap_or(StatusCode::BAD_REQUEST));
        }
        Ok(())
    }

    /// Carries it to the first core that takes it.
    async fn carry(
        self: &Rc<Self>,
        passed: &Passed,
        parts: http::request::Parts,
        body: Incoming,
        answering: Answering,
        number: u64,
    ) -> Response<FrontBody> {
        let version = parts.version;
        let told = |reason: Reason, response| {
            // Where nobody is named it is an address.
            let user = Some(&passed.user).filter(|user| user.parse::<IpAddr>().is_err()).cloned();
            answer::with_code(response, self.refused(user, reason, number))
        };
        let Some(mut head) = self.head(parts, number) else {
            self.front.count("https_malformed");
            return told(Reason::Malformed, self.last(StatusCode::BAD_REQUEST, version));
        };
        let mut cores = self.front.cores.ranked(&passed.user).into_iter().peekable();
        let mut body = Some(body).filter(|body| !body.is_end_stream());
        // Safe methods may be asked twice (RFC 9110 §9.2.2); with a body nobody knows what was read of it.
        let again = body.is_none() && [Method::GET, Method::HEAD, Method::OPTIONS].contains(head.method());
        while let Some(core) = cores.next() {
            let spare = cores.peek().is_some().then(|| copy_of(&head));
            match self.ask(&core, head, &mut body, passed.proven).await {
                Ok(asked) => {
                    self.settle(passed, outcome(asked.response.status(), asked.response.headers()));
                    return self.pass_on(asked, version, answering);
                }
                Err(Failed::Client(status)) => {
                    self.front.count("https_body_refused");
                    return told(Reason::Malformed, self.last(status, version));
                }
                Err(Failed::Late) => {
                    self.front.count("https_core_late");
                    return told(Reason::TimedOut, answer::plain(StatusCode::GATEWAY_TIMEOUT));
                }
                Err(Failed::Lost(lost)) => {
                    tracing::debug!(core = %core.node(), "a request was not answered: {lost:?}");
                    match spare {
                        Some(spare) if lost == Lost::Unseen || again => head = spare,
                        None if lost == Lost::Unseen => break,
                        Some(_) | None => {
                            self.settle(passed, Outcome::Unknown);
                            self.front.count("https_core_lost");
                            return told(Reason::CoreLost, answer::next_hop_failed(version));
                        }
                    }
                }
            }
        }
        self.settle(passed, Outcome::Unknown);
        self.front.count("https_no_core");
        told(Reason::NoCore, answer::unavailable(number))
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
        let mut number = HeaderValue::try_from(format!("{number:016x}")).ok()?;
        // It never comes again: HPACK shall not make room for it among what does (RFC 7541 §6.2.3).
        number.set_sensitive(true);
        parts.headers.insert(HeaderName::from_static(REQUEST), number);
        *head.headers_mut() = parts.headers;
        Some(head)
    }

    /// Asks one core. The body is taken once the request has left.
    async fn ask(
        &self,
        core: &Rc<Core>,
        head: Request<()>,
        body: &mut Option<Incoming>,
        proven: bool,
    ) -> Result<Asked, Failed> {
        let Sent { response, body: outgoing, in_flight } =
            core.send(head, body.is_none()).await.map_err(Failed::Lost)?;
        // Given up unless it comes to an answer.
        let mut given_up = GivenUp(Some(self));
        let upload = body.take().map(|body| Upload::start(body, outgoing, proven));
        let mut response = pin!(response);
        let answer = poll_fn(|context| {
            if let Some(upload) = upload.as_ref().filter(|_| !proven)
                && let Poll::Ready(Some(Ok(_))) = response.as_mut().poll_informational(context)
            {
                upload.go_on();
            }
            response.as_mut().poll(context)
        });
        let answered = tokio::select! {
            biased;
            answered = answer => Ok(answered),
            () = late(upload.as_ref(), ANSWER_WITHIN) => Err(()),
        };
        given_up.0 = None;
        match answered {
            Ok(Ok(response)) => Ok(Asked { response, in_flight, upload }),
            Ok(Err(error)) => Err(match upload.as_ref().and_then(Upload::fault) {
                Some(status) => Failed::Client(status),
                // What was read of a body cannot be read again.
                None if upload.is_some() => Failed::Lost(Lost::Broken),
                None => Failed::Lost(Lost::of(&error)),
            }),
            Err(()) => Err(Failed::Late),
        }
    }

    /// The answer of a core, as the client gets it.
    fn pass_on(&self, asked: Asked, version: Version, answering: Answering) -> Response<FrontBody> {
        let (mut parts, stream) = asked.response.into_parts();
        if parts.status.is_informational() {
            return answer::next_hop_failed(version);
        }
        let reason = parts.headers.remove(REASON);
        let last = parts.headers.remove(CLOSE).is_some();
        let options = ConnectionOptions::default();
        let ours: Vec<_> =
            parts.headers.keys().filter(|name| !passes_outward(name.as_str(), &options)).cloned().collect();
        for name in ours {
            parts.headers.remove(name);
        }
        if version != Version::HTTP_2 {
            parts.version = Version::HTTP_11;
            if last {
                parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            } else if parts.status == StatusCode::UNAUTHORIZED {
                // Said although it goes without saying: clients know it so.
                parts.headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
            }
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
        let cancelled = Cancelled { front: Rc::clone(&self.front), address: self.address };
        let carried =
            Carried { stream, cancelled, in_flight: asked.in_flight, answering, moving, upload: asked.upload };
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

/// Counts a request whose client goes before there is an answer, unless emptied.
struct GivenUp<'a>(Option<&'a Client>);

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.0 {
            client.front.cancels.count(client.address, Instant::now());
        }
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

/// What the answer of a core says of the credentials that were shown.
fn outcome(status: StatusCode, headers: &HeaderMap) -> Outcome {
    if headers.contains_key(OFFENCE) {
        return Outcome::Offence;
    }
    match status {
        // Of a user who tries too often, or for a domain that is not served.
        StatusCode::TOO_MANY_REQUESTS | StatusCode::FORBIDDEN => Outcome::Refused,
        status if status.is_success() || status.is_redirection() => Outcome::Good,
        _ => Outcome::Unknown,
    }
}

/// The length that is announced.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
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
    let fields = headers.get_all(CONNECTION).into_iter().map(HeaderValue::as_bytes);
    // No checked head has more of them than can be held.
    let options = ConnectionOptions::read(fields).unwrap_or_default();
    let ends: Vec<_> = headers.keys().filter(|name| !passes_inward(name.as_str(), &options)).cloned().collect();
    for name in ends {
        headers.remove(name);
    }
}

/// The session tokens that are offered.
fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    session_cookies(headers.get_all(COOKIE).into_iter().map(HeaderValue::as_bytes))
}

/// Whether credentials are shown, and whose they say they are.
#[expect(clippy::option_option, reason = "credentials without a name are credentials")]
fn shown(headers: &HeaderMap) -> Option<Option<UserName>> {
    match Authorization::parse(headers.get(AUTHORIZATION)?.as_bytes()).ok()? {
        Authorization::Basic { user, .. } => Some(UserName::new(&user)),
        Authorization::Bearer(token) => Some(claimed_user(&token)),
    }
}
