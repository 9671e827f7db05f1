//! SRTP of one stream, or none: AES_CM_128_HMAC_SHA1_80 and _32 (RFC 3711, RFC 4568 §6.2), and AES-GCM
//! (RFC 7714).
//!
//! Written apart from `protocols/media` for the same reason as the session descriptions: a mistake
//! both ends share would go unheard. One stream is sent; a few are received, each with its own
//! roll-over counter and replay window. No key derivation rate, no MKI.

use aes::{Aes128, Aes256};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::sdp::{Key, SrtpSuite};
use crate::limits::SOURCES_MAX;

/// Bytes of the authentication tags.
const GCM_TAG: usize = 16;

/// Bytes of a fixed RTP header, and of the clear part of RTCP.
const RTP_FIXED: usize = 12;
const RTCP_CLEAR: usize = 8;

/// Packets the replay window remembers (RFC 3711 §3.3.2: at least 64).
const WINDOW: u64 = 64;

/// Seals what is sent and opens what arrives.
pub(super) struct Guard(Option<Box<Both>>);

struct Both {
    keys: (Key, Key),
    send: Keys,
    receive: Keys,
    /// Next RTP index to be sent: roll-over count and sequence number in one.
    sent: Option<u64>,
    reports_sent: u32,
    sources: Vec<Source>,
    report_sources: Vec<Source>,
}

/// What is known of one source.
struct Source {
    ssrc: u32,
    highest: u64,
    /// Bit n: the packet n before the highest has been seen.
    seen: u64,
}

impl Guard {
    /// Plain RTP: everything passes as it is.
    pub(super) const fn plain() -> Self {
        Self(None)
    }

    /// Takes our key and theirs. A key that is unchanged keeps its counters: no keystream is used
    /// twice, no packet is taken twice.
    pub(super) fn rekey(&mut self, keys: Option<&(Key, Key)>) {
        let Some(new) = keys else {
            self.0 = None;
            return;
        };
        match &mut self.0 {
            Some(both) => both.change(new),
            none @ None => {
                *none = Some(Box::new(Both {
                    keys: *new,
                    send: Keys::derive(&new.0),
                    receive: Keys::derive(&new.1),
                    sent: None,
                    reports_sent: 0,
                    sources: Vec::new(),
                    report_sources: Vec::new(),
                }));
            }
        }
    }

    pub(super) fn seal_rtp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        match &mut self.0 {
            None => Some(packet.to_vec()),
            Some(both) => both.seal_rtp(packet),
        }
    }

    pub(super) fn open_rtp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        match &mut self.0 {
            None => Some(packet.to_vec()),
            Some(both) => both.open_rtp(packet),
        }
    }

    pub(super) fn seal_rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        match &mut self.0 {
            None => Some(packet.to_vec()),
            Some(both) => both.seal_rtcp(packet),
        }
    }

    pub(super) fn open_rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        match &mut self.0 {
            None => Some(packet.to_vec()),
            Some(both) => both.open_rtcp(packet),
        }
    }
}

impl Both {
    fn change(&mut self, new: &(Key, Key)) {
        if new.0 != self.keys.0 {
            (self.send, self.sent, self.reports_sent) = (Keys::derive(&new.0), None, 0);
        }
        if new.1 != self.keys.1 {
            self.receive = Keys::derive(&new.1);
            self.sources.clear();
            self.report_sources.clear();
        }
        self.keys = *new;
    }

