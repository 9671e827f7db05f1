//! Who is at the door, and who may be: sign-in, sessions, tokens, accounts.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use edgeway_runtime::pki;
use zeroize::Zeroizing;

use super::password::{self, Hashing};
use super::rows::{self, Account, FirstCode, Session, Token};
use super::throttle::{Attempt, FIRST_CODE, Place, Throttle};
use super::{Role, secrets};
use crate::api::{Actor, Peer, Problem, Via};
use crate::limits::{
    FIRST_CODE_MS, KNOWN_PLACE_MS, NAME_BYTES_MAX, SEEN_EVERY_MS, SESSION_MS, TOKEN_DAYS_MAX, TOKEN_NAME_CHARS_MAX,
};
use crate::office::Now;
use crate::store::{Store, StoreFault};

/// The cookie of a browser that has signed in (RFC 6265bis §4.1.3.2: of this host, over TLS, of all paths).
pub const COOKIE: &str = "__Host-edgeway";
/// Where the first code is found, in the state directory.
const FIRST_CODE_FILE: &str = "first-code";
/// What tokens begin with, so that a scanner of secrets finds one that has been published.
const TOKEN_PREFIX: &str = "edgeway_";

/// Somebody who has just signed in.
pub struct SignedIn {
    /// Who.
    pub actor: Actor,
    /// `Set-Cookie`.
    pub cookie: String,
    /// When it ends at the latest, Unix milliseconds.
    pub expires_ms: u64,
}

/// What is changed of an account.
#[derive(Default)]
pub struct AccountChange {
    /// The role.
    pub role: Option<Role>,
    /// Whether it is closed.
    pub disabled: Option<bool>,
    /// A new password.
    pub password: Option<Zeroizing<String>>,
}

/// Accounts, sessions and tokens.
pub struct AccountsDesk {
    store: Arc<dyn Store>,
    state_dir: PathBuf,
    now: Now,
    hashing: Hashing,
    throttle: Mutex<Throttle>,
    /// Changes of accounts, one after the other: whether an administrator is the last one is asked and acted upon as one.
    changes: tokio::sync::Mutex<()>,
}

impl AccountsDesk {
    pub(crate) fn new(store: Arc<dyn Store>, state_dir: PathBuf, now: Now) -> Self {
        let changes = tokio::sync::Mutex::new(());
        Self { store, state_dir, now, hashing: Hashing::new(), throttle: Mutex::new(Throttle::new()), changes }
    }

    /// At the start of the service: without an administrator there must be a code for the first sign-in.
    pub(crate) async fn open(&self) {
        let now_ms = (self.now)();
        let found = self
            .stored(move |store| {
                let _ = rows::prune_sessions(store, now_ms)?;
                let places = rows::known_places(store, now_ms.saturating_sub(KNOWN_PLACE_MS))?;
                Ok((places, has_administrator(store)?, rows::first_code(store, now_ms)?.is_some()))
            })
            .await;
        let found = found.map(|(places, has_administrator, has_code)| {
            let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
            for rows::KnownPlace { key, at_ms } in places {
                if let Some((account, Ok(place))) = key.split_once(' ').map(|(account, place)| (account, place.parse()))
                {
                    throttle.know(account, place, at_ms);
                }
            }
            (has_administrator, has_code)
        });
        let file = self.state_dir.join(FIRST_CODE_FILE);
        match found {
            Ok((true, true)) => {}
            Ok((true, false)) => drop(std::fs::remove_file(&file)),
            Ok((false, true)) if file.exists() => {
                tracing::warn!("no administrator yet: the code for the first sign-in is in {}", file.display());
            }
            Ok((false, _)) => match self.first_code().await {
                Ok(code) => self.hand_out(&file, &code),
                Err(problem) => tracing::warn!("no code for the first sign-in: {}", problem.detail()),
            },
            Err(fault) => tracing::warn!(%fault, "it is not known who may sign in"),
        }
    }

