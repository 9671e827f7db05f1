//! What may happen before the answer, and beside it: reliable provisional answers (RFC 3262), UPDATE
//! (RFC 3311), early media of several parties, and answers of parties that were too late.

use bytes::Bytes;
use edgeway_model::Moment;
use edgeway_sip::{Message, Name};

use crate::calls::{REPEAT, Stage, T1, T2, texts};
use crate::phone::{From, Phone, Timer};

impl Phone {
    /// The callee has something to hear before it answers.
    pub(crate) fn progress(&mut self, id: &str, now: Moment) {
        let Some((from, request)) = self.calls.get(id).and_then(|call| call.invite.clone()) else { return };
        let reliable = request.values(Name::Supported).any(|value| value == b"100rel");
        if !reliable && !request.has_sdp() {
            // An offer in a provisional answer must be reliable.
            return;
        }
        let body =
            if request.has_sdp() { self.answer_to(id, request.body(), "sendrecv") } else { self.offer(id, "sendrecv") };
        let contact = format!("<{}>", self.contact_uri());
        let Some(call) = self.calls.get_mut(id) else { return };
        let mut response = request.respond(183, "Session Progress").to_tag(&call.local_tag).record_route();
        response = response.header(Name::Contact, &contact);
        if reliable {
            response = response.header(Name::Require, "100rel").other("RSeq", "1");
        }
        let bytes = response.body("application/sdp", body.as_bytes()).build();
        call.described = Some((body, reliable));
        call.interval = T1;
        call.reliable = reliable.then(|| (from, bytes.clone(), now + REPEAT));
        self.remember(&request, &bytes);
        self.reply(from, bytes);
        if reliable {
            self.set(Timer::RepeatProgress(id.to_owned()), now + T1);
        }
    }

    pub(crate) fn repeat_progress(&mut self, id: &str, now: Moment) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let Some((from, bytes, until)) = call.reliable.clone() else { return };
        if now < until {
            call.interval = (call.interval * 2).min(T2);
            let next = now + call.interval;
            self.reply(from, bytes);
            return self.set(Timer::RepeatProgress(id.to_owned()), next);
        }
        call.reliable = None;
        if let Some((from, request)) = call.invite.take() {
            // RFC 3262 §3: nobody acknowledges it.
            self.unset(&Timer::Answer(id.to_owned()));
            self.decline(id, from, &request, 480, now);
        }
    }

    pub(crate) fn pracked(&mut self, from: From, prack: &Message) {
        let Some(call) = self.dialog(prack) else { return self.respond(from, prack, 481) };
        call.remote_seq = call.remote_seq.max(prack.cseq().0);
        let known = call.reliable.take().is_some();
        self.unset(&Timer::RepeatProgress(prack.call_id().to_owned()));
        self.respond(from, prack, if known { 200 } else { 481 });
    }

    pub(crate) fn updated(&mut self, from: From, update: &Message) {
        let seq = update.cseq().0;
        let Some(call) = self.dialog(update) else { return self.respond(from, update, 481) };
        let verdict = match call {
            call if call.stage == Stage::Ending => 481,
            call if seq <= call.remote_seq => 500,
            // RFC 3311 §5.2: an offer of ours is open.
            call if call.reinviting || call.repeating.is_some() || call.stage != Stage::Established => 491,
            call => {
                call.remote_seq = seq;
                200
            }
        };
        if verdict != 200 {
            return self.respond(from, update, verdict);
        }
        let body = self.answer_to(update.call_id(), update.body(), "recvonly");
        let contact = format!("<{}>", self.contact_uri());
        let response = update.respond(200, "OK").record_route().header(Name::Contact, &contact);
        let bytes = response.body("application/sdp", body.as_bytes()).build();
        self.remember(update, &bytes);
        self.reply(from, bytes);
    }

    /// A provisional answer: where it is reliable it is acknowledged, once for each party.
    pub(crate) fn heard_progress(&mut self, id: &str, response: &Message, now: Moment) {
        let Some(number) = response.other("RSeq").map(|value| String::from_utf8_lossy(value).into_owned()) else {
            return;
        };
        let tag = response.to_tag().unwrap_or_default().to_owned();
        let Some(call) = self.calls.get_mut(id) else { return };
        if !call.acknowledged.insert((tag.clone(), number.clone())) {
            return;
        }
        let answers = call.plan.late_offer && response.has_sdp();
        if answers {
            call.answered_tags.insert(tag);
        }
        let body = if answers { self.answer_to(id, response.body(), "sendrecv") } else { String::new() };
        let acknowledged = format!("RAck: {number} {} INVITE\r\n", response.cseq().0);
        let text = self.request_to_party(id, response, "PRACK", &acknowledged, &body, None);
        if let Some(text) = text {
            self.request(text, Some(id), now);
        }
    }

    /// A request to the party a response is of, which may not be the one the call is with.
    fn request_to_party(
        &mut self,
        id: &str,
        response: &Message,
        method: &str,
        extra: &str,
        body: &str,
        seq: Option<u32>,
    ) -> Option<String> {
        let call = self.calls.get_mut(id)?;
        let mut routes = texts(response, Name::RecordRoute);
        routes.reverse();
        let target = response.contacts().next().map(|contact| contact.uri.to_owned());
        let tag = response.to_tag().unwrap_or_default().to_owned();
        let own = (
            std::mem::replace(&mut call.routes, routes),
            std::mem::replace(&mut call.target, target?),
            std::mem::replace(&mut call.remote_tag, tag),
        );
        let text = self.in_call(id, method, extra, body, seq);
        let call = self.calls.get_mut(id)?;
        (call.routes, call.target, call.remote_tag) = own;
        text
    }

    /// RFC 3261 §13.2.2.4: one call is enough; another party that has answered is acknowledged and
    /// hung up on.
    pub(crate) fn spurn(&mut self, response: &Message, now: Moment) {
        let (id, seq) = (response.call_id().to_owned(), response.cseq().0);
        let tag = response.to_tag().unwrap_or_default().to_owned();
        let Some(call) = self.calls.get(&id) else { return };
        if let Some(ack) = call.spurned.get(&tag).cloned() {
            return self.send_again(ack);
        }
        let answers = call.plan.late_offer && response.has_sdp() && !call.answered_tags.contains(&tag);
        let lines = call.lines.clone();
        let body = if answers { self.answer_to(&id, response.body(), "sendrecv") } else { String::new() };
        if let Some(call) = self.calls.get_mut(&id) {
            call.lines = lines;
        }
        let Some(text) = self.request_to_party(&id, response, "ACK", "", &body, Some(seq)) else { return };
        let ack = Bytes::from(text);
        if let Some(call) = self.calls.get_mut(&id) {
            call.spurned.insert(tag, ack.clone());
        }
        self.send_again(ack);
        if let Some(bye) = self.request_to_party(&id, response, "BYE", "", "", None) {
            self.request(bye, None, now);
        }
    }

    fn send_again(&mut self, bytes: Bytes) {
        if let Ok(message) = Message::parse(bytes.clone()) {
            self.send_request(&message, bytes);
        }
    }
}
