//! A front, clients, and the core's end of their streams.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use edgeway_model::NodeId;
use edgeway_model::chat::{ChatEnd, ChatOffence, ChatOpening};
use edgeway_model::notice::Notice;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::{ChatBounds, ChatConfig, ChatFront};
use crate::chat::{ChatStream, Item};
use crate::http::{Counts, HttpFact, Teller};
use crate::pki::Authority;
use crate::pki::tls::provider;
use crate::tls::{CertificateStore, server_config};

/// What waits in a stream in each direction.
pub(super) const WINDOW: usize = 32 * 1024;
/// Longer than anything takes, on a busy machine.
pub(super) const LONG: Duration = Duration::from_secs(20);
/// A client's header.
pub(super) const HEADER: &str = "<?xml version='1.0'?><stream:stream to='example.com' xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
/// A client's wish for TLS.
pub(super) const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
/// A sign-in.
pub(super) const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>";
/// A server's header with features.
pub(super) const SERVER: &str = "<stream:stream id='s1' from='example.com' xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams' version='1.0'><stream:features/>";
/// A server's answer to a sign-in.
pub(super) const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
/// Another.
pub(super) const FAILURE: &str = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><x/></failure>";
/// The end of a stream.
pub(super) const CLOSE: &str = "</stream:stream>";

pub(super) fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, future)
}

/// The certificates of two edges, by the name that is asked for.
#[derive(Debug)]
struct ByName([(&'static str, Arc<CertificateStore>); 2]);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let [(_, first), _] = &self.0;
        let named = self.0.iter().find(|(name, _)| hello.server_name() == Some(name)).map(|(_, store)| store);
        named.unwrap_or(first).resolve(hello)
    }
}

/// How a front of a test is set up.
pub(super) struct Setup {
    pub(super) bounds: ChatBounds,
    pub(super) strangers_per_address_max: usize,
    pub(super) bound_loopback: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { bounds: ChatBounds::default(), strangers_per_address_max: 100_000, bound_loopback: false }
    }
}

/// The core's end of one stream.
pub(super) struct CoreEnd {
    pub(super) key: String,
    pub(super) opening: ChatOpening,
    pub(super) stream: ChatStream,
}

/// The cores, as far as the front knows them.
#[derive(Default)]
struct Cores {
    opened: RefCell<VecDeque<CoreEnd>>,
    absent: Cell<bool>,
}

/// A front that clients can reach.
pub(super) struct Rig {
    pub(super) front: Rc<ChatFront>,
    pub(super) counts: Arc<Counts>,
    facts: RefCell<UnboundedReceiver<HttpFact>>,
    seen: RefCell<Vec<HttpFact>>,
    starttls: SocketAddr,
    direct: SocketAddr,
    roots: RootCertStore,
    cores: Rc<Cores>,
}

impl Rig {
    pub(super) fn start() -> Self {
        Self::start_with(Setup::default())
    }

