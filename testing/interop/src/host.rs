//! Where a program runs: this machine's own network, or one namespace.

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Namespaces are named `PREFIX<pid>-<network>-<name>`, so that two runs do not meet and a later run
/// can tell that the process which made one is gone.
const PREFIX: &str = "edgeway-";

/// A network namespace that lives as long as this value.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Creates the namespace `name` of network number `network`, with loopback up.
    pub fn create(network: usize, name: &str) -> Result<Self> {
        let namespace = Self { name: format!("{PREFIX}{}-{network}-{name}", std::process::id()) };
        run(Command::new("ip").args(["netns", "add", &namespace.name]))?;
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The name `ip netns` knows it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets programs inside find `name` at `address`, and nothing else: ip-netns(8) shows them these files in `/etc`.
    pub fn know(&self, name: &str, address: IpAddr) -> Result<()> {
        let folder = etc(&self.name);
        std::fs::create_dir_all(&folder)?;
        let files = [("hosts", format!("{address} {name}\n")), ("nsswitch.conf", "hosts: files\n".to_owned())];
        for (file, text) in files {
            std::fs::write(folder.join(file), text).with_context(|| format!("write {file} for {}", self.name))?;
        }
        Ok(())
    }

    /// Runs `ip` inside.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        run(Command::new("ip").args(["-n", &self.name]).args(arguments))
    }

    /// Ends what still runs inside and deletes namespaces whose maker is gone: a run that was killed leaves
    /// them behind.
    pub fn sweep() -> Result<()> {
        let listed = run(Command::new("ip").args(["netns", "list"]))?;
        for name in listed.lines().filter_map(|line| line.split_whitespace().next()) {
            let Some(maker) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else { continue };
            if maker.parse::<u32>().is_ok() && !Path::new("/proc").join(maker).exists() {
                delete(name);
            }
        }
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        delete(&self.name);
    }
}

/// Ends every process inside, then removes the namespace. Only ever called for namespaces we made.
fn delete(name: &str) {
    for pid in run(Command::new("ip").args(["netns", "pids", name])).unwrap_or_default().split_whitespace() {
        if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    let _ = run(Command::new("ip").args(["netns", "delete", name]));
    let _ = std::fs::remove_dir_all(etc(name));
}

/// What a namespace has in place of files of `/etc`.
fn etc(name: &str) -> PathBuf {
    Path::new("/etc/netns").join(name)
}

/// Where a program runs.
#[derive(Clone, Debug)]
pub enum Host {
    /// The machine's own network: benches on loopback.
    Here,
    /// One namespace.
    Namespace(Arc<Namespace>),
}

impl Host {
    /// A command that runs `program` there. The kernel sends it SIGTERM when the thread that started it ends, so
    /// that nothing outlives a test that was killed: start daemons from a thread that lives as long as they must.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]);
        if let Self::Namespace(namespace) = self {
            command.args(["ip", "netns", "exec", &namespace.name]);
        }
        command.arg(program.as_ref());
        command
    }

    /// Runs `program` there to its end; its standard output, or an error with what it said.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        run(self.command(program).args(arguments))
    }

    /// Runs `work` on a thread whose sockets belong to this host. Sockets keep their network when they leave it.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let Self::Namespace(namespace) = self else { return work() };
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let file = File::open(Path::new("/run/netns").join(&namespace.name))?;
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                work()
            });
            inside.join().unwrap_or_else(|_| bail!("panicked inside {}", namespace.name))
        })
    }

    /// Opens a TCP connection from there.
    pub fn connect(&self, to: SocketAddr, patience: Duration) -> Result<TcpStream> {
        self.enter(|| TcpStream::connect_timeout(&to, patience).with_context(|| format!("connect to {to}")))
    }

    /// Whether a TCP socket listens at `address` there. Only looks: a connection opened to find out is an error to a
    /// TLS server, and Debian's Kamailio corrupts its memory on such errors (kamailio issue 3791).
    pub fn listens_tcp(&self, address: SocketAddr) -> bool {
        self.has_socket("tcp", address, Some("0A"))
    }

    /// Whether a UDP socket is bound to `address` there.
    pub fn listens_udp(&self, address: SocketAddr) -> bool {
        self.has_socket("udp", address, None)
    }

    /// Looks for an IPv4 socket in proc(5)'s table: `slot: local remote state …`, addresses in host-order hex.
    fn has_socket(&self, table: &str, address: SocketAddr, state: Option<&str>) -> bool {
        let SocketAddr::V4(address) = address else { return false };
        let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
        let file = format!("/proc/thread-self/net/{table}");
        let text = self.enter(|| Ok(std::fs::read_to_string(file)?)).unwrap_or_default();
        text.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().take(4).collect();
            fields.get(1) == Some(&local.as_str()) && state.is_none_or(|state| fields.get(3) == Some(&state))
        })
    }

    /// Whether something accepts TCP connections at `address` there.
    pub fn accepts_tcp(&self, address: SocketAddr) -> bool {
        self.connect(address, Duration::from_millis(500)).is_ok()
    }
}

/// Runs a command to its end; its standard output, or an error with the command line and what it said.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&said).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
