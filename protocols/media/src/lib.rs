//! Media, as far as it is pure: session descriptions, SRTP, the rules of a relay and the header
//! of a media datagram on the link.
//!
//! Nothing here opens a socket or reads a clock; `edgeway-runtime` carries the packets.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod datagram;
pub mod fuzzing;
pub mod latch;
pub mod limits;
pub mod relay;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod split;
pub mod srtp;
