//! The relays of a node and what becomes of one packet.

use std::net::SocketAddr;

use edgeway_media::datagram::Datagram;
use edgeway_media::limits::DATAGRAM_HEADER_BYTES;
use edgeway_media::relay::{InsideEngine, OutsideEngine, Way};
use edgeway_model::limits::RELAYS_MAX;
use edgeway_model::media::{Component, InsideRelay, OutsideRelay, PortPair, RelayCounters};
use edgeway_model::{Moment, NodeId, Random, RelayId};

use super::limits::SCRATCH_BYTES;

/// All relays, by a number of our own.
#[derive(Default)]
pub(super) struct Relays {
    entries: Vec<Option<Relay>>,
    vacant: Vec<usize>,
}

/// One relay.
pub(super) struct Relay {
    pub(super) engine: Engine,
    /// Its ports.
    pub(super) pair: usize,
    /// The node at the other end.
    pub(super) peer: usize,
    /// The number both ends know.
    pub(super) number: RelayId,
    /// When its counters are due.
    pub(super) report_at: Moment,
    /// Drops that were added to those of the node.
    pub(super) told_drops: [u64; 5],
}

/// The rules of a relay at work.
pub(super) enum Engine {
    /// On the edge.
    Outside(Box<OutsideEngine>),
    /// In the core.
    Inside(Box<InsideEngine>),
}

/// What a relay is to do.
pub(super) enum Rule {
    /// On the edge.
    Outside(OutsideRelay),
    /// In the core.
    Inside(InsideRelay),
}

/// Room for one packet, with room for the link's header before it.
pub(super) struct Scratch(Box<[u8; SCRATCH_BYTES]>);

/// What goes out after a packet from the link.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delivery {
    /// So many bytes of the scratch this way.
    pub(super) packet: Option<(Way, usize)>,
    /// Tell the other end that this candidate is proven.
    pub(super) latch: Option<u8>,
}

impl Relays {
    /// The number the next relay gets. `None` if there are too many.
    pub(super) fn reserve(&self) -> Option<usize> {
        if let Some(at) = self.vacant.last() {
            return Some(*at);
        }
        (self.entries.len() < RELAYS_MAX).then_some(self.entries.len())
    }

    /// Adds a relay under the number just reserved.
    pub(super) fn insert(&mut self, at: usize, relay: Relay) {
        if self.vacant.last() == Some(&at) {
            self.vacant.pop();
        }
        if at == self.entries.len() {
            self.entries.push(None);
        }
        debug_assert!(self.entries[at].is_none(), "the number was free");
        self.entries[at] = Some(relay);
    }

    pub(super) fn remove(&mut self, at: usize) -> Option<Relay> {
        let relay = self.entries.get_mut(at)?.take()?;
        self.vacant.push(at);
        Some(relay)
    }

    pub(super) fn get(&mut self, at: usize) -> Option<&mut Relay> {
        self.entries.get_mut(at)?.as_mut()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Relay> {
        self.entries.iter_mut().flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.len() == self.vacant.len()
    }
}

impl Relay {
    /// A packet of `len` bytes came to our `socket`. The length of the datagram for the link, header
    /// included; drops are counted.
    pub(super) fn handle_from_socket(
        &mut self,
        socket: Component,
        source: SocketAddr,
        scratch: &mut Scratch,
        len: usize,
        now: Moment,
    ) -> Option<usize> {
        let packet = &mut scratch.0[DATAGRAM_HEADER_BYTES..];
        let (component, candidate, latched, len) = match &mut self.engine {
            Engine::Outside(engine) => {
                let passed = engine.handle_from_client(socket, source, packet.get(..len)?, now).ok()?;
                (passed.component, passed.candidate, passed.latched, len)
            }
            Engine::Inside(engine) => {
                let passed = engine.handle_from_inside(socket, source, packet, len, now).ok()?;
                (passed.component, 0, false, passed.len)
            }
        };
        let header = Datagram::Media { relay: self.number, component, candidate, latched }.encode();
        scratch.0[..DATAGRAM_HEADER_BYTES].copy_from_slice(&header);
        Some(DATAGRAM_HEADER_BYTES + len)
    }

