//! The relays of a call, one for each media section, and the ports they stand on.
//!
//! A relay is opened with the first offer of its section and told to the media threads and the edge at
//! once, without keys and addresses: its ports are taken from then on, whatever becomes of the link.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use edgeway_link::{Frame, RelayRule};
use edgeway_media::limits::SDP_SECTIONS_CARRIED_MAX;
use edgeway_media::sdp::{
    self, Anchor, Direction, LegMedia, MediaKind, OurKeys, Place, Protection, Rules, SectionMedia, SideRules,
};
use edgeway_model::limits::{EARLY_PARTIES_MAX, RELAYS_MAX};
use edgeway_model::media::{
    Carriage, InsideParty, InsideRelay, LegSecurity, MediaClass, MediaCommand, PortPair, RelayCounters,
};
use edgeway_model::{FlowId, Moment, NodeId, Output, RelayId};
use edgeway_sip::Message;
use edgeway_sip::proxy::TransactionId;

use super::{Call, Calls, MediaRefusal, Side, tags};
use crate::CoreNode;
use crate::limits::{BIND_AGAIN_AFTER, INSIDE_PAIRS};

/// One media section on its way between both sides.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) id: RelayId,
    /// The edge that owns the client-side ports. The client may have moved to another one since.
    pub(super) edge: NodeId,
    /// Our address at that edge.
    address: IpAddr,
    anchor: Anchor,
    carriage: Carriage,
    published: Option<(InsideRelay, Frame)>,
    /// How its packets are marked, as last told.
    class: MediaClass,
    /// As last reported.
    counters: RelayCounters,
}

impl Relay {
    /// What is carried.
    pub(super) const fn class(&self) -> MediaClass {
        self.class
    }

    /// Its ports at the edge, and inside.
    pub(super) const fn ports(&self) -> (PortPair, PortPair) {
        (self.anchor.outside.ports, self.anchor.inside.ports)
    }

    /// What has passed.
    pub(super) const fn counters(&self) -> RelayCounters {
        self.counters
    }
}

impl Calls {
    /// Returns whether anything waited for them.
    pub(crate) fn ports_bound(&mut self, ports: Vec<PortPair>) -> bool {
        self.asked = self.asked.saturating_sub(ports.len());
        self.free.extend(ports);
        std::mem::take(&mut self.waited_for)
    }

    /// Whether a request waits for ports; asked when an edge has granted some.
    pub(crate) fn take_waited_for(&mut self) -> bool {
        std::mem::take(&mut self.waited_for)
    }

    /// Pairs free, and pairs in relays.
    pub(crate) fn port_pairs(&self) -> (usize, usize) {
        (self.free.len(), self.by_relay.len())
    }

    /// The range is used up or taken: asking again at once would go round in circles.
    pub(crate) fn bind_failed(&mut self, missing: u16, now: Moment) {
        self.asked = self.asked.saturating_sub(usize::from(missing));
        self.bind_again_at = Some(now + BIND_AGAIN_AFTER);
    }

    pub(crate) fn media_report(&mut self, relay: RelayId, counters: RelayCounters, now: Moment) {
        let Some(call) = self.by_relay.get(&relay).and_then(|key| self.calls.get_mut(key)) else { return };
        let Some(relay) = call.relays.iter_mut().flatten().find(|known| known.id == relay) else { return };
        let RelayCounters { inward, outward, .. } = std::mem::replace(&mut relay.counters, counters);
        if counters.inward > inward {
            call.heard = now;
        }
        if counters.inward > inward || counters.outward > outward {
            call.alive = now;
            call.silent = false;
        }
    }

    /// Every relay of an edge, for after its link has come (back) up.
    pub(crate) fn relay_frames(&self, edge: &NodeId) -> Vec<Frame> {
        let relays = self.calls.values().flat_map(|call| call.relays.iter().flatten());
        let published = relays.filter(|relay| relay.edge == *edge).filter_map(|relay| relay.published.as_ref());
        published.map(|(_, frame)| frame.clone()).collect()
    }
}

