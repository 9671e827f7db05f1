//! What somebody wants the configuration to be: a text, or some settings.

use edgeway_config::document::{self, Change, Content, Document, Entry, Path, Value, placed};
use edgeway_config::{Problem, Problems};

use super::fault::ConfigurationFault;
use super::judge::Judge;
use super::limits::CHANGES_MAX;
use super::views::{ChangeOrder, ProblemView};

/// The name of a proposed text, in problems.
const TEXT: &str = "configuration";

/// What somebody wants the configuration to be.
#[derive(Clone, Debug)]
pub enum Proposal {
    /// This text, whole.
    Document(String),
    /// What holds now, with these changes.
    Changes(Vec<ChangeOrder>),
}

impl Proposal {
    /// The document it asks for, with its secrets sealed. Files may be read and written.
    ///
    /// # Errors
    /// [`ConfigurationFault::Problems`].
    pub(super) fn document(&self, now: &Document, judge: &Judge) -> Result<Document, ConfigurationFault> {
        let mut document = match self {
            Self::Document(text) => Document::parse(text, TEXT).map_err(of)?,
            Self::Changes(orders) => changed(orders, now)?,
        };
        let mut problems = Vec::new();
        for (path, secret) in document.secrets() {
            let kept = match now.at(&path) {
                Some(Content::Value(Value::Secret(kept))) => Some(kept),
                Some(Content::Value(_) | Content::Entry(_) | Content::Order(_)) | None => None,
            };
            let sealed = match (secret.is_mask(), kept) {
                (true, Some(kept)) => Ok(kept.expose().to_owned()),
                (true, None) => Err((
                    "there is none yet that could stay".to_owned(),
                    "Write the password itself: it is sealed before it is kept.",
                )),
                (false, _) if secret.is_sealed() => Ok(secret.expose().to_owned()),
                (false, _) => judge.seal(&path.to_string(), secret.expose()),
            };
            match sealed {
                Ok(sealed) => document.replace_secret(&path, sealed),
                Err((reason, remedy)) => problems.push(problem(path.to_string(), reason, remedy)),
            }
        }
        if problems.is_empty() { Ok(document) } else { Err(ConfigurationFault::Problems(problems)) }
    }

    /// The problems of what it asks for, with the lines of its own text.
    pub(super) fn placed(&self, problems: Problems) -> ConfigurationFault {
        of(match self {
            Self::Document(text) => placed(problems, text, TEXT),
            Self::Changes(_) => placed(problems, "", TEXT),
        })
    }
}

fn of(problems: Problems) -> ConfigurationFault {
    ConfigurationFault::Problems(ProblemView::all(problems))
}

pub(super) fn problem(path: String, reason: String, remedy: &str) -> ProblemView {
    Problem { path, line: None, reason, remedy: remedy.to_owned(), did_you_mean: None }.into()
}

fn changed(orders: &[ChangeOrder], now: &Document) -> Result<Document, ConfigurationFault> {
    let mut problems = Vec::new();
    let mut document = now.clone();
    if orders.len() > CHANGES_MAX {
        let remedy = "Send the whole document instead.";
        problems.push(problem(String::new(), format!("more than {CHANGES_MAX} changes"), remedy));
    }
    for order in orders.iter().take(CHANGES_MAX) {
        let change = order.path.parse::<Path>().map_err(|fault| fault.to_string()).and_then(|path| {
            let after = content(&path, &order.value)?;
            Ok(Change { before: document.at(&path), path, after })
        });
        match change
            .and_then(|change| document::apply(&[change], &document).map_err(|_| "there is no such entry".into()))
        {
            Ok(changed) => document = changed,
            Err(reason) => problems.push(problem(order.path.chars().take(200).collect(), reason, "")),
        }
    }
    if problems.is_empty() { Ok(document) } else { Err(ConfigurationFault::Problems(problems)) }
}

/// What an order says, as what stands at its path.
fn content(path: &Path, value: &serde_json::Value) -> Result<Option<Content>, String> {
    if value.is_null() {
        return if matches!(path, Path::List(_)) { Err("wants a list".to_owned()) } else { Ok(None) };
    }
    let setting = path.setting().ok_or("there is no such setting")?;
    if setting.scope() == edgeway_config::Scope::Local {
        return Err("belongs to one node: it is written in that node's file".to_owned());
    }
    Ok(Some(match (path, value) {
        (Path::Setting(_) | Path::Key { .. }, _) => Content::Value(plain(value)?.kept(setting.is_secret())?),
        (Path::List(_), serde_json::Value::Array(all)) => {
            let texts = all.iter().map(|one| one.as_str().map(str::to_owned));
            Content::Order(texts.collect::<Option<_>>().ok_or("wants a list of texts")?)
        }
        (Path::Entry { list, identity }, serde_json::Value::Object(settings)) => {
            let mut entry = Entry::new();
            for (key, value) in settings.iter().filter(|(_, value)| !value.is_null()) {
                entry.set(list, key, plain(value).map_err(|why| format!("{key}: {why}"))?)?;
            }
            entry.name(list, identity);
            Content::Entry(entry)
        }
        (Path::List(_), _) => return Err("wants a list".to_owned()),
        (Path::Entry { .. }, _) => return Err("wants an object".to_owned()),
    }))
}

fn plain(value: &serde_json::Value) -> Result<Value, String> {
    use serde_json::Value as Json;
    Ok(match value {
        Json::Bool(yes) => Value::Boolean(*yes),
        Json::Number(number) => Value::Integer(number.as_i64().ok_or("wants a whole number")?),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(all) => Value::List(all.iter().map(scalar).collect::<Result<_, _>>()?),
        Json::Null | Json::Object(_) => return Err("wants a value".to_owned()),
    })
}

fn scalar(value: &serde_json::Value) -> Result<Value, String> {
    if value.is_array() { Err("a list within a list".to_owned()) } else { plain(value) }
}
