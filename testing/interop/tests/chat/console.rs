//! Profanity: another make of client, by another make of library.

use crate::site::{Site, door};
use anyhow::{Context as _, Result};
use edgeway_interop::chat_console::Console;
use edgeway_interop::kamailio::DOMAIN;
use edgeway_interop::report::Report;
use serde_json::json;

/// Carol at a console, and Dave with a client of the other make.
pub(crate) fn story(report: &Report, site: &Site) -> Result<()> {
    let (here, there) = (site.network.station_outside(3)?, site.network.station_outside(4)?);
    let mut dave = site.party("dave", "desk", &there)?;
    let mut console = None;
    report.scenario("profanity signs in", || {
        dave.wait_started()?;
        let ca = site.authority.certificate();
        let carol = Console::start(here.host(), "carol", door(), &ca, &site.scratch)?;
        carol.wait_shown(0, "logged in successfully").with_context(|| site.logs())?;
        console = Some(carol);
        Ok(())
    });
    let Some(carol) = &mut console else { return Ok(()) };
    report.scenario("profanity: roster", || {
        let mark = carol.mark();
        carol.enter(&format!("/roster add {} Davey", dave.bare()))?;
        carol.wait_shown(mark, &format!("Roster item added: {} (Davey)", dave.bare()))?;
        let mark = carol.mark();
        carol.enter("/roster")?;
        carol.wait_shown(mark, &format!("{} (Davey)", dave.bare()))
    });
    report.scenario("profanity: messages, both ways", || {
        let mark = dave.mark();
        carol.enter(&format!("/msg {} typed at a console", dave.bare()))?;
        dave.wait_message(mark, "typed at a console")?;
        let shown = carol.mark();
        dave.say(&format!("carol@{DOMAIN}"), "read-at-a-console")?;
        carol.wait_shown(shown, "read-at-a-console")
    });
    report.scenario("profanity: a room, both ways", || {
        let room = format!("cellar@rooms.{DOMAIN}");
        let mark = carol.mark();
        carol.enter(&format!("/join {room} nick Carol"))?;
        carol.wait_shown(mark, "You have joined the room as Carol")?;
        dave.tell("join", json!({ "room": room, "nick": "Dave" }))?;
        let mark = dave.mark();
        carol.enter("down here")?;
        dave.wait_message(mark, "down here")?;
        let shown = carol.mark();
        dave.tell("say", json!({ "to": room, "body": "still-down-here", "kind": "groupchat" }))?;
        carol.wait_shown(shown, "still-down-here")
    });
    report.scenario("profanity leaves", || {
        dave.tell("leave", json!({}))?;
        carol.enter("/quit")
    });
    Ok(())
}
