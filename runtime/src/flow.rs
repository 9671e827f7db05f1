//! Connections that carry SIP: accepted TLS and TCP, dialled TLS and TCP.
//!
//! Each is one small task. An idle one holds no buffer: all flows of the thread read into one scratch
//! buffer and encrypt into another, and only what could not be finished (half a record in, a full
//! socket out) is kept. Per wake-up a flow reads, hands the bytes to the node, then writes everything
//! that is queued for it in one write.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use edgeway_model::FlowId;
use edgeway_model::world::{Node, Transport};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::inside::explain_inside;
use crate::limits::{
    CLOSE_MAX, CONNECT_MAX, PARTIAL_BYTES_MAX, READS_PER_TURN, SCRATCH_BYTES, TCP_KEEPALIVE_IDLE,
    TCP_KEEPALIVE_INTERVAL, TCP_KEEPALIVE_PROBES, TCP_UNACKNOWLEDGED_MAX, WRITE_BYTES,
};
use crate::outbox::{Outbox, Taken};
use crate::reactor::Reactor;
use crate::tls_layer::{Progress, TlsLayer};

/// A finished handshake, ready to be carried: the connection, its keys, and what came too early.
pub(crate) struct Established {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) tls: Box<TlsLayer>,
    /// Ciphertext after the last whole record.
    pub(crate) partial: Vec<u8>,
    /// Data the client sent along with its last handshake message.
    pub(crate) early: Vec<u8>,
}

/// Buffers all flows of this thread share; never held across a call of the node.
struct Scratch {
    incoming: Box<[u8]>,
    plaintext: Vec<u8>,
    outgoing: Vec<u8>,
    taken: Vec<Bytes>,
    writes: u64,
}

/// Writes made so far on all flows of this thread: what batching saves shows here.
#[must_use]
pub fn writes() -> u64 {
    SCRATCH.with_borrow(|scratch| scratch.writes)
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        incoming: vec![0; SCRATCH_BYTES].into_boxed_slice(),
        plaintext: Vec::new(),
        outgoing: Vec::new(),
        taken: Vec::new(),
        writes: 0,
    });
}

/// What carries the bytes. The many accepted TLS connections share buffers ([`TlsLayer`] over TCP); the
/// few that are dialled towards registrars have buffers of their own.
enum Carrier {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Carrier {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, room),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, room),
        }
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A connection, without the node it belongs to.
struct Wire {
    stream: Carrier,
    tls: Option<Box<TlsLayer>>,
    outbox: Rc<Outbox>,
    /// Ciphertext after the last whole record; empty nearly always.
    partial: Vec<u8>,
    /// What the socket did not take; nothing else is taken from the outbox meanwhile.
    unsent: Vec<u8>,
    /// How much of `unsent` has left since.
    sent: usize,
}

impl Wire {
    fn new(stream: Carrier, tls: Option<Box<TlsLayer>>, outbox: Rc<Outbox>, partial: Vec<u8>) -> Self {
        Self { stream, tls, outbox, partial, unsent: Vec::new(), sent: 0 }
    }

