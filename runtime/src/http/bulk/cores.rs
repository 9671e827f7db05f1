//! The edge's end: the bulk connections cores have dialled.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::limits::TLS_HANDSHAKE_MAX;
use edgeway_model::sign_in::SignInFact;
use edgeway_model::{NodeId, Role};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::Request;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use super::super::limits::{
    BULK_CALMNESS, BULK_DOWNLOAD_WINDOW_BYTES, BULK_FRAME_BYTES_MAX, BULK_HEADER_BYTES_MAX, BULK_OPEN_MAX,
    BULK_RESET_REMEMBERED, BULK_SEND_BUFFER_BYTES, BULK_STRANGERS_MAX, BULK_STREAM_WINDOW_BYTES, BULK_STREAMS_MAX,
    GATHERED_BYTES_MAX,
};
use super::super::{HttpFact, Teller};
use super::gathered::{Gathered, Outlet};
use super::pulse::{Pulse, Pulsing};
use crate::link::calm::Calm;
use crate::link::limits::CORES_MAX;
use crate::link::{BulkHello, tune};
use crate::pki::identity::{Life, serial_of};
use crate::pki::tls::explain_io;
use crate::pki::{node_of, unix_now};

/// Every core that has a bulk connection to this edge.
pub(in super::super) struct Cores {
    list: RefCell<Vec<Rc<Core>>>,
    /// The cores whose links stand, if the node says so: the others come last.
    linked: RefCell<Option<BTreeSet<NodeId>>>,
    strangers: Cell<usize>,
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
        Self { list: RefCell::default(), linked: RefCell::default(), strangers: Cell::new(0), teller }
    }

    /// Cores in the order in which they should be asked for `user`: the same user comes to the same core, at every
    /// edge, for as long as that core is there (rendezvous hashing).
    pub(in super::super) fn ranked(&self, user: &str) -> Vec<Rc<Core>> {
        let mut cores = self.list.borrow().clone();
        if cores.len() > 1 {
            let linked = self.linked.borrow();
            let unlinked = |core: &Core| linked.as_ref().is_some_and(|linked| !linked.contains(&core.node));
            cores.sort_by_cached_key(|core| (unlinked(core), std::cmp::Reverse(weight(user, core.node.as_str()))));
        }
        cores
    }

    /// A connection that only said hello.
    pub(in super::super) fn adopt(self: &Rc<Self>, hello: BulkHello) {
        if self.strangers.get() >= BULK_STRANGERS_MAX {
            return tracing::debug!("a bulk connection was closed: too many are unproven already");
        }
        self.strangers.set(self.strangers.get() + 1);
        let cores = Rc::clone(self);
        spawn_local(async move {
            let opened = timeout(TLS_HANDSHAKE_MAX + BULK_OPEN_MAX, open(hello)).await;
            cores.strangers.set(cores.strangers.get().saturating_sub(1));
            match opened {
                Ok(Ok((core, ends_unix, connection))) => cores.carry(core, ends_unix, connection).await,
                Ok(Err(error)) => tracing::info!("a bulk connection was refused: {}", explain_io(&error)),
                Err(_) => tracing::info!("a bulk connection was refused: it took too long"),
            }
        });
    }

    async fn carry(self: Rc<Self>, core: Core, ends_unix: u64, mut connection: Connection) {
        let core = Rc::new(core);
        {
            let mut list = self.list.borrow_mut();
            // The newest counts; what is under way on an older one ends there.
            list.retain(|older| {
                let same = older.node == core.node;
                if same {
                    older.end("a newer one has come");
                }
                !same
            });
            if list.len() >= CORES_MAX {
                return tracing::warn!("{CORES_MAX} cores have bulk connections already");
            }
            list.push(Rc::clone(&core));
        }
        self.teller.tell(HttpFact::Counted("https_bulk_opened"));
        tracing::info!(core = %core.node, "requests of clients can go to the core {}", core.node);
        let pings = connection.http.ping_pong();
        let lasts = Duration::from_secs(ends_unix.saturating_sub(unix_now()));
        let why = tokio::select! {
            why = poll_fn(|context| connection.poll_ended(context)) => why,
            () = core.end.notified() => core.why.get().to_owned(),
            () = core.pulse.stops(pings) => "it does not answer any more".to_owned(),
            () = tokio::time::sleep(lasts) => "its certificate has ended".to_owned(),
        };
        self.teller.tell(HttpFact::Counted("https_bulk_ended"));
        tracing::info!(core = %core.node, "no more requests go to the core {} this way: {why}", core.node);
        self.list.borrow_mut().retain(|other| !Rc::ptr_eq(other, &core));
    }

    /// Closes what leads to a core.
    pub(in super::super) fn forget(&self, node: &NodeId) {
        self.end_where(|core| core.node == *node);
    }

    /// Closes connections that were proven by one of these certificates.
    pub(in super::super) fn revoked(&self, serials: &BTreeSet<Vec<u8>>) {
        self.end_where(|core| core.serial.as_ref().is_none_or(|serial| serials.contains(serial)));
    }

    /// Closes all of them.
    pub(in super::super) fn close(&self) {
        self.end_where(|_| true);
    }

    fn end_where(&self, which: impl Fn(&Core) -> bool) {
        self.list.borrow_mut().retain(|core| {
            let ends = which(core);
            if ends {
                core.end("its identity holds no longer");
            }
            !ends
        });
    }

    /// Which cores are linked is a hint: one that is not may be about to go.
    pub(in super::super) fn told(&self, fact: &SignInFact) {
        if let SignInFact::Linked(peers) = fact {
            let linked: BTreeSet<_> = peers.iter().cloned().collect();
            let before = self.linked.replace(Some(linked.clone())).unwrap_or_default();
            for core in &*self.list.borrow() {
                // What is told again is told because a link came anew.
                if before == linked || before.contains(&core.node) != linked.contains(&core.node) {
                    core.pulse.check();
                }
            }
        }
    }
}

