//! `edgeway accounts`, `edgeway tokens`, `edgeway audit`: who may administer a core, and who did what, over its control socket.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use edgeway_runtime::admin::{self, ApiRequest, cell, grid};
use edgeway_runtime::clock::rfc3339;
use serde_json::{Value, json};

use crate::Format;
use crate::commands::{At, AtCore, Failure, finish};
use crate::output::{say, show};
use crate::users_file::{Password, typed};

/// Administrators.
#[derive(Debug, Subcommand)]
pub(crate) enum AccountsCommand {
    /// Who may sign in to administer.
    #[command(after_help = "Examples:\n  edgeway accounts list\n  edgeway accounts list --output json")]
    List {
        #[command(flatten)]
        common: AtCore,
    },
    /// Makes an account. The password comes from the terminal, or from a file.
    #[command(
        after_help = "Examples:\n  edgeway accounts add alice --role administrator\n  edgeway accounts add bob --role read-only --password-file ./bob.password"
    )]
    Add {
        /// a-z, 0-9, `.`, `_`, `-` and `@`.
        name: String,
        /// What it may do.
        #[arg(long, value_enum)]
        role: RoleName,
        #[command(flatten)]
        password: Password,
        #[command(flatten)]
        common: AtCore,
    },
    /// Removes an account and ends its sessions. The last administrator stays.
    #[command(
        after_help = "Examples:\n  edgeway accounts remove bob\n  edgeway accounts remove bob --config ./core.toml"
    )]
    Remove {
        /// Its name.
        name: String,
        #[command(flatten)]
        common: AtCore,
    },
    /// Gives an account another password and ends its sessions.
    #[command(
        after_help = "Examples:\n  edgeway accounts set-password alice\n  edgeway accounts set-password bob --password-file ./bob.password"
    )]
    SetPassword {
        /// Its name.
        name: String,
        #[command(flatten)]
        password: Password,
        #[command(flatten)]
        common: AtCore,
    },
    /// Prints a new code for a first sign-in, good for 24 hours and once: it makes an administrator, or gives one back whose
    /// password is lost.
    #[command(
        after_help = "Examples:\n  edgeway accounts reset-code\n  edgeway accounts reset-code --config ./core.toml"
    )]
    ResetCode {
        #[command(flatten)]
        common: AtCore,
    },
}

/// Tokens of the API.
#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// Which programs may ask, without their secrets.
    #[command(after_help = "Examples:\n  edgeway tokens list\n  edgeway tokens list --output json")]
    List {
        #[command(flatten)]
        common: AtCore,
    },
    /// Makes a token and prints it, this once.
    #[command(
        after_help = "Examples:\n  edgeway tokens add prometheus --role read-only\n  edgeway tokens add deploy --role administrator --days 90"
    )]
    Add {
        /// What it is for.
        name: String,
        /// What it may do.
        #[arg(long, value_enum)]
        role: RoleName,
        /// For how many days it holds; without it, until it is revoked.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3650))]
        days: Option<u64>,
        #[command(flatten)]
        common: AtCore,
    },
    /// Takes a token away.
    #[command(
        after_help = "Examples:\n  edgeway tokens revoke abcdefghijklmnop\n  edgeway tokens revoke abcdefghijklmnop --config ./core.toml"
    )]
    Revoke {
        /// Its id, as `edgeway tokens list` shows it.
        id: String,
        #[command(flatten)]
        common: AtCore,
    },
}

/// Who did what, newest first.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// How many lines.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// Only lines before this number.
    #[arg(long)]
    before: Option<u64>,
    #[command(flatten)]
    common: AtCore,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RoleName {
    ReadOnly,
    Operator,
    Administrator,
}

impl RoleName {
    const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        }
    }
}

pub(crate) fn accounts(command: &AccountsCommand) -> ExitCode {
    finish(match command {
        AccountsCommand::List { common } => list(
            common,
            "accounts",
            &["name", "role", "disabled", "last_sign_in_ms"],
            &["name", "role", "closed", "last sign-in (UTC)"],
        ),
        AccountsCommand::Add { name, role, password, common } => typed(password).and_then(|password| {
            let order = json!({ "name": name, "role": role.as_str(), "password": password.as_str() });
            ask(common, "POST", "accounts", Some(&order)).map(|_| say!("{name} is {}", role.as_str()))
        }),
        AccountsCommand::Remove { name, common } => change(common, "DELETE", name, None),
        AccountsCommand::SetPassword { name, password, common } => typed(password)
            .and_then(|password| change(common, "PATCH", name, Some(&json!({ "password": password.as_str() })))),
        AccountsCommand::ResetCode { common } => {
            ask(common, "POST", "first-code", None).map(|made| match common.output {
                Format::Json => say!("{made:#}"),
                Format::Table => say!("{}", cell(made.get("code"))),
            })
        }
    })
}

