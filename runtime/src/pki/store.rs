//! Files of the state directory: private, whole, or not there at all.
//!
//! Every write goes to a temporary file of mode 0600, is flushed to the disk and then takes its
//! place in one step, so that a power cut leaves the old file or the new one. Secrets readable by
//! others are refused on load, as ssh does. What root writes into the directory of a service user
//! belongs to that user: an operator's `sudo edgeway edge invite` must not lock the edge out.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::limits::STATE_FILE_BYTES_MAX;
use super::{PkiError, random};

/// Makes the directory (mode 0700) if it is not there.
pub(crate) fn ensure_directory(dir: &Path) -> Result<(), PkiError> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .and_then(|()| File::open(dir))
        .and_then(|made| inherit_owner(&made, dir))
        .map_err(|source| PkiError::file("create", dir, source))
}

/// Writes a file of mode 0600, replacing what was there in one step.
///
/// # Errors
/// When it cannot be written; what was there stays.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    let temporary = write_temporary(path, bytes)?;
    fs::rename(&temporary, path).map_err(|source| {
        let _ = fs::remove_file(&temporary);
        PkiError::file("write", path, source)
    })?;
    sync_directory(path)
}

/// Writes a file of mode 0600 unless one is there already; says whether it did. Exactly one of
/// several racing callers gets `true`.
///
/// # Errors
/// When it cannot be written.
pub fn create(path: &Path, bytes: &[u8]) -> Result<bool, PkiError> {
    let temporary = write_temporary(path, bytes)?;
    let linked = fs::hard_link(&temporary, path);
    let _ = fs::remove_file(&temporary);
    match linked {
        Ok(()) => sync_directory(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(PkiError::file("write", path, source)),
    }
}

/// Reads a file that holds a secret, or that nobody else is to write; `None` if there is none. At most
/// [`STATE_FILE_BYTES_MAX`] of it.
///
/// # Errors
/// When others may read it, or it cannot be read.
pub fn read_private(path: &Path) -> Result<Option<Vec<u8>>, PkiError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PkiError::file("read", path, source)),
    };
    let metadata = file.metadata().map_err(|source| PkiError::file("read", path, source))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(PkiError::Permissions { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(STATE_FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|source| PkiError::file("read", path, source))?;
    Ok(Some(bytes))
}

/// One PEM block (RFC 7468).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out.push_str("-----END ");
    out.push_str(label);
    out.push_str("-----\n");
    out
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The `N` bytes that `text` spells in hexadecimal.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut out = [0; N];
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(out)
}

fn write_temporary(path: &Path, bytes: &[u8]) -> Result<PathBuf, PkiError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", hex(&random::<8>()?)));
    let temporary = path.with_file_name(name);
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).and_then(|mut file| {
        inherit_owner(&file, &temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|source| {
        let _ = fs::remove_file(&temporary);
        PkiError::file("write", &temporary, source)
    })?;
    Ok(temporary)
}

/// Gives what was just made to the owner of the directory it is in. Only root can find another
/// owner there: the directories are closed to everybody else.
fn inherit_owner(made: &File, path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
    let (ours, parent) = (made.metadata()?, fs::metadata(parent)?);
    if ours.uid() == parent.uid() || ours.uid() != 0 || parent.permissions().mode() & 0o022 != 0 {
        return Ok(());
    }
    fchown(made, Some(parent.uid()), Some(parent.gid()))
}

/// Makes a rename outlive a power cut.
fn sync_directory(path: &Path) -> Result<(), PkiError> {
    let Some(dir) = path.parent() else { return Ok(()) };
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| PkiError::file("flush", dir, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::tests::Scratch;

    #[test]
    fn a_file_open_to_others_is_refused() {
        let scratch = Scratch::new("open-file");
        let path = scratch.path().join("secret");
        replace(&path, b"x").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_private(&path).unwrap().as_deref(), Some(&b"x"[..]));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_private(&path), Err(PkiError::Permissions { .. })));
    }

    #[test]
    fn what_root_writes_belongs_to_the_owner_of_the_directory() {
        let scratch = Scratch::new("owner");
        if fs::metadata(scratch.path()).unwrap().uid() != 0 {
            return; // Only root can see it happen.
        }
        std::os::unix::fs::chown(scratch.path(), Some(12_345), Some(12_345)).unwrap();
        let dir = scratch.path().join("invites");
        ensure_directory(&dir).unwrap();
        replace(&dir.join("one"), b"x").unwrap();
        for path in [dir.clone(), dir.join("one")] {
            assert_eq!(fs::metadata(&path).unwrap().uid(), 12_345, "{}", path.display());
        }
    }

    #[test]
    fn create_never_replaces_and_leaves_no_litter() {
        let scratch = Scratch::new("create");
        let path = scratch.path().join("once");
        assert!(create(&path, b"first").unwrap());
        assert!(!create(&path, b"second").unwrap());
        assert_eq!(read_private(&path).unwrap().as_deref(), Some(&b"first"[..]));
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }

    #[test]
    fn hexadecimal_goes_both_ways_and_refuses_the_rest() {
        assert_eq!(from_hex::<3>(&hex(&[0, 171, 255])), Some([0, 171, 255]));
        for bad in ["", "00", "0000", "zz0000", "é000"] {
            assert_eq!(from_hex::<3>(bad), None, "{bad}");
        }
    }
}
