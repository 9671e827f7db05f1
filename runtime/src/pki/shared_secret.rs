//! A secret of 32 bytes in a file of its own, which an operator copies to the nodes that share it.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgeway_model::Secret;
use zeroize::Zeroizing;

use super::store::{create, ensure_directory, from_hex, hex, read_private};
use super::{PkiError, random};

/// Reads the secret, 32 bytes in hexadecimal or base64; makes one, readable by its owner only, if there is no
/// file. Of several that make it at once all get the same.
///
/// # Errors
/// When the file can be read by others, holds anything else, or can neither be read nor made.
pub fn shared_secret(path: &Path) -> Result<Secret<32>, PkiError> {
    if let Some(secret) = read(path)? {
        return Ok(secret);
    }
    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        ensure_directory(directory)?;
    }
    let fresh = Zeroizing::new(random::<32>()?);
    let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex(fresh.as_slice()))));
    create(path, text.as_bytes())?;
    // Somebody else may have been faster: what is in the file counts.
    read(path)?.ok_or_else(|| damaged(path))
}

fn read(path: &Path) -> Result<Option<Secret<32>>, PkiError> {
    let Some(bytes) = read_private(path)?.map(Zeroizing::new) else { return Ok(None) };
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    let base64 = || STANDARD.decode(text).ok().map(Zeroizing::new).and_then(|bytes| bytes.as_slice().try_into().ok());
    let secret = from_hex::<32>(text).or_else(base64).ok_or_else(|| damaged(path))?;
    Ok(Some(Secret::new(secret)))
}

fn damaged(path: &Path) -> PkiError {
    PkiError::NoSecret { path: path.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::tests::Scratch;
    use super::*;

    #[test]
    fn it_is_made_once_and_private() {
        let scratch = Scratch::new("shared-secret");
        let path = scratch.path().join("deep").join("sign-in.key");
        let first = shared_secret(&path).unwrap();
        assert_eq!(shared_secret(&path).unwrap(), first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn racing_starts_agree() {
        let scratch = Scratch::new("shared-secret-race");
        let path = scratch.path().join("sign-in.key");
        let made: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| shared_secret(&path).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(made.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn both_spellings_are_read_and_nothing_else() {
        let scratch = Scratch::new("shared-secret-forms");
        let path = scratch.path().join("sign-in.key");
        let write = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        for text in ["07".repeat(32), format!("{}\n", STANDARD.encode([7; 32]))] {
            write(&text, 0o600);
            assert_eq!(shared_secret(&path).unwrap().expose(), &[7; 32]);
        }
        for text in [String::new(), "07".repeat(31), "07".repeat(33), STANDARD.encode([7; 31]), "x".repeat(64)] {
            write(&text, 0o600);
            let fault = shared_secret(&path).unwrap_err().to_string();
            assert!(fault.contains("sign-in.key") && fault.contains("32 bytes"), "{fault}");
            assert!(text.is_empty() || !fault.contains(text.trim()), "{fault}");
        }
        write(&"07".repeat(32), 0o640);
        assert!(matches!(shared_secret(&path), Err(PkiError::Permissions { .. })));
    }
}
