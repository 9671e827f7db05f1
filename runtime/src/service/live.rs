//! New settings for a core that runs.
//!
//! Made ready aside, file by file, then swapped in. What is bound to sockets and names stays until the service is started
//! anew; everything else holds for what begins from then on, and nothing that is under way ends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgeway_config::{AuthoritySettings, CoreSettings, LogLevel};
use edgeway_model::notice::Notice;
use edgeway_model::world::{Configurable, Observable};
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use super::diallers::CoreEdges;
use super::inside_tls;
use super::watch::{CERTIFICATES_EVERY, Stamp, stamp};
use crate::clock::unix_ms;
use crate::dns::Resolver;
use crate::handshake::Offered;
use crate::http::{HttpHandle, LocalFuture};
use crate::inside::InsideTls;
use crate::limits::PREPARED_KEPT;
use crate::media::MediaHandle;
use crate::operate::{Live, Prepared};
use crate::pki::Trust;
use crate::reactor::Reactor;
use crate::tls::CertificateStore;

/// What of a core can be told other settings, besides its node.
pub(super) struct LiveParts {
    pub(super) media: MediaHandle,
    pub(super) http: Option<HttpHandle>,
    pub(super) edges: Rc<CoreEdges>,
    /// Woken when the edges are to be looked at.
    pub(super) look_again: Rc<Notify>,
    pub(super) trust: Rc<Trust>,
    /// Shown by the TLS listeners inside, where there are some.
    pub(super) offered: Option<Offered>,
    /// The certificate shown inside, for the operator's list.
    pub(super) own: Rc<RefCell<Option<Arc<CertificateStore>>>>,
    pub(super) drain: Rc<Cell<Duration>>,
    /// The level of the log that settings have asked for last.
    pub(super) level: Cell<LogLevel>,
}

/// A core whose settings can change.
pub(super) struct LiveCore<N> {
    reactor: Rc<Reactor<N>>,
    parts: LiveParts,
    /// What it was started with: what cannot change is as it stands here.
    started: CoreSettings,
    in_force: RefCell<Arc<CoreSettings>>,
    prepared: RefCell<Option<Ready>>,
    /// Held while something is prepared or applied: one at a time.
    turn: Mutex<()>,
}

/// Settings that wait to be used.
struct Ready {
    settings: Arc<CoreSettings>,
    tls: InsideTls,
    since: Instant,
}

/// Whether there is anything to chat with.
pub(super) fn chats(settings: &CoreSettings) -> bool {
    !(settings.xmpp_servers.is_empty() && settings.uc.im_and_presence.is_empty())
}

