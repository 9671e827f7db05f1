//! `edgeway`: the operator's tool, and the lab.
//!
//! `edgeway <noun> <verb>`. Data goes to standard output, messages to standard error. Exit codes: 0 ok,
//! 1 failed or findings, 2 usage, 3 not running, 78 bad configuration.

mod allow_list;
mod chats;
mod commands;
mod lab;
mod maintenance;
mod nodes;
mod servers;
mod terminal;
mod users;
mod users_file;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Operates an Edgeway edge or core, or shows a whole system at work on this machine.
#[derive(Debug, Parser)]
#[command(version, about, after_help = "Examples:\n  edgeway lab\n  edgeway status --config /etc/edgeway/edge.toml")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// An edge, a core, a registrar and two phones in this process: watch a call cross.
    #[command(after_help = "Examples:\n  edgeway lab --ladder\n  edgeway lab --listen 192.168.1.20")]
    Lab(lab::LabArgs),
    /// Checks settings files.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// What a running node counts and whom it is connected to.
    #[command(after_help = "Examples:\n  edgeway status\n  edgeway status --config ./core.toml --output json")]
    Status {
        /// The node's settings file; without it, the edge or core of this machine.
        #[arg(long)]
        config: Option<PathBuf>,
        /// How to print it.
        #[arg(long, short, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Which HTTP servers inside clients may reach.
    #[command(subcommand)]
    AllowList(allow_list::AllowListCommand),
    /// Who chats through a node.
    #[command(after_help = "Examples:\n  edgeway chats\n  edgeway chats --user alice\n  edgeway chats disconnect 17")]
    Chats(chats::Chats),
    /// Takes a node out of service without hurting anybody, and back.
    #[command(subcommand)]
    Maintenance(maintenance::MaintenanceCommand),
    /// Users who sign in.
    #[command(subcommand)]
    Users(users::UsersCommand),
    /// On the edge: pairing with cores.
    #[command(subcommand)]
    Edge(EdgeCommand),
    /// On the core: pairing with edges and other cores.
    #[command(subcommand)]
    Core(CoreCommand),
    /// On the core that holds the authority: identities of nodes.
    #[command(subcommand)]
    Pki(PkiCommand),
    /// On the core: what it knows of the UC servers.
    #[command(subcommand)]
    Servers(servers::ServersCommand),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Reports every problem of a settings file at once.
    #[command(
        after_help = "Examples:\n  edgeway config check /etc/edgeway/edge.toml\n  edgeway config check ./core.toml"
    )]
    Check {
        /// The settings files, of edges and cores.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum EdgeCommand {
    /// Prints a join token, good once and for a short time, for `edgeway core join` on a core.
    #[command(
        after_help = "Examples:\n  edgeway edge invite\n  edgeway edge invite --address edge.dmz.example:7001 --minutes 5"
    )]
    Invite {
        /// The edge's settings file.
        #[arg(long, default_value = "/etc/edgeway/edge.toml")]
        config: PathBuf,
        /// Where the core reaches this edge's link port, `host:port`; default: `link.public_address`.
        #[arg(long)]
        address: Option<String>,
        /// How long the token is good.
        #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1440))]
        minutes: u16,
    },
}

#[derive(Debug, Subcommand)]
enum CoreCommand {
    /// On a further core: prints a join token for `edgeway core join` on the core that holds the authority.
    #[command(
        after_help = "Examples:\n  edgeway core invite\n  edgeway core invite --address core2.example:7002 --minutes 5"
    )]
    Invite {
        /// The further core's settings file.
        #[arg(long, default_value = "/etc/edgeway/core.toml")]
        config: PathBuf,
        /// Where the other core reaches this one's link port, `host:port`; default: `link.public_address`.
        #[arg(long)]
        address: Option<String>,
        /// How long the token is good.
        #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1440))]
        minutes: u16,
    },
    /// Forgets an edge or core that was joined: it is dialled no more.
    #[command(after_help = "Examples:\n  edgeway core forget edge1\n  edgeway core forget core2 --config ./core.toml")]
    Forget {
        /// Its name.
        node: String,
        /// The core's settings file.
        #[arg(long, default_value = "/etc/edgeway/core.toml")]
        config: PathBuf,
    },
    /// Joins the edge, or the further core, that printed a token. The token comes on standard input, or from a file.
    #[command(
        after_help = "Examples:\n  edgeway core join            (then paste the token)\n  edgeway core join --token-file ./token"
    )]
    Join {
        /// The core's settings file.
        #[arg(long, default_value = "/etc/edgeway/core.toml")]
        config: PathBuf,
        /// A file that holds the token; default: standard input.
        #[arg(long)]
        token_file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum PkiCommand {
    /// Takes a node out of service: its certificates are revoked, and its links end within two seconds.
    #[command(after_help = "Examples:\n  edgeway pki revoke edge1\n  edgeway pki revoke core2 --config ./core.toml")]
    Revoke {
        /// Its name.
        node: String,
        /// The settings file of the core that holds the authority.
        #[arg(long, default_value = "/etc/edgeway/core.toml")]
        config: PathBuf,
    },
    /// Makes the identity of a further core, to be copied into its state directory.
    #[command(
        after_help = "Examples:\n  edgeway pki issue core2 --out ./core2-state\n  edgeway pki issue core3 --config ./core.toml --out ./c3"
    )]
    Issue {
        /// The name of the further core.
        node: String,
        /// The settings file of the core that holds the authority.
        #[arg(long, default_value = "/etc/edgeway/core.toml")]
        config: PathBuf,
        /// Where to put it.
        #[arg(long)]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Lab(args) => lab::run(&args, nodes::start),
        Command::Config(ConfigCommand::Check { files }) => commands::check(&files),
        Command::Status { config, output } => commands::status(config.as_deref(), matches!(output, Format::Json)),
        Command::AllowList(command) => allow_list::run(&command),
        Command::Chats(command) => chats::run(&command),
        Command::Maintenance(command) => maintenance::run(&command),
        Command::Users(command) => users::run(&command),
        Command::Edge(EdgeCommand::Invite { config, address, minutes }) => {
            commands::invite(&config, address.as_deref(), minutes)
        }
        Command::Core(CoreCommand::Invite { config, address, minutes }) => {
            commands::invite_core(&config, address.as_deref(), minutes)
        }
        Command::Core(CoreCommand::Forget { node, config }) => commands::forget(&node, &config),
        Command::Pki(PkiCommand::Revoke { node, config }) => commands::revoke(&node, &config),
        Command::Core(CoreCommand::Join { config, token_file }) => commands::join(&config, token_file.as_deref()),
        Command::Servers(command) => servers::run(&command),
        Command::Pki(PkiCommand::Issue { node, config, out }) => commands::issue(&node, &config, &out),
    }
}
