//! Scenarios of the link over loopback: real sockets, real TLS, and a peer that misbehaves.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use edgeway_model::limits::LINK_QUEUE_BYTES_MAX;
use edgeway_model::{LinkId, NodeId, Random};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::{sleep, timeout};

use super::limits::{STRANGERS_PER_ADDRESS_MAX, STREAM_WINDOW_BYTES};
use super::{Dialler, Door, LinkHost, Listener, dial, listen};
use crate::outbox::Outbox;
use crate::pki::limits::INVITE_VALIDITY;
use crate::pki::tests::Scratch;
use crate::pki::{Authority, EdgeRecord, Identity, Invites, JoinDesk, NodeState, Role, pairing, unix_now};

fn node(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, future)
}

/// A host that remembers what it is told.
#[derive(Default)]
struct Recorder {
    next: Cell<u32>,
    open: RefCell<BTreeMap<LinkId, (NodeId, Rc<Outbox>)>>,
    opened: RefCell<Vec<LinkId>>,
    closed: RefCell<Vec<(LinkId, String)>>,
    received: RefCell<BytesMut>,
    received_calls: Cell<u64>,
    echo: Cell<bool>,
    changed: Notify,
}

impl LinkHost for Rc<Recorder> {
    fn next_link(&self) -> LinkId {
        self.next.set(self.next.get() + 1);
        LinkId(self.next.get())
    }

    fn link_opened(&self, link: LinkId, peer: NodeId, _role: Role, _address: SocketAddr, outbox: Rc<Outbox>) {
        assert!(self.open.borrow_mut().insert(link, (peer, outbox)).is_none());
        self.opened.borrow_mut().push(link);
        self.changed.notify_waiters();
    }

    fn link_received(&self, link: LinkId, bytes: Bytes) {
        let open = self.open.borrow();
        let (_, outbox) = open.get(&link).expect("nothing arrives outside opened and closed");
        self.received_calls.set(self.received_calls.get() + 1);
        if self.echo.get() {
            outbox.push(bytes).unwrap();
        } else {
            self.received.borrow_mut().extend_from_slice(&bytes);
            self.changed.notify_waiters();
        }
    }

    fn link_closed(&self, link: LinkId, why: String) {
        assert!(self.open.borrow_mut().remove(&link).is_some(), "closed once, after opened");
        self.closed.borrow_mut().push((link, why));
        self.changed.notify_waiters();
    }
}

impl Recorder {
    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let wait = async {
            while !done(self) {
                let changed = self.changed.notified();
                if !done(self) {
                    changed.await;
                }
            }
        };
        let waited = timeout(Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "waited in vain until {what}; closed: {:?}", self.closed.borrow());
    }

    async fn link_up(&self, count: usize) -> Rc<Outbox> {
        self.until("a link is up", |host| host.opened.borrow().len() >= count && !host.open.borrow().is_empty()).await;
        self.open.borrow().values().next_back().unwrap().1.clone()
    }

    fn reasons(&self) -> Vec<String> {
        self.closed.borrow().iter().map(|(_, why)| why.clone()).collect()
    }
}

/// An edge and a core of one authority, and the address the core dials.
struct Pair {
    authority: Authority,
    edge: Rc<Recorder>,
    core: Rc<Recorder>,
    port: SocketAddr,
    _listener: Listener,
}

impl Pair {
    async fn start() -> Self {
        let authority = Authority::ephemeral().unwrap();
        let identity = authority.issue(&node("edge1"), Role::Edge).unwrap();
        Self::start_as(authority, Door::Paired(identity)).await
    }

    async fn start_as(authority: Authority, door: Door) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = tcp.local_addr().unwrap();
        let (edge, core) = (Rc::<Recorder>::default(), Rc::<Recorder>::default());
        let listener = listen(edge.clone(), tcp, door).unwrap();
        Self { authority, edge, core, port, _listener: listener }
    }

    fn core_identity(&self, name: &str) -> Identity {
        self.authority.issue(&node(name), Role::Core).unwrap()
    }

    fn dial(&self, address: SocketAddr) -> Dialler {
        self.dial_as(&self.core, &self.core_identity("core1"), "edge1", address)
    }

    fn dial_as(&self, host: &Rc<Recorder>, identity: &Identity, edge: &str, address: SocketAddr) -> Dialler {
        let record = EdgeRecord { node: node(edge), address: address.to_string(), key_hash: [0; 32] };
        dial(host.clone(), identity, &record, Random::from_seed([4; 32])).unwrap()
    }
}

/// A wire between the two that can be cut or stopped.
#[derive(Default)]
struct Wire {
    cut: Notify,
    stopped: Cell<bool>,
    resumed: Notify,
}

