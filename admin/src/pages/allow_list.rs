//! *Configuration > HTTP server allow list*: which HTTP servers inside clients may reach.

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::Value;

use super::layout::{ALLOW_LIST, Frame, Wish};
use super::lists::read;
use super::words::Said;
use super::{Pages, Viewer, page};

/// Names the file of rules.
const SETTING: &str = "http.allow_list";

#[derive(Template)]
#[template(path = "allow_list.html")]
struct AllowList {
    f: Frame,
    automatic: Vec<Rule>,
    own: Vec<Rule>,
    file: Option<String>,
    fault: Option<Said>,
}

/// As a core says it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rule {
    url: String,
    deployment: String,
    methods: Vec<String>,
    match_type: String,
    description: String,
    automatic: bool,
}

impl Rule {
    fn methods(&self) -> String {
        self.methods.join(" ")
    }
}

/// `GET /configuration/allow-list`.
pub(crate) async fn show(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let look = pages.look().await;
    let f = Frame::new(Wish::of(&parts), ALLOW_LIST, viewer, &look.nodes);
    let (rules, fault) = match pages.office.ask(None, "allow-list", Value::Null).await {
        Ok(answer) => (read::<Rule>(answer, "rules"), None),
        Err(refusal) => (Vec::new(), Some(f.said(&refusal.why))),
    };
    let (automatic, own) = rules.into_iter().partition(|rule| rule.automatic);
    let document: toml::Table = pages.office.desk.current().document.parse().unwrap_or_default();
    let file = document.get("http").and_then(|http| http.get("allow_list")).and_then(toml::Value::as_str);
    page(&AllowList { automatic, own, file: file.map(str::to_owned), fault, f })
}

/// `GET /configuration/allow-list/export`: the rules in the vendor's columns.
pub(crate) async fn export(State(pages): State<Pages>, _viewer: Viewer) -> Response {
    let rules = match pages.office.ask(None, "allow-list", Value::Null).await {
        Ok(answer) => read::<Rule>(answer, "rules"),
        Err(refusal) => return (StatusCode::SERVICE_UNAVAILABLE, refusal.why).into_response(),
    };
    let mut text = String::from("Url,Deployment,HttpMethods,MatchType,Description\r\n");
    for rule in rules.iter().filter(|rule| !rule.automatic) {
        let fields = [&rule.url, &rule.deployment, &rule.methods(), &rule.match_type, &rule.description];
        let quoted: Vec<_> = fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
        text.push_str(&quoted.join(","));
        text.push_str("\r\n");
    }
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"edgeway-allow-list.csv\""),
    ];
    (StatusCode::OK, headers, text).into_response()
}
