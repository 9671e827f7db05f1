//! The core's end: dials each edge, answers what comes, and dials again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use edgeway_model::sign_in::SignInFact;
use edgeway_model::{NodeId, Random};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Frame, SizeHint};
use rustls::ClientConfig;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsConnector, client};

use super::super::limits::{
    BULK_CALMNESS, BULK_FRAME_BYTES_MAX, BULK_HEADER_BYTES_MAX, BULK_OPEN_MAX, BULK_PENDING_RESETS_MAX,
    BULK_RESET_REMEMBERED, BULK_SEND_BUFFER_BYTES, BULK_STREAM_WINDOW_BYTES, BULK_STREAMS_MAX,
    BULK_UPLOAD_WINDOW_BYTES, DRAIN_MAX, GATHERED_BYTES_MAX, STALLED_MAX,
};
use super::super::{Body, BodyFault, HttpFact, Inside, Teller};
use super::gathered::{Gathered, Outlet};
use super::pulse::{Pulse, Pulsing};
use super::{send_all, strip_hop_by_hop};
use crate::link::back_off::BackOff;
use crate::link::calm::Calm;
use crate::link::{connect, handshake};
use crate::pki::identity::{Life, serial_of};
use crate::pki::unix_now;

/// Every edge this core dials.
pub(in super::super) struct Edges {
    inside: Rc<dyn Inside>,
    teller: Teller,
    dials: BTreeMap<NodeId, Dial>,
    /// The edges whose links stand, as the node says.
    linked: BTreeSet<NodeId>,
}

struct Dial {
    address: String,
    standing: Rc<Standing>,
    task: JoinHandle<()>,
}

/// What a dial and whoever has asked for it share.
struct Standing {
    config: RefCell<Arc<ClientConfig>>,
    /// By which certificate the edge has proven itself.
    serial: RefCell<Option<Vec<u8>>>,
    /// Ends the connection in good order.
    drain: Notify,
    draining: Cell<bool>,
    pulse: Rc<Pulse>,
}

impl Drop for Dial {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Edges {
    pub(in super::super) fn new(inside: Rc<dyn Inside>, teller: Teller) -> Self {
        Self { inside, teller, dials: BTreeMap::new(), linked: BTreeSet::new() }
    }

    /// Keeps a connection to an edge from now on.
    pub(in super::super) fn dial(&mut self, edge: NodeId, address: String, config: Arc<ClientConfig>) {
        if let Some(dial) = self.dials.get(&edge).filter(|dial| dial.address == address) {
            *dial.standing.config.borrow_mut() = config;
            return;
        }
        let random = match crate::service::seed() {
            Ok(seed) => Random::from_seed(seed),
            Err(error) => return tracing::error!(%error, "no bulk connection to {edge}"),
        };
        let standing = Rc::new(Standing {
            config: RefCell::new(config),
            serial: RefCell::default(),
            drain: Notify::new(),
            draining: Cell::new(false),
            pulse: Rc::default(),
        });
        let keeper = Keeper {
            edge: edge.clone(),
            address: address.clone(),
            standing: Rc::clone(&standing),
            inside: Rc::clone(&self.inside),
            teller: self.teller.clone(),
        };
        let task = spawn_local(keeper.run(random));
        self.dials.insert(edge, Dial { address, standing, task });
    }

    /// Closes what leads to an edge.
    pub(in super::super) fn forget(&mut self, edge: &NodeId) {
        self.dials.remove(edge);
    }

    /// The node's own link to an edge came or went: then the edge is asked here, too, whether it is still there, and
    /// dialled at once where it is not connected.
    pub(in super::super) fn told(&mut self, fact: &SignInFact) {
        let SignInFact::Linked(peers) = fact else { return };
        let linked: BTreeSet<_> = peers.iter().cloned().collect();
        let unchanged = linked == self.linked;
        for (edge, dial) in &self.dials {
            // What is told again is told because a link came anew.
            if unchanged || linked.contains(edge) != self.linked.contains(edge) {
                dial.standing.pulse.check();
            }
        }
        self.linked = linked;
    }

    /// Closes connections to edges that were proven by one of these certificates. They are dialled again, and
    /// whoever is revoked does not get through TLS.
    pub(in super::super) fn revoked(&mut self, serials: &BTreeSet<Vec<u8>>) {
        let hit = |dial: &Dial| dial.standing.serial.borrow().as_ref().is_some_and(|serial| serials.contains(serial));
        let hit: Vec<_> = self.dials.iter().filter(|(_, dial)| hit(dial)).map(|(edge, _)| edge.clone()).collect();
        for edge in hit {
            let Some(dial) = self.dials.remove(&edge) else { continue };
            let config = Arc::clone(&dial.standing.config.borrow());
            let address = dial.address.clone();
            drop(dial);
            self.dial(edge, address, config);
        }
    }

