//! One link as a state machine: hello, keepalive, liveness.
//!
//! ```text
//!   new ──► Greeting ──peer's hello──► Up ──┐
//!              │ no hello in 5 s            │ quiet on stream and datagrams for 3 s,
//!              ▼                            ▼ or a broken frame
//!            Failed ◄──────────────────── Failed
//! ```
//! Contract: after every `handle_*` drain [`Link::poll_transmit`] and [`Link::poll_event`], then ask
//! [`Link::next_deadline`]. After [`LinkEvent::Failed`] the link says nothing more; its owner closes
//! it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use edgeway_model::media::MediaPath;
use edgeway_model::{Deadline, Moment, NodeId, Role};

use crate::frame::{Decoder, Frame, Hello, Load};
use crate::limits::{
    HELLO_WITHIN, KEEPALIVE_EVERY, PROBE_EVERY, SILENT_AFTER, SKEW_REPORTED_MS, TOLD_SINCE, VERSION, VERSION_MIN,
};

/// What a link tells its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The peer has said hello and can be worked with.
    Up(Hello),
    /// A frame that concerns the node: everything but hello and keepalives.
    Received(Frame),
    /// The clocks differ by more than the reported bound; milliseconds, positive when the peer is
    /// ahead. Said once per link.
    ClockSkew(i64),
    /// How media reaches the peer has changed.
    MediaPath(MediaPath),
    /// The link is of no more use; the reason for the log and for the peer.
    Failed(String),
}

/// What a link wants sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// Whole frames on the stream.
    Stream(Bytes),
    /// A control datagram.
    Datagram(Bytes),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Up,
    Failed,
}

/// The conversation of one link, on either side.
#[derive(Debug)]
pub struct Link {
    state: State,
    ours: Hello,
    proven: (NodeId, Role),
    peer: Option<Hello>,
    load: Load,
    peer_load: Load,
    decoder: Decoder,
    opened_at: Moment,
    heard_at: Moment,
    path: MediaPath,
    sequence: u32,
    asked: Option<(u32, Moment)>,
    keepalive_at: Moment,
    probe_at: Moment,
    round_trip: Option<Duration>,
    skew_ms: i64,
    skew_reported: bool,
    wall: Option<(u64, Moment)>,
    events: VecDeque<LinkEvent>,
    transmits: VecDeque<Transmit>,
}

impl Link {
    /// A link whose stream has just been authenticated: the peer's certificate names `proven`, in the
    /// role of `role`. Queues our hello. `wall` is the wall clock (Unix ms) and the moment it was read,
    /// if known.
    #[must_use]
    pub fn new(mut ours: Hello, proven: NodeId, role: Role, wall: Option<(u64, Moment)>, now: Moment) -> Self {
        ours.wall_ms = wall_at(wall, now);
        let hello = Frame::Hello(ours.clone()).encode();
        Self {
            state: State::Greeting,
            ours,
            proven: (proven, role),
            peer: None,
            load: Load::default(),
            peer_load: Load::default(),
            decoder: Decoder::default(),
            opened_at: now,
            heard_at: now,
            path: MediaPath::None,
            sequence: 0,
            asked: None,
            keepalive_at: now + KEEPALIVE_EVERY,
            probe_at: now,
            round_trip: None,
            skew_ms: 0,
            skew_reported: false,
            wall,
            events: VecDeque::new(),
            transmits: VecDeque::from([Transmit::Stream(hello)]),
        }
    }

    /// Whether the peer has said hello and has not been given up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// The peer's hello, once it came.
    #[must_use]
    pub fn peer(&self) -> Option<&Hello> {
        self.peer.as_ref()
    }

    /// The version both sides speak; `None` before the peer's hello.
    #[must_use]
    pub fn version(&self) -> Option<u16> {
        self.peer.as_ref().map(|peer| peer.version.min(self.ours.version))
    }

    /// Frames of the peer that were skipped because their kind is not known here.
    #[must_use]
    pub const fn unknown_frames(&self) -> u64 {
        self.decoder.unknown()
    }

