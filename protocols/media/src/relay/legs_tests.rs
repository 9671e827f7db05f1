//! Both legs of a relay: suites, SRTP inside, shared ports, datagrams, forks, re-keying, silence.

use std::time::Duration;

use edgeway_model::Moment;
use edgeway_model::media::{Carriage, Component, CryptoSuite, InsideParty, InsideRelay, LegSecurity, SrtpKey};

use super::tests::{
    Pair, at, from_link, goes, inside_rule, outside_rule, outward, party, protect, random, receiver_report, rtp,
};
use super::*;
use crate::limits::{KEY_CHANGE_PACKETS, LATCHED_ALIVE};
use crate::rtp::RtpHeader;
use crate::srtp::{SrtpReceiver, SrtpSender};

const PHONE: &str = "10.0.0.7:5004";
const PHONE_RTCP: &str = "10.0.0.7:5005";

fn key_of(suite: CryptoSuite, byte: u8) -> SrtpKey {
    SrtpKey::new(suite, &vec![byte; suite.key_bytes() + suite.salt_bytes()]).unwrap()
}

fn srtp(suite: CryptoSuite, receive: u8, send: u8) -> LegSecurity {
    LegSecurity::Srtp { receive: key_of(suite, receive), send: key_of(suite, send) }
}

fn core_with(change: impl FnOnce(&mut InsideRelay)) -> InsideEngine {
    let mut rule = inside_rule(Some(1), 2);
    change(&mut rule);
    InsideEngine::new(rule, random(1), Moment::ZERO)
}

fn open(receiver: &mut SrtpReceiver, component: Component, mut packet: Vec<u8>) -> Vec<u8> {
    let opened = match component {
        Component::Rtp => receiver.unprotect_rtp(&mut packet),
        Component::Rtcp => receiver.unprotect_rtcp(&mut packet),
    };
    packet.truncate(opened.unwrap().len);
    packet
}

#[test]
fn every_suite_outside_with_every_suite_inside() {
    for outside in CryptoSuite::ALL {
        for inside in CryptoSuite::ALL {
            let mut core = core_with(|rule| {
                rule.outside = srtp(outside, 1, 2);
                rule.party.security = srtp(inside, 3, 4);
            });
            let (mut client, mut phone) =
                (SrtpSender::new(&key_of(outside, 1), random(2)), SrtpSender::new(&key_of(inside, 3), random(3)));
            let (mut at_client, mut at_phone) =
                (SrtpReceiver::new(&key_of(outside, 2)), SrtpReceiver::new(&key_of(inside, 4)));
            for (component, clear, place) in
                [(Component::Rtp, rtp(9, 1), PHONE), (Component::Rtcp, receiver_report(), PHONE_RTCP)]
            {
                let mut packet = protect(&mut client, component, &clear);
                let result = from_link(&mut core, component, (5, false), &mut packet, Moment::ZERO);
                assert_eq!(result.outcome.unwrap().0, Way { to: at(place), socket: component });
                assert_eq!(open(&mut at_phone, component, packet), clear, "{outside:?} {inside:?}");

                let packet = protect(&mut phone, component, &clear);
                let (_, packet) = outward(&mut core, component, place, &packet).unwrap();
                assert_eq!(open(&mut at_client, component, packet), clear, "{outside:?} {inside:?}");
            }
            // In clear, nothing of it passes.
            let clear = [&rtp(9, 2)[..], &[0; 20]].concat();
            assert_eq!(outward(&mut core, Component::Rtp, PHONE, &clear), Err(DropReason::Unauthenticated));
        }
    }
}

