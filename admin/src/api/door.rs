//! What surrounds every request, of API and pages: the name of the host, the bound of the body, who asks, whether the
//! browser was sent by another site, the audit log, and the headers of the answer.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest as _, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use edgeway_runtime::operate::Ordered;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Uri};

use super::bodies::Bodies;
use super::{Actor, Peer, Problem, Via};
use crate::accounts::{COOKIE, secrets};
use crate::limits::{AUDIT_TEXT_MAX, AUDITED_ONES_MAX, AUDITED_REFUSALS_MAX, AUDITED_REFUSALS_OF_ONE_MAX};
use crate::office::Office;
use crate::store::AuditLine;

/// Surrounds all that is served.
pub fn surrounded(office: &Arc<Office>, router: Router) -> Router {
    let door = Arc::new(Door { office: Arc::clone(office), refusals: Mutex::default(), bodies: Bodies::new() });
    let nothing_here = || async { Problem::new("not_found", "There is nothing at this path.") };
    router.fallback(nothing_here).layer(middleware::from_fn_with_state(door, pass))
}

struct Door {
    office: Arc<Office>,
    refusals: Mutex<Refusals>,
    bodies: Bodies,
}

async fn pass(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let trace = trace();
    let (headers, method, path) =
        (request.headers().clone(), request.method().clone(), request.uri().path().to_owned());
    let peer = request.extensions().get::<Peer>().copied();
    let response = match peer {
        None => Problem::new("broken", "It is not known where the request comes from.").into_response(),
        Some(peer) => door.judge(request, peer, next).await,
    };
    let actor = response.extensions().get::<Actor>().cloned();
    if let Some(peer) = peer {
        let outcome = Outcome::of(&response);
        door.write_down(&method, &path, peer, actor.as_ref(), outcome).await;
    }
    finished(response, &path, &trace, &headers)
}

impl Door {
    async fn judge(&self, request: Request, peer: Peer, next: Next) -> Response {
        if let Peer::Address(_) = peer
            && let Err(problem) = self.is_for_us(request.uri(), request.headers())
        {
            return problem.into_response();
        }
        let actor = match self.who(request.headers(), peer).await {
            Ok(actor) => actor,
            Err(problem) => return problem.into_response(),
        };
        if let Err(problem) = is_of_this_site(&request, peer, actor.as_ref()) {
            return answered(problem.into_response(), actor);
        }
        let (mut request, form_token, _held) = match self.bodies.whole(request, peer, actor.is_some()).await {
            Ok(read) => read,
            Err(problem) => return answered(problem.into_response(), actor),
        };
        if !request.method().is_safe()
            && let Some(Actor { via: Via::Cookie { csrf, .. }, .. }) = &actor
        {
            let field = request.headers().get("x-csrf-token").and_then(|value| value.to_str().ok());
            let shown = field.map(str::to_owned).or(form_token).unwrap_or_default();
            if !secrets::same(&shown, csrf) {
                return answered(Problem::new("cross_site", "").into_response(), actor);
            }
        }
        if let Some(actor) = &actor {
            request.extensions_mut().insert(actor.clone());
        }
        answered(next.run(request).await, actor)
    }

    /// RFC 9110 §7.4: a request for a name that is not ours is misdirected; this is what keeps names that are pointed at us by
    /// others (DNS rebinding) out.
    fn is_for_us(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let field = headers.get(header::HOST).and_then(|value| value.to_str().ok());
        let authority = uri.authority().map(http::uri::Authority::as_str);
        if let (Some(field), Some(authority)) = (field, authority)
            && !field.eq_ignore_ascii_case(authority)
        {
            return Err(Problem::new("bad_request", "The request names two hosts."));
        }
        let Some(named) = authority.or(field) else {
            return Err(Problem::new("bad_request", "The request names no host."));
        };
        let host = host_of(named);
        let is_address = host.parse::<std::net::IpAddr>().is_ok();
        if is_address || self.office.settled.names.iter().any(|name| name.eq_ignore_ascii_case(host)) {
            Ok(())
        } else {
            Err(Problem::new("wrong_host", ""))
        }
    }

