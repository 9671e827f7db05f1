//! Chat: real clients outside, a real IM server inside, an edge and a core in between.
//!
//! Runs like `first_call`: as root, with `EDGEWAY_INTEROP=1` and `EDGEWAY_BIN_DIR`. `EDGEWAY_INTEROP=direct` needs no
//! Edgeway: the clients talk to the server itself, which proves the scripts. The clients are slixmpp and profanity, the
//! servers Prosody and ejabberd; each is told the same story.

mod console;
mod cuts;
mod door;
mod files;
mod sessions;
mod site;
mod talk;
mod trust;
mod two;

use anyhow::Result;
use edgeway_interop::chat_server::Make;
use edgeway_interop::report::{Program, Report, Story};
use edgeway_interop::requirement;
use site::{Front, Site};
use std::process::ExitCode;

/// Through the product.
const PRODUCT_STORIES: &[Story] = &[
    ("prosody, talk", |report| talk_story(report, Make::Prosody, Front::Product)),
    ("ejabberd, talk", |report| talk_story(report, Make::Ejabberd, Front::Product)),
    ("prosody, cuts", |report| cut_story(report, Make::Prosody, Front::Product)),
    ("ejabberd, cuts", |report| cut_story(report, Make::Ejabberd, Front::Product)),
    ("prosody, two cores", |report| two::story(report, Make::Prosody)),
    ("ejabberd, two cores", |report| two::story(report, Make::Ejabberd)),
    ("certificates", trust::story),
];

/// Without the product.
const DIRECT_STORIES: &[Story] = &[
    ("prosody itself, talk", |report| talk_story(report, Make::Prosody, Front::Server)),
    ("ejabberd itself, talk", |report| talk_story(report, Make::Ejabberd, Front::Server)),
    ("prosody itself, cuts", |report| cut_story(report, Make::Prosody, Front::Server)),
    ("ejabberd itself, cuts", |report| cut_story(report, Make::Ejabberd, Front::Server)),
];

fn main() -> ExitCode {
    let requirements = &[requirement::CHAT];
    Program { name: "chat", requirements, product: PRODUCT_STORIES, direct: DIRECT_STORIES }.main()
}

/// What people do all day.
fn talk_story(report: &Report, make: Make, front: Front) -> Result<()> {
    let site = Site::build(report, make, front)?;
    talk::story(report, &site)?;
    console::story(report, &site)?;
    if front == Front::Product {
        door::story(report, &site);
    }
    site.finish(report)
}

/// What their networks do to them.
fn cut_story(report: &Report, make: Make, front: Front) -> Result<()> {
    let mut site = Site::build(report, make, front)?;
    cuts::story(report, &mut site)?;
    site.finish(report)
}
