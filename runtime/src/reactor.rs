//! The crank of one node: facts in, commands out.
//!
//! One current-thread runtime owns the node, its flows, its SIP datagram sockets and its links, so
//! that a node call is a function call. Commands only append to outboxes; the task of each
//! connection then writes once per turn. Whoever holds an `Rc<Reactor<N>>` may call
//! [`Reactor::input`]; facts that arise while commands are carried out wait until the node is drained.

mod bounds;
mod operated;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeway_config::HepSettings;
use edgeway_model::alarm::{Alarm, Severity};
use edgeway_model::attempt::Attempt;
use edgeway_model::dns::DnsQuery;
use edgeway_model::media::{MediaCommand, MediaPath};
use edgeway_model::notice::Notice;
use edgeway_model::signal::Signal;
use edgeway_model::world::{
    Configurable, ConfigurationStatus, FlowCommand, FlowEvent, Gauge, LinkCommand, LinkEvent, Node, Output, Transport,
};
use edgeway_model::{FlowId, Input, LinkId, Moment, NodeId, Role, Told};
use rustls::{ClientConfig, ServerConnection};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinHandle, spawn_local};

pub use self::bounds::ReactorLimits;
use crate::alarms::Alarms;
use crate::certificates;
use crate::clock::{Clock, unix_ms, unix_us};
use crate::datagram::DatagramOutbox;
use crate::dns::Resolver;
use crate::flow::{self, Dialling};
use crate::handshake::HandshakeCounters;
use crate::http::{Counts, HttpFact, HttpHandle};
use crate::limits::{CLOSE_MAX, DNS_QUESTIONS_MAX, LINK_FAREWELL, STOP_POLL, TICK_GRID, WALL_CLOCK_EVERY};
use crate::link::{Asks, CallerHello, LinkHost};
use crate::media::{MediaFact, MediaHandle};
use crate::operate::{Events, OperatorPort};
use crate::outbox::Outbox;
use crate::pki::Joined;
use crate::pki::tls::media_server_config;
use crate::resources::Meter;
use crate::strangers::Strangers;
use crate::trace::{Exporter, Journal, Recorder};

/// A SIP message on its way past the reactor, for a ladder.
#[derive(Clone, Debug)]
pub struct Tap {
    /// `true`: it came from the peer.
    pub received: bool,
    /// The peer.
    pub peer: SocketAddr,
    /// The bytes, cut as the transport cut them.
    pub bytes: Bytes,
}

/// Called with each notice of the node, on its thread.
pub type NoticeSink = Box<dyn Fn(&Notice)>;
/// Called with what a core has told this edge.
type ToldSink = Box<dyn Fn(Told)>;
/// Called with each SIP message, on the node's thread.
pub type TapSink = Box<dyn Fn(Tap)>;

/// Maintenance mode, as far as the node is not told.
#[derive(Clone, Copy, Debug, Default)]
struct Ordered {
    since_ms: u64,
    deadline_ms: Option<u64>,
    kept: bool,
}

struct FlowEntry {
    outbox: Rc<Outbox>,
    peer: SocketAddr,
}

struct LinkEntry {
    peer: NodeId,
    outbox: Rc<Outbox>,
    asks: Option<Rc<Asks>>,
}

