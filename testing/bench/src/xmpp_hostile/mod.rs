//! `bench xmpp-hostile`: what strangers can do to the chat of a real edge with streams that are none, and with too much
//! of one.
//!
//! Each class of hostile streams is tried before TLS, before sign-in and after it, many times, each time on a connection
//! of its own, with a core and a small server behind the edge. What is harmless of it comes first, and may go on. Then
//! the clock starts: the right stream error must come soon, nothing of the rest may reach the server, and the edge may
//! not grow. Odd stanzas that are no offence must pass, and be cut by the server where the edge cuts them. Last,
//! streams are begun and left, to see what a stranger holds.

mod classes;
mod talk;
mod world;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use edgeway_interop::process::Scratch;
use edgeway_interop::product;
use edgeway_lab_servers::xmpp::StreamSeen;
use serde::Serialize;

use crate::report::{self, Latencies, Machine, Table};
use classes::{Class, ODD, Place, Stage};
use talk::Talk;
use world::World;

/// Users there are; every stream that signs in has one of its own.
const USERS: usize = 20_000;
/// Of these the one with the best time counts: others use this machine, too.
const TRIES: usize = 3;
/// Before anything is measured: what the first streams load and warm is not what a hostile one costs.
const WARMING: usize = 20;

/// Options of `bench xmpp-hostile`.
#[derive(Args, Clone, Debug)]
pub(crate) struct XmppHostileArguments {
    /// Write the results as JSON to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often each class is tried
    #[arg(long, default_value_t = 20, value_name = "N")]
    rounds: usize,
    /// How soon the stream error must be there, milliseconds
    #[arg(long, default_value_t = 50, value_name = "N")]
    within_ms: u32,
    /// By how much the edge may grow over a class
    #[arg(long, default_value_t = 2_048, value_name = "N")]
    growth_kib: u64,
    /// Streams that are begun and left
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    half_open: usize,
    /// What such a stream may take of the edge's memory
    #[arg(long, default_value_t = 32, value_name = "N")]
    stranger_kib: u64,
    /// Each class three times, a quarter of the streams
    #[arg(long)]
    quick: bool,
}

/// What one class did at one stage.
#[derive(Clone, Debug, Serialize)]
struct Row {
    class: &'static str,
    stage: &'static str,
    /// What it was told.
    told: String,
    p50_ms: f64,
    max_ms: f64,
    grown_kib: u64,
    /// Bytes of the offence that reached the server.
    beyond: usize,
    /// What is wrong with that, if anything is.
    broken: Option<String>,
}

/// What streams cost that were begun and left.
#[derive(Clone, Debug, Serialize)]
struct Left {
    stage: &'static str,
    streams: usize,
    edge_kib: f64,
    core_kib: f64,
}

#[derive(Debug, Serialize)]
struct Results {
    machine: Machine,
    rounds: usize,
    rows: Vec<Row>,
    odd: Vec<Odd>,
    left: Vec<Left>,
    /// By how much the edge had grown at the end of all classes.
    grown_kib: u64,
}

/// What an odd stanza that is none of these did.
#[derive(Clone, Debug, Serialize)]
struct Odd {
    name: &'static str,
    broken: Option<String>,
}

/// Runs the bench and prints it.
pub(crate) fn run(arguments: &XmppHostileArguments) -> Result<()> {
    product::binaries()?;
    let mut scratch = Scratch::create("xmpp-hostile")?;
    let machine = Machine::here();
    eprintln!("{}", machine.line());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let results = runtime
        .block_on(measure(arguments, machine, scratch.path()))
        .inspect_err(|_| scratch.keep())
        .with_context(|| format!("logs in {}", scratch.path().display()))?;
    print(&results);
    report::write_json(arguments.json.as_deref(), &results)?;
    judge(arguments, &results)
}

async fn measure(arguments: &XmppHostileArguments, machine: Machine, directory: &Path) -> Result<Results> {
    let divisor = if arguments.quick { 4 } else { 1 };
    let rounds = if arguments.quick { 3 } else { arguments.rounds };
    let mut bench = Bench { world: World::start(directory, USERS)?, arguments, rounds, streams: 0 };
    bench.warm().await.with_context(|| bench.world.logs())?;
    let mut results = Results { machine, rounds, rows: vec![], odd: vec![], left: vec![], grown_kib: 0 };
    let whole = bench.world.resident()?;
    for stage in Stage::ALL {
        for class in classes::all(stage) {
            let row = bench.class(stage, &class).await;
            results.rows.push(row.with_context(|| format!("{}, {}", class.name, stage.name()))?);
        }
    }
    for &odd in ODD {
        let broken = bench.odd(odd).await.err().map(|error| format!("{error:#}"));
        results.odd.push(Odd { name: odd.0, broken });
    }
    results.grown_kib = bench.world.resident()?.saturating_sub(whole);
    // With a new edge and core: these have memory to give to strangers that others have left.
    drop(bench);
    for stage in [Stage::Outside, Stage::SignIn] {
        let folder = directory.join(format!("left-{}", results.left.len()));
        std::fs::create_dir(&folder)?;
        let mut bench = Bench { world: World::start(&folder, USERS)?, arguments, rounds, streams: 0 };
        bench.warm().await?;
        results.left.push(bench.left(stage, arguments.half_open / divisor).await?);
    }
    Ok(results)
}

