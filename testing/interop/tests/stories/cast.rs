//! Who plays: small helpers all stories share.

use anyhow::{Context, Result, ensure};
use edgeway_interop::baresip::Phone;
use edgeway_interop::kamailio::PATIENCE;
use edgeway_interop::network::REGISTRAR;
use edgeway_interop::process::wait_for;
use edgeway_interop::rtp_party::RtpParty;
use edgeway_interop::wire_phone::WirePhone;
use edgeway_interop::world::Site;
use std::net::SocketAddr;
use std::time::Duration;

/// The tone of the party inside, in hertz.
pub(crate) const DESK_HZ: f64 = 1000.0;
/// How long somebody listens before a tone is judged.
pub(crate) const LISTEN: Duration = Duration::from_secs(3);
/// How much of it must be the tone, in seconds.
pub(crate) const HEARD_SECONDS: f64 = 2.0;

/// A desk telephone inside: signalling of our own over UDP, and plain RTP.
pub(crate) struct Desk {
    pub(crate) phone: WirePhone,
    pub(crate) media: RtpParty,
}

impl Desk {
    /// Registers `user` from `port`; its media is 1000 ports higher... on an even port of its own.
    pub(crate) fn register(site: &Site, user: &str, port: u16) -> Result<Self> {
        let phone = site.wire_inside(user, port)?;
        let address = SocketAddr::new(REGISTRAR, 30_000 + 2 * (port % 1000));
        Ok(Self { phone, media: RtpParty::open(&site.network.inside(), address, DESK_HZ)? })
    }
}

/// Waits until `phone` has a call after `mark`.
pub(crate) fn established(phone: &Phone, mark: usize) -> Result<()> {
    let event = phone.wait_event(mark, &["CALL_ESTABLISHED", "CALL_CLOSED"], PATIENCE)?;
    ensure!(event.kind == "CALL_ESTABLISHED", "{}: the call was not established: {}", phone.user(), event.detail);
    Ok(())
}

/// `phone` recorded `tone_hz` for long enough, now or soon.
pub(crate) fn hears(phone: &Phone, tone_hz: f64) -> Result<()> {
    let result =
        wait_for("tone", LISTEN * 2, || phone.heard(tone_hz).is_ok_and(|heard| heard.tone_seconds >= HEARD_SECONDS));
    result.with_context(|| format!("{} should hear {tone_hz} Hz: {:?}", phone.user(), phone.heard(tone_hz)))
}

/// The party inside hears `tone_hz` for long enough, from now on.
pub(crate) fn desk_hears(desk: &RtpParty, tone_hz: f64) -> Result<()> {
    desk.forget();
    let result = wait_for("tone", LISTEN * 2, || desk.heard(tone_hz).tone_seconds >= HEARD_SECONDS);
    result.with_context(|| format!("the desk should hear {tone_hz} Hz: {:?}", desk.heard(tone_hz)))
}
