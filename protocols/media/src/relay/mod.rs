//! What happens to one packet of one relay: on the edge ([`OutsideEngine`]) and in the core
//! ([`InsideEngine`]).
//!
//! Both are driven by the media thread, packet by packet, without a lock and without allocating.
//! They hold what the latch and keystream rules need and nothing else; sockets, the link and the
//! choice of ports are the runtime's.

mod inside;
mod outside;

pub use inside::{FromLink, InsideEngine};
pub use outside::{FromClient, OutsideEngine};

use edgeway_model::media::RelayCounters;

use crate::srtp::SrtpFault;

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// No RTP or RTCP, or larger than the link carries.
    Malformed,
    /// The tag does not fit.
    Unauthenticated,
    /// Seen before, or older than the window.
    Replayed,
    /// No key or no address is known yet.
    TooEarly,
    /// From an address that is not the described or learnt one, or over the allowance of
    /// unproven sources.
    WrongSource,
    /// A bound of the cryptographic context is reached.
    OverBound,
}

impl DropReason {
    fn count(self, counters: &mut RelayCounters) {
        let counter = match self {
            Self::Unauthenticated => &mut counters.unauthenticated,
            Self::Replayed => &mut counters.replayed,
            Self::TooEarly => &mut counters.too_early,
            Self::WrongSource => &mut counters.wrong_source,
            Self::Malformed | Self::OverBound => &mut counters.other_drops,
        };
        *counter += 1;
    }
}

impl From<SrtpFault> for DropReason {
    fn from(fault: SrtpFault) -> Self {
        match fault {
            SrtpFault::Malformed => Self::Malformed,
            SrtpFault::Unauthenticated => Self::Unauthenticated,
            SrtpFault::Replayed => Self::Replayed,
            SrtpFault::TooManySources | SrtpFault::Exhausted => Self::OverBound,
        }
    }
}

#[cfg(test)]
mod tests;
