//! *Configuration > Unified Communications > Configuration*: domains, deployments, and the *Advanced* section with the
//! names, units and defaults that operators of such systems know.

use askama::Template;
use axum::extract::{Form, State};
use axum::http::request::Parts;
use axum::response::Response;
use edgeway_config::{Preset, Role, known_settings};
use serde::Deserialize;
use serde_json::{Value, json};
use toml::Table;

use super::door::Administrator;
use super::layout::{CONFIGURATION, Frame, Wish};
use super::outcome::outcome;
use super::{Pages, Viewer, page, plan};
use crate::configuration::ChangeOrder;
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
    outcome: Option<&'static str>,
}

/// On or Off.
struct Switch {
    key: &'static str,
    help: &'static str,
    name: &'static str,
    on: bool,
}

/// A number with its unit.
struct Number {
    key: &'static str,
    help: &'static str,
    name: &'static str,
    value: u64,
    preset: u64,
}

/// A setting of the section.
struct Known {
    path: &'static str,
    name: &'static str,
    key: &'static str,
    help: &'static str,
    unit: Unit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Switch,
    /// Written with a unit in the document, shown as a number of these.
    Minutes,
    Seconds,
    Count,
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
    let seconds_of_one = match unit {
        Unit::Minutes => 60,
        Unit::Seconds | Unit::Count | Unit::Switch => 1,
    };
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
            Some(seconds / seconds_of_one)
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

/// `GET /configuration/unified-communications`.
pub(crate) async fn show(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let look = pages.look().await;
    let (administers, csrf) = (viewer.administers, viewer.csrf.clone());
    let f = Frame::new(Wish::of(&parts), CONFIGURATION, viewer, &look.nodes);
    let (revision, document) = document(&pages);
    let (mut switches, mut numbers) = (Vec::new(), Vec::new());
    for known in &KNOWN {
        let Some(preset) = preset(known.path) else { continue };
        let now = value(&document, known.path).unwrap_or_else(|| preset.clone());
        let Known { key, help, name, unit, .. } = *known;
        if unit == Unit::Switch {
            switches.push(Switch { key, help, name, on: now.as_bool().unwrap_or(false) });
        } else if let (Some(value), Some(preset)) = (number(&now, unit), number(&preset, unit)) {
            numbers.push(Number { key, help, name, value, preset });
        }
    }
    page(&Advanced {
        administers,
        csrf,
        revision,
        switches,
        numbers,
        deployments: deployments(&document),
        outcome: outcome(parts.uri.query(), "advanced.done", "advanced.failed"),
        f,
    })
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
    plan::preview_changes(&pages, &parts, who, CONFIGURATION, sent.revision, changes(&sent, &document)).await
}

/// A domain.
#[derive(Debug, Deserialize)]
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
    plan::preview_changes(&pages, &parts, who, CONFIGURATION, sent.revision, changes).await
}

/// A deployment that is to be.
#[derive(Debug, Deserialize)]
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
    plan::preview_changes(&pages, &parts, who, CONFIGURATION, sent.revision, vec![change]).await
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
