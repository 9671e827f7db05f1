//! What must hold for any bytes whatever, as functions that panic where it does not. The fuzz
//! targets, the property tests and the replay of the committed corpora all run these.
//!
//! Not for production code: everything else in this crate promises not to panic.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use edgeway_model::media::{
    Carriage, Component, CryptoSuite, InsideParty, InsideRelay, LegSecurity, OutsideRelay, PortPair, SrtpKey,
};
use edgeway_model::{Moment, NodeId, Random, RelayId};

use crate::limits::{PACKET_BYTES_MAX, SRTCP_OVERHEAD_BYTES, SRTP_OVERHEAD_BYTES};
use crate::relay::{InsideEngine, OutsideEngine};
use crate::rtcp;
use crate::sdp::{
    Anchor, Description, OurKeys, Place, Protection, Rules, Side, SideRules, pass_answer, pass_offer, survey,
};
use crate::srtp::{SrtpReceiver, SrtpSender};

/// Reads a body, passes it on as an offer both ways, and takes it as the answer to itself. What is
/// passed on is readable, has as many sections, and carries no key that came.
pub fn sdp(body: &[u8]) {
    let mut random = Random::from_seed([3; 32]);
    let mut place = |rtp| Place { ports: PortPair { rtp }, keys: OurKeys::generate(&mut random) };
    let anchor = Anchor { outside: place(36_000), inside: place(40_000) };
    let anchors = vec![Some(anchor); crate::limits::SDP_SECTIONS_MAX];
    for (offer, allow_plain) in [(Protection::Srtp, false), (Protection::Optional, true), (Protection::Plain, true)] {
        let side = |address| SideRules { address: IpAddr::V4(address), offer, allow_plain };
        let rules = Rules { outside: side(Ipv4Addr::new(192, 0, 2, 1)), inside: side(Ipv4Addr::new(10, 0, 0, 1)) };
        for from in [Side::Outside, Side::Inside] {
            one_exchange(body, from, &rules, &anchors);
        }
    }
}

fn one_exchange(body: &[u8], from: Side, rules: &Rules, anchors: &[Option<Anchor>]) {
    let surveyed = survey(body, from, rules);
    let passed = pass_offer(body, from, rules, anchors);
    assert_eq!(surveyed.as_ref().err(), passed.as_ref().err(), "the survey knows what is refused");
    let (Ok(surveyed), Ok(passed)) = (surveyed, passed) else { return };
    let came = Description::parse(body).expect("it was passed on");
    let goes = Description::parse(&passed.body).expect("what is passed on is readable");
    assert_eq!(goes.sections().len(), came.sections().len());
    for (number, (needed, section)) in surveyed.iter().zip(goes.sections()).enumerate() {
        assert_eq!(needed.is_some(), section.port != 0, "refused by port 0, and only then");
        assert_eq!(needed.is_some(), passed.offered.offerer(number).is_some());
        // A fuzzer does not guess our keys.
        let theirs = came.sections()[number].crypto.iter().filter_map(|crypto| crypto.key.as_ref());
        assert!(theirs.clone().all(|key| section.crypto.iter().all(|ours| ours.key.as_ref() != Some(key))));
    }
    for answer in [body, &passed.body] {
        let Ok(answer) = pass_answer(answer, &passed.offered, rules, anchors) else { continue };
        Description::parse(&answer.body).expect("what is passed on is readable");
        assert_eq!(answer.sections.len(), came.sections().len());
        for (needed, agreed) in surveyed.iter().zip(&answer.sections) {
            assert!(agreed.is_none() || needed.is_some(), "nothing runs that was not offered");
        }
    }
}

/// Opens and protects the bytes with every suite, and walks them as RTCP.
pub fn srtp(bytes: &[u8]) {
    for suite in CryptoSuite::ALL {
        let key = SrtpKey::generate(suite, &mut Random::from_seed([7; 32]));
        let mut sender = SrtpSender::new(&key, Random::from_seed([1; 32]));
        let mut receiver = SrtpReceiver::new(&key);
        let mut buffer = [bytes, &[0; SRTCP_OVERHEAD_BYTES]].concat();
        if let Ok(len) = sender.protect_rtcp(&mut buffer, bytes.len()) {
            assert!(receiver.unprotect_rtcp(&mut buffer[..len]).is_ok(), "what is protected can be opened");
            let _ = sender.rewrite_reports(&mut buffer[..bytes.len()]);
        }
        buffer[..bytes.len()].copy_from_slice(bytes);
        if let Ok(len) = sender.protect_rtp(&mut buffer, bytes.len()) {
            assert!(len <= bytes.len() + SRTP_OVERHEAD_BYTES);
            assert!(receiver.unprotect_rtp(&mut buffer[..len]).is_ok(), "what is protected can be opened");
        }
        assert_unopened(&mut receiver, bytes);
    }
    let mut report = bytes.to_vec();
    let _ = rtcp::rewrite_ssrcs(&mut report, |_, ssrc| !ssrc);
    let _ = rtcp::shift_sequences(&mut report, |ssrc| (ssrc & 0xffff) as u16);
}

