//! A whole edge, or a whole core: sockets, threads and node put together.
//!
//! Used by the two services, and by the lab, which runs both in one process. A service runs on the
//! thread that calls it and ends when its [`Stop`] is pulled.

mod diallers;
mod live;
mod told;
mod watch;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgeway_config::{CoreSettings, CoreTlsSettings, EdgeSettings, HepSettings};
use edgeway_model::certificates::{CertificateStatus, CertificateUse};
use edgeway_model::maintenance::MaintenanceOrder;
use edgeway_model::notice::Notice;
use edgeway_model::world::{Configurable, Observable, Status, Transport};
use edgeway_model::{NodeId, Role, Told};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_local;

use self::diallers::{CoreEdges, Diallers, follow_edges};
use self::live::{LiveCore, LiveParts};
use self::told::ToldParts;
use self::watch::{look_after, offer_media, prove_turning, watch_certificates, watch_state};
use crate::chat::{ChatBounds, ChatConfig};
use crate::clock::Clock;
use crate::dns::Resolver;
use crate::handshake::Offered;
use crate::http::limits::DRAIN_MAX;
use crate::http::limits::STALLED_MAX;
use crate::http::{FrontConfig, HttpHandle, MakeInside, Part, Teller};
use crate::inside::InsideTls;
use crate::limits::{CLOSE_MAX, IDLE_POLL};
use crate::listen::{ListenFault, bind_tcp, bind_udp, serve_tcp, serve_tls, serve_udp};
use crate::media::{MediaConfig, MediaFact, MediaHandle};
use crate::operate::{Live, MakeAdmin};
use crate::pki::{EdgeRecord, Identity, JoinDesk, PkiError, Trust};
use crate::reactor::{NoticeSink, Reactor, ReactorLimits, TapSink};
use crate::tls::{CertificateStore, server_config};
use crate::{admin, certificates, link, maintenance, notify, operate};

/// Media facts that may wait for the reactor.
const FACTS_MAX: usize = 4_096;
/// How often a core looks whether it has joined another edge.
const EDGES_EVERY: Duration = Duration::from_secs(1);

/// Why a service could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceFault {
    /// A socket could not be opened.
    #[error(transparent)]
    Listen(#[from] ListenFault),
    /// Certificates, keys or the state directory.
    #[error("{0}")]
    Configuration(String),
    /// The thread that serves HTTPS has ended although nobody had told it to.
    #[error("the thread that serves HTTPS has ended")]
    HttpEnded,
    /// Something of the system failed.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl ServiceFault {
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// The exit code of a program that ends with this fault (sysexits): 78 for what the operator must
    /// set right, 69 for what is not available now, 70 for a fault of the program.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 78,
            Self::Listen(_) | Self::System { .. } => 69,
            Self::HttpEnded => 70,
        }
    }
}

impl From<PkiError> for ServiceFault {
    fn from(error: PkiError) -> Self {
        Self::Configuration(error.to_string())
    }
}

/// Ends a service: dropping it does, too.
#[derive(Debug)]
pub struct Stop {
    now: oneshot::Sender<()>,
    gently: Arc<Notify>,
}

/// The other end of a [`Stop`].
#[derive(Debug)]
pub struct Stopped {
    now: oneshot::Receiver<()>,
    gently: Arc<Notify>,
}

/// A pair of [`Stop`] and what to give to the service.
#[must_use]
pub fn stop() -> (Stop, Stopped) {
    let (stop, now) = oneshot::channel();
    let gently = Arc::new(Notify::new());
    (Stop { now: stop, gently: Arc::clone(&gently) }, Stopped { now, gently })
}

impl Stop {
    /// Ends the service.
    pub fn pull(self) {
        let _ = self.now.send(());
    }

    /// Begins maintenance mode, and ends the service when no call, chat or request is left, or after the time its
    /// settings give it (`drain.timeout`). Until then [`Stop::pull`] ends it at once.
    pub fn ease(&self) {
        self.gently.notify_one();
    }
}

/// Asks a running service for its status, from any thread.
#[derive(Clone, Debug)]
pub struct StatusPort(mpsc::Sender<oneshot::Sender<Status>>);

