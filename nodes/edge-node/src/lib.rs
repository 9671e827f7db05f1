//! The edge as a value: it terminates client flows, proves nothing, decides little and relays.
//!
//! Composes `protocols/sip` (framing, transactions, bindings), `protocols/link` and
//! `policy::routing`. It knows flows and cores; it holds no user secret, no media key and no
//! configuration but its own addresses. It never dials: everything it sends goes to a client that
//! connected or to a core that dialled in.
//!
//! | file | what |
//! |---|---|
//! | `flows.rs` | client connections: framing, tokens, keepalives, strangers |
//! | `outside.rs` | requests and responses that come from clients |
//! | `inside.rs` | requests and responses that come from cores |
//! | `lists.rs` | what an operator reads of registrations and calls |
//! | `links.rs` | cores: hello, who is up, media ports granted to them |
//! | `told.rs` | what cores say of how it is to be |
//! | `sign_in.rs` | what cores tell this edge's HTTP side, and the HTTP side's ports |

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod attempts;
mod flows;
mod inside;
pub mod limits;
mod links;
mod lists;
mod maintenance;
mod outside;
mod sign_in;
mod told;
mod traced;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

use bytes::Bytes;
use edgeway_link::{Frame, Links};
use edgeway_model::listing::{CallRow, Page, RegistrationRow, Wish};
use edgeway_model::media::MediaEvent;
use edgeway_model::notice::{DropReason, Notice};
use edgeway_model::world::{FlowCommand, FlowEvent, Observable, Status};
use edgeway_model::{Deadline, FlowId, Input, Moment, Node, NodeId, Output, Pii, Random, Told};
use edgeway_policy::lengths::Lengths;
use edgeway_sip::bindings::{Bindings, Change};
use edgeway_sip::proxy::{Event, Hop, Patience, Proxy, TransactionId};

use crate::flows::Flow;
use crate::links::{Core, Ports};

/// What an edge must be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name, as in its certificate.
    pub node: NodeId,
    /// The name clients connect to; stands in Path, Record-Route and Via.
    pub public_host: String,
    /// More names of this edge, as its certificates have them; `*.` stands for one label. A client may put the one it
    /// was given into its Route.
    pub names: Vec<String>,
    /// The port clients connect to.
    pub public_port: u16,
    /// The port clients connect to for HTTPS; 0 where it serves none.
    pub https_port: u16,
    /// The port clients connect to for XMPP; 0 where it serves none.
    pub xmpp_port: u16,
    /// Whether STUN keepalives on SIP flows are answered ("STUN keepalive").
    pub stun_keepalive: bool,
    /// The address clients send media to.
    pub media_address: IpAddr,
    /// Client connections held at once.
    pub flows_max: usize,
    /// Unregistered connections one address may hold at once.
    pub strangers_per_address: usize,
}

impl From<&edgeway_config::EdgeSettings> for Settings {
    fn from(settings: &edgeway_config::EdgeSettings) -> Self {
        Self {
            node: settings.node.clone(),
            public_host: settings.sip.public_host.clone(),
            names: Vec::new(),
            public_port: settings.sip.public_port,
            https_port: if settings.https.listen.is_empty() { 0 } else { settings.https.public_port },
            xmpp_port: settings.xmpp.announced_port(),
            stun_keepalive: settings.sip.stun_keepalive,
            media_address: settings.media.public_address,
            flows_max: settings.limits.flows_max,
            strangers_per_address: settings.limits.strangers_per_address,
        }
    }
}

/// How an edge's media port pairs are used; the pairs that are bound but quiet are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortPairs {
    /// Belonging to nobody.
    pub free: usize,
    /// Held by cores for calls to come.
    pub granted: usize,
    /// In relays.
    pub used: usize,
}

/// One edge.
#[derive(Debug)]
pub struct EdgeNode {
    settings: Settings,
    /// What its own file says.
    own: Settings,
    /// What a core has said over it.
    told: Option<Told>,
    /// What each core has said last that was committed later than our clock permits, as it said it, and when it counts
    /// as committed: said again, it is no later word.
    early: BTreeMap<NodeId, (Told, u64)>,
    /// The wall clock, and when it was read.
    wall: Option<(u64, Moment)>,
    random: Random,
    boot: u64,
    flows: HashMap<FlowId, Flow>,
    strangers: BTreeSet<(Moment, FlowId)>,
    strangers_at: HashMap<IpAddr, usize>,
    bindings: Bindings,
    proxy: Proxy,
    links: Links,
    cores: BTreeMap<NodeId, Core>,
    ports: Ports,
    counts: Counts,
    /// How long calls have lasted.
    lengths: Lengths,
    maintenance: Option<maintenance::Maintenance>,
    /// Which of the cores are taken out of service, a bit for each.
    draining_cores: u64,
    /// The last moment it heard of.
    now: Moment,
    /// Whether somebody wants to see messages, and why the next one leaves.
    tracing: bool,
    decided: Option<String>,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: edgeway_model::world::Gauge,
    calls: edgeway_model::world::Gauge,
    requests: BTreeMap<&'static str, u64>,
    drops: BTreeMap<DropReason, u64>,
}