pub(crate) fn tokens(command: &TokensCommand) -> ExitCode {
    finish(match command {
        TokensCommand::List { common } => list(
            common,
            "tokens",
            &["id", "name", "role", "last_used_ms", "expires_ms"],
            &["id", "name", "role", "last used (UTC)", "ends (UTC)"],
        ),
        TokensCommand::Add { name, role, days, common } => {
            let order = json!({ "name": name, "role": role.as_str(), "days": days });
            ask(common, "POST", "tokens", Some(&order)).map(|made| match common.output {
                Format::Json => say!("{made:#}"),
                Format::Table => say!("{}", cell(made.get("secret"))),
            })
        }
        TokensCommand::Revoke { id, common } => {
            named(id).and_then(|id| ask(common, "DELETE", &format!("tokens/{id}"), None)).map(|_| say!("revoked"))
        }
    })
}

pub(crate) fn audit(audit: &Audit) -> ExitCode {
    let before = audit.before.map(|before| format!("&before={before}")).unwrap_or_default();
    let path = format!("audit?limit={}{before}", audit.limit);
    finish(ask(&audit.common, "GET", &path, None).map(|page| {
        let names = ["number", "at_ms", "actor", "from", "action", "outcome"];
        shown(&audit.common, &page, "lines", &names, &["number", "when (UTC)", "who", "from", "what", "outcome"]);
    }))
}

fn list(common: &AtCore, noun: &str, names: &[&str], heads: &[&str]) -> Result<(), Failure> {
    ask(common, "GET", noun, None).map(|answer| shown(common, &answer, noun, names, heads))
}

fn shown(common: &AtCore, answer: &Value, list: &str, names: &[&str], heads: &[&str]) {
    if matches!(common.output, Format::Json) {
        return say!("{answer:#}");
    }
    let value = |one: &Value, name: &str| match one.get(name).and_then(Value::as_u64) {
        Some(at) if name.ends_with("_ms") => rfc3339(at).get(..19).unwrap_or_default().replace('T', " "),
        _ => cell(one.get(name)),
    };
    let all = answer.get(list).and_then(Value::as_array).into_iter().flatten();
    let rows: Vec<Vec<_>> = all.map(|one| names.iter().map(|name| value(one, name)).collect()).collect();
    let mut text = String::new();
    grid(&mut text, heads, &rows, &[]);
    show!("{text}");
}

/// Whoever is at the socket means what is there now.
fn change(common: &AtCore, method: &str, name: &str, body: Option<&Value>) -> Result<(), Failure> {
    let name = named(name)?;
    let path = format!("accounts/{name}");
    let socket = socket(common.config.as_deref())?;
    let path = format!("/api/v1/{path}");
    let request = ApiRequest { method, path: &path, revision: None, body };
    let asked = admin::api(&socket, request).map_err(|fault| Failure::fetching(&fault))?;
    answer(asked).map(|_| say!("done"))
}

fn ask(common: &AtCore, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
    let socket = socket(common.config.as_deref())?;
    let path = format!("/api/v1/{path}");
    let asked = admin::api(&socket, ApiRequest { method, path: &path, revision: None, body });
    answer(asked.map_err(|fault| Failure::fetching(&fault))?)
}

fn answer((code, text): (u16, String)) -> Result<Value, Failure> {
    match code {
        204 => Ok(Value::Null),
        200..=299 => serde_json::from_str(&text).map_err(Failure::new),
        _ => {
            let problem: Value = serde_json::from_str(&text).unwrap_or_default();
            let detail =
                problem.get("detail").and_then(Value::as_str).unwrap_or("the core refused, and did not say why");
            Err(Failure::new(admin::printable(detail)))
        }
    }
}

/// What may stand in a path as it is.
fn named(name: &str) -> Result<&str, Failure> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    if !name.is_empty() && name != "." && name != ".." && name.bytes().all(legal) {
        Ok(name)
    } else {
        Err(Failure(2, "a name has a-z, 0-9, '.', '_', '-' and '@'".to_owned()))
    }
}

fn socket(config: Option<&Path>) -> Result<String, Failure> {
    let at = At { config: config.map(Path::to_owned), node: None };
    match at.socket()? {
        (edgeway_model::Role::Core, socket) => Ok(socket),
        (edgeway_model::Role::Edge, _) => {
            Err(Failure::new("an edge has no accounts: ask a core, or name its file with --config"))
        }
    }
}
