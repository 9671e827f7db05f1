//! `bench sip`: REGISTER and calls through two tiers to a registrar.

pub(crate) mod chain;
pub(crate) mod client;
pub(crate) mod crowd;

use crate::report::{self, Machine, Table, cell, median, micros_each, ratio};
use crate::{Common, perf};
use anyhow::{Context, Result};
use chain::{Chain, Kind};
use clap::Args;
use crowd::{Crowd, Load};
use edgeway_interop::certificates::Authority;
use edgeway_interop::process::{Scratch, Usage};
use edgeway_interop::product::EDGE_NAME;
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// Options of `bench sip`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SipArguments {
    #[command(flatten)]
    common: Common,
    /// TLS connections, one registered user on each
    #[arg(long, value_delimiter = ',', value_name = "N,N")]
    connections: Option<Vec<usize>>,
    /// Kamailio's worker processes in each tier; the best count is compared with
    #[arg(long, value_delimiter = ',', value_name = "N,N")]
    workers: Option<Vec<u8>>,
    /// Requests in flight when saturated
    #[arg(long, default_value_t = 64, value_name = "N")]
    in_flight: usize,
    /// REGISTERs a second at half load; without it, half of what the slowest manages
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Leave out calls
    #[arg(long)]
    no_calls: bool,
}

impl SipArguments {
    fn connections(&self) -> Vec<usize> {
        let standard = if self.common.quick { vec![1000] } else { vec![100, 1000, 5000] };
        self.connections.clone().unwrap_or(standard)
    }

    fn kinds(&self) -> Vec<Kind> {
        let workers = self.workers.clone().unwrap_or(if self.common.quick { vec![4] } else { vec![2, 4] });
        let ours = self.common.wants_ours().then_some(Kind::Edgeway);
        let peers = workers.into_iter().map(|workers| Kind::Kamailio { workers });
        ours.into_iter().chain(peers.filter(|_| self.common.wants_peer())).collect()
    }

    fn phase(&self) -> Duration {
        Duration::from_secs(if self.common.quick { 3 } else { 6 })
    }
}

/// What one phase cost.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    /// The chain: `edgeway`, `kamailio-4`.
    chain: String,
    connections: usize,
    work: &'static str,
    per_second: f64,
    edge_us: f64,
    core_us: f64,
    registrar_us: f64,
    /// The generator's own, so that one sees what it took from the machine.
    generator_us: f64,
    p50_ms: f64,
    p99_ms: f64,
    failed: usize,
}

/// Memory of a tier for each registered connection.
#[derive(Clone, Debug, Serialize)]
struct Memory {
    chain: String,
    connections: usize,
    edge_kib: f64,
    core_kib: f64,
    /// CPU of the edge for a phone that arrives: handshake, challenge and registration.
    arrival_edge_us: f64,
}

#[derive(Debug, Serialize)]
struct Results {
    machine: Machine,
    runs: usize,
    figures: Vec<Figures>,
    memory: Vec<Memory>,
    comparison: Vec<Comparison>,
}

/// Ours beside the peer's best.
#[derive(Clone, Debug, Serialize)]
struct Comparison {
    connections: usize,
    work: &'static str,
    peer: Option<String>,
    ours: [Option<f64>; 2],
    peers: [Option<f64>; 2],
    edge_ratio: Option<f64>,
    core_ratio: Option<f64>,
}

/// Runs the bench and prints it.
pub(crate) fn run(arguments: &SipArguments) -> Result<()> {
    arguments.common.check()?;
    let machine = Machine::here();
    let mut results =
        Results { machine, runs: arguments.common.runs(), figures: vec![], memory: vec![], comparison: vec![] };
    eprintln!("{}", results.machine.line());
    for connections in arguments.connections() {
        // The half load is the same for everybody: half of what the slowest managed in the first round.
        let mut half_rate = arguments.rate;
        for round in 0..arguments.common.runs() {
            let mut slowest = f64::INFINITY;
            let mut open: Vec<Measurement<'_>> = Vec::new();
            for kind in arguments.kinds() {
                let measurement = Measurement { arguments, kind, connections, round };
                let first = half_rate.is_none().then(|| measurement.probe_rate()).transpose()?;
                slowest = slowest.min(first.unwrap_or(f64::INFINITY));
                open.push(measurement);
            }
            let rate = *half_rate.get_or_insert(slowest / 2.0);
            for measurement in open {
                measurement.take(rate, &mut results)?;
            }
        }
    }
    results.comparison = compare(&results);
    print(&results);
    report::write_json(arguments.common.json.as_deref(), &results)
}

/// One chain at one size, once.
struct Measurement<'a> {
    arguments: &'a SipArguments,
    kind: Kind,
    connections: usize,
    round: usize,
}