    fn seal_rtp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let (ssrc, sequence, header) = rtp_header(packet)?;
        let index = match self.sent {
            None => u64::from(sequence),
            Some(last) => last + u64::from(sequence.wrapping_sub(last as u16)),
        };
        if self.sent == Some(index) {
            return None;
        }
        self.sent = Some(index);
        self.send.rtp.seal(packet, header, ssrc, index, &((index >> 16) as u32).to_be_bytes())
    }

    fn open_rtp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let (ssrc, sequence, header) = rtp_header(packet)?;
        let known = self.sources.iter().find(|source| source.ssrc == ssrc);
        // RFC 3711 §3.3.1: the index nearest to the highest one seen.
        let index = match known {
            None => u64::from(sequence),
            Some(source) => {
                let step = i64::from(sequence.wrapping_sub(source.highest as u16) as i16);
                source.highest.checked_add_signed(step)?
            }
        };
        if known.is_some_and(|source| source.replayed(index)) {
            return None;
        }
        let out = self.receive.rtp.open(packet, header, ssrc, index, &((index >> 16) as u32).to_be_bytes())?;
        note(&mut self.sources, ssrc, index)?;
        Some(out)
    }

    fn seal_rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let ssrc = rtcp_ssrc(packet)?;
        let index = self.reports_sent;
        self.reports_sent = index.checked_add(1).filter(|next| *next < 1 << 31)?;
        // RFC 3711 §3.4: the top bit says that the packet is encrypted.
        let trailer = (index | 1 << 31).to_be_bytes();
        if self.send.rtcp.suite.is_gcm() {
            // RFC 7714 §9: the index stands behind the tag, and is authenticated with the header.
            let mut clear = packet[..RTCP_CLEAR].to_vec();
            clear.extend_from_slice(&trailer);
            let sealed = self.send.rtcp.gcm_seal(&clear, &packet[RTCP_CLEAR..], ssrc, u64::from(index))?;
            return Some([&packet[..RTCP_CLEAR], &sealed, &trailer].concat());
        }
        let mut out = packet.to_vec();
        self.send.rtcp.cipher(ssrc, u64::from(index), &mut out[RTCP_CLEAR..]);
        out.extend_from_slice(&trailer);
        let tag = self.send.rtcp.mac(&out, &[]);
        out.extend_from_slice(&tag[..10]);
        Some(out)
    }

    fn open_rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let gcm = self.receive.rtcp.suite.is_gcm();
        let (body, tag) = packet.split_at_checked(packet.len().checked_sub(if gcm { 0 } else { 10 })?)?;
        let (report, trailer) = body.split_last_chunk::<4>()?;
        let (ssrc, word) = (rtcp_ssrc(report)?, u32::from_be_bytes(*trailer));
        let index = u64::from(word & !(1 << 31));
        let known = self.report_sources.iter().find(|source| source.ssrc == ssrc);
        if known.is_some_and(|source| source.replayed(index)) {
            return None;
        }
        let out = if gcm {
            let clear = [&report[..RTCP_CLEAR], trailer].concat();
            let opened = self.receive.rtcp.gcm_open(&clear, &report[RTCP_CLEAR..], ssrc, index)?;
            [&report[..RTCP_CLEAR], &opened].concat()
        } else {
            if self.receive.rtcp.mac(body, &[])[..10] != *tag {
                return None;
            }
            let mut out = report.to_vec();
            if word >> 31 == 1 {
                self.receive.rtcp.cipher(ssrc, index, &mut out[RTCP_CLEAR..]);
            }
            out
        };
        note(&mut self.report_sources, ssrc, index)?;
        Some(out)
    }
}

impl Source {
    const fn replayed(&self, index: u64) -> bool {
        match self.highest.checked_sub(index) {
            Some(age) => age >= WINDOW || self.seen >> age & 1 == 1,
            None => false,
        }
    }
}

/// Remembers an authenticated packet; `None` if there are too many sources.
fn note(sources: &mut Vec<Source>, ssrc: u32, index: u64) -> Option<()> {
    let Some(source) = sources.iter_mut().find(|source| source.ssrc == ssrc) else {
        return (sources.len() < SOURCES_MAX).then(|| sources.push(Source { ssrc, highest: index, seen: 1 }));
    };
    if let Some(ahead) = index.checked_sub(source.highest).filter(|ahead| *ahead > 0) {
        source.seen = if ahead < WINDOW { source.seen << ahead | 1 } else { 1 };
        source.highest = index;
    } else {
        source.seen |= 1 << (source.highest - index);
    }
    Some(())
}

/// SSRC, sequence number and length of the header, extension included (RFC 3711 §3.1: it stays
/// in clear).
fn rtp_header(packet: &[u8]) -> Option<(u32, u16, usize)> {
    let fixed: &[u8; RTP_FIXED] = packet.first_chunk()?;
    let mut length = RTP_FIXED + usize::from(fixed[0] & 0x0f) * 4;
    if fixed[0] & 0x10 != 0 {
        let head: &[u8; 4] = packet.get(length..)?.first_chunk()?;
        length += 4 + usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
    }
    let ssrc = u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]);
    (fixed[0] >> 6 == 2 && length <= packet.len()).then(|| (ssrc, u16::from_be_bytes([fixed[2], fixed[3]]), length))
}

