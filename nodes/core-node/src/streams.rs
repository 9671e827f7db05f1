//! The inside: TCP connections, UDP datagrams, registrars and their health.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::limits::SIP_MESSAGE_BYTES_MAX;
use edgeway_model::notice::{DropReason, Notice};
use edgeway_model::world::{FlowCommand, FlowEvent, Gauge, Transport};
use edgeway_model::{Deadline, FlowId, Moment, Output};
use edgeway_policy::health::{Health, Probe};
use edgeway_sip::Message;
use edgeway_sip::framer::{Element, Framer};
use edgeway_sip::proxy::{Hop, TransactionId};

use crate::CoreNode;
use crate::limits::{RETRIES_MAX, STREAMS_MAX};

/// Connections inside.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    streams: HashMap<FlowId, Stream>,
    dialled: HashMap<SocketAddr, FlowId>,
    sequence: u64,
    peak: u64,
}

#[derive(Debug)]
struct Stream {
    peer: SocketAddr,
    framer: Framer,
    open: bool,
}

impl Streams {
    pub(crate) fn gauge(&self) -> Gauge {
        Gauge { current: self.streams.len() as u64, peak: self.peak }
    }
}

/// One configured registrar.
#[derive(Debug)]
pub(crate) struct Registrar {
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) health: Health,
    probes: u64,
}

impl Registrar {
    pub(crate) fn new(address: SocketAddr, transport: Transport, every: Duration, now: Moment) -> Self {
        Self { address, transport, health: Health::new(every, now), probes: 0 }
    }

    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        Some(Deadline { at: self.health.deadline(), why: "registrar health" })
    }
}

const PROBE_BRANCH: &str = "z9hG4bKewprobe";

impl CoreNode {
    pub(crate) fn handle_stream(&mut self, flow: FlowId, event: FlowEvent, now: Moment) {
        match event {
            FlowEvent::Opened { peer, .. } => self.stream_opened(flow, peer),
            FlowEvent::Received { bytes } => self.stream_received(flow, bytes, now),
            FlowEvent::Closed { why } => self.stream_closed(flow, &why, now),
        }
    }

    fn stream_opened(&mut self, flow: FlowId, peer: SocketAddr) {
        if let Some(stream) = self.streams.streams.get_mut(&flow) {
            stream.open = true;
            return;
        }
        if self.streams.streams.len() >= STREAMS_MAX {
            self.dropped(DropReason::Overload, "the bound on inside connections is reached");
            let command = FlowCommand::Close { why: "too many connections" };
            return self.outputs.push_back(Output::Flow { flow, command });
        }
        let framer = Framer::new(SIP_MESSAGE_BYTES_MAX);
        self.streams.streams.insert(flow, Stream { peer, framer, open: true });
        self.streams.peak = self.streams.peak.max(self.streams.streams.len() as u64);
    }

    fn stream_received(&mut self, flow: FlowId, bytes: Bytes, now: Moment) {
        let Some(stream) = self.streams.streams.get_mut(&flow) else { return };
        stream.framer.push(bytes);
        loop {
            let Some(stream) = self.streams.streams.get_mut(&flow) else { return };
            match stream.framer.next() {
                Ok(None) => return,
                Ok(Some(Element::Message(bytes))) => self.message_from_inside(Hop::Flow(flow), bytes, now),
                Ok(Some(Element::Ping)) => self.send_stream(flow, Bytes::from_static(b"\r\n")),
                Ok(Some(Element::Pong | Element::Stun(_))) => {}
                Err(fault) => {
                    if let Some(reply) = fault.reply {
                        self.send_stream(flow, reply);
                    }
                    self.dropped(DropReason::FramingLost, fault.detail);
                    self.outputs.push_back(Output::Flow { flow, command: FlowCommand::Close { why: "framing lost" } });
                    return self.stream_closed(flow, "framing lost", now);
                }
            }
        }
    }

    pub(crate) fn handle_datagram(&mut self, local: SocketAddr, peer: SocketAddr, bytes: Bytes, now: Moment) {
        // Keepalives of any kind on UDP are shorter than any message.
        if bytes.len() <= 4 {
            return;
        }
        self.message_from_inside(Hop::Datagram { local, peer }, bytes, now);
    }

    fn stream_closed(&mut self, flow: FlowId, why: &str, now: Moment) {
        let Some(stream) = self.streams.streams.remove(&flow) else { return };
        if self.streams.dialled.get(&stream.peer) == Some(&flow) {
            self.streams.dialled.remove(&stream.peer);
        }
        if !stream.open {
            self.registrar_failed(stream.peer, now);
            self.notice_unreachable(stream.peer, why);
        }
        for id in self.proxy.hop_lost(&Hop::Flow(flow), now) {
            self.try_again(id, now);
        }
    }

    fn notice_unreachable(&mut self, peer: SocketAddr, why: &str) {
        if !self.registrars.iter().any(|registrar| registrar.address == peer) {
            self.dropped(DropReason::NoRelay, format!("an inside party could not be reached: {why}"));
        }
    }

    /// A request whose connection broke goes to a living registrar, or over a new connection; at
    /// most twice, and never an INVITE that already rings somewhere.
    fn try_again(&mut self, id: TransactionId, now: Moment) {
        let tries = self.retried.entry(id).or_default();
        *tries += 1;
        if *tries > RETRIES_MAX || self.proxy.is_proceeding(id) {
            self.retried.remove(&id);
            self.end_invite(id, "refused");
            return self.answer(id, 408, "Request Timeout", Some((383, "next hop not reachable")), now);
        }
        self.proxy.park(id, now);
        self.route_inward_again(id, now);
    }

