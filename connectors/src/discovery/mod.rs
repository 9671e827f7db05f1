//! Discovery of the UC servers: what is known of them now, how it is learnt, and how it is learnt anew with
//! nobody noticing.
//!
//! * A server nothing is known of is asked at once, and again until it answers.
//! * From then on what is known is **static**: it changes by `edgeway servers refresh` and by nothing else but the keys
//!   of tokens, which clusters change by themselves.
//! * Meanwhile each server is **looked at**, read-only, every few minutes. What it says otherwise than the snapshot in
//!   use raises an alarm that names it.
//! * A refresh asks aside, everybody at once, and swaps one cluster or several in one assignment. A cluster is taken
//!   whole or not at all: one that is slow, broken, lying or half down keeps what was known of it, and an alarm says
//!   why; the others are taken all the same, unless two would then claim one node.
//! * The last good snapshot is kept on disk, so that a core that starts while its servers are down serves as before.

pub(crate) mod alarms;
mod current;
pub mod fault;
mod https;
mod kept;
pub mod limits;
mod look;
mod operate;
mod refresh;
mod server;
mod settings;
pub(crate) mod token_keys;
pub mod web;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgeway_config::settings::CoreSettings;
use edgeway_config::sign_in::{AuthoritySettings, UcServerSettings, UcSettings};
use edgeway_config::xmpp::XmppServerSettings;
use edgeway_model::Random;
use edgeway_model::alarm::Severity;
use edgeway_model::zones::DeploymentZones;
use edgeway_policy::discovery::{Configured, Product, Snapshot};
use edgeway_runtime::clock::unix_ms;
use edgeway_runtime::dns::Resolver;
use edgeway_runtime::http::{HttpFact, Teller};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use self::alarms::Alarms;
pub use self::current::Current;
use self::https::Https;
use self::limits::LOOK_EVERY_MIN;
use self::refresh::Reading;
pub use self::server::Connect;
use self::server::Server;
use self::settings::configured;
pub use self::settings::own_name;
use self::web::Web;

/// A certificate of a server is not checked, because the operator says so.
pub const ALARM_TLS_VERIFY_OFF: &str = "tls_verify_off";
/// A server says something else than what is in use.
pub const ALARM_DRIFT: &str = "server_drift";
/// What is known could not be kept on disk, or not be read from there.
pub const ALARM_NOT_KEPT: &str = "servers_not_kept";
/// A file with a password can be read by others than Edgeway's user.
pub const ALARM_PASSWORD_OPEN: &str = "password_file_open";

/// Discovery, on the HTTP thread of a core.
pub struct Discovery {
    current: Current,
    servers: Vec<Rc<Server>>,
    /// The deployments without what is discovered.
    deployments: Vec<DeploymentZones>,
    /// The hosts that the settings give to each deployment: no cluster of another one may claim them.
    configured: Vec<Configured>,
    own_name: Option<String>,
    /// How often servers are looked at; `None`: never.
    look_every: Option<Duration>,
    /// Where the last good snapshot is kept.
    file: PathBuf,
    alarms: Rc<Alarms>,
    teller: Teller,
    random: RefCell<Random>,
    /// Held while a refresh is under way: one at a time.
    refreshing: Mutex<()>,
    /// How far it is.
    under_way: Cell<Option<Reading>>,
    /// Held while the file is written.
    keeping: Rc<Mutex<()>>,
    /// What looks at the servers.
    tasks: RefCell<Vec<AbortHandle>>,
    /// Another one has taken over.
    over: Cell<bool>,
}

/// What discovery depends on in the settings: whoever changes none of it leaves it alone.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct MadeOf {
    uc: UcSettings,
    deployments: Vec<DeploymentZones>,
    authorities: Vec<AuthoritySettings>,
    im_servers: Vec<XmppServerSettings>,
    dns_servers: Vec<SocketAddr>,
}

impl MadeOf {
    pub(crate) fn these(settings: &CoreSettings) -> Self {
        Self {
            uc: settings.uc.clone(),
            deployments: settings.deployment_zones(),
            authorities: settings.deployments.iter().map(|one| one.authority.clone()).collect(),
            im_servers: settings.xmpp_servers.clone(),
            dns_servers: settings.sip.dns_servers.clone(),
        }
    }
}