fn rtcp_ssrc(packet: &[u8]) -> Option<u32> {
    let clear: &[u8; RTCP_CLEAR] = packet.first_chunk()?;
    Some(u32::from_be_bytes([clear[4], clear[5], clear[6], clear[7]]))
}

/// The derived keys of one direction.
struct Keys {
    rtp: Derived,
    rtcp: Derived,
}

struct Derived {
    suite: SrtpSuite,
    /// The cipher's key; a short one has zeroes behind it.
    key: [u8; 32],
    salt: [u8; 14],
    auth: [u8; 20],
}

impl SrtpSuite {
    const fn is_gcm(self) -> bool {
        matches!(self, Self::AeadAes128Gcm | Self::AeadAes256Gcm)
    }

    /// Bytes of the tag of an RTP packet.
    const fn rtp_tag(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 => 10,
            Self::AesCm128HmacSha1_32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => GCM_TAG,
        }
    }
}

impl Keys {
    fn derive(master: &Key) -> Self {
        Self { rtp: Derived::new(master, 0), rtcp: Derived::new(master, 3) }
    }
}

impl Derived {
    /// RFC 3711 §4.3.1: labels 0, 1, 2 for RTP and 3, 4, 5 for RTCP.
    fn new(master: &Key, label: u8) -> Self {
        let mut key = prf(master, label);
        key[master.key().len()..].fill(0);
        Self { suite: master.suite, key, auth: prf(master, label + 1), salt: prf(master, label + 2) }
    }

    fn seal(&self, packet: &[u8], header: usize, ssrc: u32, index: u64, roll_over: &[u8]) -> Option<Vec<u8>> {
        if self.suite.is_gcm() {
            let sealed = self.gcm_seal(&packet[..header], &packet[header..], ssrc, index)?;
            return Some([&packet[..header], &sealed].concat());
        }
        let mut out = packet.to_vec();
        self.cipher(ssrc, index, &mut out[header..]);
        let tag = self.mac(&out, roll_over);
        out.extend_from_slice(&tag[..self.suite.rtp_tag()]);
        Some(out)
    }

    fn open(&self, packet: &[u8], header: usize, ssrc: u32, index: u64, roll_over: &[u8]) -> Option<Vec<u8>> {
        if self.suite.is_gcm() {
            let opened = self.gcm_open(&packet[..header], &packet[header..], ssrc, index)?;
            return Some([&packet[..header], &opened].concat());
        }
        let (body, tag) = packet.split_at_checked(packet.len().checked_sub(self.suite.rtp_tag())?)?;
        if body.len() < header || self.mac(body, roll_over)[..self.suite.rtp_tag()] != *tag {
            return None;
        }
        let mut out = body.to_vec();
        self.cipher(ssrc, index, &mut out[header..]);
        Some(out)
    }

    /// AES in counter mode over `data`, in place (RFC 3711 §4.1.1).
    fn cipher(&self, ssrc: u32, index: u64, data: &mut [u8]) {
        let mut counter = [0; 16];
        counter[..14].copy_from_slice(&self.salt);
        xor(&mut counter[4..8], &ssrc.to_be_bytes());
        xor(&mut counter[8..14], &index.to_be_bytes()[2..]);
        let key: [u8; 16] = *self.key.first_chunk().expect("32 bytes");
        Ctr128BE::<Aes128>::new(&key.into(), &counter.into()).apply_keystream(data);
    }

