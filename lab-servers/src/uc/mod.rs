//! A simulated Unified CM cluster, with IM and Presence and Unity Connection beside it.
//!
//! Every node has a loopback address of its own, so that all of them have the ports of the real ones: HTTPS with AXL
//! and UDS on 8443, files on 6970 to 6972, SIP lines on 5060 and 5061. Like the real one the call manager believes
//! whoever speaks SIP to it: it challenges nobody, looks at the name of the device, and grants 120 seconds.
//!
//! Everything may change while it runs ([`UcCluster::change`]): users, versions, nodes, what is wrong with whom. Every
//! request is in a log ([`UcCluster::asked`]), and [`UcCluster::checks`] counts what a core asked to prove a user.
//! All of it runs on one thread and ends with the [`UcCluster`].

mod axl;
mod files;
mod http;
mod oauth;
mod one_time;
mod other;
mod serve;
mod shown;
mod soap;
mod uds;
mod world;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

pub use oauth::{ACCESS_TOKEN_LIFE, REFRESH_TOKEN_LIFE, TokenWish};
pub use one_time::OneTimePasswords;
pub use world::{Asked, Fault, Role, Service, Shown, State, UcDevice, UcNode, UcUser};

use crate::ca::LabCa;
use crate::dns::{DnsRecord, LabDns};
use crate::limits::ADDRESS_TRIES_MAX;
use crate::observe::Observer;
use crate::registrar::{BindingView, LineFault, LineSide, RegistrarConfig, Stations};
use crate::wire;
use serve::{Command, Station};
use world::World;

/// AXL, UDS, OAuth, CUPI.
pub const HTTPS_PORT: u16 = 8_443;
/// Files over HTTP.
pub const HTTP_TFTP_PORT: u16 = 6_970;
/// Files over HTTPS.
pub const HTTPS_TFTP_PORTS: [u16; 2] = [6_971, 6_972];
/// SIP lines over TCP and UDP.
pub const SIP_PORT: u16 = 5_060;
/// SIP lines over TLS.
pub const SIP_TLS_PORT: u16 = 5_061;

/// What a cluster is to be like.
#[derive(Clone, Debug)]
pub struct UcConfig {
    /// The domain of its users and nodes.
    pub domain: String,
    /// `12.5.1.10000(22)`.
    pub version: String,
    /// Nodes: their names without the domain, what they are, and whether the cluster's lists name them.
    pub nodes: Vec<(String, Role, bool)>,
    /// Users.
    pub users: Vec<UcUser>,
    /// The application user, and its password.
    pub application_user: (String, String),
    /// Whether the cluster security mode is mixed.
    pub mixed_mode: bool,
    /// Whether it issues self-describing tokens.
    pub oauth: bool,
    /// Told of every SIP message.
    pub observer: Observer,
    /// The one-time passwords that IM and Presence issues.
    pub one_time: OneTimePasswords,
}

impl UcConfig {
    /// One call manager, `cucm1`, and one `imp1` of IM and Presence.
    #[must_use]
    pub fn new(domain: &str, users: Vec<UcUser>) -> Self {
        Self {
            domain: domain.to_owned(),
            version: "12.5.1.10000(22)".to_owned(),
            nodes: vec![("cucm1".to_owned(), Role::CallManager, true), ("imp1".to_owned(), Role::ImAndPresence, true)],
            users,
            application_user: ("edgeway".to_owned(), crate::secret(20)),
            mixed_mode: false,
            oauth: false,
            observer: Observer::none(),
            one_time: OneTimePasswords::default(),
        }
    }
}

