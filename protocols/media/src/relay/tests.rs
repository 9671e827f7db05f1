//! The two halves of a relay against a client, a party inside and an attacker.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use edgeway_model::media::{
    Carriage, Component, CryptoSuite, InsideParty, InsideRelay, LegSecurity, OutsideRelay, PortPair, SrtpKey,
};
use edgeway_model::{Moment, NodeId, Random, RelayId};
use proptest::prelude::*;

use super::*;
use crate::limits::{PACKET_BYTES_MAX, SRTCP_OVERHEAD_BYTES};
use crate::srtp::{SrtpReceiver, SrtpSender};

const TLS_PEER: &str = "192.0.2.10";

pub(super) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn key(byte: u8) -> SrtpKey {
    SrtpKey::new(CryptoSuite::AesCm128HmacSha1_80, &[byte; 30]).unwrap()
}

pub(super) fn random(seed: u8) -> Random {
    Random::from_seed([seed; 32])
}

pub(super) fn outside_rule(described: Option<&str>, srtp: bool) -> OutsideRelay {
    OutsideRelay {
        peer: NodeId::new("core1").unwrap(),
        relay: RelayId(1),
        ports: PortPair { rtp: 40_000 },
        signalling_peer: TLS_PEER.parse::<IpAddr>().unwrap(),
        described: described.map(|rtp| (at(rtp), SocketAddr::new(at(rtp).ip(), at(rtp).port() + 1))),
        srtp,
        mux: false,
        carriage: Carriage::Rtp,
    }
}

pub(super) fn inside_rule(receive: Option<u8>, send: u8) -> InsideRelay {
    InsideRelay {
        peer: NodeId::new("edge1").unwrap(),
        relay: RelayId(1),
        ports: PortPair { rtp: 36_000 },
        party: party("10.0.0.7:5004"),
        early: Vec::new(),
        outside: match receive {
            Some(receive) => LegSecurity::Srtp { receive: key(receive), send: key(send) },
            None => LegSecurity::Awaited,
        },
        carriage: Carriage::Rtp,
        client_timeout: None,
    }
}

pub(super) fn party(rtp: &str) -> InsideParty {
    let described = Some((at(rtp), SocketAddr::new(at(rtp).ip(), at(rtp).port() + 1)));
    InsideParty { described, security: LegSecurity::Plain, mux: false }
}

/// Where a packet for the client goes.
pub(super) fn goes(edge: &mut OutsideEngine, component: Component) -> Option<SocketAddr> {
    edge.handle_from_link(component).map(|way| way.to)
}

pub(super) fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 0];
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet
}

pub(super) fn receiver_report() -> Vec<u8> {
    vec![0x80, 201, 0, 1, 0, 0, 0, 9]
}

pub(super) fn protect(sender: &mut SrtpSender, component: Component, packet: &[u8]) -> Vec<u8> {
    let mut buffer = [packet, &[0; SRTCP_OVERHEAD_BYTES]].concat();
    let len = match component {
        Component::Rtp => sender.protect_rtp(&mut buffer, packet.len()).unwrap(),
        Component::Rtcp => sender.protect_rtcp(&mut buffer, packet.len()).unwrap(),
    };
    buffer.truncate(len);
    buffer
}

/// An edge and a core with a perfect link between them.
pub(super) struct Pair {
    pub(super) edge: OutsideEngine,
    pub(super) core: InsideEngine,
    pub(super) client: SrtpSender,
    pub(super) now: Moment,
}

impl Pair {
    pub(super) fn new(described: Option<&str>) -> Self {
        let now = Moment::ZERO;
        Self {
            edge: OutsideEngine::new(outside_rule(described, true), now),
            core: InsideEngine::new(inside_rule(Some(1), 2), random(1), now),
            client: SrtpSender::new(&key(1), random(2)),
            now,
        }
    }

    /// What the inside gets of a packet that comes to the edge.
    pub(super) fn inward(&mut self, socket: Component, source: SocketAddr, packet: &[u8]) -> Option<Vec<u8>> {
        self.inward_way(socket, source, packet).map(|(_, packet)| packet)
    }

    /// The same, and which way it goes there.
    pub(super) fn inward_way(
        &mut self,
        socket: Component,
        source: SocketAddr,
        packet: &[u8],
    ) -> Option<(Way, Vec<u8>)> {
        let passed = self.edge.handle_from_client(socket, source, packet, self.now).ok()?;
        let mut packet = packet.to_vec();
        let mark = (passed.candidate, passed.latched);
        let result = from_link(&mut self.core, passed.component, mark, &mut packet, self.now);
        if let Some(candidate) = result.latch {
            self.edge.latch(passed.component, candidate);
        }
        result.outcome.ok().map(|(way, _)| (way, packet))
    }
}

