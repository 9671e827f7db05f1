//! Clients that mean harm, or have lost their way.

use std::time::{Duration, Instant};

use bytes::Bytes;
use edgeway_model::Random;
use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::{spawn_local, yield_now};
use tokio::time::{sleep, timeout};

use super::rig::{LONG, Plain, Rig, run};

/// Cookies that are none of ours, of many makes.
fn random_cookie(random: &mut Random, good: &str) -> String {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = |length: u64| -> String {
        (0..length).map(|_| char::from(letters[usize::try_from(random.below(64)).unwrap()])).collect()
    };
    match text(1).as_bytes()[0] % 8 {
        // The vendor's form, and the vendor's next one.
        0 => format!("{}-{}-{}-{}-{}", text(8), text(4), text(4), text(4), text(12)),
        1 => text(64),
        // Ours, with another signature, or cut, or longer.
        2 => format!("{}{}", &good[..good.len() - 20], text(20)),
        3 => good[..good.len() - 4].to_owned(),
        4 => format!("{good}AAAA"),
        // Ours, with other claims.
        5 => format!("{}{}{}", &good[..20], text(8), &good[28..]),
        6 => text(300),
        _ => text(1),
    }
}

#[test]
fn a_hundred_thousand_random_cookies_open_no_stream_and_send_no_byte_inwards() {
    run(async {
        let mut rig = Rig::start(&[]).await;
        let wire = rig.add_core_behind_a_wire("core1").await;
        // What HTTP/2 says at its start has been said.
        let quiet = async {
            loop {
                let before = wire.inwards.get();
                sleep(Duration::from_millis(50)).await;
                if wire.inwards.get() == before {
                    return before;
                }
            }
        };
        let before = quiet.await;
        let begun = Instant::now();
        let good = rig.token("alice", 600);
        let mut random = Random::from_seed([7; 32]);
        let (each, clients) = (12_500, 8);
        let asks: Vec<String> = (0..clients)
            .map(|_| {
                (0..each)
                    .map(|_| {
                        let cookie = random_cookie(&mut random, &good);
                        format!("GET {LONG}/x HTTP/1.1\r\nHost: e\r\nCookie: a=b; X-Auth={cookie}\r\n\r\n")
                    })
                    .collect()
            })
            .collect();
        let mut running = Vec::new();
        for ask in asks {
            let client = rig.http1().await;
            running.push(spawn_local(async move {
                let (mut reader, mut writer) = tokio::io::split(client.stream);
                let writing = spawn_local(async move {
                    writer.write_all(ask.as_bytes()).await.unwrap();
                    writer.flush().await.unwrap();
                    writer
                });
                let (mut refused, mut tail) = (0, Vec::new());
                let mut piece = vec![0; 64 * 1024];
                while refused < each {
                    let count = reader.read(&mut piece).await.unwrap();
                    assert!(count > 0, "cut off after {refused}");
                    tail.extend_from_slice(&piece[..count]);
                    let whole = tail.windows(5).rposition(|five| five == b"0\r\n\r\n").map_or(0, |at| at + 5);
                    let answers: Vec<_> = tail.drain(..whole).collect();
                    let text = String::from_utf8(answers).unwrap();
                    refused += text.matches("HTTP/1.1 401 Unauthorized").count();
                    assert_eq!(text.matches("HTTP/1.1 ").count(), text.matches("HTTP/1.1 401 ").count());
                }
                drop(writing.await);
            }));
        }
        for client in running {
            client.await.unwrap();
        }
        assert_eq!(rig.counted("https_unauthorized"), 100_000);
        assert_eq!(rig.seen(), 0, "no stream was opened");
        // Both ends ask each other whether they are there: two frames of 17 bytes, in TLS.
        let pings = 1 + usize::try_from(begun.elapsed().as_secs()).unwrap() / 5;
        let inwards = wire.inwards.get() - before;
        assert!(inwards <= pings * 2 * 40 + 400, "{inwards} bytes went inwards, and {pings} PINGs");
        let cookie = format!("Cookie: X-Auth={good}\r\n");
        assert_eq!(rig.get(&format!("{LONG}/x"), &cookie).await.status, 200, "a good one passes");
        assert!(wire.inwards.get() > before);
    });
}

