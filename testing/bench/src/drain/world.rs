//! Two edges, two cores, and the servers inside: a call manager, a chat service and a slow file.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use edgeway_interop::Host;
use edgeway_interop::certificates::{Authority, Certificate};
use edgeway_interop::process::free_port;
use edgeway_interop::product::{EDGE_NAME, HttpsSetup, ProductSetup, Transport, XmppSetup};
use edgeway_interop::quartet::{Quartet, Which};
use edgeway_lab_servers::ca::LabCa;
use edgeway_lab_servers::client::b64;
use edgeway_lab_servers::client::http::{Ask, Got, Place, ask};
use edgeway_lab_servers::client::xml::Element;
use edgeway_lab_servers::dns::LabDns;
use edgeway_lab_servers::uc::{UcCluster, UcConfig, UcUser};
use edgeway_lab_servers::xmpp::{ChatConfig, XmppConfig, XmppNode, XmppServer};
use edgeway_lab_servers::{Observer, PhoneConfig, PhoneTransport};
use serde_json::Value;

use super::Target;
use super::files::{Download, Files};

const DOMAIN: &str = "uc.example";
const IM: &str = "imp1.uc.example";
const PASSWORD: &str = "wonderland";
/// How long the first sign-in, or a count, may take.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long a count may take to be right.
pub(super) const COUNTED_WITHIN: Duration = Duration::from_secs(10);
/// How often a status is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What a part says when it is drained.
pub(super) const INACTIVE: &str = "Inactive (Maintenance mode)";
/// Refusals kept for the look at their words.
const HEARD_MAX: usize = 4_096;

/// Where clients reach an edge.
#[derive(Clone, Debug)]
struct Entrance {
    sip: SocketAddr,
    https: SocketAddr,
    xmpp: SocketAddr,
}

/// Everything that runs.
pub(super) struct World {
    quartet: Quartet,
    entrances: [Entrance; 2],
    /// The addresses of the cores, as the Routes of clients name them.
    cores: [IpAddr; 2],
    ca_pem: String,
    ca_file: PathBuf,
    publisher: String,
    pub(super) files: Files,
    heard: Arc<Mutex<Vec<String>>>,
    // Held: they serve.
    _cluster: UcCluster,
    _chat: XmppServer,
    _dns: LabDns,
}

/// A person of this bench.
#[derive(Clone, Copy, Debug)]
pub(super) enum Person {
    Phone(usize),
    Chat(usize),
    Visitor(usize),
}

impl Person {
    pub(super) fn name(self) -> String {
        match self {
            Self::Phone(n) => format!("phone{n}"),
            Self::Chat(n) => format!("chat{n}"),
            Self::Visitor(n) => format!("visitor{n}"),
        }
    }

    fn number(self) -> String {
        match self {
            Self::Phone(n) => format!("{}", 10_000 + n),
            Self::Chat(n) => format!("{}", 40_000 + n),
            Self::Visitor(n) => format!("{}", 60_000 + n),
        }
    }
}

/// How many people of each kind there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct People {
    pub(super) phones: usize,
    pub(super) chats: usize,
    pub(super) visitors: usize,
}