/// A packet from the link; it then holds what goes on.
pub(super) fn from_link(
    core: &mut InsideEngine,
    component: Component,
    mark: (u8, bool),
    packet: &mut Vec<u8>,
    now: Moment,
) -> FromLink {
    let len = packet.len();
    packet.resize(len + SRTCP_OVERHEAD_BYTES, 0);
    let result = core.handle_from_link(component, mark, packet, len, now);
    packet.truncate(result.outcome.map_or(len, |(_, len)| len));
    result
}

/// What the link gets of a packet that comes to the core from the inside, and as what.
pub(super) fn outward(
    core: &mut InsideEngine,
    socket: Component,
    source: &str,
    packet: &[u8],
) -> Result<(Component, Vec<u8>), DropReason> {
    let mut buffer = [packet, &[0; SRTCP_OVERHEAD_BYTES]].concat();
    let passed = core.handle_from_inside(socket, at(source), &mut buffer, packet.len(), Moment::ZERO)?;
    buffer.truncate(passed.len);
    Ok((passed.component, buffer))
}

#[test]
fn both_components_latch_alone_and_follow_the_client() {
    let mut pair = Pair::new(Some("192.168.1.5:7000"));
    assert_eq!(goes(&mut pair.edge, Component::Rtp), None, "a private address is not the TLS peer's");
    let (first, second) = (at("192.0.2.10:50000"), at("198.51.100.7:1234"));
    let packet = protect(&mut pair.client, Component::Rtp, &rtp(9, 1));
    assert_eq!(pair.inward(Component::Rtp, first, &packet), Some(rtp(9, 1)));
    assert_eq!(goes(&mut pair.edge, Component::Rtp), Some(first));
    assert_eq!(goes(&mut pair.edge, Component::Rtcp), None, "each component for itself");

    let report = protect(&mut pair.client, Component::Rtcp, &receiver_report());
    assert_eq!(pair.inward(Component::Rtcp, at("192.0.2.10:50007"), &report), Some(receiver_report()));
    assert_eq!(goes(&mut pair.edge, Component::Rtcp), Some(at("192.0.2.10:50007")));

    // Wi-Fi to LTE.
    let packet = protect(&mut pair.client, Component::Rtp, &rtp(9, 2));
    assert!(pair.inward(Component::Rtp, second, &packet).is_some());
    assert_eq!(goes(&mut pair.edge, Component::Rtp), Some(second));
    // A replay from the old place, and a packet that was late, move nothing.
    assert_eq!(pair.inward(Component::Rtp, first, &packet), None);
    let late = protect(&mut pair.client, Component::Rtp, &rtp(9, 3));
    let newer = protect(&mut pair.client, Component::Rtp, &rtp(9, 4));
    pair.inward(Component::Rtp, second, &newer);
    assert!(pair.inward(Component::Rtp, first, &late).is_some(), "authentic, so let through");
    assert_eq!(goes(&mut pair.edge, Component::Rtp), Some(second));
    assert_eq!(pair.core.counters().replayed, 1);
}

#[test]
fn before_the_latch_only_the_tls_peers_own_host_is_sent_to() {
    for (described, expected) in
        [(Some("192.0.2.10:7000"), Some("192.0.2.10:7000")), (Some("203.0.113.9:7000"), None), (None, None)]
    {
        let mut edge = OutsideEngine::new(outside_rule(described, true), Moment::ZERO);
        assert_eq!(goes(&mut edge, Component::Rtp), expected.map(at));
        assert_eq!(edge.counters().too_early, u64::from(expected.is_none()));
    }
}

