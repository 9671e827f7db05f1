//! STUN Binding on a SIP stream (RFC 8489; RFC 5626 §3.5.2 carried over to streams): the
//! keepalive of MRA clients.
//!
//! Only Binding, without credentials: the connection it rides on is authenticated. Unknown
//! attributes are tolerated, comprehension-required ones too, because the purpose is to answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use crate::limits::{STUN_ATTRIBUTES_MAX, STUN_BYTES_MAX, STUN_TEXT_BYTES_MAX};

const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const HEADER_BYTES: usize = 20;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const ERROR_CODE: u16 = 0x0009;
const SOFTWARE: u16 = 0x8022;
const FINGERPRINT: u16 = 0x8028;
/// RFC 8489 §14.7.
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// The id of a transaction (RFC 8489 §5).
pub type TransactionId = [u8; 12];

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Binding request: to be answered.
    Request,
    /// Binding indication: traffic, no answer.
    Indication,
    /// Binding success response.
    Success,
    /// Binding error response.
    Error,
}

/// A Binding message, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stun<'a> {
    /// What it is.
    pub class: Class,
    /// Its transaction.
    pub transaction: TransactionId,
    /// SOFTWARE, as sent.
    pub software: Option<&'a [u8]>,
    /// Whether it carried a FINGERPRINT (a wrong one does not parse).
    pub has_fingerprint: bool,
    mapped: Option<SocketAddr>,
    error: Option<u16>,
}

/// Why bytes are no Binding message to be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StunFault {
    /// Not STUN, or cut short.
    #[error("not a STUN message")]
    Malformed,
    /// A method other than Binding.
    #[error("a STUN method other than Binding")]
    Method,
    /// FINGERPRINT does not match the bytes.
    #[error("the STUN fingerprint does not match")]
    Fingerprint,
}

/// The whole length of the message that starts with these bytes; `None` if they are not STUN.
pub(crate) fn length(header: &[u8; 8]) -> Option<usize> {
    let [kind, _, high, low, cookie @ ..] = *header;
    let body = usize::from(u16::from_be_bytes([high, low]));
    (kind <= 1 && cookie == MAGIC_COOKIE && body.is_multiple_of(4)).then_some(HEADER_BYTES + body)
}

/// Whether the bytes are one whole STUN message by its header.
#[must_use]
pub fn is_stun(bytes: &[u8]) -> bool {
    bytes.first_chunk().and_then(length) == Some(bytes.len())
}

