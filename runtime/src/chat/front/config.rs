//! What the chat side of an edge is given.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use edgeway_model::limits::TLS_HANDSHAKE_MAX;
use rustls::ServerConfig;

use crate::chat::limits::{
    CLIENTS_MAX, CLIENTS_PER_ADDRESS_MAX, FAREWELL_MAX, HEADER_WITHIN, PING_AFTER, SIGN_IN_WITHIN, STALLED_MAX,
    STRANGERS_MAX,
};

/// The chat side of an edge.
pub struct ChatConfig {
    /// Where clients come that ask for TLS within their stream (STARTTLS, RFC 6120 §5).
    pub listeners: Vec<TcpListener>,
    /// Where clients come that begin with TLS (XEP-0368).
    pub direct_listeners: Vec<TcpListener>,
    /// What is shown to them: without ALPN, which the front adds where it belongs.
    pub tls: Arc<ServerConfig>,
    /// Clients one address may have that have not signed in.
    pub strangers_per_address_max: usize,
    /// Whether the streams that one address opens are counted for addresses of this machine, too. Whoever comes from
    /// there is the operator, or something in front of the edge that all clients come through.
    pub bound_loopback: bool,
    /// All other bounds: [`ChatBounds::default`].
    pub bounds: ChatBounds,
}

/// How many clients there may be, and how long they may take: constants of [`limits`](crate::chat::limits), but for
/// tests.
#[derive(Clone, Copy, Debug)]
pub struct ChatBounds {
    /// [`CLIENTS_MAX`].
    pub clients_max: usize,
    /// [`CLIENTS_PER_ADDRESS_MAX`].
    pub clients_per_address_max: usize,
    /// [`STRANGERS_MAX`].
    pub strangers_max: usize,
    /// [`HEADER_WITHIN`].
    pub header_within: Duration,
    /// [`TLS_HANDSHAKE_MAX`].
    pub handshake_within: Duration,
    /// [`SIGN_IN_WITHIN`].
    pub sign_in_within: Duration,
    /// [`STALLED_MAX`].
    pub stalled_max: Duration,
    /// [`PING_AFTER`].
    pub ping_after: Duration,
    /// [`FAREWELL_MAX`].
    pub farewell_max: Duration,
}

impl Default for ChatBounds {
    fn default() -> Self {
        Self {
            clients_max: CLIENTS_MAX,
            clients_per_address_max: CLIENTS_PER_ADDRESS_MAX,
            strangers_max: STRANGERS_MAX,
            header_within: HEADER_WITHIN,
            handshake_within: TLS_HANDSHAKE_MAX,
            sign_in_within: SIGN_IN_WITHIN,
            stalled_max: STALLED_MAX,
            ping_after: PING_AFTER,
            farewell_max: FAREWELL_MAX,
        }
    }
}
