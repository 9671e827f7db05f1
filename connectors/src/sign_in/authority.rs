//! Whoever says whether credentials are right: a call manager, a directory, a file.

use edgeway_model::sign_in::{Profile, Subject, UserName};
use edgeway_runtime::http::LocalFuture;
use zeroize::Zeroizing;

/// What a user shows.
pub enum Credential {
    /// HTTP Basic (RFC 7617).
    Password(Zeroizing<String>),
    /// A bearer token (RFC 6750).
    Bearer(Zeroizing<String>),
}

/// What an authority says.
#[derive(Debug)]
pub enum Verdict {
    /// The credentials are right.
    Good(Box<Known>),
    /// They are not: unknown user, wrong password and locked account are the same.
    Refused,
    /// The user is known, and at home where this deployment does not reach: refused like all others, and the operator
    /// hears of it.
    Elsewhere,
    /// It could not be asked, or did not say: answered with 503, never with 401.
    Unavailable {
        /// Why, for the log and the alarm. Nothing of the user or the credentials.
        why: String,
        /// Who was met on the way.
        reached: Reached,
    },
}

/// Whom a question that was not answered has reached. It decides whether others are spared the same wait, so nothing
/// that depends on who asks may make it [`Reached::Nobody`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// No server of the authority has answered anything: no connection, or silence on it.
    Nobody,
    /// A server has answered, though not what was asked: whose question it was may have been the reason.
    Somebody,
    /// No server was asked: too many wait already, or something is missing here.
    NotAsked,
}

/// What an authority knows of a user who has proven to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The name the authority knows the user by.
    pub user: UserName,
    /// The same, as the authority spells it, where it says so.
    pub spelled: Option<String>,
    /// Device names, perhaps none; `None` where it knows nothing of devices.
    pub devices: Option<Vec<String>>,
    /// User parts of SIP addresses the user may act as, besides the name.
    pub numbers: Vec<String>,
    /// For the edge configuration.
    pub profile: Profile,
    /// For tokens of its own: when they end, Unix milliseconds.
    pub until_ms: Option<u64>,
}

/// An authority of one deployment.
pub trait Authority {
    /// Checks, within a time of its own of at most 10 s.
    fn check<'a>(&'a self, subject: &'a Subject, credential: &'a Credential) -> LocalFuture<'a, Verdict>;
}
