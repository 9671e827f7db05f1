//! One link: an HTTP/2 connection with one signalling stream and one identity stream, driven whole by one
//! task.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use std::{future::poll_fn, pin::Pin};

use bytes::{Bytes, BytesMut};
use edgeway_model::LinkId;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{client, server};

use super::calm::Calm;
use super::gate::Gate;
use super::limits::{
    ASK_MESSAGE_BYTES_MAX, CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, HEADER_BYTES_MAX, LINGER_MAX, OPEN_MAX,
    REASON_BYTES_MAX, ROUNDS_MAX, SEND_BUFFER_BYTES, SIGNALLING_STREAMS, SMALL_FRAMES_BUDGET_BYTES,
    STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use super::{Asks, LinkHost};
use crate::outbox::{Outbox, Taken};
use crate::pki::limits::IDENTITY_MESSAGE_BYTES_MAX;
use crate::pki::tls::explain_io;
use crate::pki::trust::cut_message;
use crate::pki::{Trust, TrustedLink};

/// The path of the signalling stream.
const SIGNALLING_PATH: &str = "/sip";
/// The path of the identity stream: certificates and revocations ([`crate::pki::trust`]).
const IDENTITY_PATH: &str = "/identity";
/// The path of the stream of questions ([`super::asks`]).
const ASK_PATH: &str = "/ask";
/// The trailer that says why a link was closed.
const REASON_TRAILER: &str = "edgeway-reason";

/// The HTTP/2 connection in either role.
enum Connection {
    /// We were dialled: the client of HTTP/2.
    Edge {
        connection: Box<h2::client::Connection<Calm<server::TlsStream<TcpStream>>, Bytes>>,
        /// Held, because HTTP/2 ends when nobody can send requests any more.
        _requests: SendRequest<Bytes>,
    },
    /// We dialled: the server of HTTP/2.
    Core(Box<h2::server::Connection<Calm<client::TlsStream<TcpStream>>, Bytes>>),
}

/// An open link, before and while it carries bytes.
pub(super) struct Pipe {
    connection: Connection,
    /// The connection's socket once more: HTTP/2 keeps the other one to itself.
    socket: Option<OwnedFd>,
    send: SendStream<Bytes>,
    receive: RecvStream,
    beside: Beside,
    /// Taken from the outbox, on its way into frames.
    taken: Vec<Bytes>,
    pending: Bytes,
    gate: Arc<Gate>,
    gated: Waker,
}

/// The streams beside the signalling.
struct Beside {
    identity: SideStream,
    asks: SideStream,
}

/// A stream of messages. A peer of an earlier version has none; the link works without.
enum SideStream {
    /// There is none, or none yet.
    None,
    /// We, the client of HTTP/2, have asked for it.
    Asked(Box<(h2::client::ResponseFuture, SendStream<Bytes>)>),
    /// It is open.
    Open(Box<OpenSide>),
}

struct OpenSide {
    send: SendStream<Bytes>,
    receive: RecvStream,
    arrived: BytesMut,
    taken: Vec<Bytes>,
    pending: Bytes,
}

/// Whose messages a stream carries.
trait Side {
    /// The largest message, bytes.
    const BYTES_MAX: usize;
    /// What is to be said.
    fn says(&self) -> &Outbox;
    /// The peer has said this; an error ends the link.
    fn hears(&self, message: &[u8]) -> Result<(), &'static str>;
    /// Whether there is such a stream.
    fn speaks(&self, speaks: bool);
}

/// Certificates and revocations.
struct Identities<'a>(&'a Held<'a>);

impl Side for Identities<'_> {
    const BYTES_MAX: usize = IDENTITY_MESSAGE_BYTES_MAX;

    fn says(&self) -> &Outbox {
        &self.0.link.says
    }

    fn hears(&self, message: &[u8]) -> Result<(), &'static str> {
        self.0.trust.handle_message(self.0.link, message)
    }

    fn speaks(&self, speaks: bool) {
        self.0.link.speaks.set(speaks);
    }
}

/// Questions of operators.
struct Questions<'a>(&'a Rc<Asks>);

impl Side for Questions<'_> {
    const BYTES_MAX: usize = ASK_MESSAGE_BYTES_MAX;

    fn says(&self) -> &Outbox {
        &self.0.says
    }

    fn hears(&self, message: &[u8]) -> Result<(), &'static str> {
        self.0.handle_message(message)
    }

    fn speaks(&self, speaks: bool) {
        self.0.speaks.set(speaks);
    }
}

