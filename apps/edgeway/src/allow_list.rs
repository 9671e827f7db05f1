//! `edgeway allow-list`: the HTTP server allow list, as files and as it is in force.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use edgeway_model::sign_in::{Deployment, UserName};
use edgeway_policy::allow_list::{
    AllowList, Case, Holder, MatchType, Outcome, Problem, Rule, RulesContext, read_cases, read_rules, run_cases,
    write_rules,
};
use serde_json::{Value, json};

use crate::Format;
use crate::commands::{Failure, ask, finish, read};
use crate::output::{say, show};

#[derive(Debug, Subcommand)]
pub(crate) enum AllowListCommand {
    /// Reports every problem of a file of rules at once.
    #[command(after_help = "The first line is Url,Deployment,HttpMethods,MatchType,Description.\n\nExamples:\n  \
                      edgeway allow-list check rules.csv\n  \
                      edgeway allow-list check rules.csv --deployment default --deployment staging")]
    Check {
        /// The file of rules.
        file: PathBuf,
        /// A deployment there is; may be given several times. Without it, any name is taken.
        #[arg(long)]
        deployment: Vec<String>,
    },
    /// Asks a file of rules for the URLs of a tests file, and compares the answers with what is expected.
    #[command(
        after_help = "The first line of the tests is Url,ExpectedResult,Deployment,Description,HttpMethod.\n\nExamples:\n  \
                      edgeway allow-list test rules.csv tests.csv\n  \
                      edgeway allow-list test rules.csv tests.csv --user alice --output json"
    )]
    Test {
        /// The file of rules.
        rules: PathBuf,
        /// The file of tests.
        tests: PathBuf,
        /// Who asks: for paths that hold the user's own name.
        #[arg(long)]
        user: Option<String>,
        /// A device of that user, for paths that hold its name; may be given several times.
        #[arg(long)]
        device: Vec<String>,
        /// A deployment there is; may be given several times. Without it, any name is taken.
        #[arg(long)]
        deployment: Vec<String>,
        /// How to print it.
        #[arg(long, short, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// The rules in force at a running core: the automatic ones of its UC servers, and those of `http.allow_list`.
    #[command(
        after_help = "Examples:\n  edgeway allow-list show\n  edgeway allow-list show --config ./core.toml --output csv"
    )]
    Show {
        /// The core's settings file.
        #[arg(long, default_value = "/etc/edgeway/core.toml")]
        config: PathBuf,
        /// How to print them.
        #[arg(long, short, value_enum, default_value_t = RulesFormat::Table)]
        output: RulesFormat,
    },
}

/// How rules are printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RulesFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// As a file of rules, which `check` and `http.allow_list` take.
    Csv,
}

pub(crate) fn run(command: &AllowListCommand) -> ExitCode {
    match command {
        AllowListCommand::Check { file, deployment } => finish(check(file, deployment)),
        AllowListCommand::Test { rules, tests, user, device, deployment, output } => {
            match test(rules, tests, user.as_deref(), device, deployment, *output) {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::FAILURE,
                Err(failure) => finish(Err(failure)),
            }
        }
        AllowListCommand::Show { config, output } => finish(show(config, *output)),
    }
}

fn check(file: &Path, deployments: &[String]) -> Result<(), Failure> {
    let rules = rules_of(file, &known(deployments)?)?;
    say!("{}: {} good rules", file.display(), rules.len());
    Ok(())
}

fn test(
    rules: &Path,
    tests: &Path,
    user: Option<&str>,
    devices: &[String],
    deployments: &[String],
    output: Format,
) -> Result<bool, Failure> {
    let deployments = known(deployments)?;
    let user = user.map(|name| UserName::new(name).ok_or_else(|| Failure(2, "--user is no name of a user".into())));
    let user = user.transpose()?;
    let list = AllowList::new(rules_of(rules, &deployments)?).map_err(Failure::configuration)?;
    let cases = read_cases(&read(tests)?, &deployments).map_err(|problems| all_of(tests, &problems))?;
    let outcomes = run_cases(&list, &cases, Holder { user: user.as_ref(), devices });
    match output {
        Format::Table => show!("{}", table(&outcomes)),
        Format::Json => say!("{}", Value::Array(outcomes.iter().map(as_json).collect())),
    }
    Ok(outcomes.iter().all(Outcome::is_expected))
}

fn rules_of(file: &Path, deployments: &[Deployment]) -> Result<Vec<Rule>, Failure> {
    let default_methods = DEFAULT_METHODS.map(str::to_owned);
    let context = RulesContext { deployments, default_methods: &default_methods };
    read_rules(&read(file)?, context).map_err(|problems| all_of(file, &problems))
}

