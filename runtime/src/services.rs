//! What an operator is told of the services that clients have through this node.

use edgeway_model::alarm::Severity;
use edgeway_model::services::{PartState, ServicePart, ServiceState, ServiceStatus};
use edgeway_model::world::Status;

/// The alarm of maintenance mode.
pub const ALARM_MAINTENANCE: &str = "maintenance_mode";

/// The alarm of an IM server that does not answer.
pub const ALARM_CHAT_SERVER_DOWN: &str = "chat_server_down";

/// What of this node is set up and runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// Sign-in and the HTTP proxy: there is an HTTP thread.
    pub https: bool,
    /// Chat.
    pub chat: bool,
}

/// The rows, out of the rest of the status.
#[must_use]
pub fn of(status: &Status, runs: Runs) -> Vec<ServiceStatus> {
    vec![registrations(status, runs), im_and_presence(status, runs), federation()]
}

/// How far a part is, with so many served by it.
fn part(status: &Status, name: &'static str, on: bool, served: u64) -> ServicePart {
    ServicePart { name, state: PartState::of(on, status.maintenance.is_some(), served) }
}

/// What SIP and chat have in common: without these nobody signs in, and nothing gets from edge to core. The links
/// carry all the rest, and so are the last to be drained.
fn shared(status: &Status, runs: Runs) -> [ServicePart; 3] {
    let linked = status.links.iter().any(|link| link.up);
    let carried = [status.registrations, status.calls, status.chats].iter().map(|gauge| gauge.current).sum::<u64>();
    [
        part(status, "HTTP proxy service", runs.https, status.proxied),
        part(status, "Port forwarding mesh", linked, carried + status.proxied + status.provisioning),
        part(status, "Provisioning server", runs.https, status.provisioning),
    ]
}

/// Which other kind of node there must be a link with.
fn unlinked(status: &Status) -> Option<String> {
    let other = if status.role == "edge" { "core" } else { "edge" };
    (!status.links.iter().any(|link| link.up)).then(|| format!("No {other} is linked"))
}

fn registrations(status: &Status, runs: Runs) -> ServiceStatus {
    let served = status.registrations.current + status.calls.current;
    let mut parts = vec![part(status, "SIP", true, served)];
    parts.extend(shared(status, runs));
    let mut notes: Vec<_> = unlinked(status).into_iter().collect();
    let known = status.registrars.len();
    let alive = status.registrars.iter().filter(|registrar| registrar.alive).count();
    if alive == 0 && status.role == "core" {
        notes.push("No registrar answers".to_owned());
    } else if alive < known {
        notes.push(format!("{} of {known} registrars do not answer", known - alive));
    }
    let state = if notes.is_empty() { ServiceState::Configured } else { ServiceState::WithErrors };
    ServiceStatus { name: "Unified CM registrations", state, parts, notes }
}

fn im_and_presence(status: &Status, runs: Runs) -> ServiceStatus {
    let is_edge = status.role == "edge";
    let mut parts = vec![part(status, "XMPP router", runs.chat, status.chats.current)];
    parts.extend(shared(status, runs));
    let mut notes = Vec::new();
    let state = if !runs.chat {
        let what = match is_edge {
            true => "xmpp.listen is off",
            false => "there is neither an [[im_and_presence]] nor an [[xmpp_server]]",
        };
        notes.push(what.to_owned());
        ServiceState::NotConfigured
    } else {
        notes.extend(unlinked(status));
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
            let runs = Runs { https: true, chat };
            let [_, im, federation] = <[_; 3]>::try_from(of(status, runs)).unwrap();
            assert_eq!((federation.name, federation.state.label()), ("XMPP Federation", "Not configured"));
            let part = (im.parts[0].name, &*im.parts[0].state.to_string());
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

    #[test]
    fn parts_drain_one_by_one_and_the_mesh_last() {
        let gauge = |current| edgeway_model::world::Gauge { current, peak: 9 };
        let link = LinkStatus { peer: "edge1".into(), up: true, ..LinkStatus::default() };
        let mut status = Status { role: "edge", links: vec![link], ..Status::default() };
        let shown = |status: &Status| {
            let rows = of(status, Runs { https: true, chat: true });
            let parts = rows[0].parts.iter().chain(&rows[1].parts[..1]);
            parts.map(|part| format!("{}: {}", part.name, part.state)).collect::<Vec<_>>()
        };
        assert!(shown(&status).iter().all(|part| part.ends_with(": Active")));
        status.maintenance = Some(edgeway_model::maintenance::MaintenanceStatus {
            lasted: std::time::Duration::from_secs(5),
            ..Default::default()
        });
        (status.calls, status.chats, status.proxied) = (gauge(2), gauge(3), 1);
        assert_eq!(
            shown(&status),
            [
                "SIP: Draining (2)",
                "HTTP proxy service: Draining (1)",
                "Port forwarding mesh: Draining (6)",
                "Provisioning server: Inactive (Maintenance mode)",
                "XMPP router: Draining (3)",
            ]
        );
        (status.calls, status.chats, status.proxied) = (gauge(0), gauge(0), 0);
        assert!(shown(&status).iter().all(|part| part.ends_with(": Inactive (Maintenance mode)")));
    }
}