impl Measurement<'_> {
    /// How many REGISTERs a second the chain manages, measured briefly.
    fn probe_rate(&self) -> Result<f64> {
        self.with_logs("probe", |directory| {
            let (_chain, mut crowd) = self.start(directory)?;
            crowd.gather(self.connections)?;
            let start = Instant::now();
            let done = crowd.run(Load::Registers { rate: None }, Duration::from_millis(1500))?;
            Ok(done.latencies.count() as f64 / start.elapsed().as_secs_f64())
        })
    }

    fn take(&self, half_rate: f64, results: &mut Results) -> Result<()> {
        eprintln!("round {}: {} with {} connections", self.round + 1, self.kind.name(), self.connections);
        self.with_logs("sip", |directory| self.measure(half_rate, directory, results))
    }

    /// A folder for logs, kept where `work` fails.
    fn with_logs<T>(&self, what: &str, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let mut scratch = Scratch::create(&format!("{what}-{}", self.kind.name()))?;
        work(scratch.path()).inspect_err(|_| scratch.keep()).with_context(|| {
            format!("{} with {} connections; logs in {}", self.kind.name(), self.connections, scratch.path().display())
        })
    }

    fn measure(&self, half_rate: f64, directory: &Path, results: &mut Results) -> Result<()> {
        let (chain, mut crowd) = self.start(directory)?;
        let before = chain.usage()?;
        crowd.gather(self.connections)?;
        let registered = chain.usage()?;
        let kib = |later: &Usage, earlier: &Usage| {
            (later.proportional_bytes as f64 - earlier.proportional_bytes as f64) / 1024.0 / self.connections as f64
        };
        results.memory.push(Memory {
            chain: self.kind.name(),
            connections: self.connections,
            edge_kib: kib(&registered.edge, &before.edge),
            core_kib: kib(&registered.core, &before.core),
            arrival_edge_us: micros_each(registered.edge.cpu - before.edge.cpu, self.connections),
        });
        let mut loads = vec![("REGISTER, saturated", Load::Registers { rate: None })];
        loads.push(("REGISTER, half load", Load::Registers { rate: Some(half_rate) }));
        if !self.arguments.no_calls {
            loads.push(("call, both outside", Load::Calls));
        }
        for (work, load) in loads {
            let profile = self.profile(&chain, work)?;
            results.figures.push(self.phase(&chain, &mut crowd, work, load)?);
            drop(profile);
        }
        Ok(())
    }

    fn start(&self, directory: &Path) -> Result<(Chain, Crowd)> {
        let authority = Authority::create(directory, "authority")?;
        let chain = Chain::start(self.kind, &authority.issue(EDGE_NAME)?, directory)?;
        let crowd = Crowd::new(chain.edge_address(), &authority.certificate(), self.arguments.in_flight)?;
        Ok((chain, crowd))
    }

    fn phase(&self, chain: &Chain, crowd: &mut Crowd, work: &'static str, load: Load) -> Result<Figures> {
        // Caches and connections warm up outside the figures.
        crowd.run(load, Duration::from_millis(500))?;
        let (before, own_before) = (chain.usage()?, own_usage()?);
        let start = Instant::now();
        let mut done = crowd.run(load, self.arguments.phase())?;
        let elapsed = start.elapsed();
        let (after, own_after) = (chain.usage()?, own_usage()?);
        let count = done.latencies.count();
        let each = |after: &Usage, before: &Usage| micros_each(after.cpu - before.cpu, count);
        Ok(Figures {
            chain: self.kind.name(),
            connections: self.connections,
            work,
            per_second: count as f64 / elapsed.as_secs_f64(),
            edge_us: each(&after.edge, &before.edge),
            core_us: each(&after.core, &before.core),
            registrar_us: each(&after.registrar, &before.registrar),
            generator_us: micros_each(own_after - own_before, count),
            p50_ms: done.latencies.percentile_ms(0.5),
            p99_ms: done.latencies.percentile_ms(0.99),
            failed: done.failed,
        })
    }

    /// A profile of our processes during a phase of the first round, where `--perf` asks for one.
    fn profile(&self, chain: &Chain, work: &str) -> Result<Option<perf::Profile>> {
        let Some(folder) = self.arguments.common.perf.as_deref().filter(|_| self.round == 0) else { return Ok(None) };
        let name = format!("sip-{}-{}", self.connections, work.replace([' ', ','], "-"));
        perf::Profile::start(folder, &name, &chain.our_pids()).context("perf")
    }
}

/// This process's own CPU time. Other processes are children of it, so the tree would count them.
fn own_usage() -> Result<Duration> {
    Usage::of_process(std::process::id()).map(|usage| usage.cpu).context("own usage")
}

