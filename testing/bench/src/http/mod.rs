//! `bench http`: HTTPS GET of 1 KiB through two tiers, against nginx → TLS → nginx.

pub(crate) mod chain;
pub(crate) mod crowd;
pub(crate) mod nginx;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use edgeway_interop::certificates::Authority;
use edgeway_interop::process::{Scratch, Usage};
use serde::Serialize;

use crate::report::{self, Machine, Table, cell, median, micros_each, ratio};
use crate::{Common, perf};
use chain::{Chain, Kind};
use crowd::{Asked, Crowd, Way};

/// Options of `bench http`.
#[derive(Args, Clone, Debug)]
pub(crate) struct HttpArguments {
    #[command(flatten)]
    common: Common,
    /// TLS connections that stay
    #[arg(long, default_value_t = 64, value_name = "N")]
    connections: usize,
    /// HTTP/2 connections, with ten requests at a time on each
    #[arg(long, default_value_t = 10, value_name = "N")]
    http2: usize,
    /// Requests at a time, each on a connection of its own
    #[arg(long, default_value_t = 16, value_name = "N")]
    new: usize,
    /// nginx's worker processes in each tier; the best count is compared with
    #[arg(long, value_delimiter = ',', value_name = "N,N")]
    workers: Option<Vec<u8>>,
    /// Requests a second at half load; without it, half of what the slowest manages
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
}

impl HttpArguments {
    fn kinds(&self) -> Vec<Kind> {
        let workers = self.workers.clone().unwrap_or(if self.common.quick { vec![1] } else { vec![1, 2] });
        let ours = self.common.wants_ours().then_some(Kind::Edgeway);
        let peers = workers.into_iter().map(|workers| Kind::Nginx { workers });
        ours.into_iter().chain(peers.filter(|_| self.common.wants_peer())).collect()
    }

    fn phase(&self) -> Duration {
        Duration::from_secs(if self.common.quick { 3 } else { 6 })
    }

    fn works(&self, half_rate: f64) -> [Work; 5] {
        let kept = Way::Kept(self.connections);
        let work = |name, way, rate, signs_in| Work { name, way, rate, signs_in };
        [
            work("GET, saturated", kept, None, false),
            work("GET, half load", kept, Some(half_rate), false),
            work("GET, HTTP/2", Way::Http2(self.http2), None, false),
            work("new connection", Way::New(self.new), None, false),
            work("sign-in", Way::New(self.new), None, true),
        ]
    }
}

/// One kind of load.
#[derive(Clone, Copy, Debug)]
struct Work {
    name: &'static str,
    way: Way,
    rate: Option<f64>,
    signs_in: bool,
}

/// What one phase cost.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    /// The chain: `edgeway`, `nginx-1`.
    chain: String,
    work: &'static str,
    per_second: f64,
    edge_us: f64,
    core_us: f64,
    server_us: f64,
    /// The generator's own, so that one sees what it took from the machine.
    generator_us: f64,
    p50_ms: f64,
    p99_ms: f64,
    failed: usize,
}

#[derive(Debug, Serialize)]
struct Results {
    machine: Machine,
    runs: usize,
    figures: Vec<Figures>,
    comparison: Vec<Comparison>,
}

/// Ours beside the peer's best; CPU of both tiers, µs per request.
#[derive(Clone, Debug, Serialize)]
struct Comparison {
    work: &'static str,
    peer: Option<String>,
    ours: [Option<f64>; 2],
    peers: [Option<f64>; 2],
    /// Both tiers of ours over both of the peer's.
    cpu_ratio: Option<f64>,
    rate_ratio: Option<f64>,
}

