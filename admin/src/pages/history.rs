//! *Configuration > History*: every revision, what it changed, and the way back. And the whole of it as a text.

use askama::Template;
use axum::extract::{Form, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::door::{Administrator, Operator};
use super::layout::{DOCUMENT, Frame, HISTORY, Wish, query};
use super::limits::HISTORY_ROWS;
use super::outcome::outcome;
use super::time::Moment;
use super::{Pages, Viewer, page, page_with, plan};
use crate::api::Audited;
use crate::configuration::{By, ChangeView, ProblemView};

#[derive(Template)]
#[template(path = "history.html")]
struct History {
    f: Frame,
    administers: bool,
    operates: bool,
    csrf: String,
    revision: u64,
    source: &'static str,
    rows: Vec<Row>,
    next: Option<u64>,
    /// A revision that goes back by itself, and when.
    waiting: Option<(u64, Moment)>,
    restart: Vec<String>,
    outcome: Option<&'static str>,
    done: Option<u64>,
    /// What one of them changed.
    looked_at: Option<(u64, Vec<ChangeView>)>,
    fault: Option<super::words::Said>,
}

struct Row {
    revision: u64,
    author: String,
    at: Moment,
    comment: String,
}

/// `GET /configuration/history`.
pub(crate) async fn show(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let look = pages.look().await;
    let (administers, operates, csrf) = (viewer.administers, viewer.operates, viewer.csrf.clone());
    let f = Frame::new(Wish::of(&parts), HISTORY, viewer, &look.nodes);
    let number = |name: &str| query(parts.uri.query(), name).and_then(|text| text.parse::<u64>().ok());
    let desk = &pages.office.desk;
    let current = desk.current();
    let (heads, mut fault) = match desk.history(number("before"), HISTORY_ROWS).await {
        Ok(heads) => (heads, None),
        Err(why) => (Vec::new(), Some(f.said(&why.to_string()))),
    };
    let looked_at = match number("revision").filter(|revision| *revision > 0) {
        Some(revision) if revision > 1 => match desk.difference(revision - 1, revision).await {
            Ok(difference) => Some((revision, difference.changes)),
            Err(why) => {
                fault = Some(f.said(&why.to_string()));
                None
            }
        },
        Some(_) | None => None,
    };
    let next = heads.last().map(|head| head.revision).filter(|last| *last > 1 && heads.len() == HISTORY_ROWS);
    let row = |head: crate::configuration::RevisionView| Row {
        revision: head.revision,
        author: head.author,
        at: Moment::of_ms(head.at_ms),
        comment: head.comment,
    };
    page(&History {
        administers,
        operates,
        csrf,
        revision: current.revision,
        source: match current.source.as_str() {
            "store" => "history.store",
            "last-good" => "history.last_good",
            _ => "history.file",
        },
        rows: heads.into_iter().map(row).collect(),
        next,
        waiting: current.waiting.map(|waiting| (waiting.revision, Moment::of_ms(waiting.until_ms))),
        restart: current.restart,
        outcome: outcome(parts.uri.query(), "history.confirmed", "history.failed"),
        done: number("done"),
        looked_at,
        fault,
        f,
    })
}

/// Which one.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    revision: u64,
}

/// Back to which one, and from which.
#[derive(Debug, Deserialize)]
pub(crate) struct Back {
    revision: u64,
    /// The newest when the page was made.
    head: u64,
}

/// `POST /configuration/history/rollback`.
pub(crate) async fn roll_back(
    State(pages): State<Pages>,
    who: Administrator,
    parts: Parts,
    Form(wanted): Form<Back>,
) -> Response {
    let by = By { author: who.author, comment: String::new() };
    match pages.office.desk.rollback(wanted.revision, Some(wanted.head), by).await {
        Ok(done) => {
            pages.forget_look().await;
            Redirect::to(&format!("{}?done={}", HISTORY.path, done.revision)).into_response()
        }
        Err(fault) => plan::refuse(&pages, &parts, who.viewer, fault, HISTORY.path).await,
    }
}

/// `POST /configuration/history/confirm`.
pub(crate) async fn confirm(State(pages): State<Pages>, _operator: Operator, Form(which): Form<Which>) -> Response {
    let outcome = match pages.office.desk.confirm(which.revision).await {
        Ok(_) => "done",
        Err(fault) => {
            tracing::info!(why = %fault, "the configuration was not changed");
            "failed"
        }
    };
    let answer = Redirect::to(&format!("{}?outcome={outcome}", HISTORY.path)).into_response();
    Audited { subject: format!("revision {}", which.revision), done: outcome == "done" }.on(answer)
}

#[derive(Template)]
#[template(path = "document.html")]
struct Document {
    f: Frame,
    administers: bool,
    csrf: String,
    revision: u64,
    text: String,
    /// What is wrong with it, where it was sent.
    problems: Vec<ProblemView>,
}

/// `GET /configuration/document`: the shared settings as TOML.
pub(crate) async fn document(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let look = pages.look().await;
    let (administers, csrf) = (viewer.administers, viewer.csrf.clone());
    let f = Frame::new(Wish::of(&parts), DOCUMENT, viewer, &look.nodes);
    let current = pages.office.desk.current();
    let text = current.document;
    page(&Document { administers, csrf, revision: current.revision, text, problems: Vec::new(), f })
}

/// A text.
#[derive(Debug, Deserialize)]
pub(crate) struct Text {
    /// The one the text was made from.
    revision: u64,
    document: String,
}

/// `POST /configuration/document`: what another text would do.
pub(crate) async fn propose(
    State(pages): State<Pages>,
    who: Administrator,
    parts: Parts,
    Form(text): Form<Text>,
) -> Response {
    let Text { revision, document } = text;
    match plan::preview_document(&pages, &parts, &who, DOCUMENT, revision, document.clone()).await {
        Ok(answer) => answer,
        Err(problems) => {
            let f = Frame::new(Wish::of(&parts), DOCUMENT, who.viewer, &pages.look().await.nodes);
            let text = without_passwords(&document);
            let again = Document { administers: true, csrf: who.csrf, revision, text, problems, f };
            page_with(StatusCode::UNPROCESSABLE_ENTITY, &again)
        }
    }
}

/// What was typed, but for passwords that are not sealed: a page may be kept by whoever shows it. It is read line by line,
/// because what is sent back is what could not be read as a whole.
fn without_passwords(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let value = line.find("password").and_then(|at| {
            let (key, value) = line.get(at + "password".len()..)?.split_once('=')?;
            let is_it = key.chars().all(|char| char.is_whitespace() || char == '"' || char == '\'');
            is_it.then_some(value)
        });
        match value {
            Some(value) if !value.trim_start().trim_start_matches(['"', '\'']).starts_with("sealed") => {
                kept.push_str(line.strip_suffix(value).unwrap_or_default());
                kept.push_str(" \"\"\n");
                // A text of several lines: nobody can say where it ends.
                if value.contains("\"\"\"") || value.contains("'''") {
                    return kept;
                }
            }
            Some(_) | None => kept.push_str(line),
        }
    }
    kept
}

/// `GET /configuration/document/export`: the same as a file.
pub(crate) async fn export(State(pages): State<Pages>, _viewer: Viewer) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/toml; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"edgeway-configuration.toml\""),
    ];
    (StatusCode::OK, headers, pages.office.desk.export(false)).into_response()
}
