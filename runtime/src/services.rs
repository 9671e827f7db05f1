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

/// The rows, out of the rest of the status: those that operators of such systems know, in their order and words.
#[must_use]
pub fn of(status: &Status, runs: Runs) -> Vec<ServiceStatus> {
    vec![
        row("Unified Communications status", ServiceState::Enabled, &[]),
        registrations(status, runs),
        im_and_presence(status, runs),
        row("XMPP Federation", ServiceState::NotConfigured, &["Edgeway carries chat of its own users only"]),
        single_sign_on(status),
        tokens(status),
    ]
}

/// A row without parts.
fn row(name: &'static str, state: ServiceState, notes: &[&str]) -> ServiceStatus {
    ServiceStatus { name, state, parts: Vec::new(), notes: notes.iter().map(ToString::to_string).collect() }
}

/// In maintenance mode what is set up is not whole, as these systems say.
fn state(status: &Status, notes: &[String]) -> ServiceState {
    match notes.is_empty() && status.maintenance.is_none() {
        true => ServiceState::Configured,
        false => ServiceState::WithErrors,
    }
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
    ServiceStatus { name: "Unified CM registrations", state: state(status, &notes), parts, notes }
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
        if parts[0].state == PartState::Drained {
            notes.push(UNSERVED.to_owned());
        }
        state(status, &notes)
    };
    ServiceStatus { name: "IM and Presence Service", state, parts, notes }
}

/// What is said of chat in maintenance mode once nobody chats any more.
const UNSERVED: &str = "Service requires an active connection to at least one IM & Presence server (Maintenance mode)";

/// Signing in at an identity provider by SAML. There is none; access tokens of Unified CM are the next row.
fn single_sign_on(status: &Status) -> ServiceStatus {
    let name = "Single Sign-On support";
    match status.tokens {
        None => row(name, ServiceState::AtTheCores, &[]),
        Some(_) => row(name, ServiceState::NotConfigured, &["Users sign in with a password or an access token"]),
    }
}

fn tokens(status: &Status) -> ServiceStatus {
    let name = "OAuth token with refresh";
    match status.tokens {
        None => row(name, ServiceState::AtTheCores, &[]),
        Some(true) => row(name, ServiceState::Configured, &[]),
        Some(false) => row(name, ServiceState::NotConfigured, &["Enable on the Unified Communications page"]),
    }
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
            let [_, _, im, federation, ..] = <[_; 6]>::try_from(of(status, runs)).unwrap();
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
            let parts = rows[1].parts.iter().chain(&rows[2].parts[..1]);
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

    #[test]
    fn in_maintenance_mode_the_rows_are_those_of_the_figure() {
        let link = LinkStatus { peer: "edge1".into(), up: true, ..LinkStatus::default() };
        let mut status = Status { role: "core", links: vec![link], tokens: Some(true), ..Status::default() };
        status.registrars = vec![a_registrar()];
        status.maintenance = Some(edgeway_model::maintenance::MaintenanceStatus::default());
        let mut lines = Vec::new();
        for row in of(&status, Runs { https: true, chat: true }) {
            lines.push(format!("{}: {}", row.name, row.state.label()));
            // Calls and registrations are counted beside the figure's rows.
            let parts = row.parts.iter().filter(|part| part.name != "SIP");
            lines.extend(parts.map(|part| format!("  {}: {}", part.name, part.state)));
            lines.extend(row.notes.iter().map(|note| format!("  {note}")));
        }
        let figure = "\
Unified Communications status: Enabled
Unified CM registrations: Configured but with errors
  HTTP proxy service: Inactive (Maintenance mode)
  Port forwarding mesh: Inactive (Maintenance mode)
  Provisioning server: Inactive (Maintenance mode)
IM and Presence Service: Configured but with errors
  XMPP router: Inactive (Maintenance mode)
  HTTP proxy service: Inactive (Maintenance mode)
  Port forwarding mesh: Inactive (Maintenance mode)
  Provisioning server: Inactive (Maintenance mode)
  Service requires an active connection to at least one IM & Presence server (Maintenance mode)
XMPP Federation: Not configured
  Edgeway carries chat of its own users only
Single Sign-On support: Not configured
  Users sign in with a password or an access token
OAuth token with refresh: Configured";
        assert_eq!(lines.join("\n"), figure);
        (status.role, status.tokens) = ("edge", None);
        let of_edge = of(&status, Runs { https: true, chat: true });
        assert_eq!(of_edge.len(), 6);
        assert!(of_edge[4..].iter().all(|row| row.state.label() == "Set at the cores"));
    }

    fn a_registrar() -> edgeway_model::world::RegistrarStatus {
        edgeway_model::world::RegistrarStatus {
            name: "cucm1".into(),
            deployment: "default".into(),
            zone: "CEtcp-cucm1".into(),
            address: None,
            transport: None,
            alive: true,
            why: None,
        }
    }
}
