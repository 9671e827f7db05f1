//! A whole system out of settings files: an edge, one or two cores, a simulated cluster with chat, and a server whose
//! files come a piece at a time.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use edgeway_config::{LogFormat, parse_core, parse_edge};
use edgeway_core_node::CoreNode;
use edgeway_edge_node::EdgeNode;
use edgeway_lab_servers::ca::LabCa;
use edgeway_lab_servers::client::http::{Ask, Got, Place, ask};
use edgeway_lab_servers::client::{MraClient, MraConfig, b64};
use edgeway_lab_servers::dns::{DnsRecord, LabDns};
use edgeway_lab_servers::uc::{UcCluster, UcConfig, UcUser};
use edgeway_lab_servers::xmpp::{ChatClient, ChatConfig, XmppConfig, XmppNode, XmppServer};
use edgeway_lab_servers::{Observer, Phone, PhoneConfig, PhoneTransport};
use edgeway_model::world::Status;
use edgeway_model::{Moment, NodeId, Random};
use edgeway_runtime::operate::{AdminDoor, Administration, OperatorPort, Prepared};
use edgeway_runtime::pki::{Authority, EdgeBook, EdgeRecord, Role};
use edgeway_runtime::service::{self, CoreKeys, EdgeKeys, Hooks, StatusPort, Stop};

pub(crate) const DOMAIN: &str = "lab.example";
const EDGE_HOST: &str = "edge.lab.example";
const CUCM: &str = "cucm1.lab.example";
const IM: &str = "imp1.lab.example";

/// Users and their directory numbers. `probe` only looks whether the system has come up.
pub(crate) const USERS: [(&str, &str); 7] = [
    ("alice", "1001"),
    ("bob", "1002"),
    ("carol", "1003"),
    ("dave", "1004"),
    ("erin", "1005"),
    ("frank", "1006"),
    ("probe", "1099"),
];

/// More than anything takes here, on a machine that does other things as well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

fn password(user: &str) -> String {
    format!("secret of {user}")
}

