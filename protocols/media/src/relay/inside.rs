//! The core's half of a relay: the client's leg, by way of the link, on one side, the parties
//! inside on the other.

use std::net::SocketAddr;

use edgeway_model::limits::EARLY_PARTIES_MAX;
use edgeway_model::media::{Carriage, Component, InsideParty, InsideRelay, LegSecurity, RelayCounters};
use edgeway_model::{Moment, Random};

use super::arrivals::Arrivals;
use super::leg::{Leg, Proof, Senders};
use super::{DropReason, Way};
use crate::limits::{CLIENT_SILENT_AFTER, LATCHED_ALIVE};
use crate::rtcp;
use crate::srtp::Party;

/// Opens what comes from either side and protects what goes to the other.
///
/// Several parties inside may send (early dialogs of forks); they are told apart by the address
/// they are described with, each with its own cryptography and its own sources towards the client.
/// What the client sends goes to the first party alone.
///
/// Invariants: the inside gets only authenticated packets, each once; a candidate is latched only
/// by an authenticated packet newer than any seen, and by the first packet of a new source only while
/// the latched one is silent; nothing is sent inside before the party there
/// is described, and nothing is taken from any other address; no (key, SSRC, index) goes out twice.
pub struct InsideEngine {
    rule: InsideRelay,
    outside: Leg,
    /// Never empty: the first is [`InsideRelay::party`].
    parties: Vec<PartyState>,
    next_party: Party,
    senders: Senders,
    counters: RelayCounters,
    /// Of the client, and of the inside.
    arrivals: [Arrivals; 2],
    complete_since: Option<Moment>,
    /// The last authentic packet of the client.
    heard: Option<Moment>,
    silence_told: bool,
    /// When the latched source was last heard with an authentic packet: RTP, RTCP.
    latched_alive: [Option<Moment>; 2],
    /// Since when silence counts towards the timeout.
    quiet_since: Moment,
    timeout_told: bool,
}

/// One party inside.
struct PartyState {
    number: Party,
    described: Option<(SocketAddr, SocketAddr)>,
    mux: bool,
    leg: Leg,
}

/// What becomes of a packet from the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromLink {
    /// Tell the edge that this candidate is proven.
    pub latch: Option<u8>,
    /// Send so many bytes of the buffer this way inside; a drop is already counted.
    pub outcome: Result<(Way, usize), DropReason>,
}

/// What becomes of a packet from the inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromInside {
    /// What it is, whatever port it came to.
    pub component: Component,
    /// Bytes of the buffer that go on the link.
    pub len: usize,
}

impl InsideEngine {
    /// A relay with fresh contexts. `random` chooses outgoing SSRCs.
    #[must_use]
    pub fn new(rule: InsideRelay, random: Random, now: Moment) -> Self {
        let mut senders = Senders::new(random);
        let outside = Leg::new(&rule.outside, &mut senders, now);
        let mut engine = Self {
            rule,
            outside,
            parties: Vec::new(),
            next_party: Party::default(),
            senders,
            counters: RelayCounters::default(),
            arrivals: Default::default(),
            complete_since: None,
            heard: None,
            silence_told: false,
            latched_alive: [None; 2],
            quiet_since: now,
            timeout_told: false,
        };
        engine.settle_parties(now);
        engine.note_completeness(now);
        engine
    }

    /// The rule in force.
    #[must_use]
    pub fn rule(&self) -> &InsideRelay {
        &self.rule
    }

    /// Counters since the start.
    #[must_use]
    pub fn counters(&self) -> RelayCounters {
        let [inward, outward] = &self.arrivals;
        RelayCounters { lost_inward: inward.lost(), lost_outward: outward.lost(), ..self.counters }
    }

    /// A new rule for the same relay. A key that did not change keeps its contexts; a party is known
    /// again by its description, and the first one by its place.
    pub fn update(&mut self, rule: InsideRelay, now: Moment) {
        if self.rule.client_timeout != rule.client_timeout {
            self.quiet_since = now;
        }
        self.outside.update(&rule.outside, &mut self.senders, now);
        self.rule = rule;
        self.settle_parties(now);
        self.note_completeness(now);
    }

