//! Changes of a users file, as `edgeway users` makes them: comments and order stay, and what is written takes
//! the place of the old file at once or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use argon2::password_hash::CustomizedPasswordHasher as _;
use argon2::{Argon2, Params};
use edgeway_model::sign_in::UserName;

use super::format::{Problem, Users, user_of};
use crate::authorities::limits::{PASSWORD_BYTES_MAX, USERS_FILE_BYTES_MAX};

/// What a hash costs that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    memory_kib: u32,
    passes: u32,
}

impl Costs {
    /// For passwords of people: 19 MiB and two passes, about 20 ms, as RFC 9106's authors and OWASP advise for
    /// servers that many sign in at.
    pub const USUAL: Self = Self { memory_kib: Params::DEFAULT_M_COST, passes: Params::DEFAULT_T_COST };
    /// The least there is: for laboratories and tests, where nothing is at stake.
    pub const LEAST: Self = Self { memory_kib: Params::MIN_M_COST, passes: Params::MIN_T_COST };
}

/// Why a file is not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditFault {
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not right as it is.
    #[error("{path} is not right and stays as it is: {}", list(.problems))]
    Wrong {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// Another change is under way, or one was cut off.
    #[error("{0} is there: another change is under way; if none is, remove it")]
    Busy(PathBuf),
    /// The user is there already.
    #[error("there is such a user already: `edgeway users passwd` changes the password")]
    There,
    /// There is no such user.
    #[error("there is no such user")]
    Unknown,
    /// The name begins like a comment.
    #[error("a user's name does not begin with #")]
    Name,
    /// The password cannot be one.
    #[error("a password is 1 to {PASSWORD_BYTES_MAX} bytes without control characters")]
    Password,
    /// The hash could not be made.
    #[error("the password could not be hashed: {0}")]
    Hash(String),
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

/// A change.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// A user more. Makes the file if there is none.
    Add {
        /// The PHC string.
        hash: &'a str,
        /// User parts of SIP addresses, between commas.
        numbers: &'a str,
        /// Device names, between commas.
        devices: &'a str,
    },
    /// A user less.
    Remove,
    /// Another password; numbers and devices stay.
    Password {
        /// The PHC string.
        hash: &'a str,
    },
    /// Never accepted from now on, or accepted again.
    Lock(bool),
}

/// The PHC string of a password.
///
/// # Errors
/// [`EditFault`].
pub fn hash(password: &[u8], costs: Costs) -> Result<String, EditFault> {
    let control = password.iter().any(u8::is_ascii_control);
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX || control {
        return Err(EditFault::Password);
    }
    let failed = |error: &dyn std::fmt::Display| EditFault::Hash(error.to_string());
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|error| failed(&error))?;
    let params = Params::new(costs.memory_kib, costs.passes, 1, None).map_err(|error| failed(&error))?;
    let made = Argon2::default().hash_password_with_params(password, &salt, params).map_err(|error| failed(&error))?;
    Ok(made.to_string())
}

/// Reads a file; one that is not there has no users.
///
/// # Errors
/// [`EditFault`].
pub fn read(path: &Path) -> Result<(String, Users), EditFault> {
    let text = match text(path) {
        Ok(text) => text,
        Err(source) if source.kind() == io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(EditFault::File { path: path.to_owned(), source }),
    };
    let users = Users::parse(&text).map_err(|problems| EditFault::Wrong { path: path.to_owned(), problems })?;
    Ok((text, users))
}

/// The text of a file, bounded.
pub(super) fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(USERS_FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    let long = text.len() as u64 > USERS_FILE_BYTES_MAX;
    if long { Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too large")) } else { Ok(text) }
}

/// Makes one change. What is written is checked like any other file before it takes the old one's place.
///
/// # Errors
/// [`EditFault`]; the file is as it was.
pub fn change(path: &Path, user: &UserName, change: Change<'_>) -> Result<(), EditFault> {
    let mut draft = Draft::begin(path)?;
    let (text, users) = read(path)?;
    let known = users.by_name.contains_key(user);
    match change {
        Change::Add { .. } if known => return Err(EditFault::There),
        Change::Remove | Change::Password { .. } | Change::Lock(_) if !known => return Err(EditFault::Unknown),
        Change::Add { .. } | Change::Remove | Change::Password { .. } | Change::Lock(_) => {}
    }
    let text = changed(&text, user, change);
    let users = Users::parse(&text).map_err(|problems| EditFault::Wrong { path: path.to_owned(), problems })?;
    if matches!(change, Change::Add { .. }) && !users.by_name.contains_key(user) {
        return Err(EditFault::Name);
    }
    draft.finish(&text)
}

fn changed(text: &str, user: &UserName, change: Change<'_>) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        if user_of(line).as_ref() != Some(user) {
            lines.push(line.to_owned());
            continue;
        }
        let locked;
        let mut fields: Vec<&str> = line.trim().split(':').collect();
        if let Some(hash) = fields.get_mut(1) {
            match change {
                Change::Add { .. } => {}
                Change::Remove => continue,
                Change::Password { hash: new } => *hash = new,
                Change::Lock(lock) => {
                    let bare = hash.trim_start_matches('!');
                    locked = if lock { format!("!{bare}") } else { bare.to_owned() };
                    *hash = &locked;
                }
            }
        }
        lines.push(fields.join(":"));
    }
    if let Change::Add { hash, numbers, devices } = change {
        let line = format!("{}:{hash}:{numbers}:{devices}", user.as_str());
        lines.push(line.trim_end_matches(':').to_owned());
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The new file beside the old one. Only one can be there: whoever makes it may change the file.
struct Draft<'a> {
    path: &'a Path,
    draft: PathBuf,
    file: File,
    done: bool,
}

