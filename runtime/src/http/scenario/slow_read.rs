//! Clients that ask for much and read nothing, or take nothing of it.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

use super::super::limits::SWEEP_EVERY;
use super::hostile::{block, frame};
use super::rig::{BIG_BYTES, LONG, Rig, run};

/// In place of half a minute.
const STALLED_MAX: Duration = Duration::from_secs(1);
/// How far a busy machine may be behind.
const SLACK: Duration = Duration::from_secs(4);
/// Frames of HTTP/2 and chunks of HTTP/1.1 around a body.
const OVERHEAD_MAX: usize = BIG_BYTES / 20;

/// Waits until `what` was counted, while others are served; how long that took.
async fn until_cut(rig: &Rig, what: &str) -> Duration {
    let begun = Instant::now();
    let cookie = format!("Cookie: X-Auth={}\r\n", rig.token("bob", 600));
    let mut other = rig.http1().await;
    while rig.counted(what) == 0 {
        assert!(begun.elapsed() < 3 * STALLED_MAX + SWEEP_EVERY + SLACK, "not cut: {:?}", rig.counts.read());
        let asked = Instant::now();
        other.send(&format!("GET {LONG}/x HTTP/1.1\r\nHost: e\r\n{cookie}\r\n")).await;
        assert_eq!(other.answer().await.expect("served meanwhile").status, 200);
        assert!(asked.elapsed() < SLACK, "others wait");
        sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

/// Reads what is still there to the end, which must come; how much it was.
async fn rest(stream: &mut TlsStream<TcpStream>) -> usize {
    let mut read = 0;
    let mut piece = vec![0; 64 * 1024];
    let all = async {
        while let Ok(count @ 1..) = stream.read(&mut piece).await {
            read += count;
        }
    };
    assert!(timeout(SLACK, all).await.is_ok(), "the connection is still there");
    read
}

/// A client of HTTP/2 with a request for much; `stream_window`: how much of it may come.
async fn http2(rig: &Rig, stream_window: u32) -> TlsStream<TcpStream> {
    let mut client = rig.connect(b"h2").await;
    let initial = [&[0, 4][..], &stream_window.to_be_bytes()].concat();
    let connection = 0x7000_0000_u32.to_be_bytes();
    let request = block("big", &format!("X-Auth={}", rig.token("alice", 600)));
    let begin = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &initial),
        frame(8, 0, 0, &connection),
        frame(1, 0x5, 1, &request),
    ];
    client.write_all(&begin.concat()).await.expect("sent");
    client.flush().await.expect("sent");
    client
}

#[test]
fn a_client_that_does_not_read_is_cut_over_http1() {
    run(async {
        let rig = Rig::start_with(&["core1"], STALLED_MAX).await;
        let cookie = format!("Cookie: X-Auth={}\r\n", rig.token("alice", 600));
        let mut client = rig.http1().await;
        client.send(&format!("GET {LONG}/big HTTP/1.1\r\nHost: e\r\n{cookie}\r\n")).await;
        let took = until_cut(&rig, "https_cut_slow_read").await;
        assert!(took >= STALLED_MAX && took < STALLED_MAX + SWEEP_EVERY + SLACK, "{took:?}");
        assert!(rest(&mut client.stream).await < BIG_BYTES);
    });
}

#[test]
fn a_client_that_does_not_read_is_cut_over_http2() {
    run(async {
        let rig = Rig::start_with(&["core1"], STALLED_MAX).await;
        let mut client = http2(&rig, 0x7000_0000).await;
        let took = until_cut(&rig, "https_cut_slow_read").await;
        assert!(took >= STALLED_MAX && took < STALLED_MAX + SWEEP_EVERY + SLACK, "{took:?}");
        assert!(rest(&mut client).await < BIG_BYTES);
    });
}

#[test]
fn a_client_that_reads_and_takes_nothing_is_cut_over_http2() {
    run(async {
        let rig = Rig::start_with(&["core1"], STALLED_MAX).await;
        let mut client = http2(&rig, 1_000).await;
        let cut = async {
            let took = until_cut(&rig, "https_cut_stalled").await;
            assert!(took >= 2 * STALLED_MAX && took < 2 * STALLED_MAX + SWEEP_EVERY + SLACK, "{took:?}");
        };
        let reading = async {
            let mut piece = vec![0; 64 * 1024];
            let mut read = 0;
            while let Ok(count @ 1..) = client.read(&mut piece).await {
                read += count;
            }
            assert!(read < 64 * 1024, "{read} bytes came");
        };
        assert!(timeout(3 * STALLED_MAX + SWEEP_EVERY + SLACK, async { tokio::join!(cut, reading) }).await.is_ok());
    });
}

#[test]
fn a_client_that_reads_slowly_but_enough_gets_all_of_it() {
    run(async {
        let rig = Rig::start_with(&["core1"], STALLED_MAX).await;
        let cookie = format!("Cookie: X-Auth={}\r\n", rig.token("alice", 600));
        let mut client = rig.http1().await;
        client.send(&format!("GET {LONG}/big HTTP/1.1\r\nHost: e\r\nConnection: close\r\n{cookie}\r\n")).await;
        let (mut read, mut piece) = (0, vec![0; 256 * 1024]);
        // For longer than anybody may take nothing.
        let begun = Instant::now();
        while let Ok(count @ 1..) = client.stream.read(&mut piece).await {
            read += count;
            if begun.elapsed() < 3 * STALLED_MAX {
                sleep(STALLED_MAX / 10).await;
            }
        }
        assert!((BIG_BYTES..BIG_BYTES + OVERHEAD_MAX).contains(&read), "{read}");
        assert!(begun.elapsed() >= 3 * STALLED_MAX);
        assert_eq!(rig.counted("https_cut_slow_read"), 0);
    });
}
