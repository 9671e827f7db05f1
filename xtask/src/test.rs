//! `cargo xtask test`: everything that must hold before a change is taken.

use anyhow::Result;
use clap::Args;

use crate::steps::{Outcome, Step, Tally, print_summary};
use crate::{interop, setup};

#[derive(Args)]
pub(crate) struct Options {
    /// Install what is missing first, as `cargo xtask setup` does
    #[arg(long)]
    setup: bool,
    /// Run these steps only, by their names in the summary
    #[arg(long, value_delimiter = ',', value_name = "STEP")]
    only: Vec<String>,
    #[command(flatten)]
    api: crate::api::Wish,
}

/// The steps, in order: what fails soonest comes first.
fn steps() -> Vec<Step> {
    vec![
        Step::cargo("format", &["fmt", "--all", "--check"]),
        Step::cargo("clippy", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
        Step::cargo("rustdoc", &["doc", "--workspace", "--no-deps", "--locked", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
        Step::cargo("deny", &["deny", "--locked", "check", "bans", "licenses", "sources"]),
        Step::cargo("test", &["test", "--workspace", "--locked", "--no-fail-fast"]).within(20 * 60),
        // What a client does in its first minute, with curl and openssl; part of the tests above, and here by itself.
        Step::cargo("sign-in", &["test", "--locked", "-p", "edgeway", "--test", "sign_in"]).within(5 * 60),
        // A real directory; on loopback, as whoever we are.
        Step::cargo("directory", &["test", "--locked", "-p", "edgeway-interop", "--test", "directory"])
            .env("EDGEWAY_INTEROP", "1")
            .within(5 * 60),
        // The parser of Prosody and ejabberd beside our scanner.
        Step::cargo("expat", &["test", "--locked", "-p", "edgeway-interop", "--test", "expat"])
            .env("EDGEWAY_INTEROP", "1")
            .within(5 * 60),
        // Captures of signalling, as Wireshark reads them.
        Step::cargo("capture", &["test", "--locked", "-p", "edgeway-interop", "--test", "capture"])
            .env("EDGEWAY_INTEROP", "1")
            .within(5 * 60),
        Step::cargo(
            BUILD,
            &["build", "--release", "--locked", "-p", "edgeway", "-p", "edgeway-edge", "-p", "edgeway-core"],
        ),
        Step::cargo("lab", &["run", "--quiet", "--release", "--locked", "-p", "edgeway", "--", "lab", "--check"])
            .after(BUILD)
            .within(2 * 60),
        Step::cargo("sim", &["run", "--quiet", "--release", "--locked", "-p", "edgeway-sim", "--", "--seeds", "256"])
            .within(5 * 60),
        // Half-open connections and garbage at the door of a real edge; some seconds of it.
        Step::cargo(
            "hostile",
            &["run", "--quiet", "--release", "--locked", "-p", "edgeway-bench", "--", "hostile", "--quick"],
        )
        .after(BUILD)
        .within(5 * 60),
        // Every class of hostile XMPP streams at a real edge, a few times; loose as to time, since a machine that runs
        // this is busy.
        Step::cargo(
            "chat-hostile",
            &[
                "run",
                "--quiet",
                "--release",
                "--locked",
                "-p",
                "edgeway-bench",
                "--",
                "xmpp-hostile",
                "--quick",
                "--within-ms",
                "500",
            ],
        )
        .after(BUILD)
        .within(5 * 60),
        // Every page of a whole system in a real browser, in both languages, light and dark.
        Step::cargo("browser", &["run", "--quiet", "--release", "--locked", "-p", "edgeway-browser"])
            .after(BUILD)
            .within(8 * 60),
        // Servers are refreshed, and fail in every way, while people sign in and talk; half a minute of it.
        Step::cargo(
            "refresh",
            &[
                "run",
                "--quiet",
                "--release",
                "--locked",
                "-p",
                "edgeway-bench",
                "--",
                "refresh",
                "--sign-ins",
                "50",
                "--calls",
                "5",
                "--pause",
                "1",
            ],
        )
        .after(BUILD)
        .within(5 * 60),
        // An edge and a core go out of service while people talk, chat and download: once each, with few people.
        Step::cargo(
            "drain",
            &[
                "run",
                "--quiet",
                "--release",
                "--locked",
                "-p",
                "edgeway-bench",
                "--",
                "drain",
                "--rounds",
                "1",
                "--calls",
                "5",
                "--chats",
                "5",
                "--registrations",
                "30",
                "--before",
                "3",
            ],
        )
        .after(BUILD)
        .within(5 * 60),
    ]
}

/// Whether everything held.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let steps = steps();
    let names: Vec<&str> =
        steps.iter().map(|step| step.name).chain(BUILT.map(|(name, _)| name)).chain([METRICS, API]).collect();
    if let Some(unknown) = options.only.iter().find(|name| !names.contains(&name.as_str())) {
        anyhow::bail!("there is no step {unknown}; there are: {}", names.join(", "));
    }
    let mut outcomes = Vec::new();
    if options.setup {
        outcomes.push(Outcome::of("setup", || match setup::run() {
            Ok(()) => Tally::passed(),
            Err(error) => Tally::failed(format!("{error:#}")),
        }));
    }
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    for step in steps.iter().filter(|step| wanted(step.name)) {
        let outcome = Outcome::of(step.name, || run_step(step, &outcomes));
        outcomes.push(outcome);
    }
    for (name, step) in BUILT.into_iter().filter(|(name, _)| wanted(name)) {
        let outcome = Outcome::of(name, || run_built(step, &outcomes));
        outcomes.push(outcome);
    }
    if wanted(METRICS) {
        outcomes.push(Outcome::of(METRICS, || match failed(BUILD, &outcomes) {
            Some(why) => why,
            None => crate::promtool::step().unwrap_or_else(|error| Tally::failed(format!("{error:#}"))),
        }));
    }
    if wanted(API) {
        outcomes.push(Outcome::of(API, || match failed(BUILD, &outcomes) {
            Some(why) => why,
            None => crate::api::step(&options.api).unwrap_or_else(|error| Tally::failed(format!("{error:#}"))),
        }));
    }
    Ok(print_summary(&outcomes))
}

fn run_step(step: &Step, before: &[Outcome]) -> Tally {
    if step.name == "deny" && !setup::has_cargo_deny() {
        return Tally::failed("cargo-deny is not installed: cargo xtask setup, or cargo install --locked cargo-deny");
    }
    match step.after.and_then(|name| failed(name, before)) {
        Some(why) => why,
        None => step.run(),
    }
}

/// A step that is made when it is its turn.
fn run_built(step: MakeStep, before: &[Outcome]) -> Tally {
    if let Some(why) = failed(BUILD, before) {
        return why;
    }
    match step() {
        Ok(step) => step.run(),
        Err(error) => Tally::failed(format!("{error:#}")),
    }
}

/// The tally of a step that is not run, because another one failed.
fn failed(name: &str, before: &[Outcome]) -> Option<Tally> {
    let outcome = before.iter().find(|outcome| outcome.name == name)?;
    (!outcome.tally.is_good()).then(|| Tally::failed(format!("not run, because {name} failed")))
}

/// The step that builds what later ones run.
const BUILD: &str = "build";
/// The step that asks Prometheus' own tool.
const METRICS: &str = "metrics";
/// The step that tries the REST API against its description.
const API: &str = "api";
/// Makes a step.
type MakeStep = fn() -> Result<Step>;
/// Steps that are made when it is their turn: the store on bad disks, the package, with real daemons, and across a bad path.
const BUILT: [(&str, MakeStep); 6] = [
    ("store", interop::store_step),
    ("package", interop::package_step),
    ("interop", interop::first_call_step),
    ("stories", interop::stories_step),
    ("chat", interop::chat_step),
    ("path", interop::path_step),
];
