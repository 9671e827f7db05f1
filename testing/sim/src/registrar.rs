//! The registrar inside: a location table with Path, and a proxy that follows Routes as naively as
//! the standard allows, so that an edge or core that lets a stranger's Route through is found out.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::limits::SIP_MESSAGE_BYTES_MAX;
use edgeway_model::world::Transport;
use edgeway_model::{FlowId, Moment, NodeId};
use edgeway_sip::bindings::aor_of;
use edgeway_sip::framer::{Element, Framer};
use edgeway_sip::proxy::{Event, Hop, Patience, Proxy, Received, TransactionId};
use edgeway_sip::{Message, Name, Uri};

use crate::calls::HOSTILE;
use crate::forker::{Device, Forker, Turn};

/// How long it waits for any answer.
const PATIENCE: Patience = Patience { answer: Duration::from_secs(32), route: Duration::from_secs(1) };
const EXPIRES_MAX: u32 = 60;

/// What one registrar is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) transport: Transport,
    pub(crate) challenges: bool,
    pub(crate) record_routes: bool,
    /// Whether it keeps Path; else it refuses a REGISTER that brings one.
    pub(crate) path: bool,
}

#[derive(Debug)]
pub(crate) enum Act {
    /// From one of its addresses to somebody's.
    Dial(FlowId, SocketAddr, SocketAddr),
    Send(FlowId, Bytes),
    Datagram(SocketAddr, SocketAddr, Bytes),
    Violation(String),
}

#[derive(Clone, Debug)]
struct Binding {
    contact: String,
    path: Vec<String>,
    expires: Moment,
    call_id: String,
    seq: u32,
}

/// The registrar: one location table, behind one address or two, which fail apart.
#[derive(Debug)]
pub(crate) struct Registrar {
    addresses: Vec<SocketAddr>,
    pub(crate) habits: Habits,
    users: Vec<String>,
    proxy: Proxy,
    forker: Forker,
    /// The address of ours that forked requests came to last, and go on from: the other one may be dead.
    forked_at: SocketAddr,
    /// What the forker wants done.
    turns: VecDeque<Turn>,
    location: BTreeMap<String, BTreeMap<String, Binding>>,
    /// With the address of ours each belongs to.
    framers: BTreeMap<FlowId, (SocketAddr, Framer)>,
    dialled: BTreeMap<(SocketAddr, SocketAddr), FlowId>,
    sequence: u64,
    now: Moment,
    pub(crate) acts: Vec<Act>,
}

impl Registrar {
    pub(crate) fn new(addresses: Vec<SocketAddr>, habits: Habits, users: Vec<String>) -> Self {
        Self {
            forked_at: addresses[0],
            addresses,
            habits,
            users,
            proxy: Proxy::new(PATIENCE, 0xbead),
            forker: Forker::default(),
            turns: VecDeque::new(),
            location: BTreeMap::new(),
            framers: BTreeMap::new(),
            dialled: BTreeMap::new(),
            sequence: 0,
            now: Moment::ZERO,
            acts: Vec::new(),
        }
    }

    /// Whether this user is reachable, as far as the registrar knows.
    pub(crate) fn knows(&self, user: &str, now: Moment) -> bool {
        let bindings = self.location.get(&format!("{user}@example.com"));
        bindings.is_some_and(|bindings| bindings.values().any(|binding| binding.expires > now))
    }

    pub(crate) fn transactions(&self) -> usize {
        self.proxy.len()
    }

    pub(crate) fn next_wake(&self) -> Option<Moment> {
        self.proxy.next_deadline().map(|deadline| deadline.at)
    }

    pub(crate) fn handle_timeout(&mut self, now: Moment) {
        self.proxy.handle_timeout(now);
        self.settle(now);
    }

    pub(crate) fn handle_opened(&mut self, flow: FlowId, local: SocketAddr) {
        self.framers.entry(flow).or_insert_with(|| (local, Framer::new(SIP_MESSAGE_BYTES_MAX)));
    }

    pub(crate) fn handle_closed(&mut self, flow: FlowId, now: Moment) {
        self.framers.remove(&flow);
        self.dialled.retain(|_, dialled| *dialled != flow);
        for id in self.proxy.hop_lost(&Hop::Flow(flow), now) {
            self.answer(id, 503, "Service Unavailable", now);
        }
        self.settle(now);
    }

    /// What answers at one address was restarted: no connection of it is left.
    pub(crate) fn forget_connections(&mut self, address: SocketAddr, now: Moment) {
        let of_it = self.framers.iter().filter(|(_, (local, _))| *local == address);
        let flows: Vec<_> = of_it.map(|(flow, _)| *flow).collect();
        for flow in flows {
            self.handle_closed(flow, now);
        }
    }

