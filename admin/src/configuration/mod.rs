//! The desk at which the configuration is changed: validated, planned, committed, applied; and rolled back.
//!
//! One change at a time. A change is first judged as a whole, then the node gets ready for it, then the store takes it,
//! then the node uses it: whatever fails on the way leaves everything as it was. What the store does not take does not
//! hold, and traffic goes on under what held before. A change that has begun is finished, even if whoever asked for it has
//! gone.
//!
//! No secret leaves the desk: what is shown of one is the word `sealed`.

mod boot;
mod fault;
mod file;
mod healing;
mod judge;
mod last_good;
pub mod limits;
mod proposal;
mod shown;
mod views;
mod waiting;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edgeway_config::document::{Document, Plan, diff, plan};
use edgeway_config::{Committed, CoreSettings};
use edgeway_model::alarm::{Alarm, Severity};
use edgeway_runtime::operate::{OperatorPort, Told};
use tokio::sync::Notify;
use tokio::time::Instant;

pub use self::boot::{BootFault, Booted, Parts, boot, boot_with};
pub use self::fault::ConfigurationFault;
pub use self::last_good::settings_beside;
pub use self::proposal::Proposal;
pub use self::views::{
    ChangeOrder, ChangeView, CommitView, CurrentView, DifferenceView, DocumentView, OriginView, PlanView, ProblemView,
    RevisionView, StepView, WaitingView,
};

use self::boot::{Opener, now_ms};
use self::judge::Judge;
use self::limits::{CLOCK_LOOK, COMMENT_BYTES_MAX, CONFIRM_MAX, CONFIRM_MIN, ROLLBACK_AGAIN, STORE_AGAIN};
use self::waiting::Waiting;
use crate::store::{Kind, LateStore, NewRevision, Revision, Store, StoreFault, Write};

/// The store cannot be used.
pub const ALARM_STORE: &str = "configuration_store";
/// The newest revision cannot be used.
pub const ALARM_REVISION: &str = "configuration_revision";
/// An edit of the node's file was not taken.
pub const ALARM_FILE: &str = "configuration_file";
/// A secret cannot be opened.
pub const ALARM_SECRET: &str = "configuration_secret";
/// A revision waits for its confirmation.
pub const ALARM_WAITING: &str = "configuration_waiting";
/// Settings hold only after a restart.
pub const ALARM_RESTART: &str = "configuration_restart";

/// The author of changes that were made in the node's file.
const FILE_AUTHOR: &str = "file";
/// What alarms of the desk are about.
const ABOUT: &str = "configuration";

/// Where what holds comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The store.
    Store,
    /// The last good copy.
    LastGood,
    /// The node's file alone.
    File,
}

impl Source {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::LastGood => "last-good",
            Self::File => "file",
        }
    }
}

/// What holds now.
#[derive(Clone, Debug)]
pub(crate) struct Holding {
    revision: u64,
    source: Source,
    document: Document,
    judge: Judge,
    settings: Arc<CoreSettings>,
    waiting: Option<Waiting>,
    /// Settings that hold after a restart, as the node says.
    restart: Vec<String>,
    /// What the store still has to take back.
    owed: Option<Owed>,
}

/// A revision that is in the store and that the node has not used.
#[derive(Clone, Debug)]
struct Owed {
    head: u64,
    why: String,
    /// The record that waits for its confirmation.
    record: Option<String>,
}

/// Changes the configuration of a core. Clones are the same desk.
#[derive(Clone)]
pub struct ConfigurationDesk(Arc<Inner>);

struct Inner {
    node: String,
    file: PathBuf,
    state_dir: PathBuf,
    port: OperatorPort,
    store: Arc<LateStore>,
    open: Opener,
    /// Bytes that the store did not take, and has not shown since that it would; 0: none.
    failed_bytes: AtomicUsize,
    /// Held while that changes and is said, so that the alarm goes with it.
    saying: tokio::sync::Mutex<()>,
    /// What was changed in the file could not be kept, and is read again when it can be.
    file_waits: AtomicBool,
    store_opened: Notify,
    held: Mutex<Arc<Holding>>,
    /// Who changes something holds it.
    turn: tokio::sync::Mutex<()>,
    changed: Notify,
    alarms: Mutex<Vec<Alarm>>,
}

/// Who wants a change, and why.
#[derive(Clone, Debug)]
pub struct By {
    /// `account alice`, `token ci`, `socket uid 0`.
    pub author: String,
    /// Why; may be empty.
    pub comment: String,
}

