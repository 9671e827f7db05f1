//! The transactions of a call, and what becomes of the bodies in them.

use edgeway_model::media::Carriage;
use edgeway_model::notice::DropReason;
use edgeway_model::{FlowId, Moment, NodeId};
use edgeway_sip::Message;
use edgeway_sip::proxy::TransactionId;

use super::offers::AnswerTo;
use super::{MediaRefusal, Side, flow_of_route, party_behind, tags};
use crate::CoreNode;
use crate::limits::LOST_CALL_AFTER;

/// One transaction that belongs to a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    pub(super) call: u32,
    /// `None`: a client's INVITE, where each answer names its own.
    dialog: Option<u32>,
    /// It opens the call: its failure ends it.
    initial: bool,
    /// Its request carried an offer, so that its answers carry answers.
    offered: bool,
    /// It ends the dialog.
    bye: bool,
}

/// A body that is to be taken out.
fn no_body() -> Option<Vec<u8>> {
    Some(Vec::new())
}

impl CoreNode {
    /// What the body of a client's request must become.
    pub(crate) fn inward_body(
        &mut self,
        id: TransactionId,
        edge: &NodeId,
        flow: FlowId,
        request: &Message,
        now: Moment,
    ) -> Result<Option<Vec<u8>>, MediaRefusal> {
        let (outside_tag, inside_tag) = tags(request, Side::Outside);
        if request.method() == Some("INVITE") && request.to_tag().is_none() {
            let key = self.opening(id, edge, flow, (Side::Outside, request), now)?;
            self.calls.add_tag(key, outside_tag);
            return self.request_body(id, key, None, Side::Outside, request);
        }
        let known = self.within_dialog((outside_tag, inside_tag), Side::Outside, request);
        let (Some("INVITE" | "UPDATE" | "PRACK" | "BYE"), Some((key, dialog))) = (request.method(), known) else {
            return MediaRefusal::unless_bare(request.method(), request);
        };
        self.client_speaks(key, edge, flow, request)?;
        self.note_target(key, dialog, Side::Outside, (request, request));
        self.request_body(id, key, Some(dialog), Side::Outside, request)
    }

    /// What the body of a request from inside must become.
    pub(crate) fn outward_body(
        &mut self,
        id: TransactionId,
        edge: &NodeId,
        request: &Message,
        now: Moment,
    ) -> Result<Option<Vec<u8>>, MediaRefusal> {
        let (outside_tag, inside_tag) = tags(request, Side::Inside);
        if request.method() == Some("INVITE") && request.to_tag().is_none() {
            let flow = flow_of_route(request).unwrap_or(FlowId(0));
            let key = self.opening(id, edge, flow, (Side::Inside, request), now)?;
            let Some(call) = self.call_mut(key) else { return Err(MediaRefusal::no_call()) };
            let dialog = call.enter_dialog(inside_tag, false).ok_or_else(MediaRefusal::no_call)?;
            dialog.target = party_behind(request);
            let number = dialog.number;
            return self.request_body(id, key, Some(number), Side::Inside, request);
        }
        let known = self.within_dialog((outside_tag, inside_tag), Side::Inside, request);
        let (Some("INVITE" | "UPDATE" | "PRACK" | "BYE"), Some((key, dialog))) = (request.method(), known) else {
            return MediaRefusal::unless_bare(request.method(), request);
        };
        self.refresh_target(key, dialog, request);
        self.note_target(key, dialog, Side::Inside, (request, request));
        self.request_body(id, key, Some(dialog), Side::Inside, request)
    }

    /// The dialog a request belongs to, which has used up a number of its sender's.
    fn within_dialog(&mut self, tags: (&str, &str), side: Side, request: &Message) -> Option<(u32, u32)> {
        let (key, dialog) = self.calls.of_dialog(request.call_id(), tags.0, tags.1)?;
        if let Some(call) = self.call_mut(key) {
            call.note_sequence(dialog, side, request);
        }
        Some((key, dialog))
    }

    /// Either `message` is the request, or a 2xx to it.
    fn note_target(&mut self, key: u32, dialog: u32, side: Side, (request, message): (&Message, &Message)) {
        if let Some(call) = self.call_mut(key) {
            call.note_target(dialog, side, request.method().unwrap_or_default(), message);
        }
    }

