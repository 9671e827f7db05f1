//! Why a UC server could not be read, in the operator's words, with what to do about it.

use std::time::Duration;

use edgeway_model::alarm::Severity;
use edgeway_policy::discovery::Lie;

use super::limits::{FIRST_AGAIN_MAX, REFUSED_AGAIN, TOLD_CHARS_MAX, TROUBLED_AGAIN};
use super::web::WebFault;

/// Why nothing of what a server says is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskFault {
    /// It could not be asked.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// TLS failed.
    #[error("its certificate or its TLS is refused: {0}")]
    Tls(String),
    /// It took too long.
    #[error("it takes too long over {question}: {why}")]
    Slow {
        /// What was asked.
        question: &'static str,
        /// What it did not do in time.
        why: &'static str,
    },
    /// It is asked too often, by somebody.
    #[error("it answers that it is asked too often ({status})")]
    Throttled {
        /// 503 or 599.
        status: u16,
        /// What it says for how long, seconds.
        retry_after: Option<u64>,
    },
    /// 401.
    #[error("it refuses the application user or its password (401)")]
    Credentials,
    /// 403.
    #[error("it does not let the application user ask (403)")]
    Role,
    /// Another status.
    #[error("it answers {question} with status {status}")]
    Status {
        /// What was asked.
        question: &'static str,
        /// The status.
        status: u16,
    },
    /// A SOAP fault.
    #[error("it answers {question} with a fault: {text}")]
    Fault {
        /// What was asked.
        question: &'static str,
        /// What it says.
        text: String,
    },
    /// The answer is no answer.
    #[error("its answer to {question} cannot be read: {why}")]
    Unreadable {
        /// What was asked.
        question: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// It can be read, and cannot be true.
    #[error("what it says cannot be true: {0}")]
    Lying(#[from] Lie),
    /// The file with the password is missing or unfit.
    #[error("{0}")]
    Password(String),
}

/// Which alarm a fault raises.
pub const ALARM_UNREACHABLE: &str = "server_unreachable";
/// The server is there and refuses us, or we refuse it.
pub const ALARM_REFUSED: &str = "server_refused";
/// It is there, lets us in, and says nothing that can be used.
pub const ALARM_FAILED: &str = "discovery_failed";

impl AskFault {
    /// What came of a question, as a fault.
    pub(crate) fn of_web(fault: WebFault, question: &'static str) -> Self {
        match fault {
            WebFault::Unreachable(why) => Self::Unreachable(told(&why)),
            WebFault::Tls(why) => Self::Tls(told(&why)),
            WebFault::Slow(why) => Self::Slow { question, why },
            WebFault::Broken(why) => Self::Unreadable { question, why: told(&why) },
            WebFault::TooLong => Self::Unreadable { question, why: "it is too long".to_owned() },
        }
    }

    /// The alarm for it.
    #[must_use]
    pub const fn alarm(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::Slow { .. } | Self::Throttled { .. } => ALARM_UNREACHABLE,
            Self::Tls(_) | Self::Credentials | Self::Role | Self::Password(_) => ALARM_REFUSED,
            Self::Status { .. } | Self::Fault { .. } | Self::Unreadable { .. } | Self::Lying(_) => ALARM_FAILED,
        }
    }

    /// How bad it is: what is known already goes on being used.
    #[must_use]
    pub const fn severity(known: bool) -> Severity {
        if known { Severity::Warning } else { Severity::Critical }
    }

    /// What to do about it.
    #[must_use]
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "see that it runs, that its name leads to it, and that no firewall is in between",
            Self::Slow { .. } => "look at its load and its database; raise nothing here",
            Self::Throttled { .. } => "see what else asks it: AXL answers a bounded number of requests per minute",
            Self::Tls(_) => {
                "give it a certificate that names the configured address, and name the authority that signed it in `ca`"
            }
            Self::Credentials => "check `user` and its password, and whether the account is locked",
            Self::Role => "give the application user the role Standard AXL API Access (Unity: remote administrator)",
            Self::Password(_) => {
                "put the password, and nothing else, into a file that only Edgeway's user can read, or set it anew"
            }
            Self::Status { .. } | Self::Fault { .. } | Self::Unreadable { .. } => {
                "see that its AXL (Unity: REST) service runs and that the address is that of the publisher"
            }
            Self::Lying(_) => "see whether it is whole: installation, upgrade, database replication; then refresh",
        }
    }

    /// How long to wait at most before a server that nothing is known of is asked again.
    #[must_use]
    pub const fn again_within(&self) -> Duration {
        match self {
            Self::Unreachable(_) | Self::Slow { .. } => FIRST_AGAIN_MAX,
            Self::Tls(_)
            | Self::Throttled { .. }
            | Self::Status { .. }
            | Self::Fault { .. }
            | Self::Unreadable { .. }
            | Self::Lying(_)
            | Self::Password(_) => TROUBLED_AGAIN,
            // A wrong password that is shown every second locks the account.
            Self::Credentials | Self::Role => REFUSED_AGAIN,
        }
    }
}

/// What somebody else wrote, fit for a message: one line, no control characters, not too long.
pub(crate) fn told(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(clean).take(TOLD_CHARS_MAX).collect::<String>().trim().to_owned()
}