    /// To a terminal if somebody looks at one; else to a file of ours, since a log is read by many and kept for long.
    fn hand_out(&self, file: &std::path::Path, code: &str) {
        if std::io::stderr().is_terminal() {
            eprintln!("\nThe code for the first sign-in, good for 24 hours and once: {code}\n");
        }
        match pki::replace(file, format!("{code}\n").as_bytes()) {
            Ok(()) => tracing::warn!(
                "no administrator yet: the code for the first sign-in is in {}, good for 24 hours and once",
                file.display()
            ),
            Err(error) => tracing::warn!("no code for the first sign-in: {error}. Run: edgeway accounts reset-code"),
        }
    }

    /// A new code for a first sign-in, in place of any before.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn first_code(&self) -> Result<String, Problem> {
        let code = secrets::code()?;
        let now_ms = (self.now)();
        let hash = secrets::hash(&secrets::typed(&code));
        let row = FirstCode { hash, created_ms: now_ms, expires_ms: now_ms + FIRST_CODE_MS };
        self.stored(move |store| rows::save_first_code(store, &row)).await?;
        Ok(code)
    }

    /// Makes the first administrator, or gives one back who has lost their password, and signs them in.
    ///
    /// # Errors
    /// [`Problem`]. A wrong password leaves the code as it is; a code that was used is gone.
    pub async fn first_sign_in(
        &self,
        peer: Peer,
        code: &str,
        name: &str,
        password: Zeroizing<String>,
    ) -> Result<SignedIn, Problem> {
        check_name(name)?;
        password::check(&password)?;
        let attempt = self.attempt(FIRST_CODE, peer)?;
        let (now_ms, hash) = ((self.now)(), secrets::hash(&secrets::typed(code)));
        let found = self.stored(move |store| rows::first_code(store, now_ms)).await?;
        if !found.is_some_and(|found| secrets::same(&found.hash, &hash)) {
            return Err(Problem::new("wrong_credentials", "This is not the code, or it is good no more."));
        }
        let kept = self.hashing.hash(password).await?;
        let _changing = self.changes.lock().await;
        let name = name.to_owned();
        let account = self
            .stored(move |store| {
                let before = rows::account(store, &name)?;
                let created_ms = before.as_ref().map_or(now_ms, |(account, _)| account.created_ms);
                let account = Account {
                    generation: before.as_ref().map_or(now_ms, |(account, _)| account.generation.saturating_add(1)),
                    name,
                    role: Role::Administrator,
                    password: kept,
                    created_ms,
                    changed_ms: now_ms,
                    last_sign_in_ms: Some(now_ms),
                    disabled: false,
                };
                // The code goes first: of two who use it at once one is refused, and a fault leaves no code behind.
                if !rows::take_first_code(store)? {
                    return Ok(None);
                }
                rows::end_sessions_of(store, &account.name, None)?;
                rows::forget_known_places(store, &account.name)?;
                rows::save_account(store, &account, Some(before.map_or(0, |(_, version)| version)))?;
                Ok(Some(account))
            })
            .await?;
        let account = account.ok_or_else(|| Problem::new("wrong_credentials", "The code has just been used."))?;
        self.forget_places(&account.name);
        let _ = std::fs::remove_file(self.state_dir.join(FIRST_CODE_FILE));
        self.succeeded(attempt).await;
        self.begin(&account).await
    }

    /// Signs in by name and password. Takes as long for a name that nobody has.
    ///
    /// # Errors
    /// [`Problem`]: the same for each reason why it is not them.
    pub async fn sign_in(&self, peer: Peer, name: &str, password: Zeroizing<String>) -> Result<SignedIn, Problem> {
        let wrong = || Problem::new("wrong_credentials", "");
        let name = if check_name(name).is_ok() { name.to_owned() } else { String::new() };
        let attempt = self.attempt(&name, peer)?;
        let asked = name.clone();
        let found = self.stored(move |store| rows::account(store, &asked)).await?.filter(|(found, _)| !found.disabled);
        let kept = found.as_ref().map(|(account, _)| account.password.clone());
        let is_long = password.chars().nth(crate::limits::PASSWORD_CHARS_MAX).is_some();
        let password = if is_long { Zeroizing::default() } else { password };
        let is = self.hashing.is(password, kept).await?;
        let Some((mut account, version)) = found.filter(|_| is) else { return Err(wrong()) };
        self.succeeded(attempt).await;
        account.last_sign_in_ms = Some((self.now)());
        let written = account.clone();
        match self.stored(move |store| rows::save_account(store, &written, Some(version))).await {
            Ok(_) => {}
            // Changed meanwhile: perhaps it may sign in no more.
            Err(StoreFault::Conflict { .. }) => return Err(wrong()),
            // When somebody last signed in is of use to read, and no reason to keep them out.
            Err(fault @ (StoreFault::Unavailable(_) | StoreFault::Full(_))) => {
                tracing::warn!(%fault, "it is not written down when somebody has signed in");
            }
            Err(fault @ StoreFault::Damaged(_)) => return Err(fault.into()),
        }
        self.begin(&account).await
    }

    /// A new session, never one that was there before: what somebody planted in a browser is worth nothing. `account` is as
    /// it was when its password was checked: if that has changed since, the session is good for nothing.
    async fn begin(&self, account: &Account) -> Result<SignedIn, Problem> {
        let cookie = secrets::secret()?;
        let now_ms = (self.now)();
        let session = Session {
            hash: secrets::hash(&cookie),
            account: account.name.clone(),
            role: account.role,
            created_ms: now_ms,
            seen_ms: now_ms,
            expires_ms: now_ms + SESSION_MS,
            generation: account.generation,
        };
        let row = session.clone();
        self.stored(move |store| rows::begin_session(store, &row, now_ms)).await?;
        let actor = actor_of(account, &session, &cookie);
        let max_age = SESSION_MS / 1_000;
        let cookie = format!("{COOKIE}={cookie}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={max_age}");
        Ok(SignedIn { actor, cookie, expires_ms: session.expires_ms })
    }

    /// Whose cookie it is, if it is good; notes that it was used.
    ///
    /// # Errors
    /// [`Problem`]: the store does not say.
    pub async fn by_cookie(&self, cookie: &str) -> Result<Option<Actor>, Problem> {
        let (now_ms, hash) = ((self.now)(), secrets::hash(cookie));
        let found = self
            .stored(move |store| {
                let Some((mut session, version)) = rows::session(store, &hash, now_ms)? else { return Ok(None) };
                let account = rows::account(store, &session.account)?.map(|(account, _)| account);
                let Some(account) = account.filter(|account| session.is_good(account, now_ms)) else {
                    rows::end_session(store, &hash)?;
                    return Ok(None);
                };
                if session.seen_ms.saturating_add(SEEN_EVERY_MS) <= now_ms {
                    session.seen_ms = now_ms;
                    match rows::save_session(store, &session, version) {
                        // Somebody else noted it. A store that is full keeps nobody out who is in.
                        Ok(_) | Err(StoreFault::Conflict { .. } | StoreFault::Unavailable(_) | StoreFault::Full(_)) => {
                        }
                        Err(fault @ StoreFault::Damaged(_)) => return Err(fault),
                    }
                }
                Ok(Some((account, session)))
            })
            .await?;
        Ok(found.map(|(account, session)| actor_of(&account, &session, cookie)))
    }

    /// Whose token it is, if it is good.
    ///
    /// # Errors
    /// [`Problem`]: the store does not say.
    pub async fn by_token(&self, text: &str) -> Result<Option<Actor>, Problem> {
        let Some((id, secret)) = text.strip_prefix(TOKEN_PREFIX).and_then(|rest| rest.split_once('_')) else {
            return Ok(None);
        };
        let (id, hash, now_ms) = (id.to_owned(), secrets::hash(secret), (self.now)());
        let found = self
            .stored(move |store| {
                let Some((mut token, version)) = rows::token(store, &id)? else { return Ok(None) };
                if !secrets::same(&token.hash, &hash) || token.expires_ms.is_some_and(|expires| expires <= now_ms) {
                    return Ok(None);
                }
                if token.last_used_ms.is_none_or(|last| last.saturating_add(SEEN_EVERY_MS) <= now_ms) {
                    token.last_used_ms = Some(now_ms);
                    let _ = rows::save_token(store, &token, Some(version));
                }
                Ok(Some(token))
            })
            .await?;
        Ok(found.map(|token| Actor {
            author: format!("token {}", token.name),
            name: token.name,
            role: token.role,
            via: Via::Token { id: token.id },
        }))
    }

    /// Whether somebody may still do what they might: asked now and then by what takes long.
    pub async fn still_may(&self, actor: &Actor) -> bool {
        let (now_ms, via) = ((self.now)(), actor.via.clone());
        let role = actor.role;
        let asked = self.stored(move |store| match via {
            Via::Socket => Ok(true),
            Via::Cookie { session, .. } => {
                let Some((session, _)) = rows::session(store, &session, now_ms)? else { return Ok(false) };
                let account = rows::account(store, &session.account)?;
                Ok(account.is_some_and(|(account, _)| session.is_good(&account, now_ms) && account.role >= role))
            }
            Via::Token { id } => Ok(rows::token(store, &id)?.is_some_and(|(token, _)| {
                token.role >= role && token.expires_ms.is_none_or(|expires| expires > now_ms)
            })),
        });
        asked.await.unwrap_or(false)
    }

    /// Ends the session of a browser.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn sign_out(&self, actor: &Actor) -> Result<(), Problem> {
        let Via::Cookie { session, .. } = &actor.via else {
            return Err(Problem::new("conflict", "Only a browser that has signed in can sign out."));
        };
        let session = session.clone();
        self.stored(move |store| rows::end_session(store, &session)).await?;
        Ok(())
    }

    /// Somebody changes their own password; all their sessions end, and a new one begins.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn change_password(
        &self,
        peer: Peer,
        actor: &Actor,
        old: Zeroizing<String>,
        new: Zeroizing<String>,
    ) -> Result<SignedIn, Problem> {
        if !matches!(actor.via, Via::Cookie { .. }) {
            return Err(Problem::new("conflict", "Only a browser that has signed in has a password to change."));
        }
        password::check(&new)?;
        let attempt = self.attempt(&actor.name, peer)?;
        let name = actor.name.clone();
        let found = self.stored(move |store| rows::account(store, &name)).await?;
        let generation = found.as_ref().map(|(account, _)| account.generation);
        let kept = found.as_ref().map(|(account, _)| account.password.clone());
        if !self.hashing.is(old, kept).await? {
            return Err(Problem::new("wrong_credentials", "The old password is wrong."));
        }
        let change = AccountChange { password: Some(new), ..AccountChange::default() };
        let (account, _) = self.change_of(&actor.name, change, None, generation).await?;
        // After the change, which forgets all places: this one is whose it is now.
        self.succeeded(attempt).await;
        self.begin(&account).await
    }

    /// All accounts.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn accounts(&self) -> Result<Vec<Account>, Problem> {
        Ok(self.stored(rows::accounts).await?)
    }

    /// One account, and the version of its record.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn account(&self, name: &str) -> Result<(Account, u64), Problem> {
        let name = name.to_owned();
        self.stored(move |store| rows::account(store, &name)).await?.ok_or_else(no_account)
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn add(&self, name: &str, role: Role, password: Zeroizing<String>) -> Result<(Account, u64), Problem> {
        check_name(name)?;
        password::check(&password)?;
        let kept = self.hashing.hash(password).await?;
        let now_ms = (self.now)();
        let account = Account {
            name: name.to_owned(),
            role,
            password: kept,
            created_ms: now_ms,
            changed_ms: now_ms,
            last_sign_in_ms: None,
            disabled: false,
            // Not that of an account that was removed and had this name.
            generation: now_ms,
        };
        let row = account.clone();
        match self.stored(move |store| rows::save_account(store, &row, Some(0))).await {
            Ok(version) => Ok((account, version)),
            Err(StoreFault::Conflict { .. }) => Err(Problem::new("conflict", "There is an account of that name.")),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Changes an account, if it still has `version`. Its sessions end.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn change(
        &self,
        name: &str,
        change: AccountChange,
        version: Option<u64>,
    ) -> Result<(Account, u64), Problem> {
        self.change_of(name, change, version, None).await
    }

    /// As [`Self::change`], if it still is of this generation.
    async fn change_of(
        &self,
        name: &str,
        change: AccountChange,
        version: Option<u64>,
        generation: Option<u64>,
    ) -> Result<(Account, u64), Problem> {
        let AccountChange { role, disabled, password } = change;
        let kept = match password {
            None => None,
            Some(password) => {
                password::check(&password)?;
                Some(self.hashing.hash(password).await?)
            }
        };
        let _changing = self.changes.lock().await;
        let (mut account, found) = self.account(name).await?;
        if version.is_some_and(|version| version != found)
            || generation.is_some_and(|generation| generation != account.generation)
        {
            return Err(Problem::new("changed_meanwhile", ""));
        }
        let was_administrator = is_administrator(&account);
        // Whoever had the old password may have signed in: their places are no better than any other from now on.
        let forgets = kept.is_some() || disabled == Some(true);
        account.role = role.unwrap_or(account.role);
        account.disabled = disabled.unwrap_or(account.disabled);
        account.password = kept.unwrap_or(account.password);
        account.changed_ms = (self.now)();
        account.generation = account.generation.saturating_add(1);
        let row = account.clone();
        let written = self
            .stored(move |store| {
                if was_administrator && !is_administrator(&row) && administrators(store)? <= 1 {
                    return Ok(None);
                }
                // Ended first: if the change fails, somebody has to sign in again, and nothing worse.
                rows::end_sessions_of(store, &row.name, None)?;
                if forgets {
                    rows::forget_known_places(store, &row.name)?;
                }
                rows::save_account(store, &row, Some(found)).map(Some)
            })
            .await?;
        if forgets && written.is_some() {
            self.forget_places(name);
        }
        written.map(|version| (account, version)).ok_or_else(last_one)
    }

    /// Removes an account and ends its sessions.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn remove(&self, name: &str, version: Option<u64>) -> Result<(), Problem> {
        let _changing = self.changes.lock().await;
        let (account, found) = self.account(name).await?;
        if version.is_some_and(|version| version != found) {
            return Err(Problem::new("changed_meanwhile", ""));
        }
        let removed = self
            .stored(move |store| {
                if is_administrator(&account) && administrators(store)? <= 1 {
                    return Ok(false);
                }
                rows::remove_account(store, &account.name)
            })
            .await?;
        if !removed {
            return Err(last_one());
        }
        self.forget_places(name);
        Ok(())
    }

    fn forget_places(&self, name: &str) {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner).forget(name);
    }

    /// All tokens.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn tokens(&self) -> Result<Vec<Token>, Problem> {
        Ok(self.stored(rows::tokens).await?)
    }

    /// Makes a token; its text is told this once.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn add_token(&self, name: &str, role: Role, days: Option<u64>) -> Result<(Token, String), Problem> {
        let chars = name.chars().count();
        let named = (1..=TOKEN_NAME_CHARS_MAX).contains(&chars) && !name.chars().any(char::is_control);
        if !named {
            let detail =
                format!("A token has a name of at most {TOKEN_NAME_CHARS_MAX} characters without control characters.");
            return Err(Problem::new("invalid", detail));
        }
        if days.is_some_and(|days| days == 0 || days > TOKEN_DAYS_MAX) {
            return Err(Problem::new("invalid", format!("A token holds for 1 to {TOKEN_DAYS_MAX} days.")));
        }
        let (id, secret, now_ms) = (secrets::id()?, secrets::secret()?, (self.now)());
        let token = Token {
            id: id.clone(),
            name: name.to_owned(),
            role,
            hash: secrets::hash(&secret),
            created_ms: now_ms,
            last_used_ms: None,
            expires_ms: days.map(|days| now_ms + days * 86_400_000),
        };
        let row = token.clone();
        self.stored(move |store| {
            rows::prune_tokens(store, now_ms)?;
            rows::save_token(store, &row, Some(0))
        })
        .await?;
        Ok((token, format!("{TOKEN_PREFIX}{id}_{secret}")))
    }

    /// Takes a token away.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn revoke_token(&self, id: &str) -> Result<(), Problem> {
        let id = id.to_owned();
        let was_there = self.stored(move |store| rows::remove_token(store, &id)).await?;
        if was_there { Ok(()) } else { Err(Problem::new("not_found", "There is no token of that id.")) }
    }

    fn attempt(&self, account: &str, peer: Peer) -> Result<Option<Attempt>, Problem> {
        let Peer::Address(address) = peer else { return Ok(None) };
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        match throttle.attempt(account, Place::from(address), (self.now)()) {
            Ok(attempt) => Ok(Some(attempt)),
            Err(wait) => Err(Problem::new("too_many", "").retry_after(wait)),
        }
    }

    /// Who has signed in may do so again from there, whatever others try meanwhile, and after a restart, too.
    async fn succeeded(&self, attempt: Option<Attempt>) {
        let Some(attempt) = attempt else { return };
        let at_ms = (self.now)();
        let known = self.throttle.lock().unwrap_or_else(PoisonError::into_inner).succeeded(attempt, at_ms);
        // The code is nobody's account.
        let Some((account, place)) = known.filter(|(account, _)| account != FIRST_CODE) else { return };
        let row = rows::KnownPlace { key: format!("{account} {place}"), at_ms };
        if let Err(fault) = self.stored(move |store| rows::save_known_place(store, &row)).await {
            tracing::warn!(%fault, "it is not written down from where somebody has signed in");
        }
    }

    async fn stored<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Store) -> Result<T, StoreFault> + Send + 'static,
    ) -> Result<T, StoreFault> {
        let store = Arc::clone(&self.store);
        let asked = tokio::task::spawn_blocking(move || ask(store.as_ref()));
        asked.await.unwrap_or_else(|_| Err(StoreFault::Unavailable("the store does not answer".to_owned())))
    }
}

