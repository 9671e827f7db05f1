//! The certificates of the edge change while clients are connected: nobody loses a connection, and whoever comes later sees
//! the new ones.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::spawn;
use std::time::Duration;

use edgeway_lab_servers::client::b64;
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::system::{DOMAIN, EDGE_HOST, System, password};

const PIECES: usize = 8;
const PIECE: [u8; 10_000] = [b'x'; 10_000];
const SOON: Duration = Duration::from_secs(10);

/// A server inside: `/slow` is sent a piece at a time, whenever that is wished; all else is short.
fn serve(listener: TcpListener, wishes: Receiver<()>) {
    let mut wishes = Some(wishes);
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
        let Some(Ok(line)) = lines.next() else { continue };
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let slow = line.contains("/slow");
        let length = if slow { PIECES * PIECE.len() } else { 2 };
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        if slow {
            let wishes = wishes.take().expect("asked once");
            spawn(move || {
                while wishes.recv().is_ok() {
                    stream.write_all(&PIECE).expect("sent");
                }
            });
        } else {
            stream.write_all(b"ok").expect("sent");
        }
    }
}

/// A client's connection over HTTP/1.1.
struct Kept {
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// What it was shown.
    certificate: Vec<u8>,
}

impl Kept {
    fn open(to: SocketAddr, ca_pem: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("our CA")).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        let mut tcp = TcpStream::connect(to).expect("connected");
        tcp.set_read_timeout(Some(SOON)).expect("a timeout");
        let name = EDGE_HOST.try_into().expect("a name");
        let mut tls = ClientConnection::new(Arc::new(config), name).expect("a client");
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).expect("a handshake");
        }
        let certificate = tls.peer_certificates().expect("a certificate")[0].to_vec();
        Self { stream: StreamOwned::new(tls, tcp), certificate }
    }

    fn send(&mut self, path: &str, cookie: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {EDGE_HOST}\r\nCookie: {cookie}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).expect("sent");
    }

    /// The head of an answer, which is good.
    fn head(&mut self) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).expect("a head");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("text");
        assert!(head.starts_with("HTTP/1.1 200 ") && head.to_lowercase().contains("content-length: "), "{head}");
    }

    fn body(&mut self, expected: &[u8]) {
        let mut body = vec![0; expected.len()];
        self.stream.read_exact(&mut body).expect("the connection lives");
        assert!(body == expected);
    }
}

/// Puts fresh pairs in the place of those there; the first certificate.
fn renew(system: &System) -> Vec<u8> {
    let mut first = None;
    for (files, host) in system.certificate_files.iter().zip([EDGE_HOST, crate::system::EDGE_OTHER_HOST]) {
        let pems = system.edge_ca.issue(&[host], &[]).expect("a certificate");
        fs::write(&files.chain, &pems.chain).expect("written");
        fs::write(&files.key, &pems.key).expect("written");
        let leaf = CertificateDer::from_pem_slice(pems.chain.as_bytes()).expect("a certificate");
        first.get_or_insert_with(|| leaf.to_vec());
    }
    first.expect("there is one")
}

fn rounds(system: &System, path: &str, cookie: &str, wish: &Sender<()>) {
    let open = || Kept::open(system.https, &system.ca_pem);
    let (mut kept, mut download) = (open(), open());
    download.send(&format!("{path}/slow"), cookie);
    download.head();
    let mut all_go_on = || {
        kept.send(&format!("{path}/short"), cookie);
        kept.head();
        kept.body(b"ok");
        wish.send(()).expect("the server runs");
        download.body(&PIECE);
    };
    all_go_on();
    let mut last = Vec::new();
    for round in 0..PIECES - 2 {
        let leaf = renew(system);
        assert!(leaf != last);
        system.certificates.reload(&system.certificate_files).expect("good pairs");
        assert_eq!(open().certificate, leaf, "the new one is shown, round {round}");
        all_go_on();
        last = leaf;
    }
    // The key of another certificate.
    let pems = system.edge_ca.issue(&[EDGE_HOST], &[]).expect("a certificate");
    fs::write(&system.certificate_files[0].key, &pems.key).expect("written");
    let refused = system.certificates.reload(&system.certificate_files).expect_err("a bad pair");
    assert!(refused[0].to_string().contains("it is not the key of the certificate"), "{refused:?}");
    assert_eq!(open().certificate, last, "the old one stays");
    all_go_on();
}

#[tokio::test]
async fn certificates_change_and_no_connection_is_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let server = listener.local_addr().expect("bound");
    let (wish, wishes) = channel();
    spawn(move || serve(listener, wishes));
    let rules = std::env::temp_dir().join(format!("edgeway-certificates-{}.csv", std::process::id()));
    fs::write(
        &rules,
        format!("Url,Deployment,HttpMethods,MatchType,Description\nhttp://{server}/,default,GET,Prefix,\n"),
    )
    .expect("written");
    let system = System::start("certificates", &format!("\n[http]\nallow_list = \"{}\"\n", rules.display())).await;
    let _ = fs::remove_file(&rules);
    let signed_in = system.sign_in("alice", &password("alice")).await;
    let cookie = signed_in.header("set-cookie").and_then(|line| line.split(';').next()).expect("a cookie").to_owned();
    let path = format!("/{}", b64(&format!("{DOMAIN}/http/{}/{}", server.ip(), server.port())));
    tokio::task::spawn_blocking(move || rounds(&system, &path, &cookie, &wish)).await.expect("nothing is lost");
}
