//! Discovery of the UC servers: what is known of them now, how it is learnt, and how it is learnt anew with
//! nobody noticing.

mod current;
pub mod fault;
pub mod limits;
pub(crate) mod token_keys;
pub mod web;

pub use self::current::Current;
