//! `bench timing`: whether what a refused sign-in is answered, or how long it takes, tells if there is such a user.
//!
//! A real edge and core over HTTPS, with a users file or a simulated Unified CM behind them. Four kinds of users sign in with a
//! wrong password, thousands of each, in turn and in random order: users there are not, users there are, locked ones,
//! and ones whose right password the core remembers. Answers must be the same to the byte (but for `Date`), and for each two kinds
//! the probability that one takes longer than the other (the area under the curve of the rank test of Mann and Whitney)
//! must be near a half.

mod client;
mod rank;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use edgeway_interop::process::Scratch;
use edgeway_interop::product;
use edgeway_model::Random;
use serde::Serialize;

use crate::report::{Latencies, Machine, Table, write_json};
use client::Client;
use rank::auc;
use world::World;

/// Options of `bench timing`.
#[derive(Args, Clone, Debug)]
pub(crate) struct TimingArguments {
    /// Sign-ins of each kind
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    samples: usize,
    /// Clients at the same time, each with one sign-in at a time
    #[arg(long, default_value_t = 8, value_name = "N")]
    clients: usize,
    /// Who checks passwords
    #[arg(long, value_enum, default_values_t = [By::Users, By::UnifiedCm])]
    by: Vec<By>,
    /// A connection of its own for each sign-in; its making is not measured
    #[arg(long)]
    each: bool,
    /// Write the results as JSON to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Who checks passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum By {
    /// A users file: Argon2id
    Users,
    /// A simulated Unified CM of two nodes
    UnifiedCm,
}

/// Who signs in, always with a wrong password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// There is no such user.
    Unknown,
    /// There is.
    Known,
    /// The account is locked.
    Locked,
    /// Has signed in before: the core remembers the right password.
    Remembered,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Unknown, Self::Known, Self::Locked, Self::Remembered];

    const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Known => "known",
            Self::Locked => "locked",
            Self::Remembered => "remembered",
        }
    }
}

/// Within this an attacker learns nothing worth having.
const ALIKE: std::ops::RangeInclusive<f64> = 0.45..=0.55;
/// Sign-ins of each kind, by each client, before the first that is measured: pools fill, allocators settle.
const WARM_UP: usize = 20;

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    samples: usize,
    results: Vec<Found>,
}

/// What one authority has shown.
#[derive(Debug, Serialize)]
struct Found {
    by: By,
    median_ms: BTreeMap<&'static str, f64>,
    pairs: Vec<Pair>,
    /// The one answer of all.
    answer: String,
}

#[derive(Debug, Serialize)]
struct Pair {
    kinds: [Kind; 2],
    auc: f64,
}

/// Measures, prints, and fails where two kinds can be told apart.
pub(crate) fn run(arguments: &TimingArguments) -> Result<()> {
    product::binaries()?;
    let machine = Machine::here();
    println!("{}", machine.line());
    let mut results = Vec::new();
    for by in &arguments.by {
        let mut scratch = Scratch::create("timing")?;
        let found = measure(*by, arguments, scratch.path())
            .inspect_err(|_| scratch.keep())
            .with_context(|| format!("logs in {}", scratch.path().display()))?;
        println!("{}", text(&found));
        results.push(found);
    }
    let report = Report { machine, samples: arguments.samples, results };
    write_json(arguments.json.as_deref(), &report)?;
    let apart = report.results.iter().flat_map(|found| &found.pairs).filter(|pair| !ALIKE.contains(&pair.auc)).count();
    ensure!(apart == 0, "{apart} pairs can be told apart by the time their answers take");
    println!("nobody can tell them apart");
    Ok(())
}

fn text(found: &Found) -> String {
    let mut table = Table::new(&[if found.by == By::Users { "users file" } else { "Unified CM" }, "median ms"]);
    for (kind, median) in &found.median_ms {
        table.row(vec![(*kind).to_owned(), format!("{median:.3}")]);
    }
    let mut text = table.text();
    for Pair { kinds: [one, other], auc } in &found.pairs {
        let _ = writeln!(text, "AUC {:10} {:10} {auc:.3}", one.name(), other.name());
    }
    text
}