/// Ways to write Transfer-Encoding that some parser somewhere takes, or does not.
fn encodings() -> Vec<String> {
    let mut all: Vec<String> = [
        "Transfer-Encoding: chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "Transfer-Encoding:chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding:  chunked",
        "Transfer-Encoding: chunked ",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding: CHUNKED",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding\r\n: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "Transfer_Encoding: chunked",
        "Transfer-Encoding; chunked",
        "TRANSFER-ENCODING: chunked",
        "tRANSFER-eNCODING: chunked",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: ch\0unked",
        "X: \0\r\nTransfer-Encoding: chunked",
        "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
        "TE: trailers, chunked\r\nTransfer-Encoding: chunked",
        "Foo: bar\r\n\tTransfer-Encoding: chunked",
        "Transfer-Encoding: chun\r\n ked",
    ]
    .map(ToOwned::to_owned)
    .to_vec();
    for byte in [0x01_u8, 0x04, 0x08, 0x0b, 0x0c, 0x1f, 0x7f, 0x85, 0xa0, 0xff] {
        let byte = char::from(byte);
        all.push(format!("Transfer-Encoding:{byte}chunked"));
        all.push(format!("Transfer-Encoding{byte}: chunked"));
        all.push(format!("Transfer-Encoding: chunked{byte}"));
        all.push(format!("{byte}Transfer-Encoding: chunked"));
    }
    all
}

/// Payloads with another request in them, and how many requests an honest reader may see at most.
fn payloads(cookie: &str) -> Vec<Vec<u8>> {
    let head = format!("POST {LONG}/echo HTTP/1.1\r\nHost: e\r\n{cookie}");
    let inner = format!("GET {LONG}/smuggled HTTP/1.1\r\nHost: e\r\n{cookie}X: y");
    let length = inner.len();
    let mut all = Vec::new();
    for encoding in encodings() {
        // The length says more than the chunks, and less, either field first.
        all.push(format!("{head}Content-Length: {}\r\n{encoding}\r\n\r\n0\r\n\r\n{inner}\r\n\r\n", length + 9));
        all.push(format!("{head}{encoding}\r\nContent-Length: {}\r\n\r\n0\r\n\r\n{inner}\r\n\r\n", length + 9));
        all.push(format!("{head}Content-Length: 4\r\n{encoding}\r\n\r\n{length:x}\r\n{inner}\r\n0\r\n\r\n"));
        all.push(format!("{head}{encoding}\r\nContent-Length: 4\r\n\r\n{length:x}\r\n{inner}\r\n0\r\n\r\n"));
    }
    for length in [
        "18446744073709551616",
        "18446744073709551615",
        "9223372036854775808",
        "-1",
        "+5",
        "0x5",
        "5 5",
        "5,5",
        "5, 6",
        "5\r\nContent-Length: 6",
        "5\r\nContent-Length: 5",
        "",
        "five",
        "5.0",
        "\u{b}5",
        "5\0",
        "00000000000000000000000000000000005",
    ] {
        all.push(format!("{head}Content-Length: {length}\r\n\r\nhello{inner}\r\n\r\n"));
        all.push(format!("{head}Content-Length : {length}\r\n\r\nhello{inner}\r\n\r\n"));
    }
    for chunk in [
        "5;a=\"\r\nhello",
        "5;a=\"b\r\n\"\r\nhello",
        "5;\nhello",
        "5;a\nhello",
        "5\nhello",
        "5\rhello",
        "05 \r\nhello",
        "0x5\r\nhello",
        "+5\r\nhello",
        "fffffffffffffffff\r\nhello",
        "10000000000000005\r\nhello",
        "5\r\nhelloX",
        "5\r\nhello\n",
        "\r\n5\r\nhello",
        "5\r\n\r\nhello",
    ] {
        all.push(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}\r\n0\r\n\r\n{inner}\r\n\r\n"));
    }
    for line in [
        format!("GET {LONG}/x HTTP/1.1\nHost: e\n{cookie}\n{inner}\r\n\r\n"),
        format!("GET {LONG}/x HTTP/1.1\r\nHost: e\r\n{cookie}A: b\r\n c: {inner}\r\n\r\n"),
        format!("GET {LONG}/x\r\n{inner}\r\n\r\n"),
        format!("GET {LONG}/x HTTP/0.9\r\n\r\n{inner}\r\n\r\n"),
        format!(
            "GET {LONG}/x HTTP/1.1\r\nHost: e\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n{cookie}\r\n{inner}\r\n\r\n"
        ),
        format!("GET {LONG}/x HTTP/1.1\r\nHost: e\r\nUpgrade: websocket\r\n{cookie}\r\n{inner}\r\n\r\n"),
        format!("CONNECT e:443 HTTP/1.1\r\nHost: e\r\n{cookie}\r\n{inner}\r\n\r\n"),
        format!("GET https://f{LONG}/x HTTP/1.1\r\nHost: e\r\n{cookie}\r\n{inner}\r\n\r\n"),
        format!("OPTIONS * HTTP/1.1\r\nHost: e\r\n{cookie}\r\n{inner}\r\n\r\n"),
        format!(
            "POST {LONG}/echo HTTP/1.0\r\nHost: e\r\n{cookie}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}\r\n\r\n"
        ),
        format!("GET {LONG}/x HTTP/1.1\r\nHost: e\r\n{}: y\r\n{cookie}\r\n{inner}\r\n\r\n", "a".repeat(65_536)),
        format!("GET {LONG}/{} HTTP/1.1\r\nHost: e\r\n{cookie}\r\n{inner}\r\n\r\n", "a".repeat(20_000)),
        format!("GET {LONG}/x HTTP/1.1\r\nHost: e\r\n{}{cookie}\r\n{inner}\r\n\r\n", "A: b\r\n".repeat(200)),
        format!("GET {LONG}/x HTTP/1.1\r\nHost: e\r\n{cookie}Content-Length: {length}\r\n\r\n{inner}"),
        format!("HEAD {LONG}/x HTTP/1.1\r\nHost: e\r\n{cookie}Transfer-Encoding: chunked\r\n\r\n{inner}"),
    ] {
        all.push(line);
    }
    all.into_iter()
        .map(|text| text.chars().map(|char| u8::try_from(u32::from(char)).unwrap_or(b'?')).collect())
        .collect()
}

