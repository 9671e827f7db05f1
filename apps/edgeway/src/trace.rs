//! `edgeway trace`: the SIP messages of one user or client, across edges and cores, for a while.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use edgeway_runtime::clock::rfc3339;
use edgeway_runtime::trace::ladder;
use serde_json::{Value, json};

use crate::Format;
use crate::commands::{At, Failure, finish};
use crate::output::{say, show};

/// Messages of one user or client. Keys, credentials and tokens are taken out before anything is kept.
#[derive(Debug, Subcommand)]
pub(crate) enum TraceCommand {
    /// Keeps the SIP messages of somebody from now on, at this node and those linked with it.
    #[command(
        after_help = "Examples:\n  edgeway trace start --user sato\n  edgeway trace start --address 203.0.113.7 --seconds 60"
    )]
    Start {
        #[command(flatten)]
        whom: Whom,
        /// For how long.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=600))]
        seconds: u16,
        #[command(flatten)]
        at: At,
    },
    /// Ends traces before their time; without a name, all of them. What was kept stays.
    #[command(after_help = "Examples:\n  edgeway trace stop\n  edgeway trace stop --user sato")]
    Stop {
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        at: At,
    },
    /// Shows what was kept as a ladder, with what each node has decided.
    #[command(
        after_help = "Examples:\n  edgeway trace show --user sato\n  edgeway trace show --call-id 3848276298220188511@10.0.0.1 -o json"
    )]
    Show {
        #[command(flatten)]
        which: Which,
        /// With the whole messages.
        #[arg(long)]
        full: bool,
        /// How to print it.
        #[arg(long, short, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Writes what was kept to a file.
    #[command(
        after_help = "Examples:\n  edgeway trace export --user sato --out sato.pcapng\n  edgeway trace export --format text --out sato.txt"
    )]
    Export {
        #[command(flatten)]
        which: Which,
        /// What kind of file.
        #[arg(long, value_enum, default_value_t = Kind::Pcapng)]
        format: Kind,
        /// Where to.
        #[arg(long)]
        out: PathBuf,
    },
}

/// Who is traced.
#[derive(Debug, Args)]
pub(crate) struct Whom {
    /// A user: part of an address in From, To or the Request-URI.
    #[arg(long, conflicts_with = "address")]
    user: Option<String>,
    /// A client's address.
    #[arg(long)]
    address: Option<IpAddr>,
}

/// Which messages.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Those of one user.
    #[arg(long)]
    user: Option<String>,
    /// Those of one call or registration, by its Call-ID.
    #[arg(long)]
    call_id: Option<String>,
    /// Those with one trace id, as attempts and log lines show it.
    #[arg(long)]
    trace: Option<String>,
    #[command(flatten)]
    at: At,
}

/// A kind of file.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// For Wireshark and sngrep.
    Pcapng,
    /// For people.
    Text,
}

pub(crate) fn run(command: &TraceCommand) -> ExitCode {
    finish(match command {
        TraceCommand::Start { whom, seconds, at } => start(whom, *seconds, at),
        TraceCommand::Stop { whom, at } => stop(whom, at),
        TraceCommand::Show { which, full, output } => kept(which).map(|messages| print(&messages, *full, *output)),
        TraceCommand::Export { which, format, out } => export(which, *format, out),
    })
}

fn question(whom: &Whom) -> Value {
    json!({ "user": whom.user, "address": whom.address.map(|address| address.to_string()) })
}

fn start(whom: &Whom, seconds: u16, at: &At) -> Result<(), Failure> {
    let mut question = question(whom);
    if whom.user.is_none() && whom.address.is_none() {
        return Err(Failure(2, "whom? Give --user or --address".into()));
    }
    question["seconds"] = json!(seconds);
    let nodes = at.ask_everywhere("trace/start", &question)?.len();
    say!("traced for {seconds} s at {nodes} node(s); `edgeway trace show` shows what was kept");
    Ok(())
}

fn stop(whom: &Whom, at: &At) -> Result<(), Failure> {
    let answers = at.ask_everywhere("trace/stop", &question(whom))?;
    let stopped: u64 = answers.iter().filter_map(|answer| answer.get("stopped")?.as_u64()).sum();
    say!("{stopped} trace(s) ended");
    Ok(())
}

fn kept(which: &Which) -> Result<Vec<Value>, Failure> {
    let question = json!({ "user": which.user, "call_id": which.call_id, "trace": which.trace });
    Ok(ladder::merge(&which.at.ask_everywhere("ladder", &question)?))
}

fn print(messages: &[Value], full: bool, output: Format) {
    match output {
        Format::Json => say!("{:#}", json!({ "messages": messages })),
        Format::Table if messages.is_empty() => say!("nothing was kept: `edgeway trace start` first"),
        Format::Table => show!("{}", text(messages, full)),
    }
}

fn text(messages: &[Value], full: bool) -> String {
    let mut text = ladder::picture(messages);
    if full {
        for message in messages {
            let of = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default();
            let at = message.get("at_ms").and_then(Value::as_u64).unwrap_or_default();
            let head = format!("\n{} {} -> {} (at {})\n", rfc3339(at), of("from"), of("to"), of("node"));
            let body = format!("{head}{}", of("text")).replace("\r\n", "\n");
            text.extend(body.chars().map(|one| if one.is_control() && one != '\n' { '?' } else { one }));
        }
    }
    text
}

fn export(which: &Which, format: Kind, out: &std::path::Path) -> Result<(), Failure> {
    let messages = kept(which)?;
    let bytes = match format {
        Kind::Pcapng => ladder::capture(&messages),
        Kind::Text => text(&messages, true).into_bytes(),
    };
    std::fs::write(out, bytes).map_err(|error| Failure::new(format!("cannot write {}: {error}", out.display())))?;
    say!("{} messages in {}", messages.len(), out.display());
    Ok(())
}
