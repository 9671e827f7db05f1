//! The loop of the media thread.
//!
//! One turn: wait for sockets, the link or orders; hand every packet that is there to its relay;
//! serve the link; write each connection once. While there is load, turns are spaced
//! ([`TURN_SPACING`]), so that packets move in batches and share their QUIC packets and system
//! calls; otherwise the thread answers at once.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use edgeway_media::datagram::{Datagram, class_of, set_class};
use edgeway_media::split::{Half, split};
use edgeway_model::media::{Component, MediaClass, MediaCommand, MediaEvent, PortPair};
use edgeway_model::{Moment, NodeId, Random, RelayId};
use rustix::event::epoll::EventFlags;
use tokio::sync::mpsc::error::TrySendError;

use super::limits::{
    ARENA_BYTES, BINDS_PER_TURN, BUSY_PACKETS_PER_SECOND, FULL_PACKETS_PER_SECOND, HOUSEKEEPING_EVERY, LOAD_WINDOW,
    ORDERS_PER_TURN, PASSES_MAX, REPORT_EVERY, TURN_SPACING, TURN_SPACING_LIGHT,
};
use super::peers::{Peer, Peers, Way};
use super::poller::{Poller, Ready, Token};
use super::ports::{Ports, plain};
use super::quic::Quic;
use super::relays::{Relay, Relays, Rule, Scratch};
use super::stream::{StreamNumber, Streams};
use super::{Board, MediaConfig, MediaFact, MediaFault, Order};
use crate::clock::Clock;

/// The media thread's state.
pub(super) struct Worker {
    clock: Clock,
    pub(super) poller: Poller,
    ports: Ports,
    relays: Relays,
    pub(super) peers: Peers,
    pub(super) quic: Quic,
    pub(super) streams: Streams,
    pub(super) random: Random,
    facts: tokio::sync::mpsc::Sender<MediaFact>,
    /// Facts that must not be lost and that the node had no room for. At most one path fact per
    /// peer; the others are bounded by the pairs and relays they are about.
    pub(super) backlog: VecDeque<MediaFact>,
    orders: mpsc::Receiver<Order>,
    pub(super) own_orders: mpsc::Sender<Order>,
    pub(super) board: Arc<Board>,
    scratch: Scratch,
    /// What outgoing datagrams are cut from.
    arena: BytesMut,
    inward: u64,
    outward: u64,
    load: Load,
    pub(super) now: Moment,
    housekeeping_at: Moment,
    stopped: bool,
}

/// Whether packets come so fast that turns are spaced.
struct Load {
    since: Instant,
    packets: u64,
    /// Time between turns.
    spacing: Option<Duration>,
}

impl Worker {
    pub(super) fn new(
        config: MediaConfig,
        facts: tokio::sync::mpsc::Sender<MediaFact>,
        orders: mpsc::Receiver<Order>,
        own_orders: mpsc::Sender<Order>,
        board: Arc<Board>,
    ) -> Result<Self, MediaFault> {
        let system = |action| move |source| MediaFault::System { action, source };
        let (first, last) = (config.first_port, config.last_port);
        let mut random = Random::from_seed(config.seed);
        let ports = Ports::new(config.bind, first, last, config.marking, random.split())
            .ok_or(MediaFault::NoPorts { first, last })?;
        let poller = Poller::new().map_err(system("making an epoll"))?;
        poller.watch(&board.wake, Token::Wake).map_err(system("watching an event counter"))?;
        let mut quic = Quic::new();
        if let Some((socket, server)) = config.listen {
            let address = socket.local_addr().map_err(system("asking a socket for its address"))?;
            quic.listen(socket, &poller).map_err(|source| MediaFault::Listen { address, source })?;
            if let Some(server) = server {
                quic.set_server_config(server).map_err(MediaFault::Identity)?;
            }
        }
        Ok(Self {
            clock: Clock::start(),
            poller,
            ports,
            relays: Relays::default(),
            peers: Peers::default(),
            quic,
            streams: Streams::default(),
            random,
            facts,
            backlog: VecDeque::new(),
            orders,
            own_orders,
            board,
            scratch: Scratch::new(),
            arena: BytesMut::with_capacity(ARENA_BYTES),
            inward: 0,
            outward: 0,
            load: Load { since: Instant::now(), packets: 0, spacing: None },
            now: Moment::ZERO,
            housekeeping_at: Moment::ZERO,
            stopped: false,
        })
    }

