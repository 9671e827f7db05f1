//! Maintenance mode as an operator orders it: what is asked for, and that it may outlive a restart of the process.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use edgeway_model::maintenance::MaintenanceOrder;
use edgeway_model::world::{Observable, Status};
use serde_json::{Value, json};

use crate::clock::unix_ms;
use crate::limits::MAINTENANCE_WITHIN_MAX;
use crate::pki::store;
use crate::reactor::Reactor;

/// In the state directory, while maintenance mode is to outlive a restart.
const FILE: &str = "maintenance.json";

/// Where an operator orders it.
pub(crate) struct Desk<N: Observable + 'static> {
    reactor: Rc<Reactor<N>>,
    /// Where it is written down; none in the lab.
    state_dir: Option<PathBuf>,
}

impl<N: Observable + 'static> Desk<N> {
    /// Orders again what was to outlive a restart.
    pub(crate) fn open(reactor: Rc<Reactor<N>>, state_dir: Option<PathBuf>) -> Rc<Self> {
        let desk = Self { reactor, state_dir };
        match desk.state_dir.as_deref().and_then(kept) {
            None => {}
            Some(Ok(within)) => {
                tracing::warn!("maintenance mode is on, as it was before the restart");
                desk.reactor.maintain(MaintenanceOrder::Begin { within });
            }
            // That it is there at all says that this node was to stay out of service; only the deadline is lost.
            Some(Err(why)) => {
                tracing::error!(
                    "maintenance mode is on, as it was before the restart, without a deadline: {FILE} {why}"
                );
                desk.reactor.maintain(MaintenanceOrder::Begin { within: None });
            }
        }
        Rc::new(desk)
    }

    /// What is asked: `{"on": true, "within_s": 600, "keep": true}` begins it, with a deadline and so that it outlives
    /// a restart; `{"on": false}` ends it; `{}` only asks. The answer is how it stands.
    ///
    /// # Errors
    /// In the operator's words; then nothing has changed.
    pub(crate) fn ask(&self, question: &Value) -> Result<Value, String> {
        let flag = |name: &str| match question.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(format!("{name} is true or false")),
        };
        let within = match question.get("within_s") {
            None | Some(Value::Null) => None,
            Some(seconds) => {
                let seconds = seconds.as_u64().map(Duration::from_secs);
                Some(
                    seconds
                        .filter(|within| *within <= MAINTENANCE_WITHIN_MAX)
                        .ok_or("within_s is a number of seconds, at most a week")?,
                )
            }
        };
        let keep = flag("keep")?.unwrap_or(false);
        match flag("on")? {
            Some(true) => {
                self.write(keep.then_some(within))?;
                self.reactor.maintain(MaintenanceOrder::Begin { within });
            }
            Some(false) => {
                self.write(None)?;
                self.reactor.maintain(MaintenanceOrder::Cancel);
            }
            None => {}
        }
        Ok(report(&self.reactor.status()))
    }

    /// Writes down that it outlives a restart, or that it does not.
    fn write(&self, kept: Option<Option<Duration>>) -> Result<(), String> {
        let Some(dir) = &self.state_dir else { return Ok(()) };
        let path = dir.join(FILE);
        match kept {
            Some(within) => {
                let until_ms = within.map(|within| unix_ms().saturating_add(millis(within)));
                let text = json!({ "until_ms": until_ms }).to_string();
                store::ensure_directory(dir).and_then(|()| store::replace(&path, text.as_bytes()))
            }
            .map_err(|error| error.to_string()),
            None => match std::fs::remove_file(&path) {
                Ok(()) => Ok(()),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                Err(error) => Err(format!("{} cannot be removed: {error}", path.display())),
            },
        }
    }
}

/// What was written down: how long it has yet to go.
fn kept(dir: &Path) -> Option<Result<Option<Duration>, String>> {
    let text = match std::fs::read(dir.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => return Some(Err(format!("cannot be read: {error}"))),
    };
    let written: Option<Value> = serde_json::from_slice(&text).ok();
    let until = written.as_ref().and_then(|written| written.get("until_ms"));
    Some(match until {
        Some(Value::Null) => Ok(None),
        Some(until) => until
            .as_u64()
            .map(|until| Some(Duration::from_millis(until.saturating_sub(unix_ms()))))
            .ok_or_else(|| "is damaged".to_owned()),
        None => Err("is damaged".to_owned()),
    })
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// How it stands.
pub(crate) fn report(status: &Status) -> Value {
    let drained = status.maintenance.is_some() && remaining(status) == 0;
    json!({
        "node": status.node,
        "on": status.maintenance.is_some(),
        "lasted_s": status.maintenance.map(|one| one.lasted.as_secs()),
        "left_s": status.maintenance.and_then(|one| one.left).map(|left| left.as_secs()),
        "drained": drained,
        "remaining": {
            "calls": status.calls.current,
            "registrations": status.registrations.current,
            "chats": status.chats.current,
            "requests": status.proxied + status.provisioning,
        },
    })
}

/// How much is still served, of all kinds.
fn remaining(status: &Status) -> u64 {
    under_way(status) + status.registrations.current
}

/// The same without registrations: what somebody would notice the end of.
pub(crate) fn under_way(status: &Status) -> u64 {
    status.calls.current + status.chats.current + status.proxied + status.provisioning
}
