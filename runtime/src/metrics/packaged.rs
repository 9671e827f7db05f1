//! The dashboard and the alerts in `packaging` speak of what a node shows, and of nothing else.

use std::collections::BTreeSet;

use edgeway_model::alarm::Severity;
use edgeway_model::notice::DropReason;
use serde_json::Value;

use super::{FAMILIES, Family};

const DASHBOARD: &str = include_str!("../../../packaging/grafana/edgeway.json");
const ALERTS: &str = include_str!("../../../packaging/prometheus/edgeway.rules.yml");

/// What is no metric in an expression.
const WORDS: [&str; 13] = [
    "abs",
    "and",
    "by",
    "count",
    "histogram_quantile",
    "increase",
    "label_values",
    "max",
    "max_over_time",
    "or",
    "rate",
    "sum",
    "unless",
];
/// What a histogram is shown as.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];
/// What Prometheus puts on every series.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];
/// What it makes itself of every node it asks.
const UP: Family = Family { name: "up", kind: "gauge", labels: &[], help: "" };

/// What an expression asks for.
#[derive(Default)]
struct Asked {
    families: Vec<Family>,
    /// Labels of its result.
    labels: BTreeSet<String>,
}

/// Reads an expression; whatever it names must exist.
fn read(expression: &str) -> Result<Asked, String> {
    let mut asked = Asked::default();
    let mut grouped = None;
    let mut rest = expression;
    while let Some(at) = rest.find(|char: char| char.is_ascii_alphabetic() || "_[\"$".contains(char)) {
        rest = &rest[at..];
        // Ranges and texts name nothing.
        let closing = [("[", ']'), ("\"", '"')].into_iter().find(|(open, _)| rest.starts_with(open));
        if let Some((_, close)) = closing {
            let end = rest[1..].find(close).ok_or_else(|| format!("{close} is missing in {expression}"))?;
            rest = &rest[end + 2..];
            continue;
        }
        let end = rest.find(|char: char| !char.is_ascii_alphanumeric() && !"_$".contains(char)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        if word == "by" {
            let (list, after) = parenthesis(after)?;
            grouped = Some(list.split(',').map(|label| label.trim().to_owned()).collect::<BTreeSet<_>>());
            rest = after;
        } else if word == "label_values" {
            let (list, _) = parenthesis(after)?;
            let (metric, label) = list.split_once(',').ok_or("label_values wants two")?;
            asked = read(metric)?;
            return if asked.labels.contains(label.trim()) { Ok(asked) } else { Err(format!("no {label}")) };
        } else if !WORDS.contains(&word) {
            let of = |family: &&Family| match family.kind {
                "histogram" => word.strip_prefix(family.name).is_some_and(|part| PARTS.contains(&part)),
                _ => family.name == word,
            };
            let family = FAMILIES.iter().chain([&UP]).find(of);
            let family = *family.ok_or_else(|| format!("there is no metric {word}: {expression}"))?;
            if let Some(inner) = after.strip_prefix('{') {
                let (matchers, after) = inner.split_once('}').ok_or("a brace is open")?;
                matchers.split(',').try_for_each(|matcher| check_matcher(family, matcher))?;
                rest = after;
            }
            let counted = family.kind != "gauge";
            let over_time = ["rate(", "increase("].iter().any(|function| expression.contains(function));
            let begins_anew = family.name == "edgeway_tunnel_unknown_frames_total";
            if counted != over_time && !begins_anew {
                return Err(format!("{word} is a {}: {expression}", family.kind));
            }
            asked.families.push(family);
            asked.labels.extend(labels_of(family).map(str::to_owned));
            asked.labels.extend(word.ends_with(PARTS[0]).then(|| "le".to_owned()));
        }
    }
    if let Some(grouped) = grouped {
        if !grouped.is_subset(&asked.labels) {
            return Err(format!("it groups by a label that is not there: {expression}"));
        }
        asked.labels = grouped;
    }
    if asked.families.is_empty() { Err(format!("it asks for nothing: {expression}")) } else { Ok(asked) }
}

fn parenthesis(text: &str) -> Result<(&str, &str), String> {
    let inner = text.trim_start().strip_prefix('(').ok_or("a parenthesis is missing")?;
    Ok(inner.split_once(')').ok_or("a parenthesis is open")?)
}

fn labels_of(family: Family) -> impl Iterator<Item = &'static str> {
    OF_PROMETHEUS.into_iter().chain(family.labels.iter().copied())
}

/// `label="value"`, `label=~"one|another"`: the label must be one of the metric's, and its values must be possible.
fn check_matcher(family: Family, matcher: &str) -> Result<(), String> {
    let (label, value) = matcher.split_once('=').ok_or_else(|| format!("{matcher} matches nothing"))?;
    let label = label.trim_end_matches('!').trim();
    if !labels_of(family).any(|known| known == label) {
        return Err(format!("{} has no label {label}", family.name));
    }
    let known: Vec<&str> = match label {
        "reason" if family.name == "edgeway_drops_total" => {
            DropReason::ALL.iter().map(|reason| reason.label()).collect()
        }
        "severity" => [Severity::Warning, Severity::Error, Severity::Critical].map(Severity::as_str).to_vec(),
        _ => return Ok(()),
    };
    let values = value.trim_start_matches('~').trim_matches('"');
    match values.split('|').find(|value| !known.contains(value)) {
        Some(unknown) => Err(format!("{label} is never {unknown}")),
        None => Ok(()),
    }
}

