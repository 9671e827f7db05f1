//! A status as Prometheus text (exposition format 0.0.4): names, units and labels that `promtool
//! check metrics` accepts, never a user's name or a client's address in a label.
//!
//! The names are a promise to dashboards: `docs/manual/metrics.md` lists them, and a test holds the
//! page and [`FAMILIES`] together.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use edgeway_model::alarm::Severity;
use edgeway_model::media::MediaPath;
use edgeway_model::notice::DropReason;
use edgeway_model::world::{LinkStatus, RegistrarStatus, Status, Times};

use crate::chat::CHAT_COUNTERS;

#[cfg(test)]
mod packaged;

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// `"gauge"`, `"counter"` or `"histogram"`.
    pub kind: &'static str,
    /// The labels of its series, in order; a histogram's buckets have `le` besides.
    pub labels: &'static [&'static str],
    /// What it says, as in HELP and in the manual.
    pub help: &'static str,
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: "gauge", labels, help }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: "counter", labels, help }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: "histogram", labels, help }
}

const BUILD_INFO: Family = gauge("edgeway_build_info", &["version", "role"], "Always 1; the labels say what runs.");
const UP: Family = gauge("edgeway_up", &[], "Always 1 while the node answers.");
const REGISTRATIONS: Family = gauge(
    "edgeway_registrations",
    &[],
    "MRA registrations now; a device counts once, however many connections it holds.",
);
const REGISTRATIONS_PEAK: Family =
    gauge("edgeway_registrations_peak", &[], "Highest number of MRA registrations since the node started.");
const CALLS: Family = gauge("edgeway_calls", &[], "Calls now.");
const CALLS_PEAK: Family = gauge("edgeway_calls_peak", &[], "Highest number of calls since the node started.");
const XMPP_SESSIONS: Family =
    gauge("edgeway_xmpp_sessions", &[], "Chat sessions now: XMPP streams that have signed in.");
const XMPP_SESSIONS_PEAK: Family =
    gauge("edgeway_xmpp_sessions_peak", &[], "Highest number of chat sessions since the node started.");
const DRAINING: Family =
    gauge("edgeway_draining", &[], "Whether the node is in maintenance mode (1) or in service (0).");
const DRAIN_REMAINING: Family = gauge(
    "edgeway_drain_remaining",
    &["kind"],
    "In maintenance mode: what is still served, by kind; nothing while in service.",
);
const CONNECTIONS: Family = gauge("edgeway_connections", &["proto"], "Client connections now.");
const CONNECTIONS_PEAK: Family =
    gauge("edgeway_connections_peak", &["proto"], "Highest number of client connections since the node started.");
const TUNNEL_UP: Family = gauge("edgeway_tunnel_up", &["peer"], "Whether the link to the peer is up (1) or down (0).");
const TUNNEL_RTT: Family = gauge(
    "edgeway_tunnel_rtt_seconds",
    &["peer"],
    "Round-trip time of the last keepalive on the link; absent until there is one.",
);
const TUNNEL_SKEW: Family = gauge(
    "edgeway_tunnel_clock_skew_seconds",
    &["peer"],
    "How far the clock of the peer is ahead of ours; absent while the link is down.",
);
const TUNNEL_DATAGRAMS: Family = gauge(
    "edgeway_tunnel_datagrams",
    &["peer"],
    "Whether media has its UDP path to the peer (1), or UDP is blocked (0).",
);
const TUNNEL_FALLBACK: Family = gauge(
    "edgeway_tunnel_media_fallback",
    &["peer"],
    "Whether media goes to the peer over TCP (1), because UDP is blocked, or not (0).",
);
const UC_NODE_UP: Family =
    gauge("edgeway_uc_node_up", &["node", "service"], "Whether the registrar answers (1) or not (0); only on a core.");
