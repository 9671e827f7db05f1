//! TLS handshakes of clients, on threads of their own, so that a crowd that connects at once does not
//! hold up those who are talking. Finished connections come back to the reactor whole.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalRuntime;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_local;

use crate::flow::{self, Established};
use crate::limits::{ACCEPT_PAUSE, HANDSHAKE_BYTES_MAX, HANDSHAKES_MAX};
use crate::strangers::Strangers;
use crate::tls_layer::{Progress, TlsLayer};

/// What became of connections before they were flows.
#[derive(Debug, Default)]
pub struct HandshakeCounters {
    /// Accepted by the kernel.
    pub accepted: AtomicU64,
    /// TLS stood.
    pub established: AtomicU64,
    /// Not TLS, no common parameters, or gone before the end.
    pub failed: AtomicU64,
    /// Not done in time.
    pub timed_out: AtomicU64,
    /// Refused: their address held as many as it may.
    pub refused_address: AtomicU64,
    /// Refused: the node held as many flows as it may.
    pub refused_full: AtomicU64,
    /// The kernel could not give us a connection (mostly: out of file descriptors).
    pub accept_errors: AtomicU64,
}

impl HandshakeCounters {
    /// Every outcome by its name, as in the metrics.
    #[must_use]
    pub fn outcomes(&self) -> [(&'static str, u64); 7] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("accepted", read(&self.accepted)),
            ("established", read(&self.established)),
            ("failed", read(&self.failed)),
            ("timed_out", read(&self.timed_out)),
            ("refused_address", read(&self.refused_address)),
            ("refused_full", read(&self.refused_full)),
            ("accept_error", read(&self.accept_errors)),
        ]
    }

    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What is shown to those who connect. It can be replaced: handshakes that have begun end as they began, and connections
/// stay.
#[derive(Clone, Debug)]
pub struct Offered(Arc<RwLock<Arc<ServerConfig>>>);

impl Offered {
    /// From the next handshake on.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    fn now(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl From<Arc<ServerConfig>> for Offered {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(RwLock::new(config)))
    }
}

/// What every handshake thread of one listener shares.
#[derive(Clone)]
pub(crate) struct Handshakes {
    pub(crate) config: Offered,
    pub(crate) deadline: Duration,
    pub(crate) strangers: Arc<Strangers>,
    pub(crate) counters: Arc<HandshakeCounters>,
    /// Where finished ones go; the threads end when the other end is gone.
    pub(crate) finished: mpsc::Sender<Established>,
}

/// Starts a thread that accepts on `listener` and shakes hands.
pub(crate) fn start(listener: std::net::TcpListener, handshakes: Handshakes) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    std::thread::Builder::new().name("tls-handshakes".into()).spawn(move || {
        let mut builder = runtime;
        match builder.enable_all().build_local(tokio::runtime::LocalOptions::default()) {
            Ok(runtime) => run(&runtime, listener, handshakes),
            Err(error) => tracing::error!(%error, "the thread for TLS handshakes cannot start"),
        }
    })?;
    Ok(())
}

fn run(runtime: &LocalRuntime, listener: std::net::TcpListener, handshakes: Handshakes) {
    runtime.block_on(async move {
        match TcpListener::from_std(listener) {
            Ok(listener) => accept(&listener, Rc::new(handshakes)).await,
            Err(error) => tracing::error!(%error, "the listener for TLS cannot be used"),
        }
    });
}

async fn accept(listener: &TcpListener, handshakes: Rc<Handshakes>) {
    let permits = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = handshakes.finished.closed() => return,
        };
        let counters = &handshakes.counters;
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause(counters, &error).await;
                continue;
            }
        };
        HandshakeCounters::count(&counters.accepted);
        let Some(admitted) = handshakes.strangers.admit(peer.ip()) else {
            HandshakeCounters::count(&counters.refused_address);
            continue;
        };
        let handshakes = Rc::clone(&handshakes);
        spawn_local(async move {
            shake(&handshakes, stream, peer).await;
            drop((permit, admitted));
        });
    }
}

/// Out of descriptors, most likely: the queue is left alone for a moment instead of spinning on it.
pub(crate) async fn pause(counters: &HandshakeCounters, error: &io::Error) {
    let before = counters.accept_errors.fetch_add(1, Ordering::Relaxed);
    if before.is_power_of_two() || before == 0 {
        tracing::warn!(%error, "a connection could not be accepted; if this stays, raise LimitNOFILE");
    }
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn shake(handshakes: &Handshakes, stream: TcpStream, peer: SocketAddr) {
    flow::tune(&stream);
    let counters = &handshakes.counters;
    let config = handshakes.config.now();
    match tokio::time::timeout(handshakes.deadline, shake_hands(stream, peer, config)).await {
        Ok(Ok(established)) => {
            HandshakeCounters::count(&counters.established);
            // Fails only when the reactor has ended, and then nobody wants the connection.
            let _ = handshakes.finished.send(established).await;
        }
        Ok(Err(error)) => {
            HandshakeCounters::count(&counters.failed);
            tracing::debug!(%error, %peer, "a TLS handshake failed");
        }
        Err(_) => {
            HandshakeCounters::count(&counters.timed_out);
            tracing::debug!(%peer, "a TLS handshake took too long");
        }
    }
}

async fn shake_hands(mut stream: TcpStream, peer: SocketAddr, config: Arc<ServerConfig>) -> io::Result<Established> {
    // One that only connects costs nothing but its socket.
    stream.readable().await?;
    let mut tls = Box::new(TlsLayer::new(config).map_err(io::Error::other)?);
    let (mut incoming, mut outgoing, mut early) = (Vec::with_capacity(2048), Vec::new(), Vec::new());
    loop {
        if incoming.len() > HANDSHAKE_BYTES_MAX {
            return Err(io::Error::other("the client's messages are too large"));
        }
        if stream.read_buf(&mut incoming).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (consumed, progress) = tls.receive(&mut incoming, &mut outgoing, &mut early);
        incoming.drain(..consumed);
        stream.write_all(&outgoing).await?;
        outgoing.clear();
        match progress.map_err(io::Error::other)? {
            Progress::Handshaking => {}
            // One that spoke and closed at once is still a flow, with something to say.
            Progress::Established | Progress::PeerClosed if !tls.is_handshaking() => break,
            Progress::Established | Progress::PeerClosed => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
    incoming.shrink_to_fit();
    Ok(Established { stream: stream.into_std()?, peer, tls, partial: incoming, early })
}
