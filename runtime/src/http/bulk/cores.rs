//! The edge's end: the bulk connections cores have dialled.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::NodeId;
use edgeway_model::limits::TLS_HANDSHAKE_MAX;
use edgeway_model::sign_in::SignInFact;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::Request;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::super::dialled::{Peer, Peers, Proven, Tls, prove};
use super::super::limits::{
    BULK_CALMNESS, BULK_DOWNLOAD_WINDOW_BYTES, BULK_FRAME_BYTES_MAX, BULK_HEADER_BYTES_MAX, BULK_OPEN_MAX,
    BULK_RESET_REMEMBERED, BULK_SEND_BUFFER_BYTES, BULK_STREAM_WINDOW_BYTES, BULK_STREAMS_MAX, GATHERED_BYTES_MAX,
};
use super::super::{HttpFact, Teller};
use super::gathered::{Gathered, Outlet};
use super::pulse::{Pulse, Pulsing};
use crate::link::CallerHello;
use crate::link::calm::Calm;
use crate::link::limits::CORES_MAX;
use crate::pki::tls::explain_io;

/// Every core that has a bulk connection to this edge.
pub(in super::super) struct Cores {
    peers: Peers<Core>,
    teller: Teller,
}

/// One core, through one connection.
pub(in super::super) struct Core {
    node: NodeId,
    requests: SendRequest<Bytes>,
    in_flight: Cell<usize>,
    serial: Option<Vec<u8>>,
    pulse: Rc<Pulse>,
    /// Ends the connection at once, and why.
    end: Notify,
    why: Cell<&'static str>,
}

/// A request on its way; counted until dropped.
pub(in super::super) struct InFlight(Rc<Core>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get().saturating_sub(1));
    }
}

/// A request that has been handed to the connection.
pub(in super::super) struct Sent {
    /// The answer.
    pub(in super::super) response: ResponseFuture,
    /// Where its body goes.
    pub(in super::super) body: SendStream<Bytes>,
    /// Counts it.
    pub(in super::super) in_flight: InFlight,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Lost {
    /// The core has not begun with it: another one may.
    Unseen,
    /// It may have done something about it.
    Broken,
}

impl Lost {
    /// What an error of a stream means (RFC 9113 §8.7).
    pub(in super::super) fn of(error: &h2::Error) -> Self {
        let unseen = error.is_remote()
            && (error.reason() == Some(Reason::REFUSED_STREAM)
                || error.is_go_away() && error.reason() == Some(Reason::NO_ERROR));
        if unseen { Self::Unseen } else { Self::Broken }
    }
}

impl Cores {
    pub(in super::super) fn new(teller: Teller) -> Self {
        Self { peers: Peers::default(), teller }
    }

    /// Cores in the order in which they should be asked for `user`.
    pub(in super::super) fn ranked(&self, user: &str) -> Vec<Rc<Core>> {
        self.peers.ranked(user)
    }

    /// A connection that only said hello.
    pub(in super::super) fn adopt(self: &Rc<Self>, hello: CallerHello) {
        let Some(stranger) = self.peers.stranger() else { return };
        let cores = Rc::clone(self);
        spawn_local(async move {
            let opened = timeout(TLS_HANDSHAKE_MAX + BULK_OPEN_MAX, open(hello)).await;
            drop(stranger);
            match opened {
                Ok(Ok((core, lasts, connection))) => cores.carry(core, lasts, connection).await,
                Ok(Err(error)) => tracing::info!("a bulk connection was refused: {}", explain_io(&error)),
                Err(_) => tracing::info!("a bulk connection was refused: it took too long"),
            }
        });
    }

    async fn carry(self: Rc<Self>, core: Core, lasts: Duration, mut connection: Connection) {
        let core = Rc::new(core);
        // The newest counts; what is under way on an older one ends there.
        self.peers.end_where("a newer one has come", |older| older.node == core.node);
        if self.peers.list().len() >= CORES_MAX {
            return tracing::warn!("{CORES_MAX} cores have bulk connections already");
        }
        self.peers.add(Rc::clone(&core));
        self.teller.tell(HttpFact::Counted("https_bulk_opened"));
        tracing::info!(core = %core.node, "requests of clients can go to the core {}", core.node);
        let pings = connection.http.ping_pong();
        let why = tokio::select! {
            why = poll_fn(|context| connection.poll_ended(context)) => why,
            () = core.end.notified() => core.why.get().to_owned(),
            () = core.pulse.stops(pings) => "it does not answer any more".to_owned(),
            () = tokio::time::sleep(lasts) => "its certificate has ended".to_owned(),
        };
        self.teller.tell(HttpFact::Counted("https_bulk_ended"));
        tracing::info!(core = %core.node, "no more requests go to the core {} this way: {why}", core.node);
        self.peers.remove(&core);
    }

