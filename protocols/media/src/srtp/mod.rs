//! SRTP and SRTCP, in place and without allocating per packet: AES_CM_128_HMAC_SHA1_80 and _32
//! (RFC 3711, RFC 4568 §6.2), AEAD_AES_128_GCM and AEAD_AES_256_GCM (RFC 7714).
//!
//! [`SrtpReceiver`] opens what a party sends, [`SrtpSender`] protects what goes to it. Not here:
//! MKI, key derivation rates, re-keying inside a context (a new key is a new context).
//!
//! GCM comes from RustCrypto, like the rest: aws-lc-rs would save some 50 ns per packet, a fiftieth
//! of what its sockets cost, but would bring C into a pure room and may spoil a packet that it
//! refuses, which the key before must still be tried on.

mod keys;
mod receiver;
mod sender;
mod window;

pub use receiver::{Opened, SrtpReceiver};
pub use sender::{Party, SrtpSender};
pub use window::{Freshness, ReplayWindow};

/// Why a packet was neither opened nor protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpFault {
    /// No RTP or RTCP packet, or no room for the tag.
    #[error("malformed packet")]
    Malformed,
    /// The tag does not fit the packet.
    #[error("authentication failed")]
    Unauthenticated,
    /// Seen before, or older than the window.
    #[error("replayed or too old")]
    Replayed,
    /// Every source the context may remember is taken.
    #[error("too many synchronisation sources")]
    TooManySources,
    /// The key has no unused keystream left for this packet.
    #[error("key used up")]
    Exhausted,
}

#[cfg(test)]
mod tests;
