//! Port pairs: bound at random over the range, lent to relays, quiet afterwards.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use edgeway_model::media::{Component, MediaClass, PortPair};
use edgeway_model::{Moment, Random};
use socket2::SockRef;

use super::Marking;
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
    marking: Marking,
}

struct Pair {
    rtp: u16,
    sockets: [UdpSocket; 2],
    state: State,
    class: MediaClass,
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
    pub(super) fn new(bind: IpAddr, first: u16, last: u16, marking: Marking, random: Random) -> Option<Self> {
        let first_even = first.checked_add(first & 1)?;
        // `last` itself may be the odd port of the last pair.
        let above = u32::from(last) + 1;
        let count = above.checked_sub(u32::from(first_even))? / 2;
        let count = u16::try_from(count).ok().filter(|count| *count > 0)?;
        Some(Self { bind, first_even, count, pairs: Vec::new(), by_port: HashMap::new(), quiet: 0, random, marking })
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
        self.mark(at, MediaClass::default());
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

    /// What a pair's relay sends.
    pub(super) fn class(&self, at: usize) -> MediaClass {
        self.pairs.get(at).map_or_else(MediaClass::default, |pair| pair.class)
    }

    /// Marks what every pair sends in another way from now on.
    pub(super) fn set_marking(&mut self, marking: Marking) {
        let old = std::mem::replace(&mut self.marking, marking);
        for pair in self.pairs.iter().filter(|pair| old.of(pair.class) != marking.of(pair.class)) {
            pair.sockets.iter().for_each(|socket| mark(socket, self.bind, marking.of(pair.class)));
        }
    }

    /// Marks what a pair sends for what it is.
    pub(super) fn mark(&mut self, at: usize, class: MediaClass) {
        let Some(pair) = self.pairs.get_mut(at).filter(|pair| pair.class != class) else { return };
        pair.class = class;
        pair.sockets.iter().for_each(|socket| mark(socket, self.bind, self.marking.of(class)));
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
        let open = |port| open(SocketAddr::new(self.bind, port), self.marking.of(MediaClass::default()));
        let sockets = match (open(rtp), open(rtp + 1)) {
            (Ok(rtp), Ok(rtcp)) => [rtp, rtcp],
            (Err(error), _) | (_, Err(error)) if error.kind() != io::ErrorKind::AddrInUse => return Err(error),
            (Err(_), _) | (_, Err(_)) => return Ok(None),
        };
        self.by_port.insert(rtp, self.pairs.len());
        self.pairs.push(Pair { rtp, sockets, state: State::Free, class: MediaClass::default() });
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

/// Sets the DSCP of what a socket sends. A network that is not told carries it all the same.
fn mark(socket: &UdpSocket, bind: IpAddr, dscp: u8) {
    let (socket, octet) = (SockRef::from(socket), u32::from(dscp) << 2);
    // A socket of IPv6 may send IPv4, which is marked apart.
    let _ = socket.set_tos_v4(octet);
    if bind.is_ipv6() {
        let _ = socket.set_tclass_v6(octet);
    }
}

fn open(at: SocketAddr, dscp: u8) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(at)?;
    socket.set_nonblocking(true)?;
    let _ = SockRef::from(&socket).set_recv_buffer_size(IDLE_SOCKET_BUFFER_BYTES);
    mark(&socket, at.ip(), dscp);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_marked_for_what_it_is() {
        for bind in ["127.0.0.1", "::1"] {
            let bind: IpAddr = bind.parse().unwrap();
            let marking = Marking { audio: 46, video: 34 };
            let mut ports = Ports::new(bind, 36_000, 59_999, marking, Random::from_seed([3; 32])).unwrap();
            let poller = Poller::new().unwrap();
            let (bound, _) = ports.bind(1);
            let octet = |ports: &Ports| {
                ports.pairs[0].sockets.each_ref().map(|socket| match bind {
                    IpAddr::V4(_) => SockRef::from(socket).tos_v4().unwrap(),
                    IpAddr::V6(_) => SockRef::from(socket).tclass_v6().unwrap(),
                })
            };
            let at = ports.lend(bound[0], 1, &poller).unwrap();
            assert_eq!(octet(&ports), [46 << 2; 2], "{bind}");
            ports.mark(at, MediaClass::Video);
            assert_eq!(octet(&ports), [34 << 2; 2], "{bind}");
            ports.mark(at, MediaClass::Other);
            assert_eq!(octet(&ports), [0; 2], "{bind}");
            ports.take_back(at, &poller, Moment::ZERO);
            assert_eq!(ports.poll_free(Moment::ZERO + QUIET), bound);
            ports.lend(bound[0], 2, &poller).unwrap();
            assert_eq!(octet(&ports), [46 << 2; 2], "{bind}: the next relay starts anew");
        }
    }

    #[test]
    fn pairs_come_from_all_over_the_range_and_cannot_be_foretold() {
        let pick = |seed| {
            let bind = IpAddr::from([127, 0, 0, 1]);
            let random = Random::from_seed([seed; 32]);
            let mut ports = Ports::new(bind, 36_000, 59_999, Marking::default(), random).unwrap();
            let (bound, missing) = ports.bind(64);
            assert_eq!(missing, 0);
            bound.into_iter().map(|pair| pair.rtp).collect::<Vec<_>>()
        };
        let bound = pick(1);
        let quarters = [0, 1, 2, 3].map(|n| 36_000 + 6_000 * n);
        for first in quarters {
            assert!(bound.iter().any(|port| (first..first + 6_000).contains(port)), "{bound:?}");
        }
        assert!(bound.iter().all(|port| port % 2 == 0));
        assert_ne!(bound, pick(2));
    }
}
