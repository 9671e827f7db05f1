//! HTTPS clients, on one thread: on connections that stay, on HTTP/2, or on a new connection for each request.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use edgeway_interop::product::EDGE_NAME;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{cipher_suite::TLS13_AES_256_GCM_SHA384, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::report::Latencies;

/// Requests at once on each HTTP/2 connection.
const STREAMS: usize = 10;

/// How requests are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// HTTP/1.1 on so many connections that stay, one request at a time on each.
    Kept(usize),
    /// HTTP/2 on so many connections, ten requests at a time on each.
    Http2(usize),
    /// HTTP/1.1, each request on a connection of its own, so many at a time.
    New(usize),
}

impl Way {
    fn connections(self) -> usize {
        match self {
            Self::Kept(count) | Self::Http2(count) | Self::New(count) => count,
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The path.
    pub(crate) path: String,
    /// Further headers: name and value.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The least that a body has, bytes.
    pub(crate) bytes_min: usize,
}

/// What a phase did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// One for each request that succeeded.
    pub(crate) latencies: Latencies,
    /// Requests that did not.
    pub(crate) failed: usize,
}

/// The clients.
pub(crate) struct Crowd {
    runtime: Runtime,
    edge: SocketAddr,
    /// For HTTP/1.1 and for HTTP/2.
    tls: [TlsConnector; 2],
}

impl Crowd {
    /// Will connect to `edge` and trust `authority`.
    pub(crate) fn new(edge: SocketAddr, authority: &Path) -> Result<Self> {
        Ok(Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            edge,
            tls: [connector(authority, b"http/1.1")?, connector(authority, b"h2")?],
        })
    }

    /// One request on a connection of its own: status, head and body.
    pub(crate) fn once(&self, asked: &Asked) -> Result<(u16, String, Vec<u8>)> {
        let [tls, _] = &self.tls;
        self.runtime.block_on(async {
            let mut stream = connect(self.edge, tls).await?;
            stream.write_all(head(asked).as_bytes()).await?;
            let mut buffer = Vec::new();
            let answer = read(&mut stream, &mut buffer).await?;
            let head = String::from_utf8_lossy(&buffer[..answer.head]).into_owned();
            Ok((answer.status, head, buffer[answer.head..answer.head + answer.body].to_vec()))
        })
    }

    /// Keeps the load up for `duration`: as fast as answers come, or so many a second.
    pub(crate) fn run(&self, way: Way, asked: &[Asked], rate: Option<f64>, duration: Duration) -> Result<Done> {
        let count = way.connections();
        let [http1, http2] = &self.tls;
        let (edge, asked) = (self.edge, Arc::new(asked.iter().map(Request::from).collect::<Vec<_>>()));
        let workers: Vec<Worker> = self.runtime.block_on(async {
            let mut workers = Vec::new();
            for _ in 0..count {
                match way {
                    Way::Kept(_) => workers.push(Worker::Kept(Box::new(connect(edge, http1).await?), Vec::new())),
                    Way::New(_) => workers.push(Worker::New(edge, http1.clone())),
                    Way::Http2(_) => {
                        let stream = TokioIo::new(connect(edge, http2).await?);
                        let (sender, connection) =
                            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
                        tokio::spawn(connection);
                        workers.extend((0..STREAMS).map(|_| Worker::Stream(sender.clone())));
                    }
                }
            }
            anyhow::Ok(workers)
        })?;
        let (number, start) = (workers.len(), Instant::now());
        let tasks: Vec<_> = workers
            .into_iter()
            .enumerate()
            .map(|(index, worker)| {
                let pace = rate.map(|rate| (index as f64 / rate, number as f64 / rate));
                self.runtime.spawn(worker.work(Arc::clone(&asked), index, pace, start, start + duration))
            })
            .collect();
        let mut done = Done::default();
        let mut why = None;
        for task in tasks {
            let (latencies, failure) = self.runtime.block_on(task)?;
            done.latencies.append(latencies);
            if let Some(error) = failure {
                done.failed += 1;
                why.get_or_insert(error);
            }
        }
        if let Some(why) = why {
            eprintln!("{} of {number} gave up, the first because: {why:#}", done.failed);
        }
        ensure!(done.latencies.count() > 0, "nothing succeeded");
        Ok(done)
    }
}

/// TLS 1.3 with one suite, full handshakes: equal terms for both sides.
pub(crate) fn connector(authority: &Path, protocol: &[u8]) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).context("read the CA certificate")?)?;
    let mut provider = default_provider();
    provider.cipher_suites = vec![TLS13_AES_256_GCM_SHA384];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connection with its handshake done.
