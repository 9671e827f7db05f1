//! Edgeway itself: the settings files, pairing, and both services, started as an operator would.

use crate::Host;
use crate::certificates::Certificate;
use crate::process::{Daemon, Usage, wait_for};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The variable that names the folder with `edgeway`, `edgeway-edge` and `edgeway-core`.
pub const BINARIES: &str = "EDGEWAY_BIN_DIR";
/// The name clients connect to, and the certificate's.
pub const EDGE_NAME: &str = "edge.example.test";
/// A second name the edge has a certificate for.
pub const SECOND_NAME: &str = "sip.example.net";

/// How long the services may take until the link between them is up.
pub(crate) const LINK_PATIENCE: Duration = Duration::from_secs(20);

/// How the core reaches a registrar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// SIP over TCP.
    Tcp,
    /// SIP over UDP.
    Udp,
}

impl Transport {
    /// As the settings and URIs write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Where edge and core run and what they are told.
#[derive(Clone, Debug)]
pub struct ProductSetup<'a> {
    /// Where the edge runs.
    pub dmz: Host,
    /// Where the core runs.
    pub inside: Host,
    /// The edge's SIP listener, which is also its public media address.
    pub edge: SocketAddr,
    /// Where the core dials the edge.
    pub link: SocketAddr,
    /// The core's SIP listener.
    pub core: SocketAddr,
    /// The registrar.
    pub registrar: (Transport, SocketAddr),
    /// Lines for the core's `[sip]` table, and tables below it, in place of `registrar`.
    pub core_sip: Option<String>,
    /// HTTPS, where it is on.
    pub https: Option<HttpsSetup>,
    /// Chat, where it is on.
    pub xmpp: Option<XmppSetup>,
    /// SIP Path headers On or Off.
    pub path_headers: bool,
    /// Certificates by name; the first is the default.
    pub certificates: &'a [Certificate],
    /// The domain served.
    pub domain: &'a str,
    /// `sip.public_host` of the edge.
    pub public_host: &'a str,
    /// Media ports of the edge and of the core; they may share a machine in benches.
    pub media_ports: (&'a str, &'a str),
    /// `log.level` of both.
    pub log_level: &'a str,
    /// `limits.strangers_per_address`: benches connect many phones from one address.
    pub strangers_per_address: u32,
}

/// Sign-in and the reverse proxy.
#[derive(Clone, Debug)]
pub struct HttpsSetup {
    /// The edge's HTTPS listener.
    pub listen: SocketAddr,
    /// Tables for the core's file.
    pub core: String,
}

/// Chat.
#[derive(Clone, Debug)]
pub struct XmppSetup {
    /// The edge's listener for STARTTLS.
    pub listen: SocketAddr,
    /// The edge's listener for TLS from the first byte, where there is one.
    pub direct_tls: Option<SocketAddr>,
    /// Tables for the core's file.
    pub core: String,
}

/// A paired and running edge and core.
#[derive(Debug)]
pub struct Product {
    binaries: PathBuf,
    edge: Node,
    core: Node,
}

/// An edge or a core with its file.
#[derive(Debug)]
pub(crate) struct Node {
    host: Host,
    role: &'static str,
    number: u8,
    listens: SocketAddr,
    directory: PathBuf,
    config: PathBuf,
    pub(crate) daemon: Option<Daemon>,
}

/// Current and peak of something counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Now.
    pub current: u64,
    /// The most since the node started.
    pub peak: u64,
}

/// The folder with the binaries: what [`BINARIES`] names, or the one this program is in. Or what to do about it.
pub fn binaries() -> Result<PathBuf> {
    const NAMES: [&str; 3] = ["edgeway", "edgeway-edge", "edgeway-core"];
    let own = std::env::current_exe()?.parent().map(Path::to_owned);
    let directory = std::env::var_os(BINARIES).map(PathBuf::from).or(own).unwrap_or_default();
    if let Some(name) = NAMES.into_iter().find(|name| !directory.join(name).exists()) {
        let place = directory.display();
        bail!("there is no {name} in {place}: build it, or let {BINARIES} name the folder with {}", NAMES.join(", "));
    }
    // Daemons may be started from elsewhere.
    Ok(fs::canonicalize(directory)?)
}

impl Product {
    /// Writes both files, starts the edge, pairs the core with it, starts the core and waits until they are linked.
    pub fn start(setup: &ProductSetup<'_>, directory: &Path) -> Result<Self> {
        let binaries = binaries()?;
        let mut product =
            Self { edge: Node::edge(setup, 1, directory)?, core: Node::core(setup, 1, directory)?, binaries };
        product.edge.start(&product.binaries)?;
        product.core.join(&product.edge, &product.binaries)?;
        product.core.start(&product.binaries)?;
        product.wait_linked()?;
        Ok(product)
    }

    /// CPU and memory of the edge.
    pub fn edge_usage(&self) -> Result<Usage> {
        self.edge.daemon.as_ref().context("the edge runs")?.usage()
    }

