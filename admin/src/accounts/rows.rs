//! Accounts, tokens and sessions as the store keeps them: JSON behind types, with their bounds.
//!
//! What is secret comes here hashed: the password as an argon2 PHC string, tokens, cookies and the first code as the
//! hash of what was handed out. Times are Unix milliseconds and come from the caller. Who may sign in and do what is
//! decided elsewhere.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::limits::SESSION_IDLE_MS;
use crate::store::limits::{PAGE_MAX, SESSIONS_MAX, SESSIONS_OF_ACCOUNT_MAX};
use crate::store::{Kind, Record, Store, StoreFault};

/// What somebody may do. Each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sees everything but secrets.
    ReadOnly,
    /// Also maintenance, disconnecting, refreshing servers, traces, confirming a revision.
    Operator,
    /// Also configuration, accounts, tokens, certificates, revocations.
    Administrator,
}

/// Somebody who signs in with a name and a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its key.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The password's argon2 hash, a PHC string.
    pub password: String,
    /// When it was made.
    pub created_ms: u64,
    /// When its password or role was last changed.
    pub changed_ms: u64,
    /// When somebody last signed in with it.
    pub last_sign_in_ms: Option<u64>,
    /// Whether it is closed for now.
    pub disabled: bool,
    /// Another one with each change of its password, role or closing: sessions of an earlier one are good no more, whatever
    /// the clock says.
    #[serde(default)]
    pub generation: u64,
}

/// A program that calls the API.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its key; part of what the program shows, so that it is found without a search.
    pub id: String,
    /// What it is for, in the words of who made it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The hash of its secret, hexadecimal.
    pub hash: String,
    /// When it was made.
    pub created_ms: u64,
    /// When it was last used, to the minute or so: not every use is written.
    pub last_used_ms: Option<u64>,
    /// From when on it is good no more.
    pub expires_ms: Option<u64>,
}

/// A browser that has signed in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its key: the hash of the cookie, hexadecimal.
    pub hash: String,
    /// Who signed in.
    pub account: String,
    /// What that account might do then.
    pub role: Role,
    /// When.
    pub created_ms: u64,
    /// When it was last used, to the minute or so.
    pub seen_ms: u64,
    /// From when on it is good no more.
    pub expires_ms: u64,
    /// The account's when its password was checked.
    #[serde(default)]
    pub generation: u64,
}

impl Session {
    /// Whether it is one of `account` as that is now, and was used lately.
    pub(super) fn is_good(&self, account: &Account, now_ms: u64) -> bool {
        let is_idle = self.seen_ms.saturating_add(SESSION_IDLE_MS) <= now_ms;
        !account.disabled && account.generation == self.generation && !is_idle
    }
}

/// The code by which the first account is made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstCode {
    /// The hash of the code.
    pub hash: String,
    /// When it was made.
    pub created_ms: u64,
    /// From when on it is good no more.
    pub expires_ms: u64,
}

/// From where somebody has signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPlace {
    /// The account and the place, with a space between: names have none.
    pub key: String,
    /// When last, to the day.
    pub at_ms: u64,
}

// Hashes stay out of logs, wherever a row is printed.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, role, password: _, created_ms: _, changed_ms, last_sign_in_ms: _, disabled, generation: _ } =
            self;
        write!(f, "Account({name:?}, {role:?}, changed {changed_ms}, disabled {disabled})")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, role, hash: _, created_ms: _, last_used_ms: _, expires_ms } = self;
        write!(f, "Token({id:?}, {name:?}, {role:?}, expires {expires_ms:?})")
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hash: _, account, role, created_ms, seen_ms: _, expires_ms, generation: _ } = self;
        write!(f, "Session(of {account:?}, {role:?}, {created_ms} to {expires_ms})")
    }
}

impl fmt::Debug for FirstCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hash: _, created_ms, expires_ms } = self;
        write!(f, "FirstCode({created_ms} to {expires_ms})")
    }
}

/// Something that is kept under a key in a kind of its own.
trait Row: Serialize + DeserializeOwned {
    const KIND: Kind;
    fn key(&self) -> &str;
}

