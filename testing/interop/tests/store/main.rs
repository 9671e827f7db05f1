//! The store on disks that are full, read-only, or break in the middle of a write.
//!
//! Runs with `EDGEWAY_INTEROP=1`, as root, in a mount namespace of its own (`cargo xtask test --only build,store`); something
//! missing then fails with the Debian package that brings it. Otherwise it says so and runs nothing.

mod desk;
mod disk;
mod house;
mod service;

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use edgeway_admin::store::limits::LOG_BYTES_MAX;
use edgeway_admin::store::{AuditLine, Kind, NewRevision, OpenFault, SqliteStore, Store, StoreFault};
use edgeway_interop::requirement;

use disk::Disk;

/// Power cuts; each takes a part of a second.
const CUTS: u64 = 20;

fn wanted() -> Result<bool> {
    if std::env::var_os("EDGEWAY_INTEROP").is_none() {
        println!("not run: set EDGEWAY_INTEROP=1 (cargo xtask test does)");
        return Ok(false);
    }
    requirement::check(requirement::STORE)?;
    Ok(true)
}

fn document(number: u64) -> String {
    format!("# {number}\n{}", "x = 1\n".repeat(3_000))
}

fn commit(store: &SqliteStore, number: u64) -> Result<(), StoreFault> {
    let new = NewRevision { author: "file".into(), at_ms: 1, comment: String::new(), document: document(number) };
    store.commit(number - 1, new, &[]).map(drop)
}

/// Writes until nothing goes any more, and says in `acknowledged` which revision went last. How many there are, and what
/// was said then.
fn fill(store: &SqliteStore, from: u64, acknowledged: &AtomicU64) -> Result<(u64, StoreFault)> {
    for number in from.. {
        if let Err(fault) = commit(store, number) {
            return Ok((number - 1, fault));
        }
        acknowledged.store(number, Ordering::SeqCst);
        ensure!(number < from + 10_000, "the disk is never full");
    }
    bail!("numbers have ended")
}

/// All revisions up to this one are there with their text, and none after it.
fn holds(store: &dyn Store, last: u64) -> Result<()> {
    let head = store.head()?.map_or(0, |revision| revision.head.number);
    ensure!(head == last, "revision {last} is the last that was acknowledged, {head} is there");
    for number in last.saturating_sub(700).max(1)..=last {
        let revision = store.revision(number)?.with_context(|| format!("revision {number} is gone"))?;
        ensure!(revision.document == document(number), "revision {number} has another text");
    }
    Ok(())
}

fn line() -> AuditLine {
    let word = || "x".to_owned();
    AuditLine { number: 0, at_ms: 1, actor: word(), from: word(), action: "y".repeat(900), outcome: word() }
}

fn a_full_disk(disk: &Disk) -> Result<()> {
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![1; 2 * LOG_BYTES_MAX])?;
    let store = SqliteStore::open(disk.path())?;
    let (last, fault) = fill(&store, 1, &AtomicU64::new(0))?;
    ensure!(last > 5, "it was full from the beginning: {fault}");
    ensure!(matches!(&fault, StoreFault::Unavailable(why) if why.contains("disk is full")), "{fault:?}");
    // Again and again, whatever is written; and reading goes on.
    for _ in 0..20 {
        ensure!(matches!(commit(&store, last + 1), Err(StoreFault::Unavailable(_))), "there is room?");
        ensure!(matches!(store.put(Kind::Imported, "a", &"x".repeat(200_000), None), Err(StoreFault::Unavailable(_))));
        holds(&store, last)?;
    }
    ensure!(store.record(Kind::Imported, "a")?.is_none());
    // Even for a process that starts now: it opens, or says why not, and changes nothing.
    match SqliteStore::open(disk.path()) {
        Ok(other) => holds(&other, last)?,
        Err(fault) => ensure!(matches!(fault, OpenFault::NotWritable { .. }), "{fault:?}"),
    }
    fs::remove_file(&ballast)?;
    commit(&store, last + 1).context("there is room again")?;
    store.audit(&line())?;
    holds(&store, last + 1)?;
    store.check()?;
    drop(store);
    holds(&SqliteStore::open(disk.path())?, last + 1)
}

#[test]
fn on_a_full_disk_saving_fails_and_reading_goes_on() -> Result<()> {
    if wanted()? {
        a_full_disk(&Disk::in_memory("full-memory", "6m")?)?;
        a_full_disk(&Disk::ext4("full-ext4", 10 << 20)?)?;
    }
    Ok(())
}

