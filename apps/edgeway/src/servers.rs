//! `edgeway servers`: what a core knows of the UC servers, and learning it anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::Format;
use crate::commands::{Failure, ask, core_settings, finish};
use crate::output::{say, show};

#[derive(Debug, Subcommand)]
pub(crate) enum ServersCommand {
    /// What is known of each UC server, how it stands, and what has changed there since.
    #[command(after_help = "Examples:\n  edgeway servers list\n  edgeway servers list --config ./core.toml -o json")]
    List {
        #[command(flatten)]
        at: At,
    },
    /// Asks the servers nothing is known of yet.
    #[command(
        after_help = "Examples:\n  edgeway servers discover\n  edgeway servers discover cucm1.example.com --dry-run"
    )]
    Discover {
        /// The publisher, as in the settings; without it, all.
        name: Option<String>,
        /// Show what would change, and change nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        at: At,
    },
    /// Asks the servers anew, shows what has changed, and takes it into use; sign-ins and calls go on meanwhile.
    #[command(
        after_help = "Examples:\n  edgeway servers refresh --dry-run\n  edgeway servers refresh cucm1.example.com -o json"
    )]
    Refresh {
        /// The publisher, as in the settings; without it, all.
        name: Option<String>,
        /// Show what would change, and change nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        at: At,
    },
}

/// Which core, and how its answer is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct At {
    /// The core's settings file.
    #[arg(long, default_value = "/etc/edgeway/core.toml")]
    config: PathBuf,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Runs one of them. What could not be read is a finding: exit code 1.
pub(crate) fn run(command: &ServersCommand) -> ExitCode {
    let outcome = match command {
        ServersCommand::List { at } => list(at).map(|()| true),
        ServersCommand::Discover { name, dry_run, at } => learn("servers/discover", name.as_deref(), *dry_run, at),
        ServersCommand::Refresh { name, dry_run, at } => learn("servers/refresh", name.as_deref(), *dry_run, at),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => finish(Err(failure)),
    }
}

/// A name that no server has is usage.
fn check_name(config: &Path, name: &str) -> Result<(), Failure> {
    let uc = core_settings(config)?.uc;
    let servers = uc.unified_cm.iter().chain(&uc.im_and_presence).chain(&uc.unity);
    let names: Vec<&str> = servers.map(|server| server.address.host.as_str()).collect();
    if names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    let known =
        if names.is_empty() { "none is configured".to_owned() } else { format!("there are: {}", names.join(", ")) };
    Err(Failure(2, format!("there is no UC server {name:?}; {known}")))
}

fn list(at: &At) -> Result<(), Failure> {
    let answer = ask(&at.config, "servers", &Value::Null)?;
    match at.output {
        Format::Json => say!("{answer:#}"),
        Format::Table => show!("{}", servers_table(&answer)),
    }
    Ok(())
}