/// Sends a payload in pieces; the statuses that come back until the connection ends or falls silent.
async fn attack(rig: &Rig, payload: &[u8], cuts: &[usize]) -> Vec<u16> {
    let mut client = rig.http1().await;
    let mut from = 0;
    for cut in cuts.iter().copied().chain([payload.len()]) {
        client.send_bytes(&payload[from..cut]).await;
        from = cut;
        yield_now().await;
    }
    // Whoever waits for more of a body is told so by the end of ours.
    let _ = client.stream.shutdown().await;
    let mut statuses = Vec::new();
    while let Ok(Some(answer)) = timeout(Duration::from_secs(5), client.answer()).await {
        statuses.push(answer.status);
    }
    statuses
}

#[test]
fn no_payload_makes_two_requests_of_one_and_none_is_a_fault_of_ours() {
    run(async {
        let rig = Rig::start(&["core1"]).await;
        let cookie = format!("Cookie: X-Auth={}\r\n", rig.token("alice", 600));
        let payloads = payloads(&cookie);
        assert!(payloads.len() > 350, "{}", payloads.len());
        let (mut refused, mut taken) = (0, 0);
        let (mut sent, mut answered) = (0, 0);
        for payload in &payloads {
            for cuts in [vec![], vec![payload.len() / 2], vec![payload.len() / 3, payload.len() - 3]] {
                sent += 1;
                // The name tells which payload a request at the core came from.
                let text = String::from_utf8_lossy(payload);
                let named = text.replacen(LONG, &format!("{LONG}/n{sent}n"), 1);
                let named = if named.len() == payload.len() + format!("/n{sent}n").len() {
                    named.into_bytes()
                } else {
                    payload.clone()
                };
                let statuses = attack(&rig, &named, &cuts).await;
                let shown = String::from_utf8_lossy(&payload[..payload.len().min(600)]);
                assert!(statuses.iter().all(|status| *status < 500), "{statuses:?}: {shown}");
                // What follows a good request is refused, and that is the end.
                let ends = statuses.get(1..).unwrap_or_default();
                assert!(ends.len() <= 1 && ends.iter().all(|status| *status == 400), "{statuses:?}: {shown}");
                match statuses.first() {
                    Some(200) => taken += 1,
                    Some(_) => refused += 1,
                    None => {}
                }
                answered += usize::from(!statuses.is_empty());
            }
        }
        let seen = rig.cores[0].seen.lock().unwrap();
        assert!(!seen.requests.iter().any(|asked| asked.path.contains("smuggled")));
        let mut paths: Vec<_> = seen.requests.iter().map(|asked| asked.path.clone()).collect();
        paths.sort();
        let carried = paths.len();
        paths.dedup();
        assert_eq!(paths.len(), carried, "one payload made two requests");
        // A few are good requests: a field nobody knows, or chunks in a case of their own.
        assert!(refused > taken * 5, "{refused} refused, {taken} taken");
        assert!(answered * 10 > sent * 9, "{answered} of {sent} were told");
    });
}

