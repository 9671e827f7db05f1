//! The store of a core: one SQLite file in its state directory.
//!
//! Write-ahead log, flushed at each commit; one connection behind a mutex, so that calls wait for each other and never
//! for themselves. Other processes may read and write at the same time, such as the command line or a back-up: what they
//! wait for each other is bounded. How it is opened, and what is not, stands in `open`.

mod faults;
mod open;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};
use sha2::{Digest as _, Sha256};

pub use faults::OpenFault;
pub use open::FILE_NAME;

use super::fitting::{self, NUMBER_MAX};
use super::limits::{AUDIT_LINES_MAX, DOCUMENT_BYTES_MAX, PAGE_MAX};
use super::thinning::{Kept, surplus};
use super::{AuditLine, Kind, NewRevision, Record, Revision, RevisionHead, Store, StoreFault, Write};
use faults::{damaged, fault};

/// Of what is written to find out whether there is room: no kind of record.
const ROOM: &str = "room";

/// A store in a file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Mutex<Connection>,
    path: PathBuf,
}

impl SqliteStore {
    /// Opens the store of a state directory, or makes it if there is none.
    ///
    /// # Errors
    /// [`OpenFault`], with what to do about it. Nothing of what is there has been changed then.
    pub fn open(state_dir: &Path) -> Result<Self, OpenFault> {
        Self::opened(state_dir, true)
    }

    /// Opens the store of a state directory, where there is one.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`OpenFault::Gone`]: there is none, and none was made.
    pub fn open_what_is_there(state_dir: &Path) -> Result<Self, OpenFault> {
        Self::opened(state_dir, false)
    }

