//! `bench media`: SRTP outside, RTP inside, 50 packets a second of 172 bytes in each stream.

mod ours;
mod rtpengine;
mod streams;

use crate::report::{self, Machine, Table, cell, median, micros_each, ratio};
use crate::{Common, perf};
use anyhow::{Context, Result, ensure};
use clap::Args;
use edgeway_interop::process::{Scratch, Usage};
use edgeway_model::Random;
use ours::Ours;
use rtpengine::Rtpengine;
use serde::Serialize;
use std::io::Read;
use std::path::Path;
use std::time::Duration;
use streams::Streams;

/// Latches, routes and caches settle before anything is measured.
const WARM_UP: Duration = Duration::from_millis(1500);

/// Options of `bench media`.
#[derive(Args, Clone, Debug)]
pub(crate) struct MediaArguments {
    #[command(flatten)]
    common: Common,
    /// Streams of 50 packets a second; a call has two
    #[arg(long, value_delimiter = ',', value_name = "N,N")]
    streams: Option<Vec<usize>>,
    /// rtpengine's worker threads; the best count is compared with
    #[arg(long, value_delimiter = ',', value_name = "N,N")]
    threads: Option<Vec<u8>>,
    /// How long each measurement sends
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
}

impl MediaArguments {
    fn streams(&self) -> Vec<usize> {
        self.streams.clone().unwrap_or(if self.common.quick { vec![200] } else { vec![200, 400, 800] })
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(if self.common.quick { 5 } else { 10 }))
    }

    fn kinds(&self) -> Vec<Kind> {
        let threads = self.threads.clone().unwrap_or(vec![2, 4]);
        let ours = self.common.wants_ours().then_some(Kind::Edgeway);
        let peers = threads.into_iter().map(|threads| Kind::Rtpengine { threads });
        ours.into_iter().chain(peers.filter(|_| self.common.wants_peer())).collect()
    }
}

/// What relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Ours: both tiers.
    Edgeway,
    /// The peer.
    Rtpengine { threads: u8 },
}

impl Kind {
    fn name(self) -> String {
        match self {
            Self::Edgeway => "edgeway".to_owned(),
            Self::Rtpengine { threads } => format!("rtpengine-{threads}"),
        }
    }
}

enum Relay {
    Edgeway(Box<Ours>),
    Rtpengine(Rtpengine),
}

/// What one measurement cost.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    relay: String,
    streams: usize,
    packets_per_second: f64,
    /// CPU for each packet relayed: of rtpengine, or of edge and core.
    total_us: f64,
    edge_us: Option<f64>,
    core_us: Option<f64>,
    generator_us: f64,
    lost_percent: f64,
    p50_ms: f64,
    p99_ms: f64,
}

#[derive(Debug, Serialize)]
struct Results {
    machine: Machine,
    runs: usize,
    figures: Vec<Figures>,
    comparison: Vec<Comparison>,
}

/// Ours beside the thread count at which rtpengine needs least CPU.
#[derive(Clone, Debug, Serialize)]
struct Comparison {
    streams: usize,
    peer: Option<String>,
    ours_us: Option<f64>,
    peer_us: Option<f64>,
    ratio: Option<f64>,
}

/// Runs the bench and prints it.
pub(crate) fn run(arguments: &MediaArguments) -> Result<()> {
    arguments.common.check()?;
    let mut results =
        Results { machine: Machine::here(), runs: arguments.common.runs(), figures: vec![], comparison: vec![] };
    eprintln!("{}", results.machine.line());
    let mut random = seeded()?;
    for streams in arguments.streams() {
        for round in 0..arguments.common.runs() {
            for kind in arguments.kinds() {
                eprintln!("round {}: {} with {streams} streams", round + 1, kind.name());
                let mut scratch = Scratch::create(&format!("media-{}", kind.name()))?;
                let measured = measure(arguments, kind, streams, round, &mut random, scratch.path());
                let measured = measured.inspect_err(|_| scratch.keep());
                let place = scratch.path().display();
                results.figures.push(measured.with_context(|| format!("{}; logs in {place}", kind.name()))?);
            }
        }
    }
    results.comparison = compare(&results);
    print(&results);
    report::write_json(arguments.common.json.as_deref(), &results)
}

/// Keys must never repeat between runs.
fn seeded() -> Result<Random> {
    let mut seed = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(Random::from_seed(seed))
}

