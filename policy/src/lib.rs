//! Decisions without protocol: which core, which registrar, and where a name leads.
//!
//! Pure. Driven by `nodes/edge-node` and `nodes/core-node`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod health;
pub mod limits;
pub mod location;
pub mod registrars;
pub mod routing;
