//! `bench hostile`: what strangers cost the edge: thousands of connections that never become phones, and garbage.
//!
//! From many addresses of 127.0.0.0/8 connections are opened and left: silent, in the middle of a TLS handshake, or
//! behind one, in the middle of a SIP message. Whatever the edge closes is opened again. Meanwhile others send
//! garbage as fast as it is taken: random bytes, TLS records without end, junk and half requests inside TLS. A phone
//! that was registered before must be answered all the time, a new one must get in afterwards, and neither tier may
//! grow by more than the bound.

use crate::report::Machine;
use crate::sip::chain::{Chain, Kind};
use crate::sip::crowd::{self, Crowd, Load};
use anyhow::{Context, Result, ensure};
use clap::Args;
use edgeway_interop::certificates::Authority;
use edgeway_interop::process::Scratch;
use edgeway_interop::product::{self, EDGE_NAME};
use rustls::pki_types::ServerName;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// Source addresses the half-open connections come from: 127.1.0.1 and on.
const ADDRESSES: u32 = 200;
/// Connections that send garbage at once.
const FLOODERS: usize = 16;
/// Kinds of garbage: random bytes, TLS records without end, and inside TLS random bytes and a request without end.
const KINDS: usize = 4;
/// How long a storm lasts at least: strangers are let go after 5 s, and their places taken by others.
const LASTS: Duration = Duration::from_secs(12);
/// Garbage is written in pieces of this size.
const PIECE_BYTES: usize = 16 * 1024;
/// How long a write may take before the flooder begins anew.
const WRITE_PATIENCE: Duration = Duration::from_secs(2);
/// Refreshes a second by which the phones inside the storm show that they are served.
const REFRESH_RATE: f64 = 20.0;
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Phones registered before the storm.
const PHONES: usize = 50;
/// Pause before a connection the edge closed is opened again.
const REOPEN_AFTER: Duration = Duration::from_millis(100);
/// What a TLS client says first: a handshake record of 512 bytes, here without its end.
const HALF_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
const HALF_REQUEST: &[u8] =
    b"REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1;branch=z9hG4bKx\r\nFrom: ";

/// Options of `bench hostile`.
#[derive(Args, Clone, Debug)]
pub(crate) struct HostileArguments {
    /// Half-open connections kept open
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    half_open: usize,
    /// Garbage to send
    #[arg(long, default_value_t = 1_024, value_name = "N")]
    garbage_mib: u64,
    /// By how much edge and core may each grow
    #[arg(long, default_value_t = 64, value_name = "N")]
    growth_mib: u64,
    /// A twentieth of it: some seconds
    #[arg(long)]
    quick: bool,
}

/// What the storm has done so far.
#[derive(Debug, Default)]
struct Score {
    /// Strangers that have begun to knock.
    begun: AtomicU64,
    open: AtomicU64,
    open_peak: AtomicU64,
    closed: AtomicU64,
    /// Of each kind, as far as TCP took it.
    garbage_bytes: [AtomicU64; KINDS],
    floods: AtomicU64,
    over: AtomicBool,
}

impl Score {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn garbage(&self, kind: usize) -> u64 {
        self.garbage_bytes.get(kind).map_or(0, |bytes| bytes.load(Ordering::Relaxed))
    }
}

/// Everything a stranger needs.
#[derive(Clone)]
struct Storm {
    edge: SocketAddr,
    tls: TlsConnector,
    name: ServerName<'static>,
    /// Bytes of each kind of garbage to send.
    quota: u64,
    score: Arc<Score>,
}

/// Runs the storm and prints what it cost.
pub(crate) fn run(arguments: &HostileArguments) -> Result<()> {
    product::binaries()?;
    let mut scratch = Scratch::create("hostile")?;
    println!("{}", Machine::here().line());
    let divisor = if arguments.quick { 20 } else { 1 };
    let (half_open, garbage_mib) = (arguments.half_open / divisor, arguments.garbage_mib / divisor as u64);
    storm(half_open, garbage_mib, arguments.growth_mib, scratch.path())
        .inspect_err(|_| scratch.keep())
        .with_context(|| format!("logs in {}", scratch.path().display()))
}

