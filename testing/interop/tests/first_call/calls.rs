//! Calls between real phones: both hear each other's tone, hold and resume work, either side hangs up.

use anyhow::{Context, Result, ensure};
use edgeway_interop::baresip::{Phone, PhoneEvent};
use edgeway_interop::kamailio::{self, PATIENCE};
use edgeway_interop::report::Report;
use edgeway_interop::world::World;
use std::thread::sleep;
use std::time::Duration;

/// How long both talk before anything else happens.
const TALK: Duration = Duration::from_secs(4);
/// How long media is watched on hold, and again after resuming.
const WATCH: Duration = Duration::from_secs(2);
/// What arrives at a phone in that time, at a packet every 20 ms.
const WATCH_PACKETS: u64 = 100;
/// Set-up and tear-down may cost this much of a recording.
const LOST_SECONDS_MAX: f64 = 1.0;

/// One side of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Caller,
    Callee,
}

/// What happens in a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How long they talk first.
    pub(crate) talk: Duration,
    /// Who puts the other on hold and resumes.
    pub(crate) hold_by: Option<Side>,
    /// Who ends it.
    pub(crate) hang_up_by: Side,
}

impl Plan {
    /// Talk, then hang up.
    pub(crate) fn short(hang_up_by: Side) -> Self {
        Self { talk: TALK, hold_by: None, hang_up_by }
    }

    fn with_hold(self, side: Side) -> Self {
        Self { hold_by: Some(side), ..self }
    }
}

/// Alice and Bob outside, each way.
pub(crate) fn between_outside_phones(report: &Report, world: &mut World) {
    let World { alice, bob, .. } = world;
    report.scenario("outside calls outside, caller holds and hangs up", || {
        call(alice, bob, Plan::short(Side::Caller).with_hold(Side::Caller))
    });
    report.scenario("outside calls outside the other way, callee hangs up", || {
        call(bob, alice, Plan::short(Side::Callee))
    });
}

/// Every direction across the edge.
pub(crate) fn every_direction(report: &Report, world: &mut World) -> Result<()> {
    between_outside_phones(report, world);
    let carol = world.carol.as_mut().context("a phone inside")?;
    let (alice, bob) = (&mut world.alice, &mut world.bob);
    report.scenario("outside calls inside, caller holds, callee hangs up", || {
        call(alice, carol, Plan::short(Side::Callee).with_hold(Side::Caller))
    });
    report.scenario("inside calls outside, caller holds and hangs up", || {
        call(carol, bob, Plan::short(Side::Caller).with_hold(Side::Caller))
    });
    Ok(())
}

/// Alice talks to Bob, and Dave to Carol inside, for a minute at the same time.
pub(crate) fn a_minute(report: &Report, world: &mut World) -> Result<()> {
    let mut dave = world.site.outside("dave", 2, 1020.0)?;
    report.scenario("a third phone registers", || dave.wait_registered());
    let plan = Plan { talk: Duration::from_secs(60), ..Plan::short(Side::Caller) };
    let carol = world.carol.as_mut().context("a phone inside")?;
    let (alice, bob) = (&mut world.alice, &mut world.bob);
    std::thread::scope(|scope| {
        scope.spawn(|| report.scenario("a minute between two phones outside", || call(alice, bob, plan)));
        report.scenario("a minute between outside and inside", || call(&mut dave, carol, plan));
    });
    report.scenario("status counted both calls", || {
        let calls = world.site.product.as_ref().context("the product")?.calls()?;
        ensure!(calls.peak >= 2, "{calls:?}");
        Ok(())
    });
    Ok(())
}

/// `edgeway status` after the calls of [`every_direction`].
pub(crate) fn status_counts(report: &Report, world: &World) {
    report.scenario("status counts registrations and calls", || {
        let product = world.site.product.as_ref().context("the product")?;
        kamailio::wait("calls back to 0", || product.calls().is_ok_and(|calls| calls.current == 0))?;
        let (registrations, calls) = (product.registrations()?, product.calls()?);
        ensure!(registrations.current == 2 && registrations.peak == 2, "registrations {registrations:?}");
        ensure!(calls.peak == 1, "calls {calls:?}");
        Ok(())
    });
}

