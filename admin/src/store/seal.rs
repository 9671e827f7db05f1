//! Secrets within a document: AES-256-GCM under a key that is not in the store.
//!
//! A sealed value reads `sealed:v1:<key id>:<base64url(nonce, ciphertext, tag)>`. What stands before the last colon and
//! the path of the setting are authenticated with it, so that a value opens in the place it was sealed for and nowhere
//! else. Whoever reads the store, a back-up or an export of it learns how long a secret is, and nothing more.
//!
//! Keys come from a file with a key on each line, `edgeway-key:v1:<base64url of 32 bytes>`, and comments after `#`. The first
//! one seals, all open: a key is replaced by putting a new one above it. The file is `edgeway-key` in the service manager's
//! `$CREDENTIALS_DIRECTORY`, or else `secret.key` in the state directory, which is made when the first secret is sealed.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use edgeway_runtime::pki::{self, PkiError};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::limits::{KEY_FILE_BYTES_MAX, SEALING_KEYS_MAX, SECRET_BYTES_MAX, SETTING_PATH_BYTES_MAX};

/// What every sealed value begins with, of whatever version.
pub const SEALED: &str = "sealed:";
/// What those begin with that are made here.
const SEALED_V1: &str = "sealed:v1:";
/// What a key begins with in its file.
const KEY_V1: &str = "edgeway-key:v1:";
/// The file of keys in a state directory.
pub const KEY_FILE_NAME: &str = "secret.key";
/// The credential of the service manager with the same contents.
pub const CREDENTIAL_NAME: &str = "edgeway-key";

const KEY_BYTES: usize = 32;
/// Bytes of a key's hash that name it, eight, in hexadecimal.
const KEY_ID_LETTERS: usize = 16;
const TAG_BYTES: usize = 16;

/// Why a secret was not sealed or opened. No text of it, sealed or not, is in here.
#[derive(Debug, thiserror::Error)]
pub enum SealFault {
    /// Not what a sealed value looks like.
    #[error("{path}: it is no sealed value, or of a later version: write the secret anew")]
    Malformed {
        /// The setting.
        path: String,
    },
    /// Sealed under a key that is not here.
    #[error(
        "{path}: it was sealed with the key {wanted}, which is not in {place}: put that key back as a further line, or write the secret anew"
    )]
    OtherKey {
        /// The setting.
        path: String,
        /// The key's id.
        wanted: String,
        /// Where keys come from.
        place: String,
    },
    /// The key is right, and it does not open.
    #[error("{path}: it was sealed for another setting or has been changed since: write the secret anew")]
    NotWhatWasSealed {
        /// The setting.
        path: String,
    },
    /// Longer than what is sealed.
    #[error("{path}: the secret is longer than 16 KiB")]
    TooLong {
        /// The setting.
        path: String,
    },
    /// The keys cannot be read or written.
    #[error("the sealing keys in {place}: {why}")]
    Keys {
        /// Where keys come from.
        place: String,
        /// What is wrong.
        why: String,
    },
}

/// Whether a value is a sealed one, of whatever version, rather than the secret itself.
#[must_use]
pub fn is_sealed(value: &str) -> bool {
    value.starts_with(SEALED)
}

/// Seals and opens the secrets of one core. Calls may read or write the file of keys.
pub struct Seal {
    place: KeyPlace,
    ring: Mutex<Option<Arc<KeyRing>>>,
}

impl Seal {
    /// With the service manager's credential if it is there, else with the file in the state directory. Nothing is read
    /// before it is needed.
    #[must_use]
    pub fn of(state_dir: &Path) -> Self {
        Self::with(KeyPlace::of(state_dir, std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).as_deref()))
    }

    /// With keys from that place.
    #[must_use]
    pub fn with(place: KeyPlace) -> Self {
        Self { place, ring: Mutex::default() }
    }

    /// Where the keys come from.
    #[must_use]
    pub fn place(&self) -> &KeyPlace {
        &self.place
    }

    /// Seals a secret for a setting. The first one makes the key.
    ///
    /// # Errors
    /// [`SealFault`].
    pub fn seal(&self, setting: &str, secret: &str) -> Result<String, SealFault> {
        let ring = match self.read()? {
            Some(ring) => ring,
            None => self.keep(self.place.make()?),
        };
        ring.seal(setting, secret)
    }

    /// Opens what was sealed for that setting.
    ///
    /// # Errors
    /// [`SealFault`].
    pub fn open(&self, setting: &str, sealed: &str) -> Result<Zeroizing<String>, SealFault> {
        let known = self.read()?.unwrap_or_else(|| Arc::new(KeyRing::empty(&self.place)));
        match known.open(setting, sealed) {
            // The file may have a further key by now.
            Err(SealFault::OtherKey { .. }) => match self.place.read()? {
                Some(ring) => self.keep(ring).open(setting, sealed),
                None => known.open(setting, sealed),
            },
            other => other,
        }
    }

    /// Whether a sealed value is under an older key than the one that seals, so that it is to be sealed anew.
    ///
    /// # Errors
    /// [`SealFault`].
    pub fn is_outdated(&self, sealed: &str) -> Result<bool, SealFault> {
        let current = self.read()?.and_then(|ring| ring.keys.first().map(|key| key.id.clone()));
        Ok(parts("", sealed)?.0 != current.unwrap_or_default())
    }

    /// Puts a new key above the others, by which everything is sealed from now on. What was sealed before still opens.
    ///
    /// # Errors
    /// [`SealFault::Keys`]: there are too many already, the keys are the service manager's, or they cannot be written.
    pub fn rotate(&self) -> Result<(), SealFault> {
        let mut kept = self.locked();
        *kept = Some(Arc::new(self.place.rotate()?));
        Ok(())
    }

    /// Reads the file of keys again when it is next needed.
    pub fn forget(&self) {
        *self.locked() = None;
    }

    fn read(&self) -> Result<Option<Arc<KeyRing>>, SealFault> {
        let mut kept = self.locked();
        if kept.is_none() {
            *kept = self.place.read()?.map(Arc::new);
        }
        Ok(kept.clone())
    }

    fn keep(&self, ring: KeyRing) -> Arc<KeyRing> {
        let ring = Arc::new(ring);
        *self.locked() = Some(Arc::clone(&ring));
        ring
    }

    fn locked(&self) -> MutexGuard<'_, Option<Arc<KeyRing>>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({:?})", self.place)
    }
}

