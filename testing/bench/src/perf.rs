//! Where the time goes: `perf record` beside a phase, where perf works.

use anyhow::{Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A recording that ends, and is turned into a report, when this is dropped.
#[derive(Debug)]
pub(crate) struct Profile {
    child: Child,
    data: PathBuf,
}

impl Profile {
    /// Starts recording `pids` into `<folder>/<name>.data`. None where there is nothing to record.
    pub(crate) fn start(folder: &Path, name: &str, pids: &[u32]) -> Result<Option<Self>> {
        if pids.is_empty() {
            return Ok(None);
        }
        fs::create_dir_all(folder)?;
        let data = folder.join(format!("{name}.data"));
        let list = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let mut command = Command::new("perf");
        command.args(["record", "-q", "-F", "499", "-g", "-p", &list, "-o"]).arg(&data);
        let Ok(mut child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
            bail!("perf is not installed");
        };
        std::thread::sleep(std::time::Duration::from_millis(300));
        if child.try_wait()?.is_some() {
            eprintln!("perf does not work here; no profile");
            return Ok(None);
        }
        Ok(Some(Self { child, data }))
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        // SIGINT is how perf is told to finish its file.
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::INT);
        let _ = self.child.wait();
        if let Ok(report) = File::create(self.data.with_extension("txt")) {
            let mut command = Command::new("perf");
            command.args(["report", "--stdio", "--no-children", "--sort", "comm,dso,symbol", "-g", "none", "-i"]);
            let _ = command.arg(&self.data).stdout(report).stderr(Stdio::null()).status();
        }
    }
}
