//! Servers of the tests: what they say on each connection is written out, and what they were sent is kept.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What a server does with one request.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Sends these bytes.
    Say(String),
    /// Sends these bytes, and ends the connection.
    SayAndEnd(String),
    /// Says nothing and keeps the connection.
    Hang,
}

/// A server whose acts are a script: one for each request, whatever the connection; the last one goes on.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

impl Server {
    pub(super) async fn plain(acts: Vec<Act>) -> Self {
        Self::on(bind(IpAddr::V4(Ipv4Addr::LOCALHOST)).await, acts, None)
    }

    pub(super) async fn plain_at(ip: IpAddr, acts: Vec<Act>) -> Self {
        Self::on(bind(ip).await, acts, None)
    }

    pub(super) async fn tls(acts: Vec<Act>, config: ServerConfig) -> Self {
        let tls = TlsAcceptor::from(Arc::new(config));
        Self::on(bind(IpAddr::V4(Ipv4Addr::LOCALHOST)).await, acts, Some(tls))
    }

    pub(super) fn on(listener: TcpListener, acts: Vec<Act>, tls: Option<TlsAcceptor>) -> Self {
        let address = listener.local_addr().expect("bound");
        let seen = Arc::new(Seen::default());
        let (script, shared) = (Arc::new(acts), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (script, seen, tls) = (Arc::clone(&script), Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &script, &seen).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &script, &seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, seen }
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Every request, head and body as they came.
    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().expect("unpoisoned").clone()
    }
}

async fn bind(ip: IpAddr) -> TcpListener {
    TcpListener::bind((ip, 0)).await.expect("a port")
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, script: &[Act], seen: &Seen) {
    loop {
        let Some(request) = read_request(&mut stream).await else { return };
        let index = {
            let mut requests = seen.requests.lock().expect("unpoisoned");
            requests.push(request);
            requests.len() - 1
        };
        match script.get(index).or(script.last()) {
            Some(Act::Say(text)) => {
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Some(Act::SayAndEnd(text)) => {
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
                return;
            }
            Some(Act::Hang) | None => std::future::pending().await,
        }
    }
}

/// One request with its body: by Content-Length, or chunked as it stands on the wire.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lower = head.to_ascii_lowercase();
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
            let chunked = lower.contains("transfer-encoding: chunked");
            if if chunked { body.ends_with("0\r\n\r\n") } else { body.len() >= length.unwrap_or(0) } {
                return Some(text);
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
        }
    }
}

/// A name server that knows one name; each question for A takes the next of its answers, and the last one stays.
pub(super) struct NameServer {
    pub(super) address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl NameServer {
    pub(super) async fn start(answers: Vec<Vec<Ipv4Addr>>) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = socket.local_addr().expect("bound");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                // Our resolver's queries end with one OPT record (RFC 6891) of 11 bytes, which is not repeated.
                let question = &buffer[..length - 11];
                let is_a = question.ends_with(&[0, 1, 0, 1]);
                let addresses = if is_a {
                    let index = count.fetch_add(1, Ordering::SeqCst);
                    answers.get(index).or(answers.last()).cloned().unwrap_or_default()
                } else {
                    Vec::new()
                };
                let _ = socket.send_to(&reply(question, &addresses), from).await;
            }
        });
        Self { address, asked }
    }

    /// How often it was asked for the name's IPv4 addresses.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn reply(question: &[u8], addresses: &[Ipv4Addr]) -> Vec<u8> {
    let mut out = question.to_vec();
    out[2..4].copy_from_slice(&[0x81, 0x80]);
    out[10..12].copy_from_slice(&[0, 0]);
    out[7] = u8::try_from(addresses.len()).expect("few");
    for address in addresses {
        // A pointer to the name of the question, A, IN, no time to live.
        out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        out.extend_from_slice(&address.octets());
    }
    out
}

/// A certificate and its key.
pub(super) struct Made {
    params: CertificateParams,
    key: KeyPair,
    pub(super) pem: String,
    der: CertificateDer<'static>,
}

impl Made {
    /// An authority.
    pub(super) fn authority(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        Self::self_signed(params)
    }

    /// As Unified CM makes them: self-signed, and said to be an authority's.
    pub(super) fn self_signed_authority(names: &[&str], until: (i32, u8, u8)) -> Self {
        let mut params = CertificateParams::new(strings(names)).expect("names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        Self::self_signed(params)
    }

    fn self_signed(params: CertificateParams) -> Self {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { pem: certificate.pem(), der: certificate.der().clone(), params, key }
    }

    /// A certificate for these names and addresses, signed by this one.
    pub(super) fn issue(&self, names: &[&str], from: (i32, u8, u8), until: (i32, u8, u8)) -> Self {
        let mut params = CertificateParams::new(strings(names)).expect("names");
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        let key = KeyPair::generate().expect("a key");
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        Self { pem: certificate.pem(), der: certificate.der().clone(), params, key }
    }

    /// A server that shows it.
    pub(super) fn server(&self) -> ServerConfig {
        ServerConfig::builder_with_provider(edgeway_runtime::pki::tls::provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], self.private())
            .expect("a pair")
    }

    pub(super) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }

    pub(super) fn der(&self) -> CertificateDer<'static> {
        self.der.clone()
    }

    /// A server that shows it, and asks clients for one that `authority` signed.
    pub(super) fn server_asking(&self, authority: &Self) -> ServerConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.der()).expect("an authority");
        let provider = edgeway_runtime::pki::tls::provider();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(vec![self.der.clone()], self.private())
            .expect("a pair")
    }
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