    /// The next plaintext, in one piece and never empty, or why there will be none.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, String>> {
        SCRATCH.with_borrow_mut(|scratch| {
            loop {
                let held = self.partial.len();
                let (front, room) = scratch.incoming.split_at_mut(held);
                front.copy_from_slice(&self.partial);
                let mut room = ReadBuf::new(room);
                match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room)) {
                    Err(error) => return Poll::Ready(Err(self.explain(&error))),
                    Ok(()) if room.filled().is_empty() => {
                        return Poll::Ready(Err("closed by the peer".into()));
                    }
                    Ok(()) => {}
                }
                let end = held + room.filled().len();
                match self.decrypt(scratch, end) {
                    Err(end) => return Poll::Ready(Err(end)),
                    Ok(Some(bytes)) => return Poll::Ready(Ok(bytes)),
                    Ok(None) => {}
                }
            }
        })
    }

    /// Why reading failed. What a registrar says against our certificate comes this way with TLS 1.3.
    fn explain(&self, error: &io::Error) -> String {
        match &self.stream {
            Carrier::Tcp(_) => error.to_string(),
            Carrier::Tls(_) => explain_inside(error),
        }
    }

    /// What the first `end` bytes of the scratch buffer hold; `None` if that is no data yet.
    fn decrypt(&mut self, scratch: &mut Scratch, end: usize) -> Result<Option<Bytes>, String> {
        let Some(tls) = &mut self.tls else {
            return Ok(Some(Bytes::copy_from_slice(&scratch.incoming[..end])));
        };
        scratch.plaintext.clear();
        let incoming = &mut scratch.incoming[..end];
        let mut outgoing = Vec::new();
        let (consumed, progress) = tls.receive(incoming, &mut outgoing, &mut scratch.plaintext);
        self.keep_partial(&scratch.incoming[consumed..end]);
        // An alert or the answer to a key update: rare, and sent in order with everything else.
        self.unsent.append(&mut outgoing);
        let bytes = (!scratch.plaintext.is_empty()).then(|| Bytes::copy_from_slice(&scratch.plaintext));
        match progress {
            Ok(Progress::Established | Progress::Handshaking) if self.partial.len() > PARTIAL_BYTES_MAX => {
                Err("TLS: a message larger than any client has reason to send".into())
            }
            Ok(Progress::Established | Progress::Handshaking) => Ok(bytes),
            // Data that came with close_notify is delivered; the next read finds the end of the stream.
            Ok(Progress::PeerClosed) if bytes.is_some() => Ok(bytes),
            Ok(Progress::PeerClosed) => Err("closed by the peer".into()),
            Err(error) => Err(format!("TLS: {error}")),
        }
    }

    fn keep_partial(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            self.partial = Vec::new();
        } else {
            self.partial.clear();
            self.partial.extend_from_slice(rest);
        }
    }

    /// Writes what is queued. `Ready` when the outbox is closed and everything has left.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<String>> {
        loop {
            ready!(self.poll_unsent(cx))?;
            let taken = SCRATCH.with_borrow_mut(|scratch| {
                let taken = ready!(self.outbox.poll_take_some(cx, &mut scratch.taken, WRITE_BYTES));
                if taken == Taken::Bytes {
                    let written = self.write(cx, scratch);
                    scratch.taken.clear();
                    written?;
                }
                Poll::Ready(io::Result::Ok(taken))
            });
            match ready!(taken)? {
                Taken::Bytes => {}
                Taken::Close(why) => return Poll::Ready(Ok(why)),
            }
        }
    }

    /// One write of all that was taken; what the socket does not take is kept.
    fn write(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> io::Result<()> {
        scratch.outgoing.clear();
        let pieces = scratch.taken.iter().map(|bytes| &**bytes);
        let outgoing = match &mut self.tls {
            Some(tls) => {
                tls.send(&mut self.partial, pieces, &mut scratch.outgoing).map_err(io::Error::other)?;
                &scratch.outgoing[..]
            }
            None if scratch.taken.len() == 1 => &scratch.taken[0][..],
            None => {
                pieces.for_each(|bytes| scratch.outgoing.extend_from_slice(bytes));
                &scratch.outgoing[..]
            }
        };
        let written = match Pin::new(&mut self.stream).poll_write(cx, outgoing) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        scratch.writes += 1;
        self.unsent.extend_from_slice(&outgoing[written..]);
        // A burst must not leave its buffer behind.
        if scratch.outgoing.capacity() > 2 * WRITE_BYTES {
            scratch.outgoing = Vec::new();
        }
        Ok(())
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.unsent[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        if self.sent > 0 {
            self.unsent = Vec::new();
            self.sent = 0;
        }
        // Dialled TLS holds back what the socket did not take; elsewhere this does nothing.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Queues close_notify behind everything else.
    fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls {
            // A connection whose keys are used up ends without it.
            let _ = tls.close(&mut self.partial, &mut self.unsent);
        }
    }

    /// Waits for the peer's end of the stream, so that unread bytes do not turn our last answer into
    /// a reset.
    fn poll_peer_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            loop {
                let mut room = ReadBuf::new(&mut scratch.incoming);
                match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room)) {
                    Ok(()) if !room.filled().is_empty() => {}
                    Ok(()) | Err(_) => return Poll::Ready(()),
                }
            }
        })
    }
}

