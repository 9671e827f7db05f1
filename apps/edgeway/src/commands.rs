//! The short commands: everything but the lab.

use std::fmt::Display;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use edgeway_admin::configuration::settings_beside;
use edgeway_config::{CoreSettings, EdgeSettings, parse_edge};
use edgeway_model::{NodeId, Role};
use edgeway_runtime::admin;
use edgeway_runtime::pki::{self, Authority, EdgeBook, Invites, NodeState, Token, unix_now};
use serde_json::Value;

use crate::Format;
use crate::maintenance::span;
use crate::output::{say, show};

/// sysexits: bad configuration.
const BAD_CONFIGURATION: u8 = 78;
/// Our own: the node does not run.
const NOT_RUNNING: u8 = 3;
/// Where nodes listen whose files say nothing else.
pub(crate) const USUAL_SOCKETS: [(Role, &str); 2] =
    [(Role::Core, "/run/edgeway/core.sock"), (Role::Edge, "/run/edgeway/edge.sock")];
/// A token is one short line; more is no token.
const TOKEN_BYTES_MAX: u64 = 4_096;

/// A command that failed: what to say, and the exit code.
pub(crate) struct Failure(pub(crate) u8, pub(crate) String);

impl Failure {
    pub(crate) fn new(error: impl Display) -> Self {
        Self(1, error.to_string())
    }

    pub(crate) fn fetching(fault: &admin::FetchFault) -> Self {
        Self(fault.exit_code(), fault.to_string())
    }

    pub(crate) fn configuration(error: impl Display) -> Self {
        Self(BAD_CONFIGURATION, error.to_string())
    }
}

pub(crate) fn finish(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, text)) => {
            eprintln!("{text}");
            ExitCode::from(code)
        }
    }
}

/// One of the two kinds of settings file.
pub(crate) enum AnySettings {
    Edge(Box<EdgeSettings>),
    Core(Box<CoreSettings>),
}

impl AnySettings {
    pub(crate) const fn role(&self) -> Role {
        match self {
            Self::Edge(_) => Role::Edge,
            Self::Core(_) => Role::Core,
        }
    }

    pub(crate) fn control_socket(&self) -> &str {
        match self {
            Self::Edge(settings) => &settings.control_socket,
            Self::Core(settings) => &settings.control_socket,
        }
    }
}

pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::configuration(format!("cannot read {}: {error}", path.display())))
}

fn edge_settings(path: &Path) -> Result<EdgeSettings, Failure> {
    parse_edge(&read(path)?, &path.display().to_string()).map_err(Failure::configuration)
}

pub(crate) fn core_settings(path: &Path) -> Result<CoreSettings, Failure> {
    settings_beside(&read(path)?, &path.display().to_string()).map_err(Failure::configuration)
}

/// Reads a file as whichever kind it is: only a core has registrars and domains.
pub(crate) fn any_settings(path: &Path) -> Result<AnySettings, Failure> {
    let text = read(path)?;
    let origin = path.display().to_string();
    let (edge, core) = (parse_edge(&text, &origin), settings_beside(&text, &origin));
    match (edge, core) {
        (Ok(edge), _) => Ok(AnySettings::Edge(Box::new(edge))),
        (_, Ok(core)) => Ok(AnySettings::Core(Box::new(core))),
        (Err(edge), Err(core)) => {
            let is_core = text.lines().any(|line| {
                let key = line.split('=').next().unwrap_or_default().trim();
                matches!(key, "domains" | "registrars" | "advertise" | "path_headers" | "allow_unencrypted")
            });
            Err(if is_core { Failure::configuration(core) } else { Failure::configuration(edge) })
        }
    }
}

/// The core a command is about, and how its answer is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct AtCore {
    /// The core's settings file; without it, the core of this machine.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// How a change of the configuration is made.
#[derive(Debug, clap::Args)]
pub(crate) struct How {
    /// Why; it stands in the history.
    #[arg(long, default_value = "")]
    pub(crate) comment: String,
    /// Go back by itself unless `edgeway config confirm` comes within this time: 90s, 5m, 1h.
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) confirm: Option<Duration>,
    /// Only show what it would do.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Which node a command is about.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct At {
    /// The settings file of a node on this machine; without it, its core, or else its edge.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Another node, by its name: an edge or a core that the core of this machine is linked with.
    #[arg(long, value_parser = node_named)]
    pub(crate) node: Option<NodeId>,
}

