//! `edgeway-sim`: many seeds, or one again with its trace.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const USAGE: &str = "edgeway-sim [--seeds N] [--from S]   run N seeds (256) from S (0)
edgeway-sim --seed S                 run one seed and print what happens";

/// What the command line asks for.
struct Wish {
    seeds: u64,
    from: u64,
    one: Option<u64>,
}

fn wish() -> Option<Wish> {
    let mut wish = Wish { seeds: 256, from: 0, one: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let number = words.next()?.parse().ok()?;
        match word.as_str() {
            "--seeds" => wish.seeds = number,
            "--from" => wish.from = number,
            "--seed" => wish.one = Some(number),
            _ => return None,
        }
    }
    Some(wish)
}

fn main() -> ExitCode {
    let Some(wish) = wish() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if let Some(seed) = wish.one {
        let report = edgeway_sim::run(seed, None, true);
        println!("seed {seed}: {} steps, {} calls, hash {:016x}", report.steps, report.calls, report.hash);
        return match report.failure {
            Some(what) => {
                println!("seed {seed} failed {what}");
                ExitCode::FAILURE
            }
            None => ExitCode::SUCCESS,
        };
    }
    let started = Instant::now();
    let failures = run_all(&wish);
    let seconds = started.elapsed().as_secs_f64();
    for (seed, what) in &failures {
        println!("seed {seed} failed {what}\n    replay: edgeway-sim --seed {seed}");
    }
    let rate = wish.seeds as f64 / seconds.max(0.001);
    println!("{} seeds in {seconds:.1} s ({rate:.1} a second), {} failed", wish.seeds, failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the seeds on as many threads as there are processors; each run is one thread's alone.
fn run_all(wish: &Wish) -> Vec<(u64, String)> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicU64::new(0);
    let mut failures: Vec<(u64, String)> = std::thread::scope(|scope| {
        let work = || {
            let mut failures = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= wish.seeds {
                    return failures;
                }
                let seed = wish.from + seed;
                let outcome = std::panic::catch_unwind(|| edgeway_sim::run(seed, None, false).failure);
                if let Some(what) = outcome.unwrap_or_else(|_| Some("with a panic".to_owned())) {
                    failures.push((seed, what));
                }
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    failures.sort();
    failures
}
