//! A new snapshot, made aside and swapped in.

use std::cell::Cell;
use std::rc::Rc;

use edgeway_model::alarm::Severity;
use edgeway_model::sign_in::Deployment;
use edgeway_policy::discovery::{Change, Cluster, Product, Snapshot};
use edgeway_runtime::clock::unix_ms;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{Instant, timeout};

use super::fault::{ALARM_FAILED, ALARM_REFUSED, ALARM_UNREACHABLE, AskFault};
use super::limits::{KEYS_AGAIN, KEYS_AGAIN_FAILED, QUESTION_WITHIN};
use super::server::Server;
use super::{ALARM_DRIFT, ALARM_NOT_KEPT, ALARM_PASSWORD_OPEN, Discovery, kept, token_keys};

/// What came of asking one server.
pub(super) struct Read {
    pub(super) server: Rc<Server>,
    pub(super) outcome: Result<Cluster, AskFault>,
}

/// How far a refresh is: whoever waits for it sees that it goes on.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    pub(super) since_ms: u64,
    pub(super) servers: usize,
    pub(super) read: usize,
}

/// A refresh that is under way, until it is done or nobody waits for it any more.
struct UnderWay<'d>(&'d Cell<Option<Reading>>);

impl<'d> UnderWay<'d> {
    fn begin(at: &'d Cell<Option<Reading>>, servers: usize) -> Self {
        at.set(Some(Reading { since_ms: unix_ms(), servers, read: 0 }));
        Self(at)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

impl Discovery {
    /// Asks these servers, all at once. With `tell`, Unified CMs are told of this core.
    pub(super) async fn read(self: &Rc<Self>, servers: Vec<Rc<Server>>, tell: bool) -> Vec<Read> {
        let _until_then = UnderWay::begin(&self.under_way, servers.len());
        let mut asking = JoinSet::new();
        for server in servers {
            let own_name = self.own_name.clone().filter(|_| tell);
            asking.spawn_local(async move {
                let outcome = server.read(own_name.as_deref()).await;
                Read { server, outcome }
            });
        }
        let mut read = Vec::new();
        while let Some(done) = asking.join_next().await {
            // A task that panicked has said so; nothing of its server is taken.
            read.extend(done);
            self.under_way.set(self.under_way.get().map(|under_way| Reading { read: read.len(), ..under_way }));
        }
        read
    }

    /// Puts what was read in the place of what was known of those clusters, as far as all of it together can be true;
    /// what cannot becomes a fault of its server. Returns the snapshot, which is not in use yet.
    pub(super) fn compose(&self, read: &mut [Read]) -> Snapshot {
        let old = self.current.snapshot();
        let all: Vec<&Cluster> = read.iter().filter_map(|one| one.outcome.as_ref().ok()).collect();
        let together = self.replaced(&old, &all);
        if together.claimed(&self.configured).is_none() {
            return together;
        }
        // Somebody claims what is another's. One by one: who disturbs what stands is refused.
        let mut composed = (*old).clone();
        for one in read {
            let Ok(cluster) = &one.outcome else { continue };
            let next = self.replaced(&composed, &[cluster]);
            match next.claimed(&self.configured) {
                None => composed = next,
                Some((_, lie)) => one.outcome = Err(AskFault::Lying(lie)),
            }
        }
        composed
    }

    /// `snapshot` with some clusters replaced, in the order of the settings.
    fn replaced(&self, snapshot: &Snapshot, fresh: &[&Cluster]) -> Snapshot {
        let of = |server: &Rc<Server>| {
            let is_its = |cluster: &&&Cluster| cluster.product == server.product && cluster.publisher == server.name();
            let fresh = fresh.iter().find(is_its).map(|cluster| (**cluster).clone());
            fresh.or_else(|| snapshot.cluster(server.product, server.name()).cloned())
        };
        let clusters = self.servers.iter().filter_map(of).collect();
        Snapshot { revision: snapshot.revision, taken_ms: snapshot.taken_ms, clusters }
    }

    /// Takes a composed snapshot into use, if anything is different in it: one assignment, nobody waits. Says what is.
    pub(super) fn swap(self: &Rc<Self>, mut snapshot: Snapshot) -> Vec<Change> {
        if self.over.get() {
            // New settings have come while it was asked: another one discovers now.
            return Vec::new();
        }
        let old = self.current.snapshot();
        let changes = old.diff(&snapshot);
        snapshot.taken_ms = unix_ms();
        snapshot.revision = if changes.is_empty() { old.revision } else { old.revision + 1 };
        if !changes.is_empty() {
            for change in &changes {
                tracing::info!(revision = snapshot.revision, %change, "UC servers");
            }
            self.tell_zones(&snapshot);
        }
        self.current.swap(snapshot);
        tokio::task::spawn_local(Rc::clone(self).keep());
        changes
    }

    /// Writes what is in use to the disk, which may take its time.
    pub(super) async fn keep(self: Rc<Self>) {
        let _one_at_a_time = self.keeping.lock().await;
        let (file, snapshot) = (self.file.clone(), (*self.current.snapshot()).clone());
        let about = self.file.display().to_string();
        let stored = tokio::task::spawn_blocking(move || kept::store(&file, &snapshot)).await;
        match stored.unwrap_or_else(|panicked| Err(panicked.to_string())) {
            Ok(()) => self.alarms.over(ALARM_NOT_KEPT, &about),
            Err(why) => {
                let cause = format!("what is known of the UC servers cannot be written: {why}");
                let action = "see that the state directory is there, writable, and not full; then refresh";
                self.alarms.raise(ALARM_NOT_KEPT, &about, Severity::Warning, cause, action);
            }
        }
    }

    /// Notes what came of asking: the alarms of a server begin, change and end here.
    pub(super) fn note(&self, read: &[Read]) {
        let snapshot = self.current.snapshot();
        for Read { server, outcome } in read {
            let known = snapshot.cluster(server.product, server.name());
            let mut state = server.state.borrow_mut();
            match outcome {
                Ok(cluster) => {
                    state.seen_ms = Some(unix_ms());
                    state.fault = None;
                    state.drift = known.map(|known| known.diff(cluster)).unwrap_or_default();
                }
                Err(fault) => state.fault = Some(fault.clone()),
            }
            let id = state.fault.as_ref().map(AskFault::alarm);
            for other in [ALARM_UNREACHABLE, ALARM_REFUSED, ALARM_FAILED] {
                if id != Some(other) {
                    self.alarms.over(other, server.name());
                }
            }
            if let Some(fault) = &state.fault {
                let (product, name) = (server.product, server.name());
                let cause = match known {
                    Some(_) => format!("{product} {name}: {fault}; what was known of it goes on being used"),
                    None => format!("{product} {name}: {fault}; nothing is known of it yet: its users cannot sign in"),
                };
                let severity = AskFault::severity(known.is_some());
                self.alarms.raise(fault.alarm(), server.name(), severity, cause, fault.action());
            }
            self.note_drift(server, &state);
            if state.password_open {
                let file = server.settings.password.name();
                let cause = format!("{file} can be read by others");
                let action = "chmod 600 it, and have it belong to Edgeway's user";
                self.alarms.raise(ALARM_PASSWORD_OPEN, file, Severity::Warning, cause, action);
            } else {
                self.alarms.over(ALARM_PASSWORD_OPEN, server.settings.password.name());
            }
        }
    }

    fn note_drift(&self, server: &Server, state: &super::server::State) {
        if state.drift.is_empty() {
            self.alarms.over(ALARM_DRIFT, server.name());
            return;
        }
        let texts: Vec<String> = state.drift.iter().map(ToString::to_string).collect();
        let meaning = state.drift.first().map_or("", |what| what.meaning());
        let cause = format!("{} {} has changed: {}; {meaning}", server.product, server.name(), texts.join("; "));
        let action = format!("edgeway servers refresh {} (with --dry-run to see it first)", server.name());
        self.alarms.raise(ALARM_DRIFT, server.name(), Severity::Warning, cause, &action);
    }

    /// Fetches the token keys of a deployment's clusters again, all at once, because a token came whose key is unknown:
    /// at most once in [`KEYS_AGAIN`] from each cluster. Ends when what there is is in use, and says whether all that may
    /// have signed it have told their keys; who is late is taken all the same.
    pub async fn fetch_keys(self: Rc<Self>, deployment: Deployment) -> bool {
        let mut all = true;
        let mut asking = Vec::new();
        let ours =
            |server: &&Rc<Server>| server.settings.deployment == deployment && server.product == Product::UnifiedCm;
        for server in self.servers.iter().filter(ours) {
            let known = self.current.snapshot();
            let Some(cluster) = known.cluster(server.product, server.name()) else {
                // Whether it issues tokens nobody knows.
                all = false;
                continue;
            };
            let (now, last) = (Instant::now(), server.state.borrow().keys_asked);
            match last {
                _ if !cluster.oauth => {}
                Some((asked, answered)) if now < asked + if answered { KEYS_AGAIN } else { KEYS_AGAIN_FAILED } => {
                    all &= answered;
                }
                Some(_) | None => {
                    server.state.borrow_mut().keys_asked = Some((now, false));
                    asking.push(spawn_local(Rc::clone(&self).fetch_keys_of(Rc::clone(server))));
                }
            }
        }
        for asked in asking {
            all &= asked.await.unwrap_or(false);
        }
        all
    }

    /// Says whether it has answered.
    async fn fetch_keys_of(self: Rc<Self>, server: Rc<Server>) -> bool {
        let Ok(web) = server.web() else { return false };
        let Ok(Ok(keys)) = timeout(QUESTION_WITHIN, token_keys::fetch(&*web)).await else { return false };
        server.state.borrow_mut().keys_asked = Some((Instant::now(), true));
        // It issues none any more: whatever it has signed is void, and a refresh will say so of the cluster.
        let Some(keys) = keys else { return true };
        let mut snapshot = (*self.current.snapshot()).clone();
        let is_its = |cluster: &&mut Cluster| cluster.product == server.product && cluster.publisher == server.name();
        if let Some(cluster) = snapshot.clusters.iter_mut().find(is_its) {
            cluster.token_keys = keys;
            if cluster.check().is_ok() {
                self.swap(snapshot);
            }
        }
        true
    }
}
