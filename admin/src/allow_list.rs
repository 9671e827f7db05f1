//! The rules of the HTTP server allow list that stand in the configuration: what orders about them ask of the desk.
//!
//! A rule is an entry of the document like any other, so it has revisions, plans and a way back. What is made here is the
//! change that an order means; judged it is by the desk.

use std::collections::{HashMap, HashSet};

use edgeway_config::document::{Change, Content, Document, Entry, Path, Value, overlay};
use edgeway_config::limits::{ALLOW_LIST_RULE_NAME_BYTES_MAX, ALLOW_LIST_RULES_MAX};
use edgeway_model::sign_in::Deployment;
use edgeway_policy::allow_list::{MatchType, Rule, RulesContext, read_rules, write_cells};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::configuration::{ChangeOrder, ConfigurationFault, ProblemView, Proposal};

/// The list of tables they are in.
const LIST: &str = "http.allow_list_rule";
/// Columns of a file of rules.
pub(crate) const COLUMNS: &str = "Url,Deployment,HttpMethods,MatchType,Description";

/// A rule that is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleOrder {
    /// What tells it from the others; null: one is made of its host.
    #[serde(default)]
    #[schema(example = "updates", max_length = 64)]
    pub name: Option<String>,
    /// Protocol, host, port and path.
    #[schema(example = "https://files.example.com:8443/updates", max_length = 4096)]
    pub url: String,
    /// The deployment whose users it is for; null: the default one.
    #[serde(default)]
    #[schema(max_length = 64)]
    pub deployment: Option<String>,
    /// `exact` or `prefix`; null: `prefix`.
    #[serde(default)]
    #[schema(example = "prefix", max_length = 16)]
    pub match_type: Option<String>,
    /// The methods it lets through; empty: those of `http.default_methods`.
    #[serde(default)]
    #[schema(max_items = 16)]
    pub methods: Vec<String>,
    /// What it is for.
    #[serde(default)]
    #[schema(max_length = 256)]
    pub description: String,
}

impl RuleOrder {
    /// As the document has it: what is not written is left out.
    fn settings(&self) -> serde_json::Value {
        let mut settings = json!({ "url": self.url.trim() });
        let words = [("deployment", &self.deployment), ("match_type", &self.match_type)];
        for (key, word) in words {
            if let Some(word) = word.as_deref().map(str::trim).filter(|word| !word.is_empty()) {
                settings[key] = word.into();
            }
        }
        let methods: Vec<_> = self.methods.iter().map(|one| one.trim()).filter(|one| !one.is_empty()).collect();
        if !methods.is_empty() {
            settings["methods"] = json!(methods.iter().map(|one| one.to_ascii_uppercase()).collect::<Vec<_>>());
        }
        if !self.description.trim().is_empty() {
            settings["description"] = self.description.trim().into();
        }
        settings
    }
}

/// The rules that are written, as an order would write them.
pub(crate) struct Written {
    document: Document,
    deployments: Vec<Deployment>,
    default_methods: Vec<String>,
    pub(crate) rules: Vec<RuleOrder>,
}

impl Written {
    /// Out of a document as it is shown.
    pub(crate) fn of(text: &str) -> Self {
        let document = Document::parse(text, "configuration").unwrap_or_default();
        let rules = document.entries(LIST).iter().map(rule).collect();
        let named = document.entries("deployment").iter().filter_map(|one| Deployment::new(&text_of(one, "name")?));
        let deployments = std::iter::once(Deployment::default_one()).chain(named).collect();
        let written = "http.default_methods".parse().ok().and_then(|path: Path| document.at(&path));
        let default_methods = match written {
            Some(Content::Value(value)) => texts(Some(&value)),
            Some(Content::Entry(_) | Content::Order(_)) | None => {
                edgeway_config::DEFAULT_METHODS.iter().map(|one| (*one).to_owned()).collect()
            }
        };
        Self { document, deployments, default_methods, rules }
    }