/// Waits until it is so.
pub(crate) async fn wait(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < until, "in a minute: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A node on a thread of its own, started from its settings file.
pub(crate) struct Node {
    role: Role,
    config: PathBuf,
    running: Option<(Stop, JoinHandle<()>, StatusPort)>,
    /// Where it is asked, and told its settings.
    asked: Option<OperatorPort>,
}

impl Node {
    fn start(role: Role, config: PathBuf) -> Self {
        let mut node = Self { role, config, running: None, asked: None };
        node.begin();
        node
    }

    /// Starts the service.
    pub(crate) fn begin(&mut self) {
        // A program that another test starts in this moment holds our sockets until it runs.
        let until = Instant::now() + PATIENCE;
        while let Err(fault) = self.try_to_begin() {
            assert!(fault.contains("another program uses this port") && Instant::now() < until, "{fault}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn try_to_begin(&mut self) -> Result<(), String> {
        let (ready, started) = channel();
        let (stop, stopped) = service::stop();
        let (role, config) = (self.role, self.config.clone());
        let thread = std::thread::spawn(move || {
            let (bound, failed) = (ready.clone(), ready);
            let (told, administers) = channel();
            let ready = move |port| {
                drop(bound.send(administers.recv().map(|asked| (port, asked)).map_err(|_| "no port".to_owned())))
            };
            let admin = move |port: OperatorPort| {
                let _ = told.send(port);
                let (door, _) = AdminDoor::new();
                Ok(Administration { door, kept: Box::new(()) })
            };
            let mut hooks = Hooks { ready: Some(Box::new(ready)), admin: Some(Box::new(admin)), ..Hooks::default() };
            let (text, origin) = (fs::read_to_string(&config).expect("settings"), config.display().to_string());
            let random = Random::from_seed(service::seed().expect("a seed"));
            let outcome = if role == Role::Edge {
                let settings = parse_edge(&text, &origin).unwrap_or_else(|problems| panic!("{problems}"));
                let node = EdgeNode::new((&settings).into(), random);
                service::run_edge(&settings, node, EdgeKeys::Files, hooks, stopped)
            } else {
                let settings = parse_core(&text, &origin).unwrap_or_else(|problems| panic!("{problems}"));
                hooks.inside = Some(edgeway_connectors::inside::make(settings.clone()));
                let node = CoreNode::new((&settings).into(), random, Moment::ZERO);
                service::run_core(&settings, node, CoreKeys::Files, hooks, stopped)
            };
            if let Err(fault) = outcome {
                let _ = failed.send(Err(fault.to_string()));
            }
        });
        let (port, asked) = started.recv_timeout(PATIENCE).expect("it starts")?;
        self.asked = Some(asked);
        self.running = Some((stop, thread, port));
        Ok(())
    }

    /// As SIGTERM: the service ends when nothing is under way.
    pub(crate) fn ease(&self) {
        self.running.as_ref().expect("it runs").0.ease();
    }

    /// Whether the service still runs.
    pub(crate) fn runs(&self) -> bool {
        self.running.as_ref().is_some_and(|(_, thread, _)| !thread.is_finished())
    }

    /// Ends the service.
    pub(crate) fn end(&mut self) {
        if let Some((stop, thread, _)) = self.running.take() {
            drop(stop);
            let _ = thread.join();
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.running.as_ref().and_then(|(.., port)| port.ask()).expect("a status")
    }

    /// What its settings file says.
    pub(crate) fn file(&self) -> &Path {
        &self.config
    }

    /// What is in it.
    pub(crate) fn written(&self) -> String {
        fs::read_to_string(&self.config).expect("settings")
    }

    /// Gets ready for other settings, given as a file would say them.
    pub(crate) async fn prepare(&self, text: &str) -> Result<Prepared, Vec<String>> {
        let settings = parse_core(text, "new").unwrap_or_else(|problems| panic!("{problems}"));
        self.port().prepare(Arc::new(settings)).await
    }

    /// Uses them while it runs; which of them want a restart.
    pub(crate) async fn apply(&self, text: &str) -> Vec<String> {
        let prepared = self.prepare(text).await.unwrap_or_else(|why| panic!("{why:?}"));
        self.port().apply().await.expect("applied");
        prepared.restart
    }

    pub(crate) fn port(&self) -> &OperatorPort {
        self.asked.as_ref().expect("it runs")
    }

    /// A part of a service, as `edgeway status` writes it.
    pub(crate) fn part(&self, name: &str) -> String {
        let services = self.status().services;
        let mut parts = services.iter().flat_map(|service| &service.parts);
        parts.find(|part| part.name == name).map(|part| part.state.to_string()).unwrap_or_default()
    }

    /// Whether the alarm of maintenance mode stands.
    pub(crate) fn alarmed(&self) -> bool {
        self.status().alarms.iter().any(|alarm| alarm.id == "maintenance_mode")
    }

    /// Its state directory.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.config.with_extension("")
    }

    /// Runs `edgeway …` for this node; what it says. It must be content.
    pub(crate) async fn edgeway(&self, arguments: &[&str]) -> String {
        let (content, said) = self.try_edgeway(arguments).await;
        assert!(content, "edgeway {}: {said}", arguments.join(" "));
        said
    }

    /// As [`Self::edgeway`]; whether it was content, too.
    pub(crate) async fn try_edgeway(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeway"));
        command.args(arguments).arg("--config").arg(&self.config);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it runs").expect("edgeway");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = Self(std::env::temp_dir().join(format!("edgeway-maintenance-{name}-{}", std::process::id())));
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
pub(crate) struct Fleet {
    // Nodes end before what they talk to.
    pub(crate) cores: Vec<Node>,
    pub(crate) edge: Node,
    https: SocketAddr,
    xmpp: SocketAddr,
    edge_ca: String,
    files: SocketAddr,
    /// One piece of the file that is being fetched.
    pub(crate) piece: Sender<()>,
    heard: Arc<Mutex<Vec<String>>>,
    _cluster: UcCluster,
    _chat: XmppServer,
    dns: LabDns,
    /// Nobody asks it before its address is in the settings.
    other_dns: LabDns,
    folder: Folder,
}

/// How many pieces of how many bytes the slow file has.
pub(crate) const PIECES: usize = 3;
pub(crate) const PIECE: [u8; 10_000] = [b'x'; 10_000];

/// A server inside: `/slow` is sent a piece at a time, whenever that is wished; all else is short.
fn serve_files(listener: &TcpListener, wishes: Receiver<()>) {
    let mut wishes = Some(wishes);
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        let answer = |stream: &mut TcpStream| -> std::io::Result<bool> {
            let mut lines = BufReader::new(stream.try_clone()?).lines();
            let slow = lines.next().transpose()?.is_some_and(|line| line.contains("/slow"));
            while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
            let length = if slow { PIECES * PIECE.len() } else { 2 };
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")?;
            if !slow {
                stream.write_all(b"ok")?;
            }
            Ok(slow)
        };
        if answer(&mut stream).unwrap_or(false)
            && let Some(wishes) = wishes.take()
        {
            std::thread::spawn(move || while wishes.recv().is_ok() && stream.write_all(&PIECE).is_ok() {});
        }
    }
}

/// Ports free over TCP and UDP, that the system gives to nobody: a node finds its own again when it restarts.
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

/// Who a node is, and where links reach it.
fn issue(authority: &Authority, folder: &Path, name: &str, role: Role, link: SocketAddr) -> EdgeRecord {
    let node = NodeId::new(name).expect("a name");
    let identity = authority.issue(&node, role).expect("an identity");
    identity.store(&folder.join(name)).expect("stored");
    EdgeRecord { node, role, address: link.to_string(), key_hash: identity.key().key_hash() }
}

impl Fleet {
    /// Starts it and waits until somebody can sign in. It takes ports from `ports` on, 400 at most.
    pub(crate) async fn start(name: &str, cores: usize, ports: u16) -> Self {
        // To see what the nodes say: EDGEWAY_LOG=debug.
        if let Ok(level) = std::env::var("EDGEWAY_LOG") {
            edgeway_runtime::log::start(&level, LogFormat::Human);
        }
        let folder = Folder::new(name);
        let uc_ca = LabCa::new("UC CA").expect("a CA");
        let users = USERS.map(|(user, number)| UcUser::new(user, &password(user), number));
        let config = UcConfig::new(DOMAIN, users.to_vec());
        let one_time = config.one_time.clone();
        let cluster = UcCluster::start(config, &uc_ca).expect("a cluster");
        let people = USERS.map(|(user, _)| (user, password(user)));
        let people: Vec<(&str, &str)> = people.iter().map(|(user, secret)| (*user, secret.as_str())).collect();
        let nodes = vec![XmppNode::new(IM, DOMAIN)];
        let chat = XmppServer::start(XmppConfig { nodes, one_time, ..XmppConfig::new(DOMAIN, &people) }, &uc_ca)
            .expect("a chat service");
        let dns = LabDns::start().expect("a DNS server");
        let other_dns = LabDns::start().expect("another");
        for dns in [&dns, &other_dns] {
            cluster.publish(dns);
        }
        let files = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let files_at = files.local_addr().expect("bound");
        let (piece, wishes) = channel();
        std::thread::spawn(move || serve_files(&files, wishes));

        let mut port = free_ports(ports + 300);
        let (sip, https, xmpp, link) = (port(), port(), port(), port());
        dns.set_addresses(EDGE_HOST, &[https.ip()]);
        let record = DnsRecord::Service { priority: 1, weight: 1, port: https.port(), target: EDGE_HOST.to_owned() };
        dns.set(&format!("_collab-edge._tls.{DOMAIN}"), &[record]);
        let authority = Authority::ephemeral().expect("a CA");
        let record = issue(&authority, &folder.0, "edge1", Role::Edge, link);
        let edge_ca = LabCa::new("Edge CA").expect("a CA");
        let pems = edge_ca.issue(&[EDGE_HOST, DOMAIN], &[]).expect("a certificate");
        let (chain, key) = (folder.write("edge.pem", &pems.chain), folder.write("edge.key", &pems.key));
        let at = folder.0.display();
        let text = format!(
            "node = \"edge1\"\nstate_dir = \"{at}/edge1\"\ncontrol_socket = \"{at}/edge1.sock\"\n[drain]\ntimeout = \"600s\"\n[sip]\nlisten = [\"{sip}\"]\n\
             public_host = \"{EDGE_HOST}\"\ncertificate = \"{}\"\nkey = \"{}\"\n[https]\nlisten = [\"{https}\"]\n\
             [xmpp]\nlisten = [\"{xmpp}\"]\n[link]\nlisten = \"{link}\"\n[media]\naddress = \"127.0.0.1\"\nports = \"{}-{}\"\n",
            chain.display(),
            key.display(),
            ports,
            ports + 99,
        );
        let edge = Node::start(Role::Edge, folder.write("edge1.toml", &text));

        folder.write("uc-ca.pem", cluster.ca_pem());
        folder.write("axl", &cluster.state().application_user.1);
        folder.write(
            "allow.csv",
            &format!("Url,Deployment,HttpMethods,MatchType,Description\nhttp://{files_at}/,default,GET,Prefix,\n"),
        );
        let places: Vec<(String, SocketAddr)> = (1..=cores).map(|number| (format!("core{number}"), port())).collect();
        let records: Vec<EdgeRecord> =
            places.iter().map(|(name, link)| issue(&authority, &folder.0, name, Role::Core, *link)).collect();
        let user = cluster.state().application_user.0;
        let mut running = Vec::new();
        // Of two cores the one with the lower name dials.
        for (index, (name, link)) in places.iter().enumerate().rev() {
            let mut book = EdgeBook::default();
            let others = records[index + 1..].iter().cloned();
            others.chain([record.clone()]).for_each(|known| book.record(known).expect("a few"));
            book.store(&folder.0.join(name)).expect("stored");
            let first = ports + 100 * u16::try_from(index + 1).expect("a few");
            let text = format!(
                "node = \"{name}\"\nstate_dir = \"{at}/{name}\"\ncontrol_socket = \"{at}/{name}.sock\"\ndomains = [\"{DOMAIN}\"]\n\
                 [drain]\ntimeout = \"1s\"\n[sip]\nlisten = [\"{}\"]\n[link]\nlisten = \"{link}\"\n[media]\naddress = \"127.0.0.1\"\nports = \"{first}-{}\"\n\
                 [dns]\nservers = [\"{}\"]\n[http]\nallow_list = \"{at}/allow.csv\"\n\
                 [sign_in]\nauthority = \"unified_cm\"\nkey_file = \"{at}/sign-in.key\"\n\
                 [[unified_cm]]\naddress = \"{CUCM}\"\nuser = \"{user}\"\npassword_file = \"{at}/axl\"\nca = \"{at}/uc-ca.pem\"\n\
                 [[xmpp_server]]\naddress = \"{}\"\ntls_name = \"{IM}\"\nca = \"{at}/uc-ca.pem\"\n",
                port(),
                first + 99,
                dns.address(),
                chat.address(IM),
            );
            running.insert(0, Node::start(Role::Core, folder.write(&format!("{name}.toml"), &text)));
        }
        let fleet = Self {
            cores: running,
            edge,
            https,
            xmpp,
            edge_ca: edge_ca.pem().to_owned(),
            files: files_at,
            piece,
            heard: Arc::default(),
            _cluster: cluster,
            _chat: chat,
            dns,
            other_dns,
            folder,
        };
        fleet.ready().await;
        fleet
    }

    /// Waits until every core serves.
    pub(crate) async fn ready(&self) {
        wait("all are linked with each other", || {
            let linked = |node: &Node| node.status().links.iter().filter(|link| link.up).count();
            self.cores.iter().all(|core| linked(core) == self.cores.len())
        })
        .await;
        wait("every core knows its call manager", || {
            self.cores.iter().all(|core| core.status().registrars.iter().any(|registrar| registrar.alive))
        })
        .await;
        let until = Instant::now() + PATIENCE;
        while self.sign_in("probe").await.status != 200 {
            assert!(Instant::now() < until, "nobody can sign in");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        while let Err(error) = self.open_chat("probe").await {
            assert!(Instant::now() < until, "{error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn place(&self) -> Place {
        Place { address: self.https, tls: Some((EDGE_HOST.to_owned(), self.edge_ca.clone())) }
    }

    /// `get_edge_config` with a user's password.
    pub(crate) async fn sign_in(&self, user: &str) -> Got {
        let path = format!("/{}/get_edge_config?service_name=_cisco-uds", b64(DOMAIN));
        ask(&self.place(), &Ask::get(EDGE_HOST, &path).basic(user, &password(user))).await.expect("an answer")
    }

    /// The same at another domain.
    pub(crate) async fn sign_in_at(&self, domain: &str, user: &str) -> Got {
        let path = format!("/{}/get_edge_config", b64(domain));
        ask(&self.place(), &Ask::get(EDGE_HOST, &path).basic(user, &password(user))).await.expect("an answer")
    }

    /// The same with a password that is wrong.
    pub(crate) async fn wrong_password(&self, user: &str) -> Got {
        let path = format!("/{}/get_edge_config", b64(DOMAIN));
        ask(&self.place(), &Ask::get(EDGE_HOST, &path).basic(user, "wrong")).await.expect("an answer")
    }

    /// A file of the server inside.
    pub(crate) async fn fetch(&self, user: &str, file: &str) -> Got {
        let path = format!("/{}{file}", b64(&format!("{DOMAIN}/http/{}/{}", self.files.ip(), self.files.port())));
        ask(&self.place(), &Ask::get(EDGE_HOST, &path).basic(user, &password(user))).await.expect("an answer")
    }

    /// Waits until a file is answered so.
    pub(crate) async fn until(&self, what: &str, file: &str, status: u16) {
        let until = Instant::now() + PATIENCE;
        while self.fetch("alice", file).await.status != status {
            assert!(Instant::now() < until, "in a minute: {what}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Another DNS server.
    pub(crate) fn another_dns(&self) -> SocketAddr {
        self.other_dns.address()
    }

    /// Whether anybody has asked it.
    pub(crate) fn another_dns_was_asked(&self) -> bool {
        !self.other_dns.asked().is_empty()
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> String {
        self.folder.0.display().to_string()
    }

    /// Writes one.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        self.folder.write(name, text)
    }

    /// The HTTP server allow list.
    pub(crate) fn allow_list(&self) -> String {
        fs::read_to_string(self.folder.0.join("allow.csv")).expect("a list")
    }

    /// Fetches the slow file, once a piece of it is wished for.
    pub(crate) fn download(&self, user: &str) -> tokio::task::JoinHandle<Got> {
        let path = format!("/{}/slow", b64(&format!("{DOMAIN}/http/{}/{}", self.files.ip(), self.files.port())));
        let (place, question) = (self.place(), Ask::get(EDGE_HOST, &path).basic(user, &password(user)));
        tokio::spawn(async move { ask(&place, &question).await.expect("the download goes on to its end") })
    }

    /// A registered phone, after the whole way of a client.
    pub(crate) async fn phone(&self, user: &str) -> Phone {
        Phone::register(self.phone_of(user).await).await.unwrap_or_else(|error| panic!("{user}: {error}"))
    }

    /// How a user's phone is to register.
    pub(crate) async fn phone_of(&self, user: &str) -> PhoneConfig {
        let mut client = MraClient::new(MraConfig {
            domain: DOMAIN.to_owned(),
            user: user.to_owned(),
            password: password(user),
            dns: self.dns.address(),
            ca_pem: self.edge_ca.clone(),
        });
        client.find().await.expect("an edge");
        let config = client.edge_config().await.expect("signed in");
        let device = client.devices(&config.uds[0]).await.expect("devices").remove(0);
        let file = client.phone_file(&config.uds[0].0, &device.name).await.expect("a phone file");
        let (host, port) = config.sip[0].clone();
        let server = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let transport = PhoneTransport::Tls { server, name: host, ca_pem: self.edge_ca.clone() };
        let mut phone = PhoneConfig::new(&file.numbers[0], &password(user), &file.call_managers[0].0, transport);
        (phone.digest_user, phone.device) = (Some(user.to_owned()), Some(device.name));
        phone.routes = vec![config.routes[0].clone()];
        let heard = Arc::clone(&self.heard);
        phone.observer = Observer::new(move |seen| {
            if !seen.sent {
                let text = String::from_utf8_lossy(&seen.message).into_owned();
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(text);
            }
        });
        phone
    }

    /// The answer a phone got last that refuses something.
    pub(crate) fn refusal(&self) -> String {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().rev().find(|text| text.starts_with("SIP/2.0 503 ")).cloned().expect("a refusal")
    }

    fn chat_of(&self, user: &str) -> ChatConfig {
        let config = ChatConfig::new(self.xmpp, DOMAIN, user, &password(user), &self.edge_ca);
        ChatConfig { tls_name: EDGE_HOST.to_owned(), ..config }
    }

    /// A stream, before anybody signs in.
    pub(crate) async fn open_chat(&self, user: &str) -> Result<ChatClient, edgeway_lab_servers::xmpp::ChatError> {
        ChatClient::open(&self.chat_of(user)).await
    }

    /// A chat session.
    pub(crate) async fn chat(&self, user: &str) -> ChatClient {
        ChatClient::start(&self.chat_of(user)).await.unwrap_or_else(|error| panic!("{user}: {error}"))
    }
}
