//! The step `metrics`: what Prometheus' own tool says of the metrics of an edge and a core that have served people, and of
//! the alerts in the package.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::root;
use crate::steps::Tally;

/// How long the lab's story may take on a busy machine, until its nodes have counted something of everything.
const STORY_MAX: Duration = Duration::from_secs(60);
/// How long a node may take to show its metrics.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The Debian package that has it. It is unpacked and not installed: that would start a service.
const PACKAGE: &str = "prometheus";
/// The nodes of the lab.
const NODES: [&str; 2] = ["edge1", "core1"];

fn folder() -> PathBuf {
    root().join("target/promtool")
}

fn program() -> PathBuf {
    folder().join("usr/bin/promtool")
}

/// Unpacks promtool where nothing else sees it.
pub(crate) fn set_up() -> Result<()> {
    if program().exists() {
        return Ok(());
    }
    println!("missing: promtool, of Debian's package {PACKAGE} (metrics: what Prometheus says of ours)");
    let folder = folder();
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    run(Command::new("apt-get").args(["download", "-qq", PACKAGE]).current_dir(&folder))?;
    let unpacked = fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let package = unpacked.into_iter().find(|path| path.extension().is_some_and(|end| end == "deb"));
    let package = package.with_context(|| format!("apt-get has left no package {PACKAGE}"))?;
    run(Command::new("dpkg").arg("-x").arg(&package).arg(&folder))?;
    // Only the tool is wanted of it.
    fs::remove_file(package)?;
    for rest in ["usr/bin/prometheus", "etc", "lib", "var", "usr/share"] {
        let rest = folder.join(rest);
        let _ = if rest.is_dir() { fs::remove_dir_all(rest) } else { fs::remove_file(rest) };
    }
    ensure!(program().exists(), "the package {PACKAGE} has no promtool");
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?} cannot be run"))?;
    if status.success() { Ok(()) } else { bail!("{command:?}: {status}") }
}

/// Ended when dropped.
struct Lab(Child);

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn step() -> Result<Tally> {
    let tool = program();
    if !tool.exists() {
        return Ok(Tally::failed(format!("promtool, of the package {PACKAGE}, is not there: cargo xtask setup")));
    }
    run(Command::new(&tool).args(["check", "rules"]).arg(root().join("packaging/prometheus/edgeway.rules.yml")))?;
    // As elsewhere: what was built with other flags lies elsewhere.
    let built = env::var_os("EDGEWAY_BIN_DIR").map_or_else(|| root().join("target/release"), PathBuf::from);
    let lab = Command::new(built.join("edgeway")).arg("lab").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut lab = Lab(lab.context("the lab cannot be run")?);
    let (keys, screen) = (lab.0.stdin.take(), lab.0.stdout.take());
    let (mut keys, screen) = keys.zip(screen).context("the lab has no keyboard")?;
    // Read once its story is over: by then people have signed in, called and chatted.
    keys.write_all(b"m\n")?;
    let (tell, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(screen).lines().map_while(Result::ok) {
            // Whoever has heard enough has gone.
            let _ = tell.send(line);
        }
    });
    let (until, mut seen) = (Instant::now() + STORY_MAX, Vec::new());
    while seen.len() < NODES.len() {
        let left = until.saturating_duration_since(Instant::now());
        let line = lines.recv_timeout(left).context("the lab does not say where its metrics are")?;
        let place = NODES.into_iter().find_map(|node| {
            let address = line.strip_prefix(node)?.strip_prefix(": curl http://")?.strip_suffix("/metrics")?;
            Some((node, address.parse::<SocketAddr>().ok()?))
        });
        seen.extend(place);
    }
    let mut tally = Tally::default();
    for (node, address) in seen {
        match check(&tool, address) {
            Ok(series) => {
                println!("{node}: promtool has nothing to say of {series} series");
                tally.passed += 1;
            }
            Err(error) => tally = tally.and_failed(format!("{node}: {error:#}")),
        }
    }
    Ok(tally)
}

/// How many series a node shows, if promtool finds nothing.
fn check(tool: &Path, address: SocketAddr) -> Result<usize> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, text) = answer.split_once("\r\n\r\n").context("that is no answer")?;
    ensure!(head.starts_with("HTTP/1.1 200 ") && !head.to_ascii_lowercase().contains("chunked"), "it answers {head}");
    for wanted in ["edgeway_request_duration_seconds_bucket", "edgeway_panics_total 0"] {
        ensure!(text.contains(wanted), "{wanted} is missing");
    }
    let mut child = Command::new(tool).args(["check", "metrics"]).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().context("it has no input")?.write_all(text.as_bytes())?;
    let status = child.wait()?;
    ensure!(status.success(), "promtool check metrics: {status}");
    Ok(text.lines().filter(|line| !line.starts_with('#')).count())
}
