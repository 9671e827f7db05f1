//! *Configuration > Unified Communications > Configuration*: domains, deployments, and the *Advanced* section with the
//! names, units and defaults that operators of such systems know.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use edgeway_config::limits::{
    AUTHORIZATIONS_MAX, CREDENTIALS_INTERVAL_MAX, CREDENTIALS_INTERVAL_MIN, RATE_PERIOD_MAX, RATE_PERIOD_MIN,
};
use edgeway_config::{Preset, Role, known_settings};
use serde::Deserialize;
use serde_json::{Value, json};
use toml::Table;

use super::door::Administrator;
use super::layout::{CONFIGURATION, Frame, Wish};
use super::outcome::outcome;
use super::words::Said;
use super::{Pages, Viewer, page_with, plan};
use crate::configuration::{ChangeOrder, ProblemView};
use crate::domains::{self, Deployment, deployments};

#[derive(Template)]
#[template(path = "advanced.html")]
struct Advanced {
    f: Frame,
    administers: bool,
    csrf: String,
    revision: u64,
    switches: Vec<Switch>,
    numbers: Vec<Number>,
    deployments: Vec<Deployment>,
    domain: NewDomain,
    deployment: NewDeployment,
    /// Something that was sent cannot be used: which is said beside it, or here.
    refused: bool,
    problems: Vec<ProblemView>,
    outcome: Option<&'static str>,
}

/// On or Off.
struct Switch {
    key: &'static str,
    help: &'static str,
    name: &'static str,
    on: bool,
    preset: bool,
    wrong: Option<Said>,
}

impl Switch {
    const fn default_key(&self) -> &'static str {
        if self.preset { "advanced.on" } else { "advanced.off" }
    }
}

/// A number with its unit.
struct Number {
    key: &'static str,
    help: &'static str,
    name: &'static str,
    /// As it was typed, where it cannot be used.
    value: String,
    preset: u64,
    wrong: Option<Said>,
}

/// The form of a domain that is to be, as it was filled in.
#[derive(Default)]
struct NewDomain {
    domain: String,
    deployment: String,
    wrong: Option<Said>,
}

/// The form of a deployment.
#[derive(Default)]
struct NewDeployment {
    name: String,
    domain: String,
    wrong_name: Option<Said>,
    wrong_domain: Option<Said>,
}

/// A setting of the section.
struct Known {
    path: &'static str,
    name: &'static str,
    key: &'static str,
    help: &'static str,
    unit: Unit,
}

impl Known {
    /// The least and the most there may be, in its unit.
    fn range(&self) -> (u64, u64) {
        let (least, most) = match self.path {
            "sign_in.maximum_authorizations_per_period" => return (1, AUTHORIZATIONS_MAX.into()),
            "sign_in.rate_control_period" => (RATE_PERIOD_MIN, RATE_PERIOD_MAX),
            _ => (CREDENTIALS_INTERVAL_MIN, CREDENTIALS_INTERVAL_MAX),
        };
        (least.as_secs() / self.unit.seconds(), most.as_secs() / self.unit.seconds())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Switch,
    /// Written with a unit in the document, shown as a number of these.
    Minutes,
    Seconds,
    Count,
}

impl Unit {
    const fn seconds(self) -> u64 {
        match self {
            Self::Minutes => 60,
            Self::Seconds | Self::Count | Self::Switch => 1,
        }
    }
}

const fn known(path: &'static str, name: &'static str, key: &'static str, help: &'static str, unit: Unit) -> Known {
    Known { path, name, key, help, unit }
}

/// In the order of the vendor's page.
const KNOWN: [Known; 6] = [
    known("sip.path_headers", "path_headers", "advanced.path_headers", "advanced.path_headers_help", Unit::Switch),
    known(
        "sign_in.credentials_refresh_interval",
        "refresh_interval",
        "advanced.refresh_interval",
        "advanced.refresh_interval_help",
        Unit::Minutes,
    ),
    known(
        "sign_in.credentials_cleanup_interval",
        "cleanup_interval",
        "advanced.cleanup_interval",
        "advanced.cleanup_interval_help",
        Unit::Minutes,
    ),
    known(
        "sign_in.maximum_authorizations_per_period",
        "maximum_authorizations",
        "advanced.maximum_authorizations",
        "advanced.maximum_authorizations_help",
        Unit::Count,
    ),
    known(
        "sign_in.rate_control_period",
        "rate_control_period",
        "advanced.rate_control_period",
        "advanced.rate_control_period_help",
        Unit::Seconds,
    ),
    known(
        "sip.stun_keepalive",
        "stun_keepalive",
        "advanced.stun_keepalive",
        "advanced.stun_keepalive_help",
        Unit::Switch,
    ),
];

/// What the document says at a path, else what holds where it says nothing.
fn value(document: &Table, path: &str) -> Option<toml::Value> {
    let mut at = document.get(path.split('.').next()?)?;
    for key in path.split('.').skip(1) {
        at = at.get(key)?;
    }
    Some(at.clone())
}

fn preset(path: &str) -> Option<toml::Value> {
    let setting = known_settings(Role::Core).into_iter().find(|setting| setting.path == path)?;
    match setting.preset {
        Preset::Toml(text) => format!("x = {text}").parse::<Table>().ok()?.remove("x"),
        Preset::Required | Preset::Derived(_) => None,
    }
}

/// A duration or a count, in a unit.
fn number(value: &toml::Value, unit: Unit) -> Option<u64> {
    match value {
        toml::Value::Integer(number) => u64::try_from(*number).ok(),
        toml::Value::String(text) => {
            let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let amount: u64 = text[..digits].parse().ok()?;
            let seconds = match text[digits..].trim() {
                "s" | "" => amount,
                "m" | "min" => amount.checked_mul(60)?,
                "h" => amount.checked_mul(3_600)?,
                "d" => amount.checked_mul(86_400)?,
                _ => return None,
            };
            Some(seconds / unit.seconds())
        }
        toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_)
        | toml::Value::Array(_)
        | toml::Value::Table(_) => None,
    }
}

