//! Sign-in: who may, how often, and what they get.
//!
//! | file | what |
//! |---|---|
//! | `authority.rs` | whoever says whether credentials are right |
//! | `away.rs` | one that does not answer is left in peace |
//! | `bearer.rs` | whose token a token says it is |
//! | `desk.rs` | rate control, cache, one question at a time, tokens |
//! | `keys.rs` | what signs tokens, and whose are believed |
//! | `counters.rs` | what is counted |

pub mod authority;
mod away;
pub mod bearer;
pub mod counters;
pub mod desk;
pub mod keys;
pub mod limits;