    /// The call an INVITE opens; the same again where the request is tried over another connection.
    fn opening(
        &mut self,
        id: TransactionId,
        edge: &NodeId,
        flow: FlowId,
        invite: (Side, &Message),
        now: Moment,
    ) -> Result<u32, MediaRefusal> {
        if let Some(exchange) = self.calls.exchanges.get(&id) {
            return Ok(exchange.call);
        }
        let key = self.open_call(edge, flow, invite, now)?;
        if let Some(call) = self.call_mut(key) {
            call.inviting = Some(id);
        }
        Ok(key)
    }

    fn request_body(
        &mut self,
        id: TransactionId,
        key: u32,
        dialog: Option<u32>,
        side: Side,
        request: &Message,
    ) -> Result<Option<Vec<u8>>, MediaRefusal> {
        let (invite, bye) = (request.method() == Some("INVITE"), request.method() == Some("BYE"));
        let initial = invite && request.to_tag().is_none();
        let known = dialog.and_then(|number| self.call(key)?.dialog(number));
        let answers = request.method() == Some("PRACK") && known.is_some_and(|dialog| dialog.owes_answer(side));
        let offered = request.has_sdp() && !bye && !answers;
        self.calls.add_exchange(id, Exchange { call: key, dialog, initial, offered, bye });
        match dialog {
            Some(dialog) if answers && request.has_sdp() => {
                self.media_answer(key, dialog, side, AnswerTo::Response, request.sdp()).map(Some)
            }
            _ if offered => self.media_offer(key, dialog, side, (id, false), request.sdp()).map(Some),
            _ if initial => {
                // The answer brings the offer, and may come when no port is at hand.
                self.open_relays(key, &[Some(Carriage::Rtp)])?;
                self.settle_relays(key);
                Ok(None)
            }
            _ if request.has_sdp() => Ok(no_body()),
            _ => Ok(None),
        }
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
        let dialog = match (exchange.dialog, response.to_tag()) {
            (Some(dialog), _) => {
                if status < 300 {
                    self.refresh_target(exchange.call, dialog, response);
                }
                Some(dialog)
            }
            (None, Some(tag)) if status < 300 => self.party_answers(exchange.call, tag, status >= 200, response),
            (None, _) => None,
        };
        self.response_body(id, exchange, dialog, Side::Inside, (request, response), now)
    }

    /// The dialog of one of the parties a client's INVITE has reached; `None` if there are too many.
    fn party_answers(&mut self, key: u32, tag: &str, confirmed: bool, response: &Message) -> Option<u32> {
        let target = self.party_ahead(response);
        let dialog = self.call_mut(key)?.enter_dialog(tag, confirmed)?;
        dialog.target = target.or(dialog.target.take());
        Some(dialog.number)
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
        if let Some(call) = self.call_mut(exchange.call).filter(|_| status < 300) {
            call.doubted = None;
        }
        if let Some(tag) = response.to_tag().filter(|_| status < 300 && exchange.initial) {
            self.calls.add_tag(exchange.call, tag);
        }
        self.response_body(id, exchange, exchange.dialog, Side::Outside, (request, response), now)
    }

    fn response_body(
        &mut self,
        id: TransactionId,
        exchange: Exchange,
        dialog: Option<u32>,
        side: Side,
        (request, response): (&Message, &Message),
        now: Moment,
    ) -> Result<Option<Vec<u8>>, MediaRefusal> {
        let status = response.status().unwrap_or(500);
        let key = exchange.call;
        let was_established = self.call(key).is_some_and(|call| call.established);
        let body = if !response.has_sdp() {
            None
        } else if status >= 300 || exchange.bye {
            // What a party could have done (RFC 3261 §21.4.26) would tell the other side of the wrong
            // addresses and the wrong protection.
            no_body()
        } else {
            self.described(id, exchange, dialog, side, (request, response))?
        };
        if exchange.initial && !was_established {
            self.call_notice(status, request.call_id());
        }
        if status < 200 {
            return Ok(body);
        }
        if status >= 300 || !response.has_sdp() {
            self.void_offers(key, id);
        }
        if let (false, Some(dialog), 200..300) = (exchange.initial, dialog, status) {
            self.note_target(key, dialog, side, (request, response));
        }
        if exchange.initial {
            if status < 300 {
                self.established(key, dialog, now);
                if let Some(dialog) = dialog {
                    self.note_ways(key, dialog, side, request, response);
                }
            } else if !was_established {
                self.end_call(key, if status == 487 { "cancelled" } else { "refused" });
            }
        }
        // A BYE that is challenged has not ended anything yet.
        if exchange.bye && !matches!(status, 401 | 407) {
            self.end_dialog(key, exchange.dialog, "hang-up");
        }
        Ok(body)
    }

