//! What an operator reads of calls.

use std::time::Duration;

use edgeway_media::sdp::{Direction, LegMedia};
use edgeway_model::listing::{CallDetail, CallRow, CallState, Cursor, MediaDetail, MediaLeg, Page, Wish};
use edgeway_model::media::{LegSecurity, MediaClass, PortPair};
use edgeway_model::{Moment, NodeId, Pii};
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
        wish.page(rows, self.calls.calls.len() as u64, takes).map(|(id, call)| self.call_row(id, call))
    }

    fn call_row(&self, id: u32, call: &Call) -> CallRow {
        CallRow {
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
        }
    }

    pub(crate) fn call_detail(&self, id: u32) -> Option<CallDetail> {
        let call = self.call(id)?;
        let registered = self.bindings.on_flow(call.tagged);
        let agreed = call.leading_dialog().map_or(&[][..], |dialog| &dialog.sections);
        let links = self.links.status();
        let path = |edge: &NodeId| {
            links.iter().find(|link| link.peer == edge.as_str()).map_or_else(Default::default, |link| link.media_path)
        };
        let relays = call.relays.iter().enumerate().filter_map(|(section, relay)| Some((section, relay.as_ref()?)));
        let media = relays.map(|(section, relay)| {
            let media = agreed.get(section).and_then(Option::as_ref);
            let (outside, inside) = relay.ports();
            MediaDetail {
                kind: label(relay.class()),
                codecs: media.map(|media| media.codecs.to_string()).unwrap_or_default(),
                direction: media.map(|media| direction(media.outside.direction)),
                client: leg(outside, media.map(|media| &media.outside)),
                inside: leg(inside, media.map(|media| &media.inside)),
                edge: relay.edge.clone(),
                path: path(&relay.edge),
                counters: relay.counters(),
            }
        });
        Some(CallDetail {
            call: self.call_row(id, call),
            device: registered.as_ref().map(|one| Pii::new(one.device.to_owned())),
            user_agent: registered.as_ref().and_then(|one| one.agent.map(str::to_owned)),
            client: registered.as_ref().and_then(|one| one.client.map(Pii::new)),
            parties: call.dialogs.len(),
            heard: call.heard,
            media: media.collect(),
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

fn leg(ports: PortPair, media: Option<&LegMedia>) -> MediaLeg {
    MediaLeg {
        port: ports.rtp,
        described: media.and_then(|media| media.described).map(|(rtp, _)| Pii::new(rtp)),
        protection: media.and_then(|media| match &media.security {
            LegSecurity::Plain => Some("none"),
            LegSecurity::Awaited => None,
            LegSecurity::Srtp { receive, .. } => Some(receive.suite().name()),
        }),
    }
}

const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::SendRecv => "sendrecv",
        Direction::SendOnly => "sendonly",
        Direction::RecvOnly => "recvonly",
        Direction::Inactive => "inactive",
    }
}
