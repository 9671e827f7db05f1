//! The administrator's side of a core as a running thing: a thread of its own, its TLS listener, and what comes by way of
//! the control socket.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use edgeway_config::CoreSettings;
use edgeway_runtime::listen::bind_tcp;
use edgeway_runtime::operate::{AdminDoor, Administration, Forwarded, MakeAdmin, OperatorPort, Passed};
use http::Request;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::api::{self, Peer};
use crate::certificate::Shown;
use crate::configuration::{ConfigurationDesk, Parts};
use crate::limits::{
    CERTIFICATE_LOOK, CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, END_MAX, HANDSHAKE_MAX, HEAD_BYTES_MAX, HEAD_MAX,
    IDLE_MAX, LISTEN_AGAIN, PIECE_BYTES, STALLED_MAX, STREAMS_MAX, WINDOW_BYTES,
};
use crate::office::{Office, Settled};
use crate::pages;
use crate::store::Store;

/// What the administrator's side is made of.
pub struct Ingredients {
    /// The core's settings.
    pub settings: Arc<CoreSettings>,
    /// Where revisions, accounts and the rest are kept.
    pub store: Arc<dyn Store>,
    /// The configuration, as it was found at the start.
    pub configuration: Parts,
    /// Told the address of the listener once it stands.
    pub announce: Option<std::sync::mpsc::Sender<SocketAddr>>,
}

/// Makes the administrator's side, for [`Hooks`](edgeway_runtime::service::Hooks).
#[must_use]
pub fn make(ingredients: Ingredients) -> MakeAdmin {
    Box::new(move |port| start(ingredients, port))
}

fn start(ingredients: Ingredients, port: OperatorPort) -> Result<Administration, String> {
    let (door, forwarded) = AdminDoor::new();
    let (stop, stopped) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("starting the administrator's side: {error}"))?;
    let thread = std::thread::Builder::new()
        .name("admin".into())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = serve(ingredients, port, forwarded) => {}
                }
            });
            runtime.shutdown_timeout(END_MAX);
        })
        .map_err(|error| format!("starting the administrator's side: {error}"))?;
    let kept = Running { stop: Some(stop), thread: Some(thread) };
    Ok(Administration { door, kept: Box::new(kept) })
}

/// Ends the thread when dropped.
struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(ingredients: Ingredients, port: OperatorPort, mut passed: mpsc::Receiver<Passed>) {
    let Ingredients { settings, store, configuration, announce } = ingredients;
    let desk = ConfigurationDesk::new(configuration, port.clone());
    let office = Office::new(port, store, desk.clone(), Settled::of(&settings));
    office.open().await;
    if !desk.is_store_open() {
        // Who may sign in is known as soon as the store is there.
        let (late, desk) = (Arc::clone(&office), desk.clone());
        tokio::spawn(async move {
            desk.store_opened().await;
            late.open().await;
        });
    }
    tokio::spawn(async move { desk.watch().await });
    let router = router(&office);
    if let Some(at) = settings.admin.listen {
        tokio::spawn(keep_listening(at, settings, router.clone(), announce));
    }
    let mut orders = api::orders::Orders::new(&office);
    while let Some(passed) = passed.recv().await {
        let Forwarded { request, uid, answer } = match passed {
            Passed::Request(forwarded) => *forwarded,
            Passed::Ordered(ordered) => {
                orders.hand_over(ordered).await;
                continue;
            }
        };
        let (router, written) = (router.clone(), orders.written());
        tokio::spawn(async move {
            written.await;
            let mut request = request.map(Body::from);
            request.extensions_mut().insert(Peer::Socket { uid });
            let Ok(response) = router.oneshot(request).await;
            let body = |body: Body| http_body_util::BodyExt::map_err(body, Into::into);
            let _ = answer.send(response.map(|sent| http_body_util::BodyExt::boxed_unsync(body(sent))));
        });
    }
}

/// All that is served, by either way.
pub fn router(office: &Arc<Office>) -> Router {
    api::surrounded(office, api::router(office).merge(pages::router(office)))
}

