//! Bounds of the store.

use std::time::Duration;

use super::Kind;

/// Largest document of a revision, bytes: what the parser of settings takes.
pub const DOCUMENT_BYTES_MAX: usize = edgeway_config::limits::CONFIG_TEXT_BYTES_MAX;

/// Revisions kept. Older ones are thinned out, so that a year ago is still there, if not every day of it.
pub const REVISIONS_MAX: usize = 1_000;

/// The newest revisions, which are all there, unless they are so large that [`HISTORY_BYTES_MAX`] comes first.
pub const REVISIONS_WHOLE: usize = 750;

/// Bytes of all documents kept: enough for a thousand of 64 KiB each.
pub const HISTORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest name of an author, bytes.
pub const AUTHOR_BYTES_MAX: usize = 256;

/// Longest comment of a revision, bytes.
pub const COMMENT_BYTES_MAX: usize = 4 * 1024;

/// Longest key of a record, bytes.
pub const KEY_BYTES_MAX: usize = 256;

/// Largest record, bytes, other than what was read from a node's file.
pub const RECORD_BYTES_MAX: usize = 16 * 1024;

/// Largest record of what was read from a node's file, bytes: a document as a JSON string, with some of it escaped.
pub const IMPORTED_BYTES_MAX: usize = 512 * 1024;

/// Records written together with a revision.
pub const WRITES_MAX: usize = 16;

/// Administrators' accounts.
pub const ACCOUNTS_MAX: usize = 256;

/// Tokens of the API.
pub const TOKENS_MAX: usize = 1_024;

/// Sessions of browsers, of all accounts together.
pub const SESSIONS_MAX: usize = 4_096;

/// Sessions of one account; a further sign-in ends the one that was used longest ago.
pub const SESSIONS_OF_ACCOUNT_MAX: usize = 16;

/// Codes for a first sign-in: a new one replaces the old.
pub const FIRST_CODES_MAX: usize = 1;

/// Revisions that wait for their confirmation.
pub const CONFIRMATIONS_MAX: usize = 16;

/// Nodes whose files have been read.
pub const IMPORTED_MAX: usize = 256;

/// Places from which somebody has signed in, of all accounts together: four of each, if there are as many as there may be.
/// The one that was used longest ago goes.
pub const KNOWN_PLACES_MAX: usize = 1_024;

/// Lines of the audit log; the oldest go.
pub const AUDIT_LINES_MAX: u64 = 100_000;

/// Longest field of an audit line, bytes; what is longer is cut.
pub const AUDIT_FIELD_BYTES_MAX: usize = 1_024;

/// Most that one call lists.
pub const PAGE_MAX: usize = 500;

/// How long a call waits for another process that writes, such as a back-up or the command line.
pub const BUSY_WAIT: Duration = Duration::from_secs(2);

/// Size of a SQLite store's log, bytes, from which on it is carried over into the store: so much room a full disk must get
/// back, beside what is to be written.
pub const LOG_BYTES_MAX: usize = 1024 * 1024;

/// Size of a page of a SQLite store, bytes.
pub const PAGE_BYTES: usize = 4 * 1024;

/// Longest secret that is sealed, bytes: a private key and its chain.
pub const SECRET_BYTES_MAX: usize = 16 * 1024;

/// Longest path of a setting a secret is sealed for, bytes.
pub const SETTING_PATH_BYTES_MAX: usize = 1_024;

/// Sealing keys in one file: the one in use and those of what was sealed before.
pub const SEALING_KEYS_MAX: usize = 16;

/// Largest file of sealing keys, bytes.
pub const KEY_FILE_BYTES_MAX: usize = 16 * 1024;

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Account,
        Self::Token,
        Self::Session,
        Self::FirstCode,
        Self::Confirmation,
        Self::Imported,
        Self::KnownPlace,
    ];

    /// How many records of this kind there may be.
    #[must_use]
    pub const fn records_max(self) -> usize {
        match self {
            Self::Account => ACCOUNTS_MAX,
            Self::Token => TOKENS_MAX,
            Self::Session => SESSIONS_MAX,
            Self::FirstCode => FIRST_CODES_MAX,
            Self::Confirmation => CONFIRMATIONS_MAX,
            Self::Imported => IMPORTED_MAX,
            Self::KnownPlace => KNOWN_PLACES_MAX,
        }
    }

    /// How large a record of this kind may be, bytes.
    #[must_use]
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::Account | Self::Token | Self::Session | Self::FirstCode | Self::Confirmation | Self::KnownPlace => {
                RECORD_BYTES_MAX
            }
            Self::Imported => IMPORTED_BYTES_MAX,
        }
    }
}
