//! Decisions without protocol: which core, which registrar, and how much a stranger may ask.
//!
//! Pure. Driven by `nodes/edge-node` and `nodes/core-node`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod health;
pub mod routing;
