//! What an operator asks of a node, by whatever door: a path and JSON, answered with JSON.
//!
//! The operator's socket, the REST API and the web pages all ask through an [`OperatorPort`], from any thread; the
//! answers are given on the reactor's thread, which never waits for anybody.

mod door;
mod events;
mod lists;
mod live;
mod switchboard;

use std::sync::Arc;

use edgeway_config::CoreSettings;
use edgeway_model::NodeId;
use edgeway_model::alarm::Alarm;
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

pub use self::door::{AdminBody, AdminDoor, Administration, Forwarded, MakeAdmin, Ordered, Passed};
pub(crate) use self::events::Events;
pub(crate) use self::live::Live;
pub(crate) use self::switchboard::Switchboard;
use crate::limits::OPERATOR_QUESTIONS_MAX;

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who is asked; `None`: this node.
    pub node: Option<NodeId>,
    /// What: `status`, `maintenance`, `registrations`, …
    pub path: String,
    /// The particulars.
    pub body: Value,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// Of which kind.
    pub kind: RefusalKind,
    /// In the operator's words; no secrets.
    pub why: String,
}

/// Of which kind a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// There is no such thing.
    NotFound,
    /// The question is not understood, or asks for what cannot be.
    Invalid,
    /// It stands against something that was done meanwhile.
    Conflict,
    /// It cannot be answered now.
    Unavailable,
}

impl RefusalKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::NotFound, Self::Invalid, Self::Conflict, Self::Unavailable];

    /// As it is said to programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Invalid => "invalid",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
        }
    }

    /// The status of an answer over HTTP.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Refusal {
    /// There is no such thing.
    pub fn not_found(why: impl Into<String>) -> Self {
        Self { kind: RefusalKind::NotFound, why: why.into() }
    }

    /// The question is wrong.
    pub fn invalid(why: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Invalid, why: why.into() }
    }

    /// Something else was done meanwhile.
    pub fn conflict(why: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Conflict, why: why.into() }
    }

    /// Not now.
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self { kind: RefusalKind::Unavailable, why: why.into() }
    }
}

/// The particulars of a question; nothing at all says as much as nothing in particular.
fn read<T: DeserializeOwned + Default>(body: &Value) -> Result<T, Refusal> {
    match body {
        Value::Null => Ok(T::default()),
        body @ Value::Object(_) => T::deserialize(body).map_err(|error| Refusal::invalid(error.to_string())),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Refusal::invalid("a question is an object"))
        }
    }
}

/// Questions that only ask. Whatever else a node is asked for is an order, and is written down where there is an audit log:
/// so a new order is, too, until somebody says here that it is none.
const ONLY_ASK: [&str; 13] = [
    "status",
    "metrics",
    "registrations",
    "calls",
    "calls/show",
    "chats",
    "events",
    "attempts",
    "ladder",
    "links",
    "servers",
    "allow-list",
    "allow-list/test",
];

/// Whether a question changes something; `maintenance` without `on` only asks how it stands, a dry run shows what would be.
#[must_use]
pub fn is_order(path: &str, body: &Value) -> bool {
    let says = |name: &str| body.get(name).is_some_and(|said| !said.is_null());
    match path {
        "maintenance" => says("on"),
        "servers/refresh" | "servers/discover" => body.get("dry_run") != Some(&Value::Bool(true)),
        _ => !ONLY_ASK.contains(&path),
    }
}

/// What new settings would do, found out before anything is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Settings that hold only after a restart of the service, by path.
    pub restart: Vec<String>,
}

/// What the reactor's thread is asked for.
#[derive(Debug)]
pub enum Work {
    /// A question.
    Ask(Question, oneshot::Sender<Result<Value, Refusal>>),
    /// Get ready for these settings; each line of a refusal is one reason.
    Prepare(Arc<CoreSettings>, oneshot::Sender<Result<Prepared, Vec<String>>>),
    /// Use what was prepared last.
    Apply(oneshot::Sender<Result<(), Refusal>>),
    /// Forget what was prepared.
    Abort,
    /// Something to show.
    Tell(Told),
}

/// What the administrator's side tells the node, for its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Which configuration holds, and where it comes from.
    Configuration {
        /// Its revision, where there are revisions.
        revision: Option<u64>,
        /// `store`, `last-good` or `file`.
        source: &'static str,
    },
    /// The node's file was read again while it ran, and what it says is refused.
    Refused,
    /// An alarm stands.
    Alarm(Alarm),
    /// An alarm is over, if it stood.
    AlarmOver {
        /// Which kind.
        id: &'static str,
        /// What it was about.
        about: String,
    },
}

/// Asks a node, from any thread.
#[derive(Clone, Debug)]
pub struct OperatorPort(mpsc::Sender<Work>);

/// The other end.
pub type Asked = mpsc::Receiver<Work>;

/// A port, and what hears it.
#[must_use]
pub fn port() -> (OperatorPort, Asked) {
    let (port, asked) = mpsc::channel(OPERATOR_QUESTIONS_MAX);
    (OperatorPort(port), asked)
}

impl OperatorPort {
    /// Asks.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn ask(&self, node: Option<&NodeId>, path: &str, body: Value) -> Result<Value, Refusal> {
        let question = Question { node: node.cloned(), path: path.to_owned(), body };
        let (answer, answered) = oneshot::channel();
        self.0.send(Work::Ask(question, answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// Gets ready for new settings and changes nothing; what was prepared before is forgotten.
    ///
    /// # Errors
    /// All reasons why they cannot be used.
    pub async fn prepare(&self, settings: Arc<CoreSettings>) -> Result<Prepared, Vec<String>> {
        let ended = |()| vec![ended().why];
        let (answer, answered) = oneshot::channel();
        self.0.send(Work::Prepare(settings, answer)).await.map_err(|_| ended(()))?;
        answered.await.map_err(|_| ended(()))?
    }

    /// Uses what was prepared: from its answer on the new settings hold, and nothing that was under way has ended.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was prepared.
    pub async fn apply(&self) -> Result<(), Refusal> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Work::Apply(answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// Forgets what was prepared.
    pub async fn abort(&self) {
        let _ = self.0.send(Work::Abort).await;
    }

    /// Tells the node something to show.
    pub async fn tell(&self, told: Told) {
        let _ = self.0.send(Work::Tell(told)).await;
    }
}

fn ended() -> Refusal {
    Refusal::unavailable("the service has ended")
}