impl EdgeNode {
    /// An edge that has just started. `random` must be seeded from the operating system.
    #[must_use]
    pub fn new(settings: Settings, mut random: Random) -> Self {
        let boot = random.next_u64();
        Self {
            own: settings.clone(),
            settings,
            told: None,
            early: BTreeMap::new(),
            wall: None,
            boot,
            flows: HashMap::new(),
            strangers: BTreeSet::new(),
            strangers_at: HashMap::new(),
            bindings: Bindings::default(),
            proxy: Proxy::new(
                Patience { answer: limits::ANSWER_WITHIN, route: limits::ROUTE_WITHIN },
                random.next_u64() >> 32,
            ),
            links: Links::default(),
            cores: BTreeMap::new(),
            ports: Ports::default(),
            counts: Counts::default(),
            lengths: Lengths::default(),
            maintenance: None,
            draining_cores: 0,
            now: Moment::ZERO,
            tracing: false,
            decided: None,
            outputs: VecDeque::new(),
            random,
        }
    }

    /// The flows that registered devices use, in order: for tests of what the edge believes.
    #[must_use]
    pub fn registered_flows(&self) -> Vec<FlowId> {
        self.bindings.flows()
    }

    /// SIP transactions held now, for tests of what the edge remembers.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.proxy.len()
    }

    /// Media port pairs by what they are used for, for tests of what the edge accounts for.
    #[must_use]
    pub fn port_pairs(&self) -> PortPairs {
        let granted = self.cores.values().map(Core::pairs_granted).sum();
        let used = self.cores.values().map(Core::pairs_used).sum();
        PortPairs { free: self.ports.pairs_free(), granted, used }
    }

    fn send_flow(&mut self, flow: FlowId, bytes: Bytes) {
        self.saw_at_flow(false, flow, &bytes);
        self.outputs.push_back(Output::Flow { flow, command: FlowCommand::Send { bytes } });
    }

    fn notice(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }

    fn dropped(&mut self, reason: DropReason, detail: impl Into<String>) {
        *self.counts.drops.entry(reason).or_default() += 1;
        self.notice(Notice::Dropped { reason, detail: detail.into() });
    }

    fn report(&mut self, changes: Vec<Change>, now: Moment) {
        for change in changes {
            match change {
                Change::Registered { aor, flow } => self.notice(Notice::Registered { aor: Pii::new(aor), flow }),
                Change::Unregistered { aor, flow, why } => {
                    self.watch(flow, now);
                    self.notice(Notice::Unregistered { aor: Pii::new(aor), why });
                }
            }
        }
        self.tell_load();
    }

    /// What the next keepalives say of this edge.
    fn tell_load(&mut self) {
        let registrations = u32::try_from(self.bindings.gauge().current).unwrap_or(u32::MAX);
        let calls = u32::try_from(self.counts.calls.current).unwrap_or(u32::MAX);
        let draining = self.is_draining();
        self.links.set_load(edgeway_link::Load { registrations, calls, stranded: false, draining });
    }

    fn run_timers(&mut self, now: Moment) {
        self.proxy.handle_timeout(now);
        let changes = self.bindings.expire(now);
        if !changes.is_empty() {
            self.report(changes, now);
        }
        self.close_idle_strangers(now);
        self.end_overdue(now);
        self.links.handle_timeout(now);
    }

    /// Turns what the engines want into outputs, until they want nothing more.
    fn settle(&mut self, now: Moment) {
        loop {
            let mut quiet = true;
            while let Some(event) = self.proxy.poll_event() {
                quiet = false;
                self.give_up(event, now);
            }
            while let Some(transmit) = self.proxy.poll_transmit() {
                quiet = false;
                match transmit.hop {
                    Hop::Flow(flow) => self.send_flow(flow, transmit.bytes),
                    Hop::Peer(core) => self.send_core(&core, transmit.flow, transmit.bytes),
                    Hop::Client { .. } | Hop::Datagram { .. } => debug_assert!(false, "no hop of an edge"),
                }
            }
            quiet &= !self.refill_ports(now);
            quiet &= !self.settle_links(now);
            if quiet {
                return;
            }
        }
    }

    /// No answer came from inside in time: say so, in the words of the field.
    fn give_up(&mut self, event: Event, now: Moment) {
        if let Event::Unroutable(id) = event
            && self.route_anywhere(id, now)
        {
            return;
        }
        let (id, status, reason, code, text) = match event {
            Event::TimedOut(id) if self.proxy.is_late(id, now) => return self.proxy.forget(id),
            Event::TimedOut(id) => (id, 408, "Request Timeout", 399, "Request Timeout"),
            Event::Unroutable(id) => (id, 503, "Service Unavailable", 399, "no core is connected"),
        };
        self.answer(id, status, reason, Some((code, text)), now);
    }

    /// Sends a response of our own upstream.
    fn respond(&mut self, id: TransactionId, status: u16, bytes: Bytes, now: Moment) {
        let bytes = match self.proxy.upstream(id) {
            Some(&Hop::Flow(flow)) => self.stamped(flow, bytes),
            _ => bytes,
        };
        self.proxy.respond(id, status, bytes, now);
    }

    /// `host:port` of this edge, as clients reach it: who speaks in a Warning.
    fn agent(&self) -> String {
        format!("{}:{}", flows::uri_host(&self.settings.public_host), self.settings.public_port)
    }

    fn handle_media(&mut self, event: MediaEvent, now: Moment) {
        match event {
            MediaEvent::PortsBound { ports } => self.ports_bound(ports),
            MediaEvent::BindFailed { missing } => {
                self.bind_failed(missing, now);
                self.dropped(DropReason::NoPorts, format!("{missing} media port pairs could not be bound"));
            }
            MediaEvent::ClientSilent { peer, relay } | MediaEvent::ClientTimedOut { peer, relay } => {
                self.notice(Notice::OneWayMedia { relay });
                self.send_frame(&peer, &Frame::ClientSilent { relay });
            }
            MediaEvent::Report { .. } => {}
        }
    }
}

