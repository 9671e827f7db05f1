//! The bulk connection of a core and an edge: a second TCP connection with the same identities as the link, ALPN
//! `edgeway-bulk/1`, HTTP/2 with roles flipped. One stream is one request of a client.
//!
//! ```text
//!  edge                                        core
//!   │ ◀──────────────────────── TCP, TLS, dialled │
//!   │ HTTP/2: the edge is the client              │
//!   │ HEADERS (+ DATA …) ───────────────────────▶ │ [`super::Inside::serve`]
//!   │ ◀─────────────────────── HEADERS (+ DATA …) │
//! ```
//! * [`Cores`] is the edge's end: which cores there are, and a request sent to one.
//! * [`Edges`] is the core's end: dials, serves, dials again.
//!
//! Backpressure goes through: what a client does not take stays in the window of its stream, and holds up the
//! server inside. A client that goes away ends its stream, and with it the work at the core.

mod cores;
mod edges;
pub(super) mod gathered;
mod pulse;

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use h2::{Reason, SendStream};
use http::HeaderMap;
use http::header::{CONNECTION, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use std::future::poll_fn;
use std::task::Poll;

use super::limits::PIECE_BYTES_MIN;
pub(super) use cores::{Core, Cores, InFlight, Lost, Sent};
pub(super) use edges::{Edges, Requests};

/// Fields that end at a hop and have no place in HTTP/2 (RFC 9113 §8.2.2).
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
];

/// Takes out what HTTP/2 does not carry.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Why bytes could not be sent on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// The other end has ended the stream, or the connection is gone.
    Gone,
    /// It took nothing for too long.
    Stalled,
}

/// Sends all of `bytes`, as fast as the other end takes them, each wait at most `patience`.
pub(super) async fn send_all(
    stream: &mut SendStream<Bytes>,
    mut bytes: Bytes,
    ends: bool,
    patience: Duration,
) -> Result<(), NotTaken> {
    loop {
        stream.reserve_capacity(bytes.len());
        // Small frames are what floods are made of, and the other end counts them: no piece is smaller than it must be.
        let least = if bytes.len() <= 2 * PIECE_BYTES_MIN { bytes.len() } else { PIECE_BYTES_MIN };
        if stream.capacity() < least {
            let room = poll_fn(|context| {
                if stream.poll_reset(context).is_ready() {
                    return Poll::Ready(false);
                }
                stream.poll_capacity(context).map(|capacity| matches!(capacity, Some(Ok(_))))
            });
            match tokio::time::timeout(patience, room).await {
                Ok(true) => continue,
                Ok(false) => return Err(NotTaken::Gone),
                Err(_) => {
                    stream.send_reset(Reason::CANCEL);
                    return Err(NotTaken::Stalled);
                }
            }
        }
        let mut length = stream.capacity().min(bytes.len());
        if length < bytes.len() {
            length = length.min(bytes.len() - PIECE_BYTES_MIN);
        }
        let last = length == bytes.remaining();
        let chunk = bytes.split_to(length);
        stream.send_data(chunk, ends && last).map_err(|_| NotTaken::Gone)?;
        if last {
            return Ok(());
        }
    }
}