#[test]
fn a_new_place_on_the_tls_peers_host_is_taken_at_its_word() {
    let mut pair = Pair::new(Some("192.0.2.10:7000"));
    let packet = protect(&mut pair.client, Component::Rtp, &rtp(9, 1));
    pair.inward(Component::Rtp, at("192.0.2.10:7777"), &packet);
    pair.edge.update(outside_rule(None, true));
    assert_eq!(pair.edge.target(Component::Rtp), Some(at("192.0.2.10:7777")), "a hold forgets nothing");
    pair.edge.update(outside_rule(Some("192.0.2.10:7000"), true));
    assert_eq!(pair.edge.target(Component::Rtp), Some(at("192.0.2.10:7777")), "nothing new was described");
    pair.edge.update(outside_rule(Some("203.0.113.66:9"), true));
    assert_eq!(pair.edge.target(Component::Rtp), Some(at("192.0.2.10:7777")), "that host must prove itself");
    pair.edge.update(outside_rule(Some("192.0.2.10:8000"), true));
    assert_eq!(pair.edge.target(Component::Rtp), Some(at("192.0.2.10:8000")));
}

#[test]
fn a_plain_leg_learns_once_per_description() {
    let mut edge = OutsideEngine::new(outside_rule(Some("192.168.1.5:7000"), false), Moment::ZERO);
    let packet = rtp(9, 1);
    let take = |edge: &mut OutsideEngine, source: &str| {
        edge.handle_from_client(Component::Rtp, at(source), &packet, Moment::ZERO)
    };
    assert_eq!(take(&mut edge, "203.0.113.66:9"), Err(DropReason::WrongSource));
    assert!(take(&mut edge, "192.0.2.10:50000").is_ok());
    assert_eq!(take(&mut edge, "192.0.2.10:50002"), Err(DropReason::WrongSource), "the first one wins");
    assert_eq!(goes(&mut edge, Component::Rtp), Some(at("192.0.2.10:50000")));
    edge.update(outside_rule(Some("192.168.1.5:7000"), false));
    assert_eq!(goes(&mut edge, Component::Rtp), Some(at("192.0.2.10:50000")), "until the new one speaks");
    assert!(take(&mut edge, "192.0.2.10:50002").is_ok());
    assert_eq!(take(&mut edge, "192.0.2.10:50000"), Err(DropReason::WrongSource));
    assert_eq!(goes(&mut edge, Component::Rtp), Some(at("192.0.2.10:50002")));
}

#[test]
fn junk_takes_nothing_from_the_allowance() {
    let mut edge = OutsideEngine::new(outside_rule(None, true), Moment::ZERO);
    for junk in [&b""[..], &[0x80; 15], &[0x01; 100], &[0x80; PACKET_BYTES_MAX + 1]] {
        let outcome = edge.handle_from_client(Component::Rtp, at("192.0.2.10:5"), junk, Moment::ZERO);
        assert_eq!(outcome, Err(DropReason::Malformed));
    }
    let passed = (0..100)
        .filter(|_| edge.handle_from_client(Component::Rtp, at("192.0.2.10:5"), &[0x80; 60], Moment::ZERO).is_ok());
    assert_eq!(passed.count(), 10);
    assert_eq!((edge.counters().other_drops, edge.counters().wrong_source), (4, 90));
}

#[test]
fn keys_come_change_and_stay() {
    let now = Moment::ZERO;
    let mut core = InsideEngine::new(inside_rule(None, 2), random(1), now);
    let mut client = SrtpSender::new(&key(1), random(2));
    let send = |core: &mut InsideEngine, client: &mut SrtpSender, sequence, now| {
        let mut packet = protect(client, Component::Rtp, &rtp(9, sequence));
        from_link(core, Component::Rtp, (5, false), &mut packet, now)
    };
    assert_eq!(send(&mut core, &mut client, 1, now).outcome, Err(DropReason::TooEarly));
    core.update(inside_rule(Some(1), 2), now);
    let taken = send(&mut core, &mut client, 2, now);
    assert_eq!((taken.latch, taken.outcome.is_ok()), (Some(5), true));

    // The same keys again keep the contexts: a replay stays a replay, the RTCP index goes on.
    let mut packet = protect(&mut client, Component::Rtp, &rtp(9, 3));
    let mut again = packet.clone();
    from_link(&mut core, Component::Rtp, (5, true), &mut packet, now);
    core.update(inside_rule(Some(1), 2), now);
    assert_eq!(from_link(&mut core, Component::Rtp, (5, true), &mut again, now).outcome, Err(DropReason::Replayed));

    // A new key: the old one still opens for a moment, but proves nothing.
    core.update(inside_rule(Some(3), 2), now);
    let mut rekeyed = SrtpSender::new(&key(3), random(2));
    let old = send(&mut core, &mut client, 4, now + Duration::from_secs(1));
    assert_eq!((old.latch, old.outcome.is_ok()), (None, true));
    assert!(send(&mut core, &mut rekeyed, 5, now + Duration::from_secs(1)).outcome.is_ok());
    let old = send(&mut core, &mut client, 6, now + Duration::from_secs(2));
    assert_eq!(old.outcome, Err(DropReason::Unauthenticated));
}

