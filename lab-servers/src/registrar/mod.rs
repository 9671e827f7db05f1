//! A simulated registrar and proxy: the stand-in for Kamailio or a call manager in the lab.
//!
//! It authenticates REGISTER with digest, keeps contacts with their Path, routes requests to them,
//! forks to several contacts (the first answer wins), relays what belongs to a dialog by Route and
//! Request-URI, and answers OPTIONS. It stays out of dialogs (no Record-Route) unless told
//! otherwise. TCP and UDP on the same port. It forwards nothing that is neither for a registered
//! user nor part of a dialog. RFC 3261 §10, §16, §17; RFC 3327; RFC 3581; RFC 5626 §6.
//!
//! One task owns all of it; [`Registrar`] is a handle, and dropping it ends the task.

mod line;
mod location;
mod proxy;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::Random;
use edgeway_model::limits::SIP_MESSAGE_BYTES_MAX;
use edgeway_sip::{Framer, Message};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::limits::{
    ANSWER_MAX, CONNECT_MAX, CONNECTIONS_MAX, DATAGRAM_BYTES_MAX, EVENTS_QUEUE_MAX, PORT_TRIES_MAX,
    STATION_EXPIRES_SECS, WRITES_QUEUE_MAX,
};
use crate::observe::Observer;
use crate::transport::{Arrival, Stream};
use crate::wire;
pub use line::{LineFault, LineSide, Stations};
use location::Location;
use proxy::{Hop, Transaction};

/// How often transactions are looked at for timers.
const TICK: Duration = Duration::from_millis(50);

/// Everything a registrar is told before it starts.
#[derive(Clone, Debug)]
pub struct RegistrarConfig {
    /// Its name in the ladder.
    pub name: String,
    /// The domain it serves; also its digest realm.
    pub domain: String,
    /// Users and passwords.
    pub users: Vec<(String, String)>,
    /// Where it listens, TCP and UDP; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether an INVITE of one of its users must be authenticated too.
    pub challenge_invite: bool,
    /// Whether it stays in the dialogs it sets up.
    pub record_route: bool,
    /// It is the line side of a call manager, which challenges nobody.
    pub line_side: Option<LineSide>,
    /// Told of every message.
    pub observer: Observer,
}

impl RegistrarConfig {
    /// A registrar on a free port of loopback.
    #[must_use]
    pub fn new(domain: &str, users: &[(&str, &str)]) -> Self {
        let owned = |&(user, password): &(&str, &str)| (user.to_owned(), password.to_owned());
        Self {
            name: "registrar".to_owned(),
            domain: domain.to_owned(),
            users: users.iter().map(owned).collect(),
            listen: ([127, 0, 0, 1], 0).into(),
            challenge_invite: false,
            record_route: false,
            line_side: None,
            observer: Observer::none(),
        }
    }
}

/// One contact, as the registrar knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingView {
    /// The contact URI.
    pub contact: String,
    /// Its Path values.
    pub path: Vec<String>,
    /// How long it is valid.
    pub expires_in: Duration,
}

/// A running registrar.
pub struct Registrar {
    address: SocketAddr,
    queries: mpsc::Sender<Query>,
    tasks: Vec<AbortHandle>,
}

struct Query {
    user: String,
    reply: oneshot::Sender<Vec<BindingView>>,
}

