//! A real edge and a real core, as programs, each with its state where a test wants it; phones and a registrar around them.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use edgeway_interop::process::{Daemon, Scratch, free_port};
use edgeway_interop::product::BINARIES;
use edgeway_lab_servers::ca::LabCa;
use edgeway_lab_servers::client::b64;
use edgeway_lab_servers::client::http::{Ask, Place, ask};
use edgeway_lab_servers::{Call, Phone, PhoneConfig, PhoneTransport, Registrar, RegistrarConfig};
use edgeway_runtime::admin;
use serde_json::{Value, json};

const DOMAIN: &str = "example.com";
const HOST: &str = "edge.example.com";
const USERS: [(&str, &str); 5] =
    [("alice", "one"), ("bob", "two"), ("carol", "three"), ("dave", "four"), ("erin", "five")];
/// More than anything takes here, on a machine that does other things as well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A node as a program.
pub(crate) struct Node {
    role: &'static str,
    folder: PathBuf,
    daemon: Option<Daemon>,
}

impl Node {
    fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.toml", self.role))
    }

    fn socket(&self) -> String {
        self.folder.join(format!("{}.sock", self.role)).display().to_string()
    }

    /// Starts it and waits until it answers.
    pub(crate) fn start(&mut self) -> Result<()> {
        let mut command = program(&format!("edgeway-{}", self.role))?;
        let mut daemon = Daemon::start(self.role, command.arg("--config").arg(self.file()), &self.folder)?;
        let socket = self.socket();
        daemon.wait_until("it answers", PATIENCE, |_| admin::ask(&socket, None, "status", &json!({})).is_ok())?;
        self.daemon = Some(daemon);
        Ok(())
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.stop();
        }
    }

    pub(crate) fn log(&self) -> String {
        self.daemon.as_ref().map(Daemon::log).unwrap_or_default()
    }

    /// What it answers to an operator.
    pub(crate) fn ask(&self, path: &str, question: &Value) -> Result<Value> {
        let (code, body) = admin::ask(&self.socket(), None, path, question)?;
        ensure!(code == 200, "{path}: {code} {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// The alarms that stand, by their names, with what they say.
    pub(crate) fn alarm(&self, id: &str) -> Result<Option<Value>> {
        let status = self.ask("status", &json!({}))?;
        let alarms = status["alarms"].as_array().context("alarms")?;
        Ok(alarms.iter().find(|alarm| alarm["id"] == id).cloned())
    }

    pub(crate) fn has_alarm(&self, id: &str) -> bool {
        self.alarm(id).is_ok_and(|alarm| alarm.is_some())
    }

    /// Whether an event says so.
    pub(crate) fn has_told(&self, event: &str, of: &str) -> Result<bool> {
        let events = self.ask("events", &json!({ "id": event }))?;
        let events = events["events"].as_array().context("events")?.clone();
        Ok(events.iter().any(|event| event["text"].as_str().is_some_and(|text| text.contains(of))))
    }

    /// `edgeway …` of this node.
    pub(crate) fn edgeway(&self, arguments: &[&str]) -> Result<Output> {
        Ok(program("edgeway")?.args(arguments).arg("--config").arg(self.file()).output()?)
    }

    fn says(&self, arguments: &[&str]) -> Result<String> {
        let output = self.edgeway(arguments)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        Ok(said)
    }

    /// The newest revision, as it says.
    pub(crate) fn revision(&self) -> Result<u64> {
        let shown: Value = serde_json::from_str(&self.says(&["config", "show", "-o", "json"])?)?;
        shown["revision"].as_u64().context("a revision")
    }

    /// Applies the exported configuration with other text; what the command line says.
    pub(crate) fn save(&self, change: impl FnOnce(&str) -> String) -> Result<Output> {
        let exported = self.says(&["config", "export"])?;
        let file = self.folder.join("new.toml");
        fs::write(&file, change(&exported))?;
        self.edgeway(&["config", "apply", file.to_str().context("a path")?, "--comment", &"c".repeat(900)])
    }
}

fn program(name: &str) -> Result<Command> {
    let folder = std::env::var_os(BINARIES).with_context(|| format!("{BINARIES} names no folder with {name}"))?;
    Ok(Command::new(Path::new(&folder).join(name)))
}

fn secret_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}

