//! A node that does what the bytes it receives tell it to, a reactor around it, and clients.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::world::{Deadline, FlowCommand, FlowEvent, Node, Transport};
use edgeway_model::{FlowId, Input, Moment, Output};
use edgeway_runtime::clock::Clock;
use edgeway_runtime::handshake::HandshakeCounters;
use edgeway_runtime::listen::{bind_tcp, serve_tcp, serve_tls};
use edgeway_runtime::reactor::{Reactor, ReactorLimits};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What the node has been told, in order.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) inputs: Vec<(Moment, Input)>,
    /// When the node wants ticks.
    pub(crate) deadlines: VecDeque<Moment>,
    /// What it does next, whatever comes in.
    pub(crate) outputs: VecDeque<Output>,
}

impl Log {
    fn flow_events(&self) -> impl Iterator<Item = (FlowId, &FlowEvent)> {
        self.inputs.iter().filter_map(
            |(_, input)| {
                if let Input::Flow { flow, event } = input { Some((*flow, event)) } else { None }
            },
        )
    }

    /// The flows that stood, in order.
    pub(crate) fn opened(&self) -> Vec<FlowId> {
        let opened = self.flow_events().filter(|(_, event)| matches!(event, FlowEvent::Opened { .. }));
        opened.map(|(flow, _)| flow).collect()
    }

    /// How often exactly these bytes came in one piece.
    pub(crate) fn received(&self, wanted: &[u8]) -> usize {
        self.flow_events()
            .filter(|(_, event)| matches!(event, FlowEvent::Received { bytes } if bytes == wanted))
            .count()
    }

    /// Why flows ended, in order.
    pub(crate) fn closed(&self) -> Vec<String> {
        self.flow_events()
            .filter_map(|(_, event)| if let FlowEvent::Closed { why } = event { Some(why.clone()) } else { None })
            .collect()
    }
}

/// Echoes; `close!` closes after the echo, `many!` is answered in ten pieces, `panic!` panics.
pub(crate) struct Toy(pub(crate) Rc<RefCell<Log>>);

impl Node for Toy {
    fn handle(&mut self, input: Input, now: Moment) {
        let mut log = self.0.borrow_mut();
        if matches!(input, Input::Tick) && log.deadlines.front().is_some_and(|at| *at <= now) {
            log.deadlines.pop_front();
        }
        if let Input::Flow { flow, event: FlowEvent::Received { bytes } } = &input {
            assert!(&bytes[..] != b"panic!", "the node was told to panic");
            log.outputs.extend(answer(*flow, bytes));
        }
        if let Input::Datagram { local, peer, bytes } = &input {
            let output = Output::Datagram { local: *local, peer: *peer, bytes: bytes.clone() };
            log.outputs.push_back(output);
        }
        log.inputs.push((now, input));
    }

    fn poll(&mut self) -> Option<Output> {
        self.0.borrow_mut().outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Deadline> {
        self.0.borrow().deadlines.front().map(|at| Deadline { at: *at, why: "test" })
    }
}

fn answer(flow: FlowId, bytes: &Bytes) -> Vec<Output> {
    let pieces = if &bytes[..] == b"many!" {
        (0..10).map(|piece| vec![b'0' + piece; 100].into()).collect()
    } else {
        vec![bytes.clone()]
    };
    let mut commands: Vec<_> = pieces.into_iter().map(|bytes| FlowCommand::Send { bytes }).collect();
    if bytes.windows(6).any(|window| window == b"close!") {
        commands.push(FlowCommand::Close { why: "told to" });
    }
    commands.into_iter().map(|command| Output::Flow { flow, command }).collect()
}

/// A reactor with a toy node that listens with TLS and TCP, and a client that trusts it.
pub(crate) struct World {
    pub(crate) log: Rc<RefCell<Log>>,
    pub(crate) reactor: Rc<Reactor<Toy>>,
    pub(crate) tls: SocketAddr,
    pub(crate) tcp: SocketAddr,
    roots: Arc<RootCertStore>,
}

/// Runs a test on a reactor's thread; it fails if it takes longer than half a minute.
pub(crate) fn run<F: Future<Output = ()>>(limits: ReactorLimits, test: impl FnOnce(World) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let world = World::new(limits);
        tokio::time::timeout(Duration::from_secs(30), test(world)).await.expect("the test hangs");
    });
}

