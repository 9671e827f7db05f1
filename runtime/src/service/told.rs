//! What cores tell an edge: kept on disk (`configuration.toml` in the state directory), so that the edge is what it was
//! when it starts with no core in sight, and applied to all that is not the node.

use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use edgeway_config::{EdgeSettings, EdgeTold, LogLevel};
use edgeway_model::alarm::{Alarm, Severity};
use edgeway_model::world::{Configurable, Observable};
use edgeway_model::{NodeId, Told};
use tokio::task::spawn_local;

use crate::clock::unix_ms;
use crate::http::HttpHandle;
use crate::limits::TOLD_AGAIN;
use crate::media::MediaHandle;
use crate::pki::{self, PkiError};
use crate::reactor::Reactor;

const FILE: &str = "configuration.toml";
/// What cores tell cannot be kept.
const ALARM_NOT_KEPT: &str = "edge_settings_not_kept";
/// What that alarm is about.
const ABOUT: &str = "configuration";
/// How the first line of the file begins; behind it stand the core, its revision, and when that was committed.
const HEAD: &str = "# told by";

/// Where it is kept; `None` in memory only, for labs.
pub(super) fn file(state_dir: Option<&Path>) -> Option<PathBuf> {
    state_dir.map(|folder| folder.join(FILE))
}

/// What of an edge is told its settings besides its node.
pub(super) struct ToldParts {
    pub(super) own: EdgeSettings,
    pub(super) media: MediaHandle,
    pub(super) http: Option<HttpHandle>,
    pub(super) file: Option<PathBuf>,
    /// The level of the log that settings have asked for last.
    pub(super) level: Cell<LogLevel>,
}

impl ToldParts {
    fn apply<N>(&self, reactor: &Reactor<N>, told: &Told)
    where
        N: Observable + 'static,
    {
        let Ok(says) = EdgeTold::parse(&told.text, told.from.as_str()) else { return };
        let settings = says.over(&self.own);
        reactor.set_bounds(settings.limits.flows_max, settings.limits.strangers_per_address);
        self.media.set_marking(settings.media.dscp.into());
        if let Some(http) = &self.http {
            http.set_bounds(settings.limits.strangers_per_address);
        }
        // Told again and again: whoever started the log at another level by hand keeps it until this changes.
        if self.level.replace(settings.log.level) != settings.log.level {
            crate::log::set_level(settings.log.level.as_str());
        }
    }
}

/// Takes what was kept into use, and whatever cores tell from now on.
pub(super) fn follow<N>(reactor: &Rc<Reactor<N>>, parts: ToldParts)
where
    N: Observable + Configurable<Told> + 'static,
{
    if let Some(told) = parts.file.as_deref().and_then(load) {
        reactor.configure(&told);
        parts.apply(reactor, &told);
    }
    let keeper = Rc::new(Keeper::default());
    let this = Rc::downgrade(reactor);
    reactor.on_told(move |told| {
        let Some(reactor) = this.upgrade() else { return };
        parts.apply(&reactor, &told);
        let Some(file) = parts.file.clone() else { return };
        Rc::clone(&keeper).keep(&reactor, file, told);
    });
}

/// Writes what was told last, and tries again for as long as it cannot.
#[derive(Default)]
struct Keeper {
    /// What is to be written: only the newest counts.
    next: RefCell<Option<Told>>,
    at_work: Cell<bool>,
}

impl Keeper {
    fn keep<N: Observable + 'static>(self: Rc<Self>, reactor: &Rc<Reactor<N>>, file: PathBuf, told: Told) {
        self.next.replace(Some(told));
        if self.at_work.replace(true) {
            return;
        }
        let reactor = Rc::downgrade(reactor);
        spawn_local(async move {
            while let Some(told) = self.next.take() {
                let (to, text) = (file.clone(), render(&told));
                let stored = tokio::task::spawn_blocking(move || pki::replace(&to, text.as_bytes())).await;
                let Some(reactor) = reactor.upgrade() else { break };
                match stored {
                    Ok(Ok(())) => reactor.end_alarm(ALARM_NOT_KEPT, ABOUT),
                    Ok(Err(error)) => {
                        reactor.raise_alarm(not_kept(&file, &error));
                        drop(reactor);
                        tokio::time::sleep(TOLD_AGAIN).await;
                        self.next.borrow_mut().get_or_insert(told);
                    }
                    Err(_) => break,
                }
            }
            self.at_work.set(false);
        });
    }
}

fn not_kept(file: &Path, error: &PkiError) -> Alarm {
    let why = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    Alarm {
        id: ALARM_NOT_KEPT,
        about: ABOUT.to_owned(),
        severity: Severity::Error,
        cause: format!(
            "What cores tell this edge holds, and cannot be kept ({why}): after a restart it is as it was kept last, or as its own file says, until a core is linked."
        ),
        action: format!(
            "Make room, or let the service write {}; it is tried again by itself.",
            file.parent().unwrap_or(file).display()
        ),
        since_ms: unix_ms(),
        node: None,
    }
}

fn render(told: &Told) -> String {
    format!("{HEAD} {} {} {}\n{}", told.from, told.revision, told.committed_ms, told.text)
}

/// What was kept; nothing, with a word to the log, where that cannot be read: then the edge is as its own file says until
/// a core is linked.
fn load(file: &Path) -> Option<Told> {
    let bytes = match pki::read_private(file) {
        Ok(bytes) => bytes?,
        Err(error) => {
            tracing::warn!(%error, "what cores have told is not known any more");
            return None;
        }
    };
    let told = String::from_utf8(bytes).ok().as_deref().and_then(parse);
    if told.is_none() {
        tracing::warn!(file = %file.display(), "what cores have told is damaged, and not used");
    }
    told
}

fn parse(text: &str) -> Option<Told> {
    let (head, text) = text.split_once('\n')?;
    let mut words = head.strip_prefix(HEAD)?.split_ascii_whitespace();
    let from = NodeId::new(words.next()?)?;
    let (revision, committed_ms) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    EdgeTold::parse(text, from.as_str()).ok()?;
    Some(Told { from, revision, committed_ms, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_what_is_damaged_is_not() {
        let text = "[limits]\nflows_max = 5\n".to_owned();
        let told = Told { from: NodeId::new("core1").expect("a name"), revision: 7, committed_ms: 9, text };
        let kept = render(&told);
        assert_eq!(parse(&kept), Some(told));
        for damaged in [
            "",
            "[limits]\nflows_max = 5\n",
            &kept.replace("told by core1", "told by CORE 1"),
            &kept.replace(" 9\n", "\n"),
            &kept.replace("flows_max = 5", "flows_max = 0"),
            &kept[..kept.len() - 4],
        ] {
            assert_eq!(parse(damaged), None, "{damaged}");
        }
    }
}
