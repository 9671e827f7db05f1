//! Port pairs: bound at random over the range, lent to relays, quiet afterwards.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use edgeway_model::media::{Component, PortPair};
use edgeway_model::{Moment, Random};
use socket2::SockRef;

use super::limits::{
    IDLE_SOCKET_BUFFER_BYTES, PAIRS_MAX, PICKS_IN_ORDER_MAX, QUIET, RANDOM_PICKS, SOCKET_BUFFER_BYTES,
    STALE_PACKETS_MAX,
};
use super::poller::{Poller, Token};

/// All pairs of a node.
pub(super) struct Ports {
    bind: IpAddr,
    /// Even ports of the range: `first_even + 2 * n` for `n < count`.
    first_even: u16,
    count: u16,
    pairs: Vec<Pair>,
    by_port: HashMap<u16, usize>,
    quiet: usize,
    random: Random,
}

struct Pair {
    rtp: u16,
    sockets: [UdpSocket; 2],
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Lent { relay: usize },
    Quiet { until: Moment },
}

/// Why a pair cannot be lent.
#[derive(Debug, thiserror::Error)]
pub(super) enum LendFault {
    #[error("port {0} is not one of the bound pairs")]
    Unknown(u16),
    #[error("port {0} is in use by another relay")]
    Taken(u16),
    #[error("the sockets of port {0} cannot be watched")]
    System(u16, #[source] io::Error),
}

impl Ports {
    /// `None` if the range holds no pair.
    pub(super) fn new(bind: IpAddr, first: u16, last: u16, random: Random) -> Option<Self> {
        let first_even = first.checked_add(first & 1)?;
        // `last` itself may be the odd port of the last pair.
        let above = u32::from(last) + 1;
        let count = above.checked_sub(u32::from(first_even))? / 2;
        let count = u16::try_from(count).ok().filter(|count| *count > 0)?;
        Some(Self { bind, first_even, count, pairs: Vec::new(), by_port: HashMap::new(), quiet: 0, random })
    }

    /// Binds more pairs; those bound, and how many are missing.
    pub(super) fn bind(&mut self, wanted: u16) -> (Vec<PortPair>, u16) {
        let mut bound = Vec::with_capacity(usize::from(wanted));
        for missing in (1..=wanted).rev() {
            match self.bind_one() {
                Some(pair) => bound.push(pair),
                None => return (bound, missing),
            }
        }
        (bound, 0)
    }

    /// Lends a free pair to a relay: its sockets are watched from now on. The pair's number.
    pub(super) fn lend(&mut self, ports: PortPair, relay: usize, poller: &Poller) -> Result<usize, LendFault> {
        let at = *self.by_port.get(&ports.rtp).ok_or(LendFault::Unknown(ports.rtp))?;
        let pair = &mut self.pairs[at];
        if pair.state != State::Free {
            return Err(LendFault::Taken(ports.rtp));
        }
        for (socket, component) in pair.sockets.iter().zip([Component::Rtp, Component::Rtcp]) {
            discard(socket);
            // The system's own default is as good if it refuses.
            let _ = SockRef::from(socket).set_recv_buffer_size(SOCKET_BUFFER_BYTES);
            if let Err(error) = poller.watch(socket, Token::Media { pair: at, component }) {
                // A socket that is watched and never read would be reported without end.
                pair.sockets.iter().for_each(|socket| drop(poller.forget(socket)));
                return Err(LendFault::System(ports.rtp, error));
            }
        }
        pair.state = State::Lent { relay };
        Ok(at)
    }

    /// Takes a pair back from its relay; it is quiet for a while.
    pub(super) fn take_back(&mut self, at: usize, poller: &Poller, now: Moment) {
        let pair = &mut self.pairs[at];
        debug_assert!(matches!(pair.state, State::Lent { .. }), "only lent pairs come back");
        for socket in &pair.sockets {
            if let Err(error) = poller.forget(socket) {
                tracing::error!(%error, port = pair.rtp, "a media socket cannot be unwatched");
            }
            discard(socket);
            let _ = SockRef::from(socket).set_recv_buffer_size(IDLE_SOCKET_BUFFER_BYTES);
        }
        pair.state = State::Quiet { until: now + QUIET };
        self.quiet += 1;
    }

