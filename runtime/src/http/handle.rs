//! The HTTP thread, as everybody else sees it.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use edgeway_config::CoreSettings;
use edgeway_model::NodeId;
use edgeway_model::sign_in::SignInFact;
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::{mpsc, oneshot};

use super::limits::START_MAX;
use super::{HttpFact, MakeInside, Teller, thread};
use crate::chat::ChatConfig;
use crate::link::CallerHello;

/// What an HTTP thread does.
pub enum Part {
    /// At an edge: takes requests and chat streams of clients, and carries them to cores.
    Front(Box<FrontConfig>),
    /// At a core: answers what edges carry to it.
    Inside(MakeInside),
}

/// The sides of an edge that face clients, but for SIP.
pub struct FrontConfig {
    /// Where clients come over HTTPS.
    pub listeners: Vec<TcpListener>,
    /// What is shown to them.
    pub tls: Arc<ServerConfig>,
    /// TLS handshakes one address may have in progress.
    pub handshakes_per_address_max: usize,
    /// How long a client may take nothing of an answer that is there: [`STALLED_MAX`](super::limits::STALLED_MAX).
    pub stalled_max: Duration,
    /// Whether attempts to sign in are bounded by address for addresses of this machine, too. Whoever comes from there is
    /// the operator, or something in front of the edge that all clients come through.
    pub bound_loopback: bool,
    /// The chat side, where there is one.
    pub chat: Option<ChatConfig>,
}

/// Why an HTTP thread did not start.
#[derive(Debug, thiserror::Error)]
pub enum HttpFault {
    /// The system refused a thread, or what a thread needs.
    #[error("the HTTP thread cannot start: {0}")]
    System(#[from] std::io::Error),
    /// What it should work with cannot be used.
    #[error("{0}")]
    Configuration(String),
}

/// What the thread is asked to do.
pub(super) enum Order {
    /// Edge: a core, perhaps, has dialled.
    Adopt(CallerHello),
    /// Core: keep a bulk connection to this edge.
    Dial { edge: NodeId, address: String, config: Arc<ClientConfig> },
    /// Nothing more leads to this node.
    Forget(NodeId),
    /// Certificates with these serial numbers hold no longer.
    Revoked(BTreeSet<Vec<u8>>),
    /// The node, or a peer, says something.
    Told(SignInFact),
    /// Take nothing new, or take it again.
    Maintain(bool),
    /// Past the deadline of maintenance mode: end what is still under way.
    EndAll,
    /// The operator asks something.
    Operate { path: String, question: serde_json::Value, answer: oneshot::Sender<Result<serde_json::Value, String>> },
    /// Core: get ready for these settings.
    Prepare { settings: Arc<CoreSettings>, answer: oneshot::Sender<Result<(), Vec<String>>> },
    /// Core: use what was prepared. The answer is whether anything was.
    Apply(oneshot::Sender<bool>),
    /// Core: forget it.
    Abort,
    /// Whoever asks wants to know that the thread still takes orders.
    Turns(oneshot::Sender<()>),
    /// The node stops; the sender goes when the thread has ended what was under way.
    Stop(oneshot::Sender<()>),
}

/// Says that the thread has ended, however it did.
struct Ends(Teller);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.tell(HttpFact::Ended);
    }
}

/// The HTTP thread. Clones speak to the same one, which ends with [`HttpHandle::shut_down`] or with the last clone.
#[derive(Clone, Debug)]
pub struct HttpHandle(mpsc::UnboundedSender<Order>);

impl HttpHandle {
    /// Starts the thread; what it learns goes to `teller`.
    ///
    /// # Errors
    /// [`HttpFault`].
    pub fn start(part: Part, teller: Teller) -> Result<Self, HttpFault> {
        let (orders, received) = mpsc::unbounded_channel();
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let ends = Ends(teller.clone());
        std::thread::Builder::new().name("http".into()).spawn(move || {
            let _ends = ends;
            thread::run(part, teller, received, &ready);
        })?;
        match started.recv_timeout(START_MAX) {
            Ok(outcome) => outcome.map(|()| Self(orders)),
            Err(_) => Err(HttpFault::Configuration("the HTTP thread did not start in time".into())),
        }
    }

    /// Edge: takes over a connection that says it is for requests; nothing about it is proven yet.
    pub fn adopt(&self, hello: CallerHello) {
        self.order(Order::Adopt(hello));
    }

    /// Core: keeps a connection to `edge` at `address` (`host:port`) from now on. The same edge again with the same
    /// address changes only the identity for the next dial.
    pub fn dial(&self, edge: NodeId, address: String, config: Arc<ClientConfig>) {
        self.order(Order::Dial { edge, address, config });
    }

    /// Closes what leads to a node, dials it no more, and believes nothing it has told.
    pub fn forget(&self, node: &NodeId) {
        self.order(Order::Forget(node.clone()));
    }

    /// Closes connections whose other end has proven itself by one of these certificates.
    pub fn revoked(&self, serials: BTreeSet<Vec<u8>>) {
        self.order(Order::Revoked(serials));
    }

    /// Passes on what the node, or a peer, says.
    pub fn told(&self, fact: SignInFact) {
        self.order(Order::Told(fact));
    }

    /// Takes nothing new from now on, or takes it again. What is under way goes on.
    pub fn maintain(&self, on: bool) {
        self.order(Order::Maintain(on));
    }

    /// Ends what is still under way: the deadline of maintenance mode has passed.
    pub fn end_all(&self) {
        self.order(Order::EndAll);
    }

    /// Asks what the operator asks; the answer comes when it is there, and not at all if the thread has ended.
    #[must_use]
    pub fn operate(
        &self,
        path: String,
        question: serde_json::Value,
    ) -> oneshot::Receiver<Result<serde_json::Value, String>> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Operate { path, question, answer });
        answered
    }

    /// Core: gets ready for these settings; nothing changes before [`Self::apply`]. What was prepared before is forgotten.
    #[must_use]
    pub fn prepare(&self, settings: Arc<CoreSettings>) -> oneshot::Receiver<Result<(), Vec<String>>> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Prepare { settings, answer });
        answered
    }

    /// Core: uses what was prepared last. The answer, once that is done, is whether anything was.
    #[must_use]
    pub fn apply(&self) -> oneshot::Receiver<bool> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Apply(answer));
        answered
    }

    /// Core: forgets what was prepared.
    pub fn abort(&self) {
        self.order(Order::Abort);
    }

    /// Whether the thread takes its orders: `Ok` once it has come to this one, `Err` if it has ended, nothing as long as it
    /// hangs.
    #[must_use]
    pub fn turns(&self) -> oneshot::Receiver<()> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Turns(answer));
        answered
    }

    /// Takes nothing new, lets what is under way end for a moment, and ends the thread. What is returned ends, too,
    /// when that is done.
    pub fn shut_down(&self) -> oneshot::Receiver<()> {
        let (done, is_done) = oneshot::channel();
        self.order(Order::Stop(done));
        is_done
    }

    /// The queue has no bound of its own: what stands in it is bounded by what a node and its links may ask for.
    fn order(&self, order: Order) {
        // Fails only once the thread has ended, and then nothing matters any more.
        let _ = self.0.send(order);
    }
}
