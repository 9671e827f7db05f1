//! SIP over UDP.

use edgeway_model::Output;
use edgeway_runtime::listen::{bind_udp, serve_udp};
use edgeway_runtime::reactor::ReactorLimits;
use tokio::net::UdpSocket;

use crate::world::run;

#[test]
fn datagrams_go_both_ways_and_bursts_are_kept() {
    run(ReactorLimits::default(), |world| async move {
        let any = "127.0.0.1:0".parse().expect("address");
        let socket = bind_udp("UDP", any).expect("bind");
        let local = socket.local_addr().expect("bound");
        serve_udp(&world.reactor, socket).expect("serve");
        let peer = UdpSocket::bind(any).await.expect("bind");
        for burst in [1, 150_u32] {
            for index in 0..burst {
                peer.send_to(&index.to_be_bytes(), local).await.expect("send");
            }
            let mut buffer = [0; 100];
            for index in 0..burst {
                let (count, from) = peer.recv_from(&mut buffer).await.expect("receive");
                assert_eq!((&buffer[..count], from), (&index.to_be_bytes()[..], local));
            }
        }
    });
}

#[test]
fn a_peer_that_is_gone_disturbs_nobody() {
    run(ReactorLimits::default(), |world| async move {
        let any = "127.0.0.1:0".parse().expect("address");
        let socket = bind_udp("UDP", any).expect("bind");
        let local = socket.local_addr().expect("bound");
        serve_udp(&world.reactor, socket).expect("serve");
        let gone = UdpSocket::bind(any).await.expect("bind").local_addr().expect("bound");
        for _ in 0..3 {
            world.order([Output::Datagram { local, peer: gone, bytes: "lost".into() }]);
            tokio::task::yield_now().await;
        }
        // A socket nobody serves: dropped, not a panic.
        world.order([Output::Datagram { local: gone, peer: local, bytes: "lost".into() }]);
        let peer = UdpSocket::bind(any).await.expect("bind");
        peer.send_to(b"hello", local).await.expect("send");
        let mut buffer = [0; 100];
        let (count, _) = peer.recv_from(&mut buffer).await.expect("receive");
        assert_eq!(&buffer[..count], b"hello");
    });
}