const REQUESTS: Family = counter("edgeway_requests_total", &["proto", "method"], "Requests received.");
const HTTP_REQUESTS: Family = gauge("edgeway_http_requests", &["purpose"], "Requests over HTTPS being served now.");
const REQUEST_DURATION: Family = histogram(
    "edgeway_request_duration_seconds",
    &["purpose"],
    "Time from the head of a request over HTTPS to the end of its answer.",
);
const AUTH: Family = counter(
    "edgeway_auth_total",
    &["result", "reason"],
    "Sign-ins and tokens by what became of them, and what it was that decided; only on a core.",
);
const AUTH_LIMITED: Family = counter(
    "edgeway_auth_rate_limited_total",
    &[],
    "Credentials refused unread because there were too many, of a user at a core or of an address at an edge.",
);
const CACHE_HITS: Family =
    counter("edgeway_cred_cache_hits_total", &[], "Passwords that the credential cache knew; only on a core.");
const CACHE_MISSES: Family = counter(
    "edgeway_cred_cache_misses_total",
    &[],
    "Passwords that the credential cache did not know; only on a core.",
);
const DROPS: Family = counter("edgeway_drops_total", &["reason"], "What was refused or dropped, by reason.");
const DROPPED_EVENTS: Family = counter(
    "edgeway_dropped_events_total",
    &["sink"],
    "What was meant for others to read and did not leave, because the system did not take it; only where there is a sink.",
);
const RTP_PACKETS: Family = counter(
    "edgeway_rtp_packets_total",
    &["dir"],
    "Media packets relayed towards the inside (inward) and towards clients (outward).",
);

const RTP_DROPPED: Family =
    counter("edgeway_rtp_dropped_total", &["reason"], "Media packets that were not relayed, by reason.");

const TUNNEL_UNKNOWN: Family = counter(
    "edgeway_tunnel_unknown_frames_total",
    &["peer"],
    "Frames of the peer that were skipped because a later version sent them; begins anew with each link.",
);
const HANDSHAKES: Family = counter(
    "edgeway_handshakes_total",
    &["outcome"],
    "Connections of clients before they were taken, by what became of them; only on an edge.",
);

const HTTP: Family = counter(
    "edgeway_http_total",
    &["what"],
    "What HTTP and sign-in have counted besides: requests by outcome, connections that were cut and why, tokens.",
);
const XMPP: Family = counter(
    "edgeway_xmpp_total",
    &["what"],
    "What chat has counted: streams, sign-ins by outcome, streams that were ended and why, IM servers that failed.",
);
const CERT_EXPIRY: Family = gauge(
    "edgeway_cert_expiry_timestamp_seconds",
    &["use", "name"],
    "When a certificate of this node ends, Unix time; `name` is the first it holds for.",
);
const CPU: Family =
    counter("edgeway_process_cpu_seconds_total", &[], "Processor time of the process, in user mode and in the kernel.");
const MEMORY: Family = gauge("edgeway_process_resident_memory_bytes", &[], "Resident memory of the process.");
const FILES: Family = gauge("edgeway_process_open_fds", &[], "Files and sockets the process has open.");
const FILES_MAX: Family = gauge("edgeway_process_max_fds", &[], "Files and sockets the process may have open.");
const STARTED: Family =
    gauge("edgeway_process_start_time_seconds", &[], "When the service started, seconds since 1970-01-01 UTC.");
const CONFIGURATION: Family = gauge(
    "edgeway_config_generation",
    &[],
    "The revision of the settings that hold; absent where there are no revisions.",
);
const RELOADS: Family = counter(
    "edgeway_config_reload_total",
    &["result"],
    "Times that settings or files they name were taken while the node ran (ok), or refused (failed).",
);
const PANICS: Family = counter(
    "edgeway_panics_total",
    &[],
    "Errors of the program that ended a task; the log has each, please report it.",
);
const ALARMS: Family = gauge("edgeway_alarms", &["severity"], "Alarms that stand now.");

