//! The chat side of an edge: takes streams of clients, and carries them to cores.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | accepts, bounds, looks after all clients |
//! | `config.rs` | what it is given |
//! | `client.rs` | the task of one client: through the door, to a core, to the end |
//! | `carried.rs` | its stream at a core: bytes both ways, each scanned |
//! | `wire.rs` | its connection: TLS without a buffer of its own |
//! | `vitals.rs` | what the front knows of it, and its deadlines |
//! | `operate.rs` | what an operator may ask |
//!
//! Nothing is believed: what a client says is a strict stream of XMPP within bounds, or its connection ends. Whether
//! it may sign in is the core's to say.

mod carried;
mod client;
mod config;
mod operate;
#[cfg(test)]
mod scenario;
mod vitals;
mod wire;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use edgeway_model::NodeId;
use edgeway_model::attempt::{Attempt, Kind as Attempted, Reason};
use edgeway_model::chat::{ChatOffence, ChatOpening};
use edgeway_model::notice::Notice;
use edgeway_model::pii::Pii;
use edgeway_xmpp::door::Opening;
use edgeway_xmpp::{Condition, StreamFault};
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::timeout;

use self::client::ClientTask;
pub use self::config::{ChatBounds, ChatConfig};
use self::vitals::{Order, Overdue, Stage, Vitals};
use super::limits::{ABUSE_TOLD_EVERY, DRAIN_MAX, ENDED_AT_ONCE, ENDED_EVERY, SWEEP_EVERY, UNSENT_BYTES_MAX};
use super::{Carrier, Carriers, ChatStream};
use crate::attempts::{Attempts, Outcome};
use crate::clock::unix_ms;
use crate::flow;
use crate::handshake::{HandshakeCounters, pause};
use crate::http::{HttpFact, Teller};
use crate::strangers::{Admitted, Strangers};
use crate::trace;

/// ALPN of chat (XEP-0368 §5).
const ALPN: &[u8] = b"xmpp-client";
/// What clients of a stopping edge are told.
const STOPPING: StreamFault = StreamFault::new(Condition::SystemShutdown, "This service stops for a while.");
/// What clients that take too long are told.
const TOO_SLOW: StreamFault = StreamFault::new(Condition::ConnectionTimeout, "This took too long.");

/// Finds a core for a stream: for the same key the same one, for as long as it is there. `None`: there is none.
pub(crate) type Choose = Box<dyn Fn(&str, &ChatOpening) -> Option<(NodeId, ChatStream)>>;

/// The cores that have a carrier to this edge. One that takes no more streams is passed over.
pub(crate) fn through(carriers: &Rc<Carriers>) -> Choose {
    let carriers = Rc::clone(carriers);
    Box::new(move |key, opening| {
        let open = |carrier: Rc<Carrier>| {
            let stream = carrier.open(opening);
            stream.map(|stream| (carrier.core().clone(), stream)).ok()
        };
        carriers.ranked(key).into_iter().find_map(open)
    })
}

/// How a client begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Without TLS.
    StartTls,
    /// With TLS.
    Direct,
}

/// What a client takes of what there is for its address.
struct Places {
    _connection: Admitted,
    /// Until it has signed in.
    stranger: Option<Admitted>,
}

/// The front of one edge.
pub(crate) struct ChatFront {
    choose: Choose,
    teller: Teller,
    start_tls: Arc<ServerConfig>,
    direct_tls: Arc<ServerConfig>,
    bounds: ChatBounds,
    bound_loopback: bool,
    connections: Arc<Strangers>,
    strangers: Arc<Strangers>,
    alive: RefCell<BTreeMap<u64, Rc<Vitals>>>,
    /// Those that have not signed in, oldest first.
    unproven: RefCell<BTreeSet<u64>>,
    /// Those that have, and how many were told last.
    signed_in: Cell<u64>,
    told: Cell<u64>,
    /// The most there were at once since then.
    most: Cell<u64>,
    next: Cell<u64>,
    /// Streams that were opened, by address.
    attempts: RefCell<Attempts>,
    /// When it was last told that an address opens too many.
    abuse_told: Cell<Option<Instant>>,
    refusing: Cell<bool>,
    accepting: HandshakeCounters,
}

