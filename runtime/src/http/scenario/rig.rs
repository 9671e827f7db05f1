//! An edge, some cores, and clients.

use std::cell::Cell;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use bytes::Bytes;
use edgeway_model::sign_in::{Deployment, SignInFact, Subject, TokenKey, UserName};
use edgeway_model::{LinkId, NodeId, Role};
use edgeway_policy::token::Claims;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Frame;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::limits::STALLED_MAX;
use super::super::{Body, BodyFault, Counts, FrontConfig, HttpFact, HttpHandle, Inside, LocalFuture, Part, Teller};
use crate::clock::unix_ms;
use crate::link::{CallerHello, Door, LinkHost, Listener, listen};
use crate::outbox::Outbox;
use crate::pki::tls::{bulk_client_config, provider};
use crate::pki::{Authority, Trust};
use crate::tls::{CertificateStore, server_config};

/// The descriptor of `example.com/https/cucm1.example.com/8443`.
pub(super) const LONG: &str = "/ZXhhbXBsZS5jb20vaHR0cHMvY3VjbTEuZXhhbXBsZS5jb20vODQ0Mw";
/// That of `example.com`.
pub(super) const SMALL: &str = "/ZXhhbXBsZS5jb20";

/// Of `big`: more than sockets hold.
pub(super) const BIG_BYTES: usize = 640 * PIECE_BYTES;
const PIECE_BYTES: usize = 16 * 1024;

pub(super) fn node(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

pub(super) fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, future)
}

/// What a core has seen, from any thread.
#[derive(Default)]
pub(super) struct Seen {
    /// Method, path, and what of its head matters, of each request.
    pub(super) requests: Vec<Asked>,
    /// Bytes of bodies.
    pub(super) body_bytes: usize,
    /// Requests that were given up before they were answered.
    pub(super) cancelled: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) edge: NodeId,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: http::HeaderMap,
}

pub(super) type Shared = Arc<Mutex<Seen>>;

struct Fake {
    seen: Shared,
    teller: Teller,
}

struct Unfinished(Shared, bool);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.1 {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).cancelled += 1;
        }
    }
}

impl Inside for Fake {
    fn serve(self: Rc<Self>, edge: NodeId, request: Request<Body>) -> LocalFuture<'static, Response<Body>> {
        let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        let asked = Asked {
            edge,
            method: request.method().to_string(),
            path: path.clone(),
            headers: request.headers().clone(),
        };
        self.seen.lock().unwrap().requests.push(asked);
        Box::pin(async move {
            let mut unfinished = Unfinished(Arc::clone(&self.seen), false);
            let tail = path.rsplit('/').next().unwrap_or_default().to_owned();
            let mut response = Response::new(Body::new(Full::new(Bytes::from_static(b"inside")).map_err(no_fault)));
            match tail.split_once('?').map_or(tail.as_str(), |(tail, _)| tail) {
                "echo" => {
                    let collected = request.into_body().collect().await;
                    let bytes = collected.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                    self.seen.lock().unwrap().body_bytes += bytes.len();
                    *response.body_mut() = Body::new(Full::new(bytes).map_err(no_fault));
                }
                "big" => {
                    *response.body_mut() = Body::new(Pieces(BIG_BYTES / PIECE_BYTES));
                }
                "wrong" => {
                    *response.status_mut() = StatusCode::UNAUTHORIZED;
                    response.headers_mut().insert("edgeway-offence", HeaderValue::from_static("credentials"));
                }
                "never" => std::future::pending().await,
                "nobody" => {
                    *response.status_mut() = StatusCode::BAD_GATEWAY;
                    *response.body_mut() = Body::new(Empty::new().map_err(no_fault));
                    let reason = HeaderValue::from_static("Next Hop Connection Failed");
                    response.headers_mut().insert("edgeway-reason", reason);
                    response.headers_mut().insert("edgeway-offence", HeaderValue::from_static("credentials"));
                    response.headers_mut().insert("connection", HeaderValue::from_static("close"));
                }
                _ => {}
            }
            unfinished.1 = true;
            response
        })
    }

    fn told(&self, fact: SignInFact) {
        self.teller.tell(HttpFact::SignIn(fact));
    }

    fn operate(
        self: Rc<Self>,
        path: String,
        question: serde_json::Value,
    ) -> LocalFuture<'static, Result<serde_json::Value, String>> {
        Box::pin(async move {
            match path.as_str() {
                "same" => Ok(question),
                _ => Err(format!("there is no {path}")),
            }
        })
    }
}

