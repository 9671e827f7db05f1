//! Profanity, a real chat client for the console, on a terminal of its own (`peers/chat_console.py`).

use crate::Host;
use crate::chat_party::{PATIENCE, PYTHON};
use crate::host::run;
use crate::kamailio::{DOMAIN, PASSWORD};
use crate::process::{Daemon, Scratch, wait_for};
use anyhow::{Context, Result};
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ChildStdin, Command};
use std::time::Duration;

const PROGRAM: &str = include_str!("../peers/chat_console.py");
/// It reads keys as they are typed; a line that follows at once is taken for a part of the one before.
const TYPING_PAUSE: Duration = Duration::from_millis(300);

/// Somebody at a console.
#[derive(Debug)]
pub struct Console {
    daemon: Daemon,
    input: ChildStdin,
}

impl Console {
    /// Starts it and signs in.
    pub fn start(host: &Host, user: &str, address: SocketAddr, ca: &Path, scratch: &Scratch) -> Result<Self> {
        let home = scratch.path().join(format!("profanity-{user}"));
        fs::create_dir_all(home.join("profanity"))?;
        // OpenSSL finds a CA in a folder by the hash of its name.
        let trusted = home.join("trusted");
        fs::create_dir_all(&trusted)?;
        fs::copy(ca, trusted.join("ca.pem"))?;
        run(Command::new("openssl").arg("rehash").arg(&trusted))?;
        let settings = format!("[connection]\ntls.certpath={}\n[ui]\nsplash=false\n", trusted.display());
        fs::write(home.join("profanity/profrc"), settings)?;
        let program = scratch.path().join("chat_console.py");
        fs::write(&program, PROGRAM)?;
        let mut command = host.command(PYTHON);
        command.arg(program).arg(&home);
        let name = format!("profanity-{user}-screen");
        let (daemon, input) = Daemon::start_with_input(&name, &mut command, scratch.path())?;
        let mut console = Self { daemon, input };
        console.wait_shown(0, "Type '/help'")?;
        let (ip, port) = (address.ip(), address.port());
        let mark = console.mark();
        console.enter(&format!("/connect {user}@{DOMAIN} server {ip} port {port} tls force"))?;
        console.wait_shown(mark, "Enter password")?;
        console.enter(PASSWORD)?;
        Ok(console)
    }

    /// Types a line.
    pub fn enter(&mut self, line: &str) -> Result<()> {
        std::thread::sleep(TYPING_PAUSE);
        writeln!(self.input, "{line}").context("type")
    }

    /// How much was shown so far.
    pub fn mark(&self) -> usize {
        self.daemon.log().len()
    }

    /// Waits until this text is shown, after `mark`.
    pub fn wait_shown(&self, mark: usize, text: &str) -> Result<()> {
        let shown = || self.daemon.log().get(mark..).is_some_and(|fresh| fresh.contains(text));
        wait_for(text, PATIENCE, shown).with_context(|| self.daemon.log_tail())
    }
}
