//! No (key, SSRC, index) twice, whatever a call goes through: random schedules of sending,
//! forks, holds, transfers, re-keys, changes of suite and restarts.
//!
//! The oracle is independent of the sender: for each key there is one receiver that misses nothing,
//! and what it says about each packet goes into one set.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use edgeway_model::media::{
    Carriage, Component, CryptoSuite, InsideParty, InsideRelay, LegSecurity, PortPair, SrtpKey,
};
use edgeway_model::{Moment, NodeId, Random, RelayId};

use super::{DropReason, InsideEngine};
use crate::limits::{SEND_KEYS_MAX, SRTCP_OVERHEAD_BYTES};
use crate::srtp::{SrtpFault, SrtpReceiver, SrtpSender};

/// How many schedules run, unless `EDGEWAY_SCHEDULES` says otherwise.
const SCHEDULES: u64 = 500;
const STEPS: u64 = 40;
/// Parties that may ever take part, and SSRCs they choose from: collisions are the point.
const PARTIES: u64 = 6;
const SSRCS: u64 = 5;

/// A party inside: where it is, and what it sends with.
struct Phone {
    place: SocketAddr,
    ssrc: u32,
    sequence: u16,
    /// Its own key and sender, per suite in use.
    srtp: Option<(SrtpKey, SrtpSender)>,
}

struct Call {
    random: Random,
    engine: InsideEngine,
    now: Moment,
    phones: Vec<Phone>,
    /// Which phones are heard; the first is sent to.
    heard: Vec<usize>,
    our_outside: Vec<SrtpKey>,
    our_inside: Vec<SrtpKey>,
    outside_suite: usize,
    client: (SrtpKey, SrtpSender),
    client_sequence: u16,
    client_ssrc: u32,
    receivers: BTreeMap<Vec<u8>, SrtpReceiver>,
    seen: BTreeSet<(Vec<u8>, bool, u32, u64)>,
}

fn keys(random: &mut Random) -> Vec<SrtpKey> {
    CryptoSuite::ALL.map(|suite| SrtpKey::generate(suite, random)).to_vec()
}

fn client(random: &mut Random) -> (SrtpKey, SrtpSender) {
    let suite = CryptoSuite::ALL[random.below(4) as usize];
    let key = SrtpKey::generate(suite, random);
    let sender = SrtpSender::new(&key, random.split());
    (key, sender)
}