impl Registrar {
    /// Binds both sockets and starts.
    pub async fn start(config: RegistrarConfig) -> io::Result<Self> {
        let (listener, socket) = bind(config.listen).await?;
        let secure = match config.line_side.as_ref().and_then(|side| side.tls.as_ref()) {
            Some((address, tls)) => Some((TcpListener::bind(address).await?, TlsAcceptor::from(tls.clone()))),
            None => None,
        };
        let address = listener.local_addr()?;
        let socket = Arc::new(socket);
        let (events_in, events) = mpsc::channel(EVENTS_QUEUE_MAX);
        let (queries, asked) = mpsc::channel(EVENTS_QUEUE_MAX);
        let accepting = tokio::spawn(accept(listener, events_in.clone()));
        let reading = tokio::spawn(read_datagrams(socket.clone(), events_in.clone()));
        let actor = Actor {
            location: Location::new(&config.domain, &config.users)
                .granting(config.line_side.is_some().then_some(STATION_EXPIRES_SECS)),
            lines: BTreeSet::new(),
            config,
            address,
            random: wire::random(),
            socket,
            events_in: events_in.clone(),
            links: BTreeMap::new(),
            next_link: 0,
            transactions: BTreeMap::new(),
            next_transaction: 0,
        };
        let running = tokio::spawn(actor.run(events, asked));
        let mut tasks = vec![accepting.abort_handle(), reading.abort_handle(), running.abort_handle()];
        if let Some((listener, acceptor)) = secure {
            tasks.push(tokio::spawn(accept_tls(listener, acceptor, events_in)).abort_handle());
        }
        Ok(Self { address, queries, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The contacts of one user now; none if the registrar is gone.
    pub async fn bindings(&self, user: &str) -> Vec<BindingView> {
        let (reply, answer) = oneshot::channel();
        if self.queries.send(Query { user: user.to_owned(), reply }).await.is_err() {
            return Vec::new();
        }
        timeout(ANSWER_MAX, answer).await.ok().and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// The same port for TCP and UDP, or nothing.
async fn bind(listen: SocketAddr) -> io::Result<(TcpListener, UdpSocket)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    let tries = if listen.port() == 0 { PORT_TRIES_MAX } else { 1 };
    for _ in 0..tries {
        let listener = TcpListener::bind(listen).await?;
        match UdpSocket::bind(listener.local_addr()?).await {
            Ok(socket) => return Ok((listener, socket)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

enum Event {
    Accepted(TcpStream, SocketAddr),
    Secured(Box<TlsStream<TcpStream>>, SocketAddr),
    Dialled(u64, io::Result<TcpStream>),
    Stream(u64, Arrival),
    Datagram(SocketAddr, Message),
}

/// A stream connection.
struct Link {
    peer: SocketAddr,
    state: LinkState,
}

enum LinkState {
    /// Not connected yet; what is to be written then.
    Dialling(Vec<Bytes>),
    Up(Stream),
}

struct Actor {
    config: RegistrarConfig,
    address: SocketAddr,
    random: Random,
    socket: Arc<UdpSocket>,
    events_in: mpsc::Sender<Event>,
    links: BTreeMap<u64, Link>,
    next_link: u64,
    location: Location,
    /// Directory numbers of the line side that have been registered so far.
    lines: BTreeSet<String>,
    transactions: BTreeMap<u64, Transaction>,
    next_transaction: u64,
}

impl Actor {
    async fn run(mut self, mut events: mpsc::Receiver<Event>, mut asked: mpsc::Receiver<Query>) {
        let mut ticks = interval(TICK);
        loop {
            tokio::select! {
                Some(event) = events.recv() => self.event(event),
                Some(query) = asked.recv() => {
                    let _ = query.reply.send(self.location.view(&query.user, Instant::now()));
                }
                _ = ticks.tick() => self.tick(Instant::now()),
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Accepted(stream, peer) => {
                if self.links.len() < CONNECTIONS_MAX {
                    let id = self.next_link();
                    let stream = self.stream(id, stream, Framer::new(SIP_MESSAGE_BYTES_MAX));
                    self.links.insert(id, Link { peer, state: LinkState::Up(stream) });
                }
            }
            Event::Secured(stream, peer) => {
                if self.links.len() < CONNECTIONS_MAX {
                    let id = self.next_link();
                    let framer = Framer::new(SIP_MESSAGE_BYTES_MAX);
                    let events = self.events_in.clone();
                    let stream =
                        Stream::start(*stream, None, framer, events, move |arrival| Event::Stream(id, arrival));
                    self.links.insert(id, Link { peer, state: LinkState::Up(stream) });
                }
            }
            Event::Dialled(id, Ok(stream)) => {
                let stream = self.stream(id, stream, Framer::dialled(SIP_MESSAGE_BYTES_MAX));
                if let Some(link) = self.links.get_mut(&id) {
                    if let LinkState::Dialling(waiting) = &mut link.state {
                        waiting.drain(..).for_each(|bytes| _ = stream.send(bytes));
                    }
                    link.state = LinkState::Up(stream);
                }
            }
            Event::Dialled(id, Err(_)) | Event::Stream(id, Arrival::Closed(_)) => self.closed(id),
            Event::Stream(id, Arrival::Ping) => self.write(id, Bytes::from_static(b"\r\n")),
            Event::Stream(_, Arrival::Pong) => {}
            Event::Stream(id, Arrival::Stun(request)) => self.stun(id, &request),
            Event::Stream(id, Arrival::Message(message)) => self.message(Hop::Stream(id), &message),
            Event::Datagram(peer, message) => self.message(Hop::Datagram(peer), &message),
        }
    }

    fn message(&mut self, hop: Hop, message: &Message) {
        if let Some(peer) = self.peer(hop) {
            self.config.observer.tell(&self.config.name, false, peer, message);
        }
        if message.is_request() { self.request(hop, message) } else { self.response(message) }
    }

    // ── connections ──────────────────────────────────────────────────────────────────────────

    fn next_link(&mut self) -> u64 {
        self.next_link += 1;
        self.next_link
    }

    fn stream(&self, id: u64, stream: TcpStream, framer: Framer) -> Stream {
        Stream::start(stream, None, framer, self.events_in.clone(), move |arrival| Event::Stream(id, arrival))
    }

    fn peer(&self, hop: Hop) -> Option<SocketAddr> {
        match hop {
            Hop::Stream(id) => self.links.get(&id).map(|link| link.peer),
            Hop::Datagram(peer) => Some(peer),
        }
    }

    /// The connection to an address: one that stands, or a new one.
    fn link_to(&mut self, peer: SocketAddr) -> Option<Hop> {
        if let Some((id, _)) = self.links.iter().find(|(_, link)| link.peer == peer) {
            return Some(Hop::Stream(*id));
        }
        if self.links.len() >= CONNECTIONS_MAX {
            return None;
        }
        let (id, events) = (self.next_link(), self.events_in.clone());
        self.links.insert(id, Link { peer, state: LinkState::Dialling(Vec::new()) });
        tokio::spawn(async move {
            let late = || io::Error::from(io::ErrorKind::TimedOut);
            let dialled = timeout(CONNECT_MAX, TcpStream::connect(peer)).await.unwrap_or_else(|_| Err(late()));
            let _ = events.send(Event::Dialled(id, dialled)).await;
        });
        Some(Hop::Stream(id))
    }

    fn send(&mut self, hop: Hop, bytes: Bytes) {
        if let (Some(peer), Ok(message)) = (self.peer(hop), Message::parse(bytes.clone())) {
            self.config.observer.tell(&self.config.name, true, peer, &message);
        }
        match hop {
            Hop::Stream(id) => self.write(id, bytes),
            // A datagram the system refuses is lost like any other.
            Hop::Datagram(peer) => _ = self.socket.try_send_to(&bytes, peer),
        }
    }

    fn write(&mut self, id: u64, bytes: Bytes) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let written = match &mut link.state {
            LinkState::Dialling(waiting) if waiting.len() < WRITES_QUEUE_MAX => {
                waiting.push(bytes);
                true
            }
            LinkState::Dialling(_) => false,
            LinkState::Up(stream) => stream.send(bytes),
        };
        if !written {
            self.closed(id);
        }
    }

    fn closed(&mut self, id: u64) {
        if self.links.remove(&id).is_some() {
            self.location.flow_closed(Hop::Stream(id));
            self.hop_lost(Hop::Stream(id));
        }
    }
}

async fn accept(listener: TcpListener, events: mpsc::Sender<Event>) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of descriptors, most likely: give the others a moment to close.
            tokio::time::sleep(TICK).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        if events.send(Event::Accepted(stream, peer)).await.is_err() {
            return;
        }
    }
}

async fn accept_tls(listener: TcpListener, acceptor: TlsAcceptor, events: mpsc::Sender<Event>) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(TICK).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (acceptor, events) = (acceptor.clone(), events.clone());
        tokio::spawn(async move {
            if let Ok(Ok(stream)) = timeout(CONNECT_MAX, acceptor.accept(stream)).await {
                let _ = events.send(Event::Secured(Box::new(stream), peer)).await;
            }
        });
    }
}

async fn read_datagrams(socket: Arc<UdpSocket>, events: mpsc::Sender<Event>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let Ok(message) = Message::parse(Bytes::copy_from_slice(&buffer[..length])) else { continue };
        if events.send(Event::Datagram(peer, message)).await.is_err() {
            return;
        }
    }
}
