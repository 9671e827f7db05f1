//! Who may see a page and press its buttons, as the door of the listener has found out.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};

use super::layout::{Frame, Viewer, Wish, percent_encoded};
use super::{Message, Pages, page_with};
use crate::accounts::Role;
use crate::api::Actor;

/// Somebody who may do what takes the role of an operator.
pub(crate) struct Operator {
    pub(crate) viewer: Viewer,
}

/// Somebody who may do what takes the role of an administrator.
pub(crate) struct Administrator {
    pub(crate) viewer: Viewer,
    /// As revisions name them.
    pub(crate) author: String,
    pub(crate) csrf: String,
}

impl Viewer {
    pub(crate) fn of(actor: &Actor) -> Self {
        Self {
            name: actor.name.clone(),
            operates: actor.may(Role::Operator),
            administers: actor.may(Role::Administrator),
            csrf: actor.csrf().to_owned(),
        }
    }
}

impl FromRequestParts<Pages> for Viewer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &Pages) -> Result<Self, Response> {
        let actor = parts.extensions.get::<Actor>();
        actor.map(Self::of).ok_or_else(|| to_sign_in(parts))
    }
}

impl FromRequestParts<Pages> for Operator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, Response> {
        let viewer = Viewer::from_request_parts(parts, pages).await?;
        if viewer.operates { Ok(Self { viewer }) } else { Err(not_permitted(parts)) }
    }
}

impl FromRequestParts<Pages> for Administrator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, Response> {
        let viewer = Viewer::from_request_parts(parts, pages).await?;
        if !viewer.administers {
            return Err(not_permitted(parts));
        }
        let author = parts.extensions.get::<Actor>().map(|actor| actor.author.clone()).unwrap_or_default();
        Ok(Self { csrf: viewer.csrf.clone(), viewer, author })
    }
}

/// Lets those through who may, whatever a handler asks for.
pub(super) async fn may(State(needs): State<Option<Role>>, request: Request, next: Next) -> Response {
    let Some(role) = needs else { return next.run(request).await };
    let (parts, body) = request.into_parts();
    match parts.extensions.get::<Actor>() {
        None => to_sign_in(&parts),
        Some(actor) if !actor.may(role) => not_permitted(&parts),
        Some(_) => next.run(Request::from_parts(parts, body)).await,
    }
}

/// Where somebody signs in who is not signed in, and comes back from.
fn to_sign_in(parts: &Parts) -> Response {
    let wish = Wish::of(parts);
    let there = match parts.method.is_safe() {
        true => format!("/sign-in?next={}", percent_encoded(&wish.here)),
        false => "/sign-in".to_owned(),
    };
    if !wish.bare {
        return Redirect::to(&there).into_response();
    }
    // A script asked: the page as a whole goes to sign-in, and its part is not replaced by a form.
    let mut answer = StatusCode::UNAUTHORIZED.into_response();
    if let Ok(there) = HeaderValue::from_str("/sign-in") {
        answer.headers_mut().insert("hx-redirect", there);
    }
    answer
}

fn not_permitted(parts: &Parts) -> Response {
    let f = Frame::outside(Wish::of(parts), "message.not_permitted_title");
    let text = f.say("message.not_permitted").to_owned();
    page_with(StatusCode::FORBIDDEN, &Message { text, f })
}
