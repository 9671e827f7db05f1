//! An operator ends a call: both parties are told as each would be by the other, and what the call held is free.
//!
//! * A call that is up: a BYE to each party of each dialog, in the other one's name (RFC 3261 §15.1), with the dialog's
//!   own remote target, route set and the next CSeq of the side it speaks for (§12.2.1.1). The answers end here. The call
//!   is over when the BYE has been sent, whatever becomes of it (§15.1.1): who never answers, or asks for credentials,
//!   keeps nothing here; the operator is told.
//! * A call that has been answered and not acknowledged waits for the ACK: the callee must not be spoken for before
//!   (§15), and no longer than RFC 3261 lets it wait.
//! * A call that rings: the INVITE is withdrawn as a proxy may (§16.10). The callee gets CANCEL, and what it answers, 487,
//!   is what the caller gets. A callee that does not answer is not waited for longer than §9.1 says; the caller is then
//!   answered 480. An INVITE that has not left yet is answered 480 at once.
//!
//! Past the deadline of maintenance mode all calls end in the same way, but no ACK is waited for.
//!
//! A party that goes on all the same speaks within a dialog that the other one does not know any more, and hears 481.

use std::collections::BTreeMap;

use bytes::Bytes;
use edgeway_model::notice::{CallSide, Notice};
use edgeway_model::{Moment, NodeId, Pii};
use edgeway_sip::proxy::Hop;
use edgeway_sip::requests::{Outcome, RequestId};
use edgeway_sip::uri::Uri;
use edgeway_sip::{Message, Name, NameAddr};

use super::{Call, Side};
use crate::CoreNode;
use crate::inward::Decision;
use crate::limits::{ENDING_WITHIN, PARTY_NAME_BYTES_MAX, PARTY_WAY_BYTES_MAX};
use crate::registrars::{Destination, alias};

/// Why a call has ended, as the operator's own lists say it.
const BY_OPERATOR: &str = "ended by an operator";

/// How a party of a dialog is spoken to, in one piece, a line each: its name (the URI of its From or To), its tag, and then
/// its remote target and the route set that leads there from here. A party that says too much to be reached has no more
/// than the first two: without them the other party could not be spoken to in its name either.
#[derive(Debug)]
pub(super) struct PartyWay(Box<str>);

/// The name of a party whose own is too long to be kept. Dialogs are told apart by tags (RFC 3261 §12).
const NAMELESS: &str = "sip:anonymous@anonymous.invalid";

impl PartyWay {
    /// `None`: a tag that is none.
    fn of<'a>(
        name: &NameAddr<'_>,
        target: Option<NameAddr<'_>>,
        routes: impl Iterator<Item = NameAddr<'a>>,
    ) -> Option<Self> {
        // What holds a fold would be two lines. Nobody honest writes one, or so much.
        let is_line = |text: &str| !text.contains(['\r', '\n']);
        let tag = name.tag().unwrap_or_default();
        let short = Some(name.uri).filter(|uri| is_line(uri) && uri.len() <= PARTY_NAME_BYTES_MAX);
        // The tag is kept whole, as the call itself keeps it.
        let named = is_line(tag).then(|| format!("{}\n{tag}", short.unwrap_or(NAMELESS)))?;
        let Some(target) = target.filter(|target| is_line(target.uri) && Uri::parse(target.uri).is_some()) else {
            return Some(Self(named.into()));
        };
        let mut text = format!("{named}\n{}", target.uri);
        for route in routes {
            if !is_line(route.uri) || text.len() > PARTY_WAY_BYTES_MAX {
                return Some(Self(named.into()));
            }
            text.push('\n');
            text.push_str(route.uri);
        }
        let sound = if text.len() <= PARTY_WAY_BYTES_MAX { text } else { named };
        Some(Self(sound.into()))
    }

    /// Its name and its tag.
    fn name(&self) -> Option<(&str, &str)> {
        let mut lines = self.0.split('\n');
        Some((lines.next()?, lines.next()?))
    }

    /// Its remote target and the route set.
    fn way(&self) -> Option<(&str, impl Iterator<Item = &str>)> {
        let mut lines = self.0.split('\n').skip(2);
        Some((lines.next()?, lines))
    }

    fn refresh(&mut self, target: &str) {
        if Uri::parse(target).is_none() || target.contains(['\r', '\n']) {
            return;
        }
        let mut lines: Vec<&str> = self.0.split('\n').collect();
        let Some(known) = lines.get_mut(2).filter(|known| **known != target) else { return };
        *known = target;
        let text = lines.join("\n");
        if text.len() <= PARTY_WAY_BYTES_MAX {
            self.0 = text.into();
        }
    }
}

