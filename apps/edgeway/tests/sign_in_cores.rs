//! Two cores that share a key file stand in for each other: who has signed in at the one is not asked about again when
//! it dies, over real sockets from the client's HTTPS to the file of users.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use edgeway_config::{parse_core, parse_edge};
use edgeway_connectors::inside;
use edgeway_connectors::users_file::edit::{Costs, hash};
use edgeway_core_node::CoreNode;
use edgeway_edge_node::EdgeNode;
use edgeway_lab_servers::client::http::{Ask, Got, Place, ask};
use edgeway_model::world::Status;
use edgeway_model::{Moment, NodeId, Random};
use edgeway_runtime::pki::{Authority, EdgeRecord, Identity, Role};
use edgeway_runtime::service::{self, CoreKeys, EdgeKeys, Hooks, ServiceFault, StatusPort, Stop, Stopped};
use edgeway_runtime::tls::CertificateStore;

const HOST: &str = "edge1.example.com";
/// `example.com`, as clients write it.
const CONFIG: &str = "/ZXhhbXBsZS5jb20/get_edge_config/";
const PATIENCE: Duration = Duration::from_secs(60);

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A node on a thread of its own.
struct Running {
    stop: Option<Stop>,
    thread: Option<JoinHandle<Result<(), String>>>,
    port: StatusPort,
}

impl Running {
    fn start(serve: impl FnOnce(Hooks, Stopped) -> Result<(), ServiceFault> + Send + 'static) -> Self {
        let (stop, stopped) = service::stop();
        let (ready, started) = channel();
        let thread = spawn(move || {
            let bound = ready.clone();
            let ready_hook = Box::new(move |port| drop(bound.send(Ok(port))));
            let hooks = Hooks { ready: Some(ready_hook), ..Hooks::default() };
            let outcome = serve(hooks, stopped).map_err(|fault| fault.to_string());
            let _ = ready.send(Err(format!("ended: {outcome:?}")));
            outcome
        });
        let port = started.recv_timeout(PATIENCE).expect("in time").expect("it runs");
        Self { stop: Some(stop), thread: Some(thread), port }
    }

    fn status(&self) -> Status {
        self.port.ask().expect("a status")
    }

    fn counted(&self, what: &str) -> u64 {
        self.status().http.iter().find(|(name, _)| *name == what).map_or(0, |(_, count)| *count)
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic").expect("in good order");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
    }
}

fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a name")
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

fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !until() {
        assert!(Instant::now() < give_up, "in a minute: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn core(name: &str, folder: &Path, ports: &str, identity: Identity, peers: Vec<EdgeRecord>, listen: &str) -> Running {
    let folder = folder.display();
    let text = format!(
        "node = \"{name}\"\nstate_dir = \"{folder}/{name}\"\ndomains = [\"example.com\"]\n[sip]\nlisten = [\"{}\"]\n\
         registrars = [\"tcp:{}\"]\n{listen}[media]\naddress = \"127.0.0.1\"\nports = \"{ports}\"\n\
         [sign_in]\nauthority = \"users\"\nusers_file = \"{folder}/users\"\nkey_file = \"{folder}/sign-in.key\"\n",
        port(),
        port(),
    );
    let settings = parse_core(&text, name).expect("good settings");
    fs::create_dir_all(&settings.state_dir).expect("a folder");
    Running::start(move |mut hooks, stopped| {
        hooks.inside = Some(inside::make(settings.clone()));
        let node = CoreNode::new((&settings).into(), Random::from_seed(service::seed()?), Moment::ZERO);
        let keys = CoreKeys::Memory { identity: Box::new(identity), edges: peers };
        service::run_core(&settings, node, keys, hooks, stopped)
    })
}

#[test]
fn a_core_that_dies_costs_no_user_a_new_check() {
    let folder = Folder(std::env::temp_dir().join(format!("edgeway-cores-{}", std::process::id())));
    fs::create_dir_all(&folder.0).expect("a folder");
    let hashed = hash(b"right", Costs::LEAST).expect("a hash");
    fs::write(folder.0.join("users"), format!("alice:{hashed}:1001:CSFALICE\n")).expect("written");

    let authority = Authority::ephemeral().expect("a CA");
    let issue = |name: &str, role| authority.issue(&node(name), role).expect("a certificate");
    let (edge_id, core1_id, core2_id) =
        (issue("edge1", Role::Edge), issue("core1", Role::Core), issue("core2", Role::Core));
    let (https, edge_link, core_link) = (port(), port(), port());
    let record = |name: &str, role, at: SocketAddr, identity: &Identity| EdgeRecord {
        node: node(name),
        role,
        address: at.to_string(),
        key_hash: identity.key().key_hash(),
    };
    let to_edge = record("edge1", Role::Edge, edge_link, &edge_id);
    let to_core2 = record("core2", Role::Core, core_link, &core2_id);

    let (chain, key) = authority.issue_server(&[HOST]).expect("a certificate").pem();
    let certificates = Arc::new(CertificateStore::from_pem(&chain, &key).expect("a pair"));
    let text = format!(
        "node = \"edge1\"\n[sip]\nlisten = [\"{}\"]\npublic_host = \"{HOST}\"\ncertificate = \"memory\"\nkey = \"memory\"\n\
         [https]\nlisten = [\"{https}\"]\n[xmpp]\nlisten = \"off\"\n[link]\nlisten = \"{edge_link}\"\n[media]\naddress = \"127.0.0.1\"\nports = \"14600-14699\"\n",
        port()
    );
    let settings = parse_edge(&text, "edge1").expect("good settings");
    let _edge = Running::start(move |hooks, stopped| {
        let node = EdgeNode::new((&settings).into(), Random::from_seed(service::seed()?));
        let keys = EdgeKeys::Memory { identity: Box::new(edge_id), certificates };
        service::run_edge(&settings, node, keys, hooks, stopped)
    });
    let listen = format!("[link]\nlisten = \"{core_link}\"\n");
    let core2 = core("core2", &folder.0, "14800-14899", core2_id, vec![to_edge.clone()], &listen);
    let core1 = core("core1", &folder.0, "14700-14799", core1_id, vec![to_edge, to_core2], "");
    let mut cores = [core1, core2];
    wait("both cores are linked with the edge and each other", || {
        cores.iter().all(|core| core.status().links.iter().filter(|link| link.up).count() == 2)
    });

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let place = Place { address: https, tls: Some((HOST.into(), authority.certificate_pem())) };
    let get = |request: Ask| -> Option<Got> { runtime.block_on(ask(&place, &request)).ok() };
    // Which core answers is the edge's choice: it has one for this user while it is up.
    let signed_in = || get(Ask::get(HOST, CONFIG).basic("alice", "right")).filter(|got| got.status == 200);
    let mut first = None;
    wait("alice signs in", || {
        first = signed_in();
        first.is_some()
    });
    let cookie = |got: &Got| -> String {
        let field = got.header("set-cookie").expect("a cookie");
        field.split(';').next().unwrap_or_default().to_owned()
    };
    let token = cookie(&first.expect("an answer"));
    let asked: Vec<u64> = cores.iter().map(|core| core.counted("authority_asked")).collect();
    assert_eq!(asked.iter().sum::<u64>(), 1, "one check: {asked:?}");
    let (dies, lives) = if asked[0] == 1 { (0, 1) } else { (1, 0) };
    wait("the other core has heard of it", || cores[lives].counted("sign_in_told") == 1);
    cores[dies].end();

    let mut again = None;
    wait("alice signs in at the other core", || {
        again = signed_in();
        again.is_some()
    });
    let by_token = get(Ask::get(HOST, CONFIG).with("cookie", &token)).expect("an answer");
    assert_eq!(by_token.status, 200, "a token of the core that died holds");
    assert!(cores[lives].counted("sign_in_cached") >= 1);
    assert_eq!(cores[lives].counted("authority_asked"), 0, "nobody was asked again");
    let wrong = get(Ask::get(HOST, CONFIG).basic("alice", "wrong")).expect("an answer");
    assert_eq!((wrong.status, wrong.header("server")), (401, Some("CE_C ECS")));
    assert_eq!(cores[lives].counted("authority_asked"), 1, "what nobody knows is asked");
    cores[lives].end();
}
