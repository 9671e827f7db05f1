//! *Configuration > HTTP server allow list*: which HTTP servers inside clients may reach, by which rules, and whether they
//! would reach one. Rules of the configuration are added, changed and removed here, one by one or out of a file; what a
//! change would do is shown before it is done.

use askama::Template;
use axum::extract::{Form, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::door::Administrator;
use super::layout::{ALLOW_LIST, Frame, Wish, query};
use super::words::Said;
use super::{Pages, Viewer, page, page_with, plan};
use crate::allow_list::{COLUMNS, RuleOrder, RuleView, Written, csv, rules_in};
use crate::api::allow_list::{TestView, TestsView};
use crate::configuration::{ConfigurationFault, ProblemView, Proposal};

/// Names the file of rules.
const SETTING: &str = "http.allow_list";
/// Has the methods of rules that name none.
const METHODS_SETTING: &str = "http.default_methods";
/// A good URL of a rule.
const EXAMPLE: &str = "https://files.example.com:8443/updates";

#[derive(Template)]
#[template(path = "allow_list.html")]
struct AllowList {
    f: Frame,
    administers: bool,
    csrf: String,
    /// What the forms are made from.
    revision: u64,
    automatic: Vec<Shown>,
    configured: Vec<Shown>,
    of_file: Vec<Shown>,
    file: Option<String>,
    fault: Option<Said>,
    problems: Vec<ProblemView>,
    deployments: Vec<String>,
    /// What stands in the form of one rule.
    form: RuleForm,
    csv: String,
    replace: bool,
    test: TestForm,
    result: Option<TestView>,
}

struct Shown {
    rule: RuleView,
    /// Empty: it is not changed here. A name of the configuration needs no escaping.
    name: String,
}

impl Shown {
    fn all(rules: &[RuleView], origin: &str) -> Vec<Self> {
        let shown = |rule: &RuleView| Self { rule: rule.clone(), name: rule.name.clone().unwrap_or_default() };
        rules.iter().filter(|rule| rule.origin == origin).map(shown).collect()
    }

    fn methods(&self) -> String {
        self.rule.methods.join(" ")
    }
}

/// One rule, as its form has it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RuleForm {
    /// The one the form was made from.
    revision: u64,
    /// That of the rule that is changed; empty: it is a new one.
    was: String,
    name: String,
    url: String,
    deployment: String,
    match_type: String,
    /// Between them are spaces or commas.
    methods: String,
    description: String,
}

impl RuleForm {
    fn of(rule: &RuleOrder) -> Self {
        Self {
            revision: 0,
            was: rule.name.clone().unwrap_or_default(),
            name: rule.name.clone().unwrap_or_default(),
            url: rule.url.clone(),
            deployment: rule.deployment.clone().unwrap_or_default(),
            match_type: rule.match_type.clone().unwrap_or_default(),
            methods: rule.methods.join(" "),
            description: rule.description.clone(),
        }
    }

    fn order(&self) -> RuleOrder {
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        // What holds anyway is not written.
        let unless = |text: &str, usual: &str| some(text).filter(|text| text != usual);
        let methods = self.methods.split([' ', ',', '\t']).filter(|one| !one.is_empty());
        RuleOrder {
            name: some(&self.name),
            url: self.url.trim().to_owned(),
            deployment: unless(&self.deployment, "default"),
            match_type: unless(&self.match_type, "prefix"),
            methods: methods.map(str::to_owned).collect(),
            description: self.description.trim().to_owned(),
        }
    }
}

/// A URL that somebody might ask for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TestForm {
    url: String,
    method: String,
    user: String,
    deployment: String,
}

/// What the page has in its forms, and what came of one.
#[derive(Default)]
struct Given {
    form: RuleForm,
    csv: String,
    replace: bool,
    test: TestForm,
    tested: Option<Result<TestView, String>>,
    problems: Vec<ProblemView>,
}

/// `GET /configuration/allow-list`; with `edit`, the form has that rule in it.
pub(crate) async fn show(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let edit = query(parts.uri.query(), "edit");
    let written = Written::of(&pages.office.desk.current().document);
    let edited = written.rules.iter().find(|rule| rule.name.is_some() && rule.name == edit);
    let form = edited.map(RuleForm::of).unwrap_or_default();
    page(&made(&pages, viewer, &parts, Given { form, ..Given::default() }).await)
}

async fn made(pages: &Pages, viewer: Viewer, parts: &Parts, given: Given) -> AllowList {
    let Given { form, csv, replace, mut test, tested, problems } = given;
    let look = pages.look().await;
    let (administers, csrf) = (viewer.administers, viewer.csrf.clone());
    let f = Frame::new(Wish::of(parts), ALLOW_LIST, viewer, &look.nodes);
    // Before the rules are asked for: what is shown is at least as new.
    let current = pages.office.desk.current();
    let (rules, mut fault) = match pages.office.ask(None, "allow-list", Value::Null).await {
        Ok(answer) => (rules_in(answer), None),
        Err(refusal) => (Vec::new(), Some(f.said(&refusal.why))),
    };
    let result = match tested {
        Some(Ok(result)) => Some(result),
        Some(Err(why)) => {
            fault = Some(f.said(&why));
            None
        }
        None => None,
    };
    if test.method.is_empty() {
        "GET".clone_into(&mut test.method);
    }
    let document: toml::Table = current.document.parse().unwrap_or_default();
    let file = document.get("http").and_then(|http| http.get("allow_list")).and_then(toml::Value::as_str);
    AllowList {
        administers,
        csrf,
        revision: current.revision,
        automatic: Shown::all(&rules, "automatic"),
        configured: Shown::all(&rules, "configuration"),
        of_file: Shown::all(&rules, "file"),
        file: file.map(str::to_owned),
        fault,
        problems,
        deployments: Written::of(&current.document).deployments(),
        form,
        csv,
        replace,
        test,
        result,
        f,
    }
}

