//! *Status > Alarms*: what stands, why, what to do about it, and where.

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;

use super::fixes;
use super::layout::{ALARMS, Frame, Wish};
use super::state::Badge;
use super::time::Moment;
use super::views::Status;
use super::words::Said;
use super::{Pages, Viewer, page};

#[derive(Template)]
#[template(path = "alarms.html")]
struct Alarms {
    f: Frame,
    updated: Moment,
    alarms: Vec<AlarmRow>,
    say: String,
}

/// One alarm.
pub(crate) struct AlarmRow {
    pub(crate) severity: Badge,
    pub(crate) id: String,
    pub(crate) about: String,
    pub(crate) node: String,
    pub(crate) cause: Said,
    pub(crate) action: Said,
    pub(crate) since: Option<Moment>,
    pub(crate) fix: Option<FixLink>,
    rank: u8,
}

/// A link to the page that puts it right.
pub(crate) struct FixLink {
    pub(crate) href: String,
    pub(crate) key: &'static str,
}

impl FixLink {
    pub(crate) fn of(f: &Frame, fix: fixes::Fix) -> Self {
        Self { href: f.to(fix.path), key: fix.key }
    }
}

/// The alarms of some nodes, the worst first.
pub(crate) fn rows<'s>(f: &Frame, nodes: impl Iterator<Item = &'s Status>) -> Vec<AlarmRow> {
    let mut rows: Vec<_> = nodes
        .flat_map(|status| status.alarms.iter().map(move |alarm| (status, alarm)))
        .map(|(status, alarm)| AlarmRow {
            severity: f.badge(&alarm.severity),
            id: alarm.id.clone(),
            about: alarm.about.clone(),
            node: if alarm.node.is_empty() { status.node.clone() } else { alarm.node.clone() },
            cause: f.said(&alarm.cause),
            action: f.said(&alarm.action),
            since: alarm.since_ms.map(Moment::of_ms),
            fix: fixes::of_alarm(&alarm.id).map(|fix| FixLink::of(f, fix)),
            rank: match alarm.severity.as_str() {
                "critical" => 0,
                "error" => 1,
                _ => 2,
            },
        })
        .collect();
    rows.sort_by_key(|row| row.rank);
    rows
}

/// `GET /status/alarms`.
pub(crate) async fn show(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let wish = Wish::of(&parts);
    let look = pages.look().await;
    let node = wish.node.clone();
    let f = Frame::new(wish, ALARMS, viewer, &look.nodes);
    let alarms = rows(&f, look.chosen(node.as_deref()));
    let say = f.count("overview.say_alarms", &(alarms.len() as u64));
    page(&Alarms { updated: Moment::of_ms(look.at_ms), alarms, say, f })
}