impl StatusPort {
    /// The status now; `None` if the service has ended or does not answer within two seconds.
    #[must_use]
    pub fn ask(&self) -> Option<Status> {
        let (answer, mut status) = oneshot::channel();
        self.0.try_send(answer).ok()?;
        let give_up = std::time::Instant::now() + Duration::from_secs(2);
        while std::time::Instant::now() < give_up {
            match status.try_recv() {
                Ok(status) => return Some(status),
                Err(oneshot::error::TryRecvError::Empty) => std::thread::sleep(Duration::from_millis(2)),
                Err(oneshot::error::TryRecvError::Closed) => return None,
            }
        }
        None
    }
}

/// What a service is given besides its settings.
#[derive(Default)]
pub struct Hooks {
    /// Called with each notice, on the service's thread.
    pub notice: Option<NoticeSink>,
    /// Called with each SIP message, on the service's thread.
    pub message: Option<TapSink>,
    /// Called once the sockets are bound.
    pub ready: Option<Box<dyn FnOnce(StatusPort)>>,
    /// Core: makes what answers the requests of clients over HTTPS. Without it there is no such service, and no
    /// edge is dialled for it.
    pub inside: Option<MakeInside>,
    /// Makes the administrator's side: API and pages.
    pub admin: Option<MakeAdmin>,
    /// Where the operator is answered although the node's keys are in memory; else that is the settings' word, and for
    /// nodes with files only.
    pub control: Option<PathBuf>,
}

/// Where an edge's identity and certificates come from.
pub enum EdgeKeys {
    /// From the files the settings name.
    Files,
    /// In memory, for the lab.
    Memory {
        /// The node identity.
        identity: Box<Identity>,
        /// The certificates shown to clients.
        certificates: Arc<CertificateStore>,
    },
}

/// Where a core's identity and edges come from.
pub enum CoreKeys {
    /// From its state directory, looked at again and again: joining takes effect at once.
    Files,
    /// In memory, for the lab.
    Memory {
        /// The node identity.
        identity: Box<Identity>,
        /// The edges to dial.
        edges: Vec<EdgeRecord>,
    },
}

