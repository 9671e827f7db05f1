//! The carrier of chat streams between an edge and a core: one TLS connection of its own for each pair, dialled by the core, ALPN
//! `edgeway-chat/1`. What is said on it is `edgeway_link::chat`'s.
//!
//! ```text
//!  front ─ ChatStream ─┐                                             ┌─ ChatStream ─ Inside::chat
//!  front ─ ChatStream ─┤ [`Line`] ═════════ TLS, many streams ═════▶ │ [`Line`]
//!  front ─ ChatStream ─┘ edge: [`Carriers`]            core: [`Chats`] └─ ChatStream ─ Inside::chat
//! ```
//! One task per connection moves the bytes of all its streams. Streams that have changed say so themselves, and what
//! all of them have to say leaves together; a busy connection waits a moment for more ([`GATHER`](super::limits::GATHER)).
//!
//! A connection that ends ends its streams as broken, at both ends. It is replaced without that when its certificate is about to end: new streams go
//! to the newer connection, and those that are there stay where they are.

mod carriers;
mod chats;
mod line;
mod pump;
#[cfg(test)]
mod scenario;

pub use carriers::{Carrier, Carriers};
pub(crate) use chats::Chats;
