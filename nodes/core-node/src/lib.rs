//! The core as a value: it decides, talks to the registrars and anchors media.
//!
//! Composes `protocols/sip`, `protocols/media` (session descriptions), `protocols/link` and
//! `policy`. It trusts nothing an edge claims about identity or destination: outside requests reach
//! configured registrars, or the other party of a dialog it has seen established, and nothing else.
//!
//! | file | what |
//! |---|---|
//! | `links.rs` | edges: hello, granted media ports, what they relay |
//! | `outward.rs` | requests and responses towards clients |
//! | `inward.rs` | requests and responses towards registrars and inside parties |
//! | `streams.rs` | connections and datagrams inside |
//! | `registrars.rs` | which registrar takes a request, and what happens when one fails |
//! | `zones.rs` | which deployment a request belongs to |
//! | `calls/` | dialogs, their media relays and session descriptions |
//! | `identity.rs` | who a client is, and whom it may speak for |
//! | `vouched.rs` | what other cores know of clients |
//! | `guesses.rs` | how often somebody may guess at a password |
//! | `nonces.rs` | what clients prove themselves with once |
//! | `dialogs.rs` | where requests within dialogs may go |
//! | `sign_in.rs` | who has signed in, and who is told |
//! | `lists.rs` | what an operator reads of registrations and calls |
//! | `configure.rs` | new settings while it runs |
//! | `contact.rs` | the Contact rewriting of "Path headers Off" |

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod calls;
mod configure;
mod contact;
mod dialogs;
mod guesses;
mod identity;
mod inward;
pub mod limits;
mod links;
mod lists;
mod maintenance;
mod nonces;
mod outward;
mod refusals;
mod registrars;
mod sign_in;
mod streams;
mod traced;
mod vouched;
mod zones;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeway_config::InsideEncryption;
pub use edgeway_config::StandbyKeepalive;
use edgeway_link::{Links, Load};
use edgeway_media::sdp::Protection;
use edgeway_model::listing::{CallRow, Page, RegistrationRow, Wish};
use edgeway_model::media::MediaEvent;
use edgeway_model::notice::{DropReason, Notice};
use edgeway_model::world::{Observable, Status, Transport};
use edgeway_model::zones::Zones;
use edgeway_model::{Deadline, FlowId, Input, LinkId, Moment, Node, NodeId, Output, Pii, Random};
use edgeway_policy::deployments::Deployments;
use edgeway_sip::Message;
use edgeway_sip::bindings::{Bindings, Change};
use edgeway_sip::proxy::{Event, Hop, Patience, Proxy, TransactionId};
use edgeway_sip::requests::Requests;

use crate::calls::{Calls, Farewells};
use crate::dialogs::Dialogs;
use crate::guesses::Guesses;
use crate::identity::Identities;
use crate::links::Edge;
use crate::nonces::Nonces;
use crate::registrars::{Attempt, Held};
use crate::sign_in::SignIns;
use crate::streams::Streams;
use crate::vouched::Vouched;

/// What a core must be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name, as in its certificate.
    pub node: NodeId,
    /// The host registrars and inside parties reach it at.
    pub host: String,
    /// The port they reach it at.
    pub port: u16,
    /// The port they reach it at by TLS.
    pub tls_port: u16,
    /// The UDP sockets it listens on; the first of the right family sends.
    pub datagrams: Vec<SocketAddr>,
    /// "SIP Path headers": On adds Path, Off rewrites Contact.
    pub path_headers: bool,
    /// The deployments with their domains and registrars, until [`Input::Zones`] says otherwise.
    pub zones: Zones,
    /// How often registrars are asked OPTIONS.
    pub options_every: Duration,
    /// How long a registrar may take to answer.
    pub answer_within: Duration,
    /// The address inside parties send media to.
    pub media_address: IpAddr,
    /// Whether clients may offer media without encryption.
    pub allow_unencrypted: bool,
    /// What inside parties are offered.
    pub inside_offer: Protection,
    /// After how long without media in either direction the operator is told.
    pub media_timeout: Option<Duration>,
    /// Must equal the edges' setting.
    pub stun_keepalive: bool,
    /// Who answers keepalives of standby paths.
    pub standby_keepalive: StandbyKeepalive,
    /// What edges are told.
    pub edges: EdgesTold,
}

/// What a core tells its edges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgesTold {
    /// The number of the core's revision.
    pub revision: u64,
    /// When it was committed, Unix milliseconds.
    pub committed_ms: u64,
    /// TOML, as an edge's file would say it; nothing is told where it is empty.
    pub text: String,
}