    async fn who(&self, headers: &HeaderMap, peer: Peer) -> Result<Option<Actor>, Problem> {
        if let Peer::Socket { uid } = peer {
            return Ok(Some(Actor::at_the_socket(uid)));
        }
        let cookie = cookie_in(headers)?;
        let mut fields = headers.get_all(header::AUTHORIZATION).iter();
        match (fields.next(), fields.next(), cookie) {
            (None, _, None) => Ok(None),
            (None, _, Some(cookie)) => self.office.accounts.by_cookie(cookie).await,
            // Which of two somebodies is meant is not guessed.
            (Some(_), Some(_), _) | (Some(_), None, Some(_)) => Err(Problem::new("two_credentials", "")),
            (Some(field), None, None) => {
                let bad = || Problem::new("not_signed_in", "The token is not good, or good no more.");
                let text = field.to_str().ok().and_then(|text| text.split_once(' '));
                let token =
                    text.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
                self.office.accounts.by_token(token.ok_or_else(bad)?).await?.map(Some).ok_or_else(bad)
            }
        }
    }

    /// Whatever changes something, and whatever is refused to somebody.
    async fn write_down(&self, method: &Method, path: &str, peer: Peer, actor: Option<&Actor>, outcome: Outcome) {
        if method.is_safe() && !outcome.refused_to_somebody {
            return;
        }
        let mut outcome = outcome;
        if outcome.refused || actor.is_none() {
            let sort = match actor {
                Some(actor) => Sort::Of(actor.author.clone()),
                None if is_sign_in(method, path) => Sort::SignIn,
                None => Sort::Stranger,
            };
            let is_person = matches!(sort, Sort::Of(_));
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            match refusals.count(sort, self.office.now_ms()) {
                Written::Yes => {}
                Written::Last if is_person => outcome.words.push_str("; more of this hour are not written"),
                Written::Last | Written::No => return,
            }
        }
        let line = AuditLine {
            number: 0,
            at_ms: self.office.now_ms(),
            actor: actor.map_or_else(|| "nobody".to_owned(), |actor| actor.author.clone()),
            from: peer.from(),
            action: clean(&format!("{method} {path}")),
            outcome: outcome.words,
        };
        audit(&self.office, line).await;
    }
}

/// Writes a line into the audit log. What has been done is done: where it cannot be written, the log of the service has it
/// at least, and an alarm says so.
async fn audit(office: &Office, line: AuditLine) {
    let said = format!("{} {} {}", line.actor, line.action, line.outcome);
    if let Err(fault) = office.stored(move |store| store.audit(&line)).await {
        tracing::warn!(%fault, "the audit log could not be written: {said}");
        office.desk.not_kept("What an administrator did", said.len(), &fault).await;
    }
}

/// Writes down what was ordered at the control socket past this door. Whoever may open the socket may write much: what they
/// do is never left out.
pub(super) async fn ordered(office: &Office, ordered: Ordered) {
    let Ordered { uid, action, refused } = ordered;
    let line = AuditLine {
        number: 0,
        at_ms: office.now_ms(),
        actor: Actor::at_the_socket(uid).author,
        from: Peer::Socket { uid }.from(),
        action: clean(&action),
        outcome: refused.map_or_else(|| "done".to_owned(), |kind| format!("refused: {}", kind.word())),
    };
    audit(office, line).await;
}

/// What the audit log says of an answer.
struct Outcome {
    refused: bool,
    refused_to_somebody: bool,
    words: String,
}

impl Outcome {
    fn of(response: &Response) -> Self {
        let status = response.status();
        let words = super::audited::said(response);
        let refused_to_somebody = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
        let refused = status.is_client_error() || status.is_server_error();
        Self { refused, refused_to_somebody, words }
    }
}

/// Whose refusals are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Sort {
    /// Failed sign-ins of strangers: whoever floods us with something else does not hide them.
    SignIn,
    /// All else that strangers ask for.
    Stranger,
    /// Somebody who is known.
    Of(String),
}

/// Whether a refusal is written to the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Yes,
    /// As the last one of its time.
    Last,
    No,
}

/// How many refusals there have been of each sort, and in which minute or hour.
#[derive(Default)]
struct Refusals(HashMap<Sort, (u64, u32)>);

