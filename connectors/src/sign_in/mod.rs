//! Sign-in: who may, how often, and what they get.
//!
//! | file | what |
//! |---|---|
//! | `asked.rs` | who asked and what became of it, for the operator |
//! | `authority.rs` | whoever says whether credentials are right |
//! | `away.rs` | one that does not answer is left in peace |
//! | `desk.rs` | rate control, cache, one question at a time, tokens |
//! | `health.rs` | what the operator hears of it |
//! | `kept.rs` | revocations on disk |
//! | `keys.rs` | what signs tokens, and whose are believed |
//! | `who.rs` | whose request it is |
//! | `small.rs` | the small lane |
//! | `services.rs` | services inside, as clients are told of them |
//! | `answers.rs` | what clients hear, in the bytes they know |
//! | `counters.rs` | what is counted |

pub(crate) mod answers;
pub(crate) mod asked;
pub mod authority;
mod away;
pub mod counters;
pub mod desk;
pub mod health;
pub(crate) mod kept;
pub mod keys;
pub mod limits;
pub mod services;
pub mod small;
pub(crate) mod who;
