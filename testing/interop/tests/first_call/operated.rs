//! Calls that an operator ends: both phones hang up, as they would on each other, and the product has nothing left of it.

use anyhow::{Context, Result, ensure};
use edgeway_interop::baresip::Phone;
use edgeway_interop::host::run;
use edgeway_interop::kamailio::{self, PATIENCE};
use edgeway_interop::product::Product;
use edgeway_interop::report::Report;
use edgeway_interop::world::World;
use serde_json::Value;
use std::thread::sleep;
use std::time::Duration;

use crate::calls::established;

/// How long they talk.
const TALK: Duration = Duration::from_secs(3);

/// In every direction across the edge.
pub(crate) fn ended_by_an_operator(report: &Report, world: &mut World) -> Result<()> {
    let product = world.site.product.as_ref().context("the product")?;
    let carol = world.carol.as_mut().context("a phone inside")?;
    let (alice, bob) = (&mut world.alice, &mut world.bob);
    report.scenario("an operator ends a call from outside to outside", || end(product, alice, bob));
    report.scenario("an operator ends a call from outside to inside", || end(product, alice, carol));
    report.scenario("an operator ends a call from inside to outside", || end(product, carol, bob));
    Ok(())
}

/// Over TLS inside, where the registrar is the one that dials us.
pub(crate) fn ended_over_tls(report: &Report, product: &Product, alice: &mut Phone, bob: &Phone) {
    report.scenario("an operator ends a call over TLS inside", || end(product, alice, bob));
}

/// Calls in other moments: on hold, with requests of both sides behind them, and while they ring.
pub(crate) fn ended_at_other_times(report: &Report, world: &mut World) -> Result<()> {
    let mut dora = world.site.outside_with("dora", 3, 770.0, |setup| setup.answers = false)?;
    report.scenario("a phone that only rings registers", || dora.wait_registered());
    let product = world.site.product.as_ref().context("the product")?;
    let carol = world.carol.as_mut().context("a phone inside")?;
    let (alice, bob) = (&mut world.alice, &mut world.bob);
    report.scenario("an operator ends a call that both have put on hold", || end_on_hold(product, alice, bob));
    report.scenario("an operator ends a call outside that rings", || end_ringing(product, alice, &dora));
    report.scenario("an operator ends a call from inside that rings", || end_ringing(product, carol, &dora));
    report.scenario("the phone that rang takes the next call", || {
        let marks = (alice.mark(), dora.mark());
        alice.dial(dora.user())?;
        dora.wait_event(marks.1, &["CALL_INCOMING"], PATIENCE)?;
        dora.accept()?;
        established(alice, marks.0)?;
        alice.hang_up()?;
        dora.wait_event(marks.1, &["CALL_CLOSED"], PATIENCE).map(drop)
    });
    Ok(())
}

fn end(product: &Product, caller: &mut Phone, callee: &Phone) -> Result<()> {
    connect(caller, callee)?;
    sleep(TALK);
    let call = listed(product)?;
    let id = call["id"].to_string();
    let shown = asked(product, &["calls", "show", &id, "-o", "json"])?;
    let section = &shown["sections"][0];
    for way in ["inward", "outward"] {
        let packets = section["packets"][way].as_u64();
        ensure!(packets >= Some(50), "{packets:?} packets {way} after {TALK:?}: {shown}");
    }
    ensure!(section["codecs"].as_str().is_some_and(|codecs| !codecs.is_empty()), "no codec: {shown}");
    hung_up_on(product, caller, callee).map(drop)
}

fn end_on_hold(product: &Product, caller: &mut Phone, callee: &mut Phone) -> Result<()> {
    connect(caller, callee)?;
    let marks = (caller.mark(), callee.mark());
    caller.hold()?;
    callee.wait_event(marks.1, &["CALL_REMOTE_SDP"], PATIENCE).context("the caller's re-INVITE")?;
    // The answer has to be there before the other side asks for something.
    sleep(Duration::from_millis(500));
    let mark = caller.mark();
    callee.hold()?;
    caller.wait_event(mark, &["CALL_REMOTE_SDP"], PATIENCE).context("the callee's re-INVITE")?;
    sleep(Duration::from_millis(500));
    hung_up_on(product, caller, callee).map(drop)
}

fn end_ringing(product: &Product, caller: &mut Phone, callee: &Phone) -> Result<()> {
    let mark = callee.mark();
    caller.dial(callee.user())?;
    callee.wait_event(mark, &["CALL_INCOMING"], PATIENCE)?;
    kamailio::wait("it is listed", || listed(product).is_ok_and(|call| call["state"] == "setting_up"))?;
    let heard = hung_up_on(product, caller, callee)?;
    ensure!(heard.contains("487"), "the caller was told {heard}");
    Ok(())
}

fn connect(caller: &mut Phone, callee: &Phone) -> Result<()> {
    let marks = (caller.mark(), callee.mark());
    caller.dial(callee.user())?;
    established(caller, marks.0)?;
    established(callee, marks.1)
}

/// The operator's part: ends the only call there is, whereupon both phones close it. What the caller's phone says of it.
fn hung_up_on(product: &Product, caller: &Phone, callee: &Phone) -> Result<String> {
    let id = listed(product)?["id"].to_string();
    let marks = (caller.mark(), callee.mark());
    run(&mut product.core_command(&["calls", "end", &id])?)?;
    let heard = |phone: &Phone, mark| {
        phone.wait_event(mark, &["CALL_CLOSED"], PATIENCE).with_context(|| format!("{} hears of it", phone.user()))
    };
    heard(callee, marks.1)?;
    let heard = heard(caller, marks.0)?.detail;
    kamailio::wait("no call is left", || product.calls().is_ok_and(|calls| calls.current == 0))?;
    let untold = asked(product, &["events", "--id", "call.end_unheard", "-o", "json"])?;
    ensure!(untold["events"].as_array().is_some_and(Vec::is_empty), "somebody was not told: {untold}");
    Ok(heard)
}

fn listed(product: &Product) -> Result<Value> {
    let listed = asked(product, &["calls", "-o", "json"])?;
    let call = listed["calls"].as_array().and_then(|calls| calls.first());
    call.cloned().context("the call is listed")
}

fn asked(product: &Product, words: &[&str]) -> Result<Value> {
    let answer = run(&mut product.core_command(words)?)?;
    serde_json::from_str(&answer).with_context(|| answer.clone())
}
