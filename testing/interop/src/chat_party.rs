//! Somebody who chats: slixmpp, a real client library, in a program that does what it is told (`peers/chat_party.py`).
//!
//! It checks the certificate and the name of whom it talks to, is connected again by itself when it loses its
//! connection, and then resumes its stream (XEP-0198).

use crate::Host;
use crate::kamailio::{DOMAIN, PASSWORD};
use crate::process::{Daemon, Scratch};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ChildStdin;
use std::time::{Duration, Instant};

/// The variable that makes clients log every stanza, for someone who looks for a fault.
pub const CHAT_TRACE: &str = "EDGEWAY_CHAT_TRACE";
/// Debian's Python, which finds Debian's slixmpp.
pub const PYTHON: &str = "/usr/bin/python3";
/// Patience for things that take some round trips on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

const PROGRAM: &str = include_str!("../peers/chat_party.py");
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How many of the last events an error message quotes.
const QUOTED_MAX: usize = 8;

/// Who, and where it connects.
#[derive(Clone, Debug)]
pub struct PartySetup<'a> {
    /// The user.
    pub user: &'a str,
    /// The resource it binds: a device.
    pub resource: &'a str,
    /// Its password.
    pub password: &'a str,
    /// The SASL mechanism, or whichever it likes best.
    pub mechanism: Option<&'a str>,
    /// Where it connects.
    pub address: SocketAddr,
    /// TLS from the first byte (XEP-0368), else STARTTLS.
    pub direct_tls: bool,
    /// The CA it trusts.
    pub ca: &'a Path,
}

impl<'a> PartySetup<'a> {
    /// Who signs in with the right password and STARTTLS.
    pub fn new(user: &'a str, resource: &'a str, address: SocketAddr, ca: &'a Path) -> Self {
        Self { user, resource, password: PASSWORD, mechanism: None, address, direct_tls: false, ca }
    }
}

/// A running client.
#[derive(Debug)]
pub struct Party {
    jid: String,
    host: Host,
    daemon: Daemon,
    input: ChildStdin,
    commands: u64,
}

/// The counts of stream management, when the server has acknowledged everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Stanzas it sent, by its own count.
    pub sent: u64,
    /// Stanzas the server has handled, by the server's count.
    pub acknowledged: u64,
    /// Stanzas it has handled.
    pub handled: u64,
}

impl Party {
    /// Starts one; it signs in by itself.
    pub fn start(host: &Host, setup: &PartySetup<'_>, scratch: &Scratch) -> Result<Self> {
        let program = scratch.path().join("chat_party.py");
        fs::write(&program, PROGRAM)?;
        let jid = format!("{}@{DOMAIN}/{}", setup.user, setup.resource);
        let name = format!("slixmpp-{}-{}", setup.user, setup.resource);
        let mut command = host.command(PYTHON);
        command.arg(program);
        let (daemon, input) = Daemon::start_with_input(&name, &mut command, scratch.path())?;
        let mut party = Self { jid: jid.clone(), host: host.clone(), daemon, input, commands: 0 };
        party.write(&json!({
            "jid": jid,
            "password": setup.password,
            "mechanism": setup.mechanism,
            "host": setup.address.ip().to_string(),
            "port": setup.address.port(),
            "direct_tls": setup.direct_tls,
            "ca": setup.ca,
            "log": if std::env::var_os(CHAT_TRACE).is_some() { "DEBUG" } else { "WARNING" },
        }))?;
        Ok(party)
    }

    /// Its full address.
    pub fn jid(&self) -> &str {
        &self.jid
    }

    /// Its address without the resource.
    pub fn bare(&self) -> &str {
        self.jid.split('/').next().unwrap_or_default()
    }

    /// Where it runs.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Waits until it has signed in, with a stream that can be resumed.
    pub fn wait_started(&self) -> Result<()> {
        let started = self.wait_event(0, "started")?;
        if started["managed"] != true {
            bail!("{}: no stream management: {started}", self.jid)
        }
        Ok(())
    }

    /// How much happened so far: the mark later waits start from.
    pub fn mark(&self) -> usize {
        self.events().len()
    }

