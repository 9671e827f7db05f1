//! What the two legs of a relay may be: every suite, SRTP inside, RTCP on the RTP port, datagrams.

use super::*;

fn key_of(suite: CryptoSuite, byte: u8) -> SrtpKey {
    SrtpKey::new(suite, &vec![byte; suite.key_bytes() + suite.salt_bytes()]).unwrap()
}

fn relayed(pair: &mut Pair, relay: u32, change: impl FnOnce(&mut OutsideRelay, &mut InsideRelay, &Call)) -> Call {
    let call = Call::new(RelayId(relay), pair.edge.bind(), pair.core.bind());
    let (mut outside, mut inside) = (call.outside(node("core1")), call.inside(node("edge1")));
    change(&mut outside, &mut inside, &call);
    pair.edge.media.command(MediaCommand::SetOutside(outside));
    pair.core.media.command(MediaCommand::SetInside(inside));
    pair.settled();
    call
}

/// A packet of a video key frame, or a report of the same size.
fn large(component: Component, sequence: u16) -> Vec<u8> {
    let mut packet = clear(component, sequence);
    packet.resize(1_200, 0x5a);
    if component == Component::Rtcp {
        packet[2..4].copy_from_slice(&(1_200_u16 / 4 - 1).to_be_bytes());
    }
    packet
}

fn protected(sender: &mut SrtpSender, component: Component, clear: &[u8]) -> Vec<u8> {
    let mut buffer = [clear, &[0; 20]].concat();
    let len = match component {
        Component::Rtp => sender.protect_rtp(&mut buffer, clear.len()).unwrap(),
        Component::Rtcp => sender.protect_rtcp(&mut buffer, clear.len()).unwrap(),
    };
    buffer.truncate(len);
    buffer
}

#[test]
fn video_under_every_suite_with_srtp_inside() {
    let mut pair = Pair::new();
    for (relay, (outside, inside)) in (1..).zip([
        (CryptoSuite::AeadAes256Gcm, CryptoSuite::AeadAes128Gcm),
        (CryptoSuite::AeadAes128Gcm, CryptoSuite::AesCm128HmacSha1_80),
        (CryptoSuite::AesCm128HmacSha1_32, CryptoSuite::AeadAes256Gcm),
    ]) {
        let mut call = relayed(&mut pair, relay, |_, rule, _| {
            rule.outside = LegSecurity::Srtp { receive: key_of(outside, 1), send: key_of(outside, 2) };
            rule.party.security = LegSecurity::Srtp { receive: key_of(inside, 3), send: key_of(inside, 4) };
        });
        call.sender = SrtpSender::new(&key_of(outside, 1), Random::from_seed([1; 32]));
        call.receiver = SrtpReceiver::new(&key_of(outside, 2));
        let mut phone = SrtpSender::new(&key_of(inside, 3), Random::from_seed([2; 32]));
        let mut at_phone = SrtpReceiver::new(&key_of(inside, 4));
        for n in 1..=FEW as u16 {
            for component in [Component::Rtp, Component::Rtcp] {
                let (at_socket, clear) = (index(component), large(component, n));
                let packet = protected(&mut call.sender, component, &clear);
                call.client[at_socket].send_to(&packet, at(call.outside_ports.rtp + at_socket as u16)).unwrap();
                let (got, _) = receive(&call.inside[at_socket]).expect("inwards");
                assert_eq!(open(&mut at_phone, component, &got).unwrap(), clear, "{outside:?} {inside:?}");
                settle();
                let packet = protected(&mut phone, component, &clear);
                call.inside[at_socket].send_to(&packet, at(call.inside_ports.rtp + at_socket as u16)).unwrap();
                let (got, _) = receive(&call.client[at_socket]).expect("outwards");
                // The SSRC towards the client is ours to choose.
                let got = open(&mut call.receiver, component, &got).unwrap();
                assert_eq!(got[12..], clear[12..], "{outside:?} {inside:?}");
            }
        }
        // In clear, nothing of the phone's passes.
        call.inside[0].send_to(&large(Component::Rtp, 99), at(call.inside_ports.rtp)).unwrap();
        assert!(nothing_on(&call.client[0]));
    }
}

