//! Identities of nodes: our own small certificate authority, node certificates, and the pairing of
//! an edge with a core by a single-use token.
//!
//! Public certificates face clients only. What edge and core prove to each other is issued here, so
//! that no public CA's policy (on client authentication, on validity, on names) can break the link.
//!
//! * [`Authority`] signs; it lives on one core. [`Identity`] is one node's key, certificate and CA.
//! * A node certificate names its node as `<node>.node.edgeway.internal` (dNSName; `.internal` is
//!   reserved for private use and never resolves in public DNS) and its role as
//!   `edgeway:role:edge` or `edgeway:role:core` (URI). [`node_of`] reads both back.
//! * [`tls`] makes the TLS configurations of the link, of the media path and of joining.
//! * [`token`], [`join`] are pure; [`invites`], [`edges`], [`pairing`] touch files and sockets.

pub mod authority;
pub mod edges;
pub mod identity;
pub mod invites;
mod issued;
pub mod join;
pub mod limits;
pub mod pairing;
#[cfg(test)]
mod scenario;
mod shared_secret;
pub(crate) mod store;
pub mod tls;
pub mod token;
pub mod trust;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub use authority::{Authority, ServerCertificate};
pub use edges::{EdgeBook, EdgeRecord};
pub use identity::{Identity, NodeKey, NodeState, Role, node_of, server_name};
pub use invites::Invites;
pub use pairing::{CoreJoined, JoinDesk, JoinError, Joined, TokenSourceError, join as join_edge, read_token};
pub use shared_secret::shared_secret;
pub use store::{create, read_private, replace};
pub use tls::explain;
pub use token::{Token, TokenError};
pub use trust::{Trust, TrustedLink};

/// Why an identity could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file with a private key can be read by others.
    #[error("{} can be read by other users; run: chmod 600 {}", path.display(), path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
    },
    /// A file does not hold what it should.
    #[error("{} is damaged: {what}; restore it from a backup or remove it and pair this node again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file should hold a secret and does not.
    #[error(
        "{} does not hold 32 bytes in hexadecimal or base64; copy it from a core that shares it, or remove it and a new one is made",
        path.display()
    )]
    NoSecret {
        /// The file.
        path: PathBuf,
    },
    /// A certificate that is to be made, or was handed over, breaks a rule.
    #[error("certificate refused: {0}")]
    Certificate(String),
    /// A name is no DNS name or IP address.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    Name(String),
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes")]
    Random,
    /// Something is there already that must not be overwritten.
    #[error("{} exists already and is not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A table of bounded size is full.
    #[error("{0}")]
    Full(String),
}

impl PkiError {
    fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { action, path: path.to_owned(), source }
    }

    fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.into() }
    }
}

impl From<rcgen::Error> for PkiError {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(error.to_string())
    }
}

/// `N` bytes from the operating system's generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], PkiError> {
    let mut out = [0; N];
    tls::provider().secure_random.fill(&mut out).map_err(|_| PkiError::Random)?;
    Ok(out)
}

/// Unix time, seconds.
#[must_use]
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// One PEM block, for tests.
#[cfg(test)]
pub(crate) fn pem_of(label: &str, der: &[u8]) -> String {
    store::pem(label, der)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::random;

    /// A directory of its own for one test, removed afterwards.
    pub(crate) struct Scratch(PathBuf);

    impl Scratch {
        pub(crate) fn new(name: &str) -> Self {
            let unique = super::store::hex(&random::<6>().unwrap());
            let dir = std::env::temp_dir().join(format!("edgeway-{name}-{unique}"));
            super::store::ensure_directory(&dir).unwrap();
            Self(dir)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