    /// Runs until shut down.
    pub(super) fn run(mut self) {
        let mut ready = Ready::new();
        while !self.stopped {
            let woken = match self.turn(&mut ready) {
                Ok(woken) => woken,
                Err(error) => {
                    tracing::error!(%error, "the media thread cannot wait for its sockets; media stops");
                    break;
                }
            };
            if let Some(spacing) = self.load.spacing(self.inward + self.outward, woken) {
                std::thread::sleep(spacing.saturating_sub(woken.elapsed()));
            }
        }
        self.quic.shut_down(&self.poller, Instant::now());
        self.streams.shut_down(&self.poller);
        self.board.paths.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn turn(&mut self, ready: &mut Ready) -> io::Result<Instant> {
        let mut orders = self.pending_orders();
        let timeout = if orders.is_empty() { self.time_left() } else { Some(Duration::ZERO) };
        self.poller.wait(ready, timeout)?;
        self.board.awake.store(true, Ordering::Release);
        let woken = Instant::now();
        self.now = self.clock.now();
        orders.extend(self.orders.try_iter().take(ORDERS_PER_TURN));
        for order in orders {
            self.carry_out(order, woken);
        }
        for _ in 0..PASSES_MAX {
            if ready.len() == 0 {
                break;
            }
            for at in 0..ready.len() {
                let (token, flags) = ready.get(at);
                self.handle_ready(token, flags, woken);
            }
            self.poller.wait(ready, Some(Duration::ZERO))?;
        }
        self.quic.handle_timeouts(woken);
        self.serve_link(woken);
        if self.housekeeping_at <= self.now {
            self.keep_house(woken);
        }
        self.dial_due();
        self.take_stream_events();
        self.streams.flush(&self.poller, woken);
        self.take_stream_events();
        loop {
            self.quic.flush(&self.poller, woken);
            if !self.take_line_events(woken) {
                break;
            }
        }
        self.board.inward.store(self.inward, Ordering::Relaxed);
        self.board.outward.store(self.outward, Ordering::Relaxed);
        Ok(woken)
    }

    /// Announces that the thread is about to sleep, and looks once more at the orders: whoever
    /// sends one after this look writes to the event counter.
    fn pending_orders(&self) -> Vec<Order> {
        self.board.awake.swap(false, Ordering::AcqRel);
        self.orders.try_iter().take(ORDERS_PER_TURN).collect()
    }

    fn time_left(&mut self) -> Option<Duration> {
        let busy =
            !self.relays.is_empty() || self.ports.any_quiet() || !self.backlog.is_empty() || self.peers.any_watched();
        let housekeeping = busy.then_some(self.housekeeping_at);
        let ours = [housekeeping, self.peers.next_due()].into_iter().flatten().min();
        let ours = ours.map(|at| self.clock.instant(at));
        let next = [ours, self.quic.next_timeout()].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn handle_ready(&mut self, token: Token, flags: EventFlags, now: Instant) {
        match token {
            Token::Media { pair, component } => self.take_packet(pair, component, now),
            Token::Carrier(carrier) => {
                if flags.contains(EventFlags::OUT) {
                    self.quic.handle_writable(carrier, &self.poller);
                }
                if flags.intersects(EventFlags::IN | EventFlags::ERR) {
                    self.quic.handle_readable(carrier, now);
                }
            }
            Token::Stream(stream) => {
                if flags.contains(EventFlags::OUT) {
                    self.streams.handle_writable(stream);
                }
                if flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP) {
                    self.streams.handle_readable(stream, &self.poller);
                    self.take_from_stream(stream, now);
                }
            }
            Token::Wake => {
                let _ = rustix::io::read(&self.board.wake, &mut [0; 8]);
            }
        }
    }

    /// One packet from a media socket. More of them are reported at once again.
    fn take_packet(&mut self, pair: usize, component: Component, now: Instant) {
        let Some((number, socket)) = self.ports.lent(pair, component) else { return };
        let Ok((len, source)) = socket.recv_from(self.scratch.packet_mut()) else { return };
        let Some(relay) = self.relays.get(number) else { return };
        let taken = relay.handle_from_socket(component, plain(source), &mut self.scratch, len, self.now);
        let Some(len) = taken else { return };
        if !relay.is_outside() {
            set_class(self.scratch.datagram_mut(len), self.ports.class(pair));
        }
        let sent = match self.peers.peer_mut(relay.peer) {
            Some(peer) => {
                send_media(peer, self.scratch.datagram(len), &mut self.quic, &mut self.streams, &mut self.arena, now)
            }
            None => false,
        };
        if !sent {
            return relay.count_send_failure();
        }
        if relay.is_outside() {
            self.inward += 1;
        } else {
            self.outward += 1;
        }
    }

    /// Everything that came over the link.
    fn serve_link(&mut self, now: Instant) {
        self.quic.settle(&self.poller);
        self.take_line_events(now);
        while let Some(line) = self.quic.poll_ready() {
            let Some(at) = self.peers.of_line(line) else { continue };
            while let Some(datagram) = self.quic.receive(line) {
                self.take_datagram(at, Way::Udp(line), &datagram, now);
            }
        }
    }

    fn take_from_stream(&mut self, stream: StreamNumber, now: Instant) {
        self.take_stream_events();
        let Some(at) = self.peers.of_stream(stream) else { return };
        while let Some(datagram) = self.streams.receive(stream) {
            self.take_datagram(at, Way::Tcp(stream), &datagram, now);
        }
    }

    fn send(&mut self, way: Way, datagram: Bytes, now: Instant) {
        match way {
            Way::Udp(line) => self.quic.send(line, datagram),
            Way::Tcp(stream) => self.streams.send(stream, datagram, now),
        };
    }

    fn take_datagram(&mut self, at: usize, way: Way, datagram: &Bytes, now: Instant) {
        let Some((header, payload)) = Datagram::decode(datagram) else {
            return self.take_half(at, way, datagram, now);
        };
        let Some(peer) = self.peers.peer(at) else { return };
        match header {
            Datagram::Control => {
                if !self.peers.peer_mut(at).is_some_and(|peer| peer.admit_control(self.now)) {
                    return;
                }
                let Some(peer) = self.peers.peer(at) else { return };
                let fact = MediaFact::Control { peer: peer.node.clone(), bytes: datagram.slice_ref(payload) };
                // A probe that finds no room says that we are overloaded, which is true.
                let _ = self.facts.try_send(fact);
            }
            Datagram::Latch { relay, component, candidate } => {
                if let Some(relay) = peer.relays.get(&relay).and_then(|number| self.relays.get(*number)) {
                    relay.latch(component, candidate);
                }
            }
            Datagram::Media { .. } => self.take_media(at, way, (header, class_of(datagram)), payload, now),
        }
    }

    /// One half of a packet; with the other one it is a packet.
    fn take_half(&mut self, at: usize, way: Way, datagram: &[u8], now: Instant) {
        let Some((half, bytes)) = Half::decode(datagram) else { return };
        let Some(peer) = self.peers.peer_mut(at) else { return };
        // Taken out for the while: what comes out of it lies in it.
        let mut joiner = std::mem::take(&mut peer.joiner);
        if let Some((header, payload)) = joiner.handle_half(half, bytes, self.now) {
            self.take_media(at, way, (header, class_of(datagram)), payload, now);
        }
        if let Some(peer) = self.peers.peer_mut(at) {
            peer.joiner = joiner;
        }
    }

    fn take_media(
        &mut self,
        at: usize,
        way: Way,
        (header, class): (Datagram, MediaClass),
        payload: &[u8],
        now: Instant,
    ) {
        let Datagram::Media { relay: id, component, candidate, latched } = header else { return };
        let number = self.peers.peer(at).and_then(|peer| peer.relays.get(&id));
        let Some(relay) = number.and_then(|number| self.relays.get(*number)) else { return };
        let delivery = relay.handle_from_link(component, candidate, latched, payload, &mut self.scratch, self.now);
        if let Some(candidate) = delivery.latch {
            let latch = Datagram::Latch { relay: id, component, candidate }.encode();
            let latch = cut(&mut self.arena, &latch);
            match way {
                Way::Udp(line) => self.quic.send(line, latch),
                Way::Tcp(stream) => self.streams.send(stream, latch, now),
            };
        }
        let Some((way, len)) = delivery.packet else { return };
        if relay.is_outside() && self.ports.class(relay.pair) != class {
            self.ports.mark(relay.pair, class);
        }
        if self.ports.send(relay.pair, way.socket, self.scratch.packet(len), way.to).is_err() {
            return relay.count_send_failure();
        }
        if relay.is_outside() {
            self.outward += 1;
        } else {
            self.inward += 1;
        }
    }

    fn carry_out(&mut self, order: Order, now: Instant) {
        match order {
            Order::Command(command) => self.command(command),
            Order::Control { peer, bytes } => {
                self.board.control_queued.fetch_sub(1, Ordering::Relaxed);
                let way = self.peers.find(&peer).and_then(|at| self.peers.peer(at)?.way());
                if let Some(way) = way {
                    let datagram = [&Datagram::Control.encode()[..], &bytes].concat();
                    self.send(way, datagram.into(), now);
                }
            }
            Order::Dial { peer, address, config } => {
                self.keep_dialling(peer, address, config, now);
            }
            Order::Forget(peer) => self.stop_dialling(&peer, now),
            Order::ServerConfig(config) => {
                if let Err(error) = self.quic.set_server_config(config) {
                    tracing::error!(%error, "the identity cannot be used for QUIC; the one before stays");
                }
            }
            Order::Marking(marking) => self.ports.set_marking(marking),
            Order::Resolved { peer, address, found } => self.resolved(&peer, &address, found, now),
            Order::Streamed { peer, opened } => self.streamed(&peer, opened),
            Order::Adopt { peer, tcp, tls } => self.adopt(&peer, tcp, *tls),
            Order::Shutdown => self.stopped = true,
        }
    }

    fn command(&mut self, command: MediaCommand) {
        match command {
            MediaCommand::BindPorts { pairs } => {
                let now = pairs.min(BINDS_PER_TURN);
                let (ports, missing) = self.ports.bind(now);
                self.tell_free(ports);
                let later = pairs - now;
                if missing > 0 {
                    self.tell(MediaFact::Event(MediaEvent::BindFailed { missing: missing + later }));
                } else if later > 0 {
                    // The rest after what has been asked meanwhile. Our own receiver is there.
                    let _ = self.own_orders.send(Order::Command(MediaCommand::BindPorts { pairs: later }));
                }
            }
            MediaCommand::SetOutside(rule) => self.set(Rule::Outside(rule)),
            MediaCommand::SetInside(rule) => self.set(Rule::Inside(rule)),
            MediaCommand::SetClass { peer, relay, class } => {
                let known = self.peers.find(&peer).and_then(|at| self.peers.peer(at)?.relays.get(&relay));
                if let Some(relay) = known.and_then(|number| self.relays.get(*number)) {
                    self.ports.mark(relay.pair, class);
                }
            }
            MediaCommand::Close { peer, relay } => self.close(&peer, relay),
        }
    }

    fn set(&mut self, rule: Rule) {
        let (node, id, ports) = (rule.peer().clone(), rule.relay(), rule.ports());
        let Some(at) = self.peers.know(&node) else {
            return tracing::error!(peer = %node, relay = %id, "a relay was refused: too many peers are known already");
        };
        let known = self.peers.peer(at).and_then(|peer| peer.relays.get(&id).copied());
        if let Some(relay) = known.and_then(|number| self.relays.get(number)) {
            if !relay.update(rule, self.now) {
                tracing::error!(peer = %node, relay = %id, "a relay keeps its rule: the new one is of another kind");
            }
            return;
        }
        let Some(number) = self.relays.reserve() else {
            return tracing::error!(peer = %node, relay = %id, "a relay was refused: there are too many");
        };
        let pair = match self.ports.lend(ports, number, &self.poller) {
            Ok(pair) => pair,
            Err(error) => return tracing::error!(peer = %node, relay = %id, %error, "a relay was refused"),
        };
        let engine = rule.start(&mut self.random, self.now);
        let report_at = self.now + REPORT_EVERY;
        self.relays.insert(number, Relay { engine, pair, peer: at, number: id, report_at, told_drops: [0; 5] });
        if let Some(peer) = self.peers.peer_mut(at) {
            peer.relays.insert(id, number);
        }
    }

    fn close(&mut self, node: &NodeId, id: RelayId) {
        let known = self.peers.find(node).and_then(|at| self.peers.peer_mut(at)?.relays.remove(&id));
        let Some(mut relay) = known.and_then(|number| self.relays.remove(number)) else { return };
        self.board.add_drops(relay.take_drops());
        self.ports.take_back(relay.pair, &self.poller, self.now);
        self.tell(MediaFact::Event(MediaEvent::Report { peer: node.clone(), relay: id, counters: relay.counters() }));
    }

    fn keep_house(&mut self, now: Instant) {
        self.housekeeping_at = self.now + HOUSEKEEPING_EVERY;
        while let Some(fact) = self.backlog.pop_front() {
            if let Err(TrySendError::Full(fact)) = self.facts.try_send(fact) {
                self.backlog.push_front(fact);
                break;
            }
        }
        self.watch_paths(now);
        let free = self.ports.poll_free(self.now);
        self.tell_free(free);
        let mut silent = Vec::new();
        for relay in self.relays.iter_mut() {
            let Some(peer) = self.peers.peer(relay.peer) else { continue };
            if relay.take_client_silent(self.now) {
                silent.push(MediaEvent::ClientSilent { peer: peer.node.clone(), relay: relay.number });
            }
            if relay.take_client_timed_out(self.now) {
                silent.push(MediaEvent::ClientTimedOut { peer: peer.node.clone(), relay: relay.number });
            }
            if relay.report_at <= self.now {
                relay.report_at = self.now + REPORT_EVERY;
                self.board.add_drops(relay.take_drops());
                let (peer, counters) = (peer.node.clone(), relay.counters());
                // The next one says more.
                let _ =
                    self.facts.try_send(MediaFact::Event(MediaEvent::Report { peer, relay: relay.number, counters }));
            }
        }
        silent.into_iter().for_each(|event| self.tell(MediaFact::Event(event)));
    }

    fn tell_free(&mut self, ports: Vec<PortPair>) {
        if !ports.is_empty() {
            self.tell(MediaFact::Event(MediaEvent::PortsBound { ports }));
        }
    }

    /// A fact that must reach the node, in order.
    pub(super) fn tell(&mut self, fact: MediaFact) {
        if !self.backlog.is_empty() {
            return self.backlog.push_back(fact);
        }
        if let Err(TrySendError::Full(fact)) = self.facts.try_send(fact) {
            self.backlog.push_back(fact);
        }
    }
}

impl Load {
    /// The time between turns; none while there is no load. `packets` is how many there were so far.
    fn spacing(&mut self, packets: u64, now: Instant) -> Option<Duration> {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= LOAD_WINDOW {
            let carried = u128::from(packets - self.packets) * 1_000_000;
            let reaches = |rate: u64| carried >= u128::from(rate) * elapsed.as_micros();
            self.spacing = if reaches(FULL_PACKETS_PER_SECOND) {
                Some(TURN_SPACING)
            } else {
                reaches(BUSY_PACKETS_PER_SECOND).then_some(TURN_SPACING_LIGHT)
            };
            (self.since, self.packets) = (now, packets);
        }
        self.spacing
    }
}

/// Sends a packet with its header over the link, in two halves if the path is too narrow for it.
fn send_media(
    peer: &mut Peer,
    datagram: &[u8],
    quic: &mut Quic,
    streams: &mut Streams,
    arena: &mut BytesMut,
    now: Instant,
) -> bool {
    let line = match peer.way() {
        Some(Way::Udp(line)) => line,
        Some(Way::Tcp(stream)) => return streams.send(stream, cut(arena, datagram), now),
        None => return false,
    };
    if quic.fits(line, datagram.len()) {
        return quic.send(line, cut(arena, datagram));
    }
    let number = peer.split;
    peer.split = number.wrapping_add(1);
    split(datagram, number).is_some_and(|halves| {
        halves.into_iter().all(|(half, bytes)| quic.send(line, join(arena, &half.encode(), bytes)))
    })
}

/// A datagram of its own, cut from a chunk that many share.
fn cut(arena: &mut BytesMut, bytes: &[u8]) -> Bytes {
    join(arena, bytes, &[])
}

/// The same, of two parts.
fn join(arena: &mut BytesMut, head: &[u8], tail: &[u8]) -> Bytes {
    if arena.capacity() < head.len() + tail.len() {
        arena.reserve(ARENA_BYTES);
    }
    arena.extend_from_slice(head);
    arena.extend_from_slice(tail);
    arena.split().freeze()
}
