//! First call: real phones outside register and call through an edge and a core to a real registrar.
//!
//! Runs as root with `EDGEWAY_INTEROP=1` and `EDGEWAY_BIN_DIR` naming the built programs; a missing tool then
//! fails with the Debian package that brings it. `EDGEWAY_INTEROP=direct` needs no Edgeway: the phones register
//! at Kamailio over TLS, which proves the harness. Otherwise it says so and runs nothing. Arguments without a
//! dash choose worlds by part of their name.
//!
//! Every world has its own namespaces, so worlds run side by side; inside a world scenarios run one after the
//! other, because a phone holds one call at a time.

mod calls;
mod faults;
mod operated;
mod registrars;
mod trust;

use anyhow::Result;
use edgeway_interop::product::Transport;
use edgeway_interop::report::{Program, Report, Story};
use edgeway_interop::requirement;
use edgeway_interop::world::{Front, World};
use std::process::ExitCode;

/// Through the product: Path headers On and Off, the registrar over TCP and UDP.
const PRODUCT_STORIES: &[Story] = &[
    ("path on, registrar over tcp", |report| short_story(report, product_front(true, Transport::Tcp))),
    ("path off, registrar over udp", |report| short_story(report, product_front(false, Transport::Udp))),
    ("path on, registrar over udp", |report| short_story(report, product_front(true, Transport::Udp))),
    ("path off, registrar over tcp", |report| short_story(report, product_front(false, Transport::Tcp))),
    ("a minute", minute_story),
    ("trust and faults", fault_story),
    ("two registrars over tls", registrars::story),
];

/// Without the product.
const DIRECT_STORIES: &[Story] = &[("harness", direct_story)];

fn main() -> ExitCode {
    let requirements = &[requirement::INTEROP];
    Program { name: "first_call", requirements, product: PRODUCT_STORIES, direct: DIRECT_STORIES }.main()
}

fn product_front(path_headers: bool, transport: Transport) -> Front {
    Front::Product { path_headers, transport }
}

/// Calls in every direction, with hold, and nothing that came in through the firewall.
fn short_story(report: &Report, front: Front) -> Result<()> {
    let mut world = World::build(report, front)?;
    calls::every_direction(report, &mut world)?;
    operated::ended_by_an_operator(report, &mut world)?;
    calls::status_counts(report, &world);
    world.finish(report)
}

/// A call of a minute outside and one to the inside, at the same time; then calls that an operator ends.
fn minute_story(report: &Report) -> Result<()> {
    let mut world = World::build(report, product_front(true, Transport::Tcp))?;
    calls::a_minute(report, &mut world)?;
    operated::ended_at_other_times(report, &mut world)?;
    world.finish(report)
}

/// Certificates, cuts, resets and refusals.
fn fault_story(report: &Report) -> Result<()> {
    let mut world = World::build(report, product_front(true, Transport::Tcp))?;
    trust::certificates(report, &world)?;
    faults::no_encryption(report, &world)?;
    faults::wrong_password(report, &world)?;
    faults::link_cut(report, &mut world);
    faults::connection_reset(report, &mut world);
    world.finish(report)
}

/// The harness itself: phones, tones, hold and hang-up, with Kamailio in the edge's place.
fn direct_story(report: &Report) -> Result<()> {
    let mut world = World::build(report, Front::Kamailio)?;
    calls::between_outside_phones(report, &mut world);
    trust::kamailio_certificate(report, &world)?;
    faults::wrong_password(report, &world)?;
    faults::phone_connection_reset(report, &mut world);
    faults::own_phone_reset(report, &mut world);
    world.firewall_counts(report)?;
    world.finish(report)
}
