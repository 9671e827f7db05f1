//! `edgeway-core`: the service inside. Dials out to every edge and talks to the registrars.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use edgeway_admin::Ingredients;
use edgeway_admin::configuration::{self, Booted};
use edgeway_admin::store::LateStore;
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
    let booted = configuration::boot(&arguments.config);
    let Booted { settings, parts } = booted.map_err(|fault| ServiceFault::Configuration(fault.to_string()))?;
    edgeway_runtime::log::start(settings.log.level.as_str(), settings.log.format);
    let (stop, stopped) = service::stop();
    service::stop_at_signals(stop)?;
    let random = Random::from_seed(service::seed()?);
    let node = CoreNode::new(Settings::from(&settings), random, Moment::ZERO);
    let admin = edgeway_admin::make(Ingredients {
        settings: settings.clone().into(),
        store: Arc::<LateStore>::clone(&parts.store),
        configuration: parts,
        announce: None,
    });
    let hooks = Hooks {
        inside: Some(edgeway_connectors::inside::make(settings.clone())),
        admin: Some(admin),
        ..Hooks::default()
    };
    service::run_core(&settings, node, CoreKeys::Files, hooks, stopped)
}