    /// A packet of `len` bytes came over the link from `candidate`; `latched` tells whether the edge
    /// already sends there. It is worked on in place, and may grow by
    /// [`crate::limits::SRTCP_OVERHEAD_BYTES`] in `buffer`.
    pub fn handle_from_link(
        &mut self,
        component: Component,
        (candidate, latched): (u8, bool),
        buffer: &mut [u8],
        len: usize,
        now: Moment,
    ) -> FromLink {
        let (latch, outcome) = match self.open_outside(component, buffer, len, now) {
            Ok((len, proof)) => {
                let latch = self.weigh_proof(component, proof, latched, now).then_some(candidate);
                (latch, self.protect_inside(component, buffer, len))
            }
            Err(reason) => (None, Err(reason)),
        };
        match outcome {
            Ok(_) => self.counters.inward += 1,
            Err(reason) => reason.count(&mut self.counters),
        }
        FromLink { latch, outcome }
    }

    /// A packet came from the inside to `socket` into `buffer[..len]`; protects it in place. It may
    /// grow by [`crate::limits::SRTCP_OVERHEAD_BYTES`].
    ///
    /// # Errors
    /// [`DropReason`], already counted.
    pub fn handle_from_inside(
        &mut self,
        socket: Component,
        source: SocketAddr,
        buffer: &mut [u8],
        len: usize,
        now: Moment,
    ) -> Result<FromInside, DropReason> {
        let outcome = self.pass_outwards(socket, source, buffer, len, now);
        match outcome {
            Ok(_) => self.counters.outward += 1,
            Err(reason) => reason.count(&mut self.counters),
        }
        outcome
    }

    /// A packet that could not be sent after all.
    pub fn count_send_failure(&mut self) {
        self.counters.other_drops += 1;
    }

    /// Whether the client has stayed silent for [`CLIENT_SILENT_AFTER`] since the relay was
    /// complete; `true` once.
    pub fn take_client_silent(&mut self, now: Moment) -> bool {
        let silent_at = self.complete_since.filter(|_| self.heard.is_none()).map(|since| since + CLIENT_SILENT_AFTER);
        let silent = !self.silence_told && silent_at.is_some_and(|at| at <= now);
        self.silence_told |= silent;
        silent
    }

    /// Whether nothing authentic came from the client for [`InsideRelay::client_timeout`]; `true`
    /// once, and again only after it was heard.
    pub fn take_client_timed_out(&mut self, now: Moment) -> bool {
        let (Some(timeout), Some(complete)) = (self.rule.client_timeout, self.complete_since) else { return false };
        let since = self.quiet_since.max(complete).max(self.heard.unwrap_or_default());
        let timed_out = !self.timeout_told && now.since(since) >= timeout;
        self.timeout_told |= timed_out;
        timed_out
    }

    fn open_outside(
        &mut self,
        component: Component,
        buffer: &mut [u8],
        len: usize,
        now: Moment,
    ) -> Result<(usize, Proof), DropReason> {
        let packet = buffer.get_mut(..len).ok_or(DropReason::Malformed)?;
        let (len, proof) = match self.rule.carriage {
            Carriage::Datagrams => (check_datagram(component, packet)?, Proof::Nothing),
            Carriage::Rtp => {
                let clear = self.outside.open(&mut self.senders, component, packet, now)?;
                if component == Component::Rtp {
                    self.arrivals[0].note(&packet[..clear.len]);
                }
                (clear.len, clear.proof)
            }
        };
        self.heard = Some(now);
        self.timeout_told = false;
        Ok((len, proof))
    }

    /// Whether an authentic packet shows that its source is to be sent to from now on.
    fn weigh_proof(&mut self, component: Component, proof: Proof, latched: bool, now: Moment) -> bool {
        let alive = match component {
            Component::Rtp => &mut self.latched_alive[0],
            Component::Rtcp => &mut self.latched_alive[1],
        };
        if latched {
            *alive = Some(now);
            return false;
        }
        match proof {
            Proof::Nothing => false,
            Proof::KeyNow => true,
            Proof::Key => alive.is_none_or(|alive| now.since(alive) >= LATCHED_ALIVE),
        }
    }

