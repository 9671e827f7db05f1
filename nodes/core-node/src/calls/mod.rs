//! Calls: the dialogs of clients, their relays, and the session descriptions on the way.
//!
//! A call here is one client's side of a call: two clients outside talking to each other are two
//! entries, joined by the registrar (the operator's count takes them as one, by their Call-ID). Each is
//! known by Call-ID and the *client's* tag; until the client has shown a tag, by its INVITE's
//! transaction. The core anchors media: SRTP with the client (over the edge), RTP or SRTP inside.
//!
//! A call of a client may be answered by several parties (RFC 3261 §13.2.2.4): each is a [`Dialog`],
//! known by the party's tag, with a target and descriptions of its own. All of them share the
//! [`Relay`]s, one for each media section: the client offered once, so there is one address and one
//! SDES context towards it. The relay hears every early party and sends to one; the first 2xx ends the
//! others.
//!
//! | file | what |
//! |---|---|
//! | `exchange.rs` | transactions of a call: what the bodies of requests, responses and ACKs become |
//! | `offers.rs` | offers, answers and what becomes of an offer that is refused |
//! | `relays.rs` | relays, their ports here and at the edge, and who is told |
//! | `target.rs` | where requests of a dialog go |
//! | `list.rs` | what an operator reads of calls |
//! | `moves.rs` | clients that come back over another connection |
//! | `ending.rs` | calls that an operator ends |
//! | `watch.rs` | calls that have lost their client or their media |
//! | `refusal.rs` | why a description goes no further |
//!
//! Invariant: a relay lives exactly as long as an offer or an agreed description of its call needs it,
//! and a call ends by BYE, by failure of its INVITE, by the end of its edge, by an operator's order, or when its
//! client is gone and silent.

mod ending;
mod exchange;
mod list;
mod moves;
mod offers;
mod refusal;
mod relays;
mod target;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use edgeway_media::sdp::{Protection, SectionMedia, Side};
use edgeway_model::media::PortPair;
use edgeway_model::notice::Notice;
use edgeway_model::world::Gauge;
use edgeway_model::{FlowId, Moment, NodeId, Pii, Random, RelayId};
use edgeway_policy::lengths::Lengths;
use edgeway_sip::Message;
use edgeway_sip::bindings::aor_of;
use edgeway_sip::proxy::TransactionId;

pub(crate) use self::ending::Farewells;
use self::ending::{Sequences, Ways};
use self::exchange::Exchange;
use self::list::Parties;
use self::moves::Spare;
use self::offers::Proposal;
pub(crate) use self::refusal::MediaRefusal;
use self::relays::Relay;
pub(crate) use self::target::{InsideParty, flow_of_route, host_port, party_behind};
use crate::identity::label_of;
use crate::limits::{CALLS_MAX, EARLY_DIALOGS_MAX, EXCHANGES_MAX, TAGS_MAX};
use crate::{CoreNode, flow_at};

/// One party inside that a client's call has reached, or that has called the client.
#[derive(Debug)]
struct Dialog {
    /// Number within the call.
    number: u32,
    /// The party's tag.
    tag: String,
    /// Where requests of this dialog go inside.
    target: Option<InsideParty>,
    /// A 2xx made it.
    confirmed: bool,
    sequences: Sequences,
    ways: Ways,
    /// What both sides have agreed on, by media section. `None`: refused or ended.
    sections: Vec<Option<SectionMedia>>,
    proposals: Vec<Proposal>,
}