impl<N: Observable + Configurable<CoreSettings> + 'static> LiveCore<N> {
    pub(super) fn new(reactor: Rc<Reactor<N>>, settings: &CoreSettings, parts: LiveParts) -> Rc<Self> {
        let in_force = RefCell::new(Arc::new(settings.clone()));
        let (prepared, turn) = (RefCell::default(), Mutex::default());
        Rc::new(Self { reactor, parts, started: settings.clone(), in_force, prepared, turn })
    }

    /// Makes ready for settings of which everything can be used now.
    async fn ready(&self, settings: Arc<CoreSettings>) -> Result<(), Vec<String>> {
        let lines = |why: String| why.lines().map(str::to_owned).collect::<Vec<_>>();
        // Disks are slow, and the reactor waits for none.
        let named = Arc::clone(&settings);
        let read = tokio::task::spawn_blocking(move || inside_tls(&named).map_err(|fault| fault.to_string()));
        let tls = read.await.unwrap_or_else(|_| Err("the files of sip.tls could not be read".to_owned()));
        let http = match &self.parts.http {
            Some(http) => http.prepare(Arc::clone(&settings)).await.unwrap_or_else(|_| Err(ended())),
            None => Ok(()),
        };
        match (tls, http) {
            (Ok(tls), Ok(())) => {
                self.prepared.replace(Some(Ready { settings, tls, since: Instant::now() }));
                Ok(())
            }
            (tls, http) => {
                self.abort();
                Err(tls.err().map(lines).into_iter().chain(http.err()).flatten().collect())
            }
        }
    }

    /// `None`: nothing was prepared. Else the names of the certificate that is shown inside.
    async fn swap(&self) -> Option<Vec<String>> {
        let Ready { settings, tls, .. } = self.prepared.take()?;
        if let Some(http) = &self.parts.http
            && !http.apply().await.unwrap_or(false)
        {
            return None;
        }
        self.reactor.attach_resolver(Resolver::new(settings.sip.dns_servers.clone()));
        if let Some(client) = tls.client {
            self.reactor.attach_inside_tls(client);
        }
        if let (Some(offered), Some(server)) = (&self.parts.offered, tls.server) {
            offered.replace(server);
        }
        let names = tls.own.as_ref().map(|own| own.names()).unwrap_or_default();
        self.parts.own.replace(tls.own);
        if self.parts.level.replace(settings.log.level) != settings.log.level {
            crate::log::set_level(settings.log.level.as_str());
        }
        self.parts.drain.set(settings.drain_timeout);
        self.parts.trust.set_validity(settings.link.certificate_lifetime);
        self.parts.media.set_marking(settings.media.dscp.into());
        self.parts.edges.set(&settings.link);
        self.parts.look_again.notify_one();
        self.reactor.attach_chat(self.parts.http.is_some() && chats(&settings));
        self.reactor.configure(&*settings);
        self.in_force.replace(settings);
        Some(names)
    }

    /// The files that the settings name are taken when they have changed and then stayed as they are for a moment, or at
    /// SIGHUP: certificates, authorities, the allow list.
    pub(super) async fn watch_files(self: Rc<Self>) {
        let mut hang_up = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok();
        let mut named = files(&self.in_force.borrow());
        let mut taken = stamps(&named);
        let mut seen = taken.clone();
        loop {
            let asked = async {
                match &mut hang_up {
                    Some(hang_up) => hang_up.recv().await,
                    None => std::future::pending().await,
                }
            };
            let asked = tokio::select! {
                asked = asked => asked.is_some(),
                () = tokio::time::sleep(CERTIFICATES_EVERY) => false,
            };
            let now_named = files(&self.in_force.borrow());
            if now_named != named {
                // Other settings name other files, and have read them.
                named = now_named;
                taken = stamps(&named);
                seen.clone_from(&taken);
            }
            let now = stamps(&named);
            let settled = now == std::mem::replace(&mut seen, now.clone());
            if !asked && (!settled || now == taken) {
                continue;
            }
            let _one_at_a_time = self.turn.lock().await;
            let waits = self.prepared.borrow().as_ref().is_some_and(|ready| ready.since.elapsed() < PREPARED_KEPT);
            if waits {
                // Whoever has prepared something reads the files, too, and is about to use it.
                continue;
            }
            taken = now;
            self.read_again().await;
        }
    }

    async fn read_again(&self) {
        let settings = Arc::clone(&self.in_force.borrow());
        let notice = match self.ready(settings).await {
            Ok(()) => {
                let swapped = self.swap().await;
                self.reactor.count_reload(swapped.is_some());
                let names = swapped.unwrap_or_default();
                tracing::info!("the files that the settings name were read again");
                (!names.is_empty()).then_some(Notice::CertificatesReloaded { names })
            }
            Err(why) => {
                self.reactor.count_reload(false);
                Some(Notice::CertificatesRejected { why: why.join("; ") })
            }
        };
        if let Some(notice) = notice {
            self.reactor.announce(&notice);
        }
    }
}

impl<N: Observable + Configurable<CoreSettings> + 'static> Live for LiveCore<N> {
    fn prepare(self: Rc<Self>, settings: Arc<CoreSettings>) -> LocalFuture<'static, Result<Prepared, Vec<String>>> {
        Box::pin(async move {
            let _one_at_a_time = self.turn.lock().await;
            let (mut settings, restart) = usable(&self.started, &settings);
            if settings.committed.at_ms == 0 {
                // Nobody has committed them anywhere: they are of now.
                settings.committed.at_ms = unix_ms();
            }
            self.ready(Arc::new(settings)).await?;
            Ok(Prepared { restart })
        })
    }

    fn apply(self: Rc<Self>) -> LocalFuture<'static, bool> {
        Box::pin(async move {
            let _one_at_a_time = self.turn.lock().await;
            let applied = self.swap().await.is_some();
            self.reactor.count_reload(applied);
            applied
        })
    }

    fn abort(&self) {
        self.prepared.take();
        if let Some(http) = &self.parts.http {
            http.abort();
        }
    }
}

