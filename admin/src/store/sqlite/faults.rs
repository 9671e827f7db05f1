//! What can be wrong with a store file, in words, with what to do about it.

use std::io;
use std::path::PathBuf;

use rusqlite::{Error, ErrorCode};

use crate::store::StoreFault;

/// Why a store was not opened. Nothing of it has been changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    /// A later version of Edgeway has been here.
    #[error(
        "{} was written by a newer version of Edgeway (format {found}, this version knows {known}): install that version again, or move the file aside and restore a back-up made with this one",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i32,
        /// The newest one known.
        known: i32,
    },
    /// It is no store of ours.
    #[error("{} is not a store of Edgeway: move it aside, and restore a back-up if there is one", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It was one, and cannot be read.
    #[error(
        "{} is damaged ({what}): move it and the files {}-wal and {}-shm aside, keep them, and restore a back-up",
        path.display(), path.display(), path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It is not there.
    #[error(
        "{} is gone: stop the service, restore a back-up and start it; started without one, it makes an empty one",
        path.display()
    )]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The system does not let us read it.
    #[error("{} cannot be read ({source}): let it belong to the user the service runs as", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system does not let us write it or beside it.
    #[error(
        "{} cannot be written ({what}): its directory must be writable for the user the service runs as, with room on the disk",
        path.display()
    )]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        what: String,
    },
    /// Another process holds it.
    #[error("{} is held by another process: end it, or wait until its back-up is done", path.display())]
    Held {
        /// The file.
        path: PathBuf,
    },
}

/// A fault at work. Texts of SQLite name tables and files, never what is in them.
pub(super) fn fault(error: Error) -> StoreFault {
    match code_of(&error) {
        Some(ErrorCode::DiskFull) => StoreFault::Unavailable("the disk is full; make room and save again".into()),
        Some(ErrorCode::ReadOnly) => StoreFault::Unavailable("the file system is read-only".into()),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreFault::Unavailable("another process is writing it; try again".into())
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(error.to_string()),
        // An error of the disk, and whatever else SQLite may say: nothing has changed, and it may pass.
        Some(_) => StoreFault::Unavailable(error.to_string()),
        // What was read is not what was written: another type, a number out of range, no text.
        None => damaged(error.to_string()),
    }
}

/// A fault of what is there.
pub(super) fn damaged(what: String) -> StoreFault {
    StoreFault::Damaged(what)
}

/// A fault at opening.
pub(super) fn open_fault(path: &std::path::Path, error: &Error) -> OpenFault {
    let path = path.to_owned();
    match code_of(error) {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None => {
            OpenFault::Damaged { path, what: error.to_string() }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenFault::Held { path },
        Some(_) => OpenFault::NotWritable { path, what: error.to_string() },
    }
}

fn code_of(error: &Error) -> Option<ErrorCode> {
    error.sqlite_error_code()
}