impl World {
    /// Starts it, with so many people.
    pub(super) async fn start(directory: &Path, people: People) -> Result<Self> {
        let [first_at, second_at] = addresses();
        let authority = Authority::create(directory, "authority")?;
        let certificate = authority.issue_for(&[EDGE_NAME, DOMAIN])?;
        let ca_pem = fs::read_to_string(authority.certificate())?;
        let everybody = || {
            let phones = (0..people.phones).map(Person::Phone);
            let chats = (0..people.chats).map(Person::Chat);
            phones.chain(chats).chain((0..people.visitors).map(Person::Visitor))
        };
        let uc_ca = LabCa::new("bench")?;
        let users = everybody().map(|person| UcUser::new(&person.name(), PASSWORD, &person.number()));
        let config = UcConfig::new(DOMAIN, users.collect());
        let (axl_user, axl_password) = config.application_user.clone();
        let one_time = config.one_time.clone();
        let cluster = UcCluster::start(config, &uc_ca)?;
        let users = everybody().map(|person| (person.name(), PASSWORD.to_owned())).collect();
        let nodes = vec![XmppNode::new(IM, DOMAIN)];
        let chat = XmppServer::start(XmppConfig { users, nodes, one_time, ..XmppConfig::new(DOMAIN, &[]) }, &uc_ca)?;
        let dns = LabDns::start()?;
        cluster.publish(&dns);
        let files = Files::start().await?;

        let (password, ca) = (directory.join("axl.password"), directory.join("uc-ca.pem"));
        fs::write(&password, axl_password)?;
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
        fs::write(&ca, cluster.ca_pem())?;
        let allow_list = directory.join("allow.csv");
        let rule = format!("http://{}/,default,GET,Prefix,\n", files.address());
        fs::write(&allow_list, format!("Url,Deployment,HttpMethods,MatchType,Description\n{rule}"))?;
        let publisher = format!("cucm1.{DOMAIN}");
        let mut https = String::new();
        writeln!(https, "[dns]\nservers = [\"{}\"]\n[sign_in]\nauthority = \"unified_cm\"", dns.address())?;
        writeln!(https, "[http]\nallow_list = \"{}\"", allow_list.display())?;
        writeln!(https, "[[unified_cm]]\naddress = \"{publisher}\"\nuser = \"{axl_user}\"\nca = \"{}\"", ca.display())?;
        writeln!(https, "password_file = \"{}\"", password.display())?;
        let im = chat.address(IM);
        let xmpp = format!("[[xmpp_server]]\naddress = \"{im}\"\ntls_name = \"{IM}\"\nca = \"{}\"\n", ca.display());

        let certificates = std::slice::from_ref(&certificate);
        let first = setup(first_at, certificates, &https, &xmpp)?;
        let second = setup(second_at, certificates, &https, &xmpp)?;
        let entrances = [entrance(&first)?, entrance(&second)?];
        let mut quartet = Quartet::start(&[first, second], directory)?;
        quartet.add_second_core()?;
        let world = Self {
            quartet,
            entrances,
            cores: [first_at, second_at],
            ca_pem,
            ca_file: authority.certificate(),
            publisher,
            files,
            heard: Arc::default(),
            _cluster: cluster,
            _chat: chat,
            _dns: dns,
        };
        Ok(world)
    }

    /// The end of the logs, for error messages.
    pub(super) fn logs(&self) -> String {
        self.quartet.log_tails()
    }

    fn entrance(&self, edge: Which) -> &Entrance {
        let [first, second] = &self.entrances;
        if edge == Which::First { first } else { second }
    }

    fn place(&self, edge: Which) -> Place {
        let address = self.entrance(edge).https;
        Place { address, tls: Some((EDGE_NAME.to_owned(), self.ca_pem.clone())) }
    }

    /// Signs in at an edge.
    pub(super) async fn sign_in(&self, edge: Which, person: Person) -> Result<Got> {
        let path = format!("/{}/get_edge_config?service_name=_cisco-uds&service_name=_cuplogin", b64(DOMAIN));
        Ok(ask(&self.place(edge), &Ask::get(EDGE_NAME, &path).basic(&person.name(), PASSWORD)).await?)
    }

