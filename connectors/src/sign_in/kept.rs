//! Revocations on disk (`revocations.json` in the state directory): a core that starts anew must not take tokens
//! again that were revoked. Private, because it names users.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use edgeway_model::sign_in::{Deployment, Revocation, SignInFact, Subject, UserName};
use edgeway_runtime::http::{HttpFact, Teller};
use edgeway_runtime::pki;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::desk::Desk;
use super::limits::{KEEP_AGAIN_AFTER, REVOCATIONS_KEPT_MAX};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    deployment: String,
    user: String,
    before_ms: u64,
}

/// The file.
pub(crate) struct Kept {
    path: PathBuf,
    /// Held while it is written: one at a time, each with what is true then.
    writing: Rc<Mutex<()>>,
    /// Whether something was told since it was last written.
    dirty: Rc<Cell<bool>>,
    /// Whether somebody writes until nothing is.
    cleaning: Rc<Cell<bool>>,
}

impl Kept {
    /// In this state directory.
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join("revocations.json"),
            writing: Rc::default(),
            dirty: Rc::default(),
            cleaning: Rc::default(),
        }
    }

    /// What the file says.
    ///
    /// # Errors
    /// When it cannot be read: without it revoked tokens would hold again.
    pub(crate) fn read(&self) -> Result<Vec<Revocation>, String> {
        let read = pki::read_private(&self.path).map_err(|error| error.to_string())?;
        let Some(bytes) = read else { return Ok(Vec::new()) };
        let lines: Vec<Line> = serde_json::from_slice(&bytes)
            .map_err(|error| format!("{} is damaged: {error}; remove it, and revoke again", self.path.display()))?;
        Ok(lines.into_iter().filter_map(revocation).collect())
    }

    /// Takes what the file says into use, and tells the node.
    pub(crate) fn take(revocations: Vec<Revocation>, desk: &Desk, teller: &Teller) {
        for revocation in revocations {
            desk.told(&SignInFact::Revoked(revocation));
        }
        for revocation in desk.held().1 {
            teller.tell(HttpFact::SignIn(SignInFact::Revoked(revocation)));
        }
    }

    /// Writes the revocations in force.
    pub(crate) async fn store(&self, desk: &Desk) -> Result<(), String> {
        let _one_at_a_time = self.writing.lock().await;
        write(self.path.clone(), desk.held().1).await
    }

    /// Whether nothing is left to write.
    #[cfg(test)]
    pub(crate) fn is_clean(&self) -> bool {
        !self.dirty.get() && !self.cleaning.get()
    }

    /// The same, later: what a peer has told is on its disk, too.
    pub(crate) fn store_soon(&self, desk: &Rc<Desk>) {
        self.dirty.set(true);
        if self.cleaning.replace(true) {
            return;
        }
        let (path, writing, desk) = (self.path.clone(), Rc::clone(&self.writing), Rc::clone(desk));
        let (dirty, cleaning) = (Rc::clone(&self.dirty), Rc::clone(&self.cleaning));
        tokio::task::spawn_local(async move {
            while dirty.get() {
                let one_at_a_time = writing.lock().await;
                // What is told from here on is told too late for this time.
                dirty.set(false);
                let written = write(path.clone(), desk.held().1).await;
                drop(one_at_a_time);
                if let Err(why) = written {
                    tracing::error!(%why, "revocations cannot be kept: this core would forget them if it started anew");
                    dirty.set(true);
                    tokio::time::sleep(KEEP_AGAIN_AFTER).await;
                }
            }
            cleaning.set(false);
        });
    }
}

async fn write(path: PathBuf, mut revocations: Vec<Revocation>) -> Result<(), String> {
    revocations.sort_unstable_by_key(|one| std::cmp::Reverse(one.before_ms));
    let line = |one: Revocation| Line {
        deployment: one.subject.deployment.to_string(),
        user: one.subject.user.as_str().to_owned(),
        before_ms: one.before_ms,
    };
    let lines: Vec<Line> = revocations.into_iter().take(REVOCATIONS_KEPT_MAX).map(line).collect();
    let text = serde_json::to_vec_pretty(&lines).map_err(|error| error.to_string())?;
    // A disk may be slow, and this thread carries requests.
    let written = tokio::task::spawn_blocking(move || pki::replace(&path, &text).map_err(|error| error.to_string()));
    written.await.map_err(|error| error.to_string())?
}

fn revocation(line: Line) -> Option<Revocation> {
    let subject = Subject { deployment: Deployment::new(&line.deployment)?, user: UserName::new(&line.user)? };
    Some(Revocation { subject, before_ms: line.before_ms })
}
