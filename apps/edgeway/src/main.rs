//! `edgeway`: the operator's tool, and the lab.
//!
//! `edgeway <noun> <verb>`. Data goes to standard output, messages to standard error. Exit codes: 0 ok,
//! 1 failed or findings, 2 usage, 3 not running, 78 bad configuration.

mod accounts;
mod alarms;
mod allow_list;
mod certificates;
mod chats;
mod commands;
mod config;
mod domains;
mod here;
mod lab;
mod listed;
mod maintenance;
mod nodes;
mod output;
mod servers;
mod shown;
mod support;
mod terminal;
mod trace;
mod users;
mod users_file;
mod why;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

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
    /// The configuration: what holds, what a change would do, the change, the history.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// What a running node counts and whom it is connected to.
    #[command(
        after_help = "Examples:\n  edgeway status\n  edgeway status --config ./core.toml --output json\n  edgeway status --node edge1"
    )]
    Status {
        #[command(flatten)]
        at: commands::At,
        /// How to print it.
        #[arg(long, short, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// What is wrong at a node, why, and what to do.
    #[command(after_help = "Examples:\n  edgeway alarms\n  edgeway alarms --config ./core.toml -o json")]
    Alarms(alarms::Alarms),
    /// On the core: who may sign in to administer.
    #[command(subcommand)]
    Accounts(accounts::AccountsCommand),
    /// On the core: tokens of programs that use the REST API.
    #[command(subcommand)]
    Tokens(accounts::TokensCommand),
    /// On the core: who did what to administer it.
    #[command(after_help = "Examples:\n  edgeway audit\n  edgeway audit --limit 200 --output json")]
    Audit(accounts::Audit),
    /// Prints the description of the REST API, OpenAPI 3.1.
    #[command(after_help = "Examples:\n  edgeway openapi > openapi.json\n  edgeway openapi | jq .paths")]
    Openapi,
    /// Which HTTP servers inside clients may reach.
    #[command(subcommand)]
    AllowList(allow_list::AllowListCommand),
    /// On the core: the domains it serves.
    #[command(subcommand)]
    Domains(domains::DomainsCommand),
    /// Who chats through a node.
    #[command(
        after_help = "Examples:\n  edgeway chats\n  edgeway chats --user alice\n  edgeway chats show 17\n  edgeway chats disconnect 17"
    )]
    Chats(chats::Chats),
    /// What a node shows to clients, other nodes and servers inside, and until when it holds.
    #[command(after_help = "Examples:\n  edgeway certificates\n  edgeway certificates --config ./edge.toml -o json")]
    Certificates(certificates::Certificates),
    /// Prints what completes this program's commands at a shell's prompt.
    #[command(
        after_help = "Examples:\n  edgeway completions bash > /etc/bash_completion.d/edgeway\n  edgeway completions fish > ~/.config/fish/completions/edgeway.fish"
    )]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Who is registered through a node.
    #[command(
        after_help = "Examples:\n  edgeway registrations\n  edgeway registrations --user alice\n  edgeway registrations --node edge1"
    )]
    Registrations(listed::Registrations),
    /// The calls a node has a part in.
    #[command(
        after_help = "Examples:\n  edgeway calls\n  edgeway calls --user alice\n  edgeway calls --node core2\n  edgeway calls end 17"
    )]
    Calls(listed::Calls),
    /// A node, and those it is linked with.
    #[command(after_help = "Examples:\n  edgeway nodes\n  edgeway nodes --config ./core.toml -o json")]
    Nodes(listed::Nodes),
    /// What has happened at a node lately, and with -f what happens.
    #[command(
        alias = "events",
        after_help = "Examples:\n  edgeway logs --level warning\n  edgeway logs -f --node edge1\n  edgeway logs --id link -o json"
    )]
    Logs(listed::Logs),
    /// Takes a node out of service without hurting anybody, and back.
    #[command(subcommand)]
    Maintenance(maintenance::MaintenanceCommand),
    /// SIP messages of one user or client, across edges and cores.
    #[command(subcommand)]
    Trace(trace::TraceCommand),
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
    /// For whoever helps: what the nodes of this machine say of themselves, in one file.
    #[command(subcommand)]
    Support(support::SupportCommand),
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
        Command::Config(command) => config::run(&command),
        Command::Status { at, output } => commands::status(&at, matches!(output, Format::Json)),
        Command::Alarms(command) => alarms::run(&command),
        Command::Accounts(command) => accounts::accounts(&command),
        Command::Tokens(command) => accounts::tokens(&command),
        Command::Audit(command) => accounts::audit(&command),
        Command::Openapi => {
            output::show!("{}", edgeway_admin::api::openapi::text());
            ExitCode::SUCCESS
        }
        Command::Certificates(command) => certificates::run(&command),
        Command::Completions { shell } => complete(shell),
        Command::AllowList(command) => allow_list::run(&command),
        Command::Domains(command) => domains::run(&command),
        Command::Chats(command) => chats::run(&command),
        Command::Registrations(wish) => listed::registrations(&wish),
        Command::Calls(wish) => listed::calls(&wish),
        Command::Nodes(wish) => listed::nodes(&wish),
        Command::Logs(wish) => listed::logs(&wish),
        Command::Maintenance(command) => maintenance::run(&command),
        Command::Trace(command) => trace::run(&command),
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
        Command::Support(command) => support::run(&command),
        Command::Servers(command) => servers::run(&command),
        Command::Pki(PkiCommand::Issue { node, config, out }) => commands::issue(&node, &config, &out),
    }
}

/// `edgeway completions`. Made first and written at once, so that a reader who leaves early is no panic.
fn complete(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "edgeway", &mut script);
    commands::finish(std::io::stdout().write_all(&script).map_err(commands::Failure::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_completed_in_every_shell() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "edgeway", &mut script);
            let script = String::from_utf8(script).expect("text");
            for command in Arguments::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell} does not know {}", command.get_name());
            }
        }
    }

    #[test]
    fn every_command_is_explained_with_examples() {
        fn look(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} says nothing of itself");
            let verbs: Vec<_> = command.get_subcommands().filter(|one| one.get_name() != "help").collect();
            if verbs.is_empty() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                let examples = help.split("Examples:").nth(1).unwrap_or_default();
                assert!(examples.matches("  edgeway").count() >= 2, "{path} has no two examples");
            }
            verbs.iter().for_each(|verb| look(verb, &path));
        }
        look(&Arguments::command(), "");
        Arguments::command().debug_assert();
    }
}