/// Runs an edge until it is stopped. `node` is an `EdgeNode` made from the same settings.
///
/// # Errors
/// [`ServiceFault`] when it cannot start.
pub fn run_edge<N: Observable + Configurable<Told> + 'static>(
    settings: &EdgeSettings,
    node: N,
    keys: EdgeKeys,
    hooks: Hooks,
    stopped: Stopped,
) -> Result<(), ServiceFault> {
    let state_dir = PathBuf::from(&settings.state_dir);
    let files = matches!(keys, EdgeKeys::Files).then(|| settings.sip.certificates.clone());
    let (desk, identity, certificates) = match keys {
        EdgeKeys::Files => {
            let certificates = CertificateStore::load(&settings.sip.certificates).map_err(|faults| {
                let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
                ServiceFault::Configuration(lines.join("\n"))
            })?;
            let desk = JoinDesk::open(&state_dir, settings.node.clone(), Role::Edge)?;
            let identity = desk.identity();
            (Some(desk), identity, Arc::new(certificates))
        }
        EdgeKeys::Memory { identity, certificates } => (None, Some(*identity), certificates),
    };
    let sip = bind_all("sip.listen", &settings.sip.listen)?;
    let https = bind_all("https.listen", &settings.https.listen)?;
    let starttls = bind_all("xmpp.listen", &settings.xmpp.listen)?;
    let direct_listeners = bind_all("xmpp.direct_tls_listen", &settings.xmpp.direct_tls_listen)?;
    let link_listener = bind_tcp("link.listen", settings.link.listen)?;
    let media_socket = bind_udp("link.listen (UDP)", settings.link.listen)?;
    let metrics = settings.metrics.map(|at| bind_tcp("metrics", at)).transpose()?;
    let server = identity.as_ref().map(crate::pki::tls::media_server_config).transpose()?;
    let (facts, incoming) = mpsc::channel(FACTS_MAX);
    let media = MediaHandle::start(
        MediaConfig {
            bind: settings.media.address,
            first_port: settings.media.ports.first,
            last_port: settings.media.ports.last,
            marking: settings.media.dscp.into(),
            listen: Some((media_socket, server)),
            seed: seed()?,
        },
        facts,
    )
    .map_err(|fault| ServiceFault::Configuration(fault.to_string()))?;
    let control = hooks.control.clone().or_else(|| desk.is_some().then(|| PathBuf::from(&settings.control_socket)));
    let kept = desk.is_some().then(|| state_dir.clone());
    let keeps = kept.clone();
    let ending = Ending { stopped, within: Rc::new(Cell::new(settings.drain_timeout)) };
    let limits = ReactorLimits {
        flows_max: settings.limits.flows_max,
        handshakes_per_address_max: settings.limits.strangers_per_address,
        ..ReactorLimits::default()
    };
    run(node, limits, media, incoming, metrics, control, kept, hooks, ending, |reactor, media| {
        export(reactor, settings.log.hep, &settings.node)?;
        // One configuration for all listeners: a ticket got on one resumes on the other.
        let tls = server_config(Arc::clone(&certificates));
        let http = if https.is_empty() && !settings.xmpp.is_on() {
            None
        } else {
            let chat = settings.xmpp.is_on().then(|| ChatConfig {
                listeners: starttls,
                direct_listeners,
                tls: Arc::clone(&tls),
                strangers_per_address_max: settings.limits.strangers_per_address,
                bound_loopback: false,
                bounds: ChatBounds::default(),
            });
            let front = FrontConfig {
                listeners: https,
                tls: https_config(&tls),
                handshakes_per_address_max: settings.limits.strangers_per_address,
                stalled_max: STALLED_MAX,
                bound_loopback: false,
                chat,
            };
            let http = start_http(reactor, Part::Front(Box::new(front)))?;
            if settings.xmpp.is_on() {
                reactor.attach_chat(true);
            }
            Some(http)
        };
        for listener in sip {
            serve_tls(reactor, listener, Arc::clone(&tls))
                .map_err(ServiceFault::system("starting to listen for SIP"))?;
        }
        let (door, trust) = match (desk, identity) {
            (Some(desk), _) => {
                let trust = desk.trust();
                (link::Door::Desk(Rc::new(desk)), trust)
            }
            (None, Some(identity)) => {
                let trust = Trust::fixed(identity);
                (link::Door::Paired(Rc::clone(&trust)), trust)
            }
            (None, None) => return Err(ServiceFault::Configuration("an edge without an identity".into())),
        };
        let tcp = tokio::net::TcpListener::from_std(link_listener)
            .map_err(ServiceFault::system("starting to listen for links"))?;
        let listener = link::listen(Rc::clone(reactor), tcp, door)?;
        keep(listener);
        look_after(&trust, reactor, media, http.as_ref());
        let shown = Arc::clone(&certificates);
        reactor.attach_certificates(Box::new(move || seen(CertificateUse::Clients, &shown.leaves())));
        attach_own(reactor, &trust);
        spawn_local(offer_media(trust, media.clone(), http.clone()));
        if let Some(files) = files {
            watch_certificates(&certificates, files, reactor);
        }
        let (media, http_too, file) = (media.clone(), http.clone(), told::file(keeps.as_deref()));
        let level = std::cell::Cell::new(settings.log.level);
        told::follow(reactor, ToldParts { own: settings.clone(), media, http: http_too, file, level });
        Ok((http, None))
    })
}

/// What an operator sees of some certificates.
fn seen(used_for: CertificateUse, leaves: &[CertificateDer<'static>]) -> Vec<CertificateStatus> {
    leaves.iter().filter_map(|leaf| certificates::read(used_for, leaf)).collect()
}

/// The certificate of the links, and the authority behind it.
fn attach_own<N: Observable + 'static>(reactor: &Rc<Reactor<N>>, trust: &Rc<Trust>) {
    let trust = Rc::clone(trust);
    reactor.attach_certificates(Box::new(move || {
        let Some(identity) = trust.identity() else { return Vec::new() };
        let link = certificates::read(CertificateUse::Link, identity.certificate());
        link.into_iter().chain(certificates::read(CertificateUse::Authority, identity.authority())).collect()
    }));
    spawn_local(certificates::watch(Rc::clone(reactor)));
}

fn bind_all(setting: &'static str, all: &[SocketAddr]) -> Result<Vec<std::net::TcpListener>, ListenFault> {
    all.iter().map(|at| bind_tcp(setting, *at)).collect()
}

