//! The Debian package: what is in it, what Debian says of it, and its life on a machine, from the first installation to
//! the purge.
//!
//! Runs with `EDGEWAY_INTEROP=1` and the package's path in `EDGEWAY_PACKAGE`, as root, in namespaces of its own
//! (`cargo xtask test --only build,package`); something missing then fails with the Debian package that brings it.
//! Otherwise it says so and runs nothing.

mod machine;
mod service;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use edgeway_interop::certificates::Authority;
use edgeway_interop::process::Scratch;
use edgeway_interop::requirement;

use machine::{Machine, words};
use service::Service;

const SERVICES: [&str; 2] = ["edge", "core"];
/// What `systemd-analyze security` may say at most, in tenths.
const EXPOSURE_MAX: &str = "20";

/// The package, where this is to be run.
fn package() -> Result<Option<PathBuf>> {
    if std::env::var_os("EDGEWAY_INTEROP").is_none() {
        println!("not run: set EDGEWAY_INTEROP=1 (cargo xtask test does)");
        return Ok(None);
    }
    requirement::check(requirement::PACKAGE)?;
    let package = std::env::var_os("EDGEWAY_PACKAGE").context("EDGEWAY_PACKAGE names no package")?;
    Ok(Some(package.into()))
}

#[test]
fn it_holds_what_it_should_and_everything_belongs_to_root() -> Result<()> {
    let Some(package) = package()? else { return Ok(()) };
    let listed = words(Command::new("dpkg-deb").arg("--contents").arg(&package))?;
    for line in listed.lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        ensure!(fields.get(1) == Some(&"root/root"), "{line}");
        let mode = fields.first().context("a mode")?;
        ensure!(!mode.contains('s') && !mode[5..].contains('w'), "only root may write: {line}");
    }
    for path in [
        "/usr/bin/edgeway",
        "/usr/bin/edgeway-edge",
        "/usr/bin/edgeway-core",
        "/lib/systemd/system/edgeway-edge.service",
        "/lib/systemd/system/edgeway-core.service",
        "/etc/edgeway/edge.toml.example",
        "/etc/edgeway/core.toml.example",
        "/usr/share/man/man1/edgeway.1.gz",
        "/usr/share/man/man8/edgeway-edge.8.gz",
        "/usr/share/man/man8/edgeway-core.8.gz",
        "/usr/share/doc/edgeway/copyright",
        "/usr/share/doc/edgeway/changelog.gz",
        "/usr/share/doc/edgeway/libraries.txt.gz",
    ] {
        ensure!(listed.lines().any(|line| line.ends_with(&format!(" .{path}"))), "{path} is missing in\n{listed}");
    }
    Ok(())
}

#[test]
fn debian_has_nothing_against_it() -> Result<()> {
    let Some(package) = package()? else { return Ok(()) };
    // As root it warns of itself, on standard error.
    let said = words(Command::new("lintian").args(["--allow-root", "--fail-on", "error,warning"]).arg(&package))?;
    ensure!(said.trim().is_empty(), "{said}");
    Ok(())
}

#[test]
fn the_services_are_closed() -> Result<()> {
    let Some(package) = package()? else { return Ok(()) };
    let scratch = Scratch::create("units")?;
    words(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(scratch.path()))?;
    for name in SERVICES {
        let unit = scratch.path().join(format!("lib/systemd/system/edgeway-{name}.service"));
        let threshold = format!("--threshold={EXPOSURE_MAX}");
        words(
            Command::new("systemd-analyze").args(["security", "--offline=true", &threshold, "--no-pager"]).arg(&unit),
        )?;
        let text = fs::read_to_string(&unit)?;
        let has = |line: &str| text.lines().any(|one| one == line);
        ensure!(has("Type=notify") && has("WatchdogSec=30") && has("NoNewPrivileges=true"), "{text}");
        ensure!(has(&format!("ConditionPathExists=/etc/edgeway/{name}.toml")), "it would start without settings");
        ensure!(has(if name == "edge" {
            "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"
        } else {
            "CapabilityBoundingSet="
        }));
    }
    Ok(())
}