impl CoreNode {
    /// How both sides of a call are spoken to.
    pub(super) fn rules(&self, key: u32) -> Rules {
        let call = self.call(key);
        let edge = call.and_then(|call| self.edges.get(&call.edge));
        let relay = call.and_then(|call| call.relays.iter().flatten().next());
        let address = relay.map(|relay| relay.address).or(edge.and_then(|edge| edge.media_address));
        let plain = call.and_then(Call::leading_dialog).is_some_and(|dialog| {
            dialog
                .sections
                .iter()
                .flatten()
                .any(|section| section.carriage == Carriage::Rtp && section.outside.security == LegSecurity::Plain)
        });
        Rules {
            outside: SideRules {
                address: address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
                // A client that spoke in clear goes on so; nobody is offered that first.
                offer: if plain { Protection::Plain } else { Protection::Srtp },
                // What a setting forbids later forbids no call that has begun so: it could not even be held.
                allow_plain: self.settings.allow_unencrypted || plain,
            },
            inside: SideRules {
                address: self.settings.media_address,
                offer: call.map_or(self.settings.inside_offer, |call| call.inside_offer),
                allow_plain: true,
            },
        }
    }

    /// Whether a request must wait for media ports: an edge whose link is just back grants them a round
    /// trip later.
    pub(crate) fn waits_for_ports(&mut self, id: TransactionId, edge: &NodeId, request: &Message, from: Side) -> bool {
        let granted = self.edges.get(edge).map_or(0, |edge| edge.granted.len());
        let at_hand = granted.min(self.calls.free.len());
        if at_hand >= SDP_SECTIONS_CARRIED_MAX {
            return false;
        }
        let wanted = match request.method() {
            Some("INVITE") if !request.has_sdp() => 1,
            Some("INVITE" | "UPDATE") if request.has_sdp() => {
                sdp::survey(request.sdp(), from, &self.rules(0)).map_or(0, |all| all.iter().flatten().count())
            }
            _ => 0,
        };
        if wanted == 0 {
            return false;
        }
        let tried = self.calls.exchanges.get(&id).map(|exchange| exchange.call);
        let (outside_tag, _) = tags(request, from);
        let of_dialog = request.to_tag().and_then(|_| self.calls.of_client(request.call_id(), outside_tag));
        let key = tried.or(of_dialog);
        let held = key.and_then(|key| self.call(key)).map_or(0, |call| call.relays.iter().flatten().count());
        let waits = held + at_hand < wanted;
        self.calls.waited_for |= waits;
        waits
    }

    /// Keeps port pairs in stock, in batches, so that a call costs no command of its own.
    pub(crate) fn refill_inside_ports(&mut self, now: Moment) {
        self.calls.bind_again_at = self.calls.bind_again_at.filter(|at| now < *at);
        if self.calls.bind_again_at.is_some() {
            return;
        }
        let missing = INSIDE_PAIRS.saturating_sub(self.calls.free.len() + self.calls.asked);
        if missing >= INSIDE_PAIRS / 2 {
            self.calls.asked += missing;
            let pairs = u16::try_from(missing).unwrap_or(u16::MAX);
            self.outputs.push_back(Output::Media(MediaCommand::BindPorts { pairs }));
        }
    }

    /// Opens the relays an offer needs and the call has not: a pair of ports here, one at the edge, and
    /// keys of its own. Where ports are short, sections that get none are refused; a call without any is.
    pub(super) fn open_relays(&mut self, key: u32, wanted: &[Option<Carriage>]) -> Result<(), MediaRefusal> {
        let (mut opened, mut short) = (0, None);
        for (section, carriage) in wanted.iter().enumerate() {
            let Some(carriage) = carriage else { continue };
            match self.open_relay(key, section, *carriage) {
                Ok(()) => opened += 1,
                Err(refusal) => short = Some(refusal),
            }
        }
        let Some(refusal) = short else { return Ok(()) };
        if opened == 0 {
            return Err(refusal);
        }
        self.dropped(refusal.reason, refusal.text);
        Ok(())
    }

