//! Dialogs of clients, as far as routing is concerned: where requests within them may go inside.
//!
//! A client may send requests within a dialog to the other party of that dialog, and nowhere else. Who
//! that is was said by the other party itself: in the answer to the request that made the dialog, or in
//! the request by which the inside made it (RFC 3261 §12.1; a NOTIFY, too, makes one and may come
//! before the answer, RFC 6665 §4.4.1). Each fork of a request has a dialog of its own, known by
//! Call-ID and the tag of the party inside. Media is none of this file's business.
//!
//! Invariant: every dialog has an expiry, and ends by it; a BYE or a last NOTIFY brings it near.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use edgeway_model::{Deadline, FlowId, Moment};
use edgeway_sip::Message;
use edgeway_sip::bindings::aor_of;

use crate::calls::{InsideParty, host_port, party_behind};
use crate::identity::label_of;
use crate::limits::{
    DIALOG_EARLY_MAX, DIALOG_ENDED_KEPT, DIALOG_IDLE_MAX, DIALOG_LABEL_BYTES_MAX, DIALOGS_MAX, DIALOGS_PER_CLIENT_MAX,
    SUBSCRIPTION_DEFAULT,
};
use crate::{CoreNode, edge_of};

/// Call-ID, and the tag of the party inside.
type Label = (Box<str>, Box<str>);

#[derive(Debug)]
struct Dialog {
    name: Label,
    client: FlowId,
    /// Who the client is in it, as [`label_of`] has it.
    identity: u64,
    party: InsideParty,
    expires: Moment,
}

/// All dialogs of a core's clients.
#[derive(Debug, Default)]
pub(crate) struct Dialogs {
    dialogs: HashMap<u64, Dialog>,
    by_name: HashMap<Label, u64>,
    per_client: HashMap<FlowId, usize>,
    expiries: BTreeSet<(Moment, u64)>,
    next: u64,
}

impl Dialogs {
    pub(crate) fn len(&self) -> usize {
        self.dialogs.len()
    }

    /// Where the other party of a dialog is; `None` for a dialog not known here.
    pub(crate) fn party(&self, call_id: &str, inside_tag: &str) -> Option<&(String, u16)> {
        Some(&self.dialogs.get(&self.find(call_id, inside_tag)?)?.party.place)
    }

    /// Who the client of a dialog is in it, as [`label_of`] has it; `None` for a dialog not known here.
    pub(crate) fn client_of(&self, call_id: &str, inside_tag: &str) -> Option<u64> {
        Some(self.dialogs.get(&self.find(call_id, inside_tag)?)?.identity)
    }

    /// Whether a dialog came to be through another edge than the one with this index.
    pub(crate) fn is_of_another(&self, call_id: &str, inside_tag: &str, edge: u8) -> bool {
        let dialog = self.find(call_id, inside_tag).and_then(|id| self.dialogs.get(&id));
        dialog.is_some_and(|dialog| edge_of(dialog.client) != edge)
    }

    /// Whether there is room for one more dialog of a client.
    pub(crate) fn has_room(&self, client: FlowId) -> bool {
        let of_client = self.per_client.get(&client).copied().unwrap_or_default();
        self.dialogs.len() < DIALOGS_MAX && of_client < DIALOGS_PER_CLIENT_MAX
    }