    fn mac(&self, packet: &[u8], roll_over: &[u8]) -> [u8; 20] {
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.auth).expect("HMAC takes a key of any length");
        mac.update(packet);
        mac.update(roll_over);
        mac.finalize().into_bytes().into()
    }

    /// RFC 7714 §8.1: two zeroes, SSRC, six bytes of index, and the salt over all of it.
    fn nonce(&self, ssrc: u32, index: u64) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
        nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
        xor(&mut nonce, &self.salt[..12]);
        nonce
    }

    fn gcm_seal(&self, clear: &[u8], data: &[u8], ssrc: u32, index: u64) -> Option<Vec<u8>> {
        let (mut out, nonce) = (data.to_vec(), self.nonce(ssrc, index).into());
        let short: [u8; 16] = *self.key.first_chunk().expect("32 bytes");
        let tag: [u8; GCM_TAG] = if self.suite == SrtpSuite::AeadAes128Gcm {
            Aes128Gcm::new(&short.into()).encrypt_inout_detached(&nonce, clear, out.as_mut_slice().into()).ok()?.into()
        } else {
            Aes256Gcm::new(&self.key.into())
                .encrypt_inout_detached(&nonce, clear, out.as_mut_slice().into())
                .ok()?
                .into()
        };
        out.extend_from_slice(&tag);
        Some(out)
    }

    fn gcm_open(&self, clear: &[u8], sealed: &[u8], ssrc: u32, index: u64) -> Option<Vec<u8>> {
        let (data, tag) = sealed.split_last_chunk::<GCM_TAG>()?;
        let (mut out, nonce) = (data.to_vec(), self.nonce(ssrc, index).into());
        let (short, tag) = (*self.key.first_chunk::<16>().expect("32 bytes"), (*tag).into());
        let opened = if self.suite == SrtpSuite::AeadAes128Gcm {
            let cipher = Aes128Gcm::new(&short.into());
            cipher.decrypt_inout_detached(&nonce, clear, out.as_mut_slice().into(), &tag)
        } else {
            let cipher = Aes256Gcm::new(&self.key.into());
            cipher.decrypt_inout_detached(&nonce, clear, out.as_mut_slice().into(), &tag)
        };
        opened.ok()?;
        Some(out)
    }
}

/// The pseudo-random function of RFC 3711 §4.3.3; with AES-256 for a key of 32 bytes (RFC 7714 §11).
fn prf<const N: usize>(master: &Key, label: u8) -> [u8; N] {
    let mut counter = [0; 16];
    counter[..master.salt().len()].copy_from_slice(master.salt());
    counter[7] ^= label;
    let mut out = [0; N];
    if let Ok(key) = <[u8; 32]>::try_from(master.key()) {
        Ctr128BE::<Aes256>::new(&key.into(), &counter.into()).apply_keystream(&mut out);
    } else {
        let key: [u8; 16] = master.key().try_into().expect("16 bytes or 32");
        Ctr128BE::<Aes128>::new(&key.into(), &counter.into()).apply_keystream(&mut out);
    }
    out
}

