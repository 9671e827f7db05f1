//! `edgeway registrations`, `edgeway calls`, `edgeway nodes`, `edgeway events`: what a node holds and what has happened.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use edgeway_runtime::admin::{cell, grid};
use edgeway_runtime::clock::{rfc3339, unix_ms};
use serde_json::{Value, json};

use crate::Format;
use crate::chats::ago;
use crate::commands::{At, Failure, finish};
use crate::output::{say, show};

/// Pages of a list that are asked for: no node holds more.
const PAGES_MAX: usize = 1_024;

/// Who is registered; without a verb, the list of them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Registrations {
    #[command(subcommand)]
    command: Option<RegistrationsCommand>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum RegistrationsCommand {
    /// Who is registered, with which device, from where, since when.
    #[command(
        after_help = "Examples:\n  edgeway registrations list --user alice\n  edgeway registrations list --node edge1 -o json"
    )]
    List(List),
}

/// Calls; without a verb, the list of them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Calls {
    #[command(subcommand)]
    command: Option<CallsCommand>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum CallsCommand {
    /// Who talks with whom, since when. A core knows who; an edge knows that something is relayed.
    #[command(after_help = "Examples:\n  edgeway calls list --user alice\n  edgeway calls list --node core2 -o json")]
    List(List),
    /// Ends one call: both parties are hung up on; one that rings is cancelled. At the core that has it.
    #[command(after_help = "Examples:\n  edgeway calls end 17\n  edgeway calls end 17 --node core2")]
    End {
        /// Its number, as `edgeway calls list` shows it at the same core.
        id: u32,
        #[command(flatten)]
        at: At,
    },
}

