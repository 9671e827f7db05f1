//! Connections and datagrams between everybody but nodes' links.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::world::{FlowEvent, Transport};
use edgeway_model::{FlowId, Input, Moment};

use crate::addresses::{REGISTRAR, STANDBY, core_address, edge_address};
use crate::world::{Actor, Happening, World};

#[derive(Debug)]
pub(crate) enum Item {
    Opened,
    Bytes(Bytes),
    Closed(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its owner does not know yet whether it stands.
    Pending,
    Open,
    /// Its owner closed it, or was told.
    Closed,
}

/// One side of a connection: side 0 dialled.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) actor: Actor,
    pub(crate) flow: FlowId,
    pub(crate) address: SocketAddr,
    pub(crate) state: State,
    inbox: VecDeque<(Moment, Item)>,
    last: Moment,
}

impl End {
    fn new(actor: Actor, flow: FlowId, address: SocketAddr) -> Self {
        Self { actor, flow, address, state: State::Pending, inbox: VecDeque::new(), last: Moment::ZERO }
    }
}

/// One TCP or TLS connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) ends: [End; 2],
    transport: Transport,
    latency: Duration,
}

/// What a reader of a trace wants of a SIP message: first line, CSeq and Call-ID.
pub(crate) fn first_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(2_000)]);
    let mut lines = text.lines();
    let mut out: String = lines.next().unwrap_or_default().chars().take(90).collect();
    for line in lines.take_while(|line| !line.is_empty()) {
        if let Some(value) = line.strip_prefix("CSeq: ").or_else(|| line.strip_prefix("Call-ID: ")) {
            out.push_str(" | ");
            out.push_str(value);
        }
    }
    out
}

/// Whether the registrar may be reached at an address.
fn is_registrar(address: SocketAddr) -> bool {
    address == REGISTRAR || address == STANDBY
}

impl World {
    pub(crate) fn phone_connects(&mut self, index: usize, edge: usize) {
        let address = self.phones[index].address;
        let flow = FlowId::accepted(1, u64::try_from(self.conns.len()).unwrap_or(0));
        self.connect(Actor::Phone(index), flow, address, Some(Actor::Node(edge)), edge_address(edge), Transport::Tls);
    }

    pub(crate) fn node_dials(&mut self, node: usize, flow: FlowId, to: SocketAddr, transport: Transport) {
        if transport != Transport::Tcp {
            return self.fail(format!("{} dialled {to} by {transport:?}", self.slots[node].name.clone()));
        }
        if self.slots[node].is_edge {
            return self.fail("an edge dialled");
        }
        let from = core_address(node - self.edges);
        self.dial(Actor::Node(node), flow, from, to);
    }

    /// Dials an inside address.
    pub(crate) fn dial(&mut self, actor: Actor, flow: FlowId, from: SocketAddr, to: SocketAddr) {
        let listener = self.listener(to);
        if listener.is_none() && !is_registrar(to) && !self.is_core_address(to) {
            self.fail(format!("{actor:?} dialled {to}, where nobody is"));
        }
        self.connect(actor, flow, from, listener, to, Transport::Tcp);
    }

    pub(crate) fn is_core_address(&self, address: SocketAddr) -> bool {
        (self.edges..self.slots.len()).any(|node| core_address(node - self.edges) == address)
    }

    /// Who takes connections and datagrams at an inside address.
    fn listener(&self, address: SocketAddr) -> Option<Actor> {
        if is_registrar(address) {
            return (!self.registrar_down.contains(&address)).then_some(Actor::Registrar);
        }
        let inside = self.phones.iter().position(|phone| !phone.is_outside() && phone.address == address);
        if let Some(phone) = inside {
            return Some(Actor::Phone(phone));
        }
        let mut cores = self.edges..self.slots.len();
        let core = cores.find(|node| core_address(node - self.edges) == address)?;
        self.slots[core].node.is_some().then_some(Actor::Node(core))
    }

    pub(crate) fn connect(
        &mut self,
        actor: Actor,
        flow: FlowId,
        from: SocketAddr,
        listener: Option<Actor>,
        to: SocketAddr,
        transport: Transport,
    ) {
        let index = self.conns.len();
        let outside = transport == Transport::Tls;
        let latency = if outside { self.chance.millis(5, 80) } else { self.chance.millis(1, 5) };
        let alive = match listener {
            Some(Actor::Node(node)) => self.slots[node].node.is_some(),
            Some(_) => true,
            None => false,
        };
        let theirs = match listener {
            Some(Actor::Node(node)) => {
                self.slots[node].accepted += 1;
                FlowId::accepted(0, self.slots[node].accepted)
            }
            Some(_) | None => FlowId::accepted(2, u64::try_from(index).unwrap_or(0)),
        };
        let other = listener.unwrap_or(Actor::Stranger);
        let ends = [End::new(actor, flow, from), End::new(other, theirs, to)];
        self.conns.push(Conn { ends, transport, latency });
        self.by_flow.insert((actor, flow), index);
        self.trace(format_args!("{actor:?} {flow} dials {to} by {transport:?}"));
        if alive {
            self.by_flow.insert((other, theirs), index);
            self.enqueue(index, 1, latency, Item::Opened);
            self.enqueue(index, 0, latency * 2, Item::Opened);
        } else {
            self.conns[index].ends[1].state = State::Closed;
            let refused = self.registrar_refuses || !is_registrar(to);
            let after = if refused { latency * 2 } else { Duration::from_secs(3) };
            self.enqueue(index, 0, after, Item::Closed("could not connect"));
        }
    }

