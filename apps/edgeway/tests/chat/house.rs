//! Edges and cores as they are, a simulated chat service behind them, and wires between that can be cut.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use edgeway_config::{LogFormat, parse_core, parse_edge};
use edgeway_connectors::users_file::edit::{Costs, hash};
use edgeway_core_node::CoreNode;
use edgeway_edge_node::EdgeNode;
use edgeway_lab_servers::ca::LabCa;
use edgeway_lab_servers::client::http::{Ask, Got, Place, ask};
use edgeway_lab_servers::uc::OneTimePasswords;
use edgeway_lab_servers::xmpp::{ChatClient, ChatConfig, ChatError, Mechanism, XmppConfig, XmppNode, XmppServer};
use edgeway_model::notice::Notice;
use edgeway_model::world::Status;
use edgeway_model::{Moment, NodeId, Random};
use edgeway_runtime::pki::{Authority, EdgeBook, EdgeRecord, Identity, Role};
use edgeway_runtime::service::{self, CoreKeys, EdgeKeys, Hooks, ServiceFault, StatusPort, Stop, Stopped};

use crate::wire::{Wire, WireTo};

pub(crate) const DOMAIN: &str = "lab.example";
/// The domain of another deployment, with a chat service of its own.
pub(crate) const AWAY: &str = "away.example";
pub(crate) const EDGE_HOST: &str = "edge.lab.example";

/// Users of both domains.
pub(crate) const USERS: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];

/// More than anything takes here, on a machine that does other things as well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The password of a user of the first domain.
pub(crate) fn password(user: &str) -> String {
    format!("secret of {user}")
}

/// And of the other.
pub(crate) fn password_away(user: &str) -> String {
    format!("other secret of {user}")
}

/// Waits until it is so.
pub(crate) async fn wait(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < until, "in a minute: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A node on a thread of its own.
pub(crate) struct Node {
    stop: Option<Stop>,
    thread: Option<JoinHandle<()>>,
    port: StatusPort,
    notices: Arc<Mutex<Vec<Notice>>>,
    /// Its settings file.
    pub(crate) config: PathBuf,
}

impl Node {
    fn start(config: PathBuf, serve: impl FnOnce(Hooks, Stopped) -> Result<(), ServiceFault> + Send + 'static) -> Self {
        let (ready, started) = channel();
        let (stop, stopped) = service::stop();
        let notices = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&notices);
        let thread = std::thread::spawn(move || {
            let bound = ready.clone();
            let hear = move |notice: &Notice| {
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(notice.clone());
            };
            let hooks = Hooks {
                ready: Some(Box::new(move |port| drop(bound.send(Ok(port))))),
                notice: Some(Box::new(hear)),
                ..Hooks::default()
            };
            if let Err(fault) = serve(hooks, stopped) {
                let _ = ready.send(Err(fault.to_string()));
            }
        });
        let port = started.recv_timeout(PATIENCE).expect("it starts").expect("in good order");
        Self { stop: Some(stop), thread: Some(thread), port, notices, config }
    }

    pub(crate) fn status(&self) -> Status {
        self.port.ask().expect("a status")
    }

    pub(crate) fn counted(&self, what: &str) -> u64 {
        self.status().http.iter().find(|(name, _)| *name == what).map_or(0, |(_, count)| *count)
    }

    /// What it has noticed.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A folder that goes with it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder = Self(std::env::temp_dir().join(format!("edgeway-chat-{name}-{}", std::process::id())));
        let _ = fs::remove_dir_all(&folder.0);
        fs::create_dir_all(&folder.0).expect("a folder");
        folder
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a house is to be like.
pub(crate) struct Plan {
    pub(crate) edges: usize,
    pub(crate) cores: usize,
    /// Nodes of the chat service, in the order in which they are to be tried.
    pub(crate) nodes: usize,
    /// Whether the second deployment is there.
    pub(crate) away: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { edges: 1, cores: 1, nodes: 1, away: false }
    }
}

/// Where an edge is.
pub(crate) struct EdgePlace {
    pub(crate) xmpp: SocketAddr,
    pub(crate) direct: SocketAddr,
    pub(crate) https: SocketAddr,
}

