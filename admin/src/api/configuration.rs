//! The configuration: what holds, what a change would do, the change, the history.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::taken::{Json, Query, version, whole, whole_or_null};
use super::{Actor, Problem};
use crate::accounts::Role;
use crate::configuration::limits::CONFIRM_MAX;
use crate::configuration::{
    By, ChangeOrder, CommitView, ConfigurationFault, CurrentView, DifferenceView, DocumentView, OriginView, PlanView,
    Proposal, RevisionView,
};
use crate::limits::PAGE_DEFAULT;
use crate::office::Office;

type Asked<T> = Result<Answer<T>, Problem>;

/// What the configuration is to be: one of [`ConfigurationOrderShape`], with better words where it is neither.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigurationOrder {
    #[serde(default, deserialize_with = "present")]
    document: Option<String>,
    #[serde(default, deserialize_with = "present")]
    changes: Option<Vec<ChangeOrder>>,
    #[serde(default)]
    comment: String,
    #[serde(default, deserialize_with = "whole_or_null")]
    confirm_s: Option<u64>,
}

/// What is there is no null.
fn present<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// What the configuration is to be: all of it, or some settings by their names.
#[derive(ToSchema)]
#[schema(as = ConfigurationOrder)]
#[serde(untagged)]
pub enum ConfigurationOrderShape {
    /// All of it.
    Document(DocumentOrder),
    /// Some settings.
    Changes(ChangesOrder),
}

/// All of the configuration.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what ConfigurationOrder reads")]
pub struct DocumentOrder {
    /// TOML, as the export has it.
    #[schema(example = "domains = [\"example.com\"]\n[sip]\nregistrars = [\"sip:cucm1.example.com;transport=tcp\"]\n")]
    document: String,
    /// Why.
    #[schema(required = false)]
    comment: String,
    /// The revision before comes back unless this one is confirmed within so many seconds.
    #[schema(example = 300, maximum = 86_400)]
    confirm_s: Option<u64>,
}

/// Some settings of the configuration.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what ConfigurationOrder reads")]
pub struct ChangesOrder {
    /// By their names.
    changes: Vec<ChangeOrder>,
    /// Why.
    #[schema(required = false)]
    comment: String,
    /// The revision before comes back unless this one is confirmed within so many seconds.
    #[schema(example = 300, maximum = 86_400)]
    confirm_s: Option<u64>,
}

impl ConfigurationOrder {
    fn proposal(&mut self) -> Result<Proposal, Problem> {
        confirm_time(self.confirm_s)?;
        match (self.document.take(), self.changes.take()) {
            (Some(document), None) => Ok(Proposal::Document(document)),
            (None, Some(changes)) => Ok(Proposal::Changes(changes)),
            (Some(_), Some(_)) | (None, None) => {
                Err(Problem::new("bad_body", "Send either `document` or `changes`, and not both."))
            }
        }
    }
}

/// No history is as long as that.
const REVISION_MAX: u64 = 2_000_000_000;

/// Which revision comes back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackOrder {
    /// Its number.
    #[schema(example = 6, maximum = 2_000_000_000)]
    #[serde(deserialize_with = "whole")]
    to: u64,
    /// Why.
    #[serde(default)]
    comment: String,
}

/// Which revision stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmOrder {
    /// Its number.
    #[schema(example = 7, maximum = 2_000_000_000)]
    #[serde(deserialize_with = "whole")]
    revision: u64,
}

/// Part of the history.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RevisionsView {
    /// The newest first.
    revisions: Vec<RevisionView>,
    /// For the next page, as `before`; null at the end.
    next: Option<u64>,
}