/// How both parties of a dialog are spoken to; kept from the 2xx on.
#[derive(Debug, Default)]
pub(super) struct Ways {
    client: Option<PartyWay>,
    inside: Option<PartyWay>,
}

impl Ways {
    fn of(&mut self, side: Side) -> &mut Option<PartyWay> {
        match side {
            Side::Outside => &mut self.client,
            Side::Inside => &mut self.inside,
        }
    }
}

/// The highest CSeq each side has used in a dialog (RFC 3261 §12.2.1.1); 0: none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sequences {
    client: u32,
    inside: u32,
}

impl Sequences {
    fn note(&mut self, side: Side, number: u32) {
        let known = match side {
            Side::Outside => &mut self.client,
            Side::Inside => &mut self.inside,
        };
        *known = number.max(*known);
    }

    /// The next one of a side. A CSeq is less than 2^31 (RFC 3261 §8.1.1.5).
    const fn next(self, side: Side) -> u32 {
        let last = match side {
            Side::Outside => self.client,
            Side::Inside => self.inside,
        };
        if last < CSEQ_MAX { last + 1 } else { CSEQ_MAX }
    }
}

const CSEQ_MAX: u32 = (1 << 31) - 1;

/// A BYE of ours that waits for its answer.
#[derive(Debug)]
pub(crate) struct Farewell {
    call_id: String,
    side: Side,
    /// Inside: where it went, to be tried once more if its connection breaks.
    again: Option<Destination>,
}

/// By request.
pub(crate) type Farewells = BTreeMap<RequestId, Farewell>;

/// A BYE, but for its Via.
struct Bye {
    side: Side,
    first_line: String,
    rest: String,
    /// The first hop is a strict router, which finds itself in the Request-URI and not in a Route.
    strict: bool,
}

impl Bye {
    /// As a client would send it to us, its first hop where [`CoreNode::decide`] looks for it.
    fn as_asked(&self) -> Bytes {
        let whole = self.with_via("SIP/2.0/TLS invalid;branch=z9hG4bKew");
        if !self.strict {
            return whole;
        }
        let is_route = |line: &&[u8]| line.starts_with(b"Route: ");
        Bytes::from(
            whole.split_inclusive(|byte| *byte == b'\n').filter(|line| !is_route(line)).collect::<Vec<_>>().concat(),
        )
    }

    fn with_via(&self, via: &str) -> Bytes {
        Bytes::from(format!("{}\r\nVia: {via}\r\n{}", self.first_line, self.rest))
    }
}

impl Call {
    /// A request of a dialog has passed.
    pub(super) fn note_sequence(&mut self, dialog: u32, side: Side, request: &Message) {
        if let Some(dialog) = self.dialog_mut(dialog) {
            dialog.sequences.note(side, request.cseq().0);
        }
    }

    /// RFC 3261 §12.2.1.2, RFC 3311 §5.1: INVITE and UPDATE, and their 2xx, may give a party a new remote target.
    pub(super) fn note_target(&mut self, dialog: u32, side: Side, method: &str, message: &Message) {
        if !matches!(method, "INVITE" | "UPDATE") {
            return;
        }
        let way = self.dialog_mut(dialog).and_then(|dialog| dialog.ways.of(side).as_mut());
        if let (Some(way), Some(contact)) = (way, message.contacts().next()) {
            way.refresh(contact.uri);
        }
    }

    /// The BYE to one party of a dialog in the name of the other.
    fn bye(&self, dialog: &super::Dialog, to: Side, why: &str) -> Option<Bye> {
        let (there, here, from) = match to {
            Side::Outside => (dialog.ways.client.as_ref(), dialog.ways.inside.as_ref(), Side::Inside),
            Side::Inside => (dialog.ways.inside.as_ref(), dialog.ways.client.as_ref(), Side::Outside),
        };
        let ((name, tag), (target, routes)) = (there?.name()?, there?.way()?);
        // Whatever that party has said of its own way: it is not gone.
        let (own_name, own_tag) = here?.name()?;
        let mut routes: Vec<_> = routes.map(|uri| format!("<{uri}>")).collect();
        if let (Side::Outside, Some(way)) = (to, &self.way) {
            // The client has come back over another connection.
            match routes.first_mut() {
                Some(first) => first.clone_from(way),
                None => routes.push(way.clone()),
            }
        }
        let mut uri = target.to_owned();
        let strict = |route: &String| {
            Uri::parse(route.trim_matches(['<', '>'])).is_some_and(|route| route.param("lr").is_none())
        };
        let strict = routes.first().is_some_and(strict);
        if strict {
            // RFC 3261 §12.2.1.1: a strict router finds itself in the Request-URI, and the target at the end.
            routes.push(format!("<{target}>"));
            uri = routes.remove(0).trim_matches(['<', '>']).to_owned();
        }
        let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
        let rest = format!(
            "Max-Forwards: 70\r\n{routes}From: <{own_name}>;tag={own_tag}\r\nTo: <{name}>;tag={tag}\r\nCall-ID: {}\r\n\
             CSeq: {} BYE\r\nReason: Q.850;cause=31;text=\"{why}\"\r\nContent-Length: 0\r\n\r\n",
            self.id,
            dialog.sequences.next(from),
        );
        Some(Bye { side: to, first_line: format!("BYE {uri} SIP/2.0"), rest, strict })
    }
}

