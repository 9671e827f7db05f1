//! The HTTPS side of an edge: takes requests of clients, looks whether they may pass, and carries them to a core.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | accepts, shakes hands, serves HTTP/1.1 or HTTP/2 by ALPN |
//! | `strict.rs` | HTTP/1.1 byte by byte, before it is parsed |
//! | `vitals.rs` | deadlines of connections, looked at once a second |
//! | `tokens.rs` | session tokens: which are good |
//! | `request.rs` | one request: where it goes, whether it may, what of it is carried |
//! | `upload.rs` | a body on its way inwards |
//! | `cancels.rs` | clients that ask and do not wait |
//! | `answer.rs` | what the edge answers by itself, and bodies on their way out |
//!
//! Nothing is believed: a request that has no good session token and no credentials is answered here, and nothing
//! of it goes inside.

mod answer;
mod cancels;
mod request;
mod strict;
mod tokens;
mod upload;
mod vitals;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use edgeway_http_proxy::limits::HEADER_FIELDS_MAX;
use edgeway_model::NodeId;
use edgeway_model::limits::TLS_HANDSHAKE_MAX;
use edgeway_model::sign_in::SignInFact;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::answer::FrontBody;
use self::cancels::Cancels;
use self::strict::Strict;
use self::tokens::{Remembered, Tokens};
use self::vitals::{Guarded, Vitals};
use super::bulk::Cores;
use super::bulk::gathered::Gathered;
use super::handle::FrontConfig;
use super::limits::{
    CLIENT_CALMNESS, CONNECTION_BUFFER_BYTES, CONNECTION_WINDOW_BYTES, CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX,
    DRAIN_MAX, HANDSHAKES_MAX, HEAD_BYTES_MAX, OPEN_ADDRESSES_MAX, OPEN_BURST_MAX, OPEN_PER_SECOND_MAX,
    STREAM_WINDOW_BYTES, STREAMS_MAX, SWEEP_EVERY, UNSENT_BYTES_MAX,
};
use super::{HttpFact, Teller};
use crate::attempts::Attempts;
use crate::flow;
use crate::handshake::{HandshakeCounters, pause};
use crate::link::calm::Calm;
use crate::strangers::{Admitted, Strangers, key_of};
use crate::trace::tls_failed;

/// The front of one edge.
pub(super) struct Front {
    cores: Rc<Cores>,
    teller: Teller,
    tokens: Tokens,
    acceptor: TlsAcceptor,
    handshakes: Arc<Strangers>,
    connections: Arc<Strangers>,
    alive: RefCell<HashMap<u64, Rc<Vitals>>>,
    next: Cell<u64>,
    /// Requests without credentials, by address.
    open: RefCell<HashMap<IpAddr, (Instant, u32)>>,
    /// Requests with credentials, by address.
    attempts: RefCell<Attempts>,
    bound_loopback: bool,
    /// Requests that were given up, by address.
    cancels: Cancels,
    stopping: Cell<bool>,
    /// Maintenance mode: requests are refused.
    maintained: Cell<bool>,
    stop: Notify,
    accepting: HandshakeCounters,
    stalled_max: Duration,
    /// Numbers requests; begins somewhere else with each start.
    request: Cell<u64>,
}

/// One client's connection, as its requests see it.
struct Client {
    front: Rc<Front>,
    vitals: Rc<Vitals>,
    address: IpAddr,
    /// Its address and port, as a core is told.
    named: HeaderValue,
    /// Tokens that were found good on it.
    remembered: RefCell<Remembered>,
}

