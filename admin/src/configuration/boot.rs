//! What a core starts with: its file, and the configuration out of the store.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use edgeway_config::document::{self, Content, Document, Value, diff, overlay};
use edgeway_config::{Committed, CoreSettings};
use edgeway_model::alarm::{Alarm, Severity};

use super::healing::OPEN_ACTION;
use super::judge::{self, Judge};
use super::limits::REVISIONS_TRIED;
use super::waiting::Waiting;
use super::{ALARM_FILE, ALARM_REVISION, ALARM_SECRET, ALARM_STORE, FILE_AUTHOR, Holding, Source, last_good};
use crate::store::seal::Seal;
use crate::store::{Kind, LateStore, NewRevision, Revision, SqliteStore, Store, StoreFault, Write};

/// What to do about a password in a node's file.
const PLAIN_REMEDY: &str = "Put it into a file that only the service's user can read and name that in `password_file`, or set it with `edgeway config apply` or on the pages, which seal it.";

/// Why a store that holds nothing is not used while the node runs.
const HOLDS_NOTHING: &str = "it holds nothing, and there was one before: stop the service, restore a back-up and start it; started without one, it begins anew with what its file says";

/// A node cannot start: its file is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BootFault(pub String);

/// What a core starts with.
pub struct Booted {
    /// Its settings.
    pub settings: CoreSettings,
    /// For the desk.
    pub parts: Parts,
}

/// What the desk is made of.
pub struct Parts {
    /// The store; where it cannot be used, an alarm says so, and it is tried again.
    pub store: Arc<LateStore>,
    pub(super) open: Opener,
    pub(super) file: PathBuf,
    pub(super) state_dir: PathBuf,
    pub(super) holding: Holding,
    pub(super) alarms: Vec<Alarm>,
    pub(super) not_kept: bool,
}

/// Opens the store of a state directory, or says why not. Whether it may make one where there is none is said to it.
pub(super) type Opener = Arc<dyn Fn(&Path, bool) -> Result<Arc<dyn Store>, String> + Send + Sync>;

/// When the file and the store are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// At a start.
    Start,
    /// While the node runs: somebody may be repairing the store at this moment.
    Running,
}

/// Reads the file, opens the store, and finds out what is to hold. What can be wrong with the store is no reason not to
/// start: then the last good copy holds, or what the file says, and an alarm says so. A store that is damaged is not
/// touched.
///
/// # Errors
/// [`BootFault`]: the file is wrong, or there are no settings that could hold.
pub fn boot(file: &Path) -> Result<Booted, BootFault> {
    started(file, |state_dir, may_be_new| {
        prepare_folder(state_dir);
        let opened = if may_be_new { SqliteStore::open(state_dir) } else { SqliteStore::open_what_is_there(state_dir) };
        match opened {
            Ok(store) => Ok(Arc::new(store) as Arc<dyn Store>),
            Err(fault) => Err(fault.to_string()),
        }
    })
}

/// As [`boot`], with any store.
///
/// # Errors
/// As there.
pub fn boot_with(
    file: &Path,
    open: impl Fn(&Path) -> Result<Arc<dyn Store>, String> + Send + Sync + 'static,
) -> Result<Booted, BootFault> {
    started(file, move |state_dir, _| open(state_dir))
}

fn started(
    file: &Path,
    open: impl Fn(&Path, bool) -> Result<Arc<dyn Store>, String> + Send + Sync + 'static,
) -> Result<Booted, BootFault> {
    let booted = boot_by(file, Arc::new(open), Occasion::Start)?;
    let Parts { holding, state_dir, .. } = &booted.parts;
    if holding.source == Source::Store && holding.waiting.is_none() {
        let node = booted.settings.node.as_str();
        last_good::write(state_dir, &holding.document, node, holding.revision);
    }
    Ok(booted)
}