    /// The names of the deployments there are.
    pub(crate) fn deployments(&self) -> Vec<String> {
        self.deployments.iter().map(|one| one.as_str().to_owned()).collect()
    }

    /// One more rule.
    ///
    /// # Errors
    /// It is there already.
    pub(crate) fn add(&self, order: &RuleOrder) -> Result<Proposal, ConfigurationFault> {
        let name = match order.name.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
            Some(name) if self.find(name).is_some() => {
                return Err(wrong(
                    "name",
                    format!("there is a rule {name} already"),
                    "Change that one, or take another name.",
                ));
            }
            Some(name) => name.to_owned(),
            None => free_name(&order.url, |name| self.find(name).is_some()),
        };
        if let Some(other) = self.same(order) {
            let reason = format!("the rule {other} is about the same URL, deployment and match type");
            return Err(wrong("url", reason, "Change that one."));
        }
        Ok(change(&name, order.settings()))
    }

    /// Another rule in the place of the one of that name.
    ///
    /// # Errors
    /// There is none, or the order has another name.
    pub(crate) fn replace(&self, name: &str, order: &RuleOrder) -> Result<Proposal, ConfigurationFault> {
        self.find(name).ok_or_else(|| none(name))?;
        if order.name.as_deref().is_some_and(|other| other != name) {
            return Err(wrong("name", "is not that of the rule".to_owned(), "A rule keeps its name."));
        }
        Ok(change(name, order.settings()))
    }

    /// One rule less.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn remove(&self, name: &str) -> Result<Proposal, ConfigurationFault> {
        self.find(name).ok_or_else(|| none(name))?;
        Ok(change(name, serde_json::Value::Null))
    }

    /// The rules of a file in the vendor's columns: beside those there are, or in their place. A rule about the same URL,
    /// deployment and match type as one there is keeps its name.
    ///
    /// # Errors
    /// All that is wrong with the file, each with its line.
    pub(crate) fn upload(&self, csv: &str, replace: bool) -> Result<Proposal, ConfigurationFault> {
        let context = RulesContext { deployments: &self.deployments, default_methods: &self.default_methods };
        let read = read_rules(csv, context).map_err(|problems| {
            let problem = |one: edgeway_policy::allow_list::Problem| ProblemView {
                path: "CSV".to_owned(),
                line: usize::try_from(one.line).ok(),
                message: one.text,
                remedy: String::new(),
            };
            ConfigurationFault::Problems(problems.into_iter().map(problem).collect())
        })?;
        // Before anything is compared with anything: a file may hold far more.
        if read.len() > ALLOW_LIST_RULES_MAX {
            let message = format!("{} rules, and the configuration takes {ALLOW_LIST_RULES_MAX}", read.len());
            return Err(wrong("url", message, "Keep the file on the core, and name it in http.allow_list."));
        }
        let named = |rule: &RuleOrder| Some((about(rule)?, rule.name.clone()?));
        let mut there: HashMap<_, _> = self.rules.iter().filter_map(named).collect();
        let mut taken: HashSet<String> = self.rules.iter().filter_map(|rule| rule.name.clone()).collect();
        let mut changes = Vec::new();
        let mut kept: HashSet<String> = HashSet::new();
        for rule in &read {
            let order = self.order_of(rule);
            let name = match about(&order).and_then(|about| there.remove(&about)) {
                Some(name) => name,
                None => free_name(&order.url, |name| taken.contains(name)),
            };
            changes.extend(entry(&name, &order)?);
            taken.insert(name.clone());
            kept.insert(name);
        }
        let gone =
            self.rules.iter().filter_map(|rule| rule.name.as_ref()).filter(|name| replace && !kept.contains(*name));
        changes.extend(gone.map(|name| Change {
            path: Path::Entry { list: LIST, identity: name.clone() },
            before: None,
            after: None,
        }));
        Ok(Proposal::Document(overlay(&changes, &self.document).to_toml_shown()))
    }

    fn find(&self, name: &str) -> Option<&RuleOrder> {
        self.rules.iter().find(|rule| rule.name.as_deref() == Some(name))
    }

    /// The rule about the same, by whatever name.
    fn same(&self, order: &RuleOrder) -> Option<&str> {
        let wanted = about(order)?;
        self.rules.iter().find(|rule| about(rule).as_ref() == Some(&wanted)).and_then(|rule| rule.name.as_deref())
    }

    fn order_of(&self, rule: &Rule) -> RuleOrder {
        RuleOrder {
            name: None,
            url: rule.url(),
            deployment: (rule.deployment != Deployment::default_one()).then(|| rule.deployment.as_str().to_owned()),
            match_type: (rule.match_type == MatchType::Exact).then(|| "exact".to_owned()),
            methods: if rule.methods == self.default_methods { Vec::new() } else { rule.methods.clone() },
            description: rule.description.clone(),
        }
    }
}