/// Where a flow is in its life.
enum Phase {
    /// Bytes go both ways.
    Open,
    /// The node (or a bound) ended it; whatever the peer does, it is over at the deadline.
    Closing { step: Step, deadline: Pin<Box<Sleep>> },
}

/// The steps of closing.
#[derive(Clone, Copy)]
enum Step {
    /// What is queued leaves.
    Flushing,
    /// Then close_notify and FIN.
    Parting,
    /// Then the peer is given time to read it all.
    Lingering,
}

/// The task of one flow.
struct FlowTask<N: Node + 'static> {
    reactor: Rc<Reactor<N>>,
    flow: FlowId,
    wire: Wire,
    phase: Phase,
    /// Whether a stopping node waits for this one: it still has something to say.
    awaited: bool,
}

impl<N: Node + 'static> FlowTask<N> {
    fn new(reactor: &Rc<Reactor<N>>, flow: FlowId, wire: Wire) -> Self {
        reactor.flow_task(true);
        Self { reactor: Rc::clone(reactor), flow, wire, phase: Phase::Open, awaited: true }
    }

    fn has_said_all(&mut self) {
        if std::mem::take(&mut self.awaited) {
            self.reactor.flow_task(false);
        }
    }

    /// Reads, then writes. `Ready` when the connection is gone, and why.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        // Whatever the node queues while we read is written below, in this same call.
        self.wire.outbox.disarm();
        let gone = self.read_turn(cx);
        let flushed = self.wire.poll_flush(cx);
        if let Some(why) = gone {
            return Poll::Ready(why);
        }
        let closed = match flushed {
            Poll::Ready(Err(error)) => return Poll::Ready(error.to_string()),
            Poll::Ready(Ok(why)) => Poll::Ready(why),
            Poll::Pending => self.wire.outbox.poll_closing(cx),
        };
        if let Poll::Ready(why) = closed {
            self.phase = Phase::Closing { step: Step::Flushing, deadline: Box::pin(tokio::time::sleep(CLOSE_MAX)) };
            // The node hears of it only if it did not ask for it.
            self.reactor.flow_closed(self.flow, why);
        }
        Poll::Pending
    }

    /// Hands what has arrived to the node. `Some` when the peer is gone, or broke TLS.
    fn read_turn(&mut self, cx: &mut Context<'_>) -> Option<String> {
        for _ in 0..READS_PER_TURN {
            match self.wire.poll_read(cx) {
                Poll::Pending => return None,
                Poll::Ready(Ok(bytes)) => self.reactor.flow_received(self.flow, bytes),
                Poll::Ready(Err(why)) => return Some(why),
            }
        }
        // There may be more: the others come first.
        cx.waker().wake_by_ref();
        None
    }

    /// One step of closing; `Ready` when it is done or there is nobody to do it for.
    fn poll_step(&mut self, step: Step, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        Poll::Ready(match step {
            Step::Flushing => match ready!(self.wire.poll_flush(cx)) {
                Ok(_) => {
                    self.wire.say_goodbye();
                    Some(Step::Parting)
                }
                Err(_) => None,
            },
            Step::Parting => {
                let left = ready!(self.wire.poll_unsent(cx));
                let shut = ready!(Pin::new(&mut self.wire.stream).poll_shutdown(cx));
                self.has_said_all();
                left.and(shut).is_ok().then_some(Step::Lingering)
            }
            Step::Lingering => {
                ready!(self.wire.poll_peer_end(cx));
                None
            }
        })
    }
}

impl<N: Node + 'static> Drop for FlowTask<N> {
    fn drop(&mut self) {
        self.has_said_all();
        if std::thread::panicking() {
            self.reactor.flow_lost(self.flow);
        }
    }
}