    /// Takes nothing new, and lets what is under way end for a moment.
    pub(in super::super) async fn drain(mut self) {
        let dials = std::mem::take(&mut self.dials);
        for dial in dials.values() {
            dial.standing.draining.set(true);
            dial.standing.drain.notify_one();
        }
        let done = async {
            for (_, mut dial) in dials {
                let _ = (&mut dial.task).await;
            }
        };
        let _ = timeout(DRAIN_MAX, done).await;
    }
}

struct Keeper {
    edge: NodeId,
    address: String,
    standing: Rc<Standing>,
    inside: Rc<dyn Inside>,
    teller: Teller,
}

type Tls = client::TlsStream<BufReader<TcpStream>>;

/// HTTP/2, and where what it says leaves.
struct Connection {
    http: h2::server::Connection<Calm<Pulsing<Gathered<Tls>>>, Bytes>,
    outlet: Outlet<Tls>,
}

impl Connection {
    /// The next request; meanwhile, what has been said to others leaves, all of it at once.
    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Accepted, String>>> {
        match self.http.poll_accept(context) {
            Poll::Ready(accepted) => Poll::Ready(accepted.map(|accepted| accepted.map_err(|error| error.to_string()))),
            Poll::Pending => match self.outlet.poll_leave(context) {
                Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error.to_string()))),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            },
        }
    }
}

type Accepted = (Request<RecvStream>, SendResponse<Bytes>);

impl Keeper {
    async fn run(self, mut random: Random) {
        let (mut back_off, mut said) = (BackOff::default(), None);
        while !self.standing.draining.get() {
            let (why, wait) = match self.open().await {
                Err(why) => (why, back_off.handle_failure(&mut random)),
                Ok((connection, lasts)) => {
                    let since = Instant::now();
                    said = None;
                    tracing::info!(edge = %self.edge, "requests of clients come from the edge {}", self.edge);
                    let why = self.serve(connection, lasts).await;
                    self.standing.serial.borrow_mut().take();
                    (why, back_off.handle_closed(since.elapsed(), &mut random))
                }
            };
            if said.as_ref() != Some(&why) && !self.standing.draining.get() {
                tracing::warn!(edge = %self.edge, "no requests come from the edge {} now: {why}", self.edge);
                said = Some(why);
            }
            tokio::select! {
                () = sleep(wait) => {}
                () = self.standing.drain.notified() => {}
                () = self.standing.pulse.checked() => {}
            }
        }
    }

