//! A phone: registers, calls, answers, holds, hangs up, and complains about what should not be.
//!
//! Outside phones speak SIP over TLS to an edge and offer SRTP; the inside phone speaks TCP or UDP to
//! the registrar and offers RTP. `calls.rs` holds the dialogs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::limits::SIP_MESSAGE_BYTES_MAX;
use edgeway_model::world::Transport;
use edgeway_model::{FlowId, Moment};
use edgeway_sip::framer::{Element, Framer};
use edgeway_sip::{Message, Name, Stun, digest, stun};

use crate::calls::{Call, Outcome};
use crate::chance::Chance;
use crate::maintenance::Answered;
use crate::sign_in::PASSWORD;

/// How long an outside phone waits for a final answer: the longest chain of waits of an edge and a core.
const ANSWER_DEADLINE: Duration = Duration::from_secs(120);
/// The same for INVITE: a callee that rings and then vanishes is given up after RFC 3261's timer C.
const INVITE_DEADLINE: Duration = Duration::from_secs(200);
/// How long a finished transaction is watched for a second final answer.
const WATCH: Duration = Duration::from_secs(40);
/// RFC 3261 timer F.
const UDP_DEADLINE: Duration = Duration::from_secs(32);
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// What registrations are asked for, seconds.
const EXPIRES: u64 = 60;

/// Where a phone stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Outside, with the names of the edges it may use: `host:port`.
    Outside(Vec<String>),
    /// Inside, registered directly.
    Inside {
        /// The registrar.
        registrar: SocketAddr,
        /// How it speaks to it.
        transport: Transport,
    },
}

/// Something a phone does.
#[derive(Debug)]
pub(crate) enum Act {
    /// Connect to the edge of this index.
    Connect(usize),
    /// Send on its connection.
    Send(FlowId, Bytes),
    /// Inside: send to an address.
    SendTo(SocketAddr, Transport, Bytes),
    /// Reset a connection.
    Close(FlowId),
    /// Has a final answer.
    Answered(Answered),
    /// Something that must never happen has happened.
    Violation(String),
}

/// Where a message came from, for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Flow(FlowId),
    Datagram(SocketAddr),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Connect,
    Register,
    Ping,
    Resend(String),
    Deadline(String),
    Forget(String),
    Answer(String),
    RepeatAnswer(String),
    HangUp(String),
    Hold(String),
    Transfer(String),
    Progress(String),
    RepeatProgress(String),
    GiveUp(String),
}

/// A request this phone sent.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) method: String,
    pub(crate) call: Option<String>,
    pub(crate) bytes: Bytes,
    pub(crate) status: Option<u16>,
    pub(crate) rings: bool,
    pub(crate) cancel: bool,
    /// It rang, and was waited for longer.
    patient: bool,
    interval: Duration,
    pub(crate) asked: Moment,
    /// It was in a call when it asked.
    pub(crate) in_call: bool,
}

/// One phone.
#[derive(Debug)]
pub(crate) struct Phone {
    /// What tells this device from others.
    pub(crate) name: String,
    /// Whose it is.
    pub(crate) user: String,
    /// Who else can be called.
    pub(crate) friends: Vec<String>,
    /// Counts its descriptions.
    pub(crate) version: u64,
    pub(crate) place: Place,
    pub(crate) address: SocketAddr,
    pub(crate) chance: Chance,
    pub(crate) flow: Option<FlowId>,
    pub(crate) edge: usize,
    connecting: bool,
    framers: BTreeMap<FlowId, Framer>,
    pub(crate) wanted: bool,
    pub(crate) registered: bool,
    /// When it registered first on its connection.
    pub(crate) registered_since: Option<Moment>,
    register_call: String,
    register_seq: u32,
    nonce: Option<String>,
    /// The challenge of a core, and how often it was answered.
    challenge: Option<(digest::Challenge, u32)>,
    pub(crate) clients: BTreeMap<String, Client>,
    /// What was answered, by branch and method, for retransmitted requests.
    pub(crate) answered: BTreeMap<(String, String), Bytes>,
    pub(crate) calls: BTreeMap<String, Call>,
    pub(crate) outcomes: BTreeMap<String, Outcome>,
    /// When its last call ended.
    pub(crate) call_ended: Option<Moment>,
    timers: BTreeSet<(Moment, Timer)>,
    pub(crate) acts: Vec<Act>,
    core_route: Option<String>,
    pongs: u32,
    /// Keys it sends media with, by call; and keys it was told others send with.
    pub(crate) keys: BTreeMap<String, String>,
    pub(crate) heard_keys: BTreeMap<String, String>,
    /// Nothing breaks for longer than the nodes wait: every answer must be somebody's own.
    pub(crate) nothing_fails: bool,
    /// Refuses no call.
    pub(crate) always_answers: bool,
}