impl From<&edgeway_config::CoreSettings> for Settings {
    fn from(settings: &edgeway_config::CoreSettings) -> Self {
        Self {
            node: settings.node.clone(),
            host: settings.sip.advertise.host.clone(),
            port: settings.sip.advertise.port,
            // Without a listener the registrar must use the connection we dialled; the port is the usual one.
            tls_port: settings.sip.tls.listen.first().map_or(5_061, SocketAddr::port),
            datagrams: settings.sip.listen.clone(),
            path_headers: settings.sip.path_headers,
            zones: Zones { revision: 0, deployments: settings.deployment_zones() },
            options_every: settings.sip.options_interval,
            answer_within: settings.sip.request_timeout,
            media_address: settings.media.address,
            allow_unencrypted: settings.media.allow_unencrypted,
            inside_offer: match settings.media.inside_encryption {
                InsideEncryption::Off => Protection::Plain,
                InsideEncryption::Optional => Protection::Optional,
                InsideEncryption::Required => Protection::Srtp,
            },
            media_timeout: settings.media.silence_notice,
            stun_keepalive: settings.sip.stun_keepalive,
            standby_keepalive: settings.sip.standby_keepalive,
            edges: EdgesTold {
                revision: settings.committed.revision,
                committed_ms: settings.committed.at_ms,
                text: settings.edge.to_toml(),
            },
        }
    }
}

/// One core.
#[derive(Debug)]
pub struct CoreNode {
    settings: Settings,
    random: Random,
    boot: u64,
    bindings: Bindings,
    proxy: Proxy,
    streams: Streams,
    zones: Deployments,
    /// What [`Input::Zones`] has said last: the settings' and what was discovered.
    told_zones: Arc<Zones>,
    held: Held,
    links: Links,
    edges: BTreeMap<NodeId, Edge>,
    /// Other cores, while they are linked.
    peers: BTreeMap<NodeId, LinkId>,
    sign_ins: SignIns,
    identities: Identities,
    nonces: Nonces,
    guesses: Guesses,
    vouched: Vouched,
    calls: Calls,
    dialogs: Dialogs,
    /// Requests of this core's own, and what those that end calls are about.
    requests: Requests,
    farewells: Farewells,
    /// What was tried for requests on their way inside.
    attempts: HashMap<TransactionId, Attempt>,
    /// Probes sent.
    probes: u64,
    counts: Counts,
    maintenance: Option<maintenance::Maintenance>,
    /// The last moment it heard of.
    now: Moment,
    /// Whether somebody wants to see messages, and why the next one leaves.
    tracing: bool,
    decided: Option<String>,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: BTreeMap<&'static str, u64>,
    drops: BTreeMap<DropReason, u64>,
}

impl CoreNode {
    /// A core that has just started. `random` must be seeded from the operating system.
    #[must_use]
    pub fn new(settings: Settings, mut random: Random, now: Moment) -> Self {
        let boot = random.next_u64();
        let patience = Patience { answer: settings.answer_within, route: limits::ROUTE_WITHIN };
        let families = registrars::families(&settings);
        Self {
            boot,
            bindings: Bindings::default(),
            proxy: Proxy::new(patience, random.next_u64() >> 32),
            streams: Streams::default(),
            zones: Deployments::new(&settings.zones, families, settings.options_every, now),
            told_zones: Arc::default(),
            held: Held::default(),
            links: Links::default(),
            edges: BTreeMap::new(),
            peers: BTreeMap::new(),
            sign_ins: SignIns::default(),
            identities: Identities::new(&mut random),
            nonces: Nonces::default(),
            guesses: Guesses::default(),
            vouched: Vouched::default(),
            calls: Calls::new(&mut random),
            attempts: HashMap::new(),
            probes: 0,
            dialogs: Dialogs::default(),
            requests: Requests::new(boot),
            farewells: Farewells::new(),
            counts: Counts::default(),
            maintenance: None,
            now,
            tracing: false,
            decided: None,
            outputs: VecDeque::new(),
            random,
            settings,
        }
    }

    /// Devices registered through this core, for tests of what it believes.
    #[must_use]
    pub fn registrations(&self) -> u64 {
        self.bindings.gauge().current
    }

