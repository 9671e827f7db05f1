//! A running edge gets new certificates while clients connect: by signal and by itself, and never a bad pair.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use edgeway_config::parse_edge;
use edgeway_edge_node::EdgeNode;
use edgeway_model::Random;
use edgeway_model::notice::Notice;
use edgeway_runtime::pki::Authority;
use edgeway_runtime::service::{self, EdgeKeys, Hooks};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

const NAME: &str = "edge.lab.test";
const RELOADS: usize = 20;

fn port() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = tcp.local_addr().expect("bound");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

fn client(authority: &Authority) -> Arc<ClientConfig> {
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
    Arc::new(config)
}

/// A verified handshake: the connection, and the certificate that was shown.
fn connect(config: &Arc<ClientConfig>, to: SocketAddr) -> std::io::Result<(ClientConnection, TcpStream, Vec<u8>)> {
    let mut tcp = TcpStream::connect(to)?;
    tcp.set_read_timeout(Some(Duration::from_secs(10)))?;
    let name = NAME.try_into().map_err(std::io::Error::other)?;
    let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(std::io::Error::other)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    let shown = tls.peer_certificates().and_then(<[_]>::first).map(|leaf| leaf.to_vec()).unwrap_or_default();
    Ok((tls, tcp, shown))
}

/// One request on a connection that stays, without credentials.
fn get(tls: &mut ClientConnection, tcp: &mut TcpStream) {
    let mut stream = Stream::new(tls, tcp);
    let request = format!("GET /ZXhhbXBsZS5jb20/get_edge_config HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n0\r\n\r\n") {
        let mut piece = [0; 1_024];
        let count = stream.read(&mut piece).expect("an answer");
        assert!(count > 0, "the connection has ended");
        answer.extend_from_slice(&piece[..count]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 401 "), "{}", String::from_utf8_lossy(&answer));
}

/// Puts a fresh pair in the place of the one there, as certificate clients do; returns the certificate.
fn renew(authority: &Authority, dir: &Path) -> Vec<u8> {
    let made = authority.issue_server(&[NAME]).expect("a certificate");
    made.store(dir).expect("stored");
    made.chain[0].to_vec()
}

fn hang_up() {
    let killed = Command::new("kill").args(["-HUP", &std::process::id().to_string()]).status();
    assert!(killed.expect("kill").success());
}

fn wait_for(notices: &Receiver<Notice>, wanted: fn(&Notice) -> bool) -> Notice {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let notice = notices.recv_timeout(left).expect("a notice of the certificates");
        if wanted(&notice) {
            return notice;
        }
    }
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn twenty_reloads_refuse_no_client_and_a_bad_pair_is_not_taken() {
    let dir = Folder(std::env::temp_dir().join(format!("edgeway-reload-{}", std::process::id())));
    fs::create_dir_all(&dir.0).expect("a folder");
    let authority = Authority::ephemeral().expect("a CA");
    renew(&authority, &dir.0);
    let (sip, link, https) = (port(), port(), port());
    let at = dir.0.display();
    let text = format!(
        "node = \"edge1\"\nstate_dir = \"{at}/state\"\ncontrol_socket = \"{at}/sock\"\n[sip]\nlisten = [\"{sip}\"]\n\
         public_host = \"{NAME}\"\ncertificate = \"{at}/server.crt\"\nkey = \"{at}/server.key\"\n\
         [https]\nlisten = [\"{https}\"]\n[xmpp]\nlisten = \"off\"\n[link]\nlisten = \"{link}\"\n[media]\naddress = \"127.0.0.1\"\nports = \"11000-11099\"\n"
    );
    let settings = parse_edge(&text, "test").expect("good settings");
    let (tell, notices) = channel();
    let (ready, started) = channel();
    let (stop, stopped) = service::stop();
    let edge = spawn(move || {
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
    started.recv_timeout(Duration::from_secs(20)).expect("the edge runs");

    let config = client(&authority);
    let (mut first, mut first_tcp, _) = connect(&config, sip).expect("the first client");
    let (mut web, mut web_tcp, _) = connect(&config, https).expect("the first client over HTTPS");
    // There is no core: what counts is that there is an answer.
    get(&mut web, &mut web_tcp);
    let over = Arc::new(AtomicBool::new(false));
    let connected = Arc::new(AtomicU64::new(0));
    let crowd: Vec<_> = (0..2)
        .map(|_| {
            let (config, over, connected) = (Arc::clone(&config), Arc::clone(&over), Arc::clone(&connected));
            spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    connect(&config, sip).expect("no client is refused");
                    connected.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 0..RELOADS {
        let leaf = renew(&authority, &dir.0);
        if round < RELOADS - 2 {
            hang_up();
        }
        // The last two by itself: nobody says a word.
        let notice = wait_for(&notices, |notice| matches!(notice, Notice::CertificatesReloaded { .. }));
        assert!(notice.to_string().contains(NAME));
        // A signal that came between the two files may have been followed by the edge's own look.
        while notices.try_recv().is_ok() {}
        for to in [sip, https] {
            assert_eq!(connect(&config, to).expect("connected").2, leaf, "the new one is shown at {to}, round {round}");
        }
        if round % 5 == 0 {
            get(&mut web, &mut web_tcp);
        }
    }
    let kept = connect(&config, sip).expect("connected").2;
    fs::write(dir.0.join("server.key"), authority.issue_server(&[NAME]).expect("another").pem().1).expect("written");
    hang_up();
    let rejected = wait_for(&notices, |notice| matches!(notice, Notice::CertificatesRejected { .. }));
    assert!(rejected.to_string().contains("it is not the key of the certificate"), "{rejected}");
    for to in [sip, https] {
        assert_eq!(connect(&config, to).expect("connected").2, kept, "the old pair stays at {to}");
    }

    over.store(true, Ordering::Relaxed);
    for client in crowd {
        client.join().expect("every client was served");
    }
    assert!(connected.load(Ordering::Relaxed) > RELOADS as u64, "clients came all the time");
    get(&mut web, &mut web_tcp);
    // A double CRLF is answered with one (RFC 5626 §4.4.1): the first connection has lived through it all.
    let mut stream = Stream::new(&mut first, &mut first_tcp);
    stream.write_all(b"\r\n\r\n").expect("written");
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).expect("the connection lives");
    assert_eq!(&pong, b"\r\n");
    sleep(Duration::from_millis(10));
    stop.pull();
    edge.join().expect("ended").expect("in good order");
}
