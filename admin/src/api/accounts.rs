//! Accounts and tokens.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{ETAG, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::taken::{Json, if_match, whole_or_null};
use super::{Actor, Problem, Via};
use crate::accounts::rows::{Account, Token};
use crate::accounts::{AccountChange, Role};
use crate::office::Office;

/// What a name may be.
pub(super) const NAME: &str = "^[a-z0-9._@-]+$";

/// An account; its password is never told.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AccountView {
    /// Its name.
    #[schema(example = "alice")]
    name: String,
    /// What it may do.
    role: Role,
    /// Whether it is closed for now.
    disabled: bool,
    /// Unix milliseconds.
    created_ms: u64,
    /// When its role or its password was changed last, Unix milliseconds.
    changed_ms: u64,
    /// Unix milliseconds; null: never.
    last_sign_in_ms: Option<u64>,
}

/// All accounts.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AccountsView {
    /// By name.
    accounts: Vec<AccountView>,
}

/// A new account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    /// a-z, 0-9, `.`, `_`, `-`, `@`.
    #[schema(example = "bob", pattern = "^[a-z0-9._@-]+$", max_length = 64)]
    name: String,
    /// What it may do.
    role: Role,
    /// At least 12 characters.
    #[schema(value_type = String, write_only, example = "correct horse battery", min_length = 12, max_length = 256)]
    password: Zeroizing<String>,
}

/// What is to change of an account; what is not named stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountPatch {
    /// What it may do.
    #[serde(default)]
    role: Option<Role>,
    /// Whether it is closed.
    #[serde(default)]
    disabled: Option<bool>,
    /// At least 12 characters.
    #[serde(default)]
    #[schema(value_type = Option<String>, write_only, min_length = 12, max_length = 256)]
    password: Option<Zeroizing<String>>,
}

/// A token; its secret is told when it is made and never again.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// By which it is revoked.
    #[schema(example = "abcdefghijklmnop")]
    id: String,
    /// What it is for.
    #[schema(example = "backup")]
    name: String,
    /// What it may do.
    role: Role,
    /// Unix milliseconds.
    created_ms: u64,
    /// To the minute or so, Unix milliseconds; null: never.
    last_used_ms: Option<u64>,
    /// Unix milliseconds; null: it does not end.
    expires_ms: Option<u64>,
}

/// All tokens.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TokensView {
    /// By id.
    tokens: Vec<TokenView>,
}

/// A new token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for; without control characters.
    #[schema(example = "backup", pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$", max_length = 64)]
    name: String,
    /// What it may do.
    role: Role,
    /// For how many days it holds; null: until it is revoked.
    #[serde(default, deserialize_with = "whole_or_null")]
    #[schema(example = 90, minimum = 1, maximum = 3650)]
    days: Option<u64>,
}

/// A token that has just been made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct MadeToken {
    /// What is sent as Bearer. It is told this once.
    #[schema(example = "edgeway_abcdefghijklmnop_…")]
    secret: String,
    /// What is kept of it.
    token: TokenView,
}

/// The code for a first sign-in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct MadeCode {
    /// Good for 24 hours and once.
    #[schema(example = "ABCDE-FGHIJ-KLMNO-PQRST-UVWXY-Z")]
    code: String,
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        let Account { name, role, password: _, created_ms, changed_ms, last_sign_in_ms, disabled, generation: _ } =
            account;
        Self { name, role, disabled, created_ms, changed_ms, last_sign_in_ms }
    }
}

impl From<Token> for TokenView {
    fn from(token: Token) -> Self {
        let Token { id, name, role, hash: _, created_ms, last_used_ms, expires_ms } = token;
        Self { id, name, role, created_ms, last_used_ms, expires_ms }
    }
}

pub(super) async fn list(State(office): State<Arc<Office>>) -> Result<Answer<AccountsView>, Problem> {
    let accounts = office.accounts.accounts().await?;
    Ok(Answer(AccountsView { accounts: accounts.into_iter().map(Into::into).collect() }))
}

pub(super) async fn add(State(office): State<Arc<Office>>, Json(new): Json<NewAccount>) -> Result<Response, Problem> {
    let made = office.accounts.add(&new.name, new.role, new.password).await?;
    let mut response = (StatusCode::CREATED, shown(made)).into_response();
    if let Ok(place) = HeaderValue::from_str(&format!("/api/v1/accounts/{}", new.name)) {
        response.headers_mut().insert(LOCATION, place);
    }
    Ok(response)
}

pub(super) async fn show(State(office): State<Arc<Office>>, Path(name): Path<String>) -> Result<Response, Problem> {
    Ok(shown(office.accounts.account(&name).await?))
}

pub(super) async fn change(
    State(office): State<Arc<Office>>,
    Path(name): Path<String>,
    actor: Actor,
    headers: HeaderMap,
    Json(patch): Json<AccountPatch>,
) -> Result<Response, Problem> {
    let version = if_match(&headers, &actor)?;
    let AccountPatch { role, disabled, password } = patch;
    let change = AccountChange { role, disabled, password };
    Ok(shown(office.accounts.change(&name, change, version).await?))
}

pub(super) async fn remove(
    State(office): State<Arc<Office>>,
    Path(name): Path<String>,
    actor: Actor,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let version = if_match(&headers, &actor)?;
    office.accounts.remove(&name, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown((account, version): (Account, u64)) -> Response {
    let mut response = Answer(AccountView::from(account)).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

pub(super) async fn tokens(State(office): State<Arc<Office>>) -> Result<Answer<TokensView>, Problem> {
    let tokens = office.accounts.tokens().await?;
    Ok(Answer(TokensView { tokens: tokens.into_iter().map(Into::into).collect() }))
}

pub(super) async fn add_token(
    State(office): State<Arc<Office>>,
    Json(new): Json<NewToken>,
) -> Result<(StatusCode, Answer<MadeToken>), Problem> {
    let (token, secret) = office.accounts.add_token(&new.name, new.role, new.days).await?;
    Ok((StatusCode::CREATED, Answer(MadeToken { secret, token: token.into() })))
}

pub(super) async fn revoke_token(
    State(office): State<Arc<Office>>,
    Path(id): Path<String>,
    actor: Actor,
) -> Result<StatusCode, Problem> {
    // A script that goes through the list would end itself halfway.
    if matches!(&actor.via, Via::Token { id: own } if *own == id) {
        let detail = "It is the token that this is asked with. Revoke it with another one, or on the machine itself.";
        return Err(Problem::new("conflict", detail));
    }
    office.accounts.revoke_token(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn reset_code(State(office): State<Arc<Office>>) -> Result<(StatusCode, Answer<MadeCode>), Problem> {
    let code = office.accounts.first_code().await?;
    Ok((StatusCode::CREATED, Answer(MadeCode { code })))
}
