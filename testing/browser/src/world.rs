//! An edge, two cores, a simulated cluster with chat, phones and chatters; some of them with hostile names.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use edgeway_admin::Ingredients;
use edgeway_admin::configuration::{Booted, boot};
use edgeway_admin::store::LateStore;
use edgeway_config::parse_edge;
use edgeway_core_node::CoreNode;
use edgeway_edge_node::EdgeNode;
use edgeway_lab_servers::ca::LabCa;
use edgeway_lab_servers::client::{MraClient, MraConfig};
use edgeway_lab_servers::dns::{DnsRecord, LabDns};
use edgeway_lab_servers::uc::{Role as UcRole, UcCluster, UcConfig, UcUser};
use edgeway_lab_servers::xmpp::{ChatClient, ChatConfig, XmppConfig, XmppNode, XmppServer};
use edgeway_lab_servers::{PhoneConfig, PhoneTransport};
use edgeway_model::services::PartState;
use edgeway_model::world::Status;
use edgeway_model::{Moment, NodeId, Random};
use edgeway_runtime::operate::OperatorPort;
use edgeway_runtime::pki::{Authority, EdgeBook, EdgeRecord, Role};
use edgeway_runtime::service::{self, CoreKeys, EdgeKeys, Hooks, StatusPort, Stop};
use serde_json::json;

pub(crate) const DOMAIN: &str = "lab.example";
const EDGE_HOST: &str = "edge.lab.example";
const CUCM: &str = "cucm1.lab.example";
const IM: &str = "imp1.lab.example";
/// A call manager that its cluster does not name yet.
pub(crate) const SECOND: &str = "cucm2.lab.example";
/// A server of voice mail that nobody has configured.
pub(crate) const UNITY: &str = "cuc1.lab.example";
/// Domains that are added by those who walk through the pages, and whom nobody else signs in as: each of them is several people.
pub(crate) const WALKS: [(&str, &str); 3] =
    [("green.example", "fern"), ("blue.example", "iris"), ("grey.example", "ash")];
/// So many people each.
const PEOPLE: usize = 6;
/// Cores, and from where on the system's ports are given out.
const CORES: usize = 2;
const PORTS: u16 = 24_000;
/// More than anything takes here, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(60);

/// Users and their directory numbers.
const USERS: [(&str, &str); 5] =
    [("alice", "1001"), ("bob", "1002"), ("carol", "1003"), ("mallory", "1004"), ("dave", "1005")];

/// What a hostile client says it is: markup, a script, and characters that turn the direction of writing.
pub(crate) const HOSTILE: &str =
    "<img src=x onerror=window.hurt=1><script>window.hurt=1</script>\u{202e}gpj\" onfocus=\"hurt";

pub(crate) fn password(user: &str) -> String {
    format!("secret of {user}")
}

/// Everybody and their numbers.
fn everybody() -> Vec<(String, String)> {
    let known = USERS.iter().map(|(user, number)| ((*user).to_owned(), (*number).to_owned()));
    let walks = WALKS
        .iter()
        .enumerate()
        .flat_map(|(walk, (_, user))| (1..=PEOPLE).map(move |one| (format!("{user}{one}"), format!("2{walk}0{one}"))));
    known.chain(walks).collect()
}

/// A node on a thread of its own.
struct Node {
    running: Option<(Stop, JoinHandle<()>)>,
    port: StatusPort,
}

impl Node {
    fn start(role: Role, config: PathBuf, opened: Option<Sender<(OperatorPort, SocketAddr)>>) -> Result<Self> {
        let (ready, started) = channel();
        let (stop, stopped) = service::stop();
        let thread = std::thread::spawn(move || {
            let bound = ready.clone();
            let mut hooks = Hooks { ready: Some(Box::new(move |port| drop(bound.send(Ok(port))))), ..Hooks::default() };
            let outcome = run(role, &config, &mut hooks, opened)
                .and_then(|run| run(hooks, stopped).map_err(|fault| anyhow!("{fault}")));
            if let Err(fault) = outcome {
                let _ = ready.send(Err(fault));
            }
        });
        let port = started.recv_timeout(PATIENCE).context("a node starts")??;
        Ok(Self { running: Some((stop, thread)), port })
    }

    fn status(&self) -> Result<Status> {
        self.port.ask().context("a status")
    }
}

type Run = Box<dyn FnOnce(Hooks, service::Stopped) -> Result<(), service::ServiceFault>>;

