//! What is done so that a store that failed is used again as soon as it can be, without a restart.
//!
//! One that could not be opened is opened, and what it holds is used as at a start. One that did not take a change is
//! tried with as much as that change was, so that the alarm is over when there is room, and not when somebody happens to
//! save again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use edgeway_model::alarm::Severity;
use edgeway_runtime::operate::Told;

use super::boot::{Booted, Occasion, boot_by};
use super::{ABOUT, ALARM_STORE, ConfigurationDesk, ConfigurationFault, Holding, Inner, ended, finished};
use crate::store::StoreFault;

/// What to do about a store that cannot be used.
pub(super) const OPEN_ACTION: &str =
    "Set that right: until then nothing can be changed here. It is tried again by itself every ten seconds.";
/// What to do about a store that does not take what it is given.
const WRITE_ACTION: &str = "Make room, or let the service write its state directory; then save again.";

impl ConfigurationDesk {
    /// Whether the store can be used. Where it cannot, it is tried again.
    #[must_use]
    pub fn is_store_open(&self) -> bool {
        self.0.store.opened().is_some()
    }

    /// Waits until the store can be used, for whoever has something to do then.
    pub async fn store_opened(&self) {
        let opened = self.0.store_opened.notified();
        if !self.is_store_open() {
            opened.await;
        }
    }

    /// The store did not take what was to be kept: so many bytes, and what it was.
    pub(crate) async fn not_kept(&self, what: &str, bytes: usize, fault: &StoreFault) {
        if !self.is_store_open() {
            // Said already, with what is to be done about it.
            return;
        }
        self.0.store_failed(format!("{what} could not be kept: {fault}"), bytes).await;
    }

    /// Tries a store that has failed once more. Whether there is more to try.
    pub(super) async fn heal(&self) -> bool {
        let inner = Arc::clone(&self.0);
        if inner.store.opened().is_none() {
            let opening = tokio::spawn(async move { inner.open_store().await });
            return finished(opening).await.is_err() || self.0.failed_bytes.load(Ordering::SeqCst) != 0;
        }
        let bytes = inner.failed_bytes.load(Ordering::SeqCst);
        if bytes == 0 {
            return false;
        }
        if inner.is_still_full(bytes).await {
            return true;
        }
        // What was changed in the file is taken as soon as it can be kept.
        if inner.file_waits.swap(false, Ordering::SeqCst)
            && let Err(fault) = self.read_file().await
        {
            tracing::error!("the file is not taken: {fault}");
        }
        false
    }
}

impl Inner {
    /// An alarm says so until as much could be written.
    pub(super) async fn store_failed(&self, cause: String, bytes: usize) {
        tracing::error!("{cause}");
        let _saying = self.saying.lock().await;
        self.failed_bytes.fetch_max(bytes.max(1), Ordering::SeqCst);
        self.alarm(ALARM_STORE, Severity::Error, cause, WRITE_ACTION).await;
        self.changed.notify_one();
    }

    /// Something was written.
    pub(super) async fn store_works(&self) {
        let _saying = self.saying.lock().await;
        self.failed_bytes.store(0, Ordering::SeqCst);
        self.tell(Told::AlarmOver { id: ALARM_STORE, about: ABOUT.to_owned() }).await;
    }

    /// There is room for so many bytes. Whether that is all: something larger may have failed since that was asked.
    async fn has_taken(&self, bytes: usize) -> bool {
        let _saying = self.saying.lock().await;
        let is_all = self.failed_bytes.compare_exchange(bytes, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if is_all {
            tracing::info!("the store can be written again");
            self.tell(Told::AlarmOver { id: ALARM_STORE, about: ABOUT.to_owned() }).await;
        }
        is_all
    }

    async fn is_still_full(&self, bytes: usize) -> bool {
        match self.stored(move |store| store.has_room(bytes)).await {
            Ok(()) => !self.has_taken(bytes).await,
            Err(_) => true,
        }
    }

    /// What a start does, with the same file; what was found then is used at once. Where there was a store before, none is
    /// made: the files of a damaged one are moved aside while a back-up is fetched. A disk that does not answer keeps
    /// nobody else waiting: others have their turn until there is something to be used.
    async fn open_store(&self) -> Result<(), ConfigurationFault> {
        let before = self.now();
        let (file, open) = (self.file.clone(), Arc::clone(&self.open));
        let booted =
            tokio::task::spawn_blocking(move || boot_by(&file, open, Occasion::Running)).await.map_err(|_| ended())?;
        let Booted { settings, parts } = booted.map_err(|fault| self.still_missing(fault.0))?;
        let Some(store) = parts.store.opened().cloned() else {
            let cause = parts.alarms.into_iter().find(|alarm| alarm.id == ALARM_STORE).map(|alarm| alarm.cause);
            let cause = cause.unwrap_or_default();
            if self.store.still_missing(&cause) {
                self.alarm(ALARM_STORE, Severity::Error, cause.clone(), OPEN_ACTION).await;
            }
            return Err(ConfigurationFault::Unavailable(cause));
        };
        let _turn = self.turn.lock().await;
        if self.store.opened().is_some() {
            return Ok(());
        }
        if !Arc::ptr_eq(&before, &self.now()) {
            return Err(ConfigurationFault::Unavailable("the node's file was changed meanwhile".to_owned()));
        }
        let prepared = match self.port.prepare(Arc::new(settings)).await {
            Ok(prepared) => prepared,
            Err(why) => {
                let cause = format!("The store can be used again, and what it holds cannot: {}", why.join("; "));
                if self.store.still_missing(&cause) {
                    self.alarm(ALARM_STORE, Severity::Error, cause, OPEN_ACTION).await;
                }
                return Err(ConfigurationFault::Refused(why));
            }
        };
        self.port.apply().await.map_err(|refusal| ConfigurationFault::Refused(vec![refusal.why]))?;
        self.store.open(store);
        self.hold(Holding { restart: prepared.restart, ..parts.holding });
        tracing::info!(revision = self.now().revision, "the store of the configuration is used again");
        self.store_works().await;
        if parts.not_kept {
            // It can be read and not written: what was changed in the file is taken when it can.
            self.failed_bytes.fetch_max(1, Ordering::SeqCst);
            self.file_waits.store(true, Ordering::SeqCst);
        }
        for alarm in parts.alarms {
            self.tell(Told::Alarm(alarm)).await;
        }
        self.tell_what_holds().await;
        // Not before: what the node refuses is no good copy, nor is what nobody has confirmed.
        self.keep_copy().await;
        self.store_opened.notify_waiters();
        Ok(())
    }

    fn still_missing(&self, why: String) -> ConfigurationFault {
        self.store.still_missing(&why);
        ConfigurationFault::Unavailable(why)
    }
}
