//! Maintenance mode as an operator orders it: what is asked for, and that it may outlive a restart of the process.

use std::cell::Cell;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use edgeway_model::maintenance::MaintenanceOrder;
use edgeway_model::world::{Observable, Status};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::clock::unix_ms;
use crate::limits::MAINTENANCE_WITHIN_MAX;
use crate::pki::limits::STATE_FILE_BYTES_MAX;
use crate::pki::store;
use crate::reactor::Reactor;
use crate::tls::read_file;

/// In the state directory, while maintenance mode is to outlive a restart.
const FILE: &str = "maintenance.json";

/// Where an operator orders it.
pub(crate) struct Desk<N: Observable + 'static> {
    reactor: Rc<Reactor<N>>,
    /// Where it is written down; none in the lab.
    state_dir: Option<PathBuf>,
    /// What was ordered, while maintenance mode is on.
    ordered: Cell<Option<Ordered>>,
    /// Held while something is ordered: one thing at a time.
    turn: Mutex<()>,
}

#[derive(Clone, Copy, Debug)]
struct Ordered {
    /// When what is still there ends, Unix milliseconds.
    until_ms: Option<u64>,
    /// It outlives a restart.
    kept: bool,
}

impl<N: Observable + 'static> Desk<N> {
    /// Orders again what was to outlive a restart.
    pub(crate) fn open(reactor: Rc<Reactor<N>>, state_dir: Option<PathBuf>) -> Rc<Self> {
        let kept = state_dir.as_deref().and_then(kept);
        let desk = Self { reactor, state_dir, ordered: Cell::new(None), turn: Mutex::default() };
        if let Some(until_ms) = kept {
            tracing::warn!("maintenance mode is on, as it was before the restart");
            desk.begin(Ordered { until_ms, kept: true });
        }
        Rc::new(desk)
    }

    fn begin(&self, ordered: Ordered) {
        self.ordered.set(Some(ordered));
        let within = ordered.until_ms.map(|until_ms| Duration::from_millis(until_ms.saturating_sub(unix_ms())));
        self.reactor.maintain(MaintenanceOrder::Begin { within });
        self.reactor.keep_maintenance(ordered.kept);
    }

    /// What is asked: `{"on": true, "within_s": 600, "keep": true}` begins it, with a deadline and so that it outlives
    /// a restart; while it is on, what is not named stays as it is, and `"within_s": null` takes the deadline away.
    /// `{"on": false}` ends it; `{}` only asks. The answer is how it stands.
    ///
    /// # Errors
    /// In the operator's words. Then nothing has begun; but what was to end has ended, even where its file is in the way.
    pub(crate) async fn ask(&self, question: &Value) -> Result<Value, String> {
        let _one_at_a_time = self.turn.lock().await;
        let flag = |name: &str| match question.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(format!("{name} is true or false")),
        };
        let before = self.ordered.get();
        let until_ms = match question.get("within_s") {
            None => before.and_then(|before| before.until_ms),
            Some(Value::Null) => None,
            Some(seconds) => {
                let within = seconds.as_u64().map(Duration::from_secs).filter(|one| *one <= MAINTENANCE_WITHIN_MAX);
                let within = within.ok_or("the deadline is a number of seconds, at most those of a week")?;
                Some(unix_ms().saturating_add(millis(within)))
            }
        };
        let kept = flag("keep")?.or(before.map(|before| before.kept)).unwrap_or(false);
        match flag("on")? {
            Some(true) => {
                let ordered = Ordered { until_ms, kept };
                self.write(Some(ordered).filter(|ordered| ordered.kept)).await?;
                self.begin(ordered);
            }
            Some(false) => {
                self.ordered.set(None);
                self.reactor.maintain(MaintenanceOrder::Cancel);
                self.write(None).await?;
            }
            None => {}
        }
        Ok(report(&self.reactor.status()))
    }

    /// Writes down that it outlives a restart, or that it does not. Disks are slow, and the reactor waits for none.
    async fn write(&self, ordered: Option<Ordered>) -> Result<(), String> {
        let Some(dir) = self.state_dir.clone() else { return Ok(()) };
        let written = tokio::task::spawn_blocking(move || write(&dir, ordered)).await;
        written.unwrap_or_else(|_| Err("nobody knows whether it was written down: ask again".to_owned()))
    }
}