impl<'a> Draft<'a> {
    fn begin(path: &'a Path) -> Result<Self, EditFault> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let draft = PathBuf::from(name);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft) {
            Ok(file) => Ok(Self { path, draft, file, done: false }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(EditFault::Busy(draft)),
            Err(source) => Err(EditFault::File { path: draft, source }),
        }
    }

    fn finish(&mut self, text: &str) -> Result<(), EditFault> {
        self.write(text).map_err(|source| EditFault::File { path: self.path.to_owned(), source })?;
        self.done = true;
        Ok(())
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        if let Ok(old) = fs::metadata(self.path) {
            // The service that could read the old one must be able to read the new one; nobody else gains.
            let own = self.file.metadata()?;
            if (old.uid(), old.gid()) != (own.uid(), own.gid()) {
                chown(&self.draft, Some(old.uid()), Some(old.gid()))?;
            }
            self.file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o640 | 0o600))?;
        }
        self.file.sync_all()?;
        fs::rename(&self.draft, self.path)?;
        // The name is on disk only when the folder is.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.draft);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn user(name: &str) -> UserName {
        UserName::new(name).unwrap()
    }

    #[test]
    fn changes_keep_the_rest_of_the_file() {
        let folder = Scratch::new("users-edit");
        let path = folder.path().join("users");
        let (one, two) = (hash(b"one", Costs::LEAST).unwrap(), hash(b"two", Costs::LEAST).unwrap());
        let add = Change::Add { hash: &one, numbers: "1001", devices: "CSFALICE" };
        change(&path, &user("alice"), add).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let text = format!("# people\n{}\n", fs::read_to_string(&path).unwrap());
        fs::write(&path, &text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        change(&path, &user("bob"), Change::Add { hash: &one, numbers: "", devices: "" }).unwrap();
        assert!(matches!(change(&path, &user("BOB"), add), Err(EditFault::There)));
        change(&path, &user("Alice"), Change::Password { hash: &two }).unwrap();
        change(&path, &user("bob"), Change::Lock(true)).unwrap();
        let expected = format!("# people\nalice:{two}:1001:CSFALICE\n\nbob:!{one}\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640, "the world no longer reads it");
        change(&path, &user("bob"), Change::Lock(false)).unwrap();
        assert!(!read(&path).unwrap().1.by_name[&user("bob")].locked);
        change(&path, &user("bob"), Change::Remove).unwrap();
        assert!(matches!(change(&path, &user("bob"), Change::Remove), Err(EditFault::Unknown)));
        assert!(fs::read_to_string(&path).unwrap().starts_with("# people\n"));
    }

    #[test]
    fn a_wrong_file_and_a_wrong_change_leave_everything_as_it_was() {
        let folder = Scratch::new("users-wrong");
        let path = folder.path().join("users");
        let one = hash(b"one", Costs::LEAST).unwrap();
        let add = Change::Add { hash: &one, numbers: "1 2", devices: "" };
        assert!(matches!(change(&path, &user("alice"), add), Err(EditFault::Wrong { .. })));
        assert!(!path.exists());
        fs::write(&path, "nonsense\n").unwrap();
        let fault = change(&path, &user("alice"), Change::Remove).unwrap_err().to_string();
        assert!(fault.contains("line 1"), "{fault}");
        let entries = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), entries), ("nonsense\n", 1), "no draft stays behind");
    }

    #[test]
    fn two_changes_at_once_are_one_after_the_other_or_refused() {
        let folder = Scratch::new("users-busy");
        let path = folder.path().join("users");
        fs::write(folder.path().join("users.new"), "").unwrap();
        let fault = change(&path, &user("alice"), Change::Remove).unwrap_err();
        assert!(matches!(fault, EditFault::Busy(_)), "{fault}");
        assert!(folder.path().join("users.new").exists(), "the other one's draft is not ours to remove");
    }

    #[test]
    fn passwords_that_cannot_be_are_refused() {
        let long = vec![b'x'; PASSWORD_BYTES_MAX + 1];
        for password in [&b""[..], b"a\nb", b"a\0b", &long] {
            assert!(matches!(hash(password, Costs::LEAST), Err(EditFault::Password)));
        }
    }
}