/// Where settings are written.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct OriginsView {
    /// One for each setting that holds.
    settings: Vec<OriginView>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    before: Option<u64>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Between {
    from: u64,
    to: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Export {
    #[serde(default)]
    secrets: bool,
}

/// Within which time a revision is to be confirmed. What is shorter than somebody can look and type is made longer.
pub(super) fn confirm_time(seconds: Option<u64>) -> Result<Option<Duration>, Problem> {
    let time = seconds.map(Duration::from_secs);
    match time.filter(|time| *time > CONFIRM_MAX) {
        None => Ok(time),
        Some(_) => Err(Problem::new("invalid", format!("confirm_s: at most {}", CONFIRM_MAX.as_secs()))),
    }
}

pub(super) fn tagged<T: Serialize>(revision: u64, view: T) -> Response {
    let mut response = Answer(view).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// The revision that a change is made from, which is `head` unless that is another one than `If-Match` names; `*`: whatever
/// there is (RFC 9110 §13.1.1).
pub(super) fn expected(head: u64, headers: &HeaderMap) -> Result<u64, Problem> {
    let Some(tag) = headers.get(IF_MATCH) else { return Err(Problem::new("not_understood", "")) };
    match version(tag)? {
        Some(other) if other != head => Err(ConfigurationFault::Conflict { head }.into()),
        Some(_) | None => Ok(head),
    }
}

pub(super) fn by(actor: &Actor, comment: String) -> By {
    By { author: actor.author.clone(), comment }
}

pub(super) async fn current(State(office): State<Arc<Office>>) -> Response {
    let current: CurrentView = office.desk.current();
    tagged(current.revision, current)
}

pub(super) async fn plan(
    State(office): State<Arc<Office>>,
    Json(mut order): Json<ConfigurationOrder>,
) -> Asked<PlanView> {
    Ok(Answer(office.desk.propose(order.proposal()?).await?))
}

pub(super) async fn put(
    State(office): State<Arc<Office>>,
    actor: Actor,
    headers: HeaderMap,
    Json(mut order): Json<ConfigurationOrder>,
) -> Result<Response, Problem> {
    let (expected, proposal) = (expected(office.desk.current().revision, &headers)?, order.proposal()?);
    let confirm = confirm_time(order.confirm_s)?;
    let done: CommitView = office.desk.commit(expected, proposal, by(&actor, order.comment), confirm).await?;
    Ok(tagged(done.revision, done))
}

pub(super) async fn revisions(State(office): State<Arc<Office>>, Query(part): Query<Part>) -> Asked<RevisionsView> {
    let limit = part.limit.unwrap_or(PAGE_DEFAULT);
    let revisions = office.desk.history(part.before, limit).await?;
    let next = revisions.last().map(|oldest| oldest.revision).filter(|oldest| revisions.len() >= limit && *oldest > 1);
    Ok(Answer(RevisionsView { revisions, next }))
}

pub(super) async fn revision(State(office): State<Arc<Office>>, Path(number): Path<String>) -> Asked<DocumentView> {
    let number = number.parse().map_err(|_| Problem::new("not_found", "There is no such revision."))?;
    Ok(Answer(office.desk.revision(number).await?))
}

pub(super) async fn difference(
    State(office): State<Arc<Office>>,
    Query(Between { from, to }): Query<Between>,
) -> Asked<DifferenceView> {
    Ok(Answer(office.desk.difference(from, to).await?))
}

pub(super) async fn rollback(
    State(office): State<Arc<Office>>,
    actor: Actor,
    headers: HeaderMap,
    Json(RollbackOrder { to, comment }): Json<RollbackOrder>,
) -> Result<Response, Problem> {
    if to > REVISION_MAX {
        return Err(Problem::new("invalid", format!("to: at most {REVISION_MAX}")));
    }
    let head = office.desk.current().revision;
    let expected = headers.contains_key(IF_MATCH).then(|| expected(head, &headers)).transpose()?;
    let done: CommitView = office.desk.rollback(to, expected, by(&actor, comment)).await?;
    Ok(tagged(done.revision, done))
}

pub(super) async fn confirm(
    State(office): State<Arc<Office>>,
    Json(ConfirmOrder { revision }): Json<ConfirmOrder>,
) -> Asked<CurrentView> {
    Ok(Answer(office.desk.confirm(revision).await?))
}

pub(super) async fn origins(State(office): State<Arc<Office>>) -> Answer<OriginsView> {
    Answer(OriginsView { settings: office.desk.origins() })
}

/// What is sealed is for administrators, though nobody without the key can open it.
pub(super) async fn export(
    State(office): State<Arc<Office>>,
    actor: Actor,
    Query(Export { secrets }): Query<Export>,
) -> Result<Response, Problem> {
    if secrets && !actor.may(Role::Administrator) {
        return Err(Problem::new("not_permitted", "Sealed secrets take the role administrator."));
    }
    let mut response = office.desk.export(secrets).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/toml"));
    Ok(response)
}

impl From<ConfigurationFault> for Problem {
    fn from(fault: ConfigurationFault) -> Self {
        let said = fault.to_string();
        match fault {
            ConfigurationFault::Problems(problems) => Self::new("invalid", said).with("errors", json!(problems)),
            ConfigurationFault::Refused(reasons) => Self::new("invalid", said).with("reasons", json!(reasons)),
            ConfigurationFault::Conflict { head } => Self::new("changed_meanwhile", said).with("revision", json!(head)),
            ConfigurationFault::Waiting { revision } => Self::new("conflict", said).with("revision", json!(revision)),
            ConfigurationFault::NotFound(_) => Self::new("not_found", said),
            ConfigurationFault::Store(_) | ConfigurationFault::Unavailable(_) => Self::new("unavailable", said),
        }
    }
}