/// As there, for whoever keeps what opens the store. The last good copy is left as it is.
pub(super) fn boot_by(file: &Path, open: Opener, occasion: Occasion) -> Result<Booted, BootFault> {
    let origin = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| BootFault(format!("cannot read {origin}: {error}")))?;
    let (local, written) = document::split(&text, &origin).map_err(|problems| BootFault(problems.to_string()))?;
    if let Some((path, _)) = written.secrets().iter().find(|(_, secret)| !secret.is_sealed()) {
        return Err(BootFault(format!("{origin}: {path}: is a secret in plain text. {PLAIN_REMEDY}")));
    }
    let state_dir = state_dir(&local);
    let node = text_at(&local, "node").unwrap_or_default();
    let judge = Judge::new(local, Arc::new(Seal::of(&state_dir)));
    // While the node runs, a store that is gone or holds nothing is one that is being repaired, where there was one.
    let may_be_new = occasion == Occasion::Start || !last_good::is_there(&state_dir);
    let (alarms, not_kept) = (Vec::new(), false);
    let mut boot = Boot { text, origin, written, node, state_dir, judge, may_be_new, alarms, not_kept };
    let (store, found) = match open(&boot.state_dir, may_be_new) {
        Ok(store) => match boot.with_store(store.as_ref()) {
            Ok(found) => (LateStore::there(store), found),
            Err(Unusable::File(why)) => return Err(BootFault(why)),
            Err(Unusable::Store(why)) => {
                let cause = boot.store_alarm(&why);
                // A store that answers wrongly is not written to either.
                (LateStore::missing(cause), boot.without_store()?)
            }
        },
        Err(why) => {
            let cause = boot.store_alarm(&why);
            (LateStore::missing(cause), boot.without_store()?)
        }
    };
    let Found { document, settings, revision, source, waiting } = found;
    let settings_now = Arc::new(settings.clone());
    let holding = Holding {
        revision,
        source,
        document,
        judge: boot.judge,
        settings: settings_now,
        waiting,
        restart: Vec::new(),
        owed: None,
    };
    let Boot { state_dir, alarms, not_kept, .. } = boot;
    let parts = Parts { store: Arc::new(store), open, file: file.to_owned(), state_dir, holding, alarms, not_kept };
    Ok(Booted { settings, parts })
}

struct Boot {
    text: String,
    origin: String,
    written: Document,
    node: String,
    state_dir: PathBuf,
    judge: Judge,
    /// What the file says may become the first revision of a store that holds nothing.
    may_be_new: bool,
    alarms: Vec<Alarm>,
    /// The store could be read, and not written.
    not_kept: bool,
}

struct Found {
    document: Document,
    settings: CoreSettings,
    revision: u64,
    source: Source,
    waiting: Option<Waiting>,
}

enum Unusable {
    /// There are no settings.
    File(String),
    /// The store cannot be used.
    Store(String),
}

impl From<StoreFault> for Unusable {
    fn from(fault: StoreFault) -> Self {
        Self::Store(fault.to_string())
    }
}

impl Boot {
    fn with_store(&mut self, store: &dyn Store) -> Result<Found, Unusable> {
        let Some(head) = store.head()? else {
            return if self.may_be_new { self.first(store) } else { Err(Unusable::Store(HOLDS_NOTHING.to_owned())) };
        };
        let head = self.rolled_back(store, head)?;
        let newest = head.head.number;
        let (revision, document) = self.usable(store, head)?;
        let found = if revision == newest { self.imported(store, newest, document)? } else { (newest, document) };
        let (number, document) = found;
        let mut settings = self.settings(&document).map_err(Unusable::File)?;
        let at_ms = store.revision(number)?.map_or(0, |revision| revision.head.at_ms);
        settings.committed = Committed { revision: number, at_ms };
        let waiting = Waiting::read(store)?.filter(|waiting| [waiting.revision, waiting.back_to].contains(&number));
        // What it goes back to holds already: nothing is left to confirm, whatever becomes of the clock.
        let waiting = waiting.map(|waiting| match waiting.back_to == number {
            true => Waiting { until_ms: 0, ..waiting },
            false => waiting,
        });
        Ok(Found { document, settings, revision: number, source: Source::Store, waiting })
    }

