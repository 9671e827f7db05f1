//! *Users*: who may administer this core, the tokens of programs, what was done by whom; and the users of the service,
//! whose sign-ins can be ended.

use askama::Template;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::door::Administrator;
use super::layout::{ACCOUNTS, AUDIT, Entry, Frame, PEOPLE, TOKENS, Wish, query};
use super::limits::HISTORY_ROWS;
use super::outcome::outcome;
use super::time::Moment;
use super::words::Said;
use super::{Pages, Viewer, page, page_with};
use crate::accounts::{AccountChange, Role};
use crate::api::{Audited, Problem};
use crate::store::AuditLine;

/// A role and its words.
const fn role_key(role: Role) -> &'static str {
    match role {
        Role::ReadOnly => "accounts.read_only",
        Role::Operator => "accounts.operator",
        Role::Administrator => "accounts.administrator",
    }
}

const ROLES: [(&str, &str); 3] = [
    ("read-only", "accounts.read_only"),
    ("operator", "accounts.operator"),
    ("administrator", "accounts.administrator"),
];

fn role(text: &str) -> Option<Role> {
    Role::ALL.into_iter().find(|role| role.as_str() == text)
}

#[derive(Template)]
#[template(path = "accounts.html")]
struct Accounts {
    f: Frame,
    csrf: String,
    rows: Vec<AccountRow>,
    outcome: Option<&'static str>,
    fault: Option<Said>,
}

struct AccountRow {
    name: String,
    role: &'static str,
    chosen: &'static str,
    is_own: bool,
    disabled: bool,
    created: Moment,
    last: Option<Moment>,
}

impl AccountRow {
    fn has(&self, role: &str) -> bool {
        self.chosen == role
    }
}

fn fault(f: &Frame, problem: &Problem) -> Said {
    f.said(problem.detail())
}