fn xor(into: &mut [u8], with: &[u8]) {
    into.iter_mut().zip(with).for_each(|(a, b)| *a ^= b);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phone::rtp::{Packet, read, sender_report};

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
    }

    #[test]
    fn keys_are_derived_as_in_rfc_3711_appendix_b3() {
        let master = hex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6");
        let master = Key::new(SrtpSuite::AesCm128HmacSha1_80, &master).unwrap();
        let keys = Keys::derive(&master);
        assert_eq!(keys.rtp.key[..16].to_vec(), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(keys.rtp.salt.to_vec(), hex("30CBBC08863D8C85D49DB34A9AE1"));
        assert_eq!(keys.rtp.auth.to_vec(), hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    }

    #[test]
    fn the_keystream_is_that_of_rfc_3711_appendix_b2() {
        let keys = Derived {
            suite: SrtpSuite::AesCm128HmacSha1_80,
            key: [hex("2B7E151628AED2A6ABF7158809CF4F3C"), vec![0; 16]].concat().try_into().unwrap(),
            salt: hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap(),
            auth: [0; 20],
        };
        let mut stream = [0; 32];
        keys.cipher(0, 0, &mut stream);
        assert_eq!(stream.to_vec(), hex("E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB"));
    }

    const SUITES: [SrtpSuite; 4] = [
        SrtpSuite::AesCm128HmacSha1_80,
        SrtpSuite::AesCm128HmacSha1_32,
        SrtpSuite::AeadAes128Gcm,
        SrtpSuite::AeadAes256Gcm,
    ];

    fn keys(suite: SrtpSuite, ours: u8, theirs: u8) -> (Key, Key) {
        (Key::cut(suite, &[ours; 44]), Key::cut(suite, &[theirs; 44]))
    }

    fn pair_of(suite: SrtpSuite) -> (Guard, Guard) {
        let (mut here, mut there) = (Guard::plain(), Guard::plain());
        here.rekey(Some(&keys(suite, 1, 2)));
        there.rekey(Some(&keys(suite, 2, 1)));
        (here, there)
    }

    fn pair() -> (Guard, Guard) {
        pair_of(SrtpSuite::AesCm128HmacSha1_80)
    }

    fn packet(sequence: u16) -> Vec<u8> {
        Packet { payload_type: 0, sequence, timestamp: 1, ssrc: 7, marker: false, sent_at: Some(3), payload: &[9; 160] }
            .write()
    }

    #[test]
    fn packets_survive_a_roll_over_and_reordering_but_no_replay() {
        let (mut here, mut there) = pair();
        let sealed: Vec<Vec<u8>> =
            (0..200_u16).map(|step| here.seal_rtp(&packet(65_436_u16.wrapping_add(step))).expect("sealed")).collect();
        for swapped in sealed.chunks(2) {
            for one in swapped.iter().rev() {
                let opened = there.open_rtp(one).expect("authentic");
                assert_eq!(read(&opened).map(|packet| (packet.sent_at, packet.payload[0])), Some((Some(3), 9)));
                assert_eq!(there.open_rtp(one), None, "a replay");
            }
        }
        assert_eq!(there.open_rtp(&sealed[0]), None, "older than the window");
    }

    #[test]
    fn a_flipped_bit_anywhere_and_a_wrong_key_are_noticed() {
        let (mut here, mut there) = pair();
        let sealed = here.seal_rtp(&packet(5)).expect("sealed");
        assert!(!sealed.windows(8).any(|window| window == [9; 8]), "the payload is hidden");
        for at in 0..sealed.len() {
            let mut broken = sealed.clone();
            broken[at] ^= 1;
            assert_eq!(there.open_rtp(&broken), None, "byte {at}");
            assert_eq!(there.open_rtp(&sealed[..at]), None, "cut at {at}");
        }
        let (_, mut other) = pair();
        other.rekey(Some(&keys(SrtpSuite::AesCm128HmacSha1_80, 2, 3)));
        assert_eq!(other.open_rtp(&sealed), None);
        assert!(there.open_rtp(&sealed).is_some());
        there.rekey(Some(&keys(SrtpSuite::AesCm128HmacSha1_80, 2, 1)));
        assert_eq!(there.open_rtp(&sealed), None, "the same keys again forget nothing");
    }

    #[test]
    fn every_suite_opens_what_it_has_sealed_and_nothing_else() {
        for suite in SUITES {
            let (mut here, mut there) = pair_of(suite);
            let sealed = here.seal_rtp(&packet(5)).expect("sealed");
            assert_eq!(sealed.len(), packet(5).len() + suite.rtp_tag(), "{suite:?}");
            let mut broken = sealed.clone();
            broken[40] ^= 1;
            assert_eq!(there.open_rtp(&broken), None, "{suite:?}");
            assert_eq!(there.open_rtp(&sealed), Some(packet(5)), "{suite:?}");
            let report = sender_report(7, 1, 2, 3, 4);
            let sealed = here.seal_rtcp(&report).expect("sealed");
            let mut broken = sealed.clone();
            broken[9] ^= 1;
            assert_eq!(there.open_rtcp(&broken), None, "{suite:?}");
            assert_eq!(there.open_rtcp(&sealed), Some(report), "{suite:?}");
        }
    }

    #[test]
    fn reports_are_protected_too() {
        let (mut here, mut there) = pair();
        let report = sender_report(7, 1, 2, 3, 4);
        let sealed = here.seal_rtcp(&report).expect("sealed");
        assert_eq!(there.open_rtcp(&sealed), Some(report.clone()));
        assert_eq!(there.open_rtcp(&sealed), None, "a replay");
        let again = here.seal_rtcp(&report).expect("sealed");
        assert_ne!(again[8..28], sealed[8..28], "no keystream twice");
        assert_eq!(there.open_rtcp(&again), Some(report));
    }
}
