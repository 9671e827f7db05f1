//! The inside: TLS and TCP connections, UDP datagrams.
//!
//! A connection that was dialled is used again for everything that goes to the same place under the
//! same name, and for what comes back over it (RFC 5923). One that was accepted carries the answers to
//! what came over it.

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::Bytes;
use edgeway_model::limits::SIP_MESSAGE_BYTES_MAX;
use edgeway_model::notice::DropReason;
use edgeway_model::world::{FlowCommand, FlowEvent, Gauge, Transport};
use edgeway_model::{FlowId, Moment, Output};
use edgeway_policy::location::Place;
use edgeway_sip::framer::{Element, Framer};
use edgeway_sip::proxy::Hop;

use crate::CoreNode;
use crate::limits::STREAMS_MAX;
use crate::registrars::Destination;

/// Connections inside.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    streams: HashMap<FlowId, Stream>,
    /// By place and, for TLS, by the name that was proven: another name is another connection.
    dialled: HashMap<(Place, Option<String>), FlowId>,
    sequence: u64,
    peak: u64,
}

#[derive(Debug)]
struct Stream {
    place: Place,
    framer: Framer,
    open: bool,
    /// Anything has come over it.
    heard: bool,
}

impl Streams {
    pub(crate) fn gauge(&self) -> Gauge {
        Gauge { current: self.streams.len() as u64, peak: self.peak }
    }

    /// Where the other end is.
    pub(crate) fn place(&self, flow: FlowId) -> Option<Place> {
        self.streams.get(&flow).map(|stream| stream.place)
    }

    /// The connection dialled to a place.
    pub(crate) fn dialled_to(&self, place: Place) -> Option<FlowId> {
        self.dialled.iter().filter(|((known, _), _)| *known == place).map(|(_, flow)| *flow).min()
    }

    /// A connection is gone, or is not wanted any more.
    pub(crate) fn forget(&mut self, flow: FlowId) {
        self.streams.remove(&flow);
        self.dialled.retain(|_, known| *known != flow);
    }

    fn add(&mut self, flow: FlowId, place: Place, open: bool) {
        let framer = Framer::new(SIP_MESSAGE_BYTES_MAX);
        self.streams.insert(flow, Stream { place, framer, open, heard: false });
        self.peak = self.peak.max(self.streams.len() as u64);
    }
}

impl CoreNode {
    pub(crate) fn handle_stream(&mut self, flow: FlowId, event: FlowEvent, now: Moment) {
        match event {
            FlowEvent::Opened { peer, transport, .. } => self.stream_opened(flow, (peer, transport)),
            FlowEvent::Received { bytes } => self.stream_received(flow, bytes, now),
            FlowEvent::Closed { why } => self.stream_closed(flow, &why, now),
        }
    }

    fn stream_opened(&mut self, flow: FlowId, place: Place) {
        if let Some(stream) = self.streams.streams.get_mut(&flow) {
            stream.open = true;
            return;
        }
        if self.streams.streams.len() >= STREAMS_MAX {
            self.dropped(DropReason::Overload, "the bound on inside connections is reached");
            let command = FlowCommand::Close { why: "too many connections" };
            return self.outputs.push_back(Output::Flow { flow, command });
        }
        self.streams.add(flow, place, true);
    }

    fn stream_received(&mut self, flow: FlowId, bytes: Bytes, now: Moment) {
        let Some(stream) = self.streams.streams.get_mut(&flow) else { return };
        stream.heard = true;
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
        let Stream { place, open, heard, .. } = stream;
        self.streams.dialled.retain(|_, known| *known != flow);
        if flow.is_dialled() && self.zones.once_at(place).is_some() {
            // With TLS 1.3 a registrar that does not like our certificate says so after we think we are
            // connected: a connection that ends before anything came over it was never one.
            if !heard {
                self.zones.handle_failure(place, why, now);
            }
        } else if !open {
            self.dropped(DropReason::NoRelay, format!("an inside party could not be reached: {why}"));
        }
        for id in self.proxy.hop_lost(&Hop::Flow(flow), now) {
            self.try_again(id, open, now);
        }
        self.farewells_lost(&Hop::Flow(flow), now);
    }

    pub(crate) fn send_stream(&mut self, flow: FlowId, bytes: Bytes) {
        self.saw_inside(false, &Hop::Flow(flow), &bytes);
        self.outputs.push_back(Output::Flow { flow, command: FlowCommand::Send { bytes } });
    }

    /// The hop to an inside address; dials if no connection is there.
    pub(crate) fn hop_to(&mut self, to: &Destination) -> Option<Hop> {
        let (address, transport) = to.place;
        if transport == Transport::Udp {
            let mut sockets = self.settings.datagrams.iter();
            let local = sockets.find(|local| local.is_ipv4() == address.is_ipv4())?;
            return Some(Hop::Datagram { local: *local, peer: address });
        }
        let name = match transport {
            Transport::Tls => Some(to.name.clone().unwrap_or_else(|| address.ip().to_string())),
            Transport::Tcp | Transport::Udp => None,
        };
        let key = (to.place, name.clone());
        if let Some(flow) = self.streams.dialled.get(&key) {
            return Some(Hop::Flow(*flow));
        }
        if self.streams.streams.len() >= STREAMS_MAX {
            return None;
        }
        self.streams.sequence += 1;
        let flow = FlowId::dialled(0, self.streams.sequence);
        self.streams.add(flow, to.place, false);
        self.streams.dialled.insert(key, flow);
        let command = FlowCommand::Dial { peer: address, transport, name };
        self.outputs.push_back(Output::Flow { flow, command });
        Some(Hop::Flow(flow))
    }

    /// The transport inside parties must use to reach us again.
    pub(crate) fn transport_of(&self, hop: &Hop) -> Transport {
        match hop {
            Hop::Flow(flow) => self.streams.place(*flow).map_or(Transport::Tcp, |(_, transport)| transport),
            Hop::Datagram { .. } => Transport::Udp,
            Hop::Peer(_) | Hop::Client { .. } => Transport::Tls,
        }
    }

    /// Who is at the other end of a hop inside.
    pub(crate) fn address_of(&self, hop: &Hop) -> Option<SocketAddr> {
        self.place_of_hop(hop).map(|(address, _)| address)
    }

    /// Whether a hop is a registrar that answers nothing.
    pub(crate) fn is_dead(&self, hop: &Hop) -> bool {
        let node = self.place_of_hop(hop).and_then(|place| self.zones.at(place));
        node.is_some_and(|node| !node.health.is_alive())
    }

    /// Whatever comes from a registrar proves it alive.
    pub(crate) fn registrar_heard(&mut self, hop: &Hop, now: Moment) {
        if let Some(place) = self.place_of_hop(hop) {
            self.zones.handle_heard(place, now);
        }
    }
}