/// As the document writes it.
fn written(number: u64, unit: Unit) -> Value {
    match unit {
        Unit::Minutes => format!("{number}m").into(),
        Unit::Seconds => format!("{number}s").into(),
        Unit::Count | Unit::Switch => number.into(),
    }
}

fn document(pages: &Pages) -> (u64, Table) {
    let current = pages.office.desk.current();
    (current.revision, current.document.parse().unwrap_or_default())
}

/// What was sent and cannot be used, to be shown again with what is wrong with it.
#[derive(Default)]
struct Again {
    sent: Sent,
    domain: DomainSent,
    deployment: DeploymentSent,
    /// What is wrong with a field, by its name.
    wrong: BTreeMap<&'static str, Said>,
    /// What is wrong with none of them.
    problems: Vec<ProblemView>,
}

impl Again {
    /// A problem stands beside the field that `field` finds for its setting, else above all of them.
    fn put(&mut self, f: &Frame, problems: Vec<ProblemView>, field: impl Fn(&str) -> Option<&'static str>) {
        for problem in problems {
            match field(&problem.path) {
                Some(name) => _ = self.wrong.entry(name).or_insert_with(|| said(f, &problem)),
                None => self.problems.push(problem),
            }
        }
    }
}

/// A problem in one sentence or two, with what to do about it.
pub(super) fn said(f: &Frame, problem: &ProblemView) -> Said {
    let (mut what, remedy) = (f.said(&problem.message), f.said(&problem.remedy));
    what.text = match problem.remedy.is_empty() {
        true => what.text,
        false => format!("{}{}{}", what.text, f.say("layout.sentence"), remedy.text),
    };
    what.is_foreign |= remedy.is_foreign && !problem.remedy.is_empty();
    what
}

/// `GET /configuration/unified-communications`.
pub(crate) async fn show(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let look = pages.look().await;
    let f = Frame::new(Wish::of(&parts), CONFIGURATION, viewer.clone(), &look.nodes);
    let outcome = outcome(parts.uri.query(), "advanced.done", "advanced.failed");
    shown(&pages, f, &viewer, None, outcome)
}

