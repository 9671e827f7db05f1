//! Several devices of one user, and several calls of one device.

use crate::cast::{DESK_HZ, Desk, LISTEN, desk_hears, established, hears};
use anyhow::{Context, Result, ensure};
use edgeway_interop::baresip::Phone;
use edgeway_interop::kamailio::{PATIENCE, wait};
use edgeway_interop::report::Report;
use edgeway_interop::world::Site;
use std::thread::sleep;

pub(crate) fn story(report: &Report, site: &Site) -> Result<()> {
    let mut first = site.outside_with("alice", 0, 440.0, |setup| setup.answers = false)?;
    let mut second = site.outside_with("alice", 1, 550.0, |setup| setup.answers = false)?;
    let mut bob = site.outside("bob", 2, 660.0)?;
    let mut desk = Desk::register(site, "desk", 5070)?;
    for phone in [&first, &second, &bob] {
        phone.wait_registered()?;
    }
    report.scenario("one device answers, the other stops ringing", || {
        one_answers(&mut first, &second, &mut desk, "alice")
    });
    report.scenario("the other device answers this time", || one_answers(&mut second, &first, &mut desk, "alice"));
    report.scenario("the caller gives up: both stop ringing", || gives_up(&first, &second, &mut desk));
    report.scenario("a phone outside rings both, one answers", || {
        let marks = (first.mark(), second.mark(), bob.mark());
        bob.dial("alice")?;
        first.wait_event(marks.0, &["CALL_INCOMING"], PATIENCE)?;
        second.wait_event(marks.1, &["CALL_INCOMING"], PATIENCE)?;
        second.clear_recordings()?;
        second.accept()?;
        established(&bob, marks.2)?;
        first.wait_event(marks.0, &["CALL_CLOSED"], PATIENCE).context("the other stops ringing")?;
        sleep(LISTEN);
        hears(&second, bob.tone_hz())?;
        bob.hang_up()?;
        second.wait_event(marks.1, &["CALL_CLOSED"], PATIENCE).map(drop)
    });
    drop(second);
    Ok(())
}

/// Call waiting, and devices by q value; with the registrar that forks serially.
pub(crate) fn one_after_the_other(report: &Report, site: &Site) -> Result<()> {
    let mut dora = site.outside_with("dora", 3, 770.0, |setup| setup.answers = false)?;
    let mut bob = site.outside("erik", 4, 660.0)?;
    let mut desk = Desk::register(site, "desk2", 5072)?;
    dora.wait_registered()?;
    bob.wait_registered()?;
    report.scenario("call waiting: a second call is taken, the first held, then swapped", || {
        call_waiting(&mut dora, &mut bob, &mut desk)
    });
    Ok(())
}

fn one_answers(answering: &mut Phone, other: &Phone, desk: &mut Desk, user: &str) -> Result<()> {
    let marks = (answering.mark(), other.mark());
    answering.clear_recordings()?;
    let invite = desk.phone.invite(user, "", &desk.media.sdp("sendrecv"))?;
    answering.wait_event(marks.0, &["CALL_INCOMING"], PATIENCE)?;
    other.wait_event(marks.1, &["CALL_INCOMING"], PATIENCE)?;
    answering.accept()?;
    let (mut dialog, answer) = desk.phone.wait_answered(&invite)?;
    desk.media.talk_to(&answer.body)?;
    established(answering, marks.0)?;
    other.wait_event(marks.1, &["CALL_CLOSED"], PATIENCE).context("the other stops ringing")?;
    sleep(LISTEN);
    hears(answering, DESK_HZ)?;
    desk_hears(&desk.media, answering.tone_hz())?;
    desk.media.fall_silent();
    desk.phone.hang_up(&mut dialog)?;
    answering.wait_event(marks.0, &["CALL_CLOSED"], PATIENCE).map(drop)
}

fn gives_up(first: &Phone, second: &Phone, desk: &mut Desk) -> Result<()> {
    let marks = (first.mark(), second.mark());
    let invite = desk.phone.invite("alice", "", &desk.media.sdp("sendrecv"))?;
    for (phone, mark) in [(first, marks.0), (second, marks.1)] {
        phone.wait_event(mark, &["CALL_INCOMING"], PATIENCE)?;
    }
    let answer = desk.phone.cancel(&invite)?;
    ensure!(answer.status() == Some(487), "the INVITE ended with {}", answer.first_line());
    for (phone, mark) in [(first, marks.0), (second, marks.1)] {
        phone.wait_event(mark, &["CALL_CLOSED"], PATIENCE)?;
    }
    Ok(())
}

fn call_waiting(dora: &mut Phone, bob: &mut Phone, desk: &mut Desk) -> Result<()> {
    let marks = (dora.mark(), bob.mark());
    bob.clear_recordings()?;
    bob.dial("dora")?;
    dora.wait_event(marks.0, &["CALL_INCOMING"], PATIENCE)?;
    dora.accept()?;
    established(bob, marks.1)?;
    established(dora, marks.0)?;
    sleep(LISTEN);
    hears(bob, dora.tone_hz())?;
    // The second call rings while the first is up; taking it holds the first.
    let marks = (dora.mark(), bob.mark());
    let invite = desk.phone.invite("dora", "", &desk.media.sdp("sendrecv"))?;
    dora.wait_event(marks.0, &["CALL_INCOMING"], PATIENCE)?;
    dora.accept()?;
    let (mut dialog, answer) = desk.phone.wait_answered(&invite)?;
    desk.media.talk_to(&answer.body)?;
    established(dora, marks.0)?;
    bob.wait_event(marks.1, &["CALL_REMOTE_SDP"], PATIENCE).context("the first call is held")?;
    desk_hears(&desk.media, dora.tone_hz())?;
    // Swap: the desk is held, bob is back.
    let mark = bob.mark();
    dora.hold()?;
    let reinvite = desk.phone.wait_request("INVITE", PATIENCE).context("the second call is held")?;
    desk.phone.accept(&reinvite, &desk.media.sdp("recvonly"))?;
    dora.choose(1)?;
    dora.resume()?;
    bob.wait_event(mark, &["CALL_REMOTE_SDP"], PATIENCE).context("the first call is resumed")?;
    let before = bob.station().media_packets()?;
    wait("packets after the swap", || bob.station().media_packets().is_ok_and(|now| now > before + 50))?;
    desk.media.fall_silent();
    desk.phone.hang_up(&mut dialog)?;
    let mark = dora.mark();
    bob.hang_up()?;
    dora.wait_event(mark, &["CALL_CLOSED"], PATIENCE).map(drop)
}
