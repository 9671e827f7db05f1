//! XMPP streams as an edge and a core see them (RFC 6120): what bytes are a stream at all, how one is negotiated, who
//! signs in on it. Pure: bytes and answers come in, bytes and wishes come out.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod condition;
pub mod door;
pub mod element;
pub mod features;
pub mod fuzzing;
pub mod limits;
pub mod ns;
pub mod router;
pub mod sasl;
pub mod scan;

pub use condition::{Condition, StreamFault};
pub use element::{Attribute, Element, Header, escape};
pub use scan::{Boundary, Bounds, Scanner, Step};
