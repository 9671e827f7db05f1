//! What a change of the configuration would do, shown before it is done; and doing it.

use std::time::Duration;

use askama::Template;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::door::Administrator;
use super::layout::{CONFIGURATION, Entry, Frame, HISTORY, Wish, is_local};
use super::words::Said;
use super::{Pages, page_with};
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
pub(crate) async fn preview_changes(
    pages: &Pages,
    parts: &Parts,
    who: Administrator,
    entry: Entry,
    changes: Vec<ChangeOrder>,
) -> Response {
    let kept = serde_json::to_string(&changes).unwrap_or_default();
    let proposal = Proposal::Changes(changes);
    preview(pages, parts, who, entry, proposal, (Some(kept), None)).await
}

/// Shows what another document would do.
pub(crate) async fn preview_document(
    pages: &Pages,
    parts: &Parts,
    who: Administrator,
    entry: Entry,
    text: String,
) -> Response {
    preview(pages, parts, who, entry, Proposal::Document(text.clone()), (None, Some(text))).await
}

async fn preview(
    pages: &Pages,
    parts: &Parts,
    who: Administrator,
    entry: Entry,
    proposal: Proposal,
    (changes, document): (Option<String>, Option<String>),
) -> Response {
    let f = Frame::new(Wish::of(parts), CONFIGURATION, who.viewer, &pages.look().await.nodes);
    let (status, plan) = match pages.office.desk.propose(proposal).await {
        Ok(plan) => (
            StatusCode::OK,
            Plan {
                steps: plan.steps,
                problems: Vec::new(),
                fault: None,
                revision: plan.revision,
                csrf: who.csrf,
                changes,
                document,
                back: entry.path.to_owned(),
                f,
            },
        ),
        Err(fault) => refused(f, fault, entry.path),
    };
    page_with(status, &plan)
}

fn refused(f: Frame, fault: ConfigurationFault, back: &str) -> (StatusCode, Plan) {
    let (problems, fault) = match fault {
        ConfigurationFault::Problems(problems) => (problems, None),
        other @ (ConfigurationFault::Refused(_)
        | ConfigurationFault::Conflict { .. }
        | ConfigurationFault::Waiting { .. }
        | ConfigurationFault::NotFound(_)
        | ConfigurationFault::Store(_)
        | ConfigurationFault::Unavailable(_)) => (Vec::new(), Some(f.said(&other.to_string()))),
    };
    let plan = Plan {
        steps: Vec::new(),
        problems,
        fault,
        revision: 0,
        csrf: String::new(),
        changes: None,
        document: None,
        back: if is_local(back) { back.to_owned() } else { CONFIGURATION.path.to_owned() },
        f,
    };
    (StatusCode::UNPROCESSABLE_ENTITY, plan)
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
    let confirm = wanted.confirm.filter(|minutes| *minutes > 0).map(|minutes| Duration::from_secs(minutes * 60));
    let order = Order { revision: wanted.revision, proposal, comment: wanted.comment, confirm };
    carry_out(&pages, &parts, who, order, &wanted.back).await
}

struct Order {
    revision: u64,
    proposal: Proposal,
    comment: String,
    confirm: Option<Duration>,
}

/// Does it without showing it first: for what holds secrets, which a form must not carry back and forth.
pub(crate) async fn apply_now(
    pages: &Pages,
    parts: &Parts,
    who: Administrator,
    changes: Vec<ChangeOrder>,
    back: &str,
) -> Response {
    let revision = pages.office.desk.current().revision;
    let order = Order { revision, proposal: Proposal::Changes(changes), comment: String::new(), confirm: None };
    carry_out(pages, parts, who, order, back).await
}

async fn carry_out(pages: &Pages, parts: &Parts, who: Administrator, order: Order, back: &str) -> Response {
    let by = By { author: who.author, comment: order.comment };
    match pages.office.desk.commit(order.revision, order.proposal, by, order.confirm).await {
        Ok(done) => Redirect::to(&format!("{}?done={}", HISTORY.path, done.revision)).into_response(),
        Err(fault) => {
            let f = Frame::new(Wish::of(parts), CONFIGURATION, who.viewer, &pages.look().await.nodes);
            let (status, plan) = refused(f, fault, back);
            page_with(status, &plan)
        }
    }
}