    /// Calls up or being set up, for tests of what it believes.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.gauge.current
    }

    /// SIP transactions held now, for tests of what it remembers.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.proxy.len() + self.requests.len()
    }

    /// Inside port pairs: free ones, and those in relays, for tests of what it accounts for.
    #[must_use]
    pub fn port_pairs(&self) -> (usize, usize) {
        self.calls.port_pairs()
    }

    fn notice(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }

    fn dropped(&mut self, reason: DropReason, detail: impl Into<String>) {
        *self.counts.drops.entry(reason).or_default() += 1;
        self.notice(Notice::Dropped { reason, detail: detail.into() });
    }

    /// `host:port` of this core, as it stands in Warning and in the hello.
    fn agent(&self) -> String {
        self.agent_over(Transport::Tcp)
    }

    /// `host:port` of this core for one transport, as it stands in Via, Path and Record-Route.
    fn agent_over(&self, transport: Transport) -> String {
        let host = &self.settings.host;
        let port = match transport {
            Transport::Tls => self.settings.tls_port,
            Transport::Tcp | Transport::Udp => self.settings.port,
        };
        let bracket = host.contains(':') && !host.starts_with('[');
        if bracket { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    fn report(&mut self, changes: Vec<Change>) {
        self.vouch(&changes);
        self.note(changes);
    }

    fn note(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Registered { aor, flow } => self.notice(Notice::Registered { aor: Pii::new(aor), flow }),
                Change::Unregistered { aor, why, .. } => self.notice(Notice::Unregistered { aor: Pii::new(aor), why }),
            }
        }
        self.tell_load();
    }

    /// What the next keepalives say of this core.
    fn tell_load(&mut self) {
        let registrations = u32::try_from(self.bindings.gauge().current).unwrap_or(u32::MAX);
        let calls = u32::try_from(self.calls.gauge.current).unwrap_or(u32::MAX);
        let stranded = self.zones.nodes().all(|node| !node.health.is_alive());
        let draining = self.is_draining();
        self.links.set_load(Load { registrations, calls, stranded, draining });
    }

    fn run_timers(&mut self, now: Moment) {
        self.proxy.handle_timeout(now);
        self.requests.handle_timeout(now);
        let changes = self.bindings.expire(now);
        if !changes.is_empty() {
            self.report(changes);
        }
        self.zones.handle_timeout(now);
        self.watch_calls(now);
        self.end_ordered(now);
        self.end_overdue(now);
        self.dialogs.expire(now);
        self.run_sign_ins(now);
        self.links.handle_timeout(now);
    }

    /// What follows every fact.
    fn turn(&mut self, now: Moment) {
        self.run_timers(now);
        self.settle(now);
        self.refill_inside_ports(now);
        #[cfg(debug_assertions)]
        self.bindings.check_invariants();
    }

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
                    Hop::Flow(flow) => self.send_stream(flow, transmit.bytes),
                    Hop::Peer(edge) | Hop::Client { edge, .. } => self.send_edge(&edge, transmit.bytes),
                    Hop::Datagram { local, peer } => self.send_datagram(local, peer, transmit.bytes),
                }
            }
            quiet &= !self.settle_farewells();
            quiet &= !self.settle_registrars(now);
            quiet &= !self.settle_links(now);
            if quiet {
                return;
            }
        }
    }

    /// No answer came in time. Towards a client the answer tells which hop failed (the clients' own
    /// table: 408 with Warning 383 means "the call manager node", with 399 "the core waited in vain").
    fn give_up(&mut self, event: Event, now: Moment) {
        match event {
            Event::TimedOut(id) => {
                // Out of what was known before this: a registrar that is silent to everything is dead,
                // one that is silent to this request only has not been reached by it.
                let dead = self.proxy.downstream(id).is_some_and(|hop| self.is_dead(hop));
                if self.timed_out_inside(id, now) {
                    return;
                }
                self.end_invite(id, "timed out");
                let register = self.proxy.request(id).and_then(Message::method) == Some("REGISTER");
                if self.proxy.is_late(id, now) && !register {
                    self.attempts.remove(&id);
                    return self.proxy.forget(id);
                }
                let warning = if dead { (383, "next hop not reachable") } else { (399, "Request Timeout") };
                self.answer(id, 408, "Request Timeout", Some(warning), now);
            }
            Event::Unroutable(id) => {
                self.end_invite(id, "timed out");
                self.answer(id, 503, "Service Unavailable", Some((399, "no link or no media port to the edge")), now);
            }
        }
    }

    /// Sends a response of our own upstream.
    fn respond(&mut self, id: TransactionId, status: u16, bytes: Bytes, now: Moment) {
        let bytes = match self.proxy.upstream(id).cloned() {
            Some(hop) => self.stamped(&hop, bytes),
            None => bytes,
        };
        self.proxy.respond(id, status, bytes, now);
    }

    fn handle_media(&mut self, event: MediaEvent, now: Moment) {
        match event {
            MediaEvent::PortsBound { ports } => {
                if self.calls.ports_bound(ports) {
                    self.route_waiting(now);
                }
            }
            MediaEvent::BindFailed { missing } => {
                self.calls.bind_failed(missing, now);
                self.dropped(DropReason::NoPorts, format!("{missing} media port pairs could not be bound"));
            }
            MediaEvent::Report { relay, counters, .. } => self.calls.media_report(relay, counters, now),
            // No relay is given a timeout: calls are watched as a whole.
            MediaEvent::ClientSilent { relay, .. } | MediaEvent::ClientTimedOut { relay, .. } => {
                self.notice(Notice::OneWayMedia { relay });
            }
        }
    }

    fn count_request(&mut self, request: &Message) {
        let label = edgeway_sip::header::method_label(request.method().unwrap_or_default());
        *self.counts.requests.entry(label).or_default() += 1;
    }
}

