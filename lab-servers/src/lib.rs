//! Simulated UC servers and phones, for the lab and the tests.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod limits;
mod phone;
