//! A status as JSON, for programs, and as a table, for people. The table is made from the JSON, so
//! that `edgeway status` can show a node of another version, and leaves a dash where that is silent.

use std::fmt::Write as _;

use edgeway_model::alarm::Alarm;
use edgeway_model::certificates::CertificateStatus;
use edgeway_model::maintenance::MaintenanceStatus;
use edgeway_model::services::{ServicePart, ServiceStatus};
use edgeway_model::world::{Gauge, LinkStatus, RegistrarStatus, Resources, Status, Transport};
use serde_json::{Map, Value, json};

use crate::chat::CHAT_COUNTERS;
use crate::clock::rfc3339;

/// The answer to `/status`. Durations are milliseconds.
#[must_use]
pub fn json(status: &Status) -> Value {
    let (inward, outward) = status.media_packets;
    let (chat, http): (Vec<_>, Vec<_>) =
        status.http.iter().map(|(what, count)| ((*what).to_owned(), Value::from(*count))).partition(is_of_chat);
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "node": status.node,
        "role": status.role,
        "registrations": gauge(status.registrations),
        "calls": gauge(status.calls),
        "chats": gauge(status.chats),
        "connections": gauge(status.connections),
        "http_requests": { "provisioning": status.provisioning, "proxy": status.proxied },
        "services": status.services.iter().map(service).collect::<Vec<_>>(),
        "links": status.links.iter().map(link).collect::<Vec<_>>(),
        "registrars": status.registrars.iter().map(registrar).collect::<Vec<_>>(),
        "domains": status.domains,
        "requests": counts(&status.requests),
        "drops": counts(&status.drops),
        "handshakes": counts(&status.handshakes),
        "media_packets": { "inward": inward, "outward": outward },
        "media_drops": counts(&status.media_drops),
        "http": http.into_iter().collect::<Map<_, _>>(),
        "chat": chat.into_iter().collect::<Map<_, _>>(),
        "alarms": status.alarms.iter().map(alarm).collect::<Vec<_>>(),
        "maintenance": status.maintenance.map(|one| maintenance(status, one)),
        "resources": resources(status.resources),
        "configuration": { "revision": status.configuration.revision, "source": status.configuration.source },
        "started_ms": status.started_ms,
        "now_ms": status.now_ms,
        "certificates": status.certificates.iter().map(certificate).collect::<Vec<_>>(),
    })
}

fn maintenance(status: &Status, one: MaintenanceStatus) -> Value {
    json!({
        "since_ms": one.since_ms,
        "deadline_ms": one.deadline_ms,
        "kept": one.kept,
        "drained": crate::maintenance::is_drained(status),
        "remaining": crate::maintenance::remaining(status),
        "estimate_s": crate::maintenance::estimate(status).map(|left| left.as_secs()),
    })
}

#[expect(clippy::cast_precision_loss, reason = "no process uses 2^53 thousandths of a processor")]
fn resources(resources: Resources) -> Value {
    json!({
        "cpu_percent": resources.cpu_permille as f64 / 10.0,
        "memory_bytes": resources.memory_bytes,
        "files": resources.files,
        "files_max": resources.files_max,
    })
}

fn gauge(gauge: Gauge) -> Value {
    json!({ "current": gauge.current, "peak": gauge.peak })
}

/// Chat runs on the HTTP thread, and counts there.
fn is_of_chat((what, _): &(String, Value)) -> bool {
    what.starts_with(CHAT_COUNTERS)
}

fn service(service: &ServiceStatus) -> Value {
    let part = |part: &ServicePart| json!({ "name": part.name, "state": part.state.to_string() });
    json!({
        "name": service.name,
        "state": service.state.label(),
        "parts": service.parts.iter().map(part).collect::<Vec<_>>(),
        "notes": service.notes,
    })
}

pub(crate) fn link(link: &LinkStatus) -> Value {
    json!({
        "peer": link.peer,
        "role": link.role.map(|role| role.to_string()),
        "state": if link.up { "up" } else { "down" },
        "round_trip_ms": link.round_trip.map(|time| time.as_secs_f64() * 1e3),
        "clock_skew_ms": link.skew_ms,
        "media_path": link.media_path.label(),
        "version": link.version,
        "unknown_frames": link.unknown_frames,
        "trouble": link.trouble,
    })
}

