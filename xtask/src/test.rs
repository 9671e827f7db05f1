//! `cargo xtask test`: everything that must hold before a change is taken.

use anyhow::Result;
use clap::Args;

use crate::setup;
use crate::steps::{Outcome, Step, Tally, print_summary};

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
            "build",
            &["build", "--release", "--locked", "-p", "edgeway", "-p", "edgeway-edge", "-p", "edgeway-core"],
        ),
        Step::cargo("lab", &["run", "--quiet", "--release", "--locked", "-p", "edgeway", "--", "lab", "--check"])
            .after("build")
            .within(2 * 60),
        Step::cargo("sim", &["run", "--quiet", "--release", "--locked", "-p", "edgeway-sim", "--", "--seeds", "256"])
            .within(5 * 60),
        Step::cargo("interop", &["test", "--release", "--locked", "-p", "edgeway-interop"])
            .env("EDGEWAY_INTEROP", "1")
            .after("build")
            .within(15 * 60),
    ]
}

/// Whether everything held.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let steps = steps();
    if let Some(unknown) = options.only.iter().find(|name| steps.iter().all(|step| step.name != **name)) {
        let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
        anyhow::bail!("there is no step {unknown}; there are: {}", names.join(", "));
    }
    let mut outcomes = Vec::new();
    if options.setup {
        outcomes.push(Outcome::of("setup", || match setup::run() {
            Ok(()) => Tally::passed(),
            Err(error) => Tally::failed(format!("{error:#}")),
        }));
    }
    for step in &steps {
        if options.only.is_empty() || options.only.iter().any(|name| name == step.name) {
            let outcome = Outcome::of(step.name, || run_step(step, &outcomes));
            outcomes.push(outcome);
        }
    }
    Ok(print_summary(&outcomes))
}

fn run_step(step: &Step, before: &[Outcome]) -> Tally {
    if step.name == "deny" && !setup::has_cargo_deny() {
        return Tally::failed("cargo-deny is not installed: cargo xtask setup, or cargo install --locked cargo-deny");
    }
    let base = step.after.and_then(|name| before.iter().find(|outcome| outcome.name == name));
    if let Some(failed) = base.filter(|outcome| !outcome.tally.is_good()) {
        return Tally::failed(format!("not run, because {} failed", failed.name));
    }
    step.run()
}