fn storm(half_open: usize, garbage_mib: u64, growth_mib: u64, directory: &Path) -> Result<()> {
    let authority = Authority::create(directory, "authority")?;
    let chain = Chain::start(Kind::Edgeway, &authority.issue(EDGE_NAME)?, directory)?;
    let mut phones = Crowd::new(chain.edge_address(), &authority.certificate(), 4)?;
    phones.gather(PHONES)?;
    let before = resident(&chain)?;
    let score = Arc::new(Score::default());
    let quota = (garbage_mib << 20) / KINDS as u64;
    let storm = Storm {
        quota,
        edge: chain.edge_address(),
        tls: crowd::connector(&authority.certificate())?,
        name: ServerName::try_from(EDGE_NAME)?,
        score: Arc::clone(&score),
    };
    let strangers = std::thread::spawn(move || storm.rage(half_open));
    let start = Instant::now();
    let (mut peak, mut refreshes, mut slowest) = (before, 0, 0.0_f64);
    // Until all have knocked for a while and all garbage is sent. How many are let in is the edge's business: 4,096
    // shake hands, as many again wait in the kernel.
    while (0..KINDS).any(|kind| score.garbage(kind) < quota)
        || score.begun.load(Ordering::Relaxed) < half_open as u64
        || start.elapsed() < LASTS
    {
        ensure!(start.elapsed() < Duration::from_secs(600), "the storm does not get through: {score:?}");
        ensure!(!strangers.is_finished(), "the strangers gave up: {score:?}");
        let mut done = phones.run(Load::Registers { rate: Some(REFRESH_RATE) }, LOOK_EVERY)?;
        ensure!(done.failed == 0, "a registered phone was not answered in the storm");
        refreshes += done.latencies.count();
        slowest = slowest.max(done.latencies.percentile_ms(1.0));
        let now = resident(&chain)?;
        peak = (peak.0.max(now.0), peak.1.max(now.1));
    }
    score.over.store(true, Ordering::Relaxed);
    let seconds = start.elapsed().as_secs_f64();
    strangers.join().map_err(|_| anyhow::anyhow!("the strangers panicked"))??;
    let mut late = Crowd::new(chain.edge_address(), &authority.certificate(), 1)?;
    late.gather(1).context("a new phone after the storm")?;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "in {seconds:.0} s: {half_open} strangers knocking, {} connected at once, {} sent away; garbage over {} connections, MiB: \
         {} random, {} TLS records, {} random inside TLS, {} of requests without end",
        count(&score.open_peak),
        count(&score.closed),
        count(&score.floods),
        score.garbage(0) >> 20,
        score.garbage(1) >> 20,
        score.garbage(2) >> 20,
        score.garbage(3) >> 20,
    );
    println!("{refreshes} refreshes of registered phones meanwhile, all answered, the slowest after {slowest:.0} ms");
    let grown = |now: u64, before: u64| now.saturating_sub(before) as f64 / f64::from(1 << 20);
    let (edge, core) = (grown(peak.0, before.0), grown(peak.1, before.1));
    println!("resident memory grew by at most {edge:.1} MiB in the edge and {core:.1} MiB in the core");
    let bound = growth_mib as f64;
    ensure!(edge <= bound && core <= bound, "more than {growth_mib} MiB");
    Ok(())
}

/// Resident bytes of edge and core.
fn resident(chain: &Chain) -> Result<(u64, u64)> {
    let usage = chain.usage()?;
    Ok((usage.edge.resident_bytes, usage.core.resident_bytes))
}

