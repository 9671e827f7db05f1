//! Two ends and what is between them: whatever is said, and however it is cut, arrives.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use edgeway_model::chat::{ChatEnd, ChatOpening};
use edgeway_model::{Moment, Role};
use proptest::prelude::*;

use super::{ChatEvent, ChatFault, ChatMux};
use crate::limits::{
    CHAT_FRAME_COST_BYTES, CHAT_PING_AFTER, CHAT_REFUSALS_MAX, CHAT_SILENT_MAX, CHAT_STREAMS_MAX, CHAT_WIDE_BYTES_MAX,
    CHAT_WINDOW_BYTES_MAX, CHAT_WINDOW_BYTES_MIN,
};

const EDGE: usize = 0;
const CORE: usize = 1;

/// One end, and what its user knows.
struct End {
    mux: ChatMux,
    /// On its way from here.
    wire: VecDeque<u8>,
    users: BTreeMap<u32, User>,
}

/// Whoever uses a stream at one end.
#[derive(Default)]
struct User {
    /// What waits for room.
    waiting: VecDeque<u8>,
    sent: u64,
    received: u64,
    unread: VecDeque<usize>,
    ended: Option<ChatEnd>,
    heard: Option<ChatEnd>,
    signed_in: bool,
    refusals: u8,
}

struct World {
    ends: [End; 2],
    now: Moment,
    opened: u32,
}

/// The n-th byte of a stream: what comes twice, or not at all, shows.
fn byte(stream: u32, end: usize, at: u64) -> u8 {
    (at.wrapping_mul(31) ^ u64::from(stream).wrapping_mul(7) ^ end as u64).to_le_bytes()[0]
}

#[derive(Clone, Debug)]
enum Step {
    Open,
    Say(usize, u32, usize),
    SignIn(u32),
    Refuse(u32),
    Read(usize, u32, usize),
    End(usize, u32, ChatEnd),
    Carry(usize, usize),
    Wait(u64),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = || 0..2_usize;
    let stream = || 1..6_u32;
    let how = prop_oneof![Just(ChatEnd::Closed), Just(ChatEnd::Broken)];
    let step = prop_oneof![
        3 => Just(Step::Open),
        8 => (end(), stream(), prop_oneof![1..600_usize, 1..40_000_usize]).prop_map(|(e, s, n)| Step::Say(e, s, n)),
        1 => stream().prop_map(Step::SignIn),
        2 => stream().prop_map(Step::Refuse),
        8 => (end(), stream(), 1..20_usize).prop_map(|(e, s, n)| Step::Read(e, s, n)),
        1 => (end(), stream(), how).prop_map(|(e, s, h)| Step::End(e, s, h)),
        12 => (end(), prop_oneof![1..30_usize, 1..70_000_usize]).prop_map(|(e, n)| Step::Carry(e, n)),
        1 => (1..2_000_u64).prop_map(Step::Wait),
        1 => Just(Step::Leave(EDGE)),
    ];
    proptest::collection::vec(step, 1..300)
}

