//! Signing in and out.

use askama::Template;
use axum::extract::{Form, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::layout::{Frame, Wish, is_local, query};
use super::time::length;
use super::{Pages, page, page_with};
use crate::accounts::{COOKIE, SignedIn};
use crate::api::{Actor, Peer, Problem};

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

/// What the form sends; without a code, or with the one of the first start.
#[derive(Deserialize)]
pub(crate) struct Sent {
    #[serde(default)]
    code: Zeroizing<String>,
    name: String,
    password: Zeroizing<String>,
    #[serde(default)]
    next: String,
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

/// `POST /sign-in`.
pub(crate) async fn sign_in(State(pages): State<Pages>, peer: Peer, parts: Parts, Form(sent): Form<Sent>) -> Response {
    let outcome = pages.office.accounts.sign_in(peer, &sent.name, sent.password.clone()).await;
    answered(&parts, false, sent, outcome)
}

/// `POST /first-sign-in`: makes the first administrator.
pub(crate) async fn sign_in_first(
    State(pages): State<Pages>,
    peer: Peer,
    parts: Parts,
    Form(sent): Form<Sent>,
) -> Response {
    let outcome = pages.office.accounts.first_sign_in(peer, &sent.code, &sent.name, sent.password.clone()).await;
    answered(&parts, true, sent, outcome)
}

fn answered(parts: &Parts, first: bool, sent: Sent, outcome: Result<SignedIn, Problem>) -> Response {
    let next = if is_local(&sent.next) { sent.next } else { "/".to_owned() };
    match outcome {
        Ok(signed) => {
            let mut answer = Redirect::to(&next).into_response();
            if let Ok(cookie) = HeaderValue::from_str(&signed.cookie) {
                answer.headers_mut().append(header::SET_COOKIE, cookie);
            }
            // For the audit log.
            answer.extensions_mut().insert(signed.actor);
            answer
        }
        Err(problem) => refused(parts, first, sent.name, next, &problem),
    }
}

fn refused(parts: &Parts, first: bool, name: String, next: String, problem: &Problem) -> Response {
    let fault = match problem.name() {
        "wrong_credentials" if first => "sign_in.first_refused",
        "wrong_credentials" => "sign_in.refused",
        "too_many" => "sign_in.throttled",
        "invalid" => "sign_in.unusable",
        _ => "sign_in.unavailable",
    };
    let form = form(parts, first);
    let wait = problem.wait().map(|wait| length(form.f.words(), wait.as_secs().max(1)));
    let mut answer = page_with(status(problem), &SignIn { name, next, fault: Some(fault), wait, ..form });
    if let Some(wait) = problem.wait() {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    answer
}

fn status(problem: &Problem) -> StatusCode {
    match problem.name() {
        "wrong_credentials" => StatusCode::UNAUTHORIZED,
        "too_many" => StatusCode::TOO_MANY_REQUESTS,
        "invalid" => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// `POST /sign-out`.
pub(crate) async fn sign_out(State(pages): State<Pages>, actor: Actor) -> Response {
    // Whoever has no session is signed out already.
    let _ = pages.office.accounts.sign_out(&actor).await;
    let mut answer = Redirect::to("/sign-in").into_response();
    let gone = format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
    if let Ok(gone) = HeaderValue::from_str(&gone) {
        answer.headers_mut().append(header::SET_COOKIE, gone);
    }
    answer
}