    /// Closes what leads to a core.
    pub(in super::super) fn forget(&self, node: &NodeId) {
        self.peers.forget(node);
    }

    /// Closes connections that were proven by one of these certificates.
    pub(in super::super) fn revoked(&self, serials: &BTreeSet<Vec<u8>>) {
        self.peers.revoked(serials);
    }

    /// Closes all of them.
    pub(in super::super) fn close(&self) {
        self.peers.close();
    }

    /// Which cores are linked is a hint: one that is not may be about to go.
    pub(in super::super) fn told(&self, fact: &SignInFact) {
        self.peers.told(fact);
    }
}

impl Peer for Core {
    fn node(&self) -> &NodeId {
        &self.node
    }

    fn serial(&self) -> Option<&[u8]> {
        self.serial.as_deref()
    }

    fn takes(&self) -> bool {
        true
    }

    fn check(&self) {
        self.pulse.check();
    }

    fn end(&self, why: &'static str) {
        self.why.set(why);
        self.end.notify_one();
    }
}

impl Core {
    /// Its name.
    pub(in super::super) const fn node(&self) -> &NodeId {
        &self.node
    }

    /// Hands a request to the connection. An error: it was not, and may go elsewhere.
    pub(in super::super) async fn send(self: &Rc<Self>, head: Request<()>, ends: bool) -> Result<Sent, Lost> {
        if self.in_flight.get() >= BULK_STREAMS_MAX as usize {
            return Err(Lost::Unseen);
        }
        self.in_flight.set(self.in_flight.get() + 1);
        let in_flight = InFlight(Rc::clone(self));
        let mut requests = self.requests.clone();
        poll_fn(|context| requests.poll_ready(context)).await.map_err(|_| Lost::Unseen)?;
        let (response, body) = requests.send_request(head, ends).map_err(|_| Lost::Unseen)?;
        Ok(Sent { response, body, in_flight })
    }
}

/// HTTP/2, and where what it says leaves.
struct Connection {
    http: h2::client::Connection<Calm<Pulsing<Gathered<Tls>>>, Bytes>,
    outlet: Outlet<Tls>,
}

impl Connection {
    /// Goes on until it ends; why. What all requests say in one turn leaves at once.
    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<String> {
        match Pin::new(&mut self.http).poll(context) {
            Poll::Ready(Err(error)) => Poll::Ready(error.to_string()),
            Poll::Ready(Ok(())) => Poll::Ready("closed".to_owned()),
            Poll::Pending => match self.outlet.poll_leave(context) {
                Poll::Ready(Err(error)) => Poll::Ready(error.to_string()),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            },
        }
    }
}

async fn open(hello: CallerHello) -> io::Result<(Core, Duration, Connection)> {
    let Proven { tls, node, serial, lasts } = prove(hello).await?;
    let (gathered, outlet) = Gathered::keeping(tls, GATHERED_BYTES_MAX);
    let pulse = Rc::<Pulse>::default();
    let carrier = Pulsing::new(gathered, Rc::clone(&pulse));
    let handshake = h2::client::Builder::new()
        .enable_push(false)
        .initial_window_size(BULK_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(BULK_DOWNLOAD_WINDOW_BYTES)
        .max_frame_size(BULK_FRAME_BYTES_MAX)
        .max_header_list_size(BULK_HEADER_BYTES_MAX)
        .max_send_buffer_size(BULK_SEND_BUFFER_BYTES)
        .initial_max_send_streams(BULK_STREAMS_MAX as usize)
        .max_concurrent_reset_streams(BULK_STREAMS_MAX as usize)
        .reset_stream_duration(BULK_RESET_REMEMBERED)
        .handshake(Calm::server_with(carrier, BULK_CALMNESS));
    let (requests, http) = handshake.await.map_err(io::Error::other)?;
    let core = Core { node, requests, in_flight: Cell::new(0), serial, pulse, end: Notify::new(), why: Cell::new("") };
    Ok((core, lasts, Connection { http, outlet }))
}
