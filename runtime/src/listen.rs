//! Listeners: SIP over TLS outside, SIP over TCP and UDP inside.
//!
//! Opening a socket ([`bind_tcp`], [`bind_udp`]) is apart from serving it, so that a node can open all
//! its sockets, report every problem at once, and only then start.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use edgeway_model::world::Node;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use crate::handshake::{self, HandshakeCounters, Handshakes, Offered};
use crate::limits::{ACCEPT_BACKLOG, DATAGRAM_RECEIVE_BUFFER_BYTES, FINISHED_MAX};
use crate::reactor::Reactor;
use crate::{datagram, flow};

/// A socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot listen on {address}: {}. {}", reason(source), remedy(source))]
pub struct ListenFault {
    /// Which listener.
    pub what: &'static str,
    /// Its address.
    pub address: SocketAddr,
    /// What the system says.
    pub source: io::Error,
}

impl ListenFault {
    /// The exit code of a process that ends because of this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        known(&self.source).map_or(69, |known| known.exit_code)
    }
}

/// What operators do wrong with addresses.
struct Known {
    kind: io::ErrorKind,
    reason: &'static str,
    remedy: &'static str,
    /// sysexits: 69 unavailable, 77 no permission, 78 configuration.
    exit_code: u8,
}

const KNOWN: [Known; 3] = [
    Known {
        kind: io::ErrorKind::AddrInUse,
        reason: "another program uses this port",
        remedy: "Stop that program (`ss -lntup` names it), or choose another port",
        exit_code: 69,
    },
    Known {
        kind: io::ErrorKind::AddrNotAvailable,
        reason: "this machine has no such address",
        remedy: "Check the setting against `ip address`",
        exit_code: 78,
    },
    Known {
        kind: io::ErrorKind::PermissionDenied,
        reason: "not permitted",
        remedy: "A port below 1024 needs CAP_NET_BIND_SERVICE",
        exit_code: 77,
    },
];

fn known(source: &io::Error) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.kind == source.kind())
}

fn reason(source: &io::Error) -> String {
    known(source).map_or_else(|| source.to_string(), |known| known.reason.to_owned())
}

fn remedy(source: &io::Error) -> &'static str {
    known(source).map_or("Check the setting", |known| known.remedy)
}

/// Opens a TCP listener. `what` names it in errors, as in `"SIP over TLS"`.
///
/// # Errors
/// [`ListenFault`], with the remedy.
pub fn bind_tcp(what: &'static str, address: SocketAddr) -> Result<std::net::TcpListener, ListenFault> {
    let bind = || -> io::Result<std::net::TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restart must not wait for connections of the last run to be forgotten.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(ACCEPT_BACKLOG)?;
        Ok(socket.into())
    };
    bind().map_err(|source| ListenFault { what, address, source })
}

/// Opens a UDP socket.
///
/// # Errors
/// [`ListenFault`], with the remedy.
pub fn bind_udp(what: &'static str, address: SocketAddr) -> Result<std::net::UdpSocket, ListenFault> {
    let bind = || -> io::Result<std::net::UdpSocket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    let socket = bind().map_err(|source| ListenFault { what, address, source })?;
    if let Err(error) = SockRef::from(&socket).set_recv_buffer_size(DATAGRAM_RECEIVE_BUFFER_BYTES) {
        tracing::debug!(%error, "the receive buffer stays as the system has it");
    }
    Ok(socket)
}

/// Accepts SIP over TLS. Handshakes run on threads of their own, which end with the reactor.
///
/// # Errors
/// When a thread cannot be started.
pub fn serve_tls<N: Node + 'static>(
    reactor: &Rc<Reactor<N>>,
    listener: std::net::TcpListener,
    config: impl Into<Offered>,
) -> io::Result<()> {
    let (finished, mut incoming) = mpsc::channel(FINISHED_MAX);
    let handshakes = Handshakes {
        config: config.into(),
        deadline: reactor.limits().handshake_max,
        strangers: reactor.strangers(),
        counters: reactor.handshake_counters(),
        finished,
    };
    for _ in 1..reactor.limits().handshake_threads {
        handshake::start(listener.try_clone()?, handshakes.clone())?;
    }
    handshake::start(listener, handshakes)?;
    let reactor = Rc::clone(reactor);
    spawn_local(async move {
        while let Some(established) = incoming.recv().await {
            if reactor.is_full() {
                HandshakeCounters::count(&reactor.handshake_counters().refused_full);
            } else if let Err(error) = flow::accept_tls(&reactor, established) {
                tracing::debug!(%error, "a finished connection could not be taken over");
            }
        }
    });
    Ok(())
}

/// Accepts SIP over TCP.
///
/// # Errors
/// When the socket cannot be registered.
pub fn serve_tcp<N: Node + 'static>(reactor: &Rc<Reactor<N>>, listener: std::net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let reactor = Rc::clone(reactor);
    spawn_local(async move {
        let counters = reactor.handshake_counters();
        loop {
            match listener.accept().await {
                Ok(_) if reactor.is_full() => HandshakeCounters::count(&counters.refused_full),
                Ok((stream, peer)) => {
                    HandshakeCounters::count(&counters.accepted);
                    flow::tune(&stream);
                    if let Err(error) = flow::accept_tcp(&reactor, stream, peer) {
                        tracing::debug!(%error, "an accepted connection is gone again");
                    }
                }
                Err(error) => handshake::pause(&counters, &error).await,
            }
        }
    });
    Ok(())
}

/// Serves SIP over UDP on one socket.
///
/// # Errors
/// When the socket cannot be registered.
pub fn serve_udp<N: Node + 'static>(reactor: &Rc<Reactor<N>>, socket: std::net::UdpSocket) -> io::Result<()> {
    let (local, outbox) = datagram::serve(reactor, socket)?;
    reactor.datagrams_served(local, outbox);
    Ok(())
}
