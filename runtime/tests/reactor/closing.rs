//! How flows end.

use std::io::ErrorKind;
use std::time::Duration;

use edgeway_runtime::reactor::ReactorLimits;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::run;

/// The last answer arrives, then close_notify, then FIN: no reset, although the client goes on sending.
#[test]
fn what_is_queued_leaves_before_the_flow_closes() {
    run(ReactorLimits::default(), |world| async move {
        for version in [&TLS12, &TLS13] {
            let mut client = world.connect(Some(version)).await;
            client.write_all(b"please close!").await.expect("write");
            client.write_all(&[b'x'; 5_000]).await.expect("write");
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.expect("a clean end");
            assert!(answer.starts_with(b"please close!"), "{}", answer.len());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(world.log.borrow().closed().is_empty(), "the node knows that it closed");
    });
}

/// Handshake, request and close_notify may all be there before the server reads.
#[test]
fn one_that_speaks_and_goes_at_once_is_heard() {
    run(ReactorLimits::default(), |world| async move {
        for count in 1..=20 {
            let mut client = world.connect(Some(&TLS13)).await;
            client.write_all(b"bye").await.expect("write");
            client.shutdown().await.expect("close_notify");
            world.until("heard, and gone", |log| log.received(b"bye") == count && log.closed().len() == count).await;
        }
    });
}

#[test]
fn a_client_that_goes_is_told_once() {
    run(ReactorLimits::default(), |world| async move {
        let mut polite = world.connect(None).await;
        polite.write_all(b"bye").await.expect("write");
        polite.shutdown().await.expect("close_notify");
        world.until("closed", |log| log.closed().len() == 1).await;
        // Session tickets it never read turn this end into a reset.
        let abrupt = world.connect(None).await;
        world.until("opened", |log| log.opened().len() == 2).await;
        drop(abrupt);
        world.until("closed", |log| log.closed().len() == 2).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let closed = world.log.borrow().closed();
        assert_eq!((closed.len(), closed[0].as_str()), (2, "closed by the peer"), "{closed:?}");
    });
}

#[test]
fn broken_records_end_the_flow_with_an_alert() {
    run(ReactorLimits::default(), |world| async move {
        let mut client = world.connect(Some(&TLS13)).await;
        client.get_mut().0.write_all(&[23, 3, 3, 0, 32]).await.expect("write");
        client.get_mut().0.write_all(&[0; 32]).await.expect("write");
        let error = client.read(&mut [0; 10]).await.expect_err("an alert");
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        world.until("closed", |log| log.closed().len() == 1).await;
        assert!(world.log.borrow().closed()[0].starts_with("TLS: "), "{:?}", world.log.borrow().closed());
    });
}

#[test]
fn a_node_that_stops_says_goodbye_to_everybody() {
    run(ReactorLimits::default(), |world| async move {
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(world.connect(None).await);
        }
        world.until("opened", |log| log.opened().len() == 20).await;
        let readers = clients.into_iter().map(|mut client| {
            tokio::task::spawn_local(async move {
                client.read_to_end(&mut Vec::new()).await.expect("a clean end");
            })
        });
        let readers: Vec<_> = readers.collect();
        let before = std::time::Instant::now();
        world.reactor.shut_down("stopping").await;
        assert!(before.elapsed() < Duration::from_secs(1), "nobody was waited for in vain");
        for reader in readers {
            reader.await.expect("reader");
        }
        if let Ok(mut late) = world.try_connect(None).await {
            assert_eq!(late.read(&mut [0; 1]).await.unwrap_or(0), 0);
        }
        assert!(world.log.borrow().closed().is_empty());
    });
}

/// A bug that one message hits costs that message's connection, and the node hears of it.
#[test]
fn a_panic_of_the_node_costs_one_flow() {
    run(ReactorLimits::default(), |world| async move {
        let mut unlucky = world.connect(None).await;
        let mut other = world.connect(None).await;
        world.until("opened", |log| log.opened().len() == 2).await;
        unlucky.write_all(b"panic!").await.expect("write");
        unlucky.read(&mut [0; 1]).await.expect_err("the end, without close_notify");
        for _ in 0..2 {
            other.write_all(b"alive").await.expect("write");
            other.read_exact(&mut [0; 5]).await.expect("read");
        }
        assert_eq!(world.log.borrow().closed(), ["an internal error"]);
    });
}