/// All of it.
pub(crate) struct House {
    pub(crate) core: Node,
    pub(crate) edge: Node,
    sip: SocketAddr,
    https: SocketAddr,
    ca: LabCa,
    _registrar: Registrar,
    _scratch: Scratch,
}

/// Where the nodes keep what they must not forget; `None`: on a disk that has room.
#[derive(Clone, Copy, Default)]
pub(crate) struct Places<'a> {
    pub(crate) core: Option<&'a Path>,
    pub(crate) edge: Option<&'a Path>,
}

impl House {
    /// Starts it, and waits until core and edge are linked.
    pub(crate) async fn start(name: &str, places: Places<'_>) -> Result<Self> {
        let scratch = Scratch::create(name)?;
        let folder = scratch.path().to_owned();
        let registrar = Registrar::start(RegistrarConfig::new(DOMAIN, &USERS)).await?;
        let port = || Ok::<_, anyhow::Error>(SocketAddr::new(LOOPBACK, free_port(LOOPBACK)?));
        let (sip, https, link, inside) = (port()?, port()?, port()?, port()?);
        let ca = LabCa::new("Edge CA")?;
        let pems = ca.issue(&[HOST, DOMAIN], &[])?;
        secret_file(&folder.join("edge.pem"), &pems.chain)?;
        secret_file(&folder.join("edge.key"), &pems.key)?;
        let state = |place: Option<&Path>, role: &str| place.unwrap_or(&folder).join(role);
        let at = folder.display();
        let media = media_ports();
        let text = format!(
            "node = \"edge1\"\nstate_dir = {:?}\ncontrol_socket = \"{at}/edge.sock\"\n[drain]\ntimeout = \"0s\"\n[sip]\nlisten = [\"{sip}\"]\n\
             public_host = \"{HOST}\"\ncertificate = \"{at}/edge.pem\"\nkey = \"{at}/edge.key\"\n[https]\nlisten = [\"{https}\"]\n\
             [xmpp]\nlisten = \"off\"\n[link]\nlisten = \"{link}\"\npublic_address = \"{link}\"\n\
             [media]\naddress = \"127.0.0.1\"\nports = \"{media}-{}\"\n",
            state(places.edge, "edge.state"),
            media + 99,
        );
        fs::write(folder.join("edge.toml"), text)?;
        let text = format!(
            "node = \"core1\"\nstate_dir = {:?}\ncontrol_socket = \"{at}/core.sock\"\ndomains = [\"{DOMAIN}\"]\n[drain]\ntimeout = \"0s\"\n\
             [sip]\nlisten = [\"{inside}\"]\nregistrars = [\"tcp:{}\"]\n[media]\nports = \"{}-{}\"\n\
             [sign_in]\nauthority = \"users\"\nusers_file = \"{at}/users\"\nmaximum_authorizations_per_period = 1000\n[admin]\nlisten = \"off\"\n",
            state(places.core, "core.state"),
            registrar.address(),
            media + 100,
            media + 199,
        );
        fs::write(folder.join("core.toml"), text)?;
        for (user, password) in USERS {
            add_user(&folder, user, password)?;
        }
        let node = |role| Node { role, folder: folder.clone(), daemon: None };
        let (mut core, mut edge) = (node("core"), node("edge"));
        for (place, role) in [(places.core, "core.state"), (places.edge, "edge.state")] {
            fs::create_dir_all(state(place, role))?;
            fs::set_permissions(state(place, role), fs::Permissions::from_mode(0o700))?;
        }
        edge.start()?;
        let invite = edge.says(&["edge", "invite"])?;
        let token = invite.split_whitespace().last().context("an invite")?;
        feed(program("edgeway")?.args(["core", "join", "--config"]).arg(core.file()), token)?;
        core.start()?;
        let house = Self { core, edge, sip, https, ca, _registrar: registrar, _scratch: scratch };
        house.linked().await?;
        Ok(house)
    }

