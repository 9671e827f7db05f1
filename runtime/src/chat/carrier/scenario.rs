//! Carriers over real TLS: an edge's end here, cores on threads of their own.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use edgeway_model::chat::{ChatEnd, ChatOpening};
use edgeway_model::sign_in::SignInFact;
use edgeway_model::{LinkId, NodeId, Role};
use http::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use super::super::stream::{ChatStream, Item};
use super::Carriers;
use crate::http::{Body, Counts, HttpHandle, Inside, LocalFuture, Part, Teller};
use crate::link::{CallerHello, Carries, Door, LinkHost, Listener, listen};
use crate::outbox::Outbox;
use crate::pki::tls::bulk_client_config;
use crate::pki::{Authority, Trust};

fn node(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, future)
}

/// What a core has seen.
#[derive(Default)]
struct Seen {
    openings: Mutex<Vec<(NodeId, ChatOpening)>>,
    /// Of streams that are over.
    ends: Mutex<Vec<ChatEnd>>,
    live: AtomicUsize,
}

/// A core that does with a stream what its domain says.
struct Fake(Arc<Seen>);

impl Inside for Fake {
    fn serve(self: Rc<Self>, _: NodeId, _: Request<Body>) -> LocalFuture<'static, Response<Body>> {
        Box::pin(std::future::pending())
    }

    fn chat(self: Rc<Self>, edge: NodeId, opening: ChatOpening, stream: ChatStream) -> LocalFuture<'static, ()> {
        let domain = opening.domain.clone();
        self.0.openings.lock().unwrap().push((edge, opening));
        self.0.live.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let end = match domain.as_str() {
                "echo" => echo(&stream).await,
                "signs" => {
                    stream.send(Bytes::from_static(b"before"));
                    stream.sign_in_refused();
                    stream.signed_in();
                    stream.send(Bytes::from_static(b"after"));
                    echo(&stream).await
                }
                "closes" => {
                    stream.send(Bytes::from_static(b"last words"));
                    stream.end(ChatEnd::Closed);
                    echo(&stream).await
                }
                "gone" => ChatEnd::Broken,
                "deaf" => std::future::pending().await,
                "floods" => {
                    let more = Bytes::from(vec![b'x'; 10_000]);
                    while stream.room().await.is_ok() {
                        stream.send(more.clone());
                    }
                    ChatEnd::Broken
                }
                other => panic!("{other}"),
            };
            self.0.ends.lock().unwrap().push(end);
            self.0.live.fetch_sub(1, Ordering::SeqCst);
        })
    }

    fn told(&self, _: SignInFact) {}

    fn operate(
        self: Rc<Self>,
        _: String,
        question: serde_json::Value,
    ) -> LocalFuture<'static, Result<serde_json::Value, String>> {
        Box::pin(async move { Ok(question) })
    }
}

async fn echo(stream: &ChatStream) -> ChatEnd {
    loop {
        match stream.receive().await {
            Item::Bytes(bytes) => {
                if stream.room().await.is_ok() {
                    stream.send(bytes);
                }
            }
            Item::SignedIn | Item::SignInRefused => panic!("an edge signs nobody in"),
            Item::End(how) => {
                stream.end(how);
                return how;
            }
        }
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

/// What lies between a core and an edge.
struct Wire {
    begun: Cell<usize>,
    /// Connections up to this carry nothing any more.
    dead: Cell<usize>,
    /// Until when nothing passes at all.
    hole: Cell<Instant>,
}

impl Wire {
    async fn start(to: SocketAddr) -> (Rc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wire = Rc::new(Self { begun: Cell::new(0), dead: Cell::new(0), hole: Cell::new(Instant::now()) });
        let between = Rc::clone(&wire);
        spawn_local(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(to).await.unwrap();
                let number = between.begun.get();
                between.begun.set(number + 1);
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                for (mut from, mut to) in [(near_in, far_out), (far_in, near_out)] {
                    let between = Rc::clone(&between);
                    spawn_local(async move {
                        let mut piece = vec![0; 64 * 1024];
                        while let Ok(count @ 1..) = from.read(&mut piece).await {
                            if number < between.dead.get() {
                                std::future::pending::<()>().await;
                            }
                            sleep(between.hole.get().saturating_duration_since(Instant::now())).await;
                            if to.write_all(&piece[..count]).await.is_err() {
                                return;
                            }
                        }
                    });
                }
            }
        });
        (wire, address)
    }
}

