//! Why was this refused, and what was said: what a node remembers so that its operator can answer that.
//!
//! | file | what |
//! |---|---|
//! | `journal.rs` | the last attempts, fair to everybody |
//! | `recorder.rs` | SIP messages of those who are traced, while they are |
//! | `redact.rs` | a message without secrets |
//! | `ladder.rs` | what several nodes have kept, put together |
//! | `pcapng.rs`, `hep.rs` | for other programs |
//! | `desk.rs` | what an operator may ask |
//!
//! Each node answers for itself; whoever asks puts the nodes together.

mod desk;
mod hep;
mod journal;
pub mod ladder;
pub mod limits;
pub mod pcapng;
mod recorder;
mod redact;

use std::net::IpAddr;

use edgeway_model::Pii;
use edgeway_model::attempt::{Attempt, Kind, Reason};

pub use self::desk::Desk;
pub(crate) use self::hep::Exporter;
pub use self::journal::Journal;
pub(crate) use self::recorder::Recorder;
pub(crate) use self::redact::scrub;

/// A connection whose TLS never stood; nobody could be told anything.
pub(crate) fn tls_failed(client: IpAddr, why: String) -> Attempt {
    Attempt {
        kind: Kind::Connection,
        reason: Reason::TlsFailed,
        user: None,
        client: Some(Pii::new(client.to_canonical())),
        edge: None,
        code: None,
        detail: why,
        trace: String::new(),
    }
}

/// What edge and core know a chat stream by: its number at the edge.
#[must_use]
pub fn of_chat(number: u64) -> String {
    format!("chat-{number}")
}