/// Runs the bench and prints it.
pub(crate) fn run(arguments: &HttpArguments) -> Result<()> {
    arguments.common.check()?;
    let runs = arguments.common.runs();
    let mut results = Results { machine: Machine::here(), runs, figures: vec![], comparison: vec![] };
    eprintln!("{}", results.machine.line());
    // The half load is the same for everybody: half of what the slowest managed in the first round.
    let mut half_rate = arguments.rate;
    for round in 0..runs {
        let kinds = arguments.kinds();
        if half_rate.is_none() {
            let rates: Vec<f64> = kinds.iter().map(|kind| probe(arguments, *kind)).collect::<Result<_>>()?;
            half_rate = Some(rates.into_iter().fold(f64::INFINITY, f64::min) / 2.0);
        }
        for kind in kinds {
            eprintln!("round {}: {}", round + 1, kind.name());
            with_chain(kind, |chain, crowd| {
                for work in arguments.works(half_rate.unwrap_or(f64::INFINITY)) {
                    let asked = if work.signs_in { chain.signing_in(crowd)? } else { chain.file(crowd)? };
                    let profile = profile(arguments, round, chain, work.name)?;
                    results.figures.push(phase(arguments, kind, chain, crowd, work, &asked)?);
                    drop(profile);
                }
                Ok(())
            })?;
        }
    }
    results.comparison = compare(&results);
    print(&results);
    report::write_json(arguments.common.json.as_deref(), &results)
}

/// How many requests a second the chain manages, measured briefly.
fn probe(arguments: &HttpArguments, kind: Kind) -> Result<f64> {
    with_chain(kind, |chain, crowd| {
        let asked = chain.file(crowd)?;
        let start = Instant::now();
        let done = crowd.run(Way::Kept(arguments.connections), &asked, None, Duration::from_millis(1500))?;
        Ok(done.latencies.count() as f64 / start.elapsed().as_secs_f64())
    })
}

/// A chain for as long as `work` takes; its logs are kept where that fails.
fn with_chain<T>(kind: Kind, work: impl FnOnce(&Chain, &Crowd) -> Result<T>) -> Result<T> {
    let mut scratch = Scratch::create(&format!("http-{}", kind.name()))?;
    let run = |directory: &Path| {
        let authority = Authority::create(directory, "authority")?;
        let chain = Chain::start(kind, &authority, directory)?;
        let crowd = Crowd::new(chain.edge_address(), &authority.certificate())?;
        work(&chain, &crowd)
    };
    run(scratch.path())
        .inspect_err(|_| scratch.keep())
        .with_context(|| format!("{}; logs in {}", kind.name(), scratch.path().display()))
}

fn phase(
    arguments: &HttpArguments,
    kind: Kind,
    chain: &Chain,
    crowd: &Crowd,
    work: Work,
    asked: &[Asked],
) -> Result<Figures> {
    // Caches and connections to the next hops warm up outside the figures.
    crowd.run(work.way, asked, work.rate, Duration::from_millis(500))?;
    let (before, own_before) = (chain.usage()?, own_usage()?);
    let start = Instant::now();
    let mut done = crowd.run(work.way, asked, work.rate, arguments.phase())?;
    let elapsed = start.elapsed();
    let (after, own_after) = (chain.usage()?, own_usage()?);
    let count = done.latencies.count();
    let each = |after: &Usage, before: &Usage| micros_each(after.cpu - before.cpu, count);
    Ok(Figures {
        chain: kind.name(),
        work: work.name,
        per_second: count as f64 / elapsed.as_secs_f64(),
        edge_us: each(&after.edge, &before.edge),
        core_us: each(&after.core, &before.core),
        server_us: each(&after.server, &before.server),
        generator_us: micros_each(own_after - own_before, count),
        p50_ms: done.latencies.percentile_ms(0.5),
        p99_ms: done.latencies.percentile_ms(0.99),
        failed: done.failed,
    })
}

/// This process's own CPU time. Other processes are children of it, so the tree would count them.
fn own_usage() -> Result<Duration> {
    Usage::of_process(std::process::id()).map(|usage| usage.cpu).context("own usage")
}

