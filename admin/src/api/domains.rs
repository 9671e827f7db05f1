//! The domains that are served: which there are, whose they are, and how their registrars stand; one that comes, moves or
//! goes is a change of the configuration.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use toml::Table;
use utoipa::ToSchema;

use super::configuration::{by, confirm_time, expected, tagged};
use super::taken::{Json, Query, whole_or_null};
use super::{Actor, Problem};
use crate::configuration::{ChangeOrder, CommitView, Proposal};
use crate::domains::{self, DEFAULT};
use crate::office::Office;

/// What a domain may be; whether it can be served is judged with the rest of the configuration.
pub(super) const DOMAIN: &str = "^[A-Za-z0-9.:-]+$";
/// Longest domain, bytes (RFC 1035 §3.1).
pub(super) const DOMAIN_BYTES_MAX: usize = 253;

/// A domain that is served.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DomainView {
    /// Its name.
    #[schema(example = "example.com")]
    domain: String,
    /// Whose it is; `default` where nothing else is written.
    #[schema(example = "default")]
    deployment: String,
    /// What its users may sign in to, in the words of the status.
    #[schema(example = json!(["Unified CM registrations"]))]
    services: Vec<String>,
    /// `active` while a registrar of its deployment answers, else `failed`; `no registrar` where none is known.
    #[schema(example = "active")]
    state: String,
    /// The registrars of its deployment, as this core sees them.
    registrars: Vec<RegistrarView>,
}

/// A registrar.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RegistrarView {
    /// Its name, or its address.
    #[schema(example = "cucm1.example.com")]
    name: String,
    /// Where it is; null: its name has no address yet.
    address: Option<String>,
    /// `udp`, `tcp` or `tls`; null: it is not known yet.
    transport: Option<String>,
    /// `alive` or `failed`.
    #[schema(example = "alive")]
    state: String,
    /// Why it failed.
    why: Option<String>,
}

/// All domains of the configuration that holds.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DomainsView {
    /// The revision they are of, which is also the ETag.
    revision: u64,
    /// By deployment, as they are written.
    domains: Vec<DomainView>,
}

/// Whose a domain is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainOrder {
    /// A deployment there is.
    #[serde(default = "default_deployment")]
    #[schema(required = false, example = "default", max_length = 64)]
    deployment: String,
    /// Why; it stands in the history.
    #[serde(default)]
    #[schema(required = false)]
    comment: String,
    /// The revision before comes back unless this one is confirmed within so many seconds.
    #[serde(default, deserialize_with = "whole_or_null")]
    #[schema(example = 300, maximum = 86_400)]
    confirm_s: Option<u64>,
}

fn default_deployment() -> String {
    DEFAULT.to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Going {
    comment: Option<String>,
}

/// The document that holds, and its revision.
fn document(office: &Office) -> (u64, Table) {
    let current = office.desk.current();
    (current.revision, current.document.parse().unwrap_or_default())
}

async fn view(office: &Office) -> DomainsView {
    let (revision, document) = document(office);
    // What is not known of the registrars is not said; the domains are there all the same.
    let status = office.ask(None, "status", json!({})).await.unwrap_or_default();
    let mut all = Vec::new();
    for deployment in domains::deployments(&document) {
        let services = services(&document, &deployment.name);
        for domain in deployment.domains {
            let registrars = registrars(&status, &deployment.name);
            let state = match registrars.iter().any(|one| one.state == "alive") {
                true => "active",
                false if registrars.is_empty() => "no registrar",
                false => "failed",
            };
            let (deployment, services) = (deployment.name.clone(), services.clone());
            all.push(DomainView { domain, deployment, services, state: state.to_owned(), registrars });
        }
    }
    DomainsView { revision, domains: all }
}

fn services(document: &Table, deployment: &str) -> Vec<String> {
    let has = |name: &str| {
        let of = |entry: &toml::Value| {
            entry.get("deployment").and_then(toml::Value::as_str).unwrap_or(DEFAULT) == deployment
        };
        domains::entries(document, name).any(of)
    };
    let mut services = vec!["Unified CM registrations".to_owned()];
    if has("im_and_presence") || has("xmpp_server") {
        services.push("IM and Presence Service".to_owned());
    }
    services
}

fn registrars(status: &Value, deployment: &str) -> Vec<RegistrarView> {
    let all = status.get("registrars").and_then(Value::as_array).into_iter().flatten();
    let text = |one: &Value, name: &str| one.get(name).and_then(Value::as_str).map(str::to_owned);
    let view = |one: &Value| RegistrarView {
        name: text(one, "name").unwrap_or_default(),
        address: text(one, "address"),
        transport: text(one, "transport"),
        state: text(one, "state").unwrap_or_default(),
        why: text(one, "why"),
    };
    all.filter(|one| one.get("deployment").and_then(Value::as_str) == Some(deployment)).map(view).collect()
}

pub(super) async fn list(State(office): State<Arc<Office>>) -> Response {
    let view = view(&office).await;
    tagged(view.revision, view)
}

pub(super) async fn show(State(office): State<Arc<Office>>, Path(domain): Path<String>) -> Result<Response, Problem> {
    let DomainsView { revision, domains } = view(&office).await;
    let found = domains.into_iter().find(|one| one.domain.eq_ignore_ascii_case(&domain));
    Ok(tagged(revision, found.ok_or_else(not_served)?))
}

pub(super) async fn put(
    State(office): State<Arc<Office>>,
    Path(domain): Path<String>,
    actor: Actor,
    headers: HeaderMap,
    Json(order): Json<DomainOrder>,
) -> Result<Response, Problem> {
    if !is_domain(&domain) {
        return Err(Problem::new("not_found", "That can be no domain."));
    }
    let (head, document) = document(&office);
    let (expected, confirm) = (expected(head, &headers)?, confirm_time(order.confirm_s)?);
    let known = domains::deployments(&document);
    let changes = domains::put(&known, &domain, &order.deployment)
        .ok_or_else(|| Problem::new("not_found", "There is no deployment of that name."))?;
    let by = by(&actor, order.comment);
    let done: CommitView = office.desk.commit(expected, Proposal::Changes(changes), by, confirm).await?;
    Ok(tagged(done.revision, done))
}

pub(super) async fn remove(
    State(office): State<Arc<Office>>,
    Path(domain): Path<String>,
    actor: Actor,
    headers: HeaderMap,
    Query(going): Query<Going>,
) -> Result<Response, Problem> {
    if !is_domain(&domain) {
        return Err(not_served());
    }
    let (head, document) = document(&office);
    let expected = expected(head, &headers)?;
    let known = domains::deployments(&document);
    let changes: Vec<ChangeOrder> = domains::without(&known, &domain).ok_or_else(not_served)?;
    let by = by(&actor, going.comment.unwrap_or_default());
    let done: CommitView = office.desk.commit(expected, Proposal::Changes(changes), by, None).await?;
    Ok(tagged(done.revision, done))
}

/// As the description says it.
fn is_domain(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".:-".contains(&byte);
    (1..=DOMAIN_BYTES_MAX).contains(&text.len()) && text.bytes().all(legal)
}

fn not_served() -> Problem {
    Problem::new("not_found", "That domain is not served.")
}
