//! Linphone at the edge, with the certificate checked and SRTP required, and inside: calls with baresip, keys, hold,
//! and attended transfer, which baresip does not do.

use crate::cast::{HEARD_SECONDS, LISTEN, established, hears};
use anyhow::{Context, Result, ensure};
use edgeway_interop::baresip::Phone;
use edgeway_interop::kamailio::PATIENCE;
use edgeway_interop::linphone::{Home, Keys, Linphone};
use edgeway_interop::process::wait_for;
use edgeway_interop::report::Report;
use edgeway_interop::world::{Site, registrar_address};
use std::thread::sleep;
use std::time::Duration;

pub(crate) fn story(report: &Report, site: &Site) -> Result<()> {
    let mut lisa = outside(site, "lisa", 0, 500.0, Keys::Events)?;
    let mut bob = site.outside("bob", 1, 660.0)?;
    let mut carol = site.inside("carol", 0, 880.0)?;
    report.scenario("linphone registers, having checked the certificate", || lisa.wait_registered());
    report.scenario("linphone refuses an edge whose CA it does not trust", || {
        let authority = site.stranger.certificate();
        let mut stranger = Linphone::start(
            site.network.station_outside(9)?,
            "lotte",
            Home::Edge(&authority),
            500.0,
            Keys::Events,
            &site.scratch,
        )?;
        stranger.wait_said(0, "Certificate verification failed", PATIENCE).context("it looks at the certificate")?;
        sleep(Duration::from_secs(1));
        stranger.say("status register")?;
        let answer = stranger.wait_said(0, "registered=", PATIENCE)?;
        ensure!(!answer.contains("identity"), "it registered all the same: {answer}");
        Ok(())
    });
    bob.wait_registered()?;
    carol.wait_registered()?;
    report.scenario("linphone calls baresip outside, keys both ways", || calls(&mut lisa, &mut bob));
    report.scenario("baresip outside calls linphone", || is_called(&mut bob, &mut lisa));
    report.scenario("linphone calls inside", || calls(&mut lisa, &mut carol));
    report.scenario("inside calls linphone, which holds and resumes", || is_called(&mut carol, &mut lisa));
    Ok(())
}

pub(crate) fn transfers(report: &Report, site: &Site) -> Result<()> {
    let mut lars = outside(site, "lars", 0, 500.0, Keys::Info)?;
    let mut lena = outside(site, "lena", 1, 600.0, Keys::Info)?;
    let station = site.network.station_inside(1)?;
    let mut luis =
        Linphone::start(station, "luis", Home::Registrar(registrar_address()), 700.0, Keys::Info, &site.scratch)?;
    for phone in [&mut lars, &mut lena, &mut luis] {
        phone.wait_registered()?;
    }
    report.scenario("keys as INFO between linphone inside and outside", || {
        let marks = (lars.mark(), luis.mark());
        lars.dial("luis")?;
        luis.wait_said(marks.1, "Media streams established", PATIENCE)?;
        lars.wait_said(marks.0, "Media streams established", PATIENCE)?;
        lars.say("7")?;
        luis.wait_said(marks.1, "Receiving tone 7", PATIENCE)?;
        luis.say("3")?;
        lars.wait_said(marks.0, "Receiving tone 3", PATIENCE)?;
        lars.hang_up()?;
        luis.wait_said(marks.1, "ended", PATIENCE).map(drop)
    });
    report.scenario("attended transfer by a phone outside: outside to inside", || {
        attended(&mut lars, &mut lena, &mut luis)
    });
    report.scenario("attended transfer by a phone inside, between two outside", || {
        attended(&mut luis, &mut lars, &mut lena)
    });
    report.scenario("attended transfer by a phone outside: inside to outside", || {
        attended(&mut lena, &mut luis, &mut lars)
    });
    Ok(())
}

fn outside(site: &Site, user: &str, index: u8, tone_hz: f64, keys: Keys) -> Result<Linphone> {
    let authority = site.authority.certificate();
    Linphone::start(site.network.station_outside(index)?, user, Home::Edge(&authority), tone_hz, keys, &site.scratch)
}

fn linphone_hears(phone: &Linphone, tone_hz: f64) -> Result<()> {
    let result =
        wait_for("tone", LISTEN * 2, || phone.heard(tone_hz).is_ok_and(|heard| heard.tone_seconds >= HEARD_SECONDS));
    result.with_context(|| format!("{} should hear {tone_hz} Hz: {:?}", phone.user(), phone.heard(tone_hz)))
}

