//! `edgeway config`: the configuration of a core and its revisions, over its control socket.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use edgeway_config::limits::CONFIG_TEXT_BYTES_MAX;
use edgeway_runtime::admin::{self, ApiRequest, cell, grid};
use edgeway_runtime::clock::rfc3339;
use serde_json::{Value, json};

use crate::Format;
use crate::commands::{self, At, AtCore, Failure, How, finish};
use crate::output::{say, show};

/// The configuration of a core.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Reports every problem of a settings file at once. Nothing need run.
    #[command(
        after_help = "Examples:\n  edgeway config check /etc/edgeway/edge.toml\n  edgeway config check ./core.toml"
    )]
    Check {
        /// The settings files, of edges and cores.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// The shared settings that are written; with --origin what every setting is, and where that is written.
    #[command(after_help = "Examples:\n  edgeway config show\n  edgeway config show --origin")]
    Show {
        /// Every setting that holds, with where it is written: file, configuration or default.
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        common: AtCore,
    },
    /// What differs: between two revisions, a revision and the newest, or the newest and a file that might be applied.
    #[command(
        after_help = "Examples:\n  edgeway config diff\n  edgeway config diff 6 7\n  edgeway config diff ./new.toml"
    )]
    Diff {
        /// Nothing (the last change), a revision, two revisions, or a file.
        #[arg(num_args = 0..=2, value_name = "REVISION|FILE")]
        what: Vec<String>,
        #[command(flatten)]
        common: AtCore,
    },
    /// Makes a file the configuration: judged, planned, kept as a new revision, and used at once. `-` is standard input.
    #[command(
        after_help = "Examples:\n  edgeway config apply ./new.toml --comment \"second registrar\"\n  edgeway config apply ./new.toml --confirm 5m\n  edgeway config apply ./new.toml --dry-run"
    )]
    Apply {
        /// TOML with shared settings, as `edgeway config export` writes it.
        file: PathBuf,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        common: AtCore,
    },
    /// The revisions, newest first.
    #[command(after_help = "Examples:\n  edgeway config history\n  edgeway config history --limit 5 -o json")]
    History {
        /// How many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
        limit: u16,
        #[command(flatten)]
        common: AtCore,
    },
    /// Makes a new revision with the text of an old one, and uses it at once.
    #[command(
        after_help = "Examples:\n  edgeway config rollback 6\n  edgeway config rollback 6 --comment \"calls failed\""
    )]
    Rollback {
        /// The revision that is to come back.
        revision: u64,
        /// Why; it stands in the history.
        #[arg(long, default_value = "")]
        comment: String,
        #[command(flatten)]
        common: AtCore,
    },
    /// A revision that was applied with --confirm stays.
    #[command(after_help = "Examples:\n  edgeway config confirm\n  edgeway config confirm 7")]
    Confirm {
        /// Which; without it the one that waits.
        revision: Option<u64>,
        #[command(flatten)]
        common: AtCore,
    },
    /// Prints the whole configuration, to be kept or applied again.
    #[command(
        after_help = "Examples:\n  edgeway config export > edgeway.toml\n  edgeway config export --secrets > backup.toml"
    )]
    Export {
        /// With what is sealed, which only a core with the same key can open. Without, applying it keeps what there is.
        #[arg(long)]
        secrets: bool,
        /// The core's settings file; without it, the core of this machine.
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

/// Runs one of them.
pub(crate) fn run(command: &ConfigCommand) -> ExitCode {
    finish(match command {
        ConfigCommand::Check { files } => return commands::check(files),
        ConfigCommand::Show { origin, common } => show_what_holds(*origin, common),
        ConfigCommand::Diff { what, common } => differences(what, common),
        ConfigCommand::Apply { file, how, common } => apply(file, how, common),
        ConfigCommand::History { limit, common } => history(*limit, common),
        ConfigCommand::Rollback { revision, comment, common } => {
            let order = json!({ "to": revision, "comment": comment });
            let core = Core::of(common.config.as_deref());
            core.and_then(|core| core.post("rollback", &order)).map(|done| told(&done, common.output))
        }
        ConfigCommand::Confirm { revision, common } => confirm(*revision, common),
        ConfigCommand::Export { secrets, config } => {
            let path = format!("/export?secrets={secrets}");
            Core::of(config.as_deref()).and_then(|core| core.ask("GET", &path, None, None)).map(|text| show!("{text}"))
        }
    })
}

/// A running core.
pub(crate) struct Core(String);

impl Core {
    pub(crate) fn of(config: Option<&Path>) -> Result<Self, Failure> {
        let at = At { config: config.map(Path::to_owned), node: None };
        match at.socket()? {
            (edgeway_model::Role::Core, socket) => Ok(Self(socket)),
            (edgeway_model::Role::Edge, _) => Err(Failure::new(
                "an edge has no configuration but its file: ask a core, or name its file with --config",
            )),
        }
    }

    fn ask(&self, method: &str, path: &str, revision: Option<u64>, body: Option<&Value>) -> Result<String, Failure> {
        self.api(method, &format!("/api/v1/configuration{path}"), revision, body)
    }

    /// The newest revision.
    pub(crate) fn revision(&self) -> Result<Option<u64>, Failure> {
        Ok(self.get("")?.get("revision").and_then(Value::as_u64))
    }

    /// What its API answers, as JSON.
    pub(crate) fn json(
        &self,
        method: &str,
        path: &str,
        revision: Option<u64>,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        serde_json::from_str(&self.api(method, path, revision, body)?).map_err(Failure::new)
    }

    /// Asks its API, at the control socket.
    pub(crate) fn api(
        &self,
        method: &str,
        path: &str,
        revision: Option<u64>,
        body: Option<&Value>,
    ) -> Result<String, Failure> {
        let asked = admin::api(&self.0, ApiRequest { method, path, revision, body });
        let (code, answer) = asked.map_err(|fault| Failure::fetching(&fault))?;
        match code {
            200 => Ok(answer),
            422 => Err(Failure::configuration(refusal(&answer))),
            _ => Err(Failure::new(refusal(&answer))),
        }
    }

    fn get(&self, path: &str) -> Result<Value, Failure> {
        serde_json::from_str(&self.ask("GET", path, None, None)?).map_err(Failure::new)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        serde_json::from_str(&self.ask("POST", &format!("/{path}"), None, Some(body))?).map_err(Failure::new)
    }
}

/// What a refusal says, one line for each thing that is wrong.
fn refusal(answer: &str) -> String {
    let problem: Value = serde_json::from_str(answer).unwrap_or_default();
    let detail = problem.get("detail").and_then(Value::as_str).unwrap_or("the core refused, and did not say why");
    detail.lines().map(admin::printable).collect::<Vec<_>>().join("\n")
}

pub(crate) fn text(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let most = CONFIG_TEXT_BYTES_MAX as u64 + 1;
    let read = if file == Path::new("-") {
        std::io::stdin().take(most).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(most).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::new(format!("cannot read {}: {error}", file.display())))?;
    Ok(text)
}

fn show_what_holds(origin: bool, common: &AtCore) -> Result<(), Failure> {
    let core = Core::of(common.config.as_deref())?;
    if origin {
        let all = core.get("/origins")?;
        let rows =
            list(&all, "settings").map(|one| [cell(one.get("path")), cell(one.get("value")), cell(one.get("origin"))]);
        let rows: Vec<_> = rows.map(Vec::from).collect();
        match common.output {
            Format::Json => say!("{all:#}"),
            Format::Table => table(&["setting", "value", "written in"], &rows),
        }
        return Ok(());
    }
    let now = core.get("")?;
    match common.output {
        Format::Json => say!("{now:#}"),
        Format::Table => {
            let of = |name: &str| cell(now.get(name));
            show!("# revision {} ({})\n", of("revision"), of("source"));
            for (name, words) in [("waiting", "waits for its confirmation"), ("restart", "after a restart")] {
                match now.get(name) {
                    Some(Value::Array(all)) if !all.is_empty() => say!("# {words}: {}", cell(now.get(name))),
                    Some(Value::Object(_)) => say!("# {words}"),
                    _ => {}
                }
            }
            let document = now.get("document").and_then(Value::as_str).unwrap_or_default();
            document.lines().for_each(|line| say!("{}", admin::printable(line)));
        }
    }
    Ok(())
}

fn differences(what: &[String], common: &AtCore) -> Result<(), Failure> {
    let core = Core::of(common.config.as_deref())?;
    let number = |text: &String| text.parse::<u64>().ok();
    let newest = || -> Result<u64, Failure> { Ok(core.get("")?.get("revision").and_then(Value::as_u64).unwrap_or(0)) };
    let (from, to) = match what {
        [] => {
            let newest = newest()?;
            if newest < 2 {
                return Err(Failure::new("there is one revision only"));
            }
            (newest - 1, newest)
        }
        [one] => match number(one) {
            Some(from) => (from, newest()?),
            None => {
                let planned = core.post("plan", &json!({ "document": text(Path::new(one))? }))?;
                told(&planned, common.output);
                return Ok(());
            }
        },
        [one, other] => match (number(one), number(other)) {
            (Some(from), Some(to)) => (from, to),
            _ => return Err(Failure(2, "two revisions, as numbers, or one file".to_owned())),
        },
        _ => return Err(Failure(2, "at most two revisions".to_owned())),
    };
    let difference = core.get(&format!("/diff?from={from}&to={to}"))?;
    match common.output {
        Format::Json => say!("{difference:#}"),
        Format::Table => {
            let mut count = 0;
            for change in list(&difference, "changes") {
                show!("{}", lines(change));
                count += 1;
            }
            if count == 0 {
                say!("nothing differs between revisions {from} and {to}");
            }
        }
    }
    Ok(())
}

fn apply(file: &Path, how: &How, common: &AtCore) -> Result<(), Failure> {
    let core = Core::of(common.config.as_deref())?;
    let document = text(file)?;
    if how.dry_run {
        let planned = core.post("plan", &json!({ "document": document }))?;
        told(&planned, common.output);
        return Ok(());
    }
    let revision = core.revision()?;
    let confirm = how.confirm.map(|time| time.as_secs());
    let order = json!({ "document": document, "comment": how.comment, "confirm_s": confirm });
    let done = core.ask("PUT", "", revision, Some(&order))?;
    told(&serde_json::from_str(&done).map_err(Failure::new)?, common.output);
    Ok(())
}

fn history(limit: u16, common: &AtCore) -> Result<(), Failure> {
    let page = Core::of(common.config.as_deref())?.get(&format!("/revisions?limit={limit}"))?;
    match common.output {
        Format::Json => say!("{page:#}"),
        Format::Table => {
            let row = |one: &Value| {
                let at = rfc3339(one.get("at_ms").and_then(Value::as_u64).unwrap_or(0));
                let of = |name: &str| cell(one.get(name));
                vec![of("revision"), at.get(..19).unwrap_or_default().replace('T', " "), of("author"), of("comment")]
            };
            let rows: Vec<_> = list(&page, "revisions").map(row).collect();
            table(&["revision", "when (UTC)", "who", "why"], &rows);
        }
    }
    Ok(())
}

fn confirm(revision: Option<u64>, common: &AtCore) -> Result<(), Failure> {
    let core = Core::of(common.config.as_deref())?;
    let waiting = || -> Result<u64, Failure> {
        let waits = core.get("")?.pointer("/waiting/revision").and_then(Value::as_u64);
        waits.ok_or_else(|| Failure::new("no revision waits for a confirmation"))
    };
    let revision = match revision {
        Some(revision) => revision,
        None => waiting()?,
    };
    let now = core.post("confirm", &json!({ "revision": revision }))?;
    match common.output {
        Format::Json => say!("{now:#}"),
        Format::Table => say!("revision {revision} stays"),
    }
    Ok(())
}

fn table(heads: &[&str], rows: &[Vec<String>]) {
    let mut text = String::new();
    grid(&mut text, heads, rows, &[]);
    show!("{text}");
}

/// What a plan says, or what was done.
pub(crate) fn told(answer: &Value, output: Format) {
    if matches!(output, Format::Json) {
        return say!("{answer:#}");
    }
    let steps: Vec<_> = list(answer, "steps").collect();
    for step in &steps {
        show!("{}", lines(step));
        say!("    a change takes: {}", cell(step.get("words")));
    }
    let revision = cell(answer.get("revision"));
    let is_plan = answer.get("document").is_some() || answer.get("done") == Some(&Value::Bool(false));
    match (steps.is_empty(), is_plan) {
        (true, _) => say!("nothing changes: revision {revision} holds"),
        (false, true) => say!("nothing was changed: this is what it would do to revision {revision}"),
        (false, false) => say!("revision {revision} holds"),
    }
    if let Some(waiting) = answer.get("waiting").filter(|waiting| waiting.is_object()) {
        let back = cell(waiting.get("back_to"));
        say!("without `edgeway config confirm` revision {back} comes back by itself");
    }
}

fn lines(change: &Value) -> String {
    let side = |sign: &str, name: &str| match change.get(name).and_then(Value::as_str) {
        Some(text) => format!("  {sign} {}\n", admin::printable(text)),
        None => String::new(),
    };
    format!("{}\n{}{}", cell(change.get("path")), side("-", "before"), side("+", "after"))
}

fn list<'a>(answer: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    answer.get(name).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_shown_as_what_goes_and_what_comes() {
        let change = json!({ "path": "domains", "before": "[\"a\"]", "after": "[\"a\", \"b\\u{1b}\"]" });
        assert_eq!(lines(&change), "domains\n  - [\"a\"]\n  + [\"a\", \"b\\u{1b}\"]\n");
        assert_eq!(
            lines(&json!({ "path": "log.level", "before": null, "after": "\"debug\"" })),
            "log.level\n  + \"debug\"\n"
        );
    }

    #[test]
    fn a_refusal_keeps_its_lines_and_plays_with_no_terminal() {
        let answer = json!({ "detail": "line 1: domains: bad\u{1b}[2J.\nline 2: too" }).to_string();
        assert_eq!(refusal(&answer).lines().count(), 2);
        assert!(!refusal(&answer).contains('\u{1b}'));
        assert!(refusal("no JSON").contains("did not say why"));
    }
}