fn alarm(alarm: &Alarm) -> Value {
    json!({
        "severity": alarm.severity.as_str(),
        "id": alarm.id,
        "about": alarm.about,
        "cause": alarm.cause,
        "action": alarm.action,
        "since_ms": alarm.since_ms,
        "node": alarm.node.as_ref().map(|node| node.as_str()),
    })
}

fn certificate(certificate: &CertificateStatus) -> Value {
    json!({
        "use": certificate.used_for.as_str(),
        "names": certificate.names,
        "issuer": certificate.issuer,
        "not_before_unix": certificate.not_before_unix,
        "not_after_unix": certificate.not_after_unix,
        "fingerprint": certificate.fingerprint,
    })
}

fn registrar(registrar: &RegistrarStatus) -> Value {
    let state = if registrar.alive { "alive" } else { "failed" };
    json!({
        "name": registrar.name,
        "deployment": registrar.deployment,
        "zone": registrar.zone,
        "address": registrar.address.map(|address| address.to_string()),
        "transport": registrar.transport.map(Transport::param),
        "state": state,
        "why": registrar.why,
    })
}

fn counts(counts: &[(&'static str, u64)]) -> Value {
    counts.iter().map(|(name, count)| ((*name).to_owned(), Value::from(*count))).collect::<Map<_, _>>().into()
}

/// What an operator reads of a `/status` answer.
#[must_use]
pub fn table(status: &Value) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    let _ = writeln!(
        out,
        "{} ({}), Edgeway {}\n",
        cell(status.get("node")),
        cell(status.get("role")),
        cell(status.get("version"))
    );
    alarms(&mut out, status);
    maintenance_line(&mut out, status);
    grid(&mut out, &["", "current", "peak"], &gauge_rows(status), &[1, 2]);
    if let Some(started) = status.get("started_ms").and_then(Value::as_u64).filter(|started| *started > 0) {
        let _ = writeln!(out, "peaks are those since {}", rfc3339(started));
    }
    let services = service_rows(status);
    if !services.is_empty() {
        out.push('\n');
        grid(&mut out, &["service", "state"], &services, &[]);
    }
    out.push('\n');
    let links = rows(status, "links", link_row);
    grid(&mut out, &["link", "state", "round trip", "clock skew", "media path"], &links, &[2, 3]);
    let troubles: Vec<_> = rows(status, "links", |link| vec![cell(link.get("peer")), cell(link.get("trouble"))])
        .into_iter()
        .filter(|row| row[1] != NOTHING)
        .collect();
    if !troubles.is_empty() {
        out.push('\n');
        grid(&mut out, &["link", "trouble"], &troubles, &[]);
    }
    if status.get("role").and_then(Value::as_str) != Some("edge") {
        out.push('\n');
        let columns = ["zone", "deployment", "address", "transport", "state", "why"];
        let registrars = rows(status, "registrars", |one| columns.map(|column| cell(one.get(column))).to_vec());
        grid(&mut out, &["zone", "deployment", "address", "transport", "state", "why"], &registrars, &[]);
    }
    out.push('\n');
    grid(&mut out, &["requests", "count"], &count_rows(status, "requests"), &[1]);
    out.push('\n');
    grid(&mut out, &["refused or dropped", "count"], &count_rows(status, "drops"), &[1]);
    out.push('\n');
    let media = |way| cell(status.pointer(&format!("/media_packets/{way}")));
    let rows = ["inward", "outward"].map(|way| vec![way.to_owned(), media(way)]);
    grid(&mut out, &["media packets", "count"], &rows, &[1]);
    let http = count_rows(status, "http");
    if !http.is_empty() {
        out.push('\n');
        grid(&mut out, &["http and sign-in", "count"], &http, &[1]);
    }
    let chat = count_rows(status, "chat");
    if !chat.is_empty() {
        out.push('\n');
        grid(&mut out, &["chat", "count"], &chat, &[1]);
    }
    out
}

/// Each alarm, and below it why and what to do. They come first: that is what an operator looks for.
fn alarms(out: &mut String, status: &Value) {
    for alarm in status.get("alarms").and_then(Value::as_array).into_iter().flatten() {
        let of = |name: &str| cell(alarm.get(name));
        let at = alarm.get("node").and_then(Value::as_str).map(|node| format!(" at {}", printable(node)));
        let at = at.unwrap_or_default();
        let _ = writeln!(out, "alarm: {} {} ({}){at}", of("severity"), of("id"), of("about"));
        let _ = writeln!(out, "  {}\n  {}\n", of("cause"), of("action"));
    }
}

/// Nothing while the node serves.
fn maintenance_line(out: &mut String, status: &Value) {
    let Some(maintenance) = status.get("maintenance").filter(|one| one.is_object()) else { return };
    if maintenance.get("drained") == Some(&Value::Bool(true)) {
        let _ = writeln!(out, "maintenance mode: drained, nothing is served any more\n");
        return;
    }
    let left = |kind: &str| cell(maintenance.pointer(&format!("/remaining/{kind}")));
    let kinds = ["calls", "chats", "registrations", "requests"].map(|kind| format!("{} {kind}", left(kind)));
    let _ = writeln!(out, "maintenance mode: draining, left are {}\n", kinds.join(", "));
}

fn gauge_rows(status: &Value) -> Vec<Vec<String>> {
    let row = |title: &str, name: &str| {
        let of = |which: &str| cell(status.pointer(&format!("/{name}/{which}")));
        vec![title.to_owned(), of("current"), of("peak")]
    };
    // Requests are short: their number now is all there is to say.
    let requests = ["provisioning", "proxy"].map(|of| status.pointer(&format!("/http_requests/{of}"))?.as_u64());
    let requests = requests.into_iter().sum::<Option<u64>>().map_or_else(|| NOTHING.to_owned(), |now| now.to_string());
    vec![
        row("MRA registrations", "registrations"),
        row("calls", "calls"),
        row("chat sessions", "chats"),
        row("client connections", "connections"),
        vec!["HTTP requests".to_owned(), requests, NOTHING.to_owned()],
    ]
}

/// Each service, and below its state what of it runs here and what there is to say.
fn service_rows(status: &Value) -> Vec<Vec<String>> {
    let below = |text: String| vec![String::new(), format!("  {text}")];
    let of = |service: &Value| {
        let mut rows = vec![vec![cell(service.get("name")), cell(service.get("state"))]];
        let part = |part: &Value| vec![format!("{}: {}", cell(part.get("name")), cell(part.get("state")))];
        rows.extend(self::rows(service, "parts", part).into_iter().flatten().map(below));
        rows.extend(self::rows(service, "notes", |note| vec![cell(Some(note))]).into_iter().flatten().map(below));
        rows
    };
    let services = status.get("services").and_then(Value::as_array);
    services.into_iter().flatten().flat_map(of).collect()
}

fn link_row(link: &Value) -> Vec<String> {
    let mut row = vec![cell(link.get("peer")), cell(link.get("state"))];
    if link.get("state").and_then(Value::as_str) != Some("up") {
        // What was measured before says nothing about now.
        row.extend(std::iter::repeat_n(NOTHING.to_owned(), 3));
        return row;
    }
    let round_trip = link.get("round_trip_ms").and_then(Value::as_f64);
    row.push(round_trip.map_or(NOTHING.to_owned(), |ms| format!("{ms:.1} ms")));
    let skew = link.get("clock_skew_ms").and_then(Value::as_i64);
    row.push(skew.map_or(NOTHING.to_owned(), |ms| format!("{ms:+} ms")));
    row.push(cell(link.get("media_path")));
    row
}

fn count_rows(status: &Value, name: &str) -> Vec<Vec<String>> {
    let counts = status.get(name).and_then(Value::as_object);
    counts.into_iter().flatten().map(|(label, count)| vec![printable(label), cell(Some(count))]).collect()
}

fn rows(status: &Value, name: &str, row: impl Fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    status.get(name).and_then(Value::as_array).into_iter().flatten().map(row).collect()
}

/// Shown where there is nothing to say.
const NOTHING: &str = "-";

/// A value as it may be shown at a terminal; a dash where there is none.
#[must_use]
pub fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => NOTHING.to_owned(),
        Some(Value::String(text)) => printable(text),
        Some(other) => other.to_string(),
    }
}