#[derive(Debug, Args)]
struct List {
    /// Those of users whose address holds this.
    #[arg(long)]
    user: Option<String>,
    #[command(flatten)]
    at: At,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// The nodes that are linked with one.
#[derive(Debug, Args)]
pub(crate) struct Nodes {
    #[command(flatten)]
    at: At,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// What has happened at a node lately.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Those that matter at least so much.
    #[arg(long, value_enum, default_value_t = Level::Info)]
    level: Level,
    /// Those whose name begins like this: `link`, `registrar.down`.
    #[arg(long)]
    id: Option<String>,
    /// So many of the last.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    last: u16,
    #[command(flatten)]
    at: At,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Level {
    /// Everything: each registration, call and refusal, too.
    Debug,
    /// Good to know.
    Info,
    /// Somebody should look at it.
    Warning,
    /// Somebody must do something.
    Error,
}

pub(crate) fn registrations(wish: &Registrations) -> ExitCode {
    let list = match &wish.command {
        Some(RegistrationsCommand::List(list)) => list,
        None => &wish.list,
    };
    let columns = ["aor", "device", "user_agent", "client", "edge", "core", "registrar"];
    finish(print(
        list,
        "registrations",
        "nobody is registered",
        &columns,
        ("expires in", &|row, _| {
            row.get("expires_in_s").and_then(Value::as_u64).map_or_else(|| cell(None), |seconds| ago(seconds * 1_000))
        }),
    ))
}

pub(crate) fn calls(wish: &Calls) -> ExitCode {
    let list = match &wish.command {
        Some(CallsCommand::List(list)) => list,
        Some(CallsCommand::End { id, at }) => return finish(end(*id, at)),
        None => &wish.list,
    };
    let columns = ["id", "from", "to", "state", "edge", "core", "registrar"];
    finish(print(
        list,
        "calls",
        "there are no calls",
        &columns,
        ("for", &|row, now_ms| {
            let since = row.get("since_ms").and_then(Value::as_u64);
            since.map_or_else(|| cell(None), |since| ago(now_ms.saturating_sub(since)))
        }),
    ))
}

fn end(id: u32, at: &At) -> Result<(), Failure> {
    at.ask("calls/end", &json!({ "id": id }))?;
    say!("call {id} is being ended: `edgeway calls` shows it until both of its parties know");
    Ok(())
}

/// A column that is worked out, of a row and of the time now.
type Last<'a> = (&'a str, &'a dyn Fn(&Value, u64) -> String);

fn print(list: &List, what: &str, none: &str, columns: &[&str], last: Last<'_>) -> Result<(), Failure> {
    let rows = pages(list, what)?;
    match list.output {
        Format::Json => say!("{:#}", json!({ what: rows })),
        Format::Table if rows.is_empty() => say!("{none}"),
        Format::Table => show!("{}", table(&rows, columns, last, unix_ms())),
    }
    Ok(())
}

fn table(rows: &[Value], columns: &[&str], (name, value): Last<'_>, now_ms: u64) -> String {
    let heads: Vec<_> = columns.iter().map(|column| column.replace('_', " ")).collect();
    let heads: Vec<_> = heads.iter().map(String::as_str).chain([name]).collect();
    let cells = |row: &Value| {
        columns.iter().map(|column| cell(row.get(column))).chain([value(row, now_ms)]).collect::<Vec<_>>()
    };
    let mut out = String::new();
    grid(&mut out, &heads, &rows.iter().map(cells).collect::<Vec<_>>(), &[columns.len()]);
    out
}

/// All pages.
fn pages(list: &List, what: &str) -> Result<Vec<Value>, Failure> {
    let (mut rows, mut after) = (Vec::new(), Value::Null);
    for _ in 0..PAGES_MAX {
        let answer = list.at.ask(what, &json!({ "user": list.user, "after": after }))?;
        rows.extend(answer.get(what).and_then(Value::as_array).into_iter().flatten().cloned());
        after = answer.get("next").cloned().unwrap_or_default();
        if after.is_null() {
            return Ok(rows);
        }
    }
    Err(Failure::new("the list has no end: is it another version that answers?"))
}

pub(crate) fn nodes(wish: &Nodes) -> ExitCode {
    finish(print_nodes(wish))
}

fn print_nodes(wish: &Nodes) -> Result<(), Failure> {
    let status = wish.at.ask("status", &Value::Null)?;
    let mut rows = vec![json!({
        "node": status.get("node"), "role": status.get("role"), "state": "here", "version": status.get("version"),
    })];
    for link in status.get("links").and_then(Value::as_array).into_iter().flatten() {
        rows.push(json!({
            "node": link.get("peer"), "role": link.get("role"), "state": link.get("state"),
            "media_path": link.get("media_path"), "trouble": link.get("trouble"),
        }));
    }
    match wish.output {
        Format::Json => say!("{:#}", json!({ "nodes": rows })),
        Format::Table => {
            let columns = ["node", "role", "state", "media_path"];
            show!("{}", table(&rows, &columns, ("trouble", &|row, _| cell(row.get("trouble"))), 0));
        }
    }
    Ok(())
}

pub(crate) fn events(wish: &Events) -> ExitCode {
    finish(print_events(wish))
}

fn print_events(wish: &Events) -> Result<(), Failure> {
    let level = match wish.level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    let question = json!({ "level": level, "id": wish.id, "limit": wish.last });
    let answer = wish.at.ask("events", &question)?;
    let events = answer.get("events").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    match wish.output {
        Format::Json => say!("{:#}", json!({ "events": events })),
        Format::Table => events.iter().for_each(|event| say!("{}", event_line(event))),
    }
    Ok(())
}

fn event_line(event: &Value) -> String {
    let at = event.get("at_ms").and_then(Value::as_u64).map_or_else(|| cell(None), rfc3339);
    let of = |name: &str| cell(event.get(name));
    format!("{at}  {:7}  {:22}  {}", of("level"), of("id"), of("text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_shown_for_people_and_command_no_terminal() {
        let rows = [
            json!({ "aor": "alice@example.com", "user_agent": "Jabber\u{1b}[2J", "expires_in_s": 3_600 }),
            json!({ "aor": "bob@example.com" }),
        ];
        let shown =
            table(&rows, &["aor", "user_agent"], ("age", &|row, now| format!("{now}{}", cell(row.get("x")))), 7);
        let expected = "\
aor                user agent  age
alice@example.com  Jabber?[2J   7-
bob@example.com    -            7-
";
        assert_eq!(shown, expected);
        let event = json!({ "at_ms": 1_795_543_200_123_u64, "level": "warning", "id": "link.down", "text": "a\nb" });
        assert_eq!(event_line(&event), "2026-11-24T18:00:00.123Z  warning  link.down               a?b");
    }
}
