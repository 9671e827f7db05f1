//! A link over a path that loses packets, for hours of virtual time: is a living peer ever given up, and is a dead one
//! given up in time?
//!
//! The path is a model: datagrams are lost, each by chance; a stream loses nothing, but a lost segment comes after
//! timeouts of 200 ms that double (RFC 6298), and all behind it wait. Real TCP is quicker (RFC 8985), so what holds here
//! holds there.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use edgeway_link::engine::{Link, LinkEvent, Transmit};
use edgeway_link::frame::{Hello, Role};
use edgeway_link::limits::{SILENT_AFTER, VERSION, VERSION_MIN};
use edgeway_model::media::MediaPath;
use edgeway_model::{Deadline, Moment, NodeId, Random};

const DELAY: Duration = Duration::from_millis(20);
const RETRANSMIT_FIRST: Duration = Duration::from_millis(200);
/// Linux gives a segment up after 15 retransmissions.
const RETRANSMITS_MAX: u32 = 15;

/// What is under way to an end.
enum Parcel {
    Stream(Bytes),
    Datagram(Bytes),
}

struct World {
    ends: [Link; 2],
    /// Loss in percent.
    loss: u64,
    media: MediaPath,
    now: Moment,
    random: Random,
    under_way: BTreeMap<(Moment, u64), (usize, Parcel)>,
    number: u64,
    /// When the last segment arrives: of the link, and of media over TCP; in each direction.
    arrived: [[Moment; 2]; 2],
    /// Nothing passes any more.
    hole: bool,
    failed: [Option<Moment>; 2],
}

impl World {
    fn new(seed: u8, loss: u64, media: MediaPath) -> Self {
        let now = Moment::from_secs(1);
        let end = |role, name: &str, peer: &str| {
            let far = if role == Role::Edge { Role::Core } else { Role::Edge };
            Link::new(hello(name, role), NodeId::new(peer).expect("legal"), far, None, now)
        };
        let mut world = Self {
            ends: [end(Role::Edge, "edge1", "core1"), end(Role::Core, "core1", "edge1")],
            loss: 0,
            media,
            now,
            random: Random::from_seed([seed; 32]),
            under_way: BTreeMap::new(),
            number: 0,
            arrived: [[now; 2]; 2],
            hole: false,
            failed: [None; 2],
        };
        world.run(Duration::from_secs(1));
        let now = world.now;
        world.ends.iter_mut().for_each(|end| end.handle_datagram_path(media, now));
        world.settle();
        world.loss = loss;
        world
    }

    fn is_lost(&mut self) -> bool {
        self.random.below(100) < self.loss
    }

    /// When a segment sent now arrives; those before it come first.
    fn arrival(&mut self, from: usize, stream: usize) -> Moment {
        let (mut at, mut timeout, mut tries) = (self.now + DELAY, RETRANSMIT_FIRST, 0);
        while self.is_lost() && tries < RETRANSMITS_MAX {
            at = at + timeout;
            (timeout, tries) = (timeout * 2, tries + 1);
        }
        let last = &mut self.arrived[stream][from];
        *last = at.max(*last);
        *last
    }

    fn settle(&mut self) {
        for from in [0, 1] {
            while let Some(transmit) = self.ends[from].poll_transmit() {
                let (at, parcel) = match transmit {
                    Transmit::Stream(bytes) => (Some(self.arrival(from, 0)), Parcel::Stream(bytes)),
                    Transmit::Datagram(bytes) => {
                        let at = match self.media {
                            MediaPath::Udp => (!self.is_lost()).then_some(self.now + DELAY),
                            MediaPath::Tcp => Some(self.arrival(from, 1)),
                            MediaPath::None => None,
                        };
                        (at, Parcel::Datagram(bytes))
                    }
                };
                if let Some(at) = at.filter(|_| !self.hole) {
                    self.number += 1;
                    self.under_way.insert((at, self.number), (1 - from, parcel));
                }
            }
            while let Some(event) = self.ends[from].poll_event() {
                if let LinkEvent::Failed(_) = event {
                    self.failed[from] = Some(self.now);
                }
            }
        }
    }

    /// Runs on, until a link fails at most.
    fn run(&mut self, span: Duration) {
        let until = self.now + span;
        while self.failed == [None; 2] {
            let deadlines = Deadline::soonest(self.ends[0].next_deadline(), self.ends[1].next_deadline());
            let next = [deadlines.map(|deadline| deadline.at), self.under_way.keys().next().map(|key| key.0)];
            let next = next.into_iter().flatten().min().unwrap_or(until);
            if next > until {
                break;
            }
            self.now = self.now.max(next);
            while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to, parcel) = entry.remove();
                match parcel {
                    Parcel::Stream(bytes) => self.ends[to].handle_bytes(bytes, self.now),
                    Parcel::Datagram(bytes) => self.ends[to].handle_datagram(&bytes, self.now),
                }
            }
            let now = self.now;
            self.ends.iter_mut().for_each(|end| end.handle_timeout(now));
            self.settle();
        }
        self.now = self.now.max(until);
    }
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

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn with_udp_a_fifth_of_all_packets_may_be_lost_for_hours() {
    for seed in 0..4 {
        let mut world = World::new(seed, 20, MediaPath::Udp);
        world.run(HOUR);
        assert_eq!(world.failed, [None; 2], "seed {seed}, at {:?}", world.now);
    }
}

#[test]
fn without_udp_a_twentieth_may_be_lost_for_hours() {
    for seed in 0..4 {
        let mut world = World::new(seed, 5, MediaPath::Tcp);
        world.run(HOUR);
        assert_eq!(world.failed, [None; 2], "seed {seed}, at {:?}", world.now);
    }
}

/// What the other tests hold comes from the datagrams, and they could fail.
#[test]
fn a_stream_alone_does_not_hold_at_a_fifth() {
    let failed = (0..4).filter(|seed| {
        let mut world = World::new(*seed, 20, MediaPath::None);
        world.run(HOUR);
        world.failed != [None; 2]
    });
    assert_eq!(failed.count(), 4);
}

#[test]
fn a_hole_is_noticed_within_three_seconds_at_any_phase() {
    for seed in 0..200 {
        let media = if seed % 2 == 0 { MediaPath::Udp } else { MediaPath::Tcp };
        let mut world = World::new(seed, 0, media);
        world.run(Duration::from_millis(u64::from(seed) * 37));
        world.hole = true;
        let start = world.now;
        world.run(HOUR);
        let [first, second] = world.failed;
        let noticed = first.or(second).expect("noticed").since(start);
        assert!(noticed <= SILENT_AFTER + DELAY && noticed >= SILENT_AFTER - Duration::from_millis(600), "{noticed:?}");
    }
}