fn calls(linphone: &mut Linphone, other: &mut Phone) -> Result<()> {
    linphone.record_anew()?;
    other.clear_recordings()?;
    let marks = (linphone.mark(), other.mark());
    linphone.dial(other.user())?;
    linphone.wait_said(marks.0, "Media streams established", PATIENCE)?;
    established(other, marks.1)?;
    sleep(LISTEN);
    hears(other, linphone.tone_hz())?;
    for key in ["4", "#"] {
        linphone.say(key)?;
        sleep(Duration::from_millis(400));
    }
    wait_for("keys", PATIENCE, || other.keys_since(marks.1) == "4#")
        .with_context(|| format!("{} got {:?}", other.user(), other.keys_since(marks.1)))?;
    other.press("59")?;
    wait_for("keys", PATIENCE, || linphone.keys_since(marks.0) == "59")
        .with_context(|| format!("linphone got {:?}", linphone.keys_since(marks.0)))?;
    linphone.hang_up()?;
    other.wait_event(marks.1, &["CALL_CLOSED"], PATIENCE)?;
    linphone.wait_said(marks.0, "ended", PATIENCE)?;
    linphone_hears(linphone, other.tone_hz())
}

fn is_called(other: &mut Phone, linphone: &mut Linphone) -> Result<()> {
    linphone.record_anew()?;
    other.clear_recordings()?;
    let marks = (linphone.mark(), other.mark());
    other.dial(linphone.user())?;
    linphone.wait_said(marks.0, "Media streams established", PATIENCE)?;
    established(other, marks.1)?;
    sleep(LISTEN);
    hears(other, linphone.tone_hz())?;
    let mark = other.mark();
    linphone.say("pause")?;
    other.wait_event(mark, &["CALL_REMOTE_SDP"], PATIENCE).context("linphone holds")?;
    linphone.wait_said(marks.0, "is now paused", PATIENCE)?;
    let mark = other.mark();
    linphone.say("resume")?;
    other.wait_event(mark, &["CALL_REMOTE_SDP"], PATIENCE).context("linphone resumes")?;
    for station in [other.station(), linphone.station()] {
        let before = station.media_packets()?;
        wait_for("packets", PATIENCE, || station.media_packets().is_ok_and(|now| now > before + 50))?;
    }
    let mark = linphone.mark();
    other.hang_up()?;
    linphone.wait_said(mark, "ended", PATIENCE)?;
    linphone_hears(linphone, other.tone_hz())
}

/// `transferor` calls both, and connects them with each other.
fn attended(transferor: &mut Linphone, transferee: &mut Linphone, target: &mut Linphone) -> Result<()> {
    let first = call_number(transferor, transferee)?;
    transferor.say("pause")?;
    let second = call_number(transferor, target)?;
    sleep(Duration::from_secs(1));
    let marks = (transferee.mark(), target.mark(), transferor.mark());
    // All calls of a phone are in one recording: what is new in it counts.
    let before = (transferee.heard(target.tone_hz())?, target.heard(transferee.tone_hz())?);
    transferor.say(&format!("transfer {first} --to-call {second}"))?;
    transferee.wait_said(marks.0, "Media streams established", PATIENCE).context("the transferee's new call")?;
    target.wait_said(marks.1, "Media streams established", PATIENCE).context("the target's new call")?;
    transferor.wait_said(marks.2, "ended", PATIENCE).context("the transferor is done")?;
    sleep(LISTEN);
    for phone in [&*transferee, &*target] {
        let before = phone.station().media_packets()?;
        wait_for("packets", PATIENCE, || phone.station().media_packets().is_ok_and(|now| now > before + 50))
            .with_context(|| format!("media at {} after the transfer", phone.user()))?;
    }
    let mark = target.mark();
    transferee.hang_up()?;
    transferor.hang_up()?;
    target.wait_said(mark, "ended", PATIENCE)?;
    let after = (transferee.heard(target.tone_hz())?, target.heard(transferee.tone_hz())?);
    for (before, after, who) in [(before.0, after.0, transferee.user()), (before.1, after.1, target.user())] {
        let new = after.tone_seconds - before.tone_seconds;
        ensure!(new >= HEARD_SECONDS, "{who} heard the other for {new} s only: {before:?}, then {after:?}");
    }
    Ok(())
}

/// Calls and waits for sound; the number linphone gives the call.
fn call_number(from: &mut Linphone, to: &mut Linphone) -> Result<String> {
    let mark = from.mark();
    from.dial(to.user())?;
    let line = from.wait_said(mark, "Media streams established", PATIENCE)?;
    let number = line.split("for call ").nth(1).and_then(|rest| rest.split(' ').next()).context("a call number")?;
    Ok(number.to_owned())
}