#[test]
fn it_is_installed_serves_is_removed_and_leaves_nothing() -> Result<()> {
    let Some(package) = package()? else { return Ok(()) };
    let machine = Machine::boot()?;
    ensure!(
        machine.run(&["dpkg-query", "-W", "edgeway"]).is_err(),
        "this machine has edgeway installed: try another one"
    );
    let package = machine.take_in(&package)?;
    let install = ["dpkg", "--no-triggers", "--install", &package];
    machine.run(&install)?;

    let version = env!("CARGO_PKG_VERSION");
    for program in ["edgeway", "edgeway-edge", "edgeway-core"] {
        let said = machine.run(&[program, "--version"])?;
        ensure!(said.trim() == format!("{program} {version}"), "{said}");
    }
    machine.run(&["systemd-analyze", "verify", "/lib/systemd/system/edgeway-edge.service"])?;
    machine.run(&["systemd-analyze", "verify", "/lib/systemd/system/edgeway-core.service"])?;
    let owner = machine.run(&["stat", "--format=%U:%G %a", "/etc/edgeway", "/var/lib/edgeway"])?;
    ensure!(owner == "root:edgeway 750\nedgeway:edgeway 700\n", "{owner}");
    for name in SERVICES {
        let enabled = format!("/etc/systemd/system/multi-user.target.wants/edgeway-{name}.service");
        ensure!(fs::symlink_metadata(machine.path(&enabled)).is_ok(), "{enabled} is missing");
        ensure!(!machine.path(&format!("/etc/edgeway/{name}.toml")).exists(), "settings nobody has written");
    }

    serve_from_the_examples(&machine)?;

    // An upgrade keeps what was filled in.
    fs::write(machine.path("/etc/edgeway/edge.toml.example"), "# ours\n")?;
    machine.run(&install)?;
    ensure!(
        fs::read_to_string(machine.path("/etc/edgeway/edge.toml.example"))? == "# ours\n",
        "an example was overwritten"
    );
    machine.run(&["dpkg", "--no-triggers", "--remove", "edgeway"])?;
    ensure!(
        !machine.path("/usr/bin/edgeway").exists()
            && !machine.path("/lib/systemd/system/edgeway-edge.service").exists()
    );
    for kept in ["/etc/edgeway/edge.toml", "/etc/edgeway/tls/edge.key", "/var/lib/edgeway"] {
        ensure!(machine.path(kept).exists(), "a removal has taken {kept}");
    }
    machine.run(&["dpkg", "--no-triggers", "--purge", "edgeway"])?;
    let left = machine.changes()?;
    ensure!(left.is_empty(), "a purge leaves:\n{}", left.join("\n"));
    for list in ["/etc/passwd", "/etc/group"] {
        ensure!(!fs::read_to_string(machine.path(list))?.contains("edgeway"), "the user is still in {list}");
    }
    Ok(())
}

/// What an operator does after the installation, as docs/howto/first-deployment.md says; once as an edge, and once as a
/// core.
fn serve_from_the_examples(machine: &Machine) -> Result<()> {
    let scratch = Scratch::create("certificate")?;
    let made = Authority::create(scratch.path(), "public")?.issue("edge.example.com")?;
    machine.run(&["install", "-d", "-m", "750", "-g", "edgeway", "/etc/edgeway/tls"])?;
    for (from, to, mode) in [(&made.certificate, "edge.crt", "644"), (&made.key, "edge.key", "640")] {
        let from = machine.take_in(from)?;
        machine.run(&["install", "-m", mode, "-g", "edgeway", &from, &format!("/etc/edgeway/tls/{to}")])?;
    }
    // Addresses of the examples.
    for address in ["10.0.0.4/32", "192.0.2.10/32"] {
        machine.run(&["ip", "address", "add", address, "dev", "lo"])?;
    }
    for name in SERVICES {
        let settings = format!("/etc/edgeway/{name}.toml");
        machine.run(&["install", "-m", "640", "-g", "edgeway", &format!("{settings}.example"), &settings])?;
        let said = machine.run(&["edgeway", "config", "check", &settings])?;
        ensure!(said == format!("{settings}: a good {name} ({name}1)\n"), "{said}");
        let mut service = Service::start(machine, name, scratch.path())?;
        service.wait_for("READY=1", 1)?;
        // More than once: somebody keeps saying it.
        service.wait_for("WATCHDOG=1", 5)?;
        let status = machine.run(&["edgeway", "status"])?;
        ensure!(status.starts_with(&format!("{name}1 ({name}), Edgeway ")), "{status}");
        if name == "edge" {
            let token = machine.run_as_service(&["edgeway", "edge", "invite"])?;
            ensure!(token.trim().len() > 20, "{token}");
        }
        service.stop()?;
        // One machine is one node: the next one begins with nothing.
        empty(&machine.path("/var/lib/edgeway"))?;
    }
    fs::write(machine.path("/var/lib/edgeway/kept"), "state\n")?;
    Ok(())
}

fn empty(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}