fn shown(pages: &Pages, f: Frame, viewer: &Viewer, again: Option<Again>, outcome: Option<&'static str>) -> Response {
    let (revision, document) = document(pages);
    let refused = again.is_some();
    let mut again = again.unwrap_or_default();
    let (mut switches, mut numbers) = (Vec::new(), Vec::new());
    for known in &KNOWN {
        let Some(preset) = preset(known.path) else { continue };
        let now = value(&document, known.path).unwrap_or_else(|| preset.clone());
        let Known { key, help, name, unit, .. } = *known;
        let sent = again.sent.of(name).trim();
        let wrong = again.wrong.remove(name);
        if unit == Unit::Switch {
            let on = if sent.is_empty() { now.as_bool().unwrap_or(false) } else { sent == "on" };
            switches.push(Switch { key, help, name, on, preset: preset.as_bool().unwrap_or(false), wrong });
        } else if let (Some(value), Some(preset)) = (number(&now, unit), number(&preset, unit)) {
            let value = if sent.is_empty() { value.to_string() } else { sent.to_owned() };
            numbers.push(Number { key, help, name, value, preset, wrong });
        }
    }
    let domain = NewDomain {
        wrong: again.wrong.remove("domain"),
        domain: again.domain.domain,
        deployment: again.domain.deployment,
    };
    let deployment = NewDeployment {
        wrong_name: again.wrong.remove("name"),
        wrong_domain: again.wrong.remove("first"),
        name: again.deployment.name,
        domain: again.deployment.domain,
    };
    let status = if refused { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let page = Advanced {
        administers: viewer.administers,
        csrf: viewer.csrf.clone(),
        revision,
        switches,
        numbers,
        deployments: deployments(&document),
        domain,
        deployment,
        refused,
        problems: again.problems,
        outcome,
        f,
    };
    page_with(status, &page)
}

/// The section as it was sent: empty is as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Sent {
    /// The one the form was made from; 0: none said so.
    revision: u64,
    path_headers: String,
    refresh_interval: String,
    cleanup_interval: String,
    maximum_authorizations: String,
    rate_control_period: String,
    stun_keepalive: String,
}

impl Sent {
    fn of(&self, name: &str) -> &str {
        match name {
            "path_headers" => &self.path_headers,
            "refresh_interval" => &self.refresh_interval,
            "cleanup_interval" => &self.cleanup_interval,
            "maximum_authorizations" => &self.maximum_authorizations,
            "rate_control_period" => &self.rate_control_period,
            "stun_keepalive" => &self.stun_keepalive,
            _ => "",
        }
    }
}

/// What differs from what holds. A text that is no number goes on as it is: whoever judges the settings says what is wrong.
fn changes(sent: &Sent, document: &Table) -> Vec<ChangeOrder> {
    let mut changes = Vec::new();
    for known in &KNOWN {
        let text = sent.of(known.name).trim();
        let holds = value(document, known.path).or_else(|| preset(known.path));
        let wanted = match known.unit {
            _ if text.is_empty() => continue,
            Unit::Switch => {
                let on = text == "on";
                if holds.as_ref().and_then(toml::Value::as_bool) == Some(on) {
                    continue;
                }
                json!(on)
            }
            unit @ (Unit::Minutes | Unit::Seconds | Unit::Count) => match text.parse::<u64>() {
                Ok(wanted) if holds.as_ref().and_then(|holds| number(holds, unit)) == Some(wanted) => continue,
                Ok(wanted) => written(wanted, unit),
                Err(_) => json!(text),
            },
        };
        changes.push(ChangeOrder { path: known.path.to_owned(), value: wanted });
    }
    changes
}

/// `POST /configuration/unified-communications`.
pub(crate) async fn change(
    State(pages): State<Pages>,
    who: Administrator,
    parts: Parts,
    Form(sent): Form<Sent>,
) -> Response {
    let (_, document) = document(&pages);
    let f = Frame::new(Wish::of(&parts), CONFIGURATION, who.viewer.clone(), &pages.look().await.nodes);
    let mut again = Again { wrong: wrong_numbers(&f, &sent), ..Again::default() };
    if again.wrong.is_empty() {
        let changes = changes(&sent, &document);
        match plan::preview_changes(&pages, &parts, &who, CONFIGURATION, sent.revision, changes).await {
            Ok(answer) => return answer,
            Err(problems) => again.put(&f, problems, |path| Some(KNOWN.iter().find(|known| known.path == path)?.name)),
        }
    }
    again.sent = sent;
    shown(&pages, f, &who.viewer, Some(again), None)
}

/// What is no number of the right size, said in the unit of its field: the judge of the settings would say it in the
/// document's.
fn wrong_numbers(f: &Frame, sent: &Sent) -> BTreeMap<&'static str, Said> {
    let numbers = KNOWN.iter().filter(|known| known.unit != Unit::Switch);
    let wrong = numbers.filter_map(|known| {
        let (text, (least, most)) = (sent.of(known.name).trim(), known.range());
        let fits = text.is_empty() || text.parse().is_ok_and(|number: u64| (least..=most).contains(&number));
        let text = f.words().fill("advanced.wrong_number", &[("least", &least), ("most", &most)]);
        (!fits).then_some((known.name, Said { text, is_foreign: false }))
    });
    wrong.collect()
}