/// Every metric there is, in the order in which they are shown.
pub const FAMILIES: [Family; 43] = [
    BUILD_INFO,
    UP,
    REGISTRATIONS,
    REGISTRATIONS_PEAK,
    CALLS,
    CALLS_PEAK,
    XMPP_SESSIONS,
    XMPP_SESSIONS_PEAK,
    DRAINING,
    DRAIN_REMAINING,
    CONNECTIONS,
    CONNECTIONS_PEAK,
    TUNNEL_UP,
    TUNNEL_RTT,
    TUNNEL_SKEW,
    TUNNEL_DATAGRAMS,
    TUNNEL_FALLBACK,
    TUNNEL_UNKNOWN,
    UC_NODE_UP,
    HANDSHAKES,
    REQUESTS,
    HTTP_REQUESTS,
    REQUEST_DURATION,
    AUTH,
    AUTH_LIMITED,
    CACHE_HITS,
    CACHE_MISSES,
    DROPS,
    DROPPED_EVENTS,
    RTP_PACKETS,
    RTP_DROPPED,
    HTTP,
    XMPP,
    ALARMS,
    CERT_EXPIRY,
    CONFIGURATION,
    RELOADS,
    PANICS,
    STARTED,
    CPU,
    MEMORY,
    FILES,
    FILES_MAX,
];

/// What sign-in counts and [`AUTH`] shows: what became of it, and what decided.
const SIGN_INS: [(&str, &str, &str); 6] = [
    ("sign_in_good", "accepted", "credentials"),
    ("sign_in_refused", "refused", "credentials"),
    ("sign_in_too_many", "refused", "rate"),
    ("token_refused", "refused", "token"),
    ("domain_refused", "refused", "domain"),
    ("sign_in_unavailable", "failed", "authority"),
];
/// What else counts credentials that came too often: at an edge, where nobody reads them.
const TOO_MANY_AT_EDGE: &str = "https_too_many_attempts";
const CACHED: &str = "sign_in_cached";
const UNCACHED: &str = "sign_in_uncached";

/// Whether something that HTTP counts has a metric of its own.
fn has_its_own(what: &str) -> bool {
    SIGN_INS.iter().any(|(name, ..)| *name == what) || [TOO_MANY_AT_EDGE, CACHED, UNCACHED].contains(&what)
}

