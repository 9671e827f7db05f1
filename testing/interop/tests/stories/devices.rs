//! Several devices of one user, and several calls of one device.

use crate::cast::{DESK_HZ, Desk, LISTEN, SECURE_SDP, desk_hears, established, hears};
use anyhow::{Context, Result, ensure};
use edgeway_interop::baresip::Phone;
use edgeway_interop::kamailio::{PATIENCE, wait};
use edgeway_interop::message::Message;
use edgeway_interop::report::Report;
use edgeway_interop::wire_phone::WirePhone;
use edgeway_interop::world::Site;
use std::thread::sleep;
use std::time::Duration;

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
    let mut first = site.wire_outside_with("frank", ";q=1.0")?;
    let mut second = site.wire_outside_with("frank", ";q=0.3")?;
    report.scenario("one after the other: the first is busy, the second rings, the caller gives up", || {
        busy_then_next(&mut first, &mut second, &mut desk)
    });
    report.scenario("one after the other: the first does not answer and stops, the second does", || {
        silent_then_next(&mut first, &mut second, &mut desk)
    });
    Ok(())
}

/// Nothing rings at the second device as long as this.
const ALONE: Duration = Duration::from_secs(1);

fn busy_then_next(first: &mut WirePhone, second: &mut WirePhone, desk: &mut Desk) -> Result<()> {
    let sent = desk.phone.invite("frank", "", &desk.media.sdp("sendrecv"))?;
    let invite = first.wait_request("INVITE", PATIENCE)?;
    ensure!(!second.gets_request("INVITE", ALONE), "both were rung at once");
    first.answer(&invite, "486 Busy Here")?;
    let invite = second.wait_request("INVITE", PATIENCE)?;
    second.answer(&invite, "180 Ringing")?;
    desk.phone.wait_response(&sent, 180, PATIENCE)?;
    desk.phone.start_cancel(&sent)?;
    give_up(second, &invite)?;
    let answer = desk.phone.wait_response(&sent, 200, PATIENCE)?;
    ensure!(answer.status() == Some(487), "the caller was told {}", answer.first_line());
    Ok(())
}

fn silent_then_next(first: &mut WirePhone, second: &mut WirePhone, desk: &mut Desk) -> Result<()> {
    let sent = desk.phone.invite("frank", "", &desk.media.sdp("sendrecv"))?;
    let invite = first.wait_request("INVITE", PATIENCE)?;
    first.answer(&invite, "180 Ringing")?;
    give_up(first, &invite).context("the first is cancelled when its time is over")?;
    let invite = second.wait_request("INVITE", PATIENCE)?;
    second.answer_with(&invite, "200 OK", "", SECURE_SDP)?;
    let (mut dialog, answer) = desk.phone.wait_answered(&sent)?;
    ensure!(!answer.body.contains("a=crypto:"), "the answer inside is {}", answer.body);
    second.wait_request("ACK", PATIENCE)?;
    let sent = desk.phone.send_in(&mut dialog, "BYE", "", "")?;
    let bye = second.wait_request("BYE", PATIENCE)?;
    second.answer(&bye, "200 OK")?;
    desk.phone.wait_response(&sent, 200, PATIENCE).map(drop)
}

/// What a phone does with a CANCEL.
fn give_up(phone: &mut WirePhone, invite: &Message) -> Result<()> {
    let cancel = phone.wait_request("CANCEL", PATIENCE)?;
    phone.answer(&cancel, "200 OK")?;
    phone.answer(invite, "487 Request Terminated")
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