impl Row for Account {
    const KIND: Kind = Kind::Account;
    fn key(&self) -> &str {
        &self.name
    }
}

impl Row for Token {
    const KIND: Kind = Kind::Token;
    fn key(&self) -> &str {
        &self.id
    }
}

impl Row for Session {
    const KIND: Kind = Kind::Session;
    fn key(&self) -> &str {
        &self.hash
    }
}

impl Row for FirstCode {
    const KIND: Kind = Kind::FirstCode;
    fn key(&self) -> &str {
        FIRST_CODE
    }
}

impl Row for KnownPlace {
    const KIND: Kind = Kind::KnownPlace;
    fn key(&self) -> &str {
        &self.key
    }
}

/// The key of the one code there may be.
const FIRST_CODE: &str = "code";

/// The account of that name and the version of its record.
///
/// # Errors
/// [`StoreFault`].
pub fn account(store: &dyn Store, name: &str) -> Result<Option<(Account, u64)>, StoreFault> {
    load(store, name)
}

/// All accounts, by name.
///
/// # Errors
/// [`StoreFault`].
pub fn accounts(store: &dyn Store) -> Result<Vec<Account>, StoreFault> {
    all(store)
}

/// Writes an account; `expected` as in [`Store::put`].
///
/// # Errors
/// [`StoreFault`].
pub fn save_account(store: &dyn Store, account: &Account, expected: Option<u64>) -> Result<u64, StoreFault> {
    save(store, account, expected)
}

/// Removes an account, and with it its sessions; whether it was there.
///
/// # Errors
/// [`StoreFault`]. The account goes first, so that what is left of its sessions is nobody's.
pub fn remove_account(store: &dyn Store, name: &str) -> Result<bool, StoreFault> {
    let was_there = store.remove(Kind::Account, name)?;
    end_sessions_of(store, name, None)?;
    forget_known_places(store, name)?;
    Ok(was_there)
}

/// Forgets from where somebody has signed in with an account.
///
/// # Errors
/// [`StoreFault`].
pub fn forget_known_places(store: &dyn Store, name: &str) -> Result<(), StoreFault> {
    remove_where(store, |known: &KnownPlace| known.key.split(' ').next() == Some(name)).map(drop)
}

/// The token of that id and the version of its record.
///
/// # Errors
/// [`StoreFault`].
pub fn token(store: &dyn Store, id: &str) -> Result<Option<(Token, u64)>, StoreFault> {
    load(store, id)
}

/// All tokens, by id.
///
/// # Errors
/// [`StoreFault`].
pub fn tokens(store: &dyn Store) -> Result<Vec<Token>, StoreFault> {
    all(store)
}

/// Writes a token; `expected` as in [`Store::put`].
///
/// # Errors
/// [`StoreFault`].
pub fn save_token(store: &dyn Store, token: &Token, expected: Option<u64>) -> Result<u64, StoreFault> {
    save(store, token, expected)
}

/// Removes a token; whether it was there.
///
/// # Errors
/// [`StoreFault`].
pub fn remove_token(store: &dyn Store, id: &str) -> Result<bool, StoreFault> {
    store.remove(Kind::Token, id)
}

/// Removes the tokens that were good no more at `before_ms`; how many there were.
///
/// # Errors
/// [`StoreFault`].
pub fn prune_tokens(store: &dyn Store, before_ms: u64) -> Result<usize, StoreFault> {
    let expired = |token: &Token| token.expires_ms.is_some_and(|expires| expires <= before_ms);
    remove_where(store, expired)
}

/// The session of that hash and the version of its record, if it is good at `now_ms`.
///
/// # Errors
/// [`StoreFault`].
pub fn session(store: &dyn Store, hash: &str, now_ms: u64) -> Result<Option<(Session, u64)>, StoreFault> {
    Ok(load(store, hash)?.filter(|(session, _): &(Session, u64)| session.expires_ms > now_ms))
}

/// All sessions, by hash, those that are good no more among them.
///
/// # Errors
/// [`StoreFault`].
pub fn sessions(store: &dyn Store) -> Result<Vec<Session>, StoreFault> {
    all(store)
}