impl ChatFront {
    /// Starts to listen.
    pub(crate) fn start(config: ChatConfig, choose: Choose, teller: Teller) -> io::Result<Rc<Self>> {
        let mut direct_tls = ServerConfig::clone(&config.tls);
        direct_tls.alpn_protocols = vec![ALPN.to_vec()];
        let front = Rc::new(Self {
            choose,
            teller,
            start_tls: config.tls,
            direct_tls: Arc::new(direct_tls),
            bounds: config.bounds,
            bound_loopback: config.bound_loopback,
            connections: Strangers::new(config.bounds.clients_per_address_max),
            strangers: Strangers::new(config.strangers_per_address_max),
            alive: RefCell::default(),
            unproven: RefCell::default(),
            signed_in: Cell::new(0),
            told: Cell::new(0),
            most: Cell::new(0),
            next: Cell::new(1),
            attempts: RefCell::default(),
            abuse_told: Cell::new(None),
            refusing: Cell::new(false),
            accepting: HandshakeCounters::default(),
        });
        for (listeners, kind) in [(config.listeners, Kind::StartTls), (config.direct_listeners, Kind::Direct)] {
            for listener in listeners {
                listener.set_nonblocking(true)?;
                let listener = TcpListener::from_std(listener)?;
                spawn_local(Rc::clone(&front).accept(listener, kind));
            }
        }
        spawn_local(Rc::clone(&front).sweep());
        Ok(front)
    }

    /// So many of one address that have not signed in from now on.
    pub(crate) fn set_bounds(&self, strangers_per_address: usize) {
        self.strangers.set_max(strangers_per_address);
    }

    /// Refuses new streams from now on, with the reason in XMPP's words, or takes them again. Those that are there
    /// stay.
    pub(crate) fn refuse_new(&self, refuse: bool) {
        self.refusing.set(refuse);
    }

    /// Past the deadline of maintenance mode: clients are sent away without a word, so that they resume elsewhere, some
    /// at a time so that they do not all come at once.
    pub(crate) fn end_all(self: &Rc<Self>) {
        let front = Rc::clone(self);
        spawn_local(async move {
            loop {
                let some: Vec<_> = front.alive.borrow().values().take(ENDED_AT_ONCE).map(Rc::clone).collect();
                if some.is_empty() || !front.refusing.get() {
                    return;
                }
                for vitals in some {
                    vitals.order(Order::Cut);
                }
                tokio::time::sleep(ENDED_EVERY).await;
            }
        });
    }

    /// Takes nothing new, and ends every stream. Clients that have not signed in are told, and given a moment to read that.
    /// The others hear nothing: a stream that ends without a word can be resumed, through another edge (XEP-0198 §5),
    /// and many clients take an error or `</stream:stream>` for the end of their session, and of the messages under way.
    pub(crate) async fn drain(&self) {
        self.refuse_new(true);
        for vitals in self.alive.borrow().values() {
            vitals.order(if vitals.signed_in.get() { Order::Part } else { Order::Leave(STOPPING) });
        }
        let gone = async {
            while !self.alive.borrow().is_empty() {
                tokio::time::sleep(crate::limits::STOP_POLL).await;
            }
        };
        let _ = timeout(DRAIN_MAX, gone).await;
    }

    async fn accept(self: Rc<Self>, listener: TcpListener, kind: Kind) {
        loop {
            match listener.accept().await {
                Ok((tcp, client)) => self.admit(tcp, client, kind),
                Err(error) => pause(&self.accepting, &error).await,
            }
        }
    }

