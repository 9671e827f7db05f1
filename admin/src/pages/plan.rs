//! What a change of the configuration would do, shown before it is done; and doing it.

use std::time::Duration;

use askama::Template;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use edgeway_config::document::Document;
use serde::Deserialize;

use super::door::Administrator;
use super::layout::{CONFIGURATION, Entry, Frame, HISTORY, Wish, is_local};
use super::words::Said;
use super::{Pages, Viewer, page_with};
use crate::configuration::{By, ChangeOrder, ConfigurationFault, ProblemView, Proposal, StepView};

/// Times within which a change can be asked to be confirmed, minutes.
const CONFIRM_MINUTES: [u64; 3] = [2, 5, 15];

#[derive(Template)]
#[template(path = "plan.html")]
struct Plan {
    f: Frame,
    csrf: String,
    steps: Vec<StepView>,
    problems: Vec<ProblemView>,
    /// It cannot be done for another reason.
    fault: Option<Said>,
    revision: u64,
    /// One of them goes with the form that applies it.
    changes: Option<String>,
    document: Option<String>,
    /// Where it was asked for.
    back: String,
}

/// Shows what some changes would do. They hold no secrets: those are not sent back to anybody (see [`apply_now`]).
///
/// # Errors
/// What is wrong with them: the page they were asked for on says it beside what was typed, so that nothing of it is lost.
pub(crate) async fn preview_changes(
    pages: &Pages,
    parts: &Parts,
    who: &Administrator,
    entry: Entry,
    revision: u64,
    changes: Vec<ChangeOrder>,
) -> Result<Response, Vec<ProblemView>> {
    let kept = serde_json::to_string(&changes).unwrap_or_default();
    let proposal = Proposal::Changes(changes);
    preview(pages, parts, who, entry, revision, proposal, (Some(kept), None)).await
}

/// Shows what another document would do. The text goes back and forth with the form, and so must hold no password that is
/// not sealed.
///
/// # Errors
/// What is wrong with it.
pub(crate) async fn preview_document(
    pages: &Pages,
    parts: &Parts,
    who: &Administrator,
    entry: Entry,
    revision: u64,
    text: String,
) -> Result<Response, Vec<ProblemView>> {
    if holds_password(&text) {
        let f = Frame::new(Wish::of(parts), CONFIGURATION, who.viewer.clone(), &pages.look().await.nodes);
        let why = Said { text: f.say("plan.bare_password").to_owned(), is_foreign: false };
        let plan = refusal(f, Vec::new(), Some(why), entry.path);
        return Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &plan));
    }
    preview(pages, parts, who, entry, revision, Proposal::Document(text.clone()), (None, Some(text))).await
}

/// Whether a text holds a password that is not sealed. Of what is no document at all nobody can say: it is shown to whoever has
/// typed it, and to nobody else.
fn holds_password(text: &str) -> bool {
    Document::parse(text, "configuration")
        .ok()
        .is_some_and(|document| document.secrets().iter().any(|(_, secret)| !secret.is_mask() && !secret.is_sealed()))
}

async fn preview(
    pages: &Pages,
    parts: &Parts,
    who: &Administrator,
    entry: Entry,
    revision: u64,
    proposal: Proposal,
    (changes, document): (Option<String>, Option<String>),
) -> Result<Response, Vec<ProblemView>> {
    let f = Frame::new(Wish::of(parts), CONFIGURATION, who.viewer.clone(), &pages.look().await.nodes);
    let desk = &pages.office.desk;
    let changed = |head: u64| (head != revision).then_some(ConfigurationFault::Conflict { head });
    // A form that was filled in for another revision would undo what somebody else has done meanwhile.
    let planned = match changed(desk.current().revision) {
        Some(fault) => Err(fault),
        None => desk.propose(proposal).await.and_then(|plan| changed(plan.revision).map_or(Ok(plan), Err)),
    };
    let (status, plan) = match planned {
        Ok(plan) => (
            StatusCode::OK,
            Plan {
                steps: plan.steps,
                problems: Vec::new(),
                fault: None,
                revision: plan.revision,
                csrf: who.csrf.clone(),
                changes,
                document,
                back: entry.path.to_owned(),
                f,
            },
        ),
        Err(ConfigurationFault::Problems(problems)) => return Err(problems),
        Err(ConfigurationFault::Refused(reasons)) => return Err(without_place(reasons)),
        Err(fault) => refused(f, fault, entry.path),
    };
    Ok(page_with(status, &plan))
}

/// Says why the configuration was not changed.
pub(crate) async fn refuse(
    pages: &Pages,
    parts: &Parts,
    viewer: Viewer,
    fault: ConfigurationFault,
    back: &str,
) -> Response {
    let f = Frame::new(Wish::of(parts), CONFIGURATION, viewer, &pages.look().await.nodes);
    let (status, plan) = refused(f, fault, back);
    page_with(status, &plan)
}

