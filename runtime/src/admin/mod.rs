//! The operator's door: a small HTTP/1.1 service on a Unix socket and, where configured, on a
//! loopback address.
//!
//! | path | answer |
//! |---|---|
//! | `/status` | the node's status, JSON (`edgeway status`) |
//! | `/metrics` | the same as Prometheus text |
//! | `/` | the same as a page, read-only, without scripts |
//! | `/livez` | 200 while the node answers |
//! | `/api/…` | the REST API of a core's administrator's side; on the socket only |
//! | `POST /ask/<path>[?node=NAME]` | what an [`OperatorPort`] is asked, JSON both ways; on the socket only |
//!
//! The loopback address only tells; nothing can be changed through it. Who may reach the socket is a matter of its
//! mode (0660) and owner. It does not serve the network: a listener that is not on loopback is refused.

mod client;
mod page;
mod report;
mod socket;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::NodeId;
use edgeway_model::world::Status;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, SERVER,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_local;

pub use self::client::{ApiRequest, FetchFault, api, ask, fetch};
pub(crate) use self::report::link;
pub use self::report::{cell, grid, json, printable, table};
use self::socket::SocketFile;
use crate::limits::{
    ADMIN_BODY_BYTES_MAX, ADMIN_CONNECTIONS_MAX, ADMIN_CONVERSATION_MAX, ADMIN_HEAD_BYTES_MAX, ADMIN_HEADERS_MAX,
    OPERATE_BODY_BYTES_MAX, OPERATE_MAX, OPERATOR_STREAM_MAX,
};
use crate::metrics;
use crate::operate::{self, AdminBody, AdminDoor, OperatorPort, Ordered, Refusal};

/// After an accept fails for want of descriptors, how long to leave the queue alone.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the administrator's side tells what happens, for as long as somebody listens.
const STREAM: &str = "/api/v1/stream";

/// The operator's door could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum AdminFault {
    /// A file or folder of the socket could not be made.
    #[error("cannot {action} {}: {source}. {remedy}", path.display())]
    Socket {
        /// What was tried.
        action: &'static str,
        /// The socket, or its folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// Somebody answers on the socket already.
    #[error(
        "{} is in use: another process answers on it. Stop that one, or give this node another control_socket",
        path.display()
    )]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// There is a file at the socket's place that is no socket.
    #[error("{} exists and is no socket. Move it away, or give this node another control_socket", path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The metrics listener is reachable from other machines.
    #[error(
        "{address} can be reached from other machines, and the page has no sign-in. Use a loopback address, such as 127.0.0.1:9464"
    )]
    NotLoopback {
        /// Its address.
        address: SocketAddr,
    },
    /// The metrics listener could not be taken over.
    #[error("the metrics listener cannot be used: {0}")]
    Listener(#[source] io::Error),
}

/// Serves the operator until the tasks of this thread end; then the socket file goes, too. `status` is
/// called once per question.
///
/// `operator`: who is asked what is posted to `/ask/` on the socket, and who serves `/api/` there.
///
/// Must be called within a [`tokio::task::LocalSet`] on a current-thread runtime.
///
/// # Errors
/// [`AdminFault`], with the remedy. Nothing is served then.
pub fn serve<S>(
    unix: Option<&Path>,
    tcp: Option<std::net::TcpListener>,
    status: S,
    operator: impl Into<Operator>,
) -> Result<(), AdminFault>
where
    S: Fn() -> Status + Clone + 'static,
{
    let tcp = tcp.map(take_over).transpose()?;
    let unix = unix.map(socket::bind).transpose()?;
    if let Some((listener, file)) = unix {
        spawn_local(accept(Door::Unix(listener, file), status.clone(), Some(operator.into())));
    }
    if let Some(listener) = tcp {
        spawn_local(accept(Door::Tcp(listener), status, None));
    }
    Ok(())
}

fn take_over(listener: std::net::TcpListener) -> Result<TcpListener, AdminFault> {
    let address = listener.local_addr().map_err(AdminFault::Listener)?;
    if !address.ip().to_canonical().is_loopback() {
        return Err(AdminFault::NotLoopback { address });
    }
    listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)).map_err(AdminFault::Listener)
}

