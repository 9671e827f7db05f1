//! `edgeway maintenance`: takes a node out of service without hurting anybody, and back.

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use edgeway_runtime::admin::cell;
use serde_json::{Value, json};

use crate::Format;
use crate::commands::{At, Failure, finish};
use crate::output::say;

/// What a node is asked.
const PATH: &str = "maintenance";
/// How often a watched drain is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Maintenance mode of a node.
#[derive(Debug, Subcommand)]
pub(crate) enum MaintenanceCommand {
    /// Begins nothing new from now on: calls, chats and transfers that exist go on, registrations move to other nodes as
    /// they are refreshed.
    #[command(
        after_help = "Examples:\n  edgeway maintenance start --watch\n  edgeway maintenance start --within 2h --keep\n  edgeway maintenance start --node edge1"
    )]
    Start {
        /// End what is still there after this long: 90s, 30m, 2h. Without it everything goes on for as long as it wants.
        #[arg(long, value_name = "TIME", value_parser = span)]
        within: Option<Duration>,
        /// Take a deadline away again.
        #[arg(long, conflicts_with = "within")]
        no_deadline: bool,
        /// Stay in maintenance mode over a restart of the service.
        #[arg(long)]
        keep: bool,
        /// Show what is left until nothing is.
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        at: At,
    },
    /// How far it is.
    #[command(after_help = "Examples:\n  edgeway maintenance status --watch\n  edgeway maintenance status -o json")]
    Status {
        /// Show what is left until nothing is.
        #[arg(long)]
        watch: bool,
        /// How to print it.
        #[arg(long, short, value_enum, default_value_t = Format::Table)]
        output: Format,
        #[command(flatten)]
        at: At,
    },
    /// Serves again, at once.
    #[command(after_help = "Examples:\n  edgeway maintenance cancel\n  edgeway maintenance cancel --node edge1")]
    Cancel {
        #[command(flatten)]
        at: At,
    },
}

/// Runs one of them.
pub(crate) fn run(command: &MaintenanceCommand) -> ExitCode {
    finish(match command {
        MaintenanceCommand::Start { within, no_deadline, keep, watch, at } => {
            // What is not said stays as it is.
            let mut question = json!({ "on": true });
            if let Some(within) = within {
                question["within_s"] = json!(within.as_secs());
            }
            if *no_deadline {
                question["within_s"] = Value::Null;
            }
            if *keep {
                question["keep"] = json!(true);
            }
            follow(at, &question, *watch, Format::Table)
        }
        MaintenanceCommand::Status { watch, output, at } => follow(at, &json!({}), *watch, *output),
        MaintenanceCommand::Cancel { at } => follow(at, &json!({ "on": false }), false, Format::Table),
    })
}

fn follow(at: &At, question: &Value, watch: bool, output: Format) -> Result<(), Failure> {
    let mut answer = at.ask(PATH, question)?;
    let mut shown = String::new();
    loop {
        let line = match output {
            Format::Json => format!("{answer:#}"),
            Format::Table => line(&answer),
        };
        if line != shown {
            say!("{line}");
            shown = line;
        }
        let is = |name: &str| answer.get(name).and_then(Value::as_bool).unwrap_or_default();
        if !watch || !is("on") || is("drained") {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
        answer = at.ask(PATH, &json!({}))?;
    }
}

/// How it stands, in a line.
fn line(answer: &Value) -> String {
    let node = cell(answer.get("node"));
    let is = |name: &str| answer.get(name).and_then(Value::as_bool).unwrap_or_default();
    if !is("on") {
        return format!("{node}: in service");
    }
    if is("drained") {
        return format!("{node}: drained: nothing is served any more (maintenance mode)");
    }
    let count = |name: &str| answer.pointer(&format!("/remaining/{name}")).and_then(Value::as_u64).unwrap_or_default();
    let of =
        |name: &str, one: &str, many: &str| format!("{} {}", count(name), if count(name) == 1 { one } else { many });
    let left = [
        of("calls", "call", "calls"),
        of("chats", "chat", "chats"),
        of("registrations", "registration", "registrations"),
        of("requests", "request", "requests"),
    ];
    let deadline = answer.get("left_s").and_then(Value::as_u64);
    let deadline =
        deadline.map(|seconds| format!("; what is left then ends in {}", words(seconds))).unwrap_or_default();
    let expected = answer.get("estimate_s").and_then(Value::as_u64).filter(|_| deadline.is_empty());
    let expected = expected.map(|seconds| format!("; perhaps {} more", words(seconds))).unwrap_or_default();
    format!("{node}: draining: {}{deadline}{expected}", left.join(", "))
}

fn words(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// `90s`, `30m`, `2h`; a number alone is seconds.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let seconds = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        _ => return Err("a time such as 90s, 30m or 2h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "a time such as 90s, 30m or 2h".to_owned())?;
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_what_people_write() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("30m", 1_800), ("5min", 300), ("2h", 7_200)] {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)));
        }
        for bad in ["", "h", "2d", "-1s", "1h30m"] {
            assert!(span(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_line_says_what_is_left() {
        let mut answer = json!({
            "node": "core1", "on": true, "drained": false, "left_s": 600,
            "remaining": { "calls": 1, "chats": 3, "registrations": 41, "requests": 0 },
        });
        assert_eq!(
            line(&answer),
            "core1: draining: 1 call, 3 chats, 41 registrations, 0 requests; what is left then ends in 10 min"
        );
        answer["drained"] = json!(true);
        assert_eq!(line(&answer), "core1: drained: nothing is served any more (maintenance mode)");
        answer["on"] = json!(false);
        assert_eq!(line(&answer), "core1: in service");
    }
}