    pub(super) fn start_with(setup: Setup) -> Self {
        let authority = Authority::ephemeral().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().clone()).unwrap();
        let store = |name: &str| {
            let made = authority.issue_server(&[name]).unwrap();
            Arc::new(CertificateStore::from_der(made.chain, made.key).unwrap())
        };
        let names = ["edge.example.com", "chat.example.org"].map(|name| (name, store(name)));
        let [(_, first), _] = &names;
        let mut tls = server_config(Arc::clone(first)).as_ref().clone();
        tls.cert_resolver = Arc::new(ByName(names));
        let listeners = [(); 2].map(|()| StdTcpListener::bind("127.0.0.1:0").unwrap());
        let [starttls, direct] = [0, 1].map(|n: usize| listeners[n].local_addr().unwrap());
        let [listener, direct_listener] = listeners;
        let counts = Arc::<Counts>::default();
        let (teller, facts) = Teller::counting(Arc::clone(&counts));
        let config = ChatConfig {
            listeners: vec![listener],
            direct_listeners: vec![direct_listener],
            tls: Arc::new(tls),
            strangers_per_address_max: setup.strangers_per_address_max,
            bound_loopback: setup.bound_loopback,
            bounds: setup.bounds,
        };
        let cores = Rc::<Cores>::default();
        let asked = Rc::clone(&cores);
        let choose = move |key: &str, opening: &ChatOpening| {
            if asked.absent.get() {
                return None;
            }
            let (edge, stream) = ChatStream::pair(WINDOW);
            asked.opened.borrow_mut().push_back(CoreEnd { key: key.to_owned(), opening: opening.clone(), stream });
            Some((NodeId::new("core1").unwrap(), edge))
        };
        let front = ChatFront::start(config, Box::new(choose), teller).unwrap();
        let (facts, seen) = (RefCell::new(facts), RefCell::default());
        Self { front, counts, facts, seen, starttls, direct, roots, cores }
    }

    /// No core can be reached from now on.
    pub(super) fn lose_cores(&self) {
        self.cores.absent.set(true);
    }

    pub(super) fn counted(&self, what: &str) -> u64 {
        self.counts.read().into_iter().find(|(name, _)| *name == what).map_or(0, |(_, count)| count)
    }

    /// Everything that was told so far, but for counters.
    pub(super) fn told(&self) -> Vec<HttpFact> {
        while let Ok(fact) = self.facts.borrow_mut().try_recv() {
            self.seen.borrow_mut().push(fact);
        }
        self.seen.borrow().clone()
    }

    /// Offences that were told so far.
    pub(super) fn offences(&self) -> Vec<ChatOffence> {
        let notice = |fact| {
            let HttpFact::Notice(Notice::ChatOffence { offence, .. }) = fact else { return None };
            Some(offence)
        };
        self.told().into_iter().filter_map(notice).collect()
    }

    pub(super) async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let wait = async {
            while !done(self) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = timeout(LONG, wait).await;
        assert!(waited.is_ok(), "waited in vain until {what}; {:?}", self.counts.read());
    }

    /// The core's end of the next stream.
    pub(super) async fn core(&self) -> CoreEnd {
        self.until("a core has a stream", |rig| !rig.cores.opened.borrow().is_empty()).await;
        self.cores.opened.borrow_mut().pop_front().unwrap()
    }

    /// Whether a core has a stream that nobody has taken.
    pub(super) fn has_reached_a_core(&self) -> bool {
        !self.cores.opened.borrow().is_empty()
    }

    /// A connection to the port of STARTTLS.
    pub(super) async fn connect(&self) -> Client {
        Client::new(Pipe::Plain(self.tcp(self.starttls, 1).await))
    }

    /// The same, from `127.0.0.host`.
    pub(super) async fn connect_from(&self, host: u8) -> Client {
        Client::new(Pipe::Plain(self.tcp(self.starttls, host).await))
    }

    async fn tcp(&self, to: SocketAddr, host: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
        // Small, so that what is not read is soon not sent.
        socket.set_recv_buffer_size(32 * 1024).unwrap();
        let tcp = socket.connect(to).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp
    }

    /// A connection to the port of direct TLS, before TLS.
    pub(super) async fn connect_direct(&self) -> TcpStream {
        self.tcp(self.direct, 1).await
    }

    /// TLS on a connection, for `name`, with these protocols.
    pub(super) async fn secure(&self, tcp: TcpStream, name: &str, alpn: &[&[u8]]) -> std::io::Result<Client> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        Ok(Client::new(Pipe::Tls(Box::new(stream))))
    }

    /// A client behind TLS that has said nothing yet.
    pub(super) async fn behind_tls(&self) -> Client {
        self.behind_tls_from(1).await
    }

    /// The same, from `127.0.0.host`.
    pub(super) async fn behind_tls_from(&self, host: u8) -> Client {
        let mut client = self.connect_from(host).await;
        client.send(HEADER).await;
        client.until("</stream:features>").await;
        client.send(STARTTLS).await;
        client.until("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
        self.secure(client.into_tcp(), "edge.example.com", &[]).await.unwrap()
    }

    /// A client whose header has reached a core.
    pub(super) async fn at_a_core(&self) -> (Client, CoreEnd) {
        let mut client = self.behind_tls().await;
        client.send(HEADER).await;
        let core = self.core().await;
        assert_eq!(core.hears(HEADER.len()).await, HEADER);
        (client, core)
    }

    /// A client that has signed in.
    pub(super) async fn signed_in(&self) -> (Client, CoreEnd) {
        let (mut client, core) = self.at_a_core().await;
        core.says(SERVER);
        client.until(SERVER).await;
        client.send(AUTH).await;
        assert_eq!(core.hears(AUTH.len()).await, AUTH);
        core.stream.signed_in();
        core.says(SUCCESS);
        client.until(SUCCESS).await;
        client.send(HEADER).await;
        assert_eq!(core.hears(HEADER.len()).await, HEADER);
        core.says(SERVER);
        client.until(SERVER).await;
        (client, core)
    }
}