/// Users of each kind: names of one length, in no order that goes with the kind.
fn people(each: usize, random: &mut Random) -> Vec<(Kind, String)> {
    let kinds = Kind::ALL.iter().flat_map(|kind| std::iter::repeat_n(*kind, each));
    let mut kinds: Vec<Kind> = kinds.collect();
    shuffle(&mut kinds, random);
    kinds.into_iter().enumerate().map(|(number, kind)| (kind, format!("person{number:06}"))).collect()
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for last in (1..items.len()).rev() {
        let other = usize::try_from(random.below(last as u64 + 1)).unwrap_or(last);
        items.swap(last, other);
    }
}

fn measure(by: By, arguments: &TimingArguments, directory: &Path) -> Result<Found> {
    let mut random = Random::from_seed(*b"who is there, and who is not?   ");
    let people = people(arguments.samples + WARM_UP * arguments.clients.max(1), &mut random);
    let world = World::start(by, directory, &people)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = Client::new(world.https, &world.ca)?;
        world.ready(&mut client).await?;
        for (_, user) in people.iter().filter(|(kind, _)| *kind == Kind::Remembered) {
            let answer = client.sign_in(user, world::PASSWORD).await?.0;
            ensure!(answer.starts_with("HTTP/1.1 200"), "{user} cannot sign in: {answer}\n{}", world.logs());
        }
        let mut lanes = tokio::task::JoinSet::new();
        for people in in_lanes(people, arguments.clients.max(1)) {
            let client = Client::new(world.https, &world.ca)?;
            lanes.spawn(attempts(arguments.each, people, client, random.split()));
        }
        let (mut times, mut answers): (Times, BTreeSet<String>) = Default::default();
        for lane in lanes.join_all().await {
            let (its_times, answer) = lane.with_context(|| world.logs())?;
            its_times.into_iter().for_each(|(kind, mut its)| times.entry(kind).or_default().append(&mut its));
            answers.insert(answer);
        }
        found(by, &times, answers)
    })
}

/// What each of some kind took, nanoseconds.
type Times = BTreeMap<Kind, Vec<u64>>;

/// Shares people out, as many of each kind to each.
fn in_lanes(people: Vec<(Kind, String)>, count: usize) -> Vec<BTreeMap<Kind, Vec<String>>> {
    let mut lanes = vec![BTreeMap::<Kind, Vec<String>>::new(); count];
    let mut seen = BTreeMap::<Kind, usize>::new();
    for (kind, user) in people {
        let number = seen.entry(kind).or_default();
        lanes[*number % count].entry(kind).or_default().push(user);
        *number += 1;
    }
    lanes
}

/// One client's: in rounds, one of each kind in each. What they took, and the one answer.
async fn attempts(
    each: bool,
    mut people: BTreeMap<Kind, Vec<String>>,
    mut client: Client,
    mut random: Random,
) -> Result<(Times, String)> {
    let rounds = people.values().map(Vec::len).min().context("people")?;
    let (mut times, mut answer, mut order) = (Times::new(), None::<String>, Kind::ALL);
    for round in 0..rounds {
        shuffle(&mut order, &mut random);
        for kind in order {
            let user = people.get_mut(&kind).and_then(Vec::pop).context("as many users as rounds")?;
            if each {
                client.hang_up();
            }
            let (got, took) = client.sign_in(&user, "not the word").await?;
            let known = answer.get_or_insert_with(|| got.clone());
            ensure!(*known == got, "{} user: another answer:\n{got}\nwhere others had\n{known}", kind.name());
            if round >= WARM_UP {
                times.entry(kind).or_default().push(u64::try_from(took.as_nanos())?);
            }
        }
    }
    Ok((times, answer.context("an answer")?))
}

fn found(by: By, times: &Times, answers: BTreeSet<String>) -> Result<Found> {
    ensure!(answers.len() == 1, "not one answer: {answers:#?}");
    let answer = answers.into_iter().next().context("an answer")?;
    ensure!(answer.starts_with("HTTP/1.1 401"), "not refused: {answer}");
    let mut median_ms = BTreeMap::new();
    for (kind, times) in times {
        let mut latencies = Latencies::default();
        times.iter().for_each(|nanos| latencies.record(Duration::from_nanos(*nanos)));
        median_ms.insert(kind.name(), latencies.percentile_ms(0.5));
    }
    let kinds: Vec<(&Kind, &Vec<u64>)> = times.iter().collect();
    let mut pairs = Vec::new();
    for (index, (one, its)) in kinds.iter().enumerate() {
        for (other, others) in kinds.iter().skip(index + 1) {
            pairs.push(Pair { kinds: [**one, **other], auc: auc(its, others) });
        }
    }
    Ok(Found { by, median_ms, pairs, answer })
}
