//! The calls of a phone: INVITE from both sides, hold, hang-up, and the media of each.

use edgeway_sip::Message;
use tokio::sync::watch;

use super::actor::{Actor, Purpose, Reply, allow, refused, tell};
use super::dialog::Leg;
use super::media::{Course, MediaPorts, MediaStream, SharedTally, Source};
use super::sdp::{self, Direction, Key, Local, LocalStream, Remote, SrtpSuite, Stream, Unusable};
use super::{Call, CallState, CallView, Ending, MediaSecurity, PhoneError};
use crate::limits::CALLS_MAX;
use crate::wire::{self, Head};

pub(super) const SDP: &str = "application/sdp";

/// A call as the task sees it.
pub(super) struct CallEntry {
    pub(super) leg: Leg,
    view: watch::Sender<CallView>,
    media: MediaStream,
    camera: Option<MediaStream>,
    pub(super) audio: Audio,
    /// The INVITE we have not answered yet.
    pub(super) invite: Option<Message>,
    /// The description a provisional answer of ours carried, and whether reliably.
    pub(super) announced: Option<(String, bool)>,
    /// Reliable provisional answers we have acknowledged: party and number.
    pub(super) acknowledged: Vec<(String, String)>,
    /// Branch of our INVITE while it is not answered.
    dialling: Option<String>,
    /// The caller gave up; what is left is to say so.
    giving_up: bool,
    /// The CSeq and the ACK of our last INVITE, for a 2xx that comes again.
    ack: Option<(u32, bytes::Bytes)>,
    /// Our 2xx carried the offer; the answer comes with the ACK (RFC 3261 §13.2.2.4).
    awaiting_answer: bool,
    reinviting: bool,
}

/// Our side of the audio stream and what we know of theirs.
pub(super) struct Audio {
    user: String,
    id: u64,
    version: u64,
    address: std::net::IpAddr,
    stream: LocalStream,
    video: Option<LocalStream>,
    mux: bool,
    pub(super) remote: Option<Remote>,
    held_here: bool,
}

impl Audio {
    fn local(&self) -> Local<'_> {
        Local {
            user: &self.user,
            id: self.id,
            version: self.version,
            address: self.address,
            audio: self.stream,
            video: self.video,
            mux: self.mux,
        }
    }

    pub(super) fn offer(&mut self) -> String {
        self.version += 1;
        let direction = if self.held_here { Direction::SendOnly } else { Direction::SendReceive };
        self.local().offer(direction)
    }

    pub(super) fn answer(&mut self, offer: &Remote) -> String {
        self.version += 1;
        // RFC 3264 §6.1: what was offered, turned round, less what we hold back.
        let direction = match (offer.direction.reversed(), self.held_here) {
            (direction, false) => direction,
            (Direction::SendReceive | Direction::SendOnly, true) => Direction::SendOnly,
            (Direction::ReceiveOnly | Direction::Inactive, true) => Direction::Inactive,
        };
        self.local().answer(offer, direction)
    }

    /// Whether the other side has us on hold.
    fn held_there(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| !remote.direction.reversed().sends())
    }

    fn course(&self, ours: LocalStream, theirs: Option<&Stream>) -> Course {
        let keys = ours.key.zip(theirs.and_then(|theirs| theirs.crypto)).map(|(ours, (_, theirs))| (ours, theirs));
        let mux = self.mux && theirs.is_some_and(|theirs| theirs.mux);
        Course {
            remote: theirs.map(|theirs| (theirs.rtp, if mux { theirs.rtp } else { theirs.rtcp })),
            keys,
            sending: theirs.is_some() && !self.held_here && !self.held_there(),
            mux,
        }
    }
}

impl CallEntry {
    fn set(&self, state: CallState) {
        self.view.send_modify(|view| view.state = state);
    }

    /// Whether an offer of ours is open.
    pub(super) fn is_changing(&self) -> bool {
        self.reinviting
    }

    pub(super) fn state(&self) -> CallState {
        self.view.borrow().state.clone()
    }

