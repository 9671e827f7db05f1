//! How a store file comes to be, is opened and is copied.
//!
//! A new one is made aside and takes its place whole, so an empty file is a damaged one. One that is there is looked at
//! before anything is written: its head says whose it is and of which version.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use edgeway_runtime::pki::{self, PkiError};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::faults::{OpenFault, fault, open_fault};
use crate::store::StoreFault;
use crate::store::limits::{BUSY_WAIT, LOG_BYTES_MAX, PAGE_BYTES};

/// The name of the store in a state directory.
pub const FILE_NAME: &str = "store.db";

/// Says in the head of the file that it is ours: "EdgW".
const APPLICATION_ID: i32 = 0x4564_6757;

/// How each format is made of the one before; the first of nothing. A new one is added at the end, and none is changed.
const FORMATS: &[&str] = &["
    CREATE TABLE revisions (
        number INTEGER PRIMARY KEY CHECK (number > 0),
        author TEXT NOT NULL,
        at_ms INTEGER NOT NULL CHECK (at_ms >= 0),
        comment TEXT NOT NULL,
        bytes INTEGER NOT NULL CHECK (bytes >= 0),
        digest BLOB NOT NULL,
        document TEXT NOT NULL
    ) STRICT;
    CREATE TABLE records (
        kind TEXT NOT NULL,
        key TEXT NOT NULL CHECK (key <> ''),
        value TEXT NOT NULL,
        version INTEGER NOT NULL CHECK (version > 0),
        PRIMARY KEY (kind, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO counters VALUES ('version', 0);
    CREATE TABLE audit (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at_ms INTEGER NOT NULL CHECK (at_ms >= 0),
        actor TEXT NOT NULL,
        origin TEXT NOT NULL,
        action TEXT NOT NULL,
        outcome TEXT NOT NULL
    ) STRICT;
"];

/// Opens it; where there is none, it is made first if that may be.
pub(super) fn open(path: &Path, may_be_made: bool) -> Result<Connection, OpenFault> {
    match look(path, FORMATS.len())? {
        Found::Nothing if may_be_made => make(path)?,
        Found::Nothing => return Err(OpenFault::Gone { path: path.to_owned() }),
        Found::Store => make_private(path)?,
    }
    connect(path, FORMATS)
}

/// What is there.
enum Found {
    Nothing,
    Store,
}

/// Reads the head of the file, without SQLite, which would begin to write.
fn look(path: &Path, known: usize) -> Result<Found, OpenFault> {
    let unreadable = |source| OpenFault::Unreadable { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return nothing_left(path),
        Err(source) => return Err(unreadable(source)),
    };
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head).map_err(unreadable)?;
    let number = |at: usize| head.get(at..at + 4).and_then(|four| four.try_into().ok()).map(i32::from_be_bytes);
    // https://www.sqlite.org/fileformat2.html §1.3: the magic words, the user version and the application id.
    match (head.get(..16), number(60), number(68)) {
        (Some(b"SQLite format 3\0"), Some(format), Some(APPLICATION_ID)) => known_format(path, format, known),
        (Some(b"SQLite format 3\0"), ..) => Err(OpenFault::Foreign { path: path.to_owned() }),
        (Some(_), ..) => Err(OpenFault::Damaged { path: path.to_owned(), what: "its head is no store's".into() }),
        (None, ..) => Err(OpenFault::Damaged { path: path.to_owned(), what: "it is empty".into() }),
    }
}

/// Bytes at the beginning of the file that say what it is.
const HEAD_BYTES: u64 = 100;

/// A log without its store is what is left of one: a new store would take it for its own.
fn nothing_left(path: &Path) -> Result<Found, OpenFault> {
    if beside(path, "-wal").exists() {
        let what = "its log is there, the file itself is gone".into();
        return Err(OpenFault::Damaged { path: path.to_owned(), what });
    }
    Ok(Found::Nothing)
}

fn known_format(path: &Path, found: i32, known: usize) -> Result<Found, OpenFault> {
    match usize::try_from(found) {
        Ok(format) if (1..=known).contains(&format) => Ok(Found::Store),
        Ok(_) | Err(_) => {
            let known = i32::try_from(known).unwrap_or(i32::MAX);
            Err(OpenFault::Newer { path: path.to_owned(), found, known })
        }
    }
}

/// Makes an empty store, whole and for us alone; one that another process has just made stays.
fn make(path: &Path) -> Result<(), OpenFault> {
    let written = |what: String| OpenFault::NotWritable { path: path.to_owned(), what };
    let empty = empty_store(FORMATS).map_err(|error| open_fault(path, &error))?;
    pki::create(path, &empty).map(drop).map_err(|error| written(in_full(&error)))
}

/// The bytes of a store that holds nothing.
fn empty_store(formats: &[&str]) -> rusqlite::Result<Vec<u8>> {
    let mut connection = Connection::open_in_memory()?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    upgrade(&mut connection, formats, 0)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    Ok(connection.serialize(rusqlite::MAIN_DB)?.to_vec())
}

/// Takes from others what they were let to read, such as by a copy that was put back.
fn make_private(path: &Path) -> Result<(), OpenFault> {
    let unreadable = |source| OpenFault::Unreadable { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        let set = fs::set_permissions(path, Permissions::from_mode(0o600));
        set.map_err(|error| OpenFault::NotWritable { path: path.to_owned(), what: error.to_string() })?;
    }
    Ok(())
}

pub(super) fn connect(path: &Path, formats: &[&str]) -> Result<Connection, OpenFault> {
    let opened = |error: rusqlite::Error| open_fault(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(opened)?;
    // Until all is proven, closing it leaves the file as it is.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(opened)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(opened)?;
    connection.busy_timeout(BUSY_WAIT).map_err(opened)?;
    connection.pragma_update(None, "trusted_schema", false).map_err(opened)?;
    connection.pragma_update(None, "cell_size_check", true).map_err(opened)?;
    if connection.is_readonly(rusqlite::MAIN_DB).map_err(opened)? {
        return Err(OpenFault::NotWritable { path: path.to_owned(), what: "it is read-only".into() });
    }
    let format: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(opened)?;
    known_format(path, format, formats.len())?;
    // Every page is read, the indexes are not compared: tens of milliseconds for a full store.
    let sound: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0)).map_err(opened)?;
    if sound != "ok" {
        return Err(OpenFault::Damaged { path: path.to_owned(), what: sound });
    }
    make_durable(&connection).map_err(opened)?;
    upgrade(&mut connection, formats, usize::try_from(format).unwrap_or(0)).map_err(opened)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(opened)?;
    Ok(connection)
}

/// What a commit has returned from is on the disk.
fn make_durable(connection: &Connection) -> rusqlite::Result<()> {
    // Kept in the file, but a copy made by VACUUM INTO is without it.
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_MAX, |row| row.get::<_, i64>(0))?;
    let pages = LOG_BYTES_MAX / PAGE_BYTES;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", pages, |row| row.get::<_, i64>(0))?;
    Ok(())
}

