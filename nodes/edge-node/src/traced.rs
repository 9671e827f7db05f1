//! SIP messages for the operator, while somebody wants to see them. Otherwise each costs one branch.

use bytes::Bytes;
use edgeway_model::FlowId;
use edgeway_model::NodeId;
use edgeway_model::notice::Notice;
use edgeway_model::signal::{Party, Signal};

use crate::EdgeNode;

impl EdgeNode {
    pub(crate) fn trace(&mut self, on: bool) {
        self.tracing = on;
        self.decided = None;
    }

    /// A message of a client's connection; keepalives are none.
    pub(crate) fn saw_at_flow(&mut self, received: bool, flow: FlowId, bytes: &Bytes) {
        let is_message = bytes.first().is_some_and(u8::is_ascii_alphabetic);
        if self.tracing
            && is_message
            && let Some(peer) = self.flows.get(&flow).map(|flow| flow.peer)
        {
            self.saw(received, Party::Client(peer), bytes);
        }
    }

    /// A message of the link with a core.
    pub(crate) fn saw_at_core(&mut self, received: bool, core: &NodeId, bytes: &Bytes) {
        if self.tracing {
            self.saw(received, Party::Node(core.clone()), bytes);
        }
    }

    fn saw(&mut self, received: bool, peer: Party, bytes: &Bytes) {
        let decision = if received { None } else { self.decided.take() };
        let signal = Signal { received, peer, bytes: bytes.clone(), decision };
        self.notice(Notice::Signal(Box::new(signal)));
    }

    /// What the message that leaves next leaves for.
    pub(crate) fn decided(&mut self, why: impl FnOnce() -> String) {
        if self.tracing {
            self.decided = Some(why());
        }
    }
}
