//! *Configuration > Servers*: the UC servers, what is known of them, discovering and refreshing them.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::advanced::said;
use super::door::{Administrator, Operator};
use super::layout::{Frame, SERVERS, Wish};
use super::state::Badge;
use super::time::Moment;
use super::words::Said;
use super::{Pages, Viewer, page, page_with, plan};
use crate::configuration::{ChangeOrder, ProblemView};

/// The lists of the configuration, and the products in them.
const PRODUCTS: [(&str, &str); 3] =
    [("unified_cm", "Unified CM"), ("im_and_presence", "IM and Presence"), ("unity", "Unity Connection")];

#[derive(Template)]
#[template(path = "servers.html")]
struct Servers {
    f: Frame,
    updated: Moment,
    operates: bool,
    administers: bool,
    csrf: String,
    /// What the forms are made from.
    revision: u64,
    rows: Vec<Row>,
    fault: Option<Said>,
    /// A refresh that is under way.
    reading: Option<Reading>,
    new: New,
    problems: Vec<ProblemView>,
}

/// How far a refresh is.
struct Reading {
    since: Moment,
    read: u64,
    of: u64,
}

/// The form of a server that is to be, as it was filled in, but for the password.
#[derive(Default)]
struct New {
    product: String,
    address: String,
    user: String,
    deployment: String,
    ca: String,
    wrong: BTreeMap<&'static str, Said>,
}

impl New {
    fn wrong(&self, field: &str) -> Option<&Said> {
        self.wrong.get(field)
    }
}

struct Row {
    product: Said,
    /// As the node names it.
    product_key: String,
    publisher: String,
    deployment: String,
    state: Badge,
    reason: Option<Said>,
    action: Option<Said>,
    version: String,
    nodes: Vec<String>,
    mixed: Option<bool>,
    seen: Option<Moment>,
    drift: Vec<Drift>,
}

struct Drift {
    text: Said,
    meaning: Said,
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn row(f: &Frame, server: &Value) -> Row {
    let said = |name: &str| server.get(name).and_then(Value::as_str).map(|text| f.said(text));
    let cluster = server.get("cluster").filter(|cluster| !cluster.is_null());
    let nodes = cluster.and_then(|cluster| cluster.get("nodes")).and_then(Value::as_array);
    let drift = server.get("drift").and_then(Value::as_array).into_iter().flatten();
    let product = text(server.get("product"));
    Row {
        product: f.said(PRODUCTS.iter().find(|(key, _)| *key == product).map_or(product.as_str(), |(_, name)| name)),
        product_key: product,
        publisher: text(server.get("publisher")),
        deployment: text(server.get("deployment")),
        state: f.badge(&text(server.get("state"))),
        reason: said("reason"),
        action: said("action"),
        version: text(cluster.and_then(|cluster| cluster.get("version"))),
        nodes: nodes.into_iter().flatten().map(|node| text(node.get("name"))).collect(),
        mixed: cluster.and_then(|cluster| cluster.get("mixed_mode")).and_then(Value::as_bool),
        seen: server.get("last_seen_ms").and_then(Value::as_u64).map(Moment::of_ms),
        drift: drift
            .map(|one| Drift { text: f.said(&text(one.get("text"))), meaning: f.said(&text(one.get("meaning"))) })
            .collect(),
    }
}

/// `GET /configuration/servers`.
pub(crate) async fn show(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    page(&made(&pages, viewer, &parts, New::default(), Vec::new()).await)
}

async fn made(pages: &Pages, viewer: Viewer, parts: &Parts, new: New, problems: Vec<ProblemView>) -> Servers {
    let look = pages.look().await;
    let (operates, administers, csrf) = (viewer.operates, viewer.administers, viewer.csrf.clone());
    let f = Frame::new(Wish::of(parts), SERVERS, viewer, &look.nodes);
    // Before the servers are asked for: what is shown is at least as new.
    let revision = pages.office.desk.current().revision;
    let (rows, reading, fault) = match pages.office.ask(None, "servers", Value::Null).await {
        Ok(answer) => {
            let servers = answer.get("servers").and_then(Value::as_array);
            let rows = servers.into_iter().flatten().map(|server| row(&f, server)).collect();
            (rows, answer.get("refreshing").and_then(reading), None)
        }
        Err(refusal) => (Vec::new(), None, Some(f.said(&refusal.why))),
    };
    let updated = Moment::of_ms(pages.office.now_ms());
    Servers { updated, operates, administers, csrf, revision, rows, fault, reading, new, problems, f }
}

fn reading(refreshing: &Value) -> Option<Reading> {
    let number = |name: &str| refreshing.get(name).and_then(Value::as_u64);
    Some(Reading { since: Moment::of_ms(number("since_ms")?), read: number("read")?, of: number("servers")? })
}

#[derive(Template)]
#[template(path = "refresh.html")]
struct Refresh {
    f: Frame,
    csrf: String,
    /// Nothing was changed: this is what would be.
    is_preview: bool,
    discovers: bool,
    name: String,
    changes: Vec<Change>,
    servers: Vec<Read>,
    took_ms: u64,
    fault: Option<Said>,
}

struct Change {
    publisher: String,
    text: Said,
    meaning: Said,
}

/// What came of reading one of them.
struct Read {
    publisher: String,
    state: Badge,
    error: Option<Said>,
    action: Option<Said>,
}

/// Which, and whether to do it or to show it.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    /// The publisher; nothing: all.
    #[serde(default)]
    name: String,
    #[serde(default)]
    discover: Option<String>,
    #[serde(default)]
    preview: Option<String>,
}

