//! The chat carrier alone: what a message of 200 bytes costs that goes from an edge to a core and back, over real TLS.
//!
//! Each end is on a thread of its own. The core sends back what it gets, as a server does that has the message's receiver on the same edge: one
//! message relayed is one that crosses the carrier twice.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use edgeway_model::chat::ChatOpening;
use edgeway_model::sign_in::SignInFact;
use edgeway_model::{LinkId, NodeId};
use edgeway_runtime::chat::{Carriers, ChatStream, Item};
use edgeway_runtime::http::{Body, HttpHandle, Inside, LocalFuture, Part, Teller};
use edgeway_runtime::link::{CallerHello, Carries, Door, LinkHost, listen};
use edgeway_runtime::outbox::Outbox;
use edgeway_runtime::pki::tls::bulk_client_config;
use edgeway_runtime::pki::{Authority, Role, Trust};
use hyper::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::{cpu, node, on_this_thread};

const STREAMS: usize = 1_000;
/// A message of a few words, with its XMPP.
const MESSAGE_BYTES: usize = 200;
const PHASE: Duration = Duration::from_secs(4);
/// Messages a second, evenly; without a rate, as fast as they come back, one on each stream at a time.
const RATES: [Option<u32>; 5] = [Some(200), Some(1_000), Some(2_000), Some(4_000), None];

/// What one phase cost, µs of CPU for each message, and how many there were a second.
struct Cost {
    edge: f64,
    core: f64,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Measures, and prints.
pub(super) fn run() -> Result<()> {
    println!(
        "\nchat carrier, {STREAMS} streams, µs of CPU for each message of {MESSAGE_BYTES} bytes there and back\n\n\
         rate       per s   edge   core   both   p50 ms   p99 ms"
    );
    on_this_thread(async {
        let edge = Edge::start().await?;
        for rate in RATES {
            let cost = edge.phase(rate).await?;
            let name = rate.map_or_else(|| "saturated".to_owned(), |rate| rate.to_string());
            println!(
                "{name:<9} {:>6.0} {:>6.2} {:>6.2} {:>6.2} {:>8.2} {:>8.2}",
                cost.per_second,
                cost.edge,
                cost.core,
                cost.edge + cost.core,
                cost.p50_ms,
                cost.p99_ms
            );
        }
        Ok(())
    })
}

/// A core that sends back what it gets, and says how much CPU its thread has used.
struct Echo;

impl Inside for Echo {
    fn serve(self: Rc<Self>, _: NodeId, _: Request<Body>) -> LocalFuture<'static, Response<Body>> {
        Box::pin(std::future::pending())
    }

    fn chat(self: Rc<Self>, _: NodeId, _: ChatOpening, stream: ChatStream) -> LocalFuture<'static, ()> {
        Box::pin(async move {
            while let Item::Bytes(bytes) = stream.receive().await {
                if stream.room().await.is_ok() {
                    stream.send(bytes);
                }
            }
        })
    }

    fn told(&self, _: SignInFact) {}

    fn operate(
        self: Rc<Self>,
        _: String,
        _: serde_json::Value,
    ) -> LocalFuture<'static, Result<serde_json::Value, String>> {
        Box::pin(async { serde_json::to_value(cpu()).map_err(|error| error.to_string()) })
    }
}

#[derive(Clone)]
struct Host(Rc<Carriers>);

impl LinkHost for Host {
    fn next_link(&self) -> LinkId {
        LinkId(1)
    }

    fn link_opened(&self, _: LinkId, _: NodeId, _: Role, _: SocketAddr, _: Rc<Outbox>) {}

    fn link_received(&self, _: LinkId, _: Bytes) {}

    fn link_closed(&self, _: LinkId, _: String) {}

    fn beside(&self, hello: CallerHello) {
        if hello.carries == Carries::Chat {
            self.0.adopt(hello);
        }
    }
}

/// What the streams of the edge share.
#[derive(Default)]
struct Shared {
    /// Messages that have come back, and when they were sent if they wait.
    back: Cell<usize>,
    latencies: std::cell::RefCell<Vec<Duration>>,
    /// Whether each message that comes back is answered by the next.
    again: Cell<bool>,
}

struct Stream {
    stream: ChatStream,
    sent: Cell<Option<Instant>>,
}

struct Edge {
    core: HttpHandle,
    streams: Vec<Rc<Stream>>,
    shared: Rc<Shared>,
    message: Bytes,
    _listener: edgeway_runtime::link::Listener,
}