fn run(
    role: Role,
    config: &Path,
    hooks: &mut Hooks,
    opened: Option<Sender<(OperatorPort, SocketAddr)>>,
) -> Result<Run> {
    let (text, origin) = (fs::read_to_string(config)?, config.display().to_string());
    let random = Random::from_seed(service::seed()?);
    if role == Role::Edge {
        let settings = parse_edge(&text, &origin).map_err(|problems| anyhow!("{problems}"))?;
        let node = EdgeNode::new((&settings).into(), random);
        return Ok(Box::new(move |hooks, stopped| service::run_edge(&settings, node, EdgeKeys::Files, hooks, stopped)));
    }
    let Booted { settings, parts } = boot(config).map_err(|fault| anyhow!("{fault}"))?;
    hooks.inside = Some(edgeway_connectors::inside::make(settings.clone()));
    if let Some(opened) = opened {
        let (announce, announced) = channel();
        let ingredients = Ingredients {
            settings: Arc::new(settings.clone()),
            store: Arc::<LateStore>::clone(&parts.store),
            configuration: parts,
            announce: Some(announce),
        };
        hooks.admin = Some(Box::new(move |port: OperatorPort| {
            let own = port.clone();
            std::thread::spawn(move || {
                if let Ok(at) = announced.recv_timeout(PATIENCE) {
                    let _ = opened.send((own, at));
                }
            });
            edgeway_admin::make(ingredients)(port)
        }));
    }
    let node = CoreNode::new((&settings).into(), random, Moment::ZERO);
    Ok(Box::new(move |hooks, stopped| service::run_core(&settings, node, CoreKeys::Files, hooks, stopped)))
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let folder = Self(std::env::temp_dir().join(format!("edgeway-browser-{}", std::process::id())));
        fs::create_dir_all(&folder.0)?;
        Ok(folder)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// All of it.
pub(crate) struct World {
    // Nodes end before what they talk to.
    cores: Vec<Node>,
    edge: Node,
    /// To the first core.
    port: OperatorPort,
    /// Where the first core's pages are.
    pub(crate) pages: SocketAddr,
    /// The edge, as clients reach it.
    pub(crate) sip: SocketAddr,
    pub(crate) https: SocketAddr,
    xmpp: SocketAddr,
    edge_ca: String,
    dns: LabDns,
    pub(crate) cluster: UcCluster,
    _chat: XmppServer,
    folder: Folder,
}

/// Ports free over TCP and UDP.
fn free_ports(from: u16) -> impl FnMut() -> SocketAddr {
    let mut next = from;
    move || loop {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), next);
        next += 1;
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

fn issue(authority: &Authority, folder: &Path, name: &str, role: Role, link: SocketAddr) -> Result<EdgeRecord> {
    let node = NodeId::new(name).context("a name")?;
    let identity = authority.issue(&node, role)?;
    identity.store(&folder.join(name))?;
    Ok(EdgeRecord { node, role, address: link.to_string(), key_hash: identity.key().key_hash() })
}

impl World {
    /// Starts it and waits until everything answers.
    pub(crate) async fn start() -> Result<Self> {
        let folder = Folder::new()?;
        let at = folder.0.display().to_string();
        let uc_ca = LabCa::new("UC CA")?;
        let everybody = everybody();
        let users = everybody.iter().map(|(user, number)| UcUser::new(user, &password(user), number)).collect();
        let mut config = UcConfig::new(DOMAIN, users);
        config.nodes.push(("cucm2".to_owned(), UcRole::CallManager, false));
        config.nodes.push(("cuc1".to_owned(), UcRole::Unity, true));
        let one_time = config.one_time.clone();
        let cluster = UcCluster::start(config, &uc_ca)?;
        let people: Vec<_> = everybody.iter().map(|(user, _)| (user.as_str(), password(user))).collect();
        let people: Vec<(&str, &str)> = people.iter().map(|(user, secret)| (*user, secret.as_str())).collect();
        let nodes = vec![XmppNode::new(IM, DOMAIN)];
        let chat = XmppServer::start(XmppConfig { nodes, one_time, ..XmppConfig::new(DOMAIN, &people) }, &uc_ca)?;
        let dns = LabDns::start()?;
        cluster.publish(&dns);

        let mut port = free_ports(PORTS + 400);
        let (sip, https, xmpp, link) = (port(), port(), port(), port());
        dns.set_addresses(EDGE_HOST, &[https.ip()]);
        let record = DnsRecord::Service { priority: 1, weight: 1, port: https.port(), target: EDGE_HOST.to_owned() };
        for domain in WALKS.iter().map(|(domain, _)| *domain).chain([DOMAIN]) {
            dns.set(&format!("_collab-edge._tls.{domain}"), std::slice::from_ref(&record));
        }
        let authority = Authority::ephemeral()?;
        let record = issue(&authority, &folder.0, "edge1", Role::Edge, link)?;
        let edge_ca = LabCa::new("Edge CA")?;
        // Clients ask for the edge by its name within the user's domain.
        let names: Vec<_> = WALKS.iter().map(|(domain, _)| format!("edge.{domain}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).chain([EDGE_HOST, DOMAIN]).collect();
        let pems = edge_ca.issue(&names, &[])?;
        let (chain, key) = (folder.write("edge.pem", &pems.chain)?, folder.write("edge.key", &pems.key)?);
        let text = format!(
            "node = \"edge1\"\nstate_dir = \"{at}/edge1\"\ncontrol_socket = \"{at}/edge1.sock\"\n[sip]\nlisten = [\"{sip}\"]\n\
             public_host = \"{EDGE_HOST}\"\ncertificate = \"{}\"\nkey = \"{}\"\n[https]\nlisten = [\"{https}\"]\n\
             [xmpp]\nlisten = [\"{xmpp}\"]\n[link]\nlisten = \"{link}\"\n[media]\naddress = \"127.0.0.1\"\nports = \"{PORTS}-{}\"\n",
            chain.display(),
            key.display(),
            PORTS + 99,
        );
        let edge = Node::start(Role::Edge, folder.write("edge1.toml", &text)?, None)?;

        folder.write("uc-ca.pem", cluster.ca_pem())?;
        let (user, secret) = cluster.state().application_user;
        folder.write("axl", &secret)?;
        let places: Vec<(String, SocketAddr)> = (1..=CORES).map(|number| (format!("core{number}"), port())).collect();
        let records = places
            .iter()
            .map(|(name, link)| issue(&authority, &folder.0, name, Role::Core, *link))
            .collect::<Result<Vec<_>>>()?;
        let (opened, doors) = channel();
        let mut cores = Vec::new();
        // Of two cores the one with the lower name dials.
        for (index, (name, link)) in places.iter().enumerate().rev() {
            let mut book = EdgeBook::default();
            for known in records[index + 1..].iter().cloned().chain([record.clone()]) {
                book.record(known)?;
            }
            book.store(&folder.0.join(name))?;
            let first = PORTS + 100 * u16::try_from(index + 1)?;
            let admin = if index == 0 { port().to_string() } else { "off".to_owned() };
            let text = format!(
                "node = \"{name}\"\nstate_dir = \"{at}/{name}\"\ncontrol_socket = \"{at}/{name}.sock\"\ndomains = [\"{DOMAIN}\"]\n\
                 [admin]\nlisten = \"{admin}\"\n[sip]\nlisten = [\"{}\"]\n[link]\nlisten = \"{link}\"\n\
                 [media]\naddress = \"127.0.0.1\"\nports = \"{first}-{}\"\n[dns]\nservers = [\"{}\"]\n\
                 [sign_in]\nauthority = \"unified_cm\"\nkey_file = \"{at}/sign-in.key\"\n\
                 [[unified_cm]]\naddress = \"{CUCM}\"\nuser = \"{user}\"\npassword_file = \"{at}/axl\"\nca = \"{at}/uc-ca.pem\"\n\
                 [[xmpp_server]]\naddress = \"{}\"\ntls_name = \"{IM}\"\nca = \"{at}/uc-ca.pem\"\n",
                port(),
                first + 99,
                dns.address(),
                chat.address(IM),
            );
            let config = folder.write(&format!("{name}.toml"), &text)?;
            cores.insert(0, Node::start(Role::Core, config, (index == 0).then(|| opened.clone()))?);
        }
        let (port, pages) =
            tokio::task::spawn_blocking(move || doors.recv_timeout(PATIENCE)).await?.context("pages")?;
        let world = Self {
            cores,
            edge,
            port,
            pages,
            sip,
            https,
            xmpp,
            edge_ca: edge_ca.pem().to_owned(),
            dns,
            cluster,
            _chat: chat,
            folder,
        };
        world.ready().await?;
        Ok(world)
    }

    async fn ready(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let whole = |core: &Node| {
                let status = core.status()?;
                let linked = status.links.iter().filter(|link| link.up).count();
                Ok::<_, anyhow::Error>(linked == CORES && status.registrars.iter().any(|registrar| registrar.alive))
            };
            let all = self.cores.iter().map(whole).collect::<Result<Vec<_>>>()?;
            if all.iter().all(|whole| *whole) && self.edge.status()?.links.len() == CORES {
                return Ok(());
            }
            ensure!(Instant::now() < until, "the nodes do not find each other");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The code for the first sign-in at the pages.
    pub(crate) fn first_code(&self) -> Result<String> {
        let text = fs::read_to_string(self.folder.0.join("core1/first-code")).context("the first code")?;
        Ok(text.trim().to_owned())
    }

    /// Where the UC servers' authority is.
    pub(crate) fn uc_ca(&self) -> String {
        self.folder.0.join("uc-ca.pem").display().to_string()
    }

    /// Maintenance mode for a node, or no longer.
    pub(crate) async fn maintain(&self, node: &str, on: bool) -> Result<()> {
        let node = (node != "core1").then(|| NodeId::new(node).context("a name")).transpose()?;
        self.port
            .ask(node.as_ref(), "maintenance", json!({ "on": on }))
            .await
            .map_err(|refusal| anyhow!(refusal.why))?;
        Ok(())
    }

    /// All nodes note what this machine's clients say.
    pub(crate) async fn trace(&self) -> Result<()> {
        for node in ["core1", "core2", "edge1"] {
            let node = (node != "core1").then(|| NodeId::new(node).context("a name")).transpose()?;
            let whom = json!({ "address": "127.0.0.1", "seconds": 600 });
            self.port.ask(node.as_ref(), "trace/start", whom).await.map_err(|refusal| anyhow!(refusal.why))?;
        }
        Ok(())
    }

    /// The cluster says that it has this version, and a node of this name; the truth again without them.
    pub(crate) fn lie(&self, version: Option<&str>, node: Option<&str>) {
        self.cluster.change(|state| {
            version.unwrap_or("12.5.1.10000(22)").clone_into(&mut state.version);
            let Some(second) = state.nodes.get_mut(2) else { return };
            node.unwrap_or(SECOND).clone_into(&mut second.name);
            second.listed = node.is_some();
        });
    }

    /// Waits until nothing is served any more by the first core or by the edge.
    pub(crate) async fn drained(&self, node: &str) -> Result<()> {
        let node = if node == "core1" { &self.cores[0] } else { &self.edge };
        let until = Instant::now() + PATIENCE;
        loop {
            let services = node.status()?.services;
            let mut parts = services.iter().flat_map(|service| &service.parts);
            if parts.all(|part| part.state == PartState::Drained) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "it is not drained: {services:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A client of a user, that knows nothing yet.
    pub(crate) fn client(&self, domain: &str, user: &str) -> MraClient {
        MraClient::new(MraConfig {
            domain: domain.to_owned(),
            user: user.to_owned(),
            password: password(user),
            dns: self.dns.address(),
            ca_pem: self.edge_ca.clone(),
        })
    }

    /// What a phone is told in the whole way of a client.
    pub(crate) async fn phone(&self, user: &str, user_agent: Option<&str>) -> Result<PhoneConfig> {
        let mut client = self.client(DOMAIN, user);
        client.find().await?;
        let until = Instant::now() + PATIENCE;
        let config = loop {
            match client.edge_config().await {
                Ok(config) => break config,
                Err(error) => ensure!(Instant::now() < until, "{user} cannot sign in: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let device = client.devices(&config.uds[0]).await?.remove(0);
        let call_manager = client.phone_file(CUCM, &device.name).await?.call_managers.remove(0).0;
        let number = everybody().into_iter().find(|(one, _)| one == user).context("a number")?.1;
        let (host, port) = config.sip[0].clone();
        let server = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let transport = PhoneTransport::Tls { server, name: host, ca_pem: self.edge_ca.clone() };
        let mut phone = PhoneConfig::new(&number, &password(user), &call_manager, transport);
        (phone.digest_user, phone.device) = (Some(user.to_owned()), Some(device.name));
        phone.routes = vec![config.routes[0].clone()];
        if let Some(name) = user_agent {
            name.clone_into(&mut phone.user_agent);
        }
        Ok(phone)
    }

    /// A chat session.
    pub(crate) async fn chat(&self, user: &str, resource: Option<&str>) -> Result<ChatClient> {
        let config = ChatConfig::new(self.xmpp, DOMAIN, user, &password(user), &self.edge_ca);
        let resource = resource.map(str::to_owned);
        let config = ChatConfig { tls_name: EDGE_HOST.to_owned(), resource, ..config };
        let until = Instant::now() + PATIENCE;
        loop {
            match ChatClient::start(&config).await {
                Ok(client) => return Ok(client),
                Err(error) => ensure!(Instant::now() < until, "{user} cannot chat: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
