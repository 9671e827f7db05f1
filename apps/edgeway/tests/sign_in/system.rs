//! A whole system for sign-in: an edge and a core as they are, two simulated clusters, DNS.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use edgeway_config::{CertificateFiles, LogFormat, parse_core, parse_edge};
use edgeway_core_node::CoreNode;
use edgeway_edge_node::EdgeNode;
use edgeway_lab_servers::ca::LabCa;
use edgeway_lab_servers::client::http::{Ask, Got, NoAnswer, Place, ask};
use edgeway_lab_servers::client::{MraClient, MraConfig, b64};
use edgeway_lab_servers::dns::{DnsRecord, LabDns};
use edgeway_lab_servers::uc::{Fault, Role as UcRole, Service, UcCluster, UcConfig, UcUser};
use edgeway_lab_servers::{PhoneConfig, PhoneTransport};
use edgeway_model::{Moment, NodeId, Random};
use edgeway_runtime::pki::{Authority, EdgeRecord, Role};
use edgeway_runtime::service::{self, CoreKeys, EdgeKeys, Hooks, ServiceFault, Stop, Stopped};
use edgeway_runtime::tls::CertificateStore;

pub(crate) const DOMAIN: &str = "lab.example";
/// The domain of a deployment whose call manager is away.
pub(crate) const AWAY: &str = "away.example";
pub(crate) const EDGE_HOST: &str = "edge.lab.example";
/// The name a client of the second domain asks for: the first label of the edge's name, and its domain.
pub(crate) const EDGE_OTHER_HOST: &str = "edge.away.example";
pub(crate) const CUCM: &str = "cucm1.lab.example";
/// A second call manager of the cluster.
pub(crate) const CUCM_TWO: &str = "cucm2.lab.example";

/// Users of both domains; the password of each is its name behind `secret of `.
pub(crate) const USERS: [(&str, &str); 5] =
    [("alice", "1001"), ("bob", "1002"), ("carol", "1003"), ("dave", "1004"), ("probe", "1099")];

const SOON: Duration = Duration::from_secs(20);

pub(crate) fn password(user: &str) -> String {
    format!("secret of {user}")
}

/// A node on its thread.
pub(crate) struct Node {
    stop: Option<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let unique = format!("edgeway-sign-in-{name}-{}", std::process::id());
        let folder = Self(std::env::temp_dir().join(unique));
        let _ = fs::remove_dir_all(&folder.0);
        fs::create_dir_all(&folder.0).expect("a folder");
        folder
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
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

/// All of it.
pub(crate) struct System {
    // Nodes end before what they talk to.
    _nodes: Vec<Node>,
    pub(crate) cluster: UcCluster,
    pub(crate) away: UcCluster,
    pub(crate) https: SocketAddr,
    /// Where the edge that a core dials takes chat clients.
    pub(crate) xmpp: SocketAddr,
    /// An edge that no core dials.
    pub(crate) alone: SocketAddr,
    pub(crate) ca_file: PathBuf,
    pub(crate) ca_pem: String,
    /// Who issued the certificates of the edge.
    pub(crate) edge_ca: LabCa,
    /// The certificates shown to clients, and their files.
    pub(crate) certificates: Arc<CertificateStore>,
    pub(crate) certificate_files: Vec<CertificateFiles>,
    dns: LabDns,
    _folder: Folder,
}

impl System {
    /// Starts it and waits until the core knows its call managers. `sign_in` is added to `[sign_in]` of the core.
    pub(crate) async fn start(name: &str, sign_in: &str) -> Self {
        // To see what the nodes say: EDGEWAY_LOG=debug.
        if let Ok(level) = std::env::var("EDGEWAY_LOG") {
            edgeway_runtime::log::start(&level, LogFormat::Human);
        }
        let folder = Folder::new(name);
        let uc_ca = LabCa::new("UC CA").expect("a CA");
        let cluster = cluster(DOMAIN, &uc_ca);
        let away = self::cluster(AWAY, &uc_ca);
        away.fault(&format!("cucm1.{AWAY}"), Service::Uds, Some(Fault::Status(500)));
        away.fault(&format!("cucm2.{AWAY}"), Service::Uds, Some(Fault::Silent));
        let dns = LabDns::start().expect("a DNS server");
        cluster.publish(&dns);
        away.publish(&dns);

        let edge_ca = LabCa::new("Edge CA").expect("a CA");
        let ca_file = folder.write("edge-ca.pem", edge_ca.pem());
        let certificate_files: Vec<CertificateFiles> = [EDGE_HOST, EDGE_OTHER_HOST]
            .iter()
            .map(|host| {
                let pems = edge_ca.issue(&[host], &[]).expect("a certificate");
                CertificateFiles {
                    chain: folder.write(&format!("{host}.pem"), &pems.chain).display().to_string(),
                    key: folder.write(&format!("{host}.key"), &pems.key).display().to_string(),
                }
            })
            .collect();
        let authority = Authority::ephemeral().expect("a CA");
        let store = CertificateStore::load(&certificate_files);
        let certificates = Arc::new(store.unwrap_or_else(|faults| panic!("certificates: {faults:?}")));
        let (edge, [https, xmpp], record) = start_edge("edge1", &folder.0, &authority, Arc::clone(&certificates));
        let (lonely, [alone, _], _) = start_edge("edge2", &folder.0, &authority, Arc::clone(&certificates));
        dns.set_addresses(EDGE_HOST, &[https.ip()]);
        let record_of_edge =
            DnsRecord::Service { priority: 1, weight: 1, port: https.port(), target: EDGE_HOST.to_owned() };
        dns.set(&format!("_collab-edge._tls.{DOMAIN}"), &[record_of_edge]);
        let core = start_core(&folder, &authority, record, [&cluster, &away], &dns, sign_in);
        let system = Self {
            _nodes: vec![core, edge, lonely],
            cluster,
            away,
            https,
            xmpp,
            alone,
            ca_file,
            ca_pem: edge_ca.pem().to_owned(),
            edge_ca,
            certificates,
            certificate_files,
            dns,
            _folder: folder,
        };
        system.ready().await;
        system
    }