impl Call {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut random = Random::from_seed(bytes);
        let phones = (0..PARTIES)
            .map(|n| Phone {
                place: SocketAddr::from(([10, 0, 0, 10 + n as u8], 5_000)),
                ssrc: random.below(SSRCS) as u32,
                sequence: random.next_u64() as u16,
                srtp: (random.below(2) == 0).then(|| client(&mut random)),
            })
            .collect();
        let (our_outside, our_inside) = (keys(&mut random), keys(&mut random));
        let mut call = Self {
            engine: InsideEngine::new(rule_without_parties(), random.split(), Moment::ZERO),
            now: Moment::ZERO,
            phones,
            heard: vec![0],
            our_outside,
            our_inside,
            outside_suite: random.below(4) as usize,
            client: client(&mut random),
            client_sequence: random.next_u64() as u16,
            client_ssrc: random.below(SSRCS) as u32,
            receivers: BTreeMap::new(),
            seen: BTreeSet::new(),
            random,
        };
        call.publish();
        call
    }

    fn party(&self, number: usize) -> InsideParty {
        let phone = &self.phones[number];
        let security = match &phone.srtp {
            Some((key, _)) => LegSecurity::Srtp {
                receive: key.clone(),
                // Forks answer one offer: whoever takes the same suite is sent to under the same key.
                send: self.our_inside.iter().find(|ours| ours.suite() == key.suite()).unwrap().clone(),
            },
            None => LegSecurity::Plain,
        };
        let rtcp = SocketAddr::new(phone.place.ip(), phone.place.port() + 1);
        InsideParty { described: Some((phone.place, rtcp)), security, mux: false }
    }

    fn rule(&self) -> InsideRelay {
        let early = self.heard[1..].iter().map(|number| self.party(*number)).collect();
        let outside =
            LegSecurity::Srtp { receive: self.client.0.clone(), send: self.our_outside[self.outside_suite].clone() };
        InsideRelay { party: self.party(self.heard[0]), early, outside, ..rule_without_parties() }
    }

    fn publish(&mut self) {
        self.engine.update(self.rule(), self.now);
    }

    fn step(&mut self) {
        let pick = self.random.below(PARTIES) as usize;
        match self.random.below(20) {
            0..=6 => self.inside_sends(),
            7..=9 => self.client_sends(),
            10 => self.jump(pick),
            11 => {
                // A fork rings, another falls silent.
                if !self.heard.contains(&pick) {
                    self.heard.push(pick);
                    self.heard.truncate(3);
                }
            }
            12 => {
                // One of them answers, or the call is transferred, or comes back from hold music.
                self.heard.retain(|heard| *heard != pick);
                self.heard.insert(0, pick);
                self.heard.truncate(1 + self.random.below(3) as usize);
            }
            13 => {
                let mut held = self.rule();
                held.party.described = None;
                self.engine.update(held, self.now);
                self.inside_sends();
            }
            14 => self.client = client(&mut self.random),
            15 => self.outside_suite = self.random.below(4) as usize,
            16 => {
                self.phones[pick].srtp = (self.random.below(2) == 0).then(|| client(&mut self.random));
            }
            17 => self.phones[pick].place.set_port(5_000 + 2 * self.random.below(4) as u16),
            18 => self.now = self.now + Duration::from_millis(self.random.below(3_000)),
            _ => self.restart(),
        }
        self.publish();
    }

    /// A core that starts again, or a peer that takes over: keys are fresh, and nothing else is.
    fn restart(&mut self) {
        self.our_outside = keys(&mut self.random);
        self.our_inside = keys(&mut self.random);
        // Sometimes only the keys are renewed, in the relay as it is.
        if self.random.below(2) == 0 {
            self.engine = InsideEngine::new(self.rule(), self.random.split(), self.now);
        }
    }

    fn jump(&mut self, phone: usize) {
        let phone = &mut self.phones[phone];
        match self.random.below(4) {
            0 => phone.sequence = self.random.next_u64() as u16,
            1 => phone.sequence = phone.sequence.wrapping_sub(self.random.below(200) as u16),
            2 => phone.sequence = phone.sequence.wrapping_add(self.random.below(40_000) as u16),
            _ => phone.ssrc = self.random.below(SSRCS) as u32,
        }
    }

    fn inside_sends(&mut self) {
        let number = self.heard[self.random.below(self.heard.len() as u64) as usize];
        for _ in 0..=self.random.below(12) {
            let component = if self.random.below(8) == 0 { Component::Rtcp } else { Component::Rtp };
            let phone = &mut self.phones[number];
            let mut packet = clear(component, phone.ssrc, phone.sequence);
            phone.sequence = phone.sequence.wrapping_add(u16::from(component == Component::Rtp));
            let len = protect(phone.srtp.as_mut().map(|(_, sender)| sender), component, &mut packet);
            let Some(len) = len else { continue };
            let mut source = phone.place;
            source.set_port(source.port() + u16::from(component == Component::Rtcp));
            let sent = self.engine.handle_from_inside(component, source, &mut packet, len, self.now);
            if let Ok(sent) = sent {
                let key = self.our_outside[self.outside_suite].clone();
                self.check(&key, component, &packet[..sent.len]);
            }
        }
    }

    fn client_sends(&mut self) {
        for _ in 0..=self.random.below(12) {
            let component = if self.random.below(8) == 0 { Component::Rtcp } else { Component::Rtp };
            let mut packet = clear(component, self.client_ssrc, self.client_sequence);
            self.client_sequence = self.client_sequence.wrapping_add(1 + self.random.below(3) as u16);
            let Some(len) = protect(Some(&mut self.client.1), component, &mut packet) else { continue };
            let result = self.engine.handle_from_link(component, (0, true), &mut packet, len, self.now);
            let party = self.party(self.heard[0]);
            if let (Ok((_, len)), LegSecurity::Srtp { send, .. }) = (result.outcome, party.security) {
                self.check(&send, component, &packet[..len]);
            }
        }
    }

    fn check(&mut self, key: &SrtpKey, component: Component, packet: &[u8]) {
        let name = [key.suite().name().as_bytes(), key.key_and_salt()].concat();
        let receiver = self.receivers.entry(name.clone()).or_insert_with(|| SrtpReceiver::new(key));
        let mut packet = packet.to_vec();
        let opened = match component {
            Component::Rtp => receiver.unprotect_rtp(&mut packet),
            Component::Rtcp => receiver.unprotect_rtcp(&mut packet),
        };
        match opened {
            Ok(opened) => {
                let fresh = self.seen.insert((name, component == Component::Rtp, opened.ssrc, opened.index));
                assert!(fresh, "({:?}, {:#x}, {}) twice", key.suite(), opened.ssrc, opened.index);
            }
            // The receiver's own bound, not ours.
            Err(SrtpFault::TooManySources) => {}
            Err(fault) => panic!("a receiver that missed nothing cannot follow: {fault}"),
        }
    }
}

