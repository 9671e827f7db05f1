//! Who may administer: accounts, sessions of browsers, tokens of programs.

mod role;

pub use role::Role;
