use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use edgeway_model::NodeId;
use edgeway_runtime::dns::Resolver;
use edgeway_runtime::http::Body;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use tokio::net::TcpListener;

use super::servers::{Act, OK, Server};
use crate::proxy::limits::FAILURES_MAX;
use crate::proxy::{ClientFacts, HttpClient, Onward, Proxy, Target, Trust, Within};

fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a name")
}

fn proxy() -> Proxy {
    let client = HttpClient::new(Resolver::new(vec![]), Trust::anybody(None).expect("TLS"), false);
    Proxy::new(client, node("core1"))
}

fn facts() -> ClientFacts {
    ClientFacts {
        edge: node("edge1"),
        address: Some(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7))),
        request: Some(0x0123_4567_89ab_cdef),
    }
}

fn onward(port: u16, path: &str) -> Onward {
    Onward { target: Target { https: false, host: "127.0.0.1".to_owned(), port }, path: path.to_owned() }
}

fn request(fields: &[(&str, &str)], body: &'static str) -> Request<Body> {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let mut request = Request::builder().method(method).uri("/ZXhhbXBsZS5jb20/ignored");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::from_static(body.as_bytes())).map_err(|never| match never {});
    request.body(UnsyncBoxBody::new(body)).expect("a request")
}

async fn through(server: &Server, request: Request<Body>) -> Response<Body> {
    proxy().forward(&onward(server.address.port(), "/a/b?c=d"), request, &facts()).await
}

/// The fields a server was sent, sorted; names in lower case.
fn fields(sent: &str) -> Vec<String> {
    let head = sent.split("\r\n\r\n").next().expect("a head");
    let field = |line: &str| {
        let (name, value) = line.split_once(": ").expect("a field");
        format!("{}: {value}", name.to_ascii_lowercase())
    };
    let mut fields: Vec<String> = head.lines().skip(1).map(field).collect();
    fields.sort();
    fields
}