/// The text of `/metrics`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "clocks that differ by more than 2^53 ms do not exist")]
pub fn render(status: &Status) -> String {
    let mut page = Page::default();
    page.family(BUILD_INFO, [([env!("CARGO_PKG_VERSION"), status.role], 1)]);
    page.family(UP, [([], 1)]);
    page.family(REGISTRATIONS, [([], status.registrations.current)]);
    page.family(REGISTRATIONS_PEAK, [([], status.registrations.peak)]);
    page.family(CALLS, [([], status.calls.current)]);
    page.family(CALLS_PEAK, [([], status.calls.peak)]);
    page.family(XMPP_SESSIONS, [([], status.chats.current)]);
    page.family(XMPP_SESSIONS_PEAK, [([], status.chats.peak)]);
    page.family(DRAINING, [([], u8::from(status.maintenance.is_some()))]);
    let remaining = [
        ("calls", status.calls.current),
        ("chats", status.chats.current),
        ("registrations", status.registrations.current),
        ("requests", status.proxied + status.provisioning),
    ];
    let remaining = remaining.iter().filter(|_| status.maintenance.is_some());
    page.family(DRAIN_REMAINING, remaining.map(|(kind, count)| ([*kind], *count)));
    page.family(CONNECTIONS, [(["sip"], status.connections.current)]);
    page.family(CONNECTIONS_PEAK, [(["sip"], status.connections.peak)]);
    let links = || status.links.iter();
    page.family(TUNNEL_UP, links().map(|link| (peer(link), u8::from(link.up))));
    let round_trip = |link: &LinkStatus| Some((link.up, link.round_trip?.as_secs_f64())).filter(|(up, _)| *up);
    page.family(TUNNEL_RTT, links().filter_map(|link| Some((peer(link), round_trip(link)?.1))));
    page.family(TUNNEL_SKEW, links().filter(|link| link.up).map(|link| (peer(link), link.skew_ms as f64 / 1e3)));
    page.family(TUNNEL_DATAGRAMS, links().map(|link| (peer(link), u8::from(link.media_path == MediaPath::Udp))));
    page.family(TUNNEL_FALLBACK, links().map(|link| (peer(link), u8::from(link.media_path == MediaPath::Tcp))));
    page.family(TUNNEL_UNKNOWN, links().filter(|link| link.up).map(|link| (peer(link), link.unknown_frames)));
    // A name that leads nowhere is a node that is down.
    let node = |one: &RegistrarStatus| one.address.map_or_else(|| one.name.clone(), |address| address.to_string());
    let registrars: Vec<_> = status.registrars.iter().map(|one| (node(one), one.alive)).collect();
    page.family(UC_NODE_UP, registrars.iter().map(|(node, alive)| ([node.as_str(), "sip"], u8::from(*alive))));
    page.family(HANDSHAKES, status.handshakes.iter().map(|(outcome, count)| ([*outcome], *count)));
    page.family(REQUESTS, status.requests.iter().map(|(method, count)| (["sip", method], *count)));
    page.family(HTTP_REQUESTS, [(["provisioning"], status.provisioning), (["proxy"], status.proxied)]);
    page.histogram(REQUEST_DURATION, &status.request_times);
    let counted = |name| status.http.iter().find(|(what, _)| *what == name).map_or(0, |(_, count)| *count);
    let is_core = status.role == "core";
    let sign_ins = SIGN_INS.into_iter().filter(|_| is_core);
    page.family(AUTH, sign_ins.map(|(name, result, reason)| ([result, reason], counted(name))));
    page.family(AUTH_LIMITED, [([], counted("sign_in_too_many") + counted(TOO_MANY_AT_EDGE))]);
    page.family(CACHE_HITS, is_core.then(|| ([], counted(CACHED))));
    page.family(CACHE_MISSES, is_core.then(|| ([], counted(UNCACHED))));
    // Every reason from the start, so that a rate over the first one is seen.
    let dropped = |label| status.drops.iter().find(|(reason, _)| *reason == label).map_or(0, |(_, count)| *count);
    page.family(DROPS, DropReason::ALL.map(|reason| ([reason.label()], dropped(reason.label()))));
    page.family(DROPPED_EVENTS, status.dropped_events.iter().map(|(sink, count)| ([*sink], *count)));
    let (inward, outward) = status.media_packets;
    page.family(RTP_PACKETS, [(["inward"], inward), (["outward"], outward)]);
    page.family(RTP_DROPPED, status.media_drops.iter().map(|(reason, count)| ([*reason], *count)));
    let (chat, http): (Vec<_>, Vec<_>) = status.http.iter().partition(|(what, _)| what.starts_with(CHAT_COUNTERS));
    let http = http.iter().filter(|(what, _)| !has_its_own(what));
    page.family(HTTP, http.map(|(what, count)| ([*what], *count)));
    page.family(XMPP, chat.iter().map(|(what, count)| ([*what], *count)));
    let standing = |severity| status.alarms.iter().filter(|alarm| alarm.severity == severity).count();
    let severities = [Severity::Warning, Severity::Error, Severity::Critical];
    page.family(ALARMS, severities.map(|severity| ([severity.as_str()], standing(severity))));
    // Two certificates of one name (an RSA and an ECDSA one, say) are one series: what ends first counts.
    let mut ends = BTreeMap::new();
    for one in &status.certificates {
        let name = one.names.first().map_or("", String::as_str);
        let end = ends.entry([one.used_for.as_str(), name]).or_insert(one.not_after_unix);
        *end = one.not_after_unix.min(*end);
    }
    page.family(CERT_EXPIRY, ends);
    page.family(CONFIGURATION, status.configuration.revision.map(|revision| ([], revision)));
    let (taken, refused) = status.reloads;
    page.family(RELOADS, [(["ok"], taken), (["failed"], refused)]);
    page.family(PANICS, [([], status.panics)]);
    page.family(STARTED, [([], status.started_ms as f64 / 1e3)]);
    page.family(CPU, [([], status.resources.cpu.as_secs_f64())]);
    page.family(MEMORY, [([], status.resources.memory_bytes)]);
    page.family(FILES, [([], status.resources.files)]);
    page.family(FILES_MAX, [([], status.resources.files_max)]);
    page.0
}

