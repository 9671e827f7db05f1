//! What operators ask a hostile edge through a core: it may answer what it likes, or nothing, and costs the core no more than
//! the bounds say; whatever it was not asked ends its link.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::mpsc::channel;
use std::thread::spawn;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use edgeway_config::parse_core;
use edgeway_core_node::CoreNode;
use edgeway_link::Link;
use edgeway_link::engine::Transmit;
use edgeway_model::{Moment, Random, Role};
use edgeway_runtime::operate::{AdminDoor, Administration, OperatorPort, Refusal, RefusalKind};
use edgeway_runtime::pki::tls::link_server_config;
use edgeway_runtime::pki::{Authority, EdgeRecord, Identity};
use edgeway_runtime::service::{self, CoreKeys, Hooks};
use h2::{RecvStream, SendStream};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::resident_bytes;
use crate::{MEMORY_MAX, hello, node};

const ASK: u8 = 1;
const READY: u8 = 2;
const PULL: u8 = 3;
const PIECE: u8 = 4;
const PIECE_BYTES: usize = 32 * 1024;
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// More than anything takes here, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The hostile edge's end of one link.
struct Taken {
    send: SendStream<Bytes>,
    receive: RecvStream,
    arrived: BytesMut,
    /// Ends, with the reason the core gives, when the link does.
    link: JoinHandle<String>,
    _requests: h2::client::SendRequest<Bytes>,
}

/// Waits for the core to dial and goes as far as the streams; `knows`: it opens one for questions.
async fn linked(listener: &tokio::net::TcpListener, identity: &Identity, knows: bool) -> Taken {
    let acceptor = TlsAcceptor::from(link_server_config(identity).expect("a configuration"));
    let tls = loop {
        let (stream, _) = timeout(PATIENCE, listener.accept()).await.expect("in time").expect("the core dials");
        if let Ok(tls) = acceptor.accept(stream).await {
            // The way media takes over TCP is another connection to the same port.
            if tls.get_ref().1.alpn_protocol() == Some(b"edgeway-link/1") {
                break tls;
            }
        }
    };
    let (mut requests, connection) = h2::client::handshake(tls).await.expect("HTTP/2");
    spawn_local(async move { drop(connection.await) });
    let post = |path: &str| {
        let uri = format!("https://link{path}");
        http::Request::builder().method("POST").uri(uri).body(()).expect("a request")
    };
    let (response, sip) = requests.send_request(post("/sip"), false).expect("a stream");
    let sip_in = response.await.expect("an answer").into_body();
    let link = spawn_local(keep_up(sip, sip_in));
    let path = if knows { "/ask" } else { "/nothing" };
    let (response, send) = requests.send_request(post(path), false).expect("a stream");
    let response = response.await.expect("an answer");
    assert_eq!(response.status().as_u16(), if knows { 200 } else { 404 });
    Taken { send, receive: response.into_body(), arrived: BytesMut::new(), link, _requests: requests }
}

/// Says hello and answers keepalives, as an honest edge does.
async fn keep_up(mut send: SendStream<Bytes>, mut receive: RecvStream) -> String {
    let began = Instant::now();
    let now = || Moment::from_secs(1) + began.elapsed();
    let mut link = Link::new(hello("edge2"), node("core1"), Role::Core, None, now());
    loop {
        while let Some(transmit) = link.poll_transmit() {
            if let Transmit::Stream(bytes) = transmit {
                let _ = send.send_data(bytes, false);
            }
        }
        while link.poll_event().is_some() {}
        match timeout(Duration::from_millis(50), receive.data()).await {
            Ok(Some(Ok(bytes))) => {
                let _ = receive.flow_control().release_capacity(bytes.len());
                link.handle_bytes(bytes, now());
            }
            Ok(Some(Err(error))) => return error.to_string(),
            Ok(None) => {
                let trailers = receive.trailers().await.ok().flatten().unwrap_or_default();
                let reason =
                    trailers.get("edgeway-reason").map(|why| String::from_utf8_lossy(why.as_bytes()).into_owned());
                return reason.unwrap_or_default();
            }
            Err(_) => link.handle_timeout(now()),
        }
    }
}

impl Taken {
    fn say(&mut self, kind: u8, id: u32, payload: &[u8]) {
        let mut out = BytesMut::new();
        out.put_u32(u32::try_from(payload.len() + 5).expect("short"));
        out.put_u8(kind);
        out.put_u32(id);
        out.put_slice(payload);
        let _ = self.send.send_data(out.freeze(), false);
    }

    fn ready(&mut self, id: u32, length: usize) {
        self.say(READY, id, &u32::try_from(length).expect("short").to_be_bytes());
    }

