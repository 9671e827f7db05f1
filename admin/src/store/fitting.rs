//! What may be put into a store at all: bounds that every back end shares.

use super::limits::{
    AUDIT_FIELD_BYTES_MAX, AUTHOR_BYTES_MAX, COMMENT_BYTES_MAX, DOCUMENT_BYTES_MAX, KEY_BYTES_MAX, WRITES_MAX,
};
use super::{AuditLine, Kind, NewRevision, StoreFault, Write};

/// Largest number kept: back ends hold signed ones.
pub(super) const NUMBER_MAX: u64 = i64::MAX as u64;

/// Whether a revision is within the bounds.
pub(super) fn check_revision(new: &NewRevision, also: &[Write<'_>]) -> Result<(), StoreFault> {
    if new.document.len() > DOCUMENT_BYTES_MAX {
        return Err(StoreFault::Full("the configuration is larger than 256 KiB"));
    }
    if new.author.len() > AUTHOR_BYTES_MAX {
        return Err(StoreFault::Full("the author's name is longer than 256 bytes"));
    }
    if new.comment.len() > COMMENT_BYTES_MAX {
        return Err(StoreFault::Full("the comment is longer than 4 KiB"));
    }
    if new.at_ms > NUMBER_MAX {
        return Err(StoreFault::Full("the time is out of range"));
    }
    if also.len() > WRITES_MAX {
        return Err(StoreFault::Full("too many records with one revision"));
    }
    also.iter()
        .filter_map(|write| Some((write, write.value?)))
        .try_for_each(|(w, value)| check_record(w.kind, w.key, value))
}

/// Whether a record is within the bounds.
pub(super) fn check_record(kind: Kind, key: &str, value: &str) -> Result<(), StoreFault> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(StoreFault::Full("a record's key is empty or longer than 256 bytes"));
    }
    if value.len() > kind.bytes_max() {
        return Err(StoreFault::Full(match kind {
            Kind::Imported => "the settings of the file are larger than 512 KiB",
            Kind::Account | Kind::Token | Kind::Session | Kind::FirstCode | Kind::Confirmation | Kind::KnownPlace => {
                "the record is larger than 16 KiB"
            }
        }));
    }
    Ok(())
}

/// What is said when there are as many of a kind as there may be.
pub(super) const fn too_many(kind: Kind) -> StoreFault {
    StoreFault::Full(match kind {
        Kind::Account => "there are 256 accounts already; remove one first",
        Kind::Token => "there are 1,024 tokens already; remove one first",
        Kind::Session => "there are 4,096 sessions already; one must end first",
        Kind::FirstCode => "there is a code for the first sign-in already",
        Kind::Confirmation => "16 revisions wait for their confirmation already; confirm one first",
        Kind::Imported => "files of 256 nodes have been read already",
        Kind::KnownPlace => "1,024 places of sign-ins are known already",
    })
}

/// The line as it is kept: every field within its bound.
pub(super) fn fitted(line: &AuditLine) -> AuditLine {
    AuditLine {
        number: line.number,
        at_ms: line.at_ms.min(NUMBER_MAX),
        actor: cut(&line.actor),
        from: cut(&line.from),
        action: cut(&line.action),
        outcome: cut(&line.outcome),
    }
}

/// The text, or its beginning and a mark that it went on.
fn cut(text: &str) -> String {
    const MARK: &str = "…";
    if text.len() <= AUDIT_FIELD_BYTES_MAX {
        return text.to_owned();
    }
    let mut end = AUDIT_FIELD_BYTES_MAX - MARK.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", &text[..end])
}
