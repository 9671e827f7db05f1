//! The node's end of its QUIC connections: `quinn-proto`, turned by the media thread.
//!
//! Only datagrams are spoken (RFC 9221). Nothing here knows a relay.

use std::any::Any;
use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use edgeway_model::NodeId;
use edgeway_model::limits::LINK_DATAGRAM_BYTES_MAX;
use quinn_proto::congestion::{Controller, ControllerFactory};
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    AckFrequencyConfig, ClientConfig, Connection, ConnectionHandle, DatagramEvent, EcnCodepoint, Endpoint,
    EndpointConfig, Event, IdleTimeout, Incoming, ServerConfig, Transmit, TransportConfig, VarInt,
};
use rustls::pki_types::CertificateDer;

use super::carrier::{Carrier, Inbox};
use super::limits::{
    CONNECTIONS_MAX, DATAGRAM_BUFFER_BYTES, DATAGRAMS_TAKEN_BYTES, HANDSHAKE_MAX, HANDSHAKES_BEFORE_RETRY,
    HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX, INCOMING_BUFFER_BYTES, LINK_ACK_EVERY, LINK_ACK_WITHIN, LINK_IDLE,
    LINK_KEEPALIVE, LINK_WINDOW_BYTES, RECEIVES_PER_PASS,
};
use super::poller::{Poller, Token};
use crate::pki::identity::dns_name;
use crate::pki::node_of;

/// All connections of a node.
pub(super) struct Quic {
    endpoint: Endpoint,
    transport: Arc<TransportConfig>,
    carriers: Vec<Option<Carrier>>,
    lines: Vec<Option<Line>>,
    /// Lines that were touched since the last flush.
    touched: Vec<usize>,
    /// Lines that may have datagrams for us.
    ready: Vec<usize>,
    events: VecDeque<LineEvent>,
    inbox: Inbox,
    outbox: Vec<u8>,
}

/// One connection.
struct Line {
    connection: Connection,
    carrier: usize,
    standing: Standing,
    touched: bool,
    ready: bool,
    /// When a packet last came.
    heard_at: Instant,
    /// When it began.
    opened_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The handshake is under way.
    Opening,
    /// Dialled, and the edge has not confirmed our certificate yet.
    Unconfirmed,
    Open,
    Lost,
}

/// The number of a connection. It may be given again once the connection is gone.
pub(super) type LineNumber = usize;

/// What happened to a connection.
#[derive(Debug)]
pub(super) enum LineEvent {
    /// Both sides are proven; datagrams pass.
    Opened {
        line: LineNumber,
        /// Who is at the other end.
        peer: NodeId,
    },
    /// It is gone, or never came to be. Its number must not be used any more.
    Lost { line: LineNumber, why: String },
}

