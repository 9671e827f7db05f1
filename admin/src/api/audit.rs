//! The audit log.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;
use super::taken::Query;
use crate::limits::{PAGE_DEFAULT, PAGE_MAX};
use crate::office::Office;

/// One line of the audit log.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditView {
    /// 1, 2, 3, …
    number: u64,
    /// Unix milliseconds.
    at_ms: u64,
    /// Who.
    #[schema(example = "account alice")]
    actor: String,
    /// From where.
    #[schema(example = "192.0.2.7")]
    from: String,
    /// What was asked.
    #[schema(example = "PUT /api/v1/maintenance/edge1")]
    action: String,
    /// `done`, or why it was refused.
    #[schema(example = "done")]
    outcome: String,
}

/// A page of the audit log, newest first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    /// The lines.
    lines: Vec<AuditView>,
    /// For the next page, as `before`; null at the end.
    next: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    before: Option<u64>,
    limit: Option<usize>,
}

pub(super) async fn list(
    State(office): State<Arc<Office>>,
    Query(part): Query<Part>,
) -> Result<Answer<AuditPage>, Problem> {
    let limit = part.limit.unwrap_or(PAGE_DEFAULT);
    if limit == 0 || limit > PAGE_MAX {
        return Err(Problem::new("bad_query", format!("limit: 1 to {PAGE_MAX}")));
    }
    let found = office.stored(move |store| store.audited(part.before, limit)).await?;
    let next = found.last().map(|line| line.number).filter(|number| found.len() == limit && *number > 1);
    let view = |line: crate::store::AuditLine| {
        let crate::store::AuditLine { number, at_ms, actor, from, action, outcome } = line;
        AuditView { number, at_ms, actor, from, action, outcome }
    };
    Ok(Answer(AuditPage { lines: found.into_iter().map(view).collect(), next }))
}