/// A change that is judged.
struct Next {
    document: Document,
    judge: Judge,
    settings: Arc<CoreSettings>,
    by: By,
    also: Vec<(Kind, String, Option<String>)>,
    confirm: Option<Duration>,
    /// It is to hold even where the store does not take it: what nobody has confirmed must go.
    insist: bool,
}

impl ConfigurationDesk {
    /// A desk for the node behind `port`. It must be [watched](Self::watch).
    #[must_use]
    pub fn new(parts: Parts, port: OperatorPort) -> Self {
        let Parts { store, open, file, state_dir, holding, alarms, not_kept } = parts;
        Self(Arc::new(Inner {
            node: holding.settings.node.as_str().to_owned(),
            file,
            state_dir,
            port,
            store,
            open,
            failed_bytes: AtomicUsize::new(usize::from(not_kept)),
            saying: tokio::sync::Mutex::new(()),
            file_waits: AtomicBool::new(not_kept),
            store_opened: Notify::new(),
            held: Mutex::new(Arc::new(holding)),
            turn: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
            alarms: Mutex::new(alarms),
        }))
    }

    /// What a proposal would do. Nothing is changed.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub async fn propose(&self, proposal: Proposal) -> Result<PlanView, ConfigurationFault> {
        let inner = Arc::clone(&self.0);
        finished(tokio::spawn(async move {
            let _turn = inner.turn.lock().await;
            let now = inner.now();
            let (document, judged) = inner.judged(&now, proposal).await?;
            let changes = diff(&now.document, &document);
            let planned = plan(&now.settings, &judged, &changes);
            let prepared = inner.port.prepare(Arc::clone(&judged)).await.map_err(ConfigurationFault::Refused)?;
            inner.port.abort().await;
            let steps = steps(planned, &prepared.restart);
            Ok(PlanView { revision: now.revision, steps, document: document.to_toml_shown() })
        }))
        .await
    }

    /// Makes a proposal the newest revision, and the node uses it. `expected` is the revision the proposal was made from.
    /// With `confirm` the revision before comes back by itself, unless this one is confirmed within that time.
    ///
    /// # Errors
    /// [`ConfigurationFault`]; nothing has changed then.
    pub async fn commit(
        &self,
        expected: u64,
        proposal: Proposal,
        by: By,
        confirm: Option<Duration>,
    ) -> Result<CommitView, ConfigurationFault> {
        let inner = Arc::clone(&self.0);
        finished(tokio::spawn(async move {
            let _turn = inner.turn.lock().await;
            inner.take_back().await?;
            let now = inner.now();
            if expected != now.revision {
                return Err(ConfigurationFault::Conflict { head: now.revision });
            }
            if let Some(waiting) = &now.waiting {
                return Err(ConfigurationFault::Waiting { revision: waiting.revision });
            }
            let (document, settings) = inner.judged(&now, proposal).await?;
            let judge = now.judge.clone();
            let confirm = confirm.map(|time| time.clamp(CONFIRM_MIN, CONFIRM_MAX));
            let next = Next { document, judge, settings, by, also: Vec::new(), confirm, insist: false };
            inner.make(&now, now.revision, next).await
        }))
        .await
    }

    /// A revision that waits stays.
    ///
    /// # Errors
    /// [`ConfigurationFault`]: it does not wait (any more), or the store cannot be written.
    pub async fn confirm(&self, revision: u64) -> Result<CurrentView, ConfigurationFault> {
        let inner = Arc::clone(&self.0);
        finished(tokio::spawn(async move {
            let _turn = inner.turn.lock().await;
            let now = inner.now();
            let Some(waiting) = now.waiting.clone().filter(|waiting| waiting.revision == revision) else {
                return Err(ConfigurationFault::NotFound(format!("revision {revision} does not wait for anything")));
            };
            // What its time has run out for goes back, and may have gone already where the store does not say so yet.
            if waiting.until_ms <= now_ms() || now.revision != revision {
                let why =
                    format!("revision {revision} was not confirmed in time: revision {} comes back", waiting.back_to);
                return Err(ConfigurationFault::NotFound(why));
            }
            inner.stored(move |store| store.remove(Kind::Confirmation, &waiting.key())).await?;
            inner.hold(Holding { waiting: None, ..Holding::clone(&now) });
            inner.keep_copy().await;
            Ok(inner.current())
        }))
        .await
    }

    /// Makes a new revision with the text of an old one. It is confirmed by being made, and so takes the place of one that
    /// waits. With `expected` it is refused where another revision is the newest.
    ///
    /// # Errors
    /// [`ConfigurationFault`].
    pub async fn rollback(&self, to: u64, expected: Option<u64>, by: By) -> Result<CommitView, ConfigurationFault> {
        let inner = Arc::clone(&self.0);
        finished(tokio::spawn(async move {
            let _turn = inner.turn.lock().await;
            let head = inner.now().revision;
            if expected.is_some_and(|expected| expected != head) {
                return Err(ConfigurationFault::Conflict { head });
            }
            let comment = match by.comment.as_str() {
                "" => format!("back to revision {to}"),
                comment => comment.to_owned(),
            };
            inner.go_back(to, By { comment, ..by }, false).await
        }))
        .await
    }

    /// Takes what was changed in the node's file since it was last read. `Ok(None)`: nothing.
    ///
    /// # Errors
    /// [`ConfigurationFault`]; the file is read again the next time.
    pub async fn read_file(&self) -> Result<Option<CommitView>, ConfigurationFault> {
        let inner = Arc::clone(&self.0);
        finished(tokio::spawn(async move {
            let _turn = inner.turn.lock().await;
            let read = inner.read_file().await;
            match &read {
                Ok(_) => inner.tell(Told::AlarmOver { id: ALARM_FILE, about: ABOUT.to_owned() }).await,
                Err(fault) => {
                    inner.tell(Told::Refused).await;
                    let kept_not = matches!(fault, ConfigurationFault::Store(StoreFault::Unavailable(_)));
                    inner.file_waits.store(kept_not, Ordering::SeqCst);
                    let cause = format!("What was changed in {} is not taken: {fault}", inner.file.display());
                    let action = "Correct the file, then reload the service (SIGHUP).";
                    inner.alarm(ALARM_FILE, Severity::Error, cause, action).await;
                }
            }
            read
        }))
        .await
    }

    /// Tells the node what was found at the start, rolls back what nobody confirms, and reads the file at SIGHUP. To be
    /// run for as long as the node runs.
    pub async fn watch(&self) {
        let inner = &self.0;
        let alarms = std::mem::take(&mut *inner.alarms.lock().unwrap_or_else(PoisonError::into_inner));
        for alarm in alarms {
            inner.tell(Told::Alarm(alarm)).await;
        }
        inner.tell_what_holds().await;
        let mut hang_up = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok();
        let mut heal_at = Instant::now() + STORE_AGAIN;
        let mut healing: Option<tokio::task::JoinHandle<bool>> = None;
        loop {
            if heal_at <= Instant::now() {
                // Beside all else, and one at a time: a disk that hangs holds a thread that nobody can end, and no more.
                if healing.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
                    let desk = self.clone();
                    healing = Some(tokio::spawn(async move { desk.heal().await }));
                }
                heal_at = Instant::now() + STORE_AGAIN;
            }
            let pause = match inner.now().waiting.as_ref().map(|waiting| waiting.until_ms.saturating_sub(now_ms())) {
                _ if inner.now().owed.is_some() => match self.take_back().await {
                    Ok(()) => continue,
                    Err(_) => ROLLBACK_AGAIN,
                },
                Some(0) => match self.roll_back_unconfirmed().await {
                    Ok(()) => continue,
                    Err(fault) => {
                        tracing::error!("what was not confirmed could not be rolled back: {fault}");
                        ROLLBACK_AGAIN
                    }
                },
                Some(left) => Duration::from_millis(left).min(CLOCK_LOOK),
                None => CLOCK_LOOK,
            };
            let asked = async {
                match &mut hang_up {
                    Some(hang_up) => hang_up.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                asked = asked => if asked.is_some() {
                    match self.read_file().await {
                        Ok(Some(done)) => tracing::info!(revision = done.revision, "the file was changed"),
                        Ok(None) => {}
                        Err(fault) => tracing::error!("the file is not taken: {fault}"),
                    }
                },
                () = inner.changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn take_back(&self) -> Result<(), ConfigurationFault> {
        let inner = Arc::clone(&self.0);
        finished(tokio::spawn(async move {
            let _turn = inner.turn.lock().await;
            inner.take_back().await
        }))
        .await
    }

    async fn roll_back_unconfirmed(&self) -> Result<(), ConfigurationFault> {
        let inner = Arc::clone(&self.0);
        finished(tokio::spawn(async move {
            let _turn = inner.turn.lock().await;
            let Some(waiting) = inner.now().waiting.clone().filter(|waiting| waiting.until_ms <= now_ms()) else {
                return Ok(());
            };
            tracing::warn!(revision = waiting.revision, back_to = waiting.back_to, "not confirmed: rolled back");
            let NewRevision { author, comment, .. } = waiting.rollback();
            inner.go_back(waiting.back_to, By { author, comment }, true).await.map(drop)
        }))
        .await
    }
}

/// What was begun is finished, whoever stops listening.
async fn finished<T>(task: tokio::task::JoinHandle<Result<T, ConfigurationFault>>) -> Result<T, ConfigurationFault> {
    task.await.unwrap_or_else(|_| Err(ended()))
}

fn ended() -> ConfigurationFault {
    ConfigurationFault::Unavailable("the configuration desk has ended".to_owned())
}

impl Inner {
    fn now(&self) -> Arc<Holding> {
        Arc::clone(&self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn hold(&self, holding: Holding) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(holding);
        self.changed.notify_one();
    }

    /// Asks the store, on a thread that may wait.
    async fn stored<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Store) -> Result<T, StoreFault> + Send + 'static,
    ) -> Result<T, ConfigurationFault> {
        let store = Arc::clone(&self.store);
        if let Some(why) = store.missing_because() {
            return Err(ConfigurationFault::Unavailable(why));
        }
        let asked = tokio::task::spawn_blocking(move || ask(&*store)).await;
        asked.map_err(|_| ended())?.map_err(ConfigurationFault::of_store)
    }

    /// What a proposal asks for, and the settings it makes. Secrets are sealed and opened on a thread that may wait.
    async fn judged(
        &self,
        now: &Arc<Holding>,
        proposal: Proposal,
    ) -> Result<(Document, Arc<CoreSettings>), ConfigurationFault> {
        let now = Arc::clone(now);
        let judging = tokio::task::spawn_blocking(move || {
            let document = proposal.document(&now.document, &now.judge)?;
            let judged = now.judge.settings(&document).map_err(|problems| proposal.placed(problems))?;
            // One that could not be opened before is no reason to change nothing at all.
            let new = judged.shut.into_iter().filter(|(path, _)| now.document.at(path) != document.at(path));
            let shut: Vec<_> = new.map(|(path, why)| proposal::problem(path.to_string(), why, "")).collect();
            if shut.is_empty() {
                Ok((document, Arc::new(judged.settings)))
            } else {
                Err(ConfigurationFault::Problems(shut))
            }
        });
        judging.await.map_err(|_| ended())?
    }

    /// Prepares, commits, applies. Nothing is changed by what fails.
    async fn make(&self, now: &Arc<Holding>, head: u64, next: Next) -> Result<CommitView, ConfigurationFault> {
        let Next { document, judge, settings, by, mut also, confirm, insist } = next;
        let changes = diff(&now.document, &document);
        let nothing_to_keep = changes.is_empty() && also.is_empty() && now.waiting.is_none();
        if nothing_to_keep && judge.local == now.judge.local {
            return Ok(CommitView { revision: now.revision, steps: Vec::new(), waiting: None });
        }
        let planned = plan(&now.settings, &settings, &changes);
        // Edges are told which revision it is, and when it was made: the last word of several cores counts.
        let at_ms = now_ms();
        let told = CoreSettings { committed: Committed { revision: head + 1, at_ms }, ..(*settings).clone() };
        let prepared = self.port.prepare(Arc::new(told)).await.map_err(ConfigurationFault::Refused)?;
        let waiting = confirm.map(|time| Waiting {
            revision: head + 1,
            back_to: head,
            until_ms: now_ms().saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        });
        also.extend(now.waiting.iter().map(|old| (Kind::Confirmation, old.key(), None)));
        also.extend(waiting.iter().map(|new| (Kind::Confirmation, new.key(), Some(new.json()))));
        let (record, back_to) = (waiting.as_ref().map(Waiting::key), now.waiting.as_ref().map(|old| old.back_to));
        let By { author, mut comment } = by;
        let mut end = comment.len().min(COMMENT_BYTES_MAX);
        while !comment.is_char_boundary(end) {
            end -= 1;
        }
        comment.truncate(end);
        let new = NewRevision { author, at_ms, comment, document: document.to_toml() };
        let bytes = new.document.len();
        let taken = move |store: &dyn Store| {
            let writes: Vec<_> =
                also.iter().map(|(kind, key, value)| Write { kind: *kind, key, value: value.as_deref() }).collect();
            store.commit(head, new, &writes).map(|head| head.number)
        };
        // What is the node's own is in its file, and in no revision.
        let committed = if nothing_to_keep { Ok(now.revision) } else { self.stored(taken).await };
        let committed = match committed {
            Ok(revision) => Ok(revision),
            Err(fault) => {
                if !matches!(fault, ConfigurationFault::Conflict { .. }) && self.store.opened().is_some() {
                    let cause = format!("A change of the configuration was not taken by its store: {fault}");
                    self.store_failed(cause, bytes).await;
                }
                if !insist {
                    self.port.abort().await;
                    return Err(fault);
                }
                Err(fault)
            }
        };
        if let Err(refusal) = self.port.apply().await {
            if nothing_to_keep {
                return Err(ConfigurationFault::Refused(vec![refusal.why]));
            }
            return Err(self.not_applied(&committed, record, refusal.why).await);
        }
        let restart = prepared.restart.clone();
        let (revision, waiting, source) = match &committed {
            Ok(revision) => (*revision, waiting, if nothing_to_keep { now.source } else { Source::Store }),
            // It holds, and it is written as soon as the store can be. Its text is that of the revision it goes back to;
            // its time is over for good, whatever becomes of the clock.
            Err(_) => {
                let over = now.waiting.clone().map(|waiting| Waiting { until_ms: 0, ..waiting });
                (back_to.unwrap_or(now.revision), over, now.source)
            }
        };
        let view = waiting.as_ref().map(Waiting::view);
        let holding = Holding { revision, source, document, judge, settings, waiting, restart, owed: None };
        self.hold(holding);
        self.tell_what_holds().await;
        let revision = committed?;
        self.store_works().await;
        self.tell(Told::AlarmOver { id: ALARM_REVISION, about: ABOUT.to_owned() }).await;
        self.keep_copy().await;
        Ok(CommitView { revision, steps: steps(planned, &prepared.restart), waiting: view })
    }

    /// The node has not used what it had got ready for, which it must not do: what was committed is taken back, and until
    /// that is written nothing else is.
    async fn not_applied(
        &self,
        committed: &Result<u64, ConfigurationFault>,
        record: Option<String>,
        why: String,
    ) -> ConfigurationFault {
        tracing::error!("new settings were not applied: {why}");
        if let Ok(head) = *committed {
            let owed = Owed { head, why: why.clone(), record };
            self.hold(Holding { owed: Some(owed), ..Holding::clone(&self.now()) });
            // Said there; tried again before the next change, and by the watch.
            let _ = self.take_back().await;
        }
        ConfigurationFault::Refused(vec![why])
    }

    /// Writes what holds as the newest revision, where the newest is one that was not applied. What waited before goes on
    /// waiting, under its new number.
    async fn take_back(&self) -> Result<(), ConfigurationFault> {
        let now = self.now();
        let Some(Owed { head, why, record }) = now.owed.clone() else { return Ok(()) };
        let comment = format!("revision {head} was not applied: {why}");
        let document = now.document.to_toml();
        let new = NewRevision { author: ABOUT.to_owned(), at_ms: now_ms(), comment, document };
        let waiting = now.waiting.clone().map(|waiting| Waiting { revision: head + 1, ..waiting });
        let kept = waiting.as_ref().map(|waiting| (waiting.key(), waiting.json()));
        let taken = move |store: &dyn Store| {
            let kind = Kind::Confirmation;
            let gone = record.as_ref().map(|key| Write { kind, key, value: None });
            let kept = kept.as_ref().map(|(key, value)| Write { kind, key, value: Some(value) });
            store.commit(head, new, &gone.into_iter().chain(kept).collect::<Vec<_>>())
        };
        match self.stored(taken).await {
            Ok(taken) => {
                let (revision, owed) = (taken.number, None);
                self.hold(Holding { revision, source: Source::Store, waiting, owed, ..Holding::clone(&now) });
                self.tell(Told::AlarmOver { id: ALARM_REVISION, about: ABOUT.to_owned() }).await;
                self.tell_what_holds().await;
                Ok(())
            }
            Err(fault) => {
                let cause = format!(
                    "Revision {head} was not applied ({why}), and the store does not take back that it is the newest: {fault}"
                );
                tracing::error!("{cause}");
                let action = "Make room, or let the service write its state directory; it tries again by itself.";
                self.alarm(ALARM_REVISION, Severity::Error, cause, action).await;
                Err(fault)
            }
        }
    }

    async fn go_back(&self, to: u64, by: By, insist: bool) -> Result<CommitView, ConfigurationFault> {
        self.take_back().await?;
        let now = self.now();
        // A rollback that the store did not take when it was due: its head is still the one that waited.
        let head = now.waiting.as_ref().map_or(now.revision, |waiting| waiting.revision);
        let Some(old) = self.stored(move |store| store.revision(to)).await? else {
            return Err(ConfigurationFault::NotFound(format!("there is no revision {to}")));
        };
        let document = parsed(&old)?;
        let judge = now.judge.clone();
        let judging = tokio::task::spawn_blocking(move || (judge.settings(&document), document, judge));
        let (judged, document, judge) = judging.await.map_err(|_| ended())?;
        let judged = judged.map_err(|problems| ConfigurationFault::Problems(ProblemView::all(problems)))?;
        if !judged.shut.is_empty() {
            let why: Vec<_> = judged.shut.iter().map(|(_, why)| why.as_str()).collect();
            let cause = format!("Secrets of revision {to} cannot be opened: {}", why.join("; "));
            self.alarm(ALARM_SECRET, Severity::Error, cause, "Write them anew.").await;
        }
        let settings = Arc::new(judged.settings);
        self.make(&now, head, Next { document, judge, settings, by, also: Vec::new(), confirm: None, insist }).await
    }

    async fn keep_copy(&self) {
        let now = self.now();
        if now.waiting.is_some() {
            return;
        }
        let (state_dir, node) = (self.state_dir.clone(), self.node.clone());
        let write = move || last_good::write(&state_dir, &now.document, &node, now.revision);
        let _ = tokio::task::spawn_blocking(write).await;
    }

    async fn tell(&self, told: Told) {
        self.port.tell(told).await;
    }

    async fn alarm(&self, id: &'static str, severity: Severity, cause: String, action: &str) {
        let (about, action) = (ABOUT.to_owned(), action.to_owned());
        self.tell(Told::Alarm(Alarm { id, about, severity, cause, action, since_ms: now_ms(), node: None })).await;
    }

    /// The node's status has the revision; what waits, and what needs a restart, are alarms.
    async fn tell_what_holds(&self) {
        let now = self.now();
        let revision = (now.source == Source::Store).then_some(now.revision);
        self.tell(Told::Configuration { revision, source: now.source.as_str() }).await;
        match &now.waiting {
            Some(Waiting { revision, back_to, .. }) => {
                let cause = format!(
                    "Revision {revision} of the configuration waits: without a confirmation revision {back_to} comes back."
                );
                let action = "Confirm it (`edgeway config confirm`) or roll it back.";
                self.alarm(ALARM_WAITING, Severity::Warning, cause, action).await;
            }
            None => self.tell(Told::AlarmOver { id: ALARM_WAITING, about: ABOUT.to_owned() }).await,
        }
        if now.restart.is_empty() {
            self.tell(Told::AlarmOver { id: ALARM_RESTART, about: ABOUT.to_owned() }).await;
        } else {
            let cause = format!("Changed settings do not hold yet: {}", now.restart.join(", "));
            let action = "Restart this node when it suits: maintenance mode first, if nobody is to notice.";
            self.alarm(ALARM_RESTART, Severity::Warning, cause, action).await;
        }
    }
}

/// The document of a revision.
fn parsed(revision: &Revision) -> Result<Document, ConfigurationFault> {
    let origin = format!("revision {}", revision.head.number);
    Document::parse(&revision.document, &origin)
        .map_err(|problems| ConfigurationFault::Problems(ProblemView::all(problems)))
}

/// The steps of a plan; what the node says needs a restart does, whatever the manual says.
fn steps(plan: Plan, restart: &[String]) -> Vec<StepView> {
    let of = |step: edgeway_config::document::Step| {
        let (path, setting) = (step.path.to_string(), step.path.setting().map(|setting| setting.path));
        let must = restart.iter().any(|one| *one == path || Some(one.as_str()) == setting);
        let mut view = StepView::from(step);
        if must && view.impact != "restart" {
            (view.impact, view.words) = ("restart".to_owned(), "restart".to_owned());
        }
        view
    };
    plan.steps.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests;
