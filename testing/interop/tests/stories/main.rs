//! Stories: what people do with telephones, between real clients and a real registrar, through edge and core.
//!
//! Runs like `first_call`: as root, with `EDGEWAY_INTEROP=1` and `EDGEWAY_BIN_DIR`. Outside stand baresip and Linphone,
//! inside Kamailio, baresip and a party of our own, which says and expects what a client cannot be made to: a server
//! with hold music, a voice mail that notifies, a phone that rings and is not answered.

mod cast;
mod devices;
mod keys;
mod linphone;
mod media;
mod requests;
mod transfer;

use anyhow::Result;
use edgeway_interop::product::Transport;
use edgeway_interop::report::{Program, Report, Story};
use edgeway_interop::requirement;
use edgeway_interop::world::{Front, Site};
use std::process::ExitCode;

/// Through the product.
const PRODUCT_STORIES: &[Story] = &[
    ("keys", keys_story),
    ("media", media_story),
    ("devices", devices_story),
    ("devices, path off", devices_path_off_story),
    ("transfer", transfer_story),
    ("requests", requests_story),
    ("linphone", linphone_story),
    ("linphone transfers", linphone_transfer_story),
];

/// The same clients with Kamailio in the edge's place: what fails there too is not ours.
const DIRECT_STORIES: &[Story] = &[];

fn main() -> ExitCode {
    let requirements = &[requirement::INTEROP, requirement::STORIES];
    Program { name: "stories", requirements, product: PRODUCT_STORIES, direct: DIRECT_STORIES }.main()
}

fn site(report: &Report, path_headers: bool, transport: Transport, defines: &[&str]) -> Result<Site> {
    let defines: Vec<String> = defines.iter().map(|define| (*define).to_owned()).collect();
    Site::build(report, Front::Product { path_headers, transport }, &defines)
}

fn keys_story(report: &Report) -> Result<()> {
    let site = site(report, true, Transport::Tcp, &[])?;
    keys::story(report, &site)?;
    site.finish(report)
}

fn media_story(report: &Report) -> Result<()> {
    let site = site(report, true, Transport::Tcp, &[])?;
    media::story(report, &site)?;
    site.finish(report)
}

fn devices_story(report: &Report) -> Result<()> {
    let site = site(report, true, Transport::Tcp, &["SERIAL_FORKING"])?;
    devices::story(report, &site)?;
    devices::one_after_the_other(report, &site)?;
    site.finish(report)
}

fn devices_path_off_story(report: &Report) -> Result<()> {
    let site = site(report, false, Transport::Udp, &[])?;
    devices::story(report, &site)?;
    site.finish(report)
}

fn transfer_story(report: &Report) -> Result<()> {
    let site = site(report, true, Transport::Udp, &[])?;
    transfer::story(report, &site)?;
    site.finish(report)
}

fn requests_story(report: &Report) -> Result<()> {
    let site = site(report, true, Transport::Tcp, &["WITH_SERVER"])?;
    requests::story(report, &site)?;
    site.finish(report)
}

fn linphone_story(report: &Report) -> Result<()> {
    let site = site(report, true, Transport::Tcp, &[])?;
    linphone::story(report, &site)?;
    site.finish(report)
}

fn linphone_transfer_story(report: &Report) -> Result<()> {
    let site = site(report, true, Transport::Tcp, &[])?;
    linphone::transfers(report, &site)?;
    site.finish(report)
}
