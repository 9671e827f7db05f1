//! Real nodes whose disk is full, breaks or is read-only, with people who talk through them: traffic goes on, a save fails
//! loudly, nothing acknowledged is lost, and all is well again without a restart when there is room.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use edgeway_lab_servers::Call;

use super::disk::Disk;
use super::house::{House, Places, talk};

const STORE: &str = "configuration_store";
const NOT_KEPT: &str = "edge_settings_not_kept";

/// Fills what is left of a disk, in ever smaller pieces.
fn fill_up(ballast: &Path) -> Result<()> {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(ballast)?;
    for piece in [64 * 1024, 4 * 1024, 512, 1] {
        while file.write_all(&vec![1; piece]).is_ok() {}
    }
    Ok(())
}

/// A configuration with another rate limit.
fn limited(exported: &str, limit: u64) -> String {
    let mut text: String = exported
        .lines()
        .filter(|line| !line.starts_with("maximum_authorizations"))
        .map(|line| format!("{line}\n"))
        .collect();
    text = text.replace("[sign_in]\n", &format!("[sign_in]\nmaximum_authorizations_per_period = {limit}\n"));
    text
}

/// Saves until a save is refused. What was acknowledged last, and what was said of the one that was not.
fn save_until_refused(house: &House) -> Result<(u64, String)> {
    for number in 0..2_000 {
        let output = house.core.save(|exported| limited(exported, 100 + number % 800))?;
        if !output.status.success() {
            return Ok((house.core.revision()?, String::from_utf8_lossy(&output.stderr).into_owned()));
        }
    }
    bail!("the disk is never full")
}

fn is_alarmed(house: &House, why: &str) -> Result<()> {
    let alarm = house.core.alarm(STORE)?.context("an alarm")?;
    let (cause, action) = (alarm["cause"].to_string(), alarm["action"].to_string());
    ensure!(cause.contains(why), "the alarm's cause: {cause}");
    ensure!(!action.is_empty() && action.contains("room"), "the alarm's action: {action}");
    ensure!(house.core.has_told("alarm.raised", STORE)?, "it is an event");
    Ok(())
}

async fn on_a_full_disk() -> Result<()> {
    let disk = Disk::in_memory("service-full", "8m")?;
    let mut house = House::start("full-house", Places { core: Some(disk.path()), edge: None }).await?;
    let (alice, bob) = (house.phone("alice").await?, house.phone("bob").await?);
    let talking: (Call, Call) = talk(&alice, &bob).await?;
    house.traffic_goes_on(&talking).await?;
    ensure!(house.core.save(|exported| limited(exported, 999))?.status.success(), "a save while there is room");
    let ballast = disk.path().join("ballast");
    fill_up(&ballast)?;
    let (last, said) = save_until_refused(&house)?;
    ensure!(said.contains("nothing was changed") && said.contains("disk is full"), "{said}");
    is_alarmed(&house, "disk is full")?;
    for _ in 0..3 {
        ensure!(!house.core.save(|exported| limited(exported, 77))?.status.success(), "saved on a full disk");
        ensure!(house.core.revision()? == last, "the revision has moved");
    }
    house.traffic_goes_on(&talking).await?;
    // Nobody saves anything: there is room, and the alarm is over.
    fs::remove_file(&ballast)?;
    house.wait("the alarm is over", || !house.core.has_alarm(STORE)).await?;
    ensure!(house.core.has_told("alarm.ended", STORE)?, "it is an event");
    ensure!(house.core.save(|exported| limited(exported, 998))?.status.success(), "a save when there is room again");
    let last = last + 1;
    ensure!(house.core.revision()? == last, "{last}");
    house.traffic_goes_on(&talking).await?;

    // Started on a full disk it carries calls as well, and takes its store into use by itself when there is room.
    house.core.stop();
    fill_up(&ballast)?;
    house.core.start()?;
    house.linked().await?;
    alice.refresh().await?;
    bob.refresh().await?;
    let talking = talk(&alice, &bob).await?;
    house.traffic_goes_on(&talking).await?;
    // Whether it could be opened there or not: nothing is taken, and an alarm says so.
    ensure!(!house.core.save(|exported| limited(exported, 77))?.status.success(), "saved on a full disk");
    house.wait("the alarm of the store", || house.core.has_alarm(STORE)).await?;
    house.traffic_goes_on(&talking).await?;
    fs::remove_file(&ballast)?;
    house
        .wait("the store is used", || {
            !house.core.has_alarm(STORE) && house.core.revision().is_ok_and(|now| now == last)
        })
        .await?;
    ensure!(house.core.save(|exported| limited(exported, 997))?.status.success(), "a save when there is room again");
    house.traffic_goes_on(&talking).await?;
    house.core.stop();
    house.core.start()?;
    ensure!(house.core.revision()? == last + 1, "what was acknowledged is there after a restart");
    ensure!(!house.core.has_alarm(STORE), "nothing is wrong");
    Ok(())
}

