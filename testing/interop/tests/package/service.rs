//! A service as its unit starts it, with this test in the place of the service manager.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::machine::Machine;

/// Within which the service must say that it turns; the unit has 30 s.
const WATCHDOG: Duration = Duration::from_secs(1);
/// How long it may take over anything, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where it tells how it is.
const SOCKET: &str = "/run/notify";

pub(super) struct Service {
    child: Child,
    told: UnixDatagram,
    log: std::path::PathBuf,
}

impl Service {
    /// Starts `ExecStart` of the unit as its user, in the folders the unit asks for.
    pub(super) fn start(machine: &Machine, name: &str, logs: &Path) -> Result<Self> {
        let unit = fs::read_to_string(machine.path(&format!("/lib/systemd/system/edgeway-{name}.service")))?;
        let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).context("the unit starts nothing")?;
        machine.run(&["install", "-d", "-o", "edgeway", "-g", "edgeway", "-m", "750", "/run/edgeway"])?;
        let _ = fs::remove_file(machine.path(SOCKET));
        let told = UnixDatagram::bind(machine.path(SOCKET))?;
        fs::set_permissions(machine.path(SOCKET), Permissions::from_mode(0o666))?;
        let log = logs.join(format!("{name}.log"));
        let file = fs::File::create(&log)?;
        let mut command = machine.command_of_service(&start.split(' ').collect::<Vec<_>>());
        command.env("NOTIFY_SOCKET", SOCKET).env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        let child = command.stdout(file.try_clone()?).stderr(file).spawn().with_context(|| format!("start {start}"))?;
        Ok(Self { child, told, log })
    }

    /// Waits until it has said something so often; between two words there is never more than it may be silent.
    pub(super) fn wait_for(&mut self, word: &str, times: usize) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut heard = 0;
        self.told.set_read_timeout(Some(Duration::from_millis(100)))?;
        while heard < times {
            let mut buffer = [0; 512];
            match self.told.recv(&mut buffer) {
                Ok(count) => {
                    heard += usize::from(String::from_utf8_lossy(&buffer[..count]).lines().any(|line| line == word))
                }
                Err(_) if Instant::now() < until && self.child.try_wait()?.is_none() => {}
                Err(error) => bail!("{word} was said {heard} times: {error}; it said\n{}", self.log()),
            }
        }
        Ok(())
    }

    /// Ends it as the service manager does, and hears that it goes in good order.
    pub(super) fn stop(mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = self.ended()?;
        ensure!(status.success(), "{status}; it said\n{}", self.log());
        // It has ended: what it said is there.
        self.wait_for("STOPPING=1", 1)
    }

    fn ended(&mut self) -> Result<ExitStatus> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("it does not end; it said\n{}", self.log())
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
