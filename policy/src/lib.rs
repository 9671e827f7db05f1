//! Decisions without protocol: which core, which registrar, where a name leads, who may sign in, and
//! which server inside may be reached.
//!
//! Pure. Driven by `nodes/edge-node` and `nodes/core-node`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod address;
pub mod allow_list;
pub mod credentials;
pub mod deployments;
pub mod discovery;
pub mod fuzzing;
pub mod health;
pub mod lengths;
pub mod limits;
pub mod location;
pub mod rate;
pub mod registrars;
pub mod routing;
pub mod token;
