//! *Status > Calls*: which calls there are.

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use super::layout::{CALLS, Frame, LADDER, Wish, percent_encoded};
use super::lists::{Part, Search, parts as list_parts};
use super::time::Moment;
use super::words::Said;
use super::{Pages, Viewer, page};

#[derive(Template)]
#[template(path = "calls.html")]
struct Calls {
    f: Frame,
    updated: Moment,
    user: String,
    parts: Vec<Part<Row>>,
    silent: Vec<(String, Said)>,
}

/// As nodes say it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    call_id: Option<String>,
    from: Option<String>,
    to: Option<String>,
    state: Option<String>,
    since_ms: Option<u64>,
    edge: Option<String>,
    core: Option<String>,
    registrar: Option<String>,
    media: Option<Value>,
}

impl Row {
    fn since(&self) -> Option<Moment> {
        self.since_ms.map(Moment::of_ms)
    }

    fn ladder(&self) -> Option<String> {
        self.call_id.as_ref().map(|id| format!("{}?call_id={}", LADDER.path, percent_encoded(id)))
    }

    fn state(&self, f: &Frame) -> Option<Said> {
        let state = self.state.as_deref()?;
        let key = match state {
            "setting_up" => "call_states.setting_up",
            "up" => "call_states.up",
            "client_gone" => "call_states.client_gone",
            other => return Some(f.said(other)),
        };
        Some(Said { text: f.say(key).to_owned(), is_foreign: false })
    }

    fn media(&self) -> String {
        match &self.media {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}

/// `GET /status/calls`.
pub(crate) async fn show(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let wish = Wish::of(&parts);
    let look = pages.look().await;
    let f = Frame::new(wish, CALLS, viewer, &look.nodes);
    let search = Search::of(parts.uri.query(), &["user"]);
    let listed = list_parts(&pages, &f, "calls", "calls", &search, |_: &Value| None).await;
    let silent = look.silent.iter().map(|(node, why)| (node.clone(), f.said(why))).collect();
    let user = search.filter("user").to_owned();
    page(&Calls { updated: Moment::of_ms(pages.office.now_ms()), user, parts: listed, silent, f })
}
