//! Language and theme: kept in the browser, known to nobody else.

use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};

use super::layout::{LANGUAGE_COOKIE, THEME_COOKIE, Theme, is_local, query};
use super::words::Language;

/// `GET /preferences`: it harms nobody to be sent here by somebody else, and leads nowhere but back.
pub(crate) async fn set(parts: Parts) -> Response {
    let asked = |name: &str| query(parts.uri.query(), name);
    let language = asked("language").and_then(|tag| Language::of_tag(&tag)).map(Language::tag);
    let theme = asked("theme").map(|text| Theme::of_text(&text).as_str());
    let back = asked("back").filter(|back| is_local(back)).unwrap_or_else(|| "/".to_owned());
    let mut answer = Redirect::to(&back).into_response();
    for (name, value) in [(LANGUAGE_COOKIE, language), (THEME_COOKIE, theme)] {
        let Some(value) = value else { continue };
        let cookie = format!("{name}={value}; Path=/; Max-Age=31536000; Secure; HttpOnly; SameSite=Strict");
        match HeaderValue::from_str(&cookie) {
            Ok(cookie) => drop(answer.headers_mut().append(header::SET_COOKIE, cookie)),
            Err(_) => return StatusCode::BAD_REQUEST.into_response(),
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[tokio::test]
    async fn a_preference_leads_back_and_nowhere_else() {
        for (query, to, cookies) in [
            ("language=ja&back=%2Fstatus%2Fcalls%3Fuser%3Dx", "/status/calls?user=x", 1),
            ("language=ja&theme=dark&back=%2F%2Fevil.example", "/", 2),
            ("language=xx&back=https%3A%2F%2Fevil.example", "/", 0),
            ("", "/", 0),
        ] {
            let request = Request::get(format!("/preferences?{query}")).body(()).expect("a request");
            let answer = set(request.into_parts().0).await;
            assert_eq!(answer.headers()[header::LOCATION], to, "{query}");
            assert_eq!(answer.headers().get_all(header::SET_COOKIE).iter().count(), cookies, "{query}");
        }
    }
}