fn learn(path: &str, name: Option<&str>, dry_run: bool, at: &At) -> Result<bool, Failure> {
    if let Some(name) = name {
        check_name(&at.config, name)?;
    }
    let answer = ask(&at.config, path, &json!({"name": name, "dry_run": dry_run}))?;
    match at.output {
        Format::Json => say!("{answer:#}"),
        Format::Table => show!("{}", changes_table(&answer)),
    }
    Ok(answer.get("ok") == Some(&Value::Bool(true)))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn entries<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

// Writing into a String cannot fail.
fn servers_table(answer: &Value) -> String {
    let mut out = String::new();
    if entries(answer, "servers").is_empty() {
        return "no UC server is configured\n".to_owned();
    }
    match answer.get("age_seconds").and_then(Value::as_u64) {
        Some(age) => _ = writeln!(out, "revision {}, taken {} ago", number(answer, "revision"), duration(age)),
        None => _ = writeln!(out, "nothing is known yet"),
    }
    for server in entries(answer, "servers") {
        let cluster = server.get("cluster").unwrap_or(&Value::Null);
        let _ = write!(
            out,
            "\n{} ({}, {})",
            text(server, "publisher"),
            text(server, "product"),
            text(server, "deployment")
        );
        let _ = write!(out, "  {}", text(server, "state"));
        if let Some(seen) = server.get("last_seen_seconds_ago").and_then(Value::as_u64) {
            let _ = write!(out, ", last seen {} ago", duration(seen));
        }
        out.push('\n');
        for (label, key) in [("reason", "reason"), ("action", "action")] {
            if !text(server, key).is_empty() {
                let _ = writeln!(out, "  {label:<8} {}", text(server, key));
            }
        }
        if !cluster.is_null() {
            let is = |key: &str| cluster.get(key) == Some(&Value::Bool(true));
            let mode = if is("mixed_mode") { "mixed mode" } else { "non-secure" };
            let keys = entries(cluster, "token_keys").len();
            let tokens = if is("oauth") { format!(", issues tokens ({keys} key(s))") } else { String::new() };
            let _ = writeln!(out, "  version  {}, {mode}{tokens}", text(cluster, "version"));
            for node in entries(cluster, "nodes") {
                let _ = writeln!(out, "  node     {}", node_line(node));
            }
            let tftp: Vec<_> = entries(cluster, "tftp").iter().filter_map(Value::as_str).collect();
            if !tftp.is_empty() {
                let _ = writeln!(out, "  tftp     {}", tftp.join(", "));
            }
        }
        for drift in entries(server, "drift") {
            let _ = writeln!(out, "  changed  {}: {}", text(drift, "text"), text(drift, "meaning"));
        }
    }
    out
}

fn node_line(node: &Value) -> String {
    let mut line = text(node, "name").to_owned();
    if node.get("publisher") == Some(&Value::Bool(true)) {
        line.push_str(" (publisher)");
    }
    for (label, key) in
        [("SIP", "sip_port"), ("TLS", "sip_tls_port"), ("OAuth", "sip_oauth_port"), ("HTTPS", "https_port")]
    {
        if number(node, key) != 0 {
            let _ = write!(line, ", {label} {}", number(node, key));
        }
    }
    line
}

fn changes_table(answer: &Value) -> String {
    let mut out = String::new();
    for change in entries(answer, "changes") {
        let _ = writeln!(out, "{}\n    {}", text(change, "text"), text(change, "meaning"));
    }
    for server in entries(answer, "servers").iter().filter(|server| !text(server, "error").is_empty()) {
        let kept = server.get("kept") == Some(&Value::Bool(true));
        let rest = if kept { "what was known of it stays in use" } else { "nothing is known of it" };
        let (name, error, action) = (text(server, "publisher"), text(server, "error"), text(server, "action"));
        let _ = writeln!(out, "{name}: {error}; {rest}\n    {action}");
    }
    let is = |key: &str| answer.get(key) == Some(&Value::Bool(true));
    let took = number(answer, "took_ms");
    let failed = entries(answer, "servers").iter().any(|server| !text(server, "error").is_empty());
    let _ = match (entries(answer, "servers").is_empty(), entries(answer, "changes").is_empty(), is("dry_run")) {
        (true, ..) => writeln!(out, "every server is known already: `edgeway servers refresh` asks anew"),
        (_, true, _) if failed => writeln!(out, "nothing was taken into use ({took} ms)"),
        (_, true, _) => writeln!(out, "nothing has changed ({took} ms)"),
        (_, _, true) => writeln!(out, "a dry run: nothing was taken into use ({took} ms)"),
        (_, _, false) => writeln!(out, "in use as revision {} ({took} ms)", number(answer, "revision")),
    };
    out
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_shown_with_its_trouble() {
        let answer = json!({
            "revision": 4, "age_seconds": 7_300,
            "servers": [
                {
                    "product": "unified_cm", "publisher": "cucm1.example.com", "deployment": "default", "state": "Active",
                    "last_seen_seconds_ago": 12,
                    "drift": [{"text": "node cucm2 is new", "meaning": "until then clients sent to it fail"}],
                    "cluster": {
                        "version": "12.5.1", "mixed_mode": true, "oauth": true, "token_keys": ["k"], "tftp": ["cucm1"],
                        "nodes": [{"name": "cucm1", "publisher": true, "sip_port": 5060, "sip_tls_port": 5061, "https_port": 8443}],
                    },
                },
                {
                    "product": "unity", "publisher": "cuc1", "deployment": "east", "state": "Failed",
                    "reason": "it cannot be reached", "action": "see that it runs", "cluster": null, "drift": [],
                },
            ],
        });
        let expected = "revision 4, taken 2 h ago\n\n\
            cucm1.example.com (unified_cm, default)  Active, last seen 12 s ago\n  \
            version  12.5.1, mixed mode, issues tokens (1 key(s))\n  \
            node     cucm1 (publisher), SIP 5060, TLS 5061, HTTPS 8443\n  \
            tftp     cucm1\n  \
            changed  node cucm2 is new: until then clients sent to it fail\n\n\
            cuc1 (unity, east)  Failed\n  \
            reason   it cannot be reached\n  \
            action   see that it runs\n";
        assert_eq!(servers_table(&answer), expected);
        assert_eq!(servers_table(&json!({"servers": []})), "no UC server is configured\n");
    }

    #[test]
    fn what_has_changed_is_shown_with_what_could_not_be_read() {
        let changes = json!([{"text": "Unified CM a: node b is new", "meaning": "it gets a zone"}]);
        let failed = json!({"publisher": "c", "error": "it cannot be reached", "action": "look", "kept": true});
        let answer = |changes: &Value, servers: Value, dry_run: bool| {
            changes_table(
                &json!({"changes": changes, "servers": servers, "dry_run": dry_run, "took_ms": 7, "revision": 2}),
            )
        };
        let good = json!([{"publisher": "a", "ok": true}]);
        let first = "Unified CM a: node b is new\n    it gets a zone\n";
        let second = "c: it cannot be reached; what was known of it stays in use\n    look\n";
        for (answer, expected) in [
            (answer(&changes, good.clone(), false), format!("{first}in use as revision 2 (7 ms)\n")),
            (answer(&changes, good.clone(), true), format!("{first}a dry run: nothing was taken into use (7 ms)\n")),
            (answer(&changes, json!([failed]), false), format!("{first}{second}in use as revision 2 (7 ms)\n")),
            (answer(&json!([]), json!([failed]), false), format!("{second}nothing was taken into use (7 ms)\n")),
            (answer(&json!([]), good, false), "nothing has changed (7 ms)\n".to_owned()),
            (
                answer(&json!([]), json!([]), false),
                "every server is known already: `edgeway servers refresh` asks anew\n".to_owned(),
            ),
        ] {
            assert_eq!(answer, expected);
        }
    }
}
