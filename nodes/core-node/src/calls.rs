//! Calls: the dialogs of clients, their relays, and the session descriptions on the way.
//!
//! A call here is one client's side of a call: two clients outside talking to each other are two
//! entries, joined by the registrar (the operator's count takes them as one, by their Call-ID). Each is known by Call-ID and the *client's* tag; until the client
//! has shown a tag, by its INVITE's transaction. The core anchors media: SRTP with the client (over
//! the edge), RTP with the inside party.
//!
//! Invariant: a relay lives exactly as long as its call, and a call ends by BYE, by failure of its
//! INVITE, by the end of its edge, or when its client is gone and silent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use edgeway_link::Frame;
use edgeway_media::sdp::{self, Anchor, Offered, OurKeys, Place, Protection, Rules, SectionMedia, SideRules};
use edgeway_model::media::{
    Carriage, InsideParty as InsideLeg, InsideRelay, LegSecurity, MediaCommand, PortPair, RelayCounters,
};
use edgeway_model::notice::{DropReason, Notice};
use edgeway_model::world::Gauge;
use edgeway_model::{Deadline, FlowId, Moment, NodeId, Output, Pii, Random, RelayId};
use edgeway_sip::proxy::TransactionId;
use edgeway_sip::uri::Uri;
use edgeway_sip::{Message, Name};

use crate::limits::{BIND_AGAIN_AFTER, CALLS_MAX, INSIDE_PAIRS, LOST_CALL_AFTER, TAGS_MAX};
use crate::{CoreNode, flow_at};

/// Why a description is refused.
#[derive(Clone, Debug)]
pub(crate) struct MediaRefusal {
    pub(crate) status: u16,
    pub(crate) warning: u16,
    pub(crate) text: String,
    pub(crate) reason: DropReason,
}

impl From<sdp::Refusal> for MediaRefusal {
    fn from(refusal: sdp::Refusal) -> Self {
        let reason = match refusal {
            sdp::Refusal::NoEncryption | sdp::Refusal::UnsupportedSuite => DropReason::NoEncryption,
            sdp::Refusal::Malformed(_) | sdp::Refusal::UnsupportedProfile => DropReason::Malformed,
        };
        Self { status: refusal.status(), warning: refusal.warning(), text: refusal.to_string(), reason }
    }
}

impl MediaRefusal {
    /// A description of a call we do not know (any more) cannot be rewritten, so it goes no further:
    /// keys must not go in, nor plain media out. Without one there is nothing to refuse.
    fn unless_bare(method: Option<&str>, message: &Message) -> Result<Option<Vec<u8>>, Self> {
        if !message.has_sdp() || !matches!(method, Some("INVITE" | "UPDATE" | "PRACK")) {
            return Ok(None);
        }
        if message.status().is_some_and(|status| status >= 300) {
            return Ok(Some(Vec::new()));
        }
        let text = "no such call here".to_owned();
        Err(Self { status: 481, warning: 399, text, reason: DropReason::NoRelay })
    }

    fn no_ports(text: &str) -> Self {
        Self { status: 503, warning: 399, text: text.to_owned(), reason: DropReason::NoPorts }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Outside,
    Inside,
}

/// One transaction that belongs to a call.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    call: u32,
    /// It opens the dialog: its failure ends the call.
    initial: bool,
    /// Its request carried an offer, so that its answers carry answers.
    offered: bool,
    /// It ends the dialog.
    bye: bool,
}

#[derive(Debug)]
struct Relay {
    id: RelayId,
    /// Client-side address, the edge's.
    address: IpAddr,
    /// Ports and keys of both legs.
    anchor: Anchor,
    /// The section that is relayed.
    section: usize,
    offered: Option<Offered>,
    media: Option<SectionMedia>,
    published: Option<(InsideRelay, Frame)>,
}

/// Where requests of a dialog go inside.
#[derive(Debug)]
struct InsideParty {
    place: (String, u16),
    /// A Record-Route says so, which stays for the whole dialog; else the party's Contact does.
    by_route: bool,
}

