//! Media threads of an edge and a core on loopback, with a client, a party inside and an attacker.

mod fallback;
mod legs;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use edgeway_media::srtp::{SrtpReceiver, SrtpSender};
use edgeway_model::media::{
    Carriage, Component, CryptoSuite, InsideParty, InsideRelay, LegSecurity, MediaCommand, MediaEvent, MediaPath,
    OutsideRelay, PortPair, RelayCounters, SrtpKey,
};
use edgeway_model::{NodeId, Random, RelayId};
use tokio::sync::mpsc;

use super::limits::{LINK_IDLE, QUIET};
use super::{Marking, MediaConfig, MediaFact, MediaFault, MediaHandle};
use crate::pki::tls::{media_client_config, media_server_config};
use crate::pki::{Authority, Identity, Role};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SOON: Duration = Duration::from_secs(5);
const FEW: usize = 3;

fn node(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn key(byte: u8) -> SrtpKey {
    SrtpKey::new(CryptoSuite::AesCm128HmacSha1_80, &[byte; 30]).unwrap()
}

fn socket(ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(LOOPBACK, port)
}

/// A media thread and what it says.
struct Node {
    media: MediaHandle,
    facts: mpsc::Receiver<MediaFact>,
    /// What was said while something else was waited for.
    earlier: Vec<MediaFact>,
}

impl Node {
    fn start(listen: Option<(UdpSocket, Option<Arc<rustls::ServerConfig>>)>) -> Self {
        Self::with_ports(listen, 36_000, 59_999).unwrap()
    }

    fn with_ports(
        listen: Option<(UdpSocket, Option<Arc<rustls::ServerConfig>>)>,
        first_port: u16,
        last_port: u16,
    ) -> Result<Self, MediaFault> {
        let seed = crate::pki::random().unwrap();
        let (sender, facts) = mpsc::channel(256);
        let marking = Marking { audio: 46, video: 34 };
        let config = MediaConfig { bind: LOOPBACK, first_port, last_port, marking, listen, seed };
        Ok(Self { media: MediaHandle::start(config, sender)?, facts, earlier: Vec::new() })
    }

    /// Waits for a fact `wanted` takes; others are kept for later questions.
    fn expect<T>(&mut self, within: Duration, wanted: impl Fn(&MediaFact) -> Option<T>) -> Option<T> {
        let until = Instant::now() + within;
        loop {
            while let Ok(fact) = self.facts.try_recv() {
                self.earlier.push(fact);
            }
            if let Some(at) = self.earlier.iter().position(|fact| wanted(fact).is_some()) {
                return wanted(&self.earlier.remove(at));
            }
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn bind(&mut self) -> PortPair {
        self.media.command(MediaCommand::BindPorts { pairs: 1 });
        self.free(SOON).expect("a pair is bound")
    }

    fn free(&mut self, within: Duration) -> Option<PortPair> {
        self.expect(within, |fact| {
            if let MediaFact::Event(MediaEvent::PortsBound { ports }) = fact { ports.first().copied() } else { None }
        })
    }

    fn path(&mut self, within: Duration, wanted: MediaPath) -> Option<NodeId> {
        self.expect(within, |fact| {
            if let MediaFact::Path { peer, path } = fact
                && *path == wanted
            {
                Some(peer.clone())
            } else {
                None
            }
        })
    }

    fn control(&mut self, within: Duration) -> Option<Bytes> {
        self.expect(within, |fact| if let MediaFact::Control { bytes, .. } = fact { Some(bytes.clone()) } else { None })
    }

    /// Counters that `wanted` likes.
    fn report(&mut self, within: Duration, wanted: impl Fn(&RelayCounters) -> bool) -> Option<RelayCounters> {
        self.expect(within, |fact| {
            if let MediaFact::Event(MediaEvent::Report { counters, .. }) = fact
                && wanted(counters)
            {
                Some(*counters)
            } else {
                None
            }
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.media.shutdown();
    }
}

/// An edge, a core, and the link between them.
struct Pair {
    edge: Node,
    core: Node,
    edge_identity: Identity,
    core_identity: Identity,
    address: SocketAddr,
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self::unlinked();
        pair.dial(pair.address);
        assert_eq!(pair.core.path(SOON, MediaPath::Udp), Some(node("edge1")));
        assert_eq!(pair.edge.path(SOON, MediaPath::Udp), Some(node("core1")));
        pair
    }

    fn unlinked() -> Self {
        let authority = Authority::ephemeral().unwrap();
        let edge_identity = authority.issue(&node("edge1"), Role::Edge).unwrap();
        let core_identity = authority.issue(&node("core1"), Role::Core).unwrap();
        let listen = socket("127.0.0.1");
        let address = listen.local_addr().unwrap();
        let edge = Node::start(Some((listen, Some(media_server_config(&edge_identity).unwrap()))));
        Self { edge, core: Node::start(None), edge_identity, core_identity, address }
    }

    fn dial(&self, address: SocketAddr) {
        let config = media_client_config(&self.core_identity, &node("edge1")).unwrap();
        self.core.media.dial(node("edge1"), address.to_string(), config);
    }

    /// Waits until both threads have carried out what they were asked: orders keep their order.
    fn settled(&mut self) {
        self.edge.bind();
        self.core.bind();
    }

    fn call(&mut self, relay: u32) -> Call {
        let call = Call::new(RelayId(relay), self.edge.bind(), self.core.bind());
        self.edge.media.command(MediaCommand::SetOutside(call.outside(node("core1"))));
        self.core.media.command(MediaCommand::SetInside(call.inside(node("edge1"))));
        self.settled();
        call
    }
}

/// Both far ends of one relay.
struct Call {
    relay: RelayId,
    outside_ports: PortPair,
    inside_ports: PortPair,
    client: [UdpSocket; 2],
    inside: [UdpSocket; 2],
    sender: SrtpSender,
    receiver: SrtpReceiver,
    sequence: u16,
}

impl Call {
    fn new(relay: RelayId, outside_ports: PortPair, inside_ports: PortPair) -> Self {
        Self {
            relay,
            outside_ports,
            inside_ports,
            client: [socket("127.0.0.1"), socket("127.0.0.1")],
            inside: [socket("127.0.0.1"), socket("127.0.0.1")],
            sender: SrtpSender::new(&key(1), Random::from_seed([9; 32])),
            receiver: SrtpReceiver::new(&key(2)),
            sequence: 100,
        }
    }

    fn outside(&self, peer: NodeId) -> OutsideRelay {
        // What a phone behind a NAT describes is of no use.
        let described = Some(("192.168.1.9:4000".parse().unwrap(), "192.168.1.9:4001".parse().unwrap()));
        let (relay, ports) = (self.relay, self.outside_ports);
        OutsideRelay {
            peer,
            relay,
            ports,
            signalling_peer: LOOPBACK,
            described,
            srtp: true,
            mux: false,
            carriage: Carriage::Rtp,
        }
    }

    fn inside(&self, peer: NodeId) -> InsideRelay {
        let described = Some((self.inside[0].local_addr().unwrap(), self.inside[1].local_addr().unwrap()));
        InsideRelay {
            peer,
            relay: self.relay,
            ports: self.inside_ports,
            party: InsideParty { described, security: LegSecurity::Plain, mux: false },
            early: Vec::new(),
            outside: LegSecurity::Srtp { receive: key(1), send: key(2) },
            carriage: Carriage::Rtp,
            client_timeout: None,
        }
    }

    fn protected(&mut self, component: Component) -> (Vec<u8>, Vec<u8>) {
        self.sequence += 1;
        let clear = clear(component, self.sequence);
        let mut buffer = [&clear[..], &[0; 14]].concat();
        let len = match component {
            Component::Rtp => self.sender.protect_rtp(&mut buffer, clear.len()).unwrap(),
            Component::Rtcp => self.sender.protect_rtcp(&mut buffer, clear.len()).unwrap(),
        };
        buffer.truncate(len);
        (clear, buffer)
    }

    /// One packet from the client; whether the party inside got it in clear, from our inside port.
    fn inward(&mut self, component: Component) -> bool {
        let (clear, packet) = self.protected(component);
        let n = index(component);
        self.client[n].send_to(&packet, at(self.outside_ports.rtp + n as u16)).unwrap();
        let Some((got, from)) = receive(&self.inside[n]) else { return false };
        assert_eq!(from, at(self.inside_ports.rtp + n as u16));
        // The SSRC is the client's own; the payload is what it sent.
        assert_eq!(got, clear_as(&self.sender_view(component, &packet), &clear));
        true
    }

    /// What a receiver with the client's key makes of a packet.
    fn sender_view(&self, component: Component, packet: &[u8]) -> Vec<u8> {
        let mut receiver = SrtpReceiver::new(&key(1));
        open(&mut receiver, component, packet).unwrap()
    }

    /// One packet from the inside; whether the client could open it.
    fn outward(&mut self, component: Component) -> bool {
        self.sequence += 1;
        let n = index(component);
        let packet = clear(component, self.sequence);
        self.inside[n].send_to(&packet, at(self.inside_ports.rtp + n as u16)).unwrap();
        let Some((got, from)) = receive(&self.client[n]) else { return false };
        assert_eq!(from, at(self.outside_ports.rtp + n as u16));
        let opened = open(&mut self.receiver, component, &got).expect("protected with our key");
        assert_eq!(opened.len(), packet.len());
        assert_eq!(opened[packet.len() - 2..], packet[packet.len() - 2..], "the payload");
        true
    }

    fn both_ways(&mut self) -> bool {
        [Component::Rtp, Component::Rtcp].into_iter().all(|component| {
            self.inward(component) && {
                settle();
                self.outward(component)
            }
        })
    }
}

fn clear_as(opened: &[u8], sent: &[u8]) -> Vec<u8> {
    assert_eq!(opened.len(), sent.len());
    opened.to_vec()
}

fn open(receiver: &mut SrtpReceiver, component: Component, packet: &[u8]) -> Option<Vec<u8>> {
    let mut packet = packet.to_vec();
    let opened = match component {
        Component::Rtp => receiver.unprotect_rtp(&mut packet),
        Component::Rtcp => receiver.unprotect_rtcp(&mut packet),
    };
    packet.truncate(opened.ok()?.len);
    Some(packet)
}

/// The latch travels from core to edge while the first packet is already inside.
fn settle() {
    std::thread::sleep(Duration::from_millis(20));
}

fn index(component: Component) -> usize {
    usize::from(component == Component::Rtcp)
}

fn clear(component: Component, sequence: u16) -> Vec<u8> {
    let [high, low] = sequence.to_be_bytes();
    match component {
        Component::Rtp => vec![0x80, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 7, 1, 2, 3, 4, high, low],
        // An application-defined packet (RFC 3550 §6.7), for its data comes through untouched.
        Component::Rtcp => vec![0x80, 204, 0, 3, 0, 0, 0, 7, b't', b'e', b's', b't', 0, 0, high, low],
    }
}

fn receive(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 2_048];
    match socket.recv_from(&mut buffer) {
        Ok((len, from)) => Some((buffer[..len].to_vec(), from)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => None,
        Err(error) => panic!("{error}"),
    }
}

fn nothing_on(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let nothing = receive(socket).is_none();
    socket.set_read_timeout(Some(SOON)).unwrap();
    nothing
}

#[test]
fn a_call_passes_both_ways_on_both_components() {
    let mut pair = Pair::new();
    let mut call = pair.call(7);
    for _ in 0..FEW {
        assert!(call.both_ways());
    }
    let expected = 2 * FEW as u64;
    let counters = pair.core.report(SOON, |counters| counters.outward == expected).unwrap();
    // Four packets share the numbers of each round, so that those of one stream leave three out each time.
    let lost = 3 * (FEW as u64 - 1);
    let (lost_inward, lost_outward) = (lost, lost);
    let seen =
        RelayCounters { inward: expected, outward: expected, lost_inward, lost_outward, ..RelayCounters::default() };
    assert_eq!(counters, seen);
    let counters = pair.edge.report(SOON, |counters| counters.outward == expected).unwrap();
    assert_eq!(counters, RelayCounters { inward: expected, outward: expected, ..RelayCounters::default() });
    assert_eq!((pair.edge.media.totals(), pair.core.media.totals()), ((expected, expected), (expected, expected)));
    assert!(pair.core.media.drops().iter().all(|(_, count)| *count == 0));
}

#[test]
fn many_relays_share_one_link_without_mixing() {
    let mut pair = Pair::new();
    let mut calls: Vec<_> = (0..20).map(|n| pair.call(n)).collect();
    for call in &mut calls {
        assert!(call.inward(Component::Rtp));
    }
    settle();
    let packets = 25;
    for n in 0..packets {
        for call in &mut calls {
            let (_, packet) = call.protected(Component::Rtp);
            call.client[0].send_to(&packet, at(call.outside_ports.rtp)).unwrap();
            call.inside[0].send_to(&clear(Component::Rtp, n), at(call.inside_ports.rtp)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    for call in &mut calls {
        for _ in 0..packets {
            assert_eq!(receive(&call.inside[0]).unwrap().1, at(call.inside_ports.rtp));
            let (packet, _) = receive(&call.client[0]).unwrap();
            assert!(open(&mut call.receiver, Component::Rtp, &packet).is_some());
        }
        assert!(nothing_on(&call.inside[0]) && nothing_on(&call.client[0]));
    }
}

#[test]
fn a_sprayer_gets_nothing_and_puts_nothing_in() {
    let mut pair = Pair::new();
    let mut call = pair.call(1);
    let sprayers: Vec<_> = (0..8).map(|_| socket("127.0.0.1")).collect();
    let stranger = socket("127.0.0.2");
    assert!(call.inward(Component::Rtp));
    let (_, seen) = call.protected(Component::Rtp);
    call.client[0].send_to(&seen, at(call.outside_ports.rtp)).unwrap();
    assert!(receive(&call.inside[0]).is_some());
    let forged = vec![0x80; 60];
    for _ in 0..50 {
        for sprayer in sprayers.iter().chain([&stranger]) {
            sprayer.send_to(&forged, at(call.outside_ports.rtp)).unwrap();
            sprayer.send_to(&seen, at(call.outside_ports.rtp)).unwrap();
            // And at the inside port, as if from the inside.
            sprayer.send_to(&clear(Component::Rtp, 1), at(call.inside_ports.rtp)).unwrap();
        }
    }
    assert!(nothing_on(&call.inside[0]));
    assert!(nothing_on(&call.client[0]));
    assert!(call.outward(Component::Rtp), "the client is still where it was");
    assert!(sprayers.iter().chain([&stranger]).all(nothing_on));
    let edge = pair.edge.report(SOON, |counters| counters.wrong_source > 0).unwrap();
    assert!(edge.inward < 60, "unproven sources pass at a bounded rate: {edge:?}");
    let core = pair.core.report(SOON, |counters| counters.wrong_source >= 450).unwrap();
    assert_eq!((core.inward, core.outward), (2, 1));
    assert!(core.unauthenticated + core.replayed > 0);
    // Those of the node are those of its only relay, and are told once a second like them.
    let dropped = pair.core.media.drops().into_iter().find(|(reason, _)| *reason == "wrong_source");
    assert!(dropped.is_some_and(|(_, count)| count >= 450), "{dropped:?}");
}

#[test]
fn a_pair_is_quiet_before_it_comes_back() {
    let mut pair = Pair::new();
    let mut call = pair.call(1);
    assert!(call.both_ways());
    let closed = Instant::now();
    for node in [&pair.edge, &pair.core] {
        let peer = if std::ptr::eq(node, &raw const pair.edge) { "core1" } else { "edge1" };
        node.media.command(MediaCommand::Close { peer: self::node(peer), relay: call.relay });
    }
    assert!(pair.edge.report(SOON, |counters| counters.inward == 2).is_some(), "the last report");
    for _ in 0..20 {
        let (_, packet) = call.protected(Component::Rtp);
        call.client[0].send_to(&packet, at(call.outside_ports.rtp)).unwrap();
        call.inside[0].send_to(&clear(Component::Rtp, 5), at(call.inside_ports.rtp)).unwrap();
    }
    assert!(nothing_on(&call.inside[0]) && nothing_on(&call.client[0]));
    assert_eq!(pair.edge.free(SOON), Some(call.outside_ports));
    assert!(closed.elapsed() >= QUIET, "{:?}", closed.elapsed());
    assert_eq!(pair.core.free(SOON), Some(call.inside_ports));

    // The next relay on these ports hears nothing of the last one.
    let (_, late) = call.protected(Component::Rtp);
    call.client[0].send_to(&late, at(call.outside_ports.rtp)).unwrap();
    let mut next = Call::new(RelayId(2), call.outside_ports, call.inside_ports);
    pair.edge.media.command(MediaCommand::SetOutside(next.outside(node("core1"))));
    pair.core.media.command(MediaCommand::SetInside(next.inside(node("edge1"))));
    pair.settled();
    assert!(nothing_on(&next.inside[0]));
    assert!(next.both_ways());
    let counters = pair.edge.report(SOON, |counters| counters.inward == 2).unwrap();
    assert_eq!(counters, RelayCounters { inward: 2, outward: 2, ..RelayCounters::default() });
}

#[test]
fn control_datagrams_pass_both_ways() {
    let mut pair = Pair::new();
    pair.core.media.send_control(node("edge1"), Bytes::from_static(b"probe"));
    assert_eq!(pair.edge.control(SOON).as_deref(), Some(&b"probe"[..]));
    pair.edge.media.send_control(node("core1"), Bytes::from_static(b"answer"));
    assert_eq!(pair.core.control(SOON).as_deref(), Some(&b"answer"[..]));
    pair.edge.media.send_control(node("nobody"), Bytes::from_static(b"lost"));
    assert_eq!(pair.edge.media.path(&node("core1")), MediaPath::Udp);
    assert_eq!(pair.edge.media.path(&node("nobody")), MediaPath::None);
}

/// Everything between the core's side and the edge: can be cut, takes time, loses packets.
struct Wire {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
}

impl Wire {
    fn to(edge: SocketAddr) -> Self {
        Self::poor(edge, Duration::ZERO, usize::MAX, usize::MAX)
    }

    /// Takes `delay` each way, loses one packet in `loses_one_in`, and those of more than `bytes_max`.
    fn poor(edge: SocketAddr, delay: Duration, loses_one_in: usize, bytes_max: usize) -> Self {
        let (near, cut) = (socket("127.0.0.1"), Arc::new(AtomicBool::new(false)));
        let (address, is_cut) = (near.local_addr().unwrap(), Arc::clone(&cut));
        std::thread::spawn(move || {
            near.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            let (mut buffer, mut core) = ([0; 2_048], edge);
            let (mut count, mut under_way) = (0, VecDeque::new());
            let end = Instant::now() + Duration::from_secs(60);
            while Instant::now() < end {
                if let Ok((len, from)) = near.recv_from(&mut buffer) {
                    let to = if from == edge { core } else { edge };
                    core = if from == edge { core } else { from };
                    count += 1;
                    if !is_cut.load(Ordering::Relaxed) && count % loses_one_in != 0 && len <= bytes_max {
                        under_way.push_back((Instant::now() + delay, to, buffer[..len].to_vec()));
                    }
                }
                while under_way.front().is_some_and(|(due, ..)| *due <= Instant::now()) {
                    let Some((_, to, packet)) = under_way.pop_front() else { break };
                    let _ = near.send_to(&packet, to);
                }
            }
        });
        Self { address, cut }
    }
}

#[test]
fn loss_on_the_link_costs_what_is_lost_and_no_more() {
    let mut pair = Pair::unlinked();
    // A window that shrinks with loss would let 4 Mbit/s through here.
    pair.dial(Wire::poor(pair.address, Duration::from_millis(10), 50, usize::MAX).address);
    assert!(pair.core.path(SOON, MediaPath::Udp).is_some() && pair.edge.path(SOON, MediaPath::Udp).is_some());
    let mut call = pair.call(1);
    while !call.inward(Component::Rtp) {}
    std::thread::sleep(Duration::from_millis(100));
    let inside = call.inside[0].try_clone().unwrap();
    inside.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let receiver = std::thread::spawn(move || std::iter::from_fn(|| receive(&inside)).count());
    let (start, packets) = (Instant::now(), 4_500);
    for n in 0..packets {
        let due = start + Duration::from_micros(333) * n;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut packet = [&clear(Component::Rtp, 1_000 + n as u16)[..], &[0; 1_000]].concat();
        let len = packet.len();
        packet.extend_from_slice(&[0; 14]);
        let len = call.sender.protect_rtp(&mut packet, len).unwrap();
        call.client[0].send_to(&packet[..len], at(call.outside_ports.rtp)).unwrap();
    }
    let received = receiver.join().unwrap();
    assert!(received * 100 >= packets as usize * 90, "{received} of {packets}, at 24 Mbit/s");
}

#[test]
fn a_cut_of_two_seconds_is_survived_and_a_longer_one_redialled() {
    let mut pair = Pair::unlinked();
    let wire = Wire::to(pair.address);
    pair.dial(wire.address);
    assert!(pair.core.path(SOON, MediaPath::Udp).is_some() && pair.edge.path(SOON, MediaPath::Udp).is_some());
    let mut call = pair.call(1);
    assert!(call.both_ways());

    wire.cut.store(true, Ordering::Relaxed);
    std::thread::sleep(Duration::from_secs(2));
    wire.cut.store(false, Ordering::Relaxed);
    settle();
    assert!(call.both_ways(), "at once, without a new connection");
    assert!(pair.core.path(Duration::ZERO, MediaPath::None).is_none());

    wire.cut.store(true, Ordering::Relaxed);
    assert!(pair.core.path(LINK_IDLE + SOON, MediaPath::None).is_some());
    assert!(pair.edge.path(LINK_IDLE + SOON, MediaPath::None).is_some());
    assert_eq!(pair.core.media.path(&node("edge1")), MediaPath::None);
    wire.cut.store(false, Ordering::Relaxed);
    assert!(pair.core.path(LINK_IDLE + SOON, MediaPath::Udp).is_some());
    assert!(pair.edge.path(SOON, MediaPath::Udp).is_some());
    assert!(call.both_ways(), "the relay stayed while the link was gone");
}

#[test]
fn an_edge_that_starts_anew_is_found_again() {
    let mut pair = Pair::new();
    let config = media_server_config(&pair.edge_identity).unwrap();
    pair.edge.media.shutdown();
    assert!(pair.core.path(SOON, MediaPath::None).is_some(), "told at once");
    let listen = loop {
        // The old thread lets go of it in its own time.
        match UdpSocket::bind(pair.address) {
            Ok(listen) => break listen,
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    pair.edge = Node::start(Some((listen, Some(config))));
    assert!(pair.core.path(SOON, MediaPath::Udp).is_some());
    assert!(pair.edge.path(SOON, MediaPath::Udp).is_some());
    assert!(pair.call(1).both_ways());
}

#[test]
fn a_second_connection_of_a_peer_replaces_the_first() {
    let mut pair = Pair::new();
    let mut call = pair.call(1);
    assert!(call.both_ways());
    let mut twin = Node::start(None);
    let config = media_client_config(&pair.core_identity, &node("edge1")).unwrap();
    twin.media.dial(node("edge1"), pair.address.to_string(), config);
    assert!(twin.path(SOON, MediaPath::Udp).is_some());
    assert!(pair.core.path(SOON, MediaPath::None).is_some(), "the edge closed the older one");
    assert!(pair.edge.path(Duration::from_millis(50), MediaPath::None).is_none(), "to the edge the peer stayed");
    twin.media.forget(&node("edge1"));
    assert!(pair.core.path(SOON, MediaPath::Udp).is_some());
    settle();
    assert!(call.both_ways());
}

#[test]
fn only_the_right_identities_meet() {
    let mut pair = Pair::unlinked();
    let foreign = Authority::ephemeral().unwrap().issue(&node("core1"), Role::Core).unwrap();
    let config = media_client_config(&foreign, &node("edge1")).unwrap();
    let mut stranger = Node::start(None);
    stranger.media.dial(node("edge1"), pair.address.to_string(), config);
    // Our own core, told that another edge is there.
    let config = media_client_config(&pair.core_identity, &node("edge2")).unwrap();
    pair.core.media.dial(node("edge2"), pair.address.to_string(), config);
    assert_eq!(stranger.path(Duration::from_millis(700), MediaPath::Udp), None);
    assert_eq!(pair.core.path(Duration::from_millis(50), MediaPath::Udp), None);
    assert_eq!(pair.edge.path(Duration::from_millis(50), MediaPath::Udp), None);
    pair.dial(pair.address);
    assert_eq!(pair.core.path(SOON, MediaPath::Udp), Some(node("edge1")));
}

#[test]
fn an_edge_lets_in_from_the_moment_it_is_paired() {
    let authority = Authority::ephemeral().unwrap();
    let edge_identity = authority.issue(&node("edge1"), Role::Edge).unwrap();
    let core_identity = authority.issue(&node("core1"), Role::Core).unwrap();
    let listen = socket("127.0.0.1");
    let address = listen.local_addr().unwrap();
    let mut edge = Node::start(Some((listen, None)));
    let mut core = Node::start(None);
    // A name, so that the resolver has something to do.
    let name = format!("localhost:{}", address.port());
    core.media.dial(node("edge1"), name, media_client_config(&core_identity, &node("edge1")).unwrap());
    assert_eq!(core.path(Duration::from_millis(300), MediaPath::Udp), None);
    edge.media.set_server_config(media_server_config(&edge_identity).unwrap());
    assert!(core.path(LINK_IDLE + SOON, MediaPath::Udp).is_some());
    assert!(edge.path(SOON, MediaPath::Udp).is_some());
    assert_eq!(core.media.totals(), (0, 0));
    core.media.forget(&node("edge1"));
    assert!(core.path(SOON, MediaPath::None).is_some() && edge.path(SOON, MediaPath::None).is_some());
}

#[test]
fn a_client_that_never_sends_is_reported_once() {
    let mut pair = Pair::new();
    let call = pair.call(1);
    let silent = |fact: &MediaFact| {
        if let MediaFact::Event(MediaEvent::ClientSilent { relay, .. }) = fact { Some(*relay) } else { None }
    };
    assert_eq!(pair.core.expect(Duration::from_secs(2), silent), None);
    assert_eq!(pair.core.expect(Duration::from_secs(2), silent), Some(call.relay));
    assert_eq!(pair.core.expect(Duration::from_millis(500), silent), None);
}

#[test]
fn many_pairs_come_in_several_answers() {
    let mut node = Node::start(None);
    node.media.command(MediaCommand::BindPorts { pairs: 50 });
    let mut bound = std::collections::BTreeSet::new();
    while bound.len() < 50 {
        let ports = node.expect(SOON, |fact| {
            if let MediaFact::Event(MediaEvent::PortsBound { ports }) = fact { Some(ports.clone()) } else { None }
        });
        for pair in ports.unwrap() {
            assert!(pair.rtp % 2 == 0 && (36_000..=59_998).contains(&pair.rtp));
            assert!(bound.insert(pair), "told once");
        }
    }
}

#[test]
fn a_peer_that_floods_control_is_held_back() {
    let mut pair = Pair::new();
    for _ in 0..3 {
        (0..100).for_each(|_| pair.core.media.send_control(node("edge1"), Bytes::from_static(b"flood")));
        settle();
    }
    std::thread::sleep(Duration::from_millis(200));
    let passed = std::iter::from_fn(|| pair.edge.control(Duration::ZERO)).count();
    // Two windows at most, if the flood lies across the end of one.
    assert!((1..=200).contains(&passed), "{passed}");
}

#[test]
fn a_full_range_and_busy_ports_are_told() {
    let busy = (0..200).find_map(|_| {
        let busy = socket("127.0.0.1");
        let port = busy.local_addr().unwrap().port();
        (port % 2 == 1 && port < 65_000).then_some((busy, port))
    });
    let (_busy, port) = busy.unwrap();
    // Pairs at port - 1 (its RTCP port is taken), and, with luck, the next three.
    let mut node = Node::with_ports(None, port - 1, port + 6).unwrap();
    node.media.command(MediaCommand::BindPorts { pairs: 5 });
    let missing = node.expect(SOON, |fact| {
        if let MediaFact::Event(MediaEvent::BindFailed { missing }) = fact { Some(*missing) } else { None }
    });
    assert!(missing.unwrap() >= 2);
    let bound = node.expect(Duration::ZERO, |fact| {
        if let MediaFact::Event(MediaEvent::PortsBound { ports }) = fact { Some(ports.clone()) } else { None }
    });
    assert!(bound.iter().flatten().all(|pair| pair.rtp % 2 == 0 && pair.rtp > port && pair.rtp <= port + 5));
    assert!(matches!(
        Node::with_ports(None, 40_001, 40_002).map(|_| ()),
        Err(MediaFault::NoPorts { first: 40_001, last: 40_002 })
    ));
}