impl Storm {
    /// On a thread of its own, until it is over.
    fn rage(self, half_open: usize) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            for number in 0..half_open {
                tokio::spawn(self.clone().linger(number));
            }
            for number in 0..FLOODERS {
                tokio::spawn(self.clone().flood(number));
            }
            while !self.score.is_over() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Ok(())
    }

    /// One half-open connection, opened again whenever it is closed.
    async fn linger(self, number: usize) {
        // Not all at one moment.
        tokio::time::sleep(Duration::from_micros(200) * u32::try_from(number).unwrap_or(0)).await;
        self.score.begun.fetch_add(1, Ordering::Relaxed);
        while !self.score.is_over() {
            if let Ok(stream) = self.connect(number).await {
                let open = self.score.open.fetch_add(1, Ordering::Relaxed) + 1;
                self.score.open_peak.fetch_max(open, Ordering::Relaxed);
                let _ = self.stay(stream, number).await;
                self.score.open.fetch_sub(1, Ordering::Relaxed);
                self.score.closed.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep(REOPEN_AFTER).await;
        }
    }

    /// Leaves the connection half-open in one of three ways, until the edge has had enough.
    async fn stay(&self, mut stream: TcpStream, number: usize) -> Result<()> {
        let mut sink = [0; 512];
        match number % 10 {
            // Nothing at all.
            0..=3 => {}
            4..=8 => stream.write_all(HALF_HELLO).await?,
            _ => {
                let mut stream = self.tls.connect(self.name.clone(), stream).await?;
                stream.write_all(HALF_REQUEST).await?;
                while stream.read(&mut sink).await? > 0 {}
                return Ok(());
            }
        }
        while stream.read(&mut sink).await? > 0 {}
        Ok(())
    }

    /// Garbage, on connection after connection.
    async fn flood(self, number: usize) {
        let mut piece = vec![0_u8; PIECE_BYTES];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ number as u64;
        let kind = number % KINDS;
        while !self.has_poured(kind) {
            self.score.floods.fetch_add(1, Ordering::Relaxed);
            for byte in &mut piece {
                // xorshift: no two pieces alike, and no dependency.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *byte = (state >> 32) as u8;
            }
            let Ok(stream) = self.connect(number).await else {
                tokio::time::sleep(REOPEN_AFTER).await;
                continue;
            };
            let _ = match kind {
                0 => self.pour(stream, kind, &[], &piece).await,
                // Handshake records of the largest size, one after the other.
                1 => self.pour(stream, kind, &[22, 3, 1, 64, 0], &piece).await,
                2 => self.pour_inside(stream, kind, b"", &piece).await,
                _ => self.pour_inside(stream, kind, HALF_REQUEST, &vec![b'a'; PIECE_BYTES]).await,
            };
        }
    }

    async fn pour(&self, mut stream: TcpStream, kind: usize, head: &[u8], piece: &[u8]) -> Result<()> {
        while !self.has_poured(kind) {
            tokio::time::timeout(WRITE_PATIENCE, async {
                stream.write_all(head).await?;
                stream.write_all(piece).await
            })
            .await??;
            self.count(kind, head.len() + piece.len());
        }
        Ok(())
    }

    async fn pour_inside(&self, stream: TcpStream, kind: usize, head: &[u8], piece: &[u8]) -> Result<()> {
        let mut stream = self.tls.connect(self.name.clone(), stream).await?;
        stream.write_all(head).await?;
        while !self.has_poured(kind) {
            tokio::time::timeout(WRITE_PATIENCE, stream.write_all(piece)).await??;
            self.count(kind, piece.len());
        }
        Ok(())
    }

    /// Whether it is over, or there was enough of this kind.
    fn has_poured(&self, kind: usize) -> bool {
        self.score.is_over() || self.score.garbage(kind) >= self.quota
    }

    fn count(&self, kind: usize, bytes: usize) {
        if let Some(count) = self.score.garbage_bytes.get(kind) {
            count.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    async fn connect(&self, number: usize) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        let host = u32::try_from(number).unwrap_or(0) % ADDRESSES + 1;
        let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + host);
        socket.bind(SocketAddr::from((from, 0)))?;
        Ok(socket.connect(self.edge).await?)
    }
}