    /// CPU and memory of the core.
    pub fn core_usage(&self) -> Result<Usage> {
        self.core.daemon.as_ref().context("the core runs")?.usage()
    }

    /// Process ids of edge and core, for profilers.
    pub fn pids(&self) -> Vec<u32> {
        [&self.edge, &self.core].into_iter().filter_map(|node| node.daemon.as_ref()).map(Daemon::pid).collect()
    }

    /// An `edgeway` command on the core's machine, with the core's file.
    pub fn core_command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.core.host.command(self.binaries.join("edgeway"));
        command.args(arguments).arg("--config").arg(&self.core.config);
        Ok(command)
    }

    /// The same on the edge's machine.
    pub fn edge_command(&self, arguments: &[&str]) -> Result<Command> {
        Ok(self.edge.command(&self.binaries, arguments))
    }

    /// `edgeway status` of the edge.
    pub fn edge_status(&self) -> Result<Value> {
        self.status(&self.edge)
    }

    /// `edgeway status` of the core.
    pub fn core_status(&self) -> Result<Value> {
        self.status(&self.core)
    }

    /// Registrations the core counts.
    pub fn registrations(&self) -> Result<Count> {
        count(&self.core_status()?, "registrations")
    }

    /// Registrations the edge counts.
    pub fn edge_registrations(&self) -> Result<Count> {
        count(&self.edge_status()?, "registrations")
    }

    /// Calls the core counts.
    pub fn calls(&self) -> Result<Count> {
        count(&self.core_status()?, "calls")
    }

    /// Whether the core says the link to its edge is up.
    pub fn is_linked(&self) -> bool {
        self.core.links_up(&self.binaries, "edge") > 0
    }

    /// The end of both logs, for error messages.
    pub fn log_tails(&self) -> String {
        let tail = |node: &Node| node.daemon.as_ref().map(Daemon::log_tail).unwrap_or_default();
        format!("edge:\n{}\ncore:\n{}", tail(&self.edge), tail(&self.core))
    }

    /// Both logs.
    pub fn logs(&self) -> String {
        let log = |node: &Node| node.daemon.as_ref().map(Daemon::log).unwrap_or_default();
        log(&self.edge) + &log(&self.core)
    }

    fn wait_linked(&self) -> Result<()> {
        let linked = wait_for("link between edge and core", LINK_PATIENCE, || self.is_linked());
        linked.with_context(|| self.log_tails())
    }

    fn status(&self, node: &Node) -> Result<Value> {
        node.status(&self.binaries)
    }
}

impl Node {
    /// An edge, not started.
    pub(crate) fn edge(setup: &ProductSetup<'_>, number: u8, directory: &Path) -> Result<Self> {
        let text = setup.edge_file(directory, number)?;
        Self::prepare(&setup.dmz, directory, ("edge", number), &text, setup.link)
    }

    /// A core, not started and not joined.
    pub(crate) fn core(setup: &ProductSetup<'_>, number: u8, directory: &Path) -> Result<Self> {
        let text = setup.core_file(directory, number)?;
        Self::prepare(&setup.inside, directory, ("core", number), &text, core_link(setup.core))
    }