fn actor_of(account: &Account, session: &Session, cookie: &str) -> Actor {
    Actor {
        author: format!("account {}", account.name),
        name: account.name.clone(),
        role: account.role,
        via: Via::Cookie { session: session.hash.clone(), csrf: secrets::csrf(cookie) },
    }
}

const fn is_administrator(account: &Account) -> bool {
    matches!(account.role, Role::Administrator) && !account.disabled
}

fn administrators(store: &dyn Store) -> Result<usize, StoreFault> {
    Ok(rows::accounts(store)?.iter().filter(|account| is_administrator(account)).count())
}

fn has_administrator(store: &dyn Store) -> Result<bool, StoreFault> {
    administrators(store).map(|count| count > 0)
}

fn no_account() -> Problem {
    Problem::new("not_found", "There is no account of that name.")
}

fn last_one() -> Problem {
    Problem::new("conflict", "It is the last administrator. Make another one first.")
}

/// Names are compared as they are, so they are written in one way only.
fn check_name(name: &str) -> Result<(), Problem> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-@".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(legal) {
        let detail = format!("A name has 1 to {NAME_BYTES_MAX} of a-z, 0-9, '.', '_', '-' and '@'.");
        return Err(Problem::new("invalid", detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::limits::SESSION_IDLE_MS;
    use crate::scratch::Scratch;
    use crate::store::{MemoryStore, SqliteStore};

    const PEER: Peer = Peer::Address(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn password(text: &str) -> Zeroizing<String> {
        Zeroizing::new(format!("correct horse {text}"))
    }

    async fn desk(scratch: &Scratch) -> (AccountsDesk, Arc<AtomicU64>) {
        let clock = Arc::new(AtomicU64::new(1_000_000));
        let read = Arc::clone(&clock);
        let now: Now = Arc::new(move || read.load(Ordering::SeqCst));
        let desk = AccountsDesk::new(Arc::new(MemoryStore::new()), scratch.path().to_owned(), now);
        desk.add("alice", Role::Administrator, password("old")).await.expect("added");
        (desk, clock)
    }

    fn value(signed: &SignedIn) -> String {
        let pair = signed.cookie.split(';').next().expect("a pair");
        pair.split_once('=').expect("a value").1.to_owned()
    }

    #[tokio::test]
    async fn what_was_checked_before_a_change_is_worth_nothing_after_it_whatever_the_clock_says() {
        let scratch = Scratch::new("accounts-generation");
        let (desk, clock) = desk(&scratch).await;
        let (checked, _) = desk.account("alice").await.expect("there");
        let change = AccountChange { password: Some(password("new")), ..AccountChange::default() };
        desk.change("alice", change, None).await.expect("changed");
        clock.fetch_add(5_000, Ordering::SeqCst);
        let late = desk.begin(&checked).await.expect("begun");
        assert_eq!(desk.by_cookie(&value(&late)).await.expect("asked"), None, "the old password was checked for it");
        assert!(desk.sign_in(PEER, "alice", password("old")).await.is_err());

        clock.fetch_sub(100_000, Ordering::SeqCst);
        let signed = desk.sign_in(PEER, "alice", password("new")).await.expect("signed in");
        assert!(desk.by_cookie(&value(&signed)).await.expect("asked").is_some(), "though the clock was set back");

        let stale = Some(checked.generation);
        let change = AccountChange { password: Some(password("third")), ..AccountChange::default() };
        let refused = desk.change_of("alice", change, None, stale).await.expect_err("changed meanwhile");
        assert_eq!(refused.name(), "changed_meanwhile");
    }

    #[tokio::test]
    async fn whoever_has_been_idle_may_follow_no_more() {
        let scratch = Scratch::new("accounts-idle");
        let (desk, clock) = desk(&scratch).await;
        let signed = desk.sign_in(PEER, "alice", password("old")).await.expect("signed in");
        clock.fetch_add(SESSION_IDLE_MS - 1, Ordering::SeqCst);
        assert!(desk.still_may(&signed.actor).await);
        clock.fetch_add(1, Ordering::SeqCst);
        assert!(!desk.still_may(&signed.actor).await);
    }

    #[tokio::test]
    async fn whoever_signs_in_from_where_they_did_before_a_restart_is_not_kept_out_by_others() {
        let scratch = Scratch::new("accounts-known");
        let (desk, clock) = desk(&scratch).await;
        desk.sign_in(PEER, "alice", password("old")).await.expect("signed in");
        let read = Arc::clone(&clock);
        let now: Now = Arc::new(move || read.load(Ordering::SeqCst));
        let again = AccountsDesk::new(Arc::clone(&desk.store), scratch.path().to_owned(), now);
        again.open().await;
        let elsewhere = Peer::Address([192, 0, 2, 1].into());
        for n in 0..40 {
            let _ = again.attempt("alice", Peer::Address([198, 51, 100, n].into()));
        }
        assert_eq!(again.attempt("alice", elsewhere).expect_err("slow").name(), "too_many");
        again.sign_in(PEER, "alice", password("old")).await.expect("known there");
        again.add("bob", Role::Administrator, password("bob")).await.expect("added");
        again.remove("alice", None).await.expect("removed");
        let left = again.stored(|store| rows::known_places(store, 0)).await.expect("asked");
        assert_eq!(left, [], "of an account that is there no more nothing is known");
    }

    #[tokio::test]
    async fn a_new_password_and_a_closed_account_make_places_unknown_but_that_of_the_change() {
        let scratch = Scratch::new("accounts-unknown");
        let (desk, _clock) = desk(&scratch).await;
        desk.add("bob", Role::Operator, password("bob")).await.expect("added");
        let at = |last: u8| Peer::Address([192, 0, 2, last].into());
        desk.sign_in(at(1), "alice", password("old")).await.expect("signed in");
        desk.sign_in(at(1), "bob", password("bob")).await.expect("signed in");
        let signed = desk.sign_in(at(2), "alice", password("old")).await.expect("signed in");
        let known = async || -> Vec<String> {
            let rows = desk.stored(|store| rows::known_places(store, 0)).await.expect("asked");
            rows.into_iter().map(|row| row.key).collect()
        };
        assert_eq!(known().await, ["alice 192.0.2.1", "alice 192.0.2.2", "bob 192.0.2.1"]);
        desk.change_password(at(2), &signed.actor, password("old"), password("new")).await.expect("changed");
        assert_eq!(known().await, ["alice 192.0.2.2", "bob 192.0.2.1"], "that of the change stays");
        for n in 0..40 {
            let _ = desk.attempt("alice", Peer::Address([198, 51, 100, n].into()));
        }
        assert_eq!(desk.attempt("alice", at(1)).expect_err("slow").name(), "too_many");
        desk.sign_in(at(2), "alice", password("new")).await.expect("known there");

        let close = AccountChange { disabled: Some(true), ..AccountChange::default() };
        desk.change("bob", close, None).await.expect("closed");
        assert_eq!(known().await, ["alice 192.0.2.2"]);
        let code = desk.first_code().await.expect("a code");
        desk.first_sign_in(at(3), &code, "alice", password("again")).await.expect("it is the code");
        assert_eq!(known().await, Vec::<String>::new(), "given back with a code, as with any new password");
    }

    #[tokio::test]
    async fn that_it_cannot_be_written_down_who_has_signed_in_keeps_nobody_out() {
        let scratch = Scratch::new("accounts-unwritten");
        let store = SqliteStore::open(scratch.path()).expect("a store");
        let raw = rusqlite::Connection::open(store.path()).expect("opened");
        let desk = AccountsDesk::new(Arc::new(store), scratch.path().to_owned(), Arc::new(|| 1_000_000));
        desk.add("alice", Role::Administrator, password("old")).await.expect("added");
        // From now on nothing of an account can be written.
        let sql = "CREATE TRIGGER stop BEFORE UPDATE ON records WHEN NEW.kind = 'account'
                   BEGIN SELECT RAISE(ABORT, 'no room'); END";
        raw.execute_batch(sql).expect("made");
        let signed = desk.sign_in(PEER, "alice", password("old")).await.expect("signed in");
        assert!(desk.by_cookie(&value(&signed)).await.expect("asked").is_some());
        assert_eq!(desk.account("alice").await.expect("there").0.last_sign_in_ms, None, "it was not written");
    }

    #[tokio::test]
    async fn names_that_nobody_can_have_do_not_use_up_the_attempts_of_the_first_code() {
        let scratch = Scratch::new("accounts-first");
        let (desk, _clock) = desk(&scratch).await;
        let code = desk.first_code().await.expect("a code");
        let mut refused = 0;
        for _ in 0..6 {
            let Err(problem) = desk.sign_in(PEER, "NO NAME", password("x")).await else { panic!("nobody") };
            refused += usize::from(problem.name() == "too_many");
        }
        assert_eq!(refused, 2);
        desk.first_sign_in(PEER, &code, "bob", password("bob")).await.expect("it is the code");
    }
}