/// Why a cluster could not be started.
#[derive(Debug, thiserror::Error)]
pub enum UcError {
    /// No loopback address has all ports free, or a port was lost.
    #[error("no ports: {0}")]
    Ports(#[from] io::Error),
    /// A certificate could not be made.
    #[error("no certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS or keys do not work here.
    #[error("no keys: {0}")]
    Keys(String),
}

/// A running cluster; it stops when dropped.
pub struct UcCluster {
    world: Arc<World>,
    ca_pem: String,
    lines: Vec<Option<LineSide>>,
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl UcCluster {
    /// Starts all nodes, listed or not, with certificates of `ca`.
    ///
    /// # Errors
    /// No free loopback address, or no certificates.
    pub fn start(config: UcConfig, ca: &LabCa) -> Result<Self, UcError> {
        let mut nodes: Vec<UcNode> = Vec::new();
        for (short, role, listed) in &config.nodes {
            nodes.push(UcNode {
                name: format!("{short}.{}", config.domain),
                role: *role,
                publisher: !nodes.iter().any(|node| node.role == *role),
                listed: *listed,
                tftp: *role == Role::CallManager,
                address: free_address()?,
                sip_port: SIP_PORT,
                sip_tls_port: SIP_TLS_PORT,
                shown: Shown::Good,
                faults: std::collections::BTreeMap::new(),
            });
        }
        let world = Arc::new(World::new(
            State {
                domain: config.domain.clone(),
                version: config.version.clone(),
                mixed_mode: config.mixed_mode,
                oauth: config.oauth,
                sso: false,
                application_user: config.application_user.clone(),
                users: config.users.clone(),
                by_name: HashMap::new(),
                nodes: nodes.clone(),
                expressways: Vec::new(),
                files: std::collections::BTreeMap::new(),
                keys: vec![oauth::SigningKey::new().map_err(UcError::Keys)?],
                tokens: std::collections::VecDeque::new(),
            },
            config.one_time.clone(),
        ));
        let mut stations = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            stations.push(station(&config, &world, index, node, ca)?);
        }
        let lines = stations.iter().map(|station| station.side.clone()).collect();
        let (commands, asked) = mpsc::channel(crate::limits::EVENTS_QUEUE_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name("lab-uc".to_owned())
            .spawn(move || runtime.block_on(serve::run(stations, asked)))?;
        let cluster =
            Self { world, ca_pem: ca.pem().to_owned(), lines, commands: Some(commands), thread: Some(thread) };
        for node in &nodes {
            cluster.power(&node.name, true)?;
        }
        Ok(cluster)
    }

    /// The authority of its certificates, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A copy of what it is now.
    #[must_use]
    pub fn state(&self) -> State {
        self.world.state().clone()
    }

    /// Changes it; holds from the next request on.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.world.state();
        let outcome = change(&mut state);
        state.index();
        outcome
    }

    /// Breaks a service of a node, or mends it.
    pub fn fault(&self, node: &str, service: Service, fault: Option<Fault>) {
        self.change(|state| {
            let Some(node) = state.node_mut(node) else { return };
            match fault {
                Some(fault) => _ = node.faults.insert(service, fault),
                None => _ = node.faults.remove(&service),
            }
        });
    }

    /// The certificate a node shows from the next connection on.
    pub fn show(&self, node: &str, shown: Shown) {
        self.change(|state| {
            if let Some(node) = state.node_mut(node) {
                node.shown = shown;
            }
        });
    }

    /// Names a node in the cluster's lists, or no longer.
    pub fn list(&self, node: &str, listed: bool) {
        self.change(|state| {
            if let Some(node) = state.node_mut(node) {
                node.listed = listed;
            }
        });
    }

    /// Switches a node off, so that its ports refuse connections and those it had are closed, or on again. Returns
    /// when it is done.
    ///
    /// # Errors
    /// A port has been lost meanwhile.
    pub fn power(&self, node: &str, on: bool) -> io::Result<()> {
        let (Some(node), Some(commands)) = (self.index(node), &self.commands) else { return Ok(()) };
        let (done, waiting) = std::sync::mpsc::channel();
        let stopped = || io::Error::other("the cluster has stopped");
        commands.try_send(Command::Power { node, on, done }).map_err(|_| stopped())?;
        waiting.recv().map_err(|_| stopped())?
    }

    fn index(&self, node: &str) -> Option<usize> {
        self.world.state().nodes.iter().position(|known| known.name == node)
    }

    /// Breaks the SIP side of a node, or mends it with the default.
    pub fn line_fault(&self, node: &str, fault: LineFault) {
        let side = self.index(node).and_then(|index| self.lines.get(index)).and_then(Option::as_ref);
        if let Some(side) = side {
            side.set_fault(fault);
        }
    }

    /// The contacts a directory number has at a node now.
    pub async fn bindings(&self, node: &str, number: &str) -> Vec<BindingView> {
        let (Some(node), Some(commands)) = (self.index(node), &self.commands) else { return Vec::new() };
        let (reply, answer) = oneshot::channel();
        if commands.send(Command::Bindings { node, number: number.to_owned(), reply }).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// The loopback address of a node.
    #[must_use]
    pub fn address(&self, node: &str) -> Option<IpAddr> {
        self.world.state().nodes.iter().find(|known| known.name == node).map(|known| known.address)
    }

    /// Tells a DNS server the names of all nodes, and `_cisco-uds._tcp` of the domain.
    pub fn publish(&self, dns: &LabDns) {
        let state = self.world.state();
        for node in &state.nodes {
            dns.set_addresses(&node.name, &[node.address]);
        }
        let services: Vec<DnsRecord> = state
            .listed(Role::CallManager)
            .map(|node| DnsRecord::Service { priority: 1, weight: 1, port: HTTPS_PORT, target: node.name.clone() })
            .collect();
        dns.set(&format!("_cisco-uds._tcp.{}", state.domain), &services);
    }

    /// Everything it has been asked, oldest first.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.world.log().iter().cloned().collect()
    }

