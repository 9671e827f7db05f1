//! The HTTP server allow list: what is in force and where it is from, its rules in the configuration, and tests of it.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::configuration::{by, confirm_time, expected, tagged};
use super::taken::{Json, Query, at_most};
use super::{Actor, Problem};
use crate::allow_list::{RuleOrder, RuleView, Written, csv, rules_in};
use crate::configuration::{ConfigurationFault, Proposal, StepView, WaitingView};
use crate::limits::{
    DEPLOYMENT_CHARS_MAX, FILTER_CHARS_MAX, RULE_DESCRIPTION_CHARS_MAX, RULE_MATCH_TYPE_CHARS_MAX, RULE_METHODS_MAX,
    RULE_NAME_CHARS_MAX, RULE_URL_CHARS_MAX, TESTED_METHOD_CHARS_MAX,
};
use crate::office::Office;

/// The rules in force.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RulesView {
    /// The revision of the configuration, which is the ETag too.
    revision: u64,
    /// In the order in which they are looked at.
    rules: Vec<RuleView>,
}

/// A file of rules.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadOrder {
    /// CSV with the columns Url,Deployment,HttpMethods,MatchType,Description.
    #[schema(
        example = "Url,Deployment,HttpMethods,MatchType,Description\nhttps://files.example.com/updates,,GET,,Updates\n"
    )]
    csv: String,
    /// Whether rules of the configuration that the file does not have go.
    #[serde(default)]
    replace: bool,
}

/// What a change of the rules has done, or would do.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RulesChangeView {
    /// The newest revision; of a dry run, the one it would change.
    revision: u64,
    /// What changes; empty: nothing.
    steps: Vec<StepView>,
    /// Whether it holds now.
    done: bool,
    /// What goes back by itself unless it is confirmed.
    waiting: Option<WaitingView>,
}

/// URLs that a client might ask for.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestsOrder {
    /// The URLs, at most 100.
    #[schema(min_items = 1, max_items = 100)]
    tests: Vec<TestOrder>,
    /// Who asks; null: somebody whose own nothing is.
    #[serde(default)]
    #[schema(example = "alice", max_length = 320)]
    user: Option<String>,
    /// Devices of that user, at most 16.
    #[serde(default)]
    #[schema(max_items = 16)]
    devices: Vec<String>,
}

impl TestsOrder {
    /// As the description has them. How many there may be of what, the node says.
    fn within_bounds(&self) -> Result<(), Problem> {
        at_most("user", self.user.as_deref(), FILTER_CHARS_MAX)?;
        for test in &self.tests {
            at_most("method", test.method.as_deref(), TESTED_METHOD_CHARS_MAX)?;
            at_most("deployment", test.deployment.as_deref(), DEPLOYMENT_CHARS_MAX)?;
        }
        Ok(())
    }
}

/// As the description has them, before what stands around words is taken off: the configuration has its own bounds.
fn within_bounds(rule: &RuleOrder) -> Result<(), Problem> {
    at_most("name", rule.name.as_deref(), RULE_NAME_CHARS_MAX)?;
    at_most("url", Some(&rule.url), RULE_URL_CHARS_MAX)?;
    at_most("deployment", rule.deployment.as_deref(), DEPLOYMENT_CHARS_MAX)?;
    at_most("match_type", rule.match_type.as_deref(), RULE_MATCH_TYPE_CHARS_MAX)?;
    at_most("description", Some(&rule.description), RULE_DESCRIPTION_CHARS_MAX)?;
    match rule.methods.len() {
        0..=RULE_METHODS_MAX => Ok(()),
        _ => Err(Problem::new("invalid", format!("methods: at most {RULE_METHODS_MAX}"))),
    }
}

/// One of them.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestOrder {
    /// As the client would write it, however odd.
    #[schema(example = "https://files.example.com:8443/updates/a.zip")]
    url: String,
    /// Null: GET.
    #[serde(default)]
    #[schema(example = "GET", max_length = 24)]
    method: Option<String>,
    /// The deployment of who asks; null: the default one.
    #[serde(default)]
    #[schema(max_length = 64)]
    deployment: Option<String>,
}

/// What came of tests.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TestsView {
    /// In the order they were asked.
    pub(crate) results: Vec<TestView>,
}

