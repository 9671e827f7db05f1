//! *Status > Event log*: what has happened lately, the newest first.

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::layout::{EVENTS, Frame, Wish};
use super::limits::PAGE_ROWS_MAX;
use super::lists::{Search, read};
use super::state::Badge;
use super::time::Moment;
use super::words::Said;
use super::{Pages, Viewer, page};

/// Events shown: some screens full.
const EVENTS_SHOWN: usize = 200;

#[derive(Template)]
#[template(path = "events.html")]
struct Events {
    f: Frame,
    updated: Moment,
    level: String,
    id: String,
    events: Vec<Event>,
    silent: Vec<(String, Said)>,
}

/// As nodes say it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answered {
    at_ms: u64,
    level: String,
    id: String,
    text: String,
}

struct Event {
    at_ms: u64,
    at: Moment,
    node: String,
    level: Badge,
    id: String,
    text: String,
}

/// `GET /status/events`.
pub(crate) async fn show(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let wish = Wish::of(&parts);
    let look = pages.look().await;
    let node = wish.node.clone();
    let f = Frame::new(wish, EVENTS, viewer, &look.nodes);
    let search = Search::of(parts.uri.query(), &["level", "id"]);
    let mut question = json!({ "limit": PAGE_ROWS_MAX, "newest": true });
    for (name, value) in &search.filters {
        question[*name] = json!(value);
    }
    let all = pages.office.everywhere("events", question).await;
    let mut events = Vec::new();
    for (from, answer) in all.answers.into_iter().filter(|(from, _)| node.as_ref().is_none_or(|node| node == from)) {
        events.extend(read::<Answered>(answer, "events").into_iter().map(|event| shown(&f, &from, event)));
    }
    events.sort_by_key(|event| std::cmp::Reverse(event.at_ms));
    events.truncate(EVENTS_SHOWN);
    let silent = all.silent.into_iter().map(|silent| (silent.node, f.said(&silent.why))).collect();
    page(&Events {
        updated: Moment::of_ms(pages.office.now_ms()),
        level: search.filter("level").to_owned(),
        id: search.filter("id").to_owned(),
        events,
        silent,
        f,
    })
}

fn shown(f: &Frame, node: &str, event: Answered) -> Event {
    Event {
        at_ms: event.at_ms,
        at: Moment::of_ms(event.at_ms),
        node: node.to_owned(),
        level: Badge::of(f.said(&event.level), &event.level),
        id: event.id,
        text: event.text,
    }
}
