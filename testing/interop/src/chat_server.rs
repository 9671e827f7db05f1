//! IM servers: Prosody and ejabberd, each with everything a chat client asks for, in an instance of our own that
//! shares nothing with one the machine may run.

use crate::Host;
use crate::certificates::Certificate;
use crate::kamailio::{DOMAIN, PASSWORD};
use crate::process::{Daemon, Usage};
use anyhow::{Context, Result};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Where it listens for clients.
pub const CHAT_PORT: u16 = 5222;
/// Where it takes and gives files, over HTTPS.
pub const UPLOAD_PORT: u16 = 5281;
/// Who has an account, with [`PASSWORD`].
pub const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

const START_PATIENCE: Duration = Duration::from_secs(40);
const PROSODY_CONFIG: &str = include_str!("../peers/prosody.cfg.lua");
const EJABBERD_CONFIG: &str = include_str!("../peers/ejabberd.yml");

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// Written in Lua.
    Prosody,
    /// Written in Erlang.
    Ejabberd,
}

/// A running IM server.
#[derive(Debug)]
pub struct ChatServer {
    daemon: Daemon,
}

impl Make {
    /// As files are named.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prosody => "prosody",
            Self::Ejabberd => "ejabberd",
        }
    }

    /// Starts one at `address` of `host`, with its files below `directory`, and waits until it listens. It shows
    /// `certificate` to clients and over HTTPS.
    pub fn start(
        self,
        host: &Host,
        address: IpAddr,
        certificate: &Certificate,
        directory: &Path,
    ) -> Result<ChatServer> {
        let folder = directory.join(self.name());
        fs::create_dir_all(&folder)?;
        let files = Files { folder, address, certificate };
        let mut command = match self {
            Self::Prosody => files.prosody(host)?,
            Self::Ejabberd => files.ejabberd(host)?,
        };
        // The log of one that ran here before is not this one's.
        let _ = fs::remove_file(directory.join(format!("{}.log", self.name())));
        let mut daemon = Daemon::start(self.name(), &mut command, directory)?;
        let ports = [CHAT_PORT, UPLOAD_PORT].map(|port| SocketAddr::new(address, port));
        // ejabberd listens before it has made the accounts.
        let accounts = |daemon: &Daemon| self == Self::Prosody || daemon.log().contains(ACCOUNTS_MADE);
        let ready = |daemon: &Daemon| ports.iter().all(|&port| host.listens_tcp(port)) && accounts(daemon);
        daemon.wait_until("listening", START_PATIENCE, ready)?;
        Ok(ChatServer { daemon })
    }
}

/// What ejabberd is told to print when all accounts are there.
const ACCOUNTS_MADE: &str = "accounts made";

struct Files<'a> {
    folder: PathBuf,
    address: IpAddr,
    certificate: &'a Certificate,
}

impl Files<'_> {
    fn prosody(&self, host: &Host) -> Result<Command> {
        // Prosody escapes what is no letter or digit in the name of a folder.
        let accounts = self.folder.join("data").join(DOMAIN.replace('.', "%2e")).join("accounts");
        fs::create_dir_all(&accounts)?;
        for user in USERS {
            fs::write(
                accounts.join(format!("{user}.dat")),
                format!("return {{ [\"password\"] = \"{PASSWORD}\" }};\n"),
            )?;
        }
        let config = self.write("prosody.cfg.lua", PROSODY_CONFIG)?;
        let mut command = host.command("prosody");
        command.arg("-F").arg("--config").arg(config);
        Ok(command)
    }

    /// Without a node name there is no distribution: no `epmd`, no cookie, no port.
    fn ejabberd(&self, host: &Host) -> Result<Command> {
        let config = self.write("ejabberd.yml", EJABBERD_CONFIG)?;
        let both = [&self.certificate.certificate, &self.certificate.key].map(fs::read);
        let [chain, key] = both;
        fs::write(self.both(), [chain?, key?].concat())?;
        // Names are looked up in files alone.
        let names = self.folder.join("inetrc");
        fs::write(&names, "{lookup, [file]}.\n")?;
        fs::create_dir_all(self.folder.join("uploads"))?;
        let users = USERS.map(|user| format!("<<\"{user}\">>")).join(",");
        let accounts = format!(
            "[ejabberd_auth:try_register(U, <<\"{DOMAIN}\">>, <<\"{PASSWORD}\">>) || U <- [{users}]], \
             io:format(\"{ACCOUNTS_MADE}~n\")."
        );
        let mut command = host.command("erl");
        command.args(["-noinput", "-mnesia", "dir"]).arg(format!("\"{}\"", self.folder.join("spool").display()));
        command.args(["-s", "ejabberd", "-eval", &accounts]);
        command.env("HOME", &self.folder).current_dir(&self.folder);
        command.env("ERL_LIBS", library_folder()).env("ERL_INETRC", names).env("ERL_CRASH_DUMP_BYTES", "0");
        command.env("EJABBERD_CONFIG_PATH", config);
        command.env("EJABBERD_LOG_PATH", self.folder.join("ejabberd.log"));
        command.env("EJABBERD_PID_PATH", self.folder.join("pid"));
        Ok(command)
    }

    fn both(&self) -> PathBuf {
        self.folder.join("chain-and-key.pem")
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let words = [
            ("@FOLDER@", self.folder.display().to_string()),
            ("@ADDRESS@", self.address.to_string()),
            ("@DOMAIN@", DOMAIN.to_owned()),
            ("@CHAIN@", self.certificate.certificate.display().to_string()),
            ("@KEY@", self.certificate.key.display().to_string()),
            ("@BOTH@", self.both().display().to_string()),
        ];
        let text = words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value));
        let file = self.folder.join(name);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        Ok(file)
    }
}

/// Where Debian has ejabberd's own libraries.
fn library_folder() -> String {
    format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH)
}

impl ChatServer {
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