    fn enqueue(&mut self, conn: usize, end: usize, after: Duration, item: Item) {
        let at = (self.now + after).max(self.conns[conn].ends[end].last);
        let side = &mut self.conns[conn].ends[end];
        side.last = at;
        side.inbox.push_back((at, item));
        self.schedule_at(at, Happening::Conn { conn, end });
    }

    pub(crate) fn deliver_conn(&mut self, conn: usize, end: usize) {
        let now = self.now;
        let side = &mut self.conns[conn].ends[end];
        if side.inbox.front().is_none_or(|(at, _)| *at > now) {
            return;
        }
        let Some((_, item)) = side.inbox.pop_front() else { return };
        if side.state == State::Closed {
            return;
        }
        match &item {
            Item::Opened => side.state = State::Open,
            Item::Bytes(_) => {}
            Item::Closed(_) => side.state = State::Closed,
        }
        let (actor, flow) = (side.actor, side.flow);
        let (local, peer) = (side.address, self.conns[conn].ends[1 - end].address);
        let transport = self.conns[conn].transport;
        match &item {
            Item::Opened => self.trace(format_args!("{actor:?} {flow} opened")),
            Item::Bytes(bytes) => {
                self.trace(format_args!("{actor:?} {flow} ◄ {} [{}]", first_line(bytes), bytes.len()));
            }
            Item::Closed(why) => self.trace(format_args!("{actor:?} {flow} closed: {why}")),
        }
        match actor {
            Actor::Node(node) => {
                let event = match item {
                    Item::Opened => FlowEvent::Opened { peer, local, transport },
                    Item::Bytes(bytes) => {
                        return self.feed_in_pieces(node, flow, bytes);
                    }
                    Item::Closed(why) => FlowEvent::Closed { why: why.to_owned() },
                };
                self.feed(node, Input::Flow { flow, event });
            }
            Actor::Phone(phone) => {
                self.with_phone(phone, |phone, now| match item {
                    Item::Opened => phone.handle_opened(flow, now),
                    Item::Bytes(bytes) => phone.handle_bytes(flow, bytes, now),
                    Item::Closed(_) => phone.handle_closed(flow, now),
                });
            }
            Actor::Registrar => self.with_registrar(|registrar, now| match item {
                Item::Opened => registrar.handle_opened(flow, local),
                Item::Bytes(bytes) => registrar.handle_bytes(flow, bytes, now),
                Item::Closed(_) => registrar.handle_closed(flow, now),
            }),
            Actor::Stranger => self.stranger_hears(flow, &item),
        }
    }

    /// Bytes of a stream arrive cut anywhere.
    fn feed_in_pieces(&mut self, node: usize, flow: FlowId, mut bytes: Bytes) {
        while bytes.len() > 1 && self.chance.percent(25) {
            let at = 1 + self.chance.below(bytes.len() - 1);
            let piece = bytes.split_to(at);
            self.feed(node, Input::Flow { flow, event: FlowEvent::Received { bytes: piece } });
        }
        let gone = self
            .by_flow
            .get(&(Actor::Node(node), flow))
            .is_none_or(|conn| self.conns[*conn].ends.iter().all(|end| end.flow != flow || end.state == State::Closed));
        if !gone {
            self.feed(node, Input::Flow { flow, event: FlowEvent::Received { bytes } });
        }
    }

    /// The connection and the side of it that `actor` calls `flow`.
    fn side(&self, actor: Actor, flow: FlowId) -> Option<(usize, usize)> {
        let conn = *self.by_flow.get(&(actor, flow))?;
        let end = usize::from(self.conns[conn].ends[0].actor != actor || self.conns[conn].ends[0].flow != flow);
        Some((conn, end))
    }

    pub(crate) fn node_sends(&mut self, node: usize, flow: FlowId, bytes: Bytes) {
        let name = self.slots[node].name.clone();
        match self.side(Actor::Node(node), flow) {
            None => self.fail(format!("{name} sent on {flow}, which never was: {}", first_line(&bytes))),
            Some((conn, end)) if self.conns[conn].ends[end].state == State::Closed => {
                self.fail(format!("{name} sent on {flow}, which is closed: {}", first_line(&bytes)));
            }
            Some(_) => {
                self.check_outward(node, &bytes);
                self.send_conn(Actor::Node(node), flow, bytes);
            }
        }
    }

