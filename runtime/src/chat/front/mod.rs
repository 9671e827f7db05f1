//! The chat side of an edge: takes streams of clients, and carries them to cores.

mod config;

pub use config::{ChatBounds, ChatConfig};
