//! *Status > Registrations*: which devices are registered, and by which way.

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use super::layout::{Frame, REGISTRATIONS, Wish};
use super::lists::{Part, Search, parts as list_parts};
use super::time::{Moment, length};
use super::words::Said;
use super::{Pages, Viewer, page};

#[derive(Template)]
#[template(path = "registrations.html")]
struct Registrations {
    f: Frame,
    updated: Moment,
    user: String,
    parts: Vec<Part<Row>>,
    silent: Vec<(String, Said)>,
}

/// As nodes say it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    aor: Option<String>,
    device: Option<String>,
    user_agent: Option<String>,
    client: Option<String>,
    transport: Option<String>,
    edge: Option<String>,
    core: Option<String>,
    registrar: Option<String>,
    since_ms: Option<u64>,
    expires_in_s: Option<u64>,
}

impl Row {
    fn since(&self) -> Option<Moment> {
        self.since_ms.map(Moment::of_ms)
    }

    fn expires(&self, f: &Frame) -> Option<String> {
        self.expires_in_s.map(|seconds| length(f.words(), seconds))
    }
}

/// `GET /status/registrations`.
pub(crate) async fn show(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let wish = Wish::of(&parts);
    let look = pages.look().await;
    let f = Frame::new(wish, REGISTRATIONS, viewer, &look.nodes);
    let search = Search::of(parts.uri.query(), &["user"]);
    let listed = list_parts(&pages, &f, "registrations", "registrations", &search, |_: &Value| None).await;
    let silent = look.silent.iter().map(|(node, why)| (node.clone(), f.said(why))).collect();
    let user = search.filter("user").to_owned();
    page(&Registrations { updated: Moment::of_ms(pages.office.now_ms()), user, parts: listed, silent, f })
}