    pub(crate) fn node_closes(&mut self, node: usize, flow: FlowId, why: &'static str) {
        let name = self.slots[node].name.clone();
        match self.side(Actor::Node(node), flow) {
            Some((conn, end)) if self.conns[conn].ends[end].state != State::Closed => {
                self.trace(format_args!("{name} closes {flow}: {why}"));
                self.close_conn(Actor::Node(node), flow, false);
            }
            Some(_) | None => self.fail(format!("{name} closed {flow}, which is not open: {why}")),
        }
    }

    pub(crate) fn send_conn(&mut self, actor: Actor, flow: FlowId, bytes: Bytes) {
        let Some((conn, end)) = self.side(actor, flow) else { return };
        if self.conns[conn].ends[end].state == State::Closed {
            return;
        }
        // Bytes written before the connection stands wait for it.
        let waits = if self.conns[conn].ends[end].state == State::Pending { 2 } else { 1 };
        let after = self.conns[conn].latency * waits;
        self.enqueue(conn, 1 - end, after, Item::Bytes(bytes));
    }

    /// Closes a connection; with `reset`, what is on its way is lost.
    pub(crate) fn close_conn(&mut self, actor: Actor, flow: FlowId, reset: bool) {
        let Some((conn, end)) = self.side(actor, flow) else { return };
        if self.conns[conn].ends[end].state == State::Closed {
            return;
        }
        self.conns[conn].ends[end].state = State::Closed;
        if reset {
            self.conns[conn].ends[1 - end].inbox.retain(|(_, item)| matches!(item, Item::Opened));
        }
        let mut after = self.conns[conn].latency;
        if reset && self.chance.percent(20) {
            // A phone that vanished: only a timeout of the transport tells.
            after = self.chance.millis(500, 8_000);
        }
        self.enqueue(conn, 1 - end, after, Item::Closed("closed by the other side"));
    }

    /// A process died: its connections break.
    pub(crate) fn drop_conns_of(&mut self, actor: Actor) {
        self.drop_conns(actor, |_| true);
    }

    /// What answers at one address of the registrar dies.
    pub(crate) fn drop_conns_at(&mut self, address: SocketAddr) {
        self.drop_conns(Actor::Registrar, |end| end.address == address);
    }

    fn drop_conns(&mut self, actor: Actor, is_meant: impl Fn(&End) -> bool) {
        for conn in 0..self.conns.len() {
            for end in 0..2 {
                let side = &self.conns[conn].ends[end];
                if side.actor == actor && is_meant(side) && side.state != State::Closed {
                    let flow = side.flow;
                    self.conns[conn].ends[end].inbox.clear();
                    self.close_conn(actor, flow, true);
                }
            }
        }
    }

    /// An inside phone sends; it keeps one connection per address.
    pub(crate) fn send_inside(&mut self, phone: usize, to: SocketAddr, transport: Transport, bytes: Bytes) {
        let (actor, own) = (Actor::Phone(phone), self.phones[phone].address);
        if transport == Transport::Udp {
            return self.send_datagram(own, to, bytes);
        }
        let standing = self.conns.iter().rev().find(|conn| {
            conn.ends[0].actor == actor && conn.ends[1].address == to && conn.ends[0].state != State::Closed
        });
        let flow = match standing {
            Some(conn) => conn.ends[0].flow,
            None => {
                let flow = FlowId::accepted(1, u64::try_from(self.conns.len()).unwrap_or(0));
                self.dial(actor, flow, own, to);
                flow
            }
        };
        self.send_conn(actor, flow, bytes);
    }

    pub(crate) fn send_datagram(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        self.check_datagram(from, to, &bytes);
        let loss = if self.chaotic { self.datagram_loss } else { 0 };
        if self.chance.percent(loss) {
            return self.trace(format_args!("lost {from} ► {to} {}", first_line(&bytes)));
        }
        let copies = if self.chance.percent(loss) { 2 } else { 1 };
        for _ in 0..copies {
            let slow = if self.chance.percent(loss) { 60 } else { 4 };
            let after = self.chance.millis(1, slow);
            self.schedule(after, Happening::Datagram { from, to, bytes: bytes.clone() });
        }
    }

    pub(crate) fn deliver_datagram(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        self.trace(format_args!("{from} ► {to} {} [{}]", first_line(&bytes), bytes.len()));
        match self.listener(to) {
            Some(Actor::Node(node)) => self.feed(node, Input::Datagram { local: to, peer: from, bytes }),
            Some(Actor::Registrar) => {
                self.with_registrar(|registrar, now| registrar.handle_datagram(to, from, bytes, now))
            }
            Some(Actor::Phone(phone)) => {
                self.with_phone(phone, |phone, now| {
                    phone.handle_message(crate::phone::From::Datagram(from), bytes, now);
                });
            }
            Some(Actor::Stranger) | None if is_registrar(to) || self.is_core_address(to) => {}
            Some(Actor::Stranger) | None => self.fail(format!("a datagram for {to}, where nobody is")),
        }
    }
}
