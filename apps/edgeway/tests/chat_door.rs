//! An edge with chat and without HTTPS: its two doors, their certificate as it changes, and what an operator is told.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use edgeway_config::parse_edge;
use edgeway_edge_node::EdgeNode;
use edgeway_model::Random;
use edgeway_model::notice::Notice;
use edgeway_runtime::pki::Authority;
use edgeway_runtime::service::{self, EdgeKeys, Hooks, Stop};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::Value;

const DOMAIN: &str = "lab.test";
const HEADER: &str = "<?xml version='1.0'?><stream:stream to='lab.test' version='1.0' xmlns='jabber:client' \
                      xmlns:stream='http://etherx.jabber.org/streams'>";
const SOON: Duration = Duration::from_secs(20);

fn port() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = tcp.local_addr().expect("bound");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running edge, and its file.
struct Edge {
    folder: Folder,
    authority: Authority,
    starttls: SocketAddr,
    direct: SocketAddr,
    notices: Receiver<Notice>,
    stop: Option<Stop>,
    running: Option<JoinHandle<Result<(), String>>>,
}

impl Edge {
    /// `chat` is its table of chat: `{starttls}` and `{direct}` in it are its addresses.
    fn start(name: &str, chat: &str) -> Self {
        let folder = Folder(std::env::temp_dir().join(format!("edgeway-{name}-{}", std::process::id())));
        fs::create_dir_all(&folder.0).expect("a folder");
        let authority = Authority::ephemeral().expect("a CA");
        renew(&authority, &folder.0);
        let [sip, link, starttls, direct] = [port(), port(), port(), port()];
        let chat = chat.replace("{starttls}", &starttls.to_string()).replace("{direct}", &direct.to_string());
        let at = folder.0.display();
        let text = format!(
            "node = \"edge1\"\nstate_dir = \"{at}/state\"\ncontrol_socket = \"{at}/sock\"\n[sip]\nlisten = [\"{sip}\"]\n\
             public_host = \"edge.{DOMAIN}\"\ncertificate = \"{at}/server.crt\"\nkey = \"{at}/server.key\"\n\
             [https]\nlisten = \"off\"\n[xmpp]\n{chat}\n[link]\nlisten = \"{link}\"\n[media]\naddress = \"127.0.0.1\"\n\
             ports = \"11100-11199\"\n"
        );
        fs::write(folder.0.join("edge.toml"), &text).expect("written");
        let settings = parse_edge(&text, "test").expect("good settings");
        let (tell, notices) = channel();
        let (ready, started) = channel();
        let (stop, stopped) = service::stop();
        let running = spawn(move || {
            let node = EdgeNode::new((&settings).into(), Random::from_seed([1; 32]));
            let hooks = Hooks {
                notice: Some(Box::new(move |notice: &Notice| drop(tell.send(notice.clone())))),
                ready: Some(Box::new(move |_| {
                    let _ = ready.send(());
                })),
                ..Hooks::default()
            };
            service::run_edge(&settings, node, EdgeKeys::Files, hooks, stopped).map_err(|fault| fault.to_string())
        });
        started.recv_timeout(SOON).expect("the edge runs");
        Self { folder, authority, starttls, direct, notices, stop: Some(stop), running: Some(running) }
    }

    /// What the operator's command says.
    fn edgeway(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeway"));
        command.args(arguments).arg("--config").arg(self.folder.0.join("edge.toml"));
        command.output().expect("it runs")
    }

    fn finish(mut self) {
        self.stop.take().expect("once").pull();
        self.running.take().expect("once").join().expect("ended").expect("in good order");
    }
}

/// Puts a fresh pair in the place of the one there; returns the certificate.
fn renew(authority: &Authority, dir: &Path) -> Vec<u8> {
    let made = authority.issue_server(&[DOMAIN, "edge.lab.test"]).expect("a certificate");
    made.store(dir).expect("stored");
    made.chain[0].to_vec()
}

