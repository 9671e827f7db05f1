//! Sign-in: who checks credentials ([`authority`]).

pub mod authority;
pub mod keys;
pub mod limits;
