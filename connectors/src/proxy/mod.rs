//! The reverse proxy, and the HTTP client everybody here uses towards UC servers.
//!
//! | file | what |
//! |---|---|
//! | `client.rs` | one request to one server: names, TLS, deadlines, faults |
//! | `forward.rs` | carries an allowed request and its answer |
//! | `dial.rs` | a connection: the name's addresses, TCP, TLS |
//! | `exchange.rs` | one request and its answer on one connection |
//! | `head.rs` | heads as they stand on the wire |
//! | `framing.rs` | where the body of an answer ends |
//! | `wire.rs` | the bytes of a connection |
//! | `pace.rs` | how fast a body goes on |
//! | `pool.rs` | servers and the connections that are kept |
//! | `breaker.rs` | leaves a server in peace that does not answer |
//! | `trust.rs` | whom we trust at a server, what we show |
//! | `address.rs` | addresses no name may lead to |
//! | `body.rs` | bodies under bounds |

mod address;
mod body;
mod breaker;
mod client;
mod dial;
mod exchange;
mod forward;
mod framing;
mod head;
pub mod limits;
mod pace;
mod pool;
mod trust;
mod wire;

pub(crate) use address::may_lead_to;
pub use client::{ClientFault, Fetched, HttpClient, Target, Within};
pub use forward::{ClientFacts, Onward, Proxy};
pub use trust::{TlsFault, Trust, TrustFault};

#[cfg(test)]
mod tests;
