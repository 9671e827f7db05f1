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
use edgeway_lab_servers::uc::{UcCluster, UcConfig, UcUser};
use edgeway_lab_servers::xmpp::{ChatClient, ChatConfig, XmppConfig, XmppNode, XmppServer};
use edgeway_lab_servers::{Phone, PhoneConfig, PhoneTransport};
use edgeway_model::services::PartState;
use edgeway_model::world::Status;
use edgeway_model::{Moment, NodeId, Random};
use edgeway_runtime::operate::OperatorPort;
use edgeway_runtime::pki::{Authority, EdgeBook, EdgeRecord, Role};
use edgeway_runtime::service::{self, CoreKeys, EdgeKeys, Hooks, StatusPort, Stop};
use serde_json::json;

const DOMAIN: &str = "lab.example";
const EDGE_HOST: &str = "edge.lab.example";
const CUCM: &str = "cucm1.lab.example";
const IM: &str = "imp1.lab.example";
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

fn password(user: &str) -> String {
    format!("secret of {user}")
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
    xmpp: SocketAddr,
    edge_ca: String,
    dns: LabDns,
    _cluster: UcCluster,
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
        let users = USERS.map(|(user, number)| UcUser::new(user, &password(user), number));
        let config = UcConfig::new(DOMAIN, users.to_vec());
        let one_time = config.one_time.clone();
        let cluster = UcCluster::start(config, &uc_ca)?;
        let people = USERS.map(|(user, _)| (user, password(user)));
        let people: Vec<(&str, &str)> = people.iter().map(|(user, secret)| (*user, secret.as_str())).collect();
        let nodes = vec![XmppNode::new(IM, DOMAIN)];
        let chat = XmppServer::start(XmppConfig { nodes, one_time, ..XmppConfig::new(DOMAIN, &people) }, &uc_ca)?;
        let dns = LabDns::start()?;
        cluster.publish(&dns);

        let mut port = free_ports(PORTS + 400);
        let (sip, https, xmpp, link) = (port(), port(), port(), port());
        dns.set_addresses(EDGE_HOST, &[https.ip()]);
        let record = DnsRecord::Service { priority: 1, weight: 1, port: https.port(), target: EDGE_HOST.to_owned() };
        dns.set(&format!("_collab-edge._tls.{DOMAIN}"), &[record]);
        let authority = Authority::ephemeral()?;
        let record = issue(&authority, &folder.0, "edge1", Role::Edge, link)?;
        let edge_ca = LabCa::new("Edge CA")?;
        let pems = edge_ca.issue(&[EDGE_HOST, DOMAIN], &[])?;
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
            xmpp,
            edge_ca: edge_ca.pem().to_owned(),
            dns,
            _cluster: cluster,
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

    /// Maintenance mode for the first core, until nothing is served there any more.
    pub(crate) async fn drain(&self) -> Result<()> {
        self.port.ask(None, "maintenance", json!({ "on": true })).await?;
        let until = Instant::now() + PATIENCE;
        loop {
            let services = self.cores[0].status()?.services;
            let mut parts = services.iter().flat_map(|service| &service.parts);
            if parts.all(|part| part.state == PartState::Drained) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "the core is not drained: {services:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A registered phone, after the whole way of a client.
    pub(crate) async fn phone(&self, user: &str, user_agent: Option<&str>) -> Result<Phone> {
        let mut client = MraClient::new(MraConfig {
            domain: DOMAIN.to_owned(),
            user: user.to_owned(),
            password: password(user),
            dns: self.dns.address(),
            ca_pem: self.edge_ca.clone(),
        });
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
        let file = client.phone_file(&config.uds[0].0, &device.name).await?;
        let (host, port) = config.sip[0].clone();
        let server = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let transport = PhoneTransport::Tls { server, name: host, ca_pem: self.edge_ca.clone() };
        let mut phone = PhoneConfig::new(&file.numbers[0], &password(user), &file.call_managers[0].0, transport);
        (phone.digest_user, phone.device) = (Some(user.to_owned()), Some(device.name));
        phone.routes = vec![config.routes[0].clone()];
        if let Some(name) = user_agent {
            name.clone_into(&mut phone.user_agent);
        }
        Ok(Phone::register(phone).await?)
    }

    /// A chat session.
    pub(crate) async fn chat(&self, user: &str) -> Result<ChatClient> {
        let config = ChatConfig::new(self.xmpp, DOMAIN, user, &password(user), &self.edge_ca);
        let config = ChatConfig { tls_name: EDGE_HOST.to_owned(), ..config };
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
