//! Kamailio: the registrar inside, and (to prove the harness) a registrar that phones reach over TLS.

use crate::certificates::Certificate;
use crate::process::{Daemon, Usage};
use crate::{Host, process};
use anyhow::{Context, Result};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The domain every phone registers in.
pub const DOMAIN: &str = "example.test";
/// The password of every user.
pub const PASSWORD: &str = "secret";

const START_PATIENCE: Duration = Duration::from_secs(20);
const REGISTRAR_CONFIG: &str = include_str!("../peers/registrar.cfg");

/// How to start one Kamailio.
#[derive(Clone, Debug)]
pub struct Kamailio<'a> {
    /// A name for its log, unique in its directory.
    pub name: &'a str,
    /// Its configuration file's text.
    pub config: &'a str,
    /// Names defined for the configuration's `#!ifdef` and substitutions: `NAME` or `NAME=value`.
    pub defines: &'a [String],
    /// UDP, TCP and TLS listeners.
    pub udp: Option<SocketAddr>,
    /// See `udp`.
    pub tcp: Option<SocketAddr>,
    /// See `udp`.
    pub tls: Option<(SocketAddr, &'a Certificate)>,
    /// Worker processes, of UDP (for each socket) and of TCP.
    pub workers: u8,
    /// Shared memory in MiB.
    pub shared_mib: u32,
}

/// A running Kamailio.
#[derive(Debug)]
pub struct Running {
    daemon: Daemon,
}

impl Kamailio<'_> {
    /// A registrar with digest authentication, bindings in memory and Path support (RFC 3327).
    pub fn registrar(name: &str) -> Kamailio<'_> {
        Kamailio {
            name,
            config: REGISTRAR_CONFIG,
            defines: &[],
            udp: None,
            tcp: None,
            tls: None,
            workers: 2,
            shared_mib: 64,
        }
    }

    /// Starts it on `host`, with its files in `directory`, and waits until it listens.
    pub fn start(&self, host: &Host, directory: &Path) -> Result<Running> {
        let config = directory.join(format!("{}.cfg", self.name));
        fs::write(&config, self.config).with_context(|| format!("write {}", config.display()))?;
        let runtime = directory.join(format!("{}.run", self.name));
        fs::create_dir_all(&runtime)?;
        let mut command = host.command("kamailio");
        command.args(["-DD", "-E", "-x", "tlsf", "-X", "tlsf", "-m", &self.shared_mib.to_string(), "-M", "16"]);
        command.args(["-n", &self.workers.to_string(), "-N", &self.workers.to_string()]);
        command.arg("-f").arg(&config).arg("-Y").arg(&runtime).arg("-P").arg(runtime.join("pid"));
        for (protocol, address) in [("udp", self.udp), ("tcp", self.tcp), ("tls", self.tls.map(|(address, _)| address))]
        {
            if let Some(address) = address {
                command.arg("-l").arg(format!("{protocol}:{address}"));
            }
        }
        if let Some((_, certificate)) = self.tls {
            command.arg("-A").arg("WITH_TLS");
            command.arg("-A").arg(format!("TLS_CONFIG=\"{}\"", self.write_tls(directory, certificate)?.display()));
        }
        for define in self.defines {
            command.arg("-A").arg(define);
        }
        let mut daemon = Daemon::start(self.name, &mut command, directory)?;
        let listening = |_: &Daemon| {
            let tls = self.tls.map(|(address, _)| address);
            let tcp = [self.tcp, tls].into_iter().flatten().all(|address| host.listens_tcp(address));
            tcp && self.udp.is_none_or(|address| host.listens_udp(address))
        };
        daemon.wait_until("listening", START_PATIENCE, listening)?;
        Ok(Running { daemon })
    }

    fn write_tls(&self, directory: &Path, certificate: &Certificate) -> Result<PathBuf> {
        let file = directory.join(format!("{}-tls.cfg", self.name));
        let (key, chain) = (certificate.key.display(), certificate.certificate.display());
        let server = format!("[server:default]\nmethod = TLSv1.2+\nprivate_key = {key}\ncertificate = {chain}\n");
        let client = "[client:default]\nmethod = TLSv1.2+\nverify_certificate = no\n";
        // Whom it dials may ask for a certificate.
        let shown = format!("private_key = {key}\ncertificate = {chain}\n");
        fs::write(&file, server + client + &shown).with_context(|| format!("write {}", file.display()))?;
        Ok(file)
    }
}

impl Running {
    /// CPU and memory of all its processes.
    pub fn usage(&self) -> Result<Usage> {
        self.daemon.usage()
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.daemon.stop();
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.daemon.log()
    }
}

/// The URI of a user of [`DOMAIN`].
pub fn uri(user: &str) -> String {
    format!("sip:{user}@{DOMAIN}")
}

/// Patience for things that take a network round trip or two on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for `ready` with [`PATIENCE`].
pub fn wait(what: &str, ready: impl FnMut() -> bool) -> Result<()> {
    process::wait_for(what, PATIENCE, ready)
}
