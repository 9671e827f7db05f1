//! One edge and some cores joined by perfect links, driven by hand: what a client or a registrar
//! writes goes in, what the nodes write comes out byte for byte.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use edgeway_core_node::CoreNode;
use edgeway_edge_node::EdgeNode;
use edgeway_link::{Decoder, Frame, Hello};
use edgeway_model::attempt::Attempt;
use edgeway_model::dns::{DnsAnswer, DnsQuery};
use edgeway_model::media::{MediaCommand, MediaEvent, PortPair};
use edgeway_model::notice::Notice;
use edgeway_model::sign_in::SignInFact;
use edgeway_model::signal::Signal;
use edgeway_model::world::{FlowCommand, FlowEvent, LinkCommand, LinkEvent, Transport};
use edgeway_model::{FlowId, Input, LinkId, Moment, Node, NodeId, Output, Random, Role};
use edgeway_sip::framer::{Element, Framer};
use edgeway_sip::{Message, Stun};

/// The registrar every core is told of.
pub(crate) const REGISTRAR: &str = "10.0.0.5:5060";
/// Where clients come from.
pub(crate) const CLIENT: &str = "203.0.113.7:58980";

/// The link of the second edge.
const SECOND: LinkId = LinkId(50);

/// What the name system says.
pub(crate) type Zone = BTreeMap<DnsQuery, DnsAnswer>;

/// Who is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Edge,
    Core(usize),
}

struct Core {
    node: CoreNode,
    linked: bool,
    /// Connections inside: who is at the other end.
    streams: BTreeMap<FlowId, SocketAddr>,
    framers: BTreeMap<FlowId, Framer>,
    /// Over which of them somebody was last written to.
    last_written: BTreeMap<SocketAddr, FlowId>,
}

