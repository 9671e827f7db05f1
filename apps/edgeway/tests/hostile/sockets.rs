//! The same attack over real sockets: a core that runs, a registrar that listens, a machine inside that must
//! not hear anything, and an edge with a valid certificate and bad intentions.

use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::spawn;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use edgeway_config::parse_core;
use edgeway_core_node::CoreNode;
use edgeway_link::frame::Frame;
use edgeway_model::{LinkId, Moment, NodeId, Random, Role};
use edgeway_runtime::link::{Door, LinkHost, listen};
use edgeway_runtime::outbox::Outbox;
use edgeway_runtime::pki::tls::link_server_config;
use edgeway_runtime::pki::{Authority, EdgeRecord, Identity, Trust};
use edgeway_runtime::service::{self, CoreKeys, Hooks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::{Forger, resident_bytes};
use crate::{MEMORY_MAX, hello, node};

/// Frames over sockets: the parts the value does not see need no million.
const FRAMES: u64 = 10_000;

/// The hostile edge, as its link tasks see it.
#[derive(Default)]
struct Taken {
    links: Cell<u32>,
    outbox: RefCell<Option<Rc<Outbox>>>,
    closed: RefCell<Vec<String>>,
}

#[derive(Clone, Default)]
struct Host(Rc<Taken>);

impl LinkHost for Host {
    fn next_link(&self) -> LinkId {
        self.0.links.set(self.0.links.get() + 1);
        LinkId(self.0.links.get())
    }

    fn link_opened(&self, _link: LinkId, _peer: NodeId, _role: Role, _address: SocketAddr, outbox: Rc<Outbox>) {
        let _ = outbox.push(Frame::Hello(hello("edge2")).encode());
        *self.0.outbox.borrow_mut() = Some(outbox);
    }

    fn link_received(&self, _link: LinkId, _bytes: Bytes) {}

    fn link_closed(&self, _link: LinkId, why: String) {
        *self.0.outbox.borrow_mut() = None;
        self.0.closed.borrow_mut().push(why);
    }
}

/// Counts who connects there, and reads what they say.
fn counting(listener: TcpListener) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    spawn(move || {
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            spawn(move || std::io::copy(&mut &stream, &mut std::io::sink()));
        }
    });
    count
}

fn port() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = tcp.local_addr().expect("bound");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

pub(crate) fn attack() {
    let registrar = TcpListener::bind("127.0.0.1:0").expect("a registrar");
    let inside = TcpListener::bind("127.0.0.9:5060").or_else(|_| TcpListener::bind("127.0.0.9:0")).expect("inside");
    let (registrar_at, inside_at) = (registrar.local_addr().expect("bound"), inside.local_addr().expect("bound"));
    let (registrar, inside) = (counting(registrar), counting(inside));
    let authority = Authority::ephemeral().expect("a CA");
    let edge = authority.issue(&node("edge2"), Role::Edge).expect("a certificate");
    let core = authority.issue(&node("core1"), Role::Core).expect("a certificate");
    let (link_at, sip) = (port(), port());
    let text = format!(
        "node = \"core1\"\ndomains = [\"example.com\"]\n[sip]\nlisten = [\"{sip}\"]\n\
         registrars = [\"tcp:{registrar_at}\"]\n[media]\naddress = \"127.0.0.1\"\nports = \"11200-11399\"\n"
    );
    let settings = parse_core(&text, "test").expect("good settings");
    let record = EdgeRecord { node: node("edge2"), role: Role::Edge, address: link_at.to_string(), key_hash: [0; 32] };
    let (stop, stopped) = service::stop();
    let (ready, started) = channel();
    let running = spawn(move || {
        let node = CoreNode::new((&settings).into(), Random::from_seed([1; 32]), Moment::ZERO);
        let keys = CoreKeys::Memory { identity: Box::new(core), edges: vec![record] };
        let ready = Box::new(move |_| {
            let _ = ready.send(());
        });
        let hooks = Hooks { ready: Some(ready), ..Hooks::default() };
        service::run_core(&settings, node, keys, hooks, stopped).map_err(|fault| fault.to_string())
    });
    started.recv_timeout(Duration::from_secs(20)).expect("the core runs");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        speak(edge.clone(), link_at, inside_at).await;
        flood(&edge, link_at).await;
    });
    assert_eq!(inside.load(Ordering::Relaxed), 0, "a machine inside was reached");
    assert!(registrar.load(Ordering::Relaxed) >= 1, "the core has a connection to its registrar");
    stop.pull();
    running.join().expect("ended").expect("in good order");
}