impl Phone {
    pub(crate) fn new(name: &str, place: Place, address: SocketAddr, mut chance: Chance) -> Self {
        let register_call = format!("reg-{}-{}", name, chance.word());
        let mut phone = Self {
            name: name.to_owned(),
            user: name.split('-').next().unwrap_or(name).to_owned(),
            friends: Vec::new(),
            version: 0,
            edge: match &place {
                Place::Outside(edges) => chance.below(edges.len()),
                Place::Inside { .. } => 0,
            },
            place,
            address,
            chance,
            flow: None,
            connecting: false,
            framers: BTreeMap::new(),
            wanted: true,
            registered: false,
            registered_since: None,
            register_call,
            register_seq: 0,
            nonce: None,
            challenge: None,
            clients: BTreeMap::new(),
            answered: BTreeMap::new(),
            calls: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            call_ended: None,
            timers: BTreeSet::new(),
            acts: Vec::new(),
            core_route: None,
            pongs: 0,
            keys: BTreeMap::new(),
            heard_keys: BTreeMap::new(),
            nothing_fails: false,
            always_answers: false,
        };
        let first = if phone.is_outside() { Timer::Connect } else { Timer::Register };
        let after = phone.chance.millis(100, 1_500);
        phone.set(first, Moment::ZERO + after);
        phone
    }

    /// A phone that names this core in its Route.
    pub(crate) fn directed_to(&mut self, core: String) {
        self.core_route = Some(core);
    }

    pub(crate) fn is_outside(&self) -> bool {
        matches!(self.place, Place::Outside(_))
    }

    pub(crate) fn is_reliable(&self) -> bool {
        !matches!(self.place, Place::Inside { transport: Transport::Udp, .. })
    }

    /// Whether it is in a call, or was so lately that nodes may still think so: its BYE may be under way.
    fn is_in_call(&self, now: Moment) -> bool {
        !self.calls.is_empty() || self.call_ended.is_some_and(|ended| now.since(ended) < ANSWER_DEADLINE)
    }

    /// Whether it can make and take calls, as far as it knows.
    pub(crate) fn is_ready(&self) -> bool {
        self.registered && self.wanted
    }

    pub(crate) fn next_wake(&self) -> Option<Moment> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(crate) fn set(&mut self, timer: Timer, at: Moment) {
        self.unset(&timer);
        self.timers.insert((at, timer));
    }

    pub(crate) fn unset(&mut self, timer: &Timer) {
        self.timers.retain(|(_, set)| set != timer);
    }

    pub(crate) fn violation(&mut self, what: impl AsRef<str>) {
        self.acts.push(Act::Violation(format!("{}: {}", self.name, what.as_ref())));
    }

    pub(crate) fn handle_opened(&mut self, flow: FlowId, now: Moment) {
        self.framers.insert(flow, Framer::dialled(SIP_MESSAGE_BYTES_MAX));
        if self.is_outside() {
            self.connecting = false;
            self.flow = Some(flow);
            if self.wanted {
                self.register(EXPIRES, now);
            }
            let ping = now + self.chance.millis(5_000, 20_000);
            self.set(Timer::Ping, ping);
        }
    }

    /// The connection broke, or could not be made.
    pub(crate) fn handle_closed(&mut self, flow: FlowId, now: Moment) {
        self.framers.remove(&flow);
        if !self.is_outside() {
            self.lose_requests(now);
        } else if self.flow == Some(flow) || self.flow.is_none() {
            self.lose_connection(now);
        }
    }

    /// Breaks the connection, as a phone does that changes networks.
    pub(crate) fn reset(&mut self, now: Moment) {
        if let Some(flow) = self.flow {
            self.acts.push(Act::Close(flow));
            self.framers.remove(&flow);
            self.lose_connection(now);
        }
    }

