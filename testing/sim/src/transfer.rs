//! Transfers: blind (RFC 3515) and attended (RFC 3891, RFC 5589).

use edgeway_model::Moment;
use edgeway_sip::{Message, NameAddr};

use crate::calls::{Plan, Stage};
use crate::phone::{From, Phone};

impl Phone {
    /// The caller sends the other side to a friend: to somebody anew, or into another call of its own.
    pub(crate) fn transfer(&mut self, id: &str, now: Moment) {
        let ready = self.registered || !self.is_outside();
        let Some(call) = self.calls.get(id).filter(|_| ready) else { return };
        if call.stage != Stage::Established || call.reinviting || call.repeating.is_some() {
            return;
        }
        let peer = call.peer.clone();
        let other = self.calls.iter().find(|(other, call)| {
            *other != id && call.stage == Stage::Established && call.peer != peer && call.repeating.is_none()
        });
        let target = match other {
            Some((other, call)) => format!(
                "<sip:{}@example.com?Replaces={other}%3Bto-tag%3D{}%3Bfrom-tag%3D{}>",
                call.peer, call.remote_tag, call.local_tag
            ),
            None => {
                let friends: Vec<_> =
                    self.friends.iter().filter(|friend| **friend != peer && **friend != self.user).cloned().collect();
                let Some(friend) = self.chance.pick(&friends) else { return };
                format!("<sip:{friend}@example.com>")
            }
        };
        let extra = format!("Refer-To: {target}\r\n");
        if let Some(text) = self.in_call(id, "REFER", &extra, "", None) {
            self.request(text, Some(id), now);
        }
    }

    pub(crate) fn referred(&mut self, from: From, refer: &Message, now: Moment) {
        let id = refer.call_id().to_owned();
        let target = refer.other("Refer-To").and_then(NameAddr::parse);
        let target = target.and_then(|target| {
            let uri = target.parsed_uri()?;
            let replaces = uri.headers().find(|(name, _)| name.eq_ignore_ascii_case("Replaces"));
            let replaces =
                replaces.and_then(|(_, value)| value).map(|value| value.replace("%3B", ";").replace("%3D", "="));
            Some((uri.user?.to_owned(), replaces))
        });
        let known = self.dialog(refer).is_some_and(|call| call.stage == Stage::Established);
        let (true, Some((user, replaces))) = (known, target) else { return self.respond(from, refer, 481) };
        self.respond(from, refer, 202);
        let event = "Event: refer\r\nSubscription-State: terminated;reason=noresource\r\n";
        if let Some(text) = self.in_call(&id, "NOTIFY", event, "SIP/2.0 100 Trying\r\n", None) {
            self.request(text, Some(&id), now);
        }
        if user != self.user && self.calls.len() < 8 {
            let plan = Plan { talk: self.chance.millis(500, 6_000), video: true, ..Plan::default() };
            self.call_replacing(&user, plan, replaces, now);
        }
    }

    /// The call of ours that a Replaces names.
    pub(crate) fn replaced_by(&self, replaces: &str) -> Option<String> {
        let mut words = replaces.split(';');
        let id = words.next()?;
        let mut to = None;
        let mut from = None;
        for word in words {
            match word.split_once('=') {
                Some(("to-tag", tag)) => to = Some(tag),
                Some(("from-tag", tag)) => from = Some(tag),
                _ => {}
            }
        }
        let call = self.calls.get(id)?;
        let fits = to == Some(call.local_tag.as_str()) && from == Some(call.remote_tag.as_str());
        (fits && call.stage == Stage::Established).then(|| id.to_owned())
    }
}