#[test]
fn the_inside_is_taken_at_its_description_only() {
    let mut core = InsideEngine::new(inside_rule(Some(1), 2), random(1), Moment::ZERO);
    let mut client = SrtpReceiver::new(&key(2));
    let refused = outward(&mut core, Component::Rtp, "10.0.0.8:5004", &rtp(3, 77)).unwrap_err();
    assert_eq!(refused, DropReason::WrongSource);
    let (_, mut packet) = outward(&mut core, Component::Rtp, "10.0.0.7:5004", &rtp(3, 77)).unwrap();
    let opened = client.unprotect_rtp(&mut packet).unwrap();
    assert_eq!(packet[..opened.len], rtp(3, 77));
    let counters = core.counters();
    assert_eq!((counters.outward, counters.wrong_source), (1, 1));
}

#[test]
fn a_silent_client_is_told_of_once() {
    let mut rule = inside_rule(None, 2);
    let mut core = InsideEngine::new(rule.clone(), random(1), Moment::ZERO);
    assert!(!core.take_client_silent(Moment::from_secs(60)), "not complete yet");
    rule.outside = LegSecurity::Srtp { receive: key(1), send: key(2) };
    core.update(rule, Moment::from_secs(60));
    assert!(!core.take_client_silent(Moment::from_secs(62)));
    assert!(core.take_client_silent(Moment::from_secs(63)));
    assert!(!core.take_client_silent(Moment::from_secs(64)));
}

/// One thing that happens around a relay.
#[derive(Clone, Debug)]
enum Step {
    /// The client sends; each packet is delivered, lost, or held back by the network.
    ClientSends {
        delivered: bool,
    },
    /// Its NAT gives it another address.
    ClientMoves(u8),
    /// The attacker sends on something it saw.
    Replay {
        packet: usize,
        attacker: u8,
    },
    /// Or something it made up.
    Forge {
        packet: usize,
        byte: usize,
        attacker: u8,
    },
    /// A packet held back arrives at last, by way of the attacker.
    Late {
        packet: usize,
        attacker: u8,
    },
    /// The command to latch is lost once.
    LoseLatch,
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<bool>().prop_map(|delivered| Step::ClientSends { delivered }),
        1 => (0u8..4).prop_map(Step::ClientMoves),
        3 => (any::<usize>(), any::<u8>()).prop_map(|(packet, attacker)| Step::Replay { packet, attacker }),
        3 => (any::<usize>(), any::<usize>(), any::<u8>())
            .prop_map(|(packet, byte, attacker)| Step::Forge { packet, byte, attacker }),
        3 => (any::<usize>(), any::<u8>()).prop_map(|(packet, attacker)| Step::Late { packet, attacker }),
        1 => Just(Step::LoseLatch),
        2 => (1u16..2_000).prop_map(Step::Wait),
    ]
}

/// The attacker's sources: half of them on the TLS peer's host, as behind a shared NAT.
fn attacker_at(number: u8) -> SocketAddr {
    if number & 1 == 0 {
        SocketAddr::new("203.0.113.66".parse().unwrap(), 2_000 + u16::from(number))
    } else {
        SocketAddr::new(TLS_PEER.parse().unwrap(), 2_000 + u16::from(number))
    }
}

fn client_at(number: u8) -> SocketAddr {
    SocketAddr::new("198.51.100.1".parse().unwrap(), 1_000 + u16::from(number))
}

/// A relay, what the client has sent so far, and what the inside has got.
struct Attack {
    pair: Pair,
    place: u8,
    sequence: u16,
    seen: Vec<Vec<u8>>,
    /// Packets never delivered, with their sequence numbers.
    held: Vec<(u16, Vec<u8>)>,
    newest_delivered: Option<u16>,
    got: BTreeSet<Vec<u8>>,
    sent: BTreeSet<Vec<u8>>,
    lose_latch: bool,
}

