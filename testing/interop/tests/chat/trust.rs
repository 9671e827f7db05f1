//! Servers inside that cannot show a right certificate get nobody's credentials, and the operator is told.

use crate::site::{SERVER, core_lines, door, edge_certificates, finish, ground, product_setup, server_certificate};
use anyhow::{Context as _, Result, ensure};
use edgeway_interop::certificates::{Authority, Certificate};
use edgeway_interop::chat_party::{PATIENCE, Party, PartySetup};
use edgeway_interop::chat_server::Make;
use edgeway_interop::process::wait_for;
use edgeway_interop::product::Product;
use edgeway_interop::report::Report;

/// A certificate of a CA the core does not know, and one for another name.
pub(crate) fn story(report: &Report) -> Result<()> {
    let (scratch, network) = ground(report)?;
    let authority = Authority::create(scratch.path(), "authority")?;
    let stranger = Authority::create(scratch.path(), "stranger")?;
    let ca = authority.certificate();
    let certificates = edge_certificates(&authority)?;
    let core = core_lines(scratch.path(), &ca)?;
    let cases: [(&str, &str, Certificate); 2] = [
        ("alice", "a server of an unknown CA is refused", server_certificate(&stranger, SERVER)?),
        ("bob", "a server of another name is refused", authority.issue("other.example.net")?),
    ];
    let mut product = None;
    let station = network.station_outside(0)?;
    for (user, what, certificate) in &cases {
        let mut server = Make::Prosody.start(&network.inside(), SERVER, certificate, scratch.path())?;
        if product.is_none() {
            product = Some(Product::start(&product_setup(&network, &certificates, core.clone(), &ca), scratch.path())?);
        }
        let product = product.as_ref().context("started above")?;
        report.scenario(what, || {
            let party = Party::start(station.host(), &PartySetup::new(user, "desk", door(), &ca), &scratch)?;
            let failed = party.wait_event(0, "failed_auth").with_context(|| product.log_tails())?;
            ensure!(failed["condition"] == "temporary-auth-failure", "{failed}");
            ensure!(party.count(0, "started") == 0, "it was let in");
            wait_for("alarm", PATIENCE, || alarm(product).is_some_and(|text| text.contains("certificate")))
                .with_context(|| {
                    format!("alarms: {:?}", product.core_status().map(|status| status["alarms"].clone()))
                })?;
            ensure!(!server.log().contains("Authenticated"), "somebody was authenticated");
            Ok(())
        });
        server.stop();
    }
    let server =
        Make::Prosody.start(&network.inside(), SERVER, &server_certificate(&authority, SERVER)?, scratch.path())?;
    let product = product.context("started above")?;
    report.scenario("with a right certificate people sign in, and the alarm ends", || {
        let party = Party::start(station.host(), &PartySetup::new("carol", "desk", door(), &ca), &scratch)?;
        party.wait_started().with_context(|| product.log_tails())?;
        wait_for("end of the alarm", PATIENCE, || alarm(&product).is_none())
    });
    drop((product, server));
    finish(report, &network, scratch);
    Ok(())
}

/// The core's alarm about a chat server, as text.
fn alarm(product: &Product) -> Option<String> {
    let status = product.core_status().ok()?;
    let alarms = status["alarms"].as_array()?.clone();
    alarms.iter().map(ToString::to_string).find(|text| text.contains("chat_server_down"))
}