/// What came of one.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TestView {
    /// As it was asked.
    pub(crate) url: String,
    /// As it was asked.
    pub(crate) method: String,
    /// As it was asked.
    pub(crate) deployment: String,
    /// Whether a client would be let through.
    pub(crate) allowed: bool,
    /// By which rule.
    pub(crate) rule: Option<RuleView>,
    /// What the server would be asked for.
    pub(crate) sent: Option<String>,
    /// Why not, as a word.
    pub(crate) reason: Option<String>,
    /// Why not.
    pub(crate) why: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    format: Option<String>,
    origin: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    comment: String,
    confirm_s: Option<u64>,
}

pub(super) async fn list(State(office): State<Arc<Office>>, Query(form): Query<Form>) -> Result<Response, Problem> {
    let origin = form.origin.as_deref();
    if !origin.is_none_or(|origin| ["automatic", "file", "configuration"].contains(&origin)) {
        return Err(Problem::new("bad_query", "origin: automatic, file or configuration"));
    }
    // Before the rules are asked for: what is shown is at least as new.
    let revision = office.desk.current().revision;
    let mut rules = rules_in(office.ask(None, "allow-list", json!({})).await?);
    rules.retain(|rule| origin.is_none_or(|origin| rule.origin == origin));
    match form.format.as_deref() {
        None | Some("json") => Ok(tagged(revision, RulesView { revision, rules })),
        Some("csv") => Ok(([(CONTENT_TYPE, "text/csv; charset=utf-8")], csv(&rules)).into_response()),
        Some(_) => Err(Problem::new("bad_query", "format: json or csv")),
    }
}

/// Who asks for a change, of which revision, and how.
pub(super) struct Order {
    office: Arc<Office>,
    actor: Actor,
    headers: HeaderMap,
    how: How,
}

impl Order {
    /// Does what a proposal says, made from the rules that are written now.
    async fn carry_out(
        self,
        proposal: impl FnOnce(&Written) -> Result<Proposal, ConfigurationFault>,
    ) -> Result<Response, Problem> {
        let Self { office, actor, headers, how } = self;
        let desk = &office.desk;
        let current = desk.current();
        let expected = expected(current.revision, &headers)?;
        let proposal = proposal(&Written::of(&current.document))?;
        if how.dry_run {
            let plan = desk.propose(proposal).await?;
            let view = RulesChangeView { revision: plan.revision, steps: plan.steps, done: false, waiting: None };
            return Ok(tagged(plan.revision, view));
        }
        let confirm = confirm_time(how.confirm_s)?;
        let done = desk.commit(expected, proposal, by(&actor, how.comment), confirm).await?;
        let view = RulesChangeView { revision: done.revision, steps: done.steps, done: true, waiting: done.waiting };
        Ok(tagged(done.revision, view))
    }
}

pub(super) async fn add(
    State(office): State<Arc<Office>>,
    actor: Actor,
    headers: HeaderMap,
    Query(how): Query<How>,
    Json(rule): Json<RuleOrder>,
) -> Result<Response, Problem> {
    within_bounds(&rule)?;
    Order { office, actor, headers, how }.carry_out(|written| written.add(&rule)).await
}

pub(super) async fn change(
    State(office): State<Arc<Office>>,
    Path(name): Path<String>,
    actor: Actor,
    headers: HeaderMap,
    Query(how): Query<How>,
    Json(rule): Json<RuleOrder>,
) -> Result<Response, Problem> {
    within_bounds(&rule)?;
    Order { office, actor, headers, how }.carry_out(|written| written.replace(&name, &rule)).await
}

pub(super) async fn remove(
    State(office): State<Arc<Office>>,
    Path(name): Path<String>,
    actor: Actor,
    headers: HeaderMap,
    Query(how): Query<How>,
) -> Result<Response, Problem> {
    Order { office, actor, headers, how }.carry_out(|written| written.remove(&name)).await
}

pub(super) async fn upload(
    State(office): State<Arc<Office>>,
    actor: Actor,
    headers: HeaderMap,
    Query(how): Query<How>,
    Json(file): Json<UploadOrder>,
) -> Result<Response, Problem> {
    Order { office, actor, headers, how }.carry_out(|written| written.upload(&file.csv, file.replace)).await
}

pub(super) async fn test(
    State(office): State<Arc<Office>>,
    Json(order): Json<TestsOrder>,
) -> Result<Answer<TestsView>, Problem> {
    order.within_bounds()?;
    let answer: Value = office.ask(None, "allow-list/test", json!(order)).await?;
    let view = serde_json::from_value(answer);
    view.map(Answer).map_err(|_| Problem::new("unavailable", "The node's answer cannot be read."))
}
