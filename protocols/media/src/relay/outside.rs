//! The edge's half of a relay: between the client's socket and the link.

use std::net::SocketAddr;

use edgeway_model::Moment;
use edgeway_model::media::{Carriage, Component, OutsideRelay, RelayCounters};

use super::{DropReason, Way};
use crate::latch::{Allowance, Latch, Standing};
use crate::limits::{LATCHED_ALIVE, PACKET_BYTES_MAX, SRTCP_OVERHEAD_BYTES_MIN, SRTP_OVERHEAD_BYTES_MIN};
use crate::{rtcp, rtp};

/// Decides per packet whether the link or the client gets it.
///
/// Invariant: nothing is ever sent to a source that is neither proven by the core nor the
/// described address on the TLS peer's own host; on a plain leg, neither described nor on the TLS
/// peer's host.
#[derive(Clone, Debug)]
pub struct OutsideEngine {
    rule: OutsideRelay,
    /// The last place the client described, kept over a hold.
    last_described: Option<(SocketAddr, SocketAddr)>,
    rtp: Source,
    rtcp: Source,
    from_signalling: Allowance,
    from_strangers: Allowance,
    counters: RelayCounters,
    /// The time of the last packet.
    latest: Moment,
}

/// What one component knows about where the client is.
#[derive(Clone, Debug, Default)]
struct Source {
    latch: Latch,
    /// Plain legs: the address learnt, and whether the next eligible one replaces it.
    learnt: Option<SocketAddr>,
    relearn: bool,
    /// When the latched source was last heard.
    alive: Option<Moment>,
}

/// A packet goes on to the link, marked with these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromClient {
    /// What it is, whatever port it came to.
    pub component: Component,
    /// The number of its source.
    pub candidate: u8,
    /// Whether that is the proven one.
    pub latched: bool,
}

impl OutsideEngine {
    /// A relay that knows no source yet.
    #[must_use]
    pub fn new(rule: OutsideRelay, now: Moment) -> Self {
        Self {
            last_described: rule.described,
            rule,
            rtp: Source::default(),
            rtcp: Source::default(),
            from_signalling: Allowance::new(now),
            from_strangers: Allowance::new(now),
            counters: RelayCounters::default(),
            latest: now,
        }
    }

    /// The rule in force.
    #[must_use]
    pub fn rule(&self) -> &OutsideRelay {
        &self.rule
    }

    /// Counters since the start.
    #[must_use]
    pub fn counters(&self) -> RelayCounters {
        self.counters
    }

    /// A new rule for the same relay (offer and answer went round again).
    pub fn update(&mut self, rule: OutsideRelay) {
        if (rule.srtp, rule.mux, rule.carriage) != (self.rule.srtp, self.rule.mux, self.rule.carriage) {
            (self.rtp, self.rtcp) = (Source::default(), Source::default());
        }
        let moved = rule.described.is_some() && rule.described != self.last_described;
        for component in [Component::Rtp, Component::Rtcp] {
            let trusted = pick(rule.described, component).is_some_and(|place| place.ip() == rule.signalling_peer);
            let source = self.source_mut(component);
            source.relearn = true;
            // A new place on the TLS peer's own host may be sent to at once; any other place has
            // to prove itself first, and until then the old one is the best known.
            if moved && trusted {
                source.latch.release();
                source.learnt = None;
            }
        }
        self.last_described = rule.described.or(self.last_described);
        self.rule = rule;
    }

    /// A packet came to a client-side port.
    ///
    /// # Errors
    /// [`DropReason`], already counted.
    pub fn handle_from_client(
        &mut self,
        socket: Component,
        source: SocketAddr,
        packet: &[u8],
        now: Moment,
    ) -> Result<FromClient, DropReason> {
        self.latest = self.latest.max(now);
        let component = if self.rule.mux && rtcp::is_rtcp(packet) { Component::Rtcp } else { socket };
        let outcome = if !self.is_plausible(component, packet) || (self.rule.mux && socket == Component::Rtcp) {
            Err(DropReason::Malformed)
        } else if self.is_srtp() {
            self.weigh_srtp_client(component, source, now)
        } else {
            self.learn_plain_client(component, source)
        };
        match outcome {
            Ok(_) => self.counters.inward += 1,
            Err(reason) => reason.count(&mut self.counters),
        }
        outcome
    }

    /// Where a packet from the link goes. `None`: nowhere yet; dropped and counted.
    pub fn handle_from_link(&mut self, component: Component) -> Option<Way> {
        let socket = self.socket(component);
        let target = self.target(component);
        match target {
            Some(_) => self.counters.outward += 1,
            None => DropReason::TooEarly.count(&mut self.counters),
        }
        target.map(|to| Way { to, socket })
    }

