//! Connections that carry SIP: accepted TLS, accepted and dialled TCP.
//!
//! TLS is driven by hand around `rustls`, because handshakes run on another thread and finished
//! connections are handed over to the reactor. An idle connection holds no read buffer: all share
//! one scratch buffer of their thread.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use edgeway_model::FlowId;
use edgeway_model::world::{Observable, Transport};
use rustls::ServerConnection;
use tokio::net::TcpStream;

use crate::outbox::{Outbox, Taken};
use crate::reactor::Reactor;

/// How long a dialled connection may take to stand.
const CONNECT_WITHIN: Duration = Duration::from_secs(4);
/// Reads per wake-up of one connection, so that none starves the others.
const READS_PER_TURN: usize = 8;
/// The scratch buffer: a TLS record and a bit.
const SCRATCH_BYTES: usize = 32 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// A connection without its owner: what reading and writing need.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(TcpStream, Box<ServerConnection>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) | Self::Tls(tcp, _) => tcp,
        }
    }

    /// Reads plaintext into `buffer`. `Ok(0)` is the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(tcp) => loop {
                ready!(tcp.poll_read_ready(cx))?;
                match tcp.try_read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => return Poll::Ready(result),
                }
            },
            Self::Tls(tcp, tls) => loop {
                match tls.reader().read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => return Poll::Ready(result),
                }
                ready!(tcp.poll_read_ready(cx))?;
                match tls.read_tls(&mut Adapter(tcp)) {
                    Ok(0) => return Poll::Ready(Ok(0)),
                    Ok(_) => {
                        tls.process_new_packets().map_err(io::Error::other)?;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            },
        }
    }

    /// Writes out of `bytes`, advancing it; `Pending` when the peer does not take more now.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &mut Bytes) -> Poll<io::Result<()>> {
        loop {
            match self {
                Self::Tcp(tcp) => {
                    if bytes.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    match tcp.try_write(bytes) {
                        Ok(written) => bytes.advance(written),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(tcp.poll_write_ready(cx))?,
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                Self::Tls(tcp, tls) => {
                    if !bytes.is_empty() {
                        let written = tls.writer().write(bytes)?;
                        bytes.advance(written);
                    }
                    while tls.wants_write() {
                        match tls.write_tls(&mut Adapter(tcp)) {
                            Ok(_) => {}
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                                ready!(tcp.poll_write_ready(cx))?
                            }
                            Err(error) => return Poll::Ready(Err(error)),
                        }
                    }
                    if bytes.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

/// Lets `rustls` read and write a non-blocking tokio socket.
struct Adapter<'a>(&'a TcpStream);

impl Read for Adapter<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Adapter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, bytes: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Task<N> {
    reactor: Rc<Reactor<N>>,
    flow: FlowId,
    outbox: Rc<Outbox>,
    stream: Stream,
    taken: Vec<Bytes>,
    writing: Bytes,
    closing: bool,
}

/// How a connection ended.
struct End {
    why: String,
    asked: bool,
}

impl<N: Observable + 'static> Task<N> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Poll::Ready(end) = self.poll_read(cx) {
            // What was queued by the last turn (an answer to the last request) still goes out if it can.
            let _ = self.poll_write(cx);
            return Poll::Ready(end);
        }
        self.poll_write(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.closing {
            return Poll::Pending;
        }
        for _ in 0..READS_PER_TURN {
            let stream = &mut self.stream;
            let read = SCRATCH.with_borrow_mut(|scratch| match stream.poll_read(cx, scratch) {
                Poll::Ready(Ok(0)) => Poll::Ready(Err("closed by the peer".to_owned())),
                Poll::Ready(Ok(count)) => Poll::Ready(Ok(Bytes::copy_from_slice(&scratch[..count]))),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error.to_string())),
                Poll::Pending => Poll::Pending,
            });
            match ready!(read) {
                Ok(bytes) => self.reactor.flow_received(self.flow, bytes),
                Err(why) => return Poll::Ready(End { why, asked: false }),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            match self.stream.poll_write(cx, &mut self.writing) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(End { why: error.to_string(), asked: false }),
                Poll::Pending => {
                    // Keeps the task awake for an abandoned outbox; the bytes stay bounded there.
                    return Poll::Pending;
                }
            }
            self.writing = Bytes::new();
            match ready!(self.outbox.poll_take(cx, &mut self.taken)) {
                Taken::Bytes => self.writing = joined(&mut self.taken),
                Taken::Close(why) => return Poll::Ready(End { why, asked: true }),
            }
        }
    }
}

/// One piece of what was queued, so that it leaves in one record and one write.
pub(crate) fn joined(taken: &mut Vec<Bytes>) -> Bytes {
    let joined = if taken.len() == 1 { taken.pop().unwrap_or_default() } else { Bytes::from(taken.concat()) };
    *taken = Vec::new();
    joined
}

/// Serves one accepted connection until it ends.
pub(crate) async fn serve<N: Observable + 'static>(reactor: Rc<Reactor<N>>, stream: Stream, peer: SocketAddr) {
    let transport = match &stream {
        Stream::Tcp(_) => Transport::Tcp,
        Stream::Tls(..) => Transport::Tls,
    };
    let Ok(local) = stream.tcp().local_addr() else { return };
    let (flow, outbox) = reactor.flow_opened(peer, local, transport);
    carry(reactor, flow, outbox, stream).await;
}

async fn carry<N: Observable + 'static>(reactor: Rc<Reactor<N>>, flow: FlowId, outbox: Rc<Outbox>, stream: Stream) {
    let mut task = Task { reactor, flow, outbox, stream, taken: Vec::new(), writing: Bytes::new(), closing: false };
    let end = poll_fn(|cx| task.poll(cx)).await;
    if let Stream::Tls(_, tls) = &mut task.stream {
        tls.send_close_notify();
        task.closing = true;
        let mut nothing = Bytes::new();
        let farewell = poll_fn(|cx| task.stream.poll_write(cx, &mut nothing));
        let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
    }
    task.reactor.flow_closed(flow, end.why, end.asked);
}

/// Dials and then serves a connection the node asked for.
pub(crate) async fn dial<N: Observable + 'static>(
    reactor: Rc<Reactor<N>>,
    flow: FlowId,
    peer: SocketAddr,
    transport: Transport,
    outbox: Rc<Outbox>,
) {
    if transport != Transport::Tcp {
        return reactor.flow_closed(flow, format!("{} cannot be dialled", transport.via()), false);
    }
    let connected = match tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(peer)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return reactor.flow_closed(flow, error.to_string(), false),
        Err(_) => return reactor.flow_closed(flow, "no connection in time".to_owned(), false),
    };
    tune(&connected);
    let Ok(local) = connected.local_addr() else {
        return reactor.flow_closed(flow, "the connection is gone again".to_owned(), false);
    };
    reactor.flow_dialled(flow, peer, local, transport);
    carry(reactor, flow, outbox, Stream::Tcp(connected)).await;
}

/// What every SIP connection wants: no delay, and a dead peer noticed within two minutes.
pub(crate) fn tune(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    let tuned = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keepalive))
        .and_then(|()| socket.set_tcp_user_timeout(Some(Duration::from_secs(60))));
    if let Err(error) = tuned {
        tracing::debug!(%error, "socket options could not be set");
    }
}