impl CoreNode {
    /// Both parties of a dialog can be told of its end from now on: `responder` has answered `request` with a 2xx.
    pub(super) fn note_ways(&mut self, key: u32, dialog: u32, responder: Side, request: &Message, response: &Message) {
        let named: Vec<_> = response.addresses(Name::RecordRoute).collect();
        let is_ours = |route: &NameAddr<'_>| Uri::parse(route.uri).is_some_and(|uri| self.is_own(&uri));
        // RFC 3261 §12.1.2: whoever answers stands above us; the nearest first from here. A call between two clients passes
        // here twice: seen from the caller's side, whatever is above the lower of our marks is the other side.
        let ours = match responder {
            Side::Inside => named.iter().rposition(is_ours),
            Side::Outside => named.iter().position(is_ours),
        };
        let ahead = named.into_iter().take(ours.unwrap_or(0)).rev();
        let answers = PartyWay::of(&response.to(), ours.and_then(|_| response.contacts().next()), ahead);
        // §12.1.1: whoever asked is reached by the route set as it came.
        let asks = PartyWay::of(&request.from(), request.contacts().next(), request.addresses(Name::RecordRoute));
        let Some(dialog) = self.call_mut(key).and_then(|call| call.dialog_mut(dialog)) else { return };
        let asker = match responder {
            Side::Inside => Side::Outside,
            Side::Outside => Side::Inside,
        };
        *dialog.ways.of(responder) = answers;
        *dialog.ways.of(asker) = asks;
        dialog.sequences.note(asker, request.cseq().0);
    }

    /// An operator ends a call.
    pub(crate) fn end_by_order(&mut self, key: u32, now: Moment) {
        let Some(call) = self.calls.calls.get(&key).filter(|call| call.ending.is_none()) else { return };
        match (call.established, call.acknowledged, call.inviting) {
            (true, true, _) => self.hang_up(key, BY_OPERATOR, now),
            (false, _, Some(id)) if !self.proxy.withdraw(id, now) => self.refuse_ended(key, now),
            (false, _, None) => self.end_call(key, BY_OPERATOR),
            (true, false, _) | (false, _, Some(_)) => self.end_at(key, now + ENDING_WITHIN),
        }
    }

    /// An ACK has passed: what waited for it ends as soon as it has gone on.
    pub(super) fn end_acknowledged(&mut self, key: u32, now: Moment) {
        if self.call(key).is_some_and(|call| call.ending.is_some()) {
            self.end_at(key, now);
        }
    }

    fn end_at(&mut self, key: u32, at: Moment) {
        let Some(call) = self.calls.calls.get_mut(&key) else { return };
        if let Some(before) = call.ending.replace(at) {
            self.calls.ending.remove(&(before, key));
        }
        self.calls.ending.insert((at, key));
    }

    /// Calls that were to end and have waited long enough.
    pub(crate) fn end_ordered(&mut self, now: Moment) {
        while let Some(&(at, key)) = self.calls.ending.first()
            && at <= now
        {
            self.calls.ending.pop_first();
            let Some(call) = self.call(key) else { continue };
            match (call.established, call.inviting) {
                (false, Some(id)) => {
                    self.proxy.abandon(id, now);
                    self.refuse_ended(key, now);
                }
                (true, _) | (false, None) => self.hang_up(key, BY_OPERATOR, now),
            }
        }
    }

    /// Whether there are calls that nobody has ended yet.
    pub(crate) fn has_calls_to_end(&self) -> bool {
        self.calls.calls.len() > self.calls.ending.len()
    }