    /// Forgets what it has been asked.
    pub fn forget(&self) {
        self.world.log().clear();
    }

    /// How often a core has asked whether a user's credentials are right: `user/<id>/devices` with credentials, and
    /// not for a client.
    #[must_use]
    pub fn checks(&self, user: &str) -> usize {
        let path = format!("/cucm-uds/user/{user}/devices").to_ascii_lowercase();
        let is_check =
            |asked: &&Asked| asked.path.to_ascii_lowercase() == path && asked.user.is_some() && !asked.is_proxied();
        self.world.log().iter().filter(is_check).count()
    }

    /// An access token of a user, as the cluster would issue it now.
    #[must_use]
    pub fn token(&self, user: &str) -> String {
        self.change(|state| {
            let wish = TokenWish::new(state, user);
            oauth::issue(state, &wish)
        })
    }

    /// A token with whatever claims, signed by the newest key.
    #[must_use]
    pub fn token_of(&self, wish: &TokenWish) -> String {
        self.change(|state| oauth::issue(state, wish))
    }

    /// Signs with a new key from now on; the old one stays published if `keep_old`.
    ///
    /// # Errors
    /// No key can be made.
    pub fn rotate_keys(&self, keep_old: bool) -> Result<(), UcError> {
        let key = oauth::SigningKey::new().map_err(UcError::Keys)?;
        self.change(|state| {
            if !keep_old {
                state.keys.clear();
            }
            state.keys.push(key);
        });
        Ok(())
    }

    /// The newest signing key: its id, and SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn signing_key(&self) -> (String, Vec<u8>) {
        let state = self.world.state();
        state.keys.last().map(|key| (key.id.clone(), key.public_der())).unwrap_or_default()
    }
}

impl Drop for UcCluster {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn station(config: &UcConfig, world: &Arc<World>, index: usize, node: &UcNode, ca: &LabCa) -> Result<Station, UcError> {
    let tls = shown::tls(world.clone(), index, node, ca)?;
    let is_line = node.role == Role::CallManager;
    let line = is_line.then(|| RegistrarConfig {
        name: node.name.split('.').next().unwrap_or("cucm").to_owned(),
        domain: node.name.clone(),
        observer: config.observer.clone(),
        ..RegistrarConfig::new(&node.name, &[])
    });
    let side = is_line.then(|| LineSide::new(stations_of(world), &config.domain));
    Ok(Station {
        world: world.clone(),
        node: index,
        name: node.name.clone(),
        role: node.role,
        address: node.address,
        tls,
        line,
        side,
    })
}

/// Devices and their numbers, as the cluster knows them at the moment of asking.
fn stations_of(world: &Arc<World>) -> Stations {
    let world = world.clone();
    Stations::new(move |device| {
        let state = world.state();
        let owner = state.users.iter().find(|user| user.devices.iter().any(|d| d.name.eq_ignore_ascii_case(device)))?;
        Some((owner.name.clone(), owner.numbers.clone()))
    })
}

/// A loopback address on which all ports of a node are free.
fn free_address() -> io::Result<IpAddr> {
    let mut random = wire::random();
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..ADDRESS_TRIES_MAX {
        let mut part = || u8::try_from(1 + random.below(250)).unwrap_or(1);
        let address = IpAddr::V4(Ipv4Addr::new(127, part(), part(), part()));
        let ports = [HTTPS_PORT, HTTP_TFTP_PORT, SIP_PORT, SIP_TLS_PORT].into_iter().chain(HTTPS_TFTP_PORTS);
        let bound: io::Result<Vec<TcpListener>> = ports.map(|port| bind(SocketAddr::new(address, port))).collect();
        match bound {
            Ok(_) => return Ok(address),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whoever has a port on all addresses has it on every one of loopback: the error says which.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let port = address.port();
    TcpListener::bind(address)
        .map_err(|error| io::Error::new(error.kind(), format!("port {port} of {}: {error}", address.ip())))
}
