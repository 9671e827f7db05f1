//! Much to carry, and little that is kept.

use std::time::Duration;

use bytes::Bytes;
use edgeway_model::chat::ChatEnd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use super::super::client::ClientTask;
use super::super::wire::moves;
use super::super::{ChatBounds, vitals::Vitals};
use super::rig::{LONG, Rig, Setup, WINDOW, run};

/// More than sockets and windows hold.
const MUCH: usize = 10 * 1024 * 1024;
/// What sockets, windows and one turn hold of it.
const LITTLE: usize = 4 * 1024 * 1024;

#[test]
fn an_idle_client_is_small() {
    assert!(size_of::<ClientTask>() <= 1_024, "{}", size_of::<ClientTask>());
    assert!(size_of::<Vitals>() <= 320, "{}", size_of::<Vitals>());
}

#[test]
fn what_a_client_does_not_take_stays_with_the_core() {
    run(async {
        let bounds = ChatBounds { stalled_max: Duration::from_secs(2), ..ChatBounds::default() };
        let rig = Rig::start_with(Setup { bounds, ..Setup::default() });
        let (mut client, core) = rig.signed_in().await;
        let piece = Bytes::from(format!("<message>{}</message>", "x".repeat(8_000)));
        let mut sent = 0;
        let sends = async {
            while sent < MUCH {
                if core.stream.room().await.is_err() {
                    return;
                }
                core.stream.send(piece.clone());
                sent += piece.len();
            }
        };
        assert!(timeout(LONG, sends).await.is_ok(), "it is cut");
        assert!(sent < LITTLE, "{sent} bytes were taken for a client that reads nothing");
        rig.until("it is cut", |rig| rig.counted("chat_cut_stalled") == 1).await;
        assert_eq!(core.hears_out().await.1, ChatEnd::Broken);
        client.whatever_comes().await;
    });
}

#[test]
fn a_client_that_reads_slowly_gets_all_of_it() {
    run(async {
        let bounds = ChatBounds { stalled_max: Duration::from_secs(2), ..ChatBounds::default() };
        let rig = Rig::start_with(Setup { bounds, ..Setup::default() });
        let (mut client, core) = rig.signed_in().await;
        let piece = Bytes::from(format!("<message>{}</message>", "x".repeat(8_000)));
        let count = LITTLE / piece.len();
        let sends = async {
            for _ in 0..count {
                core.stream.room().await.expect("it reads");
                core.stream.send(piece.clone());
            }
        };
        let reads = async {
            let (mut read, mut room) = (0, vec![0; 64 * 1024]);
            while read < count * piece.len() {
                read += client.pipe.read(&mut room).await.expect("it is there");
                sleep(Duration::from_millis(5)).await;
            }
            read
        };
        let ((), read) = timeout(LONG * 2, async { tokio::join!(sends, reads) }).await.expect("all of it comes");
        assert_eq!((read, rig.counted("chat_cut_stalled")), (count * piece.len(), 0));
    });
}

#[test]
fn what_the_core_does_not_take_stays_with_the_client() {
    run(async {
        let rig = Rig::start();
        let (mut client, core) = rig.signed_in().await;
        let piece = format!("<message>{}</message>", "x".repeat(8_000)).into_bytes();
        let mut said = 0;
        let says = async {
            while said < MUCH {
                client.pipe.write_all(&piece).await.expect("it is there");
                said += piece.len();
            }
        };
        assert!(timeout(Duration::from_secs(2), says).await.is_err(), "{said} bytes were taken, and nobody reads");
        let mut taken = 0;
        while let Ok(crate::chat::Item::Bytes(bytes)) = timeout(Duration::from_millis(500), core.stream.receive()).await
        {
            taken += bytes.len();
            if taken > 2 * WINDOW {
                break;
            }
        }
        // All that was held for the core was its window and one read; then it goes on.
        assert!(taken > 2 * WINDOW, "{taken}");
    });
}

#[test]
fn both_ways_at_once_nothing_is_lost() {
    run(async {
        let rig = Rig::start();
        let (client, core) = rig.signed_in().await;
        core.echoes();
        let (mut from, mut to) = tokio::io::split(client.pipe);
        let message = |n: usize| format!("<message id='{n}'><body>{}</body></message>", "y".repeat(n % 500));
        let says = async {
            for n in 0..4_000 {
                to.write_all(message(n).as_bytes()).await.expect("it is there");
            }
            to.flush().await.expect("it is there");
        };
        let hears = async {
            for n in 0..4_000 {
                let mut heard = vec![0; message(n).len()];
                from.read_exact(&mut heard).await.expect("it comes");
                assert!(heard == message(n).as_bytes(), "message {n}");
            }
        };
        timeout(LONG, async { tokio::join!(says, hears) }).await.expect("all of it comes");
    });
}

#[test]
fn a_message_costs_one_read_or_one_write_and_a_batch_no_more() {
    run(async {
        let rig = Rig::start();
        let (mut client, core) = rig.signed_in().await;
        sleep(Duration::from_millis(50)).await;
        let before = moves();
        for n in 0..20 {
            client.send(&format!("<message id='{n:02}'/>")).await;
            assert_eq!(core.hears(18).await.len(), 18);
        }
        let (reads, writes) = moves();
        assert_eq!((reads - before.0, writes - before.1), (20, 0));
        let before = moves();
        for _ in 0..20 {
            for _ in 0..50 {
                core.says("<message/>");
            }
            core.says("<presence/>");
            client.until("<presence/>").await;
        }
        let (reads, writes) = moves();
        assert_eq!((reads - before.0, writes - before.1), (0, 20));
    });
}