impl<N: Node + 'static> Future for FlowTask<N> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = &mut *self;
        if matches!(task.phase, Phase::Open)
            && let Poll::Ready(why) = task.poll_open(cx)
        {
            task.reactor.flow_closed(task.flow, why);
            return Poll::Ready(());
        }
        while let Phase::Closing { step, deadline } = &mut task.phase {
            if deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let step = *step;
            match ready!(task.poll_step(step, cx)) {
                Some(next) => {
                    if let Phase::Closing { step, .. } = &mut task.phase {
                        *step = next;
                    }
                }
                None => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}

/// Carries a connection whose TLS handshake is done.
pub(crate) fn accept_tls<N: Node + 'static>(reactor: &Rc<Reactor<N>>, established: Established) -> io::Result<()> {
    let Established { stream, peer, tls, partial, early } = established;
    let stream = TcpStream::from_std(stream)?;
    let local = stream.local_addr()?;
    let (flow, outbox) = reactor.flow_accepted(peer, local, Transport::Tls);
    if !early.is_empty() {
        reactor.flow_received(flow, early.into());
    }
    let wire = Wire::new(Carrier::Tcp(stream), Some(tls), outbox, partial);
    tokio::task::spawn_local(FlowTask::new(reactor, flow, wire));
    Ok(())
}

/// Carries a connection without TLS.
pub(crate) fn accept_tcp<N: Node + 'static>(
    reactor: &Rc<Reactor<N>>,
    stream: TcpStream,
    peer: SocketAddr,
) -> io::Result<()> {
    let local = stream.local_addr()?;
    let (flow, outbox) = reactor.flow_accepted(peer, local, Transport::Tcp);
    let wire = Wire::new(Carrier::Tcp(stream), None, outbox, Vec::new());
    tokio::task::spawn_local(FlowTask::new(reactor, flow, wire));
    Ok(())
}

/// What the node asked to be dialled.
pub(crate) struct Dialling {
    pub(crate) flow: FlowId,
    pub(crate) peer: SocketAddr,
    pub(crate) transport: Transport,
    /// TLS only: whom the certificate must name.
    pub(crate) name: Option<String>,
}

/// Dials, and then carries, a connection the node asked for.
pub(crate) async fn dial<N: Node + 'static>(reactor: Rc<Reactor<N>>, dialling: Dialling, outbox: Rc<Outbox>) {
    let (flow, peer, transport) = (dialling.flow, dialling.peer, dialling.transport);
    let connected = match tokio::time::timeout(CONNECT_MAX, connect_as(&dialling, reactor.inside_tls())).await {
        Ok(connected) => connected,
        Err(_) => Err(format!("no connection within {CONNECT_MAX:?}")),
    };
    match connected {
        Ok((carrier, local)) => {
            reactor.flow_dialled(flow, peer, local, transport);
            let wire = Wire::new(carrier, None, outbox, Vec::new());
            FlowTask::new(&reactor, flow, wire).await;
        }
        Err(why) => reactor.flow_closed(flow, why),
    }
}

async fn connect_as(dialling: &Dialling, tls: Option<Arc<ClientConfig>>) -> Result<(Carrier, SocketAddr), String> {
    match dialling.transport {
        Transport::Tcp => {
            let (stream, local) = connect(dialling.peer).await.map_err(|error| error.to_string())?;
            Ok((Carrier::Tcp(stream), local))
        }
        Transport::Tls => {
            let tls = tls.ok_or("TLS is not set up: no authority is trusted (sip.tls.ca)")?;
            let name = dialling.name.clone().unwrap_or_else(|| dialling.peer.ip().to_string());
            let name = ServerName::try_from(name).map_err(|_| "TLS: this is no host name")?;
            let (stream, local) = connect(dialling.peer).await.map_err(|error| error.to_string())?;
            let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(|error| explain_inside(&error))?;
            Ok((Carrier::Tls(Box::new(stream)), local))
        }
        Transport::Udp => Err("UDP cannot be dialled".to_owned()),
    }
}

async fn connect(peer: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    let stream = socket.connect(peer).await?;
    tune(&stream);
    let local = stream.local_addr()?;
    Ok((stream, local))
}

/// What every connection wants that lives long: no delay, and a dead peer noticed.
pub fn tune(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(TCP_KEEPALIVE_IDLE)
        .with_interval(TCP_KEEPALIVE_INTERVAL)
        .with_retries(TCP_KEEPALIVE_PROBES);
    let tuned = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keepalive))
        .and_then(|()| socket.set_tcp_user_timeout(Some(TCP_UNACKNOWLEDGED_MAX)));
    if let Err(error) = tuned {
        tracing::debug!(%error, "socket options could not be set");
    }
}