impl World {
    fn new() -> Self {
        let now = Moment::from_secs(1);
        let end = |role| End { mux: ChatMux::new(role, now), wire: VecDeque::new(), users: BTreeMap::new() };
        Self { ends: [end(Role::Edge), end(Role::Core)], now, opened: 0 }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Open => {
                let client = "192.0.2.1:5000".parse().expect("an address");
                let opening =
                    ChatOpening { number: u64::from(self.opened) + 1, client, domain: "a.example".to_owned() };
                if let Ok(number) = self.ends[EDGE].mux.open(&opening, self.now) {
                    self.opened += 1;
                    assert_eq!(number, self.opened);
                    self.ends[EDGE].users.insert(number, User::default());
                }
            }
            Step::Say(end, stream, length) => {
                if let Some(user) = self.ends[end].users.get_mut(&stream).filter(|user| user.ended.is_none()) {
                    let more = (0..length as u64).map(|n| byte(stream, end, user.sent + n));
                    user.waiting.extend(more);
                    user.sent += length as u64;
                }
                self.say(end, stream);
            }
            Step::SignIn(stream) => {
                if let Some(user) = self.ends[CORE].users.get_mut(&stream).filter(|user| user.ended.is_none()) {
                    user.signed_in = true;
                    self.ends[CORE].mux.sign_in(stream);
                }
            }
            Step::Refuse(stream) => {
                if let Some(user) = self.ends[CORE].users.get_mut(&stream).filter(|user| user.ended.is_none()) {
                    user.refusals = (user.refusals + u8::from(!user.signed_in)).min(CHAT_REFUSALS_MAX);
                    self.ends[CORE].mux.refuse_sign_in(stream);
                }
            }
            Step::Read(end, stream, pieces) => self.read(end, stream, pieces),
            Step::End(end, stream, how) => {
                let there = &mut self.ends[end];
                if let Some(user) = there.users.get_mut(&stream)
                    && (how == ChatEnd::Broken || user.waiting.is_empty())
                {
                    if user.ended.is_none() || how == ChatEnd::Broken {
                        user.ended = Some(how);
                    }
                    there.mux.end(stream, how);
                }
            }
            Step::Carry(from, bytes) => self.carry(from, bytes),
            Step::Wait(millis) => {
                self.now = self.now + Duration::from_millis(millis);
                // Neither is silent for so long in this world: what was said arrives in time.
                for from in [EDGE, CORE] {
                    self.ends[from].mux.handle_timeout(self.now);
                    self.carry(from, usize::MAX);
                }
            }
            Step::Leave(end) => self.ends[end].mux.leave(),
        }
        self.check();
    }

    /// Says what waits, as far as there is room.
    fn say(&mut self, end: usize, stream: u32) {
        let there = &mut self.ends[end];
        let Some(user) = there.users.get_mut(&stream) else { return };
        while !user.waiting.is_empty() && user.ended.is_none() {
            let sent = there.mux.send(stream, user.waiting.make_contiguous());
            if sent == 0 {
                break;
            }
            user.waiting.drain(..sent);
        }
    }

    fn read(&mut self, end: usize, stream: u32, pieces: usize) {
        let there = &mut self.ends[end];
        let Some(user) = there.users.get_mut(&stream) else { return };
        for bytes in user.unread.drain(..pieces.min(user.unread.len())) {
            there.mux.read(stream, 1, bytes);
        }
    }

    fn carry(&mut self, from: usize, bytes: usize) {
        let there = &mut self.ends[from];
        let more = there.mux.outgoing().to_vec();
        there.mux.handle_sent(more.len());
        there.wire.extend(more);
        let arrived: Vec<u8> = there.wire.drain(..bytes.min(there.wire.len())).collect();
        let to = 1 - from;
        self.ends[to].mux.handle_bytes(&arrived, self.now);
        while let Some(event) = self.ends[to].mux.poll_event() {
            self.handle(to, event);
        }
    }

    fn handle(&mut self, end: usize, event: ChatEvent) {
        let there = &mut self.ends[end];
        match event {
            ChatEvent::Opened { stream, opening } => {
                assert_eq!((end, u64::from(stream)), (CORE, opening.number));
                there.users.insert(stream, User::default());
            }
            ChatEvent::Data { stream, bytes, .. } => {
                let user = there.users.get_mut(&stream).expect("opened");
                assert_eq!(user.heard, None, "nothing comes after the end");
                for (n, got) in bytes.iter().enumerate() {
                    assert_eq!(*got, byte(stream, 1 - end, user.received + n as u64), "in order, exactly once");
                }
                user.received += bytes.len() as u64;
                user.unread.push_back(bytes.len());
            }
            ChatEvent::SignedIn { stream } => {
                let user = there.users.get_mut(&stream).expect("opened");
                assert!(end == EDGE && !user.signed_in && user.heard.is_none());
                user.signed_in = true;
            }
            ChatEvent::SignInRefused { stream } => {
                let user = there.users.get_mut(&stream).expect("opened");
                assert!(end == EDGE && !user.signed_in && user.heard.is_none());
                user.refusals += 1;
            }
            ChatEvent::Ended { stream, how } => {
                let user = there.users.get_mut(&stream).expect("opened");
                assert!(user.heard.is_none_or(|before| before == ChatEnd::Closed && how == ChatEnd::Broken));
                user.heard = Some(how);
                if how == ChatEnd::Broken {
                    user.ended = user.ended.or(Some(ChatEnd::Broken));
                }
            }
            ChatEvent::Room { stream } => self.say(end, stream),
            ChatEvent::Leaving => {}
            ChatEvent::Failed(fault) => panic!("two honest ends: {fault}"),
        }
    }

    /// What must hold at any time.
    fn check(&self) {
        for end in &self.ends {
            let held = |user: &User| {
                user.unread.iter().map(|bytes| *bytes as u64 + u64::from(CHAT_FRAME_COST_BYTES)).sum::<u64>()
            };
            for (stream, user) in &end.users {
                if end.mux.is_open(*stream) {
                    assert!(held(user) <= u64::from(CHAT_WINDOW_BYTES_MAX), "more is unread than the window allows");
                }
            }
            let all: u64 = end.users.values().map(held).sum();
            let most = end.users.len() as u64 * u64::from(CHAT_WINDOW_BYTES_MIN) + CHAT_WIDE_BYTES_MAX as u64;
            assert!(all <= most && end.mux.unread_bytes() <= most);
        }
    }

    /// Everything is read, and carried, and ended.
    fn settle(&mut self) {
        for round in 0..10_000 {
            for end in [EDGE, CORE] {
                let streams: Vec<_> = self.ends[end].users.keys().copied().collect();
                for stream in streams {
                    self.read(end, stream, usize::MAX);
                    self.say(end, stream);
                }
                self.carry(end, usize::MAX);
            }
            let read = |end: &End| end.users.values().all(|user| user.unread.is_empty());
            let quiet = |end: &End| end.mux.outgoing().is_empty() && end.wire.is_empty() && read(end);
            if round > 1 && self.ends.iter().all(quiet) {
                return;
            }
        }
        panic!("it never becomes quiet");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_said_arrives_in_order_exactly_once_and_within_its_window(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.settle();
        for stream in 1..=world.opened {
            let [edge, core] = [EDGE, CORE].map(|end| world.ends[end].users.get(&stream));
            let (edge, core) = (edge.expect("opened"), core.expect("opened"));
            for (from, to) in [(edge, core), (core, edge)] {
                let broken = [from, to].iter().any(|user| user.ended == Some(ChatEnd::Broken));
                if !broken {
                    prop_assert_eq!(edge.refusals, core.refusals, "each refusal is told once");
                    prop_assert_eq!(edge.signed_in, core.signed_in);
                    prop_assert_eq!(from.sent, to.received, "nothing is lost on stream {}", stream);
                    prop_assert!(from.waiting.is_empty());
                    prop_assert_eq!(from.ended, to.heard);
                }
            }
            prop_assert_eq!(world.ends[EDGE].mux.is_open(stream), world.ends[CORE].mux.is_open(stream));
        }
        for stream in 1..=world.opened {
            world.ends[EDGE].mux.end(stream, ChatEnd::Broken);
        }
        world.settle();
        for end in &world.ends {
            prop_assert_eq!(end.mux.open_streams(), 0);
            prop_assert_eq!(end.mux.unread_bytes(), 0);
        }
    }

    #[test]
    fn garbage_ends_it_with_a_reason(bytes in proptest::collection::vec(any::<u8>(), 8..200), core in any::<bool>()) {
        let now = Moment::from_secs(1);
        let mut mux = ChatMux::new(if core { Role::Core } else { Role::Edge }, now);
        mux.handle_bytes(&bytes, now);
        let failed = std::iter::from_fn(|| mux.poll_event()).filter(|event| matches!(event, ChatEvent::Failed(_))).count();
        prop_assert!(failed <= 1);
        mux.handle_bytes(&[0; 16 * 1024 + 16], now);
        mux.handle_bytes(&[0; 16], now);
        let more = std::iter::from_fn(|| mux.poll_event()).any(|event| matches!(event, ChatEvent::Failed(_)));
        prop_assert_eq!(more, failed == 0, "it fails once, and is dead then");
    }
}

