//! Shows the pages of a real system to a real browser: `cargo run -p edgeway-browser`, after `cargo xtask setup`.
//!
//! `--stay` starts the system and leaves it running, to look at the pages oneself.

mod world;

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::world::{HOSTILE, World};

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
    let alice = world.phone("alice", None).await?;
    let bob = world.phone("bob", None).await?;
    let mallory = world.phone("mallory", Some(HOSTILE)).await?;
    let answering = bob.answer_next(Duration::from_secs(30), Duration::ZERO);
    let call = tokio::try_join!(alice.call(bob.aor()), answering)?;
    let chats = (world.chat("carol").await?, world.chat("dave").await?);

    let told = json!({ "open": format!("https://{}", world.pages), "code": world.first_code()?, "hostile": HOSTILE });
    println!("{told}");
    if stay {
        tokio::signal::ctrl_c().await?;
        return Ok(true);
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    if !folder.join("node_modules/playwright-core").exists() {
        bail!("playwright-core is not installed: cargo xtask setup, or npm ci in testing/browser");
    }
    let whole = run(folder, told.clone()).await?;
    // Everybody goes, and the core is taken out of service.
    drop((call, chats));
    for phone in [&alice, &bob, &mallory] {
        phone.unregister().await?;
    }
    world.drain().await?;
    let mut told = told;
    told["phase"] = json!("maintenance");
    let drained = run(folder, told).await?;
    Ok(whole && drained)
}

/// Runs the browser; whether it was content.
async fn run(folder: &'static std::path::Path, told: serde_json::Value) -> Result<bool> {
    let run = move || Command::new("node").arg("look.mjs").arg(told.to_string()).current_dir(folder).status();
    let status = tokio::task::spawn_blocking(run).await?.context("node cannot be run")?;
    Ok(status.success())
}