    /// Takes a client in, if it may come in.
    fn admit(self: &Rc<Self>, tcp: TcpStream, client: SocketAddr, kind: Kind) {
        let (now, address) = (Instant::now(), client.ip().to_canonical());
        if self.alive.borrow().len() >= self.bounds.clients_max {
            return self.count("chat_refused_full");
        }
        // A handshake alone costs nothing: a scanner, or an office that comes back at one moment, is no attacker.
        if self.bounds_address(address) && !self.attempts.borrow_mut().is_left(address, now) {
            self.count("chat_refused_address");
            return self.abused(client, now);
        }
        let places = (self.connections.admit(address), self.strangers.admit(address));
        let (Some(connection), Some(stranger)) = places else {
            return self.count("chat_refused_address");
        };
        self.make_room();
        flow::tune(&tcp);
        // What is not sent yet waits here, where it is counted, and not in the system's buffer.
        let _ = SockRef::from(&tcp).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
        let number = self.next.get();
        self.next.set(number + 1);
        let stage = match kind {
            Kind::StartTls => Stage::Outside,
            Kind::Direct => Stage::Handshake,
        };
        let vitals = Rc::new(Vitals::new(number, client, stage, unix_ms(), now));
        let places = Places { _connection: connection, stranger: Some(stranger) };
        match ClientTask::new(self, Rc::clone(&vitals), tcp, kind, places) {
            Ok(task) => {
                self.alive.borrow_mut().insert(number, vitals);
                self.unproven.borrow_mut().insert(number);
                spawn_local(task);
            }
            Err(error) => tracing::warn!(%error, "a chat client could not be taken in"),
        }
    }

    /// Where there are too many strangers, the one that has been there longest goes: whoever means it has signed in
    /// by then.
    fn make_room(&self) {
        let oldest = {
            let mut unproven = self.unproven.borrow_mut();
            if unproven.len() < self.bounds.strangers_max { None } else { unproven.pop_first() }
        };
        let vitals = oldest.and_then(|number| self.alive.borrow().get(&number).cloned());
        if vitals.is_some_and(|vitals| vitals.order(Order::Cut)) {
            self.count("chat_cut_for_others");
        }
    }