    pub(crate) fn handle_bytes(&mut self, flow: FlowId, bytes: Bytes, now: Moment) {
        let Some((_, framer)) = self.framers.get_mut(&flow) else { return };
        framer.push(bytes);
        loop {
            let Some((_, framer)) = self.framers.get_mut(&flow) else { return };
            match framer.next() {
                Ok(Some(Element::Message(bytes))) => self.handle_message(Hop::Flow(flow), bytes, now),
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(fault) => return self.acts.push(Act::Violation(format!("registrar: {fault}"))),
            }
        }
    }

    pub(crate) fn handle_datagram(&mut self, local: SocketAddr, peer: SocketAddr, bytes: Bytes, now: Moment) {
        self.handle_message(Hop::Datagram { local, peer }, bytes, now);
    }

    /// The address of ours that a hop is reached from.
    fn local(&self, hop: &Hop) -> SocketAddr {
        match hop {
            Hop::Flow(flow) => self.framers.get(flow).map_or(self.addresses[0], |(local, _)| *local),
            Hop::Datagram { local, .. } => *local,
            Hop::Peer(_) | Hop::Client { .. } => self.forked_at,
        }
    }

    fn handle_message(&mut self, hop: Hop, bytes: Bytes, now: Moment) {
        match Message::parse(bytes) {
            Ok(message) if message.is_request() => self.request(hop, &message, now),
            Ok(message) => self.response(&hop, &message, now),
            Err(fault) => self.acts.push(Act::Violation(format!("registrar: a message that cannot be read: {fault}"))),
        }
        self.settle(now);
    }

    fn request(&mut self, hop: Hop, request: &Message, now: Moment) {
        if request.other(HOSTILE).is_some() {
            let what = format!("a stranger's {} reached the registrar", request.method().unwrap_or_default());
            self.acts.push(Act::Violation(what));
        }
        match self.proxy.receive_request(request, hop.clone(), now) {
            Received::Absorbed => {}
            Received::Acknowledgement => self.acknowledge(request, self.local(&hop)),
            Received::StrayCancel => {
                let bytes = request.respond(481, "Call/Transaction Does Not Exist").to_tag("s").build();
                self.send(&hop, bytes);
            }
            Received::Full => self.acts.push(Act::Violation("registrar: full".to_owned())),
            Received::New(id) => match request.method() {
                Some("REGISTER") => self.register(id, request, now),
                Some("OPTIONS") if request.routes().next().is_none() => self.answer(id, 200, "OK", now),
                _ => self.route(id, request, now),
            },
        }
    }

    fn answer(&mut self, id: TransactionId, status: u16, reason: &str, now: Moment) {
        let Some(request) = self.proxy.request(id) else { return };
        let bytes = request.respond(status, reason).to_tag("s").build();
        self.proxy.respond(id, status, bytes, now);
    }

    fn register(&mut self, id: TransactionId, request: &Message, now: Moment) {
        let aor = aor_of(request.to().uri);
        let user = aor.split('@').next().unwrap_or_default().to_owned();
        if !self.users.contains(&user) {
            return self.answer(id, 404, "Not Found", now);
        }
        if self.habits.challenges && request.header(Name::Authorization).is_none() {
            let response = request.respond(401, "Unauthorized").to_tag("s");
            let challenge = format!("Digest realm=\"example.com\", nonce=\"{user}1\"");
            let bytes = response.header(Name::WwwAuthenticate, &challenge).build();
            return self.proxy.respond(id, 401, bytes, now);
        }
        let path: Vec<_> =
            request.values(Name::Path).map(|value| String::from_utf8_lossy(value).into_owned()).collect();
        if !self.habits.path && !path.is_empty() {
            return self.answer(id, 420, "Bad Extension", now);
        }
        let (call_id, seq) = (request.call_id().to_owned(), request.cseq().0);
        let general = request.expires();
        let bindings = self.location.entry(aor).or_default();
        for contact in request.contacts() {
            let key = contact.param("+sip.instance").flatten().unwrap_or(contact.uri).to_owned();
            if bindings.get(&key).is_some_and(|old| old.call_id == call_id && old.seq > seq) {
                // RFC 3261 §10.3 step 7: out of order.
                return self.answer(id, 500, "Server Internal Error", now);
            }
            let expires = contact.expires().or(general).unwrap_or(3_600).min(EXPIRES_MAX);
            let at = now + Duration::from_secs(expires.into());
            // A binding that was ended stays, expired, to tell a late REGISTER from a new one.
            let binding = Binding {
                contact: contact.uri.to_owned(),
                path: path.clone(),
                expires: at,
                call_id: call_id.clone(),
                seq,
            };
            bindings.insert(key, binding);
        }
        let mut response = request.respond(200, "OK").to_tag("s");
        for (key, binding) in bindings.iter().filter(|(_, binding)| binding.expires > now) {
            let left = binding.expires.since(now).as_secs();
            let instance = if key == &binding.contact { String::new() } else { format!(";+sip.instance=\"{key}\"") };
            response = response.header(Name::Contact, &format!("<{}>;expires={left}{instance}", binding.contact));
        }
        let bytes = response.build();
        self.proxy.respond(id, 200, bytes, now);
    }