fn measure(
    arguments: &MediaArguments,
    kind: Kind,
    count: usize,
    round: usize,
    random: &mut Random,
    directory: &Path,
) -> Result<Figures> {
    let mut streams = Streams::new();
    let mut relay = match kind {
        Kind::Edgeway => Relay::Edgeway(Box::new(Ours::start(directory)?)),
        Kind::Rtpengine { threads } => Relay::Rtpengine(Rtpengine::start(threads, directory)?),
    };
    while streams.count() < count {
        match &mut relay {
            Relay::Edgeway(ours) => ours.add_call(&mut streams, random)?,
            Relay::Rtpengine(rtpengine) => rtpengine.add_call(&mut streams, random)?,
        }
    }
    let warm = streams.run(WARM_UP)?;
    ensure!(warm.received > 0, "no media came through: {} packets sent", warm.sent);
    ensure!(warm.wrong == 0, "{} packets were not what was sent", warm.wrong);
    let folder = arguments.common.perf.as_deref().filter(|_| round == 0);
    let profile = match (folder, &relay) {
        (Some(folder), Relay::Edgeway(ours)) => perf::Profile::start(folder, &format!("media-{count}"), &ours.pids())?,
        (Some(_) | None, _) => None,
    };
    let (before, own_before) = (relay.usage()?, Usage::of_process(std::process::id())?);
    let mut done = streams.run(arguments.duration())?;
    let (after, own_after) = (relay.usage()?, Usage::of_process(std::process::id())?);
    drop(profile);
    let tier = |index: usize| micros_each(after[index] - before[index], done.received);
    Ok(Figures {
        relay: kind.name(),
        streams: count,
        packets_per_second: done.sent as f64 / arguments.duration().as_secs_f64(),
        total_us: tier(0) + tier(1),
        edge_us: (kind == Kind::Edgeway).then(|| tier(0)),
        core_us: (kind == Kind::Edgeway).then(|| tier(1)),
        generator_us: micros_each(own_after.cpu - own_before.cpu, done.received),
        lost_percent: 100.0 * done.sent.saturating_sub(done.received) as f64 / done.sent.max(1) as f64,
        p50_ms: done.latencies.percentile_ms(0.5),
        p99_ms: done.latencies.percentile_ms(0.99),
    })
}

impl Relay {
    /// CPU so far: edge and core, or rtpengine and nothing.
    fn usage(&self) -> Result<[Duration; 2]> {
        match self {
            Self::Edgeway(ours) => ours.usage().map(|usage| [usage.edge.cpu, usage.core.cpu]),
            Self::Rtpengine(rtpengine) => rtpengine.usage().map(|usage| [usage.cpu, Duration::ZERO]),
        }
    }
}

fn figure(results: &Results, relay: &str, streams: usize, pick: impl Fn(&Figures) -> Option<f64>) -> Option<f64> {
    let fits = |figures: &&Figures| figures.relay == relay && figures.streams == streams;
    let found: Vec<f64> = results.figures.iter().filter(fits).filter_map(pick).collect();
    (!found.is_empty()).then(|| median(found))
}

/// The sizes and the relays measured, each in the order of measurement.
fn rows(results: &Results) -> (Vec<usize>, Vec<String>) {
    let (mut sizes, mut relays): (Vec<usize>, Vec<String>) = (Vec::new(), Vec::new());
    for figures in &results.figures {
        if !sizes.contains(&figures.streams) {
            sizes.push(figures.streams);
        }
        if !relays.contains(&figures.relay) {
            relays.push(figures.relay.clone());
        }
    }
    (sizes, relays)
}

fn compare(results: &Results) -> Vec<Comparison> {
    let ours = Kind::Edgeway.name();
    let (sizes, relays) = rows(results);
    let compare_row = |streams: usize| {
        let total = |relay: &str| figure(results, relay, streams, |figures| Some(figures.total_us));
        let peers = relays.iter().filter(|relay| **relay != ours);
        let least = |one: &&String, other: &&String| {
            f64::total_cmp(&total(one).unwrap_or(f64::MAX), &total(other).unwrap_or(f64::MAX))
        };
        let peer = peers.min_by(least);
        let (ours_us, peer_us) = (total(&ours), peer.and_then(|peer| total(peer)));
        Comparison { streams, peer: peer.cloned(), ours_us, peer_us, ratio: ratio(ours_us, peer_us) }
    };
    sizes.into_iter().map(compare_row).collect()
}

fn print(results: &Results) {
    println!("{}; medians of {}; µs of CPU for each packet", results.machine.line(), results.runs);
    let heads = [
        "relay",
        "streams",
        "packets/s",
        "total µs",
        "edge µs",
        "core µs",
        "generator µs",
        "lost %",
        "p50 ms",
        "p99 ms",
    ];
    let mut table = Table::new(&heads);
    let (sizes, relays) = rows(results);
    for streams in &sizes {
        for relay in &relays {
            let figure =
                |pick: fn(&Figures) -> Option<f64>, decimals| cell(figure(results, relay, *streams, pick), decimals);
            table.row(vec![
                relay.clone(),
                streams.to_string(),
                figure(|figures| Some(figures.packets_per_second), 0),
                figure(|figures| Some(figures.total_us), 2),
                figure(|figures| figures.edge_us, 2),
                figure(|figures| figures.core_us, 2),
                figure(|figures| Some(figures.generator_us), 2),
                figure(|figures| Some(figures.lost_percent), 2),
                figure(|figures| Some(figures.p50_ms), 2),
                figure(|figures| Some(figures.p99_ms), 2),
            ]);
        }
    }
    println!("\n{}", table.text());
    let mut table = Table::new(&["ours, both tiers / peer's best", "streams", "peer", "ratio"]);
    for row in &results.comparison {
        let peer = row.peer.clone().unwrap_or_else(|| "–".to_owned());
        table.row(vec!["media".to_owned(), row.streams.to_string(), peer, cell(row.ratio, 2)]);
    }
    println!("{}", table.text());
}
