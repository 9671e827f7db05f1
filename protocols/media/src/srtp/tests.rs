//! Vectors, round trips and the keystream rule.

use std::collections::BTreeSet;

use aes::Aes128Enc;
use aes::cipher::KeyInit;
use edgeway_model::media::{CryptoSuite, SrtpKey};
use edgeway_model::{Random, Secret};
use proptest::prelude::*;

use super::keys::{SessionKeys, Stream, derive};
use super::*;
use crate::limits::{SEND_SOURCES_MAX, SEND_SSRCS_MAX, SRTCP_OVERHEAD_BYTES, SRTP_OVERHEAD_BYTES};
use crate::rtp::RtpHeader;

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn key(suite: CryptoSuite, text: &str) -> SrtpKey {
    SrtpKey::new(suite, &unhex(text)).unwrap()
}

/// The master key of RFC 3711 appendix B.3.
fn rfc_key() -> SrtpKey {
    key(CryptoSuite::AesCm128HmacSha1_80, "E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6")
}

/// A key of a suite, all of it this byte.
fn key_of(suite: CryptoSuite, byte: u8) -> SrtpKey {
    SrtpKey::new(suite, &vec![byte; suite.key_bytes() + suite.salt_bytes()]).unwrap()
}

fn random(seed: u8) -> Random {
    Random::from_seed([seed; 32])
}

fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0x0f];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&[0xde, 0xca, 0xfb, 0xad]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[0xab; 16]);
    packet
}

fn protect(sender: &mut SrtpSender, packet: &[u8]) -> Result<Vec<u8>, SrtpFault> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + SRTP_OVERHEAD_BYTES, 0);
    let len = sender.protect_rtp(&mut buffer, packet.len())?;
    buffer.truncate(len);
    Ok(buffer)
}

fn protect_rtcp(sender: &mut SrtpSender, packet: &[u8]) -> Result<Vec<u8>, SrtpFault> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + SRTCP_OVERHEAD_BYTES, 0);
    let len = sender.protect_rtcp(&mut buffer, packet.len())?;
    buffer.truncate(len);
    Ok(buffer)
}