    fn route(&mut self, id: TransactionId, request: &Message, now: Moment) {
        let initial = request.to_tag().is_none();
        if request.method() == Some("INVITE") {
            let forked = request.top_via().host == "forker.invalid";
            if initial && !forked && self.habits.challenges && request.header(Name::ProxyAuthorization).is_none() {
                let response = request.respond(407, "Proxy Authentication Required").to_tag("s");
                let challenge = "Digest realm=\"example.com\", nonce=\"call1\"";
                let bytes = response.header(Name::ProxyAuthenticate, challenge).build();
                return self.proxy.respond(id, 407, bytes, now);
            }
            let trying = request.respond(100, "Trying").build();
            self.proxy.respond(id, 100, trying, now);
        }
        let devices =
            if request.method() == Some("INVITE") && initial { self.devices(request, now) } else { Vec::new() };
        if devices.len() > 1
            && let Some(forker) = forker()
        {
            let local = self.proxy.upstream(id).map_or(self.forked_at, |upstream| self.local(upstream));
            self.forked_at = local;
            let mut edit = request.edit();
            edit.push_via(&format!("SIP/2.0/TCP {local};branch={}", self.proxy.branch(id)));
            let bytes = edit.finish();
            return self.proxy.forward(id, forker, bytes, now);
        }
        let mut edit = request.edit();
        let Some(next) = self.next_hop(&mut edit, request, now) else {
            return self.answer(id, if initial { 480 } else { 404 }, "Temporarily Unavailable", now);
        };
        let (address, transport) = next;
        let local = self.proxy.upstream(id).map_or(self.addresses[0], |upstream| self.local(upstream));
        edit.set(Name::MaxForwards, &request.max_forwards().unwrap_or(70).saturating_sub(1).to_string());
        if self.habits.record_routes && request.method() == Some("INVITE") {
            let own = self.habits.transport.param();
            edit.push(Name::RecordRoute, &format!("<sip:{local};transport={own};lr>"));
        }
        edit.push_via(&format!("SIP/2.0/{} {local};branch={}", transport.via(), self.proxy.branch(id)));
        let bytes = edit.finish();
        let hop = self.hop(local, address, transport);
        self.proxy.forward(id, hop, bytes, now);
    }

    /// The devices of the user a new request is for, if nothing but the user decides where it goes.
    fn devices(&self, request: &Message, now: Moment) -> Vec<Device> {
        let ours = |uri: &str| place(uri).is_some_and(|(address, _)| self.addresses.contains(&address));
        if !request.routes().all(|route| ours(route.uri)) {
            return Vec::new();
        }
        let Some(uri) = request.request_uri().and_then(Uri::parse).filter(|uri| uri.host == "example.com") else {
            return Vec::new();
        };
        let bindings = self.location.get(&format!("{}@example.com", uri.user.unwrap_or_default()));
        let live = bindings.into_iter().flat_map(BTreeMap::values).filter(|binding| binding.expires > now);
        live.map(|binding| Device { contact: binding.contact.clone(), path: binding.path.clone() }).collect()
    }

    /// What has been forwarded to the forker: an INVITE, its CANCEL, or an answer to one of its own.
    fn fork(&mut self, bytes: Bytes) {
        let turns = match Message::parse(bytes.clone()) {
            Ok(message) if message.method() == Some("INVITE") => {
                let devices = self.devices(&message, self.now);
                self.forker.fork(&message, &devices)
            }
            Ok(message) if message.method() == Some("CANCEL") => self.forker.cancel(&message),
            Ok(message) if message.is_request() => Vec::new(),
            Ok(_) | Err(_) => self.forker.answered(&bytes),
        };
        self.turns.extend(turns);
        self.forker.forget_answered();
    }

    fn take_turn(&mut self, turn: Turn, now: Moment) {
        let Some(forker) = forker() else { return };
        match turn {
            Turn::Request(bytes) => {
                if let Ok(request) = Message::parse(bytes) {
                    self.request(forker, &request, now);
                }
            }
            Turn::Answer(bytes) => {
                if let Ok(response) = Message::parse(bytes) {
                    self.response(&forker, &response, now);
                }
            }
        }
    }