/// The labels that a text for people puts in.
fn put_in<'t>(text: &'t str, prefix: &str) -> Vec<&'t str> {
    let inner = text.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.trim()));
    inner.filter(|name| *name != "$value").map(|name| name.strip_prefix(prefix).unwrap_or(name)).collect()
}

#[test]
fn the_dashboard_shows_every_metric_and_none_that_is_not_there() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let (mut shown, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for panel in list(&dashboard, "panels") {
        assert!(ids.insert(panel["id"].as_u64()), "an id is used twice: {}", panel["title"]);
        let targets = list(&panel, "targets");
        assert_eq!(targets.is_empty(), panel["type"] == "row", "{}", panel["title"]);
        for target in targets {
            let asked = read(target["expr"].as_str().expect("an expression")).unwrap();
            for label in put_in(target["legendFormat"].as_str().expect("a legend"), "") {
                assert!(asked.labels.contains(label), "{}: there is no {label} to show", panel["title"]);
            }
            shown.extend(asked.families.iter().map(|family| family.name));
        }
    }
    let all: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(shown, all);
    let variables = list(&dashboard["templating"], "list");
    let queries: Vec<_> = variables.iter().filter(|one| one["type"] == "query").collect();
    assert!(!queries.is_empty());
    for variable in queries {
        read(variable["query"].as_str().expect("a query")).unwrap();
    }
}

/// One rule of the file, which is written in the plainest YAML: two spaces for each level, texts in double quotes.
#[derive(Default)]
struct Rule<'t> {
    name: &'t str,
    expression: String,
    severity: &'t str,
    summary: &'t str,
    action: &'t str,
}

fn rules() -> Vec<Rule<'static>> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut folded = false;
    for line in ALERTS.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let text = line.trim();
        if let Some(name) = text.strip_prefix("- alert: ") {
            rules.push(Rule { name, ..Rule::default() });
        }
        let Some(rule) = rules.last_mut() else { continue };
        folded = folded && line.starts_with("          ");
        let quoted = |rest: &'static str| rest.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).expect(rest);
        if folded {
            rule.expression.push_str(text);
            rule.expression.push(' ');
        } else if let Some(rest) = text.strip_prefix("expr: ") {
            folded = rest == ">-";
            rule.expression = if folded { String::new() } else { rest.to_owned() };
        } else if let Some(rest) = text.strip_prefix("severity: ") {
            rule.severity = rest;
        } else if let Some(rest) = text.strip_prefix("summary: ") {
            rule.summary = quoted(rest);
        } else if let Some(rest) = text.strip_prefix("action: ") {
            rule.action = quoted(rest);
        }
    }
    rules
}

#[test]
fn every_alert_asks_for_what_is_there_and_says_what_to_do() {
    let rules = rules();
    assert_eq!(rules.len(), ALERTS.matches("alert:").count());
    assert!(!rules.is_empty() && !ALERTS.contains('\t'));
    let names: BTreeSet<_> = rules.iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), rules.len(), "two alerts have one name");
    for rule in &rules {
        let asked = read(&rule.expression).unwrap();
        assert!(["warning", "critical"].contains(&rule.severity), "{}", rule.name);
        for text in [rule.summary, rule.action] {
            assert!(text.len() > 20 && text.ends_with(['.', '?']), "{}: {text:?} says nothing", rule.name);
            for label in put_in(text, "$labels.") {
                assert!(asked.labels.contains(label), "{}: there is no {label} to show", rule.name);
            }
        }
    }
    let manual = include_str!("../../../docs/manual/observability.md");
    for name in names {
        assert!(manual.contains(&format!("| `{name}` |")), "{name} is missing in docs/manual/observability.md");
    }
}

#[test]
fn what_is_not_there_is_found() {
    for (expression, good) in [
        ("edgeway_calls > 3", true),
        ("max by (instance) (edgeway_tunnel_up{peer!=\"x\"}) == 0", true),
        ("rate(edgeway_drops_total{reason=\"overload\"}[5m])", true),
        ("label_values(edgeway_up, instance)", true),
        ("sum by (le) (rate(edgeway_request_duration_seconds_bucket[5m]))", true),
        ("sum by (le) (rate(edgeway_request_duration_seconds_sum[5m]))", false),
        ("rate(edgeway_request_duration_seconds[5m])", false),
        ("edgeway_call > 3", false),
        ("avg(edgeway_calls)", false),
        ("edgeway_calls{peer=\"x\"}", false),
        ("edgeway_drops_total{reason=\"overload\"}", false),
        ("rate(edgeway_calls[5m])", false),
        ("rate(edgeway_drops_total{reason=\"overlode\"}[5m])", false),
        ("edgeway_alarms{severity=~\"error|bad\"}", false),
        ("max by (peer) (edgeway_calls)", false),
        ("label_values(edgeway_up, peer)", false),
        ("1 == 1", false),
    ] {
        assert_eq!(read(expression).is_ok(), good, "{expression}");
    }
}
