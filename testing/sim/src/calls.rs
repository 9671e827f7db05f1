//! The dialogs of a phone (RFC 3261 §12 to §15), as a well-behaved user agent keeps them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::Moment;
use edgeway_sip::{Message, Name, Uri};

use crate::phone::{From, Phone, Timer, branch_of};

/// Header that names whom a request is meant for: nobody else may receive it.
pub(crate) const MEANT_FOR: &str = "X-Sim-For";
/// Header of requests that must reach nobody.
pub(crate) const HOSTILE: &str = "X-Sim-Hostile";
/// RFC 3261 §13.3.1.4: how long an answer is repeated without an ACK.
pub(crate) const REPEAT: Duration = Duration::from_secs(32);
/// An answer may cross a CANCEL that waits for a link, and then be lost inside, where UDP loses, until its
/// third repetition comes through; but not later than this.
const LATE: Duration = Duration::from_millis(4_000 + 7_500);
pub(crate) const T1: Duration = Duration::from_millis(500);
pub(crate) const T2: Duration = Duration::from_secs(4);
/// A callee hangs up after this, whatever the caller does.
const TALK_MAX: Duration = Duration::from_secs(130);

/// How a call went, as its caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pending,
    Talking,
    /// Answered and ended by a BYE that was answered with this.
    Ended(u16),
    /// Refused with this; 0 when no answer came.
    Refused(u16),
}

/// What a caller intends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) talk: Duration,
    pub(crate) hold: bool,
    pub(crate) cancel: Option<Duration>,
    pub(crate) late_offer: bool,
    /// A video section as well.
    pub(crate) video: bool,
    /// Reliable provisional answers (RFC 3262), and UPDATE (RFC 3311) rather than re-INVITE.
    pub(crate) reliable: bool,
    /// Half-way, the other side is sent to somebody else (RFC 3515).
    pub(crate) transfer: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Inviting,
    Ringing,
    Established,
    Ending,
}

/// One dialog, and what may become others.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) peer: String,
    pub(crate) caller: bool,
    pub(crate) stage: Stage,
    pub(crate) local_tag: String,
    pub(crate) remote_tag: String,
    pub(crate) seq: u32,
    pub(crate) remote_seq: u32,
    /// The highest number of any request of the other side.
    highest: u32,
    pub(crate) target: String,
    pub(crate) routes: Vec<String>,
    pub(crate) branch: String,
    pub(crate) invite: Option<(From, Message)>,
    pub(crate) repeating: Option<(From, Bytes, Moment)>,
    pub(crate) interval: Duration,
    acknowledgement: Option<(u32, Bytes)>,
    pub(crate) plan: Plan,
    pub(crate) cancelled: bool,
    cancelled_at: Option<Moment>,
    pub(crate) reinviting: bool,
    /// The kinds of its media sections.
    pub(crate) lines: Vec<String>,
    /// Callee: a reliable provisional answer that is not acknowledged yet.
    pub(crate) reliable: Option<(From, Bytes, Moment)>,
    /// Callee: the answer it has given already, and whether reliably.
    pub(crate) described: Option<(String, bool)>,
    /// Caller: parties whose offers it has answered in a PRACK.
    pub(crate) answered_tags: BTreeSet<String>,
    /// Caller: reliable answers acknowledged, by party and number.
    pub(crate) acknowledged: BTreeSet<(String, String)>,
    /// Caller: the ACKs of parties that answered too late.
    pub(crate) spurned: BTreeMap<String, Bytes>,
    /// The header that names the call whose place it takes.
    pub(crate) replaces: Option<String>,
}

impl Call {
    fn new(peer: &str, caller: bool, stage: Stage, local_tag: String, plan: Plan) -> Self {
        Self {
            peer: peer.to_owned(),
            caller,
            stage,
            local_tag,
            remote_tag: String::new(),
            seq: 0,
            remote_seq: 0,
            highest: 0,
            target: String::new(),
            routes: Vec::new(),
            branch: String::new(),
            invite: None,
            repeating: None,
            interval: T1,
            acknowledgement: None,
            plan,
            cancelled: false,
            cancelled_at: None,
            reinviting: false,
            lines: Vec::new(),
            reliable: None,
            described: None,
            answered_tags: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            spurned: BTreeMap::new(),
            replaces: None,
        }
    }
}