impl Front {
    /// Starts to listen.
    pub(super) fn start(config: FrontConfig, cores: Rc<Cores>, teller: Teller) -> io::Result<Rc<Self>> {
        let mut first = [0; 8];
        aws_lc_rs::rand::fill(&mut first).map_err(|_| io::Error::other("no random numbers"))?;
        let front = Rc::new(Self {
            cores,
            teller,
            tokens: Tokens::default(),
            acceptor: TlsAcceptor::from(config.tls),
            handshakes: Strangers::new(config.handshakes_per_address_max),
            connections: Strangers::new(CONNECTIONS_PER_ADDRESS_MAX),
            alive: RefCell::default(),
            next: Cell::new(0),
            open: RefCell::default(),
            attempts: RefCell::default(),
            bound_loopback: config.bound_loopback,
            cancels: Cancels::default(),
            stopping: Cell::new(false),
            maintained: Cell::new(false),
            stop: Notify::new(),
            accepting: HandshakeCounters::default(),
            stalled_max: config.stalled_max,
            request: Cell::new(u64::from_ne_bytes(first)),
        });
        let permits = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        for listener in config.listeners {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            spawn_local(Rc::clone(&front).accept(listener, Arc::clone(&permits)));
        }
        spawn_local(Rc::clone(&front).sweep());
        Ok(front)
    }

    /// What the node says.
    pub(super) fn told(&self, fact: SignInFact) {
        self.tokens.told(fact);
    }

    /// Nothing that this core has told counts any more.
    pub(super) fn forget(&self, core: &NodeId) {
        self.tokens.forget(core);
    }

    /// Takes nothing new, and gives what is under way a moment.
    pub(super) async fn drain(&self) {
        self.stopping.set(true);
        self.stop.notify_waiters();
        for vitals in self.alive.borrow().values() {
            vitals.leave();
        }
        let gone = async {
            while !self.alive.borrow().is_empty() {
                tokio::time::sleep(crate::limits::STOP_POLL).await;
            }
        };
        let _ = timeout(DRAIN_MAX, gone).await;
    }

    /// So many handshakes of one address from now on.
    pub(super) fn set_bounds(&self, strangers_per_address: usize) {
        self.handshakes.set_max(strangers_per_address);
    }

    /// Maintenance mode: takes no requests, or takes them again. What is under way goes on.
    pub(super) fn maintain(&self, on: bool) {
        self.maintained.set(on);
    }

    /// Past the deadline of maintenance mode: ends every connection.
    pub(super) fn end_all(&self) {
        for vitals in self.alive.borrow().values() {
            vitals.cut();
        }
    }

    fn count(&self, what: &'static str) {
        self.teller.tell(HttpFact::Counted(what));
    }

    async fn accept(self: Rc<Self>, listener: TcpListener, permits: Arc<Semaphore>) {
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.notified() => return,
            };
            let (tcp, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause(&self.accepting, &error).await;
                    continue;
                }
            };
            if self.alive.borrow().len() >= CONNECTIONS_MAX {
                self.count("https_refused_full");
                continue;
            }
            let places = (self.handshakes.admit(peer.ip()), self.connections.admit(peer.ip()));
            let (Some(handshake), Some(connection)) = places else {
                self.count("https_refused_address");
                continue;
            };
            let front = Rc::clone(&self);
            spawn_local(async move {
                flow::tune(&tcp);
                // What is not sent yet waits here, where it is counted, and not in the system's buffer, which takes
                // megabytes of it at once and then nothing for as long as a slow client needs for them.
                let _ = SockRef::from(&tcp).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
                let shaken = timeout(TLS_HANDSHAKE_MAX, front.shake(tcp)).await;
                drop((permit, handshake));
                match shaken {
                    Ok(Ok(stream)) => front.serve(stream, peer, connection).await,
                    Ok(Err(error)) => {
                        front.count("https_handshake_failed");
                        front.teller.attempted(tls_failed(peer.ip(), error.to_string()));
                        tracing::debug!(%error, %peer, "a TLS handshake failed");
                    }
                    Err(_) => front.count("https_handshake_timed_out"),
                }
            });
        }
    }

    async fn shake(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        // One that only connects costs nothing but its socket.
        tcp.readable().await?;
        self.acceptor.accept(tcp).await
    }

    /// Serves one connection until it ends.
    async fn serve(self: Rc<Self>, stream: TlsStream<TcpStream>, peer: SocketAddr, _place: Admitted) {
        self.count("https_connection");
        let number = self.next.get();
        self.next.set(number + 1);
        let vitals = Rc::new(Vitals::new(Instant::now(), self.stalled_max));
        self.alive.borrow_mut().insert(number, Rc::clone(&vitals));
        let named = HeaderValue::try_from(peer.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        let client = Rc::new(Client {
            front: Rc::clone(&self),
            vitals: Rc::clone(&vitals),
            address: peer.ip().to_canonical(),
            named,
            remembered: RefCell::default(),
        });
        let why = if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            serve_http2(stream, client).await
        } else {
            serve_http1(stream, client).await
        };
        if let Err(why) = why {
            tracing::debug!(%peer, "a connection ended: {why}");
        }
        self.alive.borrow_mut().remove(&number);
    }

    /// Looks at the deadlines of all connections.
    async fn sweep(self: Rc<Self>) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            let now = Instant::now();
            for vitals in self.alive.borrow().values() {
                if let Some(why) = vitals.overdue(now) {
                    self.count(why);
                    vitals.cut();
                }
            }
            self.attempts.borrow_mut().sweep(now);
            self.cancels.sweep(now);
            let full = u64::from(OPEN_BURST_MAX / OPEN_PER_SECOND_MAX);
            self.open.borrow_mut().retain(|_, (since, _)| now.duration_since(*since).as_secs() < full);
        }
    }

    /// Whether what comes from there is bounded by address.
    fn bounds(&self, address: IpAddr) -> bool {
        self.bound_loopback || !address.is_loopback()
    }

    /// Whether one more request without credentials may pass.
    fn admit_open(&self, address: IpAddr, now: Instant) -> bool {
        let address = key_of(address);
        let mut open = self.open.borrow_mut();
        if open.len() >= OPEN_ADDRESSES_MAX && !open.contains_key(&address) {
            return false;
        }
        let (since, used) = open.entry(address).or_insert((now, 0));
        let seconds = u32::try_from(now.duration_since(*since).as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            *used = used.saturating_sub(seconds.saturating_mul(OPEN_PER_SECOND_MAX));
            *since = now;
        }
        *used += 1;
        *used <= OPEN_BURST_MAX
    }
}

