//! What nodes say of themselves, and what is ordered of them.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Problem;
use super::taken::{Json, Query};
use crate::limits::{FILTER_BYTES_MAX, PAGE_MAX};
use crate::office::Office;
use crate::views::{NodesView, Page, Wanted};

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
        let mut wanted = Wanted { node: self.node, after: self.after, limit, filters: Vec::new() };
        let written =
            [("user", self.user), ("code", self.code), ("client", self.client), ("level", self.level), ("id", self.id)];
        for (name, value) in written {
            let Some(value) = value else { continue };
            if !filters.contains(&name) {
                return Err(Problem::new("bad_query", format!("{name}: this list has no such filter")));
            }
            if value.len() > FILTER_BYTES_MAX {
                return Err(Problem::new("bad_query", format!("{name}: at most {FILTER_BYTES_MAX} bytes")));
            }
            wanted.filters.push((name, value));
        }
        Ok(wanted)
    }
}

pub(super) async fn registrations(State(office): State<Arc<Office>>, Query(part): Query<Part>) -> Asked<Page> {
    Ok(Answer(office.list("registrations", "registrations", &part.wanted(&["user"])?).await?))
}

pub(super) async fn calls(State(office): State<Arc<Office>>, Query(part): Query<Part>) -> Asked<Page> {
    Ok(Answer(office.list("calls", "calls", &part.wanted(&["user"])?).await?))
}

pub(super) async fn chats(State(office): State<Arc<Office>>, Query(part): Query<Part>) -> Asked<Page> {
    Ok(Answer(office.list("chats", "chats", &part.wanted(&["user"])?).await?))
}

pub(super) async fn events(State(office): State<Arc<Office>>, Query(part): Query<Part>) -> Asked<Page> {
    Ok(Answer(office.list("events", "events", &part.wanted(&["level", "id"])?).await?))
}

pub(super) async fn attempts(State(office): State<Arc<Office>>, Query(part): Query<Part>) -> Asked<Page> {
    Ok(Answer(office.list("attempts", "attempts", &part.wanted(&["user", "code", "client"])?).await?))
}

pub(super) async fn maintenance(State(office): State<Arc<Office>>, Path(node): Path<String>) -> Asked<Value> {
    ordered(&office, &node, json!({})).await
}

/// What maintenance mode is begun with.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceOrder {
    /// After so many seconds what is left is ended; null: never.
    #[serde(default)]
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
