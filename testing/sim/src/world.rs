//! The world: one virtual clock, one queue of what will happen, and the driver of the nodes.
//!
//! `conns.rs` carries connections and datagrams, `links.rs` the links, `chaos.rs` breaks things and
//! `check.rs` says what must be true. Nothing here depends on the order of a hash map.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use edgeway_core_node::CoreNode;
use edgeway_edge_node::EdgeNode;
use edgeway_model::media::{MediaCommand, MediaEvent, PortPair, RelayCounters};
use edgeway_model::world::{FlowCommand, LinkCommand, Transport};
use edgeway_model::zones::Zones;
use edgeway_model::{FlowId, Input, LinkId, Moment, NodeId, Output, RelayId};

use crate::addresses::{INSIDE_PHONE, REGISTRAR, SECOND_INSIDE_PHONE, STANDBY, core_address, edge_address};
use crate::chance::Chance;
use crate::check::called;
use crate::conns::Conn;
use crate::host::{AnyNode, Hosted, Sabotage};
use crate::links::SimLink;
use crate::maintenance::Ordered;
use crate::media::{Effect, MediaModel};
use crate::phone::{self, Phone, Place};
use crate::registrar::{self, Habits, Registrar};
use crate::sign_in::{signed_in, zones};

/// Ticks one node may need in one virtual second.
const TICKS_PER_SECOND_MAX: u32 = 400;
/// Seconds a relay may be missing at an edge whose link stands (a stall delays frames).
const MISSING_MAX: u32 = 8;
/// Things that may happen in one run.
const STEPS_MAX: u64 = 3_000_000;

/// Who something happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Actor {
    /// Edges first, then cores.
    Node(usize),
    Registrar,
    Phone(usize),
    Stranger,
}

#[derive(Debug)]
pub(crate) enum Happening {
    Tick {
        node: usize,
        life: u32,
    },
    Wall {
        node: usize,
        life: u32,
    },
    Media {
        node: usize,
        life: u32,
        event: MediaEvent,
    },
    Start {
        node: usize,
    },
    Reports {
        node: usize,
        life: u32,
    },
    Conn {
        conn: usize,
        end: usize,
    },
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Bytes,
    },
    Link {
        link: usize,
        end: usize,
    },
    LinkClosed {
        link: usize,
        end: usize,
        why: &'static str,
    },
    LinkDatagram {
        link: usize,
        end: usize,
        bytes: Bytes,
    },
    DatagramPath {
        link: usize,
        end: usize,
        open: bool,
    },
    Dial {
        core: usize,
        life: u32,
        edge: usize,
        tries: u32,
    },
    Phone(usize),
    RegistrarWake,
    RegistrarUp(SocketAddr),
    /// A core is told of other registrars.
    Zones {
        node: usize,
        life: u32,
        zones: Arc<Zones>,
    },
    /// The operator has done what there was to do.
    BackInService {
        node: usize,
    },
    /// The deadline of a node out of service has passed.
    Overdue {
        node: usize,
        /// How often it was looked already.
        looks: u8,
    },
    /// A phone that had gone wants to be registered again.
    ComeBack {
        phone: usize,
    },
    Chaos,
    Call,
    Stranger,
}

/// A place for a node: what survives its restarts.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) name: NodeId,
    pub(crate) is_edge: bool,
    pub(crate) node: Option<Hosted>,
    /// A core's: what it has been told last.
    pub(crate) settings: Option<edgeway_core_node::Settings>,
    /// Counts its starts.
    pub(crate) life: u32,
    pub(crate) media: MediaModel,
    pub(crate) accepted: u64,
    tick_at: Option<Moment>,
    ticks: (u64, u32),
    clock_ahead_ms: u64,
    pub(crate) ordered: Ordered,
}

