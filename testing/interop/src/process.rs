//! Starting a daemon, waiting until it is ready, and ending exactly what was started.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take to obey SIGTERM before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// How often a condition is looked at while waiting for it.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How much of a log an error message quotes.
const LOG_TAIL_LINES: usize = 15;

/// A running program with its log. Dropping it stops it and every process of its group.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    group: Pid,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command` (made by [`Host::command`](crate::Host::command)) in a process group of its own; standard output and error go
    /// to `<directory>/<name>.log`.
    pub fn start(name: &str, command: &mut Command, directory: &Path) -> Result<Self> {
        Self::launch(name, command.stdin(Stdio::null()), directory)
    }

    /// The same for a program that takes commands on its standard input, which is given back.
    pub fn start_with_input(name: &str, command: &mut Command, directory: &Path) -> Result<(Self, ChildStdin)> {
        let mut daemon = Self::launch(name, command.stdin(Stdio::piped()), directory)?;
        let input = daemon.child.stdin.take().context("standard input is piped")?;
        Ok((daemon, input))
    }

    fn launch(name: &str, command: &mut Command, directory: &Path) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        let child = command
            .process_group(0)
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {name}: {command:?}"))?;
        let group = Pid::from_child(&child);
        Ok(Self { name: name.to_owned(), child, group, log })
    }

    /// Its process id. Wrappers exec, so this is the daemon itself.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it printed so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until `ready` holds; an error with the end of the log when it does not in time or the daemon ends.
    pub fn wait_until(&mut self, what: &str, patience: Duration, mut ready: impl FnMut(&Self) -> bool) -> Result<()> {
        let start = Instant::now();
        loop {
            if ready(self) {
                return Ok(());
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || start.elapsed() > patience {
                let how = ended.map_or_else(|| format!("not after {patience:?}"), |status| format!("ended: {status}"));
                bail!("{}: {what}: {how}; it said:\n{}", self.name, self.log_tail());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// The last lines of the log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// Sends a signal to the daemon's process group.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process_group(self.group, signal)?)
    }

    /// CPU time and memory of the daemon and all its children.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of_trees(&[self.pid()])
    }

    /// Asks it to end, waits, and insists.
    pub fn stop(&mut self) {
        let _ = self.signal(Signal::TERM);
        let start = Instant::now();
        while self.lives() && start.elapsed() < STOP_PATIENCE {
            std::thread::sleep(POLL_INTERVAL);
        }
        let _ = self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    /// Whether any process of its group is left. Reaps the leader, so that a zombie does not count.
    fn lives(&mut self) -> bool {
        let _ = self.child.try_wait();
        test_kill_process_group(self.group).is_ok()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a tier has used so far: every process of it, children included.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User plus system time since the processes started.
    pub cpu: Duration,
    /// Resident memory now, in bytes. Pages shared between processes count once per process.
    pub resident_bytes: u64,
    /// Resident memory now, in bytes, with shared pages divided among their users.
    pub proportional_bytes: u64,
}

impl Usage {
    /// Adds up the process trees rooted at `roots`.
    pub fn of_trees(roots: &[u32]) -> Result<Self> {
        let mut usage = Self::default();
        for pid in with_descendants(roots)? {
            usage.add(pid);
        }
        Ok(usage)
    }

    /// One process alone.
    pub fn of_process(pid: u32) -> Result<Self> {
        let mut usage = Self::default();
        usage.add(pid);
        Ok(usage)
    }

    /// Adds one process; one that ended meanwhile adds nothing.
    fn add(&mut self, pid: u32) {
        let Some(fields) = stat_fields(pid) else { return };
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        // proc(5): after the name, utime is the 12th and stime the 13th field; 22nd is the resident page count.
        let ticks = number(11) + number(12);
        self.cpu += Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
        self.resident_bytes += number(21) * rustix::param::page_size() as u64;
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let proportional = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kibibytes = proportional.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        self.proportional_bytes += kibibytes.unwrap_or_default() * 1024;
    }
}

/// The fields of `/proc/PID/stat` after the command name, which may itself hold spaces.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// The processes `roots` and everything they started.
fn with_descendants(roots: &[u32]) -> Result<HashSet<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let parent = stat_fields(pid).and_then(|fields| fields.get(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = HashSet::new();
    let mut open = roots.to_vec();
    while let Some(pid) = open.pop() {
        if found.insert(pid) {
            open.extend(children.get(&pid).into_iter().flatten());
        }
    }
    Ok(found)
}

/// A directory that is deleted with this value, unless it is kept.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    kept: bool,
}

impl Scratch {
    /// Creates `<temporary directory>/edgeway-<pid>-<name>`.
    pub fn create(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("edgeway-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { path, kept: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it on disk, for someone to read the logs.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A port of this machine's loopback that is free for both TCP and UDP.
pub fn free_port(address: std::net::IpAddr) -> Result<u16> {
    const TRIES: usize = 50;
    for _ in 0..TRIES {
        let tcp = TcpListener::bind((address, 0))?;
        let port = tcp.local_addr()?.port();
        if UdpSocket::bind((address, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of {address} is free for TCP and UDP")
}

/// Waits until `ready` holds, or says what did not happen.
pub fn wait_for(what: &str, patience: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !ready() {
        if start.elapsed() > patience {
            bail!("{what}: not after {patience:?}");
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}