    /// The next message of the core: its kind, and which question it is about.
    async fn hears(&mut self) -> (u8, u32) {
        loop {
            if let Some(head) = self.arrived.first_chunk::<4>() {
                let length = u32::from_be_bytes(*head) as usize;
                if self.arrived.len() >= 4 + length {
                    let mut message = self.arrived.split_to(4 + length);
                    message.advance(4);
                    return (message.get_u8(), message.get_u32());
                }
            }
            let bytes = timeout(PATIENCE, self.receive.data()).await.expect("in time").expect("open").expect("bytes");
            let _ = self.receive.flow_control().release_capacity(bytes.len());
            self.arrived.extend_from_slice(&bytes);
        }
    }

    /// Answers so many questions with this text.
    async fn answers(&mut self, mut questions: usize, text: &[u8]) {
        let mut left: std::collections::BTreeMap<u32, &[u8]> = std::collections::BTreeMap::new();
        while questions > 0 {
            let (kind, id) = self.hears().await;
            match kind {
                ASK => {
                    left.insert(id, text);
                    self.ready(id, text.len());
                }
                PULL => {
                    let rest = left.get_mut(&id).expect("asked");
                    let (piece, after) = rest.split_at(rest.len().min(PIECE_BYTES));
                    *rest = after;
                    questions -= usize::from(after.is_empty());
                    self.say(PIECE, id, piece);
                }
                other => panic!("the core says {other}"),
            }
        }
    }

    /// Why the core has ended the link.
    async fn ended(self) -> String {
        timeout(PATIENCE, self.link).await.expect("the core ends the link").expect("in good order")
    }
}

/// Asks until there is a link over which it can be asked or refused.
async fn ask(port: &OperatorPort, path: &str) -> Result<Value, Refusal> {
    let until = Instant::now() + PATIENCE;
    loop {
        let outcome = port.ask(Some(&node("edge2")), path, json!({})).await;
        match &outcome {
            Err(refusal) if refusal.why.contains("linked") || refusal.why.contains("no link") => {
                assert!(Instant::now() < until, "{refusal}");
                sleep(Duration::from_millis(20)).await;
            }
            Ok(_) | Err(_) => return outcome,
        }
    }
}

/// As [`ask`], once the core knows that it may.
async fn ask_knowing(port: &OperatorPort, path: &str) -> Result<Value, Refusal> {
    let until = Instant::now() + PATIENCE;
    loop {
        match ask(port, path).await {
            Err(refusal) if refusal.why.contains("just come up") && Instant::now() < until => {
                sleep(Duration::from_millis(20)).await;
            }
            outcome => return outcome,
        }
    }
}

fn asking(port: &OperatorPort, path: &'static str) -> JoinHandle<Result<Value, Refusal>> {
    let port = port.clone();
    spawn_local(async move { ask_knowing(&port, path).await })
}

pub(crate) fn attack() {
    let authority = Authority::ephemeral().expect("a CA");
    let edge = authority.issue(&node("edge2"), Role::Edge).expect("a certificate");
    let core = authority.issue(&node("core1"), Role::Core).expect("a certificate");
    let (link_at, sip, registrar) = (free(), free(), free());
    let text = format!(
        "node = \"core1\"\ndomains = [\"example.com\"]\n[sip]\nlisten = [\"{sip}\"]\n\
         registrars = [\"tcp:{registrar}\"]\n[media]\naddress = \"127.0.0.1\"\nports = \"11400-11499\"\n"
    );
    let settings = parse_core(&text, "test").expect("good settings");
    let record = EdgeRecord { node: node("edge2"), role: Role::Edge, address: link_at.to_string(), key_hash: [0; 32] };
    let (stop, stopped) = service::stop();
    let (tell, told) = channel();
    let running = spawn(move || {
        let node = CoreNode::new((&settings).into(), Random::from_seed([1; 32]), Moment::ZERO);
        let keys = CoreKeys::Memory { identity: Box::new(core), edges: vec![record] };
        let admin = Box::new(move |port: OperatorPort| {
            let _ = tell.send(port);
            let (door, requests) = AdminDoor::new();
            Ok(Administration { door, kept: Box::new(requests) })
        });
        let hooks = Hooks { admin: Some(admin), ..Hooks::default() };
        service::run_core(&settings, node, keys, hooks, stopped).map_err(|fault| fault.to_string())
    });
    let port = told.recv_timeout(Duration::from_secs(20)).expect("the core runs");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::bind(link_at).await.expect("the link port");
        it_is_old(&port, &listener, &edge).await;
        it_says_too_much(&port, &listener, &edge).await;
        it_says_what_it_was_not_asked(&port, &listener, &edge).await;
        it_says_nothing(&port, &listener, &edge).await;
    });
    stop.pull();
    running.join().expect("ended").expect("in good order");
}