fn refused(f: Frame, fault: ConfigurationFault, back: &str) -> (StatusCode, Plan) {
    let mut status = StatusCode::UNPROCESSABLE_ENTITY;
    let (problems, fault) = match fault {
        ConfigurationFault::Problems(problems) => (problems, None),
        ConfigurationFault::Conflict { head } => {
            status = StatusCode::CONFLICT;
            let text = f.with("plan.changed_meanwhile", "n", head);
            (Vec::new(), Some(Said { text, is_foreign: false }))
        }
        other @ (ConfigurationFault::Refused(_)
        | ConfigurationFault::Waiting { .. }
        | ConfigurationFault::NotFound(_)
        | ConfigurationFault::Store(_)
        | ConfigurationFault::Unavailable(_)) => (Vec::new(), Some(f.said(&other.to_string()))),
    };
    (status, refusal(f, problems, fault, back))
}

/// A page that says why, and holds nothing of what was sent.
fn refusal(f: Frame, problems: Vec<ProblemView>, fault: Option<Said>, back: &str) -> Plan {
    Plan {
        steps: Vec::new(),
        problems,
        fault,
        revision: 0,
        csrf: String::new(),
        changes: None,
        document: None,
        back: if is_local(back) { back.to_owned() } else { CONFIGURATION.path.to_owned() },
        f,
    }
}

/// What is to be done.
#[derive(Debug, Deserialize)]
pub(crate) struct Apply {
    revision: u64,
    #[serde(default)]
    changes: Option<String>,
    #[serde(default)]
    document: Option<String>,
    #[serde(default)]
    comment: String,
    /// Minutes after which it goes back by itself; nothing: it stays.
    #[serde(default)]
    confirm: Option<u64>,
    #[serde(default)]
    back: String,
}

/// `POST /configuration/apply`.
pub(crate) async fn apply(
    State(pages): State<Pages>,
    who: Administrator,
    parts: Parts,
    Form(wanted): Form<Apply>,
) -> Response {
    let proposal = match (&wanted.changes, wanted.document) {
        (Some(changes), _) => serde_json::from_str(changes).ok().map(Proposal::Changes),
        (None, document) => document.map(Proposal::Document),
    };
    let Some(proposal) = proposal else { return StatusCode::BAD_REQUEST.into_response() };
    let confirm = match wanted.confirm {
        None | Some(0) => None,
        Some(minutes) if CONFIRM_MINUTES.contains(&minutes) => Some(Duration::from_secs(minutes * 60)),
        Some(_) => return StatusCode::BAD_REQUEST.into_response(),
    };
    let order = Order { revision: wanted.revision, proposal, comment: wanted.comment, confirm };
    match committed(&pages, &who, order).await {
        Ok(answer) => answer,
        Err(fault) => refuse(&pages, &parts, who.viewer, fault, &wanted.back).await,
    }
}

struct Order {
    revision: u64,
    proposal: Proposal,
    comment: String,
    confirm: Option<Duration>,
}

/// Does it without showing it first: for what holds secrets, which a form must not carry back and forth.
///
/// # Errors
/// What is wrong with it, as of [`preview_changes`].
pub(crate) async fn apply_now(
    pages: &Pages,
    parts: &Parts,
    who: &Administrator,
    revision: u64,
    changes: Vec<ChangeOrder>,
    back: &str,
) -> Result<Response, Vec<ProblemView>> {
    let order = Order { revision, proposal: Proposal::Changes(changes), comment: String::new(), confirm: None };
    match committed(pages, who, order).await {
        Ok(answer) => Ok(answer),
        Err(ConfigurationFault::Problems(problems)) => Err(problems),
        Err(ConfigurationFault::Refused(reasons)) => Err(without_place(reasons)),
        Err(fault) => Ok(refuse(pages, parts, who.viewer.clone(), fault, back).await),
    }
}

/// What the node itself has against it, such as a file that is not there: it names the setting in its own words.
fn without_place(reasons: Vec<String>) -> Vec<ProblemView> {
    let problem = |message| ProblemView { path: String::new(), line: None, message, remedy: String::new() };
    reasons.into_iter().map(problem).collect()
}

async fn committed(pages: &Pages, who: &Administrator, order: Order) -> Result<Response, ConfigurationFault> {
    let by = By { author: who.author.clone(), comment: order.comment };
    let done = pages.office.desk.commit(order.revision, order.proposal, by, order.confirm).await?;
    pages.forget_look().await;
    Ok(Redirect::to(&format!("{}?done={}", HISTORY.path, done.revision)).into_response())
}
