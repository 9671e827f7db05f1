//! *Status > Overview*: how much goes on, on each node and in all.

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};

use super::alarms::{AlarmRow, rows as alarm_rows};
use super::layout::{Frame, OVERVIEW, Wish};
use super::live::Look;
use super::samples::{Series, together};
use super::state::Badge;
use super::time::{Moment, bytes, length};
use super::views::{Gauge, Maintenance, Status};
use super::words::number;
use super::{Pages, Viewer, page};

/// Alarms shown here; the others are on their own page.
const ALARMS_SHOWN: usize = 5;

/// Rows of a chart's table: one for every few minutes.
const CHART_ROWS: usize = 12;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    f: Frame,
    updated: Moment,
    alarms: Vec<AlarmRow>,
    more_alarms: u64,
    drains: Vec<Drain>,
    cards: Vec<Card>,
    charts: Vec<Chart>,
    rows: Vec<Row>,
    silent: Vec<(String, super::words::Said)>,
    samples: String,
    say: String,
}

/// One of the figures at the top.
struct Card {
    key: &'static str,
    current: String,
    peak: String,
    /// The peak is of several nodes, each at its own time.
    bound: bool,
}

struct Chart {
    name: &'static str,
    key: &'static str,
    points: Vec<(Moment, String)>,
}

/// A node in maintenance mode.
struct Drain {
    node: String,
    calls: u64,
    chats: u64,
    requests: u64,
    registrations: u64,
    deadline: Option<Moment>,
    estimate: Option<String>,
}

/// A node.
struct Row {
    node: String,
    role: &'static str,
    state: Badge,
    gauges: [(String, String); 4],
    cpu: String,
    memory: String,
    files: String,
    up: String,
}

/// `GET /status/overview`.
pub(crate) async fn show(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let wish = Wish::of(&parts);
    let look = pages.look().await;
    let node = wish.node.clone();
    let f = Frame::new(wish, OVERVIEW, viewer, &look.nodes);
    let mut alarms = alarm_rows(&f, look.chosen(node.as_deref()));
    let more_alarms = alarms.len().saturating_sub(ALARMS_SHOWN) as u64;
    alarms.truncate(ALARMS_SHOWN);
    let drains = drains(&f, &look, node.as_deref());
    let words = f.words();
    let charts = Series::ALL.map(|series| Chart {
        name: series.as_str(),
        key: series.key(),
        points: thinned(&pages.samples.series(series, node.as_deref())),
    });
    let said = match drains.len() as u64 {
        0 => words.count("overview.say_alarms", alarms.len() as u64 + more_alarms),
        drained => format!(
            "{} {}",
            words.count("overview.say_alarms", alarms.len() as u64 + more_alarms),
            words.count("overview.say_draining", drained)
        ),
    };
    page(&Overview {
        updated: Moment::of_ms(look.at_ms),
        alarms,
        more_alarms,
        drains,
        cards: cards(&look, node.as_deref()),
        charts: charts.into(),
        rows: look.chosen(node.as_deref()).map(|status| row(&f, status)).collect(),
        silent: look.silent.iter().map(|(node, why)| (node.clone(), f.said(why))).collect(),
        samples: f.to("/status/overview/samples"),
        say: said,
        f,
    })
}

/// `GET /status/overview/samples`.
pub(crate) async fn samples(State(pages): State<Pages>, _viewer: Viewer, parts: Parts) -> Response {
    Json(pages.samples.json(Wish::of(&parts).node.as_deref())).into_response()
}

fn cards(look: &Look, node: Option<&str>) -> Vec<Card> {
    let cores = look.nodes.iter().filter(|node| node.is_core()).count();
    let of = |key, gauge: fn(&Status) -> Gauge, outside: bool| {
        let (all, bound) = match node {
            Some(_) => (look.chosen(node).map(gauge).fold(Gauge::default(), Gauge::and), false),
            // Connections of clients end at edges; what they carry is at the cores.
            None if outside => {
                let edges: Vec<_> = look.nodes.iter().filter(|node| !node.is_core()).collect();
                (edges.iter().map(|edge| gauge(edge)).fold(Gauge::default(), Gauge::and), edges.len() > 1)
            }
            None => (together(&look.nodes, gauge), cores > 1),
        };
        Card { key, current: number(all.current), peak: number(all.peak), bound }
    };
    vec![
        of("overview.registrations", |node| node.registrations, false),
        of("overview.calls", |node| node.calls, false),
        of("overview.chats", |node| node.chats, false),
        of("overview.connections", |node| node.connections, true),
    ]
}

fn row(f: &Frame, status: &Status) -> Row {
    let gauges = [status.registrations, status.calls, status.chats, status.connections];
    let used = status.resources.unwrap_or_default();
    let nothing = || "–".to_owned();
    let files = used.files.map(|files| match used.files_max {
        Some(most) => format!("{} / {}", number(files), number(most)),
        None => number(files),
    });
    let state = if status.maintenance.is_some() { "Draining" } else { "Active" };
    let up = status.started_ms.zip(status.now_ms).map(|(start, now)| now.saturating_sub(start) / 1000);
    Row {
        node: status.node.clone(),
        role: role_key(&status.role),
        state: match &status.maintenance {
            None => f.badge(state),
            Some(maintenance) if left(maintenance) == 0 => f.badge("Inactive (Maintenance mode)"),
            Some(maintenance) => f.badge(&format!("Draining ({})", left(maintenance))),
        },
        gauges: gauges.map(|gauge| (number(gauge.current), number(gauge.peak))),
        cpu: used.cpu_percent.map_or_else(nothing, |percent| format!("{percent:.0} %")),
        memory: used.memory_bytes.map_or_else(nothing, bytes),
        files: files.unwrap_or_else(nothing),
        up: up.map_or_else(nothing, |seconds| length(f.words(), seconds)),
    }
}

pub(crate) fn role_key(role: &str) -> &'static str {
    match role {
        "edge" => "role.edge",
        "core" => "role.core",
        _ => "role.unknown",
    }
}

const fn left(maintenance: &Maintenance) -> u64 {
    let left = maintenance.remaining;
    left.calls.saturating_add(left.chats).saturating_add(left.requests).saturating_add(left.registrations)
}

fn drains(f: &Frame, look: &Look, node: Option<&str>) -> Vec<Drain> {
    let drained = look.chosen(node).filter_map(|status| Some((status, status.maintenance.as_ref()?)));
    drained
        .map(|(status, maintenance)| Drain {
            node: status.node.clone(),
            calls: maintenance.remaining.calls,
            chats: maintenance.remaining.chats,
            requests: maintenance.remaining.requests,
            registrations: maintenance.remaining.registrations,
            deadline: maintenance.deadline_ms.map(Moment::of_ms),
            estimate: maintenance.estimate_s.map(|seconds| length(f.words(), seconds)),
        })
        .collect()
}

/// Some of the points, the newest first and always among them.
fn thinned(points: &[(u64, f64)]) -> Vec<(Moment, String)> {
    let step = points.len().div_ceil(CHART_ROWS).max(1);
    let shown = points.iter().rev().step_by(step);
    shown.map(|(at, value)| (Moment::of_ms(at * 1000), format!("{value:.0}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charts_table_has_few_rows_and_the_newest() {
        let points: Vec<_> = (0..100).map(|at| (at, at as f64)).collect();
        let rows = thinned(&points);
        assert!(rows.len() <= CHART_ROWS + 1 && rows[0].1 == "99", "{} {}", rows.len(), rows[0].1);
        assert!(thinned(&[]).is_empty());
    }
}