#[derive(Debug)]
struct Call {
    id: String,
    parties: Parties,
    since: Moment,
    /// What the operator counts as one call: the same for both parties where both are clients.
    number: u32,
    /// The edge and flow the client is reached by, as the edge numbers it, and told apart from other
    /// edges'.
    edge: NodeId,
    flow: FlowId,
    tagged: FlowId,
    /// The edge's URI that leads to the client now, if it has moved since the dialog began.
    way: Option<String>,
    /// What was registered on the client's flow: device and address of record.
    lines: Vec<(String, String)>,
    /// Who the client is in it, as [`label_of`] has it.
    identity: u64,
    /// Another flow of the same device.
    spare: Option<Spare>,
    outside_tags: Vec<String>,
    /// The INVITE that opens the call and has no final answer yet.
    inviting: Option<TransactionId>,
    established: bool,
    /// An ACK has passed.
    acknowledged: bool,
    dialogs: Vec<Dialog>,
    next_dialog: u32,
    /// What the client offered in its INVITE, for every party that answers.
    first_offer: Option<Proposal>,
    /// How the other party is spoken to, from the first offer to the last.
    inside_offer: Protection,
    /// By media section.
    relays: Vec<Option<Relay>>,
    exchanges: Vec<TransactionId>,
    /// An operator has ended it: until when that waits for its parties.
    ending: Option<Moment>,
    /// Its client's flow is gone.
    lost: Option<Moment>,
    /// Since when its edge was away so long that it may have ended without us.
    doubted: Option<Moment>,
    /// When media last came from the client, and from either side.
    heard: Moment,
    alive: Moment,
    /// The operator knows that it is silent.
    silent: bool,
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
    ending: BTreeSet<(Moment, u32)>,
    silent: BTreeSet<(Moment, u32)>,
    next: u32,
    next_relay: u32,
    free: Vec<PortPair>,
    asked: usize,
    /// A request waits for ports.
    waited_for: bool,
    /// Binding failed: not asked again before this.
    bind_again_at: Option<Moment>,
    /// How long calls have lasted.
    lengths: Lengths,
    pub(crate) gauge: Gauge,
}

impl Calls {
    pub(crate) fn new(random: &mut Random) -> Self {
        // Random, so that what is meant for calls and relays of an earlier life of this core never meets ours.
        let first = random.next_u64();
        Self {
            calls: BTreeMap::new(),
            by_dialog: HashMap::new(),
            exchanges: HashMap::new(),
            by_relay: HashMap::new(),
            numbers: HashMap::new(),
            lost: BTreeSet::new(),
            ending: BTreeSet::new(),
            silent: BTreeSet::new(),
            // In the lower half: numbers go up, and lists are read in their order.
            next: first as u32 >> 1,
            next_relay: (first >> 40) as u32,
            free: Vec::new(),
            asked: 0,
            waited_for: false,
            bind_again_at: None,
            lengths: Lengths::default(),
            gauge: Gauge::default(),
        }
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

    /// Where requests of a client's dialog go inside. RFC 3261 §12.1: Call-ID and both tags name it;
    /// whoever does not know all three has no part in it.
    pub(crate) fn inside_target(&self, call_id: &str, outside_tag: &str, inside_tag: &str) -> Option<&(String, u16)> {
        let call = self.calls.get(&self.of_client(call_id, outside_tag)?)?;
        Some(&call.dialog_tagged(inside_tag)?.target.as_ref()?.place)
    }

    fn of_client(&self, call_id: &str, outside_tag: &str) -> Option<u32> {
        self.by_dialog.get(&(call_id.to_owned(), outside_tag.to_owned())).copied()
    }

    /// Whether a client's request belongs to a call.
    pub(crate) fn knows(&self, request: &Message) -> bool {
        self.client_of(request).is_some()
    }

    /// Who the client is in the call its request belongs to, as [`label_of`] has it.
    pub(crate) fn client_of(&self, request: &Message) -> Option<u64> {
        let (outside_tag, inside_tag) = tags(request, Side::Outside);
        let (key, _) = self.of_dialog(request.call_id(), outside_tag, inside_tag)?;
        Some(self.calls.get(&key)?.identity)
    }

    /// The call and the dialog of a request within one.
    fn of_dialog(&self, call_id: &str, outside_tag: &str, inside_tag: &str) -> Option<(u32, u32)> {
        let key = self.of_client(call_id, outside_tag)?;
        Some((key, self.calls.get(&key)?.dialog_tagged(inside_tag)?.number))
    }

    /// Whether a relay is one of this edge's.
    /// Whether a client takes part in a call over this flow.
    pub(crate) fn is_client(&self, flow: FlowId) -> bool {
        self.calls.values().any(|call| call.tagged == flow)
    }

    pub(crate) fn is_relay_of(&self, relay: RelayId, edge: &NodeId) -> bool {
        let call = self.by_relay.get(&relay).and_then(|key| self.calls.get(key));
        let known = call.and_then(|call| call.relays.iter().flatten().find(|known| known.id == relay));
        known.is_some_and(|known| known.edge == *edge)
    }

    fn add_tag(&mut self, key: u32, tag: &str) {
        let Some(call) = self.calls.get(&key) else { return };
        if call.outside_tags.len() >= TAGS_MAX || call.outside_tags.iter().any(|known| known == tag) {
            return;
        }
        let (name, client) = ((call.id.clone(), tag.to_owned()), call.tagged);
        // A name that another client goes by is not given away: who chose it again has none.
        let of_another = |other: &u32| self.calls.get(other).is_some_and(|other| other.tagged != client);
        if self.by_dialog.get(&name).is_some_and(of_another) {
            return;
        }
        if let Some(call) = self.calls.get_mut(&key) {
            call.outside_tags.push(tag.to_owned());
        }
        self.by_dialog.insert(name, key);
    }

    fn add_exchange(&mut self, id: TransactionId, exchange: Exchange) {
        let Some(call) = self.calls.get_mut(&exchange.call) else { return };
        if self.exchanges.insert(id, exchange).is_some() {
            // Tried again over another connection.
            return;
        }
        if call.exchanges.len() >= EXCHANGES_MAX {
            let oldest = call.exchanges.iter().position(|id| call.inviting != Some(*id)).unwrap_or(0);
            let oldest = call.exchanges.remove(oldest);
            self.exchanges.remove(&oldest);
        }
        call.exchanges.push(id);
    }
}

impl Call {
    fn dialog(&self, number: u32) -> Option<&Dialog> {
        self.dialogs.iter().find(|dialog| dialog.number == number)
    }