/// A fleet, its phones and everything between them.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Moment,
    pub(crate) chance: Chance,
    queue: BTreeMap<(Moment, u64), Happening>,
    sequence: u64,
    pub(crate) steps: u64,
    pub(crate) slots: Vec<Slot>,
    pub(crate) edges: usize,
    pub(crate) phones: Vec<Phone>,
    phone_wake: Vec<Option<Moment>>,
    pub(crate) registrar: Registrar,
    /// Where the registrar can be reached: one address, or two that fail apart.
    pub(crate) registrar_addresses: Vec<SocketAddr>,
    /// What every core is told of registrars now.
    pub(crate) zones: Zones,
    /// Cores prove users by digest.
    pub(crate) core_challenges: bool,
    /// Which of them are down now.
    pub(crate) registrar_down: BTreeSet<SocketAddr>,
    /// The first address goes for good when things begin to break.
    pub(crate) first_goes: bool,
    /// A registrar that is down refuses connections (or says nothing).
    pub(crate) registrar_refuses: bool,
    registrar_wake: Option<Moment>,
    pub(crate) conns: Vec<Conn>,
    pub(crate) by_flow: BTreeMap<(Actor, FlowId), usize>,
    pub(crate) links: Vec<SimLink>,
    pub(crate) by_link: BTreeMap<(usize, LinkId), usize>,
    /// Until when no link can be dialled between a core and an edge.
    pub(crate) parted: BTreeMap<(usize, usize), Moment>,
    /// Links only stall and break for a moment: nothing anybody asks for may fail.
    pub(crate) gentle: bool,
    /// Reports in a row in which a relay of a standing call was missing at its edge.
    missing: BTreeMap<String, u32>,
    /// Milliseconds between two things that break.
    pub(crate) unrest: (u64, u64),
    pub(crate) overtaking: u64,
    pub(crate) datagram_loss: u64,
    pub(crate) datagrams_wanted: bool,
    pub(crate) chaotic: bool,
    pub(crate) calling: bool,
    pub(crate) bind_failures: u64,
    pub(crate) habits: Habits,
    path_headers: bool,
    sabotage: Option<Sabotage>,
    /// Edges and cores speak version 1 of the link protocol with each other.
    pub(crate) version1: bool,
    pub(crate) stranger: Option<FlowId>,
    pub(crate) failure: Option<String>,
    pub(crate) verbose: bool,
    hash: u64,
    line: String,
    pub(crate) calls_made: u64,
    /// When media last flowed, by the client's key.
    pub(crate) flowing: BTreeMap<String, Moment>,
    /// Calls whose media flowed with both ways of the relay known.
    pub(crate) two_way: BTreeSet<String>,
    /// The key of the relay a core closed last.
    pub(crate) closed_key: Option<String>,
    /// Nothing is out of service, and nothing is under way from when something was.
    pub(crate) all_serve: bool,
    /// Relays an edge has ended past its deadline: their core has not heard of it.
    pub(crate) overdue: BTreeSet<(NodeId, NodeId, RelayId)>,
    /// Calls an operator has ended, and by when nobody may be in them any more.
    pub(crate) ended: VecDeque<(Moment, String)>,
}