    /// Every call ends now, whoever is left is told as far as can be. Only what is ending already is waited for, as long as
    /// [`ENDING_WITHIN`] says.
    pub(crate) fn end_all_at_once(&mut self, why: &'static str, now: Moment) {
        let keys: Vec<_> = self.calls.calls.keys().copied().collect();
        for key in keys {
            let Some(call) = self.call(key).filter(|call| call.ending.is_none()) else { continue };
            match (call.established, call.inviting) {
                (true, _) => self.hang_up(key, why, now),
                // The callee's answer to the CANCEL still goes to the caller. It may be a 2xx that has crossed it, which is
                // to be acknowledged and ended like any other: until it is here the call is known.
                (false, Some(id)) if self.proxy.withdraw(id, now) => self.end_at(key, now + ENDING_WITHIN),
                (false, Some(_)) => self.refuse_ended(key, now),
                (false, None) => self.end_call(key, why),
            }
        }
    }

    /// The caller of a call that never came to be is answered here.
    fn refuse_ended(&mut self, key: u32, now: Moment) {
        let inviting = self.call(key).and_then(|call| call.inviting);
        self.end_call(key, BY_OPERATOR);
        if let Some(id) = inviting {
            self.answer(id, 480, "Temporarily Unavailable", Some((399, BY_OPERATOR)), now);
        }
    }

    /// Sends every party its BYE, and ends the call.
    fn hang_up(&mut self, key: u32, why: &'static str, now: Moment) {
        let Some(call) = self.call(key) else { return };
        let (edge, flow, id) = (call.edge.clone(), call.tagged, call.id.clone());
        let confirmed = call.dialogs.iter().filter(|dialog| dialog.confirmed);
        let byes: Vec<_> = confirmed
            .flat_map(|dialog| {
                [Side::Outside, Side::Inside].map(|to| (to, dialog.tag.clone(), call.bye(dialog, to, why)))
            })
            .collect();
        for (to, tag, bye) in byes {
            let Some(bye) = bye else {
                self.unheard(id.clone(), to, "it said nothing that leads to it");
                continue;
            };
            match to {
                Side::Outside => self.bye_outside(&id, &edge, &bye, now),
                Side::Inside => self.bye_inside(&id, flow, &bye, now),
            }
            self.dialog_over(&id, &tag, now);
        }
        self.end_call(key, why);
    }

    fn bye_outside(&mut self, call_id: &str, edge: &NodeId, bye: &Bye, now: Moment) {
        let Some((id, branch)) = self.requests.open() else { return self.no_room(call_id, bye.side) };
        let bytes = bye.with_via(&format!("SIP/2.0/TLS {};branch={branch}", self.agent()));
        self.farewells.insert(id, Farewell { call_id: call_id.to_owned(), side: bye.side, again: None });
        // While the link is down it waits, and goes when the link is back.
        self.requests.send(id, Hop::Peer(edge.clone()), bytes, now);
    }

    /// As the client's own BYE would: to the other party of its dialog, and nowhere else.
    fn bye_inside(&mut self, call_id: &str, flow: edgeway_model::FlowId, bye: &Bye, now: Moment) {
        let as_asked = Message::parse(bye.as_asked());
        let to = as_asked.ok().and_then(|request| match self.decide(flow, &request) {
            Decision::To(destination) => Some(destination),
            Decision::Registrar { .. } => self.any_registrar(flow, &request, now),
            Decision::Refuse(..) => None,
        });
        let Some(to) = to else { return self.unheard(call_id.to_owned(), bye.side, "no way leads to it") };
        let Some((id, branch)) = self.requests.open() else { return self.no_room(call_id, bye.side) };
        let Some(hop) = self.hop_to(&to) else {
            return self.unheard(call_id.to_owned(), bye.side, "no connection to it can be made");
        };
        let transport = to.place.1;
        let (via, agent) = (transport.via(), self.agent_over(transport));
        let bytes = bye.with_via(&format!("SIP/2.0/{via} {agent};branch={branch};rport{}", alias(transport)));
        self.farewells.insert(id, Farewell { call_id: call_id.to_owned(), side: bye.side, again: Some(to) });
        self.requests.send(id, hop, bytes, now);
    }

    fn no_room(&mut self, call_id: &str, side: Side) {
        self.unheard(call_id.to_owned(), side, "too many parties are being told at once");
    }

    /// A connection inside is gone. Most likely the party had closed an idle one: what waits for an answer from it goes
    /// once more, over a new one.
    pub(crate) fn farewells_lost(&mut self, hop: &Hop, now: Moment) {
        for id in self.requests.waiting_for(hop) {
            let again = self.farewells.get_mut(&id).and_then(|farewell| farewell.again.take());
            let (Some(to), Some(bytes)) = (again, self.requests.sent(id).cloned()) else { continue };
            if let Some(hop) = self.hop_to(&to) {
                self.requests.send(id, hop, bytes, now);
            }
        }
    }