/// TLS for HTTPS is that for SIP, and a ticket got on one resumes on the other.
fn https_config(sip: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = sip.clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Starts the HTTP thread, and lets it and the node hear each other.
fn start_http<N: Observable + 'static>(reactor: &Rc<Reactor<N>>, part: Part) -> Result<HttpHandle, ServiceFault> {
    let (teller, facts) = Teller::counting(reactor.http_counts());
    let teller = teller.recording(reactor.journal());
    let http = HttpHandle::start(part, teller).map_err(|fault| ServiceFault::Configuration(fault.to_string()))?;
    reactor.attach_http(http.clone());
    spawn_local(Rc::clone(reactor).run_http(facts));
    Ok(http)
}

/// Runs a core until it is stopped. `node` is a `CoreNode` made from the same settings.
///
/// # Errors
/// [`ServiceFault`] when it cannot start.
pub fn run_core<N: Observable + Configurable<CoreSettings> + 'static>(
    settings: &CoreSettings,
    node: N,
    keys: CoreKeys,
    mut hooks: Hooks,
    stopped: Stopped,
) -> Result<(), ServiceFault> {
    let inside = hooks.inside.take();
    let tls = inside_tls(settings)?;
    let tls_listeners = bind_all("sip.tls.listen", &settings.sip.tls.listen)?;
    let tcp = bind_all("sip.listen (TCP)", &settings.sip.listen)?;
    let udp: Vec<_> =
        settings.sip.listen.iter().map(|at| bind_udp("sip.listen (UDP)", *at)).collect::<Result<_, _>>()?;
    let metrics = settings.metrics.map(|at| bind_tcp("metrics", at)).transpose()?;
    let link_listener = settings.link.listen.map(|at| bind_tcp("link.listen", at)).transpose()?;
    let (facts, incoming) = mpsc::channel(FACTS_MAX);
    let media = MediaHandle::start(
        MediaConfig {
            bind: settings.media.address,
            first_port: settings.media.ports.first,
            last_port: settings.media.ports.last,
            marking: settings.media.dscp.into(),
            listen: None,
            seed: seed()?,
        },
        facts,
    )
    .map_err(|fault| ServiceFault::Configuration(fault.to_string()))?;
    let files = matches!(keys, CoreKeys::Files);
    let control = hooks.control.clone().or_else(|| files.then(|| PathBuf::from(&settings.control_socket)));
    let kept = files.then(|| PathBuf::from(&settings.state_dir));
    let drain = Rc::new(Cell::new(settings.drain_timeout));
    let ending = Ending { stopped, within: Rc::clone(&drain) };
    run(node, ReactorLimits::default(), media, incoming, metrics, control, kept, hooks, ending, |reactor, media| {
        export(reactor, settings.log.hep, &settings.node)?;
        reactor.attach_resolver(Resolver::new(settings.sip.dns_servers.clone()));
        if let Some(client) = tls.client {
            reactor.attach_inside_tls(client);
        }
        let offered = tls.server.map(Offered::from);
        for listener in tls_listeners {
            let offered = offered
                .clone()
                .ok_or_else(|| ServiceFault::Configuration("sip.tls.listen without a certificate".into()))?;
            serve_tls(reactor, listener, offered)
                .map_err(ServiceFault::system("starting to listen for SIP over TLS"))?;
        }
        for listener in tcp {
            serve_tcp(reactor, listener).map_err(ServiceFault::system("starting to listen for SIP"))?;
        }
        for socket in udp {
            serve_udp(reactor, socket).map_err(ServiceFault::system("starting to listen for SIP"))?;
        }
        let (door, trust, edges) = match keys {
            CoreKeys::Memory { identity, edges } => {
                let trust = Trust::fixed(*identity);
                (link::Door::Paired(Rc::clone(&trust)), trust, Some(edges))
            }
            CoreKeys::Files => {
                let desk = JoinDesk::open(Path::new(&settings.state_dir), settings.node.clone(), Role::Core)?;
                let trust = desk.trust();
                (link::Door::Desk(Rc::new(desk)), trust, None)
            }
        };
        trust.set_validity(settings.link.certificate_lifetime);
        if let Some(listener) = link_listener {
            let tcp = tokio::net::TcpListener::from_std(listener)
                .map_err(ServiceFault::system("starting to listen for links"))?;
            keep(link::listen(Rc::clone(reactor), tcp, door)?);
        }
        let http = inside.map(|make| start_http(reactor, Part::Inside(make))).transpose()?;
        reactor.attach_chat(http.is_some() && live::chats(settings));
        look_after(&trust, reactor, media, http.as_ref());
        attach_own(reactor, &trust);
        let own = Rc::new(RefCell::new(tls.own));
        let shown = Rc::clone(&own);
        let leaves = move || shown.borrow().as_ref().map(|own| own.leaves()).unwrap_or_default();
        reactor.attach_certificates(Box::new(move || seen(CertificateUse::Inside, &leaves())));
        let diallers = Diallers::new(Rc::clone(reactor), media.clone(), http.clone(), Rc::clone(&trust));
        let look_again = Rc::new(tokio::sync::Notify::new());
        let edges = Rc::new(CoreEdges::new(settings, edges));
        spawn_local(follow_edges(diallers, Rc::clone(&edges), Rc::clone(&look_again)));
        watch_state(Rc::clone(&look_again));
        let level = std::cell::Cell::new(settings.log.level);
        let parts = LiveParts {
            media: media.clone(),
            http: http.clone(),
            edges,
            look_again,
            trust,
            offered,
            own,
            drain,
            level,
        };
        let live = LiveCore::new(Rc::clone(reactor), settings, parts);
        spawn_local(Rc::clone(&live).watch_files());
        Ok((http, Some(live as Rc<dyn Live>)))
    })
}