enum Door {
    Unix(UnixListener, #[expect(dead_code, reason = "removes the socket file when dropped")] SocketFile),
    Tcp(TcpListener),
}

/// Who is asked what is more than the status.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The node.
    pub port: OperatorPort,
    /// The administrator's side, at a core that has one.
    pub api: Option<AdminDoor>,
}

impl From<OperatorPort> for Operator {
    fn from(port: OperatorPort) -> Self {
        Self { port, api: None }
    }
}

async fn accept<S>(door: Door, status: S, operator: Option<Operator>)
where
    S: Fn() -> Status + Clone + 'static,
{
    let permits = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let (status, operator) = (status.clone(), operator.clone());
        let accepted = match &door {
            Door::Unix(listener, _) => listener.accept().await.map(|(stream, _)| {
                let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                drop(spawn_local(converse(stream, permit, status, operator, uid)));
            }),
            Door::Tcp(listener) => {
                let talk = |(stream, _)| drop(spawn_local(converse(stream, permit, status, operator, None)));
                listener.accept().await.map(talk)
            }
        };
        if let Err(error) = accepted {
            tracing::warn!(%error, "an operator's connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// One question, one answer, and the connection closes.
async fn converse<S>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    permit: OwnedSemaphorePermit,
    status: S,
    operator: Option<Operator>,
    uid: Option<u32>,
) where
    S: Fn() -> Status,
{
    let patience = std::cell::Cell::new(ADMIN_CONVERSATION_MAX);
    let permit = Rc::new(permit);
    let service = service_fn(|request: Request<Incoming>| {
        let (status, operator, patience, permit) = (&status, &operator, &patience, &permit);
        async move {
            let path = request.uri().path();
            if let Some(door) = operator.as_ref().and_then(|it| it.api.as_ref()).filter(|_| path.starts_with("/api/")) {
                patience.set(if path == STREAM { OPERATOR_STREAM_MAX } else { OPERATE_MAX });
                return Ok(administer(request, door, uid).await);
            }
            let path = path.strip_prefix("/ask/").map(str::to_owned);
            Ok::<_, Infallible>(whole(match (operator, path) {
                (Some(operator), Some(path)) => {
                    patience.set(OPERATE_MAX);
                    put(request, path, operator, uid, permit).await
                }
                (Some(_) | None, _) => answer(&request, status),
            }))
        }
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ADMIN_CONVERSATION_MAX)
        .keep_alive(false)
        .max_buf_size(ADMIN_HEAD_BYTES_MAX)
        .max_headers(ADMIN_HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut conversation = std::pin::pin!(conversation);
    let mut spent = Duration::ZERO;
    // What a node is asked may take longer, and that is known only once it is asked.
    while spent < patience.get() {
        let wait = patience.get() - spent;
        match tokio::time::timeout(wait, &mut conversation).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => return tracing::debug!(%error, "a conversation with an operator's program failed"),
            Err(_) => spent += wait,
        }
    }
    tracing::debug!("a conversation with an operator's program took too long");
}

/// What is asked of the administrator's side goes there whole.
async fn administer(request: Request<Incoming>, door: &AdminDoor, uid: Option<u32>) -> Response<AdminBody> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, ADMIN_BODY_BYTES_MAX).collect().await else {
        return whole(refusal(StatusCode::PAYLOAD_TOO_LARGE, "the question is too long, or broke off"));
    };
    let answer = door.pass(Request::from_parts(head, body.to_bytes()), uid).await;
    answer.unwrap_or_else(|| whole(refusal(StatusCode::SERVICE_UNAVAILABLE, "the administrator's side has ended")))
}

fn whole(response: Response<Full<Bytes>>) -> Response<AdminBody> {
    response.map(|body| body.map_err(|never| match never {}).boxed_unsync())
}

/// Puts a question to a node: this one, or the one that the query names.
async fn put(
    request: Request<Incoming>,
    path: String,
    operator: &Operator,
    uid: Option<u32>,
    permit: &Rc<OwnedSemaphorePermit>,
) -> Response<Full<Bytes>> {
    let node = match request.uri().query().map(|query| query.strip_prefix("node=").and_then(NodeId::new)) {
        None => None,
        Some(Some(node)) => Some(node),
        Some(None) => return refusal(StatusCode::BAD_REQUEST, "after ? comes node=NAME, and nothing else"),
    };
    let question = match question(request).await {
        Ok(question) => question,
        Err(refused) => return *refused,
    };
    let answered = match &operator.api {
        Some(door) if operate::is_order(&path, &question) => {
            // Whoever hangs up takes back no order, and keeps none out of the audit log; and keeps their place meanwhile.
            let (port, door, permit) = (operator.port.clone(), door.clone(), Rc::clone(permit));
            let ordered = spawn_local(async move {
                let mut action = action(&path, node.as_ref(), &question);
                let answered = port.ask(node.as_ref(), &path, question).await;
                if let ("calls/end", Ok(ended)) = (path.as_str(), &answered)
                    && let Some(call_id) = ended.get("call_id").and_then(serde_json::Value::as_str)
                {
                    action.extend([" ", call_id]);
                }
                let refused = answered.as_ref().err().map(|refusal| refusal.kind);
                door.ordered(Ordered { uid, action, refused }).await;
                drop(permit);
                answered
            });
            ordered.await.unwrap_or_else(|_| Err(Refusal::unavailable("nobody knows what came of it")))
        }
        Some(_) | None => operator.port.ask(node.as_ref(), &path, question).await,
    };
    match answered {
        Ok(answer) => response(StatusCode::OK, "application/json", format!("{answer:#}\n")),
        Err(refused) => refusal(refused.kind.status(), &refused.why),
    }
}

/// What was ordered, as the audit log says it: nothing of the question but whether maintenance mode begins or ends, and
/// which call.
fn action(path: &str, node: Option<&NodeId>, question: &serde_json::Value) -> String {
    let node = node.map(|node| format!("?node={node}")).unwrap_or_default();
    let on = match (path, question.get("on").and_then(serde_json::Value::as_bool)) {
        ("maintenance", Some(true)) => " (begin)",
        ("maintenance", Some(false)) => " (end)",
        (_, Some(_) | None) => "",
    };
    let call = match (path, question.get("id").and_then(serde_json::Value::as_u64)) {
        ("calls/end", Some(id)) => format!(" (call {id})"),
        (_, Some(_) | None) => String::new(),
    };
    format!("POST /ask/{path}{node}{on}{call}")
}

/// What is asked, as JSON.
async fn question(request: Request<Incoming>) -> Result<serde_json::Value, Box<Response<Full<Bytes>>>> {
    if request.method() != Method::POST {
        let mut refused = refusal(StatusCode::METHOD_NOT_ALLOWED, "only POST");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Err(Box::new(refused));
    }
    let body = Limited::new(request.into_body(), OPERATE_BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|_| refusal(StatusCode::PAYLOAD_TOO_LARGE, "the question is too long, or broke off"))?;
    let body = body.to_bytes();
    if body.is_empty() {
        return Ok(serde_json::Value::Null);
    }
    serde_json::from_slice(&body).map_err(|_| Box::new(refusal(StatusCode::BAD_REQUEST, "the question is no JSON")))
}

fn refusal(code: StatusCode, why: &str) -> Response<Full<Bytes>> {
    response(code, "application/json", format!("{}\n", serde_json::json!({ "error": why })))
}

fn answer<B>(request: &Request<B>, status: &impl Fn() -> Status) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    let path = request.uri().path();
    if !["/", "/status.css", "/status", "/metrics", "/livez"].contains(&path) {
        return response(StatusCode::NOT_FOUND, TEXT, "there are /, /status, /metrics and /livez\n");
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refusal = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match path {
        "/" => response(StatusCode::OK, "text/html; charset=utf-8", page::render(&json(&status()))),
        "/status.css" => response(StatusCode::OK, "text/css; charset=utf-8", page::STYLE),
        "/status" => response(StatusCode::OK, "application/json", format!("{:#}\n", json(&status()))),
        "/metrics" => response(StatusCode::OK, metrics::CONTENT_TYPE, metrics::render(&status())),
        _ => response(StatusCode::OK, TEXT, "live\n"),
    }
}

fn response(code: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(SERVER, HeaderValue::from_static("edgeway"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests;