/// All of it. Wires and nodes are `None` once they are no more.
pub(crate) struct House {
    // Nodes end before what they talk to.
    pub(crate) cores: Vec<Option<Node>>,
    pub(crate) edges: Vec<Option<Node>>,
    /// In front of each edge's chat.
    pub(crate) doors: Vec<WireTo>,
    /// By core, then by edge.
    pub(crate) links: Vec<Vec<WireTo>>,
    /// By core, then by node of the chat service.
    pub(crate) inside: Vec<Vec<WireTo>>,
    pub(crate) places: Vec<EdgePlace>,
    pub(crate) chat: XmppServer,
    pub(crate) away: Option<XmppServer>,
    pub(crate) one_time: OneTimePasswords,
    pub(crate) ca_pem: String,
    _folder: Folder,
}

/// The name of a node of the chat service, counted from 1.
pub(crate) fn im(number: usize) -> String {
    format!("im{number}.{DOMAIN}")
}

/// A port free over TCP and UDP.
pub(crate) fn port() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let address = tcp.local_addr().expect("bound");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// To see what the nodes say: EDGEWAY_LOG=debug.
pub(crate) fn log() {
    if let Ok(level) = std::env::var("EDGEWAY_LOG") {
        edgeway_runtime::log::start(&level, LogFormat::Human);
    }
}

/// The certificates an edge shows, for its settings.
pub(crate) fn certificates(folder: &Folder, ca: &LabCa) -> String {
    let one = |host: &&str| {
        let pems = ca.issue(&[host], &[]).expect("a certificate");
        let chain = folder.write(&format!("{host}.pem"), &pems.chain);
        let key = folder.write(&format!("{host}.key"), &pems.key);
        format!("[[sip.certificates]]\nchain = \"{}\"\nkey = \"{}\"\n", chain.display(), key.display())
    };
    [EDGE_HOST, DOMAIN, AWAY].iter().map(one).collect()
}

/// An edge, where it is, and what a core needs to dial it.
pub(crate) fn edge(
    name: &str,
    folder: &Path,
    authority: &Authority,
    certificates: &str,
) -> (Node, EdgePlace, EdgeRecord) {
    let place = EdgePlace { xmpp: port(), direct: port(), https: port() };
    let (sip, link, at) = (port(), port(), folder.display());
    let socket = folder.join(format!("{name}.sock"));
    let text = format!(
        "node = \"{name}\"\nstate_dir = \"{at}/{name}\"\ncontrol_socket = \"{}\"\n[sip]\nlisten = [\"{sip}\"]\n\
         public_host = \"{EDGE_HOST}\"\n{certificates}[https]\nlisten = [\"{}\"]\n\
         [xmpp]\nlisten = [\"{}\"]\ndirect_tls_listen = [\"{}\"]\n[link]\nlisten = \"{link}\"\n\
         [media]\naddress = \"127.0.0.1\"\nports = \"13300-13399\"\n",
        socket.display(),
        place.https,
        place.xmpp,
        place.direct
    );
    let settings = parse_edge(&text, name).unwrap_or_else(|problems| panic!("{problems}"));
    let config = folder.join(format!("{name}.toml"));
    fs::write(&config, &text).expect("a file");
    let node = NodeId::new(name).expect("a name");
    let identity = authority.issue(&node, Role::Edge).expect("an identity");
    let record = EdgeRecord { node, role: Role::Edge, address: link.to_string(), key_hash: identity.key().key_hash() };
    identity.store(Path::new(&settings.state_dir)).expect("stored");
    let edge = Node::start(config, move |hooks, stopped| {
        let node = EdgeNode::new((&settings).into(), Random::from_seed(service::seed()?));
        service::run_edge(&settings, node, EdgeKeys::Files, hooks, stopped)
    });
    (edge, place, record)
}

/// A registrar that nobody asks anything of here.
fn registrars() -> String {
    format!("registrars = [\"tcp:{}\"]\n", port())
}