/// What a party says about the other one's sources is said in the names it sent under, through both
/// legs, feedback and reduced-size packets included.
#[test]
fn feedback_finds_its_source_through_both_legs() {
    let suite = CryptoSuite::AeadAes128Gcm;
    let mut core = core_with(|rule| {
        rule.outside = srtp(suite, 1, 2);
        rule.party.security = srtp(suite, 3, 4);
        rule.early = vec![party("10.0.0.8:6000")];
    });
    let mut phone = SrtpSender::new(&key_of(suite, 3), random(3));
    let (mut at_client, mut at_phone) = (SrtpReceiver::new(&key_of(suite, 2)), SrtpReceiver::new(&key_of(suite, 4)));
    let mut client = SrtpSender::new(&key_of(suite, 1), random(2));
    // A fork has taken the phone's SSRC, so the client knows the phone by another.
    outward(&mut core, Component::Rtp, "10.0.0.8:6000", &rtp(0xaa, 1)).unwrap();
    let packet = protect(&mut phone, Component::Rtp, &rtp(0xaa, 1));
    let (_, packet) = outward(&mut core, Component::Rtp, PHONE, &packet).unwrap();
    let seen = RtpHeader::parse(&open(&mut at_client, Component::Rtp, packet)).unwrap().ssrc;
    assert_ne!(seen, 0xaa);
    let about = |speaker: u32, subject: u32, kind: u8, count: u8| {
        [&[0x80 | count, kind, 0, 2][..], &speaker.to_be_bytes(), &subject.to_be_bytes()].concat()
    };
    // PLI (RFC 4585 §6.3.1), alone: RFC 5506.
    let mut packet = protect(&mut client, Component::Rtcp, &about(9, seen, 206, 1));
    from_link(&mut core, Component::Rtcp, (1, true), &mut packet, Moment::ZERO).outcome.unwrap();
    assert_eq!(open(&mut at_phone, Component::Rtcp, packet), about(9, 0xaa, 206, 1));
    // REMB (an application layer message of RFC 4585 §6.4) passes with what it says.
    let remb = [&about(0xaa, 0, 206, 15)[..], b"REMB", &[1, 0, 0, 9, 0, 0, 0, 9]].concat();
    let mut remb = remb;
    remb[3] = 5;
    let packet = protect(&mut phone, Component::Rtcp, &remb);
    let (_, packet) = outward(&mut core, Component::Rtcp, PHONE_RTCP, &packet).unwrap();
    let opened = open(&mut at_client, Component::Rtcp, packet);
    assert_eq!((&opened[4..8], &opened[8..]), (&seen.to_be_bytes()[..], &remb[8..]));
}

#[test]
fn rtcp_on_the_rtp_port_of_the_client() {
    let mut pair = Pair::new(None);
    let mut rule = outside_rule(None, true);
    rule.mux = true;
    pair.edge.update(rule);
    let client = at("192.0.2.10:50000");
    let report = protect(&mut pair.client, Component::Rtcp, &receiver_report());
    // Inside it leaves by the port of its own.
    let (way, packet) = pair.inward_way(Component::Rtp, client, &report).unwrap();
    assert_eq!((way, packet), (Way { to: at(PHONE_RTCP), socket: Component::Rtcp }, receiver_report()));
    for component in [Component::Rtp, Component::Rtcp] {
        let way = pair.edge.handle_from_link(component);
        assert_eq!(way, Some(Way { to: client, socket: Component::Rtp }), "one latch for both");
    }
    let packet = protect(&mut pair.client, Component::Rtp, &rtp(9, 1));
    assert_eq!(pair.inward(Component::Rtp, client, &packet), Some(rtp(9, 1)));
    assert_eq!(pair.inward(Component::Rtcp, client, &packet), None, "nothing comes to the other port");

    // A report that was held back moves nothing while RTP comes; a client that has moved and sends
    // nothing but RTCP is followed.
    let held = protect(&mut pair.client, Component::Rtcp, &receiver_report());
    let (attacker, moved) = (at("203.0.113.66:9"), at("198.51.100.7:9"));
    assert!(pair.inward(Component::Rtp, attacker, &held).is_some(), "authentic, so let through");
    assert_eq!(goes(&mut pair.edge, Component::Rtp), Some(client));
    pair.now = pair.now + LATCHED_ALIVE;
    let report = protect(&mut pair.client, Component::Rtcp, &receiver_report());
    assert!(pair.inward(Component::Rtp, moved, &report).is_some());
    assert_eq!(goes(&mut pair.edge, Component::Rtp), Some(moved));
}

#[test]
fn rtcp_on_the_rtp_port_inside() {
    let mut core = core_with(|rule| {
        rule.party.mux = true;
        rule.party.described = Some((at(PHONE), at(PHONE)));
    });
    let mut client = SrtpSender::new(&key_of(CryptoSuite::AesCm128HmacSha1_80, 1), random(2));
    let mut packet = protect(&mut client, Component::Rtcp, &receiver_report());
    let result = from_link(&mut core, Component::Rtcp, (5, false), &mut packet, Moment::ZERO);
    assert_eq!(result.outcome.unwrap().0, Way { to: at(PHONE), socket: Component::Rtp });
    let (component, _) = outward(&mut core, Component::Rtp, PHONE, &receiver_report()).unwrap();
    assert_eq!(component, Component::Rtcp);
    let (component, _) = outward(&mut core, Component::Rtp, PHONE, &rtp(3, 1)).unwrap();
    assert_eq!(component, Component::Rtp);
}

