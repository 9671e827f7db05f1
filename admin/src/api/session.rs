//! Signing in and out.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::{HeaderValue, SET_COOKIE};
use http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::taken::Json;
use super::{Actor, Peer, Problem, Via};
use crate::accounts::{COOKIE, Role, SignedIn};
use crate::office::Office;

/// A name and a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The account.
    #[schema(example = "alice", max_length = 64)]
    name: String,
    /// Its password.
    #[schema(value_type = String, write_only, example = "correct horse battery", max_length = 256)]
    password: Zeroizing<String>,
}

/// The code of the first start, and the account that is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FirstCredentials {
    /// As it was printed at the first start, or by `edgeway accounts reset-code`.
    #[schema(write_only, example = "ABCDE-FGHIJ-KLMNO-PQRST-UVWXY-Z", max_length = 64)]
    code: String,
    /// The administrator's name: a-z, 0-9, `.`, `_`, `-`, `@`.
    #[schema(example = "alice", pattern = "^[a-z0-9._@-]+$", max_length = 64)]
    name: String,
    /// At least 12 characters.
    #[schema(value_type = String, write_only, example = "correct horse battery", min_length = 12, max_length = 256)]
    password: Zeroizing<String>,
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    /// The one so far.
    #[schema(value_type = String, write_only, max_length = 256)]
    old: Zeroizing<String>,
    /// At least 12 characters.
    #[schema(value_type = String, write_only, min_length = 12, max_length = 256)]
    new: Zeroizing<String>,
}

/// Who is signed in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SessionView {
    /// The account, or the name of the token.
    #[schema(example = "alice")]
    name: String,
    /// What they may do.
    role: Role,
    /// `cookie`, `token` or `socket`.
    #[schema(example = "cookie")]
    via: String,
    /// What a browser must send as `X-CSRF-Token` with whatever changes something; empty for all others.
    csrf: String,
    /// When the session ends at the latest, Unix milliseconds; told at sign-in only.
    expires_ms: Option<u64>,
}

impl SessionView {
    fn of(actor: &Actor, expires_ms: Option<u64>) -> Self {
        let via = match actor.via {
            Via::Cookie { .. } => "cookie",
            Via::Token { .. } => "token",
            Via::Socket => "socket",
        };
        let (name, csrf) = (actor.name.clone(), actor.csrf().to_owned());
        Self { name, role: actor.role, via: via.to_owned(), csrf, expires_ms }
    }
}

pub(super) async fn show(actor: Actor) -> Answer<SessionView> {
    Answer(SessionView::of(&actor, None))
}

pub(super) async fn sign_in(
    State(office): State<Arc<Office>>,
    peer: Peer,
    Json(sent): Json<Credentials>,
) -> Result<Response, Problem> {
    Ok(signed_in(office.accounts.sign_in(peer, &sent.name, sent.password).await?))
}

pub(super) async fn first(
    State(office): State<Arc<Office>>,
    peer: Peer,
    Json(sent): Json<FirstCredentials>,
) -> Result<Response, Problem> {
    Ok(signed_in(office.accounts.first_sign_in(peer, &sent.code, &sent.name, sent.password).await?))
}

pub(super) async fn change_password(
    State(office): State<Arc<Office>>,
    peer: Peer,
    actor: Actor,
    Json(sent): Json<PasswordChange>,
) -> Result<Response, Problem> {
    Ok(signed_in(office.accounts.change_password(peer, &actor, sent.old, sent.new).await?))
}

pub(super) async fn sign_out(State(office): State<Arc<Office>>, actor: Actor) -> Result<Response, Problem> {
    office.accounts.sign_out(&actor).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    let gone = format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
    if let Ok(gone) = HeaderValue::from_str(&gone) {
        response.headers_mut().insert(SET_COOKIE, gone);
    }
    // What the browser still holds of our pages is somebody's.
    let clear = HeaderName::from_static("clear-site-data");
    response.headers_mut().insert(clear, HeaderValue::from_static("\"cache\", \"storage\""));
    Ok(response)
}

fn signed_in(signed: SignedIn) -> Response {
    let mut response = Answer(SessionView::of(&signed.actor, Some(signed.expires_ms))).into_response();
    if let Ok(cookie) = HeaderValue::from_str(&signed.cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    // For the audit log.
    response.extensions_mut().insert(signed.actor);
    response
}