/// Begins a session. Those that are good no more go, then those of the account that were used longest ago, down to
/// [`SESSIONS_OF_ACCOUNT_MAX`] with this one.
///
/// # Errors
/// [`StoreFault`]: there is no room, a session of this hash is there already, or the store says no.
pub fn begin_session(store: &dyn Store, session: &Session, now_ms: u64) -> Result<u64, StoreFault> {
    prune_sessions(store, now_ms)?;
    let mut own: Vec<Session> = sessions(store)?;
    own.retain(|one| one.account == session.account);
    own.sort_by_key(|one| one.seen_ms);
    let surplus = (own.len() + 1).saturating_sub(SESSIONS_OF_ACCOUNT_MAX);
    for one in &own[..surplus] {
        store.remove(Kind::Session, &one.hash)?;
    }
    save(store, session, Some(0))
}

/// Writes that a session was used; `expected` is its version, so that one that has ended meanwhile stays so.
///
/// # Errors
/// [`StoreFault`].
pub fn save_session(store: &dyn Store, session: &Session, expected: u64) -> Result<u64, StoreFault> {
    save(store, session, Some(expected))
}

/// Ends a session; whether it was there.
///
/// # Errors
/// [`StoreFault`].
pub fn end_session(store: &dyn Store, hash: &str) -> Result<bool, StoreFault> {
    store.remove(Kind::Session, hash)
}

/// Ends the sessions of an account, but for the one given, as a new password or role asks for; how many there were.
///
/// # Errors
/// [`StoreFault`].
pub fn end_sessions_of(store: &dyn Store, account: &str, but: Option<&str>) -> Result<usize, StoreFault> {
    remove_where(store, |session: &Session| session.account == account && but != Some(session.hash.as_str()))
}

/// Removes the sessions that are good no more; how many there were.
///
/// # Errors
/// [`StoreFault`].
pub fn prune_sessions(store: &dyn Store, now_ms: u64) -> Result<usize, StoreFault> {
    remove_where(store, |session: &Session| session.expires_ms <= now_ms)
}

/// The code for the first sign-in, if there is one that is good at `now_ms`.
///
/// # Errors
/// [`StoreFault`].
pub fn first_code(store: &dyn Store, now_ms: u64) -> Result<Option<FirstCode>, StoreFault> {
    let found: Option<(FirstCode, u64)> = load(store, FIRST_CODE)?;
    Ok(found.map(|(code, _)| code).filter(|code| code.expires_ms > now_ms))
}

/// Writes the code for the first sign-in in place of what was there.
///
/// # Errors
/// [`StoreFault`].
pub fn save_first_code(store: &dyn Store, code: &FirstCode) -> Result<(), StoreFault> {
    save(store, code, None).map(drop)
}

/// Takes the code away, since it was used; `true` for exactly one of several who do so at once.
///
/// # Errors
/// [`StoreFault`].
pub fn take_first_code(store: &dyn Store) -> Result<bool, StoreFault> {
    store.remove(Kind::FirstCode, FIRST_CODE)
}

/// The places from which somebody has signed in since `after_ms`; the others go.
///
/// # Errors
/// [`StoreFault`].
pub fn known_places(store: &dyn Store, after_ms: u64) -> Result<Vec<KnownPlace>, StoreFault> {
    remove_where(store, |known: &KnownPlace| known.at_ms < after_ms)?;
    all(store)
}

/// Writes that somebody has signed in from there. Where there is no room, the place goes that was used longest ago.
///
/// # Errors
/// [`StoreFault`].
pub fn save_known_place(store: &dyn Store, known: &KnownPlace) -> Result<(), StoreFault> {
    match save(store, known, None) {
        Err(StoreFault::Full(_)) => {}
        written => return written.map(drop),
    }
    let oldest = all::<KnownPlace>(store)?.into_iter().min_by_key(|one| one.at_ms);
    if let Some(oldest) = oldest {
        store.remove(Kind::KnownPlace, &oldest.key)?;
    }
    save(store, known, None).map(drop)
}

