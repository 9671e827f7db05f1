//! Certificates: the right name passes, a wrong CA and a wrong name fail, the client's name chooses.

use anyhow::{Context, Result, ensure};
use edgeway_interop::product::{EDGE_NAME, SECOND_NAME};
use edgeway_interop::report::Report;
use edgeway_interop::wire_phone::WirePhone;
use edgeway_interop::world::{World, edge_address};
use std::path::Path;
use std::process::Stdio;

/// The edge's two certificates, judged by `openssl` and by a client of our own.
pub(crate) fn certificates(report: &Report, world: &World) -> Result<()> {
    let (good, wrong) = (world.site.authority.certificate(), world.site.stranger.certificate());
    report.scenario("openssl accepts the certificate for the name", || accepted(world, EDGE_NAME, EDGE_NAME, &good));
    report.scenario("openssl gets the second certificate by SNI", || accepted(world, SECOND_NAME, SECOND_NAME, &good));
    report.scenario("openssl refuses a wrong CA", || refused(world, EDGE_NAME, EDGE_NAME, &wrong));
    report.scenario("openssl refuses a wrong name", || refused(world, EDGE_NAME, "other.example.test", &good));
    report.scenario("openssl refuses the second name on the first certificate", || {
        refused(world, EDGE_NAME, SECOND_NAME, &good)
    });
    own_client(report, world)
}

/// The same checks where Kamailio shows the first certificate.
pub(crate) fn kamailio_certificate(report: &Report, world: &World) -> Result<()> {
    let (good, wrong) = (world.site.authority.certificate(), world.site.stranger.certificate());
    report.scenario("openssl accepts the certificate for the name", || accepted(world, EDGE_NAME, EDGE_NAME, &good));
    report.scenario("openssl refuses a wrong CA", || refused(world, EDGE_NAME, EDGE_NAME, &wrong));
    report.scenario("openssl refuses a wrong name", || refused(world, EDGE_NAME, "other.example.test", &good));
    Ok(())
}

fn own_client(report: &Report, world: &World) -> Result<()> {
    let (good, wrong) = (world.site.authority.certificate(), world.site.stranger.certificate());
    let connect = |name: &str, authority: &Path| {
        WirePhone::connect(&world.site.network.internet(), "wilma", edge_address(), name, authority)
    };
    report.scenario("our own client verifies the edge and chooses by SNI", || {
        let first = connect(EDGE_NAME, &good)?;
        let second = connect(SECOND_NAME, &good)?;
        let (one, other) = (first.shown_certificate(), second.shown_certificate());
        ensure!(one.is_some() && other.is_some() && one != other, "both names got the same certificate");
        Ok(())
    });
    report.scenario("our own client refuses a wrong CA and a wrong name", || {
        ensure!(connect(EDGE_NAME, &wrong).is_err(), "a wrong CA passed");
        ensure!(connect("other.example.test", &good).is_err(), "a wrong name passed");
        Ok(())
    });
    report.scenario("our own client registers over the verified connection", || {
        let mut phone = connect(EDGE_NAME, &good)?;
        let status = phone.register(600)?;
        ensure!(status == 200, "status {status}");
        let status = phone.register(0)?;
        ensure!(status == 200, "de-registration: status {status}");
        Ok(())
    });
    Ok(())
}

fn accepted(world: &World, server_name: &str, expected: &str, authority: &Path) -> Result<()> {
    let (passed, said) = openssl(world, server_name, expected, authority)?;
    ensure!(passed, "{said}");
    Ok(())
}

fn refused(world: &World, server_name: &str, expected: &str, authority: &Path) -> Result<()> {
    let (passed, said) = openssl(world, server_name, expected, authority)?;
    ensure!(!passed, "it passed: {said}");
    // Refused for the certificate, not for want of a server.
    ensure!(said.contains("verify error"), "no verification took place: {said}");
    Ok(())
}

/// Whether `openssl s_client` asking for `server_name` trusts the certificate for `expected`, and what it said.
fn openssl(world: &World, server_name: &str, expected: &str, authority: &Path) -> Result<(bool, String)> {
    let mut command = world.site.network.internet().command("openssl");
    command.args(["s_client", "-connect", &edge_address().to_string(), "-servername", server_name]);
    command.args(["-verify_return_error", "-verify_hostname", expected, "-CAfile"]).arg(authority);
    let output = command.stdin(Stdio::null()).output().context("start openssl")?;
    Ok((output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()))
}