/// Listens for as long as the service runs. A port that is taken is no reason for a core not to carry calls: the operator
/// is told, and the socket is there.
async fn keep_listening(
    at: SocketAddr,
    settings: Arc<CoreSettings>,
    router: Router,
    announce: Option<std::sync::mpsc::Sender<SocketAddr>>,
) {
    let (state_dir, admin) = (PathBuf::from(&settings.state_dir), &settings.admin);
    loop {
        let listener = bind_tcp("admin.listen", at)
            .map_err(|fault| fault.to_string())
            .and_then(|listener| TcpListener::from_std(listener).map_err(|error| error.to_string()));
        let shown = Shown::open(admin, &state_dir, settings.node.as_str());
        match (listener, shown) {
            (Ok(listener), Ok(shown)) => {
                let address = listener.local_addr().unwrap_or(at);
                let whose = if shown.is_own() { "made by this core" } else { "the operator's" };
                tracing::info!(
                    "pages and API on https://{address}, certificate {whose}, SHA-256 {}",
                    shown.fingerprint()
                );
                if let Some(announce) = announce {
                    let _ = announce.send(address);
                }
                return accept(listener, shown, router).await;
            }
            (Err(fault), _) => tracing::warn!("no pages and no API over the network: {fault}"),
            (_, Err(fault)) => tracing::warn!("no pages and no API over the network: {fault}"),
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

async fn accept(listener: TcpListener, mut shown: Shown, router: Router) {
    let acceptor = TlsAcceptor::from(shown.tls());
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let addresses = Addresses::default();
    let mut look = tokio::time::interval(CERTIFICATE_LOOK);
    loop {
        tokio::select! {
            _ = look.tick() => shown.look_again(),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { continue };
                    let Some(place) = addresses.enter(peer.ip()) else { continue };
                    let (acceptor, router) = (acceptor.clone(), router.clone());
                    let _ = stream.set_nodelay(true);
                    let held: (OwnedSemaphorePermit, Place) = (permit, place);
                    tokio::spawn(async move {
                        converse(stream, peer.ip(), acceptor, router).await;
                        drop(held);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "an administrator's connection could not be accepted");
                    tokio::time::sleep(edgeway_runtime::limits::ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// How many connections each address has.
#[derive(Clone, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One of them.
struct Place(Addresses, IpAddr);

impl Addresses {
    fn enter(&self, from: IpAddr) -> Option<Place> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(from).or_default();
        if *count >= CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        Some(Place(self.clone(), from))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.1);
            }
        }
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    from: IpAddr,
    acceptor: TlsAcceptor,
    router: Router,
) {
    let tls = match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return tracing::debug!(%error, "an administrator's handshake failed"),
        Err(_) => return tracing::debug!("an administrator's handshake took too long"),
    };
    let idle = Idle::new();
    let begun = idle.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer::Address(from));
        let (router, turn) = (router.clone(), begun.turn());
        async move {
            let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
            Ok::<_, Infallible>(response.map(|body| Answering::new(body, turn.0.clone())))
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .keep_alive_interval(HEAD_MAX)
        .keep_alive_timeout(HANDSHAKE_MAX);
    let connection = builder.serve_connection(TokioIo::new(Patient::new(tls)), service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => Some(outcome),
        () = idle.over(HEAD_MAX, IDLE_MAX) => None,
    };
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(END_MAX, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "an administrator's connection failed");
    }
}

/// Whether the other side of a connection waits for anything of ours. What else it sends, pings and the beginning of a
/// request among it, does not keep its place.
#[derive(Clone)]
struct Idle(Arc<Mutex<Waits>>);

struct Waits {
    /// Requests whose answer, or its next part, is to come from us.
    count: usize,
    /// When there was last one.
    last: Instant,
    /// Whether there was any.
    begun: bool,
}

/// The other side waits for us.
struct Turn(Idle);

impl Idle {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Waits { count: 0, last: Instant::now(), begun: false })))
    }

    fn waits(&self) -> std::sync::MutexGuard<'_, Waits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self) -> Turn {
        let mut waits = self.waits();
        waits.count += 1;
        waits.begun = true;
        drop(waits);
        Turn(self.clone())
    }

    /// Returns once nobody has waited for so long, `first` before the first request.
    async fn over(&self, first: Duration, further: Duration) {
        loop {
            let now = Instant::now();
            let until = {
                let waits = self.waits();
                let longest = if waits.begun { further } else { first };
                if waits.count > 0 { now + longest } else { waits.last + longest }
            };
            if until <= now {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut waits = self.0.waits();
        waits.count -= 1;
        waits.last = Instant::now();
    }
}

/// The body of an answer. While it has nothing to send, as a stream of events between two of them, it is our turn; a part
/// that was sent and that the other side does not take is not.
struct Answering {
    body: Body,
    idle: Idle,
    turn: Option<Turn>,
    /// What of the last part is to be handed over.
    rest: Bytes,
}

impl Answering {
    const fn new(body: Body, idle: Idle) -> Self {
        Self { body, idle, turn: None, rest: Bytes::new() }
    }
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = if self.rest.is_empty() {
            Pin::new(&mut self.body).poll_frame(context)
        } else {
            Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.rest)))))
        };
        match polled {
            Poll::Ready(polled) => {
                self.turn = None;
                self.idle.waits().last = Instant::now();
                let Some(Ok(frame)) = polled else { return Poll::Ready(polled) };
                Poll::Ready(Some(Ok(match frame.into_data() {
                    Ok(mut data) => {
                        self.rest = data.split_off(data.len().min(PIECE_BYTES));
                        Frame::data(data)
                    }
                    Err(trailers) => trailers,
                })))
            }
            Poll::Pending => {
                if self.turn.is_none() {
                    self.turn = Some(self.idle.turn());
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

/// A connection that is closed when its other side leaves an answer lying.
struct Patient<T> {
    inner: T,
    stalled: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<T> Patient<T> {
    const fn new(inner: T) -> Self {
        Self { inner, stalled: None }
    }

    fn judge<R>(&mut self, outcome: Poll<io::Result<R>>, context: &mut Context<'_>) -> Poll<io::Result<R>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let sleep = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED_MAX)));
        match sleep.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.judge(outcome, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(context);
        self.judge(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(context);
        self.judge(outcome, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(30);
    const FURTHER: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn nobody_keeps_a_place_who_asks_for_nothing() {
        let begin = Instant::now();
        let idle = Idle::new();
        idle.over(FIRST, FURTHER).await;
        assert_eq!(begin.elapsed().as_secs(), 30);

        let (begin, idle) = (Instant::now(), Idle::new());
        let turn = idle.turn();
        let long = Duration::from_secs(1_000);
        assert!(tokio::time::timeout(long, idle.over(FIRST, FURTHER)).await.is_err(), "it is our turn");
        drop(turn);
        idle.over(FIRST, FURTHER).await;
        assert_eq!(begin.elapsed().as_secs(), 1_060);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_waits_for_us_is_under_way_and_one_that_is_left_lying_is_not() {
        let idle = Idle::new();
        let (lines, received) = mpsc::channel::<Bytes>(1);
        struct Lines(mpsc::Receiver<Bytes>);
        impl HttpBody for Lines {
            type Data = Bytes;
            type Error = Infallible;
            fn poll_frame(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
                self.0.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
            }
        }
        let mut body = Answering::new(Body::new(Lines(received)), idle.clone());
        drop(idle.turn());
        let long = Duration::from_secs(1_000);
        {
            let next = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context));
            tokio::pin!(next);
            tokio::select! {
                _ = &mut next => panic!("there is nothing yet"),
                () = idle.over(FIRST, FURTHER) => panic!("it is our turn"),
                () = tokio::time::sleep(long) => {}
            }
            lines.send(Bytes::from_static(b"x")).await.expect("read");
            assert!(next.await.is_some());
        }
        let begin = Instant::now();
        idle.over(FIRST, FURTHER).await;
        assert_eq!(begin.elapsed().as_secs(), 60, "nobody reads on");
    }
    /// Talks to a listener until it hangs up; answers what it has said, and after how many seconds it did.
    async fn hung_up_on(name: &str, alpn: &[u8], first: Vec<u8>, every_ten_seconds: &[u8]) -> (Vec<u8>, u64) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let scratch = crate::scratch::Scratch::new(name);
        let settings = edgeway_config::AdminSettings { listen: None, certificate: None, names: Vec::new() };
        let shown = Shown::open(&settings, scratch.path(), "core1").expect("a certificate");
        let pem = std::fs::read(scratch.path().join("admin.crt")).expect("there");
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).expect("a certificate");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(pem.contents.into()).expect("a root");
        let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let (near, far) = tokio::io::duplex(64 * 1024);
        let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
        let from = IpAddr::from([192, 0, 2, 1]);
        tokio::spawn(converse(far, from, TlsAcceptor::from(shown.tls()), router));
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let server = "localhost".try_into().expect("a name");
        let tls = connector.connect(server, near).await.expect("a handshake");
        let begin = Instant::now();
        let (mut reads, mut writes) = tokio::io::split(tls);
        writes.write_all(&first).await.expect("taken");
        writes.flush().await.expect("taken");
        let (mut said, mut piece) = (Vec::new(), [0; 4_096]);
        let mut ticks = tokio::time::interval(Duration::from_secs(10));
        while begin.elapsed() < Duration::from_secs(1_000) {
            tokio::select! {
                read = reads.read(&mut piece) => match read {
                    Ok(0) | Err(_) => break,
                    Ok(count) => said.extend_from_slice(&piece[..count]),
                },
                _ = ticks.tick() => {
                    let _ = writes.write_all(every_ten_seconds).await;
                    let _ = writes.flush().await;
                }
            }
        }
        (said, begin.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_is_asked_ends() {
        let (said, after) = hung_up_on("silent", b"http/1.1", Vec::new(), b"").await;
        assert!(said.is_empty() && (30..=33).contains(&after), "{after} s");
        // RFC 9113 §3.4, §6.7: the preface, no settings, and a ping now and then.
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        let ping = b"\0\0\x08\x06\0\0\0\0\x0012345678";
        let (said, after) = hung_up_on("pings", b"h2", preface, ping).await;
        assert!(!said.is_empty() && (30..=33).contains(&after), "{after} s");
        let ask = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
        let (said, after) = hung_up_on("asks", b"http/1.1", ask, b"").await;
        assert!(said.ends_with(b"here") && after <= 63, "{after} s");
    }

    #[tokio::test]
    async fn an_answer_is_whole_though_it_is_handed_over_in_pieces() {
        let sent: Bytes = (0..3 * PIECE_BYTES + 7).map(|n| n.to_le_bytes()[0]).collect();
        let mut body = Answering::new(Body::from(sent.clone()), Idle::new());
        let mut got = Vec::new();
        while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
            let data = frame.expect("ours").into_data().expect("data");
            assert!(data.len() <= PIECE_BYTES);
            got.extend_from_slice(&data);
            assert_eq!(body.size_hint().exact(), Some((sent.len() - got.len()) as u64));
            assert_eq!(body.is_end_stream(), got.len() == sent.len());
        }
        assert_eq!(got, sent);
    }
}
