//! What the link's transport needs from the reactor that owns the node.

use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use edgeway_model::{LinkId, NodeId, Role};
use rustls::server::Accepted;
use rustls::{ServerConfig, ServerConnection};

use super::Asks;
use crate::operate::OperatorPort;
use crate::outbox::Outbox;
use crate::pki::Joined;

/// What a connection beside the link is for, by its ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Requests of clients: the bulk connection.
    Requests,
    /// Chat streams of clients.
    Chat,
}

/// A connection beside the link that has only said hello; nothing is proven yet.
pub struct CallerHello {
    /// What it says it is for. It must have proven itself with that ALPN.
    pub carries: Carries,
    /// What it said.
    pub accepted: Box<Accepted>,
    /// Its socket.
    pub tcp: TcpStream,
    /// What it must prove.
    pub config: Arc<ServerConfig>,
}

/// The reactor, as the links see it. All calls come on its own thread, never from inside a call
/// the reactor makes to an [`Outbox`].
pub trait LinkHost {
    /// A fresh number for a link.
    fn next_link(&self) -> LinkId;
    /// A link stands: both certificates are verified and the signalling stream is open. What goes
    /// into `outbox` goes to the peer; closing it closes the link.
    fn link_opened(&self, link: LinkId, peer: NodeId, role: Role, address: SocketAddr, outbox: Rc<Outbox>);
    /// How the peer of a link that stands can be asked; said right after `link_opened`.
    fn link_asks(&self, link: LinkId, asks: Rc<Asks>) {
        drop((link, asks));
    }
    /// Who answers what peers ask; `None`: nobody.
    fn operator(&self) -> Option<OperatorPort> {
        None
    }
    /// Bytes of the peer, in order, cut anywhere.
    fn link_received(&self, link: LinkId, bytes: Bytes);
    /// The link is gone. Comes exactly once for each `link_opened`, and is the last call for the
    /// link, also when the host itself closed the outbox.
    fn link_closed(&self, link: LinkId, why: String);
    /// A core whose identity is proven has dialled the way media takes where UDP is blocked.
    fn media_stream(&self, peer: NodeId, tcp: TcpStream, tls: ServerConnection) {
        drop((peer, tcp, tls));
    }
    /// Somebody has dialled a way that requests or chat of clients take, and has said hello in TLS: `config` asks for the
    /// rest, off this thread.
    fn beside(&self, hello: CallerHello) {
        drop(hello);
    }
    /// This edge has become (or stayed) one of a core's: `joined.identity` is what it is now.
    fn joined(&self, joined: &Joined) {
        let _ = joined;
    }
}