impl Quic {
    pub(super) fn new() -> Self {
        let endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, true, None);
        Self {
            endpoint,
            transport: Arc::new(transport()),
            carriers: Vec::new(),
            lines: Vec::new(),
            touched: Vec::new(),
            ready: Vec::new(),
            events: VecDeque::new(),
            inbox: Inbox::new(),
            outbox: Vec::new(),
        }
    }

    /// Takes connections from `socket` as soon as there is a server configuration.
    pub(super) fn listen(&mut self, socket: UdpSocket, poller: &Poller) -> std::io::Result<()> {
        let carrier = Carrier::new(socket)?;
        self.add_carrier(carrier, poller).map(|_| ())
    }

    /// What is presented to whoever dials from now on.
    pub(super) fn set_server_config(&mut self, config: Arc<rustls::ServerConfig>) -> Result<(), String> {
        let crypto = QuicServerConfig::try_from(config).map_err(|error| error.to_string())?;
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config
            .transport_config(Arc::clone(&self.transport))
            .max_incoming(HANDSHAKES_MAX)
            .incoming_buffer_size(INCOMING_BUFFER_BYTES)
            .incoming_buffer_size_total(INCOMING_BUFFER_BYTES * HANDSHAKES_MAX as u64);
        self.endpoint.set_server_config(Some(Arc::new(config)));
        Ok(())
    }

    /// Dials `peer`. What becomes of it comes as an event.
    pub(super) fn dial(
        &mut self,
        peer: &NodeId,
        address: SocketAddr,
        config: &Arc<rustls::ClientConfig>,
        poller: &Poller,
        now: Instant,
    ) -> Result<LineNumber, String> {
        if self.lines.iter().flatten().count() >= CONNECTIONS_MAX {
            return Err("too many connections".into());
        }
        let crypto = QuicClientConfig::try_from(Arc::clone(config)).map_err(|error| error.to_string())?;
        let mut client = ClientConfig::new(Arc::new(crypto));
        client.transport_config(Arc::clone(&self.transport));
        let carrier = Carrier::towards(address).map_err(|error| error.to_string())?;
        let carrier = self.add_carrier(carrier, poller).map_err(|error| error.to_string())?;
        match self.endpoint.connect(now, client, address, &dns_name(peer)) {
            Ok((handle, connection)) => {
                self.add_line(handle, connection, carrier, now);
                Ok(handle.0)
            }
            Err(error) => {
                self.drop_carrier(carrier, poller);
                Err(error.to_string())
            }
        }
    }

    /// Closes a connection; no event follows.
    pub(super) fn close(&mut self, line: LineNumber, now: Instant) {
        let Some(entry) = self.lines.get_mut(line).and_then(Option::as_mut) else { return };
        entry.standing = Standing::Lost;
        entry.connection.close(now, VarInt::from_u32(0), Bytes::new());
        self.touch(line);
    }

    /// When a packet last came by a connection.
    pub(super) fn heard_at(&self, line: LineNumber) -> Option<Instant> {
        Some(self.lines.get(line)?.as_ref()?.heard_at)
    }

    /// A socket can be read.
    pub(super) fn handle_readable(&mut self, carrier: usize, now: Instant) {
        for _ in 0..RECEIVES_PER_PASS {
            let Some(socket) = self.carriers.get(carrier).and_then(Option::as_ref) else { return };
            if !socket.receive(&mut self.inbox) {
                return;
            }
            let inbox = std::mem::replace(&mut self.inbox, Inbox::none());
            for (meta, train) in inbox.trains() {
                let mut data = BytesMut::from(train);
                while !data.is_empty() {
                    let packet = data.split_to(meta.stride.clamp(1, data.len()));
                    self.handle_packet(carrier, meta, packet, now);
                }
            }
            let more = inbox.is_full();
            self.inbox = inbox;
            if !more {
                return;
            }
        }
    }

    /// A socket that had no room has some.
    pub(super) fn handle_writable(&mut self, carrier: usize, poller: &Poller) {
        let Some(socket) = self.carriers.get_mut(carrier).and_then(Option::as_mut) else { return };
        if !socket.send_held() {
            return;
        }
        if let Err(error) = poller.watch_writable(socket.socket(), Token::Carrier(carrier), false) {
            tracing::error!(%error, "a link socket cannot be watched");
        }
        let waiting: Vec<_> = self.lines_of(carrier).collect();
        waiting.into_iter().for_each(|line| self.touch(line));
    }

    /// Timers that have expired.
    pub(super) fn handle_timeouts(&mut self, now: Instant) {
        for line in 0..self.lines.len() {
            let Some(entry) = &mut self.lines[line] else { continue };
            // The idle timer is no bound: a stranger who sends something now and then never idles.
            let stranger = entry.standing == Standing::Opening && entry.connection.side().is_server();
            if stranger && now >= entry.opened_at + HANDSHAKE_MAX {
                entry.standing = Standing::Lost;
                entry.connection.close(now, VarInt::from_u32(0), Bytes::new());
                self.touch(line);
                continue;
            }
            if entry.connection.poll_timeout().is_some_and(|at| at <= now) {
                entry.connection.handle_timeout(now);
                self.touch(line);
            }
        }
    }

    /// When the next timer expires.
    pub(super) fn next_timeout(&mut self) -> Option<Instant> {
        self.lines.iter_mut().flatten().filter_map(|line| line.connection.poll_timeout()).min()
    }

    /// What happened to connections.
    pub(super) fn poll_event(&mut self) -> Option<LineEvent> {
        self.events.pop_front()
    }

    /// A connection that may have datagrams; each is named once until new ones come.
    pub(super) fn poll_ready(&mut self) -> Option<LineNumber> {
        let line = self.ready.pop()?;
        if let Some(entry) = &mut self.lines[line] {
            entry.ready = false;
        }
        Some(line)
    }

    /// The next datagram of a connection.
    pub(super) fn receive(&mut self, line: LineNumber) -> Option<Bytes> {
        self.lines.get_mut(line)?.as_mut()?.connection.datagrams().recv()
    }

    /// Whether a datagram of `len` bytes fits in one packet of the path, as far as it is known now.
    pub(super) fn fits(&mut self, line: LineNumber, len: usize) -> bool {
        if len <= LINK_DATAGRAM_BYTES_MAX {
            return true;
        }
        let Some(entry) = self.lines.get_mut(line).and_then(Option::as_mut) else { return false };
        entry.connection.datagrams().max_size().is_some_and(|max| len <= max)
    }

    /// Queues a datagram. `false` if the connection cannot take it, ever.
    pub(super) fn send(&mut self, line: LineNumber, datagram: Bytes) -> bool {
        let Some(entry) = self.lines.get_mut(line).and_then(Option::as_mut) else { return false };
        let taken = entry.connection.datagrams().send(datagram, true).is_ok();
        if taken && !entry.touched {
            self.touch(line);
        }
        taken
    }

    /// Learns what touched connections have become, without sending.
    pub(super) fn settle(&mut self, poller: &Poller) {
        let mut at = 0;
        while let Some(&line) = self.touched.get(at) {
            at += 1;
            self.settle_line(line, poller);
        }
    }

    /// Sends what touched connections have to send.
    pub(super) fn flush(&mut self, poller: &Poller, now: Instant) {
        while let Some(line) = self.touched.pop() {
            if let Some(entry) = &mut self.lines[line] {
                entry.touched = false;
                self.transmit(line, poller, now);
            }
            self.settle_line(line, poller);
        }
    }

    /// Closes everything.
    pub(super) fn shut_down(&mut self, poller: &Poller, now: Instant) {
        for line in 0..self.lines.len() {
            self.close(line, now);
        }
        self.flush(poller, now);
    }

    fn handle_packet(&mut self, carrier: usize, meta: &quinn_udp::RecvMeta, packet: BytesMut, now: Instant) {
        let ecn = meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
        let mut response = std::mem::take(&mut self.outbox);
        response.clear();
        match self.endpoint.handle(now, meta.addr, meta.dst_ip, ecn, packet, &mut response) {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(entry) = self.lines.get_mut(handle.0).and_then(Option::as_mut) {
                    entry.heard_at = now;
                    entry.connection.handle_event(event);
                    self.touch(handle.0);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.meet(carrier, incoming, &mut response, now),
            Some(DatagramEvent::Response(transmit)) => self.respond(carrier, transmit, &response),
            None => {}
        }
        self.outbox = response;
    }

    /// Somebody dials us.
    fn meet(&mut self, carrier: usize, incoming: Incoming, response: &mut Vec<u8>, now: Instant) {
        let opening = || self.lines.iter().flatten().filter(|line| line.standing == Standing::Opening);
        let address = incoming.remote_address().ip();
        let of_address = opening().filter(|line| line.connection.remote_address().ip() == address).count();
        let opening = opening().count();
        let full = opening >= HANDSHAKES_MAX
            || of_address >= HANDSHAKES_PER_ADDRESS_MAX
            || self.lines.iter().flatten().count() >= CONNECTIONS_MAX;
        if full {
            self.endpoint.ignore(incoming);
            return;
        }
        if opening >= HANDSHAKES_BEFORE_RETRY && !incoming.remote_address_validated() {
            match self.endpoint.retry(incoming, response) {
                Ok(transmit) => self.respond(carrier, transmit, response),
                Err(refused) => self.endpoint.ignore(refused.into_incoming()),
            }
            return;
        }
        match self.endpoint.accept(incoming, now, response, None) {
            Ok((handle, connection)) => self.add_line(handle, connection, carrier, now),
            Err(error) => {
                tracing::debug!(cause = %error.cause, "a media connection was refused");
                if let Some(transmit) = error.response {
                    self.respond(carrier, transmit, response);
                }
            }
        }
    }

    fn respond(&mut self, carrier: usize, transmit: Transmit, response: &[u8]) {
        if let Some(socket) = self.carriers.get_mut(carrier).and_then(Option::as_mut)
            && !socket.is_blocked()
            && let Some(contents) = response.get(..transmit.size)
        {
            // Whoever does not get it asks again.
            socket.send_once(&transmit, contents);
        }
    }

    fn transmit(&mut self, line: LineNumber, poller: &Poller, now: Instant) {
        let Some(entry) = &mut self.lines[line] else { return };
        let carrier = entry.carrier;
        let Some(socket) = self.carriers.get_mut(carrier).and_then(Option::as_mut) else { return };
        while !socket.is_blocked() {
            self.outbox.clear();
            let Some(transmit) = entry.connection.poll_transmit(now, socket.segments(), &mut self.outbox) else {
                return;
            };
            let size = transmit.size;
            let blocked = socket.send(transmit, &self.outbox[..size]);
            if blocked && let Err(error) = poller.watch_writable(socket.socket(), Token::Carrier(carrier), true) {
                tracing::error!(%error, "a link socket cannot be watched");
            }
        }
    }

    fn settle_line(&mut self, line: LineNumber, poller: &Poller) {
        let Some(entry) = &mut self.lines[line] else { return };
        while let Some(event) = entry.connection.poll() {
            match event {
                Event::Connected if entry.standing == Standing::Opening => entry.standing = Standing::Unconfirmed,
                Event::ConnectionLost { reason } if entry.standing != Standing::Lost => {
                    entry.standing = Standing::Lost;
                    self.events.push_back(LineEvent::Lost { line, why: reason.to_string() });
                }
                Event::DatagramReceived if !entry.ready => {
                    entry.ready = true;
                    self.ready.push(line);
                }
                Event::Connected
                | Event::ConnectionLost { .. }
                | Event::DatagramReceived
                | Event::HandshakeDataReady
                | Event::Stream(_)
                | Event::DatagramsUnblocked => {}
            }
        }
        if entry.standing == Standing::Unconfirmed && is_confirmed(&entry.connection) {
            let peer = peer_of(&entry.connection);
            entry.standing = if peer.is_some() { Standing::Open } else { Standing::Lost };
            self.events.push_back(match peer {
                Some(peer) => LineEvent::Opened { line, peer },
                // The verifier lets none of these through; without a peer it is of no use.
                None => LineEvent::Lost { line, why: "the peer's certificate names no node".into() },
            });
        }
        // Last: it may be the end of the entry, and the reason has to be told before.
        while let Some(event) = entry.connection.poll_endpoint_events() {
            let drained = event.is_drained();
            if let Some(event) = self.endpoint.handle_event(ConnectionHandle(line), event) {
                entry.connection.handle_event(event);
                if !entry.touched {
                    entry.touched = true;
                    self.touched.push(line);
                }
            }
            if drained {
                return self.remove_line(line, poller);
            }
        }
    }

    fn add_carrier(&mut self, carrier: Carrier, poller: &Poller) -> std::io::Result<usize> {
        let number = self.carriers.iter().position(Option::is_none).unwrap_or(self.carriers.len());
        poller.watch(carrier.socket(), Token::Carrier(number))?;
        if number == self.carriers.len() {
            self.carriers.push(None);
        }
        self.carriers[number] = Some(carrier);
        Ok(number)
    }

    fn drop_carrier(&mut self, number: usize, poller: &Poller) {
        if let Some(carrier) = self.carriers[number].take()
            && let Err(error) = poller.forget(carrier.socket())
        {
            tracing::error!(%error, "a link socket cannot be unwatched");
        }
    }

    fn add_line(&mut self, handle: ConnectionHandle, connection: Connection, carrier: usize, now: Instant) {
        let line = handle.0;
        if self.lines.len() <= line {
            self.lines.resize_with(line + 1, || None);
        }
        let standing = Standing::Opening;
        self.lines[line] =
            Some(Line { connection, carrier, standing, touched: false, ready: false, heard_at: now, opened_at: now });
        self.touch(line);
    }

    fn remove_line(&mut self, line: LineNumber, poller: &Poller) {
        let Some(entry) = self.lines[line].take() else { return };
        self.touched.retain(|touched| *touched != line);
        self.ready.retain(|ready| *ready != line);
        if entry.standing != Standing::Lost {
            self.events.push_back(LineEvent::Lost { line, why: "closed".into() });
        }
        if entry.connection.side().is_client() {
            self.drop_carrier(entry.carrier, poller);
        }
    }

    fn lines_of(&self, carrier: usize) -> impl Iterator<Item = LineNumber> {
        let of_carrier = move |line: &Option<Line>| line.as_ref().is_some_and(|line| line.carrier == carrier);
        self.lines.iter().enumerate().filter(move |(_, line)| of_carrier(line)).map(|(number, _)| number)
    }

    fn touch(&mut self, line: LineNumber) {
        if let Some(entry) = self.lines.get_mut(line).and_then(Option::as_mut)
            && !entry.touched
        {
            entry.touched = true;
            self.touched.push(line);
        }
    }
}

