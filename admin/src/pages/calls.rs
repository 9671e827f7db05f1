//! *Status > Calls*: which calls there are, and ending one.

use askama::Template;
use axum::extract::{Form, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::layout::{CALLS, Frame, LADDER, Wish, percent_encoded};
use super::lists::{Part, Search, parts as list_parts};
use super::time::Moment;
use super::words::Said;
use super::{Operator, Pages, Viewer, page};
use crate::api::Audited;

#[derive(Template)]
#[template(path = "calls.html")]
struct Calls {
    f: Frame,
    updated: Moment,
    user: String,
    parts: Vec<Part<Row>>,
    silent: Vec<(String, Said)>,
    operates: bool,
    csrf: String,
    outcome: Option<&'static str>,
}

/// As nodes say it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    id: Value,
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
    /// Its id, to be sent back as it came.
    fn key(&self) -> String {
        self.id.to_string()
    }

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
    let (operates, csrf) = (viewer.operates, viewer.csrf.clone());
    let f = Frame::new(wish, CALLS, viewer, &look.nodes);
    let search = Search::of(parts.uri.query(), &["user"]);
    let listed = list_parts(&pages, &f, "calls", "calls", &search, |_: &Value| None).await;
    let silent = look.silent.iter().map(|(node, why)| (node.clone(), f.said(why))).collect();
    let user = search.filter("user").to_owned();
    let outcome = outcome(parts.uri.query(), "calls.ended", "calls.not_ended");
    page(&Calls {
        updated: Moment::of_ms(pages.office.now_ms()),
        user,
        parts: listed,
        silent,
        operates,
        csrf,
        outcome,
        f,
    })
}

/// What became of an order, as the redirect after it says.
pub(crate) fn outcome(query: Option<&str>, done: &'static str, failed: &'static str) -> Option<&'static str> {
    match super::layout::query(query, "outcome").as_deref() {
        Some("done") => Some(done),
        Some("failed") => Some(failed),
        _ => None,
    }
}

/// Which one.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    pub(crate) node: String,
    pub(crate) id: String,
}

/// `POST /status/calls/end`.
pub(crate) async fn end(State(pages): State<Pages>, _operator: Operator, Form(which): Form<Which>) -> Response {
    order(&pages, &which, "calls/end", CALLS.path).await
}

/// Gives a node an order about one thing, and leads back to the list.
pub(crate) async fn order(pages: &Pages, which: &Which, path: &str, back: &str) -> Response {
    let id: Value = serde_json::from_str(&which.id).unwrap_or(Value::Null);
    let outcome = match pages.office.node(&which.node) {
        Ok(node) => pages.office.order(Some(&node), path, json!({ "id": id })).await.map_err(|refusal| refusal.why),
        Err(refusal) => Err(refusal.why),
    };
    let done = match outcome {
        Ok(answer) => answer.get("disconnected") != Some(&Value::Bool(false)),
        Err(why) => {
            tracing::info!(path, %why, "an operator's order was not carried out");
            false
        }
    };
    let outcome = if done { "done" } else { "failed" };
    let answer = Redirect::to(&format!("{back}?outcome={outcome}")).into_response();
    Audited { subject: format!("node {}", which.node), done }.on(answer)
}