    /// The description in a response that is no failure.
    fn described(
        &mut self,
        id: TransactionId,
        exchange: Exchange,
        dialog: Option<u32>,
        side: Side,
        (request, response): (&Message, &Message),
    ) -> Result<Option<Vec<u8>>, MediaRefusal> {
        let key = exchange.call;
        let made = match dialog {
            Some(dialog) if exchange.offered => {
                self.media_answer(key, dialog, side, AnswerTo::Request(id), response.sdp())
            }
            Some(_) if request.method() == Some("INVITE") => {
                self.media_offer(key, dialog, side, (id, true), response.sdp())
            }
            // RFC 6337 §2.2: no other response may carry an offer.
            Some(_) => return Ok(no_body()),
            None => Err(MediaRefusal::overload("the bound on early dialogs is reached")),
        };
        match made {
            Ok(body) => Ok(Some(body)),
            // Early media that cannot be carried is no reason to fail a call that may be answered.
            Err(refusal) if response.status().is_some_and(|status| status < 200) => {
                self.dropped(refusal.reason, refusal.text);
                Ok(no_body())
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// A 2xx: this party has the call, the others that were asked have not (RFC 3261 §13.2.2.4; one
    /// that answers all the same gets a dialog again, for the BYE its caller owes it).
    fn established(&mut self, key: u32, dialog: Option<u32>, now: Moment) {
        let Some(call) = self.call_mut(key) else { return };
        call.inviting = None;
        if let Some(dialog) = dialog.and_then(|number| call.dialog_mut(number)) {
            dialog.confirmed = true;
        }
        if !std::mem::replace(&mut call.established, true) {
            call.dialogs.retain(|dialog| dialog.confirmed);
            // Whoever never acknowledges it never had it.
            self.calls.lost.insert((now + LOST_CALL_AFTER, key));
            self.watch_media(key, now);
        }
        self.settle_relays(key);
    }

    /// An ACK from a client carries the answer to an offer in the 200. `None`: it must not go on.
    pub(crate) fn acknowledged_inward(&mut self, ack: &Message, now: Moment) -> Option<Option<Vec<u8>>> {
        self.acknowledged(Side::Outside, ack, now)
    }

    /// The same from inside.
    pub(crate) fn acknowledged_outward(&mut self, ack: &Message, now: Moment) -> Option<Option<Vec<u8>>> {
        self.acknowledged(Side::Inside, ack, now)
    }

    fn acknowledged(&mut self, side: Side, ack: &Message, now: Moment) -> Option<Option<Vec<u8>>> {
        let (outside_tag, inside_tag) = tags(ack, side);
        let known = self.calls.of_dialog(ack.call_id(), outside_tag, inside_tag);
        if let Some(call) = known.and_then(|(key, _)| self.call_mut(key)) {
            call.acknowledged = true;
            if side == Side::Outside {
                // The client is there (again), whatever became of its connection.
                (call.lost, call.doubted) = (None, None);
            }
        }
        if let Some((key, _)) = known {
            self.end_acknowledged(key, now);
        }
        if !ack.has_sdp() {
            return Some(None);
        }
        let Some((key, dialog)) = known else {
            self.dropped(DropReason::NoRelay, "a description in an ACK of no call of ours");
            return None;
        };
        match self.media_answer(key, dialog, side, AnswerTo::Response, ack.sdp()) {
            Ok(body) => Some(Some(body)),
            Err(refusal) => {
                self.dropped(refusal.reason, refusal.text);
                None
            }
        }
    }

    /// An INVITE (or any transaction of a call) came to nothing.
    pub(crate) fn end_invite(&mut self, id: TransactionId, why: &'static str) {
        let Some(exchange) = self.calls.exchanges.get(&id).copied() else { return self.bye_failed(id, why) };
        let established = self.call(exchange.call).is_some_and(|call| call.established);
        if exchange.initial && !established {
            return self.end_call(exchange.call, why);
        }
        self.void_offers(exchange.call, id);
        if exchange.bye {
            self.end_dialog(exchange.call, exchange.dialog, why);
        }
    }

    fn refresh_target(&mut self, key: u32, dialog: u32, message: &Message) {
        let dialog = self.call_mut(key).and_then(|call| call.dialog_mut(dialog));
        if let Some(target) = dialog.and_then(|dialog| dialog.target.as_mut()) {
            target.refresh(message);
        }
    }
}
