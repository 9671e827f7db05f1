//! The vocabulary every room of Edgeway shares: identifiers, time, secrets and the world.
//!
//! This crate is rank 0 and pure: no socket, clock, thread, file, environment or randomness.
//! [`world`] is the page to read first; it lists everything a node can learn and everything it
//! can do.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod alarm;
pub mod attempt;
pub mod certificates;
pub mod chat;
pub mod dns;
pub mod ids;
pub mod limits;
pub mod listing;
pub mod maintenance;
pub mod media;
pub mod moment;
pub mod notice;
pub mod pii;
pub mod random;
pub mod secret;
pub mod services;
pub mod sign_in;
pub mod signal;
pub mod world;
pub mod zones;

pub use ids::{FlowId, LinkId, NodeId, RelayId, Role};
pub use moment::Moment;
pub use pii::Pii;
pub use random::Random;
pub use secret::Secret;
pub use world::{Deadline, Input, Node, Output};
