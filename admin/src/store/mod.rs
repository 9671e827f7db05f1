//! Where the configuration is kept, with its history, and the few records of who may administer it.
//!
//! One interface, several back ends. What each must do is what the conformance suite asks of it: a commit that was
//! acknowledged is there after whatever happens next, one that was not is there whole or not at all. What a store does
//! not know: what a document means, who may write it, and what a secret in it says ([`seal`]).

pub mod conformance;
mod fitting;
mod late;
pub mod limits;
mod memory;
pub mod seal;
mod sqlite;
mod thinning;

pub use late::LateStore;
pub use memory::MemoryStore;
pub use sqlite::{FILE_NAME, OpenFault, SqliteStore};

/// One revision of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// What is known of it without its text.
    pub head: RevisionHead,
    /// The document: canonical TOML of the shared settings that are written. Secrets in it are sealed.
    pub document: String,
}

/// What is known of a revision without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionHead {
    /// 1, 2, 3, …
    pub number: u64,
    /// Who made it: `account alice`, `token ci`, `file`, `socket uid 0`, `confirmation` for one that rolls back by itself.
    pub author: String,
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// Why, in the author's words; may be empty.
    pub comment: String,
}

/// A revision that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRevision {
    /// Who makes it.
    pub author: String,
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// Why.
    pub comment: String,
    /// The document.
    pub document: String,
}

/// What kinds of small records there are besides revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An administrator, by name.
    Account,
    /// A token of the API, by its id.
    Token,
    /// A session of a browser, by the hash of its cookie.
    Session,
    /// The code for the first sign-in, hashed.
    FirstCode,
    /// A revision that waits for its confirmation, by the number, in decimal, of the revision that comes back without
    /// it: that one is never thinned out while the record is there.
    Confirmation,
    /// The shared settings that were last read from a node's file, by node.
    Imported,
    /// An account and from where somebody has signed in with it.
    KnownPlace,
}

/// A small record: JSON, with the number of its last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which, within its kind.
    pub key: String,
    /// JSON.
    pub value: String,
    /// Changes with each write; for writing only what nobody else has changed since.
    pub version: u64,
}

/// A record that is written or removed together with a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its key.
    pub key: &'a str,
    /// What it will hold, whatever there is; `None` removes it, if it is there.
    pub value: Option<&'a str>,
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// 1, 2, 3, …; 0 for one that is to be written.
    pub number: u64,
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// Who.
    pub actor: String,
    /// From where: an address, or `socket`.
    pub from: String,
    /// What was asked: a method and a path, or a command.
    pub action: String,
    /// `done`, or why it was refused.
    pub outcome: String,
}

/// Why a store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// Somebody else was faster.
    #[error("it has been changed meanwhile: the head is revision {head}")]
    Conflict {
        /// What is the head now; for records their version.
        head: u64,
    },
    /// A bound of the store is reached.
    #[error("{0}")]
    Full(&'static str),
    /// It cannot be written now: disk full, read-only, locked. Nothing has changed.
    #[error("the store cannot be written: {0}")]
    Unavailable(String),
    /// What is there cannot be read.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// Keeps revisions and records. Calls block: not for the reactor's thread.
pub trait Store: Send + Sync {
    /// The newest revision.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn head(&self) -> Result<Option<Revision>, StoreFault>;
    /// One revision.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn revision(&self, number: u64) -> Result<Option<Revision>, StoreFault>;
    /// Revisions older than `before` (or the newest), newest first; at most [`limits::PAGE_MAX`] of them.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn history(&self, before: Option<u64>, limit: usize) -> Result<Vec<RevisionHead>, StoreFault>;
    /// Appends a revision, with the number after `expected`, if the head is still `expected` (0: there is none), and does
    /// to records what belongs to it: all of it or nothing. Durable when it returns. Old revisions are thinned out to
    /// [`limits::REVISIONS_MAX`].
    ///
    /// # Errors
    /// [`StoreFault::Conflict`] and all others; nothing has changed then.
    fn commit(&self, expected: u64, new: NewRevision, also: &[Write<'_>]) -> Result<RevisionHead, StoreFault>;
    /// One record.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn record(&self, kind: Kind, key: &str) -> Result<Option<Record>, StoreFault>;
    /// Records of a kind after a key, in the order of the keys' bytes; at most [`limits::PAGE_MAX`] of them.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn records(&self, kind: Kind, after: Option<&str>, limit: usize) -> Result<Vec<Record>, StoreFault>;
    /// Writes a record: `expected` is the version it had (0: none was there), `None`: whatever there is. Answers its
    /// new version, which no record of this store has had before, not even one that was removed. Durable when it returns.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn put(&self, kind: Kind, key: &str, value: &str, expected: Option<u64>) -> Result<u64, StoreFault>;
    /// Removes a record; whether it was there.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn remove(&self, kind: Kind, key: &str) -> Result<bool, StoreFault>;
    /// Appends to the audit log, of which the oldest lines go when it is full. A field that is too long is cut, since a
    /// line that is missing tells less. The line's own number is not looked at.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn audit(&self, line: &AuditLine) -> Result<(), StoreFault>;
    /// Audit lines older than `before` (or the newest), newest first; at most [`limits::PAGE_MAX`] of them.
    ///
    /// # Errors
    /// [`StoreFault`].
    fn audited(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditLine>, StoreFault>;
    /// Whether so many bytes could be written now. What is written to find that out, durably, is gone again when it returns.
    ///
    /// # Errors
    /// [`StoreFault`]: they could not.
    fn has_room(&self, bytes: usize) -> Result<(), StoreFault>;
}
