//! Runs one fuzz target.

use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{cargo, root};

#[derive(Args)]
pub(crate) struct Options {
    /// The target; without one, the targets are listed
    target: Option<String>,
    /// For how many seconds
    #[arg(long, default_value_t = 60)]
    secs: u32,
}

/// Whether the target survived.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let targets = targets()?;
    let Some(target) = &options.target else {
        println!("{}", targets.join("\n"));
        return Ok(true);
    };
    if !targets.contains(target) {
        bail!("there is no target {target}; there are: {}", targets.join(", "));
    }
    let probe = cargo().args(["+nightly", "fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        bail!(
            "fuzzing needs a nightly compiler and cargo-fuzz:\n  rustup toolchain install nightly\n  \
             cargo install --locked cargo-fuzz"
        );
    }
    let limit = format!("-max_total_time={}", options.secs);
    let status = cargo().args(["+nightly", "fuzz", "run", target, "--", &limit]).status();
    Ok(status.context("cargo cannot be run")?.success())
}

fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned)).collect();
    names.sort();
    Ok(names)
}
