//! What an operator reads of calls.

use std::time::Duration;

use edgeway_model::listing::{CallRow, CallState, Cursor, Page, Wish};
use edgeway_model::media::MediaClass;
use edgeway_model::{Moment, Pii};
use edgeway_sip::Message;
use edgeway_sip::bindings::aor_of;

use super::{Call, Calls};
use crate::CoreNode;
use crate::limits::PARTY_BYTES_MAX;

/// Who calls whom, cut to what is kept of it.
#[derive(Debug)]
pub(super) struct Parties {
    from: Box<str>,
    to: Box<str>,
}

impl Parties {
    pub(super) fn of(invite: &Message) -> Self {
        let short = |uri: &str| -> Box<str> {
            let mut address = aor_of(uri);
            let cut = (0..=PARTY_BYTES_MAX.min(address.len())).rev().find(|at| address.is_char_boundary(*at));
            address.truncate(cut.unwrap_or(0));
            address.into()
        };
        Self { from: short(invite.from().uri), to: short(invite.to().uri) }
    }
}

impl Calls {
    /// Whether there is one of this number.
    pub(crate) fn has(&self, key: u32) -> bool {
        self.calls.contains_key(&key)
    }

    /// How long until all calls have ended, out of how long calls have lasted.
    pub(crate) fn outlook(&self, now: Moment) -> Option<Duration> {
        self.lengths.outlook(self.calls.values().map(|call| now.since(call.since)))
    }
}

impl CoreNode {
    pub(crate) fn list_calls(&self, wish: &Wish) -> Page<CallRow> {
        let from = u32::try_from(wish.after.map_or(0, |after| after.0)).unwrap_or(u32::MAX);
        let rows = self.calls.calls.range(from..).map(|(id, call)| (Cursor(u64::from(*id), 0), (*id, call)));
        let takes = |(_, call): &(u32, &Call)| wish.takes(&[&call.parties.from, &call.parties.to]);
        wish.page(rows, self.calls.calls.len() as u64, takes).map(|(id, call)| CallRow {
            id,
            call_id: Some(Pii::new(call.id.clone())),
            from: Some(Pii::new(call.parties.from.to_string())),
            to: Some(Pii::new(call.parties.to.to_string())),
            state: Some(match (call.ending, call.lost, call.established) {
                (Some(_), ..) => CallState::Ending,
                (None, Some(_), _) => CallState::ClientGone,
                (None, None, true) => CallState::Up,
                (None, None, false) => CallState::SettingUp,
            }),
            since: call.since,
            edge: Some(call.edge.clone()),
            core: Some(self.settings.node.clone()),
            inside: call.inside(),
            media: call.relays.iter().flatten().map(|relay| label(relay.class())).collect(),
        })
    }
}

impl Call {
    /// Where the other party is spoken to.
    fn inside(&self) -> Option<String> {
        let dialog = self.leading_dialog().or_else(|| self.dialogs.last())?;
        let (host, port) = &dialog.target.as_ref()?.place;
        Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
    }
}

const fn label(class: MediaClass) -> &'static str {
    match class {
        MediaClass::Audio => "audio",
        MediaClass::Video => "video",
        MediaClass::Other => "other",
    }
}
