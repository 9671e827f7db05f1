//! The invitations an edge has made: one small file each, so that using one up is one atomic
//! rename and needs no lock, between processes as within one.
//!
//! A file holds what [`super::join::InviteRecord`] holds: a key derived from the secret (which
//! itself is on the token only) and the expiry. Whoever can read it can join as long as it holds;
//! the directory is the edge's own (0700, files 0600), and beside it lies the edge's private key.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edgeway_model::Secret;
use serde::{Deserialize, Serialize};

use super::join::InviteRecord;
use super::limits::INVITES_MAX;
use super::token::{InviteId, Token};
use super::{NodeKey, PkiError, random, store};

const DIRECTORY: &str = "invites";
const OPEN: &str = "open";
const USED: &str = "used";

/// The invitations in one edge's state directory.
#[derive(Clone, Debug)]
pub struct Invites {
    dir: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    key: String,
    expires_unix: u64,
}

impl Invites {
    /// Those in `state_dir`.
    #[must_use]
    pub fn in_state(state_dir: &Path) -> Self {
        Self { dir: state_dir.join(DIRECTORY) }
    }

    /// Makes one: the token to hand to the operator of the core. `address` is where the core dials
    /// this edge's link port.
    ///
    /// # Errors
    /// If eight are outstanding, the address is none, or the file cannot be written.
    pub fn create(&self, address: &str, key: &NodeKey, validity: Duration, now_unix: u64) -> Result<Token, PkiError> {
        let token = Token::new(address, key.key_hash(), Secret::new(random()?))
            .map_err(|error| PkiError::Name(format!("{address}: {error}")))?;
        store::ensure_directory(&self.dir)?;
        self.prune(now_unix);
        if self.outstanding(now_unix) >= INVITES_MAX {
            return Err(PkiError::Full(format!(
                "{INVITES_MAX} invitations are outstanding: use or withdraw them first, or wait until they expire"
            )));
        }
        let on_disk = OnDisk {
            key: store::hex(token.invite_key().expose()),
            expires_unix: now_unix.saturating_add(validity.as_secs()),
        };
        let path = self.path(token.invite_id(), OPEN);
        let bytes = serde_json::to_vec(&on_disk).map_err(|error| PkiError::damaged(&path, error.to_string()))?;
        store::replace(&path, &bytes)?;
        Ok(token)
    }

    /// How many can be used now.
    #[must_use]
    pub fn outstanding(&self, now_unix: u64) -> usize {
        self.all().into_iter().filter(|(_, record)| !record.used && now_unix < record.expires_unix).count()
    }

    /// The invitation, open, used or expired; `None` if there is none or its file is damaged.
    #[must_use]
    pub fn find(&self, invite: InviteId) -> Option<InviteRecord> {
        // Open first: if it is used up between the two looks, the second one sees that.
        self.read(&self.path(invite, OPEN), false).or_else(|| self.read(&self.path(invite, USED), true))
    }

    /// Uses it up. `true` for exactly one of several racing callers.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn consume(&self, invite: InviteId) -> Result<bool, PkiError> {
        let (open, used) = (self.path(invite, OPEN), self.path(invite, USED));
        match fs::rename(&open, used) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(PkiError::file("rename", &open, source)),
        }
    }

    /// Withdraws one; its token is unknown from now on.
    pub fn withdraw(&self, invite: InviteId) {
        let _ = fs::remove_file(self.path(invite, OPEN));
    }

    /// Forgets those whose time was over a day ago; until then a late user is told "expired" or
    /// "used" rather than "unknown".
    fn prune(&self, now_unix: u64) {
        for (invite, record) in self.all() {
            if record.expires_unix.saturating_add(86_400) < now_unix {
                let _ = fs::remove_file(self.path(invite, if record.used { USED } else { OPEN }));
            }
        }
    }

    fn all(&self) -> Vec<(InviteId, InviteRecord)> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Vec::new() };
        let record = |entry: fs::DirEntry| {
            let path = entry.path();
            let invite = InviteId(store::from_hex(path.file_stem()?.to_str()?)?);
            let used = path.extension()?.to_str()? == USED;
            Some((invite, self.read(&path, used)?))
        };
        entries.filter_map(Result::ok).filter_map(record).collect()
    }

    fn read(&self, path: &Path, used: bool) -> Option<InviteRecord> {
        let bytes = store::read_private(path).ok()??;
        let on_disk: OnDisk = serde_json::from_slice(&bytes).ok()?;
        Some(InviteRecord {
            key: Secret::new(store::from_hex(&on_disk.key)?),
            expires_unix: on_disk.expires_unix,
            used,
        })
    }

    fn path(&self, invite: InviteId, state: &str) -> PathBuf {
        self.dir.join(format!("{}.{state}", store::hex(&invite.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::tests::Scratch;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_invitation_lives_once() {
        let scratch = Scratch::new("invites");
        let invites = Invites::in_state(scratch.path());
        let token = invites.create("edge1:7001", &NodeKey::generate().unwrap(), MINUTE, 100).unwrap();
        let record = invites.find(token.invite_id()).unwrap();
        assert_eq!((record.expires_unix, record.used), (160, false));
        assert_eq!(record.key, token.invite_key());
        assert_eq!((invites.outstanding(159), invites.outstanding(160)), (1, 0));
        assert!(invites.consume(token.invite_id()).unwrap());
        assert!(!invites.consume(token.invite_id()).unwrap());
        assert!(invites.find(token.invite_id()).unwrap().used);
        assert_eq!(invites.outstanding(100), 0);
    }

    #[test]
    fn the_secret_is_not_on_the_disk() {
        let scratch = Scratch::new("secret");
        let invites = Invites::in_state(scratch.path());
        let token = invites.create("edge1:7001", &NodeKey::generate().unwrap(), MINUTE, 100).unwrap();
        let line = token.reveal();
        for entry in fs::read_dir(scratch.path().join(DIRECTORY)).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            assert!(!line.contains(&text) && text.contains(&store::hex(token.invite_key().expose())));
        }
    }

    #[test]
    fn eight_at_once_and_old_ones_are_forgotten() {
        let scratch = Scratch::new("eight");
        let invites = Invites::in_state(scratch.path());
        let key = NodeKey::generate().unwrap();
        let first = invites.create("edge1:7001", &key, MINUTE, 100).unwrap();
        for _ in 1..INVITES_MAX {
            invites.create("edge1:7001", &key, MINUTE, 100).unwrap();
        }
        assert!(matches!(invites.create("edge1:7001", &key, MINUTE, 159), Err(PkiError::Full(_))));
        invites.create("edge1:7001", &key, MINUTE, 160).unwrap();
        assert!(invites.find(first.invite_id()).is_some(), "expired, but still told as such");
        invites.create("edge1:7001", &key, MINUTE, 100_000).unwrap();
        assert!(invites.find(first.invite_id()).is_none());
        assert_eq!(invites.outstanding(100_000), 1);
    }

    #[test]
    fn of_many_threads_one_wins() {
        let scratch = Scratch::new("race");
        let invites = Invites::in_state(scratch.path());
        let token = invites.create("edge1:7001", &NodeKey::generate().unwrap(), MINUTE, 100).unwrap();
        let consume = || invites.consume(token.invite_id()).unwrap();
        let wins: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(consume)).collect();
            threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
        });
        assert_eq!(wins, 1);
    }
}
