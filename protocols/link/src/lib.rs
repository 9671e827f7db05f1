//! What an edge and a core, or two cores, say to each other on their link.
//!
//! This room is the codec ([`frame`]) and the conversation ([`engine`]): hello, keepalive with load
//! and wall clock, clock skew, liveness judged on stream and datagrams together, and bounds. It does
//! *not* dial, encrypt or reconnect: `runtime/link` does, and has authenticated both ends before the
//! first byte arrives here. Driven by `nodes/edge-node` and `nodes/core-node`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod chat;
pub mod engine;
pub mod frame;
pub mod fuzzing;
pub mod limits;
pub mod links;
mod sign_in;
mod wire;

pub use engine::{Link, LinkEvent};
pub use frame::{Decoder, Frame, FrameFault, Hello, Identity, Load, RelayRule, Role};
pub use links::Links;
