//! The link's transport: one TCP connection per pair of nodes, dialled by the core, TLS 1.3 with
//! both identities proven, HTTP/2 with roles flipped.
//!
//! ```text
//!   core                                                        edge
//!    │ TCP ────────────────────────────────────────────────────▶ │  7001
//!    │ TLS 1.3, ALPN edgeway-link/1, both certificates ────────▶ │
//!    │ ◀───────────────────────────── HTTP/2: the edge is client  │
//!    │ ◀─────────────────────────────────────────────  POST /sip  │  one long-lived stream
//!    │ 200 ─────────────────────────────────────────────────────▶ │
//!    │ ◀═══════════ opaque link bytes in both bodies ═══════════▶ │
//! ```
//! A second stream, `/identity`, carries certificates and revocations; see [`crate::pki::trust`]. A third, `/ask`, carries
//! what operators ask through a core; see `asks.rs`. Two cores
//! link the same way: the one that is dialled (port 7002) plays the edge's part in HTTP/2, and of two links
//! between them the one dialled by the lower name stays.
//!
//! Only the edge can open streams, so nothing in the DMZ ever waits for a request from inside.
//! Bytes are opaque here: frames, hello, keepalive and liveness are the node's (`protocols/link`).
//! Connection windows are out of the way and stream windows bound memory; what a slow peer does not
//! take stays in the outbox of the link, and its bound closes the link.
//!
//! * An edge runs [`listen`]; it also answers cores that join, while an invitation is outstanding.
//! * A core runs one [`dial`] per recorded edge and per other core it is told of; each dials again, for ever, with jittered back-off.
//! * Both report to a [`LinkHost`].
//!
//! A link that is closed on purpose carries the reason to the peer in a trailer.

mod asks;
pub(crate) mod back_off;
pub(crate) mod calm;
mod dialler;
mod gate;
mod host;
pub mod limits;
mod listener;
mod pipe;
#[cfg(test)]
mod scenario;
#[cfg(test)]
mod trust_scenario;

pub use asks::Asks;
pub use dialler::{Dialler, dial};
pub use host::{CallerHello, Carries, LinkHost};
pub use listener::{Door, Listener, listen};

pub(crate) use dialler::{connect, handshake, tune};