    /// There is no revision yet: what the file says becomes the first.
    fn first(&mut self, store: &dyn Store) -> Result<Found, Unusable> {
        // Asked of the file as it stands, so that lines are those of the file.
        judge::read(&self.text, &self.origin).map_err(|problems| Unusable::File(problems.to_string()))?;
        let document = self.written.clone();
        let mut settings = self.settings(&document).map_err(Unusable::File)?;
        let text = document.to_toml();
        let also = [Write { kind: Kind::Imported, key: &self.node, value: Some(&text) }];
        let head = store.commit(0, self.revision(&document, "what the file said at the first start"), &also)?;
        settings.committed = Committed { revision: head.number, at_ms: head.at_ms };
        Ok(Found { document, settings, revision: head.number, source: Source::Store, waiting: None })
    }

    /// A revision whose confirmation has run out while nobody was there goes back.
    fn rolled_back(&mut self, store: &dyn Store, head: Revision) -> Result<Revision, Unusable> {
        let Some(waiting) = Waiting::read(store)? else { return Ok(head) };
        if waiting.revision != head.head.number || waiting.until_ms > now_ms() {
            return Ok(head);
        }
        let Some(old) = store.revision(waiting.back_to)? else { return Ok(head) };
        let key = waiting.back_to.to_string();
        let also = [Write { kind: Kind::Confirmation, key: &key, value: None }];
        let new = NewRevision { document: old.document.clone(), ..waiting.rollback() };
        if let Err(fault) = store.commit(head.head.number, new, &also) {
            // What was not confirmed does not hold, written or not; the desk goes on trying.
            self.keep(Err(fault));
            return Ok(old);
        }
        tracing::warn!(revision = waiting.revision, back_to = waiting.back_to, "not confirmed: rolled back");
        store.head()?.ok_or_else(|| Unusable::Store("it has lost its newest revision".to_owned()))
    }

    /// The newest revision that can be used.
    fn usable(&mut self, store: &dyn Store, head: Revision) -> Result<(u64, Document), Unusable> {
        let newest = head.head.number;
        let mut next = Some(head);
        let mut why = String::new();
        for _ in 0..REVISIONS_TRIED {
            let Some(revision) = next.take() else { break };
            let number = revision.head.number;
            let document = Document::parse(&revision.document, &format!("revision {number}"));
            match document.map_err(|problems| problems.to_string()).and_then(|document| {
                self.judge.settings(&document).map_err(|problems| problems.to_string()).map(|_| document)
            }) {
                Ok(document) => {
                    if number != newest {
                        let cause = format!("Revision {newest} cannot be used, so revision {number} holds: {why}");
                        let action = "Look at what has changed in the node's file or version, or roll back.";
                        self.alarm(ALARM_REVISION, Severity::Error, cause, action);
                    }
                    return Ok((number, document));
                }
                Err(fault) if why.is_empty() => why = fault,
                Err(_) => {}
            }
            next = match store.history(Some(number), 1)?.first() {
                Some(earlier) => store.revision(earlier.number)?,
                None => None,
            };
        }
        Err(Unusable::Store(format!("no revision of it can be used: {why}")))
    }

