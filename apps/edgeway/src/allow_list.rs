//! `edgeway allow-list`: the HTTP server allow list, as files and as it is in force.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use edgeway_config::DEFAULT_METHODS;
use edgeway_model::sign_in::{Deployment, UserName};
use edgeway_policy::allow_list::{
    AllowList, Case, Holder, MatchType, Outcome, Problem, Rule, RulesContext, read_cases, read_rules, run_cases,
    write_rules,
};
use edgeway_policy::limits::ALLOW_TESTS_AT_ONCE_MAX;
use edgeway_runtime::admin::{cell, grid};
use serde_json::{Value, json};

use crate::Format;
use crate::commands::{At, AtCore, Failure, How, finish, read};
use crate::config::{self, Core};
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
    /// Whether URLs would be let through, and by which rule: asks a running core, or with --rules a file of rules.
    #[command(
        after_help = "A tests file begins with Url,ExpectedResult,Deployment,Description,HttpMethod.\n\nExamples:\n  \
                      edgeway allow-list test https://files.example.com/updates/a.zip\n  \
                      edgeway allow-list test https://files.example.com/x --method PUT --user alice\n  \
                      edgeway allow-list test --tests tests.csv\n  \
                      edgeway allow-list test --rules rules.csv --tests tests.csv --user alice -o json"
    )]
    Test(TestWish),
    /// The rules in force at a running core, and where each is from: automatic, the file, or the configuration.
    #[command(
        alias = "show",
        after_help = "Examples:\n  edgeway allow-list list\n  edgeway allow-list list --origin configuration -o json"
    )]
    List {
        /// Only rules from there.
        #[arg(long, value_enum)]
        origin: Option<FromWhere>,
        #[command(flatten)]
        common: AtCore,
    },
    /// Adds a rule to the configuration: it holds from the next request on.
    #[command(after_help = "Examples:\n  edgeway allow-list add https://files.example.com:8443/updates\n  \
                      edgeway allow-list add http://photos.example.com --method GET --name photos --description Photos\n  \
                      edgeway allow-list add https://files.example.com/one.zip --match exact --dry-run")]
    Add {
        /// Protocol, host, port and path, as in `https://files.example.com:8443/updates`.
        url: String,
        /// What tells it from the others; without it, one is made of its host.
        #[arg(long)]
        name: Option<String>,
        /// The deployment whose users it is for; without it, the default one.
        #[arg(long)]
        deployment: Option<String>,
        /// Whether it is about that path alone, or about whatever begins with it.
        #[arg(long = "match", value_enum, default_value_t = Match::Prefix)]
        match_type: Match,
        /// A method it lets through; may be given several times. Without it, those of `http.default_methods`.
        #[arg(long)]
        method: Vec<String>,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        common: AtCore,
    },
    /// Removes a rule from the configuration.
    #[command(
        after_help = "Examples:\n  edgeway allow-list remove photos\n  edgeway allow-list remove photos --dry-run"
    )]
    Remove {
        /// Its name, as `edgeway allow-list list` shows it.
        name: String,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        common: AtCore,
    },
    /// Takes the rules of a CSV file into the configuration. `-` is standard input.
    #[command(after_help = "The first line is Url,Deployment,HttpMethods,MatchType,Description.\n\nExamples:\n  \
                      edgeway allow-list import rules.csv --dry-run\n  \
                      edgeway allow-list import rules.csv --replace --confirm 5m")]
    Import {
        /// The file of rules.
        file: PathBuf,
        /// Rules of the configuration that the file does not have go.
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        common: AtCore,
    },
    /// Prints rules of a running core as a CSV file: those that somebody wrote, or those of one origin.
    #[command(
        after_help = "Examples:\n  edgeway allow-list export > rules.csv\n  edgeway allow-list export --origin automatic"
    )]
    Export {
        /// Only rules from there.
        #[arg(long, value_enum)]
        origin: Option<FromWhere>,
        /// The core's settings file; without it, the core of this machine.
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

/// What is tested, and how.
#[derive(Debug, Args)]
pub(crate) struct TestWish {
    /// URLs as a client would ask for them.
    #[arg(required_unless_present = "tests", conflicts_with = "tests")]
    url: Vec<String>,
    /// A file of tests, each with what is expected of it.
    #[arg(long)]
    tests: Option<PathBuf>,
    /// A file of rules that is asked; without it, a running core.
    #[arg(long, conflicts_with = "config")]
    rules: Option<PathBuf>,
    /// How the URLs are asked for.
    #[arg(long, default_value = "GET")]
    method: String,
    /// Who asks: for paths that hold the user's own name.
    #[arg(long)]
    user: Option<String>,
    /// A device of that user, for paths that hold its name; may be given several times.
    #[arg(long)]
    device: Vec<String>,
    /// Whose users ask for the URLs. With --rules: a deployment there is; may be given several times there, and without it
    /// any name is taken.
    #[arg(long)]
    deployment: Vec<String>,
    #[command(flatten)]
    common: AtCore,
}

/// Where rules are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FromWhere {
    /// Made by discovery.
    Automatic,
    /// The file that `http.allow_list` names.
    File,
    /// The configuration.
    Configuration,
}

