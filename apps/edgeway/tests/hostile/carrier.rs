//! The chat carrier of a hostile edge: it is dialled by a core, has a valid certificate, and says what it likes.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use edgeway_link::chat::{ChatDecoder, ChatFrame};
use edgeway_model::chat::{ChatEnd, ChatOpening};
use edgeway_model::sign_in::SignInFact;
use edgeway_model::{NodeId, Role};
use edgeway_runtime::chat::{ChatStream, Item};
use edgeway_runtime::http::{Body, HttpHandle, Inside, LocalFuture, Part, Teller};
use edgeway_runtime::pki::Authority;
use edgeway_runtime::pki::tls::{bulk_client_config, for_chat, link_server_config};
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::resident_bytes;
use crate::node;

/// What the chat of a hostile edge may cost: the windows inwards, what waits outwards, and the streams themselves.
const CHAT_MEMORY_MAX: u64 = 160 * 1024 * 1024;
const STREAMS: u32 = 8_000;

/// A core that does with a stream what its domain says, and counts streams.
struct Fake(Arc<AtomicU64>);

impl Inside for Fake {
    fn serve(self: Rc<Self>, _: NodeId, _: Request<Body>) -> LocalFuture<'static, Response<Body>> {
        Box::pin(std::future::pending())
    }

    fn chat(self: Rc<Self>, _: NodeId, opening: ChatOpening, stream: ChatStream) -> LocalFuture<'static, ()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            match opening.domain.as_str() {
                // A server that takes nothing; the stream ends when the edge's side of it does.
                "deaf" => {
                    while stream.room().await.is_ok() {
                        sleep(Duration::from_secs(1)).await;
                    }
                }
                "floods" => {
                    while stream.room().await.is_ok() {
                        stream.send(Bytes::from(vec![b'x'; 2_000]));
                    }
                }
                _ => {
                    while let Item::Bytes(bytes) = stream.receive().await {
                        if stream.room().await.is_ok() {
                            stream.send(bytes);
                        }
                    }
                }
            }
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

/// The hostile edge.
struct Taken {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    dials: Cell<u32>,
}

impl Taken {
    /// The core's next chat connection; its bulk connection finds nobody.
    async fn dialled(&self) -> TlsStream<TcpStream> {
        let dialled = async {
            loop {
                let (tcp, _) = self.listener.accept().await.expect("the core dials");
                if let Ok(tls) = self.acceptor.accept(tcp).await {
                    self.dials.set(self.dials.get() + 1);
                    return tls;
                }
            }
        };
        timeout(Duration::from_secs(30), dialled).await.expect("the core dials again")
    }
}

fn opening(number: u32, domain: &str) -> ChatFrame {
    let client = SocketAddr::from(([198, 51, 100, 9], 5_000));
    let opening = ChatOpening { number: u64::from(number), client, domain: domain.to_owned() };
    ChatFrame::Open { stream: number, opening }
}

fn encoded(frames: impl IntoIterator<Item = ChatFrame>) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in frames {
        frame.encode(&mut out);
    }
    out
}

fn data(stream: u32, length: usize) -> ChatFrame {
    ChatFrame::Data { stream, bytes: Bytes::from(vec![b'x'; length]) }
}

/// Says it, and reads until the core ends the connection.
async fn is_ended(mut tls: TlsStream<TcpStream>, said: &[u8], what: &str) {
    let ended = async {
        let mut piece = vec![0; 64 * 1024];
        let (mut read, mut write) = tokio::io::split(&mut tls);
        let said = async {
            // It may be ended in the middle of this.
            let _ = write.write_all(said).await;
            let _ = write.flush().await;
            std::future::pending::<()>().await;
        };
        let heard = async { while matches!(read.read(&mut piece).await, Ok(1..)) {} };
        tokio::select! {
            () = said => {}
            () = heard => {}
        }
    };
    assert!(timeout(Duration::from_secs(30), ended).await.is_ok(), "the core does not mind {what}");
}

