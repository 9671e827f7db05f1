//! What became of an order, told on the page that comes after it.

/// What became of an order, as the redirect after it says.
pub(crate) fn outcome(query: Option<&str>, done: &'static str, failed: &'static str) -> Option<&'static str> {
    match super::layout::query(query, "outcome").as_deref() {
        Some("done") => Some(done),
        Some("failed") => Some(failed),
        _ => None,
    }
}
