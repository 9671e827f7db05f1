//! What people do all day: sign in, see who is there, talk, in pairs and in rooms, on two devices, and send files.

use crate::site::{Site, direct_door};
use crate::{files, sessions};
use anyhow::{Context as _, Result, ensure};
use edgeway_interop::chat_party::{PATIENCE, Party};
use edgeway_interop::kamailio::DOMAIN;
use edgeway_interop::report::Report;
use serde_json::{Value, json};

/// What PLAIN has in the message of Bob's sign-in: `base64(NUL bob NUL secret)`.
const PLAIN_OF_BOB: &str = "AGJvYgBzZWNyZXQ";

/// Everything, in an order in which each thing stands on those before it.
pub(crate) fn story(report: &Report, site: &Site) -> Result<()> {
    let stations = [site.network.station_outside(0)?, site.network.station_outside(1)?];
    let [here, there] = &stations;
    let mut alice = site.party_with("alice", "desk", here, |setup| setup.mechanism = Some("SCRAM-SHA-1"))?;
    let mut bob = site.party_with("bob", "desk", there, |setup| setup.mechanism = Some("PLAIN"))?;
    report.scenario("sign-in with SCRAM and with PLAIN", || {
        alice.wait_started().and_then(|()| bob.wait_started()).with_context(|| site.logs())
    });
    if report.totals().1 > 0 {
        // Nobody is there to talk.
        return Ok(());
    }
    report.scenario("a wrong password is told apart", || {
        let mallory = site.party_with("carol", "wrong", there, |setup| setup.password = "guess")?;
        let failed = mallory.wait_event(0, "failed_auth")?;
        ensure!(failed["condition"] == "not-authorized", "{failed}");
        ensure!(mallory.count(0, "started") == 0, "it was let in");
        Ok(())
    });
    if site.product.is_some() {
        report.scenario("TLS from the first byte", || {
            let carol = site.party_with("carol", "direct", there, |setup| {
                (setup.address, setup.direct_tls) = (direct_door(), true);
            })?;
            carol.wait_started()
        });
    }
    report.scenario("roster: added, and asked for again", || roster(&mut alice, &mut bob));
    report.scenario("presence, both ways", || {
        seen(&mut alice, &bob, "at lunch")?;
        seen(&mut bob, &alice, "in the garden")
    });
    report.scenario("messages, both ways", || {
        pass(&mut alice, &bob, "Hello, Bob")?;
        pass(&mut bob, &alice, "H\u{e9}llo <&> \"Alice\" \u{1f600}")
    });
    report.scenario("a long message, both ways", || {
        pass(&mut alice, &bob, &"long ".repeat(2000))?;
        pass(&mut bob, &alice, &"long ".repeat(2000))
    });
    report.scenario("a room, both ways", || room(&mut alice, &mut bob));
    report.scenario("carbons between two devices", || carbons(site, &mut alice, &mut bob));
    report.scenario("the archive has what was said", || {
        let answer = alice.tell("archive", json!({ "other": bob.bare() }))?;
        let bodies: Vec<&str> = answer["bodies"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        ensure!(bodies.contains(&"Hello, Bob") && bodies.contains(&"to both of Alice"), "{bodies:?}");
        Ok(())
    });
    report.scenario("a file is sent and fetched", || files::story(site, here, there, &mut alice, &bob));
    if let Some(product) = &site.product {
        sessions::story(report, product, &alice, &bob);
    }
    sessions::logs(report, site, &["Hello, Bob", "to both of Alice", "picture.txt", PLAIN_OF_BOB]);
    report.scenario("who leaves is seen to leave", || {
        let mark = bob.mark();
        alice.tell("leave", json!({}))?;
        let sender = alice.jid().to_owned();
        let gone =
            |event: &Value| event["event"] == "presence" && event["sender"] == sender && event["kind"] == "unavailable";
        bob.wait(mark, "absence of Alice", PATIENCE, gone).map(drop)
    });
    Ok(())
}

fn roster(alice: &mut Party, bob: &mut Party) -> Result<()> {
    alice.tell("roster_add", json!({ "jid": bob.bare(), "name": "Bob & Co" }))?;
    alice.tell("befriend", json!({ "jid": bob.bare() }))?;
    bob.tell("befriend", json!({ "jid": alice.bare() }))?;
    // Each accepts the other by itself.
    let start = std::time::Instant::now();
    loop {
        let answer = alice.tell("roster", json!({}))?;
        let entry = &answer["roster"][bob.bare()];
        if entry["subscription"] == "both" && entry["name"] == "Bob & Co" {
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "{answer}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// What one says of himself is seen by the other.
fn seen(one: &mut Party, other: &Party, status: &str) -> Result<()> {
    let mark = other.mark();
    one.tell("presence", json!({ "status": status }))?;
    let is_it = |event: &Value| event["event"] == "presence" && event["status"] == status;
    let event = other.wait(mark, status, PATIENCE, is_it)?;
    ensure!(event["sender"] == one.jid(), "{event}");
    Ok(())
}

/// A message arrives, once, as it was said.
pub(crate) fn pass(one: &mut Party, other: &Party, body: &str) -> Result<()> {
    let mark = other.mark();
    one.say(other.bare(), body)?;
    let event = other.wait_message(mark, body)?;
    ensure!(event["sender"] == one.jid(), "{event}");
    Ok(())
}

fn room(alice: &mut Party, bob: &mut Party) -> Result<()> {
    let room = format!("garden@rooms.{DOMAIN}");
    alice.tell("join", json!({ "room": room, "nick": "Alice" }))?;
    bob.tell("join", json!({ "room": room, "nick": "Bob" }))?;
    for (speaker, words) in [(&mut *alice, "Good morning all"), (&mut *bob, "Good morning Alice")] {
        speaker.tell("say", json!({ "to": room, "body": words, "kind": "groupchat" }))?;
    }
    for ear in [&*alice, &*bob] {
        for (nick, words) in [("Alice", "Good morning all"), ("Bob", "Good morning Alice")] {
            let heard = ear.wait_message(0, words)?;
            ensure!(heard["sender"] == format!("{room}/{nick}") && heard["kind"] == "groupchat", "{heard}");
        }
    }
    Ok(())
}

/// What is said to one device, and by it, is seen on the other.
fn carbons(site: &Site, alice: &mut Party, bob: &mut Party) -> Result<()> {
    let mut pocket = site.party("alice", "pocket", &site.network.station_outside(2)?)?;
    pocket.wait_started()?;
    pocket.tell("carbons", json!({}))?;
    bob.say(alice.jid(), "to both of Alice")?;
    alice.say(bob.bare(), "from one of Alice")?;
    for (way, body) in [("received", "to both of Alice"), ("sent", "from one of Alice")] {
        let is_it = |event: &Value| event["event"] == "carbon" && event["body"] == body && event["way"] == way;
        pocket.wait(0, body, PATIENCE, is_it)?;
    }
    pocket.tell("leave", json!({})).map(drop)
}