fn known(deployments: &[String]) -> Result<Vec<Deployment>, Failure> {
    let named = |name: &String| {
        Deployment::new(name).ok_or_else(|| Failure(2, format!("--deployment {name:?}: letters, digits and . _ -")))
    };
    deployments.iter().map(named).collect()
}

fn all_of(file: &Path, problems: &[Problem]) -> Failure {
    let lines: Vec<String> = problems.iter().map(|problem| format!("{}: {problem}", file.display())).collect();
    Failure::configuration(lines.join("\n"))
}

fn show(config: &Path, output: RulesFormat) -> Result<(), Failure> {
    let answer = ask(config, "allow-list", &Value::Null)?;
    let rules = answer.get("rules").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    match output {
        RulesFormat::Json => say!("{answer:#}"),
        RulesFormat::Table => show!("{}", rules_table(rules)),
        RulesFormat::Csv => show!("{}", write_rules(&read_shown(rules)?)),
    }
    Ok(())
}

fn text<'a>(rule: &'a Value, key: &str) -> &'a str {
    rule.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn methods(rule: &Value) -> Vec<String> {
    let methods = rule.get("methods").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    methods.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// One line for each rule in force.
fn rules_table(rules: &[Value]) -> String {
    let wide = |key: &str| rules.iter().map(|rule| text(rule, key).chars().count()).max().unwrap_or(0);
    let (url, deployment) = (wide("url").clamp(3, 100), wide("deployment").max(10));
    let mut table = format!("{:9}  {:deployment$}  {:6}  {:url$}  METHODS\n", "KIND", "DEPLOYMENT", "MATCH", "URL");
    for rule in rules {
        let kind = if text(rule, "automatic").is_empty() { "editable" } else { "automatic" };
        let (of, matched, where_to) = (text(rule, "deployment"), text(rule, "match_type"), text(rule, "url"));
        // Writing into a String cannot fail.
        let _ =
            writeln!(table, "{kind:9}  {of:deployment$}  {matched:6}  {where_to:url$}  {}", methods(rule).join(","));
    }
    let _ = writeln!(table, "{} rules", rules.len());
    table
}

/// What a core shows, as rules again.
fn read_shown(rules: &[Value]) -> Result<Vec<Rule>, Failure> {
    let one = |rule: &Value| {
        let match_type = if text(rule, "match_type") == "exact" { MatchType::Exact } else { MatchType::Prefix };
        let deployment = Deployment::new(text(rule, "deployment"))?;
        let rule = Rule::of_url(text(rule, "url"), deployment, match_type, methods(rule), text(rule, "description"));
        rule.ok()
    };
    let read = rules.iter().map(one).collect::<Option<Vec<_>>>();
    read.ok_or_else(|| Failure::new("the core shows rules that this tool cannot read: is it of another version?"))
}

/// One line for each test, and what came of all of them.
fn table(outcomes: &[Outcome<'_>]) -> String {
    let shown = |case: &Case| case.url.escape_debug().to_string();
    let width = outcomes.iter().map(|outcome| shown(outcome.case).chars().count()).max().unwrap_or(3).clamp(3, 80);
    let mut text = format!("{:6}  {:8}  {:8}  {:7}  {:width$}  WHY\n", "RESULT", "EXPECTED", "ACTUAL", "METHOD", "URL");
    for outcome in outcomes {
        let (result, why) = (if outcome.is_expected() { "pass" } else { "FAIL" }, why(outcome));
        let (expected, actual) = (word(outcome.case.allow), word(outcome.verdict.is_ok()));
        let (method, url) = (&outcome.case.method, shown(outcome.case));
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{result:6}  {expected:8}  {actual:8}  {method:7}  {url:width$}  {why}");
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.is_expected()).count();
    let _ = writeln!(text, "{} passed, {failed} failed", outcomes.len() - failed);
    text
}

const fn word(allow: bool) -> &'static str {
    if allow { "allow" } else { "block" }
}

fn why(outcome: &Outcome<'_>) -> String {
    match outcome.verdict {
        Ok("") => "a rule without description".into(),
        Ok(description) => description.to_owned(),
        Err(denial) => denial.to_string(),
    }
}

fn as_json(outcome: &Outcome<'_>) -> Value {
    let case = outcome.case;
    json!({
        "url": case.url,
        "method": case.method,
        "deployment": case.deployment.as_str(),
        "description": case.description,
        "expected": word(case.allow),
        "actual": word(outcome.verdict.is_ok()),
        "passed": outcome.is_expected(),
        "reason": outcome.verdict.err().map(edgeway_policy::allow_list::Denial::label),
        "rule": outcome.verdict.ok(),
    })
}