    pub(crate) fn send_stream(&mut self, flow: FlowId, bytes: Bytes) {
        self.outputs.push_back(Output::Flow { flow, command: FlowCommand::Send { bytes } });
    }

    /// The hop to an inside address; dials if no connection is there.
    pub(crate) fn hop_to(&mut self, address: SocketAddr, transport: Transport) -> Option<Hop> {
        if transport == Transport::Udp {
            let mut sockets = self.settings.datagrams.iter();
            let local = sockets.find(|local| local.is_ipv4() == address.is_ipv4())?;
            return Some(Hop::Datagram { local: *local, peer: address });
        }
        if let Some(flow) = self.streams.dialled.get(&address) {
            return Some(Hop::Flow(*flow));
        }
        if self.streams.streams.len() >= STREAMS_MAX {
            return None;
        }
        self.streams.sequence += 1;
        let flow = FlowId::dialled(0, self.streams.sequence);
        let framer = Framer::new(SIP_MESSAGE_BYTES_MAX);
        self.streams.streams.insert(flow, Stream { peer: address, framer, open: false });
        self.streams.dialled.insert(address, flow);
        self.outputs.push_back(Output::Flow { flow, command: FlowCommand::Dial { peer: address, transport } });
        Some(Hop::Flow(flow))
    }

    /// The registrar for a new request: the first that is alive, in the configured order; else the
    /// first, which may be back.
    pub(crate) fn registrar(&self) -> Option<(SocketAddr, Transport)> {
        let alive = self.registrars.iter().find(|registrar| registrar.health.is_alive());
        alive.or(self.registrars.first()).map(|registrar| (registrar.address, registrar.transport))
    }

    pub(crate) fn is_registrar(&self, address: SocketAddr) -> Option<Transport> {
        self.registrars.iter().find(|registrar| registrar.address == address).map(|registrar| registrar.transport)
    }

    /// Who is at the other end of a hop inside.
    pub(crate) fn address_of(&self, hop: &Hop) -> Option<SocketAddr> {
        match hop {
            Hop::Flow(flow) => self.streams.streams.get(flow).map(|stream| stream.peer),
            Hop::Datagram { peer, .. } => Some(*peer),
            Hop::Peer(_) | Hop::Client { .. } => None,
        }
    }

    /// Whether a hop is a registrar that answers nothing.
    pub(crate) fn is_dead(&self, hop: &Hop) -> bool {
        let address = self.address_of(hop);
        self.registrars.iter().any(|registrar| Some(registrar.address) == address && !registrar.health.is_alive())
    }

    /// Whatever comes from a registrar proves it alive.
    pub(crate) fn registrar_heard(&mut self, hop: &Hop, now: Moment) {
        let Some(address) = self.address_of(hop) else { return };
        let Some(registrar) = self.registrars.iter_mut().find(|registrar| registrar.address == address) else { return };
        if registrar.health.handle_answer(now) {
            self.notice(Notice::Registrar { address, alive: true });
        }
    }

    pub(crate) fn registrar_failed(&mut self, address: SocketAddr, now: Moment) {
        let Some(registrar) = self.registrars.iter_mut().find(|registrar| registrar.address == address) else { return };
        if registrar.health.handle_failure(now) {
            self.notice(Notice::Registrar { address, alive: false });
        }
    }

    /// A request to a registrar ran out of time.
    pub(crate) fn registrar_silent(&mut self, id: TransactionId, now: Moment) {
        let address = match self.proxy.downstream(id) {
            Some(Hop::Flow(flow)) => self.streams.streams.get(flow).map(|stream| stream.peer),
            Some(Hop::Datagram { peer, .. }) => Some(*peer),
            Some(Hop::Peer(_) | Hop::Client { .. }) | None => None,
        };
        // An INVITE that rings too long says nothing about the registrar.
        if let Some(address) = address.filter(|_| !self.proxy.is_proceeding(id)) {
            self.registrar_failed(address, now);
        }
    }

    pub(crate) fn probe_registrars(&mut self, now: Moment) {
        for index in 0..self.registrars.len() {
            if self.registrars[index].health.deadline() > now {
                continue;
            }
            let registrar = &mut self.registrars[index];
            let (probe, news) = registrar.health.handle_timeout(now);
            let (address, transport) = (registrar.address, registrar.transport);
            if news {
                self.notice(Notice::Registrar { address, alive: false });
            }
            if probe == Probe::Send {
                self.registrars[index].probes += 1;
                self.send_probe(index, address, transport);
            }
        }
    }

    fn send_probe(&mut self, index: usize, address: SocketAddr, transport: Transport) {
        let Some(hop) = self.hop_to(address, transport) else { return };
        let (agent, number) = (self.agent(), self.registrars[index].probes);
        let text = format!(
            "OPTIONS sip:{address};transport={} SIP/2.0\r\n\
             Via: SIP/2.0/{} {agent};branch={PROBE_BRANCH}{index}.{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{agent}>;tag=ewprobe\r\nTo: <sip:{address}>\r\n\
             Call-ID: ewprobe{index}.{:x}@{agent}\r\nCSeq: {number} OPTIONS\r\nContent-Length: 0\r\n\r\n",
            transport.param(),
            transport.via(),
            self.boot,
        );
        let bytes = Bytes::from(text);
        match hop {
            Hop::Flow(flow) => self.send_stream(flow, bytes),
            Hop::Datagram { local, peer } => self.outputs.push_back(Output::Datagram { local, peer, bytes }),
            Hop::Peer(_) | Hop::Client { .. } => {}
        }
    }

    /// Whether a response answers a probe of ours. That the registrar lives was noted already.
    pub(crate) fn is_probe_answer(response: &Message) -> bool {
        response.top_via().branch().is_some_and(|branch| branch.starts_with(PROBE_BRANCH))
    }
}
