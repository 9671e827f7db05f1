//! `edgeway chats`: who chats through a node, and ending one.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use edgeway_model::Role;
use edgeway_runtime::admin::{cell, grid};
use edgeway_runtime::clock::unix_ms;
use serde_json::{Value, json};

use crate::Format;
use crate::commands::{At, Failure, finish};
use crate::output::{say, show};
use crate::shown::lines;

/// Pages of a list that are asked for: more sessions than this many pages hold no node has.
const PAGES_MAX: usize = 64;

/// Chat sessions; without a verb, the list of them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Chats {
    #[command(subcommand)]
    command: Option<ChatsCommand>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum ChatsCommand {
    /// Who chats: through which edge, at which server, since when. A core knows the users; an edge knows connections.
    #[command(after_help = "Examples:\n  edgeway chats list --user alice\n  edgeway chats list --edge edge1 -o json")]
    List(List),
    /// One chat session, with all that the node says of it.
    #[command(after_help = "Examples:\n  edgeway chats show 17\n  edgeway chats show 17 --node edge1 -o json")]
    Show {
        /// Its number, as `edgeway chats list` shows it at the same node.
        id: u64,
        #[command(flatten)]
        at: At,
        /// How to print it.
        #[arg(long, short, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Ends one chat session, at once. Its client may come back.
    #[command(after_help = "Examples:\n  edgeway chats disconnect 17\n  edgeway chats disconnect 17 --node edge1")]
    Disconnect {
        /// Its number, as `edgeway chats list` shows it at the same node.
        id: u64,
        #[command(flatten)]
        at: At,
    },
}

#[derive(Debug, Args)]
struct List {
    /// Those of one user only: the name before the `@`. At a core.
    #[arg(long)]
    user: Option<String>,
    /// Those through one edge only. At a core.
    #[arg(long)]
    edge: Option<String>,
    #[command(flatten)]
    at: At,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Runs one of them.
pub(crate) fn run(chats: &Chats) -> ExitCode {
    finish(match &chats.command {
        None => list(&chats.list),
        Some(ChatsCommand::List(wish)) => list(wish),
        Some(ChatsCommand::Show { id, at, output }) => print_one(*id, at, *output),
        Some(ChatsCommand::Disconnect { id, at }) => disconnect(*id, at),
    })
}

fn print_one(id: u64, at: &At, output: Format) -> Result<(), Failure> {
    let (role, chats, _) = collect(at, None)?;
    let Some(chat) = chats.iter().find(|chat| chat.get(key(role)).and_then(Value::as_u64) == Some(id)) else {
        return Err(Failure::new(format!("there is no chat {id} here: `edgeway chats` lists them")));
    };
    match output {
        Format::Json => say!("{chat:#}"),
        Format::Table => show!("{}", lines(chat)),
    }
    Ok(())
}

fn list(wish: &List) -> Result<(), Failure> {
    let usage = |why: &str| Err(Failure(2, why.to_owned()));
    match (wish.at.role()?, &wish.user, &wish.edge) {
        (Role::Edge, Some(_), _) => return usage("an edge does not know whose chats it carries: ask a core"),
        (Role::Edge, _, Some(_)) => return usage("an edge knows its own chats only: ask a core"),
        (Role::Edge | Role::Core, ..) => {}
    }
    let (role, mut chats, more) = collect(&wish.at, wish.user.as_deref())?;
    if let Some(edge) = &wish.edge {
        chats.retain(|chat| chat.get("edge").and_then(Value::as_str) == Some(edge));
    }
    match wish.output {
        Format::Json => say!("{:#}", json!({ "chats": chats, "more": more })),
        Format::Table => show!("{}", table(role, &chats, unix_ms())),
    }
    if more > 0 {
        eprintln!("and {more} more");
    }
    Ok(())
}

/// All pages, and how many there would have been besides.
fn collect(at: &At, user: Option<&str>) -> Result<(Role, Vec<Value>, u64), Failure> {
    let role = at.role()?;
    let mut chats = Vec::new();
    let mut question = json!({});
    if let Some(user) = user {
        question["user"] = json!(user);
    }
    for _ in 0..PAGES_MAX {
        let answer = at.ask("chats", &question)?;
        let page = answer.get("chats").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        chats.extend(page.iter().cloned());
        let more = answer.get("more").and_then(Value::as_u64).unwrap_or_default();
        let last = page.last().and_then(|chat| chat.get(key(role))).cloned();
        match last {
            Some(last) if more > 0 => question["after"] = last,
            _ => return Ok((role, chats, more)),
        }
    }
    Err(Failure::new("the list has no end: is it another version that answers?"))
}

/// What a chat is called at a node.
const fn key(role: Role) -> &'static str {
    match role {
        Role::Edge => "number",
        Role::Core => "id",
    }
}

fn disconnect(id: u64, at: &At) -> Result<(), Failure> {
    let answer = at.ask("chats/disconnect", &json!({ "id": id }))?;
    if answer.get("disconnected") != Some(&Value::Bool(true)) {
        return Err(Failure::new(format!("there is no chat {id} here: `edgeway chats` lists them")));
    }
    say!("chat {id} is ended");
    Ok(())
}

fn table(role: Role, chats: &[Value], now_ms: u64) -> String {
    if chats.is_empty() {
        return "nobody chats\n".to_owned();
    }
    let (heads, columns): (&[&str], &[&str]) = match role {
        Role::Core => (
            &["id", "who", "deployment", "edge", "client", "server", "since", "in", "out", "resumable"],
            &["id", "jid", "deployment", "edge", "client", "server"],
        ),
        Role::Edge => (
            &["number", "domain", "client", "core", "since", "in", "out", "signed in"],
            &["number", "domain", "client", "core"],
        ),
    };
    let last = match role {
        Role::Core => "resumable",
        Role::Edge => "signed_in",
    };
    let row = |chat: &Value| {
        let mut row: Vec<_> = columns.iter().map(|column| cell(chat.get(column))).collect();
        let since = chat.get("since_ms").and_then(Value::as_u64);
        row.push(since.map_or_else(|| cell(None), |since| ago(now_ms.saturating_sub(since))));
        row.extend(["bytes_in", "bytes_out"].map(|way| chat.get(way).and_then(Value::as_u64)).map(size));
        row.push(match chat.get(last).and_then(Value::as_bool) {
            Some(true) => "yes".to_owned(),
            Some(false) => "no".to_owned(),
            None => cell(None),
        });
        row
    };
    let rows: Vec<_> = chats.iter().map(row).collect();
    let mut out = String::new();
    let numbers: Vec<_> = std::iter::once(0).chain(columns.len()..columns.len() + 3).collect();
    grid(&mut out, heads, &rows, &numbers);
    out
}

pub(crate) fn ago(ms: u64) -> String {
    match ms / 1_000 {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

fn size(bytes: Option<u64>) -> String {
    match bytes {
        None => cell(None),
        Some(bytes @ 0..=9_999) => format!("{bytes} B"),
        Some(bytes @ 10_000..=9_999_999) => format!("{} kB", bytes / 1_000),
        Some(bytes) => format!("{} MB", bytes / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_shows_people_and_an_edge_shows_connections() {
        let chats = [
            json!({
                "id": 7, "jid": "alice@example.com/phone", "deployment": "default", "edge": "edge1",
                "client": "198.51.100.7:40000", "server": "im1.example.com", "since_ms": 1_000, "bytes_in": 900,
                "bytes_out": 12_345_678, "resumable": true,
            }),
            json!({ "id": 18, "jid": null, "edge": "ed\u{1b}ge2", "bytes_in": 10_000 }),
        ];
        let expected = "\
id  who                      deployment  edge    client              server            since     in    out  resumable
 7  alice@example.com/phone  default     edge1   198.51.100.7:40000  im1.example.com  60 min  900 B  12 MB  yes
18  -                        -           ed?ge2  -                   -                     -  10 kB      -  -
";
        assert_eq!(table(Role::Core, &chats, 3_601_000), expected);
        let chats = [json!({
            "number": 3, "client": "198.51.100.7:40000", "domain": "example.com", "core": "core1", "since_ms": 0,
            "bytes_in": 1, "bytes_out": 2, "signed_in": false,
        })];
        let expected = "\
number  domain       client              core   since   in  out  signed in
     3  example.com  198.51.100.7:40000  core1    3 d  1 B  2 B  no
";
        assert_eq!(table(Role::Edge, &chats, 300_000_000), expected);
        assert_eq!(table(Role::Edge, &[], 0), "nobody chats\n");
    }

    #[test]
    fn the_list_is_what_no_verb_means() {
        use clap::Parser as _;
        for (line, lists) in [
            (&["edgeway", "chats"][..], true),
            (&["edgeway", "chats", "--user", "alice", "-o", "json"], true),
            (&["edgeway", "chats", "list", "--edge", "edge1"], true),
            (&["edgeway", "chats", "disconnect", "7", "--config", "x"], false),
        ] {
            let crate::Command::Chats(chats) = crate::Arguments::try_parse_from(line).unwrap().command else {
                panic!("{line:?}")
            };
            assert_eq!(!matches!(chats.command, Some(ChatsCommand::Disconnect { .. })), lists, "{line:?}");
        }
        assert!(crate::Arguments::try_parse_from(["edgeway", "chats", "--user", "a", "disconnect", "7"]).is_err());
    }
}
