//! Two edges, two cores: a core is killed, and everybody resumes through the other.

use crate::cuts::{conversation, resumed};
use crate::site::{chat_lines, core_lines, edge_certificates, finish, ground, product_setup, start_server};
use anyhow::{Context as _, Result};
use edgeway_interop::certificates::Authority;
use edgeway_interop::chat_party::{Party, PartySetup};
use edgeway_interop::chat_server::{CHAT_PORT, Make};
use edgeway_interop::network::{EDGE_PUBLIC, LINK_PORT, SECOND_CORE, SECOND_EDGE_LINK, SECOND_EDGE_PUBLIC};
use edgeway_interop::product::{HttpsSetup, ProductSetup, XmppSetup};
use edgeway_interop::quartet::{Quartet, Which};
use edgeway_interop::report::Report;
use serde_json::json;
use std::net::SocketAddr;

/// Alice comes by the first edge and Bob by the second. Only the first core is there, so both are carried by it; then the
/// second one is added and the first one killed, and the other way round.
pub(crate) fn story(report: &Report, make: Make) -> Result<()> {
    let (scratch, network) = ground(report)?;
    let authority = Authority::create(scratch.path(), "authority")?;
    let ca = authority.certificate();
    let server = start_server(make, &network, &authority, &scratch)?;
    let certificates = edge_certificates(&authority)?;
    let core = core_lines(scratch.path(), &ca)?;
    let first = product_setup(&network, &certificates, core.clone(), &ca);
    let door = SocketAddr::new(SECOND_EDGE_PUBLIC, CHAT_PORT);
    let second = ProductSetup {
        edge: SocketAddr::new(SECOND_EDGE_PUBLIC, 5061),
        link: SocketAddr::new(SECOND_EDGE_LINK, LINK_PORT),
        core: SocketAddr::new(SECOND_CORE, 5060),
        https: Some(HttpsSetup { listen: SocketAddr::new(SECOND_EDGE_PUBLIC, 8443), core }),
        xmpp: Some(XmppSetup { listen: door, direct_tls: None, core: chat_lines(&ca) }),
        media_ports: ("37000-37999", "37000-37999"),
        ..first.clone()
    };
    let mut product = Quartet::start(&[first, second], scratch.path())?;
    let stations = [network.station_outside(0)?, network.station_outside(1)?];
    let start = |user: &str, index: usize, address: SocketAddr| {
        Party::start(stations[index].host(), &PartySetup::new(user, "desk", address, &ca), &scratch)
    };
    let mut alice = start("alice", 0, SocketAddr::new(EDGE_PUBLIC, CHAT_PORT))?;
    let mut bob = start("bob", 1, door)?;
    report.scenario("two users sign in at two edges", || {
        alice.wait_started().and_then(|()| bob.wait_started()).with_context(|| product.log_tails())
    });
    if report.totals().1 == 0 {
        report.scenario("one goes to the other edge, and resumes there", || {
            let mark = alice.mark();
            alice.tell("move", json!({ "host": door.ip().to_string(), "port": door.port() }))?;
            conversation("other edge", &mut alice, &mut bob, || stations[0].reset_connections(CHAT_PORT))?;
            resumed(&alice, mark)
        });
        kills(report, &mut product, &mut alice, &mut bob);
    }
    drop((alice, bob, product, server));
    finish(report, &network, scratch);
    Ok(())
}

/// Each core in turn, while the other carries.
fn kills(report: &Report, product: &mut Quartet, alice: &mut Party, bob: &mut Party) {
    report.scenario("a second core is added", || conversation("added", alice, bob, || product.add_second_core()));
    report
        .scenario("the first core is killed: both resume by the second", || killed(product, Which::First, alice, bob));
    report.scenario("it is started again, and the second is killed", || {
        product.start_core(Which::First)?;
        killed(product, Which::Second, alice, bob)
    });
}

fn killed(product: &mut Quartet, which: Which, alice: &mut Party, bob: &mut Party) -> Result<()> {
    let marks = [alice.mark(), bob.mark()];
    let what = format!("{which:?} killed");
    conversation(&what, alice, bob, || product.kill_core(which)).with_context(|| product.log_tails())?;
    resumed(alice, marks[0])?;
    resumed(bob, marks[1])
}
