//! The way from the operator's socket to the administrator's side: requests under `/api/` go there whole, and answers
//! may be streams.

use std::any::Any;
use std::error::Error;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use tokio::sync::{mpsc, oneshot};

use super::{OperatorPort, RefusalKind};
use crate::limits::OPERATOR_QUESTIONS_MAX;

/// What the administrator's side answers with.
pub type AdminBody = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// A request that came by the operator's socket. Whoever may open the socket may do everything.
#[derive(Debug)]
pub struct Forwarded {
    /// The request, with its whole body.
    pub request: Request<Bytes>,
    /// The user that asks, as the system says.
    pub uid: Option<u32>,
    /// Takes the answer.
    pub answer: oneshot::Sender<Response<AdminBody>>,
}

/// An order that was given at the operator's socket past the administrator's side, for the audit log. What it said is not
/// in it: there may be secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// The user, as the system says.
    pub uid: Option<u32>,
    /// `POST /ask/maintenance?node=edge1`.
    pub action: String,
    /// The kind of the refusal; `None`: it was done.
    pub refused: Option<RefusalKind>,
}

/// What comes to the administrator's side by the operator's socket.
#[derive(Debug)]
pub enum Passed {
    /// A request that it answers.
    Request(Box<Forwarded>),
    /// Something that was ordered.
    Ordered(Ordered),
}

/// Hands requests to the administrator's side, from any thread.
#[derive(Clone, Debug)]
pub struct AdminDoor(mpsc::Sender<Passed>);

impl AdminDoor {
    /// A door, and where its requests come out.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Passed>) {
        let (door, requests) = mpsc::channel(OPERATOR_QUESTIONS_MAX);
        (Self(door), requests)
    }

    /// The answer to a request; `None` if the administrator's side has ended or has too much to do.
    pub async fn pass(&self, request: Request<Bytes>, uid: Option<u32>) -> Option<Response<AdminBody>> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Passed::Request(Box::new(Forwarded { request, uid, answer }))).ok()?;
        answered.await.ok()
    }

    /// Has an order written down. Waits for room: no order is left out because many are given.
    pub async fn ordered(&self, ordered: Ordered) {
        let _ = self.0.send(Passed::Ordered(ordered)).await;
    }
}

/// The administrator's side of a core while it runs: it ends when this is dropped.
pub struct Administration {
    /// Takes what comes by the operator's socket.
    pub door: AdminDoor,
    /// Threads and listeners.
    pub kept: Box<dyn Any>,
}

/// What makes the administrator's side: it is given a port to the node, and runs on threads of its own.
pub type MakeAdmin = Box<dyn FnOnce(OperatorPort) -> Result<Administration, String>>;
