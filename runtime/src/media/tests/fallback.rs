//! Packets larger than a datagram, and media where UDP is blocked.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use rustls::{ClientConnection, Connection, ServerConnection};

use super::*;
use crate::media::limits::{LINK_SILENT_AFTER, STREAM_QUEUE_BYTES, STREAM_STALE_AFTER};
use crate::media::poller::{Poller, Ready};
use crate::media::stream::{StreamEvent, Streams};
use crate::pki::server_name;
use crate::pki::tls::{for_media_stream, to_media_stream};

/// A video packet: RTP, `payload` bytes.
fn video(sequence: u16, payload: usize) -> Vec<u8> {
    let mut packet = clear(Component::Rtp, sequence);
    packet.extend((0..payload).map(|n| n as u8));
    packet
}

impl Call {
    /// One video packet each way; whether both arrived as they were sent.
    fn video_both_ways(&mut self, payload: usize) -> bool {
        self.sequence += 1;
        let sent = video(self.sequence, payload);
        let mut packet = [&sent[..], &[0; 14]].concat();
        let len = self.sender.protect_rtp(&mut packet, sent.len()).unwrap();
        self.client[0].send_to(&packet[..len], at(self.outside_ports.rtp)).unwrap();
        let Some((got, _)) = receive(&self.inside[0]) else { return false };
        assert_eq!(got[12..], sent[12..]);
        settle();
        self.inside[0].send_to(&sent, at(self.inside_ports.rtp)).unwrap();
        let Some((got, _)) = receive(&self.client[0]) else { return false };
        let opened = open(&mut self.receiver, Component::Rtp, &got).expect("protected with our key");
        assert_eq!(opened[12..], sent[12..]);
        true
    }
}

#[test]
fn a_video_packet_crosses_a_path_that_is_too_narrow_for_it() {
    let mut pair = Pair::unlinked();
    // 1,280 bytes of IPv6 or IPv4, less their headers and that of UDP.
    pair.dial(Wire::poor(pair.address, Duration::from_millis(1), usize::MAX, 1_280 - 48).address);
    assert!(pair.core.path(SOON, MediaPath::Udp).is_some() && pair.edge.path(SOON, MediaPath::Udp).is_some());
    let mut call = pair.call(1);
    assert!(call.both_ways());
    for payload in [1_100, 1_150, 1_200, 1_388, 1_400, 1_452] {
        for _ in 0..FEW {
            assert!(call.video_both_ways(payload), "{payload} bytes");
        }
    }
}

/// What the link port does for media connections, without the rest of it.
fn serve(listener: TcpListener, identity: &Identity, media: MediaHandle) {
    let config = for_media_stream(&media_server_config(identity).unwrap());
    std::thread::spawn(move || {
        while let Ok((mut tcp, _)) = listener.accept() {
            let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            while tls.is_handshaking() {
                if tls.complete_io(&mut tcp).is_err() {
                    break;
                }
            }
            if !tls.is_handshaking() {
                media.adopt(node("core1"), tcp, tls);
            }
        }
    });
}

#[test]
fn media_falls_back_to_tcp_and_returns_to_udp_in_the_middle_of_a_call() {
    let mut pair = Pair::unlinked();
    // Other tests may have the port for TCP that the wire has got for UDP.
    let both = |_| {
        let wire = Wire::to(pair.address);
        Some((TcpListener::bind(wire.address).ok()?, wire))
    };
    let (listener, wire) = (0..10).find_map(both).expect("a port for both");
    wire.cut.store(true, Ordering::Relaxed);
    serve(listener, &pair.edge_identity, pair.edge.media.clone());
    pair.dial(wire.address);
    assert!(pair.core.path(SOON, MediaPath::Tcp).is_some() && pair.edge.path(SOON, MediaPath::Tcp).is_some());
    let mut call = pair.call(1);
    for _ in 0..FEW {
        assert!(call.both_ways() && call.video_both_ways(1_400));
    }
    pair.core.media.send_control(node("edge1"), Bytes::from_static(b"probe"));
    assert_eq!(pair.edge.control(SOON).as_deref(), Some(&b"probe"[..]));

    // UDP comes back, and is taken.
    wire.cut.store(false, Ordering::Relaxed);
    let redial = LINK_IDLE + SOON + SOON;
    assert!(pair.core.path(redial, MediaPath::Udp).is_some() && pair.edge.path(SOON, MediaPath::Udp).is_some());
    assert!(call.both_ways() && call.video_both_ways(1_400));

    // UDP is lost in the call; TCP is there when it is given up, so there never is no path.
    wire.cut.store(true, Ordering::Relaxed);
    assert!(pair.core.path(LINK_SILENT_AFTER + SOON, MediaPath::Tcp).is_some());
    assert!(pair.edge.path(SOON, MediaPath::Tcp).is_some());
    assert!(call.both_ways() && call.video_both_ways(1_400));
    assert!(pair.core.path(Duration::ZERO, MediaPath::None).is_none());
}