    fn opened(state_dir: &Path, may_be_made: bool) -> Result<Self, OpenFault> {
        let path = state_dir.join(FILE_NAME);
        let connection = open::open(&path, may_be_made)?;
        // What a crash has left; a store that cannot be written now can be read, and the next change takes it away.
        let _ = take_room_away(&connection);
        Ok(Self { connection: Mutex::new(connection), path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a copy of what the store holds at this moment to a new file, readable by its owner only, while others go on
    /// writing. The sealing key is not in it.
    ///
    /// # Errors
    /// [`StoreFault::Unavailable`]: there is a file of that name already, or it cannot be written.
    pub fn back_up(&self, to: &Path) -> Result<(), StoreFault> {
        open::back_up(&self.path, to)
    }

    /// Reads every page of the file and compares what must agree.
    ///
    /// # Errors
    /// [`StoreFault::Damaged`] with what does not.
    pub fn check(&self) -> Result<(), StoreFault> {
        let found: String =
            self.connection().query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(fault)?;
        if found == "ok" { Ok(()) } else { Err(StoreFault::Damaged(found)) }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A transaction that a panic has interrupted was rolled back when it was dropped.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does it within one transaction that has the right to write from its beginning, so that what it reads is what it
    /// changes.
    fn change<T>(&self, change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreFault>) -> Result<T, StoreFault> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fault)?;
        let done = change(&transaction)?;
        transaction.commit().map_err(fault)?;
        Ok(done)
    }
}

impl Store for SqliteStore {
    fn head(&self) -> Result<Option<Revision>, StoreFault> {
        let sql = "SELECT number, author, at_ms, comment, document, digest FROM revisions ORDER BY number DESC LIMIT 1";
        let found = self.connection().query_row(sql, [], revision).optional().map_err(fault)?;
        found.map(proven).transpose()
    }

    fn revision(&self, number: u64) -> Result<Option<Revision>, StoreFault> {
        let sql = "SELECT number, author, at_ms, comment, document, digest FROM revisions WHERE number = ?1";
        let found = self.connection().query_row(sql, [signed(number)], revision).optional().map_err(fault)?;
        found.map(proven).transpose()
    }

    fn history(&self, before: Option<u64>, limit: usize) -> Result<Vec<RevisionHead>, StoreFault> {
        let sql =
            "SELECT number, author, at_ms, comment FROM revisions WHERE number < ?1 ORDER BY number DESC LIMIT ?2";
        let connection = self.connection();
        let mut statement = connection.prepare_cached(sql).map_err(fault)?;
        let rows = statement.query_map(params![signed(before.unwrap_or(NUMBER_MAX)), page(limit)], revision_head);
        rows.map_err(fault)?.collect::<Result<_, _>>().map_err(fault)
    }

    fn commit(&self, expected: u64, new: NewRevision, also: &[Write<'_>]) -> Result<RevisionHead, StoreFault> {
        fitting::check_revision(&new, also)?;
        self.change(|transaction| {
            let head = head_number(transaction)?;
            if head != expected {
                return Err(StoreFault::Conflict { head });
            }
            take_room_away(transaction)?;
            for write in also {
                match write.value {
                    Some(value) => put(transaction, write.kind, write.key, value).map(drop)?,
                    None => remove(transaction, write.kind, write.key).map(drop)?,
                }
            }
            let NewRevision { author, at_ms, comment, document } = new;
            let made = RevisionHead { number: head + 1, author, at_ms, comment };
            let sql = "INSERT INTO revisions (number, author, at_ms, comment, bytes, document, digest)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let digest = digest_of(&made, &document);
            let values = params![
                signed(made.number),
                made.author,
                signed(at_ms),
                made.comment,
                bytes_of(&document),
                document,
                digest
            ];
            transaction.execute(sql, values).map_err(fault)?;
            thin_out(transaction)?;
            Ok(made)
        })
    }

    fn record(&self, kind: Kind, key: &str) -> Result<Option<Record>, StoreFault> {
        let sql = "SELECT key, value, version FROM records WHERE kind = ?1 AND key = ?2";
        self.connection().query_row(sql, params![word(kind), key], record).optional().map_err(fault)
    }

    fn records(&self, kind: Kind, after: Option<&str>, limit: usize) -> Result<Vec<Record>, StoreFault> {
        // No key is empty, so all are after the empty one.
        let sql = "SELECT key, value, version FROM records WHERE kind = ?1 AND key > ?2 ORDER BY key LIMIT ?3";
        let connection = self.connection();
        let mut statement = connection.prepare_cached(sql).map_err(fault)?;
        let rows = statement.query_map(params![word(kind), after.unwrap_or_default(), page(limit)], record);
        rows.map_err(fault)?.collect::<Result<_, _>>().map_err(fault)
    }

    fn put(&self, kind: Kind, key: &str, value: &str, expected: Option<u64>) -> Result<u64, StoreFault> {
        fitting::check_record(kind, key, value)?;
        self.change(|transaction| {
            let version = version_of(transaction, kind, key)?;
            if expected.is_some_and(|expected| expected != version) {
                return Err(StoreFault::Conflict { head: version });
            }
            put(transaction, kind, key, value)
        })
    }

    fn remove(&self, kind: Kind, key: &str) -> Result<bool, StoreFault> {
        self.change(|transaction| remove(transaction, kind, key))
    }

    fn audit(&self, line: &AuditLine) -> Result<(), StoreFault> {
        let AuditLine { number: _, at_ms, actor, from, action, outcome } = fitting::fitted(line);
        self.change(|transaction| {
            let sql = "INSERT INTO audit (at_ms, actor, origin, action, outcome) VALUES (?1, ?2, ?3, ?4, ?5)";
            transaction.execute(sql, params![signed(at_ms), actor, from, action, outcome]).map_err(fault)?;
            // Numbers are given without gaps, so the oldest that stays is known.
            let oldest = transaction.last_insert_rowid() - signed(AUDIT_LINES_MAX);
            transaction.execute("DELETE FROM audit WHERE number <= ?1", [oldest]).map_err(fault)?;
            Ok(())
        })
    }

    fn audited(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditLine>, StoreFault> {
        let sql = "SELECT number, at_ms, actor, origin, action, outcome FROM audit WHERE number < ?1
                   ORDER BY number DESC LIMIT ?2";
        let connection = self.connection();
        let mut statement = connection.prepare_cached(sql).map_err(fault)?;
        let line = |row: &Row<'_>| {
            Ok(AuditLine {
                number: unsigned(row, 0)?,
                at_ms: unsigned(row, 1)?,
                actor: row.get(2)?,
                from: row.get(3)?,
                action: row.get(4)?,
                outcome: row.get(5)?,
            })
        };
        let rows = statement.query_map(params![signed(before.unwrap_or(NUMBER_MAX)), page(limit)], line);
        rows.map_err(fault)?.collect::<Result<_, _>>().map_err(fault)
    }

    fn has_room(&self, bytes: usize) -> Result<(), StoreFault> {
        let bytes = bytes.min(DOCUMENT_BYTES_MAX);
        // Of no kind, so nobody finds it; one that a crash or a fault leaves behind goes with the next change.
        self.change(|transaction| {
            let sql = "INSERT OR REPLACE INTO records (kind, key, value, version) VALUES (?1, ?1, ?2, 1)";
            transaction.execute(sql, params![ROOM, "x".repeat(bytes)]).map(drop).map_err(fault)
        })?;
        self.change(|transaction| take_room_away(transaction))
    }
}

/// What was written to find out whether there is room.
fn take_room_away(connection: &Connection) -> Result<(), StoreFault> {
    connection.execute("DELETE FROM records WHERE kind = ?1", [ROOM]).map(drop).map_err(fault)
}

fn head_number(connection: &Connection) -> Result<u64, StoreFault> {
    let sql = "SELECT coalesce(max(number), 0) FROM revisions";
    connection.query_row(sql, [], |row| unsigned(row, 0)).map_err(fault)
}

fn version_of(connection: &Connection, kind: Kind, key: &str) -> Result<u64, StoreFault> {
    let sql = "SELECT version FROM records WHERE kind = ?1 AND key = ?2";
    let found = connection.query_row(sql, params![word(kind), key], |row| unsigned(row, 0)).optional();
    Ok(found.map_err(fault)?.unwrap_or(0))
}

fn put(transaction: &Transaction<'_>, kind: Kind, key: &str, value: &str) -> Result<u64, StoreFault> {
    if version_of(transaction, kind, key)? == 0 {
        let sql = "SELECT count(*) FROM records WHERE kind = ?1";
        let there: usize = transaction.query_row(sql, [word(kind)], |row| row.get(0)).map_err(fault)?;
        if there >= kind.records_max() {
            return Err(fitting::too_many(kind));
        }
    }
    let next = "UPDATE counters SET value = value + 1 WHERE name = 'version' RETURNING value";
    let version = transaction.query_row(next, [], |row| unsigned(row, 0)).map_err(fault)?;
    let sql = "INSERT INTO records (kind, key, value, version) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value, version = excluded.version";
    transaction.execute(sql, params![word(kind), key, value, signed(version)]).map_err(fault)?;
    Ok(version)
}

fn remove(transaction: &Transaction<'_>, kind: Kind, key: &str) -> Result<bool, StoreFault> {
    let sql = "DELETE FROM records WHERE kind = ?1 AND key = ?2";
    Ok(transaction.execute(sql, params![word(kind), key]).map_err(fault)? > 0)
}

fn thin_out(transaction: &Transaction<'_>) -> Result<(), StoreFault> {
    let kept: Vec<Kept> = {
        let mut statement =
            transaction.prepare_cached("SELECT number, bytes FROM revisions ORDER BY number").map_err(fault)?;
        let rows = statement.query_map([], |row| Ok(Kept { number: unsigned(row, 0)?, bytes: row.get(1)? }));
        rows.map_err(fault)?.collect::<Result<_, _>>().map_err(fault)?
    };
    let referred: Vec<u64> = {
        let mut statement = transaction.prepare_cached("SELECT key FROM records WHERE kind = ?1").map_err(fault)?;
        let rows = statement.query_map([word(Kind::Confirmation)], |row| row.get::<_, String>(0)).map_err(fault)?;
        let keys: Vec<String> = rows.collect::<Result<_, _>>().map_err(fault)?;
        keys.iter().filter_map(|key| key.parse().ok()).collect()
    };
    for number in surplus(kept, &referred) {
        transaction.execute("DELETE FROM revisions WHERE number = ?1", [signed(number)]).map_err(fault)?;
    }
    Ok(())
}

/// What a revision and its document must hash to.
fn digest_of(head: &RevisionHead, document: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(head.number.to_be_bytes());
    hash.update(document.as_bytes());
    hash.finalize().into()
}

fn revision(row: &Row<'_>) -> rusqlite::Result<(Revision, [u8; 32])> {
    Ok((Revision { head: revision_head(row)?, document: row.get(4)? }, row.get(5)?))
}

fn revision_head(row: &Row<'_>) -> rusqlite::Result<RevisionHead> {
    Ok(RevisionHead { number: unsigned(row, 0)?, author: row.get(1)?, at_ms: unsigned(row, 2)?, comment: row.get(3)? })
}

/// The revision, if its document is the one that was written.
fn proven((revision, digest): (Revision, [u8; 32])) -> Result<Revision, StoreFault> {
    if digest_of(&revision.head, &revision.document) == digest {
        Ok(revision)
    } else {
        Err(damaged(format!("the text of revision {} is not the one that was written", revision.head.number)))
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record { key: row.get(0)?, value: row.get(1)?, version: unsigned(row, 2)? })
}

/// How a kind is called in the file: not by the names of the code, which may change.
const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Account => "account",
        Kind::Token => "token",
        Kind::Session => "session",
        Kind::FirstCode => "first-code",
        Kind::Confirmation => "confirmation",
        Kind::Imported => "imported",
        Kind::KnownPlace => "known-place",
    }
}

/// A number as SQLite keeps it. What is larger is larger than everything kept.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number as it was given. None is negative: the tables say so.
fn unsigned(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(at)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, number))
}

fn page(limit: usize) -> i64 {
    i64::try_from(limit.min(PAGE_MAX)).unwrap_or(i64::MAX)
}

fn bytes_of(document: &str) -> i64 {
    i64::try_from(document.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