/// What a rule is about: URL in its one form, deployment, match type. `None`: no URL.
fn about(order: &RuleOrder) -> Option<(String, String, bool)> {
    let exact = order.match_type.as_deref() == Some("exact");
    let deployment = order.deployment.as_deref().filter(|name| !name.is_empty()).unwrap_or(Deployment::DEFAULT);
    let methods = vec!["GET".to_owned()];
    let rule = Rule::of_url(order.url.trim(), Deployment::default_one(), MatchType::Exact, methods, "").ok()?;
    Some((rule.url(), deployment.to_owned(), exact))
}

/// A name made of the host of a URL.
fn free_name(url: &str, taken: impl Fn(&str) -> bool) -> String {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.strip_prefix('[').map_or_else(|| host.split(['/', ':']).next(), |host| host.split(']').next());
    let plain =
        |char: char| if char.is_ascii_alphanumeric() || ".-_".contains(char) { char.to_ascii_lowercase() } else { '-' };
    // Room for what tells it from others.
    let mut name: String =
        host.unwrap_or_default().chars().take(ALLOW_LIST_RULE_NAME_BYTES_MAX - 8).map(plain).collect();
    if name.is_empty() {
        "rule".clone_into(&mut name);
    }
    if !taken(&name) {
        return name;
    }
    (2..).map(|number: u32| format!("{name}-{number}")).find(|name| !taken(name)).unwrap_or(name)
}

fn change(name: &str, value: serde_json::Value) -> Proposal {
    Proposal::Changes(vec![ChangeOrder { path: format!("{LIST}[{}]", json!(name)), value }])
}

/// What puts a rule into a document.
fn entry(name: &str, order: &RuleOrder) -> Result<Option<Change>, ConfigurationFault> {
    let mut entry = Entry::new();
    let settings = order.settings();
    for (key, value) in settings.as_object().into_iter().flatten() {
        let value = match value {
            serde_json::Value::String(text) => Value::Text(text.clone()),
            serde_json::Value::Array(all) => {
                Value::List(all.iter().filter_map(|one| one.as_str().map(|one| Value::Text(one.to_owned()))).collect())
            }
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::Object(_) => continue,
        };
        entry.set(LIST, key, value).map_err(|why| wrong(key, why, ""))?;
    }
    entry.name(LIST, name);
    let path = Path::Entry { list: LIST, identity: name.to_owned() };
    Ok(Some(Change { path, before: None, after: Some(Content::Entry(entry)) }))
}

fn rule(entry: &Entry) -> RuleOrder {
    let text = |key: &str| text_of(entry, key);
    RuleOrder {
        name: text("name"),
        url: text("url").unwrap_or_default(),
        deployment: text("deployment"),
        match_type: text("match_type"),
        methods: texts(entry.get("methods")),
        description: text("description").unwrap_or_default(),
    }
}