impl FromWhere {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::File => "file",
            Self::Configuration => "configuration",
        }
    }
}

/// How a rule's path is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Match {
    /// The whole path.
    Exact,
    /// Its beginning, at whole segments.
    Prefix,
}

pub(crate) fn run(command: &AllowListCommand) -> ExitCode {
    finish(match command {
        AllowListCommand::Check { file, deployment } => check(file, deployment),
        AllowListCommand::Test(wish) => {
            return match test(wish) {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::FAILURE,
                Err(failure) => finish(Err(failure)),
            };
        }
        AllowListCommand::List { origin, common } => list(*origin, common),
        AllowListCommand::Add { url, name, deployment, match_type, method, description, how, common } => {
            let matched = match match_type {
                Match::Exact => "exact",
                Match::Prefix => "prefix",
            };
            let rule = json!({
                "name": name, "url": url, "deployment": deployment, "match_type": matched, "methods": method,
                "description": description,
            });
            change("POST", "rules", how, common, Some(&rule))
        }
        AllowListCommand::Remove { name, how, common } => {
            change("DELETE", &format!("rules/{}", encoded(name)), how, common, None)
        }
        AllowListCommand::Import { file, replace, how, common } => config::text(file)
            .and_then(|csv| change("POST", "upload", how, common, Some(&json!({ "csv": csv, "replace": replace })))),
        AllowListCommand::Export { origin, config } => export(*origin, config.as_deref()),
    })
}

/// Changes the rules of the configuration, or says what would change.
fn change(method: &str, path: &str, how: &How, common: &AtCore, body: Option<&Value>) -> Result<(), Failure> {
    let core = Core::of(common.config.as_deref())?;
    let mut path = format!("/api/v1/allow-list/{path}?dry_run={}", how.dry_run);
    if !how.comment.is_empty() {
        let _ = write!(path, "&comment={}", encoded(&how.comment));
    }
    if let Some(confirm) = how.confirm {
        let _ = write!(path, "&confirm_s={}", confirm.as_secs());
    }
    let answer = core.api(method, &path, core.revision()?, body)?;
    config::told(&serde_json::from_str(&answer).map_err(Failure::new)?, common.output);
    Ok(())
}

/// As a part of a URL (RFC 3986 §2).
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            // Writing into a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

fn check(file: &Path, deployments: &[String]) -> Result<(), Failure> {
    let rules = rules_of(file, &known(deployments)?)?;
    say!("{}: {} good rules", file.display(), rules.len());
    Ok(())
}

fn test(wish: &TestWish) -> Result<bool, Failure> {
    match &wish.rules {
        Some(rules) => test_file(wish, rules),
        None => test_in_force(wish),
    }
}

