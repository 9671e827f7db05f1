//! What handlers take out of requests; whatever does not fit is a [`Problem`].

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, IF_MATCH};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::{Actor, Problem, Via};

/// A body of JSON.
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
            return Err(Problem::new("wrong_media_type", "The body must be application/json."));
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|_| Problem::new("bad_body", "The body broke off, or is too large."))?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| Problem::new("bad_body", error.to_string()))
    }
}

/// The parameters after `?`.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        query.map(|query| Self(query.0)).map_err(|error| {
            // Its text repeats what was written, which may be anything; the source names the parameter.
            let source = std::error::Error::source(&error).map(ToString::to_string);
            Problem::new("bad_query", source.unwrap_or_else(|| "the parameters cannot be read".to_owned()))
        })
    }
}

/// The version that a change is one of; `None`: of whatever there is (RFC 9110 §13.1.1).
pub(crate) fn if_match(headers: &HeaderMap, actor: &Actor) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(IF_MATCH) else {
        // Whoever is on the machine itself means what is there.
        return if actor.via == Via::Socket { Ok(None) } else { Err(Problem::new("not_understood", "")) };
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).and_then(|text| text.parse().ok());
    // A tag that none of ours is matches nothing.
    number.map(Some).ok_or_else(|| Problem::new("changed_meanwhile", "If-Match is no ETag of this."))
}
