//! What the router is told and what it wants: all it can learn, and all it can do.

use std::time::Duration;

use bytes::Bytes;
use edgeway_model::Pii;
use edgeway_model::attempt::Code;
use edgeway_model::chat::{ChatEnd, ChatOffence};

use crate::condition::StreamFault;
use crate::sasl::Mechanism;

/// What a session at the core begins with.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// The domain the edge has announced: one that is served. The client's header has to name it, too. Servers hear it
    /// as [`super::normal_domain`] has it, however the client spells it.
    pub domain: String,
    /// The servers of the domain, in the order in which they are to be tried: those that are known to be down
    /// last. From here on a server is its place in this list.
    pub servers: Vec<Candidate>,
    /// The mechanisms that servers of the domain were seen to offer last, to be offered where none answers; empty
    /// if none ever did.
    pub remembered: Vec<Mechanism>,
    /// Random: our streams' id where no server has given one.
    pub id: [u8; 16],
}

/// A server that may be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name or address, as it stands in the settings or in what discovery found: what a server is called by
    /// another one (`<see-other-host/>`) is compared with it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether TLS comes before XMPP there (XEP-0368).
    pub direct_tls: bool,
}

/// What the router is told.
///
/// Of servers, only what the one named in the last [`Action::Dial`] does is told, and nothing any more after
/// [`Action::CloseServer`] until the next dial.
#[derive(Clone, Debug)]
pub enum Input {
    /// Bytes of the client, as they came. They begin with its header after TLS.
    Client(Bytes),
    /// The client's side has ended: nothing can be sent there any more.
    ClientEnded(ChatEnd),
    /// The server is reached: over TCP, or, with direct TLS, over TLS with a verified certificate.
    Connected,
    /// TLS with a verified certificate stands, after [`Action::StartTls`].
    Secured,
    /// Bytes of the server, as they came.
    Server(Bytes),
    /// The server cannot be reached, its certificate is not good, or its connection has ended.
    ServerGone,
    /// The answer to [`Action::AskRate`].
    Verdict(Verdict),
    /// The session has to end, and the client is to be told this: an operator's wish, a user who was revoked.
    Disconnect(StreamFault),
    /// [`super::Router::next_deadline`] has come.
    Tick,
}

/// Whether credentials may be shown to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They may.
    Pass {
        /// The servers the user lives on, where that is known, best first; empty where it is not: any will do.
        homes: Vec<usize>,
    },
    /// They may not, and are wrong: nobody has such a name.
    Wrong,
    /// This user's were shown too often.
    Refused {
        /// When to come back.
        retry_after: Duration,
        /// What the refusal is found by.
        code: Option<Code>,
    },
}

/// What the router wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Bytes for the client.
    ToClient(Bytes),
    /// Bytes for the server. Those that hold credentials overwrite themselves when dropped.
    ToServer(Bytes),
    /// A server is to be reached; whatever connection there was is closed by another action first.
    Dial {
        /// Which.
        server: usize,
    },
    /// A TLS handshake with the server is to begin; nothing it said before counts any more.
    StartTls,
    /// The connection to the server is to be closed, after what is still to be sent there.
    CloseServer,
    /// A server did not get as far as its features: no client had a part in that, but that it has named the domain.
    /// Health, alarms; [`Down::HostUnknown`] says nothing of its health.
    ServerDown {
        /// Which.
        server: usize,
        /// Why.
        why: Down,
    },
    /// A server that had offered its features did something odd in a sign-in, or was lost. A client may have brought
    /// that about: whether the server is well is to be found out without one.
    ServerDoubted {
        /// Which.
        server: usize,
        /// Why.
        why: Down,
    },
    /// A server got as far as its features, and offers this of what passes. To be remembered for the domain.
    ServerUp {
        /// Which.
        server: usize,
        /// In its order; not empty.
        mechanisms: Vec<Mechanism>,
    },
    /// A client shows credentials: may a server see them? Nothing more is asked before the answer.
    AskRate {
        /// Whose they say they are, as the client spells it, without the domain of the stream; `None` where only the
        /// server can tell.
        user: Option<Pii<String>>,
        /// How they are shown.
        mechanism: Mechanism,
    },
    /// The credentials that were let pass last have been seen by no server, and will not be: that was no attempt.
    Unseen,
    /// The server has taken the credentials. Comes before the client hears of it.
    SignedIn {
        /// As in [`Self::AskRate`].
        user: Option<Pii<String>>,
        /// As in [`Self::AskRate`].
        mechanism: Mechanism,
        /// Which server.
        server: usize,
    },
    /// A server that has seen the credentials wants the client on another server, this one; the client is told to come
    /// again. To be remembered for the user they are of.
    Homed {
        /// Which.
        server: usize,
    },
    /// The client has a place at the server.
    Bound {
        /// Its full JID; a stream that was resumed does not say (XEP-0198 §5), and what is no JID is left out.
        jid: Option<Pii<String>>,
        /// Whether an earlier stream was resumed.
        resumed: bool,
    },
    /// The server has said that the stream can be resumed (XEP-0198 §3).
    Resumable,
    /// The client did what intrusion protection wants to know of; in words that hold nothing the client sent.
    Offence(ChatOffence, &'static str),
    /// The client's side is to end so, after what is still to be sent there. The last action.
    End(ChatEnd),
}

/// Why a server counts as down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Down {
    /// No connection, or none any more.
    #[error("no connection")]
    Gone,
    /// It did not say what it should in time.
    #[error("no answer in time")]
    Silent,
    /// It does not offer STARTTLS, and credentials are never sent in clear.
    #[error("no STARTTLS offered")]
    NoTls,
    /// It offers no mechanism that passes.
    #[error("no mechanism that passes")]
    NoMechanism,
    /// It says that it does not serve the domain.
    #[error("the domain is not served there")]
    HostUnknown,
    /// It names a server that is not known here.
    #[error("it names a server that is not known")]
    UnknownHost,
    /// It has ended the stream.
    #[error("it has ended the stream")]
    Refused,
    /// What it sends is no XMPP, or breaks a bound.
    #[error("no XMPP")]
    Malformed,
}
