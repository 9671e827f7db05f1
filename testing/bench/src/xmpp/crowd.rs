//! Chat clients, on one thread: each signs in, and writes to its neighbour.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgeway_interop::kamailio::DOMAIN;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http::crowd::connector;
use crate::report::Latencies;

/// Of every user.
pub(crate) const PASSWORD: &str = "secret";
/// Of a message, with its XMPP.
pub(crate) const MESSAGE_BYTES: usize = 200;
/// Clients that sign in at a time.
const SIGN_INS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a message may take at the end of a phase, until it counts as lost.
const LATE: Duration = Duration::from_secs(5);

/// A user's name.
pub(crate) fn user(number: usize) -> String {
    format!("user{number}")
}

/// What a phase did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) sent: usize,
    pub(crate) received: usize,
    pub(crate) latencies: Latencies,
    pub(crate) elapsed: Duration,
}

/// What all clients share.
struct Shared {
    start: Instant,
    received: AtomicUsize,
    ended: AtomicUsize,
    arrived: mpsc::UnboundedSender<(usize, Duration)>,
}

/// Clients that are signed in.
pub(crate) struct Crowd {
    runtime: Runtime,
    senders: Vec<WriteHalf<TlsStream<TcpStream>>>,
    readers: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    arrivals: mpsc::UnboundedReceiver<(usize, Duration)>,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for reader in &self.readers {
            reader.abort();
        }
    }
}

impl Crowd {
    /// Signs in so many.
    pub(crate) fn start(at: SocketAddr, authority: &Path, count: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tls = connector(authority, b"xmpp-client")?;
        let gate = Arc::new(Semaphore::new(SIGN_INS));
        let mut signing_in = Vec::new();
        for number in 0..count {
            let (tls, gate) = (tls.clone(), Arc::clone(&gate));
            signing_in.push(runtime.spawn(async move {
                let _turn = gate.acquire().await?;
                timeout(PATIENCE, sign_in(at, &tls, number)).await.context("it takes too long")?
            }));
        }
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let (received, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let shared = Arc::new(Shared { start: Instant::now(), received, ended, arrived });
        let (mut senders, mut readers) = (Vec::new(), Vec::new());
        for (number, one) in signing_in.into_iter().enumerate() {
            let stream = runtime.block_on(one)?.with_context(|| format!("sign-in of {}", user(number)))?;
            let (reader, writer) = split(stream);
            senders.push(writer);
            readers.push(runtime.spawn(receive(number, reader, Arc::clone(&shared))));
        }
        Ok(Self { runtime, senders, readers, shared, arrivals })
    }

    /// Lets time pass.
    pub(crate) fn idle(&self, duration: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(duration).await });
    }

    /// So many messages a second, each from another client to its neighbour.
    pub(crate) fn paced(&mut self, rate: f64, duration: Duration) -> Result<Done> {
        let before = self.begin();
        let (due, mut sends) = mpsc::unbounded_channel();
        // A timer of the runtime has steps of a millisecond: messages would come in heaps.
        let clock = std::thread::spawn(move || tick(rate, duration, &due));
        let began = Instant::now();
        let mut sent = 0_usize;
        let count = self.senders.len();
        let (runtime, senders, shared) = (&self.runtime, &mut self.senders, &self.shared);
        runtime.block_on(async {
            while sends.recv().await.is_some() {
                // Neighbours do not write at once.
                let number = sent.wrapping_mul(7) % count;
                say(senders.get_mut(number).context("a client")?, number, shared.start).await?;
                sent += 1;
            }
            anyhow::Ok(())
        })?;
        clock.join().map_err(|_| anyhow!("the clock failed"))?;
        self.end(before, sent, began)
    }

    /// Pairs that answer each other as fast as it goes, so many at a time.
    pub(crate) fn saturated(&mut self, pairs: usize, duration: Duration) -> Result<Done> {
        let before = self.begin();
        let began = Instant::now();
        let mut sent = 0_usize;
        let pairs = pairs.min(self.senders.len() / 2);
        let (runtime, senders, shared) = (&self.runtime, &mut self.senders, &self.shared);
        let arrivals = &mut self.arrivals;
        let mut latencies = Latencies::default();
        runtime.block_on(async {
            for pair in 0..pairs {
                say(senders.get_mut(pair * 2).context("a client")?, pair * 2, shared.start).await?;
                sent += 1;
            }
            while began.elapsed() < duration {
                let (number, took) = timeout(LATE, arrivals.recv()).await?.context("a client")?;
                latencies.record(took);
                say(senders.get_mut(number).context("a client")?, number, shared.start).await?;
                sent += 1;
            }
            anyhow::Ok(())
        })?;
        let mut done = self.end(before, sent, began)?;
        done.latencies.append(latencies);
        Ok(done)
    }

    fn begin(&mut self) -> usize {
        while self.arrivals.try_recv().is_ok() {}
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Waits for what is still on its way.
    fn end(&mut self, before: usize, sent: usize, began: Instant) -> Result<Done> {
        let shared = Arc::clone(&self.shared);
        let received = || shared.received.load(Ordering::Relaxed) - before;
        let last = Instant::now();
        while received() < sent && last.elapsed() < LATE {
            self.idle(Duration::from_millis(2));
        }
        let mut done = Done { sent, received: received(), elapsed: began.elapsed(), ..Done::default() };
        while let Ok((_, took)) = self.arrivals.try_recv() {
            done.latencies.record(took);
        }
        let ended = shared.ended.load(Ordering::Relaxed);
        ensure!(ended == 0, "{ended} streams have ended");
        Ok(done)
    }
}