impl World {
    fn new(limits: ReactorLimits) -> Self {
        let log = Rc::<RefCell<Log>>::default();
        let reactor = Reactor::with_limits(Toy(Rc::clone(&log)), Clock::start(), limits);
        let any: SocketAddr = "127.0.0.1:0".parse().expect("address");
        let (tls, tcp) = (bind_tcp("TLS", any).expect("bind"), bind_tcp("TCP", any).expect("bind"));
        let addresses = (tls.local_addr().expect("bound"), tcp.local_addr().expect("bound"));
        let (config, roots) = identity();
        serve_tls(&reactor, tls, config).expect("serve");
        serve_tcp(&reactor, tcp).expect("serve");
        tokio::task::spawn_local(Rc::clone(&reactor).run());
        Self { log, reactor, tls: addresses.0, tcp: addresses.1, roots }
    }

    /// A client with TLS, of one version only if `version` says so.
    pub(crate) async fn connect(&self, version: Option<&'static SupportedProtocolVersion>) -> TlsStream<TcpStream> {
        self.try_connect(version).await.expect("handshake")
    }

    pub(crate) async fn try_connect(
        &self,
        version: Option<&'static SupportedProtocolVersion>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.tls).await?;
        self.connector(version).connect(server_name(), tcp).await
    }

    /// A client over something other than its own socket.
    pub(crate) async fn connect_over<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        version: &'static SupportedProtocolVersion,
    ) -> TlsStream<S> {
        self.connector(Some(version)).connect(server_name(), stream).await.expect("handshake")
    }

    fn connector(&self, version: Option<&'static SupportedProtocolVersion>) -> TlsConnector {
        let versions: Vec<_> = version.map_or(rustls::ALL_VERSIONS.to_vec(), |version| vec![version]);
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&versions)
            .expect("versions")
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    /// Waits until the log says so.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut(&Log) -> bool) {
        for _ in 0..2_000 {
            if holds(&self.log.borrow()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never: {what}; closed: {:?}", self.log.borrow().closed());
    }

    /// Waits until a counter of the handshake threads says so.
    pub(crate) async fn counted(&self, count: u64, counter: impl Fn(&HandshakeCounters) -> &AtomicU64) {
        let counters = self.reactor.handshake_counters();
        self.until("the counter", |_| counter(&counters).load(Ordering::Relaxed) == count).await;
    }

    /// Makes the node do something at once.
    pub(crate) fn order(&self, outputs: impl IntoIterator<Item = Output>) {
        self.log.borrow_mut().outputs.extend(outputs);
        self.reactor.input(Input::Tick);
    }

    pub(crate) fn dial(&self, sequence: u64, peer: SocketAddr, transport: Transport) -> FlowId {
        self.dial_as(sequence, peer, transport, None)
    }

    /// Dials somebody whose certificate must bear a name.
    pub(crate) fn dial_as(&self, sequence: u64, peer: SocketAddr, transport: Transport, name: Option<&str>) -> FlowId {
        let flow = FlowId::dialled(0, sequence);
        let name = name.map(str::to_owned);
        self.order([
            Output::Flow { flow, command: FlowCommand::Dial { peer, transport, name } },
            Output::Flow { flow, command: FlowCommand::Send { bytes: Bytes::from_static(b"first") } },
        ]);
        flow
    }
}

fn server_name() -> ServerName<'static> {
    ServerName::try_from("edge.example").expect("name")
}

/// A self-signed certificate for `edge.example`, and who trusts it.
fn identity() -> (Arc<ServerConfig>, Arc<RootCertStore>) {
    let made = rcgen::generate_simple_self_signed(vec!["edge.example".to_owned()]).expect("certificate");
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("key");
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("root");
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("pair");
    (Arc::new(config), Arc::new(roots))
}