/// Nobody guesses a tag of 80 bits; the short one of 32 bits is for RTP alone, and is left out.
fn assert_unopened(receiver: &mut SrtpReceiver, bytes: &[u8]) {
    let mut packet = bytes.to_vec();
    assert!(receiver.unprotect_rtcp(&mut packet).is_err());
    assert_eq!(packet, bytes, "what is refused is left alone");
    if receiver.unprotect_rtp(&mut packet).is_err() {
        assert_eq!(packet, bytes, "what is refused is left alone");
    }
}

/// Feeds both halves of a relay: the first byte chooses what it carries, then come records of a
/// byte that says from where, one that says how long, and a packet.
pub fn relay(bytes: &[u8]) {
    let Some((&shape, mut rest)) = bytes.split_first() else { return };
    let (mut edge, mut core) = relay_of(shape);
    let mut now = Moment::ZERO;
    while let Some((&[from, len], tail)) = rest.split_first_chunk() {
        let (packet, tail) = tail.split_at(usize::from(len).min(tail.len()));
        rest = tail;
        now = now + Duration::from_millis(u64::from(from >> 4) * 7);
        let component = if from & 1 == 0 { Component::Rtp } else { Component::Rtcp };
        let stranger = SocketAddr::from(([203, 0, 113, from], 4_000));
        let mut buffer = [packet, &[0; SRTCP_OVERHEAD_BYTES]].concat();
        match from >> 1 & 3 {
            0 => {
                assert!(packet.len() <= PACKET_BYTES_MAX);
                if let Ok(passed) = edge.handle_from_client(component, stranger, packet, now) {
                    let mark = (passed.candidate, passed.latched);
                    let result = core.handle_from_link(passed.component, mark, &mut buffer, packet.len(), now);
                    assert_eq!(result.latch, None, "nobody proves anything without the key");
                }
                assert_ne!(edge.target(component), Some(stranger));
            }
            1 => {
                let result = core.handle_from_link(component, (from, from & 2 != 0), &mut buffer, packet.len(), now);
                assert_eq!(result.latch, None, "nobody proves anything without the key");
            }
            2 => {
                let described = SocketAddr::from(([10, 0, 0, 7], 5_000 + u16::from(from & 1)));
                if let Ok(passed) = core.handle_from_inside(component, described, &mut buffer, packet.len(), now) {
                    assert!(passed.len <= buffer.len());
                    let _ = edge.handle_from_link(passed.component);
                }
            }
            _ => {
                let refused = core.handle_from_inside(component, stranger, &mut buffer, packet.len(), now);
                assert!(refused.is_err(), "only the described party is heard");
            }
        }
        let _ = (core.take_client_silent(now), core.take_client_timed_out(now));
    }
}

fn relay_of(shape: u8) -> (OutsideEngine, InsideEngine) {
    let mut random = Random::from_seed([5; 32]);
    let suite = CryptoSuite::ALL[usize::from(shape & 3) % CryptoSuite::ALL.len()];
    let mut srtp = || LegSecurity::Srtp {
        receive: SrtpKey::generate(suite, &mut random),
        send: SrtpKey::generate(suite, &mut random),
    };
    let (carriage, mux) = (if shape & 0xf0 == 0xf0 { Carriage::Datagrams } else { Carriage::Rtp }, shape & 4 != 0);
    // A tag of 32 bits can be guessed, so such a leg proves nothing about the latch.
    let guessed = suite == CryptoSuite::AesCm128HmacSha1_32;
    let outside = if guessed { LegSecurity::Awaited } else { srtp() };
    let security = if shape & 8 != 0 { srtp() } else { LegSecurity::Plain };
    let node = |name| NodeId::new(name).expect("a name");
    let place = |port| SocketAddr::from(([10, 0, 0, 7], port));
    let rule = InsideRelay {
        peer: node("edge1"),
        relay: RelayId(1),
        ports: PortPair { rtp: 36_000 },
        party: InsideParty { described: Some((place(5_000), place(5_001))), security, mux },
        early: Vec::new(),
        outside,
        carriage,
        client_timeout: Some(Duration::from_millis(50)),
    };
    let edge = OutsideRelay {
        peer: node("core1"),
        relay: RelayId(1),
        ports: PortPair { rtp: 40_000 },
        signalling_peer: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)),
        described: None,
        srtp: true,
        mux,
        carriage,
    };
    (OutsideEngine::new(edge, Moment::ZERO), InsideEngine::new(rule, Random::from_seed([6; 32]), Moment::ZERO))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_packets_are_survived(shape in any::<u8>(), records in proptest::collection::vec((any::<u8>(), 0u8..4, proptest::collection::vec(any::<u8>(), 0..80)), 0..20)) {
            let mut bytes = vec![shape];
            for (from, kind, packet) in records {
                bytes.extend_from_slice(&[from, packet.len() as u8]);
                let at = bytes.len();
                bytes.extend_from_slice(&packet);
                // Most are to get past the first look.
                if kind > 0 && packet.len() > 4 {
                    bytes[at] = 0x80;
                    bytes[at + 1] = if kind == 1 { 0 } else { 200 + kind };
                }
            }
            super::relay(&bytes);
        }
    }
}