impl Refusals {
    fn count(&mut self, sort: Sort, now_ms: u64) -> Written {
        let span = |sort: &Sort| match sort {
            Sort::SignIn | Sort::Stranger => now_ms / 60_000,
            Sort::Of(_) => now_ms / 3_600_000,
        };
        let most = match sort {
            Sort::SignIn | Sort::Stranger => AUDITED_REFUSALS_MAX,
            Sort::Of(_) => AUDITED_REFUSALS_OF_ONE_MAX,
        };
        if self.0.len() >= AUDITED_ONES_MAX && !self.0.contains_key(&sort) {
            self.0.retain(|sort, (when, _)| *when == span(sort));
            if self.0.len() >= AUDITED_ONES_MAX {
                return Written::No;
            }
        }
        let when = span(&sort);
        let counted = self.0.entry(sort).or_insert((when, 0));
        if counted.0 != when {
            *counted = (when, 0);
        }
        counted.1 = counted.1.saturating_add(1);
        match counted.1 {
            count if count <= most => Written::Yes,
            count if count == most + 1 => Written::Last,
            _ => Written::No,
        }
    }
}

/// Whether somebody signs in by it, at the API or a page: all that is read of strangers.
pub(super) fn is_sign_in(method: &Method, path: &str) -> bool {
    let paths = ["/api/v1/session", "/api/v1/session/first", "/sign-in", "/first-sign-in"];
    method == Method::POST && paths.contains(&path)
}

pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// The field `csrf` of a form.
pub(super) async fn token_in_form(bytes: Bytes) -> Option<String> {
    let request = Request::builder().method(Method::POST).header(header::CONTENT_TYPE, FORM).body(Body::from(bytes));
    let fields = axum::Form::<Vec<(String, String)>>::from_request(request.ok()?, &()).await.ok()?;
    fields.0.into_iter().find(|(name, _)| name == "csrf").map(|(_, value)| value)
}

/// The cookie of our session, if the browser sends one.
fn cookie_in(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut ours = cookies.by_ref().filter(|(name, _)| *name == COOKIE).map(|(_, value)| value);
    match (ours.next(), ours.next()) {
        (found, None) => Ok(found),
        (_, Some(_)) => Err(Problem::new("two_credentials", "The browser sends two cookies of ours.")),
    }
}

/// What changes something must not have been sent by a page of somebody else: browsers say which page sent it (Fetch Metadata;
/// RFC 6454 §7). Programs with a token, and whoever is at the socket, are no browsers.
fn is_of_this_site(request: &Request, peer: Peer, actor: Option<&Actor>) -> Result<(), Problem> {
    let is_browser = actor.is_none_or(|actor| matches!(actor.via, Via::Cookie { .. }));
    if request.method().is_safe() || !is_browser || matches!(peer, Peer::Socket { .. }) {
        return Ok(());
    }
    let headers = request.headers();
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let host = authority.or_else(|| text(header::HOST)).unwrap_or_default();
    let origin = text(header::ORIGIN);
    let of_ours =
        origin.is_none_or(|origin| origin.strip_prefix("https://").is_some_and(|it| it.eq_ignore_ascii_case(host)));
    let site = text(HeaderName::from_static("sec-fetch-site"));
    if of_ours && site.is_none_or(|site| ["same-origin", "none"].contains(&site)) {
        Ok(())
    } else {
        Err(Problem::new("cross_site", ""))
    }
}

/// Where somebody goes after signing in: a path of ours, whatever a link says; else the first page.
#[must_use]
pub fn local_path(next: &str) -> &str {
    let legal = |char: char| char.is_ascii_graphic() && char != '\\';
    let local = next.starts_with('/') && !next.starts_with("//") && next.chars().all(legal);
    if local { next } else { "/" }
}

fn answered(mut response: Response, actor: Option<Actor>) -> Response {
    // Whoever has just signed in stays who they are.
    if let Some(actor) = actor
        && response.extensions().get::<Actor>().is_none()
    {
        response.extensions_mut().insert(actor);
    }
    response
}

fn finished(response: Response, path: &str, trace: &str, asked: &HeaderMap) -> Response {
    let status = response.status();
    let refused = status.is_client_error() || status.is_server_error();
    let problem = response.extensions().get::<Problem>().cloned();
    let mut response = match problem {
        Some(problem) => merged(problem.written(trace, asked), &response),
        // What a layer of the library refuses has no words of ours yet.
        None if refused && path.starts_with("/api/") => {
            merged(Problem::of_status(status).written(trace, asked), &response)
        }
        None => response,
    };
    if status.is_server_error() {
        tracing::warn!(%status, path = clean(path), trace_id = trace, "a request of an administrator failed");
    }
    let headers = response.headers_mut();
    for (name, value) in SECURITY.iter() {
        headers.entry(name.clone()).or_insert_with(|| value.clone());
    }
    response
}

