//! The step `api`: the REST API of a core that runs, against its own description, by schemathesis.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::root;
use crate::steps::Tally;

/// How long requests are made up.
const SECONDS: &str = "25";
/// How long a core may take to answer its operator.
const START_MAX: Duration = Duration::from_secs(20);
/// Made once by `setup`.
const PACKAGE: &str = "schemathesis==4.32.5";

/// Where its Python packages are.
fn environment() -> PathBuf {
    root().join("target/schemathesis")
}

fn program() -> PathBuf {
    environment().join("bin/schemathesis")
}

/// Installs schemathesis where nothing else sees it.
pub(crate) fn set_up() -> Result<()> {
    if program().exists() {
        return Ok(());
    }
    let environment = environment();
    run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", PACKAGE]))
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?} cannot be run"))?;
    if status.success() { Ok(()) } else { bail!("{command:?}: {status}") }
}

/// Ended when dropped.
struct Core(Child);

impl Drop for Core {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn step() -> Result<Tally> {
    if !program().exists() {
        return Ok(Tally::failed("schemathesis is not installed: cargo xtask setup"));
    }
    let folder = std::env::temp_dir().join(format!("edgeway-api-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let outcome = tested(&folder);
    let _ = fs::remove_dir_all(&folder);
    outcome
}

fn tested(folder: &std::path::Path) -> Result<Tally> {
    let port = free_port()?;
    let sip = free_port()?;
    let (config, at) = (folder.join("core.toml"), folder.display());
    let text = format!(
        "node = \"core1\"\nstate_dir = \"{at}\"\ncontrol_socket = \"{at}/core.sock\"\ndomains = [\"example.com\"]\n\
         [sip]\nlisten = [\"127.0.0.1:{sip}\"]\nregistrars = [\"sip:127.0.0.1:{sip};transport=tcp\"]\n\
         [media]\naddress = \"127.0.0.1\"\nports = \"11200-11299\"\n[admin]\nlisten = \"127.0.0.1:{port}\"\n"
    );
    fs::write(&config, text)?;
    let release = root().join("target/release");
    let log = fs::File::create(folder.join("log"))?;
    let child = Command::new(release.join("edgeway-core")).arg("--config").arg(&config).stderr(log).spawn()?;
    let _core = Core(child);
    let tool = release.join("edgeway");
    let token = token(&tool, &config)?;
    let description = folder.join("openapi.json");
    fs::write(&description, Command::new(&tool).arg("openapi").output()?.stdout)?;
    let status = Command::new(program())
        .arg("run")
        .arg(&description)
        .args(["--url", &format!("https://127.0.0.1:{port}"), "--tls-verify", "false", "--max-time", SECONDS])
        .args(["--request-timeout", "15", "--suppress-health-check", "all"])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        // It does not end; and whoever signs in by guessing is slowed down, as they should be.
        .args(["--exclude-path", "/api/v1/stream", "--exclude-path-regex", "^/api/v1/session"])
        .args(["--phases", "examples,coverage,fuzzing", "--generation-deterministic"])
        .args(["--checks", CHECKS, "--no-color"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .status()
        .context("schemathesis cannot be run")?;
    // It goes on serving after all of that.
    token_again(&tool, &config)?;
    Ok(if status.success() { Tally::passed() } else { Tally::failed("schemathesis has found something") })
}

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,negative_data_rejection,ignored_auth";

fn token(tool: &std::path::Path, config: &std::path::Path) -> Result<String> {
    let until = Instant::now() + START_MAX;
    loop {
        let made = Command::new(tool)
            .args(["tokens", "add", "schemathesis", "--role", "administrator", "--days", "1", "--config"])
            .arg(config)
            .stderr(Stdio::null())
            .output()?;
        if made.status.success() {
            return Ok(String::from_utf8(made.stdout)?.trim().to_owned());
        }
        if Instant::now() > until {
            bail!("the core does not answer its operator");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn token_again(tool: &std::path::Path, config: &std::path::Path) -> Result<()> {
    run(Command::new(tool).args(["audit", "--limit", "1", "--config"]).arg(config))
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
