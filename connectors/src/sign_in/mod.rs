//! Sign-in: who checks credentials ([`authority`]).

pub mod authority;