#[test]
fn the_three_known_payloads_are_refused_wherever_they_are_cut() {
    run(async {
        let rig = Rig::start(&["core1"]).await;
        let cookie = format!("Cookie: X-Auth={}\r\n", rig.token("alice", 600));
        let inner = format!("GET {LONG}/smuggled HTTP/1.1\r\nHost: e\r\n{cookie}\r\n");
        let head = format!("POST {LONG}/echo HTTP/1.1\r\nHost: e\r\n{cookie}");
        let chunk = format!("{head}Transfer-Encoding: chunked\r\n\r\n1;a=\"\r\nX\r\n0\r\n\r\n{inner}");
        let both = format!("{head}Content-Length: 18446744073709551621\r\n\r\nhello{inner}");
        let te = format!("{head}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}");
        for payload in [chunk, both, te] {
            for cut in 1..payload.len() {
                let statuses = attack(&rig, payload.as_bytes(), &[cut]).await;
                assert_eq!(statuses, [400], "cut at {cut}: {payload}");
            }
        }
        let seen = rig.cores[0].seen.lock().unwrap();
        assert!(!seen.requests.iter().any(|asked| asked.path.contains("smuggled")));
    });
}

#[test]
fn pipelined_requests_are_answered_in_order_and_100_continue_works() {
    run(async {
        let rig = Rig::start(&["core1"]).await;
        let cookie = format!("Cookie: X-Auth={}\r\n", rig.token("alice", 600));
        let mut client = rig.http1().await;
        let echo = |body: &str| {
            format!("POST {LONG}/echo HTTP/1.1\r\nHost: e\r\n{cookie}Content-Length: {}\r\n\r\n{body}", body.len())
        };
        client.send(&["a", "bb", "ccc"].map(echo).concat()).await;
        for wanted in ["a", "bb", "ccc"] {
            assert_eq!(client.answer().await.unwrap().body, wanted.as_bytes());
        }
        let expects = format!("{cookie}Expect: 100-continue\r\nContent-Length: 5\r\n");
        client.send(&format!("POST {LONG}/echo HTTP/1.1\r\nHost: e\r\n{expects}\r\n")).await;
        assert_eq!(client.answer().await.unwrap().line, "HTTP/1.1 100 Continue");
        client.send("hello").await;
        assert_eq!(client.answer().await.unwrap().body, b"hello");
    });
}

#[test]
fn slow_clients_are_cut_and_others_are_served_meanwhile() {
    run(async {
        let rig = Rig::start(&["core1"]).await;
        let cookie = format!("Cookie: X-Auth={}\r\n", rig.token("alice", 600));
        let (silent, mut head, mut body) = (rig.http1().await, rig.http1().await, rig.http1().await);
        let begun = Instant::now();
        let slow_head = async {
            for piece in ["GET / HTTP/1.1\r\n"].into_iter().chain(std::iter::repeat("A: b\r\n")) {
                if begun.elapsed() > Duration::from_secs(20) || head.stream.write_all(piece.as_bytes()).await.is_err() {
                    return;
                }
                let _ = head.stream.flush().await;
                sleep(Duration::from_millis(300)).await;
            }
        };
        let slow_body = async {
            let length = "Content-Length: 1000\r\n";
            body.send(&format!("POST {LONG}/echo HTTP/1.1\r\nHost: e\r\n{cookie}{length}\r\nabc")).await;
            let answer = body.answer().await.expect("it is told");
            assert_eq!(answer.status, 408);
        };
        let silent = async {
            let mut stream = silent.stream;
            let _ = stream.read(&mut [0; 100]).await;
        };
        let others = async {
            while begun.elapsed() < Duration::from_secs(9) {
                let asked = Instant::now();
                assert_eq!(rig.get(&format!("{LONG}/x"), &cookie).await.status, 200);
                assert!(asked.elapsed() < Duration::from_secs(2));
                sleep(Duration::from_millis(100)).await;
            }
        };
        let all = async { tokio::join!(slow_head, slow_body, silent, others) };
        assert!(timeout(Duration::from_secs(18), all).await.is_ok(), "somebody was not cut: {:?}", rig.counts.read());
        assert!(begun.elapsed() >= Duration::from_secs(9), "nobody is cut early");
        assert_eq!((rig.counted("https_cut_slow_head"), rig.counted("https_cut_silent")), (1, 1));
    });
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A header block without Huffman or indexing: what a request needs, and a cookie.
pub(super) fn block(last: &str, cookie: &str) -> Vec<u8> {
    let mut block = Vec::new();
    let path = format!("{LONG}/{last}");
    let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "e"), (":path", &path), ("cookie", cookie)];
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let length = text.len();
            // RFC 7541 §5.1, a prefix of seven bits.
            if length < 127 {
                block.push(u8::try_from(length).unwrap());
            } else {
                block.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128).unwrap() | 128);
                    rest /= 128;
                }
                block.push(u8::try_from(rest).unwrap());
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