/// Sends signalling to a collector, where the settings name one.
fn export<N: Observable + 'static>(
    reactor: &Rc<Reactor<N>>,
    hep: Option<HepSettings>,
    node: &NodeId,
) -> Result<(), ServiceFault> {
    hep.map_or(Ok(()), |to| {
        reactor.export(to, node).map_err(ServiceFault::system("opening a socket for hep.collector"))
    })
}

/// TLS inside, out of the files of the settings. A name without a transport may turn out to want TLS; it
/// is no reason not to start where there is nobody to trust.
fn inside_tls(settings: &CoreSettings) -> Result<InsideTls, ServiceFault> {
    let by_tls = |one: &edgeway_config::Registrar| {
        one.secure || one.transport.is_none_or(|transport| transport == Transport::Tls)
    };
    let may_dial = settings.sip.registrars.iter().any(by_tls);
    let must = |one: &edgeway_config::Registrar| one.secure || one.transport == Some(Transport::Tls);
    let loaded = InsideTls::load(&settings.sip.tls, may_dial);
    match loaded {
        Ok(tls) => Ok(tls),
        Err(fault) if settings.sip.tls == CoreTlsSettings::unset() && !settings.sip.registrars.iter().any(must) => {
            tracing::warn!("no TLS towards registrars: {fault}");
            Ok(InsideTls { client: None, server: None, own: None })
        }
        Err(fault) => Err(ServiceFault::Configuration(fault.to_string())),
    }
}