/// Hostile frames, on as many links as it takes.
async fn speak(identity: Identity, at: SocketAddr, inside: SocketAddr) {
    let host = Host::default();
    let tcp = tokio::net::TcpListener::bind(at).await.expect("the link port");
    let listener = listen(host.clone(), tcp, Door::Paired(Trust::fixed(identity))).expect("listening");
    let (mut forger, mut sent, mut start, mut peak) = (Forger::new(5).patient(), 0, 0, 0);
    let until = Instant::now() + Duration::from_secs(120);
    while sent < FRAMES {
        assert!(Instant::now() < until, "only {sent} frames in two minutes: {:?}", host.0.closed.borrow());
        let outbox = host.0.outbox.borrow().clone();
        if let Some(outbox) = outbox.filter(|outbox| outbox.queued_bytes() < 1 << 20) {
            let mut bytes = BytesMut::new();
            for _ in 0..200 {
                forger.forge(&mut bytes);
                sent += 1;
            }
            let text = Bytes::from(forged_for(inside));
            let frame = Frame::FromClient { flow: edgeway_model::FlowId(2), peer: inside, sip: text };
            bytes.extend_from_slice(&frame.encode());
            let _ = outbox.push(bytes.freeze());
        }
        sleep(Duration::from_millis(2)).await;
        if start == 0 && sent >= 1_000 {
            start = resident_bytes();
        }
        peak = peak.max(resident_bytes());
    }
    assert!(peak <= start + MEMORY_MAX, "memory grew by {} MiB", (peak - start) >> 20);
    let closed = host.0.closed.borrow();
    let told = closed.iter().filter(|why| why.starts_with("closed by the peer: ") && !why.ends_with("reason")).count();
    assert!(told >= 1, "the core says why it closes: {closed:?}");
    drop(closed);
    drop(listener);
}

/// A request with a Route to the machine inside.
fn forged_for(inside: SocketAddr) -> String {
    format!(
        "MESSAGE sip:x@{inside} SIP/2.0\r\nVia: SIP/2.0/TLS edge2.example.com:5061;branch=z9hG4bKinside\r\n\
         Route: <sip:{inside};transport=tcp;lr>\r\nMax-Forwards: 70\r\nFrom: <sip:a@example.com>;tag=1\r\n\
         To: <sip:b@example.com>;tag=2\r\nCall-ID: inside\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
    )
}

/// HTTP/2 by hand: PING after PING. The core must end the connection.
async fn flood(identity: &Identity, at: SocketAddr) {
    let tcp = loop {
        match tokio::net::TcpListener::bind(at).await {
            Ok(tcp) => break tcp,
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    };
    let acceptor = TlsAcceptor::from(link_server_config(identity).expect("a configuration"));
    let mut tls = loop {
        let (stream, _) = tcp.accept().await.expect("the core dials");
        if let Ok(tls) = acceptor.accept(stream).await {
            break tls;
        }
    };
    let frame = |kind: u8, payload: &[u8]| {
        let mut frame = BytesMut::new();
        frame.put_uint(payload.len() as u64, 3);
        frame.put_slice(&[kind, 0, 0, 0, 0, 0]);
        frame.put_slice(payload);
        frame
    };
    let mut opening = BytesMut::from(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..]);
    opening.extend_from_slice(&frame(4, &[]));
    tls.write_all(&opening).await.expect("the preface");
    let pings = frame(6, &[1; 8]).repeat(50);
    let ended = timeout(Duration::from_secs(10), async {
        let (mut read, mut write) = tokio::io::split(tls);
        let drained = async {
            let mut buffer = [0; 4_096];
            while matches!(read.read(&mut buffer).await, Ok(1..)) {}
        };
        let flooded = async {
            let mut pings_sent = 0;
            while write.write_all(&pings).await.is_ok() && write.flush().await.is_ok() && pings_sent < 1_000_000 {
                pings_sent += 50;
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = drained => {}
            () = flooded => {}
        }
    });
    ended.await.expect("the core ends a connection that floods");
}
