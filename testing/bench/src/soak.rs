//! `bench soak`: many registrations held for long, through the real edge and core, at the rate phones refresh.
//!
//! Every phone is one TLS connection with one registration that expires unless it is refreshed. In every round each
//! phone refreshes once. A phone that is not answered, or whose connection is gone, is lost; and so is one that the
//! core or the edge no longer counts. Memory is looked at after every round.

use crate::report::Machine;
use crate::sip::chain::{Chain, Kind};
use crate::sip::crowd::{Crowd, Load};
use anyhow::{Context, Result, ensure};
use clap::Args;
use edgeway_interop::certificates::Authority;
use edgeway_interop::process::Scratch;
use edgeway_interop::product::{self, EDGE_NAME};
use std::path::Path;
use std::time::{Duration, Instant};

/// Refreshes under way at once, at most.
const IN_FLIGHT: usize = 64;
/// A registration lives for so many rounds unless it is refreshed: one lost refresh would be seen, one late is not.
const ROUNDS_TO_EXPIRE: u64 = 2;
/// Time beyond a round in which its last refreshes may still begin.
const GRACE: Duration = Duration::from_millis(500);

/// Options of `bench soak`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SoakArguments {
    /// TLS connections, one registered user on each
    #[arg(long, default_value_t = 5_000, value_name = "N")]
    connections: usize,
    /// How long they are held
    #[arg(long, default_value_t = 30.0, value_name = "N")]
    minutes: f64,
    /// Seconds between two refreshes of a phone
    #[arg(long, default_value_t = 60, value_name = "N")]
    refresh: u64,
    /// By how much edge and core may each grow after the first round
    #[arg(long, default_value_t = 64, value_name = "N")]
    growth_mib: u64,
}

/// Resident bytes of both tiers.
#[derive(Clone, Copy, Debug)]
struct Memory {
    edge: u64,
    core: u64,
}

/// Runs the soak and prints what it found.
pub(crate) fn run(arguments: &SoakArguments) -> Result<()> {
    product::binaries()?;
    let mut scratch = Scratch::create("soak")?;
    println!("{}", Machine::here().line());
    soak(arguments, scratch.path())
        .inspect_err(|_| scratch.keep())
        .with_context(|| format!("logs in {}", scratch.path().display()))
}

fn soak(arguments: &SoakArguments, directory: &Path) -> Result<()> {
    let authority = Authority::create(directory, "authority")?;
    let chain = Chain::start(Kind::Edgeway, &authority.issue(EDGE_NAME)?, directory)?;
    let expires = u32::try_from(arguments.refresh * ROUNDS_TO_EXPIRE).context("seconds between refreshes")?;
    let crowd = Crowd::new(chain.edge_address(), &authority.certificate(), IN_FLIGHT)?;
    let mut crowd = crowd.expiring(expires);
    let empty = memory(&chain)?;
    crowd.gather(arguments.connections)?;
    println!(
        "{} phones registered, each for {expires} s; a refresh every {} s",
        arguments.connections, arguments.refresh
    );
    report("registered", &empty, &memory(&chain)?, arguments.connections);
    let start = Instant::now();
    let mut settled = None;
    let (mut refreshes, mut lost) = (0, 0);
    while start.elapsed().as_secs_f64() < arguments.minutes * 60.0 && lost == 0 {
        let round = Duration::from_secs(arguments.refresh);
        let rate = arguments.connections as f64 / round.as_secs_f64();
        let mut done = crowd.run(Load::Registers { rate: Some(rate) }, round + GRACE)?;
        refreshes += done.latencies.count();
        lost = done.failed + arguments.connections.saturating_sub(done.latencies.count() + done.failed);
        let (core, edge) = chain.registrations()?.context("a product that counts")?;
        let now = memory(&chain)?;
        settled.get_or_insert(now);
        println!(
            "{:>6.1} min: {refreshes} refreshes, {lost} lost; core counts {core}, edge {edge}; p50 {:.1} ms, p99 {:.1} ms; \
             resident: edge {:.1} MiB, core {:.1} MiB",
            start.elapsed().as_secs_f64() / 60.0,
            done.latencies.percentile_ms(0.5),
            done.latencies.percentile_ms(0.99),
            mib(now.edge),
            mib(now.core),
        );
        let all = arguments.connections as u64;
        ensure!(core == all && edge == all, "of {all} registrations the core counts {core} and the edge {edge}");
    }
    ensure!(lost == 0, "{lost} of {} phones were lost", arguments.connections);
    let (settled, end) = (settled.context("a round")?, memory(&chain)?);
    report("at the end", &empty, &end, arguments.connections);
    let growth = |end: u64, start: u64| mib(end) - mib(start);
    let (edge, core) = (growth(end.edge, settled.edge), growth(end.core, settled.core));
    println!("growth since the first round: edge {edge:+.1} MiB, core {core:+.1} MiB");
    let bound = arguments.growth_mib as f64;
    ensure!(edge <= bound && core <= bound, "memory grew by more than {bound} MiB");
    println!("{refreshes} refreshes of {} registrations, none lost", arguments.connections);
    Ok(())
}

fn memory(chain: &Chain) -> Result<Memory> {
    let usage = chain.usage()?;
    Ok(Memory { edge: usage.edge.resident_bytes, core: usage.core.resident_bytes })
}

fn report(when: &str, empty: &Memory, now: &Memory, connections: usize) {
    let each = |now: u64, empty: u64| now.saturating_sub(empty) as f64 / 1024.0 / connections as f64;
    println!(
        "{when}: resident per registration: edge {:.1} KiB, core {:.1} KiB (edge {:.1} MiB, core {:.1} MiB in all)",
        each(now.edge, empty.edge),
        each(now.core, empty.core),
        mib(now.edge),
        mib(now.core),
    );
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
