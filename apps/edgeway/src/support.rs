//! `edgeway support bundle`: what one sends to whoever helps.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Args, Subcommand};
use edgeway_admin::support::{Bundle, Redaction};
use edgeway_runtime::clock::unix_ms;
use edgeway_runtime::service;
use serde_json::json;

use crate::commands::{Failure, finish};
use crate::here::{NodeHere, nodes_here};
use crate::output::say;

/// Lines of the journal that go into it.
const JOURNAL_LINES: &str = "20000";
/// Facts of the machine: files of Linux that name no person.
const FACTS: [&str; 7] = [
    "/etc/os-release",
    "/proc/version",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/uptime",
    "/proc/net/sockstat",
    "/proc/sys/fs/file-nr",
];

/// For whoever helps.
#[derive(Debug, Subcommand)]
pub(crate) enum SupportCommand {
    /// Writes a tar file of what the edge and core of this machine say of themselves, with a manifest. Secrets are left
    /// out; names and addresses of people are replaced.
    #[command(
        after_help = "Examples:\n  edgeway support bundle\n  edgeway support bundle --config ./core.toml --out ./bundle.tar --with-names"
    )]
    Bundle(Wish),
}

/// What is wanted.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// The node's settings file; without it, the edge and the core of this machine.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The file to write; it must not exist. Default: edgeway-NODE-TIME.tar, here.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Leaves names and addresses of people as they are.
    #[arg(long)]
    with_names: bool,
}

/// Runs it.
pub(crate) fn run(command: &SupportCommand) -> ExitCode {
    let SupportCommand::Bundle(wish) = command;
    finish(write(wish))
}

fn write(wish: &Wish) -> Result<(), Failure> {
    let nodes = nodes_here(wish.config.as_deref())?;
    let redaction = match wish.with_names {
        true => Redaction::none(),
        false => Redaction::of(service::seed().map_err(Failure::new)?),
    };
    let now = unix_ms();
    let mut bundle = Bundle::new(redaction);
    let mut name = None;
    for node in &nodes {
        let said = collect(&mut bundle, node);
        name = name.or(said);
    }
    for path in FACTS {
        match fs::read_to_string(path) {
            Ok(text) => bundle.text(&format!("machine{}", path.replace('/', "-")), "a fact of the machine", &text),
            Err(error) => bundle.missing(path, &error.to_string()),
        }
    }
    let folder = format!("edgeway-{}-{}", name.as_deref().unwrap_or("node"), now / 1_000);
    let out = wish.out.clone().unwrap_or_else(|| PathBuf::from(format!("{folder}.tar")));
    let manifest = bundle.manifest(now);
    let tar = bundle.finish(&folder, now).map_err(Failure::new)?;
    create(&out, &tar).map_err(|error| Failure::new(format!("cannot write {}: {error}", out.display())))?;
    let count = |what: &str| manifest.get(what).and_then(|list| list.as_array()).map_or(0, Vec::len);
    say!("{}", out.display());
    eprintln!(
        "{} files, {} missing; secrets are left out, names and addresses {}. Look into manifest.json before you send it.",
        count("files"),
        count("missing"),
        if wish.with_names { "are in it" } else { "are replaced" }
    );
    Ok(())
}

/// Readable by its owner only, and never in the place of another file.
fn create(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// All that one node says; its name.
fn collect(bundle: &mut Bundle, node: &NodeHere) -> Option<String> {
    let kind = node.role.as_str();
    let mut name = None;
    match node.fetch("/status").and_then(|body| serde_json::from_str::<serde_json::Value>(&body).map_err(Failure::new))
    {
        Ok(status) => {
            name = status.get("node").and_then(|node| node.as_str()).map(str::to_owned);
            bundle.json(&format!("{kind}-status.json"), "what it says of itself", &status);
        }
        Err(failure) => bundle.missing(&format!("{kind}-status.json"), &failure.1),
    }
    match node.fetch("/metrics") {
        Ok(text) => bundle.text(&format!("{kind}-metrics.txt"), "what it counts", &text),
        Err(failure) => bundle.missing(&format!("{kind}-metrics.txt"), &failure.1),
    }
    for (path, about) in
        [("maintenance", "maintenance mode"), ("events", "its last events"), ("attempts", "last attempts")]
    {
        match node.ask(path, &json!({ "limit": 500 })) {
            Ok(answer) => bundle.json(&format!("{kind}-{path}.json"), about, &answer),
            Err(failure) => bundle.missing(&format!("{kind}-{path}.json"), &failure.1),
        }
    }
    let settings = node.settings_file.as_deref();
    match settings.map(fs::read_to_string) {
        Some(Ok(text)) => bundle.text(&format!("{kind}-settings.toml"), "its settings file", &text),
        Some(Err(error)) => bundle.missing(&format!("{kind}-settings.toml"), &error.to_string()),
        None => bundle.missing(&format!("{kind}-settings.toml"), "name the file with --config"),
    }
    journal(bundle, kind);
    name
}

/// The end of its log, where systemd keeps it.
fn journal(bundle: &mut Bundle, kind: &str) {
    let unit = format!("edgeway-{kind}.service");
    let file = format!("{kind}-journal.txt");
    let asked = ["--no-pager", "--output=short-iso-precise", "--lines", JOURNAL_LINES, "--unit", &unit];
    match Command::new("journalctl").args(asked).output() {
        Ok(output) if output.status.success() => {
            bundle.text(&file, "the end of its log", &String::from_utf8_lossy(&output.stdout));
        }
        Ok(output) => bundle.missing(&file, &String::from_utf8_lossy(&output.stderr)),
        Err(error) => bundle.missing(&file, &format!("journalctl: {error}")),
    }
}