    fn prepare(
        host: &Host,
        directory: &Path,
        (role, number): (&'static str, u8),
        text: &str,
        listens: SocketAddr,
    ) -> Result<Self> {
        let name = file_name(role, number);
        let config = directory.join(format!("{name}.toml"));
        fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
        fs::create_dir_all(directory.join(format!("{name}.state")))?;
        let directory = directory.to_owned();
        Ok(Self { host: host.clone(), role, number, listens, directory, config, daemon: None })
    }

    /// Starts it; an edge listens for cores then.
    pub(crate) fn start(&mut self, binaries: &Path) -> Result<()> {
        let program = format!("edgeway-{}", self.role);
        let mut command = self.host.command(binaries.join(&program));
        let log = if self.number == 1 { program } else { format!("{program}-{}", self.number) };
        let mut daemon = Daemon::start(&log, command.arg("--config").arg(&self.config), &self.directory)?;
        if self.role == "edge" {
            daemon.wait_until("listening", LINK_PATIENCE, |_| self.host.listens_tcp(self.listens))?;
        }
        self.daemon = Some(daemon);
        Ok(())
    }

    /// This core joins another node. The invite goes from one command to the other as an operator would carry it: never
    /// as an argument.
    pub(crate) fn join(&self, node: &Self, binaries: &Path) -> Result<()> {
        let invite = crate::host::run(&mut node.command(binaries, &[node.role, "invite"]))?;
        let token = invite.split_whitespace().last().context("invite printed nothing")?;
        feed(&mut self.command(binaries, &["core", "join"]), token)
    }

    pub(crate) fn command(&self, binaries: &Path, arguments: &[&str]) -> Command {
        let mut command = self.host.command(binaries.join("edgeway"));
        command.args(arguments).arg("--config").arg(&self.config);
        command
    }

    pub(crate) fn status(&self, binaries: &Path) -> Result<Value> {
        let mut command = self.command(binaries, &["status", "--output", "json"]);
        Ok(serde_json::from_str(&crate::host::run(&mut command)?)?)
    }

    /// How many of its links with such nodes it says are up.
    pub(crate) fn links_up(&self, binaries: &Path, role: &str) -> usize {
        let status = self.status(binaries).unwrap_or_default();
        let links = status.get("links").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let text =
            |link: &Value, name: &str| link.get(name).and_then(Value::as_str).map(str::to_owned).unwrap_or_default();
        links.iter().filter(|link| text(link, "state") == "up" && text(link, "peer").starts_with(role)).count()
    }
}

/// Where a core listens for other cores, where there are any.
fn core_link(sip: SocketAddr) -> SocketAddr {
    SocketAddr::new(sip.ip(), 7002)
}

/// What the files of a node are called: plainly, where there is one of each.
fn file_name(role: &str, number: u8) -> String {
    if number == 1 { role.to_owned() } else { format!("{role}{number}") }
}

impl ProductSetup<'_> {
    fn edge_file(&self, directory: &Path, number: u8) -> Result<String> {
        let mut file = self.node_lines(directory, "edge", number);
        let (edge, link) = (self.edge, self.link);
        writeln!(file, "[sip]\nlisten = [\"{edge}\"]\npublic_host = \"{}\"", self.public_host)?;
        for certificate in self.certificates {
            let (chain, key) = (certificate.certificate.display(), certificate.key.display());
            writeln!(file, "[[sip.certificates]]\nchain = \"{chain}\"\nkey = \"{key}\"")?;
        }
        match &self.https {
            Some(https) => writeln!(file, "[https]\nlisten = [\"{}\"]", https.listen)?,
            None => writeln!(file, "[https]\nlisten = \"off\"")?,
        }
        match &self.xmpp {
            Some(xmpp) => {
                writeln!(file, "[xmpp]\nlisten = [\"{}\"]", xmpp.listen)?;
                if let Some(direct_tls) = xmpp.direct_tls {
                    writeln!(file, "direct_tls_listen = [\"{direct_tls}\"]")?;
                }
            }
            None => writeln!(file, "[xmpp]\nlisten = \"off\"")?,
        }
        writeln!(file, "[link]\nlisten = \"{link}\"\npublic_address = \"{link}\"")?;
        writeln!(file, "[media]\naddress = \"{}\"\nports = \"{}\"", edge.ip(), self.media_ports.0)?;
        writeln!(file, "[limits]\nstrangers_per_address = {}", self.strangers_per_address)?;
        Ok(file)
    }

    fn core_file(&self, directory: &Path, number: u8) -> Result<String> {
        let mut file = self.node_lines(directory, "core", number);
        let (transport, registrar) = self.registrar;
        let media: IpAddr = self.core.ip();
        writeln!(file, "[sip]\nlisten = [\"{}\"]\npath_headers = {}", self.core, self.path_headers)?;
        match &self.core_sip {
            Some(lines) => writeln!(file, "{lines}")?,
            None => writeln!(file, "registrars = [\"{}:{registrar}\"]", transport.name())?,
        }
        writeln!(file, "[media]\naddress = \"{media}\"\nports = \"{}\"", self.media_ports.1)?;
        if number > 1 {
            writeln!(file, "[link]\nlisten = \"{}\"", core_link(self.core))?;
        }
        file.push_str(self.https.as_ref().map_or("", |https| https.core.as_str()));
        file.push_str(self.xmpp.as_ref().map_or("", |xmpp| xmpp.core.as_str()));
        Ok(file)
    }

    /// What both files begin with; keys before the first table.
    fn node_lines(&self, directory: &Path, role: &str, number: u8) -> String {
        let name = file_name(role, number);
        let state = directory.join(format!("{name}.state"));
        let domains = if role == "core" { format!("domains = [\"{}\"]\n", self.domain) } else { String::new() };
        format!(
            "node = \"{role}{number}\"\nstate_dir = \"{}\"\ncontrol_socket = \"{}\"\n{domains}[log]\nlevel = \"{}\"\n",
            state.display(),
            directory.join(format!("{name}.sock")).display(),
            self.log_level,
        )
    }
}

/// Runs a command with `text` on its standard input.
fn feed(command: &mut Command, text: &str) -> Result<()> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("standard input is piped")?;
    writeln!(input, "{text}")?;
    drop(input);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn count(status: &Value, what: &str) -> Result<Count> {
    let number = |name: &str| status.pointer(&format!("/{what}/{name}")).and_then(Value::as_u64);
    let (current, peak) = (number("current"), number("peak"));
    Ok(Count {
        current: current.with_context(|| format!("{what}.current in {status}"))?,
        peak: peak.with_context(|| format!("{what}.peak in {status}"))?,
    })
}
