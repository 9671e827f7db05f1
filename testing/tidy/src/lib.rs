//! The house rules that a machine can hold, as functions over what is in the repository.
//!
//! Each check takes plain data and answers with complaints, so each has a test that feeds it
//! something bad. `tests/house.rs` feeds them the real tree. The rules themselves are argued in
//! ARCHITECTURE.md and CONTRIBUTING.md.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod crates;
pub mod house;
pub mod links;
pub mod sources;

/// A text file of the repository.
#[derive(Clone, Debug)]
pub struct TextFile {
    /// Its name, from the root of the repository, with `/`.
    pub path: String,
    /// What is in it.
    pub text: String,
}

impl TextFile {
    /// A file made up by a test, or read.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    pub(crate) fn is(&self, ending: &str) -> bool {
        self.path.ends_with(ending)
    }
}
