//! Chat sessions: the vocabulary edge and core share about a client's XMPP stream.

use std::net::SocketAddr;

/// Longest domain of a stream, bytes (RFC 7622 §3.2).
pub const DOMAIN_BYTES_MAX: usize = 1023;

/// A client's stream as an edge announces it to a core, after TLS and with the client's first header read.
/// Information: a core believes none of it but that this edge said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatOpening {
    /// The edge's number for it: unique for as long as the edge runs.
    pub number: u64,
    /// The client's address and port.
    pub client: SocketAddr,
    /// The domain its header is addressed to.
    pub domain: String,
}

/// How one side of a chat stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChatEnd {
    /// In XMPP's words: `</stream:stream>` was the last that was sent.
    Closed,
    /// Without a word: a connection is gone. The server may keep the session for a while, so that the client can
    /// resume it (XEP-0198 §5); nothing may be sent in anybody's name any more.
    Broken,
}

/// What a client did that intrusion protection wants to know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChatOffence {
    /// What it sent is no stream of XMPP, or breaks a bound.
    Protocol,
    /// Its credentials were refused.
    SignIn,
    /// Its credentials were supplied too often, or it opens more streams than it may.
    Abuse,
}

impl ChatOffence {
    /// Every kind, for metrics.
    pub const ALL: [Self; 3] = [Self::Protocol, Self::SignIn, Self::Abuse];

    /// The label used in metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::SignIn => "sign_in",
            Self::Abuse => "abuse",
        }
    }
}