    fn lose_connection(&mut self, now: Moment) {
        self.flow = None;
        self.connecting = false;
        self.registered = false;
        self.registered_since = None;
        self.forget_ringing(now);
        self.unset(&Timer::Register);
        self.unset(&Timer::Ping);
        self.lose_requests(now);
        if let Place::Outside(edges) = &self.place {
            self.edge = self.chance.below(edges.len());
        }
        let at = now + self.chance.millis(100, 2_500);
        self.set(Timer::Connect, at);
    }

    /// Nothing that was asked on a connection that broke will be answered.
    fn lose_requests(&mut self, now: Moment) {
        let pending: Vec<_> = self.clients.iter().filter(|(_, c)| c.status.is_none()).map(|(b, _)| b.clone()).collect();
        for branch in pending {
            if let Some(client) = self.clients.remove(&branch) {
                self.unset(&Timer::Deadline(branch));
                self.lost(&client, now);
            }
        }
    }

    pub(crate) fn handle_bytes(&mut self, flow: FlowId, bytes: Bytes, now: Moment) {
        self.framers.entry(flow).or_insert_with(|| Framer::new(SIP_MESSAGE_BYTES_MAX)).push(bytes);
        loop {
            let Some(framer) = self.framers.get_mut(&flow) else { return };
            match framer.next() {
                Ok(None) => return,
                Ok(Some(Element::Message(bytes))) => self.handle_message(From::Flow(flow), bytes, now),
                Ok(Some(Element::Pong)) => self.pongs += 1,
                Ok(Some(Element::Ping)) => {}
                Ok(Some(Element::Stun(bytes))) => self.stun_answered(&bytes, now),
                Err(fault) => return self.violation(format!("a stream that cannot be followed: {fault}")),
            }
        }
    }

