//! Signing in and out.

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;

use super::layout::{Frame, Wish, is_local, query};
use super::{Pages, page};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    f: Frame,
    first: bool,
    action: &'static str,
    next: String,
    name: String,
    /// What went wrong, in the catalogues.
    fault: Option<&'static str>,
    /// How long to wait.
    wait: Option<String>,
}

fn form(parts: &Parts, first: bool) -> SignIn {
    let next = query(parts.uri.query(), "next").filter(|next| is_local(next)).unwrap_or_else(|| "/".to_owned());
    let (title, action) = match first {
        true => ("sign_in.first_title", "/first-sign-in"),
        false => ("sign_in.title", "/sign-in"),
    };
    let f = Frame::outside(Wish::of(parts), title);
    SignIn { f, first, action, next, name: String::new(), fault: None, wait: None }
}

/// `GET /sign-in`.
pub(crate) async fn show(State(_pages): State<Pages>, parts: Parts) -> Response {
    page(&form(&parts, false))
}

/// `GET /first-sign-in`.
pub(crate) async fn show_first(State(_pages): State<Pages>, parts: Parts) -> Response {
    page(&form(&parts, true))
}