/// What breaks the protocol when it comes behind an opened stream.
#[test]
fn a_breach_is_named() {
    let open = "01000018000000010000000000000007\
                04c00002011388612e6578616d706c65";
    let table = [
        (Role::Edge, open.to_owned(), ChatFault::Role { kind: 1, from: Role::Core }),
        (Role::Core, format!("{open}0400000000000001"), ChatFault::Role { kind: 4, from: Role::Edge }),
        (Role::Core, format!("{open}0900000000000001"), ChatFault::Role { kind: 9, from: Role::Edge }),
        (Role::Edge, "0900000000000001".to_owned(), ChatFault::Stream { kind: 9, stream: 1 }),
        (Role::Core, format!("{open}{open}"), ChatFault::Stream { kind: 1, stream: 1 }),
        (Role::Core, "0200000100000001aa".to_owned(), ChatFault::Stream { kind: 2, stream: 1 }),
        (Role::Core, format!("{open}0200000100000002aa"), ChatFault::Stream { kind: 2, stream: 2 }),
        (Role::Core, format!("{open}0300000400000001000003ff"), ChatFault::Credit { stream: 1, bytes: 1_023 }),
        (Role::Core, format!("{open}0300000400000001ffffffff"), ChatFault::Credit { stream: 1, bytes: u32::MAX }),
        (Role::Core, format!("{open}0300000400000002ffffffff"), ChatFault::Stream { kind: 3, stream: 2 }),
        (Role::Core, format!("{open}050000010000000100050000010000000100"), ChatFault::Ended { kind: 5, stream: 1 }),
        (Role::Core, format!("{open}0500000100000001000200000100000001aa"), ChatFault::Ended { kind: 2, stream: 1 }),
        (Role::Core, format!("{open}0500000100000001010200000100000001aa"), ChatFault::Ended { kind: 2, stream: 1 }),
        (Role::Core, format!("0800000000000000{open}"), ChatFault::Leaving),
        (Role::Core, format!("{open}{}", "0200000100000001aa".repeat(32)), ChatFault::Window(1)),
        (Role::Core, "0600000000000000".repeat(20_001), ChatFault::Flood),
    ];
    for (role, hex, fault) in table {
        let now = Moment::from_secs(1);
        let mut mux = ChatMux::new(role, now);
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits"))
            .collect();
        mux.handle_bytes(&bytes, now);
        let last = std::iter::from_fn(|| mux.poll_event()).last();
        assert_eq!(last, Some(ChatEvent::Failed(fault)), "{} …", &hex[..hex.len().min(100)]);
    }
}