    /// The peer's role, as its certificate says.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.proven.1
    }

    /// The peer's load, as of its last keepalive.
    #[must_use]
    pub fn peer_load(&self) -> Load {
        self.peer_load
    }

    /// Round-trip time of the last answered keepalive.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Clock skew in milliseconds; positive when the peer is ahead.
    #[must_use]
    pub fn skew_ms(&self) -> i64 {
        self.skew_ms
    }

    /// When the peer was last heard, on either path.
    #[must_use]
    pub fn heard_at(&self) -> Moment {
        self.heard_at
    }

    /// How datagrams reach the peer.
    #[must_use]
    pub fn media_path(&self) -> MediaPath {
        self.path
    }

    /// Sets the load carried by the next keepalives. That maintenance mode begins or ends is said at once: what comes
    /// until the peer knows is refused here, and need not be.
    pub fn set_load(&mut self, load: Load) {
        if self.load.draining != load.draining {
            self.keepalive_at = Moment::ZERO;
        }
        self.load = load;
    }

    /// Queues a frame, in the version the peer understands. Before its hello nothing can be said to it,
    /// and what is sent then is lost: nodes speak when a link is [`LinkEvent::Up`].
    pub fn send(&mut self, frame: &Frame) {
        debug_assert!(self.state != State::Greeting, "nothing is sent before the peer's hello");
        let version = self.version().filter(|_| self.state == State::Up);
        if let Some(bytes) = version.and_then(|version| frame.encode_for(version, self.proven.1)) {
            self.transmits.push_back(Transmit::Stream(bytes));
        }
    }

    /// The wall clock was read: Unix milliseconds.
    pub fn handle_wall_clock(&mut self, unix_ms: u64, now: Moment) {
        self.wall = Some((unix_ms, now));
    }

    /// How datagrams reach the peer has changed. Said again, it changes nothing.
    pub fn handle_datagram_path(&mut self, path: MediaPath, now: Moment) {
        if self.path == path || self.state == State::Failed {
            return;
        }
        if !self.path.is_open() {
            // It was opened with the peer, just now; the way that stands in for a lost one may be older.
            self.heard_at = now;
        }
        self.path = path;
        self.probe_at = now;
        self.events.push_back(LinkEvent::MediaPath(path));
    }

    /// A control datagram arrived: it proves the peer alive, nothing else.
    pub fn handle_datagram(&mut self, bytes: &[u8], now: Moment) {
        if bytes.len() == PROBE_BYTES && bytes.starts_with(PROBE_MAGIC) {
            self.heard_at = now;
        }
    }

    /// Bytes arrived on the stream.
    pub fn handle_bytes(&mut self, bytes: Bytes, now: Moment) {
        if self.state == State::Failed {
            return;
        }
        self.heard_at = now;
        self.decoder.push(bytes);
        loop {
            match self.decoder.poll_frame() {
                Ok(Some(frame)) => self.handle_frame(frame, now),
                Ok(None) => return,
                Err(fault) => return self.fail(format!("the peer sent {fault}")),
            }
            if self.state == State::Failed {
                return;
            }
        }
    }

    /// The peer broke the protocol in a way only the node can see: the link fails, with this reason.
    pub fn refuse(&mut self, why: String) {
        if self.state != State::Failed {
            self.fail(why);
        }
    }

    /// The moment asked for by [`Self::next_deadline`] has come.
    pub fn handle_timeout(&mut self, now: Moment) {
        match self.state {
            State::Failed => {}
            State::Greeting if now >= self.opened_at + HELLO_WITHIN => {
                self.fail(format!("no hello within {} s", HELLO_WITHIN.as_secs()));
            }
            State::Up if now >= self.heard_at + SILENT_AFTER => {
                self.fail(format!("silent for {} s", SILENT_AFTER.as_secs()));
            }
            State::Greeting => {}
            State::Up => self.send_what_is_due(now),
        }
    }

    /// When [`Self::handle_timeout`] should next be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        let judged = match self.state {
            State::Failed => return None,
            // Keepalives wait for the peer's hello: before it, its version is not known.
            State::Greeting => return Some(Deadline { at: self.opened_at + HELLO_WITHIN, why: "link hello" }),
            State::Up => Deadline { at: self.heard_at + SILENT_AFTER, why: "link silence" },
        };
        let keepalive = Deadline { at: self.keepalive_at, why: "link keepalive" };
        let probe = self.path.is_open().then_some(Deadline { at: self.probe_at, why: "link probe" });
        Deadline::soonest(Deadline::soonest(Some(judged), Some(keepalive)), probe)
    }

    /// The next thing to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing the node should know.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    fn handle_frame(&mut self, frame: Frame, now: Moment) {
        match frame {
            Frame::Hello(hello) => self.handle_hello(hello, now),
            Frame::Keepalive { sequence, load, .. } => {
                self.peer_load = load;
                let answer = Frame::KeepaliveAnswer { sequence, wall_ms: wall_at(self.wall, now) };
                self.send(&answer);
            }
            Frame::KeepaliveAnswer { sequence, wall_ms } => self.handle_answer(sequence, wall_ms, now),
            other @ (Frame::FromClient { .. }
            | Frame::ToClient { .. }
            | Frame::FlowClosed { .. }
            | Frame::FlowMoved { .. }
            | Frame::EdgeSettings { .. }
            | Frame::EdgeSettingsOutcome { .. }
            | Frame::GrantPorts { .. }
            | Frame::SetRelay(_)
            | Frame::CloseRelay { .. }
            | Frame::Synchronised
            | Frame::ClientSilent { .. }
            | Frame::Services { .. }
            | Frame::TokenKeys(_)
            | Frame::SignedIn(_)
            | Frame::Identity(_)
            | Frame::Revoked(_)) => {
                if self.state == State::Up {
                    self.events.push_back(LinkEvent::Received(other));
                } else {
                    self.fail("the peer spoke before its hello".into());
                }
            }
        }
    }

    fn handle_hello(&mut self, hello: Hello, now: Moment) {
        if self.state != State::Greeting {
            return self.fail("a second hello".into());
        }
        if hello.version < VERSION_MIN || hello.version_min > VERSION {
            return self.fail(format!(
                "{} speaks link versions {} to {}, we speak {VERSION_MIN} to {VERSION}: upgrade the older node",
                hello.node, hello.version_min, hello.version
            ));
        }
        let (node, role) = &self.proven;
        if hello.node != *node {
            return self.fail(format!("{node} calls itself {}", hello.node));
        }
        if hello.role != *role {
            return self.fail(format!("{node} is an {role} by its certificate and calls itself {}", hello.role));
        }
        if (hello.role, self.ours.role) == (Role::Edge, Role::Edge) {
            return self.fail(format!("{node} is an edge as we are: edges have no links with each other"));
        }
        // An edge is told by its core, once it is linked.
        let is_told = hello.role != self.ours.role && hello.version.min(self.ours.version) >= TOLD_SINCE;
        if hello.stun_keepalive != self.ours.stun_keepalive && !is_told {
            return self.fail(format!(
                "the STUN keepalive setting differs: set it alike on {} and {}",
                self.ours.node, hello.node
            ));
        }
        self.state = State::Up;
        (self.keepalive_at, self.probe_at) = (now, now);
        self.judge_clock(hello.wall_ms, Duration::ZERO, now);
        self.events.push_back(LinkEvent::Up(hello.clone()));
        self.peer = Some(hello);
        self.send_what_is_due(now);
    }

    fn handle_answer(&mut self, sequence: u32, wall_ms: u64, now: Moment) {
        let Some((asked, at)) = self.asked else { return };
        if asked != sequence {
            return;
        }
        self.asked = None;
        let round_trip = now.since(at);
        self.round_trip = Some(round_trip);
        self.judge_clock(wall_ms, round_trip, now);
    }

    fn judge_clock(&mut self, peer_wall_ms: u64, round_trip: Duration, now: Moment) {
        if self.wall.is_none() || peer_wall_ms == 0 {
            return;
        }
        let halfway = i64::try_from(round_trip.as_millis() / 2).unwrap_or(0);
        let ours = i64::try_from(wall_at(self.wall, now)).unwrap_or(i64::MAX);
        let theirs = i64::try_from(peer_wall_ms).unwrap_or(i64::MAX).saturating_add(halfway);
        self.skew_ms = theirs.saturating_sub(ours);
        if self.skew_ms.saturating_abs() > SKEW_REPORTED_MS && !self.skew_reported {
            self.skew_reported = true;
            self.events.push_back(LinkEvent::ClockSkew(self.skew_ms));
        }
    }

    fn send_what_is_due(&mut self, now: Moment) {
        if now >= self.keepalive_at {
            self.keepalive_at = now + KEEPALIVE_EVERY;
            self.sequence = self.sequence.wrapping_add(1);
            self.asked = Some((self.sequence, now));
            let wall_ms = wall_at(self.wall, now);
            self.send(&Frame::Keepalive { sequence: self.sequence, wall_ms, load: self.load });
        }
        if self.path.is_open() && now >= self.probe_at {
            self.probe_at = now + PROBE_EVERY;
            self.transmits.push_back(Transmit::Datagram(probe(self.sequence)));
        }
    }

    fn fail(&mut self, why: String) {
        self.state = State::Failed;
        self.transmits.clear();
        self.events.push_back(LinkEvent::Failed(why));
    }
}

