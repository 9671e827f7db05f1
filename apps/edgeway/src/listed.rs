//! `edgeway registrations`, `edgeway calls`, `edgeway nodes`, `edgeway logs`: what a node holds and what has happened.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use edgeway_runtime::admin::{cell, grid};
use edgeway_runtime::clock::{rfc3339, unix_ms};
use serde_json::{Value, json};

use crate::Format;
use crate::chats::ago;
use crate::commands::{At, Failure, finish};
use crate::output::{say, show};
use crate::shown::lines;

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
    /// The registrations of one address or device, with all that the node says of them.
    #[command(
        after_help = "Examples:\n  edgeway registrations show alice@example.com\n  edgeway registrations show SEP001122334455 -o json"
    )]
    Show {
        /// The whole address of record, or the device, as the list shows it.
        id: String,
        #[command(flatten)]
        at: At,
        /// How to print it.
        #[arg(long, short, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
}

/// Calls; without a verb, the list of them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Calls {
    #[command(subcommand)]
    command: Option<CallsCommand>,
    #[command(flatten)]
    list: CallList,
}

#[derive(Debug, Subcommand)]
enum CallsCommand {
    /// Who talks with whom, since when. A core knows who; an edge knows that something is relayed.
    #[command(after_help = "Examples:\n  edgeway calls list --user alice\n  edgeway calls list --node core2 -o json")]
    List(CallList),
    /// One call, with its media: path, protection, codecs, packets and what was lost. At the core that has it.
    #[command(after_help = "Examples:\n  edgeway calls show 17\n  edgeway calls show 17 --node core2 -o json")]
    Show {
        /// Its number, as `edgeway calls list` shows it at the same core.
        id: u32,
        #[command(flatten)]
        at: At,
        /// How to print it.
        #[arg(long, short, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
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
    /// Those through one edge only.
    #[arg(long)]
    edge: Option<String>,
    #[command(flatten)]
    at: At,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, Args)]
struct CallList {
    /// Those that are so far only.
    #[arg(long, value_enum)]
    state: Option<State>,
    #[command(flatten)]
    list: List,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    /// Its first INVITE has no final answer.
    SettingUp,
    /// Somebody has answered.
    Up,
    /// It was up, and the connection of its client is gone.
    ClientGone,
    /// It is being ended by an operator.
    Ending,
}

impl State {
    /// As nodes say it.
    const fn label(self) -> &'static str {
        match self {
            Self::SettingUp => "setting_up",
            Self::Up => "up",
            Self::ClientGone => "client_gone",
            Self::Ending => "ending",
        }
    }
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
pub(crate) struct Logs {
    /// Those that matter at least so much.
    #[arg(long, value_enum, default_value_t = Level::Info)]
    level: Level,
    /// Those whose name begins like this: `link`, `registrar.down`.
    #[arg(long)]
    id: Option<String>,
    /// So many of the last.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    last: u16,
    /// Go on with what happens, until Ctrl-C; a node that does not answer is asked again.
    #[arg(long, short)]
    follow: bool,
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
        Some(RegistrationsCommand::Show { id, at, output }) => return finish(show_registration(id, at, *output)),
        None => &wish.list,
    };
    let columns = ["aor", "device", "user_agent", "client", "edge", "core", "registrar"];
    finish(print(
        list,
        "registrations",
        "nobody is registered",
        &[("edge", list.edge.as_deref())],
        &columns,
        ("expires in", &|row, _| {
            row.get("expires_in_s").and_then(Value::as_u64).map_or_else(|| cell(None), |seconds| ago(seconds * 1_000))
        }),
    ))
}

pub(crate) fn calls(wish: &Calls) -> ExitCode {
    let list = match &wish.command {
        Some(CallsCommand::List(list)) => list,
        Some(CallsCommand::Show { id, at, output }) => return finish(show_call(*id, at, *output)),
        Some(CallsCommand::End { id, at }) => return finish(end(*id, at)),
        None => &wish.list,
    };
    let (state, list) = (list.state.map(State::label), &list.list);
    let columns = ["id", "from", "to", "state", "edge", "core", "registrar"];
    finish(print(
        list,
        "calls",
        "there are no calls",
        &[("edge", list.edge.as_deref()), ("state", state)],
        &columns,
        ("for", &|row, now_ms| {
            let since = row.get("since_ms").and_then(Value::as_u64);
            since.map_or_else(|| cell(None), |since| ago(now_ms.saturating_sub(since)))
        }),
    ))
}

