//! Media and links across a path with delay, loss, too little width, and holes.
//!
//! Runs as root with `EDGEWAY_PATH=1`; otherwise it says so and runs nothing. Arguments without a dash choose
//! scenarios by part of their name; `--seconds 600` is how long each of the two links under loss is watched.

mod ends;
mod links;
mod media;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use edgeway_interop::host::Namespace;
use edgeway_interop::requirement;

/// The variable that lets this program run.
const SWITCH: &str = "EDGEWAY_PATH";

/// How long links under loss are watched, unless told otherwise.
const WATCHED: Duration = Duration::from_secs(15);

/// A scenario: its name and what happens in it; what it measured is said in a line.
type Scenario = (&'static str, fn(usize, Duration) -> Result<String>);

const SCENARIOS: &[Scenario] = &[
    ("100 Mbit/s, 20 ms, 1 % loss", |number, _| media::hundred_megabits(number)),
    ("video over a path of 1280 bytes", |number, _| media::narrow(number, false)),
    ("video over 1280 bytes, silent router", |number, _| media::narrow(number, true)),
    ("media over IPv6", |number, _| media::version_six(number)),
    ("UDP blocked and open again in a call", |number, _| media::fallback(number)),
    ("link at 20 % loss, then a hole", links::udp_open),
    ("link at 5 % loss without UDP", links::udp_blocked),
    ("link over holes of two seconds and of one direction", |number, _| links::holes(number)),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    if std::env::var(SWITCH).as_deref() != Ok("1") {
        println!("path: 0 tests; {SWITCH}=1 runs them in network namespaces, as root");
        return ExitCode::SUCCESS;
    }
    match prepare(&arguments) {
        Ok(watched) => run(&arguments, watched),
        Err(error) => {
            println!("path: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn prepare(arguments: &[String]) -> Result<Duration> {
    if let Ok(filter) = std::env::var("EDGEWAY_LOG") {
        edgeway_runtime::log::start(&filter, edgeway_config::LogFormat::Human);
    }
    requirement::check_root()?;
    Namespace::sweep()?;
    let Some(at) = arguments.iter().position(|argument| argument == "--seconds") else { return Ok(WATCHED) };
    let seconds = arguments.get(at + 1).and_then(|seconds| seconds.parse().ok());
    Ok(Duration::from_secs(seconds.context("--seconds needs a number")?))
}

fn run(arguments: &[String], watched: Duration) -> ExitCode {
    let start = Instant::now();
    let is_value = |at: usize| at > 0 && arguments[at - 1] == "--seconds";
    let words = arguments.iter().enumerate().filter(|(at, word)| !word.starts_with('-') && !is_value(*at));
    let wanted: Vec<&String> = words.map(|(_, word)| word).collect();
    let chosen = |(_, (name, _)): &(usize, &Scenario)| {
        wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()))
    };
    let play = |(number, (name, scenario)): (usize, &Scenario)| {
        let began = Instant::now();
        let outcome = scenario(number, watched);
        let seconds = began.elapsed().as_secs_f64();
        match &outcome {
            Ok(measured) => println!("ok      {name} ({seconds:.1} s): {measured}"),
            Err(error) => println!("FAILED  {name} ({seconds:.1} s): {error:#}"),
        }
        outcome.is_ok()
    };
    // The first takes what a machine of two cores has; the others wait more than they work.
    let (loads, others): (Vec<_>, Vec<_>) = SCENARIOS.iter().enumerate().filter(chosen).partition(|(at, _)| *at == 0);
    let mut outcomes: Vec<bool> = loads.into_iter().map(play).collect();
    std::thread::scope(|scope| {
        let playing: Vec<_> = others.into_iter().map(|one| scope.spawn(move || play(one))).collect();
        outcomes.extend(playing.into_iter().map(|one| one.join().unwrap_or(false)));
    });
    let passed = outcomes.iter().filter(|good| **good).count();
    let failed = outcomes.len() - passed;
    println!("path: {passed} passed, {failed} failed, {:.0} s", start.elapsed().as_secs_f64());
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
