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

fn end(product: &Product, caller: &mut Phone, callee: &mut Phone) -> Result<()> {
    let marks = (caller.mark(), callee.mark());
    caller.dial(callee.user())?;
    established(caller, marks.0)?;
    established(callee, marks.1)?;
    sleep(TALK);
    let listed = asked(product, &["calls", "-o", "json"])?;
    let call = listed["calls"].as_array().and_then(|calls| calls.first()).context("the call is listed")?;
    let id = call["id"].to_string();
    let shown = asked(product, &["calls", "show", &id, "-o", "json"])?;
    let section = &shown["sections"][0];
    for way in ["inward", "outward"] {
        let packets = section["packets"][way].as_u64();
        ensure!(packets >= Some(50), "{packets:?} packets {way} after {TALK:?}: {shown}");
    }
    ensure!(section["codecs"].as_str().is_some_and(|codecs| !codecs.is_empty()), "no codec: {shown}");
    let marks = (caller.mark(), callee.mark());
    run(&mut product.core_command(&["calls", "end", &id])?)?;
    for (phone, mark) in [(&*caller, marks.0), (&*callee, marks.1)] {
        phone.wait_event(mark, &["CALL_CLOSED"], PATIENCE).with_context(|| format!("{} hears of it", phone.user()))?;
    }
    kamailio::wait("no call is left", || product.calls().is_ok_and(|calls| calls.current == 0))?;
    let untold = asked(product, &["events", "--id", "call.end_unheard", "-o", "json"])?;
    ensure!(untold["events"].as_array().is_some_and(Vec::is_empty), "somebody was not told: {untold}");
    Ok(())
}

fn asked(product: &Product, words: &[&str]) -> Result<Value> {
    let answer = run(&mut product.core_command(words)?)?;
    serde_json::from_str(&answer).with_context(|| answer.clone())
}
