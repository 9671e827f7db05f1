//! `edgeway-edge`: the service in the DMZ. Faces the internet, holds no secret of a user.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use edgeway_config::{EdgeSettings, parse_edge};
use edgeway_edge_node::{EdgeNode, Settings};
use edgeway_model::Random;
use edgeway_runtime::service::{self, EdgeKeys, Hooks, ServiceFault};
use edgeway_runtime::tls::CertificateStore;

/// Runs the edge until SIGTERM, which lets calls and chats end (drain.timeout); a second one ends it at once.
#[derive(Debug, Parser)]
#[command(version, about, after_help = "Examples:\n  edgeway-edge\n  edgeway-edge --config ./edge.toml")]
struct Arguments {
    /// The settings file.
    #[arg(long, default_value = "/etc/edgeway/edge.toml")]
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
    // What is wrong with the certificates is told when the service reads them.
    let names = CertificateStore::load(&settings.sip.certificates).map(|store| store.names()).unwrap_or_default();
    let node = EdgeNode::new(Settings { names, ..Settings::from(&settings) }, random);
    service::run_edge(&settings, node, EdgeKeys::Files, Hooks::default(), stopped)
}

fn settings(arguments: &Arguments) -> Result<EdgeSettings, ServiceFault> {
    let origin = arguments.config.display().to_string();
    let text = std::fs::read_to_string(&arguments.config)
        .map_err(|error| ServiceFault::Configuration(format!("cannot read {origin}: {error}")))?;
    parse_edge(&text, &origin).map_err(|problems| ServiceFault::Configuration(problems.to_string()))
}
