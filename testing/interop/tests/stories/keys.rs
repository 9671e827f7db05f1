//! Keys pressed during a call: telephone events (RFC 4733) and INFO, both ways.

use crate::cast::{Desk, desk_hears, established};
use anyhow::{Result, ensure};
use edgeway_interop::baresip::Phone;
use edgeway_interop::kamailio::PATIENCE;
use edgeway_interop::process::wait_for;
use edgeway_interop::report::Report;
use edgeway_interop::world::Site;
use std::thread::sleep;
use std::time::Duration;

const KEYS: &str = "1590#*";

pub(crate) fn story(report: &Report, site: &Site) -> Result<()> {
    let mut alice = site.outside("alice", 0, 440.0)?;
    let mut bob = site.outside("bob", 1, 660.0)?;
    let mut desk = Desk::register(site, "desk", 5070)?;
    alice.wait_registered()?;
    bob.wait_registered()?;
    report.scenario("telephone events between outside and inside, both ways", || events(&mut alice, &mut desk));
    report.scenario("keys as INFO from inside to outside, and the answer", || info(&mut alice, &mut desk));
    report.scenario("telephone events between two phones outside", || events_outside(&mut alice, &mut bob));
    Ok(())
}

fn events(alice: &mut Phone, desk: &mut Desk) -> Result<()> {
    let mark = alice.mark();
    alice.dial("desk")?;
    let invite = desk.phone.wait_request("INVITE", PATIENCE)?;
    desk.media.talk_to(&invite.body)?;
    let mut dialog = desk.phone.accept(&invite, &desk.media.sdp("sendrecv"))?;
    established(alice, mark)?;
    desk_hears(&desk.media, alice.tone_hz())?;
    desk.media.forget();
    alice.press(KEYS)?;
    wait_for("keys", PATIENCE, || desk.media.digits() == KEYS)
        .map_err(|error| error.context(format!("the desk got {:?}", desk.media.digits())))?;
    let mark = alice.mark();
    desk.media.press(KEYS);
    wait_for("keys", PATIENCE, || alice.keys_since(mark) == KEYS)
        .map_err(|error| error.context(format!("alice got {:?}", alice.keys_since(mark))))?;
    desk.phone.hang_up(&mut dialog)?;
    alice.wait_event(mark, &["CALL_CLOSED"], PATIENCE).map(drop)
}

fn info(alice: &mut Phone, desk: &mut Desk) -> Result<()> {
    let mark = alice.mark();
    let (mut dialog, answer) = desk.phone.call("alice", &desk.media.sdp("sendrecv"))?;
    desk.media.talk_to(&answer.body)?;
    established(alice, mark)?;
    let mark = alice.mark();
    for key in KEYS.chars() {
        let body = format!("Signal={key}\r\nDuration=160\r\n");
        let kind = "Content-Type: application/dtmf-relay\r\n";
        let answer = desk.phone.exchange_in(&mut dialog, "INFO", kind, &body)?;
        ensure!(answer.status() == Some(200), "INFO: {}", answer.first_line());
        // It ends a key after its duration.
        sleep(Duration::from_millis(250));
    }
    wait_for("keys", PATIENCE, || alice.keys_since(mark) == KEYS)
        .map_err(|error| error.context(format!("alice got {:?}", alice.keys_since(mark))))?;
    desk.phone.hang_up(&mut dialog)?;
    alice.wait_event(mark, &["CALL_CLOSED"], PATIENCE).map(drop)
}

fn events_outside(alice: &mut Phone, bob: &mut Phone) -> Result<()> {
    let marks = (alice.mark(), bob.mark());
    alice.dial("bob")?;
    established(alice, marks.0)?;
    established(bob, marks.1)?;
    sleep(Duration::from_secs(1));
    for (from, to) in [(&mut *alice, &mut *bob)] {
        press_and_hear(from, to)?;
        press_and_hear(to, from)?;
    }
    let mark = bob.mark();
    alice.hang_up()?;
    bob.wait_event(mark, &["CALL_CLOSED"], PATIENCE).map(drop)
}

fn press_and_hear(from: &mut Phone, to: &mut Phone) -> Result<()> {
    let mark = to.mark();
    from.press(KEYS)?;
    wait_for("keys", PATIENCE, || to.keys_since(mark) == KEYS)
        .map_err(|error| error.context(format!("{} got {:?}", to.user(), to.keys_since(mark))))
}
