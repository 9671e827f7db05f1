use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::sign_in::Deployment;
use edgeway_runtime::dns::Resolver;
use edgeway_runtime::http::{Body, BodyFault};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Frame;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::servers::{Act, NameServer, OK, Server};
use crate::proxy::limits::{ANSWER_HEAD_BYTES_MAX, ANSWER_HEADERS_MAX, FAILURES_MAX, REST_FIRST};
use crate::proxy::{ClientFault, Fetched, HttpClient, Target, Trust, Within};

const PATIENCE: Duration = Duration::from_secs(5);

fn client_of(names: &NameServer, allow_loopback: bool) -> HttpClient {
    let trust = Trust::anybody(None).expect("TLS");
    HttpClient::new(Resolver::new(vec![names.address]), trust, allow_loopback)
}

async fn client() -> HttpClient {
    client_of(&NameServer::start(vec![vec![Ipv4Addr::LOCALHOST]]).await, true)
}

fn target(server: &Server) -> Target {
    Target { https: false, host: "cucm1.example.com".to_owned(), port: server.address.port() }
}

fn get() -> Request<Bytes> {
    Request::get("/a?b").body(Bytes::new()).expect("a request")
}

fn post() -> Request<Bytes> {
    Request::post("/a").body(Bytes::from_static(b"body")).expect("a request")
}

async fn fetch(client: &HttpClient, server: &Server) -> Result<Fetched, ClientFault> {
    client.fetch(&target(server), get(), 1024, PATIENCE).await
}

fn say(text: &str) -> Act {
    Act::Say(text.to_owned())
}

fn say_and_end(text: &str) -> Act {
    Act::SayAndEnd(text.to_owned())
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = Server::plain(vec![say(OK)]).await;
    let client = client().await;
    for _ in 0..20 {
        let fetched = fetch(&client, &server).await.expect("an answer");
        assert_eq!((fetched.status, &fetched.body[..]), (StatusCode::OK, &b"ok"[..]));
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 20));
    let port = server.address.port();
    assert_eq!(server.requests()[0], format!("GET /a?b HTTP/1.1\r\nHost: cucm1.example.com:{port}\r\n\r\n"));
}

#[tokio::test]
async fn answers_without_a_body_and_with_chunks_leave_the_connection_usable() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let early = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let acts = [chunked, "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\n\r\n", early, OK];
    let server = Server::plain(acts.iter().map(|text| say(text)).collect()).await;
    let client = client().await;
    for _ in acts {
        fetch(&client, &server).await.expect("an answer");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn redirects_come_back_as_they_are() {
    let elsewhere = Server::plain(vec![say(OK)]).await;
    let location = format!("http://{}/", elsewhere.address);
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    let server = Server::plain(vec![say(&redirect)]).await;
    let fetched = fetch(&client().await, &server).await.expect("an answer");
    assert_eq!(fetched.status, StatusCode::FOUND);
    assert_eq!(fetched.headers.get("location").map(|value| value.as_bytes()), Some(location.as_bytes()));
    assert_eq!(elsewhere.connections(), 0);
}

/// What a server may do wrong on its first connection, and what is said of it.
#[tokio::test]
async fn broken_answers_are_faults_and_are_asked_for_once() {
    let huge = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(ANSWER_HEAD_BYTES_MAX));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(ANSWER_HEADERS_MAX + 1));
    let broken: fn(&ClientFault) -> bool = |fault| matches!(fault, ClientFault::Broken(_));
    let large: fn(&ClientFault) -> bool = |fault| *fault == ClientFault::TooLarge;
    let late: fn(&ClientFault) -> bool = |fault| matches!(fault, ClientFault::Timeout(_));
    let cases = [
        ("no answer", say_and_end(""), broken),
        ("half a head", say_and_end("HTTP/1.1 200 OK\r\nContent-Le"), broken),
        ("half a body", say_and_end("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), broken),
        ("half a chunk", say_and_end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"), broken),
        ("no size of a chunk", say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nab"), broken),
        ("no HTTP", say("SSH-2.0-OpenSSH_9.2\r\n\r\n"), broken),
        ("bytes", say("\u{0}\u{1}\u{2}\r\n\r\n"), broken),
        ("two lengths", say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), broken),
        ("no length", say("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab"), broken),
        ("a folded header", say("HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n"), broken),
        (
            "another protocol",
            say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
            broken,
        ),
        ("a huge head", say(&huge), large),
        ("many headers", say(&many), large),
        ("a large body", say(&format!("HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n{}", "a".repeat(2000))), large),
        ("nothing", Act::Hang, late),
        ("a body that stops", say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), broken),
    ];
    for (what, act, is_right) in cases {
        let server = Server::plain(vec![act, say(OK)]).await;
        let client = client().await;
        let fault = client.fetch(&target(&server), get(), 1024, Duration::from_millis(300)).await.expect_err(what);
        assert!(is_right(&fault), "{what}: {fault:?}");
        assert_eq!(server.requests().len(), 1, "{what}");
        // The connection is not used again, the server is.
        fetch(&client, &server).await.expect(what);
        assert_eq!((server.connections(), server.requests().len()), (2, 2), "{what}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_ended_costs_nobody_an_answer() {
    let server = Server::plain(vec![say_and_end(OK), say(OK)]).await;
    let client = client().await;
    for _ in 0..3 {
        fetch(&client, &server).await.expect("an answer");
    }
    assert_eq!((server.connections(), server.requests().len()), (2, 3));
}

#[tokio::test]
async fn what_may_have_arrived_is_sent_again_only_where_it_changes_nothing() {
    for (request, requests, answered) in [(get(), 3, true), (post(), 2, false)] {
        let server = Server::plain(vec![say(OK), say_and_end(""), say(OK)]).await;
        let client = client().await;
        fetch(&client, &server).await.expect("an answer");
        let result = client.fetch(&target(&server), request, 1024, PATIENCE).await;
        assert_eq!(result.is_ok(), answered);
        assert_eq!(server.requests().len(), requests);
    }
    // On a new connection nothing is ever sent again.
    let server = Server::plain(vec![say_and_end(""), say(OK)]).await;
    assert!(fetch(&client().await, &server).await.is_err());
    assert_eq!(server.requests().len(), 1);
}

/// A body in pieces of `size`; it stalls when `left` is none.
struct Pieces {
    left: Option<usize>,
    size: usize,
}

impl Pieces {
    fn boxed(count: usize, size: usize) -> Body {
        UnsyncBoxBody::new(Self { left: Some(count), size })
    }

    fn stalled() -> Body {
        UnsyncBoxBody::new(Self { left: None, size: 0 })
    }
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let Some(left) = self.left else { return Poll::Pending };
        let Some(left) = left.checked_sub(1) else { return Poll::Ready(None) };
        self.left = Some(left);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'z'; self.size])))))
    }
}

