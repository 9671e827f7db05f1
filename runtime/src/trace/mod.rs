//! Why was this refused, and what was said: what a node remembers so that its operator can answer that.
//!
//! | file | what |
//! |---|---|
//! | `journal.rs` | the last attempts, fair to everybody |
//! | `desk.rs` | what an operator may ask |
//!
//! Each node answers for itself; whoever asks puts the nodes together.

mod desk;
mod journal;
pub mod limits;

pub use self::desk::{Desk, Refusal};
pub use self::journal::Journal;
