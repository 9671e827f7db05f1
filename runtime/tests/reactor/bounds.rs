//! What strangers and slow readers cannot do.

use std::time::Duration;

use edgeway_model::Output;
use edgeway_model::world::FlowCommand;
use edgeway_runtime::listen::bind_tcp;
use edgeway_runtime::reactor::ReactorLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::run;

#[test]
fn a_handshake_that_dawdles_is_dropped_at_the_deadline() {
    let limits = ReactorLimits { handshake_max: Duration::from_millis(200), ..ReactorLimits::default() };
    run(limits, |world| async move {
        let mut silent = TcpStream::connect(world.tls).await.expect("connect");
        let mut half = TcpStream::connect(world.tls).await.expect("connect");
        half.write_all(&[22, 3, 1, 2, 0, 1]).await.expect("write");
        for dawdler in [&mut silent, &mut half] {
            assert_eq!(dawdler.read(&mut [0; 10]).await.unwrap_or(0), 0);
        }
        world.counted(2, |counters| &counters.timed_out).await;
        assert!(world.log.borrow().opened().is_empty());
    });
}

#[test]
fn what_is_no_tls_is_refused_with_an_alert() {
    run(ReactorLimits::default(), |world| async move {
        let mut stranger = TcpStream::connect(world.tls).await.expect("connect");
        stranger.write_all(b"OPTIONS sip:edge.example SIP/2.0\r\n\r\n").await.expect("write");
        let mut answer = Vec::new();
        let _ = stranger.read_to_end(&mut answer).await;
        assert_eq!(answer.first(), Some(&21), "an alert record: {answer:?}");
        world.counted(1, |counters| &counters.failed).await;
    });
}

#[test]
fn one_address_holds_no_more_handshakes_than_it_may() {
    let limits = ReactorLimits { handshakes_per_address_max: 2, ..ReactorLimits::default() };
    run(limits, |world| async move {
        let first = TcpStream::connect(world.tls).await.expect("connect");
        let _second = TcpStream::connect(world.tls).await.expect("connect");
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.try_connect(None).await.expect_err("refused");
        world.counted(1, |counters| &counters.refused_address).await;
        drop(first);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut flows = Vec::new();
        for count in 1..=3 {
            flows.push(world.connect(None).await);
            world.until("a flow, which is no handshake any more", |log| log.opened().len() == count).await;
        }
    });
}

#[test]
fn a_full_node_closes_newcomers_and_keeps_the_others() {
    let limits = ReactorLimits { flows_max: 2, ..ReactorLimits::default() };
    run(limits, |world| async move {
        let mut first = world.connect(None).await;
        let second = world.connect(None).await;
        world.until("two flows", |log| log.opened().len() == 2).await;
        let newcomer = world.try_connect(None).await;
        if let Ok(mut newcomer) = newcomer {
            assert_eq!(newcomer.read(&mut [0; 1]).await.unwrap_or(0), 0);
        }
        world.counted(1, |counters| &counters.refused_full).await;
        first.write_all(b"still here").await.expect("write");
        first.read_exact(&mut [0; 10]).await.expect("read");
        drop(second);
        world.until("room", |log| log.closed().len() == 1).await;
        let mut third = world.connect(None).await;
        third.write_all(b"in").await.expect("write");
        third.read_exact(&mut [0; 2]).await.expect("read");
    });
}

#[test]
fn a_reader_too_slow_is_closed_and_nobody_else_notices() {
    let limits = ReactorLimits { flow_queue_bytes_max: 256 * 1024, ..ReactorLimits::default() };
    run(limits, |world| async move {
        let slow = world.connect(None).await;
        world.until("opened", |log| log.opened().len() == 1).await;
        let flow = world.log.borrow().opened()[0];
        let mut other = world.connect(None).await;
        let mut pushed = 0;
        while world.log.borrow().closed().is_empty() {
            world.order([Output::Flow { flow, command: FlowCommand::Send { bytes: vec![7; 16 * 1024].into() } }]);
            pushed += 1;
            assert!(pushed < 2_000, "the bound was never reached");
            tokio::task::yield_now().await;
        }
        assert!(world.log.borrow().closed()[0].contains("does not read"), "{:?}", world.log.borrow().closed());
        other.write_all(b"fine").await.expect("write");
        other.read_exact(&mut [0; 4]).await.expect("read");
        // The socket itself is given up within the time a closing flow has.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let (mut tcp, _) = slow.into_inner();
        let mut left = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(2), tcp.read_to_end(&mut left)).await.expect("closed");
        assert_eq!(world.log.borrow().closed().len(), 1, "told once");
    });
}

#[test]
fn a_port_in_use_is_explained() {
    let held = bind_tcp("sip.listen", "127.0.0.1:0".parse().expect("address")).expect("bind");
    let address = held.local_addr().expect("bound");
    let fault = bind_tcp("sip.listen", address).expect_err("in use");
    assert_eq!(
        fault.to_string(),
        format!(
            "sip.listen cannot listen on {address}: another program uses this port. \
             Stop that program (`ss -lntup` names it), or choose another port"
        )
    );
    assert_eq!(fault.exit_code(), 69);
    let fault = bind_tcp("sip.listen", "203.0.113.9:5061".parse().expect("address")).expect_err("not ours");
    assert_eq!(fault.exit_code(), 78);
}