    /// Makes media follow what both sides have said.
    pub(super) fn follow(&self) {
        let remote = self.audio.remote.as_ref();
        self.media.set(self.audio.course(self.audio.stream, remote.map(|remote| &remote.stream)));
        if let (Some(camera), Some(ours)) = (&self.camera, self.audio.video) {
            camera.set(self.audio.course(ours, remote.and_then(|remote| remote.video.as_ref())));
        }
        let (held_here, held_there) = (self.audio.held_here, self.audio.held_there());
        self.view.send_modify(|view| (view.held_here, view.held_there) = (held_here, held_there));
    }
}

impl Actor {
    pub(super) fn suite(&self) -> Option<SrtpSuite> {
        (self.config.security == MediaSecurity::Srtp).then_some(self.config.suite)
    }

    async fn audio(&mut self) -> Result<(Audio, MediaStream, Option<MediaStream>), PhoneError> {
        let media = |error: std::io::Error| PhoneError::Media { why: error.to_string() };
        let ports = MediaPorts::bind(self.config.media_address).await.map_err(media)?;
        let camera = match self.config.video {
            true => Some(MediaPorts::bind(self.config.media_address).await.map_err(media)?),
            false => None,
        };
        let audio = Audio {
            user: self.config.user.clone(),
            id: self.random.next_u64() >> 1,
            version: 0,
            address: self.config.media_address,
            stream: self.local_stream(&ports),
            video: camera.as_ref().map(|ports| self.local_stream(ports)),
            mux: self.config.rtcp_mux,
            remote: None,
            held_here: false,
        };
        let (sound, hz, probe) = (Source::Sound(self.config.sound), self.config.expected_hz, self.config.probe);
        let stream = MediaStream::start(ports, sound, hz, probe, &mut self.random);
        let random = &mut self.random;
        let camera = camera.map(|ports| MediaStream::start(ports, Source::Camera, None, probe, random));
        Ok((audio, stream, camera))
    }

    /// A stream of our own, with a key of its own.
    fn local_stream(&mut self, ports: &MediaPorts) -> LocalStream {
        let key = self.suite().map(|suite| Key::cut(suite, &self.random.bytes()));
        LocalStream { port: ports.port, key }
    }

    fn enter(
        &mut self,
        leg: Leg,
        (audio, media, camera): (Audio, MediaStream, Option<MediaStream>),
        state: CallState,
    ) -> (u64, Call) {
        let id = self.next_call;
        self.next_call += 1;
        let (view, watching) = watch::channel(CallView { state, held_here: false, held_there: false });
        let tally: SharedTally = media.tally();
        let call = Call {
            id,
            call_id: leg.call_id.clone(),
            remote: leg.remote.clone(),
            commands: self.commands.clone(),
            view: watching,
            tally,
            video: camera.as_ref().map(MediaStream::tally),
        };
        let entry = CallEntry {
            leg,
            view,
            media,
            camera,
            audio,
            announced: None,
            acknowledged: Vec::new(),
            invite: None,
            dialling: None,
            giving_up: false,
            ack: None,
            awaiting_answer: false,
            reinviting: false,
        };
        self.calls.insert(id, entry);
        (id, call)
    }

    fn end(&mut self, call: u64, ending: Ending) {
        if let Some(entry) = self.calls.remove(&call) {
            entry.set(CallState::Ended(ending));
        }
        self.unacknowledged.retain(|answer| answer.call != Some(call));
    }

    pub(super) fn end_all_calls(&mut self) {
        for call in self.calls.keys().copied().collect::<Vec<_>>() {
            self.end(call, Ending::ConnectionLost);
        }
    }

    // ── calling ──────────────────────────────────────────────────────────────────────────────

    pub(super) async fn dial(&mut self, uri: &str) -> Result<Call, PhoneError> {
        if self.calls.len() >= CALLS_MAX {
            return Err(PhoneError::WrongState { why: "too many calls" });
        }
        let audio = self.audio().await?;
        let local_tag = wire::token(&mut self.random, 10);
        let leg = Leg {
            call_id: wire::token(&mut self.random, 20),
            local: format!("<{}>;tag={local_tag}", self.config.aor()),
            local_tag,
            remote: format!("<{uri}>"),
            remote_tag: None,
            local_cseq: 0,
            remote_cseq: None,
            routes: self.initial_routes(),
            target: uri.to_owned(),
        };
        let (id, call) = self.enter(leg, audio, CallState::Calling);
        self.send_invite(id, Purpose::Invite { call: id, answered_challenge: false });
        Ok(call)
    }