/// Where sealing keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// The service manager, which alone changes them.
    Credential(PathBuf),
    /// A file of the state directory.
    File(PathBuf),
}

impl KeyPlace {
    /// The service manager's credential if there is one, else the file in the state directory.
    #[must_use]
    pub fn of(state_dir: &Path, credentials: Option<&Path>) -> Self {
        match credentials.map(|folder| folder.join(CREDENTIAL_NAME)).filter(|file| file.exists()) {
            Some(file) => Self::Credential(file),
            None => Self::File(state_dir.join(KEY_FILE_NAME)),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Credential(path) | Self::File(path) => path,
        }
    }

    fn shown(&self) -> String {
        self.path().display().to_string()
    }

    fn fault(&self, why: impl fmt::Display) -> SealFault {
        SealFault::Keys { place: self.shown(), why: why.to_string() }
    }

    fn refused(&self, error: &PkiError) -> SealFault {
        let source = std::error::Error::source(error);
        self.fault(source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}")))
    }

    /// The keys that are there; `None`: there is no file yet, and there may be one.
    fn read(&self) -> Result<Option<KeyRing>, SealFault> {
        let Some(text) = self.text()? else { return Ok(None) };
        KeyRing::parse(self, &text).map(Some)
    }

    fn text(&self) -> Result<Option<Zeroizing<Vec<u8>>>, SealFault> {
        let bytes = match self {
            // The service manager answers for who may read it, and its modes are not those of a file of ours.
            Self::Credential(path) => Some(bounded(path).map_err(|error| self.fault(error))?),
            Self::File(path) => pki::read_private(path).map_err(|error| self.refused(&error))?,
        };
        let bytes = bytes.map(Zeroizing::new);
        match bytes {
            Some(bytes) if bytes.len() > KEY_FILE_BYTES_MAX => Err(self.fault("the file is larger than 16 KiB")),
            other => Ok(other),
        }
    }

    /// Makes the file with its first key, unless another process has just done so.
    fn make(&self) -> Result<KeyRing, SealFault> {
        let text = self.new_line()?;
        match self {
            Self::Credential(_) => return Err(self.fault("the service manager's credential is gone")),
            Self::File(path) => pki::create(path, text.as_bytes()).map_err(|error| self.refused(&error))?,
        };
        self.read()?.ok_or_else(|| self.fault("it was made and is gone"))
    }

    fn rotate(&self) -> Result<KeyRing, SealFault> {
        let path = match self {
            Self::Credential(_) => {
                return Err(self.fault("they are the service manager's; add the new key there, as the first line"));
            }
            Self::File(path) => path,
        };
        let mut text = Zeroizing::new(self.new_line()?.as_bytes().to_vec());
        // Read before it is written over: a file that is damaged is left alone.
        let before = self.text()?.unwrap_or_default();
        KeyRing::parse_some(self, &before)?;
        text.extend_from_slice(&before);
        let ring = KeyRing::parse(self, &text)?;
        pki::replace(path, &text).map_err(|error| self.refused(&error))?;
        Ok(ring)
    }

    fn new_line(&self) -> Result<Zeroizing<String>, SealFault> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(&mut *key).map_err(|_| self.fault("the system has no randomness"))?;
        let letters = Zeroizing::new(BASE64.encode(*key));
        Ok(Zeroizing::new(format!("{KEY_V1}{}\n", letters.as_str())))
    }
}