    /// Sends what is due, and tells of parties that have not taken their BYE. Returns whether there was anything.
    pub(crate) fn settle_farewells(&mut self) -> bool {
        let mut happened = false;
        while let Some((hop, bytes)) = self.requests.poll_transmit() {
            happened = true;
            self.send_hop(&hop, bytes);
        }
        while let Some(outcome) = self.requests.poll_outcome() {
            happened = true;
            let (id, why) = match outcome {
                // RFC 3261 §15.1.2: 481 says that it was over there already.
                Outcome::Answered { id, status: 200..=299 | 481 } => (id, None),
                Outcome::Answered { id, status } => (id, Some(format!("it answered {status}"))),
                Outcome::Silent(id) => (id, Some("it did not answer".to_owned())),
            };
            let Some(farewell) = self.farewells.remove(&id) else { continue };
            if let Some(why) = why {
                self.unheard(farewell.call_id, farewell.side, why);
            }
        }
        happened
    }

    fn unheard(&mut self, call: String, side: Side, why: impl Into<String>) {
        let side = match side {
            Side::Outside => CallSide::Client,
            Side::Inside => CallSide::Inside,
        };
        self.notice(Notice::CallEndUnheard { call: Pii::new(call), side, why: why.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(target: &str, routes: &[&str]) -> Option<PartyWay> {
        let read = |text: &str| format!("<{text}>");
        let (name, target) = ("<sip:alice@example.com>;tag=a1".to_owned(), read(target));
        let routes: Vec<_> = routes.iter().map(|route| read(route)).collect();
        let address = |text: &'static str| NameAddr::parse(text.as_bytes());
        let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
        let routes: Vec<_> = routes.into_iter().filter_map(|route| address(leak(route))).collect();
        PartyWay::of(&address(leak(name)).expect("legal"), address(leak(target)), routes.into_iter())
    }

    #[test]
    fn an_honest_party_costs_a_few_hundred_bytes_and_no_party_more_than_the_bound() {
        let target =
            "sip:7514c56a-1034-4a7e-8c2b-1f0f3a5f9c11@172.16.84.136:58980;transport=tls;ob;gr=urn:uuid:00000000-0000";
        let edge = "sip:edge1.00000000000000a1b2c3d4e5f60718@edge1.example.com:5061;transport=tls;lr;ob";
        let typical = way(target, &[edge]).expect("it fits");
        assert!(typical.0.len() < 300, "{} bytes", typical.0.len());
        assert_eq!(size_of::<Ways>() + size_of::<Sequences>(), 40);
        let proxies: Vec<_> =
            (0..15).map(|n| format!("sip:proxy{n}.a-long-name-of-a-site.example.com:5060;transport=tcp;lr")).collect();
        let proxies: Vec<_> = proxies.iter().map(String::as_str).collect();
        assert!(way(target, &proxies).is_some_and(|known| known.way().is_some()), "fifteen proxies on the way");
        let proxy = format!("sip:{}@10.0.0.1;lr", "z".repeat(300));
        for long in [
            way(&format!("sip:x@10.0.0.1;y={}", "z".repeat(PARTY_WAY_BYTES_MAX)), &[]),
            way(target, &[proxy.as_str(); 50]),
            way("*", &[]),
        ] {
            assert_eq!(&*long.expect("its name is kept").0, "sip:alice@example.com\na1");
        }
    }

    #[test]
    fn numbers_go_up_and_stay_legal() {
        let mut sequences = Sequences::default();
        assert_eq!(sequences.next(Side::Outside), 1);
        for number in [7, 3, 9] {
            sequences.note(Side::Outside, number);
        }
        assert_eq!((sequences.next(Side::Outside), sequences.next(Side::Inside)), (10, 1));
        sequences.note(Side::Inside, u32::MAX);
        assert_eq!(sequences.next(Side::Inside), CSEQ_MAX);
    }

    #[test]
    fn a_new_target_takes_the_place_of_the_old_one_and_of_nothing_else() {
        let mut known = way("sip:a@10.0.0.1", &["sip:p@10.0.0.2;lr"]).expect("it fits");
        known.refresh("sip:b@10.0.0.3");
        assert_eq!(&*known.0, "sip:alice@example.com\na1\nsip:b@10.0.0.3\nsip:p@10.0.0.2;lr");
        known.refresh("*");
        known.refresh(&format!("sip:{}@10.0.0.3", "x".repeat(PARTY_WAY_BYTES_MAX)));
        assert!(known.0.contains("\nsip:b@10.0.0.3\n"));
    }
}