/// A core with these settings of SIP and these sections, beyond what every core has.
pub(crate) fn core(
    name: &str,
    folder: &Path,
    (identity, edges): (Identity, Vec<EdgeRecord>),
    sip: &str,
    sections: &str,
) -> Node {
    let (listen, at) = (port(), folder.display());
    let socket = folder.join(format!("{name}.sock"));
    let text = format!(
        "node = \"{name}\"\nstate_dir = \"{at}/{name}\"\ncontrol_socket = \"{}\"\ndomains = [\"{DOMAIN}\"]\n\
         [sip]\nlisten = [\"{listen}\"]\n{sip}[media]\naddress = \"127.0.0.1\"\nports = \"13400-13499\"\n{sections}",
        socket.display()
    );
    let settings = parse_core(&text, name).unwrap_or_else(|problems| panic!("{problems}"));
    let state = Path::new(&settings.state_dir);
    identity.store(state).expect("stored");
    let mut book = EdgeBook::default();
    edges.into_iter().for_each(|edge| book.record(edge).expect("a few"));
    book.store(state).expect("stored");
    let config = folder.join(format!("{name}.toml"));
    fs::write(&config, &text).expect("a file");
    Node::start(config, move |mut hooks, stopped| {
        let node = CoreNode::new((&settings).into(), Random::from_seed(service::seed()?), Moment::ZERO);
        hooks.inside = Some(edgeway_connectors::inside::make(settings.clone()));
        service::run_core(&settings, node, CoreKeys::Files, hooks, stopped)
    })
}

fn users_file(folder: &Folder, name: &str, password: impl Fn(&str) -> String) -> PathBuf {
    let lines = USERS.iter().enumerate().map(|(number, user)| {
        let hashed = hash(password(user).as_bytes(), Costs::LEAST).expect("a hash");
        format!("{user}:{hashed}:10{number}:CSF{}\n", user.to_uppercase())
    });
    folder.write(name, &lines.collect::<String>())
}

fn service_of(
    domain: &str,
    nodes: usize,
    password: impl Fn(&str) -> String,
    ca: &LabCa,
    one_time: OneTimePasswords,
) -> XmppServer {
    let users: Vec<(String, String)> = USERS.iter().map(|user| ((*user).to_owned(), password(user))).collect();
    let users: Vec<(&str, &str)> = users.iter().map(|(user, secret)| (user.as_str(), secret.as_str())).collect();
    let mut config = XmppConfig::new(domain, &users);
    config.nodes = (1..=nodes).map(|number| XmppNode::new(&format!("im{number}.{domain}"), domain)).collect();
    config.one_time = one_time;
    let server = XmppServer::start(config, ca).expect("a chat service");
    for user in USERS {
        server.accept_token(&token(user), user);
    }
    server
}

/// The OAuth token of a user, as the chat service takes it.
pub(crate) fn token(user: &str) -> String {
    format!("token-of-{user}")
}

impl House {
    /// Starts it and waits until somebody can sign in through every edge.
    pub(crate) async fn start(name: &str, plan: Plan) -> Self {
        log();
        let folder = Folder::new(name);
        let one_time = OneTimePasswords::default();
        let uc_ca = LabCa::new("UC CA").expect("a CA");
        let chat = service_of(DOMAIN, plan.nodes, password, &uc_ca, one_time.clone());
        let away = plan.away.then(|| service_of(AWAY, 1, password_away, &uc_ca, OneTimePasswords::default()));
        let edge_ca = LabCa::new("Edge CA").expect("a CA");
        let authority = Authority::ephemeral().expect("a CA");
        let certificates = certificates(&folder, &edge_ca);
        let (mut edges, mut places, mut records) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=plan.edges {
            let started = edge(&format!("edge{number}"), &folder.0, &authority, &certificates);
            edges.push(Some(started.0));
            places.push(started.1);
            records.push(started.2);
        }
        let ca = folder.write("uc-ca.pem", uc_ca.pem());
        let (users, users_away) = (users_file(&folder, "users", password), users_file(&folder, "away", password_away));
        let (mut cores, mut links, mut inside) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=plan.cores {
            let wires: Vec<WireTo> =
                records.iter().map(|record| WireTo::new(record.address.parse().expect("an address"))).collect();
            let dialled = records
                .iter()
                .zip(&wires)
                .map(|(record, wire)| EdgeRecord { address: wire.address.to_string(), ..record.clone() });
            let servers: Vec<WireTo> = (1..=plan.nodes).map(|number| WireTo::new(chat.address(&im(number)))).collect();
            let mut sections = format!(
                "[sign_in]\nauthority = \"users\"\nusers_file = \"{}\"\nkey_file = \"{}/sign-in.key\"\n",
                users.display(),
                folder.0.display()
            );
            for (priority, wire) in servers.iter().enumerate() {
                sections.push_str(&format!(
                    "[[xmpp_server]]\naddress = \"{}\"\npriority = {priority}\nca = \"{}\"\n",
                    wire.address,
                    ca.display()
                ));
            }
            if let Some(away) = &away {
                sections.push_str(&format!(
                    "[[xmpp_server]]\ndeployment = \"away\"\naddress = \"{}\"\ntls_name = \"im1.{AWAY}\"\nca = \"{}\"\n\
                     [[deployment]]\nname = \"away\"\ndomains = [\"{AWAY}\"]\nauthority = \"users\"\nusers_file = \"{}\"\n{}",
                    away.first_address(),
                    ca.display(),
                    users_away.display(),
                    registrars()
                ));
            }
            let name = format!("core{number}");
            let identity = authority.issue(&NodeId::new(&name).expect("a name"), Role::Core).expect("an identity");
            cores.push(Some(core(&name, &folder.0, (identity, dialled.collect()), &registrars(), &sections)));
            links.push(wires);
            inside.push(servers);
        }
        let ca_pem = edge_ca.pem().to_owned();
        let doors = places.iter().map(|place| WireTo::new(place.xmpp)).collect();
        let house = Self { cores, edges, doors, links, inside, places, chat, away, one_time, ca_pem, _folder: folder };
        house.ready().await;
        house.chat.forget();
        house
    }

