//! `edgeway alarms`: what is wrong at a node, why, and what to do.

use std::process::ExitCode;

use clap::Args;
use edgeway_runtime::admin::cell;
use edgeway_runtime::clock::unix_ms;
use serde_json::{Value, json};

use crate::Format;
use crate::commands::{At, Failure, finish, statuses_everywhere};
use crate::output::{say, show};

/// The alarms that stand at the edge and core of this machine, and at the nodes its core is linked with.
#[derive(Debug, Args)]
pub(crate) struct Alarms {
    #[command(flatten)]
    at: At,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Runs it. The exit code is 1 where an alarm stands, for scripts.
pub(crate) fn run(alarms: &Alarms) -> ExitCode {
    finish(list(alarms))
}

fn list(wish: &Alarms) -> Result<(), Failure> {
    let mut all = Vec::new();
    for status in statuses_everywhere(&wish.at)? {
        for one in status.get("alarms").and_then(Value::as_array).into_iter().flatten() {
            let mut one = one.clone();
            if one.get("node").is_none_or(Value::is_null) {
                one["node"] = status.get("node").cloned().unwrap_or_default();
            }
            all.push(one);
        }
    }
    match wish.output {
        Format::Json => say!("{:#}", json!({ "alarms": all })),
        Format::Table if all.is_empty() => say!("no alarm stands"),
        Format::Table => all.iter().for_each(|one| show!("{}", text(one, unix_ms()))),
    }
    match all.len() {
        0 => Ok(()),
        count => Err(Failure::new(format!("{count} alarm(s)"))),
    }
}

fn text(one: &Value, now_ms: u64) -> String {
    let of = |name: &str| cell(one.get(name));
    let since = one.get("since_ms").and_then(Value::as_u64);
    let minutes = since.map_or(0, |since| now_ms.saturating_sub(since) / 60_000);
    let head = format!("{} {} ({}) at {}, for {minutes} min", of("severity"), of("id"), of("about"), of("node"));
    format!("{head}\n  {}\n  {}\n\n", of("cause"), of("action"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_told_with_what_to_do() {
        let one = json!({ "severity": "warning", "id": "maintenance_mode", "about": "node", "node": "edge1",
            "cause": "Maintenance mode is on.", "action": "edgeway maintenance\u{1b}[2J cancel", "since_ms": 60_000 });
        let expected = "warning maintenance_mode (node) at edge1, for 2 min\n  Maintenance mode is on.\n  \
                        edgeway maintenance?[2J cancel\n\n";
        assert_eq!(text(&one, 180_000), expected);
    }
}
