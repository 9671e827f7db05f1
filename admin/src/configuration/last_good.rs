//! The last good copy: what holds where the store cannot be opened at the next start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use edgeway_config::document::{self, Document, diff, merge, overlay};
use edgeway_config::limits::CONFIG_TEXT_BYTES_MAX;
use edgeway_config::{CoreSettings, Problems};

use super::boot::state_dir;
use super::judge;

/// In the state directory.
const NAME: &str = "last-good.toml";

/// Writes it, whole or not at all. That it could not be written is said and no more: the store has what counts.
pub(super) fn write(state_dir: &Path, document: &Document, node: &str, revision: u64) {
    let text = format!(
        "# Written by edgeway-core {node}: revision {revision}. Edits here are lost.\n\n{}",
        document.to_toml()
    );
    if let Err(error) = replace(state_dir, &text) {
        tracing::warn!(%error, "the last good copy of the configuration could not be written");
    }
}

fn replace(state_dir: &Path, text: &str) -> io::Result<()> {
    let (path, aside) = (state_dir.join(NAME), state_dir.join(format!("{NAME}.new")));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    drop(file);
    fs::rename(&aside, &path)?;
    File::open(state_dir)?.sync_all()
}

/// The settings of a core out of its file, for tools beside it: where the file alone is no working one, because what is
/// shared stands in the store only, with the last good copy.
///
/// # Errors
/// What is wrong with the file alone.
pub fn settings_beside(text: &str, origin: &str) -> Result<CoreSettings, Problems> {
    let alone = judge::read(text, origin);
    if alone.is_ok() {
        return alone;
    }
    let with_copy = || {
        let (local, written) = document::split(text, origin).ok()?;
        let shared = read(&state_dir(&local))?;
        // The file's own words are judged, too: a mistake in it is not hidden by the copy.
        judge::read(&merge(&local, &overlay(&diff(&Document::default(), &written), &shared)), origin).ok()
    };
    with_copy().map_or(alone, Ok)
}

/// Whether there is one, good or not: then there was a store.
pub(super) fn is_there(state_dir: &Path) -> bool {
    state_dir.join(NAME).try_exists().unwrap_or(true)
}

/// It, if there is one that can be read.
pub(super) fn read(state_dir: &Path) -> Option<Document> {
    let mut text = String::new();
    let file = File::open(state_dir.join(NAME)).ok()?;
    file.take(CONFIG_TEXT_BYTES_MAX as u64 + 1).read_to_string(&mut text).ok()?;
    Document::parse(&text, NAME).ok()
}
