//! Where messages come from and go to, and how many transactions hold a flow.

use std::collections::HashMap;
use std::net::SocketAddr;

use edgeway_model::{FlowId, NodeId};

/// Where a message came from or goes to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Hop {
    /// A TLS or TCP connection.
    Flow(FlowId),
    /// Another node of ours, over whichever link to it is up.
    Peer(NodeId),
    /// A client behind an edge of ours, at the core: told apart by its flow there, so that no client
    /// can touch the transaction of another.
    Client {
        /// The edge.
        edge: NodeId,
        /// The flow at that edge.
        flow: FlowId,
    },
    /// A UDP socket of ours and the address at the other end.
    Datagram {
        /// Our socket.
        local: SocketAddr,
        /// The other end.
        peer: SocketAddr,
    },
}

impl Hop {
    /// Whether the transport itself retransmits.
    #[must_use]
    pub const fn is_reliable(&self) -> bool {
        !matches!(self, Self::Datagram { .. })
    }

    /// Whether the hop is another node of ours: what a broken link lost is sent again.
    #[must_use]
    pub const fn is_node(&self) -> bool {
        matches!(self, Self::Peer(_) | Self::Client { .. })
    }
}

pub(super) fn flow_of(hop: &Hop) -> Option<FlowId> {
    match hop {
        Hop::Flow(flow) => Some(*flow),
        Hop::Peer(_) | Hop::Client { .. } | Hop::Datagram { .. } => None,
    }
}

/// Counts a transaction for a connection, or for a client behind an edge; what many share is not counted.
pub(super) fn hold(per_hop: &mut HashMap<Hop, u32>, hop: &Hop) {
    if let Hop::Flow(_) | Hop::Client { .. } = hop {
        *per_hop.entry(hop.clone()).or_default() += 1;
    }
}

pub(super) fn release(per_hop: &mut HashMap<Hop, u32>, hop: &Hop) {
    if let Some(count) = per_hop.get_mut(hop) {
        *count -= 1;
        if *count == 0 {
            per_hop.remove(hop);
        }
    }
}
