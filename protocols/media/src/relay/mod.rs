//! What happens to one packet of one relay: on the edge ([`OutsideEngine`]) and in the core
//! ([`InsideEngine`]).
//!
//! Both are driven by the media thread, packet by packet, without a lock and without allocating.
//! They hold what the latch and keystream rules need and nothing else; sockets, the link and the
//! choice of ports are the runtime's.

mod arrivals;
mod inside;
mod leg;
mod outside;

use std::net::SocketAddr;

pub use inside::{FromInside, FromLink, InsideEngine};
pub use outside::{FromClient, OutsideEngine};

use edgeway_model::media::{Component, RelayCounters};

use crate::srtp::SrtpFault;

/// Where a packet goes, and from which of our two sockets: with RTCP on the RTP port they need not
/// be those of its component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The receiver.
    pub to: SocketAddr,
    /// The socket.
    pub socket: Component,
}

impl Way {
    /// The way of a component to a party, by where the party receives.
    fn of(component: Component, described: Option<(SocketAddr, SocketAddr)>, mux: bool) -> Option<Self> {
        let (rtp, rtcp) = described?;
        Some(match component {
            Component::Rtcp if !mux => Self { to: rtcp, socket: Component::Rtcp },
            Component::Rtcp | Component::Rtp => Self { to: rtp, socket: Component::Rtp },
        })
    }
}

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
mod keystream_tests;
#[cfg(test)]
mod legs_tests;
#[cfg(test)]
mod tests;