/// For clap.
pub(crate) fn node_named(text: &str) -> Result<NodeId, String> {
    NodeId::new(text).ok_or_else(|| "no node is named like that: use 1 to 63 of a-z, 0-9 and -".to_owned())
}

impl At {
    /// The socket of the node on this machine, and which kind of node it is.
    pub(crate) fn socket(&self) -> Result<(Role, String), Failure> {
        if let Some(config) = &self.config {
            let settings = any_settings(config)?;
            return Ok((settings.role(), settings.control_socket().to_owned()));
        }
        let usual = USUAL_SOCKETS.iter().find(|(_, socket)| Path::new(socket).exists());
        usual.map(|(role, socket)| (*role, (*socket).to_owned())).ok_or_else(nothing_runs)
    }

    /// Asks the node.
    pub(crate) fn ask(&self, path: &str, question: &Value) -> Result<Value, Failure> {
        ask_at(&self.socket()?.1, self.node.as_ref(), path, question)
    }

    /// Asks the node and, unless one is named, those linked with it; whoever does not answer is named on standard error.
    pub(crate) fn ask_everywhere(&self, path: &str, question: &Value) -> Result<Vec<Value>, Failure> {
        let (_, socket) = self.socket()?;
        let mut answers = vec![ask_at(&socket, self.node.as_ref(), path, question)?];
        if self.node.is_some() {
            return Ok(answers);
        }
        for peer in linked(&ask_at(&socket, None, "status", &Value::Null)?) {
            match ask_at(&socket, Some(&peer), path, question) {
                Ok(answer) => answers.push(answer),
                Err(failure) => eprintln!("{peer} does not say: {}", failure.1),
            }
        }
        Ok(answers)
    }

    /// Which kind of node it is.
    pub(crate) fn role(&self) -> Result<Role, Failure> {
        let (role, socket) = self.socket()?;
        if self.node.is_none() {
            return Ok(role);
        }
        let status = ask_at(&socket, self.node.as_ref(), "status", &Value::Null)?;
        let is_edge = status.get("role").and_then(Value::as_str) == Some("edge");
        Ok(if is_edge { Role::Edge } else { Role::Core })
    }
}

/// The nodes a node is linked with now, out of its status.
fn linked(status: &Value) -> Vec<NodeId> {
    let links = status.get("links").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let up = links.iter().filter(|link| link.get("state").and_then(Value::as_str) == Some("up"));
    up.filter_map(|link| NodeId::new(link.get("peer")?.as_str()?)).collect()
}

/// Asks the core whose settings file this is.
pub(crate) fn ask(config: &Path, path: &str, question: &Value) -> Result<Value, Failure> {
    ask_at(&core_settings(config)?.control_socket, None, path, question)
}

pub(crate) fn ask_at(socket: &str, node: Option<&NodeId>, path: &str, question: &Value) -> Result<Value, Failure> {
    let (code, body) = admin::ask(socket, node, path, question).map_err(|fault| Failure::fetching(&fault))?;
    let answer: Value = serde_json::from_str(&body).map_err(Failure::new)?;
    match code {
        200 => Ok(answer),
        _ => {
            let why = answer.get("error").and_then(Value::as_str).unwrap_or(&body);
            Err(Failure::new(admin::printable(why)))
        }
    }
}

/// `edgeway config check FILE…`
pub(crate) fn check(files: &[impl AsRef<Path>]) -> ExitCode {
    let mut worst = ExitCode::SUCCESS;
    for file in files {
        let file = file.as_ref();
        match any_settings(file) {
            Ok(AnySettings::Edge(settings)) => say!("{}: a good edge ({})", file.display(), settings.node),
            Ok(AnySettings::Core(settings)) => say!("{}: a good core ({})", file.display(), settings.node),
            Err(failure) => worst = finish(Err(failure)),
        }
    }
    worst
}

pub(crate) fn nothing_runs() -> Failure {
    Failure(NOT_RUNNING, "no edge and no core runs on this machine; name its file with --config".into())
}

/// `edgeway status`
pub(crate) fn status(at: &At, json: bool) -> ExitCode {
    finish(print_status(at, json))
}

