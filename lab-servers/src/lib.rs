//! Simulated UC servers and phones, for the lab and the tests.
//!
//! [`registrar`] stands in for Kamailio or a call manager, [`phone`] for a softphone. Both speak real
//! SIP and RTP over real sockets, print nothing, and share with the nodes only the message layer:
//! what they write is plain text of their own, and session descriptions they read by themselves.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod credentials;
pub mod limits;
pub mod observe;
pub mod phone;
pub mod registrar;
mod transport;
mod wire;

pub use observe::{Observer, Seen};
pub use phone::{
    Call, CallState, Ending, MediaSecurity, MediaStats, Phone, PhoneConfig, PhoneError, PhoneTransport, Sound,
    SrtpSuite,
};
pub use registrar::{Registrar, RegistrarConfig};

/// A random password of `length` letters and digits.
#[must_use]
pub fn secret(length: usize) -> String {
    wire::token(&mut wire::random(), length)
}