    fn open_relay(&mut self, key: u32, section: usize, carriage: Carriage) -> Result<(), MediaRefusal> {
        let call = self.calls.calls.get_mut(&key).ok_or_else(MediaRefusal::no_call)?;
        if call.relays.len() <= section {
            call.relays.resize_with(section + 1, || None);
        }
        if let Some(relay) = &mut call.relays[section] {
            relay.carriage = carriage;
            return Ok(());
        }
        if self.calls.by_relay.len() >= RELAYS_MAX {
            return Err(MediaRefusal::overload("the bound on media relays is reached"));
        }
        // All relays of a call stand at one edge: descriptions may name one address for all.
        let edge = call.relays.iter().flatten().next().map_or_else(|| call.edge.clone(), |relay| relay.edge.clone());
        let known = self.edges.get_mut(&edge).ok_or_else(|| MediaRefusal::no_ports("no such edge"))?;
        let (Some(address), false) = (known.media_address, known.granted.is_empty()) else {
            return Err(MediaRefusal::no_ports("no media port is free at the edge"));
        };
        let inside =
            self.calls.free.pop().ok_or_else(|| MediaRefusal::no_ports("no media port is free at the core"))?;
        let Some(outside) = known.granted.pop_front() else {
            return Err(MediaRefusal::no_ports("no media port is free at the edge"));
        };
        self.calls.next_relay = self.calls.next_relay.wrapping_add(1);
        let id = RelayId(self.calls.next_relay);
        let anchor = Anchor {
            outside: Place { ports: outside, keys: OurKeys::generate(&mut self.random) },
            inside: Place { ports: inside, keys: OurKeys::generate(&mut self.random) },
        };
        self.calls.by_relay.insert(id, key);
        if let Some(call) = self.call_mut(key) {
            call.relays[section] = Some(Relay {
                id,
                edge,
                address,
                anchor,
                carriage,
                published: None,
                class: MediaClass::Audio,
                counters: RelayCounters::default(),
            });
        }
        Ok(())
    }

    /// What every section holds, in order; the suites in use first.
    pub(super) fn anchors(&self, key: u32) -> Vec<Option<Anchor>> {
        let Some(call) = self.call(key) else { return Vec::new() };
        let agreed = call.leading_dialog().map_or(&[][..], |dialog| &dialog.sections);
        let sections = agreed.iter().map(Option::as_ref).chain(std::iter::repeat(None));
        let anchor = |(relay, media): (&Option<Relay>, Option<&SectionMedia>)| {
            let mut anchor = relay.as_ref()?.anchor.clone();
            if let Some(media) = media {
                prefer_suite_in_use(&mut anchor.outside, &media.outside);
                prefer_suite_in_use(&mut anchor.inside, &media.inside);
            }
            Some(anchor)
        };
        call.relays.iter().zip(sections).map(anchor).collect()
    }

    /// Closes what no offer and no agreed description needs any more, and tells of what has changed.
    pub(super) fn settle_relays(&mut self, key: u32) {
        let Some(call) = self.calls.calls.get_mut(&key) else { return };
        let mut closed = Vec::new();
        for section in 0..call.relays.len() {
            if !call.needs(section) {
                closed.extend(call.relays[section].take());
            }
        }
        for relay in &closed {
            self.close_relay(relay);
        }
        self.publish(key);
    }

    /// Tells the media threads and the edge what has changed.
    fn publish(&mut self, key: u32) {
        let silence = self.settings.media_timeout;
        let Some(call) = self.calls.calls.get_mut(&key) else { return };
        let mut told = Vec::new();
        for section in 0..call.relays.len() {
            let Some(relay) = &call.relays[section] else { continue };
            let rules = call.rules_of(section, relay, silence);
            let (old_rule, old_frame) = relay.published.clone().unzip();
            let new_rule = (old_rule.as_ref() != Some(&rules.0)).then(|| rules.0.clone());
            let new_frame = (old_frame.as_ref() != Some(&rules.1)).then(|| rules.1.clone());
            let class = call.class_of(section, relay);
            let new_class = (relay.class != class).then_some((relay.id, class));
            told.push((relay.edge.clone(), new_rule, new_frame, new_class));
            if let Some(relay) = &mut call.relays[section] {
                relay.published = Some(rules);
                relay.class = class;
            }
        }
        for (edge, rule, frame, class) in told {
            if let Some(rule) = rule {
                self.outputs.push_back(Output::Media(MediaCommand::SetInside(rule)));
            }
            if let Some((relay, class)) = class {
                let peer = edge.clone();
                self.outputs.push_back(Output::Media(MediaCommand::SetClass { peer, relay, class }));
            }
            if let Some(frame) = frame {
                self.send_frame(&edge, &frame);
            }
        }
    }

    pub(super) fn close_relay(&mut self, relay: &Relay) {
        self.calls.by_relay.remove(&relay.id);
        let frame = Frame::CloseRelay { relay: relay.id, ports: relay.anchor.outside.ports };
        self.send_frame(&relay.edge, &frame);
        if relay.published.is_some() {
            let command = MediaCommand::Close { peer: relay.edge.clone(), relay: relay.id };
            self.outputs.push_back(Output::Media(command));
        } else {
            self.calls.free.push(relay.anchor.inside.ports);
        }
    }
}

