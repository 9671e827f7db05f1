//! What an administrator lives with: the store of revisions, who may do what, the REST API and the web pages.
//!
//! All of it runs at a core, on a thread of its own, and talks to the node through an
//! [`OperatorPort`](edgeway_runtime::operate::OperatorPort) only: nothing here can do to a node what an operator at its
//! socket could not.

#![forbid(unsafe_code)]

pub mod accounts;
pub mod allow_list;
pub mod api;
mod certificate;
pub mod configuration;
pub mod domains;
pub mod limits;
pub mod listener;
pub mod office;
pub mod pages;
pub mod store;
pub mod support;
pub mod views;

pub use listener::{Ingredients, make};

#[cfg(test)]
mod scratch;
