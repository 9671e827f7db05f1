//! The core's end: answers what comes from each edge.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::NodeId;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::super::dials::{Carried, Dials, Opened, Proof, Served, Standing, Tls};
use super::super::limits::{
    BULK_CALMNESS, BULK_FRAME_BYTES_MAX, BULK_HEADER_BYTES_MAX, BULK_OPEN_MAX, BULK_PENDING_RESETS_MAX,
    BULK_RESET_REMEMBERED, BULK_SEND_BUFFER_BYTES, BULK_STREAM_WINDOW_BYTES, BULK_STREAMS_MAX,
    BULK_UPLOAD_WINDOW_BYTES, GATHERED_BYTES_MAX, STALLED_MAX,
};
use super::super::{Body, BodyFault, HttpFact, Inside, Purpose, Teller};
use super::gathered::{Gathered, Outlet};
use super::pulse::{Pulse, Pulsing};
use super::{send_all, strip_hop_by_hop};
use crate::link::calm::Calm;

/// Requests of clients that come to this core.
pub(in super::super) struct Requests {
    inside: Rc<dyn Inside>,
    teller: Teller,
    /// Maintenance mode: another core may answer them.
    maintained: Cell<bool>,
    /// Past its deadline: what is under way ends.
    overdue: Rc<Notify>,
}

/// Every edge this core dials for them.
pub(in super::super) type Edges = Dials<Requests>;

impl Requests {
    pub(in super::super) fn new(inside: Rc<dyn Inside>, teller: Teller) -> Self {
        Self { inside, teller, maintained: Cell::new(false), overdue: Rc::default() }
    }

    /// Past the deadline of maintenance mode: ends every request.
    pub(in super::super) fn end_all(&self) {
        self.overdue.notify_waiters();
    }

    /// Maintenance mode: takes no requests, or takes them again. What is under way goes on.
    pub(in super::super) fn maintain(&self, on: bool) {
        self.maintained.set(on);
    }
}

/// HTTP/2, and where what it says leaves.
pub(in super::super) struct Connection {
    http: h2::server::Connection<Calm<Pulsing<Gathered<Tls>>>, Bytes>,
    outlet: Outlet<Tls>,
    pulse: Rc<Pulse>,
    lasts: Duration,
    _proof: Proof,
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

impl Carried for Requests {
    const WHAT: &'static str = "requests of clients";

    type Connection = Connection;

    async fn open(&self, Opened { tls, lasts, proof }: Opened) -> Result<Connection, String> {
        let (gathered, outlet) = Gathered::keeping(tls, GATHERED_BYTES_MAX);
        let pulse = Rc::<Pulse>::default();
        let carrier = Pulsing::new(gathered, Rc::clone(&pulse));
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
        let http = opened.map_err(|error| error.to_string())?;
        Ok(Connection { http, outlet, pulse, lasts, _proof: proof })
    }

    /// Answers requests until the connection ends.
    async fn serve(&self, edge: &NodeId, mut connection: Connection, standing: &Rc<Standing>) -> Served {
        let expiry = sleep(connection.lasts);
        tokio::pin!(expiry);
        let pulse = Rc::clone(&connection.pulse);
        let silent = pulse.stops(connection.http.ping_pong());
        tokio::pin!(silent);
        let mut leaving = false;
        loop {
            tokio::select! {
                accepted = poll_fn(|context| connection.poll_accept(context)) => match accepted {
                    // The edge asks another core, or says that there is none.
                    Some(Ok((_, mut respond))) if self.maintained.get() => {
                        self.teller.tell(HttpFact::Counted("core_maintenance"));
                        respond.send_reset(Reason::REFUSED_STREAM);
                    }
                    Some(Ok((request, respond))) => {
                        let (inside, edge) = (Rc::clone(&self.inside), edge.clone());
                        let answer = answer(inside, edge, request, respond, self.teller.clone());
                        let overdue = Rc::clone(&self.overdue);
                        spawn_local(async move {
                            tokio::select! {
                                () = answer => {}
                                () = overdue.notified() => {}
                            }
                        });
                    }
                    Some(Err(why)) => return Served::Ended(why),
                    None => return Served::Ended("closed".to_owned()),
                },
                () = &mut silent => return Served::Ended("it does not answer any more".to_owned()),
                () = standing.checked() => pulse.check(),
                () = &mut expiry, if !leaving => {
                    leaving = true;
                    connection.http.graceful_shutdown();
                }
                () = standing.drained(), if !leaving => {
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
    let _serving = teller.serve(Purpose::of(request.uri().path()));
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