impl Discovery {
    /// Makes it; the last good snapshot is in use from here on, and the node is told its zones. Names of servers are
    /// looked up with `resolver`; `allow_loopback` lets them lead to this machine, in a lab.
    #[must_use]
    pub fn new(settings: &CoreSettings, teller: Teller, resolver: Resolver, allow_loopback: bool) -> Rc<Self> {
        let connect: Connect = Rc::new(move |settings: &UcServerSettings| {
            Https::new(settings, resolver.clone(), allow_loopback).map(|https| Box::new(https) as Box<dyn Web>)
        });
        Self::with(settings, teller, &connect)
    }

    /// The same, for servers that are reached in another way.
    #[must_use]
    pub fn with(settings: &CoreSettings, teller: Teller, connect: &Connect) -> Rc<Self> {
        let discovery = Self::idle(settings, teller, connect, None);
        discovery.begin();
        discovery
    }

    /// One for other settings, that does nothing yet: see [`Discovery::take_over`].
    pub(crate) fn renewed(&self, settings: &CoreSettings, resolver: Resolver, allow_loopback: bool) -> Rc<Self> {
        let connect: Connect = Rc::new(move |settings: &UcServerSettings| {
            Https::new(settings, resolver.clone(), allow_loopback).map(|https| Box::new(https) as Box<dyn Web>)
        });
        Self::idle(settings, self.teller.clone(), &connect, Some(self))
    }

    fn idle(settings: &CoreSettings, teller: Teller, connect: &Connect, old: Option<&Self>) -> Rc<Self> {
        let uc = &settings.uc;
        let kinds = [
            (Product::UnifiedCm, &uc.unified_cm),
            (Product::ImAndPresence, &uc.im_and_presence),
            (Product::Unity, &uc.unity),
        ];
        let of = |(product, servers): (Product, &Vec<UcServerSettings>)| {
            let server = |one: &UcServerSettings| Rc::new(Server::new(product, one.clone(), Rc::clone(connect)));
            servers.iter().map(server).collect::<Vec<_>>()
        };
        let mut seed = [0; 32];
        // It spreads looks over time, and nothing else: the clock will do where the system has no randomness.
        if aws_lc_rs::rand::fill(&mut seed).is_err() {
            seed.iter_mut().zip(unix_ms().to_be_bytes()).for_each(|(seed, byte)| *seed = byte);
        }
        let alarms = old.map_or_else(|| Rc::new(Alarms::new(teller.clone())), |old| Rc::clone(&old.alarms));
        Rc::new(Self {
            current: old.map(Self::current).unwrap_or_default(),
            servers: kinds.into_iter().flat_map(of).collect(),
            deployments: settings.deployment_zones(),
            configured: configured(settings),
            own_name: own_name(settings),
            look_every: uc.look_every.map(|every| every.max(LOOK_EVERY_MIN)),
            file: PathBuf::from(&settings.state_dir).join("servers.json"),
            alarms,
            teller,
            random: RefCell::new(Random::from_seed(seed)),
            refreshing: Mutex::default(),
            under_way: Cell::new(None),
            keeping: old.map(|old| Rc::clone(&old.keeping)).unwrap_or_default(),
            tasks: RefCell::default(),
            over: Cell::new(false),
        })
    }

