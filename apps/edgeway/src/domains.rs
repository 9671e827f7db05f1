//! `edgeway domains`: the domains a core serves, and changes of them as changes of the configuration.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use edgeway_runtime::admin::{cell, grid};
use serde_json::{Value, json};

use crate::Format;
use crate::commands::{AtCore, Failure, finish};
use crate::config::{Core, told};
use crate::maintenance::span;
use crate::output::{say, show};

/// The domains that are served.
#[derive(Debug, Subcommand)]
pub(crate) enum DomainsCommand {
    /// Which there are, whose they are, and whether a registrar answers for them.
    #[command(after_help = "Examples:\n  edgeway domains list\n  edgeway domains list --config ./core.toml -o json")]
    List {
        #[command(flatten)]
        common: AtCore,
    },
    /// Serves a domain, or gives one that is served to another deployment; a new revision of the configuration.
    #[command(
        after_help = "Examples:\n  edgeway domains add example.org\n  edgeway domains add lab.example.org --deployment lab --confirm 5m"
    )]
    Add {
        /// The domain.
        domain: String,
        /// Whose it is to be.
        #[arg(long, default_value = "default")]
        deployment: String,
        /// Go back by itself unless `edgeway config confirm` comes within this time: 90s, 5m, 1h.
        #[arg(long, value_name = "TIME", value_parser = span)]
        confirm: Option<Duration>,
        #[command(flatten)]
        change: Change,
    },
    /// Serves a domain no more; a new revision of the configuration. Its calls and registrations end when their parties end
    /// them.
    #[command(
        after_help = "Examples:\n  edgeway domains remove example.org\n  edgeway domains remove example.org --comment \"sold\""
    )]
    Remove {
        /// The domain.
        domain: String,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Change {
    /// Why; it stands in the history.
    #[arg(long, default_value = "")]
    comment: String,
    #[command(flatten)]
    common: AtCore,
}

const DOMAINS: &str = "/api/v1/domains";

/// Runs one of them.
pub(crate) fn run(command: &DomainsCommand) -> ExitCode {
    finish(match command {
        DomainsCommand::List { common } => list(common),
        DomainsCommand::Add { domain, deployment, confirm, change } => {
            let confirm = confirm.map(|time| time.as_secs());
            let order = json!({ "deployment": deployment, "comment": change.comment, "confirm_s": confirm });
            put(domain, &order, &change.common)
        }
        DomainsCommand::Remove { domain, change } => remove(domain, change),
    })
}

fn list(common: &AtCore) -> Result<(), Failure> {
    let core = Core::of(common.config.as_deref())?;
    let all = core.json("GET", DOMAINS, None, None)?;
    match common.output {
        Format::Json => say!("{all:#}"),
        Format::Table => {
            let domains = all.get("domains").and_then(Value::as_array).into_iter().flatten();
            let rows: Vec<_> = domains.map(row).collect();
            let mut text = String::new();
            grid(&mut text, &["domain", "deployment", "state", "registrars", "services"], &rows, &[]);
            show!("{text}");
        }
    }
    Ok(())
}

fn row(domain: &Value) -> Vec<String> {
    let registrars = domain.get("registrars").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let alive = registrars.iter().filter(|one| one.get("state").and_then(Value::as_str) == Some("alive")).count();
    let services = domain.get("services").and_then(Value::as_array).into_iter().flatten();
    let services: Vec<_> = services.map(|one| cell(Some(one))).collect();
    let of = |name: &str| cell(domain.get(name));
    let answers = format!("{alive} of {} alive", registrars.len());
    vec![of("domain"), of("deployment"), of("state"), answers, services.join(", ")]
}

fn put(domain: &str, order: &Value, common: &AtCore) -> Result<(), Failure> {
    let core = Core::of(common.config.as_deref())?;
    let done = core.json("PUT", &place(domain)?, core.revision()?, Some(order))?;
    told(&done, common.output);
    Ok(())
}

fn remove(domain: &str, change: &Change) -> Result<(), Failure> {
    let core = Core::of(change.common.config.as_deref())?;
    let mut path = place(domain)?;
    if !change.comment.is_empty() {
        path.push_str("?comment=");
        path.push_str(&escaped(&change.comment));
    }
    let done = core.json("DELETE", &path, core.revision()?, None)?;
    told(&done, change.common.output);
    Ok(())
}

/// Where a domain is. What cannot be one is not asked for: it might be another path.
fn place(domain: &str) -> Result<String, Failure> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".:-".contains(&byte);
    if domain.is_empty() || !domain.bytes().all(legal) || domain.starts_with('.') {
        return Err(Failure::new(format!("{} is no domain", edgeway_runtime::admin::printable(domain))));
    }
    Ok(format!("{DOMAINS}/{domain}"))
}

/// RFC 3986 §2.1.
fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_asked_for_where_it_is_and_nowhere_else() {
        assert_eq!(place("example.org").ok().as_deref(), Some("/api/v1/domains/example.org"));
        for bad in ["", "a/b", "..", "a?b", "a%2fb", "ä.example", "a b"] {
            assert!(place(bad).is_err(), "{bad}");
        }
        assert_eq!(escaped("sold, ä&b=c"), "sold%2C%20%C3%A4%26b%3Dc");
    }

    #[test]
    fn a_domain_is_told_in_a_line() {
        let registrars = json!([{ "state": "alive" }, { "state": "failed" }]);
        let domain = json!({ "domain": "example.org", "deployment": "default", "state": "active",
            "services": ["Unified CM registrations"], "registrars": registrars });
        assert_eq!(row(&domain), ["example.org", "default", "active", "1 of 2 alive", "Unified CM registrations"]);
    }
}
