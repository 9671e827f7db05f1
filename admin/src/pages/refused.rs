//! *Status > Why was I refused*: the last attempts of a user, by name, code or address, over all nodes.

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::layout::{Frame, LADDER, REFUSED, Wish, percent_encoded};
use super::lists::{Search, read};
use super::state::Badge;
use super::time::Moment;
use super::words::Said;
use super::{Pages, Viewer, page};

/// Attempts shown: some screens full.
const ATTEMPTS_SHOWN: usize = 200;

#[derive(Template)]
#[template(path = "refused.html")]
struct Refused {
    f: Frame,
    updated: Moment,
    user: String,
    code: String,
    client: String,
    attempts: Vec<Attempt>,
    silent: Vec<(String, Said)>,
}

/// As nodes say it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answered {
    at_ms: u64,
    user: Option<String>,
    client: Option<String>,
    edge: Option<String>,
    core: Option<String>,
    kind: Option<String>,
    outcome: Option<String>,
    reason: Option<String>,
    words: Option<String>,
    code: Option<String>,
    detail: Option<String>,
    trace: Option<String>,
}

struct Attempt {
    at_ms: u64,
    at: Moment,
    node: String,
    user: String,
    client: String,
    way: String,
    kind: Said,
    outcome: Badge,
    reason: Said,
    code: String,
    detail: String,
    ladder: Option<String>,
}

/// `GET /status/refused`.
pub(crate) async fn show(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let wish = Wish::of(&parts);
    let look = pages.look().await;
    let node = wish.node.clone();
    let f = Frame::new(wish, REFUSED, viewer, &look.nodes);
    let search = Search::of(parts.uri.query(), &["user", "code", "client"]);
    let mut question = json!({ "limit": ATTEMPTS_SHOWN });
    for (name, value) in &search.filters {
        question[*name] = json!(value);
    }
    let all = pages.office.everywhere("attempts", question).await;
    let mut attempts = Vec::new();
    for (from, answer) in all.answers.into_iter().filter(|(from, _)| node.as_ref().is_none_or(|node| node == from)) {
        attempts.extend(read::<Answered>(answer, "attempts").into_iter().map(|attempt| shown(&f, &from, attempt)));
    }
    attempts.sort_by_key(|attempt| std::cmp::Reverse(attempt.at_ms));
    attempts.truncate(ATTEMPTS_SHOWN);
    let silent = all.silent.into_iter().map(|silent| (silent.node, f.said(&silent.why))).collect();
    page(&Refused {
        updated: Moment::of_ms(pages.office.now_ms()),
        user: search.filter("user").to_owned(),
        code: search.filter("code").to_owned(),
        client: search.filter("client").to_owned(),
        attempts,
        silent,
        f,
    })
}

fn shown(f: &Frame, node: &str, attempt: Answered) -> Attempt {
    let outcome = attempt.outcome.unwrap_or_default();
    let way: Vec<_> = [attempt.edge, attempt.core].into_iter().flatten().collect();
    Attempt {
        at_ms: attempt.at_ms,
        at: Moment::of_ms(attempt.at_ms),
        node: node.to_owned(),
        user: attempt.user.unwrap_or_default(),
        client: attempt.client.unwrap_or_default(),
        way: way.join(" → "),
        kind: kind(f, &attempt.kind.unwrap_or_default()),
        outcome: f.badge(&outcome),
        reason: f.said(&attempt.words.or(attempt.reason).unwrap_or_default()),
        code: attempt.code.unwrap_or_default(),
        detail: attempt.detail.unwrap_or_default(),
        ladder: attempt.trace.map(|trace| format!("{}?trace={}", LADDER.path, percent_encoded(&trace))),
    }
}

/// What was tried, in the reader's words.
fn kind(f: &Frame, kind: &str) -> Said {
    let key = match kind {
        "sign_in" => "kinds.sign_in",
        "register" => "kinds.register",
        "call" => "kinds.call",
        "subscribe" => "kinds.subscribe",
        "chat" => "kinds.chat",
        "request" => "kinds.request",
        "connection" => "kinds.connection",
        other => return f.said(other),
    };
    Said { text: f.say(key).to_owned(), is_foreign: false }
}