impl Node for EdgeNode {
    fn handle(&mut self, input: Input, now: Moment) {
        self.now = now;
        match input {
            Input::Tick => {}
            Input::WallClock { unix_ms } => {
                self.wall = Some((unix_ms, now));
                self.links.handle_wall_clock(unix_ms, now);
            }
            Input::Flow { flow, event } => match event {
                FlowEvent::Opened { peer, local, .. } => self.flow_opened(flow, peer, local, now),
                FlowEvent::Received { bytes } => self.flow_received(flow, bytes, now),
                FlowEvent::Closed { .. } => self.flow_closed(flow, now),
            },
            Input::Datagram { .. } => self.dropped(DropReason::NoRelay, "an edge speaks no UDP SIP"),
            Input::Link { link, event } => self.handle_link(link, event, now),
            Input::Media(event) => self.handle_media(event, now),
            Input::Maintenance(order) => self.maintain(order, now),
            // Only a core knows the dialog, and can speak in its parties' names.
            Input::EndCall { .. } => {}
            Input::Trace(on) => self.trace(on),
            // An edge looks up no names.
            Input::Resolved { .. } => {}
            // Nothing an edge's HTTP side knows is for anybody else, and an edge knows no registrars.
            Input::SignIn(_) | Input::Zones(_) => {}
        }
        self.run_timers(now);
        self.settle(now);
        #[cfg(debug_assertions)]
        self.bindings.check_invariants();
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Deadline> {
        let stranger = self.strangers.first().map(|(at, _)| Deadline { at: *at, why: "stranger idle" });
        let own = Deadline::soonest(self.proxy.next_deadline(), self.bindings.next_deadline());
        let own = Deadline::soonest(own, self.ports_deadline());
        let own = Deadline::soonest(own, self.maintenance_deadline());
        Deadline::soonest(own, Deadline::soonest(stranger, self.links.next_deadline()))
    }
}

impl Observable for EdgeNode {
    fn status(&self) -> Status {
        Status {
            node: self.settings.node.as_str().to_owned(),
            role: "edge",
            registrations: self.bindings.gauge(),
            calls: self.counts.calls,
            connections: self.counts.connections,
            maintenance: self.maintenance_status(),
            links: self.links.status(),
            requests: self.counts.requests.iter().map(|(method, count)| (*method, *count)).collect(),
            drops: self.counts.drops.iter().map(|(reason, count)| (reason.label(), *count)).collect(),
            configuration: self.configuration(),
            ..Status::default()
        }
    }

    fn registration_page(&self, wish: &Wish) -> Page<RegistrationRow> {
        self.registrations(wish)
    }

    fn call_page(&self, wish: &Wish) -> Page<CallRow> {
        self.calls(wish)
    }

    /// An edge ends none: it knows no dialog.
    fn has_call(&self, _call: u32) -> bool {
        false
    }
}
