//! Who may administer: accounts, sessions of browsers, tokens of programs.

mod desk;
mod password;
mod role;
pub mod rows;
pub(crate) mod secrets;
mod throttle;

pub use desk::{AccountChange, AccountsDesk, COOKIE, SignedIn};
pub use rows::Role;
pub(crate) use throttle::Place;