/// TLS 1.3 lets a client finish before the server has looked at its certificate; only
/// HANDSHAKE_DONE (RFC 9001 §4.1.2) tells that it was accepted.
fn is_confirmed(connection: &Connection) -> bool {
    connection.side().is_server() || connection.stats().frame_rx.handshake_done > 0
}

fn peer_of(connection: &Connection) -> Option<NodeId> {
    let chain: Box<dyn Any> = connection.crypto_session().peer_identity()?;
    let chain = chain.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    node_of(&chain).map(|(node, _)| node)
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let mut acknowledged = AckFrequencyConfig::default();
    acknowledged.ack_eliciting_threshold(VarInt::from_u32(LINK_ACK_EVERY)).max_ack_delay(Some(LINK_ACK_WITHIN));
    let idle = IdleTimeout::try_from(LINK_IDLE).expect("a few seconds are fewer than 2^62 milliseconds");
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(LINK_KEEPALIVE))
        .ack_frequency_config(Some(acknowledged))
        .datagram_receive_buffer_size(Some(DATAGRAMS_TAKEN_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES)
        .congestion_controller_factory(Arc::new(Admitted));
    transport
}

/// The congestion control of admitted media: none. Calls are what is admitted or refused; media
/// that is held back is media lost, and what the path cannot carry is lost there.
#[derive(Clone, Copy, Debug)]
struct Admitted;

impl ControllerFactory for Admitted {
    fn build(self: Arc<Self>, _now: Instant, _current_mtu: u16) -> Box<dyn Controller> {
        Box::new(*self)
    }
}

impl Controller for Admitted {
    fn on_congestion_event(&mut self, _now: Instant, _sent: Instant, _is_persistent: bool, _lost_bytes: u64) {}

    fn on_mtu_update(&mut self, _new_mtu: u16) {}

    fn window(&self) -> u64 {
        LINK_WINDOW_BYTES
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(*self)
    }

    fn initial_window(&self) -> u64 {
        LINK_WINDOW_BYTES
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