    async fn open(&self) -> Result<(Connection, Duration), String> {
        let config = Arc::clone(&self.standing.config.borrow());
        let (tcp, _) = connect(&self.address).await?;
        // TLS reads in small pieces: they are taken from the socket in large ones.
        let tcp = BufReader::with_capacity(GATHERED_BYTES_MAX, tcp);
        let tls = handshake(&TlsConnector::from(config), &self.edge, tcp).await?;
        let certificate = tls.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
        let ends_unix = certificate.as_ref().and_then(Life::of).map_or(0, |life| life.ends);
        *self.standing.serial.borrow_mut() = certificate.as_ref().and_then(serial_of);
        let (gathered, outlet) = Gathered::keeping(tls, GATHERED_BYTES_MAX);
        let carrier = Pulsing::new(gathered, Rc::clone(&self.standing.pulse));
        let handshake = h2::server::Builder::new()
            .max_concurrent_streams(BULK_STREAMS_MAX)
            .initial_window_size(BULK_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(BULK_UPLOAD_WINDOW_BYTES)
            .max_frame_size(BULK_FRAME_BYTES_MAX)
            .max_header_list_size(BULK_HEADER_BYTES_MAX)
            .max_send_buffer_size(BULK_SEND_BUFFER_BYTES)
            .max_pending_accept_reset_streams(BULK_PENDING_RESETS_MAX)
            // What is still on its way to a stream that was ended here breaks nothing.
            .max_concurrent_reset_streams(BULK_STREAMS_MAX as usize)
            .reset_stream_duration(BULK_RESET_REMEMBERED)
            .handshake(Calm::client_with(carrier, BULK_CALMNESS));
        let opened = timeout(BULK_OPEN_MAX, handshake).await.map_err(|_| "HTTP/2 took too long to stand")?;
        let lasts = Duration::from_secs(ends_unix.saturating_sub(unix_now()));
        let http = opened.map_err(|error| error.to_string())?;
        Ok((Connection { http, outlet }, lasts))
    }

    /// Answers requests until the connection ends.
    async fn serve(&self, mut connection: Connection, lasts: Duration) -> String {
        let expiry = sleep(lasts);
        tokio::pin!(expiry);
        let silent = self.standing.pulse.stops(connection.http.ping_pong());
        tokio::pin!(silent);
        let mut leaving = false;
        loop {
            tokio::select! {
                accepted = poll_fn(|context| connection.poll_accept(context)) => match accepted {
                    Some(Ok((request, respond))) => {
                        let (inside, edge) = (Rc::clone(&self.inside), self.edge.clone());
                        spawn_local(answer(inside, edge, request, respond, self.teller.clone()));
                    }
                    Some(Err(why)) => return why,
                    None => return "closed".to_owned(),
                },
                () = &mut silent => return "it does not answer any more".to_owned(),
                () = &mut expiry, if !leaving => {
                    leaving = true;
                    connection.http.graceful_shutdown();
                }
                () = self.standing.drain.notified(), if !leaving => {
                    leaving = true;
                    connection.http.graceful_shutdown();
                }
            }
        }
    }
}

/// One request. Ends, and with it what it has begun inside, when the edge ends its stream.
async fn answer(
    inside: Rc<dyn Inside>,
    edge: NodeId,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    teller: Teller,
) {
    let wanted = Arc::<Notify>::default();
    let request = request.map(|stream| Arriving::body(stream, Arc::clone(&wanted)));
    let mut served = inside.serve(edge, request);
    let (mut asked, mut asks) = (false, pin!(wanted.notified()));
    let served = poll_fn(|context| {
        if respond.poll_reset(context).is_ready() {
            return Poll::Ready(None);
        }
        let served = served.as_mut().poll(context);
        if served.is_pending() && !asked && asks.as_mut().poll(context).is_ready() {
            asked = true;
            // The edge may hold the body back until somebody here has decided to take it.
            let mut go_on = Response::new(());
            *go_on.status_mut() = StatusCode::CONTINUE;
            let _ = respond.send_informational(go_on);
        }
        served.map(Some)
    });
    let Some(response) = served.await else {
        return teller.tell(HttpFact::Counted("core_cancelled"));
    };
    let (mut parts, mut body) = response.into_parts();
    strip_hop_by_hop(&mut parts.headers);
    let ends = body.is_end_stream();
    let Ok(mut stream) = respond.send_response(Response::from_parts(parts, ()), ends) else { return };
    if ends {
        return;
    }
    loop {
        let frame = poll_fn(|context| {
            if stream.poll_reset(context).is_ready() {
                return Poll::Ready(None);
            }
            Pin::new(&mut body).poll_frame(context).map(Some)
        });
        match frame.await {
            None => return teller.tell(HttpFact::Counted("core_cancelled")),
            Some(None) => {
                let _ = stream.send_data(Bytes::new(), true);
                return;
            }
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) => {
                    let ends = body.is_end_stream();
                    // Twice as long as the edge gives a client.
                    let sent = send_all(&mut stream, bytes, ends, STALLED_MAX * 2).await;
                    if ends || sent.is_err() {
                        return;
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        let _ = stream.send_trailers(trailers);
                        return;
                    }
                }
            },
            Some(Some(Err(fault))) => {
                tracing::debug!("an answer broke off: {fault}");
                return stream.send_reset(Reason::INTERNAL_ERROR);
            }
        }
    }
}

/// The body of a request, as it arrives.
struct Arriving {
    stream: RecvStream,
    /// Told when somebody asks for it, on whatever task that is.
    wanted: Option<Arc<Notify>>,
}

impl Arriving {
    fn body(stream: RecvStream, wanted: Arc<Notify>) -> Body {
        if stream.is_end_stream() {
            Body::new(Empty::new().map_err(|never| match never {}))
        } else {
            Body::new(Self { stream, wanted: Some(wanted) })
        }
    }
}

impl hyper::body::Body for Arriving {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        if let Some(wanted) = self.wanted.take() {
            wanted.notify_one();
        }
        match ready!(self.stream.poll_data(context)) {
            Some(Ok(bytes)) => {
                // Whoever reads has it from now on: the window opens with the reading.
                let _ = self.stream.flow_control().release_capacity(bytes.len());
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(BodyFault(error.to_string())))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
