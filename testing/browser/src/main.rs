//! Shows the pages of a real system to a real browser: `cargo run -p edgeway-browser`, after `cargo xtask setup`.
//!
//! `--stay` starts the system and leaves it running, to look at the pages oneself.

mod world;

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use axum::Extension;
use edgeway_admin::api::Peer;
use edgeway_admin::listener::router;
use edgeway_admin::office::{Office, Settled};
use edgeway_admin::store::MemoryStore;
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
    let _mallory = world.phone("mallory", Some(HOSTILE)).await?;
    let answering = bob.answer_next(Duration::from_secs(30), Duration::ZERO);
    let _call = tokio::try_join!(alice.call(bob.aor()), answering)?;
    let _chats = (world.chat("carol").await?, world.chat("dave").await?);

    // A way in as the control socket's, besides the listener's with its sign-in.
    let mut settled = Settled { names: Vec::new(), ..Settled::of(&settings()?) };
    settled.node = edgeway_model::NodeId::new("core1").context("a name")?;
    let office = Office::new(world.port.clone(), std::sync::Arc::new(MemoryStore::new()), settled);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    let pages = router(&office).layer(Extension(Peer::Socket { uid: None }));
    tokio::spawn(async move { axum::serve(listener, pages).await });

    let told =
        json!({ "open": format!("http://{at}"), "listener": format!("https://{}", world.pages), "hostile": HOSTILE });
    println!("{told}");
    if stay {
        tokio::signal::ctrl_c().await?;
        return Ok(true);
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    if !folder.join("node_modules/playwright-core").exists() {
        bail!("playwright-core is not installed: cargo xtask setup, or npm ci in testing/browser");
    }
    let told = told.to_string();
    let run = move || Command::new("node").arg("look.mjs").arg(told).current_dir(folder).status();
    let status = tokio::task::spawn_blocking(run).await?.context("node cannot be run")?;
    Ok(status.success())
}

/// What an office needs to know of a core's settings.
fn settings() -> Result<edgeway_config::CoreSettings> {
    let text = "node = \"core1\"\nstate_dir = \"/nonexistent\"\ndomains = [\"lab.example\"]\n\
                [sip]\nlisten = [\"127.0.0.1:5060\"]\nregistrars = [\"tcp:127.0.0.1:5062\"]\n[media]\naddress = \"127.0.0.1\"\n[link]\nlisten = \"127.0.0.1:7001\"\n";
    edgeway_config::parse_core(text, "browser").map_err(|problems| anyhow::anyhow!("{problems}"))
}
