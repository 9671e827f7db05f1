//! Session keys of one direction, and what they do to one packet.

use aes::cipher::{BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use aes::{Aes128Enc, Aes256Enc};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;
use edgeway_model::Secret;
use edgeway_model::media::{CryptoSuite, SrtpKey};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

use super::SrtpFault;

/// Which of the two streams of a master key (RFC 3711 §4.3.2): it decides the labels, and for one
/// suite the length of the tag.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Rtp,
    Rtcp,
}

/// The labels for encryption, authentication and salt.
const RTP_LABELS: [u8; 3] = [0, 1, 2];
const RTCP_LABELS: [u8; 3] = [3, 4, 5];

/// Bytes of E flag and SRTCP index (RFC 3711 §3.4).
const INDEX_BYTES: usize = 4;
const ENCRYPTED: u32 = 1 << 31;
/// Bytes of an RTCP packet that stay in clear: its header and first SSRC.
const RTCP_CLEAR_BYTES: usize = 8;

/// Session keys of one direction for RTP or for RTCP (RFC 3711 §4.3.1, RFC 7714 §11).
pub(super) enum SessionKeys {
    /// AES in counter mode and HMAC-SHA1 (RFC 3711 §4).
    Cm(Box<Cm>),
    /// AEAD_AES_128_GCM (RFC 7714).
    Gcm128(Box<Gcm<Aes128Gcm>>),
    /// AEAD_AES_256_GCM.
    Gcm256(Box<Gcm<Aes256Gcm>>),
}

pub(super) struct Cm {
    pub(super) cipher: Aes128Enc,
    pub(super) salt: Secret<14>,
    mac: Hmac<Sha1>,
    tag_bytes: usize,
}

pub(super) struct Gcm<C> {
    cipher: C,
    salt: Secret<12>,
}

const GCM_TAG_BYTES: usize = 16;

/// What stands behind an RTCP packet.
pub(super) struct RtcpTrailer {
    /// Length of the packet without it.
    pub(super) len: usize,
    pub(super) encrypted: bool,
    pub(super) index: u32,
}

impl SessionKeys {
    pub(super) fn derive(master: &SrtpKey, stream: Stream) -> Self {
        let labels = match stream {
            Stream::Rtp => RTP_LABELS,
            Stream::Rtcp => RTCP_LABELS,
        };
        match master.suite() {
            CryptoSuite::AesCm128HmacSha1_80 => Self::Cm(Box::new(Cm::derive(master, labels, 10))),
            CryptoSuite::AesCm128HmacSha1_32 => {
                // RFC 4568 §6.2.2: the short tag is for RTP alone.
                let tag_bytes = if stream == Stream::Rtp { 4 } else { 10 };
                Self::Cm(Box::new(Cm::derive(master, labels, tag_bytes)))
            }
            CryptoSuite::AeadAes128Gcm => {
                let key: Secret<16> = Secret::new(derive(master, labels[0]));
                Self::Gcm128(Box::new(Gcm::new(Aes128Gcm::new(key.expose().into()), master, labels)))
            }
            CryptoSuite::AeadAes256Gcm => {
                let key: Secret<32> = Secret::new(derive(master, labels[0]));
                Self::Gcm256(Box::new(Gcm::new(Aes256Gcm::new(key.expose().into()), master, labels)))
            }
        }
    }

    /// Bytes an RTP packet grows by.
    pub(super) fn rtp_overhead(&self) -> usize {
        match self {
            Self::Cm(keys) => keys.tag_bytes,
            Self::Gcm128(_) | Self::Gcm256(_) => GCM_TAG_BYTES,
        }
    }

    /// Bytes an RTCP packet grows by.
    pub(super) fn rtcp_overhead(&self) -> usize {
        self.rtp_overhead() + INDEX_BYTES
    }

