//! Bytes through flows, however they are cut.

use std::time::Duration;

use edgeway_model::Output;
use edgeway_model::world::{FlowCommand, Transport};
use edgeway_runtime::flow::writes;
use edgeway_runtime::reactor::ReactorLimits;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::run;

#[test]
fn many_clients_of_both_versions_are_echoed() {
    run(ReactorLimits { handshake_threads: 2, ..ReactorLimits::default() }, |world| async move {
        let mut clients = Vec::new();
        for index in 0..60_u32 {
            let version = if index % 2 == 0 { &TLS12 } else { &TLS13 };
            clients.push(world.connect(Some(version)).await);
        }
        for round in 0..20_u32 {
            for (index, client) in clients.iter_mut().enumerate() {
                client.write_all(format!("{index:04}/{round:04}").as_bytes()).await.expect("write");
            }
            for (index, client) in clients.iter_mut().enumerate() {
                let mut echoed = [0; 9];
                client.read_exact(&mut echoed).await.expect("read");
                assert_eq!(echoed, *format!("{index:04}/{round:04}").as_bytes());
            }
        }
        assert_eq!(world.log.borrow().opened().len(), 60);
        world.counted(60, |counters| &counters.established).await;
    });
}

/// Records cut at every byte of the TCP stream: the flow keeps half a record and goes on.
#[test]
fn ciphertext_may_be_cut_anywhere() {
    run(ReactorLimits::default(), |world| async move {
        for version in [&TLS12, &TLS13] {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let mut tcp = TcpStream::connect(world.tls).await.expect("connect");
            tcp.set_nodelay(true).expect("option");
            // Whatever the client writes reaches the socket in pieces of one to three bytes.
            tokio::task::spawn_local(async move {
                let (mut from_client, mut to_client) = tokio::io::split(theirs);
                let (mut from_server, mut to_server) = tcp.split();
                let chop = async {
                    let (mut buffer, mut turn) = ([0; 4096], 0_usize);
                    while let Ok(count) = from_client.read(&mut buffer).await {
                        let mut rest = &buffer[..count];
                        while !rest.is_empty() {
                            turn += 1;
                            let (piece, left) = rest.split_at(rest.len().min(1 + turn % 3));
                            to_server.write_all(piece).await.expect("write");
                            tokio::task::yield_now().await;
                            rest = left;
                        }
                        if count == 0 {
                            return;
                        }
                    }
                };
                let _ = tokio::join!(chop, tokio::io::copy(&mut from_server, &mut to_client));
            });
            let mut client = world.connect_over(ours, version).await;
            let message: Vec<u8> = (0..2_000_u32).flat_map(u32::to_be_bytes).collect();
            client.write_all(&message).await.expect("write");
            client.flush().await.expect("flush");
            let mut echoed = vec![0; message.len()];
            client.read_exact(&mut echoed).await.expect("read");
            assert!(echoed == message);
        }
    });
}

/// Larger than a record, a scratch buffer and a socket buffer, both ways at once.
#[test]
fn large_messages_pass_whole() {
    run(ReactorLimits::default(), |world| async move {
        let client = world.connect(None).await;
        let message: Vec<u8> = (0..200_000_u32).flat_map(u32::to_be_bytes).collect();
        let (mut read, mut write) = tokio::io::split(client);
        let sent = message.clone();
        let writer = tokio::task::spawn_local(async move {
            write.write_all(&sent).await.expect("write");
            write.flush().await.expect("flush");
            write
        });
        let mut echoed = vec![0; message.len()];
        read.read_exact(&mut echoed).await.expect("read");
        assert!(echoed == message);
        drop(writer.await.expect("writer"));
    });
}

#[test]
fn a_client_may_change_its_keys() {
    run(ReactorLimits::default(), |world| async move {
        let mut client = world.connect(Some(&TLS13)).await;
        for _ in 0..3 {
            client.get_mut().1.refresh_traffic_keys().expect("key update");
            client.write_all(b"after").await.expect("write");
            let mut echoed = [0; 5];
            client.read_exact(&mut echoed).await.expect("read");
            assert_eq!(&echoed, b"after");
        }
    });
}

/// Ten pieces queued in one turn leave in one write.
#[test]
fn one_write_per_turn() {
    run(ReactorLimits::default(), |world| async move {
        let mut client = world.connect(None).await;
        let mut answer = [0; 1_000];
        for _ in 0..5 {
            let before = writes();
            client.write_all(b"many!").await.expect("write");
            client.read_exact(&mut answer).await.expect("read");
            assert_eq!(writes() - before, 1);
        }
        assert!(answer.chunks(100).zip(b'0'..).all(|(piece, digit)| piece.iter().all(|byte| *byte == digit)));
    });
}

#[test]
fn a_dialled_flow_sends_what_was_queued_before_it_stood() {
    run(ReactorLimits::default(), |world| async move {
        let inside = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = inside.local_addr().expect("bound");
        let flow = world.dial(1, address, Transport::Tcp);
        let (mut accepted, _) = inside.accept().await.expect("accept");
        let mut first = [0; 5];
        accepted.read_exact(&mut first).await.expect("read");
        assert_eq!(&first, b"first");
        world.until("opened", |log| log.opened() == [flow]).await;
        accepted.write_all(b"answer").await.expect("write");
        world.until("answer", |log| log.received(b"answer") == 1).await;
        world.order([Output::Flow { flow, command: FlowCommand::Close { why: "done" } }]);
        let mut rest = Vec::new();
        accepted.read_to_end(&mut rest).await.expect("end");
        assert_eq!(rest, b"answer", "the echo, then the end");
        assert!(world.log.borrow().closed().is_empty(), "the node knows that it closed");
    });
}

#[test]
fn a_dial_that_fails_is_told() {
    run(ReactorLimits::default(), |world| async move {
        let gone = TcpListener::bind("127.0.0.1:0").await.expect("bind").local_addr().expect("bound");
        world.dial(1, gone, Transport::Tcp);
        world.until("refused", |log| log.closed().iter().any(|why| why.contains("refused"))).await;
        world.dial(2, gone, Transport::Tls);
        world.until("no TLS", |log| log.closed().iter().any(|why| why.contains("TLS is not set up"))).await;
    });
}

#[test]
fn plain_tcp_is_served_too() {
    run(ReactorLimits::default(), |world| async move {
        let mut client = TcpStream::connect(world.tcp).await.expect("connect");
        client.write_all(b"hello").await.expect("write");
        let mut echoed = [0; 5];
        client.read_exact(&mut echoed).await.expect("read");
        assert_eq!(&echoed, b"hello");
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(client);
        world.until("closed", |log| log.closed() == ["closed by the peer"]).await;
    });
}
