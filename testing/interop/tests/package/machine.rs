//! This machine once more, in memory: what is written there is gone when the test ends, and nothing of it is seen
//! outside.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use edgeway_interop::process::Scratch;

/// Where package tools keep their own accounts.
const ACCOUNTS: [&str; 3] = ["/var/lib/dpkg", "/var/log", "/var/cache"];
/// The lists of users, each with the copy made before it was changed, and their locks.
const USERS: [&str; 6] = ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/subuid", "/etc/subgid"];

/// The copy. What was mounted for it ends with the namespace that this process is in.
pub(super) struct Machine {
    root: PathBuf,
    written: PathBuf,
    _scratch: Scratch,
}

impl Machine {
    /// Lays an empty layer in memory over this machine's file system.
    pub(super) fn boot() -> Result<Self> {
        // What is mounted here would else be mounted for everybody.
        ensure!(std::process::id() == 1, "not in namespaces of its own: see the head of main.rs");
        let scratch = Scratch::create("machine")?;
        let at = |name: &str| scratch.path().join(name);
        mount(&["-t", "tmpfs", "-o", "mode=755", "edgeway"], scratch.path())?;
        for folder in ["written", "work", "root"] {
            fs::create_dir(at(folder))?;
        }
        let layers = format!("lowerdir=/,upperdir={},workdir={}", at("written").display(), at("work").display());
        mount(&["-t", "overlay", "-o", &layers, "edgeway"], &at("root"))?;
        let machine = Self { root: at("root"), written: at("written"), _scratch: scratch };
        mount(&["-t", "proc", "proc"], &machine.path("/proc"))?;
        mount(&["--rbind", "/dev"], &machine.path("/dev"))?;
        // Nobody here is told of a service manager, so none is asked for anything.
        for (folder, mode) in [("/run", "mode=755"), ("/tmp", "mode=1777")] {
            mount(&["-t", "tmpfs", "-o", mode, "edgeway"], &machine.path(folder))?;
        }
        machine.run(&["ip", "link", "set", "lo", "up"])?;
        Ok(machine)
    }

    /// Where a path of the copy is found from outside.
    pub(super) fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    /// Copies a file into its `/tmp`, and says where it is.
    pub(super) fn take_in(&self, file: &Path) -> Result<String> {
        let inside = format!("/tmp/{}", file.file_name().context("a file")?.display());
        fs::copy(file, self.path(&inside)).with_context(|| format!("copy {}", file.display()))?;
        Ok(inside)
    }

    /// A command there, as root.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.root).args(arguments).env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C.UTF-8");
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
        command
    }

    /// A command there, as the unit runs it: the service's user, who can become nobody else.
    pub(super) fn command_of_service(&self, arguments: &[&str]) -> Command {
        let user = ["setpriv", "--reuid=edgeway", "--regid=edgeway", "--clear-groups", "--no-new-privs"];
        let nothing = ["--bounding-set=-all", "--inh-caps=-all", "--"];
        self.command(&[&user[..], &nothing[..], arguments].concat())
    }

    /// Runs a command as root and says what it said.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String> {
        words(&mut self.command(arguments))
    }

    /// Runs a command as the service's user and says what it said.
    pub(super) fn run_as_service(&self, arguments: &[&str]) -> Result<String> {
        words(&mut self.command_of_service(arguments))
    }

    /// What is not as it was, but for the accounts of package tools: files that were not there, files that are gone.
    pub(super) fn changes(&self) -> Result<Vec<String>> {
        let (mut folders, mut found) = (vec![self.written.clone()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let place = Path::new("/").join(path.strip_prefix(&self.written)?);
                let name = place.display().to_string();
                if is_account(&name) {
                    continue;
                }
                let metadata = fs::symlink_metadata(&path)?;
                // How an overlay says that something of the layer below is gone.
                let gone = metadata.file_type().is_char_device() && metadata.rdev() == 0;
                let was = match fs::symlink_metadata(&place) {
                    Ok(_) => true,
                    Err(error) if error.kind() == ErrorKind::NotFound => false,
                    Err(error) => return Err(error).context(name),
                };
                if metadata.is_dir() {
                    folders.push(path);
                    // Folders of the system's own may come to be; ours may not stay.
                    found.extend((!was && name.contains("edgeway")).then(|| format!("new: {name}")));
                } else if gone || !was {
                    found.push(format!("{}: {name}", if gone { "gone" } else { "new" }));
                }
            }
        }
        Ok(found)
    }
}

fn is_account(name: &str) -> bool {
    let of_users = |list: &str| name.strip_prefix(list).is_some_and(|rest| ["", "-", ".lock"].contains(&rest));
    ACCOUNTS.contains(&name) || USERS.iter().any(|list| of_users(list)) || name == "/etc/.pwd.lock"
}

fn mount(arguments: &[&str], at: &Path) -> Result<()> {
    words(Command::new("mount").args(arguments).arg(at)).map(drop)
}

/// Runs a command that must succeed, and says what it said.
pub(super) fn words(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{command:?}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}