#[test]
fn key_derivation_of_rfc_3711_b3() {
    assert_eq!(derive::<16>(&rfc_key(), 0)[..], unhex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(derive::<14>(&rfc_key(), 2)[..], unhex("30CBBC08863D8C85D49DB34A9AE1"));
    let auth = unhex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4");
    assert_eq!(derive::<20>(&rfc_key(), 1)[..], auth);
}

#[test]
fn keystream_of_rfc_3711_b2() {
    let SessionKeys::Cm(mut keys) = SessionKeys::derive(&rfc_key(), Stream::Rtp) else { panic!("another suite") };
    keys.cipher = Aes128Enc::new_from_slice(&unhex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
    keys.salt = Secret::new(unhex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap());
    let mut stream = vec![0; 16 * 0xff02];
    keys.apply_keystream(0, 0, &mut stream);
    assert_eq!(stream[..32], unhex("E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB"));
    let tail = unhex("EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE");
    assert_eq!(stream[16 * 0xfeff..16 * 0xff01], tail);
}

/// A whole packet each way, the values every implementation is checked against (the master key
/// of RFC 3711 B.3 over a packet of 0xab).
#[test]
fn whole_packets() {
    let mut sender = SrtpSender::new(&rfc_key(), random(1));
    let protected = protect(&mut sender, &rtp(0xcafe_babe, 0x1234)).unwrap();
    let expected = "800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb";
    assert_eq!(protected, unhex(expected));

    let report = [&unhex("81c8000bcafebabe")[..], &[0xab; 16]].concat();
    // This vector's header claims more than it holds, so only the opening side takes it.
    let expected = "81c8000bcafebabe 7128035be487b9bdbef89041f977a5a8 80000001 993e08cd54d6c1230798";
    let mut packet = unhex(expected);
    let opened = SrtpReceiver::new(&rfc_key()).unprotect_rtcp(&mut packet).unwrap();
    assert_eq!((opened.index, opened.ssrc), (1, 0xcafe_babe));
    assert_eq!(packet[..opened.len], report);

    let mut packet = protected;
    let opened = SrtpReceiver::new(&rfc_key()).unprotect_rtp(&mut packet).unwrap();
    assert_eq!(packet[..opened.len], rtp(0xcafe_babe, 0x1234));
}

/// RFC 7714 §16.1.1 and §16.2.1: the session key itself, "Quid pro quo" as salt, and the beginning of
/// Caesar.
#[test]
fn packets_of_rfc_7714() {
    let clear = unhex(
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573",
    );
    for (bytes, body, tag) in [
        (
            16,
            "f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833",
            "899d7f27 beb16a91 52cf765e e4390cce",
        ),
        (
            32,
            "32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b",
            "7aa3db36 dfffd6b0 f9bb7878 d7a76c13",
        ),
    ] {
        let session: Vec<u8> = (0..bytes).collect();
        let keys = SessionKeys::gcm_for_test(&session, *b"Quid pro quo");
        let mut packet = clear.clone();
        packet.resize(clear.len() + 16, 0);
        keys.seal_rtp(&mut packet, 12, clear.len(), 0x5501_a0b2, 0xf17b);
        assert_eq!(packet, [&clear[..12], &unhex(body), &unhex(tag)].concat());
        assert_eq!(keys.open_rtp(&mut packet, 12, 0x5501_a0b2, 0xf17b), Ok(clear.len()));
        assert_eq!(packet[..clear.len()], clear);
    }
}

/// The same with the key derived from a master key, and the RTCP side of it: the values other
/// implementations are checked against.
#[test]
fn whole_packets_of_the_aead_suite() {
    let key = key(CryptoSuite::AeadAes128Gcm, "000102030405060708090a0b0c0d0e0f a0a1a2a3a4a5a6a7a8a9aaab");
    let mut sender = SrtpSender::new(&key, random(1));
    let protected = protect(&mut sender, &rtp(0xcafe_babe, 0x1234)).unwrap();
    let expected = "800f1234decafbadcafebabe c5002ede04cfdd2eb91159e0880aa06e d2976826f796b201df3131a127e8a392";
    assert_eq!(protected, unhex(expected));

    let mut packet =
        unhex("81c8000bcafebabe c98b8b5df0392a55852b6c21ac8e7025 c52c6fbea2b3b446ea31123ba88ce61e 80000001");
    let opened = SrtpReceiver::new(&key).unprotect_rtcp(&mut packet).unwrap();
    assert_eq!((opened.index, opened.ssrc), (1, 0xcafe_babe));
    assert_eq!(packet[..opened.len], [&unhex("81c8000bcafebabe")[..], &[0xab; 16]].concat());
}

/// Each suite opens what it protects, in the length it says, and nothing of another suite or key.
#[test]
fn suites_keep_to_themselves() {
    let report = unhex("80c90001 000000aa");
    for suite in CryptoSuite::ALL {
        let (rtp_tag, rtcp_tag) = match suite {
            CryptoSuite::AesCm128HmacSha1_80 => (10, 14),
            // RFC 4568 §6.2.2: RTCP keeps the long tag.
            CryptoSuite::AesCm128HmacSha1_32 => (4, 14),
            CryptoSuite::AeadAes128Gcm | CryptoSuite::AeadAes256Gcm => (16, 20),
        };
        let mut sender = SrtpSender::new(&key_of(suite, 1), random(1));
        let packet = protect(&mut sender, &rtp(5, 77)).unwrap();
        let control = protect_rtcp(&mut sender, &report).unwrap();
        assert_eq!((packet.len(), control.len()), (28 + rtp_tag, 8 + rtcp_tag));
        for (other, byte) in CryptoSuite::ALL.map(|other| (other, 1)).into_iter().chain([(suite, 2)]) {
            let mut receiver = SrtpReceiver::new(&key_of(other, byte));
            let fits = other == suite && byte == 1;
            // The two lengths of tag have their keys in common, yet neither passes for the other.
            assert_eq!(receiver.unprotect_rtp(&mut packet.clone()).is_ok(), fits, "{suite:?} {other:?}");
            let related = suite.name()[..10] == other.name()[..10] && suite.key_bytes() == other.key_bytes();
            assert_eq!(
                receiver.unprotect_rtcp(&mut control.clone()).is_ok(),
                fits || (byte == 1 && related && suite.salt_bytes() == 14),
                "{suite:?} {other:?}"
            );
        }
        let mut receiver = SrtpReceiver::new(&key_of(suite, 1));
        for byte in 0..control.len() {
            let mut forged = control.clone();
            forged[byte] ^= 0x40;
            let before = forged.clone();
            assert!(receiver.unprotect_rtcp(&mut forged).is_err(), "{suite:?} byte {byte}");
            assert_eq!(forged, before);
        }
        assert!(receiver.unprotect_rtcp(&mut control.clone()).is_ok());
    }
}

#[test]
fn forged_replayed_and_late_packets() {
    CryptoSuite::ALL.into_iter().for_each(|suite| forged_replayed_and_late(&key_of(suite, 9)));
}

fn forged_replayed_and_late(key: &SrtpKey) {
    let mut sender = SrtpSender::new(key, random(1));
    let mut receiver = SrtpReceiver::new(key);
    let packets: Vec<_> = (10u16..400).map(|n| protect(&mut sender, &rtp(7, n)).unwrap()).collect();
    let open = |at: usize, receiver: &mut SrtpReceiver| receiver.unprotect_rtp(&mut packets[at].clone());
    assert!(open(5, &mut receiver).unwrap().newest);
    assert!(!open(3, &mut receiver).unwrap().newest, "late, but let through");
    assert_eq!(open(3, &mut receiver).unwrap_err(), SrtpFault::Replayed);
    assert!(open(300, &mut receiver).unwrap().newest);
    assert_eq!(open(6, &mut receiver).unwrap_err(), SrtpFault::Replayed, "older than the window");
    for byte in 0..packets[301].len() {
        let mut forged = packets[301].clone();
        forged[byte] ^= 4;
        let before = forged.clone();
        assert!(receiver.unprotect_rtp(&mut forged).is_err(), "byte {byte}");
        assert_eq!(forged, before);
    }
    assert!(open(301, &mut receiver).unwrap().newest, "forgeries left no trace");
}

#[test]
fn rtcp_round_trip_with_rewriting() {
    let mut sender = SrtpSender::new(&rfc_key(), random(1));
    let mut receiver = SrtpReceiver::new(&rfc_key());
    protect(&mut sender, &rtp(0xaa, 5_000)).unwrap();
    // The source starts again: its second packet in sequence gets a fresh SSRC.
    assert_eq!(protect(&mut sender, &rtp(0xaa, 10)).unwrap_err(), SrtpFault::Replayed);
    let fresh = RtpHeader::parse(&protect(&mut sender, &rtp(0xaa, 11)).unwrap()).unwrap().ssrc;
    assert_ne!(fresh, 0xaa);

    let mut report = unhex("80c80006 000000aa");
    report.resize(28, 0);
    let mut packet = protect_rtcp(&mut sender, &report).unwrap();
    let opened = receiver.unprotect_rtcp(&mut packet).unwrap();
    assert_eq!((opened.ssrc, opened.index, opened.newest), (fresh, 0, true));
    assert_eq!(receiver.unprotect_rtcp(&mut protect_rtcp(&mut sender, &report).unwrap()).unwrap().index, 1);

    let mut about_us = unhex("81c90007 00000bad");
    about_us.extend_from_slice(&fresh.to_be_bytes());
    about_us.resize(32, 0);
    sender.rewrite_reports(&mut about_us).unwrap();
    assert_eq!(about_us[8..12], [0, 0, 0, 0xaa]);

    let mut replayed = protect_rtcp(&mut sender, &report).unwrap();
    let again = replayed.clone();
    receiver.unprotect_rtcp(&mut replayed).unwrap();
    assert_eq!(receiver.unprotect_rtcp(&mut again.clone()).unwrap_err(), SrtpFault::Replayed);
    let mut clear = again;
    let at = clear.len() - 14;
    clear[at] &= 0x7f;
    assert!(receiver.unprotect_rtcp(&mut clear).is_err());
}

#[test]
fn rtcp_index_ends_instead_of_wrapping() {
    let mut sender = SrtpSender::new(&rfc_key(), random(1));
    sender.set_rtcp_index((1 << 31) - 1);
    let report = unhex("80c90001 000000aa");
    assert!(protect_rtcp(&mut sender, &report).is_ok());
    assert_eq!(protect_rtcp(&mut sender, &report).unwrap_err(), SrtpFault::Exhausted);
}

#[test]
fn a_key_whose_ssrcs_are_used_up_falls_silent() {
    let mut sender = SrtpSender::new(&rfc_key(), random(1));
    for ssrc in 0..u32::try_from(SEND_SSRCS_MAX).unwrap() {
        sender.take_index_for_test(ssrc, 1).unwrap();
    }
    assert_eq!(sender.take_index_for_test(9_999, 1).unwrap_err(), SrtpFault::Exhausted);
}

#[test]
fn a_restart_close_behind_is_noticed_by_its_duplicates() {
    let mut sender = SrtpSender::new(&rfc_key(), random(1));
    (100..160).for_each(|n| assert!(sender.take_index_for_test(7, n).is_ok()));
    let restarted: Vec<_> = (100..120).map(|n| sender.take_index_for_test(7, n)).collect();
    assert_eq!(restarted.iter().filter(|outcome| outcome.is_err()).count(), 7);
    assert!(restarted[7..].iter().all(|outcome| outcome.is_ok_and(|(ssrc, _)| ssrc != 7)));
}

#[test]
fn a_source_forgotten_meanwhile_comes_back_under_another_ssrc() {
    let mut sender = SrtpSender::new(&rfc_key(), random(1));
    for ssrc in 0..=u32::try_from(SEND_SOURCES_MAX).unwrap() {
        assert_eq!(sender.take_index_for_test(ssrc, 1), Ok((ssrc, 1)));
    }
    let (ssrc, index) = sender.take_index_for_test(0, 1).unwrap();
    assert_ne!((ssrc, index), (0, 1));
}

#[test]
fn parties_with_one_ssrc_are_kept_apart() {
    let mut sender = SrtpSender::new(&rfc_key(), random(1));
    let mut ssrcs = BTreeSet::new();
    for party in 0..3 {
        let mut buffer = [&rtp(7, 1)[..], &[0; SRTP_OVERHEAD_BYTES]].concat();
        sender.protect_rtp_of(Party(party), &mut buffer, 28).unwrap();
        assert!(ssrcs.insert(RtpHeader::parse(&buffer).unwrap().ssrc));
    }
    assert!(ssrcs.contains(&7), "the first one keeps it");
}

/// One thing the inside may do to its stream.
#[derive(Clone, Debug)]
enum Step {
    /// The source sends so many packets.
    Send { source: u32, packets: u16 },
    /// It starts again at this sequence number, or where everyone began.
    Jump { source: u32, sequence: u16 },
    /// It goes back so many packets: duplicates and reordering.
    Back { source: u32, by: u16 },
    /// It skips so many packets.
    Skip { source: u32, by: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    // More sources than are mapped at once, two of them the most likely.
    let source = || prop_oneof![0u32..2, 0u32..24];
    prop_oneof![
        6 => (source(), 1u16..200).prop_map(|(source, packets)| Step::Send { source, packets }),
        1 => (source(), prop_oneof![any::<u16>(), Just(65_400)]).prop_map(|(source, sequence)| Step::Jump { source, sequence }),
        2 => (source(), 1u16..300).prop_map(|(source, by)| Step::Back { source, by }),
        1 => (source(), 1u16..40_000).prop_map(|(source, by)| Step::Skip { source, by }),
    ]
}

proptest! {
    /// DESIGN: no (key, SSRC, index) is ever sent twice, whatever the inside does.
    #[test]
    fn no_keystream_is_used_twice(steps in proptest::collection::vec(step(), 1..120), seed in any::<u8>()) {
        let mut sender = SrtpSender::new(&rfc_key(), random(seed));
        let mut sent = BTreeSet::new();
        let mut next = [65_400u16; 24];
        for step in steps {
            match step {
                Step::Send { source, packets } => {
                    for _ in 0..packets {
                        let sequence = &mut next[source as usize];
                        if let Ok(pair) = sender.take_index_for_test(source, *sequence) {
                            prop_assert!(sent.insert(pair), "{pair:?} twice");
                        }
                        *sequence = sequence.wrapping_add(1);
                    }
                }
                Step::Jump { source, sequence } => next[source as usize] = sequence,
                Step::Back { source, by } => next[source as usize] = next[source as usize].wrapping_sub(by),
                Step::Skip { source, by } => next[source as usize] = next[source as usize].wrapping_add(by),
            }
        }
    }

    /// A receiver that misses any part, the beginning and its roll-over inside included, follows.
    #[test]
    fn a_lossy_receiver_follows(start in any::<u16>(), missed in 1u16..32_000, lost in proptest::collection::vec(any::<bool>(), 1..300)) {
        let mut sender = SrtpSender::new(&rfc_key(), random(3));
        let mut receiver = SrtpReceiver::new(&rfc_key());
        protect(&mut sender, &rtp(9, start)).unwrap();
        let mut sequence = start.wrapping_add(missed);
        // Where the stream stands since its beginning, and stood when the receiver last heard of it.
        let (mut index, mut heard) = (u32::from(start & 0x7fff) + u32::from(missed), None);
        for lost in lost {
            let clear = rtp(9, sequence);
            let mut packet = protect(&mut sender, &clear).unwrap();
            if !lost {
                // RFC 3711 §3.3.1: whoever hears nothing for half of the sequence numbers, or begins in the second
                // round, cannot know the round.
                if heard.map_or(index >= 0x1_0000, |heard| index - heard >= 0x8000) {
                    break;
                }
                heard = Some(index);
                let opened = receiver.unprotect_rtp(&mut packet).unwrap();
                prop_assert_eq!(&packet[12..opened.len], &clear[12..]);
                let outside = RtpHeader::parse(&packet[..opened.len]).unwrap().sequence;
                prop_assert_eq!(outside, sequence.wrapping_sub(start & 0x8000));
            }
            sequence = sequence.wrapping_add(400);
            index += 400;
        }
    }

    /// Any bytes at all, and any damage to real packets, are survived and refused.
    #[test]
    fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), cut in 0usize..40) {
        crate::fuzzing::srtp(&bytes);
        let mut receiver = SrtpReceiver::new(&rfc_key());
        let mut sender = SrtpSender::new(&rfc_key(), random(1));
        prop_assert!(receiver.unprotect_rtp(&mut bytes.clone()).is_err());
        prop_assert!(receiver.unprotect_rtcp(&mut bytes.clone()).is_err());
        let len = bytes.len();
        let _ = sender.protect_rtcp(&mut bytes.clone(), len);
        let _ = sender.protect_rtp(&mut bytes, len);
        let mut packet = protect(&mut sender, &rtp(1, 1)).unwrap();
        packet.truncate(cut);
        if cut < 38 {
            prop_assert!(receiver.unprotect_rtp(&mut packet).is_err());
        }
    }
}
