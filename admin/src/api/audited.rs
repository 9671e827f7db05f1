//! What the audit log says of an answer whose status does not say it.

use axum::response::Response;

use super::Problem;
use crate::limits::AUDIT_TEXT_MAX;

/// Whom or what an order was about and what became of it. A page that says so by leading elsewhere, and one that names in
/// its form what it is about, puts it on its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Audited {
    /// `account alice`, `node edge1`; empty: the path says it.
    pub(crate) subject: String,
    /// Whether it was done.
    pub(crate) done: bool,
}

impl Audited {
    /// An answer with it.
    pub(crate) fn on(self, mut response: Response) -> Response {
        response.extensions_mut().insert(self);
        response
    }
}

/// As it is written.
pub(super) fn said(response: &Response) -> String {
    let status = response.status();
    let audited = response.extensions().get::<Audited>();
    let outcome = match (response.extensions().get::<Problem>(), audited) {
        (Some(problem), _) => format!("refused: {}", problem.name()),
        (None, _) if status.is_client_error() || status.is_server_error() => status.as_str().to_owned(),
        (None, Some(Audited { done: false, .. })) => "failed".to_owned(),
        (None, Some(_) | None) => "done".to_owned(),
    };
    let Some(subject) = audited.map(|audited| audited.subject.as_str()).filter(|subject| !subject.is_empty()) else {
        return outcome;
    };
    let subject: String =
        subject.chars().take(AUDIT_TEXT_MAX).map(|char| if char.is_control() { '?' } else { char }).collect();
    format!("{outcome} ({subject})")
}