async fn serve_http1(stream: TlsStream<TcpStream>, client: Rc<Client>) -> Result<(), String> {
    let vitals = Rc::clone(&client.vitals);
    let stream = Guarded::new(stream, Rc::clone(&vitals));
    let io = TokioIo::new(Strict::new(stream.again(), Rc::clone(&vitals)));
    let connection = http1::Builder::new()
        .max_headers(HEADER_FIELDS_MAX)
        .max_buf_size(CONNECTION_BUFFER_BYTES)
        .title_case_headers(true)
        .serve_connection(io, service_fn(|request| answered(Rc::clone(&client), request)));
    let mut connection = pin!(connection);
    let mut leaving = false;
    let outcome = poll_fn(|context| {
        if vitals.poll_cut(context) {
            return Poll::Ready(Err("cut".to_owned()));
        }
        if vitals.is_leaving() && !std::mem::replace(&mut leaving, true) {
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(context).map_err(|error| error.to_string())
    });
    let outcome = outcome.await;
    if vitals.lingers() {
        stream.linger().await;
    }
    outcome
}

async fn serve_http2(stream: TlsStream<TcpStream>, client: Rc<Client>) -> Result<(), String> {
    let vitals = Rc::clone(&client.vitals);
    let (gathered, outlet) = Gathered::new(stream, CONNECTION_BUFFER_BYTES);
    let io = Guarded::new(Calm::client_with(gathered, CLIENT_CALMNESS), Rc::clone(&vitals));
    let connection = http2::Builder::new(Local)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(CONNECTION_BUFFER_BYTES)
        .serve_connection(TokioIo::new(io), service_fn(|request| answered(Rc::clone(&client), request)));
    let mut connection = pin!(connection);
    let mut leaving = false;
    poll_fn(|context| {
        if vitals.poll_cut(context) {
            return Poll::Ready(Err("cut".to_owned()));
        }
        if vitals.is_leaving() && !std::mem::replace(&mut leaving, true) {
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(context) {
            return Poll::Ready(ended.map_err(|error| error.to_string()));
        }
        let left = outlet.poll_leave(context);
        vitals.flushed(&left);
        match left {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.to_string())),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn answered(client: Rc<Client>, request: Request<Incoming>) -> Result<Response<FrontBody>, Infallible> {
    Ok(client.answer(request).await)
}

/// Streams of HTTP/2 are tasks of this thread.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}
