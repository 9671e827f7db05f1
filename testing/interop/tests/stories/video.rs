//! Video calls: VP8 of a drawn picture beside the tone, over the same edge and core.

use crate::cast::{LISTEN, established, hears};
use anyhow::{Context, Result, ensure};
use edgeway_interop::baresip::Phone;
use edgeway_interop::kamailio::PATIENCE;
use edgeway_interop::report::Report;
use edgeway_interop::world::Site;
use std::thread::sleep;

/// Packets of one stream in [`LISTEN`]: the picture comes ten times a second.
const STREAM_PACKETS_MIN: u64 = 15;

pub(crate) fn story(report: &Report, site: &Site) -> Result<()> {
    let mut alice = site.outside_with("alice", 0, 440.0, |setup| setup.video = true)?;
    let mut bob = site.outside_with("bob", 1, 660.0, |setup| setup.video = true)?;
    let mut carol = site.inside_with("carol", 0, 880.0, |setup| setup.video = true)?;
    let mut dave = site.outside("dave", 2, 550.0)?;
    for phone in [&alice, &bob, &carol, &dave] {
        phone.wait_registered()?;
    }
    report.scenario("video between two phones outside", || call(&mut alice, &mut bob, 2));
    report.scenario("video from outside to inside", || call(&mut alice, &mut carol, 2));
    report.scenario("video from inside to outside", || call(&mut carol, &mut bob, 2));
    report.scenario("video offered to a phone that has none: sound", || call(&mut alice, &mut dave, 1));
    Ok(())
}

/// A call in which both get so many streams, hear each other, and can decrypt everything.
fn call(caller: &mut Phone, callee: &mut Phone, streams: usize) -> Result<()> {
    let result = try_call(caller, callee, streams);
    if result.is_err() {
        // Whatever is left of it must not stand in the way of the next.
        let _ = caller.hang_up();
        let _ = callee.hang_up();
        sleep(LISTEN / 3);
    }
    result
}

fn try_call(caller: &mut Phone, callee: &Phone, streams: usize) -> Result<()> {
    caller.clear_recordings()?;
    callee.clear_recordings()?;
    let marks = (caller.mark(), callee.mark());
    caller.dial(callee.user())?;
    established(caller, marks.0)?;
    established(callee, marks.1)?;
    sleep(LISTEN / 3);
    let before = (caller.station().media_packets_by_port()?, callee.station().media_packets_by_port()?);
    sleep(LISTEN);
    for (phone, before) in [(&*caller, before.0), (callee, before.1)] {
        let mut after = phone.station().media_packets_by_port()?;
        for (port, packets) in &mut after {
            *packets -= before.get(port).unwrap_or(&0);
        }
        // RTCP has odd ports and few packets.
        let flowing = after.values().filter(|packets| **packets >= STREAM_PACKETS_MIN).count();
        ensure!(flowing == streams, "{} gets {flowing} streams, not {streams}: {after:?}", phone.user());
        ensure!(phone.undecryptable() == 0, "{} could not decrypt {} packets", phone.user(), phone.undecryptable());
    }
    hears(caller, callee.tone_hz())?;
    hears(callee, caller.tone_hz())?;
    let mark = callee.mark();
    caller.hang_up()?;
    callee.wait_event(mark, &["CALL_CLOSED"], PATIENCE).context("the other side hears of the hang-up")?;
    caller.wait_event(marks.0, &["CALL_CLOSED"], PATIENCE).map(drop)
}