struct Bench<'a> {
    world: World,
    arguments: &'a XmppHostileArguments,
    rounds: usize,
    /// So far: each has its own user and address.
    streams: usize,
}

/// One try of a class.
#[derive(Debug, Default)]
struct Try {
    told: Vec<String>,
    latencies: Latencies,
    grown_kib: u64,
    beyond: usize,
    fault: Option<String>,
}

impl Bench<'_> {
    async fn reach(&mut self, stage: Stage, place: Place) -> Result<Talk> {
        self.streams = (self.streams + 1) % USERS;
        Talk::reach(&self.world, self.streams, stage, place).await
    }

    async fn warm(&mut self) -> Result<()> {
        for stage in Stage::ALL {
            let class = classes::all(stage).into_iter().find(|class| class.place == Place::Element);
            let class = class.context("a class")?;
            for _ in 0..WARMING {
                self.reach(stage, Place::Element).await?.offend(&class, true, async {}).await?;
            }
        }
        Ok(())
    }

    /// A class, as often as it takes for others on this machine to be quiet for a while.
    async fn class(&mut self, stage: Stage, class: &Class) -> Result<Row> {
        let mut best: Option<Row> = None;
        for _ in 0..TRIES {
            let row = self.row(stage, class).await?;
            let was_late = row.max_ms >= f64::from(self.arguments.within_ms);
            best = Some(match best.take() {
                None => row,
                Some(mut before) => {
                    // Only the time is better for being tried again.
                    if row.max_ms < before.max_ms {
                        (before.p50_ms, before.max_ms) = (row.p50_ms, row.max_ms);
                    }
                    before.grown_kib = before.grown_kib.max(row.grown_kib);
                    before.beyond = before.beyond.max(row.beyond);
                    before.broken = before.broken.or(row.broken);
                    before
                }
            });
            if !was_late {
                break;
            }
        }
        best.context("a try")
    }

    async fn row(&mut self, stage: Stage, class: &Class) -> Result<Row> {
        let Try { mut told, mut latencies, grown_kib, beyond, fault } = self.attempt(stage, class).await?;
        told.sort_unstable();
        told.dedup();
        let unexpected = told.iter().any(|told| told != class.deserves);
        let wrong = unexpected.then(|| format!("told {told:?} in place of {}", class.deserves));
        Ok(Row {
            class: class.name,
            stage: stage.name(),
            told: told.join(", "),
            p50_ms: latencies.percentile_ms(0.5),
            max_ms: latencies.percentile_ms(1.0),
            grown_kib,
            beyond,
            broken: wrong.or(fault.map(|fault| format!("the server complains: {fault}"))),
        })
    }

    async fn attempt(&mut self, stage: Stage, class: &Class) -> Result<Try> {
        let mut done = Try::default();
        let watch = self.world.watch()?;
        for round in 0..self.rounds {
            self.world.forget();
            let talk = self.reach(stage, class.place).await?;
            let before: Vec<usize> = self.world.heard().iter().map(|stream| stream.received.len()).collect();
            // One of those who go on and on is watched until it is cut off; it takes the edge's patience.
            let heeds = !(round == 0 && class.offence.is_long());
            // Stanzas of one who has signed in go on as they come; before that, and as headers, they wait.
            let passes = stage == Stage::SignedIn && class.place == Place::Element;
            let goal = before.iter().sum::<usize>() + if passes { going_on(&class.harmless) } else { 0 };
            let told = talk.offend(class, heeds, self.world.has_heard(goal)).await?;
            done.told.push(told.condition);
            done.latencies.record(told.took);
            let after = self.world.heard_out().await?;
            done.beyond = done.beyond.max(beyond(&before, &after, &class.harmless));
            done.fault = done.fault.or_else(|| after.into_iter().find_map(|stream| stream.fault));
        }
        done.grown_kib = watch.grown()?;
        Ok(done)
    }

    /// An odd stanza from one who has signed in: it passes as it is, and the next one after it.
    async fn odd(&mut self, (_, first, second): (&str, &[u8], &[u8])) -> Result<()> {
        for _ in 0..self.rounds {
            self.world.forget();
            let mut talk = self.reach(Stage::SignedIn, Place::Element).await?;
            talk.say(first).await?;
            tokio::time::sleep(Duration::from_millis(2)).await;
            talk.say(second).await?;
            talk.ask("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>", "id='p'").await?;
            let streams = self.world.heard();
            let stream = streams.first().context("the server has heard nothing")?;
            let whole = String::from_utf8([first, second].concat())?;
            ensure!(stream.stanzas.contains(&whole), "the server cut {:?}", stream.stanzas);
            ensure!(stream.fault.is_none(), "the server complains: {:?}", stream.fault);
        }
        Ok(())
    }

    /// Begins streams, and leaves them.
    async fn left(&mut self, stage: Stage, streams: usize) -> Result<Left> {
        let before = self.world.usage()?;
        let mut talks = Vec::new();
        for _ in 0..streams {
            talks.push(self.reach(stage, Place::Element).await?);
        }
        let after = self.world.usage()?;
        let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / 1024.0 / streams as f64;
        Ok(Left {
            stage: stage.name(),
            streams,
            edge_kib: each(after.0.resident_bytes, before.0.resident_bytes),
            core_kib: each(after.1.resident_bytes, before.1.resident_bytes),
        })
    }
}

