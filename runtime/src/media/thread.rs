//! The loop of the media thread.
//!
//! One turn: wait for sockets, the link or orders; hand every packet that is there to its relay;
//! serve the link; write each connection once. While there is load, turns are spaced
//! ([`TURN_SPACING`]), so that packets move in batches and share their QUIC packets and system
//! calls; otherwise the thread answers at once.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use edgeway_media::datagram::Datagram;
use edgeway_model::media::{Component, MediaCommand, MediaEvent, PortPair};
use edgeway_model::{Moment, NodeId, Random, RelayId};
use rustix::event::epoll::EventFlags;
use tokio::sync::mpsc::error::TrySendError;

use super::limits::{
    ARENA_BYTES, BINDS_PER_TURN, BUSY_PACKETS_PER_SECOND, HOUSEKEEPING_EVERY, LOAD_WINDOW, ORDERS_PER_TURN, PASSES_MAX,
    REPORT_EVERY, TURN_SPACING,
};
use super::peers::{Dial, DialState, Peers};
use super::poller::{Poller, Ready, Token};
use super::ports::{Ports, plain};
use super::quic::{LineEvent, LineNumber, Quic};
use super::relays::{Relay, Relays, Rule, Scratch};
use super::resolve::resolve;
use super::{Board, MediaConfig, MediaFact, MediaFault, Order};
use crate::clock::Clock;

/// The media thread's state.
pub(super) struct Worker {
    clock: Clock,
    poller: Poller,
    ports: Ports,
    relays: Relays,
    peers: Peers,
    quic: Quic,
    random: Random,
    facts: tokio::sync::mpsc::Sender<MediaFact>,
    /// Facts that must not be lost and that the node had no room for. At most one path fact per
    /// peer; the others are bounded by the pairs and relays they are about.
    backlog: VecDeque<MediaFact>,
    orders: mpsc::Receiver<Order>,
    own_orders: mpsc::Sender<Order>,
    board: Arc<Board>,
    scratch: Scratch,
    /// What outgoing datagrams are cut from.
    arena: BytesMut,
    inward: u64,
    outward: u64,
    load: Load,
    now: Moment,
    housekeeping_at: Moment,
    stopped: bool,
}