/// Brings a store from a format to the newest, in one step or not at all.
fn upgrade(connection: &mut Connection, formats: &[&str], from: usize) -> rusqlite::Result<()> {
    if from >= formats.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    let from: usize = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for statements in &formats[from.min(formats.len())..] {
        transaction.execute_batch(statements)?;
    }
    transaction.pragma_update(None, "user_version", formats.len())?;
    transaction.commit()
}

/// Copies what the store holds now into a new file.
pub(super) fn back_up(path: &Path, to: &Path) -> Result<(), StoreFault> {
    let unwritten = |error: io::Error| StoreFault::Unavailable(format!("{}: {error}", to.display()));
    // Made here, for its mode; SQLite fills a file that is empty.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(unwritten)?;
    let copied = copy(path, to).and_then(|()| File::open(to).and_then(|file| file.sync_all()).map_err(unwritten));
    if copied.is_err() {
        let _ = fs::remove_file(to);
    }
    copied
}

/// By a connection of its own, so that nobody waits for it.
fn copy(path: &Path, to: &Path) -> Result<(), StoreFault> {
    let Some(target) = to.to_str() else {
        return Err(StoreFault::Unavailable("the name of the copy is not UTF-8".into()));
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fault)?;
    connection.busy_timeout(BUSY_WAIT).map_err(fault)?;
    connection.execute("VACUUM INTO ?1", [target]).map(drop).map_err(fault)
}

/// A file with the same name and an ending.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn in_full(error: &PkiError) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