const TALK: Plan = Plan {
    talk: TALK_MAX,
    hold: false,
    cancel: None,
    late_offer: false,
    video: true,
    reliable: false,
    transfer: false,
};

impl Phone {
    /// Calls another phone by name. Returns the Call-ID.
    pub(crate) fn call(&mut self, to: &str, plan: Plan, now: Moment) -> String {
        self.call_replacing(to, plan, None, now)
    }

    /// The same, in the place of another call (RFC 3891).
    pub(crate) fn call_replacing(&mut self, to: &str, plan: Plan, replaces: Option<String>, now: Moment) -> String {
        let id = format!("call-{}-{}", self.name, self.chance.word());
        let mut call = Call::new(to, true, Stage::Inviting, self.chance.word(), plan);
        call.target = format!("sip:{to}@example.com");
        call.replaces = replaces;
        self.calls.insert(id.clone(), call);
        self.outcomes.insert(id.clone(), Outcome::Pending);
        self.invite(&id, None, now);
        if let Some(after) = plan.cancel {
            self.set(Timer::GiveUp(id.clone()), now + after);
        }
        id
    }

    fn invite(&mut self, id: &str, authorization: Option<&str>, now: Moment) {
        let late = self.calls.get(id).is_some_and(|call| call.plan.late_offer);
        let body = if late { String::new() } else { self.offer(id, "sendrecv") };
        let mut extra = String::from("Supported: path\r\n");
        if let Some(call) = self.calls.get(id) {
            if call.plan.reliable {
                extra += "Supported: 100rel\r\n";
            }
            if let Some(replaces) = &call.replaces {
                extra += &format!("Replaces: {replaces}\r\n");
            }
        }
        if let Some(nonce) = authorization {
            extra += &format!("Proxy-Authorization: Digest username=\"{}\", nonce=\"{nonce}\"\r\n", self.user);
        }
        let Some(text) = self.in_call(id, "INVITE", &extra, &body, None) else { return };
        let branch = self.request(text, Some(id), now);
        if let Some(call) = self.calls.get_mut(id) {
            call.branch = branch;
        }
    }

    /// The text of a request of a call; `seq` only for ACK, which repeats its INVITE's.
    pub(crate) fn in_call(
        &mut self,
        id: &str,
        method: &str,
        extra: &str,
        body: &str,
        seq: Option<u32>,
    ) -> Option<String> {
        let via = self.via();
        let first = self.first_routes();
        let contact = self.contact_uri();
        let name = self.user.clone();
        let call = self.calls.get_mut(id)?;
        if seq.is_none() {
            call.seq += 1;
        }
        let seq = seq.unwrap_or(call.seq);
        let mut text = format!("{method} {} SIP/2.0\r\n{via}Max-Forwards: 70\r\n", call.target);
        if call.remote_tag.is_empty() {
            text += &first;
        }
        for route in &call.routes {
            text += &format!("Route: {route}\r\n");
        }
        let to_tag = if call.remote_tag.is_empty() { String::new() } else { format!(";tag={}", call.remote_tag) };
        text += &format!("From: <sip:{name}@example.com>;tag={}\r\n", call.local_tag);
        text += &format!("To: <sip:{}@example.com>{to_tag}\r\n", call.peer);
        text += &format!("Call-ID: {id}\r\nCSeq: {seq} {method}\r\nContact: <{contact}>\r\n");
        text += &format!("{MEANT_FOR}: {}\r\n{extra}", call.peer);
        if body.starts_with("v=") {
            text += "Content-Type: application/sdp\r\n";
        } else if !body.is_empty() {
            text += "Content-Type: message/sipfrag\r\n";
        }
        Some(text + &format!("Content-Length: {}\r\n\r\n{body}", body.len()))
    }

    pub(crate) fn call_rings(&mut self, id: &str, status: u16, cancel: bool, now: Moment) {
        if status > 100
            && let Some(call) = self.calls.get_mut(id)
            && call.stage == Stage::Inviting
        {
            call.stage = Stage::Ringing;
        }
        if cancel {
            self.cancel(id, now);
        }
    }

    /// The caller has waited long enough.
    pub(crate) fn give_up(&mut self, id: &str, now: Moment) {
        let Some(call) = self.calls.get(id) else { return };
        if !matches!(call.stage, Stage::Inviting | Stage::Ringing) || call.cancelled {
            return;
        }
        let branch = call.branch.clone();
        let Some(client) = self.clients.get_mut(&branch) else { return };
        client.cancel = true;
        // RFC 3261 §9.1: no CANCEL before a provisional answer.
        if client.rings {
            self.cancel(id, now);
        }
    }