#[tokio::test]
async fn bodies_go_out_in_full_or_the_client_is_to_blame() {
    let server = Server::plain(vec![say(OK)]).await;
    let client = client().await;
    let within = Within { request_bytes_max: 100_000, ..Within::default() };
    let request = Request::post("/").body(Pieces::boxed(10, 1000)).expect("a request");
    let answer = client.request(&target(&server), request, within).await.expect("an answer");
    assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "ok");
    assert_eq!(server.requests()[0].matches('z').count(), 10_000);
    let request = Request::post("/").body(Pieces::boxed(200, 1000)).expect("a request");
    let fault = client.request(&target(&server), request, within).await.err();
    assert_eq!(fault, Some(ClientFault::RequestTooLarge));
    let within = Within { pause: Duration::from_millis(100), ..within };
    let fault = client
        .request(&target(&server), Request::post("/").body(Pieces::stalled()).expect("a request"), within)
        .await
        .err();
    assert!(matches!(fault, Some(ClientFault::Request(_))), "{fault:?}");
    assert_eq!(server.requests().len(), 1, "half a request is none");
}

#[tokio::test]
async fn large_answers_come_in_full_however_they_are_framed() {
    let body: String = (0..60_000).map(|number| format!("{number:05}")).collect();
    let (first, second) = body.split_at(99_999);
    let length = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let chunks = format!("{:x}\r\n{first}\r\n{:X}\r\n{second}\r\n0\r\nA: b\r\n\r\n", first.len(), second.len());
    let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    let to_the_end = format!("HTTP/1.1 200 OK\r\n\r\n{body}");
    let server = Server::plain(vec![say(&length), say(&chunked), say_and_end(&to_the_end)]).await;
    let client = client().await;
    for _ in 0..3 {
        let fetched = client.fetch(&target(&server), get(), body.len(), PATIENCE).await.expect("an answer");
        assert!(fetched.body == body, "{} bytes of {}", fetched.body.len(), body.len());
    }
    assert_eq!(server.connections(), 1);
    for text in [length, chunked, to_the_end] {
        let server = Server::plain(vec![say_and_end(&text)]).await;
        let fault = client.fetch(&target(&server), get(), body.len() - 1, PATIENCE).await.expect_err("too large");
        assert_eq!(fault, ClientFault::TooLarge);
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_all_was_heard_counts() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let connections = tokio::spawn(async move {
        let mut held = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4096]).await.expect("some of a request");
            let text = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!";
            tokio::io::AsyncWriteExt::write_all(&mut stream, text).await.expect("heard");
            held.push(stream);
        }
        held.len()
    });
    let (client, to) = (client().await, Target { https: false, host: "127.0.0.1".to_owned(), port });
    for _ in 0..2 {
        let request = Request::post("/").body(Pieces::stalled()).expect("a request");
        let answer = client.request(&to, request, Within::default()).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "no!");
    }
    assert_eq!(connections.await.expect("a server"), 2, "a connection with half a request on it is not used again");
}