    /// Protects the RTP packet `buffer[..len]` with a header of `header` bytes, all of its identity
    /// set. `buffer` is [`SessionKeys::rtp_overhead`] bytes longer than `len`.
    pub(super) fn seal_rtp(&self, buffer: &mut [u8], header: usize, len: usize, ssrc: u32, index: u64) {
        let (packet, tag) = buffer.split_at_mut(len);
        match self {
            Self::Cm(keys) => {
                keys.apply_keystream(ssrc, index, &mut packet[header..]);
                let mac = keys.mac(packet, &rollover(index));
                tag.copy_from_slice(&mac[..keys.tag_bytes]);
            }
            Self::Gcm128(keys) => tag.copy_from_slice(&keys.seal_rtp(packet, header, ssrc, index)),
            Self::Gcm256(keys) => tag.copy_from_slice(&keys.seal_rtp(packet, header, ssrc, index)),
        }
    }

    /// Authenticates and decrypts an RTP packet; nothing of it has changed after a fault. Its length
    /// in clear.
    pub(super) fn open_rtp(&self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Result<usize, SrtpFault> {
        let len = packet.len().checked_sub(self.rtp_overhead()).filter(|&len| len >= header);
        let len = len.ok_or(SrtpFault::Malformed)?;
        let (body, tag) = packet.split_at_mut(len);
        match self {
            Self::Cm(keys) => {
                keys.verify(body, &rollover(index), tag)?;
                keys.apply_keystream(ssrc, index, &mut body[header..]);
            }
            Self::Gcm128(keys) => keys.open_rtp(body, tag, header, ssrc, index)?,
            Self::Gcm256(keys) => keys.open_rtp(body, tag, header, ssrc, index)?,
        }
        Ok(len)
    }

    /// Protects the RTCP packet `buffer[..len]`. `buffer` is [`SessionKeys::rtcp_overhead`] bytes
    /// longer than `len`.
    pub(super) fn seal_rtcp(&self, buffer: &mut [u8], len: usize, ssrc: u32, index: u32) {
        let (packet, trailer) = buffer.split_at_mut(len);
        let word = (ENCRYPTED | index).to_be_bytes();
        match self {
            Self::Cm(keys) => {
                keys.apply_keystream(ssrc, u64::from(index), &mut packet[RTCP_CLEAR_BYTES..]);
                let mac = keys.mac(packet, &word);
                let (stands, tag) = trailer.split_at_mut(INDEX_BYTES);
                stands.copy_from_slice(&word);
                tag.copy_from_slice(&mac[..keys.tag_bytes]);
            }
            // RFC 7714 §9.2: here the tag comes before the index.
            Self::Gcm128(keys) => {
                trailer[..GCM_TAG_BYTES].copy_from_slice(&keys.seal_rtcp(packet, word, ssrc, index));
                trailer[GCM_TAG_BYTES..].copy_from_slice(&word);
            }
            Self::Gcm256(keys) => {
                trailer[..GCM_TAG_BYTES].copy_from_slice(&keys.seal_rtcp(packet, word, ssrc, index));
                trailer[GCM_TAG_BYTES..].copy_from_slice(&word);
            }
        }
    }

    /// What stands behind a protected RTCP packet; `None` if it is too short.
    pub(super) fn rtcp_trailer(&self, packet: &[u8]) -> Option<RtcpTrailer> {
        let len = packet.len().checked_sub(self.rtcp_overhead()).filter(|&len| len >= RTCP_CLEAR_BYTES)?;
        let word = match self {
            Self::Cm(_) => packet[len..].first_chunk()?,
            Self::Gcm128(_) | Self::Gcm256(_) => packet.last_chunk()?,
        };
        let word = u32::from_be_bytes(*word);
        Some(RtcpTrailer { len, encrypted: word & ENCRYPTED != 0, index: word & !ENCRYPTED })
    }

    /// Authenticates and decrypts an RTCP packet with this trailer; nothing of it has changed after
    /// a fault.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], trailer: &RtcpTrailer, ssrc: u32) -> Result<(), SrtpFault> {
        // RFC 4568 §6.3.2: a packet in clear would need UNENCRYPTED_SRTCP, which we never agree to.
        if !trailer.encrypted {
            return Err(SrtpFault::Unauthenticated);
        }
        let (body, behind) = packet.split_at_mut(trailer.len);
        let word = (ENCRYPTED | trailer.index).to_be_bytes();
        match self {
            Self::Cm(keys) => {
                keys.verify(body, &word, &behind[INDEX_BYTES..])?;
                keys.apply_keystream(ssrc, u64::from(trailer.index), &mut body[RTCP_CLEAR_BYTES..]);
                Ok(())
            }
            Self::Gcm128(keys) => keys.open_rtcp(body, &behind[..GCM_TAG_BYTES], word, ssrc, trailer.index),
            Self::Gcm256(keys) => keys.open_rtcp(body, &behind[..GCM_TAG_BYTES], word, ssrc, trailer.index),
        }
    }
}