    fn send_invite(&mut self, call: u64, purpose: Purpose) {
        let contact = self.contact();
        let Some(entry) = self.calls.get_mut(&call) else { return };
        let head = entry.leg.next("INVITE");
        let offer = entry.audio.offer();
        let mut lines = vec![
            format!("Contact: {contact}"),
            "Supported: outbound, 100rel".to_owned(),
            format!("User-Agent: {}", self.config.user_agent),
            allow(),
        ];
        self.authorise("INVITE", &head.uri, &mut lines);
        let initial = matches!(purpose, Purpose::Invite { .. });
        let branch = self.transact(&head, &lines, Some((SDP, &offer)), purpose);
        if let (Some(entry), true) = (self.calls.get_mut(&call), initial) {
            entry.dialling = Some(branch);
        }
    }

    pub(super) fn progress(&mut self, call: u64, status: u16, response: &Message) {
        self.hear_early(call, response);
        let Some(entry) = self.calls.get(&call) else { return };
        if matches!(status, 180..=183) && entry.state() == CallState::Calling {
            entry.set(CallState::Ringing);
        }
        if entry.giving_up {
            self.send_cancel(call);
        }
    }

    /// RFC 3261 §9.1: a CANCEL may only follow a provisional answer; `progress` calls this then.
    fn send_cancel(&mut self, call: u64) {
        let Some(branch) = self.calls.get(&call).and_then(|entry| entry.dialling.clone()) else { return };
        if self.pending_request(&branch, "CANCEL").is_some() {
            return;
        }
        let Some(invite) = self.pending_request(&branch, "INVITE") else { return };
        let cancel = wire::cancel(invite);
        self.transact_bytes(branch, cancel, Purpose::Cancel);
    }

    pub(super) fn invite_answered(&mut self, call: u64, answered_challenge: bool, response: &Message, status: u16) {
        let Some(entry) = self.calls.get_mut(&call) else { return };
        entry.dialling = None;
        if (200..300).contains(&status) {
            return self.established(call, response);
        }
        let giving_up = entry.giving_up;
        if matches!(status, 401 | 407) && !answered_challenge && !giving_up && self.challenged(response) {
            return self.send_invite(call, Purpose::Invite { call, answered_challenge: true });
        }
        let ending = if giving_up && status == 487 {
            Ending::Cancelled
        } else {
            Ending::Refused { status, reason: wire::reason(response) }
        };
        self.end(call, ending);
    }

    fn established(&mut self, call: u64, ok: &Message) {
        let suite = self.suite();
        let Some(entry) = self.calls.get_mut(&call) else { return };
        entry.leg.established(ok);
        self.acknowledge(call, ok);
        let Some(entry) = self.calls.get_mut(&call) else { return };
        if entry.giving_up {
            // The answer overtook our CANCEL.
            return self.send_bye(call, None, Ending::Cancelled);
        }
        let described = if ok.body().is_empty() {
            // A reliable provisional answer has said it already (RFC 3262 §5).
            entry.audio.remote.clone().ok_or(Unusable::Unreadable)
        } else {
            sdp::read(ok.body(), suite)
        };
        match described {
            Ok(remote) => {
                entry.audio.remote = Some(remote);
                entry.follow();
                entry.set(CallState::Established);
            }
            Err(_) => self.send_bye(call, None, Ending::NoMedia),
        }
    }

    /// The ACK to a 2xx: a request of the dialog with the CSeq of its INVITE (RFC 3261 §13.2.2.4).
    fn acknowledge(&mut self, call: u64, ok: &Message) {
        let (via, _) = self.via();
        let Some(entry) = self.calls.get_mut(&call) else { return };
        let cseq = ok.cseq().0;
        let ack = entry.leg.head("ACK", cseq).write(&via, &[], None);
        entry.ack = Some((cseq, ack.clone()));
        self.send(ack);
    }