/// Makes one call and judges it.
pub(crate) fn call(caller: &mut Phone, callee: &mut Phone, plan: Plan) -> Result<()> {
    let result = try_call(caller, callee, plan);
    if result.is_err() {
        // Whatever is left of it must not stand in the way of the next.
        let _ = caller.hang_up();
        let _ = callee.hang_up();
        sleep(Duration::from_millis(500));
    }
    result
}

fn try_call(caller: &mut Phone, callee: &mut Phone, plan: Plan) -> Result<()> {
    caller.clear_recordings()?;
    callee.clear_recordings()?;
    let marks = (caller.mark(), callee.mark());
    let callee_name = callee.user().to_owned();
    caller.dial(&callee_name)?;
    established(caller, marks.0)?;
    established(callee, marks.1)?;
    sleep(plan.talk);
    if let Some(side) = plan.hold_by {
        let (holder, held) =
            if side == Side::Caller { (&mut *caller, &mut *callee) } else { (&mut *callee, &mut *caller) };
        hold_and_resume(holder, held)?;
    }
    for (phone, mark) in [(&*caller, marks.0), (&*callee, marks.1)] {
        let ended = phone.wait_event(mark, &["CALL_CLOSED"], Duration::ZERO);
        ensure!(ended.is_err(), "{}: the call ended by itself", phone.user());
    }
    let (ending, other) =
        if plan.hang_up_by == Side::Caller { (&mut *caller, &*callee) } else { (&mut *callee, &*caller) };
    let marks = (ending.mark(), other.mark());
    ending.hang_up()?;
    other.wait_event(marks.1, &["CALL_CLOSED"], PATIENCE).context("the other side hears of the hang-up")?;
    // Its own report may come late, and must not be taken for the next call's.
    ending.wait_event(marks.0, &["CALL_CLOSED"], PATIENCE)?;
    heard(caller, callee, plan.talk)?;
    heard(callee, caller, plan.talk)
}

pub(crate) fn established(phone: &Phone, mark: usize) -> Result<()> {
    let PhoneEvent { kind, detail } = phone.wait_event(mark, &["CALL_ESTABLISHED", "CALL_CLOSED"], PATIENCE)?;
    ensure!(kind == "CALL_ESTABLISHED", "{}: the call was not established: {detail}", phone.user());
    Ok(())
}

/// While on hold nothing arrives at the holder; after resuming it does again.
fn hold_and_resume(holder: &mut Phone, held: &Phone) -> Result<()> {
    let undecryptable = (holder.undecryptable(), held.undecryptable());
    let mark = held.mark();
    holder.hold()?;
    held.wait_event(mark, &["CALL_REMOTE_SDP"], PATIENCE).context("the re-INVITE that holds")?;
    let on_hold = packets_while_watching(holder)?;
    ensure!(on_hold < WATCH_PACKETS / 5, "{} still received {on_hold} packets on hold", holder.user());
    let mark = held.mark();
    holder.resume()?;
    held.wait_event(mark, &["CALL_REMOTE_SDP"], PATIENCE).context("the re-INVITE that resumes")?;
    for phone in [&*holder, held] {
        let resumed = packets_while_watching(phone)?;
        ensure!(resumed > WATCH_PACKETS * 4 / 5, "{} received only {resumed} packets after resuming", phone.user());
    }
    let after = (holder.undecryptable(), held.undecryptable());
    ensure!(after == undecryptable, "packets that could not be decrypted: {undecryptable:?}, then {after:?}");
    Ok(())
}

/// Media packets that arrive at `phone` while it is watched, a moment from now.
fn packets_while_watching(phone: &Phone) -> Result<u64> {
    sleep(Duration::from_millis(500));
    let before = phone.station().media_packets()?;
    sleep(WATCH);
    Ok(phone.station().media_packets()? - before)
}

/// `listener` heard the tone of `speaker` for nearly all the time.
fn heard(listener: &Phone, speaker: &Phone, talked: Duration) -> Result<()> {
    let heard = listener.heard(speaker.tone_hz())?;
    let wanted = talked.as_secs_f64() - LOST_SECONDS_MAX;
    let (ear, mouth) = (listener.user(), speaker.user());
    ensure!(heard.tone_seconds >= wanted, "{ear} should have heard {mouth} for {wanted} s at least: {heard:?}");
    Ok(())
}