fn rule_without_parties() -> InsideRelay {
    InsideRelay {
        peer: NodeId::new("edge1").unwrap(),
        relay: RelayId(1),
        ports: PortPair { rtp: 36_000 },
        party: InsideParty { described: None, security: LegSecurity::Awaited, mux: false },
        early: Vec::new(),
        outside: LegSecurity::Awaited,
        carriage: Carriage::Rtp,
        client_timeout: None,
    }
}

/// A packet in clear, with room behind it.
fn clear(component: Component, ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = match component {
        Component::Rtp => vec![0x80, 0, 0, 0, 0, 0, 0, 0],
        Component::Rtcp => vec![0x80, 201, 0, 1],
    };
    packet.extend_from_slice(&ssrc.to_be_bytes());
    if component == Component::Rtp {
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(b"payload");
    }
    packet.extend_from_slice(&[0; 2 * SRTCP_OVERHEAD_BYTES]);
    packet
}

/// The length of what is then sent. A sender that falls silent sends nothing.
fn protect(sender: Option<&mut SrtpSender>, component: Component, packet: &mut [u8]) -> Option<usize> {
    let len = packet.len() - 2 * SRTCP_OVERHEAD_BYTES;
    match (sender, component) {
        (None, _) => Some(len),
        (Some(sender), Component::Rtp) => sender.protect_rtp(packet, len).ok(),
        (Some(sender), Component::Rtcp) => sender.protect_rtcp(packet, len).ok(),
    }
}

#[test]
fn no_keystream_is_used_twice_in_any_call() {
    // The one test that listens: how long a search goes on is the business of whoever starts it.
    #[allow(clippy::disallowed_methods)]
    let wanted = std::env::var("EDGEWAY_SCHEDULES").ok().and_then(|text| text.parse().ok());
    let mut packets = 0;
    for seed in 0..wanted.unwrap_or(SCHEDULES) {
        let outcome = std::panic::catch_unwind(|| {
            let mut call = Call::new(seed);
            (0..STEPS).for_each(|_| call.step());
            call.seen.len()
        });
        match outcome {
            Ok(seen) => packets += seen,
            Err(_) => panic!("schedule {seed}"),
        }
    }
    assert!(packets as u64 > 20 * wanted.unwrap_or(SCHEDULES), "{packets} packets went out: too few to prove anything");
}

#[test]
fn a_key_that_comes_back_goes_on_where_it_stopped() {
    let mut call = Call::new(1);
    call.phones[0].srtp = None;
    call.heard = vec![0];
    for suite in [0, 1, 0, 2, 0, 3, 0] {
        call.outside_suite = suite;
        // The phone repeats itself: only the sender can tell that the key has seen this.
        call.phones[0].sequence = 100;
        call.publish();
        (0..5).for_each(|_| call.inside_sends());
    }
    assert!(call.seen.len() > 20);
}

#[test]
fn a_relay_that_has_used_up_its_keys_falls_silent() {
    let mut call = Call::new(1);
    call.phones[0].srtp = None;
    let source = call.phones[0].place;
    let mut outcomes = Vec::new();
    for sequence in 0..=SEND_KEYS_MAX as u16 + 2 {
        call.our_outside = keys(&mut call.random);
        call.publish();
        let mut packet = clear(Component::Rtp, 5, sequence);
        let len = packet.len() - 2 * SRTCP_OVERHEAD_BYTES;
        outcomes.push(call.engine.handle_from_inside(Component::Rtp, source, &mut packet, len, call.now).err());
    }
    assert_eq!(outcomes.last(), Some(&Some(DropReason::OverBound)));
    assert!(outcomes.iter().filter(|outcome| outcome.is_none()).count() >= SEND_KEYS_MAX - 2);
}