fn no_fault(never: std::convert::Infallible) -> BodyFault {
    match never {}
}

/// So many pieces.
struct Pieces(usize);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let Some(left) = self.0.checked_sub(1) else { return Poll::Ready(None) };
        self.0 = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; PIECE_BYTES])))))
    }
}

/// The edge's reactor, as far as links know it.
#[derive(Clone)]
struct Host(HttpHandle);

impl LinkHost for Host {
    fn next_link(&self) -> LinkId {
        LinkId(1)
    }

    fn link_opened(&self, _: LinkId, _: NodeId, _: Role, _: SocketAddr, _: Rc<Outbox>) {}

    fn link_received(&self, _: LinkId, _: Bytes) {}

    fn link_closed(&self, _: LinkId, _: String) {}

    fn beside(&self, hello: CallerHello) {
        self.0.adopt(hello);
    }
}

/// What lies between a core and an edge, and what goes over it.
pub(super) struct Wire {
    /// Bytes from the edge to the core.
    pub(super) inwards: Cell<usize>,
    /// Connections that have begun.
    begun: Cell<usize>,
    /// Of these, the first so many carry nothing any more, and do not end either.
    dead: Cell<usize>,
}

impl Wire {
    async fn start(to: SocketAddr) -> (Rc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wire = Rc::new(Self { inwards: Cell::new(0), begun: Cell::new(0), dead: Cell::new(0) });
        let counted = Rc::clone(&wire);
        spawn_local(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(to).await.unwrap();
                let (mut near_in, mut near_out) = near.into_split();
                let (mut far_in, mut far_out) = far.into_split();
                let (outwards, counted) = (Rc::clone(&counted), Rc::clone(&counted));
                let number = counted.begun.get();
                counted.begun.set(number + 1);
                spawn_local(async move {
                    let mut piece = vec![0; 64 * 1024];
                    while let Ok(count @ 1..) = near_in.read(&mut piece).await {
                        outwards.unless_dead(number).await;
                        if far_out.write_all(&piece[..count]).await.is_err() {
                            return;
                        }
                    }
                });
                spawn_local(async move {
                    let mut piece = vec![0; 64 * 1024];
                    while let Ok(count @ 1..) = far_in.read(&mut piece).await {
                        counted.unless_dead(number).await;
                        counted.inwards.set(counted.inwards.get() + count);
                        if near_out.write_all(&piece[..count]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (wire, address)
    }

    /// What goes over it now is lost, as when a node has lost its power; new connections are carried.
    pub(super) fn die(&self) {
        self.dead.set(self.begun.get());
    }

    async fn unless_dead(&self, number: usize) {
        if number < self.dead.get() {
            std::future::pending::<()>().await;
        }
    }
}

/// A core: its HTTP thread, and what it has seen.
pub(super) struct Core {
    pub(super) http: HttpHandle,
    pub(super) seen: Shared,
    pub(super) facts: tokio::sync::mpsc::UnboundedReceiver<HttpFact>,
    pub(super) certificate: rustls::pki_types::CertificateDer<'static>,
}

/// An edge with its cores.
pub(super) struct Rig {
    pub(super) edge: HttpHandle,
    pub(super) counts: Arc<Counts>,
    pub(super) cores: Vec<Core>,
    pub(super) https: SocketAddr,
    pub(super) link: SocketAddr,
    authority: Authority,
    roots: RootCertStore,
    key: Ed25519KeyPair,
    _listener: Listener,
}

impl Rig {
    /// An edge that clients can reach, and cores that have reached it.
    pub(super) async fn start(cores: &[&str]) -> Self {
        Self::start_with(cores, STALLED_MAX).await
    }

    /// The same, and attempts to sign in are bounded though clients come from this machine.
    pub(super) async fn start_bound(cores: &[&str]) -> Self {
        Self::start_as(cores, STALLED_MAX, true).await
    }

    /// The same, and clients that take nothing are cut after `stalled_max`.
    pub(super) async fn start_with(cores: &[&str], stalled_max: Duration) -> Self {
        Self::start_as(cores, stalled_max, false).await
    }

    async fn start_as(cores: &[&str], stalled_max: Duration, bound_loopback: bool) -> Self {
        let authority = Authority::ephemeral().unwrap();
        let made = authority.issue_server(&["edge.example.com"]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().clone()).unwrap();
        let store = Arc::new(CertificateStore::from_der(made.chain, made.key).unwrap());
        let mut tls = server_config(store).as_ref().clone();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = StdTcpListener::bind("127.0.0.1:0").unwrap();
        let https = listener.local_addr().unwrap();
        let counts = Arc::<Counts>::default();
        let (teller, _facts) = Teller::counting(Arc::clone(&counts));
        let config = FrontConfig {
            listeners: vec![listener],
            tls: Arc::new(tls),
            handshakes_per_address_max: 1_000,
            stalled_max,
            bound_loopback,
            chat: None,
        };
        let edge = HttpHandle::start(Part::Front(Box::new(config)), teller).unwrap();
        let identity = authority.issue(&node("edge1"), Role::Edge).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = tcp.local_addr().unwrap();
        let listener = listen(Host(edge.clone()), tcp, Door::Paired(Trust::fixed(identity))).unwrap();
        let key = Ed25519KeyPair::generate().unwrap();
        let mut rig = Self { edge, counts, cores: Vec::new(), https, link, authority, roots, key, _listener: listener };
        for core in cores {
            rig.add_core(core).await;
        }
        rig
    }

    /// As [`Self::add_core`], and what goes to it is counted.
    pub(super) async fn add_core_behind_a_wire(&mut self, name: &str) -> Rc<Wire> {
        let (wire, address) = Wire::start(self.link).await;
        let link = std::mem::replace(&mut self.link, address);
        self.add_core(name).await;
        self.link = link;
        wire
    }

    /// One more core; waits until requests reach it.
    pub(super) async fn add_core(&mut self, name: &str) {
        let before = self.counted("https_bulk_opened");
        let identity = self.authority.issue(&node(name), Role::Core).unwrap();
        let seen = Shared::default();
        let shared = Arc::clone(&seen);
        let make = Box::new(move |teller: Teller| Ok(Rc::new(Fake { seen: shared, teller }) as Rc<dyn Inside>));
        let (teller, facts) = Teller::new();
        let http = HttpHandle::start(Part::Inside(make), teller).unwrap();
        let config = bulk_client_config(&identity, &node("edge1")).unwrap();
        http.dial(node("edge1"), self.link.to_string(), config);
        self.cores.push(Core { http, seen, facts, certificate: identity.certificate().clone() });
        self.until("a core is there", |rig| rig.counted("https_bulk_opened") > before).await;
        let keys = vec![self.token_key()];
        self.edge.told(SignInFact::PeerKeys { peer: node(name), keys });
    }

    pub(super) fn token_key(&self) -> TokenKey {
        TokenKey { id: *b"testkey1", public: self.key.public_key().as_ref().try_into().unwrap() }
    }

    /// A good token of `user`, for `seconds` from now on.
    pub(super) fn token(&self, user: &str, seconds: i64) -> String {
        let subject = Subject { deployment: Deployment::default_one(), user: UserName::new(user).unwrap() };
        let now = unix_ms();
        let expires_ms = now.checked_add_signed(seconds * 1_000).unwrap();
        let claims = Claims { subject, issued_ms: now - 1_000, expires_ms, serial: 1 };
        claims.sign(b"testkey1", |signed| self.key.sign(signed).as_ref().try_into().unwrap())
    }

    pub(super) fn counted(&self, what: &str) -> u64 {
        self.counts.read().into_iter().find(|(name, _)| *name == what).map_or(0, |(_, count)| count)
    }

    pub(super) async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let wait = async {
            while !done(self) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = timeout(Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "waited in vain until {what}; {:?}", self.counts.read());
    }

    /// Requests all cores have seen.
    pub(super) fn seen(&self) -> usize {
        self.cores.iter().map(|core| core.seen.lock().unwrap().requests.len()).sum()
    }

    pub(super) fn last(&self) -> Asked {
        let mut all = self.cores.iter().filter_map(|core| core.seen.lock().unwrap().requests.last().cloned());
        all.next_back().expect("a core has seen a request")
    }

    /// A client's connection, by ALPN.
    pub(super) async fn connect(&self, alpn: &[u8]) -> TlsStream<TcpStream> {
        self.connect_from(1, alpn).await
    }

    /// The same, from `127.0.0.host`.
    pub(super) async fn connect_from(&self, host: u8, alpn: &[u8]) -> TlsStream<TcpStream> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
        // Small, so that what is not read is soon not sent.
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        let tcp = socket.connect(self.https).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let name = ServerName::try_from("edge.example.com").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
    }

    pub(super) async fn http1(&self) -> Plain {
        Plain { stream: self.connect(b"http/1.1").await, arrived: Vec::new() }
    }

    /// One request on a connection of its own; the whole answer.
    pub(super) async fn get(&self, path: &str, fields: &str) -> Answer {
        let mut client = self.http1().await;
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: edge.example.com\r\n{fields}\r\n")).await;
        client.answer().await.expect("an answer")
    }
}

/// A client that writes HTTP/1.1 as it likes.
pub(super) struct Plain {
    pub(super) stream: TlsStream<TcpStream>,
    arrived: Vec<u8>,
}

/// An answer over HTTP/1.1.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) line: String,
    pub(super) status: u16,
    /// Fields, in lower case but for their values.
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Plain {
    pub(super) async fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes()).await;
    }

    pub(super) async fn send_bytes(&mut self, bytes: &[u8]) {
        // Whoever is cut off reads why, or nothing.
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// The next answer; `None` if the connection ends first.
    pub(super) async fn answer(&mut self) -> Option<Answer> {
        let head = loop {
            if let Some(end) = self.arrived.windows(4).position(|four| four == b"\r\n\r\n") {
                break self.arrived.drain(..end + 4).collect::<Vec<_>>();
            }
            self.more().await?;
        };
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let status = line[9..12].parse().unwrap();
        let fields: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Answer { line, status, fields, body: Vec::new() };
        if answer.field("transfer-encoding") == Some("chunked") {
            loop {
                let length = loop {
                    if let Some(end) = self.arrived.windows(2).position(|two| two == b"\r\n") {
                        let line: Vec<_> = self.arrived.drain(..end + 2).collect();
                        break usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
                    }
                    self.more().await?;
                };
                self.at_least(length + 2).await?;
                answer.body.extend(self.arrived.drain(..length));
                self.arrived.drain(..2);
                if length == 0 {
                    break;
                }
            }
        } else if let Some(length) = answer.field("content-length").and_then(|length| length.parse().ok()) {
            self.at_least(length).await?;
            answer.body = self.arrived.drain(..length).collect();
        }
        Some(answer)
    }

    async fn at_least(&mut self, length: usize) -> Option<()> {
        while self.arrived.len() < length {
            self.more().await?;
        }
        Some(())
    }

    async fn more(&mut self) -> Option<()> {
        let mut piece = vec![0; 64 * 1024];
        let read = timeout(Duration::from_secs(30), self.stream.read(&mut piece)).await;
        let count = read.expect("the edge says nothing").ok()?;
        self.arrived.extend_from_slice(&piece[..count]);
        (count > 0).then_some(())
    }
}