/// Asks a file of rules.
fn test_file(wish: &TestWish, rules: &Path) -> Result<bool, Failure> {
    let deployments = known(&wish.deployment)?;
    let user = wish.user.as_ref().map(|name| UserName::new(name).ok_or_else(no_user)).transpose()?;
    let list = AllowList::new(rules_of(rules, &deployments)?).map_err(Failure::configuration)?;
    let cases = cases(wish, &deployments)?;
    let outcomes = run_cases(&list, &cases, Holder { user: user.as_ref(), devices: &wish.device });
    let has_expectations = wish.tests.is_some();
    let results = outcomes.iter().map(|outcome| Verdict {
        case: outcome.case,
        allowed: outcome.verdict.is_ok(),
        reason: outcome.verdict.err().map(|denial| denial.label().to_owned()),
        words: why(outcome),
        rule: outcome.verdict.ok().map(str::to_owned),
        origin: None,
    });
    Ok(tell(&results.collect::<Vec<_>>(), has_expectations, wish.common.output))
}

/// Asks a running core, some at once.
fn test_in_force(wish: &TestWish) -> Result<bool, Failure> {
    let deployments = if wish.tests.is_some() { known(&wish.deployment)? } else { Vec::new() };
    let cases = cases(wish, &deployments)?;
    let core = At { config: wish.common.config.clone(), node: None };
    let mut results = Vec::with_capacity(cases.len());
    for some in cases.chunks(ALLOW_TESTS_AT_ONCE_MAX) {
        let test =
            |case: &Case| json!({ "url": case.url, "method": case.method, "deployment": case.deployment.as_str() });
        let tests: Vec<_> = some.iter().map(test).collect();
        let question = json!({ "tests": tests, "user": wish.user, "devices": wish.device });
        let answer = core.ask("allow-list/test", &question)?;
        let said = answer.get("results").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if said.len() != some.len() {
            return Err(Failure::new("the core has not answered every question: is it of another version?"));
        }
        results.extend(some.iter().zip(said).map(|(case, said)| of_core(case, said)));
    }
    Ok(tell(&results, wish.tests.is_some(), wish.common.output))
}

fn of_core<'a>(case: &'a Case, said: &Value) -> Verdict<'a> {
    let allowed = said.get("allowed").and_then(Value::as_bool).unwrap_or(false);
    let rule = said.get("rule").filter(|rule| rule.is_object());
    let words = match rule {
        Some(rule) => {
            let name = rule.get("name").and_then(Value::as_str).map(|name| format!(" {name}")).unwrap_or_default();
            format!("{}{name}: {} {}", text(rule, "origin"), text(rule, "url"), text(rule, "description"))
        }
        None => text(said, "why").to_owned(),
    };
    Verdict {
        case,
        allowed,
        reason: said.get("reason").and_then(Value::as_str).map(str::to_owned),
        words: words.trim_end().to_owned(),
        rule: rule.map(|rule| text(rule, "description").to_owned()),
        origin: rule.map(|rule| text(rule, "origin").to_owned()),
    }
}

fn no_user() -> Failure {
    Failure(2, "--user is no name of a user".into())
}

