//! What one client does to the connection that carries all of them.

use std::time::{Duration, Instant};

use http::Request;
use tokio::io::AsyncWriteExt as _;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::rig::{LONG, Rig, run};

#[test]
fn bodies_in_pieces_of_one_byte_harm_nobody_else() {
    run(async {
        let mut rig = Rig::start(&[]).await;
        let wire = rig.add_core_behind_a_wire("core1").await;
        let cookie = format!("Cookie: X-Auth={}\r\n", rig.token("alice", 600));
        let head = |tail: &str| {
            format!("POST {LONG}/{tail} HTTP/1.1\r\nHost: e\r\n{cookie}Transfer-Encoding: chunked\r\n\r\n")
        };
        // Nobody at the core reads these, so that each frame costs it something: 80,000 would be too many.
        let mut held = Vec::new();
        for _ in 0..20 {
            let mut client = rig.http1().await;
            client.send(&head("never")).await;
            client.send(&"1\r\na\r\n".repeat(4_000)).await;
            held.push(client);
        }
        let before = wire.inwards.get();
        let mut echo = rig.http1().await;
        echo.send(&head("echo")).await;
        for _ in 0..10 {
            echo.send(&"1\r\nb\r\n".repeat(4_000)).await;
        }
        echo.send("0\r\n\r\n").await;
        assert_eq!(echo.answer().await.expect("it is answered").body, vec![b'b'; 40_000]);
        assert!(wire.inwards.get() - before < 60_000, "it goes inside in large pieces: {}", wire.inwards.get());
        assert_eq!(rig.counted("https_bulk_ended"), 0);
        drop(held);
    });
}

#[test]
fn a_body_behind_credentials_waits_until_a_core_asks_for_it() {
    run(async {
        let mut rig = Rig::start(&[]).await;
        let wire = rig.add_core_behind_a_wire("core1").await;
        let basic = "Authorization: Basic YTpi\r\nContent-Length: 100000\r\n";
        let body = "a".repeat(100_000);
        let mut unwanted = rig.http1().await;
        unwanted.send(&format!("POST {LONG}/never HTTP/1.1\r\nHost: e\r\n{basic}\r\n{body}")).await;
        rig.until("it is asked", |rig| rig.seen() == 1).await;
        let mut wanted = rig.http1().await;
        wanted.send(&format!("POST {LONG}/echo HTTP/1.1\r\nHost: e\r\n{basic}\r\n{body}")).await;
        assert_eq!(wanted.answer().await.expect("it is answered").body.len(), 100_000);
        assert!(wire.inwards.get() < 150_000, "only one body has gone inside: {}", wire.inwards.get());
    });
}

#[test]
fn clients_that_ask_and_give_up_harm_nobody_else() {
    run(async {
        let rig = Rig::start(&["core1"]).await;
        let cookie = format!("X-Auth={}", rig.token("alice", 600));
        let begun = Instant::now();
        let mut attackers = Vec::new();
        for number in 0..200_u8 {
            let stream = rig.connect_from(2 + number % 40, b"h2").await;
            let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
            spawn_local(connection);
            let shown = cookie.clone();
            attackers.push(spawn_local(async move {
                for _ in 0..90 {
                    let Ok(ready) = requests.ready().await else { return };
                    requests = ready;
                    let path = format!("https://e{LONG}/never");
                    let request = Request::get(path).header("cookie", &shown).body(()).unwrap();
                    let Ok((answer, _)) = requests.send_request(request, true) else { return };
                    let _ = timeout(Duration::from_millis(1), answer).await;
                }
            }));
            if number % 20 == 0 {
                let fields = format!("Cookie: {cookie}\r\n");
                let answered = timeout(Duration::from_secs(10), rig.get(&format!("{LONG}/x"), &fields)).await;
                assert_eq!(answered.expect("served meanwhile").status, 200);
            }
        }
        for attacker in attackers {
            let _ = timeout(Duration::from_secs(30), attacker).await;
        }
        let fields = format!("Cookie: {cookie}\r\n");
        assert_eq!(rig.get(&format!("{LONG}/x"), &fields).await.status, 200);
        assert_eq!(rig.counted("https_bulk_ended"), 0, "after {:?}", begun.elapsed());
        assert!(rig.counted("https_cancels_too_much") > 0, "{:?}", rig.counts.read());
        assert!(rig.seen() < 12_000, "{} went inside", rig.seen());
    });
}

#[test]
fn resets_of_thousands_of_streams_at_once_end_nothing() {
    run(async {
        let rig = Rig::start(&["core1"]).await;
        let cookie = format!("Cookie: X-Auth={}\r\n", rig.token("alice", 600));
        let mut waiting = Vec::new();
        for number in 0..1_500_u16 {
            let mut client = rig.connect_from(2 + u8::try_from(number % 100).unwrap(), b"http/1.1").await;
            let request = format!("GET {LONG}/never HTTP/1.1\r\nHost: e\r\n{cookie}\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            waiting.push(client);
        }
        rig.until("all are asked", |rig| rig.seen() == 1_500).await;
        drop(waiting);
        rig.until("all are given up", |rig| rig.cores[0].seen.lock().unwrap().cancelled == 1_500).await;
        assert_eq!(rig.get(&format!("{LONG}/x"), &cookie).await.status, 200);
        assert_eq!(rig.counted("https_bulk_ended"), 0);
    });
}
