//! The users file: one line for each user.
//!
//! ```text
//! # name:hash[:numbers[:devices]]
//! alice:$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$…:1001,+49301234567:CSFALICE,TCTALICE
//! bob:!$argon2id$v=19$…
//! ```
//! The hash is a PHC string of Argon2id (RFC 9106); `!` before it locks the user. Empty lines and lines that
//! begin with `#` say nothing.

use std::collections::BTreeMap;
use std::fmt;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, Version};
use edgeway_model::sign_in::UserName;

use crate::authorities::limits::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX, USERS_FILE_LINE_BYTES_MAX, USERS_FILE_PROBLEMS_MAX,
    USERS_FILE_USERS_MAX, USERS_NAME_BYTES_MAX, USERS_NAMES_MAX,
};

/// The users of a file.
#[derive(Debug, Default)]
pub struct Users {
    /// By name.
    pub by_name: BTreeMap<UserName, Entry>,
    /// What a check of each costs, in the order of their lines.
    pub costs: Vec<Cost>,
}

/// What a file says of one user.
#[derive(Debug)]
pub struct Entry {
    /// The line, from 1.
    pub line: usize,
    /// How the password is checked.
    pub hash: Hash,
    /// Never accepted, whatever the password.
    pub locked: bool,
    /// User parts of SIP addresses.
    pub numbers: Vec<String>,
    /// Device names.
    pub devices: Vec<String>,
}

/// An Argon2id hash, its salt and its cost.
pub struct Hash {
    cost: Cost,
    salt: Vec<u8>,
    output: Vec<u8>,
}

/// What one look at a password costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    /// Memory, KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
    /// Length of the salt, bytes.
    pub salt_bytes: usize,
    /// Length of the hash, bytes.
    pub output_bytes: usize,
}

/// Something wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong. Nothing of what the line says.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl Users {
    /// Reads a file.
    ///
    /// # Errors
    /// All that is wrong, up to [`USERS_FILE_PROBLEMS_MAX`]: a file is taken whole or not at all.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let mut users = Self::default();
        let mut problems = Vec::new();
        for (index, text) in text.lines().enumerate() {
            let line = index + 1;
            if let Err(reason) = users.take(line, text) {
                problems.push(Problem { line, reason });
            }
            if problems.len() >= USERS_FILE_PROBLEMS_MAX {
                break;
            }
        }
        if problems.is_empty() { Ok(users) } else { Err(problems) }
    }

    fn take(&mut self, line: usize, text: &str) -> Result<(), String> {
        if text.len() > USERS_FILE_LINE_BYTES_MAX {
            return Err(format!("longer than {USERS_FILE_LINE_BYTES_MAX} bytes"));
        }
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        let (user, entry) = entry(line, text)?;
        if self.by_name.len() >= USERS_FILE_USERS_MAX {
            return Err(format!("more than {USERS_FILE_USERS_MAX} users"));
        }
        if let Some(earlier) = self.by_name.get(&user) {
            return Err(format!("the same user as in line {}", earlier.line));
        }
        self.costs.push(entry.hash.cost());
        self.by_name.insert(user, entry);
        Ok(())
    }
}

/// The user a line is about, as far as it can be told.
pub(super) fn user_of(line: &str) -> Option<UserName> {
    let line = line.trim();
    if line.starts_with('#') { None } else { UserName::new(line.split(':').next()?) }
}

fn entry(line: usize, text: &str) -> Result<(UserName, Entry), String> {
    let mut fields = text.split(':');
    let user = fields.next().and_then(UserName::new).ok_or("no user name before the first colon")?;
    let hash = fields.next().ok_or("no colon: a line is name:hash[:numbers[:devices]]")?;
    let (locked, hash) = hash.strip_prefix('!').map_or((false, hash), |hash| (true, hash));
    let hash = Hash::parse(hash)?;
    let numbers = names("number", fields.next(), |byte| byte.is_ascii_alphanumeric() || b"+*#._-".contains(&byte))?;
    let devices = names("device", fields.next(), |byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))?;
    if fields.next().is_some() {
        return Err("more than four fields: a line is name:hash[:numbers[:devices]]".to_owned());
    }
    Ok((user, Entry { line, hash, locked, numbers, devices }))
}

fn names(what: &str, field: Option<&str>, legal: impl Fn(u8) -> bool) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for name in field.unwrap_or_default().split(',').map(str::trim) {
        if name.is_empty() && field.is_none_or(|field| field.trim().is_empty()) {
            break;
        }
        if name.is_empty() || name.len() > USERS_NAME_BYTES_MAX || !name.bytes().all(&legal) {
            return Err(format!("what is no {what} between commas: 1 to {USERS_NAME_BYTES_MAX} letters and digits"));
        }
        if found.len() >= USERS_NAMES_MAX {
            return Err(format!("more than {USERS_NAMES_MAX} {what}s"));
        }
        found.push(name.to_owned());
    }
    Ok(found)
}

/// Shortest hash that is worth a name, bytes (RFC 9106 §3.1 allows 4).
const OUTPUT_BYTES_MIN: usize = 16;

