//! `bench xmpp`: chat through edge and core to Prosody, against one HAProxy that ends TLS in front of it.

mod chain;
mod crowd;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use edgeway_interop::certificates::Authority;
use edgeway_interop::process::{Scratch, Usage};
use serde::Serialize;

use crate::report::{self, Machine, Table, cell, median, micros_each, ratio};
use crate::{Common, perf};
use chain::{Chain, Kind};
use crowd::{Crowd, Done};

/// What both our tiers may cost for each message, to one HAProxy.
const CPU_MAX: f64 = 1.0;
/// What our edge may hold for each session, to HAProxy.
const MEMORY_MAX: f64 = 0.8;

/// Options of `bench xmpp`.
#[derive(Args, Clone, Debug)]
pub(crate) struct XmppArguments {
    #[command(flatten)]
    common: Common,
    /// Clients that are signed in
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    sessions: usize,
    /// Messages a second
    #[arg(long, default_value_t = 2_000.0, value_name = "N")]
    rate: f64,
    /// Pairs that answer each other as fast as it goes
    #[arg(long, default_value_t = 64, value_name = "N")]
    pairs: usize,
}

impl XmppArguments {
    fn kinds(&self) -> Vec<Kind> {
        let ours = self.common.wants_ours().then_some(Kind::Edgeway);
        let peers = [Kind::HaProxy, Kind::HaProxyTls].into_iter().filter(|_| self.common.wants_peer());
        ours.into_iter().chain(peers).collect()
    }

    fn phase(&self) -> Duration {
        Duration::from_secs(if self.common.quick { 5 } else { 15 })
    }
}

/// What one phase cost.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    chain: &'static str,
    work: &'static str,
    per_second: f64,
    edge_us: f64,
    core_us: f64,
    server_us: f64,
    generator_us: f64,
    p50_ms: f64,
    p99_ms: f64,
    lost: usize,
}

/// What idle sessions hold, KiB each.
#[derive(Clone, Debug, Serialize)]
struct Memory {
    chain: &'static str,
    sessions: usize,
    edge_kib: f64,
    core_kib: f64,
    edge_resident_kib: f64,
}

#[derive(Debug, Serialize)]
struct Results {
    machine: Machine,
    runs: usize,
    memory: Vec<Memory>,
    figures: Vec<Figures>,
}

/// Runs the bench and prints it.
pub(crate) fn run(arguments: &XmppArguments) -> Result<()> {
    arguments.common.check()?;
    let runs = arguments.common.runs();
    let mut results = Results { machine: Machine::here(), runs, memory: vec![], figures: vec![] };
    eprintln!("{}", results.machine.line());
    for round in 0..runs {
        for kind in arguments.kinds() {
            eprintln!("round {}: {}", round + 1, kind.name());
            measure(arguments, round, kind, &mut results)?;
        }
    }
    print(&results);
    report::write_json(arguments.common.json.as_deref(), &results)?;
    let lost: usize = results.figures.iter().map(|figures| figures.lost).sum();
    ensure!(lost == 0, "{lost} messages were lost");
    Ok(())
}

fn measure(arguments: &XmppArguments, round: usize, kind: Kind, results: &mut Results) -> Result<()> {
    let mut scratch = Scratch::create(&format!("xmpp-{}", kind.name()))?;
    let directory = scratch.path().to_owned();
    let mut run = || {
        let authority = Authority::create(&directory, "authority")?;
        let chain = Chain::start(kind, arguments.sessions, &authority, &directory)?;
        // What is loaded and warmed by the first sessions is not what a session costs.
        let first = Crowd::start(chain.listens(), &authority.certificate(), 20).with_context(|| chain.logs())?;
        first.idle(Duration::from_secs(1));
        drop(first);
        std::thread::sleep(Duration::from_secs(1));
        let before = chain.usage()?;
        let mut crowd = Crowd::start(chain.listens(), &authority.certificate(), arguments.sessions)
            .with_context(|| chain.logs())?;
        crowd.idle(Duration::from_secs(3));
        let after = chain.usage()?;
        let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / 1024.0 / arguments.sessions as f64;
        results.memory.push(Memory {
            chain: kind.name(),
            sessions: arguments.sessions,
            edge_kib: each(after.edge.proportional_bytes, before.edge.proportional_bytes),
            core_kib: each(after.core.proportional_bytes, before.core.proportional_bytes),
            edge_resident_kib: each(after.edge.resident_bytes, before.edge.resident_bytes),
        });
        for work in ["paced", "saturated"] {
            let profile = profile(arguments, round, &chain, work)?;
            results.figures.push(phase(arguments, kind, &chain, &mut crowd, work)?);
            drop(profile);
        }
        Ok(())
    };
    run()
        .inspect_err(|_: &anyhow::Error| scratch.keep())
        .with_context(|| format!("{}; logs in {}", kind.name(), directory.display()))
}