#[tokio::test]
async fn a_name_is_looked_up_once_for_each_connection() {
    let server = Server::plain(vec![say(OK), say_and_end(OK), say(OK)]).await;
    // Whoever runs the zone changes his mind after the first answer: the second leads where nobody listens.
    let names = NameServer::start(vec![vec![Ipv4Addr::LOCALHOST], vec![Ipv4Addr::new(127, 0, 0, 99)]]).await;
    let client = client_of(&names, true);
    for _ in 0..2 {
        fetch(&client, &server).await.expect("an answer");
    }
    assert_eq!((names.asked(), server.connections()), (1, 1));
    let fault = fetch(&client, &server).await.expect_err("nobody listens there");
    assert!(matches!(fault, ClientFault::CouldNotConnect(_)), "{fault:?}");
    assert_eq!((names.asked(), server.connections()), (2, 1), "the new answer holds, the old one does not");
}

#[tokio::test]
async fn no_name_leads_to_this_machine() {
    let server = Server::plain(vec![say(OK)]).await;
    for addresses in [vec![Ipv4Addr::LOCALHOST], vec![Ipv4Addr::new(127, 1, 2, 3), Ipv4Addr::new(169, 254, 169, 254)]] {
        let names = NameServer::start(vec![addresses]).await;
        let fault = fetch(&client_of(&names, false), &server).await.expect_err("refused");
        assert!(
            matches!(&fault, ClientFault::CouldNotConnect(why) if why.contains("where no server may be")),
            "{fault}"
        );
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn the_next_address_is_tried_where_one_refuses() {
    let server = Server::plain_at(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), vec![say(OK)]).await;
    let names = NameServer::start(vec![vec![Ipv4Addr::new(127, 0, 0, 9), Ipv4Addr::new(127, 0, 0, 2)]]).await;
    fetch(&client_of(&names, true), &server).await.expect("the second address answers");
    let nowhere = NameServer::start(vec![vec![]]).await;
    let fault = fetch(&client_of(&nowhere, true), &server).await.expect_err("no address");
    assert_eq!(fault, ClientFault::CouldNotConnect("its name has no address".to_owned()));
}

#[tokio::test]
async fn a_server_that_fails_is_left_in_peace_and_others_are_not() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let client = client().await;
    let dead = Target { https: false, host: "127.0.0.1".to_owned(), port: address.port() };
    for _ in 0..FAILURES_MAX {
        let fault = client.fetch(&dead, get(), 1024, PATIENCE).await.expect_err("nobody listens");
        assert!(matches!(fault, ClientFault::CouldNotConnect(_)), "{fault:?}");
    }
    let start = Instant::now();
    let fault = client.fetch(&dead, get(), 1024, PATIENCE).await.expect_err("it rests");
    assert!(matches!(fault, ClientFault::Resting { after } if after <= REST_FIRST), "{fault:?}");
    assert!(start.elapsed() < Duration::from_millis(100));
    let other = Server::plain(vec![say(OK)]).await;
    fetch(&client, &other).await.expect("another server");
    // It is back: one try finds out.
    let listener = TcpListener::bind(address).await.expect("the port is free");
    let back = Server::on(listener, vec![say(OK)], None);
    tokio::time::pause();
    tokio::time::advance(REST_FIRST).await;
    tokio::time::resume();
    client.fetch(&dead, get(), 1024, PATIENCE).await.expect("it is back");
    client.fetch(&dead, get(), 1024, PATIENCE).await.expect("and stays");
    assert_eq!(back.connections(), 1);
}

#[tokio::test]
async fn a_trust_of_its_own_holds_for_one_host() {
    let own = super::servers::Made::self_signed_authority(&["cucm1.example.com"], (2090, 1, 1));
    let server = Server::tls(vec![say(OK)], own.server()).await;
    let names = NameServer::start(vec![vec![Ipv4Addr::LOCALHOST]]).await;
    let nobody = super::servers::Made::authority("nobody");
    let trust = Trust::in_pem(nobody.pem.as_bytes(), None).expect("certificates");
    let client = HttpClient::new(Resolver::new(vec![names.address]), trust.clone(), true);
    let target = Target { https: true, ..target(&server) };
    assert!(client.fetch(&target, get(), 1024, PATIENCE).await.is_err());
    let own_trust = Trust::in_pem(own.pem.as_bytes(), None).expect("certificates");
    client.set_trust("CUCM1.example.com.", own_trust.clone());
    client.fetch(&target, get(), 1024, PATIENCE).await.expect("trusted by its own certificate");
    let (west, east) = ["west", "east"].map(|name| Deployment::new(name).expect("a name")).into();
    client.set_trusts([((west.clone(), "Cucm1.example.com".to_owned()), own_trust)]);
    client.of(west).fetch(&target, get(), 1024, PATIENCE).await.expect("its own deployment trusts it");
    assert!(client.of(east).fetch(&target, get(), 1024, PATIENCE).await.is_err(), "and no other, by a kept connection");
    client.set_trusts([]);
    assert!(client.fetch(&target, get(), 1024, PATIENCE).await.is_err(), "a kept connection has lost its trust");
}
