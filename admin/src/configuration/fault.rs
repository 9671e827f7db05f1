//! Why the configuration is not changed.

use super::views::ProblemView;
use crate::store::StoreFault;

/// Why the configuration was not changed, or cannot be shown. Nothing is half done.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationFault {
    /// It is wrong, in these ways.
    #[error("{}", lines(.0))]
    Problems(Vec<ProblemView>),
    /// The node cannot use it, for these reasons.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    /// Somebody else has changed it meanwhile.
    #[error("the configuration has been changed meanwhile: the newest revision is {head}. Look at it, and try again")]
    Conflict {
        /// The newest revision.
        head: u64,
    },
    /// A revision waits for its confirmation.
    #[error("revision {revision} waits for its confirmation: confirm it or roll it back first")]
    Waiting {
        /// Which.
        revision: u64,
    },
    /// There is no such revision, or nothing to confirm.
    #[error("{0}")]
    NotFound(String),
    /// The store did not take it.
    #[error("nothing was changed: {0}")]
    Store(StoreFault),
    /// There is no store, or the node has ended.
    #[error("{0}")]
    Unavailable(String),
}

impl ConfigurationFault {
    /// The fault of a store; that somebody was faster is our own.
    pub(super) fn of_store(fault: StoreFault) -> Self {
        match fault {
            StoreFault::Conflict { head } => Self::Conflict { head },
            StoreFault::Full(_) | StoreFault::Unavailable(_) | StoreFault::Damaged(_) => Self::Store(fault),
        }
    }
}

fn lines(problems: &[ProblemView]) -> String {
    let one = |problem: &ProblemView| {
        let line = problem.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let path = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
        format!("{line}{path}{}. {}", problem.message, problem.remedy).trim_end().to_owned()
    };
    problems.iter().map(one).collect::<Vec<_>>().join("\n")
}
