//! Discovery of the UC servers: what is known of them now, how it is learnt, and how it is learnt anew with
//! nobody noticing.

mod current;

pub use self::current::Current;