/// Whether packets come so fast that turns are spaced.
struct Load {
    since: Instant,
    packets: u64,
    busy: bool,
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
        let ports = Ports::new(config.bind, first, last, random.split()).ok_or(MediaFault::NoPorts { first, last })?;
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
            load: Load { since: Instant::now(), packets: 0, busy: false },
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
            if self.load.is_busy(self.inward + self.outward, woken) {
                std::thread::sleep(TURN_SPACING.saturating_sub(woken.elapsed()));
            }
        }
        self.quic.shut_down(&self.poller, Instant::now());
        self.board.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
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
            self.keep_house();
        }
        self.dial_due();
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
        let busy = !self.relays.is_empty() || self.ports.any_quiet() || !self.backlog.is_empty();
        let housekeeping = busy.then_some(self.housekeeping_at);
        let ours = [housekeeping, self.peers.next_due()].into_iter().flatten().min();
        let ours = ours.map(|at| self.clock.instant(at));
        let next = [ours, self.quic.next_timeout()].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn handle_ready(&mut self, token: Token, flags: EventFlags, now: Instant) {
        match token {
            Token::Media { pair, component } => self.take_packet(pair, component),
            Token::Carrier(carrier) => {
                if flags.contains(EventFlags::OUT) {
                    self.quic.handle_writable(carrier, &self.poller);
                }
                if flags.intersects(EventFlags::IN | EventFlags::ERR) {
                    self.quic.handle_readable(carrier, now);
                }
            }
            Token::Wake => {
                let _ = rustix::io::read(&self.board.wake, &mut [0; 8]);
            }
        }
    }

    /// One packet from a media socket. More of them are reported at once again.
    fn take_packet(&mut self, pair: usize, component: Component) {
        let Some((number, socket)) = self.ports.lent(pair, component) else { return };
        let Ok((len, source)) = socket.recv_from(self.scratch.packet_mut()) else { return };
        let Some(relay) = self.relays.get(number) else { return };
        let taken = relay.handle_from_socket(component, plain(source), &mut self.scratch, len, self.now);
        let Some(len) = taken else { return };
        let datagram = cut(&mut self.arena, self.scratch.datagram(len));
        let line = self.peers.peer(relay.peer).and_then(|peer| peer.line);
        if !line.is_some_and(|line| self.quic.send(line, datagram)) {
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
                self.take_datagram(at, line, &datagram);
            }
        }
    }

    fn take_datagram(&mut self, at: usize, line: LineNumber, datagram: &Bytes) {
        let Some((header, payload)) = Datagram::decode(datagram) else { return };
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
            Datagram::Media { relay: id, component, candidate, latched } => {
                let Some(relay) = peer.relays.get(&id).and_then(|number| self.relays.get(*number)) else { return };
                let delivery =
                    relay.handle_from_link(component, candidate, latched, payload, &mut self.scratch, self.now);
                if let Some(candidate) = delivery.latch {
                    let latch = Datagram::Latch { relay: id, component, candidate }.encode();
                    self.quic.send(line, cut(&mut self.arena, &latch));
                }
                let Some((way, len)) = delivery.packet else { return };
                if self.ports.send(relay.pair, way.socket, self.scratch.packet(len), way.to).is_err() {
                    return relay.count_send_failure();
                }
                if relay.is_outside() {
                    self.outward += 1;
                } else {
                    self.inward += 1;
                }
            }
        }
    }

    /// `true` if there was any.
    fn take_line_events(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(event) = self.quic.poll_event() {
            any = true;
            match event {
                LineEvent::Opened { line, peer } => self.line_opened(line, &peer, now),
                LineEvent::Lost { line, why } => self.line_lost(line, &why),
            }
        }
        any
    }

    fn line_opened(&mut self, line: LineNumber, node: &NodeId, now: Instant) {
        if let Some(at) = self.peers.of_dialled_line(line)
            && let Some(dial) = self.peers.peer_mut(at).and_then(|peer| peer.dial.as_mut())
        {
            dial.state = DialState::Open { line, since: self.now };
            dial.said.clear();
        }
        let Some(peer) = self.peers.know(node).and_then(|at| self.peers.peer_mut(at)) else {
            tracing::warn!(peer = %node, "a media path was refused: too many peers are known already");
            return self.quic.close(line, now);
        };
        match peer.line.replace(line) {
            Some(old) => self.quic.close(old, now),
            None => self.tell_path(node.clone(), true),
        }
    }

    fn line_lost(&mut self, line: LineNumber, why: &str) {
        if let Some(at) = self.peers.of_dialled_line(line) {
            self.dial_failed(at, why);
        }
        if let Some(peer) = self.peers.of_line(line).and_then(|at| self.peers.peer_mut(at)) {
            peer.line = None;
            let node = peer.node.clone();
            self.tell_path(node, false);
        }
    }

    fn dial_failed(&mut self, at: usize, why: &str) {
        let Some(peer) = self.peers.peer_mut(at) else { return };
        let Some(dial) = &mut peer.dial else { return };
        if dial.is_news(why) {
            tracing::warn!(peer = %peer.node, address = %dial.address, "no media path to this edge: {why}");
        }
        dial.retry(&mut self.random, self.now);
    }

    fn dial_due(&mut self) {
        while let Some(at) = self.peers.due(self.now) {
            let Some(peer) = self.peers.peer_mut(at) else { return };
            let Some(dial) = &mut peer.dial else { return };
            dial.state = DialState::Resolving;
            let (node, address) = (peer.node.clone(), dial.address.clone());
            resolve(node, address, self.own_orders.clone(), Arc::clone(&self.board));
        }
    }

    fn resolved(&mut self, node: &NodeId, address: &str, found: Result<Vec<SocketAddr>, String>, now: Instant) {
        let Some(at) = self.peers.find(node) else { return };
        let Some(peer) = self.peers.peer_mut(at) else { return };
        let Some(dial) = peer.dial.as_mut().filter(|dial| dial.awaits(address)) else { return };
        let dialled = found.and_then(|found| {
            let found = dial.choose(&found).ok_or("the name has no address")?;
            self.quic.dial(node, found, &dial.config, &self.poller, now)
        });
        match dialled {
            Ok(line) => dial.state = DialState::Opening(line),
            Err(why) => self.dial_failed(at, &why),
        }
    }

    fn carry_out(&mut self, order: Order, now: Instant) {
        match order {
            Order::Command(command) => self.command(command),
            Order::Control { peer, bytes } => {
                self.board.control_queued.fetch_sub(1, Ordering::Relaxed);
                let line = self.peers.find(&peer).and_then(|at| self.peers.peer(at)?.line);
                if let Some(line) = line {
                    let datagram = [&Datagram::Control.encode()[..], &bytes].concat();
                    self.quic.send(line, datagram.into());
                }
            }
            Order::Dial { peer, address, config } => {
                self.stop_dialling(&peer, now);
                match self.peers.know(&peer).and_then(|at| self.peers.peer_mut(at)) {
                    Some(entry) => entry.dial = Some(Dial::new(address, config, self.now)),
                    None => tracing::error!(%peer, "not dialled for media: too many peers are known already"),
                }
            }
            Order::Forget(peer) => self.stop_dialling(&peer, now),
            Order::ServerConfig(config) => {
                if let Err(error) = self.quic.set_server_config(config) {
                    tracing::error!(%error, "the identity cannot be used for QUIC; the one before stays");
                }
            }
            Order::Resolved { peer, address, found } => self.resolved(&peer, &address, found, now),
            Order::Shutdown => self.stopped = true,
        }
    }

    fn stop_dialling(&mut self, node: &NodeId, now: Instant) {
        let Some(peer) = self.peers.find(node).and_then(|at| self.peers.peer_mut(at)) else { return };
        let dialled = peer.dial.take().and_then(|dial| dial.line());
        let open = peer.line.take();
        for line in [dialled, open].into_iter().flatten() {
            self.quic.close(line, now);
        }
        if open.is_some() {
            self.tell_path(node.clone(), false);
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
        self.relays.insert(number, Relay { engine, pair, peer: at, number: id, report_at });
        if let Some(peer) = self.peers.peer_mut(at) {
            peer.relays.insert(id, number);
        }
    }

    fn close(&mut self, node: &NodeId, id: RelayId) {
        let known = self.peers.find(node).and_then(|at| self.peers.peer_mut(at)?.relays.remove(&id));
        let Some(relay) = known.and_then(|number| self.relays.remove(number)) else { return };
        self.ports.take_back(relay.pair, &self.poller, self.now);
        self.tell(MediaFact::Event(MediaEvent::Report { peer: node.clone(), relay: id, counters: relay.counters() }));
    }

    fn keep_house(&mut self) {
        self.housekeeping_at = self.now + HOUSEKEEPING_EVERY;
        while let Some(fact) = self.backlog.pop_front() {
            if let Err(TrySendError::Full(fact)) = self.facts.try_send(fact) {
                self.backlog.push_front(fact);
                break;
            }
        }
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

    fn tell_path(&mut self, peer: NodeId, open: bool) {
        tracing::info!(%peer, open, "media path");
        {
            let mut paths = self.board.open.lock().unwrap_or_else(PoisonError::into_inner);
            if open {
                paths.insert(peer.clone());
            } else {
                paths.remove(&peer);
            }
        }
        let earlier = |fact: &MediaFact| matches!(fact, MediaFact::Path { peer: other, .. } if *other == peer);
        self.backlog.retain(|fact| !earlier(fact));
        self.tell(MediaFact::Path { peer, open });
    }

    /// A fact that must reach the node, in order.
    fn tell(&mut self, fact: MediaFact) {
        if !self.backlog.is_empty() {
            return self.backlog.push_back(fact);
        }
        if let Err(TrySendError::Full(fact)) = self.facts.try_send(fact) {
            self.backlog.push_back(fact);
        }
    }
}

impl Load {
    /// `packets` is how many there were so far.
    fn is_busy(&mut self, packets: u64, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= LOAD_WINDOW {
            let carried = packets - self.packets;
            self.busy = u128::from(carried) * 1_000_000 >= u128::from(BUSY_PACKETS_PER_SECOND) * elapsed.as_micros();
            (self.since, self.packets) = (now, packets);
        }
        self.busy
    }
}

/// A datagram of its own, cut from a chunk that many share.
fn cut(arena: &mut BytesMut, bytes: &[u8]) -> Bytes {
    if arena.capacity() < bytes.len() {
        arena.reserve(ARENA_BYTES);
    }
    arena.extend_from_slice(bytes);
    arena.split().freeze()
}