impl Node for CoreNode {
    fn handle(&mut self, input: Input, now: Moment) {
        self.now = now;
        match input {
            Input::Tick => {}
            Input::WallClock { unix_ms } => {
                self.links.handle_wall_clock(unix_ms, now);
                self.sign_ins.handle_wall_clock(unix_ms, now);
            }
            Input::Flow { flow, event } => self.handle_stream(flow, event, now),
            Input::Datagram { local, peer, bytes } => self.handle_datagram(local, peer, bytes, now),
            Input::Link { link, event } => self.handle_link(link, event, now),
            Input::Media(event) => self.handle_media(event, now),
            Input::Resolved { query, answer } => self.zones.handle_answer(&query, &answer, now),
            Input::Maintenance(order) => self.maintain(order, now),
            Input::EndCall { call } => self.end_by_order(call, now),
            Input::Trace(on) => self.trace(on),
            Input::SignIn(fact) => self.handle_sign_in(fact),
            Input::Zones(zones) => {
                self.take_zones(&zones, now);
                self.told_zones = zones;
            }
        }
        self.turn(now);
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Deadline> {
        let own = Deadline::soonest(self.proxy.next_deadline(), self.bindings.next_deadline());
        let own = Deadline::soonest(own, self.requests.next_deadline());
        let own = Deadline::soonest(own, self.calls.next_deadline());
        let own = Deadline::soonest(own, self.dialogs.next_deadline());
        let own = Deadline::soonest(own, self.sign_ins.next_deadline());
        let own = Deadline::soonest(own, self.maintenance_deadline());
        let others = Deadline::soonest(self.links.next_deadline(), self.zones.next_deadline());
        Deadline::soonest(others, own)
    }
}

impl Observable for CoreNode {
    fn status(&self) -> Status {
        Status {
            node: self.settings.node.as_str().to_owned(),
            role: "core",
            registrations: self.bindings.gauge(),
            calls: self.calls.gauge,
            connections: self.streams.gauge(),
            maintenance: self.maintenance_status(),
            links: self.links.status(),
            registrars: self.zones.status(),
            domains: self.domains(),
            tokens: Some(self.takes_tokens()),
            requests: self.counts.requests.iter().map(|(method, count)| (*method, *count)).collect(),
            drops: self.counts.drops.iter().map(|(reason, count)| (reason.label(), *count)).collect(),
            ..Status::default()
        }
    }

    fn registration_page(&self, wish: &Wish) -> Page<RegistrationRow> {
        self.list_registrations(wish)
    }

    fn call_page(&self, wish: &Wish) -> Page<CallRow> {
        self.list_calls(wish)
    }

    fn has_call(&self, call: u32) -> bool {
        self.calls.has(call)
    }
}

/// A flow of an edge, told apart from the same number at another edge.
fn flow_at(edge_index: u8, flow: FlowId) -> FlowId {
    FlowId(flow.0 ^ (u64::from(edge_index) << 48))
}

/// Whether an edge can have given this number to a flow: accepted, not dialled, and with nothing in
/// the bits where [`flow_at`] puts the edge. Else one edge could speak for the flows of another. No
/// client at all is zero.
const fn is_flow_of_edge(flow: FlowId) -> bool {
    !flow.is_dialled() && flow.0 & EDGE_BITS == 0
}

const EDGE_BITS: u64 = 0xff << 48;

/// The index of the edge a flow made by [`flow_at`] belongs to.
fn edge_of(flow: FlowId) -> u8 {
    ((flow.0 >> 48) & 0xff) as u8
}