    fn protect_inside(
        &mut self,
        component: Component,
        buffer: &mut [u8],
        len: usize,
    ) -> Result<(Way, usize), DropReason> {
        let party = self.parties.first().ok_or(DropReason::TooEarly)?;
        let way = Way::of(component, party.described, party.mux).ok_or(DropReason::TooEarly)?;
        let len = match self.rule.carriage {
            Carriage::Datagrams => len,
            Carriage::Rtp => party.leg.protect(&mut self.senders, component, Party::default(), buffer, len)?,
        };
        Ok((way, len))
    }

    fn pass_outwards(
        &mut self,
        socket: Component,
        source: SocketAddr,
        buffer: &mut [u8],
        len: usize,
        now: Moment,
    ) -> Result<FromInside, DropReason> {
        let packet = buffer.get_mut(..len).ok_or(DropReason::Malformed)?;
        if self.parties.iter().all(|party| party.described.is_none()) {
            return Err(DropReason::TooEarly);
        }
        let party = self.parties.iter_mut().find(|party| party.sends_from(socket, source));
        let party = party.ok_or(DropReason::WrongSource)?;
        if self.rule.carriage == Carriage::Datagrams {
            return Ok(FromInside { component: socket, len: check_datagram(socket, packet)? });
        }
        let component = if party.mux && rtcp::is_rtcp(packet) { Component::Rtcp } else { socket };
        let clear = party.leg.open(&mut self.senders, component, packet, now)?;
        if component == Component::Rtp {
            self.arrivals[1].note(&packet[..clear.len]);
        }
        let len = self.outside.protect(&mut self.senders, component, party.number, buffer, clear.len)?;
        Ok(FromInside { component, len })
    }

    /// Brings the parties in line with the rule. Whoever is still there keeps its state.
    fn settle_parties(&mut self, now: Moment) {
        let mut old: Vec<Option<PartyState>> = std::mem::take(&mut self.parties).into_iter().map(Some).collect();
        let wanted: Vec<&InsideParty> =
            std::iter::once(&self.rule.party).chain(self.rule.early.iter().take(EARLY_PARTIES_MAX)).collect();
        let mut kept: Vec<Option<PartyState>> = wanted
            .iter()
            .map(|wanted| {
                let place = wanted.described?;
                old.iter_mut().find(|old| old.as_ref().is_some_and(|old| old.described == Some(place)))?.take()
            })
            .collect();
        if let (Some(first @ None), Some(before)) = (kept.first_mut(), old.first_mut()) {
            *first = before.take();
        }
        for (wanted, kept) in wanted.into_iter().zip(kept) {
            let party = match kept {
                Some(mut party) => {
                    party.leg.update(&wanted.security, &mut self.senders, now);
                    PartyState { described: wanted.described, mux: wanted.mux, ..party }
                }
                None => {
                    let number = self.next_party;
                    self.next_party = Party(number.0.wrapping_add(1));
                    let leg = Leg::new(&wanted.security, &mut self.senders, now);
                    PartyState { number, described: wanted.described, mux: wanted.mux, leg }
                }
            };
            self.parties.push(party);
        }
        debug_assert!((1..=EARLY_PARTIES_MAX + 1).contains(&self.parties.len()));
    }

    fn note_completeness(&mut self, now: Moment) {
        let complete = self.rule.outside != LegSecurity::Awaited && self.rule.party.described.is_some();
        self.complete_since = if complete { self.complete_since.or(Some(now)) } else { None };
    }
}

impl PartyState {
    fn sends_from(&self, socket: Component, source: SocketAddr) -> bool {
        Way::of(socket, self.described, self.mux).is_some_and(|way| way.to == source)
    }
}

/// Datagrams that are no RTP have one port and no grammar we know.
fn check_datagram(component: Component, packet: &[u8]) -> Result<usize, DropReason> {
    if component == Component::Rtp && !packet.is_empty() { Ok(packet.len()) } else { Err(DropReason::Malformed) }
}
