//! What clients ask of the edge over HTTPS, as pure functions: the grammar of paths, what a head must
//! look like, cookies, and the edge configuration.
//!
//! | file | what |
//! |---|---|
//! | `lane.rs` | `/<base64(domain)>/verb` and `/<base64(domain/proto/host/port)>/path` |
//! | `carried.rs` | names of the headers edge and core add on the link |

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod carried;
pub mod lane;

pub use lane::{Lane, LaneFault, Scheme, Verb};