fn text_of(entry: &Entry, key: &str) -> Option<String> {
    texts(entry.get(key)).into_iter().next()
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Text(text) => Some(text.clone()),
        Value::Boolean(_) | Value::Integer(_) | Value::List(_) | Value::Secret(_) => None,
    };
    match value {
        Some(Value::List(all)) => all.iter().filter_map(text).collect(),
        Some(one) => text(one).into_iter().collect(),
        None => Vec::new(),
    }
}

fn wrong(key: &str, message: String, remedy: &str) -> ConfigurationFault {
    let path = format!("{LIST}.{key}");
    ConfigurationFault::Problems(vec![ProblemView { path, line: None, message, remedy: remedy.to_owned() }])
}

fn none(name: &str) -> ConfigurationFault {
    let name: String = name.chars().take(ALLOW_LIST_RULE_NAME_BYTES_MAX).collect();
    ConfigurationFault::NotFound(format!("the configuration has no rule {name:?}: those of the file are changed there"))
}

/// Rules as a node lists them, as a file in the vendor's columns (RFC 4180).
pub(crate) fn csv<'a>(rules: impl IntoIterator<Item = &'a RuleView>) -> String {
    write_cells(rules.into_iter().map(|rule| {
        let cells = [&rule.url, &rule.deployment, &rule.methods.join(","), &rule.match_type, &rule.description];
        cells.map(Clone::clone)
    }))
}

/// A rule in force, as a core lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RuleView {
    /// In its normal form.
    #[schema(example = "https://files.example.com:8443/updates")]
    pub url: String,
    /// The deployment whose users it is for.
    pub deployment: String,
    /// The methods it lets through.
    pub methods: Vec<String>,
    /// `exact` or `prefix`.
    pub match_type: String,
    /// What it is for.
    pub description: String,
    /// `automatic`: made by discovery; `file`: of the file `http.allow_list` names; `configuration`: its name is in `name`.
    #[schema(example = "configuration")]
    pub origin: String,
    /// The name of a rule of the configuration.
    pub name: Option<String>,
    /// The server that an automatic one was made for.
    pub automatic: Option<String>,
}

