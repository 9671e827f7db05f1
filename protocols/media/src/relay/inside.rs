//! The core's half of a relay: SRTP from and to the link, RTP inside.

use std::net::SocketAddr;

use edgeway_model::media::{Component, InsideRelay, OutsideSecurity, RelayCounters};
use edgeway_model::{Moment, Random};

use super::DropReason;
use super::outside::pick;
use crate::limits::{CLIENT_SILENT_AFTER, KEY_CHANGE_GRACE};
use crate::rtcp;
use crate::rtp::RtpHeader;
use crate::srtp::{Opened, SrtpReceiver, SrtpSender};

/// Opens what comes from the client and protects what goes to it.
///
/// Invariants: the inside gets only authenticated packets, each once; a candidate is latched only
/// by an authenticated packet newer than any seen; nothing is sent inside before the party there
/// is described, and nothing is taken from any other address.
pub struct InsideEngine {
    rule: InsideRelay,
    leg: Leg,
    counters: RelayCounters,
    complete_since: Option<Moment>,
    heard: bool,
    random: Random,
}

/// The cryptography of the client's leg.
enum Leg {
    Srtp(Box<SrtpLeg>),
    Plain,
}

struct SrtpLeg {
    receiver: Option<SrtpReceiver>,
    /// The contexts of the key before, and until when they still open packets.
    previous: Option<(SrtpReceiver, Moment)>,
    sender: SrtpSender,
}

/// What becomes of a packet from the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromLink {
    /// Tell the edge that this candidate is proven.
    pub latch: Option<u8>,
    /// Send so many bytes of the buffer to this address inside; a drop is already counted.
    pub outcome: Result<(SocketAddr, usize), DropReason>,
}

impl InsideEngine {
    /// A relay with fresh contexts. `random` chooses outgoing SSRCs.
    #[must_use]
    pub fn new(rule: InsideRelay, mut random: Random, now: Moment) -> Self {
        let leg = Leg::new(&rule.outside, &mut random);
        let mut engine =
            Self { rule, leg, counters: RelayCounters::default(), complete_since: None, heard: false, random };
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
        self.counters
    }

    /// A new rule for the same relay. A key that did not change keeps its contexts.
    pub fn update(&mut self, rule: InsideRelay, now: Moment) {
        if self.rule.outside != rule.outside {
            self.change_leg(&rule.outside, now);
        }
        self.rule = rule;
        self.note_completeness(now);
    }

    /// A packet came over the link from `candidate`; `latched` tells whether the edge already
    /// sends there. `packet` is opened in place.
    pub fn handle_from_link(
        &mut self,
        component: Component,
        candidate: u8,
        latched: bool,
        packet: &mut [u8],
        now: Moment,
    ) -> FromLink {
        let opened = self.leg.open(component, packet, now);
        self.heard |= opened.is_ok();
        let latch = opened.ok().filter(|(_, proves)| *proves && !latched).map(|_| candidate);
        let target = pick(self.rule.described, component).ok_or(DropReason::TooEarly);
        let outcome = opened.and_then(|(len, _)| target.map(|target| (target, len)));
        match outcome {
            Ok(_) => self.counters.inward += 1,
            Err(reason) => reason.count(&mut self.counters),
        }
        FromLink { latch, outcome }
    }