/// Those of the file, or the URLs that were named.
fn cases(wish: &TestWish, deployments: &[Deployment]) -> Result<Vec<Case>, Failure> {
    if let Some(tests) = &wish.tests {
        return read_cases(&read(tests)?, deployments).map_err(|problems| all_of(tests, &problems));
    }
    let named = known(&wish.deployment)?;
    let deployment = named.first().cloned().unwrap_or_else(Deployment::default_one);
    let case = |url: &String| Case {
        url: url.clone(),
        allow: true,
        deployment: deployment.clone(),
        description: String::new(),
        method: wish.method.to_ascii_uppercase(),
    };
    Ok(wish.url.iter().map(case).collect())
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

fn in_force(origin: Option<FromWhere>, config: Option<&Path>) -> Result<Value, Failure> {
    let core = At { config: config.map(Path::to_owned), node: None };
    let mut answer = core.ask("allow-list", &Value::Null)?;
    if let (Some(origin), Some(rules)) = (origin, answer.get_mut("rules").and_then(Value::as_array_mut)) {
        rules.retain(|rule| text(rule, "origin") == origin.as_str());
    }
    Ok(answer)
}

fn rules_in(answer: &Value) -> &[Value] {
    answer.get("rules").and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
}

fn list(origin: Option<FromWhere>, common: &AtCore) -> Result<(), Failure> {
    let answer = in_force(origin, common.config.as_deref())?;
    match common.output {
        Format::Json => say!("{answer:#}"),
        Format::Table => show!("{}", rules_table(rules_in(&answer))),
    }
    Ok(())
}

fn export(origin: Option<FromWhere>, config: Option<&Path>) -> Result<(), Failure> {
    let answer = in_force(origin, config)?;
    let wanted = |rule: &&Value| origin.is_some() || text(rule, "origin") != FromWhere::Automatic.as_str();
    let rules: Vec<_> = rules_in(&answer).iter().filter(wanted).collect();
    show!("{}", write_rules(&read_shown(&rules)?));
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
    let row = |rule: &Value| {
        let cell = |key: &str| cell(rule.get(key));
        let methods = methods(rule).join(",");
        vec![
            cell("origin"),
            cell("name"),
            cell("deployment"),
            cell("match_type"),
            cell("url"),
            methods,
            cell("description"),
        ]
    };
    let rows: Vec<_> = rules.iter().map(row).collect();
    let mut table = String::new();
    grid(&mut table, &["from", "name", "deployment", "match", "URL", "methods", "description"], &rows, &[]);
    let _ = writeln!(table, "{} rules", rules.len());
    table
}

/// What a core shows, as rules again.
fn read_shown(rules: &[&Value]) -> Result<Vec<Rule>, Failure> {
    let one = |rule: &&Value| {
        let match_type = if text(rule, "match_type") == "exact" { MatchType::Exact } else { MatchType::Prefix };
        let deployment = Deployment::new(text(rule, "deployment"))?;
        let rule = Rule::of_url(text(rule, "url"), deployment, match_type, methods(rule), text(rule, "description"));
        rule.ok()
    };
    let read = rules.iter().map(one).collect::<Option<Vec<_>>>();
    read.ok_or_else(|| Failure::new("the core shows rules that this tool cannot read: is it of another version?"))
}

/// What came of one test.
struct Verdict<'a> {
    case: &'a Case,
    allowed: bool,
    /// Why not, as a word.
    reason: Option<String>,
    /// By which rule, or why not.
    words: String,
    /// The description of the rule.
    rule: Option<String>,
    origin: Option<String>,
}

impl Verdict<'_> {
    const fn is_expected(&self) -> bool {
        self.case.allow == self.allowed
    }
}

/// Prints them; whether all are as expected, or where nothing particular is, let through.
fn tell(all: &[Verdict<'_>], has_expectations: bool, output: Format) -> bool {
    match output {
        Format::Table => show!("{}", table(all, has_expectations)),
        Format::Json => say!("{}", Value::Array(all.iter().map(as_json).collect())),
    }
    all.iter().all(Verdict::is_expected)
}

/// One line for each test, and what came of all of them.
fn table(all: &[Verdict<'_>], has_expectations: bool) -> String {
    let shown = |case: &Case| case.url.escape_debug().to_string();
    let row = |one: &Verdict<'_>| {
        let result = if one.is_expected() { "pass" } else { "FAIL" };
        let mut row =
            if has_expectations { vec![result.to_owned(), word(one.case.allow).to_owned()] } else { Vec::new() };
        let words = edgeway_runtime::admin::printable(&one.words);
        row.extend([word(one.allowed).to_owned(), one.case.method.clone(), shown(one.case), words]);
        row
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    let heads: &[&str] = if has_expectations { &["result", "expected", "actual"] } else { &["result"] };
    let heads: Vec<&str> = heads.iter().copied().chain(["method", "URL", "why"]).collect();
    let mut text = String::new();
    grid(&mut text, &heads, &rows, &[]);
    if has_expectations {
        let failed = all.iter().filter(|one| !one.is_expected()).count();
        let _ = writeln!(text, "{} passed, {failed} failed", all.len() - failed);
    }
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

fn as_json(one: &Verdict<'_>) -> Value {
    let case = one.case;
    json!({
        "url": case.url,
        "method": case.method,
        "deployment": case.deployment.as_str(),
        "description": case.description,
        "expected": word(case.allow),
        "actual": word(one.allowed),
        "passed": one.is_expected(),
        "reason": one.reason,
        "rule": one.rule,
        "origin": one.origin,
        "why": one.words,
    })
}