/// The keys of all rows, in the order they were measured.
fn rows(results: &Results) -> Vec<(usize, &'static str)> {
    let mut rows = Vec::new();
    for figures in &results.figures {
        let row = (figures.connections, figures.work);
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    rows
}

/// The chains measured, ours first.
fn chains(results: &Results) -> Vec<String> {
    let mut chains: Vec<String> = Vec::new();
    for figures in &results.figures {
        if !chains.contains(&figures.chain) {
            chains.push(figures.chain.clone());
        }
    }
    chains
}

/// The median of one figure of one chain in one row.
fn figure(results: &Results, chain: &str, row: (usize, &str), pick: impl Fn(&Figures) -> f64) -> Option<f64> {
    let fits = |figures: &&Figures| figures.chain == chain && (figures.connections, figures.work) == row;
    let mut found = results.figures.iter().filter(fits).peekable();
    found.peek()?;
    Some(median(found.map(pick)))
}

/// Ours beside the worker count at which the peer needs least CPU in both tiers.
fn compare(results: &Results) -> Vec<Comparison> {
    let ours = Kind::Edgeway.name();
    let chains = chains(results);
    let compare_row = |(connections, work): (usize, &'static str)| {
        let both =
            |chain: &str| figure(results, chain, (connections, work), |figures| figures.edge_us + figures.core_us);
        let peers = chains.iter().filter(|chain| **chain != ours);
        let peer =
            peers.min_by(|one, other| f64::total_cmp(&both(one).unwrap_or(f64::MAX), &both(other).unwrap_or(f64::MAX)));
        let tiers = |chain: &str| {
            [
                figure(results, chain, (connections, work), |figures| figures.edge_us),
                figure(results, chain, (connections, work), |figures| figures.core_us),
            ]
        };
        let (ours, peers) = (tiers(&ours), peer.map_or([None, None], |peer| tiers(peer)));
        let (edge_ratio, core_ratio) = (ratio(ours[0], peers[0]), ratio(ours[1], peers[1]));
        Comparison { connections, work, peer: peer.cloned(), ours, peers, edge_ratio, core_ratio }
    };
    rows(results).into_iter().map(compare_row).collect()
}

fn print(results: &Results) {
    println!("{}; medians of {}", results.machine.line(), results.runs);
    let heads = [
        "",
        "connections",
        "chain",
        "edge µs",
        "core µs",
        "registrar µs",
        "generator µs",
        "per s",
        "p50 ms",
        "p99 ms",
        "failed",
    ];
    let mut table = Table::new(&heads);
    for row in rows(results) {
        for chain in chains(results) {
            let figure = |pick: fn(&Figures) -> f64, decimals| cell(figure(results, &chain, row, pick), decimals);
            table.row(vec![
                row.1.to_owned(),
                row.0.to_string(),
                chain.clone(),
                figure(|figures| figures.edge_us, 1),
                figure(|figures| figures.core_us, 1),
                figure(|figures| figures.registrar_us, 1),
                figure(|figures| figures.generator_us, 1),
                figure(|figures| figures.per_second, 0),
                figure(|figures| figures.p50_ms, 2),
                figure(|figures| figures.p99_ms, 2),
                figure(|figures| figures.failed as f64, 0),
            ]);
        }
    }
    println!("\n{}", table.text());
    println!("A call through edgeway opens and closes two media relays as well; Kamailio alone relays no media.\n");
    println!("{}", memory_table(results).text());
    let mut table = Table::new(&["ours / peer's best", "connections", "peer", "edge", "core"]);
    for row in &results.comparison {
        let peer = row.peer.clone().unwrap_or_else(|| "–".to_owned());
        table.row(vec![
            row.work.to_owned(),
            row.connections.to_string(),
            peer,
            cell(row.edge_ratio, 2),
            cell(row.core_ratio, 2),
        ]);
    }
    println!("{}", table.text());
}

fn memory_table(results: &Results) -> Table {
    let mut table =
        Table::new(&["memory per registered connection", "connections", "edge KiB", "core KiB", "arrival, edge µs"]);
    let mut sizes: Vec<usize> = results.memory.iter().map(|memory| memory.connections).collect();
    sizes.dedup();
    sizes.sort_unstable();
    sizes.dedup();
    for connections in sizes {
        for chain in chains(results) {
            let fits = |memory: &&Memory| memory.connections == connections && memory.chain == chain;
            let middle = |pick: fn(&Memory) -> f64| median(results.memory.iter().filter(fits).map(pick));
            table.row(vec![
                chain.clone(),
                connections.to_string(),
                format!("{:.1}", middle(|memory| memory.edge_kib)),
                format!("{:.1}", middle(|memory| memory.core_kib)),
                format!("{:.0}", middle(|memory| memory.arrival_edge_us)),
            ]);
        }
    }
    table
}