#[derive(Debug)]
struct Call {
    id: String,
    /// What the operator counts as one call: the same for both parties where both are clients.
    number: u32,
    edge: NodeId,
    /// The client's flow, as the edge numbers it, and told apart from other edges'.
    flow: FlowId,
    tagged: FlowId,
    outside_tags: Vec<String>,
    /// Where requests of this dialog go inside.
    inside_party: Option<InsideParty>,
    established: bool,
    /// An ACK has passed.
    acknowledged: bool,
    /// Who owes an answer to an offer made outside of INVITE (PRACK, ACK).
    owes: Option<Side>,
    relay: Option<Relay>,
    exchanges: Vec<TransactionId>,
    lost: Option<Moment>,
    inward: u64,
    heard: Moment,
}

/// All calls of a core.
#[derive(Debug)]
pub(crate) struct Calls {
    calls: BTreeMap<u32, Call>,
    by_dialog: HashMap<(String, String), u32>,
    exchanges: HashMap<TransactionId, Exchange>,
    by_relay: HashMap<RelayId, u32>,
    /// Per Call-ID: its number, and how many clients take part.
    numbers: HashMap<String, (u32, u32)>,
    lost: BTreeSet<(Moment, u32)>,
    next: u32,
    free: Vec<PortPair>,
    asked: usize,
    /// Binding failed: not asked again before this.
    bind_again_at: Option<Moment>,
    pub(crate) gauge: Gauge,
}

/// Transactions remembered per call: forks answer late, but not for ever.
const EXCHANGES_MAX: usize = 16;

