//! What changes would do, before they are made.

use super::{Change, Content, Path};
use crate::known::{self, Impact, Preset, Role};
use crate::settings::CoreSettings;

/// What changes would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One for each change, in the order of the changes.
    pub steps: Vec<Step>,
}

/// What one change would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub path: Path,
    /// What stands there, as it is shown; `None`: nothing, and the default holds.
    pub before: Option<String>,
    /// What is to stand there, as it is shown.
    pub after: Option<String>,
    /// What it takes.
    pub impact: Impact,
}

const NOTHING: Impact = Impact::AtOnce("nothing changes: the same holds, written in another way");

/// What `changes` would do to a core with the settings `before`, which would have the settings `after` then.
#[must_use]
pub fn plan(before: &CoreSettings, after: &CoreSettings, changes: &[Change]) -> Plan {
    // Which revision it is changes nothing.
    let same = CoreSettings { committed: after.committed, ..before.clone() } == *after;
    let step = |change: &Change| Step {
        path: change.path.clone(),
        before: change.before.as_ref().map(Content::shown),
        after: change.after.as_ref().map(Content::shown),
        impact: if same || writes_the_default(change) { NOTHING } else { impact(change) },
    };
    Plan { steps: changes.iter().map(step).collect() }
}

/// Whether one side is the default and the other is not written.
fn writes_the_default(change: &Change) -> bool {
    let Path::Setting(path) = &change.path else { return false };
    let Some(Preset::Toml(preset)) = known::find(Role::Core, path).map(|setting| setting.preset) else { return false };
    match (&change.before, &change.after) {
        (None, Some(written)) | (Some(written), None) => written.shown() == preset,
        (None, None) => true,
        (Some(_), Some(_)) => false,
    }
}

/// Of an entry that comes or goes: the heaviest of its settings'.
fn impact(change: &Change) -> Impact {
    let own = change.path.setting().map(|setting| setting.impact);
    let (Path::Entry { list, .. }, Some(Content::Entry(entry))) =
        (&change.path, change.after.as_ref().or(change.before.as_ref()))
    else {
        return own.unwrap_or(NOTHING);
    };
    let of = |key: &str| known::find(Role::Core, &format!("{list}.{key}")).map(|setting| setting.impact);
    entry.iter().filter_map(|(key, _)| of(key)).chain(own).max_by_key(|impact| weight(*impact)).unwrap_or(NOTHING)
}

const fn weight(impact: Impact) -> u8 {
    match impact {
        Impact::AtOnce(_) => 0,
        Impact::NewFlows(_) => 1,
        Impact::Drains(_) => 2,
        Impact::Restart(_) => 3,
    }
}
