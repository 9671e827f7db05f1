//! Two registrars over TLS, of which one dies; and a third that nobody we trust has certified.

use crate::calls::{Plan, Side, call};
use anyhow::{Context, Result, ensure};
use edgeway_interop::kamailio;
use edgeway_interop::report::Report;
use edgeway_interop::world::Site;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Phones come back to the other registrar with their next refresh.
const REGISTRATION_SECONDS: u32 = 60;
/// A client that registers anew after a registrar has died waits no longer.
const FAILOVER: Duration = Duration::from_secs(5);

pub(crate) fn story(report: &Report) -> Result<()> {
    let (mut site, others) = Site::build_tls(report)?;
    let mut alice = site.outside_with("alice", 0, 440.0, |setup| setup.registration_seconds = REGISTRATION_SECONDS)?;
    let mut bob = site.outside_with("bob", 1, 660.0, |setup| setup.registration_seconds = REGISTRATION_SECONDS)?;
    report.scenario("phones register over TLS, both ends proven", || {
        alice.wait_registered()?;
        bob.wait_registered()
    });
    report.scenario("status tells who is trusted, and why another is not", || {
        kamailio::wait("the registrars' states", || {
            states(&site).is_ok_and(|states| states == ["alive", "alive", "failed"])
        })
        .with_context(|| format!("{:?}", registrars(&site)))?;
        let rows = registrars(&site)?;
        let why = rows[2]["why"].as_str().unwrap_or_default();
        ensure!(why.contains("signed by nobody we trust"), "{rows:?}");
        ensure!(rows[0]["transport"] == "tls", "{rows:?}");
        Ok(())
    });
    report.scenario("a call over TLS inside, the registrar dials us", || {
        call(&mut alice, &mut bob, Plan::short(Side::Caller))
    });
    crate::operated::ended_over_tls(report, site.product.as_ref().context("the product")?, &mut alice, &bob);
    let marks = (alice.mark(), bob.mark());
    site.stop_registrar();
    report.scenario("a new phone registers at the other within 5 s", || {
        let start = Instant::now();
        let mut wilma = site.wire_outside("wilma")?;
        ensure!(start.elapsed() < FAILOVER, "it took {:?}", start.elapsed());
        ensure!(wilma.register(0)? == 200, "and goes again");
        Ok(())
    });
    report.scenario("registrations go on at the other, and calls work", || {
        let patience = Duration::from_secs(u64::from(REGISTRATION_SECONDS) + 10);
        edgeway_interop::process::wait_for("phones refreshed", patience, || {
            alice.registrations_since(marks.0) > 0 && bob.registrations_since(marks.1) > 0
        })?;
        call(&mut bob, &mut alice, Plan::short(Side::Callee))
    });
    drop((alice, bob));
    site.finish(report)?;
    drop(others);
    Ok(())
}

fn registrars(site: &Site) -> Result<Vec<Value>> {
    let status = site.product.as_ref().context("the product")?.core_status()?;
    status["registrars"].as_array().cloned().context("a list of registrars")
}

fn states(site: &Site) -> Result<Vec<String>> {
    let state = |row: &Value| row["state"].as_str().unwrap_or_default().to_owned();
    Ok(registrars(site)?.iter().map(state).collect())
}
