//! Shows the pages of a real system to a real browser, and clicks through them: `cargo run -p edgeway-browser`, after
//! `cargo xtask setup`.
//!
//! `--stay` starts the system and leaves it running, to look at the pages oneself.

mod asked;
mod people;
mod world;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::asked::Asked;
use crate::world::{DOMAIN, HOSTILE, SECOND, UNITY, WALKS, World};

fn main() -> ExitCode {
    let stay = std::env::args().any(|word| word == "--stay");
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("browser: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(look(stay)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("browser: 0 passed, 1 failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn look(stay: bool) -> Result<bool> {
    if let Ok(level) = std::env::var("EDGEWAY_LOG") {
        edgeway_runtime::log::start(&level, edgeway_config::LogFormat::Human);
    }
    let world = World::start().await.context("the system")?;
    let (user, password) = world.cluster.state().application_user;
    let walks: Vec<_> = WALKS.iter().map(|(domain, user)| json!({ "domain": domain, "user": user })).collect();
    let told = json!({
        "open": format!("https://{}", world.pages), "code": world.first_code()?, "domain": DOMAIN, "walks": walks,
        "hostile": HOSTILE, "sip": world.sip.to_string(), "https": world.https.to_string(),
        "unity": UNITY, "second": SECOND, "user": user, "password": password, "ca": world.uc_ca(),
    });
    let mut asked = Asked::of(world);
    if stay {
        println!("{told}");
        asked.answer(&json!({ "ask": "gather" })).await?;
        tokio::signal::ctrl_c().await?;
        return Ok(true);
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    if !folder.join("node_modules/playwright-core").exists() {
        bail!("playwright-core is not installed: cargo xtask setup, or npm ci in testing/browser");
    }
    let mut command = Command::new("node");
    command.arg("look.mjs").arg(told.to_string()).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().context("node cannot be run")?;
    let mut answers = child.stdin.take().context("its input")?;
    let mut lines = said(&mut child)?;
    while let Some(line) = lines.recv().await {
        match line.strip_prefix('@') {
            Some(question) => answer(&mut asked, question, &mut answers).await?,
            None => println!("{line}"),
        }
    }
    let status = tokio::task::spawn_blocking(move || child.wait()).await??;
    Ok(status.success())
}

/// What the browser's program says, line by line.
fn said(child: &mut Child) -> Result<mpsc::UnboundedReceiver<String>> {
    let output = BufReader::new(child.stdout.take().context("its output")?);
    let (say, said) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if say.send(line).is_err() {
                break;
            }
        }
    });
    Ok(said)
}

/// A question about the world, answered on a line of its own.
async fn answer(asked: &mut Asked, question: &str, answers: &mut ChildStdin) -> Result<()> {
    let question: Value = serde_json::from_str(question).context("a question")?;
    let answer = match asked.answer(&question).await {
        Ok(answer) => answer,
        Err(error) => json!({ "failed": format!("{error:#}") }),
    };
    writeln!(answers, "{answer}").context("it listens no more")
}