    fn dialog_mut(&mut self, number: u32) -> Option<&mut Dialog> {
        self.dialogs.iter_mut().find(|dialog| dialog.number == number)
    }

    fn dialog_tagged(&self, tag: &str) -> Option<&Dialog> {
        self.dialogs.iter().find(|dialog| dialog.tag == tag)
    }

    /// The dialog with the party of this tag; `None` where there are too many.
    fn enter_dialog(&mut self, tag: &str, confirmed: bool) -> Option<&mut Dialog> {
        if let Some(at) = self.dialogs.iter().position(|dialog| dialog.tag == tag) {
            return Some(&mut self.dialogs[at]);
        }
        if self.dialogs.len() >= EARLY_DIALOGS_MAX {
            // An answer matters more than whatever only rings.
            let early = self.dialogs.iter().position(|dialog| !dialog.confirmed).filter(|_| confirmed)?;
            self.dialogs.remove(early);
        }
        self.next_dialog += 1;
        self.dialogs.push(Dialog {
            number: self.next_dialog,
            tag: tag.to_owned(),
            target: None,
            confirmed: false,
            sequences: Sequences::default(),
            ways: Ways::default(),
            sections: Vec::new(),
            proposals: self.first_offer.iter().cloned().collect(),
        });
        self.dialogs.last_mut()
    }

    /// The dialog media follows: the one that is confirmed, else the one that has agreed last.
    fn leading_dialog(&self) -> Option<&Dialog> {
        let agreed = |dialog: &&Dialog| !dialog.sections.is_empty();
        let confirmed = self.dialogs.iter().filter(agreed).find(|dialog| dialog.confirmed);
        confirmed.or_else(|| self.dialogs.iter().rev().find(agreed))
    }
}

impl CoreNode {
    fn open_call(
        &mut self,
        edge: &NodeId,
        flow: FlowId,
        (side, request): (Side, &Message),
        now: Moment,
    ) -> Result<u32, MediaRefusal> {
        if self.calls.calls.len() >= CALLS_MAX {
            return Err(MediaRefusal::overload("the bound on calls is reached"));
        }
        let index = self.edges.get(edge).map_or(0, |edge| edge.index);
        let tagged = flow_at(index, flow);
        self.calls.next = self.calls.next.wrapping_add(1);
        let key = self.calls.next;
        let number = self.calls.number(request.call_id(), key);
        let client = match side {
            Side::Outside => request.from(),
            Side::Inside => request.to(),
        };
        let call = Call {
            id: request.call_id().to_owned(),
            parties: Parties::of(request),
            since: now,
            number,
            edge: edge.clone(),
            flow,
            tagged,
            way: None,
            lines: self.bindings.lines_of(tagged),
            identity: label_of(&aor_of(client.uri)),
            spare: None,
            outside_tags: Vec::new(),
            inviting: None,
            established: false,
            acknowledged: false,
            dialogs: Vec::new(),
            next_dialog: 0,
            first_offer: None,
            inside_offer: self.settings.inside_offer,
            relays: Vec::new(),
            exchanges: Vec::new(),
            ending: None,
            lost: None,
            doubted: None,
            heard: now,
            alive: now,
            silent: false,
        };
        self.calls.calls.insert(key, call);
        self.calls.gauge.set(self.calls.numbers.len() as u64);
        self.notice(Notice::CallOffered { call: Pii::new(request.call_id().to_owned()) });
        Ok(key)
    }

