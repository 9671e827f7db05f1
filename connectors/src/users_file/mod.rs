//! The authority of sites that have no call manager and no directory: a file of users with Argon2id hashes.
//!
//! The file is looked at every two seconds and taken when it has changed. One that is wrong is not taken: the
//! last good one stays in use, and an alarm says what is wrong. A check costs tens of milliseconds of a
//! processor by design, so it runs on a thread of its own, few at a time. A name nobody has costs as much as a
//! wrong password.

pub mod edit;
pub mod format;

use std::cell::{Cell, RefCell};
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use edgeway_model::alarm::{Alarm, Severity};
use edgeway_model::sign_in::{Profile, Subject, UserName};
use edgeway_runtime::clock::unix_ms;
use edgeway_runtime::http::{HttpFact, LocalFuture, Teller};
use tokio::sync::Semaphore;

use self::format::{Cost, Hash, Users};
use crate::authorities::AuthorityFault;
use crate::authorities::limits::{
    ARGON2_CHECKS_MAX, ARGON2_WAITING_MAX, CHECK_WITHIN, PASSWORD_BYTES_MAX, USERS_FILE_LOOK_EVERY,
};
use crate::sign_in::authority::{Authority, Credential, Known, Reached, Verdict};

/// Id of the alarm of a file that is not taken.
pub const ALARM_USERS_FILE: &str = "users_file";

/// A users file.
pub struct UsersFile {
    path: PathBuf,
    users: RefCell<Arc<Users>>,
    seen: Cell<Seen>,
    alarmed: Cell<bool>,
    checks: Arc<Semaphore>,
    waiting: Cell<usize>,
    /// Chooses what an unknown user costs, the same each time.
    choose: RandomState,
    teller: Teller,
}

/// By what a change is noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Seen {
    fn at(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        let changed = (found.ctime(), found.ctime_nsec());
        Ok(Self { device: found.dev(), inode: found.ino(), bytes: found.size(), changed })
    }
}

impl UsersFile {
    /// Reads the file.
    ///
    /// # Errors
    /// In words: it cannot be read, or what is wrong in it.
    pub fn open(path: &Path, teller: Teller) -> Result<Rc<Self>, AuthorityFault> {
        let fault = |why: String| AuthorityFault(format!("{}: {why}", path.display()));
        // Before the text: a change in between is then seen as one.
        let seen = Seen::at(path).map_err(|error| fault(error.to_string()))?;
        let users = load(path).map_err(fault)?;
        Ok(Rc::new(Self {
            path: path.to_owned(),
            users: RefCell::new(Arc::new(users)),
            seen: Cell::new(seen),
            alarmed: Cell::new(false),
            checks: Arc::new(Semaphore::new(ARGON2_CHECKS_MAX)),
            waiting: Cell::new(0),
            choose: RandomState::new(),
            teller,
        }))
    }

    /// Looks for changes for as long as anybody has the file. For `spawn_local`.
    pub async fn watch(file: std::rc::Weak<Self>) {
        loop {
            tokio::time::sleep(USERS_FILE_LOOK_EVERY).await;
            let Some(file) = file.upgrade() else { return };
            file.look().await;
        }
    }

    /// Takes the file if it has changed.
    pub async fn look(&self) {
        let path = self.path.clone();
        let last = self.seen.get();
        let looked = tokio::task::spawn_blocking(move || {
            let seen = Seen::at(&path);
            match seen {
                Ok(seen) if seen == last => (last, None),
                Ok(seen) => (seen, Some(load(&path))),
                Err(error) => (Seen::default(), Some(Err(error.to_string()))),
            }
        });
        // Cancelled: the process ends. Panicked: nothing is taken.
        let Ok((seen, Some(loaded))) = looked.await else { return };
        // A file that is gone is told once, not every time.
        if seen == last {
            return;
        }
        self.seen.set(seen);
        match loaded {
            Ok(users) => {
                tracing::info!(file = %self.path.display(), users = users.by_name.len(), "the users file has been taken");
                self.users.replace(Arc::new(users));
                if self.alarmed.replace(false) {
                    let about = self.path.display().to_string();
                    self.teller.tell(HttpFact::AlarmOver { id: ALARM_USERS_FILE, about });
                }
            }
            Err(why) => {
                tracing::warn!(file = %self.path.display(), %why, "the users file is not taken; the last good one stays");
                self.alarmed.set(true);
                self.teller.tell(HttpFact::Alarm(Alarm {
                    id: ALARM_USERS_FILE,
                    about: self.path.display().to_string(),
                    severity: Severity::Warning,
                    cause: format!("the file is not taken, the last good one is in use: {why}"),
                    action: "correct it; `edgeway users list --file` says whether it is right".to_owned(),
                    since_ms: unix_ms(),
                    node: None,
                }));
            }
        }
    }