impl Calls {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            calls: BTreeMap::new(),
            by_dialog: HashMap::new(),
            exchanges: HashMap::new(),
            by_relay: HashMap::new(),
            numbers: HashMap::new(),
            lost: BTreeSet::new(),
            // Random, so that the relays of an earlier life of this core are never mistaken for ours.
            next: (random.next_u64() >> 40) as u32,
            free: Vec::new(),
            asked: 0,
            bind_again_at: None,
            gauge: Gauge::default(),
        }
    }

    /// Returns whether there was none before.
    pub(crate) fn ports_bound(&mut self, ports: Vec<PortPair>) -> bool {
        let waited_for = self.free.is_empty();
        self.asked = self.asked.saturating_sub(ports.len());
        self.free.extend(ports);
        waited_for
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

    /// The number of the call with this Call-ID; `new` if it is the first client's.
    fn number(&mut self, call_id: &str, new: u32) -> u32 {
        let (number, clients) = self.numbers.entry(call_id.to_owned()).or_insert((new, 0));
        *clients += 1;
        *number
    }

    fn release_number(&mut self, call_id: &str) {
        if let Some((_, clients)) = self.numbers.get_mut(call_id) {
            *clients -= 1;
            if *clients == 0 {
                self.numbers.remove(call_id);
            }
        }
    }

    pub(crate) fn media_report(&mut self, relay: RelayId, counters: RelayCounters, now: Moment) {
        let Some(call) = self.by_relay.get(&relay).and_then(|key| self.calls.get_mut(key)) else { return };
        if counters.inward > call.inward {
            call.inward = counters.inward;
            call.heard = now;
        }
    }

    /// Every relay of an edge, for after its link has come (back) up.
    pub(crate) fn relay_frames(&self, edge: &NodeId) -> Vec<Frame> {
        let relays = self.calls.values().filter(|call| call.edge == *edge).filter_map(|call| call.relay.as_ref());
        relays.filter_map(|relay| relay.published.as_ref().map(|(_, frame)| frame.clone())).collect()
    }

    pub(crate) fn inside_party(&self, call_id: &str, outside_tag: &str) -> Option<&(String, u16)> {
        let party = self.calls.get(&self.of_dialog(call_id, outside_tag)?)?.inside_party.as_ref()?;
        Some(&party.place)
    }

    /// Whether a relay is one of this edge's calls.
    pub(crate) fn is_relay_of(&self, relay: RelayId, edge: &NodeId) -> bool {
        self.by_relay.get(&relay).and_then(|key| self.calls.get(key)).is_some_and(|call| call.edge == *edge)
    }

    /// Whether this dialog came to be through another edge.
    pub(crate) fn is_of_another(&self, call_id: &str, outside_tag: &str, edge: &NodeId) -> bool {
        let key = self.of_dialog(call_id, outside_tag);
        key.and_then(|key| self.calls.get(&key)).is_some_and(|call| call.edge != *edge)
    }

    pub(crate) fn flow_lost(&mut self, edge: &NodeId, flow: FlowId, now: Moment) {
        for (key, call) in &mut self.calls {
            if call.tagged == flow && call.edge == *edge && call.lost.is_none() {
                call.lost = Some(now);
                self.lost.insert((now + LOST_CALL_AFTER, *key));
            }
        }
    }

    /// The link to this edge was away so long that calls may have ended without us: those that carry
    /// no media end like those that lost their client.
    pub(crate) fn doubt(&mut self, edge: &NodeId, now: Moment) {
        for (key, call) in &mut self.calls {
            if call.edge == *edge && call.established && call.lost.is_none() {
                call.lost = Some(now);
                self.lost.insert((now + LOST_CALL_AFTER, *key));
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        let lost = self.lost.first().map(|(at, _)| Deadline { at: *at, why: "call without a client" });
        Deadline::soonest(lost, self.bind_again_at.map(|at| Deadline { at, why: "media ports" }))
    }

    fn has_relay(&self, call_id: &str, outside_tag: Option<&str>) -> bool {
        let key = outside_tag.and_then(|tag| self.of_dialog(call_id, tag));
        key.and_then(|key| self.calls.get(&key)).is_some_and(|call| call.relay.is_some())
    }

    fn of_dialog(&self, call_id: &str, outside_tag: &str) -> Option<u32> {
        self.by_dialog.get(&(call_id.to_owned(), outside_tag.to_owned())).copied()
    }

    fn add_tag(&mut self, key: u32, tag: &str) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        if call.outside_tags.len() < TAGS_MAX && !call.outside_tags.iter().any(|known| known == tag) {
            call.outside_tags.push(tag.to_owned());
            self.by_dialog.insert((call.id.clone(), tag.to_owned()), key);
        }
    }

    fn add_exchange(&mut self, id: TransactionId, exchange: Exchange) {
        let Some(call) = self.calls.get_mut(&exchange.call) else { return };
        if call.exchanges.len() >= EXCHANGES_MAX {
            let oldest = call.exchanges.remove(0);
            self.exchanges.remove(&oldest);
        }
        call.exchanges.push(id);
        self.exchanges.insert(id, exchange);
    }
}

impl CoreNode {
    /// Whether an INVITE must wait for media ports: an edge whose link is just back grants them a round
    /// trip later. `outside_tag` is the client's, if it has shown one.
    pub(crate) fn waits_for_ports(&self, edge: &NodeId, request: &Message, outside_tag: Option<&str>) -> bool {
        let none_granted = self.edges.get(edge).is_none_or(|edge| edge.granted.is_empty());
        request.method() == Some("INVITE")
            && (none_granted || self.calls.free.is_empty())
            && !self.calls.has_relay(request.call_id(), outside_tag)
    }

    /// What the body of a client's request must become.
    pub(crate) fn inward_body(
        &mut self,
        id: TransactionId,
        edge: &NodeId,
        flow: FlowId,
        request: &Message,
        now: Moment,
    ) -> Result<Option<Vec<u8>>, MediaRefusal> {
        let tag = request.from_tag().unwrap_or_default();
        let known = self.calls.of_dialog(request.call_id(), tag);
        let key = match (request.method(), request.to_tag(), known) {
            (Some("INVITE"), None, None) => {
                let key = self.open_call(edge, flow, request, now)?;
                self.calls.add_tag(key, tag);
                key
            }
            (Some("INVITE" | "UPDATE" | "PRACK" | "BYE"), _, Some(key)) => key,
            _ => return MediaRefusal::unless_bare(request.method(), request),
        };
        self.note_exchange(id, key, request);
        self.request_body(key, Side::Outside, request)
    }

    /// What the body of a request from inside must become.
    pub(crate) fn outward_body(
        &mut self,
        id: TransactionId,
        edge: &NodeId,
        request: &Message,
        now: Moment,
    ) -> Result<Option<Vec<u8>>, MediaRefusal> {
        let known = match request.to_tag() {
            Some(tag) => self.calls.of_dialog(request.call_id(), tag),
            None => self.calls.exchanges.get(&id).map(|exchange| exchange.call),
        };
        let key = match (request.method(), request.to_tag(), known) {
            (Some("INVITE"), None, None) => {
                let flow = flow_of_route(request).unwrap_or(FlowId(0));
                let key = self.open_call(edge, flow, request, now)?;
                if let Some(call) = self.calls.calls.get_mut(&key) {
                    call.inside_party = party_behind(request);
                }
                key
            }
            (Some("INVITE" | "UPDATE" | "PRACK" | "BYE"), _, Some(key)) => {
                self.target_refreshed(key, request);
                key
            }
            _ => return MediaRefusal::unless_bare(request.method(), request),
        };
        self.note_exchange(id, key, request);
        self.request_body(key, Side::Inside, request)
    }

    /// What the body of an inside party's answer must become.
    pub(crate) fn answered_by_inside(
        &mut self,
        id: TransactionId,
        request: &Message,
        response: &Message,
        now: Moment,
    ) -> Result<Option<Vec<u8>>, MediaRefusal> {
        let Some(exchange) = self.calls.exchanges.get(&id).copied() else {
            return MediaRefusal::unless_bare(request.method(), response);
        };
        let status = response.status().unwrap_or(500);
        if exchange.initial && status < 300 && response.to_tag().is_some() {
            let party = self.party_ahead(response);
            if let Some(call) = self.calls.calls.get_mut(&exchange.call) {
                call.inside_party = party.or(call.inside_party.take());
            }
        } else if status < 300 {
            self.target_refreshed(exchange.call, response);
        }
        self.response_body(exchange, Side::Inside, request, response, now)
    }

    /// What the body of a client's answer must become.
    pub(crate) fn answered_by_client(
        &mut self,
        id: TransactionId,
        request: &Message,
        response: &Message,
        now: Moment,
    ) -> Result<Option<Vec<u8>>, MediaRefusal> {
        let Some(exchange) = self.calls.exchanges.get(&id).copied() else {
            return MediaRefusal::unless_bare(request.method(), response);
        };
        let status = response.status().unwrap_or(500);
        if let Some(tag) = response.to_tag().filter(|_| status < 300) {
            self.calls.add_tag(exchange.call, tag);
        }
        self.response_body(exchange, Side::Outside, request, response, now)
    }

    /// An ACK from a client carries the answer to an offer in the 200. `None`: it must not go on.
    pub(crate) fn acknowledged_inward(&mut self, ack: &Message) -> Option<Option<Vec<u8>>> {
        let key = self.calls.of_dialog(ack.call_id(), ack.from_tag().unwrap_or_default());
        self.acknowledged(key, Side::Outside, ack)
    }

    /// The same from inside.
    pub(crate) fn acknowledged_outward(&mut self, ack: &Message) -> Option<Option<Vec<u8>>> {
        let key = self.calls.of_dialog(ack.call_id(), ack.to_tag().unwrap_or_default());
        self.acknowledged(key, Side::Inside, ack)
    }

    fn acknowledged(&mut self, key: Option<u32>, side: Side, ack: &Message) -> Option<Option<Vec<u8>>> {
        if let Some(call) = key.and_then(|key| self.calls.calls.get_mut(&key)) {
            call.acknowledged = true;
            if side == Side::Outside {
                // The client is there (again), whatever became of its connection.
                call.lost = None;
            }
        }
        if !ack.has_sdp() {
            return Some(None);
        }
        let Some(key) = key else {
            self.dropped(DropReason::NoRelay, "a description in an ACK of no call of ours");
            return None;
        };
        match self.media_answer(key, side, ack.body()) {
            Ok(body) => Some(Some(body)),
            Err(refusal) => {
                self.dropped(refusal.reason, refusal.text);
                None
            }
        }
    }

    /// An INVITE (or any transaction of a call) came to nothing.
    pub(crate) fn end_invite(&mut self, id: TransactionId, why: &'static str) {
        let Some(exchange) = self.calls.exchanges.get(&id).copied() else { return };
        let established = self.calls.calls.get(&exchange.call).is_some_and(|call| call.established);
        if (exchange.initial && !established) || exchange.bye {
            self.end_call(exchange.call, why);
        }
    }

    pub(crate) fn end_calls_of(&mut self, edge: &NodeId) {
        let keys: Vec<_> =
            self.calls.calls.iter().filter(|(_, call)| call.edge == *edge).map(|(key, _)| *key).collect();
        for key in keys {
            self.end_call(key, "edge restarted");
        }
    }

    pub(crate) fn end_lost_calls(&mut self, now: Moment) {
        while let Some(&(at, key)) = self.calls.lost.first() {
            if at > now {
                return;
            }
            self.calls.lost.pop_first();
            let Some(call) = self.calls.calls.get(&key) else { continue };
            if call.lost.is_none() && call.acknowledged {
                continue;
            }
            let silent_at = call.heard + LOST_CALL_AFTER;
            if silent_at > now {
                self.calls.lost.insert((silent_at, key));
            } else {
                self.end_call(key, "flow lost");
            }
        }
    }

    pub(crate) fn refill_inside_ports(&mut self, now: Moment) {
        self.calls.bind_again_at = self.calls.bind_again_at.filter(|at| now < *at);
        if self.calls.bind_again_at.is_some() {
            return;
        }
        let missing = INSIDE_PAIRS.saturating_sub(self.calls.free.len() + self.calls.asked);
        // In batches, so that a call costs no command of its own.
        if missing >= INSIDE_PAIRS / 2 {
            self.calls.asked += missing;
            let pairs = u16::try_from(missing).unwrap_or(u16::MAX);
            self.outputs.push_back(Output::Media(MediaCommand::BindPorts { pairs }));
        }
    }

    fn open_call(&mut self, edge: &NodeId, flow: FlowId, request: &Message, now: Moment) -> Result<u32, MediaRefusal> {
        if self.calls.calls.len() >= CALLS_MAX {
            return Err(MediaRefusal {
                status: 503,
                warning: 399,
                text: "the bound on calls is reached".to_owned(),
                reason: DropReason::Overload,
            });
        }
        let index = self.edges.get(edge).map_or(0, |edge| edge.index);
        self.calls.next = self.calls.next.wrapping_add(1);
        let key = self.calls.next;
        let number = self.calls.number(request.call_id(), key);
        let call = Call {
            id: request.call_id().to_owned(),
            number,
            edge: edge.clone(),
            flow,
            tagged: flow_at(index, flow),
            outside_tags: Vec::new(),
            inside_party: None,
            established: false,
            acknowledged: false,
            owes: None,
            relay: None,
            exchanges: Vec::new(),
            lost: None,
            inward: 0,
            heard: now,
        };
        self.calls.calls.insert(key, call);
        self.calls.gauge.set(self.calls.numbers.len() as u64);
        self.notice(Notice::CallOffered { call: Pii::new(request.call_id().to_owned()) });
        Ok(key)
    }

    fn note_exchange(&mut self, id: TransactionId, key: u32, request: &Message) {
        let exchange = Exchange {
            call: key,
            initial: request.method() == Some("INVITE") && request.to_tag().is_none(),
            offered: request.has_sdp(),
            bye: request.method() == Some("BYE"),
        };
        self.calls.add_exchange(id, exchange);
    }

    fn request_body(&mut self, key: u32, side: Side, request: &Message) -> Result<Option<Vec<u8>>, MediaRefusal> {
        if request.method() == Some("INVITE") && !request.has_sdp() {
            // The answer brings the offer, and may come when no port is at hand.
            self.ensure_relay(key)?;
            self.publish(key);
            return Ok(None);
        }
        if !request.has_sdp() || request.method() == Some("BYE") {
            return Ok(None);
        }
        let owed = self.calls.calls.get(&key).and_then(|call| call.owes) == Some(side);
        if request.method() == Some("PRACK") && owed {
            return self.media_answer(key, side, request.body()).map(Some);
        }
        self.media_offer(key, side, request.body()).map(Some)
    }

    fn response_body(
        &mut self,
        exchange: Exchange,
        side: Side,
        request: &Message,
        response: &Message,
        now: Moment,
    ) -> Result<Option<Vec<u8>>, MediaRefusal> {
        let status = response.status().unwrap_or(500);
        if request.method() == Some("INVITE") && exchange.initial {
            let established = self.calls.calls.get(&exchange.call).is_some_and(|call| call.established);
            if !established && response.cseq().1 == "INVITE" {
                self.call_notice(status, request.call_id());
            }
            if (200..300).contains(&status)
                && let Some(call) = self.calls.calls.get_mut(&exchange.call)
                && !std::mem::replace(&mut call.established, true)
            {
                // Whoever never acknowledges it never had it.
                self.calls.lost.insert((now + LOST_CALL_AFTER, exchange.call));
            }
        }
        let body = if response.has_sdp() && status < 300 && !exchange.bye {
            let body = response.body();
            let made = if exchange.offered {
                self.media_answer(exchange.call, side, body)
            } else {
                self.media_offer(exchange.call, side, body)
            };
            Some(made?)
        } else if response.has_sdp() && status >= 300 {
            // What a party could have done (RFC 3261 §21.4.26) would tell the other side of the wrong
            // addresses and the wrong protection.
            Some(Vec::new())
        } else {
            None
        };
        if status >= 300 && exchange.initial {
            let established = self.calls.calls.get(&exchange.call).is_some_and(|call| call.established);
            if !established {
                self.end_call(exchange.call, if status == 487 { "cancelled" } else { "refused" });
            }
        }
        // A BYE that is challenged has not ended anything yet.
        if exchange.bye && status >= 200 && !matches!(status, 401 | 407) {
            self.end_call(exchange.call, "hang-up");
        }
        Ok(body)
    }

    fn media_offer(&mut self, key: u32, side: Side, body: &[u8]) -> Result<Vec<u8>, MediaRefusal> {
        self.ensure_relay(key)?;
        let side = media_side(side);
        let rules = self.media_rules(key)?;
        let needed = sdp::survey(body, side, &rules)?;
        let Some(call) = self.calls.calls.get_mut(&key) else { return Err(MediaRefusal::no_ports("no such call")) };
        let Some(relay) = &mut call.relay else { return Err(MediaRefusal::no_ports("no relay")) };
        call.owes = Some(match side {
            sdp::Side::Outside => Side::Inside,
            sdp::Side::Inside => Side::Outside,
        });
        relay.section = needed.iter().position(|needed| *needed == Some(Carriage::Rtp)).unwrap_or(0);
        let passed = sdp::pass_offer(body, side, &rules, &relay.anchors())?;
        relay.offered = Some(passed.offered);
        self.publish(key);
        Ok(passed.body)
    }

    fn media_answer(&mut self, key: u32, side: Side, body: &[u8]) -> Result<Vec<u8>, MediaRefusal> {
        let rules = self.media_rules(key)?;
        let Some(call) = self.calls.calls.get_mut(&key) else { return Err(MediaRefusal::no_ports("no such call")) };
        let Some(relay) = &mut call.relay else { return Err(MediaRefusal::no_ports("no relay")) };
        call.owes = None;
        let offered = relay.offered.as_ref().filter(|offered| offered.from() != media_side(side));
        let offered = offered.ok_or_else(|| MediaRefusal::no_ports("an answer to no offer"))?;
        let mut answer = sdp::pass_answer(body, offered, &rules, &relay.anchors())?;
        relay.media = answer.sections.get_mut(relay.section).and_then(Option::take);
        self.publish(key);
        Ok(answer.body)
    }

    fn media_rules(&self, key: u32) -> Result<Rules, MediaRefusal> {
        let relay = self.calls.calls.get(&key).and_then(|call| call.relay.as_ref());
        let relay = relay.ok_or_else(|| MediaRefusal::no_ports("no relay"))?;
        let plain = relay.media.as_ref().is_some_and(|media| media.outside.security == LegSecurity::Plain);
        let offer = if plain { Protection::Plain } else { Protection::Srtp };
        Ok(Rules {
            outside: SideRules { address: relay.address, offer, allow_plain: self.settings.allow_unencrypted },
            inside: SideRules { address: self.settings.media_address, offer: Protection::Plain, allow_plain: true },
        })
    }

    /// A call's relay: one pair of ports here, one at the edge, and a key of its own.
    fn ensure_relay(&mut self, key: u32) -> Result<(), MediaRefusal> {
        let Some(call) = self.calls.calls.get(&key) else { return Err(MediaRefusal::no_ports("no such call")) };
        if call.relay.is_some() {
            return Ok(());
        }
        let edge = self.edges.get_mut(&call.edge).ok_or_else(|| MediaRefusal::no_ports("no such edge"))?;
        let (Some(address), Some(pair)) = (edge.media_address, edge.granted.front().copied()) else {
            return Err(MediaRefusal::no_ports("no media port is free at the edge"));
        };
        let Some(inside) = self.calls.free.pop() else {
            return Err(MediaRefusal::no_ports("no media port is free at the core"));
        };
        edge.granted.pop_front();
        let id = RelayId(key);
        let relay = Relay {
            id,
            address,
            anchor: Anchor {
                outside: Place { ports: pair, keys: OurKeys::generate(&mut self.random) },
                inside: Place { ports: inside, keys: OurKeys::generate(&mut self.random) },
            },
            section: 0,
            offered: None,
            media: None,
            published: None,
        };
        self.calls.by_relay.insert(id, key);
        if let Some(call) = self.calls.calls.get_mut(&key) {
            call.relay = Some(relay);
        }
        Ok(())
    }

    /// Tells the media threads and the edge what has changed.
    fn publish(&mut self, key: u32) {
        let Some(call) = self.calls.calls.get_mut(&key) else { return };
        let Some(relay) = &mut call.relay else { return };
        let media = relay.media.as_ref();
        let outside = media.map_or(LegSecurity::Awaited, |media| media.outside.security.clone());
        let frame = Frame::SetRelay {
            relay: relay.id,
            ports: relay.anchor.outside.ports,
            call: call.number,
            flow: call.flow,
            described: media.and_then(|media| media.outside.described),
            srtp: outside != LegSecurity::Plain,
        };
        let party = match media {
            Some(SectionMedia { inside, .. }) => {
                InsideLeg { described: inside.described, security: inside.security.clone(), mux: inside.mux }
            }
            None => InsideLeg { described: None, security: LegSecurity::Awaited, mux: false },
        };
        let rule = InsideRelay {
            peer: call.edge.clone(),
            relay: relay.id,
            ports: relay.anchor.inside.ports,
            party,
            early: Vec::new(),
            outside,
            carriage: Carriage::Rtp,
            client_timeout: None,
        };
        let (new_rule, new_frame) = match &relay.published {
            Some((old_rule, old_frame)) => (*old_rule != rule, *old_frame != frame),
            None => (true, true),
        };
        relay.published = Some((rule.clone(), frame.clone()));
        let edge = call.edge.clone();
        if new_rule {
            self.outputs.push_back(Output::Media(MediaCommand::SetInside(rule)));
        }
        if new_frame {
            self.send_frame(&edge, &frame);
        }
    }

    fn end_call(&mut self, key: u32, why: &'static str) {
        let Some(call) = self.calls.calls.remove(&key) else { return };
        for tag in &call.outside_tags {
            self.calls.by_dialog.remove(&(call.id.clone(), tag.clone()));
        }
        for id in &call.exchanges {
            self.calls.exchanges.remove(id);
        }
        self.calls.release_number(&call.id);
        self.calls.gauge.set(self.calls.numbers.len() as u64);
        if let Some(relay) = call.relay {
            self.calls.by_relay.remove(&relay.id);
            let frame = Frame::CloseRelay { relay: relay.id, ports: relay.anchor.outside.ports };
            self.send_frame(&call.edge, &frame);
            if relay.published.is_some() {
                let command = MediaCommand::Close { peer: call.edge, relay: relay.id };
                self.outputs.push_back(Output::Media(command));
            } else {
                self.calls.free.push(relay.anchor.inside.ports);
            }
        }
        self.notice(Notice::CallEnded { call: Pii::new(call.id), why });
    }

    /// RFC 3261 §12.2: within a dialog the route set stays, the Contact may change.
    fn target_refreshed(&mut self, key: u32, message: &Message) {
        let Some(call) = self.calls.calls.get_mut(&key) else { return };
        let Some(party) = call.inside_party.as_mut().filter(|party| !party.by_route) else { return };
        if let Some(place) = message.contacts().next().and_then(|contact| host_port(contact.uri)) {
            party.place = place;
        }
    }

    /// Where requests of the client's dialog will go, out of the answer to its INVITE: the
    /// Record-Route above our own, or the Contact (RFC 3261 §12.1.2).
    fn party_ahead(&self, response: &Message) -> Option<InsideParty> {
        let routes: Vec<_> = response.addresses(Name::RecordRoute).map(|route| route.uri).collect();
        let ours = routes.iter().rposition(|uri| Uri::parse(uri).is_some_and(|uri| self.is_own(&uri)))?;
        let place = match ours.checked_sub(1) {
            Some(above) => host_port(routes[above]),
            None => response.contacts().next().and_then(|contact| host_port(contact.uri)),
        };
        place.map(|place| InsideParty { place, by_route: ours > 0 })
    }
}

impl Relay {
    fn anchors(&self) -> Vec<Option<Anchor>> {
        let mut anchors = vec![None; self.section];
        anchors.push(Some(self.anchor.clone()));
        anchors
    }
}

const fn media_side(side: Side) -> sdp::Side {
    match side {
        Side::Outside => sdp::Side::Outside,
        Side::Inside => sdp::Side::Inside,
    }
}

/// Where requests of a dialog that the inside opened will go: its topmost Record-Route, or its
/// Contact (RFC 3261 §12.1.1).
fn party_behind(request: &Message) -> Option<InsideParty> {
    let route = request.addresses(Name::RecordRoute).next().map(|route| route.uri);
    let by_route = route.is_some();
    let place = route.or_else(|| request.contacts().next().map(|contact| contact.uri)).and_then(host_port);
    place.map(|place| InsideParty { place, by_route })
}

fn host_port(uri: &str) -> Option<(String, u16)> {
    let uri = Uri::parse(uri)?;
    Some((uri.host.trim_matches(['[', ']']).to_owned(), uri.port.unwrap_or(5_060)))
}

/// The client's flow out of the edge's token in the Route, or in a rewritten Contact.
fn flow_of_route(request: &Message) -> Option<FlowId> {
    let in_routes = request.routes().find_map(|route| flow_of_user(Uri::parse(route.uri)?.user?));
    in_routes.or_else(|| {
        let (_, route) = crate::contact::restored(request.request_uri()?)?;
        flow_of_user(&route)
    })
}

fn flow_of_user(user: &str) -> Option<FlowId> {
    let (_, token) = user.split_once('.')?;
    u64::from_str_radix(token.get(..16)?, 16).ok().map(FlowId)
}