fn print_status(at: &At, json: bool) -> Result<(), Failure> {
    for status in statuses(at)? {
        if json {
            say!("{status:#}");
        } else {
            show!("{}", admin::table(&status));
        }
    }
    Ok(())
}

/// What a node says of itself; without one named, the edge and the core of this machine.
pub(crate) fn statuses(at: &At) -> Result<Vec<Value>, Failure> {
    let sockets = match &at.config {
        Some(path) => vec![any_settings(path)?.control_socket().to_owned()],
        // Another node is asked through the core.
        None if at.node.is_some() => vec![at.socket()?.1],
        None => {
            let sockets = USUAL_SOCKETS.iter().rev().map(|(_, socket)| *socket);
            sockets.filter(|socket| Path::new(socket).exists()).map(str::to_owned).collect()
        }
    };
    if sockets.is_empty() {
        return Err(nothing_runs());
    }
    sockets.iter().map(|socket| ask_at(socket, at.node.as_ref(), "status", &Value::Null)).collect()
}

/// Those, and what the nodes say of themselves that a core among them is linked with; whoever does not answer is named on
/// standard error.
pub(crate) fn statuses_everywhere(at: &At) -> Result<Vec<Value>, Failure> {
    let mut all = statuses(at)?;
    let of = |status: &Value, name: &str| status.get(name).and_then(Value::as_str).map(str::to_owned);
    let core = all.iter().find(|status| of(status, "role").as_deref() == Some("core"));
    let Some(peers) = core.filter(|_| at.node.is_none()).map(linked) else { return Ok(all) };
    let (_, socket) = at.socket()?;
    for peer in peers {
        if all.iter().any(|status| of(status, "node").as_deref() == Some(peer.as_str())) {
            continue;
        }
        match ask_at(&socket, Some(&peer), "status", &Value::Null) {
            Ok(status) => all.push(status),
            Err(failure) => eprintln!("{peer} does not say: {}", failure.1),
        }
    }
    Ok(all)
}

/// `edgeway edge invite`
pub(crate) fn invite(config: &Path, address: Option<&str>, minutes: u16) -> ExitCode {
    finish(print_invite(config, address, minutes))
}

fn print_invite(config: &Path, address: Option<&str>, minutes: u16) -> Result<(), Failure> {
    let settings = edge_settings(config)?;
    let own = settings.link.public_address.map(|address| address.to_string());
    let text = "where does the core reach this edge? Set link.public_address, or give --address HOST:PORT";
    let address = address.map(str::to_owned).or(own).ok_or_else(|| Failure::configuration(text))?;
    print_token(Path::new(&settings.state_dir), &address, minutes, "edgeway-edge")
}

/// `edgeway core invite`
pub(crate) fn invite_core(config: &Path, address: Option<&str>, minutes: u16) -> ExitCode {
    finish(print_core_invite(config, address, minutes))
}

fn print_core_invite(config: &Path, address: Option<&str>, minutes: u16) -> Result<(), Failure> {
    let settings = core_settings(config)?;
    if settings.link.listen.is_none() {
        let text = "this core listens for no other: set link.listen, for example to the address inside with port 7002";
        return Err(Failure::configuration(text));
    }
    let own = settings.link.public_address.map(|address| address.to_string());
    let text = "where does the other core reach this one? Set link.public_address, or give --address HOST:PORT";
    let address = address.map(str::to_owned).or(own).ok_or_else(|| Failure::configuration(text))?;
    print_token(Path::new(&settings.state_dir), &address, minutes, "edgeway-core")
}

fn print_token(state_dir: &Path, address: &str, minutes: u16, service: &str) -> Result<(), Failure> {
    let state = NodeState::load_or_create(state_dir).map_err(Failure::new)?;
    let validity = Duration::from_secs(u64::from(minutes) * 60);
    let invites = Invites::in_state(state_dir);
    let token = invites.create(address, state.key(), validity, unix_now()).map_err(Failure::new)?;
    eprintln!("Good once, for {minutes} minutes, while {service} runs. On the core: edgeway core join");
    say!("{}", token.reveal());
    Ok(())
}

/// `edgeway core join`
pub(crate) fn join(config: &Path, token_file: Option<&Path>) -> ExitCode {
    finish(do_join(config, token_file))
}