pub(crate) async fn connect(edge: SocketAddr, tls: &TlsConnector) -> Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(edge).await?;
    stream.set_nodelay(true)?;
    Ok(tls.connect(ServerName::try_from(EDGE_NAME)?, stream).await?)
}

/// What is asked for, and its head as it is sent over HTTP/1.1.
struct Request {
    asked: Asked,
    head: String,
}

impl From<&Asked> for Request {
    fn from(asked: &Asked) -> Self {
        Self { head: head(asked), asked: asked.clone() }
    }
}

/// One request at a time.
enum Worker {
    /// On a connection of its own, with what was read from it.
    Kept(Box<TlsStream<TcpStream>>, Vec<u8>),
    Stream(SendRequest<Empty<Bytes>>),
    New(SocketAddr, TlsConnector),
}

impl Worker {
    /// Asks for one after the other, from number `first` on, until the end or the first failure. `pace`: when the first request is due, and how far they are apart,
    /// in seconds.
    async fn work(
        mut self,
        asked: Arc<Vec<Request>>,
        first: usize,
        pace: Option<(f64, f64)>,
        start: Instant,
        end: Instant,
    ) -> (Latencies, Option<anyhow::Error>) {
        let (mut latencies, mut turn) = (Latencies::default(), 0_u32);
        for request in asked.iter().cycle().skip(first % asked.len()) {
            if let Some((begin, step)) = pace {
                let due = start + Duration::from_secs_f64(begin + step * f64::from(turn));
                tokio::time::sleep_until(due.min(end).into()).await;
            }
            let began = Instant::now();
            if began >= end {
                return (latencies, None);
            }
            match self.ask(request).await {
                Ok(()) => latencies.record_since(began),
                Err(error) => return (latencies, Some(error)),
            }
            turn += 1;
        }
        (latencies, None)
    }

    async fn ask(&mut self, Request { asked, head }: &Request) -> Result<()> {
        match self {
            Self::Kept(stream, buffer) => {
                stream.write_all(head.as_bytes()).await?;
                read(stream, buffer).await?.check(asked.bytes_min)
            }
            Self::New(edge, tls) => {
                let mut stream = connect(*edge, tls).await?;
                stream.write_all(head.as_bytes()).await?;
                let answer = read(&mut stream, &mut Vec::new()).await?;
                stream.shutdown().await?;
                answer.check(asked.bytes_min)
            }
            Self::Stream(sender) => {
                let uri = format!("https://{EDGE_NAME}:8443{}", asked.path);
                let mut request = hyper::Request::get(uri);
                for (name, value) in &asked.headers {
                    request = request.header(*name, value);
                }
                sender.ready().await?;
                let answer = sender.send_request(request.body(Empty::new())?).await?;
                let status = answer.status().as_u16();
                let body = answer.into_body().collect().await?.to_bytes().len();
                Answer { status, head: 0, body }.check(asked.bytes_min)
            }
        }
    }
}

fn head(asked: &Asked) -> String {
    let mut head = format!("GET {} HTTP/1.1\r\nHost: {EDGE_NAME}:8443\r\nUser-Agent: bench\r\n", asked.path);
    for (name, value) in &asked.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + "\r\n"
}

/// An answer: its status and how long its parts are.
struct Answer {
    status: u16,
    head: usize,
    body: usize,
}

impl Answer {
    fn check(&self, bytes_min: usize) -> Result<()> {
        ensure!(self.status == 200, "status {}", self.status);
        ensure!(self.body >= bytes_min, "{} bytes", self.body);
        Ok(())
    }
}

/// One answer with a Content-Length, into `buffer`, which holds it alone afterwards.
async fn read(stream: &mut TlsStream<TcpStream>, buffer: &mut Vec<u8>) -> Result<Answer> {
    buffer.clear();
    loop {
        if let Some(answer) = whole(buffer)? {
            return Ok(answer);
        }
        if stream.read_buf(buffer).await? == 0 {
            bail!("the connection ended after {} bytes", buffer.len());
        }
    }
}

/// The answer in `buffer`, if all of it is there.
fn whole(buffer: &[u8]) -> Result<Option<Answer>> {
    let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&buffer[..end])?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("a status line")?.parse()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let body = length.context("an answer without Content-Length")??;
    let answer = Answer { status, head: end + 4, body };
    Ok((buffer.len() >= answer.head + body).then_some(answer))
}