impl Beside {
    fn poll(&mut self, context: &mut Context<'_>, held: &Held<'_>) -> Result<(), String> {
        self.identity.poll(context, &Identities(held))?;
        self.asks.poll(context, &Questions(held.asks))
    }
}

impl SideStream {
    fn open(send: SendStream<Bytes>, receive: RecvStream) -> Self {
        let (arrived, taken, pending) = (BytesMut::new(), Vec::new(), Bytes::new());
        Self::Open(Box::new(OpenSide { send, receive, arrived, taken, pending }))
    }

    /// Moves messages both ways; an error ends the link.
    fn poll<S: Side>(&mut self, context: &mut Context<'_>, side: &S) -> Result<(), String> {
        if let Self::Asked(asked) = self {
            match Pin::new(&mut asked.0).poll(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(response)) if response.status() == StatusCode::OK => {
                    let Self::Asked(asked) = std::mem::replace(self, Self::None) else { return Ok(()) };
                    *self = Self::open(asked.1, response.into_body());
                }
                Poll::Ready(Ok(_) | Err(_)) => *self = Self::None,
            }
        }
        let Self::Open(open) = self else { return Ok(()) };
        side.speaks(true);
        let lives = open.poll_receive(context, side)? && open.poll_send(context, side);
        if !lives {
            side.speaks(false);
            *self = Self::None;
        }
        Ok(())
    }
}

impl OpenSide {
    /// Whether the stream is still open.
    fn poll_receive<S: Side>(&mut self, context: &mut Context<'_>, side: &S) -> Result<bool, String> {
        while let Poll::Ready(arrived) = self.receive.poll_data(context) {
            let Some(Ok(bytes)) = arrived else { return Ok(false) };
            if self.receive.flow_control().release_capacity(bytes.len()).is_err() {
                return Ok(false);
            }
            self.arrived.extend_from_slice(&bytes);
            while let Some(message) = cut_message(&mut self.arrived, S::BYTES_MAX)? {
                side.hears(&message)?;
            }
        }
        Ok(true)
    }

    /// Whether the stream is still open.
    fn poll_send<S: Side>(&mut self, context: &mut Context<'_>, side: &S) -> bool {
        loop {
            if self.pending.is_empty() {
                match side.says().poll_take(context, &mut self.taken) {
                    Poll::Ready(Taken::Bytes) => self.pending = gather(&mut self.taken),
                    Poll::Ready(Taken::Close(_)) | Poll::Pending => return true,
                }
            }
            self.send.reserve_capacity(self.pending.len());
            if self.send.capacity() == 0 {
                match self.send.poll_capacity(context) {
                    Poll::Ready(Some(Ok(_))) => continue,
                    Poll::Ready(Some(Err(_)) | None) => return false,
                    Poll::Pending => return true,
                }
            }
            let length = self.send.capacity().min(self.pending.len());
            let chunk = self.pending.split_to(length);
            if self.send.send_data(chunk, false).is_err() {
                return false;
            }
        }
    }
}

/// What a link is held by besides its own bytes.
pub(super) struct Held<'a> {
    /// The node's trust.
    pub(super) trust: &'a Rc<Trust>,
    /// This link in it.
    pub(super) link: &'a Rc<TrustedLink>,
    /// What is asked on it.
    pub(super) asks: &'a Rc<Asks>,
}

/// How a link ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// Our side closed the outbox.
    Ours(String),
    /// The peer closed, and said why.
    Peer(String),
    /// The connection broke.
    Broken(String),
}

impl End {
    /// The reason as the host is told it.
    pub(super) fn why(&self) -> String {
        match self {
            Self::Ours(why) | Self::Broken(why) => why.clone(),
            Self::Peer(why) => format!("closed by the peer: {why}"),
        }
    }
}

impl Pipe {
    /// The edge's side: opens the signalling stream.
    pub(super) async fn open_as_edge(tls: server::TlsStream<TcpStream>) -> Result<Self, String> {
        timeout(OPEN_MAX, open_as_edge(tls)).await.unwrap_or_else(|_| Err(late()))
    }

    /// The core's side: waits for the edge to open the signalling stream.
    pub(super) async fn open_as_core(tls: client::TlsStream<TcpStream>) -> Result<Self, String> {
        timeout(OPEN_MAX, open_as_core(tls)).await.unwrap_or_else(|_| Err(late()))
    }