#[test]
fn datagrams_pass_as_they_come() {
    let mut core = core_with(|rule| {
        rule.carriage = Carriage::Datagrams;
        rule.outside = LegSecurity::Plain;
    });
    let mut rule = outside_rule(Some("192.168.1.5:5070"), true);
    rule.carriage = Carriage::Datagrams;
    let mut edge = OutsideEngine::new(rule, Moment::ZERO);
    let message = b"\x20\x0b\x00\x00\x00\x00\x00\x01";
    let client = at("192.0.2.10:5070");
    let refused = edge.handle_from_client(Component::Rtp, at("203.0.113.66:5070"), message, Moment::ZERO);
    assert_eq!(refused, Err(DropReason::WrongSource), "as on any plain leg");
    let passed = edge.handle_from_client(Component::Rtp, client, message, Moment::ZERO).unwrap();
    let mut packet = message.to_vec();
    let result = from_link(&mut core, passed.component, (passed.candidate, false), &mut packet, Moment::ZERO);
    assert_eq!((result.latch, result.outcome), (None, Ok((Way { to: at(PHONE), socket: Component::Rtp }, 8))));
    assert_eq!(outward(&mut core, Component::Rtp, PHONE, message), Ok((Component::Rtp, message.to_vec())));
    assert_eq!(goes(&mut edge, Component::Rtp), Some(client));
    for component in [Component::Rtp, Component::Rtcp] {
        assert!(edge.handle_from_client(component, client, b"", Moment::ZERO).is_err());
        assert!(outward(&mut core, component, PHONE_RTCP, message).is_err());
    }
    assert!(!core.take_client_silent(Moment::from_secs(60)), "it was heard");
}

#[test]
fn forks_are_heard_side_by_side_and_one_is_sent_to() {
    let suite = CryptoSuite::AesCm128HmacSha1_80;
    let (one, two) = (PHONE, "10.0.0.8:6000");
    let rule =
        |first: InsideParty, early: Vec<InsideParty>| InsideRelay { party: first, early, ..inside_rule(Some(1), 2) };
    let mut core = InsideEngine::new(rule(party(two), vec![party(one)]), random(1), Moment::ZERO);
    let mut at_client = SrtpReceiver::new(&key_of(suite, 2));
    let mut hear = |core: &mut InsideEngine, source: &str, sequence| {
        let (_, packet) = outward(core, Component::Rtp, source, &rtp(7, sequence))?;
        Ok::<_, DropReason>(RtpHeader::parse(&open(&mut at_client, Component::Rtp, packet)).unwrap().ssrc)
    };
    let (first, second) = (hear(&mut core, one, 1).unwrap(), hear(&mut core, two, 1).unwrap());
    assert_ne!(first, second, "the same SSRC inside, two for the client");
    assert_eq!(outward(&mut core, Component::Rtp, "10.0.0.9:6000", &rtp(7, 1)), Err(DropReason::WrongSource));
    let mut client = SrtpSender::new(&key_of(suite, 1), random(2));
    let send = |core: &mut InsideEngine, client: &mut SrtpSender, sequence| {
        let mut packet = protect(client, Component::Rtp, &rtp(9, sequence));
        from_link(core, Component::Rtp, (5, true), &mut packet, Moment::ZERO).outcome.unwrap().0.to
    };
    assert_eq!(send(&mut core, &mut client, 1), at(two), "the latest one");
    // The other one answers, and the fork is gone.
    core.update(rule(party(one), Vec::new()), Moment::ZERO);
    assert_eq!(send(&mut core, &mut client, 2), at(one));
    assert_eq!(hear(&mut core, one, 2), Ok(first), "its stream goes on");
    assert_eq!(hear(&mut core, two, 2), Err(DropReason::WrongSource));
    // It moves: the same party in another place.
    core.update(rule(party("10.0.0.7:7000"), Vec::new()), Moment::ZERO);
    assert_eq!(hear(&mut core, "10.0.0.7:7000", 3), Ok(first));
    // On hold nobody is sent to, and afterwards everything goes on.
    let mut held = party("10.0.0.7:7000");
    held.described = None;
    core.update(rule(held, Vec::new()), Moment::ZERO);
    assert_eq!(hear(&mut core, "10.0.0.7:7000", 4), Err(DropReason::TooEarly));
    core.update(rule(party("10.0.0.7:7000"), Vec::new()), Moment::ZERO);
    assert_eq!(hear(&mut core, "10.0.0.7:7000", 4), Ok(first));
}