    /// What was changed in the file since it was last read is a change like any other.
    fn imported(&mut self, store: &dyn Store, head: u64, document: Document) -> Result<(u64, Document), Unusable> {
        let text = self.written.to_toml();
        let Some(record) = store.record(Kind::Imported, &self.node)? else {
            // A configuration that was brought here: it holds, and later edits of the file are changes of it.
            self.keep(store.put(Kind::Imported, &self.node, &text, None).map(drop));
            return Ok((head, document));
        };
        let Ok(last) = Document::parse(&record.value, "what was last read") else { return Ok((head, document)) };
        let changes = diff(&last, &self.written);
        if changes.is_empty() {
            return Ok((head, document));
        }
        let changed = overlay(&changes, &document);
        if let Err(problems) = self.judge.settings(&changed) {
            let cause = format!("What was changed in {} is not taken: {problems}", self.origin);
            self.alarm(ALARM_FILE, Severity::Error, cause, "Correct the file, then reload or restart the service.");
            return Ok((head, document));
        }
        let also = [Write { kind: Kind::Imported, key: &self.node, value: Some(&text) }];
        match store.commit(head, self.revision(&changed, "the file was changed"), &also) {
            Ok(new) => Ok((new.number, changed)),
            Err(fault) => {
                self.keep(Err(fault));
                Ok((head, document))
            }
        }
    }

    /// The last good copy, or the file alone.
    fn without_store(&mut self) -> Result<Found, BootFault> {
        if let Some(document) = last_good::read(&self.state_dir)
            && let Ok(settings) = self.settings(&document)
        {
            return Ok(Found { document, settings, revision: 0, source: Source::LastGood, waiting: None });
        }
        judge::read(&self.text, &self.origin).map_err(|problems| BootFault(problems.to_string()))?;
        let document = self.written.clone();
        let settings = self.settings(&document).map_err(BootFault)?;
        Ok(Found { document, settings, revision: 0, source: Source::File, waiting: None })
    }

    fn settings(&mut self, document: &Document) -> Result<CoreSettings, String> {
        let judged = self.judge.settings(document).map_err(|problems| problems.to_string())?;
        if !judged.shut.is_empty() {
            let why: Vec<_> = judged.shut.iter().map(|(_, why)| why.as_str()).collect();
            let cause = format!("Secrets of the configuration cannot be opened: {}", why.join("; "));
            let action = "Put the key back that they were sealed with, or write them anew.";
            self.alarm(ALARM_SECRET, Severity::Error, cause, action);
        }
        Ok(judged.settings)
    }

    fn revision(&self, document: &Document, comment: &str) -> NewRevision {
        NewRevision {
            author: FILE_AUTHOR.to_owned(),
            at_ms: now_ms(),
            comment: comment.to_owned(),
            document: document.to_toml(),
        }
    }

    /// What could not be written, though it could be read, is said; the node starts with what it has read.
    fn keep(&mut self, written: Result<(), StoreFault>) {
        if let Err(fault) = written {
            self.store_alarm(&fault.to_string());
            self.not_kept = true;
        }
    }

    fn store_alarm(&mut self, why: &str) -> String {
        let cause = format!("The store of the configuration cannot be used: {why}");
        self.alarm(ALARM_STORE, Severity::Error, cause.clone(), OPEN_ACTION);
        cause
    }

    fn alarm(&mut self, id: &'static str, severity: Severity, cause: String, action: &str) {
        self.alarms.push(Alarm {
            id,
            about: "configuration".to_owned(),
            severity,
            cause,
            action: action.to_owned(),
            since_ms: now_ms(),
            node: None,
        });
    }
}

/// Where a node keeps its files.
pub(super) fn state_dir(local: &Document) -> PathBuf {
    PathBuf::from(text_at(local, "state_dir").unwrap_or_else(|| "/var/lib/edgeway".to_owned()))
}

/// The text of one of the node's own settings.
fn text_at(local: &Document, path: &str) -> Option<String> {
    match local.at(&path.parse().ok()?)? {
        Content::Value(Value::Text(text)) => Some(text),
        Content::Value(Value::Boolean(_) | Value::Integer(_) | Value::List(_) | Value::Secret(_))
        | Content::Entry(_)
        | Content::Order(_) => None,
    }
}

/// The state directory, as the node's identity makes it; what cannot be made is noticed when the store is opened.
fn prepare_folder(state_dir: &Path) {
    let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir);
}

/// Unix milliseconds.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
