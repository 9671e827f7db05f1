//! `edgeway-core`: the service inside. Dials out to every edge and talks to the registrars.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use edgeway_admin::Ingredients;
use edgeway_admin::store::{MemoryStore, SqliteStore, Store};
use edgeway_config::{CoreSettings, parse_core};
use edgeway_core_node::{CoreNode, Settings};
use edgeway_model::{Moment, Random};
use edgeway_runtime::service::{self, CoreKeys, Hooks, ServiceFault};

/// Runs the core until SIGTERM, which lets calls and chats end (drain.timeout); a second one ends it at once.
#[derive(Debug, Parser)]
#[command(version, about, after_help = "Examples:\n  edgeway-core\n  edgeway-core --config ./core.toml")]
struct Arguments {
    /// The settings file.
    #[arg(long, default_value = "/etc/edgeway/core.toml")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::from(fault.exit_code())
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), ServiceFault> {
    let settings = settings(arguments)?;
    edgeway_runtime::log::start(settings.log.level.as_str(), settings.log.format);
    let (stop, stopped) = service::stop();
    service::stop_at_signals(stop)?;
    let random = Random::from_seed(service::seed()?);
    let node = CoreNode::new(Settings::from(&settings), random, Moment::ZERO);
    let admin =
        edgeway_admin::make(Ingredients { settings: settings.clone().into(), store: store(&settings), announce: None });
    let hooks = Hooks {
        inside: Some(edgeway_connectors::inside::make(settings.clone())),
        admin: Some(admin),
        ..Hooks::default()
    };
    service::run_core(&settings, node, CoreKeys::Files, hooks, stopped)
}

/// Without a store the core carries calls all the same; who may administer it is then not known.
fn store(settings: &CoreSettings) -> Arc<dyn Store> {
    match SqliteStore::open(Path::new(&settings.state_dir)) {
        Ok(store) => Arc::new(store),
        Err(fault) => {
            tracing::error!("nobody can sign in to administer this core, and nothing is kept: {fault}");
            Arc::new(MemoryStore::new())
        }
    }
}

fn settings(arguments: &Arguments) -> Result<CoreSettings, ServiceFault> {
    let origin = arguments.config.display().to_string();
    let text = std::fs::read_to_string(&arguments.config)
        .map_err(|error| ServiceFault::Configuration(format!("cannot read {origin}: {error}")))?;
    parse_core(&text, &origin).map_err(|problems| ServiceFault::Configuration(problems.to_string()))
}
