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