    pub(crate) fn handle_message(&mut self, from: From, bytes: Bytes, now: Moment) {
        match Message::parse(bytes) {
            Ok(message) if message.is_request() => self.handle_request(from, &message, now),
            Ok(message) => self.handle_response(&message, now),
            Err(fault) => self.violation(format!("a message that cannot be read: {fault}")),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Moment) {
        while let Some((at, _)) = self.timers.first()
            && *at <= now
        {
            if let Some((_, timer)) = self.timers.pop_first() {
                self.fire(timer, now);
            }
        }
    }

    fn fire(&mut self, timer: Timer, now: Moment) {
        match timer {
            Timer::Connect => {
                if self.flow.is_none() && !self.connecting {
                    self.connecting = true;
                    self.acts.push(Act::Connect(self.edge));
                }
            }
            Timer::Register => {
                if self.wanted && (self.flow.is_some() || !self.is_outside()) {
                    self.register(EXPIRES, now);
                }
            }
            Timer::Ping => self.ping(now),
            Timer::Resend(branch) => self.resend(branch, now),
            Timer::Deadline(branch) => self.deadline(&branch, now),
            Timer::Forget(branch) => drop(self.clients.remove(&branch)),
            Timer::Answer(call) => self.answer(&call, now),
            Timer::RepeatAnswer(call) => self.repeat_answer(&call, now),
            Timer::HangUp(call) => self.hang_up(&call, now),
            Timer::Hold(call) => self.hold(&call, now),
            Timer::Transfer(call) => self.transfer(&call, now),
            Timer::Progress(call) => self.progress(&call, now),
            Timer::RepeatProgress(call) => self.repeat_progress(&call, now),
            Timer::GiveUp(call) => self.give_up(&call, now),
        }
    }

    fn ping(&mut self, now: Moment) {
        if let Some(flow) = self.flow {
            let ping = if self.chance.percent(50) {
                Bytes::from_static(b"\r\n\r\n")
            } else {
                let mut transaction = [0; 12];
                transaction[..8].copy_from_slice(&self.chance.number().to_be_bytes());
                stun::binding_request(transaction)
            };
            self.acts.push(Act::Send(flow, ping));
            let next = now + self.chance.millis(15_000, 30_000);
            self.set(Timer::Ping, next);
        }
    }

    /// RFC 5626 §4.4.2: the keepalive tells our address; or that the way inside is gone.
    fn stun_answered(&mut self, bytes: &[u8], now: Moment) {
        match Stun::parse(bytes) {
            Ok(answer) if answer.class == stun::Class::Success => {
                self.pongs += 1;
                if answer.mapped() != Some(self.address) {
                    self.violation(format!("a keepalive was answered with {:?}", answer.mapped()));
                }
            }
            Ok(_) => self.reset(now),
            Err(fault) => self.violation(format!("an answer to a keepalive that cannot be read: {fault}")),
        }
    }

    pub(crate) fn deregister(&mut self, now: Moment) {
        self.wanted = false;
        self.unset(&Timer::Register);
        if self.flow.is_some() || !self.is_outside() {
            self.register(0, now);
        }
    }

    pub(crate) fn come_back(&mut self, now: Moment) {
        self.wanted = true;
        if self.flow.is_some() {
            self.register(EXPIRES, now);
        }
    }

    /// Refreshes its registration now.
    pub(crate) fn refresh(&mut self, now: Moment) {
        if self.wanted && self.flow.is_some() {
            self.register(EXPIRES, now);
        }
    }

    pub(crate) fn register(&mut self, expires: u64, now: Moment) {
        self.register_seq += 1;
        let mut text = format!("REGISTER sip:example.com SIP/2.0\r\n{}", self.via());
        text += "Max-Forwards: 70\r\n";
        text += &self.first_routes();
        text += &format!(
            "From: <sip:{0}@example.com>;tag=r\r\nTo: <sip:{0}@example.com>\r\nCall-ID: {1}\r\nCSeq: {2} REGISTER\r\n",
            self.user, self.register_call, self.register_seq
        );
        text += &format!("Contact: {}\r\nExpires: {expires}\r\nSupported: path, outbound, gruu\r\n", self.contact());
        if let Some((challenge, nc)) = &mut self.challenge {
            *nc += 1;
            let asked = digest::Asked { method: "REGISTER", uri: "sip:example.com", cnonce: "c", nc: *nc };
            let answer = challenge.answer(&asked, &self.user, PASSWORD);
            text += &format!("Authorization: {}\r\n", answer.to_value());
        } else if let Some(nonce) = &self.nonce {
            text += &format!("Authorization: Digest username=\"{}\", nonce=\"{nonce}\"\r\n", self.user);
        }
        text += "Content-Length: 0\r\n\r\n";
        self.request(text, None, now);
    }

    fn contact(&self) -> String {
        format!("<{}>;+sip.instance=\"<urn:uuid:{}>\"", self.contact_uri(), self.name)
    }

    pub(crate) fn contact_uri(&self) -> String {
        let transport = match &self.place {
            Place::Outside(_) => "tls",
            Place::Inside { transport, .. } => transport.param(),
        };
        format!("sip:{}@{};transport={transport}", self.user, self.address)
    }

    /// A Via with a fresh branch.
    pub(crate) fn via(&mut self) -> String {
        let transport = match &self.place {
            Place::Outside(_) => Transport::Tls,
            Place::Inside { transport, .. } => *transport,
        };
        format!("Via: SIP/2.0/{} {};branch=z9hG4bK{}\r\n", transport.via(), self.address, self.chance.word())
    }

    /// The Routes of requests outside of dialogs.
    pub(crate) fn first_routes(&self) -> String {
        let Place::Outside(edges) = &self.place else { return String::new() };
        match &self.core_route {
            Some(core) => format!("Route: <sip:{};transport=tls;lr>, <sip:{core};lr>\r\n", edges[self.edge]),
            None => String::new(),
        }
    }

    /// Sends a request and waits for its answer. Returns its branch.
    pub(crate) fn request(&mut self, text: String, call: Option<&str>, now: Moment) -> String {
        let bytes = Bytes::from(text);
        let Ok(message) = Message::parse(bytes.clone()) else {
            self.violation("wrote a request that cannot be read");
            return String::new();
        };
        let method = message.method().unwrap_or_default().to_owned();
        let branch = branch_of(&message, &method);
        let (client_call, interval) = (call.map(str::to_owned), T1);
        let client = Client {
            method,
            call: client_call,
            bytes: bytes.clone(),
            status: None,
            rings: false,
            cancel: false,
            patient: false,
            interval,
            asked: now,
            in_call: self.is_in_call(now),
        };
        self.clients.insert(branch.clone(), client);
        if self.is_reliable() {
            let invite = message.method() == Some("INVITE");
            self.set(Timer::Deadline(branch.clone()), now + if invite { INVITE_DEADLINE } else { ANSWER_DEADLINE });
        } else {
            self.set(Timer::Deadline(branch.clone()), now + UDP_DEADLINE);
            self.set(Timer::Resend(branch.clone()), now + T1);
        }
        self.send_request(&message, bytes);
        branch
    }

    /// Sends a request where its Route, its Request-URI or our registrar leads.
    pub(crate) fn send_request(&mut self, message: &Message, bytes: Bytes) {
        match &self.place {
            Place::Outside(_) => {
                if let Some(flow) = self.flow {
                    self.acts.push(Act::Send(flow, bytes));
                }
            }
            Place::Inside { registrar, transport } => {
                let route = message.routes().next().map(|route| route.uri);
                let uri = route.or_else(|| message.request_uri()).and_then(edgeway_sip::Uri::parse);
                let address =
                    uri.as_ref().and_then(|uri| Some(SocketAddr::new(uri.host_ip()?, uri.port.unwrap_or(5_060))));
                let by = match uri.and_then(|uri| uri.param("transport").flatten()) {
                    Some("tcp") => Transport::Tcp,
                    Some("udp") => Transport::Udp,
                    Some(_) | None => *transport,
                };
                self.acts.push(Act::SendTo(address.unwrap_or(*registrar), by, bytes));
            }
        }
    }

    /// Sends a response the way its request came.
    pub(crate) fn reply(&mut self, to: From, bytes: Bytes) {
        match to {
            From::Flow(flow) if self.framers.contains_key(&flow) => self.acts.push(Act::Send(flow, bytes)),
            From::Flow(_) => {}
            From::Datagram(peer) => self.acts.push(Act::SendTo(peer, Transport::Udp, bytes)),
        }
    }

    fn resend(&mut self, branch: String, now: Moment) {
        let Some(client) = self.clients.get_mut(&branch) else { return };
        if client.status.is_some() || (client.rings && client.method == "INVITE") {
            return;
        }
        client.interval = if client.method == "INVITE" { client.interval * 2 } else { (client.interval * 2).min(T2) };
        let (bytes, next) = (client.bytes.clone(), now + client.interval);
        if let Ok(message) = Message::parse(bytes.clone()) {
            self.send_request(&message, bytes);
        }
        self.set(Timer::Resend(branch), next);
    }

    fn deadline(&mut self, branch: &str, now: Moment) {
        let outside = self.is_outside();
        let Some(client) = self.clients.get_mut(branch) else { return };
        if client.status.is_some() {
            return;
        }
        if outside {
            let what = format!("no final answer to {} in time", client.method);
            self.violation(what);
        } else if client.rings && client.method == "INVITE" && !std::mem::replace(&mut client.patient, true) {
            return self.set(Timer::Deadline(branch.to_owned()), now + ANSWER_DEADLINE);
        }
        if let Some(client) = self.clients.remove(branch) {
            self.lost(&client, now);
        }
    }

    /// A request that will never be answered.
    fn lost(&mut self, client: &Client, now: Moment) {
        match (&client.call, client.method.as_str()) {
            (Some(call), "INVITE" | "BYE") => self.call_failed(&call.clone(), client.method == "INVITE", 0, now),
            (Some(call), "UPDATE") => {
                if let Some(call) = self.calls.get_mut(call) {
                    call.reinviting = false;
                }
            }
            (_, "REGISTER") if !self.is_outside() && self.wanted => {
                self.registered = false;
                let at = now + self.chance.millis(1_000, 3_000);
                self.set(Timer::Register, at);
            }
            _ => {}
        }
    }

    fn handle_response(&mut self, response: &Message, now: Moment) {
        let (status, method) = (response.status().unwrap_or(0), response.cseq().1.to_owned());
        self.check_description(response);
        if response.via_count() != 1 {
            return self.violation(format!("a {status} to {method} with {} Vias", response.via_count()));
        }
        let branch = branch_of(response, &method);
        let reliable = self.is_reliable();
        let Some(client) = self.clients.get_mut(&branch) else {
            // Forgotten, or asked on an earlier connection.
            return self.repeated_success(response, &method, now);
        };
        if status < 200 {
            client.rings = true;
            if client.status.is_none()
                && let Some(call) = client.call.clone()
            {
                let cancel = client.cancel && method == "INVITE";
                self.call_rings(&call, status, cancel, now);
                if method == "INVITE" {
                    self.heard_progress(&call, response, now);
                }
            }
            return;
        }
        match client.status {
            None => client.status = Some(status),
            Some(200..=299) if method == "INVITE" && status < 300 => {
                return self.repeated_success(response, &method, now);
            }
            Some(first) if reliable => {
                return self.violation(format!("two final answers to one {method}: {first} and {status}"));
            }
            Some(_) => {
                if method == "INVITE" && status >= 300 {
                    self.acknowledge_failure(&branch, response);
                }
                return;
            }
        }
        let maintained = status == 503 && says_maintenance(response);
        let in_call = self.is_in_call(now);
        if let Some(client) = self.clients.get(&branch).filter(|_| self.is_outside() || maintained) {
            self.acts.extend(Answered::new(client, response, in_call).map(Act::Answered));
        }
        // A re-INVITE that a BYE has overtaken may be left unanswered.
        let of_call = self.clients.get(&branch).and_then(|client| client.call.as_ref());
        let overtaken = matches!(method.as_str(), "INVITE" | "UPDATE" | "PRACK" | "REFER" | "NOTIFY");
        let stands = of_call.is_none_or(|call| !overtaken || self.calls.contains_key(call));
        if self.nothing_fails && stands && !maintained && matches!(status, 408 | 430 | 500 | 503) {
            self.violation(format!("{method} got {status}, though nothing was away for long"));
        }
        self.unset(&Timer::Deadline(branch.clone()));
        self.unset(&Timer::Resend(branch.clone()));
        self.set(Timer::Forget(branch.clone()), now + WATCH);
        let call = self.clients.get(&branch).and_then(|client| client.call.clone());
        match (method.as_str(), call) {
            ("REGISTER", _) => self.register_answered(response, status, now),
            ("INVITE", Some(call)) => {
                if status >= 300 {
                    self.acknowledge_failure(&branch, response);
                }
                self.invite_answered(&call, response, status, now);
            }
            ("BYE", Some(call)) => self.bye_answered(&call, status, now),
            ("UPDATE", Some(call)) => {
                if let Some(call) = self.calls.get_mut(&call) {
                    call.reinviting = false;
                }
            }
            _ => {}
        }
    }

    fn register_answered(&mut self, response: &Message, status: u16, now: Moment) {
        match status {
            200..=299 if !self.wanted => self.registered = false,
            200..=299 => {
                if !response.contacts().any(|contact| contact.uri == self.contact_uri()) {
                    self.violation("registered, but the answer does not name our Contact");
                }
                if !self.registered {
                    self.registered_since = Some(now);
                }
                self.registered = true;
                let refresh = now + self.chance.millis(20_000, 30_000);
                self.set(Timer::Register, refresh);
            }
            401 => {
                let asked = response.header(Name::WwwAuthenticate).and_then(digest::Challenge::parse);
                self.challenge = asked.filter(|challenge| challenge.qop_auth).map(|challenge| (challenge, 0));
                let challenge = response.header(Name::WwwAuthenticate).map(String::from_utf8_lossy);
                let nonce = challenge.as_ref().and_then(|text| text.split("nonce=\"").nth(1)?.split('"').next());
                let nonce = nonce.map(str::to_owned);
                if nonce.is_none() {
                    return self.violation("a 401 without a nonce");
                }
                self.nonce = nonce;
                let expires = if self.wanted { EXPIRES } else { 0 };
                self.register(expires, now);
            }
            // Where nothing may fail only cores go out of service, and never all of them.
            503 if says_maintenance(response) && self.wanted && !self.nothing_fails => self.reset(now),
            _ => {
                self.registered = false;
                let at = now + self.chance.millis(1_000, 4_000);
                let again = if self.wanted { Timer::Register } else { return };
                self.set(again, at);
            }
        }
    }

    pub(crate) fn has_pending(&self) -> bool {
        self.clients.values().any(|client| client.status.is_none())
    }
}

/// Whether a node out of service refuses: then another edge is to be tried.
pub(crate) fn says_maintenance(response: &Message) -> bool {
    response.values(Name::Warning).any(|warning| warning.starts_with(b"382 "))
}

/// What tells a transaction: its branch, and CANCEL apart from its INVITE.
pub(crate) fn branch_of(message: &Message, method: &str) -> String {
    let branch = message.top_via().branch().unwrap_or_default().to_owned();
    if method == "CANCEL" { format!("{branch} CANCEL") } else { branch }
}