async fn on_a_disk_that_breaks() -> Result<()> {
    let disk = Disk::ext4("service-breaks", 24 << 20)?;
    let mut house = House::start("broken-house", Places { core: Some(disk.path()), edge: None }).await?;
    let (alice, bob) = (house.phone("alice").await?, house.phone("bob").await?);
    let talking = talk(&alice, &bob).await?;
    for limit in [11, 12, 999] {
        ensure!(house.core.save(|exported| limited(exported, limit))?.status.success(), "a save");
    }
    let last = house.core.revision()?;
    disk.break_down()?;
    for _ in 0..3 {
        let refused = house.core.save(|exported| limited(exported, 77))?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(!refused.status.success() && said.contains("nothing was changed"), "{said}");
        ensure!(said.contains("read-only") || said.contains("disk I/O error"), "it names the cause: {said}");
        ensure!(house.core.revision()? == last, "the revision has moved");
    }
    ensure!(house.core.has_alarm(STORE) && house.core.has_told("alarm.raised", STORE)?, "an alarm and an event");
    house.traffic_goes_on(&talking).await?;
    house.core.stop();
    disk.again()?;

    // Read-only when it starts, and writable later.
    disk.remount("ro")?;
    house.core.start()?;
    house.linked().await?;
    ensure!(house.core.has_alarm(STORE), "an alarm");
    let (alice, bob) = (house.phone("alice").await?, house.phone("bob").await?);
    let talking = talk(&alice, &bob).await?;
    house.traffic_goes_on(&talking).await?;
    disk.remount("rw")?;
    house
        .wait("the store is used", || {
            !house.core.has_alarm(STORE) && house.core.revision().is_ok_and(|now| now == last)
        })
        .await?;
    ensure!(house.core.save(|exported| limited(exported, 998))?.status.success(), "a save");
    house.traffic_goes_on(&talking).await?;
    Ok(())
}

async fn an_edge_without_room() -> Result<()> {
    let disk = Disk::in_memory("edge-full", "1m")?;
    let mut house = House::start("full-edge", Places { core: None, edge: Some(disk.path()) }).await?;
    let (alice, bob) = (house.phone("alice").await?, house.phone("bob").await?);
    let talking = talk(&alice, &bob).await?;
    let ballast = disk.path().join("ballast");
    fill_up(&ballast)?;
    let kept = disk.path().join("edge.state/configuration.toml");
    let before = fs::read_to_string(&kept).unwrap_or_default();
    let told = |flows: u32| {
        move |exported: &str| {
            let lines = exported.lines().filter(|line| *line != "[edge.limits]" && !line.starts_with("flows_max"));
            let rest: String = lines.map(|line| format!("{line}\n")).collect();
            format!("{rest}\n[edge.limits]\nflows_max = {flows}\n")
        }
    };
    for flows in [2, 2_000] {
        let saved = house.core.save(told(flows))?;
        ensure!(saved.status.success(), "{}", String::from_utf8_lossy(&saved.stderr));
        house.wait("the edge says that it cannot keep it", || house.edge.has_alarm(NOT_KEPT)).await?;
    }
    let alarm = house.edge.alarm(NOT_KEPT)?.context("an alarm")?;
    ensure!(alarm["cause"].to_string().contains("No space left"), "{alarm}");
    ensure!(alarm["action"].to_string().contains("Make room"), "{alarm}");
    ensure!(house.edge.has_told("alarm.raised", NOT_KEPT)?, "it is an event");
    ensure!(fs::read_to_string(&kept).unwrap_or_default() == before, "what was kept is as it was");
    house.traffic_goes_on(&talking).await?;
    fs::remove_file(&ballast)?;
    house.wait("the alarm is over", || !house.edge.has_alarm(NOT_KEPT)).await?;
    ensure!(fs::read_to_string(&kept)?.contains("flows_max = 2000"), "the newest is kept");
    let left = fs::read_dir(disk.path().join("edge.state"))?.filter_map(Result::ok);
    let left: Vec<_> = left.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "tmp")).collect();
    ensure!(left.is_empty(), "{left:?} is left");
    // And it is what it was told to be when it starts with no core in sight.
    house.core.stop();
    house.edge.stop();
    house.edge.start()?;
    let status = house.edge.ask("status", &serde_json::json!({}))?;
    ensure!(status["configuration"]["source"] == "core1", "{}", status["configuration"]);
    Ok(())
}

fn run(work: impl Future<Output = Result<()>>) -> Result<()> {
    if super::wanted()? {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(work)?;
    }
    Ok(())
}

#[test]
fn a_core_whose_disk_is_full_carries_calls_and_saves_again_when_there_is_room() -> Result<()> {
    run(on_a_full_disk())
}

#[test]
fn a_core_whose_disk_breaks_or_is_read_only_carries_calls() -> Result<()> {
    run(on_a_disk_that_breaks())
}

#[test]
fn an_edge_without_room_is_what_cores_tell_it_and_says_that_it_cannot_keep_it() -> Result<()> {
    run(an_edge_without_room())
}
