//! The step `api`: the REST API of a core that runs, against its own description, by schemathesis.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::root;
use crate::steps::Tally;

/// Requests that are made up for an operation, in each phase that makes them up. There is no bound of time beside it: it
/// would be the last phase, of operations one after another, that is left out.
const EXAMPLES: u32 = 8;
/// The seed, unless another one is wanted: the same requests each time.
const SEED: u64 = 4711;
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

/// What may be wished for the step.
#[derive(Args)]
pub(crate) struct Wish {
    /// Step api: another seed, for other requests
    #[arg(long, value_name = "NUMBER", default_value_t = SEED)]
    api_seed: u64,
    /// Step api: requests made up for each operation; more than it has by itself also take longer
    #[arg(long, value_name = "NUMBER", default_value_t = EXAMPLES)]
    api_examples: u32,
}

pub(crate) fn step(wish: &Wish) -> Result<Tally> {
    if !program().exists() {
        return Ok(Tally::failed("schemathesis is not installed: cargo xtask setup"));
    }
    let folder = std::env::temp_dir().join(format!("edgeway-api-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let outcome = tested(&folder, wish);
    let _ = fs::remove_dir_all(&folder);
    outcome
}

fn tested(folder: &Path, wish: &Wish) -> Result<Tally> {
    let port = free_port()?;
    let sip = free_port()?;
    let (config, at) = (folder.join("core.toml"), folder.display());
    let text = format!(
        "node = \"core1\"\nstate_dir = \"{at}\"\ncontrol_socket = \"{at}/core.sock\"\ndomains = [\"example.com\"]\n\
         [sip]\nlisten = [\"127.0.0.1:{sip}\"]\nregistrars = [\"sip:127.0.0.1:{sip};transport=tcp\"]\n\
         [media]\naddress = \"127.0.0.1\"\nports = \"11200-11299\"\n[admin]\nlisten = \"127.0.0.1:{port}\"\n"
    );
    fs::write(&config, text)?;
    // As elsewhere: what was built with other flags lies elsewhere.
    let built = env::var_os("EDGEWAY_BIN_DIR").map_or_else(|| root().join("target/release"), PathBuf::from);
    let log = fs::File::create(folder.join("log"))?;
    let child = Command::new(built.join("edgeway-core")).arg("--config").arg(&config).stderr(log).spawn()?;
    let mut core = Core(child);
    let tool = built.join("edgeway");
    let token = token(&tool, &config)?;
    let description = folder.join("openapi.json");
    fs::write(&description, Command::new(&tool).arg("openapi").output()?.stdout)?;
    println!("schemathesis, seed {} (--api-seed), {} examples (--api-examples)", wish.api_seed, wish.api_examples);
    let status = Command::new(program())
        .arg("--config-file")
        .arg(root().join("schemathesis.toml"))
        .arg("run")
        .arg(&description)
        .args(["--url", &format!("https://127.0.0.1:{port}"), "--tls-verify", "false", "--request-timeout", "60"])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--checks", "all", "--phases", "examples,coverage,fuzzing,stateful", "--continue-on-failure"])
        .args(["--seed", &wish.api_seed.to_string(), "--max-examples", &wish.api_examples.to_string()])
        // A busy machine is slow at making requests up, which is no fault of the API.
        .args(["--suppress-health-check", "all", "--generation-database", "none", "--no-color"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .status()
        .context("schemathesis cannot be run")?;
    if let Some(status) = core.0.try_wait()? {
        return Ok(Tally::failed(format!("the core has ended: {status}")));
    }
    // It goes on serving after all of that.
    token_again(&tool, &config)?;
    Ok(if status.success() { Tally::passed() } else { Tally::failed("schemathesis has found something") })
}

fn token(tool: &Path, config: &Path) -> Result<String> {
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

fn token_again(tool: &Path, config: &Path) -> Result<()> {
    run(Command::new(tool).args(["audit", "--limit", "1", "--config"]).arg(config))
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