/// One node and everything it is connected to.
pub struct Reactor<N> {
    node: RefCell<N>,
    clock: Clock,
    limits: Cell<ReactorLimits>,
    strangers: Arc<Strangers>,
    handshakes: Arc<HandshakeCounters>,
    flows: RefCell<HashMap<FlowId, FlowEntry>>,
    links: RefCell<HashMap<LinkId, LinkEntry>>,
    datagrams: RefCell<HashMap<SocketAddr, Rc<DatagramOutbox>>>,
    media: RefCell<Option<MediaHandle>>,
    http: RefCell<Option<HttpHandle>>,
    /// Chat sessions, as the HTTP thread says.
    chats: RefCell<Gauge>,
    /// Waits for the deadline of maintenance mode.
    ends_all: RefCell<Option<JoinHandle<()>>>,
    /// Maintenance mode as it was ordered.
    ordered: Cell<Option<Ordered>>,
    /// Whether this node is set up for chat.
    chat: Cell<bool>,
    meter: Meter,
    /// Times that settings or files were taken, and were refused.
    reloads: Cell<(u64, u64)>,
    /// When it started, Unix milliseconds.
    started_ms: u64,
    /// What the HTTP thread counts.
    http_counts: Arc<Counts>,
    /// What became of attempts.
    journal: Arc<Journal>,
    /// Messages of those who are traced.
    recorder: Rc<Recorder>,
    alarms: RefCell<Alarms>,
    /// What has happened lately.
    events: Rc<Events>,
    operator: RefCell<Option<OperatorPort>>,
    /// What the administrator's side says of the configuration.
    configuration: RefCell<ConfigurationStatus>,
    certificates: RefCell<Vec<certificates::Source>>,
    /// The HTTP thread has ended unasked.
    http_over: Notify,
    resolver: RefCell<Resolver>,
    questions: Semaphore,
    inside_tls: RefCell<Option<Arc<ClientConfig>>>,
    /// Keeps what a core has told this edge.
    keeps_told: RefCell<Option<ToldSink>>,
    deferred: RefCell<VecDeque<Input>>,
    /// Tasks of flows that still have something to say.
    live_flows: Cell<usize>,
    stopping: Cell<bool>,
    turning: Cell<bool>,
    armed: Cell<Option<Moment>>,
    rearm: Notify,
    next_flow: Cell<u64>,
    next_link: Cell<u32>,
    notices: RefCell<Vec<NoticeSink>>,
    tap: RefCell<Option<TapSink>>,
}