const PROBE_MAGIC: &[u8; 4] = b"ewp1";
const PROBE_BYTES: usize = 8;

fn probe(sequence: u32) -> Bytes {
    let mut out = BytesMut::with_capacity(PROBE_BYTES);
    out.put_slice(PROBE_MAGIC);
    out.put_u32(sequence);
    out.freeze()
}

/// The wall clock now, extrapolated from when it was last read; 0 while unknown.
fn wall_at(wall: Option<(u64, Moment)>, now: Moment) -> u64 {
    wall.map_or(0, |(unix_ms, at)| unix_ms.saturating_add(u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeway_model::FlowId;

    fn name(name: &str) -> NodeId {
        NodeId::new(name).expect("legal")
    }

    #[test]
    fn a_peer_must_bear_the_name_of_its_certificate() {
        let mut link = Link::new(hello("edge1", Role::Edge), name("core1"), Role::Core, None, Moment::ZERO);
        link.handle_bytes(Frame::Hello(hello("core2", Role::Core)).encode(), Moment::ZERO);
        assert_eq!(link.poll_event(), Some(LinkEvent::Failed("core1 calls itself core2".into())));
    }

    fn hello(name: &str, role: Role) -> Hello {
        Hello {
            version: VERSION,
            version_min: VERSION_MIN,
            node: NodeId::new(name).expect("legal"),
            role,
            boot: 1,
            wall_ms: 0,
            stun_keepalive: true,
            contact: String::new(),
            domains: Vec::new(),
        }
    }

    struct Pair {
        edge: Link,
        core: Link,
        now: Moment,
        stream_open: bool,
        datagrams_open: bool,
        edge_events: Vec<LinkEvent>,
        core_events: Vec<LinkEvent>,
    }

    impl Pair {
        fn new(edge: Hello, core: Hello) -> Self {
            let now = Moment::from_secs(1);
            let wall = Some((1_000_000, now));
            let mut pair = Self {
                edge: Link::new(edge.clone(), core.node.clone(), core.role, wall, now),
                core: Link::new(core, edge.node, edge.role, wall, now),
                now,
                stream_open: true,
                datagrams_open: true,
                edge_events: Vec::new(),
                core_events: Vec::new(),
            };
            pair.settle();
            pair
        }

        fn usual() -> Self {
            Self::new(hello("edge1", Role::Edge), hello("core1", Role::Core))
        }

        fn settle(&mut self) {
            loop {
                let mut quiet = true;
                while let Some(transmit) = self.edge.poll_transmit() {
                    quiet = false;
                    Self::deliver(transmit, &mut self.core, self.stream_open, self.datagrams_open, self.now);
                }
                while let Some(transmit) = self.core.poll_transmit() {
                    quiet = false;
                    Self::deliver(transmit, &mut self.edge, self.stream_open, self.datagrams_open, self.now);
                }
                self.edge_events.extend(std::iter::from_fn(|| self.edge.poll_event()));
                self.core_events.extend(std::iter::from_fn(|| self.core.poll_event()));
                if quiet {
                    return;
                }
            }
        }

        fn deliver(transmit: Transmit, to: &mut Link, stream: bool, datagrams: bool, now: Moment) {
            match transmit {
                Transmit::Stream(bytes) if stream => to.handle_bytes(bytes, now),
                Transmit::Datagram(bytes) if datagrams => to.handle_datagram(&bytes, now),
                Transmit::Stream(_) | Transmit::Datagram(_) => {}
            }
        }

        fn run(&mut self, span: Duration) {
            let end = self.now + span;
            while let Some(deadline) = Deadline::soonest(self.edge.next_deadline(), self.core.next_deadline()) {
                if deadline.at > end {
                    break;
                }
                self.now = self.now.max(deadline.at);
                self.edge.handle_timeout(self.now);
                self.core.handle_timeout(self.now);
                self.settle();
            }
            self.now = end;
        }

        fn failed(events: &[LinkEvent]) -> Option<&str> {
            events.iter().find_map(|event| match event {
                LinkEvent::Failed(why) => Some(why.as_str()),
                LinkEvent::Up(_) | LinkEvent::Received(_) | LinkEvent::ClockSkew(_) | LinkEvent::MediaPath(_) => None,
            })
        }
    }

    #[test]
    fn two_sides_come_up_and_stay_up() {
        let mut pair = Pair::usual();
        assert!(pair.edge.is_up() && pair.core.is_up());
        pair.edge.set_load(Load { registrations: 12, calls: 3, stranded: true, draining: true });
        pair.run(Duration::from_secs(600));
        assert!(pair.edge.is_up() && pair.core.is_up());
        assert_eq!(pair.core.peer_load(), Load { registrations: 12, calls: 3, stranded: true, draining: true });
        assert_eq!(pair.core.round_trip(), Some(Duration::ZERO));
        assert_eq!(pair.core.skew_ms(), 0);
    }

    #[test]
    fn that_maintenance_mode_begins_is_said_at_once() {
        let mut pair = Pair::usual();
        pair.run(Duration::from_millis(100));
        for draining in [true, false] {
            pair.core.set_load(Load { draining, ..Load::default() });
            pair.run(Duration::from_millis(10));
            assert_eq!(pair.edge.peer_load().draining, draining);
        }
    }

    #[test]
    fn a_stream_that_stalls_is_no_death_while_datagrams_pass() {
        let mut pair = Pair::usual();
        pair.edge.handle_datagram_path(MediaPath::Udp, pair.now);
        pair.core.handle_datagram_path(MediaPath::Udp, pair.now);
        pair.stream_open = false;
        pair.run(Duration::from_secs(20));
        assert!(pair.edge.is_up() && pair.core.is_up());
        pair.datagrams_open = false;
        pair.run(Duration::from_millis(2_500));
        assert!(pair.edge.is_up(), "2.5 s of silence is not yet death");
        pair.run(Duration::from_millis(1_000));
        assert_eq!(Pair::failed(&pair.edge_events), Some("silent for 3 s"));
        assert_eq!(Pair::failed(&pair.core_events), Some("silent for 3 s"));
        assert_eq!(pair.edge.next_deadline(), None, "a failed link asks for nothing more");
    }

    #[test]
    fn a_way_that_stands_in_for_a_lost_one_is_no_sign_of_life() {
        let mut pair = Pair::usual();
        pair.edge.handle_datagram_path(MediaPath::Udp, pair.now);
        (pair.stream_open, pair.datagrams_open) = (false, false);
        pair.run(Duration::from_millis(2_500));
        pair.edge.handle_datagram_path(MediaPath::Tcp, pair.now);
        pair.run(Duration::from_millis(600));
        assert_eq!(Pair::failed(&pair.edge_events), Some("silent for 3 s"));
    }

    #[test]
    fn a_cut_of_two_seconds_is_survived_without_datagrams_too() {
        let mut pair = Pair::usual();
        pair.stream_open = false;
        pair.run(Duration::from_secs(2));
        pair.stream_open = true;
        pair.run(Duration::from_secs(10));
        assert!(pair.edge.is_up() && pair.core.is_up());
    }

    #[test]
    fn a_peer_that_says_nothing_is_given_up() {
        let mut link = Link::new(hello("edge1", Role::Edge), name("core1"), Role::Core, None, Moment::ZERO);
        link.handle_timeout(Moment::from_secs(5));
        assert_eq!(link.poll_event(), Some(LinkEvent::Failed("no hello within 5 s".into())));
    }

    #[test]
    fn what_does_not_fit_together_is_said_in_words() {
        let mut old = hello("core1", Role::Core);
        (old.version, old.version_min) = (0, 0);
        let mut other_keepalive = hello("core1", Role::Core);
        (other_keepalive.version, other_keepalive.stun_keepalive) = (TOLD_SINCE - 1, false);
        for (core, words) in [
            (old, "upgrade the older node"),
            (other_keepalive, "STUN keepalive setting differs"),
            (hello("edge2", Role::Edge), "edges have no links with each other"),
        ] {
            let pair = Pair::new(hello("edge1", Role::Edge), core);
            // The first to notice closes the link; the other may never see the cause.
            let why = Pair::failed(&pair.edge_events).or(Pair::failed(&pair.core_events)).expect("refused");
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn an_edge_need_not_say_what_its_core_will_tell_it_but_two_cores_must_agree() {
        let silent = |name, role| Hello { stun_keepalive: false, ..hello(name, role) };
        let pair = Pair::new(hello("edge1", Role::Edge), silent("core1", Role::Core));
        assert!(pair.edge.is_up() && pair.core.is_up());
        let pair = Pair::new(hello("core2", Role::Core), silent("core1", Role::Core));
        assert!(!pair.edge.is_up() && !pair.core.is_up());
    }

    #[test]
    fn the_lower_of_two_versions_is_spoken() {
        let mut older = hello("core1", Role::Core);
        older.version = VERSION_MIN;
        let mut later = hello("core1", Role::Core);
        (later.version, later.version_min) = (VERSION + 1, VERSION);
        for (core, spoken) in [(older, VERSION_MIN), (later, VERSION)] {
            let pair = Pair::new(hello("edge1", Role::Edge), core);
            assert!(pair.edge.is_up() && pair.core.is_up());
            assert_eq!((pair.edge.version(), pair.core.version()), (Some(spoken), Some(spoken)));
        }
    }

    #[test]
    fn two_cores_are_linked_and_a_role_is_what_the_certificate_says() {
        let pair = Pair::new(hello("core2", Role::Core), hello("core1", Role::Core));
        assert!(pair.edge.is_up() && pair.core.is_up());
        let mut link = Link::new(hello("core1", Role::Core), name("edge1"), Role::Edge, None, Moment::ZERO);
        link.handle_bytes(Frame::Hello(hello("edge1", Role::Core)).encode(), Moment::ZERO);
        let why = Pair::failed(&std::iter::from_fn(|| link.poll_event()).collect::<Vec<_>>()).map(str::to_owned);
        assert!(why.is_some_and(|why| why.contains("edge by its certificate")), "an edge cannot pose as a core");
    }

    #[test]
    fn skewed_clocks_are_measured_and_reported_once() {
        let now = Moment::from_secs(1);
        let mut pair = Pair::usual();
        pair.core =
            Link::new(hello("core1", Role::Core), name("edge1"), Role::Edge, Some((1_000_000 + 45_000, now)), now);
        pair.edge = Link::new(hello("edge1", Role::Edge), name("core1"), Role::Core, Some((1_000_000, now)), now);
        pair.settle();
        pair.run(Duration::from_secs(5));
        assert_eq!(pair.edge.skew_ms(), 45_000);
        assert_eq!(pair.core.skew_ms(), -45_000);
        let reports = |events: &[LinkEvent]| events.iter().filter(|e| matches!(e, LinkEvent::ClockSkew(_))).count();
        assert_eq!((reports(&pair.edge_events), reports(&pair.core_events)), (1, 1));
    }

    #[test]
    fn frames_arrive_in_order_and_a_broken_one_ends_the_link() {
        let mut pair = Pair::usual();
        for n in 0..3 {
            pair.edge.send(&Frame::FlowClosed { flow: FlowId(n) });
        }
        pair.settle();
        let flows: Vec<_> = pair
            .core_events
            .iter()
            .filter_map(
                |event| if let LinkEvent::Received(Frame::FlowClosed { flow }) = event { Some(flow.0) } else { None },
            )
            .collect();
        assert_eq!(flows, [0, 1, 2]);
        pair.core.handle_bytes(Bytes::from_static(&[0, 0, 0, 1, 99]), pair.now);
        pair.settle();
        assert!(pair.core.is_up() && pair.core.unknown_frames() == 1, "a kind of a later version is skipped");
        pair.core.handle_bytes(Bytes::from_static(&[0, 0, 0, 2, 6, 0]), pair.now);
        pair.settle();
        assert!(Pair::failed(&pair.core_events).is_some_and(|why| why.contains("kind 6")));
    }
}