impl Wire {
    async fn start(to: SocketAddr) -> (Rc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wire = Rc::<Self>::default();
        let this = wire.clone();
        spawn_local(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(to).await.unwrap();
                spawn_local(this.clone().carry(near, far));
            }
        });
        (wire, address)
    }

    async fn carry(self: Rc<Self>, near: TcpStream, far: TcpStream) {
        // Dropping either then sends RST, not FIN.
        SockRef::from(&near).set_linger(Some(Duration::ZERO)).unwrap();
        SockRef::from(&far).set_linger(Some(Duration::ZERO)).unwrap();
        let (mut near_in, mut near_out) = near.into_split();
        let (mut far_in, mut far_out) = far.into_split();
        tokio::select! {
            () = self.cut.notified() => {}
            () = self.pump(&mut near_in, &mut far_out) => {}
            () = self.pump(&mut far_in, &mut near_out) => {}
        }
    }

    async fn pump(&self, from: &mut (impl AsyncReadExt + Unpin), to: &mut (impl AsyncWriteExt + Unpin)) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            while self.stopped.get() {
                self.resumed.notified().await;
            }
            match from.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(length) => {
                    if to.write_all(&buffer[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

fn pattern(length: usize, seed: u8) -> Bytes {
    let mut bytes = vec![0; length];
    Random::from_seed([seed; 32]).fill(&mut bytes);
    bytes.into()
}

#[test]
fn bytes_go_both_ways_in_order_at_every_size() {
    run(async {
        let pair = Pair::start().await;
        let _dialler = pair.dial(pair.port);
        let (from_core, from_edge) = (pair.core.link_up(1).await, pair.edge.link_up(1).await);
        assert_eq!(pair.edge.open.borrow().values().next().unwrap().0, node("core1"));
        assert_eq!(pair.core.open.borrow().values().next().unwrap().0, node("edge1"));
        let sizes = (1..200).chain([16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 300_000, 1 << 20, (3 << 20) + 1]);
        let (mut to_edge, mut to_core) = (BytesMut::new(), BytesMut::new());
        for (n, size) in sizes.enumerate() {
            let (a, b) = (pattern(size, n as u8), pattern(size, !n as u8));
            to_edge.extend_from_slice(&a);
            to_core.extend_from_slice(&b);
            from_core.push(a).unwrap();
            from_edge.push(b).unwrap();
            if n % 3 == 0 {
                yield_now().await;
            }
        }
        pair.edge.until("the edge has all", |host| host.received.borrow().len() >= to_edge.len()).await;
        pair.core.until("the core has all", |host| host.received.borrow().len() >= to_core.len()).await;
        assert!(*pair.edge.received.borrow() == to_edge && *pair.core.received.borrow() == to_core);
        assert!(pair.edge.reasons().is_empty() && pair.core.reasons().is_empty());
    });
}

#[test]
fn what_one_turn_pushes_arrives_as_one_piece() {
    run(async {
        let pair = Pair::start().await;
        let _dialler = pair.dial(pair.port);
        let outbox = pair.core.link_up(1).await;
        pair.edge.link_up(1).await;
        for _ in 0..10 {
            outbox.push(Bytes::from_static(&[7; 600])).unwrap();
        }
        pair.edge.until("all is there", |host| host.received.borrow().len() == 6_000).await;
        assert_eq!(pair.edge.received_calls.get(), 1);
    });
}

#[test]
fn a_stalled_reader_is_bounded_and_closed_and_the_core_dials_again() {
    run(async {
        let pair = Pair::start().await;
        let (wire, address) = Wire::start(pair.port).await;
        let _dialler = pair.dial(address);
        pair.core.link_up(1).await;
        let outbox = pair.edge.link_up(1).await;
        wire.stopped.set(true);
        let mut accepted = 0;
        let piece = pattern(32 * 1024, 1);
        let full = loop {
            if let Err(full) = outbox.push(piece.clone()) {
                break full;
            }
            accepted += piece.len();
            assert!(outbox.queued_bytes() <= LINK_QUEUE_BYTES_MAX);
            yield_now().await;
        };
        // Outside the outbox: one stream window, one turn, and what the system's sockets hold.
        let beyond = accepted - outbox.queued_bytes();
        assert!(beyond < STREAM_WINDOW_BYTES as usize + 8 * 1024 * 1024, "{beyond} bytes escaped the bound");
        // As the reactor does.
        outbox.abandon(full.to_string());
        pair.edge.until("the edge closed", |host| !host.closed.borrow().is_empty()).await;
        assert!(pair.edge.reasons()[0].contains("does not read"), "{:?}", pair.edge.reasons());
        wire.stopped.set(false);
        wire.resumed.notify_waiters();
        pair.edge.link_up(2).await;
    });
}

#[test]
fn a_slow_reader_loses_nothing() {
    run(async {
        let pair = Pair::start().await;
        let (wire, address) = Wire::start(pair.port).await;
        let _dialler = pair.dial(address);
        pair.core.link_up(1).await;
        let outbox = pair.edge.link_up(1).await;
        wire.stopped.set(true);
        let whole = pattern(12 << 20, 9);
        for at in (0..whole.len()).step_by(50_000) {
            outbox.push(whole.slice(at..whole.len().min(at + 50_000))).unwrap();
            yield_now().await;
        }
        outbox.close("drained".to_owned());
        sleep(Duration::from_millis(50)).await;
        wire.stopped.set(false);
        wire.resumed.notify_waiters();
        pair.core.until("the core saw the end", |host| !host.closed.borrow().is_empty()).await;
        let received = pair.core.received.borrow();
        assert_eq!(received.len(), whole.len(), "{:?} {:?}", pair.core.reasons(), pair.edge.reasons());
        assert!(received[..] == whole[..]);
        assert_eq!(pair.core.reasons(), ["closed by the peer: drained"]);
        assert_eq!(pair.edge.reasons(), ["drained"]);
    });
}

#[test]
fn a_reset_is_noticed_at_once_on_both_sides_and_dialled_again() {
    run(async {
        let pair = Pair::start().await;
        let (wire, address) = Wire::start(pair.port).await;
        let dialler = pair.dial(address);
        pair.core.link_up(1).await;
        pair.edge.link_up(1).await;
        for round in 2..5 {
            let since = Instant::now();
            wire.cut.notify_waiters();
            pair.core.until("the core noticed", |host| host.closed.borrow().len() == round - 1).await;
            pair.edge.until("the edge noticed", |host| host.closed.borrow().len() == round - 1).await;
            assert!(since.elapsed() < Duration::from_millis(500), "noticed after {:?}", since.elapsed());
            assert!(dialler.trouble().is_some() || pair.core.opened.borrow().len() == round);
            pair.core.link_up(round).await;
            pair.edge.link_up(round).await;
            assert!(dialler.trouble().is_none());
        }
        let links = pair.core.opened.borrow().clone();
        assert!(links.windows(2).all(|pair| pair[0] != pair[1]), "a reconnect is a new link");
    });
}

#[test]
fn a_close_carries_its_reason_and_the_core_dials_again() {
    run(async {
        let pair = Pair::start().await;
        let _dialler = pair.dial(pair.port);
        let outbox = pair.core.link_up(1).await;
        pair.edge.link_up(1).await;
        outbox.push(Bytes::from_static(b"last words")).unwrap();
        outbox.close("versions differ".to_owned());
        pair.edge.until("the edge knows", |host| !host.closed.borrow().is_empty()).await;
        assert_eq!(&pair.edge.received.borrow()[..], b"last words");
        assert_eq!(pair.edge.reasons(), ["closed by the peer: versions differ"]);
        assert_eq!(pair.core.reasons(), ["versions differ"]);
        pair.core.link_up(2).await;
    });
}

#[test]
fn dropping_the_dialler_closes_the_link_for_good() {
    run(async {
        let pair = Pair::start().await;
        let dialler = pair.dial(pair.port);
        pair.core.link_up(1).await;
        pair.edge.link_up(1).await;
        drop(dialler);
        pair.edge.until("the edge knows", |host| !host.closed.borrow().is_empty()).await;
        pair.core.until("the core knows", |host| !host.closed.borrow().is_empty()).await;
        sleep(Duration::from_millis(300)).await;
        assert_eq!(pair.edge.opened.borrow().len(), 1);
    });
}

#[test]
fn wrong_authority_role_and_name_get_no_link_and_a_reason() {
    run(async {
        let pair = Pair::start().await;
        let foreign = Authority::ephemeral().unwrap().issue(&node("core1"), Role::Core).unwrap();
        let posing = pair.authority.issue(&node("edge2"), Role::Edge).unwrap();
        let cases = [
            (foreign, "edge1", "another CA"),
            (posing, "edge1", "refuses our certificate"),
            (pair.core_identity("core1"), "edge2", "another node answered"),
        ];
        for (identity, edge, says) in cases {
            let dialler = pair.dial_as(&pair.core, &identity, edge, pair.port);
            let since = Instant::now();
            while dialler.trouble().is_none() && since.elapsed() < Duration::from_secs(10) {
                sleep(Duration::from_millis(5)).await;
            }
            let trouble = dialler.trouble().unwrap_or_default();
            assert!(trouble.contains(says), "{trouble}");
        }
        assert!(pair.edge.opened.borrow().is_empty() && pair.core.opened.borrow().is_empty());
    });
}

#[test]
fn two_cores_hold_links_to_one_edge_and_a_second_of_the_same_replaces_the_first() {
    run(async {
        let pair = Pair::start().await;
        let (first, second, twin) = (Rc::<Recorder>::default(), Rc::<Recorder>::default(), Rc::<Recorder>::default());
        let _a = pair.dial_as(&first, &pair.core_identity("core1"), "edge1", pair.port);
        let _b = pair.dial_as(&second, &pair.core_identity("core2"), "edge1", pair.port);
        first.link_up(1).await;
        second.link_up(1).await;
        pair.edge.until("both links are up", |host| host.open.borrow().len() == 2).await;
        let _c = pair.dial_as(&twin, &pair.core_identity("core1"), "edge1", pair.port);
        twin.link_up(1).await;
        first.until("the older one is closed", |host| !host.closed.borrow().is_empty()).await;
        assert_eq!(first.reasons(), ["closed by the peer: replaced by a newer link from the same core"]);
        pair.edge.until("the edge closed it", |host| !host.closed.borrow().is_empty()).await;
        assert_eq!(pair.edge.reasons(), ["replaced by a newer link from the same core"]);
        let (opened, closed) = (pair.edge.opened.borrow().clone(), pair.edge.closed.borrow().clone());
        assert_eq!(opened.len(), 3, "opened before the older one was closed");
        assert_ne!(closed[0].0, opened[2]);
        sleep(Duration::from_millis(300)).await;
        assert_eq!((second.opened.borrow().len(), second.closed.borrow().len()), (1, 0));
        assert_eq!(twin.closed.borrow().len(), 0, "no tug of war");
    });
}

#[test]
fn strangers_on_the_link_port_cost_a_bounded_amount() {
    run(async {
        let pair = Pair::start().await;
        let mut idle = Vec::new();
        for _ in 0..STRANGERS_PER_ADDRESS_MAX {
            idle.push(TcpStream::connect(pair.port).await.unwrap());
        }
        sleep(Duration::from_millis(20)).await;
        let mut one_more = TcpStream::connect(pair.port).await.unwrap();
        let read = timeout(Duration::from_secs(2), one_more.read(&mut [0; 1])).await;
        assert!(matches!(read, Ok(Ok(0) | Err(_))), "closed at once");
        // Each gets what it asks for: nothing.
        for mut stranger in idle {
            stranger.write_all(b"GET / HTTP/1.1\r\nHost: edge\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            let read = timeout(Duration::from_secs(6), stranger.read_to_end(&mut answer)).await;
            assert!(read.is_ok(), "not left hanging");
            assert!(!answer.windows(4).any(|four| four == b"HTTP"));
        }
        let _dialler = pair.dial(pair.port);
        pair.core.link_up(1).await;
    });
}

#[test]
fn an_edge_is_joined_through_its_link_port_and_links_without_a_restart() {
    run(async {
        let (outside, inside) = (Scratch::new("edge"), Scratch::new("core"));
        let desk = Rc::new(JoinDesk::open(outside.path(), node("edge1")).unwrap());
        let pair = Pair::start_as(Authority::ephemeral().unwrap(), Door::Desk(desk.clone())).await;

        // Unpaired and not invited: neither a link nor a join.
        let stranger = pair.core_identity("core1");
        let dialler = pair.dial_as(&pair.core, &stranger, "edge1", pair.port);
        let since = Instant::now();
        while dialler.trouble().is_none() && since.elapsed() < Duration::from_secs(10) {
            sleep(Duration::from_millis(5)).await;
        }
        assert!(dialler.trouble().unwrap().contains("edgeway edge invite"), "{:?}", dialler.trouble());
        drop(dialler);
        let invites = Invites::in_state(outside.path());
        let token = invites.create(&pair.port.to_string(), desk.key(), INVITE_VALIDITY, unix_now()).unwrap();
        invites.withdraw(token.invite_id());
        let error = pairing::join(inside.path(), &node("core1"), &token).await.unwrap_err();
        assert!(error.to_string().contains("has no open invitation"), "{error}");

        let token = invites.create(&pair.port.to_string(), desk.key(), INVITE_VALIDITY, unix_now()).unwrap();
        let joined = pairing::join(inside.path(), &node("core1"), &token).await.unwrap();
        let core = NodeState::load(inside.path()).unwrap().unwrap();
        let _dialler =
            dial(pair.core.clone(), core.identity().unwrap(), &joined.edge, Random::from_seed([5; 32])).unwrap();
        pair.core.link_up(1).await;
        pair.edge.link_up(1).await;
    });
}