    /// Pairs whose quiet time is over.
    pub(super) fn poll_free(&mut self, now: Moment) -> Vec<PortPair> {
        if self.quiet == 0 {
            return Vec::new();
        }
        let mut free = Vec::new();
        for pair in &mut self.pairs {
            if matches!(pair.state, State::Quiet { until } if until <= now) {
                pair.state = State::Free;
                free.push(PortPair { rtp: pair.rtp });
            }
        }
        self.quiet -= free.len();
        free
    }

    /// Whether any pair is quiet.
    pub(super) fn any_quiet(&self) -> bool {
        self.quiet > 0
    }

    /// The relay that has a pair, if it is lent, and the socket of a component.
    pub(super) fn lent(&self, at: usize, component: Component) -> Option<(usize, &UdpSocket)> {
        let pair = self.pairs.get(at)?;
        match pair.state {
            State::Lent { relay } => Some((relay, &pair.sockets[index(component)])),
            State::Free | State::Quiet { .. } => None,
        }
    }

    /// Sends from a component's socket.
    pub(super) fn send(&self, at: usize, component: Component, packet: &[u8], to: SocketAddr) -> io::Result<()> {
        let to = if self.bind.is_ipv6() { mapped(to) } else { to };
        self.pairs[at].sockets[index(component)].send_to(packet, to).map(|_| ())
    }

    fn bind_one(&mut self) -> Option<PortPair> {
        if self.pairs.len() >= PAIRS_MAX {
            return None;
        }
        self.find_free().unwrap_or_else(|error| {
            tracing::warn!(%error, address = %self.bind, "no media port can be bound");
            None
        })
    }

    fn find_free(&mut self) -> io::Result<Option<PortPair>> {
        for _ in 0..RANDOM_PICKS {
            let nth = self.pick();
            if let Some(pair) = self.try_bind(nth)? {
                return Ok(Some(pair));
            }
        }
        let start = self.pick();
        let tries = self.count.min(u16::try_from(PICKS_IN_ORDER_MAX).unwrap_or(u16::MAX));
        for step in 0..u32::from(tries) {
            if let Some(pair) = self.try_bind((start + step) % u32::from(self.count))? {
                return Ok(Some(pair));
            }
        }
        Ok(None)
    }

    fn pick(&mut self) -> u32 {
        // Lossless: below a u16.
        self.random.below(u64::from(self.count)) as u32
    }

    /// `None` if the ports are taken, by us or by others.
    fn try_bind(&mut self, nth: u32) -> io::Result<Option<PortPair>> {
        // Lossless: the range ends below 2^16.
        let rtp = self.first_even + 2 * nth as u16;
        if self.by_port.contains_key(&rtp) {
            return Ok(None);
        }
        let sockets = match (open(SocketAddr::new(self.bind, rtp)), open(SocketAddr::new(self.bind, rtp + 1))) {
            (Ok(rtp), Ok(rtcp)) => [rtp, rtcp],
            (Err(error), _) | (_, Err(error)) if error.kind() != io::ErrorKind::AddrInUse => return Err(error),
            (Err(_), _) | (_, Err(_)) => return Ok(None),
        };
        self.by_port.insert(rtp, self.pairs.len());
        self.pairs.push(Pair { rtp, sockets, state: State::Free });
        Ok(Some(PortPair { rtp }))
    }
}

/// The form rules are written in: IPv4 as IPv4, however the socket sees it.
pub(super) fn plain(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        // With its scope, which an address of a link needs.
        IpAddr::V6(_) => address,
    }
}

/// The form an IPv6 socket takes IPv4 addresses in.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        SocketAddr::V6(_) => address,
    }
}

fn open(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(at)?;
    socket.set_nonblocking(true)?;
    let _ = SockRef::from(&socket).set_recv_buffer_size(IDLE_SOCKET_BUFFER_BYTES);
    Ok(socket)
}

/// Empties a socket of what came before it mattered, or after.
fn discard(socket: &UdpSocket) {
    for _ in 0..STALE_PACKETS_MAX {
        match socket.recv(&mut []) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Ok(_) | Err(_) => {}
        }
    }
}

const fn index(component: Component) -> usize {
    match component {
        Component::Rtp => 0,
        Component::Rtcp => 1,
    }
}
