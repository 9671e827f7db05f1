//! The thread the servers of a cluster run on: listeners that can be switched off and on, TLS with the certificate of
//! the moment, one answer per request with whatever is wrong with it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::http::{Answer, Question};
use super::world::{Asked, Fault, Role, Service, World};
use super::{HTTP_TFTP_PORT, HTTPS_PORT, HTTPS_TFTP_PORTS, SIP_PORT, SIP_TLS_PORT, axl, files, oauth, other, uds};
use crate::limits::{BIND_TRIES_MAX, CONNECTIONS_MAX, UC_BODY_BYTES_MAX};
use crate::registrar::{BindingView, LineSide, Registrar, RegistrarConfig};

/// Pause between two attempts to take a port, and to accept.
const SHORTLY: Duration = Duration::from_millis(5);

/// A host of nobody's, told by a service that lies.
pub(super) const STRANGE_HOST: &str = "169.254.169.254";

/// Told to the thread.
pub(super) enum Command {
    /// Switches a node on or off, and says when it is done.
    Power { node: usize, on: bool, done: std::sync::mpsc::Sender<std::io::Result<()>> },
    /// Asks for the contacts of a directory number at a node.
    Bindings { node: usize, number: String, reply: oneshot::Sender<Vec<BindingView>> },
}

/// What a node needs to serve.
#[derive(Clone)]
pub(super) struct Station {
    pub(super) world: Arc<World>,
    pub(super) node: usize,
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) address: std::net::IpAddr,
    pub(super) tls: Arc<ServerConfig>,
    pub(super) line: Option<RegistrarConfig>,
    pub(super) side: Option<LineSide>,
}

/// What runs of a node.
#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    registrar: Option<Registrar>,
}

/// Runs until the commands end.
pub(super) async fn run(stations: Vec<Station>, mut commands: mpsc::Receiver<Command>) {
    let mut running: Vec<Running> = stations.iter().map(|_| Running::default()).collect();
    while let Some(command) = commands.recv().await {
        let (node, on, done) = match command {
            Command::Power { node, on, done } => (node, on, done),
            Command::Bindings { node, number, reply } => {
                let registrar = running.get(node).and_then(|running| running.registrar.as_ref());
                let found = match registrar {
                    Some(registrar) => registrar.bindings(&number).await,
                    None => Vec::new(),
                };
                let _ = reply.send(found);
                continue;
            }
        };
        let outcome = match (stations.get(node), running.get_mut(node)) {
            (Some(station), Some(running)) => {
                running.tasks.shutdown().await;
                running.registrar = None;
                if on { switch_on(station, running).await } else { Ok(()) }
            }
            _ => Ok(()),
        };
        let _ = done.send(outcome);
    }
}

async fn switch_on(station: &Station, running: &mut Running) -> std::io::Result<()> {
    let acceptor = TlsAcceptor::from(station.tls.clone());
    let mut doors = vec![(HTTPS_PORT, false, Some(acceptor.clone()))];
    if station.role == Role::CallManager {
        doors.push((HTTP_TFTP_PORT, true, None));
        doors.extend(HTTPS_TFTP_PORTS.map(|port| (port, true, Some(acceptor.clone()))));
    }
    for (port, files, acceptor) in doors {
        let listener = bind(SocketAddr::new(station.address, port)).await?;
        running.tasks.spawn(accept(listener, acceptor, Arc::new(Door { station: station.clone(), files })));
    }
    if let (Some(config), Some(side)) = (&station.line, &station.side) {
        let mut config = config.clone();
        config.listen = SocketAddr::new(station.address, SIP_PORT);
        let mut side = side.clone();
        side.tls = Some((SocketAddr::new(station.address, SIP_TLS_PORT), station.tls.clone()));
        config.line_side = Some(side);
        running.registrar = Some(start_registrar(config).await?);
    }
    Ok(())
}

async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    for _ in 0..BIND_TRIES_MAX {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
        tokio::time::sleep(SHORTLY).await;
    }
    Err(last)
}

async fn start_registrar(config: RegistrarConfig) -> std::io::Result<Registrar> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    for _ in 0..BIND_TRIES_MAX {
        match Registrar::start(config.clone()).await {
            Ok(registrar) => return Ok(registrar),
            Err(error) => last = error,
        }
        tokio::time::sleep(SHORTLY).await;
    }
    Err(last)
}

/// One port of a node.
struct Door {
    station: Station,
    /// Whether it is one of the TFTP service.
    files: bool,
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, door: Arc<Door>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely: give the others a moment to close.
            tokio::time::sleep(SHORTLY).await;
            continue;
        };
        if connections.len() < CONNECTIONS_MAX {
            let _ = stream.set_nodelay(true);
            connections.spawn(converse(stream, acceptor.clone(), door.clone()));
        }
    }
}