/// A domain.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct DomainSent {
    revision: u64,
    deployment: String,
    domain: String,
    /// `add` or `remove`.
    what: String,
}

/// `POST /configuration/unified-communications/domains`.
pub(crate) async fn domains(
    State(pages): State<Pages>,
    who: Administrator,
    parts: Parts,
    Form(sent): Form<DomainSent>,
) -> Response {
    let (_, document) = document(&pages);
    let known = deployments(&document);
    let domain = sent.domain.trim();
    // Nothing changes where there is no such deployment, or none that has it: the plan says so.
    let changes = match sent.what.as_str() {
        "remove" => domains::without(&known, domain),
        _ => domains::put(&known, domain, &sent.deployment),
    };
    let changes = changes.unwrap_or_default();
    match plan::preview_changes(&pages, &parts, &who, CONFIGURATION, sent.revision, changes).await {
        Ok(answer) => answer,
        Err(problems) => {
            let f = Frame::new(Wish::of(&parts), CONFIGURATION, who.viewer.clone(), &pages.look().await.nodes);
            let mut again = Again::default();
            // Taking one away is no matter of the field.
            let adds = sent.what == "add";
            again.put(&f, problems, |path| (adds && path.contains("domains")).then_some("domain"));
            if adds {
                again.domain = sent;
            }
            shown(&pages, f, &who.viewer, Some(again), None)
        }
    }
}

/// A deployment that is to be.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct DeploymentSent {
    revision: u64,
    name: String,
    domain: String,
}

/// `POST /configuration/unified-communications/deployments`.
pub(crate) async fn add_deployment(
    State(pages): State<Pages>,
    who: Administrator,
    parts: Parts,
    Form(sent): Form<DeploymentSent>,
) -> Response {
    let path = format!("deployment[{}]", json!(sent.name.trim()));
    let value = json!({ "domains": [sent.domain.trim().to_ascii_lowercase()] });
    let change = ChangeOrder { path, value };
    match plan::preview_changes(&pages, &parts, &who, CONFIGURATION, sent.revision, vec![change]).await {
        Ok(answer) => answer,
        Err(problems) => {
            let f = Frame::new(Wish::of(&parts), CONFIGURATION, who.viewer.clone(), &pages.look().await.nodes);
            let mut again = Again { deployment: sent, ..Again::default() };
            again.put(&f, problems, |path| match path.rsplit_once("].") {
                _ if !path.starts_with("deployment") => None,
                Some((_, key)) if key.starts_with("domains") => Some("first"),
                Some(_) | None => Some("name"),
            });
            shown(&pages, f, &who.viewer, Some(again), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_has_the_names_and_defaults_of_the_sources_figure() {
        let numbers = KNOWN.iter().filter_map(|known| Some((known.name, number(&preset(known.path)?, known.unit)?)));
        let expected = [
            ("refresh_interval", 480),
            ("cleanup_interval", 720),
            ("maximum_authorizations", 8),
            ("rate_control_period", 300),
        ];
        assert_eq!(numbers.collect::<Vec<_>>(), expected);
        for path in ["sip.path_headers", "sip.stun_keepalive"] {
            assert_eq!(preset(path), Some(toml::Value::Boolean(true)), "{path}");
        }
    }

    #[test]
    fn only_what_differs_is_changed() {
        let document: Table = "[sign_in]\nrate_control_period = \"5m\"\n".parse().unwrap();
        let mut sent = Sent {
            path_headers: "on".into(),
            refresh_interval: "480".into(),
            rate_control_period: "300".into(),
            ..Sent::default()
        };
        assert_eq!(changes(&sent, &document), []);
        sent.refresh_interval = " 60 ".into();
        sent.stun_keepalive = "off".into();
        sent.maximum_authorizations = "many".into();
        let made: Vec<_> = changes(&sent, &document).into_iter().map(|one| (one.path, one.value)).collect();
        let expected = [
            ("sign_in.credentials_refresh_interval".to_owned(), json!("60m")),
            ("sign_in.maximum_authorizations_per_period".to_owned(), json!("many")),
            ("sip.stun_keepalive".to_owned(), json!(false)),
        ];
        assert_eq!(made, expected);
    }
}