/// A terminal obeys control characters; an answer must not command it.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

/// Appends aligned columns to `out`, two spaces apart; those in `right` to the right, for numbers. Cells are shown as
/// they are: see [`cell`].
pub fn grid(out: &mut String, heads: &[&str], rows: &[Vec<String>], right: &[usize]) {
    if rows.is_empty() {
        let _ = writeln!(out, "{}: none", heads[0]);
        return;
    }
    let heads: Vec<String> = heads.iter().map(ToString::to_string).collect();
    let all = || std::iter::once(&heads).chain(rows);
    let width = |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..heads.len()).map(|column| width(column).unwrap_or(0)).collect();
    for row in all() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match right.contains(&column) {
                true => write!(line, "{cell:>width$}  "),
                false => write!(line, "{cell:<width$}  "),
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use edgeway_model::media::MediaPath;
    use edgeway_model::services::{PartState, ServiceState};

    use std::time::Duration;

    use super::*;

    fn core() -> Status {
        Status {
            node: "core1".into(),
            role: "core",
            registrations: Gauge { current: 12, peak: 40 },
            calls: Gauge { current: 3, peak: 9 },
            chats: Gauge { current: 2, peak: 5 },
            connections: Gauge { current: 0, peak: 0 },
            provisioning: 1,
            proxied: 2,
            services: vec![
                ServiceStatus {
                    name: "IM and Presence Service",
                    state: ServiceState::WithErrors,
                    parts: vec![ServicePart { name: "XMPP router", state: PartState::Active }],
                    notes: vec!["1 IM and Presence server(s) do not answer".into()],
                },
                ServiceStatus {
                    name: "XMPP Federation",
                    state: ServiceState::NotConfigured,
                    parts: Vec::new(),
                    notes: Vec::new(),
                },
            ],
            links: vec![
                LinkStatus {
                    peer: "edge1".into(),
                    up: true,
                    round_trip: Some(Duration::from_micros(1_250)),
                    skew_ms: -42,
                    media_path: MediaPath::Udp,
                    version: 2,
                    ..LinkStatus::default()
                },
                LinkStatus {
                    peer: "edge-osaka".into(),
                    up: true,
                    round_trip: None,
                    skew_ms: 7,
                    media_path: MediaPath::Tcp,
                    version: 2,
                    ..LinkStatus::default()
                },
                LinkStatus {
                    peer: "edge3".into(),
                    up: false,
                    round_trip: Some(Duration::from_secs(1)),
                    skew_ms: 1,
                    media_path: MediaPath::Udp,
                    trouble: Some("silent for 3 s".into()),
                    ..LinkStatus::default()
                },
            ],
            registrars: vec![
                RegistrarStatus {
                    deployment: "default".into(),
                    zone: "sip:pbx.example.com".into(),
                    name: "pbx.example.com".into(),
                    address: "10.0.0.5:5060".parse().ok(),
                    transport: Some(Transport::Tls),
                    alive: true,
                    why: None,
                },
                RegistrarStatus {
                    deployment: "default".into(),
                    zone: "CEtcp-cucm1".into(),
                    name: "2001:db8::5".into(),
                    address: "[2001:db8::5]:5060".parse().ok(),
                    transport: Some(Transport::Udp),
                    alive: false,
                    why: Some("it does not answer OPTIONS".into()),
                },
            ],
            requests: vec![("INVITE", 4), ("REGISTER", 12_000)],
            drops: vec![("no_relay", 7)],
            handshakes: vec![("accepted", 3)],
            media_packets: (123_456, 99),
            ..Status::default()
        }
    }

    #[test]
    fn the_table_says_it_all_in_aligned_columns() {
        let expected = format!(
            "\
core1 (core), Edgeway {}

                    current  peak
MRA registrations        12    40
calls                     3     9
chat sessions             2     5
client connections        0     0
HTTP requests             3     -

service                  state
IM and Presence Service  Configured but with errors
                           XMPP router: Active
                           1 IM and Presence server(s) do not answer
XMPP Federation          Not configured

link        state  round trip  clock skew  media path
edge1       up         1.2 ms      -42 ms  UDP
edge-osaka  up              -       +7 ms  TCP fallback
edge3       down            -           -  -

link   trouble
edge3  silent for 3 s

zone                 deployment  address             transport  state   why
sip:pbx.example.com  default     10.0.0.5:5060       tls        alive   -
CEtcp-cucm1          default     [2001:db8::5]:5060  udp        failed  it does not answer OPTIONS

requests  count
INVITE        4
REGISTER  12000

refused or dropped  count
no_relay                7

media packets   count
inward         123456
outward            99
",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(table(&json(&core())), expected);
    }

    #[test]
    fn alarms_come_first_with_what_to_do() {
        let alarm = Alarm {
            id: "server_drift",
            about: "cucm1.example.com".into(),
            severity: edgeway_model::alarm::Severity::Warning,
            cause: "A node was added.".into(),
            action: "Run `edgeway servers refresh`.".into(),
            since_ms: 7,
            node: None,
        };
        let http = vec![("chat_signed_in", 3), ("https_answered_2xx", 4)];
        let status = Status { alarms: vec![alarm], http, ..core() };
        let value = json(&status);
        assert_eq!(value["alarms"][0]["id"], "server_drift");
        assert_eq!(value["alarms"][0]["since_ms"], 7);
        assert_eq!(value["http"]["https_answered_2xx"], 4);
        let text = table(&value);
        let expected = "\n\nalarm: warning server_drift (cucm1.example.com)\n  A node was added.\n  \
                        Run `edgeway servers refresh`.\n\n";
        assert!(text.contains(expected), "{text}");
        let end =
            "\nhttp and sign-in    count\nhttps_answered_2xx      4\n\nchat            count\nchat_signed_in      3\n";
        assert!(text.ends_with(end), "{text}");
        assert_eq!((&value["http"]["chat_signed_in"], &value["chat"]["chat_signed_in"]), (&Value::Null, &json!(3)));
    }

    #[test]
    fn maintenance_mode_is_said_with_what_is_left() {
        let mut status = Status {
            maintenance: Some(MaintenanceStatus { since_ms: 5, kept: true, ..MaintenanceStatus::default() }),
            now_ms: 9,
            resources: Resources { cpu_permille: 125, memory_bytes: 7, files: 3, files_max: 9, ..Resources::default() },
            ..core()
        };
        let value = json(&status);
        let remaining = json!({ "calls": 3, "chats": 2, "registrations": 12, "requests": 3 });
        let expected = json!({
            "since_ms": 5, "deadline_ms": null, "kept": true, "drained": false, "remaining": remaining, "estimate_s": null,
        });
        assert_eq!((&value["maintenance"], &value["now_ms"]), (&expected, &json!(9)));
        assert_eq!(value["resources"], json!({ "cpu_percent": 12.5, "memory_bytes": 7, "files": 3, "files_max": 9 }));
        assert_eq!(value["configuration"], json!({ "revision": null, "source": null }));
        assert!(
            table(&value).contains(
                "\n\nmaintenance mode: draining, left are 3 calls, 2 chats, 12 registrations, 3 requests\n\n"
            )
        );
        let none = Gauge::default();
        (status.calls, status.chats, status.registrations) = (none, none, none);
        (status.provisioning, status.proxied) = (0, 0);
        assert!(table(&json(&status)).contains("\n\nmaintenance mode: drained, nothing is served any more\n\n"));
    }

    #[test]
    fn an_idle_edge_says_none_and_knows_no_registrar() {
        let text = table(&json(&Status { node: "edge1".into(), role: "edge", ..Status::default() }));
        assert!(text.contains("\nlink: none\n") && text.contains("\nrefused or dropped: none\n"), "{text}");
        assert!(!text.contains("zone:"), "{text}");
    }

    #[test]
    fn programs_get_milliseconds_and_words() {
        let value = json(&core());
        assert_eq!(value["links"][0]["round_trip_ms"], 1.25);
        assert_eq!(value["links"][0]["clock_skew_ms"], -42);
        assert_eq!(value["links"][0]["state"], "up");
        assert_eq!(value["links"][1]["round_trip_ms"], Value::Null);
        assert_eq!(value["links"][1]["media_path"], "TCP fallback");
        assert_eq!(value["registrars"][1]["state"], "failed");
        assert_eq!(value["registrations"], json!({ "current": 12, "peak": 40 }));
        assert_eq!(value["chats"], json!({ "current": 2, "peak": 5 }));
        assert_eq!(value["services"][0]["state"], "Configured but with errors");
        assert_eq!(value["services"][0]["parts"], json!([{ "name": "XMPP router", "state": "Active" }]));
        assert_eq!(value["requests"]["REGISTER"], 12_000);
        assert_eq!(value["media_packets"]["outward"], 99);
    }

    #[test]
    fn any_json_becomes_a_table_that_commands_no_terminal() {
        let hostile = json!({
            "node": "\u{1b}[2Jx", "role": 7, "links": [null, {"peer": "a\nb", "state": "up"}], "registrars": "?",
            "requests": {"\u{7}": 1}, "calls": [],
            "services": [7, {"name": "\r", "parts": [{}, "\u{9b}"], "notes": ["\u{7f}", {}]}]
        });
        let text = table(&hostile);
        assert!(text.starts_with("?[2Jx (7), Edgeway -\n") && text.contains("a?b"), "{text}");
        for value in [hostile, Value::Null, json!([]), json!("x")] {
            assert!(!table(&value).contains(|char: char| char.is_control() && char != '\n'));
        }
    }
}
