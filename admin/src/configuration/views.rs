//! The shapes in which the configuration is asked for and shown. Nowhere in them is a secret: it reads `sealed`.

use edgeway_config::document::{Change, Content, Step};
use edgeway_config::{Problem, Problems};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::RevisionHead;

/// One revision, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevisionView {
    /// 1, 2, 3, …
    #[schema(example = 7)]
    pub revision: u64,
    /// Who made it.
    #[schema(example = "account alice")]
    pub author: String,
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// Why.
    pub comment: String,
}

impl From<RevisionHead> for RevisionView {
    fn from(head: RevisionHead) -> Self {
        let RevisionHead { number, author, at_ms, comment } = head;
        Self { revision: number, author, at_ms, comment }
    }
}

/// A revision that goes back by itself unless it is confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitingView {
    /// The revision that waits.
    pub revision: u64,
    /// The one that comes back without a confirmation.
    pub back_to: u64,
    /// Until when, Unix milliseconds.
    pub until_ms: u64,
}

/// What holds now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CurrentView {
    /// The node that answers.
    #[schema(example = "core1")]
    pub node: String,
    /// The newest revision; 0 where there is none, because the store cannot be used.
    pub revision: u64,
    /// Where what holds comes from: `store`, `last-good` or `file`.
    #[schema(example = "store")]
    pub source: String,
    /// The shared settings that are written, as canonical TOML.
    pub document: String,
    /// What waits for its confirmation.
    pub waiting: Option<WaitingView>,
    /// Settings that were changed and hold after a restart of this node.
    pub restart: Vec<String>,
}

/// A setting and what stands there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeView {
    /// The setting: `domains`, `unified_cm["cucm1.example.com"].user`; of a list without a key, the order of its entries.
    #[schema(example = "sign_in.rate_control_period")]
    pub path: String,
    /// What stands there, in TOML; null: nothing, so that the default holds.
    pub before: Option<String>,
    /// What is to stand there, in TOML.
    pub after: Option<String>,
}

impl From<&Change> for ChangeView {
    fn from(change: &Change) -> Self {
        let shown = |content: &Option<Content>| content.as_ref().map(Content::shown);
        Self { path: change.path.to_string(), before: shown(&change.before), after: shown(&change.after) }
    }
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    /// The setting.
    pub path: String,
    /// What stands there, in TOML.
    pub before: Option<String>,
    /// What is to stand there, in TOML.
    pub after: Option<String>,
    /// What it takes: `none`, `new_flows`, `drains` or `restart`.
    #[schema(example = "none")]
    pub impact: String,
    /// The same in words.
    pub words: String,
}

impl From<Step> for StepView {
    fn from(step: Step) -> Self {
        let Step { path, before, after, impact } = step;
        let (impact, words) = (impact.as_str().to_owned(), impact.words().to_owned());
        Self { path: path.to_string(), before, after, impact, words }
    }
}

/// What a change would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// The revision it is a change of.
    pub revision: u64,
    /// What changes; empty: nothing.
    pub steps: Vec<StepView>,
    /// The document that would hold.
    pub document: String,
}

/// What a change has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommitView {
    /// The newest revision now; the same as before where nothing has changed.
    pub revision: u64,
    /// What has changed.
    pub steps: Vec<StepView>,
    /// What goes back by itself unless it is confirmed.
    pub waiting: Option<WaitingView>,
}

/// Something that is wrong with a proposed configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemView {
    /// The setting; empty where it is the text itself.
    pub path: String,
    /// The line of the text that was proposed.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it, and what was probably meant.
    pub remedy: String,
}

impl From<Problem> for ProblemView {
    fn from(problem: Problem) -> Self {
        let Problem { path, line, reason, remedy, did_you_mean } = problem;
        let meant = did_you_mean.map(|meant| format!("Did you mean \"{meant}\"?")).unwrap_or_default();
        let remedy = [meant, remedy].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        Self { path, line, message: reason, remedy }
    }
}

impl ProblemView {
    /// All of them.
    #[must_use]
    pub fn all(problems: Problems) -> Vec<Self> {
        problems.problems.into_iter().map(Self::from).collect()
    }
}

/// A revision with its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DocumentView {
    /// What is known of it.
    #[serde(flatten)]
    pub head: RevisionView,
    /// Its text.
    pub document: String,
}

/// What differs between two revisions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DifferenceView {
    /// The one.
    pub from: u64,
    /// The other.
    pub to: u64,
    /// What makes the other of the one.
    pub changes: Vec<ChangeView>,
}

/// One setting that is to have another value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeOrder {
    /// The setting, as in a plan.
    #[schema(example = "domains")]
    pub path: String,
    /// The value; of an entry an object with its settings; null takes away what is written.
    #[serde(default)]
    pub value: serde_json::Value,
}

/// What is known of a setting, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OriginView {
    /// The setting.
    pub path: String,
    /// What holds, in TOML.
    pub value: String,
    /// Where that is written: `file`, `configuration` or `default`.
    pub origin: String,
}
