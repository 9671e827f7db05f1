//! The SIP message layer: from bytes to messages and back, and nothing more.
//!
//! * [`Framer`] cuts a stream into SIP, STUN and keepalives; [`Message::parse`] indexes one
//!   message; both share one length rule.
//! * [`Message`] is bytes plus a line index. Reading borrows, [`Message::edit`] patches, and what
//!   is not touched leaves byte for byte as it came: folds, compact forms, vendor headers.
//! * [`Fault`] (structure) and [`Refusal`] (semantics) say what is wrong, naming the field; each
//!   carries or makes the answer, because a peer is always told why.
//! * [`stun`] and [`digest`] are the two small protocols that ride along.
//!
//! No transactions, no routing, no policy here; no sockets and no clock.
//!
//! RFC 3261 §7, §19, §20, §25; RFC 3581; RFC 4475; RFC 5118; RFC 5626 §3.5; RFC 7616; RFC 8489.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod attempt;
pub mod bearer;
pub mod bindings;
pub mod digest;
pub mod edit;
mod fault;
pub mod framer;
#[doc(hidden)]
pub mod fuzzing;
mod head;
pub mod header;
pub mod limits;
pub mod maintenance;
pub mod message;
pub mod mra;
mod multipart;
mod parse;
pub mod proxy;
pub mod requests;
mod respond;
mod status;
pub mod stun;
pub mod touched;
pub mod uri;
mod value;
pub mod verdict;
mod via;

pub use edit::Edit;
pub use fault::{Fault, WARN_AGENT};
pub use framer::{Element, Framer, FramingFault, FramingReason, is_keepalive};
pub use header::Name;
pub use message::Message;
pub use respond::{ResponseBuilder, warning_value};
pub use status::reason_phrase;
pub use stun::Stun;
pub use uri::{NameAddr, Uri};
pub use value::Params;
pub use verdict::{Refusal, RefusalKind, check_request};
pub use via::{BRANCH_COOKIE, Via};