impl Core {
    fn end(&self, why: &'static str) {
        self.why.set(why);
        self.end.notify_one();
    }

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

type Tls = TlsStream<BufReader<TcpStream>>;

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

async fn open(hello: BulkHello) -> io::Result<(Core, u64, Connection)> {
    hello.tcp.set_nonblocking(true)?;
    let tcp = TcpStream::from_std(hello.tcp)?;
    tune(&tcp)?;
    // TLS reads in small pieces: they are taken from the socket in large ones.
    let tcp = BufReader::with_capacity(GATHERED_BYTES_MAX, tcp);
    let stream = StartHandshake::from_parts(*hello.accepted, tcp).into_stream(hello.config).await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    // The TLS configuration has checked both already.
    let (node, role) = node_of(chain).ok_or_else(|| io::Error::other("the peer's certificate names no node"))?;
    if role != Role::Core {
        return Err(io::Error::other("the peer is no core"));
    }
    let certificate = chain.first().cloned();
    let ends_unix = certificate.as_ref().and_then(Life::of).map_or(0, |life| life.ends);
    let serial = certificate.as_ref().and_then(serial_of);
    let (gathered, outlet) = Gathered::keeping(stream, GATHERED_BYTES_MAX);
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
    Ok((core, ends_unix, Connection { http, outlet }))
}

/// FNV-1a over both names, mixed (the last lines of SplitMix64): the same at every edge and in every version.
fn weight(user: &str, core: &str) -> u64 {
    let bytes = core.bytes().chain([0]).chain(user.bytes());
    let mut mixed = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_spread_and_stay_when_another_core_goes() {
        let cores = ["core1", "core2", "core3"];
        let first = |user: &str, cores: &[&str]| {
            *cores.iter().max_by_key(|core| weight(user, core)).expect("there is one") == "core1"
        };
        let users: Vec<_> = (0..3_000).map(|n| format!("user{n}")).collect();
        let at_first = users.iter().filter(|user| first(user, &cores)).count();
        assert!((900..1_100).contains(&at_first), "{at_first} of 3,000 users at one core of three");
        let stay = users.iter().filter(|user| first(user, &cores)).all(|user| first(user, &cores[..2]));
        assert!(stay, "who was at core1 with three cores is there with two");
    }
}