impl Cm {
    fn derive(master: &SrtpKey, labels: [u8; 3], tag_bytes: usize) -> Self {
        let derived: Secret<16> = Secret::new(derive(master, labels[0]));
        let auth: Secret<20> = Secret::new(derive(master, labels[1]));
        let salt = Secret::new(derive(master, labels[2]));
        let mac = Hmac::new_from_slice(auth.expose()).expect("HMAC takes keys of any length");
        Self { cipher: Aes128Enc::new(derived.expose().into()), salt, mac, tag_bytes }
    }

    /// Encrypts or decrypts `payload` (RFC 3711 §4.1.1).
    pub(super) fn apply_keystream(&self, ssrc: u32, index: u64, payload: &mut [u8]) {
        let mut iv = [0u8; 16];
        iv[..14].copy_from_slice(self.salt.expose());
        xor(&mut iv[4..8], &ssrc.to_be_bytes());
        xor(&mut iv[8..14], &index.to_be_bytes()[2..]);
        let core: CtrCore<&Aes128Enc, Ctr128BE> = CtrCore::inner_iv_init(&self.cipher, &iv.into());
        StreamCipherCoreWrapper::from_core(core).apply_keystream(payload);
    }

    fn mac(&self, authenticated: &[u8], suffix: &[u8]) -> [u8; 20] {
        let mut mac = self.mac.clone();
        mac.update(authenticated);
        mac.update(suffix);
        mac.finalize().into_bytes().into()
    }

    fn verify(&self, authenticated: &[u8], suffix: &[u8], tag: &[u8]) -> Result<(), SrtpFault> {
        let expected = self.mac(authenticated, suffix);
        if expected[..self.tag_bytes].ct_eq(tag).into() { Ok(()) } else { Err(SrtpFault::Unauthenticated) }
    }
}

/// The AEAD suites (RFC 7714) over one of the two ciphers.
type Tag = [u8; GCM_TAG_BYTES];