    /// Looks at the deadlines of all clients, and tells how many there are.
    async fn sweep(self: Rc<Self>) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            let now = Instant::now();
            for vitals in self.alive.borrow().values() {
                let (order, why) = match vitals.overdue(now, &self.bounds) {
                    Some(Overdue::Slow(why)) => (Order::Leave(TOO_SLOW), why),
                    Some(Overdue::Gone(why)) => (Order::Cut, why),
                    None => {
                        vitals.ping_if_quiet(now, &self.bounds);
                        continue;
                    }
                };
                if vitals.order(order) {
                    self.count(why);
                }
            }
            self.attempts.borrow_mut().sweep(now);
            let signed_in = self.signed_in.get();
            let most = self.most.replace(signed_in);
            // A crowd that came and went since the last time is part of the peak.
            if most > signed_in.max(self.told.get()) {
                self.teller.tell(HttpFact::Chats(most));
                self.told.set(most);
            }
            if self.told.replace(signed_in) != signed_in {
                self.teller.tell(HttpFact::Chats(signed_in));
            }
        }
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn count(&self, what: &'static str) {
        self.teller.tell(HttpFact::Counted(what));
    }

    fn refuses_new(&self) -> bool {
        self.refusing.get()
    }

    fn tls(&self, kind: Kind) -> Arc<ServerConfig> {
        Arc::clone(match kind {
            Kind::StartTls => &self.start_tls,
            Kind::Direct => &self.direct_tls,
        })
    }

    /// Whether what comes from there is bounded by address.
    fn bounds_address(&self, address: IpAddr) -> bool {
        self.bound_loopback || !address.is_loopback()
    }

    /// Whether one more stream of that client's address may come to a core, where somebody looks at credentials.
    fn may_open(&self, vitals: &Vitals, now: Instant) -> bool {
        let address = vitals.client.ip().to_canonical();
        let may = !self.bounds_address(address) || self.attempts.borrow_mut().admit(address, now);
        if may {
            vitals.charged.set(true);
        } else {
            self.count("chat_refused_address");
            self.abused(vitals.client, now);
        }
        may
    }

    /// What came of one attempt. The first of a stream was paid for when it came to a core; each more is one more, and
    /// whether the address may have it is the answer.
    fn attempted(&self, vitals: &Vitals, outcome: Outcome) -> bool {
        let address = vitals.client.ip().to_canonical();
        if !self.bounds_address(address) {
            return true;
        }
        let mut attempts = self.attempts.borrow_mut();
        let paid = vitals.charged.replace(false) || attempts.admit(address, Instant::now());
        if paid || outcome == Outcome::Offence {
            attempts.settle(address, outcome);
        }
        paid
    }

    /// Nobody has looked at what a client would show, or has shown: that is not its fault.
    fn turned_away(&self, vitals: &Vitals) {
        self.attempted(vitals, Outcome::Unknown);
    }

    /// What a client has shown is wrong, which the core has reported. Whether its address may try once more.
    fn refused(&self, vitals: &Vitals) -> bool {
        self.attempted(vitals, Outcome::Offence)
    }

    /// A core for a stream. The same user comes to the same one, at every edge.
    fn choose(&self, vitals: &Vitals, opening: &Opening) -> Option<(NodeId, ChatStream)> {
        let announced = &ChatOpening { number: vitals.number, client: vitals.client, domain: opening.domain.clone() };
        match &opening.user {
            Some(user) => (self.choose)(user, announced),
            None => (self.choose)(&vitals.client.ip().to_string(), announced),
        }
    }

    /// A client is no stranger any more.
    fn signed_in(&self, vitals: &Vitals) {
        self.count("chat_signed_in");
        self.unproven.borrow_mut().remove(&vitals.number);
        self.signed_in.set(self.signed_in.get() + 1);
        self.most.set(self.most.get().max(self.signed_in.get()));
        vitals.reach(Stage::SignedIn, Instant::now());
        self.attempted(vitals, Outcome::Good);
    }

    /// A client did what it may not do.
    fn offence(&self, vitals: &Vitals, offence: ChatOffence, detail: &'static str) {
        self.count("chat_offence_protocol");
        self.attempted(vitals, Outcome::Offence);
        let client = Pii::new(vitals.client);
        self.teller.tell(HttpFact::Notice(Notice::ChatOffence { client, edge: None, offence, detail }));
    }

    /// An address opens more streams than it may. Told now and then, for it may happen very often.
    fn abused(&self, client: SocketAddr, now: Instant) {
        let told = self.abuse_told.get().is_some_and(|at| now.saturating_duration_since(at) < ABUSE_TOLD_EVERY);
        if !told {
            self.abuse_told.set(Some(now));
            self.count("chat_offence_abuse");
            let (client, offence) = (Pii::new(client), ChatOffence::Abuse);
            let detail = "It opens more streams than it may.";
            self.teller.tell(HttpFact::Notice(Notice::ChatOffence { client, edge: None, offence, detail }));
        }
    }

    /// A stream is refused here: the fault with the code that the client is told.
    fn refused_as(&self, vitals: &Vitals, fault: StreamFault, reason: Reason) -> StreamFault {
        fault.coded(self.teller.refused(Attempt {
            kind: Attempted::Chat,
            reason,
            user: None,
            client: Some(Pii::new(vitals.client.ip().to_canonical())),
            edge: None,
            code: None,
            detail: fault.text.to_owned(),
            trace: trace::of_chat(vitals.number),
        }))
    }

    /// The same, where the fault says why.
    fn refused_with(&self, vitals: &Vitals, fault: StreamFault) -> StreamFault {
        let reason = match fault.condition {
            Condition::SystemShutdown => Reason::Maintenance,
            Condition::HostUnknown => Reason::NoSuchDomain,
            Condition::ConnectionTimeout => Reason::TimedOut,
            Condition::BadFormat
            | Condition::BadNamespacePrefix
            | Condition::InternalServerError
            | Condition::InvalidNamespace
            | Condition::NotAuthorized
            | Condition::NotWellFormed
            | Condition::PolicyViolation
            | Condition::RemoteConnectionFailed
            | Condition::Reset
            | Condition::ResourceConstraint
            | Condition::RestrictedXml
            | Condition::UnsupportedEncoding
            | Condition::UnsupportedFeature
            | Condition::UnsupportedVersion => Reason::ChatRules,
        };
        self.refused_as(vitals, fault, reason)
    }

    /// A client is gone.
    fn gone(&self, vitals: &Vitals) {
        self.alive.borrow_mut().remove(&vitals.number);
        self.unproven.borrow_mut().remove(&vitals.number);
        if vitals.signed_in.get() {
            self.signed_in.set(self.signed_in.get().saturating_sub(1));
        }
    }
}