/// The rules of a core's answer.
pub(crate) fn rules_in(answer: serde_json::Value) -> Vec<RuleView> {
    #[derive(Default, Deserialize)]
    struct Answer {
        #[serde(default)]
        rules: Vec<RuleView>,
    }
    serde_json::from_value::<Answer>(answer).unwrap_or_default().rules
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "domains = [\"example.com\"]\n\n[[http.allow_list_rule]]\nname = \"updates\"\n\
        url = \"https://files.example.com/updates\"\ndescription = \"Updates\"\n\n[[http.allow_list_rule]]\nname = \"photos\"\n\
        url = \"http://photos.example.com:8080/\"\nmethods = [\"GET\"]\n";

    fn document(proposal: Proposal) -> Vec<RuleOrder> {
        match proposal {
            Proposal::Document(text) => Written::of(&text).rules,
            Proposal::Changes(changes) => panic!("a document, not {changes:?}"),
        }
    }

    fn order(url: &str) -> RuleOrder {
        RuleOrder { url: url.to_owned(), ..RuleOrder::default() }
    }

    #[test]
    fn a_rule_without_a_name_gets_one_of_its_host() {
        let written = Written::of(TEXT);
        let named = |url: &str| match written.add(&order(url)) {
            Ok(Proposal::Changes(changes)) => changes[0].path.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(named("https://New.example.com:1/x"), "http.allow_list_rule[\"new.example.com\"]");
        assert_eq!(named("https://[2001:db8::1]:1/x"), "http.allow_list_rule[\"2001-db8--1\"]");
        let twice = format!("{TEXT}\n[[http.allow_list_rule]]\nname = \"a\"\nurl = \"http://a/\"\n");
        match Written::of(&twice).add(&order("http://a/other")) {
            Ok(Proposal::Changes(changes)) => assert_eq!(changes[0].path, "http.allow_list_rule[\"a-2\"]"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_there_already_is_not_added_and_what_is_not_there_not_removed() {
        let written = Written::of(TEXT);
        let said = |result: Result<Proposal, ConfigurationFault>| result.unwrap_err().to_string();
        assert!(said(written.add(&order("https://FILES.example.com:443/updates"))).contains("the rule updates"));
        let named = RuleOrder { name: Some("photos".to_owned()), ..order("https://a/") };
        assert!(said(written.add(&named)).contains("there is a rule photos"));
        assert!(said(written.remove("none")).contains("no rule"));
        assert!(said(written.replace("none", &named)).contains("no rule"));
        assert!(said(written.replace("updates", &named)).contains("keeps its name"));
        assert!(written.remove("photos").is_ok() && written.replace("photos", &named).is_ok());
    }

    #[test]
    fn an_upload_keeps_names_and_adds_or_replaces() {
        let csv = "Url,Deployment,HttpMethods,MatchType,Description\nhttps://files.example.com/updates,,\"GET,HEAD\",,New words\n\
                   https://files.example.com/updates,,,exact,\n";
        let added = document(Written::of(TEXT).upload(csv, false).unwrap());
        let names = |rules: &[RuleOrder]| rules.iter().filter_map(|rule| rule.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&added), ["updates", "photos", "files.example.com"]);
        assert_eq!((added[0].description.as_str(), added[0].methods.join(",")), ("New words", "GET,HEAD".to_owned()));
        assert_eq!((added[2].match_type.as_deref(), added[2].methods.len()), (Some("exact"), 0));
        let replaced = document(Written::of(TEXT).upload(csv, true).unwrap());
        assert_eq!(names(&replaced), ["updates", "files.example.com"]);
        // Whoever uploads the same again changes nothing.
        let text = match Written::of(TEXT).upload(csv, true).unwrap() {
            Proposal::Document(text) => text,
            Proposal::Changes(changes) => panic!("{changes:?}"),
        };
        assert_eq!(document(Written::of(&text).upload(csv, true).unwrap()), replaced);
    }

    #[test]
    fn an_upload_that_is_wrong_says_every_line_of_it() {
        let csv =
            "Url,Deployment,HttpMethods,MatchType,Description\nftp://a,,,,\nhttps://a,,,,\nhttps://a/..,none,,,\n";
        match Written::of(TEXT).upload(csv, false) {
            Err(ConfigurationFault::Problems(problems)) => {
                assert_eq!(problems.iter().map(|one| one.line).collect::<Vec<_>>(), [Some(2), Some(4)]);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_upload_of_more_than_the_configuration_takes_is_refused_before_it_is_compared() {
        let of = |lines: usize| {
            let lines: String = (0..lines).map(|line| format!("http://a/{line},,,,\n")).collect();
            Written::of(TEXT).upload(&format!("{COLUMNS}\n{lines}"), true)
        };
        let names = document(of(ALLOW_LIST_RULES_MAX).unwrap());
        assert_eq!(names.len(), ALLOW_LIST_RULES_MAX);
        assert!(of(10_000).unwrap_err().to_string().contains("10000 rules"));
    }

    #[test]
    fn what_is_exported_is_read_again() {
        let view = RuleView {
            url: "https://a.example.com/x".to_owned(),
            deployment: "default".to_owned(),
            methods: vec!["GET".to_owned(), "PUT".to_owned()],
            match_type: "exact".to_owned(),
            description: "=Say(\"hello\"), '-twice".to_owned(),
            ..RuleView::default()
        };
        let text = csv([&view]);
        assert!(text.contains(",\"'=Say("), "a spreadsheet runs it: {text}");
        let read = document(Written::of("").upload(&text, false).unwrap());
        assert_eq!(
            (read[0].url.as_str(), read[0].description.as_str()),
            (view.url.as_str(), view.description.as_str())
        );
        assert_eq!(read[0].methods, view.methods);
    }
}