fn ended() -> Vec<String> {
    vec!["the HTTP side has ended".to_owned()]
}

/// `new`, but for what stays as `started` has it until the next start; and which settings of `new` those are.
fn usable(started: &CoreSettings, new: &CoreSettings) -> (CoreSettings, Vec<String>) {
    let mut usable = new.clone();
    let mut restart = Vec::new();
    macro_rules! stays {
        ($($name:literal: $($field:ident).+;)*) => { $(
            if new.$($field).+ != started.$($field).+ {
                restart.push($name.to_owned());
                usable.$($field).+ = started.$($field).+.clone();
            }
        )* };
    }
    stays! {
        "node": node;
        "state_dir": state_dir;
        "control_socket": control_socket;
        "metrics": metrics;
        "log.format": log.format;
        "sip.listen": sip.listen;
        "sip.advertise": sip.advertise;
        "sip.tls.listen": sip.tls.listen;
        "media.address": media.address;
        "media.ports": media.ports;
        "link.listen": link.listen;
        "link.public_address": link.public_address;
        "sign_in.key_file": sign_in.key_file;
        "admin.listen": admin.listen;
        "admin.names": admin.names;
    }
    // Two settings stand in one value each.
    let (was, is) = (&started.log.hep, &new.log.hep);
    stays_in_two(
        &mut restart,
        was.as_ref(),
        is.as_ref(),
        [("hep.collector", |a, b| a.collector == b.collector), ("hep.capture_id", |a, b| a.capture_id == b.capture_id)],
    );
    usable.log.hep.clone_from(was);
    let (was, is) = (&started.admin.certificate, &new.admin.certificate);
    stays_in_two(
        &mut restart,
        was.as_ref(),
        is.as_ref(),
        [("admin.certificate", |a, b| a.chain == b.chain), ("admin.key", |a, b| a.key == b.key)],
    );
    usable.admin.certificate.clone_from(was);
    // The listeners that are there show what they have shown.
    if !usable.sip.tls.listen.is_empty() && usable.sip.tls.certificate.is_none() {
        usable.sip.tls.certificate.clone_from(&started.sip.tls.certificate);
    }
    (usable, restart)
}

/// One of two settings that are one value: its name, and whether it is the same in both.
type Half<T> = (&'static str, fn(&T, &T) -> bool);

/// Says which of two settings that are one value wait for a restart: those that are not the same, and the first where the
/// value comes or goes.
fn stays_in_two<T>(restart: &mut Vec<String>, was: Option<&T>, is: Option<&T>, [first, second]: [Half<T>; 2]) {
    match (was, is) {
        (None, None) => {}
        (Some(was), Some(is)) => {
            let other = [first, second].into_iter().filter(|(_, same)| !same(was, is));
            restart.extend(other.map(|(name, _)| name.to_owned()));
        }
        (None, Some(_)) | (Some(_), None) => restart.push(first.0.to_owned()),
    }
}

/// The files that settings name and that are read when they are taken.
fn files(settings: &CoreSettings) -> Vec<String> {
    let mut files: Vec<String> = settings.sip.tls.ca.iter().cloned().collect();
    files.extend(settings.sip.tls.certificate.iter().flat_map(|pair| [pair.chain.clone(), pair.key.clone()]));
    files.extend(settings.http.allow_list.clone());
    files.extend(settings.http.ca.clone());
    let uc = &settings.uc;
    files.extend(uc.unified_cm.iter().chain(&uc.im_and_presence).chain(&uc.unity).filter_map(|one| one.ca.clone()));
    files.extend(settings.xmpp_servers.iter().filter_map(|one| one.ca.clone()));
    for deployment in &settings.deployments {
        if let AuthoritySettings::Ldap(ldap) = &deployment.authority {
            files.extend(ldap.ca.clone());
        }
    }
    files
}

fn stamps(files: &[String]) -> Vec<Stamp> {
    files.iter().map(|file| stamp(file)).collect()
}

#[cfg(test)]
mod tests;