    /// Waits until somebody can sign in.
    async fn ready(&self) {
        let until = Instant::now() + SOON;
        loop {
            let got = self.sign_in("probe", &password("probe")).await;
            match got.status {
                200 => break,
                503 if Instant::now() < until => tokio::time::sleep(Duration::from_millis(200)).await,
                other => panic!("the system does not come up: {other} {}", got.text()),
            }
        }
        self.cluster.forget();
        self.away.forget();
    }

    /// Asks the edge.
    pub(crate) async fn ask(&self, question: &Ask) -> Result<Got, NoAnswer> {
        let place = Place { address: self.https, tls: Some((EDGE_HOST.to_owned(), self.ca_pem.clone())) };
        ask(&place, question).await
    }

    /// `get_edge_config` with a password.
    pub(crate) async fn sign_in(&self, user: &str, password: &str) -> Got {
        self.ask(&edge_config().basic(user, password)).await.expect("an answer")
    }
}

impl System {
    /// Goes the whole way of a client, and says how its phone is to register.
    pub(crate) async fn phone_of(&self, user: &str) -> PhoneConfig {
        let mut client = MraClient::new(MraConfig {
            domain: DOMAIN.to_owned(),
            user: user.to_owned(),
            password: password(user),
            dns: self.dns.address(),
            ca_pem: self.ca_pem.clone(),
        });
        client.find().await.expect("an edge");
        let config = client.edge_config().await.expect("signed in");
        assert_eq!(config.xmpp, [(EDGE_HOST.to_owned(), self.xmpp.port())], "the edge that takes chat");
        let device = client.devices(&config.uds[0]).await.expect("devices").remove(0);
        let file = client.phone_file(&config.uds[0].0, &device.name).await.expect("a phone file");
        let (host, port) = config.sip[0].clone();
        let server = SocketAddr::new(HERE, port);
        let transport = PhoneTransport::Tls { server, name: host, ca_pem: self.ca_pem.clone() };
        let mut phone = PhoneConfig::new(&file.numbers[0], &password(user), &file.call_managers[0].0, transport);
        (phone.digest_user, phone.device) = (Some(user.to_owned()), Some(device.name));
        phone.routes = vec![config.routes[0].clone()];
        phone
    }
}

/// `get_edge_config`, no credentials yet.
pub(crate) fn edge_config() -> Ask {
    Ask::get(EDGE_HOST, &format!("/{}/get_edge_config?service_name=_cisco-uds", b64(DOMAIN)))
}

fn cluster(domain: &str, ca: &LabCa) -> UcCluster {
    let users = USERS.map(|(name, number)| UcUser::new(name, &password(name), number));
    let mut config = UcConfig::new(domain, users.to_vec());
    config.nodes.push(("cucm2".to_owned(), UcRole::CallManager, true));
    config.oauth = true;
    UcCluster::start(config, ca).expect("a cluster")
}

/// A port free over TCP and UDP.
fn port() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let address = tcp.local_addr().expect("bound");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

fn launch(serve: impl FnOnce(Hooks, Stopped) -> Result<(), ServiceFault> + Send + 'static) -> Node {
    let (ready, started) = channel();
    let (stop, stopped) = service::stop();
    let thread = std::thread::spawn(move || {
        let bound = ready.clone();
        let hooks = Hooks { ready: Some(Box::new(move |_| drop(bound.send(Ok(()))))), ..Hooks::default() };
        if let Err(fault) = serve(hooks, stopped) {
            let _ = ready.send(Err(fault.to_string()));
        }
    });
    let node = Node { stop: Some(stop), thread: Some(thread) };
    started.recv_timeout(SOON).expect("it starts").expect("in good order");
    node
}

fn start_edge(
    name: &str,
    folder: &Path,
    authority: &Authority,
    certificates: Arc<CertificateStore>,
) -> (Node, [SocketAddr; 2], EdgeRecord) {
    let (https, xmpp, sip, link, at) = (port(), port(), port(), port(), folder.display());
    let text = format!(
        "node = \"{name}\"\nstate_dir = \"{at}/{name}\"\ncontrol_socket = \"{at}/{name}.sock\"\n[sip]\nlisten = [\"{sip}\"]\n\
         public_host = \"{EDGE_HOST}\"\ncertificate = \"memory\"\nkey = \"memory\"\n[https]\nlisten = [\"{https}\"]\n\
         [xmpp]\nlisten = [\"{xmpp}\"]\n[link]\nlisten = \"{link}\"\n[media]\naddress = \"127.0.0.1\"\nports = \"13100-13199\"\n"
    );
    let settings = parse_edge(&text, name).expect("good settings");
    let node = NodeId::new(name).expect("a name");
    let identity = authority.issue(&node, Role::Edge).expect("an identity");
    let record = EdgeRecord { node, role: Role::Edge, address: link.to_string(), key_hash: identity.key().key_hash() };
    let keys = EdgeKeys::Memory { identity: Box::new(identity), certificates };
    let edge = launch(move |hooks, stopped| {
        let node = EdgeNode::new((&settings).into(), Random::from_seed(service::seed()?));
        service::run_edge(&settings, node, keys, hooks, stopped)
    });
    (edge, [https, xmpp], record)
}

fn start_core(
    folder: &Folder,
    authority: &Authority,
    edge: EdgeRecord,
    clusters: [&UcCluster; 2],
    dns: &LabDns,
    sign_in: &str,
) -> Node {
    let (sip, at) = (port(), folder.0.display());
    let ca = folder.write("uc-ca.pem", clusters[0].ca_pem());
    let mut servers = String::new();
    for (cluster, deployment) in clusters.iter().zip(["default", "away"]) {
        let state = cluster.state();
        let (user, secret) = state.application_user;
        let password = folder.write(&format!("{deployment}-password"), &secret);
        servers.push_str(&format!(
            "[[unified_cm]]\naddress = \"cucm1.{}\"\ndeployment = \"{deployment}\"\nuser = \"{user}\"\n\
             password_file = \"{}\"\nca = \"{}\"\n",
            state.domain,
            password.display(),
            ca.display()
        ));
    }
    let text = format!(
        "node = \"core1\"\nstate_dir = \"{at}/core1\"\ncontrol_socket = \"{at}/core1.sock\"\ndomains = [\"{DOMAIN}\"]\n\
         [sip]\nlisten = [\"{sip}\"]\n[media]\naddress = \"127.0.0.1\"\nports = \"13200-13299\"\n\
         [dns]\nservers = [\"{}\"]\n[sign_in]\nauthority = \"unified_cm\"\noauth = true\n{sign_in}\n\
         [[deployment]]\nname = \"away\"\ndomains = [\"{AWAY}\"]\nauthority = \"unified_cm\"\n{servers}",
        dns.address()
    );
    let settings = parse_core(&text, "core1").unwrap_or_else(|problems| panic!("{problems}"));
    let node = NodeId::new("core1").expect("a name");
    let identity = authority.issue(&node, Role::Core).expect("an identity");
    let keys = CoreKeys::Memory { identity: Box::new(identity), edges: vec![edge] };
    launch(move |mut hooks, stopped| {
        let node = CoreNode::new((&settings).into(), Random::from_seed(service::seed()?), Moment::ZERO);
        hooks.inside = Some(edgeway_connectors::inside::make(settings.clone()));
        service::run_core(&settings, node, keys, hooks, stopped)
    })
}

/// Loopback.
pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