/// Says when a message is due.
fn tick(rate: f64, duration: Duration, due: &mpsc::UnboundedSender<()>) {
    let began = Instant::now();
    let mut number = 0_u32;
    while began.elapsed() < duration {
        let at = began + Duration::from_secs_f64(f64::from(number) / rate);
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        if due.send(()).is_err() {
            return;
        }
        number += 1;
    }
}

/// One message to the neighbour, with its time.
async fn say(writer: &mut WriteHalf<TlsStream<TcpStream>>, number: usize, start: Instant) -> Result<()> {
    let to = number ^ 1;
    let micros = start.elapsed().as_micros();
    let head = format!("<message to='{}@{DOMAIN}/bench' type='chat'><body>@{micros:012} ", user(to));
    let tail = "</body></message>";
    let filler = "x".repeat(MESSAGE_BYTES.saturating_sub(head.len() + tail.len()));
    writer.write_all(format!("{head}{filler}{tail}").as_bytes()).await?;
    writer.flush().await?;
    Ok(())
}

/// Counts what comes: each message has one `@` before twelve digits in its body.
async fn receive(number: usize, mut reader: ReadHalf<TlsStream<TcpStream>>, shared: Arc<Shared>) {
    const MARK: &[u8] = b"<body>@";
    let mut held: Vec<u8> = Vec::new();
    // As little as can be: two thousand of them wait.
    let mut piece = vec![0; 2 * 1024];
    while let Ok(count @ 1..) = reader.read(&mut piece).await {
        held.extend_from_slice(piece.get(..count).unwrap_or_default());
        let mut from = 0;
        while let Some(at) = held[from..].windows(MARK.len()).position(|window| window == MARK) {
            let digits = from + at + MARK.len();
            let Some(text) = held.get(digits..digits + 12) else { break };
            let micros = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
            let took = shared.start.elapsed().saturating_sub(Duration::from_micros(micros));
            shared.received.fetch_add(1, Ordering::Relaxed);
            let _ = shared.arrived.send((number, took));
            from = digits + 12;
        }
        held.drain(..from.max(held.len().saturating_sub(MARK.len() + 12)));
    }
    shared.ended.fetch_add(1, Ordering::Relaxed);
}

/// TLS, the stream, PLAIN, the stream again, and a resource.
async fn sign_in(at: SocketAddr, tls: &TlsConnector, number: usize) -> Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(at).await?;
    tcp.set_nodelay(true)?;
    let mut stream = tls.connect(ServerName::try_from(DOMAIN)?, tcp).await.context("TLS")?;
    let header = format!(
        "<?xml version='1.0'?><stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'>"
    );
    ask(&mut stream, &header, "</stream:features>").await?;
    let secret = STANDARD.encode(format!("\0{}\0{PASSWORD}", user(number)));
    let auth = format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>");
    ask(&mut stream, &auth, "<success").await?;
    ask(&mut stream, &header, "</stream:features>").await?;
    let bind =
        "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>bench</resource></bind></iq>";
    ask(&mut stream, bind, "</iq>").await?;
    Ok(stream)
}

async fn ask(stream: &mut TlsStream<TcpStream>, text: &str, until: &str) -> Result<()> {
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await?;
    let (mut got, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut piece).await?;
        got.extend_from_slice(piece.get(..count).unwrap_or_default());
        let text = String::from_utf8_lossy(&got);
        if text.contains(until) {
            return Ok(());
        }
        if count == 0 || text.contains("<failure") || text.contains("<stream:error") {
            bail!("no {until}: {text}");
        }
    }
}