fn load<R: Row>(store: &dyn Store, key: &str) -> Result<Option<(R, u64)>, StoreFault> {
    let Some(record) = store.record(R::KIND, key)? else { return Ok(None) };
    Ok(Some((read(&record)?, record.version)))
}

fn save<R: Row>(store: &dyn Store, row: &R, expected: Option<u64>) -> Result<u64, StoreFault> {
    let value = serde_json::to_string(row).map_err(|error| StoreFault::Unavailable(error.to_string()))?;
    store.put(R::KIND, row.key(), &value, expected)
}

fn all<R: Row>(store: &dyn Store) -> Result<Vec<R>, StoreFault> {
    let mut rows = Vec::new();
    let mut after: Option<String> = None;
    // A kind holds a bounded number of records, so the pages end; the loop does not rely on it.
    for _ in 0..=R::KIND.records_max() / PAGE_MAX + 1 {
        let page = store.records(R::KIND, after.as_deref(), PAGE_MAX)?;
        for record in &page {
            rows.push(read(record)?);
        }
        match page.last() {
            Some(last) if page.len() == PAGE_MAX => after = Some(last.key.clone()),
            Some(_) | None => break,
        }
    }
    Ok(rows)
}

fn remove_where<R: Row>(store: &dyn Store, goes: impl Fn(&R) -> bool) -> Result<usize, StoreFault> {
    let mut removed = 0;
    for row in all::<R>(store)?.iter().filter(|row| goes(row)) {
        removed += usize::from(store.remove(R::KIND, row.key())?);
    }
    Ok(removed)
}

/// What a record says. Its text is not repeated in an error: it holds hashes.
fn read<R: Row>(record: &Record) -> Result<R, StoreFault> {
    serde_json::from_str(&record.value).map_err(|error| {
        StoreFault::Damaged(format!("a record of {:?} is not what it should be ({:?})", R::KIND, error.classify()))
    })
}

