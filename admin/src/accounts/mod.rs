//! Who may administer: accounts, sessions of browsers, tokens of programs.

mod role;
pub mod rows;

pub use rows::Role;