/// The nodes, and what they have written and nobody has read.
pub(crate) struct Rig {
    pub(crate) edge: EdgeNode,
    cores: Vec<Core>,
    pub(crate) now: Moment,
    clients: BTreeMap<FlowId, Framer>,
    to_clients: BTreeMap<FlowId, VecDeque<Element>>,
    to_inside: VecDeque<(usize, SocketAddr, Message)>,
    closed: Vec<FlowId>,
    next: u64,
    port: u16,
    /// Whether registrars accept connections and answer OPTIONS probes.
    pub(crate) inside_alive: bool,
    /// Who refuses connections.
    pub(crate) down: BTreeSet<SocketAddr>,
    zone: Zone,
    /// The names the nodes have looked up.
    pub(crate) asked: BTreeSet<String>,
    /// Whether they accept connections and then say nothing.
    pub(crate) inside_silent: bool,
    /// What nodes have told their HTTP sides, and nobody has read.
    told: Vec<(At, SignInFact)>,
    /// What nodes have told their operators of attempts, and nobody has read.
    attempts: Vec<(At, Attempt)>,
    /// And of messages that have passed.
    signals: Vec<(At, Signal)>,
    /// And of calls that have ended, or of parties that were not told.
    ends: Vec<String>,
    /// All that has crossed the links towards the edge.
    pub(crate) to_edge: Vec<u8>,
    /// What the edge has said to cores whose links are slow, and has not arrived.
    held: BTreeMap<usize, Vec<Bytes>>,
    /// What the first core says to an edge of which there is nothing but its words.
    to_second_edge: Decoder,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(1, "", "")
    }

    /// `edge_sip` and `core_sip` are lines for the `[sip]` tables.
    pub(crate) fn with(cores: usize, edge_sip: &str, core_sip: &str) -> Self {
        Self::with_registrars(&format!("\"tcp:{REGISTRAR}\""), Zone::new(), cores, edge_sip, core_sip)
    }

    /// With registrars of one's choice, and what the name system says about them.
    pub(crate) fn with_registrars(registrars: &str, zone: Zone, cores: usize, edge_sip: &str, core_sip: &str) -> Self {
        let edge = format!(
            "node = \"edge1\"\n[sip]\nlisten = [\"192.0.2.100:5061\"]\npublic_host = \"192.0.2.100\"\n\
             certificate = \"memory\"\nkey = \"memory\"\n{edge_sip}\n[link]\nlisten = \"192.0.2.100:7001\"\n\
             [media]\naddress = \"192.0.2.100\"\n"
        );
        let edge = edgeway_config::parse_edge(&edge, "the rig's edge").expect("settings");
        let random = |seed: u8| Random::from_seed([seed; 32]);
        let now = Moment::from_secs(1);
        let core = |index: usize| {
            let text = format!(
                "node = \"core{}\"\ndomains = [\"example.com\", \"cucm1.example.com\"]\n[sip]\n\
                 listen = [\"10.0.1.{}:5060\"]\nregistrars = [{registrars}]\n{core_sip}\n\
                 [media]\naddress = \"10.0.1.{}\"\n",
                index + 1,
                index + 1,
                index + 1
            );
            let settings = edgeway_config::parse_core(&text, "the rig's core").expect("settings");
            let seed = u8::try_from(index).expect("few") + 2;
            Core {
                node: CoreNode::new((&settings).into(), random(seed), now),
                linked: false,
                streams: BTreeMap::new(),
                framers: BTreeMap::new(),
                last_written: BTreeMap::new(),
            }
        };
        let mut rig = Self {
            edge: EdgeNode::new((&edge).into(), random(1)),
            cores: (0..cores).map(core).collect(),
            now,
            clients: BTreeMap::new(),
            to_clients: BTreeMap::new(),
            to_inside: VecDeque::new(),
            closed: Vec::new(),
            next: 0,
            port: 20_000,
            inside_alive: true,
            down: BTreeSet::new(),
            zone,
            asked: BTreeSet::new(),
            inside_silent: false,
            told: Vec::new(),
            attempts: Vec::new(),
            signals: Vec::new(),
            ends: Vec::new(),
            to_edge: Vec::new(),
            to_second_edge: Decoder::default(),
            held: BTreeMap::new(),
        };
        let unix_ms = 1_800_000_000_000;
        rig.feed(At::Edge, Input::WallClock { unix_ms });
        for index in 0..cores {
            rig.feed(At::Core(index), Input::WallClock { unix_ms });
            rig.connect(index);
        }
        rig.advance(Duration::from_millis(10));
        rig
    }

    fn link(index: usize) -> LinkId {
        LinkId(u32::try_from(index).expect("few"))
    }

    fn core_name(index: usize) -> NodeId {
        NodeId::new(&format!("core{}", index + 1)).expect("a name")
    }

    /// Opens the link of a core.
    pub(crate) fn connect(&mut self, index: usize) {
        self.cores[index].linked = true;
        let link = Self::link(index);
        let address = "198.51.100.1:40000".parse().expect("an address");
        let edge = NodeId::new("edge1").expect("a name");
        let opened = |peer, role| Input::Link { link, event: LinkEvent::Opened { peer, role, address } };
        // Both ends stand before either speaks.
        self.feed_all([
            (At::Edge, opened(Self::core_name(index), Role::Core)),
            (At::Core(index), opened(edge, Role::Edge)),
        ]);
    }

    /// What the edge says to a core is under way from now on, until [`Self::arrives`].
    pub(crate) fn is_slow(&mut self, core: usize) {
        self.held.entry(core).or_default();
    }

    /// What was under way to a core arrives.
    pub(crate) fn arrives(&mut self, core: usize) {
        for bytes in self.held.remove(&core).unwrap_or_default() {
            self.forge(core, bytes);
        }
    }

    /// Links two cores; the lower one has dialled.
    pub(crate) fn connect_cores(&mut self, one: usize, other: usize) {
        let link = Self::between(one, other);
        let address = "198.51.100.1:40000".parse().expect("an address");
        let opened = |peer: usize| {
            let event = LinkEvent::Opened { peer: Self::core_name(peer), role: Role::Core, address };
            Input::Link { link, event }
        };
        self.feed_all([(At::Core(one), opened(other)), (At::Core(other), opened(one))]);
        self.advance(Duration::from_millis(10));
    }

    /// Cuts the link of two cores.
    pub(crate) fn disconnect_cores(&mut self, one: usize, other: usize) {
        for at in [one, other] {
            let event = LinkEvent::Closed { why: "cut".to_owned() };
            self.feed(At::Core(at), Input::Link { link: Self::between(one, other), event });
        }
    }

    /// The link of two cores: numbers from 100 on.
    fn between(one: usize, other: usize) -> LinkId {
        LinkId(100 + 10 * u32::try_from(one).expect("few") + u32::try_from(other).expect("few"))
    }

    /// A core's HTTP side, or discovery, says something.
    pub(crate) fn says(&mut self, at: At, input: Input) {
        self.feed(at, input);
    }

    /// A core gets these bytes from the edge, which has not said them.
    pub(crate) fn forge(&mut self, core: usize, bytes: Bytes) {
        let event = LinkEvent::Received { bytes };
        self.feed(At::Core(core), Input::Link { link: Self::link(core), event });
    }

    /// A second edge is linked to the first core, and taken: it says whatever a test likes.
    pub(crate) fn connect_second_edge(&mut self) {
        let address = "198.51.100.2:40000".parse().expect("an address");
        let peer = NodeId::new("edge2").expect("a name");
        let hello = Hello {
            version: edgeway_link::limits::VERSION,
            version_min: edgeway_link::limits::VERSION_MIN,
            node: peer.clone(),
            role: Role::Edge,
            boot: 2,
            wall_ms: 0,
            stun_keepalive: true,
            contact: "192.0.2.200:5061".to_owned(),
            domains: Vec::new(),
        };
        self.feed(
            At::Core(0),
            Input::Link { link: SECOND, event: LinkEvent::Opened { peer, role: Role::Edge, address } },
        );
        self.second_edge_says(&Frame::Hello(hello));
    }

    /// A client of the second edge has written this, if one believes it.
    pub(crate) fn second_edge_writes(&mut self, flow: FlowId, sip: impl Into<Bytes>) {
        let peer = "203.0.113.8:40000".parse().expect("an address");
        self.second_edge_says(&Frame::FromClient { flow, peer, sip: sip.into() });
    }

    fn second_edge_says(&mut self, frame: &Frame) {
        let bytes = frame.encode();
        self.feed(At::Core(0), Input::Link { link: SECOND, event: LinkEvent::Received { bytes } });
    }

    /// What the first core has sent for clients of the second edge.
    pub(crate) fn second_edge_reads(&mut self) -> Vec<Message> {
        let frames = std::iter::from_fn(|| self.to_second_edge.poll_frame().expect("our own frames are legal"));
        let sip = |frame| if let Frame::ToClient { sip } = frame { Some(sip) } else { None };
        frames.filter_map(sip).map(|sip| Message::parse(sip).expect("what the core writes parses")).collect()
    }

    /// What a node has told its HTTP side, and nobody has read.
    pub(crate) fn told(&mut self, at: At) -> Vec<SignInFact> {
        let (of_it, others) = std::mem::take(&mut self.told).into_iter().partition(|(by, _)| *by == at);
        self.told = others;
        let of_it: Vec<(At, SignInFact)> = of_it;
        of_it.into_iter().map(|(_, fact)| fact).collect()
    }

    /// The node of a core, to look at.
    pub(crate) fn core(&self, index: usize) -> &CoreNode {
        &self.cores[index].node
    }

    /// Cuts the link of a core, for both ends at once.
    pub(crate) fn disconnect(&mut self, index: usize) {
        self.cores[index].linked = false;
        for at in [At::Edge, At::Core(index)] {
            let event = LinkEvent::Closed { why: "cut".to_owned() };
            self.feed(at, Input::Link { link: Self::link(index), event });
        }
    }

    /// A client connects.
    pub(crate) fn client(&mut self) -> FlowId {
        self.next += 1;
        let flow = FlowId::accepted(0, self.next);
        self.clients.insert(flow, Framer::new(1 << 20));
        let (peer, local) = (CLIENT.parse().expect("an address"), "192.0.2.100:5061".parse().expect("an address"));
        self.feed(At::Edge, Input::Flow { flow, event: FlowEvent::Opened { peer, local, transport: Transport::Tls } });
        flow
    }

    pub(crate) fn client_writes(&mut self, flow: FlowId, bytes: impl Into<Bytes>) {
        self.feed(At::Edge, Input::Flow { flow, event: FlowEvent::Received { bytes: bytes.into() } });
    }

    /// What a client has got and not read: SIP only.
    pub(crate) fn client_reads(&mut self, flow: FlowId) -> Vec<Message> {
        let elements = self.to_clients.remove(&flow).unwrap_or_default();
        let sip = |element| match element {
            Element::Message(bytes) => Some(Message::parse(bytes).expect("what the edge writes parses")),
            Element::Ping | Element::Pong | Element::Stun(_) => None,
        };
        elements.into_iter().filter_map(sip).collect()
    }

    /// The one message a client has got.
    pub(crate) fn client_reads_one(&mut self, flow: FlowId) -> Message {
        let mut read = self.client_reads(flow);
        assert_eq!(read.len(), 1, "one message is expected: {read:?}");
        read.remove(0)
    }

    /// The last message a client has got.
    pub(crate) fn client_reads_last(&mut self, flow: FlowId) -> Message {
        self.client_reads(flow).pop().expect("a message")
    }

    /// Asks by STUN; what the edge says.
    pub(crate) fn stun(&mut self, flow: FlowId) -> Option<Bytes> {
        let ask = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        self.client_writes(flow, Bytes::copy_from_slice(&ask));
        let elements = self.to_clients.remove(&flow).unwrap_or_default();
        elements.into_iter().find_map(|element| match element {
            Element::Stun(bytes) => Some(bytes),
            Element::Message(_) | Element::Ping | Element::Pong => None,
        })
    }

    /// The error code of the answer to a STUN request; `None` for success.
    pub(crate) fn stun_error(&mut self, flow: FlowId) -> Option<u16> {
        let answer = self.stun(flow).expect("STUN is answered");
        Stun::parse(&answer).expect("legal").error_code()
    }

    pub(crate) fn is_closed(&self, flow: FlowId) -> bool {
        self.closed.contains(&flow)
    }

    pub(crate) fn client_closes(&mut self, flow: FlowId) {
        self.clients.remove(&flow);
        self.feed(At::Edge, Input::Flow { flow, event: FlowEvent::Closed { why: "gone".to_owned() } });
    }

    /// Every connection inside breaks.
    pub(crate) fn inside_closes(&mut self) {
        for index in 0..self.cores.len() {
            self.cores[index].framers.clear();
            for flow in std::mem::take(&mut self.cores[index].streams).into_keys() {
                let event = FlowEvent::Closed { why: "reset".to_owned() };
                self.feed(At::Core(index), Input::Flow { flow, event });
            }
        }
    }

    /// Somebody inside writes to a core, over the connection it dialled or over one of its own.
    pub(crate) fn inside_writes(&mut self, core: usize, from: &str, bytes: impl Into<Bytes>) {
        let from: SocketAddr = from.parse().expect("an address");
        // Answers go back over the connection of the request: the one last written to.
        let last = self.cores[core].last_written.get(&from).copied();
        let known = last.filter(|flow| self.cores[core].streams.contains_key(flow));
        let known = known.or(self.cores[core].streams.iter().find(|(_, peer)| **peer == from).map(|(flow, _)| *flow));
        let flow = known.unwrap_or_else(|| {
            self.next += 1;
            let flow = FlowId::accepted(0, self.next);
            self.cores[core].streams.insert(flow, from);
            self.cores[core].framers.insert(flow, Framer::new(1 << 20));
            let local = "10.0.1.1:5060".parse().expect("an address");
            let event = FlowEvent::Opened { peer: from, local, transport: Transport::Tcp };
            self.feed(At::Core(core), Input::Flow { flow, event });
            flow
        });
        self.feed(At::Core(core), Input::Flow { flow, event: FlowEvent::Received { bytes: bytes.into() } });
    }

    /// What the inside has got and not read: at which core's hands, who got it, and what.
    pub(crate) fn inside_reads(&mut self) -> Vec<(usize, SocketAddr, Message)> {
        self.to_inside.drain(..).collect()
    }

    /// The one message the registrar has got from the first core.
    pub(crate) fn registrar_reads_one(&mut self) -> Message {
        let mut read = self.inside_reads();
        assert_eq!(read.len(), 1, "one message is expected: {read:?}");
        let (_, to, message) = read.remove(0);
        assert_eq!(to.to_string(), REGISTRAR);
        message
    }

    pub(crate) fn registrar_writes(&mut self, bytes: impl Into<Bytes>) {
        self.inside_writes(0, REGISTRAR, bytes);
    }

    /// Lets time pass, and every deadline in it.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        loop {
            let mut next = self.edge.next_deadline().map(|deadline| (deadline.at, At::Edge));
            for (index, core) in self.cores.iter().enumerate() {
                if let Some(deadline) = core.node.next_deadline()
                    && next.is_none_or(|(at, _)| deadline.at < at)
                {
                    next = Some((deadline.at, At::Core(index)));
                }
            }
            let Some((at, who)) = next.filter(|(at, _)| *at <= end) else { break };
            self.now = self.now.max(at);
            self.feed(who, Input::Tick);
        }
        self.now = end;
    }

    fn feed(&mut self, at: At, input: Input) {
        self.feed_all([(at, input)]);
    }

    fn feed_all<const N: usize>(&mut self, inputs: [(At, Input); N]) {
        let mut inputs = VecDeque::from(inputs);
        while let Some((at, input)) = inputs.pop_front() {
            let outputs = self.turn(at, input);
            for output in outputs {
                self.obey(at, output, &mut inputs);
            }
        }
    }

    fn turn(&mut self, at: At, input: Input) -> Vec<Output> {
        let node: &mut dyn Node = match at {
            At::Edge => &mut self.edge,
            At::Core(index) => &mut self.cores[index].node,
        };
        node.handle(input, self.now);
        std::iter::from_fn(|| node.poll()).collect()
    }

    fn obey(&mut self, at: At, output: Output, inputs: &mut VecDeque<(At, Input)>) {
        match (at, output) {
            (At::Edge, Output::Flow { flow, command }) => self.obey_client(flow, command),
            (At::Core(index), Output::Flow { flow, command }) => self.obey_stream(index, flow, command, inputs),
            (_, Output::Link { link, command: LinkCommand::Send { bytes } }) => {
                if link == SECOND {
                    return self.to_second_edge.push(bytes);
                }
                if link.0 >= 100 {
                    let (one, other) = ((link.0 - 100) / 10, (link.0 - 100) % 10);
                    let ends = [one, other].map(|end| At::Core(usize::try_from(end).expect("few")));
                    let to = if at == ends[0] { ends[1] } else { ends[0] };
                    inputs.push_back((to, Input::Link { link, event: LinkEvent::Received { bytes } }));
                    return;
                }
                let index = usize::try_from(link.0).expect("few");
                if at != At::Edge {
                    self.to_edge.extend_from_slice(&bytes);
                }
                let to = if at == At::Edge { At::Core(index) } else { At::Edge };
                if let Some(held) = self.held.get_mut(&index).filter(|_| at == At::Edge) {
                    held.push(bytes);
                } else if self.cores[index].linked {
                    inputs.push_back((to, Input::Link { link, event: LinkEvent::Received { bytes } }));
                }
            }
            (_, Output::Media(MediaCommand::BindPorts { pairs })) => {
                let ports = (0..pairs).map(|_| {
                    self.port += 2;
                    PortPair { rtp: self.port }
                });
                let ports = ports.collect();
                inputs.push_back((at, Input::Media(MediaEvent::PortsBound { ports })));
            }
            (_, Output::Resolve(query)) => {
                assert!(at != At::Edge, "an edge looks up {query}");
                self.asked.insert(query.name.clone());
                let answer = self.zone.get(&query).cloned().unwrap_or(DnsAnswer::Nothing);
                inputs.push_back((at, Input::Resolved { query, answer }));
            }
            (at, Output::SignIn(fact)) => self.told.push((at, fact)),
            (at, Output::Notice(Notice::Attempt(attempt))) => self.attempts.push((at, *attempt)),
            (_, Output::Notice(notice @ (Notice::CallEnded { .. } | Notice::CallEndUnheard { .. }))) => {
                let call = notice.revealed().unwrap_or_default();
                self.ends.push(format!("{call} {notice}"));
            }
            (at, Output::Notice(Notice::Signal(signal))) => self.signals.push((at, *signal)),
            (
                _,
                Output::Link { .. } | Output::Media(_) | Output::Notice(_) | Output::Told(_) | Output::Datagram { .. },
            ) => {}
        }
    }

    /// What operators have been told of attempts since this was asked last.
    pub(crate) fn attempts(&mut self) -> Vec<(At, Attempt)> {
        std::mem::take(&mut self.attempts)
    }

    /// The same of calls that have ended, and of parties that were not told: the Call-ID, and what was said.
    pub(crate) fn ends(&mut self) -> Vec<String> {
        std::mem::take(&mut self.ends)
    }

    /// The same of messages.
    pub(crate) fn signals(&mut self) -> Vec<(At, Signal)> {
        std::mem::take(&mut self.signals)
    }

    fn obey_client(&mut self, flow: FlowId, command: FlowCommand) {
        match command {
            FlowCommand::Send { bytes } => {
                let Some(framer) = self.clients.get_mut(&flow) else { return };
                framer.push(bytes);
                while let Some(element) = framer.next().expect("what the edge writes is framed") {
                    self.to_clients.entry(flow).or_default().push_back(element);
                }
            }
            FlowCommand::Close { .. } => self.closed.push(flow),
            FlowCommand::Dial { .. } => panic!("an edge dials"),
        }
    }

    fn obey_stream(&mut self, index: usize, flow: FlowId, command: FlowCommand, inputs: &mut VecDeque<(At, Input)>) {
        match command {
            FlowCommand::Dial { peer, transport, .. } => {
                let event = if self.inside_alive && !self.down.contains(&peer) {
                    self.cores[index].streams.insert(flow, peer);
                    self.cores[index].framers.insert(flow, Framer::new(1 << 20));
                    FlowEvent::Opened { peer, local: "10.0.1.1:40000".parse().expect("an address"), transport }
                } else {
                    FlowEvent::Closed { why: "refused".to_owned() }
                };
                inputs.push_back((At::Core(index), Input::Flow { flow, event }));
            }
            FlowCommand::Send { bytes } => self.inside_got(index, flow, bytes, inputs),
            FlowCommand::Close { .. } => {
                self.cores[index].streams.remove(&flow);
            }
        }
    }

    fn inside_got(&mut self, index: usize, flow: FlowId, bytes: Bytes, inputs: &mut VecDeque<(At, Input)>) {
        let core = &mut self.cores[index];
        let (Some(framer), Some(peer)) = (core.framers.get_mut(&flow), core.streams.get(&flow).copied()) else {
            return;
        };
        core.last_written.insert(peer, flow);
        framer.push(bytes);
        while let Some(element) = framer.next().expect("what the core writes is framed") {
            let Element::Message(bytes) = element else { continue };
            let message = Message::parse(bytes).expect("what the core writes parses");
            let probe = message.method() == Some("OPTIONS") && message.from_tag() == Some("ewprobe");
            if !probe {
                self.to_inside.push_back((index, peer, message));
            } else if self.inside_alive && !self.inside_silent {
                let bytes = message.respond(200, "OK").to_tag("r").build();
                inputs.push_back((At::Core(index), Input::Flow { flow, event: FlowEvent::Received { bytes } }));
            }
        }
    }
}
