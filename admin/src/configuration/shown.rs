//! What the desk shows and does not change: what holds, the history, differences, the export.

use edgeway_config::document::{Document, diff};
use edgeway_config::{Preset, Role, Scope, known_settings};

use super::limits::HISTORY_PAGE_MAX;
use super::views::{ChangeView, CurrentView, DifferenceView, DocumentView, OriginView, RevisionView};
use super::waiting::Waiting;
use super::{ConfigurationDesk, ConfigurationFault, Inner, now_ms, parsed};

impl ConfigurationDesk {
    /// What holds now.
    #[must_use]
    pub fn current(&self) -> CurrentView {
        self.0.current()
    }

    /// One revision, with its text.
    ///
    /// # Errors
    /// [`ConfigurationFault`]: there is none, or the store cannot be asked.
    pub async fn revision(&self, number: u64) -> Result<DocumentView, ConfigurationFault> {
        let (head, document) = self.0.document(number).await?;
        Ok(DocumentView { head, document: document.to_toml_shown() })
    }

    /// Revisions before `before` (or the newest), newest first.
    ///
    /// # Errors
    /// [`ConfigurationFault`]: the store cannot be asked.
    pub async fn history(&self, before: Option<u64>, limit: usize) -> Result<Vec<RevisionView>, ConfigurationFault> {
        let limit = limit.clamp(1, HISTORY_PAGE_MAX);
        let heads = self.0.stored(move |store| store.history(before, limit)).await?;
        Ok(heads.into_iter().map(RevisionView::from).collect())
    }

    /// What makes revision `to` of revision `from`.
    ///
    /// # Errors
    /// [`ConfigurationFault`]: one of them is not there, or the store cannot be asked.
    pub async fn difference(&self, from: u64, to: u64) -> Result<DifferenceView, ConfigurationFault> {
        let ((_, one), (_, other)) = (self.0.document(from).await?, self.0.document(to).await?);
        Ok(DifferenceView { from, to, changes: diff(&one, &other).iter().map(ChangeView::from).collect() })
    }

    /// The whole configuration as a text that can be applied again, here or elsewhere. With `secrets` it has what is sealed,
    /// which only a core with the same key can open; without, applying it keeps the secrets there are.
    #[must_use]
    pub fn export(&self, secrets: bool) -> String {
        let now = self.0.now();
        let text = if secrets { now.document.to_toml() } else { now.document.to_toml_shown() };
        format!(
            "# The configuration of Edgeway, as {} has it: revision {}, exported at {} (Unix seconds).\n\n{text}",
            self.0.node,
            now.revision,
            now_ms() / 1_000
        )
    }

    /// Every setting outside of lists of tables that holds, and where it is written; then the entries of lists.
    #[must_use]
    pub fn origins(&self) -> Vec<OriginView> {
        let now = self.0.now();
        let mut all = Vec::new();
        for setting in known_settings(Role::Core).iter().filter(|setting| setting.list().is_none()) {
            let Ok(path) = setting.path.parse() else { continue };
            let (document, origin) = match setting.scope() {
                Scope::Local => (&now.judge.local, "file"),
                Scope::Shared => (&now.document, "configuration"),
            };
            let (value, origin) = match (document.at(&path), setting.preset) {
                (Some(content), _) => (content.shown(), origin),
                (None, Preset::Toml(preset)) => (preset.to_owned(), "default"),
                (None, Preset::Required) => continue,
                (None, Preset::Derived(words)) => (format!("({words})"), "default"),
            };
            all.push(OriginView { path: setting.path.to_owned(), value, origin: origin.to_owned() });
        }
        for (document, origin) in [(&now.judge.local, "file"), (&now.document, "configuration")] {
            for change in diff(&Document::default(), document) {
                if let edgeway_config::document::Path::Entry { .. } = change.path {
                    let value = change.after.map(|content| content.shown()).unwrap_or_default();
                    all.push(OriginView { path: change.path.to_string(), value, origin: origin.to_owned() });
                }
            }
        }
        all
    }
}

impl Inner {
    pub(super) fn current(&self) -> CurrentView {
        let now = self.now();
        CurrentView {
            node: self.node.clone(),
            revision: now.revision,
            source: now.source.as_str().to_owned(),
            document: now.document.to_toml_shown(),
            waiting: now.waiting.as_ref().map(Waiting::view),
            restart: now.restart.clone(),
        }
    }

    async fn document(&self, number: u64) -> Result<(RevisionView, Document), ConfigurationFault> {
        let Some(revision) = self.stored(move |store| store.revision(number)).await? else {
            return Err(ConfigurationFault::NotFound(format!("there is no revision {number}")));
        };
        let document = parsed(&revision)?;
        Ok((revision.head.into(), document))
    }
}
