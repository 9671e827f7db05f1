//! What an operator is told of the services that clients have through this node.

use edgeway_model::alarm::Severity;
use edgeway_model::services::{ServicePart, ServiceState, ServiceStatus};
use edgeway_model::world::Status;

/// The alarm of an IM server that does not answer.
pub const ALARM_CHAT_SERVER_DOWN: &str = "chat_server_down";

/// The rows, out of the rest of the status. `chat`: whether this node is set up for chat, and its HTTP thread runs.
#[must_use]
pub fn of(status: &Status, chat: bool) -> Vec<ServiceStatus> {
    vec![im_and_presence(status, chat), federation()]
}

fn im_and_presence(status: &Status, chat: bool) -> ServiceStatus {
    let is_edge = status.role == "edge";
    let parts = vec![ServicePart { name: "XMPP router", active: chat }];
    let mut notes = Vec::new();
    let state = if !chat {
        let what = match is_edge {
            true => "xmpp.listen is off",
            false => "there is neither an [[im_and_presence]] nor an [[xmpp_server]]",
        };
        notes.push(what.to_owned());
        ServiceState::NotConfigured
    } else {
        if !status.links.iter().any(|link| link.up) {
            notes.push(format!("No {} is linked", if is_edge { "core" } else { "edge" }));
        }
        let down: Vec<_> = status.alarms.iter().filter(|alarm| alarm.id == ALARM_CHAT_SERVER_DOWN).collect();
        if down.iter().any(|alarm| alarm.severity == Severity::Critical) {
            notes.push("Service requires an active connection to at least one IM and Presence server".to_owned());
        } else if !down.is_empty() {
            notes.push(format!("{} IM and Presence server(s) do not answer", down.len()));
        }
        if notes.is_empty() { ServiceState::Configured } else { ServiceState::WithErrors }
    };
    ServiceStatus { name: "IM and Presence Service", state, parts, notes }
}

/// Chat with other organisations, server to server.
fn federation() -> ServiceStatus {
    let notes = vec!["Edgeway carries chat of its own users only".to_owned()];
    ServiceStatus { name: "XMPP Federation", state: ServiceState::NotConfigured, parts: Vec::new(), notes }
}

#[cfg(test)]
mod tests {
    use edgeway_model::alarm::Alarm;
    use edgeway_model::world::LinkStatus;

    use super::*;

    fn down(about: &str, severity: Severity) -> Alarm {
        Alarm {
            id: ALARM_CHAT_SERVER_DOWN,
            about: about.into(),
            severity,
            cause: String::new(),
            action: String::new(),
            since_ms: 0,
            node: None,
        }
    }

    #[test]
    fn chat_is_what_the_settings_the_links_and_the_alarms_say() {
        let link = LinkStatus { peer: "edge1".into(), up: true, ..LinkStatus::default() };
        let mut status = Status { role: "core", links: vec![link], ..Status::default() };
        let shown = |status: &Status, chat| {
            let [im, federation] = <[_; 2]>::try_from(of(status, chat)).unwrap();
            assert_eq!((federation.name, federation.state.label()), ("XMPP Federation", "Not configured"));
            let part = (im.parts[0].name, im.parts[0].label());
            assert_eq!(
                (im.name, part),
                ("IM and Presence Service", ("XMPP router", ["Inactive", "Active"][usize::from(chat)]))
            );
            (im.state.label(), im.notes)
        };
        assert_eq!(shown(&status, true), ("Configured", vec![]));
        let (state, notes) = shown(&status, false);
        assert!(state == "Not configured" && notes[0].contains("[[xmpp_server]]"), "{notes:?}");
        status.alarms = vec![down("im1", Severity::Warning)];
        let (state, notes) = shown(&status, true);
        assert!(
            state == "Configured but with errors" && notes == ["1 IM and Presence server(s) do not answer"],
            "{notes:?}"
        );
        status.alarms.push(down("im2", Severity::Critical));
        assert!(shown(&status, true).1[0].contains("at least one IM and Presence server"));
        status.links[0].up = false;
        assert_eq!(shown(&status, true).1.len(), 2);
        status.role = "edge";
        assert_eq!(shown(&status, true).1[0], "No core is linked");
        assert_eq!(shown(&status, false), ("Not configured", vec!["xmpp.listen is off".to_owned()]));
    }
}