    async fn ask(&self, user: &UserName, credential: &Credential) -> Verdict {
        let Credential::Password(password) = credential else { return Verdict::Refused };
        if password.len() > PASSWORD_BYTES_MAX {
            return Verdict::Refused;
        }
        if self.waiting.get() >= ARGON2_WAITING_MAX {
            return unavailable("too many sign-ins are waiting for the users file".to_owned());
        }
        let _waits = Waits::one_more(&self.waiting);
        let Ok(permit) = Arc::clone(&self.checks).acquire_owned().await else {
            return unavailable("the node is stopping".to_owned());
        };
        let users = Arc::clone(&self.users.borrow());
        let dummy = Hash::nobodys(self.cost_of_nobody(&users, user));
        let (name, password) = (user.clone(), password.clone());
        let looked = tokio::task::spawn_blocking(move || {
            // Goes with the work, not with who waits for it.
            let _permit = permit;
            let entry = users.by_name.get(&name);
            let fits = entry.map_or(&dummy, |entry| &entry.hash).verify(password.as_bytes())?;
            let entry = entry.filter(|entry| fits && !entry.locked);
            // A line that names no device says nothing of devices.
            let devices = |entry: &format::Entry| Some(entry.devices.clone()).filter(|devices| !devices.is_empty());
            Some(entry.map(|entry| (devices(entry), entry.numbers.clone())))
        });
        match looked.await {
            Ok(Some(Some((devices, numbers)))) => Verdict::Good(Box::new(Known {
                user: user.clone(),
                spelled: None,
                devices,
                numbers,
                profile: Profile::default(),
                until_ms: None,
            })),
            Ok(Some(None)) => Verdict::Refused,
            Ok(None) => unavailable("there is no memory to check a password of the users file".to_owned()),
            Err(_) => unavailable("a check of the users file was cut off".to_owned()),
        }
    }

    /// Hashes of one file may cost differently. A name nobody has costs as much as one of them, always the same
    /// one, so that time tells nothing.
    fn cost_of_nobody(&self, users: &Users, user: &UserName) -> Cost {
        let count = users.costs.len().max(1) as u64;
        let chosen = usize::try_from(self.choose.hash_one(user) % count).unwrap_or(0);
        let usual = Cost { memory_kib: 19 * 1024, passes: 2, lanes: 1, salt_bytes: 16, output_bytes: 32 };
        users.costs.get(chosen).copied().unwrap_or(usual)
    }
}

impl Drop for UsersFile {
    /// Nobody asks it any more: what is the matter with it is no matter.
    fn drop(&mut self) {
        if self.alarmed.get() {
            self.teller.tell(HttpFact::AlarmOver { id: ALARM_USERS_FILE, about: self.path.display().to_string() });
        }
    }
}

impl Authority for UsersFile {
    fn check<'a>(&'a self, subject: &'a Subject, credential: &'a Credential) -> LocalFuture<'a, Verdict> {
        Box::pin(async move {
            let asked = tokio::time::timeout(CHECK_WITHIN, self.ask(&subject.user, credential)).await;
            asked.unwrap_or_else(|_| {
                unavailable(format!("no answer from the users file within {} s", CHECK_WITHIN.as_secs()))
            })
        })
    }
}

/// There is no server that could be away: whatever is the matter is the matter here, and the next sign-in may be checked.
fn unavailable(why: String) -> Verdict {
    Verdict::Unavailable { why, reached: Reached::NotAsked }
}

/// Counts one that waits, for as long as it does.
struct Waits<'a>(&'a Cell<usize>);

impl<'a> Waits<'a> {
    fn one_more(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

fn load(path: &Path) -> Result<Users, String> {
    let text = edit::text(path).map_err(|error| error.to_string())?;
    if fs::metadata(path).is_ok_and(|found| found.mode() & 0o004 != 0) {
        tracing::warn!("{} can be read by every user of this machine: chmod o= it", path.display());
    }
    Users::parse(&text).map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests;