#[test]
fn no_store_is_made_where_there_is_no_room_for_one() -> Result<()> {
    if !wanted()? {
        return Ok(());
    }
    let disk = Disk::in_memory("no-room", "64k")?;
    let ballast = disk.path().join("ballast");
    let _ = fs::write(&ballast, vec![1; 256 * 1024]);
    let Err(fault) = SqliteStore::open(disk.path()) else { bail!("a store without room") };
    ensure!(matches!(&fault, OpenFault::NotWritable { .. }), "{fault:?}");
    ensure!(fault.to_string().contains("with room on the disk"), "{fault}");
    let left: Vec<_> = fs::read_dir(disk.path())?.collect::<Result<_, _>>()?;
    ensure!(left.len() == 1, "something is left: {left:?}");
    Ok(())
}

#[test]
fn where_the_disk_becomes_read_only_saving_fails_and_reading_goes_on() -> Result<()> {
    if !wanted()? {
        return Ok(());
    }
    let disk = Disk::ext4("breaks", 16 << 20)?;
    let store = SqliteStore::open(disk.path())?;
    for number in 1..=20 {
        commit(&store, number)?;
    }
    // As ext4 does by itself when the disk has an error.
    disk.break_down()?;
    for _ in 0..20 {
        let fault = commit(&store, 21).err().context("written to a read-only disk")?;
        ensure!(matches!(fault, StoreFault::Unavailable(_)), "{fault:?}");
        ensure!(matches!(store.audit(&line()), Err(StoreFault::Unavailable(_))));
        holds(&store, 20)?;
    }
    drop(store);
    let Err(fault) = SqliteStore::open(disk.path()) else { bail!("opened on a read-only disk") };
    ensure!(matches!(fault, OpenFault::NotWritable { .. }), "{fault:?}");
    disk.again()?;
    let store = SqliteStore::open(disk.path())?;
    holds(&store, 20)?;
    commit(&store, 21)?;
    store.check()?;
    Ok(())
}

#[test]
fn a_disk_that_is_read_only_from_the_beginning_is_left_alone() -> Result<()> {
    if !wanted()? {
        return Ok(());
    }
    let disk = Disk::in_memory("read-only", "4m")?;
    let store = SqliteStore::open(disk.path())?;
    commit(&store, 1)?;
    drop(store);
    disk.remount("ro")?;
    let Err(fault) = SqliteStore::open(disk.path()) else { bail!("opened on a read-only disk") };
    ensure!(matches!(&fault, OpenFault::NotWritable { .. }), "{fault:?}");
    disk.remount("rw")?;
    holds(&SqliteStore::open(disk.path())?, 1)
}

#[test]
fn what_was_acknowledged_outlives_a_disk_that_stops() -> Result<()> {
    if !wanted()? {
        return Ok(());
    }
    let disk = Disk::ext4("stops", 64 << 20)?;
    let acknowledged = AtomicU64::new(0);
    // What was acknowledged before the cut, and what was begun at most.
    let (mut safe, mut begun) = (0, 0);
    for cut in 0..CUTS {
        let store = SqliteStore::open(disk.path())?;
        let number = store.head()?.map_or(0, |revision| revision.head.number);
        ensure!((safe..=begun).contains(&number), "{safe} was acknowledged, {begun} begun, {number} is there");
        holds(&store, number)?;
        store.check()?;
        acknowledged.store(number, Ordering::SeqCst);
        let (done, fault) = thread::scope(|scope| {
            let writer = scope.spawn(|| fill(&store, number + 1, &acknowledged));
            thread::sleep(Duration::from_millis(20 + cut * 13 % 97));
            // A power cut ends the writer with the disk. Here it goes on for a moment, in which Linux 6.18 says of a flush that
            // it was done: what is acknowledged from here on does not count.
            safe = acknowledged.load(Ordering::SeqCst);
            disk.break_down()?;
            writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?
        })?;
        ensure!(matches!(fault, StoreFault::Unavailable(_)), "{fault:?}");
        println!("cut {cut}: revisions {number} to {safe}, {done} begun");
        begun = done + 1;
        drop(store);
        // What had not been flushed is lost; the journal is replayed.
        disk.again()?;
    }
    ensure!(safe > CUTS, "nothing was written between the cuts");
    Ok(())
}