impl<N: Node + 'static> Reactor<N> {
    /// A reactor around a node, with the product's limits; nothing runs before [`Self::run`].
    #[must_use]
    pub fn new(node: N, clock: Clock) -> Rc<Self> {
        Self::with_limits(node, clock, ReactorLimits::default())
    }

    /// As [`Self::new`], with limits of its own.
    #[must_use]
    pub fn with_limits(node: N, clock: Clock, limits: ReactorLimits) -> Rc<Self> {
        let events = Rc::<Events>::default();
        Rc::new(Self {
            node: RefCell::new(node),
            clock,
            limits: Cell::new(limits),
            strangers: Strangers::new(limits.handshakes_per_address_max),
            handshakes: Arc::default(),
            flows: RefCell::default(),
            links: RefCell::default(),
            datagrams: RefCell::default(),
            media: RefCell::default(),
            http: RefCell::default(),
            chats: RefCell::default(),
            ends_all: RefCell::default(),
            ordered: Cell::default(),
            meter: Meter::default(),
            reloads: Cell::default(),
            started_ms: unix_ms(),
            chat: Cell::new(false),
            http_counts: Arc::default(),
            alarms: RefCell::new(Alarms::telling(Rc::clone(&events))),
            events,
            operator: RefCell::default(),
            journal: Arc::default(),
            recorder: Rc::default(),
            configuration: RefCell::default(),
            certificates: RefCell::default(),
            http_over: Notify::new(),
            resolver: RefCell::default(),
            questions: Semaphore::new(DNS_QUESTIONS_MAX),
            inside_tls: RefCell::default(),
            keeps_told: RefCell::default(),
            deferred: RefCell::default(),
            live_flows: Cell::new(0),
            stopping: Cell::new(false),
            turning: Cell::new(false),
            armed: Cell::new(None),
            rearm: Notify::new(),
            next_flow: Cell::new(1),
            next_link: Cell::new(1),
            notices: RefCell::default(),
            tap: RefCell::default(),
        })
    }

    /// Adds a listener for notices.
    pub fn on_notice(&self, sink: NoticeSink) {
        self.notices.borrow_mut().push(sink);
    }

    /// Sets the listener for SIP messages. Without one, none is copied.
    pub fn on_message(&self, sink: TapSink) {
        *self.tap.borrow_mut() = Some(sink);
    }

    /// Attaches the media threads.
    pub fn attach_media(&self, media: MediaHandle) {
        *self.media.borrow_mut() = Some(media);
    }

    /// Says where names are looked up; without it the system's name servers are asked.
    pub fn attach_resolver(&self, resolver: Resolver) {
        *self.resolver.borrow_mut() = resolver;
    }

    /// Sets the TLS of connections that are dialled; without it none can be.
    pub fn attach_inside_tls(&self, config: Arc<ClientConfig>) {
        *self.inside_tls.borrow_mut() = Some(config);
    }

    pub(crate) fn inside_tls(&self) -> Option<Arc<ClientConfig>> {
        self.inside_tls.borrow().clone()
    }

    /// What this reactor takes on at once.
    #[must_use]
    pub fn limits(&self) -> ReactorLimits {
        self.limits.get()
    }

    /// So many connections and handshakes from now on; those that are there stay.
    pub(crate) fn set_bounds(&self, flows_max: usize, strangers_per_address: usize) {
        let limits =
            ReactorLimits { flows_max, handshakes_per_address_max: strangers_per_address, ..self.limits.get() };
        self.limits.set(limits);
        self.strangers.set_max(strangers_per_address);
    }

    /// Who keeps what cores tell this edge.
    pub(crate) fn on_told(&self, keep: impl Fn(Told) + 'static) {
        *self.keeps_told.borrow_mut() = Some(Box::new(keep));
    }

    /// What became of connections before they were flows.
    #[must_use]
    pub fn handshake_counters(&self) -> Arc<HandshakeCounters> {
        Arc::clone(&self.handshakes)
    }

    pub(crate) fn strangers(&self) -> Arc<Strangers> {
        Arc::clone(&self.strangers)
    }

    /// Whether no more flows are taken.
    pub(crate) fn is_full(&self) -> bool {
        self.stopping.get() || self.flows.borrow().len() >= self.limits.get().flows_max
    }

    /// Closes every flow and every link in good order: what is queued leaves, then close_notify. Takes
    /// no new ones. Returns when all has left, or after the time a closing flow has. The node
    /// hears nothing of it: it ends, too.
    pub async fn shut_down(&self, why: &str) {
        self.stopping.set(true);
        let links = self.links.take();
        let farewell = if links.is_empty() { Duration::ZERO } else { LINK_FAREWELL };
        for (_, entry) in links {
            entry.outbox.close(why.to_owned());
        }
        for (_, entry) in self.flows.take() {
            entry.outbox.close(why.to_owned());
        }
        let gone = async {
            tokio::time::sleep(farewell).await;
            while self.live_flows.get() > 0 {
                tokio::time::sleep(STOP_POLL).await;
            }
        };
        let _ = tokio::time::timeout(CLOSE_MAX, gone).await;
    }

    /// Counts the tasks of flows that a stopping node waits for.
    pub(crate) fn flow_task(&self, started: bool) {
        let live = self.live_flows.get();
        self.live_flows.set(if started { live + 1 } else { live.saturating_sub(1) });
    }

    /// Hands a fact to the node and carries out what it wants.
    pub fn input(self: &Rc<Self>, input: Input) {
        if self.turning.replace(true) {
            // A fact that arose while a command was carried out: it waits until the node is drained.
            self.deferred.borrow_mut().push_back(input);
            return;
        }
        self.turn(|node, now| node.handle(input, now));
    }

    /// The node has these settings from now on. Not to be called while it turns: settings come from outside.
    pub(crate) fn configure<S>(self: &Rc<Self>, settings: &S)
    where
        N: Configurable<S>,
    {
        debug_assert!(!self.turning.get(), "settings come between two turns");
        self.turning.set(true);
        self.turn(|node, now| node.configure(settings, now));
    }

    /// One turn of the crank, and one for each fact that arose meanwhile.
    fn turn(self: &Rc<Self>, first: impl FnOnce(&mut N, Moment)) {
        // A panic is a bug of ours and is logged as one; it ends the task it happened in, not the turns of
        // everybody else.
        let turn = Turn(&self.turning);
        first(&mut self.node.borrow_mut(), self.clock.now());
        loop {
            loop {
                let output = self.node.borrow_mut().poll();
                let Some(output) = output else { break };
                self.carry_out(output);
            }
            let Some(input) = self.deferred.borrow_mut().pop_front() else { break };
            self.node.borrow_mut().handle(input, self.clock.now());
        }
        drop(turn);
        self.arm();
    }

    /// Runs the timer and the wall clock until the surrounding runtime is dropped.
    pub async fn run(self: Rc<Self>) {
        self.input(Input::WallClock { unix_ms: unix_ms() });
        let mut wall = tokio::time::interval(WALL_CLOCK_EVERY);
        wall.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        wall.tick().await;
        loop {
            let armed = self.armed.get();
            let at = armed.map_or_else(
                || tokio::time::Instant::now() + WALL_CLOCK_EVERY,
                |at| tokio::time::Instant::from_std(self.clock.instant(at)),
            );
            tokio::select! {
                () = tokio::time::sleep_until(at) => if armed.is_some() {
                    self.armed.set(None);
                    self.input(Input::Tick);
                },
                () = self.rearm.notified() => {}
                _ = wall.tick() => self.input(Input::WallClock { unix_ms: unix_ms() }),
            }
        }
    }

    /// Takes in what the media threads say, until they end.
    pub async fn run_media(self: Rc<Self>, mut facts: tokio::sync::mpsc::Receiver<MediaFact>) {
        while let Some(fact) = facts.recv().await {
            match fact {
                MediaFact::Event(event) => self.input(Input::Media(event)),
                MediaFact::Control { peer, bytes } => self.link_of(&peer, LinkEvent::Datagram { bytes }),
                MediaFact::Path { peer, path } => self.link_of(&peer, LinkEvent::DatagramPath { path }),
            }
        }
    }

    /// What the HTTP thread counts adds up here.
    pub(crate) fn http_counts(&self) -> Arc<Counts> {
        Arc::clone(&self.http_counts)
    }

    /// Says whose attempts and messages these are.
    pub(crate) fn recorded_as(self: &Rc<Self>, node: NodeId, role: Role) {
        self.journal.belongs_to(node.clone(), role);
        let reactor = Rc::downgrade(self);
        let switch = move |on| {
            if let Some(reactor) = reactor.upgrade() {
                reactor.input(Input::Trace(on));
            }
        };
        self.recorder.belongs_to(node, Box::new(switch));
    }

    /// Sends what passes to a collector, too.
    ///
    /// # Errors
    /// When there is no socket for it.
    pub(crate) fn export(&self, to: HepSettings, node: &NodeId) -> std::io::Result<()> {
        self.recorder.export(Exporter::new(to.collector, to.capture_id, node)?);
        Ok(())
    }

    /// The HTTP thread hears what the node says about sign-in from now on.
    pub fn attach_http(&self, http: HttpHandle) {
        *self.http.borrow_mut() = Some(http);
    }

    /// Whether the HTTP thread carries chat, too.
    pub fn attach_chat(&self, is_on: bool) {
        self.chat.set(is_on);
    }

    /// The HTTP thread is gone, and HTTPS with it.
    fn http_ended(&self) {
        if self.stopping.get() {
            return;
        }
        self.alarms.borrow_mut().raise(Alarm {
            id: "http_thread_down",
            about: "https".to_owned(),
            severity: Severity::Critical,
            cause: "The thread that serves HTTPS has ended.".to_owned(),
            action: "The service ends, so that it is started again. Report the lines of the log before this one."
                .to_owned(),
            since_ms: crate::clock::unix_ms(),
            node: None,
        });
        self.http_over.notify_one();
    }

    /// Ends when the HTTP thread has ended although nobody has told it to.
    pub(crate) async fn http_over(&self) {
        self.http_over.notified().await;
    }

    /// Takes in what the HTTP thread says, until it ends.
    pub async fn run_http(self: Rc<Self>, mut facts: tokio::sync::mpsc::UnboundedReceiver<HttpFact>) {
        while let Some(fact) = facts.recv().await {
            match fact {
                HttpFact::SignIn(fact) => self.input(Input::SignIn(fact)),
                HttpFact::Zones(zones) => self.input(Input::Zones(zones)),
                HttpFact::Alarm(alarm) => self.alarms.borrow_mut().raise(alarm),
                HttpFact::AlarmOver { id, about } => self.alarms.borrow_mut().end(id, &about),
                HttpFact::Counted(what) => self.http_counts.add(what),
                HttpFact::Chats(count) => self.chats.borrow_mut().set(count),
                HttpFact::Notice(notice) => self.announce(&notice),
                HttpFact::Ended => self.http_ended(),
            }
        }
    }

    /// Registers an accepted connection and tells the node.
    pub(crate) fn flow_accepted(
        self: &Rc<Self>,
        peer: SocketAddr,
        local: SocketAddr,
        transport: Transport,
    ) -> (FlowId, Rc<Outbox>) {
        let sequence = self.next_flow.get();
        self.next_flow.set(sequence + 1);
        let flow = FlowId::accepted(0, sequence);
        let outbox = Outbox::new(self.limits.get().flow_queue_bytes_max);
        self.flows.borrow_mut().insert(flow, FlowEntry { outbox: Rc::clone(&outbox), peer });
        self.input(Input::Flow { flow, event: FlowEvent::Opened { peer, local, transport } });
        (flow, outbox)
    }

    pub(crate) fn flow_dialled(
        self: &Rc<Self>,
        flow: FlowId,
        peer: SocketAddr,
        local: SocketAddr,
        transport: Transport,
    ) {
        self.flow_event(flow, FlowEvent::Opened { peer, local, transport });
    }

    pub(crate) fn flow_received(self: &Rc<Self>, flow: FlowId, bytes: Bytes) {
        self.tapped(flow, true, &bytes);
        self.flow_event(flow, FlowEvent::Received { bytes });
    }

    /// The task of a flow died of a panic: the node hears of it with the next fact, not from within the
    /// unwinding.
    pub(crate) fn flow_lost(&self, flow: FlowId) {
        if self.flows.borrow_mut().remove(&flow).is_some() {
            tracing::error!(%flow, "a connection was lost to an error of ours; please report the panic above");
            let event = FlowEvent::Closed { why: "an internal error".to_owned() };
            self.deferred.borrow_mut().push_back(Input::Flow { flow, event });
        }
    }

    /// A flow the node has closed is silent from then on.
    fn flow_event(self: &Rc<Self>, flow: FlowId, event: FlowEvent) {
        let known = self.flows.borrow().contains_key(&flow);
        if known {
            self.input(Input::Flow { flow, event });
        }
    }

    /// A connection ended. The node hears of it unless it closed it itself.
    pub(crate) fn flow_closed(self: &Rc<Self>, flow: FlowId, why: String) {
        let known = self.flows.borrow_mut().remove(&flow).is_some();
        if known {
            self.input(Input::Flow { flow, event: FlowEvent::Closed { why } });
        }
    }

    pub(crate) fn datagrams_served(&self, local: SocketAddr, outbox: Rc<DatagramOutbox>) {
        self.datagrams.borrow_mut().insert(local, outbox);
    }

    pub(crate) fn datagram_received(self: &Rc<Self>, local: SocketAddr, peer: SocketAddr, bytes: Bytes) {
        if let Some(tap) = &*self.tap.borrow() {
            tap(Tap { received: true, peer, bytes: bytes.clone() });
        }
        self.input(Input::Datagram { local, peer, bytes });
    }

    fn tapped(&self, flow: FlowId, received: bool, bytes: &Bytes) {
        if let Some(tap) = &*self.tap.borrow()
            && let Some(entry) = self.flows.borrow().get(&flow)
        {
            tap(Tap { received, peer: entry.peer, bytes: bytes.clone() });
        }
    }

    fn arm(&self) {
        let wanted = self.node.borrow().next_deadline().map(|deadline| on_grid(deadline.at));
        let armed = self.armed.get();
        // A timer that fires early costs one idle tick; one that is moved costs a wake-up each time.
        if wanted.is_some_and(|wanted| armed.is_none_or(|armed| wanted < armed)) {
            self.armed.set(wanted);
            self.rearm.notify_one();
        }
    }

    fn carry_out(self: &Rc<Self>, output: Output) {
        match output {
            Output::Flow { flow, command } => self.command_flow(flow, command),
            Output::Datagram { local, peer, bytes } => self.send_datagram(local, peer, bytes),
            Output::Link { link, command } => self.command_link(link, command),
            Output::Media(command) => self.command_media(command),
            Output::Resolve(query) => self.resolve(query),
            Output::SignIn(fact) => {
                if let Some(http) = &*self.http.borrow() {
                    http.told(fact);
                }
            }
            Output::Told(told) => {
                if let Some(keep) = &*self.keeps_told.borrow() {
                    keep(told);
                }
            }
            Output::Notice(notice) => self.tell(&notice),
        }
    }

    fn command_flow(self: &Rc<Self>, flow: FlowId, command: FlowCommand) {
        match command {
            FlowCommand::Dial { peer, transport, name } => {
                let outbox = Outbox::new(self.limits.get().flow_queue_bytes_max);
                self.flows.borrow_mut().insert(flow, FlowEntry { outbox: Rc::clone(&outbox), peer });
                let dialling = Dialling { flow, peer, transport, name };
                spawn_local(flow::dial(Rc::clone(self), dialling, outbox));
            }
            FlowCommand::Send { bytes } => {
                self.tapped(flow, false, &bytes);
                let full = match self.flows.borrow().get(&flow) {
                    Some(entry) => {
                        entry.outbox.push(bytes).err().inspect(|full| entry.outbox.abandon(full.to_string()))
                    }
                    None => None,
                };
                if let Some(full) = full {
                    self.flows.borrow_mut().remove(&flow);
                    let event = FlowEvent::Closed { why: full.to_string() };
                    self.deferred.borrow_mut().push_back(Input::Flow { flow, event });
                }
            }
            FlowCommand::Close { why } => {
                if let Some(entry) = self.flows.borrow_mut().remove(&flow) {
                    entry.outbox.close(why.to_owned());
                }
            }
        }
    }

    /// Every question gets an answer: the node waits for it.
    fn resolve(self: &Rc<Self>, query: DnsQuery) {
        let (reactor, resolver) = (Rc::clone(self), self.resolver.borrow().clone());
        spawn_local(async move {
            // The semaphore is never closed.
            let _permit = reactor.questions.acquire().await;
            let answer = resolver.answer(&query).await;
            reactor.input(Input::Resolved { query, answer });
        });
    }

    fn send_datagram(&self, local: SocketAddr, peer: SocketAddr, bytes: Bytes) {
        if let Some(tap) = &*self.tap.borrow() {
            tap(Tap { received: false, peer, bytes: bytes.clone() });
        }
        match self.datagrams.borrow().get(&local) {
            Some(outbox) => outbox.push(peer, bytes),
            None => tracing::debug!(%local, "a SIP datagram was dropped: no such socket"),
        }
    }

    fn command_link(self: &Rc<Self>, link: LinkId, command: LinkCommand) {
        match command {
            LinkCommand::Send { bytes } => {
                let full = match self.links.borrow().get(&link) {
                    Some(entry) => {
                        entry.outbox.push(bytes).err().inspect(|full| entry.outbox.abandon(full.to_string()))
                    }
                    None => None,
                };
                if let Some(full) = full {
                    self.links.borrow_mut().remove(&link);
                    let event = LinkEvent::Closed { why: full.to_string() };
                    self.deferred.borrow_mut().push_back(Input::Link { link, event });
                }
            }
            LinkCommand::SendDatagram { bytes } => {
                if let (Some(media), Some(entry)) = (&*self.media.borrow(), self.links.borrow().get(&link)) {
                    media.send_control(entry.peer.clone(), bytes);
                }
            }
            LinkCommand::Close { why } => {
                if let Some(entry) = self.links.borrow_mut().remove(&link) {
                    entry.outbox.close(why);
                }
            }
        }
    }

    fn command_media(&self, command: MediaCommand) {
        if let Some(media) = &*self.media.borrow() {
            media.command(command);
        }
    }

    /// Tells the operator something the node knows nothing of.
    pub fn announce(&self, notice: &Notice) {
        self.tell(notice);
    }

    fn tell(&self, notice: &Notice) {
        if let Notice::Signal(signal) = notice {
            return self.recorder.take(Signal::clone(signal), unix_us());
        }
        self.alarms.borrow_mut().judge(notice);
        crate::log::notice(notice);
        if let Notice::Attempt(attempt) = notice {
            self.journal.record(Attempt::clone(attempt));
        } else {
            // Attempts have a list of their own.
            self.events.note(notice);
        }
        for sink in &*self.notices.borrow() {
            sink(notice);
        }
    }

    /// Control datagrams and path changes belong to the newest link of a peer.
    fn link_of(self: &Rc<Self>, peer: &NodeId, event: LinkEvent) {
        let link = self.links.borrow().iter().filter(|(_, entry)| entry.peer == *peer).map(|(link, _)| *link).max();
        if let Some(link) = link {
            self.input(Input::Link { link, event });
        }
    }
}

