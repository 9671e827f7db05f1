//! Listeners: SIP over TLS outside, SIP over TCP and UDP inside.
//!
//! TLS handshakes run on a thread of their own, so that a crowd that connects at once does not hold
//! up those who are talking. Finished connections come back to the reactor whole.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::limits::{FLOWS_MAX, TLS_HANDSHAKE_MAX};
use edgeway_model::world::Observable;
use rustls::{ServerConfig, ServerConnection};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;

use crate::flow::{self, Stream};
use crate::reactor::Reactor;

/// Connections the kernel holds for us before we accept them.
const BACKLOG: i32 = 1_024;
/// Handshakes in progress at once; more wait in the kernel.
const HANDSHAKES_MAX: usize = 1_024;
/// Finished handshakes waiting for the reactor.
const FINISHED_MAX: usize = 1_024;
/// After an accept fails for want of descriptors, how long to leave the queue alone.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A SIP datagram is never larger than UDP allows.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Datagrams taken per wake-up.
const DATAGRAMS_PER_TURN: usize = 64;

/// A socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot listen on {address}: {source}. {remedy}")]
pub struct ListenFault {
    /// Which listener.
    pub what: &'static str,
    /// Its address.
    pub address: SocketAddr,
    /// What the system says.
    pub source: io::Error,
    /// What to do.
    pub remedy: &'static str,
}

impl ListenFault {
    pub(crate) fn new(what: &'static str, address: SocketAddr, source: io::Error) -> Self {
        let remedy = match source.kind() {
            io::ErrorKind::AddrInUse => "Another program uses this port: stop it, or choose another port.",
            io::ErrorKind::AddrNotAvailable => "This machine has no such address: check the setting.",
            io::ErrorKind::PermissionDenied => "Ports below 1024 need CAP_NET_BIND_SERVICE.",
            _ => "Check the address.",
        };
        Self { what, address, source, remedy }
    }
}

/// Opens a TCP listener.
///
/// # Errors
/// [`ListenFault`], with the remedy.
pub fn bind_tcp(what: &'static str, address: SocketAddr) -> Result<std::net::TcpListener, ListenFault> {
    let bind = || -> io::Result<std::net::TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    bind().map_err(|source| ListenFault::new(what, address, source))
}

/// Opens a UDP socket.
///
/// # Errors
/// [`ListenFault`], with the remedy.
pub fn bind_udp(what: &'static str, address: SocketAddr) -> Result<std::net::UdpSocket, ListenFault> {
    let bind = || -> io::Result<std::net::UdpSocket> {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(1 << 20);
        Ok(socket)
    };
    bind().map_err(|source| ListenFault::new(what, address, source))
}

/// A finished handshake.
type Finished = (std::net::TcpStream, Box<ServerConnection>, SocketAddr);

/// Accepts SIP over TLS. Handshakes run on a thread that ends with the reactor.
///
/// # Errors
/// When the thread cannot be started.
pub fn serve_tls<N: Observable + 'static>(
    reactor: &Rc<Reactor<N>>,
    listener: std::net::TcpListener,
    config: Arc<ServerConfig>,
) -> io::Result<()> {
    let (finished, mut incoming) = mpsc::channel::<Finished>(FINISHED_MAX);
    std::thread::Builder::new().name("tls-handshakes".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => {
                LocalSet::new().block_on(&runtime, accept_tls(listener, TlsAcceptor::from(config), finished));
            }
            Err(error) => tracing::error!(%error, "the handshake thread cannot start"),
        }
    })?;
    let reactor = Rc::clone(reactor);
    spawn_local(async move {
        while let Some((stream, tls, peer)) = incoming.recv().await {
            match TcpStream::from_std(stream) {
                Ok(tcp) => drop(spawn_local(flow::serve(Rc::clone(&reactor), Stream::Tls(tcp, tls), peer))),
                Err(error) => tracing::debug!(%error, "a finished connection could not be taken over"),
            }
        }
    });
    Ok(())
}

async fn accept_tls(listener: std::net::TcpListener, acceptor: TlsAcceptor, finished: mpsc::Sender<Finished>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let permits = Arc::new(Semaphore::new(HANDSHAKES_MAX.min(FLOWS_MAX)));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = finished.closed() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, finished) = (acceptor.clone(), finished.clone());
        spawn_local(async move {
            flow::tune(&stream);
            match tokio::time::timeout(TLS_HANDSHAKE_MAX, acceptor.accept(stream)).await {
                Ok(Ok(tls)) => {
                    let (tcp, connection) = tls.into_inner();
                    if let Ok(tcp) = tcp.into_std() {
                        let _ = finished.send((tcp, Box::new(connection), peer)).await;
                    }
                }
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
            drop(permit);
        });
    }
}

/// Accepts SIP over TCP.
///
/// # Errors
/// When the socket cannot be registered.
pub fn serve_tcp<N: Observable + 'static>(reactor: &Rc<Reactor<N>>, listener: std::net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let reactor = Rc::clone(reactor);
    spawn_local(async move {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    flow::tune(&stream);
                    spawn_local(flow::serve(Rc::clone(&reactor), Stream::Tcp(stream), peer));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    });
    Ok(())
}

/// Serves SIP over UDP on one socket.
///
/// # Errors
/// When the socket cannot be registered.
pub fn serve_udp<N: Observable + 'static>(reactor: &Rc<Reactor<N>>, socket: std::net::UdpSocket) -> io::Result<()> {
    let socket = Rc::new(UdpSocket::from_std(socket)?);
    let local = socket.local_addr()?;
    reactor.bind_datagrams(local, Rc::clone(&socket));
    let reactor = Rc::clone(reactor);
    spawn_local(async move {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        while socket.readable().await.is_ok() {
            for _ in 0..DATAGRAMS_PER_TURN {
                match socket.try_recv_from(&mut buffer) {
                    Ok((count, peer)) => {
                        reactor.datagram_received(local, peer, Bytes::copy_from_slice(&buffer[..count]));
                    }
                    // An ICMP error of an earlier packet is reported here; it concerns nobody else.
                    Err(_) => break,
                }
            }
            tokio::task::yield_now().await;
        }
    });
    Ok(())
}