fn show_registration(id: &str, at: &At, output: Format) -> Result<(), Failure> {
    // A node looks for parts of addresses; of a device it knows nothing then.
    let user = id.contains('@').then_some(id);
    let mut rows = pages(at, user, "registrations")?;
    let is_it = |row: &Value| {
        ["aor", "device"]
            .iter()
            .any(|name| row.get(*name).and_then(Value::as_str).is_some_and(|text| text.eq_ignore_ascii_case(id)))
    };
    rows.retain(is_it);
    match output {
        Format::Json => say!("{:#}", json!({ "registrations": rows })),
        Format::Table if rows.is_empty() => {}
        Format::Table => show!("{}", rows.iter().map(lines).collect::<Vec<_>>().join("\n")),
    }
    match rows.is_empty() {
        true => Err(Failure::new("nothing of that name is registered here: `edgeway registrations` lists what is")),
        false => Ok(()),
    }
}

fn show_call(id: u32, at: &At, output: Format) -> Result<(), Failure> {
    let call = at.ask("calls/show", &json!({ "id": id }))?;
    match output {
        Format::Json => say!("{call:#}"),
        Format::Table => show!("{}", lines(&call)),
    }
    Ok(())
}

fn end(id: u32, at: &At) -> Result<(), Failure> {
    at.ask("calls/end", &json!({ "id": id }))?;
    say!("call {id} is being ended: `edgeway calls` shows it until its BYEs are sent");
    Ok(())
}

/// A column that is worked out, of a row and of the time now.
type Last<'a> = (&'a str, &'a dyn Fn(&Value, u64) -> String);

fn print(
    list: &List,
    what: &str,
    none: &str,
    only: &[(&str, Option<&str>)],
    columns: &[&str],
    last: Last<'_>,
) -> Result<(), Failure> {
    let mut rows = pages(&list.at, list.user.as_deref(), what)?;
    let wanted = |row: &Value| {
        only.iter().all(|(name, value)| value.is_none_or(|value| row.get(*name).and_then(Value::as_str) == Some(value)))
    };
    rows.retain(wanted);
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
fn pages(at: &At, user: Option<&str>, what: &str) -> Result<Vec<Value>, Failure> {
    let (mut rows, mut after) = (Vec::new(), Value::Null);
    for _ in 0..PAGES_MAX {
        let answer = at.ask(what, &json!({ "user": user, "after": after }))?;
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

/// Events that are asked for at once while they are followed: as many as a node tells.
const FOLLOWED_AT_ONCE: u16 = 500;

pub(crate) fn logs(wish: &Logs) -> ExitCode {
    finish(print_logs(wish))
}

/// How often a node is asked what else has happened.
const LOOK_EVERY: Duration = Duration::from_secs(1);

fn print_logs(wish: &Logs) -> Result<(), Failure> {
    let level = match wish.level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    let mut question = json!({ "level": level, "id": wish.id, "limit": wish.last });
    let answer = wish.at.ask("events", &question)?;
    let events = answer.get("events").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    match (wish.output, wish.follow) {
        (Format::Json, false) => say!("{:#}", json!({ "events": events })),
        (Format::Json, true) | (Format::Table, _) => events.iter().for_each(|event| print_event(event, wish.output)),
    }
    if !wish.follow {
        return Ok(());
    }
    let mut last = newest(events).unwrap_or(0);
    let mut is_silent = false;
    question["limit"] = FOLLOWED_AT_ONCE.into();
    loop {
        std::thread::sleep(LOOK_EVERY);
        question["after"] = last.into();
        let answer = match wish.at.ask("events", &question) {
            Ok(answer) => answer,
            Err(failure) => {
                if !is_silent {
                    eprintln!("{}; asking again", failure.1);
                }
                is_silent = true;
                continue;
            }
        };
        is_silent = false;
        // A node that has started anew counts from the beginning.
        if answer.get("last").and_then(Value::as_u64).is_some_and(|newest| newest < last) {
            last = 0;
            continue;
        }
        let events = answer.get("events").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        events.iter().for_each(|event| print_event(event, wish.output));
        last = newest(events).unwrap_or(last);
    }
}

fn newest(events: &[Value]) -> Option<u64> {
    events.iter().filter_map(|event| event.get("seq").and_then(Value::as_u64)).max()
}

/// One line for each: of those that go on there is no end, and so no list.
fn print_event(event: &Value, output: Format) {
    match output {
        Format::Json => say!("{event}"),
        Format::Table => say!("{}", event_line(event)),
    }
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
