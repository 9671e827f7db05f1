//! Whether a document is right for this node, and what its secrets are.

use std::collections::HashMap;
use std::sync::Arc;

use edgeway_config::document::{Document, Hidden, Path, merge, placed};
use edgeway_config::{CoreSettings, Problem, Problems, parse_core};
use edgeway_policy::allow_list::configured_rules;

use edgeway_config::limits::PROBLEMS_MAX;

use super::limits::PASSWORD_BYTES_MAX;
use crate::store::seal::Seal;

/// The name of settings that nobody has written as one text.
const MERGED: &str = "configuration";

/// All settings of a core out of a text, or all that is wrong with it: that of the rules of the allow list, too, of which
/// more is known than of other settings.
pub(super) fn read(text: &str, origin: &str) -> Result<CoreSettings, Problems> {
    let settings = parse_core(text, origin)?;
    let Err(misfits) = configured_rules(&settings.http) else { return Ok(settings) };
    let problem = |misfit: &edgeway_policy::allow_list::Misfit| Problem {
        path: misfit.path(),
        line: None,
        reason: misfit.fault.to_string(),
        remedy: "Write it as https://files.example.com:8443/updates, in its one form.".to_owned(),
        did_you_mean: None,
    };
    let omitted = misfits.len().saturating_sub(PROBLEMS_MAX);
    let problems = misfits.iter().take(PROBLEMS_MAX).map(problem).collect();
    Err(placed(Problems { origin: origin.to_owned(), problems, omitted }, text, origin))
}

/// This node's own settings, and its key: with a document they are all its settings.
#[derive(Clone, Debug)]
pub(super) struct Judge {
    /// What the node's file says of itself.
    pub(super) local: Document,
    seal: Arc<Seal>,
}

/// Settings, and the secrets that could not be opened.
pub(super) struct Judged {
    pub(super) settings: CoreSettings,
    /// Where, and why.
    pub(super) shut: Vec<(Path, String)>,
}

impl Judge {
    pub(super) const fn new(local: Document, seal: Arc<Seal>) -> Self {
        Self { local, seal }
    }

    pub(super) fn with(&self, local: Document) -> Self {
        Self { local, seal: Arc::clone(&self.seal) }
    }

    /// All settings of this node with that document.
    pub(super) fn settings(&self, shared: &Document) -> Result<Judged, Problems> {
        let mut settings = read(&merge(&self.local, shared), MERGED)?;
        let (mut opened, mut shut) = (HashMap::new(), Vec::new());
        for (path, secret) in shared.secrets() {
            match self.seal.open(&path.to_string(), secret.expose()) {
                Ok(plain) => drop(opened.insert(secret.expose().to_owned(), Hidden::new(plain.to_string()))),
                Err(fault) => shut.push((path, fault.to_string())),
            }
        }
        settings.open_secrets(|sealed| opened.get(sealed.expose()).cloned());
        Ok(Judged { settings, shut })
    }

    /// A secret as it is kept.
    pub(super) fn seal(&self, path: &str, secret: &str) -> Result<String, (String, &'static str)> {
        if secret.is_empty() || secret.len() > PASSWORD_BYTES_MAX || secret.chars().any(char::is_control) {
            return Err(("is no password".to_owned(), "Use 1 to 256 characters in one line."));
        }
        self.seal.seal(path, secret).map_err(|fault| (fault.to_string(), ""))
    }
}