impl<C> Gcm<C>
where
    C: AeadInOut<NonceSize = aes::cipher::consts::U12, TagSize = aes::cipher::consts::U16>,
{
    fn new(cipher: C, master: &SrtpKey, labels: [u8; 3]) -> Self {
        Self { cipher, salt: Secret::new(derive(master, labels[2])) }
    }

    /// RFC 7714 §8.1: two zeroes, SSRC, roll-over counter, sequence number; §9.1 has the same shape
    /// with the SRTCP index in 32 bits at the end.
    fn nonce(&self, ssrc: u32, index: u64) -> [u8; 12] {
        let mut nonce = *self.salt.expose();
        xor(&mut nonce[2..6], &ssrc.to_be_bytes());
        xor(&mut nonce[6..12], &index.to_be_bytes()[2..]);
        nonce
    }

    fn seal_rtp(&self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Tag {
        let (clear, payload) = packet.split_at_mut(header);
        self.seal(ssrc, index, clear, payload)
    }

    fn open_rtp(&self, body: &mut [u8], tag: &[u8], header: usize, ssrc: u32, index: u64) -> Result<(), SrtpFault> {
        let (clear, payload) = body.split_at_mut(header);
        self.open(ssrc, index, clear, payload, tag)
    }

    /// RFC 7714 §9.2: authenticated are the first eight bytes and the index.
    fn seal_rtcp(&self, packet: &mut [u8], word: [u8; INDEX_BYTES], ssrc: u32, index: u32) -> Tag {
        let (clear, payload) = packet.split_at_mut(RTCP_CLEAR_BYTES);
        self.seal(ssrc, u64::from(index), &rtcp_authenticated(clear, word), payload)
    }

    fn open_rtcp(
        &self,
        body: &mut [u8],
        tag: &[u8],
        word: [u8; INDEX_BYTES],
        ssrc: u32,
        index: u32,
    ) -> Result<(), SrtpFault> {
        let (clear, payload) = body.split_at_mut(RTCP_CLEAR_BYTES);
        self.open(ssrc, u64::from(index), &rtcp_authenticated(clear, word), payload, tag)
    }

    fn seal(&self, ssrc: u32, index: u64, clear: &[u8], payload: &mut [u8]) -> Tag {
        let nonce = self.nonce(ssrc, index);
        let sealed = self.cipher.encrypt_inout_detached(&nonce.into(), clear, payload.into());
        sealed.expect("a packet is shorter than GCM's bound").into()
    }

    fn open(&self, ssrc: u32, index: u64, clear: &[u8], payload: &mut [u8], tag: &[u8]) -> Result<(), SrtpFault> {
        let nonce = self.nonce(ssrc, index);
        let tag: &Tag = tag.try_into().map_err(|_| SrtpFault::Malformed)?;
        // The tag is checked before the payload is touched.
        let opened = self.cipher.decrypt_inout_detached(&nonce.into(), clear, payload.into(), tag.into());
        opened.map_err(|_| SrtpFault::Unauthenticated)
    }
}

fn rtcp_authenticated(clear: &[u8], word: [u8; INDEX_BYTES]) -> [u8; RTCP_CLEAR_BYTES + INDEX_BYTES] {
    let mut authenticated = [0; RTCP_CLEAR_BYTES + INDEX_BYTES];
    authenticated[..RTCP_CLEAR_BYTES].copy_from_slice(clear);
    authenticated[RTCP_CLEAR_BYTES..].copy_from_slice(&word);
    authenticated
}

/// The roll-over counter of an index of 48 bits, as it is authenticated.
fn rollover(index: u64) -> [u8; 4] {
    let [_, _, a, b, c, d, _, _] = index.to_be_bytes();
    [a, b, c, d]
}

/// The key derivation function with a rate of zero (RFC 3711 §4.3.1, §4.3.3). A salt of twelve
/// bytes stands before two zeroes (RFC 7714 §11), a key of 32 is derived with AES-256.
pub(super) fn derive<const N: usize>(master: &SrtpKey, label: u8) -> [u8; N] {
    let encrypt: Box<dyn Fn(&mut aes::Block)> = match master.suite() {
        CryptoSuite::AeadAes256Gcm => {
            let cipher = Aes256Enc::new_from_slice(master.master_key()).expect("32 bytes");
            Box::new(move |block| cipher.encrypt_block(block))
        }
        CryptoSuite::AeadAes128Gcm | CryptoSuite::AesCm128HmacSha1_80 | CryptoSuite::AesCm128HmacSha1_32 => {
            let cipher = Aes128Enc::new_from_slice(master.master_key()).expect("16 bytes");
            Box::new(move |block| cipher.encrypt_block(block))
        }
    };
    let salt = master.master_salt();
    let mut out = [0; N];
    for (number, chunk) in (0..).zip(out.chunks_mut(16)) {
        let mut block = [0u8; 16];
        block[..salt.len()].copy_from_slice(salt);
        block[7] ^= label;
        block[15] = number;
        let mut block = block.into();
        encrypt(&mut block);
        chunk.copy_from_slice(&block[..chunk.len()]);
    }
    out
}

fn xor(target: &mut [u8], with: &[u8]) {
    target.iter_mut().zip(with).for_each(|(byte, other)| *byte ^= other);
}

#[cfg(test)]
impl SessionKeys {
    /// AEAD keys from a session key and salt, as RFC 7714 §16 gives them.
    pub(super) fn gcm_for_test(key: &[u8], salt: [u8; 12]) -> Self {
        let salt = Secret::new(salt);
        match key.len() {
            16 => Self::Gcm128(Box::new(Gcm { cipher: Aes128Gcm::new_from_slice(key).expect("16 bytes"), salt })),
            _ => Self::Gcm256(Box::new(Gcm { cipher: Aes256Gcm::new_from_slice(key).expect("32 bytes"), salt })),
        }
    }
}