    /// The core has proven a candidate. `false` if nobody has that number any more.
    pub fn latch(&mut self, component: Component, candidate: u8) -> bool {
        // Where one address serves both, RTCP says nothing against RTP that is still coming: nothing
        // orders the two, and the packet may have been held back.
        if self.rule.mux && component == Component::Rtcp {
            let alive = self.source(component).alive;
            if alive.is_some_and(|alive| self.latest.since(alive) < LATCHED_ALIVE) {
                return false;
            }
        }
        self.is_srtp() && self.source_mut(component).latch.latch(candidate)
    }

    /// A packet that could not be sent after all.
    pub fn count_send_failure(&mut self) {
        self.counters.other_drops += 1;
    }

    /// Where this component's packets go now.
    #[must_use]
    pub fn target(&self, component: Component) -> Option<SocketAddr> {
        let source = self.source(component);
        let proven = if self.is_srtp() { source.latch.address() } else { source.learnt };
        let described = pick(self.rule.described, self.socket(component));
        proven.or(described.filter(|place| place.ip() == self.rule.signalling_peer))
    }

    /// Nothing protects datagrams that are no RTP.
    fn is_srtp(&self) -> bool {
        self.rule.srtp && self.rule.carriage == Carriage::Rtp
    }

    /// The socket a component uses, and with it the latch: where RTCP shares the RTP port, one
    /// address serves both.
    fn socket(&self, component: Component) -> Component {
        if self.rule.mux { Component::Rtp } else { component }
    }

    /// Cheap checks first, so that junk takes nothing from the allowance.
    fn is_plausible(&self, component: Component, packet: &[u8]) -> bool {
        let overhead = |bytes| if self.rule.srtp { bytes } else { 0 };
        let sound = match (self.rule.carriage, component) {
            (Carriage::Datagrams, Component::Rtp) => !packet.is_empty(),
            (Carriage::Datagrams, Component::Rtcp) => false,
            (Carriage::Rtp, Component::Rtp) => {
                is_version_2(packet, rtp::HEADER_BYTES_MIN + overhead(SRTP_OVERHEAD_BYTES_MIN))
            }
            (Carriage::Rtp, Component::Rtcp) => {
                is_version_2(packet, rtcp::PACKET_BYTES_MIN + overhead(SRTCP_OVERHEAD_BYTES_MIN))
            }
        };
        sound && packet.len() <= PACKET_BYTES_MAX
    }

    fn weigh_srtp_client(
        &mut self,
        component: Component,
        source: SocketAddr,
        now: Moment,
    ) -> Result<FromClient, DropReason> {
        let signalling_peer = self.rule.signalling_peer;
        match self.source(component).latch.standing(source, signalling_peer, now) {
            Standing::Latched(candidate) => {
                self.source_mut(component).alive = Some(now);
                Ok(FromClient { component, candidate, latched: true })
            }
            Standing::Crowded => Err(DropReason::WrongSource),
            Standing::Candidate(slot) => {
                let trusted_host = source.ip() == signalling_peer;
                let allowance = if trusted_host { &mut self.from_signalling } else { &mut self.from_strangers };
                if !allowance.take(now) {
                    return Err(DropReason::WrongSource);
                }
                let candidate = self.source_mut(component).latch.follow(slot, source, now);
                Ok(FromClient { component, candidate, latched: false })
            }
        }
    }

    fn learn_plain_client(&mut self, component: Component, source: SocketAddr) -> Result<FromClient, DropReason> {
        let described = pick(self.rule.described, self.socket(component));
        let eligible = described == Some(source) || source.ip() == self.rule.signalling_peer;
        let known = self.source_mut(component);
        if known.learnt != Some(source) && (!eligible || (known.learnt.is_some() && !known.relearn)) {
            return Err(DropReason::WrongSource);
        }
        known.learnt = Some(source);
        known.relearn = false;
        Ok(FromClient { component, candidate: 0, latched: true })
    }

    fn source(&self, component: Component) -> &Source {
        match self.socket(component) {
            Component::Rtp => &self.rtp,
            Component::Rtcp => &self.rtcp,
        }
    }

    fn source_mut(&mut self, component: Component) -> &mut Source {
        match self.socket(component) {
            Component::Rtp => &mut self.rtp,
            Component::Rtcp => &mut self.rtcp,
        }
    }
}

fn is_version_2(packet: &[u8], bytes_min: usize) -> bool {
    packet.len() >= bytes_min && packet[0] >> 6 == 2
}

/// The address of one component.
fn pick(described: Option<(SocketAddr, SocketAddr)>, component: Component) -> Option<SocketAddr> {
    described.map(|(rtp, rtcp)| match component {
        Component::Rtp => rtp,
        Component::Rtcp => rtcp,
    })
}
