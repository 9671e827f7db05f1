//! What an operator asks the command for, of an edge that runs: alarms, certificates, a support bundle.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::mpsc::channel;
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use edgeway_config::parse_edge;
use edgeway_edge_node::EdgeNode;
use edgeway_model::Random;
use edgeway_runtime::pki::Authority;
use edgeway_runtime::service::{self, EdgeKeys, Hooks, Stop};
use serde_json::Value;

const NAME: &str = "edge.lab.test";
/// In the settings file, as a comment: what somebody noted there goes to nobody.
const NOTE: &str = "# asked for by sato@example.com, from 203.0.113.9\n";

struct Edge {
    dir: PathBuf,
    stop: Option<Stop>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Drop for Edge {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn port() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = tcp.local_addr().expect("bound");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

impl Edge {
    fn start() -> Self {
        let dir = std::env::temp_dir().join(format!("edgeway-operator-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder");
        let authority = Authority::ephemeral().expect("a CA");
        authority.issue_server(&[NAME]).expect("a certificate").store(&dir).expect("stored");
        let (sip, link, at) = (port(), port(), dir.display());
        let text = format!(
            "{NOTE}node = \"edge1\"\nstate_dir = \"{at}/state\"\ncontrol_socket = \"{at}/sock\"\n[sip]\nlisten = [\"{sip}\"]\n\
             public_host = \"{NAME}\"\ncertificate = \"{at}/server.crt\"\nkey = \"{at}/server.key\"\n\
             [https]\nlisten = \"off\"\n[xmpp]\nlisten = \"off\"\n[link]\nlisten = \"{link}\"\n[media]\naddress = \"127.0.0.1\"\nports = \"11100-11199\"\n"
        );
        fs::write(dir.join("edge.toml"), &text).expect("written");
        let settings = parse_edge(&text, "test").expect("good settings");
        let (ready, started) = channel();
        let (stop, stopped) = service::stop();
        let thread = spawn(move || {
            let node = EdgeNode::new((&settings).into(), Random::from_seed([1; 32]));
            let hooks =
                Hooks { ready: Some(Box::new(move |_| ready.send(()).unwrap_or_default())), ..Hooks::default() };
            service::run_edge(&settings, node, EdgeKeys::Files, hooks, stopped).map_err(|fault| fault.to_string())
        });
        started.recv_timeout(Duration::from_secs(20)).expect("the edge runs");
        Self { dir, stop: Some(stop), thread: Some(thread) }
    }

    /// `edgeway`, with the settings file of this edge.
    fn command(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeway"));
        let config = self.dir.join("edge.toml");
        command.current_dir(&self.dir).args(words).arg("--config").arg(config).output().expect("it starts")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn alarms_certificates_and_a_bundle_of_an_edge_that_runs() {
    let edge = Edge::start();

    let shown = edge.command(&["certificates", "-o", "json"]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let list: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    let clients: Vec<_> = list["certificates"].as_array().expect("a list").iter().map(|one| &one["names"][0]).collect();
    assert_eq!(clients, [NAME]);

    let quiet = edge.command(&["alarms"]);
    assert_eq!((quiet.status.code(), text(&quiet.stdout).as_str()), (Some(0), "no alarm stands\n"));
    assert!(edge.command(&["maintenance", "start"]).status.success());
    let loud = edge.command(&["alarms"]);
    assert_eq!(loud.status.code(), Some(1));
    assert!(text(&loud.stdout).starts_with("warning maintenance_mode (node) at edge1"), "{}", text(&loud.stdout));

    let out = edge.dir.join("bundle.tar");
    let made = edge.command(&["support", "bundle", "--out", out.to_str().expect("UTF-8")]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let files = unpack(&out);
    let folder = files.keys().next().and_then(|name| name.split_once('/')).expect("a folder").0;
    assert!(folder.starts_with("edgeway-edge1-"), "{folder}");
    let manifest: Value = serde_json::from_str(&files[&format!("{folder}/manifest.json")]).expect("JSON");
    let listed = manifest["files"].as_array().expect("a list").len();
    assert_eq!(listed + 1, files.len(), "all but the manifest itself are listed: {manifest:#}");
    for name in ["edge-status.json", "edge-metrics.txt", "edge-settings.toml", "edge-maintenance.json"] {
        assert!(files.contains_key(&format!("{folder}/{name}")), "{name} is missing: {manifest:#}");
    }
    let all: String = files.values().cloned().collect();
    assert!(all.contains("maintenance_mode") && all.contains(NAME));
    for gone in ["sato", "203.0.113.9", "BEGIN"] {
        assert!(!all.contains(gone), "{gone} is in the bundle");
    }
    let again = edge.command(&["support", "bundle", "--out", out.to_str().expect("UTF-8")]);
    assert_eq!(again.status.code(), Some(1), "no file is written over");
}

fn unpack(path: &std::path::Path) -> BTreeMap<String, String> {
    let bytes = fs::read(path).expect("it is there");
    let mut archive = tar::Archive::new(bytes.as_slice());
    let entries = archive.entries().expect("a tar file").map(|entry| {
        let mut entry = entry.expect("whole");
        let name = entry.path().expect("a name").display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("text");
        (name, text)
    });
    entries.collect()
}