/// `POST /configuration/allow-list`: what one more rule, or another in the place of one, would do.
pub(crate) async fn save(
    State(pages): State<Pages>,
    who: Administrator,
    parts: Parts,
    Form(form): Form<RuleForm>,
) -> Response {
    let written = Written::of(&pages.office.desk.current().document);
    let proposal = match form.was.as_str() {
        "" => written.add(&form.order()),
        was => written.replace(was, &RuleOrder { name: None, ..form.order() }),
    };
    preview(&pages, &parts, who, form.revision, proposal, Given { form, ..Given::default() }).await
}

/// Which one.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    revision: u64,
    name: String,
}

/// `POST /configuration/allow-list/remove`.
pub(crate) async fn remove(
    State(pages): State<Pages>,
    who: Administrator,
    parts: Parts,
    Form(which): Form<Which>,
) -> Response {
    let proposal = Written::of(&pages.office.desk.current().document).remove(&which.name);
    preview(&pages, &parts, who, which.revision, proposal, Given::default()).await
}

/// A file of rules.
#[derive(Debug, Deserialize)]
pub(crate) struct Upload {
    revision: u64,
    csv: String,
    #[serde(default)]
    replace: Option<String>,
}

/// `POST /configuration/allow-list/upload`: every line is judged, and what the file would change is shown.
pub(crate) async fn upload(
    State(pages): State<Pages>,
    who: Administrator,
    parts: Parts,
    Form(sent): Form<Upload>,
) -> Response {
    let written = Written::of(&pages.office.desk.current().document);
    let proposal = written.upload(&sent.csv, sent.replace.is_some());
    let given = Given { csv: sent.csv, replace: sent.replace.is_some(), ..Given::default() };
    preview(&pages, &parts, who, sent.revision, proposal, given).await
}

/// Shows what it would do. What cannot be used is said, and nothing that was typed is lost.
async fn preview(
    pages: &Pages,
    parts: &Parts,
    who: Administrator,
    revision: u64,
    proposal: Result<Proposal, ConfigurationFault>,
    given: Given,
) -> Response {
    let shown = match proposal {
        Ok(Proposal::Changes(changes)) => {
            plan::preview_changes(pages, parts, &who, ALLOW_LIST, revision, changes).await
        }
        Ok(Proposal::Document(text)) => plan::preview_document(pages, parts, &who, ALLOW_LIST, revision, text).await,
        Err(ConfigurationFault::Problems(problems)) => Err(problems),
        Err(fault) => Ok(plan::refuse(pages, parts, who.viewer.clone(), fault, ALLOW_LIST.path).await),
    };
    match shown {
        Ok(answer) => answer,
        Err(problems) => {
            let again = made(pages, who.viewer, parts, Given { problems, ..given }).await;
            page_with(StatusCode::UNPROCESSABLE_ENTITY, &again)
        }
    }
}

/// `GET /configuration/allow-list/test?url=…`: whether a client would be let through, and by which rule.
pub(crate) async fn test(State(pages): State<Pages>, viewer: Viewer, parts: Parts) -> Response {
    let of = |name: &str| query(parts.uri.query(), name).unwrap_or_default().trim().to_owned();
    let wanted = TestForm { url: of("url"), method: of("method"), user: of("user"), deployment: of("deployment") };
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let test = json!({
        "url": wanted.url, "method": some(&wanted.method), "deployment": some(&wanted.deployment),
    });
    let question = json!({ "tests": [test], "user": some(&wanted.user) });
    let tested = match pages.office.ask(None, "allow-list/test", question).await {
        Ok(answer) => serde_json::from_value::<TestsView>(answer)
            .ok()
            .and_then(|all| all.results.into_iter().next())
            .ok_or_else(|| "the core did not answer".to_owned()),
        Err(refusal) => Err(refusal.why),
    };
    let status = if tested.is_ok() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let given = Given { test: wanted, tested: Some(tested), ..Given::default() };
    page_with(status, &made(&pages, viewer, &parts, given).await)
}

/// `GET /configuration/allow-list/export`: the rules somebody wrote, in the vendor's columns.
pub(crate) async fn export(State(pages): State<Pages>, _viewer: Viewer) -> Response {
    let rules = match pages.office.ask(None, "allow-list", Value::Null).await {
        Ok(answer) => rules_in(answer),
        Err(refusal) => return (StatusCode::SERVICE_UNAVAILABLE, refusal.why).into_response(),
    };
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"edgeway-allow-list.csv\""),
    ];
    (StatusCode::OK, headers, csv(rules.iter().filter(|rule| rule.origin != "automatic"))).into_response()
}