    /// A 2xx that belongs to no running transaction: ours again, or that of another branch of a fork.
    pub(super) fn ok_again(&mut self, ok: &Message) {
        let (call_id, tag, cseq) = (ok.call_id(), wire::to_tag(ok), ok.cseq().0);
        let ours = self.calls.values().find(|entry| entry.leg.call_id == call_id);
        let Some(entry) = ours else { return };
        if entry.leg.remote_tag == tag {
            let ack = entry.ack.as_ref().filter(|(number, _)| *number == cseq).map(|(_, ack)| ack.clone());
            return ack.into_iter().for_each(|ack| self.send(ack));
        }
        // RFC 3261 §13.2.2.4: one call is enough; the other is acknowledged and ended.
        let mut other = entry.leg.clone();
        other.established(ok);
        let (via, _) = self.via();
        self.send(other.head("ACK", cseq).write(&via, &[], None));
        other.local_cseq = cseq;
        let bye = other.next("BYE");
        self.transact(&bye, &[], None, Purpose::Bye { reply: None });
    }

    pub(super) fn invite_unanswered(&mut self, call: u64, error: &PhoneError) {
        let giving_up = self.calls.get(&call).is_some_and(|entry| entry.giving_up);
        let ending = if matches!(error, PhoneError::ConnectionLost { .. }) {
            Ending::ConnectionLost
        } else if giving_up {
            Ending::Cancelled
        } else {
            Ending::TimedOut
        };
        self.end(call, ending);
    }

    // ── being called ─────────────────────────────────────────────────────────────────────────

    pub(super) async fn invited(&mut self, invite: &Message) {
        if wire::to_tag(invite).is_some() {
            return self.reinvited(invite);
        }
        if self.calls.values().any(|entry| entry.leg.call_id == invite.call_id() && entry.invite.is_some()) {
            // RFC 3261 §8.2.2.2: the same request over two paths.
            return self.refuse_invite(invite, 482, "Loop Detected", &[]);
        }
        if self.calls.len() >= CALLS_MAX {
            return self.refuse_invite(invite, 486, "Busy Here", &[]);
        }
        let remote = if invite.body().is_empty() {
            None
        } else {
            match sdp::read(invite.body(), self.suite()) {
                Ok(remote) => Some(remote),
                Err(why) => return self.refuse_media(invite, why),
            }
        };
        let Ok(mut audio) = self.audio().await else {
            return self.refuse_invite(invite, 500, "No Media Port", &[]);
        };
        audio.0.remote = remote;
        let local_tag = wire::token(&mut self.random, 10);
        let leg = Leg::answering(invite, local_tag.clone());
        let (id, call) = self.enter(leg, audio, CallState::Ringing);
        if let Some(entry) = self.calls.get_mut(&id) {
            entry.invite = Some(invite.clone());
        }
        match self.offers.try_send(call) {
            Ok(()) => {
                let lines = [format!("Contact: {}", self.contact())];
                self.respond(invite, 180, "Ringing", Some(&local_tag), &lines, None);
            }
            Err(_) => {
                self.end(id, Ending::Refused { status: 486, reason: "Busy Here".to_owned() });
                self.refuse_invite(invite, 486, "Busy Here", &[]);
            }
        }
    }

    fn refuse_invite(&mut self, invite: &Message, status: u16, reason: &str, lines: &[String]) {
        let tag = wire::token(&mut self.random, 10);
        let bytes = self.respond(invite, status, reason, Some(&tag), lines, None);
        self.expect_ack(None, invite, bytes);
    }

    fn refuse_media(&mut self, invite: &Message, why: Unusable) {
        let warning = format!("Warning: 399 {} \"{why}\"", self.config.domain);
        self.refuse_invite(invite, 488, "Not Acceptable Here", &[warning]);
    }

    pub(super) fn answer(&mut self, call: u64) -> Result<(), PhoneError> {
        let contact = self.contact();
        let gone = PhoneError::WrongState { why: "the call is over" };
        let entry = self.calls.get_mut(&call).ok_or(gone)?;
        let invite = entry.invite.take().ok_or(PhoneError::WrongState { why: "already answered" })?;
        let body = match (entry.announced.take(), entry.audio.remote.clone()) {
            (Some((_, true)), _) => String::new(),
            (Some((said, false)), _) => said,
            (None, Some(offer)) => entry.audio.answer(&offer),
            (None, None) => {
                entry.awaiting_answer = true;
                entry.audio.offer()
            }
        };
        entry.follow();
        entry.set(CallState::Established);
        let tag = entry.leg.local_tag.clone();
        self.accept(call, &invite, &tag, &contact, &body);
        Ok(())
    }