    fn call(&self, key: u32) -> Option<&Call> {
        self.calls.calls.get(&key)
    }

    fn call_mut(&mut self, key: u32) -> Option<&mut Call> {
        self.calls.calls.get_mut(&key)
    }

    /// A BYE has ended a dialog; the call goes on while another stands, or while its INVITE may still
    /// be answered.
    fn end_dialog(&mut self, key: u32, dialog: Option<u32>, why: &'static str) {
        let Some(call) = self.call_mut(key) else { return };
        if let Some(dialog) = dialog {
            call.dialogs.retain(|known| known.number != dialog);
        }
        if dialog.is_none() || (call.dialogs.is_empty() && call.inviting.is_none()) {
            return self.end_call(key, why);
        }
        self.settle_relays(key);
    }

    fn end_call(&mut self, key: u32, why: &'static str) {
        let Some(call) = self.calls.calls.remove(&key) else { return };
        for tag in &call.outside_tags {
            let name = (call.id.clone(), tag.clone());
            if self.calls.by_dialog.get(&name) == Some(&key) {
                self.calls.by_dialog.remove(&name);
            }
        }
        for id in &call.exchanges {
            self.calls.exchanges.remove(id);
        }
        if let Some(at) = call.ending {
            self.calls.ending.remove(&(at, key));
        }
        self.calls.lengths.note(self.now.since(call.since));
        self.calls.release_number(&call.id);
        self.calls.gauge.set(self.calls.numbers.len() as u64);
        for relay in call.relays.into_iter().flatten() {
            self.close_relay(&relay);
        }
        self.notice(Notice::CallEnded { call: Pii::new(call.id), why });
    }

    /// A request could not be sent on. Who sends a BYE is done, whatever the answer (RFC 3261 §15.1.1).
    fn bye_failed(&mut self, id: TransactionId, why: &'static str) {
        let Some(request) = self.proxy.request(id).filter(|request| request.method() == Some("BYE")) else { return };
        let from = match self.proxy.upstream(id) {
            Some(hop) if hop.is_node() => Side::Outside,
            Some(_) | None => Side::Inside,
        };
        let (outside_tag, inside_tag) = tags(request, from);
        if let Some((key, dialog)) = self.calls.of_dialog(request.call_id(), outside_tag, inside_tag) {
            self.end_dialog(key, Some(dialog), why);
        }
    }

    /// An edge has restarted: whatever went through it is gone.
    pub(crate) fn end_calls_of(&mut self, edge: &NodeId) {
        let through = |call: &Call| call.edge == *edge || call.relays.iter().flatten().any(|relay| relay.edge == *edge);
        let keys: Vec<_> = self.calls.calls.iter().filter(|(_, call)| through(call)).map(|(key, _)| *key).collect();
        for key in keys {
            self.end_call(key, "edge restarted");
        }
    }
}

/// Which tag of a request is the client's, and which the inside party's.
fn tags(request: &Message, from: Side) -> (&str, &str) {
    let (sender, receiver) = (request.from_tag().unwrap_or_default(), request.to_tag().unwrap_or_default());
    match from {
        Side::Outside => (sender, receiver),
        Side::Inside => (receiver, sender),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lives_of_a_core_do_not_number_calls_alike() {
        let first = |seed: u8| Calls::new(&mut Random::from_seed([seed; 32])).next;
        assert!(first(1).abs_diff(first(2)) > 1_000, "{} and {}", first(1), first(2));
        assert!((0..50).all(|seed| first(seed) <= u32::MAX / 2), "they go up from there");
    }
}
