//! What single parts cost, without the rest: one message on the link, one packet in the core's media engine, one message
//! on the chat carrier, one in the chat's scanner, router and frames, one page of a list.
//!
//! The link is the real one (TCP, TLS, HTTP/2) on loopback, each side on its own thread; the other side echoes. The
//! engine runs without sockets, and so does what looks at stanzas.

mod chat;
mod lists;
mod stanza;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use edgeway_media::relay::InsideEngine;
use edgeway_model::media::{
    Carriage, Component, CryptoSuite, InsideParty, InsideRelay, LegSecurity, PortPair, SrtpKey,
};
use edgeway_model::{LinkId, Moment, NodeId, Random, RelayId};
use edgeway_runtime::link::{Door, LinkHost, dial, listen};
use edgeway_runtime::outbox::Outbox;
use edgeway_runtime::pki::{Authority, EdgeRecord, Identity, Role, Trust};
use rustix::time::{ClockId, clock_gettime};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};

/// Messages in flight at once.
const BATCHES: [usize; 4] = [1, 3, 10, 100];
const ROUNDS: usize = 20_000;
/// A REGISTER of a softphone.
const MESSAGE_BYTES: usize = 700;
const PACKETS: u32 = 1_000_000;
/// G.711, 20 ms.
const PACKET_BYTES: usize = 172;

/// Measures all parts and prints them.
pub(crate) fn run() -> Result<()> {
    println!("link, µs of CPU for each message of {MESSAGE_BYTES} bytes sent and received\n\nbatch   core   edge");
    for batch in BATCHES {
        let (core, edge) = link(batch)?;
        println!("{batch:>5} {core:>6.2} {edge:>6.2}");
    }
    let (outward, inward) = engine()?;
    println!("\ncore's media engine, ns of CPU for each packet: {outward:.0} outward, {inward:.0} inward");
    lists::run()?;
    stanza::run()?;
    chat::run()
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// One end of a link: echoes, or counts what comes.
#[derive(Default)]
struct End {
    echo: bool,
    outbox: RefCell<Option<Rc<Outbox>>>,
    received: Cell<usize>,
    changed: Notify,
}

/// What a link holds of its end.
#[derive(Clone)]
struct Host(Rc<End>);

impl LinkHost for Host {
    fn next_link(&self) -> LinkId {
        LinkId(1)
    }

    fn link_opened(&self, _link: LinkId, _peer: NodeId, _role: Role, _address: SocketAddr, outbox: Rc<Outbox>) {
        *self.0.outbox.borrow_mut() = Some(outbox);
        self.0.changed.notify_one();
    }

    fn link_received(&self, _link: LinkId, bytes: Bytes) {
        self.0.received.set(self.0.received.get() + bytes.len());
        if self.0.echo {
            // What does not fit closes the link, which the other side notices.
            if let Some(outbox) = &*self.0.outbox.borrow() {
                let _ = outbox.push(bytes);
            }
        } else {
            self.0.changed.notify_one();
        }
    }

    fn link_closed(&self, _link: LinkId, _why: String) {}
}

impl End {
    async fn opened(&self) -> Rc<Outbox> {
        loop {
            if let Some(outbox) = &*self.outbox.borrow() {
                return Rc::clone(outbox);
            }
            self.changed.notified().await;
        }
    }
}

fn on_this_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

fn node(name: &str) -> Result<NodeId> {
    NodeId::new(name).context("a legal name")
}

/// Microseconds for each message: core, edge.
fn link(batch: usize) -> Result<(f64, f64)> {
    let authority = Authority::ephemeral()?;
    let edge = authority.issue(&node("edge1")?, Role::Edge)?;
    let core = authority.issue(&node("core1")?, Role::Core)?;
    let (tell, port) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = std::thread::spawn(move || on_this_thread(serve(edge, tell, stopped)));
    let near = on_this_thread(drive(core, port.recv()?, batch))?;
    let _ = stop.send(());
    let far = serving.join().map_err(|_| anyhow!("the edge's side failed"))??;
    let each = |spent: Duration| spent.as_secs_f64() * 1e6 / (ROUNDS * batch) as f64;
    Ok((each(near), each(far)))
}

async fn serve(
    identity: Identity,
    tell: std::sync::mpsc::Sender<SocketAddr>,
    stopped: oneshot::Receiver<()>,
) -> Result<Duration> {
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    tell.send(tcp.local_addr()?)?;
    let end = Rc::new(End { echo: true, ..End::default() });
    let _listener = listen(Host(Rc::clone(&end)), tcp, Door::Paired(Trust::fixed(identity)))?;
    end.opened().await;
    let before = cpu();
    let _ = stopped.await;
    Ok(cpu() - before)
}

async fn drive(identity: Identity, address: SocketAddr, batch: usize) -> Result<Duration> {
    let record = EdgeRecord { node: node("edge1")?, role: Role::Edge, address: address.to_string(), key_hash: [0; 32] };
    let end = Rc::new(End::default());
    let _dialler = dial(Host(Rc::clone(&end)), &Trust::fixed(identity), &record, Random::from_seed([4; 32]));
    let outbox = end.opened().await;
    let message = Bytes::from(vec![b'x'; MESSAGE_BYTES]);
    let before = cpu();
    for _ in 0..ROUNDS {
        end.received.set(0);
        for _ in 0..batch {
            outbox.push(message.clone())?;
        }
        while end.received.get() < batch * MESSAGE_BYTES {
            end.changed.notified().await;
        }
    }
    Ok(cpu() - before)
}

/// Nanoseconds for each packet: outward, inward.
fn engine() -> Result<(f64, f64)> {
    let key = || SrtpKey::new(CryptoSuite::AesCm128HmacSha1_80, &[1; 30]).context("a key");
    let described = (SocketAddr::from(([10, 0, 0, 7], 5_004)), SocketAddr::from(([10, 0, 0, 7], 5_005)));
    let rule = InsideRelay {
        peer: node("edge1")?,
        relay: RelayId(1),
        ports: PortPair { rtp: 36_000 },
        party: InsideParty { described: Some(described), security: LegSecurity::Plain, mux: false },
        early: Vec::new(),
        outside: LegSecurity::Srtp { receive: key()?, send: key()? },
        carriage: Carriage::Rtp,
        client_timeout: None,
    };
    let mut engine = InsideEngine::new(rule, Random::from_seed([1; 32]), Moment::ZERO);
    let mut packets = Vec::with_capacity(PACKETS as usize);
    let before = cpu();
    for number in 0..PACKETS {
        let mut buffer = [0_u8; PACKET_BYTES + 10];
        buffer[0] = 0x80;
        buffer[2..4].copy_from_slice(&number.to_be_bytes()[2..]);
        let length = engine
            .handle_from_inside(Component::Rtp, described.0, &mut buffer, PACKET_BYTES, Moment::ZERO)
            .map_err(|reason| anyhow!("a packet was refused: {reason:?}"))?;
        packets.push((buffer, length.len));
    }
    let outward = cpu() - before;
    let before = cpu();
    for (buffer, length) in &mut packets {
        let opened = engine.handle_from_link(Component::Rtp, (0, true), buffer, *length, Moment::ZERO);
        opened.outcome.map_err(|reason| anyhow!("a packet was refused: {reason:?}"))?;
    }
    let each = |spent: Duration| spent.as_secs_f64() * 1e9 / f64::from(PACKETS);
    Ok((each(outward), each(cpu() - before)))
}