    /// A packet came from the inside into `buffer[..len]`; protects it in place and returns the
    /// length that goes on the link.
    ///
    /// # Errors
    /// [`DropReason`], already counted.
    pub fn handle_from_inside(
        &mut self,
        component: Component,
        source: SocketAddr,
        buffer: &mut [u8],
        len: usize,
    ) -> Result<usize, DropReason> {
        let outcome = match pick(self.rule.described, component) {
            None => Err(DropReason::TooEarly),
            Some(described) if described != source => Err(DropReason::WrongSource),
            Some(_) => self.leg.protect(component, buffer, len),
        };
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

    /// When [`InsideEngine::take_client_silent`] wants to be asked.
    #[must_use]
    pub fn silent_at(&self) -> Option<Moment> {
        self.complete_since.filter(|_| !self.heard).map(|since| since + CLIENT_SILENT_AFTER)
    }

    /// Whether the client has stayed silent too long since the relay was complete; `true` once.
    pub fn take_client_silent(&mut self, now: Moment) -> bool {
        let silent = self.silent_at().is_some_and(|at| at <= now);
        if silent {
            // Said once; from here on silence is no news.
            self.heard = true;
        }
        silent
    }

    fn change_leg(&mut self, outside: &OutsideSecurity, now: Moment) {
        let (Leg::Srtp(leg), OutsideSecurity::Srtp { receive: old_receive, send: old_send }) =
            (&mut self.leg, &self.rule.outside)
        else {
            self.leg = Leg::new(outside, &mut self.random);
            return;
        };
        let OutsideSecurity::Srtp { receive, send } = outside else {
            self.leg = Leg::Plain;
            return;
        };
        if send != old_send {
            leg.sender = SrtpSender::new(send, self.random.split());
        }
        if receive != old_receive {
            let old = std::mem::replace(&mut leg.receiver, receive.as_ref().map(SrtpReceiver::new));
            leg.previous = old.map(|old| (old, now + KEY_CHANGE_GRACE));
        }
    }

    fn note_completeness(&mut self, now: Moment) {
        let keyed = match &self.rule.outside {
            OutsideSecurity::Srtp { receive, .. } => receive.is_some(),
            OutsideSecurity::Plain => true,
        };
        let complete = keyed && self.rule.described.is_some();
        self.complete_since = if complete { self.complete_since.or(Some(now)) } else { None };
    }
}

impl Leg {
    fn new(outside: &OutsideSecurity, random: &mut Random) -> Self {
        match outside {
            OutsideSecurity::Plain => Self::Plain,
            OutsideSecurity::Srtp { receive, send } => Self::Srtp(Box::new(SrtpLeg {
                receiver: receive.as_ref().map(SrtpReceiver::new),
                previous: None,
                sender: SrtpSender::new(send, random.split()),
            })),
        }
    }

    /// The length in clear, and whether the packet proves its source.
    fn open(&mut self, component: Component, packet: &mut [u8], now: Moment) -> Result<(usize, bool), DropReason> {
        let leg = match self {
            Self::Plain => return check_clear(component, packet).map(|len| (len, false)),
            Self::Srtp(leg) => leg,
        };
        let (opened, current) = leg.open(component, packet, now)?;
        if component == Component::Rtcp {
            leg.sender.rewrite_reports(&mut packet[..opened.len]).map_err(|_| DropReason::Malformed)?;
        }
        // An old key proves nothing about now.
        Ok((opened.len, opened.newest && current))
    }

    fn protect(&mut self, component: Component, buffer: &mut [u8], len: usize) -> Result<usize, DropReason> {
        match (self, component) {
            (Self::Srtp(leg), Component::Rtp) => Ok(leg.sender.protect_rtp(buffer, len)?),
            (Self::Srtp(leg), Component::Rtcp) => Ok(leg.sender.protect_rtcp(buffer, len)?),
            (Self::Plain, _) => check_clear(component, buffer.get(..len).ok_or(DropReason::Malformed)?),
        }
    }
}

impl SrtpLeg {
    /// The packet opened, and whether by the current key.
    fn open(&mut self, component: Component, packet: &mut [u8], now: Moment) -> Result<(Opened, bool), DropReason> {
        let current = match &mut self.receiver {
            Some(receiver) => unprotect(receiver, component, packet),
            None => Err(DropReason::TooEarly),
        };
        if let Err(reason @ (DropReason::Unauthenticated | DropReason::TooEarly | DropReason::Replayed)) = current
            && let Some((previous, _)) = self.previous.as_mut().filter(|(_, until)| now < *until)
        {
            return unprotect(previous, component, packet).map(|opened| (opened, false)).map_err(|_| reason);
        }
        current.map(|opened| (opened, true))
    }
}

fn unprotect(receiver: &mut SrtpReceiver, component: Component, packet: &mut [u8]) -> Result<Opened, DropReason> {
    let opened = match component {
        Component::Rtp => receiver.unprotect_rtp(packet),
        Component::Rtcp => receiver.unprotect_rtcp(packet),
    };
    Ok(opened?)
}

fn check_clear(component: Component, packet: &[u8]) -> Result<usize, DropReason> {
    let sound = match component {
        Component::Rtp => RtpHeader::parse(packet).is_some(),
        Component::Rtcp => rtcp::first_ssrc(packet).is_some(),
    };
    if sound { Ok(packet.len()) } else { Err(DropReason::Malformed) }
}