#[test]
fn floods_over_http2_end_the_connection_and_nobody_elses() {
    run(async {
        let rig = Rig::start(&["core1"]).await;
        let cookie = format!("X-Auth={}", rig.token("alice", 600));
        let (mut requests, connection) = h2::client::handshake(rig.connect(b"h2").await).await.unwrap();
        spawn_local(connection);
        let request = block("x", &cookie);
        let open = |stream: u32| frame(1, 0x4, stream, &request);
        let floods: [(&str, Vec<u8>); 6] = [
            ("PING", frame(6, 0, 0, &[0; 8]).repeat(5_000)),
            ("SETTINGS", frame(4, 0, 0, &[]).repeat(5_000)),
            ("PRIORITY", frame(2, 0, 1, &[0, 0, 0, 3, 1]).repeat(5_000)),
            ("rapid reset", {
                let pair = |n: u32| [frame(1, 0x5, n, &request), frame(3, 0, n, &[0, 0, 0, 8])].concat();
                (0..5_000).flat_map(|n| pair(2 * n + 1)).collect()
            }),
            ("CONTINUATION", [frame(1, 0, 1, &request), frame(9, 0, 1, b"").repeat(5_000)].concat()),
            ("empty DATA", [open(1), frame(0, 0, 1, &[]).repeat(5_000)].concat()),
        ];
        for (name, flood) in floods {
            let mut client = rig.connect(b"h2").await;
            let seen = rig.seen();
            client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
            client.write_all(&frame(4, 0, 0, &[])).await.unwrap();
            let (mut reader, mut writer) = tokio::io::split(client);
            let writing = spawn_local(async move {
                let _ = writer.write_all(&flood).await;
                let _ = writer.flush().await;
                writer
            });
            let ended = async {
                let mut piece = vec![0; 64 * 1024];
                while reader.read(&mut piece).await.is_ok_and(|count| count > 0) {}
            };
            assert!(timeout(Duration::from_secs(10), ended).await.is_ok(), "{name} goes on");
            drop(writing.await);
            assert!(rig.seen() - seen <= 200, "{name}: {} requests went inside", rig.seen() - seen);
            // Somebody else, on a connection of long standing.
            requests = requests.ready().await.unwrap();
            let request = Request::get(format!("https://e{LONG}/x")).header("cookie", &cookie).body(()).unwrap();
            let (answer, _) = requests.send_request(request, true).unwrap();
            let answer = timeout(Duration::from_secs(5), answer).await.expect("served meanwhile").unwrap();
            assert_eq!(answer.status(), 200, "{name}");
        }
    });
}

#[test]
fn bodies_that_are_too_large_are_refused_before_and_while_they_come() {
    run(async {
        let rig = Rig::start(&["core1"]).await;
        let cookie = format!("Cookie: X-Auth={}\r\n", rig.token("alice", 600));
        let mut client = rig.http1().await;
        let length = super::super::limits::BODY_BYTES_MAX + 1;
        client.send(&format!("POST {LONG}/echo HTTP/1.1\r\nHost: e\r\n{cookie}Content-Length: {length}\r\n\r\n")).await;
        assert_eq!(client.answer().await.unwrap().status, 413);
        assert_eq!(rig.seen(), 0);
        let mut client: Plain = rig.http1().await;
        client
            .send(&format!("POST {LONG}/echo HTTP/1.1\r\nHost: e\r\n{cookie}Transfer-Encoding: chunked\r\n\r\n"))
            .await;
        let piece = Bytes::from(vec![b'a'; 1024 * 1024]);
        let (mut reader, mut writer) = tokio::io::split(client.stream);
        let writing = spawn_local(async move {
            for _ in 0..70 {
                let chunk = [b"100000\r\n", &piece[..], b"\r\n"].concat();
                if writer.write_all(&chunk).await.is_err() {
                    break;
                }
            }
        });
        let mut head = vec![0; 12];
        reader.read_exact(&mut head).await.unwrap();
        assert_eq!(String::from_utf8(head).unwrap(), "HTTP/1.1 413");
        writing.abort();
    });
}
