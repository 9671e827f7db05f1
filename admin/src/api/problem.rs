//! Refusals, as RFC 9457 has them.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use edgeway_runtime::operate::{Refusal, RefusalKind};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use crate::store::StoreFault;

/// One kind of refusal: stable, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Its name.
    pub name: &'static str,
    /// The status it comes with.
    pub status: u16,
    /// In a few words, English and Japanese.
    pub title: (&'static str, &'static str),
    /// What to do.
    pub doc: &'static str,
}

const fn code(name: &'static str, status: u16, title: (&'static str, &'static str), doc: &'static str) -> Code {
    Code { name, status, title, doc }
}

/// All of them.
pub const CODES: &[Code] = &[
    code(
        "bad_request",
        400,
        ("The request cannot be read", "リクエストを読み取れません"),
        "Compare it with the description of the API.",
    ),
    code(
        "bad_body",
        400,
        ("The body cannot be read", "リクエスト本文を読み取れません"),
        "Send JSON of the shape that the description of the API gives.",
    ),
    code(
        "bad_query",
        400,
        ("A parameter cannot be read", "パラメータを読み取れません"),
        "Compare the parameters with the description of the API.",
    ),
    code(
        "two_credentials",
        401,
        ("Two credentials at once", "資格情報が重複しています"),
        "Send a cookie or a token, not both.",
    ),
    code(
        "not_signed_in",
        401,
        ("Not signed in", "サインインしていません"),
        "Sign in, or send an API token: `Authorization: Bearer edgeway_…`.",
    ),
    code(
        "wrong_credentials",
        401,
        ("Name or password is wrong", "名前またはパスワードが正しくありません"),
        "Try again, or have an administrator set the password. On the machine itself: `edgeway accounts reset-code`.",
    ),
    code(
        "not_permitted",
        403,
        ("Not permitted", "権限がありません"),
        "Ask an administrator for the role that it takes.",
    ),
    code(
        "cross_site",
        403,
        ("The request comes from another site", "別のサイトからのリクエストです"),
        "Browsers must send the token of their session as `X-CSRF-Token`, and come from this site.",
    ),
    code("not_found", 404, ("There is no such thing", "見つかりません"), "Look at the list it should be in."),
    code("no_such_method", 405, ("No such method", "このメソッドは使用できません"), "See the description of the API."),
    code(
        "conflict",
        409,
        ("It stands against something else", "他の操作と競合しています"),
        "Look at what has changed, and try again.",
    ),
    code(
        "changed_meanwhile",
        412,
        ("It has been changed meanwhile", "その間に変更されました"),
        "Read it again, and send If-Match with its new ETag.",
    ),
    code("body_too_large", 413, ("The body is too large", "リクエスト本文が大きすぎます"), "At most 1 MiB."),
    code(
        "wrong_media_type",
        415,
        ("This kind of body is not taken", "この形式の本文は受け付けられません"),
        "Send the Content-Type that the description of the API names.",
    ),
    code(
        "wrong_host",
        421,
        ("This listener has another name", "ホスト名が一致しません"),
        "Use its address, localhost, the node's name, or a name out of the setting admin.names.",
    ),
    code("invalid", 422, ("It asks for what cannot be", "指定が正しくありません"), "The detail says what is wrong."),
    code(
        "not_understood",
        428,
        ("If-Match is missing", "If-Match がありません"),
        "Read it first, and send If-Match with its ETag, so that no change of somebody else is lost.",
    ),
    code("too_many", 429, ("Too many attempts", "試行回数が多すぎます"), "Wait for as long as Retry-After says."),
    code(
        "broken",
        500,
        ("Something is broken here", "内部エラーが発生しました"),
        "Look into the log of the core for the trace_id.",
    ),
    code("unavailable", 503, ("It cannot be done now", "現在実行できません"), "The detail says why; try again."),
];

/// A refusal. The door writes it out, with the trace and in the language of whoever asks.
#[derive(Clone, Debug)]
pub struct Problem {
    code: &'static Code,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
    more: Map<String, Value>,
}

