//! Cuts, resets and refusals.

use crate::calls::{Plan, Side, call};
use anyhow::{Context, Result, ensure};
use edgeway_interop::baresip::Phone;
use edgeway_interop::kamailio::{self, PATIENCE};
use edgeway_interop::product::EDGE_NAME;
use edgeway_interop::report::Report;
use edgeway_interop::wire_phone::WirePhone;
use edgeway_interop::world::{World, edge_address};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the link is cut.
const CUT: Duration = Duration::from_secs(2);
/// baresip waits between 30 and 60 s before it connects again: its pace, not ours.
const BARESIP_RETURN: Duration = Duration::from_secs(75);
/// A phone that is back gets its call within this time.
const RING_PATIENCE: Duration = Duration::from_secs(3);

/// A phone that offers no encryption is refused, and told so.
pub(crate) fn no_encryption(report: &Report, world: &World) -> Result<()> {
    let mut erin = world.site.outside_with("erin", 3, 1200.0, |setup| setup.encrypted = false)?;
    report.scenario("an offer without encryption gets 488", || {
        erin.wait_registered()?;
        let mark = erin.mark();
        erin.dial("alice")?;
        let closed = erin.wait_event(mark, &["CALL_CLOSED", "CALL_ESTABLISHED"], PATIENCE)?;
        ensure!(closed.kind == "CALL_CLOSED" && closed.detail.contains("488"), "{} {}", closed.kind, closed.detail);
        Ok(())
    });
    Ok(())
}

/// Digest is checked: a phone that does not know its password is not registered.
pub(crate) fn wrong_password(report: &Report, world: &World) -> Result<()> {
    let mallory = world.site.outside_with("mallory", 4, 1200.0, |setup| setup.password = "guess")?;
    report.scenario("a wrong password does not register", || {
        mallory.wait_refused(401)?;
        ensure!(mallory.registrations_since(0) == 0, "it registered all the same");
        Ok(())
    });
    Ok(())
}

/// DMZ and inside lose each other for two seconds; nobody has to register again and calls still pass.
pub(crate) fn link_cut(report: &Report, world: &mut World) {
    report.scenario("registrations survive a link cut of 2 s", || {
        let product = world.site.product.as_ref().context("the product")?;
        let before = product.registrations()?;
        let marks = (world.alice.mark(), world.bob.mark());
        world.site.network.cut_link()?;
        sleep(CUT);
        world.site.network.restore_link()?;
        ensure!(world.site.network.packets_cut()? > 0, "nothing crossed the link while it was cut");
        kamailio::wait("link back", || product.is_linked())?;
        let after = product.registrations()?;
        ensure!(after.current == before.current, "registrations {before:?}, then {after:?}");
        call(&mut world.alice, &mut world.bob, Plan::short(Side::Caller))?;
        let again = (world.alice.registrations_since(marks.0), world.bob.registrations_since(marks.1));
        ensure!(again == (0, 0), "phones registered again: {again:?}");
        Ok(())
    });
    report.scenario("a call survives a link cut of 2 s", || {
        let network = &world.site.network;
        let (alice, bob) = (&mut world.alice, &mut world.bob);
        std::thread::scope(|scope| {
            let cut = scope.spawn(|| -> Result<()> {
                sleep(Duration::from_secs(4));
                network.cut_link()?;
                sleep(CUT);
                network.restore_link()
            });
            // What was lost with the cut is missing in the recordings: ask for less than was said.
            let result = call_with_gap(alice, bob);
            cut.join().map_err(|_| anyhow::anyhow!("the cutting thread panicked"))??;
            result
        })
    });
}

/// A call of ten seconds of which half must be heard, most of it after the cut.
fn call_with_gap(alice: &mut edgeway_interop::baresip::Phone, bob: &edgeway_interop::baresip::Phone) -> Result<()> {
    alice.clear_recordings()?;
    bob.clear_recordings()?;
    let (mark, other_mark) = (alice.mark(), bob.mark());
    alice.dial("bob")?;
    alice.wait_event(mark, &["CALL_ESTABLISHED"], PATIENCE)?;
    sleep(Duration::from_secs(12));
    let ended = bob.wait_event(other_mark, &["CALL_CLOSED"], Duration::ZERO);
    ensure!(ended.is_err(), "the call ended by itself");
    let other_mark = bob.mark();
    alice.hang_up()?;
    bob.wait_event(other_mark, &["CALL_CLOSED"], PATIENCE)?;
    let alice = &*alice;
    for (ear, mouth) in [(alice, bob), (bob, alice)] {
        let heard = ear.heard(mouth.tone_hz())?;
        // Four seconds come before the cut: more than that proves that media came back.
        ensure!(heard.tone_seconds > 7.0, "{} after the cut: {heard:?}", ear.user());
    }
    Ok(())
}

/// The phone's TCP connection is reset, and the phone comes back.
pub(crate) fn connection_reset(report: &Report, world: &mut World) {
    own_phone_reset(report, world);
    report.scenario("a device that came back still counts once", || {
        let product = world.site.product.as_ref().context("the product")?;
        // Alice, Bob, and Wilma from the scenario before, who went without a word.
        let registrations = product.registrations()?;
        ensure!(registrations.current <= 4, "{registrations:?}");
        Ok(())
    });
    phone_connection_reset(report, world);
}

/// baresip reconnects at its own pace; from then on it can be called.
pub(crate) fn phone_connection_reset(report: &Report, world: &mut World) {
    report.scenario("after a TCP reset baresip registers again and is called", || {
        let mark = world.bob.mark();
        reset_connections(&world.bob)?;
        world.bob.wait_event(mark, &["REGISTER_OK"], BARESIP_RETURN).context("baresip comes back")?;
        call(&mut world.alice, &mut world.bob, Plan::short(Side::Callee))
    });
}

/// A phone of our own comes back at once and must be called at once, over the new connection.
pub(crate) fn own_phone_reset(report: &Report, world: &mut World) {
    report.scenario("after a TCP reset a phone is called as soon as it is back", || {
        let connect = || {
            let (internet, authority) = (world.site.network.internet(), world.site.authority.certificate());
            WirePhone::connect(&internet, "wilma", edge_address(), EDGE_NAME, &authority)
        };
        let mut before = connect()?;
        ensure!(before.register(600)? == 200, "first registration");
        before.reset()?;
        let mut after = connect()?;
        ensure!(after.register(600)? == 200, "registration after the reset");
        let registered = Instant::now();
        let mark = world.alice.mark();
        world.alice.dial("wilma")?;
        let invite = after.wait_request("INVITE", RING_PATIENCE)?;
        println!("        rang {:.0} ms after the registration", registered.elapsed().as_secs_f64() * 1000.0);
        after.answer(&invite, "486 Busy Here")?;
        let closed = world.alice.wait_event(mark, &["CALL_CLOSED"], PATIENCE)?;
        ensure!(closed.detail.contains("486"), "alice was told {}", closed.detail);
        Ok(())
    });
}

/// Resets every TCP connection from `phone` to the edge, at the phone's end.
fn reset_connections(phone: &Phone) -> Result<()> {
    let edge = edge_address().ip().to_string();
    let killed = phone.station().host().run("ss", &["-K", "-t", "dst", &edge, "dport", "=", ":5061"])?;
    ensure!(killed.lines().count() > 1, "{} has no connection to reset: {killed}", phone.user());
    Ok(())
}
