//! The configuration desk over a store whose disk is full: the save fails and says why, the node keeps what it had.
//!
//! What stands in for the node notes what it is told to use; its traffic is not asked about here.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, bail, ensure};
use edgeway_admin::configuration::{
    By, ChangeOrder, CommitView, ConfigurationDesk, ConfigurationFault, Proposal, boot,
};
use edgeway_admin::store::StoreFault;
use edgeway_config::CoreSettings;
use edgeway_runtime::operate::{self, OperatorPort, Prepared, Refusal, Work};
use serde_json::json;

use super::disk::Disk;

/// The domains of each settings the node was told to use, in order.
type Used = Arc<Mutex<Vec<Vec<String>>>>;

fn node() -> (OperatorPort, Used) {
    let (port, mut asked) = operate::port();
    let used = Used::default();
    let notes = Arc::clone(&used);
    tokio::spawn(async move {
        let mut prepared: Option<Arc<CoreSettings>> = None;
        while let Some(work) = asked.recv().await {
            match work {
                Work::Ask(_, answer) => drop(answer.send(Err(Refusal::invalid("nothing is asked here")))),
                Work::Prepare(settings, answer) => {
                    prepared = Some(settings);
                    drop(answer.send(Ok(Prepared { restart: Vec::new() })));
                }
                Work::Apply(answer) => {
                    let domains = prepared.take().map(|settings| settings.domains.clone()).unwrap_or_default();
                    notes.lock().expect("ours").push(domains);
                    drop(answer.send(Ok(())));
                }
                Work::Abort => prepared = None,
                Work::Tell(_) => {}
            }
        }
    });
    (port, used)
}

async fn save(desk: &ConfigurationDesk, domain: &str) -> Result<CommitView, ConfigurationFault> {
    let change = ChangeOrder { path: "domains".into(), value: json!([domain]) };
    let by = By { author: "account alice".into(), comment: String::new() };
    desk.commit(desk.current().revision, Proposal::Changes(vec![change]), by, None).await
}

fn file(disk: &Disk) -> Result<std::path::PathBuf> {
    let file = disk.path().join("core.toml");
    let own = format!("node = \"core1\"\nstate_dir = {:?}\ndomains = [\"example.com\"]\n\n", disk.path());
    let sip = "[sip]\nadvertise = \"10.0.0.4:5060\"\nregistrars = [\"tcp:10.0.0.5:5060\"]\n";
    fs::write(&file, own + sip)?;
    Ok(file)
}

/// Fills what is left of the disk, in ever smaller pieces.
fn fill_up(ballast: &Path) -> Result<()> {
    use std::io::Write as _;
    let mut file = fs::File::create(ballast)?;
    for piece in [64 * 1024, 4 * 1024, 512, 1] {
        while file.write_all(&vec![1; piece]).is_ok() {}
    }
    Ok(())
}

async fn on_a_full_disk() -> Result<()> {
    let disk = Disk::in_memory("desk", "4m")?;
    let file = file(&disk)?;
    let (port, used) = node();
    let desk = ConfigurationDesk::new(boot(&file)?.parts, port);
    let first = save(&desk, "before.example").await?;
    ensure!(first.revision == 2, "{}", first.revision);
    let ballast = disk.path().join("ballast");
    fill_up(&ballast)?;
    // What room the log still has may take a save or two.
    let (mut last, mut refused) = (first.revision, None);
    for number in 0..2_000 {
        match save(&desk, &format!("d{number}.example")).await {
            Ok(done) => last = done.revision,
            Err(fault) => {
                refused = Some(fault);
                break;
            }
        }
    }
    let fault = refused.context("it was never full")?;
    ensure!(matches!(&fault, ConfigurationFault::Store(StoreFault::Unavailable(_))), "{fault:?}");
    ensure!(fault.to_string().contains("nothing was changed") && fault.to_string().contains("disk is full"), "{fault}");
    let holds = || used.lock().expect("ours").last().cloned().unwrap_or_default();
    let before = holds();
    for _ in 0..5 {
        ensure!(save(&desk, "late.example").await.is_err(), "saved on a full disk");
        ensure!(holds() == before && desk.current().revision == last, "the node uses what was not saved");
    }
    ensure!(!desk.current().document.is_empty(), "reading goes on");
    fs::remove_file(&ballast)?;
    let done = save(&desk, "late.example").await?;
    ensure!(done.revision == last + 1 && holds() == ["late.example"], "{} {:?}", done.revision, holds());
    drop(desk);
    // And it is there when the core starts again.
    let booted = boot(&file)?;
    if booted.settings.domains != ["late.example"] {
        bail!("{:?} hold after a restart", booted.settings.domains);
    }
    Ok(())
}

#[test]
fn a_save_that_finds_no_room_changes_nothing_and_is_made_when_there_is_room() -> Result<()> {
    if !super::wanted()? {
        return Ok(());
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(on_a_full_disk())
}
