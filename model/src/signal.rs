//! A SIP message as it passes a node, for the ladder of a call. Nodes tell of them only while somebody wants to see them.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::NodeId;

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// A client, at an edge.
    Client(SocketAddr),
    /// An edge or a core, over the link.
    Node(NodeId),
    /// A registrar or another party inside, at a core.
    Inside(SocketAddr),
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Whether it came from there; else it goes there.
    pub received: bool,
    /// The other end.
    pub peer: Party,
    /// The message, whole.
    pub bytes: Bytes,
    /// What the node has decided about it, where that is known: where it goes and why, or why it is refused.
    pub decision: Option<String>,
}