    /// A packet came over the link; it is copied into the scratch, for working on it needs room of
    /// our own, and a little more than it has now.
    pub(super) fn handle_from_link(
        &mut self,
        component: Component,
        candidate: u8,
        latched: bool,
        packet: &[u8],
        scratch: &mut Scratch,
        now: Moment,
    ) -> Delivery {
        let room = scratch.packet_mut();
        let Some(start) = room.get_mut(..packet.len()) else {
            self.count_send_failure();
            return Delivery::default();
        };
        start.copy_from_slice(packet);
        match &mut self.engine {
            Engine::Outside(engine) => {
                let packet = engine.handle_from_link(component).map(|way| (way, packet.len()));
                Delivery { packet, latch: None }
            }
            Engine::Inside(engine) => {
                let result = engine.handle_from_link(component, (candidate, latched), room, packet.len(), now);
                Delivery { packet: result.outcome.ok(), latch: result.latch }
            }
        }
    }

    /// The core has proven a candidate.
    pub(super) fn latch(&mut self, component: Component, candidate: u8) {
        match &mut self.engine {
            Engine::Outside(engine) => {
                engine.latch(component, candidate);
            }
            // Only a core says so, and never to a core.
            Engine::Inside(_) => {}
        }
    }

    pub(super) fn count_send_failure(&mut self) {
        match &mut self.engine {
            Engine::Outside(engine) => engine.count_send_failure(),
            Engine::Inside(engine) => engine.count_send_failure(),
        }
    }

    pub(super) fn counters(&self) -> RelayCounters {
        match &self.engine {
            Engine::Outside(engine) => engine.counters(),
            Engine::Inside(engine) => engine.counters(),
        }
    }

    /// Packets dropped since this was asked last, by reason.
    pub(super) fn take_drops(&mut self) -> [u64; 5] {
        let drops = self.counters().drops().map(|(_, count)| count);
        let told = std::mem::replace(&mut self.told_drops, drops);
        std::array::from_fn(|at| drops[at].saturating_sub(told[at]))
    }

    /// Whether the client has been silent for too long; `true` once.
    pub(super) fn take_client_silent(&mut self, now: Moment) -> bool {
        match &mut self.engine {
            Engine::Outside(_) => false,
            Engine::Inside(engine) => engine.take_client_silent(now),
        }
    }

    /// Whether nothing came from the client for as long as its rule allows; `true` once.
    pub(super) fn take_client_timed_out(&mut self, now: Moment) -> bool {
        match &mut self.engine {
            Engine::Outside(_) => false,
            Engine::Inside(engine) => engine.take_client_timed_out(now),
        }
    }

    /// Whether packets from the link go outwards here.
    pub(super) const fn is_outside(&self) -> bool {
        matches!(self.engine, Engine::Outside(_))
    }

    /// Changes the rule. `false` if it is of another kind or names other ports than the relay has.
    pub(super) fn update(&mut self, rule: Rule, now: Moment) -> bool {
        match (&mut self.engine, rule) {
            (Engine::Outside(engine), Rule::Outside(rule)) if engine.rule().ports == rule.ports => engine.update(rule),
            (Engine::Inside(engine), Rule::Inside(rule)) if engine.rule().ports == rule.ports => {
                engine.update(rule, now);
            }
            (Engine::Outside(_) | Engine::Inside(_), Rule::Outside(_) | Rule::Inside(_)) => return false,
        }
        true
    }
}

impl Rule {
    pub(super) const fn peer(&self) -> &NodeId {
        match self {
            Self::Outside(rule) => &rule.peer,
            Self::Inside(rule) => &rule.peer,
        }
    }

    pub(super) const fn relay(&self) -> RelayId {
        match self {
            Self::Outside(rule) => rule.relay,
            Self::Inside(rule) => rule.relay,
        }
    }

    pub(super) const fn ports(&self) -> PortPair {
        match self {
            Self::Outside(rule) => rule.ports,
            Self::Inside(rule) => rule.ports,
        }
    }

    /// An engine that starts with this rule.
    pub(super) fn start(self, random: &mut Random, now: Moment) -> Engine {
        match self {
            Self::Outside(rule) => Engine::Outside(Box::new(OutsideEngine::new(rule, now))),
            Self::Inside(rule) => Engine::Inside(Box::new(InsideEngine::new(rule, random.split(), now))),
        }
    }
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self(Box::new([0; SCRATCH_BYTES]))
    }

    /// Where a packet is received into.
    pub(super) fn packet_mut(&mut self) -> &mut [u8] {
        &mut self.0[DATAGRAM_HEADER_BYTES..]
    }

    /// A packet.
    pub(super) fn packet(&self, len: usize) -> &[u8] {
        &self.0[DATAGRAM_HEADER_BYTES..][..len]
    }

    /// A datagram, header included, to write into.
    pub(super) fn datagram_mut(&mut self, len: usize) -> &mut [u8] {
        &mut self.0[..len]
    }

    /// A datagram, header included.
    pub(super) fn datagram(&self, len: usize) -> &[u8] {
        &self.0[..len]
    }
}