/// Two ends of a TLS connection on loopback.
fn connected() -> ((TcpStream, Connection), (TcpStream, ServerConnection)) {
    let authority = Authority::ephemeral().unwrap();
    let (edge, core) = (node("edge1"), node("core1"));
    let server = media_server_config(&authority.issue(&edge, Role::Edge).unwrap()).unwrap();
    let client = media_client_config(&authority.issue(&core, Role::Core).unwrap(), &edge).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut near, _) = listener.accept().unwrap();
    let mut server = ServerConnection::new(for_media_stream(&server)).unwrap();
    let mut client = ClientConnection::new(to_media_stream(&client), server_name(&edge)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while client.is_handshaking() {
                client.complete_io(&mut far).map(drop).unwrap()
            }
        });
        while server.is_handshaking() {
            server.complete_io(&mut near).map(drop).unwrap();
        }
    });
    ((far, client.into()), (near, server))
}

#[test]
fn a_tcp_connection_that_does_not_take_costs_a_bounded_amount_and_late_media_gives_way() {
    let ((tcp, tls), (mut near, mut server)) = connected();
    let poller = Poller::new().unwrap();
    let mut streams = Streams::default();
    let stream = streams.add(tcp, tls, true, &poller).unwrap();
    let start = Instant::now();
    let mut sent = 0u32;
    // Nobody reads: more than all buffers of the system take.
    while sent < 20_000 {
        let datagram = [&sent.to_be_bytes()[..], &[7; 1_000]].concat();
        assert!(streams.send(stream, datagram.into(), start));
        sent += 1;
        streams.flush(&poller, start);
        assert!(streams.queued_bytes(stream) <= STREAM_QUEUE_BYTES);
    }
    // Then somebody does. What has waited too long is not sent any more; the last one is.
    let later = start + STREAM_STALE_AFTER * 2;
    streams.send(stream, [&sent.to_be_bytes()[..], &[7; 1_000]].concat().into(), later);
    let reader = std::thread::spawn(move || {
        let (mut count, mut last) = (0, 0);
        while last != 20_000 {
            let mut length = [0; 2];
            let mut tls = rustls::Stream::new(&mut server, &mut near);
            tls.read_exact(&mut length).unwrap();
            let mut datagram = vec![0; usize::from(u16::from_be_bytes(length))];
            tls.read_exact(&mut datagram).unwrap();
            let Some(number) = datagram.first_chunk::<4>() else { continue };
            assert!(count == 0 || u32::from_be_bytes(*number) > last, "in order");
            (count, last) = (count + 1, u32::from_be_bytes(*number));
        }
        count
    });
    let mut ready = Ready::new();
    while !reader.is_finished() {
        poller.wait(&mut ready, Some(Duration::from_millis(10))).unwrap();
        streams.handle_writable(stream);
        streams.flush(&poller, later);
    }
    let arrived = reader.join().unwrap();
    assert!(arrived < 20_000, "{arrived} of {sent}");
    assert_eq!(streams.late() + arrived, u64::from(sent) + 1);
}

#[test]
fn what_is_no_datagram_ends_a_tcp_connection() {
    let ((tcp, tls), (mut near, mut server)) = connected();
    let poller = Poller::new().unwrap();
    let mut streams = Streams::default();
    let stream = streams.add(tcp, tls, false, &poller).unwrap();
    let mut said = rustls::Stream::new(&mut server, &mut near);
    said.write_all(&[0, 3, 1, 2, 3, 0, 0, 0, 1, 9, 0xff]).unwrap();
    let mut ready = Ready::new();
    poller.wait(&mut ready, Some(SOON)).unwrap();
    streams.handle_readable(stream, &poller);
    assert_eq!(streams.poll_event(), Some(StreamEvent::Confirmed(stream)));
    assert_eq!(streams.receive(stream).as_deref(), Some(&[1, 2, 3][..]));
    assert_eq!(streams.receive(stream).as_deref(), Some(&[9][..]));
    assert_eq!(streams.receive(stream), None, "half a length");
    said.write_all(&[0xff]).unwrap();
    poller.wait(&mut ready, Some(SOON)).unwrap();
    streams.handle_readable(stream, &poller);
    let lost = StreamEvent::Lost { stream, why: "the peer sent what is no datagram".into() };
    assert_eq!(streams.poll_event(), Some(lost));
    assert!(!streams.send(stream, Bytes::new(), Instant::now()), "it is gone");
}