    /// Signs in, again and again until all parts are up. Gives the Route of SIP.
    pub(super) async fn ready(&self, edge: Which, person: Person) -> Result<String> {
        let start = Instant::now();
        loop {
            match self.sign_in(edge, person).await {
                Ok(got) if got.status == 200 => {
                    let tree = Element::parse(&got.text()).map_err(anyhow::Error::msg)?;
                    return Ok(tree.text_at("edgeConfig/sipRequest/route").context("a route")?.to_owned());
                }
                Ok(got) if start.elapsed() > READY_WITHIN => bail!("{}: {}\n{}", got.status, got.reason, self.logs()),
                Err(error) if start.elapsed() > READY_WITHIN => bail!("{error}\n{}", self.logs()),
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Whether a Route names the first core.
    pub(super) fn names_first_core(&self, route: &str) -> bool {
        let [first, _] = self.cores;
        route.contains(&format!("{first}:"))
    }

    /// How a person's phone is to register at an edge.
    pub(super) fn phone(&self, edge: Which, person: Person, route: &str) -> PhoneConfig {
        let server = self.entrance(edge).sip;
        let transport = PhoneTransport::Tls { server, name: EDGE_NAME.to_owned(), ca_pem: self.ca_pem.clone() };
        let mut config = PhoneConfig::new(&person.number(), PASSWORD, &self.publisher, transport);
        config.digest_user = Some(person.name());
        config.device = Some(format!("CSF{}", person.name().to_ascii_uppercase()));
        config.routes = vec![route.to_owned()];
        config.reconnect = false;
        // The same device, whenever it comes.
        config.instance = Some(format!("00000000-0000-4000-8000-{:0>12}", person.number()));
        let heard = Arc::clone(&self.heard);
        config.observer = Observer::new(move |seen| {
            if !seen.sent && seen.message.starts_with(b"SIP/2.0 503 ") {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                if heard.len() < HEARD_MAX {
                    heard.push(String::from_utf8_lossy(&seen.message).into_owned());
                }
            }
        });
        config
    }

    /// The address of record of a person.
    pub(super) fn aor(&self, person: Person) -> String {
        format!("sip:{}@{}", person.number(), self.publisher)
    }

    /// All that phones were refused with 503 since this was asked last, in the words of maintenance mode and with a time
    /// to come again; how many there were.
    pub(super) fn refusals(&self) -> Result<usize> {
        let heard = std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        for refusal in &heard {
            let warned = refusal.contains("\r\nWarning: 382 ") && refusal.contains("\"System in Maintenance Mode\"");
            ensure!(warned && refusal.contains("\r\nRetry-After: "), "refused in other words:\n{refusal}");
        }
        Ok(heard.len())
    }

    /// How a person chats over an edge.
    pub(super) fn chat(&self, edge: Which, person: Person) -> ChatConfig {
        let xmpp = self.entrance(edge).xmpp;
        let config = ChatConfig::new(xmpp, DOMAIN, &person.name(), PASSWORD, &self.ca_pem);
        ChatConfig { tls_name: EDGE_NAME.to_owned(), ..config }
    }

    /// Begins to fetch the slow file over an edge.
    pub(super) async fn download(&self, edge: Which, person: Person) -> Result<Download> {
        let path = format!("/{}/slow", self.descriptor());
        let connector = crate::http::crowd::connector(&self.ca_file, b"http/1.1")?;
        let ask = Ask::get(EDGE_NAME, &path).basic(&person.name(), PASSWORD);
        Download::begin(self.entrance(edge).https, connector, &ask).await
    }

    /// Fetches a file that is no longer than a moment, over an edge.
    pub(super) async fn fetch(&self, edge: Which, person: Person) -> Result<Got> {
        let path = format!("/{}/short", self.descriptor());
        Ok(ask(&self.place(edge), &Ask::get(EDGE_NAME, &path).basic(&person.name(), PASSWORD)).await?)
    }

    /// How clients name the server with the files.
    fn descriptor(&self) -> String {
        let at = self.files.address();
        b64(&format!("{DOMAIN}/http/{}/{}", at.ip(), at.port()))
    }

    /// Runs `edgeway …` for a node of the kind that is drained; it must be content.
    pub(super) async fn edgeway(&self, target: Target, which: Which, arguments: &[&str]) -> Result<String> {
        let mut command = match target {
            Target::Edge => self.quartet.edge_command(which, arguments),
            Target::Core => self.quartet.core_command(which, arguments),
        };
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "edgeway {}: {text}", arguments.join(" "));
        Ok(text.into_owned())
    }

    /// What the node that is drained says of itself.
    pub(super) async fn status(&self, target: Target) -> Result<NodeStatus> {
        self.status_of(target, Which::First).await
    }

    /// The same of one of its kind.
    pub(super) async fn status_of(&self, target: Target, which: Which) -> Result<NodeStatus> {
        let text = self.edgeway(target, which, &["status", "--output", "json"]).await?;
        Ok(NodeStatus(serde_json::from_str(&text)?))
    }

    /// Waits until both nodes of a kind together have so many of something; how many of them the first one has.
    pub(super) async fn share(&self, target: Target, name: &str, of: usize) -> Result<usize> {
        let until = Instant::now() + COUNTED_WITHIN;
        loop {
            let [first, second] = [Which::First, Which::Second].map(|which| self.status_of(target, which));
            let (first, second) = (first.await?.count(name), second.await?.count(name));
            if first + second == of {
                return Ok(first);
            }
            ensure!(Instant::now() < until, "{first} + {second} {name} are counted, there are {of}\n{}", self.logs());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// CPU time the node that is drained has used since it started.
    pub(super) fn cpu(&self, target: Target) -> Result<Duration> {
        let usage = match target {
            Target::Edge => self.quartet.edge_usage(Which::First),
            Target::Core => self.quartet.core_usage(Which::First),
        };
        Ok(usage?.cpu)
    }

    /// Waits until the status says so; the status.
    pub(super) async fn wait(
        &self,
        target: Target,
        what: &str,
        within: Duration,
        so: impl Fn(&NodeStatus) -> bool,
    ) -> Result<NodeStatus> {
        let until = Instant::now() + within;
        loop {
            let status = self.status(target).await?;
            if so(&status) {
                return Ok(status);
            }
            ensure!(Instant::now() < until, "not within {within:?}: {what}\n{status}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// The status of a node.
pub(super) struct NodeStatus(Value);

impl NodeStatus {
    /// A gauge or a number.
    pub(super) fn count(&self, name: &str) -> usize {
        let value = self.0.get(name);
        let number = value.and_then(|value| value.get("current").unwrap_or(value).as_u64());
        number.and_then(|number| usize::try_from(number).ok()).unwrap_or_default()
    }

    /// What a part of a service says.
    pub(super) fn part(&self, name: &str) -> &str {
        let services = self.0.get("services").and_then(Value::as_array).into_iter().flatten();
        let mut parts = services.filter_map(|service| service.get("parts").and_then(Value::as_array)).flatten();
        let part = parts.find(|part| part.get("name").and_then(Value::as_str) == Some(name));
        part.and_then(|part| part.get("state")).and_then(Value::as_str).unwrap_or_default()
    }

    /// How much a part that drains has left; nothing, if it says anything else.
    pub(super) fn left(&self, part: &str) -> usize {
        let left = self.part(part).strip_prefix("Draining (").and_then(|rest| rest.strip_suffix(')'));
        left.and_then(|left| left.parse().ok()).unwrap_or_default()
    }

    /// Whether these parts are inactive.
    pub(super) fn inactive(&self, parts: &[&str]) -> bool {
        parts.iter().all(|part| self.part(part) == INACTIVE)
    }
}

impl std::fmt::Display for NodeStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for name in ["registrations", "calls", "chats"] {
            write!(f, "{name}: {}, ", self.count(name))?;
        }
        for part in super::rounds::PARTS {
            write!(f, "{part}: {}, ", self.part(part))?;
        }
        Ok(())
    }
}

/// Two addresses of loopback that no other run uses: cores listen for each other on a port that does not change.
fn addresses() -> [IpAddr; 2] {
    let pid = std::process::id();
    let [.., third, fourth] = (pid << 2).to_be_bytes();
    let second = 64 + u8::try_from(pid >> 14 & 0x3f).unwrap_or_default();
    [1, 2].map(|number| IpAddr::V4(Ipv4Addr::new(127, second, third, fourth | number)))
}

fn setup<'a>(at: IpAddr, certificates: &'a [Certificate], https: &str, xmpp: &str) -> Result<ProductSetup<'a>> {
    let free = || Ok::<_, anyhow::Error>(SocketAddr::new(at, free_port(at)?));
    Ok(ProductSetup {
        dmz: Host::Here,
        inside: Host::Here,
        edge: free()?,
        link: free()?,
        core: free()?,
        registrar: (Transport::Tcp, free()?),
        // Discovery brings the registrars.
        core_sip: Some(String::new()),
        https: Some(HttpsSetup { listen: free()?, core: https.to_owned() }),
        xmpp: Some(XmppSetup { listen: free()?, direct_tls: None, core: xmpp.to_owned() }),
        path_headers: true,
        certificates,
        domain: DOMAIN,
        public_host: EDGE_NAME,
        media_ports: ("10000-13999", "20000-23999"),
        log_level: "info",
        strangers_per_address: 50_000,
    })
}

fn entrance(setup: &ProductSetup<'_>) -> Result<Entrance> {
    let https = setup.https.as_ref().context("HTTPS")?.listen;
    let xmpp = setup.xmpp.as_ref().context("chat")?.listen;
    Ok(Entrance { sip: setup.edge, https, xmpp })
}
