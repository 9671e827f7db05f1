//! Passwords: argon2id, on threads that may take their time, a few at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::api::Problem;
use crate::limits::{HASHES_AT_ONCE, HASHES_WAITING_MAX, PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN};

/// Whether somebody may choose this password.
pub(crate) fn check(password: &str) -> Result<(), Problem> {
    let chars = password.chars().count();
    if chars < PASSWORD_CHARS_MIN {
        return Err(Problem::new("invalid", format!("A password has at least {PASSWORD_CHARS_MIN} characters.")));
    }
    if chars > PASSWORD_CHARS_MAX {
        return Err(Problem::new("invalid", format!("A password has at most {PASSWORD_CHARS_MAX} characters.")));
    }
    Ok(())
}

/// Hashes passwords.
#[derive(Clone)]
pub(crate) struct Hashing {
    at_once: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    nobodys: Arc<OnceLock<String>>,
}

impl Hashing {
    pub(crate) fn new() -> Self {
        Self { at_once: Arc::new(Semaphore::new(HASHES_AT_ONCE)), waiting: Arc::default(), nobodys: Arc::default() }
    }

    /// What is kept of a password.
    pub(crate) async fn hash(&self, password: Zeroizing<String>) -> Result<String, Problem> {
        self.work(move || hash(&password)).await?
    }

    /// Whether it is the password of which `kept` is the hash. `None`: of nobody; that takes as long.
    pub(crate) async fn is(&self, password: Zeroizing<String>, kept: Option<String>) -> Result<bool, Problem> {
        let nobodys = Arc::clone(&self.nobodys);
        self.work(move || {
            let known = kept.is_some();
            let kept = match kept {
                Some(kept) => kept,
                None => match nobodys.get() {
                    Some(hash) => hash.clone(),
                    None => nobodys.get_or_init(|| hash("nobody's password").unwrap_or_default()).clone(),
                },
            };
            let Ok(kept) = PasswordHash::new(&kept) else { return false };
            Argon2::default().verify_password(password.as_bytes(), &kept).is_ok() && known
        })
        .await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let busy = || Problem::new("unavailable", "Too many sign-ins at once.").retry_after(Duration::from_secs(2));
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= HASHES_WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(busy());
        }
        let permit = Arc::clone(&self.at_once).acquire_owned().await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let permit = permit.map_err(|_| busy())?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(|_| Problem::new("broken", "The password could not be hashed."))
    }
}

fn hash(password: &str) -> Result<String, Problem> {
    let hashed: Result<PasswordHash, _> = Argon2::default().hash_password(password.as_bytes());
    hashed.map(|hash| hash.to_string()).map_err(|_| Problem::new("broken", "The password could not be hashed."))
}
