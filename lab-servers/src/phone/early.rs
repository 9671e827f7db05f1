//! What a phone does beside INVITE and BYE: early media and PRACK (RFC 3262), UPDATE (RFC 3311), and
//! blind transfers (RFC 3515).

use edgeway_sip::{Message, Name};

use super::actor::{Actor, Purpose, Reply, allow, tell};
use super::calls::SDP;
use super::dialog::Leg;
use super::{CallState, PhoneError, sdp};
use crate::wire;

impl Actor {
    /// A 183 with our answer, reliable where the caller can.
    pub(super) fn announce(&mut self, call: u64) -> Result<(), PhoneError> {
        let contact = self.contact();
        let entry = self.calls.get_mut(&call).ok_or(PhoneError::WrongState { why: "the call is over" })?;
        let offer = entry.audio.remote.clone().ok_or(PhoneError::WrongState { why: "nothing was offered" })?;
        let invite = entry.invite.clone().ok_or(PhoneError::WrongState { why: "already answered" })?;
        let reliable = invite.values(Name::Supported).any(|value| value == b"100rel");
        let body = entry.audio.answer(&offer);
        entry.announced = Some((body.clone(), reliable));
        entry.follow();
        let tag = entry.leg.local_tag.clone();
        let mut lines = vec![format!("Contact: {contact}"), allow()];
        if reliable {
            lines.extend(["Require: 100rel".to_owned(), "RSeq: 1".to_owned()]);
        }
        self.respond(&invite, 183, "Session Progress", Some(&tag), &lines, Some((SDP, &body)));
        Ok(())
    }

    pub(super) fn pracked(&mut self, prack: &Message) {
        let known = self.calls.values().any(|entry| entry.leg.owns(prack) && entry.announced.is_some());
        let (status, reason) = if known { (200, "OK") } else { (481, "Call/Transaction Does Not Exist") };
        self.respond(prack, status, reason, None, &[], None);
    }

    /// A provisional answer may carry a description to listen by, and a number to acknowledge.
    pub(super) fn hear_early(&mut self, call: u64, response: &Message) {
        let suite = self.suite();
        let Some(entry) = self.calls.get_mut(&call) else { return };
        if response.has_sdp()
            && let Ok(remote) = sdp::read(response.body(), suite)
        {
            entry.audio.remote = Some(remote);
            entry.follow();
        }
        let Some(number) = response.other("RSeq").map(|value| String::from_utf8_lossy(value).into_owned()) else {
            return;
        };
        let said = (wire::to_tag(response).unwrap_or_default(), number.clone());
        if entry.acknowledged.contains(&said) {
            return;
        }
        entry.acknowledged.push(said);
        let mut early: Leg = entry.leg.clone();
        early.established(response);
        let head = early.next("PRACK");
        entry.leg.local_cseq = early.local_cseq;
        let lines = [format!("RAck: {number} {} INVITE", response.cseq().0)];
        self.transact(&head, &lines, None, Purpose::Plain { reply: None });
    }

    pub(super) fn send_update(&mut self, call: u64, purpose: Purpose) {
        let contact = self.contact();
        let Some(entry) = self.calls.get_mut(&call) else { return };
        let head = entry.leg.next("UPDATE");
        let offer = entry.audio.offer();
        let lines = [format!("Contact: {contact}"), allow()];
        self.transact(&head, &lines, Some((SDP, &offer)), purpose);
    }

    pub(super) fn updated(&mut self, update: &Message) {
        let (contact, suite) = (self.contact(), self.suite());
        let Some(entry) = self.calls.values_mut().find(|entry| entry.leg.owns(update)) else {
            self.respond(update, 481, "Call/Transaction Does Not Exist", None, &[], None);
            return;
        };
        let cseq = update.cseq().0;
        if entry.leg.remote_cseq.is_some_and(|last| cseq <= last) {
            self.respond(update, 500, "Out Of Order", None, &["Retry-After: 1".to_owned()], None);
            return;
        }
        entry.leg.remote_cseq = Some(cseq);
        if entry.is_changing() {
            self.respond(update, 491, "Request Pending", None, &[], None);
            return;
        }
        match sdp::read(update.body(), suite) {
            Ok(remote) => {
                let body = entry.audio.answer(&remote);
                entry.audio.remote = Some(remote);
                entry.leg.refresh_target(update);
                entry.follow();
                let lines = [format!("Contact: {contact}"), allow()];
                self.respond(update, 200, "OK", None, &lines, Some((SDP, &body)));
            }
            Err(_) => {
                self.respond(update, 488, "Not Acceptable Here", None, &[], None);
            }
        }
    }

    pub(super) fn transfer(&mut self, call: u64, uri: &str, reply: Reply<()>) {
        let contact = self.contact();
        let entry = self.calls.get_mut(&call).filter(|entry| entry.state() == CallState::Established);
        let Some(entry) = entry else {
            return tell(Some(reply), Err(PhoneError::WrongState { why: "no established call" }));
        };
        let head = entry.leg.next("REFER");
        let lines = [format!("Contact: {contact}"), format!("Refer-To: <{uri}>")];
        self.transact(&head, &lines, None, Purpose::Refer { reply: Some(reply) });
    }

    /// The other side sends us to somebody else: we call, and whoever drives this phone gets the call like
    /// one that was offered.
    pub(super) async fn referred(&mut self, refer: &Message) {
        let known = self.calls.iter().find(|(_, entry)| entry.leg.owns(refer)).map(|(call, _)| *call);
        let target = refer.other("Refer-To").map(|value| String::from_utf8_lossy(value).into_owned());
        let (Some(call), Some(target)) = (known, target) else {
            self.respond(refer, 481, "Call/Transaction Does Not Exist", None, &[], None);
            return;
        };
        let lines = [format!("Contact: {}", self.contact())];
        self.respond(refer, 202, "Accepted", None, &lines, None);
        let uri = target.trim().trim_start_matches('<').split('>').next().unwrap_or_default().to_owned();
        let placed = self.dial(&uri).await;
        let word = if placed.is_ok() { "SIP/2.0 100 Trying\r\n" } else { "SIP/2.0 503 Service Unavailable\r\n" };
        if let Ok(placed) = placed {
            // A phone nobody drives has no use for it; dropping it hangs up.
            let _ = self.offers.try_send(placed);
        }
        let Some(entry) = self.calls.get_mut(&call) else { return };
        let head = entry.leg.next("NOTIFY");
        let lines = [
            format!("Contact: {}", self.contact()),
            "Event: refer".to_owned(),
            "Subscription-State: terminated;reason=noresource".to_owned(),
        ];
        self.transact(&head, &lines, Some(("message/sipfrag", word)), Purpose::Plain { reply: None });
    }
}
