//! `bench refresh`: servers are refreshed while people sign in and talk. Nobody may notice.
//!
//! A real edge and core, a simulated call manager, sign-ins at a steady rate (each with TLS, credentials and a whole
//! edge configuration) and calls with media. Meanwhile the call manager gets another node and the servers are
//! refreshed; then it is slow, broken, silent and lying in turn, and refreshed again each time: what was known must
//! stay in use. Counted are sign-ins that failed, calls that ended, and packets that were lost.

mod load;
mod world;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use edgeway_interop::process::Scratch;
use edgeway_interop::product;
use edgeway_lab_servers::uc::{Fault, Service};

use crate::report::Machine;
use load::{Calls, SignIns};
use world::World;

/// Options of `bench refresh`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RefreshArguments {
    /// Sign-ins per second, each on a connection of its own
    #[arg(long, default_value_t = 200, value_name = "N")]
    sign_ins: u32,
    /// Calls that are up all the time
    #[arg(long, default_value_t = 50, value_name = "N")]
    calls: usize,
    /// Seconds between two steps
    #[arg(long, default_value_t = 5, value_name = "N")]
    pause: u64,
}

/// How long a refresh may take that works.
const SWAP_WITHIN: Duration = Duration::from_secs(20);

/// Runs the steps and prints what was found.
pub(crate) fn run(arguments: &RefreshArguments) -> Result<()> {
    product::binaries()?;
    let mut scratch = Scratch::create("refresh")?;
    println!("{}", Machine::here().line());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime
        .block_on(steps(arguments, scratch.path()))
        .inspect_err(|_| scratch.keep())
        .with_context(|| format!("logs in {}", scratch.path().display()))
}

async fn steps(arguments: &RefreshArguments, directory: &std::path::Path) -> Result<()> {
    let people = SignIns::people(arguments.sign_ins);
    let world = World::start(directory, people, arguments.calls)?;
    let calls = Calls::set_up(&world, arguments.calls).await.with_context(|| world.logs())?;
    println!("{} calls are up", arguments.calls);
    let sign_ins = SignIns::start(&world, arguments.sign_ins, people);
    let pause = Duration::from_secs(arguments.pause);

    tokio::time::sleep(pause).await;
    ensure!(!world.reaches_new_node().await?, "the new node is reached before it was discovered");
    world.cluster.list(&world.new_node, true);
    let swap = world.refresh(SWAP_WITHIN).await?;
    println!("node added: {swap}");
    let since = Instant::now();
    while !world.reaches_new_node().await? {
        ensure!(since.elapsed() < SWAP_WITHIN, "the new node is not in use after the swap\n{}", world.logs());
    }
    println!("the new node is in use");

    let publisher = world.publisher.clone();
    for (what, fault) in [
        ("slow", Fault::Slow(Duration::from_secs(60))),
        ("broken", Fault::Status(500)),
        ("garbage", Fault::Garbage),
        ("cut off", Fault::CutShort),
        ("silent", Fault::Silent),
        ("throttled", Fault::Throttled),
        ("lying", Fault::StrangeHosts),
        ("empty", Fault::Empty),
    ] {
        tokio::time::sleep(pause).await;
        world.cluster.fault(&publisher, Service::Axl, Some(fault));
        let told = world.refresh_refused().await.with_context(|| format!("AXL {what}"))?;
        println!("AXL {what}: kept what was known; {told}");
        ensure!(world.reaches_new_node().await?, "AXL {what}: the old snapshot is no longer in use");
        world.cluster.fault(&publisher, Service::Axl, None);
    }
    tokio::time::sleep(pause).await;
    let swap = world.refresh(SWAP_WITHIN).await?;
    println!("healed: {swap}");
    tokio::time::sleep(pause).await;

    let done = sign_ins.stop().await;
    println!("{done}");
    let talked = calls.end().await?;
    println!("{talked}");
    ensure!(done.failed == 0, "{} sign-ins failed, the first: {}", done.failed, done.first_failure);
    ensure!(talked.dropped == 0, "{} calls were dropped", talked.dropped);
    println!("nobody noticed: 0 failed sign-ins, 0 dropped calls");
    Ok(())
}