/// The first point of the grid that is not before `at`.
fn on_grid(at: Moment) -> Moment {
    let grid = u64::try_from(TICK_GRID.as_micros()).unwrap_or(1);
    Moment::from_micros(at.as_micros().div_ceil(grid).saturating_mul(grid))
}

/// A turn of the crank, until dropped.
struct Turn<'a>(&'a Cell<bool>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// What link tasks see of a reactor.
impl<N: Node + 'static> LinkHost for Rc<Reactor<N>> {
    fn next_link(&self) -> LinkId {
        let next = self.next_link.get();
        self.next_link.set(next.wrapping_add(1));
        LinkId(next)
    }

    fn link_opened(&self, link: LinkId, peer: NodeId, role: Role, address: SocketAddr, outbox: Rc<Outbox>) {
        self.links.borrow_mut().insert(link, LinkEntry { peer: peer.clone(), outbox, asks: None });
        self.input(Input::Link { link, event: LinkEvent::Opened { peer: peer.clone(), role, address } });
        let path = self.media.borrow().as_ref().map_or(MediaPath::None, |media| media.path(&peer));
        if path.is_open() {
            self.input(Input::Link { link, event: LinkEvent::DatagramPath { path } });
        }
    }

    fn link_asks(&self, link: LinkId, asks: Rc<Asks>) {
        if let Some(entry) = self.links.borrow_mut().get_mut(&link) {
            entry.asks = Some(asks);
        }
    }

    fn operator(&self) -> Option<OperatorPort> {
        self.operator.borrow().clone()
    }

    fn link_received(&self, link: LinkId, bytes: Bytes) {
        if self.links.borrow().contains_key(&link) {
            self.input(Input::Link { link, event: LinkEvent::Received { bytes } });
        }
    }

    fn link_closed(&self, link: LinkId, why: String) {
        if self.links.borrow_mut().remove(&link).is_some() {
            self.input(Input::Link { link, event: LinkEvent::Closed { why } });
        }
    }

    fn media_stream(&self, peer: NodeId, tcp: TcpStream, tls: ServerConnection) {
        if let Some(media) = &*self.media.borrow() {
            media.adopt(peer, tcp, tls);
        }
    }

    fn beside(&self, hello: CallerHello) {
        if let Some(http) = &*self.http.borrow() {
            http.adopt(hello);
        }
    }

    fn joined(&self, joined: &Joined) {
        if joined.identity.role() == Role::Core {
            return;
        }
        match (media_server_config(&joined.identity), &*self.media.borrow()) {
            (Ok(config), Some(media)) => media.set_server_config(config),
            (Err(error), _) => tracing::error!(%error, "no media path can be offered"),
            (Ok(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_on_the_grid_and_never_early() {
        let grid = Moment::ZERO + TICK_GRID;
        assert_eq!(on_grid(Moment::ZERO), Moment::ZERO);
        assert_eq!(on_grid(Moment::from_micros(1)), grid);
        assert_eq!(on_grid(grid), grid);
        assert_eq!(on_grid(grid + Duration::from_micros(1)), grid + TICK_GRID);
        assert!(on_grid(Moment::from_micros(u64::MAX)) <= Moment::from_micros(u64::MAX));
    }
}
