//! What networks do to people who chat: holes, resets, silence. Nothing that was said is lost or said twice.

use crate::site::Site;
use crate::talk::pass;
use anyhow::{Context as _, Result, ensure};
use edgeway_interop::chat_party::{PATIENCE, Party};
use edgeway_interop::chat_server::CHAT_PORT;
use edgeway_interop::process::wait_for;
use edgeway_interop::report::Report;
use serde_json::{Value, json};
use std::thread::sleep;
use std::time::Duration;

/// How long a hole is.
const HOLE: Duration = Duration::from_secs(5);
/// A hole in which the link is given up.
const LONG_HOLE: Duration = Duration::from_secs(15);
/// How long nobody says anything: longer than the link's own idle times.
const SILENCE: Duration = Duration::from_secs(25);
/// Between two messages, in seconds.
const PACE_SECONDS: f64 = 0.1;
/// Messages of one conversation.
const WORDS: usize = 40;

/// Each kind of trouble, while both talk.
pub(crate) fn story(report: &Report, site: &mut Site) -> Result<()> {
    let (here, there) = (site.network.station_outside(0)?, site.network.station_outside(1)?);
    let mut alice = site.party("alice", "desk", &here)?;
    let mut bob = site.party("bob", "desk", &there)?;
    report.scenario("both sign in", || {
        alice.wait_started().and_then(|()| bob.wait_started()).with_context(|| site.logs())
    });
    if report.totals().1 > 0 {
        return Ok(());
    }
    report.scenario("5 s without the client's network", || {
        conversation("hole", &mut alice, &mut bob, || {
            here.cut()?;
            sleep(HOLE);
            ensure!(here.restore()? > 0, "nothing was on its way while it was cut");
            Ok(())
        })
    });
    report.scenario("the client's connection is reset, and resumed", || {
        let mark = alice.mark();
        conversation("reset", &mut alice, &mut bob, || here.reset_connections(CHAT_PORT))?;
        resumed(&alice, mark)
    });
    if let Some(product) = &site.product {
        report.scenario("5 s without the link", || {
            let mark = [alice.mark(), bob.mark()];
            conversation("link hole", &mut alice, &mut bob, || {
                site.network.cut_link()?;
                sleep(HOLE);
                site.network.restore_link()?;
                ensure!(site.network.packets_cut()? > 0, "nothing crossed the link while it was cut");
                Ok(())
            })?;
            let lost = alice.count(mark[0], "disconnected") + bob.count(mark[1], "disconnected");
            println!("        5 s without the link: {lost} clients had to connect again");
            Ok(())
        });
        report.scenario("15 s without the link: both resume", || {
            let marks = [alice.mark(), bob.mark()];
            conversation("long link hole", &mut alice, &mut bob, || {
                site.network.cut_link()?;
                sleep(LONG_HOLE);
                site.network.restore_link()
            })?;
            resumed(&alice, marks[0])?;
            resumed(&bob, marks[1])
        });
        report.scenario("the link is reset, and both resume", || {
            let marks = [alice.mark(), bob.mark()];
            conversation("link reset", &mut alice, &mut bob, || site.network.reset_link())?;
            resumed(&alice, marks[0])?;
            resumed(&bob, marks[1])?;
            wait_for("link back", PATIENCE, || product.is_linked())
        });
    }
    report.scenario("a silence, then a word", || {
        let marks = [alice.mark(), bob.mark()];
        sleep(SILENCE);
        pass(&mut alice, &bob, "still there?")?;
        pass(&mut bob, &alice, "still here")?;
        let lost = alice.count(marks[0], "disconnected") + bob.count(marks[1], "disconnected");
        ensure!(lost == 0, "{lost} connections were lost by doing nothing");
        Ok(())
    });
    if site.product.is_some() {
        report.scenario("the server is started anew: nobody hears of a wrong password", || {
            let marks = [alice.mark(), bob.mark()];
            site.server.stop();
            for (party, mark) in [(&alice, marks[0]), (&bob, marks[1])] {
                party.wait_event(mark, "disconnected")?;
            }
            // Long enough for some attempts.
            sleep(Duration::from_secs(3));
            site.start_server_again()?;
            for (party, mark) in [(&alice, marks[0]), (&bob, marks[1])] {
                let back = |event: &Value| event["event"] == "started" || event["event"] == "resumed";
                party.wait(mark, "return", PATIENCE, back).with_context(|| site.logs())?;
                let told = party.conditions(mark);
                ensure!(told.iter().all(|told| told == "temporary-auth-failure"), "{}: {told:?}", party.jid());
            }
            pass(&mut alice, &bob, "here again")
        });
    }
    Ok(())
}

/// Both talk all the time while `trouble` happens; everything arrives, once, and servers and clients count alike.
pub(crate) fn conversation(
    what: &str,
    alice: &mut Party,
    bob: &mut Party,
    trouble: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let marks = [alice.mark(), bob.mark()];
    let words = |who: &str| -> Vec<String> { (0..WORDS).map(|number| format!("{what}: {who} {number:02}")).collect() };
    let (hers, his) = (words("alice"), words("bob"));
    let (to_alice, to_bob) = (alice.bare().to_owned(), bob.bare().to_owned());
    alice.order("say_many", json!({ "to": to_bob, "words": hers, "pause": PACE_SECONDS }))?;
    bob.order("say_many", json!({ "to": to_alice, "words": his, "pause": PACE_SECONDS }))?;
    sleep(Duration::from_secs(1));
    trouble()?;
    for (ear, mark, said) in [(&*bob, marks[1], &hers), (&*alice, marks[0], &his)] {
        let heard = || ear.bodies(mark, what);
        let all = wait_for("all that was said", PATIENCE, || said.iter().all(|body| heard().contains(body)));
        all.with_context(|| format!("{}: of {WORDS} came {}: {:?}", ear.jid(), heard().len(), heard()))?;
    }
    for party in [&mut *alice, &mut *bob] {
        let counts = party.counts()?;
        ensure!(counts.sent == counts.acknowledged, "{}: {counts:?}", party.jid());
    }
    for (ear, mark, said) in [(&*bob, marks[1], &hers), (&*alice, marks[0], &his)] {
        let mut heard = ear.bodies(mark, what);
        heard.sort_unstable();
        ensure!(heard == *said, "{}: not each once: {heard:?}", ear.jid());
    }
    Ok(())
}

/// Its stream was resumed after `mark`, by its name, and no new session was begun.
pub(crate) fn resumed(party: &Party, mark: usize) -> Result<()> {
    let event = party.wait_event(mark, "resumed")?;
    let failed = party.count(mark, "management_failed") + party.count(mark, "started");
    ensure!(failed == 0, "{}: a new session was begun", party.jid());
    let (handled, sent) = (event["h"].as_u64(), event["sent"].as_u64());
    ensure!(handled <= sent, "{}: the server has handled more than was sent: {event}", party.jid());
    Ok(())
}