#[test]
fn refusals_have_a_bound_and_come_before_sign_in() {
    let now = Moment::from_secs(1);
    let opening =
        ChatOpening { number: 1, client: "192.0.2.1:5000".parse().expect("an address"), domain: "a".to_owned() };
    let (refused, signed_in) =
        (super::ChatFrame::SignInRefused { stream: 1 }, super::ChatFrame::SignedIn { stream: 1 });
    let as_often_as_may_be = vec![refused.clone(); usize::from(CHAT_REFUSALS_MAX)];
    let once_more = ChatFault::Ended { kind: 9, stream: 1 };
    for before in [as_often_as_may_be, vec![signed_in]] {
        let mut edge = ChatMux::new(Role::Edge, now);
        assert_eq!(edge.open(&opening, now), Ok(1));
        let mut bytes = Vec::new();
        for frame in before.iter().chain([&refused]) {
            frame.encode(&mut bytes);
        }
        edge.handle_bytes(&bytes, now);
        let events: Vec<_> = std::iter::from_fn(|| edge.poll_event()).collect();
        assert_eq!((events.len(), events.last()), (before.len() + 1, Some(&ChatEvent::Failed(once_more))));
    }
}

#[test]
fn streams_have_a_bound_at_both_ends() {
    let mut now = Moment::from_secs(1);
    let (mut edge, mut core) = (ChatMux::new(Role::Edge, now), ChatMux::new(Role::Core, now));
    let opening =
        ChatOpening { number: 1, client: "192.0.2.1:5000".parse().expect("an address"), domain: "a".to_owned() };
    let mut opened = 0;
    while opened < CHAT_STREAMS_MAX {
        match edge.open(&opening, now) {
            Ok(_) => opened += 1,
            Err(super::NotOpened::TooFast) => now = now + Duration::from_millis(100),
            Err(other) => panic!("{other} after {opened}"),
        }
        core.handle_bytes(edge.outgoing(), now);
        edge.handle_sent(edge.outgoing().len());
    }
    now = now + Duration::from_secs(1);
    assert_eq!(edge.open(&opening, now), Err(super::NotOpened::Full));
    assert_eq!(std::iter::from_fn(|| core.poll_event()).count(), CHAT_STREAMS_MAX, "all were taken");
    let mut one_more = Vec::new();
    let stream = u32::try_from(CHAT_STREAMS_MAX).expect("small") + 1;
    super::ChatFrame::Open { stream, opening }.encode(&mut one_more);
    core.handle_bytes(&one_more, now);
    assert_eq!(core.poll_event(), Some(ChatEvent::Failed(ChatFault::Streams)));
}