async fn converse(stream: TcpStream, acceptor: Option<TlsAcceptor>, door: Arc<Door>) {
    match acceptor {
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                speak(stream, door).await;
            }
        }
        None => speak(stream, door).await,
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, door: Arc<Door>) {
    let service = service_fn(move |request| {
        let door = door.clone();
        async move { door.serve(request).await }
    });
    // A connection that ends badly is the other side's affair.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer")]
struct Closed;

type Sent = Response<BoxBody<Bytes, Closed>>;

impl Door {
    fn service(&self, path: &str) -> Option<Service> {
        if self.files {
            return Some(Service::Files);
        }
        let under = |prefix: &str| path == prefix || path.starts_with(&format!("{prefix}/"));
        match self.station.role {
            Role::CallManager if under("/axl") => Some(Service::Axl),
            Role::CallManager if under("/cucm-uds") => Some(Service::Uds),
            Role::CallManager if under("/ssosp/ws") => Some(Service::Sso),
            Role::CallManager if under("/ssosp") => Some(Service::OAuth),
            Role::ImAndPresence if under("/axl") => Some(Service::Axl),
            Role::ImAndPresence if under("/EPASSoap") => Some(Service::Epas),
            Role::Unity if under("/vmrest") => Some(Service::Cupi),
            Role::CallManager | Role::ImAndPresence | Role::Unity => None,
        }
    }

    async fn serve(&self, request: Request<Incoming>) -> Result<Sent, Closed> {
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, UC_BODY_BYTES_MAX).collect().await else { return Err(Closed) };
        let headers: Vec<(String, String)> = head
            .headers
            .iter()
            .filter(|(name, _)| *name != hyper::header::AUTHORIZATION)
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let authorization = head.headers.get(hyper::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let question = Question {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            authorization: authorization.map(str::to_owned),
            body: body.to_bytes().to_vec(),
        };
        let Some(service) = self.service(&question.path) else {
            return Ok(plain(Answer::text(404, "404 Not Found")));
        };
        let (fault, answer, user) = self.answer(service, &question);
        if let Some(Fault::Slow(pause)) = fault {
            tokio::time::sleep(pause).await;
        }
        let answer = match fault {
            Some(Fault::Silent) => None,
            _ => Some(answer),
        };
        self.station.world.note(Asked {
            at: Instant::now(),
            node: self.station.name.clone(),
            service,
            method: question.method,
            path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            user,
            headers,
            body: question.body,
            status: answer.as_ref().map_or(0, |answer| answer.status),
        });
        let Some(answer) = answer else { return Err(Closed) };
        Ok(match fault {
            Some(Fault::CutShort) => {
                let length = answer.body.len() + 1;
                let half = answer.body.get(..length / 2).unwrap_or_default().to_vec();
                let body = Half { part: Some(Bytes::from(half)), promised: length as u64 };
                response(&answer, body.boxed())
            }
            Some(Fault::Endless) => response(&answer, Endless.boxed()),
            _ => plain(answer),
        })
    }

    /// What is wrong, the answer with that (but for what takes time), and who asked.
    fn answer(&self, service: Service, question: &Question) -> (Option<Fault>, Answer, Option<String>) {
        let mut state = self.station.world.state();
        let user = question.claims_to_be(&state);
        let fault = state.nodes.get(self.station.node).and_then(|node| node.faults.get(&service)).cloned();
        let (strange, empty) = match fault {
            Some(Fault::StrangeHosts) => (Some(STRANGE_HOST), false),
            Some(Fault::Empty) => (None, true),
            _ => (None, false),
        };
        let answer = match &fault {
            Some(Fault::Status(status)) => {
                Answer::new(*status, "text/html", "<html><head><title>Error report</title></head></html>")
            }
            Some(Fault::Throttled) => Answer::text(503, "Too many requests").with("retry-after", "1"),
            Some(Fault::Garbage) => Answer::new(200, "text/xml", vec![0xff, 0x00, b'<', b'<', 0xc3, b'&', b';', b'>']),
            Some(Fault::Redirect(place)) => Answer::text(302, "elsewhere").with("location", place.as_str()),
            _ => match service {
                Service::Axl => strange_hosts(axl::answer(&mut state, question, empty), &state, strange),
                Service::Uds => uds::answer(&state, &self.station.name, question, strange, empty),
                Service::Sso => other::sso(&state),
                Service::OAuth if question.path == "/ssosp/token/keys" => oauth::keys(&state),
                Service::OAuth if question.path == "/ssosp/oauth/token" && question.method == "POST" => {
                    let body = String::from_utf8_lossy(&question.body).into_owned();
                    oauth::token(&mut state, &body)
                }
                Service::OAuth => Answer::text(404, "404 Not Found"),
                Service::Files => files::answer(&state, question),
                Service::Cupi => other::cupi(&state, question, empty),
                Service::Epas => other::epas(&state, &self.station.world.one_time, question),
            },
        };
        (fault, answer, user)
    }
}

/// Puts a strange host where the nodes' names stand.
fn strange_hosts(mut answer: Answer, state: &super::world::State, strange: Option<&str>) -> Answer {
    if let Some(strange) = strange {
        let mut text = String::from_utf8_lossy(&answer.body).into_owned();
        for node in &state.nodes {
            text = text.replace(&format!(">{}<", node.name), &format!(">{strange}<"));
        }
        answer.body = text.into_bytes();
    }
    answer
}

fn plain(answer: Answer) -> Sent {
    let body = Full::new(Bytes::from(answer.body.clone())).map_err(|never: Infallible| match never {}).boxed();
    response(&answer, body)
}

fn response(answer: &Answer, body: BoxBody<Bytes, Closed>) -> Sent {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    for (name, value) in &answer.lines {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// Less than it promises.
struct Half {
    part: Option<Bytes>,
    promised: u64,
}

impl Body for Half {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        Poll::Ready(Some(self.part.take().map(Frame::data).ok_or(Closed)))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.promised)
    }
}

/// More than anybody wants.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 16 * 1024])))))
    }
}