/// The file, or its beginning if it is too large.
fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(KEY_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Keys, the one that seals first.
struct KeyRing {
    keys: Vec<SealingKey>,
    place: KeyPlace,
}

struct SealingKey {
    id: String,
    cipher: LessSafeKey,
}

impl KeyRing {
    fn empty(place: &KeyPlace) -> Self {
        Self { keys: Vec::new(), place: place.clone() }
    }

    /// At least one key.
    fn parse(place: &KeyPlace, text: &[u8]) -> Result<Self, SealFault> {
        let ring = Self::parse_some(place, text)?;
        if ring.keys.is_empty() {
            return Err(place.fault("there is no key in it: restore the file from where you keep it"));
        }
        Ok(ring)
    }

    fn parse_some(place: &KeyPlace, text: &[u8]) -> Result<Self, SealFault> {
        let mut ring = Self::empty(place);
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
            if line.is_empty() {
                continue;
            }
            let key = line.strip_prefix(KEY_V1.as_bytes()).and_then(SealingKey::parse);
            let key = key.ok_or_else(|| place.fault(format_args!("line {} is no key", at + 1)))?;
            if ring.keys.iter().all(|other| other.id != key.id) {
                ring.keys.push(key);
            }
        }
        if ring.keys.len() > SEALING_KEYS_MAX {
            return Err(place.fault("there are more than 16 keys: remove those by which nothing is sealed any more"));
        }
        Ok(ring)
    }

    fn seal(&self, setting: &str, secret: &str) -> Result<String, SealFault> {
        if secret.len() > SECRET_BYTES_MAX || setting.len() > SETTING_PATH_BYTES_MAX {
            return Err(SealFault::TooLong { path: shortened(setting) });
        }
        let Some(key) = self.keys.first() else { return Err(self.place.fault("there is no key")) };
        let head = format!("{SEALED_V1}{}", key.id);
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| self.place.fault("the system has no randomness"))?;
        // Overwritten in place by what it is sealed to.
        let mut text = Zeroizing::new(secret.as_bytes().to_vec());
        let tag = key
            .cipher
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), bound_to(&head, setting), &mut text)
            .map_err(|_| self.place.fault("the key does not seal"))?;
        let whole = [&nonce[..], &text, tag.as_ref()].concat();
        Ok(format!("{head}:{}", BASE64.encode(whole)))
    }

    fn open(&self, setting: &str, sealed: &str) -> Result<Zeroizing<String>, SealFault> {
        let (id, mut whole) = parts(setting, sealed)?;
        let Some(key) = self.keys.iter().find(|key| key.id == id) else {
            return Err(SealFault::OtherKey {
                path: shortened(setting),
                wanted: id.to_owned(),
                place: self.place.shown(),
            });
        };
        let changed = || SealFault::NotWhatWasSealed { path: shortened(setting) };
        let head = format!("{SEALED_V1}{id}");
        let (nonce, text) = whole.split_at_mut(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| changed())?;
        let opened = key.cipher.open_in_place(nonce, bound_to(&head, setting), text).map_err(|_| changed())?;
        std::str::from_utf8(opened).map(|text| Zeroizing::new(text.to_owned())).map_err(|_| changed())
    }
}

impl SealingKey {
    fn parse(letters: &[u8]) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64.decode(letters).ok()?);
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &bytes).ok()?);
        let mut hash = Sha256::new();
        hash.update(b"edgeway sealing key");
        hash.update(&*bytes);
        let id = hash.finalize().iter().take(KEY_ID_LETTERS / 2).map(|byte| format!("{byte:02x}")).collect();
        Some(Self { id, cipher })
    }
}

/// The key's id, and nonce, ciphertext and tag in one.
fn parts<'s>(setting: &str, sealed: &'s str) -> Result<(&'s str, Zeroizing<Vec<u8>>), SealFault> {
    let malformed = || SealFault::Malformed { path: shortened(setting) };
    // Letters are four for three bytes.
    const LETTERS_MAX: usize = (NONCE_LEN + SECRET_BYTES_MAX + TAG_BYTES).div_ceil(3) * 4;
    let (id, letters) = sealed.strip_prefix(SEALED_V1).and_then(|rest| rest.split_once(':')).ok_or_else(malformed)?;
    let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if id.len() != KEY_ID_LETTERS || !id.bytes().all(lower_hex) || letters.len() > LETTERS_MAX {
        return Err(malformed());
    }
    let whole = Zeroizing::new(BASE64.decode(letters).map_err(|_| malformed())?);
    if whole.len() < NONCE_LEN + TAG_BYTES { Err(malformed()) } else { Ok((id, whole)) }
}

/// What is authenticated beside the text: lengths are no question, since the head is of one length.
fn bound_to(head: &str, setting: &str) -> Aad<Vec<u8>> {
    Aad::from([head.as_bytes(), b":", setting.as_bytes()].concat())
}

/// A path as an error may repeat it.
fn shortened(setting: &str) -> String {
    const LETTERS_MAX: usize = 100;
    setting.chars().filter(|letter| !letter.is_control()).take(LETTERS_MAX).collect()
}

#[cfg(test)]
mod tests;