#[tokio::test]
async fn the_server_sees_the_client_s_request_and_what_we_say_of_the_client() {
    let server = Server::plain(vec![Act::Say(OK.to_owned())]).await;
    let sent = [
        ("accept", "*/*"),
        ("authorization", "Basic YWxpY2U6d29uZGVybGFuZA=="),
        ("connection", "x-hop, keep-alive"),
        ("cookie", "JSESSIONID=1; X-Auth=token; other=2"),
        ("cookie", "x-auth=token"),
        ("client-ip", "203.0.113.1"),
        ("edgeway-client", "203.0.113.1:1"),
        ("forwarded", "for=203.0.113.1"),
        ("host", "e1.example.com:8443"),
        ("keep-alive", "timeout=1"),
        ("te", "trailers"),
        ("trackingid", "f00dcafe-86f6-4030-8259-000000000001"),
        ("upgrade", "websocket"),
        ("user-agent", "WebEx/0.0.0.0"),
        ("via", "1.1 elsewhere"),
        ("x-auth", "token"),
        ("x-forwarded-for", "203.0.113.1"),
        ("x-hop", "1"),
        ("x-forwarded-host", "elsewhere"),
        ("x-two", "1"),
        ("x-two", "2"),
    ];
    let answer = through(&server, request(&sent, "")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let seen = server.requests();
    assert!(seen[0].starts_with("GET /a/b?c=d HTTP/1.1\r\n"), "{}", seen[0]);
    let host = format!("host: 127.0.0.1:{}", server.address.port());
    let wanted = [
        "accept: */*",
        "authorization: Basic YWxpY2U6d29uZGVybGFuZA==",
        "client-ip: 198.51.100.7",
        "cookie: JSESSIONID=1; other=2",
        &host,
        "trackingid: f00dcafe-86f6-4030-8259-000000000001",
        "user-agent: WebEx/0.0.0.0",
        "via: https/1.1 edge1 (edgeway), http/2.0 core1 (edgeway)",
        "x-forwarded-for: 198.51.100.7",
        "x-two: 1",
        "x-two: 2",
    ];
    assert_eq!(fields(&seen[0]), wanted);
}

#[tokio::test]
async fn a_tracking_id_that_is_none_is_replaced() {
    let server = Server::plain(vec![Act::Say(OK.to_owned())]).await;
    let long = "a".repeat(65);
    for bad in [None, Some("short"), Some("with space in it"), Some("quote\"quote\""), Some(long.as_str())] {
        let fields: Vec<(&str, &str)> = bad.map(|value| ("TrackingID", value)).into_iter().collect();
        through(&server, request(&fields, "")).await;
    }
    for sent in server.requests() {
        let tracking =
            fields(&sent).into_iter().find_map(|field| field.strip_prefix("trackingid: ").map(str::to_owned));
        let tracking = tracking.expect("an id");
        assert!(tracking.ends_with("-0123-456789abcdef"), "the request's id is in it: {tracking}");
        let lengths: Vec<usize> = tracking.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
    }
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn bodies_go_both_ways() {
    let text = "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    let server = Server::plain(vec![Act::Say(text.to_owned())]).await;
    for fields in [&[("content-length", "4")][..], &[]] {
        let answer = through(&server, request(fields, "body")).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert!(!answer.headers().contains_key("transfer-encoding"));
        assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "hello world");
    }
    for sent in server.requests() {
        assert!(sent.starts_with("POST ") && sent.ends_with("\r\n\r\nbody"), "{sent}");
    }
}

#[tokio::test]
async fn the_client_sees_the_server_s_answer_and_nothing_that_is_ours() {
    let text = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"Cisco Web Services Realm\"\r\n\
                Connection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=20\r\nUpgrade: h2c\r\n\
                Set-Cookie: JSESSIONID=1; Path=/\r\nSet-Cookie: X-Auth=forged; Path=/\r\nset-cookie: x-auth=forged\r\n\
                Edgeway-Reason: Anything\r\nEdgeway-Offence: credentials\r\nAlt-Svc: h3=\":443\"\r\n\
                Location: http://cucm1.example.com:6970/\r\nContent-Length: 2\r\n\r\nno";
    let server = Server::plain(vec![Act::Say(text.to_owned())]).await;
    let answer = through(&server, request(&[], "")).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let mut seen: Vec<String> =
        answer.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
    seen.sort();
    let wanted = [
        "content-length: 2",
        "location: http://cucm1.example.com:6970/",
        "set-cookie: JSESSIONID=1; Path=/",
        "www-authenticate: Basic realm=\"Cisco Web Services Realm\"",
    ];
    assert_eq!(seen, wanted);
}

#[tokio::test]
async fn a_server_that_does_not_answer_has_a_status() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let nowhere = listener.local_addr().expect("bound").port();
    drop(listener);
    let reason = |answer: &Response<Body>| answer.headers().get("edgeway-reason").cloned();
    let proxy = proxy();
    for _ in 0..FAILURES_MAX {
        let answer = proxy.forward(&onward(nowhere, "/"), request(&[], ""), &facts()).await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(reason(&answer).expect("a reason"), "Next Hop Connection Failed");
    }
    let answer = proxy.forward(&onward(nowhere, "/"), request(&[], ""), &facts()).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "it is left in peace");
    assert!(answer.headers().contains_key("retry-after"));

    let slow = Server::plain(vec![Act::Hang]).await;
    let within = Within { answer: Duration::from_millis(100), ..Within::default() };
    let hasty = self::proxy().within(within);
    let answer = hasty.forward(&onward(slow.address.port(), "/"), request(&[], ""), &facts()).await;
    assert_eq!((answer.status(), reason(&answer)), (StatusCode::GATEWAY_TIMEOUT, None));

    let forged = [
        "HTTP/1.1 200 OK\r\nA: b\u{0}c\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: set-cookie\r\nContent-Length: 0\r\n\r\n",
    ];
    for text in forged {
        let server = Server::plain(vec![Act::Say(text.to_owned())]).await;
        let answer = through(&server, request(&[], "")).await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY, "{text:?}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn too_large_a_body_is_refused_before_a_connection_is_made() {
    let server = Server::plain(vec![Act::Say(OK.to_owned())]).await;
    let small = proxy().within(Within { request_bytes_max: 3, ..Within::default() });
    let to = onward(server.address.port(), "/");
    let answer = small.forward(&to, request(&[("content-length", "4")], "body"), &facts()).await;
    assert_eq!((answer.status(), server.connections()), (StatusCode::PAYLOAD_TOO_LARGE, 0));
    let answer = small.forward(&to, request(&[], "body"), &facts()).await;
    assert_eq!((answer.status(), server.requests().len()), (StatusCode::PAYLOAD_TOO_LARGE, 0));
}

#[tokio::test]
async fn a_path_that_is_none_goes_nowhere() {
    let server = Server::plain(vec![Act::Say(OK.to_owned())]).await;
    for path in ["/a b", "/a\r\nX: y", "/\u{0}"] {
        let answer = proxy().forward(&onward(server.address.port(), path), request(&[], ""), &facts()).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path:?}");
    }
    assert_eq!(server.connections(), 0);
}