    /// Carries bytes until the link ends.
    pub(super) async fn run<H: LinkHost>(
        &mut self,
        host: &H,
        link: LinkId,
        outbox: &Rc<Outbox>,
        held: &Held<'_>,
    ) -> End {
        poll_fn(|context| {
            self.gate.enter(context.waker());
            let gated = self.gated.clone();
            let polled = self.poll_turn(&mut Context::from_waker(&gated), host, link, outbox, held);
            self.gate.leave();
            polled
        })
        .await
    }

    /// Writes what is left and tells the peer why, if it is we who close; waits a moment for it.
    pub(super) async fn close(mut self, end: End, outbox: Rc<Outbox>) {
        let End::Ours(why) = end else { return };
        // Whoever ends the link for a breach beside the signalling has not closed it.
        outbox.close(why.clone());
        let mut told = false;
        // GOAWAY (RFC 9113 §6.8): nothing new is begun on this connection.
        if let Connection::Core(connection) = &mut self.connection {
            connection.graceful_shutdown();
        }
        let gone = poll_fn(|context| {
            if self.connection.poll_drive(context, &mut self.beside).is_ready() {
                return Poll::Ready(());
            }
            // What still arrives must not hold up the peer's own end.
            while let Poll::Ready(Some(Ok(bytes))) = self.receive.poll_data(context) {
                let _ = self.receive.flow_control().release_capacity(bytes.len());
            }
            if !told && self.poll_flush(context, &outbox).is_ready() {
                told = true;
                let mut trailers = HeaderMap::new();
                trailers.insert(REASON_TRAILER, reason_value(&why));
                if self.send.send_trailers(trailers).is_err() {
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        });
        if timeout(LINGER_MAX, gone).await.is_err()
            && let Some(socket) = &self.socket
        {
            // The peer takes nothing. A reset overtakes what waits to be sent again, so that a peer that still
            // hears us sees the end now, and not when it has heard nothing for long enough.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }

    fn new(connection: Connection, socket: Option<OwnedFd>, send: SendStream<Bytes>, receive: RecvStream) -> Self {
        let gate = Gate::new();
        let gated = Waker::from(Arc::clone(&gate));
        let beside = Beside { identity: SideStream::None, asks: SideStream::None };
        Self { connection, socket, send, receive, beside, taken: Vec::new(), pending: Bytes::new(), gate, gated }
    }

    /// Reads, delivers, takes and writes until nothing moves.
    fn poll_turn<H: LinkHost>(
        &mut self,
        context: &mut Context<'_>,
        host: &H,
        link: LinkId,
        outbox: &Outbox,
        held: &Held<'_>,
    ) -> Poll<End> {
        for _ in 0..ROUNDS_MAX {
            self.gate.forget();
            let driven = self.connection.poll_drive(context, &mut self.beside);
            // What arrived before the connection broke still counts.
            if let Poll::Ready(end) = self.poll_receive(context, host, link) {
                return Poll::Ready(end);
            }
            if let Poll::Ready(why) = driven {
                return Poll::Ready(End::Broken(why));
            }
            if let Poll::Ready(end) = self.poll_send(context, outbox) {
                return Poll::Ready(end);
            }
            if let Err(why) = self.beside.poll(context, held) {
                return Poll::Ready(End::Ours(format!("{} broke the protocol: {why}", held.link.node)));
            }
            if !self.gate.is_noted() {
                break;
            }
        }
        // If a wake is still noted, leaving the gate hands it to the scheduler: others come first.
        Poll::Pending
    }

    fn poll_receive<H: LinkHost>(&mut self, context: &mut Context<'_>, host: &H, link: LinkId) -> Poll<End> {
        loop {
            match ready!(self.receive.poll_data(context)) {
                Some(Ok(bytes)) => {
                    // The node takes bytes at once, so both windows open again at once.
                    if self.receive.flow_control().release_capacity(bytes.len()).is_err() {
                        return Poll::Ready(End::Broken("HTTP/2 flow control is out of step".to_owned()));
                    }
                    if !bytes.is_empty() {
                        host.link_received(link, bytes);
                    }
                }
                Some(Err(error)) => return Poll::Ready(End::Broken(explain(&error))),
                None => {
                    let why = match self.receive.poll_trailers(context) {
                        Poll::Ready(Ok(Some(trailers))) => reason_of(&trailers),
                        Poll::Ready(Ok(None) | Err(_)) | Poll::Pending => "without a reason".to_owned(),
                    };
                    return Poll::Ready(End::Peer(why));
                }
            }
        }
    }

    /// Sends what is queued. A close is noticed even while the peer leaves no room.
    fn poll_send(&mut self, context: &mut Context<'_>, outbox: &Outbox) -> Poll<End> {
        match self.poll_flush(context, outbox) {
            Poll::Pending => outbox.poll_closing(context).map(End::Ours),
            end @ Poll::Ready(_) => end,
        }
    }

    /// Moves what is queued into DATA frames, as far as the peer's window reaches; `Ready` when all
    /// is sent and the outbox is closed.
    fn poll_flush(&mut self, context: &mut Context<'_>, outbox: &Outbox) -> Poll<End> {
        loop {
            // Nothing is taken that cannot be sent on: what waits is counted in the outbox.
            let wanted = if self.pending.is_empty() { outbox.queued_bytes().max(1) } else { self.pending.len() };
            if self.send.capacity() == 0 {
                self.send.reserve_capacity(wanted.min(SEND_BUFFER_BYTES));
                if self.send.capacity() == 0 {
                    match self.send.poll_capacity(context) {
                        Poll::Ready(Some(Ok(_))) => continue,
                        Poll::Ready(Some(Err(error))) => return Poll::Ready(End::Broken(explain(&error))),
                        Poll::Ready(None) => return Poll::Ready(End::Broken("the stream is closed".to_owned())),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
            if self.pending.is_empty() {
                match ready!(outbox.poll_take(context, &mut self.taken)) {
                    Taken::Bytes => self.pending = gather(&mut self.taken),
                    Taken::Close(why) => return Poll::Ready(End::Ours(why)),
                }
            }
            self.send.reserve_capacity(self.pending.len().min(SEND_BUFFER_BYTES));
            let length = self.send.capacity().min(self.pending.len());
            let chunk = self.pending.split_to(length);
            if let Err(error) = self.send.send_data(chunk, false) {
                return Poll::Ready(End::Broken(explain(&error)));
            }
        }
    }
}

impl Connection {
    /// Reads and writes the socket; `Ready` when the connection is over, with the reason.
    fn poll_drive(&mut self, context: &mut Context<'_>, beside: &mut Beside) -> Poll<String> {
        let over = || "the peer closed the connection".to_owned();
        match self {
            Self::Edge { connection, .. } => Pin::new(connection).poll(context).map(|ended| match ended {
                Ok(()) => over(),
                Err(error) => explain(&error),
            }),
            Self::Core(connection) => loop {
                match ready!(connection.poll_accept(context)) {
                    Some(Ok((request, mut respond))) => {
                        let stream = match request.uri().path() {
                            IDENTITY_PATH => Some(&mut beside.identity),
                            ASK_PATH => Some(&mut beside.asks),
                            _ => None,
                        };
                        let stream = stream.filter(|stream| matches!(stream, SideStream::None));
                        match stream.filter(|_| request.method() == Method::POST) {
                            Some(stream) => {
                                if let Ok(send) = respond.send_response(Response::new(()), false) {
                                    *stream = SideStream::open(send, request.into_body());
                                }
                            }
                            None => refuse(&mut respond),
                        }
                    }
                    Some(Err(error)) => return Poll::Ready(explain(&error)),
                    None => return Poll::Ready(over()),
                }
            },
        }
    }
}

async fn open_as_edge(tls: server::TlsStream<TcpStream>) -> Result<Pipe, String> {
    let socket = tls.get_ref().0.as_fd().try_clone_to_owned().ok();
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .data_frame_budget(SMALL_FRAMES_BUDGET_BYTES)
        // The core answers; it never pushes.
        .enable_push(false);
    let (mut requests, mut connection) =
        builder.handshake::<_, Bytes>(Calm::of_server(tls)).await.map_err(|error| explain(&error))?;
    let request =
        Request::builder().method(Method::POST).uri("https://link/sip").body(()).map_err(|e| e.to_string())?;
    let (mut response, send) = requests.send_request(request, false).map_err(|error| explain(&error))?;
    let response = poll_fn(|context| {
        let driven = Pin::new(&mut connection).poll(context);
        if let Poll::Ready(answered) = Pin::new(&mut response).poll(context) {
            return Poll::Ready(answered.map_err(|error| explain(&error)));
        }
        driven.map(|ended| Err(ended.map_or_else(|error| explain(&error), |()| "the core closed the link".to_owned())))
    })
    .await?;
    if response.status() != StatusCode::OK {
        return Err(format!("the core refused the signalling stream with {}", response.status()));
    }
    let mut open = |path: &str| {
        let uri = format!("https://link{path}");
        let request = Request::builder().method(Method::POST).uri(uri).body(()).map_err(|e| e.to_string())?;
        let asked = requests.send_request(request, false).map(Box::new);
        Ok::<_, String>(asked.map_or(SideStream::None, SideStream::Asked))
    };
    let beside = Beside { identity: open(IDENTITY_PATH)?, asks: open(ASK_PATH)? };
    let connection = Connection::Edge { connection: Box::new(connection), _requests: requests };
    let pipe = Pipe::new(connection, socket, send, response.into_body());
    Ok(Pipe { beside, ..pipe })
}

async fn open_as_core(tls: client::TlsStream<TcpStream>) -> Result<Pipe, String> {
    let socket = tls.get_ref().0.as_fd().try_clone_to_owned().ok();
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .data_frame_budget(SMALL_FRAMES_BUDGET_BYTES)
        .max_concurrent_streams(STREAMS_MAX);
    let mut connection = builder.handshake::<_, Bytes>(Calm::of_client(tls)).await.map_err(|error| explain(&error))?;
    loop {
        let (request, mut respond) = match connection.accept().await {
            Some(accepted) => accepted.map_err(|error| explain(&error))?,
            None => return Err("the edge closed the link before it opened a stream".to_owned()),
        };
        if request.method() != Method::POST || request.uri().path() != SIGNALLING_PATH {
            refuse(&mut respond);
            continue;
        }
        let send = respond.send_response(Response::new(()), false).map_err(|error| explain(&error))?;
        return Ok(Pipe::new(Connection::Core(Box::new(connection)), socket, send, request.into_body()));
    }
}

/// A stream that has no place here, or one more signalling stream than [`SIGNALLING_STREAMS`].
fn refuse(respond: &mut h2::server::SendResponse<Bytes>) {
    const { assert!(SIGNALLING_STREAMS == 1, "several streams need an order of frames across them") };
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::NOT_FOUND;
    let _ = respond.send_response(response, true);
}

/// One `Bytes` of several, so that one turn is one DATA frame, one TLS record, one write.
fn gather(taken: &mut Vec<Bytes>) -> Bytes {
    if taken.len() == 1 {
        return taken.pop().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(taken.iter().map(Bytes::len).sum());
    for bytes in taken.drain(..) {
        whole.extend_from_slice(&bytes);
    }
    whole.freeze()
}

fn explain(error: &h2::Error) -> String {
    match error.get_io() {
        Some(io) => explain_io(io),
        None => error.to_string(),
    }
}

fn late() -> String {
    explain_io(&io::Error::new(io::ErrorKind::TimedOut, "the signalling stream was not opened in time"))
}

/// Printable ASCII only: it goes into a header and then into a log.
fn reason_value(why: &str) -> HeaderValue {
    let text: String =
        why.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).take(REASON_BYTES_MAX).collect();
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("unspeakable"))
}

fn reason_of(trailers: &HeaderMap) -> String {
    let text = trailers.get(REASON_TRAILER).and_then(|value| value.to_str().ok()).unwrap_or("without a reason");
    text.chars().take(REASON_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_push_is_not_copied_and_several_become_one() {
        let single = Bytes::from_static(b"alone");
        let gathered = gather(&mut vec![single.clone()]);
        assert_eq!(gathered.as_ptr(), single.as_ptr());
        let mut several = vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc"), Bytes::from_static(b"d")];
        assert_eq!(gather(&mut several), "abcd");
        assert!(several.is_empty());
    }

    #[test]
    fn a_reason_survives_the_trailer_without_control_characters() {
        let mut trailers = HeaderMap::new();
        trailers.insert(REASON_TRAILER, reason_value("stalled:\r\n\u{1b}[2J 保守"));
        assert_eq!(reason_of(&trailers), "stalled:???[2J ??");
        assert_eq!(reason_of(&HeaderMap::new()), "without a reason");
        trailers.insert(REASON_TRAILER, reason_value(&"x".repeat(5_000)));
        assert_eq!(reason_of(&trailers).len(), REASON_BYTES_MAX);
    }
}
