//! Installs what `cargo xtask test` needs beyond Rust and a C compiler.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{cargo, root};

/// A Debian package some test or bench runs.
struct Package {
    name: &'static str,
    /// What runs it.
    used_by: &'static str,
    /// Services it starts when installed. We start our own, on networks of our own, so they are
    /// stopped: a developer's machine must not gain an open SIP port.
    services: &'static [&'static str],
}

/// Every package, each because something runs it.
const PACKAGES: [Package; 28] = [
    Package { name: "python3-venv", used_by: "api: schemathesis", services: &[] },
    Package { name: "kamailio", used_by: "interop: the registrar; bench: the peer", services: &["kamailio.service"] },
    Package { name: "kamailio-tls-modules", used_by: "bench: the peer that faces clients", services: &[] },
    Package { name: "baresip-core", used_by: "interop: the phones", services: &[] },
    Package { name: "linphone-cli", used_by: "stories: the phones of another make", services: &[] },
    Package { name: "rtpengine-daemon", used_by: "bench: the media peer", services: &["rtpengine-daemon.service"] },
    Package { name: "nginx-light", used_by: "bench: the HTTP peer", services: &["nginx.service"] },
    Package { name: "slapd", used_by: "directory: whom people bind to", services: &["slapd.service"] },
    Package { name: "prosody", used_by: "chat: an IM server; bench: the server", services: &["prosody.service"] },
    Package {
        name: "ejabberd",
        used_by: "chat: an IM server of another make",
        // Erlang's own comes with it.
        services: &["ejabberd.service", "epmd.socket", "epmd.service"],
    },
    Package { name: "python3-slixmpp", used_by: "chat: the clients", services: &[] },
    Package { name: "profanity", used_by: "chat: a client of another make", services: &[] },
    Package { name: "haproxy", used_by: "bench: the peer that ends TLS for chat", services: &["haproxy.service"] },
    Package { name: "nftables", used_by: "interop: the inner firewall", services: &[] },
    Package { name: "iproute2", used_by: "interop: network namespaces", services: &[] },
    Package { name: "openssl", used_by: "interop, sign-in: certificates as a client sees them", services: &[] },
    Package { name: "curl", used_by: "sign-in: the client", services: &[] },
    Package { name: "libfaketime", used_by: "sign-in: 480 minutes in a moment", services: &[] },
    Package { name: "tshark", used_by: "capture: what Wireshark makes of our files", services: &[] },
    Package { name: "lintian", used_by: "package: what Debian says of it", services: &[] },
    Package { name: "systemd", used_by: "package: how closed the services are", services: &[] },
    Package { name: "e2fsprogs", used_by: "store: a disk that breaks", services: &[] },
    Package { name: "mount", used_by: "store: disks that are full or read-only", services: &[] },
    Package { name: "chromium", used_by: "browser: what looks at the pages", services: &[] },
    Package { name: "nodejs", used_by: "browser: what drives it", services: &[] },
    Package { name: "npm", used_by: "browser: what fetches playwright-core and axe-core", services: &[] },
    Package { name: "fonts-noto-cjk", used_by: "browser: screenshots in Japanese", services: &[] },
    Package { name: "util-linux", used_by: "interop: ending what was started", services: &[] },
];

/// Installs what is missing.
pub(crate) fn run() -> Result<()> {
    let missing: Vec<&Package> = PACKAGES.iter().filter(|package| !is_installed(package.name)).collect();
    if !missing.is_empty() {
        for package in &missing {
            println!("missing: {} ({})", package.name, package.used_by);
        }
        install(&missing)?;
    }
    if !has_cargo_deny() {
        println!("missing: cargo-deny (licences, bans and sources of dependencies)");
        let done = cargo().args(["install", "--locked", "cargo-deny"]).status().context("cargo cannot be run")?;
        if !done.success() {
            bail!("cargo-deny could not be installed");
        }
    }
    install_browser_packages()?;
    crate::api::set_up()?;
    crate::promtool::set_up()?;
    println!("setup: everything is there");
    Ok(())
}

/// What drives the browser, as the lock file of `testing/browser` says; installed anew where that has changed.
fn install_browser_packages() -> Result<()> {
    let folder = root().join("testing/browser");
    let is_newer = |file: &str, than: &str| {
        let changed = |name: &str| folder.join(name).metadata().and_then(|about| about.modified()).ok();
        changed(file).zip(changed(than)).is_some_and(|(file, than)| file >= than)
    };
    if is_newer("node_modules/.package-lock.json", "package-lock.json") {
        return Ok(());
    }
    println!("missing: playwright-core and axe-core (browser)");
    let words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    let done = Command::new("npm").args(words).current_dir(folder).status().context("npm cannot be run")?;
    if !done.success() {
        bail!("the packages of testing/browser could not be installed");
    }
    Ok(())
}

/// Whether `cargo deny` can be run.
pub(crate) fn has_cargo_deny() -> bool {
    let quiet = cargo().args(["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

fn is_installed(package: &str) -> bool {
    // Some packages of Node.js bring npm along, and Debian's of that name cannot be beside them.
    if package == "npm" && Command::new("npm").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return true;
    }
    let query = Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]).output();
    query.is_ok_and(|output| output.stdout == b"installed")
}

fn install(missing: &[&Package]) -> Result<()> {
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    as_root(&["apt-get", "update", "-qq"])?;
    let mut words = vec!["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq"];
    words.push("--no-install-recommends");
    words.extend(&names);
    as_root(&words)?;
    if Path::new("/run/systemd/system").exists() {
        for service in missing.iter().flat_map(|package| package.services) {
            // A service that is not there is as good as one that does not run.
            let _ = as_root(&["systemctl", "disable", "--now", "--quiet", service]);
        }
    }
    Ok(())
}

/// Runs a command as root: as it is if we are, else through sudo.
fn as_root(words: &[&str]) -> Result<()> {
    let words = if we_are_root()? { words.to_vec() } else { [&["sudo"], words].concat() };
    let shown = words.join(" ");
    println!("+ {shown}");
    match Command::new(words[0]).args(&words[1..]).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("{shown}: {status}"),
        Err(error) if error.kind() == ErrorKind::NotFound && words[0] == "sudo" => {
            bail!("setup installs Debian packages: run it as root, or install sudo")
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("there is no {} here; these tests run on Debian and its relatives", words[0])
        }
        Err(error) => Err(error).context(shown),
    }
}

/// Whether this process runs as root.
pub(crate) fn we_are_root() -> Result<bool> {
    let id = Command::new("id").arg("-u").output().context("id cannot be run")?;
    Ok(id.stdout.trim_ascii() == b"0")
}