impl CoreEnd {
    /// Says something to the client.
    pub(super) fn says(&self, text: &str) {
        self.stream.send(text.as_bytes().to_vec().into());
    }

    /// The next bytes of the client, `count` of them or more.
    pub(super) async fn hears(&self, count: usize) -> String {
        let mut heard = Vec::new();
        while heard.len() < count {
            match timeout(LONG, self.stream.receive()).await.expect("the client says nothing") {
                Item::Bytes(bytes) => heard.extend_from_slice(&bytes),
                other @ (Item::SignedIn | Item::SignInRefused | Item::End(_)) => {
                    panic!("after {} of {count} bytes: {other:?}", heard.len())
                }
            }
        }
        String::from_utf8(heard).unwrap()
    }

    /// What comes until the client's end, and how it ends.
    pub(super) async fn hears_out(&self) -> (String, ChatEnd) {
        let mut heard = Vec::new();
        loop {
            match timeout(LONG, self.stream.receive()).await.expect("the client does not end") {
                Item::Bytes(bytes) => heard.extend_from_slice(&bytes),
                Item::End(how) => return (String::from_utf8(heard).unwrap(), how),
                Item::SignedIn | Item::SignInRefused => panic!("clients do not say that"),
            }
        }
    }

    /// Gives back whatever the client says, until it ends.
    pub(super) fn echoes(self) {
        spawn_local(async move {
            while let Item::Bytes(bytes) = self.stream.receive().await {
                if self.stream.room().await.is_err() {
                    return;
                }
                self.stream.send(bytes);
            }
        });
    }
}

/// A client's connection.
pub(super) enum Pipe {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, room),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, room),
        }
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A client.
pub(super) struct Client {
    pub(super) pipe: Pipe,
    arrived: Vec<u8>,
}

impl Client {
    fn new(pipe: Pipe) -> Self {
        Self { pipe, arrived: Vec::new() }
    }

    pub(super) async fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes()).await;
    }

    pub(super) async fn send_bytes(&mut self, bytes: &[u8]) {
        // Whoever is cut off reads why, or nothing.
        let _ = self.pipe.write_all(bytes).await;
        let _ = self.pipe.flush().await;
    }

    /// What comes up to and with `text`.
    pub(super) async fn until(&mut self, text: &str) -> String {
        loop {
            let found = self.arrived.windows(text.len()).position(|piece| piece == text.as_bytes());
            if let Some(at) = found {
                let head = self.arrived.drain(..at + text.len()).collect();
                return String::from_utf8(head).unwrap();
            }
            let more = self.more().await;
            assert!(more == Some(true), "{text} does not come, but: {}", String::from_utf8_lossy(&self.arrived));
        }
    }

    /// What comes until the connection ends; it must end properly.
    pub(super) async fn rest(&mut self) -> String {
        loop {
            match self.more().await {
                Some(true) => {}
                Some(false) => return String::from_utf8(std::mem::take(&mut self.arrived)).unwrap(),
                None => panic!("reset after {}", String::from_utf8_lossy(&self.arrived)),
            }
        }
    }

    /// What comes until the connection ends, however it does.
    pub(super) async fn whatever_comes(&mut self) -> String {
        while self.more().await == Some(true) {}
        String::from_utf8_lossy(&std::mem::take(&mut self.arrived)).into_owned()
    }

    /// Whether there is more; `None` if the connection broke.
    async fn more(&mut self) -> Option<bool> {
        let mut piece = vec![0; 16 * 1024];
        let read = timeout(LONG, self.pipe.read(&mut piece)).await.expect("the edge says nothing");
        let count = read.ok()?;
        self.arrived.extend_from_slice(&piece[..count]);
        Some(count > 0)
    }

    /// Without anything said: FIN, without close_notify.
    pub(super) async fn vanish(self) {
        drop(self);
    }

    pub(super) fn into_tcp(self) -> TcpStream {
        match self.pipe {
            Pipe::Plain(tcp) => tcp,
            Pipe::Tls(stream) => stream.into_inner().0,
        }
    }
}