impl Attack {
    fn deliver(&mut self, source: SocketAddr, packet: &[u8]) -> bool {
        let pair = &mut self.pair;
        let Ok(passed) = pair.edge.handle_from_client(Component::Rtp, source, packet, pair.now) else { return false };
        let mut packet = packet.to_vec();
        let mark = (passed.candidate, passed.latched);
        let result = from_link(&mut pair.core, Component::Rtp, mark, &mut packet, pair.now);
        if let Some(candidate) = result.latch
            && !std::mem::take(&mut self.lose_latch)
        {
            pair.edge.latch(Component::Rtp, candidate);
        }
        if result.outcome.is_ok() {
            assert!(self.sent.contains(&packet), "injected");
            assert!(self.got.insert(packet), "delivered twice");
        }
        result.outcome.is_ok()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::ClientSends { delivered } => self.client_sends(delivered),
            Step::ClientMoves(place) => self.place = place,
            Step::Replay { packet, attacker } if !self.seen.is_empty() => {
                let packet = self.seen[packet % self.seen.len()].clone();
                assert!(!self.deliver(attacker_at(attacker), &packet), "a replay got through");
            }
            Step::Forge { packet, byte, attacker } if !self.seen.is_empty() => {
                let mut packet = self.seen[packet % self.seen.len()].clone();
                let byte = byte % packet.len();
                packet[byte] ^= 0x11;
                assert!(!self.deliver(attacker_at(attacker), &packet), "a forgery got through");
            }
            Step::Late { packet, attacker } => self.late(packet, attacker),
            Step::LoseLatch => self.lose_latch = true,
            Step::Wait(ms) => self.pair.now = self.pair.now + Duration::from_millis(u64::from(ms)),
            Step::Replay { .. } | Step::Forge { .. } => {}
        }
        for component in [Component::Rtp, Component::Rtcp] {
            let target = self.pair.edge.target(component);
            assert!(target.is_none_or(|target| (0..4).any(|n| client_at(n) == target)), "sent to {target:?}");
        }
    }

    fn client_sends(&mut self, delivered: bool) {
        self.sequence += 1;
        let clear = rtp(9, self.sequence);
        let packet = protect(&mut self.pair.client, Component::Rtp, &clear);
        self.sent.insert(clear);
        if !delivered {
            self.held.push((self.sequence, packet));
        } else if self.deliver(client_at(self.place), &packet) {
            self.newest_delivered = Some(self.sequence);
            self.seen.push(packet);
        }
    }

    fn late(&mut self, packet: usize, attacker: u8) {
        // Only what is older than something delivered: whoever can withhold the newest packet and
        // send it on first is the network, and no latch can tell.
        let newest = self.newest_delivered;
        let late: Vec<usize> = (0..self.held.len()).filter(|&n| Some(self.held[n].0) < newest).collect();
        if let Some(&at) = late.get(packet % late.len().max(1)) {
            let (_, packet) = self.held.remove(at);
            if self.deliver(attacker_at(attacker), &packet) {
                self.seen.push(packet);
            }
        }
    }
}

proptest! {
    /// DESIGN §4: replayed, forged and late packets never move a latch; whoever sends them is sent
    /// nothing and gets nothing of its own inside; the inside gets each packet once.
    #[test]
    fn nobody_without_the_key_moves_the_latch(steps in proptest::collection::vec(step(), 1..150)) {
        let mut attack = Attack {
            pair: Pair::new(Some("192.168.1.5:7000")),
            place: 0,
            sequence: 0,
            seen: Vec::new(),
            held: Vec::new(),
            newest_delivered: None,
            got: BTreeSet::new(),
            sent: BTreeSet::new(),
            lose_latch: false,
        };
        for step in steps {
            attack.step(step);
        }
    }
}

#[test]
fn a_sprayer_neither_gets_nor_injects_nor_keeps_the_client_out() {
    let mut pair = Pair::new(None);
    let client = at("192.0.2.10:50000");
    for ms in 0..10_000u64 {
        pair.now = Moment::from_millis(ms);
        for n in 0..10u16 {
            let source = SocketAddr::new("203.0.113.66".parse().unwrap(), 1_024 + n + (ms % 1_000) as u16 * 10);
            assert_eq!(pair.inward(Component::Rtp, source, &[0x80; 172]), None);
        }
        if ms == 5_000 {
            let packet = protect(&mut pair.client, Component::Rtp, &rtp(9, 1));
            assert!(pair.inward(Component::Rtp, client, &packet).is_some());
        }
        let expected = if ms >= 5_000 { Some(client) } else { None };
        assert_eq!(pair.edge.target(Component::Rtp), expected);
    }
    let reached_the_core = pair.core.counters().unauthenticated;
    assert!(reached_the_core <= 210, "20 a second and one burst: {reached_the_core}");
}
