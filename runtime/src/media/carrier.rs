//! One UDP socket of the link: the edge's listening one, or the one a core dialled an edge from.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use quinn_proto::Transmit;
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use super::limits::{LINK_SOCKET_BYTES, RECEIVE_BATCH, RECEIVE_BYTES, SEGMENTS_MAX};

/// A socket, and what it could not send yet.
pub(super) struct Carrier {
    socket: UdpSocket,
    state: UdpSocketState,
    /// What the system had no room for. Connections are not asked for more until it is gone.
    held: Option<(Transmit, Vec<u8>)>,
}

/// Room for what one receive call yields.
pub(super) struct Inbox {
    buffers: Box<[[u8; RECEIVE_BYTES]]>,
    meta: [RecvMeta; RECEIVE_BATCH],
    filled: usize,
}

impl Carrier {
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // The system may grant less; then it is less.
        let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), LINK_SOCKET_BYTES);
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), LINK_SOCKET_BYTES);
        // An administrator of the network is granted what others are not.
        let _ = set_socket_recv_buffer_size_force(&socket, LINK_SOCKET_BYTES);
        Ok(Self { socket, state, held: None })
    }

    /// One from which `remote` can be dialled, on a port of its own: after a failure, state that
    /// boxes on the way keep for the old port is no hindrance.
    pub(super) fn towards(remote: SocketAddr) -> io::Result<Self> {
        let local: SocketAddr = match remote {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        Self::new(UdpSocket::bind(local)?)
    }

    pub(super) const fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Segments one send may carry.
    pub(super) fn segments(&self) -> usize {
        self.state.max_gso_segments().clamp(1, SEGMENTS_MAX)
    }

    /// Whether the system has no room.
    pub(super) const fn is_blocked(&self) -> bool {
        self.held.is_some()
    }

    /// Sends; what the system has no room for is kept. `true` if it is.
    pub(super) fn send(&mut self, transmit: Transmit, contents: &[u8]) -> bool {
        if self.put(&transmit, contents) {
            return false;
        }
        self.held = Some((transmit, contents.to_vec()));
        true
    }

    /// Sends what was kept. `true` if it is gone.
    pub(super) fn send_held(&mut self) -> bool {
        let Some((transmit, contents)) = self.held.take() else { return true };
        if self.put(&transmit, &contents) {
            return true;
        }
        self.held = Some((transmit, contents));
        false
    }

    /// Sends, or does not.
    pub(super) fn send_once(&self, transmit: &Transmit, contents: &[u8]) {
        self.put(transmit, contents);
    }

    fn put(&self, transmit: &Transmit, contents: &[u8]) -> bool {
        let transmit = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
            contents,
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        };
        match self.state.send(UdpSockRef::from(&self.socket), &transmit) {
            Ok(()) => true,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Takes in what is there. `false` if nothing was.
    pub(super) fn receive(&self, inbox: &mut Inbox) -> bool {
        let mut slices = inbox.buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer));
        let mut slices: [IoSliceMut<'_>; RECEIVE_BATCH] =
            std::array::from_fn(|_| slices.next().expect("as many buffers as the batch has"));
        inbox.filled = self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut inbox.meta).unwrap_or(0);
        inbox.filled > 0
    }
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            buffers: vec![[0; RECEIVE_BYTES]; RECEIVE_BATCH].into_boxed_slice(),
            meta: [RecvMeta::default(); RECEIVE_BATCH],
            filled: 0,
        }
    }

    /// No room at all; allocates nothing.
    pub(super) fn none() -> Self {
        Self { buffers: Box::default(), meta: [RecvMeta::default(); RECEIVE_BATCH], filled: 0 }
    }

    /// What was received: trains of UDP packets of one sender, each but the last `stride` long.
    pub(super) fn trains(&self) -> impl Iterator<Item = (&RecvMeta, &[u8])> {
        self.meta[..self.filled].iter().zip(&*self.buffers).map(|(meta, buffer)| (meta, &buffer[..meta.len]))
    }

    /// Whether more may be waiting.
    pub(super) const fn is_full(&self) -> bool {
        self.filled == RECEIVE_BATCH
    }
}