    fn cancel(&mut self, id: &str, now: Moment) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if std::mem::replace(&mut call.cancelled, true) {
            return;
        }
        call.cancelled_at = Some(now);
        let Some(client) = self.clients.get(&call.branch) else { return };
        let Ok(invite) = Message::parse(client.bytes.clone()) else { return };
        let text = hop_request(&invite, "CANCEL", None);
        self.request(text, Some(id), now);
    }

    /// Whether media encrypted with this key of ours flows: the call stands, and we are connected.
    pub(crate) fn sends_with(&self, key: &str) -> Option<&str> {
        let id = self.keys.get(key)?;
        let stands = self.calls.get(id).is_some_and(|call| call.stage == Stage::Established);
        (stands && self.flow.is_some()).then_some(id.as_str())
    }

    /// The ACK of a failed INVITE (RFC 3261 §17.1.1.3).
    pub(crate) fn acknowledge_failure(&mut self, branch: &str, response: &Message) {
        let Some(client) = self.clients.get(branch) else { return };
        let Ok(invite) = Message::parse(client.bytes.clone()) else { return };
        let to = response.header(Name::To).map(|to| String::from_utf8_lossy(to).into_owned());
        let bytes = Bytes::from(hop_request(&invite, "ACK", to.as_deref()));
        if let Ok(ack) = Message::parse(bytes.clone()) {
            self.send_request(&ack, bytes);
        }
    }

    pub(crate) fn invite_answered(&mut self, id: &str, response: &Message, status: u16, now: Moment) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let initial = matches!(call.stage, Stage::Inviting | Stage::Ringing);
        if (200..300).contains(&status) {
            if initial {
                call.stage = Stage::Established;
                call.remote_tag = response.to_tag().unwrap_or_default().to_owned();
                let mut routes: Vec<_> = texts(response, Name::RecordRoute);
                routes.reverse();
                call.routes = routes;
                let (plan, cancelled) = (call.plan, call.cancelled);
                let late = call.cancelled_at.is_some_and(|at| now.since(at) > LATE);
                if late && self.nothing_fails {
                    return self.violation("the callee answered long after the CANCEL");
                }
                self.outcomes.insert(id.to_owned(), Outcome::Talking);
                self.set(Timer::HangUp(id.to_owned()), if cancelled { now } else { now + plan.talk });
                if plan.hold && !cancelled {
                    self.set(Timer::Hold(id.to_owned()), now + plan.talk / 3);
                }
                if plan.transfer && !cancelled {
                    self.set(Timer::Transfer(id.to_owned()), now + plan.talk / 2);
                }
            }
            let Some(call) = self.calls.get_mut(id) else { return };
            call.reinviting = false;
            if let Some(contact) = response.contacts().next() {
                call.target = contact.uri.to_owned();
            }
            return self.acknowledge(id, response);
        }
        call.reinviting = false;
        if !initial {
            if matches!(status, 408 | 481 | 430) {
                self.hang_up(id, now);
            }
            return;
        }
        if status == 407 && !call.cancelled {
            let challenge = response.header(Name::ProxyAuthenticate).map(String::from_utf8_lossy);
            let nonce = challenge.and_then(|text| Some(text.split("nonce=\"").nth(1)?.split('"').next()?.to_owned()));
            return self.invite(id, Some(&nonce.unwrap_or_default()), now);
        }
        self.call_failed(id, true, status, now);
    }

    fn acknowledge(&mut self, id: &str, response: &Message) {
        let seq = response.cseq().0;
        let tag = response.to_tag().unwrap_or_default();
        let offered = response.has_sdp()
            && self.calls.get(id).is_some_and(|call| call.plan.late_offer && !call.answered_tags.contains(tag));
        let body = if offered { self.answer_to(id, response.body(), "sendrecv") } else { String::new() };
        let Some(text) = self.in_call(id, "ACK", "", &body, Some(seq)) else { return };
        let bytes = Bytes::from(text);
        if let Some(call) = self.calls.get_mut(id) {
            call.plan.late_offer = false;
            call.acknowledgement = Some((seq, bytes.clone()));
        }
        if let Ok(ack) = Message::parse(bytes.clone()) {
            self.send_request(&ack, bytes);
        }
    }

    /// The callee repeats its answer until it hears an ACK.
    pub(crate) fn repeated_success(&mut self, response: &Message, method: &str, now: Moment) {
        if method != "INVITE" || response.status().is_none_or(|status| status >= 300) {
            return;
        }
        let seq = response.cseq().0;
        let Some(call) = self.calls.get(response.call_id()) else { return };
        if call.caller && !call.remote_tag.is_empty() && response.to_tag() != Some(call.remote_tag.as_str()) {
            return self.spurn(response, now);
        }
        let ack = call.acknowledgement.clone();
        if let Some((_, bytes)) = ack.filter(|(of, _)| *of == seq)
            && let Ok(message) = Message::parse(bytes.clone())
        {
            self.send_request(&message, bytes);
        }
    }

    pub(crate) fn call_failed(&mut self, id: &str, invite: bool, status: u16, now: Moment) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if invite && call.stage == Stage::Established {
            // A re-INVITE that was lost.
            call.reinviting = false;
            return;
        }
        let outcome = match call.stage {
            Stage::Inviting | Stage::Ringing => Outcome::Refused(status),
            Stage::Established | Stage::Ending => Outcome::Ended(status),
        };
        self.finish(id, outcome, now);
    }

    fn finish(&mut self, id: &str, outcome: Outcome, now: Moment) {
        self.call_ended = Some(now);
        if let Some(call) = self.calls.remove(id)
            && call.caller
        {
            self.outcomes.insert(id.to_owned(), outcome);
        }
        let timers = [Timer::HangUp, Timer::Hold, Timer::Transfer, Timer::GiveUp, Timer::Answer, Timer::RepeatAnswer];
        for timer in timers.into_iter().chain([Timer::Progress as fn(String) -> Timer, Timer::RepeatProgress]) {
            self.unset(&timer(id.to_owned()));
        }
    }

    pub(crate) fn bye_answered(&mut self, id: &str, status: u16, now: Moment) {
        self.finish(id, Outcome::Ended(status), now);
    }

    pub(crate) fn hang_up(&mut self, id: &str, now: Moment) {
        let ready = self.registered || !self.is_outside();
        let Some(call) = self.calls.get_mut(id) else { return };
        if call.stage != Stage::Established {
            return;
        }
        // RFC 3261 §15: a callee sends no BYE before the ACK, unless it has waited in vain.
        let early = !call.caller && call.repeating.is_some();
        if !ready || early {
            let again = now + Duration::from_secs(1);
            return self.set(Timer::HangUp(id.to_owned()), again);
        }
        call.stage = Stage::Ending;
        call.repeating = None;
        let Some(text) = self.in_call(id, "BYE", "", "", None) else { return };
        self.request(text, Some(id), now);
    }

    pub(crate) fn hold(&mut self, id: &str, now: Moment) {
        let ready = self.registered || !self.is_outside();
        let Some(call) = self.calls.get_mut(id).filter(|_| ready) else { return };
        if call.stage != Stage::Established || call.reinviting || call.repeating.is_some() {
            return;
        }
        call.reinviting = true;
        let method = if call.plan.reliable { "UPDATE" } else { "INVITE" };
        let body = self.offer(id, "sendonly");
        let Some(text) = self.in_call(id, method, "", &body, None) else { return };
        self.request(text, Some(id), now);
    }

    /// Asks for what it must not have: other people's dialogs, and places inside. Each must be
    /// answered; none may get through.
    pub(crate) fn mischief(&mut self, which: usize, call: &str, now: Moment) {
        let forbidden = crate::chaos::FORBIDDEN;
        let (method, uri, route, to_tag) = match which {
            0 => ("INVITE", "sip:alice@example.com".to_owned(), Some(forbidden), ""),
            1 => ("BYE", format!("sip:x@{forbidden}"), None, ";tag=forged"),
            2 => ("BYE", "sip:x@192.0.2.10:50000".to_owned(), Some(forbidden), ";tag=forged"),
            _ => ("MESSAGE", format!("sip:x@{forbidden}"), None, ""),
        };
        let route = route.map(|route| format!("Route: <sip:{route};lr>\r\n")).unwrap_or_default();
        let (via, tag, contact) = (self.via(), self.chance.word(), self.contact_uri());
        let text = format!(
            "{method} {uri} SIP/2.0\r\n{via}{route}Max-Forwards: 70\r\nFrom: <sip:{}@example.com>;tag={tag}\r\n\
             To: <sip:x@example.com>{to_tag}\r\nCall-ID: {call}\r\nCSeq: 7 {method}\r\n{HOSTILE}: 1\r\n\
             Contact: <{contact}>\r\nContent-Length: 0\r\n\r\n",
            self.user
        );
        self.request(text, None, now);
    }

    /// Calls that only rang are forgotten with the connection they came on.
    pub(crate) fn forget_ringing(&mut self, now: Moment) {
        let ringing = self.calls.iter().filter(|(_, call)| !call.caller && call.stage == Stage::Ringing);
        for id in ringing.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.finish(&id, Outcome::Refused(0), now);
        }
    }

    pub(crate) fn handle_request(&mut self, from: From, request: &Message, now: Moment) {
        let method = request.method().unwrap_or_default().to_owned();
        if request.other(HOSTILE).is_some() {
            return self.violation(format!("a stranger's {method} got through"));
        }
        let meant = request.other(MEANT_FOR).map(|name| String::from_utf8_lossy(name).into_owned());
        if meant.as_ref().is_some_and(|name| *name != self.user) {
            return self.violation(format!("{method} for {}, not for us", meant.unwrap_or_default()));
        }
        if method != "CANCEL" {
            self.check_description(request);
        }
        let key = (branch_of(request, ""), method.clone());
        if let Some(bytes) = self.answered.get(&key).cloned() {
            if !bytes.is_empty() {
                self.reply(from, bytes);
            }
            return;
        }
        if !matches!(method.as_str(), "ACK" | "CANCEL" | "BYE")
            && let Some(call) = self.dialog(request)
        {
            call.highest = call.highest.max(request.cseq().0);
        }
        match method.as_str() {
            "ACK" => self.acknowledged(request),
            "INVITE" if request.to_tag().is_none() => self.ring(from, request, now),
            "INVITE" => self.reinvited(from, request, now),
            "CANCEL" => self.cancelled(from, request, now),
            "BYE" => {
                let known = self.check_bye(request);
                if known {
                    self.finish(request.call_id(), Outcome::Ended(200), now);
                }
                self.respond(from, request, if known { 200 } else { 481 });
            }
            "PRACK" => self.pracked(from, request),
            "UPDATE" => self.updated(from, request),
            "REFER" => self.referred(from, request, now),
            "INFO" | "NOTIFY" => {
                let known = self.dialog(request).is_some();
                self.respond(from, request, if known { 200 } else { 481 });
            }
            "OPTIONS" => self.respond(from, request, 200),
            _ => self.respond(from, request, 405),
        }
    }

    /// Whether a BYE is for a dialog of ours. RFC 3261 §12.2.1.1: it is for our Contact, and its number is new.
    fn check_bye(&mut self, bye: &Message) -> bool {
        let (number, contact) = (bye.cseq().0, self.contact_uri());
        let Some(highest) = self.dialog(bye).map(|call| call.highest) else { return false };
        if number <= highest {
            self.violation(format!("a BYE of number {number} after one of number {highest}"));
        }
        if bye.request_uri() != Some(contact.as_str()) {
            self.violation(format!("a BYE for {:?}, and not for {contact}", bye.request_uri()));
        }
        true
    }

    /// The dialog a request belongs to.
    pub(crate) fn dialog(&mut self, request: &Message) -> Option<&mut Call> {
        let (ours, theirs) = (request.to_tag()?.to_owned(), request.from_tag()?.to_owned());
        let call = self.calls.get_mut(request.call_id())?;
        (call.local_tag == ours && call.remote_tag == theirs).then_some(call)
    }

    /// Answers finally and remembers it for retransmissions.
    pub(crate) fn respond(&mut self, from: From, request: &Message, status: u16) {
        let bytes = request.respond(status, edgeway_sip::reason_phrase(status)).to_tag("p").build();
        self.remember(request, &bytes);
        self.reply(from, bytes);
    }

    pub(crate) fn remember(&mut self, request: &Message, bytes: &Bytes) {
        let key = (branch_of(request, ""), request.method().unwrap_or_default().to_owned());
        self.answered.insert(key, bytes.clone());
    }

    fn ring(&mut self, from: From, request: &Message, now: Moment) {
        let id = request.call_id().to_owned();
        let user = request.request_uri().and_then(Uri::parse).and_then(|uri| uri.user.map(str::to_owned));
        if user.as_deref() != Some(self.user.as_str()) {
            return self.violation(format!("INVITE for {user:?}, not for us"));
        }
        if self.calls.contains_key(&id) {
            // RFC 3261 §8.2.2.2: the same request over another way.
            return self.respond(from, request, 482);
        }
        let replaced = match request.other("Replaces").map(|value| String::from_utf8_lossy(value).into_owned()) {
            Some(replaces) => match self.replaced_by(&replaces) {
                Some(replaced) => Some(replaced),
                None => return self.respond(from, request, 481),
            },
            None => None,
        };
        let peer = request.from().parsed_uri().and_then(|uri| uri.user).unwrap_or_default().to_owned();
        let mut call = Call::new(&peer, false, Stage::Ringing, self.chance.word(), TALK);
        call.remote_tag = request.from_tag().unwrap_or_default().to_owned();
        call.remote_seq = request.cseq().0;
        call.highest = request.cseq().0;
        call.target = request.contacts().next().map(|contact| contact.uri.to_owned()).unwrap_or_default();
        call.routes = texts(request, Name::RecordRoute);
        call.branch = branch_of(request, "");
        call.invite = Some((from, request.clone()));
        let tag = call.local_tag.clone();
        self.calls.insert(id.clone(), call);
        // Until there is a final answer, retransmissions are answered with what was said last.
        let trying = request.respond(100, "Trying").build();
        self.remember(request, &trying);
        self.reply(from, trying);
        let ringing = request.respond(180, "Ringing").to_tag(&tag).record_route();
        let ringing = ringing.header(Name::Contact, &format!("<{}>", self.contact_uri())).build();
        self.remember(request, &ringing);
        self.reply(from, ringing);
        if let Some(replaced) = replaced {
            // RFC 3891 §3: whoever takes the place of a call that stands does not ring.
            self.set(Timer::Answer(id), now);
            return self.set(Timer::HangUp(replaced), now + T1);
        }
        if self.chance.percent(35) {
            let after = now + self.chance.millis(50, 1_500);
            self.set(Timer::Progress(id.clone()), after);
        }
        let after = now + self.chance.millis(300, 6_000);
        self.set(Timer::Answer(id), after);
    }

    /// The callee has decided.
    pub(crate) fn answer(&mut self, id: &str, now: Moment) {
        let refuses = self.chance.percent(10) && !self.always_answers;
        let Some(call) = self.calls.get_mut(id) else { return };
        if call.reliable.is_some() {
            // RFC 3262 §5: not before the PRACK.
            return self.set(Timer::Answer(id.to_owned()), now + T1);
        }
        let Some((from, request)) = call.invite.take() else { return };
        self.unset(&Timer::Progress(id.to_owned()));
        if refuses {
            return self.decline(id, from, &request, 486, now);
        }
        let Some(call) = self.calls.get_mut(id) else { return };
        call.stage = Stage::Established;
        let body = match call.described.clone() {
            // RFC 6337 §2.2: a reliable answer is not given again; any other is, as it was.
            Some((_, true)) => String::new(),
            Some((body, false)) => body,
            None if request.has_sdp() => self.answer_to(id, request.body(), "sendrecv"),
            None => self.offer(id, "sendrecv"),
        };
        self.accept(id, from, &request, &body, now);
        self.set(Timer::HangUp(id.to_owned()), now + TALK_MAX);
        if self.chance.percent(15) {
            let early = now + self.chance.millis(1_000, 8_000);
            self.set(Timer::HangUp(id.to_owned()), early);
        }
    }

    fn accept(&mut self, id: &str, from: From, request: &Message, body: &str, now: Moment) {
        let contact = format!("<{}>", self.contact_uri());
        let Some(call) = self.calls.get_mut(id) else { return };
        let response = request.respond(200, "OK").to_tag(&call.local_tag).record_route();
        let response = response.header(Name::Contact, &contact);
        let response = if body.is_empty() { response } else { response.body("application/sdp", body.as_bytes()) };
        let bytes = response.build();
        call.repeating = Some((from, bytes.clone(), now + REPEAT));
        call.interval = T1;
        // The transaction is over; the answer is repeated by the timer until the ACK comes.
        self.remember(request, &Bytes::new());
        self.reply(from, bytes);
        self.set(Timer::RepeatAnswer(id.to_owned()), now + T1);
    }

    pub(crate) fn decline(&mut self, id: &str, from: From, request: &Message, status: u16, now: Moment) {
        let Some(call) = self.calls.get(id) else { return };
        let bytes = request.respond(status, edgeway_sip::reason_phrase(status)).to_tag(&call.local_tag).build();
        self.remember(request, &bytes);
        self.reply(from, bytes.clone());
        if self.is_reliable() {
            return self.finish(id, Outcome::Refused(status), now);
        }
        if let Some(call) = self.calls.get_mut(id) {
            call.stage = Stage::Ending;
            call.repeating = Some((from, bytes, now + REPEAT));
            call.interval = T1;
        }
        self.set(Timer::RepeatAnswer(id.to_owned()), now + T1);
    }

    pub(crate) fn repeat_answer(&mut self, id: &str, now: Moment) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let Some((from, bytes, until)) = call.repeating.clone() else { return };
        if now < until {
            call.interval = (call.interval * 2).min(T2);
            let next = now + call.interval;
            self.reply(from, bytes);
            return self.set(Timer::RepeatAnswer(id.to_owned()), next);
        }
        call.repeating = None;
        if call.stage == Stage::Established {
            self.hang_up(id, now);
        } else {
            self.finish(id, Outcome::Refused(0), now);
        }
    }

    fn acknowledged(&mut self, ack: &Message) {
        let id = ack.call_id().to_owned();
        let branch = branch_of(ack, "");
        let Some(call) = self.calls.get_mut(&id) else { return };
        let refused = call.stage == Stage::Ending && call.branch == branch;
        if refused || ack.to_tag() == Some(call.local_tag.as_str()) {
            let ending = call.stage == Stage::Ending && !call.caller && refused;
            call.repeating = None;
            self.unset(&Timer::RepeatAnswer(id.clone()));
            if ending {
                self.calls.remove(&id);
            }
        }
    }

    fn reinvited(&mut self, from: From, request: &Message, now: Moment) {
        let id = request.call_id().to_owned();
        let seq = request.cseq().0;
        let Some(call) = self.dialog(request) else { return self.respond(from, request, 481) };
        let verdict = match call {
            call if call.stage != Stage::Established => 481,
            call if seq <= call.remote_seq => 500,
            call if call.reinviting || call.repeating.is_some() => 491,
            call => {
                call.remote_seq = seq;
                200
            }
        };
        if verdict != 200 {
            return self.respond(from, request, verdict);
        }
        let body = self.answer_to(&id, request.body(), "recvonly");
        self.accept(&id, from, request, &body, now);
    }

    fn cancelled(&mut self, from: From, cancel: &Message, now: Moment) {
        let id = cancel.call_id().to_owned();
        let branch = branch_of(cancel, "");
        let known = self.answered.contains_key(&(branch.clone(), "INVITE".to_owned()));
        self.respond(from, cancel, if known { 200 } else { 481 });
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.branch == branch && !call.caller) else { return };
        call.reliable = None;
        if let Some((from, request)) = call.invite.take() {
            self.unset(&Timer::Progress(id.clone()));
            self.unset(&Timer::RepeatProgress(id.clone()));
            self.unset(&Timer::Answer(id.clone()));
            self.decline(&id, from, &request, 487, now);
        }
    }
}

/// A request that goes the way of `invite`, hop by hop: CANCEL, or the ACK of a failure.
pub(crate) fn hop_request(invite: &Message, method: &str, to: Option<&str>) -> String {
    let text = |name| invite.header(name).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default();
    let mut out = format!("{method} {} SIP/2.0\r\n", invite.request_uri().unwrap_or_default());
    out += &format!("Via: {}\r\nMax-Forwards: 70\r\n", text(Name::Via));
    for route in texts(invite, Name::Route) {
        out += &format!("Route: {route}\r\n");
    }
    let to = to.map_or_else(|| text(Name::To), str::to_owned);
    out += &format!("From: {}\r\nTo: {to}\r\nCall-ID: {}\r\n", text(Name::From), invite.call_id());
    if let Some(meant) = invite.other(MEANT_FOR) {
        out += &format!("{MEANT_FOR}: {}\r\n", String::from_utf8_lossy(meant));
    }
    out + &format!("CSeq: {} {method}\r\nContent-Length: 0\r\n\r\n", invite.cseq().0)
}

pub(crate) fn texts(message: &Message, name: Name) -> Vec<String> {
    message.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}
