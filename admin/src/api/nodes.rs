//! What nodes say of themselves, and what is ordered of them.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use edgeway_runtime::operate::{Refusal, RefusalKind};
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Problem;
use super::taken::{Json, Query, whole, whole_or_null};
use crate::limits::{FILTER_CHARS_MAX, PAGE_MAX};
use crate::office::Office;
use crate::views::{Everywhere, NodesView, Page, Wanted};

type Asked<T> = Result<Answer<T>, Problem>;

pub(super) async fn all(State(office): State<Arc<Office>>) -> Answer<NodesView> {
    Answer(office.nodes().await)
}

pub(super) async fn one(State(office): State<Arc<Office>>, Path(node): Path<String>) -> Asked<Value> {
    let node = office.node(&node)?;
    Ok(Answer(office.ask(Some(&node), "status", json!({})).await?))
}

/// Which part of a list is wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    node: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
    user: Option<String>,
    code: Option<String>,
    client: Option<String>,
    level: Option<String>,
    id: Option<String>,
}

impl Part {
    fn wanted(self, filters: &[&'static str]) -> Result<Wanted, Problem> {
        let limit = self.limit.unwrap_or(0);
        if limit > PAGE_MAX || self.limit == Some(0) {
            return Err(Problem::new("bad_query", format!("limit: 1 to {PAGE_MAX}")));
        }
        if self.node.as_deref().is_some_and(|node| edgeway_model::NodeId::new(node).is_none()) {
            return Err(Problem::new("bad_query", "node: the name of a node"));
        }
        let mut wanted = Wanted { node: self.node, after: self.after, limit, filters: Vec::new() };
        let written =
            [("user", self.user), ("code", self.code), ("client", self.client), ("level", self.level), ("id", self.id)];
        for (name, value) in written {
            let Some(value) = value else { continue };
            if !filters.contains(&name) {
                return Err(Problem::new("bad_query", format!("{name}: this list has no such filter")));
            }
            if value.chars().nth(FILTER_CHARS_MAX).is_some() {
                return Err(Problem::new("bad_query", format!("{name}: at most {FILTER_CHARS_MAX} characters")));
            }
            // Nodes would each refuse it, as if it were their fault.
            if name == "level" && !["debug", "info", "warning", "error"].contains(&value.as_str()) {
                return Err(Problem::new("bad_query", "level: debug, info, warning or error"));
            }
            if name == "code" && !is_code(&value) {
                return Err(Problem::new("bad_query", "code: as in EW-7K2F"));
            }
            wanted.filters.push((name, value));
        }
        Ok(wanted)
    }
}

/// As the description says it of a user.
fn is_user(text: &str) -> bool {
    let begins = |char: char| !char.is_whitespace() && char != '\u{feff}';
    text.chars().next().is_some_and(begins)
        && text.chars().nth(FILTER_CHARS_MAX).is_none()
        && !text.chars().any(char::is_control)
}

/// With its `EW`: four letters alone might begin with those two.
fn is_code(text: &str) -> bool {
    text.get(..2).is_some_and(|begin| begin.eq_ignore_ascii_case("ew"))
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && text.bytes().filter(|byte| *byte == b'-').count() <= 1
        && edgeway_model::attempt::Code::parse(text).is_some()
}

/// What is wrong with the question is wrong with the query.
fn listed(page: Result<Page, Refusal>) -> Asked<Page> {
    page.map(Answer).map_err(|refusal| match refusal.kind {
        RefusalKind::Invalid => Problem::new("bad_query", refusal.why),
        RefusalKind::NotFound | RefusalKind::Conflict | RefusalKind::Unavailable => refusal.into(),
    })
}

pub(super) async fn registrations(State(office): State<Arc<Office>>, Query(part): Query<Part>) -> Asked<Page> {
    listed(office.list("registrations", "registrations", &part.wanted(&["user"])?).await)
}

pub(super) async fn calls(State(office): State<Arc<Office>>, Query(part): Query<Part>) -> Asked<Page> {
    listed(office.list("calls", "calls", &part.wanted(&["user"])?).await)
}

pub(super) async fn chats(State(office): State<Arc<Office>>, Query(part): Query<Part>) -> Asked<Page> {
    listed(office.list("chats", "chats", &part.wanted(&["user"])?).await)
}

pub(super) async fn events(State(office): State<Arc<Office>>, Query(part): Query<Part>) -> Asked<Page> {
    listed(office.list("events", "events", &part.wanted(&["level", "id"])?).await)
}

pub(super) async fn attempts(State(office): State<Arc<Office>>, Query(part): Query<Part>) -> Asked<Page> {
    listed(office.list("attempts", "attempts", &part.wanted(&["user", "code", "client"])?).await)
}

pub(super) async fn maintenance(State(office): State<Arc<Office>>, Path(node): Path<String>) -> Asked<Value> {
    ordered(&office, &node, json!({})).await
}

/// What maintenance mode is begun with.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceOrder {
    /// After so many seconds what is left is ended; null: never.
    #[serde(default, deserialize_with = "whole_or_null")]
    #[schema(example = 600, maximum = 604_800)]
    within_s: Option<u64>,
    /// Whether it outlives a restart of the service.
    #[serde(default)]
    keep: bool,
}