impl Problem {
    /// One of [`CODES`].
    pub fn new(name: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code: find(name), detail: detail.into(), retry_after: None, more: Map::new() }
    }

    /// With a time to wait.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// How long to wait.
    #[must_use]
    pub const fn wait(&self) -> Option<Duration> {
        self.retry_after
    }

    /// With a member of its own.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    /// Its name among [`CODES`].
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.code.name
    }

    /// What is said of this one case.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// For an answer that was refused by what knows nothing of problems.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let name = match status.as_u16() {
            401 => "not_signed_in",
            403 => "not_permitted",
            404 => "not_found",
            405 => "no_such_method",
            413 => "body_too_large",
            415 => "wrong_media_type",
            422 => "invalid",
            429 => "too_many",
            503 => "unavailable",
            400..=499 => "bad_request",
            _ => "broken",
        };
        Self::new(name, "")
    }

    /// The whole answer.
    pub(crate) fn written(&self, trace: &str, headers: &HeaderMap) -> Response {
        let japanese = headers
            .get(http::header::ACCEPT_LANGUAGE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(prefers_japanese);
        let title = if japanese { self.code.title.1 } else { self.code.title.0 };
        let mut body = Map::new();
        body.insert("type".to_owned(), format!("/api/v1/problems/{}", self.code.name).into());
        body.insert("title".to_owned(), title.into());
        body.insert("status".to_owned(), self.code.status.into());
        body.insert("detail".to_owned(), if self.detail.is_empty() { self.code.doc } else { &self.detail }.into());
        body.insert("code".to_owned(), self.code.name.into());
        body.insert("trace_id".to_owned(), trace.into());
        if let Some(wait) = self.retry_after {
            body.insert("retry_after".to_owned(), seconds(wait).into());
        }
        body.extend(self.more.clone());
        let mut response = Response::new(Body::from(Value::Object(body).to_string()));
        *response.status_mut() = self.status();
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        fields.insert(http::header::CONTENT_LANGUAGE, HeaderValue::from_static(if japanese { "ja" } else { "en" }));
        if let Some(wait) = self.retry_after {
            fields.insert(RETRY_AFTER, seconds(wait).into());
        }
        if self.code.status == 401 {
            fields.insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"edgeway\""));
        }
        response
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn prefers_japanese(accepted: &str) -> bool {
    accepted.split(',').next().is_some_and(|first| first.trim().to_ascii_lowercase().starts_with("ja"))
}

/// One of [`CODES`], by name; a name that is none is our own mistake, and a test finds it.
fn find(name: &str) -> &'static Code {
    const BROKEN: Code = code("broken", 500, ("Something is broken here", ""), "");
    CODES.iter().find(|code| code.name == name).unwrap_or(&BROKEN)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let name = match refusal.kind {
            RefusalKind::NotFound => "not_found",
            RefusalKind::Invalid => "invalid",
            RefusalKind::Conflict => "conflict",
            RefusalKind::Unavailable => "unavailable",
        };
        Self::new(name, refusal.why)
    }
}

impl From<StoreFault> for Problem {
    fn from(fault: StoreFault) -> Self {
        let name = match fault {
            StoreFault::Conflict { .. } => "changed_meanwhile",
            StoreFault::Full(_) => "conflict",
            StoreFault::Unavailable(_) | StoreFault::Damaged(_) => "unavailable",
        };
        Self::new(name, fault.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_there_once_and_has_all_its_words() {
        for (index, code) in CODES.iter().enumerate() {
            assert!(CODES[..index].iter().all(|other| other.name != code.name), "{}", code.name);
            assert!(!code.title.0.is_empty() && !code.title.1.is_empty() && code.doc.ends_with('.'), "{}", code.name);
            assert_eq!(find(code.name), code);
        }
    }

    #[test]
    fn the_first_language_counts() {
        assert!(prefers_japanese("ja") && prefers_japanese("ja-JP, en;q=0.8"));
        assert!(!prefers_japanese("en, ja;q=0.5") && !prefers_japanese(""));
    }
}
