//! Edits of the node's file while it runs.

use std::sync::Arc;

use edgeway_config::document::{self, Document, diff, overlay};

use super::proposal::problem;
use super::views::{CommitView, ProblemView};
use super::{By, ConfigurationFault, FILE_AUTHOR, Inner, Next, ended};
use crate::store::Kind;

/// What the file says now.
struct Read {
    local: Document,
    written: Document,
}

impl Inner {
    /// Shared settings that were changed in the file are a change by the file; the node's own hold at once where they can.
    pub(super) async fn read_file(&self) -> Result<Option<CommitView>, ConfigurationFault> {
        let file = self.file.clone();
        let reading = tokio::task::spawn_blocking(move || read(&file)).await;
        let Read { local, written } = reading.map_err(|_| ended())??;
        self.take_back().await?;
        let now = self.now();
        let node = self.node.clone();
        let record = self.stored(move |store| store.record(Kind::Imported, &node)).await?;
        let last = record.and_then(|record| Document::parse(&record.value, "what was last read").ok());
        let changes = last.map(|last| diff(&last, &written)).unwrap_or_default();
        if changes.is_empty() && local == now.judge.local {
            return Ok(None);
        }
        if let Some(waiting) = &now.waiting {
            return Err(ConfigurationFault::Waiting { revision: waiting.revision });
        }
        let document = overlay(&changes, &now.document);
        let judge = now.judge.with(local);
        let judging = tokio::task::spawn_blocking(move || (judge.settings(&document), document, judge));
        let (judged, document, judge) = judging.await.map_err(|_| ended())?;
        let judged = judged.map_err(|problems| ConfigurationFault::Problems(ProblemView::all(problems)))?;
        let settings = Arc::new(judged.settings);
        let by = By { author: FILE_AUTHOR.to_owned(), comment: "the file was changed".to_owned() };
        let imported = (Kind::Imported, self.node.clone(), Some(written.to_toml()));
        let also = if changes.is_empty() { Vec::new() } else { vec![imported] };
        let next = Next { document, judge, settings, by, also, confirm: None, insist: false };
        self.make(&now, now.revision, next).await.map(Some)
    }
}

fn read(file: &std::path::Path) -> Result<Read, ConfigurationFault> {
    let origin = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|error| ConfigurationFault::Unavailable(format!("cannot read {origin}: {error}")))?;
    let (local, written) =
        document::split(&text, &origin).map_err(|problems| ConfigurationFault::Problems(ProblemView::all(problems)))?;
    match written.secrets().iter().find(|(_, secret)| !secret.is_sealed()) {
        Some((path, _)) => {
            let remedy = "Put it into a file and name that in `password_file`.";
            let plain = problem(path.to_string(), "is a secret in plain text".to_owned(), remedy);
            Err(ConfigurationFault::Problems(vec![plain]))
        }
        None => Ok(Read { local, written }),
    }
}
