//! *Status > Calls*: which calls there are, and ending one.

use askama::Template;
use axum::extract::{Form, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::layout::{CALLS, Frame, LADDER, Wish, percent_encoded};
use super::lists::{Part, Search, parts as list_parts};
use super::outcome::outcome;
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
    id: Option<u64>,
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

    /// What a core that has it ends it by. An edge relays for it, and ends none.
    fn key(&self) -> Option<u64> {
        self.id.filter(|_| self.call_id.is_some() && self.state.as_deref() != Some("ending"))
    }

    /// The question before it is ended: rows move while one looks at them.
    fn question(&self, f: &Frame) -> String {
        let said = |party: &Option<String>| party.clone().unwrap_or_else(|| "?".to_owned());
        let (from, to) = (said(&self.from), said(&self.to));
        f.fill("calls.confirm", &[("from", &from), ("to", &to)])
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
            "ending" => "call_states.ending",
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

/// Which one.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    node: String,
    id: u32,
    /// What the page showed: a number alone may be another call's by now.
    call_id: String,
}

/// `POST /status/calls/end`.
pub(crate) async fn end(State(pages): State<Pages>, _operator: Operator, Form(which): Form<Which>) -> Response {
    let outcome = match pages.office.node(&which.node) {
        Ok(node) => {
            pages.office.order(Some(&node), "calls/end", json!({ "id": which.id, "call_id": which.call_id })).await
        }
        Err(refusal) => Err(refusal),
    };
    let done = outcome.is_ok();
    if let Err(refusal) = outcome {
        tracing::info!(why = %refusal.why, "a call was not ended");
    }
    let outcome = if done { "done" } else { "failed" };
    let answer = Redirect::to(&format!("{}?outcome={outcome}", CALLS.path)).into_response();
    Audited { subject: format!("call {}/{} {}", which.node, which.id, which.call_id), done }.on(answer)
}
