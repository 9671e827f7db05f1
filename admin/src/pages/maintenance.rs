//! *Maintenance > Maintenance mode*: each node, how far it is, and taking it out of service and back.

use std::time::Duration;

use askama::Template;
use axum::extract::{Form, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::layout::{Frame, MAINTENANCE, Wish};
use super::limits::WITHIN_MINUTES_MAX;
use super::outcome::outcome;
use super::state::Badge;
use super::time::{Moment, length};
use super::views::{Remaining, Status};
use super::words::Said;
use super::{Operator, Pages, Viewer, page};
use crate::api::Audited;

#[derive(Template)]
#[template(path = "maintenance.html")]
struct Maintenance {
    f: Frame,
    updated: Moment,
    rows: Vec<Row>,
    silent: Vec<(String, Said)>,
    operates: bool,
    csrf: String,
    outcome: Option<&'static str>,
    say: String,
}

struct Row {
    node: String,
    role: &'static str,
    state: Badge,
    is_on: bool,
    since: Option<Moment>,
    left: Remaining,
    estimate: Option<String>,
    deadline: Option<Moment>,
    /// Nobody else would serve while it does not.
    alone: bool,
    parts: Vec<(String, Badge)>,
}

fn row(f: &Frame, status: &Status, alone: bool) -> Row {
    let on = status.maintenance.as_ref();
    let left = on.map(|on| on.remaining).unwrap_or_default();
    let parts = status.services.iter().flat_map(|service| &service.parts);
    let mut shown: Vec<(String, Badge)> = Vec::new();
    for part in parts {
        let name = f.said(&part.name).text;
        if !shown.iter().any(|(known, _)| *known == name) {
            shown.push((name, f.badge(&part.state)));
        }
    }
    let state = match on {
        None => "Active".to_owned(),
        Some(_) if left.all() == 0 => "Inactive (Maintenance mode)".to_owned(),
        Some(_) => format!("Draining ({})", left.all()),
    };
    Row {
        node: status.node.clone(),
        role: if status.is_core() { "role.core" } else { "role.edge" },
        state: f.badge(&state),
        is_on: on.is_some(),
        since: on.and_then(|on| on.since_ms).map(Moment::of_ms),
        left,
        estimate: on.filter(|_| left.all() > 0).and_then(|on| on.estimate_s).map(|seconds| length(f.words(), seconds)),
        deadline: on.and_then(|on| on.deadline_ms).map(Moment::of_ms),
        alone,
        parts: shown,
    }
}

/// `GET /maintenance/maintenance-mode`.
pub(crate) async fn show(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let look = pages.look().await;
    let (operates, csrf) = (viewer.operates, viewer.csrf.clone());
    let f = Frame::new(Wish::of(&parts), MAINTENANCE, viewer, &look.nodes);
    let serving = |of: &Status| {
        look.nodes.iter().filter(|one| one.is_core() == of.is_core() && one.maintenance.is_none()).count()
    };
    let alone = |status: &Status| status.maintenance.is_none() && serving(status) < 2;
    let rows: Vec<_> = look.chosen(f.wish.node.as_deref()).map(|status| row(&f, status, alone(status))).collect();
    let on = rows.iter().filter(|row| row.is_on).count() as u64;
    page(&Maintenance {
        updated: Moment::of_ms(look.at_ms),
        silent: look.silent.iter().map(|(node, why)| (node.clone(), f.said(why))).collect(),
        operates,
        csrf,
        outcome: outcome(parts.uri.query(), "maintenance.done", "maintenance.failed"),
        say: f.count("overview.say_draining", &on),
        rows,
        f,
    })
}

/// What is ordered.
#[derive(Debug, Deserialize)]
pub(crate) struct Start {
    node: String,
    /// A number of minutes; nothing: no deadline.
    #[serde(default)]
    minutes: String,
    #[serde(default)]
    keep: Option<String>,
}

/// `POST /maintenance/maintenance-mode/start`.
pub(crate) async fn start(State(pages): State<Pages>, _operator: Operator, Form(wanted): Form<Start>) -> Response {
    let within = match wanted.minutes.trim() {
        "" => Some(Value::Null),
        text => text.parse::<u64>().ok().filter(|minutes| (1..=WITHIN_MINUTES_MAX).contains(minutes)).map(seconds),
    };
    let Some(within) = within else {
        let audited = Audited { subject: format!("node {}", wanted.node), done: false };
        return audited.on(back(false));
    };
    order(&pages, &wanted.node, json!({ "on": true, "within_s": within, "keep": wanted.keep.is_some() })).await
}

fn seconds(minutes: u64) -> Value {
    Duration::from_secs(minutes * 60).as_secs().into()
}

/// Which one.
#[derive(Debug, Deserialize)]
pub(crate) struct Cancel {
    node: String,
}

/// `POST /maintenance/maintenance-mode/cancel`.
pub(crate) async fn cancel(State(pages): State<Pages>, _operator: Operator, Form(wanted): Form<Cancel>) -> Response {
    order(&pages, &wanted.node, json!({ "on": false })).await
}

async fn order(pages: &Pages, node: &str, body: Value) -> Response {
    let subject = format!("node {node}");
    let done = match pages.office.node(node) {
        Ok(node) => pages.office.order(Some(&node), "maintenance", body).await,
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = &done {
        tracing::info!(why = %refusal.why, "maintenance mode was not switched");
    }
    pages.forget_look().await;
    Audited { subject, done: done.is_ok() }.on(back(done.is_ok()))
}

fn back(done: bool) -> Response {
    let outcome = if done { "done" } else { "failed" };
    Redirect::to(&format!("{}?outcome={outcome}", MAINTENANCE.path)).into_response()
}