    /// Waits until phones can register.
    pub(crate) async fn linked(&self) -> Result<()> {
        self.wait("the nodes are linked, and the registrar is there", || {
            let up =
                |node: &Node| node.ask("status", &json!({})).is_ok_and(|status| status["links"][0]["state"] == "up");
            let status = self.core.ask("status", &json!({})).unwrap_or_default();
            up(&self.core) && up(&self.edge) && status["registrars"][0]["state"] == "alive"
        })
        .await
    }

    /// Waits until it is so.
    pub(crate) async fn wait(&self, what: &str, mut so: impl FnMut() -> bool) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !so() {
            if Instant::now() > until {
                let status = self.core.ask("status", &json!({}))?;
                bail!("{what}: not in {PATIENCE:?}\n{status}\ncore: {}\nedge: {}", self.core.log(), self.edge.log());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// A registered phone.
    pub(crate) async fn phone(&self, user: &str) -> Result<Phone> {
        let password = password(user)?;
        let transport =
            PhoneTransport::Tls { server: self.sip, name: HOST.to_owned(), ca_pem: self.ca.pem().to_owned() };
        Ok(Phone::register(PhoneConfig::new(user, password, DOMAIN, transport)).await?)
    }

    /// What a sign-in is answered.
    pub(crate) async fn sign_in(&self, user: &str) -> Result<u16> {
        let place = Place { address: self.https, tls: Some((HOST.to_owned(), self.ca.pem().to_owned())) };
        let path = format!("/{}/get_edge_config", b64(DOMAIN));
        Ok(ask(&place, &Ask::get(HOST, &path).basic(user, password(user)?)).await?.status)
    }

    /// Somebody new registers, calls, hangs up and goes, somebody signs in, and whoever talks goes on talking.
    pub(crate) async fn traffic_goes_on(&self, talking: &(Call, Call)) -> Result<()> {
        ensure!(self.sign_in("erin").await? == 200, "a sign-in");
        let (carol, dave) = (self.phone("carol").await?, self.phone("dave").await?);
        let (mut out, inward) = talk(&carol, &dave).await?;
        self.heard(&out, &inward).await?;
        out.hang_up().await?;
        ensure!(out.ended(PATIENCE).await.is_ok(), "it ends");
        for phone in [carol, dave] {
            phone.unregister().await?;
        }
        talking.0.hold().await?;
        talking.0.resume().await?;
        self.heard(&talking.0, &talking.1).await
    }

    async fn heard(&self, one: &Call, other: &Call) -> Result<()> {
        let before = [one.stats().received, other.stats().received];
        self.wait("both hear each other", || {
            let now = [one.stats().received, other.stats().received];
            now.iter().zip(before).all(|(now, before)| *now > before + 10)
        })
        .await
    }
}

/// A call that is up.
pub(crate) async fn talk(caller: &Phone, callee: &Phone) -> Result<(Call, Call)> {
    Ok(tokio::try_join!(caller.call(callee.aor()), callee.answer_next(PATIENCE, Duration::ZERO))?)
}

/// The first of two hundred ports, below those that the system gives to others; other houses have others.
fn media_ports() -> u32 {
    static HOUSES: AtomicU32 = AtomicU32::new(0);
    let house = std::process::id().wrapping_mul(7).wrapping_add(HOUSES.fetch_add(1, Ordering::Relaxed));
    21_000 + house % 40 * 200
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn password(user: &str) -> Result<&'static str> {
    USERS.iter().find(|(name, _)| *name == user).map(|(_, password)| *password).context("a user")
}

fn add_user(folder: &Path, user: &str, password: &str) -> Result<()> {
    feed(program("edgeway")?.args(["users", "add", user, "--file"]).arg(folder.join("users")), password)
}

/// Runs a command with `text` on its standard input.
fn feed(command: &mut Command, text: &str) -> Result<()> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    writeln!(child.stdin.take().context("standard input")?, "{text}")?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