fn write(dir: &Path, ordered: Option<Ordered>) -> Result<(), String> {
    let path = dir.join(FILE);
    let Some(ordered) = ordered else {
        return match std::fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(format!("{} cannot be removed: {error}", path.display())),
        };
    };
    let text = json!({ "until_ms": ordered.until_ms }).to_string();
    let written = store::ensure_directory(dir).and_then(|()| store::replace(&path, text.as_bytes()));
    written.map_err(|error| format!("it cannot be made to outlive a restart, so nothing has changed: {error}"))
}

/// What was written down, and its deadline. That it is there at all says that this node was to stay out of service: of a
/// file that is damaged only the deadline is lost.
fn kept(dir: &Path) -> Option<Option<u64>> {
    let damaged = |why: &str| {
        tracing::error!("the deadline of maintenance mode is lost: {FILE} {why}");
        None
    };
    let text = match read_file(&dir.join(FILE), STATE_FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => return Some(damaged(&error.to_string())),
    };
    let written: Option<Value> = serde_json::from_slice(&text).ok();
    Some(match written.as_ref().and_then(|written| written.get("until_ms")) {
        Some(Value::Null) => None,
        Some(until) => until.as_u64().or_else(|| damaged("is damaged")),
        None => damaged("is damaged"),
    })
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// How it stands.
pub(crate) fn report(status: &Status) -> Value {
    json!({
        "node": status.node,
        "on": status.maintenance.is_some(),
        "kept": status.maintenance.is_some_and(|one| one.kept),
        "lasted_s": status.maintenance.map(|one| one.lasted.as_secs()),
        "left_s": status.maintenance.and_then(|one| one.left).map(|left| left.as_secs()),
        "estimate_s": estimate(status).map(|left| left.as_secs()),
        "drained": is_drained(status),
        "remaining": remaining(status),
    })
}

/// What is still served, by kind.
pub(crate) fn remaining(status: &Status) -> Value {
    json!({
        "calls": status.calls.current,
        "registrations": status.registrations.current,
        "chats": status.chats.current,
        "requests": status.proxied + status.provisioning,
    })
}

/// Whether maintenance mode is on and nothing is served any more.
pub(crate) fn is_drained(status: &Status) -> bool {
    status.maintenance.is_some() && under_way(status) + status.registrations.current == 0
}

/// How long until the node is drained: by its deadline at the latest. `None` while nothing tells: a chat goes on for as
/// long as its client wants, and so may a call that has outlasted all others.
pub(crate) fn estimate(status: &Status) -> Option<Duration> {
    let maintenance = status.maintenance?;
    if is_drained(status) {
        return Some(Duration::ZERO);
    }
    let sip = status.calls.current + status.registrations.current;
    let known = status.chats.current == 0 && (sip > 0 || status.proxied + status.provisioning == 0);
    let expected = maintenance.sip_left.filter(|_| known);
    match (expected, maintenance.left) {
        (Some(expected), Some(left)) => Some(expected.min(left)),
        (expected, left) => expected.or(left),
    }
}

/// Whatever somebody would notice the end of.
pub(crate) fn under_way(status: &Status) -> u64 {
    status.calls.current + status.chats.current + status.proxied + status.provisioning
}

#[cfg(test)]
mod tests {
    use edgeway_model::maintenance::MaintenanceStatus;
    use edgeway_model::world::Gauge;

    use super::*;

    #[test]
    fn the_estimate_is_what_is_known_and_nothing_else() {
        let gauge = |current| Gauge { current, peak: 9 };
        let seconds = |status: &Status| estimate(status).map(|left| left.as_secs());
        let mut status = Status { calls: gauge(2), ..Status::default() };
        assert_eq!(seconds(&status), None, "a node in service drains not");
        let mut maintenance = MaintenanceStatus { sip_left: Some(Duration::from_secs(90)), ..Default::default() };
        status.maintenance = Some(maintenance);
        assert_eq!(seconds(&status), Some(90));
        status.chats = gauge(1);
        assert_eq!(seconds(&status), None, "nobody knows how long a chat goes on");
        maintenance.left = Some(Duration::from_secs(600));
        status.maintenance = Some(maintenance);
        assert_eq!(seconds(&status), Some(600), "but at the deadline it ends");
        status.chats = gauge(0);
        assert_eq!(seconds(&status), Some(90));
        maintenance.left = Some(Duration::from_secs(30));
        status.maintenance = Some(maintenance);
        assert_eq!(seconds(&status), Some(30));
        (status.calls, status.proxied) = (gauge(0), 1);
        maintenance.left = None;
        status.maintenance = Some(maintenance);
        assert_eq!(seconds(&status), None, "a download may take its time");
        status.proxied = 0;
        assert_eq!(seconds(&status), Some(0));
    }
}