    fn accept(&mut self, call: u64, invite: &Message, tag: &str, contact: &str, body: &str) {
        let lines = [format!("Contact: {contact}"), "Supported: outbound".to_owned(), allow()];
        let body = (!body.is_empty()).then_some((SDP, body));
        let bytes = self.respond(invite, 200, "OK", Some(tag), &lines, body);
        self.expect_ack(Some(call), invite, bytes);
    }

    pub(super) fn refuse(&mut self, call: u64, status: u16, reason: &str) -> Result<(), PhoneError> {
        let gone = PhoneError::WrongState { why: "the call is over" };
        let entry = self.calls.get_mut(&call).ok_or(gone)?;
        let invite = entry.invite.take().ok_or(PhoneError::WrongState { why: "already answered" })?;
        let tag = entry.leg.local_tag.clone();
        let bytes = self.respond(&invite, status, reason, Some(&tag), &[], None);
        self.expect_ack(None, &invite, bytes);
        self.end(call, Ending::Refused { status, reason: reason.to_owned() });
        Ok(())
    }

    pub(super) fn acknowledged(&mut self, ack: &Message) {
        let (call_id, cseq) = (ack.call_id(), ack.cseq().0);
        self.unacknowledged.retain(|answer| answer.call_id != call_id || answer.cseq != cseq);
        let suite = self.suite();
        let Some((&id, entry)) = self.calls.iter_mut().find(|(_, entry)| entry.leg.owns(ack)) else { return };
        if !std::mem::take(&mut entry.awaiting_answer) {
            return;
        }
        match sdp::read(ack.body(), suite) {
            Ok(remote) => {
                entry.audio.remote = Some(remote);
                entry.follow();
            }
            Err(_) => self.send_bye(id, None, Ending::NoMedia),
        }
    }

    pub(super) fn never_acknowledged(&mut self, call: u64) {
        self.send_bye(call, None, Ending::TimedOut);
    }

    pub(super) fn cancelled(&mut self, cancel: &Message) {
        let branch = wire::branch(cancel);
        let invited = |entry: &CallEntry| entry.invite.as_ref().is_some_and(|invite| wire::branch(invite) == branch);
        let Some((&id, entry)) = self.calls.iter_mut().find(|(_, entry)| invited(entry)) else {
            self.respond(cancel, 481, "Call/Transaction Does Not Exist", Some("none"), &[], None);
            return;
        };
        let tag = entry.leg.local_tag.clone();
        let invite = entry.invite.take();
        self.respond(cancel, 200, "OK", Some(&tag), &[], None);
        if let Some(invite) = invite {
            let bytes = self.respond(&invite, 487, "Request Terminated", Some(&tag), &[], None);
            self.expect_ack(None, &invite, bytes);
        }
        self.end(id, Ending::Cancelled);
    }

    // ── in the call ──────────────────────────────────────────────────────────────────────────

    fn reinvited(&mut self, invite: &Message) {
        let (contact, suite) = (self.contact(), self.suite());
        let Some((&id, entry)) = self.calls.iter_mut().find(|(_, entry)| entry.leg.owns(invite)) else {
            self.respond(invite, 481, "Call/Transaction Does Not Exist", None, &[], None);
            return;
        };
        let cseq = invite.cseq().0;
        // RFC 3261 §14.2: out of order is 500, while one of ours runs 491.
        if entry.leg.remote_cseq.is_some_and(|last| cseq <= last) || entry.invite.is_some() {
            self.respond(invite, 500, "Out Of Order", None, &["Retry-After: 1".to_owned()], None);
            return;
        }
        entry.leg.remote_cseq = Some(cseq);
        if entry.reinviting {
            self.respond(invite, 491, "Request Pending", None, &[], None);
            return;
        }
        entry.leg.refresh_target(invite);
        let tag = entry.leg.local_tag.clone();
        let body = if invite.body().is_empty() {
            entry.awaiting_answer = true;
            entry.audio.offer()
        } else {
            match sdp::read(invite.body(), suite) {
                Ok(remote) => {
                    let body = entry.audio.answer(&remote);
                    entry.audio.remote = Some(remote);
                    entry.follow();
                    body
                }
                Err(why) => return self.refuse_media(invite, why),
            }
        };
        self.accept(id, invite, &tag, &contact, &body);
    }