    pub(crate) fn expire(&mut self, now: Moment) {
        while let Some(&(at, id)) = self.expiries.first() {
            if at > now {
                return;
            }
            self.remove(id);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        self.expiries.first().map(|(at, _)| Deadline { at: *at, why: "dialog" })
    }

    fn find(&self, call_id: &str, inside_tag: &str) -> Option<u64> {
        self.by_name.get(&(call_id.into(), inside_tag.into())).copied()
    }

    /// Learns of a dialog, or more of one. Returns whether there was room for it.
    fn note(&mut self, name: Label, (client, identity): (FlowId, u64), party: InsideParty, expires: Moment) -> bool {
        if let Some(id) = self.by_name.get(&name).copied() {
            self.expire_at(id, expires);
            return true;
        }
        let long = name.0.len() + name.1.len() > DIALOG_LABEL_BYTES_MAX;
        if long || !self.has_room(client) {
            return false;
        }
        *self.per_client.entry(client).or_default() += 1;
        self.next += 1;
        self.by_name.insert(name.clone(), self.next);
        self.expiries.insert((expires, self.next));
        self.dialogs.insert(self.next, Dialog { name, client, identity, party, expires });
        true
    }

    /// RFC 3261 §12.2: within a dialog the route set stays, the Contact of the other party may change.
    fn refresh_target(&mut self, id: u64, message: &Message) {
        let Some(dialog) = self.dialogs.get_mut(&id).filter(|dialog| !dialog.party.by_route) else { return };
        if let Some(place) = message.contacts().next().and_then(|contact| host_port(contact.uri)) {
            dialog.party.place = place;
        }
    }

    fn expire_at(&mut self, id: u64, at: Moment) {
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        self.expiries.remove(&(dialog.expires, id));
        dialog.expires = at;
        self.expiries.insert((at, id));
    }

    fn remove(&mut self, id: u64) {
        let Some(dialog) = self.dialogs.remove(&id) else { return };
        self.by_name.remove(&dialog.name);
        self.expiries.remove(&(dialog.expires, id));
        if let Some(count) = self.per_client.get_mut(&dialog.client) {
            *count -= 1;
            if *count == 0 {
                self.per_client.remove(&dialog.client);
            }
        }
    }
}

impl CoreNode {
    /// Dialogs held now, for tests of what the core remembers.
    #[must_use]
    pub fn dialogs(&self) -> usize {
        self.dialogs.len()
    }

    /// An inside party answered a client's request: a dialog is made, prolonged or at its end.
    pub(crate) fn dialog_answered(&mut self, client: FlowId, request: &Message, response: &Message, now: Moment) {
        let (Some(status), Some(tag)) = (response.status(), response.to_tag()) else { return };
        let method = request.method().unwrap_or_default();
        let known = self.dialogs.find(response.call_id(), tag);
        if let (Some(id), true) = (known, ends(method, status)) {
            return self.dialogs.expire_at(id, now + DIALOG_ENDED_KEPT);
        }
        if let (Some(id), true) = (known, status < 300) {
            self.dialogs.refresh_target(id, response);
        }
        let makes = edgeway_sip::header::makes_dialog(method) && method != "NOTIFY";
        if !makes || !(101..300).contains(&status) || (known.is_none() && request.to_tag().is_some()) {
            return;
        }
        let lasts = match method {
            "INVITE" if status < 200 => DIALOG_EARLY_MAX,
            "INVITE" => DIALOG_IDLE_MAX,
            _ => subscription(response.expires().or_else(|| request.expires())),
        };
        let Some(party) = self.party_ahead(response) else { return };
        let identity = label_of(&aor_of(request.from().uri));
        self.dialog_known((response.call_id().into(), tag.into()), (client, identity), party, now + lasts);
    }

    /// The inside sent a client something that makes a dialog or belongs to one.
    pub(crate) fn dialog_asked(&mut self, client: FlowId, request: &Message, now: Moment) {
        let Some(tag) = request.from_tag() else { return };
        let method = request.method().unwrap_or_default();
        let known = self.dialogs.find(request.call_id(), tag);
        if let (Some(id), true) = (known, method == "BYE" || is_last_notify(request)) {
            return self.dialogs.expire_at(id, now + DIALOG_ENDED_KEPT);
        }
        if let Some(id) = known {
            self.dialogs.refresh_target(id, request);
        }
        if !edgeway_sip::header::makes_dialog(method) || is_last_notify(request) {
            return;
        }
        let lasts = match method {
            "INVITE" if known.is_some() => DIALOG_IDLE_MAX,
            "INVITE" => DIALOG_EARLY_MAX,
            "NOTIFY" => subscription(notified_expires(request)),
            _ => subscription(request.expires()),
        };
        let Some(party) = party_behind(request) else { return };
        let identity = label_of(&aor_of(request.to().uri));
        self.dialog_known((request.call_id().into(), tag.into()), (client, identity), party, now + lasts);
    }

    /// A dialog has been ended from here.
    pub(crate) fn dialog_over(&mut self, call_id: &str, inside_tag: &str, now: Moment) {
        if let Some(id) = self.dialogs.find(call_id, inside_tag) {
            self.dialogs.expire_at(id, now + DIALOG_ENDED_KEPT);
        }
    }