pub(super) async fn begin_maintenance(
    State(office): State<Arc<Office>>,
    Path(node): Path<String>,
    Json(order): Json<MaintenanceOrder>,
) -> Asked<Value> {
    ordered(&office, &node, json!({ "on": true, "within_s": order.within_s, "keep": order.keep })).await
}

pub(super) async fn end_maintenance(State(office): State<Arc<Office>>, Path(node): Path<String>) -> Asked<Value> {
    ordered(&office, &node, json!({ "on": false })).await
}

async fn ordered(office: &Office, node: &str, order: Value) -> Asked<Value> {
    let node = office.node(node)?;
    Ok(Answer(office.order(Some(&node), "maintenance", order).await?))
}

/// Which messages are wanted: those that fit all that is named.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ladder {
    node: Option<String>,
    user: Option<String>,
    call_id: Option<String>,
    trace: Option<String>,
}

pub(super) async fn ladder(State(office): State<Arc<Office>>, Query(wanted): Query<Ladder>) -> Asked<Value> {
    let named = [("user", wanted.user), ("call_id", wanted.call_id), ("trace", wanted.trace)];
    let body: serde_json::Map<_, _> =
        named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?)))).collect();
    for (name, value) in &body {
        if value.as_str().is_some_and(|text| text.chars().nth(FILTER_CHARS_MAX).is_some()) {
            return Err(Problem::new("bad_query", format!("{name}: at most {FILTER_CHARS_MAX} characters")));
        }
    }
    let all = match wanted.node {
        Some(node) => office.one(&office.node(&node)?, "ladder", Value::Object(body)).await?,
        None => office.everywhere("ladder", Value::Object(body)).await,
    };
    Ok(Answer(merged_ladder(all)))
}

/// The messages of all nodes in the order of time, as far as their clocks agree.
fn merged_ladder(all: Everywhere) -> Value {
    let mut messages = Vec::new();
    for (node, answer) in all.answers {
        let of_node = answer.get("messages").and_then(Value::as_array).into_iter().flatten();
        messages.extend(of_node.filter(|one| one.is_object()).take(PAGE_MAX).map(|message| {
            let mut message = message.clone();
            message["node"] = node.as_str().into();
            message
        }));
    }
    messages.sort_by_key(|message| message.get("at_ms").and_then(Value::as_u64).unwrap_or(0));
    json!({ "messages": messages, "silent": all.silent })
}

/// Whose messages are noted, and for how long.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceOrder {
    /// The user.
    #[schema(
        example = "alice",
        pattern = "^[^\\u0000-\\u0020\\u007f-\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff][^\\u0000-\\u001f\\u007f-\\u009f]*$",
        max_length = 320
    )]
    user: String,
    /// For so many seconds.
    #[serde(deserialize_with = "whole")]
    #[schema(example = 300, minimum = 1, maximum = 600)]
    seconds: u64,
}

pub(super) async fn begin_trace(
    State(office): State<Arc<Office>>,
    Path(node): Path<String>,
    Json(order): Json<TraceOrder>,
) -> Asked<Value> {
    let node = office.node(&node)?;
    if !is_user(&order.user) {
        return Err(Problem::new("invalid", "user: a name that begins with no space, without control characters"));
    }
    let body = json!({ "user": order.user, "seconds": order.seconds });
    Ok(Answer(office.order(Some(&node), "trace/start", body).await?))
}

pub(super) async fn end_trace(State(office): State<Arc<Office>>, Path(node): Path<String>) -> Asked<Value> {
    let node = office.node(&node)?;
    Ok(Answer(office.order(Some(&node), "trace/stop", json!({})).await?))
}

pub(super) async fn metrics(State(office): State<Arc<Office>>) -> Result<Response, Problem> {
    let answer = office.ask(None, "metrics", json!({})).await?;
    let text = answer.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(([(CONTENT_TYPE, edgeway_runtime::metrics::CONTENT_TYPE)], text).into_response())
}
