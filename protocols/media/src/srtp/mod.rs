//! SRTP and SRTCP with AES_CM_128_HMAC_SHA1_80 (RFC 3711), in place and without allocating per
//! packet.
//!
//! [`SrtpReceiver`] opens what a client sends, [`SrtpSender`] protects what goes to it. Not here:
//! other suites, MKI, re-keying inside a context (a new key is a new context).

mod receiver;
mod sender;
mod window;

use aes::Aes128Enc;
use aes::cipher::{BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;
use edgeway_model::Secret;
use edgeway_model::media::SrtpKey;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

pub use receiver::{Opened, SrtpReceiver};
pub use sender::SrtpSender;
pub use window::{Freshness, ReplayWindow};

use crate::limits::SRTP_OVERHEAD_BYTES;

/// Why a packet was neither opened nor protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpFault {
    /// No RTP or RTCP packet, or no room for the tag.
    #[error("malformed packet")]
    Malformed,
    /// The tag does not fit the packet.
    #[error("authentication failed")]
    Unauthenticated,
    /// Seen before, or older than the window.
    #[error("replayed or too old")]
    Replayed,
    /// Every source the context may remember is taken.
    #[error("too many synchronisation sources")]
    TooManySources,
    /// The key has no unused keystream left for this packet.
    #[error("key used up")]
    Exhausted,
}

/// Bytes of the authentication tag.
const TAG_BYTES: usize = SRTP_OVERHEAD_BYTES;

/// Session keys of one direction for RTP or for RTCP (RFC 3711 §4.3.1).
struct SessionKeys {
    cipher: Aes128Enc,
    salt: Secret<14>,
    mac: Hmac<Sha1>,
}

/// The labels of RFC 3711 §4.3.2: encryption, authentication, salt.
const RTP_LABELS: [u8; 3] = [0, 1, 2];
const RTCP_LABELS: [u8; 3] = [3, 4, 5];

impl SessionKeys {
    fn derive(master: &SrtpKey, labels: [u8; 3]) -> Self {
        let derived: Secret<16> = Secret::new(derive(master, labels[0]));
        let auth: Secret<20> = Secret::new(derive(master, labels[1]));
        let salt = Secret::new(derive(master, labels[2]));
        let mac = Hmac::new_from_slice(auth.expose()).expect("HMAC takes keys of any length");
        Self { cipher: Aes128Enc::new(derived.expose().into()), salt, mac }
    }

    /// Encrypts or decrypts `payload` (RFC 3711 §4.1.1).
    fn apply_keystream(&self, ssrc: u32, index: u64, payload: &mut [u8]) {
        let mut iv = [0u8; 16];
        iv[..14].copy_from_slice(self.salt.expose());
        xor(&mut iv[4..8], &ssrc.to_be_bytes());
        xor(&mut iv[8..14], &index.to_be_bytes()[2..]);
        let core: CtrCore<&Aes128Enc, Ctr128BE> = CtrCore::inner_iv_init(&self.cipher, &iv.into());
        StreamCipherCoreWrapper::from_core(core).apply_keystream(payload);
    }

    fn tag(&self, authenticated: &[u8], suffix: &[u8]) -> [u8; TAG_BYTES] {
        let mut mac = self.mac.clone();
        mac.update(authenticated);
        mac.update(suffix);
        let full = mac.finalize().into_bytes();
        *full.first_chunk().expect("HMAC-SHA1 yields 20 bytes")
    }

    fn verify(&self, authenticated: &[u8], suffix: &[u8], tag: &[u8]) -> bool {
        self.tag(authenticated, suffix).ct_eq(tag).into()
    }
}

/// The key derivation function with a rate of zero (RFC 3711 §4.3.1, §4.3.3).
fn derive<const N: usize>(master: &SrtpKey, label: u8) -> [u8; N] {
    let (key, salt) = master.0.expose().split_at(16);
    let cipher = Aes128Enc::new_from_slice(key).expect("split at 16");
    let mut out = [0; N];
    for (number, chunk) in out.chunks_mut(16).enumerate() {
        let mut block = [0u8; 16];
        block[..14].copy_from_slice(salt);
        block[7] ^= label;
        block[15] = u8::try_from(number).expect("at most two blocks");
        let mut block = block.into();
        cipher.encrypt_block(&mut block);
        chunk.copy_from_slice(&block[..chunk.len()]);
    }
    out
}

fn xor(target: &mut [u8], with: &[u8]) {
    target.iter_mut().zip(with).for_each(|(byte, other)| *byte ^= other);
}

/// For the fuzzer: neither opening nor protecting any bytes ever panics.
pub fn fuzz(bytes: &[u8]) {
    let key = SrtpKey(Secret::new([7; 30]));
    let mut sender = SrtpSender::new(&key, edgeway_model::Random::from_seed([1; 32]));
    let mut receiver = SrtpReceiver::new(&key);
    let mut buffer = [bytes, &[0; crate::limits::SRTCP_OVERHEAD_BYTES]].concat();
    if let Ok(len) = sender.protect_rtcp(&mut buffer, bytes.len()) {
        debug_assert!(receiver.unprotect_rtcp(&mut buffer[..len]).is_ok());
        let _ = sender.rewrite_reports(&mut buffer[..bytes.len()]);
    }
    buffer[..bytes.len()].copy_from_slice(bytes);
    if let Ok(len) = sender.protect_rtp(&mut buffer, bytes.len()) {
        debug_assert!(receiver.unprotect_rtp(&mut buffer[..len]).is_ok());
    }
    let _ = receiver.unprotect_rtp(&mut bytes.to_vec());
    let _ = receiver.unprotect_rtcp(&mut bytes.to_vec());
}

#[cfg(test)]
mod tests;
