//! Chat: XMPP streams of clients, on the HTTP thread.
//!
//! ```text
//!  client ─ 5222, STARTTLS ─▶ front (edge) ─ carrier of the link ─▶ [`Inside::chat`] (core) ─▶ IM server
//! ```
//! The edge's front looks after TLS, the bounds and the form of what a client sends; from the client's first header
//! after TLS on, bytes go to a core as they are. The core answers in the server's place until sign-in, and joins the two
//! streams from then on. A [`ChatStream`] is one end of one such stream, whatever carries it.
//!
//! [`Inside::chat`]: crate::http::Inside::chat

pub(crate) mod carrier;
mod changes;
mod front;
pub mod limits;
mod stream;

pub use carrier::{Carrier, Carriers};
pub use front::{ChatBounds, ChatConfig};
pub(crate) use front::{ChatFront, through};
pub use stream::{ChatStream, Gone, Item};

/// What the names of chat's counters begin with.
pub const CHAT_COUNTERS: &str = "chat_";
