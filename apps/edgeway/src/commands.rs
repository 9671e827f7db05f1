//! The short commands: everything but the lab.

use std::fmt::Display;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use edgeway_config::{CoreSettings, EdgeSettings, parse_core, parse_edge};
use edgeway_model::{NodeId, Role};
use edgeway_runtime::admin;
use edgeway_runtime::pki::{self, Authority, EdgeBook, Invites, NodeState, Token, unix_now};

/// sysexits: bad configuration.
const BAD_CONFIGURATION: u8 = 78;
/// Our own: the node does not run.
const NOT_RUNNING: u8 = 3;
/// Where nodes listen whose files say nothing else.
const USUAL_SOCKETS: [(Role, &str); 2] =
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
enum AnySettings {
    Edge(Box<EdgeSettings>),
    Core(Box<CoreSettings>),
}

impl AnySettings {
    const fn role(&self) -> Role {
        match self {
            Self::Edge(_) => Role::Edge,
            Self::Core(_) => Role::Core,
        }
    }

    fn control_socket(&self) -> &str {
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
    parse_core(&read(path)?, &path.display().to_string()).map_err(Failure::configuration)
}

/// Reads a file as whichever kind it is: only a core has registrars and domains.
fn any_settings(path: &Path) -> Result<AnySettings, Failure> {
    let text = read(path)?;
    let origin = path.display().to_string();
    let (edge, core) = (parse_edge(&text, &origin), parse_core(&text, &origin));
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

/// Asks the HTTP side of the core whose settings file this is.
pub(crate) fn ask(config: &Path, path: &str, question: &serde_json::Value) -> Result<serde_json::Value, Failure> {
    ask_at(&core_settings(config)?.control_socket, &format!("http/{path}"), question)
}

/// Asks the node whose settings file this is, for `http/…` or `node/…`; without one, the core of this machine, or else
/// its edge. What is asked may depend on which it is, and may be nothing that it could be asked.
pub(crate) fn ask_node(
    config: Option<&Path>,
    path: &str,
    question: &dyn Fn(Role) -> Result<serde_json::Value, String>,
) -> Result<(Role, serde_json::Value), Failure> {
    let (role, socket) = socket_of(config)?;
    let question = question(role).map_err(|why| Failure(2, why))?;
    Ok((role, ask_at(&socket, path, &question)?))
}

fn socket_of(config: Option<&Path>) -> Result<(Role, String), Failure> {
    match config {
        Some(config) => {
            let settings = any_settings(config)?;
            Ok((settings.role(), settings.control_socket().to_owned()))
        }
        None => USUAL_SOCKETS
            .iter()
            .find(|(_, socket)| Path::new(socket).exists())
            .map(|(role, socket)| (*role, (*socket).to_owned()))
            .ok_or_else(nothing_runs),
    }
}

/// Asks a node for `ask/…`, and those linked with it through it; whoever does not answer is named on standard error.
pub(crate) fn ask_here_and_linked(
    config: Option<&Path>,
    path: &str,
    question: &serde_json::Value,
) -> Result<Vec<serde_json::Value>, Failure> {
    let (_, socket) = socket_of(config)?;
    let mut answers = vec![ask_at(&socket, &format!("ask/{path}"), question)?];
    for peer in linked(&socket)? {
        match ask_at(&socket, &format!("ask/{path}?node={peer}"), question) {
            Ok(answer) => answers.push(answer),
            Err(failure) => eprintln!("{peer} is not asked: {}", failure.1),
        }
    }
    Ok(answers)
}

/// The nodes a node is linked with now.
fn linked(socket: &str) -> Result<Vec<String>, Failure> {
    let (_, status) = admin::fetch(socket, "/status").map_err(|fault| Failure(fault.exit_code(), fault.to_string()))?;
    let status: serde_json::Value = serde_json::from_str(&status).map_err(Failure::new)?;
    let links = status.get("links").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    let up = links.iter().filter(|link| link.get("state").and_then(serde_json::Value::as_str) == Some("up"));
    Ok(up.filter_map(|link| link.get("peer")?.as_str().map(str::to_owned)).collect())
}

fn ask_at(socket: &str, path: &str, question: &serde_json::Value) -> Result<serde_json::Value, Failure> {
    let (code, body) =
        admin::post(socket, path, question).map_err(|fault| Failure(fault.exit_code(), fault.to_string()))?;
    let answer: serde_json::Value = serde_json::from_str(&body).map_err(Failure::new)?;
    match code {
        200 => Ok(answer),
        _ => Err(Failure::new(answer.get("error").and_then(serde_json::Value::as_str).unwrap_or(&body))),
    }
}

/// `edgeway config check FILE…`
pub(crate) fn check(files: &[impl AsRef<Path>]) -> ExitCode {
    let mut worst = ExitCode::SUCCESS;
    for file in files {
        let file = file.as_ref();
        match any_settings(file) {
            Ok(AnySettings::Edge(settings)) => println!("{}: a good edge ({})", file.display(), settings.node),
            Ok(AnySettings::Core(settings)) => println!("{}: a good core ({})", file.display(), settings.node),
            Err(failure) => worst = finish(Err(failure)),
        }
    }
    worst
}

fn nothing_runs() -> Failure {
    Failure(NOT_RUNNING, "no edge and no core runs on this machine; name its file with --config".into())
}

/// `edgeway status`
pub(crate) fn status(config: Option<&Path>, json: bool) -> ExitCode {
    finish(print_status(config, json))
}

fn print_status(config: Option<&Path>, json: bool) -> Result<(), Failure> {
    let sockets = match config {
        Some(path) => vec![any_settings(path)?.control_socket().to_owned()],
        None => {
            let sockets = USUAL_SOCKETS.iter().rev().map(|(_, socket)| *socket);
            sockets.filter(|socket| Path::new(socket).exists()).map(str::to_owned).collect()
        }
    };
    if sockets.is_empty() {
        return Err(nothing_runs());
    }
    for socket in sockets {
        let (code, body) = admin::fetch(&socket, "/status").map_err(|fault| Failure::fetching(&fault))?;
        if code != 200 {
            return Err(Failure::new(format!("{socket} answers {code}: {body}")));
        }
        if json {
            println!("{body}");
        } else {
            let status: serde_json::Value = serde_json::from_str(&body).map_err(Failure::new)?;
            print!("{}", admin::table(&status));
        }
    }
    Ok(())
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
    println!("{}", token.reveal());
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
    println!("joined {} at {}", joined.edge.node, joined.edge.address);
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
    println!("{node} is dialled no more; its certificate stays good: `edgeway pki revoke {node}` ends that, too");
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
    println!("{node}: {revoked} certificate(s) revoked; running nodes hear of it over their links");
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
    println!("{}: copy it into the state directory of {node}", pki::identity::identity_path(out).display());
    Ok(())
}