    pub(super) fn hold(&mut self, call: u64, on: bool, update: bool, reply: Reply<()>) {
        let entry = self.calls.get_mut(&call).filter(|entry| entry.state() == CallState::Established);
        let Some(entry) = entry.filter(|entry| !entry.reinviting) else {
            return tell(
                Some(reply),
                Err(PhoneError::WrongState { why: "no established call, or a change under way" }),
            );
        };
        entry.reinviting = true;
        entry.audio.held_here = on;
        let purpose = Purpose::Reinvite { call, reply: Some(reply), hold: on };
        if update { self.send_update(call, purpose) } else { self.send_invite(call, purpose) }
    }

    pub(super) fn reinvite_answered(
        &mut self,
        call: u64,
        reply: Option<Reply<()>>,
        hold: bool,
        response: &Message,
        status: u16,
    ) {
        let suite = self.suite();
        let Some(entry) = self.calls.get_mut(&call) else {
            return tell(reply, Err(PhoneError::WrongState { why: "the call is over" }));
        };
        entry.reinviting = false;
        if !(200..300).contains(&status) {
            // RFC 3261 §14.1: the call goes on as it was, unless the other side knows none.
            entry.audio.held_here = !hold;
            if matches!(status, 408 | 481) {
                self.end(call, Ending::HungUpThere);
            }
            return tell(reply, Err(refused(response, status)));
        }
        entry.leg.refresh_target(response);
        if response.cseq().1 == "INVITE" {
            self.acknowledge(call, response);
        }
        let Some(entry) = self.calls.get_mut(&call) else { return };
        match sdp::read(response.body(), suite) {
            Ok(remote) => {
                entry.audio.remote = Some(remote);
                entry.follow();
                tell(reply, Ok(()));
            }
            Err(why) => tell(reply, Err(PhoneError::Media { why: why.to_string() })),
        }
    }

    pub(super) fn reinvite_unanswered(&mut self, call: u64, hold: bool) {
        if let Some(entry) = self.calls.get_mut(&call) {
            entry.reinviting = false;
            entry.audio.held_here = !hold;
        }
    }

    pub(super) fn bye(&mut self, bye: &Message) {
        let Some((&id, entry)) = self.calls.iter().find(|(_, entry)| entry.leg.owns(bye)) else {
            self.respond(bye, 481, "Call/Transaction Does Not Exist", None, &[], None);
            return;
        };
        let waiting = entry.invite.clone();
        self.respond(bye, 200, "OK", None, &[], None);
        if let Some(invite) = waiting {
            // RFC 3261 §15.1.2: a BYE to a ringing call ends it like a CANCEL.
            self.refuse_invite(&invite, 487, "Request Terminated", &[]);
        }
        self.end(id, Ending::HungUpThere);
    }

    pub(super) fn hang_up(&mut self, call: u64, reply: Option<Reply<()>>) {
        let Some(entry) = self.calls.get_mut(&call) else {
            return tell(reply, Ok(()));
        };
        if entry.dialling.is_some() {
            entry.giving_up = true;
            if entry.state() == CallState::Ringing {
                self.send_cancel(call);
            }
            return tell(reply, Ok(()));
        }
        if entry.invite.is_some() {
            let refused = self.refuse(call, 603, "Decline");
            return tell(reply, refused);
        }
        self.send_bye(call, reply, Ending::HungUpHere);
    }

    fn send_bye(&mut self, call: u64, reply: Option<Reply<()>>, ending: Ending) {
        let Some(entry) = self.calls.get_mut(&call) else {
            return tell(reply, Ok(()));
        };
        let head: Head = entry.leg.next("BYE");
        self.end(call, ending);
        self.transact(&head, &[], None, Purpose::Bye { reply });
    }
}