    /// A client answered, or speaks within a dialog: an INVITE's lasts from now on until it is ended.
    pub(crate) fn dialog_used(&mut self, call_id: &str, inside_tag: &str, message: &Message, now: Moment) {
        let Some(id) = self.dialogs.find(call_id, inside_tag) else { return };
        let (_, method) = message.cseq();
        let accepted = message.status().is_none_or(|status| (200..300).contains(&status));
        match method {
            "INVITE" | "UPDATE" | "ACK" if accepted => self.dialogs.expire_at(id, now + DIALOG_IDLE_MAX),
            "BYE" => self.dialogs.expire_at(id, now + DIALOG_ENDED_KEPT),
            "NOTIFY" if is_last_notify(message) => self.dialogs.expire_at(id, now + DIALOG_ENDED_KEPT),
            _ => {}
        }
    }

    fn dialog_known(&mut self, name: Label, client: (FlowId, u64), party: InsideParty, expires: Moment) {
        if !self.dialogs.note(name, client, party, expires) {
            self.dropped(edgeway_model::notice::DropReason::Overload, "the bound on dialogs is reached");
        }
    }
}

/// Whether such an answer to such a request ends the dialog for routing.
fn ends(method: &str, status: u16) -> bool {
    (method == "BYE" && (200..300).contains(&status)) || (method == "SUBSCRIBE" && status == 481)
}

/// How long a subscription lasts for us: as agreed, with time for its last NOTIFY.
fn subscription(seconds: Option<u32>) -> Duration {
    let agreed = seconds.map_or(SUBSCRIPTION_DEFAULT, |seconds| Duration::from_secs(seconds.into()));
    agreed.min(DIALOG_IDLE_MAX) + DIALOG_ENDED_KEPT
}

fn subscription_state(notify: &Message) -> Option<&str> {
    std::str::from_utf8(notify.other("Subscription-State")?).ok()
}

/// RFC 6665 §4.4.1: a NOTIFY with the state `terminated` ends the subscription.
fn is_last_notify(message: &Message) -> bool {
    message.method() == Some("NOTIFY")
        && subscription_state(message).is_some_and(|state| {
            state.split(';').next().is_some_and(|state| state.trim().eq_ignore_ascii_case("terminated"))
        })
}

fn notified_expires(notify: &Message) -> Option<u32> {
    let mut params = subscription_state(notify)?.split(';').skip(1);
    params.find_map(|param| {
        let (name, value) = param.split_once('=')?;
        name.trim().eq_ignore_ascii_case("expires").then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party() -> InsideParty {
        InsideParty { place: ("10.0.0.9".to_owned(), 5_060), by_route: false }
    }

    fn name(number: usize) -> Label {
        (format!("call{number}").into(), "tag".into())
    }

    #[test]
    fn dialogs_expire_and_one_client_cannot_hold_them_all() {
        let mut dialogs = Dialogs::default();
        let (client, other) = (FlowId(1), FlowId(2));
        for number in 0..DIALOGS_PER_CLIENT_MAX {
            assert!(dialogs.note(name(number), (client, 0), party(), Moment::from_secs(100)));
        }
        assert!(!dialogs.note(name(DIALOGS_PER_CLIENT_MAX), (client, 0), party(), Moment::from_secs(100)));
        assert!(dialogs.note(name(DIALOGS_PER_CLIENT_MAX), (other, 0), party(), Moment::from_secs(200)));
        assert!(dialogs.note(name(0), (client, 0), party(), Moment::from_secs(300)), "what is known is prolonged");
        dialogs.expire(Moment::from_secs(100));
        assert_eq!(dialogs.len(), 2);
        assert_eq!(dialogs.party("call0", "tag"), Some(&("10.0.0.9".to_owned(), 5_060)));
        dialogs.expire(Moment::from_secs(300));
        assert_eq!((dialogs.len(), dialogs.per_client.len(), dialogs.next_deadline()), (0, 0, None));
        let long = (Box::from("x".repeat(DIALOG_LABEL_BYTES_MAX)), Box::from("t"));
        assert!(!dialogs.note(long, (client, 0), party(), Moment::from_secs(400)));
    }
}