fn client(authority: &Authority, alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let pem = authority.certificate_pem();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("our CA")).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// What the edge says, up to and with `end`.
fn hear(from: &mut impl Read, end: &str) -> String {
    let mut heard = Vec::new();
    let mut piece = [0; 512];
    while !String::from_utf8_lossy(&heard).contains(end) {
        let count = from.read(&mut piece).expect("something is said");
        assert!(count > 0, "it ended after {}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&piece[..count]);
    }
    String::from_utf8(heard).expect("UTF-8")
}

fn dial(to: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(to).expect("it listens");
    tcp.set_read_timeout(Some(SOON)).expect("a socket");
    tcp
}

/// A TLS connection.
type Secured = rustls::StreamOwned<ClientConnection, TcpStream>;

fn secure(config: &Arc<ClientConfig>, mut tcp: TcpStream) -> std::io::Result<Secured> {
    let name = DOMAIN.try_into().expect("a name");
    let mut tls = ClientConnection::new(Arc::clone(config), name).expect("a connection");
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    Ok(Secured::new(tls, tcp))
}

fn leaf(stream: &Secured) -> Vec<u8> {
    stream.conn.peer_certificates().and_then(<[_]>::first).expect("one was shown").to_vec()
}

/// By STARTTLS.
fn starttls(config: &Arc<ClientConfig>, to: SocketAddr) -> Secured {
    let mut tcp = dial(to);
    tcp.write_all(HEADER.as_bytes()).expect("written");
    let features = hear(&mut tcp, "</stream:features>");
    assert!(features.contains("from='lab.test'") || features.contains("from=\"lab.test\""), "{features}");
    assert!(features.contains("<required") && !features.contains("<mechanism"), "{features}");
    tcp.write_all(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").expect("written");
    let proceed = hear(&mut tcp, "/>");
    assert!(proceed.contains("<proceed"), "{proceed}");
    secure(config, tcp).expect("TLS")
}

#[test]
fn chat_needs_no_https_and_both_doors_follow_the_certificate() {
    let edge = Edge::start("chat-door", "listen = [\"{starttls}\"]\ndirect_tls_listen = [\"{direct}\"]");
    // Within STARTTLS there is nothing to negotiate: the protocol is known.
    let starting = client(&edge.authority, &["h2"]);
    let direct = client(&edge.authority, &["xmpp-client"]);
    let first = starttls(&starting, edge.starttls);
    assert_eq!(first.conn.alpn_protocol(), None);
    let second = secure(&direct, dial(edge.direct)).expect("TLS");
    assert_eq!(second.conn.alpn_protocol(), Some(&b"xmpp-client"[..]));
    assert_eq!(leaf(&first), leaf(&second));
    secure(&client(&edge.authority, &[]), dial(edge.direct)).expect("a client that names no protocol");
    let refused = secure(&client(&edge.authority, &["h2", "http/1.1"]), dial(edge.direct));
    assert!(refused.is_err_and(|error| error.to_string().contains("NoApplicationProtocol")));

    // Nobody inside: it is said at once, and in XMPP's words.
    for mut stream in [first, second] {
        stream.write_all(HEADER.as_bytes()).expect("written");
        let words = hear(&mut stream, "</stream:stream>");
        assert!(words.contains("<remote-connection-failed"), "{words}");
    }

    let renewed = renew(&edge.authority, &edge.folder.0);
    let until = Instant::now() + SOON;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let notice = edge.notices.recv_timeout(left).expect("the edge sees that the files have changed");
        if matches!(notice, Notice::CertificatesReloaded { .. }) {
            break;
        }
    }
    assert_eq!(leaf(&starttls(&starting, edge.starttls)), renewed);
    assert_eq!(leaf(&secure(&direct, dial(edge.direct)).expect("TLS")), renewed);
    edge.finish();
}

#[test]
fn an_operator_sees_chat_and_hears_what_an_edge_cannot_say() {
    let edge = Edge::start("chat-operator", "listen = [\"{starttls}\"]");
    let said = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let table = edge.edgeway(&["chats"]);
    assert_eq!((table.status.code(), said(&table).as_str()), (Some(0), "nobody chats\n"), "{}", complained(&table));
    let list = edge.edgeway(&["chats", "list", "-o", "json"]);
    let list: Value = serde_json::from_str(&said(&list)).expect("JSON");
    assert_eq!(list, serde_json::json!({ "chats": [], "more": 0 }));
    for filter in [["--user", "alice"], ["--edge", "edge1"]] {
        let refused = edge.edgeway(&["chats", filter[0], filter[1]]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(complained(&refused).contains("ask a core"), "{}", complained(&refused));
    }
    let nobody = edge.edgeway(&["chats", "disconnect", "7"]);
    assert_eq!((nobody.status.code(), said(&nobody).as_str()), (Some(1), ""));
    assert!(complained(&nobody).contains("there is no chat 7"), "{}", complained(&nobody));

    let table = said(&edge.edgeway(&["status"]));
    for line in ["XMPP router: Active", "XMPP Federation Not configured", "No core is linked"] {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(table.lines().any(|found| words(found) == line), "{line} is missing in\n{table}");
    }
    let status: Value = serde_json::from_str(&said(&edge.edgeway(&["status", "-o", "json"]))).expect("JSON");
    assert_eq!(status["chats"], serde_json::json!({ "current": 0, "peak": 0 }));
    assert_eq!(im_and_presence(&status)["state"], "Configured but with errors");
    edge.finish();
}

#[test]
fn where_chat_is_off_nothing_listens_and_the_status_says_so() {
    let edge = Edge::start("chat-off", "listen = \"off\"");
    assert!(TcpStream::connect(edge.starttls).is_err());
    let chats = edge.edgeway(&["chats"]);
    assert_eq!(chats.status.code(), Some(1));
    let status = edge.edgeway(&["status", "-o", "json"]);
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!(im_and_presence(&status)["state"], "Not configured");
    assert_eq!(im_and_presence(&status)["parts"][0], serde_json::json!({ "name": "XMPP router", "state": "Inactive" }));
    edge.finish();
}

fn im_and_presence(status: &Value) -> &Value {
    let rows = status["services"].as_array().expect("rows");
    rows.iter().find(|row| row["name"] == "IM and Presence Service").expect("the row")
}