/// The headers of the refusal as it was, such as `Allow` and cookies, under the words of ours.
fn merged(mut written: Response, before: &Response) -> Response {
    for (name, value) in before.headers() {
        if ![header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(name) {
            written.headers_mut().append(name.clone(), value.clone());
        }
    }
    written
}

/// What every answer carries, unless it says something else itself.
static SECURITY: LazyLock<Vec<(HeaderName, HeaderValue)>> = LazyLock::new(|| {
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; \
                  connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    vec![
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::SERVER, HeaderValue::from_static("edgeway")),
    ]
});

/// `example.com` of `example.com:9443`, `2001:db8::1` of `[2001:db8::1]:9443`.
fn host_of(named: &str) -> &str {
    if let Some(rest) = named.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    named.split(':').next().unwrap_or_default()
}

/// A text out of a request, as the audit log and ours may show it.
fn clean(text: &str) -> String {
    text.chars().take(AUDIT_TEXT_MAX).map(|char| if char.is_control() { '?' } else { char }).collect()
}

/// 64 random bits, in hexadecimal.
fn trace() -> String {
    let mut bytes = [0; 8];
    // Without random numbers there is no TLS either; a trace is no secret.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use edgeway_runtime::operate::{self, Told, Work};

    use super::*;
    use crate::configuration::{ALARM_STORE, ConfigurationDesk, boot_with};
    use crate::office::Settled;
    use crate::scratch::Scratch;
    use crate::store::{LateStore, MemoryStore, Store};

    #[tokio::test]
    async fn an_order_at_the_socket_that_cannot_be_written_down_raises_the_alarm() {
        let scratch = Scratch::new("door-ordered");
        let file = scratch.path().join("core.toml");
        let state_dir = scratch.path().join("state");
        let text = format!(
            "node = \"core1\"\nstate_dir = {state_dir:?}\ndomains = [\"example.com\"]\n\n[sip]\nadvertise = \"10.0.0.4:5060\"\nregistrars = [\"tcp:10.0.0.5:5060\"]\n"
        );
        std::fs::write(&file, text).expect("written");
        let booted = boot_with(&file, |_| Ok(Arc::new(MemoryStore::new()) as Arc<dyn Store>)).expect("it starts");
        let (port, mut asked) = operate::port();
        let desk = ConfigurationDesk::new(booted.parts, port.clone());
        let store = Arc::new(LateStore::missing("the disk is full".to_owned()));
        let office = Office::new(port, store, desk, Settled::of(&booted.settings));
        ordered(&office, Ordered { uid: Some(0), action: "maintenance".to_owned(), refused: None }).await;
        drop(office);
        let Some(Work::Tell(Told::Alarm(alarm))) = asked.recv().await else { panic!("nobody is told") };
        assert!(alarm.id == ALARM_STORE && alarm.cause.contains("the disk is full"), "{}", alarm.cause);
    }

    #[test]
    fn refusals_of_one_are_so_many_an_hour_and_sign_ins_have_their_own() {
        let mut refusals = Refusals::default();
        let mut written = |sort: Sort, now_ms: u64| {
            let all: Vec<_> = (0..1_000).map(|_| refusals.count(sort.clone(), now_ms)).collect();
            let of = |what: Written| all.iter().filter(|one| **one == what).count();
            (of(Written::Yes), of(Written::Last))
        };
        let bob = || Sort::Of("account bob".into());
        assert_eq!(written(bob(), 0), (60, 1));
        assert_eq!(written(bob(), 3_599_999), (0, 0));
        assert_eq!(written(bob(), 3_600_000), (60, 1));
        assert_eq!(written(Sort::Of("account eve".into()), 3_600_000), (60, 1));
        assert_eq!(written(Sort::Stranger, 5), (30, 1));
        assert_eq!(written(Sort::SignIn, 5), (30, 1), "401s of all sorts do not hide them");
        for n in 0..AUDITED_ONES_MAX + 10 {
            refusals.count(Sort::Of(n.to_string()), 7);
        }
        assert!(refusals.0.len() <= AUDITED_ONES_MAX);
    }
}
