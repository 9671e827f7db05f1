//! What handlers take out of requests; whatever does not fit is a [`Problem`].

use std::fmt;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue, IF_MATCH};
use http::request::Parts;
use serde::de::{DeserializeOwned, Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Actor, Problem, Via, named};

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
        named::from_slice(&bytes).map(Self).map_err(|error| Problem::new("bad_body", error.to_string()))
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

/// Text within its bound, in characters as JSON Schema counts them.
pub(crate) fn at_most(name: &str, text: Option<&str>, most: usize) -> Result<(), Problem> {
    match text.and_then(|text| text.chars().nth(most)) {
        None => Ok(()),
        Some(_) => Err(Problem::new("invalid", format!("{name}: at most {most} characters"))),
    }
}

/// A whole number: JSON has one kind of numbers, and some programs write 60 as `60.0`.
pub(crate) fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    struct Whole;
    impl Visitor<'_> for Whole {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number that is not negative")
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }

        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is within what f64 holds exactly"
        )]
        fn visit_f64<E: Error>(self, number: f64) -> Result<u64, E> {
            // 2^53: beyond it neighbours are the same number.
            let is_whole = (0.0..=9_007_199_254_740_992.0).contains(&number) && number.fract() == 0.0;
            if is_whole { Ok(number as u64) } else { Err(E::invalid_value(Unexpected::Float(number), &self)) }
        }
    }
    from.deserialize_any(Whole)
}

/// The same, or null.
pub(crate) fn whole_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    struct Number(#[serde(deserialize_with = "whole")] u64);
    Ok(Option::<Number>::deserialize(from)?.map(|Number(number)| number))
}

/// The version that a change is one of; `None`: of whatever there is (RFC 9110 §13.1.1).
pub(crate) fn if_match(headers: &HeaderMap, actor: &Actor) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(IF_MATCH) else {
        // Whoever is on the machine itself means what is there.
        return if actor.via == Via::Socket { Ok(None) } else { Err(Problem::new("not_understood", "")) };
    };
    version(value)
}

/// What is between the quotes of the longest ETag looked at, bytes: ours are numbers.
const TAG_BYTES_MAX: usize = 60;

/// The version that an `If-Match` names; `None`: `*`.
pub(super) fn version(value: &HeaderValue) -> Result<Option<u64>, Problem> {
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    // RFC 9110 §8.8.3. A list of them is more than a change is ever made from.
    let opaque = text.strip_prefix("W/").unwrap_or(text).strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let opaque =
        opaque.filter(|tag| tag.len() <= TAG_BYTES_MAX && tag.bytes().all(|b| b.is_ascii_graphic() && b != b'"'));
    let opaque = opaque.ok_or_else(|| Problem::new("bad_request", "If-Match: one ETag as it was read, or *."))?;
    // One that none of ours is matches nothing, and neither does a weak one.
    let number = opaque.parse().ok().filter(|_| text.starts_with('"'));
    number.map(Some).ok_or_else(|| Problem::new("changed_meanwhile", "If-Match is no ETag of this."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_ours_anothers_or_none() {
        let of = |text: &'static str| version(&HeaderValue::from_static(text)).map_err(|problem| problem.name());
        assert_eq!((of("\"7\""), of(" * ")), (Ok(Some(7)), Ok(None)));
        for another in ["\"abc\"", "W/\"7\"", "\"\"", "\"99999999999999999999\""] {
            assert_eq!(of(another), Err("changed_meanwhile"), "{another}");
        }
        for none in ["7", "", "\"7", "\"7\", \"8\"", "{}", "\"a b\"", "**"] {
            assert_eq!(of(none), Err("bad_request"), "{none}");
        }
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Sent {
            #[serde(deserialize_with = "whole")]
            a: u64,
            #[serde(default, deserialize_with = "whole_or_null")]
            b: Option<u64>,
        }
        let read = |text: &str| serde_json::from_str::<Sent>(text).ok();
        assert_eq!(read(r#"{"a": 60.0, "b": 7e2}"#), Some(Sent { a: 60, b: Some(700) }));
        assert_eq!(read(r#"{"a": 18446744073709551615}"#), Some(Sent { a: u64::MAX, b: None }));
        assert_eq!(read(r#"{"a": 0, "b": null}"#), Some(Sent { a: 0, b: None }));
        for bad in ["-1", "1.5", "1e300", "-0.5", "\"60\"", "true", "null", "[1]", "18446744073709551616"] {
            assert_eq!(read(&format!("{{\"a\": {bad}}}")), None, "{bad}");
        }
    }
}