impl Call {
    fn needs(&self, section: usize) -> bool {
        let agreed = |sections: &[Option<SectionMedia>]| sections.get(section).is_some_and(Option::is_some);
        (self.inviting.is_some() && self.first_offer.as_ref().is_some_and(|offer| offer.carries(section)))
            || self.dialogs.iter().any(|dialog| {
                agreed(&dialog.sections) || dialog.proposals.iter().any(|proposal| proposal.is_open_for(section))
            })
            // The answer to an INVITE without an offer brings one, and may come when no port is at hand.
            || (section == 0 && self.inviting.is_some() && self.first_offer.is_none() && !self.has_offer())
    }

    fn has_offer(&self) -> bool {
        self.dialogs.iter().any(|dialog| !dialog.sections.is_empty() || !dialog.proposals.is_empty())
    }

    /// How a relay is to run now: here, and at its edge.
    fn rules_of(&self, section: usize, relay: &Relay, silence: Option<Duration>) -> (InsideRelay, Frame) {
        let leading = self.leading_dialog();
        let media = leading.and_then(|dialog| dialog.sections.get(section)?.as_ref());
        let early = self.dialogs.iter().filter(|dialog| leading.is_none_or(|leading| dialog.number != leading.number));
        let early = early.filter_map(|dialog| dialog.sections.get(section)?.as_ref());
        let offerer = self.offering_client(section);
        let outside = media.map(|media| &media.outside).or(offerer);
        let rule = InsideRelay {
            peer: relay.edge.clone(),
            relay: relay.id,
            ports: relay.anchor.inside.ports,
            party: media.map_or_else(|| nobody(relay.carriage), |media| party(&media.inside)),
            early: early.map(|media| party(&media.inside)).take(EARLY_PARTIES_MAX).collect(),
            outside: media.map_or_else(|| unknown(relay.carriage), |media| media.outside.security.clone()),
            carriage: relay.carriage,
            // Only of a client that is to send: on hold it may be silent.
            client_timeout: silence
                .filter(|_| media.is_some_and(|media| media.outside.direction == Direction::SendRecv)),
        };
        let frame = Frame::SetRelay(RelayRule {
            relay: relay.id,
            ports: relay.anchor.outside.ports,
            call: self.number,
            flow: if relay.edge == self.edge { self.flow } else { FlowId(0) },
            described: outside.and_then(|leg| leg.described),
            srtp: relay.carriage == Carriage::Rtp && outside.is_none_or(|leg| leg.security != LegSecurity::Plain),
            mux: outside.is_some_and(|leg| leg.mux),
            carriage: relay.carriage,
        });
        (rule, frame)
    }

    /// How packets of a section are marked (RFC 4594): known once it is agreed.
    fn class_of(&self, section: usize, relay: &Relay) -> MediaClass {
        let agreed = self.leading_dialog().and_then(|dialog| dialog.sections.get(section)?.as_ref());
        match agreed.map(|media| (media.kind, media.carriage)) {
            Some((MediaKind::Audio, Carriage::Rtp)) => MediaClass::Audio,
            Some((MediaKind::Video, Carriage::Rtp)) => MediaClass::Video,
            Some((MediaKind::Other, _) | (_, Carriage::Datagrams)) => MediaClass::Other,
            None => relay.class,
        }
    }

    /// The client's leg as its first offer shows it, before any answer.
    fn offering_client(&self, section: usize) -> Option<&LegMedia> {
        let offered = &self.first_offer.as_ref()?.offered;
        if offered.from() == Side::Outside { offered.offerer(section) } else { None }
    }
}

fn prefer_suite_in_use(place: &mut Place, leg: &LegMedia) {
    if let LegSecurity::Srtp { send, .. } = &leg.security {
        place.keys.prefer(send.suite());
    }
}

const fn unknown(carriage: Carriage) -> LegSecurity {
    match carriage {
        Carriage::Rtp => LegSecurity::Awaited,
        Carriage::Datagrams => LegSecurity::Plain,
    }
}

const fn nobody(carriage: Carriage) -> InsideParty {
    InsideParty { described: None, security: unknown(carriage), mux: false }
}

fn party(leg: &LegMedia) -> InsideParty {
    let described: Option<(SocketAddr, SocketAddr)> = leg.described;
    InsideParty { described, security: leg.security.clone(), mux: leg.mux }
}