/// What breaks the protocol, and what is endless: each ends the connection, and the core dials again.
async fn breaches(taken: &Taken) {
    let open = |number| opening(number, "echo");
    let table: [(&str, Vec<u8>); 8] = [
        ("garbage", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("a frame that is too long", vec![2, 255, 255, 255, 0, 0, 0, 1]),
        ("a stream out of turn", encoded([open(7)])),
        ("data of no stream", encoded([data(1, 10)])),
        ("data beyond the window", encoded([opening(1, "deaf")].into_iter().chain((0..40).map(|_| data(1, 100))))),
        ("what a core says", encoded([open(1), ChatFrame::SignedIn { stream: 1 }])),
        ("more streams than there may be", encoded((1..=16_385).map(open))),
        ("a flood of pings", encoded((0..100_000).map(|_| ChatFrame::Ping))),
    ];
    for (what, said) in table {
        is_ended(taken.dialled().await, &said, what).await;
    }
    // Streams that are opened and ended as fast as it goes: refused one by one, and then no more.
    let churn = encoded((1..=60_000).flat_map(|n| [open(n), ChatFrame::End { stream: n, how: ChatEnd::Broken }]));
    is_ended(taken.dialled().await, &churn, "endless streams").await;
}

/// Reads and counts what the core says, until `done` or for ten seconds.
async fn hear(tls: &mut TlsStream<TcpStream>, decoder: &mut ChatDecoder, mut done: impl FnMut(ChatFrame) -> bool) {
    let mut piece = vec![0; 64 * 1024];
    let heard = async {
        loop {
            let count = tls.read(&mut piece).await.expect("the connection stands");
            assert!(count > 0, "the connection stands");
            let mut bytes = &piece[..count];
            while let Some(frame) = decoder.poll_frame(&mut bytes).expect("a core speaks the protocol") {
                if done(frame) {
                    return;
                }
            }
        }
    };
    let _ = timeout(Duration::from_secs(10), heard).await;
}

/// Every window is filled, and nobody inside reads; every stream has more to say than is taken.
async fn fills(taken: &Taken, streams: &AtomicU64) {
    for (domain, fill) in [("deaf", true), ("floods", false)] {
        let mut tls = taken.dialled().await;
        let before = (resident_bytes(), streams.load(Ordering::Relaxed));
        for number in 1..=STREAMS {
            let mut frames = vec![opening(number, domain)];
            if fill {
                // Small pieces cost what they cost to hold.
                frames.extend((0..31).map(|_| data(number, 2)));
            }
            tls.write_all(&encoded(frames)).await.expect("within the windows");
        }
        tls.flush().await.expect("it is taken");
        let mut decoder = ChatDecoder::default();
        let mut said = 0;
        hear(&mut tls, &mut decoder, |frame| {
            if let ChatFrame::Data { bytes, .. } = frame {
                said += bytes.len();
            }
            false
        })
        .await;
        assert_eq!(streams.load(Ordering::Relaxed) - before.1, u64::from(STREAMS), "all were opened");
        let grown = resident_bytes().saturating_sub(before.0);
        assert!(grown <= CHAT_MEMORY_MAX, "{domain}: memory grew by {} MiB", grown >> 20);
        assert!(said <= STREAMS as usize * 2_048, "no more comes than was asked for: {said} bytes");
        if fill {
            is_ended(tls, &encoded([data(1, 2)]), "one byte beyond the window").await;
        } else {
            // It takes nothing and says nothing: it is dead.
            let silent = Instant::now();
            let mut piece = vec![0; 64 * 1024];
            let ended = async { while matches!(tls.read(&mut piece).await, Ok(1..)) {} };
            timeout(Duration::from_secs(60), ended).await.expect("a silent edge is given up");
            assert!(silent.elapsed() < Duration::from_secs(30), "{:?}", silent.elapsed());
        }
    }
}

pub(crate) fn attack() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let authority = Authority::ephemeral().expect("a CA");
        let edge = authority.issue(&node("edge2"), Role::Edge).expect("a certificate");
        let core = authority.issue(&node("core1"), Role::Core).expect("a certificate");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let acceptor = TlsAcceptor::from(for_chat(&link_server_config(&edge).expect("a configuration")));
        let taken = Taken { listener, acceptor, dials: Cell::new(0) };
        let streams = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&streams);
        let make = Box::new(move |_| Ok(Rc::new(Fake(counted)) as Rc<dyn Inside>));
        let http = HttpHandle::start(Part::Inside(make), Teller::new().0).expect("a core");
        http.dial(node("edge2"), address.to_string(), bulk_client_config(&core, &node("edge2")).expect("usable"));
        breaches(&taken).await;
        fills(&taken, &streams).await;
        // And it serves whoever behaves.
        let mut tls = taken.dialled().await;
        tls.write_all(&encoded([opening(1, "echo"), data(1, 10)])).await.expect("it is taken");
        tls.flush().await.expect("it is taken");
        let mut echoed = false;
        hear(&mut tls, &mut ChatDecoder::default(), |frame| {
            echoed |= frame == data(1, 10);
            echoed
        })
        .await;
        assert!(echoed, "a stream is served");
        assert_eq!(taken.dials.get(), 12, "each breach has ended one connection");
    });
}