impl Hash {
    /// Reads a PHC string.
    ///
    /// # Errors
    /// In words, without the string.
    pub fn parse(text: &str) -> Result<Self, String> {
        let hash = PasswordHash::new(text).map_err(|_| "no Argon2id hash ($argon2id$v=19$m=…,t=…,p=…$salt$hash)")?;
        if hash.algorithm.as_str() != "argon2id" || hash.version != Some(19) {
            return Err("a hash of another kind than Argon2id, version 19".to_owned());
        }
        let params = Params::try_from(&hash).map_err(|_| "costs that Argon2id does not have")?;
        let salt = hash.salt.as_ref().map(|salt| salt.as_ref().to_vec()).ok_or("a hash without salt")?;
        let output = hash.hash.as_ref().map(|output| output.as_bytes().to_vec()).ok_or("a salt without hash")?;
        let (memory_kib, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
        if memory_kib > ARGON2_MEMORY_KIB_MAX || passes > ARGON2_PASSES_MAX || lanes > ARGON2_LANES_MAX {
            return Err(format!(
                "costs above m={ARGON2_MEMORY_KIB_MAX},t={ARGON2_PASSES_MAX},p={ARGON2_LANES_MAX}: one sign-in would \
                 stop the others"
            ));
        }
        if output.len() < OUTPUT_BYTES_MIN {
            return Err(format!("a hash shorter than {OUTPUT_BYTES_MIN} bytes"));
        }
        let cost = Cost { memory_kib, passes, lanes, salt_bytes: salt.len(), output_bytes: output.len() };
        Ok(Self { cost, salt, output })
    }

    /// What a look costs.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// A hash of that cost that no password has.
    #[must_use]
    pub fn nobodys(cost: Cost) -> Self {
        Self { cost, salt: vec![0x5a; cost.salt_bytes], output: vec![0; cost.output_bytes] }
    }

    /// Whether the password has this hash. Takes as long as its cost says; what is compared at the end is
    /// compared in constant time. `None` if there was no memory for it.
    #[must_use]
    pub fn verify(&self, password: &[u8]) -> Option<bool> {
        use subtle::ConstantTimeEq as _;
        let Cost { memory_kib, passes, lanes, output_bytes, .. } = self.cost;
        let params = Params::new(memory_kib, passes, lanes, Some(output_bytes)).ok()?;
        let mut output = zeroize::Zeroizing::new(vec![0; output_bytes]);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(password, &self.salt, &mut output).ok()?;
        Some(output.ct_eq(self.output.as_slice()).into())
    }
}

/// A hash is not a password, but it is not for a log either.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hash").field("cost", &self.cost).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users_file::edit::{Costs, hash};

    fn phc(password: &str) -> String {
        hash(password.as_bytes(), Costs::LEAST).unwrap()
    }

    #[test]
    fn a_file_is_read() {
        let hash = phc("secret");
        let text = format!(
            "# people\n\n Alice : {hash} : 1001, +49301234567 : CSFALICE,TCTALICE\r\nbob:!{hash}\ncarol:{hash}::X\ndave:{hash}:\n"
        );
        let text = text.replace(&format!(" {hash} "), &hash);
        let users = Users::parse(&text).unwrap();
        let of = |name| &users.by_name[&UserName::new(name).unwrap()];
        let alice = of("ALICE");
        assert_eq!((alice.line, alice.locked), (3, false));
        assert_eq!(alice.numbers, ["1001", "+49301234567"]);
        assert_eq!(alice.devices, ["CSFALICE", "TCTALICE"]);
        assert_eq!(alice.hash.verify(b"secret"), Some(true));
        assert_eq!(alice.hash.verify(b"Secret"), Some(false));
        assert!(of("bob").locked);
        assert_eq!((of("carol").numbers.len(), of("carol").devices.len()), (0, 1));
        assert!(of("dave").numbers.is_empty());
        assert!(!format!("{users:?}").contains("alice"), "no names in logs");
        assert!(!format!("{users:?}").contains("argon2id"), "no hashes in logs");
    }

    #[test]
    fn everything_wrong_is_told_with_its_line() {
        let hash = phc("secret");
        let other = hash.replace("argon2id", "argon2i");
        let heavy = hash.replace("m=8", "m=99999999");
        let long = "x".repeat(USERS_FILE_LINE_BYTES_MAX + 1);
        let text = format!(
            "alice:{hash}\nALICE:{hash}\nbob\n:{hash}\ncarol:plain\ndave:{other}\neve:{heavy}\nfay:{hash}:1;2\n\
             gil:{hash}:1:a:b\nhal:{hash}:1,,2\n{long}\nivy:{hash}:1:a b\njoe:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ\n"
        );
        let problems = Users::parse(&text).unwrap_err();
        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
        assert_eq!(problems[0].to_string(), "line 2: the same user as in line 1");
        assert!(problems.iter().all(|problem| !problem.reason.contains("plain")), "{problems:?}");
    }

    #[test]
    fn problems_and_numbers_are_bounded() {
        let problems = Users::parse(&"x\n".repeat(USERS_FILE_PROBLEMS_MAX * 2)).unwrap_err();
        assert_eq!(problems.len(), USERS_FILE_PROBLEMS_MAX);
        let many = vec!["1"; USERS_NAMES_MAX + 1].join(",");
        assert_eq!(Users::parse(&format!("a:{}:{many}", phc("x"))).unwrap_err().len(), 1);
    }

    #[test]
    fn nobodys_hash_costs_the_same_and_fits_no_password() {
        let cost = Hash::parse(&phc("x")).unwrap().cost();
        let nobodys = Hash::nobodys(cost);
        assert_eq!((nobodys.cost(), nobodys.verify(b"x"), nobodys.verify(b"")), (cost, Some(false), Some(false)));
    }
}