impl World {
    /// The fleet a seed describes.
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>, verbose: bool) -> Self {
        let mut chance = Chance::new(seed, 0);
        let (edges, cores) = (1 + chance.below(2), 1 + chance.below(2));
        let path = chance.percent(60);
        // Behind a call manager that trusts us: it challenges nobody, the cores do.
        let core_challenges = seed % 3 == 2;
        let mut habits = Habits {
            transport: if chance.percent(50) { Transport::Tcp } else { Transport::Udp },
            challenges: chance.percent(50),
            record_routes: chance.percent(60),
            path,
        };
        habits.challenges &= !core_challenges;
        let registrar_addresses = if chance.percent(50) { vec![REGISTRAR, STANDBY] } else { vec![REGISTRAR] };
        let outside = 2 + chance.below(4);
        let names = ["alice", "bob", "carol", "dave", "erin"];
        let mut users: Vec<_> = names[..outside].iter().map(|name| (*name).to_owned()).collect();
        let inside = chance.percent(60);
        // A phone inside knows the first address only.
        let first_goes = registrar_addresses.len() > 1 && !inside && chance.percent(60);
        let hosts: Vec<_> = (0..edges).map(|n| format!("edge{}.example.com:5061", n + 1)).collect();
        let mut phones = Vec::new();
        for (n, name) in users.iter().enumerate() {
            let address = SocketAddr::from(([192, 0, 2, 10 + u8::try_from(n).unwrap_or(0)], 50_000));
            let mut phone = Phone::new(name, Place::Outside(hosts.clone()), address, chance.split());
            if chance.percent(40) {
                phone.directed_to(format!("core{}@ignored.example", 1 + chance.below(cores)));
            }
            phones.push(phone);
        }
        if inside {
            let place = Place::Inside { registrar: REGISTRAR, transport: habits.transport };
            phones.push(Phone::new("ines", place, INSIDE_PHONE, chance.split()));
            users.push("ines".to_owned());
        }
        // Some have a second device, which rings as well.
        for n in 0..phones.len() {
            if chance.percent(30) && phones.len() < 8 {
                let (name, place) = (format!("{}-2", phones[n].name), phones[n].place.clone());
                let address = match &place {
                    Place::Outside(_) => SocketAddr::from(([192, 0, 2, 30 + u8::try_from(n).unwrap_or(0)], 50_000)),
                    Place::Inside { .. } => SECOND_INSIDE_PHONE,
                };
                phones.push(Phone::new(&name, place, address, chance.split()));
            }
        }
        for phone in &mut phones {
            phone.friends.clone_from(&users);
        }
        let mut slots = Vec::new();
        for n in 0..edges + cores {
            let is_edge = n < edges;
            let name = if is_edge { format!("edge{}", n + 1) } else { format!("core{}", n - edges + 1) };
            let Some(name) = NodeId::new(&name) else { continue };
            let clock_ahead_ms = if chance.percent(10) { 45_000 } else { chance.number() % 3_000 };
            slots.push(Slot {
                name,
                is_edge,
                node: None,
                settings: None,
                life: 0,
                media: MediaModel::default(),
                accepted: 0,
                tick_at: None,
                ticks: (0, 0),
                clock_ahead_ms,
                ordered: Ordered::default(),
            });
        }
        let mut world = Self {
            now: Moment::ZERO,
            queue: BTreeMap::new(),
            sequence: 0,
            steps: 0,
            slots,
            edges,
            phone_wake: vec![None; phones.len()],
            phones,
            registrar: Registrar::new(registrar_addresses.clone(), habits, users),
            zones: zones(&registrar_addresses, habits.transport, core_challenges, 0),
            core_challenges,
            registrar_addresses,
            registrar_down: BTreeSet::new(),
            first_goes,
            registrar_refuses: true,
            registrar_wake: None,
            conns: Vec::new(),
            by_flow: BTreeMap::new(),
            links: Vec::new(),
            by_link: BTreeMap::new(),
            parted: BTreeMap::new(),
            gentle: chance.percent(30),
            missing: BTreeMap::new(),
            unrest: [(300, 4_000), (300, 4_000), (100, 1_200), (3_000, 20_000)][chance.below(4)],
            overtaking: [0, 0, 2, 10][chance.below(4)],
            datagram_loss: [0, 1, 5, 15][chance.below(4)],
            datagrams_wanted: chance.percent(70),
            chaotic: false,
            calling: true,
            bind_failures: [0, 0, 10][chance.below(3)],
            habits,
            path_headers: path,
            sabotage,
            version1: seed % 4 == 1,
            stranger: None,
            failure: None,
            verbose,
            hash: 0xcbf2_9ce4_8422_2325,
            line: String::new(),
            calls_made: 0,
            flowing: BTreeMap::new(),
            two_way: BTreeSet::new(),
            closed_key: None,
            all_serve: false,
            overdue: BTreeSet::new(),
            ended: VecDeque::new(),
            chance,
        };
        if world.gentle {
            world.unrest = (1_500, 6_000);
            world.bind_failures = 0;
            world.phones.iter_mut().for_each(|phone| phone.nothing_fails = true);
        }
        world.begin(cores);
        world
    }

    fn begin(&mut self, cores: usize) {
        let text = format!(
            "{}{}{}{} edge(s), {cores} core(s), {} phone(s), Path {}, {:?}, unrest {:?} ms, overtaking {} %, datagram loss {} %",
            if self.gentle { "gentle, " } else { "" },
            if self.version1 { "links of version 1, " } else { "" },
            if self.core_challenges { "cores challenge, " } else { "" },
            self.edges,
            self.phones.len(),
            if self.path_headers { "On" } else { "Off" },
            self.habits,
            self.unrest,
            self.overtaking,
            self.datagram_loss,
        );
        self.trace(format_args!("{text}"));
        for node in 0..self.slots.len() {
            let after = self.chance.millis(0, 50);
            self.schedule(after, Happening::Start { node });
        }
        for phone in 0..self.phones.len() {
            self.rewake_phone(phone);
        }
        self.schedule(Duration::from_secs(3), Happening::Call);
        self.schedule(Duration::from_secs(2), Happening::Stranger);
    }

    pub(crate) fn schedule(&mut self, after: Duration, what: Happening) {
        self.schedule_at(self.now + after, what);
    }

    pub(crate) fn schedule_at(&mut self, at: Moment, what: Happening) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), what);
    }

    /// What happened, into the trace and its hash.
    pub(crate) fn trace(&mut self, what: std::fmt::Arguments<'_>) {
        self.line.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.line, "{} {what}", self.now);
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if self.verbose {
            println!("{}", self.line);
        }
    }

    /// The hash of everything that happened.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The first thing that went wrong ends the run.
    pub(crate) fn fail(&mut self, what: impl Into<String>) {
        let what = format!("at {}: {}", self.now, what.into());
        if self.failure.is_none() {
            if self.verbose {
                println!("FAILURE {what}");
            }
            self.failure = Some(what);
        }
    }

    /// Runs until `end`, or until something went wrong.
    pub(crate) fn run_until(&mut self, end: Moment) {
        while self.failure.is_none()
            && let Some((&(at, _), _)) = self.queue.first_key_value()
            && at <= end
        {
            let Some((_, what)) = self.queue.pop_first() else { break };
            self.now = at;
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return self.fail("too much happens: something is looping");
            }
            self.happen(what);
            self.check_step();
        }
        self.now = self.now.max(end);
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Tick { node, life } => self.tick(node, life),
            Happening::Wall { node, life } => self.wall(node, life),
            Happening::Media { node, life, event } => self.media_event(node, life, event),
            Happening::Start { node } => self.start(node),
            Happening::Reports { node, life } => self.reports(node, life),
            Happening::Conn { conn, end } => self.deliver_conn(conn, end),
            Happening::Datagram { from, to, bytes } => self.deliver_datagram(from, to, bytes),
            Happening::Link { link, end } => self.deliver_link(link, end),
            Happening::LinkClosed { link, end, why } => self.close_link_end(link, end, why),
            Happening::LinkDatagram { link, end, bytes } => self.deliver_link_datagram(link, end, bytes),
            Happening::DatagramPath { link, end, open } => self.datagram_path(link, end, open),
            Happening::Dial { core, life, edge, tries } => self.dial_link(core, life, edge, tries),
            Happening::Phone(phone) => {
                if self.phone_wake[phone] == Some(self.now) {
                    self.phone_wake[phone] = None;
                    self.with_phone(phone, |phone, now| phone.handle_timeout(now));
                }
            }
            Happening::RegistrarWake => {
                if self.registrar_wake == Some(self.now) {
                    self.registrar_wake = None;
                    self.with_registrar(|registrar, now| registrar.handle_timeout(now));
                }
            }
            Happening::RegistrarUp(address) => {
                self.trace(format_args!("the registrar at {address} is back"));
                self.registrar_down.remove(&address);
            }
            Happening::Zones { node, life, zones } => {
                if self.slots[node].life == life {
                    self.feed(node, Input::Zones(zones));
                }
            }
            Happening::BackInService { node } => self.back_in_service(node),
            Happening::Overdue { node, looks } => self.check_overdue(node, looks),
            Happening::ComeBack { phone } => self.come_back(phone),
            Happening::Chaos => self.chaos(),
            Happening::Call => self.someone_calls(),
            Happening::Stranger => self.stranger(),
        }
    }

    fn start(&mut self, index: usize) {
        let random = self.chance.random();
        let path_headers = self.path_headers;
        let (core, edge) = (index.wrapping_sub(self.edges), index);
        let now = self.now;
        let zones = self.zones.clone();
        let slot = &mut self.slots[index];
        slot.life += 1;
        slot.media = MediaModel::default();
        slot.tick_at = None;
        let node = if slot.is_edge {
            let settings = edgeway_edge_node::Settings {
                node: slot.name.clone(),
                public_host: format!("{}.example.com", slot.name),
                names: Vec::new(),
                public_port: 5_061,
                https_port: 8_443,
                xmpp_port: 0,
                stun_keepalive: true,
                media_address: edge_address(edge).ip(),
                flows_max: 1_000,
                strangers_per_address: 100,
            };
            AnyNode::Edge(EdgeNode::new(settings, random))
        } else {
            let settings = edgeway_core_node::Settings {
                node: slot.name.clone(),
                host: core_address(core).ip().to_string(),
                port: 5_060,
                tls_port: 5_061,
                datagrams: vec![core_address(core)],
                path_headers,
                zones,
                options_every: Duration::from_secs(10),
                answer_within: Duration::from_secs(30),
                media_address: core_address(core).ip(),
                allow_unencrypted: false,
                inside_offer: edgeway_media::sdp::Protection::Plain,
                media_timeout: Some(Duration::from_secs(20)),
                stun_keepalive: true,
                standby_keepalive: edgeway_core_node::StandbyKeepalive::Answered,
                edges: edgeway_core_node::EdgesTold::default(),
            };
            slot.settings = Some(settings.clone());
            AnyNode::Core(CoreNode::new(settings, random, now))
        };
        slot.node = Some(Hosted::new(node, self.sabotage));
        let life = slot.life;
        let name = slot.name.clone();
        self.trace(format_args!("{name} starts"));
        self.maintained_again(index);
        self.schedule(Duration::ZERO, Happening::Wall { node: index, life });
        if !self.slots[index].is_edge {
            self.schedule(Duration::from_secs(1), Happening::Reports { node: index, life });
            // Of two cores the one with the lower name dials; the runtime sees to that.
            let higher = index + 1..self.slots.len();
            for edge in (0..self.edges).chain(higher) {
                let after = self.chance.millis(1, 200);
                self.schedule(after, Happening::Dial { core: index, life, edge, tries: 0 });
            }
        }
    }

    /// A node dies and comes back without its memory.
    pub(crate) fn restart(&mut self, index: usize, down: Duration) {
        let name = self.slots[index].name.clone();
        self.trace(format_args!("{name} dies for {down:?}"));
        self.slots[index].node = None;
        self.slots[index].life += 1;
        self.drop_conns_of(Actor::Node(index));
        self.drop_links_of(index);
        self.schedule(down, Happening::Start { node: index });
    }

    fn wall(&mut self, index: usize, life: u32) {
        if self.slots[index].life == life {
            let unix_ms = 1_790_000_000_000 + self.now.as_micros() / 1_000 + self.slots[index].clock_ahead_ms;
            self.feed(index, Input::WallClock { unix_ms });
            if self.core_challenges && !self.slots[index].is_edge {
                let users: Vec<_> = self.phones.iter().map(|phone| phone.user.clone()).collect();
                for input in users.iter().filter_map(|user| signed_in(user)) {
                    self.feed(index, input);
                }
            }
            self.schedule(Duration::from_secs(10), Happening::Wall { node: index, life });
        }
    }

    fn tick(&mut self, index: usize, life: u32) {
        let now = self.now;
        let slot = &mut self.slots[index];
        if slot.life != life || slot.tick_at != Some(now) {
            return;
        }
        slot.tick_at = None;
        let second = now.as_micros() / 1_000_000;
        slot.ticks = if slot.ticks.0 == second { (second, slot.ticks.1 + 1) } else { (second, 1) };
        if slot.ticks.1 > TICKS_PER_SECOND_MAX {
            let why = slot.node.as_ref().and_then(Hosted::next_deadline).map_or("", |deadline| deadline.why);
            let name = slot.name.clone();
            return self.fail(format!("{name} asks for more than {TICKS_PER_SECOND_MAX} ticks a second ({why})"));
        }
        self.feed(index, Input::Tick);
    }

    fn media_event(&mut self, index: usize, life: u32, event: MediaEvent) {
        if self.slots[index].life != life {
            return;
        }
        if let MediaEvent::PortsBound { ports } = &event {
            self.slots[index].media.reported(ports);
        }
        self.feed(index, Input::Media(event));
    }

    /// One turn of the crank: a fact in, everything out, one write per flow and link, the next tick.
    pub(crate) fn feed(&mut self, index: usize, input: Input) {
        let told = matches!(input, Input::Link { .. });
        self.turn_if(told, index, |node, now| node.handle(input, now));
    }

    pub(crate) fn turn(&mut self, index: usize, act: impl FnOnce(&mut Hosted, Moment)) {
        self.turn_if(false, index, act);
    }

    /// `told`: another node has said something over a link.
    fn turn_if(&mut self, told: bool, index: usize, act: impl FnOnce(&mut Hosted, Moment)) {
        let now = self.now;
        let Some(node) = self.slots[index].node.as_mut() else { return };
        act(node, now);
        let outputs: Vec<_> = std::iter::from_fn(|| node.poll()).collect();
        let mut flows: BTreeMap<FlowId, BytesMut> = BTreeMap::new();
        let mut links: BTreeMap<LinkId, BytesMut> = BTreeMap::new();
        for output in outputs {
            self.check_maintained(index, &output, told);
            match output {
                Output::Flow { flow, command } => match command {
                    FlowCommand::Send { bytes } => flows.entry(flow).or_default().extend_from_slice(&bytes),
                    FlowCommand::Dial { peer, transport, .. } => self.node_dials(index, flow, peer, transport),
                    FlowCommand::Close { why } => {
                        if let Some(bytes) = flows.remove(&flow) {
                            self.node_sends(index, flow, bytes.freeze());
                        }
                        self.node_closes(index, flow, why);
                    }
                },
                Output::Datagram { local, peer, bytes } => self.send_datagram(local, peer, bytes),
                Output::Link { link, command } => match command {
                    LinkCommand::Send { bytes } => links.entry(link).or_default().extend_from_slice(&bytes),
                    LinkCommand::SendDatagram { bytes } => self.send_link_datagram(index, link, bytes),
                    LinkCommand::Close { why } => {
                        if let Some(bytes) = links.remove(&link) {
                            self.send_link(index, link, bytes.freeze());
                        }
                        self.node_closes_link(index, link, &why);
                    }
                },
                Output::Media(command) => self.obey(index, &command),
                // Registrars are given by address here; names are under test in `policy`.
                Output::Resolve(query) => self.fail(format!("a node looks up {query}")),
                Output::SignIn(_) | Output::Told(_) => {}
                Output::Notice(notice) => {
                    let name = self.slots[index].name.clone();
                    self.check_notice(&notice);
                    let whose = called(&notice);
                    self.trace(format_args!("{name}: {notice} {whose}"));
                }
            }
        }
        for (flow, bytes) in flows {
            self.node_sends(index, flow, bytes.freeze());
        }
        for (link, bytes) in links {
            self.send_link(index, link, bytes.freeze());
        }
        self.rewake_node(index);
    }

    fn rewake_node(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let Some(deadline) = slot.node.as_ref().and_then(Hosted::next_deadline) else { return };
        // A timer wheel has a resolution; a moment that has passed comes as soon as it can.
        let at = if deadline.at > self.now { deadline.at } else { self.now + Duration::from_micros(1_000) };
        if slot.tick_at != Some(at) {
            slot.tick_at = Some(at);
            let life = slot.life;
            self.schedule_at(at, Happening::Tick { node: index, life });
        }
    }

    fn obey(&mut self, index: usize, command: &MediaCommand) {
        if let MediaCommand::Close { peer, relay } = command {
            self.closed_key = self.slots[index].media.key_of(peer, *relay);
        }
        let effect = self.slots[index].media.obey(command);
        let life = self.slots[index].life;
        match effect {
            Err(what) => {
                let name = self.slots[index].name.clone();
                self.fail(format!("{name} {what}"));
            }
            Ok(Effect::None) => {}
            Ok(Effect::Bound(ports)) => self.report_bound(index, life, ports),
            Ok(Effect::Quiet(pair)) => {
                let after = self.chance.millis(500, 4_000);
                let event = MediaEvent::PortsBound { ports: vec![pair] };
                self.schedule(after, Happening::Media { node: index, life, event });
            }
        }
    }

    fn report_bound(&mut self, index: usize, life: u32, mut ports: Vec<PortPair>) {
        let after = self.chance.millis(0, 5);
        if self.chaotic && self.chance.percent(self.bind_failures) {
            let missing = ports.split_off(self.chance.below(ports.len()));
            self.slots[index].media.unbind(&missing);
            let event = MediaEvent::BindFailed { missing: u16::try_from(missing.len()).unwrap_or(u16::MAX) };
            self.schedule(after, Happening::Media { node: index, life, event });
        }
        if !ports.is_empty() {
            self.schedule(after, Happening::Media { node: index, life, event: MediaEvent::PortsBound { ports } });
        }
    }

    /// Once a second a core hears of the packets of its relays: they come while the phone that has
    /// the key is in its call, and edge and link carry them.
    fn reports(&mut self, index: usize, life: u32) {
        if self.slots[index].life != life {
            return;
        }
        self.schedule(Duration::from_secs(1), Happening::Reports { node: index, life });
        let name = self.slots[index].name.clone();
        let mut reports = Vec::new();
        for ((edge, relay), key, described) in self.slots[index].media.keys() {
            let Some(call) = self.phones.iter().find_map(|phone| phone.sends_with(key)) else { continue };
            let linked = self.links.iter().any(|link| {
                link.is_live() && link.ends[0].node == index && self.slots[link.ends[1].node].name == *edge
            });
            if self.overdue.contains(&(edge.clone(), name.clone(), *relay)) {
                continue;
            }
            let mut edges = self.slots.iter().filter(|slot| slot.name == *edge);
            let carried = edges.any(|slot| slot.media.has_relay(&name, *relay));
            reports.push((edge.clone(), *relay, call.to_owned(), key.to_owned(), described, linked, carried));
        }
        let reports: Vec<_> = reports.into_iter().filter(|report| self.is_carried(report)).collect();
        for (peer, relay, call, key, described, ..) in reports {
            self.flowing.insert(key, self.now);
            if described {
                self.two_way.insert(call);
            }
            let inward = self.now.as_micros() / 20_000;
            let counters = RelayCounters { inward, ..RelayCounters::default() };
            self.feed(index, Input::Media(MediaEvent::Report { peer, relay, counters }));
        }
    }

    /// Whether packets of a relay arrive; a link that stands for seconds must have mended the relay.
    fn is_carried(&mut self, report: &(NodeId, RelayId, String, String, bool, bool, bool)) -> bool {
        let (_, _, call, key, _, linked, carried) = report;
        if *linked && !*carried {
            let missing = self.missing.entry(key.clone()).or_default();
            *missing += 1;
            if *missing > MISSING_MAX {
                self.fail(format!("{call} stands, and its relay is missing at the edge"));
            }
        } else {
            self.missing.remove(key);
        }
        *linked && *carried
    }

    pub(crate) fn with_phone<T>(&mut self, index: usize, act: impl FnOnce(&mut Phone, Moment) -> T) -> T {
        let result = act(&mut self.phones[index], self.now);
        for act in std::mem::take(&mut self.phones[index].acts) {
            match act {
                phone::Act::Connect(edge) => self.phone_connects(index, edge),
                phone::Act::Send(flow, bytes) => self.send_conn(Actor::Phone(index), flow, bytes),
                phone::Act::SendTo(to, transport, bytes) => self.send_inside(index, to, transport, bytes),
                phone::Act::Close(flow) => self.close_conn(Actor::Phone(index), flow, true),
                phone::Act::Answered(answered) => self.check_answered(index, &answered),
                phone::Act::Violation(what) => self.fail(what),
            }
        }
        self.rewake_phone(index);
        result
    }

    fn rewake_phone(&mut self, index: usize) {
        let wake = self.phones[index].next_wake();
        if wake != self.phone_wake[index] {
            self.phone_wake[index] = wake.map(|at| at.max(self.now));
            if let Some(at) = self.phone_wake[index] {
                self.schedule_at(at, Happening::Phone(index));
            }
        }
    }

    pub(crate) fn with_registrar(&mut self, act: impl FnOnce(&mut Registrar, Moment)) {
        act(&mut self.registrar, self.now);
        for act in std::mem::take(&mut self.registrar.acts) {
            match act {
                registrar::Act::Dial(flow, local, to) => self.dial(Actor::Registrar, flow, local, to),
                registrar::Act::Send(flow, bytes) => self.send_conn(Actor::Registrar, flow, bytes),
                registrar::Act::Datagram(local, to, bytes) => self.send_datagram(local, to, bytes),
                registrar::Act::Violation(what) => self.fail(what),
            }
        }
        let wake = self.registrar.next_wake();
        if wake != self.registrar_wake {
            self.registrar_wake = wake.map(|at| at.max(self.now));
            if let Some(at) = self.registrar_wake {
                self.schedule_at(at, Happening::RegistrarWake);
            }
        }
    }
}
