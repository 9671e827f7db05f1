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

use axum::Router;
use axum::body::Body;
use edgeway_config::CoreSettings;
use edgeway_runtime::listen::bind_tcp;
use edgeway_runtime::operate::{AdminDoor, Administration, Forwarded, MakeAdmin, OperatorPort};
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::api::{self, Peer};
use crate::certificate::Shown;
use crate::configuration::{ConfigurationDesk, Parts};
use crate::limits::{
    CERTIFICATE_LOOK, CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, END_MAX, HANDSHAKE_MAX, HEAD_BYTES_MAX, HEAD_MAX,
    LISTEN_AGAIN, STALLED_MAX, STREAMS_MAX,
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

async fn serve(ingredients: Ingredients, port: OperatorPort, mut forwarded: mpsc::Receiver<Forwarded>) {
    let Ingredients { settings, store, configuration, announce } = ingredients;
    let desk = ConfigurationDesk::new(configuration, port.clone());
    let office = Office::new(port, store, desk.clone(), Settled::of(&settings));
    office.open().await;
    tokio::spawn(async move { desk.watch().await });
    let router = router(&office);
    if let Some(at) = settings.admin.listen {
        tokio::spawn(keep_listening(at, settings, router.clone(), announce));
    }
    while let Some(Forwarded { request, uid, answer }) = forwarded.recv().await {
        let router = router.clone();
        tokio::spawn(async move {
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
                    tokio::spawn(converse(stream, peer.ip(), acceptor, router, (permit, place)));
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
    stream: TcpStream,
    from: IpAddr,
    acceptor: TlsAcceptor,
    router: Router,
    _held: (OwnedSemaphorePermit, Place),
) {
    let _ = stream.set_nodelay(true);
    let tls = match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return tracing::debug!(%error, "an administrator's handshake failed"),
        Err(_) => return tracing::debug!("an administrator's handshake took too long"),
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer::Address(from));
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
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
        .keep_alive_interval(HEAD_MAX)
        .keep_alive_timeout(HANDSHAKE_MAX);
    if let Err(error) = builder.serve_connection(TokioIo::new(Patient::new(tls)), service).await {
        tracing::debug!(%error, "an administrator's connection failed");
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
