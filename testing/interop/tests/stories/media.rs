//! Sound before the answer, and music while on hold from another server inside.

use crate::cast::{DESK_HZ, Desk, LISTEN, desk_hears, established, hears};
use anyhow::{Result, ensure};
use edgeway_interop::baresip::Phone;
use edgeway_interop::kamailio::PATIENCE;
use edgeway_interop::process::wait_for;
use edgeway_interop::report::Report;
use edgeway_interop::rtp_party::RtpParty;
use edgeway_interop::world::Site;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

const MUSIC_HZ: f64 = 1500.0;

pub(crate) fn story(report: &Report, site: &Site) -> Result<()> {
    let mut alice = site.outside("alice", 0, 440.0)?;
    let mut desk = Desk::register(site, "desk", 5070)?;
    alice.wait_registered()?;
    report.scenario("early media: heard outside before the answer", || early(&mut alice, &mut desk));
    let station = site.network.station_inside(5)?;
    let music = RtpParty::open(station.host(), SocketAddr::new(station.address(), 32_000), MUSIC_HZ)?;
    report.scenario("hold music from another address inside, and back", || hold(&mut alice, &mut desk, &music));
    report.scenario("hold music towards a phone that was called", || hold_called(&mut alice, &mut desk, &music));
    Ok(())
}

fn early(alice: &mut Phone, desk: &mut Desk) -> Result<()> {
    alice.clear_recordings()?;
    let mark = alice.mark();
    alice.dial("desk")?;
    let invite = desk.phone.wait_request("INVITE", PATIENCE)?;
    desk.media.talk_to(&invite.body)?;
    desk.phone.answer_with(&invite, "183 Session Progress", "", &desk.media.sdp("sendrecv"))?;
    sleep(LISTEN);
    hears(alice, DESK_HZ)?;
    let answered = alice.wait_event(mark, &["CALL_ESTABLISHED", "CALL_CLOSED"], Duration::ZERO);
    ensure!(answered.is_err(), "alice did not only ring: {answered:?}");
    let mut dialog = desk.phone.accept(&invite, &desk.media.sdp("sendrecv"))?;
    established(alice, mark)?;
    desk_hears(&desk.media, alice.tone_hz())?;
    desk.phone.hang_up(&mut dialog)?;
    alice.wait_event(mark, &["CALL_CLOSED"], PATIENCE).map(drop)
}

fn hold(alice: &mut Phone, desk: &mut Desk, music: &RtpParty) -> Result<()> {
    let mark = alice.mark();
    alice.dial("desk")?;
    let invite = desk.phone.wait_request("INVITE", PATIENCE)?;
    desk.media.talk_to(&invite.body)?;
    let dialog = desk.phone.accept(&invite, &desk.media.sdp("sendrecv"))?;
    established(alice, mark)?;
    desk_hears(&desk.media, alice.tone_hz())?;
    music_and_back(alice, desk, dialog, music)
}

fn hold_called(alice: &mut Phone, desk: &mut Desk, music: &RtpParty) -> Result<()> {
    let mark = alice.mark();
    let (dialog, answer) = desk.phone.call("alice", &desk.media.sdp("sendrecv"))?;
    desk.media.talk_to(&answer.body)?;
    established(alice, mark)?;
    desk_hears(&desk.media, alice.tone_hz())?;
    music_and_back(alice, desk, dialog, music)
}

/// The desk holds alice with music from another machine; she gets its packets and keeps silent; then she is back.
fn music_and_back(
    alice: &mut Phone,
    desk: &mut Desk,
    mut dialog: edgeway_interop::dialog::Dialog,
    music: &RtpParty,
) -> Result<()> {
    let mark = alice.mark();
    alice.clear_recordings()?;
    let answer = desk.phone.exchange_in(&mut dialog, "INVITE", "", &music.sdp("sendonly"))?;
    ensure!(answer.status() == Some(200), "the re-INVITE that holds: {}", answer.first_line());
    desk.phone.send_in(&mut dialog, "ACK", "", "")?;
    desk.media.fall_silent();
    music.talk_to(&answer.body)?;
    alice.wait_event(mark, &["CALL_REMOTE_SDP"], PATIENCE)?;
    let before = (alice.station().media_packets()?, music.packets());
    sleep(LISTEN);
    let got = alice.station().media_packets()? - before.0;
    ensure!(got > 120, "alice got {got} packets of music in {LISTEN:?}");
    ensure!(alice.undecryptable() == 0, "packets that could not be decrypted: {}", alice.undecryptable());
    let answer = desk.phone.exchange_in(&mut dialog, "INVITE", "", &desk.media.sdp("sendrecv"))?;
    ensure!(answer.status() == Some(200), "the re-INVITE that resumes: {}", answer.first_line());
    desk.phone.send_in(&mut dialog, "ACK", "", "")?;
    music.fall_silent();
    desk.media.talk_to(&answer.body)?;
    desk_hears(&desk.media, alice.tone_hz())?;
    let before = alice.station().media_packets()?;
    wait_for("packets after hold", PATIENCE, || alice.station().media_packets().is_ok_and(|now| now > before + 50))?;
    desk.phone.hang_up(&mut dialog)?;
    alice.wait_event(mark, &["CALL_CLOSED"], PATIENCE).map(drop)
}
