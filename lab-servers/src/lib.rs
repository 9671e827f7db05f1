//! Simulated UC servers and phones, for the lab and the tests.
//!
//! [`registrar`] stands in for Kamailio or the line side of a call manager, [`uc`] for the rest of a Unified CM cluster,
//! [`phone`] for a softphone, [`client`] for what a client does over HTTPS before it is a phone, [`xmpp`] for chat servers
//! and clients. All speak the real
//! protocols over real sockets, print nothing, and share with the nodes only the SIP message layer: what they write is
//! plain text of their own, and what they read they read by themselves.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod ca;
pub mod client;
mod credentials;
pub mod dns;
pub mod limits;
pub mod observe;
pub mod phone;
pub mod registrar;
mod transport;
pub mod uc;
mod wire;
pub mod xmpp;

pub use observe::{Observer, Seen};
pub use phone::{
    Call, CallState, Ending, MediaGap, MediaSecurity, MediaStats, Phone, PhoneConfig, PhoneError, PhoneTransport,
    Sound, SrtpSuite,
};
pub use registrar::{BindingView, LineFault, LineSide, Registrar, RegistrarConfig, Stations};

/// A random password of `length` letters and digits.
#[must_use]
pub fn secret(length: usize) -> String {
    wire::token(&mut wire::random(), length)
}
