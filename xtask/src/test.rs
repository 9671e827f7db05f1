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
        Step::cargo(
            BUILD,
            &["build", "--release", "--locked", "-p", "edgeway", "-p", "edgeway-edge", "-p", "edgeway-core"],
        ),
        Step::cargo("lab", &["run", "--quiet", "--release", "--locked", "-p", "edgeway", "--", "lab", "--check"])
            .after(BUILD)
            .within(2 * 60),
        Step::cargo("sim", &["run", "--quiet", "--release", "--locked", "-p", "edgeway-sim", "--", "--seeds", "256"])
            .within(5 * 60),
    ]
}

/// Whether everything held.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let steps = steps();
    let names: Vec<&str> = steps.iter().map(|step| step.name).chain([INTEROP, PATH]).collect();
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
    if wanted(INTEROP) {
        let outcome = Outcome::of(INTEROP, || run_built(interop::step, &outcomes));
        outcomes.push(outcome);
    }
    if wanted(PATH) {
        let outcome = Outcome::of(PATH, || run_built(interop::path_step, &outcomes));
        outcomes.push(outcome);
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
fn run_built(step: fn() -> Result<Step>, before: &[Outcome]) -> Tally {
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
/// The step with real daemons.
const INTEROP: &str = "interop";
/// The step across a bad path.
const PATH: &str = "path";
