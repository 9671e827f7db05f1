//! The steps with network namespaces, real daemons around the product and a bad path between two nodes: built as
//! whoever we are, run as root.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::steps::Step;
use crate::{cargo, package, setup};

/// Seconds all its calls and faults may take, side by side.
const SECONDS_MAX: u32 = 15 * 60;

/// Seconds the scenarios across a bad path may take.
const PATH_SECONDS_MAX: u32 = 5 * 60;

/// Seconds the package may take from being installed to being purged.
const PACKAGE_SECONDS_MAX: u32 = 5 * 60;

/// Seconds the disks of the store may take.
const STORE_SECONDS_MAX: u32 = 5 * 60;

/// The step across a bad path, its program built.
pub(crate) fn path_step() -> Result<Step> {
    let program = build("edgeway-path", "path")?;
    let mut words = as_root()?;
    words.extend(["env".into(), "EDGEWAY_PATH=1".into(), program.into()]);
    Ok(Step::program("path", words).within(PATH_SECONDS_MAX))
}

/// `cargo xtask path`: the same, with links watched for so many seconds. Whether all went well.
pub(crate) fn path(seconds: u32, scenarios: &[String]) -> Result<bool> {
    let program = build("edgeway-path", "path")?;
    let mut words = as_root()?;
    words.extend(["env".into(), "EDGEWAY_PATH=1".into(), program.into()]);
    words.extend(["--seconds".into(), seconds.to_string().into()]);
    words.extend(scenarios.iter().map(OsString::from));
    Ok(Step::program("path", words).run().is_good())
}

fn as_root() -> Result<Vec<OsString>> {
    Ok(if setup::we_are_root()? { Vec::new() } else { vec!["sudo".into()] })
}

/// The step with the first calls, its program built.
pub(crate) fn first_call_step() -> Result<Step> {
    daemons_step("interop", "first_call")
}

/// The step with what people do with telephones, its program built.
pub(crate) fn stories_step() -> Result<Step> {
    daemons_step("stories", "stories")
}

/// The step in which people chat, its program built.
pub(crate) fn chat_step() -> Result<Step> {
    daemons_step("chat", "chat")
}

/// The step in which the store's disk is full, breaks or is read-only: on file systems of its own, in a namespace where
/// nobody else sees them.
pub(crate) fn store_step() -> Result<Step> {
    let program = build("edgeway-interop", "store")?;
    let mut binaries = OsString::from("EDGEWAY_BIN_DIR=");
    binaries.push(release_folder()?);
    let mut words = as_root()?;
    words.extend(["unshare", "--mount", "env", "EDGEWAY_INTEROP=1"].map(OsString::from));
    words.extend([binaries, program.into()]);
    Ok(Step::program("store", words).within(STORE_SECONDS_MAX))
}

/// The step that installs the Debian package, uses it and takes it away: on a copy of this machine's file system that
/// lives in memory, with processes and a network of its own, so that the machine itself hears nothing of it.
pub(crate) fn package_step() -> Result<Step> {
    let mut package = OsString::from("EDGEWAY_PACKAGE=");
    package.push(package::make(&release_folder()?, package::QUICK)?);
    let program = build("edgeway-interop", "package")?;
    let mut words = as_root()?;
    let apart = ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"];
    words.extend(apart.map(OsString::from));
    words.extend(["env".into(), "EDGEWAY_INTEROP=1".into(), package, program.into()]);
    Ok(Step::program("package", words).within(PACKAGE_SECONDS_MAX))
}

fn daemons_step(name: &'static str, test: &str) -> Result<Step> {
    let program = build("edgeway-interop", test)?;
    // Named rather than handed down, because sudo clears the environment.
    let mut binaries = OsString::from("EDGEWAY_BIN_DIR=");
    binaries.push(release_folder()?);
    let mut words = as_root()?;
    words.extend(["env".into(), "EDGEWAY_INTEROP=1".into(), binaries, program.into()]);
    Ok(Step::program(name, words).within(SECONDS_MAX))
}

/// Builds a test program and says where it is.
fn build(package: &str, test: &str) -> Result<PathBuf> {
    let arguments = ["test", "--release", "--locked", "-p", package, "--test", test, "--no-run"];
    let output = cargo()
        .args(arguments)
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be run")?;
    if !output.status.success() {
        bail!("it does not build");
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = messages.filter(|message| message["target"]["name"] == test);
    let program = programs.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.context("cargo names no program for it")
}

/// Where `cargo build --release` has put the programs.
fn release_folder() -> Result<PathBuf> {
    let output = cargo().args(["metadata", "--format-version", "1", "--no-deps", "--locked"]).output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let target = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(PathBuf::from(target).join("release"))
}
