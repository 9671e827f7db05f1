//! `edgeway certificates`: what a node shows to whom, and until when.

use std::process::ExitCode;

use clap::Args;
use edgeway_runtime::admin::{cell, grid};
use edgeway_runtime::pki::unix_now;
use serde_json::{Value, json};

use crate::Format;
use crate::commands::{At, Failure, finish, statuses};
use crate::output::{say, show};

const DAY: u64 = 24 * 60 * 60;

/// The certificates of the edge and core of this machine.
#[derive(Debug, Args)]
pub(crate) struct Certificates {
    #[command(flatten)]
    at: At,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Runs it. The exit code is 1 where one has ended.
pub(crate) fn run(certificates: &Certificates) -> ExitCode {
    finish(list(certificates))
}

fn list(wish: &Certificates) -> Result<(), Failure> {
    let (now, mut rows, mut all) = (unix_now(), Vec::new(), Vec::new());
    for status in statuses(&wish.at)? {
        let node = status.get("node");
        for one in status.get("certificates").and_then(Value::as_array).into_iter().flatten() {
            rows.push(row(node, one, now));
            let mut one = one.clone();
            one["node"] = node.cloned().unwrap_or_default();
            all.push(one);
        }
    }
    match wish.output {
        Format::Json => say!("{:#}", json!({ "certificates": all })),
        Format::Table => {
            let mut out = String::new();
            let heads = ["node", "for", "name", "issuer", "days left", "fingerprint"];
            grid(&mut out, &heads, &rows, &[4]);
            show!("{out}");
        }
    }
    let ended = all.iter().filter(|one| left(one, now) == Some(0)).count();
    if ended > 0 { Err(Failure::new(format!("{ended} of them ended already: see edgeway alarms"))) } else { Ok(()) }
}

fn left(one: &Value, now: u64) -> Option<u64> {
    Some(one.get("not_after_unix")?.as_u64()?.saturating_sub(now))
}

fn row(node: Option<&Value>, one: &Value, now: u64) -> Vec<String> {
    let days = left(one, now).map_or("-".to_owned(), |left| match left {
        0 => "ended".to_owned(),
        left => (left / DAY).to_string(),
    });
    let print: String = cell(one.get("fingerprint")).chars().take(16).collect();
    vec![cell(node), cell(one.get("use")), cell(one.pointer("/names/0")), cell(one.get("issuer")), days, print]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_has_ended_says_so() {
        let one = json!({ "use": "clients", "names": ["edge.example.com", "b"], "issuer": "CN=CA",
            "not_after_unix": 10 * DAY, "fingerprint": "00112233445566778899aabb" });
        let node = json!("edge1");
        let shown = row(Some(&node), &one, 7 * DAY);
        assert_eq!(shown, ["edge1", "clients", "edge.example.com", "CN=CA", "3", "0011223344556677"]);
        assert_eq!(row(Some(&node), &one, 11 * DAY)[4], "ended");
        assert_eq!(row(Some(&node), &json!({}), 0)[4], "-");
    }
}