fn phase(
    arguments: &XmppArguments,
    kind: Kind,
    chain: &Chain,
    crowd: &mut Crowd,
    work: &'static str,
) -> Result<Figures> {
    let mut load = |duration| match work {
        "paced" => crowd.paced(arguments.rate, duration),
        _ => crowd.saturated(arguments.pairs, duration),
    };
    load(Duration::from_secs(1))?;
    let (before, own_before) = (chain.usage()?, own_usage()?);
    let Done { sent, received, mut latencies, elapsed } = load(arguments.phase())?;
    let (after, own_after) = (chain.usage()?, own_usage()?);
    let each = |after: &Usage, before: &Usage| micros_each(after.cpu.saturating_sub(before.cpu), received);
    Ok(Figures {
        chain: kind.name(),
        work,
        per_second: received as f64 / elapsed.as_secs_f64(),
        edge_us: each(&after.edge, &before.edge),
        core_us: each(&after.core, &before.core),
        server_us: each(&after.server, &before.server),
        generator_us: micros_each(own_after.saturating_sub(own_before), received),
        p50_ms: latencies.percentile_ms(0.5),
        p99_ms: latencies.percentile_ms(0.99),
        lost: sent.saturating_sub(received),
    })
}

/// This process's own CPU time.
fn own_usage() -> Result<Duration> {
    Usage::of_process(std::process::id()).map(|usage| usage.cpu).context("own usage")
}

fn profile(arguments: &XmppArguments, round: usize, chain: &Chain, work: &str) -> Result<Option<perf::Profile>> {
    let Some(folder) = arguments.common.perf.as_deref().filter(|_| round == 0) else { return Ok(None) };
    perf::Profile::start(folder, &format!("xmpp-{work}"), &chain.our_pids()).context("perf")
}

const CHAINS: [Kind; 3] = [Kind::Edgeway, Kind::HaProxy, Kind::HaProxyTls];

fn figure(results: &Results, chain: Kind, work: &str, pick: impl Fn(&Figures) -> f64) -> Option<f64> {
    let mut found =
        results.figures.iter().filter(|figures| figures.chain == chain.name() && figures.work == work).peekable();
    found.peek()?;
    Some(median(found.map(pick)))
}

fn held(results: &Results, chain: Kind, pick: impl Fn(&Memory) -> f64) -> Option<f64> {
    let mut found = results.memory.iter().filter(|memory| memory.chain == chain.name()).peekable();
    found.peek()?;
    Some(median(found.map(pick)))
}

fn print(results: &Results) {
    println!("{}; medians of {}\n", results.machine.line(), results.runs);
    let mut table = Table::new(&["idle sessions", "edge KiB each", "edge KiB, resident", "core KiB", "to haproxy"]);
    let peer = held(results, Kind::HaProxy, |memory| memory.edge_kib);
    for chain in CHAINS {
        let edge = held(results, chain, |memory| memory.edge_kib);
        table.row(vec![
            chain.name().to_owned(),
            cell(edge, 1),
            cell(held(results, chain, |memory| memory.edge_resident_kib), 1),
            cell(held(results, chain, |memory| memory.core_kib), 1),
            cell(ratio(edge, peer), 2),
        ]);
    }
    println!("{}", table.text());
    let heads = [
        "",
        "chain",
        "edge µs",
        "core µs",
        "both",
        "to haproxy",
        "server µs",
        "generator µs",
        "per s",
        "p50 ms",
        "p99 ms",
        "lost",
    ];
    let mut table = Table::new(&heads);
    for work in ["paced", "saturated"] {
        let both = |chain| figure(results, chain, work, |figures| figures.edge_us + figures.core_us);
        for chain in CHAINS {
            let figure = |pick: fn(&Figures) -> f64, decimals| cell(figure(results, chain, work, pick), decimals);
            table.row(vec![
                work.to_owned(),
                chain.name().to_owned(),
                figure(|figures| figures.edge_us, 1),
                figure(|figures| figures.core_us, 1),
                cell(both(chain), 1),
                cell(ratio(both(chain), both(Kind::HaProxy)), 2),
                figure(|figures| figures.server_us, 1),
                figure(|figures| figures.generator_us, 1),
                figure(|figures| figures.per_second, 0),
                figure(|figures| figures.p50_ms, 2),
                figure(|figures| figures.p99_ms, 2),
                figure(|figures| figures.lost as f64, 0),
            ]);
        }
    }
    println!("{}", table.text());
    print_goals(results);
}

/// What the two tiers may cost beside one HAProxy that ends TLS, and whether they cost no more.
fn print_goals(results: &Results) {
    let of = |work| {
        let both = |chain| figure(results, chain, work, |figures| figures.edge_us + figures.core_us);
        ratio(both(Kind::Edgeway), both(Kind::HaProxy))
    };
    let edge = |chain| held(results, chain, |memory| memory.edge_kib);
    let goals = [
        ("CPU per message, paced, both tiers to haproxy", of("paced"), CPU_MAX),
        ("CPU per message, saturated, both tiers to haproxy", of("saturated"), CPU_MAX),
        ("memory per idle session, edge to haproxy", ratio(edge(Kind::Edgeway), edge(Kind::HaProxy)), MEMORY_MAX),
    ];
    let mut table = Table::new(&["goal", "at most", "measured", ""]);
    for (goal, measured, most) in goals {
        let met = measured.map_or("–", |measured| if measured <= most { "met" } else { "missed" });
        table.row(vec![goal.to_owned(), format!("{most:.1}"), cell(measured, 2), met.to_owned()]);
    }
    println!("{}", table.text());
}
