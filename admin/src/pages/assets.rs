//! Scripts and style sheets: part of the program, named by their content, so that browsers keep them for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

/// One file.
#[derive(Debug)]
struct Asset {
    /// Its path, with a part of its hash in the name.
    href: String,
    kind: &'static str,
    bytes: &'static [u8],
}

impl Asset {
    fn new(stem: &str, ending: &str, kind: &'static str, bytes: &'static [u8]) -> Self {
        let hash = Sha256::digest(bytes);
        let short: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { href: format!("/assets/{stem}.{short}.{ending}"), kind, bytes }
    }
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

static APP_STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("app", "css", STYLE, include_bytes!("../../assets/app.css")));
static APP_SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("app", "js", SCRIPT, include_bytes!("../../assets/app.js")));
static HTMX: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("htmx", "js", SCRIPT, include_bytes!("../../assets/htmx.min.js")));
static CHART_STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("uplot", "css", STYLE, include_bytes!("../../assets/uplot.min.css")));
static CHART_SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("uplot", "js", SCRIPT, include_bytes!("../../assets/uplot.min.js")));
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_bytes!("../../assets/icon.svg")));

fn all() -> [&'static Asset; 6] {
    [&APP_STYLE, &APP_SCRIPT, &HTMX, &CHART_STYLE, &CHART_SCRIPT, &ICON]
}

/// Where each is, for templates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hrefs;

impl Hrefs {
    pub(crate) fn app_style(self) -> &'static str {
        &APP_STYLE.href
    }

    pub(crate) fn app_script(self) -> &'static str {
        &APP_SCRIPT.href
    }

    pub(crate) fn htmx(self) -> &'static str {
        &HTMX.href
    }

    pub(crate) fn chart_style(self) -> &'static str {
        &CHART_STYLE.href
    }

    pub(crate) fn chart_script(self) -> &'static str {
        &CHART_SCRIPT.href
    }

    pub(crate) fn icon(self) -> &'static str {
        &ICON.href
    }
}

/// `GET /assets/{name}`.
pub(crate) async fn serve(Path(name): Path<String>) -> Response {
    let found = all().into_iter().find(|asset| asset.href.strip_prefix("/assets/") == Some(name.as_str()));
    let Some(asset) = found else { return StatusCode::NOT_FOUND.into_response() };
    let mut answer = asset.bytes.into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    // The name changes with the content.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_contents_and_are_served_as_what_they_are() {
        let mut hrefs: Vec<_> = all().iter().map(|asset| asset.href.clone()).collect();
        assert!(hrefs.iter().all(|href| href.len() > "/assets/.0123456789abcdef.js".len()), "{hrefs:?}");
        hrefs.sort();
        hrefs.dedup();
        assert_eq!(hrefs.len(), all().len());
    }

    #[test]
    fn all_that_a_page_loads_is_well_below_300_kib() {
        let bytes: usize = all().iter().map(|asset| asset.bytes.len()).sum();
        assert!(bytes < 180 * 1024, "{bytes}: what is left is for the page itself");
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        for own in [&APP_STYLE, &APP_SCRIPT, &ICON] {
            let text = std::str::from_utf8(own.bytes).expect("text");
            let foreign: Vec<_> = text.match_indices("//").map(|(at, _)| &text[at.saturating_sub(6)..at]).collect();
            assert!(
                !foreign.iter().any(|before| before.ends_with("http:") && !text.contains("www.w3.org")),
                "{foreign:?}"
            );
            assert!(!text.contains("https://"), "{}", own.href);
        }
    }
}
