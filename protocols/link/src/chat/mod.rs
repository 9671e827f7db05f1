//! The chat carrier: many XMPP streams of clients over one connection of an edge and a core.
//!
//! ```text
//!  0      1          4          8
//!  +------+----------+----------+---------
//!  | kind | length   | stream   | payload       length: u24, of the payload alone; both big endian
//!  +------+----------+----------+---------
//! ```
//! | kind | name | from | stream | payload |
//! |---|---|---|---|---|
//! | 1 | OPEN | edge | its number | u64 the edge's number of the client, address (u8 4 or 6, octets, u16 port), domain (the rest, UTF-8) |
//! | 2 | DATA | both | its number | 1 to 16,384 bytes of XMPP |
//! | 3 | CREDIT | both | its number | u32, how much more may be sent |
//! | 4 | SIGNED_IN | core | its number | |
//! | 5 | END | both | its number | u8: 0 closed, 1 broken |
//! | 6 | PING | both | 0 | |
//! | 7 | PONG | both | 0 | |
//! | 8 | LEAVING | both | 0 | |
//! | 9 | SIGN_IN_REFUSED | core | its number | |
//!
//! * Streams are opened by the edge, numbered 1, 2, 3 and so on, and never numbered again. Both ends begin at once.
//! * **Credit.** A DATA frame costs its bytes and [`CHAT_FRAME_COST_BYTES`](crate::limits::CHAT_FRAME_COST_BYTES) of its stream's window, which is
//!   [`CHAT_WINDOW_BYTES_MIN`](crate::limits::CHAT_WINDOW_BYTES_MIN) at first. CREDIT gives some back once it has been read, at least half of that, and
//!   as long as the receiver has room makes the window of a stream that has used up all it had as wide as
//!   [`CHAT_WINDOW_BYTES_MAX`](crate::limits::CHAT_WINDOW_BYTES_MAX). So no stream waits for another one, and what a receiver holds is bounded.
//! * **The end.** END closed: nothing more comes; what the other end says is still read. END broken, alone or after that:
//!   nothing is read any more either, and the other end ends the stream at once. A stream is over when both ends have ended, or
//!   one is broken and the other has heard of it. CREDIT and END that were on their way to it meanwhile mean nothing.
//! * **SIGN_IN_REFUSED**: what the client has shown was refused, for a reason that is its own; once for each time, before SIGNED_IN, at
//!   most [`CHAT_REFUSALS_MAX`](crate::limits::CHAT_REFUSALS_MAX) times. The edge charges the client's address for it. The stream goes on.
//! * **LEAVING**: no stream is opened from now on; those that are there go on.
//! * PING is answered by PONG. Whoever has heard nothing for [`CHAT_PING_AFTER`](crate::limits::CHAT_PING_AFTER) asks; a silence of
//!   [`CHAT_SILENT_MAX`](crate::limits::CHAT_SILENT_MAX) ends the connection.
//!
//! There is no version here: the ALPN has one. Any breach ends the connection, and with it all its streams: [`ChatFault`].
//!
//! # How to drive it
//! [`ChatMux`] is one end. What arrives goes to [`ChatMux::handle_bytes`]; then [`ChatMux::poll_event`] until there is none. What it says stands in
//! [`ChatMux::outgoing`], and [`ChatMux::handle_sent`] takes away what has left. [`ChatMux::poll_timeout`] says when
//! [`ChatMux::handle_timeout`] is due: to be asked after each of these.

mod bucket;
mod fault;
mod frame;
mod mux;
#[cfg(test)]
mod properties;
mod window;

pub use fault::ChatFault;
pub use frame::{ChatDecoder, ChatFrame};
pub use mux::{ChatEvent, ChatMux, NotOpened};
