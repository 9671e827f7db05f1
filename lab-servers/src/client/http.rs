//! HTTP/1.1 as a client of the lab speaks it: one connection per request, TLS or not, everything read into memory.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::limits::{CLIENT_ANSWER_MAX, CLIENT_BODY_BYTES_MAX, CONNECT_MAX};

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Place {
    /// The address.
    pub address: SocketAddr,
    /// TLS: the name sent as SNI and looked for in the certificate, and the authority to trust (PEM). `None`: plain.
    pub tls: Option<(String, String)>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The method.
    pub method: String,
    /// Path and query, exactly as they are sent.
    pub target: String,
    /// The value of `Host`.
    pub host: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The address to come from; `None`: the system's choice.
    pub from: Option<IpAddr>,
}

impl Ask {
    /// A GET.
    #[must_use]
    pub fn get(host: &str, target: &str) -> Self {
        let (method, body, headers) = ("GET".to_owned(), Vec::new(), Vec::new());
        Self { method, target: target.to_owned(), host: host.to_owned(), headers, body, from: None }
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With HTTP Basic credentials (RFC 7617).
    #[must_use]
    pub fn basic(self, user: &str, password: &str) -> Self {
        let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        self.with("authorization", &value)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Got {
    /// Status code.
    pub status: u16,
    /// Reason phrase, as sent.
    pub reason: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Got {
    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// No connection.
    #[error("no connection to {0}: {1}")]
    Connect(SocketAddr, String),
    /// The certificate is not to be trusted.
    #[error("the certificate of {0} is refused: {1}")]
    Certificate(SocketAddr, String),
    /// The connection ended, or what came is no HTTP.
    #[error("no answer: {0}")]
    Broken(String),
    /// Nothing within the time.
    #[error("no answer in time")]
    TimedOut,
    /// The request cannot be written.
    #[error("not a request: {0}")]
    Request(String),
}

/// Asks, on a connection of its own.
///
/// # Errors
/// No connection, no trust, or no whole answer.
pub async fn ask(place: &Place, ask: &Ask) -> Result<Got, NoAnswer> {
    let whole = async {
        let stream = connect(place.address, ask.from).await?;
        match &place.tls {
            None => exchange(stream, ask).await,
            Some((name, ca)) => exchange(secured(place.address, stream, name, ca).await?, ask).await,
        }
    };
    timeout(CLIENT_ANSWER_MAX, whole).await.unwrap_or(Err(NoAnswer::TimedOut))
}

async fn connect(address: SocketAddr, from: Option<IpAddr>) -> Result<TcpStream, NoAnswer> {
    let failed = |why: String| NoAnswer::Connect(address, why);
    let connecting = async {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        socket.connect(address).await
    };
    let stream = timeout(CONNECT_MAX, connecting).await;
    let stream =
        stream.map_err(|_| failed("no answer in time".to_owned()))?.map_err(|error| failed(error.to_string()))?;
    stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
    Ok(stream)
}

async fn secured(
    address: SocketAddr,
    stream: TcpStream,
    name: &str,
    ca: &str,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, NoAnswer> {
    let refused = |error: &std::io::Error| {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(why)) => NoAnswer::Certificate(address, why.to_string()),
            Some(_) | None => NoAnswer::Connect(address, error.to_string()),
        }
    };
    let config = trust(ca).map_err(|error| NoAnswer::Request(error.to_string()))?;
    let server = ServerName::try_from(name.to_owned()).map_err(|error| NoAnswer::Request(error.to_string()))?;
    TlsConnector::from(Arc::new(config)).connect(server, stream).await.map_err(|error| refused(&error))
}

fn trust(ca_pem: &str) -> std::io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.map_err(std::io::Error::other)?).map_err(std::io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, ask: &Ask) -> Result<Got, NoAnswer> {
    let broken = |error: hyper::Error| NoAnswer::Broken(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driver = tokio::spawn(connection);
    let mut request = Request::builder().method(ask.method.as_str()).uri(&ask.target).header("host", &ask.host);
    for (name, value) in &ask.headers {
        request = request.header(name, value);
    }
    let request =
        request.body(Full::new(Bytes::from(ask.body.clone()))).map_err(|error| NoAnswer::Request(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(broken);
    let got = match response {
        Ok(response) => whole(response).await,
        Err(error) => Err(error),
    };
    driver.abort();
    got
}

async fn whole(response: hyper::Response<hyper::body::Incoming>) -> Result<Got, NoAnswer> {
    let (head, body) = response.into_parts();
    let sent = head.extensions.get::<hyper::ext::ReasonPhrase>();
    let usual = head.status.canonical_reason().unwrap_or_default();
    let reason = sent.map_or_else(|| usual.to_owned(), |sent| String::from_utf8_lossy(sent.as_bytes()).into_owned());
    let headers = head.headers.iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let headers = headers.collect();
    let body = Limited::new(body, CLIENT_BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|error| NoAnswer::Broken(error.to_string()))?.to_bytes().to_vec();
    Ok(Got { status: head.status.as_u16(), reason, headers, body })
}