/// A kind holds more sessions than one account may, or signing in could lock everybody out.
const _: () = assert!(SESSIONS_MAX > SESSIONS_OF_ACCOUNT_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn alice() -> Account {
        Account {
            name: "alice".into(),
            role: Role::Operator,
            password: "$argon2id$hunter2".into(),
            created_ms: 1,
            changed_ms: 2,
            last_sign_in_ms: None,
            disabled: false,
            generation: 0,
        }
    }

    fn session_of(account: &str, number: u64) -> Session {
        Session {
            hash: format!("{account}{number}"),
            account: account.into(),
            role: Role::ReadOnly,
            created_ms: number,
            seen_ms: number,
            expires_ms: 1_000 + number,
            generation: 0,
        }
    }

    #[test]
    fn an_account_is_what_was_saved_and_others_are_not_written_over() {
        let store = MemoryStore::new();
        assert_eq!(account(&store, "alice").expect("an answer"), None);
        let first = save_account(&store, &alice(), Some(0)).expect("saved");
        assert!(matches!(save_account(&store, &alice(), Some(0)), Err(StoreFault::Conflict { .. })));
        assert_eq!(account(&store, "alice").expect("an answer"), Some((alice(), first)));
        let changed = Account { disabled: true, role: Role::Administrator, ..alice() };
        save_account(&store, &changed, Some(first)).expect("saved");
        assert_eq!(accounts(&store).expect("an answer"), [changed]);
    }

    #[test]
    fn sessions_go_with_their_account() {
        let store = MemoryStore::new();
        save_account(&store, &alice(), None).expect("saved");
        for (account, number) in [("alice", 1), ("alice", 2), ("bob", 3)] {
            begin_session(&store, &session_of(account, number), 0).expect("begun");
        }
        assert_eq!(end_sessions_of(&store, "alice", Some("alice2")).expect("ended"), 1);
        assert!(remove_account(&store, "alice").expect("removed"));
        assert!(!remove_account(&store, "alice").expect("an answer"));
        assert_eq!(sessions(&store).expect("an answer"), [session_of("bob", 3)]);
    }

    #[test]
    fn a_session_ends_at_its_time_and_is_not_brought_back() {
        let store = MemoryStore::new();
        let version = begin_session(&store, &session_of("alice", 1), 0).expect("begun");
        assert_eq!(session(&store, "alice1", 1_000).expect("an answer"), Some((session_of("alice", 1), version)));
        assert_eq!(session(&store, "alice1", 1_001).expect("an answer"), None);
        assert!(end_session(&store, "alice1").expect("ended"));
        let seen = Session { seen_ms: 9, ..session_of("alice", 1) };
        assert!(matches!(save_session(&store, &seen, version), Err(StoreFault::Conflict { head: 0 })));
        begin_session(&store, &session_of("alice", 2), 0).expect("begun");
        assert_eq!(prune_sessions(&store, 1_001).expect("pruned"), 0);
        assert_eq!(prune_sessions(&store, 1_002).expect("pruned"), 1);
    }

    #[test]
    fn an_account_has_so_many_sessions_and_costs_nobody_elses() {
        let store = MemoryStore::new();
        begin_session(&store, &session_of("bob", 0), 0).expect("begun");
        for number in 0..2 * SESSIONS_OF_ACCOUNT_MAX as u64 {
            begin_session(&store, &session_of("alice", number), 0).expect("begun");
        }
        let all = sessions(&store).expect("an answer");
        let of =
            |account: &str| all.iter().filter(|one| one.account == account).map(|one| one.seen_ms).collect::<Vec<_>>();
        assert_eq!(of("bob"), [0]);
        let mut left = of("alice");
        left.sort_unstable();
        assert_eq!(left, (SESSIONS_OF_ACCOUNT_MAX as u64..2 * SESSIONS_OF_ACCOUNT_MAX as u64).collect::<Vec<_>>());
    }

    #[test]
    fn all_of_many_are_listed() {
        let store = MemoryStore::new();
        let token = |number: usize| Token {
            id: format!("{number:04}"),
            name: "ci".into(),
            role: Role::ReadOnly,
            hash: String::new(),
            created_ms: 0,
            last_used_ms: None,
            expires_ms: number.is_multiple_of(2).then_some(5),
        };
        let many = crate::store::limits::TOKENS_MAX;
        for number in 0..many {
            save_token(&store, &token(number), Some(0)).expect("saved");
        }
        assert!(matches!(save_token(&store, &token(many), Some(0)), Err(StoreFault::Full(_))));
        assert_eq!(tokens(&store).expect("an answer"), (0..many).map(token).collect::<Vec<_>>());
        assert_eq!(prune_tokens(&store, 4).expect("pruned"), 0);
        assert_eq!(prune_tokens(&store, 5).expect("pruned"), many / 2);
        assert!(remove_token(&store, "0001").expect("removed"));
        assert_eq!(super::token(&store, "0001").expect("an answer"), None);
    }

    #[test]
    fn the_first_code_is_taken_once() {
        let store = MemoryStore::new();
        let code = FirstCode { hash: "x".into(), created_ms: 1, expires_ms: 10 };
        save_first_code(&store, &FirstCode { hash: "old".into(), ..code.clone() }).expect("saved");
        save_first_code(&store, &code).expect("saved");
        assert_eq!(first_code(&store, 9).expect("an answer"), Some(code));
        assert_eq!(first_code(&store, 10).expect("an answer"), None);
        assert!(take_first_code(&store).expect("taken"));
        assert!(!take_first_code(&store).expect("an answer"));
    }

    #[test]
    fn a_row_that_is_none_is_a_fault_that_repeats_no_hash() {
        let store = MemoryStore::new();
        store.put(Kind::Account, "alice", "{\"password\":\"$argon2id$hunter2\"", None).expect("written");
        let fault = account(&store, "alice").expect_err("damaged").to_string();
        assert!(fault.contains("Account") && !fault.contains("argon2"), "{fault}");
        assert!(!format!("{:?}", alice()).contains("argon2"));
        assert!(!format!("{:?}", session_of("alice", 1)).contains("alice1"));
    }

    #[test]
    fn roles_are_ordered_and_have_names() {
        assert!(Role::ReadOnly < Role::Operator && Role::Operator < Role::Administrator);
        assert_eq!(serde_json::to_string(&Role::ReadOnly).expect("a name"), "\"read-only\"");
    }
}