#[expect(clippy::too_many_arguments, reason = "the one place where all the parts of a service meet")]
fn run<N: Observable + 'static>(
    node: N,
    limits: ReactorLimits,
    media: MediaHandle,
    facts: mpsc::Receiver<MediaFact>,
    metrics: Option<std::net::TcpListener>,
    control: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    hooks: Hooks,
    ending: Ending,
    start: impl FnOnce(&Rc<Reactor<N>>, &MediaHandle) -> Result<Started, ServiceFault>,
) -> Result<(), ServiceFault> {
    match crate::sys::raise_file_limit() {
        Ok(files) => tracing::debug!(files, "this process may hold so many files and sockets"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .map_err(ServiceFault::system("starting the runtime"))?;
    let outcome = runtime.block_on(async {
        let reactor = Reactor::with_limits(node, Clock::start(), limits);
        if let Some(sink) = hooks.notice {
            reactor.on_notice(sink);
        }
        if let Some(sink) = hooks.message {
            reactor.on_message(sink);
        }
        reactor.attach_media(media.clone());
        spawn_local(Rc::clone(&reactor).run());
        spawn_local(Rc::clone(&reactor).run_media(facts));
        let (operator, questions) = operate::port();
        reactor.attach_operator(operator.clone());
        let (http, live) = start(&reactor, &media)?;
        let status = Rc::clone(&reactor);
        let own = status.status();
        if let Some(name) = NodeId::new(&own.node) {
            reactor.recorded_as(name, if own.role == "edge" { Role::Edge } else { Role::Core });
        }
        let desk = maintenance::Desk::open(Rc::clone(&reactor), state_dir);
        let switchboard = operate::Switchboard::new(Rc::clone(&reactor), desk, http.clone(), live);
        spawn_local(switchboard.run(questions));
        let port = operator.clone();
        let administered = hooks.admin.map(|make| make(operator)).transpose().map_err(ServiceFault::Configuration)?;
        let asked = admin::Operator { port, api: administered.as_ref().map(|side| side.door.clone()) };
        admin::serve(control.as_deref(), metrics, move || status.status(), asked)
            .map_err(|fault| ServiceFault::Configuration(fault.to_string()))?;
        let (port, mut asked) = mpsc::channel::<oneshot::Sender<Status>>(8);
        let status = Rc::clone(&reactor);
        spawn_local(async move {
            while let Some(answer) = asked.recv().await {
                let _ = answer.send(status.status());
            }
        });
        if let Some(ready) = hooks.ready {
            ready(StatusPort(port));
        }
        notify::ready();
        spawn_local(prove_turning(http.clone()));
        let outcome = tokio::select! {
            _ = ending.stopped.now => Ok(()),
            () = ends_gently(&reactor, &ending.stopped.gently, &ending.within) => Ok(()),
            () = reactor.http_over() => Err(ServiceFault::HttpEnded),
        };
        notify::stopping();
        drop(administered);
        let http_gone = async {
            if let Some(http) = http {
                let _ = tokio::time::timeout(CLOSE_MAX + DRAIN_MAX, http.shut_down()).await;
            }
        };
        tokio::join!(reactor.shut_down("the service stops"), http_gone);
        outcome
    });
    media.shutdown();
    outcome
}

/// What has been started: the HTTP thread, and what changes settings.
type Started = (Option<HttpHandle>, Option<Rc<dyn Live>>);

/// When and how a service ends.
struct Ending {
    stopped: Stopped,
    /// How long it waits for what it serves.
    within: Rc<Cell<Duration>>,
}

/// Returns once the service was told to end and has nothing left to serve, or has waited long enough. Registrations
/// are not waited for: whoever has one finds another node.
async fn ends_gently<N: Observable + 'static>(reactor: &Rc<Reactor<N>>, gently: &Notify, within: &Cell<Duration>) {
    gently.notified().await;
    let within = within.get();
    notify::stopping();
    tracing::info!("the service ends as soon as nothing is under way, within {within:?}");
    // One that is on already keeps its deadline.
    if reactor.status().maintenance.is_none() {
        reactor.maintain(MaintenanceOrder::Begin { within: None });
    }
    let idle = async {
        while maintenance::under_way(&reactor.status()) > 0 {
            tokio::time::sleep(IDLE_POLL).await;
        }
    };
    if tokio::time::timeout(within, idle).await.is_err() {
        let left = maintenance::under_way(&reactor.status());
        tracing::warn!(left, "the service ends with calls, chats or requests under way");
    }
}

/// Keeps something alive for as long as the service runs.
fn keep<T: 'static>(kept: T) {
    spawn_local(async move {
        let _kept = kept;
        std::future::pending::<()>().await;
    });
}

/// Eases `stop` at the first SIGTERM and pulls it at the second, or at SIGINT; from a thread of its own.
///
/// # Errors
/// When signals cannot be caught.
pub fn stop_at_signals(stop: Stop) -> Result<(), ServiceFault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServiceFault::system("starting to watch for signals"))?;
    let wait = move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
                return;
            };
            tokio::select! {
                _ = term.recv() => {
                    stop.ease();
                    tokio::select! {
                        _ = term.recv() => {}
                        _ = int.recv() => {}
                    }
                }
                _ = int.recv() => {}
            }
            stop.pull();
        });
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)
        .map(drop)
        .map_err(ServiceFault::system("starting to watch for signals"))
}

/// 32 bytes from the operating system, to seed a node or a media thread.
///
/// # Errors
/// When the operating system has none.
pub fn seed() -> Result<[u8; 32], ServiceFault> {
    let mut seed = [0; 32];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut seed)
        .map_err(|_| ServiceFault::Configuration("the operating system gives no random numbers".into()))?;
    Ok(seed)
}

/// A notice sink that sends to a bounded channel and drops what does not fit.
#[must_use]
pub fn notices_to(sender: mpsc::Sender<Notice>) -> NoticeSink {
    Box::new(move |notice| drop(sender.try_send(notice.clone())))
}