fn peer(link: &LinkStatus) -> [&str; 1] {
    [&link.peer]
}

#[derive(Default)]
struct Page(String);

impl Page {
    /// One metric with its series; nothing at all where it has none.
    fn family<'a, const LABELS: usize, V: std::fmt::Display>(
        &mut self,
        family: Family,
        series: impl IntoIterator<Item = ([&'a str; LABELS], V)>,
    ) {
        debug_assert_eq!(family.labels.len(), LABELS, "{}", family.name);
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return;
        }
        let Family { name, kind, help, .. } = family;
        // Writing into a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (values, value) in series {
            let pairs = family.labels.iter().zip(values);
            let labels: Vec<_> = pairs.map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
            let braced = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(self.0, "{name}{braced} {value}");
        }
    }
}

impl Page {
    /// A histogram of which each series has one label.
    fn histogram(&mut self, family: Family, series: &[(&str, Times)]) {
        let Family { name, kind, help, labels } = family;
        let ([label], false) = (labels, series.is_empty()) else { return };
        // Writing into a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (value, times) in series {
            let one = format!("{label}=\"{}\"", escaped(value));
            for (bound, count) in &times.within {
                let _ = writeln!(self.0, "{name}_bucket{{{one},le=\"{}\"}} {count}", bound.as_secs_f64());
            }
            let _ = writeln!(self.0, "{name}_bucket{{{one},le=\"+Inf\"}} {}", times.count);
            let _ = writeln!(self.0, "{name}_sum{{{one}}} {}", times.sum.as_secs_f64());
            let _ = writeln!(self.0, "{name}_count{{{one}}} {}", times.count);
        }
    }
}