    async fn ready(&self) {
        let edges = self.edges.len();
        wait("every core is linked with every edge", || {
            let linked = |core: &Node| core.status().links.iter().filter(|link| link.up).count();
            self.cores.iter().flatten().all(|core| linked(core) == edges)
        })
        .await;
        let until = Instant::now() + PATIENCE;
        for edge in 0..edges {
            while let Err(error) = ChatClient::open(&self.user(edge, "frank")).await {
                assert!(Instant::now() < until, "edge {edge}: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// How a user gets in through an edge.
    pub(crate) fn user(&self, edge: usize, user: &str) -> ChatConfig {
        let config = ChatConfig::new(self.doors[edge].address, DOMAIN, user, &password(user), &self.ca_pem);
        ChatConfig { tls_name: EDGE_HOST.to_owned(), ..config }
    }

    /// As [`Self::user`], with PLAIN.
    pub(crate) fn plain(&self, user: &str) -> ChatConfig {
        ChatConfig { mechanism: Mechanism::Plain, ..self.user(0, user) }
    }

    /// A session through an edge.
    pub(crate) async fn session(&self, edge: usize, user: &str) -> ChatClient {
        ChatClient::start(&self.user(edge, user)).await.unwrap_or_else(|error| panic!("{user}: {error}"))
    }

    /// A running edge.
    pub(crate) fn edge(&self, number: usize) -> &Node {
        self.edges[number].as_ref().expect("it runs")
    }

    /// A running core.
    pub(crate) fn core(&self, number: usize) -> &Node {
        self.cores[number].as_ref().expect("it runs")
    }

    /// `get_edge_config` over HTTPS, with a password.
    pub(crate) async fn edge_config(&self, user: &str, password: &str) -> Got {
        let place = Place { address: self.places[0].https, tls: Some((EDGE_HOST.to_owned(), self.ca_pem.clone())) };
        let path = format!("/{}/get_edge_config?service_name=_cisco-uds", edgeway_lab_servers::client::b64(DOMAIN));
        ask(&place, &Ask::get(EDGE_HOST, &path).basic(user, password)).await.expect("an answer")
    }

    /// Takes a core from the world as a power cut does: nothing it had under way goes anywhere any more.
    pub(crate) fn kill_core(&mut self, number: usize) {
        for wire in self.links[number].iter().chain(&self.inside[number]) {
            wire.set(Wire::Cut);
        }
        let gone = self.cores[number].take();
        std::thread::spawn(move || drop(gone));
    }

    /// Takes an edge from the world in the same way.
    pub(crate) fn kill_edge(&mut self, number: usize) {
        for wire in self.links.iter().filter_map(|links| links.get(number)).chain(&self.doors[number..=number]) {
            wire.set(Wire::Cut);
        }
        let gone = self.edges[number].take();
        std::thread::spawn(move || drop(gone));
    }
}

/// The condition that sign-in was refused with.
pub(crate) fn refusal<T>(outcome: Result<T, ChatError>) -> String {
    match outcome {
        Err(ChatError::Refused(condition, _)) => condition,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("let in"),
    }
}

/// Another address of this machine.
pub(crate) const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