/// RTCP on the RTP port of one side alone, whichever that is.
#[test]
fn rtcp_shares_the_rtp_port_of_one_side() {
    let mut pair = Pair::new();
    for outside in [true, false] {
        let mut call = relayed(&mut pair, 1 + u32::from(outside), |client, party, call| {
            client.mux = outside;
            if !outside {
                let place = call.inside[0].local_addr().unwrap();
                (party.party.mux, party.party.described) = (true, Some((place, place)));
            }
        });
        for _ in 0..FEW {
            for component in [Component::Rtp, Component::Rtcp] {
                let own = index(component);
                let (out, inner) = if outside { (0, own) } else { (own, 0) };
                let (clear, packet) = call.protected(component);
                call.client[out].send_to(&packet, at(call.outside_ports.rtp + out as u16)).unwrap();
                let (got, from) = receive(&call.inside[inner]).expect("inwards");
                assert_eq!((got, from), (clear, at(call.inside_ports.rtp + inner as u16)));
                settle();
                call.sequence += 1;
                let clear = super::clear(component, call.sequence);
                call.inside[inner].send_to(&clear, at(call.inside_ports.rtp + inner as u16)).unwrap();
                let (got, from) = receive(&call.client[out]).expect("outwards");
                assert_eq!(from, at(call.outside_ports.rtp + out as u16));
                let got = open(&mut call.receiver, component, &got).expect("protected with our key");
                assert_eq!(got[got.len() - 2..], clear[clear.len() - 2..]);
            }
        }
    }
}

#[test]
fn floor_control_passes_as_it_comes() {
    let mut pair = Pair::new();
    let call = relayed(&mut pair, 1, |client, party, _| {
        (client.carriage, client.srtp) = (Carriage::Datagrams, false);
        (party.carriage, party.outside) = (Carriage::Datagrams, LegSecurity::Plain);
    });
    // A BFCP Hello (RFC 8855 §5.1), which is no RTP.
    let hello = b"\x20\x0b\x00\x00\x00\x00\x00\x01\x00\x01\x00\x02";
    for _ in 0..FEW {
        call.client[0].send_to(hello, at(call.outside_ports.rtp)).unwrap();
        assert_eq!(receive(&call.inside[0]), Some((hello.to_vec(), at(call.inside_ports.rtp))));
        call.inside[0].send_to(hello, at(call.inside_ports.rtp)).unwrap();
        assert_eq!(receive(&call.client[0]), Some((hello.to_vec(), at(call.outside_ports.rtp))));
    }
    // Whoever else is on the client's host has come too late.
    let other = socket("127.0.0.1");
    other.send_to(hello, at(call.outside_ports.rtp)).unwrap();
    assert!(nothing_on(&call.inside[0]));
}

#[test]
fn a_client_that_stops_sending_is_told_of_when_that_was_asked_for() {
    let mut pair = Pair::new();
    let timeout = Duration::from_millis(600);
    let mut call = relayed(&mut pair, 1, |_, party, _| party.client_timeout = Some(timeout));
    let timed_out = |node: &mut Node, within| {
        node.expect(within, |fact| match fact {
            MediaFact::Event(MediaEvent::ClientTimedOut { relay, .. }) => Some(*relay),
            _ => None,
        })
    };
    let start = Instant::now();
    while start.elapsed() < 2 * timeout {
        assert!(call.inward(Component::Rtp));
        settle();
    }
    assert_eq!(timed_out(&mut pair.core, Duration::from_millis(1)), None, "it is heard");
    assert_eq!(timed_out(&mut pair.core, SOON), Some(RelayId(1)));
    assert_eq!(timed_out(&mut pair.core, 2 * timeout), None, "said once");
    assert!(call.inward(Component::Rtp));
    assert_eq!(timed_out(&mut pair.core, SOON), Some(RelayId(1)), "and once more");
}