/// A label's value: backslash, quote and line end are written as two characters.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use edgeway_model::world::{ConfigurationStatus, Gauge, Resources};

    use super::*;
    use crate::limits::METRIC_SERIES_MAX;

    const MANUAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/manual/metrics.md");

    fn full() -> Status {
        let link = |peer: &str, up| LinkStatus {
            peer: peer.to_owned(),
            up,
            round_trip: Some(Duration::from_micros(1_250)),
            skew_ms: -42,
            media_path: if up { MediaPath::Udp } else { MediaPath::None },
            ..LinkStatus::default()
        };
        Status {
            node: "core1".into(),
            role: "core",
            registrations: Gauge { current: 12, peak: 40 },
            calls: Gauge { current: 3, peak: 9 },
            chats: Gauge { current: 6, peak: 8 },
            connections: Gauge { current: 14, peak: 44 },
            links: vec![link("edge1", true), link("edge2", false)],
            registrars: vec![RegistrarStatus {
                deployment: "default".into(),
                zone: "sip:10.0.0.5".into(),
                name: "10.0.0.5".into(),
                address: "10.0.0.5:5060".parse().ok(),
                transport: None,
                alive: true,
                why: None,
            }],
            requests: vec![("INVITE", 4), ("REGISTER", 120)],
            drops: vec![(DropReason::NoRelay.label(), 7)],
            dropped_events: vec![("hep", 2)],
            handshakes: vec![("accepted", 20), ("established", 19)],
            media_packets: (1_000, 990),
            http: vec![
                ("chat_signed_in", 9),
                ("https_answered_2xx", 12),
                ("sign_in_cached", 5),
                ("sign_in_too_many", 2),
            ],
            provisioning: 1,
            media_drops: vec![("replayed", 3)],
            request_times: vec![(
                "proxy",
                Times {
                    within: vec![(Duration::from_millis(5), 1), (Duration::from_secs(1), 3)],
                    count: 4,
                    sum: Duration::from_millis(7_250),
                },
            )],
            panics: 1,
            reloads: (2, 1),
            resources: Resources {
                cpu: Duration::from_millis(1_250),
                memory_bytes: 4_096,
                files: 33,
                files_max: 1_024,
                ..Resources::default()
            },
            started_ms: 1_795_543_200_500,
            configuration: ConfigurationStatus { revision: Some(7), source: None },
            ..Status::default()
        }
    }

    #[test]
    fn every_number_is_shown_in_base_units() {
        let text = render(&full());
        let version = env!("CARGO_PKG_VERSION");
        for line in [
            format!("edgeway_build_info{{version=\"{version}\",role=\"core\"}} 1").as_str(),
            "edgeway_up 1",
            "edgeway_registrations 12",
            "edgeway_registrations_peak 40",
            "edgeway_calls 3",
            "edgeway_calls_peak 9",
            "edgeway_xmpp_sessions 6",
            "edgeway_xmpp_sessions_peak 8",
            "edgeway_connections{proto=\"sip\"} 14",
            "edgeway_connections_peak{proto=\"sip\"} 44",
            "edgeway_tunnel_up{peer=\"edge1\"} 1",
            "edgeway_tunnel_up{peer=\"edge2\"} 0",
            "edgeway_tunnel_rtt_seconds{peer=\"edge1\"} 0.00125",
            "edgeway_tunnel_clock_skew_seconds{peer=\"edge1\"} -0.042",
            "edgeway_tunnel_datagrams{peer=\"edge1\"} 1",
            "edgeway_tunnel_datagrams{peer=\"edge2\"} 0",
            "edgeway_tunnel_media_fallback{peer=\"edge1\"} 0",
            "edgeway_uc_node_up{node=\"10.0.0.5:5060\",service=\"sip\"} 1",
            "edgeway_requests_total{proto=\"sip\",method=\"REGISTER\"} 120",
            "edgeway_drops_total{reason=\"no_relay\"} 7",
            "edgeway_drops_total{reason=\"overload\"} 0",
            "edgeway_tunnel_unknown_frames_total{peer=\"edge1\"} 0",
            "edgeway_handshakes_total{outcome=\"established\"} 19",
            "edgeway_rtp_packets_total{dir=\"inward\"} 1000",
            "edgeway_rtp_packets_total{dir=\"outward\"} 990",
            "edgeway_http_total{what=\"https_answered_2xx\"} 12",
            "edgeway_xmpp_total{what=\"chat_signed_in\"} 9",
            "edgeway_alarms{severity=\"critical\"} 0",
            "edgeway_config_generation 7",
            "edgeway_process_start_time_seconds 1795543200.5",
            "edgeway_process_cpu_seconds_total 1.25",
            "edgeway_process_resident_memory_bytes 4096",
            "edgeway_process_open_fds 33",
            "edgeway_process_max_fds 1024",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        // What was measured before the link went down says nothing about now.
        for gone in ["edgeway_tunnel_rtt_seconds{peer=\"edge2\"}", "edgeway_tunnel_clock_skew_seconds{peer=\"edge2\"}"]
        {
            assert!(!text.contains(gone), "{gone} in\n{text}");
        }
    }

    #[test]
    fn the_text_is_what_promtool_accepts() {
        for status in [full(), Status { role: "edge", ..Status::default() }] {
            let text = render(&status);
            assert!(text.ends_with('\n') && !text.contains("\n\n"));
            let (mut families, mut seen) = (BTreeSet::new(), BTreeSet::new());
            let mut family = None;
            for line in text.lines() {
                if let Some(rest) = line.strip_prefix("# HELP ") {
                    let name = rest.split(' ').next().unwrap();
                    family = FAMILIES.iter().find(|known| known.name == name);
                    assert!(family.is_some() && families.insert(name), "{name} is unknown or shown twice");
                    continue;
                }
                let family = family.expect("HELP comes first");
                if let Some(rest) = line.strip_prefix("# TYPE ") {
                    assert_eq!(rest, format!("{} {}", family.name, family.kind));
                    continue;
                }
                let (series, value) = line.rsplit_once(' ').unwrap();
                let shown = series.split('{').next().unwrap();
                let of = shown.strip_prefix(family.name);
                match family.kind {
                    "histogram" => assert!(["_bucket", "_sum", "_count"].map(Some).contains(&of), "{line}"),
                    _ => assert_eq!(of, Some("")),
                }
                assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
                assert!(seen.insert(series), "{series} is shown twice");
            }
        }
    }

    #[test]
    fn names_follow_the_rules() {
        for Family { name, kind, labels, help } in FAMILIES {
            assert!(name.starts_with("edgeway_") && help.ends_with('.') && !help.contains(['\n', '\\']), "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            assert!(!name.contains("milli") && !name.ends_with("_ms"), "{name}: base units");
            let lower = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(lower(name) && labels.iter().all(|label| lower(label)), "{name}");
        }
    }

    #[test]
    fn labels_cannot_break_out() {
        assert_eq!(escaped("a\"} 1\nb\\"), "a\\\"} 1\\nb\\\\");
    }

    #[test]
    fn the_largest_status_stays_below_the_bound() {
        let mut status = full();
        let link = status.links[0].clone();
        status.links = vec![link; 64];
        status.registrars = vec![status.registrars[0].clone(); 64];
        status.requests = vec![("OPTIONS", 1); 32];
        status.http = vec![("https_answered_2xx", 1); crate::http::limits::COUNTERS_MAX];
        let series = render(&status).lines().filter(|line| !line.starts_with('#')).count();
        assert!(series < METRIC_SERIES_MAX, "{series} series");
    }

    #[test]
    fn the_manual_lists_what_chat_counts_at_an_edge() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
        let page = std::fs::read_to_string(format!("{root}../docs/manual/chat.md")).unwrap();
        let edge = page.split("At an edge:").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
        let listed: BTreeSet<_> =
            edge.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0)).collect();
        let (mut folders, mut counted) = (vec![std::path::PathBuf::from(format!("{root}src/chat"))], BTreeSet::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.extend((!path.ends_with("scenario")).then_some(path));
                    continue;
                }
                let source = std::fs::read_to_string(&path).unwrap();
                let code = source.split("#[cfg(test)]\nmod tests").next().unwrap();
                let names = code.split('"').filter(|text| text.starts_with(CHAT_COUNTERS) && *text != CHAT_COUNTERS);
                counted.extend(names.map(str::to_owned));
            }
        }
        assert_eq!(listed, counted.iter().map(String::as_str).collect());
    }

    #[test]
    fn the_manual_lists_the_same() {
        let page = std::fs::read_to_string(MANUAL).unwrap();
        let written: Vec<_> = page.lines().filter(|line| line.starts_with("| `edgeway_")).collect();
        let row = |family: &Family| {
            let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
            format!("| `{}` | {} | {labels} | {} |", family.name, family.kind, family.help)
        };
        let expected: Vec<_> = FAMILIES.iter().map(row).collect();
        assert_eq!(written, expected, "docs/manual/metrics.md should have these rows:\n{}", expected.join("\n"));
        let reasons: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).collect();
        for reason in DropReason::ALL {
            assert!(reasons.iter().any(|(label, _)| *label == reason.label()), "{} is missing", reason.label());
        }
    }
}
