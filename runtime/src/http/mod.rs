//! HTTP, on a thread of its own: at the edge the HTTPS listener, at the core what carries requests
//! inwards, and between them the bulk connection of each link.
//!
//! ```text
//!  client ─ HTTPS ─▶ front (edge) ─ one HTTP/2 stream per request ─▶ [Inside] (core) ─▶ UC servers
//! ```
//! Nothing of it runs on the reactor: a download never delays a call. The two tell each other facts: the
//! thread what it has learnt ([`HttpFact`]), the reactor what the node says
//! ([`edgeway_model::sign_in::SignInFact`]).

mod bulk;
mod counts;
pub(crate) mod dialled;
pub(crate) mod dials;
mod front;
mod handle;
pub mod limits;
pub(crate) mod naps;
mod thread;

#[cfg(test)]
mod scenario;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use edgeway_config::CoreSettings;
use edgeway_model::NodeId;
use edgeway_model::alarm::Alarm;
use edgeway_model::attempt::{Attempt, Code};
use edgeway_model::chat::ChatOpening;
use edgeway_model::notice::Notice;
use edgeway_model::sign_in::SignInFact;
use edgeway_model::zones::Zones;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;

use crate::chat::ChatStream;
use crate::trace::Journal;

pub use counts::{Counts, Purpose, Serving};
pub use handle::{FrontConfig, HttpFault, HttpHandle, Part};

/// A body on its way through.
pub type Body = UnsyncBoxBody<Bytes, BodyFault>;

/// A future of the HTTP thread.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BodyFault(pub String);

/// What a core does with requests of clients; made and used on the HTTP thread. Implemented by the
/// connectors.
pub trait Inside {
    /// Answers one request that `edge` carried. The path is the client's; of its headers those that
    /// end at a hop are gone, and those of `edgeway_http_proxy::carried` are added.
    fn serve(self: Rc<Self>, edge: NodeId, request: Request<Body>) -> LocalFuture<'static, Response<Body>>;

    /// Serves one client's XMPP stream that `edge` carries, from its first header after TLS until it ends.
    /// One that serves no chat ends it.
    fn chat(self: Rc<Self>, edge: NodeId, opening: ChatOpening, stream: ChatStream) -> LocalFuture<'static, ()> {
        drop((edge, opening, stream));
        Box::pin(std::future::ready(()))
    }

    /// The node is about to stop: ends what would go on by itself, and returns when it has ended, within a bound of its
    /// own. What it says on its streams still leaves.
    fn stop(self: Rc<Self>) -> LocalFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    /// The operator takes the core out of service, or back: what begins is refused from now on, or no longer. Requests
    /// are looked after already.
    fn maintain(&self, on: bool) {
        let _ = on;
    }

    /// The deadline of maintenance mode has passed: chats that are still there end.
    fn end_all(&self) {}

    /// Something the node or a peer says.
    fn told(&self, fact: SignInFact);

    /// Gets ready for these settings and changes nothing; what was prepared before is forgotten.
    ///
    /// # Errors
    /// All reasons why they cannot be used.
    fn prepare(&self, settings: &CoreSettings) -> Result<(), Vec<String>> {
        let _ = settings;
        Ok(())
    }

    /// Uses what was prepared, at once: nothing that is under way ends. `false`: nothing was.
    fn apply(&self) -> bool {
        true
    }

    /// Forgets what was prepared.
    fn abort(&self) {}

    /// A question of the operator, through the control socket: `path` is behind `/http/`, `question` the JSON
    /// body. The answer is JSON, or what went wrong, in words.
    fn operate(
        self: Rc<Self>,
        path: String,
        question: serde_json::Value,
    ) -> LocalFuture<'static, Result<serde_json::Value, String>>;
}

/// Makes the [`Inside`] of a core, on the HTTP thread.
pub type MakeInside = Box<dyn FnOnce(Teller) -> Result<Rc<dyn Inside>, String> + Send>;

/// What the HTTP thread tells the reactor.
#[derive(Clone, Debug)]
pub enum HttpFact {
    /// For the node.
    SignIn(SignInFact),
    /// For the node: where SIP goes inside from now on.
    Zones(Arc<Zones>),
    /// An alarm stands from now on, or stands with other words.
    Alarm(Alarm),
    /// An alarm is over.
    AlarmOver {
        /// Its id.
        id: &'static str,
        /// What it was about.
        about: String,
    },
    /// Something was counted: `Status::http`.
    Counted(&'static str),
    /// So many chat sessions are there now.
    Chats(u64),
    /// For the operator.
    Notice(Notice),
    /// The HTTP thread has ended: when nobody has told it to, the service cannot go on.
    Ended,
}

/// The way to tell: cheap to clone. Nothing that is told is lost: what a thread tells is bounded by what its peers
/// may ask for, and counting sends nothing.
#[derive(Clone, Debug)]
pub struct Teller {
    facts: tokio::sync::mpsc::UnboundedSender<HttpFact>,
    counts: Option<Arc<Counts>>,
    journal: Option<Arc<Journal>>,
}

impl Teller {
    /// And where the facts come out.
    #[must_use]
    pub fn new() -> (Self, tokio::sync::mpsc::UnboundedReceiver<HttpFact>) {
        let (facts, receiver) = tokio::sync::mpsc::unbounded_channel();
        (Self { facts, counts: None, journal: None }, receiver)
    }

    /// As [`Self::new`], but what is counted is added up in `counts` and wakes nobody.
    #[must_use]
    pub fn counting(counts: Arc<Counts>) -> (Self, tokio::sync::mpsc::UnboundedReceiver<HttpFact>) {
        let (teller, receiver) = Self::new();
        (Self { counts: Some(counts), ..teller }, receiver)
    }

    /// As it is, but what becomes of attempts is written down there.
    #[must_use]
    pub fn recording(self, journal: Arc<Journal>) -> Self {
        Self { journal: Some(journal), ..self }
    }

    /// An attempt was refused here: what the client is to be told to find it by, where somebody writes it down.
    #[must_use]
    pub fn refused(&self, attempt: Attempt) -> Option<Code> {
        self.journal.as_ref().and_then(|journal| journal.refuse(attempt))
    }

    /// Something has become of an attempt that the client is told nothing of by us.
    pub fn attempted(&self, attempt: Attempt) {
        if let Some(journal) = &self.journal {
            journal.record(attempt);
        }
    }

    /// Counts a request for as long as it is served, where somebody counts.
    #[must_use]
    pub fn serve(&self, what: Purpose) -> Option<Serving> {
        self.counts.as_ref().map(|counts| counts.serve(what))
    }

    /// Tells.
    pub fn tell(&self, fact: HttpFact) {
        if let (Some(counts), HttpFact::Counted(what)) = (&self.counts, &fact) {
            return counts.add(what);
        }
        // Fails only once the reactor has ended, and then nobody wants to know.
        let _ = self.facts.send(fact);
    }
}