async fn accounts_page(pages: &Pages, parts: &Parts, who: Administrator, problem: Option<Problem>) -> Response {
    let look = pages.look().await;
    let own = who.viewer.name.clone();
    let f = Frame::new(Wish::of(parts), ACCOUNTS, who.viewer, &look.nodes);
    let (accounts, failed) = match pages.office.accounts.accounts().await {
        Ok(accounts) => (accounts, None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    let row = |account: crate::accounts::rows::Account| AccountRow {
        is_own: account.name == own,
        name: account.name,
        role: role_key(account.role),
        chosen: account.role.as_str(),
        disabled: account.disabled,
        created: Moment::of_ms(account.created_ms),
        last: account.last_sign_in_ms.map(Moment::of_ms),
    };
    let problem = problem.or(failed);
    let status = if problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let shown = Accounts {
        csrf: who.csrf,
        rows: accounts.into_iter().map(row).collect(),
        outcome: outcome(parts.uri.query(), "accounts.done", "accounts.failed"),
        fault: problem.as_ref().map(|problem| fault(&f, problem)),
        f,
    };
    page_with(status, &shown)
}

/// `GET /users/administrators`.
pub(crate) async fn show(State(pages): State<Pages>, who: Administrator, parts: Parts) -> Response {
    accounts_page(&pages, &parts, who, None).await
}

/// An account that is to be.
#[derive(Deserialize)]
pub(crate) struct NewAccount {
    name: String,
    role: String,
    password: Zeroizing<String>,
}

/// `POST /users/administrators`.
pub(crate) async fn add(
    State(pages): State<Pages>,
    who: Administrator,
    parts: Parts,
    Form(new): Form<NewAccount>,
) -> Response {
    let Some(role) = role(&new.role) else { return StatusCode::BAD_REQUEST.into_response() };
    let added = pages.office.accounts.add(new.name.trim(), role, new.password).await.map(drop);
    let subject = format!("account {}: {}", new.name.trim(), role.as_str());
    answer(&pages, &parts, who, ACCOUNTS, subject, added).await
}

/// What is to become of an account.
#[derive(Deserialize)]
pub(crate) struct Changed {
    name: String,
    /// `remove`, `close`, `open`, or a role.
    what: String,
}

/// `POST /users/administrators/change`.
pub(crate) async fn change(
    State(pages): State<Pages>,
    who: Administrator,
    parts: Parts,
    Form(wanted): Form<Changed>,
) -> Response {
    let desk = &pages.office.accounts;
    let with = |change: AccountChange| desk.change(&wanted.name, change, None);
    let changed = match wanted.what.as_str() {
        "remove" => desk.remove(&wanted.name, None).await,
        "close" => with(AccountChange { disabled: Some(true), ..AccountChange::default() }).await.map(drop),
        "open" => with(AccountChange { disabled: Some(false), ..AccountChange::default() }).await.map(drop),
        text => match role(text) {
            Some(role) => with(AccountChange { role: Some(role), ..AccountChange::default() }).await.map(drop),
            None => return StatusCode::BAD_REQUEST.into_response(),
        },
    };
    let subject = format!("account {}: {}", wanted.name, wanted.what);
    answer(&pages, &parts, who, ACCOUNTS, subject, changed).await
}

/// Back to the list; or the list with what is wrong.
async fn answer(
    pages: &Pages,
    parts: &Parts,
    who: Administrator,
    entry: Entry,
    subject: String,
    outcome: Result<(), Problem>,
) -> Response {
    let audited = Audited { subject, done: outcome.is_ok() };
    audited.on(match outcome {
        Ok(()) => Redirect::to(&format!("{}?outcome=done", entry.path)).into_response(),
        Err(problem) if entry == TOKENS => tokens_page(pages, parts, who, Some(problem), None).await,
        Err(problem) => accounts_page(pages, parts, who, Some(problem)).await,
    })
}

#[derive(Template)]
#[template(path = "tokens.html")]
struct Tokens {
    f: Frame,
    csrf: String,
    rows: Vec<TokenRow>,
    outcome: Option<&'static str>,
    fault: Option<Said>,
    /// The text of a new one, shown this once.
    made: Option<String>,
}

struct TokenRow {
    id: String,
    name: String,
    role: &'static str,
    created: Moment,
    used: Option<Moment>,
    expires: Option<Moment>,
}

async fn tokens_page(
    pages: &Pages,
    parts: &Parts,
    who: Administrator,
    problem: Option<Problem>,
    made: Option<String>,
) -> Response {
    let look = pages.look().await;
    let f = Frame::new(Wish::of(parts), TOKENS, who.viewer, &look.nodes);
    let (tokens, failed) = match pages.office.accounts.tokens().await {
        Ok(tokens) => (tokens, None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    let row = |token: crate::accounts::rows::Token| TokenRow {
        id: token.id,
        name: token.name,
        role: role_key(token.role),
        created: Moment::of_ms(token.created_ms),
        used: token.last_used_ms.map(Moment::of_ms),
        expires: token.expires_ms.map(Moment::of_ms),
    };
    let problem = problem.or(failed);
    let status = if problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let shown = Tokens {
        csrf: who.csrf,
        rows: tokens.into_iter().map(row).collect(),
        outcome: outcome(parts.uri.query(), "accounts.done", "accounts.failed"),
        fault: problem.as_ref().map(|problem| fault(&f, problem)),
        made,
        f,
    };
    page_with(status, &shown)
}

/// `GET /users/tokens`.
pub(crate) async fn tokens(State(pages): State<Pages>, who: Administrator, parts: Parts) -> Response {
    tokens_page(&pages, &parts, who, None, None).await
}

/// A token that is to be.
#[derive(Deserialize)]
pub(crate) struct NewToken {
    name: String,
    role: String,
    #[serde(default)]
    days: String,
}

/// `POST /users/tokens`. Its text is on the page that answers, and nowhere else.
pub(crate) async fn add_token(
    State(pages): State<Pages>,
    who: Administrator,
    parts: Parts,
    Form(new): Form<NewToken>,
) -> Response {
    let Some(role) = role(&new.role) else { return StatusCode::BAD_REQUEST.into_response() };
    let days = match new.days.trim() {
        "" => Ok(None),
        text => text.parse().map(Some),
    };
    let Ok(days) = days else { return StatusCode::BAD_REQUEST.into_response() };
    let name = new.name.trim();
    match pages.office.accounts.add_token(name, role, days).await {
        Ok((token, text)) => {
            let subject = format!("token {} {name}: {}", token.id, role.as_str());
            Audited { subject, done: true }.on(tokens_page(&pages, &parts, who, None, Some(text)).await)
        }
        Err(problem) => {
            let subject = format!("token {name}: {}", role.as_str());
            Audited { subject, done: false }.on(tokens_page(&pages, &parts, who, Some(problem), None).await)
        }
    }
}

/// Which one.
#[derive(Deserialize)]
pub(crate) struct WhichToken {
    id: String,
}

/// `POST /users/tokens/revoke`.
pub(crate) async fn revoke_token(
    State(pages): State<Pages>,
    who: Administrator,
    parts: Parts,
    Form(which): Form<WhichToken>,
) -> Response {
    let revoked = pages.office.accounts.revoke_token(&which.id).await;
    answer(&pages, &parts, who, TOKENS, format!("token {}", which.id), revoked).await
}

#[derive(Template)]
#[template(path = "people.html")]
struct People {
    f: Frame,
    administers: bool,
    csrf: String,
    outcome: Option<&'static str>,
}

/// `GET /users/people`.
pub(crate) async fn people(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let look = pages.look().await;
    let (administers, csrf) = (viewer.administers, viewer.csrf.clone());
    let f = Frame::new(Wish::of(&parts), PEOPLE, viewer, &look.nodes);
    let outcome = outcome(parts.uri.query(), "accounts.done", "accounts.failed");
    page(&People { administers, csrf, outcome, f })
}

/// Whose sign-ins.
#[derive(Debug, Deserialize)]
pub(crate) struct Person {
    user: String,
    #[serde(default)]
    deployment: String,
}

impl Person {
    fn question(&self) -> serde_json::Value {
        let deployment = self.deployment.trim();
        json!({ "user": self.user.trim(), "deployment": if deployment.is_empty() { "default" } else { deployment } })
    }
}

/// `POST /users/people/purge`: what is remembered of a user's credentials is forgotten.
pub(crate) async fn purge(
    State(pages): State<Pages>,
    _administrator: Administrator,
    Form(person): Form<Person>,
) -> Response {
    told(&pages, "users/purge", &person).await
}

/// `POST /users/people/revoke`: a user is signed out everywhere.
pub(crate) async fn revoke(
    State(pages): State<Pages>,
    _administrator: Administrator,
    Form(person): Form<Person>,
) -> Response {
    told(&pages, "users/revoke", &person).await
}

async fn told(pages: &Pages, path: &str, person: &Person) -> Response {
    let outcome = match pages.office.order(None, path, person.question()).await {
        Ok(_) => "done",
        Err(refusal) => {
            tracing::info!(path, why = %refusal.why, "an operator's order was not carried out");
            "failed"
        }
    };
    let answer = Redirect::to(&format!("{}?outcome={outcome}", PEOPLE.path)).into_response();
    // Whose, is kept out of the log, as the API keeps it out.
    Audited { subject: String::new(), done: outcome == "done" }.on(answer)
}

#[derive(Template)]
#[template(path = "audit.html")]
struct Audit {
    f: Frame,
    rows: Vec<(Moment, AuditLine)>,
    next: Option<u64>,
    fault: Option<Said>,
}

/// `GET /users/audit`.
pub(crate) async fn audit(State(pages): State<Pages>, who: Administrator, parts: Parts) -> Response {
    let look = pages.look().await;
    let f = Frame::new(Wish::of(&parts), AUDIT, who.viewer, &look.nodes);
    let before = query(parts.uri.query(), "before").and_then(|text| text.parse::<u64>().ok());
    let (lines, fault) = match pages.office.stored(move |store| store.audited(before, HISTORY_ROWS)).await {
        Ok(lines) => (lines, None),
        Err(why) => (Vec::new(), Some(f.said(&why.to_string()))),
    };
    let next = lines.last().map(|line| line.number).filter(|last| *last > 1 && lines.len() == HISTORY_ROWS);
    let rows = lines.into_iter().map(|line| (Moment::of_ms(line.at_ms), line)).collect();
    page(&Audit { rows, next, fault, f })
}
