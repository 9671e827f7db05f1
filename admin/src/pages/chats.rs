//! *Status > Chat sessions*: who chats, and ending one.

use askama::Template;
use axum::extract::{Form, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::layout::{CHATS, Frame, Wish};
use super::lists::{Part, Search, parts as list_parts};
use super::outcome::outcome;
use super::time::{Moment, bytes};
use super::words::Said;
use super::{Operator, Pages, Viewer, page};
use crate::api::Audited;

#[derive(Template)]
#[template(path = "chats.html")]
struct Chats {
    f: Frame,
    updated: Moment,
    user: String,
    parts: Vec<Part<Row>>,
    silent: Vec<(String, Said)>,
    operates: bool,
    csrf: String,
    outcome: Option<&'static str>,
}

/// As cores and edges say it: a core knows whose it is, an edge knows its connection.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    id: Option<u64>,
    number: Option<u64>,
    jid: Option<String>,
    domain: Option<String>,
    deployment: Option<String>,
    edge: Option<String>,
    core: Option<String>,
    client: Option<String>,
    server: Option<String>,
    since_ms: Option<u64>,
    bytes_in: u64,
    bytes_out: u64,
}

impl Row {
    fn key(&self) -> Option<u64> {
        self.id.or(self.number)
    }

    fn who(&self) -> Option<&str> {
        self.jid.as_deref().or(self.domain.as_deref())
    }

    /// The question before it is ended: rows move while one looks at them.
    fn question(&self, f: &Frame) -> String {
        f.fill("chats.confirm", &[("user", &self.who().unwrap_or("?"))])
    }

    fn since(&self) -> Option<Moment> {
        self.since_ms.map(Moment::of_ms)
    }

    fn carried(&self) -> String {
        format!("{} / {}", bytes(self.bytes_in), bytes(self.bytes_out))
    }
}

/// What a chat is called: at a core by its id, at an edge by its number.
fn cursor(row: &Value) -> Option<Value> {
    row.get("id").or_else(|| row.get("number")).cloned()
}

/// `GET /status/chats`.
pub(crate) async fn show(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let wish = Wish::of(&parts);
    let look = pages.look().await;
    let (operates, csrf) = (viewer.operates, viewer.csrf.clone());
    let f = Frame::new(wish, CHATS, viewer, &look.nodes);
    let search = Search::of(parts.uri.query(), &["user"]);
    let listed = list_parts(&pages, &f, "chats", "chats", &search, cursor).await;
    let silent = look.silent.iter().map(|(node, why)| (node.clone(), f.said(why))).collect();
    let user = search.filter("user").to_owned();
    let outcome = outcome(parts.uri.query(), "chats.disconnected", "chats.not_disconnected");
    page(&Chats {
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
    id: String,
}

/// `POST /status/chats/disconnect`.
pub(crate) async fn disconnect(State(pages): State<Pages>, _operator: Operator, Form(which): Form<Which>) -> Response {
    let id: Value = serde_json::from_str(&which.id).unwrap_or(Value::Null);
    let outcome = match pages.office.node(&which.node) {
        Ok(node) => pages
            .office
            .order(Some(&node), "chats/disconnect", json!({ "id": id }))
            .await
            .map_err(|refusal| refusal.why),
        Err(refusal) => Err(refusal.why),
    };
    let done = match outcome {
        Ok(answer) => answer.get("disconnected") != Some(&Value::Bool(false)),
        Err(why) => {
            tracing::info!(%why, "a chat was not disconnected");
            false
        }
    };
    let outcome = if done { "done" } else { "failed" };
    let answer = Redirect::to(&format!("{}?outcome={outcome}", CHATS.path)).into_response();
    Audited { subject: format!("node {}", which.node), done }.on(answer)
}