struct Core {
    http: HttpHandle,
    seen: Arc<Seen>,
    serial: Vec<u8>,
}

struct Rig {
    carriers: Rc<Carriers>,
    counts: Arc<Counts>,
    link: SocketAddr,
    authority: Authority,
    next: Cell<u64>,
    _listener: Listener,
}

impl Rig {
    async fn start() -> Self {
        let authority = Authority::ephemeral().unwrap();
        let counts = Arc::<Counts>::default();
        let (teller, _) = Teller::counting(Arc::clone(&counts));
        let carriers = Rc::new(Carriers::new(teller));
        let identity = authority.issue(&node("edge1"), Role::Edge).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = tcp.local_addr().unwrap();
        let listener = listen(Host(Rc::clone(&carriers)), tcp, Door::Paired(Trust::fixed(identity))).unwrap();
        Self { carriers, counts, link, authority, next: Cell::new(1), _listener: listener }
    }

    async fn core(&self, name: &str) -> Core {
        self.core_through(name, self.link).await
    }

    /// One more core; waits until chat reaches it.
    async fn core_through(&self, name: &str, address: SocketAddr) -> Core {
        let before = self.counted("chat_carrier_opened");
        let identity = self.authority.issue(&node(name), Role::Core).unwrap();
        let seen = Arc::<Seen>::default();
        let shared = Arc::clone(&seen);
        let make = Box::new(move |_| Ok(Rc::new(Fake(shared)) as Rc<dyn Inside>));
        let http = HttpHandle::start(Part::Inside(make), Teller::new().0).unwrap();
        http.dial(node("edge1"), address.to_string(), bulk_client_config(&identity, &node("edge1")).unwrap());
        self.until("a core is there", || self.counted("chat_carrier_opened") > before).await;
        let serial = crate::pki::identity::serial_of(identity.certificate()).unwrap();
        Core { http, seen, serial }
    }

    fn counted(&self, what: &str) -> u64 {
        self.counts.read().into_iter().find(|(name, _)| *name == what).map_or(0, |(_, count)| count)
    }

    async fn until(&self, what: &str, done: impl Fn() -> bool) {
        let wait = async {
            while !done() {
                sleep(Duration::from_millis(2)).await;
            }
        };
        assert!(timeout(Duration::from_secs(60), wait).await.is_ok(), "waited in vain until {what}");
    }

    fn open(&self, domain: &str) -> ChatStream {
        let number = self.next.get();
        self.next.set(number + 1);
        let client = SocketAddr::from(([192, 0, 2, 1], 5_000));
        let carrier = self.carriers.ranked("alice@example.com").into_iter().next().expect("a core");
        carrier.open(&ChatOpening { number, client, domain: domain.to_owned() }).expect("room")
    }
}

/// The next item, which has to come.
async fn next(stream: &ChatStream) -> Item {
    timeout(Duration::from_secs(60), stream.receive()).await.expect("something comes")
}

/// So many bytes of a stream.
async fn bytes(stream: &ChatStream, length: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < length {
        match next(stream).await {
            Item::Bytes(bytes) => got.extend_from_slice(&bytes),
            other @ (Item::SignedIn | Item::SignInRefused | Item::End(_)) => {
                panic!("{other:?} after {} bytes", got.len())
            }
        }
    }
    got
}

async fn echoes(stream: &ChatStream, text: &'static str) {
    stream.send(Bytes::from_static(text.as_bytes()));
    assert_eq!(bytes(stream, text.len()).await, text.as_bytes());
}

const BROKEN: Item = Item::End(ChatEnd::Broken);
const CLOSED: Item = Item::End(ChatEnd::Closed);