#[test]
fn only_so_many_forks_are_heard() {
    let early: Vec<_> = (0..10).map(|n| party(&format!("10.0.1.{n}:6000"))).collect();
    let mut core = core_with(|rule| rule.early = early);
    let heard = (0..10).filter(|n| outward(&mut core, Component::Rtp, &format!("10.0.1.{n}:6000"), &rtp(1, 1)).is_ok());
    assert_eq!(heard.count(), edgeway_model::limits::EARLY_PARTIES_MAX);
}

/// A key that comes back still knows what it has seen.
#[test]
fn replays_under_a_key_that_comes_back_prove_nothing() {
    let suite = CryptoSuite::AeadAes256Gcm;
    let rule = |receive| InsideRelay { outside: srtp(suite, receive, 2), ..inside_rule(Some(1), 2) };
    let mut core = InsideEngine::new(rule(1), random(1), Moment::ZERO);
    let mut client = SrtpSender::new(&key_of(suite, 1), random(2));
    let seen = protect(&mut client, Component::Rtp, &rtp(9, 1));
    let take = |core: &mut InsideEngine, packet: &[u8], now| {
        from_link(core, Component::Rtp, (5, false), &mut packet.to_vec(), now)
    };
    assert_eq!(take(&mut core, &seen, Moment::ZERO).latch, Some(5));
    for receive in [3, 4, 1] {
        core.update(rule(receive), Moment::from_secs(10));
    }
    let replay = take(&mut core, &seen, Moment::from_secs(11));
    assert_eq!((replay.latch, replay.outcome), (None, Err(DropReason::Replayed)));
    let fresh = protect(&mut client, Component::Rtp, &rtp(9, 2));
    assert_eq!(take(&mut core, &fresh, Moment::from_secs(11)).latch, Some(5));
}

#[test]
fn the_key_before_opens_so_many_packets_and_no_more() {
    let suite = CryptoSuite::AeadAes128Gcm;
    let rule = |receive| InsideRelay { outside: srtp(suite, receive, 2), ..inside_rule(Some(1), 2) };
    let mut core = InsideEngine::new(rule(1), random(1), Moment::ZERO);
    core.update(rule(3), Moment::ZERO);
    let mut client = SrtpSender::new(&key_of(suite, 1), random(2));
    let opened = (1..=KEY_CHANGE_PACKETS as u16 + 10).filter(|sequence| {
        let mut packet = protect(&mut client, Component::Rtp, &rtp(9, *sequence));
        from_link(&mut core, Component::Rtp, (5, true), &mut packet, Moment::ZERO).outcome.is_ok()
    });
    assert_eq!(opened.count(), KEY_CHANGE_PACKETS as usize);
}

#[test]
fn a_timeout_is_told_once_per_silence() {
    let mut core = core_with(|rule| rule.client_timeout = Some(Duration::from_secs(30)));
    let mut client = SrtpSender::new(&key_of(CryptoSuite::AesCm128HmacSha1_80, 1), random(2));
    let mut hear = |core: &mut InsideEngine, sequence, seconds| {
        let mut packet = protect(&mut client, Component::Rtp, &rtp(9, sequence));
        from_link(core, Component::Rtp, (5, true), &mut packet, Moment::from_secs(seconds)).outcome.unwrap();
    };
    assert!(!core.take_client_timed_out(Moment::from_secs(29)));
    hear(&mut core, 1, 29);
    assert!(!core.take_client_timed_out(Moment::from_secs(58)));
    assert!(core.take_client_timed_out(Moment::from_secs(59)));
    assert!(!core.take_client_timed_out(Moment::from_secs(600)));
    // Junk is not the client.
    from_link(&mut core, Component::Rtp, (5, true), &mut vec![0x80; 60], Moment::from_secs(600)).outcome.unwrap_err();
    assert!(!core.take_client_timed_out(Moment::from_secs(700)));
    hear(&mut core, 2, 700);
    assert!(core.take_client_timed_out(Moment::from_secs(730)));

    // On hold nothing is expected; the count starts when it ends.
    let mut rule = core.rule().clone();
    rule.client_timeout = None;
    core.update(rule.clone(), Moment::from_secs(800));
    hear(&mut core, 3, 801);
    assert!(!core.take_client_timed_out(Moment::from_secs(2_000)));
    rule.client_timeout = Some(Duration::from_secs(30));
    core.update(rule, Moment::from_secs(2_000));
    assert!(!core.take_client_timed_out(Moment::from_secs(2_029)));
    assert!(core.take_client_timed_out(Moment::from_secs(2_030)));
}