    /// Takes the place of `old` while both of them share what is known: servers that stay keep it, those that are gone
    /// take it with them, new ones are asked. To be called where [`Discovery::start`] is.
    pub(crate) fn take_over(self: &Rc<Self>, old: &Self) {
        old.over.set(true);
        old.tasks.take().iter().for_each(AbortHandle::abort);
        for server in &self.servers {
            let is_same = |one: &&Rc<Server>| one.product == server.product && one.name() == server.name();
            if let Some(known) = old.servers.iter().find(is_same) {
                *server.state.borrow_mut() = known.state.borrow().clone();
            }
        }
        let about = self.file.display().to_string();
        self.alarms.keep_about(|name| name == about || self.servers.iter().any(|server| server.name() == name));
        self.judge_trust();
        let known = self.current.snapshot();
        let left = self.still_named((*known).clone());
        if left.clusters != known.clusters {
            self.current.swap(Snapshot { revision: known.revision + 1, taken_ms: unix_ms(), ..left });
            tokio::task::spawn_local(Rc::clone(self).keep());
        }
        if !old.servers.is_empty() || !self.servers.is_empty() {
            self.teller.tell(HttpFact::Zones(Arc::new(self.current.snapshot().zones(&self.deployments))));
        }
        // Whose settings have changed is asked with the new ones at once.
        self.watch_all(|server| {
            let state = server.state.borrow();
            let stays = old.servers.iter().any(|one| one.product == server.product && one.settings == server.settings);
            stays && state.seen_ms.is_some() && state.fault.is_none()
        });
    }

    /// What is known, for all that needs it.
    #[must_use]
    pub fn current(&self) -> Current {
        self.current.clone()
    }

    /// Starts asking; to be called on the HTTP thread, within its `LocalSet`. It goes on as long as that does.
    pub fn start(self: &Rc<Self>) {
        self.watch_all(|_| false);
    }

    /// `looked`: which of them were looked at already.
    fn watch_all(self: &Rc<Self>, looked: impl Fn(&Server) -> bool) {
        let watch = |server: &Rc<Server>| {
            let watching = Rc::clone(self).watch(Rc::clone(server), looked(server));
            tokio::task::spawn_local(watching).abort_handle()
        };
        *self.tasks.borrow_mut() = self.servers.iter().map(watch).collect();
    }

    /// Says of which servers the operator has switched off that certificates are checked.
    fn judge_trust(&self) {
        for server in &self.servers {
            if server.settings.tls_verify {
                self.alarms.over(ALARM_TLS_VERIFY_OFF, server.name());
                continue;
            }
            let cause = "its certificate is not checked (`tls_verify = false`): whoever is in between reads passwords";
            let action = "give it a certificate that names it, name the authority in `ca`, and remove `tls_verify`";
            self.alarms.raise(ALARM_TLS_VERIFY_OFF, server.name(), Severity::Warning, cause.to_owned(), action);
        }
    }

    /// Takes what was kept into use.
    fn begin(&self) {
        self.judge_trust();
        let about = self.file.display().to_string();
        match kept::load(&self.file) {
            Ok(kept) => {
                let kept = kept.map(|kept| self.still_named(kept)).unwrap_or_default();
                for server in &self.servers {
                    let known = kept.cluster(server.product, server.name()).is_some();
                    server.state.borrow_mut().seen_ms = known.then_some(kept.taken_ms);
                }
                self.current.swap(kept);
            }
            Err(why) => {
                let cause = format!("what was known of the UC servers cannot be read: {why}");
                let action = "nothing: it is discovered anew, and the file written again";
                self.alarms.raise(ALARM_NOT_KEPT, &about, Severity::Warning, cause, action);
            }
        }
        self.tell_zones(&self.current.snapshot());
    }

    /// Of what was kept, that which the settings still name, as they name it.
    fn still_named(&self, mut kept: Snapshot) -> Snapshot {
        kept.clusters.retain_mut(|cluster| {
            let server =
                self.servers.iter().find(|one| one.product == cluster.product && one.name() == cluster.publisher);
            if let Some(server) = server {
                cluster.deployment = server.settings.deployment.clone();
            }
            server.is_some()
        });
        // Clusters that may stand in one deployment may not in two.
        while let Some((cluster, _)) = kept.claimed(&self.configured) {
            let (product, publisher) = (cluster.product, cluster.publisher.clone());
            kept.clusters.retain(|cluster| (cluster.product, &cluster.publisher) != (product, &publisher));
        }
        kept
    }

    fn tell_zones(&self, snapshot: &Snapshot) {
        if !self.servers.is_empty() {
            self.teller.tell(HttpFact::Zones(Arc::new(snapshot.zones(&self.deployments))));
        }
    }
}

#[cfg(test)]
mod tests;