#[test]
fn what_three_hundred_streams_say_at_once_comes_back_in_order() {
    run(async {
        let rig = Rig::start().await;
        let core = rig.core("core1").await;
        let mut running = Vec::new();
        for number in 0..300_usize {
            let stream = Rc::new(rig.open("echo"));
            running.push(spawn_local(async move {
                // From messages to more than any window.
                let length = if number % 50 == 0 { 300_000 } else { 700 * (1 + number % 7) };
                let wanted: Vec<u8> = (0..length).map(|at| (at * 31 + number).to_le_bytes()[0]).collect();
                let writing = Rc::clone(&stream);
                let said = Bytes::from(wanted.clone());
                let writer = async move {
                    for piece in 0..length.div_ceil(700) {
                        writing.room().await.expect("it is read");
                        writing.send(said.slice(piece * 700..said.len().min(piece * 700 + 700)));
                    }
                    writing.end(ChatEnd::Closed);
                };
                let (got, ()) = tokio::join!(bytes(&stream, length), writer);
                assert!(got == wanted, "stream {number} is not what was said");
                assert_eq!(next(&stream).await, CLOSED);
            }));
        }
        for one in running {
            one.await.unwrap();
        }
        rig.until("the core has seen them end", || core.seen.live.load(Ordering::SeqCst) == 0).await;
        let openings = core.seen.openings.lock().unwrap();
        assert_eq!(openings.len(), 300);
        assert!(openings.iter().all(|(edge, opening)| *edge == node("edge1") && opening.domain == "echo"));
        assert!(core.seen.ends.lock().unwrap().iter().all(|end| *end == ChatEnd::Closed));
        assert_eq!(rig.counted("chat_carrier_ended"), 0);
    });
}

#[test]
fn that_a_client_has_signed_in_comes_where_it_was_said() {
    run(async {
        let rig = Rig::start().await;
        let _core = rig.core("core1").await;
        let stream = rig.open("signs");
        let text = |text: &'static str| Item::Bytes(Bytes::from_static(text.as_bytes()));
        assert_eq!(next(&stream).await, text("before"));
        assert_eq!(next(&stream).await, Item::SignInRefused);
        assert_eq!(next(&stream).await, Item::SignedIn);
        assert_eq!(next(&stream).await, text("after"));
        echoes(&stream, "and on").await;
    });
}

#[test]
fn an_end_is_heard_as_it_was_said_at_either_end() {
    run(async {
        let rig = Rig::start().await;
        let core = rig.core("core1").await;
        let closes = rig.open("closes");
        assert_eq!(bytes(&closes, 10).await, b"last words");
        assert_eq!(next(&closes).await, CLOSED);
        assert_eq!(core.seen.live.load(Ordering::SeqCst), 1, "the core still reads");
        closes.end(ChatEnd::Closed);
        rig.until("the core has heard it", || core.seen.ends.lock().unwrap().len() == 1).await;
        assert_eq!(next(&rig.open("gone")).await, BROKEN);
        let mine = rig.open("echo");
        echoes(&mine, "here").await;
        mine.send(Bytes::from_static(b"my last words"));
        drop(mine);
        rig.until("the core has heard it", || core.seen.ends.lock().unwrap().len() == 3).await;
        assert_eq!(*core.seen.ends.lock().unwrap(), [ChatEnd::Closed, ChatEnd::Broken, ChatEnd::Broken]);
    });
}

#[test]
fn a_stream_that_nobody_reads_holds_up_nobody() {
    run(async {
        let rig = Rig::start().await;
        let _core = rig.core("core1").await;
        let deaf = rig.open("deaf");
        let mut said = 0;
        while timeout(Duration::from_millis(500), deaf.room()).await.is_ok_and(|room| room.is_ok()) {
            deaf.send(Bytes::from(vec![b'x'; 1_000]));
            said += 1_000;
            assert!(said < 1_000_000, "nobody reads it, and it is taken");
        }
        let floods = rig.open("floods");
        echoes(&rig.open("echo"), "others go on").await;
        // What waits here is the window, and comes when it is asked for.
        assert_eq!(bytes(&floods, 200_000).await[..10], [b'x'; 10]);
        echoes(&rig.open("echo"), "and on").await;
    });
}