fn do_join(config: &Path, token_file: Option<&Path>) -> Result<(), Failure> {
    let settings = core_settings(config)?;
    let token = read_token(token_file)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
    let joined = runtime
        .block_on(pki::pairing::join_for(
            Path::new(&settings.state_dir),
            &settings.node,
            &token,
            settings.link.certificate_lifetime,
        ))
        .map_err(Failure::new)?;
    if joined.authority_created {
        eprintln!("A certificate authority was made in {}: keep a copy of it safe.", settings.state_dir);
    }
    say!("joined {} at {}", joined.edge.node, joined.edge.address);
    Ok(())
}

fn read_token(file: Option<&Path>) -> Result<Token, Failure> {
    let mut text = String::new();
    match file {
        Some(path) => {
            let file = std::fs::File::open(path)
                .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
            file.take(TOKEN_BYTES_MAX).read_to_string(&mut text).map_err(Failure::new)?;
        }
        None => {
            eprintln!("The token, then Enter:");
            let mut line = String::new();
            std::io::BufRead::read_line(&mut std::io::stdin().lock().take(TOKEN_BYTES_MAX), &mut line)
                .map_err(Failure::new)?;
            text = line;
        }
    }
    Token::parse(text.trim()).map_err(Failure::new)
}

/// `edgeway core forget`
pub(crate) fn forget(node: &str, config: &Path) -> ExitCode {
    finish(do_forget(node, config))
}

fn do_forget(node: &str, config: &Path) -> Result<(), Failure> {
    let (settings, node) = (core_settings(config)?, node_name(node)?);
    let state_dir = Path::new(&settings.state_dir);
    let mut book = EdgeBook::load(state_dir).map_err(Failure::new)?;
    if !book.forget(&node) {
        return Err(Failure::new(format!("{node} was not joined from here")));
    }
    book.store(state_dir).map_err(Failure::new)?;
    say!("{node} is dialled no more; its certificate stays good: `edgeway pki revoke {node}` ends that, too");
    Ok(())
}

/// `edgeway pki revoke`
pub(crate) fn revoke(node: &str, config: &Path) -> ExitCode {
    finish(do_revoke(node, config))
}

fn do_revoke(node: &str, config: &Path) -> Result<(), Failure> {
    let (settings, node) = (core_settings(config)?, node_name(node)?);
    let state_dir = Path::new(&settings.state_dir);
    let authority = authority(&settings)?;
    if node == settings.node {
        return Err(Failure::new(format!("{node} is this core itself, which holds the authority")));
    }
    let revoked = authority.revoke_node(state_dir, &node).map_err(Failure::new)?;
    let mut book = EdgeBook::load(state_dir).map_err(Failure::new)?;
    let known = book.forget(&node);
    if known {
        book.store(state_dir).map_err(Failure::new)?;
    }
    if revoked == 0 && !known {
        return Err(Failure::new(format!("no certificate of {node} is known here, and it was not joined from here")));
    }
    say!("{node}: {revoked} certificate(s) revoked; running nodes hear of it over their links");
    Ok(())
}

fn node_name(node: &str) -> Result<NodeId, Failure> {
    NodeId::new(node).ok_or_else(|| Failure(2, format!("{node:?} is no node name: use 1 to 63 of a-z, 0-9 and -")))
}

fn authority(settings: &CoreSettings) -> Result<Authority, Failure> {
    let authority = Authority::load(Path::new(&settings.state_dir)).map_err(Failure::new)?.ok_or_else(|| {
        Failure::new(format!(
            "{} holds no authority: `edgeway core join` makes it, on the first core",
            settings.state_dir
        ))
    })?;
    Ok(authority.with_validity(settings.link.certificate_lifetime))
}

/// `edgeway pki issue`
pub(crate) fn issue(node: &str, config: &Path, out: &Path) -> ExitCode {
    finish(do_issue(node, config, out))
}

fn do_issue(node: &str, config: &Path, out: &Path) -> Result<(), Failure> {
    let settings = core_settings(config)?;
    let node = node_name(node)?;
    authority(&settings)?.issue_to(&node, Role::Core, out).map_err(Failure::new)?;
    say!("{}: copy it into the state directory of {node}", pki::identity::identity_path(out).display());
    Ok(())
}