fn free() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = tcp.local_addr().expect("bound");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// An edge of an earlier version opens no stream for questions.
async fn it_is_old(port: &OperatorPort, listener: &tokio::net::TcpListener, edge: &Identity) {
    let taken = linked(listener, edge, false).await;
    let refused = ask(port, "status").await.expect_err("it cannot be asked");
    assert_eq!(refused.kind, RefusalKind::Unavailable);
    assert!(refused.why.contains("edge2 does not know this question"), "{refused}");
    assert!(!taken.link.is_finished(), "it works all the same");
    taken.link.abort();
}

/// Answers that are small as text and large once they are read, deep ones, and ones that are none.
async fn it_says_too_much(port: &OperatorPort, listener: &tokio::net::TcpListener, edge: &Identity) {
    let mut taken = linked(listener, edge, true).await;
    let first = asking(port, "status");
    taken.answers(1, br#"{"ok":{"node":"I am core1"}}"#).await;
    assert_eq!(first.await.expect("asked"), Ok(json!({ "node": "I am core1" })));
    let of = |part: &str| {
        let mut text = "{\"ok\":[".to_owned();
        while text.len() + part.len() < ANSWER_BYTES_MAX - 16 {
            text.push_str(part);
            text.push(',');
        }
        text + "0]}"
    };
    let before = resident_bytes();
    for part in ["{\"\":0}", "[]", "\"\"", "0", "{\"\":{\"\":{\"\":0}}}"] {
        let text = of(part);
        let asked: Vec<_> = (0..8).map(|_| asking(port, "status")).collect();
        taken.answers(8, text.as_bytes()).await;
        for one in asked {
            let refused = one.await.expect("asked").expect_err("too many parts");
            assert!(refused.why.contains("cannot be read"), "{part}: {refused}");
        }
    }
    let grown = resident_bytes().saturating_sub(before);
    println!("{} KiB more after 40 answers of 1 MiB", grown >> 10);
    assert!(grown < MEMORY_MAX, "memory grew by {} MiB", grown >> 20);
    for text in ["[".repeat(ANSWER_BYTES_MAX), "{\"ok\":".repeat(33) + "0" + &"}".repeat(33), "\u{0}".to_owned()] {
        let asked = asking(port, "status");
        taken.answers(1, text.as_bytes()).await;
        assert!(asked.await.expect("asked").expect_err("no answer").why.contains("cannot be read"));
    }
    let refused = asking(port, "calls");
    taken.answers(1, br#"{"refused":"not_found","why":"no\u001b[2J"}"#).await;
    let refused = refused.await.expect("asked").expect_err("refused");
    assert_eq!(refused, Refusal::not_found("edge2: no?[2J"));
    assert!(!taken.link.is_finished());
    taken.link.abort();
}

/// A breach each.
async fn it_says_what_it_was_not_asked(port: &OperatorPort, listener: &tokio::net::TcpListener, edge: &Identity) {
    type Says = fn(&mut Taken, u32);
    let breaches: [(&str, Says); 6] = [
        ("may not ask", |taken, _| taken.say(ASK, 1, br#"{"path":"status","body":{}}"#)),
        ("not asked", |taken, id| taken.ready(id + 1, 7)),
        ("not asked", |taken, id| taken.say(PIECE, id, b"{}")),
        ("too long", |taken, id| taken.ready(id, ANSWER_BYTES_MAX + 1)),
        ("too long", |taken, id| taken.say(PIECE, id, &vec![0; 2 * PIECE_BYTES])),
        ("too short", |taken, _| {
            let _ = taken.send.send_data(Bytes::from_static(&[0, 0, 0, 1, 7]), false);
        }),
    ];
    for (why, says) in breaches {
        let mut taken = linked(listener, edge, true).await;
        let asked = asking(port, "status");
        let (kind, id) = taken.hears().await;
        assert_eq!(kind, ASK);
        says(&mut taken, id);
        assert!(asked.await.expect("asked").expect_err("no answer").why.contains("has ended"), "{why}");
        let told = taken.ended().await;
        assert!(told.contains("broke the protocol") && told.contains(why), "{told:?} has no {why:?}");
    }
}

/// Who asks waits for its bounded time, and the next one is told at once once too many wait.
async fn it_says_nothing(port: &OperatorPort, listener: &tokio::net::TcpListener, edge: &Identity) {
    let taken = linked(listener, edge, true).await;
    let began = Instant::now();
    let asked: Vec<_> = (0..8).map(|_| asking(port, "status")).collect();
    for one in asked {
        assert!(one.await.expect("asked").expect_err("no answer").why.contains("in time"));
    }
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    let refused = ask(port, "status").await.expect_err("it answers nothing");
    assert!(refused.why.contains("before this one"), "{refused}");
    assert!(!taken.link.is_finished(), "its signalling goes on");
    taken.link.abort();
}
