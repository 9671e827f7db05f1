//! The commands of this repository: `cargo xtask setup|test|bench|sim|path|fuzz|docs|package`.
//!
//! A command here is what a person types and what CI runs; there is no second way.

#![forbid(unsafe_code)]

mod api;
mod docs;
mod fuzz;
mod interop;
mod package;
mod promtool;
mod setup;
mod steps;
mod test;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

/// Commands of the Edgeway repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what `test` needs beyond Rust: Debian packages (root or sudo) and cargo-deny
    Setup,
    /// Everything that must hold before a change is taken; the last line is "N passed, N failed"
    Test(test::Options),
    /// Measure: `bench sip`, `bench media`, `bench parts` (see `bench --help` of the program it runs)
    Bench {
        /// Passed on to edgeway-bench
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the simulator: a seed to replay, or `--seeds N`
    Sim {
        /// Passed on to edgeway-sim
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Media and links across a bad path, in network namespaces (root): the long run of the step of that name
    Path {
        /// How long links under loss are watched
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        seconds: u32,
        /// Scenarios, by part of their name
        scenarios: Vec<String>,
    },
    /// Fuzz one target with a nightly compiler and cargo-fuzz
    Fuzz(fuzz::Options),
    /// Write the pages of the manual that come from the code
    Docs,
    /// Build the product as it is installed, and the Debian package of it (dpkg-deb, binutils)
    Package,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all went well.
fn run(task: Task) -> Result<bool> {
    match task {
        Task::Setup => setup::run().map(|()| true),
        Task::Test(options) => test::run(&options),
        Task::Bench { arguments } => bench(&arguments),
        Task::Sim { arguments } => succeeds(&mut release("edgeway-sim", &arguments)),
        Task::Path { seconds, scenarios } => interop::path(seconds, &scenarios),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Docs => docs::write().map(|()| true),
        Task::Package => package::run(),
    }
}

/// The bench, of the product as it is installed.
fn bench(arguments: &[String]) -> Result<bool> {
    if env::var_os("EDGEWAY_BIN_DIR").is_some() {
        return succeeds(&mut release("edgeway-bench", arguments));
    }
    let product = ["-p", "edgeway", "-p", "edgeway-edge", "-p", "edgeway-core"];
    if !succeeds(cargo().args(["build", "--profile", "dist", "--locked"]).args(product))? {
        return Ok(false);
    }
    succeeds(release("edgeway-bench", arguments).env("EDGEWAY_BIN_DIR", target().join("dist")))
}

/// Where cargo puts what it builds.
fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

fn release(package: &str, arguments: &[String]) -> Command {
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--package", package, "--"]).args(arguments);
    command
}

fn succeeds(command: &mut Command) -> Result<bool> {
    Ok(command.status().context("cargo cannot be run")?.success())
}

/// Cargo itself, in the root of the repository. Found in PATH, so that rustup's `+nightly` works.
fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root());
    command
}

/// The root of the repository.
fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().map_or_else(|| here.clone(), Path::to_path_buf)
}