    /// The first event of this name after `mark`.
    pub fn wait_event(&self, mark: usize, name: &str) -> Result<Value> {
        self.wait(mark, name, PATIENCE, |event| event["event"] == name)
    }

    /// The first event after `mark` that is the one.
    pub fn wait(&self, mark: usize, what: &str, patience: Duration, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let start = Instant::now();
        loop {
            let events = self.events();
            let fresh = events.get(mark..).unwrap_or_default();
            if let Some(found) = fresh.iter().find(|event| is_it(event)) {
                return Ok(found.clone());
            }
            if start.elapsed() > patience {
                let last: Vec<String> = fresh.iter().rev().take(QUOTED_MAX).rev().map(Value::to_string).collect();
                bail!("{}: no {what} within {patience:?}; last was {}", self.jid, last.join(" "));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Waits for a message with this text after `mark`.
    pub fn wait_message(&self, mark: usize, body: &str) -> Result<Value> {
        let is_it = |event: &Value| event["event"] == "message" && event["body"] == body;
        self.wait(mark, &format!("message {body}"), PATIENCE, is_it)
    }

    /// Texts of messages after `mark` that begin so, in the order in which they came.
    pub fn bodies(&self, mark: usize, start: &str) -> Vec<String> {
        let events = self.events();
        let fresh = events.get(mark..).unwrap_or_default();
        let messages = fresh.iter().filter(|event| event["event"] == "message");
        let bodies = messages.filter_map(|event| event["body"].as_str());
        bodies.filter(|body| body.starts_with(start)).map(str::to_owned).collect()
    }

    /// How many events of this name there were after `mark`.
    pub fn count(&self, mark: usize, name: &str) -> usize {
        self.events().iter().skip(mark).filter(|event| event["event"] == name).count()
    }

    /// The conditions of refused sign-ins after `mark`.
    pub fn conditions(&self, mark: usize) -> Vec<String> {
        let events = self.events();
        let failed = events.iter().skip(mark).filter(|event| event["event"] == "failed_auth");
        failed.filter_map(|event| event["condition"].as_str().map(str::to_owned)).collect()
    }

    /// Tells it to do something and waits for the answer.
    pub fn tell(&mut self, what: &str, arguments: Value) -> Result<Value> {
        let number = self.order(what, arguments)?;
        let answer = self.wait(0, what, PATIENCE, |event| event["answer"] == number)?;
        match answer.get("failed") {
            Some(why) => bail!("{}: {what}: {why}", self.jid),
            None => Ok(answer),
        }
    }

    /// Tells it to do something and does not wait.
    pub fn order(&mut self, what: &str, mut arguments: Value) -> Result<u64> {
        self.commands += 1;
        let fields = arguments.as_object_mut().context("arguments by name")?;
        fields.insert("do".to_owned(), what.into());
        fields.insert("id".to_owned(), self.commands.into());
        self.write(&arguments)?;
        Ok(self.commands)
    }

    /// Says something to somebody.
    pub fn say(&mut self, to: &str, body: &str) -> Result<()> {
        self.tell("say", json!({ "to": to, "body": body })).map(drop)
    }

    /// The counts, once the server has acknowledged everything.
    pub fn counts(&mut self) -> Result<Counts> {
        let answer = self.tell("acknowledged", json!({}))?;
        let number = |name: &str| answer[name].as_u64().with_context(|| format!("{name} in {answer}"));
        Ok(Counts { sent: number("sent")?, acknowledged: number("acknowledged")?, handled: number("handled")? })
    }

    /// The end of its log, for error messages.
    pub fn log_tail(&self) -> String {
        self.daemon.log_tail()
    }

    fn write(&mut self, message: &Value) -> Result<()> {
        writeln!(self.input, "{message}").with_context(|| format!("{}: {}", self.jid, self.daemon.log_tail()))
    }

    /// What it told, among what it logged.
    fn events(&self) -> Vec<Value> {
        let log = self.daemon.log();
        // The last line may still be under way.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole.lines().filter(|line| line.starts_with('{')).filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}