/// How much of what is harmless a core passes on at once: an element whose name is not whole may be one it has to look
/// at, and waits.
fn going_on(harmless: &[u8]) -> usize {
    let last = harmless.iter().rposition(|byte| *byte == b'<').unwrap_or(harmless.len());
    let is_whole = harmless.iter().skip(last).any(|byte| byte.is_ascii_whitespace() || b"/>".contains(byte));
    if is_whole { harmless.len() } else { last }
}

/// How many bytes the server has heard that are nothing harmless.
fn beyond(before: &[usize], after: &[StreamSeen], harmless: &[u8]) -> usize {
    let beyond = after.iter().enumerate().map(|(number, stream)| {
        let known = before.get(number).copied().unwrap_or_default();
        let more = stream.received.get(known..).unwrap_or_default();
        let same = more.iter().zip(harmless).take_while(|(more, harmless)| more == harmless).count();
        more.len() - same
    });
    beyond.sum()
}

fn print(results: &Results) {
    println!("{}; each class {} times\n", results.machine.line(), results.rounds);
    let mut table = Table::new(&["class", "stage", "told", "p50 ms", "max ms", "grown KiB", "bytes beyond"]);
    for row in &results.rows {
        table.row(vec![
            row.class.to_owned(),
            row.stage.to_owned(),
            row.told.clone(),
            format!("{:.2}", row.p50_ms),
            format!("{:.2}", row.max_ms),
            row.grown_kib.to_string(),
            row.beyond.to_string(),
        ]);
    }
    println!("{}", table.text());
    let mut table = Table::new(&["odd and good", ""]);
    for odd in &results.odd {
        table.row(vec![odd.name.to_owned(), odd.broken.clone().unwrap_or_else(|| "passes".to_owned())]);
    }
    println!("{}", table.text());
    let mut table = Table::new(&["begun and left", "streams", "edge KiB each", "core KiB each"]);
    for left in &results.left {
        let (edge, core) = (format!("{:.1}", left.edge_kib), format!("{:.1}", left.core_kib));
        table.row(vec![left.stage.to_owned(), left.streams.to_string(), edge, core]);
    }
    println!("{}", table.text());
    println!("the edge was {} KiB larger behind all classes than before", results.grown_kib);
}

/// Whether all bounds held.
fn judge(arguments: &XmppHostileArguments, results: &Results) -> Result<()> {
    let mut broken = Vec::new();
    for row in &results.rows {
        let place = format!("{}, {}", row.class, row.stage);
        broken.extend(row.broken.iter().map(|why| format!("{place}: {why}")));
        if row.max_ms >= f64::from(arguments.within_ms) {
            broken.push(format!("{place}: told after {:.1} ms", row.max_ms));
        }
        if row.grown_kib >= arguments.growth_kib {
            broken.push(format!("{place}: the edge grew by {} KiB", row.grown_kib));
        }
        if row.beyond > 0 {
            broken.push(format!("{place}: {} bytes of it reached the server", row.beyond));
        }
    }
    for odd in &results.odd {
        broken.extend(odd.broken.iter().map(|why| format!("{}: {why}", odd.name)));
    }
    for left in &results.left {
        if left.edge_kib >= arguments.stranger_kib as f64 {
            broken.push(format!("streams begun and left, {}: {:.1} KiB each", left.stage, left.edge_kib));
        }
    }
    if results.grown_kib >= arguments.growth_kib {
        broken.push(format!("the edge grew by {} KiB over all classes", results.grown_kib));
    }
    ensure!(broken.is_empty(), "bounds are broken:\n{}", broken.join("\n"));
    println!("all bounds held");
    Ok(())
}