    /// Takes our own Routes off and finds where the request goes (RFC 3261 §16.4 to §16.6).
    fn next_hop(
        &self,
        edit: &mut edgeway_sip::Edit<'_>,
        request: &Message,
        now: Moment,
    ) -> Option<(SocketAddr, Transport)> {
        let mut routes = request.routes().map(|route| route.uri.to_owned()).peekable();
        while let Some(uri) = routes.peek()
            && place(uri).is_some_and(|(address, _)| self.addresses.contains(&address))
        {
            routes.next();
            edit.pop_value(Name::Route);
        }
        if let Some(uri) = routes.next() {
            return place(&uri);
        }
        let uri = request.request_uri()?;
        let parsed = Uri::parse(uri)?;
        if parsed.host != "example.com" && !self.addresses.iter().any(|own| parsed.host_ip() == Some(own.ip())) {
            return place(uri);
        }
        let bindings = self.location.get(&format!("{}@example.com", parsed.user?))?;
        let binding =
            bindings.values().filter(|binding| binding.expires > now).max_by_key(|binding| binding.expires)?;
        edit.set_request_uri(&binding.contact);
        for route in binding.path.iter().rev() {
            edit.push(Name::Route, route);
        }
        place(binding.path.first().map_or(&binding.contact, |path| path.trim_matches(['<', '>'])))
    }

    fn hop(&mut self, local: SocketAddr, address: SocketAddr, transport: Transport) -> Hop {
        if transport == Transport::Udp {
            return Hop::Datagram { local, peer: address };
        }
        if let Some(flow) = self.dialled.get(&(local, address)) {
            return Hop::Flow(*flow);
        }
        self.sequence += 1;
        let flow = FlowId::dialled(0, self.sequence);
        self.dialled.insert((local, address), flow);
        self.framers.insert(flow, (local, Framer::new(SIP_MESSAGE_BYTES_MAX)));
        self.acts.push(Act::Dial(flow, local, address));
        Hop::Flow(flow)
    }

    fn acknowledge(&mut self, ack: &Message, local: SocketAddr) {
        let mut edit = ack.edit();
        let Some((address, transport)) = self.next_hop(&mut edit, ack, Moment::ZERO) else { return };
        let branch = self.proxy.stateless_branch();
        edit.push_via(&format!("SIP/2.0/{} {local};branch={branch}", transport.via()));
        let bytes = edit.finish();
        let hop = self.hop(local, address, transport);
        self.send(&hop, bytes);
    }

    fn response(&mut self, hop: &Hop, response: &Message, now: Moment) {
        let Ok(Some(matched)) = self.proxy.receive_response(response, hop, now) else { return };
        let mut edit = response.edit();
        edit.pop_via();
        let bytes = edit.finish();
        self.proxy.respond(matched.id, response.status().unwrap_or(500), bytes, now);
    }

    fn send(&mut self, hop: &Hop, bytes: Bytes) {
        match hop {
            Hop::Flow(flow) if self.framers.contains_key(flow) => self.acts.push(Act::Send(*flow, bytes)),
            Hop::Datagram { local, peer } => self.acts.push(Act::Datagram(*local, *peer, bytes)),
            Hop::Peer(_) => self.fork(bytes),
            Hop::Flow(_) | Hop::Client { .. } => {}
        }
    }

    fn settle(&mut self, now: Moment) {
        self.now = now;
        loop {
            while let Some(event) = self.proxy.poll_event() {
                match event {
                    Event::TimedOut(id) | Event::Unroutable(id) => self.answer(id, 408, "Request Timeout", now),
                }
            }
            if let Some(transmit) = self.proxy.poll_transmit() {
                self.send(&transmit.hop, transmit.bytes);
            } else if let Some(turn) = self.turns.pop_front() {
                self.take_turn(turn, now);
            } else {
                return;
            }
        }
    }
}

/// The forker, as a hop of the proxy.
fn forker() -> Option<Hop> {
    NodeId::new("forker").map(Hop::Peer)
}

/// The address and transport a URI leads to; names are not looked up.
fn place(uri: &str) -> Option<(SocketAddr, Transport)> {
    let uri = Uri::parse(uri)?;
    let transport = match uri.param("transport").flatten() {
        Some("tcp") => Transport::Tcp,
        Some("tls") => return None,
        Some(_) | None => Transport::Udp,
    };
    Some((SocketAddr::new(uri.host_ip()?, uri.port.unwrap_or(5_060)), transport))
}