/// Muted, behind a NAT that gives it another address, or in another network: the first authentic
/// packet brings media back, in each component.
#[test]
fn media_comes_back_with_the_first_packet() {
    let places = ["192.0.2.10:50000", "192.0.2.10:51234", "198.51.100.7:9", "[2001:db8::7]:4000"];
    let mut pair = Pair::new(None);
    for (sequence, place) in (1..).zip(places) {
        // A minute of silence before each.
        pair.now = pair.now + Duration::from_secs(60);
        for (component, clear) in [(Component::Rtp, rtp(9, sequence)), (Component::Rtcp, receiver_report())] {
            let packet = protect(&mut pair.client, component, &clear);
            assert!(pair.inward(component, at(place), &packet).is_some());
            assert_eq!(goes(&mut pair.edge, component), Some(at(place)));
        }
    }
    // Another source of its own from another network: as soon as the old one has fallen silent.
    let packet = protect(&mut pair.client, Component::Rtp, &rtp(9, 100));
    pair.inward(Component::Rtp, at(places[3]), &packet);
    let packet = protect(&mut pair.client, Component::Rtp, &rtp(10, 1));
    pair.now = pair.now + LATCHED_ALIVE;
    assert!(pair.inward(Component::Rtp, at(places[0]), &packet).is_some());
    assert_eq!(goes(&mut pair.edge, Component::Rtp), Some(at(places[0])));
}

/// A packet of a source that never came through was held back by somebody, and tells nothing while
/// the client is heard.
#[test]
fn a_source_held_back_moves_nothing() {
    let mut pair = Pair::new(None);
    let (client, attacker) = (at("192.0.2.10:50000"), at("203.0.113.66:9"));
    let held = protect(&mut pair.client, Component::Rtp, &rtp(8, 1));
    for sequence in 1..20 {
        let packet = protect(&mut pair.client, Component::Rtp, &rtp(9, sequence));
        pair.inward(Component::Rtp, client, &packet);
        pair.now = pair.now + Duration::from_millis(20);
    }
    assert!(pair.inward(Component::Rtp, attacker, &held).is_some(), "authentic, so let through");
    assert_eq!(goes(&mut pair.edge, Component::Rtp), Some(client));
}

/// From the 20th packet of a call on, somebody on the client's own host (or behind its NAT) sprays:
/// forgeries, and every packet of the client again.
#[test]
fn a_sprayer_on_the_same_host_gets_nothing_and_injects_nothing() {
    let attacker = at("192.0.2.10:50001");
    let client = at("192.0.2.10:50000");
    for plain in [false, true] {
        let mut pair = Pair::new(Some("192.168.1.5:7000"));
        if plain {
            pair.edge.update(outside_rule(Some("192.168.1.5:7000"), false));
            pair.core.update(InsideRelay { outside: LegSecurity::Plain, ..inside_rule(Some(1), 2) }, Moment::ZERO);
        }
        let (mut injected, mut got, mut lost) = (0, 0, 0);
        for sequence in 1..=500 {
            pair.now = pair.now + Duration::from_millis(20);
            let clear = rtp(9, sequence);
            let packet = if plain { clear.clone() } else { protect(&mut pair.client, Component::Rtp, &clear) };
            lost += usize::from(pair.inward(Component::Rtp, client, &packet) != Some(clear));
            if sequence >= 20 {
                let mut forged = packet.clone();
                *forged.last_mut().unwrap() ^= 1;
                for sprayed in [&packet, &forged, &rtp(1, sequence), &vec![0x80; 172]] {
                    injected += usize::from(pair.inward(Component::Rtp, attacker, sprayed).is_some());
                    got += usize::from(goes(&mut pair.edge, Component::Rtp) != Some(client));
                }
            }
        }
        assert_eq!((injected, got, lost), (0, 0, 0), "plain: {plain}");
    }
}