/// A profile of our processes during a phase of the first round, where `--perf` asks for one.
fn profile(arguments: &HttpArguments, round: usize, chain: &Chain, work: &str) -> Result<Option<perf::Profile>> {
    let Some(folder) = arguments.common.perf.as_deref().filter(|_| round == 0) else { return Ok(None) };
    let name = format!("http-{}", work.replace([' ', ',', '/'], "-"));
    perf::Profile::start(folder, &name, &chain.our_pids()).context("perf")
}

/// The loads and the chains, each in the order measured.
fn rows(results: &Results) -> (Vec<&'static str>, Vec<String>) {
    let (mut works, mut chains) = (Vec::new(), Vec::new());
    for figures in &results.figures {
        if !works.contains(&figures.work) {
            works.push(figures.work);
        }
        if !chains.contains(&figures.chain) {
            chains.push(figures.chain.clone());
        }
    }
    (works, chains)
}

/// The median of one figure of one chain under one load.
fn figure(results: &Results, chain: &str, work: &str, pick: impl Fn(&Figures) -> f64) -> Option<f64> {
    let fits = |figures: &&Figures| figures.chain == chain && figures.work == work;
    let mut found = results.figures.iter().filter(fits).peekable();
    found.peek()?;
    Some(median(found.map(pick)))
}

/// Ours beside the worker count at which the peer needs least CPU in both tiers.
fn compare(results: &Results) -> Vec<Comparison> {
    let (works, chains) = rows(results);
    let ours = Kind::Edgeway.name();
    let compare_work = |work: &'static str| {
        let both = |chain: &str| figure(results, chain, work, |figures| figures.edge_us + figures.core_us);
        let peers = chains.iter().filter(|chain| **chain != ours);
        let peer =
            peers.min_by(|one, other| f64::total_cmp(&both(one).unwrap_or(f64::MAX), &both(other).unwrap_or(f64::MAX)));
        let tiers = |chain: &str| {
            [
                figure(results, chain, work, |figures| figures.edge_us),
                figure(results, chain, work, |figures| figures.core_us),
            ]
        };
        let rate = |chain: &str| figure(results, chain, work, |figures| figures.per_second);
        Comparison {
            work,
            peer: peer.cloned(),
            ours: tiers(&ours),
            peers: peer.map_or([None, None], |peer| tiers(peer)),
            cpu_ratio: ratio(both(&ours), peer.and_then(|peer| both(peer))),
            rate_ratio: ratio(rate(&ours), peer.and_then(|peer| rate(peer))),
        }
    };
    works.into_iter().map(compare_work).collect()
}

fn print(results: &Results) {
    println!("{}; medians of {}", results.machine.line(), results.runs);
    let heads = ["", "chain", "edge µs", "core µs", "server µs", "generator µs", "per s", "p50 ms", "p99 ms", "failed"];
    let mut table = Table::new(&heads);
    let (works, chains) = rows(results);
    for work in works {
        for chain in &chains {
            let figure = |pick: fn(&Figures) -> f64, decimals| cell(figure(results, chain, work, pick), decimals);
            table.row(vec![
                work.to_owned(),
                chain.clone(),
                figure(|figures| figures.edge_us, 1),
                figure(|figures| figures.core_us, 1),
                figure(|figures| figures.server_us, 1),
                figure(|figures| figures.generator_us, 1),
                figure(|figures| figures.per_second, 0),
                figure(|figures| figures.p50_ms, 2),
                figure(|figures| figures.p99_ms, 2),
                figure(|figures| figures.failed as f64, 0),
            ]);
        }
    }
    println!("\n{}", table.text());
    println!("A sign-in is compared with a GET on a new connection: nginx checks no credentials.\n");
    let mut table = Table::new(&["ours / peer's best", "peer", "CPU of both tiers", "per second"]);
    for row in &results.comparison {
        let peer = row.peer.clone().unwrap_or_else(|| "–".to_owned());
        table.row(vec![row.work.to_owned(), peer, cell(row.cpu_ratio, 2), cell(row.rate_ratio, 2)]);
    }
    println!("{}", table.text());
}