#[test]
fn too_many_openings_at_once_are_refused_one_by_one() {
    let now = Moment::from_secs(1);
    let mut core = ChatMux::new(Role::Core, now);
    let opening =
        ChatOpening { number: 1, client: "192.0.2.1:5000".parse().expect("an address"), domain: String::new() };
    let mut bytes = Vec::new();
    for stream in 1..=8_001 {
        super::ChatFrame::Open { stream, opening: opening.clone() }.encode(&mut bytes);
    }
    core.handle_bytes(&bytes, now);
    assert_eq!(std::iter::from_fn(|| core.poll_event()).count(), 8_000);
    let mut refusal = Vec::new();
    super::ChatFrame::End { stream: 8_001, how: ChatEnd::Broken }.encode(&mut refusal);
    assert_eq!(core.outgoing(), refusal);
}

#[test]
fn a_hole_of_five_seconds_ends_nothing_and_ten_seconds_of_silence_do() {
    let start = Moment::from_secs(1);
    let (mut edge, mut core) = (ChatMux::new(Role::Edge, start), ChatMux::new(Role::Core, start));
    assert_eq!(edge.poll_timeout().map(|(due, _)| due), Some(start + CHAT_PING_AFTER));
    edge.handle_timeout(start + CHAT_PING_AFTER);
    // Nothing passes for five seconds, and then what was said.
    let after = start + Duration::from_secs(8);
    edge.handle_timeout(after);
    core.handle_bytes(edge.outgoing(), after);
    edge.handle_sent(edge.outgoing().len());
    assert!(edge.outgoing().is_empty(), "it asks once");
    edge.handle_bytes(core.outgoing(), after);
    core.handle_sent(core.outgoing().len());
    assert_eq!(edge.poll_timeout().map(|(due, _)| due), Some(after + CHAT_PING_AFTER));
    edge.handle_timeout(after + CHAT_PING_AFTER);
    edge.handle_timeout(after + (CHAT_SILENT_MAX - Duration::from_millis(1)));
    assert_eq!(edge.poll_event(), None);
    edge.handle_timeout(after + CHAT_SILENT_MAX);
    assert_eq!(edge.poll_event(), Some(ChatEvent::Failed(ChatFault::Silent)));
    assert_eq!(edge.poll_timeout(), None);
}
