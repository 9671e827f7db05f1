//! `bench drain`: nodes go out of service under load, and nobody may be hurt.
//!
//! Two edges and two cores as they are installed, on loopback. Phones register, call and send media at 20 ms, people
//! chat, a file comes slowly; the first edge, or the first core, begins maintenance mode. Then everything new is tried
//! that a client may try, and must be refused in the right words or go to the other node; maintenance mode is cancelled
//! and must be over at once; it begins again, sessions end one kind after the other, and so must the parts of the
//! services. What is counted: calls and chats that ended, packets that are missing, and the times. Whatever is not as
//! stated ends the bench with what it was.

mod crowd;
mod files;
mod rounds;
mod world;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use edgeway_interop::process::Scratch;
use edgeway_interop::product;
use edgeway_lab_servers::MediaGap;

use crate::report::{Machine, Table};
use rounds::{Round, Row};
use world::{People, World};

/// Options of `bench drain`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DrainArguments {
    /// How often each kind of node is drained
    #[arg(long, default_value_t = 10, value_name = "N")]
    rounds: usize,
    /// Calls with media that are up
    #[arg(long, default_value_t = 50, value_name = "N")]
    calls: usize,
    /// Chats at the node that is drained
    #[arg(long, default_value_t = 50, value_name = "N")]
    chats: usize,
    /// Registrations, those of the phones that talk among them
    #[arg(long, default_value_t = 500, value_name = "N")]
    registrations: usize,
    /// Seconds over which the media is watched before maintenance mode, and at least in it, to compare
    #[arg(long, default_value_t = 8, value_name = "N")]
    before: u64,
}

/// Which node goes out of service: the first of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Edge,
    Core,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Core => "core",
        }
    }
}

/// People who chat, for so many rounds; then they come again.
const CROWDS: usize = 8;
/// A missing packet is nothing, if the machine loses one without maintenance mode as well; two in a row are a gap.
const PACKETS_IN_A_ROW_MAX: u64 = 1;
/// A machine that does other things lets packets wait. What is more than before by this much is a gap.
const PAUSE_MORE_MAX: Duration = Duration::from_millis(200);

/// Runs the rounds and prints what was found.
pub(crate) fn run(arguments: &DrainArguments) -> Result<()> {
    product::binaries()?;
    ensure!(arguments.registrations >= arguments.calls * 2 + 8, "too few registrations for so many calls");
    let mut scratch = Scratch::create("drain")?;
    println!("{}", Machine::here().line());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime
        .block_on(all(arguments, scratch.path()))
        .inspect_err(|_| scratch.keep())
        .with_context(|| format!("logs in {}", scratch.path().display()))
}

async fn all(arguments: &DrainArguments, directory: &Path) -> Result<()> {
    let people = People {
        phones: arguments.registrations,
        chats: crowd::chatters(arguments.chats) * CROWDS.min(arguments.rounds * 2),
        visitors: rounds::VISITORS * arguments.rounds * 2,
    };
    let world = World::start(directory, people).await?;
    let routes = crowd::sign_in_all(&world, arguments.registrations).await?;
    println!("{} people have signed in", routes.len());
    let mut rows = Vec::new();
    for number in 0..arguments.rounds {
        for (target, index) in [(Target::Edge, 2 * number), (Target::Core, 2 * number + 1)] {
            let round = Round { world: &world, target, arguments, routes: &routes, index };
            let row = round.run().await;
            let row = row.with_context(|| format!("{}, round {}\n{}", target.name(), number + 1, world.logs()))?;
            println!("{}, round {}: {row}", target.name(), number + 1);
            rows.push((target, row));
        }
    }
    println!("\n{}", table(&rows).text());
    println!(
        "nobody was hurt: 0 calls, 0 chats, 0 downloads ended by us; everything new refused as stated or taken by the other node"
    );
    Ok(())
}

/// The worst of all rounds, for each kind of node.
fn table(rows: &[(Target, Row)]) -> Table {
    let heads =
        ["", "rounds", "tried", "refused", "gap before", "gap", "lost", "CPU before", "CPU", "again", "drained"];
    let mut table = Table::new(&heads);
    for target in [Target::Edge, Target::Core] {
        let of = || rows.iter().filter(|(of, _)| *of == target).map(|(_, row)| row);
        let worst = |gap: fn(&Row) -> MediaGap| of().map(gap).fold(MediaGap::default(), MediaGap::or_worse);
        let percent = |cpu: fn(&Row) -> f64| format!("{:.0} %", of().map(cpu).fold(0.0, f64::max) * 100.0);
        let longest = |time: fn(&Row) -> Duration| of().map(time).max().unwrap_or_default();
        table.row(vec![
            target.name().to_owned(),
            of().count().to_string(),
            of().map(|row| row.attempts).sum::<usize>().to_string(),
            of().map(|row| row.refused).sum::<usize>().to_string(),
            rounds::gap(worst(|row| row.before)),
            rounds::gap(worst(|row| row.during)),
            format!("{} of {}", of().map(|row| row.lost).sum::<u64>(), of().map(|row| row.packets).sum::<u64>()),
            percent(|row| row.cpu[0]),
            percent(|row| row.cpu[1]),
            format!("{} ms", longest(|row| row.again).as_millis()),
            format!("{} ms", longest(|row| row.drained).as_millis()),
        ]);
    }
    table
}
