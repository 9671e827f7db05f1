//! SIP messages for the operator, while somebody wants to see them. Otherwise each costs one branch.

use std::net::SocketAddr;

use bytes::Bytes;
use edgeway_model::notice::Notice;
use edgeway_model::signal::{Party, Signal};
use edgeway_model::{NodeId, Output};
use edgeway_sip::proxy::Hop;

use crate::CoreNode;

impl CoreNode {
    pub(crate) fn trace(&mut self, on: bool) {
        self.tracing = on;
        self.decided = None;
    }

    /// A message of a party inside.
    pub(crate) fn saw_inside(&mut self, received: bool, hop: &Hop, bytes: &Bytes) {
        let is_message = bytes.first().is_some_and(u8::is_ascii_alphabetic);
        if self.tracing
            && is_message
            && let Some(address) = self.address_of(hop)
        {
            self.saw(received, Party::Inside(address), bytes);
        }
    }

    /// A message of the link with an edge.
    pub(crate) fn saw_at_edge(&mut self, received: bool, edge: &NodeId, bytes: &Bytes) {
        if self.tracing {
            self.saw(received, Party::Node(edge.clone()), bytes);
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

    pub(crate) fn send_datagram(&mut self, local: SocketAddr, peer: SocketAddr, bytes: Bytes) {
        self.saw_inside(false, &Hop::Datagram { local, peer }, &bytes);
        self.outputs.push_back(Output::Datagram { local, peer, bytes });
    }
}