/// `POST /configuration/servers/refresh`: reads the servers anew, shows what has changed, and takes it where that is
/// asked for.
pub(crate) async fn refresh(
    State(pages): State<Pages>,
    operator: Operator,
    parts: Parts,
    Form(wanted): Form<Wanted>,
) -> Response {
    let look = pages.look().await;
    let csrf = operator.viewer.csrf.clone();
    let f = Frame::new(Wish::of(&parts), SERVERS, operator.viewer, &look.nodes);
    let (is_preview, discovers) = (wanted.preview.is_some(), wanted.discover.is_some());
    let name = wanted.name.trim();
    let mut question = json!({ "dry_run": is_preview });
    if !name.is_empty() {
        question["name"] = name.into();
    }
    let path = if discovers { "servers/discover" } else { "servers/refresh" };
    let (status, answer, fault) = match pages.office.order(None, path, question).await {
        Ok(answer) => (StatusCode::OK, answer, None),
        Err(refusal) => (StatusCode::UNPROCESSABLE_ENTITY, Value::Null, Some(f.said(&refusal.why))),
    };
    let list = |name: &str| answer.get(name).and_then(Value::as_array).into_iter().flatten();
    let change = |one: &Value| {
        let (publisher, what) = (text(one.get("publisher")), text(one.get("text")));
        // Whose change it is has a column of its own.
        let own = what.split_once(&format!("{publisher}: ")).map_or(what.as_str(), |(_, own)| own);
        Change { text: f.said(own), meaning: f.said(&text(one.get("meaning"))), publisher }
    };
    let read = |one: &Value| {
        let ok = one.get("ok").and_then(Value::as_bool).unwrap_or(false);
        let said = |name: &str| one.get(name).and_then(Value::as_str).map(|text| f.said(text));
        Read {
            publisher: text(one.get("publisher")),
            state: f.badge(if ok { "Active" } else { "Failed" }),
            error: said("error"),
            action: said("action"),
        }
    };
    let shown = Refresh {
        csrf,
        is_preview,
        discovers,
        name: name.to_owned(),
        changes: list("changes").map(change).collect(),
        servers: list("servers").map(read).collect(),
        took_ms: answer.get("took_ms").and_then(Value::as_u64).unwrap_or(0),
        fault,
        f,
    };
    page_with(status, &shown)
}

/// A server that is to be asked from now on.
#[derive(Debug, Deserialize)]
pub(crate) struct Added {
    revision: u64,
    product: String,
    address: String,
    user: String,
    password: String,
    #[serde(default)]
    deployment: String,
    /// A file of certificates that may sign the server's.
    #[serde(default)]
    ca: String,
}

/// `POST /configuration/servers`. It is done at once and not shown first: a form must not carry a password back and forth.
pub(crate) async fn add(
    State(pages): State<Pages>,
    who: Administrator,
    parts: Parts,
    Form(added): Form<Added>,
) -> Response {
    let Some((list, _)) = PRODUCTS.iter().find(|(list, _)| *list == added.product) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let address = added.address.trim().to_ascii_lowercase();
    let mut value = json!({ "user": added.user.trim(), "password": added.password });
    for (key, text) in [("deployment", &added.deployment), ("ca", &added.ca)] {
        if !text.trim().is_empty() {
            value[key] = text.trim().into();
        }
    }
    let change = ChangeOrder { path: format!("{list}[{}]", json!(address)), value };
    match plan::apply_now(&pages, &parts, &who, added.revision, vec![change], SERVERS.path).await {
        Ok(answer) => answer,
        Err(problems) => {
            let Added { product, address, user, deployment, ca, .. } = added;
            let mut new = New { product, address, user, deployment, ca, wrong: BTreeMap::new() };
            let (mut others, f) = (Vec::new(), Frame::outside(Wish::of(&parts), SERVERS.key));
            for problem in problems {
                match field_of(&problem.path, list) {
                    Some(field) => _ = new.wrong.entry(field).or_insert_with(|| said(&f, &problem)),
                    None => others.push(problem),
                }
            }
            page_with(StatusCode::UNPROCESSABLE_ENTITY, &made(&pages, who.viewer, &parts, new, others).await)
        }
    }
}

/// The field of the form that a setting of an entry was written in.
fn field_of(path: &str, list: &str) -> Option<&'static str> {
    if !path.starts_with(list) {
        return None;
    }
    let key = path.rsplit_once("].").map_or("address", |(_, key)| key);
    ["address", "user", "password", "deployment", "ca"].into_iter().find(|field| *field == key)
}

/// Which one.
#[derive(Debug, Deserialize)]
pub(crate) struct Removed {
    revision: u64,
    product: String,
    publisher: String,
}

/// `POST /configuration/servers/remove`.
pub(crate) async fn remove(
    State(pages): State<Pages>,
    who: Administrator,
    parts: Parts,
    Form(removed): Form<Removed>,
) -> Response {
    let Some((list, _)) = PRODUCTS.iter().find(|(list, name)| [*list, *name].contains(&removed.product.as_str()))
    else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let change = ChangeOrder { path: format!("{list}[{}]", json!(removed.publisher)), value: Value::Null };
    match plan::preview_changes(&pages, &parts, &who, SERVERS, removed.revision, vec![change]).await {
        Ok(answer) => answer,
        Err(problems) => {
            let again = made(&pages, who.viewer, &parts, New::default(), problems).await;
            page_with(StatusCode::UNPROCESSABLE_ENTITY, &again)
        }
    }
}