impl<'a> Stun<'a> {
    /// Parses one Binding message, as cut by [`crate::Framer`].
    ///
    /// # Errors
    ///
    /// [`StunFault`]; such a message is to be dropped and counted, not answered.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, StunFault> {
        if !is_stun(bytes) || bytes.len() > STUN_BYTES_MAX {
            return Err(StunFault::Malformed);
        }
        let class = match [bytes[0], bytes[1]] {
            [0x00, 0x01] => Class::Request,
            [0x00, 0x11] => Class::Indication,
            [0x01, 0x01] => Class::Success,
            [0x01, 0x11] => Class::Error,
            _ => return Err(StunFault::Method),
        };
        let transaction = *bytes[8..].first_chunk().ok_or(StunFault::Malformed)?;
        let mut stun = Self { class, transaction, software: None, has_fingerprint: false, mapped: None, error: None };
        let mut at = HEADER_BYTES;
        for _ in 0..STUN_ATTRIBUTES_MAX {
            if at == bytes.len() {
                return Ok(stun);
            }
            let (kind, value) = attribute(bytes, at).ok_or(StunFault::Malformed)?;
            stun.take(bytes, at, kind, value)?;
            at += 4 + value.len().next_multiple_of(4);
        }
        Err(StunFault::Malformed)
    }

    fn take(&mut self, bytes: &[u8], at: usize, kind: u16, value: &'a [u8]) -> Result<(), StunFault> {
        match kind {
            SOFTWARE => self.software = self.software.or(Some(value)),
            XOR_MAPPED_ADDRESS => self.mapped = self.mapped.or(unmask(value, &self.transaction)),
            ERROR_CODE => {
                let [_, _, class, number, ..] = *value else { return Err(StunFault::Malformed) };
                self.error = Some(u16::from(class & 7) * 100 + u16::from(number % 100));
            }
            FINGERPRINT => {
                if value != fingerprint(&bytes[..at]) || at + 8 != bytes.len() {
                    return Err(StunFault::Fingerprint);
                }
                self.has_fingerprint = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// The XOR-MAPPED-ADDRESS of a success response.
    #[must_use]
    pub const fn mapped(&self) -> Option<SocketAddr> {
        self.mapped
    }

    /// The code of an error response, 300 to 699.
    #[must_use]
    pub const fn error_code(&self) -> Option<u16> {
        self.error
    }

    /// The success response: where the request came from, as seen here. SOFTWARE is echoed, and a
    /// FINGERPRINT put on if the request had one.
    #[must_use]
    pub fn success(&self, seen: SocketAddr) -> Bytes {
        let mut writer = Writer::new([0x01, 0x01], self.transaction);
        writer.attribute(XOR_MAPPED_ADDRESS, &mask(seen, &self.transaction));
        self.finish(writer)
    }

    /// The error response, code 300 to 699.
    #[must_use]
    pub fn error(&self, code: u16, reason: &str) -> Bytes {
        debug_assert!((300..700).contains(&code));
        let mut writer = Writer::new([0x01, 0x11], self.transaction);
        let reason = &reason.as_bytes()[..reason.floor_char_boundary_at(STUN_TEXT_BYTES_MAX)];
        let [class, number] = [code / 100 % 10, code % 100].map(|part| u8::try_from(part).unwrap_or(0));
        writer.attribute(ERROR_CODE, &[&[0, 0, class, number], reason].concat());
        self.finish(writer)
    }

    fn finish(&self, mut writer: Writer) -> Bytes {
        if let Some(software) = self.software.filter(|software| software.len() <= STUN_TEXT_BYTES_MAX) {
            writer.attribute(SOFTWARE, software);
        }
        writer.finish(self.has_fingerprint)
    }
}

/// A Binding request, as a client sends it to keep a flow alive.
#[must_use]
pub fn binding_request(transaction: TransactionId) -> Bytes {
    Writer::new([0x00, 0x01], transaction).finish(false)
}

/// `str::floor_char_boundary` is newer than our oldest compiler.
trait FloorCharBoundary {
    fn floor_char_boundary_at(&self, at: usize) -> usize;
}

impl FloorCharBoundary for str {
    fn floor_char_boundary_at(&self, at: usize) -> usize {
        (0..=at.min(self.len())).rev().find(|&at| self.is_char_boundary(at)).unwrap_or(0)
    }
}

fn attribute(bytes: &[u8], at: usize) -> Option<(u16, &[u8])> {
    let [k0, k1, l0, l1] = *bytes.get(at..)?.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let padded = bytes.get(at + 4..at + 4 + length.next_multiple_of(4))?;
    Some((u16::from_be_bytes([k0, k1]), &padded[..length]))
}

/// The bytes an address is XORed with: the cookie, then the transaction (RFC 8489 §14.2).
fn key(transaction: &TransactionId) -> [u8; 16] {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&MAGIC_COOKIE);
    key[4..].copy_from_slice(transaction);
    key
}

fn xor<const N: usize>(address: [u8; N], transaction: &TransactionId) -> [u8; N] {
    let key = key(transaction);
    std::array::from_fn(|at| address[at] ^ key[at % 16])
}

fn mask(address: SocketAddr, transaction: &TransactionId) -> Vec<u8> {
    let port = xor(address.port().to_be_bytes(), transaction);
    // RFC 5118 §5: a v4 client on a dual-stack socket must see its v4 address.
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => [&[0, 1], &port[..], &xor(ip.octets(), transaction)[..]].concat(),
        IpAddr::V6(ip) => [&[0, 2], &port[..], &xor(ip.octets(), transaction)[..]].concat(),
    }
}

fn unmask(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let [_, family, p0, p1, address @ ..] = value else { return None };
    let port = u16::from_be_bytes(xor([*p0, *p1], transaction));
    let ip = match family {
        1 => IpAddr::from(Ipv4Addr::from(xor::<4>(address.try_into().ok()?, transaction))),
        2 => IpAddr::from(Ipv6Addr::from(xor::<16>(address.try_into().ok()?, transaction))),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The FINGERPRINT over the bytes before it. The length in the header already counts it
/// (RFC 8489 §14.7), as in every message that has it last.
fn fingerprint(before: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for byte in before {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    (!crc ^ FINGERPRINT_XOR).to_be_bytes()
}

struct Writer {
    out: Vec<u8>,
}

impl Writer {
    fn new(kind: [u8; 2], transaction: TransactionId) -> Self {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&kind);
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&MAGIC_COOKIE);
        out.extend_from_slice(&transaction);
        Self { out }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        // All values are bounded by STUN_TEXT_BYTES_MAX plus a few.
        let length = u16::try_from(value.len()).unwrap_or(0);
        self.out.extend_from_slice(&kind.to_be_bytes());
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(&value[..usize::from(length)]);
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }

    fn set_length(&mut self, length: usize) {
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        self.out[2..4].copy_from_slice(&length.to_be_bytes());
    }

    fn finish(mut self, with_fingerprint: bool) -> Bytes {
        if with_fingerprint {
            self.set_length(self.out.len() + 8 - HEADER_BYTES);
            let value = fingerprint(&self.out);
            self.attribute(FINGERPRINT, &value);
        }
        self.set_length(self.out.len() - HEADER_BYTES);
        Bytes::from(self.out)
    }
}