impl Edge {
    async fn start() -> Result<Self> {
        let authority = Authority::ephemeral()?;
        let carriers = Rc::new(Carriers::new(Teller::new().0));
        let identity = authority.issue(&node("edge1")?, Role::Edge)?;
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        let address = tcp.local_addr()?;
        let listener = listen(Host(Rc::clone(&carriers)), tcp, Door::Paired(Trust::fixed(identity)))?;
        let identity = authority.issue(&node("core1")?, Role::Core)?;
        let make = Box::new(|_| Ok(Rc::new(Echo) as Rc<dyn Inside>));
        let core = HttpHandle::start(Part::Inside(make), Teller::new().0)?;
        core.dial(node("edge1")?, address.to_string(), bulk_client_config(&identity, &node("edge1")?)?);
        let begun = Instant::now();
        let carrier = loop {
            if let Some(carrier) = carriers.ranked("").pop() {
                break carrier;
            }
            ensure!(begun.elapsed() < Duration::from_secs(10), "no carrier comes");
            sleep(Duration::from_millis(1)).await;
        };
        let (shared, message) = (Rc::<Shared>::default(), Bytes::from(vec![b'x'; MESSAGE_BYTES]));
        let mut streams = Vec::new();
        for number in 0..STREAMS {
            let client = SocketAddr::from(([192, 0, 2, 1], 5_000));
            let opening = ChatOpening { number: number as u64, client, domain: "example.com".to_owned() };
            let stream = Rc::new(Stream { stream: carrier.open(&opening)?, sent: Cell::new(None) });
            spawn_local(receive(Rc::clone(&stream), Rc::clone(&shared), message.clone()));
            streams.push(stream);
        }
        Ok(Self { core, streams, shared, message, _listener: listener })
    }

    async fn core_cpu(&self) -> Result<Duration> {
        let asked = self.core.operate("cpu".to_owned(), serde_json::Value::Null);
        let answer = timeout(Duration::from_secs(10), asked).await??.map_err(|error| anyhow!(error))?;
        Ok(serde_json::from_value(answer)?)
    }

    async fn phase(&self, rate: Option<u32>) -> Result<Cost> {
        let (edge_before, core_before, back_before) = (cpu(), self.core_cpu().await?, self.shared.back.get());
        self.shared.latencies.borrow_mut().clear();
        let begun = Instant::now();
        match rate {
            Some(rate) => {
                let (due, mut sends) = mpsc::unbounded_channel();
                // A timer of the runtime has steps of a millisecond: that alone would gather.
                let clock = std::thread::spawn(move || tick(rate, &due));
                let mut turn = 0;
                while sends.recv().await.is_some() {
                    let stream = &self.streams[turn % STREAMS];
                    stream.sent.set(Some(Instant::now()));
                    stream.stream.send(self.message.clone());
                    turn += 1;
                }
                clock.join().map_err(|_| anyhow!("the clock failed"))?;
                let all = async {
                    while self.shared.back.get() - back_before < turn {
                        sleep(Duration::from_millis(1)).await;
                    }
                };
                timeout(Duration::from_secs(10), all).await.context("messages are lost")?;
            }
            None => {
                self.shared.again.set(true);
                for stream in &self.streams {
                    stream.sent.set(Some(Instant::now()));
                    stream.stream.send(self.message.clone());
                }
                sleep(PHASE).await;
                self.shared.again.set(false);
            }
        }
        let (elapsed, count) = (begun.elapsed(), self.shared.back.get() - back_before);
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / count as f64;
        let (edge, core) = (each(cpu() - edge_before), each(self.core_cpu().await? - core_before));
        sleep(Duration::from_millis(200)).await;
        let mut latencies = self.shared.latencies.take();
        latencies.sort_unstable();
        let at = |part: usize| latencies.get(latencies.len() * part / 100).map_or(0.0, |at| at.as_secs_f64() * 1e3);
        Ok(Cost { edge, core, per_second: count as f64 / elapsed.as_secs_f64(), p50_ms: at(50), p99_ms: at(99) })
    }
}

/// Says when a message is due.
fn tick(rate: u32, due: &mpsc::UnboundedSender<()>) {
    let (begun, step) = (Instant::now(), Duration::from_secs(1) / rate);
    let mut number = 0;
    while begun.elapsed() < PHASE {
        let at = begun + step * number;
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        if due.send(()).is_err() {
            return;
        }
        number += 1;
    }
}

async fn receive(stream: Rc<Stream>, shared: Rc<Shared>, message: Bytes) {
    let mut got = 0;
    while let Item::Bytes(bytes) = stream.stream.receive().await {
        got += bytes.len();
        while got >= MESSAGE_BYTES {
            got -= MESSAGE_BYTES;
            shared.back.set(shared.back.get() + 1);
            if let Some(sent) = stream.sent.take() {
                shared.latencies.borrow_mut().push(sent.elapsed());
            }
            if shared.again.get() {
                stream.sent.set(Some(Instant::now()));
                stream.stream.send(message.clone());
            }
        }
    }
}