#[test]
fn when_a_core_ends_its_streams_are_broken_at_once() {
    run(async {
        let rig = Rig::start().await;
        let core = rig.core("core1").await;
        let streams: Vec<_> = (0..50).map(|_| rig.open("echo")).collect();
        for stream in &streams {
            echoes(stream, "here").await;
        }
        core.http.shut_down().await.unwrap_err();
        for stream in &streams {
            assert_eq!(next(stream).await, BROKEN);
        }
        rig.until("the carrier is gone", || rig.carriers.ranked("alice").is_empty()).await;
    });
}

#[test]
fn when_an_edge_closes_its_carriers_the_core_hears_it_at_once() {
    run(async {
        let rig = Rig::start().await;
        let core = rig.core("core1").await;
        let stream = rig.open("echo");
        echoes(&stream, "here").await;
        rig.carriers.close();
        assert_eq!(next(&stream).await, BROKEN);
        rig.until("the core has heard it", || *core.seen.ends.lock().unwrap() == [ChatEnd::Broken]).await;
        rig.until("it dials again", || !rig.carriers.ranked("alice").is_empty()).await;
        echoes(&rig.open("echo"), "here").await;
    });
}

#[test]
fn who_is_revoked_has_no_streams() {
    run(async {
        let rig = Rig::start().await;
        let core = rig.core("core1").await;
        let stream = rig.open("echo");
        echoes(&stream, "here").await;
        rig.carriers.revoked(&BTreeSet::from([vec![1, 2, 3]]));
        echoes(&stream, "still here").await;
        rig.carriers.revoked(&BTreeSet::from([core.serial.clone()]));
        assert_eq!(next(&stream).await, BROKEN);
        assert_eq!(rig.counted("chat_carrier_opened"), 1);
    });
}

#[test]
fn a_newer_connection_takes_new_streams_and_the_older_keeps_its_own() {
    run(async {
        let rig = Rig::start().await;
        let first = rig.core("core1").await;
        let older = rig.open("echo");
        echoes(&older, "here").await;
        let second = rig.core("core1").await;
        // The first has been told that new ones go elsewhere, and dials again: then it has the newest once more.
        rig.until("it dials again", || rig.counted("chat_carrier_opened") >= 3).await;
        let newer = rig.open("echo");
        echoes(&newer, "there").await;
        echoes(&older, "still here").await;
        let openings = |core: &Core| core.seen.openings.lock().unwrap().len();
        assert_eq!(openings(&first) + openings(&second), 2);
        older.end(ChatEnd::Closed);
        assert_eq!(next(&older).await, CLOSED);
    });
}

#[test]
fn a_hole_of_five_seconds_ends_nothing_and_a_dead_path_is_found_in_ten() {
    run(async {
        let rig = Rig::start().await;
        let (wire, address) = Wire::start(rig.link).await;
        let core = rig.core_through("core1", address).await;
        let stream = rig.open("echo");
        echoes(&stream, "here").await;
        wire.hole.set(Instant::now() + Duration::from_secs(5));
        core.http.told(SignInFact::Linked(vec![node("edge1")]));
        rig.carriers.told(&SignInFact::Linked(Vec::new()));
        echoes(&stream, "still here").await;
        assert_eq!(rig.counted("chat_carrier_ended"), 0);
        wire.dead.set(wire.begun.get());
        let died = Instant::now();
        assert_eq!(next(&stream).await, BROKEN);
        let noticed = died.elapsed();
        assert!((Duration::from_secs(6)..Duration::from_secs(30)).contains(&noticed), "{noticed:?}");
        rig.until("the core has noticed, too", || core.seen.ends.lock().unwrap().len() == 1).await;
        rig.until("it has dialled again", || rig.counted("chat_carrier_opened") == 2).await;
        echoes(&rig.open("echo"), "here again").await;
    });
}
